"""What the kernel reports of connections: a connection is gone when its last descriptor is, wherever that was."""

import os
import signal
import socket

import pytest

from maitred.shell.io import kernel, sock_diag


@pytest.fixture(params=["127.0.0.1", "::1", "dual"])
def served(request):
    """A function that makes connections: the client's end and the server's."""
    if request.param == "dual":
        listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        host = "127.0.0.1"
    else:
        family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
        listener = socket.create_server((request.param, 0), family=family)
        host = request.param
    port = listener.getsockname()[1]
    opened = []

    def connect():
        client = socket.create_connection((host, port))
        server, _ = listener.accept()
        opened.extend((client, server))
        return client, server, (sock_diag.cookie_of(server), port)

    yield connect
    for each in (listener, *opened):
        each.close()


def test_a_cookie_is_the_same_through_a_duplicate_and_differs_between_connections(served):
    _, one, _ = served()
    _, two, _ = served()
    with one.dup() as duplicate:
        assert sock_diag.cookie_of(duplicate) == sock_diag.cookie_of(one)
    assert sock_diag.cookie_of(one) != sock_diag.cookie_of(two)


def test_open_connections_are_not_gone_closed_ones_are(served):
    connections = sock_diag.Connections()
    _, one, first = served()
    _, _two, second = served()
    assert connections.gone({first, second}) == set()

    one.close()

    assert connections.gone({first, second}) == {first[0]}


def test_a_duplicate_keeps_a_connection(served):
    connections = sock_diag.Connections()
    _, one, first = served()
    with one.dup():
        one.close()
        assert connections.gone({first}) == set()
    assert connections.gone({first}) == {first[0]}


def test_a_client_that_has_gone_is_not_a_connection_that_has(served):
    """The server's program still holds the connection: it has not even read the end yet."""
    connections = sock_diag.Connections()
    client, server, name = served()
    client.close()
    assert connections.gone({name}) == set()
    server.close()
    assert connections.gone({name}) == {name[0]}


def test_a_child_that_was_killed_has_let_go(served):
    connections = sock_diag.Connections()
    _, server, name = served()
    child = os.fork()
    if child == 0:
        signal.pause()
    server.close()
    assert connections.gone({name}) == set()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert connections.gone({name}) == {name[0]}


def test_first_seen_when_it_has_gone_already(served):
    _, server, name = served()
    server.close()
    assert sock_diag.Connections().gone({name}) == {name[0]}


def test_what_a_listing_lacks_is_asked_for_by_its_addresses(served, monkeypatch):
    """A listing that skips an entry, as a busy kernel's may, does not make a connection gone."""
    connections = sock_diag.Connections()
    _, server, name = served()
    assert connections.gone({name}) == set()
    monkeypatch.setattr(connections, "_list", lambda port: set())
    assert connections.gone({name}) == set()
    server.close()
    assert connections.gone({name}) == {name[0]}


def count_listings(connections, monkeypatch):
    """The ports that are listed from now on."""
    listed, really = [], connections._list
    monkeypatch.setattr(connections, "_list", lambda port: listed.append(port) or really(port))
    return listed


def test_a_port_is_listed_once_more_for_all_that_a_listing_lacks(served, monkeypatch):
    """Short connections are never seen alive: their number is not that of the listings."""
    connections = sock_diag.Connections()
    made = [served() for _ in range(50)]
    for _, server, _ in made[1:]:
        server.close()
    listed = count_listings(connections, monkeypatch)
    assert connections.gone({name for _, _, name in made}) == {cookie for _, _, (cookie, _) in made[1:]}
    assert listed == [made[0][2][1]] * 2


def test_what_left_while_the_kernel_was_asked_is_not_gone(served, monkeypatch):
    """One client has been counted out since, one only while the kernel was asked again; the third is gone."""
    connections = sock_diag.Connections()
    made = [served() for _ in range(3)]
    for _, server, _ in made:
        server.close()
    early, late, forgotten = (name for _, _, name in made)
    counts = iter([{late, forgotten}, {forgotten}])
    assert connections.gone({early, late, forgotten}, lambda: next(counts)) == {forgotten[0]}
    listed = count_listings(connections, monkeypatch)
    assert connections.gone({early, late}, set) == set()
    assert len(listed) == 1  # nothing is missing: nothing is listed again


def test_a_connection_that_waits_out_its_time_is_not_listed(served, monkeypatch):
    """There may be a hundred thousand of them on a port."""
    made = [served() for _ in range(3)]
    (_, _, (_, port)), *short = made
    for client, server, _ in short:
        server.close()
        client.close()
    answers, really = [], sock_diag._ask

    def ask(*args, **kwargs):
        for answer in really(*args, **kwargs):
            answers.append(answer.cookie)
            yield answer

    monkeypatch.setattr(sock_diag, "_ask", ask)
    assert sock_diag.Connections()._list(port) == {made[0][2][0]} == set(answers)


def test_many_connections(served):
    connections = sock_diag.Connections()
    made = [served() for _ in range(300)]
    names = {name for _, _, name in made}
    for _, server, _ in made[:100]:
        server.close()
    assert connections.gone(names) == {name[0] for _, _, name in made[:100]}


def test_a_kernel_that_declines_is_not_an_answer(served, monkeypatch):
    _, _, name = served()
    monkeypatch.setattr(sock_diag, "_SOCK_DIAG_BY_FAMILY", 99)
    with pytest.raises(OSError):
        sock_diag.Connections().gone({name})


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", {0}), ("0-3", {0, 1, 2, 3}), ("0-1,4,6-7\n", {0, 1, 4, 6, 7}), ("", set())]
)
def test_cpu_lists(text, cpus):
    assert kernel.online_cpus(text) == cpus


def test_this_cpu_is_online():
    assert os.sched_getaffinity(0) <= kernel.online_cpus()


def test_a_signal_to_who_has_gone():
    child = os.fork()
    if child == 0:
        signal.pause()
    pidfd = os.pidfd_open(child)
    assert kernel.send_signal(pidfd, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not kernel.send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
