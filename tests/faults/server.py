"""The program of a fault campaign: greets, echoes what it is sent with its digest, and notes whom it serves.

    python server.py KIND HOST PORT NOTES

It knows nothing of maitred.  KIND is ``threading``, ``forking`` or ``asyncio``.  A client is greeted with
``welcome PID COOKIE``; a request is a line ``NAME SIZE`` and SIZE bytes, its answer ``NAME SIZE SHA256`` and the same
bytes.  In NOTES each connection leaves ``accept PID COOKIE AT`` and ``handle PID COOKIE AT``, each request
``serve PID COOKIE NAME``: with the kernel's own name of the connection, so that nobody need be believed.
"""

import asyncio
import hashlib
import os
import socket
import socketserver
import sys
import time

SO_COOKIE = 57
BACKLOG = 4096
"""As maitred listens, for when nothing stands in front.  With the 5 of socketserver a crowd overflows the backlog: the
kernel then answers with SYN cookies, forgets the client whose last packet finds no room silently.  A client
that waits for a greeting would wait for ever."""
KIND, HOST, PORT, NOTES = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
notes = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(what, cookie, *words):
    words = words or (time.monotonic(),)
    os.write(notes, (" ".join(map(str, (what, os.getpid(), cookie, *words))) + "\n").encode())


def cookie_of(connection):
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


def greeting(cookie):
    return f"welcome {os.getpid()} {cookie}\n".encode()


def answer(name, payload):
    return f"{name} {len(payload)} {hashlib.sha256(payload).hexdigest()}\n".encode() + payload


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        cookie = cookie_of(self.request)
        note("handle", cookie)
        self.wfile.write(greeting(cookie))
        for line in self.rfile:
            name, size = line.decode().split()
            payload = self.rfile.read(int(size))
            note("serve", cookie, name)
            self.wfile.write(answer(name, payload))


class Noting:
    """Part of a server: notes whom it accepts, and reports nothing of clients that leave as they please."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = BACKLOG

    def get_request(self):
        connection, address = super().get_request()
        note("accept", cookie_of(connection))
        return connection, address

    def handle_error(self, request, address):
        """Clients of a campaign come and go without a word."""


class Threading(Noting, socketserver.ThreadingTCPServer):
    pass


class Forking(Noting, socketserver.ForkingTCPServer):
    pass


async def converse(reader, writer):
    try:
        cookie = cookie_of(writer.get_extra_info("socket"))
        note("accept", cookie)
        note("handle", cookie)
        writer.write(greeting(cookie))
        while line := await reader.readline():
            name, size = line.decode().split()
            payload = await reader.readexactly(int(size))
            note("serve", cookie, name)
            writer.write(answer(name, payload))
            await writer.drain()
    except (OSError, ValueError, asyncio.IncompleteReadError):
        pass  # gone, in the middle of a request perhaps
    finally:
        writer.close()


async def streams():
    server = await asyncio.start_server(converse, HOST, PORT, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    if KIND == "asyncio":
        asyncio.run(streams())
    else:
        kind = {"threading": Threading, "forking": Forking}[KIND]
        kind((HOST, PORT), Echo).serve_forever()
