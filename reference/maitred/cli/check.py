"""``maitred check``: explore every behaviour of the machines within bounds, and say what holds.

What is explored are the functions that drive the sockets (`maitred.model`); this only reads the bounds and prints the
result.  Progress goes to stderr where that is a terminal, the table to stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maitred.config import values
from maitred.config.error import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from maitred.model.checker import Progress, Result

WIDE = 140
"""Columns of a table that goes to a file."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound of the exploration, as an option."""

    name: str
    """As in `maitred.model.checker.Bounds`."""
    group: str
    default: int | str
    """The number, or the other bound that says it."""
    help: str

    @property
    def flag(self) -> str:
        """The option."""
        return "--" + self.name.replace("_", "-")


BOUNDS = (
    Bound("servers", "size", 2, "static servers"),
    Bound("dynamic", "size", 0, "dynamic servers that may be started"),
    Bound("ports", "size", 1, "ports"),
    Bound("max_clients", "size", 1, "clients that one server serves at a time"),
    Bound("clients", "size", 2, "clients that come"),
    Bound("waiting_limit", "size", 2, "clients that may wait"),
    Bound("elements", "size", 1, "processing elements"),
    Bound("server_crashes", "faults", 0, "a server dies, with all its children"),
    Bound("forked_children", "faults", 0, "of the server crashes: a forked child lives on"),
    Bound("distributor_crashes", "faults", 0, "the Distributor dies"),
    Bound("element_failures", "faults", 0, "a processing element fails, with all that runs on it"),
    Bound("element_returns", "faults", 0, "a failed processing element is usable again"),
    Bound("descriptor_losses", "faults", 0, "a hand-off arrives without its descriptor"),
    Bound("unsent", "faults", 0, "the kernel declines to send a hand-off"),
    Bound("accept_failures", "faults", 0, "an accept fails for want of descriptors"),
    Bound("listen_failures", "faults", 0, "an address cannot be listened on"),
    Bound("reorders", "faults", 0, "two threads of a server send in the other order"),
    Bound("leaks", "faults", 0, "a connection is gone without the server noticing"),
    Bound("hang_ups", "events", 0, "a client that waits closes its side"),
    Bound("queue_timeouts", "events", 0, "a client has waited for too long"),
    Bound("hand_off_timeouts", "events", 0, "a server has not answered for too long"),
    Bound("listener_closes", "events", 0, "a program closes its listening socket"),
    Bound("repeated_binds", "events", 0, "a server asks for a port again before it is answered"),
    Bound("creations", "events", "dynamic", "the delay before a dynamic server is asked for passes"),
    Bound("deletions", "events", 0, "an idle dynamic server is let go"),
    Bound("audits", "events", 0, "the kernel is asked about the connections"),
    Bound("stops", "events", 0, "the operator asks for a stop"),
)

GROUPS = {
    "size": "how large the system is",
    "faults": "how often each may happen",
    "events": "how often each may happen",
}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred check",
        description="Explore every behaviour of the machines that run the servers, within bounds, and check their"
        " properties. Each bound multiplies the number of states: begin small.",
        epilog="Ends with 0 if every property holds, 1 if one is violated (a shortest counterexample is printed) or one"
        " that should sometimes be seen never is, 2 if --max-states was reached first. Example: maitred check"
        " --warm --distributor-crashes 1",
        allow_abbrev=False,
    )
    for group, description in GROUPS.items():
        section = made.add_argument_group(group, description)
        for bound in BOUNDS:
            if bound.group == group:
                default = f"that of --{bound.default}" if isinstance(bound.default, str) else bound.default
                section.add_argument(bound.flag, metavar="N", help=f"{bound.help} (default: {default})")
    variants = made.add_argument_group("variants")
    variants.add_argument("--unfixed", action="store_true", help="the first bind of a server decides the port")
    variants.add_argument("--warm", action="store_true", help="begin when every static server is ready")
    variants.add_argument("--stable", action="store_true", help="processes live long enough for deaths to be forgotten")
    effort = made.add_argument_group("effort")
    effort.add_argument("--max-states", metavar="N", help="give up at so many states; the verdict is then 'incomplete'")
    effort.add_argument("--quiet", action="store_true", help="show no progress")
    return made


