"""What the tests of this room share: an instance under other conditions, crowds of clients, and what they cost.

Memory is what the kernel reports as resident, in bytes; processor time is a share of one processor over a window.
"""

import contextlib
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from tests.system.harness import PATIENCE, Guest, Instance, write_config
from tests.system.harness import eventually as soon

HERE = Path(__file__).parent
BENDS = HERE / "bends"
FIGURES = "MAITRED_ABUSE_FIGURES"
"""The environment variable that names the file where figures are noted."""
WINDOW = 5.0 if os.environ.get(FIGURES) else 1.0
"""Seconds for which processes are watched at rest; an audit's period where it is to be noted."""
BUSY = 0.2
"""Of a processor.  A loop that spins takes all of one; the work of these tests takes a hundredth of this."""
MINUTES = 120.0
"""Seconds in which all is done, on the busiest machine."""
AT_ONCE = struct.pack("ii", 1, 0)
"""As SO_LINGER: closing resets the connection."""

eventually = partial(soon, within=MINUTES)
guest = partial(Guest, timeout=MINUTES)
"""A client of `servers/sink.py`, or of the greeter."""


# ---------------------------------------------------------------- the instance


class Strained(Instance):
    """A `maitred run` that is started by another command, or without a trace, or with its log elsewhere."""

    def __init__(self, directory, arguments, *, prefix=(), trace=None, log=None, **options):
        """As an `Instance`.

        Args:
            directory: where its files are.
            arguments: of the command.
            prefix: a command that runs the rest, such as ``prlimit``.
            trace: where the trace goes; False: there is none; None: where it always goes.
            log: the file of stdout and stderr; None: where it always is.
            options: of an `Instance`.
        """
        super().__init__(directory, arguments, **options)
        self.prefix = [str(word) for word in prefix]
        self.replays = trace is None
        self.replay_patience = MINUTES
        self.traced = trace is not False
        self.trace = trace or self.trace
        self.log_file = log or self.log_file

    def wait_ready(self):
        eventually(self._is_ready, lambda: f"ready\n{self.log}")

    def wait_log(self, pattern, within=MINUTES):
        return super().wait_log(pattern, within)

    def wait_counts(self, expected, within=MINUTES, index=0):
        super().wait_counts(expected, within, index)

    def wait_waiting(self, expected, within=MINUTES, index=0):
        super().wait_waiting(expected, within, index)

    def wait_all_ready(self, within=MINUTES):
        super().wait_all_ready(within)

    @property
    def log(self):
        """What it has printed, where that can be read again."""
        return "" if self.log_file.is_char_device() else super().log

    @property
    def monitor(self):
        """The pid of the Monitor."""
        return self.process.pid

    def pids(self):
        """Of the Monitor and of the Distributor."""
        return {"monitor": self.monitor, "distributor": self.distributor()}


def bent(*names):
    """The environment in which the Distributor and the Monitor are bent so (see `bends/sitecustomize.py`)."""
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(BENDS), before])), "MAITRED_BEND": ",".join(names)}


def sink(port, *options, **keys):
    """A server class of `servers/sink.py`, for a configuration file."""
    address = f"127.0.0.1:{port}"
    script = str(HERE / "servers" / "sink.py")
    return {"name": "sinks", "script": script, "args": [address, *map(str, options)], "listen": address, **keys}


def config(tmp_path, *classes, **durations):
    return write_config(tmp_path / "config.toml", classes, **durations)


# ---------------------------------------------------------------- what it costs


