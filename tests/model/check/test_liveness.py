"""What must happen does, in every fair run; and each check can fail, for want of an assumption or of a line of code."""

import sys
from dataclasses import replace
from functools import cache

import pytest
from tests.model.outcome import shown

pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")

from maitred.core import distributor, monitor
from maitred.core.messages import Accepted, Adopt, Drained, InitialMsg, Restore
from maitred.model.check.checker import Verdict
from maitred.model.check.liveness import LIVENESS, MissingLibraryError, UnknownPropertyError, check_liveness, explore
from maitred.model.claims.fairness import RULES, Fairness, UnknownRuleError, assumed, named
from maitred.model.world import ANY, Bounds, Budget, System

pytestmark = [pytest.mark.properties, pytest.mark.recorded(shortest=0.1, also=["docs/explanation/liveness.md"])]

LEAVING = "clients keep leaving"
CONFIGURATIONS = {
    "the start": Bounds(servers=1, clients=1),
    "clients come again": Bounds(servers=1, clients=3, waiting_limit=1, returns=True, warm=True),
    "two servers": Bounds(servers=2, clients=2, returns=True, warm=True),
    "two ports": Bounds(servers=1, clients=2, ports=2, returns=True, warm=True),
    "the Distributor dies while servers start": Bounds(servers=1, clients=0, distributor_crashes=1),
    "the Distributor dies": Bounds(servers=1, clients=2, distributor_crashes=1, returns=True, warm=True),
    "a child outlives its parent": Bounds(servers=1, clients=1, server_crashes=1, forked_children=1, warm=True),
    "a processing element fails": Bounds(servers=1, clients=1, elements=2, element_failures=1, warm=True),
    "stopped, gracefully or at once": Bounds(servers=1, clients=1, stops=2, warm=True),
    "a dynamic server comes and goes": Bounds(servers=1, clients=2, dynamic=1, creations=1, deletions=ANY, warm=True),
    "a dynamic server comes": Bounds(servers=1, clients=2, dynamic=1, creations=ANY, warm=True),
    "a hand-off is not answered": Bounds(servers=1, clients=1, hand_off_timeouts=1, warm=True),
    "a listener closes": Bounds(servers=1, clients=2, listener_closes=1, warm=True),
    "descriptors lost": Bounds(servers=1, clients=2, descriptor_losses=1, reorders=1, returns=True, warm=True),
    "the kernel declines": Bounds(servers=1, clients=2, unsent=1, accept_failures=ANY, warm=True),
    "listening fails": Bounds(servers=1, clients=1, listen_failures=1, repeated_binds=1, fixed=False),
    "hang-ups and time-outs": Bounds(servers=1, clients=2, hang_ups=1, queue_timeouts=ANY, returns=True, warm=True),
    "hang-ups": Bounds(servers=1, clients=2, hang_ups=2, returns=True, warm=True),
    "a process dies in the midst of a step": Bounds(servers=1, clients=1, interruptions=1, warm=True),
    "a dialog is full": Bounds(servers=1, clients=2, room=1, warm=True),
}


@cache
def explored_within(bounds):
    """Everything, once; only for the core as it is."""
    return explore(bounds)


def explored(name):
    return explored_within(CONFIGURATIONS[name])


def verdicts(result):
    return {on.property.name: on.verdict for on in result.verdicts}


# ================================================================ what holds


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_holds(name):
    result = explored(name).decide()
    assert result.complete and result.states < 20_000
    assert result.ok and result.counterexample is None, shown(result)
    assert explored(name).worlds.lacks == {}, "whatever the guards allow was asked for"


def test_each_property_has_its_occasion_in_one_of_them():
    met = {on.property.name for name in CONFIGURATIONS for on in explored(name).decide().verdicts if on.occasions}
    assert LIVENESS.keys() - met == {"a_lost_connection_is_forgotten"}  # it has a test of its own


def test_each_is_a_sentence():
    for prop in LIVENESS.values():
        assert prop.text.endswith("."), prop.name
        assert prop.subject in ("", "client", "place")


