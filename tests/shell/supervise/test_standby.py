"""The standby with real processes: it takes a dead Distributor's place at once, and does no harm before."""

import os
import pickle
import signal
import socket
from pathlib import Path

import pytest
from tests.processes import alive
from tests.shell.instance import Instance, eventually

from maitred.core.timing import Durations
from maitred.shell.distributor import DistributorSpec
from maitred.shell.io import kernel
from maitred.shell.supervise import standby

pytestmark = pytest.mark.system


@pytest.fixture
def instance(tmp_path):
    """With a delay before restarts that a test would notice."""
    made = Instance(tmp_path, static=1, durations={"backoff_first": 30.0, "backoff_cap": 30.0})
    made.wait_ready(1)
    yield made
    made.stop()


def waiting(instance):
    """The pid of the standby, once it waits: it ignores what a terminal sends."""
    pid = eventually(instance.standby, what="a standby")
    ignored = f"{sum(1 << number - 1 for number in kernel.FROM_TERMINAL):x}"
    eventually(lambda: int(field(pid, "SigIgn"), 16) & int(ignored, 16) == int(ignored, 16), what="it waits")
    return pid


def field(pid, name):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def sockets(pid):
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return [link for link in links if link.startswith("socket:")]


def test_the_standby_takes_a_dead_distributors_place_at_once(instance):
    """Before that it holds one socket, its own."""
    ready = waiting(instance)
    mine = sockets(ready)
    assert len(mine) == 1 and mine[0] not in sockets(instance.distributor())
    os.kill(ready, signal.SIGINT)  # from a terminal, and not meant for it

    os.kill(instance.distributor(), signal.SIGKILL)

    connection, _ = instance.served()  # within its ten seconds, not after the delay of thirty
    assert instance.distributor() == ready
    assert os.getsid(ready) == ready and int(field(ready, "SigIgn"), 16) & 1 << signal.SIGINT - 1 == 0
    assert mine[0] not in sockets(ready)
    connection.close()
    another = eventually(instance.standby, what="another")
    assert another != ready


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_standby_that_is_dead_or_stopped_is_not_used(instance, number):
    useless = waiting(instance)
    os.kill(instance.pid, signal.SIGSTOP)  # so that it learns of both at once
    os.kill(useless, number)
    eventually(lambda: not standby._is_well(useless), what="the signal has come")
    os.kill(instance.distributor_pids().pop(), signal.SIGKILL)

    os.kill(instance.pid, signal.SIGCONT)

    connection, _ = instance.served()
    assert instance.distributor() not in (useless, None)
    eventually(lambda: not alive(useless), what="it is gone")
    connection.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_the_standby_ends_with_the_monitor(instance, stop):
    ready = waiting(instance)
    instance.process.send_signal(stop)
    instance.wait()
    eventually(lambda: not alive(ready), what="it is gone")


def spec(**descriptors):
    return DistributorSpec(*(0, "web", 1, 0, 100, (), True, Durations(), (0,)), **descriptors)


def test_a_specification_gets_the_numbers_that_its_descriptors_have_in_the_process():
    kept = ((80, "*:80", (7, 8)), (81, "*:81", (9,)))
    sent = spec(channel=4, status=5, trace=6, kept=kept, log=10)
    numbers = {number: number + 100 for number in range(4, 11)}
    there = standby.renumbered(sent, numbers)
    kept = ((80, "*:80", (107, 108)), (81, "*:81", (109,)))
    assert there == spec(channel=104, status=105, trace=106, kept=kept, log=110)
    assert standby.renumbered(spec(channel=4, status=5, trace=None, kept=()), numbers).trace is None


def test_a_standby_that_lacks_descriptors_ends(capfd):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    socket.send_fds(ours, [pickle.dumps(spec(channel=4, status=5, trace=None, kept=()))], [0])
    pid = os.fork()
    if not pid:
        try:
            standby.run(theirs.detach(), None)
        except SystemExit as end:
            os.write(2, str(end).encode())
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert "out of descriptors: 1 of 2 of a Distributor have come" in capfd.readouterr().err
    for end in (ours, theirs):
        end.close()


def test_a_specification_with_too_many_descriptors_is_not_sent():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    many = ((80, "*:80", (0,) * standby.MOST_DESCRIPTORS),)
    assert not standby._send(ours, spec(channel=0, status=0, trace=None, kept=many))
    assert standby._send(ours, spec(channel=0, status=0, trace=None, kept=()))
    theirs.close()
    assert not standby._send(ours, spec(channel=0, status=0, trace=None, kept=()))
    ours.close()
