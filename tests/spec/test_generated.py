"""The generated parts of `spec/` match the code, and their vectors are what the code reads."""

import json
import shutil
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
