"""Writes tables into pages whose prose is written by hand: ``python -m docs.tables``; ``--check`` only compares.

Each table stands below its mark, ``<!-- table: NAME -->``, up to the next blank line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from docs import start_tables
from docs.refresh import refresh

from maitred.cli import check, new, run
from maitred.config import keys
from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.fairness import RULES, Fairness


def rows(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *body))


def rules(*, fair: bool) -> str:
    """The actions of which something is assumed, or nothing."""
    chosen = (rule for rule in RULES.values() if (rule.fairness is not Fairness.NONE) is fair)
    return rows(("action", "why"), ((rule.name, rule.why) for rule in chosen))


def _parted(table: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The first row, and the others."""
    head, *body = table
    return head, body


HERE: Final = Path(__file__).parent
TABLES: Final = {
    "reference/configuration.md": {
        "top": keys.table(keys.TOP),
        "class": keys.table(keys.CLASS),
        "element": keys.table(keys.ELEMENT),
        "durations": keys.table(keys.DURATIONS),
    },
    "reference/command.md": {
        "run": run.table(),
        "questions": new.table(new.GENERAL),
        "class_questions": new.table(new.CLASS),
        "bounds": check.table(),
    },
    "explanation/liveness.md": {
        "properties": rows(("property", "says"), ((f"`{each.name}`", each.text) for each in LIVENESS.values())),
        "fair": rules(fair=True),
        "free": rules(fair=False),
    },
    "../spec/start.md": {
        "conversation": rows(*_parted(start_tables.conversation())),
        "start_fields": rows(*_parted(start_tables.fields())),
        "start_limits": rows(*_parted(start_tables.limits())),
    },
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
    pages = {name: (HERE / name, filled((HERE / name).read_text(), tables)) for name, tables in TABLES.items()}
    return refresh("docs.tables", pages, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
