"""The Distributor when descriptors run out: clients must not take the last, and an accept that fails is paused."""

import os
import resource
from contextlib import contextmanager, suppress

import pytest
from tests.shell.instance import eventually
from tests.shell.test_distributor_process import Monitor

from maitred.core.timing import Durations
from maitred.shell.io import channel

pytestmark = pytest.mark.system


@contextmanager
def descriptors_to(limit):
    """Processes that are started here may use numbers below the limit only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def numbers(pid):
    return set(map(int, os.listdir(f"/proc/{pid}/fd")))


@pytest.fixture
def crowded(tmp_path):
    """A Distributor with few descriptors, a full server, and more clients than it can hold."""
    limit = 2 * (max(numbers(os.getpid())) + 16)  # it inherits some under the numbers that they have here
    with descriptors_to(limit):
        monitor = Monitor(tmp_path, limit=10_000, durations=Durations(audit_period=60, accept_retry=0.1))
    monitor.begin()
    monitor.limit, monitor.crowd = limit, []
    yield monitor
    for each in monitor.crowd:
        each.close()
    monitor.kill()
    monitor.child.close()
    for fd in monitor.held:
        os.close(fd)


def until_nobody_is_let_in(monitor):
    """Read what the Monitor is sent, for which the Distributor would wait, until an accept has failed."""

    def failed():
        with suppress(BlockingIOError):
            while True:
                channel.close(channel.receive(monitor.channel).fds)
        return monitor.events("AcceptFailed")

    return eventually(failed, what="the Distributor lets nobody in any more")


def test_a_crowd_leaves_descriptors_for_the_next_server(crowded):
    one = crowded.server(1, max_clients=1)
    crowded.crowd = [crowded.connect() for _ in range(crowded.limit + 20)]
    one.accept(crowded.port)
    until_nobody_is_let_in(crowded)
    assert max(numbers(crowded.child.pid)) == crowded.limit - min(64, crowded.limit // 4)

    two = crowded.server(2, max_clients=1)  # its control socket, registry and dialog find room

    assert two.accept(crowded.port)[0].arrival == 1
    assert crowded.child.exitcode() is None


def test_out_of_descriptors_the_accept_has_failed_and_is_paused(crowded):
    """Its limit is lowered while it runs, so that the reserve, reckoned from the old one, does not help."""
    one = crowded.server(1, max_clients=1)
    free = sorted(set(range(crowded.limit)) - numbers(crowded.child.pid))
    resource.prlimit(crowded.child.pid, resource.RLIMIT_NOFILE, (free[4], crowded.limit))
    crowded.crowd = [crowded.connect() for _ in range(20)]
    one.accept(crowded.port)
    until_nobody_is_let_in(crowded)
    before = crowded.cpu_seconds()
    eventually(lambda: len(crowded.events("AcceptFailed")) >= 3, what="it is tried again")
    assert crowded.cpu_seconds() - before < 0.2
    assert crowded.child.exitcode() is None


def test_a_descriptor_that_is_free_again_lets_the_next_client_in(crowded):
    one = crowded.server(1, max_clients=1)
    crowded.crowd = [crowded.connect() for _ in range(crowded.limit + 20)]
    client, _ = one.accept(crowded.port)
    until_nobody_is_let_in(crowded)
    before = len(crowded.events("ConnectionRequest"))

    one.leave(crowded.port, client)

    assert one.accept(crowded.port)[0].arrival == client.arrival + 1
    eventually(lambda: len(crowded.events("ConnectionRequest")) > before, what="another is let in")
