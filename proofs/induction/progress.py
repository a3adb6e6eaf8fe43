"""Progress, for any number: each `LeadsTo` of the specification, turned into obligations for Z3.

For a theorem with pending P, goal Q, measure M and cases (W, h), and for every transition t that the world is not
spared, the obligations are, each under the whole invariant and P without Q:

* *keeps*: after t, Q holds, or P does and M has not risen;
* *covers*: some case applies;
* *applies on*: where W holds and t happens, then Q, or M falls, or W goes on to hold;
* *can*: where W holds (and, of a case *at rest*, the Distributor is at rest; and what the case says holds again and
  again), a helpful transition is possible;
* *falls*: after a helpful transition where W holds, Q holds or M is smaller.

So if Q never came, M would at last stay as it is; the case that applies then would go on applying, its helpful
transitions would be possible for ever (or, at rest, again and again), and fairness would have one taken: M would fall.

What first-order logic cannot express about finite sets has obligations of its own: *finite*, *counted*, *ordered*.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import z3
from spec.relation.invariant import INVARIANT
from spec.relation.language import Step, View
from spec.relation.progress import (
    AXIOMS,
    CHOICES,
    COUNTED,
    FINITE,
    PROGRESS,
    Choice,
    Counted,
    Finite,
    HelpfulCase,
    LeadsTo,
    Number,
    Queues,
    Set,
    loads_are_ordered,
)
from spec.relation.state import NOW, STATE, between_events
from spec.relation.system import ACTIONS, initial

from proofs.induction.obligations import before, step_of
from proofs.kept import KEPT
from proofs.solve.solver import Obligation, Parts, Theory, command, register

And, Or, Not, If, Implies, ForAll, Exists = z3.And, z3.Or, z3.Not, z3.If, z3.Implies, z3.ForAll, z3.Exists
HINTS: Final = KEPT / "progress"
"""For each obligation, the conjuncts that its proof needs."""
FOUNDATIONS: Final = "the foundations"
"""What the theorems take for granted of finite sets, of counts, and of loads."""


@dataclass(frozen=True)
class Proof:
    """One obligation of progress."""

    theorem: str
    kind: str
    about: str
    """A transition, a case, or both."""
    parts: Parts
    """What must be unsatisfiable, together with the invariant."""
    because: tuple[str, ...] = ()
    """The conjuncts that are enough, where that is said; otherwise all may be assumed."""

    @property
    def name(self) -> str:
        """Unique among all."""
        return ": ".join(filter(None, (self.theorem, self.kind, self.about)))


@cache
def proofs() -> Mapping[str, Proof]:
    """All obligations, by name."""
    every = itertools.chain(*map(_theorem, PROGRESS.values()), _finite(), _counted(), _ordered(), _loads())
    found: dict[str, Proof] = {}
    for proof in every:
        assert proof.name not in found, f"{proof.name} is there twice"
        found[proof.name] = proof
    return found


def formula(name: str, assume: Sequence[str]) -> Parts:
    """What must be unsatisfiable: those conjuncts and axioms that are assumed, and the obligation's own parts."""
    proof = proofs()[name]
    wanted = [*proof.because, *AXIOMS] if proof.because else assume
    assumed = [(other, before(INVARIANT[other].says if other in INVARIANT else AXIOMS[other])) for other in wanted]
    return [*assumed, *_with_rest_named(proof.parts)]


def _with_rest_named(parts: Parts) -> Parts:
    """The same question, in which one name stands for "the Distributor is at rest".

    Most guards require it and most goals speak of it.  Where it only has to be the same in both, the solver need not
    look into it: it has quantifiers within quantifiers.
    """
    rest, name = between_events(NOW), z3.Bool("at_rest!")
    named = [(what, z3.substitute(part, (rest, name))) for what, part in parts]
    if all(new.eq(old) for (_, new), (_, old) in zip(named, parts, strict=True)):
        return parts
    return [*named, ("what rest is", name == rest)]


