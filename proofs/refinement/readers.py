"""The readers: for each symbol of the relation, one small function that reads its table from the code's states.

`reads` declares a reader: the symbol, the fields of the code that it reads, and the function.  The abstraction is a
loop over them, and the field table is generated from them.  A test records which fields each reader reads: those that
it declares, and otherwise only fields that lead to a row or name one (`proofs.refinement.field_table`).

Readers of what a machine knows need a `Machines` (of a world, or of a recorded trace); the others need a `Scene`.
Positions in a channel count from its first unread message.  The relation numbers a server's messages from 1; so does
the code, but the model renumbers them from 0, so they are shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from maitred.core import distributor, monitor, server
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    Client,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drain,
    Drained,
    FromServer,
    HandOff,
    InitialMsg,
    KeepDialog,
    KeepListener,
    NotReady,
    Refused,
    Release,
    RestartReply,
    Restore,
    ServerNotReady,
    ServerReady,
    Store,
    ToServer,
    Unresponsive,
)
from maitred.model.world import CLASS, Bounds, Fate, Group, Life, Link, World, issued

WORDS: Final[Mapping[type, str]] = {
    kind: kind.__name__
    for kind in (
        Store,
        Release,
        KeepDialog,
        ServerReady,
        ServerNotReady,
        Drained,
        Unresponsive,
        CreateServer,
        KeepListener,
    )
}
ANSWERS: Final[Mapping[type, str]] = {
    kind: kind.__name__ for kind in (Accepted, Refused, Disconnect, RestartReply, NotReady)
}
PHASES: Final = {
    monitor.PlacePhase.STARTING: "starting",
    monitor.PlacePhase.READY: "ready",
    monitor.PlacePhase.STOPPING: "stopping",
    monitor.PlacePhase.KILLING: "killing",
}
LIVES: Final = {Life.UP: "up", Life.CONDEMNED: "up", Life.DEAD: "dead", Life.ABSENT: "absent"}

SHIFT: Final = 1
"""What is added to the model's sequence numbers."""
NOWHERE: Final = -2
NOWHERE_DYNAMIC: Final = -1
"""The place of a server that fills none any more, static or dynamic."""


def numbered(place: monitor.Place) -> int:
    """The relation's number of the place: even of a static one, odd of a dynamic one.

    The code may give the number of a place that was struck off to one of the other kind.
    """
    return 2 * place.place + place.dynamic


class Unlike(Exception):
    """Two copies of a client differ; the text names how."""


# ================================================================ what is read

T = TypeVar("T")


class once(Generic[T]):  # a decorator
    """A property that is computed when it is first asked for; `functools.cached_property` takes a lock for it."""

    def __init__(self, compute: Callable[[Any], T]) -> None:  # Any: of whichever class
        """Compute it so."""
        self.compute, self.name = compute, compute.__name__

    def __get__(self, instance: object, owner: type) -> T:
        """Compute it, and put it where it is found instead of this."""
        value = instance.__dict__[self.name] = self.compute(instance)
        return value


class Machines:
    """The states of the machines, and shorter ways to their rows."""

    def __init__(
        self,
        state: monitor.MonitorState,
        up: distributor.DistributorState | None,
        endpoints: Mapping[int, server.EndpointState],
        class_id: int = CLASS,
        shift: int = 0,
        first: int = 0,
    ) -> None:
        """Of one server class.

        Args:
            state: the Monitor's.
            up: the Distributor's, while there is one.
            endpoints: the servers', by server.
            class_id: of the server class.
            shift: is added to sequence numbers; -1, of nothing, stays.
            first: the number of a server's count before any that it issues, where that is not 0.
        """
        self.monitor, self.distributor, self.endpoints = state, up, endpoints
        self.shift, self.first = shift, first
        self.cls = state.classes[class_id]
        self.places = tuple(self.cls.places.values())

    @once
    def living(self) -> list[monitor.Place]:
        """The places that are filled."""
        return [place for place in self.places if place.alive]

    @once
    def successor(self) -> monitor.PlaceId:
        """The place where a server comes up that is to replace another; `monitor.NO_PLACE` where there is none."""
        return self.cls.replacement.surge if self.cls.replacement is not None else monitor.NO_PLACE

    @once
    def rows(self) -> list[tuple[int, distributor.ServerStatus]]:
        """The server table."""
        return [*self.distributor.servers.items()] if self.distributor is not None else []

    @once
    def dialogs(self) -> list[tuple[tuple[int, int], distributor.ServerStatus, distributor.Dialog]]:
        """The dialogs of the server table: of which server on which port, in which row."""
        return [((s, port), row, dialog) for s, row in self.rows for port, dialog in row.dialogs.items()]

    @once
    def ports(self) -> list[tuple[int, distributor.PortInfo]]:
        """The Distributor's ports."""
        return [*self.distributor.ports.items()] if self.distributor is not None else []

    @once
    def listeners(self) -> list[tuple[tuple[int, int], server.VirtualListener]]:
        """The listeners of the servers' programs: of which server on which port."""
        return [((s, p), one) for s, endpoint in self.endpoints.items() for p, one in endpoint.listeners.items()]

    @once
    def clients(self) -> dict[int, Client]:
        """The clients that the Monitor and the Distributor hold, by cookie."""
        return {client.cookie: client for client in self._held()}

    def _held(self) -> Iterator[Client]:
        yield from self.cls.store
        for _, info in self.ports:
            yield from info.waiting
        yield from (row.request for _, row in self.rows if row.request is not None)

    def count(self, sequence: int) -> int:
        """The relation's number of what has this sequence number; -1 means nothing, in both."""
        return sequence + self.shift if sequence >= 0 else sequence


