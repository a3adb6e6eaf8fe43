"""How large the closed system is, how much may go wrong in it, and what it assumes of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

from maitred.core.messages import Element

ANY: Final = -1
"""Of an event: it may happen any number of times."""
_AS_DYNAMIC: Final = -2


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
class Bound:
    """One number of `Bounds`: what the command line, the budget and the manifest's reader know of it."""

    name: str
    group: Literal["size", "faults", "events"]
    """Of faults and events the number says how often they may happen: they are in the `Budget`."""
    default: int | None
    """None: that of ``dynamic``."""
    meaning: str
    least: int
    repeatable: bool
    """Whether it may be `ANY`.  Other events may not, or the space would be infinite: the Monitor counts deaths, and
    the results of a refusal or of a closed listener may pile up in a channel that nobody reads.
    """

    @property
    def flag(self) -> str:
        """The option of ``maitred check``."""
        return "--" + self.name.replace("_", "-")


def _bound(
    default: int, group: str, meaning: str, *, least: int = 0, repeatable: bool = False
) -> Any:  # Any: as `field`
    return field(default=default, metadata={"bound": (group, meaning, least, repeatable)})


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large the system is, and how much may go wrong in it: what an exploration is exhaustive within."""

    servers: int = _bound(2, "size", "static servers", least=1)
    dynamic: int = _bound(0, "size", "dynamic servers that may be started")
    ports: int = _bound(1, "size", "ports", least=1)
    max_clients: int = _bound(1, "size", "clients that one server serves at a time", least=1)
    clients: int = _bound(2, "size", "clients that connect, each to any port, once")
    waiting_limit: int = _bound(2, "size", "clients that may wait", least=1)
    elements: int = _bound(
        1, "size", "processing elements; the second has twice the weight of the first, and so on", least=1
    )
    fixed: bool = True
    """Whether the ports are configured; otherwise the first bind of a server decides."""
    server_crashes: int = _bound(0, "faults", "a server's main process dies, with all its children")
    forked_children: int = _bound(0, "faults", "a server crash leaves a forked child, which may still take a hand-off")
    distributor_crashes: int = _bound(0, "faults", "the Distributor dies")
    element_failures: int = _bound(0, "faults", "a processing element fails, with all that runs on it")
    element_returns: int = _bound(0, "faults", "a failed processing element is usable again")
    descriptor_losses: int = _bound(0, "faults", "a hand-off arrives without its descriptor")
    unsent: int = _bound(0, "faults", "the kernel declines to send a hand-off")
    accept_failures: int = _bound(0, "faults", "an accept fails for lack of descriptors", repeatable=True)
    listen_failures: int = _bound(0, "faults", "an address cannot be listened on")
    reorders: int = _bound(0, "faults", "the second message of a server comes before its first", repeatable=True)
    hang_ups: int = _bound(0, "events", "a client closes its side before it is served", repeatable=True)
    queue_timeouts: int = _bound(0, "events", "a client has waited for too long", repeatable=True)
    hand_off_timeouts: int = _bound(0, "events", "a server has not answered for too long")
    listener_closes: int = _bound(0, "events", "a program closes its listening socket; it may bind and listen again")
    repeated_binds: int = _bound(
        0, "events", "a server repeats its request to bind before it is answered", repeatable=True
    )
    creations: int = _bound(
        _AS_DYNAMIC, "events", "the delay before a dynamic server is asked for passes", repeatable=True
    )
    deletions: int = _bound(0, "events", "an idle dynamic server is let go", repeatable=True)
    audits: int = _bound(0, "events", "the kernel is asked about the connections", repeatable=True)
    leaks: int = _bound(0, "faults", "a connection is gone without the server noticing; only an audit finds it")
    stops: int = _bound(0, "events", "the operator asks for a stop; a second time for one at once")
    retirements: int = _bound(0, "events", "the operator has a server leave")
    replacements: int = _bound(0, "events", "the operator has all servers replaced by those of another program")
    scalings: int = _bound(0, "events", "the operator has a static or a dynamic server more, or one fewer")
    interruptions: int = _bound(
        0, "faults", "one of a server's processes dies in the middle of a step, while others live on"
    )
    room: int = _bound(0, "size", "messages that a dialog holds towards the Distributor; 0: any number")
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
    """The recorded run (`recorded_runs`) after which the exploration begins, by name; the other bounds say what may
    happen after it.  Empty: at the beginning."""

    def __post_init__(self) -> None:
        """Refuse bounds that describe no system.

        Raises:
            ValueError: a number is out of range; the text names the bound.
        """
        if self.creations == _AS_DYNAMIC:
            object.__setattr__(self, "creations", self.dynamic)  # dataclasses set such a default so
        for bound in BOUNDS:
            value = getattr(self, bound.name)
            if value < bound.least and not (bound.repeatable and value == ANY):
                or_any = f", or {ANY} for any number" if bound.repeatable else ""
                raise ValueError(f"{bound.name} must be at least {bound.least}{or_any}")


def _table() -> Iterator[Bound]:
    for each in fields(Bounds):
        if "bound" in each.metadata:
            group, meaning, least, repeatable = each.metadata["bound"]
            default: Any = each.default  # Any: dataclasses say so
            yield Bound(each.name, group, None if default == _AS_DYNAMIC else default, meaning, least, repeatable)


BOUNDS: Final = tuple(_table())
"""All numbers, in their order."""
REPEATABLE: Final = frozenset(bound.name for bound in BOUNDS if bound.repeatable)
"""What may happen `ANY` number of times."""


def weight_of(element: Element) -> int:
    """What the configuration says of each processing element: the second has twice the weight of the first."""
    return element + 1


class Budget(NamedTuple):
    """What may still happen: of `BOUNDS` the faults and events, which a test compares; spelt out for their types."""

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
    retirements: int
    replacements: int
    scalings: int
    interruptions: int

    def less(self, name: str) -> Budget:
        """One of these is spent."""
        left: int = getattr(self, name)
        return self if left == ANY else self._replace(**{name: left - 1})
