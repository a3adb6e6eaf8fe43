"""Compiles the C programs of the benchmark: in Python, load generator and servers cost more than what is measured."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
PLACE = Path(__file__).resolve().parents[1] / "build" / "benchmarks"


class Failed(Exception):
    """The benchmark cannot go on; the text says why and what would help."""


def program(name: str) -> Path:
    """The executable made from c/NAME.c, which is compiled where it is older than its source.

    Raises:
        Failed: there is no compiler, or it does not compile.
    """
    return _made(name, PLACE / name, ("-lm",))


def library(name: str) -> Path:
    """The shared library made from c/NAME.c, likewise."""
    return _made(name, PLACE / f"{name}.so", ("-shared", "-fPIC"))


def _made(name: str, made: Path, options: tuple[str, ...]) -> Path:
    source = SOURCES / f"{name}.c"
    if made.exists() and made.stat().st_mtime >= source.stat().st_mtime:
        return made
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise Failed(f"{compiler[0]}: no such C compiler (apt-get install gcc libc6-dev, or name another: CC=clang)")
    PLACE.mkdir(parents=True, exist_ok=True)
    fresh = PLACE / f"{made.name}.{os.getpid()}"
    command = [*compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{shlex.join(command)} failed:\n{done.stderr}")
    fresh.replace(made)  # at once: another process may be about to run it
    return made
