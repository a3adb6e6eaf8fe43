"""Answers what operators request on the control socket: the status, a stop, files opened again, an element failed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from maitred.config.model import Config
from maitred.core import monitor as core
from maitred.core.monitor import ClassId
from maitred.core.transition import Rejected
from maitred.shell.io import report
from maitred.shell.io.loop import Loop
from maitred.shell.supervise import status
from maitred.shell.supervise.changes import Changes
from maitred.shell.supervise.distributors import Distributors
from maitred.shell.supervise.inquiry import Part
from maitred.shell.supervise.news import News
from maitred.shell.supervise.recording import Recording
from maitred.shell.supervise.servers import Machine, Servers

STATUS_PATIENCE: Final = 1.0
"""Seconds that a Distributor is given to answer for the status."""


class Requests:
    """The requests to one instance."""

    def __init__(
        self,
        config: Config,
        loop: Loop,
        machine: Machine,
        servers: Servers,
        distributors: Distributors,
        recording: Recording,
        changes: Changes,
        news: News,
        stop: Callable[[str, bool], Rejected | None],
    ) -> None:
        """Answer from what these hold; ``stop`` stops the instance: why, for the log, and whether quickly."""
        self._config = config
        self._loop = loop
        self._machine = machine
        self._servers = servers
        self._distributors = distributors
        self._recording = recording
        self._changes = changes
        self._news = news
        self._stop = stop

    def answer(self, request: status.Json, reply: status.Reply) -> None:
        """Answer the request, now or later."""
        match request:
            case {"request": "status", **rest} if not rest:
                self.answer_status(reply)
            case {"request": "stop", **rest} if not rest:
                _confirm(self._stop("asked to stop", False), reply)
            case {"request": "stop", "quick": bool(quick), **rest} if not rest:
                _confirm(self._stop("asked to stop", quick), reply)
            case {"request": "rotate", **rest} if not rest:
                self.rotate(reply)
            case {"request": "element", "name": str(name), "up": bool(up), **rest} if not rest:
                self._answer_element(name, up, reply)
            case {"request": "retire" | "restart" | "scale" | "reload"}:
                reply(self._changes.answer(request))
            case _:
                known = '"status", "stop" (with "quick" or without), "rotate", "element" with "name" and "up"'
                known += ', "retire", "restart", "scale", "reload"'
                reply({"error": f"unknown request; known: {known}"})

    def _answer_element(self, name: str, up: bool, reply: status.Reply) -> None:
        names = [element.name for element in self._config.elements]
        if name not in names:
            reply({"error": f"no processing element is named {name!r}; there are: {', '.join(names)}"})
            return
        report.info(f"processing element {name}: taken for {'restored' if up else 'failed'}, as asked")
        element = names.index(name)
        _confirm(self._machine.handle(core.ElementRestored(element) if up else core.ElementFailed(element)), reply)

    def rotate(self, reply: status.Reply) -> None:
        """Open the log and the trace again, here and in the Distributors; reply when none writes to the old ones.

        Servers keep the trace that they were started with: the lines of one server are in one file.
        """
        try:
            files = self._recording.open_again()
        except OSError as error:
            reply({"error": f"{error.filename} cannot be opened again: {error.strerror}; nothing has changed"})
            return
        if not files:
            reply({"error": "nothing is to be opened again: this instance has neither a log file nor a trace"})
            return
        report.info(f"opened again: {' and '.join(name.decode() for name in files)}")
        late = {(class_id, name): held for class_id, held in self._distributors.held.items() for name in files}
        key = ("rotate", id(reply), time.monotonic())

        def finish() -> None:
            self._loop.cancel_timer(key)
            names = sorted({self._config.classes[class_id].name for class_id, _ in late})
            busy = f"the Distributor of {', '.join(names)} does not answer and may still write to the old files"
            reply({"error": busy} if names else {"ok": True, "files": [name.decode() for name in files]})

        def answered(class_id: ClassId, name: bytes, part: Part) -> None:
            gone = self._distributors.held.get(class_id) is not late.get((class_id, name))
            if gone or (part is not None and part.get("opened")):  # the one that comes next has the new files
                late.pop((class_id, name), None)
                if not late:
                    finish()

        self._loop.set_timer(key, STATUS_PATIENCE, finish)
        for (class_id, name), distributor in list(late.items()):
            distributor.inquiry.ask(partial(answered, class_id, name), name, (files[name],))
        for fd in files.values():
            os.close(fd)
        if not late:
            finish()

    def answer_status(self, reply: status.Reply) -> None:
        """Ask every Distributor, and answer when all have answered, or when their time is up."""
        parts: dict[ClassId, Part] = {}
        wanted = set(self._distributors.held)
        key = ("status", id(reply), time.monotonic())

        def finish() -> None:
            self._loop.cancel_timer(key)
            pids, running = self._servers.pids(), self._distributors.pids()
            obstacles = self._servers.obstacles()
            standby = self._distributors.standby.pid
            document = status.build(
                self._config,
                self._machine.state,
                pids,
                running,
                parts,
                obstacles,
                standby,
                self._servers.restarts,
                self._news.failed_replacements,
            )
            reply({**document, **self._recording.status()})

        def answered(class_id: ClassId, part: Part) -> None:
            parts[class_id] = part
            if parts.keys() >= wanted:
                finish()

        if not wanted:
            finish()
            return
        self._loop.set_timer(key, STATUS_PATIENCE, finish)
        for class_id, distributor in list(self._distributors.held.items()):
            distributor.inquiry.ask(partial(answered, class_id))


def _confirm(declined: Rejected | None, reply: status.Reply) -> None:
    reply({"ok": True} if declined is None else {"error": declined.reason.value})
