"""An Application Server that keeps the start contract by itself: the core's endpoint, and a loop of its own around it.

It shows how little a shell has to do: read a message, make the step, perform the effects, send what is in the outbox.
Its clients have it listen and close, by the words of `maitred.conform.program`; so the kit can ask all of it:

    maitred conform endpoint --directed --as-is -- python examples/ports/python/endpoint.py 4049

It is one process of one thread.  What may be left out then is left out: a process that dies in the middle of a step.
"""

import errno
import json
import os
import select
import socket
import sys
from array import array

from maitred.core import messages, server, wire
from maitred.core.transition import Rejected

AGAIN = 1.0
"""Seconds after which a request that was not answered is sent again."""


class Endpoint:
    """The machine, its dialogs and its clients."""

    def __init__(self, control, host="127.0.0.1"):
        self.state = server.EndpointState()
        self.control = control
        self.host = host
        self.dialogs = {}
        self.taken = {}
        """By client, the connections that are not delivered yet."""
        self.served = {}
        """By descriptor, the connection, the client, and what has been read of a line."""

    # ------------------------------------------------ steps

    def handle(self, event):
        """Let the event happen, perform its effects, and send what there is to say; whether it was allowed."""
        made = server.step(self.state, event)
        if isinstance(made, Rejected):
            return False
        self.state = made.state
        for effect in made.effects:
            if isinstance(effect, server.Deliver):
                self.deliver(effect.client)
            else:
                self.discard(effect.client)
        return True

    def flush(self):
        """Send the replies, on each dialog the oldest first, as far as there is room."""
        for port in {reply.port for reply in self.state.outbox}:
            while (reply := server._next_on(self.state, port)) is not None and self.is_sent(reply):
                self.handle(server.Sent(reply))

    def is_sent(self, reply):
        """Whether the reply is in the socket; where nobody reads there any more, it is dropped."""
        dialog = self.dialogs.get(reply.port)
        try:
            if dialog is not None:
                dialog.send(wire.encode(reply.message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                return True
        except BlockingIOError:
            return False
        except OSError:
            self.dialogs.pop(reply.port).close()
        if isinstance(reply.message, messages.Accepted):
            self.discard(reply.message.client)
        return True

    # ------------------------------------------------ dialogs

    def bind(self, port):
        """Ask the Distributor for the port, until it answers: 0, or the number of an error."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            reply = None
            while reply is None:
                request = wire.encode(messages.BindRequest(port, f"{self.host}:{port}"))
                socket.send_fds(self.control, [request], [theirs.fileno()])
                reply = self.reply_for(port)
        if reply == 0:
            self.handle(server.Bound(port))
        if reply or port in self.dialogs:
            mine.close()
        else:
            self.dialogs[port] = mine
        return reply

    def reply_for(self, port):
        """What the Distributor answers; None where it does not."""
        while select.select([self.control], [], [], AGAIN)[0]:
            message = self.read_control()
            if isinstance(message, messages.BindReply) and message.port == port:
                return message.errno
        return None

    def read_control(self):
        """The next message on the control socket, which the machine is told of, if it is one."""
        try:
            packet = self.control.recv(wire.LIMIT)
            message = wire.decode(packet) if packet else sys.exit("the control socket has ended")
        except (wire.WireError, ConnectionResetError):
            return None
        if isinstance(message, messages.Acknowledge):
            self.handle(server.Acknowledged(message))
        return message

    def read_dialog(self, port):
        """Take one message of the dialog."""
        try:
            packet, fds = receive(self.dialogs[port])
        except ConnectionResetError:
            return  # the data that was sent before can be read yet
        connection = socket.socket(fileno=fds[0]) if fds else None
        if not packet:
            self.dialogs.pop(port).close()
            return
        try:
            message = wire.decode(packet)
        except wire.WireError:
            message = None
        if isinstance(message, messages.HandOff) and connection is not None:
            self.taken[message.client] = connection
        taken = isinstance(message, messages.ToServer) and self.handle(
            server.MessageRead(port, message, intact=connection is not None)
        )
        if not taken and connection is not None:
            self.taken = {client: kept for client, kept in self.taken.items() if kept is not connection}
            connection.close()

    # ------------------------------------------------ clients

    def deliver(self, client):
        """The client is the program's now: see at once what it has said."""
        connection = self.taken.pop(client)
        connection.setblocking(False)
        self.served[connection.fileno()] = (connection, client, b"")
        self.read_client(connection.fileno())

    def discard(self, client):
        """Close what has come of the client."""
        if client in self.taken:
            self.taken.pop(client).close()

    def read_client(self, fd):
        """Do what the client asks for; where it has left, say so."""
        connection, client, before = self.served[fd]
        try:
            chunk = connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            del self.served[fd]
            connection.close()
            self.handle(server.Disconnected(client))
            return
        *lines, rest = (before + chunk).split(b"\n")
        self.served[fd] = (connection, client, rest)
        for line in lines:
            answer = self.obey(line.decode(errors="replace"))
            try:
                connection.send(answer.encode() + b"\n")
            except OSError:
                break  # it has left, which is seen in a moment

    def obey(self, line):
        """Do what a line says; the answer."""
        word, _, number = line.partition(" ")
        port = int(number) if number.isdecimal() else 0
        if word == "bind" and port:
            reply = self.bind(port)
            return f"error {reply}" if reply else "bound"
        if word == "listen" and port:
            if port not in self.dialogs and (reply := self.bind(port)):
                return f"error {reply}"
            self.handle(server.Listened(port))
            return "listening"
        if word == "close" and port:
            self.handle(server.ListenerClosed(port))
            return "closed"
        return line

    # ------------------------------------------------ the loop

    def run(self):
        """Serve until nobody can come any more and everybody has left."""
        while self.dialogs or self.served:
            self.flush()
            poll = select.poll()
            poll.register(self.control, select.POLLIN)
            for dialog in self.dialogs.values():
                has_room = bool(select.select([], [dialog], [], 0)[1])  # a message is read where its answer has room
                poll.register(dialog, select.POLLIN if has_room else select.POLLOUT)
            for fd in self.served:
                poll.register(fd, select.POLLIN)
            ready = dict(poll.poll())
            if self.control.fileno() in ready:
                self.read_control()
            for port, dialog in list(self.dialogs.items()):
                if ready.get(dialog.fileno(), 0) & ~select.POLLOUT:
                    self.read_dialog(port)
            for fd in [fd for fd in self.served if fd in ready]:
                self.read_client(fd)


def receive(dialog, flags=0):
    """The next packet of the dialog, and the descriptors that came with it."""
    packet, ancillary, _, _ = dialog.recvmsg(wire.LIMIT, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC | flags)
    fds = array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return packet, fds


def main(port, kind=Endpoint):
    """Become the server that the environment describes."""
    start = json.loads(os.environ.pop("MAITRED_SERVER"))
    if start["version"] != 1:
        sys.exit(f"the start contract has version {start['version']}; known here is 1")
    os.set_inheritable(start["control"], False)
    endpoint = kind(socket.socket(fileno=start["control"]))
    reply = endpoint.bind(port)
    if reply == messages.BIND_YOURSELF:
        sys.exit(f"port {port} is none of the server class")
    if reply:
        sys.exit(f"port {port}: {errno.errorcode.get(reply, reply)}")
    endpoint.handle(server.Listened(port))
    endpoint.run()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4049)
