"""What comes only if it was asked for: a timer's end, an accept's completion, the report of a hang-up.

The closed system lets these happen whenever the machine's guard allows it, and so would never notice a machine that
forgets to ask.  For safety that errs on the safe side; liveness needs to know.  So whoever follows the system step by
step may keep the set of what is possible by the guards but was *not asked for*: it cannot happen.  For sound machines
the set is empty in every world, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from maitred.core import distributor, monitor
from maitred.core.distributor import DistributorState
from maitred.core.monitor import MonitorState
from maitred.model.claims.fairness import RULES, Fairness, Named, distributor_timer, monitor_timer
from maitred.model.world import Action, DistributorTakes, MonitorStep, Stride, System, World

Request: TypeAlias = (
    "distributor.Timer | monitor.Timer | distributor.Accept | distributor.CountBacklog | distributor.Watch"
)
Event: TypeAlias = "distributor.Event | monitor.Event"
_NOTHING: Final[frozenset[Named]] = frozenset()


class Requested:
    """Follows the steps of one system, and says what cannot happen because nobody has asked for it."""

    def __init__(self, system: System) -> None:
        """For the worlds of this system."""
        self._system: Final = system
        self._possible: dict[int, tuple[object, frozenset[Request]]] = {}
        self._forgotten: dict[tuple[int, object], frozenset[Request]] = {}

    def lacking(self, lack: frozenset[Named], before: World, action: Action, after: World) -> frozenset[Named]:
        """What was possible and not asked for, after the step, where `lack` was before it."""
        step = action if isinstance(action, MonitorStep | DistributorTakes) else None
        fresh: frozenset[Request] = self._fresh(before, step) if step is not None else frozenset()
        if not lack and not fresh:
            return _NOTHING
        possible = self.possible(after.monitor) | self.possible(after.distributor)
        asked = {_name(before, request) for request in self._requests(before, step)}
        new = lack - asked | {_name(before, request) for request in fresh}
        return frozenset(name for name in new & {_name(after, request) for request in possible} if _matters(name))

    def possible(self, state: MonitorState | DistributorState | None) -> frozenset[Request]:
        """What the guards of the state allow to come, and would change something."""
        if state is None:
            return frozenset()
        known = self._possible.get(id(state))
        if known is None:
            known = self._possible[id(state)] = (state, frozenset(self._effective(state)))
        return known[1]

    def _effective(self, state: MonitorState | DistributorState) -> Iterator[Request]:
        if isinstance(state, MonitorState):
            for fired in monitor.enabled(state):
                if self._changes("monitor", state, fired):
                    yield _plain(fired.timer)
            return
        for due in distributor.enabled(state):
            if self._changes("distributor", state, due):
                yield due.timer
        for info in state.ports.values():
            if info.accepting:
                yield distributor.Accept(info.port, wait=state.phase is not distributor.Phase.CLOSING)
            if info.sweeping:
                yield distributor.CountBacklog(info.port)
            yield from (distributor.Watch(client) for client in info.waiting)

    def _changes(self, who: str, state: MonitorState | DistributorState, event: Event) -> bool:
        stride = self._system.stride(who, state, event)
        told_only = all(isinstance(effect, monitor.Report) for effect in stride.effects)
        return stride.rejected is None and not (stride.state is state and told_only)

    # ------------------------------------------------ one step

    def _fresh(self, before: World, action: MonitorStep | DistributorTakes) -> frozenset[Request]:
        """What this step has made possible without asking for it."""
        state = _state(before, action)
        key = (id(state), action.what)
        known = self._forgotten.get(key)
        if known is None:
            self.possible(state)  # keeps the state, and so its id, alive
            stride = self._stride(before, action)
            running = self.possible(state) - _ended(action.what)
            known = self.possible(stride.state) - running - {_request(effect) for effect in stride.effects}
            self._forgotten[key] = known
        return known

    def _requests(self, before: World, action: MonitorStep | DistributorTakes | None) -> Iterable[Request]:
        if action is None:
            return ()
        requests = (_request(effect) for effect in self._stride(before, action).effects)
        return [request for request in requests if request is not None]

    def _stride(self, before: World, action: MonitorStep | DistributorTakes) -> Stride:
        return self._system.stride(action.who, _state(before, action), action.what)


def _matters(name: Named) -> bool:
    """Whether anything rests on it: a hand-off's time-out, say, comes once and is not asked for again."""
    return RULES[name.rule].fairness is not Fairness.NONE


def _state(world: World, action: MonitorStep | DistributorTakes) -> MonitorState | DistributorState:
    if isinstance(action, MonitorStep):
        return world.monitor
    assert world.distributor is not None, "it has acted"
    return world.distributor


def _plain(timer: monitor.Timer) -> monitor.Timer:
    """The timer, however long it runs: one that is set again with another delay is the same."""
    match timer:
        case monitor.RestartServer() | monitor.RestartDistributor() | monitor.DynamicRest():
            return replace(timer, attempt=0)
        case _:
            return timer


def _request(effect: object) -> Request | None:
    """What the effect asks for."""
    match effect:
        case monitor.SetTimer():
            return _plain(effect.timer)
        case distributor.SetTimer():
            return effect.timer
        case distributor.Accept() | distributor.CountBacklog() | distributor.Watch():
            return effect
        case _:
            return None


def _ended(event: object) -> frozenset[Request]:
    """What has come with the event, and will not come again unless it is asked for again."""
    match event:
        case monitor.Fired():
            return frozenset({_plain(event.timer)})
        case distributor.Fired():
            return frozenset({event.timer})
        case distributor.StillServes():
            return frozenset({distributor.HandOffTimeout(event.server)})
        case distributor.ConnectionRequest() | distributor.AcceptFailed() | distributor.BacklogEmpty():
            return frozenset(distributor.Accept(event.port, wait) for wait in (True, False))
        case distributor.BacklogCounted():
            return frozenset({distributor.CountBacklog(event.port)})
        case _:
            return frozenset()


def _name(world: World, request: Request) -> Named:
    """The name of the action in which what was asked for comes."""
    match request:
        case distributor.Accept():
            return Named("the Distributor accepts", f"port {request.port}")
        case distributor.CountBacklog():
            return Named("sweeps come due", f"port {request.port}")
        case distributor.Watch():
            return Named("hang-ups are reported", f"client {request.client.cookie}")
        case (
            distributor.QueueTimeout()
            | distributor.HandOffTimeout()
            | distributor.RestOver()
            | distributor.CreateDelay()
            | distributor.DeleteDelay()
            | distributor.AcceptRetry()
            | distributor.AuditDue()
        ):
            return distributor_timer(world, request)
        case _:
            return monitor_timer(world, request)
