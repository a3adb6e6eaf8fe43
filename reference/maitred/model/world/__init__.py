"""The closed system: one state of everything, and every step that leads on from it.

Theory of operation
-------------------
A `World` holds the state of the Monitor, of the Distributor if there is one, of each server's group of processes, the
messages on their way, the kernel's backlogs, and of each client what became of it.  `System.successors` gives every
action that is possible in a world, with the world it leads to.  All decisions are the machines': this module only
carries messages, clients and descriptors about, as the kernel does, and breaks things, within the budget of `Bounds`.

What is modelled, and how
-------------------------
*Channels* are first in, first out.  A channel gives what was sent, then its end once no process holds the other end.
(A reset that overtakes data, as real ones do, is no event of any machine: the shell reads on.)  An `Acknowledge` is
delivered at once, as it changes nothing.  What a machine brings upon itself (`Listening`, `Unsent`, `Audited`) is in a
queue of its own and may come before or after what others sent.

*Who holds a connection* is the world's own account, as the kernel would give it, and no machine's: a process has what
it accepted, was passed beside a message or had delivered to it, until it closes that, passes on what it alone had, or
dies.  (`Guest.at_distributor`, `Guest.at_monitor`, `Group.held`; and what is on its way lies beside its message.)  A
client that was accepted, has not ended, and is held nowhere, is lost; it is excused only where the process that had it
has died in that very step, at an instant that requirement OWN-3.6 names, or where its server did not take it whose
Distributor had died.  Whether the machines' books agree with this account is asked by properties.

*The Distributor dies at any point*: between two events, or in the midst of a step after any number of its effects.
What it had sent is on its way; what it held is gone; the dialogs and listening sockets of which the Monitor keeps a
duplicate stay.  (A dialog of which it does not is one whose bind is unanswered: the server holds both ends until then,
and asks again.)

*A server* is a main process and perhaps a forked child, which share the endpoint's state and hold the dialogs' ends.
`Kill` condemns them: they may act on until they are dead.  To read a message, to send the answer and to deliver the
client are three instants, between which a process may die while others live on, or a dialog may be full.  They are
steps of their own where the bounds have `interruptions` or `room`; elsewhere nothing could come between that matters,
as a process that dies takes the whole server with it, and they are one.

*Canonical form.*  Ranks are renumbered (`distributor.canonical`), and so are the sequence numbers of a server's counts
(`_renumber`): each with its counter, as `core.numbering` says.  Of a dead server nothing is left but what the
Distributor has yet to read.  `model.symmetry` does the like for arrivals and server ids, and, where asked to, takes
worlds that differ only in who is who for one; it says what all of this assumes of a machine.  A `System` can also be
had that renumbers nothing (`first`).

*Speed.*  Every component of a world is interned, so that equal components are one object and a world is known exactly
by the identities of its components; each machine's step is taken once for each (state, event) and remembered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from enum import Enum
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from maitred.core import distributor, invariants, monitor, server
from maitred.core.distributor import DistributorState
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Adopt,
    Begin,
    BindReply,
    BindRequest,
    Client,
    Element,
    FromServer,
    HandOff,
    InitialMsg,
    KeepListener,
    Port,
    Refused,
    Release,
    Restore,
    ServerId,
    Store,
    ToDistributor,
    ToMonitor,
    ToServer,
    Unresponsive,
)
from maitred.core.monitor import MonitorState
from maitred.core.numbering import closed_up
from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree

if TYPE_CHECKING:
    from maitred.model.world.symmetry import Normal

T = TypeVar("T")
M = TypeVar("M", bound=FromServer)
DistributorEvent: TypeAlias = distributor.Event
MonitorEvent: TypeAlias = monitor.Event
DistributorEffect: TypeAlias = distributor.Effect
Send: TypeAlias = distributor.Send
StartDistributor: TypeAlias = monitor.StartDistributor

# ================================================================ bounds

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


# ================================================================ the state


class Fate(Enum):
    """What has become of a client."""

    __hash__ = (
        object.__hash__
    )  # each member is one object; the hash of its name, which Enum gives, costs a tenth of all

    ABSENT = "has not come yet"
    BACKLOG = "in the kernel's backlog"
    IN = "accepted"
    LEFT = "left after being served"
    DROPPED = "dropped by the Distributor: hung up, or waited too long"
    STOPPED = "let go when the system stopped"
    LOST_ALONE = "lost: the Distributor alone held it when it died"
    LOST_SENT = "lost: sent and unanswered when the Distributor died, and its server did not take it"
    LOST_SERVED = "lost: its server died"
    LOST_BACKLOG = "lost: the Distributor died before the Monitor had a duplicate of the listening socket"
    LOST = "lost, and nothing allows it"


class Guest(NamedTuple):
    """A client's record; the client is known by its place in `World.guests`, which is also its cookie."""

    fate: Fate = Fate.ABSENT
    hung: int = 0
    """1: has closed its side; 2: has closed it with data unread, which is no hang-up."""
    taken: int = 0
    """How many times a program has been given it."""
    answered: bool = False
    """A server has said that it has taken it: the Distributor's copy is no more needed, or will not be."""
    bereft: bool = False
    """And the process that was to deliver it has died since."""
    unanswered: bool = False
    """Its hand-off was sent and unanswered when a Distributor died: no one has a copy for it if it fails."""
    at_distributor: bool = False
    """The Distributor's process has a copy of its connection."""
    at_monitor: bool = False
    """The Monitor's process has a copy of its connection."""
    void: bool = False
    """Some process has passed on, or closed, a copy of its connection that it did not have."""


class Program(Enum):
    """How far the unmodified program has come on a port."""

    NEW = "has not bound"
    BINDING = "is in bind"
    BOUND = "has bound"
    LISTENING = "listens"
    CLOSED = "has closed its listening socket"
    DECLINED = "was declined the port"


class Link(NamedTuple):
    """A dialog of a server, both ways, and the program's socket that it stands for."""

    port: Port
    program: Program = Program.NEW
    to_server: tuple[ToServer, ...] = ()
    to_distributor: tuple[FromServer, ...] = ()


class Group(NamedTuple):
    """A server: the processes that share its endpoint and hold its ends of the channels."""

    server: ServerId
    element: Element
    links: tuple[Link, ...]
    main: bool = True
    child: bool = False
    """A forked child that has outlived the main process."""
    condemned: bool = False
    """Is being killed: lives on until it is dead."""
    asked: bool = False
    """Was asked to end (SIGTERM)."""
    reported: bool = False
    """The Monitor knows that the main process is dead."""
    endpoint: server.EndpointState = server.EndpointState()
    held: tuple[Client, ...] = ()
    """The clients whose connections its processes hold: delivered to the program, and not closed."""
    gone: tuple[Client, ...] = ()
    """Clients that the endpoint counts although no process holds their connection."""
    offered: tuple[Client, ...] = ()
    """Those who were handed off to it, and of whom their Distributor has not read what has become."""
    requests: tuple[BindRequest, ...] = ()
    replies: tuple[BindReply, ...] = ()
    sending: bool = False
    """A process holds the lock, and sends what is in the outbox."""
    sent: server.Reply | None = None
    """What is in the socket, though the endpoint does not know that yet."""
    broken: server.Interrupted | None = None
    """A process has died in the midst of a step: what the next one to take the lock will find."""

    @property
    def alive(self) -> bool:
        """Some process of the group lives."""
        return self.main or self.child

    @property
    def unsaid(self) -> bool:
        """It has left unsaid what it should have said, and no process is about to say it."""
        return self.alive and not self.sending and (self.broken is not None or bool(self.endpoint.outbox))

    @property
    def served(self) -> Iterator[Client]:
        """The clients whose connections the program has been given, and has not closed."""
        answers = (reply.message for reply in self.endpoint.outbox)
        undelivered = {message.client for message in answers if isinstance(message, Accepted)}
        return (client for client in self.held if client not in undelivered)

    def link(self, port: Port) -> Link | None:
        """The dialog on the port."""
        return next((link for link in self.links if link.port == port), None)


class Life(Enum):
    """The Distributor's process."""

    UP = "up"
    CONDEMNED = "is being killed"
    DEAD = "dead; its channel is yet to be read to the end"
    ABSENT = "none"


