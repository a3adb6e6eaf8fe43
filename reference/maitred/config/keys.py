"""Every key of a configuration file with its default and its meaning.

From these tables follow which keys `maitred.config.toml_file` accepts, the defaults there and on the command line
(`DEFAULTS`), the options and help of ``maitred run`` (`maitred.cli.run`), the JSON Schema (`maitred.config.schema`),
and the tables of the reference pages (``python -m docs.tables``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from maitred.core.durations import Durations


def unlinked(markdown: str) -> str:
    """The text without marks of links."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)


def plain(markdown: str) -> str:
    """The text without marks of links and code."""
    return unlinked(markdown).replace("`", "")


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults that are numbers; those of the durations are the fields of `Durations`."""

    dynamic: int = 0
    max_clients: int = 64
    waiting_limit: int = 1024
    weight: int = 1


DEFAULTS: Final = Defaults()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one table of the file."""

    name: str
    takes: str
    """What is written there."""
    default: str
    """As Markdown: what applies where it is not written; "required" where it must be."""
    means: str


TOP: Final = (
    Key("name", "name", "the file's own, without `.toml`", "Names this instance, in `maitred status` and in the log."),
    Key(
        "log_directory",
        "path",
        "none",
        "Directory for the programs' stdout and stderr, a file each; else they go to maitred's own.",
    ),
    Key(
        "log",
        "path",
        "stderr",
        "File for maitred's own log; `maitred rotate` and SIGUSR1 open it again. `--log` takes precedence.",
    ),
    Key("control", "path", "see the command", "The control socket. `--control` takes precedence."),
    Key("trace", "path", "none", "Records every step for `maitred replay`. `--trace` takes precedence."),
    Key(
        "verify",
        "`true` or `false`",
        "`false`",
        "A separate process checks every step as it is taken; not beside `trace`. `--verify` turns it on.",
    ),
    Key("durations", "table", "see below", "How long each timer runs."),
    Key("element", "tables", "one per CPU: `cpu0`, `cpu1`, ...", "The processing elements, `[[element]]` each."),
    Key("class", "tables", "required", "The server classes, `[[class]]` each."),
)

ELEMENT: Final = (
    Key("name", "name", "required", "Names the element in `elements`, `maitred status` and `maitred element`."),
    Key("cpus", "CPU numbers: `[0, 1]` or `'0-3,8'`", "required", "The CPUs that its processes run on."),
    Key(
        "weight",
        "whole number",
        f"`{DEFAULTS.weight}`",
        "A server here takes this many clients where one of weight 1 takes one.",
    ),
)

CLASS: Final = (
    Key("name", "name", "required", "Names the class in `maitred status` and in the log."),
    Key("module", "module", "this, `script` or `program`", "The program, as `python -m` takes it."),
    Key("script", "path", "this, `module` or `program`", "The program, as `python` takes it."),
    Key(
        "program",
        "list of strings",
        "this, `module` or `script`",
        "An executable that keeps the [start contract](../../spec/start.md), and its arguments; with placeholders.",
    ),
    Key("args", "list of strings", "`[]`", "What the program finds in `sys.argv[1:]`; with placeholders."),
    Key(
        "listen",
        "`[HOST:]PORT`, or a list",
        "where the program's first bind says",
        "Where the Distributor listens. Without a host: every interface, IPv4 and IPv6.",
    ),
    Key("static", "whole number", "the number of CPUs", "Servers that always run."),
    Key(
        "dynamic",
        "whole number",
        f"`{DEFAULTS.dynamic}`",
        "Further servers, started when clients wait and stopped when idle.",
    ),
    Key("max_clients", "whole number", f"`{DEFAULTS.max_clients}`", "Clients that one server serves at a time."),
    Key(
        "waiting_limit",
        "whole number",
        f"`{DEFAULTS.waiting_limit}`",
        "Clients that may wait for a seat; further ones stay in the kernel's backlog.",
    ),
    Key("elements", "list of names", "all", "The processing elements that the class may run on."),
    Key(
        "interpreter",
        "path or command",
        "the one that runs maitred",
        "The Python that runs the program (3.11 or newer).",
    ),
    Key("interpreter_options", "list, or string", "`[]`", "Options for it, such as `['-X', 'utf8']` or `'-O'`."),
    Key("path", "list of paths", "`[]`", "Put before `PYTHONPATH`."),
    Key("directory", "path", "where maitred was started", "Where the program runs."),
    Key("environment", "table of strings", "`{}`", "Added to the program's environment; with placeholders."),
    Key(
        "memory_limit",
        "bytes, or `'512M'`",
        "none",
        "Data (RLIMIT_DATA) that one server process may have, at least 16M.",
    ),
    Key(
        "stop_signal",
        "name of a signal",
        "`TERM`; `INT` after Ctrl-C",
        "The signal that asks a server to end. Use `INT` for programs that clean up only at Ctrl-C.",
    ),
)

DURATIONS: Final = tuple(
    Key(name, "seconds", f"`{getattr(Durations(), name):g}`", means)
    for name, means in (
        ("queue_timeout", "How long a client may wait for a seat; then its connection is closed."),
        (
            "hand_off_timeout",
            "A server that leaves a hand-off unanswered for so long is taken for hung and killed, unless it is full and"
            " goes on serving the clients that it has.",
        ),
        (
            "request_timeout",
            "A server that has had one client for so long, even if the client has gone, is killed with all its clients;"
            " 0 for never.",
        ),
        ("create_delay", "How long a client must have waited before a dynamic server is started."),
        ("delete_delay", "How long a dynamic server is kept idle."),
        ("rest", "How long a server that refused a client is left out."),
        ("accept_retry", "The pause after an accept failed for lack of descriptors."),
        ("audit_period", "How often the kernel is asked about the connections that servers count."),
        (
            "backoff_first",
            "The delay before a first restart, none for a Distributor; each further one is half as long again.",
        ),
        ("backoff_cap", "The longest delay before a restart."),
        ("stable_after", "How long a process must live before its earlier deaths are forgotten."),
        ("start_warning", "A server that runs for so long without listening is reported."),
        ("grace", "How long a graceful stop waits for clients to leave."),
        ("kill_delay", "How long a server that was asked to end is given before it is killed."),
    )
)
"""A key for each field of `Durations`."""


def key(name: str) -> Key:
    """The key of a class or of a duration.

    Raises:
        StopIteration: there is none of this name.
    """
    return next(key for key in (*CLASS, *DURATIONS) if key.name == name)


def names(keys: tuple[Key, ...]) -> tuple[str, ...]:
    """The keys' names."""
    return tuple(key.name for key in keys)


def table(keys: tuple[Key, ...]) -> str:
    """The keys as a Markdown table, for the documentation."""
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key.name}` | {key.takes} | {key.default} | {key.means} |" for key in keys]
    return "\n".join(lines)
