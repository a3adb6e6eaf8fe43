"""What a hostile server may do to its Distributor, and does not: the others and their clients go on.

The test is the Monitor and the servers, as in `test_distributor_process`; the Distributor is the real process.
"""

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
from tests.machine import free_port
from tests.shell.instance import eventually, open_descriptors
from tests.shell.test_distributor_process import PATIENCE, Server, start

from maitred.core import messages as m
from maitred.core.timing import Durations
from maitred.shell.binding import FOREIGN_PORTS
from maitred.shell.conduct import A_SECOND
from maitred.shell.conduct import PATIENCE as BORNE
from maitred.shell.io import channel
from maitred.shell.io.loop import TICK

__all__ = ["start"]

pytestmark = pytest.mark.system

SO_PASSPIDFD = 76
AGES = 60
"""Seconds that a call which waits would wait: far more than any test does."""


def raw(server, port):
    """The server's end of its dialog, to write anything to."""
    return socket.socket(fileno=os.dup(server.dialogs[port].fileno()))


def lingering():
    """A connection whose close waits for ages: its peer reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname(), PATIENCE)
        connection, _ = listener.accept()
    stuff(connection)
    return peer, connection


def stuff(connection):
    """Send what nobody reads, and let the close wait until somebody has."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(bytes(1 << 16))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, AGES))


def breaches(capfd, least=1):
    """What the log holds of servers since it was read last, once it holds so much."""
    printed = []

    def enough():
        printed.extend(line for line in capfd.readouterr().err.splitlines() if "breaks the protocol: " in line)
        return len(printed) >= least

    eventually(enough, PATIENCE)
    return printed


def status_of(monitor, number=1):
    return monitor.status()["servers"][str(number)]


@contextlib.contextmanager
def stopped(monitor):
    """What happens meanwhile the Distributor finds when it is over."""
    os.kill(monitor.child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(monitor.child.pid, signal.SIGCONT)


def goes_on(monitor, number=90):
    """Another server is adopted, and a client seated with it, since it weighs more."""
    other = monitor.server(number, weight=100)
    with monitor.connect():
        assert other.accept(monitor.port)
    return other


# ---------------------------------------------------------------- nothing waits


def test_the_last_reference_of_a_connection_that_lingers_is_closed_at_once(start):
    """The server answers, sends, and has gone before its Distributor has read the answer."""
    monitor = start().begin()
    server = monitor.server()
    with monitor.connect() as browser:
        message = server.receive(monitor.port)
        with stopped(monitor), socket.socket(fileno=server.fds[0]) as connection:
            stuff(connection)
            server.send(monitor.port, m.Accepted(message.client, server.count()))
        with monitor.connect():
            assert server.accept(monitor.port)
        assert browser.recv(1) == b"\0"  # what was sent still arrives


def test_a_linger_of_nought_is_left_to_the_program(start):
    """It resets the connection, and waits for nobody."""
    monitor = start().begin()
    server = monitor.server()
    with monitor.connect():
        message = server.receive(monitor.port)
        with socket.socket(fileno=server.fds[0]) as connection:
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            server.send(monitor.port, m.Accepted(message.client, server.count()))
            eventually(lambda: monitor.effects().count("HandOff") and not status_of(monitor)["outstanding"])
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == reset


def test_a_descriptor_that_lingers_holds_nobody_up_where_none_is_expected(start):
    """The kernel closes it while the Distributor reads the packet: a signal ends that."""
    monitor = start().begin()
    server = monitor.server()
    peer, connection = lingering()
    with peer, raw(server, monitor.port) as dialog:
        with stopped(monitor):
            socket.send_fds(dialog, [b"\xff"], [connection.fileno()])
            connection.close()
        goes_on(monitor)


def test_a_descriptor_that_lingers_holds_nobody_up_beside_a_bind(start):
    monitor = start().begin()
    server = monitor.server()
    peer, connection = lingering()
    with peer:
        with stopped(monitor):
            channel.send(server.control, m.BindRequest(monitor.port, monitor.address), (connection.fileno(),) * 3)
            connection.close()
        goes_on(monitor)


MANY = 200
"""So many descriptors in one packet, each of which would have the Distributor wait until its clock ticks."""


def many_lingering(stack):
    """As many connections whose close waits for ages, and small ones; their peers live as long as the stack."""
    made = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        for _ in range(MANY):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)
            connection.connect(listener.getsockname())
            stack.enter_context(listener.accept()[0])
            stuff(connection)
            made.append(connection)
    return made


