"""The verifier's process: ``maitred run --verify`` has it follow the running machines and check their every step.

It reads what each machine writes (`maitred.shell.observe.encoding`) and takes the same steps with the same pure
functions (`maitred.shell.observe.replay.Stream`): the effects must be the same, in the same order, an event must be
declined for the same reason, every invariant must hold after each step, and no connection may be delivered twice.  Now
and then it asks a machine for its state and compares.

What it says, it has checked.  A step of which something is missing is not checked, nor is any that follows, until the
machine has told its state: the steps between are named in the log and counted.  So it is after a divergence.

It decides nothing and nobody waits for it; where it lacks time, machines drop steps rather than wait.  It gives way to
all others (`NICE`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from maitred.core.record import MACHINES
from maitred.core.transition import Reason
from maitred.shell.io import report
from maitred.shell.observe.encoding import NoValue, reader
from maitred.shell.observe.replay import ARGUMENTS, INITIAL, STATES, Deliveries, Divergence, Stream
from maitred.shell.observe.ring import Book, Count, Damaged, Total

NICE: Final = 10
RECENT: Final = 50
"""So many events before a divergence are told with it."""
A_TURN: Final = 0.01
"""Seconds that are given to one machine before the others have their turn: a long waiting list makes steps dear."""
NAPS: Final = 0.002, 0.05
"""Seconds: the shortest and the longest pause where there is nothing to read."""
COMPARE: Final = 1.0
"""Seconds between two comparisons of the states of a machine that takes steps."""
SAY_AGAIN: Final = 10.0
"""Seconds before more of the same is said of a machine."""
LONGEST_NAME: Final = 64
"""Bytes."""
DELIVERIES: Final = 100_000
"""So many of the last deliveries are known: a connection that is delivered twice is so within a short time."""
IN_FULL: Final = 3
"""So many divergences of one machine are told in full; further ones are counted."""


class Machine:
    """One machine that is followed."""

    def __init__(self, book: Book, totals: memoryview, deliveries: Deliveries | None = None) -> None:
        """Follow the machine of the book.

        Args:
            book: the machine's.
            totals: to add to.
            deliveries: of all machines.
        """
        self.book = book
        self.who = book.who
        self._kind = self.who.split()[0]
        self._totals = totals
        self._deliveries = deliveries or Deliveries()
        self._stream: Stream | None = None
        """None while the machine's state is not known."""
        self._last = 0
        """The number of the last step that something was heard of."""
        self._known_to = 0
        """The number of the last step before the state was lost, where it is."""
        self._pid: object = None
        self._open = False
        """The last step has not been counted yet."""
        self._recent: deque[tuple[int, object, list[object]]] = deque(maxlen=RECENT)
        self._divergences = 0
        self._unsaid = 0
        """Steps in gaps that have not been told."""
        self._said = -SAY_AGAIN
        self._compared = time.monotonic()
        self._event = reader(MACHINES[self._kind][0])
        self._effect = reader(MACHINES[self._kind][1])
        self._state = reader(STATES[self._kind])

    def read(self) -> int:
        """Read and check what there is, a turn's worth; how many records."""
        count, end = 0, time.monotonic() + A_TURN
        while time.monotonic() < end:
            try:
                record = self.book.take()
            except Damaged as error:
                self._lose(f"its records are damaged: {error}")
                return count + 1
            if record is None:
                return count
            count += 1
            try:
                self._heed(json.loads(record))
            except Exception as error:  # whatever stands in a ring, the other machines are to be followed on
                self._lose(f"a record makes no sense: {type(error).__name__}: {error}")
        return count

    def close(self) -> None:
        """The machine has ended, or is followed no longer."""
        begun = self.book.numbers[Count.BEGUN]
        self._unsaid += begun - (self._known_to if self._stream is None else self._last)
        self._say_gaps(f"up to its last one, step {begun}")
        self.book.close()

    # ---------------------------------------------------------------- records

    def _heed(self, record: list[Any]) -> None:  # Any: parsed JSON
        try:
            match record:
                case ["start", dict(arguments)]:
                    hints = ARGUMENTS[self._kind]
                    given = {name: reader(hint)(arguments[name]) for name, hint in hints.items()}
                    self._stream = Stream(self._kind, INITIAL[self._kind](**given), "of step")
                case ["event", int(number), int(pid), packed]:
                    self._on_event(number, pid, self._event(packed), None, False)
                case ["event", int(number), int(pid), packed, gap, state]:
                    self._on_event(number, pid, self._event(packed), self._state(state), bool(gap))
                case ["effect", packed]:
                    effect = self._effect(packed)
                    self._recent[-1][2].append(effect)
                    if self._stream is not None:
                        self._stream.effect(self._last, effect)
                    self._deliveries.note(self._last, self.who, effect, "at step")
                case ["rejected", str(name)]:
                    self._recent[-1][2].append(Reason[name] if name in Reason.__members__ else name)
                    if self._stream is not None:
                        self._stream.rejected(self._last, name)
                case _:
                    raise NoValue(f"{record!r}"[:200])
        except Divergence as divergence:
            self._diverged(divergence)
        else:
            self._count()

    def _on_event(self, number: int, pid: int, event: object, state: object, gap: bool) -> None:
        missed = number - self._last - 1
        # A process that was killed when it had begun a step, but before it had told of the event, has not taken it.
        harmless = missed == 1 and pid != self._pid and self._kind == "server"
        if self._stream is not None and (gap or (missed and not harmless)):
            self._lost(self._last - self._open)
        unfinished, self._open = self._open, True
        self._last, self._pid = number, pid
        self._recent.append((number, event, []))
        if state is not None and self._stream is not None:
            self._stream.compare(number, state, pid)
        elif state is not None:
            self._stream = self._resumed(number, state)
        if self._stream is None:
            self._open = False
            self._totals[Total.UNCHECKED] += 1
            self.book.numbers[Count.WANTED] = 1
            return
        try:
            self._stream.event(number, event, pid)
        except Divergence:
            self._totals[Total.UNCHECKED] += unfinished  # it was the step before that has diverged
            raise

    def _resumed(self, number: int, state: object) -> Stream:
        """Go on from the machine's state, which is that before this step."""
        self._unsaid += number - 1 - self._known_to
        if time.monotonic() - self._said >= SAY_AGAIN:
            self._say_gaps(f"steps {self._known_to + 1} to {number - 1}; it is checked again from step {number}")
        stream = Stream(self._kind, state, "of step", line=number)
        stream.check(number)
        return stream

    def _count(self) -> None:
        """Count the step, once all of it has been seen; and ask for the state, if it is time to compare."""
        if not self._open or self._stream is None or not self._stream.settled:
            return
        self._open = False
        self._totals[Total.VERIFIED] += 1
        now = time.monotonic()
        if now - self._compared >= COMPARE:
            self._compared = now
            self.book.numbers[Count.WANTED] = 1

    # ---------------------------------------------------------------- what is not as it should be

    def _lost(self, known_to: int) -> None:
        """The machine's state is not known from here on; the steps up to this one have been checked."""
        self._stream = None
        self._open = False
        self._known_to = known_to
        self.book.numbers[Count.WANTED] = 1

    def _lose(self, why: str) -> None:
        """Something that was read is no use; said once, until the machine is followed again."""
        if self._stream is not None:
            report.say(f"verify: {self.who}: {why}")
            self._lost(self._last - self._open)

    def _say_gaps(self, what: str) -> None:
        if self._unsaid:
            report.say(f"verify: {self.who}: {report.plural(self._unsaid, 'step')} not checked: {what}")
            self._said, self._unsaid = time.monotonic(), 0

    def _diverged(self, divergence: Divergence) -> None:
        self._totals[Total.DIVERGED] += 1
        self._totals[Total.VERIFIED] -= not self._open  # it has been taken for right
        self._divergences += 1
        self._lost(self._last - self._open)
        if self._divergences > IN_FULL:
            return
        lines = [
            f"verify: DIVERGENCE of {self.who} at step {divergence.line}: {divergence.why}",
            f"the last {len(self._recent)} events of {self.who}:",
            *(_told(number, event, follows) for number, event, follows in self._recent),
        ]
        if self._divergences == IN_FULL:
            lines.append(f"further divergences of {self.who} are counted only")
        report.say(*lines)


