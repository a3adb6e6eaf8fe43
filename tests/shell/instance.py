"""Runs a Monitor in a process of its own, for tests: with `FakeServer` as the program, or with any other."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.log import plain
from tests.machine import PATIENCE, free_port
from tests.processes import alive

PROGRAM = Path(__file__).with_name("monitor_program.py")


def eventually(condition, seconds=PATIENCE, what=""):
    """What the condition gives, once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.02)


def open_descriptors(pid):
    """What each is, apart from those that are closed meanwhile."""
    kinds = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds.append(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0])
    return sorted(kinds)


class Instance:
    """A Monitor that runs."""

    def __init__(self, directory, *, ports=None, args=None, program="fake", limit=None, group=None, **options):
        self.directory = directory
        self.ports = ports or [free_port()]
        self.control = directory / "control.sock"
        self.trace = directory / "trace"
        if args is None:
            args = [f"{port}@127.0.0.1:{port}" for port in self.ports]
        listeners = [[port, f"127.0.0.1:{port}"] for port in self.ports]
        given = {
            "directory": str(directory),
            "listeners": listeners,
            "args": args,
            "program": program,
            "limit": limit,
            **options,
        }
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, json.dumps(given)],
                stderr=log,
                stdout=log,
                stdin=subprocess.DEVNULL,
                process_group=group,
            )
        self.pid = self.process.pid

    def stop(self):
        """Leave nothing running, whatever the test has done."""
        pids = self.server_pids() | self.distributor_pids()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(3)
                except subprocess.TimeoutExpired:
                    continue
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)

    def logged(self):
        """Its log, without times and levels."""
        return plain(self.log.read_text(errors="replace"))

    def wait_logged(self, text):
        def settled():
            """A Distributor may outlive its Monitor, and logs it."""
            over = self.process.poll() is not None and not any(map(alive, self.distributor_pids()))
            return text in self.logged() or over

        eventually(settled, what=f"the log has {text!r}")
        assert text in self.logged(), self.logged()

    def server_pids(self):
        return {int(pid) for pid in re.findall(r"server \d+ of \S+ \(pid (\d+), ", self.logged())}

    def distributor_pids(self):
        return {int(pid) for pid in re.findall(r"Distributor of \S+ \(pid (\d+), ", self.logged())}

    def clients(self):
        """How many clients all servers have; None where a Distributor is too busy to answer."""
        counts = [row["clients"] for row in self.status()["servers"]]
        return None if None in counts else sum(counts)

    def wait(self):
        """Wait for its end, and give the exit code."""
        eventually(lambda: self.process.poll() is not None, what=f"its end:\n{self.logged()}")
        return self.process.returncode

    def ask(self, request):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.control))
            connection.sendall((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
        return json.loads(answer)

    def status(self):
        return self.ask({"request": "status"})["classes"][0]

    def servers(self, state="ready"):
        """The pids of the servers in this state, by id."""
        return {row["id"]: row["pid"] for row in self.status()["servers"] if row["state"] == state}

    def distributor(self):
        return self.status()["distributor"]["pid"]

    def standby(self):
        return self.ask({"request": "status"})["monitor"]["standby"]

    def wait_ready(self, count):
        self.wait_logged("started")  # the control socket is there by then
        eventually(lambda: len(self.servers()) == count and self.distributor(), what=f"{count} servers ready")

    def connect(self, port=None):
        return socket.create_connection(("127.0.0.1", port or self.ports[0]), PATIENCE)

    def served(self, port=None):
        """Connect, and read by which process: the connection and the pid."""
        connection = self.connect(port)
        return connection, int(read_line(connection).split()[0])


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        piece = connection.recv(1)
        if not piece:
            raise EOFError(line)
        line += piece
    return line.decode()
