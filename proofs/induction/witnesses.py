"""Witnesses: every transition can happen, and no promise holds vacuously.  Runs, from the beginning.

A run is looked for by random walks through a small system, by the second reading of the relation
(`proofs.refinement.interpreter`), and made short: whatever can be left out is.  Z3 then confirms it by the first
reading, in a finite scope (`proofs.induction.finite_scope`): its first state is one of `initial`, each guard is true
where it is taken, and each next state is what the assignments make of the last, ghosts included.

An *occasion* is what a promise speaks of: where it never came, the promise would hold of nothing.

What was found is kept in `proofs/kept/witnesses`; the tests confirm every run there again.
"""

from __future__ import annotations

import argparse
import random
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any, Final, TypeAlias

import z3
from spec.relation.language import Step, View
from spec.relation.state import NOW, STATE, Client, Port, Server, alive, free, unread, up
from spec.relation.system import ACTIONS, initial

from proofs import kept
from proofs.induction.finite_scope import Facts, Scope, Value, term_of, value_of
from proofs.induction.obligations import step_of
from proofs.refinement.interpreter import Compiled, State, Transition, compiled, transition
from proofs.solve.solver import ROOT, watched

RUNS: Final = kept.KEPT / "witnesses"
SEED: Final = 1
WALKS: Final = 300
LENGTH: Final = 140
"""Steps of one walk."""
RARE: Final = {
    "distributor_dies": 0.03,
    "distributor_dies_having_read": 0.03,
    "server_dies": 0.03,
    "server_leaves_a_child": 0.05,
    "element_fails": 0.02,
    "accept_fails": 0.1,
    "client_closes": 0.1,
    "client_leaves": 0.3,
    "drains_idle_server": 0.1,
    "finds_server_unresponsive": 0.05,
    "finds_server_unfit": 0.05,
    "sends_hand_in_vain": 0.1,
    "server_closes_listener": 0.1,
    "server_refuses": 0.2,
    "shuts_waiter_down": 0.1,
    "binds_later": 0.1,
    "sender_dies": 0.1,
    "reader_dies_with_hand_off": 0.2,
    "reader_dies_with_question": 0.05,
    "server_leaves_a_child_in_the_midst": 0.05,
    "server_resumes": 0.1,
    "asks_again": 0.03,
    "monitor_sees_server_end": 0.3,
    "monitor_declines_server": 0.3,
}
"""How seldom the world does what it may do, so that walks get somewhere; everything else is 1."""

Move: TypeAlias = tuple[str, dict[str, Value]]
"""A transition, and its parameters."""
Run: TypeAlias = list[Move]

# ================================================================ a small system

SIZES: Final = {"Server": 3, "Client": 2, "Port": 1, "Place": 2, "Element": 1}
"""The first place is for a static server, the second for a dynamic one; the third server is to follow the first."""
RIGID: Final[dict[str, Callable[..., Value]]] = {
    "port_of": lambda c: "port 1",
    "max_clients": lambda s: 2 if s == "server 1" else 1,
    "weight": lambda s: 1,
    "place_of": lambda s: "place 2" if s == "server 2" else "place 1",
    "element_of": lambda s: "element 1",
    "dynamic": lambda place: place == "place 2",
    "has_dynamic": lambda: True,
    "limit": lambda: 2,
    "reordering": lambda: False,
    "full": lambda s, p: False,
}
"""What never changes."""
FIRST: Final[dict[str, Value]] = {
    "absent": True,
    "usable": True,
    "life": "absent",
    "last_word": -1,
    "last_dialog_word": -1,
    "last_use_word": -1,
    "last_drained_word": -1,
    "count_sequence": -1,
    "dialog_sequence": -1,
}
"""What is neither false nor zero in the beginning."""


@cache
def transitions() -> dict[str, Transition]:
    """The transitions, to be run; ghosts are assigned too."""
    return {action.name: replace(transition(action), updates=dict(_updates(action.name))) for action in ACTIONS}


def _updates(name: str) -> Iterator[tuple[str, tuple[tuple[str, ...], Compiled]]]:
    for symbol, macro in step_of(ACTIONS.by_name[name]).changed.items():
        sorts = STATE.symbols[symbol].arguments
        places = [z3.Const(f"a{n}", sort) for n, sort in enumerate(sorts)]
        yield symbol, (tuple(sort.name() for sort in sorts), compiled(macro(*places)))


