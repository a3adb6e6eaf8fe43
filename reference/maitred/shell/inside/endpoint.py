"""This process's part of the Application Server's endpoint: reads dialogs, has the machine step, sends its replies.

All threads and processes of a server share one `EndpointState`, in the `Registry`.  Under one lock a process takes a
message from its dialog, makes the step that it causes, and sends what is in the outbox.  So no process answers an
`InitialMsg` before a hand-off that was read earlier has been counted.

Rules
-----
1.  A client's connection goes to the program when its `Accepted` is in the socket.  Where the kernel does not take the
    answer, the client is refused, and the connection closed: the Distributor has a copy.
2.  A message is read only if the dialog has room for its answer, so that no process waits under the lock.
3.  A reply for which there is no room stays in the outbox, and is sent with the next step of any process of the server.
4.  A process records in the registry what it is about to do with a dialog; a save erases the record.  A process that
    takes the lock and finds a record finishes that first: its author is dead, or was interrupted by an exception of a
    signal handler.  A hand-off that was read and not answered is refused; of a reply that may have been sent, see
    `Interrupted`.
5.  When the other end is closed, the replies for it are dropped.  A client whose answer was among them is not
    delivered: if the Distributor lives, it has closed the dialog and offers its own copy elsewhere; if it does not, no
    process of the server can know.
6.  A process that is *alone* (see `Registry.publish`) remembers by itself what it is doing, and takes a message
    without looking at it first: if it dies, so does the server.  It asks for room once for many replies, as nobody
    else sends on its dialogs.

Everything here runs inside the user's program.  It raises nothing of its own, starts no thread, and may be entered
again at any point by the same thread: a finaliser or a signal handler may close a connection in the middle of a step.
Such an event is queued for the process's thread that holds the lock.  A signal handler may also fork there: the child
abandons the step, which is its parent's.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EADDRINUSE, EAGAIN, ECONNRESET, ENOBUFS, ENOTCONN, EPIPE
from typing import TYPE_CHECKING, Final, TypeVar

from maitred.core import messages, server, wire
from maitred.core.messages import Accepted, Address, Client, Port
from maitred.core.transition import Rejected
from maitred.shell.driver import Driver
from maitred.shell.inside.control_socket import ControlSocket, wait, wait_readable
from maitred.shell.io import channel, report
from maitred.shell.io.registry import OUTBOX_LIMIT, PACKET, PORT_LIMIT, Doing, Registry

if TYPE_CHECKING:
    from maitred.shell.observe.trace import (
        Trace,  # brings all three machines along: imported only where a trace is wanted
    )

R = TypeVar("R")

INITIAL_MSG_PATIENCE: Final = 1.0
"""Seconds to wait for the InitialMsg that follows the reply to a bind."""
ROOM_PATIENCE: Final = 10
"""Milliseconds to wait, once for each accept, until a Distributor that has not read for long makes room.

