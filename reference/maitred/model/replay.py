"""The trace of a real run, played through the machines again: was every step a step of the machine?

A trace (`maitred.core.record` tells its form) interleaves the lines of several processes; each ``who`` is a stream of
its own, and a server's stream is written by all its processes, one step at a time.  In each stream, an event must be
allowed or have been declined for the reason that the machine gives; its effects must be those of the machine, in their
order; and after each step every invariant of the machine must hold.  Only the last event of a process may lack effects:
it was killed before it had performed them all.  If it was one of several processes of a server, it may have been killed
before or after it had saved the step's state; the next line of the others tells.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Final

from maitred.config.values import MAX_SERVERS
from maitred.core import distributor, monitor, server
from maitred.core.invariants import broken
from maitred.core.record import MACHINES, RecordError, from_record, to_record
from maitred.core.transition import Reason, Rejected, Transition

KINDS: Final = ("start", "event", "effect", "rejected")
"""Each line has exactly one of these keys."""
INITIAL: Final[dict[str, Callable[..., Any]]] = {  # Any: the state of whichever machine
    "monitor": monitor.initial,
    "distributor": distributor.initial,
    "server": server.EndpointState,
}
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {  # Any: type forms have no static type
    "monitor": {"classes": tuple[monitor.ClassConfig, ...], "weights": tuple[int, ...]},
    "distributor": {
        "incarnation": int,
        "dynamic": int,
        "waiting_limit": int,
        "listeners": tuple[tuple[int, str], ...],
        "fixed": bool,
    },
    "server": {},
}
_WHO: Final = re.compile(r"monitor|(?:distributor|server) \d+ \d+")
STEPS: Final[dict[str, Callable[..., Any]]] = {  # Any: the transition of whichever machine
    "monitor": monitor.step,
    "distributor": distributor.step,
    "server": server.step,
}


class Divergence(ValueError):
    """The trace is not one of these machines: `line` (from 1; 0 for the whole file) and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}" if line else why)
        self.line = line
        self.why = why


@dataclass
class Report:
    """What a replay found."""

    lines: int = 0
    machines: int = 0
    """Streams: the Monitor, each incarnation of a Distributor, each incarnation of a server."""
    steps: int = 0
    """Events that a machine took."""
    effects: int = 0
    unperformed: int = 0
    """Effects that a killed process owed at its end."""
    rejections: dict[str, int] = field(default_factory=dict)
    """Events that a machine declined, by reason."""
    divergence: Divergence | None = None
    """The first line that no machine would have written, and why; None where all is well."""

    @property
    def ok(self) -> bool:
        """Every step over real sockets was a step of the machine, and kept its invariants."""
        return self.divergence is None


@dataclass
class _Stream:
    """One machine's part of the trace, as far as it has been read."""

    kind: str
    state: Any  # Any: of whichever machine
    owed: tuple[Any, ...] = ()
    """Effects of the last event that are to come."""
    declined: Reason | None = None
    """The last event was declined by the machine; the trace must say so next."""
    line: int = 0
    """Where the last event is."""
    pid: object = None
    """The process that took the last event; None where the trace does not say."""
    killed: set[object] = field(default_factory=set)
    """Processes that left a step unfinished."""
    before: Any = None  # Any: as above
    """The state before the last event."""
    instead: Any = None  # Any: as above
    """The state that a killed process may have left behind, where it is not certain that it is `state`."""
    other: tuple[Any, Any] | None = None  # Any: as above
    """That state, and what the last event comes to in it."""


def replay(path: str | PathLike[str]) -> Report:
    """Play the trace through the machines.

    Args:
        path: the trace file.

    Raises:
        OSError: the file cannot be read.
    """
    report = Report()
    streams: dict[str, _Stream] = {}
    rejections: Counter[str] = Counter()
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                report.lines = number
                _line(streams, number, raw, report, rejections)
        if not report.lines:
            raise Divergence(0, "the trace is empty: nothing was recorded, so nothing is shown")
        _end(streams)
    except Divergence as divergence:
        report.divergence = divergence
    report.machines = len(streams)
    report.unperformed += sum(len(stream.owed) for stream in streams.values())
    report.rejections = dict(sorted(rejections.items()))
    return report


