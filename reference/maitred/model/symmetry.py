"""Names that mean nothing: one world for all those that differ only in how servers, places and clients are numbered.

Rules
-----
1.  *Arrivals* are only compared with one another, and only those of clients who wait, are stored, or may come back to
    the waiting list.  These are numbered from 0 in their order, the next arrival follows, and all others are -1.
2.  *Server ids* are only compared for equality, and a new one is greater than all that are in use.  Those in use are
    numbered from 1, the next follows.  A place that is empty forgets whom it held last.
3.  *Living servers are named to a new Distributor in any order* (`world`), so in a channel they are put in theirs.
4.  Only a *symmetric* normal form changes who is who: servers are numbered in the order of their ranks, which is total,
    static places after the servers that fill them, and clients by where they are.

Theory of operation
-------------------
Rules 1 to 3 keep orders, and so are sound for whatever a machine may do with a number.  They keep the space finite
although servers are restarted and clients come again for ever.  Rule 4 is sound because no machine asks which of two
servers has the lesser id, nor which of two clients the lesser cookie: if a step leads from one world to another, the
same step leads from the renamed one to the other renamed in the same way.  `tests/model/test_symmetry.py` asks this of
the code, with arbitrary renamings; and that what is explored with and without rule 4 gets the same verdicts.  Any
renaming yields a world that may stand for the first.  So where an order is not total (two dead servers, say), worlds
that could have been one remain two: this costs states, and is never wrong.

Every renamed component is remembered, so a renaming costs a few look-ups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from maitred.core.distributor import DistributorState
from maitred.core.messages import Adopt, Client, ServerId
from maitred.core.monitor import ClassState, MonitorState, Place, PlaceId
from maitred.core.tree import Tree
from maitred.model.world import CLASS, Fate, Group, Guest, Link, World

if TYPE_CHECKING:
    from maitred.model.world import System

M = TypeVar("M")
SERVED: Final = -1
"""The arrival of whoever will not be compared with anybody any more."""


class Names(NamedTuple):
    """A renaming of everything; what is in none of the maps keeps its name."""

    servers: Mapping[ServerId, ServerId]
    next_server: ServerId
    places: Mapping[PlaceId, PlaceId]
    cookies: Mapping[int, int]
    arrivals: Mapping[int, int]
    """By cookie (the old one); whoever is not in it gets `SERVED`."""
    next_arrival: int

    def client(self, client: Client) -> Client:
        """The client's new name."""
        cookie = client.cookie
        return Client(self.arrivals.get(cookie, SERVED), self.cookies.get(cookie, cookie), client.port)

    def server(self, server: ServerId) -> ServerId:
        """The server's new name."""
        return self.servers.get(server, server)


class Mentions(NamedTuple):
    """The names that occur in a component."""

    servers: tuple[ServerId, ...]
    lining: tuple[Client, ...]
    """Clients whose arrivals may still be compared."""
    others: tuple[tuple[int, int, int], ...]
    """Where other clients occur: a kind of place, which of that kind, and the cookie."""


