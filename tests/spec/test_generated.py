"""The generated parts of `spec/` match the code, and their vectors are what the code reads."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from spec import generate

from maitred.core import wire
from maitred.vectors import codec

ROOT = Path(__file__).parents[2]


def test_no_generated_file_is_stale() -> None:
    assert generate.main(["--check"]) == 0


def test_a_stale_file_is_seen(tmp_path: Path, monkeypatch) -> None:
    shutil.copy(ROOT / "spec" / "manifest.toml", tmp_path)
    monkeypatch.setattr(generate, "HERE", tmp_path)
    generate.main([])
    assert generate.main(["--check"]) == 0
    (tmp_path / "wire.md").write_text("something else")
    assert generate.main(["--check"]) == 1


def test_every_packet_is_read_and_every_message_has_one() -> None:
    rows = [json.loads(line) for line in (ROOT / "spec" / "vectors" / "bytes.jsonl").read_text().splitlines()]
    found = set()
    for row in rows:
        packet = bytes.fromhex(row["bytes"])
        if row["message"] is None:
            with pytest.raises(wire.WireError):
                wire.decode(packet)
        else:
            message = codec.decode(wire.Message, row["message"], row["id"])
            assert wire.decode(packet) == message
            assert wire.encode(message) == packet
            found.add(type(message))
    assert found == {*wire.TAGS.values()}
    assert len({row["id"] for row in rows}) == len(rows)
    assert sum(row["message"] is None for row in rows) > 100


def test_each_number_stands_where_the_page_of_the_wire_format_has_it() -> None:
    """In every packet among the vectors, read by the places of the tables alone."""
    checked = set()
    for row in map(json.loads, (ROOT / "spec" / "vectors" / "bytes.jsonl").read_text().splitlines()):
        if row.get("message") is None:
            continue
        packet = bytes.fromhex(row["bytes"])
        message = wire.decode(packet)
        for field, place in zip(fields(message), generate.places(type(message), 1), strict=True):
            value = getattr(message, field.name)
            if type(value) is int and " to " in place:
                first, last = map(int, place.split(" to "))
                assert int.from_bytes(packet[first : last + 1], "big", signed=True) == value
                checked.add((type(message).__name__, field.name))
    assert {("BindReply", "errno"), ("NotReady", "incarnation"), ("Adopt", "weight")} <= checked
