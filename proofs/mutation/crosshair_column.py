"""The column *CrossHair* of the catalogue of mutants: the first contract that is refuted, of each mutant of the core.

A contract can only be refuted by a function that its step comes to.  So a mutant is shown to those contracts from whose
action, guard or settling the text of the core leads to the mutated function: to those whose event is named by the
mutated `case`, else to the `NEAREST`; of each, to the quick cases.  What leaves no mark on a state that an
invariant could find, and breaks no law of the effects, is shown to all of them in vain.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Final

from maitred.core.distributor import Received
from proofs.crosshair import engine
from proofs.crosshair.engine import Contract, Finding, Verdict
from proofs.crosshair.report import CONTRACTS
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Mutant, source
from proofs.mutation.core.parallel import left_by_the_model, on_all_cores

NEAREST: Final = 5
"""To so many contracts a mutant is shown whose place in the text says nothing of the event."""
FAR: Final = 10
"""The distance of what every step comes to."""
PATIENCE: Final = 20.0
"""Seconds of processor time for a case of a mutated core: what is not refuted by then counts as not noticed."""
MACHINES: Final = {"distributor": "distributor", "server": "server", "monitor": "monitor", "tree": "tables"}
"""Which contracts are about a module of the core."""


def crosshair(mutants: Sequence[Mutant], done: Callable[[], None]) -> Mapping[str, tuple[str, ...]]:
    """The first contract that each mutant refutes, with what is broken; nothing of what no contract is about.

    Those that die by a property of the model are not asked about: it is the others that need another check, and each
    takes some ten seconds.
    """
    return on_all_cores(_killer, left_by_the_model(mutants, done), done)


def _killer(name: str) -> tuple[str, ...]:
    finding = refutation(CATALOGUE[name])
    return () if finding is None else (f"{finding.contract}: {', '.join(finding.broken)}",)


def refutation(mutant: Mutant, patience: float = PATIENCE) -> Finding | None:
    """The first case that is refuted while the core is mutated, of those that are asked."""
    if mutant.module not in MACHINES:
        return None
    with mutant.mutated():
        for contract in asked(mutant):
            for case in contract.cases:
                if case.label in contract.quick:
                    finding = engine.run(contract, case, patience)
                    if finding.verdict is Verdict.REFUTED:
                        return finding
    return None


def asked(mutant: Mutant) -> tuple[Contract, ...]:
    """The contracts whose step may come to what is mutated, the nearest and quickest of them."""
    machine = MACHINES[mutant.module]
    near = {c.name: distance(mutant, c) for c in CONTRACTS.values() if c.machine == machine}
    found = [CONTRACTS[name] for name, distance in near.items() if distance is not None]
    place = mutant.span(_text(mutant.module))[0]
    if named := [contract for contract in found if _event(contract) in _branch(mutant.module, place)]:
        return tuple(named)
    calls = re.finditer(rf"(?<!def )\b{mutant.where.rpartition('.')[2]}\(", _text(mutant.module))
    named_by_callers = frozenset[str]().union(*(_branch(mutant.module, call.start()) for call in calls))
    order = {c.name: (_event(c) not in named_by_callers, near[c.name], Received in c.about) for c in found}
    return tuple(sorted(found, key=lambda contract: order[contract.name])[:NEAREST])


def _event(contract: Contract) -> str:
    """The event, or the message or timer that it brings."""
    return contract.about[-1].__name__


def _branch(module: str, place: int) -> frozenset[str]:
    """All words of the last `case` before the place in the module's text, if it is of the same function."""
    text = _text(module)
    *_, begin = (found.start() for found in re.finditer(r"^ *def ", text[:place], re.MULTILINE))
    cases = re.findall(r"^ +case (.*)$", text[begin : text.index("\n", place)], re.MULTILINE)
    return frozenset(re.findall(r"\w+", cases[-1])) if cases else frozenset()


def _text(module: str) -> str:
    return source(importlib.import_module(f"maitred.core.{module}"))


def distance(mutant: Mutant, contract: Contract) -> int | None:
    """Over how many calls the action of the contract's event comes to what is mutated; None if it does not."""
    if contract.machine == "tables":
        return FAR
    return _reach(mutant.module, contract.about[0]).get(mutant.where.rpartition(".")[2])


@cache
def _reach(module_name: str, event: type) -> Mapping[str, int]:
    """The functions that the step of this event may come to, as the text goes, and over how many calls, at least."""
    module = importlib.import_module(f"maitred.core.{module_name}")
    calls = _calls(module_name)
    left = [(0, module._ACTIONS[event].__name__)]
    left += [(FAR, name) for name in ("step", "__init__", "guard", "settle", "after")]
    found: dict[str, int] = {}
    for distance, name in left:  # grows meanwhile
        if name in calls and found.get(name, 2 * FAR) > distance:
            found[name] = distance
            left.extend((distance + 1, called) for called in calls[name])
    return found


@cache
def _calls(module_name: str) -> Mapping[str, frozenset[str]]:
    """By the name of each function or method of the module: all names that its text has."""
    calls: dict[str, frozenset[str]] = {}
    for function in _functions(importlib.import_module(f"maitred.core.{module_name}")):
        calls[function.__name__] = calls.get(function.__name__, frozenset()) | frozenset(_names(function.__code__))
    return calls


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        for member in vars(value).values() if isinstance(value, type) else (value,):
            plain = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if isinstance(plain, FunctionType):
                yield plain


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
