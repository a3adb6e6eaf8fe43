"""Every mutant against every check: `python -m proofs.mutation.matrix`, and with ``--write`` the page about it.

Each mutant meets every property, always and eventually, within the bounds of its entry, and every test of the core, to
the first that fails; and, as checks that know no property of the model, the bridge to the relation and CrossHair's
contracts.  A check that is not here yet is one more entry in `COLUMNS`.  What comes out is the same in every run:
explorations are breadth first, and what Hypothesis draws comes from a fixed seed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from docs import campaigns
from rich.console import Console
from rich.progress import Progress

from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.safety import PROPERTIES
from maitred.model.search.fingerprints import Collision
from maitred.model.world import Bounds
from maitred.model.world.recorded_runs import RunError
from proofs.mutation import bridge_column
from proofs.mutation import crosshair_column as crosshair_column
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.checks import RAISED, RAISES, refuted, refuted_in_the_end, survived
from proofs.mutation.core.mutant import Mutant
from proofs.mutation.core.parallel import left_by_the_model, on_all_cores
from proofs.mutation.core.unit_tests import outcomes
from proofs.mutation.core.unseen import UNSEEN, Unseen
from proofs.mutation.shell import result as shell

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "generated" / "mutants.md"
TITLES: Final = {
    "distributor": "The Distributor",
    "server": "The Application Server's endpoint",
    "monitor": "The Monitor",
    "tree": "The tables",
    "wire": "The wire format",
    "record": "The trace format",
    "timing": "The durations",
}
TRIED: Final = (
    Bounds(servers=1, clients=2, distributor_crashes=1),
    Bounds(servers=1, clients=1, server_crashes=1, stops=2),
    Bounds(
        creations=0,
        servers=1,
        dynamic=1,
        clients=2,
        deletions=1,
        distributor_crashes=1,
        begins="a dynamic server serves",
    ),
)
"""Where mutants are tried whose entries have no bounds."""
ALWAYS: Final = frozenset(p.name for p in PROPERTIES.values() if p.kind == "always")
UNTRIED: Final = (Collision, RunError)
"""Worlds cannot be distinguished, as the tables they are made of are mutated; or a recorded run does not lead there."""
FEW: Final = 500
"""Known states after which such a trial ends."""
LIMIT: Final = 2_000
"""Known states after which an exploration ends: some need more, and are asked for by name."""

INTRODUCTION: Final = """\
Written by `python -m proofs.mutation.matrix --write`. A check that cannot fail shows nothing. So the core is mutated,
one slip of the pen at a time, and something must notice. Each mutant is an entry of
[`proofs/mutation/core/`](../../proofs/mutation/core/__init__.py), which has the very edit, and names its killers: in
**bold** here, asked for one by one by `pytest tests/proofs`. The others were found when every check was run: the
properties on every mutant, within the bounds of its entry; the tests of the core, to the first that fails, on those
that no property kills.

Two checks have columns of their own. *Bridge*: where the mutated code and the [relation](../../spec/relation/system.py)
part, in the first {worlds} worlds within the bounds of the entry. *CrossHair*: the first
[contract](../../proofs/crosshair/__init__.py) that the mutated step refutes, on its quick cases; asked of those that
no property kills. Neither can see every mutant: the relation does not model the stop, failing sockets, death
counts or audits that find somebody gone, and a step that keeps the invariants may still be the wrong one.
"""

UNSEEN_INTRODUCTION: Final = """\
Some mutants are killed by tests of the core alone, or only because their steps differ from the core's. Of each of
these a [closed list](../../proofs/mutation/core/unseen.py) says why no property of model or relation can see it; its
row has the mark. An entry that has neither a killer among properties and proofs nor a reason fails `pytest
tests/proofs`, and so does a reason whose mutant some property refutes, or which is not so of the very steps that were
explored.
"""

Column: TypeAlias = Callable[[Sequence[Mutant], Callable[[], None]], Mapping[str, tuple[str, ...]]]
"""Given the mutants, and what to call as each is done: what kills each of them, by the mutant's name."""