class Kernel(NamedTuple):
    """The listening sockets, by port."""

    listening: tuple[bool, ...]
    backlog: tuple[tuple[int, ...], ...]
    """Who waits to be accepted, by cookie, first come first."""
    kept: tuple[bool, ...]
    """Of which sockets the Monitor's process has a duplicate."""
    accepted: tuple[int, ...] = ()
    """Who was accepted and has no server yet, by cookie, in the order in which the kernel gave them."""


class World(NamedTuple):
    """One state of everything."""

    monitor: MonitorState
    distributor: DistributorState | None
    life: Life
    groups: tuple[Group, ...]
    to_monitor: tuple[ToMonitor, ...]
    to_distributor: tuple[ToDistributor, ...]
    pending: tuple[DistributorEvent, ...]
    """What the Distributor has brought upon itself and has not taken yet."""
    kernel: Kernel
    guests: tuple[Guest, ...]
    budget: Budget

    def group(self, number: ServerId) -> Group | None:
        """The server, while anything is left of it."""
        return next((group for group in self.groups if group.server == number), None)


_BUDGET: Final = World._fields.index("budget")
"""The budget's place in a world: the last."""


# ================================================================ actions


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


class Stride(NamedTuple):
    """A step of one machine, as it is remembered: its outcome, and what is wrong with it."""

    state: Any  # Any: the state of whichever machine it is
    effects: tuple[Any, ...]
    rejected: Reason | None
    wrong: tuple[str, ...]
    """The names of the properties that the step breaks."""


Successor: TypeAlias = "tuple[Action, World, tuple[str, ...]]"
Judge: TypeAlias = "Callable[[str, Any, Any, Stride], tuple[str, ...]]"  # Any: a machine's state, its event

SILENT: Final = (
    distributor.SetTimer,
    distributor.Watch,
    distributor.CloseCopy,
    distributor.Accept,
    distributor.CloseDialog,
    distributor.Audit,
)
"""Effects that nobody but the Distributor notices: to die before or after them is the same."""
ADDRESS: Final = "*:"
CLASS: Final = 0
"""The model has one server class: classes share nothing but the Monitor's processing elements."""
_PACK: Final = struct.Struct(f"{len(World._fields)}Q").pack


