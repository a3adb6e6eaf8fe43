"""Fingerprints: a world is known by 64 bits, and travels between processes and to the disk in parts.

Each component of a world is encoded by its `repr`, which for the machines' values is complete and depends on
nothing else, and the encoding is digested once (BLAKE2b, 64 bits).  The *spelling* of a world is the digests of its
components one after the other; its *fingerprint* is the BLAKE2b digest of the spelling, again 64 bits.

Collisions.  Two worlds of one fingerprint would be taken for one, and what follows from the second would not be
explored.  Among n worlds the expected number of such pairs is at most n² / 2^65 (`collision_risk`): 3e-8 for a million
worlds, 7e-7 for five million.  Two *components* of one digest are never taken for one: that is noticed and refused
(`Collision`).  So is a component whose encoding is another in another process.

Only values of the machines and of the model are ever unpickled, whatever the bytes are (`unpack`).
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

from maitred.core.tree import Tree
from maitred.model.world import Group, System, World

DIGEST: Final = 8
"""Bytes of a component's digest, and of a fingerprint."""
SPELLING: Final = DIGEST * len(World._fields)
"""Bytes of a world's spelling."""
_PLACES: Final = tuple(slice(i, i + DIGEST) for i in range(0, SPELLING, DIGEST))
_OURS: Final = ("maitred.core.", "maitred.model.")


class Collision(Exception):
    """Two different components of worlds have one digest: the exploration would not be sound."""


class Foreign(Exception):
    """The bytes hold something that is no value of the machines or of the model."""


def collision_risk(states: int) -> float:
    """How many pairs of so many worlds are expected to share a fingerprint: a bound on the risk of overlooking one."""
    return float(states) ** 2 / 2.0**65


def fingerprint(spelling: bytes) -> int:
    """The 64 bits by which the world of this spelling is known."""
    return int.from_bytes(blake2b(spelling, digest_size=DIGEST).digest(), "little")


class Fingerprints:
    """The digests of the components of one system's worlds; each component is encoded once."""

    def __init__(self, system: System) -> None:
        """Prepare to spell the worlds of `system`, whose components are interned."""
        self._system: Final = system
        self._digests: dict[int, bytes] = {}
        self._parts: dict[bytes, object] = {}
        self._kept: list[object] = []
        """Equal components that are not one object: kept, so that their ids stay theirs."""

    def spell(self, world: World) -> bytes:
        """The digests of the world's components, one after the other.

        Raises:
            Collision: two different components have one digest.
        """
        digests = self._digests
        try:
            return b"".join(map(digests.__getitem__, map(id, world)))
        except KeyError:
            return b"".join([digests.get(id(part)) or self._learn(part) for part in world])

    def of(self, world: World) -> int:
        """The world's fingerprint."""
        return fingerprint(self.spell(world))

    def _learn(self, part: object) -> bytes:
        digest = blake2b(repr(part).encode(), digest_size=DIGEST).digest()
        known = self._parts.setdefault(digest, part)
        if known is not part:
            if known != part:
                raise Collision(f"two components of worlds have one digest:\n{known!r}\n{part!r}")
            self._kept.append(part)
        self._digests[id(part)] = digest
        return digest

    def world(self, spelling: bytes) -> World:
        """The world of this spelling, whose components are all known here."""
        parts = self._parts
        return World._make([parts[spelling[place]] for place in _PLACES])

    def pack(self, digests: Iterable[bytes]) -> bytes:
        """The components of these digests, for `adopt` in another process."""
        return pack([(digest, self._parts[digest]) for digest in digests])

    def adopt(self, packed: bytes) -> None:
        """Make components of another process known here.

        Raises:
            Collision: a component has another digest here, or is different from what has the same digest here.
            Foreign: the bytes hold anything else.
        """
        for digest, part in unpack(packed):
            own = self._intern(part)
            if (self._digests.get(id(own)) or self._learn(own)) != digest:
                raise Collision(f"a component is encoded otherwise in another process:\n{own!r}")

    def _intern(self, part: object) -> object:
        """The system's own object that is equal to the component; of a tuple of groups, each group's as well."""
        if isinstance(part, tuple) and part and isinstance(part[0], Group):
            part = tuple(map(self._system.interned, part))
        return self._system.interned(part)


def digests_in(spelling: bytes) -> Iterator[bytes]:
    """The digests of which a spelling consists."""
    return (spelling[place] for place in _PLACES)


# ---------------------------------------------------------------- values as bytes


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:  # Any: as pickle has it
        if type(value) is Tree:  # by its content: its shape depends on hashes, which differ between processes
            return _tree, (tuple(value.items()),)
        if isinstance(value, Enum):
            return type(value), (value.value,)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # Any: as pickle has it
        if (module, name) == (__name__, _tree.__name__):
            return _tree
        found = getattr(sys.modules.get(module), name, None) if module.startswith(_OURS) else None
        if not isinstance(found, type) or found.__module__ != module:
            raise Foreign(f"{module}.{name} is no value of the machines or of the model")
        return found


def _tree(items: tuple[tuple[Any, Any], ...]) -> Tree[Any, Any]:  # Any: a tree of anything
    return Tree.of(items)


def pack(value: object) -> bytes:
    """The value as bytes, for `unpack`: numbers, text, bytes, tuples, lists, dicts and values of machines and model."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:  # Any: whatever was packed
    """The value that was packed; no code is run but the constructors of our own values.

    Raises:
        Foreign: the bytes are damaged, or hold anything else.
    """
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Foreign:
        raise
    except Exception as error:  # what damaged bytes raise is not documented
        raise Foreign(f"the bytes are damaged: {error}") from error
