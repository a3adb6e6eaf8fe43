"""Where a sentence of the relation stands, and how it reads there: for the messages of the bridge and the proofs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from spec.relation.invariant import INVARIANT
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from proofs.refinement.interpreter import State, Transition

ROOT = Path(__file__).resolve().parents[2]


def place(body: Callable[..., Any], line: int | None = None) -> str:
    """The file, from the project's root, and the line: of the function's first line, where no other is given."""
    code = body.__code__
    return f"{Path(code.co_filename).resolve().relative_to(ROOT)}:{line or code.co_firstlineno}"


def refusal(transition: Transition, state: State, parameters: Mapping[str, Any]) -> str:
    """The first guard that does not hold: its file, line and transition, and how it reads."""
    return guard(transition.name, transition.verdicts(state, parameters).index(False))


@cache
def guard(name: str, number: int) -> str:
    """The guard of this number, of the transition: its file and line, and how it reads."""
    action = ACTIONS.by_name[name]
    lines = [int(line.rpartition(":")[2]) for line, _ in action.step(STATE).guards]
    line = lines[number]
    position = number - lines.index(line)
    return f"{place(action.body, line)} in {name}: {_argument(action.body, line, position)}"


def conjunct(name: str) -> str:
    """The conjunct of the invariant: its file and line, and how it reads."""
    says = INVARIANT[name].says
    text = inspect.getsource(says).strip()
    found = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Return) and node.value]
    reads = ast.get_source_segment(text, found[-1]) if found else text
    return f"{place(says)} in {name}: {' '.join((reads or text).split())}"


def _argument(body: Callable[..., Any], line: int, position: int) -> str:
    """The argument of this position of the call of `require` that begins in the line; the call, if it is starred."""
    text = Path(body.__code__.co_filename).read_text()
    for node in ast.walk(_parsed(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "require":
            continue
        if node.lineno == line:
            plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
            shown = ast.get_source_segment(text, node.args[position] if plain else node)
            return " ".join((shown or "").split())
    raise ValueError(f"no sentence begins in line {line}")


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)
