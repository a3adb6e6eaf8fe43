"""Replays recorded steps through the machines: was every step a step of the machine?

`replay` replays a file.  `MachineReplay` replays one machine, step by step: `replay` has one for each machine of the
file, and the verifier (`maitred.shell.observe.verifier_process`) one for each running machine.

A trace (its form: `maitred.core.record`) interleaves the lines of several processes; each ``who`` is a machine.  A
server's lines are written by all its processes, one step at a time.  For each machine, an event must be allowed, or
have been declined for the reason that the machine gives; its effects must be those of the machine, in their order; and
after each step every invariant of the machine must hold.  Only the last event of a process may lack effects: it was
killed before it had performed them all.  If it was one of several processes of a server, it may have been killed before
or after it had saved the step's state; the next lines of the others show which.

Over all machines: no connection is delivered twice, by one server or by two (`Deliveries`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import InitVar, dataclass, field, fields, replace
from os import PathLike
from typing import Any, Final

from maitred.config.values import MAX_SERVERS
from maitred.core import distributor, invariants, monitor, server
from maitred.core.invariants import broken
from maitred.core.record import MACHINES, RecordError, from_record, to_record
from maitred.core.transition import Reason, Rejected

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
_SENTENCES: Final[dict[str, str]] = {
    name: (holds.__doc__ or "").partition("\n")[0]
    for machine in (invariants.DISTRIBUTOR, invariants.SERVER, invariants.MONITOR)
    for name, holds in machine.items()
}
_MAX_LENGTH: Final = 200
"""Characters of a value in a message."""
STATES: Final[dict[str, type]] = {
    "monitor": monitor.MonitorState,
    "distributor": distributor.DistributorState,
    "server": server.EndpointState,
}
_WHO: Final = re.compile(r"monitor|(?:distributor|server) \d+ \d+")
STEPS: Final[dict[str, Callable[..., Any]]] = {  # Any: the transition of whichever machine
    "monitor": monitor.step,
    "distributor": distributor.step,
    "server": server.step,
}


class Mismatch(ValueError):
    """The machines would not have written this: `line` (from 1; 0 for the whole file) and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}" if line else why)
        self.line = line
        self.why = why


@dataclass
class ReplayResult:
    """What a replay has found."""

    lines: int = 0
    machines: int = 0
    """The Monitor, each incarnation of a Distributor, each incarnation of a server."""
    steps: int = 0
    """Events that a machine took."""
    effects: int = 0
    unperformed: int = 0
    """Effects that a killed process had not performed."""
    rejections: dict[str, int] = field(default_factory=dict)
    """Events that a machine declined, by reason."""
    mismatch: Mismatch | None = None
    """The first line that no machine would have written, and why; None: there is none."""
    unsaved: frozenset[int] = frozenset()
    """Lines of events that have not happened: a process was killed before it saved the step, and another went on."""

    @property
    def ok(self) -> bool:
        """Every step over real sockets was a step of the machine, and kept its invariants."""
        return self.mismatch is None


@dataclass(frozen=True, slots=True)
class _Possibility:
    """One state in which the machine may be, as far as the records show."""

    state: Any  # Any: of whichever machine
    before: Any  # Any: as above
    """The state before the last event; the same as `state` where the step has certainly been saved."""
    pending: tuple[Any, ...] = ()
    """Effects of the last event that have not been recorded yet."""
    declined: Reason | None = None
    """The machine declines the last event; the next record must say so."""
    killed: frozenset[object] = frozenset()
    """Processes that left a step unfinished."""
    unsaved: frozenset[int] = frozenset()
    """Numbers of the events whose step was not saved."""

    @property
    def complete(self) -> bool:
        return not self.pending and self.declined is None


POSSIBILITIES: Final = 4
"""Number of them that are kept, the likeliest first."""