class System:
    """The closed system within bounds: its first world, and what may happen in each."""

    def __init__(
        self,
        bounds: Bounds,
        judge: Judge | None = None,
        *,
        symmetric: bool = False,
        steady: bool = False,
        first: int | None = None,
    ) -> None:
        """Prepare to explore.

        Args:
            bounds: how large the system is and what may go wrong.
            judge: says which properties a machine's step breaks.
            symmetric: take worlds that differ only in which server or client is which for one.
            steady: let every server and client keep its name, for people to read; the space is then infinite.
            first: renumber nothing at all, and begin every counter (arrivals, ranks, servers, counts) so far above
                where it begins in life; None: renumber what only its order gives a meaning to.
        """
        from maitred.model.world.symmetry import Normal  # which needs this module's types

        self.bounds: Final = bounds
        self.steady: Final = steady or first is not None
        self.first: Final = first
        self.normal: Final[Normal] = Normal(self, symmetric=symmetric)
        self.ports: Final = tuple(range(1, bounds.ports + 1))
        self.splits: Final = bounds.interruptions != 0 or bounds.room != 0
        """Whether an endpoint's step, the sending of its replies and a client's delivery are steps of their own."""
        self._judge = judge
        self._parts: dict[Any, Any] = {}  # Any: components of every type
        self._groups: dict[tuple[int, ...], tuple[Group, ...]] = {}
        self._strides: dict[tuple[int, Any], Stride] = {}
        self._enabled: dict[int, tuple[Any, ...]] = {}  # Any: the timers of either machine
        self._masks: dict[int, int] = {}
        self._compacted: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.endpoint: Final = server.EndpointState(sequence=first or 0)
        """What a server begins with."""
        self.amiss: tuple[str, ...] = ()
        """What the steps that lead to the first world break; known once `initial` has been asked."""

    # ------------------------------------------------ identity

    def seal(self, world: World, before: World | None = None) -> World:
        """The same world, of interned components; those that are `before`'s are interned already."""
        old = before or (None,) * len(world)
        parts = [part if part is known else self._part(part) for part, known in zip(world, old, strict=True)]
        return World._make(parts)

    @staticmethod
    def key(world: World) -> bytes:
        """What is equal for equal sealed worlds and for no others."""
        return _PACK(*map(id, world))

    def _part(self, part: T) -> T:
        """The one object that is equal to this."""
        known: T = self._parts.setdefault(part, part)
        return known

    def _team(self, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        """The one tuple of these groups, each of which is interned."""
        return self._groups.setdefault(tuple(map(id, groups)), groups)

    def canonical(self, world: World) -> World:
        """The world that stands for all those which differ from this only in names; sealed."""
        return self.normal(world)

    def adopted(self, world: World) -> World:
        """The canonical form of a world of any system within these bounds, of this system's own components."""
        draft = _Draft(self, self.assemble(world._replace(groups=tuple(map(self.interned, world.groups)))))
        if draft.distributor is not None:
            draft.distributor = self._part(distributor.canonical(draft.distributor))
        for group in world.groups:
            draft.compact(group.server)
        return self.canonical(self.assemble(draft.world()))

    def welcomed(self, world: World) -> World:
        """Whoever has ended, and of whom nothing is left anywhere, may come again.

        Nobody could know such a client from one that is new: no component names it (`symmetry.Normal.present`).
        """
        ended = [c for c, guest in enumerate(world.guests) if guest.fate in (Fate.LEFT, Fate.DROPPED)]
        if not ended:
            return world
        gone = set(ended) - self.normal.present(self.seal(world))
        gone -= {c for c, guest in enumerate(world.guests) if guest.at_distributor or guest.at_monitor}
        guests = tuple(Guest() if cookie in gone else guest for cookie, guest in enumerate(world.guests))
        return self.seal(world._replace(guests=guests))

    def interned(self, part: T) -> T:
        """The one object that is equal to this component, kept alive for as long as the system."""
        return self._part(part)

    def components(self) -> Iterator[Any]:  # Any: components of every type, events and effects
        """All that has been a component of a world so far, and each event that a machine was given with its effects."""
        yield from self._parts
        for (_, event), stride in self._strides.items():
            yield event
            yield from stride.effects

    def assemble(self, world: World) -> World:
        """The sealed world of these components, whose groups are each interned."""
        return self.seal(world._replace(groups=self._team(world.groups)))

    # ------------------------------------------------ beginning

    def initial(self) -> World:
        """The world in which the Monitor has just been started, in which the static servers are ready, or to which the
        recorded run leads.

        Raises:
            RunError: the run cannot be played any more.
        """
        if self.bounds.begins:
            return self._prepared()
        world, wrong = self._started()
        while self.bounds.warm:
            quiet = ((w, broken) for a, w, broken in self.successors(world) if self.only_starts(a))
            following = next(quiet, None)
            if following is None:
                break
            world, wrong = following[0], wrong + following[1]
        self.amiss = tuple(dict.fromkeys(wrong))
        return world

    def _prepared(self) -> World:
        """The end of the recorded run, with what may go wrong from then on."""
        from maitred.model.world import recorded_runs  # which needs this module's types

        run = recorded_runs.find(self.bounds.begins)
        before = System(recorded_runs.before(self.bounds, run), self._judge, steady=True)
        world, wrong = recorded_runs.play(before, run)
        self.amiss = tuple(dict.fromkeys(wrong))
        budget = Budget._make(getattr(self.bounds, name) for name in Budget._fields)
        world = world._replace(groups=tuple(map(self._part, world.groups)), budget=budget)
        sealed = self.assemble(world)
        return sealed if self.steady else self.canonical(sealed)

    @staticmethod
    def only_starts(action: Action) -> bool:
        """Whether the action is one of those by which a system starts: no client, fault, timer or stop."""
        usual = action.performed is None and action.declined is None and not action.late
        return usual and (action.what in _STARTING_DEEDS or isinstance(action.what, _STARTING))

    def _started(self) -> tuple[World, tuple[str, ...]]:
        b = self.bounds
        addresses = tuple((port, f"{ADDRESS}{port}") for port in self.ports)
        config = monitor.ClassConfig(
            static=b.servers,
            dynamic=b.dynamic,
            max_clients=b.max_clients,
            waiting_limit=b.waiting_limit,
            elements=tuple(range(b.elements)),
            listeners=addresses if b.fixed else (),
            fixed=b.fixed,
        )
        started = monitor.initial((config,), tuple(range(1, b.elements + 1)))
        world = World(
            monitor=replace(started, next_server=started.next_server + (self.first or 0)),
            distributor=None,
            life=Life.ABSENT,
            groups=(),
            to_monitor=(),
            to_distributor=(),
            pending=(),
            kernel=Kernel((False,) * b.ports, ((),) * b.ports, (False,) * b.ports),
            guests=(Guest(),) * b.clients,
            budget=Budget._make(getattr(b, name) for name in Budget._fields),
        )
        draft = _Draft(self, self.seal(world))
        stride = self.stride("monitor", world.monitor, monitor.Started())
        draft.monitor_step(monitor.Started(), stride)
        return draft.done(), stride.wrong

    # ------------------------------------------------ the machines, remembered

    def stride(self, who: str, state: Any, event: Any) -> Stride:  # Any: of whichever machine
        """The machine's step, taken once for each state and event."""
        key = (id(state), event)
        known = self._strides.get(key)
        if known is None:
            known = self._strides[key] = self._take(who, state, event)
        return known

    def _take(self, who: str, state: Any, event: Any) -> Stride:  # Any: of whichever machine
        machine = {"distributor": distributor, "monitor": monitor}.get(who, server)
        result = machine.step(state, event)
        if isinstance(result, Rejected):
            stride = Stride(state, (), result.reason, ())
        else:
            after = result.state
            if who == "distributor" and self.first is None:
                after = distributor.canonical(after)
            after = self._part(after)
            stride = Stride(after, result.effects, None, invariants.broken(result.state))
        wrong = stride.wrong + (self._judge(who, state, event, stride) if self._judge else ())
        self._part(state)  # keeps the object, and so its id, alive
        return stride._replace(wrong=wrong)

    def _timers(self, machine: Any, state: Any) -> tuple[Any, ...]:  # Any: of either machine that has timers
        """`enabled` of the machine, asked once for each state."""
        known = self._enabled.get(id(state))
        if known is None:
            self._part(state)  # keeps the object, and so its id, alive
            known = self._enabled[id(state)] = tuple(machine.enabled(state))
        return known

    # ------------------------------------------------ who is held where

    def held(self, part: Any) -> int:  # Any: a component of the world
        """The clients whose connections this component holds, one bit for each cookie."""
        mask = self._masks.get(id(part))
        if mask is None:
            mask = 0
            for client in _clients_in(part):
                mask |= 1 << client.cookie
            self._masks[id(self._part(part))] = mask
        return mask

    def holders(self, world: World) -> int:
        """The clients whose connections are held anywhere, one bit for each cookie.

        What the Monitor is about to be told to release does not count: nothing can keep it from being told.
        """
        stored, released = self._news(world.to_monitor)
        mask = stored | self.held(world.to_distributor)
        for cookie, guest in enumerate(world.guests):
            if guest.at_distributor or (guest.at_monitor and not released >> cookie & 1):
                mask |= 1 << cookie
        for group in world.groups:
            if group.alive:
                mask |= self.held(group)
        return mask

    def _news(self, messages: tuple[ToMonitor, ...]) -> tuple[int, int]:
        """The clients that the messages, once read, will have added to the store, and those taken out of it."""
        stored = released = 0
        for message in messages:
            if isinstance(message, Store):
                stored |= 1 << message.client.cookie
            elif isinstance(message, Release):
                stored &= ~(1 << message.client.cookie)
                released |= 1 << message.client.cookie
        return stored, released

    # ------------------------------------------------ everything that may happen

    def successors(self, world: World) -> Iterator[Successor]:
        """Every action that is possible, where it leads, and the properties that the step itself breaks."""
        if world.monitor.phase is monitor.Phase.ENDED:
            return
        yield from self._clients_act(world)
        yield from self._monitor_acts(world)
        if world.distributor is not None:
            yield from self._distributor_acts(world, world.distributor)
        for i, group in enumerate(world.groups):
            if group.alive:
                yield from self._server_acts(world, i, group)

    # ------------------------------------------------ clients

    def _clients_act(self, world: World) -> Iterator[Successor]:
        coming = next((cookie for cookie, guest in enumerate(world.guests) if guest.fate is Fate.ABSENT), None)
        if coming is not None:  # which of those who are still to come is all one
            for i, port in enumerate(self.ports):
                if world.kernel.listening[i]:
                    draft = _Draft(self, world)
                    draft.guest(coming, fate=Fate.BACKLOG)
                    draft.queue(i, (*world.kernel.backlog[i], coming))
                    yield Action(f"client {coming}", Deed.ARRIVES, port), draft.done(), ()
        if not world.budget.hang_ups:
            return
        for cookie, guest in enumerate(world.guests):
            if not guest.hung and guest.fate in (Fate.BACKLOG, Fate.IN) and not guest.taken:
                for deed, hung in ((Deed.HANGS_UP, 1), (Deed.HALF_CLOSES, 2)):
                    draft = _Draft(self, world)
                    draft.guest(cookie, hung=hung)
                    draft.spend("hang_ups")
                    yield Action(f"client {cookie}", deed), draft.done(), ()

    # ------------------------------------------------ the Monitor

    def _monitor_acts(self, world: World) -> Iterator[Successor]:
        for event, spent, take in self._monitor_events(world):
            stride = self.stride("monitor", world.monitor, event)
            if stride.rejected and not take and not stride.wrong:
                continue
            draft = _Draft(self, world)
            if spent:
                draft.spend(spent)
            if take:
                draft.to_monitor = world.to_monitor[1:]
            if isinstance(event, monitor.DistributorExited):
                draft.life = Life.ABSENT
                draft.to_monitor = ()
            if isinstance(event, monitor.ServerExited):
                draft.change(event.server, reported=True)
            draft.monitor_step(event, stride)
            after = draft.done()
            if take or stride.wrong or _differ(after, world):
                yield Action("monitor", event), after, stride.wrong

    def _monitor_events(self, world: World) -> Iterator[tuple[monitor.Event, str, bool]]:
        """Each event, what it is spent of, and whether it is the head of the Distributor's channel."""
        budget, state = world.budget, world.monitor
        if world.to_monitor:
            yield monitor.Told(CLASS, world.to_monitor[0]), "", True
        if world.life is Life.DEAD and (not world.to_monitor or Assumption.HEARD_OUT in self.bounds.without):
            yield monitor.DistributorExited(CLASS), "", False
        places = {p.server: p for p in state.classes[CLASS].places.values() if p.alive}
        for group in world.groups:
            place = places.get(group.server)
            if place is None:
                continue
            if not group.main and not group.reported and place.phase is not monitor.PlacePhase.KILLING:
                yield monitor.ServerExited(CLASS, group.server), "", False
            gone = not group.main if Assumption.KILLS_REACH_ALL in self.bounds.without else not group.alive
            if group.condemned and gone:
                yield monitor.ServerGone(CLASS, group.server), "", False
        for fired in self._timers(monitor, state):
            if not isinstance(fired.timer, (monitor.DistributorStable, monitor.ServerStable)) or self.bounds.stable:
                yield fired, "", False
        if budget.stops:
            yield monitor.StopRequested(), "stops", False
        for element, status in state.elements.items():
            if budget.element_failures and status.up:
                yield monitor.ElementFailed(element), "element_failures", False
            if budget.element_returns and not status.up:
                yield monitor.ElementRestored(element), "element_returns", False

    # ------------------------------------------------ the Distributor

    def _distributor_acts(self, world: World, state: distributor.DistributorState) -> Iterator[Successor]:
        mortal = world.life is Life.CONDEMNED or world.budget.distributor_crashes != 0
        if state.phase is distributor.Phase.CLOSED:
            draft = _Draft(self, world)
            draft.distributor_dies()
            yield Action("distributor", Deed.EXITS), draft.done(), ()
        if mortal:
            draft = _Draft(self, world)
            draft.distributor_crashes()
            draft.distributor_dies()
            yield Action("distributor", Deed.DIES), draft.done(), ()
        for event, take, spent, late in self._distributor_events(world, state):
            stride = self.stride("distributor", state, event)
            if stride.rejected and take is None and not stride.wrong:
                continue
            draft = _Draft(self, world)
            draft.take(take, late)
            draft.heard(event)
            if spent:
                draft.spend(spent)
            if isinstance(event, distributor.Received):
                wrong = [name for _, _, read in self.acknowledged(world, stride) for name in read.wrong]
                stride = stride._replace(wrong=(*stride.wrong, *wrong)) if wrong else stride
            taken = draft.copy() if mortal or world.budget.unsent or world.budget.listen_failures else draft
            draft.distributor_step(stride, None)
            yield Action("distributor", event, late=late), draft.done(), stride.wrong
            yield from self._declined(taken, event, stride, late)
            if mortal:
                yield from self._deaths(taken, event, stride, late)

    def acknowledged(self, world: World, stride: Stride) -> Iterator[tuple[Group, Acknowledge, Stride]]:
        """The endpoints' steps at the acknowledgements that a Distributor's step sends.

        They are read at once, and change nothing: `an_acknowledgement_changes_nothing` is asked of them, so that
        nothing need be done about them.
        """
        for effect in stride.effects:
            if isinstance(effect, distributor.SendControl) and isinstance(effect.message, Acknowledge):
                group = world.group(effect.server)
                if group is not None and group.alive:
                    read = self.stride("server", group.endpoint, server.Acknowledged(effect.message))
                    yield group, effect.message, read

    def _declined(self, taken: _Draft, event: distributor.Event, stride: Stride, late: bool) -> Iterator[Successor]:
        """The kernel declines one of the effects."""
        budget = taken.budget
        for i, effect in enumerate(stride.effects):
            unsent = budget.unsent and isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff)
            unheard = budget.listen_failures and isinstance(effect, distributor.Listen)
            if unsent or unheard:
                draft = taken.copy()
                draft.spend("unsent" if unsent else "listen_failures")
                draft.distributor_step(stride, i)
                yield Action("distributor", event, declined=i, late=late), draft.done(), stride.wrong

    def _deaths(
        self,
        taken: _Draft,
        event: distributor.Event,
        stride: Stride,
        late: bool,
    ) -> Iterator[Successor]:
        """The Distributor dies after any number of the step's effects."""
        for j in range(len(stride.effects) + 1):
            if j and isinstance(stride.effects[j - 1], SILENT):
                continue
            draft = taken.copy()
            draft.distributor_crashes()
            for effect in stride.effects[:j]:
                draft.perform(effect)
            draft.distributor_dies(midst=True)
            yield Action("distributor", event, performed=j, late=late), draft.done(), stride.wrong

    def _distributor_events(
        self, world: World, state: distributor.DistributorState
    ) -> Iterator[tuple[distributor.Event, Any, str, bool]]:  # Any: where the event is taken from, see `_Draft.take`
        """Each event, where it is taken from, what it is spent of, and whether it overtook another."""
        budget = world.budget
        if world.pending:
            yield world.pending[0], "pending", "", False
        if world.to_distributor:
            yield world.to_distributor[0], "monitor", "", False
        for i, message in enumerate(world.to_distributor):
            # In which order the living servers are named decides nothing that could matter, so it is left open: the
            # numbers that the Monitor gives its servers then mean nothing either (see `model.symmetry`).
            if not isinstance(message, Adopt):
                break
            if i:
                yield message, ("adopt", i), "", False
        for group in world.groups:
            status = state.servers.get(group.server, None)
            if status is not None:
                yield from self._from_server(group, status, budget)
        for i, port in enumerate(self.ports):
            info = state.ports.get(port, None)
            if info is None:
                continue
            if info.accepting and world.kernel.listening[i]:
                backlog = world.kernel.backlog[i]
                if backlog:
                    yield distributor.ConnectionRequest(port, backlog[0]), i, "", False
                    if budget.accept_failures:
                        yield distributor.AcceptFailed(port), None, "accept_failures", False
                elif state.phase is distributor.Phase.CLOSING:
                    yield distributor.BacklogEmpty(port), None, "", False
            for client in info.waiting:
                guest = world.guests[client.cookie]
                if guest.hung == 1 or guest.fate is Fate.DROPPED:
                    yield distributor.PeerClosed(client, reset=False, unread=False), None, "", False
                elif guest.hung == 2:
                    yield distributor.PeerClosed(client, reset=False, unread=True), None, "", False
        for fired in self._timers(distributor, state):
            if isinstance(fired.timer, distributor.RestOver):
                resting = world.group(fired.timer.server)
                if resting is None or not resting.alive:
                    continue  # the dialog's end is at hand: to try again, and fail again, would go on for ever
            if isinstance(fired.timer, distributor.AuditDue) and _audit_is_under_way(world):
                continue  # audits are far apart: what the last one found has been read by then
            name = _TIMER_BUDGET.get(type(fired.timer))
            lossy = self.bounds.interruptions and isinstance(fired.timer, distributor.HandOffTimeout)
            if lossy and is_lost(world, fired.timer.server):
                if is_reported(world, fired.timer.server):
                    continue
                name = None  # rationed by the interruption that has lost it
            if name is None:
                yield fired, None, "", False
            elif getattr(budget, name):
                yield fired, None, name, False
        for status in state.servers.values():
            yield from self._busy(world, status)

    def _busy(
        self, world: World, status: distributor.ServerStatus
    ) -> Iterator[tuple[distributor.Event, Any, str, bool]]:  # Any: as above
        """What else may be found of a server than that its time to answer is up; of those with clients."""
        late = world.budget.hand_off_timeouts
        if not status.count.clients or is_reported(world, status.server):
            return
        if status.request is not None and (late or (self.bounds.interruptions and is_lost(world, status.server))):
            yield distributor.StillServes(status.server), None, "", False
        if late:
            yield distributor.Unfit(status.server), None, "hand_off_timeouts", False

    def _from_server(
        self, group: Group, status: distributor.ServerStatus, budget: Budget
    ) -> Iterator[tuple[distributor.Event, Any, str, bool]]:  # Any: as above
        number = group.server
        if group.requests:
            request = group.requests[0]
            yield distributor.BindRequested(number, request.port, request.address), (number, 0), "", False
        elif not group.alive and status.attached:
            yield distributor.ControlEnded(number), None, "", False
        for link in group.links:
            if link.port not in status.dialogs:
                continue
            messages = link.to_distributor
            if messages:
                yield distributor.Received(number, link.port, messages[0]), (number, link.port), "", False
                if budget.reorders and len(messages) > 1 and not _takes_back(messages[0], messages[1]):
                    event = distributor.Received(number, link.port, messages[1])
                    yield event, (number, link.port), "reorders", True
            if self._ends(group, link):
                yield distributor.DialogEnded(number, link.port), None, "", False

    def _ends(self, group: Group, link: Link) -> bool:
        """Whether the Distributor comes to the end of the dialog."""
        without = self.bounds.without
        over = not group.main if Assumption.LAST_PROCESS_ENDS in without else not group.alive
        return over and (not link.to_distributor or Assumption.ENDS_FOLLOW_DATA in without)

    # ------------------------------------------------ a server

    def _server_acts(self, world: World, i: int, group: Group) -> Iterator[Successor]:
        who = f"server {group.server}"
        budget = world.budget
        if group.condemned:
            draft = _Draft(self, world)
            draft.server_dies(group, child=False)
            yield Action(who, Deed.IS_KILLED), draft.done(), ()
        if group.main:
            if group.asked and not group.condemned:
                draft = _Draft(self, world)
                draft.server_dies(group, child=False)
                yield Action(who, Deed.ENDS), draft.done(), ()
            if budget.server_crashes and not group.condemned:
                draft = _Draft(self, world)
                draft.spend("server_crashes")
                draft.server_dies(group, child=False)
                yield Action(who, Deed.DIES), draft.done(), ()
                if budget.forked_children:
                    draft = _Draft(self, world)
                    draft.spend("server_crashes")
                    draft.spend("forked_children")
                    draft.server_dies(group, child=True)
                    yield Action(who, Deed.LEAVES_A_CHILD), draft.done(), ()
            yield from self._program_acts(world, group, who)
        if group.broken is None:
            yield from self._sends(world, group, who)
        for event, spent in self._endpoint_events(group, budget):
            stride = self.stride("server", group.endpoint, event)
            draft = _Draft(self, world)
            if spent:
                draft.spend(spent)
            wrong = draft.endpoint_step(group, event, stride)
            yield Action(who, event), draft.done(), wrong
        if budget.leaks:
            for client in group.served:
                if client in group.endpoint.clients:
                    draft = _Draft(self, world)
                    draft.spend("leaks")
                    draft.put(_without(group, client)._replace(gone=(*group.gone, client)))
                    draft.guest(client.cookie, fate=Fate.LEFT)
                    yield Action(who, Deed.LEAKS, client.cookie), draft.done(), ()

    def _sends(self, world: World, group: Group, who: str) -> Iterator[Successor]:
        """The outbox is sent, under the lock; or whoever does it dies, and another process of the server lives on."""
        if group.sending and group.sent is None:
            reply = self.next_to_send(group)
            draft = _Draft(self, world)
            if reply is not None:
                draft.sends(group, reply)
                yield Action(who, Deed.SENDS, reply.port), draft.done(), ()
            else:
                draft.put(group._replace(sending=False))
                yield Action(who, Deed.DEFERS), draft.done(), ()
        elif not group.sending and group.endpoint.outbox and self.next_to_send(group) is not None:
            draft = _Draft(self, world)
            draft.put(group._replace(sending=True))
            yield Action(who, Deed.RESUMES), draft.done(), ()
        if not world.budget.interruptions:
            return
        if group.sending:
            in_flight = self.in_flight(group)
            if in_flight is not None:
                draft = _Draft(self, world)
                draft.spend("interruptions")
                draft.sender_dies(group, in_flight)
                yield Action(who, Deed.LOSES_A_SENDER, in_flight.port), draft.done(), ()
            return
        for link in group.links:
            if link.to_server and link.port in group.endpoint.listeners and self.has_room_to_answer(group, link):
                draft = _Draft(self, world)
                draft.spend("interruptions")
                draft.reader_dies(group, link)
                yield Action(who, Deed.LOSES_A_READER, link.port), draft.done(), ()

    def has_room(self, link: Link) -> bool:
        """Whether the server can send on the dialog."""
        return not self.bounds.room or len(link.to_distributor) < self.bounds.room

    def has_room_to_answer(self, group: Group, link: Link) -> bool:
        """Whether what the server says to its next message is the next to be sent on the dialog, and can be."""
        return self.has_room(link) and not any(reply.port == link.port for reply in group.endpoint.outbox)

    def next_to_send(self, group: Group) -> server.Reply | None:
        """The oldest reply in the outbox whose dialog has room."""
        full = {link.port for link in group.links if not self.has_room(link)}
        return next((reply for reply in group.endpoint.outbox if reply.port not in full), None)

    def in_flight(self, group: Group) -> server.Reply | None:
        """What a process of the server is sending, in the socket or not, while it holds the lock."""
        return (group.sent or self.next_to_send(group)) if group.sending else None

    def _program_acts(self, world: World, group: Group, who: str) -> Iterator[Successor]:
        """The program binds its ports one after the other; the shell beside it reads the answers."""
        if group.replies and not group.sending and group.broken is None:
            reply = group.replies[0]
            draft = _Draft(self, world)
            wrong = draft.reply_read(group, reply)
            yield Action(who, Deed.READS_REPLY, reply.port), draft.done(), wrong
        for link in group.links:
            if link.program in (Program.NEW, Program.CLOSED):
                draft = _Draft(self, world)
                draft.binds(group, link)
                yield Action(who, Deed.BINDS, link.port), draft.done(), ()
                break
            if link.program is Program.BINDING:
                awaited = any(reply.port == link.port for reply in group.replies)
                if not awaited and not any(request.port == link.port for request in group.requests):
                    yield from self._binds_again(world, group, link, who)
                break

    def _binds_again(self, world: World, group: Group, link: Link, who: str) -> Iterator[Successor]:
        """A server that is given no answer asks again; where its Distributor has died, it must."""
        status = world.distributor.servers.get(group.server, None) if world.distributor else None
        dialog = status.dialogs.get(link.port, None) if status else None
        needless = dialog is not None and dialog.phase is distributor.DialogPhase.BINDING
        if not needless or world.budget.repeated_binds:
            draft = _Draft(self, world)
            if needless:
                draft.spend("repeated_binds")
            draft.binds(group, link)
            yield Action(who, Deed.BINDS_AGAIN, link.port), draft.done(), ()

    def _endpoint_events(self, group: Group, budget: Budget) -> Iterator[tuple[server.Event, str]]:
        if group.broken is not None:
            yield group.broken, ""
            return  # whoever takes the lock finds it first
        if group.sending:
            if group.sent is not None:
                yield server.Sent(group.sent), ""
            return  # the lock is held
        for link in group.links:
            if group.main and link.program is Program.BOUND:
                yield server.Listened(link.port), ""
            if group.main and link.program is Program.LISTENING and budget.listener_closes:
                yield server.ListenerClosed(link.port), "listener_closes"
            if link.to_server and link.port in group.endpoint.listeners and self.has_room_to_answer(group, link):
                message = link.to_server[0]
                yield server.MessageRead(link.port, message), ""
                if isinstance(message, HandOff) and budget.descriptor_losses:
                    yield server.MessageRead(link.port, message, intact=False), "descriptor_losses"
        for client in group.served:
            yield server.Disconnected(client), ""


