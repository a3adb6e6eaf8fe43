"""The generated parts of `spec/` match the code, and their vectors are what the code reads."""

import json
import shutil
from pathlib import Path

from spec import generate

from maitred.core import record, wire

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


def test_every_vector_is_read_back_and_every_message_has_one() -> None:
    rows = json.loads((ROOT / "spec" / "vectors.json").read_text())["vectors"]
    kinds = {kind.__name__: kind for kind in wire.TAGS.values()}
    for row in rows:
        message = record.from_record(kinds[row["message"]["is"]], row["message"])
        assert wire.decode(bytes.fromhex(row["bytes"])) == message
        assert wire.encode(message).hex() == row["bytes"]
    assert {row["message"]["is"] for row in rows} == kinds.keys()
