"""What the log says of a server class: what its Distributor reports, what the machine complains of, that all is up."""

from __future__ import annotations

import errno
import os
from typing import Final

from maitred.config.model import Config
from maitred.core import messages
from maitred.core import monitor as core
from maitred.core.messages import ToMonitor
from maitred.core.monitor import ClassId, Complaint
from maitred.shell.io import report
from maitred.shell.supervise import leftovers
from maitred.shell.supervise.servers import Machine, Servers

EXIT_CODES: Final[dict[Complaint | None, int]] = {None: 0, Complaint.CANNOT_LISTEN: 1, Complaint.GIVEN_UP: 3}


class News:
    """The news of all classes."""

    def __init__(self, config: Config, machine: Machine, servers: Servers) -> None:
        self._config = config
        self._machine = machine
        self._servers = servers
        self._announced = False
        self.failed_replacements: dict[ClassId, int] = {}
        """By class, how often servers could not be replaced."""
        self.failure = ""
        """What made a class fail: logged once more in the last line, where a program's own output does not hide it."""

    def received(self, class_id: ClassId, message: ToMonitor) -> None:
        """A Distributor has sent the message."""
        name = self._name(class_id)
        match message:
            case messages.ListenFailed():
                self.failure = f"{name}: cannot listen on {message.address}: {os.strerror(message.errno)}"
                report.error(self.failure)
                if message.errno == errno.EADDRINUSE:
                    for holder in leftovers.holders(message.port):
                        report.error(f"port {message.port} is held by {holder}")
            case messages.Unresponsive():
                held = self._servers.held.get(message.server)
                fault = None if held is None else held.registry.fault()
                why = f"has spoilt its registry ({fault})" if fault else "does not respond"
                report.warning(f"server {message.server} of {name} {why}: killed")
            case messages.ServerReady() if self._announced:
                report.info(f"server {message.server} of {name} is ready on port {message.port}")
            case _:
                pass

    def complain(self, effect: core.Report) -> None:
        """The machine complains."""
        name, what = self._name(effect.class_id), effect.complaint.value
        cls = self._machine.state.classes[effect.class_id]
        addresses = [address for _, address in cls.listeners]
        if effect.complaint is Complaint.NOT_REPLACED:
            self.failed_replacements[effect.class_id] = self.failed_replacements.get(effect.class_id, 0) + 1
            what += "; what ran before goes on" if cls.replacement is None else "; those that were are replaced back"
        if effect.complaint is Complaint.NOT_LISTENING and addresses:
            what += f" on {', '.join(addresses)}"
        if effect.complaint is Complaint.CRASH_LOOP and cls.proven:
            what += ", while others were; for what copies must not share, such as a pid file, use {server}"
        if effect.complaint is Complaint.GIVEN_UP:
            self.failure = "; ".join([f"{name}: {what}", *self._servers.obstacles_of(effect.class_id)])
        level = report.error if effect.complaint in EXIT_CODES else report.warning
        level(f"server {effect.server} of {name}: {what}" if effect.server else f"{name}: {what}")
        if effect.complaint is Complaint.NOT_LISTENING:
            self._servers.look_for_obstacles(effect.server)

    def announce(self) -> bool:
        """Report, once, that all is up; whether that has happened now."""
        if self._announced or self._machine.state.phase is not core.Phase.RUNNING:
            return False
        rows = []
        for class_id, cls in self._machine.state.classes.items():
            ready = [place for place in cls.places.values() if place.phase is core.PlacePhase.READY]
            if len(ready) < cls.config.static or not all(cls.listeners.values()):
                return False
            rows.append((self._name(class_id), len(ready), [address for _, address in cls.listeners]))
        self._announced = True
        report.info(report.ready_line(rows))
        return True

    def _name(self, class_id: ClassId) -> str:
        return self._config.classes[class_id].name