def test_a_waiter_need_not_count_on_others_leaving_where_it_is_timed_out():
    name = "hang-ups and time-outs"
    timed = explored(name).decide(without=[LEAVING])
    assert timed.ok, shown(timed)
    untimed = explored(name).decide(without=[LEAVING, "the queue's time-out ends"])
    assert untimed["who_waits_is_seated_or_ends"].verdict is Verdict.VIOLATED, shown(untimed)


def test_a_stop_ends_though_nobody_leaves_and_no_program_heeds_it():
    found = explored("stopped, gracefully or at once").decide(without=[LEAVING])["a_stop_ends"]
    assert found.verdict is Verdict.HOLDS, shown(found)


def test_who_hangs_up_is_let_go_though_nobody_leaves():
    result = explored("hang-ups").decide(without=[LEAVING])
    let_go = result["who_hangs_up_while_waiting_is_let_go"]
    assert let_go.verdict is Verdict.HOLDS, shown(let_go)
    assert result["who_waits_is_seated_or_ends"].verdict is Verdict.VIOLATED, shown(result)


def test_a_lost_connection_is_found(monkeypatch):
    """Audits are far apart: none comes while what the last one found is still on its way."""
    far_apart(monkeypatch)
    bounds = Bounds(servers=1, clients=2, leaks=1, audits=ANY, returns=True, warm=True)
    found = explore(bounds, ["a_lost_connection_is_forgotten", "who_waits_is_seated_or_ends"])
    result = found.decide()
    assert result.ok, shown(result)
    without = found.decide(without=["audits come due"])
    assert set(verdicts(without).values()) == {Verdict.VIOLATED}, shown(without)


def far_apart(monkeypatch):
    def audit_is_under_way(world):
        mail = [m for group in world.groups for link in group.links for m in link.to_server]
        return bool(world.pending) or any(isinstance(m, InitialMsg) and m.forget for m in mail)

    def successors(self, world):
        for action, after, wrong in before(self, world):
            again = isinstance(action.what, distributor.Fired) and action.what.timer == distributor.AuditDue()
            if not (again and audit_is_under_way(world)):
                yield action, after, wrong

    before = System.successors
    monkeypatch.setattr(System, "successors", successors)


# ================================================================ what is assumed


NEEDED = {
    # The assumption: a configuration, what else is left out, and a property that does not hold without it.
    LEAVING: ("clients come again", (), "who_waits_is_seated_or_ends"),
    "kills are performed": ("a child outlives its parent", (), "a_condemned_server_frees_its_place"),
    "deaths are reported": ("a child outlives its parent", (), "a_static_server_is_up_again"),
    "hang-ups are reported": ("hang-ups", (LEAVING,), "who_hangs_up_while_waiting_is_let_go"),
    "the Distributor reads its servers": ("the start", (), "a_hand_off_is_settled"),
    "the Distributor reads its Monitor": ("the start", (), "the_distributor_is_up_again"),
    "the Distributor takes what it brought upon itself": ("the start", (), "a_static_server_is_up_again"),
    "the Distributor accepts": ("the start", (), "who_is_in_the_backlog_is_seated_or_ends"),
    "the Monitor reads its Distributor": ("the start", (), "a_static_server_is_up_again"),
    "programs bind": ("the start", (), "a_static_server_is_up_again"),
    "programs listen": ("the start", (), "a_static_server_is_up_again"),
    "programs go on accepting": ("the start", (), "a_hand_off_is_settled"),
    "binds are answered": ("the start", (), "a_static_server_is_up_again"),
    "binds are repeated": ("the Distributor dies while servers start", (), "a_static_server_is_up_again"),
    "restarts come due": ("the Distributor dies", (), "the_distributor_is_up_again"),
    "rests end": ("descriptors lost", (), "who_waits_is_seated_or_ends"),
    "accepts are tried again": ("the kernel declines", (), "who_is_in_the_backlog_is_seated_or_ends"),
    "kill delays end": ("stopped, gracefully or at once", (), "a_condemned_server_frees_its_place"),
    "the grace ends": ("stopped, gracefully or at once", (LEAVING,), "a_stop_ends"),
    "the queue's time-out ends": ("hang-ups and time-outs", (LEAVING,), "who_waits_is_seated_or_ends"),
    "create delays end": ("a dynamic server comes", (LEAVING,), "who_waits_is_seated_or_ends"),
    "delete delays end": ("a dynamic server comes and goes", (), "an_idle_dynamic_server_stops"),
    "servers send what is to be said": ("a dialog is full", (), "a_hand_off_is_settled"),
    "what was deferred is sent": ("a dialog is full", (), "who_waits_is_seated_or_ends"),
    "interruptions are found": ("a process dies in the midst of a step", (), "a_hand_off_is_settled"),
    "lost hand-offs time out": ("a process dies in the midst of a step", (), "a_hand_off_is_settled"),
    "faults cease": ("the kernel declines", (), "who_is_in_the_backlog_is_seated_or_ends"),
}


