"""Finds and records the runs after which explorations begin: ``python -m spec.record`` writes `runs.toml`.

`GOALS` says of each run within which bounds it happens and what is so at its end; the run is a shortest one.  What is
recorded is played again, not searched for, whenever an exploration begins there (`maitred.model.world.recorded_runs`):
so a run that the machines no longer take is noticed, and this is how to record it again, once it is understood why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from maitred.core.distributor import Phase
from maitred.model.search.explorer import Enquiry, Explorer, Observer
from maitred.model.world import CLASS, Bounds, Life, System, World
from maitred.model.world.recorded_runs import recorded

PAGE: Final = Path(__file__).with_name("runs.toml")
HEAD: Final = "# How a system comes to a world in which an exploration begins. Written by `python -m spec.record`.\n"
MOST: Final = 200_000
"""Worlds after which the search for a goal is given up."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a run leads to."""

    why: str
    """A sentence: what is so at its end."""
    within: Bounds
    reached: Callable[[World], bool]


def _quiet(world: World) -> bool:
    """Nothing is on its way."""
    links = [link for group in world.groups for link in group.links]
    on_the_way = (*world.to_monitor, *world.to_distributor, *world.pending)
    return not on_the_way and not any(link.to_server or link.to_distributor for link in links)


def _rests(world: World) -> bool:
    state, cls = world.distributor, world.monitor.classes[CLASS]
    served = any(group.held for group in world.groups)
    return cls.dynamic_resting and served and state is not None and state.waiting == 1 and len(state.servers) == 1


def _closes_behind_a_closed_listener(world: World) -> bool:
    kept = [used for place in world.monitor.classes[CLASS].places.values() for used in place.dialogs.values()]
    return kept == [False] and _closes_with_one_served(world)


def _two_wait_for_a_successor(world: World) -> bool:
    return world.life is Life.ABSENT and len(world.monitor.classes[CLASS].store) == 2


def _closes_with_one_served(world: World) -> bool:
    state = world.distributor
    return state is not None and state.phase is Phase.CLOSING and any(group.held for group in world.groups)


GOALS: Final[Mapping[str, Goal]] = {
    "a dynamic server has died before it was ready": Goal(
        "One client is served, one waits, and no dynamic server may be started for a while.",
        Bounds(servers=1, dynamic=1, clients=2, creations=1, server_crashes=1, warm=True),
        _rests,
    ),
    "a stop finds a closed listener": Goal(
        "The program has closed its listening socket, the Monitor has heard so, a client is served, and a stop begins.",
        Bounds(servers=1, clients=1, listener_closes=1, stops=1, warm=True),
        _closes_behind_a_closed_listener,
    ),
    "a dynamic server serves": Goal(
        "A static and a dynamic server each serve a client.",
        Bounds(servers=1, dynamic=1, clients=2, creations=1, warm=True),
        lambda world: sum(bool(group.held) for group in world.groups) == 2,
    ),
    "two wait for a second Distributor": Goal(
        "A Distributor has died while one client was served and two waited, and its successor is still to be started.",
        Bounds(servers=1, clients=4, distributor_crashes=1, warm=True),
        _two_wait_for_a_successor,
    ),
    "a stop has begun": Goal(
        "The Distributor closes, and a client is still served.",
        Bounds(servers=1, clients=1, stops=1, warm=True),
        _closes_with_one_served,
    ),
}
"""By the name of the run."""


def record(name: str, goal: Goal) -> str:
    """A shortest run to where the goal is reached and nothing is on its way, as an entry of the file.

    Raises:
        RuntimeError: it is not reached.
    """

    class Reaching(Observer):
        def world(self, world: World) -> tuple[str, ...]:
            return (name,) if _quiet(world) and goal.reached(world) else ()

    explorer = Explorer(lambda: Enquiry(System(goal.within, steady=True), Reaching()))
    explorer.run(max_states=MOST, stop=lambda found: name in found)
    if name not in explorer.found:
        raise RuntimeError(f"{name}: not reached within its bounds")
    steps = explorer.path(name).steps
    return recorded(name, goal.why, goal.within, [step.action for step in steps], steps[-1].world.budget)


def page() -> str:
    """The whole file."""
    return "\n".join([HEAD, *(record(name, goal) for name, goal in GOALS.items())])


def main() -> int:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