def beginning() -> State:
    """The small system, before anything has happened."""
    domains: dict[str, tuple[Any, ...]] = {
        sort: tuple(f"{sort.lower()} {n + 1}" for n in range(count)) for sort, count in SIZES.items()
    }
    tables = {}
    for name, makes in RIGID.items():
        sorts = [sort.name() for sort in STATE.symbols[name].arguments]
        tables[name] = {place: makes(*place) for place in product(*(domains[sort] for sort in sorts))}
    defaults: dict[str, Any] = dict(FIRST)
    for name, symbol in STATE.symbols.items():
        if symbol.sort.name() in domains:
            defaults[name] = domains[symbol.sort.name()][0]
    return reaching(State(tables, domains, defaults))


def reaching(state: State) -> State:
    """The state, whose integers are those that its channels reach, and the next."""
    tails = [state.value("word_tail")]
    tails += [state.value("sequence", s) for s in state.domains["Server"]]
    tails += [state.value("down_tail", s, p) for s in state.domains["Server"] for p in state.domains["Port"]]
    return replace(state, domains={**state.domains, "Int": tuple(range(-1, max(tails) + 2))})


COUNTED: Final = range(3)
"""How many a sweep may find in a backlog: the relation allows any number."""


def choices(state: State, name: str) -> list[dict[str, Value]]:
    """Parameters that the transition may have; of messages, those that are unread."""
    found: list[dict[str, Value]] = [{}]
    for parameter, sort in transitions()[name].sorts.items():
        found = [{**given, parameter: x} for given in found for x in _of_sort(state, sort, given)]
    return found


def _of_sort(state: State, sort: str, given: Mapping[str, Value]) -> Sequence[Value]:
    if sort != "Int":
        return state.domains[sort]
    if "s" not in given:
        return COUNTED
    s = given["s"]
    return [q for q in range(1, state.value("sequence", s) + 1) if not state.value("up_read", s, q)]


def taken(state: State, name: str, given: Mapping[str, Value]) -> State:
    """The state after the transition."""
    return reaching(transitions()[name].after(state, given))


# ================================================================ occasions

s, t = z3.Consts("s t", Server)
c, d = z3.Consts("c d", Client)
p, r = z3.Consts("p r", Port)
i, q = z3.Ints("i q")
And, Not, Exists, ForAll, Implies = z3.And, z3.Not, z3.Exists, z3.ForAll, z3.Implies


@dataclass(frozen=True)
class Occasion:
    """What a promise speaks of."""

    promise: str
    text: str
    says: Callable[[View], Any]


def _quiet(v: View) -> Any:
    nothing_down = ForAll([r], And(v.down_head(s, r) == v.down_tail(s, r), Not(v.initial_due(s, r))))
    nothing_up = ForAll([q], Implies(And(q >= 1, q <= v.sequence(s)), v.up_read(s, q)))
    return And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)), nothing_down, nothing_up)


def _held(v: View) -> Any:
    return And(v.accepted(c), Not(v.over(c)))


