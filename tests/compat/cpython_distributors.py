"""Real Distributors for the listeners of another process: a server class for each, made and closed on request.

    python -m tests.compat.cpython_distributors NAME TRACE

It listens on the abstract Unix address NAME until its stdin ends.  A request is one packet of JSON on a connection of
its own, with descriptors beside it; so is the answer.

=========================================================  ===========================================================
request                                                    answer
=========================================================  ===========================================================
``{"open": PORT, "address": TEXT}``, control, registry     ``{"class": NUMBER}``: a Distributor runs, and has adopted
and, where it is bound already, the listening socket       the server behind the two
``{"close": NUMBER}``                                      ``{}``: nothing of that class listens any more
=========================================================  ===========================================================

Each Distributor is a process.  It is the one of `maitred run`, with its machine, its audit and its trace; this process
is a Monitor to it that only opens and closes.  Nobody is kept waiting for a listener that is closed: the kernel would
reset such clients at once, a class would let them wait for another server.
"""

import itertools
import json
import os
import signal
import socket
import sys
from contextlib import suppress

from maitred.core import distributor as core
from maitred.core import messages
from maitred.core.timing import Durations
from maitred.shell.distributor import Distributor, DistributorSpec
from maitred.shell.io import channel
from maitred.shell.io.loop import Loop

READ = 1
SERVER = 1
"""Each class has one server, of this number."""
CLIENTS = 100_000
"""More than any test connects."""
DURATIONS = Durations(queue_timeout=600, hand_off_timeout=600, audit_period=1)


class ClosesAtOnce(Distributor):
    """A Distributor whose closing has no grace: who still waits then is sent away, as by the end of the grace."""

    def handle(self, event):
        super().handle(event)
        if self.state.phase is core.Phase.CLOSING:
            for client in [client for info in self.state.ports.values() for client in info.waiting]:
                super().handle(core.Fired(core.QueueTimeout(client)))

    def _monitor_lost(self):
        sys.exit()


class Keeper:
    """The Monitor's part, for one test process and what it forks."""

    def __init__(self, name, trace):
        self.loop = Loop()
        self.running = True
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._classes = {}
        """Of each class the channel to its Distributor and the process."""
        self._closing = {}
        self._numbers = itertools.count()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"\0{name}")
        self._listener.listen(100)
        self.loop.watch(self._listener.fileno(), READ, lambda flags: self._accept())
        self.loop.watch(0, READ, self._stop)

    def _stop(self, flags):
        self.running = False

    def _accept(self):
        asker, _ = self._listener.accept()
        self.loop.watch(asker.fileno(), READ, lambda flags: self._asked(asker))

    def _asked(self, asker):
        self.loop.forget(asker.fileno())
        packet, fds, _, _ = socket.recv_fds(asker, 65_536, 8)
        request = json.loads(packet) if packet else {}
        if "open" in request:
            self._answer(asker, {"class": self._open(request["open"], request["address"], fds)})
        elif request.get("close") in self._classes:
            self._closing[request["close"]] = asker
            with suppress(OSError):
                channel.send(self._classes[request["close"]][0], messages.Close())
        else:
            self._answer(asker, {})
        channel.close(fds)

    @staticmethod
    def _answer(asker, answer):
        with asker, suppress(OSError):
            asker.send(json.dumps(answer).encode())

    def _open(self, port, address, fds):
        number = next(self._numbers)
        mine, theirs = channel.pair()
        status = socket.socketpair()
        control, registry, *listening = fds
        spec = DistributorSpec(
            class_id=number,
            name=f"listener {number}",
            incarnation=1,
            dynamic=0,
            waiting_limit=1024,
            listeners=(),
            fixed=False,
            durations=DURATIONS,
            cpus=tuple(os.sched_getaffinity(0)),
            channel=theirs.fileno(),
            status=status[1].fileno(),
            trace=self._trace,
            kept=((port, address, tuple(listening)),) if listening else (),
        )
        pid = os.fork()
        if pid == 0:
            _be_distributor(spec)
        for each in (theirs, *status):
            each.close()
        self._classes[number] = (mine, pid)
        self.loop.watch(mine.fileno(), READ, lambda flags: self._heard(number))
        adopt = messages.Adopt(SERVER, CLIENTS, 1, dynamic=False, draining=False, dialogs=(), owed=())
        channel.send(mine, adopt, (control, registry))
        channel.send(mine, messages.Begin())
        return number

    def _heard(self, number):
        end, pid = self._classes[number]
        packet = channel.receive(end)
        if packet is None:
            self.loop.forget(end.fileno())
            end.close()
            os.waitpid(pid, 0)
            del self._classes[number]
        else:
            channel.close(packet.fds)
        if packet is None or isinstance(packet.message, messages.DropListeners | messages.Closed):
            asker = self._closing.pop(number, None)
            if asker is not None:
                self._answer(asker, {})

    def end(self):
        """End every Distributor."""
        for _, pid in self._classes.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _be_distributor(spec):
    """In the process that was forked for it."""
    code = 1
    try:
        kept = {0, 1, 2, spec.channel, spec.status, spec.trace, *(fd for _, _, fds in spec.kept for fd in fds)}
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd not in kept:
                with suppress(OSError):
                    os.close(fd)
        ClosesAtOnce(spec).run()
        code = 0
    except SystemExit:
        code = 0
    finally:
        os._exit(code)


def main():
    keeper = Keeper(*sys.argv[1:])
    print("open", flush=True)
    try:
        while keeper.running:
            keeper.loop.turn()
    finally:
        keeper.end()


if __name__ == "__main__":
    main()
