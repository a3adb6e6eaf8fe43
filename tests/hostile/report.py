"""What a hostile campaign has shown, as JSON and as the page docs/benchmarks/hostile.md.

The page is made from docs/benchmarks/hostile.json and from nothing else: `python -m tests.hostile.report` makes it
again.  `docs/campaigns.py` knows of which sources it is.
"""

import json
from pathlib import Path

from benchmarks.report import markdown
from tests.faults.account import quantile
from tests.faults.report import DOCS, machine
from tests.hostile.campaign import DURATIONS, HONEST, HOSTILE

SHARES = (0.5, 0.99, 1.0)


def results(plan, account):
    """The figures of a campaign, as JSON has them."""
    return {
        "machine": machine(),
        "settings": {
            "seconds": plan.seconds,
            "attack": plan.attack,
            "patience": DURATIONS["hand_off_timeout"],
            "clients": plan.clients,
            "guests": plan.guests,
            "seed": plan.seed,
        },
        "attacks": dict(sorted(account.attacks.items())),
        "guests": dict(sorted(account.guests.items())),
        "visits": {
            name: {outcome: times for (of, outcome), times in sorted(account.visits.items()) if of == name}
            for name in (HONEST, HOSTILE)
        },
        "suffered": account.suffered,
        "waits": {
            who: {"visits": len(found), **{f"{share:g}": round(quantile(found, share), 3) for share in SHARES}}
            for who, found in account.waits.items()
        },
        "status": {"asked": len(account.asked), "longest": round(account.slowest(), 3), "late": account.unanswered()},
        "hidden": {"lives": len(account.survived), "longest": round(max(account.survived, default=0.0), 3)},
        "wrong": account.wrong,
    }


# ================================================================ the page

WELL = """\
No client of theirs was lost, none was given to two honest copies, no honest server, no Distributor and not the Monitor
died, and at the end Monitor and Distributors held as many descriptors as before."""
PAGE = """\
# The hostile campaign

<!-- Generated from hostile.json by `python -m tests.hostile.report`; do not edit. -->

For {minutes:.0f} minutes one copy of a server did from inside its own process whatever a hostile or broken program can
do, beside two honest copies of its class and the two of another, while {guests} clients of ill will came to both
classes: **{attacks:,} attacks, {visits:,} hostile visits**. {clients} clients of good will, of the
[nine manners of the fault campaign](faults.md), were to notice none of it.

{verdict}

Recorded on {date}; [the page of all campaigns](../generated/campaigns.md) shows what has changed since then, and
`make hostile` records it again. `make test` makes a campaign of some seconds of the code as it is.

## How long clients of good will waited

{waits}

Seconds from a client's connect to its greeting, by a copy that is honest. Who came to the hostile copy's class could
be handed to that copy first: if it takes no clients, they wait until it is killed, {patience:g} s after the hand-off in
this campaign (`hand_off_timeout`), and are seated elsewhere then. The Monitor was asked for the status {asked:,} times,
and answered in {slowest:.3f} s at most; {late} times a Distributor's part was missing, which had not come in a second.

## What became of their visits

{became}

*Left* is by the client's own will. {suffered:,} clients had been given to a hostile copy when they were lost, or got
from it what was not theirs: that it can do with those whom it is given, and with no other. One thing is inherent in
passing descriptors: a copy that refuses a client can keep a duplicate of the connection, on which another then serves.

## What the hostile copy did

{done}

Each lasts {seconds:g} s, and after five the copy dies, if it has not before. Processes that had left the session,
their parents and the control group, and held nothing but a dialog, outlived their server's main process by
{hidden:.3f} s at most ({lives} lives).

## What the hostile clients did

{came}

None stays longer than two seconds: a client that sits in a seat for ever keeps others waiting in front of any server.

## The machine

{machine}
"""


def page(found):
    """docs/benchmarks/hostile.md."""
    outcomes = ("served", "left", "lost", "mixed", "refused", "hanging")
    return PAGE.format(
        minutes=found["settings"]["seconds"] / 60,
        guests=found["settings"]["guests"],
        clients=found["settings"]["clients"],
        attacks=sum(found["attacks"].values()),
        visits=sum(found["guests"].values()),
        verdict="\n".join(f"\n**Wrong:** {wrong}\n" for wrong in found["wrong"]) or WELL,
        date=found["machine"]["date"],
        waits=markdown(
            ["class and time", "visits", "median", "p99", "longest"],
            [
                [who, f"{waits['visits']:,}", *(f"{waits[f'{share:g}']:.3f}" for share in SHARES)]
                for who, waits in found["waits"].items()
            ],
        ),
        patience=found["settings"]["patience"],
        asked=found["status"]["asked"],
        slowest=found["status"]["longest"],
        late=found["status"]["late"],
        became=markdown(
            ["class", *outcomes],
            [
                [name, *(f"{counts.get(outcome, 0):,}" for outcome in outcomes)]
                for name, counts in found["visits"].items()
            ],
        ),
        suffered=found["suffered"],
        done=markdown(["attack", "times"], [[name, f"{times:,}"] for name, times in found["attacks"].items()]),
        seconds=found["settings"]["attack"],
        hidden=found["hidden"]["longest"],
        lives=found["hidden"]["lives"],
        came=markdown(
            ["manner", "visits"], [[name.replace("_", " "), f"{n:,}"] for name, n in found["guests"].items()]
        ),
        machine=markdown(["", ""], [[name, value] for name, value in found["machine"].items()]),
    )


def write(found, docs=DOCS):
    """Record the campaign, and make the page."""
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "hostile.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (docs / "hostile.md").write_text(page(found))


def recorded(docs=DOCS):
    """The record."""
    return json.loads((Path(docs) / "hostile.json").read_text())


if __name__ == "__main__":
    write(recorded())