@pytest.mark.parametrize("rule", NEEDED)
def test_is_needed(rule):
    """Without the assumption something is refuted that holds with it; so it is neither idle nor free."""
    name, others, prop = NEEDED[rule]
    held = explored(name).decide(without=others)[prop]
    assert held.verdict is Verdict.HOLDS, shown(held)
    refuted = explored(name).decide(without=(*others, rule))[prop]
    assert refuted.verdict is Verdict.VIOLATED and refuted.lasso is not None, shown(refuted)
    check_lasso(refuted.lasso, RULES.keys() - {rule, *others})


def test_every_assumption_is_shown_to_be_needed():
    assert {rule.name for rule in RULES.values() if rule.fairness is not Fairness.NONE} == {*NEEDED, "audits come due"}


def check_lasso(lasso, rules):
    """It arises where it claims, is not settled from then on, comes round to where it began, and is fair."""
    worlds = [lasso.path.start, *(step.world for step in lasso.path.steps)]
    assert lasso.property.arises(worlds[lasso.arises], lasso.subject)
    assert not any(lasso.property.settled(world, lasso.subject) for world in worlds[lasso.arises :])
    round_ = worlds[lasso.cycle_start :]
    assert round_[0] == round_[-1]
    system = System(lasso.path.bounds)
    steps = zip(round_, lasso.path.steps[lasso.cycle_start :], strict=False)
    taken = {named(before, step.action, step.world) for before, step in steps}
    possible = [
        {named(world, action, after) for action, after, _ in system.successors(world) if after != world}
        for world in round_
    ]
    fairness = assumed(lasso.path.bounds)
    for name in set.intersection(*possible) - taken - {*lasso.unasked}:
        assert name.rule not in rules or fairness[name.rule] is not Fairness.WEAK, f"unfair to {name}"
    tale = "\n".join(lasso.lines())
    assert "for ever" in tale and lasso.property.name in tale


def test_an_unknown_assumption_is_refused():
    with pytest.raises(UnknownRuleError, match="clients keep leaving"):
        check_liveness(Bounds(servers=1, clients=1), without=["clients keep staying"])
    with pytest.raises(UnknownRuleError, match="'clients come'"):
        check_liveness(Bounds(servers=1, clients=1), without=["clients come"])


def test_an_unknown_property_is_refused():
    with pytest.raises(UnknownPropertyError, match="who_waits"):
        check_liveness(Bounds(servers=1, clients=1), names=["who_waits"])


def test_without_scipy_it_names_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "maitred.model.check.cycles")
    monkeypatch.delattr("maitred.model.check.cycles")
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingLibraryError, match=r"needs scipy\.sparse.*maitred\[verify\]"):
        check_liveness(Bounds(servers=1, clients=1))


def test_what_is_cut_short_claims_nothing():
    result = check_liveness(Bounds(servers=2, clients=2), max_states=100)
    assert not result.complete and result.ok, shown(result)
    assert {*verdicts(result).values()} == {Verdict.INCOMPLETE, Verdict.NOT_APPLICABLE}


def test_what_never_arises_is_not_claimed():
    result = check_liveness(Bounds(servers=1, clients=1, dynamic=1, creations=1, warm=True))
    assert result["a_static_server_is_up_again"].verdict is Verdict.NOT_APPLICABLE, shown(result)
    idle = result["a_server_that_is_asked_for_comes_or_is_declined"]  # the only client never waits
    assert idle.verdict is Verdict.NOT_REACHED and idle.occasions == 0 and not result.ok, shown(result)


def test_progress_is_reported():
    reports = []
    check_liveness(Bounds(servers=2, clients=1), progress=reports.append, max_states=3_000)
    assert all(p.states > 0 and p.queue >= 0 and p.rate > 0 for p in reports)


