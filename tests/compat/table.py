"""Writes the compatibility table of the docs from the outcomes of the tests of this room.

    python -m tests.compat.table [--check]

writes the page, or checks it.  `make compat` records the outcomes, by Python version, in the file beside the page.
"""

import fcntl
import json
import platform
import sys
from pathlib import Path

from tests.compat.makes import MAKES, STANDARD

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RESULTS = REFERENCE / "compatibility.json"
PAGE = REFERENCE / "compatibility.md"


def note(path, rows):
    """Replace earlier outcomes of the same servers on the same Python by those of this run."""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        noted = json.loads(text) if text else {}
        noted.setdefault(".".join(platform.python_version_tuple()[:2]), {}).update(rows)
        file.truncate(0)  # in place: a file put in its stead would have another lock
        file.write(json.dumps(noted, indent=1, sort_keys=True) + "\n")


# ---------------------------------------------------------------- the page

HEAD = """# Compatibility

Which servers run unmodified behind `maitred`, tested by `make compat`: each behind three copies, with real clients.
Before, during and after, `maitred status --json` and the kernel (which process holds which connection) must agree on
their number. `python -m tests.compat.table` writes this page from the outcomes.

A server works when it accepts through Python's `socket`: in threads, green threads, processes that it forks, or
processes that it execs (`--workers`, reloaders, multiprocessing). All of them are one copy, with one count.

"""
TAIL = """
## What cannot work

- *Sockets made in C or Rust*: nothing can stand in for them. The Distributor holds the port, so such a server cannot
  bind it. Name the port with `-b`; without it the first copies would find the port free.
- *A worker whose interpreter ignores the environment* (`-E`, `-I`) or leaves out `site` (`-S`): it is not reached.
- *A worker that is started as another user or group*: it is given nothing. Let the main process
  change its own user first.
- *Workers that each bind the port themselves* (`SO_REUSEPORT`): the first gets it, for the others it is in use. Run one
  worker a copy, and more copies (`--static`).
- *A program that becomes another one* (`os.exec*`) that is not the same Python, ignores the environment, or leaves
  out `site`: the log names it. Name the other Python as the class's `interpreter`.
- *A program that goes to the background* (a daemon): its main process ends, and the copy with it; this is logged. Run
  it in the foreground.
- *Reloaders without `-b`* where the child process binds and runs another command than its parent: name the port.
- *A program that first checks whether its port answers*, and takes another if so, without `-b`: once one copy has
  bound the port, the Distributor answers to the others, and the log names the port that these bind instead. Name the
  port with `-b`: then nobody answers to a copy that has not bound it yet.
- *A file or a port that only one process can have* (a pid file, a port for metrics), with the same name in each copy:
  the second ends, with the program's own error, and the log says what to do. Write `{server}` in its name.
- *A listener that is sent to a process which no copy has started*: that is no process of the copy, and its clients are
  not counted. Have the copy start it.
- *A program that joins the process group of another*: a copy is in a session of its own. To lead a group or a session
  (`os.setpgrp`, `os.setsid`) is fine: it does already.
- *A program that polls its listener, and ends by connecting to itself*: while the port is open, that connection may go
  to another copy; once it is closed, it wakes what blocks in `accept`, not what polls. Wake it through a pipe.
- *What a listener fixes with a connection's first packet* (`TCP_MAXSEG`, the scale of the window by `SO_RCVBUF`,
  `TCP_SAVE_SYN`, `TCP_DEFER_ACCEPT`, `TCP_FASTOPEN`): the Distributor's listener has answered it by then; the log
  names such an option. That listener is there for all copies, so none of them may set it. For a smaller segment, set
  the route's `advmss` (`ip route`). Every other option of the program's listener passes on to its connections.
- *A connection that only C code closes* (an extension, `ctypes`, `open(connection.detach())`; not `os.fdopen`), one
  that outlives its process in a program that is not waited for, and one that a killed process shared with others: the
  seat is taken until the next audit, 5 s at most.
"""


def render(noted):
    """The page."""
    pythons = sorted(noted, key=lambda version: [int(part) for part in version.split(".")])
    lines = ["| server | version |" + "".join(f" {python} |" for python in pythons) + " how, or why not |"]
    lines += ["|---|---|" + "---|" * len(pythons) + "---|"]
    for make in MAKES:
        rows = [noted[python].get(make.name) for python in pythons]
        versions = {row["version"] for row in rows if row}
        version = ", ".join(sorted(versions)) if make.package != STANDARD else "Python's own"
        lines.append(" | ".join([f"| {make.name}", version, *(_word(make, row) for row in rows), make.remark + " |"]))
    return HEAD + "\n".join(lines) + "\n" + TAIL


def _word(make, row):
    """The outcome of one run; where a server is expected to fail, its test has passed when it did."""
    if row is None:
        return "not run"
    return ("no" if make.fails else "works") if row["passed"] else "**test failed**"


def complaints(noted, page):
    """What is wrong with the page and its outcomes."""
    wanted = {make.name for make in MAKES}
    for python, rows in noted.items():
        yield from (f"{python}: {name} has not been run" for name in sorted(wanted - rows.keys()))
        yield from (f"{python}: there is no server {name} (any more)" for name in sorted(rows.keys() - wanted))
        yield from (f"{python}: the test of {name} failed" for name in sorted(rows) if not rows[name]["passed"])
    if page != render(noted):
        yield f"{PAGE.name} is not what the outcomes say: python -m tests.compat.table writes it"


def main(arguments):
    """Write the page, or with --check look at it; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tests.compat.table [--check]", file=sys.stderr)
        return 2
    try:
        noted = json.loads(RESULTS.read_text())
    except (OSError, ValueError) as error:
        print(f"{RESULTS}: {error}; `make compat` writes it", file=sys.stderr)
        return 1
    if not arguments:
        PAGE.write_text(render(noted))
        return 0
    found = list(complaints(noted, PAGE.read_text() if PAGE.exists() else ""))
    for complaint in found:
        print(complaint, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
