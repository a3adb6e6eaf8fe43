"""The code and the relation do the same; and a difference would be noticed."""

from dataclasses import replace

import pytest
from proofs.mutation.bridge_column import answer, answers
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Kind, Mutant
from proofs.mutation.proof_mutants import relation_mutant
from proofs.refinement import bridge, pinned_configurations
from proofs.refinement.bridge import Divergence, Tally, compare, compare_on_the_way, uncovered
from proofs.refinement.interpreter import transition
from spec.relation.system import ACTIONS

from maitred.model.check.checker import check
from maitred.model.check.manifest import load
from maitred.model.world import ANY, Bounds

pytestmark = [pytest.mark.properties, pytest.mark.recorded(shortest=0.1)]


def compared(worlds, walks):
    """Everything that is compared: the beginnings of all configurations, and walks that get deep."""
    tally = Tally()
    compare(Bounds(servers=1, clients=1, distributor_crashes=1, descriptor_losses=1, warm=True), None, tally)
    for _ in pinned_configurations.here_and_there(worlds, walks, tally):
        pass
    return tally


@pytest.mark.timeout(600)
def test_every_step_of_the_code_is_a_step_of_the_relation_and_the_other_way_round():
    tally = compared(worlds=60, walks=3)
    assert tally.worlds > 4_000
    assert tally.steps > 20_000
    assert uncovered(tally) == [], "each transition was taken"
    assert set(tally.outside) <= {
        "Deed.LEAKS",
        "ListeningFailed",
        "an audit",
        "Audited",
        "a socket that cannot be opened",
        "a stop",
    }


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_in_every_world_of_the_configurations_of_minutes():
    rows = [*pinned_configurations.measured([one.slug for one in pinned_configurations.compared("minutes")])]
    assert pinned_configurations.bridge_report("minutes") == {row.slug: row for row in rows}, (
        "python -m proofs.refinement.pinned_configurations --tier minutes --write"
    )


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_on_many_walks():
    assert uncovered(compared(worlds=0, walks=300)) == []


# ---------------------------------------------------------------- the pinned configurations, to their last world


@pytest.mark.minutes
@pytest.mark.timeout(7_200)
def test_in_every_world_of_every_pinned_configuration():
    rows = [*pinned_configurations.measured([one.slug for one in pinned_configurations.compared()])]
    assert pinned_configurations.bridge_report() == {row.slug: row for row in rows}, (
        "python -m proofs.refinement.pinned_configurations --write, once it is understood why"
    )


def test_keeping_what_is_kept_changes_nothing(tmp_path, monkeypatch):
    files = {file.name: file.read_text() for file in pinned_configurations.REPORTS.iterdir()}
    rows = [*pinned_configurations.bridge_report().values()]
    (tmp_path / "of a configuration that is gone.json").write_text("{}")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(pinned_configurations, "REPORTS", tmp_path)
    pinned_configurations.keep(rows)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == files


def test_what_is_kept_is_of_every_configuration_that_can_be_modelled():
    for tier in pinned_configurations.TIERS:
        assert [*pinned_configurations.bridge_report(tier)] == [
            one.slug for one in pinned_configurations.compared(tier)
        ]
        covered = pinned_configurations.bridge_report(tier).keys() | pinned_configurations.not_compared(tier).keys()
        assert {one.slug for one in load() if one.tier == tier} == covered


@pytest.mark.parametrize(("tier", "least"), [("seconds", 15), ("minutes", 2)])
def test_where_nothing_is_outside_no_world_was_left_out(tier, least):
    report = pinned_configurations.bridge_report(tier)
    pins = {one.slug: one.counts["states"] for one in pinned_configurations.compared(tier)}
    whole = [slug for slug, row in report.items() if not row.outside]
    assert len(whole) > least
    assert {slug: report[slug].worlds for slug in whole} == {slug: pins[slug] for slug in whole}
    assert all(row.worlds < pins[slug] for slug, row in report.items() if row.outside)


def test_what_is_outside_is_known():
    kinds = {
        kind
        for tier in pinned_configurations.TIERS
        for row in pinned_configurations.bridge_report(tier).values()
        for kind in row.outside
    }
    assert kinds == {"a stop", "ListeningFailed", "Deed.LEAKS"}


def test_a_configuration_is_compared_again_as_kept():
    small = ["one-of-each", "an-audit-corrects", "the-kernel-declines"]
    kept = pinned_configurations.bridge_report()
    assert {one.slug: one for one in pinned_configurations.measured(small, workers=1)} == {
        slug: kept[slug] for slug in small
    }


def test_worlds_are_taken_for_one_as_in_an_exploration():
    bounds = Bounds(servers=2, clients=3, max_clients=2, warm=True)
    whole, reduced = compare(bounds), compare(bounds, symmetric=True)
    assert reduced.worlds == check(bounds, symmetric=True).states < whole.worlds


def test_the_table_names_every_configuration():
    page = pinned_configurations.table(pinned_configurations.bridge_report())
    assert all(slug in page for one in load() if (slug := one.slug) and one.tier == "seconds")


# ---------------------------------------------------------------- and it can fail


def test_nothing_compared_is_nothing_covered():
    assert len(uncovered(Tally())) == len(bridge.TRANSITIONS)


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
    with mutant.mutated(), pytest.raises(Divergence):
        compare(mutant.within, 6_500)


