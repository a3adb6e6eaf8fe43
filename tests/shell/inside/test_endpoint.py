"""The endpoint in one process, with the real channels and registry; the Distributor's part is played by the test."""

import gc
import itertools
import json
import operator
import os
import signal
import socket
import threading
import time
from errno import EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ENOBUFS, ENOMEM, EPIPE

import pytest
from tests.shell.fake import Distributor

from maitred.core import server
from maitred.core.distributor import BIND_YOURSELF
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Client,
    Count,
    Disconnect,
    HandOff,
    InitialMsg,
    NotReady,
    Refused,
    RestartReply,
)
from maitred.core.record import from_record
from maitred.core.transition import Rejected
from maitred.shell.inside import control_socket, endpoint, stand_in
from maitred.shell.inside.endpoint import Endpoint
from maitred.shell.io import channel
from maitred.shell.io.registry import Registry
from maitred.shell.observe.trace import Trace

PORT = 4049


class Bench:
    """An endpoint and, in a thread where it must answer, the Distributor."""

    def __init__(self, trace=None, alone=False):
        self.distributor = Distributor()
        self.endpoint = self.another(trace, alone)

    def another(self, trace=None, alone=False):
        """The endpoint of another process of the server; or of its only one."""
        registry = Registry.open(os.dup(self.distributor.registry.fd), alone=alone)
        return Endpoint(registry, channel.attach(os.dup(self.distributor.theirs.fileno())), trace)

    def pumping(self, work):
        """Do the work while the Distributor answers."""
        done = threading.Event()

        def pump():
            while not done.is_set():
                self.distributor.pump(0.01)

        thread = threading.Thread(target=pump)
        thread.start()
        try:
            return work()
        finally:
            done.set()
            thread.join()

    def listening(self, port=PORT):
        assert self.pumping(lambda: self.endpoint.request_bind(port, f"127.0.0.1:{port}")) == 0
        self.endpoint.listen(port)
        self.distributor.ready(port)
        return self

    def state(self):
        registry = self.endpoint._registry
        with registry.locked():
            return registry.load()

    def send(self, message, fds=(), port=PORT):
        channel.send(self.distributor.dialogs[port], message, fds)

    def hand(self, n, port=PORT, message_port=None):
        """A hand-off whose connection is one end of a pipe-like pair; the other end."""
        far, near = socket.socketpair()
        self.send(HandOff(Client(n, n, message_port or port)), [near.fileno()], port)
        near.close()
        return far

    def received(self, seconds=0.05):
        return self.distributor.quiet(seconds)


def open_descriptors():
    gc.collect()  # what earlier tests have left is not closed meanwhile
    return len(os.listdir("/proc/self/fd"))


def fill(dialog):
    while True:
        channel.send(dialog, Refused(Client(0, 0, PORT), Count(0, 0)))


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.distributor.close()


@pytest.fixture(params=["alone", "shared"])
def either(request):
    """An endpoint whose process is the only one of the server, or may have others beside it."""
    made = Bench(alone=request.param == "alone")
    yield made
    made.distributor.close()


# ---------------------------------------------------------------- bind


def test_a_bind_is_asked_for_and_its_initial_msg_answered_before_the_program_can_poll(bench):
    assert bench.pumping(lambda: bench.endpoint.request_bind(PORT, "127.0.0.1:4049")) == 0
    bench.received()  # what the pump has left
    assert [m for _, m in bench.distributor.received] == [NotReady(1, Count(0, 1))]
    assert not control_socket.wait_readable(bench.endpoint.dialogs[PORT].fileno(), 0)

    bench.endpoint.listen(PORT)
    assert bench.received() == [RestartReply(1, Count(0, 2))]


def test_what_is_asked_between_bind_and_listen_is_answered_by_listen(bench):
    """Not by the first accept: a program that polls would see a client where there is none."""
    assert bench.pumping(lambda: bench.endpoint.request_bind(PORT, "127.0.0.1:4049")) == 0
    bench.received()  # what the pump has left
    bench.send(InitialMsg(2))
    assert bench.received() == []
    bench.endpoint.listen(PORT)
    messages = bench.received()
    assert [(type(m), m.incarnation) for m in messages] == [(RestartReply, 2)], "who asked before is no more"
    assert not control_socket.wait_readable(bench.endpoint.dialogs[PORT].fileno(), 0)


