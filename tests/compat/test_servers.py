"""Unmodified servers behind three copies each, with real clients: every count is exact before, during and after.

That is what `maitred status --json` shows, and what the kernel reports of who holds which connection.
"""

import os
from collections import Counter

import pytest
from tests.compat import kernel
from tests.compat.makes import FOREIGN, HERE, MAKES, SYSTEM
from tests.machine import free_port
from tests.system.harness import eventually, session_of

pytestmark = pytest.mark.system
PROGRAMS = [str(SYSTEM), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(PROGRAMS), "PYTHONDONTWRITEBYTECODE": "1"}


def parameters(makes):
    return [pytest.param(make, id=make.name, marks=() if make.quick else pytest.mark.compat) for make in makes]


@pytest.mark.parametrize("make", parameters([make for make in MAKES if not make.fails]))
def test_every_count_is_exact(maitred, make, record_property):
    record_property("server", make.name)
    record_property("version", make.version)
    ports = [free_port(make.host) for _ in range(make.ports)]
    instance = maitred(*make.arguments(*ports), environment=ENVIRONMENT)
    mains = {server["pid"] for server in instance.servers()}
    assert len(mains) == 3
    check(instance, mains, ports, {})

    clients, told = [], []
    for i in range(3 * make.each):  # one after another: to a copy that is slow to answer goes nobody
        clients.append(make.client(ports[i % len(ports)], make.host))
        if make.client.keeps:
            told.append(clients[-1].told())
        eventually(lambda i=i: sum(instance.counts()) == i + 1, f"{i + 1} clients are counted")
    seated = Counter(dict.fromkeys(mains, make.each))
    instance.wait_counts(list(seated.values()))
    check(instance, mains, ports, seated)
    if not make.client.keeps:
        told = [client.told() for client in clients]
    by_server = Counter(session_of(answer["pid"]) for answer in told if "pid" in answer and make.client.keeps)
    assert by_server in ({}, seated)
    for client, answer in zip(clients, told, strict=True):
        host, port = answer.get("peer", client.me)
        assert host.removeprefix("::ffff:") == client.me[0]
        assert port in (client.me[1], 0)

    if make.client.keeps:
        assert all(client.works() for client in clients)
        clients.pop().close()
        instance.wait_counts(sorted([make.each - 1, make.each, make.each]))
        check(instance, mains, ports)
    for client in clients:
        client.close()
    instance.wait_counts([0, 0, 0])
    check(instance, mains, ports, {})
    assert {server["pid"] for server in instance.servers()} == mains


@pytest.mark.parametrize("make", parameters([make for make in MAKES if make.fails and make not in FOREIGN]))
def test_a_server_that_cannot_work_fails_for_the_reason_in_the_table(maitred, make, record_property):
    record_property("server", make.name)
    record_property("version", make.version)
    instance = maitred(*make.arguments(free_port()), environment=ENVIRONMENT, ready=False)

    instance.wait_log(make.fails)


def check(instance, mains, ports, expected=None):
    """The status, asked by the command, and the kernel agree, server by server; and are as expected."""

    def agree():
        said = {server["pid"]: server["clients"] for server in instance.status_by_command()["classes"][0]["servers"]}
        return Counter(said) == kernel.held_by(mains, *ports) and said

    said = eventually(agree, lambda: f"the kernel: {kernel.held_by(mains, *ports)}, the status: {instance.counts()}", 2)
    if expected is not None:
        assert Counter(said) == Counter(expected)


def test_a_status_that_the_kernel_contradicts_is_noticed(maitred):
    """The check itself can fail, either way."""
    make, port = MAKES[0], free_port()
    instance = maitred(*make.arguments(port), environment=ENVIRONMENT)
    mains = {server["pid"] for server in instance.servers()}
    client = make.client(port)
    instance.wait_counts([0, 0, 1])
    check(instance, mains, [port])

    truth = instance.status_by_command
    for wrong in (0, 2):
        instance.status_by_command = lambda wrong=wrong: _with_counts(truth(), wrong)
        with pytest.raises(AssertionError, match="the kernel: Counter"):
            check(instance, mains, [port])
    client.close()


def _with_counts(status, wrong):
    """The status, with another count where a client is."""
    for server in status["classes"][0]["servers"]:
        server["clients"] = wrong if server["clients"] else 0
    return status
