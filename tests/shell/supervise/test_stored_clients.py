"""What a client that waits costs the Monitor is counted, not timed, and may not grow: calls of the kernel, and steps.

It is stored and then released, one client at a time, so that there is nothing to batch.
"""

import _socket
import posix
import select
import socket
import sys
from collections import Counter
from contextlib import contextmanager
from functools import partial

import pytest
from tests.shell.bare import bare

from maitred.core import monitor as core
from maitred.core.messages import Client, Release, Store
from maitred.shell.io import channel
from maitred.shell.io.loop import READ

CLIENTS = 20
LIMITS = {
    "poll": 2,  # the loop, for each of the two messages
    "recvmsg": 2,
    "getsockopt": 1,  # SO_LINGER: whether to close would wait
    "close": 1,
}
QUIET = {"detach", "fileno"}
"""Methods that do not ask the kernel."""


class Calls(Counter):
    """What this process asks of the kernel, by the functions of C that do so."""

    @contextmanager
    def counted(self):
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame, event, function):
        if event == "c_call" and function.__name__ not in QUIET:
            of = getattr(function, "__self__", None)
            if of is posix or isinstance(of, _socket.socket | select.epoll):
                self[function.__name__] += 1


@pytest.fixture
def connection():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        yield accepted


def test_a_stored_client_costs_the_monitor_no_more_than_is_written_down_here(connection):
    made = Calls()
    with bare() as monitor:
        distributor = monitor.distributor
        monitor.loop.watch(distributor.channel.fileno(), READ, partial(monitor.distributors._on_channel, distributor))
        for number in range(CLIENTS):
            client = Client(number, number, 80)
            for message, fds in ((Store(client), (connection.fileno(),)), (Release(client), ())):
                channel.send(monitor.far, message, fds)
                with made.counted():
                    monitor.loop.turn()
            with made.counted():
                monitor.kept.drop_duplicate(core.DropDuplicate(0, client))
    assert {name: n / CLIENTS for name, n in made.items()} == LIMITS, "lower a limit that is too high"
    assert len(monitor.received) == 2 * CLIENTS, "one step for each message"
