"""A path as a sequence diagram: lifelines, rows, and arrows with the rows in which they are sent and read.

Theory of operation
-------------------
A path records worlds and actions, not messages.  A step's action shows which message it takes from a channel.  The
channel's length after the step shows which it adds.  A message that disappears without being read was lost.  So each
arrow follows one position in a channel from the step that sends to the step that reads, even if the model renumbers in
between.  What reaches its reader in the same step (a connection accepted, a process started or killed, an end noticed)
is an arrow with both ends in one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from maitred.core import distributor, monitor, server
from maitred.core.messages import Acknowledge, HandOff, Restore, Store
from maitred.model.search.explorer import Path, Step
from maitred.model.story.explanation import retake
from maitred.model.story.narrate import headline
from maitred.model.story.text import NOTHING, Change, Held, changes, describe, holders, label
from maitred.model.world import Action, Deed, DistributorCutOff, DistributorTakes, Fate, System, World

KERNEL: Final = "kernel"
MONITOR: Final = "monitor"
DISTRIBUTOR: Final = "distributor"
Lane: TypeAlias = "tuple[str, str, str]"
"""A channel: who sends, who reads, and which of the channels between the two."""

ONE_OF_SEVERAL: Final[Mapping[object, str]] = {
    Deed.LEAVES_A_CHILD: "main process",
    Deed.LOSES_A_READER: "one process",
    Deed.LOSES_A_SENDER: "one process",
}
"""The deeds by which one process of a server dies while others live: which process."""


@dataclass(slots=True)
class Arrow:
    """One message; rows are numbered as the steps are, and 0 is before the first."""

    sender: str
    receiver: str
    text: str
    sent: int
    carries: bool = False
    """It carries a client's connection."""
    read: int | None = None
    lost: int | None = None
    """The row in which it was lost unread; not both this and `read`."""
    late: bool = False
    """It overtook the message before it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step, and the state after it."""

    number: int
    """0: before the first."""
    actor: str
    """The lifeline of the process that takes the step."""
    text: str
    remarks: tuple[str, ...]
    """What no arrow shows: a rejected event, a new phase."""
    alive: dict[str, str]
    """The lifelines that are alive, each with the name of its incarnation."""
    held: tuple[tuple[Held, ...], ...]
    """For each client, who holds its connection."""
    fates: tuple[Fate, ...]
    """For each client."""
    died: tuple[tuple[str, str], ...] = ()
    """The lifelines on which a process dies in the step, with its name; others of the same server may live."""


@dataclass(slots=True)
class Scene:
    """Everything that is drawn for a path."""

    lifelines: list[str]
    rows: list[Row] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    last: list[Change] = field(default_factory=list)
    """What the last step changed."""


def scene(path: Path) -> Scene:
    """Follow every message of the path from its sending to its end."""
    system = System(path.bounds, steady=True)
    made = Scene(_lifelines(path), [_row(0, "", "", (), path.start)])
    under_way: dict[Lane, list[Arrow]] = {}
    _send(made, under_way, path.start, 0, ())
    before = path.start
    for number, step in enumerate(path.steps, 1):
        effects = _performed(system, before, step)
        made.arrows += _at_once(step, number, effects)
        _read(under_way, _source(step.action, before), step.action, number)
        _send(made, under_way, step.world, number, effects)
        altered = changes(before, step.world)
        remarks = (*_declined(system, before, step), *_phases(altered))
        row = _row(number, step.action.who, headline(step.action, label), remarks, step.world)
        made.rows.append(replace(row, died=tuple(_died(made.rows[-1], row, step.action))))
        made.last = altered
        before = step.world
    return made


def _lifelines(path: Path) -> list[str]:
    """All that are ever alive, in drawing order."""
    worlds = [path.start, *(step.world for step in path.steps)]
    servers = sorted({group.server for world in worlds for group in world.groups})
    return [KERNEL, MONITOR, DISTRIBUTOR, *(f"server {number}" for number in servers)]


