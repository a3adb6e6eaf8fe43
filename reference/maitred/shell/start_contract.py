"""What a process finds in its environment when a Monitor starts it as an Application Server: `spec/start.md` in code.

The contract is the same for every program: the Python bootstrap (`maitred.shell.inside.bootstrap`) finds further fields
of its own in the same variable.  The tables of the page are written from here by ``python -m docs.tables``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VERSION: Final = 1
"""One more where a program that keeps the contract as it was would go wrong."""
ENVIRONMENT: Final = "MAITRED_SERVER"
"""The variable: a JSON object on one line, in ASCII."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the variable."""

    name: str
    takes: str
    """Its values."""
    means: str


FIELDS: Final = (
    Field("version", f"{VERSION}", "The version of this contract. A program that does not know it ends."),
    Field("control", "descriptor", "The server's end of the control socket, open and not close-on-exec."),
    Field("server", "1 and above", "The id of this server in the instance; never used again."),
    Field("class", "0 and above", "The place of the server class in the configuration."),
    Field("main", "process id", "The process that the Monitor has started: it is the server's main process."),
    Field("max_clients", "1 and above", "The server is never handed more clients than this at a time."),
)
"""All are integers."""


def encode(fields: Mapping[str, object]) -> str:
    """The value of the variable.

    Args:
        fields: those of `FIELDS` but the version, and any others.
    """
    return json.dumps({"version": VERSION, **fields})