THEORY: Final = register(Theory("proofs.induction.progress", formula, (*INVARIANT, *AXIOMS), HINTS))


def obligations(theorems: Sequence[str] = ()) -> list[Obligation]:
    """Those of these theorems; all, where none is named.

    Raises:
        ValueError: there is no such theorem.
    """
    known = (*PROGRESS, FOUNDATIONS)
    if unknown := [name for name in theorems if name not in known]:
        raise ValueError(f"no such theorem: {', '.join(unknown)}; there are {', '.join(known)}")
    every = [Obligation(THEORY.name, name) for name in proofs()]
    return [obligation for obligation in every if not theorems or part_of(obligation) in theorems]


def part_of(obligation: Obligation) -> str:
    """The theorem that the obligation is of, or `FOUNDATIONS`."""
    theorem = proofs()[obligation.name].theorem
    return theorem if theorem in PROGRESS else FOUNDATIONS


# ================================================================ a theorem


def _theorem(theorem: LeadsTo) -> Iterator[Proof]:
    here = _constants(theorem.parameters)
    base: Parts = [
        *_choices(theorem, here),
        *_counts(theorem.counts),
        ("pending", theorem.pending(NOW, *here)),
        ("no goal", Not(theorem.goal(NOW, *here))),
    ]
    applying = []
    for case in theorem.cases:
        witness = list(case.witness.values())
        bound = [z3.Const(f"{name}?", sort) for name, sort in zip(case.witness, witness, strict=True)]
        where = case.where(NOW, *here, *bound)
        applying.append(Exists(bound, where) if bound else where)
    yield Proof(theorem.name, "covers", "", [*base, ("goal", Not(Or(*applying)))])
    for action in ACTIONS:
        if action.name in theorem.spared:
            continue
        step = step_of(action)
        after = View(STATE, step.changed)
        happens: Parts = [*base, ("guard", step.guard)]
        reached = theorem.goal(after, *here)
        if not (is_ := _le(theorem.measure, after, here)).eq(_le(theorem.measure, NOW, here)):
            parts = [*happens, ("goal", Not(Or(reached, is_)))]
            yield Proof(theorem.name, "keeps", f"{action.name}, the measure", parts)
        changed = _changed(theorem.pending(NOW, *here), theorem.pending(after, *here))
        for number, part in enumerate(changed, 1):
            parts = [*happens, ("goal", Not(Or(reached, part)))]
            yield Proof(theorem.name, "keeps", f"{action.name}, {number}", parts)
        for case in theorem.cases:
            if action.name in case.helpful:
                continue  # it makes the measure fall with some parameters; with others it is asked of below
            yield from _applies_on(theorem, case, step, after, happens, here, action.name)
    for case in theorem.cases:
        yield from _case(theorem, case, base, here)


def _applies_on(
    theorem: LeadsTo, case: HelpfulCase, step: Step, after: View, happens: Parts, here: Sequence[Any], name: str
) -> Iterator[Proof]:
    witness = _constants(case.witness)
    before, then = case.where(NOW, *here, *witness), case.where(after, *here, *witness)
    if then.eq(before):
        return
    enough = Or(theorem.goal(after, *here), then, _lt(theorem.measure, after, here))
    parts = [*happens, ("where", before), ("goal", Not(enough))]
    yield Proof(theorem.name, "applies on", f"{case.name}, {name}", parts)


