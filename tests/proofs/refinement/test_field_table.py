"""The field table names every symbol and every field, and what it says is so."""

from collections import deque
from dataclasses import is_dataclass

import pytest
from proofs.refinement import field_table
from proofs.refinement.abstraction import Outside, abstract
from proofs.refinement.field_table import FIELDS, PAGE, UNTOLD, WITHOUT, every_field, names, table, told_by
from spec.relation.state import STATE

from maitred.core.tree import Tree
from maitred.model.world import ANY, Bounds, System

pytestmark = pytest.mark.properties


def test_every_symbol_is_told_once():
    symbols = {name for name, symbol in STATE.symbols.items() if not symbol.ghost}
    assert symbols == FIELDS.keys() | WITHOUT.keys()
    assert {name for name, of in FIELDS.items() if not of} <= WITHOUT.keys()


def test_every_field_is_told_or_it_is_said_why_not():
    every = set(every_field())
    assert {field for of in FIELDS.values() for field in of.split()} <= every
    assert {field for field in every if not told_by(field)} == UNTOLD.keys()


def test_the_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == table(), "python -m proofs.refinement.field_table --write"


def parts(value):
    """Every object of a named class within the value, itself first."""
    if isinstance(value, Tree):
        for item in value.items():
            yield from parts(item)
    elif isinstance(value, tuple) or is_dataclass(value):
        if hasattr(value, "_fields") or is_dataclass(value):
            yield value
            for name in names(type(value)):
                yield from parts(getattr(value, name))
        else:
            for item in value:
                yield from parts(item)


ROWS = {"DistributorState.servers", "ServerStatus.dialogs", "EndpointState.listeners", "World.guests"}
"""Tables of which only the keys, or the number, are meant: what their rows hold are fields of their own."""


def content(world, wanted):
    """What the world has of these fields, each with the row that it is of."""
    found = []
    for part in parts(world):
        kind = type(part).__name__
        row = [getattr(part, name, None) for name in ("server", "port", "place", "cookie")]
        for field in wanted:
            of, _, name = field.partition(".")
            if of == kind:
                value = getattr(part, name)
                found.append((field, row, [*value] if isinstance(value, Tree) and field in ROWS else value))
    return repr(found)


def worlds(bounds, most):
    """The first worlds of an exploration."""
    system, steady = System(bounds), System(bounds, steady=True)
    first = system.initial()
    seen, queue = {system.key(first)}, deque([first])
    while queue and len(seen) < most:
        world = queue.popleft()
        yield world
        for _, after, _ in steady.successors(world):
            normal = system.canonical(after)
            if system.key(normal) not in seen:
                seen.add(system.key(normal))
                queue.append(normal)


SYSTEMS = (
    Bounds(servers=2, clients=2, distributor_crashes=1, server_crashes=1, forked_children=1, descriptor_losses=1),
    Bounds(servers=1, clients=2, distributor_crashes=1, unsent=1, hang_ups=1, server_crashes=1, warm=True),
    Bounds(servers=1, clients=3, dynamic=1, creations=ANY, deletions=ANY, element_failures=1, elements=2, warm=True),
)


def contradictions(most):
    """Symbols of which two worlds have the same fields and different tables."""
    found = set()
    for bounds in SYSTEMS:
        known = {}
        for world in worlds(bounds, most):
            try:
                state = abstract(world, bounds, {}, {})
            except Outside:
                continue
            for symbol, of in field_table.FIELDS.items():
                domain = {place: value for place, value in state.tables.get(symbol, {}).items() if value is not None}
                said = known.setdefault((symbol, content(world, of.split())), domain)
                common = said.keys() & domain.keys()
                if any(said[place] != domain[place] for place in common):
                    found.add(symbol)
    return found


@pytest.mark.timeout(600)
@pytest.mark.recorded
def test_a_symbol_is_made_of_its_fields():
    assert contradictions(250) == set()


@pytest.mark.timeout(600)
def test_a_field_that_is_left_out_is_noticed(monkeypatch):
    monkeypatch.setattr(field_table, "FIELDS", {"resting": "ServerStatus.heard", "phase": "Place.server"})
    assert "phase" in contradictions(250)
