"""Writes what a command generates, or with ``--check`` reports what is stale: one `main` for all such commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def refresh(command: str, files: Mapping[str, tuple[Path, str]], argv: Sequence[str]) -> int:
    """Write the files whose text has changed; with ``--check`` in `argv` write nothing and name them on stderr.

    Args:
        command: the module that `python -m` runs.
        files: by the name to report, the path and the text that belongs there.
        argv: the command's arguments.

    Returns:
        the exit status: 1 if ``--check`` has found a stale file.
    """
    stale = {
        name: (path, text)
        for name, (path, text) in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if "--check" in argv:
        if stale:
            print(f"stale: {', '.join(stale)}; run: python -m {command}", file=sys.stderr)
        return int(bool(stale))
    for path, text in stale.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0
