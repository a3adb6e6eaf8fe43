"""The channel to the verifier: shared memory in which every machine has a section with numbers and a ring of records.

The channel is bounded and never blocks.  To write is to copy bytes: no call into the kernel, nobody to wait for.  A
record for which the ring has no room is not written, and is counted.  What has been written and counted outlives its
writer.  All sections lie in one memory file (``memfd``) that every process of the instance maps; a process finds its
section by the machine's name, so that one inherited descriptor serves all of them.

The first section is the verifier's own, without a ring; the others come one behind another:

=========  ==========  =========================================================================
at         bytes       what
=========  ==========  =========================================================================
0          8           ``MAGIC``
8          8           bytes of the ring
16         64          the machine's name, as in a trace
128        8 x 8       numbers: see `Count` and `Total`
4096       the ring    records: length and CRC-32, 4 bytes each, and as many bytes
=========  ==========  =========================================================================

A machine takes one step at a time, whichever of its processes takes it: so a ring has one writer, and the verifier is
its one reader.  `HEAD` moves when a record is complete, hence a process that is killed leaves no half of one.  The
checksum is for programs that write where they should not, and for processors that show a head before its record.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import Final

MAGIC: Final = b"maitred2"
HEADER: Final = 4096
LONGEST_NAME: Final = 64
ROOM: Final = 2 << 20
"""Bytes of the ring of a Monitor or a Distributor."""
SERVER_ROOM: Final = 256 << 10
"""Bytes of the ring of a server."""
PATIENCE: Final = 100
"""So many looks in vain show that a record is damaged."""

_HEAD: Final = struct.Struct("=8sQ64s")
_FRAME: Final = struct.Struct("=II")
_NUMBERS: Final = 128
_HOW_MANY: Final = 8


class Count(IntEnum):
    """The numbers of a machine's section."""

    BEGUN = 0
    """Steps that the machine has begun."""
    DROPPED = 1
    """Steps of which something found no room."""
    GAP = 2
    """1 where the last step was dropped: the next record must bring the machine's state."""
    WANTED = 3
    """1 where the verifier asks for the machine's state."""
    HEAD = 4
    """Bytes that have been written."""
    TAIL = 5
    """Bytes that have been read."""
    PID = 6
    """The machine's first process."""
    OVER = 7
    """1 where no process of the machine is left, so the Monitor says."""


_AT_HEAD: Final = Count.HEAD.value
_AT_TAIL: Final = Count.TAIL.value


class Total(IntEnum):
    """The numbers of the verifier's section."""

    VERIFIED = 0
    """Steps that were steps of the machine, and kept its invariants."""
    UNCHECKED = 1
    """Steps that came through while the machine's state was not known."""
    DIVERGED = 2
    """Divergences."""
    CLOSING = 3
    """1 where the Monitor has ended, and waits for the rest to be read."""


class Damaged(Exception):
    """The next record of a ring makes no sense, and never will."""


class Section:
    """One section, as one process sees it."""

    def __init__(self, fd: int, offset: int) -> None:
        """Map the section at the offset.

        Raises:
            OSError: it cannot be mapped.
            ValueError: there is none.
        """
        magic, self.room, name = _HEAD.unpack(_read(fd, _HEAD.size, offset))
        if magic != MAGIC:
            raise ValueError("not a section")
        self.who: Final = str(name.rstrip(b"\0").decode())
        self._memory = mmap.mmap(fd, HEADER + self.room, offset=offset)
        self._view = memoryview(self._memory)
        self.numbers: Final = self._view[_NUMBERS : _NUMBERS + 8 * _HOW_MANY].cast("Q")
        """By `Count` or `Total`."""
        self._ring = self._view[HEADER:]
        self._vain = 0

    def close(self) -> None:
        """Unmap it."""
        for view in (self.numbers, self._ring, self._view):
            view.release()
        self._memory.close()

    def empty(self) -> None:
        """Give the ring's memory back, for nobody writes or reads it again."""
        if self.room:
            with suppress(OSError):
                self._memory.madvise(mmap.MADV_REMOVE, HEADER, self.room)

    # ---------------------------------------------------------------- the writer

    @property
    def free(self) -> int:
        """Bytes for which there is room."""
        return int(self.room - (self.numbers[Count.HEAD] - self.numbers[Count.TAIL]))

    def put(self, record: bytes) -> bool:
        """Write the record, if there is room for it."""
        head = self.numbers[_AT_HEAD]
        size = _FRAME.size + len(record)
        if size > self.room - (head - self.numbers[_AT_TAIL]):
            return False
        framed = _FRAME.pack(len(record), zlib.crc32(record)) + record
        at = head % self.room
        before_end = self.room - at
        if size <= before_end:
            self._ring[at : at + size] = framed
        else:
            self._ring[at:] = framed[:before_end]
            self._ring[: size - before_end] = framed[before_end:]
        self.numbers[_AT_HEAD] = head + size
        return True

    # ---------------------------------------------------------------- the reader

    def take(self) -> bytes | None:
        """Read the next record, if there is one.

        Raises:
            Damaged: there is one, but it makes no sense; nothing of what is in the ring now will be read.
        """
        head, tail = self.numbers[Count.HEAD], self.numbers[Count.TAIL]
        if head == tail:
            return None
        there = head - tail
        if _FRAME.size <= there <= self.room:
            length, checksum = _FRAME.unpack(self._bytes(tail, _FRAME.size))
            if length <= there - _FRAME.size:
                record = self._bytes(tail + _FRAME.size, length)
                if zlib.crc32(record) == checksum:
                    self._vain = 0
                    self.numbers[Count.TAIL] = tail + _FRAME.size + length
                    return record
        self._vain += 1
        if self._vain < PATIENCE:
            return None
        self._vain = 0
        self.numbers[Count.TAIL] = head
        raise Damaged(f"{there} bytes of {self.who} make no sense")

    def _bytes(self, start: int, length: int) -> bytes:
        at = start % self.room
        return bytes(self._ring[at : at + length]) + bytes(self._ring[: max(0, at + length - self.room)])


