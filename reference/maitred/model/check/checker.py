"""An exhaustive check of the closed system within bounds: the verdict on every property, with counts and times.

Exhaustive but for the risk that two worlds have one fingerprint (`Result.risk`).
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

from maitred.model.claims.safety import PROPERTIES, Property, judge
from maitred.model.search.checkpoint import Checkpoint
from maitred.model.search.explorer import Enquiry, Explorer, Observer, Path, Progress
from maitred.model.search.fingerprints import collision_risk
from maitred.model.world import Action, Bounds, System, World

__all__ = ["Bounds", "Progress", "Result", "Verdict", "VerdictOn", "check"]


class Verdict(Enum):
    """What the check says of a property."""

    HOLDS = "holds"
    """In every world that can be reached."""
    VIOLATED = "violated"
    WITNESSED = "witnessed"
    """What must sometimes happen did."""
    NOT_REACHED = "not reached"
    """What must sometimes happen never does within the bounds."""
    INCOMPLETE = "incomplete"
    """Neither refuted nor witnessed so far; the exploration was cut short."""
    NOT_APPLICABLE = "not applicable"
    """The bounds leave no occasion for it, or all begins after a recorded run and it did not happen from then on."""


@dataclass(frozen=True, slots=True)
class VerdictOn:
    """The verdict on one property."""

    property: Property
    verdict: Verdict
    path: Path | None = None
    """A shortest counterexample, or a shortest way to the witness."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an exploration found."""

    bounds: Bounds
    verdicts: tuple[VerdictOn, ...]
    states: int
    """Distinct worlds."""
    transitions: int
    depth: int
    """Actions on the longest of all shortest ways."""
    seconds: float
    complete: bool
    """Every world that can be reached was."""
    symmetric: bool = False
    """Worlds are identified up to renaming of servers and clients."""

    @property
    def risk(self) -> float:
        """How many pairs of worlds are expected to have been taken for one: see `maitred.model.search.fingerprints`."""
        return collision_risk(self.states)

    @property
    def ok(self) -> bool:
        """Nothing is violated, and what must sometimes happen does, as far as the exploration went."""
        return not any(v.verdict in (Verdict.VIOLATED, Verdict.NOT_REACHED) for v in self.verdicts)

    @property
    def counterexample(self) -> VerdictOn | None:
        """The violated property with the shortest counterexample."""
        broken = [v for v in self.verdicts if v.verdict is Verdict.VIOLATED and v.path is not None]
        return min(broken, key=lambda v: len(v.path.steps) if v.path else 0, default=None)

    def __getitem__(self, name: str) -> VerdictOn:
        """The verdict on the property of this name."""
        return next(v for v in self.verdicts if v.property.name == name)


def check(
    bounds: Bounds,
    progress: Callable[[Progress], None] | None = None,
    max_states: int | None = None,
    *,
    names: Collection[str] | None = None,
    stop_at_violation: bool = True,
    symmetric: bool = False,
    workers: int | None = 1,
    checkpoint: pathlib.Path | None = None,
    every: float = 60.0,
) -> Result:
    """Explore everything within the bounds, or until a violation, or until so many states are known.

    Args:
        bounds: how large the system is and what may go wrong.
        progress: called some five times a second.
        max_states: stop at about so many; properties then hold `INCOMPLETE`.
        names: the properties that are asked, of `PROPERTIES`; None: all.
        stop_at_violation: whether the exploration ends with the level in which the first violation is found.
        symmetric: identify states up to renaming of servers and clients.
        workers: processes; None: as many as there are CPUs, once that is worth it.  Each imports the machines again.
        checkpoint: a directory; write there how far the exploration is, and go on from there.
        every: seconds between two writes of the checkpoint, at the least.

    Raises:
        CheckpointError: the directory cannot be used, or holds another exploration.
        Collision: two components of states have one digest; the exploration would not be sound.
        WorkerLost: a worker was killed.
    """
    asked = frozenset(PROPERTIES if names is None else names)
    explorer = Explorer(
        partial(enquire, bounds, symmetric, asked),
        workers=workers,
        checkpoint=Checkpoint(checkpoint, bounds, symmetric=symmetric, every=every) if checkpoint else None,
    )
    explorer.run(progress, max_states, _violated if stop_at_violation else None)
    return Result(
        bounds,
        tuple(_verdict(explorer, bounds, p) for p in PROPERTIES.values() if p.name in asked),
        explorer.states,
        explorer.transitions,
        explorer.depth,
        explorer.seconds,
        explorer.complete,
        symmetric,
    )


def enquire(bounds: Bounds, symmetric: bool, names: Collection[str] | None = None) -> Enquiry:
    """The system within the bounds, and the properties of these names asked of it; all of them where there are none."""
    system = System(bounds, judge, symmetric=symmetric, steady=True)
    return Enquiry(system, _Questions(system, frozenset(PROPERTIES if names is None else names)))


def _violated(found: frozenset[str]) -> bool:
    return any(PROPERTIES[name].kind == "always" for name in found)


class _Questions(Observer):
    """Which properties a step or a world refutes or witnesses."""

    def __init__(self, system: System, names: frozenset[str]) -> None:
        self._system: Final = system
        self._names: Final = names
        asked = [p for p in PROPERTIES.values() if p.name in names]
        self._asked: Final = [(p.name, p.world) for p in asked if p.world is not None]
        self._sought: Final = [(p.name, p.witness) for p in asked if p.witness is not None and p.applies(system.bounds)]
        self._unseen = self._sought

    def settle(self, found: Collection[str]) -> None:
        self._unseen = [(name, witness) for name, witness in self._sought if name not in found]

    def step(self, before: World, action: Action, after: World, wrong: tuple[str, ...]) -> Sequence[str]:
        if wrong:
            wrong = tuple(name for name in wrong if name in self._names)
        if not self._unseen:
            return wrong
        return *wrong, *[name for name, witness in self._unseen if witness(before, action, after)]

    def world(self, world: World) -> Sequence[str]:
        broken = [name for name, violations in self._asked if next(violations(world), None) is not None]
        if not self._system.amiss or not self._is_first(world):
            return broken
        return [*broken, *(name for name in self._system.amiss if name in self._names)]

    def _is_first(self, world: World) -> bool:
        return world == self._system.canonical(self._system.initial())


def _verdict(explorer: Explorer, bounds: Bounds, prop: Property) -> VerdictOn:
    if prop.name in explorer.found:
        verdict = Verdict.VIOLATED if prop.kind == "always" else Verdict.WITNESSED
        return VerdictOn(prop, verdict, explorer.path(prop.name))
    if not prop.applies(bounds) or (prop.kind == "sometimes" and bounds.begins):
        return VerdictOn(prop, Verdict.NOT_APPLICABLE)
    if not explorer.complete:
        return VerdictOn(prop, Verdict.INCOMPLETE)
    return VerdictOn(prop, Verdict.HOLDS if prop.kind == "always" else Verdict.NOT_REACHED)
