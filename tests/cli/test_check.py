"""`maitred check` and `maitred replay`: what they print, and that they can say no."""

import dataclasses
import json
import pickle

import pytest

from maitred.cli.check import BOUNDS
from maitred.core import monitor
from maitred.core.record import to_record
from maitred.model import checker
from maitred.model.checker import Bounds
from maitred.model.properties import PROPERTIES

SMALL = ("check", "--servers", 1, "--clients", 1)


def rows(out):
    """The table: by property, the cells of its row."""
    split = [line.split() for line in out.splitlines()]
    return {cells[0]: cells[1:] for cells in split if len(cells) == 7 and cells[0] in PROPERTIES}


def test_all_is_well(maitred):
    code, out, err = maitred(*SMALL)

    assert (code, err) == (0, "")
    states, transitions = rows(out)["no_client_has_two_servers"][2:4]
    assert rows(out)["no_client_has_two_servers"][:2] == ["always", "holds"]
    assert rows(out)["a_client_is_served_and_leaves"][:2] == ["sometimes", "witnessed"]
    assert f"every state within the bounds was visited: {states} states, {transitions} transitions" in out
    bounds = Bounds(servers=1, clients=1)
    assert rows(out).keys() == {property.name for property in PROPERTIES.values() if property.applies(bounds)}
    assert "more have no occasion within these bounds" in out


def test_the_counts_are_exact_and_repeat(maitred):
    def counts(out):
        return [cells[:5] for cells in rows(out).values()]  # all but the seconds

    assert counts(maitred(*SMALL)[1]) == counts(maitred(*SMALL)[1])


def break_a_property(monkeypatch, name):
    """Refuted by every world in which the Distributor has a client in hand."""
    broken = dataclasses.replace(
        PROPERTIES[name],
        world=lambda world: world.distributor is None or world.distributor.next_arrival == 0,
    )
    monkeypatch.setitem(PROPERTIES, name, broken)


def test_a_violation_is_1_and_is_told(maitred, monkeypatch):
    assert PROPERTIES["no_client_has_two_servers"].world
    assert maitred(*SMALL)[0] == 0

    break_a_property(monkeypatch, "no_client_has_two_servers")
    code, out, err = maitred(*SMALL)

    assert (code, err) == (1, "")
    assert rows(out)["no_client_has_two_servers"][:2] == ["always", "violated"]
    assert "\nno_client_has_two_servers is violated: " in out
    assert "\n  1. " in out
    assert "the Distributor accepts client 0 on port" in out
    assert "clients: 0: " in out  # and who owns it
    assert "NOT ALL IS WELL" in out


def test_the_bound_on_states_is_2(maitred):
    code, out, err = maitred(*SMALL, "--max-states", 20)

    assert (code, err) == (2, "")
    assert rows(out)["no_client_has_two_servers"][:2] == ["always", "incomplete"]
    assert "INCOMPLETE: nothing is wrong so far" in out


def test_a_violation_weighs_more_than_the_bound(maitred, monkeypatch):
    break_a_property(monkeypatch, "no_client_has_two_servers")
    assert maitred(*SMALL, "--max-states", 200)[0] == 1


def test_faults_are_allowed_as_asked(maitred):
    crash = ("check", "--servers", 1, "--clients", 2, "--distributor-crashes")

    code, out, _ = maitred(*crash, 1, "--quiet")

    assert code == 0
    assert rows(out)["a_stored_client_is_restored_and_served"][:2] == ["sometimes", "witnessed"]
    assert "a_stored_client_is_restored_and_served" not in rows(maitred(*crash, 0)[1])


@pytest.fixture
def asked(monkeypatch):
    """What the checker is asked for; nothing is explored."""
    seen = []
    small = checker.check(Bounds(servers=1, clients=1))

    def check(bounds, progress, max_states):
        seen.append((bounds, max_states))
        return small

    monkeypatch.setattr(checker, "check", check)
    return seen


