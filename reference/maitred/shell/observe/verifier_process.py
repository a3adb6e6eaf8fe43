"""The verifier's process: for ``maitred run --verify`` it checks every step of the running machines as it happens.

It reads the records of each machine (`maitred.shell.observe.encoding`) and takes the same steps with the same pure
functions (`maitred.shell.observe.replay.MachineReplay`): the effects must be the same, in the same order, an event must
be declined for the same reason, every invariant must hold after each step, and no connection may be delivered twice.
Now and then it asks a machine for its state and compares.

It counts as verified only what it has checked.  A step with a missing record is not checked, nor is any that follows,
until the machine has written its state; these steps are logged and counted.  The same holds after a divergence.

Nothing waits for it: where it lacks time, machines drop steps rather than wait.  All other processes go first (`NICE`).
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
from maitred.shell.observe.encoding import DecodeError, decoder
from maitred.shell.observe.replay import ARGUMENTS, INITIAL, STATES, Deliveries, MachineReplay, Mismatch
from maitred.shell.observe.ring import LOG, Damaged, MachineHeader, Ring, VerifierHeader

NICE: Final = 10
RECENT: Final = 50
"""Number of events before a divergence that are logged with it."""
A_TURN: Final = 0.01
"""Maximum of seconds per machine and turn: with a long waiting list, steps take long to check."""
NAPS: Final = 0.002, 0.05
"""Seconds: the shortest and the longest pause when there is nothing to read."""
COMPARE: Final = 1.0
"""Seconds between two comparisons of the states of a machine that takes steps."""
GAP_INTERVAL: Final = 10.0
"""Minimum of seconds between two log lines on gaps of one machine."""
LONGEST_NAME: Final = 64
"""Bytes of a machine's name."""
DELIVERIES: Final = 100_000
"""Number of last deliveries that are remembered: a second delivery would follow soon after the first."""
IN_FULL: Final = 3
"""Number of divergences of one machine that are logged in full; further ones are only counted."""


class CheckedMachine:
    """One running machine, as far as its records have been read."""

    def __init__(self, ring: Ring, totals: memoryview, deliveries: Deliveries | None = None) -> None:
        """Check the machine of the ring.

        Args:
            ring: the machine's.
            totals: to add to.
            deliveries: of all machines.
        """
        self.ring = ring
        self.who = ring.who
        self._kind = self.who.split()[0]
        self._totals = totals
        self._deliveries = deliveries or Deliveries()
        self._replay: MachineReplay | None = None
        """None while the machine's state is not known."""
        self._last = 0
        """The number of the last step of which a record was read."""
        self._known_to = 0
        """Where the state is not known: the number of the last step before that."""
        self._pid: object = None
        self._open = False
        """The last step has not been counted yet."""
        self._recent: deque[tuple[int, object, list[object]]] = deque(maxlen=RECENT)
        self._divergences = 0
        self._unlogged = 0
        """Steps in gaps that have not been logged."""
        self._logged_at = -GAP_INTERVAL
        self._compared = time.monotonic()
        self._event = decoder(MACHINES[self._kind][0])
        self._effect = decoder(MACHINES[self._kind][1])
        self._state = decoder(STATES[self._kind])

    def read(self) -> int:
        """Read and check records, for one turn; how many."""
        count, end = 0, time.monotonic() + A_TURN
        while time.monotonic() < end:
            try:
                record = self.ring.take()
            except Damaged as error:
                self._lose(f"its records are damaged: {error}")
                return count + 1
            if record is None:
                return count
            count += 1
            try:
                self._check(json.loads(record))
            except Exception as error:  # whatever is in one ring, the other machines are still to be checked
                self._lose(f"a record makes no sense: {type(error).__name__}: {error}")
        return count

    def close(self) -> None:
        """The machine has ended, or is not checked any more."""
        begun = self.ring.header[MachineHeader.BEGUN]
        self._unlogged += begun - (self._known_to if self._replay is None else self._last)
        self._log_gaps(f"up to its last one, step {begun}")
        self.ring.close()

    # ---------------------------------------------------------------- records

    def _check(self, record: list[Any]) -> None:  # Any: parsed JSON
        try:
            match record:
                case ["start", dict(arguments)]:
                    hints = ARGUMENTS[self._kind]
                    given = {name: decoder(hint)(arguments[name]) for name, hint in hints.items()}
                    self._replay = MachineReplay(self._kind, INITIAL[self._kind](**given), "of step")
                case ["event", int(number), int(pid), packed]:
                    self._on_event(number, pid, self._event(packed), None, False)
                case ["event", int(number), int(pid), packed, gap, state]:
                    self._on_event(number, pid, self._event(packed), self._state(state), bool(gap))
                case ["effect", packed]:
                    effect = self._effect(packed)
                    self._recent[-1][2].append(effect)
                    if self._replay is not None:
                        self._replay.effect(self._last, effect)
                    self._deliveries.note(self._last, self.who, effect, "at step")
                case ["rejected", str(name)]:
                    self._recent[-1][2].append(Reason[name] if name in Reason.__members__ else name)
                    if self._replay is not None:
                        self._replay.rejected(self._last, name)
                case _:
                    raise DecodeError(f"{record!r}"[:200])
        except Mismatch as mismatch:
            self._diverged(mismatch)
        else:
            self._count()

    def _on_event(self, number: int, pid: int, event: object, state: object, gap: bool) -> None:
        missed = number - self._last - 1
        # A process that was killed when it had begun a step, but had not recorded the event, has not taken it.
        harmless = missed == 1 and pid != self._pid and self._kind == "server"
        if self._replay is not None and (gap or (missed and not harmless)):
            self._lost(self._last - self._open)
        unfinished, self._open = self._open, True
        self._last, self._pid = number, pid
        self._recent.append((number, event, []))
        if state is not None and self._replay is not None:
            self._replay.compare(number, state, pid)
        elif state is not None:
            self._replay = self._resumed(number, state)
        if self._replay is None:
            self._open = False
            self._totals[VerifierHeader.UNCHECKED] += 1
            self.ring.header[MachineHeader.WANTED] = 1
            return
        try:
            self._replay.event(number, event, pid)
        except Mismatch:
            self._totals[VerifierHeader.UNCHECKED] += unfinished  # it was the step before that has diverged
            raise

    def _resumed(self, number: int, state: object) -> MachineReplay:
        """Go on from the machine's state, which is that before this step."""
        self._unlogged += number - 1 - self._known_to
        if time.monotonic() - self._logged_at >= GAP_INTERVAL:
            self._log_gaps(f"steps {self._known_to + 1} to {number - 1}; it is checked again from step {number}")
        resumed = MachineReplay(self._kind, state, "of step", line=number)
        resumed.check(number)
        return resumed

    def _count(self) -> None:
        """Count the step, once all its records have been read; and ask for the state, if it is time to compare."""
        if not self._open or self._replay is None or not self._replay.complete:
            return
        self._open = False
        self._totals[VerifierHeader.VERIFIED] += 1
        now = time.monotonic()
        if now - self._compared >= COMPARE:
            self._compared = now
            self.ring.header[MachineHeader.WANTED] = 1

    # ---------------------------------------------------------------- gaps and divergences

    def _lost(self, known_to: int) -> None:
        """The machine's state is not known from here on; the steps up to this one have been checked."""
        self._replay = None
        self._open = False
        self._known_to = known_to
        self.ring.header[MachineHeader.WANTED] = 1

    def _lose(self, why: str) -> None:
        """A record cannot be used; logged once, until the machine is checked again."""
        if self._replay is not None:
            report.warning(f"verify: {self.who}: {why}")
            self._lost(self._last - self._open)

    def _log_gaps(self, what: str) -> None:
        if self._unlogged:
            report.warning(f"verify: {self.who}: {report.plural(self._unlogged, 'step')} not checked: {what}")
            self._logged_at, self._unlogged = time.monotonic(), 0

    def _diverged(self, mismatch: Mismatch) -> None:
        self._totals[VerifierHeader.DIVERGED] += 1
        self._totals[VerifierHeader.VERIFIED] -= not self._open  # it has been counted as verified
        self._divergences += 1
        self._lost(self._last - self._open)
        if self._divergences > IN_FULL:
            return
        lines = [
            f"verify: DIVERGENCE of {self.who} at step {mismatch.line}: {mismatch.why}",
            f"the last {len(self._recent)} events of {self.who}:",
            *(_event_line(number, event, follows) for number, event, follows in self._recent),
        ]
        if self._divergences == IN_FULL:
            lines.append(f"further divergences of {self.who} are counted only")
        report.error(*lines)