def test_bind_yourself_is_the_core_s_constant():
    assert stand_in.BIND_YOURSELF == BIND_YOURSELF


@pytest.mark.parametrize("errno", [BIND_YOURSELF, EADDRINUSE])
def test_a_declined_bind_leaves_no_dialog(bench, errno):
    bench.distributor.bind_errno[PORT] = errno
    before = open_descriptors()
    assert bench.pumping(lambda: bench.endpoint.request_bind(PORT, "127.0.0.1:4049")) == errno
    assert bench.endpoint.dialogs == {}
    assert open_descriptors() == before


def test_a_bind_is_asked_again_until_a_distributor_answers(bench, monkeypatch):
    monkeypatch.setattr(control_socket, "BIND_AGAIN", 0.05)
    bench.distributor.silent_binds = 2
    assert bench.pumping(lambda: bench.endpoint.request_bind(PORT, "127.0.0.1:4049")) == 0
    assert len(bench.distributor.binds) == 3
    bench.endpoint.listen(PORT)
    bench.distributor.ready(PORT)


def test_an_unanswered_bind_fails_with_a_reason(bench, monkeypatch, capfd):
    monkeypatch.setattr(control_socket, "BIND_AGAIN", 0.02)
    monkeypatch.setattr(control_socket, "BIND_PATIENCE", 0.1)
    assert bench.endpoint.request_bind(PORT, "127.0.0.1:4049") == EADDRNOTAVAIL
    assert "no Distributor answers for port 4049" in capfd.readouterr().err


def test_the_number_of_ports_is_bounded(bench, monkeypatch, capfd):
    monkeypatch.setattr(endpoint, "PORT_LIMIT", 1)
    bench.listening()
    assert bench.endpoint.request_bind(6157, "127.0.0.1:6157") != 0
    assert bench.distributor.binds[-1].port == PORT
    assert "port 6157 is declined: a server can bind 1 ports through its Distributor" in capfd.readouterr().err


# ---------------------------------------------------------------- taking


def test_a_hand_off_is_counted_and_answered_then_delivered(either):
    either.listening()
    far = either.hand(1)
    fd, client = either.endpoint.take(PORT)
    assert client == Client(1, 1, PORT)
    assert either.received() == [Accepted(client, Count(1, 3))]
    os.write(fd, b"it works")
    assert far.recv(100) == b"it works"
    assert either.distributor.registry.clients() == (client,)
    os.close(fd)

    either.endpoint.let_go(client)
    assert either.received() == [Disconnect(client, Count(0, 4))]
    assert either.distributor.registry.clients() == ()
    either.endpoint.let_go(client)
    assert either.received() == []


def test_take_returns_one_client_or_none(either):
    either.listening()
    assert either.endpoint.take(PORT) is None
    either.hand(1), either.hand(2)
    assert [either.endpoint.take(PORT)[1].arrival for _ in range(2)] == [1, 2]
    assert either.endpoint.take(PORT) is None


def test_an_initial_msg_is_answered_with_the_hand_offs_read_before_it(either):
    either.listening()
    either.hand(1)
    either.send(InitialMsg(2))
    either.hand(2)
    either.endpoint.take(PORT)
    assert [type(m) for m in either.received()] == [Accepted]
    either.endpoint.take(PORT)
    reply, accepted = either.received()
    assert (reply.incarnation, reply.count.clients) == (2, 1)
    assert accepted.count.clients == 2 and accepted.count.sequence > reply.count.sequence


def test_a_hand_off_with_a_lost_or_extra_descriptor_is_refused(either):
    either.listening()
    before = open_descriptors()
    either.send(HandOff(Client(1, 1, PORT)))
    either.send(HandOff(Client(2, 2, PORT)), [0, 1])
    either.hand(3, message_port=6157)
    assert either.endpoint.take(PORT) is None
    heard = either.received()
    assert [(type(m), m.client.arrival, m.count.clients) for m in heard] == [(Refused, n, 0) for n in (1, 2)]
    assert open_descriptors() <= before + 1  # the far end


@pytest.mark.parametrize("garbage", [b"\xff garbage", b"", b"\x04", b"\x03" + bytes(24)])
def test_garbage_on_the_dialog_is_ignored(either, garbage):
    either.listening()
    socket.send_fds(either.distributor.dialogs[PORT], [garbage], [0, 1])
    either.hand(1)
    assert either.endpoint.take(PORT)[1].arrival == 1
    assert [type(m) for m in either.received()] == [Accepted]


