"""What `maitred config new` writes starts a system that serves, and a stop as systemd performs it loses no client."""

import configparser
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.machine import PATIENCE, free_port
from tests.system.harness import SERVERS, TOKEN, Guest, eventually, processes_with, refused

pytestmark = pytest.mark.system
CPU = max(os.sched_getaffinity(0))


@pytest.fixture
def written(tmp_path):
    """The files that the wizard writes for two greeters, in a directory whose name needs quoting; and their port."""
    port = free_port()
    answers = tmp_path / "answers.toml"
    answers.write_text(
        f"[[class]]\nname = 'greeters'\nprogram = ['{SERVERS / 'greeter.py'}', '127.0.0.1:{port}']\n"
        f"address = '127.0.0.1'\nports = {port}\nstatic = 2\nelements = ['cpu{CPU}']\n"
        "environment = { SHAPE = \"a = 'b'\" }\nmemory_limit = '512M'\n"
    )
    folder = tmp_path / "a $b 100% 'c'"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "maitred", "config", "new", "shop.toml", "--answers", answers, "--defaults"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return folder, port


@pytest.fixture
def start(tmp_path):
    """Start a command from another directory; whatever becomes of it, nothing is left running."""
    token = secrets.token_hex(8)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = {**os.environ, TOKEN: token, "XDG_RUNTIME_DIR": str(runtime)}
    started = []

    def run(*command):
        log = (tmp_path / "log").open("ab")
        started.append(
            subprocess.Popen(command, cwd="/", env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
    for pid in processes_with(f"{TOKEN}={token}".encode()):
        os.kill(pid, signal.SIGKILL)


def two_servers(port, guests):
    """Whether one more client makes it two servers that serve the guests."""
    guests.append(Guest(port))
    return len({guest.seated() for guest in guests}) == 2


def world(pid, folder):
    """What the kernel knows of a server, of what the answers ask for."""
    proc = Path(f"/proc/{pid}")
    return {
        "elements": re.search(r"Cpus_allowed_list:\t(.*)", (proc / "status").read_text())[1],
        "memory_limit": re.search(r"Max data size +(\d+) +(\d+) +bytes", (proc / "limits").read_text()).groups(),
        "environment": [item for item in (proc / "environ").read_bytes().split(b"\0") if item.startswith(b"SHAPE=")],
        "directory": os.path.samefile(proc / "cwd", folder),
        "program": (proc / "cmdline").read_bytes().split(b"\0")[-2:-1],
    }


def words_of_systemd(line):
    """The words of a command line in a unit (systemd.service(5)): double quotes, ``%%`` and ``$$``."""
    assert not set("%$") & set(line.replace("%%", "").replace("$$", "")), "it would be replaced"
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def test_the_script_starts_what_was_asked_for_and_the_unit_stops_it_without_a_loss(written, start):
    folder, port = written
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(folder / "shop.service")
    service = unit["Service"]
    assert (service["KillMode"], service["Type"]) == ("mixed", "exec")
    for command in ([folder / "start-shop.sh"], words_of_systemd(service["ExecStart"])):
        process = start(*command)
        eventually(lambda process=process: process.poll() is not None or not refused(port), "nobody listens")
        guests = []
        eventually(lambda guests=guests: two_servers(port, guests), "the second server does not come", every=0.1)
        for pid in {guest.seated() for guest in guests}:
            assert world(pid, folder) == {
                "elements": str(CPU),
                "memory_limit": (str(512 << 20), str(512 << 20)),
                "environment": [b"SHAPE=a = 'b'"],
                "directory": True,
                "program": [f"127.0.0.1:{port}".encode()],
            }

        process.terminate()  # as KillMode=mixed has it: the main process, and no other
        eventually(lambda: refused(port), "it goes on listening")
        assert [guest.ask("served to the end") for guest in guests] == ["served to the end"] * len(guests)
        threading.Timer(0.2, lambda guests=guests: [guest.close() for guest in guests]).start()

        assert process.wait(float(service["TimeoutStopSec"])) == 0


def test_the_stop_has_the_time_that_the_configuration_may_need(written):
    folder, _ = written
    shop = folder / "shop.toml"
    shop.rename(folder / "old.toml")
    answers = folder.parent / "answers.toml"
    done = subprocess.run(
        [sys.executable, "-m", "maitred", "config", "new", shop, "--answers", answers, "--defaults", "--force"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "\nTimeoutStopSec=45\n" in (folder / "shop.service").read_text(), "grace 30, kill_delay 5, and 10"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_unit(written):
    folder, _ = written
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", folder / "shop.service"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
