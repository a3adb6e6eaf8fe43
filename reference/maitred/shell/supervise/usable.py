"""Whether this machine can do what the configuration says; and which CPUs of its processing elements are there now."""

from __future__ import annotations

import os
from collections.abc import Iterator

from maitred.config.model import Config
from maitred.shell.io import kernel, report
from maitred.shell.io.listening import resolve, split_address


class UnusableError(Exception):
    """This machine cannot do what the configuration says; the text says what."""


class Elements:
    """The processing elements, by their index in the configuration."""

    def __init__(self, config: Config) -> None:
        """Look at the CPUs once.

        Raises:
            UnusableError: an element has none.
        """
        self._elements = config.elements
        self._cpus = self._usable()
        for element, cpus in zip(self._elements, self._cpus, strict=True):
            if not cpus:
                here = ", ".join(map(str, sorted(_ours())))
                raise UnusableError(f"processing element {element.name}: none of its CPUs is here; there are: {here}")

    def cpus(self, element: int) -> tuple[int, ...]:
        """The CPUs for a process on the element: those that can be used, else all that are configured."""
        return self._cpus[element] or self._elements[element].cpus

    def changes(self) -> Iterator[tuple[int, bool]]:
        """Look at the CPUs again: each element that has failed or is back, and whether it is back."""
        before, self._cpus = self._cpus, self._usable()
        for i, (had, has) in enumerate(zip(before, self._cpus, strict=True)):
            if bool(had) is not bool(has):
                (report.info if has else report.warning)(
                    f"processing element {self._elements[i].name}: its CPUs are {'back' if has else 'offline'}"
                )
                yield i, bool(has)

    def _usable(self) -> tuple[tuple[int, ...], ...]:
        """Of each element, the CPUs that are there, online and allowed to us."""
        ours = _ours()
        return tuple(tuple(sorted(ours.intersection(element.cpus))) for element in self._elements)


def _ours() -> set[int]:
    return set(kernel.online_cpus() & os.sched_getaffinity(0))


def check_hosts(config: Config) -> None:
    """Check that each host to listen on has an address, while the resolver's error can still be shown.

    Raises:
        UnusableError: one has none.
    """
    for cls in config.classes:
        for _, address in cls.listeners:
            try:
                resolve(*split_address(address))
            except OSError as error:
                raise UnusableError(f"{cls.name}: cannot listen on {address}: {error.strerror}") from error
