"""The peers: the same unmodified servers behind HAProxy, nginx, the kernel's own means, their own masters, and maitred.

A `Peer` is running and answers from every copy when its context is entered, and is gone when it is left.  Processes
are ended by handles of this program's own (a child's Popen, a pidfd), never by name.

=================  ==========================================================================================
kind               what stands between a client and the copies
=================  ==========================================================================================
``direct``         nothing: one copy
``haproxy``        HAProxy, TCP mode, ``balance leastconn``
``haproxy-one``    the same with ``maxconn 1`` for each copy, so that it queues in HAProxy
``nginx``          nginx, stream module, ``least_conn``
``shared``         the kernel: all copies accept from one listener, inherited over fork
``reuseport``      the kernel: each copy has a listener of its own (``SO_REUSEPORT``)
``own``            what the program itself offers: gunicorn's workers, uvicorn's workers
``maitred``        maitred, as it is installed: compiled, where `make compile` has been run
``maitred-plain``  the same as plain Python
``maitred-one``    the same with ``max_clients = 1``
=================  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import sample
from time import monotonic, sleep
from typing import Any

from benchmarks.build import Failed, program

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
SERVERS = Path(__file__).parent / "servers"
SEATS = 64
"""Clients that one copy serves at a time: maitred's default, and the proxies have the same limit."""
HAPROXY = "haproxy"
START = 60.0
"""Seconds that a peer has to answer from all its copies; and as many more for each copy as `EACH` says."""
EACH = 2.0
STOP = 10.0
"""Seconds that a process has to end after SIGTERM."""


class Absent(Failed):
    """The peer is not installed here; the text says what is missing."""


@dataclass(frozen=True)
class Peer:
    """One arrangement of processes that answers on a port."""

    name: str
    kind: str
    server: str
    copies: int
    port: int
    front: tuple[int, ...]
    """Pids of what stands between client and server and sees each connection."""
    others: tuple[int, ...]
    """Pids of what else runs: supervision."""
    servers: tuple[int, ...]
    log: Path
    """What it has said."""

    @property
    def processes(self) -> int:
        return len(self.front + self.others + self.servers)

    @property
    def threads(self) -> int:
        """Of the processes that are not servers."""
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.front + self.others)


# ================================================================ pieces


def free_port() -> int:
    """A port that nothing is bound to; the kernel chooses none of these for an outgoing connection."""
    for port in sample(range(30_000, 32_000), 100):
        with socket.socket() as sock, suppress(OSError):
            sock.bind((HOST, port))
            return port
    raise Failed("no free port among a hundred")


def ask(port: int) -> int | None:
    """The pid of the copy that answers one request, or None where none does."""
    answer = b""
    try:
        with socket.create_connection((HOST, port), timeout=2) as sock:
            sock.sendall(REQUEST)
            while data := sock.recv(65_536):
                answer += data
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(body.split()[0]) if head.startswith(b"HTTP/1.1 200 ") and len(body) == 64 else None


def wait_for_copies(name: str, port: int, copies: int, process: subprocess.Popen[bytes], log: Path) -> tuple[int, ...]:
    """Until so many copies have answered: their pids."""
    seen: set[int] = set()
    patience = START + EACH * copies
    end = monotonic() + patience
    while len(seen) < copies:
        if process.poll() is not None:
            raise Failed(f"{name} ended with status {process.returncode}:\n{tail(log)}")
        if monotonic() > end:
            raise Failed(f"{name}: {len(seen)} of {copies} copies answered in {patience:g} s:\n{tail(log)}")
        answered = ask(port)
        seen |= {answered} if answered else set()
        sleep(0.01)
    return tuple(sorted(seen))


def tail(log: Path) -> str:
    """The last lines of what a process has said."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:]) or "(it said nothing)"


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child process with this in its environment more, ended on leaving."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
        )
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


def installed(command: str, package: str) -> str:
    """The path of a command that may be a system administrator's."""
    found = shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Absent(f"{command} is not installed (apt-get install {package})")
    return found


