"""The second reading of the transition relation: its own syntax trees, run over a finite state.

`spec.relation` builds terms.  A solver reads them as logic; here each is compiled to a Python function of a `State`, a
finite structure that gives every symbol a table.  A quantifier runs over what there is: the servers, clients and ports
of the state, and for integers all positions and sequence numbers that occur in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import z3
from spec.relation.language import Action, Macro, Step
from spec.relation.state import STATE


@dataclass
class State:
    """A finite structure: for each symbol a table from arguments to values, and what all others have."""

    tables: dict[str, dict[tuple[Any, ...], Any]]
    domains: dict[str, tuple[Any, ...]]
    """By the name of a sort, what there is of it; of ``Int``, every number that may matter."""
    defaults: dict[str, Any] = field(default_factory=dict)

    def value(self, name: str, *place: Any) -> Any:
        """What the symbol is there."""
        table = self.tables.get(name)
        if table is not None and place in table:
            return table[place]
        return self.defaults.get(name, DEFAULTS[name])

    def with_changes(self, changes: Mapping[str, dict[tuple[Any, ...], Any]]) -> State:
        """The state with some of the tables replaced at some of their places."""
        tables = dict(self.tables)
        for name, table in changes.items():
            tables[name] = {**tables.get(name, {}), **table}
        return State(tables, self.domains, self.defaults)


def _default(sort: z3.SortRef) -> Any:
    if sort == z3.BoolSort():
        return False
    if sort == z3.IntSort():
        return 0
    if isinstance(sort, z3.DatatypeSortRef):
        return str(sort.constructor(0))
    return None


DEFAULTS = {name: _default(symbol.sort) for name, symbol in STATE.symbols.items()}

Compiled = Callable[[State, Mapping[str, Any]], Any]


class _Compiler:
    """Turns a term into the text of a Python expression over ``S`` (the state) and ``P`` (the parameters)."""

    OPERATORS: ClassVar = {
        z3.Z3_OP_EQ: "==",
        z3.Z3_OP_LE: "<=",
        z3.Z3_OP_GE: ">=",
        z3.Z3_OP_LT: "<",
        z3.Z3_OP_GT: ">",
        z3.Z3_OP_ADD: "+",
        z3.Z3_OP_SUB: "-",
        z3.Z3_OP_MUL: "*",
        z3.Z3_OP_AND: "and",
        z3.Z3_OP_OR: "or",
    }

    def text(self, term: z3.ExprRef, bound: tuple[str, ...] = ()) -> str:
        """The expression; `bound` names the variables of the quantifiers around it, the innermost last."""
        if z3.is_quantifier(term):
            return self._quantifier(term, bound)
        if z3.is_var(term):
            return bound[-1 - int(z3.get_var_index(term))]
        if z3.is_int_value(term):
            return str(term.as_long())
        kind, name = term.decl().kind(), term.decl().name()
        parts = [self.text(child, bound) for child in term.children()]
        if kind == z3.Z3_OP_TRUE:
            return "True"
        if kind == z3.Z3_OP_FALSE:
            return "False"
        if kind == z3.Z3_OP_NOT:
            return f"(not {parts[0]})"
        if kind == z3.Z3_OP_IMPLIES:
            return f"((not {parts[0]}) or {parts[1]})"
        if kind == z3.Z3_OP_ITE:
            return f"({parts[1]} if {parts[0]} else {parts[2]})"
        if kind == z3.Z3_OP_UMINUS:
            return f"(-{parts[0]})"
        if kind == z3.Z3_OP_DISTINCT:
            return f"({parts[0]} != {parts[1]})"
        if kind in self.OPERATORS:
            return "(" + f" {self.OPERATORS[kind]} ".join(parts) + ")"
        if kind == z3.Z3_OP_DT_CONSTRUCTOR:
            return repr(name)
        assert kind == z3.Z3_OP_UNINTERPRETED, f"{term} is of a kind that is not modelled here"
        if name == "lighter":
            mine, weight, theirs, other = parts
            return f"({mine} * {other} < {theirs} * {weight})"
        if name in STATE.symbols:
            return f"S.value({', '.join([repr(name), *parts])})"
        return f"P[{name!r}]"

    def _quantifier(self, term: z3.QuantifierRef, bound: tuple[str, ...]) -> str:
        names, loops = list(bound), []
        for i in range(term.num_vars()):
            name = f"x{len(names)}"
            names.append(name)
            loops.append(f"for {name} in S.domains[{term.var_sort(i).name()!r}]")
        body = self.text(term.body(), tuple(names))
        word = "all" if term.is_forall() else "any"
        return f"{word}({body} {' '.join(loops)})"


def compiled(term: z3.ExprRef) -> Compiled:
    """The term as a function of a state and of the parameters' values by name."""
    function: Compiled = eval(f"lambda S, P: {_Compiler().text(term)}")
    return function


