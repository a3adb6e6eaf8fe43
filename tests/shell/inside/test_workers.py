"""Workers that a program execs are processes of its server; whatever else it starts is given nothing."""

import json
import os
import subprocess
import sys

import pytest
from tests.machine import free_port
from tests.shell.fake import assert_counts_together, behind, script

from maitred.core.messages import Disconnect
from maitred.shell.inside import workers

pytestmark = pytest.mark.system

# ================================================================ a listener that is handed down

WORKER = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.sendall(b"%d\\n" % os.getpid())
    connection.recv(1)
    connection.close()
"""
STARTS = """
import multiprocessing, os, socket, subprocess, sys
from pathlib import Path
way, port, worker = sys.argv[1], int(sys.argv[2]), Path(__file__).with_name("worker.py")

def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"%d\\n" % os.getpid())
        connection.recv(1)
        connection.close()

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", port))
    fd = listener.fileno()
    command = [sys.executable, str(worker), str(fd)]
    listener.set_inheritable(way in ("all", "spawn", "exec", "execve", "spawnv"))
    if way == "multiprocessing":
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(listener,))
        process.start()
        process.join()
    elif way == "pass":
        subprocess.run(command, pass_fds=[fd])
    elif way == "all":
        subprocess.run(["python", *command[1:]], executable=sys.executable, close_fds=False)
    elif way == "script":
        worker.write_text(f"#!{sys.executable}\\n" + worker.read_text())
        worker.chmod(0o755)
        subprocess.run(command[1:], pass_fds=[fd])
    elif way == "preexec":
        subprocess.run(command, pass_fds=[fd], preexec_fn=os.getpid, env={})
    elif way == "spawn":
        os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)
    elif way == "spawnv":
        os.spawnv(os.P_WAIT, command[0], command)
    elif way == "exec":
        os.execl(command[0], *command)
    elif way == "execve":
        os.execve(command[0], command, {})
"""
WAYS = ["multiprocessing", "pass", "all", "script", "preexec", "spawn", "spawnv", "exec", "execve"]


@pytest.mark.parametrize("way", WAYS)
def test_clients_are_seated_at_a_worker_and_counted(tmp_path, way):
    port = free_port()
    script(tmp_path, WORKER, "worker.py")
    with behind("script", script(tmp_path, STARTS), way, port) as (distributor, program):
        distributor.ready(port)
        for _ in range(2):
            client, _, count = distributor.seat(port)
            pid = int(client.makefile("rb").readline())
            assert count == 1
            assert (pid == program.process.pid) is way.startswith("exec")
            client.close()
            assert distributor.next(Disconnect).count.clients == 0
        assert distributor.registry.clients() == ()
        assert len(distributor.binds) == 1


EXECS_LATE = """
import os, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
first, _ = listener.accept()
code = (
    "import socket, sys, time; connection, _ = socket.socket(fileno=int(sys.argv[1])).accept(); print(); "
    "sys.stdout.flush(); connection.recv(1)"
)
fd = str(listener.fileno())
worker = subprocess.Popen([sys.executable, "-c", code, fd], pass_fds=[int(fd)], stdout=subprocess.PIPE)
worker.stdout.readline()
third, _ = listener.accept()
third.recv(1)
"""


def test_a_worker_that_is_execed_and_its_parent_have_one_count(tmp_path):
    """The parent has served alone before."""
    assert_counts_together(script(tmp_path, EXECS_LATE))


PASSED = """
import multiprocessing, os, socket, subprocess, sys
way, port = sys.argv[1], int(sys.argv[2])

def serve(listener):
    while True:
        connection, _ = listener.accept()
        nodelay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.sendall(b"%d %d %d\\n" % (os.getpid(), listener.getsockname()[1], nodelay))
        connection.recv(1)
        connection.close()

def receive(end):
    _, fds, _, _ = socket.recv_fds(end, 1, 1)
    serve(socket.socket(fileno=fds[0]))

def unpickle(end):
    serve(end.recv())

def bound():
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener

if __name__ == "__main__":
    if len(sys.argv) > 3:
        receive(socket.socket(fileno=int(sys.argv[3])))
    if way in ("fork", "exec"):
        ours, theirs = socket.socketpair()
        if way == "exec":
            theirs.set_inheritable(True)
            os.posix_spawn(sys.executable, [sys.executable, __file__, way, str(port), str(theirs.fileno())], os.environ)
        elif os.fork() == 0:
            receive(theirs)
        listener = bound()
        socket.send_fds(ours, [b"x"], [listener.fileno()])
        os.wait()
    elif way == "arguments":
        context = multiprocessing.get_context("forkserver")
        listener = bound()
        processes = [context.Process(target=serve, args=(listener,)) for _ in range(2)]
        for process in processes: process.start()
        for process in processes: process.join()
    else:
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(target=unpickle, args=(theirs,))
        process.start()
        listener = bound()
        ours.send(listener)
        process.join()