def _differ(after: World, before: World) -> bool:
    """Whether a step has led to another world, by its state or by its effects; what it was spent of is no difference.

    Args:
        after: sealed, as is `before`.
        before: the world that the step was taken in.
    """
    return any(a is not b for a, b in zip(after[:_BUDGET], before[:_BUDGET], strict=True))


def is_lost(world: World, number: ServerId) -> bool:
    """Whether the server lives, and has nothing of the hand-off that it is to answer: its reader has died."""
    group = world.group(number)
    status = world.distributor.servers.get(number, None) if world.distributor is not None else None
    if group is None or not group.alive or group.sending or status is None or status.request is None:
        return False
    client = status.request
    if distributor.Unsent(number, client) in world.pending:
        return False
    sent = (message for link in group.links for message in (*link.to_server, *link.to_distributor))
    mail = (*sent, *(reply.message for reply in group.endpoint.outbox))
    about = any(isinstance(m, (HandOff, Accepted, Refused)) and m.client == client for m in mail)
    return not about and client not in group.endpoint.clients


def _takes_back(first: FromServer, second: FromServer) -> bool:
    """Whether the second takes back what the first says: the one order that the machines need."""
    return isinstance(first, Accepted) and isinstance(second, Refused) and first.client == second.client


def is_reported(world: World, number: ServerId) -> bool:
    """Whether the server is being killed, or will be: to say again that it does not answer would go on for ever."""
    group = world.group(number)
    reported = any(isinstance(m, Unresponsive) and m.server == number for m in world.to_monitor)
    return reported or (group is not None and group.condemned)