class Message(NamedTuple):
    """A message of a server, in its outbox or in the dialog."""

    group: Group
    port: int
    content: FromServer
    reply: server.Reply | None
    """As it is in the outbox; None: it is in the dialog."""


class Scene(Machines):
    """A world: the machines, and what is around them."""

    def __init__(
        self,
        world: World,
        bounds: Bounds,
        ports_of: Mapping[int, int],
        starting: Mapping[int, tuple[int, int]],
        first: int,
    ) -> None:
        """Of `proofs.refinement.abstraction.abstract`."""
        endpoints = {group.server: group.endpoint for group in world.groups}
        super().__init__(world.monitor, world.distributor, endpoints, shift=SHIFT, first=first)
        self.world, self.bounds, self.ports_of, self.starting = world, bounds, ports_of, starting
        self.guests = tuple(enumerate(world.guests))
        self.groups = world.groups
        self.links = [(group.server, link) for group in world.groups for link in group.links]

    @once
    def clients(self) -> dict[int, Client]:
        """Every client that somebody names: the relation has one arrival and one port of each, so copies are alike.

        Raises:
            Unlike: two copies differ.
        """
        found: dict[int, Client] = {}
        for client in self._copies():
            if found.setdefault(client.cookie, client) != client:
                raise Unlike(f"two copies of client {client.cookie} differ: {found[client.cookie]} and {client}")
        return found

    def _copies(self) -> Iterator[Client]:
        yield from self._held()
        world = self.world
        for message in (*world.to_monitor, *world.to_distributor, *world.pending):
            if hasattr(message, "client"):
                yield message.client
        for group in world.groups:
            yield from group.endpoint.clients
            yield from _named(reply.message for reply in issued(group))
        for _, link in self.links:
            for down in link.to_server:
                yield from (down.client,) if isinstance(down, HandOff) else down.forget
            yield from _named(link.to_distributor)

    @once
    def servers(self) -> set[int]:
        """Every server of which anything is left, and those that are about to be started."""
        world = self.world
        found = {group.server for group in world.groups} | {*self.cls.living, *self.starting}
        found |= {s for s, _ in self.rows}
        messages = (*world.to_monitor, *world.to_distributor, *world.pending)
        return found | {message.server for message in messages if hasattr(message, "server")}

    def place_of(self, s: int) -> int:
        """The server's place; of one that is gone, none."""
        if s in self.starting:
            return self.starting[s][0]
        place = self.cls.living.get(s, None)
        if place is not None:
            return numbered(self.cls.places[place])
        row = self.distributor.servers.get(s, None) if self.distributor is not None else None
        named = next((message for message in self.adoptions if message.server == s), row)
        return NOWHERE_DYNAMIC if named is not None and named.dynamic else NOWHERE

    def element_of(self, s: int) -> int:
        """The server's processing element, while anything of it is left there."""
        if s in self.starting:
            return self.starting[s][1]
        place = self.cls.living.get(s, None)
        if place is not None:
            return self.cls.places[place].element
        group = self.world.group(s)
        return group.element if group is not None else 0

    @once
    def numbers_of_places(self) -> tuple[int, ...]:
        """The relation's numbers of all places, and of those that are about to be filled."""
        return tuple(sorted({*map(numbered, self.places), *(place for place, _ in self.starting.values())}))

    @once
    def down(self) -> list[tuple[tuple[int, int, int], ToServer]]:
        """The messages to servers: server, port, position."""
        return [((s, link.port, i), one) for s, link in self.links for i, one in enumerate(link.to_server)]

    @once
    def up(self) -> dict[tuple[int, int], Message]:
        """The messages of servers, by server and number; one that is in both is in the dialog."""
        found = {}
        for group in self.groups:
            s = group.server
            for reply in group.endpoint.outbox:
                found[s, self.number(reply.message)] = Message(group, reply.port, reply.message, reply)
            for link in group.links:
                for content in link.to_distributor:
                    found[s, self.number(content)] = Message(group, link.port, content, None)
        return found

    def number(self, message: FromServer) -> int:
        """The relation's number of the message."""
        return message.count.sequence + self.shift

    @once
    def numbers(self) -> dict[int, list[int]]:
        """The numbers of each server's messages, in whatever copy."""
        found = {s: [self.first + self.shift] if self.first else [] for s in self.starting}
        for group in self.groups:
            mine = [group.endpoint.sequence + self.shift] if group.alive else []
            mine += [self.number(reply.message) for reply in issued(group)]
            mine += [self.number(message) for link in group.links for message in link.to_distributor]
            found[group.server] = mine
        return found

    @once
    def integers(self) -> tuple[int, ...]:
        """Those that number something: messages in channels, from 0, and what servers issue; and what may come next.

        What holds of all numbers holds of the others as it does of one that is as yet unused.
        """
        binders = sum(map(bool, SYMBOLS["binding"].read(self).values()))  # a word for each, when the socket listens
        lines = [len(self.world.to_monitor) + binders, *(len(link.to_server) for _, link in self.links)]
        found = {*range(-1, max(lines) + 3)}
        for numbers in self.numbers.values():
            newest = max(numbers, default=0)
            found |= {*numbers, *range(newest, newest + 4)}  # a step issues two counts at most
        return tuple(sorted(found))

    @once
    def words(self) -> tuple[tuple[int, Any], ...]:  # Any: each kind of message has fields of its own
        """The messages to the Monitor, by position."""
        return tuple(enumerate(self.world.to_monitor))

    @once
    def adoptions(self) -> list[Adopt]:
        """The messages to the Distributor about servers that live."""
        return [message for message in self.world.to_distributor if isinstance(message, Adopt)]


