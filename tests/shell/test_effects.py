"""In which order the Distributor and the Monitor act, and what the Monitor holds: real sockets, this process."""

import errno
import json
import os
import select
import signal
import socket
import struct
from types import SimpleNamespace

import pytest
from tests.machine import free_port
from tests.shell.bare import bare as bare_monitor
from tests.shell.fake import descriptors_at_rest

from maitred.core import messages as m
from maitred.core import monitor as core
from maitred.core.messages import Client
from maitred.core.timing import Durations
from maitred.shell.distributor import Distributor, DistributorSpec
from maitred.shell.io import channel, kernel
from maitred.shell.io.registry import Registry, create
from maitred.shell.observe.trace import Trace
from maitred.shell.supervise import distributors

CLIENT = Client(1, 2, 80)


def readable(sock):
    return bool(select.select([sock], [], [], 0)[0])


class Spy:
    """A trace that notes what it is given, and whether the far end had anything to read then."""

    def __init__(self, far):
        self.far, self.noted = far, []

    def event(self, event, state=None):
        self.noted.append((type(event).__name__, readable(self.far)))

    def effect(self, effect):
        self.noted.append((type(effect).__name__, readable(self.far)))

    def rejected(self, reason):
        self.noted.append((reason.name, readable(self.far)))


@pytest.fixture
def played():
    """A Distributor in this process, with the test as its Monitor."""
    far, near = channel.pair()
    asks, answers = socket.socketpair()
    port = free_port()
    spec = DistributorSpec(
        *(0, "web", 1, 0, 100, ((port, f"127.0.0.1:{port}"),), True, Durations(audit_period=60), (0,)),
        channel=near.detach(),
        status=answers.detach(),
        trace=None,
        kept=(),
    )
    made = Distributor(spec)
    yield SimpleNamespace(distributor=made, far=far, port=port)
    for listeners in made._listeners._ports.values():
        for each in listeners.all():
            each.close()
    for server in made._dialogs.servers.values():
        for each in (server.control, *server.dialogs.values(), server.registry):
            each.close()
    for connection in made._copies.values():
        connection.close()
    for each in (made.loop, made._monitor, made._status._socket, asks, far):
        each.close()


def test_the_distributor_traces_an_effect_when_it_has_been_performed(played):
    spy = played.distributor.machine.trace = Spy(played.far)
    played.distributor.handle(m.Begin())
    assert ("Begin", False) in spy.noted and ("Listening", False) in spy.noted
    assert [had for name, had in spy.noted if name == "SendMonitor"] == [True]
    assert channel.receive(played.far).message == m.KeepListener(played.port, f"127.0.0.1:{played.port}")


def test_a_line_of_the_trace_is_one_write():
    """A pipe that keeps writes apart: each is read by itself."""
    reader, writer = os.pipe2(os.O_DIRECT)
    trace = Trace(writer, "monitor")
    trace.event(m.Begin())
    trace.effect(m.Begin())
    lines = [os.read(reader, 4096) for _ in range(2)]
    assert [next(key for key in json.loads(line) if key in ("event", "effect")) for line in lines] == [
        "event",
        "effect",
    ]
    assert all(line.endswith(b"\n") for line in lines)
    os.close(reader)
    os.close(writer)


@pytest.fixture
def server(played):
    """A server's end of its dialog with that Distributor, on which it has answered; there is an InitialMsg to read."""
    distributor, port = played.distributor, played.port
    distributor.handle(m.Begin())
    mine, theirs = channel.pair()
    registry = Registry(create(4))
    channel.send(played.far, m.Adopt(1, 64, 1, False, False, (), ()), (theirs.fileno(), registry.fd))
    distributor.loop.turn(1)
    dialog, end = channel.pair()
    channel.send(mine, m.BindRequest(port, f"127.0.0.1:{port}"), (end.fileno(),))
    distributor.loop.turn(1)
    channel.send(dialog, m.RestartReply(1, m.Count(0, 1)))
    distributor.loop.turn(1)
    yield dialog
    for each in (mine, theirs, dialog, end, registry):
        each.close()


def test_what_servers_send_is_read_before_another_client_is_let_in(played, server):
    """Both are there in one turn, the client first."""
    distributor, port, dialog = played.distributor, played.port, server
    distributor.loop.turn(0)  # so that nothing is left on the kernel's list of what may be ready
    spy = distributor.machine.trace = Spy(played.far)

    with socket.create_connection(("127.0.0.1", port), 5):
        channel.send(dialog, m.RestartReply(1, m.Count(0, 2)))
        distributor.loop.turn(1)
        distributor.loop.turn(1)

    events = [name for name, _ in spy.noted if name in ("Received", "ConnectionRequest")]
    assert events == ["Received", "ConnectionRequest"]
    packets = [channel.receive(dialog) for _ in range(2)]
    assert [type(packet.message) for packet in packets] == [m.InitialMsg, m.HandOff]
    for packet in packets:
        channel.close(packet.fds)


