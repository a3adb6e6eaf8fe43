"""Writes what a running machine does, line by line, so that it can be replayed through the core.

The form is that of `maitred.core.record`.  All processes of an instance append to one file, each line with one
``write``, so lines of several machines interleave but never mix.  An event is written before its effects are performed,
and each effect as soon as it has been: a process that is killed leaves a prefix of what it did.
"""

from __future__ import annotations

import json
import os
import sys
import time

from maitred.core.record import Json, to_record


class Trace:
    """One machine's pen; it does nothing where no trace is wanted."""

    def __init__(self, fd: int | None, who: str) -> None:
        """Trace as ``who`` to ``fd``, a file opened with ``O_APPEND``; None for no trace."""
        self._fd = fd
        self._who = who

    @property
    def wanted(self) -> bool:
        """Whether anything is written."""
        return self._fd is not None

    def start(self, **arguments: object) -> None:
        """The machine begins; the arguments are those of its ``initial``."""
        if self._fd is not None:
            self._write("start", {name: to_record(value) for name, value in arguments.items()})

    def event(self, event: object) -> None:
        """The machine takes this event: to be said before its effects are performed."""
        if self._fd is not None:
            self._write("event", to_record(event))

    def effect(self, effect: object) -> None:
        """The next effect of the last event has been performed."""
        if self._fd is not None:
            self._write("effect", to_record(effect))

    def rejected(self, reason: object) -> None:
        """The machine declined the last event."""
        if self._fd is not None:
            self._write("rejected", to_record(reason))

    def _write(self, key: str, value: Json) -> None:
        record = {"who": self._who, key: value, "t": round(time.monotonic(), 6), "pid": os.getpid()}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        assert self._fd is not None
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._give_up(str(error))
        else:
            if written != len(line):
                self._give_up("the disk took a part of a line")

    def _give_up(self, why: str) -> None:
        """Service goes on without a trace: a trace with a gap would look like a wrong step."""
        self._fd = None
        print(f"maitred: {self._who}: the trace ends here, it cannot be written: {why}", file=sys.stderr, flush=True)