def hidden(connection):
    """In the queue of another socket, where no option of it can be set; to close that one is to close it."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        socket.send_fds(near, [b"x"], [connection.fileno()])
    connection.close()
    return far


@pytest.mark.parametrize("are", ["open", "hidden"])
@pytest.mark.parametrize("beside", ["garbage", "a bind"])
def test_many_that_linger_in_one_packet_are_closed_in_a_moment(start, are, beside):
    """Not in a moment for each."""
    monitor = start().begin()
    server = monitor.server()
    with contextlib.ExitStack() as stack:
        made = many_lingering(stack)
        sent = made if are == "open" else [hidden(connection) for connection in made]
        bind = channel.wire.encode(m.BindRequest(monitor.port, monitor.address))
        packet = bind if beside == "a bind" else b"\xff"
        with stopped(monitor):
            with socket.socket(fileno=os.dup(server.control.fileno())) as control:
                socket.send_fds(control, [packet], [each.fileno() for each in sent])
            for each in sent:
                each.close()
        began = time.monotonic()
        assert eventually(lambda: status_of(monitor)["offence"])
        assert time.monotonic() - began < MANY * TICK / 2
        goes_on(monitor)


# ---------------------------------------------------------------- descriptors


KINDS = {
    "a file": lambda directory: os.open(__file__, os.O_RDONLY),
    "a directory": lambda directory: os.open(directory, os.O_RDONLY),
    "a pipe": lambda directory: os.pipe()[0],
    "the name of a file": lambda directory: os.open(__file__, os.O_PATH),
    "the name of a socket": lambda directory: os.open(listening(directory), os.O_PATH),
    "an eventfd": lambda directory: os.eventfd(0),
    "a TCP socket": lambda directory: socket.create_server(("127.0.0.1", 0)).detach(),
    "a stream": lambda directory: socket.socketpair()[0].detach(),
    "nobody's end": lambda directory: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach(),
}


def listening(directory):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(str(directory / "s"))
    return directory / "s"


def test_a_bind_with_a_descriptor_of_another_kind_is_that_servers_fault_alone(start, tmp_path, capfd):
    monitor = start().begin()
    for number, make in enumerate(KINDS.values(), 1):
        server, fd = Server(monitor, number).adopt(), make(tmp_path)
        eventually(lambda number=number: str(number) in monitor.status()["servers"])
        before = open_descriptors(monitor.child.pid)
        channel.send(server.control, m.BindRequest(monitor.port, monitor.address), (fd,))
        os.close(fd)
        server.listen(monitor.port)
        eventually(lambda number=number: status_of(monitor, number)["ready"])
        assert sorted([*before, "socket"]) == open_descriptors(monitor.child.pid), "the dialog, and nothing else"
    printed = breaches(capfd, len(KINDS))
    assert len(printed) == len(KINDS) and all("its end of a new dialog" in breach for breach in printed)


def test_a_bind_brings_one_descriptor(start, capfd):
    monitor = start().begin()
    server, (mine, theirs) = Server(monitor, 1).adopt(), channel.pair()
    channel.send(server.control, m.BindRequest(monitor.port, monitor.address), (theirs.fileno(), theirs.fileno()))
    assert "2 descriptors came with BindRequest" in breaches(capfd)[0]
    for end in (mine, theirs):
        end.close()


def test_a_dialog_that_is_not_new_is_none(start, capfd):
    """To close it is to close what is in it: each time another, that takes the Distributor time."""
    monitor = start().begin()
    server, (mine, theirs) = Server(monitor, 1).adopt(), channel.pair()
    mine.send(b"")
    channel.send(server.control, m.BindRequest(monitor.port, monitor.address), (theirs.fileno(),))
    assert "is not its end of a new dialog" in breaches(capfd)[0]
    for end in (mine, theirs):
        end.close()


def test_a_bind_that_is_asked_for_again_brings_the_same_dialog(start, capfd):
    """The server has had no reply; it may have been in use meanwhile."""
    monitor = start().begin()
    server, (mine, theirs) = Server(monitor, 1).adopt(), channel.pair()
    bind = m.BindRequest(monitor.port, monitor.address)
    channel.send(server.control, bind, (theirs.fileno(),))
    assert server.receive_control() == m.BindReply(monitor.port, 0)
    with stopped(monitor):
        server.dialogs[monitor.port] = mine
        server.answer(monitor.port)
        channel.send(server.control, bind, (theirs.fileno(),))
    theirs.close()
    assert server.receive_control() == m.BindReply(monitor.port, 0)
    eventually(lambda: status_of(monitor)["ready"])
    assert breaches(capfd, 0) == []


def test_a_server_that_sends_descriptors_on_a_dialog_breaks_the_protocol(start, capfd):
    """Whatever they come beside; a true message counts all the same."""
    monitor = start().begin()
    server = monitor.server()
    before = open_descriptors(monitor.child.pid)
    with raw(server, monitor.port) as dialog:
        for _ in range(BORNE):
            message = m.RestartReply(1, server.count())
            socket.send_fds(dialog, [channel.wire.encode(message)], [dialog.fileno(), dialog.fileno()])
    assert monitor.receive_until(m.Unresponsive) == m.Unresponsive(1)
    eventually(lambda: len(monitor.events("Received")) == 1 + BORNE)
    assert open_descriptors(monitor.child.pid) == before
    assert "a descriptor came on the dialog" in breaches(capfd)[0]


def test_a_servers_own_end_is_no_dialog(start, capfd):
    """Were it held, that server would never be seen to end."""
    monitor = start().begin()
    server = monitor.server(1)
    for end in (server.control, server.dialogs[monitor.port]):
        other = Server(monitor, 2 + end.fileno()).adopt()
        channel.send(other.control, m.BindRequest(monitor.port, monitor.address), (end.fileno(),))
        eventually(lambda n=str(other.number): monitor.status()["servers"].get(n, {}).get("offence"))
    server.theirs.close()
    for fd in monitor.held:  # the Monitor's duplicates
        os.close(fd)
    monitor.held.clear()
    server.die()
    eventually(lambda: "1" not in monitor.status()["servers"])


def test_no_descriptor_is_made_for_a_socket_that_asks_for_one(start):
    """SO_PASSPIDFD on the Distributor's end, which the server has made: each packet would bring a pidfd."""
    monitor = start().begin()
    server = Server(monitor, 1).adopt()
    mine, theirs = channel.pair()
    try:
        theirs.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    except OSError:
        pytest.skip("this kernel has no SO_PASSPIDFD")
    server.dialogs[monitor.port] = mine
    channel.send(server.control, m.BindRequest(monitor.port, monitor.address), (theirs.fileno(),))
    theirs.close()
    assert server.receive_control() == m.BindReply(monitor.port, 0)
    before = open_descriptors(monitor.child.pid)
    for _ in range(10):
        server.answer(monitor.port)
    eventually(lambda: status_of(monitor)["ready"])
    assert open_descriptors(monitor.child.pid) == before


