"""Moves a descriptor's registrations with epoll to the file that takes its place.

A program may register its socket before it binds it (pyftpdlib does).  The kernel registers the open file, not the
number: when another file gets the number, it goes on reporting the former one.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

_EPOLL: Final = "anon_inode:[eventpoll]"
_ROW: Final = re.compile(r"tfd:\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)\s+pos:\S+ ino:([0-9a-f]+)")
_NUMBER: Final = 0xFFFF_FFFF
"""The part of the user data that is the number, as Python has it."""
_epoll: Final = select.epoll  # green threads may take it away
_ASKED: Final = 0xFFFF_FFFF ^ (select.EPOLLERR | select.EPOLLHUP)  # these two are always reported


class Registrations:
    """The registrations of one descriptor, in all epolls of this process."""

    def __init__(self, fd: int) -> None:
        """Find them."""
        self._fd = fd
        self._found = list(_find(fd))

    def take_out(self) -> None:
        """Before another file gets the number."""
        for number, _ in self._found:
            self._change(number, None)

    def put_back(self) -> None:
        """After that."""
        for number, events in self._found:
            self._change(number, events)

    def _change(self, number: int, events: int | None) -> None:
        with suppress(OSError), _epoll.fromfd(os.dup(number)) as epoll:
            if events is None:
                epoll.unregister(self._fd)
            else:
                epoll.register(self._fd, events)


def _find(fd: int) -> Iterator[tuple[int, int]]:
    """The descriptor of each, and the events; one whose user data is not the number is no Python program's."""
    inode = os.fstat(fd).st_ino
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == _EPOLL:
                with open(f"/proc/self/fdinfo/{name}", encoding="ascii") as file:
                    for target, events, data, of in _ROW.findall(file.read()):
                        if int(target) == fd == int(data, 16) & _NUMBER and int(of, 16) == inode:
                            yield int(name), int(events, 16) & _ASKED
