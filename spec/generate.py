"""Writes the parts of this folder that follow from the code, so that the protocol is written once.

``python -m spec.generate`` writes `wire.md` (each message: tag, fields, meaning), ``vectors/bytes.jsonl`` (messages and
their bytes, for whoever writes another implementation), `properties.md` (what the model checks) and `configurations.md`
(within which bounds); ``--check`` writes nothing and exits 1 where a file is stale.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from docs import start_tables
from docs.refresh import refresh
from spec.vectors import packets

from maitred.core import messages, wire
from maitred.model.check.liveness import LIVENESS
from maitred.model.check.manifest import COUNTS, TIERS, Configuration, load
from maitred.model.claims.safety import PROPERTIES
from maitred.model.world import ANY, Bounds
from maitred.shell.io.listening import MAX_PORT

HERE = Path(__file__).parent

CHANNELS = (
    ("Dialog, towards the server", messages.ToServer),
    ("Dialog, from the server", messages.FromServer),
    ("Control, from the server", messages.ControlFromServer),
    ("Control, towards the server", messages.ControlToServer),
    ("From the Monitor to a Distributor", messages.ToDistributor),
    ("From a Distributor to the Monitor", messages.ToMonitor),
)

DESCRIPTORS = {
    "HandOff": "the client's connection",
    "BindRequest": "the Distributor's end of a fresh dialog",
    "Adopt": "the Distributor's end of the control socket, the server's registry, its end of each dialog in order",
    "Restore": "the client's connection",
    "Store": "the client's connection",
    "KeepDialog": "the Distributor's end of the dialog",
    "KeepListener": "the listening socket or sockets of the address",
}


def field_docs(kind: type[Any]) -> dict[str, str]:
    """The string under each field of a class."""
    found: dict[str, str] = {}
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    last = ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif last and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[last] = " ".join(str(node.value.value).split())
    return found


def type_name(hint: Any) -> str:
    """How the type of a field is written in the tables."""
    if get_origin(hint) is tuple:
        return f"list of {type_name(get_args(hint)[0])}"
    return str(hint.__name__)


def wire_page() -> str:
    """The text of `wire.md`."""
    rules = inspect.getdoc(wire) or ""
    table = (
        "| field | bytes |\n|---|---|\n"
        "| int | 8, signed, most significant first |\n"
        "| bool | 1: 0 or 1 |\n"
        "| str | 2 for the length in bytes, most significant first; then UTF-8 |\n"
        "| list | 2 for the number of items, most significant first; then the items |\n"
        "| Client | 24: its three fields in order |\n"
        "| Count | 16: its two fields in order |\n"
    )
    assert "8, signed, most significant first" in rules, "the table here repeats the module's"
    out = [
        "# Wire format",
        "",
        "Generated from `maitred.core.messages` and `maitred.core.wire` by `python -m spec.generate`; do not edit.",
        "",
        "Every channel is a pair of `AF_UNIX` `SOCK_SEQPACKET` sockets; one message is one packet of at most",
        f"{wire.LIMIT:,} bytes: a tag of one byte, then the fields in order, nothing else. Descriptors travel beside",
        "the packet as `SCM_RIGHTS`. Any other bytes are an error. Examples with their bytes are in",
        "[`vectors/bytes.jsonl`](vectors/bytes.jsonl).",
        "",
        table,
    ]
    tags = {kind: tag for tag, kind in wire.TAGS.items()}
    for title, union in CHANNELS:
        out += [f"## {title}", ""]
        for kind in get_args(union) or (union,):
            out += [f"### {tags[kind]}: {kind.__name__}", "", " ".join((kind.__doc__ or "").split()), ""]
            if kind.__name__ in DESCRIPTORS:
                out += [f"Beside it: {DESCRIPTORS[kind.__name__]}.", ""]
            out += [*field_rows(kind, 1), example(kind), ""]
    out += [
        "## Values with a meaning of their own",
        "",
        "| value | where | meaning |",
        "|---|---|---|",
        f"| {messages.BIND_YOURSELF} | `BindReply.errno` | `BIND_YOURSELF`: no port of the server class. |",
        "| 0 | `BindReply.errno` | The Distributor listens. Above 0: a Linux error number. |",
        "| 0 | `NotReady.incarnation` | Unasked: the program has closed its listener. Distributors count from 1. |",
        f"| 1 to {MAX_PORT} | `port` | A TCP port. |",
        "",
        "The first `sequence` that a server sends is 1. What a server may send, and how much, is in",
        "[the start contract](start.md#6-what-is-checked).",
        "",
    ]
    out += ["## Values within messages", ""]
    for kind in (messages.Client, messages.Count):
        out += [f"### {kind.__name__}", "", " ".join((kind.__doc__ or "").split()), "", *field_rows(kind, 0)]
    return "\n".join(out).rstrip() + "\n"


def example(kind: type[Any]) -> str:
    """The first vector of the message."""
    row = next(row for row in map(json.loads, packets.text().splitlines()) if _is_of(row, kind))
    return f"Example (`{row['id']}`): `{start_tables.spaced(bytes.fromhex(row['bytes']))}`"


def _is_of(row: dict[str, Any], kind: type[Any]) -> bool:  # Any: JSON
    message = row.get("message")
    return isinstance(message, dict) and message["is"] == kind.__name__


def places(kind: type[Any], first: int) -> list[str]:
    """At which bytes each field stands, where those before it have one length."""
    found: list[str] = []
    for size in (_SIZES.get(hint) for hint in (get_type_hints(kind)[field.name] for field in fields(kind))):
        if first < 0:
            found.append("after it")
        elif size is None:
            found.append(f"from {first}")
        else:
            found.append(str(first) if size == 1 else f"{first} to {first + size - 1}")
        first = -1 if size is None or first < 0 else first + size
    return found


_SIZES: Final = {int: 8, bool: 1, messages.Client: 24, messages.Count: 16}


def field_rows(kind: type[Any], first: int) -> Iterator[str]:
    """The table of a class's fields, of which the first stands at byte ``first``; nothing for one that has none."""
    if not fields(kind):
        return
    docs, hints = field_docs(kind), get_type_hints(kind)
    yield "| bytes | field | type | meaning |"
    yield "|---|---|---|---|"
    for field, at in zip(fields(kind), places(kind, first), strict=True):
        yield f"| {at} | {field.name} | {type_name(hints[field.name])} | {docs.get(field.name, '')} |"
    yield ""


