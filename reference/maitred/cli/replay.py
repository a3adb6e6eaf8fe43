"""``maitred replay``: replay a recorded run through the machines, and report whether every step was one of theirs."""

from __future__ import annotations

import argparse
import errno
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from maitred.cli import complain

if TYPE_CHECKING:
    from maitred.shell.observe.replay import ReplayResult

MAX_LINE: Final = 16 << 20
"""Bytes in a line; a Monitor's longest line, its start with all classes and elements, has a third of that."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred replay",
        description="Play a trace, recorded by `maitred run --trace FILE`, through the machines again: was every step"
        " that was taken over real sockets a step of the machine, and did it keep the invariants?",
        epilog="Ends with 0 if so, 1 at the first divergence or if nothing was recorded, 2 if a file cannot be read."
        " Lines are counted through all files. Example: maitred replay trace.2 trace.1 trace",
        allow_abbrev=False,
    )
    made.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="the trace; where `maitred rotate` has split it, its parts, the oldest first",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Replay, and print the result; see the help for the exit codes."""
    files = parser().parse_args(argv).files
    from maitred.shell.observe.replay import replay  # late: it brings the core

    fds: list[int] = []
    file = files[0]
    try:
        for file in files:
            fds.append(opened(file))
            if (complaint := no_trace(fds[-1])) is not None:
                return complain(f"{file}: {complaint}", 1)
        found = replay(*(f"/proc/self/fd/{fd}" for fd in fds))
    except OSError as error:
        return complain(f"{file}: cannot be read: {error.strerror}", 2)
    except RecursionError:
        return complain(f"{file}: a line is nested too deeply: this is no trace", 1)
    except ValueError as error:  # of a name with a NUL character
        return complain(f"{file!r}: cannot be read: {error}", 2)
    finally:
        for fd in fds:
            os.close(fd)
    file = " ".join(files)
    for line in summary(found):
        print(line)
    if found.mismatch is not None:
        return complain(f"{file}: {found.mismatch}", 1)
    print(f"{file}: every step was a step of the machines, and kept their invariants")
    return 0


def opened(file: str) -> int:
    """Open the trace.

    Raises:
        OSError: it cannot be read, or is no regular file: a pipe may never have an end, nor even a beginning.
    """
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is a directory" if stat.S_ISDIR(kind) else "it is no regular file")
    return fd


def no_trace(fd: int) -> str | None:
    """Why the file is no trace, before a line of it is read whole; None if it may be one."""
    number = overlong(fd)
    return None if number is None else f"line {number}: longer than {MAX_LINE >> 20} MiB: this is no trace"


def overlong(fd: int) -> int | None:
    """The number of the first line that is longer than any of ours, from 1; looked for before a line is read whole."""
    number, length, offset = 1, 0, 0
    while piece := os.pread(fd, 1 << 20, offset):
        offset += len(piece)
        first, *others = piece.split(b"\n")
        if length + len(first) > MAX_LINE:
            return number
        number += len(others)  # none of these is longer than the piece
        length = len(others[-1]) if others else length + len(first)
    return None


def summary(found: ReplayResult) -> list[str]:
    """The lines that say how much was replayed."""
    lines = [
        f"{found.lines:,} lines of {_many(found.machines, 'machine')}: {_many(found.steps, 'step')},"
        f" {_many(found.effects, 'effect')}"
    ]
    if found.rejections:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.rejections.items())
        lines.append(f"events that a machine declined, as it should: {reasons}")
    if found.unperformed:
        lines.append(f"{_many(found.unperformed, 'effect')} of processes that ended before they could perform them")
    return lines


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
