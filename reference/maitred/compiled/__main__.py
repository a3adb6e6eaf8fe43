"""Compiles the core and the hot part of the shell with mypyc: `python -m maitred.compiled`, or `make compile`.

mypyc makes a native class of each class, but not of a ``slots=True`` dataclass, and leaves what `dataclasses` generates
to the interpreter.  So each class of values is first written with those methods as code, and ``replace(value, ...)`` as
a call of such a method.  Nothing else of the sources changes.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from maitred import compiled

_SETUP: Final = """\
from mypyc.build import mypycify
from setuptools import setup

setup(name="maitred", packages=[], ext_modules=mypycify(
    ["--follow-imports=silent", {files}], opt_level={level!r}, debug_level="0", group_name="maitred_hot"))
"""
_KEEP: Final = "from typing import Final\n\nclass Keep:\n    pass\n\nKEEP: Final = Keep()\n"
_IMPORTS: Final = "from maitred.core.keep import KEEP, Keep"


def main(arguments: list[str] | None = None) -> int:
    """Build; returns the exit code."""
    made = argparse.ArgumentParser(
        prog="python -m maitred.compiled", description="Compile the core and the hot part of the shell with mypyc."
    )
    made.add_argument(
        "--into", type=Path, default=compiled.BUILT, metavar="DIRECTORY", help="default: where it is used"
    )
    made.add_argument("-O", dest="level", choices="0123", default="2", help="how hard the compiler optimises")
    given = made.parse_args(arguments)
    missing = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    if missing:
        print(f"maitred: not installed: {' and '.join(missing)}. pip install mypy setuptools", file=sys.stderr)
        return 1
    compiler = os.environ.get("CC", "cc").split()[0]
    if shutil.which(compiler) is None:
        print(f"maitred: no C compiler ({compiler}): apt-get install gcc libc6-dev", file=sys.stderr)
        return 1
    return build(given.into, given.level)


def build(directory: Path, level: str) -> int:
    """Compile the sources as they are now into the directory, which is replaced; returns the exit code."""
    digest = compiled.digest()
    with tempfile.TemporaryDirectory(prefix="maitred-compile-") as name:
        package = Path(name) / "maitred"
        shutil.copytree(compiled.SOURCES, package, ignore=shutil.ignore_patterns("__pycache__", "built*"))
        (package / "core" / "keep.py").write_text(_KEEP)
        for module in compiled.MODULES:
            source = compiled.source(module)
            (package / source.relative_to(compiled.SOURCES)).write_text(written_out(source.read_text()))
        files = [f"maitred/{module.replace('.', '/')}.py" for module in ("core.keep", *compiled.MODULES)]
        (Path(name) / "setup.py").write_text(_SETUP.format(files=", ".join(map(repr, files)), level=level))
        command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "built"]
        done = subprocess.run(command, cwd=name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout, "maitred: nothing was compiled", sep="\n", file=sys.stderr)
            return 1
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(Path(name) / "built", directory)
    (directory / "digest").write_text(digest)
    return 0


def written_out(source: str) -> str:
    """The module with each class of values as mypyc wants it."""
    writer = _WrittenOut()
    module = writer.visit(ast.parse(source))
    body: list[ast.stmt] = []
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module == "maitred.core.value":
            node.module, node.names = "dataclasses", [ast.alias("dataclass")]
        body += [node]
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            body += ast.parse(_IMPORTS).body
    module.body = body
    return "\n".join([ast.unparse(ast.fix_missing_locations(module)), *writer.annotations, ""])


class _WrittenOut(ast.NodeTransformer):
    def __init__(self) -> None:
        self.annotations: list[str] = []
        """Statements that set them again: mypyc makes ``tuple`` of ``tuple[int, ...]``."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "replace":
            node.func = ast.Attribute(node.args.pop(0), "__replace__", ast.Load())
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "dataclass":
                fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
                kinds = {ast.unparse(field.target): ast.unparse(field.annotation) for field in fields}
                self.annotations.append(f"setattr({node.name}, '__annotations__', {kinds!r})")
                node.body += ast.parse(_methods(node, "order=True" in ast.unparse(decorator))).body
                # The rest is the standard library's: fields, __repr__, __match_args__; but not of a generic class.
                plain = ast.parse("dataclass(init=False, eq=False)", mode="eval").body
                node.decorator_list = [] if node.bases else [plain]
        return node


def _methods(node: ast.ClassDef, order: bool) -> str:
    """What `dataclass` and `maitred.core.value.replace` do for the class; its fields lose their defaults."""
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    names = [ast.unparse(field.target) for field in fields]
    kinds = [ast.unparse(field.annotation) for field in fields]
    defaults = ["" if field.value is None else f" = {ast.unparse(field.value)}" for field in fields]
    for field in fields:
        field.value = None
    own = node.name + "".join(ast.unparse(base).removeprefix("Generic") for base in node.bases)
    parameters = "".join(f", {name}: {kind}{value}" for name, kind, value in zip(names, kinds, defaults, strict=True))
    changes = "".join(f", {name}: {kind} | Keep = KEEP" for name, kind in zip(names, kinds, strict=True))
    values = ", ".join(f"self.{name} if isinstance({name}, Keep) else {name}" for name in names)
    mine, theirs = ("(" + "".join(f"{who}.{name}, " for name in names) + ")" for who in ("self", "other"))
    lines = [
        f"def __init__(self{parameters}) -> None:",
        *(f"    self.{name} = {name}" for name in names),
        "    pass",
        f"def __replace__(self{changes}) -> {own}:",
        f"    return {node.name}({values})",
        "def __eq__(self, other: object) -> bool:",
        f"    if not isinstance(other, {node.name}):",
        "        return NotImplemented",
        f"    return {' and '.join(f'self.{name} == other.{name}' for name in names) or 'True'}",
        "def __hash__(self) -> int:",
        f"    return hash({mine})",
    ]
    if order:
        lines += [f"def __lt__(self, other: {node.name}) -> bool:", f"    return {mine} < {theirs}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
