"""The field table: what each symbol of the relation is in the code, and which fields of the code it leaves out.

``python -m proofs.refinement.field_table`` prints it; ``--write`` writes `docs/generated/field-table.md`.  Which fields
a symbol is made of, its reader declares (`proofs.refinement.readers`).  Tests ask whether that is so: a reader reads
what it declares and nothing else, and in no two worlds do a symbol's fields agree and its tables differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Final

from spec.relation.state import STATE

from maitred.core import distributor, messages, monitor, server
from maitred.model import world
from proofs.refinement.readers import SYMBOLS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "generated" / "field-table.md"

STATES: Final[Mapping[str, tuple[type, ...]]] = {
    "The Distributor": (
        distributor.DistributorState,
        distributor.ServerStatus,
        distributor.Dialog,
        distributor.PortInfo,
        distributor.Seat,
    ),
    "The Application Server's endpoint": (server.EndpointState, server.VirtualListener),
    "The Monitor": (
        monitor.MonitorState,
        monitor.ClassState,
        monitor.ClassConfig,
        monitor.Replacement,
        monitor.Place,
        monitor.DistributorPlace,
        monitor.ElementState,
    ),
    "Values": (messages.Client, messages.Count),
    "The world around them, as the model plays it": (world.World, world.Group, world.Link, world.Kernel, world.Guest),
}
"""The classes that a state is made of."""

MIDST: Final = "of the midst of a step: nothing of it in a world, which is between steps"
GHOST: Final = "ghost: only the proofs speak of it"
FIRST: Final = "always 0: positions count from the first unread"

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    **{symbol: reader.fields for symbol, reader in SYMBOLS.items()},
    "lighter": ("Seat.load", "Seat.weight"),
}
"""For each symbol, the fields that its table is made of; that of `lighter` is arithmetic."""

WITHOUT: Final[Mapping[str, str]] = {
    "reordering": "of an action: whether its message overtook another",
    **dict.fromkeys(("initial_due", "holding", "hand", "dropping", "dropped"), MIDST),
    **dict.fromkeys(("down_head", "word_head"), FIRST),
}
"""For each symbol that has no reader and is no ghost, why; `lighter` has no table."""

KEY: Final = "names the row"
ROWS: Final = "a table: what its rows hold is modelled, field by field"
CONFIGURED: Final = "configured: follows from ClassConfig"
INDEX: Final = "an index, derived from other fields; an invariant of the core states that it is kept"
CHANGES: Final = "which wish makes a server leave, or another start, is left open: the relation allows it at any time"
DELAY: Final = "counts deaths: decides delays, and when a class is given up, which is outside the relation"

NOT_MODELLED: Final[Mapping[str, str]] = {
    "DistributorState.incarnation": "what it was started as: follows from DistributorPlace.incarnation",
    "DistributorState.waiting_limit": CONFIGURED,
    "DistributorState.fixed": "which ports a class has is left open: the set-up of sockets allows any",
    "DistributorState.ports": ROWS,
    "DistributorState.drainable": INDEX,
    "DistributorState.drained": INDEX,
    "DistributorState.outstanding": INDEX,
    "ServerStatus.server": KEY,
    "ServerStatus.max_clients": CONFIGURED,
    "ServerStatus.weight": "of its processing element: follows from ElementState.weight",
    "ServerStatus.full_at": "decides whether a time-out counts: they come at any time in the relation",
    "PortInfo.port": KEY,
    "PortInfo.free": f"{INDEX}; the relation chooses among all servers",
    "Seat.rank": "in PortInfo.free: follows from ServerStatus.rank",
    "Seat.server": KEY,
    "MonitorState.phase": "running: what closes is outside the relation",
    "MonitorState.classes": "one server class at a time: the others share nothing with it but processing elements",
    "MonitorState.elements": ROWS,
    "MonitorState.failure": "only of a Monitor that ends, which is outside the relation",
    "ClassState.config": ROWS,
    "ClassState.distributor": ROWS,
    "ClassState.places": ROWS,
    "ClassState.vacant": INDEX,
    "ClassState.proven": "decides when a class is given up, which is outside the relation",
    "ClassState.dynamic_deaths": DELAY,
    "ClassState.program": CHANGES,
    **dict.fromkeys((f"Replacement.{name}" for name in ("program", "before", "queue", "old")), CHANGES),
    "ClassConfig.static": "how many static servers there are is left open",
    "ClassConfig.elements": "on which element something starts is left open",
    "ClassConfig.listeners": "which ports a class has is left open",
    "ClassConfig.fixed": "which ports a class has is left open",
    "Place.deaths": DELAY,
    "Place.program": CHANGES,
    "DistributorPlace.phase": "follows from the process itself, World.life",
    "DistributorPlace.deaths": DELAY,
    "ElementState.processes": "on which element something starts is left open",
    "World.monitor": ROWS,
    "World.distributor": ROWS,
    "World.groups": ROWS,
    "World.kernel": ROWS,
    "World.budget": "what may still go wrong in a bounded exploration; the relation has no bounds",
    "Group.server": KEY,
    "Group.links": ROWS,
    "Group.endpoint": ROWS,
    "Group.requests": "requests to bind on their way: the set-up of dialogs is modelled more permissively",
    "Group.replies": "answers to them: the set-up of dialogs is modelled more permissively",
    "Link.port": KEY,
    "Link.program": "how far the program has come: it may bind, listen and close as it likes",
    "Group.held": "for the model's properties; follows from EndpointState.clients and Group.gone",
    "Group.offered": "for the model's properties; follows from ServerStatus.request",
    "Kernel.kept": "the world's own account; follows from ClassState.listeners",
    "Guest.at_distributor": "for the model's properties; follows from the Distributor's tables",
    "Guest.at_monitor": "for the model's properties; follows from ClassState.store",
    "Guest.void": "for the model's properties: a slip that no sound machine makes",
    "Guest.taken": "for the model's properties; the relation has the ghosts `taken` and `taken_twice`",
    "Kernel.accepted": "the world's own account, for the model's properties; the relation has `arrival`",
    "Guest.answered": "for the model's properties: explains a loss; the relation has the ghost `claimed`",
    "Guest.bereft": "for the model's properties: explains a loss; the relation has `broken` and `undelivered`",
    "Guest.unanswered": "for the model's properties: explains a loss; the relation says who is lost where it happens",
}
"""For each field of the code that no symbol models, why."""


def names(kind: type) -> list[str]:
    """The fields of a dataclass or of a named tuple."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    found: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]  # the other classes are named tuples
    return [*found]


