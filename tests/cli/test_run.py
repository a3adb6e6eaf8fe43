"""`maitred run`: whose option is whose, and what becomes of them."""

import sys
import types
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.cli.run import OPTIONS, split
from maitred.config.error import ConfigError
from maitred.shell.observe import verifier_process


def shown_words(line):
    return line.bind, line.single, line.kind, line.program, line.args


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (
            "-b 8000 -m http.server 8000 --bind 127.0.0.1",
            (["8000"], {}, "module", "http.server", ("8000", "--bind", "127.0.0.1")),
        ),
        ("app.py --static 3 -- -m x -h", ([], {}, "script", "app.py", ("--static", "3", "--", "-m", "x", "-h"))),
        ("-- app.py -b 1", ([], {}, "script", "app.py", ("-b", "1"))),
        ("--static 2 -- -m json -- x", ([], {"static": "2"}, "module", "json", ("--", "x"))),
        ("-mjson --help", ([], {}, "module", "json", ("--help",))),
        ("-b8000 -b :1 --bind=[::1]:2 x", (["8000", ":1", "[::1]:2"], {}, "script", "x", ())),
        ("--static=2 --static 3 x", ([], {"static": "3"}, "script", "x", ())),
        ("--static -1 x", ([], {"static": "-1"}, "script", "x", ())),
        ("--name -m x", ([], {"name": "-m"}, "script", "x", ())),
        ("--grace= x", ([], {"grace": ""}, "script", "x", ())),
        ("--config f.toml", ([], {"config": "f.toml"}, None, "", ())),
        ("-", ([], {}, "script", "-", ())),
        ("--", ([], {}, None, "", ())),
        ("", ([], {}, None, "", ())),
    ],
)
def test_the_command_line_is_taken_apart(written, meant):
    assert shown_words(split(written.split())) == meant


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("--statc 2 x", "unknown option --statc; did you mean --static?"),
        ("--stat 2 x", "unknown option --stat; did you mean --static?"),
        ("--xyzzy x", "unknown option --xyzzy; see maitred run --help"),
        ("-x", "unknown option -x"),
        ("--static", "--static: needs a value, N"),
        ("-b", r"-b: needs a value, \[HOST:\]PORT"),
        ("-m", "-m: needs the name of a module"),
    ],
)
def test_a_slip_is_explained(written, complaint):
    with pytest.raises(ConfigError, match=complaint):
        split(written.split())


@given(
    own=st.lists(st.sampled_from(["-b 1", "--static 2", "--name=x"])), args=st.lists(st.text()), module=st.booleans()
)
def test_whatever_stands_after_the_program_is_the_programs(own, args, module):
    line = split([*" ".join(own).split(), *(["-m", "prog"] if module else ["prog"]), *args])

    assert line.args == tuple(args)
    assert (line.kind, line.program, line.help) == ("module" if module else "script", "prog", False)
    assert len(line.bind) == own.count("-b 1")


@given(st.lists(st.text() | st.sampled_from(["-m", "--", "-b", "--static", "-h", "x", *(o.flags[0] for o in OPTIONS)])))
def test_no_command_line_raises_anything_but_config_error(argv):
    with suppress(ConfigError):
        split(argv)


@pytest.fixture
def monitor(monkeypatch):
    """In the Monitor's place: keeps what it is given, and ends as it is asked to."""
    stand_in = types.ModuleType("maitred.shell.monitor")
    stand_in.given, stand_in.follow = [], []

    def run(config, follow=None):
        stand_in.given.append(config)
        stand_in.follow.append(follow)
        return 3

    stand_in.run = run
    import maitred.shell

    monkeypatch.setitem(sys.modules, "maitred.shell.monitor", stand_in)
    monkeypatch.setattr(maitred.shell, "monitor", stand_in, raising=False)
    return stand_in


def test_the_monitor_gets_the_configuration_and_gives_the_exit_code(maitred, monitor):
    code, out, err = maitred("run", "-b", "127.0.0.1:8000", "--static", 2, "-m", "http.server", "8000", "--bind", "::1")

    assert (code, out, err) == (3, "", "")
    cls = monitor.given[0].classes[0]
    assert cls.program.args == ("8000", "--bind", "::1")
    assert cls.listeners == ((8000, "127.0.0.1:8000"),)


def test_verify_is_a_switch_that_names_the_process_which_follows(maitred, monitor, tmp_path):
    path = tmp_path / "one.toml"
    path.write_text("[[class]]\nname = 'a'\nmodule = 'json'\n")

    assert maitred("run", "--verify", "-m", "json", "--verify")[0] == 3
    assert monitor.given[0].verify and monitor.given[0].classes[0].program.args == ("--verify",)
    assert maitred("run", "--config", path, "--verify")[0] == 3
    assert monitor.given[1].verify and monitor.follow == [verifier_process.run, verifier_process.run]
    assert maitred("run", "--config", path)[0] == 3
    assert not monitor.given[2].verify and monitor.follow[2] is None

    for arguments, complaint in [
        (["--verify=yes", "-m", "json"], "--verify=yes: takes no value"),
        (["--verify", "--trace", tmp_path / "t", "-m", "json"], "--verify: cannot be combined with a trace, "),
        (
            ["--config", path, "--verify", "--trace", tmp_path / "t"],
            f"{path}: verify: cannot be combined with",
        ),
    ]:
        code, _, err = maitred("run", *arguments)
        assert code == 2
        assert err.startswith(f"maitred: {complaint}")


def test_a_file_sets_everything_but_control_and_trace(maitred, monitor, tmp_path):
    path = tmp_path / "two.toml"
    path.write_text("[[class]]\nname = 'a'\nmodule = 'json'\n")

    assert maitred("run", "--config", path, "--control", tmp_path / "c", "--trace", tmp_path / "t")[0] == 3
    assert monitor.given[0].control == tmp_path / "c"
    assert monitor.given[0].trace == tmp_path / "t"

    for beside, named in [(["--static", "2"], "--static"), (["-b", "1"], "-b"), (["x.py"], "x.py"), (["-m", "j"], "j")]:
        code, _, err = maitred("run", "--config", path, *beside)
        assert code == 2
        assert err == f"maitred: --config replaces all other options: {named} cannot be given beside it\n"
    assert len(monitor.given) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to run: give -m MODULE, SCRIPT, -- EXECUTABLE, or --config FILE"),
        (["-b", "8000"], "nothing to run"),
        (["no_such_file.py"], "no_such_file.py does not exist"),
        (["-m", "no_such_module_at_all"], "no module named 'no_such_module_at_all' can be found"),
        (["-b", "99999", "-m", "json"], "-b: '99999' will not do"),
        (["--config", "/no/such/file"], "/no/such/file: cannot be read: No such file or directory"),
        (["--config", "/dev/zero"], "/dev/zero: larger than 1 MiB"),
        (["--config", ""], "cannot be read"),
    ],
)
def test_an_error_is_one_line(maitred, monitor, arguments, complaint):
    code, out, err = maitred("run", *arguments)

    assert (code, out) == (2, "")
    assert complaint in err
    assert err.startswith("maitred: ") and err.count("\n") == 1
    assert monitor.given == []


def test_help_is_by_groups(maitred):
    code, out, err = maitred("run", "--help", "-m", "json")
    assert (code, err) == (0, "")
    for group in ("program", "clients", "servers", "supervision", "stopping", "instance"):
        assert f"\n{group}:\n" in out
