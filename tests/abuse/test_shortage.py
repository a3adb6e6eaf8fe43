"""No descriptors, no room for those in flight, no disk: service goes on or waits, nothing spins, the log shows it."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.abuse.catalogue import says
from tests.abuse.measures import (
    MINUTES,
    Crowd,
    bent,
    config,
    descriptors,
    eventually,
    fill,
    guest,
    is_calm,
    note,
    sink,
    small_disk,
    stranger,
)
from tests.machine import free_port
from tests.system.harness import SERVERS, greeter, write_config

from maitred.shell.io import report

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]
PATIENT = {"queue_timeout": 600}

# ---------------------------------------------------------------- descriptors


def limited(strained, tmp_path, files, **options):
    """An instance with one seat, which is taken, whose Monitor and Distributor may have so many descriptors."""
    port = free_port()
    path = config(tmp_path, sink(port, static=1, max_clients=1), **PATIENT)
    instance = strained("--config", path, prefix=["prlimit", f"--nofile={files}:{files}"], **options)
    seated = guest(port)
    seated.seated()
    return instance, seated, port


def test_a_distributor_that_runs_out_of_descriptors_leaves_clients_in_the_backlog(strained, tmp_path):
    instance, seated, port = limited(strained, tmp_path, 128)
    with Crowd(port).join(200) as crowd:
        says(instance, "emfile")
        eventually(lambda: instance.waiting() > 40, "as many wait as there are descriptors for")
        shares = is_calm(instance.pids())
        waiting, used = instance.waiting(), descriptors(instance.distributor())
        assert waiting < used < 128, "a reserve is left for dialogs and for what the Monitor sends"
        assert seated.ask("hello") == "hello"

        seated.close()
        for client in crowd.sockets:
            assert client.recv(200).startswith(b"welcome ")
            client.close()
        instance.wait_counts([0])
    note("emfile", limit=128, waiting=waiting, **{f"{name}_cpu": share for name, share in shares.items()})


def test_a_distributor_that_spins_for_want_of_descriptors_is_noticed(strained, tmp_path):
    instance, seated, port = limited(strained, tmp_path, 128, environment=bent("spin"), trace=False)
    with Crowd(port).join(200), seated:
        eventually(lambda: instance.waiting() > 40, "as many wait as there are descriptors for")
        with pytest.raises(AssertionError, match="somebody spins"):
            is_calm(instance.pids())


def test_a_server_that_runs_out_of_descriptors_neither_spins_nor_makes_anybody_spin(strained, tmp_path):
    """The only one there is: its client waits for it, offered again ten times a second."""
    port = free_port()
    instance = strained("-b", f"127.0.0.1:{port}", "--static", "1", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    with guest(port) as first, guest(port) as second:
        assert first.seated() == second.seated()
        assert first.ask("exhaust").startswith("exhausted")
        with guest(port) as late:
            instance.wait_waiting(1)
            says(instance, "emfile server")
            shares = is_calm({**instance.pids(), "server": first.server})
            assert not late.is_greeted(within=0.1)
            assert second.ask("hello") == "hello"

            assert first.ask("recover") == "recovered"

            assert late.seated() == first.server
    note("emfile_server", **{f"{name}_cpu": share for name, share in shares.items()})


# ---------------------------------------------------------------- descriptors in flight

CLOG = """
import array, socket, sys
channels, rights = [], array.array("i", [0] * 100)
for _ in range(int(sys.argv[1]) // len(rights)):
    channels.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    channels[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
print("clogged", flush=True)
sys.stdin.read()
"""
"""Keeps descriptors in flight.  The kernel counts them for the user, and lets no process of an unprivileged user send
any while there are more than that process's RLIMIT_NOFILE."""


@contextlib.contextmanager
def clogged(prefix, number):
    """The user has so many descriptors in flight."""
    command = [*prefix, sys.executable, "-c", CLOG, str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "clogged\n"
        yield
    finally:
        process.communicate(timeout=MINUTES)


def test_too_many_descriptors_in_flight_only_delay(abode, strained):
    """As a user without privileges, to whom the kernel reports ETOOMANYREFS."""
    prefix, _ = stranger()
    port = free_port()
    path = config(abode, sink(port, static=2, max_clients=4), **PATIENT)
    instance = strained("--config", path, prefix=[*prefix, "prlimit", "--nofile=128:128"], directory=abode / "own")
    with guest(port) as before:
        before.seated()
        with clogged(prefix, 400):
            late = guest(port)
            eventually(lambda: '"Unsent"' in instance.trace.read_text(), "the kernel declines to send")
            says(instance, "in flight")
            shares = is_calm(instance.pids())
            assert not late.is_greeted(within=0.1)
            assert before.ask("hello") == "hello"
        with late:
            assert late.seated(), "there is room again"
    note("in_flight", **{f"{name}_cpu": share for name, share in shares.items()})


def test_a_server_that_starts_with_too_many_in_flight_waits_until_it_can_bind(abode, strained):
    prefix, _ = stranger()
    port = free_port()
    instance = strained(
        "--config",
        config(abode, sink(port, static=1, max_clients=4), **PATIENT),
        prefix=[*prefix, "prlimit", "--nofile=128:128"],
        directory=abode / "own",
    )
    [first] = [server["pid"] for server in instance.servers()]
    with clogged(prefix, 400):
        instance.kill(first)
        instance.wait_log(r"server 2 of sinks .* started")
        late = guest(port)
        assert not late.is_greeted(within=3.0)
    with late:
        second = late.seated()
    assert [(server["id"], server["pid"]) for server in instance.servers()] == [(2, second)], "it has not died of it"


@pytest.fixture
def abode():
    """A directory where the user of `stranger` finds a place, `own`, to write to."""
    _, uid = stranger()
    with tempfile.TemporaryDirectory(prefix="maitred-abuse-") as name:
        path = Path(name)
        path.chmod(0o755)
        for own in (path / "own", path / "own" / "run"):
            own.mkdir(mode=0o700)
            os.chown(own, uid, -1)
        yield path


# ---------------------------------------------------------------- a full disk


LIMIT = 160 << 10
"""Of the bytes of a file: more than a server's registry has, a file in memory for which it holds too; fewer than the
trace of the test would have."""


@contextlib.contextmanager
def full(kind, tmp_path):
    """A place for a trace that takes no more after a while: the options of an instance, and how to fill it."""
    if kind == "disk":
        with small_disk(tmp_path / "disk", "64k") as disk:
            yield {"trace": disk / "trace"}, lambda: fill(disk / "rest")
    else:
        yield {"trace": tmp_path / "trace", "prefix": ["prlimit", f"--fsize={LIMIT}:{LIMIT}"]}, lambda: None


@pytest.mark.parametrize("kind", ["disk", "limit"])
def test_a_full_disk_ends_the_trace_and_nothing_else(strained, tmp_path, kind):
    port = free_port()
    path = config(tmp_path, sink(port, static=2))
    with full(kind, tmp_path) as (options, fill_up):
        instance = strained("--config", path, **options)
        pids = instance.pids()
        fill_up()
        for _ in range(5):
            with Crowd(port).join(20) as crowd:
                assert len(crowd.greeted()) == 20
            instance.wait_counts([0, 0])
        says(instance, "full disk")
        assert instance.pids() == pids
        assert instance.log.count("the trace ends here") <= 4, "each process says it once"
        replays_up_to_its_end(instance, tmp_path / "readable")


def replays_up_to_its_end(instance, readable):
    """What is on the disk replays, but for a last line that was cut short."""
    lines = instance.trace.read_bytes().splitlines(keepends=True)
    readable.write_bytes(b"".join(line for line in lines if line.endswith(b"\n")))
    outcome = instance.command("replay", readable)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("stderr", [None, object()], ids=["none", "not a file"])
def test_a_log_that_is_not_there_stops_nothing(monkeypatch, stderr):
    """As in a server whose program has put something else in the place of its stderr, or nothing."""
    monkeypatch.setattr(sys, "stderr", stderr)
    report.info("nobody hears this")


def is_ready(instance):
    """Whether all servers are, where no log shows when the control socket listens."""
    try:
        return instance.all_ready()
    except (FileNotFoundError, ConnectionRefusedError):
        return False


@pytest.mark.parametrize("kind", ["disk", "device"])
def test_a_full_disk_under_the_logs_as_well_stops_nothing(strained, tmp_path, kind):
    """What maitred and the programs print is lost; then there is room again, and it is written again."""
    port = free_port()
    cls = greeter(port, static=2)
    with contextlib.ExitStack() as stack:
        if kind == "disk":
            disk = stack.enter_context(small_disk(tmp_path / "disk", "256k"))
            path = write_config(tmp_path / "c.toml", [cls])
            path.write_text(f'log_directory = "{disk}"\n' + path.read_text())
            instance = strained("--config", path, trace=disk / "trace", log=disk / "log")
            rest = fill(disk / "rest")
        else:
            path = write_config(tmp_path / "c.toml", [cls])
            instance = strained("--config", path, log=Path("/dev/full"), ready=False)
            eventually(lambda: is_ready(instance), "ready")
        pids = instance.pids()
        for _ in range(2):
            with guest(port) as one, guest(port) as other:
                victim, stays = one.seated(), other.seated()
                instance.kill(victim)
                assert one.ended()
                eventually(lambda gone=victim: gone not in [s["pid"] for s in instance.servers()], "it is out")
                instance.wait_all_ready()
                assert other.ask("hello") == "hello" and other.server == stays
        assert instance.pids() == pids
        if kind == "disk":
            rest.unlink()
            instance.kill(stays)
            instance.wait_log(rf"\(pid {stays}\) was killed by SIGKILL")
            assert victim not in [server["pid"] for server in instance.servers()]
        instance.finish()
