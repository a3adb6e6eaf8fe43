"""`maitred status`, `element` and `stop` against something that answers as a Monitor does, or as one does not."""

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.cli.conftest import STATUS

from maitred.cli import control, status
from maitred.config.error import ConfigError
from maitred.shell.supervise import leftovers


def test_the_tables_show_servers_ports_and_who_waits(maitred, instance, monkeypatch):
    asked = instance(STATUS)

    monkeypatch.setattr(status.time, "time", lambda: 1.0e9 + 1.25)

    code, out, err = maitred("status")

    assert (code, err) == (0, "")
    assert asked == [{"request": "status"}]
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "personnel: Monitor 100, running, standby 105, core compiled" in lines
    assert "Server class employee_svc: Distributor 101, operating, incarnation 2" in lines
    assert "4049 *:4049 yes yes 1" in lines
    assert "1 102 static full 2 of 2 16 4049 ready cpu0" in lines
    assert "2 - static down - of 2 - - -" in lines
    assert "Waiting list: 1 of at most 1024" in lines
    assert "17 4049 1.2 s" in lines
    assert "Server class manager_svc: its Distributor is down" in lines
    assert "Waiting list: -" in lines
    assert "cpu0 yes 0 1 3" in lines


def test_the_verifier_s_result_is_shown_where_there_is_one(maitred, instance):
    numbers = {"steps": 900, "verified": 870, "dropped": 20, "unchecked": 10, "divergences": 1}
    instance({**STATUS, "verify": {"pid": None, **numbers}})
    code, out, _ = maitred("status")
    said = "verified: 870 of 900 steps, 20 dropped, 10 unchecked, 1 divergences; the verifier has ended"
    assert code == 0 and said in " ".join(out.split())


def test_json_is_printed_as_it_came(maitred, instance):
    written = json.dumps(STATUS, indent=None, separators=(",", ":")).encode()
    instance(written + b"\n")

    code, out, _ = maitred("status", "--json")

    assert code == 0
    assert out.encode() == written + b"\n"


def test_a_long_waiting_list_is_cut(maitred, instance):
    long = copy.deepcopy(STATUS)
    long["classes"][0]["waiting_list"] = [{"port": 4049, "arrival": n} for n in range(1000)]
    instance(long)

    code, out, _ = maitred("status")

    assert code == 0
    assert "... and 980 more" in out
    assert len(out.splitlines()) < 80


def test_no_terminal_codes_reach_a_file(maitred, instance):
    hostile = copy.deepcopy(STATUS)
    hostile["classes"][0]["name"] = "[red]x[/red][/nonsense]"  # rich's markup is no markup here
    instance(hostile)

    code, out, _ = maitred("status")

    assert code == 0
    assert "[red]x[/red][/nonsense]" in out
    assert "\x1b" not in out


def test_a_distributor_that_does_not_answer_is_named(maitred, instance):
    stopped = copy.deepcopy(STATUS)
    stopped["classes"][0]["distributor"]["phase"] = "restarting"
    instance(stopped)

    code, out, _ = maitred("status")

    assert code == 0
    assert "Distributor 101 does not answer: it is busy, or stopped (kill -CONT 101 lets it go on)" in " ".join(
        out.split()
    )


def test_nothing_is_running(maitred, own_directory):
    code, out, err = maitred("status")
    assert (code, out) == (1, "")
    assert err == (
        f"maitred: no instance of yours is running (looked in {own_directory}); for another one, use --control PATH\n"
    )


def test_several_are_running(maitred, instance, own_directory):
    first = instance(STATUS, "first")
    instance(STATUS, "second")

    code, _, err = maitred("status")

    assert code == 2
    assert "2 instances are running" in err
    assert f"--control {own_directory / 'first.sock'} or --control {own_directory / 'second.sock'}\n" in err
    assert first == []  # nobody was asked

    assert maitred("status", "--control", own_directory / "first.sock")[0] == 0
    assert len(first) == 1


@pytest.mark.parametrize("command", [("status",), ("stop",), ("element", "cpu0", "down")])
@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"", "closed without an answer"),
        (b"\n", "closed without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the answer is not JSON"),
        (b"\xff\xfe\n", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        (b"[]\n", "the answer is not a JSON object"),
        ({"error": "no element is named 'cpu0'"}, "maitred: no element is named 'cpu0'"),
    ],
    ids=["empty", "line", "http", "bytes", "deep", "list", "error"],
)
def test_another_answer_than_expected(maitred, instance, command, reply, complaint):
    instance(reply)

    code, out, err = maitred(*command)

    assert (code, out) == (1, "")
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "version 2 is not 1: another maitred runs there"),
        ({"version": None}, "version None is not 1"),
        ({"monitor": 3}, "status.monitor should be an object"),
        ({"classes": {}}, "status.classes should be a list"),
        ({"classes": [{}]}, "status.classes[0] has no 'name'"),
        ({"classes": [STATUS["classes"][0] | {"servers": [{}]}]}, "status.classes[0].servers[0] has no 'state'"),
    ],
)
def test_a_status_that_is_none(maitred, instance, change, complaint):
    instance(STATUS | change)

    code, out, err = maitred("status")

    assert (code, out) == (1, "")
    assert complaint in err


