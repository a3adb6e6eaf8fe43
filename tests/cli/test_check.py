"""`maitred check` and `maitred replay`: what they print, and that they can fail."""

import dataclasses
import json
import os
import pickle
import re
import tracemalloc

import pytest

from maitred.cli import verdicts
from maitred.cli.replay import overlong
from maitred.core import monitor
from maitred.core.record import to_record
from maitred.model.check import checker, manifest
from maitred.model.check.checker import Bounds, Progress
from maitred.model.claims.safety import PROPERTIES
from maitred.model.world import ANY, BOUNDS, Assumption, Budget

HEARTBEAT = verdicts.HEARTBEAT

SMALL = ("check", "--servers", 1, "--clients", 1)


ROW = re.compile(r"^(\S.{10}) ([ \d]{3}) (\w+)$", re.MULTILINE)


def rows(out):
    """The table: by property, the verdict on it."""
    return {name: verdict.strip() for verdict, _, name in ROW.findall(out) if name in PROPERTIES}


def numbers(out):
    """All numbers but the seconds and the risk."""
    return re.sub(r"[\d.]+ s\b|\de-\d+", "", out)


def test_all_is_well(maitred):
    code, out, err = maitred(*SMALL)

    assert (code, err) == (0, "")
    assert rows(out)["no_client_has_two_servers"] == "holds"
    assert rows(out)["a_client_is_served_and_leaves"] == "witnessed"
    lines = out.splitlines()
    assert lines[0] == lines[-1] == verdicts.WELL
    assert lines[1].startswith("136 states, 294 transitions, depth 18, ")
    assert lines[2].startswith("The risk that a state was overlooked: ")
    assert out.count("294") == 1
    bounds = Bounds(servers=1, clients=1)
    assert rows(out).keys() == {property.name for property in PROPERTIES.values() if property.applies(bounds)}
    assert "more have no occasion within these bounds" in out


def test_the_counts_are_exact_and_repeat(maitred):
    assert numbers(maitred(*SMALL)[1]) == numbers(maitred(*SMALL)[1])


def break_a_property(monkeypatch, name):
    """Refuted by every world in which the Distributor has a client in hand."""
    broken = dataclasses.replace(
        PROPERTIES[name],
        world=lambda world: iter(["broken"] if world.distributor and world.distributor.next_arrival else []),
    )
    monkeypatch.setitem(PROPERTIES, name, broken)


def test_a_violation_exits_with_1_and_is_reported(maitred, monkeypatch):
    assert PROPERTIES["no_client_has_two_servers"].world
    assert maitred(*SMALL)[0] == 0

    break_a_property(monkeypatch, "no_client_has_two_servers")
    code, out, err = maitred(*SMALL)

    assert (code, err) == (1, "")
    assert rows(out)["no_client_has_two_servers"] == "violated"
    first, last = out.splitlines()[0], out.splitlines()[-1]
    assert first == last and first.startswith("FAILED: no_client_has_two_servers is violated, after ")
    assert "\nno_client_has_two_servers is violated: " in out
    assert "\n  1. " in out
    assert "the Distributor accepts client 0 on port" in out
    assert "clients: 0: " in out  # and who owns it


def test_the_bound_on_states_is_2(maitred):
    code, out, err = maitred(*SMALL, "--max-states", 20)

    assert (code, err) == (2, "")
    assert rows(out)["no_client_has_two_servers"] == "incomplete"
    assert out.startswith("INCOMPLETE: nothing is wrong so far")


def test_a_violation_weighs_more_than_the_bound(maitred, monkeypatch):
    break_a_property(monkeypatch, "no_client_has_two_servers")
    assert maitred(*SMALL, "--max-states", 200)[0] == 1


def test_faults_are_allowed_as_asked(maitred):
    crash = ("check", "--servers", 1, "--clients", 2, "--distributor-crashes")

    code, out, _ = maitred(*crash, 1, "--quiet")

    assert code == 0
    assert rows(out)["a_stored_client_is_restored_and_served"] == "witnessed"
    assert "a_stored_client_is_restored_and_served" not in rows(maitred(*crash, 0)[1])


@pytest.fixture
def asked(monkeypatch):
    """What the checker is asked for; nothing is explored."""
    seen = []
    small = checker.check(Bounds(servers=1, clients=1))

    def check(bounds, progress, max_states, **how):
        seen.append((bounds, max_states, how))
        return small

    monkeypatch.setattr(checker, "check", check)
    return seen


HOW = {"names": None, "symmetric": False, "workers": None, "checkpoint": None}