OCCASIONS: Final = {
    "somebody is served": Occasion(
        "no_client_has_two_servers", "a server has taken a client", lambda v: Exists([c], v.taken(c))
    ),
    "a server is full": Occasion(
        "never_above_the_maximum",
        "a server serves as many as it may",
        lambda v: Exists([s], And(v.clients(s) == v.max_clients(s), alive(v, s))),
    ),
    "a server is free again": Occasion(
        "never_stale_low",
        "a server that has served may be sent a client",
        lambda v: Exists([s, p], And(up(v), free(v, s, p), alive(v, s), v.last_accept(s) > 0)),
    ),
    "somebody waits": Occasion(
        "no_client_is_lost", "a client is held by the store", lambda v: Exists([c], And(_held(v), v.effective(c)))
    ),
    "somebody is in hand": Occasion(
        "no_client_is_lost", "a client is in hand", lambda v: Exists([c], And(_held(v), v.holding, v.hand == c))
    ),
    "somebody is requested": Occasion(
        "no_client_is_lost",
        "a hand-off to a dead server is unanswered",
        lambda v: Exists([s], And(v.requested(s), Not(v.over(v.request(s))), Not(alive(v, s)))),
    ),
    "somebody is under way": Occasion(
        "no_client_is_lost",
        "a hand-off is unread, and the Distributor that sent it is dead",
        lambda v: Exists([s, p, i], And(unread(v, s, p, i), Not(up(v)), Not(v.over(v.down_client(s, p, i))))),
    ),
    "a hand-off is unread": Occasion(
        "at_most_one_request_outstanding", "a hand-off is unread", lambda v: Exists([s, p, i], unread(v, s, p, i))
    ),
    "a server follows another": Occasion(
        "never_more_servers_than_configured",
        "a server fills the place of one that has died",
        lambda v: Exists(
            [s, t],
            And(v.place_of(s) == v.place_of(t), s != t, v.living(s), v.born(t), Not(v.living(t))),
        ),
    ),
    "the store holds somebody": Occasion(
        "store_has_exactly_those_who_wait",
        "a client waits, and the Monitor has stored it",
        lambda v: Exists([c], And(up(v), v.waiting(c), v.store(c))),
    ),
    "somebody outlives the Distributor": Occasion(
        "no_client_with_a_server_is_restored",
        "the Distributor is dead; one client is stored, and a server has another",
        lambda v: Exists([c, d], And(Not(up(v)), v.effective(c), v.taken(d))),
    ),
    "a drained server is asked to end": Occasion(
        "no_one_is_cut_off_by_draining",
        "a server that lives is asked to end, as it is drained",
        lambda v: Exists([s], And(v.finished(s), alive(v, s), v.asked_to_end(s))),
    ),
    "the dialogs are quiet": Occasion(
        "the_count_is_exact_when_dialogs_are_quiet",
        "nothing is under way, and a server serves a client",
        lambda v: Exists([s, p], And(_quiet(v), v.clients(s) > 0)),
    ),
    "two could have a seat": Occasion(
        "first_come_first_served",
        "a client is in hand, another waits, and a server is free that could take either",
        lambda v: Exists([s, c], And(v.holding, free(v, s, v.port_of(v.hand)), free(v, s, v.port_of(c)), v.waiting(c))),
    ),
}
"""At least one for each promise."""


@cache
def occasions() -> dict[str, Compiled]:
    """The occasions, to be asked of a state."""
    return {name: compiled(occasion.says(NOW)) for name, occasion in OCCASIONS.items()}


# ================================================================ the search


def walk(dice: random.Random, seen: Counter[str]) -> Run:
    """A random run, which prefers what has been taken seldom."""
    state, run = beginning(), Run()
    for _ in range(LENGTH):
        move = _some_move(state, dice, seen)
        if move is None:
            break
        run.append(move)
        seen[move[0]] += 1
        state = taken(state, *move)
    return run


def _some_move(state: State, dice: random.Random, seen: Counter[str]) -> Move | None:
    def turn(name: str) -> float:
        return float(dice.random() ** (1 / (RARE.get(name, 1) / (1 + seen[name]) ** 0.3)))

    for name in sorted(transitions(), key=turn, reverse=True):
        given = choices(state, name)
        dice.shuffle(given)
        for parameters in given:
            if transitions()[name].refused(state, parameters) is None:
                return name, parameters
    return None


Reached: TypeAlias = tuple[Run, State]
"""A run, and the state that it leads to."""


def replayed(moves: Sequence[Move]) -> Reached | None:
    """The run with these moves; of messages, the one that it names is read, or else the first that will do.

    None where a guard is false.
    """
    state, run = beginning(), Run()
    for name, wanted in moves:
        same = {key: value for key, value in wanted.items() if key != "q"}
        fitting = [given for given in choices(state, name) if same.items() <= given.items()]
        fitting.sort(key=wanted.__ne__)
        given = next((given for given in fitting if transitions()[name].refused(state, given) is None), None)
        if given is None:
            return None
        run.append((name, given))
        state = taken(state, name, given)
    return run, state


