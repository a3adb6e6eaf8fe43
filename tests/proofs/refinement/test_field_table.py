"""The field table names every symbol and every field, and it is true."""

import contextlib
import random
import sys
from collections import deque
from dataclasses import is_dataclass

import pytest
from proofs.refinement import explored_fields, field_table
from proofs.refinement.abstraction import NotModelled, abstract
from proofs.refinement.bridge import DEEP
from proofs.refinement.field_table import (
    FIELDS,
    KEY,
    NOT_MODELLED,
    PAGE,
    ROWS,
    STATES,
    WITHOUT,
    every_field,
    modelled_by,
    names,
    table,
)
from proofs.refinement.readers import ANSWERS, SYMBOLS, Reader, Scene
from spec.relation.state import STATE

from maitred.core.tree import Tree
from maitred.model.world import ANY, Bounds, System

pytestmark = pytest.mark.properties


def test_every_symbol_has_a_reader_or_a_reason_why_not():
    symbols = {name for name, symbol in STATE.symbols.items() if not symbol.ghost}
    assert symbols == FIELDS.keys() | WITHOUT.keys()
    assert not FIELDS.keys() & WITHOUT.keys()
    assert FIELDS.keys() - SYMBOLS.keys() == {"lighter"}


def test_every_field_is_read_or_has_a_reason_why_not():
    every = set(every_field())
    assert {field for of in FIELDS.values() for field in of} <= every | set(explored_fields.every_field())
    assert {field for field in every if not modelled_by(field)} == NOT_MODELLED.keys()


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


TABLES = {"DistributorState.servers", "ServerStatus.dialogs", "EndpointState.listeners", "World.guests"}
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
                found.append((field, row, [*value] if isinstance(value, Tree) and field in TABLES else value))
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
            except NotModelled:
                continue
            for symbol, of in field_table.FIELDS.items():
                domain = {place: value for place, value in state.tables.get(symbol, {}).items() if value is not None}
                said = known.setdefault((symbol, content(world, of)), domain)
                common = said.keys() & domain.keys()
                if any(said[place] != domain[place] for place in common):
                    found.add(symbol)
    return found


# ---------------------------------------------------------------- what a reader reads

NUMBERS = {"Count.sequence", *(f"{kind.__name__}.count" for kind in ANSWERS)}
LEADING = TABLES | NUMBERS | {field for field, why in NOT_MODELLED.items() if why in (KEY, ROWS)}
"""Fields that lead to a row or a message, or name it: any reader may read these."""


WALKS = {"interrupted": 19, "dynamic servers": 2, "interrupted with room": 53}
"""Seeds of walks: on one of them at least, each declared field is read."""


def walk(name, seed, length=150):
    """The worlds on a random walk, as far as the relation models them, each as the arguments of a scene."""
    bounds = DEEP[name]
    system, dice, found = System(bounds, steady=True), random.Random(seed), []
    world = system.initial()
    for _ in range(length):
        with contextlib.suppress(NotModelled):
            abstract(world, bounds, {}, {})
            found.append((world, bounds, {}, {}, 0))
        following = [after for _, after, _ in system.successors(world)]
        if not following:
            break
        world = dice.choice(following)
    return found


@contextlib.contextmanager
def recorded(monkeypatch):
    """The set of the fields of states and messages that are read meanwhile, but for comparing and hashing."""
    found = set()

    def recorder(kind):
        plain, fields = kind.__getattribute__, {*names(kind)}

        def read(self, name):
            if name in fields and sys._getframe(1).f_code.co_name not in ("__eq__", "__hash__"):
                found.add(f"{kind.__name__}.{name}")
            return plain(self, name)

        return read

    with monkeypatch.context() as patch:
        for kind in {kind for of in (STATES, explored_fields.CLASSES) for kinds in of.values() for kind in kinds}:
            patch.setattr(kind, "__getattribute__", recorder(kind))
        yield found


def misdeclared(scenes, monkeypatch):
    """By symbol: what its reader reads and does not declare, and what it declares and reads in none of these worlds.

    The domains and the list of copies, which all readers have in common, are made before.
    """
    common = [{name: getattr(Scene(*of), name) for name in ("integers", "clients", "servers")} for of in scenes]
    undeclared, unread = {symbol: set() for symbol in SYMBOLS}, {symbol: {*of.fields} for symbol, of in SYMBOLS.items()}
    with recorded(monkeypatch) as found:
        for of, known in zip(scenes, common, strict=True):
            for symbol, reader in SYMBOLS.items():
                scene = Scene(*of)
                scene.__dict__.update(known)
                found.clear()
                reader.read(scene)
                undeclared[symbol] |= found - LEADING - {*reader.fields}
                unread[symbol] -= found
    return {s: (undeclared[s], unread[s]) for s in SYMBOLS if undeclared[s] or unread[s]}


def test_a_reader_reads_what_it_declares(monkeypatch):
    scenes = [scene for name, seed in WALKS.items() for scene in walk(name, seed)]
    assert misdeclared(scenes, monkeypatch) == {}


def test_a_reader_that_does_not_is_noticed(monkeypatch):
    monkeypatch.setitem(SYMBOLS, "heard", Reader("heard", ("ServerStatus.known",), SYMBOLS["heard"].read))
    scenes = walk("from the start", 0, 20)
    assert misdeclared(scenes, monkeypatch)["heard"] == ({"ServerStatus.heard"}, {"ServerStatus.known"})


@pytest.mark.timeout(600)
@pytest.mark.recorded
def test_a_symbol_is_made_of_its_fields():
    assert contradictions(250) == set()


@pytest.mark.timeout(600)
def test_a_field_that_is_left_out_is_noticed(monkeypatch):
    monkeypatch.setattr(field_table, "FIELDS", {"resting": ("ServerStatus.heard",), "phase": ("Place.server",)})
    assert "phase" in contradictions(250)