def properties_page() -> str:
    """The text of `properties.md`."""
    out = [
        "# Properties",
        "",
        "Generated from `maitred.model` by `python -m spec.generate`; do not edit.",
        "",
        "`maitred check` explores every behaviour of the three machines within bounds and asks these of it. A property",
        "that the bounds leave no occasion for is not claimed.",
    ]
    for kind, title in (("always", "What always holds"), ("sometimes", "What sometimes happens (the witnesses)")):
        out += ["", f"## {title}", "", "| property | says |", "|---|---|"]
        out += [f"| `{prop.name}` | {prop.text} |" for prop in PROPERTIES.values() if prop.kind == kind]
    out += ["", "## What must happen in the end", "", "| property | says |", "|---|---|"]
    out += [f"| `{prop.name}` | {prop.text} |" for prop in LIVENESS.values()]
    return "\n".join(out) + "\n"


def configurations_page() -> str:
    """What is explored, from `manifest.toml`."""
    out = [
        "# Configurations",
        "",
        "Generated from [`manifest.toml`](manifest.toml) by `python -m spec.generate`; do not edit.",
        "",
        "Each row is one closed system, explored to its last state. The counts are exact: `maitred check --all` and",
        "the tests fail when one changes. A *warm* system begins with its servers ready; the others begin with the",
        "Monitor's first step. Faults happen at any moment, at most as often as the row says; the Distributor may die",
        "between any two effects. Where states count as one that differ only in which server or client is which, the",
        "row says *symmetric*. The last column says how many properties were asked of what happens in the end.",
    ]
    everything = load(HERE / "manifest.toml")
    for tier in TIERS:
        rows = [one for one in everything if one.tier == tier and not one.violated]
        out += ["", f"## Within {tier}", ""]
        out += [
            "| configuration | bounds | states | transitions | depth | in the end |",
            "|---|---|---:|---:|---:|---|",
        ]
        out += [_configuration_row(one) for one in rows]
    out += ["", "## What must fail", ""]
    out += [
        "An assumption about the kernel or the shell, or one of fairness, is left out, and the named property must be"
    ]
    out += ["violated, by a shortest counterexample of that many actions.", ""]
    out += ["| configuration | left out | violated | after |", "|---|---|---|---:|"]
    for one in everything:
        if one.violated:
            without = ", ".join([*(a.value for a in one.bounds.without), *one.unassumed]) or "enough bounds"
            length = (one.counts or {}).get("length", "")
            out.append(f"| {one.name}: {one.why} | {without} | `{one.violated}` | {length} |")
    return "\n".join(out) + "\n"


def _configuration_row(one: Configuration) -> str:
    counts = [f"{one.counts[key]:,}" if one.counts and key in one.counts else "" for key in COUNTS]
    bounds = _bounds_text(one.bounds) + (", symmetric" if one.symmetric else "")
    return f"| {one.name}: {one.why} | {bounds} | {' | '.join(counts)} | {len(one.liveness) or ''} |"


def _bounds_text(bounds: Bounds) -> str:
    """The bounds that are not those of the least system, in words."""
    said = [
        f"{bounds.servers} server{'s' * (bounds.servers != 1)}",
        f"{bounds.clients} client{'s' * (bounds.clients != 1)}",
    ]
    for item in fields(Bounds):
        value = getattr(bounds, item.name)
        words = item.name.replace("_", " ")
        if item.name in ("servers", "clients") or value == getattr(Bounds(), item.name):
            continue
        if isinstance(value, bool):
            said.append(words if value else f"not {words}")
        elif isinstance(value, str):
            said.append(f'after "{value}"')
        elif isinstance(value, int):
            said.append(f"any {words}" if value == ANY else f"{value} {words}")
    return ", ".join(said)


def main(argv: list[str]) -> int:
    """Write the files, or with ``--check`` report which are stale."""
    pages = {
        "wire.md": wire_page(),
        "vectors/bytes.jsonl": packets.text(),
        "properties.md": properties_page(),
        "configurations.md": configurations_page(),
    }
    return refresh("spec.generate", {name: (HERE / name, text) for name, text in pages.items()}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