# ---------------------------------------------------------------- where to listen


def unsettled(start):
    """A Distributor whose servers decide where it listens, and one of them."""
    monitor = start(fixed=False, listeners=())
    monitor.send(m.Begin())
    return monitor, Server(monitor, 1).adopt()


def asks(server, port, address):
    """What a bind comes to."""
    mine, theirs = channel.pair()
    channel.send(server.control, m.BindRequest(port, address), (theirs.fileno(),))
    theirs.close()
    mine.close()
    return server.receive_control().errno


def test_a_server_has_its_port_bound_and_no_other(start, capfd):
    port, other = free_port(), free_port()
    _, server = unsettled(start)
    assert asks(server, port, f"127.0.0.1:{other}") == errno.EINVAL
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", other), PATIENCE)
    assert asks(server, port, f"127.0.0.1:{port}") == 0
    assert asks(server, port, f"127.0.0.1:{other}") == errno.EINVAL
    assert len(breaches(capfd)) == 1


def test_nobody_is_asked_where_a_servers_host_is(start):
    port = free_port()
    _, server = unsettled(start)
    for host in ("localhost", "", "nobody.invalid", "127.0.0.1\n"):
        assert asks(server, port, f"{host}:{port}") == errno.EINVAL
    assert asks(server, port, f"[::1]:{port}") == 0


def test_a_server_has_two_addresses_bound_and_no_more(start, capfd):
    """As many as a program for both families needs; a third is the program's own."""
    port = free_port()
    monitor, server = unsettled(start)
    hosts = ["127.0.0.1", "[::1]", "127.0.0.2", "127.0.0.3"]
    assert [asks(server, port, f"{host}:{port}") for host in hosts] == [0, 0, m.BIND_YOURSELF, m.BIND_YOURSELF]
    assert asks(server, port, f"127.0.0.1:{port}") == 0
    assert {info["address"] for info in monitor.status()["ports"]} == {f"127.0.0.1:{port}", f"[::1]:{port}"}
    printed = []
    eventually(lambda: printed.append(capfd.readouterr().err) or "more than 2 addresses" in "".join(printed))
    assert "".join(printed).count("more than 2 addresses") == 1 and breaches(capfd, 0) == []


