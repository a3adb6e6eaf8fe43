"""The programs of each class by their numbers, by which the machine knows them."""

from __future__ import annotations

from typing import Final

from maitred.config.model import Config, ServerClass
from maitred.core.monitor import ClassId, ProgramId

PROGRAM: Final = (
    "program",
    "interpreter",
    "interpreter_options",
    "path",
    "directory",
    "environment",
    "memory_limit",
    "stop_signal",
)
"""The fields of a class that make its program: a server that differs in one of them is another one."""


class Programs:
    """The programs of all classes; number 0 is what was configured at the start."""

    def __init__(self, config: Config) -> None:
        """Those of the configuration."""
        self._known: list[list[ServerClass]] = [[cls] for cls in config.classes]

    def of(self, class_id: ClassId, program: ProgramId) -> ServerClass:
        """The class as it was configured when the program got its number."""
        return self._known[class_id][program]

    def number(self, class_id: ClassId, cls: ServerClass) -> ProgramId:
        """The number of the class's program: the one that it had before, or the next."""
        known = self._known[class_id]
        for number, other in enumerate(known):
            if all(getattr(other, name) == getattr(cls, name) for name in PROGRAM):
                return number
        known.append(cls)
        return len(known) - 1
