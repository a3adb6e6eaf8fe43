"""One running `maitred` for a test: started as a user would, watched from outside, always ended.

Nothing here looks into the package.  What a test knows, it knows from the command's output, from `maitred status`, from
the trace and from the kernel: which process holds a connection, which processes are left over.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.log import plain
from tests.machine import PATIENCE
from tests.processes import alive

SERVERS = Path(__file__).parent / "servers"
TOKEN = "MAITRED_TEST"
"""In the environment of every process of an instance: how those left over are found."""


@contextlib.contextmanager
def named_ports(*ports):
    """The very ports of the patent's figures, for one test at a time on this machine."""
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(socket.socket(socket.AF_UNIX))
        eventually(lambda: _is_bound(lock), "another test has the ports of the figures", within=2 * PATIENCE)
        for port in ports:
            eventually(lambda port=port: is_free(port), f"port {port}, which the figure names, is in use by another")
        yield


def _is_bound(lock):
    """An abstract name is held by one socket at a time, and leaves no file behind."""
    with contextlib.suppress(OSError):
        lock.bind("\0maitred tests: the ports of the figures")
        return True
    return False


def is_free(port):
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def refused(port):
    """Whether a new client is refused."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def eventually(condition, complaint, within=PATIENCE, every=0.01):
    """Wait until the condition holds, and give what it returned; fail with the complaint where it never does."""
    deadline = time.monotonic() + within
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            said = complaint() if callable(complaint) else complaint
            raise AssertionError(f"not within {within} s: {said}")
        time.sleep(every)


# ---------------------------------------------------------------- what the kernel knows


def processes_with(token):
    """Every process that was started with the token in its environment, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if token in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return "(gone)"


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sockets_of(pid):
    """The inodes of the sockets that the process holds."""
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd)):
                    inodes.add(int(match[1]))
    return inodes


def inode_of_connection(local, remote):
    """The inode of the TCP socket that is bound to port `local` and connected to port `remote`, or 0."""
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            ports = tuple(int(fields[column].rpartition(":")[2], 16) for column in (1, 2))
            if ports == (local, remote):
                return int(fields[9])
    return 0


def session_of(pid):
    """The session of a process; a server's is that of its main process, whatever it forks."""
    return os.getsid(pid)


# ---------------------------------------------------------------- a configuration file


def write_config(path, classes, elements=(), **durations):
    """A configuration file: classes and elements are dictionaries of their keys."""
    lines = []
    if durations:
        lines += ["[durations]", *_keys(durations)]
    for element in elements:
        lines += ["[[element]]", *_keys(element)]
    for cls in classes:
        lines += ["[[class]]", *_keys(cls)]
    path.write_text("\n".join(lines) + "\n")
    return path


def _keys(table):
    """What JSON writes of a string, a number, a truth value or a list of these, TOML reads."""
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]


def greeter(port, *, name="greeters", log=None, host="127.0.0.1", **keys):
    """A server class of `servers/greeter.py`, for a configuration file."""
    address = f"{host}:{port}"
    args = [address] if log is None else [address, str(log)]
    return {"name": name, "script": str(SERVERS / "greeter.py"), "args": args, "listen": address, **keys}


# ---------------------------------------------------------------- the instance


