"""``maitred restart``: replace servers by new ones, one by one: a new one is ready before an old one leaves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.change import add_waiting, change


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred restart",
        description="Replace a server, or all of a class, by a new one. The new one is ready before the old one"
        " takes no more clients;"
        " that one ends once its clients have left or the grace is over. If a new one does not become ready, the rest"
        " stays as it is. A server that was drained or stopped by its number is filled again if it is named.",
        epilog="example: maitred restart web",
    )
    made.add_argument("target", metavar="SERVER|CLASS", help="the number of a server, or the name of a class")
    made.add_argument("--at-once", action="store_true", help="all at the same time, with fewer servers meanwhile")
    add_waiting(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request and wait; 1 if nobody answers, it is refused, or it is not done in time."""
    arguments = parser().parse_args(argv)
    return change(arguments, {"request": "restart", "target": arguments.target, "at_once": arguments.at_once})
