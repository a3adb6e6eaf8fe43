"""What is written is read back, and what is damaged is refused: the published vectors, and traces of whole runs.

`test_wire` and `test_record` ask this of single messages and records.  Here every vector of the specification is cut,
bent and lengthened everywhere; and traces of drawn runs are played through the machines as they are, and damaged.
"""

import json
import os
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.core import test_distributor, test_monitor, test_server

from maitred.core import server, wire
from maitred.core.transition import Rejected
from maitred.shell.observe.replay import replay
from maitred.shell.observe.trace import Trace

FILE = Path(__file__).resolve().parents[2] / "spec" / "vectors" / "bytes.jsonl"
VECTORS = [vector for line in FILE.read_text().splitlines() if (vector := json.loads(line))["message"] is not None]
PACKETS = [bytes.fromhex(vector["bytes"]) for vector in VECTORS]
NAMES = [f"{number}-{vector['message']['is']}" for number, vector in enumerate(VECTORS)]

# ================================================================ the wire


def message_of(packet):
    """The message, of which this must be the encoding; None where there is none."""
    try:
        message = wire.decode(packet)
    except wire.WireError:
        return None
    assert wire.encode(message) == packet
    return message


@pytest.mark.parametrize("packet", PACKETS, ids=NAMES)
def test_a_vector_that_is_cut_short_or_goes_on_is_no_message(packet):
    assert message_of(packet) is not None
    wrong = [packet[:size] for size in range(len(packet))]
    wrong += [packet + bytes([more]) for more in range(256)] + [packet + other for other in PACKETS]
    assert [one.hex() for one in wrong if message_of(one) is not None] == []


@pytest.mark.parametrize("packet", PACKETS, ids=NAMES)
def test_a_vector_of_which_one_bit_is_wrong_is_another_message_or_none(packet):
    message = wire.decode(packet)
    for bit in range(8 * len(packet)):
        bent = bytearray(packet)
        bent[bit // 8] ^= 1 << bit % 8
        assert message_of(bytes(bent)) != message


# ================================================================ the trace


def runs_of_a_server(events):
    """The steps of a run: the state before, the event and the outcome of each."""
    state = server.EndpointState()
    for event in events:
        outcome = server.step(state, event)
        yield state, event, outcome
        state = state if isinstance(outcome, Rejected) else outcome.state


def of_a_distributor(start, choices):
    listeners, fixed = start
    given = {"incarnation": 2, "dynamic": 1, "waiting_limit": 3, "listeners": listeners, "fixed": fixed}
    return "distributor 0 2", given, [*test_distributor.runs(start, choices)]


def of_a_monitor(choices):
    classes = (test_monitor.config(static=2, dynamic=1, elements=(0, 1)), test_monitor.config(elements=(1,)))
    return "monitor", {"classes": classes, "weights": (1, 2)}, [*test_monitor.runs(choices)]


def of_a_server(events):
    return "server 0 1", {}, [*runs_of_a_server(events)]


STREAMS = st.tuples(
    st.builds(of_a_distributor, test_distributor.STARTS, test_distributor.CHOICES),
    st.builds(of_a_monitor, test_monitor.CHOICES),
    st.builds(of_a_server, test_server.EVENTS),
)
"""Of each machine: who it is, how it begins, and its steps."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("traces") / "trace"


def written(path, streams):
    """The trace of these machines, a step of each in turn, as their processes write it; the bytes of the file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    try:
        pens = [Trace(fd, who) for who, _, _ in streams]
        for pen, (_, given, _) in zip(pens, streams, strict=True):
            pen.start(**given)
        for turn in zip_longest(*(steps for _, _, steps in streams)):
            for pen, step in zip(pens, turn, strict=True):
                if step is not None:
                    write(pen, *step[1:])
    finally:
        os.close(fd)
    return path.read_bytes()


def steady(line):
    """The line as it would be at any time, of any process: what is drawn for it must not depend on the clock."""
    return json.dumps(json.loads(line) | {"t": 0, "pid": 1}).encode() + b"\n"


def write(pen, event, outcome):
    pen.event(event)
    if isinstance(outcome, Rejected):
        pen.rejected(outcome.reason)
        return
    for effect in outcome.effects:
        pen.effect(effect)


@given(STREAMS)
def test_a_trace_of_any_run_is_one_of_the_machines(path, streams):
    written(path, streams)
    report = replay(path)
    outcomes = [outcome for _, _, steps in streams for _, _, outcome in steps]
    taken = [outcome for outcome in outcomes if not isinstance(outcome, Rejected)]
    assert report.mismatch is None
    assert (report.machines, report.steps) == (3, len(taken))
    assert report.effects == sum(len(outcome.effects) for outcome in taken)
    assert sum(report.rejections.values()) == len(outcomes) - len(taken)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from([4049, 6157, 1 << 70, 0.5, "", "monitor", "server 0 1", "Begin", "UNKNOWN_PORT"]),
    st.sampled_from([[], {}, [1], {"is": 1}]),
)


