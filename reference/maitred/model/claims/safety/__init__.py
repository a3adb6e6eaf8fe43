"""What must always hold of the closed system, and what must sometimes happen.

`worlds`        what must hold in every world
`distributor`   of every step of the Distributor
`monitor`       of every step of the Monitor
`server`        of every step of a server
`shared`        of every step of several machines, and the core's invariants
`witnesses`     what must sometimes happen, so that the others do not hold vacuously

`maitred.model.claims.property` says what a property is.
"""

from __future__ import annotations

from typing import Any, Final

from maitred.model.claims.property import MACHINES, PROPERTIES, OfStep, Property, named
from maitred.model.claims.safety import distributor, monitor, server, shared, witnesses, worlds
from maitred.model.claims.safety.shared import LEGITIMATE
from maitred.model.world import Stride

__all__ = [
    "LEGITIMATE",
    "PROPERTIES",
    "Property",
    "distributor",
    "judge",
    "monitor",
    "named",
    "server",
    "shared",
    "witnesses",
    "worlds",
]

_STEPS: Final[dict[str, list[tuple[str, OfStep]]]] = {
    machine: [(p.name, p.step) for p in PROPERTIES.values() if p.step is not None and machine in p.machines]
    for machine in MACHINES
}


def judge(who: str, before: Any, event: Any, stride: Stride) -> tuple[str, ...]:  # Any: of whichever machine
    """The names of the properties that a machine's step breaks."""
    return tuple(name for name, step in _STEPS[who] if next(step(before, event, stride), None) is not None)
