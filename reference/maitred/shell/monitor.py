"""The Monitor's process: the pure Monitor driven by real processes.

As the Distributor, it makes no protocol decision: the end of a process, a message, a signal, a timer becomes an
event; `maitred.core.monitor.step` says what follows; the effects are performed in their order.

What this process holds for others: of each server the Distributor's ends of its control socket and of its dialogs, and
the registry of its clients; of each class the listening sockets; and the connections of those who wait.  It never holds
a *server's* end of anything: a hand-off could otherwise outlive the server that it was meant for.

The Monitor never waits for a Distributor, since a Distributor may wait for the Monitor: what a Distributor does not
take at once is queued here.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, get_args

from maitred.config import placeholders
from maitred.config.model import Config, ServerClass
from maitred.core import messages, wire
from maitred.core import monitor as core
from maitred.core.messages import Address, Client, Incarnation, Port, ServerId, ToDistributor, ToMonitor
from maitred.core.monitor import ClassId, Complaint
from maitred.core.timing import duration
from maitred.core.transition import Rejected
from maitred.shell.distributor import DistributorSpec
from maitred.shell.driver import Driver
from maitred.shell.inside import native_sockets
from maitred.shell.inside.exec_server import ServerSpec
from maitred.shell.io import channel, kernel, report
from maitred.shell.io.listening import resolve, split_address
from maitred.shell.io.loop import READ, Loop
from maitred.shell.io.registry import Reader
from maitred.shell.io.registry import create as create_registry
from maitred.shell.observe.trace import Trace
from maitred.shell.observe.verifier import Verifier, VerifierMain
from maitred.shell.supervise import leftovers, status
from maitred.shell.supervise.descendants import Family, Groups, kill_holders, kill_orphans, reap_orphans
from maitred.shell.supervise.launch import Child, start_distributor, start_server

PACKETS_A_TURN: Final = 64
LOOK_ROUND: Final = 2.0
"""Seconds between looks at what announces itself to nobody: CPUs, and orphans that have died."""
STATUS_PATIENCE: Final = 1.0
"""Seconds that a Distributor is given to answer for the status."""
LAST_WAIT: Final = 2.0
"""Seconds that a Distributor which has nothing left to do is given to end."""
SPARES: Final = 16
"""Descriptors that starting a Distributor may take."""
KILL_AGAIN: Final = 0.01, 0.2
"""Seconds until the first and between the last looks whether the killed are gone."""

STOPS: Final = (signal.SIGINT, signal.SIGTERM)
MEANINGLESS: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN)
"""Signals that make other supervisors do something (reload, reopen logs, scale); here they do no harm."""

_DAEMON: Final = (
    "its main process ends while its children go on, as a daemon's does; they end with it: run it in the foreground"
)

EXIT_CODES: Final[dict[Complaint | None, int]] = {None: 0, Complaint.CANNOT_LISTEN: 1, Complaint.GIVEN_UP: 3}
Part: TypeAlias = "status.Json | None"
"""What a Distributor says of itself for the status, if it says anything."""
UNUSABLE: Final = 2
"""The exit code where the configuration does not fit this machine."""


@dataclass(slots=True)
class _Server:
    """One server's process, and what is kept of it."""

    class_id: ClassId
    server: ServerId
    control: channel.Socket
    """The Distributor's end."""
    registry: Reader
    child: Child | None = None
    """None where no process could be made."""
    family: Family | None = None
    dialogs: dict[Port, int] = field(default_factory=dict)
    """The Distributor's ends."""
    ended: bool = False
    """The main process has been reaped."""
    look_again: float = KILL_AGAIN[0]


@dataclass(slots=True)
class _Distributor:
    """One Distributor's process."""

    class_id: ClassId
    child: Child | None
    channel: channel.Socket
    status: socket.socket
    outbox: deque[ToDistributor] = field(default_factory=deque)
    """What it has not taken yet; the descriptors are looked up when it is sent."""
    answers: bytearray = field(default_factory=bytearray)
    asking: deque[Callable[[Part], None]] = field(default_factory=deque)
    incarnation: Incarnation = 0


