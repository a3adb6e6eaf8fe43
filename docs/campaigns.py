"""When each campaign was run, and whether its sources are still the same: the page docs/generated/campaigns.md.

A campaign measures, explores or proves for minutes to hours; a build does not run it again.  So each one records, when
it has written its page, the day and a digest of every folder that it is about (`docs/campaigns.json`).  The page says
of each which of these folders have changed since.  A test fails where it does not say so:

    python -m docs.campaigns            what has changed since, and the command that brings it up to date
    python -m docs.campaigns --write    write it on the page
    python -m docs.campaigns --record PAGE    note that its campaign has been run of the sources as they are

A folder's digest is of its programs, not of their comments and docstrings.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from docs.refresh import refresh

ROOT: Final = Path(__file__).resolve().parents[1]
FILE: Final = ROOT / "docs" / "campaigns.json"
PAGE: Final = ROOT / "docs" / "generated" / "campaigns.md"
CORE, MODEL, SHELL = (f"reference/maitred/{name}" for name in ("core", "model", "shell"))

INTRODUCTION: Final = """\
# Campaigns

<!-- Generated from docs/campaigns.json by `python -m docs.campaigns --write`; do not edit. -->

What measures, explores or proves for minutes to hours is not run by `make test`. Its page shows the last whole run, and
this page when that was, and whether it was of the code as it is now. A folder counts as changed if a program in it has
changed, comments and docstrings left out. Whoever wants to know what is true of the code as it is runs the command.

| campaign | page | last run | since then |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Campaign:
    """A command that takes long, the page that it writes, and what that page is about."""

    command: str
    page: str
    """From the root of the repository, as all paths here."""
    covers: tuple[str, ...]
    """Folders, with all that is in them, and files."""


CAMPAIGNS: Final = (
    Campaign("python -m proofs.crosshair --write", "docs/generated/crosshair.md", (CORE, "proofs/crosshair")),
    Campaign(
        "make mutants",
        "docs/generated/mutants.md",
        (CORE, MODEL, "spec/relation", "proofs/refinement", "proofs/mutation/core"),
    ),
    Campaign(
        "python -m proofs.solve.smtlib --write",
        "docs/generated/second-solver.md",
        ("spec/relation", "proofs/induction", "proofs/solve"),
    ),
    Campaign("make mutation", "docs/generated/mutation-score.md", (CORE, "tests/core", "proofs/mutation/mutmut")),
    Campaign("make campaign-faults", "docs/benchmarks/faults.md", (CORE, SHELL, "tests/faults")),
    Campaign("make hostile", "docs/benchmarks/hostile.md", (CORE, SHELL, "tests/hostile")),
    Campaign("make abuse", "docs/explanation/load-and-abuse.md", (CORE, SHELL, "tests/abuse")),
    Campaign("make compat", "docs/reference/compatibility.md", (CORE, SHELL, "tests/compat")),
    Campaign("make bench BENCH=--write", "docs/benchmarks/README.md", (CORE, SHELL, "benchmarks")),
    Campaign("python -m benchmarks.verify --write", "docs/benchmarks/verify.md", (CORE, SHELL, "benchmarks/verify.py")),
)

Run: TypeAlias = Mapping[str, str]
"""A recorded run: ``date`` in UTC, and by each path that it covers the digest of what stood there."""


@cache
def digest(path: str) -> str:
    """What the programs in a folder, or one program, are: sixteen hexadecimal digits.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    place = ROOT / path
    if not place.exists():
        raise FileNotFoundError(f"a campaign is said to cover {path}, which is not there")
    found = hashlib.sha256()
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        found.update(f"{file.relative_to(ROOT).as_posix()}\0{_program(file)}\0".encode())
    return found.hexdigest()[:16]


def _program(file: Path) -> str:
    """A file's text without comments and docstrings, however it is broken into lines."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]  # it has one
    return ast.dump(tree)


def _is_text(item: ast.AST) -> bool:
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


def recorded() -> dict[str, Run]:
    """The last run of each campaign, by its page."""
    found: dict[str, Run] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def record(page: Path | str) -> None:
    """Note that a campaign has written its page now, of the sources as they are.

    Args:
        page: its path, or that from the root.

    Raises:
        KeyError: it is no campaign's page.
    """
    name = Path(page).relative_to(ROOT).as_posix() if Path(page).is_absolute() else str(page)
    campaign = {one.page: one for one in CAMPAIGNS}[name]
    digest.cache_clear()
    run = {"date": datetime.now(UTC).date().isoformat(), **{path: digest(path) for path in campaign.covers}}
    runs = {**recorded(), name: run}
    FILE.write_text(json.dumps({one.page: runs[one.page] for one in CAMPAIGNS if one.page in runs}, indent=1) + "\n")
    PAGE.write_text(text(), encoding="utf-8")


def changed(campaign: Campaign, run: Run) -> list[str]:
    """Which of the paths that it covers have changed since the run."""
    return [path for path in campaign.covers if run.get(path) != digest(path)]


def text() -> str:
    """The page, of the record and the sources as they are."""
    runs = recorded()
    return INTRODUCTION + "".join(_row(campaign, runs[campaign.page]) for campaign in CAMPAIGNS)


def _row(campaign: Campaign, run: Run) -> str:
    name = Path(campaign.page).name
    since = ", ".join(f"`{path}`" for path in changed(campaign, run))
    link = f"[{name}](../../{campaign.page})"
    return f"| `{campaign.command}` | {link} | {run['date']} | {f'**changed: {since}**' if since else 'unchanged'} |\n"


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if every campaign is of the sources as they are, or its page is written."""
    if argv[:1] == ["--record"]:
        if len(argv) != 2 or argv[1] not in {campaign.page for campaign in CAMPAIGNS}:
            print(f"--record takes the page of a campaign: {', '.join(c.page for c in CAMPAIGNS)}", file=sys.stderr)
            return 2
        record(argv[1])
        return 0
    if "--write" in argv or "--check" in argv:
        return refresh("docs.campaigns --write", {PAGE.name: (PAGE, text())}, argv)
    runs, stale = recorded(), 0
    for campaign in CAMPAIGNS:
        since = changed(campaign, runs[campaign.page])
        stale += bool(since)
        print(f"{campaign.page}: {'changed since: ' + ', '.join(since) if since else 'current'}", end="")
        print(f"; run: {campaign.command}" if since else "")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
