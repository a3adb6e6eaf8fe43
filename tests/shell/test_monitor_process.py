"""The Monitor's process with real processes: what dies is started again, what is stopped ends, nothing leaks."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.processes import alive, children
from tests.shell.instance import Instance, eventually, open_descriptors, read_line

from maitred.core.monitor import ServerGone
from maitred.shell.io.loop import Loop
from maitred.shell.supervise.servers import Servers

pytestmark = pytest.mark.system


@pytest.fixture
def start(tmp_path):
    started = []

    def starter(**options):
        instance = Instance(tmp_path, **options)
        started.append(instance)
        return instance

    yield starter
    for instance in started:
        instance.stop()


def replaced(instance, count, *gone):
    """Wait until so many servers are ready and those that were killed have been replaced."""
    eventually(
        lambda: len(found := instance.servers()) == count and not set(gone) & set(found.values()),
        what="the killed servers are replaced",
    )


def test_a_killed_server_is_replaced_and_the_others_serve_on(start):
    instance = start(static=2)
    instance.wait_logged("ready: 2 servers behind 127.0.0.1:")
    one, first = instance.served()
    two, second = instance.served()
    assert first != second

    os.kill(first, signal.SIGKILL)

    assert one.recv(1) == b""
    replaced(instance, 2, first)
    two.sendall(b"still here\n")
    assert read_line(two) == "still here\n"
    assert "was killed by SIGKILL" in instance.logged()
    assert (
        f"in the place of server {1 if f'server 1 of web (pid {first},' in instance.logged() else 2}"
        in instance.logged()
    )


def test_a_killed_distributor_is_replaced_and_no_client_notices(start):
    instance = start(static=2)
    instance.wait_ready(2)
    served, pid = instance.served()
    distributor = instance.distributor()

    os.kill(distributor, signal.SIGKILL)
    queued = [instance.connect() for _ in range(20)]  # into the backlog of a listening socket that nobody reads

    assert all(read_line(connection) for connection in queued)
    served.sendall(b"still here\n")
    assert read_line(served) == "still here\n"
    status = instance.status()
    assert status["distributor"]["incarnation"] == 2 and status["distributor"]["pid"] != distributor
    eventually(lambda: instance.clients() == 21, what="the table is exact again")
    for connection in (served, *queued):
        connection.close()
    eventually(lambda: instance.clients() == 0, what="all have been counted out")
    assert pid in instance.servers().values()


def test_both_killed_at_once(start):
    instance = start(static=2)
    instance.wait_ready(2)
    victim = next(iter(instance.servers().values()))
    distributor = instance.distributor()

    os.kill(victim, signal.SIGKILL)
    os.kill(distributor, signal.SIGKILL)

    replaced(instance, 2, victim)
    assert all(read_line(instance.connect()) for _ in range(10))


def test_who_waits_survives_the_distributor(start):
    instance = start(static=1, max_clients=1)
    instance.wait_ready(1)
    seated, _ = instance.served()
    waiting = [instance.connect() for _ in range(5)]
    eventually(lambda: instance.status()["waiting"] == 5, what="five wait")
    before = instance.status()["waiting_list"]

    os.kill(instance.distributor(), signal.SIGKILL)

    eventually(lambda: instance.status()["distributor"]["incarnation"] == 2 and instance.status()["waiting"] == 5)
    after = instance.status()["waiting_list"]
    assert [row["arrival"] for row in after] == [row["arrival"] for row in before]
    seated.close()
    for connection in waiting:  # first come, first served
        assert read_line(connection)
        connection.close()


def test_all_that_a_dead_distributor_sent_is_read_before_anything_is_sent_to_the_next(start):
    """More than the Monitor reads in a turn lies in the channel when it learns of the death."""
    instance = start(static=1, max_clients=1)
    instance.wait_ready(1)
    seated, _ = instance.served()
    os.kill(instance.pid, signal.SIGSTOP)
    waiting = [instance.connect() for _ in range(150)]
    eventually(lambda: instance.trace.read_text().count('"effect":{"is":"Watch"') == 150, what="all wait")
    os.kill(instance.distributor_pids().pop(), signal.SIGKILL)

    os.kill(instance.pid, signal.SIGCONT)

    eventually(lambda: instance.status()["distributor"]["incarnation"] == 2 and instance.status()["waiting"] == 150)
    seated.close()
    for connection in waiting:
        assert read_line(connection)
        connection.close()


def test_a_servers_place_is_free_only_when_nobody_is_left():
    """Those who are killed may take their time to die."""
    servers = Servers.__new__(Servers)
    loop, heard, looks = Loop(), [], iter([True, True, False])
    servers._loop, servers._machine = loop, SimpleNamespace(handle=heard.append)
    servers._others, servers.held = list, {}
    family = SimpleNamespace(kill=lambda dialogs, spared: next(looks))
    server = SimpleNamespace(
        class_id=0, server=7, child=object(), ended=True, look_again=0.001, family=family, dialogs={}
    )
    servers._kill_all(server)
    assert heard == []
    loop.turn()
    assert heard == []
    loop.turn()
    assert heard == [ServerGone(0, 7)]
    loop.close()


def test_a_forked_child_does_not_outlive_its_server(start):
    instance = start(static=1)
    instance.wait_ready(1)
    connection, pid = instance.served()
    connection.sendall(b"!fork\n")
    assert read_line(connection) == "!fork\n"
    eventually(lambda: Path(f"/proc/{pid}/task/{pid}").exists())
    children = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and parent(p.name) == pid]
    assert len(children) == 1

    os.kill(pid, signal.SIGKILL)

    replaced(instance, 1, pid)
    assert not alive(children[0])
    assert connection.recv(1) == b""


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_a_server_that_hangs_is_killed(start):
    instance = start(static=1, durations={"hand_off_timeout": 0.5})
    instance.wait_ready(1)
    connection, pid = instance.served()
    connection.sendall(b"!hang\n")
    instance.wait_logged("hangs\n")

    queued = instance.connect()

    assert int(read_line(queued).split()[0]) != pid
    instance.wait_logged("has not taken a client for 0.5 s")


def test_sigterm_lets_clients_finish(start):
    instance = start(static=2)
    instance.wait_ready(2)
    connection, _ = instance.served()

    instance.process.send_signal(signal.SIGTERM)
    instance.wait_logged("SIGTERM: stopping when the clients have left")
    eventually(lambda: refused(instance), what="nothing listens any more")
    connection.sendall(b"one more\n")
    assert read_line(connection) == "one more\n"
    assert instance.process.poll() is None
    connection.close()

    assert instance.wait() == 0
    assert not instance.control.exists()
    assert not any(alive(pid) for pid in instance.server_pids() | instance.distributor_pids())


def refused(instance):
    try:
        instance.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_grace_ends(start):
    instance = start(static=1, durations={"grace": 0.3, "kill_delay": 0.3})
    instance.wait_ready(1)
    connection, _ = instance.served()

    instance.process.send_signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert connection.recv(1) == b""


def test_ctrl_c_does_not_reach_the_children(start):
    instance = start(static=2)
    instance.wait_ready(2)
    sessions = {os.getsid(pid) for pid in (*instance.servers().values(), instance.distributor())}
    assert os.getsid(instance.pid) not in sessions
    assert len(sessions) == 3


@pytest.mark.parametrize("milliseconds", [20, 40, 60, 80, 120])
def test_ctrl_c_while_processes_start_prints_no_traceback(start, milliseconds):
    instance = start(static=4, group=0)
    for _ in range(1_000_000):  # without a pause: an interpreter is up in some hundredths of a second
        if children(instance.pid):
            break
    time.sleep(milliseconds / 1_000)
    os.killpg(instance.pid, signal.SIGINT)
    assert instance.wait() == 0
    assert "Traceback" not in instance.logged(), instance.logged()


def test_a_crash_loop_is_given_up(start):
    instance = start(static=1, args=["exit", "7"])
    assert instance.wait() == 3
    assert instance.logged().count("exited with status 7") >= 5
    assert "no server has ever become ready" in instance.logged()
    assert not any(alive(pid) for pid in instance.distributor_pids())


def test_a_port_in_use_is_reported(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        instance = start(static=1, ports=[taken.getsockname()[1]])
        assert instance.wait() == 1
    assert f"cannot listen on 127.0.0.1:{instance.ports[0]}: Address already in use" in instance.logged()


def test_a_program_that_never_listens_is_reported(start):
    instance = start(static=1, args=["sleep"], durations={"start_warning": 0.3})
    instance.wait_logged("runs, but does not listen")
    assert instance.process.poll() is None


def test_a_dynamic_server_comes_and_goes(start):
    instance = start(static=1, dynamic=1, max_clients=1, durations={"create_delay": 0.1, "delete_delay": 2.0})
    instance.wait_ready(1)
    one, first = instance.served()

    two, second = instance.served()

    assert first != second
    kinds = {row["pid"]: row["kind"] for row in instance.status()["servers"]}
    assert kinds == {first: "static", second: "dynamic"}
    two.close()
    eventually(lambda: not alive(second), what="the dynamic server has gone")
    one.sendall(b"still here\n")
    assert read_line(one) == "still here\n"


def test_a_processing_element_fails_with_all_on_it(start):
    cpus = sorted(os.sched_getaffinity(0))
    instance = start(static=2, elements=[["left", cpus[:1], 1], ["right", cpus[-1:], 1]])
    instance.wait_ready(2)
    rows = instance.status()
    on_left = {row["pid"] for row in rows["servers"] if row["element"] == "left"}
    if rows["distributor"]["element"] == "left":
        on_left.add(rows["distributor"]["pid"])
    assert on_left and len(on_left) < 3

    assert instance.ask({"request": "element", "name": "left", "up": False}) == {"ok": True}

    eventually(lambda: not any(map(alive, on_left)), what="all on it have died")
    instance.wait_ready(2)
    assert {row["element"] for row in instance.status()["servers"]} == {"right"}
    assert instance.status()["distributor"]["element"] == "right"
    assert read_line(instance.connect())
    assert "error" in instance.ask({"request": "element", "name": "left", "up": False})
    assert instance.ask({"request": "element", "name": "left", "up": True}) == {"ok": True}


def test_an_element_without_cpus_is_refused(start):
    instance = start(elements=[["moon", [100_000], 1]])
    assert instance.wait() == 2
    assert "processing element moon: none of its CPUs is here" in instance.logged()


def test_nothing_leaks(start):
    instance = start(static=2, durations={"backoff_first": 0.01, "backoff_cap": 0.01})
    instance.wait_ready(2)
    read_line(instance.connect())
    eventually(lambda: instance.clients() == 0)
    eventually(instance.standby)
    monitor, distributor = open_descriptors(instance.pid), open_descriptors(instance.distributor())
    assert len(monitor) < 60

    for _ in range(8):
        victim = next(iter(instance.servers().values()))
        os.kill(victim, signal.SIGKILL)
        replaced(instance, 2, victim)
    eventually(
        lambda: open_descriptors(instance.distributor()) == distributor, what="the Distributor closes what it had"
    )
    for incarnation in range(2, 6):
        os.kill(instance.distributor(), signal.SIGKILL)
        eventually(
            lambda n=incarnation: instance.status()["distributor"]["incarnation"] == n and instance.distributor()
        )
        instance.wait_ready(2)

    eventually(instance.standby)
    eventually(lambda: open_descriptors(instance.pid) == monitor, what="the Monitor has as many as before")
    eventually(lambda: open_descriptors(instance.distributor()) == distributor, what="so has the Distributor")


def test_servers_inherit_nothing_but_what_is_theirs(start):
    """The registry (before 3.13 also the duplicate that its mapping keeps), the trace, the control socket; a dialog."""
    instance = start(static=1)
    instance.wait_ready(1)
    pid = next(iter(instance.servers().values()))
    links = sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2)
    kinds = [link.split(":")[0] for link in links]
    registry = ["/memfd"] * (1 if sys.version_info >= (3, 13) else 2)
    assert kinds == [*registry, str(instance.trace), "socket", "socket"]


def test_logs_go_to_private_files(start):
    instance = start(static=1, logs=True, args=["exit", "1"])
    assert instance.wait() == 3
    log = instance.directory / "logs" / "web-0.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_resource_tracker_may_be_killed(start):
    instance = start(static=1)
    instance.wait_ready(1)
    trackers = [
        int(p.name)
        for p in Path("/proc").iterdir()
        if p.name.isdecimal() and parent(p.name) == instance.pid and b"resource_tracker" in (p / "cmdline").read_bytes()
    ]
    for tracker in trackers:
        os.kill(tracker, signal.SIGKILL)

    victim = next(iter(instance.servers().values()))
    os.kill(victim, signal.SIGKILL)

    replaced(instance, 1, victim)


def test_the_monitors_death_leaves_service_in_place(start):
    instance = start(static=2)
    instance.wait_ready(2)
    pids = {*instance.servers().values(), instance.distributor()}
    one, _ = instance.served()

    os.kill(instance.pid, signal.SIGKILL)
    instance.wait()

    instance.wait_logged("serving goes on unsupervised")
    assert all(map(alive, pids))
    one.sendall(b"still here\n")
    assert read_line(one) == "still here\n"
    assert all(read_line(instance.connect()) for _ in range(5))


def test_a_new_run_names_the_holder_of_the_port_that_it_cannot_have(start, tmp_path):
    """Of what a dead Monitor has left, at the same control socket or another; and what ends it."""
    first = start(static=1)
    first.wait_ready(1)
    (server,), distributor = first.servers().values(), first.distributor()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    first.control.unlink()
    second = Instance(first.directory, ports=first.ports, static=1)  # at the same control socket

    try:
        assert second.wait() == 1
        who = f"Distributor {distributor}, server {server}. What ends is not started again."
        assert f"port {first.ports[0]} is held by {first.control}: unsupervised: the Monitor is gone" in second.logged()
        assert f"{who} To end it all: kill {distributor} {server}" in second.logged()
    finally:
        second.stop()
        for pid in (server, distributor):
            os.kill(pid, signal.SIGKILL)


def test_a_new_run_names_the_program_that_has_the_port(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        instance = start(ports=[port], static=1)
        assert instance.wait() == 1
        assert f"port {port} is held by process {os.getpid()} (" in instance.logged()


def test_an_unforeseen_failure_of_the_monitor_is_a_death_too(start):
    """It reports what it was and is gone at once, rather than hanging on with a channel that nobody reads."""
    instance = start(static=1, sabotage=True)
    instance.wait_ready(1)
    pids = {*instance.servers().values(), instance.distributor()}

    with pytest.raises(json.JSONDecodeError):  # no answer: it has died of the question
        instance.ask({"request": "element", "name": "e", "up": True})
    assert instance.wait() == os.EX_SOFTWARE

    instance.wait_logged("RuntimeError: sabotage")
    instance.wait_logged("serving goes on unsupervised")
    assert all(map(alive, pids)) and read_line(instance.connect())


def test_a_distributor_that_hangs_up_is_ended_and_that_is_all(start):
    """Long after its end, what was set for it does nothing to its successor."""
    instance = start(static=1)
    instance.wait_ready(1)
    os.kill(instance.distributor(), signal.SIGKILL)
    eventually(lambda: instance.status()["distributor"]["incarnation"] == 2)
    time.sleep(2.5)
    assert instance.status()["distributor"]["incarnation"] == 2
    assert read_line(instance.connect())


# ---------------------------------------------------------------- the control socket


def test_the_control_socket_is_private(start):
    instance = start(static=1)
    instance.wait_ready(1)
    assert stat.S_IMODE(instance.control.stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_turned_away(start):
    instance = start(static=1)
    instance.wait_ready(1)
    instance.control.chmod(0o666)
    instance.directory.chmod(0o711)
    code = (
        "import os, socket; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        """s.connect("control.sock"); s.sendall(b'{"request": "stop"}\\n'); print(s.recv(1000).decode())"""
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=instance.directory, capture_output=True, text=True, check=False)
    assert "another user" in answer.stdout, answer.stderr
    assert "stopping" not in instance.logged()


GARBAGE = [
    b"",
    b"hello",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"request": "fly"}',
    b'{"request": "element", "name": 3, "up": 1}',
    b'{"request": "element", "name": "moon", "up": true}',
    b"[" * 4000,
    b'{"request": "status", "more": 1}',
]


def test_garbage_gets_an_error(start):
    instance = start(static=1)
    instance.wait_ready(1)
    for garbage in GARBAGE:
        assert "error" in instance.ask(garbage), garbage
    assert instance.servers()


def test_the_control_socket_is_patient_with_nobody(start):
    instance = start(static=1)
    instance.wait_ready(1)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as endless:
        for each in (silent, endless):
            each.settimeout(60)
            each.connect(str(instance.control))
        endless.sendall(b"x" * 5000)
        assert "error" in json.loads(endless.recv(1000))
        assert instance.status()["name"] == "web"  # others are served meanwhile
        assert silent.recv(1) == b""  # hung up on, in its time


def test_stop_by_the_control_socket(start):
    instance = start(static=1)
    instance.wait_ready(1)
    assert instance.ask({"request": "stop"}) == {"ok": True}
    assert instance.wait() == 0


def test_status_without_a_distributor(start):
    instance = start(static=1, durations={"backoff_first": 5.0, "backoff_cap": 5.0})
    instance.wait_ready(1)
    for incarnation in (1, 2):  # it is replaced at once, but once
        row = eventually(lambda n=incarnation: (d := instance.status()["distributor"])["incarnation"] == n and d)
        os.kill(row["pid"], signal.SIGKILL)
    eventually(lambda: instance.distributor() is None)
    status = instance.status()
    assert status["distributor"]["phase"] == "restarting"
    assert status["servers"][0]["state"] == "ready" and status["servers"][0]["clients"] is None
    assert status["ports"][0]["listening"] is True


def test_descriptors_exhausted_leaves_clients_in_the_backlog(start):
    instance = start(static=1, max_clients=1, limit=96, waiting_limit=1000)
    instance.wait_ready(1)
    crowd = [instance.connect() for _ in range(150)]
    instance.wait_logged("out of descriptors: further clients wait in the backlog")
    for connection in crowd:  # nobody was refused or lost: each is served in its turn
        assert read_line(connection)
        connection.close()