@dataclass(frozen=True)
class Transition:
    """A transition of the relation, to be run."""

    name: str
    exact: bool
    sorts: Mapping[str, str]
    """Its parameters, and of which sort each is."""
    guards: tuple[tuple[str, Compiled], ...]
    updates: Mapping[str, tuple[tuple[str, ...], Compiled]]
    """For each symbol that is assigned: the sorts of its arguments, and its new value at ``a0``, ``a1``, ..."""
    general: tuple[int, ...] = ()
    """The places of the guards that speak of no parameter."""

    def impossible(self, state: State) -> bool:
        """Whether a guard that speaks of no parameter does not hold: then it is not enabled with any."""
        return any(not self.guards[place][1](state, {}) for place in self.general)

    def refused(self, state: State, parameters: Mapping[str, Any]) -> str | None:
        """The first guard that does not hold, by its place in the specification; None where all do."""
        given = {f"{name}!": value for name, value in parameters.items()}
        return next((line for line, guard in self.guards if not guard(state, given)), None)

    def verdicts(self, state: State, parameters: Mapping[str, Any]) -> tuple[bool, ...]:
        """Of each guard, whether it holds."""
        given = {f"{name}!": value for name, value in parameters.items()}
        return tuple(guard(state, given) for _, guard in self.guards)

    def after(self, state: State, parameters: Mapping[str, Any]) -> State:
        """The state that it leads to."""
        given = {f"{name}!": value for name, value in parameters.items()}
        changes: dict[str, dict[tuple[Any, ...], Any]] = {}
        for name, (sorts, update) in self.updates.items():
            changes[name] = {
                place: update(state, {**given, **{f"a{i}": x for i, x in enumerate(place)}})
                for place in places(state, sorts)
            }
        return state.with_changes(changes)


def places(state: State, sorts: tuple[str, ...]) -> Iterable[tuple[Any, ...]]:
    """All arguments of these sorts."""
    found: list[tuple[Any, ...]] = [()]
    for sort in sorts:
        found = [(*place, x) for place in found for x in state.domains[sort]]
    return found


def transition(action: Action, step: Step | None = None) -> Transition:
    """Compile a transition of the relation, or what a mutant makes of it."""
    step = step or action.step(STATE)
    updates = {name: _update(name, macro) for name, macro in step.changed.items() if not STATE.symbols[name].ghost}
    given = {str(parameter) for parameter in step.parameters.values()}
    return Transition(
        action.name,
        action.exact,
        {name: sort.name() for name, sort in action.sorts.items()},
        tuple((line, compiled(term)) for line, term in step.guards),
        updates,
        tuple(i for i, (_, term) in enumerate(step.guards) if not given & free_names(term)),
    )


def free_names(term: z3.ExprRef) -> set[str]:
    """The names of all constants and functions in the term."""
    if z3.is_quantifier(term):
        return free_names(term.body())
    if z3.is_var(term):
        return set()
    return {term.decl().name()}.union(*(free_names(child) for child in term.children()))


def _update(name: str, macro: Macro) -> tuple[tuple[str, ...], Compiled]:
    symbol = STATE.symbols[name]
    places_ = [z3.Const(f"a{i}", sort) for i, sort in enumerate(symbol.arguments)]
    return tuple(sort.name() for sort in symbol.arguments), compiled(macro(*places_))
