"""Messages as bytes, one message per packet of a ``SOCK_SEQPACKET`` socket.

A packet is a tag of one byte (`TAGS`), then the message's fields in the order of their declaration, nothing else:

=====================  ====================================================
field                  bytes
=====================  ====================================================
``int``                8, signed, most significant first
``bool``               1: 0 or 1
``str``                2 for the length in bytes, most significant first; then UTF-8
``tuple[T, ...]``      2 for the number of items, most significant first; then the items
a value of its own     its fields in order: `Client` 24 bytes, `Count` 16
=====================  ====================================================

There is one encoding of each message and one message of each encoding; `decode` of any other bytes raises `WireError`,
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import count
from operator import attrgetter
from struct import Struct, error
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from maitred.core import messages

Message: TypeAlias = (
    messages.ToServer
    | messages.FromServer
    | messages.ControlToServer
    | messages.ControlFromServer
    | messages.ToDistributor
    | messages.ToMonitor
)

TAGS: Final[dict[int, type[Any]]] = {  # Any: the classes of Message have no common base
    1: messages.InitialMsg,
    2: messages.HandOff,
    3: messages.RestartReply,
    4: messages.Accepted,
    5: messages.Refused,
    6: messages.Disconnect,
    7: messages.NotReady,
    16: messages.BindRequest,
    17: messages.BindReply,
    18: messages.Acknowledge,
    32: messages.Adopt,
    33: messages.Restore,
    34: messages.Begin,
    35: messages.CreationFailed,
    36: messages.Close,
    37: messages.Drain,
    38: messages.Allow,
    48: messages.Store,
    49: messages.Release,
    50: messages.KeepDialog,
    51: messages.KeepListener,
    52: messages.DropListeners,
    53: messages.ListenFailed,
    54: messages.CreateServer,
    55: messages.ServerReady,
    56: messages.ServerNotReady,
    57: messages.Drained,
    58: messages.Unresponsive,
    59: messages.Closed,
}
"""The first byte of each message's packet.  Numbers are never given to another message."""

LIMIT: Final = 65_535
"""No packet is longer, in bytes."""

_INT: Final = Struct(">q")
_LENGTH: Final = Struct(">H")


class WireError(ValueError):
    """The bytes are not a message; the text says where and why.  Also: the message is too large for a packet."""


def encode(message: Message) -> bytes:
    """The packet for the message.

    Raises:
        WireError: a number needs more than 8 bytes, a text has no UTF-8, a text or a list is longer than 65,535, or
            the packet is.
    """
    kind = type(message)
    fixed = _FIXED.get(kind)
    if fixed is not None:
        try:
            return fixed.struct.pack(fixed.tag, *fixed.numbers(message))
        except error:
            pass  # the slow way below finds which number that is
    out = bytearray([_TAG_OF[kind]])
    _write_fields(out, kind, message)
    if len(out) > LIMIT:
        raise WireError(f"{kind.__name__} would take {len(out)} bytes; a packet has at most {LIMIT}")
    return bytes(out)


def decode(packet: bytes) -> Message:
    """The message in the packet.

    Raises:
        WireError: the packet is not the encoding of a message.
    """
    if not packet:
        raise WireError("an empty packet is no message")
    if len(packet) > LIMIT:
        raise WireError(f"{len(packet)} bytes are no packet; one has at most {LIMIT}")
    kind = TAGS.get(packet[0])
    if kind is None:
        raise WireError(f"byte 0: no message has tag {packet[0]}")
    fixed = _FIXED.get(kind)
    if fixed is not None and len(packet) == fixed.struct.size:
        quick: Message = fixed.make(*fixed.struct.unpack(packet))
        return quick
    reader = _Reader(packet, kind.__name__)
    message: Message = reader.value(kind)
    if reader.at != len(packet):
        raise WireError(f"{kind.__name__}: {len(packet) - reader.at} bytes too many after byte {reader.at}")
    return message


Layout: TypeAlias = tuple[tuple[str, Any], ...]  # Any: a type as the annotations give it


def _layout(kind: type[Any], found: dict[type[Any], Layout]) -> None:
    hints = get_type_hints(kind)
    found[kind] = tuple((field.name, hints[field.name]) for field in fields(kind))
    for _, hint in found[kind]:
        for part in (hint, *get_args(hint)):
            if is_dataclass(part) and isinstance(part, type):
                _layout(part, found)


