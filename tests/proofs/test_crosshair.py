"""CrossHair on the core: what is confirmed, that it can be refuted, and that no event is left out."""

import importlib
import json
from dataclasses import replace
from typing import get_args

import pytest
import z3
from crosshair.core_and_libs import NoTracing
from proofs.crosshair import __main__ as command
from proofs.crosshair import engine, report
from proofs.crosshair.engine import IMPURE, RAISES, UNTYPED, Case, Contract, Verdict
from proofs.crosshair.report import CONTRACTS, Memory, Outcome
from proofs.mutation import crosshair_column
from proofs.mutation.core import CATALOGUE

from maitred.core import distributor, messages, monitor, server
from maitred.core.transition import Rejected, Transition

pytestmark = pytest.mark.properties

REFUTED = {
    "who_stops_waiting_stays_counted": "waiting_total_is_true",
    "a_restart_forgets_a_dialog": "rows_and_ports_agree",
    "who_asked_is_answered_for_ever": "an_answer_is_owed_only_while_deaf",
    "a_client_comes_on_another_ports_dialog": "clients_came_through_a_listener",
    "who_was_not_delivered_leaves": "who_is_accepted_is_counted",
    "what_is_out_of_date_is_sent": "nothing_out_of_date_is_to_be_sent",
    "what_is_issued_goes_first": "counts_are_issued_in_order",
    "a_dead_server_stays_counted": "processes_are_counted",
    "the_dead_are_noted_as_living": "living_is_true",
}
"""Mutants of the core, and which invariant CrossHair finds broken."""
LAWLESS = {
    "who_waited_is_never_released": "who_stops_waiting_is_released",
    "the_monitor_is_not_told_who_is_drained": "the_end_is_reported_last_and_once",
    "who_waits_is_not_watched": "who_starts_to_wait_is_stored",
    "who_waited_is_sent_before_its_release": "who_waited_is_released_before_the_hand_off",
    "the_hand_off_is_not_sent": "what_is_handed_off_is_the_request",
    "the_copy_of_an_accepted_client_is_kept": "a_copy_is_closed_only_when_it_may_be",
    "an_accept_is_issued_over_another": "an_accept_is_issued_where_one_becomes_outstanding",
    "a_dialog_is_not_begun": "a_dialog_is_kept_before_it_is_used",
    "a_not_ready_is_not_acknowledged": "counts_are_acknowledged",
    "the_rest_is_not_timed": "what_begins_is_timed",
    "a_dialog_is_not_kept": "the_monitor_is_sent_what_it_must_know",
    "an_ended_dialog_is_not_closed": "what_has_ended_is_closed",
    "an_accepted_client_is_not_delivered": "a_client_is_delivered_once_its_answer_is_sent",
    "the_count_is_one_too_low": "what_is_issued_is_numbered_and_counted",
    "what_was_not_issued_is_sent": "what_is_to_be_said_is_kept",
    "a_death_while_reading_is_ignored": "each_event_is_answered",
    "a_refused_client_is_counted": "who_is_served_is_whom_it_took",
    "a_closed_listener_is_struck_off": "listeners_are_let_be",
    "a_successor_begins_before_it_knows_who_waits": "a_distributor_is_sent_all_before_it_begins",
    "one_failed_address_fails_all": "addresses_are_let_be",
    "an_audit_is_of_the_first_server": "an_audit_is_of_every_server",
    "only_the_first_class_is_asked_to_close": "what_concerns_all_reaches_every_class",
    "a_server_is_created_for_the_first_class": "an_event_of_one_class_leaves_the_others",
    "no_listener_is_kept_while_it_stops": "what_it_is_sent_to_keep_is_kept",
    "every_class_has_the_maximum_of_the_first": "a_server_is_adopted_as_it_is_configured",
    "a_dead_distributor_is_told": "only_a_running_distributor_is_sent_messages",
    "a_failed_element_is_chosen": "servers_are_started_under_new_ids",
    "descendants_are_left_alive": "whoever_is_to_end_is_asked_once",
    "who_is_stored_is_not_shut_down": "who_leaves_the_store_is_let_go",
    "it_does_not_exit": "the_exit_is_last",
    "the_kill_delay_is_not_set": "what_is_due_is_timed",
}
"""Mutants whose step leaves a sound state, and which law of the effects it breaks."""
LATE = {
    "who_waited_is_sent_before_its_release",
    "the_monitor_is_not_told_who_is_drained",
    "who_is_stored_is_not_shut_down",
    "it_does_not_exit",
}
"""Of these, the ones that are shown to several contracts in vain first."""


