"""What the runs have measured, as JSON, as tables, as a figure and as the page docs/benchmarks/README.md.

The page and the figure are made from docs/benchmarks/results.json and from nothing else, the sentences with figures in
them included: `python -m benchmarks.report` makes them again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import median

from benchmarks.build import Failed
from benchmarks.load import Sample

DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
MB = 1e6


@dataclass(frozen=True)
class Measured:
    """One turn of a peer at a workload; CPU in seconds, warm-up included as it is in `Sample.everything`."""

    sample: Sample
    front: float
    others: float
    servers: float
    elapsed: float


@dataclass(frozen=True)
class Arrangement:
    """A peer, as it was after it had been measured."""

    kind: str
    server: str
    copies: int
    processes: int
    threads: int
    """Of the processes that are not servers."""
    memory: float
    """MiB (PSS) of the processes that are not servers."""
    servers_memory: float


@dataclass(frozen=True)
class Stage:
    """Peers that ran side by side."""

    busy: list[float]
    """Before each round: the share of the machine that was in use while all peers rested."""
    peers: dict[str, Arrangement]
    rounds: list[dict[str, dict[str, Measured]]]
    """By peer and by workload."""


@dataclass(frozen=True)
class Results:
    """A whole run."""

    machine: dict[str, str]
    settings: dict[str, float]
    absent: list[str]
    """What could not be measured here, and why."""
    stages: dict[str, Stage]
    restarts: list[float]
    """Seconds from the death of a Distributor to the next client served."""
    again: list[float]
    """The same, for the death of its successor as soon as that client was served."""
    calls: dict[str, dict[str, dict[str, dict[str, float]]]]
    """System calls for each connection, by peer, workload, role and name."""
    profile: dict[str, dict[str, float]]
    """Where the Distributor's time goes; see `benchmarks.profile.distributor`."""


def to_json(results: Results) -> str:
    """The run as text."""
    return json.dumps(asdict(results), indent=1) + "\n"


def from_json(text: str) -> Results:
    """The run again.

    Raises:
        Failed: it is of another form.
    """
    data = json.loads(text)
    if "stages" not in data:
        raise Failed("results.json is of an older benchmark; record a new run: python -m benchmarks --write")
    data["stages"] = {
        name: Stage(
            stage["busy"],
            {peer: Arrangement(**arrangement) for peer, arrangement in stage["peers"].items()},
            [
                {
                    peer: {name: Measured(Sample(**turn.pop("sample")), **turn) for name, turn in turns.items()}
                    for peer, turns in peers.items()
                }
                for peers in stage["rounds"]
            ],
        )
        for name, stage in data["stages"].items()
    }
    return Results(**data)


# ================================================================ figures of one turn

Figure = Callable[[Measured], float]


def rate(turn: Measured) -> float:
    """Results per second."""
    return turn.sample.results / turn.sample.seconds


def p50(turn: Measured) -> float:
    return turn.sample.p50


def p99(turn: Measured) -> float:
    return turn.sample.p99


def speed(turn: Measured) -> float:
    """Megabytes (10^6) per second."""
    return turn.sample.bytes / turn.sample.seconds / MB


def cpu(turn: Measured) -> float:
    """Microseconds of CPU for one result: of everything but the client."""
    return (turn.front + turn.others + turn.servers) / max(turn.sample.everything, 1) * 1e6


def front_cpu(turn: Measured) -> float:
    """Microseconds of CPU for one result: of what stands between client and servers."""
    return turn.front / max(turn.sample.everything, 1) * 1e6


def others_cpu(turn: Measured) -> float:
    """Of supervision."""
    return turn.others / max(turn.sample.everything, 1) * 1e6


def server_cpu(turn: Measured) -> float:
    return turn.servers / max(turn.sample.everything, 1) * 1e6


def cpu_per_megabyte(turn: Measured) -> float:
    """Microseconds of CPU for one megabyte: of everything but the client."""
    size = max(turn.sample.bytes / turn.sample.seconds * turn.elapsed, 1)
    return (turn.front + turn.others + turn.servers) / size * MB * 1e6


