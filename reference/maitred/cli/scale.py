"""``maitred scale``: have a server class run with more servers, or with fewer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.change import add_waiting, change


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred scale",
        description="Have a server class run with more servers, or with fewer. Those that are too many take no more"
        " clients, and end"
        " once their clients have left or the grace is over.",
        epilog="example: maitred scale web --static 4",
    )
    made.add_argument("name", metavar="CLASS", help="as `maitred status` names it")
    made.add_argument("--static", metavar="N", type=int, help="servers that always run (default: as many as now)")
    made.add_argument("--dynamic", metavar="M", type=int, help="further servers under load (default: as many as now)")
    add_waiting(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request and wait; 1 if nobody answers, it is refused, or it is not done in time."""
    arguments = parser().parse_args(argv)
    return change(
        arguments,
        {"request": "scale", "class": arguments.name, "static": arguments.static, "dynamic": arguments.dynamic},
    )
