"""The tutorial "delete this invariant, and see", done as described, on a copy of the project."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.properties, pytest.mark.minutes]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "delete-an-invariant.md"
BLOCK = re.compile(r"^```(diff|console)\n(.*?)^```$|^(Undo the change)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Edit:
    """A piece of a file, and what stands there afterwards."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Command:
    """What is typed, and what is shown; ``...`` stands for anything."""

    words: tuple[str, ...]
    shows: str


class Undo:
    """All that was edited is as it was."""


def steps(text):
    """What the page has its reader do, in order."""
    for kind, block, _ in BLOCK.findall(text):
        if kind == "diff":
            head, *lines = block.splitlines()
            before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
            after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
            yield Edit(head.removeprefix("--- "), before, after)
        elif kind == "console":
            command, _, shows = block.partition("\n")
            yield Command(tuple(shlex.split(command.removeprefix("$ "))), shows)
        else:
            yield Undo()


def matches(shown, pattern):
    """The output is the one that the page shows."""
    pieces = (re.escape(piece) for piece in re.split(r" ?\.\.\.\n?", pattern))
    return re.fullmatch(".*?".join(pieces), shown, re.DOTALL) is not None


def edited(root, edit):
    """Make the edit; the text that it replaces must occur once."""
    file = root / edit.file
    text = file.read_text()
    assert text.count(edit.before) == 1, f"{edit.file} has this {text.count(edit.before)} times:\n{edit.before}"
    file.write_text(text.replace(edit.before, edit.after))


def shown_by(root, words):
    """What the command prints."""
    program = {"python": [sys.executable], "maitred": [sys.executable, "-m", "maitred"]}[words[0]]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "reference"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "120",
    }
    run = subprocess.run(
        [*program, *words[1:]], cwd=root, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout


@pytest.mark.timeout(3_600)
def test_it_is_as_the_tutorial_describes(tmp_path):
    for name in ("spec", "proofs", "reference", "docs", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    asked, changed = 0, []
    for step in steps(PAGE.read_text()):
        if isinstance(step, Edit):
            edited(tmp_path, step)
            changed.append(step.file)
        elif isinstance(step, Command):
            shown = shown_by(tmp_path, step.words)
            assert matches(shown, step.shows), f"{' '.join(step.words)} shows\n{shown}\nnot\n{step.shows}"
            asked += 1
        else:
            for file in changed:
                shutil.copy(ROOT / file, tmp_path / file)
            changed.clear()
    assert asked >= 6
    assert not changed, "the page ends with everything undone"


def test_a_wrong_page_would_be_noticed(tmp_path):
    assert matches("one\ntwo\nthree\n", "...\ntwo\n...\n")
    assert matches("2 obligations, 0 not discharged, 1.3 s\n", "2 obligations, 0 not discharged, ...\n")
    assert not matches("2 obligations, 1 not discharged, 1.3 s\n", "2 obligations, 0 not discharged, ...\n")
    (tmp_path / "file").write_text("a\nb\n")
    with pytest.raises(AssertionError, match="has this 0 times"):
        edited(tmp_path, Edit("file", "c\n", ""))