def shortened(run: Run, target: str) -> Run:
    """The run without whatever it can do without and still reach the target: large pieces are tried first."""
    piece = max(1, len(run) // 2)
    while piece:
        shorter = _without_pieces(run, target, piece)
        if piece > 1 or shorter == run:  # of single moves, until none can be spared
            piece //= 2
        run = shorter
    return run


def _without_pieces(run: Run, target: str, piece: int) -> Run:
    start = 0
    while start < len(run):
        shorter = replayed([*run[:start], *run[start + piece :]])
        if shorter is not None and reaches(shorter, target):
            run = shorter[0]
        else:
            start += max(1, piece // 2)
    return run


def reaches(reached: Reached, target: str) -> bool:
    """The run ends with the transition of this name, or where the occasion is."""
    run, state = reached
    if target in OCCASIONS:
        return bool(occasions()[target](state, {}))
    return bool(run) and run[-1][0] == target


def search(walks: int = WALKS, seed: int = SEED, advance: Callable[[], None] = lambda: None) -> dict[str, Run]:
    """For each transition and each occasion the shortest run that was found, by walks of which each is made short."""
    dice, seen = random.Random(seed), Counter[str]()
    found: dict[str, Run] = {}
    for _ in range(walks):
        run, state = walk(dice, seen), beginning()
        for length, move in enumerate(run, 1):
            state = taken(state, *move)
            here = [move[0], *(name for name, says in occasions().items() if says(state, {}))]
            for target in here:
                if target not in found or length < len(found[target]):
                    found[target] = run[:length]
        advance()
    return {target: shortened(found[target], target) for target in targets() if target in found}


def targets() -> list[str]:
    """All that a run should lead to."""
    return [*transitions(), *OCCASIONS]


# ================================================================ confirmed by Z3


class Refuted(Exception):
    """A run that was kept is none by the reading of Z3; the text names where."""


class Judge:
    """Follows runs by Z3's reading, in a scope whose positions reach as far as they do."""

    def __init__(self, names: Iterable[str], top: int) -> None:
        """Write out the transitions of these names."""
        sizes = {f"{sort.lower()}s": count for sort, count in SIZES.items()}
        self.scope = Scope(**sizes, top=top)
        self.occasions = {name: self.scope.ground(occasion.says(NOW)) for name, occasion in OCCASIONS.items()}
        self._terms: dict[tuple[str, tuple[Value, ...]], z3.ExprRef] = {}
        steps = {name: step_of(ACTIONS.by_name[name]) for name in names}
        self.guards = {n: [(line, self.scope.ground(term)) for line, term in step.guards] for n, step in steps.items()}
        self.tables = {n: list(self._tables(step)) for n, step in steps.items()}

    def _tables(self, step: Step) -> Iterator[tuple[tuple[str, tuple[Value, ...]], z3.ExprRef]]:
        for name, macro in step.changed.items():
            for place, term in self.scope.table(STATE.symbols[name], macro):
                yield (name, place), term

    def first(self) -> Facts:
        """The beginning, by `initial`; what it leaves open is as Z3 chooses."""
        solver = z3.Solver()
        solver.add(self.scope.ground(initial(NOW)), *self.scope.loads(), *self.scope.bounds())
        for name, makes in RIGID.items():
            for place in self.scope.points(STATE.symbols[name]):
                term = self.scope.at(STATE.symbols[name], place)
                solver.add(term == term_of(makes(*map(value_of, place)), term.sort()))
        if solver.check() != z3.sat:
            raise Refuted("nothing is a beginning")
        return self.scope.facts(solver.model())

    def at(self, facts: Facts) -> z3.ModelRef:
        """The state as Z3 has it: a model, made fact by fact."""
        model, interpretations = z3.Model(), {}
        context = model.ctx.ref()
        for (name, place), value in facts.items():
            term = self._term(name, place)
            new = term_of(value, term.sort())
            if not place:
                model.update_value(term, new)
                continue
            if name not in interpretations:
                made = z3.Z3_add_func_interp(context, model.model, term.decl().as_func_decl(), new.as_ast())
                interpretations[name] = z3.FuncInterp(made, model.ctx)
            arguments = z3.AstVector(ctx=model.ctx)
            for child in term.children():
                arguments.push(child)
            z3.Z3_func_interp_add_entry(context, interpretations[name].f, arguments.vector, new.as_ast())
        return model

    def after(self, model: z3.ModelRef, facts: Facts, move: Move) -> Facts:
        """The state after the move.

        Raises:
            Refuted: the guard is false.
        """
        name, given = move
        step = step_of(ACTIONS.by_name[name])
        finite = [(self.scope.ground(term), key) for key, term in step.parameters.items()]
        pairs = [(term, term_of(given[key], term.sort())) for term, key in finite]
        for line, guard in self.guards[name]:
            if not z3.is_true(model.eval(z3.substitute(guard, *pairs), model_completion=True)):
                raise Refuted(f"{line} is false at {rendered(move)}")
        new = dict(facts)
        for fact, term in self.tables[name]:
            new[fact] = value_of(model.eval(z3.substitute(term, *pairs), model_completion=True))
        return new

    def here(self, model: z3.ModelRef) -> list[str]:
        """The occasions that are."""
        return [name for name, says in self.occasions.items() if z3.is_true(model.eval(says, model_completion=True))]

    def _term(self, name: str, place: tuple[Value, ...]) -> z3.ExprRef:
        if (name, place) not in self._terms:
            symbol = STATE.symbols[name]
            sorts = [self.scope.sort(sort) for sort in symbol.arguments]
            given = [term_of(value, sort) for value, sort in zip(place, sorts, strict=True)]
            self._terms[name, place] = self.scope.at(symbol, given)
        return self._terms[name, place]


@dataclass(frozen=True)
class Confirmed:
    """What Z3 has seen along the runs."""

    steps: int
    transitions: frozenset[str]
    occasions: frozenset[str]


def confirm(runs: Mapping[str, Run], advance: Callable[[], None] = lambda: None) -> Confirmed:
    """Follow every run by Z3's reading, what they have in common once.

    Raises:
        Refuted: a guard is false, or a run does not lead where it should.
    """
    judge = Judge({name for run in runs.values() for name, _ in run}, _reach(runs.values()))
    states: dict[str, tuple[z3.ModelRef, Facts]] = {}
    first = judge.first()
    steps, transitions_seen, occasions_seen = 0, set(), set()
    for target, run in runs.items():
        key, model, facts = "", judge.at(first), first
        for move in run:
            key += rendered(move) + ";"
            if key not in states:
                facts = judge.after(model, facts, move)
                states[key] = judge.at(facts), facts
                steps += 1
            model, facts = states[key]
        ends = {run[-1][0] if run else "", *judge.here(model)}
        if target not in ends:
            raise Refuted(f"{target}: the run does not lead there")
        transitions_seen |= {name for name, _ in run}
        occasions_seen |= ends & set(OCCASIONS)
        advance()
    return Confirmed(steps, frozenset(transitions_seen), frozenset(occasions_seen))


def _reach(runs: Iterable[Run]) -> int:
    """The highest integer of any state of the runs, and one more."""
    highest = 1
    for run in runs:
        state = beginning()
        for move in run:
            state = taken(state, *move)
            numbers = [value for table in state.tables.values() for value in table.values() if type(value) is int]
            highest = max(highest, *numbers, *state.domains["Int"])
    return highest + 1


# ================================================================ kept, and printed


def read() -> dict[str, Run]:
    """The runs that were found, by what they lead to."""
    return {target: [(name, given) for name, given in run] for target, run in kept.read(RUNS).items()}


def rendered(move: Move) -> str:
    """A move as one writes a call."""
    name, given = move
    return f"{name}({', '.join(f'{key} = {value}' for key, value in given.items())})"


def about(target: str) -> str:
    """What the run to a transition or to an occasion is for."""
    if target in OCCASIONS:
        return f"for {OCCASIONS[target].promise}: {OCCASIONS[target].text}"
    return ACTIONS.by_name[target].meaning


def reached() -> int:
    """The number of transitions that have a run."""
    return len(read().keys() & transitions().keys())


# ================================================================ the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a run is refuted or missing."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.induction.witnesses", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a transition or an occasion; all by default")
    parser.add_argument("--write", action="store_true", help=f"look for runs; keep them in {RUNS.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in targets()]
    if unknown:
        parser.error(f"neither a transition nor an occasion: {', '.join(unknown)}")
    if given.write:
        with watched("walks", WALKS) as advance:
            found = search(advance=advance)
        kept.write(RUNS, found, lambda name: "occasions" if name in OCCASIONS else "transitions")
    known = read()
    asked = {name: known[name] for name in given.names or targets() if name in known}
    with watched("runs", len(asked)) as advance:
        confirmed = confirm(asked, advance)
    for name, run in asked.items():
        print(f"{name}: {len(run)} steps")
        if given.names:
            print(textwrap.fill(about(name), 100))
            print("\n".join(f"{n:>5} {rendered(move)}" for n, move in enumerate(run, 1)))
    missing = [name for name in given.names or targets() if name not in known]
    for name in missing:
        print(f"{name}: no run is known")
    print(f"{len(asked)} runs, {confirmed.steps} steps confirmed by Z3; not reached: {', '.join(missing) or 'none'}")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