def _named(messages: Iterable[FromServer]) -> Iterator[Client]:
    return (message.client for message in messages if not isinstance(message, (RestartReply, NotReady)))


# ================================================================ the declarations

Table: TypeAlias = dict[Any, Any]  # Any: by the symbol's arguments, of its sort
Read: TypeAlias = Callable[[Any], Table]  # Any: a `Machines` or a `Scene`


class Reader(NamedTuple):
    """How a symbol's table is read."""

    symbol: str
    fields: tuple[str, ...]
    """Of the code, as ``Class.field``."""
    read: Read
    """The table, by tuples of arguments; where it has no entry, the symbol has its default."""


SYMBOLS: Final[dict[str, Reader]] = {}
"""The readers, by symbol."""


def reads(symbol: str, fields: str) -> Callable[[Read], Read]:
    """Declare the reader of a symbol.

    Args:
        symbol: of the relation.
        fields: of the code, each as ``Class.field``, separated by blanks.
    """

    def declare(read: Read) -> Read:
        SYMBOLS[symbol] = Reader(symbol, tuple(fields.split()), read)
        return read

    return declare


def tables(machines: Machines, readers: Iterable[Reader]) -> dict[str, Table]:
    """What they read, by symbol."""
    return {symbol: read(machines) for symbol, _, read in readers}


# ---------------------------------------------------------------- what never changes


@reads("port_of", "Client.port Kernel.backlog")
def _port_of(x: Machines) -> Table:
    found = {}
    if isinstance(x, Scene):
        found = {(c,): i for i, queue in enumerate(x.world.kernel.backlog, 1) for c in queue}
        found |= {(c,): port for c, port in x.ports_of.items()}
    return found | {(c,): client.port for c, client in x.clients.items()}


