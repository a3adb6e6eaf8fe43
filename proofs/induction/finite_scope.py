"""The relation in a finite scope: so many servers, clients and ports, and positions up to a top; no quantifier is left.

Where the quantified theory may leave a solver undecided, a finite scope never does: each quantifier is written out over
what there is.  What is found in a scope is a state of the relation at any size: a few elements, and nothing else.  That
nothing is found in it proves nothing.

Positions, sequence numbers and counts are bounded in the state before; quantifiers reach one further, as a transition
appends at most one message to a channel.  Outside of that, no formula of the relation asks for anything, as each speaks
of positions only between the ends of a channel (`tests/proofs/induction/test_finite_scope.py` writes the quantifiers
out further).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import z3
from spec.relation.language import Macro, Symbol, Vocabulary
from spec.relation.state import STATE

Value: TypeAlias = bool | int | str
Facts: TypeAlias = dict[tuple[str, tuple[Value, ...]], Value]
"""A state: by symbol and place, the value."""


@cache
def finite_sort(name: str, count: int) -> tuple[z3.SortRef, list[z3.ExprRef]]:
    """A sort of so many elements, and these."""
    sort, members = z3.EnumSort(f"{name} of {count}", [f"{name.lower()} {n + 1}" for n in range(count)])
    return sort, list(members)


@dataclass
class Scope:
    """How many there are of each sort, and the highest position."""

    servers: int = 2
    clients: int = 2
    ports: int = 1
    places: int = 2
    elements: int = 1
    top: int = 3
    further: int = 1
    """How much further than `top` quantifiers over integers reach."""
    _sorts: dict[str, tuple[z3.SortRef, list[z3.ExprRef]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        counts = {
            "Server": self.servers,
            "Client": self.clients,
            "Port": self.ports,
            "Place": self.places,
            "Element": self.elements,
        }
        for name, count in counts.items():
            self._sorts[name] = finite_sort(name, count)

    # ---------------------------------------------------------------- sorts and places

    def sort(self, sort: z3.SortRef) -> z3.SortRef:
        """The finite sort that stands for this one."""
        return self._sorts[sort.name()][0] if sort.name() in self._sorts else sort

    def members(self, sort: z3.SortRef) -> list[z3.ExprRef]:
        """What there is of a sort; of integers, what a quantifier is written out for."""
        if sort == z3.IntSort():
            return [z3.IntVal(n) for n in range(-self.further, self.top + self.further + 1)]
        if sort.name() in self._sorts:
            return self._sorts[sort.name()][1]
        return [sort.constructor(n)() for n in range(sort.num_constructors())]

    def points(self, symbol: Symbol) -> list[tuple[z3.ExprRef, ...]]:
        """All arguments of the symbol."""
        return list(itertools.product(*(self.members(sort) for sort in symbol.arguments)))

    def printed_points(self, symbol: Symbol) -> list[tuple[z3.ExprRef, ...]]:
        """The arguments where facts of the symbol are printed: of loads, where both weights are one."""
        if symbol.name != "lighter":
            return self.points(symbol)
        one, numbers = z3.IntVal(1), self.members(z3.IntSort())
        return [(mine, one, theirs, one) for mine, theirs in itertools.product(numbers, numbers)]

    def at(self, symbol: Symbol, place: Sequence[z3.ExprRef]) -> z3.ExprRef:
        """The symbol there."""
        return self._function(symbol.name, symbol.arguments, symbol.sort)(*place)

    def _function(self, name: str, arguments: Iterable[z3.SortRef], sort: z3.SortRef) -> Any:
        domain = [self.sort(argument) for argument in arguments]
        return z3.Function(name, *domain, self.sort(sort)) if domain else (lambda: z3.Const(name, self.sort(sort)))

    # ---------------------------------------------------------------- terms

    def ground(self, term: z3.ExprRef) -> z3.ExprRef:
        """The term in this scope: finite sorts, and no quantifier."""
        return z3.simplify(self._ground(term, ()))

    def _ground(self, term: z3.ExprRef, bound: tuple[z3.ExprRef, ...]) -> z3.ExprRef:
        if z3.is_quantifier(term):
            return self._written_out(term, bound)
        if z3.is_var(term):
            return bound[-1 - z3.get_var_index(term)]
        parts = [self._ground(child, bound) for child in term.children()]
        kind = term.decl().kind()
        if kind == z3.Z3_OP_UNINTERPRETED:
            declared = term.decl()
            sorts = [declared.domain(n) for n in range(declared.arity())]
            return self._function(declared.name(), sorts, declared.range())(*parts)
        if kind == z3.Z3_OP_EQ:
            return parts[0] == parts[1]
        if kind == z3.Z3_OP_ITE:
            return z3.If(*parts)
        if kind == z3.Z3_OP_DISTINCT:
            return z3.Distinct(*parts)
        if kind == z3.Z3_OP_AND:
            return z3.And(*parts)
        if kind == z3.Z3_OP_OR:
            return z3.Or(*parts)
        return term.decl()(*parts) if parts else term

    def _written_out(self, term: z3.QuantifierRef, bound: tuple[z3.ExprRef, ...]) -> z3.ExprRef:
        sorts = [term.var_sort(n) for n in range(term.num_vars())]
        fresh = tuple(z3.FreshConst(self.sort(sort), "x") for sort in sorts)
        body = self._ground(term.body(), (*bound, *fresh))
        rows = itertools.product(*(self.members(sort) for sort in sorts))
        instances = [z3.simplify(z3.substitute(body, *zip(fresh, row, strict=True))) for row in rows]
        return z3.And(*instances) if term.is_forall() else z3.Or(*instances)

    # ---------------------------------------------------------------- what is always so

    def bounds(self, vocabulary: Vocabulary = STATE) -> Iterator[z3.BoolRef]:
        """Every number in the state is within the scope."""
        for symbol in vocabulary.symbols.values():
            if symbol.sort == z3.IntSort():
                for place in self.points(symbol):
                    value = self.at(symbol, place)
                    yield z3.And(value >= -1, value <= self.top)

    def loads(self) -> Iterator[z3.BoolRef]:
        """All weights are one, so the less loaded is who has fewer clients."""
        weight, lighter, one = STATE.symbols["weight"], STATE.symbols["lighter"], z3.IntVal(1)
        for (server,) in self.points(weight):
            yield self.at(weight, (server,)) == 1
        for mine, _, theirs, _ in self.printed_points(lighter):
            yield self.at(lighter, (mine, one, theirs, one)) == z3.simplify(mine < theirs)

    # ---------------------------------------------------------------- states

    def table(self, symbol: Symbol, macro: Macro) -> Iterator[tuple[tuple[Value, ...], z3.ExprRef]]:
        """What a macro makes of the symbol: at each place, a term over the state before."""
        given = [z3.Const(f"{symbol.name}@{n}", sort) for n, sort in enumerate(symbol.arguments)]
        finite = [z3.Const(f"{symbol.name}@{n}", self.sort(sort)) for n, sort in enumerate(symbol.arguments)]
        value = self.ground(macro(*given))
        for place in self.points(symbol):
            yield tuple(map(value_of, place)), z3.simplify(z3.substitute(value, *zip(finite, place, strict=True)))

    def facts(self, model: z3.ModelRef) -> Facts:
        """What each symbol is at each place in the model."""
        found: Facts = {}
        for name, symbol in STATE.symbols.items():
            for place in self.printed_points(symbol):
                term = self.at(symbol, place)
                found[name, tuple(map(value_of, place))] = value_of(model.eval(term, model_completion=True))
        return found


def value_of(term: z3.ExprRef) -> Value:
    """A value as Python has it; of a sort, its name."""
    if z3.is_int_value(term):
        return int(term.as_long())
    if z3.is_true(term) or z3.is_false(term):
        return bool(z3.is_true(term))
    return str(term.decl().name())


def term_of(value: Value, sort: z3.SortRef) -> z3.ExprRef:
    """A value as a term."""
    if isinstance(value, bool):
        return z3.BoolVal(value)
    if isinstance(value, int):
        return z3.IntVal(value)
    return _members(sort)[value]


@cache
def _members(sort: z3.SortRef) -> dict[str, z3.ExprRef]:
    constructors = [sort.constructor(n) for n in range(sort.num_constructors())]
    return {constructor.name(): constructor() for constructor in constructors}
