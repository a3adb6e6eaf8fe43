"""What the commands have in common that change a running instance: the request, and the wait until it has been met."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from maitred.cli import complain
from maitred.cli.control import ControlError, Json, add_arguments, ask, find, unanswered
from maitred.cli.stop import seconds
from maitred.shell.io.report import plural

LOOK: Final = 0.2
"""Seconds between looks at what is waited for."""


def add_waiting(parser: argparse.ArgumentParser) -> None:
    """The options of every such command."""
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is done")
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help="wait no longer; then the exit code is 1")
    parser.add_argument("--json", action="store_true", help="print what was done as a JSON object")
    add_arguments(parser)


def change(arguments: argparse.Namespace, request: Mapping[str, Json]) -> int:
    """Send the request, and wait until it has been met; 1 if it is refused, fails, or takes too long."""
    try:
        path = find(arguments.control)
        before = _failures(ask(path, {"request": "status"})[0])
        reply, text = ask(path, request)
        if arguments.json:
            print(text, flush=True)
        if arguments.no_wait:
            return 0
        return _wait(path, reply, before, arguments.timeout)
    except ControlError as error:
        return unanswered(arguments.control, error)


def _wait(path: Path, reply: Mapping[str, Json], before: Mapping[str, int], timeout: float | None) -> int:
    names = reply.get("replaced", [reply.get("class")])
    leaving = reply.get("leaving", [])
    assert isinstance(names, list) and isinstance(leaving, list)
    deadline = None if timeout is None else time.monotonic() + timeout
    shown = ""
    while True:
        status = ask(path, {"request": "status"})[0]
        failed = [name for name, count in _failures(status).items() if name in names and count > before.get(name, 0)]
        text = _left(status, [str(name) for name in names], [each for each in leaving if isinstance(each, int)])
        if not text:
            if failed:
                return complain(f"{', '.join(failed)}: a new server did not become ready: what ran before goes on", 1)
            return 0
        if text != shown:
            print(text, file=sys.stderr, flush=True)
            shown = text
        if deadline is not None and time.monotonic() >= deadline:
            return complain(f"not done within {timeout:g} s; it goes on: {text}", 1)
        time.sleep(LOOK)


def _failures(status: Mapping[str, Json]) -> dict[str, int]:
    """By class, how often servers could not be replaced."""
    found = {}
    for cls in _objects(status, "classes"):
        name, count = cls.get("name"), cls.get("failed_replacements")
        if isinstance(name, str) and isinstance(count, int):
            found[name] = count
    return found


def _left(status: Mapping[str, Json], names: list[str], leaving: list[int]) -> str:
    """What is waited for, in a line; empty where nothing is."""
    parts = []
    for cls in _objects(status, "classes"):
        if cls.get("name") not in names:
            continue
        rows = _objects(cls, "servers")
        gone = [row for row in rows if row.get("id") in leaving and row.get("pid") is not None]
        leave = [row for row in rows if row.get("leaving") and row.get("pid") is not None]
        coming = [row for row in rows if row.get("state") == "starting"]
        waits = [row for row in gone if row not in leave] if cls.get("replacing") else gone
        if coming:
            parts.append(f"{plural(len(coming), 'server')} to be ready")
        if leave:
            numbers = ", ".join(str(row.get("id")) for row in leave)
            clients = sum(count for row in leave if isinstance(count := row.get("clients"), int))
            parts.append(f"{plural(clients, 'client')} of server {numbers} to leave")
        elif waits or cls.get("replacing"):
            parts.append(f"{plural(max(1, len(waits)), 'server')} of {cls.get('name')} to be replaced")
    return "waiting for " + "; ".join(parts) if parts else ""


def _objects(parent: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    found = parent.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