def _row(number: int, actor: str, text: str, remarks: tuple[str, ...], world: World) -> Row:
    alive = {KERNEL: "kernel"}
    if world.monitor.phase is not monitor.Phase.ENDED:
        alive[MONITOR] = "Monitor"
    if world.distributor is not None:
        alive[DISTRIBUTOR] = f"Distributor {world.distributor.incarnation}"
    for group in world.groups:
        if group.alive:
            alive[f"server {group.server}"] = f"server {group.server}"
    held = tuple(tuple(holders(world, cookie)) for cookie in range(len(world.guests)))
    return Row(number, actor, text, remarks, alive, held, tuple(guest.fate for guest in world.guests))


def _died(old: Row, row: Row, action: Action) -> Iterator[tuple[str, str]]:
    """Who dies between two rows, including one process of a server that lives on."""
    for name, called in old.alive.items():
        if row.alive.get(name) != called:
            yield name, called
    if isinstance(action.what, Deed) and action.what in ONE_OF_SEVERAL and action.who in row.alive:
        yield action.who, ONE_OF_SEVERAL[action.what]


def _phases(altered: list[Change]) -> Iterator[str]:
    """The phases that have changed, except of what has ended."""
    for change in altered:
        if change.phase and change.after != NOTHING:
            was = "" if change.before == NOTHING else f"{change.before} \u2192 "
            yield f"{change.what}: {was}{change.after}"


def _declined(system: System, before: World, step: Step) -> Iterator[str]:
    taken = retake(system, before, step.action)
    if taken is not None and taken.rejected is not None:
        yield f"declined: {taken.rejected.value}"


def _performed(system: System, before: World, step: Step) -> tuple[object, ...]:
    """The effects of the machine's step that were performed."""
    taken = retake(system, before, step.action)
    effects: tuple[object, ...] = taken.effects if taken is not None else ()
    return effects[: step.action.performed] if isinstance(step.action, DistributorCutOff) else effects


# ================================================================ channels


def _channels(world: World) -> dict[Lane, tuple[object, ...]]:
    """The messages in every channel."""
    found: dict[Lane, tuple[object, ...]] = {
        (DISTRIBUTOR, MONITOR, ""): world.to_monitor,
        (MONITOR, DISTRIBUTOR, ""): world.to_distributor,
        (KERNEL, DISTRIBUTOR, ""): world.pending,
    }
    for group in world.groups:
        name = f"server {group.server}"
        found[name, DISTRIBUTOR, "control"] = group.requests
        found[DISTRIBUTOR, name, "control"] = group.replies
        for link in group.links:
            found[name, DISTRIBUTOR, f"port {link.port}"] = link.to_distributor
            found[DISTRIBUTOR, name, f"port {link.port}"] = link.to_server
    return found


def _source(action: Action, before: World) -> Lane | None:
    """The channel from which the action takes a message; the kernel's answers to a Distributor are `World.pending`."""
    what = action.what
    match what:
        case distributor.Received():
            return f"server {what.server}", DISTRIBUTOR, f"port {what.port}"
        case distributor.BindRequested():
            return f"server {what.server}", DISTRIBUTOR, "control"
        case monitor.Reported():
            return DISTRIBUTOR, MONITOR, ""
        case server.MessageRead():
            return DISTRIBUTOR, action.who, f"port {what.port}"
        case Deed.READS_REPLY:
            return DISTRIBUTOR, action.who, "control"
        case _ if what in before.to_distributor:
            return MONITOR, DISTRIBUTOR, ""
        case _ if what in before.pending:
            return KERNEL, DISTRIBUTOR, ""
        case _:
            return None


def _read(under_way: dict[Lane, list[Arrow]], source: Lane | None, action: Action, number: int) -> None:
    """Take the message that the action reads off its channel."""
    if source is not None and under_way.get(source):
        late = isinstance(action, DistributorTakes) and action.late
        arrow = under_way[source].pop(1 if late else 0)
        arrow.read, arrow.late = number, late


