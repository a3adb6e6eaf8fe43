"""A program that answers a line of JSON with a line of JSON: started when it is needed, ended with all its processes.

The protocol is in ``spec/vectors/README.md``.  Whoever breaks it fails the case that was asked: the program is ended,
and started again for the next one.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

from maitred.config.error import ConfigError
from maitred.conform.cases import Failed
from maitred.conform.testee import last_lines
from maitred.vectors.codec import Json

LONGEST: Final = 16 << 20
"""Bytes of an answer."""
STARTS: Final = 3
"""A program that ends so often before its first answer, or is silent so often in a row, is not started again."""
ENDS: Final = 2.0
"""Seconds to end in after its input has."""


class Lines:
    """The program under test."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """Start nothing yet.

        Args:
            command: what to execute.
            patience: seconds until an answer must have come.
        """
        self._command, self._patience = list(command), patience
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._rest = b""
        self._in_vain = 0
        self._ever = False
        """Whether it has ever answered."""
        self.exchange: list[str] = []
        """What was sent and received in this case, from its first line on."""

    def begin(self) -> None:
        """A case begins: what was sent before is not of it."""
        self.exchange = []

    def ask(self, question: Mapping[str, Json]) -> Json:
        """The answer to the question.

        Raises:
            Failed: it is none, or has not come in time; the program has been ended.
        """
        line = json.dumps(question, separators=(",", ":"))
        self.exchange.append(f"-> {line}")
        try:
            answer = self._exchanged(line.encode() + b"\n")
        except Failed:
            self.stop()
            raise
        self._in_vain, self._ever = 0, True
        text = answer.decode(errors="replace")
        self.exchange.append(f"<- {text}")
        try:
            found: Json = json.loads(answer)
        except (ValueError, RecursionError) as error:
            self.stop()
            raise Failed("one line of JSON", f"{_cut(text)!r}, which is none: {error}") from error
        return found

    def _exchanged(self, line: bytes) -> bytes:
        """Send the line, and read one, without its end."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        deadline = time.monotonic() + self._patience
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if selector.select(0) and (unasked := os.read(process.stdout.fileno(), 1 << 16)):
                self._rest += unasked
            if self._rest:
                raise Failed("one line for each line that was sent", f"beside the last answer {_cut(self._rest)!r}")
            selector.register(process.stdin, selectors.EVENT_WRITE)
            while b"\n" not in self._rest:
                left = deadline - time.monotonic()
                ready = selector.select(left) if left > 0 else []
                if not ready:
                    self._in_vain += 1
                    came = f"{_cut(self._rest)!r} without an end of line" if self._rest else "nothing"
                    raise Failed("an answer", f"{came} in {self._patience:g} s")
                for key, _ in ready:
                    if key.fileobj is process.stdin:
                        with suppress(BrokenPipeError):  # it has ended, as its output will show
                            line = line[os.write(process.stdin.fileno(), line[:4096]) :]
                            if line:
                                continue
                        selector.unregister(process.stdin)
                        continue
                    read = os.read(process.stdout.fileno(), 1 << 16)
                    self._rest += read
                    if not read:
                        self._in_vain += not self._ever
                        raise Failed("an answer", self._ended(process))
                    if len(self._rest) > LONGEST:
                        raise Failed(f"an answer of at most {LONGEST >> 20} MiB", "more")
        answer, _, self._rest = self._rest.partition(b"\n")
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, which is started if there is none."""
        if self._process is not None:
            return self._process
        if self._in_vain >= STARTS:
            raise Failed("an answer", f"nothing: it is not started again, as {STARTS} times there was no answer")
        self._close_output()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(f"{self._command[0]}: cannot be executed: {error.strerror}") from error
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._rest = b""
        return self._process

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(ENDS)
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            return f"the end of the program, {how}"
        return "the end of its output, though it runs"

    def output(self) -> str:
        """The last lines that it has written to stderr."""
        return "" if self._said is None else last_lines(self._said)

    def stop(self) -> None:
        """End the program with all processes of its session's group; what it has written stays readable."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, or its number would be another's
        process.stdout.close()
        process.wait()

    def close(self) -> None:
        """The cases are over: let the program end by itself, as its input does, and end it if it will not."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDS)
        self.stop()
        self._close_output()

    def _close_output(self) -> None:
        if self._said is not None:
            self._said.close()
            self._said = None


def _cut(text: str | bytes) -> str:
    shown = text if isinstance(text, str) else text.decode(errors="replace")
    return shown if len(shown) <= 200 else f"{shown[:200]}..."
