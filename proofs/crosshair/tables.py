"""The contracts of the tables: a tree is its content, whatever the priorities are.

It is what allows the other contracts to set the priorities aside.  Here they are symbolic, as are the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest import mock

from crosshair.core_and_libs import NoTracing

from maitred.core import tree
from maitred.core.transition import Transition
from maitred.core.tree import Tree
from proofs.crosshair.engine import Case, Contract, number

KEYS = (1, 2, 3)
Edit = Callable[[Tree[int, int], int], tuple[Tree[int, int], dict[int, int]]]
"""Changes a tree at a key: what came of it, and what it should hold."""


def _step(priorities: object, edit: object) -> object:
    """Build a tree of such priorities, edit it at a key, and look at it in every way."""
    assert isinstance(priorities, tuple) and isinstance(edit, tuple)
    order, name, key = edit
    with mock.patch.object(tree, "_priority", lambda found: priorities[found]):
        built = Tree.of((k, 10 * k) for k in order)
        held = {k: 10 * k for k in order}
        if name == "set":
            held[key] = 7
        else:
            held.pop(key, None)
        edited = built.set(key, 7) if name == "set" else built.remove(key)
        wanted = sorted(held.items())
        same = [*edited.items()] == wanted and [*edited] == [k for k, _ in wanted]
        same = same and [*edited.values()] == [v for _, v in wanted] and len(edited) == len(wanted)
        same = same and edited.first() == (wanted[0] if wanted else None)
        same = same and all(edited.get(k, None) == held.get(k) and (k in edited) == (k in held) for k in range(5))
        same = same and [*built.items()] == sorted((k, 10 * k) for k in order)
    return Transition(None, ()) if same else "another content"


def _make(order: tuple[int, ...], name: str, key: int) -> tuple[object, object]:
    with NoTracing():
        return tuple(number(f"priority_{k}") for k in range(5)), (order, name, key)


def _cases() -> tuple[Case, ...]:
    orders = ((), (2,), (1, 2), (3, 1), (1, 2, 3), (3, 2, 1), (2, 3, 1))
    return tuple(
        Case(f"{name} {key} in {order}", partial(_make, order, name, key))
        for order in orders
        for name in ("set", "remove")
        for key in range(5)
    )


QUICK = ("set 0 in (1, 2)", "remove 2 in (2, 3, 1)", "remove 1 in (3, 1)")

CONTRACTS = (
    Contract("a_tree_is_its_content", "tables", (Tree,), "up to 3 entries, any priorities", _step, _cases(), QUICK),
)
