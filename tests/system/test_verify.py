"""`maitred run --verify`: every step of the running machines is checked as it is taken, and nothing waits for that."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.processes import state_of
from tests.system.harness import Guest, Instance, command_of, eventually, greeter, write_config

pytestmark = pytest.mark.system

BENT = Path(__file__).parent / "bent.py"
LONG = 90.0
"""Seconds: more than a verifier needs that gives way to everybody on a busy machine."""


class Verified(Instance):
    """An instance that is verified, and not traced."""

    def __init__(self, directory, arguments, bend=None, **options):
        super().__init__(directory, arguments, **options)
        self.replays = False
        self.bend = bend

    def start(self, ready=True):
        self.control.parent.mkdir(mode=0o700, exist_ok=True)
        how = ["-m", "maitred"] if self.bend is None else [str(BENT), json.dumps(self.bend)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *how, "run", "--verify", "--control", self.control, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
            )
        if ready:
            self.wait_ready()
        return self

    def verify(self):
        return self.status()["verify"]

    def verifier(self):
        pid = self.verify()["pid"]
        assert self.token.encode() in Path(f"/proc/{pid}/environ").read_bytes(), command_of(pid)
        return pid

    def wait_checked(self, since=0):
        """Wait until all that has come through is checked, and more than so many steps were; the numbers."""

        def checked():
            numbers = self.verify()
            accounted = numbers["verified"] + numbers["dropped"] + numbers["unchecked"] + numbers["divergences"]
            return numbers if numbers["verified"] > since and numbers["steps"] - accounted <= 10 else None

        return eventually(checked, lambda: f"not all is checked: {self.verify()}\n{self.log}", within=LONG, every=0.1)

    def end(self):
        """Stop it; what the last word of the verifier was: steps verified, steps, dropped, unchecked, divergences."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0
        last = re.findall(
            r"^maitred: verified: (\d+) of (\d+) steps; (\d+) dropped, (\d+) .*; (\d+) divergences$", self.log, re.M
        )
        return tuple(map(int, last[-1]))


PREFORK = """
import os, socket, sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))


def work():
    while True:
        client, (host, port) = listener.accept()
        with client:
            client.sendall(b"welcome %d 0 %s %d\\n" % (os.getpid(), host.encode(), port))
            client.recv(1)


while True:
    for _ in range(3):
        if os.fork() == 0:
            work()
    while True:
        os.wait()
        if os.fork() == 0:
            work()
"""
"""A server whose three workers accept from one listener; one that dies is replaced."""


@pytest.fixture
def verified(tmp_path):
    """Start `maitred run --verify` on two servers, greeters by default; it is ended and looked over, come what may."""
    started = []

    def start(bend=None, program=None, **keys):
        port = free_port()
        cls = {**greeter(port, static=2, **keys)}
        if program is not None:
            (tmp_path / "program.py").write_text(program)
            cls |= {"script": str(tmp_path / "program.py"), "args": [str(port)]}
        config = write_config(tmp_path / "c.toml", [cls], backoff_first=0.05)
        instance = Verified(tmp_path / "instance", ["--config", config], bend)
        instance.port = port
        started.append(instance)
        return instance.start()

    yield start
    for instance in started:
        instance.finish()


def serve(instance, clients):
    """So many clients come one after another, and each is served."""
    for _ in range(clients):
        with Guest(instance.port) as guest:
            guest.seated()


def test_under_load_with_kills_every_step_that_came_through_is_a_step_of_the_machines(verified):
    instance = verified(max_clients=2)
    for kill in (instance.distributor, lambda: instance.servers()[0]["pid"], instance.distributor):
        crowd = [Guest(instance.port) for _ in range(4)]
        waiting = Guest(instance.port)
        for guest in crowd:
            guest.seated()
        instance.wait_waiting(1)
        pid = kill()
        instance.kill(pid)
        eventually(
            lambda pid=pid: pid not in {instance.distributor(), *(each["pid"] for each in instance.servers())},
            "it is seen to be dead",
        )
        for guest in crowd:
            guest.close()
        waiting.seated()
        waiting.close()
        instance.wait_all_ready()
        serve(instance, 50)

    numbers = instance.wait_checked(since=300)

    assert numbers["divergences"] == 0, instance.log
    steps_verified, steps, dropped, unchecked, divergences = instance.end()
    assert divergences == 0 and "DIVERGENCE" not in instance.log, instance.log
    assert steps_verified >= numbers["verified"]
    assert 0 <= steps - steps_verified - dropped - unchecked <= 3  # those that a killed process was in


def test_a_server_of_several_processes_is_one_machine_though_some_are_killed(verified):
    instance = verified(program=PREFORK)
    seen = set()
    for _ in range(8):
        for _ in range(12):
            with Guest(instance.port) as guest:
                seen.add(guest.seated())
        with Guest(instance.port) as guest:
            instance.kill(guest.seated())
            guest.ended()
    assert len(seen) > 4, "several workers have served"

    instance.wait_checked(since=150)

    steps_verified, steps, dropped, unchecked, divergences = instance.end()
    assert divergences == 0, instance.log
    assert 0 <= steps - steps_verified - dropped - unchecked <= 8  # those that a killed process was in