class Instance:
    """A `maitred run` and what can be learned of it from outside."""

    def __init__(self, directory, arguments, *, environment=None, working=None, traced=True, prefix=()):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.prefix = list(prefix)
        """A command that runs the rest."""
        self.arguments = [str(argument) for argument in arguments]
        self.control = directory / "run" / "control"
        self.trace = directory / "trace"
        self.log_file = directory / "log"
        self.token = f"{TOKEN}={secrets.token_hex(8)}"
        name, _, value = self.token.partition("=")
        self.environment = {**os.environ, **(environment or {}), name: value, "PYTHONUNBUFFERED": "1"}
        self.working = working
        self.process = None
        self.expected = 0
        """The exit code that the end of the test expects."""
        self.traced = self.replays = traced
        """Whether there is a trace, and whether it is to be replayed at the end."""
        self.replay_patience = PATIENCE
        """Seconds within which it is, beside those that its length allows."""

    # ------------------------------------------------ its life

    def start(self, ready=True):
        """Start it, and wait until it reports that it is ready."""
        self.control.parent.mkdir(mode=0o700, exist_ok=True)
        own = ["--control", self.control, *(["--trace", self.trace] if self.traced else [])]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "maitred", "run", *own, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.working or self.directory,
                start_new_session=True,
            )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        eventually(self._is_ready, lambda: f"ready\n{self.log}")

    def _is_ready(self):
        assert self.process.poll() is None, f"ended with {self.process.returncode} before it was ready\n{self.log}"
        return bool(READY.search(self.log)) and self.control.exists() and self.all_ready()

    def all_ready(self):
        status = self.status()
        servers = [server for cls in status["classes"] for server in cls["servers"]]
        return bool(servers) and all(server["state"] in {"ready", "busy", "full"} for server in servers)

    def wait(self, within=PATIENCE):
        """Wait for its end, and give the exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {within} s\n{self.log}") from None

    def signal(self, number):
        os.kill(self.process.pid, number)

    def finish(self):
        """End it where it still runs, and check that it left nothing behind and did nothing that it may not."""
        if self.process is None:
            return
        asked = self.process.poll() is None
        complaints = []
        if asked:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            complaints.append("it did not end when asked twice (SIGTERM)")
            self.process.kill()
            code = self.process.wait()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not processes_with(self.token.encode()), "")
        for pid in processes_with(self.token.encode()):
            complaints.append(f"process {pid} is left over: {command_of(pid)}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if code != self.expected and not complaints:
            complaints.append(f"exit code {code}, expected {self.expected}")
        if self.control.exists():
            complaints.append(f"the control socket {self.control} is still there")
        if self.replays:
            outcome = self.replay()
            if outcome.returncode != 0:
                complaints.append(f"the trace does not replay:\n{outcome.stdout}{outcome.stderr}")
        assert not complaints, "\n".join([*complaints, "--- log:", self.log])

    # ------------------------------------------------ what it reports

    @property
    def log(self):
        """Without times and levels."""
        return plain(self.log_file.read_text(errors="replace")) if self.log_file.exists() else ""

    def wait_log(self, pattern, within=PATIENCE):
        """Wait for a line of its log that matches, and give the match."""
        return eventually(
            lambda: re.search(pattern, self.log, re.MULTILINE),
            lambda: f"no line {pattern!r} in the log:\n{self.log}",
            within,
        )

    def command(self, *arguments, within=PATIENCE):
        """Another command of `maitred`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "maitred", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=within,
            stdin=subprocess.DEVNULL,
        )

    def status_by_command(self):
        outcome = self.command("status", "--json", "--control", self.control)
        assert outcome.returncode == 0, outcome.stderr + self.log
        return json.loads(outcome.stdout)

    def ask(self, request):
        """One request on the control socket, as the command makes it; much quicker than the command."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE)
            control.connect(str(self.control))
            control.sendall(json.dumps(request).encode() + b"\n")
            answer = b"".join(iter(lambda: control.recv(65_536), b""))
        return json.loads(answer)

    def status(self):
        return self.ask({"request": "status"})

    def replay(self):
        return self.command("replay", self.trace, within=self.replay_patience + self.trace.stat().st_size / REPLAYED)

    # ------------------------------------------------ the status, by part

    def server_class(self, index=0):
        return self.status()["classes"][index]

    def servers(self, index=0):
        return self.server_class(index)["servers"]

    def counts(self, index=0):
        """How many clients each server has, fewest first; -1 where that is not known at the moment."""
        counts = [server["clients"] for server in self.servers(index)]
        return sorted(-1 if count is None else count for count in counts)

    def waiting(self, index=0):
        return self.server_class(index)["waiting"]

    def distributor(self, index=0):
        """The pid of the Distributor that runs now."""
        return eventually(
            lambda: (self.server_class(index)["distributor"] or {}).get("pid"),
            lambda: f"no Distributor runs\n{self.log}",
        )

    def wait_counts(self, expected, within=PATIENCE, index=0):
        seen = []
        eventually(
            lambda: (seen.append(self.counts(index)), seen[-1] == sorted(expected))[1],
            lambda: f"clients per server: {seen[-1]}, expected {sorted(expected)}\n{self.log}",
            within,
        )

    def wait_waiting(self, expected, within=PATIENCE, index=0):
        eventually(
            lambda: self.waiting(index) == expected,
            lambda: f"{self.waiting(index)} wait, expected {expected}\n{self.log}",
            within,
        )

    def wait_all_ready(self, within=PATIENCE):
        eventually(self.all_ready, lambda: f"not all ready: {self.status()}\n{self.log}", within)

    def kill(self, pid):
        """`kill -9` of a process of this instance, and of no other; ProcessLookupError where it is dead already."""
        mine = self.token.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        if not mine and not alive(pid):
            raise ProcessLookupError(pid)
        assert mine, f"{pid} is none of this instance's"
        os.kill(pid, signal.SIGKILL)


REPLAYED = 50_000
"""Bytes of a trace that any machine replays in a second: the slower it is, the longer the trace of a test."""
READY = re.compile(r"\bready\b", re.IGNORECASE)


# ---------------------------------------------------------------- a client of servers/greeter.py


class Guest:
    """A client of `servers/greeter.py`: knows which process serves it, once it is served."""

    def __init__(self, port, host="127.0.0.1", timeout=PATIENCE):
        self.socket = socket.create_connection((host, port), timeout)
        self.lines = self.socket.makefile("rb")
        self.port = self.socket.getsockname()[1]
        self.remote = self.socket.getpeername()[1]
        self.server = None

    def seated(self):
        """Wait to be greeted; the pid of the process that serves this client."""
        if self.server is None:
            line = self.lines.readline()
            assert line, "the connection ended before the greeting"
            words = line.split()
            assert words[0] == b"welcome", line
            seen, me = (words[3].decode(), int(words[4])), self.socket.getsockname()[:2]
            assert seen == me, f"the server sees its client at {seen}, but that is at {me}"
            self.server = int(words[1])
        return self.server

    def is_greeted(self, within=0.3):
        """Whether the greeting comes within so many seconds."""
        self.socket.settimeout(within)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(PATIENCE)

    def ask(self, line):
        """Send a line, and give the line that comes back; empty where the connection ended."""
        self.seated()
        self.socket.sendall(line.encode() + b"\n")
        return self.lines.readline().decode().rstrip("\n")

    def ended(self):
        """Wait until the connection ends, in whichever way."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.lines.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
