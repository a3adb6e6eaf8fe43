"""Writes the tables of keys and options into the reference pages: ``python -m docs.tables``; ``--check`` only compares.

Each table stands below its mark, ``<!-- table: NAME -->``, up to the next blank line.  The prose around it is written
by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from maitred.cli import run
from maitred.config import keys

HERE: Final = Path(__file__).parent / "reference"
TABLES: Final = {
    "configuration.md": {
        "top": keys.table(keys.TOP),
        "class": keys.table(keys.CLASS),
        "element": keys.table(keys.ELEMENT),
        "durations": keys.table(keys.DURATIONS),
    },
    "command.md": {"run": run.table()},
}
_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n\n)((?:\|[^\n]*\n)*)")


def filled(text: str, tables: dict[str, str]) -> str:
    """The page with its tables as they should be.

    Raises:
        KeyError: the page has a mark that no table belongs to.
    """
    return _TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]}\n", text)


def main(argv: list[str]) -> int:
    """Write the tables, or with ``--check`` name the pages that are stale."""
    stale = []
    for name, tables in TABLES.items():
        text = (HERE / name).read_text()
        new = filled(text, tables)
        if new != text:
            stale.append(name)
            if "--check" not in argv:
                (HERE / name).write_text(new)
    if "--check" in argv and stale:
        print(f"stale: {', '.join(stale)}; run: python -m docs.tables", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
