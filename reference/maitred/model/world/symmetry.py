"""Canonical form: worlds are identified up to the numbering of servers, places and clients.

Rules
-----
1.  *Arrivals* of clients who wait, are stored, or may come back to the waiting list are renumbered in their order,
    together with the next arrival.  So are *server ids*, with the next one, and *ranks* and *sequence numbers* (where
    they change: `distributor.canonical`, `renumbered`).  `core.numbering` says how; nothing is put right by it: a
    counter that has fallen behind, equals a number in use, or comes up with one after so many steps, does so after.
2.  While a Distributor may yet be started, or is receiving the clients who wait, distances between arrivals are kept,
    from 0 on: its counter begins at 0, is set to a successor of an arrival, and rises by one with each client that has
    yet to come (`numbering.spaced`).  Distances that these cannot bridge are one.
3.  A copy of a client that only a server has is known by its cookie alone, and its arrival is `SERVED`.  Where copies
    of one client differ in anything they go on to differ.
4.  *Living servers are named to a new Distributor in any order* (`world`), so in a channel they are put in theirs.
    Connections that are gone are a set, and are put in the order of their clients.
5.  Only a *symmetric* normal form changes who is who: servers are numbered in the order of their ranks, which is total,
    static places after the servers that fill them, and clients by where they are, those who wait in their line first.

What is assumed of a machine
----------------------------
a.  It compares arrivals, ranks, server ids, and sequence numbers by ``<`` and ``==`` only, each kind with its own.  It
    makes new ones only by adding 1 to the counter, or to an arrival; and a Distributor's arrivals begin with 0.  There
    is no other constant (but that -1 and 0 of a sequence number are none received and none issued): ``arrival % 64``
    breaks this, and no renumbered world shows it.  So explorations that renumber nothing and begin high are made
    besides (`System`, ``first``).
b.  The arrival in what a server says or keeps of a client enters no order: it is compared for equality, with the rest.
c.  For rule 5: no machine asks which of two servers has the lesser id, nor which of two clients the lesser cookie.
d.  Where clients come again for ever (``returns``), the counter of arrivals is above all arrivals of its Distributor:
    else rule 2 has no end of clients to reckon with, and counts those who are yet to come at the moment.

Neither incarnations, which are as many as Distributors may die, nor deaths, which set delays, are renumbered.

Theory of operation
-------------------
If a step leads from one world to another, the same step leads from the renamed one to the other, renamed.  This is
asked of the code by `tests/model/world/test_symmetry.py`, of the core as it is and of every mutant of it, in the worlds
that each reaches: steps first and the normal form then, and the other way round; and that the explorations with and
without any renumbering come to the same worlds and verdicts.  Where an order is not total (two dead servers, say),
worlds that could have been one remain two: this costs states, and is never wrong.

Every renamed component is remembered, so a renaming costs a few look-ups; a world that keeps its names is given back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields, replace
from typing import Any, Final, NamedTuple, TypeVar

from maitred.core.distributor import DistributorState
from maitred.core.messages import Adopt, Client, Closed, Restore, ServerId
from maitred.core.monitor import ClassState, DistributorPhase, MonitorState, Phase, Place, PlaceId
from maitred.core.numbering import closed_up, spaced
from maitred.core.tree import Tree
from maitred.model.world.components import Components
from maitred.model.world.state import CLASS, Fate, Group, Guest, Life, Link, World, issued, map_issued

M = TypeVar("M")
SERVED: Final = -1
"""The arrival of whoever will not be compared with anybody any more."""


class Names(NamedTuple):
    """A renaming of everything; what is in none of the maps keeps its name."""

    servers: Mapping[ServerId, ServerId]
    next_server: ServerId
    places: Mapping[PlaceId, PlaceId]
    cookies: Mapping[int, int]
    clients: Mapping[Client, Client]
    """Every copy of a client that is mentioned."""
    next_arrival: int
    """0 where there is no Distributor."""
    changes: bool = True
    """False: everybody keeps the name that he has."""

    def client(self, client: Client) -> Client:
        """The client's new name."""
        return self.clients[client]

    def server(self, server: ServerId) -> ServerId:
        """The server's new name."""
        return self.servers.get(server, server)


class Mentions(NamedTuple):
    """The names that occur in a component."""

    servers: tuple[ServerId, ...]
    lining: tuple[Client, ...]
    """Clients whose arrivals may still be compared."""
    others: tuple[tuple[int, int, Client], ...]
    """Where other clients occur: a kind of place, which of that kind, and who."""


