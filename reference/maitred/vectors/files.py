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


def folder() -> Path:
    """The folder with the files of the vectors."""
    return next(place for place in _PLACES if (place / "order.toml").exists())


def steps() -> Iterator[Vector]:
    """The vectors of single steps, in the order of the file."""
    with (folder() / "steps.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Vector(**{**row, "requirements": tuple(row["requirements"])})
