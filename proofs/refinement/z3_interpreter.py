"""The first reading of the relation, taken at its word: Z3 itself computes what a transition does in a finite state.

`proofs.refinement.interpreter` compiles the relation's syntax trees to Python, and the bridge believes it.  Here the
same states are given to Z3 as interpretations of the symbols, and Z3's own evaluator decides of each guard whether it
holds, and of each symbol that the transition assigns whether its new value is the compiled one's, wherever there is
something to ask. `Reading.differences` is the comparison.

A quantifier is first written out over the finite universe, as Z3's evaluator does not run through one; `decided` asks
a solver instead, with the quantifiers as they stand, a closed universe and all integers, and so also shows that no
integer beyond the state's own matters.

What is compared is chosen by `proofs.refinement.guard_cases`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import z3
from spec.relation.state import STATE, Client, Element, Place, Port, Server
from spec.relation.system import ACTIONS

from proofs.refinement.interpreter import DEFAULTS, State, Transition, transition
from proofs.solve.solver import EFFORT

SORTS: Final = {sort.name(): sort for sort in (Server, Client, Port, Place, Element)}
ELEMENTS: Final = 24
"""How many values of each sort are at hand."""
STEP: Final = 8
"""The greatest integer that matters is rounded up to a multiple of this, so that few universes occur."""
Term: TypeAlias = "z3.ExprRef"
Parameters: TypeAlias = "Mapping[str, Any]"  # Any: values of every sort
TRANSITIONS: Final[Mapping[str, Transition]] = {action.name: transition(action) for action in ACTIONS}


class Undecided(Exception):
    """Z3 gives no answer, or the universe is too large; the text names for what."""


# ================================================================ universes


@dataclass(frozen=True)
class Universe:
    """How many servers, clients, ports, places and processing elements there are, and the greatest integer."""

    sizes: tuple[tuple[str, int], ...]
    top: int

    def values(self, sort: str) -> list[Term]:
        """All that there is of the sort."""
        if sort == "Int":
            return [z3.IntVal(i) for i in range(-1, self.top)]
        return elements(sort)[: dict(self.sizes)[sort]]


@cache
def elements(sort: str) -> list[Term]:
    """Values of the sort, no two alike: Z3 makes them up for a model that needs so many."""
    solver = z3.Solver()
    wanted = [z3.Const(f"{sort}.{i}", SORTS[sort]) for i in range(ELEMENTS)]
    solver.add(z3.Distinct(*wanted))
    assert solver.check() == z3.sat, "there may be any number"
    model = solver.model()
    return [model.eval(one, model_completion=True) for one in wanted]


def closed(state: State) -> State:
    """The state as a structure of its own: whatever a table names is in the universe, and ``None``, for nothing.

    There are as many integers as the universe has, see `STEP`.
    """
    named: dict[str, dict[Any, None]] = {sort: dict.fromkeys(state.domains[sort]) for sort in SORTS}
    for name, table in state.tables.items():
        symbol = STATE.symbols[name]
        for sort, column in _columns(symbol.arguments, symbol.sort, table):
            named[sort].update(dict.fromkeys(column))
    top = -(-(max(state.domains["Int"]) + 1) // STEP) * STEP
    domains = {sort: (*(x for x in found if x is not None), None) for sort, found in named.items()}
    return State(state.tables, {**domains, "Int": tuple(range(-1, top))}, state.defaults)


def _columns(
    arguments: Sequence[z3.SortRef], sort: z3.SortRef, table: Mapping[tuple[Any, ...], Any]
) -> Iterator[tuple[str, list[Any]]]:
    """The columns of a table that name members of the universe, each with its sort."""
    for i, argument in enumerate(arguments):
        if argument.name() in SORTS:
            yield argument.name(), [place[i] for place in table]
    if sort.name() in SORTS:
        yield sort.name(), [*table.values()]


def universe(state: State) -> Universe:
    """Of a state that is `closed`."""
    sizes = tuple((sort, len(state.domains[sort])) for sort in SORTS)
    if max(size for _, size in sizes) > ELEMENTS:
        raise Undecided(f"there is more than {ELEMENTS} of something: {dict(sizes)}")
    return Universe(sizes, max(state.domains["Int"]) + 1)


# ================================================================ terms, written out


def written_out(term: Term, within: Universe) -> Term:
    """The term without quantifiers: each is a conjunction or disjunction over the universe."""
    return _Writer(within).write(term)


class _Writer:
    def __init__(self, within: Universe) -> None:
        self._within = within
        self._known: dict[int, tuple[Term, Term]] = {}

    def write(self, term: Term) -> Term:
        found = self._known.get(term.get_id())
        if found is None:
            found = self._known[term.get_id()] = (term, self._write(term))  # the term's id is its own while it lives
        return found[1]

    def _write(self, term: Term) -> Term:
        if z3.is_quantifier(term):
            sorts = [term.var_sort(i).name() for i in range(term.num_vars())]
            instances = itertools.product(*(self._within.values(sort) for sort in reversed(sorts)))
            bodies = [z3.substitute_vars(term.body(), *instance) for instance in instances]
            if any(z3.is_quantifier(part) for part in parts_of([term.body()])):
                bodies = [self.write(body) for body in bodies]
            return z3.And(*bodies) if term.is_forall() else z3.Or(*bodies)
        children = term.children()
        if not children:
            return term
        written = [self.write(child) for child in children]
        if all(new is old for new, old in zip(written, children, strict=True)):
            return term
        if z3.is_and(term):
            return z3.And(*written)
        return z3.Or(*written) if z3.is_or(term) else term.decl()(*written)


# ================================================================ a state, given to Z3


class Interpretation:
    """A state as a model of Z3's: each symbol with its table."""

    def __init__(self, state: State, symbols: Collection[str]) -> None:
        """Give Z3 the tables of these symbols."""
        self.model = z3.Model()
        self._slots = {sort: {x: i for i, x in enumerate(state.domains[sort])} for sort in SORTS}
        for name in symbols:
            self._tell(STATE.symbols[name].before(), name, state)

    def expect(self, name: str, after: State) -> None:
        """Give Z3 what another reading gives for the symbol in the state after, as the symbol ``name'``."""
        self._tell(primed(name), name, after)

    def let(self, constant: Term, value: Any) -> None:
        """Give a constant its value."""
        self.model.update_value(constant, self.value(constant.sort(), value))

    def value(self, sort: z3.SortRef, value: Any) -> Term:
        """The value of a state's table, as Z3's."""
        if sort.name() in SORTS:
            return elements(sort.name())[self._slots[sort.name()][value]]
        if isinstance(sort, z3.DatatypeSortRef):
            return constructors(sort)[value]
        return z3.BoolVal(value) if sort == z3.BoolSort() else z3.IntVal(value)

    def says(self, term: Term) -> bool:
        """Z3's own word on the term.

        Raises:
            Undecided: it has none.
        """
        answer = self.model.eval(term)
        if z3.is_true(answer) or z3.is_false(answer):
            return bool(z3.is_true(answer))
        raise Undecided(f"Z3 leaves this open: {answer}")

    def _tell(self, what: Term, name: str, state: State) -> None:
        symbol = STATE.symbols[name]
        default = state.defaults.get(name, DEFAULTS[name])
        if not symbol.arguments:
            self.model.update_value(what, self.value(symbol.sort, state.value(name)))
            return
        if name == "lighter":
            n, w, m, v = (z3.Var(i, z3.IntSort()) for i in range(4))
            self._function(what, n * v < m * w)
            return
        table = self._function(what, self.value(symbol.sort, default))
        for place, value in state.tables.get(name, {}).items():
            if value != default:
                arguments, result = z3.AstVector(), self.value(symbol.sort, value)
                for sort, x in zip(symbol.arguments, place, strict=True):
                    arguments.push(self.value(sort, x))
                z3.Z3_func_interp_add_entry(table.ctx.ref(), table.f, arguments.vector, result.ast)

    def _function(self, what: Any, otherwise: Term) -> z3.FuncInterp:
        context = self.model.ctx
        return z3.FuncInterp(z3.Z3_add_func_interp(context.ref(), self.model.model, what.ast, otherwise.ast), context)


