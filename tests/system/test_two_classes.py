"""Two server classes that have nothing in common: whatever is done with the one is done by its own configuration.

They differ in program, port, number of servers, maximum, waiting limit and processing elements.  Each test does the
same to the one and then to the other, so that it does not matter whose configuration is taken for whose.
"""

import json
import os
import signal
from collections import Counter

import pytest
from tests.machine import free_port
from tests.processes import alive
from tests.system.harness import SERVERS, Guest, eventually, refused, write_config

pytestmark = pytest.mark.system
CPUS = sorted(os.sched_getaffinity(0))
CPUS_OF = {"own": CPUS[:1], "heavy": CPUS[-1:], "light": CPUS}
WEIGHTS = {"own": 2, "heavy": 3, "light": 1}
SHARES = {"greeters": [("own", 1)] * 3, "tellers": [("heavy", 3), ("light", 1)]}
"""Where the servers of each class run, and how its first clients are shared out among them, as the weights set it."""


class Greeted(Guest):
    """A client of `servers/lines.py`, which greets otherwise than `servers/greeter.py`."""

    def seated(self):
        if self.server is None:
            told = json.loads(self.lines.readline())
            assert told["peer"] == list(self.socket.getsockname())
            self.server = told["pid"]
        return self.server


class Side:
    """One of the two classes as a test sees it: its configuration, its clients, its part of the status."""

    def __init__(self, index, client, table):
        self.index = index
        self.client = client
        self.name = table["name"]
        self.script = table["script"]
        self.address = table["listen"]
        self.port = int(self.address.rpartition(":")[2])
        self.static = table["static"]
        self.maximum = table["max_clients"]
        self.limit = table["waiting_limit"]
        self.seats = self.static * self.maximum
        self.places = sorted(element for element, _ in SHARES[self.name])
        self.first = sum(clients for _, clients in SHARES[self.name])
        self.full = [self.maximum] * self.static
        self.guests = []
        self.instance = None

    def connect(self):
        self.guests.append(self.client(self.port))
        return self.guests[-1]

    def seat(self, count):
        """So many clients, each seated before the next comes."""
        come = []
        for _ in range(count):
            come.append(self.connect())
            come[-1].seated()
        return come

    def wait_for_a_seat(self, count):
        """So many clients for whom there is no seat."""
        come = [self.connect() for _ in range(count)]
        self.wait_waiting(min(count, self.limit))
        return come

    def leave(self):
        """Every client leaves, and is counted out."""
        while self.guests:
            self.guests.pop().close()
        self.wait_waiting(0)
        self.wait_counts([0] * self.static)

    def status(self):
        return self.instance.server_class(self.index)

    def servers(self):
        """The processing element of each server that runs, by pid."""
        return {server["pid"]: server["element"] for server in self.status()["servers"] if server["pid"]}

    def shares(self, guests):
        """The element of each server, and how many of these clients it has."""
        seats = Counter(guest.seated() for guest in guests)
        return sorted((element, seats[pid]) for pid, element in self.servers().items())

    def waiting(self):
        return self.instance.waiting(self.index)

    def wait_waiting(self, count):
        self.instance.wait_waiting(count, index=self.index)

    def wait_counts(self, counts):
        self.instance.wait_counts(counts, index=self.index)


@pytest.fixture
def sides(maitred, tmp_path):
    """An instance of the two classes: the first and the second."""
    ports = free_port(), free_port()
    assert ports[0] != ports[1]
    greeters = {
        "name": "greeters",
        "script": str(SERVERS / "greeter.py"),
        "args": [f"127.0.0.1:{ports[0]}"],
        "listen": f"127.0.0.1:{ports[0]}",
        "static": 3,
        "max_clients": 2,
        "waiting_limit": 3,
        "elements": ["own"],
    }
    tellers = {
        "name": "tellers",
        "script": str(SERVERS / "lines.py"),
        "args": ["threading", "127.0.0.1", str(ports[1])],
        "listen": f"127.0.0.1:{ports[1]}",
        "static": 2,
        "max_clients": 5,
        "waiting_limit": 2,
        "elements": ["heavy", "light"],
    }
    elements = [{"name": name, "cpus": cpus, "weight": WEIGHTS[name]} for name, cpus in CPUS_OF.items()]
    config = write_config(tmp_path / "two.toml", [greeters, tellers], elements, backoff_first=0.05, stable_after=60)
    both = Side(0, Guest, greeters), Side(1, Greeted, tellers)
    instance = maitred("--config", config)
    for side in both:
        side.instance = instance
    yield both
    for side in both:
        for guest in side.guests:
            guest.close()


