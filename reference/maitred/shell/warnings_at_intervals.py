"""Warnings of a trouble that lasts: repeated in the log at intervals only, so that they do not fill it."""

from __future__ import annotations

import time
from typing import Final

from maitred.shell.io import report

SAY_AGAIN: Final = 30.0
"""Seconds before a lasting trouble is said again."""


class WarningsAtIntervals:
    """The warnings of one Distributor."""

    def __init__(self, name: str) -> None:
        """None has been given yet.

        Args:
            name: of the server class.
        """
        self._name = name
        self._said: dict[str, float] = {}

    def warn(self, text: str, about: str = "") -> None:
        """Log the text, unless the last warning about the same, or with the same text, is recent."""
        now, about = time.monotonic(), about or text
        if now - self._said.get(about, -SAY_AGAIN) >= SAY_AGAIN:
            self._said[about] = now
            report.warning(f"distributor of {self._name}: {text}")