def test_every_bound_is_an_option_and_arrives(maitred, asked):
    arguments = [word for i, bound in enumerate(BOUNDS) for word in (bound.flag, i + 1)]

    assert maitred("check", *arguments, "--unfixed", "--warm", "--stable", "--max-states", 99)[0] == 0
    assert maitred("check", "--dynamic", 2)[0] == 0

    numbers = {bound.name: i + 1 for i, bound in enumerate(BOUNDS)}
    assert asked[0] == (Bounds(**numbers, fixed=False, warm=True, stable=True), 99)
    assert {field.name for field in dataclasses.fields(Bounds)} == {*numbers, "fixed", "warm", "stable"}
    assert asked[1] == (Bounds(dynamic=2, clients=2, creations=2), None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--clients", "x"], "--clients: 'x' will not do: should be a whole number from 0"),
        (["--clients=-1"], "--clients: -1 will not do"),
        (["--servers", "0"], "check: servers must be at least 1"),
        (["--max-clients", "0"], "check: max-clients must be at least 1"),
        (["--max-states", "0"], "--max-states: 0 will not do"),
        (["--client", "1"], "unrecognized arguments: --client"),
        (["x"], "unrecognized arguments: x"),
    ],
)
def test_nonsense_bounds_are_2(maitred, arguments, complaint):
    code, out, err = maitred("check", *arguments)
    assert (code, out) == (2, "")
    assert complaint in err


# ---------------------------------------------------------------- replay


def lines_of_a_monitor():
    """A little of a Monitor's trace."""
    config = monitor.ClassConfig(1, 0, 1, 1, (0,), ((4049, "*:4049"),), True)
    taken = monitor.step(monitor.initial((config,), (1,)), monitor.Started())
    start = {"classes": to_record((config,)), "weights": [1]}
    lines = [{"who": "monitor", "start": start}, {"who": "monitor", "event": to_record(monitor.Started())}]
    return lines + [{"who": "monitor", "effect": to_record(effect)} for effect in taken.effects]


@pytest.fixture
def replay(maitred, tmp_path):
    def run(lines):
        path = tmp_path / "run.trace"
        path.write_bytes(
            lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        )
        return maitred("replay", path)

    return run


def test_a_trace_that_is_one(replay):
    lines = lines_of_a_monitor()
    code, out, err = replay(lines)
    assert (code, err) == (0, "")
    assert f"{len(lines)} lines of 1 machine: 1 step, {len(lines) - 2} effects" in out
    assert "every step was a step of the machines" in out


def test_a_process_that_was_killed_owes_effects(replay):
    code, out, _ = replay(lines_of_a_monitor()[:-1])
    assert code == 0
    assert "1 effect of processes that ended before they could perform them" in out


def test_a_divergence_is_1_and_says_where(replay):
    lines = lines_of_a_monitor()
    lines[3], lines[4] = lines[4], lines[3]

    code, out, err = replay(lines)

    assert code == 1
    assert "run.trace: line 4: " in err
    assert "every step was" not in out


def repr_short(value):
    return repr(value)[:20]


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"\xff\n", pickle.dumps(1), b"[" * 100_000], ids=repr_short)
def test_no_trace_at_all_is_1(replay, content):
    code, out, err = replay(content)
    assert code == 1
    assert err.startswith("maitred: ")
    assert "every step was" not in out


def test_a_file_that_cannot_be_read_is_2(maitred, tmp_path):
    for path in (tmp_path / "none", tmp_path, tmp_path / ("x" * 300)):
        code, out, err = maitred("replay", path)
        assert (code, out) == (2, "")
        assert "cannot be read: " in err


def test_an_event_that_was_declined_is_counted(replay):
    lines = lines_of_a_monitor()
    lines.append({"who": "monitor", "event": to_record(monitor.ElementRestored(0))})
    lines.append({"who": "monitor", "rejected": "SAME_ELEMENT_STATE"})
    code, out, _ = replay(lines)
    assert code == 0
    assert "events that a machine declined, as it should: 1 SAME_ELEMENT_STATE" in out
