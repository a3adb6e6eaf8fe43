"""The processes of Distributors: started, sent what the Monitor's machine says, read, and followed to their end.

The Monitor never waits for a Distributor, since a Distributor may wait for the Monitor: what a Distributor does not
take at once is queued here.  And all that a Distributor has sent is read before its end is reported to the machine.
"""

from __future__ import annotations

import signal
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, get_args

from maitred.config.model import Config
from maitred.core import messages, wire
from maitred.core import monitor as core
from maitred.core.messages import Incarnation, ToDistributor, ToMonitor
from maitred.core.monitor import ClassId
from maitred.shell.distributor import DistributorSpec
from maitred.shell.io import channel, kernel, report
from maitred.shell.io.loop import READ, Loop
from maitred.shell.supervise.inquiry import Inquiry
from maitred.shell.supervise.kept import Kept
from maitred.shell.supervise.launch import Child, start_distributor
from maitred.shell.supervise.news import News
from maitred.shell.supervise.recording import Recording
from maitred.shell.supervise.servers import Machine, Servers
from maitred.shell.supervise.spares import Spares
from maitred.shell.supervise.standby import Standby
from maitred.shell.supervise.usable import Elements

LAST_WAIT: Final = 2.0
"""Seconds that a Distributor which has nothing left to do is given to end."""
_TO_MONITOR: Final = get_args(ToMonitor)


@dataclass(slots=True)
class Distributor:
    """One Distributor's process."""

    class_id: ClassId
    child: Child | None
    channel: channel.Socket
    inquiry: Inquiry
    outbox: deque[ToDistributor] = field(default_factory=deque)
    """What it has not taken yet; the descriptors are looked up when it is sent."""
    incarnation: Incarnation = 0