def arguments_of(server: str, port: int) -> list[str]:
    """What the server's interpreter, or the server itself if it is in C, is to be given for one copy."""
    if server == "c":
        return ["listen", str(port)]
    if server in ("gunicorn", "uvicorn") and find_spec(server) is None:
        raise Absent(f"{server} is not installed (pip install '.[bench]')")
    if server == "gunicorn":
        return ["-m", "gunicorn", "--chdir", str(SERVERS), "--bind", f"{HOST}:{port}", "--workers", "1", "app:wsgi"]
    if server == "uvicorn":
        return ["-m", "uvicorn", "--app-dir", str(SERVERS), "--port", str(port), *QUIET_UVICORN, "app:asgi"]
    return [str(SERVERS / f"{server}.py"), str(port)]


QUIET_UVICORN = ("--loop", "asyncio", "--no-access-log", "--log-level", "warning")
"""uvloop, which it prefers where it is installed, makes its sockets in C: maitred cannot serve it."""


def server_command(server: str, port: int) -> list[str]:
    """One copy of a server: ``c`` (c/server.c), ``blocking``, ``loop``, ``threads``, ``gunicorn`` or ``uvicorn``."""
    return [str(program("server")) if server == "c" else sys.executable, *arguments_of(server, port)]


@contextmanager
def copy_of(server: str, name: str, place: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    """One copy on a port of its own: the port and its pids."""
    port = free_port()
    log = place / f"{name}.log"
    with ended_at_last() as handles, running(server_command(server, port), log) as process:
        wait_for_copies(name, port, 1, process, log)
        inside = descendants(process.pid)
        handles += [os.pidfd_open(pid) for pid in inside]
        yield port, (process.pid, *inside)


# ================================================================ the peers


@contextmanager
def direct(server: str, copies: int, place: Path) -> Iterator[Peer]:
    """One copy, and nothing in front."""
    assert copies == 1
    with copy_of(server, f"direct-{server}", place) as (port, pids):
        yield Peer(f"direct-{server}", "direct", server, 1, port, (), (), pids, place / f"direct-{server}.log")


@contextmanager
def proxy(
    kind: str,
    command: list[str],
    config: Callable[[int, list[int], int], str],
    server: str,
    copies: int,
    place: Path,
    seats: int = SEATS,
) -> Iterator[Peer]:
    """A proxy and its copies, each of which listens on a port of its own.

    Args:
        kind: of the peer.
        command: the proxy's, to which the path of its configuration is added.
        config: the proxy's configuration from its port, those of the copies and the clients that each may have.
        server: what stands behind it.
        copies: how many of them.
        place: a directory for its files.
        seats: clients that one copy serves at a time.
    """
    name = f"{kind}-{server}-{copies}"
    with ExitStack() as stack:
        handles = stack.enter_context(ended_at_last())
        behind = [stack.enter_context(copy_of(server, f"{name}-server-{i}", place)) for i in range(copies)]
        port = free_port()
        file, log = place / f"{name}.conf", place / f"{name}.log"
        file.write_text(config(port, [port for port, _ in behind], seats))
        process = stack.enter_context(running([*command, str(file)], log))
        wait_for_copies(name, port, copies, process, log)
        front = (process.pid, *descendants(process.pid))
        handles += [os.pidfd_open(pid) for pid in front[1:]]
        yield Peer(name, kind, server, copies, port, front, (), tuple(pid for _, pids in behind for pid in pids), log)


def haproxy(
    server: str, copies: int, place: Path, seats: int = SEATS, kind: str = "haproxy"
) -> AbstractContextManager[Peer]:
    """HAProxy in TCP mode, the client going to the copy with the fewest connections."""
    command = [installed(HAPROXY, "haproxy"), "-db", "-f"]
    return proxy(kind, command, haproxy_config, server, copies, place, seats)


def haproxy_config(port: int, servers: list[int], seats: int) -> str:
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
        *(f"  server s{i} {HOST}:{number} maxconn {seats}" for i, number in enumerate(servers, 1)),
    ]
    return "\n".join(lines) + "\n"


