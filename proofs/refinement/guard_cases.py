"""Which transitions, in which states, are read twice: both sides of each guard, by choice and not by luck.

A *case* is a state, a transition and its parameters.  `Cases` keeps the first so many of each kind: enabled; one single
guard false and all others true (*alone*), for each guard; and whatever else.  Where no state that the code reaches has
a guard alone false, states that it does not reach may: `Cases.disturb` looks for them about those in which the
transition is enabled.  Where no state at all has it, a solver shows that the other guards imply it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import z3
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from proofs.refinement.interpreter import State, Transition
from proofs.refinement.z3_interpreter import SORTS, TRANSITIONS, closed, constructors, symbols_of
from proofs.solve.solver import EFFORT, fresh_solver

ENABLED: Final = -1
MIXED: Final = -2
"""Kinds of cases: enabled; several guards are false.  Otherwise the guard that alone is false, by its place."""


class GuardCase(NamedTuple):
    """A transition in a state."""

    state: State
    """It is `closed`."""
    name: str
    parameters: Mapping[str, Any]  # Any: values of every sort


@dataclass(frozen=True)
class Wanted:
    """How many cases of each kind are kept, of each transition or guard."""

    enabled: int
    alone: int
    mixed: int


class Cases:
    """Cases by transition and kind."""

    def __init__(self, wanted: Wanted, seed: str) -> None:
        """None yet; `seed` decides in which states all transitions are tried."""
        self.wanted = wanted
        self.found: dict[tuple[str, int], list[GuardCase]] = {
            (name, kind): [] for name, one in TRANSITIONS.items() for kind in (ENABLED, *range(len(one.guards)), MIXED)
        }
        self.disturbed: set[tuple[str, int]] = set()
        """The kinds for which a state had to be disturbed."""
        self._dice = random.Random(seed)

    def __iter__(self) -> Iterator[GuardCase]:
        for cases in self.found.values():
            yield from cases

    def lacking(self) -> list[tuple[str, int]]:
        """Kinds of which there is none, `MIXED` apart."""
        return [key for key, cases in self.found.items() if not cases and key[1] != MIXED]

    def visit(self, state: State, name: str, parameters: Mapping[str, Any]) -> None:
        """A `bridge.Witness`: the transition is tried here, and now and then all others are."""
        kind = _kind(TRANSITIONS[name].verdicts(state, parameters))
        if self._wants(name, kind):
            self._keep(GuardCase(closed(state), name, parameters), kind)
        if self._dice.random() < RATE:
            self.try_all(closed(state))

    def try_all(self, state: State) -> None:
        """Try every transition with every parameter in this state."""
        for name, one in TRANSITIONS.items():
            for parameters in _parameters(one, state):
                kind = _kind(one.verdicts(state, parameters))
                if self._wants(name, kind):
                    self._keep(GuardCase(state, name, parameters), kind)

    def disturb(self, searches: int, length: int) -> None:
        """For each kind of which there is no case: look for one about those that there are.

        Args:
            searches: how often to begin again.
            length: how many changes one search tries.
        """
        for name, kind in self.lacking():
            known = self.found[name, ENABLED] or self.found[name, MIXED]
            for _ in range(searches if known else 0):
                case = self._search(self._dice.choice(known), kind, length)
                if case is not None:
                    self._keep(case, kind)
                    self.disturbed.add((name, kind))
                if not self._wants(name, kind):
                    break

    def _search(self, case: GuardCase, kind: int, length: int) -> GuardCase | None:
        """Change one thing after the other; keep what brings it nearer to the kind, and now and then what does not."""
        symbols = _symbols(case.name)
        verdicts = TRANSITIONS[case.name].verdicts(case.state, case.parameters)
        for _ in range(length):
            wrong = [i for i, verdict in enumerate(verdicts) if verdict == (i == kind)]
            if not wrong:
                return case
            changed = self._changed(case, symbols[self._dice.choice(wrong)])
            now = TRANSITIONS[case.name].verdicts(changed.state, changed.parameters)
            nearer = sum(verdict == (i == kind) for i, verdict in enumerate(now)) <= len(wrong)
            if nearer or self._dice.random() < 0.1:
                case, verdicts = changed, now
        return None

    def _changed(self, case: GuardCase, symbols: Sequence[str]) -> GuardCase:
        """Another parameter, or another value of one of the symbols, preferably where the parameters point to."""
        dice, state = self._dice, case.state
        sorts = TRANSITIONS[case.name].sorts
        if sorts and (not symbols or dice.random() < 0.2):
            name = dice.choice([*sorts])
            domain = [x for x in state.domains[sorts[name]] if x is not None]
            return case._replace(parameters={**case.parameters, name: dice.choice(domain)})
        if not symbols:
            return case
        symbol = STATE.symbols[dice.choice(symbols)]
        near = {sorts[name]: value for name, value in case.parameters.items()}

        def argument(sort: str) -> Any:
            return near[sort] if sort in near and dice.random() < 0.7 else dice.choice(state.domains[sort])

        place = tuple(argument(sort.name()) for sort in symbol.arguments)
        return case._replace(state=state.with_changes({symbol.name: {place: dice.choice(_values(state, symbol.sort))}}))

    def _wants(self, name: str, kind: int) -> bool:
        most = {ENABLED: self.wanted.enabled, MIXED: self.wanted.mixed}.get(kind, self.wanted.alone)
        return len(self.found[name, kind]) < most

    def _keep(self, case: GuardCase, kind: int) -> None:
        self.found[case.name, kind].append(case)


RATE: Final = 0.05
"""In this part of the states all transitions are tried."""


def _kind(verdicts: tuple[bool, ...]) -> int:
    false = [i for i, verdict in enumerate(verdicts) if not verdict]
    return ENABLED if not false else false[0] if len(false) == 1 else MIXED


@cache
def _symbols(name: str) -> list[list[str]]:
    """By the place of the guard: the symbols that it asks, but for the one that is arithmetic."""
    guards = ACTIONS.by_name[name].step(STATE).guards
    return [sorted(symbols_of([term]) - {"lighter"}) for _, term in guards]


def _parameters(one: Transition, state: State) -> Iterator[dict[str, Any]]:
    domains = [[x for x in state.domains[sort] if x is not None] for sort in one.sorts.values()]
    for place in itertools.product(*domains):
        yield dict(zip(one.sorts, place, strict=True))


def _values(state: State, sort: z3.SortRef) -> list[Any]:
    if sort == z3.BoolSort():
        return [False, True]
    if sort.name() in SORTS or sort == z3.IntSort():
        return [*state.domains[sort.name()]]
    assert isinstance(sort, z3.DatatypeSortRef), sort
    return [*constructors(sort)]


def implied(name: str, guard: int) -> bool:
    """Whether a solver shows that the transition's other guards imply this one, so that it is never alone false."""
    guards = [term for _, term in ACTIONS.by_name[name].step(STATE).guards]
    asked = [(str(i), z3.Not(term) if i == guard else term) for i, term in enumerate(guards)]
    return bool(fresh_solver(asked, EFFORT).check() == z3.unsat)