def every_field() -> Iterator[str]:
    """Every field of every class that a state is made of, as ``Class.field``."""
    for kinds in STATES.values():
        yield from (f"{kind.__name__}.{name}" for kind in kinds for name in names(kind))


def modelled_by(field: str) -> list[str]:
    """The symbols whose tables are made of the field."""
    return [symbol for symbol, of in FIELDS.items() if field in of]


INTRODUCTION: Final = """\
# Code and relation, field by field

Written by `python -m proofs.refinement.field_table --write`. The [transition relation](../../spec/relation/system.py)
has a vocabulary of its own. For each symbol, [a reader](../../proofs/refinement/readers.py) makes its table from a
state of the code, and declares the fields that it reads. Tests ask whether that is true: a reader reads no other field,
and among explored worlds, whenever the fields named here are equal, so is the symbol.

*Rigid* symbols never change. *Ghosts* are remembered for proofs alone, and are no part of the code.
"""


def table() -> str:
    """The page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from INTRODUCTION.splitlines()
    yield "\n## From the relation to the code\n"
    yield "| symbol | arguments | means | in the code |"
    yield "|---|---|---|---|"
    for name, symbol in STATE.symbols.items():
        arguments = ", ".join(sort.name() for sort in symbol.arguments)
        rigid = "*rigid* " if symbol.rigid else ""
        where = GHOST if symbol.ghost else ", ".join(f"`{of}`" for of in FIELDS.get(name, ())) or WITHOUT[name]
        yield f"| `{name}` | {arguments} | {rigid}{symbol.meaning} | {where} |"
    yield "\n## From the code to the relation"
    for title, kinds in STATES.items():
        yield f"\n### {title}\n"
        yield "| field | modelled by |"
        yield "|---|---|"
        for kind in kinds:
            for name in names(kind):
                field = f"{kind.__name__}.{name}"
                by = ", ".join(f"`{symbol}`" for symbol in modelled_by(field))
                yield f"| `{field}` | {by or f'*not modelled*: {NOT_MODELLED[field]}'} |"


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.refinement.field_table", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[2])}")
    given = parser.parse_args(arguments)
    if given.write:
        PAGE.write_text(table(), encoding="utf-8")
    else:
        print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
