"""Where the induction begins is where the code begins: the relation's `initial` holds of the code's first world."""

from dataclasses import replace

import pytest
import z3
from proofs.refinement import readers
from proofs.refinement.abstraction import abstract, canonical_form
from proofs.refinement.bridge import TRANSITIONS, Tally, _compare, _given
from proofs.refinement.interpreter import State, compiled, places
from proofs.refinement.traces import BEGINS, GHOSTS, _begun
from proofs.refinement.z3_interpreter import symbols_of
from spec.relation.state import NOW, STATE
from spec.relation.system import initial

from maitred.core import monitor
from maitred.model.world import Bounds, System
from maitred.model.world import system as world_system

pytestmark = pytest.mark.properties

SMALL = {
    "one of each": Bounds(servers=1, clients=1),
    "two ports": Bounds(servers=1, clients=2, ports=2),
    "the first bind decides": Bounds(servers=1, clients=1, fixed=False),
    "unequal elements": Bounds(servers=3, clients=1, elements=2),
    "dynamic": Bounds(servers=1, dynamic=2, clients=3, max_clients=2),
    "warm": Bounds(servers=1, clients=1, warm=True),
    "warm, the first bind decides": Bounds(servers=2, clients=1, fixed=False, warm=True),
    "warm, dynamic, two ports": Bounds(servers=1, dynamic=1, clients=2, ports=2, warm=True),
}
INITIAL = initial(NOW)
READ = sorted(name for name in symbols_of([INITIAL]) if name in readers.SYMBOLS)
"""The symbols that `initial` is about and that are read from the code; the others are ghosts."""


def before_the_start(bounds):
    """The world before the Monitor has started, and the same after it, as a system makes them."""
    made = []

    def draft(machines, world):
        made.append(world)
        return plain(machines, world)

    plain = world_system.Draft
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_system, "Draft", draft)
        after = System(replace(bounds, warm=False)).initial()
    return made[0], after


def first_state(bounds):
    """The abstraction of the first world; its servers are those that are about to be started.

    The Monitor's phase alone is set: one that is not running yet is nothing that the relation has a word for.
    """
    world, after = before_the_start(bounds)
    assert world.monitor.phase is monitor.Phase.NEW
    running = world._replace(monitor=replace(world.monitor, phase=monitor.Phase.RUNNING))
    started, _ = _given(world, after)
    state = abstract(running, bounds, {}, started)
    return State(state.tables, state.domains, dict(GHOSTS))


@pytest.mark.parametrize("bounds", SMALL.values(), ids=SMALL)
def test_it_holds_of_the_first_world(bounds):
    state = first_state(bounds)
    assert len(state.domains["Server"]) == bounds.servers
    assert len(state.domains["Client"]) == bounds.clients
    assert BEGINS(state, {})


@pytest.mark.parametrize("bounds", SMALL.values(), ids=SMALL)
def test_what_the_monitor_starts_first_is_what_the_relation_starts(bounds):
    state, (world, after) = first_state(bounds), before_the_start(bounds)
    for name, parameters in _begun(monitor.step(world.monitor, monitor.Started()).effects, 0):
        assert TRANSITIONS[name].refused(state, parameters) is None
        state = TRANSITIONS[name].after(state, parameters)
    assert canonical_form(state) == canonical_form(abstract(after, bounds, {}, {}))


@pytest.mark.parametrize("bounds", [one for one in SMALL.values() if one.warm], ids=[x for x in SMALL if "warm" in x])
def test_a_warm_world_is_reached_by_steps_of_the_relation(bounds):
    system, steady = System(bounds), System(bounds, steady=True)
    world, steps = System(replace(bounds, warm=False)).initial(), 0
    while True:
        after = next((after for action, after, _ in system.successors(world) if system.only_starts(action)), None)
        if after is None:
            break
        compared = _compare(steady, bounds, world, Tally(), False, None)
        keys = {system.key(system.seal(system.canonical(one))) for one in compared}
        assert system.key(after) in keys
        world, steps = after, steps + 1
    assert system.key(world) == system.key(system.initial())
    assert steps > 5


# ---------------------------------------------------------------- and it can fail


def wrong(value):
    """Another value of the same kind."""
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else {"absent": "up"}[value]


@pytest.mark.parametrize("symbol", READ)
def test_a_reader_that_is_wrong_is_noticed(symbol, monkeypatch):
    bounds = SMALL["dynamic"]
    state, reader = first_state(bounds), readers.SYMBOLS[symbol]
    sorts = tuple(sort.name() for sort in STATE.symbols[symbol].arguments)
    mutated = {place: OTHER.get(symbol, wrong)(state.value(symbol, *place)) for place in places(state, sorts)}
    monkeypatch.setitem(readers.SYMBOLS, symbol, reader._replace(read=lambda machines: mutated))
    assert not BEGINS(first_state(bounds), {})


OTHER = {"creation": lambda value: "requested", "weight": lambda value: 0, "max_clients": lambda value: 0}


@pytest.mark.parametrize("place", range(len(INITIAL.children())))
def test_each_part_of_it_is_about_the_first_world(place):
    mutated = [z3.Not(part) if i == place else part for i, part in enumerate(INITIAL.children())]
    assert not compiled(z3.And(mutated))(first_state(SMALL["dynamic"]), {})
