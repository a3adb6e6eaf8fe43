"""Recorded runs: the prepared worlds in which explorations may begin, where what they look for is too deep otherwise.

``spec/runs.toml`` has the runs.  Each is a list of actions, in words (`spelled`), and what they spend of each fault; it
is played again from the first world, action by action, so what it leads to is a world that can be reached, of the
machines as they are now.  `Bounds.begins` names the run, and the other bounds say how large the system is and what may
still go wrong after it.  A run that no longer plays is an error that names the step: then somebody must look why, and
record it again (``python -m spec.record``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final, assert_never

from maitred.core.messages import Client, Count
from maitred.model.world.actions import (
    Action,
    ClientCloses,
    ClientConnects,
    ConnectionLeaks,
    DistributorCutOff,
    DistributorEnds,
    DistributorStep,
    EffectDeclined,
    MonitorStep,
    PortDeed,
    ServerDeed,
    ServerStep,
)
from maitred.model.world.bounds import Bounds, Budget

_PLACES: Final = (Path(__file__).with_name("runs.toml"), Path(__file__).parents[4] / "spec" / "runs.toml")


class RunError(Exception):
    """There is no such run, or it cannot be played any more; the text names the run and the step."""


@dataclass(frozen=True, slots=True)
class Run:
    """One recorded run."""

    name: str
    why: str
    """A sentence: what is so at its end."""
    spends: Mapping[str, int]
    """How often each fault or event of `Budget` happens in it."""
    actions: tuple[str, ...]
    """In words, in their order, from the first world."""


# ================================================================ in words


def spelled(action: Action) -> str:
    """The action in words, without the numbers that a normal form may change: arrivals, ranks and sequence numbers."""
    text = f"{action.who}: {_said(action.what)}"
    match action:
        case ClientConnects() | PortDeed():
            return f"{text} {action.port}"
        case ConnectionLeaks():
            return f"{text} {action.client}"
        case DistributorStep() | DistributorCutOff() | EffectDeclined():
            if isinstance(action, DistributorCutOff):
                text += f", and dies after {action.performed} of the effects"
            elif isinstance(action, EffectDeclined):
                text += f", and effect {action.declined} is declined"
            return text + (", overtaking" if action.late else "")
        case ClientCloses() | MonitorStep() | ServerStep() | DistributorEnds() | ServerDeed():
            return text
        case _:
            assert_never(action)


def _said(value: object) -> str:
    match value:
        case Client():
            return f"client {value.cookie}"
        case Count():
            return f"{value.clients}"
        case Enum():
            return str(value.value)
        case tuple():
            return f"({', '.join(map(_said, value))})"
        case _ if is_dataclass(value):
            return f"{type(value).__name__}({', '.join(_fields(value))})"
        case _:
            return str(value)


def _fields(value: object) -> Iterable[str]:
    for field in fields(value):  # type: ignore[arg-type]  # asked of dataclasses only
        if field.name not in ("sequence", "attempt"):
            yield f"{field.name}={_said(getattr(value, field.name))}"


# ================================================================ reading and playing


@cache
def load(path: Path | None = None) -> Mapping[str, Run]:
    """All runs, by name.

    Args:
        path: of the file; in an installed package beside this module, in a checkout in ``spec``, where it is not given.

    Raises:
        RunError: the file cannot be read, or is not what it should be.
    """
    path = path or next((place for place in _PLACES if place.is_file()), _PLACES[-1])
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("run", [])
        runs = [Run(e["name"], e["why"], e["spends"], tuple(e["actions"])) for e in entries]
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: a run has name, why, spends and actions: {error}") from None
    return {run.name: run for run in runs}


def find(name: str) -> Run:
    """The run of this name.

    Raises:
        RunError: there is none, or the file cannot be used.
    """
    run = load().get(name)
    if run is None:
        raise RunError(f"there is no recorded run {name!r}; there are {', '.join(load())}")
    return run


def before(bounds: Bounds, run: Run) -> Bounds:
    """The bounds within which the run happens: as large a system, warm at first, and just what the run spends.

    Raises:
        RunError: the run spends what does not exist.
    """
    unknown = [name for name in run.spends if name not in Budget._fields]
    if unknown:
        raise RunError(f"run {run.name!r}: spends: there is no {unknown[0]!r}")
    spends: dict[str, Any] = {name: run.spends.get(name, 0) for name in Budget._fields}  # Any: `Bounds` has flags too
    return replace(bounds, begins="", warm=True, **spends)


def recorded(name: str, why: str, bounds: Bounds, actions: Sequence[Action], left: Budget) -> str:
    """The run as an entry of the file.

    Args:
        name: of the run.
        why: a sentence: what is so at its end.
        bounds: within which it happened.
        actions: in their order.
        left: what its last world has left of what may go wrong.
    """
    spent = {key: getattr(bounds, key) - getattr(left, key) for key in left._fields if getattr(bounds, key) > 0}
    listed = ", ".join(f"{key} = {number}" for key, number in spent.items() if number)
    lines = "".join(f'    "{spelled(action)}",\n' for action in actions)
    return f'[[run]]\nname = "{name}"\nwhy = "{why}"\nspends = {{ {listed} }}\nactions = [\n{lines}]\n'