def _audit_is_under_way(world: World) -> bool:
    """Whether what an audit found is still on its way to its server."""
    if any(isinstance(event, distributor.Audited) for event in world.pending):
        return True
    mail = ((group, message) for group in world.groups for link in group.links for message in link.to_server)
    return any(isinstance(message, InitialMsg) and (message.forget or group.unsaid) for group, message in mail)


_TIMER_BUDGET: Final[dict[type, str]] = {
    distributor.QueueTimeout: "queue_timeouts",
    distributor.HandOffTimeout: "hand_off_timeouts",
    distributor.CreateDelay: "creations",
    distributor.DeleteDelay: "deletions",
    distributor.AuditDue: "audits",
}


_STARTING_DEEDS: Final = (Deed.BINDS, Deed.READS_REPLY, Deed.SENDS)
_STARTING: Final = (
    Adopt,
    Begin,
    distributor.BindRequested,
    distributor.Listening,
    distributor.Received,
    monitor.Told,
    server.Listened,
    server.MessageRead,
    server.Sent,
)
"""The events by which a system starts, beside those deeds."""


def _without(group: Group, client: Client) -> Group:
    """The server whose processes have closed the client's connection."""
    return group._replace(held=tuple(other for other in group.held if other.cookie != client.cookie))


def _clients_in(part: object) -> Iterator[Client]:
    """The clients whose connections a server's processes hold, or lie beside messages that are on their way."""
    if isinstance(part, Group):
        yield from part.held
        for link in part.links:
            yield from (message.client for message in link.to_server if isinstance(message, HandOff))
    elif isinstance(part, tuple):
        yield from (message.client for message in part if isinstance(message, Restore))