"""


@pytest.mark.parametrize("way", ["fork", "exec", "arguments", "pipe"])
def test_a_listener_passed_to_another_process_works_there(tmp_path, way):
    """The process is there before the listener is bound, and gets it by SCM_RIGHTS, itself or pickled."""
    port = free_port()
    with behind("script", script(tmp_path, PASSED), way, port) as (distributor, program):
        distributor.ready(port)
        for _ in range(3):
            client, _, count = distributor.seat(port)
            pid, bound, nodelay = map(int, client.makefile("rb").readline().split())
            assert (count, bound, nodelay) == (1, port, 1) and pid != program.process.pid
            client.close()
            assert distributor.next(Disconnect).count.clients == 0
        assert distributor.registry.clients() == ()
        assert len(distributor.binds) == 1


RELOADS = """
import os, socket, subprocess, sys
if os.environ.get("CHILD") is None:
    if sys.argv[2] == "bound":
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    for n in range(2):
        environment = {**os.environ, "CHILD": str(n)}
        subprocess.run([sys.executable, *sys.orig_argv[1:]], env=environment)
else:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    connection, _ = listener.accept()
    connection.sendall(os.environ["CHILD"].encode())
    connection.recv(1)
"""


def test_a_program_that_execs_itself_binds_again(tmp_path):
    """As Django's reloader does; without the hook the second bind, at the latest, would be a real one."""
    port = free_port()
    with behind("script", script(tmp_path, RELOADS), port, "free") as (distributor, _):
        for n in range(2):
            distributor.until(lambda n=n: len(distributor.binds) == n + 1)
            distributor.received.clear()
            distributor._mark = 0
            distributor.ready(port)
            client, _, count = distributor.seat(port)
            assert (client.recv(1), count) == (b"%d" % n, 1)
            client.close()
            distributor.until(lambda: port in distributor.ended)
            distributor.ended.clear()


def test_a_port_that_the_parent_has_is_in_use_to_its_worker(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, RELOADS), port, "bound") as (distributor, program):
        distributor.until(lambda: program.output.count(b"Address already in use") == 2)


# ================================================================ its world

SHOW = """
import json, os, sys
print(json.dumps({
    "path": sys.path, "environment": {k: v for k, v in os.environ.items() if k not in ("_", "SHLVL", "PWD", "OLDPWD")},
    "sitecustomize": getattr(sys.modules.get("sitecustomize"), "__file__", None), "argv": sys.argv,
    "cache": sorted(path for path in sys.path_importer_cache if "hook" in path), "mark": getattr(sys, "mark", None),
    "command": sys.orig_argv,
}))
"""
ASKS = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, 'show.py', 'a']).returncode)"
USERS = {"none": None, "one": "import sys; sys.mark = 7", "broken": "1 / 0", "lacking": "import no_such_module"}


@pytest.mark.parametrize("users", USERS)
@pytest.mark.parametrize("path", [None, "", "DIRECTORY"])
def test_a_worker_s_world_is_that_of_python(tmp_path, users, path):
    script(tmp_path, SHOW, "show.py")
    (tmp_path / "site").mkdir()
    if USERS[users] is not None:
        script(tmp_path / "site", USERS[users], "sitecustomize.py")
    directory = str(tmp_path / "site")
    environment = {"PYTHONPATH": path.replace("DIRECTORY", directory)} if path is not None else {}
    program = script(tmp_path, ASKS)
    with behind("script", program, directory=tmp_path, environment=environment) as (_, running):
        assert running.wait() == 0, running.output.decode()
        *printed, shown = running.output.decode().splitlines()
    plain = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    expected = json.loads(plain.stdout)
    if environment.get("PYTHONPATH") == "":
        del expected["environment"]["PYTHONPATH"]  # nothing and an empty list are the same to Python
    assert json.loads(shown) == expected
    if path == "DIRECTORY":
        assert expected["mark"] == (7 if users == "one" else None)
        assert ("ZeroDivisionError" in "".join(printed)) is ("ZeroDivisionError" in plain.stderr) is (users == "broken")


LISTS = "import os, subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], close_fds=False)"


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-IB", "-BE"])
def test_an_interpreter_that_cannot_find_the_hook_is_given_nothing(tmp_path, option):
    show = "import os; print(os.environ.get('MAITRED_SERVER'), [n for n in os.listdir('/proc/self/fd') if int(n) > 3])"
    with behind("script", script(tmp_path, LISTS), option, "-c", show) as (_, program):
        assert program.wait() == 0
        assert program.output.decode() == "None []\n"


