"""The Monitor's side of the verifier: makes the rings, starts and ends the process, reports its totals.

Service goes on whatever happens to the verifier.  The process itself (`maitred.shell.observe.verifier_process`) is
passed in by the command, since it needs all three machines.  It is not restarted: what it had not read when it died is
lost, and why a verifier has died should be looked into.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

from maitred.shell.io import kernel, report
from maitred.shell.io.loop import Loop
from maitred.shell.observe import ring
from maitred.shell.observe.ring import ROOM, SERVER_ROOM, Ring, VerifierHeader
from maitred.shell.supervise import launch

LAST_LOOK: Final = 15.0
"""Seconds that the verifier has to check what is left when all else has ended."""
STALLED: Final = 5.0
"""Seconds without a step checked after which it counts as stalled."""

VerifierMain: TypeAlias = Callable[[tuple[int, int], object], None]
"""The verifier's process, as `maitred.shell.supervise.launch` starts it.  Its arguments are the descriptors of its own
ring and of the socket by which those of the machines' rings come, each in a packet that is the machine's name."""


class Verifier:
    """The rings, and the process that reads them."""

    def __init__(self, main: VerifierMain) -> None:
        """Make the verifier's own ring.

        Args:
            main: the verifier's process.

        Raises:
            OSError: there is no memory for it.
        """
        self._fd = ring.create()
        self._header = Ring(self._fd, "verifier").header
        self._mine, self._its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._mine.setblocking(False)
        self._fds: dict[str, int] = {}
        """The rings of the machines that run."""
        self._past = 0, 0
        """Steps begun and steps dropped by those that have ended."""
        self._main = main
        self._loop: Loop | None = None
        self.child: launch.Child | None = None

    def start(self, loop: Loop) -> None:
        """Start the verifier; the loop reports its end."""
        try:
            fds = self._fd, self._its.fileno()
            self.child = launch.start(self._main, fds, fds)
        except OSError as error:
            report.error(f"the verifier cannot be started, so no step will be verified: {error.strerror}")
        else:
            self._loop = loop
            loop.watch(self.child.pidfd, select.EPOLLIN, self._on_end)
            report.info(f"the verifier (pid {self.child.pid}) started")
        self._its.close()
        if (log := report.log_file()) is not None:
            self.log_to(log)

    def log_to(self, fd: int) -> None:
        """Have the verifier write its lines to this file."""
        with suppress(OSError):  # it has died, or is so slow that its lines go on where they did
            socket.send_fds(self._mine, [ring.LOG], [fd])

    def add(self, who: str) -> int | None:
        """The machine's processes are about to be started: the descriptor of their ring."""
        try:
            fd = self._fds[who] = ring.create(SERVER_ROOM if who.startswith("server") else ROOM)
            socket.send_fds(self._mine, [who.encode()], [fd])
        except BrokenPipeError:
            pass  # the verifier has died: steps are still counted
        except OSError as error:
            report.warning(f"no step of {who} will be verified: {error.strerror}")
            self.over(who)
        return self._fds.get(who)

    def over(self, who: str) -> None:
        """No process of the machine is left; nothing happens where it has no ring."""
        fd = self._fds.pop(who, None)
        if fd is not None:
            ring.note_end(fd)
            self._past = _sums([self._past, ring.step_counts(fd)])
            os.close(fd)

    def _on_end(self, flags: int) -> None:
        self.reap()

    def reap(self) -> bool:
        """Whether the verifier has ended; if so, log what that means."""
        child = self.child
        code = None if child is None else child.exitcode()
        if child is None or code is None:
            return False
        self.child = None
        if self._loop is not None:
            self._loop.forget(child.pidfd)
        if not self._header[VerifierHeader.CLOSING]:
            report.error(
                f"the verifier (pid {child.pid}) {report.how_ended(code)}: from here on no step is verified; {self}"
            )
        child.close()
        return True

    def finish(self) -> None:
        """All else has ended: let the verifier check what is left, end it, and log its totals."""
        header = self._header
        header[VerifierHeader.CLOSING] = 1
        moved = began = time.monotonic()
        before, killed = -1, False
        while self.child is not None and not self.reap():
            now, checked = time.monotonic(), header[VerifierHeader.VERIFIED] + header[VerifierHeader.UNCHECKED]
            if checked != before:
                before, moved = checked, now
            if not killed and (now - moved > STALLED or now - began > LAST_LOOK):
                report.warning(f"the verifier (pid {self.child.pid}) does not come to an end: killed")
                killed = kernel.send_signal(self.child.pidfd, signal.SIGKILL)
            time.sleep(0.01)
        report.info(str(self))
        self.close()

    def close(self) -> None:
        """Close all descriptors."""
        for end in (self._mine, self._its):
            end.close()
        for fd in (self._fd, *self._fds.values()):
            os.close(fd)

    def status(self) -> dict[str, object]:
        """For the status: numbers of steps, and of divergences."""
        header = self._header
        begun, dropped = _sums([self._past, *map(ring.step_counts, self._fds.values())])
        return {
            "pid": None if self.child is None else self.child.pid,
            "steps": begun,
            "verified": header[VerifierHeader.VERIFIED],
            "dropped": dropped,
            "unchecked": header[VerifierHeader.UNCHECKED],
            "divergences": header[VerifierHeader.DIVERGED],
        }

    def __str__(self) -> str:
        """The numbers as a line of the log."""
        said = self.status()
        return (
            f"verified: {said['verified']} of {said['steps']} steps; {said['dropped']} dropped,"
            f" {said['unchecked']} came while the state was not known; {said['divergences']} divergences"
        )


def _sums(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    begun, dropped = zip(*pairs, strict=True)
    return sum(begun), sum(dropped)
