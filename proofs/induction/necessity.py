"""What breaks without each conjunct of the invariant: counterexamples to induction, found by Z3, printed readably.

A conjunct is removed from what is assumed.  If it is needed, then some transition leads from a state that has all the
others to one that has not: such a state is looked for in finite scopes (`proofs.induction.finite_scope`), the smallest
first, and made as plain as possible: every fact that can be as usual is so.  What comes out is a counterexample at any
size, as a finite state is one.

A promise on which no other conjunct depends is wanted for itself.  A lemma on which none depends is not wanted.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Final

import z3
from spec.relation.invariant import INVARIANT
from spec.relation.language import Action, Macro, Symbol
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from proofs.induction.finite_scope import Facts, Scope, Value, term_of, value_of
from proofs.induction.obligations import INDUCTIVE, before, pair, step_of
from proofs.induction.obligations import THEORY as INDUCTION
from proofs.solve.solver import Obligation, Parts, solve, theory, watched

SCOPES: Final = (
    Scope(servers=1, clients=1, ports=1, places=1, top=2),
    Scope(servers=2, clients=2, ports=1, places=2, top=3),
    Scope(servers=2, clients=2, ports=2, places=2, top=3),
)
"""Where counterexamples are looked for, in this order."""
ENOUGH: Final = 3
"""Of so many counterexamples in a scope, the one that takes the fewest facts is printed."""
THEORIES: Final = ("proofs.induction.obligations", "proofs.induction.progress")
"""Who assumes the invariant."""
USUAL: Final[Mapping[str, Value]] = {
    "life": "up",
    "incarnation": 1,
    "usable": True,
    "max_clients": 1,
    "weight": 1,
    "limit": 1,
    "last_word": -1,
    "last_dialog_word": -1,
    "last_use_word": -1,
    "last_drained_word": -1,
}
"""What a symbol is where nothing is printed of it; the others are false, zero, or the first of their sort."""


FAULTS: Final = ("child", "lapsed", "doomed", "unsent", "binding", "dropping", "initial_due", "condemned")
"""What is printed only where nothing else will do."""


@dataclass(frozen=True)
class Counterexample:
    """A step from a state that has all conjuncts but the one removed to a state that has not."""

    removed: str
    obligation: Obligation
    """What cannot be shown without it."""
    parameters: Mapping[str, Value]
    before: Facts
    changed: Facts
    """What is different after the step."""

    @property
    def size(self) -> int:
        """How many facts it takes to print."""
        return sum(1 for _ in told_before(self.before))


# ================================================================ the search


class Room:
    """The invariant in one scope, each conjunct behind a switch, and each fact that is as usual behind one."""

    def __init__(self, scope: Scope) -> None:
        """Write out every conjunct."""
        self.scope = scope
        self.solver = z3.Solver()
        self.solver.add(*scope.bounds(), *scope.loads())
        self.assumed = {name: z3.Bool(f"assume {name}") for name in INDUCTIVE}
        for name, switch in self.assumed.items():
            self.solver.add(z3.Implies(switch, scope.ground(before(INVARIANT[name].says))))
        self.usual: list[z3.BoolRef] = []
        printed = [symbol for name, symbol in STATE.symbols.items() if name != "lighter"]
        for symbol, place in sorted(((s, p) for s in printed for p in scope.points(s)), key=_early):
            term = scope.at(symbol, place)
            self.usual.append(z3.Bool(f"usual {term}"))
            value = usual(symbol, tuple(map(value_of, place)))
            self.solver.add(z3.Implies(self.usual[-1], term == term_of(value, term.sort())))

    def counterexample(self, obligation: Obligation, removed: str) -> Counterexample | None:
        """A plain one, if the scope has any."""
        parts = [(name, part) for name, part in _besides(obligation) if name not in INVARIANT]
        if any(name == "initial" for name, _ in parts):
            return None  # nothing is assumed of what precedes the beginning
        given = constants(part for _, part in parts)
        self.solver.push()
        try:
            self.solver.add(*(self.scope.ground(part) for _, part in parts))
            self.solver.add(*(z3.And(n >= 0, n <= self.scope.top) for n in given if n.sort() == z3.IntSort()))
            assumed = [switch for name, switch in self.assumed.items() if name != removed]
            if self.solver.check(assumed) != z3.sat:
                return None
            return self._read(self._plain(assumed), removed, obligation, given)
        finally:
            self.solver.pop()

    def _plain(self, assumed: list[z3.BoolRef]) -> z3.ModelRef:
        """A model in which no fact that is not as usual could be: given up where a core says so, then tried again."""
        kept, given_up = [*self.usual], []
        while self.solver.check(assumed + kept) != z3.sat:
            core = self.solver.unsat_core()
            first = next(switch for switch in kept if any(switch.eq(other) for other in core))
            kept = [switch for switch in kept if not switch.eq(first)]
            given_up.append(first)
        for switch in given_up:
            if self.solver.check([*assumed, *kept, switch]) == z3.sat:
                kept.append(switch)
        assert self.solver.check(assumed + kept) == z3.sat
        return self.solver.model()

    def _read(
        self, model: z3.ModelRef, removed: str, obligation: Obligation, given: Sequence[z3.ExprRef]
    ) -> Counterexample:
        facts, changed = self.scope.facts(model), {}
        for name, macro in changes(obligation).items():
            for place, term in self.scope.table(STATE.symbols[name], macro):
                value = value_of(model.eval(term, model_completion=True))
                if value != facts[name, place]:
                    changed[name, place] = value
        parameters = {
            str(term).rstrip("!"): value_of(model.eval(self.scope.ground(term), model_completion=True))
            for term in given
        }
        return Counterexample(removed, obligation, parameters, facts, changed)


def _besides(obligation: Obligation) -> Parts:
    """What the obligation says and assumes besides the invariant; how loads are ordered, the scope itself says."""
    axioms = [name for name in theory(obligation.theory).assumptions if name not in INVARIANT]
    parts = obligation.parts(axioms)
    return [(name, part) for name, part in parts if name not in axioms or "lighter" not in part.sexpr()]


def constants(terms: Iterable[z3.ExprRef]) -> list[z3.ExprRef]:
    """What occurs in the terms and is no part of the state: parameters."""
    found: dict[str, z3.ExprRef] = {}
    left, seen = [*terms], set()
    while left:
        term = left.pop()
        if term.get_id() not in seen:
            seen.add(term.get_id())
            left += term.children()
            if z3.is_const(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED and str(term) not in STATE.symbols:
                found[str(term)] = term
    return [found[name] for name in sorted(found)]


def transition_of(obligation: Obligation) -> Action | None:
    """The transition that an obligation of the induction is about."""
    return ACTIONS.by_name.get(pair(obligation)[0]) if obligation.theory == INDUCTION.name else None


def changes(obligation: Obligation) -> Mapping[str, Macro]:
    """What that transition assigns."""
    action = transition_of(obligation)
    return step_of(action).changed if action else {}


def _early(fact: tuple[Symbol, Sequence[z3.ExprRef]]) -> tuple[bool, int]:
    """What is preferred when a fact is printed: no fault, the first server, client and port, low positions."""
    symbol, place = fact
    return symbol.name in FAULTS, sum(abs(int(str(x).rpartition(" ")[2])) for x in place)


def usual(symbol: Symbol, place: Sequence[Value]) -> Value:
    """What the symbol is there where nothing is printed of it."""
    if symbol.name in USUAL:
        return USUAL[symbol.name]
    if symbol.sort == z3.BoolSort():
        return False
    if symbol.sort == z3.IntSort():
        return 0
    if symbol.name == "place_of":
        return str(place[0]).replace("server", "place")
    if isinstance(symbol.sort, z3.DatatypeSortRef):
        return str(symbol.sort.constructor(0))
    return f"{symbol.sort.name().lower()} 1"


def users_of(conjunct: str) -> list[Obligation]:
    """The obligations, of other conjuncts or of another theory, whose proofs needed the conjunct."""
    found = []
    for name in THEORIES:
        for obligation, needed in theory(name).hints().items():
            asked = Obligation(name, obligation)
            itself = name == INDUCTION.name and pair(asked)[1] == conjunct
            if conjunct in needed and not itself:
                found.append(asked)
    return found


class Need(Enum):
    """Why a conjunct is there."""

    OTHERS = "others rest on it"
    ITSELF = "wanted for itself"
    NONE = "not needed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Necessity:
    """What is known of a conjunct's necessity."""

    conjunct: str
    need: Need
    users: tuple[Obligation, ...]
    """The obligations of others whose proofs used it."""
    counterexample: Counterexample | None = None


