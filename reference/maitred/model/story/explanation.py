"""Why a property is broken at the end of a path: its violations there, as sentences that name who and what breaks it.

Violations are looked for where the explorer has found them: in the last world, in the step that a machine took last and
in the state that this left, and in the steps that it brought about at once.  `retake` takes a machine's step once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from maitred.core import distributor, monitor, server
from maitred.core.distributor import DistributorState
from maitred.core.monitor import MonitorState
from maitred.core.server import EndpointState
from maitred.core.transition import Rejected
from maitred.model.claims.property import PROPERTIES, Property
from maitred.model.claims.safety import judge
from maitred.model.search.explorer import Path
from maitred.model.world import (
    Action,
    DistributorCutOff,
    DistributorStep,
    EffectDeclined,
    MonitorStep,
    ServerStep,
    Stride,
    System,
    World,
)

MachineState: TypeAlias = DistributorState | MonitorState | EndpointState
_MACHINES: Final[Mapping[str, Any]] = {  # Any: modules, each with a `step` of its own types
    "distributor": distributor,
    "monitor": monitor,
    "server": server,
}


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a machine."""

    subject: str
    """Whose: ``the Distributor``, ``the Monitor`` or ``server 1``."""
    machine: str
    before: MachineState
    event: Any  # Any: of whichever machine
    stride: Stride
    state: Any  # Any: of whichever machine
    """The state after, as the machine left it: before the model renumbers anything."""


def why(name: str, path: Path) -> list[str]:
    """Why the property does not hold at the end of the path, in sentences that name who and what breaks it.

    Empty where the property is none of those that must always hold, or where the path does not break it.
    """
    prop = PROPERTIES.get(name)
    if prop is None or prop.kind != "always":
        return []
    found = [*_in_world(prop, path), *(text for step in _last_steps(path) for text in _in_step(prop, step))]
    if not found and not path.steps:
        found = list(_before_the_first_world(name, path))
    return [f"{text[:1].upper()}{text[1:]}." for text in found]


def retake(system: System, before: World, action: Action) -> Stride | None:
    """The machine's step behind the action, taken once more; None where no machine takes one."""
    state = state_behind(before, action)
    return None if state is None else system.stride(_machine(action), state, action.what)


def state_behind(before: World, action: Action) -> MachineState | None:
    """The state of the machine that takes the action's step; None where no machine does."""
    match action:
        case MonitorStep():
            return before.monitor
        case DistributorStep() | DistributorCutOff() | EffectDeclined():
            return before.distributor
        case ServerStep():
            group = before.group(action.server)
            return group.endpoint if group is not None else None
        case _:
            return None


def _machine(action: Action) -> str:
    return action.who if action.who in _MACHINES else "server"


def _in_world(prop: Property, path: Path) -> Iterator[str]:
    if prop.world is not None:
        said = list(prop.world(path.steps[-1].world if path.steps else path.start))
        yield from said
        if said and prop.history is not None:
            yield from prop.history(path)


def _in_step(prop: Property, step: _Step) -> Iterator[str]:
    """The violations by the step, or in the state that it has left."""
    if step.machine not in prop.machines:
        return
    subject = "" if prop.subject else f"{step.subject} "
    if prop.step is not None:
        yield from (f"{subject}{text}" for text in prop.step(step.before, step.event, step.stride))
    if prop.state is not None and step.stride.rejected is None:
        yield from (f"{subject}{text}" for text in prop.state(step.state))


def _last_steps(path: Path) -> Iterator[_Step]:
    """The last step of the path; what a server does in the same action, where its replies are sent at once; and what
    the endpoints do that read its acknowledgements at once (`System.acknowledged`).
    """
    if not path.steps:
        return
    before = path.steps[-2].world if len(path.steps) > 1 else path.start
    action = path.steps[-1].action
    state = state_behind(before, action)
    if state is None:
        return
    system = System(path.bounds, judge, steady=True)
    step = _taken(system, action.who, _machine(action), state, action.what)
    yield step
    if step.machine == "distributor":
        for group, message, _ in system.acknowledged(before, step.stride):
            subject = f"server {group.server}"
            yield _taken(system, subject, "server", group.endpoint, server.Acknowledged(message))
    while step.machine == "server" and not system.splits and step.stride.rejected is None and step.state.outbox:
        step = _taken(system, action.who, "server", step.stride.state, server.Sent(step.state.outbox[0]))
        yield step


def _taken(system: System, who: str, machine: str, state: MachineState, event: Any) -> _Step:  # Any: of any machine
    stride, result = system.stride(machine, state, event), _MACHINES[machine].step(state, event)
    after = state if isinstance(result, Rejected) else result.state
    return _Step(who if machine == "server" else f"the {who.capitalize()}", machine, state, event, stride, after)


def _before_the_first_world(name: str, path: Path) -> Iterator[str]:
    system = System(path.bounds, judge)
    system.initial()
    if name in system.amiss:
        yield "a step that leads to the first world breaks it: the Monitor's start" + (
            ", or another by which the system comes up, which is shown where the system does not begin warm"
            if path.bounds.warm
            else ""
        )
