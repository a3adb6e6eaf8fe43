"""The bridge over the pinned configurations, to their last world: `python -m proofs.refinement.pinned_configurations`,
with ``--write`` kept.

`measured` compares the code with the relation in every world of every configuration that the relation models, in
processes of their own.  The exact result is kept in `proofs/kept/bridge`: how many worlds and steps were compared, and
how many steps the relation does not model, by kind.  `bridge_report` reads it, for the pages; a test compares it with a
run, so a step that is silently left out is noticed: of the tier *seconds* among the properties, of the tier *minutes*
in the campaign.

Where no step is outside the relation, the worlds are as many as the manifest pins: nothing was left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Final

from maitred.model.check.manifest import Configuration, load
from proofs import kept
from proofs.refinement.bridge import DEEP, MIDST, TRANSITIONS, Divergence, Tally, compare, compare_on_the_way

REPORTS: Final = kept.KEPT / "bridge"
TIER: Final = "seconds"
TIERS: Final = (TIER, "minutes")
LARGEST: Final = 50_000
"""Configurations with more states are left out: some hundred worlds are compared in a second."""
LENGTH: Final = 150
"""Steps of a walk."""
HIGH: Final = (0, 62, 250)
"""Where numbers begin on walks on which nothing is renumbered: some are soon past 64 and 256."""
FOUND: Final[Mapping[str, Mapping[int, str]]] = {
    "everything dies": {
        6: "a dead server's bind, read after its dialog has ended",
        12: "two servers that await one socket, with many words to the Monitor under way",
        19: "the end of the dialog on which a dead server owed, which opens the port of another",
        47: "two hand-offs to a dead server, on two ports, both not yet noticed to be in vain",
        125: "a dead server that is drained as its last dialog ends",
    }
}
"""Seeds of walks that came upon what the relation, or the abstraction, had not modelled."""


@dataclass(frozen=True)
class Row:
    """What the bridge found in one configuration."""

    slug: str
    worlds: int
    """In which the code and the relation were compared."""
    steps: int
    """Of the code, from these worlds, that are steps of the relation."""
    outside: Mapping[str, int]
    """Steps that the relation does not model, by what they are; what only they lead to was not compared."""
    taken: Mapping[str, int]
    """How often each transition was taken."""


def reason(one: Configuration) -> str | None:
    """Why the bridge is not asked about the configuration; None where it is."""
    if one.bounds.without:
        return f"does not assume {', '.join(assumption.value for assumption in one.bounds.without)}"
    if one.bounds.returns:
        return "has clients that come again under the same name"
    if (one.counts or {}).get("states", 0) > LARGEST:
        return f"has more than {LARGEST:,} states"
    return None


def compared(tier: str = TIER) -> list[Configuration]:
    """The configurations of the tier that are compared."""
    return [one for one in load() if one.tier == tier and reason(one) is None]


def not_compared(tier: str = TIER) -> dict[str, str]:
    """The others of the tier, and why they are not compared."""
    return {one.slug: why for one in load() if one.tier == tier and (why := reason(one)) is not None}


def here_and_there(worlds: int, walks: int, tally: Tally) -> Iterator[None]:
    """Compare in the first worlds of each configuration, and on walks within the deep bounds.

    Of these, so many and `FOUND`, and one without any renumbering, from large numbers on; where any worlds are wanted,
    all those of `MIDST` first.

    It yields after each piece, so that who has seen enough may stop.

    Raises:
        Divergence: the first difference.
    """
    if worlds:
        compare(MIDST, None, tally)
        yield
    for one in compared():
        compare(one.bounds, tally.worlds + worlds, tally)
        yield
    for place, (name, bounds) in enumerate(DEEP.items()):
        for seed in sorted({*range(walks), *FOUND.get(name, ())}):
            compare_on_the_way(bounds, f"{name} {seed}", LENGTH, tally)
            yield
        compare_on_the_way(bounds, f"{name} from above", LENGTH, tally, first=HIGH[place % len(HIGH)])
        yield


def row(slug: str) -> Row:
    """Compare in every world of the configuration of this name.

    Raises:
        Divergence: the first difference.
    """
    one = next(one for tier in TIERS for one in compared(tier) if one.slug == slug)
    tally = compare(one.bounds, None, Tally(), symmetric=one.symmetric)
    return Row(slug, tally.worlds, tally.steps, dict(sorted(tally.outside.items())), dict(sorted(tally.taken.items())))


def measured(slugs: Iterable[str], workers: int | None = None) -> Iterator[Row]:
    """Compare in every world of these configurations, each reported as soon as it is done.

    Args:
        slugs: of the configurations; those with the most states are begun with.
        workers: how many processes; as many as there are processors where it is not given.

    Raises:
        Divergence: the first difference in any of them.
    """
    states = {one.slug: (one.counts or {}).get("states", 0) for tier in TIERS for one in compared(tier)}
    largest_first = sorted(slugs, key=lambda slug: -states[slug])
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(row, slug) for slug in largest_first]):
            yield done.result()


def bridge_report(tier: str = TIER) -> dict[str, Row]:
    """The kept numbers of a tier, by configuration, in the order of the manifest."""
    known = _reports()
    return {one.slug: known[one.slug] for one in compared(tier) if one.slug in known}


def _reports() -> dict[str, Row]:
    return {slug: Row(slug, **content) for slug, content in kept.read(REPORTS).items()}


def keep(rows: Iterable[Row], tier: str = TIER) -> None:
    """Keep these rows of the tier, and what is kept of the others."""
    others = [row for each in TIERS if each != tier for row in bridge_report(each).values()]
    contents = [asdict(row) for row in (*others, *rows)]
    kept.write(REPORTS, {content.pop("slug"): content for content in contents}, str)


def table(rows: Mapping[str, Row]) -> str:
    """The rows as Markdown, with a sum, and what is not compared and why."""
    lines = ["| configuration | worlds | steps | outside the relation |", "|---|---:|---:|---|"]
    for one in rows.values():
        outside = "; ".join(f"{what}: {count:,}" for what, count in one.outside.items())
        lines.append(f"| {one.slug} | {one.worlds:,} | {one.steps:,} | {outside} |")
    worlds, steps = sum(one.worlds for one in rows.values()), sum(one.steps for one in rows.values())
    outside = f"{sum(sum(one.outside.values()) for one in rows.values()):,}"
    lines.append(f"| **all** | **{worlds:,}** | **{steps:,}** | **{outside}** |")
    lines += ["", *(f"- `{slug}` is not compared: it {why}." for slug, why in not_compared().items())]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if the numbers are the kept ones, or have been kept now."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.refinement.pinned_configurations", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help="keep the numbers in proofs/kept/bridge")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a configuration; all by default")
    parser.add_argument("--tier", choices=TIERS, default=TIER, help="of the manifest (default: %(default)s)")
    given = parser.parse_args(arguments)
    names = [one.slug for one in compared(given.tier)]
    if unknown := [name for name in given.names if name not in names]:
        parser.error(
            f"not a configuration that the relation models: {', '.join(unknown)}; there are {', '.join(names)}"
        )
    if given.write and given.names:
        parser.error("what is kept is of all configurations of a tier: --write takes no names")
    rows = []
    try:
        for one in measured(given.names or names):
            rows.append(one)
            print(f"{one.slug}: {one.worlds:,} worlds, {one.steps:,} steps, outside: {dict(one.outside)}", flush=True)
    except Divergence as divergence:
        print(f"the code and the relation differ: {divergence}")
        return 1
    if given.names:
        return 0
    untaken = [name for name in TRANSITIONS if not any(one.taken.get(name) for one in rows)]
    print(f"transitions that no step took: {', '.join(untaken) or 'none'}")
    if given.write:
        keep(rows, given.tier)
    same = bridge_report(given.tier) == {row.slug: row for row in rows}
    print("as kept" if same else "other than kept in proofs/kept/bridge: --write, once it is understood why")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