class _Spares:
    """Descriptors held for nothing but to be let go where a Distributor is started.

    Those who wait may take all others: they must not keep the class without a Distributor.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []

    def fill(self) -> None:
        """Hold as many as there are to be had."""
        with suppress(OSError):
            while len(self._fds) < SPARES:
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        """Let go of all."""
        channel.drop(self._fds)
        self._fds.clear()


class UnusableError(Exception):
    """This machine cannot do what the configuration says; the text says what."""


class Monitor:
    """One Monitor at work."""

    _verifier: Verifier | None = None

    def __init__(self, config: Config, verifier_main: VerifierMain | None = None) -> None:
        """Prepare everything but the processes.

        Args:
            config: what is to run.
            verifier_main: the verifier's process, for a configuration that wants one.

        Raises:
            UnusableError: something that is configured cannot be had.
        """
        self.config = config
        self.loop = Loop()
        self._cpus = _cpus_of(config)
        _resolve_hosts(config)
        self._started_in = kernel.working_directory()
        self._verifier = _open_verifier(config, verifier_main)
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._open_files[1], self._open_files[1]))
        self._trace_fd = _open_trace(config) if self._verifier is None else None
        classes, weights = config.core()
        trace = Trace(self._account_of("monitor"), "monitor")
        trace.start(classes=classes, weights=weights)
        self.machine = Driver(
            core.step,
            core.initial(classes, weights),
            self._effects(),
            trace if trace.wanted else None,
            stepped=lambda event, before: None,
            declined=_declined,
        )
        self.handle = self.machine.handle
        """Lets an event happen with all that follows from it, and returns why the machine declines it."""
        self._servers: dict[ServerId, _Server] = {}
        self._distributors: dict[ClassId, _Distributor] = {}
        self._store: dict[tuple[ClassId, Client], int] = {}
        self._listeners: dict[tuple[ClassId, Port, Address], tuple[int, ...]] = {}
        self._ends: dict[ServerId, str] = {}
        self._why = ""
        """What made a class fail: said once more in the last line, where a program's own words do not bury it."""
        self._foreign: dict[ClassId, int] = {}
        """Libraries that keep a class's servers from coming up, as bits."""
        self._daemons: set[ClassId] = set()
        """Classes whose program goes to the background."""
        self._places: dict[tuple[ClassId, int], ServerId] = {}
        self._spares = _Spares()
        self._spares.fill()
        self._announced = False
        self._exit: int | None = None
        self._stopped_by: int = signal.SIGTERM
        """What programs are asked to end with where nothing is configured: after Ctrl-C, what Ctrl-C means to them."""
        self._groups = Groups.find()
        kernel.become_subreaper()
        self._signals = self._watch_signals()
        try:
            self._control = status.ControlServer(self.loop, config.control, self._answer)
        except OSError as error:
            raise UnusableError(f"the control socket {config.control} cannot be made: {error.strerror}") from error
        leftovers.mark(config.control)

    def run(self) -> int:
        """Start everything, look after it, and return the exit code once it has ended."""
        self.loop.set_timer("look round", LOOK_ROUND, self._look_round)
        if self._verifier is not None:
            self._verifier.start(self.loop)
        with self.loop.interrupt_waits():
            self.handle(core.Started())
            while self._exit is None:
                self.loop.turn()
        self._finish()
        return self._exit

    # ================================================================ events from Distributors

    def _on_channel(self, distributor: _Distributor, flags: int) -> None:
        for _ in range(PACKETS_A_TURN):
            if not self._read(distributor):
                return

    def _read(self, distributor: _Distributor) -> bool:
        """Read and heed one message; whether there may be more."""
        if distributor.channel.fileno() < 0:
            return False
        try:
            packet = channel.receive(distributor.channel)
        except BlockingIOError:
            return False
        except wire.WireError as error:
            report.warning(f"the Distributor of {self._name(distributor.class_id)} sent no message: {error}")
            return True
        if packet is None:
            self.loop.forget(distributor.channel.fileno())
            self._expect_end(distributor)
            return False
        message = packet.message
        if isinstance(message, get_args(ToMonitor)):
            self._say_told(distributor.class_id, message)
            self.handle(core.Told(distributor.class_id, self._keep(distributor.class_id, message, packet.fds)))
            self._announce()
        else:
            channel.drop(packet.fds)
        return True

    def _expect_end(self, distributor: _Distributor) -> None:
        """A Distributor that has hung up can neither be sent to nor read from: it ends, or is ended."""
        self.loop.set_timer(("hung up", distributor.class_id), LAST_WAIT, lambda: self._end_of_patience(distributor))

    def _end_of_patience(self, distributor: _Distributor) -> None:
        if self._distributors.get(distributor.class_id) is distributor and distributor.child is not None:
            kernel.send_signal(distributor.child.pidfd, signal.SIGKILL)

    def _keep(self, class_id: ClassId, message: ToMonitor, fds: tuple[int, ...]) -> ToMonitor:
        """Keep the descriptors that came with the message.

        Returns:
            what the message comes to: a server whose dialog is lost could not be handed to the next Distributor, and
            is to be replaced as one that does not respond.
        """
        match message:
            case messages.Store() if fds:
                self._drop_stored(class_id, message.client)
                self._store[class_id, message.client] = fds[0]
                channel.drop(fds[1:])
            case messages.KeepDialog() if fds and message.server in self._servers:
                dialogs = self._servers[message.server].dialogs
                channel.drop(filter(None, [dialogs.get(message.port)]))
                dialogs[message.port] = fds[0]
                channel.drop(fds[1:])
            case messages.KeepDialog() if fds:
                self._kill_holders(fds[0])
                channel.drop(fds[1:])
            case messages.KeepListener() if fds:
                key = (class_id, message.port, message.address)
                channel.drop(self._listeners.get(key, ()))
                self._listeners[key] = fds
            case messages.Store() | messages.KeepDialog() | messages.KeepListener():
                channel.drop(fds)
                report.error(f"out of descriptors: {type(message).__name__} of {self._name(class_id)} came without")
                if isinstance(message, messages.KeepDialog):
                    return messages.Unresponsive(message.server)
            case _:
                channel.drop(fds)
        return message

    def _on_distributor_end(self, distributor: _Distributor, flags: int) -> None:
        """Hear all that it has said, then say that it has ended."""
        child = distributor.child
        assert child is not None, "its pidfd was watched"
        code = child.exitcode()
        if code is None:
            return
        self.loop.forget(child.pidfd)
        while self._read(distributor):
            pass
        self.loop.cancel_timer(("hung up", distributor.class_id))  # which reading to the end may have set
        name = self._name(distributor.class_id)
        if code or self._phase_of(distributor.class_id) is not core.DistributorPhase.DONE:
            report.warning(f"the Distributor of {name} (pid {child.pid}) {report.how_ended(code)}")
        self._release_distributor(distributor)
        self.handle(core.DistributorExited(distributor.class_id))

    def _phase_of(self, class_id: ClassId) -> core.DistributorPhase:
        return self.machine.state.classes[class_id].distributor.phase

    def _release_distributor(self, distributor: _Distributor) -> None:
        if self._distributors.get(distributor.class_id) is distributor:
            del self._distributors[distributor.class_id]
        for each in (distributor.channel, distributor.status):
            if each.fileno() >= 0:
                self.loop.forget(each.fileno())
                each.close()
        distributor.outbox.clear()
        while distributor.asking:
            distributor.asking.popleft()(None)
        if distributor.child is not None:
            distributor.child.close()
        self._unfollow(f"distributor {distributor.class_id} {distributor.incarnation}")

    # ================================================================ events from servers

    def _on_server_end(self, server: _Server, flags: int) -> None:
        child = server.child
        assert child is not None, "its pidfd was watched"
        code = child.exitcode()
        if code is None:
            return
        self.loop.forget(child.pidfd)
        server.ended = True
        self._ends[server.server] = report.how_ended(code)
        level = report.warning if self._is_wanted(server) else report.info
        level(f"{self._title(server)} (pid {child.pid}) {report.how_ended(code)}")
        self._suspect(server)
        if code == 0:
            self._suspect_a_daemon(server)
        self.handle(core.ServerExited(server.class_id, server.server))

    def _suspect_a_daemon(self, server: _Server) -> None:
        """Where a main process ends well and unasked, while what it has forked goes on, say once what that means."""
        if not self._is_wanted(server) or server.class_id in self._daemons:
            return
        if server.family is not None and server.family.members():
            self._daemons.add(server.class_id)
            report.error(f"{self._title(server)}: {_DAEMON}")

    def _is_wanted(self, server: _Server) -> bool:
        """Whether the server is to run: it has not been asked to end."""
        cls = self.machine.state.classes[server.class_id]
        place = cls.living.get(server.server, None)
        return place is not None and cls.places[place].phase in (core.PlacePhase.STARTING, core.PlacePhase.READY)

    def _suspect(self, server: _Server) -> None:
        """Where a server does not come up, say once for its class which library may be to blame."""
        cls = self.machine.state.classes[server.class_id]
        place = cls.living.get(server.server, None)
        if place is None or cls.places[place].phase is not core.PlacePhase.STARTING:
            return
        known = self._foreign.get(server.class_id, 0)
        noted = server.registry.foreign
        self._foreign[server.class_id] = known | noted
        for library in native_sockets.libraries(noted & ~known):
            report.error(f"{self._title(server)} cannot be handed clients: {library}")

    def _kill_all(self, server: _Server) -> None:
        """Kill what descends from the server, until nobody is left."""
        left = server.family is not None and server.family.kill(server.dialogs.values(), self._spared(server))
        if left or (server.child is not None and not server.ended):
            self.loop.set_timer(("kill", server.server), server.look_again, partial(self._kill_all, server))
            server.look_again = min(server.look_again * 1.5, KILL_AGAIN[1])
            return
        self.handle(core.ServerGone(server.class_id, server.server))

    def _kill_holders(self, dialog: int) -> None:
        """Whoever holds a dialog of a server that is gone has escaped: kill until nobody is left."""
        if kill_holders((dialog,), self._spared()):
            self.loop.set_timer(("holders", dialog), KILL_AGAIN[0], partial(self._kill_holders, dialog))
        else:
            os.close(dialog)

    def _spared(self, server: _Server | None = None) -> list[int]:
        """Who is not killed with the server, whatever it has sent them."""
        children = [each.child for each in self._distributors.values()]
        children += [each.child for each in self._servers.values() if each is not server and not each.ended]
        return [child.pid for child in children if child is not None]

    # ================================================================ events from the machine and the operator

    def _watch_signals(self) -> socket.socket:
        """Signals wake the loop: their numbers are read as bytes."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
        for number in (*STOPS, *MEANINGLESS):  # though a script that starts us with & has us ignore SIGINT
            signal.signal(number, _ignore)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else each line for a terminal that is not ours raises another
        self.loop.watch(reader.fileno(), READ, self._on_signals)
        return reader

    def _on_signals(self, flags: int) -> None:
        try:
            numbers = self._signals.recv(64)
        except BlockingIOError:
            return
        for number in numbers:
            if number in STOPS:
                self._stopped_by = number
                self._stop(signal.Signals(number).name)
            elif number != signal.SIGALRM:  # the loop's own
                report.warning(f"{signal.Signals(number).name} means nothing to maitred: nothing is done")

    def _stop(self, why: str) -> Rejected | None:
        if self.machine.state.phase is core.Phase.RUNNING:
            report.info(
                f"{why}: stopping when the clients have left, at most {self.config.durations.grace:g} s; again: now"
            )
        else:
            report.info(f"{why}: stopping now")
        return self.handle(core.StopRequested())

    def _look_round(self) -> None:
        self.loop.set_timer("look round", LOOK_ROUND, self._look_round)
        self._spares.fill()
        reap_orphans(frozenset(child.pid for child in self._children()))
        usable = _usable(self.config)
        for i, element in enumerate(self.config.elements):
            if bool(usable[i]) is not bool(self._cpus[i]):
                up = bool(usable[i])
                level = report.info if up else report.warning
                level(f"processing element {element.name}: its CPUs are {'back' if up else 'offline'}")
                self.handle(core.ElementRestored(i) if up else core.ElementFailed(i))
        self._cpus = usable

    def _children(self) -> Iterable[Child]:
        children = [server.child for server in self._servers.values()]
        children += [distributor.child for distributor in self._distributors.values()]
        children += [self._verifier.child] if self._verifier is not None else []
        return [child for child in children if child is not None]

    def _account_of(self, who: str) -> int | None:
        """Where the machine, which is about to be started, is to record its steps: a ring of its own, or the trace."""
        return self._trace_fd if self._verifier is None else self._verifier.add(who)

    def _unfollow(self, who: str) -> None:
        if self._verifier is not None:
            self._verifier.over(who)

    # ================================================================ effects

    def _start_server(self, effect: core.StartServer) -> None:
        try:
            self._launch_server(effect)
        except OSError as error:
            report.error(
                f"server {effect.server} of {self._name(effect.class_id)} cannot be started: {kernel.in_words(error)}"
            )
            self.handle(core.ServerExited(effect.class_id, effect.server))

    def _launch_server(self, effect: core.StartServer) -> None:
        cls = self.config.classes[effect.class_id]
        ours, theirs = channel.pair()
        try:
            registry = Reader(create_registry(cls.max_clients), cls.max_clients)
            server = _Server(effect.class_id, effect.server, ours, registry)
            self._servers[effect.server] = server
            trace = self._account_of(f"server {effect.class_id} {effect.server}")
            group = self._groups.make(f"maitred-{os.getpid()}-{effect.server}")
            child = start_server(self._server_spec(effect, cls, (theirs.fileno(), registry.fd, trace), group))
            server.child = child
            server.family = Family(child.pid, os.fstat(theirs.fileno()).st_ino, group)
        finally:
            theirs.close()
        self.loop.watch(child.pidfd, READ, partial(self._on_server_end, server))
        self._say_started(effect, server)

    def _server_spec(
        self, effect: core.StartServer, cls: ServerClass, fds: tuple[int, int, int | None], group: Path | None
    ) -> ServerSpec:
        control, registry, trace = fds
        logs = self.config.log_directory
        known = placeholders.values(cls.name, effect.place, effect.server)
        arguments = [placeholders.fill(text, known) for text in cls.program.args]
        environment = [(name, placeholders.fill(text, known)) for name, text in cls.environment]
        return ServerSpec(
            class_id=effect.class_id,
            server=effect.server,
            control=control,
            registry=registry,
            trace=trace,
            cpus=self._cpus[effect.element] or self.config.elements[effect.element].cpus,
            open_files=self._open_files,
            memory_limit=cls.memory_limit,
            interpreter=cls.interpreter,
            interpreter_options=cls.interpreter_options,
            program=("-m" if cls.program.kind == "module" else "script", cls.program.name, *arguments),
            path=cls.path,
            directory=cls.directory,
            started_in=self._started_in,
            environment=(*environment, (placeholders.NUMBER, known["server"])),
            log=None if logs is None else os.fspath(logs / f"{cls.name}-{effect.place}.log"),
            group=None if group is None else os.fspath(group),
            fixed=cls.fixed,
        )

    def _start_distributor(self, effect: core.StartDistributor) -> None:
        self._spares.release()
        try:
            self._launch_distributor(effect)
        except OSError as error:
            name = self._name(effect.class_id)
            report.error(f"the Distributor of {name} cannot be started: {kernel.in_words(error)}")
            self.handle(core.DistributorExited(effect.class_id))
        finally:
            self._spares.fill()

    def _launch_distributor(self, effect: core.StartDistributor) -> None:
        cls = self.config.classes[effect.class_id]
        ours, theirs = channel.pair()
        try:
            our_status, their_status = socket.socketpair()
        except OSError:
            ours.close()
            theirs.close()
            raise
        our_status.setblocking(False)
        kept = tuple(
            (port, address, fds) for (of, port, address), fds in self._listeners.items() if of == effect.class_id
        )
        trace = self._account_of(f"distributor {effect.class_id} {effect.incarnation}")
        spec = DistributorSpec(
            class_id=effect.class_id,
            name=cls.name,
            incarnation=effect.incarnation,
            dynamic=cls.dynamic,
            waiting_limit=cls.waiting_limit,
            listeners=effect.listeners,
            fixed=cls.fixed,
            durations=self.config.durations,
            cpus=self._cpus[effect.element] or self.config.elements[effect.element].cpus,
            channel=theirs.fileno(),
            status=their_status.fileno(),
            trace=trace,
            kept=kept,
        )
        distributor = _Distributor(effect.class_id, None, ours, our_status, incarnation=effect.incarnation)
        self._distributors[effect.class_id] = distributor
        try:
            child = distributor.child = start_distributor(spec)
        except OSError:
            self._release_distributor(distributor)
            raise
        else:
            self.loop.watch(child.pidfd, READ, partial(self._on_distributor_end, distributor))
            self.loop.watch(ours.fileno(), READ, partial(self._on_channel, distributor))
            self.loop.watch(our_status.fileno(), READ, partial(self._on_answer, distributor))
            element = self.config.elements[effect.element].name
            again = f"restarted, incarnation {effect.incarnation}" if effect.incarnation > 1 else "started"
            report.info(f"the Distributor of {cls.name} (pid {child.pid}, on {element}) {again}")
        finally:
            theirs.close()
            their_status.close()

    def _tell(self, effect: core.TellDistributor) -> None:
        distributor = self._distributors.get(effect.class_id)
        if distributor is None:
            return  # it could not be started: its successor is sent everything
        distributor.outbox.append(effect.message)
        self._flush(distributor)

    def _fds_for(self, class_id: ClassId, message: ToDistributor) -> tuple[int, ...]:
        """What is kept and goes along with the message."""
        match message:
            case messages.Adopt():
                server = self._servers.get(message.server)
                if server is None:
                    return ()
                dialogs = (server.dialogs[port] for port in message.dialogs)
                return server.control.fileno(), server.registry.fd, *dialogs
            case messages.Restore():
                stored = self._store.get((class_id, message.client))
                return () if stored is None else (stored,)
            case _:
                return ()

    def _flush(self, distributor: _Distributor) -> None:
        """Send what the Distributor takes; the rest when it has room."""
        while distributor.outbox:
            message = distributor.outbox[0]
            fds = self._fds_for(distributor.class_id, message)
            if isinstance(message, messages.Adopt) and not fds:
                distributor.outbox.popleft()
                continue  # it could not be made, or is gone by now
            try:
                channel.send(distributor.channel, message, fds)
            except OSError as error:
                if error.errno in channel.CROWDED:
                    self._flush_later(distributor)
                    return
                # else it has died, and its end is about to be heard of
            distributor.outbox.popleft()

    def _flush_later(self, distributor: _Distributor) -> None:
        """By the clock: the socket may have room while the kernel lacks something else."""
        key = ("flush", distributor.class_id)
        self.loop.set_timer(key, 0.01, lambda: self._flush(distributor) if distributor.channel.fileno() >= 0 else None)

    def _terminate(self, effect: core.Terminate) -> None:
        server = self._servers.get(effect.server)
        if server is not None and server.child is not None and not server.ended:
            configured = self.config.classes[effect.class_id].stop_signal
            kernel.send_signal(server.child.pidfd, configured or self._stopped_by)

    def _kill(self, effect: core.Kill) -> None:
        server = self._servers.get(effect.server)
        if server is None:  # there was not even the wherewithal to start it
            self.handle(core.ServerGone(effect.class_id, effect.server))
        else:
            self._kill_all(server)

    def _kill_distributor(self, effect: core.KillDistributor) -> None:
        distributor = self._distributors.get(effect.class_id)
        if distributor is not None and distributor.child is not None:
            kernel.send_signal(distributor.child.pidfd, signal.SIGKILL)

    def _drop_duplicate(self, effect: core.DropDuplicate) -> None:
        self._drop_stored(effect.class_id, effect.client)

    def _drop_stored(self, class_id: ClassId, client: Client) -> None:
        channel.drop(filter(None, [self._store.pop((class_id, client), None)]))

    def _shut_down_stored(self, effect: core.ShutDownStored) -> None:
        fd = self._store.pop((effect.class_id, effect.client), None)
        if fd is not None:
            with socket.socket(fileno=fd) as connection:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    report.debug(f"{effect.client}: {error}")
                channel.unlinger(connection)

    def _drop_server(self, effect: core.DropServer) -> None:
        server = self._servers.pop(effect.server, None)
        if server is None:
            return
        server.control.close()
        server.registry.close()
        channel.drop(server.dialogs.values())
        if server.child is not None:
            server.child.close()
        if server.family is not None:
            server.family.close()
        self._unfollow(f"server {server.class_id} {server.server}")

    def _drop_listener(self, effect: core.DropListener) -> None:
        for key in [key for key in self._listeners if key[:2] == (effect.class_id, effect.port)]:
            channel.drop(self._listeners.pop(key))

    def _set_timer(self, effect: core.SetTimer) -> None:
        seconds = duration(self.config.durations, effect.timer)
        if isinstance(effect.timer, core.RestartServer | core.RestartDistributor) and seconds >= 1:
            what = "a server" if isinstance(effect.timer, core.RestartServer) else "the Distributor"
            report.warning(f"{what} of {self._name(effect.timer.class_id)} is restarted in {seconds:.1f} s")
        fired = core.Fired(effect.timer)
        self.loop.set_timer(effect.timer, seconds, partial(self.handle, fired))

    def _report(self, effect: core.Report) -> None:
        name, what = self._name(effect.class_id), effect.complaint.value
        addresses = [address for _, address in self.machine.state.classes[effect.class_id].listeners]
        if effect.complaint is Complaint.NOT_LISTENING and addresses:
            what += f" on {', '.join(addresses)}"
        if effect.complaint is Complaint.CRASH_LOOP and self.machine.state.classes[effect.class_id].proven:
            what += ", while others were; for what copies must not share, such as a pid file, use {server}"
        if effect.complaint is Complaint.GIVEN_UP:
            self._why = "; ".join([f"{name}: {what}", *self._obstacles(effect.class_id)])
        level = report.error if effect.complaint in EXIT_CODES else report.warning
        level(f"server {effect.server} of {name}: {what}" if effect.server else f"{name}: {what}")
        if effect.complaint is Complaint.NOT_LISTENING and (server := self._servers.get(effect.server)) is not None:
            self._suspect(server)

    def _end(self, effect: core.Exit) -> None:
        self._exit = EXIT_CODES.get(effect.failure, 1)

    def _effects(self) -> dict[type[core.Effect], Callable[[Any], None]]:  # Any: each takes its own effect
        return {
            core.StartServer: self._start_server,
            core.StartDistributor: self._start_distributor,
            core.TellDistributor: self._tell,
            core.Terminate: self._terminate,
            core.Kill: self._kill,
            core.KillDistributor: self._kill_distributor,
            core.DropDuplicate: self._drop_duplicate,
            core.ShutDownStored: self._shut_down_stored,
            core.DropServer: self._drop_server,
            core.DropListener: self._drop_listener,
            core.SetTimer: self._set_timer,
            core.Report: self._report,
            core.Exit: self._end,
        }

    def _finish(self) -> None:
        """Everything has ended: wait for the last Distributors, and leave nothing behind."""
        self._control.close()
        deadline = time.monotonic() + LAST_WAIT
        while self._distributors and time.monotonic() < deadline:
            self.loop.turn(0.05)
        for distributor in list(self._distributors.values()):
            if distributor.child is not None:
                kernel.send_signal(distributor.child.pidfd, signal.SIGKILL)
        while self._distributors:
            self.loop.turn(0.05)
        if self._verifier is not None:
            self._verifier.finish()
        deadline = time.monotonic() + LAST_WAIT
        while kill_orphans() and time.monotonic() < deadline:
            time.sleep(KILL_AGAIN[0])
        reap_orphans(frozenset())
        for number in (*STOPS, *MEANINGLESS):
            signal.signal(number, signal.SIG_IGN)  # the end, with its exit code, is at hand: nothing is left to stop
        if self._why:
            report.error(f"stopped: {self._why}")
        else:
            report.info("stopped")

    # ================================================================ status

    def _answer(self, request: status.Json, reply: status.Reply) -> None:
        match request:
            case {"request": "status", **rest} if not rest:
                self._answer_status(reply)
            case {"request": "stop", **rest} if not rest:
                declined = self._stop("asked to stop")
                reply({"ok": True} if declined is None else {"error": declined.reason.value})
            case {"request": "element", "name": str(name), "up": bool(up), **rest} if not rest:
                self._answer_element(name, up, reply)
            case _:
                reply({"error": 'unknown request; known: "status", "stop", "element" with "name" and "up"'})

    def _answer_element(self, name: str, up: bool, reply: status.Reply) -> None:
        names = [element.name for element in self.config.elements]
        if name not in names:
            reply({"error": f"no processing element is named {name!r}; there are: {', '.join(names)}"})
            return
        report.info(f"processing element {name}: taken for {'restored' if up else 'failed'}, as asked")
        element = names.index(name)
        declined = self.handle(core.ElementRestored(element) if up else core.ElementFailed(element))
        reply({"ok": True} if declined is None else {"error": declined.reason.value})

    def _answer_status(self, reply: status.Reply) -> None:
        """Ask every Distributor, and answer when all have, or when they have had their time."""
        parts: dict[ClassId, Part] = {}
        wanted = set(self._distributors)
        key = ("status", id(reply), time.monotonic())

        def finish() -> None:
            self.loop.cancel_timer(key)
            pids = {server.server: server.child.pid for server in self._servers.values() if server.child}
            running = {i: each.child.pid for i, each in self._distributors.items() if each.child}
            obstacles = {class_id: self._obstacles(class_id) for class_id in {*self._foreign, *self._daemons}}
            document = status.build(self.config, self.machine.state, pids, running, parts, obstacles)
            if self._verifier is not None:
                document["verify"] = self._verifier.status()
            reply(document)

        def heard(class_id: ClassId, part: Part) -> None:
            parts[class_id] = part
            if parts.keys() >= wanted:
                finish()

        if not wanted:
            finish()
            return
        self.loop.set_timer(key, STATUS_PATIENCE, finish)
        for class_id, distributor in list(self._distributors.items()):
            try:
                distributor.status.send(b"?\n")
            except OSError as error:
                report.debug(f"the Distributor of {self._name(class_id)} cannot be asked: {error}")
                heard(class_id, None)
            else:
                distributor.asking.append(partial(heard, class_id))

    def _on_answer(self, distributor: _Distributor, flags: int) -> None:
        try:
            piece = distributor.status.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.loop.forget(distributor.status.fileno())
        distributor.answers += piece
        if b"\n" in piece:
            *lines, distributor.answers = distributor.answers.split(b"\n")
            for line in lines:
                part = status.part_of(bytes(line))
                if part is None or not distributor.asking:
                    self._hush(distributor)
                    return
                distributor.asking.popleft()(part)
        if len(distributor.answers) > status.LONGEST_PART:
            self._hush(distributor)

    def _hush(self, distributor: _Distributor) -> None:
        """Ask a Distributor no more that answers with what is no answer."""
        name = self._name(distributor.class_id)
        report.warning(f"the Distributor of {name} answers with what is no status: it is not asked again")
        self.loop.forget(distributor.status.fileno())
        distributor.status.close()
        distributor.answers.clear()
        while distributor.asking:
            distributor.asking.popleft()(None)

    # ================================================================ log

    def _name(self, class_id: ClassId) -> str:
        return self.config.classes[class_id].name

    def _obstacles(self, class_id: ClassId) -> list[str]:
        """Why its servers do not come up, as far as that is known; nothing, once one of them has."""
        if any(place.phase is core.PlacePhase.READY for place in self.machine.state.classes[class_id].places.values()):
            return []
        libraries = map(str, native_sockets.libraries(self._foreign.get(class_id, 0)))
        return [*libraries, *([_DAEMON] if class_id in self._daemons else [])]

    def _title(self, server: _Server) -> str:
        return f"server {server.server} of {self._name(server.class_id)}"

    def _say_started(self, effect: core.StartServer, server: _Server) -> None:
        assert server.child is not None, "it has been started"
        cls = self.config.classes[effect.class_id]
        kind = "dynamic, " if effect.place >= cls.static else ""
        where = f"(pid {server.child.pid}, {kind}on {self.config.elements[effect.element].name})"
        before = self._places.get((effect.class_id, effect.place))
        self._places[effect.class_id, effect.place] = effect.server
        why = f", in the place of server {before}, which {self._ends.pop(before, 'ended')}" if before else ""
        report.info(f"{self._title(server)} {where} started{why}")

    def _say_told(self, class_id: ClassId, message: ToMonitor) -> None:
        name = self._name(class_id)
        match message:
            case messages.ListenFailed():
                self._why = f"{name}: cannot listen on {message.address}: {os.strerror(message.errno)}"
                report.error(self._why)
                if message.errno == errno.EADDRINUSE:
                    for holder in leftovers.holders(message.port):
                        report.error(f"port {message.port} is held by {holder}")
            case messages.Unresponsive():
                held = self._servers.get(message.server)
                fault = None if held is None else held.registry.fault()
                why = f"has spoilt its registry ({fault})" if fault else "does not respond"
                report.warning(f"server {message.server} of {name} {why}: killed")
            case messages.ServerReady() if self._announced:
                report.info(f"server {message.server} of {name} is ready on port {message.port}")
            case _:
                pass

    def _announce(self) -> None:
        """Say once that all is up."""
        if self._announced or self.machine.state.phase is not core.Phase.RUNNING:
            return
        rows = []
        for class_id, cls in self.machine.state.classes.items():
            ready = [place for place in cls.places.values() if place.phase is core.PlacePhase.READY]
            if len(ready) < cls.config.static or not all(cls.listeners.values()):
                return
            rows.append((self._name(class_id), len(ready), [address for _, address in cls.listeners]))
        self._announced = True
        report.info(report.ready_line(rows))


# ==================================================================== small helpers


def _declined(event: core.Event, rejected: Rejected) -> None:
    report.debug(f"monitor: {event}: {rejected.reason.value}")


def _ignore(number: int, frame: object) -> None:
    """The signal has been written to the wake-up descriptor: that is what handles it."""


def _usable(config: Config) -> tuple[tuple[int, ...], ...]:
    """Of each processing element, the CPUs that are there, online and allowed to us."""
    there = kernel.online_cpus() & os.sched_getaffinity(0)
    return tuple(tuple(sorted(there.intersection(element.cpus))) for element in config.elements)


def _cpus_of(config: Config) -> tuple[tuple[int, ...], ...]:
    usable = _usable(config)
    for element, cpus in zip(config.elements, usable, strict=True):
        if not cpus:
            here = ", ".join(map(str, sorted(kernel.online_cpus() & os.sched_getaffinity(0))))
            raise UnusableError(f"processing element {element.name}: none of its CPUs is here; there are: {here}")
    return usable


def _resolve_hosts(config: Config) -> None:
    """See that each host to listen on stands for an address, while its resolver's words can still be given on."""
    for cls in config.classes:
        for _, address in cls.listeners:
            try:
                resolve(*split_address(address))
            except OSError as error:
                raise UnusableError(f"{cls.name}: cannot listen on {address}: {error.strerror}") from error