def most(turn: Measured) -> float:
    """Connections of the copy that has most."""
    return max(turn.sample.served.values(), default=0)


def least(copies: int) -> Figure:
    """Connections of the copy, of so many, that has fewest."""
    return lambda turn: min(turn.sample.served.values()) if len(turn.sample.served) == copies else 0


# ================================================================ figures of a stage


def figures(stage: Stage, peer: str, workload: str, figure: Figure) -> list[float]:
    """One for each round."""
    return [figure(turns[peer][workload]) for turns in stage.rounds]


def ratios(stage: Stage, one: str, other: str, workload: str, figure: Figure) -> list[float]:
    """One peer's figure by the other's, in each round."""
    pairs = zip(figures(stage, one, workload, figure), figures(stage, other, workload, figure), strict=True)
    return [mine / theirs if theirs else float("inf") for mine, theirs in pairs]


def spread(values: list[float], form: str = ".2f") -> str:
    """The median, and from the least to the greatest."""
    low, high = format(min(values), form), format(max(values), form)
    return f"{median(values):{form}}" + (f" ({low} to {high})" if low != high else "")


def failures(results: Results) -> dict[str, int]:
    """By stage, peer, workload and kind; empty in a good run."""
    found: dict[str, int] = {}
    for name, stage in results.stages.items():
        for turns in stage.rounds:
            for peer, workloads in turns.items():
                for workload, turn in workloads.items():
                    for kind, count in turn.sample.failed.items():
                        where = f"{name}, {peer}, {workload}: {kind}"
                        found[where] = found.get(where, 0) + count
    return found


# ================================================================ where maitred wins, and where it loses


@dataclass(frozen=True)
class Comparison:
    """maitred beside another peer, in one figure."""

    what: str
    who: str
    """The kind of ours."""
    against: str
    """The kind of the other."""
    ratios: list[float]
    """Of each round, turned so that more than 1 is better for maitred."""

    @property
    def verdict(self) -> str:
        """``wins`` or ``loses`` where every round says so; else ``level``."""
        return "wins" if min(self.ratios) > 1 else "loses" if max(self.ratios) < 1 else "level"

    def __str__(self) -> str:
        ours = f" ({KINDS[self.who]})" if self.who == "maitred-plain" else ""
        return f"{self.what}{ours}, beside {KINDS[self.against]}: **{spread(self.ratios)}**"


COMPARED: tuple[tuple[str, str, str, str, str, str, Figure, bool], ...] = (
    # what it is called; stage, workload, server; our kind, the other; the figure, and whether more of it is better
    *(
        (f"CPU per connection, {name}, {stage}, {workload}", stage, workload, server, "maitred", "haproxy", cpu, False)
        for server, name in (
            ("c", "servers in C"),
            ("blocking", "unmodified Python server"),
            ("gunicorn", "gunicorn"),
            ("uvicorn", "uvicorn"),
        )
        for stage, workload in (("pinned", "storm"), ("pinned", "alone"), ("free", "storm"))
        if workload == "storm" or server in ("c", "blocking")
    ),
    *(
        (f"CPU per connection, {name}, {stage}, storm", stage, "storm", server, "maitred-plain", "haproxy", cpu, False)
        for server, name in (("c", "servers in C"), ("blocking", "unmodified Python server"))
        for stage in ("pinned", "free")
    ),
    ("connections/s, servers in C, pinned, storm", "pinned", "storm", "c", "maitred", "haproxy", rate, True),
    ("connections/s, servers in C, free, storm", "free", "storm", "c", "maitred", "haproxy", rate, True),
    ("p99 of a connection, servers in C, free, storm", "free", "storm", "c", "maitred", "haproxy", p99, False),
    ("p50 of a connection, servers in C, free, alone", "free", "alone", "c", "maitred", "haproxy", p50, False),
    ("CPU per connection, servers in C, pinned, storm", "pinned", "storm", "c", "maitred", "nginx", cpu, False),
    ("CPU per connection, servers in C, pinned, storm", "pinned", "storm", "c", "maitred", "shared", cpu, False),
    ("CPU per connection, servers in C, pinned, storm", "pinned", "storm", "c", "maitred", "reuseport", cpu, False),
    ("CPU per connection, gunicorn, pinned, storm", "pinned", "storm", "gunicorn", "maitred", "own", cpu, False),
    ("CPU per connection, uvicorn, pinned, storm", "pinned", "storm", "uvicorn", "maitred", "own", cpu, False),
    *(
        ("p99 under a heavy tail", "tail", "tail", "c", "maitred-one", other, p99, False)
        for other in ("shared", "reuseport", "haproxy", "haproxy-one")
    ),
    ("requests/s on open connections", "open", "requests", "c", "maitred", "haproxy", rate, True),
    ("CPU per request on open connections", "open", "requests", "c", "maitred", "haproxy", cpu, False),
    ("download, MB/s", "open", "bulk", "c", "maitred", "haproxy", speed, True),
    ("download, CPU per megabyte", "open", "bulk", "c", "maitred", "haproxy", cpu_per_megabyte, False),
    *(
        ("most of 1,000 long connections at one copy", "balance", "balance", "c", "maitred", other, most, False)
        for other in ("haproxy", "shared", "reuseport")
    ),
)