def necessity(conjunct: str) -> Necessity:
    """Why the conjunct is there, with the plainest counterexample where others rest on it."""
    users = tuple(users_of(conjunct))
    found = _search(conjunct, users)
    if found is not None:
        return Necessity(conjunct, Need.OTHERS, users, found)
    if INVARIANT[conjunct].promised:
        return Necessity(conjunct, Need.ITSELF, users)
    rest = [name for name in INDUCTIVE if name != conjunct]
    proved = all(solve(user, rest).holds for user in users)
    return Necessity(conjunct, Need.NONE if proved else Need.UNKNOWN, users)


def to_induction(obligation: Obligation) -> Counterexample | None:
    """A counterexample to an obligation under the whole invariant, in the smallest scope that has any."""
    return next(filter(None, (Room(scope).counterexample(obligation, "") for scope in SCOPES)), None)


def _search(conjunct: str, users: Sequence[Obligation]) -> Counterexample | None:
    """In the smallest scope that has any; of several, a promise that breaks, and what takes the fewest facts."""
    users = sorted(users, key=lambda user: not _is_promise(user))
    for scope in SCOPES if users else ():
        room, found = Room(scope), []
        for user in users:
            counterexample = room.counterexample(user, conjunct)
            if counterexample is not None:
                found.append(counterexample)
            if len(found) == ENOUGH:
                break
        if found:
            return min(found, key=lambda c: (not _is_promise(c.obligation), c.size))
    return None


