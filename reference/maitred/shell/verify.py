"""The verifier as the Monitor keeps it: its book, its process, its numbers.  Whatever becomes of it, service goes on.

The process itself is the command's (`maitred.cli.follow`), since it needs the machines' model.  Nobody restarts it:
what it had not read when it died cannot be checked by another, and a verifier that dies is something to look into.
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from maitred.shell import kernel, launch, report
from maitred.shell.book import ROOM, SERVER_ROOM, Book, Total
from maitred.shell.loop import Loop

LAST_LOOK: Final = 15.0
"""Seconds that the verifier has, when all else has ended, to check what is left."""
STALLED: Final = 5.0
"""Seconds without a step checked that show that it is getting nowhere."""

Follow: TypeAlias = Callable[[int, object], None]
"""The verifier's process, as `maitred.shell.launch` starts it: it is given the descriptor of the book."""


class Verification:
    """The book, and the process that reads it."""

    def __init__(self, follow: Follow) -> None:
        """Make the book.

        Args:
            follow: the verifier's process.

        Raises:
            OSError: there is no memory for it.
        """
        self._book = Book.create()
        self._follow = follow
        self._loop: Loop | None = None
        self.child: launch.Child | None = None

    @property
    def fd(self) -> int:
        """The descriptor of the book, for the processes that are started."""
        return self._book.fd

    def start(self, loop: Loop) -> None:
        """Start the verifier; its end is heard of in the loop."""
        try:
            self.child = launch.start(self._follow, self._book.fd, (self._book.fd,))
        except OSError as error:
            report.say(f"the verifier cannot be started, so no step will be verified: {error.strerror}")
        else:
            self._loop = loop
            loop.watch(self.child.pidfd, select.EPOLLIN, self._on_end)
            report.say(f"the verifier (pid {self.child.pid}) started")

    def add(self, who: str) -> None:
        """The machine's processes are about to be started."""
        try:
            self._book.add(who, SERVER_ROOM if who.startswith("server") else ROOM)
        except OSError as error:
            report.say(f"no step of {who} will be verified: {error.strerror}")

    def over(self, who: str) -> None:
        """No process of the machine is left."""
        self._book.over(who)

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
        if not self._book.verifier.numbers[Total.CLOSING]:
            report.say(
                f"the verifier (pid {child.pid}) {report.how_ended(code)}: from here on no step is verified; {self}"
            )
        child.close()
        return True

    def finish(self) -> None:
        """All else has ended: let the verifier check what is left, end it, and say what came of it."""
        numbers = self._book.verifier.numbers
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
        self._book.close()

    def status(self) -> dict[str, object]:
        """For the status: numbers of steps, and of divergences."""
        numbers = self._book.verifier.numbers
        begun, dropped = self._book.sums()
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
