"""What must hold of `spec/requirements.toml` for a reader to trust it: `problems` lists what does not.

Run it by hand for the list alone, from the root of the checkout: ``python -m tests.spec.checker``.

A reference is looked up in the text of the file it points to (by `ast`), not by import: that is quick, needs nothing
installed, and finds the fields of a class as well as its methods.
"""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "spec" / "requirements.toml"
README = ROOT / "spec" / "README.md"
PACKAGES = ROOT / "reference"

TYPES: Mapping[str, type] = {
    "id": str,
    "source": str,
    "text": str,
    "counterpart": str,
    "properties": list,
    "tests": list,
    "later": str,
    "own": bool,
}
"""The keys of an entry; all but `own` are obligatory."""

LATER_WORKS = ("model in depth", "proofs", "compatibility and faults", "operator's side")
"""The works that may be named in `later`, each followed by a colon and what it will show."""

Requirement = Mapping[str, Any]


def load(path: Path = REQUIREMENTS) -> list[Requirement]:
    """Read the entries of a requirements file, in its order."""
    found: list[Requirement] = tomllib.loads(path.read_text(encoding="utf-8"))["requirement"]
    return found


def problems(requirements: Iterable[Requirement], properties: Collection[str], root: Path = ROOT) -> list[str]:
    """List all that is wrong, one line for each fault; nothing where all is well.

    Args:
        requirements: the entries, as `load` gives them.
        properties: the names of the properties that exist.
        root: the checkout, in which tests and counterparts are looked up.
    """
    entries = list(requirements)
    found = [f"{name}: the id is used {n} times" for name, n in Counter(map(_name, entries)).items() if n > 1]
    for entry in entries:
        shape = list(_shape(entry))
        checks = shape or [*_contents(entry), *_references(entry, properties, root)]
        found.extend(f"{_name(entry)}: {problem}" for problem in checks)
    return found


def uncovered(requirements: Iterable[Requirement]) -> list[str]:
    """Name the entries that no property and no test covers, and that no later work is going to cover."""
    return [_name(r) for r in requirements if not (r["properties"] or r["tests"] or r["later"].strip())]


def missing(requirements: Iterable[Requirement], expected: Iterable[str]) -> list[str]:
    """Name the expected ids that no entry has."""
    present = {_name(r) for r in requirements}
    return [name for name in expected if name not in present]


# ---------------------------------------------------------------------------------------- one entry


def _name(entry: Requirement) -> str:
    return str(entry.get("id", "(no id)"))


def _shape(entry: Requirement) -> Iterator[str]:
    for key in TYPES:
        if key != "own" and key not in entry:
            yield f"`{key}` is missing"
    for key, value in entry.items():
        if key not in TYPES:
            yield f"`{key}` is not a key of a requirement"
        elif not isinstance(value, TYPES[key]):
            yield f"`{key}` must be a {TYPES[key].__name__}"
        elif isinstance(value, list) and not all(isinstance(item, str) for item in value):
            yield f"`{key}` must hold strings"


def _contents(entry: Requirement) -> Iterator[str]:
    for key in ("id", "source", "text"):
        if not entry[key].strip():
            yield f"`{key}` is empty"
    for key in ("properties", "tests"):
        names: list[str] = entry[key]
        for item, n in Counter(names).items():
            if n > 1:
                yield f"`{key}` names {item} {n} times"
    work, _, phrase = entry["later"].partition(":")
    if entry["later"] and not (work in LATER_WORKS and phrase.strip()):
        yield f"`later` must be one of {', '.join(LATER_WORKS)}, then a colon and what is to come"
    if entry.get("own", False) != entry["id"].startswith("OWN-"):
        yield "`own = true` and an id in OWN- go together"


def _references(entry: Requirement, properties: Collection[str], root: Path) -> Iterator[str]:
    for name in entry["properties"]:
        if name not in properties:
            yield f"there is no property {name}"
    for node_id in entry["tests"]:
        if not has_test(node_id, root):
            yield f"there is no test {node_id}"
    for reference in entry["counterpart"].split(";") if entry["counterpart"].strip() else ():
        module, _, names = (part.strip() for part in reference.partition(":"))
        if not _is_ours(module) or module_file(module, root) is None:
            yield f"there is no module {module}"
            continue
        for name in names.split(",") if names else ():
            if not has_name(module, name.strip(), root):
                yield f"there is no {name.strip()} in {module}"