@dataclass
class MachineReplay:
    """The replay of one machine, event by event.

    Where another process of a server takes an event, the process of the event before may have been killed, and its step
    saved or not: then both possibilities are kept, until the records rule out one.

    Each method takes the number of the line or step, for the message, and raises `Mismatch` where the machine would not
    have done that.
    """

    kind: str
    """Which machine: a key of `STEPS`."""
    begun: InitVar[Any]  # Any: of whichever machine
    """The state to begin with."""
    unit: str = "on line"
    """What is written before a number: of a line or of a step."""
    line: int = 0
    """The number of the last event."""
    pid: object = None
    """The process that took the last event; None where the trace does not say."""
    possibilities: list[_Possibility] = field(init=False)
    """The likeliest first."""

    def __post_init__(self, begun: Any) -> None:
        self.possibilities = [_Possibility(begun, begun)]

    @property
    def state(self) -> Any:
        """The machine's state."""
        return self.possibilities[0].state

    @property
    def pending(self) -> tuple[Any, ...]:
        """Effects of the last event that have not been recorded yet."""
        return self.possibilities[0].pending

    @property
    def declined(self) -> Reason | None:
        """Why the machine declines the last event, while that has not been recorded."""
        return self.possibilities[0].declined

    @property
    def unsaved(self) -> frozenset[int]:
        """Numbers of the events whose step was not saved, if all that happened has been recorded."""
        return next((each for each in self.possibilities if each.complete), self.possibilities[0]).unsaved

    @property
    def complete(self) -> bool:
        """Whether all that the machine does at the last event has been recorded."""
        return any(each.complete for each in self.possibilities)

    def event(self, number: int, event: object, pid: object = None) -> int:
        """The machine takes the event; how many effects of the one before were never performed."""
        other = self.kind == "server" and None not in (pid, self.pid) and pid != self.pid
        following = [(old, new) for old in self.possibilities for new in self._ended(old, other)]
        if not following:
            raise Mismatch(number, self._unfinished())
        following = [(old, new) for old, new in following if pid not in new.killed]
        if not following:
            raise Mismatch(number, f"process {pid} goes on, though it left an earlier event unfinished")
        abandoned = len(following[0][0].pending)
        self.line, self.pid = number, pid
        possibilities = [self._taken(new, event) for _, new in following[:POSSIBILITIES]]
        wrong = [broken(each.state) for each in possibilities]
        if all(wrong):
            raise Mismatch(number, f"after {self._the_event} {_breaks(wrong[0])}")
        self.possibilities = [each for each, names in zip(possibilities, wrong, strict=True) if not names]
        return abandoned

    def effect(self, number: int, effect: object) -> None:
        """The machine has performed the effect, the next one of the last event."""
        fitting = [each for each in self.possibilities if each.pending[:1] == (effect,)]
        if not fitting:
            first = self.possibilities[0]
            if first.declined is not None:
                raise Mismatch(number, f"effect {_show(effect)}: {self._declines(first.declined)}")
            if not first.pending:
                raise Mismatch(number, f"effect {_show(effect)}: {self._the_event} has no such effect (left)")
            raise Mismatch(number, f"effect {_show(effect)}: {self._the_event} has {_show(first.pending[0])} here")
        # A process saves its step before it records the first effect.
        self.possibilities = [replace(each, pending=each.pending[1:], before=each.state) for each in fitting]

    def rejected(self, number: int, name: object) -> None:
        """The machine declined the last event, for the reason of this name."""
        fitting = [each for each in self.possibilities if each.declined is not None and each.declined.name == name]
        if not fitting:
            reason = self.possibilities[0].declined
            if reason is None:
                raise Mismatch(number, f"declined ({_reason(name)}): the machine takes {self._the_event}")
            raise Mismatch(number, f"declined as {_reason(name)}; the machine's reason is {_reason(reason.name)}")
        self.possibilities = [replace(each, declined=None) for each in fitting]

    def compare(self, number: int, state: object, pid: object = None) -> None:
        """Compare the machine's state, as this process of it has written it, with the state that its steps lead to.

        A process may have been killed before it had recorded all that it did: then they are not compared.
        """
        other = self.kind == "server" and pid != self.pid
        fitting = [
            new
            for old in self.possibilities
            for new in ([old] if not old.complete else self._ended(old, other))
            if not new.complete or new.state == state
        ]
        if not fitting:
            raise Mismatch(
                number, f"the machine's state is another than {self._the_event} leads to: {self._odd(state)}"
            )
        self.possibilities = fitting

    def check(self, number: int, when: str = "here") -> None:
        """Check the state against every invariant of the machine."""
        wrong = broken(self.state)
        if wrong:
            raise Mismatch(number, f"{when} {_breaks(wrong)}")

    @property
    def _the_event(self) -> str:
        return f"the event {self.unit} {self.line}"

    def _declines(self, reason: Reason) -> str:
        return f"the machine declines {self._the_event} ({_reason(reason.name)}); the trace took it"

    def _ended(self, old: _Possibility, other: bool) -> Iterator[_Possibility]:
        """The possibilities when there are no more records of the last event.

        Args:
            old: what was so before.
            other: another process of the server goes on; the last one may have been killed.
        """
        if old.complete:
            yield old
        elif other:
            yield replace(old, pending=(), declined=None, killed=old.killed | {self.pid})
        if other and old.before is not old.state:
            lost = replace(old, state=old.before, pending=(), declined=None, killed=old.killed | {self.pid})
            yield replace(lost, unsaved=old.unsaved | {self.line})

    def _unfinished(self) -> str:
        first = self.possibilities[0]
        if first.declined is not None:
            return self._declines(first.declined)
        return f"another event, though {self._the_event} still owes its effect {_show(first.pending[0])}"

    def _taken(self, old: _Possibility, event: object) -> _Possibility:
        """What is so after the event: what the machine does is expected."""
        result = STEPS[self.kind](old.state, event)
        if isinstance(result, Rejected):
            return replace(old, before=old.state, declined=result.reason)
        return replace(old, before=old.state, state=result.state, pending=result.effects)

    def _odd(self, state: object) -> str:
        """The fields in which the states differ."""
        odd = [
            f"{part.name} is {_cut(getattr(state, part.name))}, should be {_cut(getattr(self.state, part.name))}"
            for part in fields(self.state)
            if getattr(state, part.name) != getattr(self.state, part.name)
        ]
        return "; ".join(odd)


