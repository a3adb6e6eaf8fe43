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
class Maker:
    """A library that makes sockets of its own."""

    module: str
    """The package that is imported."""
    language: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.module} makes its sockets in {self.language}, out of reach: {self.remedy}"


MAKERS: Final = (
    Maker("uvloop", "C", "use asyncio's own event loop (uvicorn: --loop asyncio; Sanic: USE_UVLOOP = False)"),
    Maker("granian", "Rust", "use a server that accepts through Python's socket (uvicorn --loop asyncio, hypercorn)"),
    Maker("grpc", "C++", "serve with a gRPC library in pure Python (grpclib)"),
)
"""Each is a bit in the registry, by its place: append, and keep the order."""


def makers(noted: int) -> tuple[Maker, ...]:
    """The libraries whose bits are set."""
    return tuple(maker for place, maker in enumerate(MAKERS) if noted >> place & 1)


def refuse_loop() -> None:
    """Raise where the event loop that runs in this thread listens by itself.

    Raises:
        OSError: with EOPNOTSUPP; the text names the library and the remedy.
    """
    events = sys.modules.get("asyncio.events")
    loop = None if events is None else events._get_running_loop()
    library = type(loop).__module__.partition(".")[0]
    for maker in MAKERS:
        if maker.module == library:
            raise OSError(EOPNOTSUPP, str(maker))


def watch(note: Callable[[int], None]) -> None:
    """From now on, call ``note`` with the bit of each of the libraries that this process imports."""
    sys.meta_path.insert(0, _Watcher(note))


class _Watcher:
    """A finder that finds nothing; it notes what is imported."""

    def __init__(self, note: Callable[[int], None]) -> None:
        self._note = note
        self._bits = {maker.module: 1 << place for place, maker in enumerate(MAKERS)}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leave it to the others."""
        if fullname in self._bits:
            self._note(self._bits[fullname])
        return None
