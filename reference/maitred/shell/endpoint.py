"""This process's part of the Application Server's endpoint: reads dialogs, lets the machine step, performs the effects.

One state, many hands: the threads and processes of a server share the `EndpointState` in the `Registry`.  A message is
taken from its dialog and the step that it causes is made under one lock, so that nobody answers an `InitialMsg` before
a hand-off that was read earlier has been counted.  What the step says is sent after the lock is released.

Everything here runs inside the user's program.  It raises nothing of its own, starts no thread, and may be entered
anew at any point by the same thread: a finaliser or a signal handler may close a connection in the middle of a step.
Such an event is noted, and taken up by whoever holds the lock.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from errno import EADDRINUSE, EADDRNOTAVAIL, ENOBUFS
from typing import TYPE_CHECKING, Final, TypeVar

from maitred.core import messages, server, wire
from maitred.core.messages import Address, Client, Port
from maitred.core.transition import Rejected
from maitred.shell import channel, report
from maitred.shell.registry import PORT_LIMIT, Registry

if TYPE_CHECKING:
    from maitred.shell.trace import Trace  # brings all three machines along: imported only where a trace is wanted

R = TypeVar("R")

BIND_PATIENCE: Final = 60.0
"""Seconds to wait for a Distributor that answers a `BindRequest`: it may be restarting."""
BIND_AGAIN: Final = 1.0
"""Seconds after which the request is sent again."""
OPENING_PATIENCE: Final = 1.0
"""Seconds to wait for the InitialMsg that follows the reply to a bind."""
ACKNOWLEDGE_PATIENCE: Final = 1.0
"""Seconds to wait until the Distributor has read that a listener is closed."""
SEND_PATIENCE: Final = 1.0
"""Seconds to wait until a Distributor that has not read for long makes room."""
ACKNOWLEDGEMENTS: Final = 8
"""So many acknowledgements are left to be read together."""
_SLICE: Final = 50

_poll: Final = select.poll  # green threads replace it, or take it away
_thread_id: Final = _thread.get_ident  # of the thread, where green threads have their own


class Endpoint:
    """The endpoint as this process, and every thread of it, sees it."""

    def __init__(
        self,
        registry: Registry,
        control: channel.Socket,
        trace: Trace | None = None,
        dialogs: dict[Port, channel.Socket] | None = None,
    ) -> None:
        """The endpoint of a process to which ``dialogs`` were handed down, if there are any."""
        self.dialogs: dict[Port, channel.Socket] = dialogs or {}
        """This process's own ends of the dialogs: open even where the program has closed its listener."""
        self._registry = registry
        self._control = control
        self._trace = trace
        self._owner = 0
        """The thread that is in a step."""
        self._noted: deque[Callable[[list[server.Reply]], None]] = deque()
        """What is to be taken up by whoever holds the lock."""
        self._acknowledgements: deque[server.Event] = deque()
        """For which there is no hurry: they change nothing."""
        self._unsent: deque[server.Reply] = deque()
        self._patient = True
        """Whether a full dialog is worth waiting for: not after one wait in vain."""
        self._holding: set[Port] = set()
        """The ports that this process is noted to accept on."""
        self._bind_replies: dict[Port, int] = {}
        self._unread = 0
        """How many acknowledgements may be unread."""
        self._acknowledged: set[int] = set()
        self._awaited: set[int] = set()
        self._reading_control = _thread.allocate_lock()
        self._control_ended = False

    # ================================================================ what the program does

    def request_bind(self, port: Port, address: Address) -> int:
        """Ask the Distributor for the port: the errno of its `BindReply`.  After 0 there is a dialog for the port."""
        if port not in self.dialogs and len(self.dialogs) >= PORT_LIMIT:
            return ENOBUFS
        mine, theirs = channel.pair()
        try:
            errno = self._ask_for(messages.BindRequest(port, address), theirs)
        finally:
            theirs.close()
        if errno or port in self.dialogs:
            mine.close()
            return errno
        self.dialogs[port] = mine
        self._note(lambda replies: self._happened(replies, server.Bound(port)))
        self._await_opening(port)
        return 0 if port in self.dialogs else EADDRINUSE  # ended at once: another process of the server has it

    def listen(self, port: Port) -> None:
        """The program listens on the port."""
        self._run(lambda replies: self._listened(replies, port))

    def take(self, port: Port) -> tuple[int, Client] | None:
        """The next client's connection and who it is, or None where there is none now.  Never waits."""
        return self._run(lambda replies: self._take(replies, port))

    def close(self, port: Port, *, shared: bool) -> None:
        """This process accepts on the port no longer; where it was the last, so does the server.

        Args:
            port: the port.
            shared: whether other processes have inherited the listener.  One that has not accepted yet, but will, finds
                the Distributor's InitialMsg there, and so is heard of.
        """
        if self._owner == _thread_id():
            self._noted.append(lambda replies: self._happened(replies, server.ListenerClosed(port)))
            return
        sequence = self._run(lambda replies: self._close(replies, port))
        if sequence is not None:
            self._await_acknowledge(sequence)
            self._run(lambda replies: self._drain(replies, port, leave_opening=shared))

    def let_go(self, client: Client) -> None:
        """This process's last reference to the client's connection is gone; the server's, if no other holds it."""
        self._note(lambda replies: self._let_go(replies, client))

    # ================================================================ under the lock

    def _note(self, work: Callable[[list[server.Reply]], None]) -> None:
        """Do it under the lock, now, or, where this thread is in a step already, right after that."""
        self._noted.append(work)
        if self._owner != _thread_id():
            self._run(lambda replies: None)

    def _run(self, work: Callable[[list[server.Reply]], R]) -> R | None:
        """Do the work under the lock, then send what it wants sent.  None where the program has left us no means."""
        me = _thread_id()
        if self._owner == me:
            return None
        replies: list[server.Reply] = []
        result: R | None = None
        try:
            self._registry.lock()
            self._owner = me
            try:
                result = work(replies)
                self._take_up_noted(replies)
            finally:
                self._owner = 0
                self._registry.unlock()
        except OSError:
            self._noted.clear()  # the program has closed the registry's descriptor
        finally:  # even where a signal handler has raised something: a step that was made must be told
            if replies:
                self._send_all(replies)
        if self._noted:
            self._run(lambda replies: None)
        return result

    def _take_up_noted(self, replies: list[server.Reply]) -> None:
        while self._acknowledgements:
            self._step(self._acknowledgements.popleft())
        while self._noted:
            self._noted.popleft()(replies)

    def _happened(self, replies: list[server.Reply], event: server.Event) -> None:
        replies += _replies(self._step(event))

    def _let_go(self, replies: list[server.Reply], client: Client) -> None:
        if self._registry.release(client) == 0:
            replies += _replies(self._step(server.Disconnected(client), (client,)))

    def _step(self, event: server.Event, touched: tuple[Client, ...] = ()) -> tuple[server.Effect, ...]:
        """One step of the machine, saved and traced."""
        trace = self._trace
        state = self._registry.load()
        if trace is not None:
            trace.event(event, state)
        result = server.step(state, event)
        if isinstance(result, Rejected):
            if trace is not None:
                trace.rejected(result.reason)
            return ()
        if result.state is not state:
            self._registry.save(state, result.state, touched)
        if trace is not None:
            for effect in result.effects:
                trace.effect(effect)
        return result.effects

    # ---------------------------------------------------------------- listeners

    def _is_listening(self, port: Port) -> bool:
        listener = self._registry.load().listeners.get(port, None)
        return listener is not None and listener.listening

    def _listened(self, replies: list[server.Reply], port: Port) -> None:
        """Say so, then answer what the Distributor has asked meanwhile: the program would poll in vain for it."""
        self._accepts(replies, port)
        while self._head_is_opening(port):
            packet = self._read(port)
            if packet is not None:
                self._heed(replies, port, packet)

    def _accepts(self, replies: list[server.Reply], port: Port) -> None:
        """This process accepts on the port, and so the server listens there, if it did not."""
        if port not in self._holding:
            self._registry.hold(port, os.getpid())
            self._holding.add(port)
        if not self._is_listening(port):
            self._happened(replies, server.Listened(port))

    def _close(self, replies: list[server.Reply], port: Port) -> int | None:
        """Stop accepting; the sequence number of the NotReady, where it comes to one."""
        pid = os.getpid()
        self._holding.discard(port)
        self._registry.drop(port, pid)
        if not self._is_listening(port) or any(_is_alive(other) for other in self._registry.holders(port)):
            return None
        closing = _replies(self._step(server.ListenerClosed(port)))
        replies += closing
        self._drain(replies, port, leave_opening=False)
        sequence = closing[0].message.count.sequence
        self._awaited.add(sequence)
        return sequence

    # ---------------------------------------------------------------- dialogs

    def _take(self, replies: list[server.Reply], port: Port) -> tuple[int, Client] | None:
        if port not in self.dialogs:
            return None
        self._accepts(replies, port)
        for other in list(self.dialogs) if len(self.dialogs) > 1 else ():
            if not self._is_listening(other):
                self._drain(replies, other, leave_opening=False)
        while (packet := self._read(port)) is not None:
            found = self._heed(replies, port, packet)
            if found is not None:
                return found
        return None

    def _drain(self, replies: list[server.Reply], port: Port, *, leave_opening: bool) -> None:
        """Read all that is there for a port that is not listened on, and so refuse it."""
        while not (leave_opening and self._head_is_opening(port)):
            packet = self._read(port)
            if packet is None:
                return
            self._heed(replies, port, packet)

    def _read(self, port: Port) -> channel.Packet | None:
        """The next packet of the dialog that makes sense, if there is one."""
        while (dialog := self.dialogs.get(port)) is not None:
            try:
                packet = channel.receive(dialog)
            except wire.WireError:
                continue
            except BlockingIOError:
                return None
            except OSError:
                packet = None
            if packet is None:  # nobody will ever send here again
                del self.dialogs[port]
                dialog.close()
                return None
            if isinstance(packet.message, (messages.InitialMsg, messages.HandOff)):
                return packet
            channel.close(packet.fds)
        return None

    def _head_is_opening(self, port: Port) -> bool:
        """Whether the next message on the dialog is an InitialMsg; it stays there."""
        dialog = self.dialogs.get(port)
        if dialog is None:
            return False
        try:
            head = dialog.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except OSError:
            return False
        return bool(head) and wire.TAGS.get(head[0]) is messages.InitialMsg

    def _heed(self, replies: list[server.Reply], port: Port, packet: channel.Packet) -> tuple[int, Client] | None:
        """The step that a packet causes; the client, where it brings one."""
        message = packet.message
        intact = True
        if isinstance(message, messages.HandOff):
            touched: tuple[Client, ...] = (message.client,)
            intact = len(packet.fds) == 1  # none, where the process had none to spare
        else:
            assert isinstance(message, messages.InitialMsg), "_read gives no other"
            touched = message.forget
        found = None
        for effect in self._step(server.MessageRead(port, message, intact), touched):
            if isinstance(effect, server.Deliver):
                found = (packet.fds[0], effect.client)
            elif isinstance(effect, server.Reply):
                replies.append(effect)
        if found is None:
            channel.close(packet.fds)
        return found

    # ================================================================ sending

    def _send_all(self, replies: list[server.Reply]) -> None:
        """Send, and what could not be sent before with it: counts are absolute, so the order does not matter."""
        unsent, self._unsent = self._unsent, deque()
        for reply in (*unsent, *replies):
            if not self._send(reply):
                self._keep(reply)
            self._unread += isinstance(reply.message, (messages.Disconnect, messages.NotReady))
        if self._unread >= ACKNOWLEDGEMENTS:
            self._unread = 0
            self._read_control()

    def _send(self, reply: server.Reply) -> bool:
        """Whether the reply is off, or nobody is there to hear it."""
        while (dialog := self.dialogs.get(reply.port)) is not None:
            try:
                channel.send(dialog, reply.message)
            except BlockingIOError:
                if not self._patient or not _has_room(dialog):
                    self._patient = False
                    return False
            except OSError:
                return True
            else:
                self._patient = True
                return True
        return True

    def _keep(self, reply: server.Reply) -> None:
        """For later.  Of disconnects only the last: it has the newest count."""
        if isinstance(reply.message, messages.Disconnect):
            self._unsent = deque(r for r in self._unsent if not isinstance(r.message, messages.Disconnect))
        self._unsent.append(reply)

    # ================================================================ control

    def _read_control(self) -> None:
        """Take what there is on the control socket, unless another thread is at it."""
        if not self._reading_control.acquire(False):
            return
        try:
            while not self._control_ended:
                try:
                    packet = channel.receive(self._control)
                except wire.WireError:
                    continue
                except BlockingIOError:
                    return
                except OSError:
                    packet = None
                if packet is None:
                    self._control_ended = True
                    return
                channel.close(packet.fds)
                self._heed_control(packet.message)
        finally:
            self._reading_control.release()

    def _heed_control(self, message: wire.Message) -> None:
        if isinstance(message, messages.BindReply):
            self._bind_replies[message.port] = message.errno
        elif isinstance(message, messages.Acknowledge):
            if message.sequence in self._awaited:
                self._acknowledged.add(message.sequence)
            self._acknowledgements.append(server.Acknowledged(message))

    def _ask_for(self, request: messages.BindRequest, theirs: channel.Socket) -> int:
        """Send the request until it is answered; the answer."""
        self._bind_replies.pop(request.port, None)
        deadline = time.monotonic() + BIND_PATIENCE
        while time.monotonic() < deadline and not self._control_ended:
            try:
                channel.send(self._control, request, [theirs.fileno()])
            except OSError as error:
                if error.errno not in channel.CROWDED:
                    break  # else there will be room yet
            if self._await_control(lambda: request.port in self._bind_replies, BIND_AGAIN):
                return self._bind_replies.pop(request.port)
        report.say(f"no Distributor answers for port {request.port}")
        return EADDRNOTAVAIL

    def _await_opening(self, port: Port) -> None:
        """Answer the InitialMsg that follows the reply, so that none is there when the program begins to poll."""
        wait_readable(self.dialogs[port].fileno(), int(OPENING_PATIENCE * 1000))
        self._run(lambda replies: self._drain(replies, port, leave_opening=False))

    def _await_acknowledge(self, sequence: int) -> None:
        self._await_control(lambda: sequence in self._acknowledged, ACKNOWLEDGE_PATIENCE)
        self._awaited.discard(sequence)
        self._acknowledged.discard(sequence)

    def _await_control(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Read the control socket until the condition holds, for so long at most; whether it holds."""
        deadline = time.monotonic() + seconds
        while not condition() and not self._control_ended and time.monotonic() < deadline:
            wait_readable(self._control.fileno(), _SLICE)  # in slices: another thread may read it for us
            self._read_control()
        return condition()

    # ================================================================ fork, and the end

    def leave(self) -> None:
        """This process, not the server's main one, is about to end: it accepts nothing more."""
        for port in list(self._holding):
            self.close(port, shared=True)

    def before_fork(self, clients: Iterable[Client]) -> None:
        """Let no other thread be in a step: the child would inherit its lock, and not the thread.

        Args:
            clients: those whose connections the child will hold too.  Were they counted by the child itself, the parent
                might have closed them before that.
        """
        self._registry.before_fork()
        if self._owner == _thread_id():
            return
        try:
            with self._registry.locked():
                for client in clients:
                    self._registry.share(client)
        except OSError:
            return  # the program has closed the registry's descriptor

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._registry.after_fork()

    def after_fork_in_child(self) -> None:
        """The child has the dialogs and the clients' connections, but owes nobody anything."""
        self._holding.clear()
        self._unsent.clear()
        self._noted.clear()
        self._acknowledgements.clear()
        self._reading_control = _thread.allocate_lock()
        self._registry.after_fork()


def _replies(effects: tuple[server.Effect, ...]) -> list[server.Reply]:
    return [effect for effect in effects if isinstance(effect, server.Reply)]


def wait_readable(fd: int, milliseconds: int) -> bool:
    """Whether there is something to read, or its end, within that time."""
    poll = _poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _has_room(dialog: channel.Socket) -> bool:
    poll = _poll()
    poll.register(dialog.fileno(), select.POLLOUT)
    return bool(poll.poll(int(SEND_PATIENCE * 1000)))


def _is_alive(pid: int) -> bool:
    """Whether the process runs.  (A zombie can still be signalled.)"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
    except OSError:
        return False
