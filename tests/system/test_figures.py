"""FIGS. 10 to 13 of the patent application, acted out with real processes and real clients.

The figures have four processing elements; here an element is a set of CPUs, and elements may share them.
"""

import os

import pytest
from tests.machine import free_port
from tests.processes import alive
from tests.system.harness import eventually, greeter, inode_of_connection, sockets_of, write_config

pytestmark = pytest.mark.system
CPUS = sorted(os.sched_getaffinity(0))


def elements(count):
    """Processing elements 34a, 34b, 34c, ... as in the figures."""
    return [{"name": f"34{'abcdefgh'[i]}", "cpus": [CPUS[i % len(CPUS)]]} for i in range(count)]


def served_on(instance, pid, index=0):
    """The processing element of the server with this pid."""
    return next(server["element"] for server in instance.servers(index) if server["pid"] == pid)


# ---------------------------------------------------------------- FIG. 10


def test_figure_10_one_class_on_four_elements(patent_ports, maitred, guests, tmp_path):
    """Clients of port 4049 are shared out, then client and server talk directly."""
    config = write_config(tmp_path / "fig10.toml", [greeter(4049, static=4)], elements(4))
    instance = maitred("--config", config)
    servers = {server["pid"]: server["element"] for server in instance.servers()}
    assert sorted(servers.values()) == ["34a", "34b", "34c", "34d"]
    assert instance.server_class()["ports"][0]["port"] == 4049

    seats = {}
    for client in (guests(4049) for _ in range(8)):
        seats[client] = client.seated()

    order = list(seats.values())
    assert sorted(order[:4]) == sorted(servers), "the first four go to one server each"
    assert sorted(order[4:]) == sorted(servers), "and so do the next four"
    instance.wait_counts([2, 2, 2, 2])
    distributor = instance.distributor()
    for client, server in seats.items():
        inode = inode_of_connection(4049, client.port)
        assert inode in sockets_of(server)
        eventually(lambda inode=inode: inode not in sockets_of(distributor), "the Distributor let go of the connection")
        assert inode not in sockets_of(instance.process.pid)

    instance.kill(distributor)  # it is in nobody's way: nor is its absence
    assert [client.ask("hello") for client in seats] == ["hello"] * 8
    instance.wait_counts([2, 2, 2, 2])


def test_figure_10_the_least_busy_server_is_next(maitred, guests, tmp_path):
    """Whoever has lost clients gets the new ones."""
    port = free_port()
    config = write_config(tmp_path / "fig10.toml", [greeter(port, static=4)], elements(4))
    instance = maitred("--config", config)
    seats = {}
    for client in (guests(port) for _ in range(8)):
        seats[client] = client.seated()
    emptied = next(iter(seats.values()))

    for client, server in seats.items():
        if server == emptied:
            client.close()
    instance.wait_counts([0, 2, 2, 2])

    assert [guests(port).seated() for _ in range(2)] == [emptied, emptied]
    instance.wait_counts([2, 2, 2, 2])


# ---------------------------------------------------------------- FIG. 11