class Normal:
    """The normal form of the worlds of one system."""

    def __init__(self, components: Components, *, symmetric: bool) -> None:
        """For worlds of these components, among which the renamed ones are interned."""
        self._components: Final = components
        self._symmetric: Final = symmetric
        self._mentions: dict[int, tuple[Any, Mentions]] = {}  # Any: components of every type, kept alive
        self._names: dict[tuple[int | None, ...], Names] = {}
        self._renamed: dict[tuple[Any, ...], Any] = {}  # Any: as above
        self._sketches: dict[int, tuple[Any, str]] = {}  # Any: as above

    def __call__(self, world: World) -> World:
        """The normal form, sealed; `world` is sealed."""
        return self.rename(world, self.names(world))

    # ------------------------------------------------ who is mentioned

    def mentions(self, part: Any) -> Mentions:  # Any: a component of the world
        """The names in an interned component."""
        known = self._mentions.get(id(part))
        if known is None:
            known = self._mentions[id(part)] = (part, self._components.interned(_mentions(part)))
        return known[1]

    def present(self, world: World) -> set[int]:
        """The cookies of the clients of whom anything is left anywhere."""
        found = {cookie for backlog in world.kernel.backlog for cookie in backlog}
        for part in _parts(world):
            named = self.mentions(part)
            found.update(client.cookie for client in named.lining)
            found.update(client.cookie for _, _, client in named.others)
        return found

    # ------------------------------------------------ new names

    def mentioned(self, world: World) -> tuple[set[ServerId], set[Client], set[Client]]:
        """The servers in the world, the clients whose arrivals may still be compared, and all other copies of clients.

        What is among the former is not left out of the latter.
        """
        servers: set[ServerId] = set()
        lining: set[Client] = set()
        others: set[Client] = set()
        for part in _parts(world):
            named = self.mentions(part)
            servers.update(named.servers)
            lining.update(named.lining)
            others.update([client for _, _, client in named.others])
        return servers, lining, others

    def names(self, world: World) -> Names:
        """Rules 1, 2, 3 and 5; without the last, few worlds differ in what their names depend on."""
        if self._symmetric:
            return self._symmetric_names(world)
        said = [self.mentions(part) for part in _parts(world)]
        key = (world.monitor.next_server, _next_arrival(world), _coming(world), *map(id, said))
        known = self._names.get(key)
        if known is None:
            servers, lining, others = self.mentioned(world)
            known = self._names[key] = _names(
                world, closed_up(servers, world.monitor.next_server, 1), {}, {}, lining, others
            )
        return known

    def _symmetric_names(self, world: World) -> Names:
        servers, lining, others = self.mentioned(world)
        new = closed_up(servers, world.monitor.next_server, 1) | self._ranked(world, servers)
        places = _place_names(world.monitor.classes[CLASS], new)
        cookies = self._cookies(world, sorted(lining), new) if len(world.guests) > 1 else {}
        return _names(world, new, places, cookies, lining, others)

    def exchanged(self, world: World, order: Sequence[ServerId], cookies: Mapping[int, int]) -> Names:
        """The renaming by which servers that had their ids from the counter are named in this order, clients so."""
        servers, lining, others = self.mentioned(world)
        new = closed_up(servers, world.monitor.next_server, 1)
        new |= {server: i for i, server in enumerate(order, 1)}
        return _names(world, new, _place_names(world.monitor.classes[CLASS], new), cookies, lining, others)

    def _ranked(self, world: World, servers: Iterable[ServerId]) -> dict[ServerId, ServerId]:
        """Rule 5: the servers that have had their names from the counter, in the order of their ranks."""
        order = sorted(server for server in servers if server < world.monitor.next_server)
        if len(order) > 1:
            order.sort(key=lambda server: self._standing(world, server))
        return {server: i for i, server in enumerate(order, 1)}

    def _standing(self, world: World, server: ServerId) -> tuple[int, int, str]:
        """Rule 5: the rank, which no two share; of a server that has none, what it looks like."""
        table = world.distributor
        status = table.servers.get(server, None) if table is not None else None
        if status is not None:
            return 0, status.rank, ""
        group = world.group(server)
        cls = world.monitor.classes[CLASS]
        place = cls.living.get(server, None)
        looks = self._sketch(group) if group is not None else ""
        held = cls.places[place] if place is not None else _last_place(cls, server)
        where = repr(replace(held, place=0, server=0)) if held is not None else ""
        return 1, 0, looks + where

    def _sketch(self, group: Group) -> str:
        """What the server looks like to one who knows no names."""
        known = self._sketches.get(id(group))
        if known is None:
            clients = {client: Client(SERVED, 0, client.port) for _, _, client in self.mentions(group).others}
            faceless = Names({group.server: 0}, 0, {}, {}, clients, 0)
            known = self._sketches[id(group)] = (group, repr(_group(group, faceless)))
        return known[1]

    def _cookies(self, world: World, line: Sequence[Client], new: Mapping[ServerId, ServerId]) -> dict[int, int]:
        """Rule 5: clients in their line, in the backlogs, with servers; then who has ended; then who is to come."""
        guests = world.guests
        found = dict.fromkeys(client.cookie for client in line)
        found.update(dict.fromkeys(cookie for backlog in world.kernel.backlog for cookie in backlog))
        for group in sorted(world.groups, key=lambda group: new[group.server]):
            there = self.mentions(group).others
            if there:
                keyed = sorted((kind, which, _standing_of(guests[c.cookie]), c.cookie) for kind, which, c in there)
                found.update(dict.fromkeys(cookie for _, _, _, cookie in keyed))
        if len(found) < len(guests):
            rest = [cookie for cookie in range(len(guests)) if cookie not in found]
            rest.sort(key=lambda cookie: _standing_of(guests[cookie]))
            found.update(dict.fromkeys(rest))
        return {cookie: i for i, cookie in enumerate(found)}

    def rename(self, world: World, names: Names) -> World:
        """The world in which everybody bears the new names, sealed."""
        if not (names.changes or world.to_distributor or any(len(group.gone) > 1 for group in world.groups)):
            return world
        cookies = names.cookies
        guests, kernel = world.guests, world.kernel
        interned = self._components.interned
        if any(old != new for old, new in cookies.items()):
            old = {new: old for old, new in cookies.items()}
            guests = interned(tuple(guests[old[cookie]] for cookie in range(len(guests))))
            backlog = tuple(tuple(cookies[cookie] for cookie in queue) for queue in kernel.backlog)
            accepted = tuple(cookies[cookie] for cookie in kernel.accepted)
            kernel = interned(kernel._replace(backlog=backlog, accepted=accepted))
        groups = [self._rename(group, names, ()) for group in world.groups]
        return World(
            monitor=self._rename(world.monitor, names, (names.next_server, *names.places.items())),
            distributor=self._rename(world.distributor, names, (names.next_arrival,)),
            life=world.life,
            groups=self._components.team(tuple(sorted(groups, key=lambda group: group.server))),
            to_monitor=self._rename(world.to_monitor, names, ()),
            to_distributor=self._rename(world.to_distributor, names, ()),
            pending=self._rename(world.pending, names, ()),
            kernel=kernel,
            guests=guests,
            budget=world.budget,
        )

    def _rename(self, part: M, names: Names, more: tuple[Any, ...]) -> M:  # Any: what else the component depends on
        if part is None or part == ():
            return part
        named = self.mentions(part)
        servers = tuple(map(names.server, named.servers))
        lining = tuple(map(names.client, named.lining))
        others = tuple(names.client(client) for _, _, client in named.others)
        key = (id(part), servers, lining, others, more)
        known: M | None = self._renamed.get(key)
        if known is None:
            known = self._renamed[key] = self._components.interned(_renamed(part, names))
        return known


