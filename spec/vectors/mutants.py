"""Which mutants of the core the vectors notice: ``python -m spec.vectors.mutants --write`` writes the page about it.

Each mutant of the catalogue (`proofs.mutation.core`) is put in the place of an implementation: it takes the vectors'
steps, plays the traces, reads and writes the packets, to the first answer that is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Mutant
from rich.console import Console
from rich.progress import track

from maitred.core import wire
from maitred.vectors import codec, compare, files

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "generated" / "vectors-and-mutants.md"
BESIDE: Final = {
    "record": "The trace format of a running instance is not part of the vectors.",
    "timing": "How long a timer runs is not part of a step: a step only says which timer is set.",
}
"""Modules whose mutants no vector can notice."""
_WHY: Final = {
    "It is in what makes a first state, which a vector gives, or lists what may happen: no step runs it.": """
        server_ids_begin_at_zero dynamic_places_begin_one_late dynamic_places_begin_one_early one_dynamic_server_fewer
        one_dynamic_server_more one_static_server_fewer one_static_server_more a_distributors_timer_is_told_one_ahead
        a_dynamic_rests_timer_is_told_one_ahead a_servers_timer_is_told_one_ahead
    """,
    "An abstract state has the order of ranks, and not their numbers, which only this changes.": """
        a_rank_is_left_out a_newcomers_rank_is_left_out
    """,
    "It shows only in a later choice among equals: no trace is long enough, or has the servers for it.": """
        choices_are_not_numbered ranks_end_at_twice_the_servers ranks_begin_again_after_64
    """,
    "It takes 64 servers or clients, one after another: no step that was looked at has so many.": """
        server_ids_begin_again_after_64 who_is_restored_has_an_arrival_cut_to_6_bits
        who_is_stored_has_an_arrival_cut_to_6_bits
    """,
    "It takes more at once, of classes, ports, servers, clients or deaths, than any vector has.": """
        only_one_binder_is_answered a_failed_element_is_left_by_the_first_class_alone
        a_server_is_created_for_the_first_class the_first_class_is_sent_the_failure
        a_successor_is_sent_no_more_than_may_wait one_of_a_servers_deaths_is_forgotten
        one_of_a_distributors_deaths_is_forgotten only_the_first_class_returns_to_an_element
    """,
    "How many processes run where follows from the places; that the count was wrong shows in a later choice.": """
        a_dead_distributor_stays_counted
    """,
    "A message that fits no packet has no bytes, so that no vector can hold it.": """
        a_packet_of_any_size_is_written numbers_of_any_size_are_written
    """,
    "A vector has the content of a table, and neither its shape nor its digest.": """
        a_trees_shape_depends_on_its_history sorted_keys_make_a_chain unequal_trees_are_equal
    """,
}
UNNOTICED: Final = {name: why for why, names in _WHY.items() for name in names.split()}
"""The other mutants that no vector notices, and why."""
INTRODUCTION: Final = """\
# Vectors and mutants

Written by `python -m spec.vectors.mutants --write`. The [vectors](../../spec/vectors/README.md) should fail an
implementation that is wrong. So each [mutant of the core](mutants.md) is put in the place of one: it is given every
step, trace and packet. The first answer that is wrong, by the comparison of `maitred.vectors.compare`, notices it.
"""


class Vectors:
    """All of them, read once."""

    def __init__(self) -> None:
        """Read them."""
        self.steps = [*files.steps()]
        self.traces = [*files.traces()]
        self.packets = [*files.packets()]

    def notice(self, mutant: Mutant) -> str:
        """The id of the first vector whose answer is wrong under the mutant; empty where none is."""
        with mutant.mutated():
            if mutant.module == "wire":
                return next(self._packets(), "")
            of = mutant.module
            return next(self._steps(of), "") or next(self._traces(of), "")

    def _steps(self, of: str) -> Iterator[str]:
        for vector in self.steps:
            if of in (vector.machine, "tree"):
                try:
                    state = codec.decode_state(vector.machine, vector.state)
                    answer = codec.take(vector.machine, state, codec.decode_event(vector.machine, vector.event))
                    said = codec.encode_outcome(answer)
                except Exception:  # whatever a mutated core may raise: no answer
                    yield vector.id
                    continue
                if said != vector.then and compare.check(vector.machine, vector.then, said):
                    yield vector.id

    def _traces(self, of: str) -> Iterator[str]:
        for trace in self.traces:
            if of in (trace.machine, "tree"):
                try:
                    wrong = next(compare.along(trace.machine, trace), "")
                except Exception:  # as above
                    wrong = "raises"
                if wrong:
                    yield trace.id

    def _packets(self) -> Iterator[str]:
        for packet in self.packets:
            try:
                message = wire.decode(packet.bytes)
                right = codec.encode(wire.Message, message) == packet.message and wire.encode(message) == packet.bytes
            except wire.WireError:
                right = packet.message is None
            except Exception:  # as above
                right = False
            if not right:
                yield packet.id


def reason(mutant: Mutant) -> str:
    """Why no vector notices the mutant; empty where one should."""
    return BESIDE.get(mutant.module) or UNNOTICED.get(mutant.name, "")


def page(found: dict[str, str]) -> str:
    """The page, given what notices each mutant."""
    mutants = [mutant for mutant in CATALOGUE.values() if mutant.module not in BESIDE]
    noticed = [mutant for mutant in mutants if found[mutant.name]]
    by_trace = [mutant for mutant in noticed if found[mutant.name].startswith("trace-")]
    dies = [mutant for mutant in mutants if mutant.dies_in_the_model or mutant.proofs]
    died = [mutant for mutant in dies if found[mutant.name]]
    rows = [
        f"{len(noticed)} of {len(mutants)} mutants are noticed; {len(by_trace)} of them by a trace only. Of the"
        f" {len(dies)} that a property or a proof kills, {len(died)} are noticed.",
        "",
        "| not noticed | killed by | why |",
        "|---|---|---|",
    ]
    for mutant in mutants:
        if not found[mutant.name]:
            killer = ", ".join((*mutant.refutes, *mutant.eventually, *mutant.proofs)) or "tests"
            rows.append(
                f"| {mutant.name.replace('_', ' ')} | {killer} | {reason(mutant) or '**no reason is known**'} |"
            )
    rows += ["", "Left aside:", "", "| mutants of | why |", "|---|---|"]
    rows += [f"| `maitred.core.{module}` | {why} |" for module, why in BESIDE.items()]
    rows += ["", "| noticed by a trace only | trace |", "|---|---|"]
    rows += [f"| {mutant.name.replace('_', ' ')} | `{found[mutant.name]}` |" for mutant in by_trace]
    return "\n".join([INTRODUCTION, *rows]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a mutant is not noticed and there is no reason."""
    parser = argparse.ArgumentParser(
        prog="python -m spec.vectors.mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    given = parser.parse_args(argv)
    vectors = Vectors()
    mutants = [mutant for mutant in CATALOGUE.values() if mutant.module not in BESIDE]
    found = {mutant.name: vectors.notice(mutant) for mutant in track(mutants, console=Console(stderr=True))}
    if given.write:
        PAGE.write_text(page(found), encoding="utf-8")
    left = [mutant.name for mutant in mutants if not found[mutant.name] and not reason(mutant)]
    print(f"{sum(map(bool, found.values()))} of {len(mutants)} mutants are noticed")
    for name in left:
        print(f"not noticed: {name}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
