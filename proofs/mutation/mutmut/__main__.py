"""Every small change that mutmut makes to the core, and whether a test notices: `python -m proofs.mutation.mutmut`.

mutmut works on a copy below ``build/mutation``, so nothing here is ever mutated.  A run that is stopped goes on where
it was; of what has changed since, only the functions that differ run again.  For each survivor either a new test kills
it, or `equivalent.toml` says why it cannot matter, or the run fails and names it.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docs import campaigns

ROOT: Final = Path(__file__).resolve().parents[3]
HERE: Final = Path(__file__).parent
BUILD: Final = ROOT / "build" / "mutation"
PAGE: Final = ROOT / "docs" / "generated" / "mutation-score.md"
INTRODUCTION: Final = """\
Written by `python -m proofs.mutation.mutmut --write`. mutmut makes every small change that it knows to every function
of `maitred.core` (a comparison turned round, a constant one higher, an argument left out, ...), and runs the tests of
the core and a few small explorations. It changes no properties and other decorated functions; those are in
the [catalogue of mutants](mutants.md).
"""
LEFT_OUT: Final = frozenset({"conftest.py", "test_step_cost.py", "test_roundtrips.py"})
"""Of the core's tests: another takes its place; counts work, also mutmut's own; draws minutes of examples."""
KILLED: Final = frozenset({1, 3})
SURVIVED: Final = 0
UNCHECKED: Final = None
TIMED_OUT: Final = frozenset({-24, 24, 36, 152, 255})


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """What a mutant changes: the same in every run, as mutmut's numbers are not."""

    function: str
    """Of the core: ``distributor._Work.settle``."""
    removed: str
    """The lines that it takes out, without their indentation, joined by `` / ``."""
    added: str
    """Those that it puts there."""


@dataclass(frozen=True, slots=True)
class Score:
    """What became of the mutants of one module."""

    killed: int
    timed_out: int
    """Made a test run on and on, which counts as noticed."""
    survived: tuple[Change, ...]
    unchecked: int
    other: int
    """No test runs what they change, or mutmut itself failed on them."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.killed + self.timed_out + len(self.survived) + self.unchecked + self.other


class ListError(ValueError):
    """The list of equivalents is not as it should be; the text says where."""


# ================================================================ the copy


def prepare() -> None:
    """Bring the copy up to date; what is as it was keeps its time, by which mutmut knows that it is."""
    wanted = {
        **_below(ROOT / "reference", BUILD / "src", ".py"),
        **_below(ROOT / "tests" / "core", BUILD / "tests" / "core", ".py"),
        HERE / "explorations.py": BUILD / "tests" / "core" / "test_explorations.py",
        HERE / "settings.py": BUILD / "tests" / "core" / "conftest.py",
        HERE / "mutmut.toml": BUILD / "pyproject.toml",
        ROOT / "spec" / "vectors" / "bytes.jsonl": BUILD / "spec" / "vectors" / "bytes.jsonl",
    }
    for source, copy in wanted.items():
        if not copy.exists() or not filecmp.cmp(source, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    for folder in (BUILD / "src", BUILD / "tests"):
        for path in folder.rglob("*.py"):
            if path not in wanted.values():
                path.unlink()


def _below(source: Path, copy: Path, suffix: str) -> dict[Path, Path]:
    files = (path for path in source.rglob(f"*{suffix}") if path.name not in LEFT_OUT)
    return {path: copy / path.relative_to(source) for path in files}


def mutate(modules: Sequence[str], children: int) -> int:
    """Run mutmut on the modules (all if none are named) in so many processes; its status."""
    patterns = [f"maitred.core.{module}.*" for module in modules]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(children), *patterns]
    return subprocess.run(command, cwd=BUILD, check=False).returncode


# ================================================================ what came of it


def scores() -> dict[str, Score]:
    """What is known of each module of the core that has mutants."""
    found = {}
    for meta in sorted((BUILD / "mutants" / "src" / "maitred" / "core").glob("*.py.meta")):
        codes: Mapping[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            found[meta.name.partition(".")[0]] = _score(codes)
    return found


def _score(codes: Mapping[str, int | None]) -> Score:
    count = Counter(codes.values())
    killed = sum(count[code] for code in KILLED)
    timed_out = sum(count[code] for code in TIMED_OUT)
    survived = tuple(sorted(_change(name) for name, code in codes.items() if code == SURVIVED))
    other = len(codes) - killed - timed_out - len(survived) - count[UNCHECKED]
    return Score(killed, timed_out, survived, count[UNCHECKED], other)


def _change(name: str) -> Change:
    command = [sys.executable, "-m", "mutmut", "show", name]
    text = subprocess.run(command, cwd=BUILD, check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.splitlines() if line[:1] in "+-" and not line.startswith(("---", "+++"))]
    removed, added = (" / ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Change(function_of(name), removed, added)


def function_of(name: str) -> str:
    """The function that a mutant of mutmut's is of: ``distributor._Work.settle``."""
    module, _, mangled = name.removeprefix("maitred.core.").partition(".")
    plain = mangled.rpartition("__mutmut_")[0]
    if plain.startswith("xǁ"):
        return f"{module}.{plain.removeprefix('xǁ').replace('ǁ', '.')}"
    return f"{module}.{plain.removeprefix('x_')}"