def _names(
    world: World,
    servers: Mapping[ServerId, ServerId],
    places: Mapping[PlaceId, PlaceId],
    cookies: Mapping[int, int],
    lining: Set[Client],
    others: Set[Client],
) -> Names:
    """The renaming of these servers, places and cookies, and of the clients with them."""
    counter, next_server = _next_arrival(world), world.monitor.next_server
    clients, next_arrival = _client_names(counter, _coming(world), lining, others, cookies)
    maps: tuple[Mapping[Any, Any], ...] = (servers, places, cookies, clients)  # Any: each has names of its own
    changes = counter not in (None, next_arrival) or any(old != new for names in maps for old, new in names.items())
    return Names(servers, servers[next_server], places, cookies, clients, next_arrival, changes)


def _next_arrival(world: World) -> int | None:
    return world.distributor.next_arrival if world.distributor is not None else None


def _client_names(
    counter: int | None, coming: int | None, lining: Set[Client], others: Set[Client], cookies: Mapping[int, int]
) -> tuple[dict[Client, Client], int]:
    """Rules 1 to 3: the new name of each copy of a client; and the next arrival."""
    arrivals = {client.arrival for client in lining}
    new = closed_up(arrivals, counter) if coming is None else spaced(arrivals, counter, coming)
    names = {c: Client(new[c.arrival], cookies.get(c.cookie, c.cookie), c.port) for c in lining}
    none = SERVED + min(0, *arrivals, 0)
    copies: dict[int, int] = {}
    for c in sorted(others - lining, reverse=True):  # the latest of several copies of one client is `none`
        cookie = cookies.get(c.cookie, c.cookie)
        copy = copies[cookie] = copies.get(cookie, -1) + 1
        names[c] = Client(none - copy, cookie, c.port)
    return names, new[counter] if counter is not None else 0


