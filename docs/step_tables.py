"""Writes the table atop each machine of the core: which event it takes in which phase, and why it rejects the others.

``python -m docs.step_tables`` writes the tables into the docstrings of `distributor.py`, `server.py` and `monitor.py`,
between the lines `BEGIN` and `END`; ``--check`` writes nothing and exits 1 where a table is stale.

The tables are not read off the code: `walks` takes steps of each machine by itself, with events drawn at random, and
notes their outcomes.  The draws are the same each time.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, TypeAlias

from docs.random_values import Draws, hints_of, parts, pick
from docs.refresh import refresh

from maitred.core import distributor, monitor, server
from maitred.core.messages import Client
from maitred.core.transition import Reason, Rejected, Transition
from maitred.core.tree import Tree

MACHINES: Final[Mapping[str, Any]] = {"distributor": distributor, "server": server, "monitor": monitor}  # Any: modules
BEGIN: Final = "Steps, written by ``python -m docs.step_tables``:"
LEGEND: Final = """\
"+": the event may be taken in this phase; a phase: so it may lead there; a number: it may be rejected for that reason
of the row.  A message or a timer stands for the event that brings it."""
NOTES: Final = {
    "distributor": "",
    "server": "  The endpoint has no phases: a column is the state of the event's port.",
    "monitor": "  Not shown: events of an unknown server class.",
}
END: Final = "(End of the steps.)"

WALKS: Final = 700
LENGTH: Final = 6
"""The number of random walks, and of states in each."""
KEPT: Final = 30
"""The number of states kept for each kind of step."""
SEEDS: Final = {"distributor": 3, "server": 0, "monitor": 1}
"""Of the random events.  If a table loses what can still happen, after a change of the core, take another seed."""

See: TypeAlias = Callable[[Any, Any, Any], None]  # Any: of any machine
"""Is given each step: the state, the event, and the `Transition` or `Rejected`."""
Cells: TypeAlias = dict[str, dict[str, dict[Reason | str, None]]]
"""By event and phase, the outcomes: the reason for which it was rejected, or the phase after it."""

# ================================================================ the steps


def walks(who: str, see: See) -> None:
    """Take the machine through random walks.  Three of four begin next to a step taken before, of a kind drawn evenly:
    so rare steps are often gone on from.
    """
    dice = random.Random(SEEDS[who])  # its `random` gives the same numbers for ever
    machine = MACHINES[who]
    kinds = [inner for kind in parts(machine.Event) for inner in variants(kind)]
    corpus: dict[Any, list[Any]] = {}
    for number in range(WALKS):
        state = pick(corpus[pick([*corpus], dice)], dice) if number % 4 else beginning(who, number // 4)
        for turn in range(LENGTH):
            draws, ways = Draws(dice, RANGES, otherwise=(0, 2), likely=likely(state, turn)), [state]
            for kind in kinds:
                event = draws.value(kind[0], brought=kind[1])
                outcome = machine.step(state, event)
                see(state, event, outcome)
                if isinstance(outcome, Transition):
                    ways.append(outcome.state)
                    step = phases(who, state, event), phases(who, outcome.state, event), *map(named, outcome.effects)
                    kept = corpus.setdefault((kind, *step), [])
                    if len(kept) < KEPT or dice.random() < 0.2:
                        kept += [state, outcome.state]
                        kept[:-KEPT] = []
            state = pick(ways, dice)


def beginning(who: str, number: int) -> Any:  # Any: a state of the machine
    """The machine's first state, in one of several configurations."""
    listeners = ((1, "*:1"), (2, "*:2"))[: number % 3]
    if who == "distributor":
        return distributor.initial(1, number % 2, 2, listeners, fixed=bool(listeners))
    if who == "server":
        return server.EndpointState()
    config = monitor.ClassConfig(1, number % 2, 2, 2, (0, 1), listeners, fixed=bool(listeners))
    return monitor.initial((config,), (1, 1))


def variants(kind: Any) -> Iterator[tuple[Any, Any]]:  # Any: types
    """The event with each message or timer that it may bring."""
    name = next((name for name in ("message", "timer") if name in hints_of(kind)), None)
    for inner in parts(hints_of(kind)[name]) if name else (None,):
        yield kind, inner


