"""What may happen in the closed system: `Action` is a closed union, and a match on it ends with `assert_never`.

Each action says who acts (``who``, for people to read) and what happens (``what``: an event of a machine, or a `Deed`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Literal, TypeAlias

from maitred.core import distributor, monitor, server
from maitred.core.messages import Port, ServerId

ServerEvent: TypeAlias = server.Event


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


# ================================================================ of clients


@dataclass(frozen=True, slots=True)
class _OfClient:
    client: int
    """The client's cookie."""

    @property
    def who(self) -> str:
        """``client 0``."""
        return f"client {self.client}"


@dataclass(frozen=True, slots=True)
class ClientConnects(_OfClient):
    """A client connects to a port."""

    port: Port
    what: ClassVar[Literal[Deed.ARRIVES]] = Deed.ARRIVES


@dataclass(frozen=True, slots=True)
class ClientCloses(_OfClient):
    """A client closes its side before it is served."""

    what: Literal[Deed.HANGS_UP, Deed.HALF_CLOSES]


# ================================================================ of the Monitor and the Distributor


@dataclass(frozen=True, slots=True)
class MonitorStep:
    """A step of the Monitor."""

    what: monitor.Event
    who: ClassVar[str] = "monitor"


@dataclass(frozen=True, slots=True)
class _OfDistributor:
    what: distributor.Event
    late: bool = field(default=False, kw_only=True)
    """The message overtook the one before it."""
    who: ClassVar[str] = "distributor"


@dataclass(frozen=True, slots=True)
class DistributorStep(_OfDistributor):
    """A step of the Distributor, all of whose effects were performed."""


@dataclass(frozen=True, slots=True)
class DistributorCutOff(_OfDistributor):
    """A step in the midst of which the Distributor died."""

    performed: int
    """How many of the step's effects came before."""


@dataclass(frozen=True, slots=True)
class EffectDeclined(_OfDistributor):
    """A step of the Distributor, one of whose effects the kernel declined."""

    declined: int
    """The index of that effect."""


@dataclass(frozen=True, slots=True)
class DistributorEnds:
    """The Distributor's process ends between two steps."""

    what: Literal[Deed.DIES, Deed.EXITS]
    who: ClassVar[str] = "distributor"


# ================================================================ of servers


@dataclass(frozen=True, slots=True)
class _OfServer:
    server: ServerId

    @property
    def who(self) -> str:
        """``server 3``."""
        return f"server {self.server}"


@dataclass(frozen=True, slots=True)
class ServerStep(_OfServer):
    """A step of a server's endpoint."""

    what: ServerEvent


@dataclass(frozen=True, slots=True)
class ServerDeed(_OfServer):
    """What happens to a server, or what it does, on no port in particular."""

    what: Literal[Deed.DIES, Deed.LEAVES_A_CHILD, Deed.IS_KILLED, Deed.ENDS, Deed.DEFERS, Deed.RESUMES]


@dataclass(frozen=True, slots=True)
class PortDeed(_OfServer):
    """What a server does, or what happens to it, on one port."""

    what: Literal[Deed.BINDS, Deed.BINDS_AGAIN, Deed.READS_REPLY, Deed.SENDS, Deed.LOSES_A_READER, Deed.LOSES_A_SENDER]
    port: Port


@dataclass(frozen=True, slots=True)
class ConnectionLeaks(_OfServer):
    """A server loses track of a client's connection, which has closed."""

    client: int
    """The client's cookie."""
    what: ClassVar[Literal[Deed.LEAKS]] = Deed.LEAKS


DistributorTakes: TypeAlias = DistributorStep | DistributorCutOff | EffectDeclined
"""A step of the Distributor, performed to its end or not."""
MachineStep: TypeAlias = MonitorStep | DistributorTakes | ServerStep
Action: TypeAlias = (
    ClientConnects | ClientCloses | MachineStep | DistributorEnds | ServerDeed | PortDeed | ConnectionLeaks
)
"""One step of the whole system."""
