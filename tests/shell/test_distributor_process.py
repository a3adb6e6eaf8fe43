"""The Distributor's process, with the test as its Monitor and as its servers: what goes over every wire."""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import time

import pytest
from tests.machine import PATIENCE, free_port
from tests.shell.instance import eventually, open_descriptors

from maitred.core import messages as m
from maitred.core.timing import Durations
from maitred.core.wire import decode
from maitred.shell.audit import AUDIT_AGAIN
from maitred.shell.distributor import DistributorSpec
from maitred.shell.io import channel, sock_diag
from maitred.shell.io.listening import open_listeners, split_address
from maitred.shell.io.registry import Doing, Registry, create
from maitred.shell.supervise.launch import start_distributor

pytestmark = pytest.mark.system


class Server:
    """A server that the test plays."""

    def __init__(self, test, number):
        self.test, self.number = test, number
        self.control, self.theirs = channel.pair()
        self.registry = Registry(create(16))
        self.dialogs = {}
        self.sequence = 0
        self.clients = {}

    def adopt(self, *, dialogs=(), owed=(), max_clients=64, weight=1, dynamic=False):
        kept = [self.test.kept[self.number, port] for port in dialogs]
        message = m.Adopt(self.number, max_clients, weight, dynamic, False, tuple(dialogs), tuple(owed))
        fds = (self.theirs.fileno(), self.registry.fd, *kept)
        channel.send(self.test.channel, message, fds)
        return self

    def bind(self, port, address=None):
        mine, theirs = channel.pair()
        self.dialogs[port] = mine
        channel.send(self.control, m.BindRequest(port, address or f"127.0.0.1:{port}"), (theirs.fileno(),))
        theirs.close()
        return self

    def listen(self, port, incarnation=1):
        """Bind, and answer the InitialMsg that follows."""
        self.bind(port)
        assert self.receive_control() == m.BindReply(port, 0)
        assert self.receive(port) == m.InitialMsg(incarnation)
        self.answer(port, incarnation)
        return self

    def answer(self, port, incarnation=1):
        self.send(port, m.RestartReply(incarnation, self.count()))

    def count(self):
        self.sequence += 1
        return m.Count(len(self.clients), self.sequence)

    def send(self, port, message):
        channel.send(self.dialogs[port], message)

    def receive(self, port):
        packet = wait_for(self.dialogs[port])
        self.fds = packet.fds
        return packet.message

    def receive_control(self):
        return wait_for(self.control).message

    def accept(self, port):
        """Take a hand-off and report it: the client and its connection."""
        message = self.receive(port)
        assert isinstance(message, m.HandOff), message
        connection = socket.socket(fileno=self.fds[0])
        self.clients[message.client] = connection
        self.register(message.client, held=True)
        self.send(port, m.Accepted(message.client, self.count()))
        return message.client, connection

    def register(self, client, *, held):
        with self.registry.locked():
            old = self.registry.load()
            clients = old.clients.set(client, None) if held else old.clients.remove(client)
            self.registry.save(old, type(old)(old.listeners, clients, old.sequence + 1))

    def leave(self, port, client):
        self.clients.pop(client).close()
        self.register(client, held=False)
        self.send(port, m.Disconnect(client, self.count()))

    def die(self):
        for end in (self.control, *self.dialogs.values()):
            end.close()


def wait_for(sock, seconds=PATIENCE):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    assert poll.poll(seconds * 1000), "nothing came"
    return channel.receive(sock)


def times_logged(capfd, text):
    """How often the log has this, once it does: a thread of the Distributor's writes it."""
    printed = []
    eventually(lambda: printed.append(capfd.readouterr().err) or text in "".join(printed), PATIENCE, text)
    return "".join(printed).count(text)


