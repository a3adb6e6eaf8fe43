"""Writes the pages and figures of this folder that follow from the code.

``python -m docs.generate`` writes `generated/state-machines.md`, `generated/messages.md`, `generated/matrix.md`,
`generated/verdicts.md` and `figures/a-stored-client-is-served.svg`; ``--check`` writes nothing and exits 1 where one of
them is stale.

The diagrams are not drawn from what the code looks like but from what it does: `Record` takes steps of the three
machines, in small closed systems and with events drawn at random, and notes what changed on which event.  The draws are
the same each time, and so are the pages.
"""

from __future__ import annotations

import random
import sys
import tempfile
import tomllib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from docs import matrix, verdicts
from docs.random_values import Draws, parts, pick
from docs.refresh import refresh

from maitred.core import distributor, messages, monitor, server
from maitred.core.messages import Acknowledge, BindReply, BindRequest
from maitred.core.transition import Reason, Rejected
from maitred.core.wire import TAGS
from maitred.model.check.checker import check
from maitred.model.story import diagram
from maitred.model.world import Bounds, ConnectionLeaks, Deed, PortDeed, ServerDeed, ServerStep, Stride, System, World

T = TypeVar("T")
HERE: Final = Path(__file__).parent
REQUIREMENTS: Final = HERE.parent / "spec" / "requirements.toml"

SYSTEMS: Final = (
    Bounds(servers=1, clients=1),
    Bounds(servers=1, clients=2, distributor_crashes=1, warm=True),
    Bounds(servers=1, clients=1, server_crashes=1, forked_children=1, warm=True),
    Bounds(servers=1, clients=0, server_crashes=1, stops=1),
    Bounds(servers=1, clients=1, stops=2, warm=True),
    Bounds(servers=1, clients=1, stops=1, server_crashes=1, warm=True),
    Bounds(servers=1, clients=3, dynamic=1, creations=2, deletions=1, warm=True),
    Bounds(servers=1, clients=2, dynamic=1, creations=1, server_crashes=1, warm=True),
    Bounds(servers=1, clients=1, listener_closes=1, warm=True),
    Bounds(servers=1, clients=1, listen_failures=1, repeated_binds=1, fixed=False),
    Bounds(servers=1, clients=1, listen_failures=1),
    Bounds(servers=1, clients=1, elements=2, element_failures=1, element_returns=1, warm=True),
    Bounds(servers=1, clients=1, hand_off_timeouts=1, warm=True),
    Bounds(servers=1, clients=2, hang_ups=1, queue_timeouts=1, unsent=1, accept_failures=1, warm=True),
    Bounds(servers=1, clients=2, audits=1, leaks=1, descriptor_losses=1, reorders=1, warm=True),
    Bounds(servers=2, clients=3, descriptor_losses=1, unsent=1, warm=True),
)
"""Small systems in which, between them, everything happens."""
WORLDS: Final = 2_500
"""Of each system, so many worlds are looked at, breadth first."""
STATES: Final = 200
"""Of each machine, so many of its states in those worlds are given random events as well."""
DRAWS: Final = 80
"""To each of these states, so many random events: half of them drawn from those of the closed systems."""
RANGES: Final = {
    "class_id": (0, 1),
    "element": (0, 2),
    "errno": (1, 1),
    "max_clients": (1, 3),
    "port": (1, 2),
    "server": (1, 3),
    "weight": (1, 3),
}
"""From which numbers those of a field are drawn."""


# ================================================================ what is recorded


def named(event: object) -> str:
    """What an event is called: after the message or the timer that it brings, where it brings one."""
    for inner in ("message", "timer"):
        if hasattr(event, inner):
            return type(getattr(event, inner)).__name__
    return event.value if isinstance(event, Deed) else type(event).__name__


Phases = Mapping[Hashable, str]


@dataclass(frozen=True, slots=True)
class Chart:
    """One state machine within the system."""

    title: str
    text: str
    who: str
    phases: Callable[[Any], Phases]  # Any: the state of whichever machine
    """Of each thing of this kind, its phase; one that is not there has none."""


