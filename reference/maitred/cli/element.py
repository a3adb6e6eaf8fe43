"""``maitred element``: take a processing element of a running instance out of use, or back into it.

What runs on it dies at once, as if its CPUs had failed (FIG. 12), and is started elsewhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maitred.cli.control import ControlError, add_arguments, ask, find, unanswered


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred element",
        description="Take a processing element of a running instance out of use, or back into it. What runs on it is"
        " killed at once, as if its CPUs had failed, and is started on another one.",
    )
    made.add_argument("name", metavar="NAME", help="the element, as `maitred status` names it (such as cpu0)")
    made.add_argument("state", choices=("up", "down"), help="whether it may be used")
    add_arguments(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Send the request; 1 if nobody answers or the instance refuses."""
    arguments = parser().parse_args(argv)
    try:
        ask(find(arguments.control), {"request": "element", "name": arguments.name, "up": arguments.state == "up"})
    except ControlError as error:
        return unanswered(arguments.control, error)
    return 0