# ================================================================ a world in the making


class _Draft:
    """A successor in the making: the components of a world, to be changed one by one."""

    __slots__ = ("before", "excuses", "system", *World._fields)

    excuses: dict[int, Fate]
    """The losses that this step may bring about, by the cookie of the client."""

    monitor: MonitorState
    distributor: DistributorState | None
    life: Life
    groups: tuple[Group, ...]
    to_monitor: tuple[ToMonitor, ...]
    to_distributor: tuple[ToDistributor, ...]
    pending: tuple[DistributorEvent, ...]
    kernel: Kernel
    guests: tuple[Guest, ...]
    budget: Budget

    def __init__(self, system: System, world: World) -> None:
        self.system = system
        self.before = world
        self.excuses = {}
        (
            self.monitor,
            self.distributor,
            self.life,
            self.groups,
            self.to_monitor,
            self.to_distributor,
            self.pending,
            self.kernel,
            self.guests,
            self.budget,
        ) = world

    def copy(self) -> _Draft:
        """A second draft that begins as this one is now."""
        other = _Draft(self.system, self.world())
        other.before = self.before
        return other

    def world(self) -> World:
        """As it is so far."""
        return World(
            self.monitor,
            self.distributor,
            self.life,
            self.groups,
            self.to_monitor,
            self.to_distributor,
            self.pending,
            self.kernel,
            self.guests,
            self.budget,
        )

    def done(self) -> World:
        """The finished world: what is left of the dead is dropped, and who is lost is counted as lost."""
        self._bury()
        if self.groups is not self.before.groups:
            self.groups = self.system._team(self.groups)
        world = self.system.seal(self.world(), self.before)
        missing = self._missing(world)
        if missing:
            for cookie in missing:
                self.guest(cookie, fate=self._loss(cookie))
            world = self.system.seal(self.world(), self.before)
        if self.system.bounds.returns:
            world = self.system.welcomed(world)
        return world if self.system.steady else self.system.canonical(world)

    # ------------------------------------------------ small changes

    def spend(self, name: str) -> None:
        self.budget = self.budget.less(name)

    def guest(self, cookie: int, **changes: Any) -> None:  # Any: fields of Guest
        guest = self.guests[cookie]._replace(**changes)
        if guest.fate not in (Fate.BACKLOG, Fate.IN) and (guest.hung or guest.unanswered or guest.bereft):
            guest = guest._replace(hung=0, unanswered=False, bereft=False)
        self.guests = (*self.guests[:cookie], guest, *self.guests[cookie + 1 :])
        if cookie in self.kernel.accepted and (guest.fate is not Fate.IN or guest.taken or guest.unanswered):
            left = tuple(other for other in self.kernel.accepted if other != cookie)
            self.kernel = self.kernel._replace(accepted=left)

    def queue(self, i: int, backlog: tuple[int, ...]) -> None:
        old = self.kernel.backlog
        self.kernel = self.kernel._replace(backlog=(*old[:i], backlog, *old[i + 1 :]))

    def listen(self, i: int, listening: bool) -> None:
        old = self.kernel.listening
        self.kernel = self.kernel._replace(listening=(*old[:i], listening, *old[i + 1 :]))

    def group(self, number: ServerId) -> Group | None:
        return next((group for group in self.groups if group.server == number), None)

    def put(self, group: Group) -> None:
        group = self.system._part(group)
        self.groups = tuple(group if g.server == group.server else g for g in self.groups)

    def change(self, number: ServerId, **changes: Any) -> None:  # Any: fields of Group
        group = self.group(number)
        if group is not None:
            self.put(group._replace(**changes))

    def put_link(self, group: Group, link: Link) -> Group:
        group = group._replace(links=tuple(link if old.port == link.port else old for old in group.links))
        self.put(group)
        return group

    # ------------------------------------------------ the Monitor's effects

    def monitor_step(self, event: MonitorEvent, stride: Stride) -> None:
        self.monitor = stride.state
        if stride.rejected is None and isinstance(event, monitor.Told):
            if isinstance(event.message, Store):
                self.guest(event.message.client.cookie, at_monitor=True)
            elif isinstance(event.message, KeepListener):
                self.keep(event.message.port - 1, True)
        for effect in stride.effects:
            match effect:
                case monitor.StartServer():
                    links = tuple(Link(port) for port in self.system.ports)
                    new = Group(effect.server, effect.element, links, endpoint=self.system.endpoint)
                    self.groups = (*self.groups, self.system._part(new))
                case monitor.StartDistributor():
                    self._start_distributor(effect)
                case monitor.TellDistributor():
                    if isinstance(effect.message, Restore) and not self.guests[effect.message.client.cookie].at_monitor:
                        self.guest(effect.message.client.cookie, void=True)
                    if self.distributor is not None:
                        self.to_distributor = (*self.to_distributor, effect.message)
                case monitor.Terminate():
                    self.change(effect.server, asked=True)
                case monitor.Kill():
                    self.change(effect.server, condemned=True)
                case monitor.KillDistributor():
                    if self.life is Life.UP:
                        self.life = Life.CONDEMNED
                case monitor.DropDuplicate():
                    self.closes(effect.client, "at_monitor")
                case monitor.ShutDownStored():
                    self.closes(effect.client, "at_monitor")
                    if self.guests[effect.client.cookie].fate is Fate.IN:
                        self.guest(effect.client.cookie, fate=Fate.STOPPED)
                case monitor.DropListener():
                    self.keep(effect.port - 1, False)
                case monitor.Exit():
                    self._turn_away(range(len(self.system.ports)), Fate.STOPPED)
                case _:
                    pass  # timers and reports change nothing here; of kept dialogs nothing is modelled

    def _start_distributor(self, effect: StartDistributor) -> None:
        b = self.system.bounds
        state = distributor.initial(effect.incarnation, b.dynamic, b.waiting_limit, effect.listeners, b.fixed)
        if self.system.first and effect.incarnation == 1:
            state = replace(state, next_arrival=self.system.first, next_rank=self.system.first)
        self.distributor = self.system._part(state)
        self.life = Life.UP
        self.to_distributor = ()
        for group in self.groups:
            self.compact(group.server)

    # ------------------------------------------------ the Distributor's effects

    def take(self, source: Any, late: bool) -> None:  # Any: see below
        """Take the event from where it is.

        ``pending``, ``monitor`` (``("adopt", i)`` for what is i-th in that channel), a (server, port) whose dialog or,
        with port 0, control channel it is, the place of a port whose backlog gives a client, or None of what is in no
        channel.
        """
        if source == "pending":
            self.pending = self.pending[1:]
        elif source == "monitor":
            if isinstance(self.to_distributor[0], Restore):
                self.guest(self.to_distributor[0].client.cookie, at_distributor=True)
            self.to_distributor = self.to_distributor[1:]
        elif isinstance(source, int):
            cookie, *rest = self.kernel.backlog[source]
            self.queue(source, tuple(rest))
            self.guest(cookie, fate=Fate.IN, at_distributor=True)
            self.kernel = self.kernel._replace(accepted=(*self.kernel.accepted, cookie))
        elif source is not None and source[0] == "adopt":
            self.to_distributor = self.to_distributor[: source[1]] + self.to_distributor[source[1] + 1 :]
        elif source is not None:
            number, port = source
            group = self.group(number)
            assert group is not None, "its channel has a message"
            link = group.link(port)
            if link is None:
                self.put(group._replace(requests=group.requests[1:]))
            else:
                messages = link.to_distributor
                rest_ = (messages[0], *messages[2:]) if late else messages[1:]
                self.put_link(group, link._replace(to_distributor=rest_))

    def heard(self, event: DistributorEvent) -> None:
        """The Distributor has read what became of a hand-off: its answer, its dialog's end, or that it is unsent."""
        if isinstance(event, distributor.Received):
            if isinstance(event.message, (Accepted, Refused)):
                cookie = event.message.client.cookie
                self._settled(event.server, lambda client: client.cookie == cookie)
        elif isinstance(event, distributor.Unsent):
            cookie = event.client.cookie
            self._settled(event.server, lambda client: client.cookie == cookie)
        elif isinstance(event, distributor.DialogEnded):
            port = event.port
            self._settled(event.server, lambda client: client.port == port)

    def _settled(self, number: ServerId, which: Callable[[Client], bool]) -> None:
        group = self.group(number)
        if group is not None and group.offered:
            self.put(group._replace(offered=tuple(client for client in group.offered if not which(client))))

    def closes(self, client: Client, whose: str) -> None:
        """A process closes its copy of the client's connection: ``at_distributor`` or ``at_monitor``."""
        had: bool = getattr(self.guests[client.cookie], whose)
        self.guest(client.cookie, **{whose: False} if had else {"void": True})

    def keep(self, i: int, kept: bool) -> None:
        old = self.kernel.kept
        self.kernel = self.kernel._replace(kept=(*old[:i], kept, *old[i + 1 :]))

    def distributor_step(self, stride: Stride, declined: int | None) -> None:
        self.distributor = stride.state
        for i, effect in enumerate(stride.effects):
            self.perform(effect, declined=i == declined)
        for group in self.groups:
            self.compact(group.server)

    def perform(self, effect: DistributorEffect, declined: bool = False) -> None:
        match effect:
            case distributor.Send():
                self._send(effect, declined)
            case distributor.Tell():
                if isinstance(effect.message, Store) and not self.guests[effect.message.client.cookie].at_distributor:
                    self.guest(effect.message.client.cookie, void=True)
                self.to_monitor = (*self.to_monitor, effect.message)
            case distributor.CloseCopy():
                self.closes(effect.client, "at_distributor")
            case distributor.SendControl():
                group = self.group(effect.server)
                if isinstance(effect.message, BindReply) and group is not None and group.main:
                    self.put(group._replace(replies=(*group.replies, effect.message)))
            case distributor.ShutDown():
                self.closes(effect.client, "at_distributor")
                if self.guests[effect.client.cookie].fate is Fate.IN:
                    self.guest(effect.client.cookie, fate=Fate.DROPPED)
            case distributor.Listen():
                if declined:
                    event: DistributorEvent = distributor.ListeningFailed(effect.port, effect.address, EADDRINUSE)
                else:
                    event = distributor.Listening(effect.port, effect.address)
                    self.listen(effect.port - 1, True)
                self.pending = (*self.pending, event)
            case distributor.CloseListeners():
                self._turn_away((effect.port - 1,), Fate.LOST)
            case distributor.Audit():
                group = self.group(effect.server)
                if group is not None and (group.gone or group.unsaid):
                    self.pending = (*self.pending, distributor.Audited(effect.server, group.gone))
            case _:
                pass  # timers may fire whenever they are enabled; watching and accepting are derived

    def _send(self, effect: Send, declined: bool) -> None:
        group = self.group(effect.server)
        link = group.link(effect.port) if group else None
        if isinstance(effect.message, HandOff):
            client = effect.message.client
            if not self.guests[client.cookie].at_distributor:
                self.guest(client.cookie, void=True)
            if group is not None:
                group = group._replace(offered=(*group.offered, client))
                self.put(group)
        if group is not None and link is not None and group.alive and not declined:
            self.put_link(group, link._replace(to_server=(*link.to_server, effect.message)))
        elif isinstance(effect.message, HandOff):
            self.pending = (*self.pending, distributor.Unsent(effect.server, effect.message.client))

    def _turn_away(self, ports: Any, fate: Fate) -> None:  # Any: an iterable of places of ports
        """The listening sockets close; who is in their backlogs is reset."""
        for i in ports:
            for cookie in self.kernel.backlog[i]:
                self.guest(cookie, fate=fate)
            self.queue(i, ())
            self.listen(i, False)

    # ------------------------------------------------ the Distributor's death

    def distributor_crashes(self) -> None:
        if self.life is Life.UP:
            self.spend("distributor_crashes")

    def distributor_dies(self, *, midst: bool = False) -> None:
        """What it alone held is gone; what the Monitor keeps a duplicate of stays.

        Args:
            midst: it dies in the midst of a step: only then may it alone hold somebody (OWN-3.6g).
        """
        self.distributor = None
        self.life = Life.DEAD
        self.to_distributor = self.pending = ()
        for group in self.groups:
            for client in group.offered:
                guest = self.guests[client.cookie]
                if guest.fate is Fate.IN and not guest.taken and not guest.answered:
                    self.guest(client.cookie, unanswered=True)
            if group.offered:
                self.put(group._replace(offered=()))
            self.compact(group.server)
        for cookie, guest in enumerate(self.guests):
            if guest.at_distributor:
                self.guest(cookie, at_distributor=False)
                if guest.unanswered:
                    self.excuses[cookie] = Fate.LOST_SENT
                elif midst:
                    self.excuses[cookie] = Fate.LOST_ALONE
        kept = {message.port - 1 for message in self.to_monitor if isinstance(message, KeepListener)}
        lost = [i for i, duplicate in enumerate(self.kernel.kept) if not duplicate and i not in kept]
        self._turn_away(lost, Fate.LOST_BACKLOG)

    # ------------------------------------------------ who is lost, and why

    def _missing(self, world: World) -> list[int]:
        held = -1
        missing = []
        for cookie, guest in enumerate(world.guests):
            if guest.fate is Fate.IN and not guest.at_distributor:
                if held < 0:
                    held = self.system.holders(world)
                if not held >> cookie & 1:
                    missing.append(cookie)
        return missing

    def _loss(self, cookie: int) -> Fate:
        """OWN-3.6: the losses that are allowed, each only at its own instant, and one alone at each death."""
        if self.guests[cookie].bereft:
            return Fate.LOST_SERVED
        excuse = self.excuses.get(cookie, Fate.LOST)
        if excuse is Fate.LOST_ALONE:
            self.excuses = {who: why for who, why in self.excuses.items() if why is not Fate.LOST_ALONE}
        return excuse

    # ------------------------------------------------ a server's steps

    def binds(self, group: Group, link: Link) -> None:
        request = BindRequest(link.port, f"{ADDRESS}{link.port}")
        group = self.put_link(group, link._replace(program=Program.BINDING))
        self.put(group._replace(requests=(*group.requests, request)))

    def reply_read(self, group: Group, reply: BindReply) -> tuple[str, ...]:
        """The shell reads the answer to the program's bind; the names of the properties that the step breaks."""
        group = group._replace(replies=group.replies[1:])
        link = group.link(reply.port)
        self.put(group)
        if link is None or link.program is not Program.BINDING:
            return ()  # the answer to a request that was repeated
        if reply.errno:
            self.put_link(group, link._replace(program=Program.DECLINED))
            return ()
        event = server.Bound(reply.port)
        stride = self.system.stride("server", group.endpoint, event)
        self.endpoint_step(self.put_link(group, link._replace(program=Program.BOUND)), event, stride)
        return stride.wrong

    def endpoint_step(self, group: Group, event: server.Event, stride: Stride) -> tuple[str, ...]:
        """The step, and the sending of its replies unless that is steps of its own; what properties are broken."""
        group = group._replace(endpoint=stride.state)
        match event:
            case server.Listened() | server.ListenerClosed() | server.MessageRead():
                link = group.link(event.port)
                assert link is not None, "the event came from it"
                if isinstance(event, server.MessageRead):
                    link = link._replace(to_server=link.to_server[1:])
                elif isinstance(event, server.Listened):
                    link = link._replace(program=Program.LISTENING)
                else:
                    link = link._replace(program=Program.CLOSED)
                group = self.put_link(group, link)
            case server.Disconnected():
                self.guest(event.client.cookie, fate=Fate.LEFT)
                group = _without(group, event.client)
            case server.Sent():
                group = group._replace(sent=None)
            case server.Interrupted():
                group = group._replace(broken=None)
            case _:
                pass
        if isinstance(event, server.MessageRead) and isinstance(event.message, HandOff) and event.intact:
            group = group._replace(held=tuple(sorted((*group.held, event.message.client))))
        elif isinstance(event, server.MessageRead) and isinstance(event.message, InitialMsg):
            named = event.message.forget  # it has no excuse any more to count these
            group = group._replace(gone=tuple(client for client in group.gone if client not in named))
        group = self._effects_of(group, stride)
        wrong = stride.wrong
        if self.system.splits:
            group = group._replace(sending=bool(group.endpoint.outbox))
        else:
            while (reply := self.system.next_to_send(group)) is not None:
                group = self.sends(group, reply)
                sent = self.system.stride("server", group.endpoint, server.Sent(reply))
                group = self._effects_of(group._replace(endpoint=sent.state, sending=False, sent=None), sent)
                wrong += sent.wrong
        self.put(group)
        self.compact(group.server)
        return wrong

    def _effects_of(self, group: Group, stride: Stride) -> Group:
        """The program is given the connection, or what has come of it is closed."""
        for effect in stride.effects:
            cookie = effect.client.cookie
            if isinstance(effect, server.Deliver):
                self.guest(cookie, taken=self.guests[cookie].taken + 1)
                if effect.client not in group.held:
                    self.guest(cookie, void=True)
            else:
                group = _without(group, effect.client)
                self._excuse_if_unanswered(cookie)
        return group._replace(gone=tuple(client for client in group.gone if client in group.endpoint.clients))

    def sends(self, group: Group, reply: server.Reply) -> Group:
        """The reply is put into its dialog; the endpoint has yet to note it."""
        link = group.link(reply.port)
        assert link is not None, "there is a dialog on which to send"
        group = group._replace(sending=True, sent=reply)
        if isinstance(reply.message, Accepted):
            self.guest(reply.message.client.cookie, answered=True)
        return self.put_link(group, link._replace(to_distributor=(*link.to_distributor, reply.message)))

    def sender_dies(self, group: Group, reply: server.Reply) -> None:
        """The process that holds the lock dies, with the connections that it was about to deliver."""
        answers = (other.message for other in group.endpoint.outbox)
        undelivered = [message.client for message in answers if isinstance(message, Accepted)]
        group = self._close(group, undelivered)
        broken = server.Interrupted(reply.port, reply)
        self.put(group._replace(gone=(*group.gone, *undelivered), sending=False, sent=None, broken=broken))

    def reader_dies(self, group: Group, link: Link) -> None:
        """A process dies that has read a message, and has done nothing about it."""
        message = link.to_server[0]
        if isinstance(message, HandOff):
            self._excuse_if_unanswered(message.client.cookie)
        group = self.put_link(group, link._replace(to_server=link.to_server[1:]))
        self.put(group._replace(broken=server.Interrupted(link.port, None)))

    def _excuse_if_unanswered(self, cookie: int) -> None:
        """OWN-3.6h: its Distributor died before it read an answer, and its server does not take it."""
        if self.guests[cookie].unanswered:
            self.excuses[cookie] = Fate.LOST_SENT

    def _close(self, group: Group, clients: Iterable[Client]) -> Group:
        """The processes that hold these connections die: who was served ends with them."""
        for client in clients:
            guest = self.guests[client.cookie]
            if client in group.held and guest.fate is Fate.IN:
                if guest.taken:
                    self.guest(client.cookie, fate=Fate.LOST_SERVED)
                elif guest.answered:
                    self.guest(client.cookie, bereft=True)
                self._excuse_if_unanswered(client.cookie)
            group = _without(group, client)
        return group

    def server_dies(self, group: Group, *, child: bool) -> None:
        """The main process dies, and all its children, or all but one that holds none of the connections."""
        group = self._close(group, group.held)
        if child:
            in_flight = self.system.in_flight(group)
            broken = server.Interrupted(in_flight.port, in_flight) if in_flight is not None else group.broken
            gone = tuple(group.endpoint.clients)
            left = group._replace(main=False, child=True, gone=gone, replies=(), sending=False, sent=None)
            self.put(left._replace(broken=broken))
            return
        for link in group.links:
            for message in link.to_server:
                if isinstance(message, HandOff):
                    self._excuse_if_unanswered(message.client.cookie)
        links = tuple(Link(link.port, Program.NEW, (), link.to_distributor) for link in group.links)
        self.put(
            Group(
                group.server,
                group.element,
                links,
                main=False,
                condemned=group.condemned,
                reported=group.reported,
                offered=group.offered,
                requests=group.requests,
            )
        )
        self.compact(group.server)

    # ------------------------------------------------ canonical form

    def _bury(self) -> None:
        """Forget the dead servers of which neither the Monitor nor the Distributor knows any more."""
        if all(group.alive for group in self.groups):
            return
        living = self.monitor.classes[CLASS].living
        coming = {message.server for message in self.to_distributor if isinstance(message, Adopt)}
        table = self.distributor.servers if self.distributor is not None else Tree()
        self.groups = tuple(
            g for g in self.groups if g.alive or g.server in living or g.server in coming or g.server in table
        )

    def compact(self, number: ServerId) -> None:
        """Renumber the sequence numbers of the server's counts, and its own counter with them."""
        group = self.group(number)
        if group is None or self.system.first is not None:
            return
        status = self.distributor.servers.get(number, None) if self.distributor is not None else None
        key = (id(group), id(status))
        known = self.system._compacted.get(key)
        if known is None:
            known = (group, status, *_renumber(group, status))
            self.system._compacted[key] = known  # holds both originals, and so their ids
        _, _, new_group, new_status = known
        if new_group is not group:
            self.put(new_group)
        if new_status is not status and self.distributor is not None:
            servers = self.distributor.servers.set(number, new_status)
            self.distributor = self.system._part(replace(self.distributor, servers=servers))