def test_every_bound_is_an_option_and_arrives(maitred, asked, tmp_path):
    arguments = [word for i, bound in enumerate(BOUNDS) for word in (bound.flag, i + 1)]
    switches = ["--unfixed", "--warm", "--stable", "--returns", "--without", "heard-out", "--without", "heard-out"]
    how = ["--max-states", 99, "--symmetric", "--workers", 3, "--checkpoint", tmp_path]

    assert maitred("check", *arguments, *switches, *how)[0] == 0
    assert maitred("check", "--dynamic", 2)[0] == 0

    numbers = {bound.name: i + 1 for i, bound in enumerate(BOUNDS)}
    flags = {"fixed": False, "warm": True, "stable": True, "returns": True, "without": (Assumption.HEARD_OUT,)}
    all_ways = {"names": None, "symmetric": True, "workers": 3, "checkpoint": tmp_path}
    assert asked[0] == (Bounds(**numbers, **flags), 99, all_ways)
    assert {field.name for field in dataclasses.fields(Bounds)} == {*numbers, *flags, "begins"}
    assert asked[1] == (Bounds(dynamic=2, clients=2, creations=2), None, HOW)


def test_what_may_happen_any_number_of_times(maitred, asked):
    assert tuple(bound.name for bound in BOUNDS if bound.group != "size") == Budget._fields
    assert maitred("check", "--hang-ups", "any")[0] == 0
    assert asked[0][0] == Bounds(clients=2, hang_ups=ANY)
    assert "--stops: 'any' will not do" in maitred("check", "--stops", "any")[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--clients", "x"], "--clients: 'x' will not do: should be a whole number from 0"),
        (["--clients=-1"], "--clients: -1 will not do"),
        (["--servers", "0"], "check: servers must be at least 1"),
        (["--max-clients", "0"], "check: max-clients must be at least 1"),
        (["--max-states", "0"], "--max-states: 0 will not do"),
        (["--workers", "0"], "--workers: 0 will not do"),
        (["--without", "x"], "--without: no assumption is called 'x'; there are ends-follow-data, "),
        (
            ["--without", "last-process-end"],
            "--without: no assumption is called 'last-process-end'; did you mean 'last-",
        ),
        (["--client", "1"], "unrecognized arguments: --client"),
        (["x"], "unrecognized arguments: x"),
        (["--all", "--list"], "--list does not go with --all"),
        (["--all", "--servers", "2"], "--servers does not go with --all: the manifest says what is explored"),
        (["--config", "x", "--warm"], "--warm does not go with --config"),
        (["--all", "--to", "x"], "--to does not go with --all: name one configuration"),
        (["--tier", "hours"], "--tier goes with --all"),
        (["--all", "--tier", "days"], "--tier: 'days' will not do: should be seconds, minutes, hours"),
        (["--write"], "--write goes with --all or --config"),
        (["--unassumed", "x"], "--unassumed goes with --liveness"),
        (["--liveness", "--unassumed", "x"], "--unassumed: no assumption is called 'x'; there are clients keep"),
        (["--liveness", "--unassumed", "clients leave"], "did you mean 'clients keep leaving'"),
        (["--liveness", "--symmetric"], "--symmetric does not go with --liveness"),
        (["--config", "x"], " names these are nearest: what-a-dead-"),
        (["--config", "two-port"], "no configuration is called 'two-port'; did you mean 'two-ports'"),
        (["--to", "xyzzy"], "--to: nothing that sometimes happens is called 'xyzzy'; of the "),
        (["--to", "a_half_close_is_no_hang_up"], "must always hold, so no run leads to it: --property asks it"),
        (["--to", "a_waiter_is_seat"], "did you mean 'a_waiter_is_seated'"),
        (
            ["--property", "no_client_is_los"],
            "--property: no property is called 'no_client_is_los'; did you mean 'no_client_is_lost'",
        ),
        (["--liveness", "--property", "a_stop_end"], "nothing that must happen in the end is called"),
        (["--all", "--property", "no_client_is_lost"], "--property does not go with --all"),
        (["--config", "two-ports", "--max-states", "9"], "--max-states does not go with --config"),
        (["--checkpoint", "x"], "--checkpoint goes with bounds, --config or --all"),
        (["--list", "--json"], "--json does not go with --list"),
        (["--all", "--write", "--json"], "--json does not go with --write"),
        (
            ["--to", "a_dynamic_server_starts", "--servers", "1"],
            "no occasion within these bounds; it needs --dynamic 1",
        ),
        (
            ["--servers", "1", "--clients", "1", "--to", "an_idle_dynamic_server_is_let_go"],
            "no occasion within these bounds; it needs --dynamic 1 --clients 2",
        ),
        (["--warm", "--to", "a_waiter_hangs_up"], "it needs --servers 1 --hang-ups 1"),
        (["--warm", "--property", "closed_means_over"], "it needs --stops 1"),
        (["--to", "an_address_cannot_be_listened_on"], "it needs --listen-failures 1"),
        (["--diagram", "x.png"], "--diagram: x.png: should end with .svg, .mmd, .md"),
        (["--diagram", "none/x.svg"], "--diagram: none: there is no such directory"),
    ],
)
def test_nonsense_is_2(maitred, arguments, complaint):
    code, out, err = maitred("check", *arguments)
    assert (code, out) == (2, "")
    assert complaint in err


