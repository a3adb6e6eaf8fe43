"""The log that people read: one line an occurrence, on stderr, each saying who, what and why.

For what programs read there are the trace and the status.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

DEBUG: Final = "MAITRED_DEBUG"
"""The environment variable that makes the log tell also what is of interest to developers only."""


def say(text: str) -> None:
    """Write one line; a log that cannot be written stops nothing."""
    try:
        os.write(sys.stderr.fileno(), f"maitred: {text}\n".encode(errors="replace"))
    except (AttributeError, OSError, ValueError):
        return  # stderr is closed, the program's own, or on a full disk; or nobody reads it


def debug(text: str) -> None:
    """Write one line where the environment asks for it."""
    if os.environ.get(DEBUG):
        say(f"debug: {text}")


def how_ended(exitcode: int | None) -> str:
    """What became of a process, from its exit code: negative for the signal that killed it."""
    if exitcode is None:
        return "ended"
    if exitcode >= 0:
        return f"exited with status {exitcode}"
    if -exitcode == signal.SIGTERM:  # as it was asked to
        return "ended by SIGTERM"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"


def plural(number: int, noun: str) -> str:
    """``1 server``, ``3 servers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ready_line(classes: Sequence[tuple[str, int, Sequence[str]]]) -> str:
    """The one line when all is up.

    Args:
        classes: of each server class its name, how many servers are ready, and its addresses.
    """
    parts = []
    for name, servers, addresses in classes:
        place = f" behind {', '.join(addresses)}" if addresses else ""
        label = f" ({name})" if len(classes) > 1 else ""
        parts.append(f"{plural(servers, 'server')}{place}{label}")
    return f"ready: {'; '.join(parts)}"
