"""Where processes run, how they are asked to end, and what a process of a server leaves behind."""

import errno
import os
import signal
import time
from functools import partial
from types import SimpleNamespace

import pytest
from tests.shell.fake import Distributor, descriptors_at_rest
from tests.shell.instance import Instance

from maitred.core import monitor as core
from maitred.core.durations import Durations
from maitred.core.messages import Client
from maitred.core.server import EndpointState
from maitred.core.tree import Tree
from maitred.shell.inside.endpoint import Endpoint
from maitred.shell.io import channel, kernel
from maitred.shell.io.loop import Loop
from maitred.shell.io.registry import Reader, Registry, create
from maitred.shell.monitor import Monitor
from maitred.shell.supervise import servers as of_servers
from maitred.shell.supervise.distributors import Distributors
from maitred.shell.supervise.servers import Servers


@pytest.mark.system
def test_processes_run_on_the_cpus_of_their_elements(tmp_path):
    cpus = sorted(os.sched_getaffinity(0))
    places = {"left": {cpus[0]}, "right": {cpus[-1]}}
    instance = Instance(tmp_path, static=2, elements=[[name, sorted(own), 1] for name, own in places.items()])
    try:
        instance.wait_ready(2)
        status = instance.status()
        rows = [*status["servers"], status["distributor"]]
        assert {row["element"] for row in rows} == {*places}
        for row in rows:
            assert os.sched_getaffinity(row["pid"]) == places[row["element"]]
    finally:
        instance.stop()


def test_a_server_is_asked_to_end_and_a_distributor_killed(monkeypatch):
    sent = []
    monkeypatch.setattr(kernel, "send_signal", lambda pidfd, number: sent.append((pidfd, number)))
    servers = Servers.__new__(Servers)
    servers._config = SimpleNamespace(classes=[SimpleNamespace(stop_signal=None)])
    servers.default_stop_signal = signal.SIGTERM
    servers._to_start = {}
    servers.held = {
        1: SimpleNamespace(child=SimpleNamespace(pidfd=11), ended=False, stop_signal=None),
        2: SimpleNamespace(child=SimpleNamespace(pidfd=12), ended=True, stop_signal=None),
    }
    distributors = Distributors.__new__(Distributors)
    distributors.held = {0: SimpleNamespace(child=SimpleNamespace(pidfd=20))}
    for server in (1, 2, 3):  # one that lives, one that has ended, one that is not there
        servers.terminate(core.Terminate(0, server))
    distributors.kill(core.KillDistributor(0))
    assert sent == [(11, signal.SIGTERM), (20, signal.SIGKILL)]


def test_servers_come_up_a_few_at_a_time(monkeypatch):
    """The next when one is ready, or has had its time; whoever is to end before its turn is not started.

    What follows a start, as the time in which a server is to listen, begins with it.
    """
    monkeypatch.setattr(of_servers, "AT_ONCE", 2)
    before = descriptors_at_rest()
    servers, loop, heard, started, ready = Servers.__new__(Servers), Loop(), [], [], set()
    servers._loop, servers._machine = loop, SimpleNamespace(handle=heard.append)
    servers._config = SimpleNamespace(classes=[SimpleNamespace(max_clients=4)])
    servers._to_start, servers.held = {}, {}
    servers._phase = lambda server: core.PlacePhase.READY if server.server in ready else core.PlacePhase.STARTING

    def launch(effect, theirs):
        started.append(effect.server)
        servers.held[effect.server].child, servers.held[effect.server].since = object(), time.monotonic()
        theirs.close()

    servers._launch = launch
    counted = []
    for number in range(1, 7):
        servers.start(core.StartServer(0, number, number, 0))
        servers.once_started(number, partial(counted.append, number))
    assert started == counted == [1, 2]
    ready.add(1)
    loop.turn()
    assert started == counted == [1, 2, 3]
    servers.held[2].since -= of_servers.COMES_UP
    loop.turn()
    assert started == [1, 2, 3, 4]
    servers.terminate(core.Terminate(0, 5))
    servers.kill(core.Kill(0, 6))
    assert heard == [core.ServerExited(0, 5), core.ServerGone(0, 6)]
    ready.update((2, 3, 4))
    loop.turn()
    assert started == counted == [1, 2, 3, 4] and not servers._to_start
    for server in servers.held.values():
        server.control.close()
        server.registry.close()
    loop.close()
    assert os.listdir("/proc/self/fd") == before


def test_the_time_in_which_a_server_is_to_listen_begins_with_its_process():
    monitor, set_now, later = Monitor.__new__(Monitor), [], []
    monitor._config = SimpleNamespace(durations=Durations())
    monitor._loop = SimpleNamespace(set_timer=lambda timer, seconds, action: set_now.append(timer))
    monitor._servers = SimpleNamespace(once_started=lambda server, action: later.append((server, action)))
    monitor.machine = SimpleNamespace(handle=later.append)
    for timer in (core.StartWarning(0, 5), core.KillDelay(0, 5)):
        monitor._set_timer(core.SetTimer(timer))
    assert set_now == [core.KillDelay(0, 5)]
    ((server, action),) = later
    action()
    assert server == 5 and set_now[1:] == [core.StartWarning(0, 5)]


def test_a_declined_bind_leaves_no_descriptor(monkeypatch):
    far = Distributor()
    endpoint = Endpoint(Registry.open(os.dup(far.registry.fd)), channel.attach(os.dup(far.theirs.fileno())))
    monkeypatch.setattr(endpoint._control, "request", lambda request, theirs: errno.EADDRINUSE)
    before = descriptors_at_rest()
    assert endpoint.request_bind(4049, "127.0.0.1:4049") == errno.EADDRINUSE
    assert os.listdir("/proc/self/fd") == before
    assert endpoint.dialogs == {}
    far.close()


def test_a_save_that_was_cut_off_is_done_whole():
    """Killed after it is in the log, before any of it is done."""
    registry = Registry(create(4))
    old, new = (
        EndpointState(Tree(), Tree.of((Client(n, n, 80), None) for n in who), n) for n, who in ((1, [1]), (2, [2]))
    )
    with registry.locked():
        registry.save(registry.load(), old)
    pid = os.fork()
    if not pid:
        set_number = registry._set_number

        def dying(at, number):
            set_number(at, number)
            os.kill(os.getpid(), signal.SIGKILL)

        registry._set_number = dying
        with registry.locked():
            registry.save(registry.load(), new)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with registry.locked():
        assert registry.load() == new
    assert Reader(registry.fd, 4).clients() == (Client(2, 2, 80),)
    registry.close()


def test_a_process_that_slept_through_a_round_of_the_journal_counts_all():
    registry = Registry(create(4))
    other = Registry.open(os.dup(registry.fd))
    with other.locked():
        assert other.load() == EndpointState()
    state = EndpointState()
    for n in range(300):
        client = Client(n, n, 80)
        state = EndpointState(Tree(), state.clients.set(client, None), n)
        with registry.locked():
            registry.save(registry.load(), state, [client])
    with other.locked():
        assert other.load() == state
    other.close()
    registry.close()