def _told(number: int, event: object, follows: list[object]) -> str:
    """An event and what the machine did."""
    if len(follows) == 1 and isinstance(follows[0], Reason):
        return f"step {number}: {event} declined: {follows[0].name}, {follows[0].value}"
    return f"step {number}: {event} -> {', '.join(map(str, follows)) or 'nothing'}"


class Verifier:
    """All machines of the instance."""

    def __init__(self, own: Book, arrivals: socket.socket) -> None:
        """Follow the machines whose books come.

        Args:
            own: the verifier's.
            arrivals: where they come, non-blocking.
        """
        self._totals = own.numbers
        self._own = own
        self._arrivals = arrivals
        self._machines: list[Machine] = []
        self._deliveries = Deliveries(DELIVERIES)
        self._monitor = os.getppid()
        self._handles: dict[int, int] = {}
        """The pidfd of each machine's first process."""

    def run(self) -> None:
        """Follow until all machines have ended."""
        nap = NAPS[0]
        while True:
            closing = self._totals[Total.CLOSING]
            if self.turn():
                nap = NAPS[0]
            elif closing or self._is_deserted():
                break
            else:
                time.sleep(nap)
                nap = min(nap * 1.5, NAPS[1])
        for machine in self._machines:
            machine.close()

    def turn(self) -> int:
        """Read and check what there is; how many records."""
        for who, fd in self._news():
            with suppress(OSError):  # no memory to map it: its steps are read by nobody, and so dropped
                self._machines.append(Machine(Book(fd, who), self._totals, self._deliveries))
            os.close(fd)
        count = 0
        for machine in list(self._machines):
            over = machine.book.numbers[Count.OVER]
            read = machine.read()
            count += read
            if over and not read:
                self._machines.remove(machine)
                machine.close()
        return count

    def _news(self) -> Iterator[tuple[str, int]]:
        """The machines whose books have come since the last time, with the descriptors."""
        while True:
            try:
                name, fds, _, _ = socket.recv_fds(self._arrivals, LONGEST_NAME, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return  # that is all for now
            if not name:
                return  # nobody is there any more who could send one
            for fd in fds:
                yield name.decode(), fd

    def _is_deserted(self) -> bool:
        """Whether the Monitor has died, and nobody of those whom it started is left."""
        if os.getppid() == self._monitor:
            return False
        for machine in self._machines:
            pid = machine.book.numbers[Count.PID]
            if pid and pid != self._monitor and _lives(self._handles, pid):
                return False
        return True


def _lives(handles: dict[int, int], pid: int) -> bool:
    """Whether the process lives; by its pidfd, which `handles` keeps."""
    if pid not in handles:
        try:
            handles[pid] = os.pidfd_open(pid)
        except (OSError, OverflowError):  # it has ended, or is none
            return False
    poll = select.poll()
    poll.register(handles[pid], select.POLLIN)
    return not poll.poll(0)


def run(fds: tuple[int, int], handed: object) -> None:
    """The process: what `maitred.shell.supervise.launch` has multiprocessing start.

    Args:
        fds: of its own book, and of the socket by which those of the machines come.
        handed: these descriptors; it is enough that they have come along.
    """
    del handed
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):  # which a terminal sends to the Monitor's whole group
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(NICE)
    with report.in_background():
        arrivals = socket.socket(fileno=fds[1])
        arrivals.setblocking(False)
        Verifier(Book(fds[0], "verifier"), arrivals).run()