def _case(theorem: LeadsTo, case: HelpfulCase, base: Parts, here: Sequence[Any]) -> Iterator[Proof]:
    witness = _constants(case.witness)
    where: Parts = [*base, ("where", case.where(NOW, *here, *witness))]
    named = {**dict(zip(theorem.parameters, here, strict=True)), **dict(zip(case.witness, witness, strict=True))}
    if case.at_rest:
        can: Parts = [*where, ("rest", between_events(NOW))]
    else:
        can = where
    if case.whenever is not None:
        can = [*can, ("whenever", case.whenever(NOW, *here, *witness))]
    possible = [_possible(name, [named[x] for x in given]) for name, given in case.helpful.items()]
    yield Proof(theorem.name, "can", case.name, [*can, ("goal", Not(Or(*possible)))], case.because)
    for name, given in case.helpful.items():
        step = _step(name, [named[x] for x in given])
        after = View(STATE, step.changed)
        enough = Or(theorem.goal(after, *here), _lt(theorem.measure, after, here))
        parts = [*where, ("guard", step.guard), ("goal", Not(enough))]
        yield Proof(theorem.name, "falls", f"{case.name}, {name}", parts)
        # with other parameters it is a transition like any other
        free = step_of(ACTIONS.by_name[name])
        differs = [free.parameters[x] != y for x, y in zip(free.parameters, (named[g] for g in given), strict=False)]
        if differs:
            happens: Parts = [*base, ("guard", free.guard), ("other", Or(*differs))]
            yield from _applies_on(theorem, case, free, View(STATE, free.changed), happens, here, f"another {name}")


def _constants(sorts: Any) -> list[Any]:
    return [z3.Const(f"{name}.it", sort) for name, sort in sorts.items()]


def _step(name: str, given: Sequence[Any]) -> Step:
    action = ACTIONS.by_name[name]
    return action.step(STATE, **dict(zip(action.sorts, given, strict=False)))


def _possible(name: str, given: Sequence[Any]) -> Any:
    step = _step(name, given)
    rest = list(step.parameters.values())[len(given) :]
    return Exists(rest, step.guard) if rest else step.guard


def _changed(was: Any, is_: Any) -> list[Any]:
    """The parts of a conjunction that a transition can make false."""
    if is_.eq(was):
        return []
    if z3.is_and(was) and z3.is_and(is_) and was.num_args() == is_.num_args():
        return [part for old, new in zip(was.children(), is_.children(), strict=True) for part in _changed(old, new)]
    return [is_]


# ================================================================ measures


Measured: TypeAlias = Set | Number | Queues


def _le(measure: Sequence[Measured], after: View, here: Sequence[Any]) -> Any:
    """The measure has not risen."""
    return _below(measure, after, here, z3.BoolVal(True))


def _lt(measure: Sequence[Measured], after: View, here: Sequence[Any]) -> Any:
    """The measure has fallen."""
    return _below(measure, after, here, z3.BoolVal(False))


def _below(measure: Sequence[Measured], after: View, here: Sequence[Any], as_it_was: Any) -> Any:
    """Part by part, the first that has changed decides; `as_it_was` says of a measure that has not."""
    if not measure:
        return as_it_was
    first, rest = measure[0], measure[1:]
    return Or(_shrinks(first, after, here), And(_no_larger(first, after, here), _below(rest, after, here, as_it_was)))


def _no_larger(part: Measured, after: View, here: Sequence[Any]) -> Any:
    if isinstance(part, Number):
        return part.term(after, *here) <= part.term(NOW, *here)
    if isinstance(part, Queues):
        x, head, tail, head_, tail_ = _ends(part, after, here)
        if head.eq(head_) and tail.eq(tail_):
            return z3.BoolVal(True)
        return ForAll(x, Implies(head_ < tail_, And(head_ >= head, tail_ <= tail)))
    x = [z3.Const(f"x{i}?", sort) for i, sort in enumerate(part.element)]
    is_, was = part.has(after, *here, *x), part.has(NOW, *here, *x)
    return z3.BoolVal(True) if is_.eq(was) else ForAll(x, Implies(is_, was))


def _ends(part: Queues, after: View, here: Sequence[Any]) -> tuple[list[Any], Any, Any, Any, Any]:
    x = [z3.Const(f"x{i}?", sort) for i, sort in enumerate(part.queue)]
    return x, *(end(v, *here, *x) for v in (NOW, after) for end in (part.head, part.tail))