def _is_promise(obligation: Obligation) -> bool:
    return obligation.theory != INDUCTION.name or INVARIANT[pair(obligation)[1]].promised


# ================================================================ printed readably

MESSAGES: Final = {
    "down": ("kind", "client", "incarnation"),
    "up": ("kind", "port", "client", "count", "incarnation", "read"),
    "word": ("kind", "client", "server", "port"),
}
"""The channels, and of which symbols a message consists."""
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "HandOff": ("client",),
    "InitialMsg": ("incarnation",),
    "Accepted": ("client", "port", "count"),
    "Refused": ("client", "port", "count"),
    "Disconnect": ("client", "port", "count"),
    "RestartReply": ("port", "count", "incarnation"),
    "NotReady": ("port", "count", "incarnation"),
    "Store": ("client",),
    "Release": ("client",),
    "KeepDialog": ("server", "port"),
    "ServerReady": ("server", "port"),
    "ServerNotReady": ("server", "port"),
    "Drained": ("server",),
    "Unresponsive": ("server",),
}
"""The fields of a message of a kind."""
ALWAYS_TOLD: Final = {"request": "requested", "hand": "holding", "dropped": "dropping"}
"""What matters where the other is true, whatever its value."""


def messages(state: Facts) -> dict[str, str]:
    """The messages on their channels, each with where it is and what it contains."""
    found = {}
    for (name, place), kind in state.items():
        channel, _, rest = name.partition("_")
        if rest == "kind" and channel in MESSAGES and _on_channel(state, channel, place):
            fields = [f"{f} {_short(state[f'{channel}_{f}', place])}" for f in FIELDS.get(str(kind), ())]
            if channel == "up":
                fields.append("read" if state["up_read", place] else "unread")
            where = {"down": "to", "up": "from", "word": "to the Monitor"}[channel]
            found[f"message {place[-1]} {' '.join([where, *map(str, place[:-1])])}"] = ", ".join([str(kind), *fields])
    return found


def _short(value: Value) -> str:
    return str(value).rpartition(" ")[2]


def _on_channel(state: Facts, channel: str, place: tuple[Value, ...]) -> bool:
    at = place[-1]
    assert isinstance(at, int)
    if channel == "up":
        first: Value = 1
        last = state["sequence", place[:1]]
    else:
        first, last = state[f"{channel}_head", place[:-1]], state[f"{channel}_tail", place[:-1]]
        last = last - 1 if isinstance(last, int) else last
    return isinstance(first, int) and isinstance(last, int) and first <= at <= last


