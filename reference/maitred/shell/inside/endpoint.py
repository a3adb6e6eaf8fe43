"""This process's part of the Application Server's endpoint: reads dialogs, lets the machine step, performs the effects.

One state, many hands: the threads and processes of a server share the `EndpointState` in the `Registry`.  Under one
lock a process takes a message from its dialog, makes the step that it causes, and sends what the outbox holds; so
nobody answers an `InitialMsg` before a hand-off that was read earlier has been counted.

Rules
-----
1.  A client's connection goes to the program when its `Accepted` is in the socket.  Where the kernel does not take the
    answer, the client is refused, and the connection closed: the Distributor has a copy.
2.  A message is read only where the dialog has room for its answer, so that nobody waits under the lock.
3.  What finds no room stays in the outbox, and goes with the next step of any process of the server.
4.  What a process is about to do with a dialog it notes in the registry; a save wipes the note out.  Whoever takes the
    lock and finds a note finishes that first, for its author is dead, or was torn out of it by what a signal handler
    raised.  A hand-off that has left the dialog unanswered is refused; of what may have been sent, see `Interrupted`.
5.  Where nobody holds the other end any more, what is to be said there is let go.  A client whose answer it was is not
    delivered: if the Distributor lives, it has closed the dialog and offers its own copy elsewhere; if it does not, no
    process of the server can tell.

Everything here runs inside the user's program.  It raises nothing of its own, starts no thread, and may be entered
again at any point by the same thread: a finaliser or a signal handler may close a connection in the middle of a step.
Such an event is noted, and taken up by whoever holds the lock.  A signal handler may also fork there: the child gives
up the step, which is its parent's.
"""

from __future__ import annotations

import _thread
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from errno import EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ECONNRESET, ENOBUFS, ENOTCONN, EPIPE
from typing import TYPE_CHECKING, Final, TypeVar

from maitred.core import messages, server, wire
from maitred.core.messages import Accepted, Address, Client, Port
from maitred.core.transition import Rejected
from maitred.shell.driver import Driver
from maitred.shell.io import channel, report
from maitred.shell.io.registry import OUTBOX_LIMIT, PACKET, PORT_LIMIT, Doing, Registry

if TYPE_CHECKING:
    from maitred.shell.observe.trace import (
        Trace,  # brings all three machines along: imported only where a trace is wanted
    )

R = TypeVar("R")

