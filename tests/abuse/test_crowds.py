"""Many clients, and clients of bad manners: what they cost the Distributor and the Monitor, and who suffers from them.

Each abuse has a row on `docs/explanation/load-and-abuse.md`; the figures there are of the long runs of these tests.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from tests.abuse.catalogue import IDLE_BYTES, SLACK_BYTES, WAITING_BYTES, says
from tests.abuse.measures import (
    MINUTES,
    Crowd,
    backlog,
    bent,
    config,
    descriptors,
    eventually,
    guest,
    is_calm,
    note,
    resident,
    sink,
    vanish,
)
from tests.machine import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]
PATIENT = {"queue_timeout": 600}
"""Nobody is turned away for want of a seat."""


def open_descriptors(instance):
    """The least of some looks: the audit has a socket of its own for a moment."""
    looks = []
    for _ in range(10):
        looks.append({name: descriptors(pid) for name, pid in instance.pids().items()})
        time.sleep(0.01)
    return {name: min(look[name] for look in looks) for name in looks[0]}


def memory(instance):
    return {name: resident(pid) for name, pid in instance.pids().items()}


def growth(before, after):
    return {name: after[name] - before[name] for name in before}


# ---------------------------------------------------------------- idle clients


def idle(strained, tmp_path, clients, servers, environment=None):
    """What so many idle clients cost, in all: descriptors and bytes, and a share of the processor."""
    port = free_port()
    seats = -(-clients // servers)
    path = config(tmp_path, sink(port, static=servers, max_clients=seats), **PATIENT)
    instance = strained("--config", path, trace=False, environment=environment)
    with Crowd(port) as crowd:
        crowd.join(servers).greeted()  # what is needed once is had now
        instance.wait_counts([1] * servers)
        fds, bytes_before = open_descriptors(instance), memory(instance)
        crowd.join(clients - servers).greeted()
        instance.wait_counts([seats] * servers)
        shares = is_calm(instance.pids())
        cost = growth(fds, open_descriptors(instance)), growth(bytes_before, memory(instance))
    instance.wait_counts([0] * servers)
    return *cost, shares


@pytest.mark.parametrize(
    ("clients", "servers"), [(600, 3), pytest.param(10_000, 16, marks=pytest.mark.campaign)], ids=["few", "many"]
)
def test_idle_clients_cost_no_descriptor_and_little_memory(strained, tmp_path, clients, servers):
    fds, grown, shares = idle(strained, tmp_path, clients, servers)

    assert fds == {"monitor": 0, "distributor": 0}
    assert max(grown.values()) < SLACK_BYTES + IDLE_BYTES * clients
    note(
        "idle",
        clients=clients,
        servers=servers,
        distributor_bytes=max(grown["distributor"], 0) / clients,
        monitor_bytes=max(grown["monitor"], 0) / clients,
        distributor_cpu=shares["distributor"],
        monitor_cpu=shares["monitor"],
    )


def test_a_distributor_that_keeps_its_copies_is_noticed(strained, tmp_path):
    fds, _, _ = idle(strained, tmp_path, 30, 3, bent("hold copies"))

    assert fds["distributor"] == 27


# ---------------------------------------------------------------- a waiting list at its bound


def queue(strained, tmp_path, limit, behind, environment=None):
    """An instance of one seat, which is taken, with a crowd that waits: in the list, and behind it in the backlog."""
    port = free_port()
    path = config(tmp_path, sink(port, static=1, max_clients=1, waiting_limit=limit), **PATIENT)
    instance = strained("--config", path, trace=False, environment=environment)
    seated, crowd = guest(port), Crowd(port)
    seated.seated()
    before = memory(instance)
    crowd.join(limit + behind)
    eventually(lambda: instance.waiting() >= limit, "they wait")
    return instance, seated, crowd, before


@pytest.mark.parametrize(
    ("limit", "behind"), [(200, 100), pytest.param(5_000, 2_000, marks=pytest.mark.campaign)], ids=["few", "many"]
)
def test_at_the_bound_the_rest_wait_in_the_backlog(strained, tmp_path, limit, behind):
    instance, seated, crowd, before = queue(strained, tmp_path, limit, behind)
    with crowd:
        port = crowd.port
        eventually(lambda: backlog(port) == behind, lambda: f"{backlog(port)} in the backlog")
        assert instance.waiting() == limit
        says(instance, "waiting")
        grown = growth(before, memory(instance))
        shares = is_calm(instance.pids())
        assert (instance.waiting(), backlog(port)) == (limit, behind), "nobody has come in meanwhile"
        assert max(grown.values()) < SLACK_BYTES + WAITING_BYTES * limit

        seated.close()
        for client in crowd.sockets[: min(limit + behind, 400)]:  # in the order of their arrival
            assert client.recv(200).startswith(b"welcome ")
            client.close()
        instance.wait_counts([1] if len(crowd.sockets) > 400 else [0])
    note(
        "waiting",
        limit=limit,
        behind=behind,
        distributor_bytes=max(grown["distributor"], 0) / limit,
        monitor_bytes=max(grown["monitor"], 0) / limit,
        distributor_cpu=shares["distributor"],
        monitor_cpu=shares["monitor"],
    )


def ready(clients, events, within):
    """Those of the clients on which there is news so soon (`select` would know no descriptor over 1,023)."""
    poll = select.poll()
    for client in clients:
        poll.register(client, events)
    news = {fd for fd, _ in poll.poll(within * 1000)}
    return [client for client in clients if client.fileno() in news]


@pytest.mark.campaign
def test_where_the_backlog_is_full_too_clients_try_again_by_themselves(strained, tmp_path):
    longest = int(Path("/proc/sys/net/core/somaxconn").read_text())
    instance, seated, crowd, _ = queue(strained, tmp_path, 5, longest + 1)
    late = [socket.socket() for _ in range(20)]
    with crowd, contextlib.ExitStack() as stack:
        for each in late:
            stack.enter_context(each).settimeout(0)
            assert each.connect_ex(("127.0.0.1", crowd.port)) == errno.EINPROGRESS
        assert ready(late, select.POLLOUT, 2) == [], "neither connected nor refused"

        crowd.leave()
        seated.close()

        while late:  # in whichever order the kernel has tried again
            greeted = ready(late, select.POLLIN, MINUTES)
            assert greeted, "connected and served in the end"
            for each in greeted:
                assert each.recv(200).startswith(b"welcome ")
                late.remove(each)
                each.close()
        instance.wait_counts([0])


def test_a_list_without_a_bound_is_noticed(strained, tmp_path):
    instance, seated, crowd, _ = queue(strained, tmp_path, 20, 20, bent("no limit"))
    with crowd, seated:
        instance.wait_waiting(40)
        assert backlog(crowd.port) == 0


# ---------------------------------------------------------------- clients that vanish


@pytest.mark.parametrize("number", [600, pytest.param(60_000, marks=pytest.mark.campaign)], ids=["few", "many"])
@pytest.mark.parametrize("seats", ["free", "taken"])
def test_clients_that_connect_and_vanish_leave_nothing_behind(strained, tmp_path, seats, number):
    port = free_port()
    cls = sink(port, static=2, max_clients=50 if seats == "free" else 1)
    path = config(tmp_path, cls, queue_timeout=600 if seats == "free" else 1)
    instance = strained("--config", path, trace=None if number <= 600 and seats == "taken" else False)
    with guest(port) as one, guest(port) as other:
        assert one.seated() != other.seated()
        vanish(port, 300, 1_000)
        gone(instance)
        fds, before = open_descriptors(instance), memory(instance)

        rate = vanish(port, number, 1_000)

        gone(instance)
        assert [each.ask("hello") for each in (one, other)] == ["hello", "hello"]
        eventually(  # fewer is no leak: before, some of those that had vanished could still be there
            lambda: all(now <= fds[name] for name, now in open_descriptors(instance).items()),
            lambda: f"{open_descriptors(instance)} descriptors, {fds} before",
        )
        grown = growth(before, memory(instance))
        assert max(grown.values()) < 4 << 20, "bounded, however many come"
    note(f"vanish_{seats}", number=number, rate=rate, **{f"{name}_grown": max(grown[name], 0) for name in grown})


def gone(instance):
    """Wait until nobody is left but the two who stay."""
    instance.wait_waiting(0)
    instance.wait_counts([1, 1])


# ---------------------------------------------------------------- slow clients, and servers that keep theirs


def slow(instance, port, number, seats):
    """Clients that take every seat, and complete no line."""
    crowd = Crowd(port).join(number)
    crowd.greeted()
    instance.wait_counts(seats)
    for client in crowd.sockets:
        client.sendall(b"GET /")
    return crowd


def test_slow_clients_hold_their_seats_until_the_server_loses_patience(strained, tmp_path):
    port, mark = free_port(), tmp_path / "tired"
    path = config(tmp_path, sink(port, f"tires={mark}", static=2, max_clients=3), **PATIENT)
    instance = strained("--config", path)
    with slow(instance, port, 6, [3, 3]) as crowd, guest(port) as honest:
        instance.wait_waiting(1)
        for letter in b"slow":
            time.sleep(0.1)
            for client in crowd.sockets:
                client.send(bytes([letter]))
        is_calm(instance.pids())
        assert instance.waiting() == 1

        mark.touch()

        assert honest.seated(), "the server has closed a slow one, and the Distributor seats who waits"


def test_who_waits_behind_slow_clients_is_closed_in_the_end(strained, tmp_path):
    port = free_port()
    path = config(tmp_path, sink(port, static=2, max_clients=3), queue_timeout=1)
    instance = strained("--config", path)
    with slow(instance, port, 6, [3, 3]) as crowd, guest(port) as honest:
        assert honest.ended()
        says(instance, "slow")
        instance.wait_waiting(0)
        crowd.sockets.pop().close()
        with guest(port) as next_one:
            assert next_one.seated(), "a seat that is given up is there for the next"


def is_served(port, instead_of):
    """Whether a client is served by another than this; it may have been closed, having waited too long."""
    with guest(port) as client, contextlib.suppress(AssertionError, OSError):
        return client.seated() != instead_of
    return False


def test_a_server_that_never_closes_is_full_until_it_is_killed(strained, tmp_path):
    """The kernel agrees that it holds them, so the audit takes none away."""
    port = free_port()
    path = config(tmp_path, sink(port, "keep", static=1, max_clients=4), queue_timeout=1, audit_period=0.1)
    instance = strained("--config", path)
    with Crowd(port).join(4) as crowd:
        [victim] = set(crowd.greeted())
    with guest(port) as late:
        assert late.ended()
    says(instance, "never closes")
    shares = is_calm(instance.pids())
    assert instance.counts() == [4]
    assert [server["state"] for server in instance.servers()] == ["full"]

    instance.kill(victim)

    eventually(lambda: is_served(port, instead_of=victim), "its seats are there again")
    note("never_closes", distributor_cpu=shares["distributor"])


# ---------------------------------------------------------------- a stopped server


def stopped(strained, tmp_path, **durations):
    """An instance of two servers, one of which is stopped and has been handed a client."""
    port = free_port()
    path = config(tmp_path, sink(port, static=2, max_clients=50), **PATIENT, **durations)
    instance = strained("--config", path)
    victim = instance.servers()[0]["pid"]
    os.kill(victim, signal.SIGSTOP)
    return instance, victim, Crowd(port).join(8)


def test_a_stopped_server_delays_one_client_until_it_is_continued(strained, tmp_path):
    instance, victim, crowd = stopped(strained, tmp_path)
    with crowd:
        instance.wait_counts([0, 7])
        shares = is_calm(instance.pids())
        assert instance.counts() == [0, 7]

        os.kill(victim, signal.SIGCONT)

        assert crowd.greeted().count(victim) == 1
        instance.wait_counts([1, 7])
    note("stopped", distributor_cpu=shares["distributor"])


def test_a_server_that_stays_stopped_is_killed_and_its_client_served_elsewhere(strained, tmp_path):
    instance, victim, crowd = stopped(strained, tmp_path, hand_off_timeout=2)
    with crowd:
        assert victim not in crowd.greeted()
        says(instance, "stopped")
        instance.wait_all_ready()