def test_nobody_who_listens_but_does_not_answer_is_waited_for_forever(own_directory, monkeypatch, maitred):
    own_directory.mkdir(mode=0o700)
    path = own_directory / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(control.ControlError, match=r"no answer within 0.1 s"):
            control.ask(path, {"request": "status"}, patience=0.1)


def test_nobody_who_answers_too_slowly_either(instance, own_directory):
    """Each byte comes in time, the line does not: it is the whole exchange that is bounded."""
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"{")
        with pytest.raises(TimeoutError):
            control._line(near, deadline=0.0)


def test_an_answer_that_comes_before_the_question_is_read(tmp_path, monkeypatch):
    """The Monitor sends strangers away without reading what they ask; asking is then a broken pipe."""
    path = tmp_path / "x.sock"
    hung_up = threading.Event()

    def refuse(listener):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b'{"error": "this instance belongs to another user"}\n')
        hung_up.set()

    class Slow(socket.socket):
        def connect(self, address):
            super().connect(address)
            assert hung_up.wait(60)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=refuse, args=[listener])
        thread.start()
        monkeypatch.setattr(control.socket, "socket", Slow)
        with pytest.raises(control.ControlError, match="this instance belongs to another user"):
            control.ask(path, {"request": "status"})
        thread.join()


def test_a_socket_that_is_not_there_or_not_ours(tmp_path, maitred):
    (tmp_path / "file").touch()
    for path, complaint in [
        (tmp_path / "nowhere.sock", "no instance is running there"),
        (tmp_path / "file", "no instance is running there"),
        (tmp_path / ("x" * 200), "too long"),
        (tmp_path / "file" / "x", "not a control socket"),
    ]:
        code, _, err = maitred("status", "--control", path)
        assert code == 1
        assert complaint in err
    assert "permission denied: only its owner and root may ask" in control._why(PermissionError(13, "x"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try to be somebody else")
def test_somebody_else_is_denied(instance, own_directory, maitred):
    asked = instance(STATUS)
    os.chmod(own_directory / "personnel.sock", 0o600)

    os.seteuid(65534)
    try:
        code, _, err = maitred("status", "--control", own_directory / "personnel.sock")
    finally:
        os.seteuid(0)

    assert code == 1
    assert "permission denied" in err
    assert asked == []


def test_an_element_is_taken_down_and_up(maitred, instance):
    asked = instance({})

    assert maitred("element", "cpu0", "down") == (0, "", "")
    assert maitred("element", "cpu0", "up") == (0, "", "")

    assert asked == [
        {"request": "element", "name": "cpu0", "up": False},
        {"request": "element", "name": "cpu0", "up": True},
    ]


def test_an_instance_is_stopped(maitred, instance):
    asked = instance({})
    assert maitred("stop", "--no-wait") == (0, "", "")
    assert maitred("stop", "--quick", "--no-wait") == (0, "", "")
    assert asked == [{"request": "stop"}, {"request": "stop", "quick": True}]


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(maitred, given):
    code, _, err = maitred("stop", "--timeout", given)
    assert code == 2
    assert f"{given!r} is no number of seconds" in err


@pytest.mark.parametrize(
    "arguments", [("element",), ("element", "cpu0"), ("element", "cpu0", "sideways"), ("status", "x")]
)
def test_a_wrong_command_line_is_2(maitred, arguments):
    code, _, err = maitred(*arguments)
    assert code == 2
    assert "usage: maitred " in err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pid", "name"]), inner, max_size=2),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_document_breaks_the_tables(data):
    """Some field, anywhere, is something else or missing."""
    document = copy.deepcopy(STATUS)
    target = document
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], (dict, list)) and target[key] and data.draw(st.booleans()):
            target = target[key]
        elif data.draw(st.booleans()):
            target[key] = data.draw(JSON)
            break
        else:
            del target[key]
            break
    try:
        status.show(document, Console(file=open(os.devnull, "w"), highlight=False))  # noqa: SIM115 (ends with us)
    except status.Malformed:
        return


def test_find_prefers_the_given_path(instance):
    instance(STATUS, "a")
    instance(STATUS, "b")
    assert str(control.find("/x")) == "/x"
    with pytest.raises(ConfigError):
        control.find(None)


