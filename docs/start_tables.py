"""The tables of `spec/start.md`: the start contract's fields, its limits, and one conversation byte for byte.

They follow from the code; ``python -m docs.tables`` writes them into the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from maitred.config import values
from maitred.core import wire
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    BindReply,
    BindRequest,
    Client,
    Count,
    Disconnect,
    HandOff,
    InitialMsg,
    RestartReply,
)
from maitred.core.timing import Durations
from maitred.shell import binding, conduct, start_contract

Row = tuple[str, ...]

_CLIENT: Final = Client(0, 4711, 8000)
CONVERSATION: Final[tuple[tuple[str, str, wire.Message, str], ...]] = (
    ("server", "control", BindRequest(8000, "127.0.0.1:8000"), "one end of a new dialog"),
    ("Distributor", "control", BindReply(8000, 0), ""),
    ("Distributor", "dialog", InitialMsg(1), ""),
    ("server", "dialog", RestartReply(1, Count(0, 1)), ""),
    ("Distributor", "dialog", HandOff(_CLIENT), "the client's connection"),
    ("server", "dialog", Accepted(_CLIENT, Count(1, 2)), ""),
    ("server", "dialog", Disconnect(_CLIENT, Count(0, 3)), ""),
    ("Distributor", "control", Acknowledge(3), ""),
)
"""From whom, on which channel, what, and what goes beside it."""


def spaced(packet: bytes) -> str:
    """The packet in hexadecimal: the tag, then the fields in eights, as far as they are whole."""
    digits = packet.hex()
    return " ".join([digits[:2], *(digits[at : at + 16] for at in range(2, len(digits), 16))])


def conversation() -> Iterator[Row]:
    """The rows of the conversation."""
    yield "from", "on", "message", "bytes", "beside it"
    for who, channel, message, beside in CONVERSATION:
        yield who, channel, f"`{message}`", f"`{spaced(wire.encode(message))}`", beside


def fields() -> Iterator[Row]:
    """The rows of the fields."""
    yield "field", "value", "meaning"
    for field in start_contract.FIELDS:
        yield f"`{field.name}`", field.takes, field.means


def limits() -> Iterator[Row]:
    """The rows of the limits."""
    default = Durations()
    yield "limit", "value"
    yield "bytes of a packet, at most", f"{wire.LIMIT:,}"
    yield "ports of a server, at most", f"{values.MAX_PORTS}"
    yield "`max_clients`, at most", f"{values.MAX_CLIENTS:,}"
    yield "addresses of a port that is not configured, at most", f"{binding.ADDRESSES}"
    yield "offences after which the server is killed", f"{conduct.PATIENCE}"
    yield "packets that are read of a server: of each client", f"{conduct.A_CLIENT}"
    yield "beside these, in each second (more are read later; they are no offence)", f"{conduct.A_SECOND}"
    yield "numbers by which messages may overtake each other, at most", f"{conduct.WINDOW - 1:,}"
    yield (
        "seconds for an answer to a hand-off (`hand_off_timeout`), then the server is killed",
        _of(default.hand_off_timeout),
    )
    yield (
        "seconds until a program that has sent no `BindRequest` is logged (`start_warning`)",
        _of(default.start_warning),
    )
    yield "seconds from SIGTERM to SIGKILL (`kill_delay`)", _of(default.kill_delay)


def _of(seconds: float) -> str:
    return f"{seconds:g} by default"