def open_findings(outcomes):
    return [(f.contract, f.case, f.verdict.value, f.broken, f.example) for o in outcomes for f in o.open]


# ---------------------------------------------------------------- what is confirmed


LONG = {distributor.Received, distributor.BindRequested, messages.InitialMsg, messages.Adopt}
"""What has the most paths."""


def few(contract):
    """The quick cases; of what takes longest, only the first."""
    return contract.quick[:1] if LONG & {*contract.about} else contract.quick


@pytest.mark.timeout(0)
def test_a_cut_of_the_quick_cases_is_confirmed():
    """One contract of each machine is asked on every machine, whatever is recorded: that CrossHair works here."""
    short = [contract for contract in CONTRACTS.values() if not LONG & {*contract.about}]
    cut = {contract.machine: contract.name for contract in short}.values()
    outcomes = report.run(report.jobs(cut, few))
    assert {outcome.contract.machine for outcome in outcomes} == {*report.MACHINES}
    assert open_findings(outcomes) == []


@pytest.mark.minutes
@pytest.mark.timeout(0)
def test_the_quick_cases_are_confirmed():
    wanted = report.jobs(CONTRACTS, few)
    assert {name for name, _ in wanted} == set(CONTRACTS), "each contract has a quick case"
    outcomes = report.run(wanted)
    assert open_findings(outcomes) == []
    assert [o.contract.name for o in outcomes if not o.taken] == [], "each contract has a quick case that steps"


ENOUGH = 3
"""In so many cases of each contract the step is taken, at least."""


@pytest.mark.minutes
@pytest.mark.timeout(0)
def test_every_case_is_confirmed():
    outcomes = report.run(report.jobs(CONTRACTS))
    assert open_findings(outcomes) == []
    assert [outcome.contract.name for outcome in outcomes if outcome.verdict is not Verdict.CONFIRMED] == []
    assert {o.contract.name: o.confirmed for o in outcomes if o.confirmed < ENOUGH} == {}
    assert all(o.confirmed + o.declined == len(o.contract.cases) for o in outcomes)


def members(union):
    return set(get_args(union))


@pytest.mark.parametrize(
    ("machine", "kinds"),
    [
        ("distributor", members(distributor.Event)),
        ("distributor", members(distributor.Timer)),
        ("distributor", members(messages.FromServer)),
        ("server", members(server.Event)),
        ("server", members(messages.ToServer)),
        ("monitor", members(monitor.Event)),
        ("monitor", members(monitor.Timer)),
        ("monitor", members(messages.ToMonitor)),
    ],
)
def test_every_kind_of_event_has_a_contract(machine, kinds):
    about = {kind for contract in CONTRACTS.values() if contract.machine == machine for kind in contract.about}
    assert kinds - about == set()


def test_the_published_page_is_of_these_contracts():
    page = report.PAGE.read_text()
    missing = [name for name in CONTRACTS if f"| `{name}` |" not in page]
    assert missing == [], f"{report.PAGE.name} is stale: python -m proofs.crosshair --write"
    stale = [n for n, c in CONTRACTS.items() if f" of {len(c.cases)} |" not in row_of(page, n)]
    assert stale == [], f"{report.PAGE.name} is stale: python -m proofs.crosshair --write"


def row_of(page, name):
    return next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))


# ---------------------------------------------------------------- that it can be refuted


@pytest.mark.recorded(shortest=0.1)
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param(*item, marks=[pytest.mark.minutes] if item[0] in LATE else [])
        for item in (*REFUTED.items(), *LAWLESS.items())
    ],
)
def test_a_mutant_of_the_core_is_refuted(name, broken):
    finding = crosshair_column.refutation(CATALOGUE[name])
    assert finding is not None and broken in finding.broken, finding
    assert "=" in finding.example, "it names numbers"


def number_case():
    with NoTracing():
        return engine.number("state", 0), engine.number("event", 0)


def test_every_law_has_a_mutant_that_breaks_it():
    assert {law.__name__ for contract in CONTRACTS.values() for law in contract.laws} == {*LAWLESS.values()}


def test_a_law_that_is_not_kept_is_refuted():
    def nothing_is_sent(before, event, done):
        return done.effects == ()

    def nobody_is_there(before, event, done):
        return {}[event]

    made = contract(lambda state, event: Transition(None, ("something",)))
    finding = engine.run(replace(made, laws=(nothing_is_sent, nobody_is_there)), made.cases[0], 20)
    assert (finding.verdict, finding.broken) == (Verdict.REFUTED, ("nothing_is_sent", "nobody_is_there"))