def _event_line(number: int, event: object, follows: list[object]) -> str:
    """An event and what the machine did."""
    if len(follows) == 1 and isinstance(follows[0], Reason):
        return f"step {number}: {event} declined: {follows[0].name}, {follows[0].value}"
    return f"step {number}: {event} -> {', '.join(map(str, follows)) or 'nothing'}"


class VerifierProcess:
    """Checks all machines of the instance."""

    def __init__(self, own: Ring, arrivals: socket.socket) -> None:
        """Check the machines whose rings come.

        Args:
            own: the verifier's.
            arrivals: the socket by which they come, non-blocking.
        """
        self._totals = own.header
        self._own = own
        self._arrivals = arrivals
        self._machines: list[CheckedMachine] = []
        self._deliveries = Deliveries(DELIVERIES)
        self._monitor = os.getppid()
        self._handles: dict[int, int] = {}
        """The pidfd of each machine's first process."""

    def run(self) -> None:
        """Check until all machines have ended."""
        nap = NAPS[0]
        while True:
            closing = self._totals[VerifierHeader.CLOSING]
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
        """Read and check records of all machines, for one turn of each; how many."""
        for who, fd in self._new_rings():
            with suppress(OSError):  # no memory to map it: its steps are not read, and so dropped
                self._machines.append(CheckedMachine(Ring(fd, who), self._totals, self._deliveries))
            os.close(fd)
        count = 0
        for machine in list(self._machines):
            over = machine.ring.header[MachineHeader.OVER]
            read = machine.read()
            count += read
            if over and not read:
                self._machines.remove(machine)
                machine.close()
        return count

    def _new_rings(self) -> Iterator[tuple[str, int]]:
        """The machines whose rings have come since the last time, with the descriptors."""
        while True:
            try:
                name, fds, _, _ = socket.recv_fds(self._arrivals, LONGEST_NAME, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return  # no more for now
            if not name:
                return  # the other end is closed
            for fd in fds:
                if name == LOG:
                    report.log_to(fd)
                else:
                    yield name.decode(), fd

    def _is_deserted(self) -> bool:
        """Whether the Monitor has died, and so have all processes that it started."""
        if os.getppid() == self._monitor:
            return False
        for machine in self._machines:
            pid = machine.ring.header[MachineHeader.PID]
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
        fds: of its own ring, and of the socket by which those of the machines come.
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
        VerifierProcess(Ring(fds[0], "verifier"), arrivals).run()