class Book:
    """All sections."""

    def __init__(self, fd: int) -> None:
        """The book behind the descriptor, which belongs to the result from now on."""
        self.fd: Final = fd
        self._offsets: dict[int, str] = {}
        self._end = 0
        self.verifier: Final = Section(fd, 0)

    @classmethod
    def create(cls) -> Book:
        """A new book; close-on-exec, and nobody can take back what it is mapped from.

        Raises:
            OSError: there is no memory for it.
        """
        fd = os.memfd_create("maitred-verify", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            _add(fd, 0, "verifier", 0)
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    def add(self, who: str, room: int) -> None:
        """A section for the machine, whose processes are about to be started.

        Raises:
            OSError: there is no memory for it.
        """
        for _ in self.news():
            pass
        _add(self.fd, self._end, who, room)

    def over(self, who: str) -> None:
        """No process of the machine is left; nothing happens where it has no section."""
        for _ in self.news():
            pass
        for offset, name in self._offsets.items():
            if name == who:
                os.pwrite(self.fd, struct.pack("=Q", 1), offset + _NUMBERS + 8 * Count.OVER)

    def news(self) -> Iterator[int]:
        """The offsets of the sections that have come since the last time, but the verifier's."""
        size = os.fstat(self.fd).st_size
        while self._end < size:
            offset = self._end
            magic, room, name = _HEAD.unpack(_read(self.fd, _HEAD.size, offset))
            if magic != MAGIC:
                return  # it is being made
            self._end = offset + HEADER + room
            if offset:
                self._offsets[offset] = name.rstrip(b"\0").decode()
                yield offset

    def sums(self) -> tuple[int, int]:
        """Steps begun and steps dropped, of all machines that there have ever been."""
        for _ in self.news():
            pass
        pairs = [struct.unpack("=QQ", _read(self.fd, 16, offset + _NUMBERS)) for offset in self._offsets]
        return sum(begun for begun, _ in pairs), sum(dropped for _, dropped in pairs)

    def close(self) -> None:
        """Let go of the descriptor and of the memory."""
        self.verifier.close()
        os.close(self.fd)


def is_book(fd: int) -> bool:
    """Whether the descriptor is that of a book."""
    try:
        return os.pread(fd, len(MAGIC), 0) == MAGIC
    except OSError:
        return False  # a file that is written only


def section_of(fd: int, who: str) -> Section | None:
    """The machine's section of the book, or None where it has none."""
    offset, size = 0, os.fstat(fd).st_size
    while offset < size:
        _, room, name = _HEAD.unpack(_read(fd, _HEAD.size, offset))
        if offset and name.rstrip(b"\0") == who.encode():
            return Section(fd, offset)
        offset += HEADER + room
    return None


def _add(fd: int, offset: int, who: str, room: int) -> None:
    """Make room at the end, then say what it is; a reader who comes between finds nothing and looks again."""
    assert len(who) <= LONGEST_NAME and room % HEADER == 0
    os.ftruncate(fd, offset + HEADER + room)
    os.pwrite(fd, _HEAD.pack(MAGIC, room, who.encode()), offset)


def _read(fd: int, length: int, offset: int) -> bytes:
    found = os.pread(fd, length, offset)
    if len(found) != length:
        raise ValueError("the book is cut short")
    return found