CHARTS: Final = (
    Chart(
        "The Distributor",
        "`distributor.Phase` (FIG. 5).",
        "distributor",
        lambda s: {0: s.phase.value},
    ),
    Chart(
        "A dialog, as the Distributor sees it",
        "`distributor.DialogPhase`, of each server and port.",
        "distributor",
        lambda s: {(n, p): d.phase.value for n, row in s.servers.items() for p, d in row.dialogs.items()},
    ),
    Chart(
        "The creation of a dynamic server",
        "`distributor.Creation`: whether one is being asked for.",
        "distributor",
        lambda s: {0: s.creation.value},
    ),
    Chart(
        "The Monitor",
        "`monitor.Phase`.",
        "monitor",
        lambda s: {0: s.phase.value},
    ),
    Chart(
        "A server's place",
        "`monitor.PlacePhase`, of each place of a server class. A static place is always there; a dynamic one while it"
        " is filled.",
        "monitor",
        lambda s: {(c, p.place): p.phase.value for c, cls in s.classes.items() for p in cls.places.values()},
    ),
    Chart(
        "The Distributor's place",
        "`monitor.DistributorPhase`, of each server class.",
        "monitor",
        lambda s: {c: cls.distributor.phase.value for c, cls in s.classes.items()},
    ),
)
PROGRAM: Final = Chart(
    "A program, on one port",
    "`model.world.Program`: the unmodified program as the model plays it, by what its socket shows of it.",
    "world",
    lambda w: {(g.server, link.port): link.program.value for g in w.groups if g.main for link in g.links},
)
NOWHERE: Final = "[*]"


@dataclass(slots=True)
class MessageUse:
    """What is known of one message."""

    sent_on: dict[str, None] = field(default_factory=dict)
    effects: dict[str, None] = field(default_factory=dict)
    changes: dict[str, None] = field(default_factory=dict)
    declined: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Record:
    """What was seen, each once and in a fixed order."""

    edges: dict[str, dict[tuple[str, str], set[str]]] = field(default_factory=dict)
    """By chart: from, to, and the events."""
    driven: dict[str, dict[tuple[str, str], set[str]]] = field(default_factory=dict)
    """The same, of edges that only random events led along."""
    uses: dict[type, MessageUse] = field(default_factory=dict)
    states: dict[str, dict[Any, None]] = field(default_factory=dict)  # Any: of every machine
    """By machine: the states that it was in."""
    events: dict[str, dict[Any, None]] = field(default_factory=dict)  # Any: as above
    """By machine: the events that it was given in the closed systems."""

    def begin(self, chart: Chart, state: Any) -> None:  # Any: of whichever machine
        """Note in which phases the machine begins."""
        for phase in chart.phases(state).values():
            self.edges.setdefault(chart.title, {}).setdefault((NOWHERE, phase), set())

    def step(self, who: str, before: Any, event: Any, stride: Stride, *, closed: bool) -> None:  # Any: of any machine
        """A machine has been asked to take a step."""
        for chart in CHARTS:
            if chart.who == who and stride.rejected is None:
                self.move(chart, before, named(event), stride.state, closed=closed)
        if closed:
            self.states.setdefault(who, {})[before] = None
            self.events.setdefault(who, {})[event] = None
            self.message(who, before, event, stride)

    def move(self, chart: Chart, before: Any, event: str, after: Any, *, closed: bool) -> None:  # Any: as above
        """Note the phases that have changed."""
        old, new = chart.phases(before), chart.phases(after)
        for key in {**old, **new}:
            start, end = old.get(key, NOWHERE), new.get(key, NOWHERE)
            if start == end:
                continue
            if closed:
                self.edges.setdefault(chart.title, {}).setdefault((start, end), set()).add(event)
            elif event not in self.edges[chart.title].get((start, end), ()):
                self.driven.setdefault(chart.title, {}).setdefault((start, end), set()).add(event)

    def message(self, who: str, before: Any, event: Any, stride: Stride) -> None:  # Any: as above
        """Note what was sent on the event, and if the event is a message, what it led to."""
        issued = []  # a server's replies: they go into the outbox, and from there into the socket
        if isinstance(before, server.EndpointState) and stride.rejected is None:
            issued = [reply.message for reply in stride.state.outbox if reply not in before.outbox]
        for sent in (*issued, *filter(None, map(carried, stride.effects))):
            self.uses.setdefault(type(sent), MessageUse()).sent_on[named(event)] = None
        read = event if type(event) in TAGS.values() else getattr(event, "message", None)
        if read is None:
            if not isinstance(event, distributor.BindRequested):
                return
            read = BindRequest(event.port, event.address)
        use = self.uses.setdefault(type(read), MessageUse())
        if stride.rejected is not None:
            use.declined[stride.rejected.value] = None
            return
        use.effects.update(dict.fromkeys(effect_named(effect) for effect in stride.effects))
        use.changes.update(dict.fromkeys(changed(before, stride.state)))


