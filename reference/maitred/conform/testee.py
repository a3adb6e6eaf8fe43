"""The program under test: started as a Monitor starts a server, and ended with all that descends from it.

How a server is started is written in ``spec/start.md``.  A Python program is started with the stand-in, as
``maitred run`` would; every other command as it is.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import maitred
from maitred.config.error import ConfigError
from maitred.shell.inside.exec_server import CODE
from maitred.shell.io import channel
from maitred.shell.io.registry import create
from maitred.shell.start_contract import ENVIRONMENT, VERSION
from maitred.shell.supervise.descendants import Family, holds, kill_orphans, reap_orphans

ENDS: Final = 10.0
"""Seconds until whatever was killed must be gone."""
SHOWN: Final = 20
"""Lines of a program's output that are shown."""
_SHELL: Final = f'{ENVIRONMENT}="$1$$}}"; export {ENVIRONMENT}; shift; exec "$@"'
"""The identity names the process that runs the program, which is this one after exec."""
_PYTHON: Final = re.compile(r"python[\d.]*")


def command_line(command: Sequence[str]) -> list[str]:
    """What is executed for the command that the user has given.

    Raises:
        ConfigError: there is no such program.
    """
    first, rest = command[0], list(command[1:])
    if first.endswith(".py"):
        return _behind_stand_in(sys.executable, [], ["script", first, *rest], first)
    if first == "-m" and rest:
        return _behind_stand_in(sys.executable, [], ["-m", *rest], None)
    if _PYTHON.fullmatch(os.path.basename(first)):
        options = 0
        while options < len(rest) and rest[options].startswith("-") and rest[options] not in ("-m", "-c"):
            options += 1
        program = rest[options:]
        if program and program[0] == "-m":
            return _behind_stand_in(first, rest[:options], program, None)
        if program and program[0] != "-c":
            return _behind_stand_in(first, rest[:options], ["script", *program], program[0])
    return as_is(command)


def as_is(command: Sequence[str]) -> list[str]:
    """What is executed for a program that keeps the contract by itself.

    Raises:
        ConfigError: there is no such program.
    """
    if shutil.which(command[0]) is None:
        there = os.path.exists(command[0])
        raise ConfigError(f"{command[0]}: {'may not be executed' if there else 'no such program'}")
    return list(command)


def _behind_stand_in(interpreter: str, options: list[str], program: list[str], path: str | None) -> list[str]:
    if path is not None and not os.path.exists(path):
        raise ConfigError(f"{path}: no such program")
    home = os.fspath(Path(maitred.__file__).resolve().parents[1])
    return [interpreter, *options, "-c", CODE.format(home=home), *program]


class Testee:
    """One process of the program, with all its descendants."""

    def __init__(self, command: Sequence[str], server: int, most: int) -> None:
        """Start the program.

        Args:
            command: what to execute.
            server: its id.
            most: the most clients that it is to have.

        Raises:
            ConfigError: it cannot be executed.
        """
        self.control, theirs = channel.pair()
        registry = create(most)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        identity = {
            "version": VERSION,
            "class": 0,
            "server": server,
            "max_clients": most,
            "control": theirs.fileno(),
            "registry": registry,
            "trace": None,
        }
        text = json.dumps(identity)[:-1] + ', "main": '
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SHELL, "sh", text, *command],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), registry),
                start_new_session=True,
            )
        finally:
            inode = os.fstat(theirs.fileno()).st_ino
            theirs.close()
            os.close(registry)
        self.pid = self._process.pid
        self._family = Family(self.pid, inode, None)

    def code(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    def has_ended_within(self, seconds: float) -> bool:
        """Whether its main process ends in that time."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def signal(self, number: signal.Signals) -> None:
        """Signal the main process, which has not been reaped."""
        self._process.send_signal(number)

    def pause(self, seconds: float = 2.0) -> None:
        """Stop the program, and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + seconds
        while not _is_stopped(self.pid) and time.monotonic() < deadline:
            time.sleep(0.002)

    def go_on(self) -> None:
        """Let the program run again."""
        self.signal(signal.SIGCONT)

    def allow_no_descriptor(self) -> tuple[int, int]:
        """Have each attempt of the program to get another descriptor fail (EMFILE); the limits as they were."""
        used = {int(name) for name in os.listdir(f"/proc/{self.pid}/fd")}
        free = next(number for number in range(len(used) + 1) if number not in used)
        before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (free, before[1]))
        return before

    def allow(self, limits: tuple[int, int]) -> None:
        """Set its limit of open files."""
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, limits)

    def holds_any(self, inodes: set[int]) -> bool:
        """Whether a process of the program has a descriptor of one of these sockets."""
        return any(holds(process.pid, inodes) for process in self._family.members())

    def output(self) -> str:
        """The last lines that it has printed."""
        return last_lines(self._output)

    def end(self, dialogs: Sequence[int] = ()) -> None:
        """Kill it with all that descends from it, and reap them.

        Args:
            dialogs: the Distributor's ends.  Whoever has the others belongs to it.
        """
        deadline = time.monotonic() + ENDS
        while self._family.kill(dialogs) and time.monotonic() < deadline:
            time.sleep(0.005)
            self._process.poll()
        self._process.wait()
        reap_orphans(frozenset({self.pid}))
        self._family.close()
        self.control.close()
        self._output.close()


def last_lines(output: IO[bytes]) -> str:
    """The last lines of what a program has written there."""
    output.seek(0)
    return "\n".join(output.read().decode(errors="replace").splitlines()[-SHOWN:])


def end_orphans() -> None:
    """Kill and reap what a program has left behind in sessions of its own."""
    deadline = time.monotonic() + ENDS
    while kill_orphans() and time.monotonic() < deadline:
        time.sleep(0.005)
        reap_orphans(frozenset())


def _is_stopped(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return text[text.rindex(")") + 2] in "TtZX"