def _line(streams: dict[str, _Stream], number: int, raw: bytes, report: Report, rejections: Counter[str]) -> None:
    who, kind, content, pid = _parse(number, raw)
    stream = streams.get(who)
    if kind == "start":
        if stream is not None:
            raise Divergence(number, f"{who} starts a second time")
        streams[who] = _Stream(who.split()[0], _start(number, who.split()[0], content), line=number)
        return
    if stream is None:
        raise Divergence(number, f"{who} has not started")
    try:
        if kind == "event":
            report.unperformed += _event(stream, number, content, pid)
            report.steps += stream.declined is None
        elif kind == "effect":
            _effect(stream, number, content)
            report.effects += 1
        else:
            _rejected(stream, number, content)
            rejections[str(content)] += 1
    except RecordError as error:
        raise Divergence(number, f"{who}: {error}") from error


def _parse(number: int, raw: bytes) -> tuple[str, str, object, object]:
    """Who, which kind of line, its content, and the process that wrote it.

    Raises:
        Divergence: the line is no record.
    """
    try:
        record = json.loads(raw)
    except ValueError as error:  # json's own error and UnicodeDecodeError are both of this class
        raise Divergence(number, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise Divergence(number, "is no record: nested too deeply") from error
    if not isinstance(record, dict):
        raise Divergence(number, "is not a JSON object")
    who = record.get("who")
    if not isinstance(who, str) or not _WHO.fullmatch(who):
        raise Divergence(number, f"{who!r} is no machine: monitor, distributor CLASS INCARNATION, server CLASS SERVER")
    kinds = [kind for kind in KINDS if kind in record]
    if len(kinds) != 1:
        raise Divergence(number, f"has {' and '.join(kinds) or 'none'} of {', '.join(KINDS)}; should have exactly one")
    pid = record.get("pid")
    if pid is not None and type(pid) is not int:
        raise Divergence(number, f"pid is {pid!r}; should be a whole number")
    return who, kinds[0], record[kinds[0]], pid


def _start(number: int, kind: str, content: object) -> Any:  # Any: the state of whichever machine
    hints = ARGUMENTS[kind]
    if not isinstance(content, dict):
        raise Divergence(number, "start must hold an object: the arguments of the machine's beginning")
    given = {key: value for key, value in content.items() if key != "is"}
    if given.keys() != hints.keys():
        odd = ", ".join(sorted(given.keys() ^ hints.keys()))
        raise Divergence(number, f"start: missing or unknown: {odd}")
    try:
        arguments = {key: from_record(hint, given[key], f"start.{key}.") for key, hint in hints.items()}
    except RecordError as error:
        raise Divergence(number, str(error)) from error
    if kind == "monitor":
        _check_classes(number, arguments["classes"], len(arguments["weights"]))
    return INITIAL[kind](**arguments)


def _check_classes(number: int, classes: tuple[monitor.ClassConfig, ...], elements: int) -> None:
    """No configuration that was checked says this; the machine, which trusts in that, would not bear it."""
    for i, config in enumerate(classes):
        if not all(0 <= element < elements for element in config.elements):
            odd = ", ".join(map(str, config.elements))
            raise Divergence(number, f"start.classes[{i}].elements: {odd}; weights has {elements} elements, from 0")
        if not (0 <= config.static <= MAX_SERVERS and 0 <= config.dynamic <= MAX_SERVERS):
            raise Divergence(number, f"start.classes[{i}]: static and dynamic should be 0 to {MAX_SERVERS}")


def _event(stream: _Stream, number: int, content: object, pid: object) -> int:
    """Take the event; how many effects of the one before will never come."""
    abandoned = 0
    if stream.owed or stream.declined is not None:
        abandoned = _abandon(stream, number, pid)
    if pid in stream.killed:
        raise Divergence(number, f"process {pid} goes on, though it left the event on an earlier line unfinished")
    if stream.other is not None and not isinstance(stream.other[1], Rejected):
        stream.instead = stream.other[1].state  # the event had no effects to tell the two apart
    event = from_record(MACHINES[stream.kind][0], content, "event.")
    stream.line, stream.pid, stream.before = number, pid, stream.state
    instead, stream.instead = stream.instead, None
    stream.other = None if instead is None else (instead, STEPS[stream.kind](instead, event))
    _take(stream, STEPS[stream.kind](stream.state, event), number)
    return abandoned


def _abandon(stream: _Stream, number: int, pid: object) -> int:
    """The last event is unfinished: right only if its process was killed and the event is another process's."""
    if stream.kind != "server" or pid is None or stream.pid is None or pid == stream.pid:
        if stream.declined is None:
            missing = _show(stream.owed[0])
            why = f"another event, though the one on line {stream.line} still owes its effect {missing}"
        else:
            why = f"the machine declines the event on line {stream.line} ({stream.declined.name}); the trace took it"
        raise Divergence(number, why)
    stream.killed.add(stream.pid)
    abandoned = len(stream.owed)
    stream.instead = stream.before if stream.declined is None else None
    stream.owed, stream.declined = (), None
    return abandoned


def _take(stream: _Stream, result: Any, number: int) -> None:  # Any: what a step of the machine gives
    """Expect what the machine says."""
    if isinstance(result, Rejected):
        stream.declined = result.reason
        return
    stream.state, stream.owed = result.state, result.effects
    wrong = broken(result.state)
    if wrong:
        raise Divergence(number, f"after the event on line {stream.line} the machine's state breaks {', '.join(wrong)}")


def _settle(stream: _Stream, number: int, fits: Callable[[Any], bool]) -> None:  # Any: what a step of the machine gives
    """If a killed process left a doubt, believe what the line now shows."""
    other, stream.other = stream.other, None
    as_expected = Rejected(stream.declined) if stream.declined else Transition(stream.state, stream.owed)
    if other is not None and not fits(as_expected) and fits(other[1]):
        stream.state, stream.owed, stream.declined = other[0], (), None
        _take(stream, other[1], number)


def _effect(stream: _Stream, number: int, content: object) -> None:
    effect = from_record(MACHINES[stream.kind][1], content, "effect.")
    _settle(stream, number, lambda result: not isinstance(result, Rejected) and result.effects[:1] == (effect,))
    if not stream.owed:
        raise Divergence(number, f"effect {_show(effect)}: the event on line {stream.line} has no such effect (left)")
    if effect != stream.owed[0]:
        raise Divergence(
            number, f"effect {_show(effect)}: the event on line {stream.line} has {_show(stream.owed[0])} here"
        )
    stream.owed = stream.owed[1:]
    stream.before = stream.state  # a process saves its step before it writes of the first effect


def _rejected(stream: _Stream, number: int, content: object) -> None:
    _settle(stream, number, lambda result: isinstance(result, Rejected) and result.reason.name == content)
    if stream.declined is None:
        raise Divergence(number, f"declined ({content}): the machine takes the event on line {stream.line}")
    if content != stream.declined.name:
        raise Divergence(number, f"declined as {content}; the machine's reason is {stream.declined.name}")
    stream.declined = None


def _end(streams: dict[str, _Stream]) -> None:
    """Effects may be owed at the end, and a rejection unwritten: the process was killed.  But some machine must run."""
    if not any(stream.line for stream in streams.values()):
        raise Divergence(0, "no machine has started")


def _show(value: object) -> str:
    return json.dumps(to_record(value))
