"""An exploration by several processes, each with a share of the worlds, level by level in step.

Each worker has one inbox, which all others write to, and a pipe to the process that leads.  The inboxes are queues with
a thread that feeds them, and the leader always reads: so no send ever waits for anybody, and there is no deadlock.

A worker expands its part of a level, sends what is others' to them, and `done` to each; when it has received `done`
from all, it reports, and nobody begins the next level before all have reported.

No worker outlives the leader.  It kills its workers whenever it leaves, by an exception as well; a worker whose leader
is gone ends at once.  A worker that fails sends its exception, which is raised by the leader as its own; one that is
killed makes the leader raise `WorkerLost`.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any, Final, Protocol, TypeAlias

from maitred.model.search.checkpoint import read_dump, write_dump
from maitred.model.search.shard import Batch, Enquiry, Level, Shard

PROGRESS_INTERVAL: Final = 0.2
"""Seconds between two reports of progress."""

Prepare: TypeAlias = Callable[[], Enquiry]
"""Makes what is explored; it is called in each worker, so that it must be possible to pickle it."""
Report: TypeAlias = Callable[[int, int, int], None]
"""Receives the numbers of worlds found, transitions of this level, and worlds of this level yet to be expanded."""


class WorkerLost(Exception):
    """A worker has ended without a result: the system, or somebody, has killed it."""


class Crew(Protocol):
    """The processes that explore: this one, or several."""

    def begin(self) -> Level:
        """Find the first world."""

    def load(self, dumps: Sequence[bytes | Path]) -> None:
        """Begin with what a crew of any size has saved."""

    def level(self, limit: int | None, settled: Collection[str], report: Report) -> Level:
        """Expand the last level; cut it short when about `limit` worlds are known."""

    def parents(self, level: int, marks: Collection[int]) -> dict[int, int]:
        """The kept predecessors of these worlds of the level, by fingerprint."""

    def dump(self) -> list[bytes]:
        """All that is known, for `load`."""

    def save(self, files: Callable[[int], Path]) -> list[Path]:
        """Write what `dump` returns to the files of these numbers; return the files."""

    def close(self) -> None:
        """Release all processes and queues."""


# ---------------------------------------------------------------- one process


class Alone:
    """A crew of this process only."""

    def __init__(self, enquiry: Enquiry) -> None:
        """Prepare to explore."""
        self._shard: Final = Shard(enquiry)

    def begin(self) -> Level:
        return self._shard.begin()

    def load(self, dumps: Sequence[bytes | Path]) -> None:
        self._shard.load(map(_content, dumps))

    def level(self, limit: int | None, settled: Collection[str], report: Report) -> Level:
        shard, clock = self._shard, _Clock()
        queue = shard.queue
        shard.observer.settle(settled)

        def pause(expanded: int) -> bool:
            if clock.due():
                report(shard.states, shard.transitions, queue - expanded)
            return limit is None or shard.states < limit

        return shard.close(cut=not shard.expand(_nobody, pause))

    def parents(self, level: int, marks: Collection[int]) -> dict[int, int]:
        return self._shard.parents(level, marks)

    def dump(self) -> list[bytes]:
        return [self._shard.dump()]

    def save(self, files: Callable[[int], Path]) -> list[Path]:
        write_dump(files(0), self._shard.dump())
        return [files(0)]

    def close(self) -> None:
        return


def _nobody(owner: int, batch: Batch) -> None:
    raise AssertionError(f"there is no worker {owner}")


def _content(dump: bytes | Path) -> bytes:
    return read_dump(dump) if isinstance(dump, Path) else dump


class _Clock:
    """Whether the next report of progress is due."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < PROGRESS_INTERVAL:
            return False
        self._last = now
        return True


# ---------------------------------------------------------------- messages from workers to the leader


@dataclass(frozen=True, slots=True)
class _Progress:
    """A worker's progress: see `Report`."""

    states: int
    transitions: int
    queue: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """A worker has carried out a command."""

    value: Any  # Any: as the command has it


@dataclass(frozen=True, slots=True)
class _Failed:
    """A worker has failed."""

    error: BaseException


_Link: TypeAlias = "connection.Connection[Any, Any]"  # Any: a command one way; what is above the other way
_Inbox: TypeAlias = "Queue[Batch | None]"
"""Batches, and None for `done`."""


# ---------------------------------------------------------------- several processes: the leader


