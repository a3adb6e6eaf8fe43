"""The system in words and as tables: what the tale, the explanations and the drawings of a path have in common.

`describe` gives a value in short, `holders` says who holds a client's connection, and `facts` lists what is so in a
world, of which `changes` are the rows that differ between two worlds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Final

from maitred.core.distributor import Creation, DistributorState, ServerStatus
from maitred.core.messages import Client, Count, HandOff, Restore, Store
from maitred.core.monitor import ClassState
from maitred.core.tree import Tree
from maitred.model.world import CLASS, Fate, Group, Life, Program, World

NOTHING: Final = "-"
"""How a table says that there is nothing, or nothing any more."""
NOBODY: Final = "nobody"


def describe(value: object) -> str:
    """A value in short: class and fields; a client by its cookie, a count as ``clients#sequence``."""
    match value:
        case Client():
            return f"client {value.cookie}"
        case Count():
            return f"{value.clients}#{value.sequence}"
        case Enum():
            return value.name.lower()
        case tuple() | Tree():
            return "(" + ", ".join(describe(item) for item in value) + ")"
        case _ if is_dataclass(value):
            inner = (f"{field.name}={describe(getattr(value, field.name))}" for field in fields(value))
            return f"{type(value).__name__}({', '.join(inner)})".replace("client=client", "client")
        case _:
            return str(value)


def label(message: object) -> str:
    """A message in a few words: its class, whom it is about, and the count that it carries."""
    text = type(message).__name__
    if not is_dataclass(message):
        return text
    for each in fields(message):
        value = getattr(message, each.name)
        if isinstance(value, Client):
            text += f" {describe(value)}"
        elif isinstance(value, Count):
            text += f" (serves {value.clients})"
        elif each.name == "server":
            text += f" server {value}"
        elif each.name == "errno" and value:
            text += f" (errno {value})"
        elif each.name == "forget" and value:
            text += f", forget {', '.join(describe(client) for client in value)}"
    return text


def listed(items: Iterable[object]) -> str:
    """In words: ``a``, ``a and b``, ``a, b and c``; of nothing, ``nobody``."""
    words = [str(item) for item in items]
    if len(words) < 2:
        return words[0] if words else NOBODY
    return f"{', '.join(words[:-1])} and {words[-1]}"


def clients_listed(clients: Iterable[Client]) -> str:
    """In words: ``client 0 and client 2``; of none, ``nobody``."""
    return listed(f"client {client.cookie}" for client in clients)


def counted(number: int, noun: str, nouns: str = "") -> str:
    """The number with its noun: ``1 client``, ``2 clients``."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


# ================================================================ who holds whom


class Holder(Enum):
    """What kind of thing holds a client's connection."""

    BACKLOG = "kernel's backlog"
    DISTRIBUTOR = "Distributor"
    STORE = "Monitor's store"
    FLIGHT = "on its way, beside a message"
    SERVER = "server"
    NOWHERE = "held nowhere"


@dataclass(frozen=True, slots=True)
class Held:
    """One holder of a client's connection: several may have a copy at once."""

    holder: Holder
    text: str
    """In full: which server, and what for."""
    short: str
    """In a word or two."""


def holders(world: World, cookie: int) -> list[Held]:
    """Everyone who holds the client's connection; none where it has not come, or has ended."""
    fate = world.guests[cookie].fate
    if fate is Fate.BACKLOG:
        return [Held(Holder.BACKLOG, "kernel's backlog", "backlog")]
    if fate is not Fate.IN:
        return []
    return list(_holders(world, cookie)) or [Held(Holder.NOWHERE, "nobody", "nobody")]


def _holders(world: World, cookie: int) -> Iterator[Held]:
    for group in world.groups:
        gone = " (closed)" if _among(cookie, group.gone) else ""
        if _among(cookie, group.held) or gone:
            yield Held(Holder.SERVER, f"server {group.server}{gone}", f"server {group.server}{gone}")
        for link in group.links:
            if _among(cookie, (m.client for m in link.to_server if isinstance(m, HandOff))):
                yield Held(Holder.FLIGHT, f"on its way to server {group.server}", f"to server {group.server}")
    if world.distributor is not None:
        for info in world.distributor.ports.values():
            if _among(cookie, info.waiting):
                yield Held(Holder.DISTRIBUTOR, "Distributor (waits)", "waits")
        for status in world.distributor.servers.values():
            if status.request is not None and status.request.cookie == cookie:
                yield Held(Holder.DISTRIBUTOR, f"Distributor (sent to server {status.server})", "Distributor")
    if _among(cookie, world.monitor.classes[CLASS].store):
        yield Held(Holder.STORE, "Monitor's store", "store")
    if _among(cookie, (m.client for m in world.to_monitor if isinstance(m, Store))):
        yield Held(Holder.FLIGHT, "on its way to the store", "to the store")
    if _among(cookie, (m.client for m in world.to_distributor if isinstance(m, Restore))):
        yield Held(Holder.FLIGHT, "on its way to the new Distributor", "to Distributor")


def _among(cookie: int, clients: Iterable[Client]) -> bool:
    return any(client.cookie == cookie for client in clients)


# ================================================================ what is so in a world


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so in a world."""

    value: str
    phase: bool = False
    """Whether it is the phase of a machine, or of a part of one."""


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that a step has altered."""

    what: str
    before: str
    after: str
    phase: bool