def _shrinks(part: Measured, after: View, here: Sequence[Any]) -> Any:
    if isinstance(part, Number):
        old = part.term(NOW, *here)
        return And(old >= 0, part.term(after, *here) < old)
    if isinstance(part, Queues):
        x, head, tail, head_, tail_ = _ends(part, after, here)
        if head.eq(head_) and tail.eq(tail_):
            return z3.BoolVal(False)
        return And(_no_larger(part, after, here), Exists(x, And(head < tail, Or(head_ > head, head_ >= tail_))))
    x = [z3.Const(f"y{i}?", sort) for i, sort in enumerate(part.element)]
    is_, was = part.has(after, *here, *x), part.has(NOW, *here, *x)
    if is_.eq(was):
        return z3.BoolVal(False)
    return And(_no_larger(part, after, here), Exists(x, And(was, Not(is_))))


# ================================================================ finite sets


def _choices(theorem: LeadsTo, here: Sequence[Any]) -> Parts:
    return [(f"choice: {name}", _least(CHOICES[name], at(NOW, *here))) for name, at in theorem.choices.items()]


def _least(choice: Choice, at: Sequence[Any]) -> Any:
    x, y = z3.Const("x.least", choice.element), z3.Const("y.least", choice.element)
    some = Exists([x], choice.candidate(NOW, *at, x))
    none_before = ForAll([y], Implies(choice.candidate(NOW, *at, y), Not(choice.before(NOW, y, x))))
    return Implies(some, Exists([x], And(choice.candidate(NOW, *at, x), none_before)))


def _counts(names: Sequence[str]) -> Parts:
    return [(f"counted: {name}", _zero_or_some(COUNTED[name])) for name in names]


def _zero_or_some(counted: Counted) -> Any:
    at = [z3.Const(f"{name}.count", sort) for name, sort in counted.parameters.items()]
    x = z3.Const("x.count", counted.element)
    number, has = counted.number(NOW, *at), Exists([x], counted.has(NOW, *at, x))
    says = And(number >= 0, (number > 0) == has)
    return ForAll(at, says) if at else says


def _finite() -> Iterator[Proof]:
    for finite in FINITE.values():
        yield from _stays_finite(finite)
    for theorem in PROGRESS.values():
        here = _constants(theorem.parameters)
        for part in theorem.measure:
            if isinstance(part, Set):
                x = _elements("x", part.element)
                outside = Not(_within(FINITE[part.within], here, x))
                goal = And(theorem.pending(NOW, *here), part.has(NOW, *here, *x), outside)
                yield Proof(theorem.name, "finite", part.name, [("goal", goal)])
            elif isinstance(part, Queues):
                x, position = _elements("x", part.queue), z3.Int("i.it")
                queued = And(part.head(NOW, *here, *x) <= position, position < part.tail(NOW, *here, *x))
                outside = Not(_within(FINITE[part.within], here, [*x, position]))
                goal = And(theorem.pending(NOW, *here), queued, outside)
                yield Proof(theorem.name, "finite", part.name, [("goal", goal)])
    for choice in CHOICES.values():
        at, x = _constants(choice.parameters), _elements("x", [choice.element])
        goal = And(choice.candidate(NOW, *at, *x), Not(_within(FINITE[choice.within], at, x)))
        yield Proof(choice.name, "finite", "", [("goal", goal)])


def _stays_finite(finite: Finite) -> Iterator[Proof]:
    x, y = _elements("x", finite.element), _elements("y", finite.element)
    yield Proof(finite.name, "finite", "at first", [("initial", initial(NOW)), ("goal", finite.has(NOW, *x))])
    for action in ACTIONS:
        step = step_of(action)
        after = View(STATE, step.changed)
        if finite.has(after, *x).eq(finite.has(NOW, *x)):
            continue
        new = [And(finite.has(after, *z), Not(finite.has(NOW, *z))) for z in (x, y)]
        if finite.or_within:
            source = FINITE[finite.or_within]
            new = [And(n, Not(source.has(NOW, *z))) for n, z in zip(new, (x, y), strict=True)]
        distinct = Or(*(a != b for a, b in zip(x, y, strict=True)))
        yield Proof(finite.name, "finite", action.name, [("guard", step.guard), ("goal", And(*new, distinct))])


