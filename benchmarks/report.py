"""What the runs have measured, as JSON, as tables, as a figure and as the page docs/benchmarks/README.md.

The page and the figure are made from docs/benchmarks/results.json and from nothing else, the sentences with figures in
them included: `python -m benchmarks.report` makes them again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import median

from benchmarks.load import Sample

DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
GB = 1e9
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
    """A peer, as it was while it was measured."""

    kind: str
    copies: int
    processes: int
    threads: int
    """Of the processes that are not servers."""


@dataclass(frozen=True)
class Results:
    """A whole run."""

    machine: dict[str, str]
    settings: dict[str, float]
    busy: list[float]
    """Before each round: the share of the machine that was in use while all peers rested."""
    peers: dict[str, Arrangement]
    rounds: list[dict[str, dict[str, Measured]]]
    """By peer and by workload."""


def to_json(results: Results) -> str:
    """The run as text."""
    return json.dumps(asdict(results), indent=1) + "\n"


def from_json(text: str) -> Results:
    """The run again."""
    data = json.loads(text)
    rounds = [
        {
            peer: {name: Measured(Sample(**turn.pop("sample")), **turn) for name, turn in turns.items()}
            for peer, turns in peers.items()
        }
        for peers in data["rounds"]
    ]
    peers = {name: Arrangement(**arrangement) for name, arrangement in data["peers"].items()}
    return Results(data["machine"], data["settings"], data["busy"], peers, rounds)


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


def per_result(seconds: float, turn: Measured) -> float:
    """Microseconds of CPU for one result (the same number: milliseconds for 1,000 of them)."""
    return seconds / max(turn.sample.everything, 1) * 1e6


def front_cpu(turn: Measured) -> float:
    return per_result(turn.front + turn.others, turn)


def server_cpu(turn: Measured) -> float:
    return per_result(turn.servers, turn)


def front_cpu_per_gb(turn: Measured) -> float:
    """Milliseconds of CPU for one gigabyte (10^9 bytes)."""
    size = max(turn.sample.bytes / turn.sample.seconds * turn.elapsed, 1)
    return (turn.front + turn.others) / size * GB * 1e3


def busiest(turn: Measured) -> float:
    """The share of the copy that served most, in percent."""
    served = turn.sample.served.values()
    return 100 * max(served, default=0) / max(sum(served), 1)


# ================================================================ figures of the run


def figures(results: Results, peer: str, workload: str, figure: Figure) -> list[float]:
    """One for each round."""
    return [figure(turns[peer][workload]) for turns in results.rounds]


def middle(results: Results, peer: str, workload: str, figure: Figure) -> float:
    """The median over the rounds."""
    return median(figures(results, peer, workload, figure))


def ratios(results: Results, one: str, other: str, workload: str, figure: Figure) -> list[float]:
    """One peer's figure by the other's, in each round."""
    pairs = zip(figures(results, one, workload, figure), figures(results, other, workload, figure), strict=True)
    return [mine / theirs if theirs else float("inf") for mine, theirs in pairs]


def failures(results: Results) -> dict[str, int]:
    """By peer, workload and kind; empty in a good run."""
    found: dict[str, int] = {}
    for turns in results.rounds:
        for peer, workloads in turns.items():
            for workload, turn in workloads.items():
                for kind, count in turn.sample.failed.items():
                    name = f"{peer}, {workload}: {kind}"
                    found[name] = found.get(name, 0) + count
    return found


# ================================================================ tables

Column = tuple[str, Figure, str]

CONNECTIONS: list[Column] = [
    ("connections/s", rate, ",.0f"),
    ("p50, ms", p50, ".2f"),
    ("p99, ms", p99, ".2f"),
    ("front's CPU, µs each", front_cpu, ".0f"),
    ("servers' CPU, µs each", server_cpu, ".0f"),
    ("busiest copy, %", busiest, ".0f"),
]
ALONE = CONNECTIONS[:3]
REQUESTS: list[Column] = [
    ("requests/s", rate, ",.0f"),
    ("p50, ms", p50, ".2f"),
    ("p99, ms", p99, ".2f"),
    ("front's CPU, µs each", front_cpu, ".1f"),
]
DOWNLOAD: list[Column] = [
    ("MB/s", speed, ",.0f"),
    ("front's CPU, ms per GB", front_cpu_per_gb, ".1f"),
]
PARTS = [
    (
        "crowd",
        "New connections: 64 clients at a time",
        "Each client connects, sends one request, reads the 64-byte answer to the end of file, and begins again; the "
        "times run from connect to end of file.",
        CONNECTIONS,
    ),
    (
        "alone",
        "New connections: one client at a time",
        "The same, with nobody else about: what stands in front adds this much to each connection.",
        ALONE,
    ),
    (
        "requests",
        "Requests on connections that stay open",
        "64 clients are connected already and ask again and again. After a hand-off nothing of maitred is in the way.",
        REQUESTS,
    ),
    (
        "download",
        "Downloads",
        "One client fetches {size:.0f} MiB, again and again.",
        DOWNLOAD,
    ),
]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table, its first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def title(peer: Arrangement) -> str:
    """A peer's name for people."""
    if peer.kind == "direct":
        return "one copy, nothing in front"
    return f"{'HAProxy' if peer.kind == 'haproxy' else peer.kind}, {peer.copies} copies"