def _is_ours(module: str) -> bool:
    return re.fullmatch(r"maitred(\.\w+)*", module) is not None


# ------------------------------------------------------------------------------------------- lookups


def has_test(node_id: str, root: Path = ROOT) -> bool:
    """Whether a pytest node id names a test: ``FILE::function`` or ``FILE::Class::method``, perhaps ``[case]``."""
    where, *path = node_id.partition("[")[0].split("::")
    body = _body(root / where) if where.startswith("tests/") and where.endswith(".py") else None
    if body is None or not path:
        return False
    if len(path) == 2 and path[1] == "runTest":  # a state machine of Hypothesis: TestX = Machine.TestCase
        found = _find(body, path[0])
        return isinstance(found, ast.Assign) and "TestCase" in ast.unparse(found.value)
    for name in path[:-1]:
        scope = _find(body, name)
        if not isinstance(scope, ast.ClassDef):
            return False
        body = tuple(scope.body)
    test = _find(body, path[-1])
    return path[-1].startswith("test") and isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef)


def module_file(module: str, root: Path = ROOT) -> Path | None:
    """Find the file of a module, or the directory of a package that needs no ``__init__``; None if there is none."""
    base = root.joinpath("reference", *module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return base if base.is_dir() and any(base.glob("*.py")) else None


def has_name(module: str, name: str, root: Path = ROOT) -> bool:
    """Whether a module has a name at its top level; after dots, a class's method, field or constant."""
    file = module_file(module, root)
    body = _body(file) if file is not None else None
    if body is None:
        return False
    first, *rest = name.split(".")
    found = _find(body, first)
    if isinstance(found, ast.ImportFrom) and found.module and _is_ours(found.module):
        original = next(a.name for a in found.names if first in (a.asname, a.name))
        return has_name(found.module, ".".join([original, *rest]), root)
    for attribute in rest:
        if not isinstance(found, ast.ClassDef):
            return False
        found = _find((*found.body, *_assigned_to_self(found)), attribute)
    return found is not None


@cache
def _body(file: Path) -> tuple[ast.stmt, ...] | None:
    """The statements of a file; None if there is no such file."""
    return tuple(ast.parse(file.read_text(encoding="utf-8")).body) if file.is_file() else None


def _find(body: Iterable[ast.stmt], name: str) -> ast.stmt | None:
    """The statement that binds a name: the last one, as for the interpreter."""
    found = None
    for statement in body:
        if name in _binds(statement):
            found = statement
        elif isinstance(statement, ast.If | ast.Try):
            inner = (*statement.body, *statement.orelse)
            found = _find(inner, name) or found
    return found


def _binds(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name for alias in statement.names)
        case ast.Assign():
            for target in statement.targets:
                yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
                yield from _of_self(target)
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.AnnAssign(target=target):
            yield from _of_self(target)


def _of_self(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
        yield target.attr


def _assigned_to_self(scope: ast.ClassDef) -> Iterator[ast.stmt]:
    """What the constructor sets: the fields of a class that declares none."""
    init = _find(scope.body, "__init__")
    return iter(init.body) if isinstance(init, ast.FunctionDef) else iter(())


# ----------------------------------------------------------------------------------------- by hand


def main() -> int:
    """Print every problem, and what is still to be covered."""
    sys.path.insert(0, str(PACKAGES))
    try:
        from maitred.model.check.liveness import LIVENESS
        from maitred.model.claims.safety import PROPERTIES
    except ImportError as error:
        print(f"maitred.model cannot be imported ({error}): no property name is known")
        PROPERTIES, LIVENESS = {}, {}
    requirements = load()
    found = problems(requirements, {*PROPERTIES, *LIVENESS})
    bare = uncovered(requirements)
    print(*found, *(f"{name}: nothing covers it" for name in bare), sep="\n")
    later = sum(bool(r["later"]) for r in requirements)
    print(f"{len(requirements)} requirements: {len(bare)} uncovered, {later} left in part or whole to later work")
    return 1 if found or bare else 0


if __name__ == "__main__":
    sys.exit(main())