def test_figure_11_a_server_is_created_for_one_client_too_many(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(
        tmp_path / "fig11.toml",
        [greeter(port, static=4, dynamic=1, max_clients=1)],
        elements(4),
        create_delay=0.1,
        delete_delay=1.0,
    )
    instance = maitred("--config", config)
    static = {server["pid"] for server in instance.servers()}
    assert {guests(port).seated() for _ in range(4)} == static
    assert {server["kind"] for server in instance.servers()} == {"static"}
    instance.wait_counts([1, 1, 1, 1])

    late = guests(port)
    seat = late.seated()

    (dynamic,) = [server for server in instance.servers() if server["kind"] == "dynamic"]
    assert dynamic["pid"] == seat and seat not in static
    assert late.ask("hello 52e") == "hello 52e"
    instance.wait_counts([1, 1, 1, 1, 1])
    assert instance.waiting() == 0

    too_many = guests(port)
    instance.wait_waiting(1)
    assert not too_many.is_greeted(), "there is one dynamic server, and no more"
    too_many.close()
    instance.wait_waiting(0)

    late.close()
    eventually(
        lambda: "dynamic" not in {server["kind"] for server in instance.servers() if server["pid"]},
        "the idle dynamic server is stopped after the delete delay",
    )
    assert not alive(seat)
    assert {server["pid"] for server in instance.servers() if server["pid"]} == static


# ---------------------------------------------------------------- FIG. 12


def fail(instance, name):
    """The processing element fails."""
    outcome = instance.command("element", name, "down", "--control", instance.control)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def replaced(instance, lost, count):
    """Whether so many servers are ready and none of them is a lost one."""
    servers = [server for server in instance.servers() if server["state"] in {"ready", "busy", "full"}]
    return len(servers) == count and not {server["pid"] for server in servers} & lost


def test_figure_12_an_element_fails_and_its_client_comes_back(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "fig12.toml", [greeter(port, static=4)], elements(4))
    instance = maitred("--config", config)
    distributor = instance.server_class()["distributor"]
    clients = {guest.seated(): guest for guest in (guests(port) for _ in range(4))}
    seats = {server["element"]: server["pid"] for server in instance.servers()}
    failing = next(name for name in ("34c", "34b", "34d") if name != distributor["element"])
    lost = seats[failing]

    fail(instance, failing)

    eventually(lambda: not alive(lost), "what is on the element dies")
    assert clients[lost].ended(), "the client sees its connection end"
    again = guests(port)
    assert again.seated() != lost
    assert served_on(instance, again.seated()) != failing
    eventually(lambda: replaced(instance, {lost}, 4), lambda: f"another server is started elsewhere\n{instance.log}")
    assert failing not in {server["element"] for server in instance.servers()}
    assert instance.server_class()["distributor"]["pid"] == distributor["pid"]
    for server, client in clients.items():
        if server != lost:
            assert client.ask("hello") == "hello", "the other elements' clients notice nothing"
    instance.wait_counts([0, 1, 1, 2] if again.seated() in seats.values() else [1, 1, 1, 1])


def test_figure_12_the_distributor_was_on_the_element_that_fails(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "fig12.toml", [greeter(port, static=4)], elements(4))
    instance = maitred("--config", config)
    distributor = instance.server_class()["distributor"]
    clients = {guest.seated(): guest for guest in (guests(port) for _ in range(4))}
    failing = distributor["element"]
    lost = {server["pid"] for server in instance.servers() if server["element"] == failing}
    assert len(lost) == 1

    fail(instance, failing)

    again = guests(port)  # at once: the Distributor is dead, the port is not
    eventually(lambda: not any(map(alive, [distributor["pid"], *lost])), "all that is on the element dies together")
    (victim,) = lost
    assert clients[victim].ended()
    assert again.seated() not in lost
    assert served_on(instance, again.seated()) != failing
    eventually(lambda: replaced(instance, lost, 4), lambda: f"another server is started elsewhere\n{instance.log}")
    now = instance.server_class()["distributor"]
    assert now["element"] != failing and now["incarnation"] == 2
    for server, client in clients.items():
        if server != victim:
            assert client.ask("hello") == "hello"
    eventually(lambda: sum(instance.counts()) == 4, lambda: f"{instance.counts()}: the counts are exact again")


# ---------------------------------------------------------------- FIG. 13


def test_figure_13_two_classes_with_a_distributor_each(patent_ports, maitred, guests, tmp_path):
    classes = [greeter(4049, name="employee_svc", static=2), greeter(6157, name="manager_svc", static=2)]
    config = write_config(tmp_path / "fig13.toml", classes, elements(4))
    instance = maitred("--config", config)
    status = instance.status()
    assert [cls["name"] for cls in status["classes"]] == ["employee_svc", "manager_svc"]
    assert [[p["port"] for p in cls["ports"]] for cls in status["classes"]] == [[4049], [6157]]
    employee, manager = (cls["distributor"]["pid"] for cls in status["classes"])
    assert employee != manager

    served = {port: {guests(port).seated() for _ in range(4)} for port in (4049, 6157)}
    for port, cls in zip((4049, 6157), status["classes"], strict=True):
        assert served[port] == {server["pid"] for server in cls["servers"]}
    assert not served[4049] & served[6157]

    instance.kill(employee)
    undisturbed = [guests(6157).seated() for _ in range(4)]
    recovered = [guests(4049).seated() for _ in range(4)]

    assert set(undisturbed) == served[6157] and set(recovered) == served[4049]
    after = [cls["distributor"] for cls in instance.status()["classes"]]
    assert after[1]["pid"] == manager and after[1]["incarnation"] == 1
    assert after[0]["pid"] != employee and after[0]["incarnation"] == 2
    for index in (0, 1):
        instance.wait_counts([4, 4], index=index)
