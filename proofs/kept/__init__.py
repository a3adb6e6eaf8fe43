"""What long runs have found, and tests and pages read: small JSON files by subject, one fact a line.

``proofs/kept/THEME/SUBJECT.json``.  A folder is written by one command, which `proofs/README.md` names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

KEPT: Final = Path(__file__).parent

Facts = dict[str, Any]  # Any: whatever JSON has


def read(folder: Path) -> Facts:
    """All facts of the folder's files; none, where there is no such folder."""
    found: Facts = {}
    for file in sorted(folder.glob("*.json")):
        found |= json.loads(file.read_text(encoding="utf-8"))
    return found


def write(folder: Path, facts: Mapping[str, Any], subject: Callable[[str], str]) -> None:
    """Keep these facts and no others, each in the file of its subject."""
    files: dict[Path, Facts] = {}
    for name, fact in sorted(facts.items()):
        file = folder / (re.sub(r"\W+", "-", subject(name)) + ".json")
        files.setdefault(file, {})[name] = fact
    folder.mkdir(parents=True, exist_ok=True)
    for file in {*folder.glob("*.json")} - files.keys():
        file.unlink()
    for file, content in files.items():
        file.write_text(text(content) + "\n", encoding="utf-8")


def text(content: Mapping[str, Any], indent: int = 1) -> str:
    """The facts as JSON: a line for each that is not made of others."""
    lines = [
        f"{' ' * indent}{json.dumps(name)}: "
        f"{text(fact, indent + 1) if isinstance(fact, dict) and fact else json.dumps(fact)}"
        for name, fact in content.items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{' ' * (indent - 1)}}}"


def before_colon(name: str) -> str:
    """The subject of an obligation: its transition, or its theorem."""
    return name.partition(": ")[0]
