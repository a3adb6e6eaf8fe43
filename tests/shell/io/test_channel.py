"""Messages and descriptors over a channel: nothing blocks, nothing leaks, and the end is the end."""

import os
import resource
import select
import socket

import pytest
from tests.shell.fake import descriptors_at_rest

from maitred.core import wire
from maitred.core.messages import Acknowledge, Begin, Client, HandOff, InitialMsg, Store
from maitred.shell.io import channel

CLIENT = Client(1, 2, 4049)


@pytest.fixture
def ends():
    one, other = channel.pair()
    yield one, other
    one.close()
    other.close()


def open_fds():
    return set(os.listdir("/proc/self/fd"))


def fill(work):
    for _ in range(100_000):
        work()


def test_messages_keep_their_borders_and_their_order(ends):
    one, other = ends
    for message in (Begin(), InitialMsg(3), HandOff(CLIENT)):
        channel.send(one, message)
    assert [channel.receive(other).message for _ in range(3)] == [Begin(), InitialMsg(3), HandOff(CLIENT)]
    with pytest.raises(BlockingIOError):
        channel.receive(other)


def test_descriptors_come_along_close_on_exec(ends):
    one, other = ends
    read, write = os.pipe()
    channel.send(one, Store(CLIENT), [write, write])
    os.close(write)
    packet = channel.receive(other)
    assert (len(packet.fds), packet.truncated) == (2, False)
    assert not any(os.get_inheritable(fd) for fd in packet.fds)
    os.write(packet.fds[1], b"through")
    assert os.read(read, 100) == b"through"
    channel.close([read, *packet.fds])


@pytest.mark.parametrize("garbage", [b"\xff", b"\x02short", b"", b"\x01" * 65_536, wire.encode(Begin()) + b"x"])
def test_garbage_is_an_error_its_descriptors_are_closed_and_what_follows_is_read(ends, garbage):
    one, other = ends
    before = set(descriptors_at_rest())
    socket.send_fds(one, [garbage], [0, 1])
    channel.send(one, Begin())
    with pytest.raises(wire.WireError):
        channel.receive(other)
    assert open_fds() == before
    assert channel.receive(other).message == Begin()


def test_an_empty_packet_without_descriptors_is_not_the_end(ends):
    one, other = ends
    one.send(b"")
    with pytest.raises(wire.WireError):
        channel.receive(other)
    one.close()
    assert channel.receive(other) is None


def test_a_reset_does_not_hide_what_was_sent_before(ends):
    """The reader of a dead peer gets ECONNRESET, then the data, then the end."""
    one, other = ends
    channel.send(other, Begin())  # unread by `one`: its close will be a reset
    channel.send(one, Acknowledge(5))
    one.close()
    assert channel.receive(other).message == Acknowledge(5)
    assert channel.receive(other) is None


def test_a_reset_does_not_hide_what_is_taken_either(ends):
    """As above, where the packet is put into a box."""
    one, other = ends
    channel.send(other, Begin())
    channel.send(one, Acknowledge(5))
    one.close()
    box = []
    channel.take(other, box)
    assert channel.parse(other, *box[0]).message == Acknowledge(5)


def test_sending_to_a_full_or_ended_channel_reports_it_and_never_blocks(ends):
    one, other = ends
    one.settimeout(None)
    with pytest.raises(BlockingIOError):
        fill(lambda: channel.send(one, Begin()))
    other.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        channel.send(one, Begin())
    with pytest.raises(BrokenPipeError):
        channel.send(one, Begin())


def test_without_a_free_descriptor_the_message_comes_and_names_what_is_missing(ends):
    one, other = ends
    channel.send(one, HandOff(CLIENT), [0])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, open_fds())) + 1, limits[1]))
    hoard = []
    try:
        with pytest.raises(OSError):
            fill(lambda: hoard.append(os.dup(0)))
        packet = channel.receive(other)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        channel.close(hoard)
    assert packet == channel.Packet(HandOff(CLIENT), (), True)


def test_any_object_with_a_descriptor_will_do_and_keeps_its_flags(ends):
    one, other = ends

    class Borrowed:
        def __init__(self, end):
            self.fileno = end.fileno

    os.set_blocking(one.fileno(), False)
    channel.send(Borrowed(one), Begin(), [0])
    packet = channel.receive(Borrowed(other))
    channel.close(packet.fds)
    assert packet.message == Begin()
    assert (os.get_blocking(one.fileno()), os.get_blocking(other.fileno())) == (False, True)


def test_the_program_s_default_timeout_is_not_ours():
    socket.setdefaulttimeout(5)
    try:
        one, other = channel.pair()
        attached = channel.attach(other.detach())
    finally:
        socket.setdefaulttimeout(None)
    assert (one.gettimeout(), attached.gettimeout()) == (None, None)
    with pytest.raises(BlockingIOError):
        channel.receive(attached)
    poll = select.poll()
    poll.register(attached.fileno(), select.POLLIN)
    assert poll.poll(0) == []
    one.close()
    attached.close()