def test_garbage_on_the_control_socket_is_ignored(bench):
    bench.listening()
    bench.distributor.control.send(b"\xff garbage")
    channel.send(bench.distributor.control, InitialMsg(1), [0])
    before = open_descriptors()
    bench.hand(1)
    fd, client = bench.endpoint.take(PORT)
    os.close(fd)
    bench.endpoint.let_go(client)
    assert [type(m) for m in bench.received()] == [Accepted, Disconnect]
    assert open_descriptors() <= before + 1


def test_a_client_that_the_audit_misses_is_forgotten(either):
    either.listening()
    either.hand(1), either.hand(2)
    first, second = either.endpoint.take(PORT), either.endpoint.take(PORT)
    either.received()
    either.send(InitialMsg(1, (first[1],)))
    assert either.endpoint.take(PORT) is None
    assert either.received() == [RestartReply(1, Count(1, 5))]
    assert either.distributor.registry.clients() == (second[1],)
    either.endpoint.let_go(first[1])
    assert either.received() == []


def test_the_end_of_the_dialog_is_handled(either):
    either.listening()
    either.distributor.dialogs.pop(PORT).close()
    assert either.endpoint.take(PORT) is None
    assert either.endpoint.dialogs == {}
    either.endpoint.let_go(Client(1, 1, PORT))
    either.endpoint.close(PORT, shared=False)


# ---------------------------------------------------------------- closing


def test_a_closed_listener_refuses_what_is_unread_and_sends_not_ready(either):
    either.listening()
    far = either.hand(1)
    either.send(InitialMsg(2))
    either.pumping(lambda: either.endpoint.close(PORT, shared=False))
    either.received()
    messages = [m for _, m in either.distributor.received[2:]]
    assert [type(m) for m in messages] == [Refused, NotReady, NotReady]
    assert messages[0].client.arrival == 1
    assert [m.incarnation for m in messages if type(m) is NotReady] == [0, 1]
    assert far.recv(10) == b""  # this was the last copy: the Distributor would have its own
    assert not either.state().listeners[PORT].listening


def test_a_hand_off_sent_during_the_close_is_refused(bench):
    """The Distributor sends one more before it has read NotReady."""
    bench.listening()
    bench.distributor.acknowledge = False
    thread = threading.Thread(target=lambda: bench.endpoint.close(PORT, shared=False))
    thread.start()
    closing = bench.distributor.next(NotReady)
    closing = closing if closing.incarnation == 0 else bench.distributor.next(NotReady)
    thread.join(0.1)
    assert thread.is_alive(), "it waits for the acknowledgement"
    bench.hand(5)
    bench.send(InitialMsg(1))
    channel.send(bench.distributor.control, Acknowledge(closing.count.sequence))
    thread.join()
    refused, answer = bench.received()
    assert (type(refused), refused.client.arrival) == (Refused, 5)
    assert (type(answer), answer.incarnation) == (NotReady, 1)


def test_a_hand_off_behind_an_initial_msg_is_refused_even_if_others_have_the_listener(bench):
    """Nobody else might ever read it."""
    bench.listening()
    bench.send(InitialMsg(2))
    bench.hand(1)
    bench.pumping(lambda: bench.endpoint.close(PORT, shared=True))
    bench.received()
    messages = [m for _, m in bench.distributor.received[2:]]
    assert [type(m) for m in messages] == [Refused, NotReady]


def test_a_close_waits_one_second_for_its_acknowledgement(bench):
    bench.listening()
    bench.distributor.acknowledge = False
    began = time.monotonic()
    bench.endpoint.close(PORT, shared=False)
    assert time.monotonic() - began > 0.9


def test_a_listener_opened_again_uses_the_same_dialog(bench):
    bench.listening()
    bench.pumping(lambda: bench.endpoint.close(PORT, shared=False))
    dialog = bench.endpoint.dialogs[PORT]
    bench.received()
    assert bench.pumping(lambda: bench.endpoint.request_bind(PORT, "127.0.0.1:4049")) == 0
    assert bench.endpoint.dialogs[PORT] is dialog
    bench.endpoint.listen(PORT)
    assert [type(m) for m in bench.received()] == [RestartReply]
    bench.hand(1)
    assert bench.endpoint.take(PORT) is not None


