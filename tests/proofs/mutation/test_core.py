"""Every check can fail: each mutant of the core is killed by each killer that its entry names, and nothing else is.

The unmutated core passes the same checks in the same bounds; every property, guard, effect and timer has its mutant.
"""

import ast
import importlib
import inspect
from collections import Counter
from dataclasses import replace

import pytest

pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")

from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.checks import RAISES, refuted, refuted_in_the_end, survived
from proofs.mutation.core.mutant import CannotMutate, Kind, Mutant, source
from proofs.mutation.core.steps import differing, explored
from proofs.mutation.core.unit_tests import UNMUTATED, outcomes
from proofs.mutation.core.unseen import NOWHERE, UNSEEN, Unseen, is_minded
from tests.core.driving import parts

from maitred.core import distributor, monitor, server, wire
from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.safety import PROPERTIES
from maitred.model.world import Bounds

MACHINES = {"distributor": distributor, "server": server, "monitor": monitor}
EXPLORED = [mutant for mutant in CATALOGUE.values() if mutant.within is not None]
ROOMS = {
    (mutant.within, mutant.first): [m for m in EXPLORED if (m.within, m.first) == (mutant.within, mutant.first)]
    for mutant in EXPLORED
}
HARMLESS = Mutant(
    "nothing_is_different",
    Kind.WRONG_CHOICE,
    "Nothing.",
    "distributor._Work.place",
    "self.report(Store(client))",
    "self.report(Store(client=client))",
    refutes=("store_has_exactly_those_who_wait",),
    within=Bounds(servers=1, clients=2, warm=True),
    eventually=("who_waits_is_seated_or_ends",),
)


def room(bounds):
    """The bounds in short: what is not as by default."""
    if not isinstance(bounds, Bounds):
        return None if bounds is None else f"first={bounds}"
    plain = Bounds(clients=3)
    given = {name: getattr(bounds, name) for name in Bounds.__dataclass_fields__}
    return ",".join(f"{name}={value}" for name, value in given.items() if value != getattr(plain, name))


# ================================================================ each is killed


@pytest.mark.properties
@pytest.mark.recorded(shortest=0.1)
@pytest.mark.parametrize("mutant", EXPLORED, ids=lambda mutant: mutant.name)
def test_it_is_killed_by_each_property_that_it_names(mutant):
    with mutant.mutated():
        assert survived(mutant) == frozenset()


@pytest.mark.properties
@pytest.mark.recorded(shortest=0.1)
@pytest.mark.parametrize(("bounds", "first"), ROOMS, ids=room)
def test_the_unbent_core_passes_the_same_checks(bounds, first):
    mutants = ROOMS[bounds, first]
    always = {name for mutant in mutants for name in mutant.refutes}
    assert refuted(bounds, always, first=first) == frozenset()
    for without in {mutant.without for mutant in mutants if mutant.eventually}:
        eventually = {name for m in mutants for name in m.eventually if m.without == without}
        assert refuted_in_the_end(bounds, eventually, without) == frozenset()


@pytest.mark.properties
@pytest.mark.recorded(also=["tests/core"])
@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", sorted({mutant.module for mutant in CATALOGUE.values()}))
def test_it_is_killed_by_each_test_that_it_names(module):
    names = [mutant.name for mutant in CATALOGUE.values() if mutant.module == module and mutant.tests]
    by_name = {outcome.name: outcome for outcome in outcomes(names)}
    assert by_name.keys() == set(names)
    assert {name: outcome.missing for name, outcome in by_name.items() if outcome.missing} == {}
    idle = {
        name: [test for test in CATALOGUE[name].tests if not any(f.partition("[")[0] == test for f in outcome.failed)]
        for name, outcome in by_name.items()
    }
    assert {name: tests for name, tests in idle.items() if tests} == {}


@pytest.mark.properties
@pytest.mark.recorded(also=["tests/core"])
@pytest.mark.timeout(600)
def test_the_unbent_core_passes_the_same_tests():
    (outcome,) = outcomes([UNMUTATED])
    assert outcome.ran and outcome.failed == ()


@pytest.mark.properties
def test_one_that_changes_nothing_is_killed_by_nothing():
    with HARMLESS.mutated():
        assert survived(HARMLESS) == {"store_has_exactly_those_who_wait", "who_waits_is_seated_or_ends"}


@pytest.mark.properties
def test_a_declared_break_down_that_does_not_happen_is_reported():
    with HARMLESS.mutated():
        assert RAISES in survived(replace(HARMLESS, breaks=True))


@pytest.mark.properties
def test_large_numbers_are_seen_only_where_they_begin_large():
    cut = CATALOGUE["who_is_released_has_an_arrival_cut_to_6_bits"]
    assert cut.first is not None
    with cut.mutated():
        assert refuted(cut.within, cut.refutes) == refuted(cut.within, cut.refutes, first=0) == frozenset()
        assert refuted(cut.within, cut.refutes, first=cut.first) == frozenset(cut.refutes)


# ================================================================ what no property sees


def is_seen(mutant):
    """Whether its entry names a killer among the properties of the model, or among the proofs."""
    return bool(mutant.refutes or mutant.eventually or mutant.breaks or mutant.proofs)


def test_the_closed_list_has_those_without_a_killer_among_properties_and_proofs_and_nobody_else():
    unseen = {mutant.name for mutant in CATALOGUE.values() if not is_seen(mutant)}
    assert unseen - UNSEEN.keys() == set(), "name a property and where it is refuted, or a reason in unseen.py"
    assert UNSEEN.keys() - unseen == set(), "strike it off unseen.py: its entry names a killer, or there is none such"


