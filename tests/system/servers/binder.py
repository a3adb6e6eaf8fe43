"""Binds what its arguments name, one step after the other, and greets whoever connects as `greeter.py` does.

    python binder.py STEP...

    HOST:PORT            bind it, listen there, serve
    HOST:PORT/HOST:PORT  the first of them that can be had
    fork=STEP            the same in a child process; the next step begins when that is done

What comes of each bind is a line on stdout: the process, the address, and the name that the socket then reports,
or the error.
"""

import errno
import os
import socket
import socketserver
import sys
import threading


class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        host, port, *_ = self.request.getpeername()
        assert self.client_address == self.request.getpeername()
        self.wfile.write(f"welcome {os.getpid()} 0 {host} {port}\n".encode())
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, int(port)), Greeter)


def say(*words):
    """In one piece, since several copies share the file."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def serve(addresses):
    for address in addresses.split("/"):
        try:
            server = Server(address)
        except OSError as error:
            say(os.getpid(), address, errno.errorcode[error.errno])
            failure = error
        else:
            say(os.getpid(), address, "bound", "{}:{}".format(*server.socket.getsockname()))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return
    raise failure


def serve_in_a_child(addresses):
    done, tell = os.pipe()
    if os.fork() == 0:
        serve(addresses)
        os.write(tell, b".")
        threading.Event().wait()
    os.close(tell)
    assert os.read(done, 1)


for step in sys.argv[1:]:
    if step.startswith("fork="):
        serve_in_a_child(step.removeprefix("fork="))
    else:
        serve(step)
threading.Event().wait()
