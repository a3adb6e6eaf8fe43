"""Writes `generated/matrix.md`: from each requirement to what shows it, and back, so that nothing hangs in the air.

    requirement -> property -> witness -> mutant
                -> test

A requirement is shown by properties of the model, by tests, or both.  A property that must hold is worth something only
if the situations of which it speaks occur (its witnesses) and if it is refuted when the core is mutated (its mutants).
`orphans` lists what is missing at either end; `python -m docs.generate` writes the page.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proofs.mutation.core import CATALOGUE

from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.safety import PROPERTIES

REQUIREMENTS: Final = Path(__file__).parent.parent / "spec" / "requirements.toml"


@dataclass(frozen=True, slots=True)
class Matrix:
    """What refers to what."""

    requirements: tuple[Mapping[str, Any], ...]  # Any: as in the file; its shape is checked in tests/spec
    always: tuple[str, ...]
    sometimes: tuple[str, ...]
    eventually: tuple[str, ...]
    witnesses: Mapping[str, tuple[str, ...]]
    mutants: Mapping[str, tuple[str, ...]]
    """Of each mutant, the properties that it refutes."""
    requirements_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mutants_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read() -> Matrix:
    """From the files and the code."""
    requirements = tuple(tomllib.loads(REQUIREMENTS.read_text())["requirement"])
    mutants = {name: (*mutant.refutes, *mutant.eventually) for name, mutant in CATALOGUE.items()}
    return join(
        requirements,
        [name for name, prop in PROPERTIES.items() if prop.kind == "always"],
        [name for name, prop in PROPERTIES.items() if prop.kind == "sometimes"],
        list(LIVENESS),
        {name: prop.witnesses for name, prop in PROPERTIES.items() if prop.kind == "always"},
        mutants,
    )


def join(
    requirements: Iterable[Mapping[str, Any]],  # Any: as above
    always: Iterable[str],
    sometimes: Iterable[str],
    eventually: Iterable[str],
    witnesses: Mapping[str, tuple[str, ...]],
    mutants: Mapping[str, tuple[str, ...]],
) -> Matrix:
    """With the references turned round."""
    entries = tuple(requirements)
    by_property = _turned((entry["id"], entry["properties"]) for entry in entries)
    return Matrix(
        entries,
        tuple(always),
        tuple(sometimes),
        tuple(eventually),
        witnesses,
        mutants,
        by_property,
        _turned(mutants.items()),
    )


def _turned(pairs: Iterable[tuple[str, Iterable[str]]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, targets in pairs:
        for target in targets:
            found[target] = (*found.get(target, ()), name)
    return found


def orphans(matrix: Matrix) -> list[str]:
    """What is missing, one line each; nothing where all is well."""
    known = {*matrix.always, *matrix.sometimes, *matrix.eventually}
    needed = {witness for names in matrix.witnesses.values() for witness in names}
    found = []
    for name in (*matrix.always, *matrix.eventually):
        if name not in matrix.requirements_of:
            found.append(f"{name}: no requirement asks for this property")
        if name not in matrix.mutants_of:
            found.append(f"{name}: no mutant refutes this property: nothing shows that it can fail")
    found += [f"{name}: has no witness" for name in matrix.always if not matrix.witnesses.get(name)]
    for name in matrix.sometimes:
        if name not in needed and name not in matrix.requirements_of:
            found.append(f"{name}: witnesses no property, and no requirement asks for it")
    named = {**matrix.requirements_of, **matrix.mutants_of, **_turned(matrix.witnesses.items())}
    found += [
        f"{name}: there is no such property; named by {', '.join(by)}"
        for name, by in named.items()
        if name not in known
    ]
    found += [f"{name}: there is no such property to be witnessed" for name in matrix.witnesses if name not in known]
    for entry in matrix.requirements:
        if not (entry["properties"] or entry["tests"] or entry["later"].strip()):
            found.append(f"{entry['id']}: neither a property nor a test shows this requirement")
    return found


# ================================================================ the page


def page() -> str:
    """The Markdown of `generated/matrix.md`."""
    matrix = read()
    return "\n".join([*_head(matrix), *_requirements(matrix), *_properties(matrix)]) + "\n"


def _head(matrix: Matrix) -> Iterator[str]:
    shown = sum(bool(entry["properties"]) for entry in matrix.requirements)
    tested = sum(bool(entry["tests"]) for entry in matrix.requirements)
    later = sum(bool(entry["later"].strip()) for entry in matrix.requirements)
    yield "# The matrix"
    yield ""
    yield "Generated from `spec/requirements.toml`, the model and the catalogue of mutants by"
    yield "`python -m docs.generate`; do not edit. The build fails where a requirement is shown by nothing, and where a"
    yield "property has no requirement, no witness or no mutant."
    yield ""
    yield f"Of {len(matrix.requirements)} requirements, {shown} are shown by properties of the model and {tested} by"
    yield f"tests; of {later} something is still to be shown. {len(matrix.always)} properties hold always and"
    yield f"{len(matrix.eventually)} in the end; there are {len(matrix.sometimes)} witnesses, and {len(matrix.mutants)}"
    yield "mutants."
    yield ""


def _requirements(matrix: Matrix) -> Iterator[str]:
    yield "## From the requirements"
    yield ""
    yield "| requirement | properties | tests | mutants | still to be shown |"
    yield "|---|---|---:|---:|---|"
    for entry in matrix.requirements:
        properties = ", ".join(f"`{name}`" for name in entry["properties"])
        mutants = {mutant for name in entry["properties"] for mutant in matrix.mutants_of.get(name, ())}
        row = (entry["id"], properties, str(len(entry["tests"]) or ""), str(len(mutants) or ""), entry["later"])
        yield f"| {' | '.join(row)} |".replace("|  |", "| |").replace("|  |", "| |")
    yield ""


def _properties(matrix: Matrix) -> Iterator[str]:
    yield "## From the properties"
    yield ""
    yield "| property | kind | requirements | witnesses | mutants that it kills |"
    yield "|---|---|---|---|---|"
    kinds = (("always", matrix.always), ("eventually", matrix.eventually))
    for kind, names in kinds:
        for name in names:
            requirements = ", ".join(matrix.requirements_of.get(name, ()))
            witnesses = ", ".join(f"`{witness}`" for witness in matrix.witnesses.get(name, ())) or "its own occasions"
            mutants = ", ".join(mutant.replace("_", " ") for mutant in matrix.mutants_of.get(name, ()))
            yield f"| `{name}` | {kind} | {requirements} | {witnesses} | {mutants} |"