def test_what_a_budget_rations_promises_nothing():
    rule = "the queue's time-out ends"
    assert assumed(Bounds(clients=3, queue_timeouts=2))[rule] is Fairness.NONE
    assert assumed(Bounds(clients=3, queue_timeouts=ANY))[rule] is Fairness.WEAK
    assert assumed(Bounds(clients=3, queue_timeouts=ANY), [rule])[rule] is Fairness.NONE


def test_no_hand_off_is_excused_as_lost_where_no_reader_can_have_died():
    rule = "lost hand-offs time out"
    assert assumed(Bounds(clients=3, interruptions=1))[rule] is Fairness.WEAK
    assert assumed(Bounds(clients=3, room=1))[rule] is Fairness.NONE


def test_every_action_has_a_name():
    """Whatever happens in a world in which everything may go wrong."""
    bounds = Bounds(**dict.fromkeys(Budget._fields, 1), servers=1, dynamic=1, clients=2, elements=2, stable=True)
    system = System(bounds)
    met, queue, seen = set(), [system.initial()], set()
    while queue and len(seen) < 3_000:
        world = queue.pop(0)
        for action, after, _ in system.successors(world):
            name = named(world, action, after)
            assert name.rule in RULES and name.where
            met.add(name.rule)
            if system.key(after) not in seen:
                seen.add(system.key(after))
                queue.append(after)
    assert len(met) > 15


# ================================================================ each can fail


MUTANTS = {}


def mutant(prop, *without, **bounds):
    """Register: the property that must be refuted, what is not assumed, within which bounds."""

    def register(bend):
        MUTANTS[bend.__name__] = (bend, prop, without, Bounds(**{"warm": True, "servers": 1} | bounds))
        return bend

    return register


def forget(monkeypatch, machine, event, forgotten):
    """The machine's step for the event lacks the effects of which `forgotten` is true."""

    def action(work, event):
        before(work, event)
        work.effects = [effect for effect in work.effects if not forgotten(effect)]

    before = machine._ACTIONS[event]
    monkeypatch.setitem(machine._ACTIONS, event, action)


def sets(timer):
    return lambda effect: (
        isinstance(effect, (monitor.SetTimer, distributor.SetTimer)) and isinstance(effect.timer, timer)
    )


def sends(message):
    def is_sent(effect):
        sends = isinstance(effect, (distributor.SendMonitor, distributor.Send, monitor.SendDistributor))
        return sends and isinstance(effect.message, message)

    return is_sent


@mutant("a_static_server_is_up_again", clients=0, server_crashes=1)
def a_restart_is_never_due(monkeypatch):
    forget(monkeypatch, monitor, monitor.ServerGone, sets(monitor.RestartServer))


@mutant("the_distributor_is_up_again", clients=0, distributor_crashes=1)
def the_distributors_restart_is_never_due(monkeypatch):
    forget(monkeypatch, monitor, monitor.DistributorExited, sets(monitor.RestartDistributor))


@mutant("a_static_server_is_up_again", clients=0, element_failures=1, element_returns=1)
def nothing_starts_when_an_element_returns(monkeypatch):
    forget(monkeypatch, monitor, monitor.ElementRestored, sets(monitor.RestartServer))


@mutant("a_condemned_server_frees_its_place", clients=0, server_crashes=1, forked_children=1)
def nobody_is_killed(monkeypatch):
    forget(monkeypatch, monitor, monitor.ServerExited, lambda effect: isinstance(effect, monitor.Kill))


@mutant("a_stop_ends", LEAVING, clients=1, stops=1)
def the_grace_never_ends(monkeypatch):
    forget(monkeypatch, monitor, monitor.StopRequested, sets(monitor.GraceOver))


@mutant("a_condemned_server_frees_its_place", clients=0, stops=1)
def who_ignores_sigterm_is_left_alone(monkeypatch):
    forget(monkeypatch, monitor, monitor.Reported, sets(monitor.KillDelay))


@mutant("the_table_is_exact_again", clients=0, distributor_crashes=1)
def a_restarted_distributor_asks_nobody(monkeypatch):
    forget(monkeypatch, distributor, Adopt, sends(InitialMsg))