def main(argv: Sequence[str]) -> int:
    """Explore, and print the result; see the help for the exit codes."""
    arguments = parser().parse_args(argv)
    numbers = _numbers(vars(arguments))
    max_states = None
    if arguments.max_states is not None:
        max_states = values.at("--max-states", values.whole(1, 1 << 40), values.number(arguments.max_states))

    from maitred.model.checker import Bounds, check

    try:
        bounds = Bounds(**numbers, fixed=not arguments.unfixed, warm=arguments.warm, stable=arguments.stable)
    except ValueError as error:
        raise ConfigError(f"check: {str(error).replace('_', '-')}") from None
    with _display(quiet=arguments.quiet) as progress:
        result = check(bounds, progress, max_states)
    return report(result)


def _numbers(given: Mapping[str, str | None]) -> dict[str, Any]:  # Any: that `Bounds` has flags too is said elsewhere
    """The bounds: as given, else their defaults."""
    numbers: dict[str, Any] = {}  # Any: as above
    for bound in BOUNDS:
        written = given[bound.name]
        if written is not None:
            numbers[bound.name] = values.at(bound.flag, values.whole(0, 1 << 30), values.number(written))
        else:
            numbers[bound.name] = numbers[bound.default] if isinstance(bound.default, str) else bound.default
    return numbers


@contextmanager
def _display(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Progress in one line of the terminal, where there is one."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("exploring") as line:

        def tell(progress: Progress) -> None:
            line.update(
                f"exploring: {progress.states:,} states, {progress.transitions:,} transitions, depth {progress.depth},"
                f" {progress.queue:,} to go on from, {progress.rate:,.0f} states a second"
            )

        yield tell


def report(result: Result) -> int:
    """Print the table, and the counterexample if there is one; returns the exit code."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    console.print(table(result))
    idle = sum(on.verdict.name == "NOT_APPLICABLE" for on in result.verdicts)
    if idle:
        console.print(f"({idle} more have no occasion within these bounds: allow more faults and events to see them.)")
    found = result.counterexample
    if found is not None and found.path is not None:
        from maitred.model.narrate import narrate

        console.print(f"\n{found.property.name} is violated: {found.property.text}", markup=False)
        console.print(f"A shortest way there, {len(found.path.steps)} actions:\n", markup=False)
        for line in narrate(found.path):
            console.print(line, markup=False, soft_wrap=True)
    console.print(summary(result))
    if not result.ok:
        return 1
    return 0 if result.complete else 2


def summary(result: Result) -> str:
    """One line on the whole."""
    extent = f"{result.states:,} states, {result.transitions:,} transitions, depth {result.depth}"
    effort = f"{result.seconds:.1f} s"
    if not result.ok:
        return f"NOT ALL IS WELL, after {extent}, {effort}"
    if not result.complete:
        return f"INCOMPLETE: nothing is wrong so far, after {extent}, {effort}"
    return f"All is well: every state within the bounds was visited: {extent}, {effort}"


def table(result: Result) -> Table:
    """A row for each property that the bounds leave an occasion for.

    Its states, transitions and seconds are those of the exploration that the verdict rests on.  Its depth is the length
    of the path that was found, or, where none was, how deep the exploration went.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for column in ("property", "kind", "verdict", "states", "transitions", "depth", "seconds"):
        right = column in ("states", "transitions", "depth", "seconds")
        made.add_column(column, justify="right" if right else "left", overflow="fold")
    for on in result.verdicts:
        if on.verdict.name == "NOT_APPLICABLE":
            continue
        depth = len(on.path.steps) if on.path is not None else result.depth
        verdict = Text(on.verdict.value, style=_COLOURS.get(on.verdict.name, ""))
        extent = (f"{result.states:,}", f"{result.transitions:,}", str(depth), f"{result.seconds:.1f}")
        made.add_row(on.property.name, on.property.kind, verdict, *extent)
    return made


_COLOURS = {
    "HOLDS": "green",
    "WITNESSED": "green",
    "VIOLATED": "bold red",
    "NOT_REACHED": "bold red",
    "INCOMPLETE": "yellow",
}
