"""What `pytest -m properties` prints at its end: what was asked, how often, and whether it held, a line for each file.

Each file of tests opens with a sentence on what it shows; the table is made of these.
"""

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Row:
    """What became of the tests of one file."""

    says: str
    held: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def rows(reports, root):
    """A row for each file, in the order in which they ran.

    Args:
        reports: of all phases of all tests, as pytest makes them.
        root: where the paths of the reports begin.
    """
    found = {}
    for report in reports:
        path = report.nodeid.partition("::")[0]
        row = found.setdefault(path, Row(sentence(root / path)))
        row.seconds += report.duration
        if report.failed:
            row.failed += 1
        elif report.skipped:
            row.skipped += 1
        elif report.when == "call":
            row.held += 1
    return list(found.values())


def sentence(path: Path):
    """The first line of the file's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text())) or path.stem
    return text.partition("\n")[0].rstrip(".")


def lines(found):
    """The table, as lines of text."""
    width = max(len(row.says) for row in found)
    yield f"{'':{width}}   held  failed  skipped  seconds"
    for row in found:
        yield f"{row.says:{width}}  {row.held:5}  {row.failed:6}  {row.skipped:7}  {row.seconds:7.1f}"
    held, failed = sum(row.held for row in found), sum(row.failed for row in found)
    skipped, seconds = sum(row.skipped for row in found), sum(row.seconds for row in found)
    yield f"{'together':{width}}  {held:5}  {failed:6}  {skipped:7}  {seconds:7.1f}"