@reads("weight", "ElementState.weight ClassState.living Place.element Group.element")
def _weight(x: Scene) -> Table:
    at = {s: x.monitor.elements.get(x.element_of(s), None) for s in x.servers}
    return {(s,): element.weight if element is not None else 1 for s, element in at.items()}


@reads("dynamic", "Place.place Place.dynamic")
def _dynamic(x: Scene) -> Table:
    return {(place,): bool(place % 2) for place in (NOWHERE, NOWHERE_DYNAMIC, *x.numbers_of_places)}


_PLACE: Final = (
    "ClassState.living DistributorState.servers ServerStatus.dynamic World.to_distributor Adopt.dynamic"
    " Place.place Place.dynamic"
)
reads("place_of", f"{_PLACE} Adopt.server")(lambda x: {(s,): x.place_of(s) for s in x.servers})
reads("element_of", "ClassState.living Place.element Group.element")(
    lambda x: {(s,): x.element_of(s) for s in x.servers}
)
reads("max_clients", "ClassConfig.max_clients")(lambda x: dict.fromkeys([(s,) for s in x.servers], _config(x)))
reads("limit", "ClassConfig.waiting_limit")(lambda x: {(): x.cls.config.waiting_limit})
reads("full", "Link.to_distributor")(lambda x: {(s, link.port): _is_full(x, link) for s, link in x.links})


def _config(x: Machines) -> int:
    return x.cls.config.max_clients


def _is_full(x: Scene, link: Link) -> bool:
    return bool(x.bounds.room) and len(link.to_distributor) >= x.bounds.room


# ---------------------------------------------------------------- clients

BEFORE: Final = (Fate.ABSENT, Fate.BACKLOG)
reads("absent", "Guest.fate")(lambda x: {(c,): guest.fate is Fate.ABSENT for c, guest in x.guests})
reads("backlog", "Guest.fate")(lambda x: {(c,): guest.fate is Fate.BACKLOG for c, guest in x.guests})
reads("accepted", "Guest.fate")(
    lambda x: {(c,): guest.fate not in (*BEFORE, Fate.LOST_BACKLOG) for c, guest in x.guests}
)
reads("over", "Guest.fate")(lambda x: {(c,): guest.fate not in (*BEFORE, Fate.IN) for c, guest in x.guests})
reads("shut", "Guest.fate")(lambda x: {(c,): guest.fate is Fate.DROPPED for c, guest in x.guests})
reads("closed", "Guest.hung")(lambda x: {(c,): guest.hung == 1 for c, guest in x.guests})
reads("next_came", "World.guests")(lambda x: {(): len(x.world.guests)})
reads("came", "Kernel.backlog")(
    lambda x: {(c,): turn for queue in x.world.kernel.backlog for turn, c in enumerate(queue)}
)

# ---------------------------------------------------------------- the Distributor

reads("life", "World.life")(lambda x: {(): LIVES[x.world.life]})
reads("condemned", "World.life")(lambda x: {(): x.world.life is Life.CONDEMNED})
reads("incarnation", "DistributorPlace.incarnation")(lambda x: {(): x.cls.distributor.incarnation})
reads("distributor_element", "DistributorPlace.element")(lambda x: {(): x.cls.distributor.element})


def _of_distributor(symbol: str, field: str, value: Callable[[distributor.DistributorState], Any]) -> None:
    """One value of the Distributor's state."""

    def read(x: Machines) -> Table:
        return {(): value(x.distributor)} if x.distributor is not None else {}

    reads(symbol, f"DistributorState.{field}")(read)


_of_distributor("operating", "phase", lambda state: state.phase is distributor.Phase.OPERATING)
_of_distributor("next_rank", "next_rank", lambda state: state.next_rank)
_of_distributor("next_arrival", "next_arrival", lambda state: state.next_arrival)
_of_distributor("total", "waiting", lambda state: state.waiting)
_of_distributor("creation", "creation", lambda state: state.creation.value)
_of_distributor("promised", "promised", lambda state: state.promised)
_of_distributor("allowance", "dynamic", lambda state: state.dynamic)

