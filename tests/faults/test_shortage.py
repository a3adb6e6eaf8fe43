"""A Distributor that has not one descriptor to spare loses nobody who waits, even at its very beginning."""

import os
import resource
import socket

import pytest
from tests.shell.test_distributor_process import start, wait_for

from maitred.core import messages as m

__all__ = ["start"]

pytestmark = pytest.mark.system


def test_a_client_that_waits_is_left_to_the_next_distributor(start, capfd):
    """Its connection is with the Monitor still: were it released, as one whose connection is lost is, it would be."""
    monitor = start(incarnation=2)
    monitor.status()
    held = {int(fd) for fd in os.listdir(f"/proc/{monitor.child.pid}/fd")}
    free = next(fd for fd in range(len(held) + 1) if fd not in held)
    hard = resource.prlimit(monitor.child.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(monitor.child.pid, resource.RLIMIT_NOFILE, (free, hard))

    near, far = socket.socketpair()
    with near, far:
        monitor.send(m.Restore(m.Client(4, 1234, monitor.port)), far.fileno())

        assert monitor.wait() == 1
        assert wait_for(monitor.channel) is None, "it has told the Monitor nothing"
    assert "a client that waits has come without its connection" in capfd.readouterr().err
