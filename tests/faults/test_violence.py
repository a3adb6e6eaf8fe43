"""What a campaign claims to do is done: each kind of fault, to real processes."""

import os
import random
import resource
from contextlib import closing, contextmanager

import pytest
from tests.faults.campaign import ELEMENTS, configuration, settled
from tests.faults.kernel import CHILD, DISTRIBUTOR, HELPER, MONITOR, SERVER, census
from tests.faults.violence import KINDS, Violence
from tests.machine import free_port
from tests.processes import alive, state_of
from tests.system.harness import Guest, eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
WAIT = 60
ROLES = {"server": SERVER, "child": CHILD, "Distributor": DISTRIBUTOR, "Monitor": MONITOR, "helper": HELPER}


@pytest.fixture
def violence(maitred, tmp_path):
    ports = [free_port() for _ in range(3)]
    instance = maitred("--config", configuration(tmp_path, ports), ready=False)
    settled(instance, ports)
    made = Violence(instance, ports, ELEMENTS, random.Random(3))
    yield made
    made.pay(everything=True)
    instance.wait_all_ready(WAIT)


def ready(violence):
    violence.pay(everything=True)
    violence.instance.wait_all_ready(WAIT)


@contextmanager
def a_child(violence):
    """A forking server has one while it serves somebody."""
    with closing(Guest(violence.ports[1])) as guest:
        guest.lines.readline()
        yield guest


@pytest.mark.parametrize("role", ["server", "child", "Distributor", "helper"])
def test_the_killed_are_dead_and_there_is_another(violence, role):
    with a_child(violence):
        KINDS[f"kill {role}"](violence)

        (fault,) = violence.faults
        assert (fault.kind, fault.role, fault.deadly) == (f"kill {role}", ROLES[role], True)
        eventually(lambda: not alive(fault.pid), "it is dead")
    if role == "helper":  # it is made again for the next process that is started, and needed by none before
        KINDS["kill server"](violence)
    if role != "child":
        eventually(lambda: violence.some(ROLES[role]), "there is one again", within=WAIT)
        ready(violence)
        assert fault.pid not in {process.pid for process in census(violence.instance, violence.ports)}


def test_both_are_of_one_class(violence):
    KINDS["kill both"](violence)

    roles = {fault.role: fault for fault in violence.faults}
    assert roles.keys() == {SERVER, DISTRIBUTOR}
    eventually(lambda: not any(alive(fault.pid) for fault in violence.faults), "both are dead")
    log = violence.instance.log
    (name,) = [line.split(" of ")[1].split()[0] for line in log.splitlines() if f"{roles[SERVER].pid}," in line]
    assert f"the Distributor of {name} (pid {roles[DISTRIBUTOR].pid}," in log


@pytest.mark.parametrize("role", ["server", "child", "Distributor"])
def test_the_stopped_go_on(violence, role):
    with a_child(violence):
        KINDS[f"stop {role}"](violence)

        (fault,) = violence.faults
        assert not fault.deadly
        eventually(lambda: state_of(fault.pid) == "T", "it is stopped")
        violence.pay(everything=True)
        eventually(lambda: state_of(fault.pid) != "T", "it goes on")


def test_the_monitor_goes_on_by_itself(violence):
    KINDS["stop Monitor"](violence)

    (fault,) = violence.faults
    assert fault.pid == violence.instance.process.pid
    assert violence.instance.status()


@pytest.mark.parametrize("role", ["server", "Distributor"])
def test_the_starved_can_open_nothing_until_they_are_fed(violence, role):
    KINDS[f"starve {role}"](violence)

    (fault,) = violence.faults
    limit = resource.prlimit(fault.pid, resource.RLIMIT_NOFILE)
    assert {int(fd) for fd in os.listdir(f"/proc/{fault.pid}/fd")} >= set(range(limit[0])), "all below are taken"
    violence.pay(everything=True)
    assert resource.prlimit(fault.pid, resource.RLIMIT_NOFILE)[0] > limit[0]


def test_an_element_is_lost_and_comes_back(violence):
    for _ in ELEMENTS:
        KINDS["lose element"](violence)

    lost = [fault.element for fault in violence.faults]
    assert len(lost) == len(ELEMENTS) - 2, "two are left"
    elements = {element["name"]: element["up"] for element in violence.instance.status()["elements"]}
    assert [name for name, up in elements.items() if not up] == sorted(lost)
    violence.pay(everything=True)
    assert all(element["up"] for element in violence.instance.status()["elements"])


def test_every_kind_is_tried_here():
    kinds = {f"{verb} {role}" for verb, roles in TRIED.items() for role in roles}
    assert kinds == KINDS.keys()


TRIED = {
    "kill": ("server", "child", "Distributor", "helper", "both"),
    "stop": ("server", "child", "Distributor", "Monitor"),
    "starve": ("server", "Distributor"),
    "lose": ("element",),
}
