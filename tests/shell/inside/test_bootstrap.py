"""The program finds itself in the same world as without us: what the two worlds show it is compared."""

import json
import os
import py_compile
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.shell.fake import HOME, behind, eventually, script

from maitred.shell import start_contract
from maitred.shell.inside.exec_server import CODE

pytestmark = pytest.mark.system

SHOW = """
import json, os, sys, __main__
def annotated(x: 1 + 1): pass
here = [name for name in __main__.__dict__ if name not in ("json", "os", "sys", "here", "__main__", "nested")]
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "file": globals().get("__file__"),
    "package": __package__, "main": __main__.__dict__ is globals(), "names": sorted(here),
    "spec": getattr(__spec__, "name", None), "loader": type(__loader__).__name__, "doc": __doc__,
    "cached": globals().get("__cached__"), "environment": "MAITRED_SERVER" in os.environ,
    "flags": [sys.flags.optimize, sys.flags.safe_path, sys.flags.dev_mode], "cwd": os.getcwd(),
    "command": sys.orig_argv[1:],
    "stdin": sys.stdin.read(), "annotation": annotated.__annotations__["x"],
    "threads": len(os.listdir("/proc/self/task")), "threading": "threading" in sys.modules,
}))
"""


def outcome(program):
    code = program.wait()
    return code, program.output.decode()


@pytest.fixture
def world(tmp_path):
    """A directory with a program in every shape that Python runs."""
    script(tmp_path, SHOW, "plain.py")
    (tmp_path / "package").mkdir()
    script(tmp_path / "package", "'''Doc.'''" + SHOW, "__main__.py")
    script(tmp_path / "package", "", "__init__.py")
    script(tmp_path / "package", SHOW, "module.py")
    (tmp_path / "directory").mkdir()
    script(tmp_path / "directory", SHOW, "__main__.py")
    with zipfile.ZipFile(tmp_path / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", SHOW)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.py").symlink_to(tmp_path / "plain.py")
    (tmp_path / "elsewhere" / "directory").symlink_to(tmp_path / "directory")
    (tmp_path / "elsewhere" / "link.pyz").symlink_to(tmp_path / "archive.pyz")
    zipapp.create_archive(tmp_path / "directory", tmp_path / "app", "/usr/bin/env python3")
    compiled = py_compile.compile(str(tmp_path / "plain.py"), str(tmp_path / "plain.pyc"), "plain.py")
    (tmp_path / "no-suffix").write_bytes(Path(compiled).read_bytes())
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "__main__.pyc").write_bytes(Path(compiled).read_bytes())
    with zipfile.ZipFile(tmp_path / "compiled.pyz", "w") as archive:
        archive.write(tmp_path / "plain.pyc", "__main__.pyc")
    (tmp_path / "executable").write_bytes(b"#!/usr/bin/env python3\r\n" + SHOW.encode())
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf# coding: utf-8\n" + SHOW.encode())
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\nx = '\xe9'\ndel x\n" + SHOW.encode())
    return tmp_path


SHAPES = [
    ["script", "plain.py", "an argument", "-x"],
    ["script", "./plain.py"],
    ["script", "elsewhere/link.py"],
    ["script", "directory", "a"],
    ["script", "archive.pyz", "a"],
    ["-m", "plain", "a"],
    ["-m", "package", "-m", "b"],
    ["-m", "package.module"],
]
MORE_SHAPES = [
    ["script", "directory/"],
    ["script", "app", "a"],
    ["script", "elsewhere/directory"],
    ["script", "elsewhere/link.pyz"],
    ["script", "plain.pyc", "a"],
    ["script", "no-suffix"],
    ["script", "compiled"],
    ["script", "compiled.pyz"],
    ["script", "executable"],
    ["script", "marked"],
    ["script", "latin.py"],
]
CASES = [
    (shape, options) for options in ([], ["-O"], ["-P"]) for shape in (SHAPES if options else SHAPES + MORE_SHAPES)
]


