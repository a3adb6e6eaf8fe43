"""What must hold of every step of the Monitor: who is asked to end, killed, counted and let go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from maitred.core import monitor
from maitred.core.messages import Client, Drained, DropListeners, ServerId, ServerReady, Unresponsive
from maitred.core.monitor import MonitorState, PlacePhase
from maitred.model.claims.property import always_of_steps
from maitred.model.story.text import describe
from maitred.model.world import Stride


@always_of_steps(
    "monitor",
    witnesses=("an_idle_dynamic_server_is_let_go", "a_graceful_stop_completes"),
    occasion=lambda b: b.stops != 0 or b.retirements != 0 or (b.dynamic > 0 and b.deletions != 0),
)
def only_drained_servers_are_asked_to_end(before: MonitorState, event: object, stride: Stride) -> Iterator[str]:
    """A server is asked to end only when its Distributor has said that it is drained, or when the grace has ended, the
    stop's or its own; and whoever is stopping from then on has been asked.
    """
    asked = [(effect.class_id, effect.server) for effect in stride.effects if isinstance(effect, monitor.Terminate)]
    stopping = _stopping(stride.state) - _stopping(before)
    for class_id, number in sorted({*asked} | stopping):
        if (class_id, number) not in asked:
            yield f"server {number} is marked as stopping, and is not asked to end"
            continue
        if not _may_be_asked_to_end(before, event, class_id, number):
            yield (
                f"server {number} is asked to end on {describe(event)}, which is neither its Distributor's report that"
                " it is drained nor the end of the grace"
            )
        if (class_id, number) not in stopping:
            yield f"server {number} is asked to end, and is not marked as stopping in this step"
        if asked.count((class_id, number)) > 1:
            yield f"server {number} is asked to end {asked.count((class_id, number))} times"


def _may_be_asked_to_end(before: MonitorState, event: object, class_id: int, number: ServerId) -> bool:
    match event:
        case monitor.Fired(timer=monitor.DrainOver(class_id=other, server=leaving)):
            cls = before.classes[class_id]
            place = cls.places[cls.living[number]]
            return (other, leaving) == (class_id, number) and place.retirement is not monitor.Retirement.NONE
        case monitor.Fired(timer=monitor.GraceOver()):
            return True
        case monitor.Reported(class_id=other, message=Drained(server=drained)):
            return (other, drained) == (class_id, number)
        case _:
            return False


def _stopping(state: MonitorState) -> set[tuple[int, ServerId]]:
    """The servers that are to end by themselves, each with its class."""
    phase = PlacePhase.STOPPING
    return {(i, p.server) for i, cls in state.classes.items() for p in cls.places.values() if p.phase is phase}


@always_of_steps("monitor", witnesses=("a_dead_server_is_started_again", "the_distributor_restarts_elsewhere"))
def processes_are_killed_only_for_a_reason(before: MonitorState, event: object, stride: Stride) -> Iterator[str]:
    """The Monitor kills a server whose main process has died, which does not answer, which does not end as it was asked
    to or whose processing element has failed, a Distributor only in the last case, and all once everything is to end;
    but the end of the grace kills Distributors only, and nobody is killed who is being killed.
    """
    if stride.rejected is not None:
        return
    ending = stride.state.phase is monitor.Phase.ENDING
    graceful = isinstance(event, monitor.Fired) and isinstance(event.timer, monitor.GraceOver)
    for effect in stride.effects:
        if isinstance(effect, monitor.Kill):
            if _is_being_killed(before, effect):
                yield f"the Monitor kills server {effect.server} on {describe(event)}, and has killed it before"
            elif graceful if ending else not _has_reason(before, event, effect):
                yield f"the Monitor kills server {effect.server} on {describe(event)}, which gives no reason to"
        elif isinstance(effect, monitor.KillDistributor) and not ending and not _has_reason(before, event, effect):
            yield f"the Monitor kills the Distributor on {describe(event)}, which gives no reason to"


def _is_being_killed(before: MonitorState, effect: monitor.Kill) -> bool:
    cls = before.classes[effect.class_id]
    place = cls.living.get(effect.server, None)
    return place is not None and cls.places[place].phase is monitor.PlacePhase.KILLING


def _has_reason(before: MonitorState, event: object, effect: monitor.Kill | monitor.KillDistributor) -> bool:
    cls = before.classes[effect.class_id]
    if isinstance(effect, monitor.KillDistributor):
        return isinstance(event, monitor.ElementFailed) and cls.distributor.element == event.element
    place = cls.living.get(effect.server, None)
    match event:
        case monitor.ElementFailed():
            return place is not None and cls.places[place].element == event.element
        case monitor.ServerExited():
            return event.server == effect.server
        case monitor.Reported(message=Unresponsive(number)):
            return number == effect.server
        case monitor.Fired(timer=monitor.KillDelay(server=number)):
            return number == effect.server
        case monitor.Fired(timer=monitor.StartWarning(server=number)):
            return number == effect.server and _comes_up_for_another(cls, place)
        case _:
            return False


def _comes_up_for_another(cls: monitor.ClassState, place: int | None) -> bool:
    return cls.replacement is not None and cls.replacement.surge == place


@always_of_steps("monitor", witnesses=("a_server_is_replaced",), occasion=lambda b: b.replacements != 0)
def a_server_is_given_up_only_for_one_that_is_ready(
    before: MonitorState, event: object, stride: Stride
) -> Iterator[str]:
    """A server is to leave only where the operator has named it or wants fewer or all at once, or in the very step in
    which its successor, of the same kind, has become ready.
    """
    if isinstance(event, (monitor.Retire, monitor.Scale)) or (isinstance(event, monitor.Replace) and event.at_once):
        return
    for class_id, old in before.classes.items():
        new = stride.state.classes[class_id]
        for number, place in old.places.items():
            now = new.places.get(number, None)
            stays = now is not None and now.server == place.server
            if place.retirement is not monitor.Retirement.NONE or not place.active:
                continue
            if stays and now is not None and now.retirement is not monitor.Retirement.NONE:
                came = [
                    p.dynamic
                    for p in new.places.values()
                    if p.phase is PlacePhase.READY
                    and old.places[p.place].phase is PlacePhase.STARTING
                    and _comes_up_for_another(old, p.place)
                ]
                if came != [place.dynamic]:
                    yield f"server {place.server} is to leave on {describe(event)}, which brings no successor"


@always_of_steps("monitor", witnesses=("a_dead_server_is_started_again", "an_unresponsive_server_is_killed"))
def deaths_are_counted(before: MonitorState, event: object, stride: Stride) -> Iterator[str]:
    """The Monitor counts each death that nobody asked for once, those before a server was ready apart, and forgets them
    when the server is ready or has lived for a while; and a restart's delay is that of the deaths counted.
    """
    if stride.rejected is not None:
        return
    for class_id, old in before.classes.items():
        new = stride.state.classes[class_id]
        counts = [
            ("the Distributor", new.distributor.deaths, _distributor_deaths(class_id, old, event)),
            ("the line of dynamic servers", new.dynamic_deaths, _dynamic_deaths(class_id, old, event)),
        ]
        for number, place in old.places.items():
            now = new.places.get(number, None)
            given_up = not place.stays or (place.dynamic and now is not None and now.server != place.server)
            if now is not None and not given_up:
                deaths, unready = _server_deaths(class_id, place, event)
                counts.append((f"place {number}", now.deaths, deaths))
                counts.append((f"place {number}, before it was ready", now.unready_deaths, unready))
        for what, counted_as, true in counts:
            if counted_as != true:
                yield f"{what} has {counted_as} deaths in a row, and should have {true}"
        for effect in stride.effects:
            if isinstance(effect, monitor.SetTimer) and not isinstance(event, monitor.ElementRestored):
                yield from _wrong_attempt(class_id, new, effect.timer)


def _distributor_deaths(class_id: int, old: monitor.ClassState, event: object) -> int:
    match event:
        case monitor.DistributorExited(class_id=other) if other == class_id:
            return old.distributor.deaths + (old.distributor.phase is not monitor.DistributorPhase.DONE)
        case monitor.Fired(timer=monitor.DistributorStable(class_id=other)) if other == class_id:
            return 0
        case _:
            return old.distributor.deaths


def _dynamic_deaths(class_id: int, old: monitor.ClassState, event: object) -> int:
    """How many dynamic servers in a row should have died before they were ready."""
    match event:
        case monitor.ServerGone(class_id=other, server=number) if other == class_id and number in old.living:
            place = old.places[old.living[number]]
            counts = place.dynamic and not _comes_up_for_another(old, place.place)
            return old.dynamic_deaths + bool(counts and place.unready_deaths)
        case monitor.Reported(class_id=other, message=ServerReady(server=number)) if other == class_id:
            place = old.places[old.living[number]] if number in old.living else monitor.Place(0, dynamic=False)
            return 0 if place.dynamic and place.phase is monitor.PlacePhase.STARTING else old.dynamic_deaths
        case _:
            return old.dynamic_deaths


def _server_deaths(class_id: int, place: monitor.Place, event: object) -> tuple[int, int]:
    """How many deaths in a row the place should have after the event, and how many before it was ready."""
    deaths, unready = place.deaths, place.unready_deaths
    starting = place.phase is monitor.PlacePhase.STARTING
    asked = place.phase in (monitor.PlacePhase.STOPPING, monitor.PlacePhase.KILLING)
    match event:
        case monitor.ServerExited(class_id=other, server=number) if (other, number) == (class_id, place.server):
            return deaths + (not asked), unready + starting
        case monitor.Reported(class_id=other, message=Unresponsive(number)) if (other, number) == (
            class_id,
            place.server,
        ):
            return deaths + (place.phase is not monitor.PlacePhase.KILLING), unready
        case monitor.Reported(class_id=other, message=ServerReady(server=number)) if starting:
            return deaths, 0 if (other, number) == (class_id, place.server) else unready
        case monitor.Fired(timer=monitor.ServerStable(class_id=other, server=number)):
            return 0 if (other, number) == (class_id, place.server) else deaths, unready
        case _:
            return deaths, unready


def _wrong_attempt(class_id: int, new: monitor.ClassState, timer: monitor.Timer) -> Iterator[str]:
    match timer:
        case monitor.RestartServer(class_id=other, place=number, attempt=attempt) if other == class_id:
            true = new.places[number].deaths
        case monitor.RestartDistributor(class_id=other, attempt=attempt) if other == class_id:
            true = new.distributor.deaths
        case monitor.DynamicRest(class_id=other, attempt=attempt) if other == class_id:
            true = new.dynamic_deaths
        case _:
            return
    if attempt != max(true - 1, 0):
        yield f"{type(timer).__name__} is set as after {attempt + 1} deaths in a row, and there are {true}"


@always_of_steps("monitor", witnesses=("a_waiter_is_seated", "a_dead_server_is_started_again"))
def what_is_no_longer_kept_is_dropped(before: MonitorState, event: object, stride: Stride) -> Iterator[str]:
    """The Monitor closes the duplicates that it keeps for a client, server or port when it strikes it off, once; a port
    when the Distributor asks for it.
    """
    let_go = None
    if isinstance(event, monitor.Reported) and isinstance(event.message, DropListeners) and stride.rejected is None:
        let_go = event.class_id, event.message.port
    for class_id, old in before.classes.items():
        new = stride.state.classes[class_id]
        drops = [effect for effect in stride.effects if isinstance(effect, _DROPS) and effect.class_id == class_id]
        closed: list[Client | ServerId] = [
            e.client for e in drops if isinstance(e, (monitor.DropDuplicate, monitor.ShutDownStored))
        ]
        closed += [e.server for e in drops if isinstance(e, monitor.DropServer)]
        struck: set[Client | ServerId] = {client for client in old.store if client not in new.store}
        struck |= {number for number in old.living if number not in new.living}
        for one in sorted({*closed} | struck, key=repr):
            what = describe(one) if isinstance(one, Client) else f"server {one}"
            if one not in closed:
                yield f"the Monitor strikes {what} off, and leaves the duplicates open that it keeps for it"
            elif one not in struck:
                yield f"the Monitor closes the duplicates that it keeps for {what}, which it has not struck off"
            elif closed.count(one) > 1:
                times = closed.count(one)
                yield f"the Monitor strikes {what} off, and closes the duplicates that it keeps for it {times} times"
        ports = {port for port, _ in old.listeners} - {port for port, _ in new.listeners}
        for port in sorted(ports - {e.port for e in drops if isinstance(e, monitor.DropListener)}):
            yield f"the Monitor strikes port {port} off, and leaves the duplicates open that it keeps for it"
        if let_go is not None and let_go[0] == class_id and let_go[1] in dict(new.listeners):
            yield f"the Monitor is asked to let the sockets of port {let_go[1]} go, and still has the port"


_DROPS: Final = (monitor.DropDuplicate, monitor.ShutDownStored, monitor.DropServer, monitor.DropListener)
