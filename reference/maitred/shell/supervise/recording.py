"""Where the machines of an instance record their steps: in the verifier's rings, in the trace file, or nowhere."""

from __future__ import annotations

from maitred.config.model import Config
from maitred.shell.io import report
from maitred.shell.io.loop import Loop
from maitred.shell.observe.verifier import Verifier, VerifierMain
from maitred.shell.supervise.launch import Child
from maitred.shell.supervise.usable import UnusableError


class Recording:
    """The records of one instance."""

    def __init__(self, config: Config, verifier_main: VerifierMain | None) -> None:
        """Open what the configuration wants.

        Args:
            config: of the instance.
            verifier_main: the verifier's process, for a configuration that wants one.

        Raises:
            UnusableError: it cannot be opened.
        """
        self._verifier = _open_verifier(config, verifier_main)
        self._trace = _open_trace(config) if self._verifier is None else None

    def start(self, loop: Loop) -> None:
        """Start the verifier, if one is wanted."""
        if self._verifier is not None:
            self._verifier.start(loop)

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


def _open_trace(config: Config) -> int | None:
    if config.trace is None:
        return None
    try:
        return report.open_file(config.trace, empty=True)
    except OSError as error:
        raise UnusableError(f"the trace {config.trace} cannot be written: {error.strerror}") from error


def _open_verifier(config: Config, verifier_main: VerifierMain | None) -> Verifier | None:
    if not config.verify:
        return None
    assert verifier_main is not None, "whoever wants steps verified says by what process"
    try:
        return Verifier(verifier_main)
    except OSError as error:
        raise UnusableError(f"there is no memory for what the verifier reads: {error.strerror}") from error
