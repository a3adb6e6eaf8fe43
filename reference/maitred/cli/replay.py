"""``maitred replay``: play a recorded run through the machines, and say whether every step was one of theirs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maitred.cli import complain

if TYPE_CHECKING:
    from maitred.model.replay import Report


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred replay",
        description="Play a trace, recorded by `maitred run --trace FILE`, through the machines again: was every step"
        " that was taken over real sockets a step of the machine, and did it keep the invariants?",
        epilog="Ends with 0 if so, 1 at the first divergence or if nothing was recorded, 2 if the file cannot be read.",
        allow_abbrev=False,
    )
    made.add_argument("file", metavar="FILE", help="the trace")
    return made


def main(argv: Sequence[str]) -> int:
    """Replay, and say what came of it; see the help for the exit codes."""
    file = parser().parse_args(argv).file
    from maitred.model.replay import replay  # late: it brings the core

    try:
        found = replay(file)
    except OSError as error:
        return complain(f"{file}: cannot be read: {error.strerror}", 2)
    except RecursionError:
        return complain(f"{file}: a line is nested too deeply: this is no trace", 1)
    except ValueError as error:  # of a name with a NUL character
        return complain(f"{file!r}: cannot be read: {error}", 2)
    for line in told(found):
        print(line)
    if found.divergence is not None:
        return complain(f"{file}: {found.divergence}", 1)
    print(f"{file}: every step was a step of the machines, and kept their invariants")
    return 0


def told(found: Report) -> list[str]:
    """How much was replayed."""
    lines = [
        f"{found.lines:,} lines of {_many(found.machines, 'machine')}: {_many(found.steps, 'step')},"
        f" {_many(found.effects, 'effect')}"
    ]
    if found.rejections:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.rejections.items())
        lines.append(f"events that a machine declined, as it should: {reasons}")
    if found.unperformed:
        lines.append(f"{_many(found.unperformed, 'effect')} of processes that ended before they could perform them")
    return lines


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
