"""Every key of a configuration file, told once: the reader knows no others, and the documentation's table is this one.

A test compares the table in the documentation with what `table` makes, so that neither can be stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one table of the file."""

    name: str
    takes: str
    """What is written there."""
    default: str
    """What holds where it is not written; "required" where it must be."""
    means: str


TOP: Final = (
    Key("name", "name", "the file's own, without `.toml`", "Names this instance, in `maitred status` and in the log."),
    Key(
        "log_directory", "path", "none", "Where the programs' stdout and stderr go, a file each; else to maitred's own."
    ),
    Key("control", "path", "see the command", "The control socket. `--control` wins over it."),
    Key("trace", "path", "none", "Records every step for `maitred replay`. `--trace` wins over it."),
    Key(
        "verify",
        "`true` or `false`",
        "`false`",
        "Has a process of its own check every step as it is taken; not beside `trace`. `--verify` turns it on.",
    ),
    Key("durations", "table", "see below", "How long each timer runs."),
    Key("element", "tables", "one per CPU: `cpu0`, `cpu1`, ...", "The processing elements, `[[element]]` each."),
    Key("class", "tables", "required", "The server classes, `[[class]]` each."),
)

ELEMENT: Final = (
    Key("name", "name", "required", "Names the element in `elements`, `maitred status` and `maitred element`."),
    Key("cpus", "CPU numbers: `[0, 1]` or `'0-3,8'`", "required", "The CPUs that its processes run on."),
    Key("weight", "whole number", "`1`", "A server here takes this many clients where one of weight 1 takes one."),
)

CLASS: Final = (
    Key("name", "name", "required", "Names the class in `maitred status` and in the log."),
    Key("module", "module", "this or `script`", "The program, as `python -m` takes it."),
    Key("script", "path", "this or `module`", "The program, as `python` takes it."),
    Key("args", "list of strings", "`[]`", "What the program finds in `sys.argv[1:]`; with placeholders."),
    Key(
        "listen",
        "`[HOST:]PORT`, or a list",
        "where the program's first bind says",
        "Where the Distributor listens. Without a host: every interface, IPv4 and IPv6.",
    ),
    Key("static", "whole number", "the number of CPUs", "Servers that always run."),
    Key("dynamic", "whole number", "`0`", "Further servers, started when clients wait and stopped when idle."),
    Key("max_clients", "whole number", "`64`", "Clients that one server serves at a time."),
    Key("waiting_limit", "whole number", "`1024`", "Clients that may wait; beyond, the kernel's backlog holds them."),
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
        "`'TERM'`; `'INT'` after Ctrl-C",
        "What asks a server to end. `'INT'` for programs that clean up at Ctrl-C alone.",
    ),
)

DURATIONS: Final = (
    Key("queue_timeout", "seconds", "`30`", "How long a client may wait for a seat; then it is closed."),
    Key(
        "hand_off_timeout",
        "seconds",
        "`60`",
        "A server that leaves a hand-off unanswered so long is taken for hung and killed; not one that goes on serving"
        " the clients it has, until it has room.",
    ),
    Key(
        "request_timeout",
        "seconds",
        "`0`",
        "A server that has had a client so long, still there or not, is killed with all its clients; 0 for never.",
    ),
    Key("create_delay", "seconds", "`0.5`", "How long somebody must have waited before a dynamic server is started."),
    Key("delete_delay", "seconds", "`60`", "How long a dynamic server is kept idle."),
    Key("rest", "seconds", "`0.1`", "How long a server that refused a client is spared."),
    Key("accept_retry", "seconds", "`0.05`", "The pause after an accept failed for want of descriptors."),
    Key("audit_period", "seconds", "`5`", "How often the kernel is asked about the connections that servers count."),
    Key(
        "backoff_first", "seconds", "`0.1`", "The delay before a first restart; each further one is half as long again."
    ),
    Key("backoff_cap", "seconds", "`30`", "The longest delay before a restart."),
    Key("stable_after", "seconds", "`10`", "How long a process must live before its earlier deaths are forgotten."),
    Key("start_warning", "seconds", "`10`", "A server that runs so long without listening is reported."),
    Key("grace", "seconds", "`30`", "How long a graceful stop waits for clients to leave."),
    Key(
        "kill_delay",
        "seconds",
        "`5`",
        "How long a server that was asked to end (`stop_signal`) is given before it is killed.",
    ),
)
"""The fields of `maitred.core.timing.Durations`; told here too, for this must not cost the import of the core."""


def names(keys: tuple[Key, ...]) -> tuple[str, ...]:
    """The keys' names."""
    return tuple(key.name for key in keys)


def table(keys: tuple[Key, ...]) -> str:
    """The keys as a Markdown table, for the documentation."""
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key.name}` | {key.takes} | {key.default} | {key.means} |" for key in keys]
    return "\n".join(lines)
