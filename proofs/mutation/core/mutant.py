"""A mutant: the core with one small piece of one function written otherwise, as a slip of the pen might write it.

A mutant is an edit of the source text, so that the catalogue reads as a list of differences.  `Mutant.mutated`
compiles the function with the edit and gives it the new code object; at the end it gives it the old one back.
Every reference to the function (in tables, in other modules, in caches) changes with it, and nothing on disk changes.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from maitred.model.world import Bounds


class Kind(Enum):
    """What sort of slip it is."""

    GUARD_DROPPED = "guard dropped"
    EFFECT_DROPPED = "effect dropped"
    EFFECT_ADDED = "effect added"
    ORDER_CHANGED = "order changed"
    OFF_BY_ONE = "off by one"
    STALE_ACCEPTED = "stale message accepted"
    HEAD_AND_TAIL = "head and tail confused"
    WRONG_WORD = "believes the wrong word"
    WRONG_COUNT = "count not absolute"
    SEQUENCE_IGNORED = "sequence number ignored"
    FORGOTTEN = "something is forgotten"
    NOT_FORGOTTEN = "something is not forgotten"
    WRONG_CHOICE = "wrong choice"
    CONDITION_DROPPED = "condition dropped"
    BOUND_IGNORED = "bound ignored"
    INDEX_NOT_KEPT = "index not kept"
    FROZEN = "number frozen"
    CUT = "number cut short"


class CannotMutate(ValueError):
    """The core has no such function, or not such a text in it; the message names the mutant and what was sought."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One slip of the pen, and what notices it."""

    name: str
    kind: Kind
    suffers: str
    """What users would suffer, one sentence."""
    where: str
    """The module of `maitred.core` and the function: ``distributor._Work.leave``."""
    old: str
    """What the function has exactly once."""
    new: str
    """What stands there instead."""
    refutes: tuple[str, ...] = ()
    """The properties that are refuted: each *always* one is violated, each *sometimes* one is not reached."""
    within: Bounds | None = None
    """The bounds in which they are."""
    first: int | None = None
    """All numbers begin so far above where they begin in life, and none is renumbered; None: as in life."""
    breaks: bool = False
    """Within the bounds a step raises: the mutated machine breaks down."""
    eventually: tuple[str, ...] = ()
    """The *eventually* properties that are refuted within the same bounds."""
    without: tuple[str, ...] = ()
    """The assumptions of fairness that are left out for that, by their names in
    `maitred.model.claims.fairness.RULES`."""
    proofs: tuple[str, ...] = ()
    """The checks against relation and contracts that refute it, by their columns in `proofs.mutation.matrix`; said
    where no property of the model does."""
    tests: tuple[str, ...] = ()
    """Tests that fail, as pytest node ids."""

    @property
    def module(self) -> str:
        """The module of the core that is mutated, without its package."""
        return self.where.partition(".")[0]

    @property
    def dies_in_the_model(self) -> bool:
        """A property of the model kills it, or a step breaks down there."""
        return bool(self.refutes or self.eventually or self.breaks)

    @contextmanager
    def mutated(self) -> Iterator[None]:
        """Bend the core for as long as the context lasts.

        Raises:
            CannotMutate: the core has no such function, or not exactly one such text in it.
        """
        module = importlib.import_module(f"maitred.core.{self.module}")
        qualname = self.where.partition(".")[2]
        function = self._bound(module, qualname)
        old, new = function.__code__, self._compile(module, qualname)
        if old.co_freevars != new.co_freevars:
            raise CannotMutate(f"{self.name}: {self.where} is a closure of {old.co_freevars}, not of {new.co_freevars}")
        function.__code__ = new
        try:
            yield
        finally:
            function.__code__ = old

    def span(self, text: str) -> tuple[int, int]:
        """Where in the text of the module the edit is: the places of its first character and of the one after it.

        Raises:
            CannotMutate: the function is not there, or has the old text not exactly once.
        """
        _, begin, end = _function(text, self)
        count = text.count(self.old, begin, end)
        if count != 1:
            raise CannotMutate(f"{self.name}: {self.where} has {self.old!r} {count} times, should have it once")
        place = text.index(self.old, begin, end)
        return place, place + len(self.old)

    def _bound(self, module: ModuleType, qualname: str) -> FunctionType:
        found: object = module
        for name in qualname.split("."):
            found = inspect.getattr_static(found, name, None)
        if isinstance(found, property):
            found = found.fget
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
        if not isinstance(found, FunctionType):
            raise CannotMutate(f"{self.name}: the core has no function {self.where}")
        return found

    def _compile(self, module: ModuleType, qualname: str) -> CodeType:
        """The code of the mutated function: compiled by itself, in a class of that name if it is a method."""
        text = source(module)
        first, begin, end = _function(text, self)
        place, after = self.span(text)
        classes = qualname.split(".")[:-1]
        around = "".join(f"{'    ' * depth}class {name}:\n" for depth, name in enumerate(classes))
        mutated = "\n" * (first - 1 - len(classes)) + around + text[begin:place] + self.new + text[after:end]
        try:
            code = compile(
                mutated, f"<mutant {self.name}>", "exec", __future__.annotations.compiler_flag, dont_inherit=True
            )
        except SyntaxError as error:
            raise CannotMutate(f"{self.name}: with {self.new!r} it is no Python: {error}") from error
        return _code_of(code, qualname)


def source(module: ModuleType) -> str:
    """The text of the module."""
    assert module.__file__ is not None, "a module of the core is a file"
    return Path(module.__file__).read_text()


def _function(text: str, mutant: Mutant) -> tuple[int, int, int]:
    """The number of the function's first line, the place of its first character, and of the one after its last."""
    node: ast.AST = _parsed(text)
    for name in mutant.where.split(".")[1:]:
        inner = getattr(node, "body", ())
        kinds = (ast.FunctionDef, ast.ClassDef)
        found = next((child for child in inner if isinstance(child, kinds) and child.name == name), None)
        if found is None:
            raise CannotMutate(f"{mutant.name}: the core has no function {mutant.where}")
        node = found
    if not isinstance(node, ast.FunctionDef) or node.end_lineno is None:
        raise CannotMutate(f"{mutant.name}: {mutant.where} is no function of the core")
    lines = text.splitlines(keepends=True)
    return node.lineno, sum(map(len, lines[: node.lineno - 1])), sum(map(len, lines[: node.end_lineno]))


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _code_of(code: CodeType, qualname: str) -> CodeType:
    for name in qualname.split("."):
        code = next(inner for inner in code.co_consts if isinstance(inner, CodeType) and inner.co_name == name)
    return code
