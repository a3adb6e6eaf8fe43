"""The trace of a real run, played through the machines again: was every step a step of the machine?

`replay` plays a file; `Stream`, which it is made of, follows one machine and is what ``maitred run --verify`` follows
the running machines with.

A trace (`maitred.core.record` tells its form) interleaves the lines of several processes; each ``who`` is a stream of
its own, and a server's stream is written by all its processes, one step at a time.  In each stream, an event must be
allowed or have been declined for the reason that the machine gives; its effects must be those of the machine, in their
order; and after each step every invariant of the machine must hold.  Only the last event of a process may lack effects:
it was killed before it had performed them all.  If it was one of several processes of a server, it may have been killed
before or after it had saved the step's state; the next lines of the others tell.

And what no stream tells by itself: no connection is delivered twice, by one server or by two (`Deliveries`).
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
_LONGEST: Final = 200
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


@dataclass(frozen=True, slots=True)
class _Course:
    """What may have happened to a machine, as far as is known."""

    state: Any  # Any: of whichever machine
    before: Any  # Any: as above
    """The state before the last event; the same as `state` where the step is certain to have been saved."""
    owed: tuple[Any, ...] = ()
    """Effects of the last event that are to come."""
    declined: Reason | None = None
    """The last event was declined by the machine; the trace must say so next."""
    killed: frozenset[object] = frozenset()
    """Processes that left a step unfinished."""

    @property
    def settled(self) -> bool:
        return not self.owed and self.declined is None


COURSES: Final = 4
"""So many are followed at once, the likeliest first."""


@dataclass
class Stream:
    """One machine, followed event by event, as far as what it did is known.

    Where another process of a server takes an event, the one before may have been killed, and its step saved or not:
    then both are followed, until one of them cannot be.

    Each method takes the place of what it is given, a number that `Divergence` repeats, and raises `Divergence` where
    the machine would not have done that.
    """

    kind: str
    """Which machine: a key of `STEPS`."""
    begun: InitVar[Any]  # Any: of whichever machine
    """The state to begin with."""
    unit: str = "on line"
    """How a place is told, before its number."""
    line: int = 0
    """The place of the last event."""
    pid: object = None
    """The process that took the last event; None where the trace does not say."""
    courses: list[_Course] = field(init=False)
    """What may have happened, the likeliest first."""

    def __post_init__(self, begun: Any) -> None:
        self.courses = [_Course(begun, begun)]

    @property
    def state(self) -> Any:
        """The machine's state."""
        return self.courses[0].state

    @property
    def owed(self) -> tuple[Any, ...]:
        """Effects of the last event that are to come."""
        return self.courses[0].owed

    @property
    def declined(self) -> Reason | None:
        """Why the machine has declined the last event, if the trace has not said so yet."""
        return self.courses[0].declined

    @property
    def settled(self) -> bool:
        """Whether all that the machine would do at the last event has been seen."""
        return any(course.settled for course in self.courses)

    def event(self, number: int, event: object, pid: object = None) -> int:
        """The machine takes the event; how many effects of the one before will never come."""
        other = self.kind == "server" and None not in (pid, self.pid) and pid != self.pid
        following = [(course, new) for course in self.courses for new in self._ended(course, other)]
        if not following:
            raise Divergence(number, self._unfinished())
        following = [(course, new) for course, new in following if pid not in new.killed]
        if not following:
            raise Divergence(number, f"process {pid} goes on, though it left an earlier event unfinished")
        abandoned = len(following[0][0].owed)
        self.line, self.pid = number, pid
        courses = [self._taken(new, event) for _, new in following[:COURSES]]
        wrong = [broken(course.state) for course in courses]
        if all(wrong):
            raise Divergence(number, f"after {self._the_event} {_breaks(wrong[0])}")
        self.courses = [course for course, names in zip(courses, wrong, strict=True) if not names]
        return abandoned

    def effect(self, number: int, effect: object) -> None:
        """The machine has performed the effect, the next one of the last event."""
        fitting = [course for course in self.courses if course.owed[:1] == (effect,)]
        if not fitting:
            first = self.courses[0]
            if first.declined is not None:
                raise Divergence(number, f"effect {_show(effect)}: {self._declines(first.declined)}")
            if not first.owed:
                raise Divergence(number, f"effect {_show(effect)}: {self._the_event} has no such effect (left)")
            raise Divergence(number, f"effect {_show(effect)}: {self._the_event} has {_show(first.owed[0])} here")
        # A process saves its step before it writes of the first effect.
        self.courses = [replace(course, owed=course.owed[1:], before=course.state) for course in fitting]

    def rejected(self, number: int, name: object) -> None:
        """The machine declined the last event, for the reason of this name."""
        fitting = [course for course in self.courses if course.declined is not None and course.declined.name == name]
        if not fitting:
            reason = self.courses[0].declined
            if reason is None:
                raise Divergence(number, f"declined ({_told(name)}): the machine takes {self._the_event}")
            raise Divergence(number, f"declined as {_told(name)}; the machine's reason is {_told(reason.name)}")
        self.courses = [replace(course, declined=None) for course in fitting]

    def compare(self, number: int, state: object, pid: object = None) -> None:
        """The machine's state, as this process of it tells, is that which all that has been seen leads to.

        Nothing is said where a process may have been killed before it had written of all that it did.
        """
        other = self.kind == "server" and pid != self.pid
        fitting = [
            new
            for course in self.courses
            for new in ([course] if not course.settled else self._ended(course, other))
            if not new.settled or new.state == state
        ]
        if not fitting:
            told = f"the machine's state is another than {self._the_event} leads to: {self._odd(state)}"
            raise Divergence(number, told)
        self.courses = fitting

    def check(self, number: int, when: str = "here") -> None:
        """The state keeps every invariant of the machine."""
        wrong = broken(self.state)
        if wrong:
            raise Divergence(number, f"{when} {_breaks(wrong)}")

    @property
    def _the_event(self) -> str:
        return f"the event {self.unit} {self.line}"

    def _declines(self, reason: Reason) -> str:
        return f"the machine declines {self._the_event} ({_told(reason.name)}); the trace took it"

    def _ended(self, course: _Course, other: bool) -> Iterator[_Course]:
        """What may be so when nothing more comes of the last event.

        Args:
            course: what is known.
            other: another process of the server goes on: the last one may have been killed.
        """
        if course.settled:
            yield course
        elif other:
            yield replace(course, owed=(), declined=None, killed=course.killed | {self.pid})
        if other and course.before is not course.state:
            yield replace(course, state=course.before, owed=(), declined=None, killed=course.killed | {self.pid})

    def _unfinished(self) -> str:
        first = self.courses[0]
        if first.declined is not None:
            return self._declines(first.declined)
        return f"another event, though {self._the_event} still owes its effect {_show(first.owed[0])}"

    def _taken(self, course: _Course, event: object) -> _Course:
        """The course after the event: what the machine says is expected."""
        result = STEPS[self.kind](course.state, event)
        if isinstance(result, Rejected):
            return replace(course, before=course.state, declined=result.reason)
        return replace(course, before=course.state, state=result.state, owed=result.effects)

    def _odd(self, state: object) -> str:
        """The fields in which the state is another."""
        odd = [
            f"{part.name} is {_cut(getattr(state, part.name))}, should be {_cut(getattr(self.state, part.name))}"
            for part in fields(self.state)
            if getattr(state, part.name) != getattr(self.state, part.name)
        ]
        return "; ".join(odd)