# ---------------------------------------------------------------- checkpoints, workers


def test_a_checkpoint_of_another_exploration_is_2(maitred, tmp_path):
    tmp_path.chmod(0o777)
    code, out, err = maitred(*SMALL, "--checkpoint", tmp_path)
    assert (code, out) == (2, "")
    assert f"{tmp_path}: should be yours, and writable by nobody else" in err


def test_two_workers_print_the_same(maitred):
    assert numbers(maitred(*SMALL, "--workers", 2)[1]) == numbers(maitred(*SMALL)[1])


# ---------------------------------------------------------------- drawing


def test_a_run_that_reaches_a_witness_is_printed_and_drawn(maitred, tmp_path):
    file = tmp_path / "way.svg"
    code, out, err = maitred(*SMALL, "--to", "a_client_is_served_and_leaves", "--diagram", file)
    assert (code, err) == (0, "")
    assert "A shortest way there, 13 actions:" in out and "the Distributor accepts client 0" in out
    assert f"{file}: drawn" in out
    assert file.read_text().startswith("<?xml") or "<svg" in file.read_text()


def test_a_counterexample_is_drawn(maitred, tmp_path):
    file = tmp_path / "counterexample.mmd"
    lost = ("--clients", 2, "--servers", 1, "--warm", "--distributor-crashes", 1, "--without", "heard-out")
    code, out, _ = maitred("check", *lost, "--diagram", file)
    assert code == 1 and f"{file}: drawn" in out
    assert "sequenceDiagram" in file.read_text()


def test_what_is_not_there_is_not_drawn(maitred, tmp_path):
    file = tmp_path / "none.svg"
    code, _, err = maitred(*SMALL, "--diagram", file)
    assert code == 0 and "not drawn, as nothing is violated" in err and not file.exists()
    code, _, err = maitred(*SMALL, "--to", "a_client_is_served_and_leaves", "--max-states", 5, "--diagram", file)
    assert code == 2 and "a_client_is_served_and_leaves: incomplete within these bounds" in err and not file.exists()


# ---------------------------------------------------------------- liveness


def test_what_must_happen_in_the_end(maitred, tmp_path):
    pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")
    small = ("check", "--liveness", "--servers", 1, "--clients", 2, "--warm")
    code, out, _ = maitred(*small)
    assert code == 0 and "All is well" in out
    assert re.search(r"^holds +[\d,]+  who_waits_is_seated_or_ends$", out, re.MULTILINE)

    file = tmp_path / "lasso.md"
    code, out, _ = maitred(*small, "--unassumed", "clients keep leaving", "--diagram", file)
    assert code == 1 and "for ever" in out and "FAILED" in out
    assert f"{file}: drawn" in out
    drawn = file.read_text()
    assert "sequenceDiagram" in drawn
    assert "is broken for client 1 for ever" in drawn
    why = "clients keep leaving (client 0): That it happens in the end is not assumed here."
    assert why in drawn and why in out

    code, _, err = maitred(*small, "--diagram", tmp_path / "none.svg")
    assert code == 0 and "not drawn, as nothing is violated" in err


def test_the_lasso_of_a_configuration_is_drawn(maitred, listed, tmp_path):
    pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")
    listed.write_text(LIVELY)
    for file, how in ((tmp_path / "lasso.svg", ()), (tmp_path / "again.svg", ("--json",))):
        code, out, err = maitred("check", "--config", "nobody-leaves", "--diagram", file, *how)
        assert (code, f"{file}: drawn" in out) == (1, not how) and "no counts are recorded yet" in out + err
        assert "who_waits_is_seated_or_ends is broken for client 1 for ever" in file.read_text()


# ---------------------------------------------------------------- the manifest