def _coming(world: World) -> int | None:
    """How many clients are yet to come, where arrivals may yet be counted from those who are stored (rule 2)."""
    budget, place = world.budget, world.monitor.classes[CLASS].distributor
    mortal = budget.distributor_crashes or budget.element_failures or world.life is not Life.UP
    over = place.phase in (DistributorPhase.DONE, DistributorPhase.GONE) or world.monitor.phase in _OVER
    again = mortal and not over and Closed() not in world.to_monitor
    if again or any(isinstance(message, Restore) for message in world.to_distributor):
        return sum(guest.fate in (Fate.ABSENT, Fate.BACKLOG) for guest in world.guests)
    return None


_OVER: Final = (Phase.ENDING, Phase.ENDED)


def _last_place(cls: ClassState, server: ServerId) -> Place | None:
    """The empty place that the server filled last."""
    return next((place for place in cls.places.values() if place.server == server), None)


FATES: Final = {fate: i for i, fate in enumerate([*(fate for fate in Fate if fate is not Fate.ABSENT), Fate.ABSENT])}


def _standing_of(guest: Guest) -> tuple[int, int, int, bool, bool, bool]:
    return FATES[guest.fate], guest.hung, guest.taken, guest.answered, guest.bereft, guest.unanswered


def _place_names(cls: ClassState, new: Mapping[ServerId, ServerId]) -> dict[PlaceId, PlaceId]:
    """Static places in the order of the servers that fill them, the empty ones after; then dynamic ones as well."""
    static: list[tuple[bool, ServerId, int, int, int, PlaceId]] = []
    dynamic: list[tuple[bool, ServerId, int, int, int, PlaceId]] = []
    for place in cls.places.values():
        held = new.get(place.server, 0)
        key = (not place.alive, held, place.deaths, place.unready_deaths, place.element, place.place)
        (dynamic if place.dynamic else static).append(key)
    names = {key[-1]: i for i, key in enumerate(sorted(static))}
    names.update((key[-1], len(static) + i) for i, key in enumerate(sorted(dynamic)))
    names.update((place, len(names) + i) for i, place in enumerate(cls.vacant))
    return names


def _parts(world: World) -> Iterable[Any]:  # Any: components of every type
    """The components in which anybody is named; the groups one by one."""
    yield world.monitor
    if world.distributor is not None:
        yield world.distributor
    yield from world.groups
    for messages in (world.to_monitor, world.to_distributor, world.pending):
        if messages:
            yield messages


# ---------------------------------------------------------------- the names in a component


def _mentions(part: object) -> Mentions:
    match part:
        case MonitorState():
            cls = part.classes[CLASS]
            filled = dict.fromkeys(place.server for place in cls.places.values() if place.server)
            return Mentions((*cls.living, *filled), tuple(cls.store), ())
        case DistributorState():
            lining = [client for info in part.ports.values() for client in info.waiting]
            lining += [status.request for status in part.servers.values() if status.request is not None]
            seats = (seat.server for info in part.ports.values() for seat in info.free)
            known = dict.fromkeys((*part.servers, *seats, *part.drainable))  # an index may be wrong, too
            return Mentions(tuple(known), tuple(lining), ())
        case Group():
            return Mentions((part.server,), (), tuple(_served(part)))
        case tuple():
            servers = tuple(m.server for m in part if hasattr(m, "server"))
            gone = [client for m in part for client in getattr(m, "gone", ())]
            others = tuple((9, i, client) for i, client in enumerate(gone))
            return Mentions(servers, tuple(m.client for m in part if hasattr(m, "client")), others)
        case _:
            raise TypeError(f"nobody is named in a {type(part).__name__}")


def _served(group: Group) -> Iterable[tuple[int, int, Client]]:
    """Where clients occur at a server: 0 to 3 for the ways to be there, on which port, and who."""
    for client in group.endpoint.clients:
        yield (1 if client in group.gone else 0), client.port, client
    for client in group.held:
        if client not in group.endpoint.clients:
            yield 5, client.port, client
    for client in group.offered:
        yield 6, client.port, client
    for i, reply in enumerate(issued(group)):
        if hasattr(reply.message, "client"):
            yield 7, i, reply.message.client
    for link in group.links:
        for message in link.to_server:
            if hasattr(message, "client"):
                yield 2, link.port, message.client
            for client in getattr(message, "forget", ()):
                yield 4, link.port, client
        for i, answer in enumerate(link.to_distributor):
            if hasattr(answer, "client"):
                yield 3, link.port * 64 + i, answer.client