class Deliveries:
    """Which server has had which connection: none may be delivered twice.

    A client is known by its connection's cookie, which the kernel gives to no other.  One whom a server has refused has
    not been delivered there.
    """

    def __init__(self, most: int | None = None) -> None:
        """Know the last so many, or all."""
        self._most = most
        self._by_cookie: dict[int, tuple[str, str]] = {}

    def note(self, number: int, who: str, effect: object, unit: str = "on line") -> None:
        """The server has performed the effect.

        Args:
            number: of the line or step.
            who: the server.
            effect: what it has done.
            unit: how a place is told, before its number.

        Raises:
            Divergence: it gives its program a connection that a program has had.
        """
        if not isinstance(effect, server.Deliver):
            return
        earlier = self._by_cookie.get(effect.client.cookie)
        if earlier is not None:
            before = f"{earlier[0]} has delivered it {earlier[1]}"
            raise Divergence(number, f"{who} delivers the connection of {effect.client} a second time: {before}")
        self._by_cookie[effect.client.cookie] = who, f"{unit} {number}"
        if self._most is not None and len(self._by_cookie) > self._most:
            del self._by_cookie[next(iter(self._by_cookie))]


def replay(path: str | PathLike[str]) -> Report:
    """Play the trace through the machines.

    Args:
        path: the trace file.

    Raises:
        OSError: the file cannot be read.
    """
    report = Report()
    streams: dict[str, Stream] = {}
    rejections: Counter[str] = Counter()
    deliveries = Deliveries()
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                report.lines = number
                _line(streams, number, raw, report, rejections, deliveries)
        if not report.lines:
            raise Divergence(0, "the trace is empty: nothing was recorded, so nothing is shown")
        _end(streams)
    except Divergence as divergence:
        report.divergence = divergence
    report.machines = len(streams)
    report.unperformed += sum(len(stream.owed) for stream in streams.values())
    report.rejections = dict(sorted(rejections.items()))
    return report


def _line(
    streams: dict[str, Stream],
    number: int,
    raw: bytes,
    report: Report,
    rejections: Counter[str],
    deliveries: Deliveries,
) -> None:
    who, kind, content, pid = _parse(number, raw)
    stream = streams.get(who)
    if kind == "start":
        if stream is not None:
            raise Divergence(number, f"{who} starts a second time")
        streams[who] = Stream(who.split()[0], _start(number, who.split()[0], content), line=number)
        return
    if stream is None:
        raise Divergence(number, f"{who} has not started")
    try:
        if kind == "event":
            report.unperformed += stream.event(number, from_record(MACHINES[stream.kind][0], content, "event."), pid)
            report.steps += stream.declined is None
        elif kind == "effect":
            effect = from_record(MACHINES[stream.kind][1], content, "effect.")
            stream.effect(number, effect)
            deliveries.note(number, who, effect)
            report.effects += 1
        else:
            stream.rejected(number, content)
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
    """The state in which the machine begins."""
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


def _end(streams: dict[str, Stream]) -> None:
    """Effects may be owed at the end, and a rejection unwritten: the process was killed.  But some machine must run."""
    if not any(stream.line for stream in streams.values()):
        raise Divergence(0, "no machine has started")


def _breaks(names: Iterable[str]) -> str:
    told = "; ".join(f"{name}: {_SENTENCES.get(name, '')}" for name in names)
    return f"the machine's state breaks {told}"


def _show(value: object) -> str:
    return json.dumps(to_record(value))


def _told(name: object) -> str:
    """The name of a reason, with its sentence where there is such a reason."""
    known = isinstance(name, str) and name in Reason.__members__
    return f"{name}: {Reason[str(name)].value}" if known else str(name)


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