LIVELY = """\
[[configuration]]
name = "nobody leaves"
why = "Who waits, waits for ever."
tier = "seconds"
safety = false
liveness = ["who_waits_is_seated_or_ends"]
unassumed = ["clients keep leaving"]
violated = "who_waits_is_seated_or_ends"
bounds = { servers = 1, clients = 2, warm = true }
"""
MANIFEST = """\
[[configuration]]
name = "one of each"
why = "The least there is."
tier = "seconds"
bounds = { servers = 1, clients = 1, warm = true }

[[configuration]]
name = "it can fail"
why = "Clients are lost."
tier = "minutes"
bounds = { servers = 1, clients = 2, distributor_crashes = 1, warm = true, without = ["heard-out"] }
violated = "no_client_is_lost"
"""


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A manifest of two small configurations, which leaves out most; that is no complaint here."""
    path = tmp_path / "manifest.toml"
    path.write_text(MANIFEST)
    monkeypatch.setattr(manifest, "find", lambda: path)
    monkeypatch.setattr(manifest, "gaps", lambda configurations: iter(()))
    return path


def test_the_manifest_is_listed(maitred, listed):
    code, out, err = maitred("check", "--list")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines() if "seconds" in line or "minutes" in line] == [
        ["seconds", "?", "one-of-each"],
        ["minutes", "?", "it-can-fail"],
    ]


def test_the_manifest_is_checked_and_written(maitred, listed):
    code, out, err = maitred("check", "--all", "--tier", "hours", "--workers", 1)
    assert (code, err) == (1, "")
    assert "no counts are recorded yet" in out and "FAILED: 2 of 2 differ from the manifest" in out

    code, out, err = maitred("check", "--all", "--tier", "hours", "--workers", 1, "--write")
    assert (code, err) == (0, "") and "recorded: the counts of one of each, it can fail" in out

    code, out, err = maitred("check", "--all", "--tier", "hours", "--workers", 1)
    assert (code, err) == (0, "")
    found = [line.split() for line in out.splitlines()]
    assert [(line[0], line[-1]) for line in found[3:5]] == [("holds", "one-of-each"), ("violated", "it-can-fail")]
    assert out.splitlines()[0] == out.splitlines()[-1] and out.startswith("All is well: 2 configurations, ")
    assert "1 more take longer" in maitred("check", "--all", "--workers", 1)[1]

    listed.write_text(listed.read_text().replace("states = ", "states = 1"))
    code, out, err = maitred("check", "--all", "--workers", 1)
    assert (code, err) == (1, "") and "is recorded" in out


def test_one_configuration_is_checked(maitred, listed, tmp_path):
    assert maitred("check", "--config", "one of each", "--write")[0] == 0
    code, out, err = maitred("check", "--config", "one-of-each", "--to", "a_client_is_served_and_leaves")
    assert (code, err) == (0, "")
    assert rows(out)["no_client_is_lost"] == "holds"
    assert "A shortest way" in out and "one of each: The least there is.\nThis is as recorded." in out

    code, out, err = maitred("check", "--config", "it-can-fail", "--diagram", tmp_path / "x.svg")
    assert code == 1 and "no counts are recorded yet" in err and "no_client_is_lost is violated" in out
    assert "It fails, as it must" in out and "FAILED: no_client" not in out


def test_a_wrong_outcome_is_never_written(maitred, listed):
    listed.write_text(MANIFEST.replace('violated = "no_client_is_lost"\n', ""))
    before = listed.read_text()
    code, out, _ = maitred("check", "--all", "--tier", "minutes", "--workers", 1, "--write")
    assert code == 1 and "it-can-fail: no_client_is_lost is violated" in out and "WRONG" in out
    assert listed.read_text() == before


def test_a_violation_is_reported_once_with_the_shortest_counterexample_of_all(maitred, listed):
    again = MANIFEST.partition('[[configuration]]\nname = "it can fail"')[2]
    longer = '[[configuration]]\nname = "from the start"' + again.replace("warm = true, ", "")
    listed.write_text((MANIFEST + longer).replace('violated = "no_client_is_lost"\n', ""))
    code, out, err = maitred("check", "--all", "--tier", "minutes", "--workers", 1)
    assert (code, err) == (1, "")
    assert (
        "it-can-fail: no_client_is_lost is violated" in out and "from-the-start: no_client_is_lost is violated" in out
    )
    assert "The shortest counterexample, in it-can-fail:" in out and out.count("A shortest way there, 5 actions:") == 1
    assert out.count("A shortest way there") == 1
    assert "undecided" not in out and len(out.splitlines()) < 60


def test_a_property_that_nobody_lists_is_1(maitred, listed, monkeypatch):
    maitred("check", "--config", "one-of-each", "--write")
    monkeypatch.setattr(manifest, "gaps", lambda configurations: iter(["x is unlisted"]))
    code, out, _ = maitred("check", "--all", "--workers", 1)
    assert code == 1 and "x is unlisted" in out


def test_an_empty_manifest_is_2(maitred, listed):
    listed.write_text("")
    code, out, err = maitred("check", "--all")
    assert (code, out) == (2, "") and "a check of nothing would say that all is well" in err


# ---------------------------------------------------------------- progress


def test_progress_in_words():
    now = Progress(500, 1_000, 20, 7, 100.0)
    start = "500 states, 1,000 transitions, depth 7, 20 to explore, 100 states a second"
    assert verdicts.in_words(now) == start
    assert verdicts.in_words(dataclasses.replace(now, total=4_321)) == start + "; perhaps 4,300 in all, 38 s left"
    known = dataclasses.replace(now, total=1_000, exact=True)
    assert verdicts.in_words(known) == start + "; 50% of 1,000, 5 s left"
    assert verdicts.in_words(dataclasses.replace(known, total=100)) == start
    assert [verdicts.duration(s) for s in (5, 600, 9_000)] == ["5 s", "10 min", "2.5 h"]


@pytest.fixture
def clock(monkeypatch):
    """The time, as the progress sees it."""
    now = [0.0]
    monkeypatch.setattr(verdicts, "HEARTBEAT", HEARTBEAT)
    monkeypatch.setattr(verdicts.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_every_few_seconds(capsys, clock):
    with verdicts.display(quiet=False) as tell:
        for second in range(200):
            clock[0] = second
            tell(f"after {second} s")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["maitred: after 3 s", "maitred: after 6 s", "maitred: after 9 s"]
    assert 20 < len(lines) < 50
    with verdicts.display(quiet=True) as tell:
        clock[0] = 1_000
        tell("nothing")
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- properties by name


def test_only_what_is_named_is_asked(maitred, monkeypatch):
    names = ("--property", "no_client_is_lost", "--property", "a_client_is_served_and_leaves")
    code, out, _ = maitred(*SMALL, *names)
    assert code == 0
    assert rows(out) == {"no_client_is_lost": "holds", "a_client_is_served_and_leaves": "witnessed"}

    break_a_property(monkeypatch, "no_client_has_two_servers")
    assert maitred(*SMALL, *names)[0] == 0
    code, out, _ = maitred(*SMALL, *names, "--property", "no_client_has_two_servers")
    assert code == 1 and rows(out)["no_client_has_two_servers"] == "violated"


def test_no_line_of_a_table_is_wider_than_80_columns(maitred):
    for arguments in (SMALL, ("check", "--list"), ("check", "--config", "two-servers-start")):
        out = maitred(*arguments)[1]
        assert len(out.splitlines()) > 10
        assert (
            max(len(line) for line in out.splitlines() if not line.startswith(("    ", "one of", "two servers"))) <= 80
        )
    assert 11 + 1 + 3 + 1 + max(map(len, PROPERTIES)) <= 80
    assert 9 + 1 + 10 + 1 + 7 + 2 + max(len(one.slug) for one in manifest.load()) <= 80


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


def test_a_divergence_exits_with_1_and_names_the_place(replay):
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


def test_a_line_without_an_end_is_no_trace(maitred, tmp_path):
    """A gigabyte of it would be read, and parsed, as one piece."""
    path = tmp_path / "run.trace"
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines_of_a_monitor()))
    lines = len(path.read_bytes().splitlines())
    os.truncate(path, 1 << 30)
    tracemalloc.start()
    code, out, err = maitred("replay", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (code, out) == (1, "") and f"run.trace: line {lines + 1}: longer than 16 MiB: this is no trace" in err
    assert peak < 1 << 26


@pytest.mark.parametrize("length", [0, -1, 1], ids=["equal", "less", "more"])
def test_a_long_line_is_counted_over_pieces(tmp_path, monkeypatch, length):
    monkeypatch.setattr("maitred.cli.replay.MAX_LINE", 3_000_000)
    path = tmp_path / "run.trace"
    path.write_bytes(b"\n\n" + b"x" * (3_000_000 + length) + b"\n" + b"y" * 10)
    with path.open("rb") as file:
        assert overlong(file.fileno()) == (3 if length > 0 else None)


def test_a_pipe_is_not_waited_for(maitred, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code, out, err = maitred("replay", tmp_path / "pipe")
    assert (code, out) == (2, "") and "cannot be read: it is no regular file" in err


def test_an_error_is_not_pages_long(replay):
    code, _, err = replay([{"who": "x" * 1_000_000, "start": {}}])
    assert code == 1 and len(err) < 10_000


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
