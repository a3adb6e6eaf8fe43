"""The command itself: what it teaches, what it costs, and how it ends."""

import subprocess
import sys

import pytest

import maitred as package
from maitred import cli
from maitred.config.error import ConfigError

EXAMPLES = 3


def test_help_names_every_command(maitred):
    for arguments in (["--help"], ["-h"], ["help"]):
        code, out, err = maitred(*arguments)
        assert (code, err) == (0, "")
        for command, what in cli.COMMANDS.items():
            assert f"  {command:<10}{what}\n" in out
        assert out.count("\n  maitred ") == EXAMPLES
        assert max(map(len, out.splitlines())) <= 120


def test_without_a_command_the_help_goes_to_stderr(maitred):
    assert maitred() == (2, "", cli.help_text())


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_its_own_help(maitred, command):
    code, out, err = maitred(command, "--help")
    assert (code, err) == (0, "")
    assert f"usage: maitred {command}" in out


def test_the_version(maitred):
    assert maitred("--version") == (
        0,
        f"maitred {package.__version__}\ncore and hot parts of the shell: plain Python\n",
        "",
    )


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("rnu", "did you mean 'run'?"),
        (
            "xyzzy",
            "there are run, status, top, element, stop, drain, restart, scale, reload, rotate, check, replay, conform",
        ),
        ("-b", "to run a server: maitred run"),
        (__file__, "to run a server: maitred run"),
    ],
)
def test_another_command_is_2(maitred, command, hint):
    code, out, err = maitred(command)
    assert (code, out) == (2, "")
    assert hint in err


@pytest.mark.parametrize(("error", "code"), [(ConfigError("x"), 2), (KeyboardInterrupt(), 130)])
def test_what_a_command_raises_is_an_exit_code(monkeypatch, maitred, error, code):
    def dispatch(arguments):
        raise error

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    assert maitred("status")[0] == code


def test_as_a_module():
    outcome = subprocess.run([sys.executable, "-m", "maitred", "nonsense"], capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 2, outcome.stdout + outcome.stderr
    assert outcome.stderr.startswith("maitred: no command 'nonsense'")


def test_help_imports_neither_the_machines_nor_rich():
    """What it may not import is what would make it slow; no clock is asked, so that no busy machine fails this."""
    program = (
        "import sys; from maitred.cli import main; main(['--help']); main(['run', '--help'])\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'rich' or name.startswith("
        "('maitred.core.', 'maitred.model', 'maitred.shell', 'asyncio'))], file=sys.stderr)"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert outcome.stderr == "['maitred.core.durations']\n", "which imports nothing of ours"