CHANGES = """
import os, subprocess, sys
way, command = sys.argv[1], [sys.executable, "-c", sys.argv[2]]
other = os.getgid() + 1
if way == "none":
    subprocess.run(command)
elif way == "group":
    subprocess.run(command, group=other)
elif way == "groups":
    subprocess.run(command, extra_groups=[other])
elif way == "locked":
    subprocess.run(command, close_fds=True, env={}, group=other)
elif way == "preexec":
    subprocess.run(command, preexec_fn=lambda: os.setgid(other))
elif way == "fork":
    if os.fork() == 0:
        os.setgid(other)
        os.execv(command[0], command)
    os.wait()
elif way == "reset":
    os.setegid(other)
    os.waitpid(os.posix_spawn(command[0], command, os.environ, resetids=True), 0)
elif way == "main":
    os.setgid(other)
    subprocess.run(command)
"""
TELLS = """
import os
names = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
print("a process of the server" if any("maitred-registry" in name for name in names) else "nobody")
"""
BECOMES = {
    "none": True,
    "main": True,
    **dict.fromkeys(["group", "groups", "locked", "preexec", "fork", "reset"], False),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its groups")
@pytest.mark.parametrize("way", BECOMES)
def test_a_program_with_another_user_or_group_is_given_nothing(tmp_path, way):
    with behind("script", script(tmp_path, CHANGES), way, TELLS) as (_, program):
        assert program.wait() == 0
        assert program.output.decode().splitlines()[-1] == ("a process of the server" if BECOMES[way] else "nobody")


@pytest.mark.parametrize("place", [11, 12, 13])
def test_a_change_of_group_groups_or_user_is_known_by_its_place(place):
    """Among the arguments that subprocess gives on, whether or not it may be done here."""

    def hand_down(inherits):
        return workers.Inheritance("{}", (7,))

    rest = [-1] * 8 + [True, False, -1, None, None, None, -1, None, True]
    plain = ([sys.executable, "x"], [os.fsencode(sys.executable)], True, (), None, None)
    assert 7 in workers.fork_exec(hand_down, (*plain, *rest), {})[0][3]
    rest[place] = [] if place == 12 else 0
    assert workers.fork_exec(hand_down, (*plain, *rest), {}) == ((*plain, *rest), {})


def test_a_program_that_has_closed_our_descriptors_can_start_others(tmp_path):
    text = """
import ctypes, subprocess, sys
for fd in range(3, 1024):
    ctypes.CDLL(None).close(fd)
subprocess.run([sys.executable, "-c", "print('fine')"])
"""
    with behind("script", script(tmp_path, text)) as (_, program):
        assert program.wait() == 0
        assert program.output.decode() == "fine\n"


# ================================================================ what becomes a worker


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        (["python", "-c", "pass", "-I"], True),
        (["python", "-m", "module", "-E"], True),
        (["python", "-Wignore", "-X", "dev", "program.py"], True),
        (["python", "-WIES", "program.py"], True),
        (["python"], True),
        (["python", "-"], True),
        (["python", "-I"], False),
        (["python", "-Wignore", "-sE", "program.py"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_interpreter_options_decide_whether_the_hook_is_found(words, becomes):
    assert workers.becomes_worker(sys.executable, words) is becomes


def test_only_our_own_interpreter_becomes_a_worker(tmp_path):
    other = script(tmp_path, "#!/bin/sh\n", "other")
    empty = script(tmp_path, "#!", "empty")
    ours = script(tmp_path, f"#!{sys.executable} -u\n", "ours")
    assert [workers.becomes_worker(path, ["x"]) for path in (other, empty, ours)] == [False, False, True]
    assert not workers.becomes_worker("/bin/ls", ["ls"])
    assert not workers.becomes_worker("/no/such/file", ["x"])


# ================================================================ what is not possible

BINDS = """
import os, socket, subprocess, sys
if os.environ.get("WORKER") is None:
    environment = {**os.environ, "WORKER": "1"}
    workers = [subprocess.Popen([sys.executable, *sys.argv], env=environment) for _ in range(2)]
    for worker in workers:
        worker.wait()
else:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
    connection, _ = listener.accept()
    connection.sendall(b"x")
"""


def test_the_first_worker_that_binds_the_port_has_it(tmp_path):
    """A server has one dialog for a port: docs/reference/compatibility.md names what to do instead."""
    port = free_port()
    with behind("script", script(tmp_path, BINDS), port) as (distributor, program):
        distributor.until(lambda: b"Address already in use" in program.output)
        distributor.ready(port)
        assert distributor.seat(port)[0].recv(1) == b"x"
        distributor.until(lambda: program.process.poll() is not None)
        assert program.output.count(b"Address already in use") == 1
