"""Two workers that accept from one listener; the first that comes to a given instant of its first hand-off is killed.

    python dies.py HOST:PORT INSTANT MARK

The instants are those between which a process of a server may die while another lives: the hand-off has been *read*;
its step has been *traced*, and not saved; it has been *saved*; the answer is in the socket (*sent*).  This program
looks into the package, to die there and not somewhere near.
"""

import contextlib
import os
import select
import signal
import socket
import sys

from maitred.core import server
from maitred.core.messages import Accepted, HandOff
from maitred.shell.inside.endpoint import Endpoint
from maitred.shell.io.registry import Registry

(HOST, _, PORT), INSTANT, MARK = sys.argv[1].rpartition(":"), *sys.argv[2:4]
step, save = Endpoint._step, Registry.save
here = ""


def pass_by(instant):
    """Die here, if this is the instant, and nobody has."""
    if instant == INSTANT:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(MARK, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)


def dying_step(self, event, touched=()):
    global here
    hand_off = isinstance(event, server.MessageRead) and isinstance(event.message, HandOff)
    if hand_off:
        here = "traced"
        pass_by("read")
    elif isinstance(event, server.Sent) and isinstance(event.reply.message, Accepted):
        pass_by("sent")
    step(self, event, touched)
    if hand_off:
        pass_by("saved")


def dying_save(self, *args):
    if here:
        pass_by(here)
    save(self, *args)


Endpoint._step, Registry.save = dying_step, dying_save
listener = socket.create_server((HOST, int(PORT)))
listener.setblocking(False)
if os.fork() and os.fork():
    while True:
        signal.pause()
served = []
while True:  # only what is polled wakes this
    for sock in select.select([listener, *served], [], [])[0]:
        if sock is not listener:
            served.remove(sock)
            sock.close()
            continue
        with contextlib.suppress(BlockingIOError):
            connection, (host, port) = listener.accept()
            connection.sendall(b"welcome %d 0 %s %d\n" % (os.getpid(), host.encode(), port))
            served.append(connection)