def _send(
    made: Scene, under_way: dict[Lane, list[Arrow]], world: World, number: int, effects: tuple[object, ...]
) -> None:
    """Add the new messages of each channel, and mark those that disappeared as lost."""
    channels = _channels(world)
    sent = [(lane, message) for effect in effects for lane, message in _sent(effect)]
    for lane in [*channels, *(lane for lane in under_way if lane not in channels)]:
        lying, known = channels.get(lane, ()), under_way.setdefault(lane, [])
        new = lying[len(known) :]
        for arrow in known[len(lying) :]:
            arrow.lost = number
        del known[len(lying) :]
        for message in new:
            arrow = _arrow(lane, message, number)
            known.append(arrow)
            made.arrows.append(arrow)
        for message in [message for to, message in sent if to == lane][len(new) :]:
            arrow = _arrow(lane, message, number)
            arrow.lost = number
            made.arrows.append(arrow)


def _sent(effect: object) -> Iterator[tuple[Lane, object]]:
    """The channel and message of an effect whose message may be lost."""
    if isinstance(effect, distributor.Send):
        yield (DISTRIBUTOR, f"server {effect.server}", f"port {effect.port}"), effect.message
    elif isinstance(effect, distributor.SendControl) and not isinstance(effect.message, Acknowledge):
        yield (DISTRIBUTOR, f"server {effect.server}", "control"), effect.message


def _arrow(lane: Lane, message: object, number: int) -> Arrow:
    return Arrow(lane[0], lane[1], label(message), number, carries=isinstance(message, (HandOff, Store, Restore)))


# ================================================================ what reaches its reader at once


def _at_once(step: Step, number: int, effects: tuple[object, ...]) -> Iterator[Arrow]:
    """The arrows that start and end in this step."""
    for sender, receiver, text in (*_causes(step.action), *(each for effect in effects for each in _results(effect))):
        yield Arrow(sender, receiver, text, number, read=number)


def _causes(action: Action) -> Iterator[tuple[str, str, str]]:
    """The arrow of the action's event, if the event is not a message."""
    what = action.what
    match what:
        case distributor.ConnectionRequest():
            yield KERNEL, DISTRIBUTOR, f"client {what.cookie}"
        case distributor.AcceptFailed():
            yield KERNEL, DISTRIBUTOR, "accept failed"
        case distributor.BacklogEmpty():
            yield KERNEL, DISTRIBUTOR, "backlog empty"
        case distributor.PeerClosed():
            yield KERNEL, DISTRIBUTOR, f"{describe(what.client)} closed"
        case distributor.DialogEnded():
            yield f"server {what.server}", DISTRIBUTOR, "end of dialog"
        case distributor.ControlEnded():
            yield f"server {what.server}", DISTRIBUTOR, "end of control"
        case monitor.ServerExited():
            yield f"server {what.server}", MONITOR, "main process ended"
        case monitor.ServerGone():
            yield f"server {what.server}", MONITOR, "all processes ended"
        case monitor.DistributorExited():
            yield DISTRIBUTOR, MONITOR, "ended"
        case Deed.ARRIVES:
            yield action.who, KERNEL, "connects"
        case Deed.HANGS_UP | Deed.HALF_CLOSES:
            yield action.who, KERNEL, "closes its side"
        case _:
            return


def _results(effect: object) -> Iterator[tuple[str, str, str]]:
    """The arrow of an effect that acts at once on another process."""
    match effect:
        case monitor.StartServer():
            yield MONITOR, f"server {effect.server}", "starts"
        case monitor.StartDistributor():
            yield MONITOR, DISTRIBUTOR, "starts"
        case monitor.Terminate():
            yield MONITOR, f"server {effect.server}", "asks to end"
        case monitor.Kill():
            yield MONITOR, f"server {effect.server}", "kills"
        case monitor.KillDistributor():
            yield MONITOR, DISTRIBUTOR, "kills"
        case distributor.SendControl(message=Acknowledge()):
            yield DISTRIBUTOR, f"server {effect.server}", "Acknowledge"
        case _:
            return
