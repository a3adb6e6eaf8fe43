"""What a configuration file sets for a class, as a program that runs finds it: the Configuration Utility's fields.

`servers/mirror.py` sends each client what world it is in.  That is compared with what the file sets, and with what
the very same program prints when `python` runs it by hand: between the two nothing else may differ.
"""

import contextlib
import json
import os
import re
import resource
import socket
import stat
import subprocess
import sys

import pytest
from tests.machine import free_port
from tests.system.harness import PATIENCE, SERVERS, eventually, write_config

pytestmark = pytest.mark.system
OPTIONS = ["-X", "dev", "-W", "error::UserWarning", "-X", "utf8=1"]


class Looker:
    """A client of the mirror: knows what the server's world is."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.lines = self.socket.makefile("rwb", buffering=0)
        self.world = json.loads(self.lines.readline())

    def ask(self, line):
        self.lines.write(f"{line}\n".encode())
        return self.lines.readline().decode().rstrip("\n")

    def close(self):
        self.lines.close()
        self.socket.close()


@pytest.fixture
def look():
    """Look into the mirror on a port; the looker stays connected until the test ends, so that the next is elsewhere."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(contextlib.closing(Looker(port)))


def mirror(port, **keys):
    """A class of one mirror for a configuration file."""
    address = f"127.0.0.1:{port}"
    program = {} if "module" in keys else {"script": str(SERVERS / "mirror.py")}
    return {"name": "mirrors", **program, "args": [address], "listen": address, "static": 1, **keys}


def by_hand(command, **options):
    """What the mirror prints when `python` runs it."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **options) as process:
        try:
            address = next(word for word in command if word.startswith("127.0.0.1:"))
            looker = eventually(lambda: _connected(int(address.rpartition(":")[2])), "no mirror by hand")
            looker.close()
            return looker.world
        finally:
            process.kill()


def _connected(port):
    with contextlib.suppress(ConnectionRefusedError):
        return Looker(port)
    return None


def given_to(instance, directory):
    """The environment of a program that runs there: its number, and what a shell sets that has entered it."""
    place = {"PWD": str(directory)} if "PWD" in os.environ else {}
    return {**instance.environment, "MAITRED_SERVER_NUMBER": "1", **place}


def differences(world, plain, port, plain_port):
    """The names of what is not the same, apart from the process, the port and the processing element."""
    plain = json.loads(json.dumps(plain).replace(f":{plain_port}", f":{port}"))
    return {name for name in world.keys() | plain.keys() if world.get(name) != plain.get(name)} - {"pid", "cpus"}


# ---------------------------------------------------------------- what the program finds


def test_a_script_finds_what_the_file_sets_and_else_what_python_gives(maitred, look, tmp_path):
    port, plain_port = free_port(), free_port()
    for name in ("work", "jars", "more", "users"):
        (tmp_path / name).mkdir()
    given = {"COLOUR": "green", "SHAPE": "a = b; 'c'", "EMPTY": ""}
    config = write_config(
        tmp_path / "conf.toml",
        [
            mirror(
                port,
                args=[f"127.0.0.1:{port}", "--verbose", "two words", ""],
                interpreter=sys.executable,
                interpreter_options=OPTIONS,
                path=["jars", str(tmp_path / "more")],
                directory="work",
                **{f"environment.{name}": value for name, value in given.items()},
            )
        ],
    )
    mine = {"PYTHONPATH": str(tmp_path / "users"), "COLOUR": "blue", "KEPT": "as it was"}
    instance = maitred("--config", config, environment=mine)

    world = look(port).world

    assert world["pid"] == instance.servers()[0]["pid"]
    assert world["flags"]["dev_mode"] is True
    assert world["xoptions"] == {"dev": True, "utf8": "1"}
    assert "error::UserWarning" in world["warnoptions"]
    assert world["path"][:4] == [str(SERVERS), *(str(tmp_path / name) for name in ("jars", "more", "users"))]
    assert world["environment"].items() >= {**given, "KEPT": "as it was"}.items()
    ours = {name for name in world["environment"] if name.startswith("MAITRED_")}
    assert ours - os.environ.keys() == {"MAITRED_TEST", "MAITRED_SERVER_NUMBER"}
    assert world["directory"] == str(tmp_path / "work")
    assert world["argv"] == [str(SERVERS / "mirror.py"), f"127.0.0.1:{port}", "--verbose", "two words", ""]
    assert (world["name"], world["file"], world["module"]) == ("__main__", str(SERVERS / "mirror.py"), None)
    assert world["executable"] == sys.executable
    assert world["data"] == list(resource.getrlimit(resource.RLIMIT_DATA))
    assert world["open files"] == list(resource.getrlimit(resource.RLIMIT_NOFILE))
    assert world["blocked"] == []

    places = os.pathsep.join(str(tmp_path / name) for name in ("jars", "more", "users"))
    plain = by_hand(
        [sys.executable, *OPTIONS, *world["argv"][:1], f"127.0.0.1:{plain_port}", *world["argv"][2:]],
        cwd=tmp_path / "work",
        env={**given_to(instance, tmp_path / "work"), **given, "PYTHONPATH": places},
    )
    assert differences(world, plain, port, plain_port) == set()


def test_a_module_finds_what_python_m_gives(maitred, look, tmp_path):
    """The module is on the class's path; the first entry is where the program runs, not where `maitred` was started."""
    port, plain_port = free_port(), free_port()
    config = write_config(tmp_path / "conf.toml", [mirror(port, module="mirror", path=[str(SERVERS)], directory=".")])
    instance = maitred("--config", config)

    world = look(port).world

    assert world["argv"] == [str(SERVERS / "mirror.py"), f"127.0.0.1:{port}"]
    assert (world["name"], world["module"], world["file"]) == ("__main__", "mirror", str(SERVERS / "mirror.py"))
    assert world["path"][:2] == [str(tmp_path), str(SERVERS)]
    assert world["directory"] == str(tmp_path) != str(instance.directory)

    plain = by_hand(
        [sys.executable, "-m", "mirror", f"127.0.0.1:{plain_port}"],
        cwd=tmp_path,
        env={**given_to(instance, tmp_path), "PYTHONPATH": str(SERVERS)},
    )
    assert differences(world, plain, port, plain_port) == set()


