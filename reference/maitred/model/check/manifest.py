"""The manifest: which configurations of the closed system are explored, and what must come of it, to the last state.

``spec/manifest.toml`` lists them.  Each has bounds, a tier (how long it takes), and the outcome: either everything
holds, with the exact numbers of states, transitions and levels; or a named property must be violated, by a shortest
counterexample of a given length.  A count that changes says that the machines, or the world around them, behave
differently than when it was recorded.  That may be right; then whoever has understood why records it again
(`refresh`, ``maitred check --all --write``).

The manifest as a whole must leave nothing out (`gaps`): each *sometimes* property has a configuration in which it must
be witnessed, each *always* property one in which it applies together with a witness of what it speaks of, each liveness
property one that lists it.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

from maitred.model.check.checker import Progress, Result, Verdict, check
from maitred.model.check.liveness import LIVENESS, LivenessResult, MissingLibraryError, check_liveness
from maitred.model.claims.fairness import RULES
from maitred.model.claims.safety import PROPERTIES
from maitred.model.search.checkpoint import write
from maitred.model.world import Assumption, Bounds

T = TypeVar("T")
TIERS: Final = ("seconds", "minutes", "hours")
"""How long a configuration takes, the quickest first."""
COUNTS: Final = ("states", "transitions", "depth")
_OPENING: Final = "[[configuration]]"
_PINNED: Final = re.compile(rf"({'|'.join((*COUNTS, 'length'))})\s*=")


class ManifestError(Exception):
    """The manifest cannot be used; the text names the file, the configuration and the key, and says what is right."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One entry: what is explored, and what must come of it."""

    name: str
    why: str
    """A sentence: what it is there for."""
    tier: str
    bounds: Bounds
    symmetric: bool = False
    safety: bool = True
    """Whether every always and sometimes property is asked."""
    liveness: tuple[str, ...] = ()
    """The liveness properties that are asked."""
    unassumed: tuple[str, ...] = ()
    """The assumptions of fairness that are left out."""
    violated: str | None = None
    """The property that must be violated; None: everything holds."""
    portfolio: bool = False
    """Whether ``maitred check`` without bounds explores it: see `maitred.model.check.portfolio`."""
    counts: Mapping[str, int] | None = None
    """The `COUNTS`, and the ``length`` of a shortest counterexample; None: not recorded yet."""

    @property
    def slug(self) -> str:
        """The name as one word."""
        return slug(self.name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a configuration."""

    configuration: Configuration
    counts: Mapping[str, int]
    seconds: float
    problems: tuple[str, ...]
    """What is not as it should be, a sentence each."""
    miscounted: bool
    """Nothing is wrong but the counts."""
    safety: Result | None = None
    liveness: LivenessResult | None = None

    @property
    def ok(self) -> bool:
        """Everything is as recorded."""
        return not self.problems


def slug(name: str) -> str:
    """The name as one word, for the command line: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# ================================================================ reading


def find() -> Path:
    """The manifest: beside this module in an installed package, in the folder ``spec`` of a checkout.

    Raises:
        ManifestError: it is in neither place.
    """
    places = (Path(__file__).with_name("manifest.toml"), Path(__file__).parents[4] / "spec" / "manifest.toml")
    for place in places:
        if place.is_file():
            return place
    raise ManifestError(f"{places[-1]}: there is no manifest; reinstall maitred, or run it from a whole checkout")


def load(path: Path | None = None) -> list[Configuration]:
    """All configurations.

    Args:
        path: of the manifest; `find()` where it is not given.

    Raises:
        ManifestError: the file cannot be read, is not what it should be, or holds no configuration.
    """
    path = path or find()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from None
    entries = content.pop("configuration", [])
    if content:
        raise ManifestError(f"{path}: {next(iter(content))}: should not be here: there is {_OPENING} only")
    if not isinstance(entries, list) or not entries:
        raise ManifestError(f"{path}: there is no {_OPENING}; a check of nothing would say that all is well")
    found: list[Configuration] = []
    for number, entry in enumerate(entries, 1):
        configuration = _Entry(path, number, entry).configuration()
        if any(other.slug == configuration.slug for other in found):
            raise ManifestError(f"{path}: two configurations are called {configuration.name!r}")
        found.append(configuration)
    return found


class _Entry:
    """One table of the file, and how to complain about it."""

    def __init__(self, path: Path, number: int, table: object) -> None:
        self._path = path
        self._table: dict[str, object] = dict(table) if isinstance(table, dict) else {}
        self._where = f"number {number}"
        name = self._table.get("name")
        if isinstance(name, str) and name:
            self._where = repr(name)

    def configuration(self) -> Configuration:
        name = self._take("name", str, "a name")
        if not slug(name):
            raise self._error("name", name, "a name with letters")
        made = Configuration(
            name=name,
            why=self._take("why", str, "a sentence: what it is there for"),
            tier=self._one_of("tier", self._take("tier", str, _any_of(TIERS)), TIERS),
            bounds=self._bounds(),
            symmetric=self._take("symmetric", bool, "true or false", False),
            safety=self._take("safety", bool, "true or false", True),
            liveness=self._names("liveness", LIVENESS),
            unassumed=self._names("unassumed", RULES),
            violated=self._violated(),
            portfolio=self._take("portfolio", bool, "true or false", False),
            counts=self._counts(),
        )
        for key, value in self._table.items():
            raise self._error(key, value, f"left out: there are {_any_of([field.name for field in fields(made)])}")
        self._check(made)
        return made

    def _check(self, made: Configuration) -> None:
        if not made.why.strip().endswith("."):
            raise self._error("why", made.why, "a sentence: what it is there for")
        if not made.safety and not made.liveness:
            raise self._error("safety", False, "true where no liveness property is listed: nothing would be asked")
        if made.unassumed and not made.liveness:
            raise self._error("unassumed", [*made.unassumed], "left out where no liveness property is listed")
        if made.portfolio and (made.tier != TIERS[0] or not made.safety or made.violated is not None):
            raise self._error("portfolio", True, "false where it takes longer than seconds, or must fail")
        if made.violated in LIVENESS and made.violated not in made.liveness:
            raise self._error("violated", made.violated, "listed in liveness as well")
        if made.violated in PROPERTIES and not made.safety:
            raise self._error("violated", made.violated, "a liveness property where safety is not asked")
        if made.liveness and made.symmetric:
            raise self._error("symmetric", True, "false where liveness is asked: fairness is to each one by name")
        if made.counts is not None and set(made.counts) != set(pinned(made)):
            raise self._error(next(iter(set(made.counts) ^ set(pinned(made)))), None, f"one of {_any_of(pinned(made))}")

    def _bounds(self) -> Bounds:
        table = self._take("bounds", dict, "a table of bounds")
        known = {field.name for field in fields(Bounds)}
        values: dict[str, object] = {}
        for key, value in table.items():
            if key not in known:
                raise self._error(f"bounds.{key}", value, f"left out: there are {_any_of(sorted(known))}")
            if key == "without":
                value = tuple(
                    Assumption(self._one_of("bounds.without", name, [a.value for a in Assumption]))
                    for name in self._list("bounds.without", value)
                )
            elif type(value) is not type(getattr(Bounds(), key)):
                kinds = {bool: "true or false", str: "the name of a recorded run"}
                kind = kinds.get(type(getattr(Bounds(), key)), "a whole number")
                raise self._error(f"bounds.{key}", value, kind)
            values[str(key)] = value
        try:
            return replace(Bounds(), **values)  # type: ignore[arg-type]  # each was compared with the default's type
        except ValueError as error:
            raise ManifestError(f"{self._path}: configuration {self._where}: bounds: {error}") from None

    def _violated(self) -> str | None:
        if "violated" not in self._table:
            return None
        always = [name for name, prop in PROPERTIES.items() if prop.kind == "always"]
        what = "the name of an always or a liveness property"
        name = self._take("violated", str, what)
        if name not in always and name not in LIVENESS:
            raise self._error("violated", name, what)
        return name

    def _counts(self) -> Mapping[str, int] | None:
        counts: dict[str, int] = {}
        for key in (*COUNTS, "length"):
            if key in self._table:
                counts[key] = self._take(key, int, "a whole number")
                if counts[key] < 0:
                    raise self._error(key, counts[key], "a whole number")
        return counts or None

    def _names(self, key: str, known: Collection[str]) -> tuple[str, ...]:
        return tuple(self._one_of(key, name, known) for name in self._list(key, self._table.pop(key, [])))

    def _list(self, key: str, value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._error(key, value, "a list of names")
        return value

    def _one_of(self, key: str, value: str, known: Collection[str]) -> str:
        if value not in known:
            raise self._error(key, value, f"one of {_any_of(known)}")
        return value

    def _take(self, key: str, kind: type[T], what: str, default: T | None = None) -> T:
        value = self._table.pop(key, default)
        if value is None:
            raise ManifestError(f"{self._path}: configuration {self._where}: {key} is missing: should be {what}")
        if type(value) is not kind:
            raise self._error(key, value, what)
        return value

    def _error(self, key: str, value: object, what: str) -> ManifestError:
        return ManifestError(
            f"{self._path}: configuration {self._where}: {key}: {value!r} will not do: should be {what}"
        )


def _any_of(names: Collection[str]) -> str:
    return ", ".join(names)


def pinned(configuration: Configuration) -> tuple[str, ...]:
    """Which counts are recorded of it."""
    if configuration.violated in PROPERTIES:
        return *COUNTS, "length"
    return COUNTS if configuration.safety else COUNTS[:2]


# ================================================================ what must be there


def gaps(configurations: Sequence[Configuration]) -> Iterator[str]:
    """The properties that no configuration exercises, a sentence each."""
    asked = [c.bounds for c in configurations if c.safety and c.violated is None and not c.bounds.begins]
    for name, prop in PROPERTIES.items():
        where = [bounds for bounds in asked if prop.applies(bounds)]
        if prop.kind == "sometimes" and not where:
            yield f"{name} is unlisted: no configuration leaves an occasion for it, so nobody knows that it happens"
        if prop.kind == "always":
            shown = (PROPERTIES[witness] for witness in prop.witnesses)
            if not any(witness.applies(bounds) for witness in shown for bounds in where):
                yield f"{name} is unlisted: no configuration for it has a witness that what it speaks of happens"
    holding = [c for c in configurations if c.violated is None]
    for name, promise in LIVENESS.items():
        if not any(name in c.liveness and promise.applies(c.bounds) for c in holding):
            yield f"{name} is unlisted: no configuration asks it within bounds that leave an occasion for it"


def chosen(configurations: Sequence[Configuration], tiers: Collection[str]) -> list[Configuration]:
    """Those of the tiers, the quickest tier first."""
    return [c for tier in TIERS if tier in tiers for c in configurations if c.tier == tier]


# ================================================================ running


def run(
    configurations: Sequence[Configuration],
    tiers: Collection[str] = TIERS,
    progress: Callable[[Configuration, Progress], None] | None = None,
    workers: int | None = None,
    *,
    done: Callable[[Outcome], None] | None = None,
    checkpoint: Path | None = None,
) -> list[Outcome]:
    """Explore all configurations of these tiers, one after the other.

    Args:
        configurations: of the manifest.
        tiers: which of `TIERS`.
        progress: called some five times a second, with what is being explored.
        workers: see `check`.
        done: called when a configuration is finished.
        checkpoint: a directory, in which each configuration of a slower tier has one; see `check`.

    Raises:
        ManifestError: there is none to explore.
        CheckpointError, Collision, WorkerLost: see `check`.
        MissingLibraryError: see `check_liveness`.
    """
    wanted = chosen(configurations, tiers)
    if not wanted:
        raise ManifestError(f"no configuration is of a tier of {_any_of(tiers)}: nothing would be checked")
    if any(configuration.liveness for configuration in wanted) and find_spec("scipy") is None:
        raise MissingLibraryError("the manifest asks for liveness, which needs scipy: pip install 'maitred[verify]'")
    outcomes = []
    for configuration in wanted:
        outcome = run_one(configuration, progress, workers, checkpoint=checkpoint)
        outcomes.append(outcome)
        if done is not None:
            done(outcome)
    return outcomes


def run_one(
    configuration: Configuration,
    progress: Callable[[Configuration, Progress], None] | None = None,
    workers: int | None = 1,
    *,
    checkpoint: Path | None = None,
) -> Outcome:
    """Explore one configuration: see `run`."""
    began = time.monotonic()
    total = (configuration.counts or {}).get("states")

    def report(now: Progress) -> None:
        if progress is not None:
            progress(configuration, replace(now, total=total, exact=True) if total is not None else now)

    safety, liveness = None, None
    if configuration.safety:
        place = checkpoint / configuration.slug if checkpoint is not None and configuration.tier != TIERS[0] else None
        safety = check(
            configuration.bounds, report, symmetric=configuration.symmetric, workers=workers, checkpoint=place
        )
    if configuration.liveness:
        liveness = check_liveness(configuration.bounds, configuration.liveness, report, without=configuration.unassumed)
    counts = _counted(configuration, safety, liveness)
    wrong = [*_wrong(configuration, safety, liveness)]
    changed = [] if wrong else [*_changed(configuration, counts)]
    return Outcome(
        configuration,
        counts,
        time.monotonic() - began,
        (*wrong, *changed),
        bool(changed) and not wrong,
        safety,
        liveness,
    )


def _counted(configuration: Configuration, safety: Result | None, liveness: LivenessResult | None) -> Mapping[str, int]:
    counts = {}
    if safety is not None:
        counts = {"states": safety.states, "transitions": safety.transitions, "depth": safety.depth}
        if configuration.violated in PROPERTIES:
            path = safety[configuration.violated].path
            counts["length"] = len(path.steps) if path is not None else -1
    elif liveness is not None:
        counts = {"states": liveness.states, "transitions": liveness.transitions}
    return counts


def _wrong(configuration: Configuration, safety: Result | None, liveness: LivenessResult | None) -> Iterator[str]:
    """What is not as it should be, but for the counts."""
    verdicts = {}
    if safety is not None:
        verdicts.update({on.property.name: on.verdict for on in safety.verdicts})
    if liveness is not None:
        verdicts.update({on.property.name: on.verdict for on in liveness.verdicts})
        if safety is not None and configuration.violated is None and liveness.states != safety.states:
            yield f"the two checks disagree: {safety.states:,} states for safety, {liveness.states:,} for liveness"
    expected = configuration.violated
    if expected is not None and verdicts[expected] is not Verdict.VIOLATED:
        yield f"{expected} should be violated, and is not: this check has lost its teeth"
    if expected is not None:
        return
    for name, verdict in verdicts.items():
        if verdict is Verdict.VIOLATED:
            yield f"{name} is violated"
        if verdict is Verdict.NOT_REACHED:
            yield f"{name} never happens"
        if verdict is Verdict.NOT_APPLICABLE and name in configuration.liveness:
            yield f"{name} has no occasion within these bounds"
    if Verdict.INCOMPLETE in verdicts.values() and Verdict.VIOLATED not in verdicts.values():
        yield "the exploration ended early"


def _changed(configuration: Configuration, counts: Mapping[str, int]) -> Iterator[str]:
    if configuration.counts is None:
        yield "no counts are recorded yet: look at them, then write them with --write"
        return
    for key, count in counts.items():
        if count != configuration.counts[key]:
            yield f"{key}: {count:,}, where {configuration.counts[key]:,} is recorded"


# ================================================================ writing


def refresh(outcomes: Sequence[Outcome], path: Path | None = None) -> list[str]:
    """Write the counts of these outcomes into the manifest; nothing else of it changes.

    Returns:
        The names of the configurations whose counts are other ones now.

    Raises:
        ManifestError: something else than the counts is wrong with an outcome, or the manifest cannot be used.
    """
    path = path or find()
    for outcome in outcomes:
        if not outcome.ok and not outcome.miscounted:
            raise ManifestError(f"{outcome.configuration.name!r}: {outcome.problems[0]}: that is not recorded")
    new = {outcome.configuration.name: outcome.counts for outcome in outcomes if outcome.miscounted}
    head, *blocks = path.read_text(encoding="utf-8").split(_OPENING)
    written = [head, *(_with_counts(block, new) for block in blocks)]
    draft = _OPENING.join(written)
    write(path, draft.encode(), mode=path.stat().st_mode & 0o777)
    load(path)
    return [*new]


def _with_counts(block: str, new: Mapping[str, Mapping[str, int]]) -> str:
    """The text of one configuration, with its new counts if there are any."""
    counts = new.get(tomllib.loads(block).get("name", ""))
    if counts is None:
        return block
    lines = [line for line in block.split("\n") if not _PINNED.match(line)]
    last = max(i for i, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    lines[last + 1 : last + 1] = [f"{key} = {_grouped(count)}" for key, count in counts.items()]
    return "\n".join(lines)


def _grouped(count: int) -> str:
    return f"{count:_}"