TARGETS = (
    ("servers in C, pinned", "pinned", "c", "maitred", 1.0, 1.6),
    ("servers in C, free", "free", "c", "maitred", 0.9, 1.3),
    ("servers in C, pinned, plain Python", "pinned", "c", "maitred-plain", 0.35, 0.35),
    ("unmodified Python server, pinned", "pinned", "blocking", "maitred", 0.45, 0.6),
)
"""What maitred is to reach in storm: HAProxy's CPU per connection by maitred's; at least, and the aim."""


def targets(results: Results) -> Iterable[str]:
    """How far maitred is from what it is to reach."""
    rows = []
    for what, name, server, kind, least_ratio, aim in TARGETS:
        stage = results.stages.get(name)
        mine, theirs = (named(stage, each, server) if stage else None for each in (kind, "haproxy"))
        if stage and mine and theirs:
            here = spread(ratios(stage, theirs, mine, "storm", cpu))
            rows.append([what, f"**{here}**", f"{least_ratio:g}", f"{aim:g}"])
    if rows:
        yield "## What is to be reached"
        yield markdown(["HAProxy's CPU per connection ÷ maitred's, storm", "here", "at least", "aim"], rows)


def named(stage: Stage, kind: str, server: str) -> str | None:
    """The peer of that kind in front of that server, the first of them where copies differ; None where it is absent."""
    return next((name for name, peer in stage.peers.items() if (peer.kind, peer.server) == (kind, server)), None)


def comparisons(results: Results) -> list[Comparison]:
    """All that this run has figures for."""
    found = []
    for what, stage_name, workload, server, kind, other, figure, more in COMPARED:
        stage = results.stages.get(stage_name)
        mine, theirs = (named(stage, each, server) if stage else None for each in (kind, other))
        if stage is None or mine is None or theirs is None:
            continue
        if not all(workload in turns[mine] for turns in stage.rounds):
            continue
        ours, others = (mine, theirs) if more else (theirs, mine)
        found.append(Comparison(what, kind, other, ratios(stage, ours, others, workload, figure)))
    return found


def summary(results: Results) -> str:
    """The first lines of the page."""
    found = comparisons(results)
    lines: list[str] = []
    for verdict, heading in (
        ("wins", "maitred wins"),
        ("loses", "maitred loses"),
        ("level", "Neither, within the spread of the rounds"),
    ):
        those = [item for item in found if item.verdict == verdict]
        lines += [f"**{heading}:**", "", *(f"- {item}" for item in those), ""] if those else []
    if results.restarts:
        taken = spread([1e3 * seconds for seconds in results.restarts], ",.0f")
        second = spread([1e3 * seconds for seconds in results.again], ",.0f")
        lines += [
            f"From `kill -9` of the Distributor to the next client served: **{taken} ms**; where its successor is"
            f" killed as soon as it has served that client, when no other may be prepared yet: **{second} ms**.",
            "",
        ]
    return "\n".join(lines)