@pytest.mark.parametrize(("options", "first"), [("-E", [str(SERVERS)]), ("-I", [])])
def test_an_interpreter_that_heeds_no_environment_has_the_class_s_path_all_the_same(
    maitred, look, tmp_path, options, first
):
    (tmp_path / "jars").mkdir()
    port = free_port()
    config = write_config(tmp_path / "conf.toml", [mirror(port, interpreter_options=options, path=["jars"])])
    maitred("--config", config, environment={"PYTHONPATH": str(tmp_path / "users")})

    world = look(port).world

    assert world["flags"]["ignore_environment"] == 1
    assert world["path"][: len(first) + 1] == [*first, str(tmp_path / "jars")]
    assert str(tmp_path / "users") not in world["path"]
    assert len(set(world["path"])) == len(world["path"])


def test_each_class_has_its_own_interpreter(maitred, look, tmp_path):
    """A virtual environment that knows nothing of maitred, behind a command of the user's own, given from the file."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=PATIENCE)
    python = tmp_path / "venv" / "bin" / "python"
    command = tmp_path / "bin" / "my-python"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nVIA="$0" exec {python} "$@"\n')
    command.chmod(0o700)
    own, other = free_port(), free_port()
    config = write_config(
        tmp_path / "conf.toml",
        [mirror(own, name="own"), mirror(other, name="other", interpreter="bin/my-python", interpreter_options="-O")],
    )
    maitred("--config", config)

    ours, theirs = look(own).world, look(other).world

    assert (ours["executable"], ours["prefix"]) == (sys.executable, sys.prefix)
    assert (theirs["executable"], theirs["prefix"]) == (str(python), str(tmp_path / "venv"))
    assert (ours["flags"]["optimize"], theirs["flags"]["optimize"]) == (sys.flags.optimize, 1)
    assert "VIA" not in ours["environment"]
    assert theirs["environment"]["VIA"] == str(command)


def test_a_memory_limit_is_the_server_s_own(maitred, look, tmp_path):
    """It bounds the data of each server of the class; a server that meets it lives on."""
    limited, free = free_port(), free_port()
    config = write_config(
        tmp_path / "conf.toml",
        [mirror(limited, name="limited", memory_limit="256M"), mirror(free, name="free")],
    )
    instance = maitred("--config", config)
    looker, other = look(limited), look(free)
    assert looker.world["data"] == [256 << 20, 256 << 20]
    assert other.world["data"] == list(resource.getrlimit(resource.RLIMIT_DATA))
    assert looker.ask(16 << 20) == f"{16 << 20} had"

    assert looker.ask(300 << 20) == "MemoryError"

    assert other.ask(300 << 20) == f"{300 << 20} had"
    assert looker.ask(16 << 20) == f"{16 << 20} had"
    assert [instance.servers(index)[0]["pid"] for index in (0, 1)] == [looker.world["pid"], other.world["pid"]]


def test_a_server_runs_on_the_cpus_of_its_element_and_nowhere_else(maitred, look, tmp_path):
    available = sorted(os.sched_getaffinity(0))
    elements = {f"cpu{cpu}": [cpu] for cpu in (available[0], available[-1])} | {"all": available}
    port = free_port()
    config = write_config(
        tmp_path / "conf.toml",
        [mirror(port, static=len(elements))],
        elements=[{"name": name, "cpus": cpus} for name, cpus in elements.items()],
    )
    instance = maitred("--config", config)
    element = {server["pid"]: server["element"] for server in instance.servers()}
    assert sorted(element.values()) == sorted(elements)

    seen = [look(port).world for _ in elements]

    assert {world["pid"] for world in seen} == element.keys()
    for world in seen:
        assert world["cpus"] == elements[element[world["pid"]]]
        assert sorted(os.sched_getaffinity(world["pid"])) == world["cpus"]


# ---------------------------------------------------------------- the log directory


def test_what_the_programs_print_is_in_the_log_directory_a_file_each(maitred, tmp_path):
    """Private files, one for each place of a class; who takes a dead server's place writes on where that ended."""
    (tmp_path / "logs").mkdir()
    port = free_port()
    config = write_config(tmp_path / "conf.toml", [mirror(port, static=2)], backoff_first=0.01)
    config.write_text(f"log_directory = 'logs'\n{config.read_text()}")
    previous = os.umask(0)
    try:
        instance = maitred("--config", config)
    finally:
        os.umask(previous)
    servers = {server["pid"] for server in instance.servers()}
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["mirrors-0.log", "mirrors-1.log"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert {said(file) for file in files} == {both(pid) for pid in servers}

    victim = min(servers)
    instance.kill(victim)
    instance.wait_log(rf"pid {victim}\b.*SIGKILL")
    instance.wait_all_ready()

    (successor,) = {server["pid"] for server in instance.servers()} - servers
    assert {said(file) for file in files} == {both(victim) + both(successor), both(*(servers - {victim}))}
    assert sorted((tmp_path / "logs").iterdir()) == files
    assert "to stdout" not in instance.log and "to stderr" not in instance.log


def said(file):
    return tuple(re.findall(r"^to \w+: \d+$", file.read_text(), re.MULTILINE))


def both(pid):
    return f"to stdout: {pid}", f"to stderr: {pid}"
