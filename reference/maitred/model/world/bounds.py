"""How large the closed system is, how much may go wrong in it, and what it assumes of the kernel."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Final, NamedTuple

from maitred.core.messages import Element

ANY: Final = -1
"""Of an event: it may happen any number of times."""
REPEATABLE: Final = frozenset(
    {"accept_failures", "reorders", "hang_ups", "queue_timeouts", "repeated_binds", "creations", "deletions", "audits"}
)
"""What may happen `ANY` number of times.  Other events may not, or the space would be infinite: the Monitor counts
deaths, and what a refusal or a closed listener brings about may pile up in a channel that nobody reads.
"""


class Assumption(Enum):
    """What the system needs of the kernel and of its shell; each can be switched off, to see which property breaks."""

    ENDS_FOLLOW_DATA = "ends-follow-data"
    """The end of a dialog is read after all that was sent before: a reset that overtakes data is no end."""
    LAST_PROCESS_ENDS = "last-process-ends"
    """A dialog ends with the last process that holds the server's end, not with the server's main process."""
    HEARD_OUT = "heard-out"
    """The Monitor reads all that a dead Distributor said before it acts on the death."""
    KILLS_REACH_ALL = "kills-reach-all"
    """A server counts as gone only when none of its processes is left."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large the system is, and how much may go wrong in it: what an exploration is exhaustive within."""

    servers: int = 2
    """Static servers."""
    dynamic: int = 0
    """Dynamic servers that may be started."""
    ports: int = 1
    max_clients: int = 1
    """Clients that one server serves at a time."""
    clients: int = 3
    """Clients that come, each to any port, once."""
    waiting_limit: int = 2
    elements: int = 1
    """Processing elements; the second has twice the weight of the first, and so on."""
    fixed: bool = True
    """Whether the ports are configured; otherwise the first bind of a server decides."""
    server_crashes: int = 0
    """A server's main process dies, with all its children."""
    forked_children: int = 0
    """Of the crashes: a forked child lives on and may still take a hand-off."""
    distributor_crashes: int = 0
    element_failures: int = 0
    element_returns: int = 0
    """A failed processing element is usable again."""
    descriptor_losses: int = 0
    """A hand-off arrives without its descriptor."""
    unsent: int = 0
    """The kernel declines to send a hand-off."""
    accept_failures: int = 0
    listen_failures: int = 0
    reorders: int = 0
    """The second message of a server comes before its first."""
    hang_ups: int = 0
    """A client closes its side before it is served."""
    queue_timeouts: int = 0
    hand_off_timeouts: int = 0
    listener_closes: int = 0
    """A program closes its listening socket; it may bind and listen again."""
    repeated_binds: int = 0
    """A server repeats its `BindRequest` though the first is still being answered."""
    creations: int = 0
    """How often the delay passes after which a dynamic server is asked for."""
    deletions: int = 0
    """How often an idle dynamic server is let go."""
    audits: int = 0
    leaks: int = 0
    """A connection is gone without the server's own books noticing; only an audit finds it."""
    stops: int = 0
    """The operator asks for a stop; a second time for one at once."""
    interruptions: int = 0
    """A process of a server dies in the midst of a step of the endpoint, while others live on."""
    room: int = 0
    """Messages that a dialog holds towards the Distributor; 0: any number."""
    warm: bool = False
    """Begin when every static server is ready and nothing is on its way, instead of with the Monitor's start.

    Of the orders in which they become ready one is taken: all lead to one world, but for who is who.
    """
    stable: bool = False
    """Whether processes come to live long enough for earlier deaths to be forgotten (changes delays only)."""
    returns: bool = False
    """Whether a client that has ended comes again, so that there is no end of clients."""
    without: tuple[Assumption, ...] = ()
    """What is not assumed, although it should be."""
    begins: str = ""
    """The recorded run after which the exploration begins (`model.runs`), by name; the other bounds say what may happen
    after it.  Empty: at the beginning."""

    def __post_init__(self) -> None:
        """Refuse bounds that describe no system.

        Raises:
            ValueError: a number is out of range; the text names the bound.
        """
        for field in fields(self):
            if field.name in ("without", "begins"):
                continue
            least = 1 if field.name in ("servers", "ports", "max_clients", "waiting_limit", "elements") else 0
            least = ANY if field.name in REPEATABLE else least
            if getattr(self, field.name) < least:
                or_any = f", or {ANY} for any number" if least == ANY else ""
                raise ValueError(f"{field.name} must be at least {max(least, 0)}{or_any}")


def weight_of(element: Element) -> int:
    """What the configuration says of each processing element: the second has twice the weight of the first."""
    return element + 1


class Budget(NamedTuple):
    """What may still go wrong."""

    server_crashes: int
    forked_children: int
    distributor_crashes: int
    element_failures: int
    element_returns: int
    descriptor_losses: int
    unsent: int
    accept_failures: int
    listen_failures: int
    reorders: int
    hang_ups: int
    queue_timeouts: int
    hand_off_timeouts: int
    listener_closes: int
    repeated_binds: int
    creations: int
    deletions: int
    audits: int
    leaks: int
    stops: int
    interruptions: int

    def less(self, name: str) -> Budget:
        """One of these is spent."""
        left: int = getattr(self, name)
        return self if left == ANY else self._replace(**{name: left - 1})