# ================================================================ tables

KINDS = {
    "direct": "nothing in front, one copy",
    "haproxy": "HAProxy leastconn",
    "haproxy-one": "HAProxy leastconn, maxconn 1",
    "nginx": "nginx least_conn",
    "shared": "shared accept",
    "reuseport": "SO_REUSEPORT",
    "own": "its own workers",
    "maitred": "maitred",
    "maitred-plain": "maitred, plain Python",
    "maitred-one": "maitred, max_clients 1",
}
SERVERS = {
    "c": "Servers in C",
    "blocking": "Unmodified Python server, blocking",
    "gunicorn": "gunicorn, sync workers",
    "uvicorn": "uvicorn",
}
Column = tuple[str, Figure, str]

CONNECTIONS: list[Column] = [
    ("CPU, µs", cpu, ".0f"),
    ("front", front_cpu, ".0f"),
    ("supervision", others_cpu, ".0f"),
    ("servers", server_cpu, ".0f"),
    ("connections/s", rate, ",.0f"),
    ("p50, ms", p50, ".2f"),
    ("p99, ms", p99, ".2f"),
]
LATENCY: list[Column] = [("p50, ms", p50, ".1f"), ("p99, ms", p99, ".1f"), ("answered/s", rate, ",.0f")]
REQUESTS: list[Column] = [("CPU, µs", cpu, ".1f"), ("requests/s", rate, ",.0f"), *LATENCY[:2]]
BULK: list[Column] = [("CPU, µs per MB", cpu_per_megabyte, ".0f"), ("MB/s", speed, ",.0f")]
WORKLOADS: list[tuple[str, str, list[Column]]] = [
    ("storm", "new connections, 64 clients at a time", CONNECTIONS),
    ("crowd", "new connections, 1,000 clients at a time", CONNECTIONS),
    ("alone", "new connections, one client at a time", CONNECTIONS),
    ("requests", "requests on 64 connections that stay open", REQUESTS),
    ("bulk", "downloads of 64 MiB, one client", BULK),
    ("tail", "heavy tail: 90 % of clients take 1 ms, 10 % take 100 ms; one client each, 70 % load", LATENCY),
    ("balance", "1,000 long connections", [("most at one copy", most, ".0f"), ("least", least(4), ".0f")]),
]
PARTS = {
    "pinned": "Pinned: front and servers on one CPU, the client on another",
    "free": "Free: everything on all CPUs",
    "open": "Once a client is seated (free)",
    "tail": "Heavy tail (free)",
    "balance": "Balance (free)",
    "growth": "Growth with servers (free)",
    "waiting": "Growth with waiting clients: all but four of them wait (free)",
}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table, its first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def title(peer: Arrangement) -> str:
    """A peer's name for people."""
    return f"{KINDS[peer.kind]}, {peer.copies} copies" if peer.copies > 1 else KINDS[peer.kind]


def part(results: Results, name: str) -> Iterable[str]:
    """The tables of one stage: of each workload and server, medians and spread."""
    stage = results.stages[name]
    yield f"## {PARTS.get(name, name)}"
    for workload, heading, columns in WORKLOADS:
        for server, called in SERVERS.items():
            rows = []
            against = named(stage, "haproxy", server)
            for peer, who in stage.peers.items():
                if who.server != server or not all(workload in turns[peer] for turns in stage.rounds):
                    continue
                compared = name in ("pinned", "free", "growth")
                other = peer.replace(who.kind, "haproxy", 1) if name == "growth" else against
                ratio = [spread(ratios(stage, other, peer, workload, cpu))] if compared and other else []
                cells = [spread(figures(stage, peer, workload, figure), form) for _, figure, form in columns]
                rows.append([title(who), *ratio, *cells])
            if rows:
                first = ["HAProxy's CPU ÷ its own"] if len(rows[0]) > len(columns) + 1 else []
                yield f"{called}; {heading}:"
                yield markdown(["", *first, *(heading for heading, _, _ in columns)], rows)