def _elements(letter: str, sorts: Sequence[z3.SortRef]) -> list[Any]:
    return [z3.Const(f"{letter}{i}.it", sort) for i, sort in enumerate(sorts)]


def _within(finite: Finite, here: Sequence[Any], x: Sequence[Any]) -> Any:
    """The element is of the finite set, which may begin with what is a parameter here."""
    missing = finite.element[: len(finite.element) - len(x)]
    given = [next(term for term in here if term.sort() == sort) for sort in missing]
    return finite.has(NOW, *given, *x)


def _counted() -> Iterator[Proof]:
    for counted in COUNTED.values():
        at = _constants(counted.parameters)
        (x,) = _elements("x", [counted.element])
        empty = And(counted.number(NOW, *at) == 0, ForAll([x], Not(counted.has(NOW, *at, x))))
        yield Proof(counted.name, "counted", "at first", [("initial", initial(NOW)), ("goal", Not(empty))])
        for action in ACTIONS:
            step = step_of(action)
            after = View(STATE, step.changed)
            together = _change_together(counted, at, after)
            if together is not None:
                yield Proof(counted.name, "counted", action.name, [("guard", step.guard), ("goal", Not(together))])


def _change_together(counted: Counted, at: Sequence[Any], after: View) -> Any | None:
    """The number and the set change by the same one element, or both to nothing; None: they do not change."""
    x, y = _elements("x", [counted.element])[0], _elements("y", [counted.element])[0]
    number, number_ = counted.number(NOW, *at), counted.number(after, *at)

    def has(z: Any) -> Any:
        return counted.has(NOW, *at, z)

    def has_(z: Any) -> Any:
        return counted.has(after, *at, z)

    def one(larger: Any, smaller: Any) -> Any:
        others = ForAll([x], Implies(x != y, larger(x) == smaller(x)))
        return Exists([y], And(larger(y), Not(smaller(y)), others))

    if number_.eq(number) and has_(x).eq(has(x)):
        return None
    same = And(number_ == number, ForAll([x], has_(x) == has(x)))
    more, fewer = And(number_ == number + 1, one(has_, has)), And(number_ == number - 1, one(has, has_))
    return Or(same, more, fewer, And(number_ == 0, ForAll([x], Not(has_(x)))))


def _ordered() -> Iterator[Proof]:
    for choice in CHOICES.values():
        at = _constants(choice.parameters)
        x, y, z = (_elements(letter, [choice.element])[0] for letter in "xyz")
        among: Parts = [("candidates", And(*(choice.candidate(NOW, *at, e) for e in (x, y, z))))]
        yield Proof(choice.name, "ordered", "none before itself", [*among, ("goal", choice.before(NOW, x, x))])
        chain = And(choice.before(NOW, x, y), choice.before(NOW, y, z), Not(choice.before(NOW, x, z)))
        yield Proof(choice.name, "ordered", "in chains", [*among, ("goal", chain)])


def _loads() -> Iterator[Proof]:
    """What the code compares, the products across, is a strict weak order, and grows with the clients."""
    crosswise = View(STATE, {"lighter": lambda n, w, m, x: n * x < m * w})
    asymmetric, ordered = loads_are_ordered(crosswise).children()
    n, m, w = z3.Ints("n.it m.it w.it")
    grows = Implies(And(n < m, w >= 1), crosswise.lighter(n, w, m, w))
    for about, claim in (("one way", asymmetric), ("in order", ordered), ("more with each client", grows)):
        yield Proof("loads", "compared", about, [("goal", Not(claim))], because=("there_is_room_for_one",))


# ================================================================ the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove all theorems, or those that are named; 1 if an obligation could not be discharged."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.induction.progress", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a theorem, or '{FOUNDATIONS}'; all by default")
    return command(THEORY, obligations, part_of, parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
