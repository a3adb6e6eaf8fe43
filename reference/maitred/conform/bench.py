"""Monitor, Distributor and clients of one endpoint, on real sockets: what a case for an endpoint works with.

`Bench` starts the program under test, as often as a case wants.  `Server` is one such process, with the Distributor's
ends of its channels: it sends what the case has it send, and has each message that comes checked by a `Follower`.
`Visitor` is a client, with its own end and, until the server has it, the copy that a Distributor keeps.

Clients connect to a port of the kit's own, so that several kits can run at a time and no port of the program must be
free.  The program is handed them as clients of the port that it has asked for.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypeVar, get_args

from maitred.conform.cases import Failed
from maitred.conform.follower import Follower, show
from maitred.conform.testee import Testee
from maitred.core import messages, wire
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Client,
    Disconnect,
    FromServer,
    HandOff,
    InitialMsg,
    NotReady,
    Port,
    RestartReply,
)
from maitred.shell.io import channel, sock_diag

M = TypeVar("M", bound=FromServer)

CONTROL: Final = 0
"""Stands for the control socket where a port is named."""
QUIET: Final = 0.15
"""Seconds in which nothing must come."""
STARTS: Final = 3
"""So many times as long as for an answer a program has until it listens."""
SLICE: Final = 0.02
"""Seconds of one wait for a client, between looks at the control socket."""
EXCHANGE: Final = 30
"""So many of the last messages are shown."""
LISTEN: Final = "0A"
"""The state of a listening socket in ``/proc/net/tcp``."""
_FROM_SERVER: Final = get_args(FromServer)


@dataclass(frozen=True)
class Settings:
    """How the program is to be asked."""

    patience: float = 10.0
    """Seconds to wait for what must come; for a program to start, three times as long."""
    clients: int = 3
    """How many clients the program serves at a time, at least."""
    away: float = 1.0
    """Seconds for which a Distributor is away where it is away for long."""
    say: bytes = b"GET / HTTP/1.0\r\n\r\n"
    """What a client says; the program must answer it with a byte at least."""
    directed: bool = False
    """The program obeys the words of `maitred.conform.program`."""


class Visitor:
    """A client."""

    def __init__(self, who: Client, end: socket.socket, copy: socket.socket, settings: Settings) -> None:
        """A client that has connected."""
        self.who = who
        self.end: Final = end
        self.copy: Final = copy
        self.spoke = False
        """It has said something, so that its server may have let it go."""
        self.local_port: int = copy.getsockname()[1]
        self.meanwhile: Callable[[], None] = lambda: None
        """What is to be done while an answer is awaited: what the client has asked for may need a Distributor."""
        self._settings = settings
        self._rest = b""

    def let_go(self) -> None:
        """Close the Distributor's copy."""
        self.copy.close()

    def say(self, text: bytes | None = None) -> None:
        """Send something to the server."""
        self.spoke = True
        with suppress(BrokenPipeError, ConnectionResetError):
            self.end.sendall(self._settings.say if text is None else text)

    def has_answer(self, seconds: float) -> bool:
        """Whether a byte of the server's, or the end, is there within that time."""
        poll = select.poll()
        poll.register(self.end, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def is_served(self) -> None:
        """Have the server answer.

        Raises:
            Failed: it does not.
        """
        if self._settings.directed:
            self.obeys("hello", "hello")
            return
        self.say()
        if not self.has_answer(self._settings.patience):
            raise Failed(f"client {self.who.arrival} is served", "not a byte in time", ("FIG4-direct",))
        if not self._received():
            raise Failed(f"client {self.who.arrival} is served", "the end of its connection", ("FIG4-direct",))

    def _received(self) -> bytes:
        """What is there to be received; nothing at the end."""
        try:
            return self.end.recv(65_536)
        except ConnectionResetError:
            return b""

    def obeys(self, word: str, answer: str) -> None:
        """Have a directed program do something, and await its answer.

        Raises:
            Failed: it gives another.
        """
        self.say(f"{word}\n".encode())
        self.answers(answer)

    def answers(self, answer: str) -> None:
        """Await this answer of a directed program.

        Raises:
            Failed: it gives another.
        """
        came = self._line(answer)
        if came != answer:
            raise Failed(f"the program answers {answer!r}", repr(came), ("FIG4-direct",))

    def _line(self, wanted: str) -> str:
        deadline = time.monotonic() + self._settings.patience
        while b"\n" not in self._rest:
            self.meanwhile()
            if not self.has_answer(SLICE) and time.monotonic() < deadline:
                continue
            if not self.has_answer(0) or not (chunk := self._received()):
                raise Failed(f"the program answers {wanted!r}", "no answer", ("FIG4-direct",))
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")

    def leave(self) -> None:
        """Close the client's end."""
        self.end.close()

    def close(self) -> None:
        """Close both."""
        self.end.close()
        self.copy.close()


class Bench:
    """Where a case works: it starts what it wants, and the bench ends it all."""

    def __init__(self, command: Sequence[str], settings: Settings) -> None:
        """Nothing has been started."""
        self.settings = settings
        self.exchange: deque[str] = deque(maxlen=EXCHANGE)
        self._command = command
        self._servers: list[Server] = []
        self._visitors: list[Visitor] = []
        self._arrivals = count()
        self._listeners: dict[int, socket.socket] = {}
        self._output = ""

    def start(self, *, answer: int | None = 0) -> Server:
        """Start the program.

        Args:
            answer: what its requests to bind are answered with; None: they are not answered.
        """
        number = len(self._servers) + 1
        server = Server(self, Testee(self._command, number, most=max(64, self.settings.clients)), answer)
        self._servers.append(server)
        return server

    def ready(self) -> Server:
        """Start the program, and wait until it listens on its first port."""
        server = self.start()
        server.becomes_ready()
        return server

    def client(self, port: Port) -> Visitor:
        """A client that has connected, and that is handed to nobody yet."""
        listener = self._listeners.get(socket.AF_INET)
        if listener is None:
            listener = self._listeners[socket.AF_INET] = socket.create_server(("127.0.0.1", 0), backlog=512)
        end = socket.create_connection(listener.getsockname(), self.settings.patience)
        copy, _ = listener.accept()
        visitor = Visitor(Client(next(self._arrivals), sock_diag.cookie_of(copy), port), end, copy, self.settings)
        self._visitors.append(visitor)
        return visitor

    def clients(self) -> list[Visitor]:
        """All that have connected."""
        return list(self._visitors)

    def output(self) -> str:
        """The last that the programs have printed."""
        return "\n".join(filter(None, [self._output, *(server.testee.output() for server in self._servers)]))

    def close(self) -> None:
        """End everything."""
        for visitor in self._visitors:
            visitor.close()
        for server in self._servers:
            server.close()
        for listener in self._listeners.values():
            listener.close()


class Server:
    """One process of the program, as its Distributor has it."""

    def __init__(self, bench: Bench, testee: Testee, answer: int | None) -> None:
        """A program that has just been started; see `Bench.start`."""
        self.bench = bench
        self.testee = testee
        self.follower = Follower()
        self.answer = answer
        self.incarnation = 1
        self.acknowledges = True
        self.dialogs: dict[Port, channel.Socket] = {}
        self.requests: list[messages.BindRequest] = []
        self.ended: set[Port] = set()
        """The ports whose dialogs have ended; `CONTROL`."""
        self._came: dict[Port, deque[FromServer]] = {}
        """What has been checked, and not asked for by the case."""
        self._patience = bench.settings.patience

    # ------------------------------------------------ the Distributor

    @property
    def port(self) -> Port:
        """The first that the program has asked for.

        Raises:
            Failed: no dialog is open.
        """
        if not self.dialogs:
            raise Failed("a dialog that is open", "none: the program has ended, or closed them", ("OWN-3.5a",))
        return next(iter(self.dialogs))

    def send(self, port: Port, message: messages.ToServer, fds: Sequence[int] = ()) -> None:
        """Send a message on a dialog.

        Raises:
            BlockingIOError: it is full.
            Failed: nobody holds the other end.
        """
        intact = not isinstance(message, HandOff) or bool(fds)
        try:
            channel.send(self.dialogs[port], message, fds)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Failed(f"the dialog of port {port} is open", str(error.strerror), ("OWN-3.5a",)) from error
        self._note(f"-> port {port}: {show(message)}{'' if intact else ', without a descriptor'}")
        self.follower.sent(port, message, intact=intact)

    def send_bytes(self, port: Port, packet: bytes) -> None:
        """Send a packet that is no message of the protocol."""
        end = self.testee.control if port == CONTROL else self.dialogs[port]
        self._note(
            f"-> {'control' if port == CONTROL else f'port {port}'}: {len(packet)} bytes, {packet[:24].hex(' ')}"
        )
        try:
            end.send(packet)
        except OSError as error:
            raise Failed("the program goes on, whatever it is sent", str(error.strerror)) from error

    def send_control(self, message: messages.ControlToServer) -> None:
        """Send a message on the control socket."""
        with suppress(OSError):  # a program that does not read them is none the worse
            channel.send(self.testee.control, message)
            self._note(f"-> control: {show(message)}")

    def ask(self, port: Port | None = None, forget: Sequence[Client] = ()) -> None:
        """Send an InitialMsg of the Distributor that is now."""
        self.send(port or self.port, InitialMsg(self.incarnation, tuple(forget)))

    def hand_off(self, visitor: Visitor | None = None, port: Port | None = None, *, lost: bool = False) -> Visitor:
        """Hand a client over, a new one if none is given.

        Args:
            visitor: the client.
            port: by whose dialog.
            lost: its descriptor does not arrive.
        """
        chosen = port or self.port
        handed = visitor or self.bench.client(chosen)
        handed.meanwhile = lambda: self.pump(only=CONTROL)
        self.send(chosen, HandOff(handed.who), () if lost else (handed.copy.fileno(),))
        return handed

    def seat(self, port: Port | None = None) -> Visitor:
        """A client whom the server has accepted; the Distributor's copy is closed."""
        visitor = self.hand_off(port=port)
        self.expect(Accepted, visitor, port=port)
        visitor.let_go()
        return visitor

    def restarts(self) -> None:
        """The Distributor dies, and the next asks on all dialogs, the newest first; the Monitor has kept them.

        A port that is not listened on may be answered when the program looks for clients of another: so what wakes the
        program, a message on the port that was bound first, comes last.
        """
        self.incarnation += 1
        self._note(f"   a new Distributor, incarnation {self.incarnation}")
        for port in reversed(self.dialogs):
            self.ask(port)

    # ------------------------------------------------ what must come

    def asks_for_port(self) -> None:
        """Wait for the program's first request to bind."""
        patience = STARTS * self._patience
        self.until(lambda: bool(self.requests), "BindRequest", ("SERVER-no-listen",), patience=patience)

    def becomes_ready(self, port: Port | None = None) -> None:
        """Wait until the program has bound a port and listens there.

        Raises:
            Failed: it does not.
        """

        def ready() -> bool:
            ports = [port] if port else list(self.dialogs)
            return any(isinstance(message, RestartReply) for each in ports for message in self._came.get(each, ()))

        what = f"RestartReply on {f'port {port}' if port else 'a port of the program'}"
        self.until(ready, what, ("OWN-3.4a",), patience=STARTS * self._patience)
        for queue in self._came.values():
            queue.clear()

    def expect(
        self, kind: type[M], visitor: Visitor | None = None, *, port: Port | None = None, alone: bool = False
    ) -> M:
        """The next message on the dialog, which must be this one.

        Args:
            kind: what it must be.
            visitor: whom it must be about.
            port: of the dialog.
            alone: leave the other dialogs unread.
        """
        chosen = port or (visitor.who.port if visitor else self.port)
        queue = self._came.setdefault(chosen, deque())
        about = f" of client {visitor.who.arrival}" if visitor else ""
        what = f"{kind.__name__}{about} on port {chosen}"

        def has_come() -> bool:
            while queue and self._is_by_the_way(queue[0], kind, visitor):
                queue.popleft()
            return bool(queue)

        self.until(has_come, what, only=chosen if alone else None)
        message = queue.popleft()
        if not isinstance(message, kind) or (visitor and getattr(message, "client", None) != visitor.who):
            raise Failed(what, show(message))
        return message

    def answers_initial_msg(
        self, kind: type[RestartReply] | type[NotReady], port: Port | None = None, *, alone: bool = False
    ) -> None:
        """The next message must be of this kind, for the Distributor that is now; see `expect`."""
        message = self.expect(kind, port=port, alone=alone)
        if message.incarnation != self.incarnation:
            raise Failed(f"{kind.__name__} for incarnation {self.incarnation}", show(message), ("FIG9-RestartReply",))

    def says_nothing(self, seconds: float = QUIET, requirements: Sequence[str] = ()) -> None:
        """Nothing comes on any dialog in that time.

        Raises:
            Failed: something does.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.pump(left)
        for port, queue in self._came.items():
            came = [message for message in queue if not self._is_by_the_way(message, None, None)]
            queue.clear()
            if came:
                raise Failed(f"nothing on port {port}", show(came[0]), requirements)

    def _is_by_the_way(self, message: FromServer, kind: type[object] | None, visitor: Visitor | None) -> bool:
        """Whether it is a `Disconnect` that is not asked for: a client was served, and the program has let it go."""
        if not isinstance(message, Disconnect) or (
            kind is Disconnect and (visitor is None or message.client == visitor.who)
        ):
            return False
        return any(each.spoke and each.who == message.client for each in self.bench.clients())

    def until(
        self,
        condition: Callable[[], bool],
        what: str,
        requirements: Sequence[str] = (),
        *,
        only: Port | None = None,
        patience: float | None = None,
    ) -> None:
        """Receive until the condition holds; on ``only`` one dialog, if it is given; for so long, if that is given.

        Raises:
            Failed: it does not in time, or the program has ended.
        """
        seconds = patience or self._patience
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(what, f"nothing in {seconds:g} s", requirements)
            if CONTROL in self.ended and not self.dialogs:
                raise Failed(what, f"the end of the program (status {self.testee.code()})", requirements)
            self.pump(min(left, 0.1), only)

    # ------------------------------------------------ reading

    def pump(self, seconds: float = 0.0, only: Port | None = None) -> None:
        """Receive what there is, waiting for so long at most for the first of it; of the dialogs on ``only`` one."""
        poll = select.poll()
        ends = {
            dialog.fileno(): (port, dialog) for port, dialog in self.dialogs.items() if only is None or port == only
        }
        if CONTROL not in self.ended:
            ends[self.testee.control.fileno()] = (CONTROL, self.testee.control)
        for fd in ends:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(max(seconds, 0.0) * 1000):
            port, end = ends[fd]
            while self._take(port, end):
                pass

    def take(self, port: Port) -> list[FromServer]:
        """All that has come on the dialog by now."""
        self.pump()
        queue = self._came.setdefault(port, deque())
        taken = list(queue)
        queue.clear()
        return taken

    def is_read_within(self, port: Port, seconds: float) -> bool:
        """Whether the program reads, in that time, all that was sent on the dialog."""
        deadline = time.monotonic() + seconds
        while unread := struct.unpack("i", fcntl.ioctl(self.dialogs[port], termios.TIOCOUTQ, bytes(4)))[0]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.0002)
        return not unread

    def read_one(self, port: Port) -> FromServer | None:
        """Take one message of a dialog and leave the rest unread; None where there is none."""
        queue = self._came.setdefault(port, deque())
        if not queue:
            self._take(port, self.dialogs[port])
        return queue.popleft() if queue else None

    def _take(self, port: Port, end: channel.Socket) -> bool:
        where = "the control socket" if port == CONTROL else f"the dialog of port {port}"
        try:
            packet = channel.receive(end)
        except BlockingIOError:
            return False
        except wire.WireError as error:
            raise Failed(
                f"a message of the protocol on {where}", f"{error}", ("MSG-server_process_message",)
            ) from error
        if packet is None:
            self.ended.add(port)
            self.dialogs.pop(port, None)
            self._note(f"<- {where}: the end")
            return False
        message = packet.message
        self._note(f"<- {'control' if port == CONTROL else f'port {port}'}: {show(message)}")
        if port == CONTROL:
            self._on_control(packet)
            return True
        channel.close(packet.fds)
        if packet.fds or not isinstance(message, _FROM_SERVER):
            came = f"{show(message)}{' with a descriptor' if packet.fds else ''}"
            raise Failed(f"a message of a server on {where}", came, ("OWN-3.5c",))
        self.follower.received(port, message)
        self._came.setdefault(port, deque()).append(message)
        if self.acknowledges and isinstance(message, Disconnect | NotReady):
            self.send_control(Acknowledge(message.count.sequence))
        return True

    def _on_control(self, packet: channel.Packet) -> None:
        request, fds = packet.message, packet.fds
        if not isinstance(request, messages.BindRequest):
            channel.close(fds)
            raise Failed("BindRequest, and nothing else, on the control socket", show(request), ("OWN-3.5c",))
        if not 0 < request.port < 65_536:
            channel.close(fds)
            raise Failed("BindRequest of a port from 1 to 65535", show(request), ("DATA-PortInfo.portNumber",))
        if len(fds) != 1 or not channel.is_end(fds[0]):
            channel.close(fds)
            came = f"{show(request)} with {len(fds)} descriptors" if len(fds) != 1 else f"{show(request)} with another"
            raise Failed("with BindRequest the Distributor's end of a dialog", came, ("OWN-3.5a",))
        self.requests.append(request)
        fresh = self.answer == 0 and request.port not in self.dialogs
        if fresh:
            self.dialogs[request.port] = channel.attach(fds[0])
            self.follower.bound(request.port)
        else:
            channel.close(fds)
        if self.answer is not None:
            self.send_control(messages.BindReply(request.port, self.answer))
        if fresh:
            self.ask(request.port)

    # ------------------------------------------------ the kernel's account

    def agrees_with_kernel(self) -> None:
        """Of the clients, the server has just those whom it counts.

        Raises:
            Failed: another connection is open, or one of them is not.
        """
        deadline = time.monotonic() + self._patience
        while True:
            self.pump()
            counted = set(self.follower.state.clients)
            kept = self.kept_by_kernel()
            if counted == kept or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        names = [", ".join(str(who.arrival) for who in sorted(some)) or "nobody" for some in (counted, kept)]
        if counted != kept:
            raise Failed(
                f"the server holds the connections of those whom it counts (clients {names[0]})",
                f"by the kernel's account it holds those of clients {names[1]}",
                ("OWN-3.3f", "OWN-3.3h"),
            )

    def kept_by_kernel(self) -> set[Client]:
        """The clients whose connections somebody holds, beside the kit: those whose copy the kit has closed."""
        visitors = [visitor for visitor in self.bench.clients() if visitor.copy.fileno() < 0]
        gone = sock_diag.Connections().gone({(visitor.who.cookie, visitor.local_port) for visitor in visitors})
        return {visitor.who for visitor in visitors if visitor.who.cookie not in gone}

    def has_ended(self) -> bool:
        """Whether the program has ended: nobody holds its control socket."""
        return CONTROL in self.ended

    def listens_itself(self, port: Port) -> bool:
        """Whether a process of the program has a TCP socket of its own that listens on the port."""
        inodes = set()
        for table in ("tcp", "tcp6"):
            with suppress(OSError):
                for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                    words = line.split()
                    if words[3] == LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                        inodes.add(int(words[9]))
        return bool(inodes) and self.testee.holds_any(inodes)

    def descriptors(self) -> int:
        """How many descriptors the main process has."""
        return len(os.listdir(f"/proc/{self.testee.pid}/fd"))

    # ------------------------------------------------ the end

    def dies(self) -> None:
        """Kill the program; its dialogs end with it.

        Raises:
            Failed: they do not.
        """
        self._note("   the program is killed")
        self.testee.signal(signal.SIGKILL)
        self.until_ended(("OWN-3.5d",))

    def until_ended(self, requirements: Sequence[str]) -> None:
        """Wait until all dialogs and the control socket have ended."""
        deadline = time.monotonic() + self._patience
        while (self.dialogs or CONTROL not in self.ended) and time.monotonic() < deadline:
            self.pump(0.1)
        if self.dialogs or CONTROL not in self.ended:
            still = [f"port {port}" for port in self.dialogs] or ["control"]
            raise Failed("with the program its channels end", f"open: {', '.join(still)}", requirements)

    def close(self) -> None:
        """End the program, and close all that belongs to it."""
        with suppress(ProcessLookupError):
            self.testee.go_on()
        self.testee.end([dialog.fileno() for dialog in self.dialogs.values()])
        for dialog in self.dialogs.values():
            dialog.close()

    def _note(self, line: str) -> None:
        self.bench.exchange.append(line)