def calls_table(results: Results) -> Iterable[str]:
    """System calls for each connection."""
    if not results.calls:
        return
    yield "## System calls per connection"
    rows = []
    for peer, workloads in results.calls.items():
        for workload, of_roles in workloads.items():
            for role, names in of_roles.items():
                listed = ", ".join(f"{name} {n:g}" for name, n in names.items() if n >= 0.1)
                rows.append([f"{peer}, {workload}, {role}", f"{sum(names.values()):.1f}", listed or "-"])
    yield "Counted by strace, which slows everything, in a run of its own; `servers` is all copies together."
    yield markdown(["", "all", "of them"], rows)


def profile_table(results: Results) -> Iterable[str]:
    """Where each microsecond of the Distributor goes."""
    if not results.profile:
        return
    total, rooms, functions = (results.profile[name] for name in ("total", "rooms", "functions"))
    yield "## Where the Distributor's time goes"
    said = ", ".join(f"{us:.0f} in {name}" for name, us in rooms.items())
    yield (
        f"In storm, in front of servers in C, a Distributor as plain Python spends {total['all']:.0f} µs of CPU on a "
        f"connection, {total['kernel']:.0f} of them in the kernel. By which of its parts was running, system calls "
        f"counted for the part that makes them: {said}. The functions that take most, without what they call of ours:"
    )
    yield markdown(["", "µs"], [[f"`{name}`", f"{us:.1f}"] for name, us in functions.items()])


def memory_table(results: Results) -> Iterable[str]:
    """What each arrangement is made of."""
    stage = results.stages.get("free") or next(iter(results.stages.values()), None)
    if stage is None:
        return
    yield "## Memory and processes"
    rows = [
        [
            f"{title(peer)}; {SERVERS[peer.server]}",
            f"{peer.memory:.1f}",
            f"{peer.servers_memory:.1f}",
            str(peer.processes),
            str(peer.threads),
        ]
        for peer in stage.peers.values()
    ]
    yield "PSS in MiB; the Monitor, and what multiprocessing starts beside it, count with the front."
    yield markdown(["", "front and supervision", "servers", "processes", "threads that are not servers'"], rows)


def tables(results: Results) -> str:
    """The run for the terminal, and the middle of the page."""
    parts = [text for name in results.stages for text in part(results, name)]
    return "\n\n".join(
        [
            summary(results).rstrip(),
            *targets(results),
            *parts,
            *profile_table(results),
            *calls_table(results),
            *memory_table(results),
            trouble(results),
        ]
    ).strip()


def trouble(results: Results) -> str:
    """What went wrong or is missing, if anything."""
    found = failures(results)
    missing = [f"Not measured: {why}." for why in results.absent]
    if not found:
        return "\n".join(["No connection failed, no answer was wrong, in any round of any peer.", *missing])
    failed = "**Failed:** " + "; ".join(f"{name}: {count}" for name, count in found.items()) + "."
    return "\n".join([failed, *missing])


# ================================================================ the page

