"""The channel to the verifier: shared memory in which every machine has a section with numbers and a ring of records.

The channel is bounded and never blocks.  To write is to copy bytes: no call into the kernel, nobody to wait for.  A
record for which the ring has no room is not written, and is counted.  What has been written and counted outlives its
writer.  Each machine has a book of its own, a memory file (``memfd``) that its processes and the verifier map.  So a
program that writes there what it likes spoils what is known of its own server, and of nobody else.  Nobody can change
its size: for a process that maps it that would be SIGBUS.  The verifier has a book without a ring, for its totals.

=========  ==========  =========================================================================
at         bytes       what
=========  ==========  =========================================================================
0          8           ``MAGIC``
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
from enum import IntEnum
from typing import Final

MAGIC: Final = b"maitred5"
HEADER: Final = 4096
ROOM: Final = 2 << 20
"""Bytes of the ring of a Monitor or a Distributor."""
SERVER_ROOM: Final = 256 << 10
"""Bytes of the ring of a server."""
PATIENCE: Final = 100
"""So many looks in vain show that a record is damaged."""

_FRAME: Final = struct.Struct("=II")
_NUMBERS: Final = 128
_HOW_MANY: Final = 8
_MOST_STEPS: Final = 1 << 48
"""No machine takes more in a lifetime."""


class Count(IntEnum):
    """The numbers of a machine's book."""

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
    """The numbers of the verifier's book."""

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


class Book:
    """One book, as one process sees it."""

    def __init__(self, fd: int, who: str) -> None:
        """Map the book; the descriptor may be closed.

        Args:
            fd: the descriptor.
            who: the machine, as in a trace.

        Raises:
            OSError: it cannot be mapped.
        """
        self.who: Final = who
        size = os.fstat(fd).st_size
        self.room: Final = size - HEADER
        self._memory = mmap.mmap(fd, size)
        self._view = memoryview(self._memory)
        self.numbers: Final = self._view[_NUMBERS : _NUMBERS + 8 * _HOW_MANY].cast("Q")
        """By `Count` or `Total`."""
        self._ring = self._view[HEADER:]
        self._tail = 0
        """Of the reader, who does not believe what stands in the book."""
        self._vain = 0

    def close(self) -> None:
        """Unmap it."""
        for view in (self.numbers, self._ring, self._view):
            view.release()
        self._memory.close()

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
        head, tail = self.numbers[Count.HEAD], self._tail
        if head == tail:
            return None
        there = head - tail
        if _FRAME.size <= there <= self.room:
            length, checksum = _FRAME.unpack(self._bytes(tail, _FRAME.size))
            if length <= there - _FRAME.size:
                record = self._bytes(tail + _FRAME.size, length)
                if zlib.crc32(record) == checksum:
                    self._vain = 0
                    self._tail = self.numbers[Count.TAIL] = tail + _FRAME.size + length
                    return record
        self._vain += 1
        if self._vain < PATIENCE:
            return None
        self._vain = 0
        self._tail = self.numbers[Count.TAIL] = head
        raise Damaged(f"{there} bytes of {self.who} make no sense")

    def _bytes(self, start: int, length: int) -> bytes:
        at = start % self.room
        return bytes(self._ring[at : at + length]) + bytes(self._ring[: max(0, at + length - self.room)])


def create(room: int = 0) -> int:
    """A new book with a ring of so many bytes: its descriptor, close-on-exec.

    Raises:
        OSError: there is no memory for it, or no descriptor.
    """
    fd = os.memfd_create("maitred-verify", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, HEADER + room)
        os.pwrite(fd, MAGIC, 0)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_book(fd: int) -> bool:
    """Whether the descriptor is that of a book."""
    try:
        return os.pread(fd, len(MAGIC), 0) == MAGIC
    except OSError:
        return False  # a file that is written only


def steps(fd: int) -> tuple[int, int]:
    """Steps begun and steps dropped, as the machine has it; none where that makes no sense."""
    begun, dropped = struct.unpack("=QQ", os.pread(fd, 16, _NUMBERS))
    return (begun, dropped) if dropped <= begun < _MOST_STEPS else (0, 0)


def note_end(fd: int) -> None:
    """No process of the machine is left."""
    os.pwrite(fd, struct.pack("=Q", 1), _NUMBERS + 8 * Count.OVER)
