"""The code and the relation do the same; and a difference would be noticed."""

import pytest
from proofs import bridge
from proofs.bridge import Divergence, Tally, compare, compare_on_the_way, uncovered
from proofs.mutants import CATALOGUE

from maitred.model.manifest import load
from maitred.model.world import ANY, Bounds

pytestmark = pytest.mark.properties

TOLD = [
    one
    for one in load()
    if one.tier == "seconds" and not one.violated and not one.bounds.stops and not one.bounds.returns
]
"""The configurations that the relation tells: without a stop, and without clients that come again under one name."""

DEEP = {
    "everything dies": Bounds(
        servers=2,
        clients=4,
        ports=2,
        server_crashes=2,
        forked_children=1,
        distributor_crashes=2,
        descriptor_losses=2,
        listener_closes=1,
        reorders=ANY,
        hang_ups=1,
        queue_timeouts=1,
        warm=True,
    ),
    "dynamic servers": Bounds(
        servers=1,
        clients=5,
        dynamic=2,
        creations=ANY,
        deletions=ANY,
        server_crashes=2,
        distributor_crashes=1,
        hand_off_timeouts=1,
        warm=True,
    ),
    "processing elements": Bounds(
        servers=2,
        clients=4,
        max_clients=2,
        elements=3,
        element_failures=2,
        element_returns=1,
        unsent=2,
        accept_failures=1,
        distributor_crashes=1,
        server_crashes=1,
        warm=True,
    ),
    "from the start": Bounds(
        servers=2, clients=3, distributor_crashes=3, descriptor_losses=2, server_crashes=1, repeated_binds=1
    ),
    "unready": Bounds(servers=1, clients=3, dynamic=2, creations=ANY, server_crashes=6, warm=True),
    "who waits is restored": Bounds(servers=1, clients=3, distributor_crashes=2, warm=True),
    "stale answers": Bounds(
        servers=1, clients=2, distributor_crashes=2, descriptor_losses=2, listener_closes=2, warm=True
    ),
}


def compared(worlds, walks):
    """Everything that is compared: the beginnings of all configurations, and walks that get deep."""
    tally = Tally()
    for one in TOLD:
        compare(one.bounds, tally.worlds + worlds, tally)
    compare(Bounds(servers=1, clients=1, distributor_crashes=1, descriptor_losses=1, warm=True), None, tally)
    for name, bounds in DEEP.items():
        for seed in range(walks):
            compare_on_the_way(bounds, f"{name} {seed}", 150, tally)
    return tally


@pytest.mark.timeout(600)
def test_every_step_of_the_code_is_a_step_of_the_relation_and_the_other_way_round():
    tally = compared(worlds=100, walks=6)
    assert tally.worlds > 4_000
    assert tally.steps > 20_000
    assert uncovered(tally) == [], "each transition was taken"
    assert set(tally.outside) <= {
        "Deed.LEAKS",
        "ListeningFailed",
        "an audit",
        "Audited",
        "a socket that cannot be opened",
    }


@pytest.mark.minutes
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("one", TOLD, ids=[one.slug for one in TOLD])
def test_in_every_world_of_the_configuration(one):
    tally = compare(one.bounds, 4_000)
    assert tally.worlds and tally.steps


def test_nothing_compared_is_nothing_covered():
    assert len(uncovered(Tally())) == len(bridge.TRANSITIONS) - 1


BENT = (
    "a_timer_takes_the_request_back",
    "the_busiest_server_is_chosen",
    "ties_go_to_the_last_chosen",
    "the_last_to_come_is_served_first",
    "what_is_owed_is_forgotten",
    "who_waited_is_never_released",
    "counts_are_differences",
    "the_count_is_one_too_low",
    "a_client_is_accepted_though_nobody_listens",
    "a_draining_server_is_sent_clients",
    "the_waiting_limit_is_ignored",
    "a_restart_forgets_a_dialog",
    "nobody_is_seated_when_a_seat_becomes_free",
    "what_is_owed_is_no_obstacle",
    "the_maximum_is_ignored",
)
"""Mutants of the core that do what the relation does not."""


@pytest.mark.parametrize("name", BENT)
def test_a_bent_core_diverges(name):
    mutant = CATALOGUE[name]
    assert mutant.within is not None
    with mutant.bent(), pytest.raises(Divergence):
        compare(mutant.within, 6_500)