def test_what_a_client_gives_its_server_to_send_costs_the_server_nothing(played, server):
    """However many clients it serves in a second, it is read at once: each read finds a packet, and counts as one."""
    distributor, port, dialog = played.distributor, played.port, server
    assert isinstance(channel.receive(dialog).message, m.InitialMsg)
    conduct = distributor._dialogs.servers[1].conduct
    before = conduct._credit = 10.0

    with socket.create_connection(("127.0.0.1", port), 5):
        distributor.loop.turn(1)
        packet = channel.receive(dialog)
        for message in (
            m.Accepted(packet.message.client, m.Count(1, 2)),
            m.Disconnect(packet.message.client, m.Count(0, 3)),
        ):
            channel.send(dialog, message)
            distributor.loop.turn(1)

    assert distributor.machine.state.servers[1].count == m.Count(0, 3) and conduct._credit == before
    channel.close(packet.fds)


# ---------------------------------------------------------------- the Monitor


@pytest.fixture
def bare():
    with bare_monitor() as made:
        yield made


def sent_twice(bare, message):
    """Have the Monitor read the message twice, each with the same pipe's end; the end that shows who holds it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    for _ in range(2):
        channel.send(bare.far, message, [writer])
        assert bare.distributors._read(bare.distributor)
    os.close(writer)
    return reader


def test_a_client_that_is_stored_twice_is_held_once(bare):
    reader = sent_twice(bare, m.Store(CLIENT))
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)  # it is held
    bare.kept.drop_duplicate(core.DropDuplicate(0, CLIENT))
    assert os.read(reader, 1) == b""  # by nobody now
    assert bare.received == [core.Reported(0, m.Store(CLIENT))] * 2 and not bare.kept.clients
    os.close(reader)


def test_a_dialog_that_is_kept_twice_is_held_once(bare):
    bare.servers.held[7] = SimpleNamespace(dialogs={})
    reader = sent_twice(bare, m.KeepDialog(7, 80))
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(bare.servers.held[7].dialogs.pop(80))
    assert os.read(reader, 1) == b""
    assert bare.received == [core.Reported(0, m.KeepDialog(7, 80))] * 2
    os.close(reader)


def test_what_was_set_for_a_dead_distributor_is_cancelled(bare, monkeypatch):
    """Its channel has been read to its end, which sets a timer that would kill whoever is there when it rings."""
    done = SimpleNamespace(distributor=SimpleNamespace(phase=core.DistributorPhase.DONE))
    bare.machine.state.classes = [done]
    bare.distributor.child = child = SimpleNamespace(pid=1, close=lambda: None)
    killed = []
    monkeypatch.setattr(kernel, "send_signal", lambda pidfd, number: killed.append(number))
    monkeypatch.setattr(distributors, "LAST_WAIT", 0.0)
    bare.far.close()

    bare.distributors._on_end(bare.distributor, child, 0)
    bare.distributors.held[0] = bare.distributor  # were it its successor
    bare.loop.turn(0)

    assert bare.received == [core.DistributorExited(0)]
    assert killed == []


def test_a_distributor_that_hangs_up_and_stays_is_killed(bare, monkeypatch):
    bare.distributor.child = SimpleNamespace(pid=1, pidfd=-1)
    killed = []
    monkeypatch.setattr(kernel, "send_signal", lambda pidfd, number: killed.append(number))
    monkeypatch.setattr(distributors, "LAST_WAIT", 0.0)
    bare.far.close()
    assert not bare.distributors._read(bare.distributor)
    bare.loop.turn(0)
    assert killed == [signal.SIGKILL]


def test_a_distributor_that_cannot_be_started_leaves_no_descriptor(bare, monkeypatch, capfd):
    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", refuse)
    before = descriptors_at_rest()
    bare.distributors.start(core.StartDistributor(0, 2, 0, (), 0))
    assert len(os.listdir("/proc/self/fd")) == len(before)  # of the spares some may have other numbers now
    assert bare.received == [core.DistributorExited(0)]
    assert "cannot be started" in capfd.readouterr().err


def test_a_copy_is_closed_without_waiting(played):
    """The last reference of a connection whose server has set SO_LINGER and gone, and whose client reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        copy, _ = listener.accept()
        with copy.dup() as held:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
            played.distributor._copies[1] = copy
            played.distributor._drop_copy(1, shut=False)
            assert held.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 4) == bytes(4)
            assert copy.fileno() < 0 and peer.fileno() > 0


def test_a_stored_duplicate_is_closed_without_waiting(bare):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        copy, _ = listener.accept()
        with copy:
            for drop in (bare.kept.drop_duplicate, bare.kept.shut_down):
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
                bare.kept.clients[0, CLIENT] = os.dup(copy.fileno())
                drop(SimpleNamespace(class_id=0, client=CLIENT))
                assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 4) == bytes(4)
                assert not bare.kept.clients
