"""The same answers from a plain blocking `socketserver`, which serves one connection after the other.

python blocking.py PORT                     serves 127.0.0.1:PORT
python blocking.py PORT shared COPIES       forks so many processes that accept from one listener
python blocking.py PORT reuseport COPIES    forks so many processes, each with a listener of its own (SO_REUSEPORT)
"""

from __future__ import annotations

import os
import socketserver
import sys
from time import sleep


class Client(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        last = False
        while not last and (request := self.rfile.readline()):
            for line in iter(self.rfile.readline, b"\r\n"):
                if not line:
                    return
                last = last or line == b"Connection: close\r\n"
            path = request.split(b" ", 2)[1]
            if path.startswith(b"/sleep/"):
                sleep(int(path[7:]) / 1e6)
            size = int(path[1:] or 0) if path[1:].isdigit() else 0
            body = bytes(size) if size else f"{os.getpid()}".ljust(63).encode() + b"\n"
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


class Server(socketserver.TCPServer):
    """Where the connections come in."""

    allow_reuse_address = True
    request_queue_size = 100  # asyncio's own default, so that all servers queue alike


def main(port: int, mode: str = "", copies: str = "1") -> None:
    Server.allow_reuse_port = mode == "reuseport"
    server = None if mode == "reuseport" else Server(("127.0.0.1", port), Client)
    for _ in range(int(copies) - 1):
        if os.fork() == 0:
            break  # the first of the copies is this process
    (server or Server(("127.0.0.1", port), Client)).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
