"""A Distributor of cardboard, and a way to start real programs behind it as the Monitor would.

It holds the other ends of all channels of one server: it sends what a test has it send, and notes all it receives.
"""

import contextlib
import gc
import itertools
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.machine import PATIENCE, free_port

import maitred
from maitred.core import wire
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    BindReply,
    BindRequest,
    Client,
    Disconnect,
    HandOff,
    InitialMsg,
    NotReady,
    RestartReply,
)
from maitred.shell.inside.exec_server import CODE
from maitred.shell.io import channel
from maitred.shell.io.registry import Reader, Registry, create

HOME = str(Path(maitred.__file__).resolve().parent.parent)
SO_COOKIE = 57


def cookie_of(connection):
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


class Memory:
    """A registry, as a process of the server has it and as its Distributor reads it."""

    def __init__(self, capacity):
        self._registry = Registry(create(capacity))
        self._reader = Reader(self._registry.fd, capacity)

    def __getattr__(self, name):
        return getattr(self._registry if hasattr(self._registry, name) else self._reader, name)


class Distributor:
    """The other side of one server."""

    def __init__(self, capacity=64):
        self.control, self.theirs = channel.pair()
        self.registry = Memory(capacity)
        self.dialogs = {}
        self.received = []
        """Every message from a dialog, in order."""
        self.binds = []
        self.acknowledge = True
        self.bind_errno = {}
        self.silent_binds = 0
        """So many requests to bind are not answered."""
        self.incarnation = 1
        self.ended = set()
        self._arrivals = itertools.count()
        self._listeners = {}
        self._mark = 0

    # ------------------------------------------------ receiving

    def pump(self, seconds=0.0):
        """Receive what there is, waiting for so long at most for the first of it."""
        poll = select.poll()
        sources = {self.control.fileno(): (0, self.control)}
        sources |= {dialog.fileno(): (port, dialog) for port, dialog in self.dialogs.items()}
        for fd in sources:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(max(seconds, 0) * 1000):
            port, source = sources[fd]
            while self._take(port, source):
                pass

    def _take(self, port, source):
        try:
            packet = channel.receive(source)
        except BlockingIOError:
            return False
        except wire.WireError as error:
            self.received.append((port, error))
            return True
        if packet is None:
            self.ended.add(port)
            self.dialogs.pop(port, None)
            return False
        if isinstance(packet.message, BindRequest):
            self._bind(packet)
        else:
            self.received.append((port, packet.message))
            if isinstance(packet.message, Disconnect | NotReady) and self.acknowledge:
                if isinstance(packet.message, NotReady) and not packet.message.incarnation:
                    channel.send(self.dialogs[port], InitialMsg(self.incarnation))
                with contextlib.suppress(BrokenPipeError):  # the program has ended meanwhile
                    channel.send(self.control, Acknowledge(packet.message.count.sequence))
        return True

    def _bind(self, packet):
        port = packet.message.port
        self.binds.append(packet.message)
        if self.silent_binds:
            self.silent_binds -= 1
            channel.close(packet.fds)
            return
        errno = self.bind_errno.get(port, 0)
        known = port in self.dialogs
        if known or errno:
            channel.close(packet.fds)
        else:
            self.dialogs[port] = channel.attach(packet.fds[0])
        channel.send(self.control, BindReply(port, errno))
        if not known and not errno:
            channel.send(self.dialogs[port], InitialMsg(self.incarnation))

    def until(self, condition, within=PATIENCE):
        """Receive until the condition holds."""
        deadline = time.monotonic() + within
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {within} s; received: {self.received}")
            self.pump(min(left, 0.1))

    def next(self, kind, within=PATIENCE):
        """The next message of that kind since the last that was asked for."""

        def found():
            return next(
                (i for i in range(self._mark, len(self.received)) if isinstance(self.received[i][1], kind)), None
            )

        self.until(lambda: found() is not None, within)
        index = found()
        self._mark = index + 1
        return self.received[index][1]

    def quiet(self, seconds=0.2):
        """What is received in so many seconds."""
        before = len(self.received)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.pump(left)
        return [message for _, message in self.received[before:]]

    def ready(self, port):
        """Wait until the server listens on the port."""
        self.until(lambda: any(p == port and isinstance(m, RestartReply) for p, m in self.received))

    # ------------------------------------------------ sending

    def connect(self, port, family=socket.AF_INET):
        """A client and the connection that a Distributor would have accepted for it."""
        if family not in self._listeners:
            self._listeners[family] = socket.create_server(
                ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family
            )
        listener = self._listeners[family]
        client = socket.create_connection(listener.getsockname()[:2], PATIENCE)
        client.settimeout(PATIENCE)
        connection, _ = listener.accept()
        return client, connection, Client(next(self._arrivals), cookie_of(connection), port)

    def hand_off(self, port, family=socket.AF_INET):
        """A client, handed to the server; the Distributor's copy is closed at once: the reply is sure to come."""
        client, connection, who = self.connect(port, family)
        channel.send(self.dialogs[port], HandOff(who), [connection.fileno()])
        return client, connection, who

    def seat(self, port, family=socket.AF_INET):
        """A client that the server has accepted."""
        client, connection, who = self.hand_off(port, family)
        accepted = self.next(Accepted)
        connection.close()
        assert accepted.client == who
        return client, who, accepted.count.clients

    def close(self):
        for end in (self.control, self.theirs, *self.dialogs.values(), *self._listeners.values()):
            end.close()
        self.registry.close()


