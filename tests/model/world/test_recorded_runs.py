"""Recorded runs: they play, they reach what they claim to reach, and one that plays no more names its step."""

import pytest
from spec.record import GOALS, PAGE, page
from tests.model.outcome import shown

from maitred.core import distributor
from maitred.model.check import manifest
from maitred.model.check.checker import check
from maitred.model.world import Bounds, System, recorded_runs
from maitred.model.world.recorded_runs import RunError, before, find, load

NAME = "two wait for a second Distributor"
BOUNDS = Bounds(servers=1, clients=4, begins=NAME)


def test_every_goal_is_recorded_and_no_other():
    assert load().keys() == GOALS.keys()
    assert all(run.why.endswith(".") and run.why == GOALS[name].why for name, run in load().items())


@pytest.mark.parametrize("name", GOALS)
def test_a_run_plays_and_reaches_its_goal(name):
    goal = GOALS[name]
    world, wrong = System(before(goal.within, find(name)), steady=True).play(find(name))
    assert goal.reached(world) and wrong == ()
    assert not any(getattr(world.budget, key) for key in world.budget._fields), "it spends what it says, and no more"


@pytest.mark.properties
def test_what_is_recorded_is_what_is_found():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m spec.record"


def test_an_exploration_begins_at_its_end_with_the_faults_of_its_own():
    world = System(BOUNDS).initial()
    assert len(world.monitor.classes[0].store) == 2 and not any(world.budget)
    again = System(Bounds(servers=1, clients=4, distributor_crashes=1, begins=NAME)).initial()
    assert again.budget.distributor_crashes == 1 and again.monitor == world.monitor


def test_a_path_begins_there():
    result = check(BOUNDS)
    assert result.complete and result.counterexample is None, shown(result)
    path = result["a_waiter_is_seated"].path
    assert path is not None and len(path.start.monitor.classes[0].store) == 2


def test_a_run_that_plays_no_more_names_the_step(monkeypatch):
    monkeypatch.setitem(distributor._ACTIONS, distributor.ConnectionRequest, lambda work, event: None)
    with pytest.raises(RunError, match=rf"run '{NAME}', step \d+: '.*' is not possible there; possible are: "):
        System(BOUNDS).initial()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "cannot be read"),
        ("[[run]]\nname = 1", "a run has name, why, spends and actions"),
        ("[[run", "a run has name, why, spends and actions"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, text, what):
    file = tmp_path / "runs.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RunError, match=f"{file}: {what}"):
        load(file)


def test_a_run_that_is_not_there_is_named():
    with pytest.raises(RunError, match="there is no recorded run 'nothing'; there are a dynamic server"):
        find("nothing")
    broken = recorded_runs.Run("odd", "It is.", {"miracles": 1}, ())
    with pytest.raises(RunError, match="run 'odd': spends: there is no 'miracles'"):
        before(Bounds(clients=3), broken)


def test_the_manifest_has_configurations_that_begin_there():
    begun = {c.bounds.begins for c in manifest.load() if c.bounds.begins}
    assert NAME in begun and begun <= GOALS.keys()


def test_the_command_names_the_step_that_plays_no_more(monkeypatch, capsys):
    from maitred.cli.check import main

    monkeypatch.setitem(distributor._ACTIONS, distributor.ConnectionRequest, lambda work, event: None)
    assert main(["--config", "after-a-distributor-two-who-waited", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "run 'two wait for a second Distributor', step " in said and "is not possible there" in said