class Distributors:
    """The Distributors of all classes."""

    def __init__(
        self,
        config: Config,
        loop: Loop,
        machine: Machine,
        elements: Elements,
        recording: Recording,
        servers: Servers,
        kept: Kept,
        news: News,
    ) -> None:
        """No Distributor yet.

        Args:
            config: of the instance.
            loop: reports messages and the ends of processes.
            machine: the Monitor's.
            elements: where Distributors run.
            recording: where Distributors record their steps.
            servers: keep the dialogs that Distributors send, and send them to the next.
            kept: the same for the clients that wait and the listening sockets.
            news: logs what Distributors report.
        """
        self._config = config
        self._loop = loop
        self._machine = machine
        self._elements = elements
        self._recording = recording
        self._servers = servers
        self._kept = kept
        self._news = news
        self._spares = Spares()
        self._spares.fill()
        self.standby = Standby(loop)
        self.held: dict[ClassId, Distributor] = {}

    def children(self) -> Iterator[Child]:
        """Their processes, and the standby."""
        yield from (each.child for each in self.held.values() if each.child is not None)
        if self.standby.child is not None:
            yield self.standby.child

    def pids(self) -> dict[ClassId, int]:
        """Of their processes."""
        return {class_id: each.child.pid for class_id, each in self.held.items() if each.child}

    # ================================================================ start

    def start(self, effect: core.StartDistributor) -> None:
        """Start a Distributor; one that cannot be started has ended."""
        self._spares.release()
        try:
            self._launch(effect)
        except OSError as error:
            report.error(
                f"the Distributor of {self._name(effect.class_id)} cannot be started: {kernel.in_words(error)}"
            )
            self._machine.handle(core.DistributorExited(effect.class_id))
        finally:
            self._spares.fill()

    def prepare(self) -> None:
        """Prepare the next start: reserve descriptors, and start a standby, as far as they are missing."""
        self._spares.fill()
        if self._machine.state.phase is core.Phase.RUNNING:
            self.standby.prepare()

    def _launch(self, effect: core.StartDistributor) -> None:
        cls = self._config.classes[effect.class_id]
        ours, theirs = channel.pair()
        try:
            our_status, their_status = socket.socketpair()
        except OSError:
            ours.close()
            theirs.close()
            raise
        our_status.setblocking(False)
        spec = DistributorSpec(
            class_id=effect.class_id,
            name=cls.name,
            incarnation=effect.incarnation,
            dynamic=effect.dynamic,
            waiting_limit=cls.waiting_limit,
            listeners=effect.listeners,
            fixed=cls.fixed,
            durations=self._config.durations,
            cpus=self._elements.cpus(effect.element),
            channel=theirs.fileno(),
            status=their_status.fileno(),
            trace=self._recording.begin(f"distributor {effect.class_id} {effect.incarnation}"),
            log=report.log_file(),
            kept=self._kept.listeners(effect.class_id),
            registries=cls.program.kind != "executable",
        )
        inquiry = Inquiry(cls.name, our_status, self._loop)
        distributor = Distributor(effect.class_id, None, ours, inquiry, incarnation=effect.incarnation)
        self.held[effect.class_id] = distributor
        try:
            child = distributor.child = self.standby.become(spec) or start_distributor(spec)
        except OSError:
            self._release(distributor)
            raise
        else:
            child.watch_end(self._loop, partial(self._on_end, distributor, child))
            self._loop.watch(ours.fileno(), READ, partial(self._on_channel, distributor))
            inquiry.watch()
            element = self._config.elements[effect.element].name
            again = f"restarted, incarnation {effect.incarnation}" if effect.incarnation > 1 else "started"
            report.info(f"the Distributor of {cls.name} (pid {child.pid}, on {element}) {again}")
        finally:
            theirs.close()
            their_status.close()

    # ================================================================ reading

    def _on_channel(self, distributor: Distributor, flags: int) -> None:
        """Read once in a turn: a look that finds nothing would be a system call more for each message."""
        self._read(distributor)

    def _read(self, distributor: Distributor) -> bool:
        """Read and pass on one message; whether there may be more."""
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
            self._loop.forget(distributor.channel.fileno())
            self._expect_end(distributor)
            return False
        class_id, message = distributor.class_id, packet.message
        if isinstance(message, _TO_MONITOR):
            self._news.received(class_id, message)
            message = self._keep(class_id, message, packet.fds)
            self._machine.handle(core.Reported(class_id, message))
            if self._news.announce():
                self.prepare()
        else:
            channel.drop(packet.fds)
        return True

    def _keep(self, class_id: ClassId, message: ToMonitor, fds: tuple[int, ...]) -> ToMonitor:
        """Keep the descriptors that came with the message.

        Returns:
            what the message comes to: a server whose dialog is lost could not be handed to the next Distributor, and
            is to be replaced as one that does not respond.
        """
        match message:
            case messages.Store() if fds:
                self._kept.keep_client(class_id, message.client, fds[0])
                channel.drop(fds[1:])
            case messages.KeepDialog() if fds and message.server in self._servers.held:
                dialogs = self._servers.held[message.server].dialogs
                channel.drop(filter(None, [dialogs.get(message.port)]))
                dialogs[message.port] = fds[0]
                channel.drop(fds[1:])
            case messages.KeepDialog() if fds:
                self._servers.kill_holders(fds[0])
                channel.drop(fds[1:])
            case messages.KeepListener() if fds:
                self._kept.keep_listener(class_id, message.port, message.address, fds)
            case messages.Store() | messages.KeepDialog() | messages.KeepListener():
                channel.drop(fds)
                report.error(f"out of descriptors: {type(message).__name__} of {self._name(class_id)} came without")
                if isinstance(message, messages.KeepDialog):
                    return messages.Unresponsive(message.server)
            case _:
                channel.drop(fds)
        return message

    # ================================================================ writing

    def tell(self, effect: core.SendDistributor) -> None:
        """Send a message, after those that wait to be sent."""
        distributor = self.held.get(effect.class_id)
        if distributor is None:
            return  # it could not be started: its successor is sent everything
        distributor.outbox.append(effect.message)
        self._flush(distributor)

    def _flush(self, distributor: Distributor) -> None:
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
                # else it has died, and its end is about to be reported
            distributor.outbox.popleft()

    def _flush_later(self, distributor: Distributor) -> None:
        """By the clock: the socket may have room while the kernel lacks something else."""
        key = ("flush", distributor.class_id)
        self._loop.set_timer(key, 0.01, lambda: self._flush(distributor) if distributor.channel.fileno() >= 0 else None)

    def _fds_for(self, class_id: ClassId, message: ToDistributor) -> tuple[int, ...]:
        """What is kept and goes along with the message."""
        match message:
            case messages.Adopt():
                server = self._servers.held.get(message.server)
                if server is None:
                    return ()
                dialogs = (server.dialogs[port] for port in message.dialogs)
                return server.control.fileno(), server.registry.fd, *dialogs
            case messages.Restore():
                stored = self._kept.clients.get((class_id, message.client))
                return () if stored is None else (stored,)
            case _:
                return ()

    # ================================================================ end

    def kill(self, effect: core.KillDistributor) -> None:
        """Kill the class's Distributor."""
        distributor = self.held.get(effect.class_id)
        if distributor is not None:
            _kill(distributor)

    def finish(self) -> None:
        """Nothing is left to do: wait for the last Distributors, then kill them."""
        self.standby.close()
        self._loop.set_timer("last Distributors", LAST_WAIT, self._kill_all)
        while self.held or self.standby.ending:
            self._loop.turn(0.05)

    def _kill_all(self) -> None:
        for distributor in self.held.values():
            _kill(distributor)

    def _expect_end(self, distributor: Distributor) -> None:
        """A Distributor that has hung up can neither be sent to nor read from: it ends, or is ended."""
        self._loop.set_timer(("hung up", distributor.class_id), LAST_WAIT, partial(self._end_of_patience, distributor))

    def _end_of_patience(self, distributor: Distributor) -> None:
        if self.held.get(distributor.class_id) is distributor:
            _kill(distributor)

    def _on_end(self, distributor: Distributor, child: Child, code: int) -> None:
        """Read all that it has sent, then report that it has ended."""
        while self._read(distributor):
            pass
        self._loop.cancel_timer(("hung up", distributor.class_id))  # which reading to the end may have set
        phase = self._machine.state.classes[distributor.class_id].distributor.phase
        if code or phase is not core.DistributorPhase.DONE:
            name = self._name(distributor.class_id)
            report.warning(f"the Distributor of {name} (pid {child.pid}) {report.how_ended(code)}")
        self._release(distributor)
        self._machine.handle(core.DistributorExited(distributor.class_id))

    def _release(self, distributor: Distributor) -> None:
        if self.held.get(distributor.class_id) is distributor:
            del self.held[distributor.class_id]
        if distributor.channel.fileno() >= 0:
            self._loop.forget(distributor.channel.fileno())
            distributor.channel.close()
        distributor.outbox.clear()
        distributor.inquiry.close()
        if distributor.child is not None:
            distributor.child.close()
        self._recording.end(f"distributor {distributor.class_id} {distributor.incarnation}")

    def _name(self, class_id: ClassId) -> str:
        return self._config.classes[class_id].name


def _kill(distributor: Distributor) -> None:
    if distributor.child is not None:
        kernel.send_signal(distributor.child.pidfd, signal.SIGKILL)
