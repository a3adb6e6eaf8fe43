"""Pinned explorations: everything that can happen within small bounds, to the last state.

A count that changes says that the machines, or the world around them, behave differently than when it was written down.
That may be right; then it is written down anew, by whoever has understood why.
"""

from pathlib import Path

import pytest

from maitred.model.checker import Bounds, Verdict, check
from maitred.model.properties import PROPERTIES

pytestmark = pytest.mark.properties

PINNED = {
    # bounds: (states, transitions, depth)
    "one of each": (Bounds(servers=1, clients=1), (136, 294, 18)),
    "two servers start": (Bounds(servers=2, clients=1), (8_112, 24_465, 27)),
    "more clients than seats and chairs": (
        Bounds(servers=2, clients=4, waiting_limit=1, warm=True),
        (1_793, 5_706, 25),
    ),
    "two seats each": (Bounds(servers=2, clients=3, max_clients=2, warm=True), (904, 2_793, 19)),
    "two ports": (Bounds(servers=1, clients=3, ports=2, warm=True), (2_178, 4_998, 20)),
    "the Distributor dies, from the start": (Bounds(servers=1, clients=2, distributor_crashes=1), (3_717, 9_177, 34)),
    "the Distributor dies, two servers": (
        Bounds(servers=2, clients=2, distributor_crashes=1, warm=True),
        (12_464, 39_649, 27),
    ),
    "a server dies": (Bounds(servers=1, clients=2, server_crashes=1, warm=True), (22_559, 76_128, 29)),
    "a child outlives its parent": (
        Bounds(servers=1, clients=1, server_crashes=1, forked_children=1, warm=True),
        (4_266, 13_057, 23),
    ),
    "descriptors lost, sends reordered": (
        Bounds(servers=2, clients=2, descriptor_losses=1, reorders=1, warm=True),
        (845, 2_213, 16),
    ),
    "the kernel declines": (Bounds(servers=1, clients=2, unsent=1, accept_failures=1, warm=True), (486, 1_040, 18)),
    "listening fails, the first bind decides": (
        Bounds(servers=1, clients=1, listen_failures=1, repeated_binds=1, fixed=False),
        (475, 1_203, 20),
    ),
    "a listener closes and listens again": (
        Bounds(servers=1, clients=2, listener_closes=1, warm=True),
        (2_764, 7_144, 26),
    ),
    "stopped": (Bounds(servers=1, clients=2, stops=1, warm=True), (7_638, 40_257, 23)),
    "stopped at once": (Bounds(servers=1, clients=1, stops=2, warm=True), (2_602, 12_151, 17)),
    "a dynamic server comes and goes": (
        Bounds(servers=1, clients=2, dynamic=1, creations=1, deletions=1, warm=True),
        (3_440, 11_053, 33),
    ),
    "hang-ups and time-outs": (Bounds(servers=1, clients=2, hang_ups=1, queue_timeouts=1, warm=True), (223, 513, 14)),
    "a hand-off is not answered": (Bounds(servers=1, clients=1, hand_off_timeouts=1, warm=True), (820, 2_127, 23)),
    "a processing element fails": (
        Bounds(servers=1, clients=1, elements=2, element_failures=1, warm=True),
        (2_383, 7_012, 22),
    ),
    "an audit corrects": (Bounds(servers=1, clients=2, audits=1, leaks=1, warm=True), (158, 339, 16)),
}


@pytest.mark.parametrize("name", PINNED)
def test_exhausted(name):
    bounds, counts = PINNED[name]
    result = check(bounds)
    assert [on.property.name for on in result.verdicts if on.verdict in (Verdict.VIOLATED, Verdict.NOT_REACHED)] == []
    assert result.complete and result.ok
    assert (result.states, result.transitions, result.depth) == counts


def test_the_documentation_has_these_counts():
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "what-is-checked.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    told = {row[0]: tuple(row[2:]) for row in rows if len(row) == 5}
    pinned = {name: tuple(f"{count:,}" for count in counts) for name, (_, counts) in PINNED.items()}
    assert {name: told.get(name) for name in PINNED} == pinned
    assert told.keys() - PINNED.keys() == {"system"}


def test_every_fault_occurs_in_one_of_them():
    first = Bounds()
    faults = set(Bounds.__dataclass_fields__) - {"servers", "clients", "waiting_limit", "warm", "stable"}
    used = {name for name in faults for bounds, _ in PINNED.values() if getattr(bounds, name) != getattr(first, name)}
    assert faults - used == {"element_returns"}


def test_every_sometimes_property_is_witnessed_in_one_of_them():
    applicable = {
        prop.name
        for prop in PROPERTIES.values()
        for bounds, _ in PINNED.values()
        if prop.kind == "sometimes" and prop.applies(bounds)
    }
    assert {p.name for p in PROPERTIES.values() if p.kind == "sometimes"} - applicable == {
        "a_dynamic_server_is_declined"
    }


def test_what_the_bounds_leave_no_occasion_for_is_not_claimed():
    result = check(Bounds(servers=1, clients=1))
    assert result["a_dynamic_server_starts"].verdict is Verdict.NOT_APPLICABLE
    assert result["the_table_is_exact_again_after_a_restart"].verdict is Verdict.NOT_APPLICABLE
    assert result["a_client_is_served_and_leaves"].verdict is Verdict.WITNESSED
    assert result["no_client_lost"].verdict is Verdict.HOLDS


def test_an_exploration_cut_short_claims_nothing():
    result = check(Bounds(servers=2, clients=2), max_states=50)
    assert not result.complete
    assert result.ok
    assert result["no_client_lost"].verdict is Verdict.INCOMPLETE
    assert result["a_client_is_served_and_leaves"].verdict is Verdict.INCOMPLETE


def test_a_witness_is_a_shortest_way():
    result = check(Bounds(servers=1, clients=1))
    path = result["a_client_is_served_and_leaves"].path
    assert path is not None
    assert len(path.steps) == 13
    assert path.steps[-1].action.who == "server 1"


def test_progress_is_told():
    told = []
    check(Bounds(servers=2, clients=1), progress=told.append)
    assert all(p.states > 0 and p.queue >= 0 and p.rate > 0 for p in told)


@pytest.mark.parametrize("wrong", [{"servers": 0}, {"clients": -1}, {"waiting_limit": 0}])
def test_bounds_that_describe_no_system_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Bounds(**wrong)
