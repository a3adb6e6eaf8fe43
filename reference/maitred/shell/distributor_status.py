"""A Distributor's part of the status: it answers each line that the Monitor sends with a line of JSON.

A line is a question (`STATUS`), or names a file that comes with it: what was opened again after it had been renamed.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from maitred.core import distributor as core
from maitred.core.messages import ServerId
from maitred.shell.io.loop import READ, WRITE, Loop

STATUS: Final = b"?"
LOG: Final = b"log"
TRACE: Final = b"trace"


class StatusSocket:
    """The stream on which the Monitor asks."""

    def __init__(
        self,
        fd: int,
        loop: Loop,
        document: Callable[[], dict[str, object]],
        open_again: Callable[[bytes, int], None],
    ) -> None:
        """Take the stream over.

        Args:
            fd: of the stream.
            loop: watches it, from `watch` on.
            document: what to answer now.
            open_again: takes over a file: its name here, and the descriptor.
        """
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._loop = loop
        self._document = document
        self._open_again = open_again
        self._questions, self._answers = b"", bytearray()
        self._files: deque[int] = deque()
        """Those whose line has not been read."""

    def watch(self) -> None:
        """Answer from now on."""
        self._loop.watch(self._socket.fileno(), READ, self._on_status)

    def _on_status(self, flags: int) -> None:
        """Answer each line that the Monitor sends with a line."""
        try:
            asked = self._receive() if flags & ~WRITE else None
        except BlockingIOError:
            asked = None
        except OSError:
            asked = b""
        if asked == b"":
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            return
        *lines, self._questions = (self._questions + (asked or b"")).split(b"\n")
        for line in lines:
            self._answers += json.dumps(self._document() | self._taken(line)).encode() + b"\n"
        self._write_answers()

    def _receive(self) -> bytes:
        """Read; a read ends after the line that a descriptor comes with (unix(7))."""
        asked, fds, _, _ = socket.recv_fds(self._socket, 4096, 1, socket.MSG_CMSG_CLOEXEC)
        self._files.extend(fds)
        return asked

    def _taken(self, line: bytes) -> dict[str, object]:
        """Take over the file that the line names, if it names one; whether that was possible."""
        if line == STATUS:
            return {}
        if self._files:
            self._open_again(line, self._files.popleft())
            return {"opened": True}
        return {"opened": False}  # no descriptor was left for it: the file before is kept

    def _write_answers(self) -> None:
        try:
            del self._answers[: self._socket.send(self._answers)]
        except BlockingIOError:
            pass
        except OSError:
            self._answers.clear()
        self._loop.change(self._socket.fileno(), READ | WRITE if self._answers else READ)


def status_of(
    state: core.DistributorState,
    since: dict[int, float],
    offences: Mapping[ServerId, str] = MappingProxyType({}),
    totals: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, object]:
    """The Distributor's part of the status: its tables, as JSON.

    Args:
        state: of the Distributor.
        since: when each waiting client began to wait, in seconds since 1970, by cookie.
        offences: how servers have broken the protocol.
        totals: what has happened since this Distributor was started.
    """
    ports = [
        {
            "port": info.port,
            "address": address,
            "listening": up,
            "accepting": info.accepting,
            "waiting": len(info.waiting),
        }
        for info in state.ports.values()
        for address, up in info.listeners.items()
    ]
    waiting = sorted(client for info in state.ports.values() for client in info.waiting)
    return {
        "phase": state.phase.value,
        "incarnation": state.incarnation,
        "waiting": state.waiting,
        "totals": {"accepted": state.next_arrival, **totals},
        "ports": ports,
        "waiting_list": [
            {"port": client.port, "arrival": client.arrival, "since": since.get(client.cookie)} for client in waiting
        ],
        "servers": {str(server): _row(status, offences.get(server, "")) for server, status in state.servers.items()},
    }


def _row(status: core.ServerStatus, offence: str) -> dict[str, object]:
    """One row of the server table."""
    return {
        "clients": status.count.clients,
        "outstanding": status.request.arrival if status.request else None,
        "offence": offence or None,
        "draining": status.draining,
        "resting": status.resting,
        "ready": not status.owed and any(d.phase is core.DialogPhase.READY for d in status.dialogs.values()),
        "dialogs": [
            {"port": port, "phase": dialog.phase.value, "owed": port in status.owed}
            for port, dialog in status.dialogs.items()
        ],
    }
