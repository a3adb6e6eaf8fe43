"""Which fields are explored with more than one value, and which of them the bridge compares: a table without a blank.

``python -m proofs.refinement.explored_fields`` prints it; ``--write`` writes `docs/generated/explored-fields.md`.  A
field that has one value in everything that is explored is a field of which no check sees whether a machine heeds it;
one that the bridge does not compare may differ between code and relation.  So each field of each message, of each row
of the machines' tables and of each timer is looked up in the configurations of the manifest: `seen` says in which of
them it has several values.  What never has is in `CONSTANT`, with the reason; what the bridge does not compare has its
reason in `NOT_MODELLED` here, or in that of `proofs.refinement.field_table`.  A reason that is not needed any more is
an error, like one that is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from maitred.core import distributor, messages, monitor
from maitred.core.tree import Tree
from maitred.model.check import manifest
from maitred.model.check.manifest import TIERS, Configuration
from maitred.model.search.explorer import Enquiry, Explorer, Observer
from maitred.model.world import System
from proofs.refinement import field_table

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "generated" / "explored-fields.md"
MOST: Final[Mapping[str, int]] = {"seconds": 4_000, "minutes": 40_000}
"""Worlds of each configuration that are looked at, breadth first, by its tier."""
ENOUGH: Final = 2
"""Values of a field: with so many it varies."""


def members(union: Any) -> tuple[type, ...]:  # Any: a type form
    """The classes of which a union is made."""
    if get_origin(union) in (Union, UnionType):
        return tuple(kind for part in get_args(union) for kind in members(part))
    return (union,)


CLASSES: Final[Mapping[str, tuple[type, ...]]] = {
    "Values": field_table.STATES["Values"],
    "Messages to a server": (*members(messages.ToServer), *members(messages.ControlToServer)),
    "Messages of a server": (*members(messages.FromServer), *members(messages.ControlFromServer)),
    "Messages of the Monitor": members(messages.ToDistributor),
    "Messages to the Monitor": members(messages.ToMonitor),
    **{who: field_table.STATES[who] for who in ("The Distributor", "The Application Server's endpoint", "The Monitor")},
    "The Distributor's timers": members(distributor.Timer),
    "The Monitor's timers": members(monitor.Timer),
}
"""Every class whose fields are asked after, under the titles of the page."""

ONE_CLASS: Final = (
    "the model has one server class; a Monitor of two with different maxima and elements is driven in"
    " `tests/core/test_two_classes.py`"
)
CONSTANT: Final[Mapping[str, str]] = {
    "DynamicRest.attempt": (
        "decides a delay only; two such deaths in a row take a run that is too long, and are made in"
        " `tests/core/test_monitor.py`"
    ),
    "DeleteDelay.server": (
        "several dynamic servers that are idle at once take a run that is too long; they are distinguished in"
        " `tests/core/test_distributor.py`"
    ),
    "ListenFailed.errno": "the kernel's word, which is only reported; the model has one reason why listening fails",
    **dict.fromkeys(
        (
            "RestartServer.class_id",
            "DynamicRest.class_id",
            "RestartDistributor.class_id",
            "ServerStable.class_id",
            "DistributorStable.class_id",
            "StartWarning.class_id",
            "KillDelay.class_id",
            "DrainOver.class_id",
        ),
        ONE_CLASS,
    ),
}
"""Of each field that has one value in everything that is explored: why."""

SET_UP: Final = "the set-up of dialogs and sockets is modelled more permissively: any answer, at any time"
AUDITS: Final = "an audit, which is outside the relation"
RUN_OUT: Final = "timers run out at any time in the relation"
NOT_MODELLED: Final[Mapping[str, str]] = {
    "InitialMsg.forget": AUDITS,
    "BindReply.port": SET_UP,
    "BindReply.errno": SET_UP,
    "BindRequest.port": SET_UP,
    "BindRequest.address": SET_UP,
    "Acknowledge.sequence": "acknowledgements change nothing, which a property of the model asks",
    "Adopt.max_clients": "configured: follows from ClassConfig; the property is `rows_are_as_configured`",
    "Adopt.weight": "of its processing element: the property is `rows_are_as_configured`",
    "KeepListener.address": SET_UP,
    "DropListeners.port": "only while the system closes, which is outside the relation",
    "ListenFailed.port": SET_UP,
    "ListenFailed.address": SET_UP,
    "ListenFailed.errno": SET_UP,
    "Allow.dynamic": "in the relation the Distributor may read any number, at any time",
}
"""Of each field of a message that the bridge does not compare: why.  Timers have one reason, `RUN_OUT`."""

Seen: TypeAlias = Mapping[str, str]
"""By the field: the configuration in which it has several values; or ``one | other``, two in which it has different
ones."""


def every_field() -> Iterator[str]:
    """Every field that is asked after, as ``Class.field``."""
    for kinds in CLASSES.values():
        for kind in kinds:
            yield from (f"{kind.__name__}.{field.name}" for field in fields_of(kind))


_ASKED: Final = frozenset(kind for kinds in CLASSES.values() for kind in kinds)


class _Values:
    """The values of each field, as far as `ENOUGH`."""

    def __init__(self) -> None:
        self.found: dict[str, set[Any]] = {}  # Any: values of every field
        self._walked: dict[int, object] = {}

    def walk(self, value: object) -> None:
        """Look into a component, which is kept: so that its id remains its own."""
        if isinstance(value, Tree):
            for item in value.items():
                self.walk(item)
        elif isinstance(value, tuple) or is_dataclass(value):
            if id(value) in self._walked:
                return
            self._walked[id(value)] = value
            names = field_table.names(type(value)) if is_dataclass(value) or hasattr(value, "_fields") else None
            for name in names if names is not None else range(len(value)):  # type: ignore[arg-type]  # a plain tuple
                part = getattr(value, name) if isinstance(name, str) else value[name]  # type: ignore[index]  # as above
                if isinstance(name, str) and type(value) in _ASKED:
                    known = self.found.setdefault(f"{type(value).__name__}.{name}", set())
                    if len(known) < ENOUGH:
                        known.add(part)
                self.walk(part)


def values(configuration: Configuration) -> Mapping[str, set[Any]]:  # Any: as above
    """Up to `ENOUGH` values of each field in the first worlds of the configuration, its events and effects included."""
    system = System(configuration.bounds, symmetric=configuration.symmetric)
    Explorer(lambda: Enquiry(system, Observer())).run(max_states=MOST[configuration.tier])
    found = _Values()
    for part in system.components():
        found.walk(part)
    return found.found


def seen(configurations: Iterable[Configuration]) -> Seen:
    """Where each field that varies does, in the order of the configurations, as far as they are needed."""
    wanted = set(every_field()) - {*CONSTANT}
    within: dict[str, str] = {}
    first: dict[str, tuple[str, set[Any]]] = {}  # Any: as above
    between: dict[str, str] = {}
    for configuration in configurations:
        if configuration.tier != TIERS[0] and wanted <= {*within, *between}:
            break
        for field, found in values(configuration).items():
            if len(found) >= ENOUGH:
                within.setdefault(field, configuration.slug)
            elif field in first and first[field][1] != found:
                between.setdefault(field, f"{first[field][0]} | {configuration.slug}")
            else:
                first.setdefault(field, (configuration.slug, found))
    return {**between, **within}


def compared(field: str) -> str:
    """The symbols by which the bridge compares the field, else why it does not; empty where neither is known."""
    symbols = field_table.modelled_by(field)
    if symbols:
        return ", ".join(f"`{symbol}`" for symbol in symbols)
    why = field_table.NOT_MODELLED.get(field) or NOT_MODELLED.get(field)
    if why is None and field.partition(".")[0] in _TIMERS:
        why = RUN_OUT
    return f"*no*: {why}" if why else ""


_TIMERS: Final = frozenset(kind.__name__ for title in CLASSES if "timers" in title for kind in CLASSES[title])


def blanks(found: Seen) -> list[str]:
    """What the table lacks, and what it states without need, a sentence each."""
    every = set(every_field())
    wrong = [
        f"{field}: one value in all that is explored, and no reason" for field in sorted(every - {*found, *CONSTANT})
    ]
    wrong += [
        f"{field}: neither compared, nor is there a reason why not" for field in sorted(every) if not compared(field)
    ]
    wrong += [
        f"{field}: stated to be constant, and explored with several values" for field in CONSTANT if field in found
    ]
    for table in (CONSTANT, NOT_MODELLED):
        wrong += [f"{field}: there is no such field" for field in table if field not in every]
    return wrong


INTRODUCTION: Final = """\
# What is explored, and compared, field by field