def part(results: Results, workload: str, columns: list[Column]) -> str:
    """The medians of one workload."""
    rows = [
        [title(peer), *(format(middle(results, name, workload, figure), form) for _, figure, form in columns)]
        for name, peer in results.peers.items()
    ]
    return markdown(["", *(heading for heading, _, _ in columns)], rows)


COMPARED: list[tuple[str, str, Figure]] = [
    ("new connections/s, 64 clients", "crowd", rate),
    ("its p50", "crowd", p50),
    ("its p99", "crowd", p99),
    ("front's CPU for a connection", "crowd", front_cpu),
    ("p50 of a connection, one client", "alone", p50),
    ("requests/s on open connections", "requests", rate),
    ("p99 of a request", "requests", p99),
    ("download, MB/s", "download", speed),
]


def comparison(results: Results) -> str:
    """maitred by HAProxy: the median ratio, and the least and the greatest of any round."""
    pairs = [
        (name, f"haproxy-{peer.copies}", peer.copies)
        for name, peer in results.peers.items()
        if peer.kind == "maitred" and f"haproxy-{peer.copies}" in results.peers
    ]
    rows = []
    for heading, workload, figure in COMPARED:
        row = [heading]
        for one, other, _ in pairs:
            found = ratios(results, one, other, workload, figure)
            row.append(f"**{median(found):.2f}** ({min(found):.2f} to {max(found):.2f})")
        rows.append(row)
    return markdown(["maitred ÷ HAProxy", *(f"{copies} copies" for _, _, copies in pairs)], rows) if pairs else ""


def processes(results: Results) -> str:
    """How many processes each arrangement is made of."""
    rows = [
        [title(peer), str(peer.processes), str(peer.processes - peer.copies), str(peer.threads)]
        for peer in results.peers.values()
    ]
    return markdown(["", "processes", "of them not servers", "threads of those"], rows)


def tables(results: Results) -> str:
    """The run for the terminal."""
    parts = [f"{heading}\n\n{part(results, name, columns)}" for name, heading, _, columns in PARTS]
    return "\n\n".join([*parts, comparison(results), trouble(results)]).rstrip()


def trouble(results: Results) -> str:
    """What went wrong, if anything."""
    found = failures(results)
    if not found:
        return "No connection failed, no answer was wrong, in any round of any peer."
    return "**Failed:** " + "; ".join(f"{name}: {count}" for name, count in found.items()) + "."


# ================================================================ the page

PAGE = """\
# maitred beside HAProxy

<!-- Generated from results.json by `python -m benchmarks.report`; do not edit. -->

{summary}

![The same figures as bars](results.svg)

{comparison}

The ratios are taken within each round; the bold figure is their median, in brackets the least and the greatest.

{parts}
## Processes

{processes}

maitred's are its Monitor, its Distributor and what Python's `multiprocessing` starts beside them; HAProxy's is one
process, with a thread for each CPU.

## How it was measured

`make bench` does it again (`python -m benchmarks --write` records it here). {trouble}

- {rounds:.0f} rounds in one run. All peers run from beginning to end; in each round each takes its turn at each
  workload, and the next round begins with the next peer. The tables show medians over the rounds. A turn of the first
  workload is {seconds:g} s long, one of the others {half:g} s, after {warmup} s of warming up.
- The same unmodified server, [`{server}`](../../{server}), stands behind all.
  HAProxy is in TCP mode with `balance leastconn` and `maxconn {seats}` for each copy, as many as maitred's
  `--max-clients`; no logging, no health checks, its default threads. maitred runs as
  `maitred run -b HOST:PORT --static N`, without `--trace`.
- The front's CPU is what /proc/PID/stat shows for HAProxy, and for maitred's Distributor, Monitor and all else that is
  not a server. What maitred adds *inside* a server, its share of the hand-off, is in the servers' CPU: compare with
  the row without a front.
- Closed loop: each of the clients begins again when it has been answered, so a slower peer is asked less often, and
  latency is throughput seen from the other side. Connections go over loopback.

Read with care:

- **The load generator and the servers share the machine's {cpus} CPUs with what is measured.** Connections per second
  compare the CPU that everything together spends on a connection; with CPUs to spare they would compare the slowest
  process. The one copy without a front has both CPUs for itself and the generator.
- HAProxy's downloads are without `option splice-auto`, its default; tried apart on this machine, it changed nothing.
- Before the rounds, with all peers at rest, other processes kept {least:.0f} to {most:.0f} % of the machine
  busy.{warning}

| | |
|---|---|
{machine}
"""

QUIET = 0.1
WARNING = " **It was not quiet: trust the ratios and the CPU for each connection, not the rates and the times.**"
"""Said where more than `QUIET` of the machine was in use by others."""