class Normal:
    """The normal form of the worlds of one system."""

    def __init__(self, system: System, *, symmetric: bool) -> None:
        """For the worlds of this system, whose components it interns the renamed ones among."""
        self._system: Final = system
        self._symmetric: Final = symmetric
        self._mentions: dict[int, tuple[Any, Mentions]] = {}  # Any: components of every type, kept alive
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
            known = self._mentions[id(part)] = (part, _mentions(part))
        return known[1]

    def present(self, world: World) -> set[int]:
        """The cookies of the clients of whom anything is left anywhere."""
        found = {cookie for backlog in world.kernel.backlog for cookie in backlog}
        for part in _parts(world):
            named = self.mentions(part)
            found.update(client.cookie for client in named.lining)
            found.update(cookie for _, _, cookie in named.others)
        return found

    # ------------------------------------------------ new names

    def names(self, world: World) -> Names:
        """Rules 1, 2 and 4."""
        servers: set[ServerId] = set()
        lining: set[Client] = set()
        for part in _parts(world):
            named = self.mentions(part)
            servers.update(named.servers)
            lining.update(named.lining)
        line = sorted(lining)
        order = sorted(servers)
        places: dict[PlaceId, PlaceId] = {}
        if self._symmetric and len(order) > 1:
            order.sort(key=lambda server: self._standing(world, server))
        new = {server: i for i, server in enumerate(order, 1)}
        cookies: dict[int, int] = {}
        if self._symmetric:
            places = _place_names(world.monitor.classes[CLASS], new)
            if len(world.guests) > 1:
                cookies = self._cookies(world, line, new)
        arrivals = {client.cookie: i for i, client in enumerate(line)}
        return Names(new, len(order) + 1, places, cookies, arrivals, len(line))

    def _standing(self, world: World, server: ServerId) -> tuple[int, int, str]:
        """Rule 4: the rank, which no two share; of a server that has none, what it looks like."""
        table = world.distributor
        status = table.servers.get(server, None) if table is not None else None
        if status is not None:
            return 0, status.rank, ""
        group = world.group(server)
        cls = world.monitor.classes[CLASS]
        place = cls.living.get(server, None)
        looks = self._sketch(group) if group is not None else ""
        where = repr(replace(cls.places[place], place=0, server=0)) if place is not None else ""
        return 1, 0, looks + where

    def _sketch(self, group: Group) -> str:
        """What the server looks like to one who knows no names."""
        known = self._sketches.get(id(group))
        if known is None:
            cookies = {cookie: 0 for _, _, cookie in self.mentions(group).others}
            faceless = Names({group.server: 0}, 0, {}, cookies, {}, 0)
            known = self._sketches[id(group)] = (group, repr(_group(group, faceless)))
        return known[1]

    def _cookies(self, world: World, line: Sequence[Client], new: Mapping[ServerId, ServerId]) -> dict[int, int]:
        """Rule 4: clients in the backlogs, in their line, with servers; then who has ended; then who is to come."""
        guests = world.guests
        found = dict.fromkeys(cookie for backlog in world.kernel.backlog for cookie in backlog)
        found.update(dict.fromkeys(client.cookie for client in line))
        for group in sorted(world.groups, key=lambda group: new[group.server]):
            there = self.mentions(group).others
            if there:
                keyed = sorted((kind, which, _standing_of(guests[cookie]), cookie) for kind, which, cookie in there)
                found.update(dict.fromkeys(cookie for _, _, _, cookie in keyed))
        if len(found) < len(guests):
            rest = [cookie for cookie in range(len(guests)) if cookie not in found]
            rest.sort(key=lambda cookie: _standing_of(guests[cookie]))
            found.update(dict.fromkeys(rest))
        return {cookie: i for i, cookie in enumerate(found)}

    def rename(self, world: World, names: Names) -> World:
        """The world in which everybody bears the new names, sealed."""
        cookies = names.cookies
        guests, backlog = world.guests, world.kernel.backlog
        if any(old != new for old, new in cookies.items()):
            old = {new: old for old, new in cookies.items()}
            guests = tuple(guests[old[cookie]] for cookie in range(len(guests)))
            backlog = tuple(tuple(cookies[cookie] for cookie in queue) for queue in backlog)
        groups = [self._rename(group, names, ()) for group in world.groups]
        system = self._system
        known = backlog is world.kernel.backlog
        return World(
            monitor=self._rename(world.monitor, names, (names.next_server, *names.places.items())),
            distributor=self._rename(world.distributor, names, (names.next_arrival,)),
            life=world.life,
            groups=system._team(tuple(sorted(groups, key=lambda group: group.server))),
            to_monitor=self._rename(world.to_monitor, names, ()),
            to_distributor=self._rename(world.to_distributor, names, ()),
            pending=self._rename(world.pending, names, ()),
            kernel=world.kernel if known else system.interned(world.kernel._replace(backlog=backlog)),
            guests=guests if guests is world.guests else system.interned(guests),
            budget=world.budget,
        )

    def _rename(self, part: M, names: Names, more: tuple[Any, ...]) -> M:  # Any: what else the component depends on
        if part is None or part == ():
            return part
        named = self.mentions(part)
        servers = tuple(map(names.server, named.servers))
        lining = tuple(map(names.client, named.lining))
        others = tuple((names.cookies.get(cookie, cookie), names.arrivals.get(cookie)) for _, _, cookie in named.others)
        key = (id(part), servers, lining, others, more)
        known: M | None = self._renamed.get(key)
        if known is None:
            known = self._renamed[key] = self._system.interned(_renamed(part, names))
        return known


FATES: Final = {fate: i for i, fate in enumerate([*(fate for fate in Fate if fate is not Fate.ABSENT), Fate.ABSENT])}


def _standing_of(guest: Guest) -> tuple[int, int, int, bool]:
    return FATES[guest.fate], guest.hung, guest.taken, guest.unanswered


def _place_names(cls: ClassState, new: Mapping[ServerId, ServerId]) -> dict[PlaceId, PlaceId]:
    """Static places in the order of the servers that fill them, the empty ones after; likewise dynamic ones."""
    static: list[tuple[bool, ServerId, int, int, int, PlaceId]] = []
    dynamic: list[tuple[bool, ServerId, int, int, int, PlaceId]] = []
    for place in cls.places.values():
        filled = new.get(place.server, 0) if place.alive else 0
        key = (not filled, filled, place.deaths, place.unready_deaths, place.element, place.place)
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
            return Mentions(tuple(cls.living), tuple(cls.store), ())
        case DistributorState():
            lining = [client for info in part.ports.values() for client in info.waiting]
            lining += [status.request for status in part.servers.values() if status.request is not None]
            return Mentions(tuple(part.servers), tuple(lining), ())
        case Group():
            return Mentions((part.server,), (), tuple(_served(part)))
        case tuple():
            servers = tuple(m.server for m in part if hasattr(m, "server"))
            gone = [client for m in part for client in getattr(m, "gone", ())]
            others = tuple((9, i, client.cookie) for i, client in enumerate(gone))
            return Mentions(servers, tuple(m.client for m in part if hasattr(m, "client")), others)
        case _:
            raise TypeError(f"nobody is named in a {type(part).__name__}")


def _served(group: Group) -> Iterable[tuple[int, int, int]]:
    """Where clients occur at a server: 0 to 3 for the ways to be there, on which port, and who."""
    for client in group.endpoint.clients:
        yield (1 if client in group.gone else 0), client.port, client.cookie
    for client in group.held:
        if client not in group.endpoint.clients:
            yield 5, client.port, client.cookie
    for client in group.offered:
        yield 6, client.port, client.cookie
    for link in group.links:
        for message in link.to_server:
            if hasattr(message, "client"):
                yield 2, link.port, message.client.cookie
            for client in getattr(message, "forget", ()):
                yield 4, link.port, client.cookie
        for i, answer in enumerate(link.to_distributor):
            if hasattr(answer, "client"):
                yield 3, link.port * 64 + i, answer.client.cookie


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
    server = names.server(place.server) if place.alive else 0
    return replace(place, place=names.places.get(place.place, place.place), server=server)


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
    return group._replace(
        server=names.server(group.server),
        endpoint=endpoint,
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
    """Rule 3."""
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