def each_and_the_other(sides):
    return sides, sides[::-1]


def steps(instance, key, kind):
    """What the trace has of this event or effect of the Monitor."""
    complete, _, _ = instance.trace.read_text().rpartition("\n")
    records = [json.loads(line) for line in complete.splitlines()]
    return [r[key] for r in records if r["who"] == "monitor" and key in r and r[key]["is"] == kind]


def test_each_class_has_its_own_program_elements_and_maximum(sides):
    """With the one full its clients wait, and the other's are served meanwhile."""
    for side, other in each_and_the_other(sides):
        servers = side.servers()
        assert sorted(servers.values()) == side.places
        assert not servers.keys() & other.servers().keys()
        assert [(port["port"], port["address"]) for port in side.status()["ports"]] == [(side.port, side.address)]
        for pid, element in servers.items():
            with open(f"/proc/{pid}/cmdline", "rb") as command:
                assert side.script.encode() in command.read()
            assert sorted(os.sched_getaffinity(pid)) == CPUS_OF[element]
        distributor = side.status()["distributor"]
        assert distributor["element"] == side.places[0]
        assert sorted(os.sched_getaffinity(distributor["pid"])) == CPUS_OF[side.places[0]]

        first = side.seat(side.first)  # each is greeted as this program greets

        assert side.shares(first) == SHARES[side.name]
        assert {guest.seated() for guest in first} == servers.keys()
        assert [guest.ask("hello") for guest in first] == ["hello"] * len(first)
        other.wait_counts([0] * other.static)

        served = first + side.seat(side.seats - side.first)
        late = side.wait_for_a_seat(side.limit + 1)
        side.wait_counts(side.full)

        elsewhere = other.seat(other.seats)
        other.wait_counts(other.full)
        assert [guest.ask("hello") for guest in elsewhere] == ["hello"] * other.seats
        assert other.waiting() == 0

        assert not late[0].is_greeted()
        assert side.waiting() == side.limit, "one is in the kernel's backlog"
        assert side.status()["waiting_limit"] == side.limit
        for guest, successor in zip(served, late, strict=False):
            assert not successor.is_greeted(0.05)
            guest.close()
            assert successor.seated() == guest.server, "the only one that has a seat"
        side.wait_waiting(0)
        side.wait_counts(side.full)
        for each in sides:
            each.leave()


def test_a_distributor_that_dies_is_replaced_in_its_own_class_alone(sides):
    instance = sides[0].instance
    for side, other in each_and_the_other(sides):
        served = side.seat(side.seats)
        late = side.wait_for_a_seat(side.limit)
        elsewhere = other.seat(other.seats)
        waiting_elsewhere = other.wait_for_a_seat(other.limit)
        for each in sides:
            each.wait_counts(each.full)
        before, untouched = side.status(), other.status()
        servers = side.servers()
        killed = before["distributor"]["pid"]

        instance.kill(killed)

        assert [guest.ask("hello") for guest in elsewhere] == ["hello"] * other.seats
        eventually(lambda side=side, killed=killed: instance.distributor(side.index) != killed, "its death is seen")
        side.wait_waiting(side.limit)
        side.wait_counts(side.full)
        after = side.status()
        assert other.status() == untouched
        assert after["distributor"]["incarnation"] == before["distributor"]["incarnation"] + 1
        assert after["distributor"]["element"] == before["distributor"]["element"]
        assert side.servers() == servers, "they have been adopted, not replaced"
        arrivals = [[client["arrival"] for client in each["waiting_list"]] for each in (before, after)]
        assert arrivals[0] == arrivals[1] and len(arrivals[0]) == side.limit
        assert [guest.ask("hello") for guest in served] == ["hello"] * side.seats
        for guests in (late, waiting_elsewhere):
            assert not any(guest.is_greeted(0.05) for guest in guests)

        for guest, successor in zip(served, late, strict=False):
            guest.close()
            assert successor.seated() == guest.server, "who was first before the death is first after it"
        elsewhere[0].close()
        assert waiting_elsewhere[0].seated() == elsewhere[0].server
        for each in sides:
            each.leave()

        again = side.seat(side.seats)  # as many as before, whose weights and maximum are those of before
        side.wait_counts(side.full)
        assert side.shares(again[: side.first]) == SHARES[side.name]
        (one_more,) = side.wait_for_a_seat(1)
        assert not one_more.is_greeted()
        side.wait_counts(side.full)
        side.leave()
    assert Counter(step["class_id"] for step in steps(instance, "effect", "StartDistributor")) == {0: 2, 1: 2}
    assert Counter(step["class_id"] for step in steps(instance, "effect", "StartServer")) == {0: 3, 1: 2}