HERE = Bounds(servers=1, clients=3, distributor_crashes=1, warm=True)
QUIET = Bounds(servers=1, clients=4, warm=True)
SEVERAL = Bounds(servers=2, clients=6, max_clients=2, server_crashes=1, distributor_crashes=1, warm=True)
SLIPS = [
    ("monitor._Work.start_distributor", "Restore(client)", "Restore(replace(client, arrival=0))", HERE, None),
    ("distributor._Work.leave", "Release(client)", "Release(replace(client, arrival=0))", HERE, None),
    ("distributor._Work.leave", "Release(client)", "Release(replace(client, arrival=client.arrival % 64))", QUIET, 62),
    ("server._issue", "state.sequence + 1", "(state.sequence + 1) % 256", HERE, 250),
    ("distributor._Work.hand_off", "rank + 1", "min(rank + 1, 2 * len(self.state.servers))", SEVERAL, 62),
]
"""Numbers that are wrong: where, what stands there and what should not, where it is seen, and where numbers begin."""


@pytest.mark.parametrize(("where", "old", "new", "bounds", "first"), SLIPS, ids=[slip[2] for slip in SLIPS])
def test_a_wrong_number_diverges(where, old, new, bounds, first):
    """Each copy of a client is compared, and each counter; where only large numbers show it, from those on."""
    slip = Mutant("slip", Kind.CUT, "", where, old, new)
    with slip.mutated():
        assert any(diverges(bounds, f"a wrong number {seed}", first) for seed in range(12))


def diverges(bounds, seed, first):
    """Whether the code and the relation part on the walk."""
    try:
        compare_on_the_way(bounds, seed, 100, first=first)
    except Divergence:
        return True
    return False


def test_what_progress_rests_on_must_happen():
    """The end of a dynamic server is declined: no exact transition models it."""
    old = "case BindRequested() | ControlEnded() | Unfit():"
    new = f"""case ControlEnded() if event.server in state.servers and state.servers[event.server].dynamic:
            return Reason.UNKNOWN_SERVER
        {old}"""
    slip = Mutant("slip", Kind.GUARD_DROPPED, "", "distributor.guard", old, new)
    bounds = Bounds(servers=1, clients=2, dynamic=1, creations=1, server_crashes=1, warm=True)
    with slip.mutated(), pytest.raises(Divergence, match=r"system\.py:\d+ sees_control_end.*progress rests on"):
        compare(bounds, 6_500)


AGAIN = Bounds(servers=1, clients=2, distributor_crashes=1, warm=True)
DYNAMIC = Bounds(servers=1, clients=2, dynamic=1, creations=ANY, distributor_crashes=9, warm=True)
TWO_PORTS = Bounds(servers=1, clients=1, ports=2, distributor_crashes=1, warm=True)
DROPPED = [
    ("releases", "arrival", HERE, "1"),
    ("issues_accept", "c.seat", AGAIN, None),
    ("issues_accept", "holding", AGAIN, None),
    ("wants_server", "c.seat", DYNAMIC, "9"),
    ("stores_hand", "operating", AGAIN, None),
    ("restores", "initial_due", HERE, None),
]
"""Guards that are alone false in the midst of a step only: whose, a part of the text; where, on which walk."""


@pytest.mark.parametrize(("name", "guard", "bounds", "seed"), DROPPED)
def test_a_guard_that_decides_in_the_midst_of_a_step_is_missed(name, guard, bounds, seed, monkeypatch):
    without = transition(ACTIONS.by_name[name], relation_mutant(name, guard).step())
    monkeypatch.setitem(bridge.TRANSITIONS, name, without)
    with pytest.raises(Divergence, match=rf"in its midst the relation enables spec/relation/system\.py:\d+ {name}"):
        compare_either_way(bounds, seed)


@pytest.mark.parametrize(
    ("names", "bounds", "seed"),
    [
        ({"sends_initial"}, TWO_PORTS, None),
        ({"issues_accept"}, TWO_PORTS, "0"),
        ({"issues_accept", "wants_server"}, replace(DYNAMIC, ports=2, distributor_crashes=1), None),
    ],
    ids=["questions", "accepts", "an accept and a server"],
)
def test_what_may_come_in_any_order_is_listed(names, bounds, seed, monkeypatch):
    """Each row of the list is needed, and there is no other."""
    others = tuple(row for row in bridge.ANY_ORDER if row != names)
    assert len(others) == len(bridge.ANY_ORDER) - 1 == 2
    monkeypatch.setattr(bridge, "ANY_ORDER", others)
    with pytest.raises(Divergence, match="in its midst"):
        compare_either_way(bounds, seed)


def compare_either_way(bounds, seed):
    """Explore, or walk where it is quicker."""
    if seed is None:
        compare(bounds, 1_500)
    else:
        compare_on_the_way(bounds, seed, 100)


def test_the_column_names_the_transition_at_which_a_mutant_and_the_relation_differ():
    reports = []
    mutants = [CATALOGUE[name] for name in ("the_maximum_is_ignored", "who_waited_is_never_released")]
    without = CATALOGUE["it_begins_twice"]
    found = answers([*mutants, without], lambda: reports.append(None))
    assert found == {
        "the_maximum_is_ignored": ("releases is not enabled",),
        "who_waited_is_never_released": ("releases does not happen",),
        "it_begins_twice": (),
    }
    assert len(reports) == 3


def test_the_column_is_empty_for_the_core_as_it_is():
    assert answer(CATALOGUE["who_waited_is_never_released"].within) == ()