def _of_message(name: str) -> bool:
    channel, _, rest = name.partition("_")
    return rest in MESSAGES.get(channel, ())


def fact(name: str, place: tuple[Value, ...], value: Value) -> str:
    """A fact as the relation writes it."""
    term = f"{name}({', '.join(map(str, place))})" if place else name
    if isinstance(value, bool):
        return term if value else f"not {term}"
    return f"{term} = {value}"


def told_before(state: Facts) -> Iterator[tuple[str, str]]:
    """What is not as usual in a state: each fact, and what the symbol means."""
    for (name, place), value in state.items():
        if name == "lighter":
            continue  # it follows from the counts
        gate = ALWAYS_TOLD.get(name)
        matters = state[gate, place] if gate else value != usual(STATE.symbols[name], place)
        if matters and not _of_message(name):
            yield fact(name, place, value), STATE.symbols[name].meaning
    yield from messages(state).items()


def told_after(counterexample: Counterexample) -> Iterator[tuple[str, str]]:
    """What the step has changed."""
    for (name, place), value in counterexample.changed.items():
        if not _of_message(name):
            yield fact(name, place, value), STATE.symbols[name].meaning
    old, new = messages(counterexample.before), messages({**counterexample.before, **counterexample.changed})
    yield from ((where, what) for where, what in new.items() if old.get(where) != what)


def readable(counterexample: Counterexample) -> list[str]:
    """The counterexample as lines of plain text."""
    obligation, action = counterexample.obligation, transition_of(counterexample.obligation)
    given = ", ".join(f"{name} = {value}" for name, value in counterexample.parameters.items())
    all_but = "all conjuncts but this one hold" if counterexample.removed else "all conjuncts hold"
    lines = [f"before: {all_but}", *_column(told_before(counterexample.before))]
    if action:
        lines += [f"then: {action.name}({given})", *_wrapped(action.meaning)]
        lines += ["after: what has changed", *_column(told_after(counterexample))]
    elif given:
        lines += [f"with {given}"]
    if obligation.theory == INDUCTION.name:
        broken = INVARIANT[pair(obligation)[1]]
        return [*lines, f"and this is false: {broken.name}", *_wrapped(broken.text)]
    return [*lines, f"and this is not shown: {obligation.name}"]


def _column(facts: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(facts)
    width = min(44, max((len(left) for left, _ in rows), default=0))
    return [f"    {left:<{width}}  {right}" for left, right in rows]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="    ", subsequent_indent="    ")


# ================================================================ the command


def find(names: Sequence[str], workers: int | None = None) -> Iterator[Necessity]:
    """The necessity of each conjunct, on all cores, in order."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(necessity, names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a lemma is not needed."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.induction.necessity", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a conjunct; all by default")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in INVARIANT]
    if unknown:
        parser.error(f"no such conjunct: {', '.join(unknown)}")
    names, found = given.names or list(INVARIANT), []
    with watched("conjuncts", len(names)) as advance:
        for necessity_ in find(names):
            found.append(necessity_)
            advance()
    for necessity_ in found:
        print("\n".join(shown(necessity_) if given.names else [f"{necessity_.conjunct}: {_said(necessity_)}"]))
    counts = Counter(necessity_.need for necessity_ in found)
    print(f"{len(found)} conjuncts: {', '.join(f'{n} {need.value}' for need, n in counts.items())}")
    return int(any(necessity_.need in (Need.NONE, Need.UNKNOWN) for necessity_ in found))


def shown(n: Necessity) -> Iterator[str]:
    """What is known of a conjunct, for a terminal."""
    conjunct = INVARIANT[n.conjunct]
    yield f"{n.conjunct}: a {'promise' if conjunct.promised else 'lemma'}; {_said(n)}"
    yield from _wrapped(conjunct.text)
    if n.users:
        more = f", and {len(n.users) - 4} more" if len(n.users) > 4 else ""
        yield f"{len(n.users)} proofs of others used it: {', '.join(user.name for user in n.users[:4])}{more}"
    if n.counterexample is not None:
        yield from (line.rstrip() for line in readable(n.counterexample))


def _said(n: Necessity) -> str:
    if n.counterexample is None:
        return n.need.value
    return f"without it there is a counterexample to {n.counterexample.obligation.name!r}"


if __name__ == "__main__":
    sys.exit(main())
