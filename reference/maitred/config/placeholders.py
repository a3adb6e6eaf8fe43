"""Placeholders that distinguish the copies of a server class in their arguments and their environment.

Two copies that write one pid file, or open one port for their metrics, are in each other's way.  So a configuration may
use ``{server}`` where they must differ.  Other text in braces is the program's own, and is left unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

NUMBER: Final = "MAITRED_SERVER_NUMBER"
"""In the environment of every program: what ``{server}`` stands for."""

_PLACEHOLDER: Final = re.compile(r"(\{?)\{(class|(?:server|incarnation)(?::0[1-9])?)\}(\}?)")


def values(class_name: str, place: int, incarnation: int) -> dict[str, str]:
    """What each placeholder stands for, for one copy.

    Args:
        class_name: of its server class.
        place: the place that the copy fills, from 0; static ones come first, and a free one is filled again.
        incarnation: the copy's own number, as in the log and the status: never used again.
    """
    return {"class": class_name, "server": str(place + 1), "incarnation": str(incarnation)}


def fill(text: str, known: Mapping[str, str]) -> str:
    """The text with its placeholders replaced.

    ``{server:02}`` gives at least two digits, and ``{{server}}`` gives ``{server}``.
    """

    def put(match: re.Match[str]) -> str:
        before, what, after = match.groups()
        if before and after:
            return f"{{{what}}}"
        name, _, width = what.partition(":")
        return before + known[name].zfill(int(width or 0)) + after

    return _PLACEHOLDER.sub(put, text)
