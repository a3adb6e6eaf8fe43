"""The options of `maitred run`, made into a configuration."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maitred.cli.run import OPTIONS
from maitred.config import checks
from maitred.config.error import ConfigError
from maitred.config.model import Program
from maitred.config.options import Options, configure, made_up_name
from maitred.core import monitor
from maitred.core.timing import Durations

JSON = Program("module", "json", ("--bind", "x"))


def test_one_class_with_what_was_asked_for(tmp_path, own_directory):
    single = {
        "static": "3",
        "dynamic": "4",
        "max-clients": "5",
        "waiting-limit": "6",
        "queue-timeout": "0.5",
        "grace": "1",
        "name": "demo",
        "trace": str(tmp_path / "t"),
    }
    config = configure(Options(JSON, ["8000", "[::1]:81"], single))
    cls = config.classes[0]

    assert (cls.static, cls.dynamic, cls.max_clients, cls.waiting_limit) == (3, 4, 5, 6)
    assert cls.listeners == ((8000, "*:8000"), (81, "[::1]:81")) and cls.fixed
    assert cls.program == JSON
    assert config.durations == dataclasses.replace(Durations(), queue_timeout=0.5, grace=1.0)
    assert (config.name, config.control) == ("demo", own_directory / "demo.sock")
    assert config.trace == tmp_path / "t"
    assert monitor.initial(*config.core()).phase is monitor.Phase.NEW


def test_without_b_the_first_bind_decides():
    cls = configure(Options(JSON)).classes[0]
    assert cls.listeners == () and not cls.fixed


def test_a_script_keeps_its_name_as_python_would(tmp_path, monkeypatch):
    (tmp_path / "app.py").touch()
    monkeypatch.chdir(tmp_path)
    config = configure(Options(Program("script", "app.py", ())))
    assert config.classes[0].program.name == "app.py"
    assert config.name == "app"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (Program("module", "http.server", ()), "http.server"),
        (Program("script", "/a/b/my app!.py", ()), "my-app-"),
        (Program("script", "/", ()), "program"),
        (Program("script", "..", ()), os.path.basename(os.path.dirname(os.getcwd())) or "program"),
        (Program("script", "x" * 100, ()), "x" * 64),
    ],
)
def test_a_name_is_made_up(program, name):
    assert made_up_name(program) == name


@pytest.mark.parametrize(
    ("bind", "single", "complaint"),
    [
        (["8000", ":8000"], {}, r"^-b: \*:8000 is given twice"),
        (["8000", "127.0.0.1:8000"], {}, r"^-b: \*:8000 and 127.0.0.1:8000 collide"),
        (["x"], {}, r"^-b: 'x' will not do"),
        ([], {"static": "0"}, "^--static: 0 will not do"),
        ([], {"static": "many"}, "^--static: 'many' will not do"),
        ([], {"max-clients": "1e3"}, "^--max-clients: 1000.0 will not do"),
        ([], {"queue-timeout": "0"}, "^--queue-timeout: 0 will not do: should be a number of seconds from 0.1"),
        ([], {"backoff-cap": "0.05"}, r"^--backoff-first \(0.1\) is longer than --backoff-cap \(0.05\)"),
        ([], {"name": "a/b"}, "^--name: 'a/b' will not do"),
        ([], {"trace": "/no/where/x"}, "^--trace: /no/where/x cannot be made: there is no directory /no/where"),
        ([], {"verify": "", "trace": "t"}, "^--verify: cannot be combined with a trace"),
        ([], {"control": "/no/where/x"}, "^--control: "),
        ([], {"control": ""}, "^--control: "),
    ],
)
def test_an_error_names_its_option(bind, single, complaint):
    with pytest.raises(ConfigError, match=complaint):
        configure(Options(JSON, bind, single))


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.py", b"#!/bin/sh\n", "script"),
        ("plain", b"print('hello')\n", "script"),
        ("console", b"#!/some/env/bin/python3.12\n", "script"),
        ("pypy", b"#!/usr/bin/env pypy3\n", "script"),
        ("env", b"#!/usr/bin/env -S PYTHONSAFEPATH=1 python3 -O\n", "script"),
        ("pip", b"#!/bin/sh\n'''exec' /a/long/path/python \"$0\" \"$@\"\n' '''\n", "script"),
        ("shell", b"#!/bin/sh\n", "executable"),
        ("other", b"#! /usr/bin/env sh\n", "executable"),
        ("compiled", Path("/proc/self/exe").read_bytes()[:256], "executable"),
    ],
)
def test_a_script_and_an_executable_are_distinguished_by_their_content(tmp_path, name, head, kind):
    path = tmp_path / name
    path.write_bytes(head)
    path.chmod(0o755)
    cls = configure(Options(Program("script", str(path), ("--flag",)))).classes[0]
    assert cls.program == Program(kind, str(path), ("--flag",))


def test_a_pipe_is_not_read_to_find_out(tmp_path):
    """Nobody writes into it: to open it would wait for ever, and what is read is not there for the program."""
    os.mkfifo(tmp_path / "pipe")
    assert configure(Options(Program("script", str(tmp_path / "pipe"), ()))).classes[0].program.kind == "script"


def made_for(machine):
    head = bytearray(Path("/proc/self/exe").read_bytes()[:256])
    head[18:20] = machine.to_bytes(2, sys.byteorder)
    return bytes(head)


@pytest.mark.parametrize(
    ("head", "mode", "complaint"),
    [
        (b"#!/bin/sh\n", 0o644, r"is not executable by us: chmod \+x "),
        (b"#!/no/such/shell -e\n", 0o755, "its first line names /no/such/shell, which does not exist"),
        (made_for(20), 0o755, "is made for PowerPC, and this machine is "),
        (made_for(4711), 0o755, r"is made for machine 4711 \(ELF\), and this machine is "),
    ],
)
def test_an_executable_that_cannot_run_is_declined(tmp_path, monkeypatch, head, mode, complaint):
    monkeypatch.setattr(checks, "_emulates", lambda: False)
    path = tmp_path / "server"
    path.write_bytes(head)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=complaint):
        configure(Options(Program("script", str(path), ())))


def test_a_machine_that_emulates_others_is_left_to_try(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_emulates", lambda: True)
    path = tmp_path / "server"
    path.write_bytes(made_for(20))
    path.chmod(0o755)
    assert configure(Options(Program("script", str(path), ()))).classes[0].program.kind == "executable"


def test_a_command_on_the_path_is_proposed():
    with pytest.raises(ConfigError, match=r"^sleep does not exist; did you mean /.*/sleep\?"):
        configure(Options(Program("script", "sleep", ())))


@pytest.mark.parametrize("name", ["-", "no such file.py", "/", "", "x" * 5000, "a\0b"])
def test_a_script_that_is_not_there(name):
    with pytest.raises(ConfigError):
        configure(Options(Program("script", name, ())))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bind=st.lists(st.text(max_size=8) | st.sampled_from(["1", "x:2", "[::]:3"]), max_size=3),
    single=st.dictionaries(
        st.sampled_from([option.name for option in OPTIONS if option.name not in ("control", "trace", "config")]),
        st.text(max_size=6) | st.integers().map(str) | st.floats().map(str),
        max_size=4,
    ),
    name=st.sampled_from(["json", "os.path", "", ".", "a..b", "__main__", "é", "no_such_thing"]),
)
def test_no_options_raise_anything_but_config_error(bind, single, name):
    try:
        config = configure(Options(Program("module", name, ()), bind, single))
    except ConfigError:
        return
    monitor.initial(*config.core())
