"""A small HTTP server on asyncio, single-threaded: what most of the comparison is made with.

    python loop.py PORT        serves 127.0.0.1:PORT

``GET /`` answers 64 bytes that begin with the server's pid; ``GET /N`` answers N bytes.  A request that says
``Connection: close`` is the last of its connection; otherwise more may follow.
"""

from __future__ import annotations

import asyncio
import os
import sys

SMALL = f"{os.getpid()}".ljust(63).encode() + b"\n"
CHUNK = bytes(256 * 1024)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.unread = b""
        self.owed = 0
        self.last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while not self.owed and b"\r\n\r\n" in self.unread:
            request, self.unread = self.unread.split(b"\r\n\r\n", 1)
            self.answer(request)

    def answer(self, request: bytes) -> None:
        """Begin to answer; `resume_writing` sends what the socket's buffer has no room for yet."""
        path = request.split(b" ", 2)[1]
        self.last = b"Connection: close" in request
        self.owed = 0 if path == b"/" else int(path[1:])
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (self.owed or len(SMALL))
        self.paused = False
        self.transport.write(head if self.owed else head + SMALL)
        self.send_owed()

    def send_owed(self) -> None:
        while self.owed and not self.paused:
            part = CHUNK[: self.owed]
            self.owed -= len(part)
            self.transport.write(part)
        if self.last and not self.owed:
            self.transport.close()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self.send_owed)  # asyncio is in the middle of a write of its own here


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