_DRAINED: Final = "ServerStatus.draining ServerStatus.known ServerStatus.request ServerStatus.owed ServerStatus.count"
reads("row", "DistributorState.servers")(lambda x: {(s,): True for s, _ in x.rows})
reads("attached", "ServerStatus.attached")(lambda x: {(s,): row.attached for s, row in x.rows})
reads("draining", "ServerStatus.draining")(lambda x: {(s,): row.draining for s, row in x.rows})
reads("resting", "ServerStatus.resting")(lambda x: {(s,): row.resting for s, row in x.rows})
reads("heard", "ServerStatus.heard")(lambda x: {(s,): row.heard for s, row in x.rows})
reads("known", "ServerStatus.known")(lambda x: {(s,): row.known for s, row in x.rows})
reads("said_drained", f"{_DRAINED} Count.clients")(lambda x: {(s,): row.drained for s, row in x.rows})
reads("rank", "ServerStatus.rank")(lambda x: {(s,): row.rank for s, row in x.rows})
reads("count", "ServerStatus.count Count.clients")(lambda x: {(s,): row.count.clients for s, row in x.rows})
reads("count_sequence", "ServerStatus.count Count.sequence")(
    lambda x: {(s,): x.count(row.count.sequence or x.first) for s, row in x.rows}
)
reads("requested", "ServerStatus.request")(lambda x: {(s,): row.request is not None for s, row in x.rows})
reads("request", "ServerStatus.request Client.cookie")(
    lambda x: {(s,): row.request.cookie for s, row in x.rows if row.request is not None}
)
reads("unsent", "World.pending Client.cookie")(
    lambda x: {(e.server, e.client.cookie): True for e in x.world.pending if isinstance(e, distributor.Unsent)}
)
reads("dialog", "ServerStatus.dialogs")(lambda x: {at: True for at, _, _ in x.dialogs})
reads("binding", "ServerStatus.dialogs Dialog.phase")(
    lambda x: {at: dialog.phase is distributor.DialogPhase.BINDING for at, _, dialog in x.dialogs}
)
reads("ready", "ServerStatus.dialogs Dialog.phase")(
    lambda x: {at: dialog.phase is distributor.DialogPhase.READY for at, _, dialog in x.dialogs}
)
reads("dialog_sequence", "ServerStatus.dialogs Dialog.sequence")(
    lambda x: {at: x.count(dialog.sequence) for at, _, dialog in x.dialogs}
)
reads("owed", "ServerStatus.dialogs ServerStatus.owed")(lambda x: {at: at[1] in row.owed for at, row, _ in x.dialogs})
reads("waiting", "PortInfo.waiting Client.cookie")(
    lambda x: {(client.cookie,): True for _, info in x.ports for client in info.waiting}
)
reads("arrival", "Client.arrival")(lambda x: {(c,): client.arrival for c, client in x.clients.items()})
reads("accepting", "PortInfo.accepting")(lambda x: {(p,): info.accepting for p, info in x.ports})
reads("pausing", "PortInfo.pausing")(lambda x: {(p,): info.pausing for p, info in x.ports})
reads("opened", "PortInfo.opened")(lambda x: {(p,): info.opened for p, info in x.ports})
reads("listens", "PortInfo.listeners")(lambda x: {(p,): info.listening for p, info in x.ports})

# ---------------------------------------------------------------- the kernel

reads("socket", "Kernel.listening")(lambda x: {(p,): on for p, on in enumerate(x.world.kernel.listening, 1)})


@reads("unkept", "Kernel.listening World.life ClassState.listeners World.to_monitor KeepListener.port")
def _unkept(x: Scene) -> Table:
    kept = {port for (port, _), is_kept in x.cls.listeners.items() if is_kept}
    kept |= {message.port for _, message in x.words if isinstance(message, KeepListener)}
    up = x.world.life in (Life.UP, Life.CONDEMNED)
    return {(p,): on and up and p not in kept for p, on in enumerate(x.world.kernel.listening, 1)}


reads("down_kind", "Link.to_server")(lambda x: {at: type(one).__name__ for at, one in x.down})
reads("down_client", "Link.to_server HandOff.client Client.cookie")(
    lambda x: {at: one.client.cookie for at, one in x.down if isinstance(one, HandOff)}
)
reads("down_incarnation", "Link.to_server InitialMsg.incarnation")(
    lambda x: {at: one.incarnation for at, one in x.down if isinstance(one, InitialMsg)}
)
reads("down_tail", "Link.to_server")(lambda x: {(s, link.port): len(link.to_server) for s, link in x.links})

