"""Where an instance writes its log and the steps of its machines: the verifier's rings, the trace file, or nowhere."""

from __future__ import annotations

import os
from pathlib import Path

from maitred.config.model import Config
from maitred.shell.distributor_status import LOG, TRACE
from maitred.shell.io import report
from maitred.shell.io.loop import Loop
from maitred.shell.observe.verifier import Verifier, VerifierMain
from maitred.shell.supervise.launch import Child
from maitred.shell.supervise.usable import UnusableError


class Recording:
    """The log and the records of one instance."""

    def __init__(self, config: Config, verifier_main: VerifierMain | None) -> None:
        """Open what the configuration wants.

        Args:
            config: of the instance.
            verifier_main: the verifier's process, for a configuration that wants one.

        Raises:
            UnusableError: it cannot be opened.
        """
        self._config = config
        self._log = _open("log", config.log, empty=False)
        self._verifier = _open_verifier(config, verifier_main)
        self._trace = _open("trace", config.trace, empty=True) if self._verifier is None else None

    def start(self, loop: Loop) -> None:
        """Write the log where it is wanted from now on, and start the verifier, if one is wanted."""
        if self._log is not None:
            report.log_to(self._log)
        if self._verifier is not None:
            self._verifier.start(loop)

    def open_again(self) -> dict[bytes, int]:
        """Open the log and the trace by their names, and write there from now on.

        Returns:
            new descriptors of those that there are, for the caller to pass on and close.

        Raises:
            OSError: one of them cannot be opened: nothing has changed.
        """
        paths = {LOG: self._config.log, TRACE: None if self._trace is None else self._config.trace}
        files: dict[bytes, int] = {}
        try:
            for name, path in paths.items():
                if path is not None:
                    files[name] = report.open_file(path, empty=False)
        except OSError:
            for fd in files.values():
                os.close(fd)
            raise
        if LOG in files:
            report.log_to(os.dup(files[LOG]))
            if self._verifier is not None:
                self._verifier.log_to(files[LOG])
        if TRACE in files and self._trace is not None:
            os.dup2(files[TRACE], self._trace, inheritable=False)
        return files

    def begin(self, machine: str) -> int | None:
        """The machine is about to be started: the descriptor of its ring or of the trace, or None."""
        return self._trace if self._verifier is None else self._verifier.add(machine)

    def end(self, machine: str) -> None:
        """No process of the machine is left."""
        if self._verifier is not None:
            self._verifier.over(machine)

    def finish(self) -> None:
        """All machines have ended: let the verifier check what is left, and end it."""
        if self._verifier is not None:
            self._verifier.finish()

    @property
    def child(self) -> Child | None:
        """The verifier's process."""
        return None if self._verifier is None else self._verifier.child

    def status(self) -> dict[str, object]:
        """For the status: the verifier's totals, if there is one."""
        return {} if self._verifier is None else {"verify": self._verifier.status()}


def _open(what: str, path: Path | None, *, empty: bool) -> int | None:
    if path is None:
        return None
    try:
        return report.open_file(path, empty=empty)
    except OSError as error:
        raise UnusableError(f"the {what} {path} cannot be written: {error.strerror}") from error


def _open_verifier(config: Config, verifier_main: VerifierMain | None) -> Verifier | None:
    if not config.verify:
        return None
    assert verifier_main is not None, "whoever wants steps verified says by what process"
    try:
        return Verifier(verifier_main)
    except OSError as error:
        raise UnusableError(f"there is no memory for what the verifier reads: {error.strerror}") from error