class Monitor:
    """The Monitor that the test plays, with one Distributor."""

    def __init__(
        self,
        tmp_path,
        *,
        port=None,
        host="127.0.0.1",
        address=None,
        incarnation=1,
        dynamic=0,
        limit=100,
        fixed=True,
        durations=None,
        kept=(),
        listeners=None,
    ):
        self.port = port or free_port()
        self.address = address or f"{host}:{self.port}"
        self.channel, theirs = channel.pair()
        self.questions, answers = socket.socketpair()
        self.questions.settimeout(PATIENCE)
        self.trace = tmp_path / "trace"
        trace = os.open(self.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.kept, self.held = {}, []
        spec = DistributorSpec(
            class_id=0,
            name="web",
            incarnation=incarnation,
            dynamic=dynamic,
            waiting_limit=limit,
            listeners=((self.port, self.address),) if listeners is None else listeners,
            fixed=fixed,
            durations=durations or Durations(audit_period=60),
            cpus=tuple(os.sched_getaffinity(0)),
            channel=theirs.fileno(),
            status=answers.fileno(),
            trace=trace,
            kept=kept,
        )
        self.child = start_distributor(spec)
        for each in (theirs, answers):
            each.close()
        os.close(trace)

    def send(self, message, *fds):
        channel.send(self.channel, message, fds)

    def begin(self):
        self.send(m.Begin())
        assert self.receive() == m.KeepListener(self.port, self.address)
        return self

    def receive(self):
        packet = wait_for(self.channel)
        assert packet is not None, "the Distributor has ended"
        self.fds = packet.fds
        self.held += packet.fds
        match packet.message:
            case m.KeepDialog():
                self.kept[packet.message.server, packet.message.port] = packet.fds[0]
        return packet.message

    def receive_until(self, kind):
        while not isinstance(message := self.receive(), kind):
            pass
        return message

    def status(self):
        self.questions.sendall(b"?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self.questions.recv(65_536)
        return json.loads(answer)

    def server(self, number=1, incarnation=1, **options):
        """A server that listens and may be handed clients."""
        made = Server(self, number).adopt(**options)
        made.listen(self.port, incarnation)
        self.receive_until(m.ServerReady)
        return made

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def kill(self):
        os.kill(self.child.pid, signal.SIGKILL)
        self.wait()

    def wait(self):
        return eventually(lambda: self.child.exitcode() is not None, PATIENCE) and self.child.exitcode()

    def cpu_seconds(self):
        with open(f"/proc/{self.child.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lines(self):
        """The trace as far as it is written: a reader may see a part of the last line."""
        complete, _, _ = self.trace.read_text().rpartition("\n")
        return map(json.loads, complete.splitlines())

    def events(self, kind):
        return [line["event"] for line in self.lines() if line.get("event", {}).get("is") == kind]

    def effects(self):
        """The messages that were sent, as the trace has them."""
        return [line["effect"]["message"]["is"] for line in self.lines() if "message" in line.get("effect", {})]


@pytest.fixture
def start(tmp_path):
    started = []

    def starter(**options):
        monitor = Monitor(tmp_path, **options)
        started.append(monitor)
        return monitor

    yield starter
    for monitor in started:
        if monitor.child.exitcode() is None:
            monitor.kill()
        monitor.child.close()
        for fd in monitor.held:
            os.close(fd)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# ---------------------------------------------------------------- the way of one client


def test_a_client_goes_to_the_server_and_is_counted_out_again(start):
    monitor = start().begin()
    server = monitor.server()
    with monitor.connect() as browser:
        client, connection = server.accept(monitor.port)
        assert connection.getpeername() == browser.getsockname()
        assert sock_diag.cookie_of(connection) == client.cookie
        assert connection.gettimeout() is None and os.get_blocking(connection.fileno())
        connection.sendall(b"hello")
        assert browser.recv(10) == b"hello"

        server.leave(monitor.port, client)

        assert browser.recv(10) == b""  # nobody else holds the connection: the close is seen at once
    assert server.receive_control() == m.Acknowledge(server.sequence)
    assert monitor.status()["servers"]["1"]["clients"] == 0


def test_two_servers_take_turns(start):
    monitor = start().begin()
    servers = [monitor.server(1), monitor.server(2)]
    with monitor.connect(), monitor.connect():
        arrivals = {server.accept(monitor.port)[0].arrival for server in servers}
    assert arrivals == {0, 1}


def test_clients_before_the_first_server_wait_in_the_backlog(start):
    monitor = start().begin()
    with monitor.connect():
        time.sleep(0.1)
        assert monitor.status()["ports"][0]["accepting"] is False
        server = monitor.server()
        assert server.accept(monitor.port)[0].arrival == 0


def test_at_the_bound_of_the_waiting_list_clients_stay_in_the_backlog(start):
    monitor = start(limit=2).begin()
    server = monitor.server(max_clients=1)
    browsers = [monitor.connect() for _ in range(5)]
    client, _ = server.accept(monitor.port)
    eventually(lambda: monitor.status()["waiting"] == 2)
    before = monitor.cpu_seconds()
    time.sleep(0.5)
    assert len(monitor.events("ConnectionRequest")) == 3
    assert monitor.cpu_seconds() - before < 0.1  # those in the backlog do not keep it awake

    for arrival in range(1, 5):
        server.leave(monitor.port, client)
        client, _ = server.accept(monitor.port)
        assert client.arrival == arrival
    for browser in browsers:
        browser.close()


# ---------------------------------------------------------------- those who wait


def test_who_waits_is_stored_then_released_before_being_handed_out(start):
    monitor = start().begin()
    server = monitor.server(max_clients=1)
    with monitor.connect(), monitor.connect() as second:
        first, _ = server.accept(monitor.port)
        stored = monitor.receive_until(m.Store)
        with socket.socket(fileno=os.dup(monitor.fds[0])) as duplicate:
            assert duplicate.getpeername() == second.getsockname()

        server.leave(monitor.port, first)

        taken, _ = server.accept(monitor.port)
        assert monitor.receive() == m.Release(stored.client)
        assert taken == stored.client
    eventually(lambda: monitor.effects().count("HandOff") == 2)
    effects = monitor.effects()
    assert effects.index("Store") < effects.index("Release") < len(effects) - 1 - effects[::-1].index("HandOff")


def test_a_waiting_client_that_goes_is_dropped(start):
    monitor = start().begin()
    server = monitor.server(max_clients=1)
    with monitor.connect():
        server.accept(monitor.port)
        for leave in (socket.socket.close, reset):
            waiting = monitor.connect()
            stored = monitor.receive_until(m.Store)
            leave(waiting)
            assert monitor.receive_until(m.Release).client == stored.client
    assert [event["reset"] for event in monitor.events("PeerClosed")] == [False, True]
    assert monitor.status()["waiting"] == 0


def test_a_half_close_with_a_request_waiting_is_no_hang_up(start):
    monitor = start().begin()
    server = monitor.server(max_clients=1)
    with monitor.connect(), monitor.connect() as waiting:
        first, _ = server.accept(monitor.port)
        monitor.receive_until(m.Store)
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        waiting.shutdown(socket.SHUT_WR)
        eventually(lambda: monitor.events("PeerClosed"))
        time.sleep(0.3)
        assert len(monitor.events("PeerClosed")) == 1  # received once: no busy loop
        assert monitor.status()["waiting"] == 1

        server.leave(monitor.port, first)

        _, connection = server.accept(monitor.port)
        assert connection.recv(100).startswith(b"GET")


def test_after_a_half_close_a_reset_is_still_noticed(start):
    monitor = start().begin()
    server = monitor.server(max_clients=1)
    with monitor.connect():
        server.accept(monitor.port)
        waiting = monitor.connect()
        stored = monitor.receive_until(m.Store)
        waiting.sendall(b"x")
        waiting.shutdown(socket.SHUT_WR)
        eventually(lambda: monitor.events("PeerClosed"))
        reset(waiting)
        assert monitor.receive_until(m.Release).client == stored.client


def test_who_waits_too_long_is_let_go(start):
    monitor = start(durations=Durations(queue_timeout=0.2)).begin()
    server = monitor.server(max_clients=1)
    with monitor.connect(), monitor.connect() as waiting:
        server.accept(monitor.port)
        stored = monitor.receive_until(m.Store)
        assert waiting.recv(1) == b""  # though the test holds the stored duplicate: it was shut down
        assert monitor.receive_until(m.Release) == m.Release(stored.client)


# ---------------------------------------------------------------- dialogs that end, and that lie


def test_a_request_comes_back_when_the_dialog_ends(start):
    monitor = start().begin()
    one = monitor.server(1)
    with monitor.connect():
        offered = one.receive(monitor.port)
        os.close(one.fds[0])
        two = monitor.server(2)
        one.die()
        client, _ = two.accept(monitor.port)
        assert client == offered.client
    assert set(monitor.status()["servers"]) == {"2"}


def test_what_a_dying_server_sent_is_read_before_its_end(start):
    """On such a socket the reset overtakes the data: here the server has accepted, so nobody else gets the client."""
    monitor = start().begin()
    one, two = monitor.server(1), monitor.server(2)
    os.kill(monitor.child.pid, signal.SIGSTOP)
    with monitor.connect() as browser:
        os.kill(monitor.child.pid, signal.SIGCONT)
        client, connection = one.accept(monitor.port)
        os.kill(monitor.child.pid, signal.SIGSTOP)
        one.die()
        connection.close()
        os.kill(monitor.child.pid, signal.SIGCONT)
        eventually(lambda: "1" not in monitor.status()["servers"])
        assert browser.recv(1) == b""
        assert not select.select([two.dialogs[monitor.port]], [], [], 0.2)[0]
    received = [event["message"]["is"] for event in monitor.events("Received") if event["server"] == 1]
    assert received == ["RestartReply", "Accepted"]
    assert client.arrival == 0


def test_garbage_on_a_dialog_is_skipped_and_ends_nothing(start, capfd):
    monitor = start().begin()
    server = monitor.server(1)
    with monitor.connect() as browser:
        offered = server.receive(monitor.port)
        connection = socket.socket(fileno=server.fds[0])
        dialog = socket.socket(fileno=os.dup(server.dialogs[monitor.port].fileno()))
        with dialog:
            for _ in range(2):  # the first offence, and a later one
                channel.send(dialog, m.Store(offered.client), (connection.fileno(),))  # not for this channel
            for garbage in (b"", b"\x00", b"\xff" * 100, b"\x04", b"\x02" + bytes(24), os.urandom(60_000)):
                dialog.send(garbage)
        server.send(monitor.port, m.Accepted(offered.client, m.Count(1, 10)))
        eventually(lambda: monitor.status()["servers"]["1"]["clients"] == 1)
        connection.sendall(b"still mine")
        assert browser.recv(100) == b"still mine"
        connection.close()
        assert browser.recv(1) == b""  # no duplicate was kept of what came beside the garbage
    assert times_logged(capfd, "breaks the protocol: a descriptor came on the dialog") == 1


def test_garbage_on_the_control_socket_is_skipped(start):
    monitor = start().begin()
    server = Server(monitor, 1).adopt()
    with socket.socket(fileno=os.dup(server.control.fileno())) as control:
        control.send(b"\x10garbage")
        channel.send(control, m.Closed())
        channel.send(control, m.BindRequest(monitor.port, "nonsense"))  # without a dialog: ignored
    server.listen(monitor.port)


def test_a_refused_client_is_offered_again(start):
    monitor = start(durations=Durations(rest=0.05)).begin()
    server = monitor.server(1)
    with monitor.connect():
        offered = server.receive(monitor.port)
        os.close(server.fds[0])
        server.send(monitor.port, m.Refused(offered.client, server.count()))
        assert server.accept(monitor.port)[0] == offered.client


def test_a_full_dialog_does_not_lose_the_client(start):
    """The server has filled its dialog itself, so that the kernel declines to send: the hand-off is offered again."""
    monitor = start(durations=Durations(rest=0.05)).begin()
    server = monitor.server(1)
    full = socket.socket(fileno=os.dup(monitor.kept[1, monitor.port]))
    full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            full.send(b"\x01" + bytes(1000), socket.MSG_DONTWAIT)
            sent += 1
    with monitor.connect():
        eventually(lambda: monitor.events("Unsent"))
        for _ in range(sent):
            server.dialogs[monitor.port].recv(2000)
        assert server.accept(monitor.port)[0].arrival == 0
    full.close()


# ---------------------------------------------------------------- binding and listening


def test_a_bind_that_is_asked_twice_has_one_dialog(start):
    monitor = start().begin()
    server = Server(monitor, 1).adopt()
    mine, theirs = channel.pair()
    for _ in range(3):
        channel.send(server.control, m.BindRequest(monitor.port, monitor.address), (theirs.fileno(),))
    theirs.close()
    for _ in range(3):
        assert server.receive_control() == m.BindReply(monitor.port, 0)
    assert wait_for(mine).message == m.InitialMsg(1)
    assert not select.select([mine], [], [], 0.1)[0]


def test_a_port_that_is_not_the_classes_is_left_to_the_program(start):
    monitor = start().begin()
    server = Server(monitor, 1).adopt().bind(9)
    assert server.receive_control() == m.BindReply(9, -1)
    assert wait_for(server.dialogs[9]) is None  # its dialog has been closed


def test_the_first_bind_decides_where_to_listen(start):
    port = free_port()
    monitor = start(fixed=False, listeners=())
    monitor.send(m.Begin())
    server = Server(monitor, 1).adopt()
    server.bind(port)
    assert monitor.receive() == m.KeepListener(port, f"127.0.0.1:{port}")
    assert server.receive_control() == m.BindReply(port, 0)
    monitor.port = port
    monitor.connect().close()


def test_a_bind_that_fails_fails_for_the_program(start):
    monitor = start(fixed=False, listeners=())
    monitor.send(m.Begin())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(monitor, 1).adopt().bind(port)
        assert server.receive_control() == m.BindReply(port, errno.EADDRINUSE)


ODD_ADDRESSES = [f"{'a' * 70}.x:80", f"127.0.0.1:{'1' * 5000}"]


@pytest.mark.parametrize("address", ODD_ADDRESSES)
def test_a_bind_of_an_odd_address_fails_for_the_program_alone(start, address):
    monitor = start(fixed=False, listeners=())
    monitor.send(m.Begin())
    server = Server(monitor, 1).adopt()
    port = free_port()
    server.bind(port, address)
    assert server.receive_control() == m.BindReply(port, errno.EINVAL)
    server.bind(port)
    assert server.receive_control() == m.BindReply(port, 0)  # the same Distributor serves on


@pytest.mark.parametrize("port", [0, 65_536])
def test_a_bind_of_no_port_is_garbage(start, port, capfd):
    """Port 0 would pass for the control socket."""
    monitor = start().begin()
    server = Server(monitor, 1).adopt()
    server.bind(port)
    assert wait_for(server.dialogs[port]) is None  # its dialog has been closed
    server.listen(monitor.port)
    assert not [event for event in monitor.events("BindRequested") if event["port"] == port]
    assert times_logged(capfd, "no message on the control socket") == 1


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "nowhere.invalid:80", ":", "192.0.2.1:80"])
def test_an_address_that_cannot_be_listened_on_is_reported(start, address):
    monitor = start(address=address)
    monitor.send(m.Begin())
    report = monitor.receive()
    assert isinstance(report, m.ListenFailed) and report.errno in (errno.EINVAL, errno.EADDRNOTAVAIL)


@pytest.mark.parametrize(
    ("host", "hosts"),
    [("*", ["127.0.0.1", "::1"]), ("[::1]", ["::1"]), ("0.0.0.0", ["127.0.0.1"]), ("localhost", ["localhost"])],
)
def test_every_kind_of_address(start, host, hosts):
    monitor = start(host=host).begin()
    server = monitor.server()
    for name in hosts:
        with socket.create_connection((name, monitor.port), PATIENCE) as browser:
            _, connection = server.accept(monitor.port)
            assert connection.getpeername()[1] == browser.getsockname()[1]


def test_ipv6_alone_leaves_ipv4_alone():
    port = free_port()
    six, four = open_listeners(f"[::]:{port}"), open_listeners(f"0.0.0.0:{port}")
    for listener in (*six, *four):
        assert not listener.getblocking() and not listener.get_inheritable()
        listener.close()


def test_addresses_are_split():
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("*:0") == ("*", 0)
    with pytest.raises(OSError):
        split_address("80")


# ---------------------------------------------------------------- another Distributor


def test_a_new_distributor_takes_over_listeners_dialogs_and_who_waits(start, tmp_path):
    first = start().begin()
    listener = first.fds
    server = first.server(max_clients=1)
    with first.connect(), first.connect() as waiting:
        seated, _ = server.accept(first.port)
        stored = first.receive_until(m.Store).client
        (duplicate,) = first.fds
        first.kill()
        queued = first.connect()  # nobody accepts, nobody refuses

        second = start(port=first.port, incarnation=2, kept=((first.port, first.address, tuple(listener)),))
        second.kept = first.kept
        server.test = second
        server.adopt(dialogs=(first.port,), owed=(first.port,), max_clients=1)
        second.send(m.Restore(stored), duplicate)
        second.begin()
        assert server.receive(first.port) == m.InitialMsg(2)
        server.answer(first.port, 2)
        assert second.receive_until(m.ServerReady) == m.ServerReady(1, first.port)

        server.leave(first.port, seated)

        client, connection = server.accept(first.port)
        assert client == stored and connection.getpeername() == waiting.getsockname()
        server.leave(first.port, client)
        assert server.accept(first.port)[0].arrival == stored.arrival + 1
        queued.close()


def test_a_restored_client_whose_connection_was_lost_is_dropped(start):
    monitor = start(incarnation=2)
    client = m.Client(4, 1234, monitor.port)
    monitor.send(m.Restore(client))
    assert monitor.receive() == m.Release(client)


def test_a_server_whose_descriptors_were_lost_ends_the_distributor(start, capfd):
    """It could never reach that server.  Its successor is sent all servers again."""
    monitor = start().begin()
    monitor.send(m.Adopt(1, 64, 1, False, False, (), ()))
    assert monitor.wait() != 0
    assert "out of descriptors" in capfd.readouterr().err


# ---------------------------------------------------------------- the Monitor's ways


def test_a_slow_monitor_is_waited_for_and_nothing_is_lost(start):
    """The channel takes a few hundred messages; then the Distributor waits, and serves on when it is read."""
    monitor = start(limit=1000).begin()
    server = monitor.server(max_clients=1)
    browsers = [monitor.connect() for _ in range(500)]
    server.accept(monitor.port)
    time.sleep(0.5)
    before = len(monitor.events("ConnectionRequest"))
    assert before < 500
    stored = [monitor.receive_until(m.Store).client.arrival for _ in range(499)]
    assert stored == list(range(1, 500))
    for browser in browsers:
        browser.close()


def test_a_dead_monitor_stops_nothing(start, capfd):
    monitor = start().begin()
    server = monitor.server(max_clients=1)
    monitor.channel.close()
    monitor.questions.close()
    with monitor.connect(), monitor.connect():
        first, _ = server.accept(monitor.port)
        time.sleep(0.2)
        server.leave(monitor.port, first)
        assert server.accept(monitor.port)[0].arrival == 1
    assert times_logged(capfd, "the Monitor is gone") == 1


def test_garbage_from_the_monitors_side_of_the_table(start):
    monitor = start().begin()
    monitor.send(m.Closed())  # a message, but not one for a Distributor
    monitor.server()


def test_close_takes_the_backlog_then_refuses(start):
    monitor = start().begin()
    server = monitor.server()
    os.kill(monitor.child.pid, signal.SIGSTOP)
    browsers = [monitor.connect() for _ in range(10)]
    monitor.send(m.Close())
    os.kill(monitor.child.pid, signal.SIGCONT)
    for arrival in range(10):
        client, _ = server.accept(monitor.port)
        assert client.arrival == arrival
    monitor.receive_until(m.DropListeners)
    for fd in monitor.held:  # the duplicates, which the Monitor now drops
        os.close(fd)
    monitor.held.clear()
    with pytest.raises(ConnectionRefusedError):
        monitor.connect()
    for client in list(server.clients):
        server.leave(monitor.port, client)
    assert monitor.receive_until(m.Drained) == m.Drained(1)
    assert monitor.receive() == m.Closed()
    assert monitor.wait() == 0
    for browser in browsers:
        browser.close()


def test_the_audit_finds_what_a_server_has_forgotten(start):
    monitor = start(durations=Durations(audit_period=0.2)).begin()
    server = monitor.server()
    with monitor.connect(), monitor.connect():
        one, connection = server.accept(monitor.port)
        server.accept(monitor.port)
        connection.close()  # without a word
        assert server.receive(monitor.port) == m.InitialMsg(1, (one,))


def test_the_audit_wakes_a_server_with_something_left_to_report(start):
    """Not where a process of it is just about to report it."""
    monitor = start(durations=Durations(audit_period=0.1)).begin()
    server = monitor.server()
    poll = select.poll()
    poll.register(server.dialogs[monitor.port], select.POLLIN)
    assert not poll.poll(400), "nobody is asked for nothing"
    with server.registry.locked():
        server.registry.begin(Doing.READING, monitor.port, b"it")
        assert not poll.poll(400), "somebody is at it"
    assert server.receive(monitor.port) == m.InitialMsg(1)
    assert poll.poll(PATIENCE * 1000), "asked again until it is sent"


@pytest.mark.parametrize("servers", [0, 1])
def test_who_waits_hastens_audits_only_so_far(start, servers):
    """With a server to audit, or none that is left."""
    monitor = start().begin()
    server = monitor.server(max_clients=1)
    with monitor.connect(), monitor.connect():
        server.accept(monitor.port)
        monitor.receive_until(m.Store)
        if not servers:
            server.die()
            eventually(lambda: not monitor.status()["servers"])
        began, before = time.monotonic(), len(audits(monitor))
        eventually(lambda: time.monotonic() - began > 1.2 and len(audits(monitor)) > before)
        number = len(audits(monitor)) - before
        assert number <= (time.monotonic() - began) / AUDIT_AGAIN + 1


def audits(monitor):
    return [event for event in monitor.events("Fired") if event["timer"]["is"] == "AuditDue"]


def test_nothing_leaks(start):
    monitor = start().begin()
    server = monitor.server(max_clients=2)
    eventually(lambda: monitor.status()["servers"]["1"]["ready"])
    before = open_descriptors(monitor.child.pid)
    for _ in range(20):
        browsers = [monitor.connect() for _ in range(4)]
        taken = [server.accept(monitor.port)[0] for _ in range(2)]
        for client in taken:
            server.leave(monitor.port, client)
        taken = [server.accept(monitor.port)[0] for _ in range(2)]
        for client in taken:
            server.leave(monitor.port, client)
        for browser in browsers:
            browser.close()
        other = Server(monitor, 1000 + len(monitor.held)).adopt()
        other.listen(monitor.port)
        other.die()
        other.theirs.close()
        other.registry.close()
    eventually(lambda: set(monitor.status()["servers"]) == {"1"})
    assert open_descriptors(monitor.child.pid) == before


def test_only_its_own_descriptors_come_along(start):
    monitor = start().begin()
    kinds = open_descriptors(monitor.child.pid)
    assert kinds.count("socket") == 3  # the Monitor's channel, the status, one listener
    assert kinds.count("anon_inode") == 1  # epoll


def test_every_message_on_the_wire_is_one_the_core_knows():
    with pytest.raises(ValueError):
        decode(b"\x7f")