def contract(step, make=number_case):
    return Contract("made up", "server", (), "", step, (Case("only", make),), ("only",))


def verdict(step, make=number_case, patience=20):
    made = contract(step, make)
    return engine.run(made, made.cases[0], patience)


def test_a_step_without_fault_is_confirmed():
    finding = verdict(lambda state, event: Transition(None, ()) if state < event else Rejected(REASON))
    assert (finding.verdict, finding.paths, finding.taken) == (Verdict.CONFIRMED, 2, 1)


REASON = next(iter(importlib.import_module("maitred.core.transition").Reason))


def needle(state, event):
    if state * 7 == event + 100_001:
        raise LookupError("found")
    return Rejected(REASON)


def test_an_exception_is_refuted_with_the_numbers_that_raise_it():
    finding = verdict(needle)
    assert finding.verdict is Verdict.REFUTED
    assert finding.broken == (f"{RAISES} LookupError",)
    numbers = dict(part.split("=") for part in finding.example.split(", "))
    assert int(numbers["state"]) * 7 == int(numbers["event"]) + 100_001


@pytest.mark.parametrize("nothing", [None, Rejected("because"), "rejected"])
def test_an_untyped_answer_is_refuted(nothing):
    assert verdict(lambda state, event: nothing).broken == (UNTYPED,)


def endpoint_case():
    with NoTracing():
        return server.EndpointState(sequence=engine.number("sequence", 0)), server.Acknowledged(messages.Acknowledge(0))


def spoil(state, event):
    object.__setattr__(state, "sequence", 1)
    return Transition(state, ())


def test_a_changed_argument_is_refuted():
    assert verdict(spoil, endpoint_case).broken == (IMPURE,)


def test_a_tree_that_is_changed_in_place_is_refuted():
    tree = server.Tree.of([(80, server.VirtualListener())])

    def make():
        with NoTracing():
            return server.EndpointState(tree, sequence=engine.number("sequence", 0)), None

    def change(state, event):
        state.listeners._root.value = server.VirtualListener(listening=True)
        return Transition(state, ())

    assert IMPURE in verdict(change, make).broken


def test_a_case_that_nothing_fits_is_not_confirmed():
    def make():
        with NoTracing():
            size = engine.number("size", 0)
            engine.assume(engine.term(size) < 0)
        return size, None

    assert verdict(lambda state, event: Transition(None, ()), make).verdict is Verdict.UNCONFIRMED


def test_a_search_that_does_not_end_is_not_confirmed():
    def count(state, event):
        while state > event:
            event += 1
        return Transition(None, ())

    assert verdict(count, patience=1).verdict is Verdict.UNCONFIRMED


def test_a_contract_whose_step_is_never_taken_is_not_confirmed():
    made = contract(lambda state, event: Rejected(REASON))
    outcome = Outcome(made, (engine.run(made, made.cases[0]),))
    assert outcome.findings[0].verdict is Verdict.CONFIRMED
    assert outcome.verdict is Verdict.UNCONFIRMED


def test_numbers_are_put_in_the_solvers_words():
    assert z3.is_true(z3.simplify(engine.term(3) == 3)) and z3.is_false(engine.truth(False))


class OnlyOnce(dict):
    """The numbers of a path: no two may have one name, as they would be one number."""

    def __setitem__(self, name, value):
        assert name not in self, f"two numbers are called {name}"
        super().__setitem__(name, value)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CONTRACTS)
def test_no_two_numbers_of_a_path_have_one_name(name, monkeypatch):
    monkeypatch.setattr(engine, "_drawn", OnlyOnce())
    made = CONTRACTS[name]
    case = max(made.cases, key=lambda case: len(case.label))
    assert engine.run(made, case, patience=0.1).verdict is not Verdict.REFUTED
    assert engine._drawn, "it has symbolic numbers"


# ---------------------------------------------------------------- what is remembered and reported


FINDING = engine.Finding("bound", "a case", Verdict.REFUTED, 3, 2, 1.5, ("index_is_true",), "clients_1=2")


def test_a_finding_is_remembered_until_a_text_changes(tmp_path, monkeypatch):
    job = ("bound", "a case")
    Memory(20, tmp_path).keep(job, FINDING)
    assert Memory(20, tmp_path).recall(job) == FINDING
    assert Memory(21, tmp_path).recall(job) is None
    monkeypatch.setattr(report, "_text", lambda machine: "another text")
    assert Memory(20, tmp_path).recall(job) is None
    assert all(json.loads(path.read_text())["contract"] == "bound" for path in tmp_path.glob("*.json"))