def _renumber(group: Group, status: distributor.ServerStatus | None) -> tuple[Group, distributor.ServerStatus | None]:
    found = {message.count.sequence for link in group.links for message in link.to_distributor}
    found.update(reply.message.count.sequence for reply in issued(group))
    if status is not None:
        found.add(status.count.sequence)
        found.update(dialog.sequence for dialog in status.dialogs.values())
    # -1 (none heard) and 0 (none issued) are no counts, and stay
    order = closed_up(found | {-1, 0}, group.endpoint.sequence if group.alive else None, first=-1)
    if all(old == new for old, new in order.items()):
        return group, status

    def numbered(message: M) -> M:
        return replace(message, count=replace(message.count, sequence=order[message.count.sequence]))

    links = (link._replace(to_distributor=tuple(map(numbered, link.to_distributor))) for link in group.links)
    group = map_issued(group._replace(links=tuple(links)), numbered)
    if group.alive:
        group = group._replace(endpoint=replace(group.endpoint, sequence=order[group.endpoint.sequence]))
    if status is not None:
        dialogs = Tree.of((p, replace(d, sequence=order[d.sequence])) for p, d in status.dialogs.items())
        count = replace(status.count, sequence=order[status.count.sequence])
        status = replace(status, count=count, dialogs=dialogs)
    return group, status


