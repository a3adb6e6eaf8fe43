"""`maitred rotate` and SIGUSR1: log and trace are opened again by their names, and no line is lost."""

import os
import re
import signal
import threading

import pytest
from tests.machine import free_port
from tests.system.harness import Guest, Instance, eventually, greeter, write_config

pytestmark = pytest.mark.system

LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[\w+\] maitred: .+\n")


@pytest.fixture
def logging(tmp_path):
    """Start an instance with a log file of its own: the instance, which reads that, and the file."""
    started = []

    def start(*options, static=2, traced=True):
        config = write_config(tmp_path / "c.toml", [greeter(free_port(), static=static)])
        log = tmp_path / "maitred.log"
        instance = Instance(tmp_path / "instance", ["--log", log, *options, "--config", config], traced=traced)
        instance.replays = False
        started.append(instance)
        instance.start(ready=False)
        instance.log_file = log
        instance.wait_ready()
        return instance, log

    yield start
    for instance in started:
        instance.finish()


def port_of(instance):
    return instance.server_class()["ports"][0]["port"]


def writers(path):
    """Which processes have the file open."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            names = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        except OSError:
            continue
        if str(path) in names:
            found.add(int(pid))
    return found


def test_the_renamed_files_are_let_go_of_and_the_new_ones_written(logging):
    instance, log = logging()
    distributor, standby = instance.distributor(), instance.status()["monitor"]["standby"]
    ours = {instance.process.pid, distributor}
    assert writers(log) == ours
    old_log, old_trace = log.rename(f"{log}.1"), instance.trace.rename(f"{instance.trace}.1")

    outcome = instance.command("rotate", "--control", instance.control)

    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    assert not writers(old_log)
    assert writers(log) == ours
    assert writers(old_trace) == {server["pid"] for server in instance.servers()}
    assert ours <= writers(instance.trace)

    instance.kill(distributor)  # whoever comes after it is the standby, which knew neither file
    eventually(lambda: instance.distributor() == standby, "the standby goes on")
    with Guest(port_of(instance)) as guest:
        assert guest.seated()
    assert standby in writers(log)
    assert f"(pid {distributor}) was killed by SIGKILL" in instance.log
    assert "ready: " in old_log.read_text() and "ready: " not in instance.log


def test_no_line_is_lost_while_clients_come(logging):
    """Each step is in one of the parts: the replay misses none.  Each line of the log is whole."""
    instance, log = logging()
    port, over = port_of(instance), threading.Event()

    def visit():
        while not over.is_set():
            with Guest(port) as guest:
                guest.seated()

    visitor = threading.Thread(target=visit)
    visitor.start()
    parts = []
    for number in range(3):
        eventually(lambda: instance.trace.stat().st_size, "somebody has come since the last time")
        parts += [(log.rename(f"{log}.{number}"), instance.trace.rename(f"{instance.trace}.{number}"))]
        instance.signal(signal.SIGUSR1)
        eventually(lambda old=parts[-1][0]: not writers(old), "the old log is let go of")
        instance.wait_log("^maitred: opened again: log and trace$")
    over.set()
    visitor.join()
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0

    for part in [*(part for part, _ in parts), log]:
        assert all(map(LINE.fullmatch, part.read_text().splitlines(keepends=True)))
    pieces = [*(part for _, part in parts), instance.trace]
    assert all(piece.stat().st_size for piece in pieces)
    outcome = instance.command("replay", *pieces)
    assert outcome.returncode == 0, outcome.stderr
    assert instance.command("replay", *pieces[1:]).returncode == 1  # the beginning is in the first


def test_the_verifier_goes_along(logging):
    instance, log = logging("--verify", static=1, traced=False)
    verifier = instance.status()["verify"]["pid"]
    eventually(lambda: verifier in writers(log), "the verifier has the log")
    old = log.rename(f"{log}.1")
    assert instance.ask({"request": "rotate"}) == {"ok": True, "files": ["log"]}
    eventually(lambda: not writers(old), "the old log is let go of")
    assert verifier in writers(log)


def test_what_cannot_be_opened_again_changes_nothing(logging, tmp_path):
    instance, log = logging(static=1)
    old = log.rename(f"{log}.1")
    log.symlink_to(tmp_path / "elsewhere")
    answer = instance.ask({"request": "rotate"})
    assert answer == {"error": f"{log} cannot be opened again: it is a symbolic link; nothing has changed"}
    instance.log_file = old
    instance.signal(signal.SIGUSR1)
    instance.wait_log("^maitred: SIGUSR1: .* is a symbolic link; nothing has changed$")
    assert not (tmp_path / "elsewhere").exists()
    assert writers(old) == {instance.process.pid, instance.distributor()}


def test_a_distributor_that_is_stopped_is_named_and_does_it_when_it_goes_on(logging):
    instance, log = logging(static=1)
    distributor = instance.distributor()
    old = log.rename(f"{log}.1")
    os.kill(distributor, signal.SIGSTOP)
    try:
        answer = instance.ask({"request": "rotate"})
        assert answer["error"].startswith("the Distributor of greeters does not answer")
        assert writers(old) == {distributor}
    finally:
        os.kill(distributor, signal.SIGCONT)
    eventually(lambda: not writers(old), "it lets go of the old log")


def test_an_instance_without_files_says_so(maitred):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", 1, "-m", "http.server", port, traced=False)
    assert "neither a log file nor a trace" in instance.ask({"request": "rotate"})["error"]
    instance.signal(signal.SIGUSR1)
    instance.wait_log("^maitred: SIGUSR1: nothing is to be opened again")


def test_an_instance_that_fails_says_on_stderr_where_to_look(maitred, tmp_path):
    log = tmp_path / "log"
    instance = maitred("--log", log, "-b", "192.0.2.1:8000", "-m", "http.server", ready=False, traced=False)
    instance.expected = 1
    assert instance.wait() == 1
    assert instance.log == f"maitred: stopped, with an error: see {log}\n"
    assert "cannot listen on 192.0.2.1" in log.read_text()
