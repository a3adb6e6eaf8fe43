"""A server for crowds: one thread, one epoll, so that thousands of idle clients cost it little.

    python sink.py HOST:PORT [keep] [tires=FILE] [dies=FILE]

It greets as `tests/system/servers/greeter.py` does, then echoes lines.  ``keep``: it never closes a connection, not
even one whose client has left.  ``tires``: while the file is there, it closes who has begun a line and not ended it.
``dies``: it ends at once, with status 1, while the file is there.  It knows nothing of maitred.
"""

import os
import selectors
import socket
import sys

SO_COOKIE = 57


class Sink:
    def __init__(self, address, keep, tires):
        host, _, port = address.rpartition(":")
        self.keep = keep
        self.tires = tires
        self.selector = selectors.DefaultSelector()
        self.halves = {}
        """Of each connection, the line that has begun."""
        self.kept = []
        self.listener = socket.create_server((host, int(port)), backlog=128)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def serve(self):
        while True:
            for key, _ in self.selector.select(0.1 if self.tires else None):
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.read(key.fileobj)
            if self.tires and os.path.exists(self.tires):
                for connection in [each for each, half in self.halves.items() if half]:
                    self.end(connection)

    def accept(self):
        try:
            connection, (host, port) = self.listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        cookie = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
        self.selector.register(connection, selectors.EVENT_READ)
        self.halves[connection] = b""
        self.write(connection, f"welcome {os.getpid()} {cookie} {host} {port}\n".encode())

    def read(self, connection):
        try:
            piece = connection.recv(4096)
        except OSError:
            piece = b""
        if not piece:
            self.end(connection)
            return
        whole, newline, self.halves[connection] = (self.halves[connection] + piece).rpartition(b"\n")
        self.write(connection, whole + newline)

    def write(self, connection, text):
        try:
            connection.send(text)
        except OSError:
            return  # gone, as reading will show

    def end(self, connection):
        self.selector.unregister(connection)
        del self.halves[connection]
        if self.keep:
            self.kept.append(connection)
        else:
            connection.close()


if __name__ == "__main__":
    options = dict(option.partition("=")[::2] for option in sys.argv[2:])
    if os.path.exists(options.get("dies", "")):
        sys.exit(1)
    Sink(sys.argv[1], "keep" in options, options.get("tires")).serve()
