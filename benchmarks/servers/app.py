"""The same small answer as an application of gunicorn (`app:wsgi`) and of uvicorn (`app:asgi`)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any


def small() -> bytes:
    """64 bytes; the pid is that of the worker, which may have been forked after this module was imported."""
    return f"{os.getpid()}".ljust(63).encode() + b"\n"


def wsgi(_environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "64")])
    return [small()]


async def asgi(scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})
        await send({"type": "http.response.body", "body": small()})
