"""`maitred top` in a pseudo-terminal: what it shows, its keys, another size, and its end; `status --watch`."""

import copy
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from tests.cli.conftest import STATUS
from tests.machine import PATIENCE

from maitred.cli import status, top

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOME = "\x1b[H"


class Terminal:
    """A pseudo-terminal with `maitred top` in it."""

    def __init__(self, control, columns=100, rows=40):
        self.ours, theirs = pty.openpty()
        self.size(columns, rows)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "maitred", "top", "--every", "0.1", "--control", str(control)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = ""

    def size(self, columns, rows):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def key(self, key):
        os.write(self.ours, key.encode())

    def read(self):
        if select.select([self.ours], [], [], 0.05)[0]:
            try:
                self.seen += os.read(self.ours, 1 << 16).decode()
            except OSError:  # its end
                return False
        return True

    def frame(self):
        """The last screen that has its last line, line by line, as people see it."""
        frames = [frame for frame in self.seen.split(HOME)[1:] if "q quits" in frame]
        return [line.rstrip() for line in CODES.sub("", frames[-1]).splitlines()] if frames else []

    def wait(self, condition):
        """Read until the condition holds of a screen that was drawn from now on; that screen."""
        self.seen = ""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.frame()):
            assert time.monotonic() < deadline and self.process.poll() is None, self.seen
            self.read()
        return self.frame()

    def shows(self, text):
        return self.wait(lambda frame: any(text in line for line in frame))

    def end(self):
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        while select.select([self.ours], [], [], 0)[0] and self.read():
            pass
        return self.process.returncode


@pytest.fixture
def terminal(own_directory):
    opened = []

    def start(**options):
        opened.append(Terminal(own_directory / "personnel.sock", **options))
        return opened[-1]

    yield start
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        os.close(each.ours)
        os.close(each.theirs)


def test_the_screen_shows_who_serves_and_who_waits(instance, terminal):
    instance(STATUS)
    shown = terminal().shows("new 0.0/s  seated 0.0/s  refused 0.0/s  timed out 0.0/s")
    assert shown[0] == "personnel: running, Monitor 100, core compiled"
    assert "element cpu0 up, 3 processes" in shown
    assert "employee_svc: Distributor operating, 1 restarts" in shown
    assert any(line.startswith("waiting 1 of 1024, the first for ") for line in shown)
    (row,) = [line for line in shown if " 102 " in line]
    assert row.split()[:4] == ["1", "102", "full", "2/2"] and row.endswith(f"3 [{'#' * 38}]")
    assert "manager_svc: Distributor down, - restarts" in shown
    assert shown[-1].startswith("q quits  s sorts (by place)")


def test_the_keys(instance, terminal):
    asked = instance(STATUS)
    screen = terminal()
    screen.shows("s sorts (by place)")
    screen.key("s")
    screen.shows("s sorts (by clients)")
    screen.key("x?")
    screen.shows("show or hide this help")
    screen.key("?")
    screen.shows("personnel: running")
    screen.key("p")
    screen.shows("p goes on (paused)")  # drawn once, for the key: nothing is asked for it
    before = len(asked)
    screen.key("s")
    screen.shows("s sorts (by cpu)")
    assert len(asked) == before
    screen.key("p")
    screen.shows("p pauses")
    screen.key("q")
    assert screen.end() == 0
    assert termios.tcgetattr(screen.theirs) == screen.before
    assert screen.seen.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_another_size_is_used_at_once_and_nothing_is_wider_or_higher(instance, terminal):
    big = copy.deepcopy(STATUS)
    row = big["classes"][0]["servers"][0]
    big["classes"][0]["servers"] = [{**row, "id": n, "pid": 1000 + n} for n in range(30)]
    instance(big)
    screen = terminal(columns=120, rows=50)
    assert any("1029" in line for line in screen.shows("s sorts"))
    screen.key("p")
    screen.shows("(paused)")
    screen.size(40, 12)
    shown = screen.wait(lambda frame: len(frame) == 12)
    assert max(map(len, shown)) <= 40
    assert any("more lines: a higher" in line for line in shown)


def test_an_instance_that_ends_is_said_to_have_and_a_signal_restores_the_terminal(instance, terminal, own_directory):
    instance(STATUS)
    screen = terminal()
    screen.shows("personnel")
    (own_directory / "personnel.sock").unlink()
    screen.wait(lambda frame: "no instance is running there" in " ".join(frame[:4]))
    screen.process.send_signal(signal.SIGTERM)
    assert screen.end() == 128 + signal.SIGTERM
    assert termios.tcgetattr(screen.theirs) == screen.before


def test_without_a_terminal_the_other_command_is_named(maitred, instance):
    instance(STATUS)
    assert maitred("top") == (
        1,
        "",
        "maitred: top needs a terminal for its input and output; without one: maitred status --watch\n",
    )


def test_rates_are_of_one_distributor():
    """After a restart its counts begin again: no rate is known, rather than a wrong one."""

    def sample(accepted, incarnation, at, before):
        document = copy.deepcopy(STATUS)
        document["classes"][0]["totals"]["accepted"] = accepted
        document["classes"][0]["distributor"]["incarnation"] = incarnation
        return top.Sample(document, top.Usage(at), before)

    first = sample(10, 1, 1.0, None)
    assert first.rate("employee_svc", "accepted") is None
    second = sample(30, 1, 3.0, first)
    assert second.rate("employee_svc", "accepted") == 10.0
    assert second.rate("manager_svc", "accepted") is None
    assert sample(5, 2, 4.0, second).rate("employee_svc", "accepted") is None


def test_the_usage_is_of_all_processes_of_a_session():
    forks = "import os, time; bytearray(1 << 25); os.fork(); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", forks], stdout=subprocess.PIPE, start_new_session=True) as leader:
        try:
            leader.stdout.readline()
            leader.stdout.readline()
            seen = top.usage()
            alone = int((top.Path("/proc") / str(leader.pid) / "statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGESIZE"
            )
            assert seen.memory[leader.pid] > alone
        finally:
            os.killpg(leader.pid, signal.SIGKILL)


# ---------------------------------------------------------------- status --watch


def test_the_tables_are_shown_again_and_again(maitred, instance, monkeypatch):
    asked, slept = instance(STATUS), []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", sleep)
    code, out, _ = maitred("status", "--watch", "0.5")
    assert (code, out.count("ServerStatus"), len(asked), slept) == (130, 6, 3, [0.5] * 3)
    slept.clear()
    code, out, _ = maitred("status", "--watch", "--json")
    assert (code, len(out.splitlines()), slept) == (130, 3, [2.0] * 3)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf"])
def test_a_period_is_a_number_of_seconds(maitred, given):
    code, _, err = maitred("status", "--watch", given)
    assert code == 2
    assert f"{given!r} is no number of seconds of at least 0.1" in err


@pytest.mark.parametrize("width", [40, 52, 80])
def test_the_tables_fit_narrow_terminals(maitred, instance, monkeypatch, width):
    """No row of the servers is broken, and what matters is in it."""
    instance(STATUS)
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = maitred("status")
    (row,) = [line.split() for line in out.splitlines() if " 102 " in line]
    assert row[:2] == ["1", "102"] and "full" in row and " ".join(row).find("2 of 2") > 0
    assert ("ready" in row) == (width == 80)
