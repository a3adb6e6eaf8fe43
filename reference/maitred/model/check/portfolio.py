"""The portfolio: some ten small systems, of which each has something that the others lack.

``maitred check`` without bounds explores them, those of the manifest that say ``portfolio = true``.  They are asked one
after the other, the smallest first, on all CPUs, and the first that fails ends the run: so a slip in the machines is
most often seen within a second or two, by a short counterexample.  Only properties are asked here; that the counts are
those recorded is for ``maitred check --all``.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from maitred.model.check.checker import Result, check
from maitred.model.check.manifest import Configuration, ManifestError
from maitred.model.claims.safety import PROPERTIES
from maitred.model.search.explorer import cpus
from maitred.model.search.parallel import WorkerLost

TICK: Final = 0.2
"""Seconds between two words on the progress."""


@dataclass(frozen=True, slots=True)
class Explored:
    """A system of the portfolio, and what was found in it."""

    configuration: Configuration
    result: Result


def portfolio(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Those of the portfolio, the smallest first.

    Raises:
        ManifestError: there is none.
    """
    chosen = [one for one in configurations if one.portfolio]
    if not chosen:
        raise ManifestError("the manifest has no configuration with portfolio = true: nothing would be checked")
    return sorted(chosen, key=lambda one: (one.counts or {}).get("states", 0))


def applicable(chosen: Sequence[Configuration], names: Collection[str] | None) -> list[Configuration]:
    """Those in which one of the properties has an occasion; all of them where no property is named."""
    if names is None:
        return [*chosen]
    return [one for one in chosen if any(PROPERTIES[name].applies(one.bounds) for name in names)]


def explore(
    chosen: Sequence[Configuration],
    names: Collection[str] | None = None,
    max_states: int | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> list[Explored]:
    """Explore these systems, until one fails.

    Args:
        chosen: at least one, in the order in which they are asked.
        names: the properties that are asked; None: all.
        max_states: of each system, see `check`.
        workers: processes, each of which explores a system at a time; None: one for each CPU.  The outcome does not
            depend on it.
        progress: called some five times a second, with how many systems are done, and the seconds so far.

    Returns:
        What was found, in order; where a system fails, it is the last.

    Raises:
        Collision: see `check`.
        WorkerLost: a worker was killed.
    """
    began = time.monotonic()
    done: list[Explored] = []

    def report() -> None:
        if progress is not None:
            progress(len(done), time.monotonic() - began)

    with _results(chosen, names, max_states, min(workers or cpus(), len(chosen)), report) as results:
        for configuration, result in zip(chosen, results, strict=True):
            done.append(Explored(configuration, result))
            if not result.ok:
                break
    return done


@contextmanager
def _results(
    chosen: Sequence[Configuration],
    names: Collection[str] | None,
    max_states: int | None,
    workers: int,
    report: Callable[[], None],
) -> Iterator[Iterator[Result]]:
    """The results, in order, as they come; what nobody waits for is dropped at the end."""
    if workers == 1:
        yield (_explore(one, names, max_states, report) for one in chosen)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield _awaited([pool.submit(_explore, one, names, max_states) for one in chosen], report)
    except BrokenProcessPool:
        raise WorkerLost("a worker was killed: by somebody, or by the system for lack of memory") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _explore(
    one: Configuration, names: Collection[str] | None, max_states: int | None, report: Callable[[], None] | None = None
) -> Result:
    progress = (lambda _: report()) if report is not None else None
    return check(one.bounds, progress, max_states, names=names, symmetric=one.symmetric)


def _awaited(futures: Sequence[Future[Result]], report: Callable[[], None]) -> Iterator[Result]:
    for future in futures:
        while not wait([future], TICK).done:
            report()
        yield future.result()