def carried(effect: object) -> object | None:
    """The message that the effect sends."""
    message = getattr(effect, "message", None)
    return message if type(message) in TAGS.values() else None


def effect_named(effect: object) -> str:
    """What an effect is called: with what it sends, or sets."""
    inner = getattr(effect, "message", None) or getattr(effect, "timer", None)
    return f"{type(effect).__name__}({type(inner).__name__})" if inner is not None else type(effect).__name__


COMPONENTS: Final = {
    distributor.DistributorState: "servers ports",
    monitor.MonitorState: "classes elements",
    monitor.ClassState: "places",
    distributor.ServerStatus: "dialogs",
    server.EndpointState: "listeners",
}
"""The fields that are tables of rows with fields of their own."""
DERIVED: Final = {
    "next_rank",
    "rank",
    "free",
    "drainable",
    "drained",
    "outstanding",
    "promised",
    "living",
    "next_server",
    "outbox",
}
"""Fields that follow from others, or are only names."""


def changed(before: Any, after: Any) -> Iterator[str]:  # Any: of any machine
    """The fields that differ, those of rows as ``Row.field``."""
    if before is None or after is None or not is_dataclass(before) or type(before) is not type(after):
        return
    tables = COMPONENTS.get(type(before), "").split()
    for each in fields(before):
        old, new = getattr(before, each.name), getattr(after, each.name)
        if old == new or each.name in DERIVED:
            continue
        if each.name not in tables:
            yield f"{type(before).__name__}.{each.name}"
            continue
        for key in dict.fromkeys((*old, *new)):
            if key not in old or key not in new:
                yield f"{type(before).__name__}.{each.name}"
            else:
                yield from changed(old[key], new[key])


# ================================================================ taking steps


MACHINES: Final[Mapping[str, Any]] = {"distributor": distributor, "monitor": monitor, "server": server}  # Any: modules


def explored() -> Record:
    """Every step within the first worlds of every system, then random ones."""
    record = Record()
    for chart in CHARTS:
        record.begin(chart, beginning(chart.who))
    record.begin(PROGRAM, System(Bounds(servers=1, clients=0)).initial())
    for bounds in SYSTEMS:
        explore(record, bounds)
    for who in MACHINES:
        drive(record, who)
    return record


def beginning(who: str) -> Any:  # Any: a state of the machine
    """The machine's first state."""
    if who == "distributor":
        return distributor.initial(1, 0, 1, (), fixed=False)
    config = monitor.ClassConfig(static=1, dynamic=0, max_clients=1, waiting_limit=1, elements=(0,))
    return monitor.initial((config,), (1,))


def explore(record: Record, bounds: Bounds) -> None:
    """Breadth first."""

    def judge(who: str, before: Any, event: Any, stride: Stride) -> tuple[str, ...]:  # Any: of any machine
        record.step(who, before, event, stride, closed=True)
        return ()

    system = System(bounds, judge)
    first = system.initial()
    seen, queue = {system.key(first)}, deque([first])
    while queue and len(seen) < WORLDS:
        world = queue.popleft()
        for action, after, _ in system.successors(world):
            if isinstance(action, ServerStep | ServerDeed | PortDeed | ConnectionLeaks):
                program(record, world, action, after)
            if system.key(after) not in seen:
                seen.add(system.key(after))
                queue.append(after)