def test_hand_offs_on_a_closed_port_are_refused_while_another_is_served(bench):
    """A new Distributor waits for the answers of all dialogs."""
    bench.listening(PORT)
    bench.listening(6157)
    bench.pumping(lambda: bench.endpoint.close(6157, shared=False))
    bench.received()
    bench.send(InitialMsg(2), port=6157)
    bench.hand(1, port=6157)
    assert bench.endpoint.take(PORT) is None
    answer, refused = bench.received()
    assert (type(answer), answer.incarnation, type(refused)) == (NotReady, 2, Refused)


def test_another_process_that_accepts_keeps_the_port_open(bench):
    """Here the other process is this one's parent, which exists for sure."""
    bench.listening()
    registry = bench.distributor.registry
    with registry.locked():
        registry.hold(PORT, os.getppid())
    bench.endpoint.close(PORT, shared=True)
    assert bench.received() == []
    assert bench.state().listeners[PORT].listening

    with registry.locked():
        registry.drop(PORT, os.getppid())
        registry.hold(PORT, 2**22 + 1)  # no such process
    bench.endpoint.take(PORT)
    bench.pumping(lambda: bench.endpoint.close(PORT, shared=True))
    assert not bench.state().listeners[PORT].listening


def test_a_process_that_inherited_the_listener_reports_when_it_accepts(bench):
    """The parent closes its copy before any worker has accepted; the InitialMsg that follows wakes the workers."""
    bench.listening()
    worker = bench.another()
    worker.dialogs[PORT] = channel.attach(os.dup(bench.endpoint.dialogs[PORT].fileno()))
    bench.pumping(lambda: bench.endpoint.close(PORT, shared=True))
    assert control_socket.wait_readable(worker.dialogs[PORT].fileno(), 1000)
    bench.received()
    assert worker.take(PORT) is None
    assert [type(m) for m in bench.received()] == [RestartReply]
    assert bench.state().listeners[PORT].listening


# ---------------------------------------------------------------- many hands


def test_threads_share_one_count_and_no_hand_off_is_lost_or_doubled(either):
    either.listening()
    numbers, newest = itertools.count(1), operator.attrgetter("sequence")
    taken, stop = [], threading.Event()

    def serve():
        while not stop.is_set():
            found = either.endpoint.take(PORT)
            if found is None:
                control_socket.wait_readable(either.endpoint.dialogs[PORT].fileno(), 20)
                continue
            taken.append(found[1])
            os.close(found[0])
            either.endpoint.let_go(found[1])

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(150):
        either.hand(next(numbers)).close()
        either.distributor.next(Accepted)
        either.send(InitialMsg(1))
    either.distributor.until(lambda: max((m.count for _, m in either.distributor.received), key=newest).clients == 0)
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(client.arrival for client in taken) == list(range(1, 151))
    counts = [m.count for _, m in either.distributor.received]
    assert len({count.sequence for count in counts}) == len(counts)
    assert either.state().clients == server.EndpointState().clients


def test_an_event_from_a_finaliser_during_a_step_is_queued(either, monkeypatch):
    """Garbage collection may close a connection at any point, also in the step of the same thread."""
    either.listening()
    either.hand(1), either.hand(2)
    (_, first), (_, second) = either.endpoint.take(PORT), either.endpoint.take(PORT)
    either.received()
    step = either.endpoint._step

    class Dropped:
        def __del__(self):
            either.endpoint.let_go(first)

    def collecting(event, touched=()):
        dropped = Dropped()
        dropped.cycle = dropped
        del dropped
        monkeypatch.undo()
        gc.collect()
        return step(event, touched)

    monkeypatch.setattr(either.endpoint, "_step", collecting)
    either.endpoint.let_go(second)
    assert [(m.client, m.count.clients) for m in either.received()] == [(first, 0)], (
        "the last of those who leave is named"
    )


def test_a_close_during_a_step_is_queued(either, monkeypatch):
    either.listening()
    step = either.endpoint._step

    def closing(event, touched=()):
        monkeypatch.undo()
        either.endpoint.close(PORT, shared=False)
        return step(event, touched)

    monkeypatch.setattr(either.endpoint, "_step", closing)
    either.send(InitialMsg(1))
    assert either.endpoint.take(PORT) is None
    assert [type(m) for m in either.received()] == [RestartReply, NotReady]


