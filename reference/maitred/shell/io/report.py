"""Writes the log that operators read, on stderr or in a file: an event a line, with time, level, who, what and why.

``docs/reference/log.md`` lists every line.  Programs read the trace and the status instead.

Nobody waits for whoever reads it.  Behind stderr may be a pipe whose reader sleeps or a terminal at Ctrl-S, and its
``O_NONBLOCK`` is not ours to set: it belongs to all who share the pipe.  So the Monitor, a Distributor and the verifier
write from a thread of their own, out of a buffer that is bounded (`in_background`).  What does not fit is dropped,
counted, and said once somebody reads again.  A server, where a thread of ours has no place, drops what is not taken at
once.

What is said may come from outside (a path, an address, an error's text): no character of it moves a cursor or begins a
line.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading  # never in a server's process, where the program has to be the first to import it

DEBUG: Final = "MAITRED_DEBUG"
"""The environment variable that adds to the log what is of interest to developers only."""
MOST: Final = 256 << 10
"""Bytes that wait to be written."""
LONGEST: Final = 4000
"""Characters of a line."""
LAST_WORDS: Final = 0.5
"""Seconds at the end of a process for what still waits."""


def printable(text: str) -> str:
    """The text with all that is no printable character escaped, as Python's ``repr`` does, and not for pages."""
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def error(text: str, *more: str) -> None:
    """Service is reduced or wrong, and stays so until somebody acts."""
    _log("error", text, *more)


def warning(text: str, *more: str) -> None:
    """Something is lost, slow or misconfigured; maitred goes on, and mends what it can."""
    _log("warning", text, *more)


def info(text: str, *more: str) -> None:
    """An ordinary event: nothing is to be done."""
    _log("info", text, *more)


def debug(text: str) -> None:
    """Of interest to developers only; written where the environment asks for it."""
    if os.environ.get(DEBUG):
        _log("debug", text)


def unforeseen(who: str) -> None:
    """A process ends with the exception that is being handled: log its traceback."""
    error(f"{who} ends, of something unforeseen:", *traceback.format_exc().splitlines())


def _log(level: str, text: str, *more: str) -> None:
    """Write one line, and perhaps more that belong to it; a log that cannot be written stops nothing."""
    content = _line(level, "\n  ".join(printable(line) for line in (text, *more)))
    if _background is not None:
        _background.put(content)
    else:
        _write(content, wait=False)


def _line(level: str, text: str) -> bytes:
    """With the time in UTC (RFC 3339) and the level before it."""
    now = time.time()
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{date}.{int(now % 1 * 1000):03}Z [{level}] maitred: {text}\n".encode()


@contextmanager
def in_background() -> Iterator[None]:
    """Have a thread write for as long as the context lasts, so that `say` waits for nobody."""
    global _background
    _background = _Background()
    try:
        yield
    finally:
        _background.end(LAST_WORDS)
        _background = None


class _Background:
    """What waits to be written, and the thread that writes it, started when there is something."""

    def __init__(self) -> None:
        import threading

        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._over = False
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """Have the line written; drop it where too many wait, or others were dropped and that is not said yet."""
        with self._changed:
            if self._thread is None:
                self._start()
            if self._dropped or self._size + len(line) > MOST:
                self._dropped += line.count(b"\n")
            else:
                self._append(line)

    def end(self, seconds: float) -> None:
        """Wait until all is written, at most so many seconds; then nothing is."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines or self._thread is None, seconds)
            self._over = True
            self._changed.notify_all()

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)
        self._changed.notify_all()

    def _start(self) -> None:
        import threading

        thread = threading.Thread(target=self._run, name="maitred log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be made: tried again at the next line
            return
        self._thread = thread

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._over)
                if self._over:
                    return
                line = self._lines[0]
            _write(line, wait=True)
            with self._changed:
                self._size -= len(self._lines.popleft())
                if self._dropped and not self._lines:
                    what = plural(self._dropped, "line")
                    self._append(_line("warning", f"{what} dropped here, as nobody read the log"))
                    self._dropped = 0
                self._changed.notify_all()


_background: _Background | None = None
_file: int | None = None


def log_to(fd: int) -> None:
    """Write the log to this file from now on, which this owns.

    The number of the first file is kept for all that follow it (dup2(2)), so that a thread which is writing writes each
    line whole: to the file before, or to this one.
    """
    global _file
    if _file is None:
        _file = fd
    else:
        os.dup2(fd, _file, inheritable=False)
        os.close(fd)


def log_file() -> int | None:
    """The descriptor of the log; None: it goes to stderr."""
    return _file


def _write(content: bytes, *, wait: bool) -> None:
    """Write to the file or to stderr; what is not taken is waited for, or dropped."""
    try:
        fd, most = (sys.stderr.fileno(), select.PIPE_BUF) if _file is None else (_file, len(content))
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        while content and ready.poll(None if wait else 0):
            try:
                content = content[os.write(fd, content[:most]) :]
            except BlockingIOError:  # another writer was quicker
                if not wait:
                    return
                time.sleep(0.01)
    except (AttributeError, OSError, ValueError):
        return  # stderr is closed, the program's own, or on a full disk; or nobody reads it


def open_file(path: str | os.PathLike[str], *, empty: bool) -> int:
    """Open a file to append to: a trace, a program's log.  Made where there is none, for our own eyes.

    A name in a directory where others may write can be anything by the time that it is opened: no link is followed, no
    pipe is waited for, and the file must be ours, under this name alone.

    Args:
        path: of the file.
        empty: whether what is in it goes.

    Raises:
        OSError: it cannot be opened, or is none that we write to; the text says why.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        why = _ODD.get(error.errno or 0)
        raise error if why is None else _refusal(why, path) from None
    try:
        why = _why_not_ours(os.fstat(fd))
        if why:
            raise _refusal(why, path)
        if empty:
            os.ftruncate(fd, 0)
        os.set_blocking(fd, True)
    except OSError:
        os.close(fd)
        raise
    return fd


_ODD: Final = {errno.ELOOP: "it is a symbolic link", errno.ENXIO: "it is no regular file"}
"""What the kernel says of a link, and of a pipe that nobody reads, in plain words."""


def _refusal(why: str, path: str | os.PathLike[str]) -> OSError:
    return PermissionError(errno.EPERM, why, os.fspath(path))


def _why_not_ours(found: os.stat_result) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}, not to us ({os.geteuid()})"
    return "it has another name as well (a hard link)" if found.st_nlink != 1 else ""


def how_ended(exitcode: int | None) -> str:
    """What became of a process, from its exit code: negative for the signal that killed it."""
    if exitcode is None:
        return "ended"
    if exitcode >= 0:
        return f"exited with status {exitcode}"
    if -exitcode in (signal.SIGTERM, signal.SIGINT):  # as it was asked to
        return f"ended by {signal.Signals(-exitcode).name}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"


def plural(number: int, noun: str) -> str:
    """``1 server``, ``3 servers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ready_line(classes: Sequence[tuple[str, int, Sequence[str]]]) -> str:
    """The one line when all is up.

    Args:
        classes: of each server class its name, how many servers are ready, and its addresses.
    """
    parts = []
    for name, servers, addresses in classes:
        place = f" behind {', '.join(addresses)}" if addresses else ""
        label = f" ({name})" if len(classes) > 1 else ""
        parts.append(f"{plural(servers, 'server')}{place}{label}")
    return f"ready: {'; '.join(parts)}"