_UP: Final = "Link.to_distributor EndpointState.outbox"
_COUNTS: Final = "Accepted.count Refused.count Disconnect.count RestartReply.count NotReady.count Count.clients"
reads("up_kind", _UP)(lambda x: {at: ANSWERS[type(one.content)] for at, one in x.up.items()})
reads("up_port", _UP)(lambda x: {at: one.port for at, one in x.up.items()})
reads("up_client", f"{_UP} Accepted.client Refused.client Disconnect.client Client.cookie")(
    lambda x: {at: one.content.client.cookie for at, one in x.up.items() if not _states(one.content)}
)
reads("up_count", f"{_UP} {_COUNTS}")(lambda x: {at: one.content.count.clients for at, one in x.up.items()})
reads("up_incarnation", f"{_UP} RestartReply.incarnation NotReady.incarnation")(
    lambda x: {at: one.content.incarnation for at, one in x.up.items() if _states(one.content)}
)
reads("up_sent", f"{_UP} Group.sent")(
    lambda x: {at: one.reply is None or one.reply == one.group.sent for at, one in x.up.items()}
)


_NUMBERS: Final = f"{_UP} Count.sequence EndpointState.sequence Group.main Group.child Group.sent Group.broken"


@reads("up_read", _NUMBERS)
def _up_read(x: Scene) -> Table:
    found: Table = {}
    for s, numbers in x.numbers.items():
        newest = max(numbers, default=0)
        found |= {(s, q): True for q in x.integers if 0 <= q <= newest}
    return found | {at: one.reply is not None and one.reply == one.group.sent for at, one in x.up.items()}


def _states(message: FromServer) -> bool:
    """It reports whether the server listens, and names no client."""
    return isinstance(message, (RestartReply, NotReady))


reads("word_kind", "World.to_monitor")(lambda x: {(i,): WORDS[type(word)] for i, word in x.words})
reads("word_client", "World.to_monitor Store.client Release.client Client.cookie")(
    lambda x: {(i,): word.client.cookie for i, word in x.words if isinstance(word, (Store, Release))}
)
OF_SERVER: Final = (KeepDialog, ServerReady, ServerNotReady, Drained, Unresponsive)
_SERVERS: Final = " ".join(f"{kind.__name__}.server" for kind in OF_SERVER)
reads("word_server", f"World.to_monitor {_SERVERS}")(
    lambda x: {(i,): word.server for i, word in x.words if isinstance(word, OF_SERVER)}
)
OF_DIALOG: Final = (KeepDialog, ServerReady, ServerNotReady)
_PORTS: Final = " ".join(f"{kind.__name__}.port" for kind in OF_DIALOG)
reads("word_port", f"World.to_monitor {_PORTS}")(
    lambda x: {(i,): word.port for i, word in x.words if isinstance(word, OF_DIALOG)}
)
reads("word_tail", "World.to_monitor")(lambda x: {(): len(x.world.to_monitor)})

# ---------------------------------------------------------------- servers

reads("born", "MonitorState.next_server")(
    lambda x: {(s,): s < x.monitor.next_server and s not in x.starting for s in x.servers}
)
reads("main", "Group.main")(lambda x: {(group.server,): group.main for group in x.groups})
reads("child", "Group.child")(lambda x: {(group.server,): group.child for group in x.groups})
reads("doomed", "Group.condemned")(lambda x: {(group.server,): group.condemned for group in x.groups})
reads("asked_to_end", "Group.asked")(lambda x: {(group.server,): group.asked for group in x.groups})
reads("reported", "Group.reported")(lambda x: {(group.server,): group.reported for group in x.groups})
reads("lapsed", "Group.gone Client.cookie")(
    lambda x: {(group.server, client.cookie): True for group in x.groups for client in group.gone}
)
reads("serving", "EndpointState.clients Client.cookie")(
    lambda x: {(s, client.cookie): True for s, endpoint in x.endpoints.items() for client in endpoint.clients}
)
reads("clients", "EndpointState.clients")(
    lambda x: {(s,): len(endpoint.clients) for s, endpoint in x.endpoints.items()}
)
reads("undelivered", "EndpointState.outbox Accepted.client Client.cookie")(
    lambda x: {
        (s, reply.message.client.cookie): True
        for s, endpoint in x.endpoints.items()
        for reply in endpoint.outbox
        if isinstance(reply.message, Accepted)
    }
)
reads("sequence", _NUMBERS)(lambda x: {(s,): max(numbers, default=0) for s, numbers in x.numbers.items()})
reads("sending", "Group.sending")(lambda x: {(group.server,): group.sending for group in x.groups})
reads("unnoted", "Group.sent Count.sequence")(
    lambda x: {(group.server,): x.number(group.sent.message) for group in x.groups if group.sent is not None}
)
reads("broken", "Group.broken")(lambda x: {(group.server,): True for group in x.groups if group.broken is not None})
reads("broken_port", "Group.broken")(
    lambda x: {(group.server,): group.broken.port for group in x.groups if group.broken is not None}
)
reads("broken_at", "Group.broken Count.sequence")(
    lambda x: {
        (group.server,): x.number(group.broken.reply.message)
        for group in x.groups
        if group.broken is not None and group.broken.reply is not None
    }
)


