"""What a property is, with everything that belongs to one written beside it: sentence, witnesses, occasion, violations.

Theory of operation
-------------------
A property that must *always* hold is a generator of its violations: sentences that name who and what breaks it.  It
holds where none comes.  Whoever asks only whether it holds takes the first (`holds`), so a generator formats no text
before it has found a violation.  A *sometimes* property is a predicate of one step of the system, called a witness: one
occurrence shows that what the others speak of does happen, so that they do not hold vacuously.

A decorator registers each in `PROPERTIES`; the function's name and docstring are those of the property.  Violations of
an *always* property are looked for in every world that is reached, in every step of a machine, or in every state of one
(the invariants of the core).

A violation is a sentence without its capital and full stop.  Where the property is one of the servers, or of several
machines, it lacks its subject as well, whoever took the step: whoever shows it puts the name in front (`subject`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from maitred.model.world import Action, Bounds, World

if TYPE_CHECKING:
    from maitred.model.search.explorer import Path

Machine: TypeAlias = Literal["distributor", "monitor", "server"]
OfWorld: TypeAlias = Callable[[World], Iterator[str]]
OfStep: TypeAlias = Callable[[Any, Any, Any], Iterator[str]]  # Any: the state, event and stride of whichever machine
OfState: TypeAlias = Callable[[Any], Iterator[str]]  # Any: the state of whichever machine
Witness: TypeAlias = Callable[[World, Action, World], bool]
Occasion: TypeAlias = Callable[[Bounds], bool]
F = TypeVar("F", bound=Callable[..., Any])  # Any: whatever is decorated

MACHINES: Final[tuple[Machine, ...]] = ("distributor", "monitor", "server")


@dataclass(frozen=True, slots=True)
class Property:
    """A statement about the closed system."""

    name: str
    kind: Literal["always", "sometimes"]
    text: str
    """One sentence, in the words of the requirements."""
    applies: Occasion
    """Whether the bounds leave an occasion for it: without one it would hold vacuously."""
    witnesses: tuple[str, ...] = ()
    """Always: the *sometimes* properties that show that what it speaks of occurs."""
    machines: tuple[Machine, ...] = ()
    """Always, of steps and states: of which machines."""
    world: OfWorld | None = None
    """Always: the violations in a world."""
    step: OfStep | None = None
    """Always: the violations by a machine's step: the state before, the event, and the `Stride`."""
    state: OfState | None = None
    """Always: the violations in a machine's state; `System` asks this of every state that a step leads to."""
    history: Callable[[Path], Iterator[str]] | None = None
    """Always, of worlds: what else the path to a violation shows."""
    witness: Witness | None = None
    """Sometimes: whether this step of the system is one: before, the action, after."""

    @property
    def subject(self) -> bool:
        """Whether its sentences about steps and states say whom they are about."""
        return self.machines in (("distributor",), ("monitor",))

    def __reduce__(self) -> tuple[Callable[[str], Property], tuple[str]]:
        """Travel between processes by name: the functions cannot be pickled, and are the same everywhere."""
        return named, (self.name,)


PROPERTIES: dict[str, Property] = {}
"""All properties, by name; `always` first.  `maitred.model.claims.safety` fills it."""


def named(name: str) -> Property:
    """The property of this name."""
    return PROPERTIES[name]


def holds(violations: Iterator[str]) -> bool:
    """Whether no violation comes."""
    return next(violations, None) is None


def _text(function: Callable[..., Any]) -> str:  # Any: of any of the kinds
    return " ".join((function.__doc__ or "").split())


def _everywhere(bounds: Bounds) -> bool:
    return True


def always(
    *witnesses: str, occasion: Occasion = _everywhere, history: Callable[[Path], Iterator[str]] | None = None
) -> Callable[[OfWorld], OfWorld]:
    """Register the violations of a property of every world."""

    def register(world: OfWorld) -> OfWorld:
        name = world.__name__
        PROPERTIES[name] = Property(
            name, "always", _text(world), occasion, witnesses=witnesses, world=world, history=history
        )
        return world

    return register


def always_of_steps(
    *machines: Machine, witnesses: tuple[str, ...], occasion: Occasion = _everywhere
) -> Callable[[F], F]:
    """Register the violations of a property of every step of these machines."""

    def register(step: F) -> F:
        name = step.__name__
        PROPERTIES[name] = Property(
            name, "always", _text(step), occasion, witnesses=witnesses, machines=machines, step=step
        )
        return step

    return register


def and_of_every_world(name: str) -> Callable[[OfWorld], OfWorld]:
    """Register the violations in a world of a property that is registered for steps already."""

    def register(world: OfWorld) -> OfWorld:
        PROPERTIES[name] = replace(PROPERTIES[name], world=world)
        return world

    return register


def always_of_states(machine: Machine, state: OfState, *witnesses: str, occasion: Occasion = _everywhere) -> None:
    """Register an invariant of the core, which knows nothing of witnesses and bounds."""
    name = state.__name__
    PROPERTIES[name] = Property(
        name, "always", _text(state), occasion, witnesses=witnesses, machines=(machine,), state=state
    )


def sometimes(occasion: Occasion) -> Callable[[Witness], Witness]:
    """Register a witness, which can occur within the bounds of which `occasion` is true."""

    def register(witness: Witness) -> Witness:
        name = witness.__name__
        PROPERTIES[name] = Property(name, "sometimes", _text(witness), occasion, witness=witness)
        return witness

    return register