class Program:
    """A real program, started as the Monitor starts it."""

    def __init__(
        self,
        distributor,
        *program,
        trace=None,
        options=(),
        environment=None,
        open_files=None,
        directory=None,
        listen=(),
    ):
        fds = {"control": distributor.theirs.fileno(), "registry": distributor.registry.fd, "trace": trace}
        known = {"version": 1, "class": 0, "server": 7, **fds, "listen": [*listen], "main": "PID"}
        identity = json.dumps(known).replace('"PID"}', "")
        shell = 'MAITRED_SERVER="$1$$}"; export MAITRED_SERVER; shift; exec "$@"'
        python = [sys.executable, *options, "-c", CODE.format(home=HOME), *map(str, program)]
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", shell, "sh", identity, *python],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[fd for fd in fds.values() if fd is not None],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            cwd=directory,
            preexec_fn=None if open_files is None else lambda: _limit(open_files),
            start_new_session=True,
        )
        self.output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        distributor.theirs.close()

    def _read(self):
        while chunk := os.read(self.process.stdout.fileno(), 65_536):
            self.output += chunk

    def wait(self, within=PATIENCE):
        code = self.process.wait(within)
        self._reader.join(within)
        return code

    def kill(self):
        """End the whole session, which is this program's alone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self._reader.join(PATIENCE)
        self.process.stdout.close()


def _limit(open_files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))


@contextlib.contextmanager
def behind(*program, capacity=64, **options):
    """A Distributor and the program behind it, which is ended with all its processes whatever happens."""
    distributor = Distributor(capacity)
    running = Program(distributor, *program, **options)
    try:
        yield distributor, running
    finally:
        running.kill()
        print(running.output.decode(errors="replace"))
        distributor.close()


def assert_counts_together(program):
    """The processes of the program, which takes three clients, have one count and one registry."""
    port = free_port()
    with behind("script", program, port) as (distributor, _):
        distributor.ready(port)
        seated = [distributor.seat(port) for _ in range(3)]
        assert [count for _, _, count in seated] == [1, 2, 3]
        assert set(distributor.registry.clients()) == {who for _, who, _ in seated}
        for client, _, _ in seated:
            client.close()


def descriptors_at_rest():
    """The open descriptors of this process, without those that earlier tests have left to the garbage collector.

    For the first look of two: a collection before the second would close what has leaked.
    """
    gc.collect()
    return os.listdir("/proc/self/fd")


def script(directory, text, name="program.py"):
    """A program as a file."""
    path = directory / name
    path.write_text(text)
    return path


def eventually(condition, within=PATIENCE):
    """Wait until the condition holds, and give what it returned."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.005)
    return found
