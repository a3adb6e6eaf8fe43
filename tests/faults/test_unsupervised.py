"""The Monitor killed: its Distributors and servers go on serving, and `maitred status` shows that they are alone."""

import contextlib
import os
import signal
import time

import pytest
from tests.faults import clients
from tests.faults.campaign import Crowd, Plan, configuration, settled
from tests.faults.kernel import DISTRIBUTOR, MONITOR, SERVER, census
from tests.machine import free_port
from tests.processes import alive
from tests.system.harness import cpu_seconds, eventually, processes_with

pytestmark = [pytest.mark.system, pytest.mark.chance, pytest.mark.timeout(600)]
PLAN = Plan(seconds=4, clients=60, seed=1)


@pytest.fixture
def orphaned(maitred, tmp_path):
    """An instance of the campaign's classes, with clients, whose Monitor is killed; its ports; the clients' notes."""
    ports = [free_port() for _ in range(3)]
    instance = maitred("--config", configuration(tmp_path, ports), ready=False)
    settled(instance, ports)
    instance.expected = -signal.SIGKILL
    with Crowd(tmp_path / "visits", PLAN, ports):
        time.sleep(1)
        instance.process.kill()
        instance.wait()
        yield instance, ports, tmp_path
    for pid in processes_with(instance.token.encode()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    instance.control.unlink()


def of(instance, ports, *roles):
    return [process for process in census(instance, ports) if process.role in roles and alive(process.pid)]


def visits_since(directory, when):
    return [visit for visit in clients.read(directory / "visits") if visit.began > when]


def served_since(directory, when):
    """The ports on which somebody has come and been served since then."""
    return {visit.port for visit in visits_since(directory, when) if visit.outcome == "served"}


def test_service_goes_on_and_the_status_shows_that_nobody_supervises_it(orphaned):
    instance, ports, directory = orphaned
    died = time.monotonic()
    instance.wait_log("the Monitor is gone; serving goes on unsupervised")
    distributors, servers = of(instance, ports, DISTRIBUTOR), of(instance, ports, SERVER)
    assert len(distributors) == 3 and len(servers) == 7 and not of(instance, ports, MONITOR)

    outcome = instance.command("status", "--control", instance.control)

    assert outcome.returncode == 1 and outcome.stdout == ""
    assert f"{instance.control}: unsupervised: the Monitor is gone" in outcome.stderr
    for process in (*distributors, *servers):
        assert str(process.pid) in outcome.stderr
    eventually(lambda: served_since(directory, died) == set(ports), "clients are served on every port", within=60)
    began = time.monotonic(), [cpu_seconds(process.pid) for process in distributors]
    time.sleep(1)
    for process, before in zip(distributors, began[1], strict=True):
        assert cpu_seconds(process.pid) - before < 0.7 * (time.monotonic() - began[0]), "none is in a busy loop"
    assert {visit.outcome for visit in clients.read(directory / "visits")} <= {"served", "left"}, "nobody was lost"


def test_who_dies_then_stays_dead_and_the_rest_serve_on(orphaned):
    instance, ports, directory = orphaned
    instance.wait_log("the Monitor is gone; serving goes on unsupervised")
    victim = next(process for process in of(instance, ports, SERVER) if process.port == ports[0])
    left = {process.pid for process in of(instance, ports, SERVER)} - {victim.pid}

    os.kill(victim.pid, signal.SIGKILL)
    died = time.monotonic()

    eventually(lambda: not alive(victim.pid), "it is dead")
    eventually(lambda: served_since(directory, died) == set(ports), "clients are served on every port", within=60)
    assert {process.pid for process in of(instance, ports, SERVER)} == left, "nobody is started in its place"
    told = instance.command("status", "--control", instance.control).stderr
    assert str(victim.pid) not in told.partition("unsupervised")[2] and all(str(pid) in told for pid in left)
    bad = [visit for visit in clients.read(directory / "visits") if visit.outcome not in ("served", "left")]
    assert all(visit.server == victim.pid or not visit.greeted for visit in bad) and len(bad) <= 16 + 1, bad


def test_without_a_distributor_nobody_new_is_served_and_the_status_shows_it(orphaned):
    instance, ports, _ = orphaned
    for process in of(instance, ports, DISTRIBUTOR):
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not of(instance, ports, DISTRIBUTOR), "they are dead")

    told = instance.command("status", "--control", instance.control).stderr

    assert "unsupervised: the Monitor and its Distributors are gone" in told
