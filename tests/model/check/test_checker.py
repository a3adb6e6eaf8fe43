"""Every configuration of the manifest, explored to its last state; and what a check claims of what it has seen.

Where a count has changed, look why before it is recorded again: `maitred check --config NAME --write`.
"""

import pytest
from tests.model.outcome import shown

from maitred.model.check.checker import Bounds, Verdict, check
from maitred.model.check.liveness import MissingLibraryError
from maitred.model.check.manifest import load, run_one

pytestmark = pytest.mark.properties

CONFIGURATIONS = load()
MARKS = {"seconds": (), "minutes": (pytest.mark.minutes,), "hours": (pytest.mark.campaign,)}


@pytest.mark.recorded(shortest=0.1)
@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param(one, id=one.slug, marks=[*MARKS[one.tier], pytest.mark.timeout(0 if MARKS[one.tier] else 300)])
        for one in CONFIGURATIONS
    ],
)
def test_exhausted(configuration):
    try:
        outcome = run_one(configuration, workers=1 if configuration.tier == "seconds" else None)
    except MissingLibraryError as missing:
        pytest.skip(str(missing))
    assert outcome.problems == (), shown(outcome)


def test_what_the_bounds_leave_no_occasion_for_is_not_claimed():
    result = check(Bounds(servers=1, clients=1))
    assert result["a_dynamic_server_starts"].verdict is Verdict.NOT_APPLICABLE, shown(result)
    assert result["the_table_is_exact_again_after_a_restart"].verdict is Verdict.NOT_APPLICABLE, shown(result)
    assert result["a_client_is_served_and_leaves"].verdict is Verdict.WITNESSED, shown(result)
    assert result["no_client_is_lost"].verdict is Verdict.HOLDS, shown(result)


def test_an_exploration_cut_short_claims_nothing():
    result = check(Bounds(servers=2, clients=2), max_states=50)
    assert not result.complete
    assert result.ok, shown(result)
    assert result["no_client_is_lost"].verdict is Verdict.INCOMPLETE, shown(result)
    assert result["a_client_is_served_and_leaves"].verdict is Verdict.INCOMPLETE, shown(result)


def test_a_witness_is_a_shortest_way():
    result = check(Bounds(servers=1, clients=1))
    path = result["a_client_is_served_and_leaves"].path
    assert path is not None
    assert len(path.steps) == 13
    assert path.steps[-1].action.who == "server 1"


def test_progress_is_reported():
    reports = []
    check(Bounds(servers=2, clients=1), progress=reports.append)
    assert all(p.states > 0 and p.queue >= 0 and p.rate > 0 for p in reports)


@pytest.mark.parametrize("wrong", [{"servers": 0}, {"clients": -1}, {"waiting_limit": 0}])
def test_bounds_that_describe_no_system_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Bounds(**wrong)