def nginx(server: str, copies: int, place: Path, seats: int = SEATS) -> AbstractContextManager[Peer]:
    """nginx's stream module, the client going to the copy with the fewest connections."""
    nginx = installed("nginx", "nginx libnginx-mod-stream")
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False).stderr.split()
    if not NGINX_MODULE.exists() and "--with-stream" not in built:  # Debian's is built --with-stream=dynamic
        raise Absent("nginx has no stream module here (apt-get install libnginx-mod-stream)")
    command = [nginx, "-e", "stderr", "-p", str(place), "-c"]
    return proxy("nginx", command, nginx_config, server, copies, place, seats)


NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""Where Debian has it; elsewhere it is built in."""


def nginx_config(port: int, servers: list[int], seats: int) -> str:
    """As many workers as CPUs, nothing logged."""
    module = f"load_module {NGINX_MODULE};" if NGINX_MODULE.exists() else ""
    upstream = " ".join(f"server {HOST}:{number} max_conns={seats};" for number in servers)
    return f"""\
{module}
daemon off;
pid nginx-{port}.pid;
error_log stderr;
worker_processes {len(os.sched_getaffinity(0))};
events {{ worker_connections 8192; }}
stream {{
  upstream bench {{ zone bench 64k; least_conn; {upstream} }}
  server {{ listen {HOST}:{port}; proxy_pass bench; }}
}}
"""


@contextmanager
def master(kind: str, command: Callable[[int], list[str]], server: str, copies: int, place: Path) -> Iterator[Peer]:
    """A program that runs its copies itself."""
    name = f"{kind}-{server}-{copies}"
    port = free_port()
    log = place / f"{name}.log"
    with ended_at_last() as handles, running(command(port), log) as process:
        end = monotonic() + START
        while len(descendants(process.pid)) + 1 < copies and monotonic() < end:
            sleep(0.01)
        wait_for_copies(name, port, 1, process, log)  # a kernel may always prefer the same one while it is idle
        pids = [process.pid]
        for pid in descendants(process.pid):
            with suppress(ProcessLookupError):  # a program may start one for a moment
                handles.append(os.pidfd_open(pid))
                pids.append(pid)
        yield Peer(name, kind, server, copies, port, (), (), tuple(pids), log)


def kernel(kind: str, server: str, copies: int, place: Path) -> AbstractContextManager[Peer]:
    """The copies share one listener, or have one each."""

    def command(port: int) -> list[str]:
        if server == "c":
            return [str(program("server")), kind, str(port), str(copies)]
        return [*server_command(server, port), kind, str(copies)]

    return master(kind, command, server, copies, place)


def own(server: str, copies: int, place: Path) -> AbstractContextManager[Peer]:
    """The workers that the program has itself."""

    def command(port: int) -> list[str]:
        if server == "gunicorn":
            one = server_command(server, port)
            return [*one[:-2], str(copies), one[-1]]
        return [*server_command(server, port), "--workers", str(copies)]

    return master("own", command, server, copies, place)


@contextmanager
def maitred(
    server: str, copies: int, place: Path, *options: str, seats: int = SEATS, kind: str = "maitred", plain: bool = False
) -> Iterator[Peer]:
    """`maitred run` from a file, with these options more; its control socket is NAME/control."""
    name = "-".join([kind, server, str(copies), *(option[2:] for option in options if option.startswith("--"))])
    port = free_port()
    control, log = place / name / "control", place / f"{name}.log"
    control.parent.mkdir(mode=0o700)
    file = control.with_name("bench.toml")
    file.write_text(maitred_config(server, copies, port, seats))
    command = [sys.executable, "-m", "maitred", "run", "--config", str(file), "--control", str(control), *options]
    with ExitStack() as stack:
        handles = stack.enter_context(ended_at_last())
        process = stack.enter_context(running(command, log, **({"MAITRED_CORE": "plain"} if plain else {})))
        wait_for_copies(name, port, copies, process, log)
        status = maitred_status(name, control)
        while not _waits(status["monitor"]["standby"]):  # else its start is counted with what connections cost
            sleep(0.05)
            status = maitred_status(name, control)
        distributor = int(status["classes"][0]["distributor"]["pid"])
        servers = {int(row["pid"]) for row in status["classes"][0]["servers"] if row["pid"]}
        servers |= {pid for server_pid in servers for pid in descendants(server_pid)}
        inside = descendants(process.pid)
        handles += [os.pidfd_open(pid) for pid in inside]
        others = (process.pid, *(pid for pid in inside if pid != distributor and pid not in servers))
        yield Peer(name, kind, server, copies, port, (distributor,), others, tuple(sorted(servers)), log)


def maitred_config(server: str, copies: int, port: int, seats: int) -> str:
    """What a user would write; the server in C keeps the start contract by itself (see c/server.c)."""
    if server == "c":
        runs = [f"program = {json.dumps([str(program('server')), str(port)])}"]
    else:
        arguments = arguments_of(server, port)
        kind, (name, *rest) = ("module", arguments[1:]) if arguments[0] == "-m" else ("script", arguments)
        runs = [f"{kind} = {json.dumps(name)}", f"args = {json.dumps(rest)}"]
    lines = ["[[class]]", 'name = "bench"', *runs]
    lines += [f'listen = "{HOST}:{port}"', f"static = {copies}", f"max_clients = {seats}"]
    return "\n".join(lines) + "\n"


def maitred_status(name: str, control: Path) -> Any:  # Any: parsed JSON
    """What `maitred status --json` says."""
    command = [sys.executable, "-m", "maitred", "status", "--control", str(control), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)
    if said.returncode:
        raise Failed(f"{name}: no status:\n{said.stderr}")
    return json.loads(said.stdout)


def distributors_of(peer: Peer) -> list[int]:
    """The Distributors that run for it now, by the names of their processes."""
    found = []
    for pid in descendants(peer.others[0]):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if Path(f"/proc/{pid}/comm").read_text().startswith("distr:") and stat(pid)[0] != "Z":
                found.append(pid)
    return found


def _waits(standby: int | None) -> bool:
    """Whether maitred's standby has started, and waits: it ignores SIGINT then (proc_pid_status(5))."""
    try:
        lines = Path(f"/proc/{standby}/status").read_text().splitlines()
    except OSError:
        return False
    (ignored,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(ignored >> signal.SIGINT - 1 & 1)


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


PEERS: dict[str, Callable[..., AbstractContextManager[Peer]]] = {
    "direct": direct,
    "haproxy": haproxy,
    "haproxy-one": partial(haproxy, seats=1, kind="haproxy-one"),
    "nginx": nginx,
    "shared": partial(kernel, "shared"),
    "reuseport": partial(kernel, "reuseport"),
    "own": own,
    "maitred": maitred,
    "maitred-plain": partial(maitred, kind="maitred-plain", plain=True),
    "maitred-one": partial(maitred, seats=1, kind="maitred-one"),
}

# ================================================================ what they use

TICKS = os.sysconf("SC_CLK_TCK")


def check(peer: Peer) -> None:
    """Make sure that all the peer's processes are there still.

    Raises:
        Failed: one has ended, of itself or by another process, and the figures are worth nothing.
    """
    for role, pids in (("front", peer.front), ("supervision", peer.others), ("servers", peer.servers)):
        for pid in pids:
            if parent_of(pid) == 0:
                raise Failed(f"{peer.name}: process {pid} ({role}) has ended while it was measured:\n{tail(peer.log)}")


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """User and system time of the processes so far, all their threads.

    To the nanosecond, from /proc/PID/task/TID/schedstat: of many servers each may use less than one of the ticks that
    /proc/PID/stat counts in.  That has the time of threads that have ended, and counts where it is more.
    """
    total = 0.0
    for pid in pids:
        fields = stat(pid)
        ticks = int(fields[11]) + int(fields[12])
        nanoseconds = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends, or a kernel without it
                nanoseconds += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        total += max(ticks / TICKS, nanoseconds / 1e9)
    return total


def memory(pids: tuple[int, ...]) -> float:
    """MiB that the processes hold: their proportional set size, in which shared pages count once."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