def properties(mutants: Sequence[Mutant], done: Callable[[], None]) -> Mapping[str, tuple[str, ...]]:
    """Every property that is refuted within the mutant's bounds; on all cores.  One without bounds is tried in some."""
    return on_all_cores(_refuted, mutants, done)


def _refuted(name: str) -> tuple[str, ...]:
    mutant = CATALOGUE[name]
    with mutant.mutated():
        if mutant.within is not None:
            if found := _properties(mutant.within, mutant.without, mutant.first):
                return found
            left = survived(mutant)
            return tuple(name for name in _named(mutant) if name not in left)
        tried = {name for bounds in TRIED for name in _always(bounds)}
    return tuple(name for name in (*PROPERTIES, RAISES) if name in tried)


def _named(mutant: Mutant) -> tuple[str, ...]:
    """What its entry says refutes it, some of which takes more states than are explored for every property."""
    return (*mutant.refutes, *mutant.eventually)


def _always(bounds: Bounds) -> frozenset[str]:
    try:
        return refuted(bounds, ALWAYS, FEW)
    except RAISED:
        return frozenset({RAISES})
    except UNTRIED:
        return frozenset()


def _properties(bounds: Bounds, without: Sequence[str], first: int | None = None) -> tuple[str, ...]:
    asked = [p.name for p in PROPERTIES.values() if p.kind == "always" or p.applies(bounds)]
    asked_in_the_end = [p.name for p in LIVENESS.values() if p.applies(bounds)]
    try:
        found = refuted(bounds, asked, LIMIT, first)
        if first is None:  # where numbers keep their size there is no end
            found |= refuted_in_the_end(bounds, asked_in_the_end, without, LIMIT)
    except RAISED:
        return (RAISES,)
    except UNTRIED:
        return ()
    return tuple(name for name in (*PROPERTIES, *LIVENESS) if name in found)


def core_tests(mutants: Sequence[Mutant], done: Callable[[], None]) -> Mapping[str, tuple[str, ...]]:
    """The first test of the core that fails: of the machines, the codec or the trace format.

    Those that die by a property of the model are not asked about: where no test fails, all of them run, half a minute.
    """
    left = [mutant.name for mutant in left_by_the_model(mutants, done)]
    killers = {}
    for outcome in outcomes(left, every_test=True):
        killers[outcome.name] = outcome.failed
        done()
    return killers


BESIDE: Final[Mapping[str, Column]] = {"bridge": bridge_column.answers, "CrossHair": crosshair_column.crosshair}
"""The checks that have a column of the page to themselves."""
COLUMNS: Final[Mapping[str, Column]] = {"properties": properties, "tests of the core": core_tests, **BESIDE}
"""Every kind of check, by its name."""

