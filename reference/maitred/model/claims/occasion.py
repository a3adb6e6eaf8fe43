"""Which bounds leave an occasion for a property: what to say of one that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import combinations, product
from typing import Final

from maitred.model.world import Bounds

MOST: Final = 4
"""A property needs at most so many bounds to change."""
RAISES: Final = 3
"""Each of them is raised by at most so much; by 1 only where `MOST` of them change."""


def needed(applies: Callable[[Bounds], bool], bounds: Bounds) -> dict[str, int | bool] | None:
    """The fewest bounds to change, each as little as will do, so that there is an occasion.

    Returns:
        The new values by the names of the bounds; empty where there is an occasion already; None where none was found.
    """
    if applies(bounds):
        return {}
    names = [field.name for field in fields(bounds) if field.name not in ("without", "begins")]
    for size in range(1, MOST + 1):
        for chosen in combinations(names, size):
            choices = [list(_others(bounds, name, RAISES if size < MOST else 1)) for name in chosen]
            for values in sorted(product(*choices), key=lambda found: sum(map(int, found))):
                found = dict(zip(chosen, values, strict=True))
                if applies(_changed(bounds, found)):
                    return found
    return None


def _others(bounds: Bounds, name: str, raises: int) -> Iterator[int | bool]:
    value = getattr(bounds, name)
    if isinstance(value, bool):
        yield not value
    else:
        yield from range(max(value, 0) + 1, max(value, 0) + 1 + raises)
        if name == "servers" and value > 1:
            yield 1


def _changed(bounds: Bounds, found: dict[str, int | bool]) -> Bounds:
    return replace(bounds, **found)  # type: ignore[arg-type]  # each value is of the kind that it replaces