def likely(state: Any, turn: int) -> dict[object, list[Any]]:  # Any: of any machine; values of a class, or of a field
    """From what most values of an event are drawn, in this state and after so many events."""
    module = sys.modules[type(state).__module__]
    timers = [event.timer for event in module.enabled(state)] if hasattr(module, "enabled") else []
    tables = (getattr(state, "servers", ()), *(cls.living for cls in getattr(state, "classes", Tree()).values()))
    values: dict[object, list[Any]] = {  # Any: as above
        Client: list(values_in(state, Client)),
        server.Reply: list(values_in(state, server.Reply)),
        "server": [number for table in tables for number in table],
        "incarnation": [getattr(state, "incarnation", 1)],
        "sequence": [turn],
    }
    for timer in timers:
        values.setdefault(type(timer), []).append(timer)
    return values


RANGES: Final = {
    "class_id": (0, 0),
    "element": (0, 2),
    "errno": (1, 1),
    "incarnation": (0, 2),
    "max_clients": (2, 2),
    "port": (1, 2),
    "sequence": (0, 40),
    "server": (1, 4),
    "weight": (1, 2),
}
"""From which numbers those of a field are drawn."""


def values_in(value: Any, kind: type) -> Iterator[Any]:  # Any: a state, and what is in it
    """The values of the class within the value."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Tree):
        for key, inner in value.items():
            yield from values_in(key, kind)
            yield from values_in(inner, kind)
    elif isinstance(value, tuple):
        for inner in value:
            yield from values_in(inner, kind)
    elif is_dataclass(value):
        for each in fields(value):
            yield from values_in(getattr(value, each.name), kind)


# ================================================================ the tables


def named(event: Any) -> str:  # Any: of any machine
    """What the event is called: after the message or the timer that it brings, where it brings one."""
    return type(getattr(event, "message", None) or getattr(event, "timer", None) or event).__name__


PORT_PHASES: Final = ("not bound", "bound", "listening")
"""The columns of the endpoint, which has no phases: the state of the port that the event is about."""


def phases(who: str, state: Any, event: Any) -> tuple[str, ...]:  # Any: of any machine
    """The columns that the state belongs to: of the endpoint all, where the event is about no port."""
    if who != "server":
        return (state.phase.value,)
    port = getattr(getattr(event, "client", None) or getattr(event, "reply", None) or event, "port", None)
    if port is None:
        return PORT_PHASES
    listener = state.listeners.get(port, None)
    return (PORT_PHASES[0 if listener is None else 1 + listener.listening],)


def cells(who: str) -> Cells:
    """What came of which event in which phase."""
    found: Cells = {}

    def see(state: Any, event: Any, outcome: Any) -> None:  # Any: as above
        for phase in phases(who, state, event):
            seen = found.setdefault(named(event), {}).setdefault(phase, {})
            if isinstance(outcome, Rejected):
                seen[outcome.reason] = None
            else:
                after = phases(who, outcome.state, event)
                seen[phase if phase in after else after[0]] = None

    walks(who, see)
    return found


def table(who: str, found: Cells) -> str:
    """The text between the marks."""
    columns = PORT_PHASES if who == "server" else tuple(phase.value for phase in MACHINES[who].Phase)
    rows = [("event", *columns, "may be rejected with")]
    for kind in parts(MACHINES[who].Event):
        for event, inner in variants(kind):
            name = (inner or event).__name__
            reasons = [r for r in Reason if any(r in seen for seen in found[name].values())]
            texts = (cell(found[name].get(column, {}), column, columns, reasons) for column in columns)
            rows.append((name, *texts, " ".join(f"{i} {r.name}" for i, r in enumerate(reasons, 1))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("=" * width for width in widths)
    lines = (rule, rows[0], rule, *rows[1:], rule)
    text = (" ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join((BEGIN, "", *wrap(LEGEND.replace("\n", " ") + NOTES[who], 120), "", *text, "", END))


def cell(seen: Mapping[Reason | str, None], phase: str, columns: tuple[str, ...], reasons: list[Reason]) -> str:
    """What happens to an event in a phase."""
    stays = "+" if phase in seen else ""
    leads = " ".join(other for other in columns if other in seen and other != phase)
    numbers = "".join(str(i) for i, reason in enumerate(reasons, 1) if reason in seen)
    return " ".join(filter(None, (stays, leads, numbers)))


def main(argv: Sequence[str]) -> int:
    """Write the tables, or with ``--check`` report which are stale."""
    files = {}
    for who, module in MACHINES.items():
        path = Path(module.__file__)
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        assert begin and end, f"{path}: a line {BEGIN!r} and a line {END!r} have the table between them"
        files[path.name] = path, before + table(who, cells(who)) + after
    return refresh("docs.step_tables", files, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
