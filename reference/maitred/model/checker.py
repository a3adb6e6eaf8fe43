"""An exhaustive check of the closed system within bounds: the verdict on every property, with counts and times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from maitred.model.explorer import Explorer, Path, Progress
from maitred.model.properties import PROPERTIES, Property, judge
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
    """The bounds leave no occasion for it."""


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
    stop_at_violation: bool = True,
) -> Result:
    """Explore everything within the bounds, or until the first violation, or until so many states are known.

    Args:
        bounds: how large the system is and what may go wrong.
        progress: called some five times a second.
        max_states: stop there; properties then hold `INCOMPLETE`.
        stop_at_violation: whether the first violation ends the exploration.
    """
    system = System(bounds, judge)
    asked = [p for p in PROPERTIES.values() if p.world is not None]
    unseen = {p.name: p for p in PROPERTIES.values() if p.witness is not None and p.applies(bounds)}

    def greet(world: World) -> Iterable[str]:
        return [p.name for p in asked if p.world is not None and not p.world(world)]

    def visit(before: World, action: Action, after: World, wrong: tuple[str, ...], new: bool) -> Iterable[str]:
        names = [*wrong]
        if new:
            names += greet(after)
        if unseen:
            seen = [n for n, p in unseen.items() if p.witness is not None and p.witness(before, action, after)]
            for name in seen:
                del unseen[name]
            names += seen
        return names

    def violated(found: dict[str, tuple[int, int]]) -> bool:
        return any(PROPERTIES[name].kind == "always" for name in found)

    explorer = Explorer(system, visit, greet)
    explorer.run(progress, max_states, violated if stop_at_violation else None)
    verdicts = tuple(_verdict(explorer, bounds, p) for p in PROPERTIES.values())
    return Result(
        bounds, verdicts, explorer.states, explorer.transitions, explorer.depth, explorer.seconds, explorer.complete
    )


def _verdict(explorer: Explorer, bounds: Bounds, prop: Property) -> VerdictOn:
    if prop.name in explorer.found:
        verdict = Verdict.VIOLATED if prop.kind == "always" else Verdict.WITNESSED
        return VerdictOn(prop, verdict, explorer.path(prop.name))
    if not prop.applies(bounds):
        return VerdictOn(prop, Verdict.NOT_APPLICABLE)
    if not explorer.complete:
        return VerdictOn(prop, Verdict.INCOMPLETE)
    return VerdictOn(prop, Verdict.HOLDS if prop.kind == "always" else Verdict.NOT_REACHED)
