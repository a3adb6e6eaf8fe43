"""Counts what one connection allocates in a Distributor and in a server's endpoint; needs benchmarks/c/allocations.c.

Both are driven here over real sockets, turn by turn, so that the numbers do not depend on how busy the machine is.
Prints one JSON object: of each, allocations for a connection.  With the argument ``more``, both make one object more.
"""

import gc
import json
import mmap
import os
import socket
import sys

from maitred.core import messages, server
from maitred.core.timing import Durations
from maitred.shell.distributor import Distributor, DistributorSpec
from maitred.shell.inside.endpoint import UNREAD_ACKNOWLEDGEMENTS, Endpoint
from maitred.shell.io import channel
from maitred.shell.io.registry import Registry, create

SERVER = 1
WARM_UP = 400
"""Connections before the count: small numbers, of which Python has made objects, are used up then."""
COUNTED = 10 * UNREAD_ACKNOWLEDGEMENTS
TIMES = 3


class Played:
    """A Distributor, and the endpoint of its one server."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.monitor, near = channel.pair()
        self.asks, answers = socket.socketpair()
        address = f"127.0.0.1:{self.port}"
        self.distributor = Distributor(
            DistributorSpec(
                *(0, "web", 1, 0, 100, ((self.port, address),), True, Durations(audit_period=3600), (0,)),
                channel=near.detach(),
                status=answers.detach(),
                trace=None,
                kept=(),
            )
        )
        (ours, control), (dialog, theirs), registry = channel.pair(), channel.pair(), create(64)
        self.endpoint = Endpoint(Registry.open(os.dup(registry), alone=True), control, None, {self.port: theirs})
        self.endpoint._do(lambda: self.endpoint._step(server.Bound(self.port)))
        adopt = messages.Adopt(SERVER, 64, 1, False, False, (self.port,), ())
        fds = [ours.detach(), registry, dialog.detach()]
        self.distributor._dialogs.hold_server(adopt, fds, self.distributor._binding.on_control)
        self.distributor.handle(adopt)
        self.distributor.handle(messages.Begin())
        self.endpoint.listen(self.port)
        self.turn()

    def turn(self):
        self.distributor.loop.turn(1.0)

    def connection(self, of_distributor, of_server):
        """One client comes, is served and goes; each part of it is made by one of the two counting functions."""
        client = socket.create_connection(("127.0.0.1", self.port))
        of_distributor(self.turn)  # accept, hand-off
        fd, seated = of_server(lambda: self.endpoint.take(self.port))
        of_distributor(self.turn)  # Accepted
        os.close(fd)
        of_server(lambda: self.endpoint.let_go(seated))
        of_distributor(self.turn)  # Disconnect, its acknowledgement
        client.close()


class Counter:
    """Calls functions, and adds up what they allocate."""

    def __init__(self, made):
        self.made, self.total = made, 0
        self.own = 0
        self(int)
        self.own, self.total = self.total, 0

    def __call__(self, work):
        before = self.made[0]
        result = work()
        self.total += self.made[0] - before - self.own
        return result


def main():
    with open(f"{os.environ['ALLOCATIONS']}/{os.getpid()}", "rb") as file:
        made = memoryview(mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)).cast("l")
    played = Played()
    if "more" in sys.argv:
        kept = []
        for machine in (played.distributor.machine, played.endpoint._machine):
            stepped = machine._stepped
            machine._stepped = lambda event, before, stepped=stepped: (kept.append(object()), stepped(event, before))
    gc.disable()
    found = {"distributor": [], "server": []}
    for _ in range(WARM_UP):
        played.connection(lambda work: work(), lambda work: work())
    for _ in range(TIMES):
        counters = Counter(made), Counter(made)
        for _ in range(COUNTED):
            played.connection(*counters)
        for name, counter in zip(found, counters, strict=True):
            found[name].append(round(counter.total / COUNTED, 1))
    print(json.dumps({name: min(each) for name, each in found.items()}))


if __name__ == "__main__":
    main()
