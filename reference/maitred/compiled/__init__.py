"""The core, compiled: an option.  `python -m maitred.compiled` builds it, and `switch_on` has a process use it.

The extension modules are in a directory of their own.  With them is the digest of the sources that they were made of:
where a source has changed since, or none are built, the core is plain Python.  Only the processes of an instance use
them, as ``maitred run`` and `maitred.shell` call `switch_on`; the explorer, the proofs and the tests run the sources.

``MAITRED_CORE`` in the environment names another directory, absolute; with ``MAITRED_CORE=plain``, the sources run.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

from maitred import core

MODULES: Final = ("transition", "messages", "tree", "distributor", "server", "monitor")
"""What is compiled of `maitred.core`."""
SHARED: Final = "maitred_core__mypyc"
"""The extension module with the code of all of them; the others only refer to it."""
SOURCES: Final = Path(core.__path__[-1])
BUILT: Final = Path(__file__).parent / f"built{EXTENSION_SUFFIXES[0].removesuffix('.so')}"
"""Where the build for this interpreter is, if there is one and the environment names no other."""


def digest() -> str:
    """A digest of what the extension modules are made of: the sources, and what writes them for mypyc."""
    files = [*(SOURCES / f"{module}.py" for module in MODULES), Path(__file__).with_name("__main__.py")]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def built() -> Path | None:
    """Where there are extension modules of the sources as they are now; None if the sources are to run."""
    directory = Path(os.environ.get("MAITRED_CORE", BUILT))
    try:
        same = (directory / "digest").read_text() == digest()
    except OSError:
        return None
    return directory if same else None


def switch_on() -> None:
    """Have `maitred.core` import the extension modules from now on, if there are any and none of the sources runs."""
    directory = built()
    if directory is None or any(f"maitred.core.{module}" in sys.modules for module in MODULES):
        return
    loader = ExtensionFileLoader(SHARED, str(directory / (SHARED + EXTENSION_SUFFIXES[0])))
    spec = spec_from_file_location(SHARED, loader=loader)
    assert spec is not None, "a loader was given"
    sys.modules[SHARED] = module_from_spec(spec)
    loader.exec_module(sys.modules[SHARED])
    core.__path__.insert(0, str(directory / "maitred" / "core"))


def running() -> str:
    """What this process runs: ``compiled`` or ``plain Python``."""
    return "compiled" if SHARED in sys.modules else "plain Python"


def kind() -> str:
    """What an instance that is started now runs: ``compiled`` or ``plain Python``."""
    return "plain Python" if built() is None else "compiled"
