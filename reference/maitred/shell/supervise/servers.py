"""The processes of servers: started, asked to end, killed with all that descends from them, and what is kept of each.

Of each server the Monitor keeps the Distributor's ends of its control socket and of its dialogs, and the registry of
its clients, for the next Distributor.  It never keeps a *server's* end of anything: a hand-off could otherwise outlive
the server that it was meant for.  (Of one whose process has not been made yet it does, and nobody else has it.)

The processes of many servers are not all made at once: they would share the CPUs, and the first be ready with the last.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from maitred.config import placeholders
from maitred.config.model import Config, ServerClass
from maitred.core import monitor as core
from maitred.core.messages import Port, ServerId
from maitred.core.monitor import ClassId
from maitred.shell.driver import Driver
from maitred.shell.inside import native_sockets
from maitred.shell.inside.exec_server import ServerSpec
from maitred.shell.io import channel, kernel, report
from maitred.shell.io.loop import Loop
from maitred.shell.io.registry import Reader
from maitred.shell.io.registry import create as create_registry
from maitred.shell.supervise.descendants import Family, Groups, kill_holders
from maitred.shell.supervise.launch import Child, start_server
from maitred.shell.supervise.programs import Programs
from maitred.shell.supervise.recording import Recording
from maitred.shell.supervise.usable import Elements

Machine: TypeAlias = Driver[core.MonitorState, core.Event, core.Effect]

AT_ONCE: Final = max(4, 2 * len(os.sched_getaffinity(0)))
"""So many servers come up at a time, two for each CPU;"""
COMES_UP: Final = 2.0
"""each counts for so many seconds at most, since a program may take any time,"""
LOOK_AGAIN: Final = 0.05
"""and after so many seconds the next look whether another's turn has come."""
KILL_AGAIN: Final = 0.01, 0.2
"""Seconds until the first and between the last looks whether the killed are gone."""

_DAEMON: Final = (
    "its main process ends while its children go on, as a daemon's does; they end with it: run it in the foreground"
)


_SILENT: Final = "it has not asked for a port on its control socket: does it keep the start contract?"


@dataclass(slots=True)
class Server:
    """One server's process, and what is kept of it."""

    class_id: ClassId
    server: ServerId
    control: channel.Socket
    """The Distributor's end."""
    registry: Reader
    child: Child | None = None
    """None where no process could be made, or its turn has not come."""
    since: float = 0.0
    """When its process was made, by the monotonic clock."""
    family: Family | None = None
    dialogs: dict[Port, int] = field(default_factory=dict)
    """The Distributor's ends."""
    ended: bool = False
    """The main process has been reaped."""
    stop_signal: int | None = None
    """What its program is asked to end with; None: the default."""
    look_again: float = KILL_AGAIN[0]


@dataclass(slots=True)
class Waiting:
    """A server whose turn to start has not come."""

    effect: core.StartServer
    control: channel.Socket
    """The server's end."""
    then: list[Callable[[], None]] = field(default_factory=list)
    """What is to be done once its process has been made."""


