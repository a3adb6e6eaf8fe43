"""On which line of a TOML file each key stands, which `tomllib` does not keep.

The text has been parsed before, so it is valid TOML; only as much of it is read here as shows where keys are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value, such as ``("class", 0, "static")``."""

_TOKEN: Final = re.compile(
    r"""(?s)\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*'"""
    r"""|\#[^\n]*|[\[\]{},=\n]|[^\s\[\]{},=\#"']+"""
)
_PART: Final = re.compile(r""""(?:[^"\\\n]|\\.)*+"|'[^'\n]*'|[^\s."']+""")


def lines(text: str) -> dict[Path, int]:
    """The line, from 1, of each key and of each item of an array in a valid TOML document."""
    return _Scan(text).found


@dataclass(slots=True)
class _Open:
    """An array or an inline table whose end has not been read."""

    path: Path
    index: int
    """Of the item that is being read; -1 in an inline table."""


class _Scan:
    """One pass over the tokens of a document."""

    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._line = 1
        self._last: dict[Path, int] = {}
        """The index of the last item of each array of tables."""
        self._tokens = self._numbered(text)
        table: Path = ()
        words: list[str] = []
        for token in self._tokens:
            if token == "=":
                self._value(self._noted(table, _parts(words)))
                words = []
            elif token == "]":
                table = self._header(words)
                words = []
            elif token != "\n" and not token.startswith("#"):
                words.append(token)

    def _numbered(self, text: str) -> Iterator[str]:
        """The tokens; meanwhile the line is that of the last one."""
        at = 0
        for match in _TOKEN.finditer(text):
            self._line += text.count("\n", at, match.start())
            at = match.start()
            yield match[0]

    def _noted(self, table: Path, parts: Sequence[str | int]) -> Path:
        """The path of what stands in the table under these parts of a key, each noted with this line."""
        for part in parts:
            table = (*table, part)
            self.found.setdefault(table, self._line)
            if table in self._last:
                table = (*table, self._last[table])
        return table

    def _header(self, words: Sequence[str]) -> Path:
        """The table that ``[a.b]`` or ``[[a.b]]`` opens; of the latter, the first of the two ends has been read."""
        if words[1] != "[":
            return self._noted((), _parts(words[1:]))
        next(self._tokens)
        *outer, name = _parts(words[2:])
        array = (*self._noted((), outer), name)
        self._last[array] = self._last.get(array, -1) + 1
        table = self._noted(array[:-1], [name])
        self.found[table] = self._line
        return table

    def _value(self, path: Path) -> None:
        """Read a value to its end; note what is in an array or an inline table."""
        stack: list[_Open] = []
        words: list[str] = []
        for token in self._tokens:
            if not stack and token == "\n":
                return
            if token == "\n" or token.startswith("#"):
                continue
            if token in ("]", "}"):
                stack.pop()
                words = []
            elif token == ",":
                stack[-1].index += stack[-1].index >= 0
                words = []
            elif token == "=":
                path = self._noted(stack[-1].path, _parts(words))
                words = []
            elif stack and stack[-1].index < 0 and token not in ("[", "{"):
                words.append(token)
            elif stack and stack[-1].index >= 0:
                path = self._noted(stack[-1].path, [stack[-1].index])
            if token in ("[", "{"):
                stack.append(_Open(path, 0 if token == "[" else -1))


def _parts(words: Sequence[str]) -> list[str]:
    """The parts of a dotted key."""
    return [_plain(part) for part in _PART.findall(" ".join(words))]


def _plain(part: str) -> str:
    """A part of a key without its quotation marks."""
    if part.startswith("'"):
        return part[1:-1]
    return next(iter(tomllib.loads(f"{part} = 0"))) if part.startswith('"') else part
