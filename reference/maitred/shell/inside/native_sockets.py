"""Names the libraries that make their sockets outside Python, in C or Rust, where nothing can stand in for a listener.

A server that listens with one of them can never be handed a client: the Distributor holds its port, so its own bind
fails, or the stand-in never sees it listen.  Neither shows a user why.  So a server's processes note in its registry
which of these libraries they import, and where such a server does not become ready, the Monitor names the library and
the remedy.  To import one is no error: it may be used for something else.

An event loop among them (uvloop) takes a socket that Python has bound, and then fails to listen without an error.  So a
bind is refused in a thread where such a loop runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EOPNOTSUPP
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final


@dataclass(frozen=True, slots=True)
class NativeLibrary:
    """A library that makes sockets of its own."""

    module: str
    """The package that is imported."""
    language: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.module} makes its sockets in {self.language}, out of reach: {self.remedy}"


LIBRARIES: Final = (
    NativeLibrary("uvloop", "C", "use asyncio's own event loop (uvicorn: --loop asyncio; Sanic: USE_UVLOOP = False)"),
    NativeLibrary(
        "granian", "Rust", "use a server that accepts through Python's socket (uvicorn --loop asyncio, hypercorn)"
    ),
    NativeLibrary("grpc", "C++", "serve with a gRPC library in pure Python (grpclib)"),
)
"""Each is a bit in the registry, by its place: append, and keep the order."""


def libraries(noted: int) -> tuple[NativeLibrary, ...]:
    """The libraries whose bits are set."""
    return tuple(library for place, library in enumerate(LIBRARIES) if noted >> place & 1)


def refuse_loop() -> None:
    """Raise where the event loop that runs in this thread listens by itself.

    Raises:
        OSError: with EOPNOTSUPP; the text names the library and the remedy.
    """
    events = sys.modules.get("asyncio.events")
    loop = None if events is None else events._get_running_loop()
    package = type(loop).__module__.partition(".")[0]
    for library in LIBRARIES:
        if library.module == package:
            raise OSError(EOPNOTSUPP, str(library))


def watch(note: Callable[[int], None]) -> None:
    """From now on, call ``note`` with the bit of each of the libraries that this process imports."""
    sys.meta_path.insert(0, _Watcher(note))


class _Watcher:
    """A finder that finds nothing; it notes what is imported."""

    def __init__(self, note: Callable[[int], None]) -> None:
        self._note = note
        self._bits = {library.module: 1 << place for place, library in enumerate(LIBRARIES)}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leave it to the others."""
        if fullname in self._bits:
            self._note(self._bits[fullname])
        return None