class Servers:
    """The servers of all classes."""

    def __init__(
        self,
        config: Config,
        loop: Loop,
        machine: Machine,
        elements: Elements,
        recording: Recording,
        programs: Programs,
        spared: Callable[[], Iterable[Child]],
    ) -> None:
        """No server yet.  Our own limit of open files is raised; servers have it as it was.

        Args:
            config: of the instance.
            loop: reports the ends of processes.
            machine: the Monitor's.
            elements: where servers run.
            recording: where servers record their steps.
            programs: what they run.
            spared: our children that are no servers: they are not killed with a server, whatever it has sent them.
        """
        self._config = config
        self._loop = loop
        self._machine = machine
        self._elements = elements
        self._recording = recording
        self._programs = programs
        self._others = spared
        self._started_in = kernel.working_directory()
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._open_files[1], self._open_files[1]))
        self._groups = Groups.find()
        self.held: dict[ServerId, Server] = {}
        self._to_start: dict[ServerId, Waiting] = {}
        """Whose turn has not come, in their order."""
        self.default_stop_signal: int = signal.SIGTERM
        """What a program is asked to end with where its class says nothing."""
        self._foreign: dict[ClassId, int] = {}
        """Libraries that keep a class's servers from coming up, as bits."""
        self._silent: set[ClassId] = set()
        """Classes whose executable has not asked for a port."""
        self._daemons: set[ClassId] = set()
        """Classes whose program goes to the background."""
        self._places: dict[tuple[ClassId, int], ServerId] = {}
        """Who was started last in each place."""
        self.restarts: dict[tuple[ClassId, int], int] = {}
        """How often a server was started in the place of another."""
        self._ends: dict[ServerId, str] = {}
        """How each has ended, until its successor is started."""

    def children(self) -> Iterator[Child]:
        """The main processes."""
        return (server.child for server in self.held.values() if server.child is not None)

    def pids(self) -> dict[ServerId, int]:
        """Of the main processes."""
        return {server.server: server.child.pid for server in self.held.values() if server.child}

    # ================================================================ start

    def start(self, effect: core.StartServer) -> None:
        """Start a server, at once or when its turn comes; one that cannot be started has ended."""
        most = self._config.classes[effect.class_id].max_clients
        try:
            ours, theirs = channel.pair()
            self._to_start[effect.server] = Waiting(effect, theirs)
            registry = Reader(create_registry(most), most)
            self.held[effect.server] = Server(effect.class_id, effect.server, ours, registry)
        except OSError as error:
            self._call_off(effect.server)
            self._cannot_start(effect, error)
        self._start_next()

    def _start_next(self) -> None:
        """Make the processes of those whose turn has come."""
        while self._to_start and self._coming_up() < AT_ONCE:
            waiting = self._to_start.pop(next(iter(self._to_start)))
            try:
                self._launch(waiting.effect, waiting.control)
            except OSError as error:
                self._cannot_start(waiting.effect, error)
            else:
                for action in waiting.then:
                    action()
        if self._to_start:
            self._loop.set_timer("start servers", LOOK_AGAIN, self._start_next)

    def once_started(self, server: ServerId, action: Callable[[], None]) -> None:
        """Do it now, or, where the server's turn to start has not come, then; never, where its start is called off."""
        waiting = self._to_start.get(server)
        if waiting is None:
            action()
        else:
            waiting.then.append(action)

    def _coming_up(self) -> int:
        """How many servers have a process that was made just now and has not come up."""
        young = time.monotonic() - COMES_UP
        return sum(
            server.child is not None and server.since > young and self._phase(server) is core.PlacePhase.STARTING
            for server in self.held.values()
        )

    def _call_off(self, server: ServerId) -> bool:
        """Make no process for the server any more; whether its turn had not come."""
        waiting = self._to_start.pop(server, None)
        if waiting is not None:
            waiting.control.close()
        return waiting is not None

    def _cannot_start(self, effect: core.StartServer, error: OSError) -> None:
        name = self._config.classes[effect.class_id].name
        report.error(f"server {effect.server} of {name} cannot be started: {kernel.in_words(error)}")
        self._machine.handle(core.ServerExited(effect.class_id, effect.server))

    def _launch(self, effect: core.StartServer, theirs: channel.Socket) -> None:
        server = self.held[effect.server]
        cls = self._programs.of(effect.class_id, effect.program)
        server.stop_signal = cls.stop_signal
        registry = trace = None  # an executable keeps none
        try:
            if cls.program.kind != "executable":
                registry = server.registry.fd
                trace = self._recording.begin(f"server {effect.class_id} {effect.server}")
            group = self._groups.make(f"maitred-{os.getpid()}-{effect.server}")
            fds = theirs.fileno(), registry, trace
            child = start_server(self._spec(effect, cls, fds, group))
            server.child, server.since = child, time.monotonic()
            server.family = Family(child.pid, os.fstat(theirs.fileno()).st_ino, group)
        finally:
            theirs.close()
        child.watch_end(self._loop, partial(self._on_end, server, child))
        self._log_start(effect, server, child)

    def _spec(
        self, effect: core.StartServer, cls: ServerClass, fds: tuple[int, int | None, int | None], group: Path | None
    ) -> ServerSpec:
        control, registry, trace = fds
        logs = self._config.log_directory
        known = placeholders.values(cls.name, effect.place, effect.server)
        arguments = [placeholders.fill(text, known) for text in cls.program.args]
        environment = [(name, placeholders.fill(text, known)) for name, text in cls.environment]
        return ServerSpec(
            class_id=effect.class_id,
            server=effect.server,
            max_clients=cls.max_clients,
            control=control,
            registry=registry,
            trace=trace,
            cpus=self._elements.cpus(effect.element),
            open_files=self._open_files,
            memory_limit=cls.memory_limit,
            interpreter=cls.interpreter,
            interpreter_options=cls.interpreter_options,
            program=("-m" if cls.program.kind == "module" else cls.program.kind, cls.program.name, *arguments),
            path=cls.path,
            directory=cls.directory,
            started_in=self._started_in,
            environment=(*environment, (placeholders.NUMBER, known["server"])),
            log=None if logs is None else os.fspath(logs / f"{cls.name}-{effect.place}.log"),
            group=None if group is None else os.fspath(group),
            listen=tuple(address for _, address in cls.listeners),
            name=f"{cls.name}/{known['server']}",
        )

    def _log_start(self, effect: core.StartServer, server: Server, child: Child) -> None:
        place = self._machine.state.classes[effect.class_id].places.get(effect.place, None)
        kind = "dynamic, " if place is not None and place.dynamic else ""
        where = f"(pid {child.pid}, {kind}on {self._config.elements[effect.element].name})"
        before = self._places.get((effect.class_id, effect.place))
        self._places[effect.class_id, effect.place] = effect.server
        self.restarts[effect.class_id, effect.place] = self.restarts.get((effect.class_id, effect.place), -1) + 1
        why = f", in the place of server {before}, which {self._ends.pop(before, 'ended')}" if before else ""
        report.info(f"{self._title(server)} {where} started{why}")

    # ================================================================ end

    def terminate(self, effect: core.Terminate) -> None:
        """Ask the main process to end; where there is none yet, there will be none."""
        if self._call_off(effect.server):
            self._machine.handle(core.ServerExited(effect.class_id, effect.server))
            return
        server = self.held.get(effect.server)
        if server is not None and server.child is not None and not server.ended:
            kernel.send_signal(server.child.pidfd, server.stop_signal or self.default_stop_signal)

    def kill(self, effect: core.Kill) -> None:
        """Kill all that descends from the server; once nobody is left, its place is free."""
        self._call_off(effect.server)
        server = self.held.get(effect.server)
        if server is None:  # not even its sockets could be made
            self._machine.handle(core.ServerGone(effect.class_id, effect.server))
        else:
            self._kill_all(server)

    def _kill_all(self, server: Server) -> None:
        """Kill what descends from the server, until nobody is left."""
        left = server.family is not None and server.family.kill(server.dialogs.values(), self._spared(server))
        if left or (server.child is not None and not server.ended):
            self._loop.set_timer(("kill", server.server), server.look_again, partial(self._kill_all, server))
            server.look_again = min(server.look_again * 1.5, KILL_AGAIN[1])
            return
        self._machine.handle(core.ServerGone(server.class_id, server.server))

    def kill_holders(self, dialog: int) -> None:
        """Whoever holds a dialog of a server that is gone has escaped: kill until nobody is left, then close it."""
        if kill_holders((dialog,), self._spared()):
            self._loop.set_timer(("holders", dialog), KILL_AGAIN[0], partial(self.kill_holders, dialog))
        else:
            os.close(dialog)

    def _spared(self, server: Server | None = None) -> list[int]:
        """The pids of those who are not killed with the server, whatever it has sent them."""
        others = [each.child for each in self.held.values() if each is not server and not each.ended]
        return [child.pid for child in (*self._others(), *others) if child is not None]

    def drop(self, effect: core.DropServer) -> None:
        """Close all that is kept of the server."""
        server = self.held.pop(effect.server, None)
        if server is None:
            return
        server.control.close()
        server.registry.close()
        channel.drop(server.dialogs.values())
        if server.child is not None:
            server.child.close()
        if server.family is not None:
            server.family.close()
        self._recording.end(f"server {server.class_id} {server.server}")

    def _on_end(self, server: Server, child: Child, code: int) -> None:
        server.ended = True
        self._ends[server.server] = report.how_ended(code)
        level = report.warning if self._is_wanted(server) else report.info
        level(f"{self._title(server)} (pid {child.pid}) {report.how_ended(code)}")
        self.look_for_obstacles(server.server)
        if code == 0:
            self._look_for_daemon(server)
        self._machine.handle(core.ServerExited(server.class_id, server.server))

    # ================================================================ why servers do not come up

    def obstacles(self) -> dict[ClassId, list[str]]:
        """By class, why its servers do not come up, as far as that is known."""
        return {class_id: self.obstacles_of(class_id) for class_id in {*self._foreign, *self._silent, *self._daemons}}

    def obstacles_of(self, class_id: ClassId) -> list[str]:
        """Why the class's servers do not come up, as far as that is known; nothing, once one of them has."""
        places = self._machine.state.classes[class_id].places.values()
        if any(place.phase is core.PlacePhase.READY for place in places):
            return []
        libraries = map(str, native_sockets.libraries(self._foreign.get(class_id, 0)))
        silent, daemon = class_id in self._silent, class_id in self._daemons
        return [*libraries, *([_SILENT] if silent else []), *([_DAEMON] if daemon else [])]

    def look_for_obstacles(self, server_id: ServerId) -> None:
        """Where the server has not come up, report once for its class what may be the cause."""
        server = self.held.get(server_id)
        if server is None or self._phase(server) is not core.PlacePhase.STARTING:
            return
        self._look_for_silence(server)
        known = self._foreign.get(server.class_id, 0)
        noted = server.registry.foreign
        self._foreign[server.class_id] = known | noted
        for library in native_sockets.libraries(noted & ~known):
            report.error(f"{self._title(server)} cannot be handed clients: {library}")

    def _look_for_silence(self, server: Server) -> None:
        """Where an executable has asked for nothing, it may know nothing of its start contract."""
        program = self._config.classes[server.class_id].program
        if program.kind == "executable" and not server.dialogs and server.class_id not in self._silent:
            self._silent.add(server.class_id)
            report.error(f"{self._title(server)}, {program.name}: {_SILENT}")

    def _look_for_daemon(self, server: Server) -> None:
        """Where a main process ends well and unasked while its children go on, report once what that means."""
        if not self._is_wanted(server) or server.class_id in self._daemons:
            return
        if server.family is not None and server.family.members():
            self._daemons.add(server.class_id)
            report.error(f"{self._title(server)}: {_DAEMON}")

    def _is_wanted(self, server: Server) -> bool:
        """Whether the server is to run: it has not been asked to end."""
        return self._phase(server) in (core.PlacePhase.STARTING, core.PlacePhase.READY)

    def _phase(self, server: Server) -> core.PlacePhase | None:
        cls = self._machine.state.classes[server.class_id]
        place = cls.living.get(server.server, None)
        return None if place is None else cls.places[place].phase

    def _title(self, server: Server) -> str:
        return f"server {server.server} of {self._config.classes[server.class_id].name}"