PAGE = """\
# maitred beside HAProxy, nginx and the kernel

<!-- Generated from results.json by `python -m benchmarks.report`; do not edit. -->

Ratios are maitred's figure beside the other's, turned so that **more than 1 is better for maitred**: the median of the
ratios within each round, and in brackets the least and the greatest of them.

{tables}

![The same figures as bars](results.svg)

## How it was measured

`make bench` does it again (`python -m benchmarks --write` records it here).

- The figure that holds on a noisy machine comes first: **the CPU that everything but the client spends on a
  connection**, user and system time of all processes of the peer: front, supervision and servers. What the kernel does
  for a connection counts for whoever it interrupts; on one CPU, that is the peer.
- All peers of a stage run from its beginning to its end; in each round each takes its turn at each workload, and the
  next round begins with the next peer. {rounds}. A turn of storm is {seconds:g} s long, after
  {warmup:g} s of warming up. In the tables, figures are medians, in brackets the least and the greatest of the rounds.
- The load generator is [`load.c`](../../benchmarks/c/load.c). Every answer is read whole and checked. storm, alone,
  requests and bulk are closed loops: a slower peer is asked less often. The heavy tail is an open loop, the same
  arrivals for every peer, and a client's time runs from when it was due.
- The servers in C are [`server.c`](../../benchmarks/c/server.c), one thread with one epoll loop. Behind the proxies it
  listens and accepts. **Behind maitred it keeps [the start contract](../../spec/start.md) and speaks [the wire
  format](../../spec/wire.md) itself**: what a native stand-in would cost at the least. It keeps no clients
  in its registry, which a stand-in must for the audit.
- The Python servers, [`blocking.py`](../../benchmarks/servers/blocking.py), gunicorn and uvicorn, are the same
  unmodified programs behind all (uvicorn with asyncio's loop); behind maitred and HAProxy each copy of gunicorn has one
  worker.
- HAProxy and nginx are in TCP mode without logging and health checks, with at most {seats:.0f} connections for each
  copy, which is maitred's default; HAProxy has a thread and nginx a worker for each CPU that it may use. maitred runs
  with its defaults: compiled ([`make compile`](../how-to/run-your-server.md#compile-the-hot-parts)), but where *plain
  Python* is said.
- {quiet}

| | |
|---|---|
{machine}
"""

QUIET = 0.1
WARNING = " **It was not quiet: trust the ratios and the CPU for each connection, not the rates and the times.**"
"""Said where more than `QUIET` of the machine was in use by others."""


def quiet(results: Results) -> str:
    """How busy the machine was."""
    busy = [share for stage in results.stages.values() for share in stage.busy] or [0.0]
    said = (
        f"Before the rounds, other processes kept {100 * min(busy):.0f} to {100 * max(busy):.0f} % of the machine busy."
    )
    return said + (WARNING if max(busy) > QUIET else "")


def page(results: Results) -> str:
    """docs/benchmarks/README.md."""
    return PAGE.format(
        tables=tables(results),
        rounds="Rounds: " + ", ".join(f"{len(stage.rounds)} ({name})" for name, stage in results.stages.items()),
        seconds=results.settings["seconds"],
        warmup=results.settings["warmup"],
        seats=results.settings["seats"],
        quiet=quiet(results),
        machine="\n".join(f"| {name} | {value} |" for name, value in results.machine.items()),
    )


# ================================================================ the figure

COLOURS = {
    "direct": "#9ca3af",
    "maitred": "#15803d",
    "maitred-plain": "#86efac",
    "maitred-one": "#15803d",
    "haproxy": "#4f46e5",
}
OTHER = "#a5b4fc"
WIDTH, LABEL, BAR, GAP = 560, 250, 18, 6
PANELS: list[tuple[str, str, str, str, Figure]] = [
    ("CPU per connection, µs: C servers, pinned, storm", "pinned", "c", "storm", cpu),
    ("CPU per connection, µs: C servers, free, storm", "free", "c", "storm", cpu),
    ("CPU per connection, µs: Python server, pinned, storm", "pinned", "blocking", "storm", cpu),
    ("Connections/s: C servers, free, storm", "free", "c", "storm", rate),
    ("CPU per connection, µs: gunicorn, pinned, storm", "pinned", "gunicorn", "storm", cpu),
    ("CPU per connection, µs: uvicorn, pinned, storm", "pinned", "uvicorn", "storm", cpu),
    ("p99 under a heavy tail, ms", "tail", "c", "tail", p99),
    ("Requests/s on open connections", "open", "c", "requests", rate),
    ("Most of 1,000 long connections at one copy", "balance", "c", "balance", most),
    ("CPU per connection, µs, as servers grow", "growth", "c", "storm", cpu),
]


