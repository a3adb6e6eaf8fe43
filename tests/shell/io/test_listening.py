"""What is bound, and bound again: addresses after a restart, the backlog, and what a failure leaves behind."""

import select
import socket
import struct

import pytest
from tests.machine import free_port

from maitred.core import wire
from maitred.core.messages import Begin
from maitred.shell.io import channel, listening
from maitred.shell.io.listening import backlog_of, open_listeners
from maitred.shell.io.loop import Loop


def test_a_port_whose_last_connection_waits_out_its_time_is_bound_again():
    (listener,) = open_listeners(f"127.0.0.1:{free_port()}")
    address = listener.getsockname()
    with socket.create_connection(address, 5) as client:
        select.select([listener], [], [], 5)
        connection, _ = listener.accept()
        connection.close()  # first: so the connection waits out its time on this side
        assert client.recv(1) == b""
    listener.close()

    (again,) = open_listeners(f"127.0.0.1:{address[1]}")

    socket.create_connection(address, 5).close()
    again.close()


def test_a_crowd_waits_in_the_backlog():
    (listener,) = open_listeners(f"127.0.0.1:{free_port()}")
    crowd = []
    for _ in range(40):
        crowd.append(socket.create_connection(listener.getsockname(), 2))
    for _ in crowd:
        assert select.select([listener], [], [], 2)[0]
        listener.accept()[0].close()
    for each in (*crowd, listener):
        each.close()


def test_an_address_that_is_half_taken_leaves_the_other_half_free(monkeypatch):
    """A name that stands for two addresses, the second of which somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        pairs = [(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(listening, "resolve", lambda host, port: pairs)
        with pytest.raises(OSError, match="already in use"):
            open_listeners(f"both:{port}")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 2)


def test_what_is_forgotten_may_be_watched_again():
    loop, called = Loop(), []
    mine, other = socket.socketpair()
    loop.watch(mine.fileno(), select.EPOLLIN, called.append)
    loop.forget(mine.fileno())
    loop.watch(mine.fileno(), select.EPOLLIN, lambda _: called.append("again"))
    other.send(b"x")
    loop.turn(0)
    assert called == ["again"]
    for each in (loop, mine, other):
        each.close()


def test_a_packet_that_is_cut_is_no_message_whatever_its_beginning(monkeypatch):
    one, other = channel.pair()
    packet = wire.encode(Begin())
    monkeypatch.setattr(wire, "LIMIT", len(packet))
    one.send(packet + b"and more")
    with pytest.raises(wire.WireError):
        channel.receive(other)
    channel.send(one, Begin())
    assert channel.receive(other).message == Begin()
    one.close()
    other.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_backlog_is_counted_with_those_who_have_gone_again(host):
    port = free_port()
    [listener] = open_listeners(f"{host}:{port}")
    assert backlog_of(listener) == 0
    clients = [socket.create_connection((host.strip("[]"), port), 2) for _ in range(3)]
    assert backlog_of(listener) == 3
    clients[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    clients[0].close()
    assert backlog_of(listener) == 3
    accepted, _ = listener.accept()
    assert backlog_of(listener) == 2
    for each in (listener, accepted, *clients):
        each.close()