Matrix: TypeAlias = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By the name of the column and that of the mutant: what kills it."""


def matrix(mutants: Sequence[Mutant], console: Console) -> Matrix:
    """Run every column on the mutants, with a bar for each."""
    found: dict[str, Mapping[str, tuple[str, ...]]] = {}
    with Progress(console=console, transient=not console.is_terminal) as progress:
        for name, column in COLUMNS.items():
            bar = progress.add_task(name, total=len(mutants))
            found[name] = column(mutants, partial(progress.advance, bar))
    return found


# ================================================================ the page


def page(mutants: Sequence[Mutant], found: Matrix) -> str:
    """The page about every mutant and what kills it, as Markdown."""
    return "\n".join(_lines(mutants, found)) + "\n"


def _lines(mutants: Sequence[Mutant], found: Matrix) -> Iterator[str]:
    yield "# Mutants"
    yield ""
    yield from INTRODUCTION.format(worlds=bridge_column.WORLDS).splitlines()
    yield ""
    alone = ", ".join(f"{sum(map(bool, found.get(name, {}).values()))} by {name}" for name in COLUMNS)
    yield f"{len(mutants)} mutants; {_survivors(mutants, found)}. Killed: {alone}."
    for module, title in TITLES.items():
        of_module = [mutant for mutant in mutants if mutant.module == module]
        if of_module:
            yield f"\n## {title}\n"
            yield f"| mutant | kind | what users would suffer | killed by | {' | '.join(BESIDE)} |"
            yield f"|---|---|---|---|{'---|' * len(BESIDE)}"
            yield from (_row(mutant, found) for mutant in of_module)
    yield "\n## What no property sees\n"
    yield from UNSEEN_INTRODUCTION.splitlines()
    yield ""
    yield "| mark | reason | mutants |"
    yield "|---|---|---:|"
    for reason in Unseen:
        of_reason = [mutant for mutant in mutants if UNSEEN.get(mutant.name) is reason]
        if of_reason:
            yield f"| {_mark(reason)} | {reason.value} | {len(of_reason)} |"
    yield "\n## How often each property kills\n"
    yield "| property | mutants | of these it is named for |"
    yield "|---|---:|---:|"
    kills = Counter(name for by_name in found.values() for names in by_name.values() for name in names)
    named = Counter(name for mutant in mutants for name in (*mutant.refutes, *mutant.eventually))
    for name in (*PROPERTIES, *LIVENESS):
        if kills[name]:
            yield f"| `{name}` | {kills[name]} | {named[name]} |"
    yield from shell.section(shell.recorded())


def _survivors(mutants: Sequence[Mutant], found: Matrix) -> str:
    left = [mutant.name for mutant in mutants if _survives(mutant, found)]
    return f"survived: {', '.join(left)}" if left else "none survived"


def _survives(mutant: Mutant, found: Matrix) -> bool:
    """Whether nothing kills it, and something should."""
    killed = any(by_name.get(mutant.name) for by_name in found.values())
    return not killed and UNSEEN.get(mutant.name) is not Unseen.ONLY_ORDER


def _row(mutant: Mutant, found: Matrix) -> str:
    named = (*_named(mutant), *mutant.tests)
    others = [name for title, by_name in found.items() if title not in BESIDE for name in by_name.get(mutant.name, ())]
    cells = [f"**{_shown(name)}**" for name in named]
    others = [name for name in others if name not in named and not (mutant.breaks and name == RAISES)]
    cells += [_shown(name) for name in dict.fromkeys(name.partition("[")[0] for name in others) if name not in named]
    if mutant.breaks:
        cells.insert(0, f"**{RAISES}**")
    if mutant.name in UNSEEN:
        cells.append(_mark(UNSEEN[mutant.name]))
    within = f" ({_room(mutant)})" if mutant.within is not None else ""
    what = mutant.name.replace("_", " ")
    beside = [", ".join(found.get(title, {}).get(mutant.name, ())) for title in BESIDE]
    return f"| {' | '.join((what, mutant.kind.value, mutant.suffers, ', '.join(cells) + within, *beside))} |"


def _mark(reason: Unseen) -> str:
    """The reason as a row has it."""
    return f"*{reason.name.lower().replace('_', ' ')}*"


def _shown(name: str) -> str:
    """A property as it is called; of a test its own name without file and class."""
    return f"`{name.rpartition('::')[2]}`"


def _room(mutant: Mutant) -> str:
    """The bounds of the entry in words, and where its numbers begin."""
    assert mutant.within is not None, "only those are on the page"
    high = [f"all numbers from {mutant.first}"] if mutant.first is not None else []
    return ", ".join([rendered(mutant.within), *high])


def rendered(bounds: Bounds) -> str:
    """The bounds in words: what is not as by default."""
    plain = Bounds(clients=3)
    changed = {f.name: getattr(bounds, f.name) for f in fields(bounds)}
    words = []
    for name, value in changed.items():
        if value == getattr(plain, name):
            continue
        words.append(name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)


# ================================================================ the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if nothing survived."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.mutation.matrix", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; all by default")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in CATALOGUE]
    if unknown:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    if given.write and given.names:
        parser.error("the page is about every mutant: --write takes no names")
    mutants = [CATALOGUE[name] for name in given.names or CATALOGUE]
    console = Console(stderr=True)
    found = matrix(mutants, console)
    if given.write:
        PAGE.write_text(page(mutants, found))
        campaigns.record(PAGE)
    for mutant in mutants:
        killers = [name for by_name in found.values() for name in by_name.get(mutant.name, ())]
        print(f"{mutant.name}: {', '.join(killers) or 'SURVIVED'}")
    return int(any(_survives(mutant, found) for mutant in mutants))


if __name__ == "__main__":
    sys.exit(main())
