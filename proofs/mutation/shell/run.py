"""Runs killers against the mutated shell: a copy of the package with one edit, put first on the module search path.

The shell's tests start processes of their own (Distributors, Monitors, servers), which must be mutated too.  So nothing
is changed in memory, as it is for the core: the package is copied to a temporary directory, the edit is made there, and
``PYTHONPATH`` leads pytest and every process that it starts to the copy.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from proofs.mutation.core.mutant import CannotMutate, Mutant

ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGE: Final = Path("reference", "maitred")
SHELL: Final = PACKAGE / "shell"
PATIENCE: Final = 60
"""Seconds that one test may take: none takes a quarter of that with the unmutated shell."""
_PASSED: Final = 0
_FAILED: Final = 1


class Outcome(Enum):
    """What a killer said."""

    KILLED = "killed"
    SURVIVED = "survived"


class CannotRun(Exception):
    """Pytest did not come to running the test; the text is what it said."""


def mutated_text(mutant: Mutant, text: str) -> str:
    """The text of the module, with the edit.

    Raises:
        CannotMutate: the function is not there, or has the old text not exactly once, or the result is no Python.
    """
    begin, end = mutant.span(text)
    mutated = text[:begin] + mutant.new + text[end:]
    try:
        ast.parse(mutated)
    except SyntaxError as error:
        raise CannotMutate(f"{mutant.name}: with {mutant.new!r} it is no Python: {error}") from error
    return mutated


def module_of(mutant: Mutant, root: Path = ROOT) -> Path:
    """The file that is mutated, in the tree below ``root``."""
    (path,) = (root / SHELL).rglob(f"{mutant.module}.py")
    return path


class Tree:
    """A copy of the package, below a directory, that is mutated for one mutant at a time."""

    def __init__(self, directory: Path) -> None:
        """Copy the package.  Compiled modules come along and stay valid, so that only the mutated one is compiled."""
        self.directory = directory
        shutil.copytree(ROOT / PACKAGE, directory / PACKAGE)

    @contextmanager
    def mutated(self, mutant: Mutant | None) -> Iterator[None]:
        """Have the mutant in the copy for as long as the context lasts; None is the shell as it is."""
        if mutant is None:
            yield
            return
        original, copy = module_of(mutant), module_of(mutant, self.directory)
        copy.write_text(mutated_text(mutant, original.read_text()))
        try:
            yield
        finally:
            shutil.copy2(original, copy)

    def failure(self, tests: Sequence[str]) -> str:
        """What pytest says of the first of the tests that fails with the copy as it is; empty where all pass.

        Raises:
            CannotRun: they were not run.
        """
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--timeout={PATIENCE}"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.fspath(self.directory / PACKAGE.parent),
            "MAITRED_PATIENCE": "15",  # the machine does nothing else meanwhile
            "PYTHONDONTWRITEBYTECODE": "1",  # two edits within a second could pass for one file
        }
        command = [sys.executable, "-m", "pytest", *options, *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (_PASSED, _FAILED):
            raise CannotRun(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-2_000:]}{done.stderr}")
        return done.stdout if done.returncode == _FAILED else ""


def outcomes(mutants: Sequence[Mutant], workers: int = 1) -> Iterator[tuple[Mutant, Outcome]]:
    """What the named killer says of each of the mutants, in their order.

    Raises:
        CannotMutate: the shell has changed where a mutant is.
        CannotRun: a killer is not there, or does not get as far as failing.
    """
    with TemporaryDirectory(prefix="maitred-mutated-") as directory:
        trees = [Tree(Path(directory, str(number))) for number in range(workers)]

        def share(number: int) -> list[Outcome]:
            return [_outcome(trees[number], mutant) for mutant in mutants[number::workers]]

        with ThreadPoolExecutor(workers) as pool:
            shares = list(pool.map(share, range(workers)))
    for index, mutant in enumerate(mutants):
        yield mutant, shares[index % workers][index // workers]


def _outcome(tree: Tree, mutant: Mutant) -> Outcome:
    with tree.mutated(mutant):
        return Outcome.KILLED if tree.failure(mutant.tests) else Outcome.SURVIVED


def unmutated_failure(mutants: Sequence[Mutant]) -> str:
    """What pytest says of the first of the killers that fails on the shell as it is; empty where all pass."""
    with TemporaryDirectory(prefix="maitred-unmutated-") as directory:
        return Tree(Path(directory)).failure(sorted({test for mutant in mutants for test in mutant.tests}))


# ================================================================ what a recorded result is of


def fingerprint(mutant: Mutant, texts: Mapping[str, str] | None = None) -> str:
    """A hash of the edit, of the function that it bends, and of the killers: what a recorded result is of.

    Args:
        mutant: the mutant.
        texts: stands for files, by path from the root; for tests of this function.

    Raises:
        LookupError: there is no such function, or no such test.
    """
    digest = hashlib.sha256()
    parts = [(os.fspath(module_of(mutant, Path())), mutant.where.split(".")[1:])]
    tests = (test.partition("[")[0].partition("::") for test in mutant.tests)
    parts += [(file, names.split("::")) for file, _, names in tests]
    for file, names in parts:
        text = (texts or {}).get(file) or (ROOT / file).read_text()
        digest.update(_definition(text, file, names).encode())
    digest.update(repr((mutant.old, mutant.new, mutant.tests)).encode())
    return digest.hexdigest()[:16]


def _definition(text: str, file: str, names: Sequence[str]) -> str:
    """The source of a function, decorators included, by the names of its classes and its own."""
    node: ast.AST = ast.parse(text)
    kinds = (ast.FunctionDef, ast.ClassDef)
    for name in names:
        found = [child for child in getattr(node, "body", ()) if isinstance(child, kinds) and child.name == name]
        if not found:
            raise LookupError(f"{file} has no {'.'.join(names)}")
        node = found[0]
    assert isinstance(node, kinds), "there is at least one name"
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