def panel(stage: Stage, heading: str, seen: dict[str, list[float]], x: int, y: int) -> list[str]:
    """One figure of several peers as bars: the median, and a line from the least to the greatest of the rounds."""
    longest = max(max(values) for values in seen.values()) or 1
    room = WIDTH - LABEL - 70
    lines = [f'<text x="{x}" y="{y}" font-size="15" font-weight="700" fill="#111827">{escape(heading)}</text>']
    for row, (name, values) in enumerate(seen.items()):
        top = y + 12 + row * (BAR + GAP)
        low, mid, high = (round(value / longest * room, 1) for value in (min(values), median(values), max(values)))
        begin, centre = x + LABEL, top + BAR / 2
        who = stage.peers[name]
        said = format(median(values), ",.0f" if median(values) >= 10 else ".2f")
        lines += [
            f'<text x="{begin - 8}" y="{top + 14}" text-anchor="end" fill="#374151">{escape(title(who))}</text>',
            f'<rect x="{begin}" y="{top}" width="{mid}" height="{BAR}" rx="2" fill="{COLOURS.get(who.kind, OTHER)}"/>',
            f'<path d="M{begin + low:.1f} {centre}H{begin + high:.1f}" stroke="#111827" stroke-width="1.5"/>',
            f'<text x="{begin + high + 6:.1f}" y="{top + 14}" fill="#111827">{said}</text>',
        ]
    return lines


def svg(results: Results) -> str:
    """docs/benchmarks/results.svg: two columns of panels, each as high as it needs."""
    lines: list[str] = []
    bottom = [34, 34]
    for heading, name, server, workload, figure in PANELS:
        stage = results.stages.get(name)
        if stage is None:
            continue
        there = [
            peer
            for peer, who in stage.peers.items()
            if who.server == server and all(workload in turns[peer] for turns in stage.rounds)
        ]
        if not there:
            continue
        column = bottom.index(min(bottom))
        seen = {peer: figures(stage, peer, workload, figure) for peer in there}
        lines += panel(stage, heading, seen, 20 + column * (WIDTH + 20), bottom[column])
        bottom[column] += 12 + len(there) * (BAR + GAP) + 34
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH + 60} {max(bottom)}" role="img"'
            ' aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="13">',
            '<title id="t">maitred beside its peers</title>',
            '<desc id="d">Bars: medians over the rounds; black lines: from the least to the greatest round.</desc>',
            f'<rect width="{2 * WIDTH + 60}" height="{max(bottom)}" fill="#ffffff" rx="10"/>',
            *lines,
            "</svg>\n",
        ]
    )


# ================================================================ files


def write(results: Results, docs: Path = DOCS) -> list[Path]:
    """Record the run, and make the page and the figure."""
    files = {"results.json": to_json(results), "README.md": page(results), "results.svg": svg(results)}
    docs.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (docs / name).write_text(text)
    return [docs / name for name in files]


def recorded() -> Results:
    """The run that the page is made from."""
    return from_json((DOCS / "results.json").read_text())


def merged(old: Results, new: Results) -> Results:
    """The old run, with those stages of it replaced that the new one has."""
    absent = [*new.absent, *(why for why in old.absent if why not in new.absent)]
    both = {**old.stages, **new.stages}
    stages = {name: both[name] for name in sorted(both, key=list(PARTS).index)}
    return Results(
        new.machine,
        new.settings,
        absent,
        stages,
        new.restarts or old.restarts,
        new.again or old.again,
        {**old.calls, **new.calls},
        new.profile or old.profile,
    )


if __name__ == "__main__":
    try:
        write(recorded())
    except Failed as failure:
        print(f"benchmarks: {failure}; nothing is written", file=sys.stderr)