@cache
def constructors(sort: z3.DatatypeSortRef) -> dict[str, Term]:
    """The members of an enumeration by name."""
    return {str(sort.constructor(i)): sort.constructor(i)() for i in range(sort.num_constructors())}


@cache
def primed(name: str) -> Any:
    """The symbol in the state after, as another reading gives it."""
    symbol = STATE.symbols[name]
    if not symbol.arguments:
        return z3.Const(f"{name}'", symbol.sort)
    return z3.Function(f"{name}'", *symbol.arguments, symbol.sort)


# ================================================================ the comparison


@dataclass(frozen=True)
class Reading:
    """A transition as Z3 reads it in one universe."""

    name: str
    parameters: Mapping[str, Term]
    guards: tuple[Term, ...]
    updates: Mapping[str, Term]
    """For each symbol that is assigned: that its new value is ``name'``, wherever there is something."""
    symbols: frozenset[str]
    """Whatever guards and updates speak of."""

    def differences(self, state: State, given: Parameters) -> list[str]:
        """Where the two readings differ: guards by their place in the specification, symbols by name.

        Args:
            state: it is `closed`, and of this reading's universe.
            given: the transition's parameters.

        Raises:
            Undecided: Z3 gives no answer.
        """
        other = TRANSITIONS[self.name]
        meaning = Interpretation(state, self.symbols)
        for name, constant in self.parameters.items():
            meaning.let(constant, given[name])
        verdicts = other.verdicts(state, given)
        found = [
            f"{self.name}: guard {i}, {other.guards[i][0]}: {theirs} by the evaluator"
            for i, (guard, theirs) in enumerate(zip(self.guards, verdicts, strict=True))
            if meaning.says(guard) != theirs
        ]
        if not all(verdicts):
            return found
        after = other.after(state, given)
        for name, statement in self.updates.items():
            meaning.expect(name, after)
            if not meaning.says(statement):
                found.append(f"{self.name}: {name} is another in the state after")
        return found


