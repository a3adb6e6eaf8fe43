"""One worker's share of an exploration: the worlds for which fingerprint % workers == its number.

A breadth-first exploration goes level by level: all worlds at the distance d from the first are expanded before any
at d + 1.  Of a world that was expanded only the fingerprint and that of a predecessor are kept: 16 bytes in arrays, and
a place in the set of those that are known.  Whole worlds are kept of the last level only.

What is found does not depend on who found it first.  Of several predecessors the one of the least fingerprint is kept,
of several occasions of one property the least pair; so one worker and many come to the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from maitred.model.search.fingerprints import DIGEST, SPELLING, Fingerprints, digests_in, fingerprint, pack, unpack
from maitred.model.world import Action, System, World

PAUSE: Final = 64
"""After so many expanded worlds a shard pauses for whoever wants to know."""
RECENT: Final = 4_096
"""So many worlds are remembered with the canonical forms that they have."""
FLUSH: Final = 1024
"""Worlds per message to another worker."""
_MARK: Final = DIGEST
_RECORD: Final = 2 * _MARK + SPELLING


class Observer:
    """Asked of every step and of every new world which names are to be recorded there; this one has no questions."""

    def step(self, before: World, action: Action, after: World, wrong: tuple[str, ...]) -> Iterable[str]:
        """What is to be recorded of this step; `wrong` names the properties that the step itself breaks."""
        return wrong

    def world(self, world: World) -> Iterable[str]:
        """What is to be recorded of this world."""
        return ()

    def settle(self, found: Collection[str]) -> None:
        """From now on these names need not be looked for; all others are."""


class Enquiry(NamedTuple):
    """What is explored, and what is asked of it."""

    system: System
    """With steady names: a step is observed as it happens, and then the world that it leads to is made canonical."""
    observer: Observer


class Site(NamedTuple):
    """Where something was found: at a step from one world to another, by their fingerprints."""

    before: int
    after: int | None
    """None: at no step, but in the first world of all."""


class Level(NamedTuple):
    """What a level brought: of one shard, or of all together."""

    queue: int
    """New worlds, whose successors are not known yet."""
    transitions: int
    found: dict[str, Site]
    cut: bool = False
    """The level before was not expanded to its end."""

    @staticmethod
    def joined(levels: Iterable[Level]) -> Level:
        """What the shards together found."""
        queue, transitions, cut = 0, 0, False
        found: dict[str, Site] = {}
        for level in levels:
            queue += level.queue
            transitions += level.transitions
            cut = cut or level.cut
            for name, site in level.found.items():
                found[name] = min(site, found.get(name, site))
        return Level(queue, transitions, found, cut)


class Batch(NamedTuple):
    """Worlds for another worker."""

    parts: bytes
    """Packed components that it has not been sent before."""
    records: bytes
    """Fingerprint, that of the predecessor, and spelling, of each world."""


class Shard:
    """The worlds of one worker, and their expansion."""

    def __init__(self, enquiry: Enquiry, index: int = 0, of: int = 1) -> None:
        """Prepare the share of the worker `index` of `of`."""
        self.index: Final = index
        self.of: Final = of
        self.observer: Final = enquiry.observer
        self.system: Final = enquiry.system
        self.fingerprints: Final = Fingerprints(enquiry.system)
        self._seen: set[int] = set()
        self._marks = array("Q")
        self._parents = array("Q")
        self._offsets: list[int] = [0]
        """Where each level begins in the arrays; the last entry is where they end."""
        self._frontier: dict[int, World] = {}
        self._fresh: dict[int, World] = {}
        self._fresh_parents: dict[int, int] = {}
        self._found: dict[str, Site] = {}
        self._transitions = 0
        self._known_as: dict[bytes, tuple[int, bytes, World]] = {}
        """Of worlds with steady names: the fingerprint, the spelling and the canonical form."""
        self._outboxes: Final = [_Outbox(self.fingerprints) for _ in range(of)]

    # ------------------------------------------------ progress

    @property
    def states(self) -> int:
        """Worlds that are known here, those of the level in the making included."""
        return len(self._seen) + len(self._fresh)

    @property
    def queue(self) -> int:
        """Worlds of the last level, which are to be expanded."""
        return len(self._frontier)

    @property
    def transitions(self) -> int:
        """Steps that were taken in the level in the making."""
        return self._transitions

    # ------------------------------------------------ a level

    def begin(self) -> Level:
        """The level of the first world alone."""
        first = self.system.canonical(self.system.initial())
        mark = self.fingerprints.of(first)
        if mark % self.of == self.index:
            self._offer(mark, mark, first)  # its own predecessor: it has no other
        return self.close()

    def expand(self, send: Callable[[int, Batch], None], pause: Callable[[int], bool]) -> bool:
        """Take every step from the worlds of the last level.

        Args:
            send: gives a batch to the worker of this number.
            pause: called now and then with the number of worlds expanded; False cuts the level short.

        Returns:
            Whether all were expanded.
        """
        index, of = self.index, self.of
        successors, canonical = self.system.successors, self.system.canonical
        spell, observe = self.fingerprints.spell, self.observer.step
        seen, fresh, parents = self._seen, self._fresh, self._fresh_parents
        for number, (mark, world) in enumerate(self._frontier.items()):
            if number % PAUSE == 0:
                if not pause(number):
                    return False
                if len(self._known_as) > RECENT:
                    self._known_as.clear()
            for action, steady, wrong in successors(world):
                self._transitions += 1
                key = self.system.key(steady)
                known_as = self._known_as.get(key)
                if known_as is None:
                    after = canonical(steady)
                    spelling = spell(after)
                    known_as = self._known_as[key] = (fingerprint(spelling), spelling, after)
                child, spelling, after = known_as
                for name in observe(world, action, steady, wrong):
                    self._record(name, Site(mark, child))
                owner = child % of
                if owner != index:
                    outbox = self._outboxes[owner]
                    if outbox.add(child, mark, spelling) >= FLUSH:
                        send(owner, outbox.flush())
                elif child not in seen:
                    known = parents.get(child)
                    if known is None:
                        fresh[child] = after
                        parents[child] = mark
                    elif mark < known:
                        parents[child] = mark
        return True

    def flush(self, send: Callable[[int, Batch], None]) -> None:
        """Send what is left for the other workers."""
        for owner, outbox in enumerate(self._outboxes):
            if outbox:
                send(owner, outbox.flush())
            outbox.forget()

    def receive(self, batch: Batch) -> None:
        """Take in what another worker found."""
        if batch.parts:
            self.fingerprints.adopt(batch.parts)
        records = batch.records
        for start in range(0, len(records), _RECORD):
            mark = int.from_bytes(records[start : start + _MARK], "little")
            if mark not in self._seen:
                parent = int.from_bytes(records[start + _MARK : start + 2 * _MARK], "little")
                known = self._fresh_parents.get(mark)
                if known is None:
                    world = self.fingerprints.world(records[start + 2 * _MARK : start + _RECORD])
                    self._offer(mark, parent, world)
                elif parent < known:
                    self._fresh_parents[mark] = parent

    def close(self, *, cut: bool = False) -> Level:
        """End the level: what is new is known from now on, and will be expanded next."""
        for mark, world in self._fresh.items():
            for name in self.observer.world(world):
                parent = self._fresh_parents[mark]
                self._record(name, Site(parent, mark if mark != parent else None))
        self._seen.update(self._fresh)
        self._marks.extend(self._fresh)
        self._parents.extend(self._fresh_parents.values())
        self._offsets.append(len(self._marks))
        level = Level(len(self._fresh), self._transitions, self._found, cut)
        self._frontier, self._fresh, self._fresh_parents = self._fresh, {}, {}
        self._found, self._transitions = {}, 0
        return level

    def _offer(self, mark: int, parent: int, world: World) -> None:
        self._fresh[mark] = world
        self._fresh_parents[mark] = parent

    def _record(self, name: str, site: Site) -> None:
        self._found[name] = min(site, self._found.get(name, site))

    # ------------------------------------------------ ways

    def parents(self, level: int, marks: Collection[int]) -> dict[int, int]:
        """The kept predecessors of those of these worlds of the level that are known here, by fingerprint."""
        place = slice(*self._offsets[level : level + 2])
        return {m: p for m, p in zip(self._marks[place], self._parents[place], strict=True) if m in marks}

    # ------------------------------------------------ to the disk and back

    def dump(self) -> bytes:
        """All that is known here, for `load`; between two levels."""
        spellings = {mark: self.fingerprints.spell(world) for mark, world in self._frontier.items()}
        digests = {digest for spelling in spellings.values() for digest in digests_in(spelling)}
        parts = self.fingerprints.pack(sorted(digests))
        return pack((self._offsets, self._marks.tobytes(), self._parents.tobytes(), spellings, parts))

    def load(self, dumps: Iterable[bytes]) -> None:
        """Begin with what the shards of an exploration knew, however many they were; this one keeps its share.

        Raises:
            Foreign: the bytes are no dump.
            Collision: see `Fingerprints.adopt`.
        """
        levels: list[tuple[array[int], array[int]]] = []
        for dump in dumps:
            offsets, marks, parents, spellings, parts = _contents(dump)
            self.fingerprints.adopt(parts)
            for level, (start, end) in enumerate(pairwise(offsets)):
                if level == len(levels):
                    levels.append((array("Q"), array("Q")))
                for mark, parent in zip(marks[start:end], parents[start:end], strict=True):
                    if mark % self.of == self.index:
                        levels[level][0].append(mark)
                        levels[level][1].append(parent)
            for mark, spelling in spellings.items():
                if mark % self.of == self.index:
                    self._frontier[mark] = self.fingerprints.world(spelling)
        for own, before in levels:
            self._marks.extend(own)
            self._parents.extend(before)
            self._offsets.append(len(self._marks))
        self._seen.update(self._marks)


def _contents(dump: bytes) -> tuple[list[int], array[int], array[int], dict[int, bytes], bytes]:
    offsets, marks, parents, spellings, parts = unpack(dump)
    return offsets, array("Q", marks), array("Q", parents), spellings, parts


class _Outbox:
    """What is to be sent to one other worker."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._fingerprints: Final = fingerprints
        self._sent: dict[int, int] = {}
        """By world, the least predecessor that the worker was sent in this level."""
        self._shipped: set[bytes] = set()
        self._news: set[bytes] = set()
        self._records: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._records)

    def add(self, mark: int, parent: int, spelling: bytes) -> int:
        """Add a world, unless the worker knows as much; how many there are now."""
        if parent < self._sent.get(mark, parent + 1):
            self._sent[mark] = parent
            self._records += (mark.to_bytes(_MARK, "little"), parent.to_bytes(_MARK, "little"), spelling)
            self._news.update(digests_in(spelling))
        return len(self._records) // 3

    def flush(self) -> Batch:
        """What has been added since the last time, with the components that the worker lacks."""
        news = self._news - self._shipped
        self._shipped |= news
        batch = Batch(self._fingerprints.pack(sorted(news)) if news else b"", b"".join(self._records))
        self._records, self._news = [], set()
        return batch

    def forget(self) -> None:
        """The level is over."""
        self._sent.clear()
