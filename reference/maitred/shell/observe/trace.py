"""Records the steps of a running machine: in a file, for ``maitred replay``, or in its ring, for the verifier.

In a file, the form is that of `maitred.core.record`.  All processes of an instance append to one file, each line with
one ``write``, so lines of several machines interleave but never mix.  The form in a ring is in
`maitred.shell.observe.encoding`.  An event is recorded before its effects are performed, and each effect when it has
been: a process that is killed leaves a prefix of what it did.
"""

from __future__ import annotations

import json
import os
import time
from typing import Protocol

from maitred.core.record import Json, to_record
from maitred.shell.io import report
from maitred.shell.observe.encoding import Encoder
from maitred.shell.observe.ring import Ring, is_ring


class _Sink(Protocol):
    """Where the steps are recorded."""

    def start(self, arguments: dict[str, object]) -> None: ...
    def event(self, event: object, state: object) -> None: ...
    def effect(self, effect: object) -> None: ...
    def rejected(self, reason: object) -> None: ...


class Trace:
    """The record of one machine's steps; it does nothing where none is wanted."""

    def __init__(self, fd: int | None, who: str) -> None:
        """Record steps of ``who``.

        Args:
            fd: a file opened with ``O_APPEND``, the machine's ring, or None: nothing is recorded.
            who: the machine, as in a trace.
        """
        self._sink: _Sink | None = None
        if fd is not None:
            self._sink = Encoder(Ring(fd, who)) if is_ring(fd) else _File(fd, who)

    @property
    def wanted(self) -> bool:
        """Whether steps are recorded."""
        return self._sink is not None and not (isinstance(self._sink, _File) and self._sink.ended)

    def start(self, **arguments: object) -> None:
        """The machine begins; the arguments are those of its ``initial``."""
        if self._sink is not None:
            self._sink.start(arguments)

    def event(self, event: object, state: object = None) -> None:
        """The machine takes this event in this state: to be called before the event's effects are performed."""
        if self._sink is not None:
            self._sink.event(event, state)

    def effect(self, effect: object) -> None:
        """The next effect of the last event has been performed."""
        if self._sink is not None:
            self._sink.effect(effect)

    def rejected(self, reason: object) -> None:
        """The machine declined the last event."""
        if self._sink is not None:
            self._sink.rejected(reason)


class _File:
    """The file of all machines, as one of them writes it."""

    def __init__(self, fd: int, who: str) -> None:
        self._fd = fd
        self._who = who
        self.ended = False

    def start(self, arguments: dict[str, object]) -> None:
        self._write("start", {name: to_record(value) for name, value in arguments.items()})

    def event(self, event: object, state: object) -> None:
        self._write("event", to_record(event))

    def effect(self, effect: object) -> None:
        self._write("effect", to_record(effect))

    def rejected(self, reason: object) -> None:
        self._write("rejected", to_record(reason))

    def _write(self, key: str, value: Json) -> None:
        if self.ended:
            return
        record = {"who": self._who, key: value, "t": round(time.monotonic(), 6), "pid": os.getpid()}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._give_up(str(error))
        else:
            if written != len(line):
                self._give_up("the disk took a part of a line")

    def _give_up(self, why: str) -> None:
        """Service goes on without a trace: a trace with a gap would look like a wrong step."""
        self.ended = True
        report.warning(f"{self._who}: the trace ends here, it cannot be written: {why}")
