"""What may happen in the closed system: one step of a machine, a fault, or a deed of a client or program."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from maitred.core import distributor, monitor, server


class Deed(Enum):
    """What happens that is no event of a machine."""

    ARRIVES = "connects"
    HANGS_UP = "closes its side"
    HALF_CLOSES = "closes its side, having sent data"
    DIES = "dies"
    LEAVES_A_CHILD = "main process dies; a forked child lives on"
    IS_KILLED = "is killed with all its processes"
    ENDS = "ends, as it was asked to"
    EXITS = "exits: it is closed"
    BINDS = "calls bind"
    BINDS_AGAIN = "repeats its request to bind"
    READS_REPLY = "reads the answer to its bind"
    LEAKS = "loses track of a connection that has closed"
    SENDS = "sends what is to be said"
    DEFERS = "finds the dialog full, and goes on"
    RESUMES = "goes on sending what was deferred"
    LOSES_A_READER = "a process dies having read a message, and others live on"
    LOSES_A_SENDER = "a process dies while it sends, and others live on"


@dataclass(frozen=True, slots=True)
class Action:
    """One step of the whole system."""

    who: str
    """``distributor``, ``monitor``, ``server 3`` or ``client 0``."""
    what: Deed | distributor.Event | monitor.Event | server.Event
    about: int | None = None
    """Of a deed: the port, or the cookie of the client."""
    performed: int | None = None
    """The Distributor died after so many of the step's effects; None: it did not."""
    declined: int | None = None
    """Which of the step's effects the kernel declined."""
    late: bool = False
    """The message overtook the one before it."""
