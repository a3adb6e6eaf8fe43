"""``maitred stop``: end a running instance gracefully; a second one ends it at once, as with SIGTERM."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.control import ControlError, add_arguments, ask, find, unanswered


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred stop",
        description="Stop a running instance: it takes no more clients, and ends when the last has left or the grace is"
        " over. Asked a second time, it ends at once. This command does not wait for the end.",
    )
    add_arguments(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request; 1 if nobody answers."""
    arguments = parser().parse_args(argv)
    try:
        ask(find(arguments.control), {"request": "stop"})
    except ControlError as error:
        return unanswered(arguments.control, error)
    return 0
