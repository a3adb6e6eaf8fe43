"""The schema of the vectors' files: it is that of the core's types, the files keep it, and it notices what is wrong."""

import json
from copy import deepcopy

import pytest
from spec.vectors import schema
from tests.cli.schema import faults

from maitred.vectors import files

ROOT = json.loads(schema.FILE.read_text())


def wrong(row, kind):
    return [*faults(row, ROOT["$defs"][kind], ROOT)]


def rows(name):
    return [json.loads(line) for line in (files.folder() / name).read_text().splitlines()]


def test_the_schema_is_not_stale():
    assert schema.main(["--check"]) == 0


def test_a_vector_of_each_event_and_outcome_keeps_the_schema():
    of_each = {(row["machine"], row["event"]["is"], *row["then"]): row for row in rows("steps.jsonl")}
    assert len(of_each) > 70
    assert [(row["id"], found) for row in of_each.values() if (found := wrong(row, "step"))] == []


def test_traces_and_packets_keep_the_schema():
    shortest = sorted(rows("traces.jsonl"), key=lambda row: len(str(row)))[:12]
    assert {row["machine"] for row in shortest} > {"server"}
    assert [row["id"] for row in shortest if wrong(row, "trace")] == []
    assert [row["id"] for row in rows("bytes.jsonl") if wrong(row, "packet")] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spare",), 1),
        (("machine",), "clock"),
        (("event", "is"), "Nothing"),
        (("state", "sequence"), {"#bigint": "1e3"}),
        (("state", "sequence"), 2**53),
        (("state", "spare"), 1),
        (("then",), {"rejected": "NO"}),
        (("then",), {"effects": []}),
        (("state", "listeners"), {"#map": [[80]]}),
    ],
)
def test_what_is_wrong_is_noticed(place, value):
    row = next(row for row in rows("steps.jsonl") if row["machine"] == "server")
    assert wrong(row, "step") == []
    bent = deepcopy(row)
    inner = bent
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    assert wrong(bent, "step") != []


@pytest.mark.parametrize(
    ("kind", "row", "fits"),
    [
        ("question", {"id": "x", "machine": "wire", "bytes": "0a", "later": 1}, True),
        ("question", {"id": "x", "machine": "server", "event": {"is": "Listened", "port": 80}}, True),
        ("question", {"id": "x", "machine": "server", "event": {"is": "Listened"}}, False),
        ("answer", {"rejected": "NOT_BOUND"}, True),
        ("answer", {"message": None}, True),
        ("answer", {"message": 1}, False),
    ],
)
def test_lines_of_the_kit(kind, row, fits):
    assert (wrong(row, kind) == []) is fits