def test_the_page_hides_nothing():
    of = replace(CONTRACTS["bound"], cases=CONTRACTS["bound"].cases[:3])
    unsure = replace(FINDING, verdict=Verdict.UNCONFIRMED, broken=(), example="", case="another")
    page = report.page([Outcome(of, (FINDING, unsure))])
    assert "**0 of 1 contracts are confirmed" in page
    assert "*a case*: refuted, index_is_true: clients_1=2" in page
    assert "*another*: no counterexample within 2 s and 3 paths, not confirmed" in page
    assert "`bound`: 1 cases not asked yet" in page
    assert "| `bound` | refuted | 0 of 3 | 0 | 6 | 4 |" in page


def test_a_case_that_only_declines_is_distinguished():
    of = replace(CONTRACTS["bound"], cases=CONTRACTS["bound"].cases[:2])
    steps = replace(FINDING, verdict=Verdict.CONFIRMED, broken=(), example="")
    outcome = Outcome(of, (steps, replace(steps, case="another", taken=0)))
    assert (outcome.verdict, outcome.confirmed, outcome.declined) == (Verdict.CONFIRMED, 1, 1)
    page = report.page([outcome])
    assert "| `bound` | confirmed over all paths | 1 of 2 | 1 | 6 | 2 |" in page
    assert "2 cases, of which 1 are confirmed and 1 only decline" in page


def test_the_page_shows_every_law():
    page = report.PAGE.read_text()
    laws = [law.__name__ for contract in CONTRACTS.values() for law in contract.laws]
    assert [name for name in laws if f"- `{name}`: " not in page] == [], "python -m proofs.crosshair --write"


def test_what_was_not_asked_is_not_confirmed():
    finding = replace(FINDING, verdict=Verdict.CONFIRMED, broken=(), example="")
    outcome = Outcome(replace(CONTRACTS["bound"], cases=CONTRACTS["bound"].cases[:2]), (finding,))
    assert (outcome.unasked, outcome.verdict) == (1, Verdict.UNCONFIRMED)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((Verdict.CONFIRMED,), 0),
        ((Verdict.CONFIRMED, Verdict.UNCONFIRMED), 3),
        ((Verdict.UNCONFIRMED, Verdict.REFUTED), 1),
    ],
)
def test_the_command_reports_the_worst(monkeypatch, capsys, verdicts, status):
    findings = tuple(replace(FINDING, verdict=verdict) for verdict in verdicts)
    of = replace(CONTRACTS["bound"], cases=CONTRACTS["bound"].cases[: len(findings)])
    monkeypatch.setattr(command, "run", lambda *given, **options: [Outcome(of, findings)])
    assert command.main(["bound"]) == status
    assert "bound" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no such contract: nobody"),
        (["--patience", "0"], "--patience: 0 is no number of seconds above 0"),
        (["--write", "bound"], "--write takes no names"),
        (["--again", "--remembered"], "give one of them"),
    ],
)
def test_a_wrong_argument_is_a_plain_error(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_mutant_is_shown_to_the_contracts_that_come_to_it():
    names = {c.name for c in crosshair_column.asked(CATALOGUE["a_dialog_ends_and_its_answer_stays_owed"])}
    assert names == {"dialog_ended"}
    everywhere = {c.name for c in crosshair_column.asked(CATALOGUE["who_stops_waiting_stays_counted"])}
    assert {"peer_closed", "queue_timeout"} <= everywhere
    by_a_guard = crosshair_column.asked(CATALOGUE["an_address_that_nobody_asked_for_listens"])
    assert [c.name for c in by_a_guard][:2] == ["listening", "listening_failed"], "the nearest first"


@pytest.mark.timeout(600)
def test_the_column_covers_each_mutant():
    names = ["a_client_is_restored_twice", next(m.name for m in CATALOGUE.values() if m.module == "wire")]
    by_a_property = "a_dead_server_stays_counted"
    told_of = []
    found = crosshair_column.crosshair([CATALOGUE[name] for name in (*names, by_a_property)], lambda: told_of.append(1))
    assert found == {names[0]: ("restore: waiting_total_is_true",), names[1]: ()}
    assert len(told_of) == 3


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_the_unbent_core_would_not_be_taken_for_a_mutant():
    for name in REFUTED:
        plain = replace(CATALOGUE[name], new=CATALOGUE[name].old)
        assert crosshair_column.refutation(plain) is None
