"""Whether the vectors of single steps are what the core does now, and are written as they would be.

This needs nothing but the vectors and the core: every vector is read, its step is taken, and what comes is compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

from spec.vectors.requirements import shown

from maitred.vectors import codec, compare, files
from maitred.vectors.codec import Json


def identity(machine: str, state: Json, event: Json) -> str:
    """The id of a vector: of these three alone."""
    text = json.dumps([machine, state, event], separators=(",", ":"), sort_keys=True)
    return f"{machine}-{sha256(text.encode()).hexdigest()[:12]}"


def stale() -> Iterator[str]:
    """What is not as it would be written, a sentence for each vector."""
    ids = set()
    for vector in files.steps():
        state = codec.decode_state(vector.machine, vector.state)
        event = codec.decode_event(vector.machine, vector.event)
        outcome = codec.take(vector.machine, state, event)
        if codec.encode_outcome(outcome) != vector.then:
            yield f"{vector.id}: the core does something else"
        elif codec.encode_state(state) != vector.state or codec.encode_event(event) != vector.event:
            yield f"{vector.id}: would be written otherwise"
        elif identity(vector.machine, vector.state, vector.event) != vector.id or vector.id in ids:
            yield f"{vector.id}: has another's id"
        elif shown(vector.machine, state, event, outcome) != list(vector.requirements):
            yield f"{vector.id}: shows other requirements"
        ids.add(vector.id)
    for trace in files.traces():
        yield from (f"{trace.id}: {text}" for text in compare.along(trace.machine, trace))