@cache
def reading(name: str, within: Universe) -> Reading:
    """The transition of this name, written out for the universe."""
    action = ACTIONS.by_name[name]
    step = action.step(STATE)
    guards = tuple(written_out(term, within) for _, term in step.guards)
    changed = {name: macro for name, macro in step.changed.items() if not STATE.symbols[name].ghost}
    updates = {name: _is_as_assigned(name, macro, within) for name, macro in changed.items()}
    asked = [*(term for _, term in step.guards), *(macro(*_place(name)) for name, macro in changed.items())]
    return Reading(name, step.parameters, guards, updates, symbols_of(asked))


def _place(name: str) -> list[Term]:
    """Constants that stand for the symbol's arguments."""
    return [z3.Const(f"a{i}", sort) for i, sort in enumerate(STATE.symbols[name].arguments)]


def parts_of(terms: Iterable[Term]) -> Iterator[Term]:
    """The terms and all that is within them, each once."""
    seen, left = set(), list(terms)
    while left:
        term = left.pop()
        if term.get_id() not in seen:
            seen.add(term.get_id())
            left += [term.body()] if z3.is_quantifier(term) else term.children()
            yield term


def symbols_of(terms: Iterable[Term]) -> frozenset[str]:
    """The symbols of the relation that occur in the terms."""
    found = {part.decl().name() for part in parts_of(terms) if z3.is_app(part)}
    return frozenset(found & STATE.symbols.keys())


def _is_as_assigned(name: str, macro: Callable[..., Term], within: Universe) -> Term:
    sorts = STATE.symbols[name].arguments
    place = _place(name)
    after = primed(name)(*place) if sorts else primed(name)
    equal = written_out(macro(*place) == after, within)
    points = itertools.product(*(within.values(sort.name()) for sort in sorts))
    return z3.And(*(z3.substitute(equal, *zip(place, point, strict=True)) if sorts else equal for point in points))


# ================================================================ the same, asked of a solver


def decided(state: State, name: str, given: Parameters) -> tuple[bool, ...]:
    """What a solver answers for each guard, with its quantifiers: the universe is closed, integers are all that there
    are.

    Raises:
        Undecided: it answers *unknown*.
    """
    within = universe(state)
    step = ACTIONS.by_name[name].step(STATE)
    meaning = Interpretation(state, symbols_of(term for _, term in step.guards))
    for parameter, constant in step.parameters.items():
        meaning.let(constant, given[parameter])
    solver = _solver(within)
    names = [(x, z3.Const(f"{sort}.{i}", SORTS[sort])) for sort in SORTS for i, x in enumerate(within.values(sort))]
    asked = [(line, z3.substitute(meaning.model.eval(guard), *names)) for line, guard in step.guards]
    return tuple(_decided(solver, guard, f"{name}, {line}") for line, guard in asked)


@cache
def _solver(within: Universe) -> z3.Solver:
    """One that knows the universe: that there is nothing else, and that no two are the same."""
    solver = z3.Solver()
    solver.set("rlimit", EFFORT)
    for sort in SORTS:
        names = [z3.Const(f"{sort}.{i}", SORTS[sort]) for i in range(len(within.values(sort)))]
        anything = z3.Const("anything", SORTS[sort])
        solver.add(z3.Distinct(*names), z3.ForAll([anything], z3.Or(*(anything == name for name in names))))
    return solver


def _decided(solver: z3.Solver, guard: Term, where: str) -> bool:
    for verdict, denied in ((True, z3.Not(guard)), (False, guard)):
        solver.push()
        solver.add(denied)
        answer = solver.check()
        solver.pop()
        if answer == z3.unsat:
            return verdict
        if answer == z3.unknown:
            raise Undecided(f"{where}: {solver.reason_unknown()}")
    raise Undecided(f"{where}: the state leaves it open")
