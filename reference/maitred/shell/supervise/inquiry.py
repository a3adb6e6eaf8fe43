"""Asks one Distributor for its part of the status: a line for each question, and a line of JSON for each answer.

A Distributor meets clients and servers, so its answer is checked.  One that answers with anything else is not asked
again.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from maitred.shell.distributor_status import STATUS
from maitred.shell.io import report
from maitred.shell.io.loop import READ, Loop
from maitred.shell.supervise import status

Part: TypeAlias = "status.Json | None"
"""What a Distributor says of itself for the status, if it says anything."""


class Inquiry:
    """The Monitor's end of the stream (the other is `maitred.shell.distributor_status`)."""

    def __init__(self, name: str, stream: socket.socket, loop: Loop) -> None:
        """Ask on the stream, which this owns from now on.

        Args:
            name: of the server class.
            stream: to the Distributor.
            loop: reports the answers, from `watch` on.
        """
        self._name = name
        self._stream = stream
        self._loop = loop
        self._answers = bytearray()
        self._asking: deque[Callable[[Part], None]] = deque()

    def watch(self) -> None:
        """Read answers from now on."""
        self._loop.watch(self._stream.fileno(), READ, self._on_answer)

    def ask(self, answered: Callable[[Part], None], question: bytes = STATUS, fds: tuple[int, ...] = ()) -> None:
        """Ask; ``answered`` is called once: with the answer, or with None where none will come.

        Args:
            answered: takes the answer.
            question: a line, as `maitred.shell.distributor_status` has it.
            fds: the file that the line names.
        """
        try:
            socket.send_fds(self._stream, [question + b"\n"], fds)
        except OSError as error:
            report.debug(f"the Distributor of {self._name} cannot be asked: {error}")
            answered(None)
        else:
            self._asking.append(answered)

    def close(self) -> None:
        """Close the stream: no answer will come."""
        if self._stream.fileno() >= 0:
            self._loop.forget(self._stream.fileno())
            self._stream.close()
        self._answers.clear()
        while self._asking:
            self._asking.popleft()(None)

    def _on_answer(self, flags: int) -> None:
        try:
            piece = self._stream.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._loop.forget(self._stream.fileno())
        self._answers += piece
        if b"\n" in piece:
            *lines, self._answers = self._answers.split(b"\n")
            for line in lines:
                part = status.part_of(bytes(line))
                if part is None or not self._asking:
                    self._give_up()
                    return
                self._asking.popleft()(part)
        if len(self._answers) > status.LONGEST_PART:
            self._give_up()

    def _give_up(self) -> None:
        report.warning(f"the Distributor of {self._name} answers with what is no status: it is not asked again")
        self.close()