def equivalents(path: Path = HERE / "equivalent.toml") -> dict[Change, str]:
    """The survivors that cannot matter, and why.

    Raises:
        ListError: an entry lacks a key, has an empty reason, or is there twice.
    """
    listed: dict[Change, str] = {}
    for number, entry in enumerate(tomllib.loads(path.read_text()).get("equivalent", ()), 1):
        if entry.keys() != {"function", "removed", "added", "why"} or not entry["why"]:
            raise ListError(f"{path}: entry {number} should have function, removed, added and why, none of them empty")
        change = Change(entry["function"], entry["removed"], entry["added"])
        if change in listed:
            raise ListError(f"{path}: entry {number} is there twice: {change.function}: {change.added}")
        listed[change] = entry["why"]
    return listed


# ================================================================ the page


def page(found: Mapping[str, Score], listed: Mapping[Change, str]) -> str:
    """The page of scores and survivors, as Markdown."""
    return "\n".join(_lines(found, listed)) + "\n"


def _lines(found: Mapping[str, Score], listed: Mapping[Change, str]) -> Iterator[str]:
    yield "# Mutation score of the core"
    yield ""
    yield from INTRODUCTION.splitlines()
    yield ""
    yield "| module | mutants | killed | ran on and on | survived | of these equivalent | not run |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for module, score in found.items():
        yield _row(f"`{module}`", [score], listed)
    if found:
        yield _row("together", list(found.values()), listed)
    yield ""
    yield "## Survivors"
    yield ""
    survivors = [change for score in found.values() for change in score.survived]
    if not survivors:
        yield "None."
        return
    yield "| function | instead of | stands | why it cannot matter |"
    yield "|---|---|---|---|"
    for change in survivors:
        cells = (_code(change.function), _code(change.removed), _code(change.added))
        yield f"| {' | '.join(cells)} | {listed.get(change, '**not looked into yet**')} |"


def _row(name: str, group: Sequence[Score], listed: Mapping[Change, str]) -> str:
    survived = [change for score in group for change in score.survived]
    numbers = (
        sum(score.total for score in group),
        sum(score.killed for score in group),
        sum(score.timed_out for score in group),
        len(survived),
        sum(change in listed for change in survived),
        sum(score.unchecked + score.other for score in group),
    )
    return f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"


def _code(text: str) -> str:
    """The text as code within a table."""
    return "`` " + text.replace("|", "\\|") + " ``" if text else "nothing"


# ================================================================ the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every mutant that was run is killed or known to be equivalent."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m proofs.mutation.mutmut", description=summary)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of the core, such as tree; all by default")
    parser.add_argument("--children", type=int, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--report", action="store_true", help="run nothing: print what the last run found")
    given = parser.parse_args(arguments)
    known = {path.stem for path in (ROOT / "reference" / "maitred" / "core").glob("*.py")}
    if not known >= set(given.modules):
        parser.error(f"no such module of the core: {', '.join(sorted(set(given.modules) - known))}")
    if not given.report:
        prepare()
        status = mutate(given.modules, given.children)
        if status:
            print(f"mutmut ended with status {status}", file=sys.stderr)
            return status
    try:
        listed = equivalents()
    except ListError as error:
        print(error, file=sys.stderr)
        return 2
    found = scores()
    if given.write:
        PAGE.write_text(page(found, listed))
        campaigns.record(PAGE)
    return _judged(found, listed)


def _judged(found: Mapping[str, Score], listed: Mapping[Change, str]) -> int:
    survivors = {change for score in found.values() for change in score.survived}
    for change in sorted(survivors - listed.keys()):
        print(f"survived: {change.function}: {change.removed!r} -> {change.added!r}")
    complete = not any(score.unchecked for score in found.values())
    for change in sorted(listed.keys() - survivors if complete else ()):
        print(f"equivalent.toml lists what does not survive: {change.function}: {change.added!r}")
    total, left = sum(score.total for score in found.values()), len(survivors - listed.keys())
    print(f"{total:,} mutants, {left} survivors to look into{'' if complete else '; not all were run yet'}")
    return int(bool(left) or (complete and bool(listed.keys() - survivors)))


if __name__ == "__main__":
    sys.exit(main())