def bent(record, junk, data):
    """The JSON with junk in one place, at any depth."""
    places = list(record) if isinstance(record, dict) else range(len(record)) if isinstance(record, list) else ()
    if not places or data.draw(st.integers(0, 3)) == 0:
        return junk
    place = data.draw(st.sampled_from(list(places)))
    copy = dict(record) if isinstance(record, dict) else list(record)
    copy[place] = bent(record[place], junk, data)
    return copy


def damaged(lines, data):
    """The lines with one of them gone, doubled, out of place, cut short, or bent."""
    at = data.draw(st.integers(0, len(lines) - 1))
    line = lines[at]
    how = data.draw(st.sampled_from(["gone", "twice", "later", "cut", "byte", "bent", "bent", "bent"]))
    if how == "bent":
        line = json.dumps(bent(json.loads(line), data.draw(JUNK), data)).encode() + b"\n"
    elif how == "cut":
        line = line[: data.draw(st.integers(0, len(line) - 1))]
    elif how == "byte":
        place = data.draw(st.integers(0, len(line) - 1))
        line = line[:place] + data.draw(st.binary(min_size=1, max_size=1)) + line[place + 1 :]
    rest = lines[:at] + lines[at + 1 :]
    if how == "later":
        at = data.draw(st.integers(at, len(rest)))
    return rest if how == "gone" else rest[:at] + [line] * (2 if how == "twice" else 1) + rest[at:]


@settings(max_examples=50)
@given(STREAMS, st.data())
def test_a_damaged_trace_is_replayed_or_refused_with_its_line(path, streams, data):
    lines = damaged([steady(line) for line in written(path, streams).splitlines()], data)
    path.write_bytes(b"".join(lines))
    mismatch = replay(path).mismatch
    if mismatch is not None:
        assert 0 <= mismatch.line <= len(lines) + 1
        assert mismatch.why


START = json.dumps({"who": "server 0 1", "start": {}}).encode() + b"\n"
CLASS = {"is": "ClassConfig", "static": 1, "dynamic": 0, "max_clients": 1, "waiting_limit": 1}
NOWHERE = {"classes": [{**CLASS, "elements": [7], "listeners": [], "fixed": False}], "weights": [1]}
BEGUN = b"".join(
    json.dumps({"who": "monitor", **content}).encode() + b"\n"
    for content in ({"start": NOWHERE}, {"event": {"is": "Started"}})
)


@given(st.lists(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.just(START.strip()), max_size=5))
@example([b"[" * 100_000])
@example([b"9" * 5_000])
@example([START.strip(), b'{"who": "server 0 1", "event": {"is": "Bound", "port": 1}, "pid": []}'])
@example(BEGUN.splitlines())
def test_any_lines_at_all_are_a_trace_or_are_refused(path, lines):
    path.write_bytes(b"\n".join(lines))
    report = replay(path)
    assert report.ok is (report.mismatch is None)
    if not any(START.strip() == line for line in lines):
        assert not report.ok, "no machine has begun"
