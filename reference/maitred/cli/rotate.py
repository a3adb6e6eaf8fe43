"""``maitred rotate``: have a running instance open its log and its trace again, as SIGUSR1 does, for logrotate(8)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.control import ControlError, add_arguments, ask, find, unanswered


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred rotate",
        description="Have a running instance open its log (--log) and its trace (--trace) again by their names, after"
        " they were renamed. When the command has ended, the Monitor and its Distributors no longer write to the"
        " renamed files; no line is lost.",
        epilog="example: mv maitred.log maitred.log.1 && maitred rotate && gzip maitred.log.1",
    )
    add_arguments(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request; 1 if nobody answers, or if some file could not be opened again."""
    arguments = parser().parse_args(argv)
    try:
        ask(find(arguments.control), {"request": "rotate"})
    except ControlError as error:
        return unanswered(arguments.control, error)
    return 0
