"""Describes listeners to processes that they are passed to: pickled (multiprocessing's forkserver), or by SCM_RIGHTS.

Such a process has inherited nothing of the listener, and gets only a descriptor of the dialog.  So all processes of a
server hold both ends of one more channel.  Before one of them passes a listener on, it sends a packet there: a
description of the listener, and the TCP socket that the program made.  Nothing is ever received.  A process that is
given an unknown socket looks through the packets (``MSG_PEEK``, which duplicates their descriptors) for its inode.
"""

from __future__ import annotations

import _socket
import json
import select
from array import array
from typing import Any, Final, TypeAlias

from maitred.shell.io import channel

Row: TypeAlias = dict[str, Any]  # Any: as JSON has it
"""The description of a listener, by its ``inode``; see `maitred.shell.inside.listener.Listener.row`."""

_SO_PEEK_OFF: Final = 42
_LONGEST: Final = 4096
_PEEK: Final = _socket.MSG_PEEK | _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
_SEND: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
_ROOM: Final = _socket.CMSG_SPACE(array("i").itemsize)
_poll: Final = select.poll  # green threads replace it, or take it away


class PassedListeners:
    """The channel, as one process has it."""

    def __init__(self, front: int, back: int) -> None:
        """Take over the descriptors of both ends."""
        self._front, self._back = channel.attach(front), channel.attach(back)
        self.fds: Final = (front, back)

    def put(self, row: Row, original: _socket.socket) -> None:
        """Send the description of a listener.

        Raises:
            OSError: there is no more room, or the program has closed the descriptors.
        """
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [original.fileno()]))]
        self._front.sendmsg([json.dumps(row).encode()], rights, _SEND)

    @property
    def is_empty(self) -> bool:
        """Whether no listener was ever described."""
        poll = _poll()
        poll.register(self._back.fileno(), select.POLLIN)
        return not poll.poll(0)

    def find(self, inode: int) -> tuple[Row, _socket.socket] | None:
        """The last description of the listener.  One process at a time: they share the offset of the peeks.

        Raises:
            OSError: no descriptor is free, or the program has closed those of the channel.
        """
        found: tuple[Row, _socket.socket] | None = None
        self._back.setsockopt(_socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        while True:
            try:
                data, ancillary, _, _ = self._back.recvmsg(_LONGEST, _ROOM, _PEEK)
            except BlockingIOError:
                return found
            row, fds = json.loads(data), channel.descriptors(ancillary)
            if row["inode"] == inode and fds:
                found = row, _socket.socket(fileno=fds.pop())
            channel.close(fds)
