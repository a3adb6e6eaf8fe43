"""A server that greets each client, sends which process serves it, and notes both in a log that outlives it.

    python greeter.py HOST:PORT [LOG]

It knows nothing of maitred.  Clients may ask it for odd things, so that tests can put a server in a bad state.
"""

import os
import resource
import socket
import socketserver
import sys
import time

SO_COOKIE = 57
HOST, _, PORT = sys.argv[1].rpartition(":")
LOG = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND) if len(sys.argv) > 2 else None
hoard = []


def note(*words):
    if LOG is not None:
        os.write(LOG, (" ".join(str(word) for word in words) + "\n").encode())


def exhaust():
    """Leave this process without a single free descriptor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit))
    try:
        while True:
            hoard.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return f"exhausted with {len(hoard)}"


def recover():
    while hoard:
        os.close(hoard.pop())
    return "recovered"


def scribble(spared):
    """Write rubbish to every socket that this process holds, but for one."""
    written = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            if int(entry) != spared and os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                os.write(int(entry), b"\xff scribble")
                written += 1
        except OSError:
            continue  # gone, or not connected
    return f"scribbled on {written}"


class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        cookie = int.from_bytes(self.request.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
        host, port = self.client_address[:2]
        self.wfile.write(f"welcome {os.getpid()} {cookie} {host} {port}\n".encode())
        for line in self.rfile:
            verb, _, rest = line.decode().strip().partition(" ")
            if verb == "hello":
                note("hello", os.getpid(), cookie, rest)
                answer = line.decode().strip()
            elif verb == "exhaust":
                answer = exhaust()
            elif verb == "recover":
                answer = recover()
            elif verb == "bye":
                return
            elif verb == "garbage":
                answer = self.server.garbage(rest)
            elif verb == "scribble":
                answer = scribble(self.request.fileno())
            else:
                answer = line.decode().rstrip("\n")
            self.wfile.write(answer.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET6 if ":" in HOST else socket.AF_INET

    def get_request(self):
        connection, address = super().get_request()
        cookie = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
        note("accept", os.getpid(), cookie, address[1], time.monotonic())
        return connection, address

    def garbage(self, times):
        """Send what no server would on the descriptor that stands for the listening socket."""
        for _ in range(int(times)):
            os.write(self.fileno(), b"\xff\x00 this is no message")
        return "said"

    def handle_error(self, request, address):
        """Clients of the tests come and go as they please."""


if __name__ == "__main__":
    Server((HOST.strip("[]"), int(PORT)), Greeter).serve_forever()
