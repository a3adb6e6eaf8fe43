"""``maitred reload``: read the configuration file of a running instance again, and apply what has changed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.change import add_waiting, change


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred reload",
        description="Read the configuration file of a running instance again, as SIGHUP does, and apply what has"
        " changed in it. Where a"
        " class has another program, its servers are replaced one by one; if a new one does not become ready, those"
        " that were replaced are replaced back. If anything is wrong in the file, or cannot change while the instance"
        " runs, nothing is applied. A program whose files have changed, and not its configuration, is for `maitred"
        " restart`.",
        epilog="example: maitred reload",
    )
    made.add_argument("name", metavar="CLASS", nargs="?", help="apply what has changed of this class only")
    made.add_argument("--at-once", action="store_true", help="all at the same time, with fewer servers meanwhile")
    add_waiting(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request and wait; 1 if nobody answers, it is refused, or it is not done in time."""
    arguments = parser().parse_args(argv)
    return change(arguments, {"request": "reload", "class": arguments.name, "at_once": arguments.at_once})
