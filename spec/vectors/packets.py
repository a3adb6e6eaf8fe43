"""The vectors of the wire format, ``bytes.jsonl``: packets and the messages in them, and packets that are none.

``python -m spec.generate`` writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from hashlib import sha256
from itertools import chain
from typing import Any, Final, get_args, get_origin, get_type_hints

from maitred.core import messages, wire
from maitred.vectors import codec

TEXTS: Final = ("127.0.0.1:4049", "[::1]:4049 \u00e9", "")
LEAST: Final = -(1 << 63)
MOST: Final = (1 << 63) - 1


def text() -> str:
    """The text of the file."""
    notes: dict[bytes, str] = {}
    for packet, note in chain(valid(), invalid()):
        notes.setdefault(packet, note)
    rows = (_row(packet, note) for packet, note in notes.items())
    return "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=True) + "\n" for row in rows)


def _row(packet: bytes, note: str) -> dict[str, Any]:  # Any: JSON
    row: dict[str, Any] = {"id": f"bytes-{sha256(packet).hexdigest()[:12]}", "bytes": packet.hex()}
    try:
        row["message"] = codec.encode(wire.Message, wire.decode(packet))
    except wire.WireError as error:
        row["message"] = None
        note = f"{note} ({error})"
    return row | {"note": note}


# ================================================================ packets that are messages


def valid() -> Iterator[tuple[bytes, str]]:
    """Each message with small numbers, with the least, with the greatest, and with numbers that all differ."""
    sorts = ("small numbers", "the least numbers", "the greatest numbers, empty lists", "numbers that differ")
    for kind in wire.TAGS.values():
        for sort, name in enumerate(sorts if fields(kind) else sorts[:1]):
            note = f"{kind.__name__}: {name}" if fields(kind) else f"{kind.__name__}: a tag alone"
            yield wire.encode(_built(kind, sort, [0])), note
    for errno in (messages.BIND_YOURSELF, 0, 98):
        yield wire.encode(messages.BindReply(80, errno)), f"BindReply: errno {errno}"


def _built(hint: Any, sort: int, last: list[int]) -> Any:  # Any: the type decides
    if hint is int:
        last[0] += 1
        return (1, LEAST, MOST, 1_000 * last[0] + 1)[sort]
    if hint is bool:
        return sort % 2 == 1
    if hint is str:
        return TEXTS[sort % 3]
    if get_origin(hint) is tuple:
        return tuple(_built(get_args(hint)[0], sort, last) for _ in range((1, 3, 0, 2)[sort]))
    hints = get_type_hints(hint)
    return hint(*(_built(hints[field.name], sort, last) for field in fields(hint)))


# ================================================================ packets that are none


def invalid() -> Iterator[tuple[bytes, str]]:
    """Of each way to be no message some."""
    yield b"", "nothing at all"
    for tag in sorted({0, 255, *(tag + 1 for tag in wire.TAGS)} - wire.TAGS.keys()):
        yield bytes([tag]), f"tag {tag} is not given"
        yield bytes([tag]) + bytes(24), f"tag {tag} is not given, whatever follows"
    for kind in wire.TAGS.values():
        packet = wire.encode(_built(kind, 3, [0]))
        yield packet + b"\0", f"{kind.__name__}: one byte too many"
        if fields(kind):
            yield packet[:-1], f"{kind.__name__}: one byte too few"
            yield packet[:1], f"{kind.__name__}: the tag alone"
            yield packet[:-8], f"{kind.__name__}: the last 8 bytes are missing"
    adopt = bytearray(wire.encode(messages.Adopt(1, 2, 3, False, False, (), ())))
    for place, name in ((25, "dynamic"), (26, "draining")):
        for byte in (2, 255):
            bent = adopt.copy()
            bent[place] = byte
            yield bytes(bent), f"Adopt: {name} is {byte}, should be 0 or 1"
    bind = bytes([16]) + (80).to_bytes(8, "big")
    for wrong in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        yield bind + len(wrong).to_bytes(2, "big") + wrong, f"BindRequest: the address {wrong.hex()} is not UTF-8"
    yield bind + b"\0\5abcd", "BindRequest: the address is shorter than its length says"
    yield bind + b"\0\3abcd", "BindRequest: the address is longer than its length says"
    asked = bytes([1]) + (1).to_bytes(8, "big")
    yield asked + b"\0\2" + bytes(24), "InitialMsg: a list of two with one item"
    yield asked + b"\0\0" + bytes(24), "InitialMsg: an empty list with one item"
    yield asked + b"\xff\xff", "InitialMsg: a list of 65,535 with no item"
