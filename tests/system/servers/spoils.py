"""Greets as `greeter.py` does; a client that names how has this process spoil what it shares with others.

    python spoils.py PORT

It finds the memory that it was handed as any program could: by the names in ``/proc/self/fd``.  The answer is ``done``,
or the kernel's error.
"""

import os
import socket
import struct
import sys
import threading

CLIENTS, CAPACITY = 122_880, 64
ROW = struct.Struct("=qqII")
MILLIONS = 6_000_000


def memory(name):
    """A descriptor of the memory of that name."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:{name}"):
                return fd
        except OSError:
            continue
    raise FileNotFoundError(name)


def write(at, data):
    os.pwrite(memory("maitred-registry"), data, at)


def places():
    """Room for millions of clients, and memory for them."""
    os.ftruncate(memory("maitred-registry"), CLIENTS + MILLIONS * ROW.size)
    write(CAPACITY, struct.pack("=Q", MILLIONS))


WAYS = {
    "nothing": lambda: None,
    "truncate": lambda: os.ftruncate(memory("maitred-registry"), 0),
    "capacity": lambda: write(CAPACITY, struct.pack("=Q", 1 << 50)),
    "port": lambda: write(CLIENTS + 8 * ROW.size, ROW.pack(1, 2, 70_000, 1)),
    "places": places,
    "ring": lambda: os.pwrite(memory("maitred-verify"), b"\xff" * 8192, 0),
    "cut ring": lambda: os.ftruncate(memory("maitred-verify"), 0),
    "magic": lambda: write(0, b"nonsense"),
}


def spoil(way):
    try:
        WAYS[way]()
    except OSError as error:
        return type(error).__name__
    return "done"


def serve(client, host, port):
    with client, client.makefile("rb") as lines:
        client.sendall(b"welcome %d 0 %s %d\n" % (os.getpid(), host.encode(), port))
        for line in lines:
            client.sendall(spoil(line.strip().decode()).encode() + b"\n")


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, (peer, number) = listener.accept()
    threading.Thread(target=serve, args=(connection, peer, number), daemon=True).start()
