"""The peers: the same unmodified server with nothing in front, with maitred and with HAProxy, each on its own ports.

A `Peer` is running and answers from every copy when its context is entered, and is gone when it is left.  Processes
are ended by handles of this program's own (a child's Popen, a pidfd), never by name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks.load import HOST, LAST, body

SERVERS = Path(__file__).parent / "servers"
SEATS = 64
"""Clients that one copy serves at a time: maitred's default, and HAProxy is told the same."""
START = 20.0
"""Seconds that a peer has to answer from all its copies."""
STOP = 10.0
"""Seconds that a process has to end after SIGTERM."""


class PeerFailed(Exception):
    """A peer did not come up; the text says which and why."""


@dataclass(frozen=True)
class Peer:
    """One arrangement of processes that answers on a port."""

    name: str
    kind: str
    """``direct``, ``maitred`` or ``haproxy``."""
    copies: int
    port: int
    front: tuple[int, ...]
    """Pids of what stands between client and server and sees each connection."""
    others: tuple[int, ...]
    """Pids of what else runs: supervision."""
    servers: tuple[int, ...]

    @property
    def processes(self) -> int:
        return len(self.front + self.others + self.servers)

    @property
    def threads(self) -> int:
        """Of the processes that are not servers."""
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.front + self.others)


# ================================================================ pieces


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def ask(port: int) -> int | None:
    """The pid of the copy that answers one request, or None where none does."""
    answer = b""
    try:
        with socket.create_connection((HOST, port), timeout=2) as sock:
            sock.sendall(LAST)
            while data := sock.recv(65_536):
                answer += data
    except OSError:
        return None
    content = body(answer)
    return int(content.split()[0]) if content else None


def wait_for_copies(name: str, port: int, copies: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until so many copies have answered."""
    seen: set[int | None] = set()
    end = monotonic() + START
    while len(seen - {None}) < copies:
        if process.poll() is not None:
            raise PeerFailed(f"{name} ended with status {process.returncode}:\n{tail(log)}")
        if monotonic() > end:
            raise PeerFailed(f"{name}: {len(seen - {None})} of {copies} copies answered in {START:g} s:\n{tail(log)}")
        seen.add(ask(port))
        sleep(0.01)


def tail(log: Path) -> str:
    """The last lines of what a process has said."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:]) or "(it said nothing)"


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, ended on leaving."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def ended_at_last() -> Iterator[list[int]]:
    """A list for the pidfds of a child's descendants, which it should end itself; killed on leaving if it has not.

    To be entered before the child is started, so that it is left after the child has had its time.
    """
    handles: list[int] = []
    try:
        yield handles
    finally:
        for handle in handles:
            with suppress(ProcessLookupError):  # as it should be: gone already
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def server_command(server: str, port: int) -> list[str]:
    """One copy of the server `loop` or `threads`."""
    return [sys.executable, str(SERVERS / f"{server}.py"), str(port)]


@contextmanager
def copy_of(server: str, name: str, place: Path) -> Iterator[tuple[int, int]]:
    """One copy on a port of its own: the port and the pid."""
    port = free_port()
    log = place / f"{name}.log"
    with running(server_command(server, port), log) as process:
        wait_for_copies(name, port, 1, process, log)
        yield port, process.pid


# ================================================================ the peers


@contextmanager
def direct(server: str, copies: int, place: Path) -> Iterator[Peer]:
    """One copy, and nothing in front."""
    assert copies == 1
    with copy_of(server, "direct", place) as (port, pid):
        yield Peer("direct", "direct", 1, port, (), (), (pid,))


@contextmanager
def haproxy(server: str, copies: int, place: Path) -> Iterator[Peer]:
    """HAProxy in TCP mode, the client going to the copy with the fewest connections."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise PeerFailed("haproxy is not installed (apt-get install haproxy)")
    name = f"haproxy-{copies}"
    with ExitStack() as stack:
        behind = [stack.enter_context(copy_of(server, f"{name}-server-{i}", place)) for i in range(copies)]
        port = free_port()
        config, log = place / f"{name}.cfg", place / f"{name}.log"
        config.write_text(haproxy_config(port, [port for port, _ in behind]))
        process = stack.enter_context(running([program, "-db", "-f", str(config)], log))
        wait_for_copies(name, port, copies, process, log)
        yield Peer(name, "haproxy", copies, port, (process.pid,), (), tuple(pid for _, pid in behind))


def haproxy_config(port: int, servers: list[int]) -> str:
    """What a user would write, and nothing that slows it: no logging, no health checks."""
    lines = [
        "defaults",
        "  mode tcp",
        "  timeout connect 5s",
        "  timeout client 30s",
        "  timeout server 30s",
        "  timeout queue 30s",
        "listen bench",
        f"  bind {HOST}:{port}",
        "  balance leastconn",
        *(f"  server s{i} {HOST}:{number} maxconn {SEATS}" for i, number in enumerate(servers, 1)),
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def maitred(server: str, copies: int, place: Path, *options: str) -> Iterator[Peer]:
    """`maitred run`, as its user would type it, with these options more; its control socket is NAME/control."""
    name = "-".join([f"maitred-{copies}", *(option.strip("-") for option in options)])
    port = free_port()
    control, log = place / name / "control", place / f"{name}.log"
    control.parent.mkdir(mode=0o700)
    command = [sys.executable, "-m", "maitred", "run", "-b", f"{HOST}:{port}", "--static", str(copies)]
    command += ["--max-clients", str(SEATS), "--control", str(control), *options]
    command += server_command(server, port)[1:]
    with ExitStack() as stack:
        handles = stack.enter_context(ended_at_last())
        process = stack.enter_context(running(command, log))
        wait_for_copies(name, port, copies, process, log)
        status = maitred_status(name, control)
        distributor = int(status["classes"][0]["distributor"]["pid"])
        servers = tuple(int(row["pid"]) for row in status["classes"][0]["servers"] if row["pid"])
        inside = descendants(process.pid)
        handles += [os.pidfd_open(pid) for pid in inside]
        others = (process.pid, *(pid for pid in inside if pid != distributor and pid not in servers))
        yield Peer(name, "maitred", copies, port, (distributor,), others, servers)


def maitred_status(name: str, control: Path) -> Any:  # Any: parsed JSON
    """What `maitred status --json` says."""
    command = [sys.executable, "-m", "maitred", "status", "--control", str(control), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)
    if said.returncode:
        raise PeerFailed(f"{name}: no status:\n{said.stderr}")
    return json.loads(said.stdout)


def descendants(pid: int) -> tuple[int, ...]:
    """All processes that have come of this one, as far as their parents live."""
    parents = {int(entry): parent_of(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    found = [pid]
    for ancestor in found:  # grows as it goes
        found += [child for child, parent in parents.items() if parent == ancestor]
    return tuple(found[1:])


def parent_of(pid: int) -> int:
    """0 where the process has gone meanwhile."""
    try:
        return int(stat(pid)[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat that follow the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


PEERS = {"direct": direct, "maitred": maitred, "haproxy": haproxy}

# ================================================================ what they use

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """User and system time of the processes so far, all their threads."""
    total = 0
    for pid in pids:
        fields = stat(pid)
        total += int(fields[11]) + int(fields[12])
    return total / TICKS
