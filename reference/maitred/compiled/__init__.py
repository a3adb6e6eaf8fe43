"""The core and the hot part of the shell, compiled: an option.  `python -m maitred.compiled` builds them.

The extension modules are in a directory of their own.  With them is the digest of the sources that they were made of:
where a source has changed since, or none are built, all is plain Python.  Only the processes of an instance use them,
as ``maitred run`` and `maitred.shell` call `switch_on`; the explorer, the proofs and the tests run the sources.

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

MODULES: Final = (
    "core.transition",
    "core.messages",
    "core.tree",
    "core.wire",
    "core.distributor",
    "core.server",
    "core.monitor",
    "shell.driver",
    "shell.io.channel",
    "shell.io.registry",
    "shell.inside.control_socket",
    "shell.inside.endpoint",
)
"""What is compiled of `maitred`: the machines, and what every connection passes."""
SHARED: Final = "maitred_hot__mypyc"
"""The extension module with the code of all of them; the others only refer to it."""
SOURCES: Final = Path(core.__path__[-1]).parent
BUILT: Final = Path(__file__).parent / f"built{EXTENSION_SUFFIXES[0].removesuffix('.so')}"
"""Where the build for this interpreter is, if there is one and the environment names no other."""


def source(module: str) -> Path:
    """The file of one of `MODULES`."""
    return SOURCES.joinpath(*module.split(".")).with_suffix(".py")


def digest() -> str:
    """A digest of what the extension modules are made of: the sources, and what writes them for mypyc."""
    files = [*map(source, MODULES), Path(__file__).with_name("__main__.py")]
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
    """Have the extension modules imported from now on, if there are any and none of the sources runs."""
    directory = built()
    if directory is None or any(f"maitred.{module}" in sys.modules for module in MODULES):
        return
    loader = ExtensionFileLoader(SHARED, str(directory / (SHARED + EXTENSION_SUFFIXES[0])))
    spec = spec_from_file_location(SHARED, loader=loader)
    assert spec is not None, "a loader was given"
    sys.modules[SHARED] = module_from_spec(spec)
    loader.exec_module(sys.modules[SHARED])
    core.__path__[:0] = path(core.__name__)


def path(package: str) -> list[str]:
    """Where to look for modules of the package before its sources."""
    shared = sys.modules.get(SHARED)
    return [] if shared is None else [str(Path(str(shared.__file__)).parent.joinpath(*package.split(".")))]


def running() -> str:
    """What this process runs: ``compiled`` or ``plain Python``."""
    return "compiled" if SHARED in sys.modules else "plain Python"


def kind() -> str:
    """What an instance that is started now runs: ``compiled`` or ``plain Python``."""
    return "plain Python" if built() is None else "compiled"
