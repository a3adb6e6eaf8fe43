"""A way through the closed system, told for people: who sent what to whom, and who owns each client's connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum

from maitred.core import distributor, monitor, server
from maitred.core.messages import Client, Count, HandOff, Restore, Store
from maitred.core.tree import Tree
from maitred.model.explorer import Path, Step
from maitred.model.world import CLASS, Action, Deed, Fate, Stride, System, World


def narrate(path: Path) -> Iterator[str]:
    """The lines of the tale: each step numbered, what was sent indented, then where every client's connection is."""
    system = System(path.bounds)
    yield f"At first: {_summary(path.start)}"
    before = path.start
    owners = ""
    for number, step in enumerate(path.steps, 1):
        yield f"{number:3}. {_headline(step.action)}"
        yield from (f"       {line}" for line in _details(system, before, step))
        now = _owners(step.world)
        if now and now != owners:
            yield f"       clients: {now}"
        owners, before = now, step.world


def _summary(world: World) -> str:
    alive = ", ".join(f"server {group.server}" for group in world.groups if group.alive)
    return f"the Monitor has started the Distributor and {alive}" if alive else "the Monitor has started"


# ---------------------------------------------------------------- what happens


def _headline(action: Action) -> str:
    who = action.who if action.who.startswith(("server", "client")) else f"the {action.who.capitalize()}"
    what = action.what
    if isinstance(what, Deed):
        return f"{who} {what.value}{_object(action)}"
    text = f"{who} {_verb(what)}"
    if action.late:
        text += ", which has overtaken the message before it"
    if action.performed is not None:
        text += f", and dies after {action.performed} of the effects"
    return text


def _object(action: Action) -> str:
    if action.about is None:
        return ""
    if action.what is Deed.LEAKS:
        return f" (client {action.about})"
    return f" (port {action.about})"


def _verb(event: object) -> str:
    """What a machine does with an event."""
    match event:
        case distributor.Received():
            return f"reads from server {event.server}, port {event.port}: {tell(event.message)}"
        case distributor.ConnectionRequest():
            return f"accepts client {event.cookie} on port {event.port}"
        case distributor.DialogEnded():
            return f"sees the dialog with server {event.server}, port {event.port}, end"
        case distributor.ControlEnded():
            return f"sees the control channel of server {event.server} end"
        case distributor.BindRequested():
            return f"reads server {event.server}'s request to bind port {event.port}"
        case distributor.Unsent():
            return f"notices that {tell(event.client)} could not be sent to server {event.server}"
        case distributor.PeerClosed():
            return f"sees that {tell(event.client)}, who waits, has closed" + (" after sending" if event.unread else "")
        case distributor.Fired() | monitor.Fired():
            return f"finds a timer run out: {tell(event.timer)}"
        case monitor.Told():
            return f"reads from the Distributor: {tell(event.message)}"
        case monitor.ServerExited():
            return f"learns that server {event.server}'s main process has ended"
        case monitor.ServerGone():
            return f"learns that nothing is left of server {event.server}"
        case monitor.DistributorExited():
            return "learns that the Distributor has ended, having read all that it said"
        case server.MessageRead():
            lost = "" if event.intact else ", without the descriptor"
            return f"reads on port {event.port}: {tell(event.message)}{lost}"
        case server.Listened():
            return f"listens on port {event.port}"
        case server.ListenerClosed():
            return f"closes its listening socket on port {event.port}"
        case server.Disconnected():
            return f"closes {tell(event.client)}, who has been served"
        case _:
            return f"takes {tell(event)}"


def tell(value: object) -> str:
    """A value in short: class and fields; a client by its cookie, a count as ``clients#sequence``."""
    match value:
        case Client():
            return f"client {value.cookie}"
        case Count():
            return f"{value.clients}#{value.sequence}"
        case Enum():
            return value.name.lower()
        case tuple() | Tree():
            return "(" + ", ".join(tell(item) for item in value) + ")"
        case _ if is_dataclass(value):
            inner = (f"{field.name}={tell(getattr(value, field.name))}" for field in fields(value))
            return f"{type(value).__name__}({', '.join(inner)})".replace("client=client", "client")
        case _:
            return str(value)


def _details(system: System, before: World, step: Step) -> Iterator[str]:
    stride = _stride(system, before, step.action)
    if stride is None:
        return
    if stride.rejected is not None:
        yield f"declined: {stride.rejected.value}"
    for i, effect in enumerate(stride.effects):
        if step.action.performed is not None and i >= step.action.performed:
            return
        line = _effect(effect, step.action.who)
        if line:
            yield line + (", which the kernel declines" if i == step.action.declined else "")


def _stride(system: System, before: World, action: Action) -> Stride | None:
    """The machine's step behind the action, taken again."""
    if isinstance(action.what, Deed):
        return None
    if action.who == "monitor":
        return system.stride("monitor", before.monitor, action.what)
    if action.who == "distributor":
        return system.stride("distributor", before.distributor, action.what)
    group = next(group for group in before.groups if f"server {group.server}" == action.who)
    return system.stride("server", group.endpoint, action.what)


def _effect(effect: object, who: str) -> str:
    """Who sends what to whom; nothing of timers and of what only this process notices."""
    match effect:
        case distributor.Send():
            return f"Distributor -> server {effect.server}, port {effect.port}: {tell(effect.message)}"
        case distributor.SendControl():
            return f"Distributor -> server {effect.server}: {tell(effect.message)}"
        case distributor.Tell():
            return f"Distributor -> Monitor: {tell(effect.message)}"
        case monitor.TellDistributor():
            return f"Monitor -> Distributor: {tell(effect.message)}"
        case server.Reply():
            return f"{who} -> Distributor, port {effect.port}: {tell(effect.message)}"
        case server.Deliver():
            return f"the program's accept returns {tell(effect.client)}"
        case distributor.SetTimer() | monitor.SetTimer() | distributor.Watch():
            return ""
        case _:
            return tell(effect)


# ---------------------------------------------------------------- who owns what


def _owners(world: World) -> str:
    """Where each client's connection is held, for the clients that have come."""
    parts = []
    for cookie, guest in enumerate(world.guests):
        if guest.fate is Fate.IN:
            parts.append(f"{cookie}: {' + '.join(_holders(world, cookie)) or 'held nowhere'}")
        elif guest.fate is not Fate.ABSENT:
            parts.append(f"{cookie}: {guest.fate.value}")
    return "; ".join(parts)


def _holders(world: World, cookie: int) -> Iterator[str]:
    if world.distributor is not None:
        for info in world.distributor.ports.values():
            if any(client.cookie == cookie for client in info.waiting):
                yield "Distributor (waits)"
        for status in world.distributor.servers.values():
            if status.request is not None and status.request.cookie == cookie:
                yield f"Distributor (sent to server {status.server})"
    if any(client.cookie == cookie for client in world.monitor.classes[CLASS].store):
        yield "Monitor's store"
    if any(isinstance(m, Store) and m.client.cookie == cookie for m in world.to_monitor):
        yield "on its way to the store"
    if any(isinstance(m, Restore) and m.client.cookie == cookie for m in world.to_distributor):
        yield "on its way to the new Distributor"
    for group in world.groups:
        if any(client.cookie == cookie for client in group.endpoint.clients):
            yield f"server {group.server}" + (" (closed)" if any(c.cookie == cookie for c in group.gone) else "")
        for link in group.links:
            if any(isinstance(m, HandOff) and m.client.cookie == cookie for m in link.to_server):
                yield f"on its way to server {group.server}"