_LAYOUTS: Final[dict[type[Any], Layout]] = {}
for _kind in TAGS.values():
    _layout(_kind, _LAYOUTS)
_TAG_OF: Final = {kind: tag for tag, kind in TAGS.items()}


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The quick way for a message that is nothing but numbers, at any depth: most of them are."""

    tag: int
    struct: Struct
    numbers: Callable[[object], tuple[int, ...]]
    make: Callable[..., Any]  # Any: the tag and the numbers; the class that it was made for


def _fixed(kind: type[Any]) -> _Fixed | None:
    names = [*_numbers(kind, "")]
    known = [name for name in names if name is not None]
    if not names or len(known) < len(names):
        return None
    return _Fixed(_TAG_OF[kind], Struct(f">B{len(known)}q"), _getter(*known), _maker(kind))


def _getter(*names: str) -> Callable[[object], tuple[int, ...]]:
    """What gives the attributes as a tuple, which an `attrgetter` of one name does not."""
    if len(names) > 1:
        return attrgetter(*names)
    get = attrgetter(names[0])
    return lambda message: (get(message),)


def _numbers(kind: type[Any], prefix: str) -> Iterator[str | None]:
    """The numbers of the class by their dotted names; None for what is no number."""
    for name, hint in _LAYOUTS[kind]:
        if hint in _LAYOUTS:
            yield from _numbers(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}" if hint is int else None


def _maker(kind: type[Any]) -> Callable[..., Any]:
    """What makes the message of its tag and its numbers: one expression of constructors, as if written by hand."""
    constructors: dict[str, Any] = {}
    taken = count(0)

    def expression(kind: type[Any]) -> str:
        constructors[kind.__name__] = kind
        parts = [f"n{next(taken)}" if hint is int else expression(hint) for _, hint in _LAYOUTS[kind]]
        return f"{kind.__name__}({', '.join(parts)})"

    made = expression(kind)
    names = ", ".join(f"n{number}" for number in range(next(taken)))
    maker: Callable[..., Any] = eval(f"lambda tag, {names}: {made}", constructors)
    return maker


_FIXED: Final = {kind: fixed for kind in TAGS.values() if (fixed := _fixed(kind)) is not None}


def _write_fields(out: bytearray, kind: type[Any], value: object) -> None:
    for name, hint in _LAYOUTS[kind]:
        _write(out, hint, getattr(value, name))


def _write(out: bytearray, hint: Any, value: Any) -> None:  # Any: the annotation decides how the value is read
    if hint is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise WireError(f"{value} needs more than 8 bytes")
        out += _INT.pack(value)
    elif hint is bool:
        out.append(value)
    elif hint is str:
        try:
            text = value.encode()
        except UnicodeEncodeError as error:
            raise WireError(f"{value!r} has no UTF-8") from error
        out += _length(len(text))
        out += text
    elif get_origin(hint) is tuple:
        out += _length(len(value))
        for item in value:
            _write(out, get_args(hint)[0], item)
    else:
        _write_fields(out, hint, value)


def _length(length: int) -> bytes:
    if length > LIMIT:
        raise WireError(f"{length} items or bytes in one field; at most {LIMIT} fit")
    return _LENGTH.pack(length)


class _Reader:
    """A place in a packet."""

    def __init__(self, packet: bytes, what: str) -> None:
        self.packet = packet
        self.what = what
        self.at = 1

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.packet):
            raise WireError(f"{self.what}: ends at byte {len(self.packet)}, in the middle of a field")
        self.at += count
        return self.packet[self.at - count : self.at]

    def value(self, hint: Any) -> Any:  # Any: what the annotation says
        if hint is int:
            return _INT.unpack(self.take(8))[0]
        if hint is bool:
            byte = self.take(1)[0]
            if byte > 1:
                raise WireError(f"{self.what}: byte {self.at - 1} is {byte}, should be 0 or 1")
            return byte == 1
        if hint is str:
            text = self.take(_LENGTH.unpack(self.take(2))[0])
            try:
                return text.decode()
            except UnicodeDecodeError as error:
                raise WireError(f"{self.what}: the text before byte {self.at} is not UTF-8") from error
        if get_origin(hint) is tuple:
            count = _LENGTH.unpack(self.take(2))[0]
            return tuple(self.value(get_args(hint)[0]) for _ in range(count))
        return hint(*(self.value(inner) for _, inner in _LAYOUTS[hint]))
