"""Tells a process what a listener is that was passed to it: pickled (multiprocessing's forkserver), or by SCM_RIGHTS.

Such a process has inherited nothing of the listener, and gets but a descriptor of the dialog.  So all processes of a
server hold both ends of one more channel.  Before one of them passes a listener on, it puts a packet there: what is to
be known of the listener, and the TCP socket that the program made.  Nothing is ever taken out.  Whoever is given a
socket that he does not know looks through the packets (``MSG_PEEK``, which duplicates their descriptors) for its inode.
"""

from __future__ import annotations

import _socket
import json
import select
from array import array
from typing import Any, Final, TypeAlias

from maitred.shell.io import channel

Row: TypeAlias = dict[str, Any]  # Any: as JSON has it
"""What is to be known of a listener; its ``inode`` among it."""

_SO_PEEK_OFF: Final = 42
_LONGEST: Final = 4096
_LOOK: Final = _socket.MSG_PEEK | _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
_PUT: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
_ROOM: Final = _socket.CMSG_SPACE(array("i").itemsize)
_poll: Final = select.poll  # green threads replace it, or take it away


class Shelf:
    """The channel, as one process has it."""

    def __init__(self, front: int, back: int) -> None:
        """Take over the descriptors of both ends."""
        self._front, self._back = channel.attach(front), channel.attach(back)
        self.fds: Final = (front, back)

    def put(self, row: Row, original: _socket.socket) -> None:
        """Put a listener there.

        Raises:
            OSError: there is no more room, or the program has closed the descriptors.
        """
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [original.fileno()]))]
        self._front.sendmsg([json.dumps(row).encode()], rights, _PUT)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever put there."""
        poll = _poll()
        poll.register(self._back.fileno(), select.POLLIN)
        return not poll.poll(0)

    def find(self, inode: int) -> tuple[Row, _socket.socket] | None:
        """What was last put there of the listener.  One process at a time: they share the place that is looked at.

        Raises:
            OSError: no descriptor is free, or the program has closed those of the shelf.
        """
        found: tuple[Row, _socket.socket] | None = None
        self._back.setsockopt(_socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        while True:
            try:
                data, ancillary, _, _ = self._back.recvmsg(_LONGEST, _ROOM, _LOOK)
            except BlockingIOError:
                return found
            row, fds = json.loads(data), channel.descriptors(ancillary)
            if row["inode"] == inode and fds:
                found = row, _socket.socket(fileno=fds.pop())
            channel.close(fds)