class Deliveries:
    """Which server has delivered which connection to its program: none may be delivered twice.

    A connection is known by its cookie, which the kernel gives to no other.  What a server refuses it does not deliver.
    """

    def __init__(self, most: int | None = None) -> None:
        """Remember the last so many; None: all."""
        self._most = most
        self._by_cookie: dict[int, tuple[str, str]] = {}

    def note(self, number: int, who: str, effect: object, unit: str = "on line") -> None:
        """A server has performed the effect.

        Args:
            number: of the line or step.
            who: the server.
            effect: what it has done.
            unit: what is written before the number.

        Raises:
            Mismatch: it delivers a connection that was delivered before.
        """
        if not isinstance(effect, server.Deliver):
            return
        earlier = self._by_cookie.get(effect.client.cookie)
        if earlier is not None:
            before = f"{earlier[0]} has delivered it {earlier[1]}"
            raise Mismatch(number, f"{who} delivers the connection of {effect.client} a second time: {before}")
        self._by_cookie[effect.client.cookie] = who, f"{unit} {number}"
        if self._most is not None and len(self._by_cookie) > self._most:
            del self._by_cookie[next(iter(self._by_cookie))]


def replay(*paths: str | PathLike[str]) -> ReplayResult:
    """Replay a trace.

    Args:
        paths: the trace file, or its parts, the oldest first; lines are counted through all of them.

    Raises:
        OSError: a file cannot be read.
    """
    result = ReplayResult()
    machines: dict[str, MachineReplay] = {}
    rejections: Counter[str] = Counter()
    deliveries = Deliveries()
    try:
        for path in paths:
            with open(path, "rb") as file:
                for raw in file:
                    result.lines += 1
                    _line(machines, result.lines, raw, result, rejections, deliveries)
        if not result.lines:
            raise Mismatch(0, "the trace is empty: nothing was recorded, so nothing is shown")
        _end(machines)
    except Mismatch as mismatch:
        result.mismatch = mismatch
    result.machines = len(machines)
    result.unperformed += sum(len(machine.pending) for machine in machines.values())
    result.rejections = dict(sorted(rejections.items()))
    result.unsaved = frozenset(line for machine in machines.values() for line in machine.unsaved)
    return result


