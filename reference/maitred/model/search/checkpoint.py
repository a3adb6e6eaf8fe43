"""An exploration on the disk, from which another process goes on.

A checkpoint is a directory of the user's own.  Each worker writes what it knows to a file of its own; when all have,
`state.json` is replaced, which names these files and records how far the exploration is; then older files are removed.
Every file is written under another name, flushed to the disk and renamed.  So whenever the process is killed, the
directory holds one whole checkpoint, or none.

It is good for the same exploration only: same bounds, same machines and model to the letter, same Python.  The number
of workers may change.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from maitred.model.search.shard import Site
from maitred.model.world import Bounds

FORMAT: Final = 1
STATE: Final = "state.json"
LOCK: Final = "lock"
_SUM: Final = 32
"""Bytes of the checksum before a dump."""
_PACKAGE: Final = Path(__file__).parents[2]


class CheckpointError(Exception):
    """The directory holds no checkpoint of this exploration, or cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an exploration has come at the end of a level."""

    states: int
    transitions: int
    seconds: float
    sizes: tuple[int, ...]
    """New worlds, of each level."""
    found: Mapping[str, tuple[int, Site]]
    """What has been found: at which level, and where."""


# ---------------------------------------------------------------- files


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file, or leave it as it is."""
    draft = path.with_name(path.name + ".new")
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_dump(path: Path, dump: bytes) -> None:
    """Write what a worker knows, with a checksum."""
    write(path, blake2b(dump, digest_size=_SUM).digest() + dump)


def read_dump(path: Path) -> bytes:
    """What a worker knew.

    Raises:
        CheckpointError: the file cannot be read, or is not as it was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror}; remove the directory to start again"
        ) from None
    if blake2b(content[_SUM:], digest_size=_SUM).digest() != content[:_SUM]:
        raise CheckpointError(f"{path}: is damaged; remove the directory to start again")
    return content[_SUM:]


def sources() -> str:
    """A digest of the machines and the model: of every line of them."""
    digest = blake2b(digest_size=16)
    for path in sorted(path for room in ("core", "model") for path in (_PACKAGE / room).rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


# ---------------------------------------------------------------- the directory


class Checkpoint:
    """The checkpoint directory of one exploration, locked while it is in use."""

    def __init__(self, directory: Path, bounds: Bounds, *, symmetric: bool, every: float = 60.0) -> None:
        """Prepare; nothing is touched yet.

        Args:
            directory: where; it is made if it is not there.
            bounds: of the exploration.
            symmetric: whether it is reduced by symmetry.
            every: seconds between two writes, at the least.
        """
        self._directory: Final = directory
        self._identity: Final = {
            "format": FORMAT,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}, {sys.byteorder}-endian",
            "sources": sources(),
            "symmetric": symmetric,
            **{f"bounds.{name}": _plain(value) for name, value in asdict(bounds).items()},
        }
        self._every: Final = every
        self._written = time.monotonic()
        self._lock = -1

    def __enter__(self) -> Checkpoint:
        """Make the directory where there is none, and lock it.

        Raises:
            CheckpointError: it is no directory of the user's own, or another exploration uses it.
        """
        where = self._directory
        try:
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = where.stat()
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise CheckpointError(f"{where}: should be yours, and writable by nobody else (chmod 700)")
            self._lock = os.open(where / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._unlock()
            raise CheckpointError(f"{where}: another exploration uses it; name another directory") from None
        except OSError as error:
            self._unlock()
            raise CheckpointError(f"{where}: cannot be used: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def read(self) -> tuple[Reached, list[Path]] | None:
        """How far the exploration has come, and the files of its workers; None if it has not begun.

        Raises:
            CheckpointError: what is there is damaged, or of another exploration.
        """
        path = self._directory / STATE
        try:
            kept = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}; remove the directory to start again") from None
        try:
            self._compare(kept["identity"])
            return _reached(kept["reached"]), [self._directory / Path(name).name for name in kept["files"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: is damaged ({error!r}); remove the directory to start again") from None

    def _compare(self, other: Mapping[str, object]) -> None:
        for key in (*self._identity, *other):
            now, then = self._identity.get(key), other.get(key)
            if now == then:
                continue
            if key == "sources":
                why = "the machines or the model have changed since"
            else:
                why = f"it was begun with {key.replace('bounds.', '')} = {then}, and this is {now}"
            raise CheckpointError(f"{self._directory}: {why}; name another directory, or remove this one")

    @property
    def due(self) -> bool:
        """It is time to write again."""
        return time.monotonic() - self._written >= self._every

    def write(self, reached: Reached, save: Callable[[Callable[[int], Path]], list[Path]]) -> None:
        """Write a checkpoint, and remove the one before.

        Args:
            reached: how far the exploration is.
            save: writes what the workers know to the files of these numbers, and returns the files.
        """
        level = len(reached.sizes)
        files = save(lambda number: self._directory / f"level-{level}.{number}")
        state = {
            "identity": self._identity,
            "reached": {**asdict(reached), "sizes": list(reached.sizes)},
            "files": [path.name for path in files],
        }
        write(self._directory / STATE, json.dumps(state).encode())
        self._flush()
        self._remove({path.name for path in files} | {STATE})
        self._written = time.monotonic()

    def discard(self) -> None:
        """The exploration is over: remove all that was written."""
        (self._directory / STATE).unlink(missing_ok=True)
        self._remove(set())
        self._flush()

    def _remove(self, needed: set[str]) -> None:
        for path in self._directory.glob("level-*"):
            if path.name not in needed:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _flush(self) -> None:
        """What was renamed is on the disk as well."""
        number = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _plain(value: object) -> object:
    """As JSON gives it back."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _reached(kept: Mapping[str, Any]) -> Reached:  # Any: JSON
    found = {
        str(name): (int(level), Site(int(before), None if after is None else int(after)))
        for name, (level, (before, after)) in kept["found"].items()
    }
    sizes = tuple(int(size) for size in kept["sizes"])
    return Reached(int(kept["states"]), int(kept["transitions"]), float(kept["seconds"]), sizes, found)