def resident(pid):
    """Bytes of memory that the process holds in fact."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"the kernel does not tell what is resident of {pid}")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor(pids, seconds=WINDOW):
    """The share of one processor that each takes while so many seconds pass.

    The time that it was ready to run and had to queue for a processor does not count: a loop that spins takes all that
    it is given, which on a busy machine is little.

    Args:
        pids: processes by name.
        seconds: how long to look.
    """
    began, before = time.monotonic(), {name: scheduled(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    passed = time.monotonic() - began
    shares = {}
    for name, pid in pids.items():
        ran, queued = (now - then for now, then in zip(scheduled(pid), before[name], strict=True))
        shares[name] = ran / max(passed - queued, ran, 1e-9)
    return shares


def scheduled(pid):
    """Seconds that the threads of the process have run, and that they have queued for a processor."""
    rows = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return tuple(sum(int(row[column]) for row in rows) / 1e9 for column in (0, 1))


def is_calm(pids, seconds=WINDOW):
    """The shares, none of which is that of a loop that spins."""
    shares = processor(pids, seconds)
    assert max(shares.values()) < BUSY, f"somebody spins: {shares}"
    return shares


def backlog(port):
    """How many clients the kernel has connected that nobody has accepted."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            return int(fields[4].rpartition(":")[2], 16)
    raise AssertionError(f"nobody listens on port {port}")


# ---------------------------------------------------------------- clients by the thousand


def room_for(number):
    """Let this process have so many descriptors more than it needs otherwise."""
    wanted = number + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"needs {wanted} descriptors: raise `ulimit -Hn` ({hard})"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class Crowd:
    """Clients that come, and stay until they are asked to leave."""

    def __init__(self, port):
        self.port = port
        self.sockets = []
        self.seated = 0
        """So many, of the first, have been greeted."""

    def join(self, number):
        """So many more; all are connected, not necessarily served."""
        room_for(len(self.sockets) + number)
        for _ in range(number):
            self.sockets.append(socket.create_connection(("127.0.0.1", self.port), MINUTES))
            self.sockets[-1].settimeout(MINUTES)
        return self

    def greeted(self):
        """Wait until every one has been greeted who was not yet; the pids of their servers."""
        fresh, self.seated = self.sockets[self.seated :], len(self.sockets)
        return [int(each.recv(200).split()[1]) for each in fresh]

    def leave(self):
        while self.sockets:
            self.sockets.pop().close()
        self.seated = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.leave()


def vanish(port, number, rate):
    """Clients that connect and are gone: some close, some reset, some do so after half a line.

    Args:
        port: of 127.0.0.1.
        number: of clients.
        rate: so many a second, if the machine can.

    Returns:
        how many a second there were.
    """
    began = time.monotonic()
    for n in range(number):
        time.sleep(max(began + n / rate - time.monotonic(), 0))
        with socket.create_connection(("127.0.0.1", port), MINUTES) as client:
            if n % 3:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            if n % 2:
                with contextlib.suppress(ConnectionError):
                    client.send(b"half a li")
    return number / (time.monotonic() - began)


# ---------------------------------------------------------------- shortages


def stranger():
    """The start of a command that runs as a user who has no other process, and may only read what root may.

    Where this process is not root, it is unprivileged itself: nothing is put before.
    """
    if os.geteuid() != 0:
        return [], os.geteuid()
    uid = 60_000 + os.getpid() % 5_000
    reads = "dac_read_search"  # the interpreter may lie where only root can look
    words = [shutil.which("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    assert words[0], "setpriv (util-linux) is not here"
    return [*words, f"--inh-caps=+{reads}", f"--ambient-caps=+{reads}"], uid


def allowed(*command):
    """Whether this process may run the command."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE).returncode == 0


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of so many bytes at the path, which only root can mount."""
    path.mkdir()
    if not allowed("mount", "-t", "tmpfs", "-o", f"size={size}", "maitred-test", path):
        pytest.skip("only root can mount a small disk; the file size limit and /dev/full stand for it")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, timeout=PATIENCE)


def fill(path):
    """Leave no byte on the disk where the path is."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return path


# ---------------------------------------------------------------- figures


def note(key, **figures):
    """Note the figures of one abuse, where the environment asks for it; an earlier run's are replaced."""
    where = os.environ.get(FIGURES)
    if where:
        path = Path(where)
        noted = json.loads(path.read_text()) if path.exists() else {}
        noted[key] = figures
        path.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n")