@pytest.mark.parametrize("reason", Unseen)
def test_every_reason_is_a_sentence_and_is_given_for_somebody(reason):
    assert reason.value.endswith(".")
    assert reason in UNSEEN.values()


@pytest.fixture(scope="module")
def steps():
    return explored()


@pytest.mark.minutes
@pytest.mark.timeout(600)
def test_a_reason_is_so_of_every_step_that_is_explored(steps):
    wrong = {
        name: next((asked for asked, *both in differing(CATALOGUE[name], steps) if is_minded(reason, *both)), None)
        for name, reason in UNSEEN.items()
    }
    assert {name: asked for name, asked in wrong.items() if asked is not None} == {}


@pytest.mark.properties
def test_a_reason_that_is_not_so_is_found_out():
    steps = explored([Bounds(servers=1, clients=1, warm=True)])
    differences = [both for _, *both in differing(CATALOGUE["who_is_taken_is_not_counted"], steps)]
    assert differences
    for reason in (*NOWHERE, Unseen.REPORTED):
        assert any(is_minded(reason, *both) for both in differences)


# ================================================================ each check has its mutant


def test_each_names_what_users_would_suffer_and_what_kills_it():
    for mutant in CATALOGUE.values():
        assert mutant.suffers.endswith("."), mutant.name
        killed = is_seen(mutant) or mutant.tests or UNSEEN.get(mutant.name) is Unseen.ONLY_ORDER
        assert killed, f"{mutant.name} is killed by nothing"
        explored = mutant.refutes or mutant.eventually or mutant.breaks
        assert mutant.within is not None or not explored, mutant.name
        assert mutant.within is None or explored or "bridge" in mutant.proofs, mutant.name
        assert mutant.within is not None or mutant.first is None, mutant.name


def test_no_two_make_the_same_edit():
    edits = Counter((mutant.where, mutant.old, mutant.new) for mutant in CATALOGUE.values())
    assert [edit for edit, times in edits.items() if times > 1] == []


def test_every_property_kills_one():
    always = {name for name, prop in PROPERTIES.items() if prop.kind == "always"}
    named = {name for mutant in CATALOGUE.values() for name in (*mutant.refutes, *mutant.eventually)}
    assert named <= PROPERTIES.keys() | LIVENESS.keys()
    assert (always | LIVENESS.keys()) - named == set()


def guards(text):
    """The places in the text of a module where a guard names the reason why it declines."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for function in ast.parse(text).body:
        if isinstance(function, ast.FunctionDef) and function.name.lstrip("_").startswith("guard"):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
                    yield starts[node.lineno - 1] + node.col_offset, f"{function.name}:{node.lineno}: {node.attr}"


@pytest.mark.parametrize("name", MACHINES)
def test_every_guard_is_dropped_by_one(name):
    text = source(MACHINES[name])
    assert text.isascii(), "places are counted in characters"
    spans = [m.span(text) for m in CATALOGUE.values() if m.module == name and m.kind is Kind.GUARD_DROPPED]
    bare = [what for place, what in guards(text) if not any(begin <= place < end for begin, end in spans)]
    assert len(spans) > 2
    assert bare == []


def drops(what, module):
    """Whether a mutant of the module takes a call of `what` out of its function."""
    call = f"{what}("
    return any(
        mutant.old.count(call) > mutant.new.count(call)
        for mutant in CATALOGUE.values()
        if module in (mutant.module, None)
    )


@pytest.mark.parametrize("name", MACHINES)
def test_every_effect_and_every_timer_is_dropped_by_one(name):
    machine = MACHINES[name]
    kinds = [*parts(machine.Effect), *(parts(machine.Timer) if hasattr(machine, "Timer") else ())]
    assert [kind.__name__ for kind in kinds if not drops(kind.__name__, name)] == []


def test_every_message_that_a_machine_sends_is_dropped_by_one():
    sent = {kind.__name__ for kind in wire.TAGS.values()} - {"BindRequest"}  # the server's shell sends this
    assert {name for name in sent if not drops(name, None)} == {"Adopt"}  # by two, which take out `adoption(`
    assert drops("self.adoption", "monitor")


# ================================================================ how a mutant is applied


def test_the_core_is_as_it_was_afterwards():
    function, mutant = distributor._Work.place, CATALOGUE["who_waits_is_not_stored"]
    before = function.__code__
    with mutant.mutated():
        assert function.__code__ is not before
    assert function.__code__ is before
    with pytest.raises(ZeroDivisionError), mutant.mutated():
        raise ZeroDivisionError
    assert function.__code__ is before


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_can_be_applied(name):
    with CATALOGUE[name].mutated():
        pass


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"where": "distributor._Work.nowhere"}, "no function"),
        ({"where": "distributor.GUARDS"}, "no function"),
        ({"old": "nothing of the kind"}, "0 times"),
        ({"old": "client"}, "times, should have it once"),
        ({"new": "self.report("}, "no Python"),
    ],
)
def test_one_that_cannot_be_applied_gives_the_reason(change, what):
    wrong = replace(HARMLESS, **change)
    with pytest.raises(CannotMutate, match=f"nothing_is_different: .*{what}"), wrong.mutated():
        pass


def test_a_property_and_a_static_method_can_be_bent():
    for name in ("what_is_owed_is_not_work", "the_load_before_the_client_is_compared"):
        where = CATALOGUE[name].where.split(".")
        found = inspect.getattr_static(getattr(importlib.import_module(f"maitred.core.{where[0]}"), where[1]), where[2])
        assert isinstance(found, (property, staticmethod))
