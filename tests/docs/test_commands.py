"""Each command that a page or a docstring names exists, and would take the options that it is shown with."""

import importlib.util
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from tests.house.test_names import PAGES, ROOT, SOURCES, docstrings

from maitred.cli import COMMANDS
from maitred.cli.run import split
from maitred.config.error import ConfigError

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
TYPED = re.compile(r"^\$ (.*)$", re.MULTILINE)
QUOTED = re.compile(r"`((?:(?:\.venv/bin/)?python -m|make|(?:\.venv/bin/)?maitred) [^`]+)`")
CONFIG = {"new", "check", "show", "diff", "schema"}
PLACEHOLDER = re.compile(r"[A-Z]+\b|\.\.\.")


def commands(text):
    """What the text has its reader type, each as words; of a line of the shell only its first command."""
    blocks = "".join(re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for line in [*TYPED.findall(blocks), *(quoted for quoted in QUOTED.findall(text) if "\n" not in quoted)]:
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            yield words[: words.index(">")] if ">" in words else words


def complaint(words):
    """What is wrong with a command; nothing of one that is not of this project."""
    match [words[0].removeprefix(".venv/bin/"), *words[1:]]:
        case ["make", *rest]:
            return [word for word in rest if re.fullmatch(r"[a-z-]+", word) and word not in TARGETS]
        case ["python", "-m", module, *rest] if not PLACEHOLDER.fullmatch(module):
            return complaint_of_module(module, rest)
        case ["maitred", command, *rest] if command not in ("COMMAND", "--version", "version", "--help", "-m"):
            return complaint_of_maitred(command, rest)
        case ["pytest", *rest]:
            return [word for word in rest if "/" in word and not (ROOT / word).exists()]
    return []


def complaint_of_module(module, rest):
    """What is not there: the program, or an option that its source does not have."""
    try:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations:
            spec = importlib.util.find_spec(f"{module}.__main__")
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        return [module]
    source = Path(spec.origin).read_text(encoding="utf-8")
    return [word for word in rest if word.startswith("--") and f'"{word}"' not in source]


def complaint_of_maitred(command, rest):
    """Why `maitred` would refuse the command line."""
    if command not in COMMANDS:
        return [command]
    words = ["1" if word == "N" else word for word in rest if word != "..."]
    if not words or (command == "config" and len(words) == 1 and words[0].isalpha()):
        return [*{*words} - CONFIG]  # it is named, not typed
    try:
        if command == "run":
            line = split(words)
            return [line.program] if line.kind == "script" and not known_script(line.program) else []
        import_module(f"maitred.cli.{command}").parser().parse_args(words)
    except (ConfigError, SystemExit) as error:
        return [str(error), *words]
    return []


def known_script(name):
    return not name.startswith("examples/") or (ROOT / name).exists()


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_each_command_exists_and_takes_its_options(path):
    text = path.read_text(encoding="utf-8")
    texts = [text] if path.suffix == ".md" else [doc for doc in docstrings(text) if doc]
    wrong = [(" ".join(words), found) for each in texts for words in commands(each) if (found := complaint(words))]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "python -m proofs.nowhere",
        "python -m proofs.mutation.shell --wrote",
        "maitred serve",
        "maitred config chekc",
        "maitred check --clents 2",
        "maitred run --statics 3 -m http.server",
        "maitred run examples/gone.py",
        "pytest tests/gone.py",
    ],
)
def test_a_command_that_is_wrong_is_noticed(line, capsys):
    assert complaint(next(commands(f"```console\n$ X=1 {line}  # a reason\n```\n")))
