"""The few words in which the transition relation is written: symbols, transitions, views.

A *symbol* is a part of the state: a constant, a function or a predicate over the sorts, declared once with a sentence
that says what it means and, in the field table, what it is in the code.  A *transition* has parameters, guards
(``require``) and assignments (``then.symbol[place] = value``); everything on the right of an assignment speaks of the
state before, ``now``.  What is not assigned does not change: that is not written down but follows, as a transition is a
substitution.  The state after is a `View` in which each assigned symbol is a macro over the state before, so there are
no frame axioms to get wrong, and an obligation has no more quantifiers than the property that it is about.

The same text can be read twice: as logic, by a solver (`proofs.induction.invariant`), and as a program, by whoever
walks the same syntax trees over a finite state.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import z3


@dataclass(frozen=True)
class Symbol:
    """A part of the state."""

    name: str
    arguments: tuple[z3.SortRef, ...]
    sort: z3.SortRef
    meaning: str
    ghost: bool = False
    """Only proofs speak of it: no guard asks it, and nothing but ghosts is made from it."""
    rigid: bool = False
    """It never changes."""

    def before(self) -> Any:
        """The symbol in the state before: a term, or a function to be applied."""
        if not self.arguments:
            return z3.Const(self.name, self.sort)
        return z3.Function(self.name, *self.arguments, self.sort)


@dataclass
class Vocabulary:
    """All symbols, by name."""

    symbols: dict[str, Symbol] = field(default_factory=dict)

    def declare(self, name: str, *sorts: z3.SortRef, meaning: str, ghost: bool = False, rigid: bool = False) -> None:
        """Add a symbol; the last sort is its value's."""
        assert name not in self.symbols, f"{name} is declared twice"
        self.symbols[name] = Symbol(name, sorts[:-1], sorts[-1], meaning, ghost, rigid)


Macro = Callable[..., z3.ExprRef]


class View:
    """A state as formulas see it: ``view.symbol(arguments)``, or ``view.symbol`` of a constant."""

    def __init__(self, vocabulary: Vocabulary, changed: Mapping[str, Macro] | None = None) -> None:
        """The state before, or with changes the state after."""
        self._vocabulary = vocabulary
        self._changed = changed or {}

    def __getattr__(self, name: str) -> Any:
        symbol = self._vocabulary.symbols.get(name)
        if symbol is None:
            raise AttributeError(f"{name} is not a symbol of the relation")
        macro = self._changed.get(name)
        if macro is None:
            return symbol.before()
        return macro if symbol.arguments else macro()


class _Place:
    """The left side of an assignment to a function."""

    def __init__(self, then: "Then", name: str) -> None:
        self._then, self._name = then, name

    def __setitem__(self, place: Any, value: Any) -> None:
        point = place if isinstance(place, tuple) else (place,)
        old = self._then.macro(self._name)
        sort = self._then.vocabulary.symbols[self._name].sort
        new = as_term(value, sort)
        self._then.changed[self._name] = lambda *x: z3.If(_same(x, point), new, old(*x))


class Then:
    """What a transition assigns: ``then.f[x] = value``, ``then.constant = value``, ``then.every("f", macro)``."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Nothing is assigned yet."""
        object.__setattr__(self, "vocabulary", vocabulary)
        object.__setattr__(self, "changed", {})

    vocabulary: Vocabulary
    changed: dict[str, Macro]

    def macro(self, name: str) -> Macro:
        """The function as assigned so far."""
        symbol = self.vocabulary.symbols[name]
        before: Macro = symbol.before() if symbol.arguments else symbol.before
        return self.changed.get(name, before)

    def every(self, name: str, macro: Macro) -> None:
        """Assign the whole function."""
        assert self.vocabulary.symbols[name].arguments, f"{name} is a constant"
        self.changed[name] = macro

    def __getattr__(self, name: str) -> _Place:
        if name not in self.vocabulary.symbols:
            raise AttributeError(f"{name} is not a symbol of the relation")
        return _Place(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        symbol = self.vocabulary.symbols[name]
        assert not symbol.arguments, f"{name} is a function: assign at a place, or every"
        term = as_term(value, symbol.sort)
        self.changed[name] = lambda: term


def as_term(value: Any, sort: z3.SortRef) -> z3.ExprRef:
    """A Python bool or int as a term of the sort."""
    if isinstance(value, bool):
        return z3.BoolVal(value)
    if isinstance(value, int):
        return z3.IntVal(value)
    assert value.sort() == sort, f"{value} is not of sort {sort}"
    return value


def _same(x: tuple[Any, ...], point: tuple[Any, ...]) -> z3.BoolRef:
    equal = [a == b for a, b in zip(x, point, strict=True)]
    return equal[0] if len(equal) == 1 else z3.And(*equal)


@dataclass(frozen=True)
class Step:
    """A transition with its parameters in place: what it requires and what it changes."""

    parameters: dict[str, z3.ExprRef]
    guards: tuple[tuple[str, z3.BoolRef], ...]
    """Each with the line of the specification, for messages."""
    changed: dict[str, Macro]

    @property
    def guard(self) -> z3.BoolRef:
        """All that is required."""
        return z3.And(*(term for _, term in self.guards))


@dataclass(frozen=True)
class Action:
    """A named transition."""

    name: str
    meaning: str
    sorts: dict[str, z3.SortRef]
    body: Callable[..., None]
    exact: bool
    """The guard is the code's, no more and no less; otherwise it allows at least what the code does."""

    def step(self, vocabulary: Vocabulary, **given: z3.ExprRef) -> Step:
        """The transition, with these parameters or with constants named after them."""
        parameters = {name: given.get(name, z3.Const(f"{name}!", sort)) for name, sort in self.sorts.items()}
        now, then = View(vocabulary), Then(vocabulary)
        guards: list[tuple[str, z3.BoolRef]] = []

        def require(*terms: z3.BoolRef) -> None:
            frame = inspect.currentframe()
            assert frame is not None and frame.f_back is not None
            line = f"{self.name}:{frame.f_back.f_lineno}"
            guards.extend((line, term) for term in terms)

        self.body(require, now, then, **parameters)
        return Step(parameters, tuple(guards), dict(then.changed))


class Actions:
    """The transitions, in the order in which they are written."""

    def __init__(self) -> None:
        """None yet."""
        self.by_name: dict[str, Action] = {}

    def add(self, exact: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Register a function ``(require, now, then, parameters...)``; its docstring is the transition's meaning."""

        def register(body: Callable[..., None]) -> Callable[..., None]:
            sorts = {name: sort for name, sort in body.__annotations__.items() if name != "return"}
            meaning = " ".join((body.__doc__ or "").split())
            assert meaning, f"{body.__name__} has no docstring"
            self.by_name[body.__name__] = Action(body.__name__, meaning, sorts, body, exact)
            return body

        return register

    def __iter__(self) -> Iterator[Action]:
        return iter(self.by_name.values())
