"""An ordinary server that listens and closes on demand: what it is asked to do comes from its clients, a word a line.

It knows nothing of maitred.  ``maitred conform endpoint --directed`` needs a program that obeys these words, in any
language: only so can it see what an endpoint does when its program closes a listener.

===============  ===================================================================================================
line             what the program does, and then answers with a line
===============  ===================================================================================================
``bind PORT``    binds a socket to the port, and does not listen yet: ``bound``, or ``error NUMBER``; where it has
                 bound the port already, one more, at another address
``listen PORT``  listens there, perhaps once more; binds first where it has not: ``listening``
``close PORT``   closes the listener: ``closed``
anything else    is answered with the same line
===============  ===================================================================================================
"""

from __future__ import annotations

import selectors
import socket
import sys


class Program:
    """The server."""

    def __init__(self, port: int) -> None:
        """It listens on the port."""
        self.loop = selectors.DefaultSelector()
        self.listeners: dict[int, socket.socket] = {}
        self.further: list[socket.socket] = []
        self.rest: dict[socket.socket, bytes] = {}
        self.listen(port)

    def bind(self, port: int) -> str:
        """Bind a socket; at a further address where the port is bound already."""
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.2" if port in self.listeners else "127.0.0.1", port))
        except OSError as error:
            made.close()
            return f"error {error.errno}"
        if port in self.listeners:
            self.further.append(made)
        else:
            self.listeners[port] = made
        return "bound"

    def listen(self, port: int) -> str:
        """Accept clients there."""
        if port not in self.listeners and (answer := self.bind(port)) != "bound":
            return answer
        listener = self.listeners[port]
        listener.listen()
        listener.setblocking(False)
        if listener not in self.loop.get_map():
            self.loop.register(listener, selectors.EVENT_READ, self.accept)
        return "listening"

    def close(self, port: int) -> str:
        """Accept no more there."""
        listener = self.listeners.pop(port)
        self.loop.unregister(listener)
        listener.close()
        return "closed"

    def accept(self, listener: socket.socket) -> None:
        """Take the next client."""
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.setblocking(True)
        self.rest[client] = b""
        self.loop.register(client, selectors.EVENT_READ, self.read)

    def read(self, client: socket.socket) -> None:
        """Do what the client asks for."""
        try:
            chunk = client.recv(4096)
        except OSError:
            chunk = b""
        if not chunk:
            self.loop.unregister(client)
            del self.rest[client]
            client.close()
            return
        *lines, self.rest[client] = (self.rest[client] + chunk).split(b"\n")
        for line in lines:
            client.sendall(self.obey(line.decode(errors="replace")).encode() + b"\n")

    def obey(self, line: str) -> str:
        """Do what a line says; the answer."""
        word, _, number = line.partition(" ")
        words = {"bind": self.bind, "listen": self.listen, "close": self.close}
        return words[word](int(number)) if word in words and number.isdecimal() else line

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for key, _ in self.loop.select():
                key.data(key.fileobj)


if __name__ == "__main__":
    Program(int(sys.argv[1]) if len(sys.argv) > 1 else 4049).run()