# ---------------------------------------------------------------- renaming


def _renamed(part: Any, names: Names) -> Any:  # Any: of whichever component; the type stays
    match part:
        case MonitorState():
            return _monitor(part, names)
        case DistributorState():
            return _distributor(part, names)
        case Group():
            return _group(part, names)
        case _:
            return _sorted_adoptions(tuple(_message(message, names) for message in part))


def _monitor(state: MonitorState, names: Names) -> MonitorState:
    cls = state.classes[CLASS]
    cls = replace(
        cls,
        places=Tree.of((place.place, place) for place in (_place(old, names) for old in cls.places.values())),
        vacant=Tree.of((names.places.get(place, place), None) for place in cls.vacant),
        living=Tree.of((names.server(s), names.places.get(place, place)) for s, place in cls.living.items()),
        store=Tree.of((names.client(client), None) for client in cls.store),
    )
    return replace(state, classes=state.classes.set(CLASS, cls), next_server=names.next_server)


def _place(place: Place, names: Names) -> Place:
    return replace(place, place=names.places.get(place.place, place.place), server=names.server(place.server))


def _distributor(state: DistributorState, names: Names) -> DistributorState:
    rows = (
        replace(
            status,
            server=names.server(status.server),
            request=names.client(status.request) if status.request is not None else None,
        )
        for status in state.servers.values()
    )
    ports = (
        replace(
            info,
            waiting=Tree.of((names.client(client), None) for client in info.waiting),
            free=Tree.of((replace(seat, server=names.server(seat.server)), None) for seat in info.free),
        )
        for info in state.ports.values()
    )
    return replace(
        state,
        servers=Tree.of((status.server, status) for status in rows),
        ports=Tree.of((info.port, info) for info in ports),
        drainable=Tree.of((names.server(server), None) for server in state.drainable),
        next_arrival=names.next_arrival,
    )


def _group(group: Group, names: Names) -> Group:
    endpoint = replace(
        group.endpoint, clients=Tree.of((names.client(client), None) for client in group.endpoint.clients)
    )
    group = group._replace(endpoint=endpoint)
    return map_issued(group, lambda message: _message(message, names))._replace(
        server=names.server(group.server),
        held=tuple(sorted(map(names.client, group.held))),
        gone=tuple(sorted(map(names.client, group.gone))),
        offered=tuple(sorted(map(names.client, group.offered))),
        links=tuple(_link(link, names) for link in group.links),
    )


def _link(link: Link, names: Names) -> Link:
    return link._replace(
        to_server=tuple(_message(message, names) for message in link.to_server),
        to_distributor=tuple(_message(message, names) for message in link.to_distributor),
    )


def _message(message: Any, names: Names) -> Any:  # Any: of whichever class; the class stays
    """A message, or an event of the Distributor's own, with its server and its clients renamed."""
    changes: dict[str, Any] = {}  # Any: fields of every type
    for name in _naming(type(message)):
        value = getattr(message, name)
        if name == "server":
            changes[name] = names.server(value)
        elif name == "client":
            changes[name] = names.client(value)
        else:
            changes[name] = tuple(sorted(map(names.client, value)))
    return replace(message, **changes) if changes else message


_NAMING: Final[dict[type[Any], tuple[str, ...]]] = {}  # Any: classes of messages


def _naming(kind: type[Any]) -> tuple[str, ...]:  # Any: a class of messages
    """The fields of the class in which somebody is named."""
    known = _NAMING.get(kind)
    if known is None:
        names = tuple(field.name for field in fields(kind) if field.name in ("server", "client", "forget", "gone"))
        known = _NAMING[kind] = names
    return known


def _sorted_adoptions(messages: tuple[Any, ...]) -> tuple[Any, ...]:  # Any: messages of every class
    """Rule 4."""
    out: list[Any] = []  # Any: as above
    run: list[Adopt] = []
    for message in messages:
        if isinstance(message, Adopt):
            run.append(message)
        else:
            out += [*sorted(run, key=_server_of), message]
            run = []
    return tuple(out + sorted(run, key=_server_of))


def _server_of(message: Adopt) -> ServerId:
    return message.server
