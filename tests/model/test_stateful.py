"""The closed system at sizes that no exploration exhausts: every property holds, and everything that can happen did.

The machine is `tests.model.stateful.ClosedSystem`.  That it can find what is wrong is shown by bending the core: it
must find the bend and shrink the run to a few actions.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.model.stateful import KINDS, Broken, ClosedSystem, Picking, Reached, shortened

from maitred.core import distributor, monitor, server
from maitred.model.world import ANY, REPEATABLE, Bounds, Budget

ROUNDS = 12
"""So often is walked before something counts as out of reach."""


def walk(reached, number, **changes):
    """Let the closed system run as the profile sets, but for these settings.

    A run that breaks something is made as short as can be, whether Hypothesis was asked to shrink it or not.

    Where the profile is one that does the same every time, what that is depends on the number alone.  The night and
    the day call this alike, so that each tries first what the other has kept.
    """

    def machine():
        return ClosedSystem(reached)

    wanted = settings(suppress_health_check=list(HealthCheck), report_multiple_bugs=False, **changes)
    if wanted.derandomize:
        seed(number)(machine)
    try:
        run_state_machine_as_test(machine, settings=wanted)
    except Broken as broken:
        raise shortened(broken) from broken


# ================================================================ the core as it is

ALL = [Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink]
WIDE = [phase for phase in ALL if phase is not Phase.target]


@pytest.mark.properties
@pytest.mark.recorded(shortest=0.1)
@pytest.mark.timeout(600)
def test_every_property_holds_and_everything_is_reached():
    """The first round goes for depth; further ones, as far as they are needed, for what was left out."""
    reached = Reached()
    for number in range(ROUNDS):
        # the same runs every time: whether everything is reached must not be a matter of luck
        walk(reached, number, max_examples=40, phases=WIDE if number else ALL, derandomize=True, database=None)
        missing = [*reached.missing()]
        if not missing:
            break
    assert missing == [], f"not reached in {reached.runs} runs of {reached.actions} actions"


@pytest.mark.campaign
def test_every_property_holds_all_night():
    """Where it fails, the run is kept where `MAITRED_EXAMPLES` names: see docs/how-to/share-counterexamples.md."""
    walk(Reached(), 0, parent=settings.get_profile("night"))


def test_what_was_not_reached_is_named():
    missing = [*Reached().missing()]
    assert {f"rule {kind}" for kind in KINDS} <= {*missing}
    assert {"rule things_go_on", "distributor: BindRequested", "server: HandOff", "monitor: GraceOver"} <= {*missing}
    assert {"server: Sent", "server: Interrupted"} <= {*missing}
    assert "rejection PeerClosed: NOT_HANG_UP" in missing
    assert "rejection Reported(Drained): UNKNOWN_SERVER" in missing
    assert "occurrence: a_waiter_is_seated" in missing


def test_what_was_reached_is_not_missing():
    reached = Reached()
    walk(reached, 0, max_examples=3, stateful_step_count=20, phases=[Phase.generate])
    missing = {*reached.missing()}
    assert reached.runs and reached.actions
    assert not {f"rule {name}" for name in reached.rules} & missing
    assert "monitor: Started" not in missing


FAULTS = {name: ANY if name in REPEATABLE else 2 for name in Budget._fields if name != "stops"}


@pytest.mark.slow
@pytest.mark.parametrize("turn", [3, 7, 11])
@pytest.mark.parametrize("stops", [0, 1])
@pytest.mark.parametrize("split", [{}, {"interruptions": 0}, {"room": 1}], ids=["split", "whole", "little room"])
def test_what_is_offered_is_all_that_may_happen_and_nothing_else(turn, stops, split):
    """On a walk that takes one way after another: `Picking` leaves nothing out of what `System` has."""
    faults = FAULTS | split
    bounds = Bounds(servers=2, dynamic=1, ports=2, elements=2, clients=4, stable=True, stops=stops, **faults)
    system = Picking(bounds, Reached().judge)
    world = system.beginning()
    for number in range(120):
        ways = {action: after for action, after, _ in system.successors(world)}
        offers = [offer for possible in system.offers(world).values() for offer in possible]
        picked = {action: after for offer in offers for action, after, _ in system.taken(world, offer)}
        assert picked == ways
        if not ways:
            break
        world = [*ways.values()][turn * number % len(ways)]
    assert stops or number == 119, "the walk is long"


# ================================================================ the core, bent


def a_timer_takes_the_request_back(monkeypatch):
    def fired(work, event):
        if isinstance(event.timer, distributor.HandOffTimeout):
            work.take_back(work.state.servers[event.timer.server], resting=True)
        else:
            before(work, event)

    before = distributor._ACTIONS[distributor.Fired]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Fired, fired)


def a_client_that_leaves_is_not_reported(monkeypatch):
    def disconnected(state, event):
        taken = before(state, event)
        return replace(taken, state=replace(taken.state, outbox=state.outbox))

    before = server._ACTIONS[server.Disconnected]
    monkeypatch.setitem(server._ACTIONS, server.Disconnected, disconnected)


def a_place_is_free_when_the_main_process_is_dead(monkeypatch):
    def exited(work, event):
        before(work, event)
        monitor._server_gone(work, event)

    before = monitor._ACTIONS[monitor.ServerExited]
    monkeypatch.setitem(monitor._ACTIONS, monitor.ServerExited, exited)


BENT = [
    (a_timer_takes_the_request_back, {"no_client_has_two_servers", "a_request_comes_back_only_from_the_server"}),
    (a_client_that_leaves_is_not_reported, {"the_count_is_exact_when_dialogs_are_quiet"}),
    (a_place_is_free_when_the_main_process_is_dead, {"never_more_servers_than_configured", "deaths_are_counted"}),
]


@pytest.mark.properties
@pytest.mark.recorded(shortest=0.1)
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("bend", "killers"), BENT, ids=[bend.__name__ for bend, _ in BENT])
def test_a_mutated_core_is_detected_and_the_run_is_short_and_rendered(bend, killers, monkeypatch):
    bend(monkeypatch)
    with pytest.raises(Broken) as caught:
        walk(Reached(), 0, max_examples=400, derandomize=True, database=None, phases=[Phase.generate])
    broken = caught.value
    text = str(broken)
    assert {*broken.names} & killers
    assert len(broken.path.steps) <= 40, text
    assert text.startswith(", ".join(broken.names))
    assert f"\n{len(broken.path.steps):3}. " in text, "every action is printed"
