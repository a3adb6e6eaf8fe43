"""The steps that explorations take of a machine, and which of them a mutated machine takes otherwise.

A property can only refute what differs in some world that can be reached.  So this distinguishes two kinds of mutants
that tests alone kill: those whose edit no exploration comes to, and those whose steps differ in what no property minds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from maitred.core import distributor, monitor, server
from maitred.core.transition import Rejected, Transition
from maitred.model.world import Bounds, Stride, System
from proofs.mutation.core.mutant import Mutant

MACHINES: Final = {"distributor": distributor, "monitor": monitor, "server": server}
Outcome = Transition[Any, Any] | Rejected  # Any: of whichever machine

USUAL: Final = (
    Bounds(servers=1, clients=1, stops=2),
    Bounds(servers=1, clients=3, distributor_crashes=1, waiting_limit=3, warm=True),
    Bounds(servers=1, clients=0, server_crashes=2, stable=True),
    Bounds(servers=2, clients=0, elements=2, element_failures=1, element_returns=1, distributor_crashes=1, warm=True),
    Bounds(servers=1, clients=1, fixed=False, listen_failures=1, repeated_binds=1),
    Bounds(servers=1, clients=2, max_clients=2, audits=1, leaks=2, reorders=1, warm=True),
    Bounds(servers=2, clients=2, descriptor_losses=1, unsent=1, hand_off_timeouts=1, warm=True),
    Bounds(servers=1, clients=2, interruptions=1, listener_closes=1, warm=True),
    Bounds(servers=1, clients=2, hang_ups=1, queue_timeouts=1, accept_failures=1, warm=True),
    Bounds(
        creations=0,
        servers=1,
        dynamic=1,
        clients=2,
        deletions=1,
        distributor_crashes=1,
        begins="a dynamic server serves",
    ),
    Bounds(servers=1, clients=2, stops=1, distributor_crashes=1, begins="a stop has begun"),
)
"""Small systems that together have every fault."""


class Asked(NamedTuple):
    """A machine was asked for a step."""

    machine: str
    state: Any  # of whichever machine
    event: Any  # as above


class _Listening(System):
    """A system that notes what it asks of its machines."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds, steady=True)
        self.asked: set[Asked] = set()

    def _take(self, who: str, state: Any, event: Any) -> Stride:  # Any: of whichever machine
        self.asked.add(Asked(who if who in MACHINES else "server", state, event))
        return super()._take(who, state, event)


def explored(systems: Sequence[Bounds] = USUAL, worlds: int = 600) -> Mapping[Asked, Outcome]:
    """What the machines, as they are at the moment, do in the first so many worlds of each system."""
    asked: set[Asked] = set()
    for bounds in systems:
        system = _Listening(bounds)
        queue = deque([system.canonical(system.initial())])
        known = {system.key(queue[0])}
        while queue:
            for _, after, _ in system.successors(queue.popleft()):
                world = system.canonical(after)
                if (key := system.key(world)) not in known and len(known) < worlds:
                    known.add(key)
                    queue.append(world)
        asked |= system.asked
    return {one: MACHINES[one.machine].step(one.state, one.event) for one in asked}


def differing(mutant: Mutant, steps: Mapping[Asked, Outcome]) -> Iterator[tuple[Asked, Outcome, Outcome | None]]:
    """The steps that the mutant takes otherwise: as they are, and mutated; None where the mutated machine raises."""
    with mutant.mutated():
        for asked, plain in steps.items():
            if asked.machine != mutant.module:
                continue
            mutated: Outcome | None
            try:
                mutated = MACHINES[asked.machine].step(asked.state, asked.event)
            except Exception:  # whatever a mutated machine may raise
                mutated = None
            if mutated != plain:
                yield asked, plain, mutated
