"""A path through the closed system in words: who sent what to whom, and who owns each client's connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

from maitred.core import distributor, monitor, server
from maitred.model.search.explorer import Path, Step
from maitred.model.story.explanation import retake, why
from maitred.model.story.text import changes, describe, holders
from maitred.model.world import (
    Action,
    ClientCloses,
    ClientConnects,
    ConnectionLeaks,
    Deed,
    DistributorCutOff,
    DistributorEnds,
    DistributorStep,
    EffectDeclined,
    Fate,
    MonitorStep,
    PortDeed,
    ServerDeed,
    ServerStep,
    System,
    World,
)


def narrate(path: Path, name: str = "", cycle_start: int | None = None) -> Iterator[str]:
    """The lines: each step numbered, what it sent indented, then where each client's connection is.

    Args:
        path: the path to render.
        name: the property that it breaks, or witnesses; then what the last step changed follows, and why it is broken.
        cycle_start: how many of the steps come before those that repeat for ever; None where none do.
    """
    system = System(path.bounds, steady=True)
    yield f"At first: {_summary(path.start)}"
    before = path.start
    owners = ""
    for number, step in enumerate(path.steps, 1):
        if cycle_start == number - 1:
            yield f"From here on for ever, again and again until step {len(path.steps)}:"
        yield f"{number:3}. {headline(step.action)}"
        yield from (f"       {line}" for line in _details(system, before, step))
        now = _owners(step.world)
        if now and now != owners:
            yield f"       clients: {now}"
        owners = now
        if name and number == len(path.steps):
            yield from _last(before, step.world)
        before = step.world
    if cycle_start == len(path.steps):
        yield "From here on for ever: nothing that must happen can."
    if name:
        yield from (f"Why: {sentence}" for sentence in why(name, path))


def _last(before: World, after: World) -> Iterator[str]:
    """What the last step changed, as a table."""
    rows = changes(before, after)
    wide = max((len(change.what) for change in rows), default=0)
    yield "What the last step changed:"
    yield from (f"     {change.what:{wide}}  {change.before} -> {change.after}" for change in rows)


def _summary(world: World) -> str:
    alive = ", ".join(f"server {group.server}" for group in world.groups if group.alive)
    return f"the Monitor has started the Distributor and {alive}" if alive else "the Monitor has started"


# ---------------------------------------------------------------- what happens


def headline(action: Action, say: Callable[[object], str] = describe) -> str:
    """Who does what, in a sentence without its full stop; `say` puts messages and timers into words."""
    match action:
        case ClientConnects():
            return f"{action.who} {action.what.value} (port {action.port})"
        case ClientCloses():
            return f"{action.who} {action.what.value}"
        case MonitorStep():
            return f"the Monitor {_verb(action.what, say)}"
        case DistributorStep() | DistributorCutOff() | EffectDeclined():
            text = f"the Distributor {_verb(action.what, say)}"
            if action.late:
                text += ", which has overtaken the message before it"
            if isinstance(action, DistributorCutOff):
                text += f", and dies after {action.performed} of the effects"
            return text
        case DistributorEnds():
            return f"the Distributor {action.what.value}"
        case ServerStep():
            return f"{action.who} {_verb(action.what, say)}"
        case ServerDeed():
            return f"{action.who}{':' if action.what is Deed.LEAVES_A_CHILD else ''} {action.what.value}"
        case PortDeed():
            parted = ":" if action.what in (Deed.LOSES_A_READER, Deed.LOSES_A_SENDER) else ""
            return f"{action.who}{parted} {action.what.value} (port {action.port})"
        case ConnectionLeaks():
            return f"{action.who} {action.what.value} (client {action.client})"
        case _:
            assert_never(action)


def _verb(event: object, say: Callable[[object], str]) -> str:
    """What a machine does with an event."""
    match event:
        case distributor.Received():
            return f"reads from server {event.server}, port {event.port}: {say(event.message)}"
        case distributor.ConnectionRequest():
            return f"accepts client {event.cookie} on port {event.port}"
        case distributor.DialogEnded():
            return f"sees the dialog with server {event.server}, port {event.port}, end"
        case distributor.ControlEnded():
            return f"sees the control channel of server {event.server} end"
        case distributor.BindRequested():
            return f"reads server {event.server}'s request to bind port {event.port}"
        case distributor.Unsent():
            return f"notices that {describe(event.client)} could not be sent to server {event.server}"
        case distributor.StillServes():
            return f"finds server {event.server} serving, although it has not answered its hand-off in time"
        case distributor.Unfit():
            return f"finds that server {event.server} is not to be kept"
        case distributor.PeerClosed():
            return f"sees that {describe(event.client)}, who waits, has closed" + (
                " after sending" if event.unread else ""
            )
        case distributor.Fired() | monitor.Fired():
            return f"finds a timer run out: {say(event.timer)}"
        case monitor.Reported():
            return f"reads from the Distributor: {say(event.message)}"
        case monitor.ServerExited():
            return f"learns that server {event.server}'s main process has ended"
        case monitor.ServerGone():
            return f"learns that nothing is left of server {event.server}"
        case monitor.DistributorExited():
            return "learns that the Distributor has ended, having read all that it said"
        case server.MessageRead():
            lost = "" if event.intact else ", without the descriptor"
            return f"reads on port {event.port}: {say(event.message)}{lost}"
        case server.Sent():
            return f"knows that this is in the dialog of port {event.reply.port}: {say(event.reply.message)}"
        case server.Interrupted(reply=server.Reply(message=message)):
            return f"finds that a process died which was sending on port {event.port}: {say(message)}"
        case server.Interrupted():
            return f"finds that a process died which may have read something on port {event.port}"
        case server.Listened():
            return f"listens on port {event.port}"
        case server.ListenerClosed():
            return f"closes its listening socket on port {event.port}"
        case server.Disconnected():
            return f"closes {describe(event.client)}, who has been served"
        case _:
            return f"takes {say(event)}"


def _details(system: System, before: World, step: Step) -> Iterator[str]:
    stride = retake(system, before, step.action)
    if stride is None:
        return
    if stride.rejected is not None:
        yield f"declined: {stride.rejected.value}"
    action = step.action
    performed = stride.effects[: action.performed] if isinstance(action, DistributorCutOff) else stride.effects
    for i, effect in enumerate(performed):
        line = _effect(effect)
        if line:
            declined = isinstance(action, EffectDeclined) and i == action.declined
            yield line + (", which the kernel declines" if declined else "")


def _effect(effect: object) -> str:
    """Who sends what to whom; nothing of timers and of what only this process notices."""
    match effect:
        case distributor.Send():
            return f"Distributor -> server {effect.server}, port {effect.port}: {describe(effect.message)}"
        case distributor.SendControl():
            return f"Distributor -> server {effect.server}: {describe(effect.message)}"
        case distributor.SendMonitor():
            return f"Distributor -> Monitor: {describe(effect.message)}"
        case monitor.SendDistributor():
            return f"Monitor -> Distributor: {describe(effect.message)}"
        case server.Deliver():
            return f"the program's accept returns {describe(effect.client)}"
        case distributor.SetTimer() | monitor.SetTimer() | distributor.Watch():
            return ""
        case _:
            return describe(effect)


# ---------------------------------------------------------------- who owns what


def _owners(world: World) -> str:
    """Where each client's connection is held, for the clients that have come."""
    parts = []
    for cookie, guest in enumerate(world.guests):
        if guest.fate is Fate.IN:
            parts.append(f"{cookie}: {' + '.join(held.text for held in holders(world, cookie))}")
        elif guest.fate is not Fate.ABSENT:
            parts.append(f"{cookie}: {guest.fate.value}")
    return "; ".join(parts)