def fill_up(bench):
    """The Distributor reads nothing until no packet more goes into the dialog."""
    with pytest.raises(BlockingIOError):
        fill(bench.endpoint.dialogs[PORT])


def seat(bench, numbers):
    """Clients whom the program has, and whose answers have been read."""
    clients = []
    for n in numbers:
        bench.hand(n).close()
        fd, client = bench.endpoint.take(PORT)
        os.close(fd)
        clients.append(client)
        bench.received(0.001)
    return clients


def test_the_last_count_is_sent_when_the_distributor_reads_again(bench):
    bench.listening()
    clients = seat(bench, range(1, 41))
    fill_up(bench)
    began = time.monotonic()
    for client in clients:
        bench.endpoint.let_go(client)
    assert time.monotonic() - began < 10, "nobody waits for it"
    assert [type(reply.message) for reply in bench.state().outbox] == [Disconnect]

    bench.received()
    bench.another().let_go(Client(0, 0, PORT))  # a process that has no dialog leaves it to those that do
    assert bench.received() == []
    bench.endpoint.let_go(Client(0, 0, PORT))  # any step
    assert bench.received() == [Disconnect(clients[-1], Count(0, bench.state().sequence))]
    assert bench.state().outbox == ()


def test_no_hand_off_is_read_without_room_for_its_answer(bench):
    """It stays in the dialog, so nobody has to wait under the lock, or to deliver a client who was not answered for."""
    bench.listening()
    far = bench.hand(1)
    fill_up(bench)
    began = time.process_time(), time.monotonic()
    for _ in range(50):
        assert bench.endpoint.take(PORT) is None
    assert time.monotonic() - began[1] > 50 * endpoint.ROOM_PATIENCE / 1000 * 0.9, "a poller does not spin"
    assert time.process_time() - began[0] < 0.2
    assert bench.state().clients == server.EndpointState().clients
    assert bench.distributor.registry.is_unfinished, "the audit sees it, and wakes who polls for edges"

    bench.received()
    fd, client = bench.endpoint.take(PORT)
    assert bench.received() == [Accepted(client, Count(1, 3))]
    assert not bench.distributor.registry.is_unfinished
    os.write(fd, b"it works")
    assert far.recv(100) == b"it works"
    os.close(fd)


def test_who_is_alone_reads_no_hand_off_without_room_for_its_answer():
    """It asks for room once, and counts; the Distributor reads nothing."""
    bench = Bench(alone=True).listening()
    bench.endpoint.dialogs[PORT].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # whatever the machine's is
    bench.endpoint._room.clear()
    taken = []
    for n in range(1, 200):
        bench.hand(n).close()
        found = bench.endpoint.take(PORT)
        if found is None:
            break
        os.close(found[0])
        taken.append(found[1])
    assert 20 < len(taken) < 199
    assert bench.distributor.registry.is_unfinished, "the audit sees it, and wakes who polls for edges"
    assert [(type(m), m.client) for m in bench.received()] == [(Accepted, client) for client in taken]
    fd, client = bench.endpoint.take(PORT)
    os.close(fd)
    assert client.arrival == len(taken) + 1 and not bench.distributor.registry.is_unfinished
    bench.distributor.close()


def test_closed_descriptors_raise_nothing(bench):
    """A program that closes every descriptor it did not open has closed ours."""
    bench.listening()
    os.close(bench.endpoint._registry.fd)
    assert bench.endpoint.take(PORT) is None
    bench.endpoint.let_go(Client(1, 1, PORT))
    bench.endpoint.close(PORT, shared=False)
    bench.endpoint.before_fork([Client(1, 1, PORT)])
    bench.endpoint.after_fork_in_parent()


# ---------------------------------------------------------------- what the kernel does not take


def failing(monkeypatch, *errnos):
    """The next sends fail for these reasons, one after another."""
    send, left = channel.send, list(errnos)

    def failing_send(*args, **kwargs):
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        send(*args, **kwargs)

    monkeypatch.setattr(channel, "send", failing_send)
    return left


