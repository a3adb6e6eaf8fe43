"""What a campaign has shown, as JSON, as a figure and as the page docs/benchmarks/faults.md.

The page and the figure are made from docs/benchmarks/faults.json and from nothing else: `python -m tests.faults.report`
makes them again.
"""

import json
import math
import os
import platform
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from benchmarks.report import markdown
from tests.faults.account import by_kind, quantile

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks"
OUTCOMES = ("served", "left", "lost", "refused", "hanging", "mixed")


def results(plan, recorded, verified):
    """The figures of a campaign, as JSON has them.

    Args:
        plan: of the round that was recorded.
        recorded: what came of it (`tests.faults.rounds`).
        verified: what came of the round with a verifier.
    """
    account = recorded.account
    waits = sorted(visit.greeted - visit.began for visit in account.visits if visit.greeted)
    manners = {}
    for visit in account.visits:
        manners.setdefault(visit.manner, Counter())[visit.outcome] += 1
    return {
        "machine": machine(),
        "settings": {"seconds": plan.seconds, "clients": plan.clients, "seed": plan.seed},
        "requests": sum(visit.requests for visit in account.visits),
        "manners": {name: dict(counts) for name, counts in sorted(manners.items())},
        "faults": _counted(fault.kind for fault in account.faults),
        "deaths": dict(sorted(account.deaths.items())),
        "losses": dict(sorted(account.losses.items())),
        "waits": {str(share): round(quantile(waits, share), 3) for share in (0.5, 0.9, 0.99, 1.0)} if waits else {},
        "recoveries": {what: [round(each, 3) for each in every] for what, every in by_kind(account.recoveries).items()},
        "levels": {
            role: {
                what: [max(getattr(level, what) for level in levels) for levels in (account.before[role], after)]
                for what in ("descriptors", "threads", "memory")
            }
            for role, after in sorted(account.after.items())
            if role in account.before
        },
        "replayed": recorded.replayed,
        "followed": asdict(recorded.walks),
        "verified": {
            "faults": len(verified.account.faults),
            "visits": len(verified.account.visits),
            "lost": verified.account.count("lost"),
            **verified.numbers,
        },
        "wrong": account.wrong + verified.account.wrong,
    }


def _counted(names):
    return dict(sorted(Counter(names).items()))


def machine():
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load, at the end": f"{os.getloadavg()[1]:.1f} processes at a time, over five minutes",
    }


# ================================================================ the page