def test_a_bent_machine_is_reported_with_its_step_and_the_last_50_events(verified):
    """A slip of the pen in the Distributor's process alone: it sets no timer for the answer to a hand-off."""
    instance = verified({"mutant": "the_hand_off_timeout_is_not_set", "after": 200})
    serve(instance, 40)
    assert "DIVERGENCE" not in instance.log
    serve(instance, 60)

    instance.wait_log("DIVERGENCE of distributor 0 1 at step", within=LONG)

    def report() -> list[str]:
        said = instance.log
        return said[said.index("DIVERGENCE") :].splitlines()

    def events() -> list[str]:
        return [line for line in report()[2:] if re.match(r"  step \d+: ", line)][:50]

    eventually(lambda: len(events()) == 50, "the report is written to its end", within=LONG)
    told = re.match(
        r"DIVERGENCE of distributor 0 1 at step (\d+): effect .*Accept.*: the event of step (\d+) (.*)$", report()[0]
    )
    assert told[1] == told[2] and "HandOffTimeout" in told[3]
    step = int(told[1])
    assert step >= 200
    assert report()[1] == "  the last 50 events of distributor 0 1:"
    assert [int(re.match(r"  step (\d+)", line)[1]) for line in events()] == list(range(step - 49, step + 1))
    last = events()[-1]
    assert f"step {step}: ConnectionRequest(port={instance.port}," in last and "-> Send(server=" in last
    assert instance.verify()["divergences"] >= 1
    serve(instance, 10)  # service goes on
    assert instance.end()[4] >= 1


def test_stalled_verifier_never_blocks_and_drops_are_counted(verified):
    instance = verified({"room": 1 << 15})
    serve(instance, 20)
    verifier = instance.verifier()
    os.kill(verifier, signal.SIGSTOP)
    try:
        serve(instance, 150)
        stopped = instance.verify()
        assert stopped["dropped"] > 0, stopped
        serve(instance, 20)  # while every step is dropped
        assert instance.verify()["dropped"] > stopped["dropped"]
        assert instance.verify()["verified"] == stopped["verified"]
        assert "not checked" not in instance.log
    finally:
        os.kill(verifier, signal.SIGCONT)

    eventually(
        lambda: (serve(instance, 5), "distributor 0 1: " in instance.log)[1], "the gap is told", within=LONG, every=0.3
    )

    gap = (
        r"verify: distributor 0 1: (\d+) steps not checked: steps (\d+) to (\d+); it is checked again from step (\d+)$"
    )
    count, first, last, again = map(int, instance.wait_log(gap).groups())
    assert count == last - first + 1 and again == last + 1
    resumed = r"verify: server 0 \d+: \d+ steps not checked: steps \d+ to \d+; it is checked again from step \d+$"
    eventually(
        lambda: (serve(instance, 5), re.search(resumed, instance.log, re.M))[1],
        "a server is checked again",
        within=LONG,
        every=0.3,
    )
    numbers = instance.wait_checked(since=stopped["verified"] + 20)
    assert numbers["divergences"] == 0 and numbers["dropped"] >= count
    steps_verified, steps, dropped, unchecked, divergences = instance.end()
    assert divergences == 0 and dropped >= count
    assert steps - steps_verified - dropped - unchecked <= 3, instance.log


def test_a_verifier_that_stands_still_does_not_keep_the_instance_from_stopping(verified):
    instance = verified()
    os.kill(instance.verifier(), signal.SIGSTOP)
    instance.signal(signal.SIGTERM)
    assert instance.wait(within=LONG) == 0
    assert "does not come to an end: killed" in instance.log


def test_a_verifier_that_is_killed_is_reported_and_service_goes_on(verified):
    instance = verified()
    serve(instance, 20)
    verified_so_far = instance.wait_checked(since=20)["verified"]
    pid = instance.verifier()

    instance.kill(pid)

    instance.wait_log(rf"^maitred: the verifier \(pid {pid}\) was killed by SIGKILL: from here on no step is verified")
    serve(instance, 50)
    numbers = instance.verify()
    assert numbers["pid"] is None and numbers["divergences"] == 0
    assert numbers["verified"] < numbers["steps"] and numbers["verified"] >= verified_so_far
    instance.kill(instance.distributor())
    eventually(lambda: instance.server_class()["distributor"]["incarnation"] == 2, "a Distributor is started again")
    instance.wait_all_ready()
    serve(instance, 10)
    instance.end()


def test_when_the_monitor_is_killed_those_who_serve_on_are_verified_on(verified):
    instance = verified()
    serve(instance, 5)
    verifier, distributor = instance.verifier(), instance.distributor()
    others = [verifier, distributor, *(each["pid"] for each in instance.servers())]
    handles = [os.pidfd_open(pid) for pid in others]
    try:
        instance.kill(instance.process.pid)
        instance.wait()
        serve(instance, 5)
        assert Path(f"/proc/{verifier}/environ").exists()
        for handle in handles[1:]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{verifier}/status").exists() or "Z" in state_of(verifier), "it ends, too")
    finally:
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        instance.control.unlink(missing_ok=True)
        instance.expected = -signal.SIGKILL