def summary(results: Results) -> str:
    """The run in sentences, each of which is computed."""
    sentences = []
    for name, peer in results.peers.items():
        other = f"haproxy-{peer.copies}"
        if peer.kind != "maitred" or other not in results.peers:
            continue
        mine, theirs = (middle(results, each, "crowd", rate) for each in (name, other))
        slow, quick = (middle(results, each, "crowd", p99) for each in (name, other))
        share = median(ratios(results, name, other, "crowd", rate))
        sentences.append(
            f"With {peer.copies} copies, maitred seats **{mine:,.0f} new connections/s** (p99 {slow:.1f} ms) where "
            f"HAProxy relays **{theirs:,.0f}** (p99 {quick:.1f} ms): {share:.2f} times as many."
        )
        asked = median(ratios(results, name, other, "requests", rate))
        fetched = median(ratios(results, name, other, "download", speed))
        sentences.append(
            f"Once a client is seated, it is served {asked:.1f} times the requests/s and {fetched:.1f} times the MB/s."
        )
    return " ".join(sentences)


def page(results: Results) -> str:
    """docs/benchmarks/README.md."""
    size = results.settings["size"] / (1 << 20)
    parts = "\n".join(
        f"## {heading}\n\n{text.format(size=size)}\n\n{part(results, name, columns)}\n"
        for name, heading, text, columns in PARTS
    )
    return PAGE.format(
        summary=summary(results),
        comparison=comparison(results),
        parts=parts,
        processes=processes(results),
        trouble=trouble(results),
        rounds=results.settings["rounds"],
        seconds=results.settings["seconds"],
        half=results.settings["seconds"] / 2,
        warmup=results.settings["warmup"],
        seats=f"{results.settings['seats']:.0f}",
        server=results.machine["server"],
        cpus=results.machine["cpus"],
        least=100 * min(results.busy),
        most=100 * max(results.busy),
        warning=WARNING if max(results.busy) > QUIET else "",
        machine="\n".join(f"| {name} | {value} |" for name, value in results.machine.items()),
    )


# ================================================================ the figure

COLOURS = {"direct": "#9ca3af", "maitred": "#15803d", "haproxy": "#4f46e5"}
WIDTH, LABEL, BAR, GAP = 480, 190, 20, 8


def panel(results: Results, heading: str, workload: str, figure: Figure, x: int, y: int) -> list[str]:
    """One figure of all peers as bars: the median, and a line from the least to the greatest of the rounds."""
    seen = {name: figures(results, name, workload, figure) for name in results.peers}
    most = max(max(values) for values in seen.values()) or 1
    room = WIDTH - LABEL - 90
    lines = [f'<text x="{x}" y="{y}" font-size="15" font-weight="700" fill="#111827">{escape(heading)}</text>']
    for row, (name, values) in enumerate(seen.items()):
        top = y + 14 + row * (BAR + GAP)
        low, mid, high = (round(value / most * room, 1) for value in (min(values), median(values), max(values)))
        start, centre = x + LABEL, top + BAR / 2
        who = results.peers[name]
        said = format(median(values), ",.0f" if median(values) >= 100 else ".2f")
        lines += [
            f'<text x="{start - 8}" y="{top + 15}" text-anchor="end" fill="#374151">{title(who)}</text>',
            f'<rect x="{start}" y="{top}" width="{mid}" height="{BAR}" rx="2" fill="{COLOURS[who.kind]}"/>',
            f'<path d="M{start + low:.1f} {centre}H{start + high:.1f}" stroke="#111827" stroke-width="1.5"/>',
            f'<text x="{start + high + 6:.1f}" y="{top + 15}" fill="#111827">{said}</text>',
        ]
    return lines


def svg(results: Results) -> str:
    """docs/benchmarks/results.svg."""
    panels: list[tuple[str, str, Figure]] = [
        ("New connections per second, 64 clients", "crowd", rate),
        ("p99 of a new connection, ms, 64 clients", "crowd", p99),
        ("p50 of a new connection, ms, one client", "alone", p50),
        ("Front's CPU for a connection, µs", "crowd", front_cpu),
        ("Requests per second, open connections", "requests", rate),
        ("Download, MB/s", "download", speed),
    ]
    height = 14 + len(results.peers) * (BAR + GAP) + 34
    lines = []
    for place, (heading, workload, figure) in enumerate(panels):
        x, y = 20 + place % 2 * (WIDTH + 20), 34 + place // 2 * height
        lines += panel(results, heading, workload, figure, x, y)
    total = 2 * WIDTH + 60, 20 + (len(panels) + 1) // 2 * height
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}" role="img"'
            ' aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="13">',
            '<title id="t">maitred beside HAProxy</title>',
            '<desc id="d">Bars: medians over the rounds; black lines: from the least to the greatest round.</desc>',
            f'<rect width="{total[0]}" height="{total[1]}" fill="#ffffff" rx="10"/>',
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


if __name__ == "__main__":
    write(from_json((DOCS / "results.json").read_text()))
    sys.exit(0)
