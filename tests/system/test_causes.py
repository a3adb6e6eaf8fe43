"""What keeps it, or a program, from working is reported with its cause, in one line."""

import socket
import subprocess
import sys
import tempfile

import pytest
from tests.log import plain
from tests.machine import free_port

from maitred.config import instances, options
from maitred.config.error import ConfigError
from maitred.config.model import Program
from maitred.shell import monitor

pytestmark = pytest.mark.system


def test_too_few_descriptors_to_begin_with(tmp_path):
    command = [sys.executable, "-m", "maitred", "run", "--control", tmp_path / "c", "-m", "json"]
    outcome = subprocess.run(
        ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
    )

    assert outcome.returncode == 2
    assert plain(outcome.stderr) == "maitred: cannot start: Too many open files: at most 20 may be (ulimit -n)\n"


def test_a_host_without_an_address_is_reported_in_the_resolver_s_words(tmp_path, monkeypatch, capfd):
    def nobody(host, *args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    single = {"control": str(tmp_path / "c"), "static": "1"}
    config = options.configure(options.Options(Program("module", "json", ()), ["nobody.invalid:9"], single))
    monkeypatch.setattr(socket, "getaddrinfo", nobody)

    assert monitor.run(config) == monitor.UNUSABLE
    words = "json: cannot listen on nobody.invalid:9: nobody.invalid: Name or service not known"
    assert plain(capfd.readouterr().err) == f"maitred: {words}\n"


def test_no_directory_for_temporary_files(monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(instances.os.path, "isdir", lambda path: False)

    assert instances.candidates() == [] == instances.running()
    with pytest.raises(ConfigError, match="no directory for temporary files can be written to; use --control PATH"):
        instances.own_directory()


@pytest.mark.parametrize(
    ("does", "cause"),
    [
        ("if os.fork(): os._exit(0)\nos.setsid()\ntime.sleep(60)", "as a daemon's does; .* run it in the foreground$"),
        (
            "os.execv('/bin/sleep', ['sleep', '60'])",
            "^maitred: the program becomes /bin/sleep, which is not the Python",
        ),
    ],
)
def test_a_program_that_no_client_can_be_handed_to(maitred, tmp_path, does, cause):
    program, port = tmp_path / "goes.py", free_port()
    program.write_text(f"import os, time\n{does}\n")

    instance = maitred("-b", f"127.0.0.1:{port}", "--static", 1, "--backoff-first", 20, program, ready=False)

    instance.wait_log(cause)
