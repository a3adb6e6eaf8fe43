"""The registry: one state for all processes of a server, whatever they do at once and whoever dies in the middle."""

import fcntl
import os
import random
import re
import signal
import struct
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shell.fake import eventually

from maitred.config import values
from maitred.core.messages import Client, Count, Refused
from maitred.core.server import EndpointState, Reply, VirtualListener
from maitred.core.tree import Tree
from maitred.shell.io.registry import PORT_LIMIT, Damaged, Full, Reader, Registry, create


def client(n):
    return Client(n, n + 1000, 4049)


def state(clients, sequence=1, ports=()):
    return EndpointState(Tree.of(ports), Tree.of((client(n), None) for n in clients), sequence)


@pytest.fixture
def registry():
    made = Registry(create(4))
    yield made
    made.close()


@pytest.fixture
def other(registry):
    """The same registry as another process has it."""
    made = Registry.open(os.dup(registry.fd))
    yield made
    made.close()


def change(registry, new, touched=None):
    with registry.locked():
        registry.save(registry.load(), new, touched)


def content(registry):
    with registry.locked():
        return registry.load()


def counted(registry, most=1000):
    """The clients that one who does not trust the server reads there."""
    return Reader(registry.fd, most).clients()


def in_child(work):
    """Do the work in a forked process; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def test_what_one_process_saves_the_other_loads(registry, other):
    assert content(other) == EndpointState()
    ports = [(4049, VirtualListener(True)), (6157, VirtualListener(False, 3))]
    change(registry, state([1, 2, 3], 9, ports))
    assert content(other) == state([1, 2, 3], 9, ports)
    change(other, state([2, 4], 10, ports[:1]))
    assert content(registry) == state([2, 4], 10, ports[:1])
    assert counted(registry) == counted(other) == (client(2), client(4))


def test_it_grows_beyond_its_capacity_in_every_process(registry, other):
    content(other)
    change(registry, state(range(500)))
    assert len(counted(other)) == 500
    assert content(other) == state(range(500))
    change(other, state(range(200, 900)))
    assert content(registry) == state(range(200, 900))


def test_an_unchanged_state_is_not_read_again(registry):
    change(registry, state(range(100)))
    assert content(registry) is content(registry)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 12)), st.integers(0, 3)), max_size=12))
def test_two_processes_never_disagree(steps):
    """Any sequence of saves by two processes: each then loads exactly what the other saved."""
    one = Registry(create(2))
    two = Registry.open(os.dup(one.fd))
    try:
        for sequence, (first, clients, port) in enumerate(steps, 1):
            new = state(clients, sequence, [(p, VirtualListener()) for p in range(1, port + 1)])
            writer, reader = (one, two) if first else (two, one)
            change(writer, new, touched=[client(n) for n in range(13)])
            assert content(reader) == new
            assert set(counted(reader)) == set(new.clients)
    finally:
        one.close()
        two.close()


def test_a_place_that_others_free_again_and_again_is_remembered_once(registry, other):
    content(other)
    for n in range(1000):
        change(registry, state([n], 2 * n), [client(n)])
        content(other)
        change(registry, state([], 2 * n + 1), [client(n)])
        assert content(other) == state([], 2 * n + 1)
    assert len(registry._freed) <= 4 and len(other._freed) <= 4  # the capacity
    change(other, state([1, 2]))
    assert counted(registry) == (client(1), client(2))


def test_long_unread_changes_are_followed_too(registry, other):
    """More than the journal holds."""
    content(other)
    for n in range(400):
        change(registry, state([n], n))
    assert content(other) == state([399], 399)


def test_threads_and_processes_exclude_each_other(registry):
    """Each adds its own clients, one step at a time: none is lost."""

    def add(base):
        for n in range(base, base + 50):
            with registry.locked():
                old = registry.load()
                new = EndpointState(old.listeners, old.clients.set(client(n), None), old.sequence + 1)
                if random.random() < 0.1:
                    time.sleep(0.0005)
                registry.save(old, new, [client(n)])

    children = [in_child(lambda base=base: add(base)) for base in (1000, 2000)]
    threads = [threading.Thread(target=add, args=(base,)) for base in (3000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    final = content(registry)
    assert (len(final.clients), final.sequence) == (200, 200)
    assert len(counted(registry)) == 200


def test_the_lock_dies_with_its_holder(registry):
    read, write = os.pipe()

    def hold():
        with registry.locked():
            os.write(write, b"held")
            time.sleep(60)

    child = in_child(hold)
    assert os.read(read, 4) == b"held"
    assert counted(registry) == ()  # the audit waits for nobody
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with registry.locked():
        assert registry.load() == EndpointState()
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("instant", range(6))
def test_a_writer_that_dies_in_the_middle_leaves_a_state_that_was(registry, instant):
    """Killed after any number of writes: the clients are those before or those after, each whole."""
    change(registry, state([1, 2], 5))
    content(registry)

    def die():
        left = instant
        write = registry._set_number

        def dying(at, number):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            write(at, number)

        registry._set_number = dying
        change(registry, state([2, 3], 6), [client(1), client(3)])

    os.waitpid(in_child(die), 0)
    found = content(registry)
    assert set(found.clients) <= {client(n) for n in (1, 2, 3)} and client(2) in found.clients
    assert set(counted(registry)) == set(found.clients)
    change(registry, state([4], 7))
    assert content(registry) == state([4], 7)


def test_a_fork_in_one_thread_leaves_the_child_no_lock_held_by_another(registry):
    """Without `before_fork` the child hangs for ever."""
    release = threading.Event()
    held = threading.Event()

    def hold():
        with registry.locked():
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.1, release.set).start()
    registry.before_fork()

    def use():
        registry.after_fork()
        change(registry, state([7]))

    pid = in_child(use)
    registry.after_fork()
    thread.join()
    assert eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    assert content(registry) == state([7])


def test_who_accepts_on_a_port_is_known_to_all(registry, other):
    with registry.locked():
        registry.hold(4049, 11)
        registry.hold(4049, 12)
        registry.hold(4049, 12)
        registry.hold(6157, 11)
        registry.drop(6157, 99)
    with other.locked():
        assert other.holders(4049) == (11, 12)
        other.drop(4049, 11)
    with registry.locked():
        assert (registry.holders(4049), registry.holders(6157)) == ((12,), (11,))


def test_a_client_is_released_by_as_many_as_hold_it(registry, other):
    change(registry, state([1, 2]))
    with other.locked():
        other.share(client(1))
    with registry.locked():
        assert [registry.release(client(1)), registry.release(client(1)), registry.release(client(2))] == [1, 0, 0]
        assert registry.release(client(3)) == 0


def test_more_ports_than_there_is_room_for_are_declined_whole(registry):
    ports = [(p, VirtualListener()) for p in range(1, PORT_LIMIT + 2)]
    with registry.locked(), pytest.raises(Full):
        registry.save(registry.load(), state([1], 1, ports))
    assert content(registry) == EndpointState()
    change(registry, state([1], 1, ports[:-1]))
    assert len(content(registry).listeners) == PORT_LIMIT


def test_what_is_not_a_registry_is_not_opened():
    fd = os.memfd_create("other")
    os.ftruncate(fd, 8192)
    with pytest.raises(ValueError):
        Registry.open(fd)
    os.close(fd)


# ---------------------------------------------------------------- a process that is alone


@pytest.fixture
def alone():
    """The registry as the only process of a server has it."""
    made = Registry(create(4), alone=True)
    yield made
    made.close()


def outbox(n):
    return tuple(Reply(4049, Refused(client(i), Count(0, i))) for i in range(n))


def is_locked(registry):
    """Whether another process would have to wait."""
    pid = in_child(lambda: fcntl.lockf(registry.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1))
    return os.waitpid(pid, 0)[1] != 0


def test_the_lock_is_taken_when_another_process_may_come_and_not_before(alone):
    with alone.locked():
        assert not is_locked(alone)
    alone.publish()
    with alone.locked():
        assert is_locked(alone)
    assert not is_locked(alone)


def test_a_process_that_comes_in_the_middle_of_a_step_waits_for_its_end(alone):
    """A signal handler forks."""
    with alone.locked():
        alone.publish()
        assert is_locked(alone)
    assert not is_locked(alone)


def test_who_comes_finds_all_that_the_first_process_knows(alone):
    ports = [(4049, VirtualListener(True)), (6157, VirtualListener(False, 3))]
    new = replace(state(range(60), 9, ports), outbox=outbox(3))
    change(alone, new)
    alone.publish()
    other = Registry.open(os.dup(alone.fd))
    assert content(other) == content(alone) == new
    change(other, state([5, 99], 10, ports[:1]))
    assert content(alone) == state([5, 99], 10, ports[:1])
    change(alone, state([5], 11))
    assert content(other) == state([5], 11)
    other.close()


def test_what_is_read_from_outside_is_there_while_a_process_is_alone(alone):
    reader = Reader(alone.fd, 1000)
    change(alone, state(range(50)))
    assert len(reader.clients()) == 50 and not reader.is_unfinished
    change(alone, replace(state([3, 7]), outbox=outbox(1)))
    assert reader.clients() == (client(3), client(7)) and reader.is_unfinished
    change(alone, state([3, 7]))
    assert not reader.is_unfinished


@pytest.mark.parametrize("published", [False, True])
def test_a_save_that_a_signal_handler_interrupts_leaves_no_row_behind(alone, monkeypatch, published):
    change(alone, state([1, 2], 5))

    class Torn(Exception):
        pass

    def torn(*args):
        monkeypatch.undo()
        alone._write_row(*args)
        raise Torn

    monkeypatch.setattr(alone, "_write_row", torn)
    with pytest.raises(Torn):
        change(alone, state([2, 3], 6))
    if published:
        alone.publish()
    assert content(alone) == state([1, 2], 5)
    assert counted(alone) == (client(1), client(2))
    change(alone, state([3], 7))
    assert counted(alone) == (client(3),)


def test_a_reader_that_meets_a_row_being_written_looks_again(alone, monkeypatch):
    """The version is the same before and after: it says what is to be, and the row is not whole yet."""
    change(alone, state([1]))
    reader, beginnings = Reader(alone.fd, 4), []
    beginning = reader._beginning

    def writing(n):
        alone._set_number(8, n)
        os.pwrite(alone.fd, ROW.pack(0, -1, 70_000, 1) if n else bytes(ROW.size), CLIENTS + 3 * ROW.size)

    def noted():
        found = beginning()
        beginnings.append(found)
        if len(beginnings) == 1:
            alone._set_number(8, 0)  # the row stays half written for one look
        elif len(beginnings) == 2:
            writing(0)
        return found

    writing(1)
    monkeypatch.setattr(reader, "_beginning", noted)
    assert reader.clients() == (client(1),)


# ---------------------------------------------------------------- whoever does not trust the server


def test_nobody_makes_a_registry_shorter_but_its_server_makes_it_longer(registry):
    size = os.fstat(registry.fd).st_size
    for shorter in (0, size - 1):
        with pytest.raises(PermissionError):
            os.ftruncate(registry.fd, shorter)
    os.ftruncate(registry.fd, size + 1)
    assert counted(registry) == ()


ROW = struct.Struct("=qqII")
CLIENTS = 122_880
CAPACITY = 64
GARBAGE = {
    "no registry": ((0, b"something"), "first bytes"),
    "a hole": ((0, bytes(CLIENTS)), "first bytes"),
    "a capacity of 2^50": ((CAPACITY, struct.pack("=Q", 1 << 50)), "room for 1125899906842624 clients; 24 is the most"),
    "a capacity of one too many": ((CAPACITY, struct.pack("=Q", 25)), "room for 25 clients; 24 is the most"),
    "port 70000": ((CLIENTS, ROW.pack(1, 2, 70_000, 1)), "port=70000"),
    "a cookie below 0": ((CLIENTS + ROW.size, ROW.pack(1, -2, 80, 1)), "cookie=-2"),
    "an arrival below 0": ((CLIENTS, ROW.pack(-1, 2, 80, 1)), "arrival=-1"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_makes_no_sense_is_reported(registry, name):
    (at, data), why = GARBAGE[name]
    reader = Reader(registry.fd, 4)
    assert reader.fault() is None
    os.pwrite(registry.fd, data, at)
    with pytest.raises(Damaged, match=re.escape(why)):
        reader.clients()
    assert why in reader.fault()


def test_clients_of_more_ports_than_a_server_binds_make_no_sense(registry):
    """Of each the kernel would be asked."""
    rows = [ROW.pack(n, n, 1 + n % PORT_LIMIT, 1) for n in range(2 * PORT_LIMIT)]
    os.pwrite(registry.fd, b"".join(rows), CLIENTS)
    os.pwrite(registry.fd, struct.pack("=Q", len(rows)), CAPACITY)
    assert len(counted(registry)) == len(rows)
    os.pwrite(registry.fd, ROW.pack(1, 1, PORT_LIMIT + 1, 1), CLIENTS)
    with pytest.raises(Damaged, match=f"clients of {PORT_LIMIT + 1} ports"):
        counted(registry)


def test_a_row_that_is_being_written_condemns_nobody(registry):
    change(registry, state([1]))
    os.pwrite(registry.fd, ROW.pack(0, -1, 70_000, 1), CLIENTS + 3 * ROW.size)
    registry._set_number(8, 1)
    assert counted(registry) == (client(1),)
    registry._set_number(8, 0)
    with pytest.raises(Damaged):
        counted(registry)


def test_a_capacity_that_has_no_memory_behind_it_is_read_as_far_as_there_is(registry):
    change(registry, state([1]))
    registry._set_number(CAPACITY, 1000)
    assert counted(registry) == (client(1),)


# ---------------------------------------------------------------- bounds


def test_a_configuration_may_have_as_many_ports_as_a_server_can_bind():
    assert values.MAX_PORTS == PORT_LIMIT


def test_processes_that_were_killed_leave_room_for_others_that_accept(registry):
    dead = in_child(lambda: None)
    os.waitpid(dead, 0)
    with registry.locked():
        assert all(registry.hold(port, os.getpid()) for port in range(1, 2048))
        assert registry.hold(2048, dead)
        assert registry.hold(2049, os.getpid())
        assert (registry.holders(2048), registry.holders(2049)) == ((), (os.getpid(),))
        assert not registry.hold(2050, os.getpid())
        assert registry.hold(2049, os.getpid())