The dialog stays readable meanwhile, so a program that polls would spin; this slows it down, and leaves it time for its
other clients.
"""
TRIES: Final = 5
"""Number of attempts to send an answer to a hand-off when the kernel has no memory for it."""
PAUSE: Final = 0.005
"""Seconds between them."""
GONE: Final = frozenset({EPIPE, ECONNRESET, ENOTCONN})
"""Errors after which the kernel never takes a packet again: the other end is closed."""
UNREAD_ACKNOWLEDGEMENTS: Final = 8
"""Number of acknowledgements that are left to be read together."""
ANSWER: Final = 2048
"""Bytes of a dialog's buffer that one reply takes, at most: the kernel counts its own overhead."""
HAND_OFF_SIZE: Final = len(wire.encode(messages.HandOff(Client(0, 0, 0))))

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
        """This process's own ends of the dialogs; they stay open when the program closes its listener."""
        self._registry = registry
        self._control = ControlSocket(control)
        self._machine = Driver(
            server.step,
            server.EndpointState(),
            {server.Deliver: self._deliver, server.Discard: _discard},
            trace,
            stepped=self._save,
            declined=self._declined,
        )
        """Its state is that of the registry while this process holds the lock."""
        self._touched: tuple[Client, ...] = ()
        """The clients whose records the next save writes."""
        self._owner = 0
        """The thread that is in a step."""
        self._queued: deque[Callable[[], None]] = deque()
        """What is to be done by the thread that holds the lock."""
        self._packet: list[channel.Raw] = []
        """The packet that was taken from a dialog, until its step is made; at most one."""
        self._sending: server.Reply | None = None
        """The reply that this process is sending."""
        self._outcome: list[int] = []
        """Not empty when that reply is in the socket."""
        self._taken: dict[Client, int] = {}
        """The connections of those whose `Accepted` is not known to be in the socket."""
        self._ready: dict[Port, deque[tuple[int, Client]]] = {}
        """The connections that can be delivered to the program."""
        self._ended: set[Port] = set()
        """The ports whose dialogs have ended."""
        self._send_polls: dict[Port, select.poll] = {}
        self._room: dict[Port, int] = {}
        """How many replies each dialog is sure to take from a process that is alone."""
        self._without_room: set[Port] = set()
        """The ports on which a message was left unread, since there was no room for its answer."""
        self._forked = False
        """The thread has forked in the middle of a step, and this is the child."""
        self._accepting: set[Port] = set()
        """The ports on which the registry has this process as one that accepts."""
        self._unread_acknowledgements = 0
        """Upper bound of the acknowledgements that are unread."""

    # ================================================================ what the program does

    def request_bind(self, port: Port, address: Address) -> int:
        """Ask the Distributor for the port: the errno of its `BindReply`.  After 0 there is a dialog for the port."""
        if port not in self.dialogs and len(self.dialogs) >= PORT_LIMIT:
            report.warning(f"port {port} is declined: a server can bind {PORT_LIMIT} ports through its Distributor")
            return ENOBUFS
        mine, theirs = channel.pair()
        try:
            errno = self._control.request(messages.BindRequest(port, address), theirs)
        finally:
            theirs.close()
        if errno or port in self.dialogs:
            mine.close()
            return errno
        self.dialogs[port] = mine
        self._ended.discard(port)
        self._do(lambda: self._step(server.Bound(port)))
        self._answer_initial_msg(port)
        return 0 if port in self.dialogs else EADDRINUSE  # ended at once: another process of the server has it

    def has_bound(self, port: Port) -> bool:
        """Whether a process of the server has ever bound the port, or the program has closed the registry."""
        return port in self.dialogs or self._run(lambda: port in self._machine.state.listeners) is not False

    def take_over(self, port: Port, dialog: channel.Socket) -> None:
        """Have a dialog that another process of the server has passed to this one, unless it has that already."""
        if self.dialogs.setdefault(port, dialog) is dialog:
            self._ended.discard(port)
        else:
            dialog.close()

    def exclusively(self, work: Callable[[], R]) -> R | None:
        """Do what only one process of the server may do at a time; None where the program has closed the registry."""
        return self._run(work)

    def listen(self, port: Port) -> None:
        """The program listens on the port."""
        self._run(lambda: self._listened(port))

    def take(self, port: Port) -> tuple[int, Client] | None:
        """The next client's connection and the client, or None where there is none now.

        It does not wait, except `ROOM_PATIENCE` where the Distributor does not read and so a client cannot be answered.
        """
        found = self._run(lambda: self._take(port))
        if found is None and port in self._without_room:
            self._without_room.discard(port)
            if self._has_room(port, ROOM_PATIENCE):
                found = self._run(lambda: self._take(port))
        return found

    def close(self, port: Port, *, shared: bool) -> None:
        """This process accepts no more on the port; if it was the last one, neither does the server.

        Args:
            port: the port.
            shared: whether other processes have inherited the listener.  Then an InitialMsg is left for them: one that
                has not accepted yet, but will, answers it.
        """
        if self._owner == _thread_id():
            self._queued.append(lambda: self._step(server.ListenerClosed(port)))
            return
        sequence = self._run(lambda: self._close(port))
        if sequence is not None:
            self._control.await_acknowledge(sequence)
            self._run(lambda: self._drain(port, leave_initial_msg=shared))

    def let_go(self, client: Client) -> None:
        """This process has closed its last reference to the client's connection; another may hold one."""
        self._do(lambda: self._release(client))

    def take_back(self, client: Client) -> None:
        """This process holds the client's connection after all: its exec has failed."""
        self._do(lambda: self._registry.share(client))

    def forget(self, client: Client) -> None:
        """No process holds the client's connection, whatever was counted: the kernel reports it so."""
        self._do(lambda: self._step(server.Disconnected(client), (client,)))

    # ================================================================ fork, and the end of a process

    def publish(self) -> None:
        """Another process of the server is about to come: have it find in the registry all that it has to know."""
        with suppress(OSError):  # the program has closed the registry's descriptor: no step is made any more
            self._registry.publish(self._packet[0][0] if self._packet else b"")

    def leave(self) -> None:
        """This process, which is not the server's main one, is about to end: it accepts no more."""
        for port in list(self._accepting):
            self.close(port, shared=True)

    def before_fork(self, clients: Iterable[Client]) -> None:
        """Wait until no other thread is in a step: the child would inherit the lock without the thread.

        Args:
            clients: those whose connections the child will hold too.  They are counted here: before the child could do
                so, the parent might have closed them.
        """
        self._registry.before_fork()
        self.publish()
        if self._owner == _thread_id():
            return
        try:
            with self._registry.locked():
                for client in clients:
                    self._registry.share(client)
        except OSError:
            return  # the program has closed the registry's descriptor

    def after_fork_in_parent(self) -> None:
        """Release the threads that wait."""
        self._registry.after_fork()

    def after_fork_in_child(self) -> None:
        """The child has the dialogs and the clients' connections; what was in progress is its parent's."""
        self._forked = self._owner == _thread_id()
        self._discard()
        channel.close([fd for ready in self._ready.values() for fd, _ in ready])
        for kept in (self._outcome, self._ready, self._without_room):
            kept.clear()
        self._sending = None
        self._accepting.clear()
        self._queued.clear()
        self._control.after_fork_in_child()
        self._registry.after_fork()

    # ================================================================ under the lock

    def _do(self, work: Callable[[], None]) -> None:
        """Do it under the lock: now, or, if this thread is in a step, right after that."""
        self._queued.append(work)
        if self._owner != _thread_id():
            self._run(lambda: None)

    def _run(self, work: Callable[[], R]) -> R | None:
        """Do the work under the lock, and send the replies.  None where the program has closed the registry."""
        me = _thread_id()
        if self._owner == me:
            return None
        result: R | None = None
        done = False
        try:
            self._registry.lock()
            self._owner = me
            try:
                self._machine.state = self._registry.load()
                if self._registry.in_flight or self._machine.state.outbox:
                    self._finish_interrupted()
                    self._flush()
                result = work()
                self._run_queued()
                self._flush()
                done = not self._taken
            except _Forked:
                result = None
            finally:
                self._unlock(done)
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's: the kernel's have a number
            self._queued.clear()  # the program has closed the registry's descriptor
        if self._unread_acknowledgements >= UNREAD_ACKNOWLEDGEMENTS:
            self._unread_acknowledgements = 1
            self._control.read(UNREAD_ACKNOWLEDGEMENTS - 1)  # the last one is still on its way
        if self._queued:
            self._run(lambda: None)
        return result

    def _unlock(self, done: bool) -> None:
        """Release the lock; finish first what an exception of a signal handler has interrupted."""
        try:
            if not (done or self._forked):
                self._machine.state = self._registry.load()
                self._finish_interrupted()
        finally:
            self._owner = 0
            self._forked = False
            self._registry.unlock()

    def _run_queued(self) -> None:
        newest = self._control.newest
        if newest is not None:
            self._control.newest = None
            self._step(newest)
        while self._queued:
            self._queued.popleft()()

    def _release(self, client: Client) -> None:
        if self._registry.release(client) == 0:
            self._step(server.Disconnected(client), (client,))

    # ================================================================ steps of the machine

    def _step(self, event: server.Event, touched: tuple[Client, ...] = ()) -> None:
        """One step of the machine, saved before its effects.  Nothing is in flight after it.

        Raises:
            _Forked: this process was forked in the middle of a step, which it abandons.
        """
        if self._forked:
            raise _Forked
        self._touched = touched
        self._machine.handle(event)

    def _save(self, event: server.Event, before: server.EndpointState) -> None:
        state = self._machine.state
        if state is not before:
            self._registry.save(before, state, self._touched)

    def _declined(self, event: server.Event, rejected: Rejected) -> None:
        self._registry.begin(Doing.NOTHING, 0)

    def _deliver(self, effect: server.Deliver) -> None:
        fd = self._taken.pop(effect.client, None)
        if fd is not None:
            self._ready.setdefault(effect.client.port, deque()).append((fd, effect.client))

    # ================================================================ listeners

    def _listened(self, port: Port) -> None:
        """Report that, then answer an InitialMsg that has come meanwhile: it would wake the program for nothing."""
        self._accept_on(port)
        while self._next_is_initial_msg(port) and self._read(port):
            pass

    def _accept_on(self, port: Port) -> None:
        """This process accepts on the port, and so the server listens there, if it did not."""
        if port not in self._accepting:
            if not self._registry.hold(port, os.getpid()):
                report.warning(f"so many processes accept that one is not noted: port {port} may close while it does")
            self._accepting.add(port)
        if not self._is_listening(port):
            self._step(server.Listened(port))

    def _is_listening(self, port: Port) -> bool:
        listener = self._machine.state.listeners.get(port, None)
        return listener is not None and listener.listening

    def _close(self, port: Port) -> int | None:
        """Stop accepting; the sequence number of the NotReady, if one is sent."""
        pid = os.getpid()
        self._accepting.discard(port)
        self._registry.drop(port, pid)
        if not self._is_listening(port) or any(_is_alive(other) for other in self._registry.holders(port)):
            return None
        self._drain(port, refusing=True)
        self._step(server.ListenerClosed(port))
        sequence = self._machine.state.sequence
        self._control.expect(sequence)
        return sequence

    def _answer_initial_msg(self, port: Port) -> None:
        """Answer the InitialMsg that follows the reply, so that none is there when the program begins to poll."""
        wait_readable(self.dialogs[port].fileno(), int(INITIAL_MSG_PATIENCE * 1000))
        self._run(lambda: self._drain(port, leave_initial_msg=False))

    # ================================================================ reading dialogs

    def _take(self, port: Port) -> tuple[int, Client] | None:
        if port in self.dialogs:
            self._accept_on(port)
            for other in list(self.dialogs) if len(self.dialogs) > 1 else ():
                if not self._is_listening(other):
                    self._drain(other, leave_initial_msg=False)
            while not self._ready.get(port) and self._read(port):
                self._flush()
        ready = self._ready.get(port)
        return ready.popleft() if ready else None

    def _drain(self, port: Port, *, leave_initial_msg: bool = False, refusing: bool = False) -> None:
        """Read, and so refuse, all that is there for a port that is not listened on.

        Args:
            port: the port.
            leave_initial_msg: stop at an InitialMsg.
            refusing: the port is still listened on, but is about to be closed: refuse all the same.  (The Distributor
                sends an InitialMsg when it has read the NotReady.  Were that sent first, the InitialMsg could be read
                here, and would wake no other process.)
        """
        while not (leave_initial_msg and self._next_is_initial_msg(port)) and self._read(port, refusing=refusing):
            pass

    def _read(self, port: Port, *, refusing: bool = False) -> bool:
        """Take the next packet of the dialog and make the step that it causes, if there is one that can be answered."""
        dialog = self.dialogs.get(port)
        if dialog is None:
            return False
        if self._forked:
            raise _Forked
        if not (self._registry.alone and self._room.get(port, 0) and not self._machine.state.outbox):
            if not self._is_to_be_read(port, dialog):
                return False
        else:
            self._registry.begin(Doing.READING, port)  # rule 6
        try:
            channel.take(dialog, self._packet)
            if self._forked:
                raise _Forked
            packet = channel.parse(dialog, *self._packet[0])
        except wire.WireError:
            packet = _IGNORED
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's: the kernel's have a number
            self._registry.begin(Doing.NOTHING, 0)
            if error.errno != EAGAIN:
                self._drop_dialog(port, ours=False)
            return False
        if packet is None:
            self._registry.begin(Doing.NOTHING, 0)
            self._ended.add(port)
            self._drop_dialog(port)
        elif isinstance(packet.message, (messages.InitialMsg, messages.HandOff)):
            self._handle(port, packet.message, packet.fds, refusing)
        else:
            channel.close(packet.fds)
            self._registry.begin(Doing.NOTHING, 0)
        self._packet.clear()
        return packet is not None

    def _is_to_be_read(self, port: Port, dialog: channel.Socket) -> bool:
        """Whether a packet is there that can be answered; what it begins with is recorded then."""
        try:
            head = channel.head(dialog, PACKET)
        except BlockingIOError:
            return False
        except OSError:
            self._drop_dialog(port, ours=False)
            return False
        if not self._can_answer(port):
            return False
        self._registry.note_unread(False)
        self._registry.begin(Doing.READING, port, head)
        return True

    def _handle(self, port: Port, message: messages.ToServer, fds: tuple[int, ...], refusing: bool) -> None:
        """The step that a message causes."""
        if isinstance(message, messages.InitialMsg):
            channel.close(fds)
            self._step(server.MessageRead(port, message), message.forget)
            return
        client = message.client
        intact = len(fds) == 1 and not refusing  # no descriptor, where the process had reached its limit
        if intact:
            self._taken[client] = fds[0]
        self._step(server.MessageRead(port, message, intact), (client,))
        self._packet.clear()  # the descriptor is in `_taken`
        if not intact or client not in self._machine.state.clients:
            self._taken.pop(client, None)
            channel.close(fds)

    def _next_is_initial_msg(self, port: Port) -> bool:
        """Whether the next message on the dialog is an InitialMsg; it is not read."""
        dialog = self.dialogs.get(port)
        head = b"" if dialog is None else _peek(dialog)
        return bool(head) and wire.TAGS.get(head[0]) is messages.InitialMsg

    def _can_answer(self, port: Port) -> bool:
        """Rule 2.  (Earlier replies have been sent, as far as there was room.)"""
        if len(self._machine.state.outbox) < OUTBOX_LIMIT // 2 and self._has_room(port):
            return True
        self._without_room.add(port)
        self._registry.note_unread(True)
        return False

    def _has_room(self, port: Port, milliseconds: int = 0) -> bool:
        """Whether the dialog takes an answer.  (`poll` says so while less than a quarter of its buffer is in use.)"""
        dialog = self.dialogs.get(port)
        if dialog is None:
            return False
        if milliseconds:
            return wait(dialog.fileno(), select.POLLOUT, milliseconds)
        poll = self._send_polls.get(port)
        if poll is None:
            poll = self._send_polls[port] = _poll()
            poll.register(dialog.fileno(), select.POLLOUT)
        has_room = bool(poll.poll(0))
        if has_room:
            self._room[port] = dialog.getsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF) * 3 // 4 // ANSWER
        return has_room

    def _drop_dialog(self, port: Port, *, ours: bool = True) -> None:
        """Drop a dialog that is of no more use to this process.

        Args:
            port: its port.
            ours: the descriptor is still that of the dialog; else the program has closed it, and may use the number.
        """
        dialog = self.dialogs.pop(port, None)
        self._send_polls.pop(port, None)
        self._room.pop(port, None)
        if dialog is not None and ours:
            dialog.close()
        elif dialog is not None:
            dialog.detach()

    # ================================================================ sending

    def _flush(self) -> None:
        """Send the replies in the outbox, as far as there is room: on each dialog, the oldest first."""
        full: set[Port] = set()
        while replies := self._machine.state.outbox:
            if full:
                replies = tuple([reply for reply in replies if reply.port not in full])
                if not replies:
                    return
            if not self._send(replies[0]):
                full.add(replies[0].port)

    def _send(self, reply: server.Reply) -> bool:
        """Send the reply; whether it has left the outbox."""
        if self._forked:
            raise _Forked
        port, message = reply.port, reply.message
        if port not in self.dialogs and port not in self._ended:
            return False  # another process of the server has the dialog
        self._outcome.clear()
        self._sending = reply
        self._registry.begin(Doing.SENDING, port)
        trouble = self._try_to_send(reply)
        if not trouble:
            self._step(server.Sent(reply))
            if isinstance(message, (messages.Disconnect, messages.NotReady)):
                self._unread_acknowledgements += 1
        else:
            self._not_sent(reply, trouble)
        self._sending = None
        return reply not in self._machine.state.outbox

    def _not_sent(self, reply: server.Reply, trouble: int) -> None:
        """The kernel has not taken the reply, for that reason."""
        port, message = reply.port, reply.message
        if trouble in GONE:
            self._ended.add(port)
            self._drop_dialog(port)
        elif trouble not in channel.CROWDED:
            self._drop_dialog(port, ours=False)
        if isinstance(message, Accepted):
            self._interrupted(port, reply)  # rule 1
            channel.close((self._taken.pop(message.client),))
        elif trouble in GONE:
            self._step(server.Sent(reply))
        else:
            self._registry.begin(Doing.NOTHING, 0)

    def _try_to_send(self, reply: server.Reply) -> int:
        """Send the reply: 0, or the error's number where it is not in the socket."""
        number = EPIPE
        for _ in range(TRIES):
            dialog = self.dialogs.get(reply.port)
            if dialog is None:
                break
            try:
                channel.send(dialog, reply.message, outcome=self._outcome)
            except OSError as error:
                if error.errno is None:
                    raise  # a signal handler's
                number = error.errno
            else:
                self._room[reply.port] = self._room.get(reply.port, 1) - 1
                return 0
            if number == EAGAIN or number not in channel.CROWDED or not isinstance(reply.message, Accepted):
                break
            time.sleep(PAUSE)
        return number

    # ================================================================ what a process has left undone

    def _finish_interrupted(self) -> None:
        """Finish what a process has begun and not saved: one that has died, or this one, interrupted."""
        match self._registry.in_flight:
            case (Doing.READING, port):
                self._finish_reading(port)
            case (Doing.SENDING, port):
                self._finish_sending(port)
            case _:
                pass
        unsent = next((reply for reply in self._machine.state.outbox if isinstance(reply.message, Accepted)), None)
        if unsent is not None:  # saved, but not sent
            self._interrupted(unsent.port, unsent)
        if self._packet or self._taken:
            self._discard()

    def _finish_reading(self, port: Port) -> None:
        """The packet may have been read, or not."""
        packet = self._packet[0][0].ljust(PACKET, b"\0") if self._packet else self._registry.packet
        dialog = self.dialogs.get(port)
        message = _hand_off(packet)
        unread = not self._packet and (self._registry.alone or (dialog is not None and _peek(dialog) == packet))
        if unread:
            self._registry.begin(Doing.NOTHING, 0)
        elif dialog is None or message is None:
            self._interrupted(port, None)
        else:
            self._step(server.MessageRead(port, message, intact=False))

    def _finish_sending(self, port: Port) -> None:
        """The reply may be in the socket, or not; this process knows it of its own."""
        reply = self._next_reply_on(port)
        sending, self._sending = self._sending, None
        if reply is None:
            self._registry.begin(Doing.NOTHING, 0)
        elif reply != sending:
            self._interrupted(port, reply)
        elif self._outcome:
            self._step(server.Sent(reply))
        else:
            self._registry.begin(Doing.NOTHING, 0)

    def _interrupted(self, port: Port, reply: server.Reply | None) -> None:
        answered = (reply.message for reply in self._machine.state.outbox)
        taken = tuple(message.client for message in answered if isinstance(message, Accepted))
        self._step(server.Interrupted(port, reply), taken)

    def _next_reply_on(self, port: Port) -> server.Reply | None:
        return next((reply for reply in self._machine.state.outbox if reply.port == port), None)

    def _discard(self) -> None:
        """Close the connections that the program does not get."""
        fds = {*self._taken.values(), *(fd for raw in self._packet for fd in channel.descriptors(raw[1]))}
        self._packet.clear()
        self._taken.clear()
        channel.close([*fds])


class _Forked(BaseException):
    """This process was forked in the middle of a step, which is its parent's."""


_IGNORED: Final = channel.Packet(messages.Begin(), (), False)
"""Stands for a packet that is ignored."""


def _discard(effect: server.Discard) -> None:
    """Nothing: `Endpoint._handle` closes each connection that the machine has not taken."""


def _peek(dialog: channel.Socket) -> bytes:
    """The beginning of the next packet, padded to `PACKET` bytes, which stays there; empty where there is none."""
    try:
        return channel.head(dialog, PACKET).ljust(PACKET, b"\0")
    except OSError:
        return b""


def _hand_off(packet: bytes) -> messages.HandOff | None:
    """The hand-off that the padded packet is."""
    try:
        message = wire.decode(packet[:HAND_OFF_SIZE])
    except wire.WireError:
        return None
    return message if isinstance(message, messages.HandOff) else None


def _is_alive(pid: int) -> bool:
    """Whether the process runs.  (A zombie can still be signalled.)"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
    except OSError:
        return False
