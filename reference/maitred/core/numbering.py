"""Numbers that mean nothing but their order, renumbered: what keeps a space of states finite.

A machine that names things by a counter only ever asks which of two numbers is the lesser, and whether they are equal,
and takes the next.  So numbers may be moved closer together, *with* the counter and in their order.  Nothing is put
right by it: a counter that equals a number in use, or has fallen behind some, stays so.
"""

from __future__ import annotations

from collections.abc import Collection


def closed_up(numbers: Collection[int], counter: int | None, first: int = 0) -> dict[int, int]:
    """A new number for each of the numbers and for the counter, from `first`, in their order.

    What is below the counter closes up, and the counter follows.  What is not keeps its distance from the counter, for
    the counter will come up with it after so many steps.  Without a counter (nothing will be counted on) all closes up.
    """
    if counter is None:
        return {old: new for new, old in enumerate(sorted(set(numbers)), first)}
    renamed = {old: new for new, old in enumerate(sorted({n for n in numbers if n < counter}), first)}
    following = first + len(renamed)
    renamed.update((n, following + n - counter) for n in numbers if n >= counter)
    renamed[counter] = following
    return renamed


def spaced(numbers: Collection[int], counter: int | None, steps: int) -> dict[int, int]:
    """A new number for each of the numbers, the counter and 0, which stays 0: in their order, with their distances.

    For numbers whose counter is to rise by so many `steps` of 1, and may be set back before: to 0, or to the successor
    of any of them.  Distances that it cannot go then are as one: above ``steps + 2`` between two numbers, and above
    ``steps + 1`` on the way to the counter, which is a number only after a step.
    """
    renamed, old, new = {0: 0}, 0, 0
    for number in sorted(n for n in {*numbers, *(() if counter is None else (counter,))} if n > 0):
        new += min(number - old, steps + 2 if number in numbers else steps + 1)
        old = number
        renamed[number] = new
    renamed.update((n, n) for n in numbers if n < 0)
    return renamed
