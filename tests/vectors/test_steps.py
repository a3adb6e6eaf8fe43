"""The vectors of single steps: they are what the core does, and they are whole."""

import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from proofs.mutation.core import CATALOGUE
from spec.vectors.check import stale
from spec.vectors.mutants import BESIDE, PAGE, UNNOTICED, Vectors

from maitred.core import server
from maitred.core.messages import Client
from maitred.vectors import codec, compare, files

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def vectors():
    return [*files.steps()]


def test_the_vectors_are_what_the_core_does():
    assert [*stale()] == []


def test_every_event_and_every_effect_of_each_machine_has_vectors(vectors):
    for name, machine in codec.MACHINES.items():
        of = [vector for vector in vectors if vector.machine == name]
        events = {vector.event["is"] for vector in of}
        effects = {effect["is"] for vector in of for effect in vector.then.get("effects", ())}
        assert events == {one.__name__ for one in codec.choices(machine.event)}
        assert effects == {one.__name__ for one in codec.choices(machine.effect)}


def test_each_is_the_only_one_of_its_id_and_says_what_it_is_for(vectors):
    assert len({vector.id for vector in vectors}) == len(vectors)
    assert [vector.id for vector in vectors if not vector.note] == []


def test_the_file_is_small_when_it_is_compressed():
    assert len(gzip.compress((files.folder() / "steps.jsonl").read_bytes())) < 700_000


def test_the_traces_have_real_runs_restarts_and_every_machine():
    traces = [*files.traces()]
    recorded = [trace.note for trace in traces if "of a recorded run" in trace.note]
    assert {"distributor 0 1 of a recorded run.", "distributor 0 2 of a recorded run."} <= {*recorded}
    assert {trace.machine for trace in traces} == set(codec.MACHINES)
    assert len({trace.id for trace in traces}) == len(traces)


def test_mutants_are_noticed_by_vectors_of_their_machine():
    vectors = Vectors()
    assert vectors.notice(CATALOGUE["the_index_of_free_servers_is_not_kept"]).startswith("distributor-")
    assert vectors.notice(CATALOGUE["any_byte_is_a_truth"]).startswith("bytes-")
    assert vectors.notice(CATALOGUE["a_second_stop_is_graceful_too"]).startswith("monitor-")


def test_the_page_has_a_reason_for_each_mutant_that_no_vector_notices():
    page = PAGE.read_text()
    assert {*UNNOTICED} <= {*CATALOGUE}
    assert "no reason is known" not in page
    left, aside = (
        [mutant for mutant in CATALOGUE.values() if (mutant.module in BESIDE) is out] for out in (False, True)
    )
    assert f"{len(left) - len(UNNOTICED)} of {len(left)} mutants are noticed" in page
    for name, why in UNNOTICED.items():
        assert re.search(rf"^\| {name.replace('_', ' ')} \| .* \| {re.escape(why)} \|$", page, re.MULTILINE)
    for mutant in aside:
        assert f"`maitred.core.{mutant.module}`" in page


def test_a_trace_of_which_something_is_wrong_is_reported_with_the_step():
    trace = max(files.traces(), key=lambda trace: len(trace.steps))
    place = max(i for i, (_, then) in enumerate(trace.steps) if then.get("effects"))
    for then in ({"effects": []}, {"rejected": "ENDED"}):
        steps = [*trace.steps]
        steps[place] = (steps[place][0], then)
        found = [*compare.along(trace.machine, replace(trace, steps=tuple(steps)))]
        assert found
        assert all(text.startswith(f"step {place}: ") for text in found)
    assert [*compare.along(trace.machine, replace(trace, end=trace.state))] != []


def test_a_core_that_does_something_else_makes_them_stale(monkeypatch):
    real = server.step

    def bent(state, event):
        outcome = real(state, event)
        if isinstance(event, server.Sent) and not isinstance(outcome, server.Rejected):
            return server.Transition(outcome.state, (server.Deliver(Client(1, 2, 3)),))
        return outcome

    monkeypatch.setattr(server, "step", bent)
    found = [*stale()]
    assert found
    assert all(text.startswith(("server-", "trace-server-")) for text in found)


def test_a_vector_that_was_edited_is_noticed(monkeypatch, tmp_path):
    lines = (files.folder() / "steps.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    other = json.loads(lines[1])
    (tmp_path / "order.toml").touch()
    (tmp_path / "traces.jsonl").touch()
    monkeypatch.setattr(files, "_PLACES", (tmp_path,))
    for changes, says in (
        ({"id": other["id"]}, "has another's id"),
        ({"requirements": ["CLAIM-0"]}, "shows other requirements"),
        ({"then": {"rejected": "ENDED"}}, "the core does something else"),
    ):
        (tmp_path / "steps.jsonl").write_text(json.dumps({**row, **changes}) + "\n")
        (found,) = stale()
        assert says in found


def test_all_branches_of_the_machines_steps_are_run():
    found = subprocess.run(
        [sys.executable, "-m", "spec.vectors.branches"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.endswith("100.0 %\n"), found.stdout + found.stderr
    assert not found.returncode
