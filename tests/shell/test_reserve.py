"""The Distributor when descriptors run out: clients must not take the last, and an accept that fails is paused."""

import os
import resource
from contextlib import contextmanager

import pytest
from tests.shell.instance import eventually
from tests.shell.test_distributor_process import Monitor

from maitred.core.timing import Durations

pytestmark = pytest.mark.system

LIMIT = 48


@contextmanager
def few_descriptors():
    """Processes that are started here may have so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def crowded(tmp_path):
    """A Distributor with few descriptors, a full server, and more clients than it can hold."""
    with few_descriptors():
        monitor = Monitor(tmp_path, durations=Durations(audit_period=60, accept_retry=0.1))
    monitor.begin()
    monitor.crowd = []
    yield monitor
    for each in monitor.crowd:
        each.close()
    monitor.kill()
    monitor.child.close()
    for fd in monitor.held:
        os.close(fd)


def descriptors(monitor):
    return len(os.listdir(f"/proc/{monitor.child.pid}/fd"))


def test_a_crowd_leaves_descriptors_for_the_next_server(crowded):
    one = crowded.server(1, max_clients=1)
    crowded.crowd = [crowded.connect() for _ in range(LIMIT + 20)]
    one.accept(crowded.port)
    eventually(lambda: crowded.events("AcceptFailed"), what="the Distributor lets nobody in any more")
    assert LIMIT - LIMIT // 4 <= descriptors(crowded) + 1 <= LIMIT - LIMIT // 4 + 2

    two = crowded.server(2, max_clients=1)  # its control socket, registry and dialog find room

    assert two.accept(crowded.port)[0].arrival == 1
    assert crowded.child.exitcode() is None


def test_out_of_descriptors_the_accept_has_failed_and_is_paused(crowded):
    """Its limit is lowered while it runs, so that the reserve, reckoned from the old one, does not help."""
    one = crowded.server(1, max_clients=1)
    resource.prlimit(crowded.child.pid, resource.RLIMIT_NOFILE, (descriptors(crowded) + 4,) * 2)
    crowded.crowd = [crowded.connect() for _ in range(20)]
    one.accept(crowded.port)
    eventually(lambda: crowded.events("AcceptFailed"), what="an accept fails")
    before = crowded.cpu_seconds()
    eventually(lambda: len(crowded.events("AcceptFailed")) >= 3, what="it is tried again")
    assert crowded.cpu_seconds() - before < 0.2
    assert crowded.child.exitcode() is None


def test_a_descriptor_that_is_free_again_lets_the_next_client_in(crowded):
    one = crowded.server(1, max_clients=1)
    crowded.crowd = [crowded.connect() for _ in range(LIMIT + 20)]
    client, _ = one.accept(crowded.port)
    eventually(lambda: crowded.events("AcceptFailed"), what="the Distributor lets nobody in any more")
    before = len(crowded.events("ConnectionRequest"))

    one.leave(crowded.port, client)

    assert one.accept(crowded.port)[0].arrival == client.arrival + 1
    eventually(lambda: len(crowded.events("ConnectionRequest")) > before, what="another is let in")
