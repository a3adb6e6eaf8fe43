"""Descriptors held in reserve, so that a Distributor can be started when those who wait have taken all others."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from maitred.shell.io import channel

SPARES: Final = 16
"""Descriptors that starting a Distributor may take."""


class Spares:
    """The reserve."""

    def __init__(self) -> None:
        """An empty reserve."""
        self._fds: list[int] = []

    def fill(self) -> None:
        """Hold as many as can be had."""
        with suppress(OSError):
            while len(self._fds) < SPARES:
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        """Close all."""
        channel.drop(self._fds)
        self._fds.clear()
