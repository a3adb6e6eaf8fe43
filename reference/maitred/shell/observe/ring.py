"""A ring of records in shared memory, by which a machine reports its steps to the verifier.

It is bounded and never blocks: to append is to copy bytes, without a system call and without waiting.  A record for
which there is no room is dropped and counted.  What has been appended and counted outlives its writer.

Each machine has a ring of its own, a memory file (``memfd``) that its processes and the verifier map.  So a program
that overwrites it spoils the records of its own server only.  Its size is sealed: to shrink it would kill the processes
that map it, by SIGBUS.  The verifier has a ring without room for records, whose header holds its totals.

=========  ==========  =========================================================================
at         bytes       what
=========  ==========  =========================================================================
0          8           ``MAGIC``
128        8 x 8       header: see `MachineHeader` and `VerifierHeader`
4096       the rest    records: length and CRC-32, 4 bytes each, and as many bytes
=========  ==========  =========================================================================

A machine takes one step at a time, whichever of its processes takes it: so a ring has one writer, and the verifier is
its one reader.  `WRITTEN` moves when a record is complete, so a process that is killed leaves no half of one.  The
checksum is for programs that write where they should not, and for processors that show the header before the record.
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
"""Number of attempts to read a record after which it counts as damaged."""
LOG: Final = b"log"
"""In place of a machine's name, where the file of the log comes and no ring."""

_FRAME: Final = struct.Struct("=II")
_HEADER_AT: Final = 128
_FIELDS: Final = 8
_MOST_STEPS: Final = 1 << 48
"""No machine takes more in a lifetime."""


class MachineHeader(IntEnum):
    """The header of a machine's ring."""

    BEGUN = 0
    """Steps that the machine has begun."""
    DROPPED = 1
    """Steps of which a record found no room."""
    GAP = 2
    """1 where the last step was dropped: the next record must contain the machine's state."""
    WANTED = 3
    """1 where the verifier asks for the machine's state."""
    WRITTEN = 4
    """Bytes that have been written."""
    READ = 5
    """Bytes that have been read."""
    PID = 6
    """The machine's first process."""
    OVER = 7
    """1 when the Monitor has found that no process of the machine is left."""


_WRITTEN: Final = MachineHeader.WRITTEN.value
_READ: Final = MachineHeader.READ.value


class VerifierHeader(IntEnum):
    """The header of the verifier's ring: its totals."""

    VERIFIED = 0
    """Steps that were steps of the machine, and kept its invariants."""
    UNCHECKED = 1
    """Steps that came through while the machine's state was not known."""
    DIVERGED = 2
    """Divergences."""
    CLOSING = 3
    """1 when all machines have ended, and the Monitor waits for the rest to be read."""


class Damaged(Exception):
    """The next record of a ring makes no sense, and never will."""


class Ring:
    """One ring, as one process has it."""

    def __init__(self, fd: int, who: str) -> None:
        """Map the ring; the descriptor may be closed afterwards.

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
        self.header: Final = self._view[_HEADER_AT : _HEADER_AT + 8 * _FIELDS].cast("Q")
        """By `MachineHeader` or `VerifierHeader`."""
        self._records = self._view[HEADER:]
        self._tail = 0
        """Bytes read, as the reader knows; it does not trust the header, which the program can write."""
        self._attempts = 0

    def close(self) -> None:
        """Unmap it."""
        for view in (self.header, self._records, self._view):
            view.release()
        self._memory.close()

    # ---------------------------------------------------------------- the writer

    @property
    def free(self) -> int:
        """Bytes for which there is room."""
        return int(self.room - (self.header[MachineHeader.WRITTEN] - self.header[MachineHeader.READ]))

    def put(self, record: bytes) -> bool:
        """Append the record, if there is room for it; whether there was."""
        head = self.header[_WRITTEN]
        size = _FRAME.size + len(record)
        if size > self.room - (head - self.header[_READ]):
            return False
        framed = _FRAME.pack(len(record), zlib.crc32(record)) + record
        at = head % self.room
        before_end = self.room - at
        if size <= before_end:
            self._records[at : at + size] = framed
        else:
            self._records[at:] = framed[:before_end]
            self._records[: size - before_end] = framed[before_end:]
        self.header[_WRITTEN] = head + size
        return True

    # ---------------------------------------------------------------- the reader

    def take(self) -> bytes | None:
        """Read the next record, if there is one.

        Raises:
            Damaged: there is one, but it makes no sense; nothing of what is in the ring now will be read.
        """
        head, tail = self.header[MachineHeader.WRITTEN], self._tail
        if head == tail:
            return None
        there = head - tail
        if _FRAME.size <= there <= self.room:
            length, checksum = _FRAME.unpack(self._bytes(tail, _FRAME.size))
            if length <= there - _FRAME.size:
                record = self._bytes(tail + _FRAME.size, length)
                if zlib.crc32(record) == checksum:
                    self._attempts = 0
                    self._tail = self.header[MachineHeader.READ] = tail + _FRAME.size + length
                    return record
        self._attempts += 1
        if self._attempts < PATIENCE:
            return None
        self._attempts = 0
        self._tail = self.header[MachineHeader.READ] = head
        raise Damaged(f"{there} bytes of {self.who} make no sense")

    def _bytes(self, start: int, length: int) -> bytes:
        at = start % self.room
        return bytes(self._records[at : at + length]) + bytes(self._records[: max(0, at + length - self.room)])


def create(room: int = 0) -> int:
    """A new ring with room for so many bytes: its descriptor, close-on-exec.

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


def is_ring(fd: int) -> bool:
    """Whether the descriptor is that of a ring."""
    try:
        return os.pread(fd, len(MAGIC), 0) == MAGIC
    except OSError:
        return False  # a file that is written only


def step_counts(fd: int) -> tuple[int, int]:
    """Steps begun and steps dropped, as the machine has counted them; (0, 0) where that cannot be."""
    begun, dropped = struct.unpack("=QQ", os.pread(fd, 16, _HEADER_AT))
    return (begun, dropped) if dropped <= begun < _MOST_STEPS else (0, 0)


def note_end(fd: int) -> None:
    """No process of the machine is left."""
    os.pwrite(fd, struct.pack("=Q", 1), _HEADER_AT + 8 * MachineHeader.OVER)