def _line(
    machines: dict[str, MachineReplay],
    number: int,
    raw: bytes,
    result: ReplayResult,
    rejections: Counter[str],
    deliveries: Deliveries,
) -> None:
    who, kind, content, pid = _parse(number, raw)
    machine = machines.get(who)
    if kind == "start":
        if machine is not None:
            raise Mismatch(number, f"{who} starts a second time")
        machines[who] = MachineReplay(who.split()[0], _start(number, who.split()[0], content), line=number)
        return
    if machine is None:
        raise Mismatch(number, f"{who} has not started")
    try:
        if kind == "event":
            result.unperformed += machine.event(number, from_record(MACHINES[machine.kind][0], content, "event."), pid)
            result.steps += machine.declined is None
        elif kind == "effect":
            effect = from_record(MACHINES[machine.kind][1], content, "effect.")
            machine.effect(number, effect)
            deliveries.note(number, who, effect)
            result.effects += 1
        else:
            machine.rejected(number, content)
            rejections[str(content)] += 1
    except RecordError as error:
        raise Mismatch(number, f"{who}: {error}") from error


def _parse(number: int, raw: bytes) -> tuple[str, str, object, object]:
    """Who, which kind of line, its content, and the process that wrote it.

    Raises:
        Mismatch: the line is no record.
    """
    try:
        record = json.loads(raw)
    except ValueError as error:  # json's own error and UnicodeDecodeError are both of this class
        raise Mismatch(number, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise Mismatch(number, "is no record: nested too deeply") from error
    if not isinstance(record, dict):
        raise Mismatch(number, "is not a JSON object")
    who = record.get("who")
    if not isinstance(who, str) or not _WHO.fullmatch(who):
        raise Mismatch(number, f"{who!r} is no machine: monitor, distributor CLASS INCARNATION, server CLASS SERVER")
    kinds = [kind for kind in KINDS if kind in record]
    if len(kinds) != 1:
        raise Mismatch(number, f"has {' and '.join(kinds) or 'none'} of {', '.join(KINDS)}; should have exactly one")
    pid = record.get("pid")
    if pid is not None and type(pid) is not int:
        raise Mismatch(number, f"pid is {pid!r}; should be a whole number")
    return who, kinds[0], record[kinds[0]], pid


def _start(number: int, kind: str, content: object) -> Any:  # Any: the state of whichever machine
    """The state in which the machine begins."""
    hints = ARGUMENTS[kind]
    if not isinstance(content, dict):
        raise Mismatch(number, "start must hold an object: the arguments of the machine's beginning")
    given = {key: value for key, value in content.items() if key != "is"}
    if given.keys() != hints.keys():
        odd = ", ".join(sorted(given.keys() ^ hints.keys()))
        raise Mismatch(number, f"start: missing or unknown: {odd}")
    try:
        arguments = {key: from_record(hint, given[key], f"start.{key}.") for key, hint in hints.items()}
    except RecordError as error:
        raise Mismatch(number, str(error)) from error
    if kind == "monitor":
        _check_classes(number, arguments["classes"], len(arguments["weights"]))
    return INITIAL[kind](**arguments)


def _check_classes(number: int, classes: tuple[monitor.ClassConfig, ...], elements: int) -> None:
    """The machine relies on these: every configuration is checked for them before it is run."""
    for i, config in enumerate(classes):
        if not all(0 <= element < elements for element in config.elements):
            odd = ", ".join(map(str, config.elements))
            raise Mismatch(number, f"start.classes[{i}].elements: {odd}; weights has {elements} elements, from 0")
        if not (0 <= config.static <= MAX_SERVERS and 0 <= config.dynamic <= MAX_SERVERS):
            raise Mismatch(number, f"start.classes[{i}]: static and dynamic should be 0 to {MAX_SERVERS}")


def _end(machines: dict[str, MachineReplay]) -> None:
    """The last event of a killed process may lack effects or a rejection.  But some machine must have started."""
    if not any(machine.line for machine in machines.values()):
        raise Mismatch(0, "no machine has started")


def _breaks(names: Iterable[str]) -> str:
    broken_ones = "; ".join(f"{name}: {_SENTENCES.get(name, '')}" for name in names)
    return f"the machine's state breaks {broken_ones}"


def _show(value: object) -> str:
    return json.dumps(to_record(value))


def _reason(name: object) -> str:
    """The name of a reason, with its sentence where there is such a reason."""
    known = isinstance(name, str) and name in Reason.__members__
    return f"{name}: {Reason[str(name)].value}" if known else str(name)


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
