"""``maitred drain``: have servers take no more clients, and end once the last has left; their places stay empty."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.change import add_waiting, change


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred drain",
        description="Have a server, or all of a class, take no more clients, and end once its last client has left."
        " Its place stays"
        " empty until `maitred restart` fills it. `maitred stop SERVER` is the same with a limit.",
        epilog="example: maitred drain 3",
    )
    made.add_argument("target", metavar="SERVER|CLASS", help="the number of a server, or the name of a class")
    add_waiting(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request and wait; 1 if nobody answers, it is refused, or it is not done in time."""
    arguments = parser().parse_args(argv)
    return change(arguments, {"request": "retire", "target": arguments.target, "limited": False})
