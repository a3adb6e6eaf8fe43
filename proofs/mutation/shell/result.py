"""The recorded result of every killer against its mutant, and the part of the page that describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from proofs.mutation.core.mutant import Mutant
from proofs.mutation.shell import CATALOGUE
from proofs.mutation.shell.run import Outcome, fingerprint

FILE: Final = Path(__file__).with_name("result.json")
COMMAND: Final = "make shell-mutants"
TITLES: Final = {
    "driver": "Driver",
    "distributor": "Distributor",
    "distributor_status": "Distributor's status",
    "listeners": "Listeners",
    "dialogs": "Dialogs",
    "binding": "Binding",
    "audit": "Audit",
    "monitor": "Monitor",
    "servers": "Processes of servers",
    "distributors": "Processes of Distributors",
    "standby": "Standby",
    "kept": "Kept descriptors",
    "spares": "Spare descriptors",
    "inquiry": "Inquiry",
    "requests": "Requests",
    "news": "News of classes",
    "endpoint": "Endpoint",
    "control_socket": "Control socket",
    "registry": "Registry",
    "stand_in": "Stand-in",
    "descriptor_table": "Descriptor table",
    "connections": "Connections",
    "processes": "Fork and exec",
    "channel": "Channel",
    "loop": "Loop",
    "conduct": "Conduct of servers",
    "listening": "Listening sockets",
    "launch": "Launch",
    "exec_server": "Exec of a server",
    "bootstrap": "Bootstrap",
    "workers": "Workers",
    "listener": "Listener",
    "descendants": "Descendants",
    "kernel": "Kernel",
    "sock_diag": "Socket diagnosis",
    "status": "Status",
    "trace": "Trace",
    "ring": "Ring of the verifier",
    "verifier": "Verifier",
    "report": "Log",
}
INTRODUCTION: Final = """\
The shell (`reference/maitred/shell`) is mutated in the same way, in a copy of the package that every process of a test
finds first. Each mutant of [`proofs/mutation/shell/`](../../proofs/mutation/shell/__init__.py) names its killer, which
fails on it by itself and passes on the unmutated code. `make shell-mutants` ran them all and recorded the result;
`make test` runs a cut, and fails where a function, an edit or a killer has changed since.
"""

Record: TypeAlias = Mapping[str, Mapping[str, str]]
"""By the mutant's name: ``outcome``, and ``of``, the fingerprint of what was run."""


def recorded() -> Record:
    """The recorded result."""
    found: Record = json.loads(FILE.read_text())
    return found


def entry(mutant: Mutant, outcome: Outcome) -> dict[str, str]:
    """What is recorded of a mutant."""
    return {"outcome": outcome.value, "of": fingerprint(mutant)}


def stale(record: Record, catalogue: Mapping[str, Mutant] = CATALOGUE) -> list[str]:
    """Where the record is not of the catalogue and the code as they are: a line for each mutant, with the reason."""
    found = [f"{name}: no longer in the catalogue" for name in record if name not in catalogue]
    for name, mutant in catalogue.items():
        if name not in record:
            found.append(f"{name}: never run")
        elif record[name]["of"] != fingerprint(mutant):
            found.append(f"{name}: {mutant.where}, the edit or {mutant.tests[0]} has changed since")
        elif record[name]["outcome"] != Outcome.KILLED.value:
            found.append(f"{name}: {record[name]['outcome']}")
    return found


def section(record: Record) -> Iterator[str]:
    """The lines of the page that describe the shell's mutants."""
    yield "\n## The shell\n"
    yield from INTRODUCTION.splitlines()
    killed = sum(record.get(name, {}).get("outcome") == Outcome.KILLED.value for name in CATALOGUE)
    left = [name for name in CATALOGUE if record.get(name, {}).get("outcome") != Outcome.KILLED.value]
    survivors = f"survived: {', '.join(left)}" if left else "none survived"
    yield f"\n{len(CATALOGUE)} mutants; {killed} killed; {survivors}.\n"
    yield "| part | mutant | kind | what users would suffer | killed by |"
    yield "|---|---|---|---|---|"
    for module, title in TITLES.items():
        for mutant in CATALOGUE.values():
            if mutant.module == module:
                yield _row(title, mutant, record)


def _row(title: str, mutant: Mutant, record: Record) -> str:
    killed = record.get(mutant.name, {}).get("outcome") == Outcome.KILLED.value
    killers = ", ".join(f"**`{test.rpartition('::')[2]}`**" for test in mutant.tests) if killed else "survived"
    return f"| {' | '.join((title, mutant.name.replace('_', ' '), mutant.kind.value, mutant.suffers, killers))} |"