WELL = """\
No connection was refused, none hung, none was served twice, no byte went to the wrong client, and **every one of the
{lost:,} losses has a named cause**."""
PAGE = """\
# The fault campaign

<!-- Generated from faults.json by `python -m tests.faults.report`; do not edit. -->

For {minutes:.0f} minutes {clients} clients of nine manners came again and again to three classes of servers, while
something was done to the instance every {pause:.1f} s, and after 10 s of that all was let come up again:
**{faults:,} faults, {deaths:,} deaths, {visits:,} visits**.
{verdict}
`make campaign-faults` does it again.

## What became of the visits

{manners}

{requests:,} requests were answered; every payload was made from its client's name, and compared byte by byte, with its
digest. A client waited {half:.2f} s in the middle, {p99:.2f} s at the 99th percentile and {most:.2f} s at most from its
connect to its greeting, the times when the class had no Distributor, no server or no seat for it included.

## Why clients were lost

{losses}

Each lost connection is known by the kernel's own cookie, which its client learns from `sock_diag` even before anybody
has accepted it. A loss counts as explained where the servers' notes and the trace say in whose hands that very cookie
was, and that this process died, then and not later. A Distributor's death explains one loss of the kind (g) at most.

## What was done

{kinds}

A *child* is what a forking server has forked; *both* are a Distributor and a server of its class, in one moment. To
*stop* is SIGSTOP, and SIGCONT after 0.05 to 1.5 s, for one server in five after 8 s: it is then taken for hung, since
the campaign's hand-off timeout is 3 s. To *starve* is to lower RLIMIT_NOFILE of the living process until not one
more descriptor can be opened, and to raise it again. A processing element is lost as the operator says it is
(`maitred element NAME down`). The *helper* is `multiprocessing`'s resource tracker, the only process of an instance
that is neither Monitor, Distributor nor server; it is made again with the next process that is started. Names with
*kill* in the list below are these faults; the others are what the Monitor or the process itself did in consequence.

{ends}

## How long until somebody took the victim's place

![Recovery times by what was done; each dot is one death](faults.svg)

{recoveries}

From the fault until the next server in that place is ready, or the next Distributor has a server that is; with the
back-off of 0.05 to 0.2 s that this campaign sets. A successor that was killed as well counts into the time.

## At the end, all is as it was

{levels}

Of the processes of each kind the one that had most, before the first fault and after the last; the Monitor is one
process from beginning to end. Ten thousand clients on quiet servers, and deaths without clients, are looked at more
closely by `tests/faults/test_leaks.py`.

## Was every step one of the machines', and a step of what is proved?

The trace of the whole campaign was replayed: {replayed}.

Its first {lines:,} of {all_lines:,} lines were followed through
[the relation that the proofs are about](../../proofs/README.md), for each server class by itself:

{walks}

A step is an event of a machine. *Followed* means that it was rendered as transitions, that each guard held,
that what was sent is what the relation sends, and that what the machine then knew is what the relation says of it.
What comes after the first event that the relation does not model (`Audited`: the kernel no longer knows a connection of
which a process has not spoken yet; `StopRequested`: the stop) is *outside*: there the replay alone has looked.

Afterwards {verified[faults]:,} more faults met {verified[visits]:,} visits to an instance that ran with `--verify` in
place of the trace: of its {verified[steps]:,} steps {verified[verified]:,} were verified as they happened,
{verified[dropped]:,} were dropped as there was no room, {verified[unchecked]:,} came while the state was not known, and
**{verified[divergences]:,} diverged**. {verified[lost]:,} of its clients were lost; without a trace nobody says why.

## The machine

{machine}

The seed was {seed}. The clients shared the machine with what they were served by, and with whatever else makes up its
load: the times above are to be read with it.
"""


def page(found):
    """docs/benchmarks/faults.md."""
    counts = Counter()
    for outcomes in found["manners"].values():
        counts.update(outcomes)
    rows = [[name, *(f"{got.get(outcome, 0):,}" for outcome in OUTCOMES)] for name, got in found["manners"].items()]
    rows.append(["**all**", *(f"**{counts[outcome]:,}**" for outcome in OUTCOMES)])
    return PAGE.format(
        minutes=found["settings"]["seconds"] / 60,
        clients=found["settings"]["clients"],
        seed=found["settings"]["seed"],
        faults=sum(found["faults"].values()),
        pause=found["settings"]["seconds"] / max(sum(found["faults"].values()), 1),
        deaths=sum(found["deaths"].values()),
        visits=counts.total(),
        verdict="\n".join(f"\n**Wrong:** {wrong}\n" for wrong in found["wrong"]) or WELL.format(lost=counts["lost"]),
        manners=markdown(["manner", *OUTCOMES], rows),
        requests=found["requests"],
        half=found["waits"]["0.5"],
        p99=found["waits"]["0.99"],
        most=found["waits"]["1.0"],
        losses=_table("lost", "clients", found["losses"]),
        kinds=_table("fault", "times", found["faults"]),
        ends=_table("death", "times", found["deaths"]),
        recoveries=markdown(
            ["died", "times", "median, s", "p90, s", "most, s"],
            [
                [what, str(len(every)), *(f"{quantile(every, share):.2f}" for share in (0.5, 0.9, 1.0))]
                for what, every in sorted(found["recoveries"].items())
            ],
        ),
        levels=markdown(
            ["process", "descriptors", "threads", "memory of its own, MiB"],
            [
                [role, *(_pair(level[what]) for what in ("descriptors", "threads")), _pair(level["memory"], 1 << 20)]
                for role, level in found["levels"].items()
            ],
        ),
        replayed=found["replayed"],
        lines=found["followed"]["lines"],
        all_lines=found["followed"]["of"],
        walks=_walks(found["followed"]["classes"]),
        verified=Counter(found["verified"]),
        machine=markdown(["", ""], [[name, value] for name, value in found["machine"].items()]),
    )


