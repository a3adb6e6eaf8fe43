"""Each name in backquotes in a docstring or on a page exists: modules, what is in them, files, names of the code."""

import ast
import builtins
import importlib
import io
import keyword
import re
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("reference", "spec", "proofs", "docs")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PAGES = sorted(
    [*(path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts)]
    + [
        ROOT / name
        for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md", "SECURITY.md", "STYLE.md")
    ]
    + [ROOT / folder / "README.md" for folder in ("spec", "proofs", "benchmarks", "examples")]
)
QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)(?!\]\()")
"""But for the texts of links, which name files as the reader knows them."""
SUFFIXES = {"conf", "json", "jsonl", "lock", "md", "pid", "py", "sock", "svg", "toml"}
MODULE = re.compile(r"(?:maitred|proofs|spec|docs|tests)(?:\.\w+)+")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)+\.(?:py|md|toml|json|svg)")
NAME = re.compile(r"_?[a-z]+(?:_[a-z0-9]+)+|[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+")
"""Of several words, joined by underscores or capitals: nothing else is surely meant as a name."""
PART = re.compile(r"(\w+)\.(\w+)(?:\.\w+)*")
"""What is in a module, named by the module's last name: `tree.Tree`."""
ELSEWHERE = {"ip_unprivileged_port_start", "clients_per_address"}
"""A name of the kernel's, and one that a page proposes."""


@cache
def known():
    """Every name that stands in code, and every word of a text in code that is no docstring; and keys of tables."""
    found = {*dir(builtins), *keyword.kwlist, *sys.stdlib_module_names}
    rooms = (*ROOMS, "tests", "benchmarks", "examples")
    for path in [*ROOT.iterdir(), *(path for room in rooms for path in (ROOT / room).rglob("*"))]:
        if path.suffix == ".py":
            found.add(path.stem)
            docs = {*docstrings(path.read_text(encoding="utf-8"))}
            for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
                if token.type == tokenize.NAME:
                    found.add(token.string)
                elif token.type == tokenize.STRING and not any(doc[:40] in token.string for doc in docs if doc):
                    found.update(re.findall(r"\w+", token.string))
        elif path.suffix == ".toml" or path.name == "Makefile":
            found.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return found


def docstrings(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def exists(name, beside):
    if MODULE.fullmatch(name):
        return resolves(name)
    if FILE.fullmatch(name):
        return any((base / name).exists() for base in (ROOT, beside, ROOT / "docs", ROOT / "reference" / "maitred"))
    if (part := PART.fullmatch(name)) and part[1] in stems() and part[2] not in SUFFIXES:
        return any(re.search(rf"\b{part[2]}\b", text) for text in stems()[part[1]])
    return not NAME.fullmatch(name) or name in known() | ELSEWHERE


@cache
def stems():
    """The texts of the modules of each last name."""
    found = {}
    for path in SOURCES:
        found.setdefault(path.stem, []).append(path.read_text(encoding="utf-8") + path.suffix)
    return found


def resolves(name):
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:i]))
        except ImportError:
            continue
        for part in parts[i:]:
            found = getattr(found, part, None) or getattr(found, "__annotations__", {}).get(part)
        return found is not None
    return False


def missing(path):
    source = path.read_text(encoding="utf-8")
    texts = docstrings(source) if path.suffix == ".py" else [source]
    return [name for text in texts for name in QUOTED.findall(text) if not exists(name, path.parent)]


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_each_name_in_backquotes_exists(path):
    assert missing(path) == []


def test_a_name_that_is_not_there_is_found(tmp_path):
    page = tmp_path / "page.md"
    there = "`maitred.core.tree.Tree`, `tree.Tree`, `make test`"
    page.write_text("`maitred.core.nothing`, `nobody_is_" + f"here`, `docs/no.md`, `tree.Bush`, {there}")
    assert missing(page) == ["maitred.core.nothing", "nobody_is_" + "here", "docs/no.md", "tree.Bush"]
