"""Nothing is left behind: descriptors, memory and processes after ten thousand clients, and after many deaths."""

import os
import signal
import socket
import threading

import pytest
from tests.faults.kernel import DISTRIBUTOR, HELPER, MONITOR, SERVER, STANDBY, census, level_of
from tests.machine import PATIENCE, free_port
from tests.system.harness import SERVERS, eventually, write_config

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
CYCLES = 10_000
DEATHS = 24
WARM_UP = 1_000
"""Cycles after which whatever grows but once has grown."""
ROOM = 1 << 20
"""Bytes that a process may have gained at the end: a hundred for each cycle."""
QUICK = {"backoff_first": 0.02, "backoff_cap": 0.02, "stable_after": 0.1, "hand_off_timeout": 60}


def cycle(port, count):
    """So many clients, four at a time: each connects, is served, and closes."""

    def live():
        for _ in range(count // 4):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(b"x\n")
                with connection.makefile("rb") as lines:
                    assert lines.readline() and lines.readline() == b"x\n"
            done.append(None)

    done = []
    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == count, "every client was served"


def levels(instance, port):
    """What each process takes, by pid; the processes by role."""
    found = census(instance, [port])
    return {process.pid: level_of(process.pid) for process in found}, sorted(process.role for process in found)


def settled(instance, port, servers):
    """The levels, once everybody is there; the standby comes a moment after the Distributor."""
    everybody = sorted([MONITOR, DISTRIBUTOR, HELPER, STANDBY, *[SERVER] * servers])
    eventually(lambda: levels(instance, port)[1] == everybody, lambda: f"{levels(instance, port)[1]}")
    return levels(instance, port)


def leaks(before, after, room=ROOM):
    """What the second look shows that the first does not, in words."""
    found = [] if before[1] == after[1] else [f"processes: {before[1]} became {after[1]}"]
    for pid in before[0].keys() & after[0].keys():
        old, new = before[0][pid], after[0][pid]
        if new.descriptors > old.descriptors:
            found.append(f"{pid}: {old.descriptors} descriptors became {new.descriptors}")
        if new.threads > old.threads:
            found.append(f"{pid}: {old.threads} threads became {new.threads}")
        if new.memory > old.memory + room:
            found.append(f"{pid}: {old.memory} bytes became {new.memory}")
    return found


def no_leak(instance, port, before, room=ROOM):
    """What is closed by a process that has other things to do first is closed in a moment."""
    eventually(
        lambda: not leaks(before, levels(instance, port), room),
        lambda: f"{leaks(before, levels(instance, port), room)}\n{instance.log[-3_000:]}",
    )


@pytest.fixture
def start(maitred):
    """Start three copies of a program, without a trace: it would be the greatest thing that grows."""

    def start(program=SERVERS / "lines.py", arguments=("threading",)):
        port = free_port()
        args = [*arguments, "127.0.0.1", port]
        return maitred("-b", f"127.0.0.1:{port}", "--static", "3", program, *args, traced=False), port

    return start


def test_ten_thousand_clients_leave_nothing_behind(start, capsys):
    instance, port = start()
    cycle(port, WARM_UP)
    instance.wait_counts([0, 0, 0])
    before = settled(instance, port, 3)

    cycle(port, CYCLES)

    instance.wait_counts([0, 0, 0])
    no_leak(instance, port, before)
    with capsys.disabled():
        gained = {pid: level.memory - before[0][pid].memory for pid, level in levels(instance, port)[0].items()}
        print(f"\n{CYCLES:,} clients; bytes gained by each process: {sorted(gained.values())}")


def test_deaths_of_servers_and_distributors_leave_nothing_behind(maitred, tmp_path, capsys):
    """The Monitor is what outlives them all."""
    port = free_port()
    cls = {"name": "lines", "script": str(SERVERS / "lines.py"), "args": ["threading", "127.0.0.1", str(port)]}
    config = write_config(tmp_path / "c.toml", [{**cls, "listen": f"127.0.0.1:{port}", "static": 2}], **QUICK)
    instance = maitred("--config", config, traced=False)

    def deaths(count):
        for number in range(count):
            role = DISTRIBUTOR if number % 4 == 0 else SERVER
            victim = next(process.pid for process in census(instance, [port]) if process.role == role)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda pid=victim: pid not in pids(), "it is out of the table", within=PATIENCE)
            instance.wait_all_ready(PATIENCE)

    def pids():
        cls = instance.server_class()
        return {cls["distributor"]["pid"], *(server["pid"] for server in cls["servers"])}

    deaths(8)
    instance.wait_counts([0, 0])
    before = settled(instance, port, 2)

    deaths(DEATHS)

    instance.wait_counts([0, 0])
    no_leak(instance, port, before)
    with capsys.disabled():
        monitor = instance.process.pid
        gained = level_of(monitor).memory - before[0][monitor].memory
        print(f"\n{DEATHS} deaths; bytes gained by the Monitor: {gained}")


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("hoard.append(os.dup(0))", "descriptors"),
        ("hoard.append(os.urandom(500_000))", "bytes"),
        ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("subprocess.Popen(['sleep', '60'])", "processes"),
    ],
    ids=["descriptor", "memory", "thread", "process"],
)
def test_a_leak_is_noticed(start, tmp_path, what, word):
    """Each of these is done for one client in twenty."""
    program = tmp_path / "leaks.py"
    program.write_text(
        "import itertools, os, runpy, socketserver, subprocess, sys, threading, time\n"
        "take, hoard, number = socketserver.TCPServer.get_request, [], itertools.count()\n"
        "def leaky(server):\n"
        f"    if next(number) % 20 == 0:\n        {what}\n"
        "    return take(server)\n"
        "socketserver.TCPServer.get_request = leaky\n"
        f"runpy.run_path({str(SERVERS / 'lines.py')!r}, run_name='__main__')\n"
    )
    instance, port = start(program)
    cycle(port, 40)
    instance.wait_counts([0, 0, 0])
    before = levels(instance, port)

    cycle(port, 400)

    instance.wait_counts([0, 0, 0])
    assert any(word in leak for leak in leaks(before, levels(instance, port), room=1_000_000))
