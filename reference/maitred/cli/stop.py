"""``maitred stop``: end a running instance, as SIGTERM or SIGINT would, and wait for its end."""

from __future__ import annotations

import argparse
import math
import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from maitred.cli import complain
from maitred.cli.control import ControlError, Json, add_arguments, ask, find, unanswered
from maitred.config.values import number
from maitred.shell.io.report import plural

LOOK: Final = 0.5
"""Seconds between looks at what is waited for."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred stop",
        description="Stop a running instance, and wait for its end: it takes no more clients, and ends when the last"
        " has left or the grace is over. Asked a second time, it ends at once.",
    )
    made.add_argument(
        "target",
        metavar="SERVER|CLASS",
        nargs="?",
        help="only this server, or those of this class: their places stay empty until `maitred restart` fills them",
    )
    made.add_argument("--json", action="store_true", help="of servers: print what was done as a JSON object")
    made.add_argument("--quick", action="store_true", help="without a grace, as SIGINT: ask every server to end now")
    made.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    made.add_argument("--timeout", metavar="SECONDS", type=seconds, help="wait no longer; then the exit code is 1")
    add_arguments(made)
    return made


def seconds(text: str) -> float:
    """A number of seconds on the command line."""
    given = number(text)
    if isinstance(given, str) or given < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, such as 10 or 0.5")
    return float(given)


def main(argv: Sequence[str]) -> int:
    """Send the request and wait; 1 if nobody answers, or if it has not ended in time."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.target is not None:
        from maitred.cli.change import change  # late, as it needs this module

        if arguments.quick:
            made.error("--quick is for the whole instance: a server that is stopped has the grace")
        return change(arguments, {"request": "retire", "target": arguments.target, "limited": True})
    if arguments.json:
        made.error("--json is for servers: give the number of one, or the name of a class")
    monitors: list[int] = []

    def on_connect(pid: int) -> None:
        if pid and not arguments.no_wait:
            monitors.append(os.pidfd_open(pid))

    request: dict[str, Json] = {"request": "stop"}
    if arguments.quick:
        request["quick"] = True
    try:
        path = find(arguments.control)
        ask(path, request, on_connect=on_connect)
    except ControlError as error:
        return unanswered(arguments.control, error)
    if arguments.no_wait:
        return 0
    if not monitors:
        return complain("it has been asked to stop; its process cannot be seen from here, so nothing is waited for", 1)
    return _wait(monitors[0], path, arguments.timeout)


def _wait(monitor: int, path: Path, timeout: float | None) -> int:
    """Wait for the end of the process, and show what it waits for whenever that changes."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    poll.register(monitor, select.POLLIN)
    shown = ""
    while not poll.poll(1000 * max(0.0, min(LOOK, deadline - time.monotonic()))):
        text = _waited_for(path)
        if text != shown:
            print(text, file=sys.stderr, flush=True)
            shown = text
        if time.monotonic() >= deadline:
            return complain(f"it has not ended within {timeout:g} s; it goes on stopping", 1)
    return 0


def _waited_for(path: Path) -> str:
    """What the instance waits for, in a line."""
    try:
        match ask(path, {"request": "status"})[0]:
            case {"monitor": {"phase": "closing"}, "classes": list(classes)}:
                return f"waiting for {plural(_served(classes), 'client')} to leave"
            case _:
                return "waiting for the servers to end"
    except ControlError:
        return "waiting for the last processes"


def _served(classes: list[Json]) -> int:
    """How many clients are served or wait, as far as is known."""
    total = 0
    for cls in classes:
        match cls:
            case {"waiting": int(waiting), "servers": list(servers)}:
                total += waiting
                for server in servers:
                    match server:
                        case {"clients": int(clients)}:
                            total += clients
    return total