@mutant("the_dead_leave_the_table", clients=0, server_crashes=1)
def the_dead_are_kept_in_the_table(monkeypatch):
    monkeypatch.setattr(distributor, "_forget_if_gone", lambda work, status: None)


@mutant("who_waits_is_seated_or_ends", clients=2, distributor_crashes=1)
def who_waited_is_not_restored(monkeypatch):
    forget(monkeypatch, monitor, monitor.Fired, sends(Restore))


@mutant("who_waits_is_seated_or_ends", clients=3, returns=True)
def the_last_to_come_is_served_first(monkeypatch):
    def next_to_seat(work):
        waiting = (client for info in work.state.ports.values() if info.free for client in info.waiting)
        return max(waiting, default=None)

    monkeypatch.setattr(distributor._Work, "next_to_seat", next_to_seat)


@mutant("who_waits_is_seated_or_ends", clients=1, descriptor_losses=1)
def who_refused_rests_for_ever(monkeypatch):
    forget(monkeypatch, distributor, distributor.Received, sets(distributor.RestOver))


@mutant("who_waits_is_seated_or_ends", LEAVING, clients=2, queue_timeouts=ANY)
def who_waits_may_wait_for_ever(monkeypatch):
    def wait(work, client):
        before(work, client)
        del work.effects[-1]

    before = distributor._Work.wait
    monkeypatch.setattr(distributor._Work, "wait", wait)


@mutant("who_hangs_up_while_waiting_is_let_go", LEAVING, clients=2, hang_ups=1)
def nobody_watches_who_waits(monkeypatch):
    def wait(work, client):
        before(work, client)
        del work.effects[-2]

    before = distributor._Work.wait
    monkeypatch.setattr(distributor._Work, "wait", wait)


@mutant("who_is_in_the_backlog_is_seated_or_ends", clients=2)
def only_the_first_accept_is_issued(monkeypatch):
    def accept(work, info):
        before(work, info)
        work.effects = [effect for effect in work.effects if not isinstance(effect, distributor.Accept)]

    before = distributor._Work.accept
    monkeypatch.setattr(distributor._Work, "accept", accept)


@mutant("who_is_in_the_backlog_is_seated_or_ends", clients=1, accept_failures=1)
def a_failed_accept_is_not_tried_again(monkeypatch):
    forget(monkeypatch, distributor, distributor.AcceptFailed, sets(distributor.AcceptRetry))


@mutant("a_hand_off_is_settled", clients=1)
def an_answer_settles_nothing(monkeypatch):
    def received(work, event):
        if isinstance(event.message, Accepted):
            work.update(
                replace(work.state.servers[event.server], count=event.message.count), work.state.servers[event.server]
            )
        else:
            before(work, event)

    before = distributor._ACTIONS[distributor.Received]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Received, received)


@mutant("an_idle_dynamic_server_stops", clients=2, dynamic=1, creations=1, deletions=ANY)
def nobody_hears_that_a_server_is_drained(monkeypatch):
    def report(work, message):
        if not isinstance(message, Drained):
            before(work, message)

    before = distributor._Work.report
    monkeypatch.setattr(distributor._Work, "report", report)


@mutant("a_server_that_is_asked_for_comes_or_is_declined", clients=2, dynamic=1, creations=1, deletions=ANY)
def a_request_for_a_server_is_ignored(monkeypatch):
    monkeypatch.setattr(monitor, "_create", lambda work, class_id: None)


@pytest.mark.parametrize("name", MUTANTS)
def test_killed(name, monkeypatch):
    bend, prop, without, bounds = MUTANTS[name]
    bend(monkeypatch)
    result = check_liveness(bounds, [prop], max_states=20_000, without=without)
    assert result[prop].verdict is Verdict.VIOLATED and not result.ok, shown(result)
    assert result.counterexample is result[prop].lasso, shown(result)
    check_lasso(result[prop].lasso, RULES.keys() - {*without})


@pytest.mark.parametrize("name", MUTANTS)
def test_the_unbent_core_passes(name):
    """The mutants are killed by what was bent, not by the bounds."""
    _, prop, without, bounds = MUTANTS[name]
    found = explored_within(bounds).decide(without)[prop]
    assert found.verdict is Verdict.HOLDS, shown(found)