@pytest.mark.parametrize(("command", "options"), CASES, ids=lambda words: " ".join(words) or "plain")
def test_the_program_s_world_is_that_of_python(world, command, options):
    environment = {"PYTHONPATH": str(world)} if options == ["-P"] and command[0] == "-m" else {}
    with behind(*command, directory=world, options=options, environment=environment) as (_, program):
        code, output = outcome(program)
    plain = subprocess.run(
        [sys.executable, *options, *(command[1:] if command[0] == "script" else command)],
        cwd=world,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    assert code == 0, output
    assert json.loads(output) == json.loads(plain.stdout)


def test_the_working_directory_and_ours_do_not_get_into_the_path_of_a_script(world):
    with behind("script", world / "elsewhere" / "link.py", directory=world / "package") as (_, program):
        _, output = outcome(program)
    path = json.loads(output)["path"]
    assert path[0] == str(world)
    assert str(world / "package") not in path and "" not in path


@pytest.mark.parametrize("command", [["script", "program/program.py"], ["-m", "program.program"]], ids=" ".join)
def test_what_lies_in_the_working_directory_is_not_taken_for_the_standard_library(tmp_path, command):
    for name in ("json", "runpy", "struct", "mmap"):
        script(tmp_path, f"raise RuntimeError('the wrong {name}')", f"{name}.py")
    (tmp_path / "program").mkdir()
    script(tmp_path / "program", "print('fine')")
    with behind(*command, directory=tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as (_, program):
        assert outcome(program) == (0, "fine\n")


@pytest.mark.parametrize(
    ("text", "code", "printed"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("raise SystemExit('a reason')", 1, "a reason"),
        ("import no_such_module_at_all", 1, "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("1 +", 1, "SyntaxError"),
        ("import os; os._exit(5)", 5, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
    ],
)
def test_the_program_s_end_is_its_own(tmp_path, text, code, printed):
    with behind("script", script(tmp_path, text)) as (_, program):
        ended, output = outcome(program)
    assert ended == code
    assert printed in output


def test_bytecode_of_another_interpreter_is_refused(tmp_path):
    (tmp_path / "old.pyc").write_bytes(b"\x61\x0d\r\n" + bytes(40))
    with behind("script", tmp_path / "old.pyc") as (_, program):
        code, output = outcome(program)
    assert code == 1 and "RuntimeError: Bad magic number in .pyc file" in output


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (["script", "/no/such/file.py"], "can't open file '/no/such/file.py': [Errno 2] No such file or directory"),
        (["-m", "no_such_module_at_all"], "No module named no_such_module_at_all"),
        (["script", "."], "can't find '__main__' module in '"),
    ],
)
def test_a_program_that_is_not_there_is_reported_as_by_python(tmp_path, command, printed):
    with behind(*command, directory=tmp_path) as (_, program):
        code, output = outcome(program)
    assert code != 0
    assert printed in output
    assert "Traceback" not in output


def test_programs_that_the_server_starts_inherit_none_of_our_descriptors(tmp_path):
    """An exec'd grandchild that held a dialog or the control socket would keep a dead server alive."""
    text = """
import os, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False)
"""
    port = free_port()
    with behind("script", script(tmp_path, text), port) as (distributor, program):
        distributor.ready(port)
        distributor.until(lambda: program.process.poll() is not None)
        _, output = outcome(program)
    assert "pipe:" in output  # its own stdout: the listing is one
    assert "socket:" not in output
    assert "memfd" not in output


def test_a_trace_begins_with_the_start_of_the_machine(tmp_path):
    port, path = free_port(), tmp_path / "trace"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    text = "import socket, sys; l = socket.create_server(('127.0.0.1', int(sys.argv[1]))); l.accept()"
    with behind("script", script(tmp_path, text), port, trace=fd) as (distributor, _):
        distributor.ready(port)
        records = eventually(lambda: [json.loads(line) for line in path.read_text().splitlines()])
    os.close(fd)
    assert all(record["who"] == "server 0 7" for record in records)
    assert "start" in records[0]
    events = [r["event"]["is"] for r in records if "event" in r]
    assert events[:4] == ["Bound", "MessageRead", "Sent", "Listened"]


CLOSES_ALL = """
import os, socket, sys
def one_by_one(low, high):
    for fd in range(low, high):
        try: os.close(fd)
        except OSError: pass
close = globals().get(sys.argv[2], os.closerange)
close(3, 2000)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
close(listener.fileno() + 1, 2000)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"x")
    connection.detach()
    close(listener.fileno() + 1, 2000)
"""


@pytest.mark.parametrize("way", ["closerange", "one_by_one"])
def test_a_program_that_closes_every_descriptor_leaves_ours_open(tmp_path, way):
    """As daemons do."""
    port = free_port()
    with behind("script", script(tmp_path, CLOSES_ALL), port, way) as (distributor, _):
        distributor.ready(port)
        for _ in range(3):
            client, _, count = distributor.seat(port)
            assert count == 1 and client.recv(10) == b"x"
            distributor.until(lambda: not distributor.registry.clients())


def test_a_descriptor_number_closed_by_c_code_belongs_to_the_program(tmp_path):
    text = """
import ctypes, os
for fd in range(3, 1024):
    ctypes.CDLL(None).close(fd)
for fd in range(3, 1024):
    os.dup2(0, fd)
    os.close(fd)
print("fine")
"""
    with behind("script", script(tmp_path, text)) as (_, program):
        assert outcome(program) == (0, "fine\n")


CLOSES_AND_OPENS = """
import os, socket, sys
os.closerange(3, 2000)
files = [open(sys.argv[2], "r+b") for _ in range(8)]
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
kept = []
while True:
    kept.append(listener.accept())
"""


def test_the_registry_grows_by_its_own_descriptor_whatever_the_program_has_closed(tmp_path):
    """`mmap` has a duplicate under a low number; were that closed, and the number given to a file, it would be cut."""
    port, file = free_port(), script(tmp_path, "unharmed", "file")
    with behind("script", script(tmp_path, CLOSES_AND_OPENS), port, file, capacity=1) as (distributor, _):
        distributor.ready(port)
        clients = [distributor.seat(port) for _ in range(5)]
        assert [count for _, _, count in clients] == [1, 2, 3, 4, 5]
        assert len(distributor.registry.clients()) == 5
    assert file.read_text() == "unharmed"


def test_low_descriptor_limits_are_no_error(tmp_path):
    port = free_port()
    text = "import socket, sys; l = socket.create_server(('127.0.0.1', int(sys.argv[1]))); c = l.accept(); l.accept()"
    with behind("script", script(tmp_path, text), port, open_files=32) as (distributor, _):
        distributor.ready(port)
        assert distributor.seat(port)[2] == 1


def test_a_start_contract_of_another_version_is_reported_in_a_line(tmp_path):
    identity = {start_contract.ENVIRONMENT: json.dumps({"version": 2})}
    command = [sys.executable, "-c", CODE.format(home=HOME), "script", str(script(tmp_path, "print('runs')"))]
    found = subprocess.run(command, env={**os.environ, **identity}, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stderr == "maitred: the start contract has version 2, known here is 1\n"
    assert found.stdout == ""