def changes(before: World, after: World) -> list[Change]:
    """The facts that differ, in the order of `facts`; what is only in one of the worlds is `NOTHING` in the other."""
    old, new = facts(before), facts(after)
    names = [*old, *(name for name in new if name not in old)]
    none = Fact(NOTHING)
    return [
        Change(name, old.get(name, none).value, new.get(name, none).value, (old.get(name) or new[name]).phase)
        for name in names
        if old.get(name, none).value != new.get(name, none).value
    ]


def facts(world: World) -> dict[str, Fact]:
    """What is so in the world, by what it is about."""
    found = {
        f"client {cookie}": Fact(f"{listed(held.text for held in holders(world, cookie))}")
        if guest.fate is Fate.IN
        else Fact(guest.fate.value)
        for cookie, guest in enumerate(world.guests)
    }
    for i, backlog in enumerate(world.kernel.backlog):
        if world.kernel.listening[i]:
            found[f"kernel: backlog of port {i + 1}"] = Fact(listed(f"client {cookie}" for cookie in backlog))
    found["Distributor: process"] = Fact(world.life.value if world.life is not Life.UP else "runs", phase=True)
    if world.distributor is not None:
        found |= _facts_of_distributor(world.distributor)
    found["Monitor"] = Fact(world.monitor.phase.value, phase=True)
    found |= _facts_of_class(world.monitor.classes[CLASS])
    for group in world.groups:
        found |= _facts_of_server(group)
    found["on the way to the Monitor"] = _messages(world.to_monitor)
    found["on the way to the Distributor"] = _messages(world.to_distributor)
    found["the Distributor's own news"] = _messages(world.pending)
    return found


def _messages(channel: tuple[object, ...]) -> Fact:
    return Fact(", ".join(describe(message) for message in channel) or NOTHING)


def _facts_of_distributor(state: DistributorState) -> dict[str, Fact]:
    found = {f"Distributor {state.incarnation}": Fact(state.phase.value, phase=True)}
    if state.creation is not Creation.NONE or state.dynamic:
        found["Distributor: a dynamic server"] = Fact(_CREATION[state.creation], phase=True)
    for port, info in state.ports.items():
        found[f"Distributor: waits on port {port}"] = Fact(clients_listed(info.waiting))
        free = " < ".join(f"server {seat.server}" for seat in info.free)
        found[f"Distributor: free on port {port}, best first"] = Fact(free or "no server")
        found[f"Distributor: accept on port {port}"] = Fact("outstanding" if info.accepting else "none")
    for status in state.servers.values():
        found |= _facts_of_row(status)
    return found


_CREATION: Final = {
    Creation.NONE: "not asked for",
    Creation.DELAYED: "will be asked for after a delay",
    Creation.REQUESTED: "asked for",
}


def _facts_of_row(status: ServerStatus) -> dict[str, Fact]:
    """The Distributor's row of a server."""
    row = f"Distributor's row of server {status.server}"
    marks = [word for word in ("draining", "resting") if getattr(status, word)]
    found = {
        f"{row}: clients": Fact(f"{status.count.clients} of {status.max_clients}"),
        f"{row}: unanswered": Fact(describe(status.request) if status.request else NOBODY),
        f"{row}: owes an answer on port": Fact(", ".join(map(str, status.owed)) or NOTHING),
        f"{row}: marked": Fact(", ".join(marks) or NOTHING, phase=True),
    }
    for port, dialog in status.dialogs.items():
        found[f"{row}: dialog on port {port}"] = Fact(dialog.phase.value, phase=True)
    return found


def _facts_of_class(cls: ClassState) -> dict[str, Fact]:
    """What the Monitor knows of the server class."""
    found = {
        "Monitor: the Distributor's place": Fact(cls.distributor.phase.value, phase=True),
        "Monitor: store": Fact(clients_listed(cls.store)),
    }
    for place in cls.places.values():
        server = f", server {place.server}" if place.alive else ""
        found[f"Monitor: place {place.place}"] = Fact(f"{place.phase.value}{server}", phase=True)
        kept = ", ".join(f"{port}{' (used)' if used else ''}" for port, used in place.dialogs.items())
        found[f"Monitor: dialogs kept of place {place.place}, by port"] = Fact(kept or NOTHING)
    return found


def _facts_of_server(group: Group) -> dict[str, Fact]:
    name = f"server {group.server}"
    found = {f"{name}: processes": Fact(_processes(group), phase=True)}
    if group.alive:
        found[f"{name}: serves"] = Fact(clients_listed(group.endpoint.clients))
        found[f"{name}: is to say"] = _messages(tuple(reply.message for reply in group.endpoint.outbox))
    for link in group.links:
        if link.program is not Program.NEW:
            found[f"{name}: program, port {link.port}"] = Fact(link.program.value, phase=True)
        found[f"on the way to {name}, port {link.port}"] = _messages(link.to_server)
        found[f"on the way from {name}, port {link.port}"] = _messages(link.to_distributor)
    found[f"on the way from {name}, control"] = _messages(group.requests)
    found[f"on the way to {name}, control"] = _messages(group.replies)
    return found


def _processes(group: Group) -> str:
    if not group.alive:
        return "dead"
    lives = "live" if group.main else "only a forked child lives"
    return lives + (", asked to end" if group.asked else "") + (", being killed" if group.condemned else "")
