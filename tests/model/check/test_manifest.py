"""The manifest: it is read, run, compared and written; and whatever is wrong with it is named."""

import pytest
from tests.model.outcome import shown

from maitred.model.check import manifest
from maitred.model.check.checker import Verdict
from maitred.model.check.liveness import LIVENESS
from maitred.model.check.manifest import ManifestError, find, gaps, load, refresh, run, run_one, slug
from maitred.model.claims.safety import PROPERTIES
from maitred.model.world import Assumption, Bounds

pytestmark = pytest.mark.properties

SMALL = """\
# a comment that stays

[[configuration]]
name = "Small, indeed"
why = "A sentence."  # another
tier = "seconds"
bounds = { servers = 1, clients = 1, warm = true }
states = 3
transitions = 3
depth = 3

# before the second
[[configuration]]
name = "must fail"
why = "It shows that the check can fail."
tier = "minutes"
bounds = { servers = 1, clients = 2, distributor_crashes = 1, warm = true, without = ["heard-out"] }
violated = "no_client_is_lost"
"""


@pytest.fixture
def file(tmp_path):
    def make(text=SMALL):
        path = tmp_path / "manifest.toml"
        path.write_text(text)
        return path

    return make


def edited(old, new):
    assert old in SMALL
    return SMALL.replace(old, new, 1)


# ---------------------------------------------------------------- reading


def test_its_contents_are_read(file):
    small, failing = load(file())
    assert small.name == "Small, indeed" and small.slug == "small-indeed" and small.tier == "seconds"
    assert small.bounds == Bounds(servers=1, clients=1, warm=True)
    assert small.counts == {"states": 3, "transitions": 3, "depth": 3} and small.safety and not small.symmetric
    assert failing.violated == "no_client_is_lost" and failing.counts is None
    assert failing.bounds.without == (Assumption.HEARD_OUT,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"there is no \[\[configuration\]\]"),
        ("configuration = []", "a check of nothing"),
        ("x = 1\n" + SMALL, "x: should not be here"),
        ("[[configuration]\n", "manifest.toml: "),
        (edited('name = "Small, indeed"\n', ""), "number 1: name is missing"),
        (edited("Small, indeed", "..."), "name: '...' will not do"),
        (edited("Small, indeed", "must: fail"), "two configurations are called 'must fail'"),
        (edited('"A sentence."', '"A word"'), "'Small, indeed': why: 'A word' will not do: should be a sentence"),
        (edited('"A sentence."', "3"), "why: 3 will not do"),
        (edited('"seconds"', '"days"'), "tier: 'days' will not do: should be one of seconds, minutes, hours"),
        (
            edited("servers = 1", "servants = 1"),
            "bounds.servants: 1 will not do: should be left out: there are accept_f",
        ),
        (edited("servers = 1", "servers = true"), "bounds.servers: True will not do: should be a whole number"),
        (edited("warm = true", "warm = 1"), "bounds.warm: 1 will not do: should be true or false"),
        (edited("servers = 1", "servers = 0"), "bounds: servers must be at least 1"),
        (edited("heard-out", "heard"), "bounds.without: 'heard' will not do: should be one of ends-follow-data"),
        (edited('["heard-out"]', '"heard-out"'), "bounds.without: 'heard-out' will not do: should be a list"),
        (edited("no_client_is_lost", "a_waiter_is_seated"), "violated: 'a_waiter_is_seated' will not do"),
        (edited("states = 3", "states = -3"), "states: -3 will not do"),
        (edited("states = 3", 'states = "3"'), "states: '3' will not do"),
        (edited("states = 3\n", ""), "states: None will not do: should be one of states, transitions, depth"),
        (edited("depth = 3", "depth = 3\nlength = 1"), "length: "),
        (edited("depth = 3", "depth = 3\ncolour = 1"), "colour: 1 will not do: should be left out"),
        (edited("depth = 3", "depth = 3\nsafety = false"), "nothing would be asked"),
        (edited("depth = 3", 'depth = 3\nliveness = ["x"]'), "liveness: 'x' will not do: should be one of"),
        (edited("depth = 3", 'depth = 3\nunassumed = ["clients keep leaving"]'), "unassumed: "),
        (edited("depth = 3", 'depth = 3\nsymmetric = true\nliveness = ["a_stop_ends"]'), "symmetric: True will not do"),
        (edited('"no_client_is_lost"', '"a_stop_ends"'), "violated: 'a_stop_ends' will not do: should be listed"),
    ],
)
def test_what_is_wrong_is_named(file, text, complaint):
    with pytest.raises(ManifestError, match=complaint) as caught:
        load(file(text))
    assert str(caught.value).startswith(str(file(text)))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ManifestError, match="none: cannot be read: No such file"):
        load(tmp_path / "none")


def test_the_packaged_one_is_found_first(tmp_path, monkeypatch):
    module = tmp_path / "a" / "b" / "c" / "d" / "manifest.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(manifest, "__file__", str(module))
    with pytest.raises(ManifestError, match="there is no manifest"):
        find()
    (tmp_path / "spec").mkdir()
    for place in (tmp_path / "spec" / "manifest.toml", module.with_name("manifest.toml")):
        place.write_text(SMALL)
        assert find() == place


# ---------------------------------------------------------------- running


def test_nothing_to_run_is_a_failure(file):
    with pytest.raises(ManifestError, match="no configuration is of a tier of hours"):
        run(load(file()), ["hours"])