def program(
    record: Record, before: World, action: ServerStep | ServerDeed | PortDeed | ConnectionLeaks, after: World
) -> None:
    """What the step of a server did to its program; others' steps may rename it."""
    what = action.what
    if any(group.server == action.server and group.main for group in after.groups):
        record.move(PROGRAM, before, named(what), after, closed=True)
    if what in (Deed.BINDS, Deed.BINDS_AGAIN):
        record.uses.setdefault(BindRequest, MessageUse()).sent_on[f"the program {what.value}"] = None


def drive(record: Record, who: str) -> None:
    """Random events, to states of the closed systems: what never happens there is declined too, or goes further."""
    dice = random.Random(0)  # its `random` gives the same numbers for ever
    draws = Draws(dice, RANGES, otherwise=(0, 3))
    kinds = list(parts(MACHINES[who].Event))
    states, events = list(record.states[who]), list(record.events[who])
    for state in states[:: max(len(states) // STATES, 1)]:
        for i in range(DRAWS):
            event = pick(events, dice) if i % 2 else draws.value(pick(kinds, dice))
            result = MACHINES[who].step(state, event)
            if isinstance(result, Rejected):
                stride = Stride(state, (), result.reason, ())
            else:
                stride = Stride(result.state, result.effects, None, ())
            record.step(who, state, event, stride, closed=False)


# ================================================================ the pages

OPENING: Final = "Generated from the code by `python -m docs.generate`; do not edit."


def state_machines(record: Record) -> str:
    """The text of `generated/state-machines.md`."""
    out = [
        "# State machines",
        "",
        OPENING,
        "",
        "Each edge was found by taking steps of the very functions that drive the sockets, in small closed systems",
        "with faults (`maitred check` explores larger ones). Its label names the events that led along it: a message",
        "by its name, a timer by its. An event that several edges bear leads along one or the other, as the state is.",
        "A thing that is not there yet, or no more, is the dot.",
    ]
    for chart in (*CHARTS, PROGRAM):
        out += ["", f"## {chart.title}", "", chart.text, "", "```mermaid", *mermaid(record.edges[chart.title]), "```"]
        more = [
            f"| {start} | {end} | {', '.join(f'`{event}`' for event in sorted(events))} |"
            for (start, end), events in sorted(record.driven.get(chart.title, {}).items())
        ]
        if more:
            out += [
                "",
                "Seen only where random events were given to states of the closed systems; some may never come:",
                "",
                "| from | to | on |",
                "|---|---|---|",
                *(row.replace("[*]", "(none)") for row in more),
            ]
    out += [
        "",
        "## Why an event is rejected",
        "",
        "`step` gives `Rejected(reason)` and changes nothing. A table atop each machine says which event is rejected",
        "in which phase, and why: [distributor.py](../../reference/maitred/core/distributor.py),",
        "[server.py](../../reference/maitred/core/server.py), [monitor.py](../../reference/maitred/core/monitor.py).",
        "",
        "| reason | says |",
        "|---|---|",
        *(f"| `{reason.name}` | {reason.value} |" for reason in Reason),
    ]
    return "\n".join(out) + "\n"


def mermaid(edges: Mapping[tuple[str, str], set[str]]) -> Iterator[str]:
    """The lines of a state diagram."""
    yield "stateDiagram-v2"
    states = dict.fromkeys(state for edge in sorted(edges) for state in edge if state != NOWHERE)
    for state in states:
        yield f'    state "{state}" as {ident(state)}'
    for (start, end), events in sorted(edges.items()):
        label = f": {'<br/>'.join(sorted(events))}" if events else ""
        yield f"    {ident(start)} --> {ident(end)}{label}"


def ident(state: str) -> str:
    """What Mermaid calls the state."""
    return state if state == NOWHERE else state.replace(" ", "_")


CHANNELS: Final = (
    ("Dialog, towards the server", "Distributor", "Application Server", messages.ToServer),
    ("Dialog, from the server", "Application Server", "Distributor", messages.FromServer),
    ("Control, from the server", "Application Server", "Distributor", messages.ControlFromServer),
    ("Control, towards the server", "Distributor", "Application Server", messages.ControlToServer),
    ("From the Monitor to a Distributor", "Monitor", "Distributor", messages.ToDistributor),
    ("From a Distributor to the Monitor", "Distributor", "Monitor", messages.ToMonitor),
)
SHELL: Final = {
    BindReply: "The program's `bind` returns, with the error if there is one (the shell; no step of a machine).",
    Acknowledge: "Discards it; whoever waits in `close` for it goes on (the shell).",
}
"""What the reader does where no machine's step shows it."""


def message_page(record: Record) -> str:
    """The text of `generated/messages.md`."""
    tags = {kind: tag for tag, kind in TAGS.items()}
    required = requirements()
    out = [
        "# Messages",
        "",
        OPENING,
        "",
        "Every message between the processes: on which events it is sent, and what its reader does with it. Both were",
        "found by taking steps of the machines in small closed systems with faults; what is listed happens in some",
        "state, not in each. Changes are named by class and field. The bytes are in",
        "[wire.md](../../spec/wire.md), the requirements in [requirements.toml](../../spec/requirements.toml).",
    ]
    for title, sender, reader, union in CHANNELS:
        out += ["", f"## {title}"]
        for kind in parts(union):
            use, text = record.uses.get(kind, MessageUse()), " ".join((kind.__doc__ or "").split())
            anchor = f"{tags[kind]}-{kind.__name__.lower()}"
            rows = [
                ("from, to", f"{sender} \u2192 {reader}"),
                ("sent on", listing(use.sent_on)),
                ("the reader's effects", SHELL.get(kind) or listing(use.effects)),
                ("the reader changes", "" if kind in SHELL else listing(use.changes)),
                ("the reader declines", "; ".join(sorted(use.declined))),
                ("requirements", listing(required.get(kind.__name__, ()))),
                ("bytes", f"[tag {tags[kind]}](../../spec/wire.md#{anchor})"),
            ]
            out += ["", f"### {kind.__name__}", "", text, "", "| | |", "|---|---|"]
            out += [f"| {name} | {value} |" for name, value in rows if value]
    return "\n".join(out) + "\n"


def listing(names: Iterable[str]) -> str:
    """Names in the order of the alphabet; what is no name of the code is left as it is."""
    return ", ".join(name if " " in name else f"`{name}`" for name in sorted(names))


def requirements() -> dict[str, list[str]]:
    """Of each message, the requirements whose counterpart in the code it is."""
    found: dict[str, list[str]] = {}
    for entry in tomllib.loads(REQUIREMENTS.read_text(encoding="utf-8"))["requirement"]:
        for part in entry["counterpart"].split(";"):
            module, _, names = part.strip().partition(":")
            if module == "maitred.core.messages":
                for name in names.split(","):
                    ids = found.setdefault(name.strip().partition(".")[0], [])
                    if entry["id"] not in ids:
                        ids.append(entry["id"])
    return found


def figure() -> str:
    """A Distributor's death survived, step by step."""
    result = check(Bounds(servers=1, clients=2, distributor_crashes=1, warm=True))
    on = result["a_stored_client_is_restored_and_served"]
    assert on.path is not None, "a test sees to it that it is witnessed"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figure.svg"
        diagram.write(on.path, on, file)
        return file.read_text(encoding="utf-8")


def files() -> dict[str, str]:
    """Every generated file of this folder, by its path, and its text."""
    record = explored()
    return {
        "generated/state-machines.md": state_machines(record),
        "generated/messages.md": message_page(record),
        "generated/matrix.md": matrix.page(),
        "generated/verdicts.md": verdicts.page(),
        "figures/a-stored-client-is-served.svg": figure(),
    }


def main(argv: list[str]) -> int:
    """Write the files, or with ``--check`` report which are stale."""
    return refresh("docs.generate", {name: (HERE / name, text) for name, text in files().items()}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