def _walks(classes):
    """What came of following each server class; the rate is of the machine below, all else included."""
    return markdown(
        ["class", "followed", "outside", "steps/s", "to"],
        [
            [
                walk["name"],
                f"{walk['steps']:,}",
                f"{walk['outside']:,}",
                f"{walk['steps'] / walk['seconds']:,.0f}",
                walk["divergence"] or walk["ends"],
            ]
            for walk in classes
        ],
    )


def _table(what, number, counts):
    return markdown([what, number], [[name, f"{count:,}"] for name, count in counts.items()])


def _pair(values, unit=1):
    before, after = (f"{value / unit:.{int(unit > 1)}f}" for value in values)
    return f"{before} → {after}"


# ================================================================ the figure

WIDTH, LABEL, ROW, TOP = 1000, 330, 30, 62
COLOURS = {"server": "#15803d", "distributor": "#4f46e5"}
INK, FAINT = "#111827", "#d1d5db"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def svg(found):
    """docs/benchmarks/faults.svg: a row for each way to die, a dot for each death; the axis is logarithmic."""
    rows = sorted(found["recoveries"].items())
    every = [seconds for _, times in rows for seconds in times] or [1.0]
    least = max(tick for tick in TICKS if tick <= max(min(every), TICKS[0]))
    most = min((tick for tick in TICKS if tick >= max(every)), default=TICKS[-1])

    def x(seconds):
        share = math.log(max(seconds, least) / least) / max(math.log(most / least), 1e-9)
        return LABEL + share * (WIDTH - LABEL - 40)

    bottom = TOP + ROW * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 30}" role="img" aria-labelledby="t d"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        '<title id="t">Recovery times in the fault campaign</title>',
        '<desc id="d">Each dot is the death of a server or Distributor; further right: it took longer until the next'
        " one was ready. Black strokes are medians.</desc>",
        f'<rect width="{WIDTH}" height="{bottom + 30}" fill="#ffffff" rx="10"/>',
        f'<text x="20" y="30" font-size="15" font-weight="700" fill="{INK}">'
        "Seconds from the fault until somebody ready was in the victim's place</text>",
    ]
    for tick in (tick for tick in TICKS if least <= tick <= most):
        lines += [
            f'<path d="M{x(tick):.1f} {TOP - 8}V{bottom}" stroke="{FAINT}"/>',
            f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#374151">{tick:g} s</text>',
        ]
    for number, (what, times) in enumerate(rows):
        lines += _row(what, times, TOP + ROW * number + ROW / 2, x)
    return "\n".join([*lines, "</svg>\n"])


def _row(what, times, y, x):
    """One way to die: its name and number, the dots (spread a little, so that none hides another), the median."""
    colour = COLOURS[what.partition(":")[0]]
    middle = x(quantile(times, 0.5))
    dots = [
        f'<circle cx="{x(seconds):.1f}" cy="{y - 6 + 3 * (number % 5):.0f}" r="3" fill="{colour}" fill-opacity="0.45"/>'
        for number, seconds in enumerate(times)
    ]
    text = f'<text x="{LABEL - 14}" y="{y + 4:.0f}" text-anchor="end" fill="{INK}">{escape(what)} ({len(times)})</text>'
    return [text, *dots, f'<path d="M{middle:.1f} {y - 10:.0f}V{y + 10:.0f}" stroke="{INK}" stroke-width="2"/>']


# ================================================================ files


def write(found, docs=DOCS):
    """Record the campaign, and make the page and the figure."""
    files = {
        "faults.json": json.dumps(found, indent=1, ensure_ascii=False) + "\n",
        "faults.md": page(found),
        "faults.svg": svg(found),
    }
    docs.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (docs / name).write_text(text)


if __name__ == "__main__":
    write(json.loads((DOCS / "faults.json").read_text()))
