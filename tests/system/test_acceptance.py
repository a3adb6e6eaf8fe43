"""Who comes while servers are about to be free: seen after two sweeps at most, and on each port in turn."""

import json
import socket
import threading
import time

import pytest
from tests.machine import free_port
from tests.system.harness import eventually, write_config

pytestmark = pytest.mark.system

SLOW = """
import select, socket, sys, time
listeners = [socket.create_server(("127.0.0.1", int(port)), backlog=4096) for port in sys.argv[1:]]
while True:
    for listener in select.select(listeners, [], [])[0]:
        connection, _ = listener.accept()
        time.sleep(0.004)
        connection.sendall(b"x")
        connection.close()
"""
"""A server that serves one client at a time, each for 4 ms."""
CLIENTS = 500


@pytest.fixture
def slow(maitred, tmp_path):
    """Starts one copy of that server on so many ports; gives the instance and the ports."""

    def start(ports, sweep):
        program, numbers = tmp_path / "slow.py", [free_port() for _ in range(ports)]
        program.write_text(SLOW)
        listen = [f"127.0.0.1:{port}" for port in numbers]
        keys = {"name": "slow", "script": str(program), "args": list(map(str, numbers)), "listen": listen, "static": 1}
        instance = maitred("--config", write_config(tmp_path / "c.toml", [keys], sweep=sweep))
        return instance, numbers

    return start


def is_served(connection):
    """Whether the client is given its answer."""
    connection.settimeout(60)
    return connection.recv(10) == b"x"


def test_nobody_stays_unseen_for_more_than_two_sweeps(slow):
    """They come within a moment, and need two seconds to be served: without sweeps the last are unseen till then."""
    instance, [port] = slow(1, 0.3)
    came, clients = [], []
    for _ in range(CLIENTS):
        clients.append(socket.create_connection(("127.0.0.1", port), 10))
        came.append(time.monotonic())
    assert all(map(is_served, clients))
    for each in clients:
        each.close()

    lines = list(map(json.loads, instance.trace.read_text().splitlines()))
    events = [(line["t"], line["event"]) for line in lines if "event" in line]
    seen = [at for at, event in events if event["is"] == "ConnectionRequest"]
    sweeps = [(at, event["clients"]) for at, event in events if event["is"] == "BacklogCounted"]
    assert any(clients for _, clients in sweeps), "they have not been served sooner anyway"
    passed = [sum(a < at < b for at, _ in sweeps) for a, b in zip(came, seen, strict=True)]
    assert max(passed) <= 2


def test_a_saturated_port_does_not_keep_the_clients_of_another_out(slow):
    """There are always clients in the backlog of the one; who comes to the other need not wait for a sweep."""
    sweep = 20
    instance, [crowded, quiet] = slow(2, sweep)
    over = threading.Event()

    def come_again():
        while not over.is_set():
            with socket.create_connection(("127.0.0.1", crowded), 30) as connection:
                is_served(connection)

    crowd = [threading.Thread(target=come_again) for _ in range(8)]
    for each in crowd:
        each.start()
    try:
        eventually(lambda: instance.status()["classes"][0]["totals"]["taken"] > 50, lambda: instance.log)
        waited = []
        for _ in range(10):
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", quiet), 30) as connection:
                assert is_served(connection)
            waited.append(time.monotonic() - began)
    finally:
        over.set()
        for each in crowd:
            each.join()
    assert max(waited) < sweep / 4, f"answered after {max(waited):.2f} s"
