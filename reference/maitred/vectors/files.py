"""Where the vectors are: in a checkout ``spec/vectors/``, in an installed package beside this module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from maitred.vectors.codec import Json

VERSION: Final = 1
"""Of the format: it rises when a reader of the last one would misread the next."""
_PLACES: Final = (Path(__file__).parent / "data", Path(__file__).parents[3] / "spec" / "vectors")


@dataclass(frozen=True, slots=True)
class Vector:
    """One step: a line of ``steps.jsonl``."""

    id: str
    machine: str
    state: Json
    event: Json
    then: Json
    """What must come of it, as `maitred.vectors.codec.decode_outcome` reads it."""
    requirements: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A sequence of steps of one machine: a line of ``traces.jsonl``."""

    id: str
    machine: str
    state: Json
    """Before the first step; the machine keeps its own state from there."""
    steps: tuple[tuple[Json, Json], ...]
    """Each event, and what must come of it: ``{"effects": [...]}`` or ``{"rejected": REASON}``."""
    end: Json
    """The state after the last."""
    note: str


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet: a line of ``bytes.jsonl``."""

    id: str
    bytes: bytes
    message: Json
    """What it must be read as; None where it is no message."""
    note: str


def folder() -> Path:
    """The folder with the files of the vectors."""
    return next(place for place in _PLACES if (place / "order.toml").exists())


def steps() -> Iterator[Vector]:
    """The vectors of single steps, in the order of the file."""
    with (folder() / "steps.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Vector(**{**row, "requirements": tuple(row["requirements"])})


def traces() -> Iterator[Trace]:
    """The sequences, in the order of the file."""
    with (folder() / "traces.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            steps = tuple((step["event"], step["then"]) for step in row.pop("steps"))
            yield Trace(**row, steps=steps)


def packets() -> Iterator[Packet]:
    """The packets, in the order of the file."""
    with (folder() / "bytes.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Packet(**{**row, "bytes": bytes.fromhex(row["bytes"])})