@pytest.mark.parametrize("number", [ENOBUFS, ENOMEM])
def test_an_answer_is_retried_when_the_kernel_has_no_memory(either, monkeypatch, number):
    either.listening()
    either.hand(1)
    failing(monkeypatch, number, number)
    fd, client = either.endpoint.take(PORT)
    assert either.received() == [Accepted(client, Count(1, 3))]
    os.close(fd)


@pytest.mark.parametrize("number", [ENOBUFS, ENOMEM, EAGAIN])
def test_a_client_whose_answer_cannot_be_sent_is_refused(either, monkeypatch, number):
    """Not dropped, not delivered: the Distributor offers its copy again."""
    either.listening()
    either.hand(1)
    before = open_descriptors()
    left = failing(monkeypatch, *[number] * (endpoint.TRIES + 2))
    assert either.endpoint.take(PORT) is None
    assert open_descriptors() == before, "its connection is closed here"
    left.clear()
    either.endpoint.take(PORT)
    assert [(m.client.arrival, m.count.clients) for m in either.received() if isinstance(m, Refused)] == [(1, 0)]
    assert either.state().clients == server.EndpointState().clients
    either.hand(1)
    assert either.endpoint.take(PORT) is not None


def test_no_client_is_delivered_after_the_other_end_has_closed(either, monkeypatch):
    """A Distributor that has closed the dialog offers its copy elsewhere."""
    either.listening()
    far = either.hand(1)
    failing(monkeypatch, EPIPE)
    assert either.endpoint.take(PORT) is None
    assert far.recv(10) == b"", "its connection is closed here"
    assert either.endpoint.dialogs == {}
    assert either.state().clients == server.EndpointState().clients
    assert either.state().outbox == (), "there is nobody to say anything to"


# ---------------------------------------------------------------- what is interrupted