class Team:
    """A crew of several processes."""

    def __init__(self, prepare: Prepare, workers: int) -> None:
        """Start so many workers.

        Args:
            prepare: makes what is explored, in each of them.
            workers: how many, at least 1.
        """
        context = multiprocessing.get_context("spawn")
        self._inboxes: list[_Inbox] = [context.Queue() for _ in range(workers)]
        self._links: list[_Link] = []
        self._workers = []
        try:
            with _no_interrupt():
                for index in range(workers):
                    ours, theirs = context.Pipe()
                    self._links.append(ours)
                    arguments = (index, prepare, self._inboxes, theirs)
                    worker = context.Process(target=_work, args=arguments, daemon=True)
                    worker.start()
                    self._workers.append(worker)
                    theirs.close()
        except BaseException:
            self.close()
            raise
        self._reported: list[_Progress | None] = [None] * workers

    def begin(self) -> Level:
        return Level.joined(self._all("begin"))

    def load(self, dumps: Sequence[bytes | Path]) -> None:
        self._all("load", dumps)

    def level(self, limit: int | None, settled: Collection[str], report: Report) -> Level:
        share = None if limit is None else limit // len(self._links) + 1
        return Level.joined(self._all("level", share, tuple(settled), report=report))

    def parents(self, level: int, marks: Collection[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for part in self._all("parents", level, marks):
            found |= part
        return found

    def dump(self) -> list[bytes]:
        return self._all("dump")

    def save(self, files: Callable[[int], Path]) -> list[Path]:
        paths = [files(index) for index in range(len(self._links))]
        for index, path in enumerate(paths):
            self._give(index, "save", path)
        self._answers(None)
        return paths

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()
            worker.close()
        for link in self._links:
            link.close()
        for inbox in self._inboxes:
            inbox.close()
        self._workers, self._links, self._inboxes = [], [], []

    def _all(self, command: str, *arguments: Any, report: Report | None = None) -> list[Any]:  # Any: per command
        """Give all the same command; their answers."""
        self._reported = [None] * len(self._links)  # sums count once each worker has reported: before, one is missing
        for index in range(len(self._links)):
            self._give(index, command, *arguments)
        return self._answers(report)

    def _give(self, index: int, command: str, *arguments: Any) -> None:  # Any: as above
        try:
            self._links[index].send((command, *arguments))
        except OSError:  # it is gone: its last message, or its exit code, shows why
            self._receive(index, {})
            raise self._lost(index) from None

    def _answers(self, report: Report | None) -> list[Any]:  # Any: as above
        answers: dict[int, Any] = {}  # Any: as above
        clock = _Clock()
        by_link: Mapping[object, int] = {link: index for index, link in enumerate(self._links)}
        by_end: Mapping[object, int] = {worker.sentinel: index for index, worker in enumerate(self._workers)}
        while len(answers) < len(self._links):
            ready = connection.wait([*self._links, *(worker.sentinel for worker in self._workers)])
            for index in sorted(by_link[one] for one in ready if one in by_link):
                self._receive(index, answers)
            for one in ready:
                if one in by_end and not self._links[by_end[one]].poll():
                    raise self._lost(by_end[one])
            latest = [one for one in self._reported if one is not None]
            if report is not None and len(latest) == len(self._links) and clock.due():
                report(sum(t.states for t in latest), sum(t.transitions for t in latest), sum(t.queue for t in latest))
        return [answers[index] for index in range(len(self._links))]

    def _receive(self, index: int, answers: dict[int, Any]) -> None:  # Any: as above
        try:
            message = self._links[index].recv()
        except EOFError:
            raise self._lost(index) from None
        if isinstance(message, _Failed):
            raise message.error
        if isinstance(message, _Progress):
            self._reported[index] = message
        else:
            answers[index] = message.value

    def _lost(self, index: int) -> WorkerLost:
        self._workers[index].join()
        code = self._workers[index].exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name
            return WorkerLost(f"worker {index} was killed by {name}: by somebody, or by the system for lack of memory")
        return WorkerLost(f"worker {index} ended with exit code {code}")


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C: the leader receives it and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---------------------------------------------------------------- several processes: the workers


def _work(index: int, prepare: Prepare, inboxes: Sequence[_Inbox], link: _Link) -> None:
    """A worker's process: carries out commands until it is killed, or until the process that leads is gone."""
    threading.Thread(target=_end_with_the_leader, daemon=True).start()
    gc.disable()  # as in `Explorer.run`
    for inbox in inboxes:
        inbox.cancel_join_thread()
    try:
        worker = _Worker(Shard(prepare(), index, len(inboxes)), inboxes, link)
        while True:
            command, *arguments = link.recv()
            link.send(_Answer(getattr(worker, command)(*arguments)))
    except EOFError:
        return
    except BaseException as error:  # the leader raises it
        error.add_note(f"in worker {index} of {len(inboxes)}:\n{traceback.format_exc()}")
        with contextlib.suppress(OSError):
            link.send(_Failed(_portable(error)))


def _end_with_the_leader() -> None:
    leader = multiprocessing.parent_process()
    if leader is not None:
        connection.wait([leader.sentinel])
        os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """The exception itself; if it cannot be pickled, one with its text."""
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # whatever an exception's own pickling may raise
        return RuntimeError("\n".join([repr(error), *getattr(error, "__notes__", ())]))
    return error


class _Worker:
    """The commands of the leader, as a worker carries them out: its methods of `Crew`."""

    def __init__(self, shard: Shard, inboxes: Sequence[_Inbox], link: _Link) -> None:
        self._shard = shard
        self._inboxes = inboxes
        self._link = link
        self._done = 0
        """How many others have expanded their part of the level."""
        self.begin = shard.begin
        self.parents = shard.parents
        self.dump = shard.dump

    def load(self, dumps: Sequence[bytes | Path]) -> None:
        self._shard.load(map(_content, dumps))

    def save(self, path: Path) -> None:
        write_dump(path, self._shard.dump())

    def level(self, limit: int | None, settled: Collection[str]) -> Level:
        shard, clock = self._shard, _Clock()
        queue = shard.queue
        shard.observer.settle(settled)
        self._done = 0

        def pause(expanded: int) -> bool:
            while self._read(block=False):
                pass
            if clock.due():
                self._link.send(_Progress(shard.states, shard.transitions, queue - expanded))
            return limit is None or shard.states < limit

        whole = shard.expand(self._send, pause)
        shard.flush(self._send)
        others = [inbox for index, inbox in enumerate(self._inboxes) if index != shard.index]
        for inbox in others:
            inbox.put(None)
        while self._done < len(others):
            self._read(block=True)
        level = shard.close(cut=not whole)
        self._link.send(_Progress(shard.states, level.transitions, 0))
        return level

    def _send(self, owner: int, batch: Batch) -> None:
        self._inboxes[owner].put(batch)

    def _read(self, *, block: bool) -> bool:
        """Take in one batch, or one `done`, if there is any."""
        try:
            batch = self._inboxes[self._shard.index].get(block)
        except Empty:
            return False
        if batch is None:
            self._done += 1
        else:
            self._shard.receive(batch)
        return True