def test_the_log_names_foreign_ports_but_not_without_end(start, capfd):
    monitor = start().begin()
    server = Server(monitor, 1).adopt()
    for port in range(1, 101):
        assert asks(server, port, f"127.0.0.1:{port}") == m.BIND_YOURSELF
    printed = []
    eventually(lambda: printed.append(capfd.readouterr().err) or "further ports" in "".join(printed))
    assert "".join(printed).count("not behind this Distributor") == FOREIGN_PORTS + 1


# ---------------------------------------------------------------- lies


def stranger(monitor):
    return m.Client(99, 99, monitor.port)


LIES = {
    "more than it may": lambda monitor, last: m.Disconnect(stranger(monitor), m.Count(7, 10)),
    "less than none": lambda monitor, last: m.RestartReply(1, m.Count(-1, 10)),
    "a number again": lambda monitor, last: m.RestartReply(1, m.Count(0, last)),
    "a number below nought": lambda monitor, last: m.RestartReply(1, m.Count(0, -5)),
    "of another's client": lambda monitor, last: m.Accepted(stranger(monitor), m.Count(1, 10)),
    "refuses nobody": lambda monitor, last: m.Refused(stranger(monitor), m.Count(0, 10)),
    "one left of none": lambda monitor, last: m.Disconnect(stranger(monitor), m.Count(0, 10)),
    "a later Distributor": lambda monitor, last: m.RestartReply(2, m.Count(0, 10)),
    "no Distributor": lambda monitor, last: m.RestartReply(0, m.Count(0, 10)),
    "not a server's": lambda monitor, last: m.Store(stranger(monitor)),
}


def test_a_lie_is_ignored_and_reported_once_in_the_log_and_in_the_status(start, capfd):
    monitor = start().begin()
    for number, (lie, made) in enumerate(LIES.items(), 1):
        server = monitor.server(number, max_clients=2)
        before = status_of(monitor, number)
        for _ in range(3):
            server.send(monitor.port, made(monitor, server.sequence))
        eventually(lambda number=number: status_of(monitor, number)["offence"])
        after = status_of(monitor, number)
        assert after == {**before, "offence": after["offence"]}, lie
        server.die()
        (breach,) = breaches(capfd)
        assert f"server {number} of web" in breach and breach.endswith(after["offence"]), lie


def test_true_messages_of_a_liar_are_accepted(start):
    monitor = start().begin()
    server = monitor.server()
    server.send(monitor.port, m.RestartReply(1, m.Count(-1, 10)))
    eventually(lambda: status_of(monitor)["offence"])
    server.sequence = 10
    with monitor.connect():
        client, _ = server.accept(monitor.port)
        eventually(lambda: status_of(monitor)["clients"] == 1)
        server.leave(monitor.port, client)
        eventually(lambda: status_of(monitor)["clients"] == 0)


def test_a_client_is_answered_for_once(start, capfd):
    monitor = start().begin()
    server = monitor.server()
    with monitor.connect():
        client, _ = server.accept(monitor.port)
        server.send(monitor.port, m.Accepted(client, server.count()))
        eventually(lambda: status_of(monitor)["offence"])
    assert "whom it was not handed or has answered for already" in breaches(capfd)[0]


def test_what_an_honest_server_sends_in_odd_order_is_no_lie(start, capfd):
    """Threads overtake each other; and a client may be taken back once a sibling has died in the midst of a step."""
    monitor = start().begin()
    server = monitor.server()
    with monitor.connect(), monitor.connect():
        client, _ = server.accept(monitor.port)
        server.accept(monitor.port)
        server.send(monitor.port, m.Refused(client, m.Count(1, 9)))
        server.send(monitor.port, m.RestartReply(1, m.Count(2, 7)))
        server.send(monitor.port, m.NotReady(0, m.Count(1, 8)))
        eventually(lambda: len(monitor.events("Received")) == 6)
    assert breaches(capfd, 0) == []


def test_the_answer_to_a_dead_distributors_hand_off_is_no_lie(start, capfd):
    first = start().begin()
    server = first.server()
    with first.connect():
        message = server.receive(first.port)
        listener = first.held[0]
        first.kill()
        second = start(port=first.port, incarnation=2, kept=((first.port, first.address, (listener,)),))
        second.kept = first.kept
        server.test = second
        server.adopt(dialogs=(first.port,), owed=(first.port,))
        second.begin()
        server.send(first.port, m.Accepted(message.client, server.count()))
        assert server.receive(first.port) == m.InitialMsg(2)
        server.answer(first.port, 2)
        assert second.receive_until(m.ServerReady)
        server.send(first.port, m.Accepted(message.client, server.count()))
        eventually(lambda: status_of(second)["offence"])
    assert len(breaches(capfd)) == 1, "what it has answered for it answers for no more"


