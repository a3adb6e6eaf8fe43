"""The client of the control protocol: one line of JSON to a running instance, one line back.

Whatever is at the other end, the answer is a JSON object or a `ControlError` that says what happened; nothing hangs.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from maitred.cli import complain
from maitred.config import instances
from maitred.config.error import ConfigError
from maitred.shell.io import kernel
from maitred.shell.supervise import leftovers

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

PATIENCE: Final = 5.0
"""Seconds for the whole exchange; the Monitor itself waits 1 s at most for a Distributor."""
MAX_REPLY: Final = 64 << 20
"""Bytes; a thousand servers with a hundred thousand waiting clients fit."""


class ControlError(Exception):
    """The instance did not do what it was asked to; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the instance."""
    parser.add_argument("--control", metavar="PATH", help="its control socket (default: of the only one that runs)")


def find(control: str | None) -> Path:
    """The control socket that is meant: the one given, or that of our only running instance.

    Raises:
        ControlError: none runs.
        ConfigError: several do.
    """
    if control is not None:
        return Path(control)
    found = instances.running()
    if not found:
        looked = (
            ", ".join(map(str, instances.candidates())) or "no directory, since there is none that can be written to"
        )
        raise ControlError(f"no instance of yours is running (looked in {looked}); for another one, use --control PATH")
    if len(found) > 1:
        listing = " or ".join(f"--control {path}" for path in found)
        raise ConfigError(f"{len(found)} instances are running; choose one: {listing}")
    return found[0]


def unanswered(control: str | None, error: ControlError) -> int:
    """Print why nobody answered, also if processes of a dead Monitor still serve; the exit code."""
    remains = leftovers.find(None if control is None else Path(control))
    for each in remains:
        complain(str(each), 1)
    return 1 if remains else complain(str(error), 1)


def ask(
    path: Path,
    request: Mapping[str, Json],
    patience: float = PATIENCE,
    on_connect: Callable[[int], None] = lambda pid: None,
) -> tuple[dict[str, Json], str]:
    """Send the request; returns the reply, as an object and as it was written.

    Args:
        path: of the control socket.
        request: to be sent.
        patience: seconds for the whole exchange.
        on_connect: called before the request is sent, with the pid of who listens there; 0 if we cannot see it.

    Raises:
        ControlError: nothing listens there, we may not, it does not answer in time, or not in the protocol, or with an
            error of its own.
    """
    line = json.dumps(request).encode() + b"\n"
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(patience)
            connection.connect(os.fspath(path))
            on_connect(kernel.peer_of(connection)[0])
            with suppress(BrokenPipeError, ConnectionResetError):  # it has answered, and hung up, before we asked
                connection.sendall(line)
            content = _line(connection, deadline)
        except TimeoutError:
            raise ControlError(f"{path}: no answer within {patience:g} s") from None
        except OSError as error:
            raise ControlError(f"{path}: {_why(error)}") from None
    return _reply(content, path)


def _line(connection: socket.socket, deadline: float) -> bytes:
    """All up to the first end of line, or to the end."""
    content = bytearray()
    while b"\n" not in content and len(content) <= MAX_REPLY:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(1 << 16)
        if not piece:
            break
        content += piece
    return bytes(content.partition(b"\n")[0])


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return "no instance is running there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied: only its owner and root may ask"
    if error.errno is None:  # of a path that is too long, raised before the kernel is asked
        return str(error)
    return f"{error.strerror}: this is not a control socket of maitred, or it broke off"


def _reply(content: bytes, path: Path) -> tuple[dict[str, Json], str]:
    if not content:
        raise ControlError(f"{path}: closed without an answer")
    try:
        text = content.decode()
        reply = json.loads(text)
    except (ValueError, RecursionError):
        raise ControlError(f"{path}: the answer is not JSON: this is no control socket of maitred") from None
    if not isinstance(reply, dict):
        raise ControlError(f"{path}: the answer is not a JSON object: this is no control socket of maitred")
    if "error" in reply:
        raise ControlError(str(reply["error"]))
    return reply, text