class Torn(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize("instant", ["read", "saved", "sent"])
def test_a_step_interrupted_by_a_signal_handler_is_finished(either, monkeypatch, instant):
    """The process lives: it knows whether its answer is in the socket."""
    either.listening()
    far = either.hand(1)
    tear(either.endpoint, monkeypatch, instant, raise_torn)
    before = open_descriptors()
    with pytest.raises(Torn):
        either.endpoint.take(PORT)
    monkeypatch.undo()
    heard = either.received()
    if instant == "sent":
        assert [type(m) for m in heard] == [Accepted]
        fd, _ = either.endpoint.take(PORT)
        os.write(fd, b"it works")
        assert far.recv(100) == b"it works"
    else:
        heard += [] if heard else either.endpoint.take(PORT) or either.received()
        assert [(type(m), m.count.clients) for m in heard] == [(Refused, 0)]
        assert far.recv(10) == b""
        assert open_descriptors() == before
    assert not either.distributor.registry.is_unfinished


def raise_torn():
    raise Torn


def tear(of, monkeypatch, instant, happen):
    """Let something happen at an instant of the next hand-off."""
    step, take = of._step, channel.take

    def torn_take(*args):
        monkeypatch.setattr(channel, "take", take)
        take(*args)
        happen()

    def torn_step(event, touched=()):
        hand_off = isinstance(event, server.MessageRead)
        if instant == "sent" and isinstance(event, server.Sent):
            monkeypatch.setattr(of, "_step", step)
            happen()
        step(event, touched)
        if instant == "saved" and hand_off:
            monkeypatch.setattr(of, "_step", step)
            happen()

    monkeypatch.setattr(*((channel, "take", torn_take) if instant == "read" else (of, "_step", torn_step)))


@pytest.mark.parametrize("instant", ["read", "saved", "sent"])
def test_a_fork_in_the_middle_of_a_step_leaves_the_step_to_the_parent(either, monkeypatch, instant):
    either.listening()
    far = either.hand(1)
    children = []

    def fork():
        either.endpoint.before_fork(())
        children.append(os.fork())
        if children[0]:
            either.endpoint.after_fork_in_parent()
        else:
            either.endpoint.after_fork_in_child()

    tear(either.endpoint, monkeypatch, instant, fork)
    found = either.endpoint.take(PORT)
    if not children[0]:
        os._exit(0 if found is None else 1)
    assert os.waitpid(children[0], 0)[1] == 0, "the child has nobody"
    fd, client = found
    assert [(type(m), m.client) for m in either.received()] == [(Accepted, client)]
    os.close(fd)
    assert far.recv(10) == b"", "and nothing of the client"


@pytest.mark.parametrize("instant", ["read", "saved", "sent"])
def test_the_next_process_finishes_the_step_of_a_dead_one(bench, monkeypatch, instant):
    bench.listening()
    bench.hand(1)
    pid = os.fork()
    if pid == 0:
        other = bench.another()
        other.dialogs = bench.endpoint.dialogs
        tear(other, monkeypatch, instant, lambda: os.kill(os.getpid(), signal.SIGKILL))
        other.take(PORT)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert bench.distributor.registry.is_unfinished, "the audit sees it"
    assert bench.endpoint.take(PORT) is None
    heard = bench.received()
    accepted = [Accepted(Client(1, 1, PORT), Count(1, 3))] if instant == "sent" else []
    assert heard[: len(accepted)] == accepted
    assert [(type(m), m.client.arrival, m.count.clients) for m in heard[len(accepted) :]] == [(Refused, 1, 0)]
    assert not bench.distributor.registry.is_unfinished
    bench.hand(2)
    assert bench.endpoint.take(PORT)[1].arrival == 2


@pytest.mark.parametrize("instant", ["read", "saved", "sent"])
def test_a_child_that_is_forked_in_a_step_finishes_it_when_its_parent_is_killed(monkeypatch, instant):
    """The parent was alone until then: what it was doing stands nowhere before the fork."""
    bench = Bench(alone=True).listening()
    bench.hand(1)
    child, parent = os.pipe()
    pid = os.fork()
    if pid == 0:

        def fork():
            bench.endpoint.before_fork(())
            if os.fork():
                os.kill(os.getpid(), signal.SIGKILL)
            bench.endpoint.after_fork_in_child()

        tear(bench.endpoint, monkeypatch, instant, fork)
        taken = [bench.endpoint.take(PORT), bench.endpoint.take(PORT)]
        os.write(parent, b"nobody" if taken == [None, None] else b"somebody")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert os.read(child, 10) == b"nobody"
    heard = bench.received()
    accepted = [Accepted(Client(1, 1, PORT), Count(1, 3))] if instant == "sent" else []
    assert heard[: len(accepted)] == accepted
    assert [(type(m), m.client.arrival, m.count.clients) for m in heard[len(accepted) :]] == [(Refused, 1, 0)]
    assert not bench.distributor.registry.is_unfinished
    bench.distributor.close()
    os.close(child), os.close(parent)


def test_a_process_that_died_before_reading_has_taken_nothing(bench, monkeypatch):
    bench.listening()
    bench.hand(1)
    pid = os.fork()
    if pid == 0:
        other = bench.another()
        other.dialogs = bench.endpoint.dialogs
        monkeypatch.setattr(channel, "take", lambda *args: os.kill(os.getpid(), signal.SIGKILL))
        other.take(PORT)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert bench.endpoint.take(PORT)[1].arrival == 1


# ---------------------------------------------------------------- trace


def test_every_step_is_traced_and_is_a_step_of_the_machine(tmp_path):
    path = tmp_path / "trace"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    trace = Trace(fd, "server 0 7")
    trace.start()
    bench = Bench(trace)
    bench.listening()
    bench.hand(1)
    taken, client = bench.endpoint.take(PORT)
    os.close(taken)
    bench.send(HandOff(Client(2, 2, PORT)))
    bench.endpoint.take(PORT)
    bench.endpoint.let_go(client)
    bench.endpoint.let_go(client)
    bench.received()
    bench.pumping(lambda: bench.endpoint.close(PORT, shared=False))
    os.close(fd)

    state, expected, kinds = server.EndpointState(), [], []
    for line in map(json.loads, path.read_text().splitlines()):
        assert line["who"] == "server 0 7"
        if "event" in line:
            assert expected == []
            event = from_record(server.Event, line["event"])
            kinds.append(type(event))
            result = server.step(state, event)
            if isinstance(result, Rejected):
                expected = [result.reason.name]
            else:
                state, expected = result.state, list(result.effects)
        elif "effect" in line:
            assert from_record(server.Effect, line["effect"]) == expected.pop(0)
        elif "rejected" in line:
            assert line["rejected"] == expected.pop(0)
    assert expected == []
    assert {server.Bound, server.Listened, server.MessageRead, server.Disconnected, server.ListenerClosed} <= set(kinds)
    assert state == bench.state()
    bench.distributor.close()
