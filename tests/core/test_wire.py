"""Messages as bytes: one encoding of each message, one message of each encoding, and any other bytes are an error."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.core.driving import parts, values

from maitred.core import messages, wire
from maitred.core.distributor import FORGET_LIMIT
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    BindReply,
    BindRequest,
    Client,
    Closed,
    Count,
    HandOff,
    InitialMsg,
    ServerReady,
)

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KINDS = parts(wire.Message)


def any_message(kind):
    return values(kind, integers=INTEGERS, texts=TEXTS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_comes_back_as_it_was(kind):
    @given(any_message(kind))
    def comes_back(message):
        packet = wire.encode(message)
        assert wire.decode(packet) == message
        assert wire.TAGS[packet[0]] is kind

    comes_back()


@given(any_message(wire.Message), any_message(wire.Message))
def test_two_messages_have_two_encodings(one, two):
    assert (wire.encode(one) == wire.encode(two)) is (one == two)


@given(
    st.binary(max_size=80)
    | st.builds(lambda tag, rest: bytes([tag]) + rest, st.sampled_from(sorted(wire.TAGS)), st.binary(max_size=80))
)
@example(b"")
@example(b"\x00")
@example(b"\x22")
def test_any_bytes_are_a_message_with_this_one_encoding_or_an_error(packet):
    try:
        message = wire.decode(packet)
    except wire.WireError:
        return
    assert wire.encode(message) == packet


@given(any_message(wire.Message), st.data())
def test_a_damaged_packet_is_another_message_or_an_error(message, data):
    packet = bytearray(wire.encode(message))
    at = data.draw(st.integers(0, len(packet) - 1))
    packet[at] ^= data.draw(st.integers(1, 255))
    try:
        other = wire.decode(bytes(packet))
    except wire.WireError:
        return
    assert other != message
    assert wire.encode(other) == bytes(packet)


@given(any_message(wire.Message), st.data())
def test_a_packet_cut_short_or_with_more_behind_it_is_an_error(message, data):
    packet = wire.encode(message)
    cut = data.draw(st.integers(0, len(packet) - 1))
    more = data.draw(st.binary(min_size=1, max_size=9))
    for wrong in (packet[:cut], packet + more):
        with pytest.raises(wire.WireError):
            wire.decode(wrong)


def test_every_message_of_the_protocol_has_a_tag_of_its_own():
    unions = (
        messages.ToServer,
        messages.FromServer,
        messages.ControlToServer,
        messages.ControlFromServer,
        messages.ToDistributor,
        messages.ToMonitor,
    )
    said = [kind for union in unions for kind in parts(union)]
    assert sorted(kind.__name__ for kind in said) == sorted(kind.__name__ for kind in wire.TAGS.values())
    assert all(0 <= tag <= 255 for tag in wire.TAGS)


def test_the_bytes_are_those_of_the_table():
    assert wire.encode(Begin()) == b"\x22"
    assert wire.encode(HandOff(Client(1, 2, 4049))) == b"\x02" + struct.pack(">qqq", 1, 2, 4049)
    assert wire.encode(Accepted(Client(1, 2, 3), Count(4, 5))) == b"\x04" + struct.pack(">qqqqq", 1, 2, 3, 4, 5)
    assert wire.encode(BindReply(80, -1)) == b"\x11" + struct.pack(">qq", 80, -1)
    assert wire.encode(BindRequest(80, "ü:80")) == b"\x10" + struct.pack(">qH", 80, 5) + "ü:80".encode()
    assert wire.encode(InitialMsg(7, (Client(1, 2, 3),))) == b"\x01" + struct.pack(">qHqqq", 7, 1, 1, 2, 3)
    assert wire.encode(Adopt(1, 2, 3, True, False, (80,), ())) == b"\x20" + struct.pack(
        ">qqqBBHqH", 1, 2, 3, 1, 0, 1, 80, 0
    )


def test_an_integer_of_more_than_8_bytes_is_an_error():
    largest = ServerReady((1 << 63) - 1, -(1 << 63))
    assert wire.decode(wire.encode(largest)) == largest
    for number in (1 << 63, -(1 << 63) - 1):
        with pytest.raises(wire.WireError, match="more than 8 bytes"):
            wire.encode(ServerReady(number, 80))


def test_a_text_or_a_list_that_is_too_long_is_an_error():
    with pytest.raises(wire.WireError, match="65536 items or bytes"):
        wire.encode(BindRequest(80, "x" * 65_536))
    with pytest.raises(wire.WireError, match="65536 items or bytes"):
        wire.encode(InitialMsg(1, (Client(1, 2, 3),) * 65_536))


def test_a_packet_has_a_limit():
    most = (wire.LIMIT - 11) // 24
    full = InitialMsg(1, (Client(1, 2, 3),) * most)
    assert wire.decode(wire.encode(full)) == full
    with pytest.raises(wire.WireError, match="a packet has at most 65535"):
        wire.encode(InitialMsg(1, (Client(1, 2, 3),) * (most + 1)))


def test_what_is_longer_than_a_packet_is_no_message():
    too_many = (wire.LIMIT - 11) // 24 + 1
    packet = b"\x01" + struct.pack(">qH", 1, too_many) + struct.pack(">qqq", 1, 2, 3) * too_many
    with pytest.raises(wire.WireError):
        wire.decode(packet)


def test_a_text_that_has_no_utf8_is_an_error():
    with pytest.raises(wire.WireError):
        wire.encode(BindRequest(80, "\ud800"))


def test_the_largest_message_of_an_audit_fits():
    everyone = tuple(Client(i, i, 80) for i in range(FORGET_LIMIT))
    assert len(wire.encode(InitialMsg(1, everyone))) <= wire.LIMIT


@pytest.mark.parametrize(
    ("packet", "complaint"),
    [
        (b"", "an empty packet is no message"),
        (b"\xff", "byte 0: no message has tag 255"),
        (b"\x02\x00", "HandOff: ends at byte 2, in the middle of a field"),
        (wire.encode(Closed()) + b"\x00", "Closed: 1 bytes too many after byte 1"),
        (b"\x20" + bytes(24) + b"\x02", "Adopt: byte 25 is 2, should be 0 or 1"),
        (b"\x10" + bytes(8) + b"\x00\x01\xff", "BindRequest: the text before byte 12 is not UTF-8"),
    ],
    ids=["empty", "tag", "short", "long", "bool", "utf8"],
)
def test_the_error_names_the_place_and_the_reason(packet, complaint):
    with pytest.raises(wire.WireError) as caught:
        wire.decode(packet)
    assert str(caught.value) == complaint
