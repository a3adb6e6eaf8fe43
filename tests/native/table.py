"""Writes the table of servers in other languages from the outcomes of the tests of this room.

    python -m tests.native.table [--check]

writes the page, or checks it.  `make compat-native` records the outcomes in the file beside the page.
"""

import json
import sys
from pathlib import Path

from tests.native.makes import MAKES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RESULTS = REFERENCE / "compatibility-native.json"
PAGE = REFERENCE / "compatibility-native.md"
HEAD = """# Compatibility of servers in other languages

Which servers that are not Python's run unmodified with the [native stand-in](../how-to/other-languages.md), tested by
`make compat-native`: each behind three copies, with real clients. Before, during and after, `maitred status --json` and
the kernel (which process holds which connection) must agree on their number, *with the Distributor's audit off*.
`python -m tests.native.table` writes this page from the outcomes.

| language | server | tested with | |
|---|---|---|---|
"""


def rows(noted):
    """The outcomes, whichever Python has run the tests."""
    return {name: row for outcomes in noted.values() for name, row in outcomes.items()}


def render(noted):
    """The page."""
    lines = []
    for make in MAKES:
        row = rows(noted).get(make.name)
        outcome = "not run" if row is None else "works" if row["passed"] else "**test failed**"
        remark = f"{outcome}. {make.remark}" if make.remark else outcome
        lines.append(f"| {make.language} | {make.name} | {row['version'] if row else ''} | {remark} |")
    return HEAD + "\n".join(lines) + "\n"


def complaints(noted, page):
    """What is wrong with the page and its outcomes."""
    wanted = {make.name for make in MAKES}
    yield from (f"{name} has not been run" for name in sorted(wanted - rows(noted).keys()))
    yield from (f"there is no server {name} (any more)" for name in sorted(rows(noted).keys() - wanted))
    yield from (f"the test of {name} failed" for name, row in sorted(rows(noted).items()) if not row["passed"])
    if page != render(noted):
        yield f"{PAGE.name} is not what the outcomes say: python -m tests.native.table writes it"


def main(arguments):
    """Write the page, or with --check look at it; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tests.native.table [--check]", file=sys.stderr)
        return 2
    noted = json.loads(RESULTS.read_text())
    if not arguments:
        PAGE.write_text(render(noted))
        return 0
    found = list(complaints(noted, PAGE.read_text()))
    for complaint in found:
        print(complaint, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
