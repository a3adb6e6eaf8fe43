"""The same answers as `loop.py`, from a `socketserver` with one thread for each connection.

python threads.py PORT     serves 127.0.0.1:PORT
"""

from __future__ import annotations

import os
import socketserver
import sys

SMALL = f"{os.getpid()}".ljust(63).encode() + b"\n"
CHUNK = bytes(256 * 1024)


class Client(socketserver.StreamRequestHandler):
    """One connection."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        last = False
        while not last and (request := self.rfile.readline()):
            size = int(request.split(b" ", 2)[1][1:] or 0)
            for line in iter(self.rfile.readline, b"\r\n"):
                if not line:
                    return
                last = last or line == b"Connection: close\r\n"
            self.answer(size)

    def answer(self, size: int) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size or len(SMALL))
        self.wfile.write(head if size else head + SMALL)
        while size > 0:
            size -= self.wfile.write(CHUNK[:size])


class Server(socketserver.ThreadingTCPServer):
    """Where the connections come in."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100  # asyncio's own default, so that both servers queue alike


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Client) as server:
        server.serve_forever()