reads("bound", "EndpointState.listeners")(lambda x: {at: True for at, _ in x.listeners})
reads("listening", "EndpointState.listeners VirtualListener.listening")(
    lambda x: {at: one.listening for at, one in x.listeners}
)
reads("owes", "EndpointState.listeners VirtualListener.asked")(lambda x: {at: one.asked for at, one in x.listeners})

# ---------------------------------------------------------------- the Monitor

reads("store", "ClassState.store Client.cookie")(lambda x: {(client.cookie,): True for client in x.cls.store})
reads("filled", "Place.place Place.dynamic Place.phase")(lambda x: {(numbered(place),): True for place in x.living})
reads("living", "Place.server Place.phase")(lambda x: {(place.server,): True for place in x.living})
reads("phase", "Place.server Place.phase")(lambda x: {(place.server,): PHASES[place.phase] for place in x.living})
reads("died_unready", "Place.server Place.phase Place.dynamic Place.unready_deaths")(
    lambda x: {(place.server,): place.dynamic and place.unready_deaths > 0 for place in x.living}
)
reads("kept", "Place.server Place.phase Place.dialogs")(
    lambda x: {(place.server, port): True for place in x.living for port in place.dialogs}
)
reads("used", "Place.server Place.phase Place.dialogs")(
    lambda x: {(place.server, port): used for place in x.living for port, used in place.dialogs.items()}
)
reads("dynamic_resting", "ClassState.dynamic_resting")(lambda x: {(): x.cls.dynamic_resting})
reads("configured", "ClassConfig.dynamic")(lambda x: {(): x.cls.config.dynamic})
reads("leaving", "Place.server Place.phase Place.retirement")(
    lambda x: {(place.server,): place.retirement is not monitor.Retirement.NONE for place in x.living}
)
reads("limited", "Place.server Place.phase Place.limited")(
    lambda x: {(place.server,): place.limited for place in x.living}
)
reads("succeeds", "Place.server Place.phase Place.place ClassState.replacement Replacement.surge")(
    lambda x: {(place.server,): place.place == x.successor for place in x.living}
)
reads("usable", "ElementState.up")(lambda x: {(e,): element.up for e, element in x.monitor.elements.items()})
_ADOPT: Final = "World.to_distributor Adopt.server"
reads("to_adopt", _ADOPT)(lambda x: {(message.server,): True for message in x.adoptions})
reads("adopt_draining", f"{_ADOPT} Adopt.draining")(
    lambda x: {(message.server,): message.draining for message in x.adoptions}
)
reads("adopt_kept", f"{_ADOPT} Adopt.dialogs")(
    lambda x: {(message.server, port): True for message in x.adoptions for port in message.dialogs}
)
reads("adopt_used", f"{_ADOPT} Adopt.dialogs Adopt.owed")(
    lambda x: {(message.server, port): port in message.owed for message in x.adoptions for port in message.dialogs}
)
reads("drain_due", "World.to_distributor Drain.server")(
    lambda x: {(one.server,): True for one in x.world.to_distributor if isinstance(one, Drain)}
)
reads("to_restore", "World.to_distributor Restore.client Client.cookie")(
    lambda x: {(one.client.cookie,): True for one in x.world.to_distributor if isinstance(one, Restore)}
)
reads("begin_due", "World.to_distributor")(lambda x: {(): _is_due(x, Begin)})
reads("decline_due", "World.to_distributor")(lambda x: {(): _is_due(x, CreationFailed)})


def _is_due(x: Scene, kind: type) -> bool:
    return any(isinstance(message, kind) for message in x.world.to_distributor)


@reads("late", _ADOPT)
def _late(x: Scene) -> Table:
    found: Table = {}
    late = not _is_due(x, Begin)
    for message in x.world.to_distributor:
        late = late or isinstance(message, Begin)
        if isinstance(message, Adopt):
            found[message.server,] = late
    return found
