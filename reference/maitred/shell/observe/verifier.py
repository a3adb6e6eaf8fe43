"""The verifier as the Monitor keeps it: its books, its process, its numbers.  Whatever becomes of it, service goes on.

The process itself is the command's (`maitred.shell.observe.verifier_process`), since it needs the machines' model.
Nobody restarts it: what it had not read when it died cannot be checked by another, and a verifier that dies is
something to look into.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from maitred.shell.io import kernel, report
from maitred.shell.io.loop import Loop
from maitred.shell.observe import ring
from maitred.shell.observe.ring import ROOM, SERVER_ROOM, Book, Total
from maitred.shell.supervise import launch

LAST_LOOK: Final = 15.0
"""Seconds that the verifier has, when all else has ended, to check what is left."""
STALLED: Final = 5.0
"""Seconds without a step checked that show that it is getting nowhere."""

Follow: TypeAlias = Callable[[tuple[int, int], object], None]
"""The verifier's process, as `maitred.shell.supervise.launch` starts it: it is given the descriptors of its own book,
and of the socket by which it gets those of the machines, each in a packet that is the machine's name."""


class Verification:
    """The books, and the process that reads them."""

    def __init__(self, follow: Follow) -> None:
        """Make the verifier's own book.

        Args:
            follow: the verifier's process.

        Raises:
            OSError: there is no memory for it.
        """
        self._fd = ring.create()
        self._numbers = Book(self._fd, "verifier").numbers
        self._mine, self._its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._mine.setblocking(False)
        self._fds: dict[str, int] = {}
        """The books of the machines that there are."""
        self._past = 0, 0
        """Steps begun and steps dropped by those that there were."""
        self._follow = follow
        self._loop: Loop | None = None
        self.child: launch.Child | None = None

    def start(self, loop: Loop) -> None:
        """Start the verifier; its end is heard of in the loop."""
        try:
            fds = self._fd, self._its.fileno()
            self.child = launch.start(self._follow, fds, fds)
        except OSError as error:
            report.say(f"the verifier cannot be started, so no step will be verified: {error.strerror}")
        else:
            self._loop = loop
            loop.watch(self.child.pidfd, select.EPOLLIN, self._on_end)
            report.say(f"the verifier (pid {self.child.pid}) started")
        self._its.close()

    def add(self, who: str) -> int | None:
        """The machine's processes are about to be started: the descriptor of the book that they are to have."""
        try:
            fd = self._fds[who] = ring.create(SERVER_ROOM if who.startswith("server") else ROOM)
            socket.send_fds(self._mine, [who.encode()], [fd])
        except BrokenPipeError:
            pass  # the verifier has died: steps are still counted
        except OSError as error:
            report.say(f"no step of {who} will be verified: {error.strerror}")
            self.over(who)
        return self._fds.get(who)

    def over(self, who: str) -> None:
        """No process of the machine is left; nothing happens where it has no book."""
        fd = self._fds.pop(who, None)
        if fd is not None:
            ring.note_end(fd)
            self._past = _sums([self._past, ring.steps(fd)])
            os.close(fd)

    def _on_end(self, flags: int) -> None:
        self.reap()

    def reap(self) -> bool:
        """Look whether the verifier has ended; if so, say what that means."""
        child = self.child
        code = None if child is None else child.exitcode()
        if child is None or code is None:
            return False
        self.child = None
        if self._loop is not None:
            self._loop.forget(child.pidfd)
        if not self._numbers[Total.CLOSING]:
            report.say(
                f"the verifier (pid {child.pid}) {report.how_ended(code)}: from here on no step is verified; {self}"
            )
        child.close()
        return True

    def finish(self) -> None:
        """All else has ended: let the verifier check what is left, end it, and say what came of it."""
        numbers = self._numbers
        numbers[Total.CLOSING] = 1
        moved = began = time.monotonic()
        before, killed = -1, False
        while self.child is not None and not self.reap():
            now, checked = time.monotonic(), numbers[Total.VERIFIED] + numbers[Total.UNCHECKED]
            if checked != before:
                before, moved = checked, now
            if not killed and (now - moved > STALLED or now - began > LAST_LOOK):
                report.say(f"the verifier (pid {self.child.pid}) does not come to an end: killed")
                killed = kernel.send_signal(self.child.pidfd, signal.SIGKILL)
            time.sleep(0.01)
        report.say(str(self))
        self.close()

    def close(self) -> None:
        """Let go of all descriptors."""
        for end in (self._mine, self._its):
            end.close()
        for fd in (self._fd, *self._fds.values()):
            os.close(fd)

    def status(self) -> dict[str, object]:
        """For the status: numbers of steps, and of divergences."""
        numbers = self._numbers
        begun, dropped = _sums([self._past, *map(ring.steps, self._fds.values())])
        return {
            "pid": None if self.child is None else self.child.pid,
            "steps": begun,
            "verified": numbers[Total.VERIFIED],
            "dropped": dropped,
            "unchecked": numbers[Total.UNCHECKED],
            "divergences": numbers[Total.DIVERGED],
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