def issued(group: Group) -> Iterator[server.Reply]:
    """The replies that the group's endpoint has issued and that are not known to be in their sockets, in every copy."""
    yield from group.endpoint.outbox
    if group.sent is not None:
        yield group.sent
    if group.broken is not None and group.broken.reply is not None:
        yield group.broken.reply


def map_issued(group: Group, change: Callable[[FromServer], FromServer]) -> Group:
    """The group with the messages of those replies changed."""

    def changed(reply: server.Reply) -> server.Reply:
        return server.Reply(reply.port, change(reply.message))

    if group.endpoint.outbox:
        outbox = tuple(map(changed, group.endpoint.outbox))
        group = group._replace(endpoint=replace(group.endpoint, outbox=outbox))
    if group.sent is not None:
        group = group._replace(sent=changed(group.sent))
    if group.broken is not None and group.broken.reply is not None:
        group = group._replace(broken=server.Interrupted(group.broken.port, changed(group.broken.reply)))
    return group


def released(messages: tuple[ToMonitor, ...]) -> set[Client]:
    """The clients that the Monitor is about to be told to release, and not to store again."""
    out: set[Client] = set()
    for message in messages:
        if isinstance(message, Release):
            out.add(message.client)
        elif isinstance(message, Store):
            out.discard(message.client)
    return out
