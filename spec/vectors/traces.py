"""Writes the sequences, ``traces.jsonl``: ``python -m spec.vectors.traces --write [RECORDING...]``.

In a single step the state is given; along a trace a machine keeps its own.  So a trace notices what a step leaves wrong
in an index, or in anything else that an abstract state has not.  They are the runs that the unit tests of the core make
of its machines, as far as these draw nothing at random, and *recordings*: what the machines of a real instance have
written to its trace (``maitred run --trace FILE``).  Kept are those of the unit tests that together have every event
after every event that any of them has there, and every recording.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from docs.step_tables import named
from spec.vectors.candidates import of_unit_tests

from maitred.core import distributor, monitor, server
from maitred.core.record import MACHINES as EVENTS
from maitred.core.record import from_record
from maitred.core.transition import Rejected
from maitred.vectors import codec
from maitred.vectors.codec import MACHINES, Json
from maitred.vectors.fresh import is_usable

FILE: Final = Path(__file__).with_name("traces.jsonl")
LONGEST: Final = 400
"""Steps of one trace; a longer run is cut there."""


class Run:
    """A machine's run: its first state, and the events."""

    def __init__(self, machine: str, state: Any, note: str) -> None:  # Any: a state of the machine
        self.machine, self.first, self.state, self.note = machine, state, state, note
        self.events: list[Any] = []
        self.outcomes: list[Any] = []

    def take(self, event: Any) -> None:
        """Go on by a step."""
        outcome = MACHINES[self.machine].module.step(self.state, event)
        self.events.append(event)
        self.outcomes.append(outcome)
        if not isinstance(outcome, Rejected):
            self.state = outcome.state

    def goals(self) -> set[Any]:
        """Each event with the one after it."""
        names = [named(event) for event in self.events]
        taken = [isinstance(outcome, Rejected) for outcome in self.outcomes]
        return {(self.machine, *pair) for pair in zip(names, names[1:], taken[1:], strict=False)}

    def line(self) -> str:
        """As it is in the file."""
        effect = MACHINES[self.machine].effect
        state = codec.encode_state(codec.canonical(self.first))
        steps: list[Json] = []
        for event, outcome in zip(self.events, self.outcomes, strict=True):
            if isinstance(outcome, Rejected):
                then: Json = {"rejected": outcome.reason.name}
            else:
                then = {"effects": [codec.encode(effect, each) for each in outcome.effects]}
            steps.append({"event": codec.encode_event(event), "then": then})
        text = json.dumps([self.machine, state, steps], separators=(",", ":"), sort_keys=True)
        row = {
            "id": f"trace-{self.machine}-{sha256(text.encode()).hexdigest()[:12]}",
            "machine": self.machine,
            "state": state,
            "steps": steps,
            "end": codec.encode_state(codec.canonical(self.state)),
            "note": self.note,
        }
        return json.dumps(row, separators=(",", ":"))


# ================================================================ where they come from


def of_tests() -> Iterator[Run]:
    """What each test of the core makes its machine do, as long as it goes on from where it was."""
    run: Run | None = None
    for machine, state, event, source in of_unit_tests():
        follows = run is not None and run.machine == machine and run.state == state and run.note == f"From {source}."
        if not follows or run is None:
            if run is not None:
                yield run
            run = Run(machine, state, f"From {source}.")
        run.take(event)
    if run is not None:
        yield run


def of_recording(file: Path) -> Iterator[Run]:
    """The machines of a real run, each from its beginning; effects must be what they were there."""
    runs: dict[str, Run] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        who = row["who"]
        kind = who.partition(" ")[0]
        if "start" in row:
            runs[f"{number} {who}"] = runs[who] = Run(kind, _first(kind, row["start"]), f"{who} of a recorded run.")
        elif "event" in row and len(runs[who].events) < LONGEST:
            runs[who].take(from_record(EVENTS[kind][0], row["event"]))
        elif "effect" in row and len(runs[who].events) < LONGEST:
            effect = from_record(EVENTS[kind][1], row["effect"])
            assert effect in runs[who].outcomes[-1].effects, f"{file}:{number}: {who} has done what the core does not"
    yield from {id(run): run for run in runs.values()}.values()


def _first(kind: str, arguments: dict[str, Any]) -> Any:  # Any: JSON, and the state of a machine
    if kind == "server":
        return server.EndpointState()
    if kind == "distributor":
        listeners = tuple((port, address) for port, address in arguments.pop("listeners"))
        return distributor.initial(**arguments, listeners=listeners)
    classes = from_record(tuple[monitor.ClassConfig, ...], arguments["classes"])
    return monitor.initial(classes, tuple(arguments["weights"]))


def kept(runs: Iterable[Run]) -> list[Run]:
    """Few, that together reach every goal: the one that reaches most for its length, again and again."""
    left = [run for run in runs if len(run.events) > 1 and is_usable(run.machine, run.first)]
    left = [run for run in left if is_usable(run.machine, run.state)]
    wanted = {goal for run in left for goal in run.goals()}
    found = []
    while wanted:
        best = max(left, key=lambda run: len(run.goals() & wanted) / (5 + len(run.events)))
        found.append(best)
        wanted -= best.goals()
        left.remove(best)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m spec.vectors.traces", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", required=True, help="make the file again")
    parser.add_argument("recordings", nargs="*", type=Path, metavar="RECORDING", help="a trace of a real run")
    given = parser.parse_args(argv)
    runs = kept(of_tests())
    old = [line for line in FILE.read_text().splitlines() if "of a recorded run" in line] if FILE.exists() else []
    fresh = [run.line() for file in given.recordings for run in of_recording(file) if run.events]
    lines = sorted({run.line() for run in runs} | {*(fresh or old)})
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} traces, {len(fresh or old)} of them recorded", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