def test_a_server_that_dies_is_replaced_in_its_own_class_alone(sides):
    instance = sides[0].instance
    for side, other in each_and_the_other(sides):
        first, *rest = side.seat(side.first)
        elsewhere = other.seat(other.static)
        before, untouched = side.servers(), other.servers()
        lost = first.seated()

        instance.kill(lost)

        assert first.ended()
        eventually(lambda side=side, lost=lost: lost not in side.servers(), "its death is seen")
        instance.wait_all_ready()
        after = side.servers()
        (successor,) = after.keys() - before.keys()
        assert after.keys() == before.keys() - {lost} | {successor}
        assert after[successor] == before[lost]
        assert other.servers() == untouched
        there = [guest for guest in rest if guest.seated() != lost]
        assert [guest.ask("hello") for guest in there + elsewhere] == ["hello"] * (len(there) + other.static)
        there += side.seat(side.seats - len(there))
        side.wait_counts(side.full)
        (one_more,) = side.wait_for_a_seat(1)
        assert not one_more.is_greeted()

        status = instance.status_by_command()
        shown = status["classes"][side.index]
        assert (shown["name"], shown["waiting"], shown["waiting_limit"]) == (side.name, 1, side.limit)
        assert [port["address"] for port in shown["ports"]] == [side.address]
        assert [s["state"] for s in shown["servers"]] == ["full"] * side.static
        assert [(s["clients"], s["max_clients"]) for s in shown["servers"]] == [(side.maximum,) * 2] * side.static
        assert {s["pid"]: s["element"] for s in shown["servers"]} == after
        assert {s["pid"]: s["deaths"] for s in shown["servers"]} == {pid: int(pid == successor) for pid in after}
        shown = status["classes"][other.index]
        assert (shown["name"], shown["waiting"], shown["waiting_limit"]) == (other.name, 0, other.limit)
        assert [port["address"] for port in shown["ports"]] == [other.address]
        assert sum(s["clients"] for s in shown["servers"]) == other.static
        assert {s["max_clients"] for s in shown["servers"]} == {other.maximum}
        assert {s["pid"]: s["element"] for s in shown["servers"]} == untouched
        for each in sides:
            each.leave()
    assert Counter(step["class_id"] for step in steps(instance, "effect", "StartServer")) == {0: 4, 1: 3}
    assert [step["class_id"] for step in steps(instance, "event", "ServerExited")] == [0, 1]
    assert Counter(step["class_id"] for step in steps(instance, "effect", "StartDistributor")) == {0: 1, 1: 1}


def test_a_stop_waits_for_the_clients_of_each_class(sides):
    """The class whose clients have left ends, while the other serves on; then the other does."""
    first, second = sides
    instance = first.instance
    guests = first.seat(1), second.seat(2)
    processes = [{*side.servers(), side.status()["distributor"]["pid"]} for side in sides]

    instance.signal(signal.SIGTERM)

    for side in sides:
        eventually(lambda side=side: refused(side.port), lambda: f"newcomers are refused\n{instance.log}")
    guests[0][0].close()
    eventually(lambda: not any(map(alive, processes[0])), lambda: f"the first class ends\n{instance.log}")
    assert all(map(alive, processes[1] & {guest.seated() for guest in guests[1]}))
    assert [guest.ask("hello") for guest in guests[1]] == ["hello"] * 2
    assert first.status()["distributor"]["phase"] == "closed"
    assert second.status()["distributor"]["phase"] == "closing"
    assert instance.process.poll() is None

    for guest in guests[1]:
        guest.close()

    assert instance.wait() == 0
    assert not any(map(alive, processes[0] | processes[1]))
    outcome = instance.replay()
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    machines = {json.loads(line)["who"] for line in instance.trace.read_text().splitlines()}
    servers = {f"server 0 {n}" for n in (1, 2, 3)} | {f"server 1 {n}" for n in (4, 5)}
    assert machines == {"monitor", "distributor 0 1", "distributor 1 1", *servers}