def test_who_breaks_the_protocol_again_and_again_is_reported_to_the_monitor(start, capfd):
    monitor = start().begin()
    server, other = monitor.server(1), monitor.server(2)
    with raw(server, monitor.port) as dialog:
        for _ in range(BORNE + 10):
            dialog.send(b"garbage")
    assert monitor.receive() == m.Unresponsive(1)
    server.die()
    eventually(lambda: set(monitor.status()["servers"]) == {"2"})
    with monitor.connect():
        assert other.accept(monitor.port)
    assert len(breaches(capfd)) == 1


def test_a_server_that_refuses_everybody_is_asked_less_and_less(start):
    """Each time it may keep a duplicate of the connection: that cannot be seen, but need not be often."""
    monitor = start(durations=Durations(rest=0.02)).begin()
    server = monitor.server()
    offers = 0
    with monitor.connect():
        until = time.monotonic() + 1
        while offers < 3 or time.monotonic() < until:
            if select.select([server.dialogs[monitor.port]], [], [], 0.05)[0]:
                client = server.receive(monitor.port).client
                os.close(server.fds[0])
                server.send(monitor.port, m.Refused(client, server.count()))
                offers += 1
    assert offers < 15, "every 0.02 s it would have been fifty times"


# ---------------------------------------------------------------- floods


def flood(server, port, packets):
    """Write the packets round and round, as fast as they are read, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            dialog = raw(server, port)
            while True:
                for packet in packets:
                    dialog.send(packet)
        os._exit(0)
    return pid


def counting(make):
    """In a process of its own, so that each packet can have its own number."""

    def send(server, port):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                for number in range(1000, 10_000_000):
                    for message in make(number):
                        server.dialogs[port].sendall(channel.wire.encode(message))
            os._exit(0)
        return pid

    return send


@contextlib.contextmanager
def writing(*pids):
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_six_that_write_garbage_keep_no_client_out(start):
    monitor = start().begin()
    honest = monitor.server(7, weight=100)
    servers = [monitor.server(number) for number in range(1, 7)]
    with writing(*(flood(server, monitor.port, [b"garbage"]) for server in servers)):
        assert {monitor.receive_until(m.Unresponsive).server for _ in servers} == {1, 2, 3, 4, 5, 6}
        for _ in range(3):
            with monitor.connect():
                assert honest.accept(monitor.port)


def test_a_server_that_sends_true_messages_without_end_is_read_only_so_often(start):
    """It listens, and does not, and does: each change is reported to the Monitor."""
    monitor = start().begin()
    server = monitor.server()
    toggle = counting(lambda n: [m.NotReady(1, m.Count(0, 2 * n)), m.RestartReply(1, m.Count(0, 2 * n + 1))])
    began = time.monotonic()
    with writing(toggle(server, monitor.port)):
        reported = 0
        while reported <= 10 or time.monotonic() < began + 1.5:
            reported += isinstance(monitor.receive(), m.ServerReady)
        goes_on(monitor)
    assert reported < (1.5 * A_SECOND + 2 * A_SECOND) / 2


def test_what_is_to_be_asked_of_a_server_that_does_not_read_does_not_pile_up(start):
    monitor = start().begin()
    server = monitor.server()
    full = socket.socket(fileno=os.dup(monitor.kept[1, monitor.port]))
    full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    with full:
        for _ in range(200):
            server.send(monitor.port, m.NotReady(0, server.count()))
        eventually(lambda: len(monitor.events("Received")) == 201)
    asked = 0
    while select.select([server.dialogs[monitor.port]], [], [], 0.2)[0]:
        assert server.receive(monitor.port) == m.InitialMsg(1)
        asked += 1
    assert 2 <= asked < 30, "as many as the socket holds, and one"
    server.answer(monitor.port)
    with monitor.connect():
        assert server.accept(monitor.port)


def test_a_flood_ends_with_its_server(start):
    """What it has left behind is read to the end, however little it may send."""
    monitor = start().begin()
    server = monitor.server()
    toggle = counting(lambda n: [m.NotReady(0, m.Count(0, n))])
    with writing(toggle(server, monitor.port)):
        eventually(lambda: len(monitor.events("Received")) > A_SECOND)
    server.die()
    eventually(lambda: monitor.status()["servers"] == {})


def test_the_status_is_json_whatever_a_server_sends(start):
    monitor, server = unsettled(start)
    asks(server, 80, '"\x1b[31m\n' * 1000)
    offence = eventually(lambda: status_of(monitor)["offence"])
    assert "\x1b" not in offence and "\n" not in offence and len(json.dumps(offence)) < 2000