@pytest.mark.parametrize("command", [["status"], ["status", "--json"]])
def test_a_reader_that_leaves_early_is_no_traceback(instance, own_directory, command):
    """`maitred status | head -0`, in a process of its own."""
    instance(STATUS)
    arguments = [*command, "--control", str(own_directory / "personnel.sock")]
    program = (
        "import os, sys; from maitred.cli import main; r, w = os.pipe(); os.close(r); os.dup2(w, 1);"
        f"sys.exit(main({arguments!r}))"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert outcome.stderr == ""


# ---------------------------------------------------------------- without a Monitor


@pytest.fixture
def left_behind(own_directory):
    """Start processes that look like those of an instance whose Monitor is gone; its control socket is stale."""
    own_directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(own_directory / "personnel.sock"))
    started = []

    def start(*words, name="personnel", session=True, first="pass", **environment):
        environment = {**os.environ, leftovers.CONTROL: str(own_directory / f"{name}.sock"), **environment}
        code = f"import os, time; {first}; print(flush=True); time.sleep(60)"
        command = [sys.executable, "-c", code, *words]
        made = subprocess.Popen(command, env=environment, start_new_session=session, stdout=subprocess.PIPE)
        started.append(made)
        made.stdout.readline()
        return made.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_serves_on_without_its_monitor_is_named(maitred, left_behind, own_directory):
    distributor = left_behind("from multiprocessing.spawn import")
    servers = [left_behind(MAITRED_SERVER="{}") for _ in range(2)]
    left_behind("multiprocessing.spawn", session=False)  # helps somebody
    left_behind(MAITRED_SERVER="{}", session=False)  # what a server has forked

    code, out, err = maitred("status")

    assert (code, out) == (1, "")
    assert err == (
        f"maitred: {own_directory / 'personnel.sock'}: unsupervised: the Monitor is gone, and what it has started"
        f" serves on without it: Distributor {distributor}, servers {min(servers)}, {max(servers)}."
        " What ends is not started again."
        f" To end it all: kill {distributor} {min(servers)} {max(servers)}\n"
    )
    for command in (["status", "--json"], ["stop"], ["element", "cpu0", "down"]):
        assert maitred(*command, "--control", own_directory / "personnel.sock") == (1, "", err)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("ids", [(4242, 4242, 4242), (4242, 0, 0), (0, 4242, 0)], ids=["other", "setuid", "dropped"])
def test_nobody_is_advised_to_kill_what_another_user_may_have_begun(maitred, left_behind, ids):
    """Whoever likes can have the name of root's instance in the environment of his own process, or of a setuid one."""
    impostor = left_behind(MAITRED_SERVER="{}", first=f"os.setresuid{ids}")
    assert "no instance of yours is running" in maitred("status")[2]

    server = left_behind(MAITRED_SERVER="{}")

    _, _, err = maitred("status")
    assert f"by server {server}." in err and f"kill {server}." in err
    assert err.endswith(f"Processes of other users claim to be of it, look at them first: {impostor}\n")


def test_what_an_address_holds_moves_no_cursor(maitred, instance):
    document = copy.deepcopy(STATUS)
    document["classes"][0]["ports"][0]["address"] = "\x1b[2J\udcff:1"
    instance(document)
    code, out, _ = maitred("status")
    assert code == 0 and "\x1b" not in out and "\\x1b[2J" in out


def test_servers_without_a_distributor_serve_nobody_else(maitred, left_behind):
    server = left_behind(MAITRED_SERVER="{}")
    _, _, err = maitred("status")
    assert "the Monitor and its Distributors are gone" in err
    assert f"still served, by server {server}." in err


def test_another_instance_that_is_left_behind_is_not_meant(maitred, left_behind, own_directory):
    left_behind(MAITRED_SERVER="{}", name="another")
    code, _, err = maitred("status", "--control", own_directory / "personnel.sock")
    assert code == 1 and "no instance is running there" in err


def test_without_a_path_only_the_usual_places_count(maitred, left_behind, own_directory, tmp_path):
    left_behind(MAITRED_SERVER="{}", **{leftovers.CONTROL: str(tmp_path / "elsewhere")})
    assert "no instance of yours is running" in maitred("status")[2]
    assert "unsupervised" in maitred("status", "--control", tmp_path / "elsewhere")[2]


def test_who_has_a_monitor_is_not_unsupervised(maitred, left_behind, instance):
    left_behind(MAITRED_SERVER="{}", name="another")
    instance(b"[]\n", "another")
    code, _, err = maitred("status")
    assert code == 1 and "not a JSON object" in err


def test_the_environment_of_all_processes_names_the_control_socket(monkeypatch, tmp_path):
    monkeypatch.setenv(leftovers.CONTROL, "")
    monkeypatch.chdir(tmp_path)
    leftovers.mark(Path("personnel.sock"))
    assert os.environ[leftovers.CONTROL] == str(tmp_path / "personnel.sock")
