"""The house stands: one version, imports that run one way, commands that exist, modules that state their purpose."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import maitred

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "reference" / "maitred"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = sorted((PACKAGE / "core").rglob("*.py"))


def name_of(path):
    return str(path.relative_to(PACKAGE))


def lint_imports(root):
    """Check the contracts on the package under `root`, in an interpreter that finds that copy first."""
    program = (
        f"import sys; sys.path.insert(0, {str(root / 'reference')!r})\n"
        "from importlinter.cli import lint_imports_command\n"
        "lint_imports_command(['--no-cache', '--no-logo'])"
    )
    return subprocess.run([sys.executable, "-P", "-c", program], cwd=root, capture_output=True, text=True, timeout=200)


def make(*arguments):
    """What `make` prints; these tests may themselves run under one, whose flags are its own."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    outcome = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=alone, capture_output=True, text=True, check=True, timeout=60
    )
    return outcome.stdout


@pytest.fixture
def copy(tmp_path):
    """A copy of the house that a test may break."""
    shutil.copytree(PACKAGE, tmp_path / "reference" / "maitred", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_version_stands_once():
    assert PYPROJECT["project"]["version"] == maitred.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text()
    release = rf"^## \[{re.escape(maitred.__version__)}\] - \d{{4}}-\d\d-\d\d$"
    assert re.search(release, changelog, re.MULTILINE), "a release has a date; what comes after it is Unreleased"
    assert changelog.index("## [Unreleased]\n") < changelog.index(f"## [{maitred.__version__}]")


def test_the_import_contracts_are_kept():
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("where", "line", "contract"),
    [
        ("core", "import socket", "The core does no I/O"),
        ("core", "import time", "The core does no I/O"),
        ("core", "from os import path", "The core does no I/O"),
        ("core", "import rich", "The core does no I/O"),
        ("core", "import maitred.model", "Imports run one way"),
        ("core", "import maitred.shell", "Imports run one way"),
        ("shell", "import maitred.model", "Imports run one way"),
        ("model", "import maitred.shell", "Imports run one way"),
        ("model", "import maitred.cli", "Imports run one way"),
        ("config", "import maitred.shell", "Imports run one way"),
        ("lounge", "", "Imports run one way"),  # a package that no layer names
    ],
)
def test_a_broken_import_contract_is_noticed(copy, where, line, contract):
    room = copy / "reference" / "maitred" / where
    room.mkdir(exist_ok=True)
    (room / "__init__.py").touch()
    (room / "intruder.py").write_text(f"{line}\n")

    outcome = lint_imports(copy)

    assert outcome.returncode != 0
    assert re.search(rf"{contract}.* BROKEN$", outcome.stdout, re.MULTILINE), outcome.stdout


def imports_of(path):
    """The absolute names that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_only_itself_and_the_standard_library(path):
    for name in imports_of(path):
        own = name == "maitred.core" or name.startswith("maitred.core.")
        assert own or name.partition(".")[0] in sys.stdlib_module_names, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_opens_with_its_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} does not say what it is for"


def test_make_alone_lists_what_it_can_do():
    listing = make()
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[1].replace("\\\n", " ").split()
    assert {"fast", "test", "bench"} <= set(phony)
    assert [name for name in phony if f"make {name} " not in listing] == []


def test_make_run_prints_what_to_try_before_it_starts():
    plan = make("-n", "run")
    hint, start = plan.index("http://127.0.0.1:8000/"), plan.index("maitred run -b 127.0.0.1:8000")
    assert hint < start


def test_continuous_integration_runs_what_developers_run():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().endswith("make test\nmake dist\n")


@pytest.mark.parametrize("room", ["verify", "test", "docs", "bench"])
def test_the_base_install_is_light(room):
    base = PYPROJECT["project"]["dependencies"]
    assert [requirement.partition(">=")[0] for requirement in base] == ["rich"]
    assert room in PYPROJECT["project"]["optional-dependencies"]


def test_the_licence_is_apache():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
