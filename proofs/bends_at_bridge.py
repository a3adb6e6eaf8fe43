"""Which mutants of the proof the bridge notices: the relation with a guard or an assignment less is not the code's.

One comparison does for all of them.  A guard that alone is false, where an exact transition could be tried and nothing
of the kind happens in the code, is one whose absence would be noticed there.  An assignment without which the
transitions of a step lead elsewhere, or no further, is so too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from proofs import bridge, pinned
from proofs.abstraction import essence
from proofs.bends import Bend
from proofs.bridge import DEEP, TRANSITIONS, Move, Tally
from proofs.evaluate import State, Transition

WORLDS: Final = 150
"""So many worlds of each pinned configuration are looked at."""
WALKS: Final = 10
LENGTH: Final = 150
"""So many random walks of so many steps within each of the deep bounds."""


@dataclass
class Noticed:
    """A watch on the bridge."""

    among: set[Bend]
    """What has not been noticed yet, and may be."""
    found: set[Bend] = field(default_factory=set)

    def walked(self, state: State, wanted: State, moves: Sequence[Move]) -> None:
        """Try the step again without each assignment of its transitions."""
        for name in {name for name, _ in moves}:
            for symbol in TRANSITIONS[name].updates:
                bend = Bend(name, assignment=symbol)
                if bend in self.among and not _leads_there(state, wanted, moves, bend):
                    self._note(bend)

    def refused(self, state: State, refused: Transition, parameters: Mapping[str, Any]) -> None:
        """Note the guard that is the only one that is false."""
        verdicts = refused.verdicts(state, parameters)
        if verdicts.count(False) == 1:
            bend = Bend(refused.name, guard=verdicts.index(False))
            if bend in self.among:
                self._note(bend)

    def _note(self, bend: Bend) -> None:
        self.among.discard(bend)
        self.found.add(bend)


def _leads_there(state: State, wanted: State, moves: Sequence[Move], bend: Bend) -> bool:
    for name, parameters in moves:
        taken = TRANSITIONS[name]
        if name == bend.transition:
            taken = replace(taken, updates={s: update for s, update in taken.updates.items() if s != bend.assignment})
        if taken.refused(state, parameters) is not None:
            return False
        state = taken.after(state, parameters)
    return essence(state) == essence(State(wanted.tables, state.domains, wanted.defaults))


def noticed(bends: Sequence[Bend]) -> set[Bend]:
    """Those of the mutants that the bridge notices."""
    watch = Noticed(set(bends))
    tally = Tally(watch=watch)
    for one in pinned.told():
        if watch.among:
            bridge.compare(one.bounds, tally.worlds + WORLDS, tally)
    for name, bounds in DEEP.items():
        for seed in range(WALKS):
            if watch.among:
                bridge.compare_on_the_way(bounds, f"{name} {seed}", LENGTH, tally)
    return watch.found


def may_be_noticed(bend: Bend) -> bool:
    """The bridge compares every assignment that is no ghost's, and the guards of exact transitions."""
    transition = TRANSITIONS[bend.transition]
    return transition.exact if bend.guard is not None else bend.assignment in transition.updates
