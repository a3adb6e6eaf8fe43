"""A persistent, ordered map with one shape for one content.

The machines keep their tables here: servers by id, free seats by load, waiting clients by arrival.
An update copies only the path to what it touches, so a step costs O(log n) however large the table.

The structure is a treap (Seidel and Aragon, 1996) whose priorities are a fixed scrambling of the keys'
own hashes instead of random numbers.  Hence two trees with the same content have the same shape, however
they came about: equality and hashing are structural, and a state reached by two ways is one state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar, cast


class Key(Protocol):
    """What can order a tree: hashable, and totally ordered by ``<`` in agreement with ``==``."""

    def __hash__(self) -> int: ...
    def __lt__(self, other: Any, /) -> bool: ...  # Any: as in typeshed, `<` of tuples and ints is not generic


K = TypeVar("K", bound=Key)
V = TypeVar("V")
D = TypeVar("D")


class _Node(Generic[K, V]):
    """One entry, its two subtrees, and what saves walking them: the number of entries and a lazy hash."""

    __slots__ = ("digest", "key", "left", "priority", "right", "size", "value")

    def __init__(self, key: K, value: V, priority: int, left: _Node[K, V] | None, right: _Node[K, V] | None) -> None:
        self.key: Final = key
        self.value: Final = value
        self.priority: Final = priority
        self.left: Final = left
        self.right: Final = right
        self.size: Final[int] = 1 + (left.size if left else 0) + (right.size if right else 0)
        self.digest: int | None = None

    def with_left(self, left: _Node[K, V] | None) -> _Node[K, V]:
        return _Node(self.key, self.value, self.priority, left, self.right)

    def with_right(self, right: _Node[K, V] | None) -> _Node[K, V]:
        return _Node(self.key, self.value, self.priority, self.left, right)


def _priority(key: Key) -> int:
    """Scramble the key's hash (as `tuple` does), so that sorted keys do not make a chain; in 30 bits, for speed."""
    return hash((key, 0)) & 0x3FFF_FFFF


def _above(a: _Node[K, V], b: _Node[K, V]) -> bool:
    """Whether ``a`` belongs nearer to the root; ties of the scrambled hash fall to the smaller key."""
    return a.priority > b.priority or (a.priority == b.priority and a.key < b.key)


def _set(node: _Node[K, V] | None, key: K, value: V) -> _Node[K, V]:
    if node is None:
        return _Node(key, value, _priority(key), None, None)
    if key < node.key:
        left = _set(node.left, key, value)
        if _above(left, node):
            return left.with_right(node.with_left(left.right))
        return node.with_left(left)
    if node.key < key:
        right = _set(node.right, key, value)
        if _above(right, node):
            return right.with_left(node.with_right(right.left))
        return node.with_right(right)
    return _Node(key, value, node.priority, node.left, node.right)


def _join(left: _Node[K, V] | None, right: _Node[K, V] | None) -> _Node[K, V] | None:
    """One tree of two, where every key of ``left`` is less than every key of ``right``."""
    if left is None:
        return right
    if right is None:
        return left
    if _above(left, right):
        return left.with_right(_join(left.right, right))
    return right.with_left(_join(left, right.left))


def _remove(node: _Node[K, V], key: K) -> _Node[K, V] | None:
    """The tree without ``key``, which is there."""
    if key < node.key:
        return node.with_left(_remove(cast("_Node[K, V]", node.left), key))
    if node.key < key:
        return node.with_right(_remove(cast("_Node[K, V]", node.right), key))
    return _join(node.left, node.right)


def _walk(node: _Node[K, V] | None) -> Iterator[tuple[K, V]]:
    stack: list[_Node[K, V]] = []
    while stack or node is not None:
        while node is not None:
            stack.append(node)
            node = node.left
        top = stack.pop()
        yield top.key, top.value
        node = top.right


def _digest(node: _Node[K, V] | None) -> int:
    if node is None:
        return 0
    if node.digest is None:
        node.digest = hash((_digest(node.left), node.key, node.value, _digest(node.right)))
    return node.digest


def _equal(a: _Node[K, V] | None, b: _Node[K, V] | None) -> bool:
    if a is b:
        return True
    if a is None or b is None or a.size != b.size or a.key != b.key or a.value != b.value:
        return False
    return _equal(a.left, b.left) and _equal(a.right, b.right)


class Tree(Generic[K, V]):
    """An immutable map from ordered keys to values; iteration is in the order of the keys."""

    __slots__ = ("_root",)

    def __init__(self, root: _Node[K, V] | None = None) -> None:
        """Wrap a root; users call :meth:`of` or build on the empty ``Tree()``."""
        self._root: Final = root

    @classmethod
    def of(cls, items: Iterable[tuple[K, V]]) -> Tree[K, V]:
        """The tree that holds ``items``; of two with one key the later wins."""
        root: _Node[K, V] | None = None
        for key, value in items:
            root = _set(root, key, value)
        return cls(root)

    def set(self, key: K, value: V) -> Tree[K, V]:
        """The tree in which ``key`` maps to ``value``.  O(log n)."""
        return Tree(_set(self._root, key, value))

    def remove(self, key: K) -> Tree[K, V]:
        """The tree without ``key``; this very tree where ``key`` is not in it.  O(log n)."""
        return Tree(_remove(self._root, key)) if self._root is not None and key in self else self

    def get(self, key: K, default: D) -> V | D:
        """The value at ``key``, else ``default``.  O(log n)."""
        node = self._root
        while node is not None:
            if key < node.key:
                node = node.left
            elif node.key < key:
                node = node.right
            else:
                return node.value
        return default

    def first(self) -> tuple[K, V] | None:
        """The entry with the least key, or None of an empty tree.  O(log n)."""
        node = self._root
        if node is None:
            return None
        while node.left is not None:
            node = node.left
        return node.key, node.value

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries in the order of their keys."""
        return _walk(self._root)

    def values(self) -> Iterator[V]:
        """All values in the order of their keys."""
        return (value for _, value in _walk(self._root))

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in _walk(self._root))

    def __contains__(self, key: K) -> bool:
        node = self._root
        while node is not None:
            if key < node.key:
                node = node.left
            elif node.key < key:
                node = node.right
            else:
                return True
        return False

    def __getitem__(self, key: K) -> V:
        node = self._root
        while node is not None:
            if key < node.key:
                node = node.left
            elif node.key < key:
                node = node.right
            else:
                return node.value
        raise KeyError(key)

    def __len__(self) -> int:
        return self._root.size if self._root else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        return _digest(self._root) == _digest(other._root) and _equal(self._root, other._root)

    def __hash__(self) -> int:
        return _digest(self._root)

    def __repr__(self) -> str:
        return "Tree({" + ", ".join(f"{key!r}: {value!r}" for key, value in self.items()) + "})"