def _open_trace(config: Config) -> int | None:
    if config.trace is None:
        return None
    try:
        return report.open_file(config.trace, empty=True)
    except OSError as error:
        raise UnusableError(f"the trace {config.trace} cannot be written: {error.strerror}") from error


def _open_verifier(config: Config, verifier_main: VerifierMain | None) -> Verifier | None:
    if not config.verify:
        return None
    assert verifier_main is not None, "whoever wants steps verified says by what process"
    try:
        return Verifier(verifier_main)
    except OSError as error:
        raise UnusableError(f"there is no memory for what the verifier reads: {error.strerror}") from error


def run(config: Config, verifier_main: VerifierMain | None = None) -> int:
    """Run the instance until it is stopped; the exit code.

    0: it was asked to stop; 1: an address could not be listened on; 2: the configuration does not fit this machine;
    3: a server class was given up, since none of its servers ever became ready.
    """
    kernel.hear_of_children()
    try:
        monitor = Monitor(config, verifier_main)
    except (UnusableError, OSError) as error:
        report.error(f"cannot start: {kernel.in_words(error)}" if isinstance(error, OSError) else str(error))
        return UNUSABLE
    code = None
    try:
        with report.in_background():
            try:
                code = monitor.run()
            except BaseException:
                report.unforeseen("the Monitor")
                raise
        return code
    finally:
        if code is None:  # die of it at once, so that the Distributors see it and serve on alone:
            os._exit(os.EX_SOFTWARE)  # an ordinary exit would wait for every process that multiprocessing has started
