"""Writes down what the tests run with: every package, its version, and the hash of the file that is installed.

``make lock`` resolves ``.[test,verify]`` as pip does, for the Python of the virtual environment, and writes
``requirements/test-VERSION.txt``.  ``make test`` then installs exactly these files (``--require-hashes``) where the
Python, the machine and the C library are those that they are for, and resolves again elsewhere, or with
``LOCKED=no``.  A file names no index: whichever pip is set up for must have the same files.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EXTRAS = ".[test,verify]"


def place() -> str:
    """What the files are for: wheels differ by it."""
    library = "-".join(part for part in platform.libc_ver()[:1] if part) or "libc"
    return f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]} {sysconfig.get_platform()} {library}"


def file() -> Path:
    """The file of this Python's version."""
    return HERE / f"test-{sys.version_info[0]}.{sys.version_info[1]}.txt"


def fits() -> bool:
    """Whether there is a file for this very place."""
    return file().exists() and file().read_text().startswith(f"# {place()}\n")


def locked(report: dict[str, Any]) -> list[str]:  # Any: parsed JSON
    """The lines of the file, from pip's report of an installation."""
    found = []
    for item in report["install"]:
        name, version = item["metadata"]["name"].lower().replace("_", "-"), item["metadata"]["version"]
        if item["is_direct"]:
            continue  # maitred itself
        hashes = item["download_info"]["archive_info"]["hashes"]
        found.append(f"{name}=={version} --hash=sha256:{hashes['sha256']}")
    return sorted(found)


def main() -> int:
    """With ``--fits`` print the file that fits, or nothing; else write it."""
    if sys.argv[1:] == ["--fits"]:
        print(file() if fits() else "")
        return 0
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--report", "-", EXTRAS]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, check=True)
    head = [f"# {place()}", "# Written by `make lock` from pyproject.toml; do not edit."]
    lines = [*head, *locked(json.loads(done.stdout))]
    file().write_text("\n".join(lines) + "\n")
    print(f"{file().relative_to(HERE.parent)}: {len(lines) - len(head)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