def test_a_count_that_changed_is_a_failure_until_it_is_written(file):
    path = file()
    seen = []
    outcomes = run(load(path), workers=1, done=seen.append)
    assert seen == outcomes and len(seen) == 2
    for outcome in outcomes:
        assert outcome.miscounted and not outcome.ok, shown(outcome)
    states = outcomes[0].counts["states"]
    assert f"states: {states}, where 3 is recorded" in outcomes[0].problems
    assert "no counts are recorded yet" in outcomes[1].problems[0]

    assert refresh(outcomes, path) == ["Small, indeed", "must fail"]
    assert [o.problems for o in run(load(path), workers=1)] == [(), ()]
    assert load(path)[1].counts["length"] == 5
    text = path.read_text()
    assert [line for line in text.split("\n") if "=" not in line] == [
        each for each in SMALL.split("\n") if "=" not in each
    ]
    assert "# a comment that stays" in text and "# another" in text
    assert refresh(run(load(path), workers=1), path) == [] and path.read_text() == text


def test_only_counts_are_written(file):
    path = file(edited('violated = "no_client_is_lost"', 'violated = "never_stale_low"'))
    (outcome,) = run(load(path), ["minutes"], workers=1)
    assert "never_stale_low should be violated, and is not" in outcome.problems[0]
    with pytest.raises(ManifestError, match="has lost its teeth"):
        refresh([outcome], path)


def test_a_violation_is_a_failure(file):
    (outcome,) = run(load(file(edited('violated = "no_client_is_lost"\n', ""))), ["minutes"], workers=1)
    assert "no_client_is_lost is violated" in outcome.problems
    assert not outcome.miscounted


def test_a_witness_that_is_not_reached_is_a_failure(file, monkeypatch):
    from dataclasses import replace

    never = replace(PROPERTIES["a_client_is_served_and_leaves"], witness=lambda before, action, after: False)
    monkeypatch.setitem(PROPERTIES, "a_client_is_served_and_leaves", never)
    outcome = run_one(load(file())[0])
    assert outcome.problems[0] == "a_client_is_served_and_leaves never happens"


def test_liveness_is_asked(file):
    pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")
    name = "who_waits_is_seated_or_ends"
    text = edited("clients = 1, warm = true }", f'clients = 2, warm = true }}\nliveness = ["{name}"]')
    (small, _) = load(file(text))
    outcome = run_one(small)
    assert outcome.miscounted and outcome.liveness[name].verdict is Verdict.HOLDS, shown(outcome)
    assert outcome.liveness.states == outcome.safety.states

    fails = text.replace("]\nstates", ']\nunassumed = ["clients keep leaving"]\nsafety = false\nstates').replace(
        "depth = 3\n", ""
    )
    outcome = run_one(load(file(fails))[0])
    assert outcome.problems[0] == f"{name} is violated"
    outcome = run_one(load(file(fails.replace("safety = false", f'safety = false\nviolated = "{name}"')))[0])
    assert outcome.miscounted

    idle = edited("depth = 3", 'depth = 3\nliveness = ["a_stop_ends"]')
    assert "a_stop_ends has no occasion" in run_one(load(file(idle))[0]).problems[0]


def test_liveness_needs_its_library(file, monkeypatch):
    monkeypatch.setattr(manifest, "find_spec", lambda name: None)
    text = edited("depth = 3", 'depth = 3\nliveness = ["a_hand_off_is_settled"]')
    with pytest.raises(manifest.MissingLibraryError, match="scipy"):
        run(load(file(text)), ["seconds"])


def test_progress_knows_the_total(file, monkeypatch):
    monkeypatch.setattr("maitred.model.search.parallel.PROGRESS_INTERVAL", 0.0)
    seen = []
    run(load(file()), ["seconds"], lambda one, progress: seen.append((one.slug, progress)), workers=1)
    assert seen and all(name == "small-indeed" and p.total == 3 and p.exact for name, p in seen)


def test_slower_ones_have_checkpoints(file, tmp_path, monkeypatch):
    places = []
    check = manifest.check
    monkeypatch.setattr(manifest, "check", lambda *a, checkpoint, **k: places.append(checkpoint) or check(*a, **k))
    run(load(file()), workers=1, checkpoint=tmp_path / "kept")
    assert places == [None, tmp_path / "kept" / "must-fail"]


# ---------------------------------------------------------------- what must be there


def test_a_property_that_nobody_lists_is_a_gap(monkeypatch):
    configurations = load()
    assert list(gaps(configurations)) == []
    stopped = [c for c in configurations if not c.bounds.stops]
    missing = "\n".join(gaps(stopped))
    assert "a_graceful_stop_completes is unlisted" in missing
    assert "closed_means_over is unlisted" in missing
    assert "a_stop_ends is unlisted" in missing
    assert len(list(gaps([]))) == len(PROPERTIES) + len(LIVENESS)


def test_every_fault_and_every_assumption_occurs():
    configurations = load()
    first = Bounds()
    idle = {
        name
        for name in Bounds.__dataclass_fields__
        if all(getattr(c.bounds, name) == getattr(first, name) for c in configurations)
    }
    assert idle <= {"stable"}
    assert {a for c in configurations for a in c.bounds.without} == set(Assumption)


def test_each_tier_has_its_configurations():
    configurations = load()
    assert {c.tier for c in configurations} == set(manifest.TIERS)
    assert any(c.counts is None or c.counts["states"] >= 5_000_000 for c in configurations if c.tier == "hours")
    assert any(c.symmetric for c in configurations)


def test_slugs():
    assert slug("the Distributor dies, two servers") == "the-distributor-dies-two-servers"