BIND_PATIENCE: Final = 60.0
"""Seconds to wait for a Distributor that answers a `BindRequest`: it may be restarting."""
BIND_AGAIN: Final = 1.0
"""Seconds after which the request is sent again."""
OPENING_PATIENCE: Final = 1.0
"""Seconds to wait for the InitialMsg that follows the reply to a bind."""
ACKNOWLEDGE_PATIENCE: Final = 1.0
"""Seconds to wait until the Distributor has read that a listener is closed."""
ROOM_PATIENCE: Final = 10
"""Milliseconds to wait, once for each accept, until a Distributor that has not read for long makes room.

A program that polls finds again and again that there is something to accept.  So it does not do that at full speed, and
has time enough for its other clients.
"""
TRIES: Final = 5
"""So often an answer to a hand-off is tried to send where the kernel has no memory for it..."""
PAUSE: Final = 0.005
"""... with so many seconds between."""
GONE: Final = frozenset({EPIPE, ECONNRESET, ENOTCONN})
"""Why the kernel will never take a packet again: nobody holds the other end."""
ACKNOWLEDGEMENTS: Final = 8
"""So many acknowledgements are left to be read together."""
HAND_OFF_SIZE: Final = len(wire.encode(messages.HandOff(Client(0, 0, 0))))
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
        self._noted: deque[Callable[[], None]] = deque()
        """What is to be taken up by whoever holds the lock."""
        self._acknowledgements: deque[server.Event] = deque()
        """For which there is no hurry: they change nothing."""
        self._box: list[channel.Raw] = []
        """The packet that was taken from a dialog, until its step is made."""
        self._sending: server.Reply | None = None
        """What this process is sending."""
        self._outcome: list[int] = []
        """Not empty where that is in the socket."""
        self._taken: dict[Client, int] = {}
        """The connections of those whose `Accepted` is not known to be in the socket."""
        self._ready: dict[Port, deque[tuple[int, Client]]] = {}
        """The connections of those whom the program may have."""
        self._ended: set[Port] = set()
        """The ports on whose dialogs nothing will ever be read or heard again."""
        self._outlets: dict[Port, select.poll] = {}
        self._crowded: set[Port] = set()
        """The ports where something was left unread, for want of room for the answer."""
        self._forked = False
        """The thread has forked in the middle of a step, and this is the child."""
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
            report.say(f"port {port} is declined: a server can bind {PORT_LIMIT} ports through its Distributor")
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
        self._ended.discard(port)
        self._note(lambda: self._step(server.Bound(port)))
        self._await_opening(port)
        return 0 if port in self.dialogs else EADDRINUSE  # ended at once: another process of the server has it

    def take_over(self, port: Port, dialog: channel.Socket) -> None:
        """Have a dialog that another process of the server has passed to this one, unless it has that already."""
        if self.dialogs.setdefault(port, dialog) is dialog:
            self._ended.discard(port)
        else:
            dialog.close()

    def exclusively(self, work: Callable[[], R]) -> R | None:
        """Do what only one process of the server may do at a time; None where the program has left us no means."""
        return self._run(work)

    def listen(self, port: Port) -> None:
        """The program listens on the port."""
        self._run(lambda: self._listened(port))

    def take(self, port: Port) -> tuple[int, Client] | None:
        """The next client's connection and who it is, or None where there is none now.

        Waits for nobody, but for a moment where the Distributor does not read and so the client cannot be answered.
        """
        found = self._run(lambda: self._take(port))
        if found is None and port in self._crowded:
            self._crowded.discard(port)
            if self._has_room(port, ROOM_PATIENCE):
                found = self._run(lambda: self._take(port))
        return found

    def close(self, port: Port, *, shared: bool) -> None:
        """This process accepts on the port no longer; where it was the last, so does the server.

        Args:
            port: the port.
            shared: whether other processes have inherited the listener.  One that has not accepted yet, but will, finds
                the Distributor's InitialMsg there, and so is heard of.
        """
        if self._owner == _thread_id():
            self._noted.append(lambda: self._step(server.ListenerClosed(port)))
            return
        sequence = self._run(lambda: self._close(port))
        if sequence is not None:
            self._await_acknowledge(sequence)
            self._run(lambda: self._drain(port, leave_opening=shared))

    def let_go(self, client: Client) -> None:
        """This process's last reference to the client's connection is gone; the server's, if no other holds it."""
        self._note(lambda: self._let_go(client))

    def take_back(self, client: Client) -> None:
        """This process holds the client's connection after all: it has not become the program that it wanted to be."""
        self._note(lambda: self._registry.share(client))

    def forget(self, client: Client) -> None:
        """No process holds the client's connection, whatever was counted: the kernel has said so."""
        self._note(lambda: self._step(server.Disconnected(client), (client,)))

    # ================================================================ under the lock

    def _note(self, work: Callable[[], None]) -> None:
        """Do it under the lock, now, or, where this thread is in a step already, right after that."""
        self._noted.append(work)
        if self._owner != _thread_id():
            self._run(lambda: None)

    def _run(self, work: Callable[[], R]) -> R | None:
        """Do the work under the lock, and send what is to be sent.  None where the program has left us no means."""
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
                    self._finish()
                    self._flush()
                result = work()
                self._take_up_noted()
                self._flush()
                done = not self._taken
            except _Forked:
                result = None
            finally:
                self._unlock(done)
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's: the kernel's have a number
            self._noted.clear()  # the program has closed the registry's descriptor
        if self._unread >= ACKNOWLEDGEMENTS:
            self._unread = 0
            self._read_control()
        if self._noted:
            self._run(lambda: None)
        return result

    def _unlock(self, done: bool) -> None:
        """Let the next one have the lock, and leave nothing undone even where a signal handler has raised something."""
        try:
            if not (done or self._forked):
                self._machine.state = self._registry.load()
                self._finish()
        finally:
            self._owner = 0
            self._forked = False
            self._registry.unlock()

    def _take_up_noted(self) -> None:
        while self._acknowledgements:
            self._step(self._acknowledgements.popleft())
        while self._noted:
            self._noted.popleft()()

    def _let_go(self, client: Client) -> None:
        if self._registry.release(client) == 0:
            self._step(server.Disconnected(client), (client,))

    def _step(self, event: server.Event, touched: tuple[Client, ...] = ()) -> None:
        """One step of the machine, saved before its effects.  Nothing is in flight after it."""
        self._go_on()
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

    def _go_on(self) -> None:
        """Go no further in a process that was forked in the middle of this step.

        Raises:
            _Forked: this is one.
        """
        if self._forked:
            raise _Forked

    # ---------------------------------------------------------------- what was left undone

    def _finish(self) -> None:
        """Finish what a process has begun and not saved: one that has died, or this one, torn out of it."""
        match self._registry.in_flight:
            case (Doing.READING, port):
                self._finish_reading(port)
            case (Doing.SENDING, port):
                self._finish_sending(port)
            case _:
                pass
        unsent = next((reply for reply in self._machine.state.outbox if isinstance(reply.message, Accepted)), None)
        if unsent is not None:  # saved, and nobody has come to sending it
            self._interrupted(unsent.port, unsent)
        if self._box or self._taken:
            self._discard()

    def _discard(self) -> None:
        """Close the connections that the program does not get."""
        fds = {*self._taken.values(), *(fd for raw in self._box for fd in channel.descriptors(raw[1]))}
        self._box.clear()
        self._taken.clear()
        channel.close([*fds])

    def _interrupted(self, port: Port, reply: server.Reply | None) -> None:
        answered = (reply.message for reply in self._machine.state.outbox)
        taken = tuple(message.client for message in answered if isinstance(message, Accepted))
        self._step(server.Interrupted(port, reply), taken)

    def _finish_reading(self, port: Port) -> None:
        """A packet may have left the dialog, or not."""
        packet = self._registry.packet
        dialog = self.dialogs.get(port)
        message = _hand_off(packet)
        if dialog is None or message is None:
            self._interrupted(port, None)
        elif _peek(dialog) == packet:
            self._registry.begin(Doing.NOTHING, 0)
        else:
            self._step(server.MessageRead(port, message, intact=False))

    def _finish_sending(self, port: Port) -> None:
        """A reply may be in the socket, or not; this process knows of its own."""
        reply = self._next_on(port)
        sending, self._sending = self._sending, None
        if reply is None:
            self._registry.begin(Doing.NOTHING, 0)
        elif reply != sending:
            self._interrupted(port, reply)
        elif self._outcome:
            self._step(server.Sent(reply))
        else:
            self._registry.begin(Doing.NOTHING, 0)

    def _next_on(self, port: Port) -> server.Reply | None:
        return next((reply for reply in self._machine.state.outbox if reply.port == port), None)

    # ---------------------------------------------------------------- listeners

    def _is_listening(self, port: Port) -> bool:
        listener = self._machine.state.listeners.get(port, None)
        return listener is not None and listener.listening

    def _listened(self, port: Port) -> None:
        """Say so, then answer what the Distributor has asked meanwhile: the program would poll in vain for it."""
        self._accepts(port)
        while self._head_is_opening(port) and self._read(port):
            pass

    def _accepts(self, port: Port) -> None:
        """This process accepts on the port, and so the server listens there, if it did not."""
        if port not in self._holding:
            if not self._registry.hold(port, os.getpid()):
                report.say(f"so many processes accept that one is not noted: port {port} may close while it does")
            self._holding.add(port)
        if not self._is_listening(port):
            self._step(server.Listened(port))

    def _close(self, port: Port) -> int | None:
        """Stop accepting; the sequence number of the NotReady, where it comes to one."""
        pid = os.getpid()
        self._holding.discard(port)
        self._registry.drop(port, pid)
        if not self._is_listening(port) or any(_is_alive(other) for other in self._registry.holders(port)):
            return None
        self._drain(port, refusing=True)
        self._step(server.ListenerClosed(port))
        sequence = self._machine.state.sequence
        self._awaited.add(sequence)
        return sequence

    # ---------------------------------------------------------------- dialogs

    def _take(self, port: Port) -> tuple[int, Client] | None:
        if port in self.dialogs:
            self._accepts(port)
            for other in list(self.dialogs) if len(self.dialogs) > 1 else ():
                if not self._is_listening(other):
                    self._drain(other, leave_opening=False)
            while not self._ready.get(port) and self._read(port):
                self._flush()
        ready = self._ready.get(port)
        return ready.popleft() if ready else None

    def _drain(self, port: Port, *, leave_opening: bool = False, refusing: bool = False) -> None:
        """Read all that is there for a port that is not listened on, and so refuse it.

        Args:
            port: the port.
            leave_opening: stop at an InitialMsg.
            refusing: the port is listened on, but not for long.  The Distributor asks when it has read that; were this
                said first, the answer could be taken from the dialog here, and would wake no other process.
        """
        while not (leave_opening and self._head_is_opening(port)) and self._read(port, refusing=refusing):
            pass

    def _read(self, port: Port, *, refusing: bool = False) -> bool:
        """Take the next packet of the dialog and make the step that it causes, if there is one that can be answered."""
        dialog = self.dialogs.get(port)
        if dialog is None:
            return False
        self._go_on()
        try:
            head = channel.head(dialog, PACKET)
        except BlockingIOError:
            return False
        except OSError:
            self._lose(port, ours=False)
            return False
        if not self._can_answer(port):
            return False
        self._registry.note_unread(False)
        self._registry.begin(Doing.READING, port, head)
        try:
            channel.take(dialog, self._box)
            self._go_on()
            packet = channel.parse(dialog, *self._box[0])
        except (BlockingIOError, wire.WireError):
            packet = _NONSENSE
        except OSError:
            packet = None
        if packet is None:
            self._registry.begin(Doing.NOTHING, 0)
            self._ended.add(port)
            self._lose(port)
        elif isinstance(packet.message, (messages.InitialMsg, messages.HandOff)):
            self._heed(port, packet.message, packet.fds, refusing)
        else:
            channel.close(packet.fds)
            self._registry.begin(Doing.NOTHING, 0)
        self._box.clear()
        return packet is not None

    def _lose(self, port: Port, *, ours: bool = True) -> None:
        """The dialog is of no more use to this process.

        Args:
            port: its port.
            ours: the descriptor is still that of the dialog; else the program has closed it, and may use the number.
        """
        dialog = self.dialogs.pop(port, None)
        self._outlets.pop(port, None)
        if dialog is not None and ours:
            dialog.close()
        elif dialog is not None:
            dialog.detach()

    def _can_answer(self, port: Port) -> bool:
        """Rule 2.  (What was to be said before has been said, where there was room.)"""
        if len(self._machine.state.outbox) < OUTBOX_LIMIT // 2 and self._has_room(port):
            return True
        self._crowded.add(port)
        self._registry.note_unread(True)
        return False

    def _has_room(self, port: Port, milliseconds: int = 0) -> bool:
        """Whether the dialog takes an answer.  (To the kernel it does while a quarter of its buffer is in use.)"""
        dialog = self.dialogs.get(port)
        if dialog is None:
            return False
        if milliseconds:
            return _wait(dialog.fileno(), select.POLLOUT, milliseconds)
        poll = self._outlets.get(port)
        if poll is None:
            poll = self._outlets[port] = _poll()
            poll.register(dialog.fileno(), select.POLLOUT)
        return bool(poll.poll(0))

    def _head_is_opening(self, port: Port) -> bool:
        """Whether the next message on the dialog is an InitialMsg; it stays there."""
        dialog = self.dialogs.get(port)
        head = b"" if dialog is None else _peek(dialog)
        return bool(head) and wire.TAGS.get(head[0]) is messages.InitialMsg

    def _heed(self, port: Port, message: messages.ToServer, fds: tuple[int, ...], refusing: bool) -> None:
        """The step that a message causes."""
        if isinstance(message, messages.InitialMsg):
            channel.close(fds)
            self._step(server.MessageRead(port, message), message.forget)
            return
        client = message.client
        intact = len(fds) == 1 and not refusing  # none, where the process had none to spare
        if intact:
            self._taken[client] = fds[0]
        self._box.clear()  # the descriptor has an owner
        self._step(server.MessageRead(port, message, intact), (client,))
        if not intact or client not in self._machine.state.clients:
            self._taken.pop(client, None)
            channel.close(fds)

    # ================================================================ sending

    def _flush(self) -> None:
        """Send what is to be sent, as far as there is room: on each dialog, the oldest first."""
        full: set[Port] = set()
        while (reply := next((r for r in self._machine.state.outbox if r.port not in full), None)) is not None:
            if not self._send(reply):
                full.add(reply.port)

    def _send(self, reply: server.Reply) -> bool:
        """Whether the reply need not be sent any more."""
        self._go_on()
        port, message = reply.port, reply.message
        if port not in self.dialogs and port not in self._ended:
            return False  # another process of the server has the dialog
        self._outcome.clear()
        self._sending = reply
        self._registry.begin(Doing.SENDING, port)
        trouble = self._try(reply)
        if trouble in GONE:
            self._ended.add(port)
            self._lose(port)
        elif trouble and trouble not in channel.CROWDED:
            self._lose(port, ours=False)
        if isinstance(message, Accepted) and trouble:
            self._interrupted(port, reply)  # rule 1
            channel.close((self._taken.pop(message.client),))
        elif not trouble or trouble in GONE:
            self._step(server.Sent(reply))
            self._unread += isinstance(message, (messages.Disconnect, messages.NotReady))
        else:
            self._registry.begin(Doing.NOTHING, 0)
        self._sending = None
        return reply not in self._machine.state.outbox

    def _try(self, reply: server.Reply) -> int:
        """Send; the error's number where the reply is not in the socket."""
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
                return 0
            if number == EAGAIN or number not in channel.CROWDED or not isinstance(reply.message, Accepted):
                break
            time.sleep(PAUSE)
        return number

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
        self._run(lambda: self._drain(port, leave_opening=False))

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
        self._forked = self._owner == _thread_id()
        self._discard()
        channel.close([fd for ready in self._ready.values() for fd, _ in ready])
        for held in (self._outcome, self._ready, self._crowded):
            held.clear()
        self._sending = None
        self._holding.clear()
        self._noted.clear()
        self._acknowledgements.clear()
        self._reading_control = _thread.allocate_lock()
        self._registry.after_fork()


def _discard(effect: server.Discard) -> None:
    """Whoever reads a hand-off closes what the machine did not take, and so what it declined: `Endpoint._heed`."""


class _Forked(BaseException):
    """This process was forked in the middle of a step, which is its parent's."""


_NONSENSE: Final = channel.Packet(messages.Begin(), (), False)
"""What is passed over."""


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


def wait_readable(fd: int, milliseconds: int) -> bool:
    """Whether there is something to read, or its end, within that time."""
    return _wait(fd, select.POLLIN, milliseconds)


def _wait(fd: int, events: int, milliseconds: int) -> bool:
    poll = _poll()
    poll.register(fd, events)
    return bool(poll.poll(milliseconds))


def _is_alive(pid: int) -> bool:
    """Whether the process runs.  (A zombie can still be signalled.)"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
    except OSError:
        return False
