"""A server that speaks the endpoint's protocol itself, in plain sight, to test the Monitor and the Distributor alone.

It is started in the interpreter's place and listens on the ports that its program's arguments name, as
``PORT@HOST:PORT``.  To each client it sends ``PID COOKIE`` and then echoes lines.  A line ``!exit N`` ends it with that
status, ``!fork`` leaves a child behind that holds everything, ``!forget`` closes the other connections without counting
them out, ``!hang`` makes it deaf, and ``!close`` closes the virtual listener of the client's port.
"""

import contextlib
import json
import os
import select
import socket
import sys
import time

from maitred.core import server as core
from maitred.core.messages import BindReply, BindRequest, HandOff
from maitred.core.transition import Transition
from maitred.core.wire import WireError
from maitred.shell.io import channel
from maitred.shell.io.registry import Registry
from maitred.shell.observe.trace import Trace


class FakeServer:
    def __init__(self, listeners):
        me = json.loads(os.environ["MAITRED_SERVER"])
        assert me["main"] == os.getpid()
        self.control = channel.attach(me["control"])
        self.registry = Registry.open(me["registry"])
        self.trace = Trace(me["trace"], f"server {me['class']} {me['server']}")
        self.trace.start()
        self.state = core.EndpointState()
        self.dialogs = {}
        self.connections = {}
        self.poll = select.poll()
        for port, address in listeners:
            self.bind(port, address)

    def bind(self, port, address):
        mine, theirs = channel.pair()
        for _ in range(20):
            channel.send(self.control, BindRequest(port, address), (theirs.fileno(),))
            ready = select.select([self.control], [], [], 1.0)[0]
            if ready:
                break
        else:
            sys.exit("no reply to a bind")
        theirs.close()
        while True:
            packet = channel.receive(self.control)
            if packet is None:
                sys.exit("no Distributor")
            if isinstance(packet.message, BindReply):
                break
        if packet.message.errno:
            sys.exit(f"bind: {os.strerror(packet.message.errno)}")
        self.dialogs[port] = mine
        self.poll.register(mine, select.POLLIN)
        self.step(core.Bound(port))
        self.step(core.Listened(port))

    def step(self, event, descriptor=None):
        self.trace.event(event)
        with self.registry.locked():
            old = self.registry.load()
            outcome = core.step(self.state, event)
            if not isinstance(outcome, Transition):
                self.trace.rejected(outcome.reason)
                return
            self.registry.save(old, outcome.state)
        self.state = outcome.state
        for effect in outcome.effects:
            match effect:
                case core.Deliver():
                    self.deliver(effect.client)
                case core.Discard():
                    if descriptor is not None:
                        os.close(descriptor)
            self.trace.effect(effect)
            if isinstance(effect, core.Deliver):
                connection, _ = self.connections[self.latest]
                connection.send(f"{os.getpid()} {effect.client.cookie}\n".encode())
        if isinstance(event, core.MessageRead) and isinstance(event.message, HandOff) and not outcome.effects:
            self.taken = descriptor
        while self.state.outbox:
            reply = self.state.outbox[0]
            with contextlib.suppress(BrokenPipeError):
                channel.send(self.dialogs[reply.port], reply.message)
            self.step(core.Sent(reply))

    def deliver(self, client):
        connection = socket.socket(fileno=self.taken)
        self.latest = connection.fileno()
        self.connections[self.latest] = (connection, client)
        self.poll.register(connection, select.POLLIN)

    def run(self):
        ports = {dialog.fileno(): port for port, dialog in self.dialogs.items()}
        while True:
            for fd, _ in self.poll.poll():
                if fd in ports:
                    self.dialog(ports[fd])
                else:
                    self.client(fd)
            self.acknowledged()

    def acknowledged(self):
        try:
            while channel.receive(self.control):
                pass
        except BlockingIOError:
            pass

    def dialog(self, port):
        try:
            packet = channel.receive(self.dialogs[port])
        except (BlockingIOError, WireError):
            return
        if packet is None:  # orphaned, and no Monitor will ever give a Distributor our dialog again
            sys.exit("the dialog has ended")
        descriptor = packet.fds[0] if packet.fds else None
        self.step(core.MessageRead(port, packet.message, descriptor is not None), descriptor)

    def client(self, fd):
        connection, client = self.connections[fd]
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        for line in data.splitlines():
            self.command(line.decode(), client)
        if data:
            try:
                connection.sendall(data)
                return
            except OSError:
                pass
        self.poll.unregister(fd)
        del self.connections[fd]
        connection.close()
        self.step(core.Disconnected(client))

    def command(self, line, client):
        match line.split():
            case ["!exit", status]:
                os._exit(int(status))
            case ["!fork"]:
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(600)
                    os._exit(0)
            case ["!forget"]:
                for fd, (connection, other) in list(self.connections.items()):
                    if other != client:
                        self.poll.unregister(fd)
                        del self.connections[fd]
                        connection.close()
            case ["!hang"]:
                print("hangs", flush=True)
                time.sleep(600)
            case ["!close"]:
                self.step(core.ListenerClosed(client.port))


def main():
    arguments = sys.argv[sys.argv.index("script") + 2 :]
    if arguments and arguments[0] == "exit":
        sys.exit(int(arguments[1]))
    if arguments and arguments[0] == "sleep":
        time.sleep(600)
    FakeServer([(int(port), address) for port, _, address in (word.partition("@") for word in arguments)]).run()


if __name__ == "__main__":
    main()