Written by `python -m proofs.refinement.explored_fields --write`. A field that never varies in what is explored is one
of which no check can see whether it is used. So each field of each message, row and timer is looked up in the
[configurations](../../spec/configurations.md), in the first {seconds:,} worlds of those that
take seconds and, where that does not do, the first {minutes:,} of those that take minutes. The second column names the
first in which it has several values, or two in which it has different ones. The third says by which symbol of the
[relation](field-table.md) the [bridge](../../proofs/refinement/bridge.py) compares it with the code.
"""


def table(found: Seen) -> str:
    """The page."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Seen) -> Iterator[str]:
    yield from INTRODUCTION.format(**MOST).splitlines()
    for title, kinds in CLASSES.items():
        rows = [f"{kind.__name__}.{field.name}" for kind in kinds for field in fields_of(kind)]
        if not rows:
            continue
        yield f"\n## {title}\n"
        yield "| field | several values in | compared by |"
        yield "|---|---|---|"
        for field in rows:
            where = f"`{found[field]}`" if field in found else f"*constant*: {CONSTANT.get(field, '')}"
            yield f"| `{field}` | {where.replace(' | ', '`, and another in `')} | {compared(field)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where the table would have a blank."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.refinement.explored_fields", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[2])}")
    given = parser.parse_args(arguments)
    found = seen(c for c in manifest.load() if c.tier in MOST)
    wrong = blanks(found)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        return 1
    if given.write:
        PAGE.write_text(table(found), encoding="utf-8")
    else:
        print(table(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
