"""Where the control socket of an instance is, and which instances there are.

By default it is ``NAME.sock`` in the user's own run-time directory: ``$XDG_RUNTIME_DIR/maitred``, else
``/run/user/UID/maitred``, else ``maitred-UID`` in the directory for temporary files.  That directory is ours alone
(0700), or it is not used: anybody else who could write there could answer in place of the Monitor.

A socket that refuses connections was left behind by an instance that was killed; `claim` removes it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from maitred.config import checks
from maitred.config.error import ConfigError


def candidates() -> list[Path]:
    """The directories where control sockets may be, best first, whether they are there or not."""
    uid = os.getuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = [Path(runtime)] if os.path.isabs(runtime) else []
    bases.append(Path(f"/run/user/{uid}"))
    found = [base / "maitred" for base in bases if os.path.isdir(base)]
    with suppress(FileNotFoundError):  # no directory for temporary files can be written to
        found.append(Path(tempfile.gettempdir()) / f"maitred-{uid}")
    return list(dict.fromkeys(found))


def why_untrusted(directory: Path) -> str | None:
    """Why the directory is not ours alone, or None where it is."""
    try:
        status = os.lstat(directory)
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if status.st_uid != os.getuid():
        return f"belongs to user {status.st_uid}"
    if status.st_mode & 0o077:
        return f"is open to others (mode {stat.S_IMODE(status.st_mode):04o}; should be 0700)"
    return None


def own_directory() -> Path:
    """The directory for control sockets, made if need be.

    Raises:
        ConfigError: none can be made, or what is there is not ours alone.
    """
    refusal = "" if candidates() else "no directory for temporary files can be written to"
    for directory in candidates():
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            refusal = refusal or f"{directory} cannot be made ({error.strerror})"
            continue
        reason = why_untrusted(directory)
        if reason:
            raise ConfigError(f"{directory} {reason}; change that, or use --control PATH")
        if os.access(directory, os.W_OK | os.X_OK):
            return directory
        refusal = refusal or f"{directory} cannot be written to by us"
    raise ConfigError(f"no place for the control socket: {refusal}; use --control PATH")


def answers(path: Path) -> bool:
    """Whether some process listens on the socket (or may: only a refusal is proof that none does)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is an answer too
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def claim(path: Path) -> Path:
    """Make the path free to listen on: what a killed instance left behind is removed.

    Raises:
        ConfigError: an instance that runs listens there, or something else is in the way.
    """
    checks.socket_path(os.fspath(path))
    if os.path.lexists(path):
        if answers(path):
            raise ConfigError(
                f"an instance that runs listens on {path} already; give this one another --name or --control"
            )
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{path} was left behind by another instance and cannot be removed ({error.strerror})"
            ) from None
    return path


def default(name: str, *, chosen: bool) -> tuple[str, Path]:
    """The name and the control socket of a new instance.

    A name that the user has chosen is kept; one that was made up gets our process id if an instance has it already.
    """
    directory = own_directory()
    path = directory / f"{name}.sock"
    if not chosen and os.path.lexists(path) and answers(path):
        name = f"{name}-{os.getpid()}"
        path = directory / f"{name}.sock"
    return name, claim(path)


def first_choice(name: str) -> Path:
    """Where the control socket of a new instance would be; nothing is made."""
    return next(iter(candidates()), Path()) / f"{name}.sock"


def running() -> list[Path]:
    """The control sockets of our instances that run, in the order of their names."""
    found = []
    for directory in candidates():
        if why_untrusted(directory) is None:
            found += [path for path in sorted(directory.glob("*.sock")) if answers(path)]
    return found
