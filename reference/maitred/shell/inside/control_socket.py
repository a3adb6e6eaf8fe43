"""The control socket of a server's process: asks the Distributor for ports, and reads what it acknowledges.

All processes of the server share the socket, so one may read what another waits for.  Hence requests are sent again,
and waits have an end.
"""

from __future__ import annotations

import _thread
import select
import sys
import time
from collections.abc import Callable
from errno import EADDRNOTAVAIL
from typing import Final

from maitred.core import messages, server, wire
from maitred.core.messages import Port
from maitred.shell.io import channel, report

BIND_PATIENCE: Final = 60.0
"""Seconds to wait for a Distributor that answers a `BindRequest`: it may be restarting."""
BIND_AGAIN: Final = 1.0
"""Seconds after which the request is sent again."""
ACKNOWLEDGE_PATIENCE: Final = 1.0
"""Seconds to wait until the Distributor has read that a listener is closed."""
_SLICE: Final = 50
"""Milliseconds of one wait: another thread may read the packet in between."""

_poll: Final = select.poll  # green threads replace it, or take it away


class ControlSocket:
    """The control socket, as this process has it."""

    def __init__(self, socket: channel.Socket) -> None:
        """Take over the socket."""
        self.socket: Final = socket
        self.newest: server.Acknowledged | None = None
        """The last acknowledgement that was read, for the machine, which learns nothing from those before it."""
        self._bind_replies: dict[Port, int] = {}
        self._awaited: set[int] = set()
        """The sequence numbers whose acknowledgement is waited for."""
        self._acknowledged: set[int] = set()
        """Of these, the ones that were acknowledged."""
        self._reading = _thread.allocate_lock()
        self._ended = False

    def request(self, request: messages.BindRequest, dialog: channel.Socket) -> int:
        """Send the request, with the Distributor's end of the dialog, until it is answered; the errno of the answer."""
        self._bind_replies.pop(request.port, None)
        deadline = time.monotonic() + BIND_PATIENCE
        while time.monotonic() < deadline and not self._ended:
            try:
                channel.send(self.socket, request, [dialog.fileno()])
            except OSError as error:
                if error.errno not in channel.CROWDED:
                    break  # else there will be room yet
            if self._wait(lambda: request.port in self._bind_replies, BIND_AGAIN):
                return self._bind_replies.pop(request.port)
        report.error(f"no Distributor answers for port {request.port}")
        return EADDRNOTAVAIL

    def expect(self, sequence: int) -> None:
        """A message with this sequence number is to be sent, and `await_acknowledge` will wait for its answer."""
        self._awaited.add(sequence)

    def await_acknowledge(self, sequence: int) -> None:
        """Wait until the Distributor has acknowledged it, for `ACKNOWLEDGE_PATIENCE` at most."""
        self._wait(lambda: sequence in self._acknowledged, ACKNOWLEDGE_PATIENCE)
        self._awaited.discard(sequence)
        self._acknowledged.discard(sequence)

    def read(self, most: int = sys.maxsize) -> None:
        """Read what there is, up to so many packets, unless another thread is reading."""
        if not self._reading.acquire(False):
            return
        try:
            for _ in range(most):
                if self._ended:
                    return
                try:
                    packet = channel.receive(self.socket, bare=True)
                except wire.WireError:
                    continue
                except BlockingIOError:
                    return
                except OSError:
                    packet = None
                if packet is None:
                    self._ended = True
                    return
                self._note(packet.message)
        finally:
            self._reading.release()

    def _note(self, message: wire.Message) -> None:
        if isinstance(message, messages.BindReply):
            self._bind_replies[message.port] = message.errno
        elif isinstance(message, messages.Acknowledge):
            if message.sequence in self._awaited:
                self._acknowledged.add(message.sequence)
            self.newest = server.Acknowledged(message)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Read until the condition holds, for so long at most; whether it holds."""
        deadline = time.monotonic() + seconds
        while not condition() and not self._ended and time.monotonic() < deadline:
            wait_readable(self.socket.fileno(), _SLICE)
            self.read()
        return condition()

    def after_fork_in_child(self) -> None:
        """What the parent has read, the parent's machine takes."""
        self.newest = None
        self._reading = _thread.allocate_lock()


def wait_readable(fd: int, milliseconds: int) -> bool:
    """Whether there is something to read, or its end, within that time."""
    return wait(fd, select.POLLIN, milliseconds)


def wait(fd: int, events: int, milliseconds: int) -> bool:
    """Whether one of the events of `poll` occurs within that time."""
    poll = _poll()
    poll.register(fd, events)
    return bool(poll.poll(milliseconds))
