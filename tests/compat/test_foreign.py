"""Servers whose sockets are made in C or Rust: a clear word, once, in the log, the exit code and the status."""

import re
import socket

import pytest
from tests.compat import kernel
from tests.compat.makes import FOREIGN, HERE
from tests.machine import free_port
from tests.system.harness import eventually

pytestmark = [pytest.mark.system, pytest.mark.compat]
GIVEN_UP = 3
QUICK = ("--backoff-first", "0.01", "--backoff-cap", "0.01")


UVLOOP, GRANIAN, GRPC = FOREIGN


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign.name)
def test_a_library_with_native_sockets_is_named_with_its_remedy(maitred, foreign, record_property):
    record_property("server", foreign.name)
    record_property("version", foreign.version)
    instance = maitred(*QUICK, *foreign.arguments(free_port()), ready=False)
    instance.expected = GIVEN_UP

    assert instance.wait(100) == GIVEN_UP

    said = [line for line in instance.log.splitlines() if re.search(foreign.fails, line)]
    assert len(said) == 1
    last = instance.log.splitlines()[-1]
    assert last.startswith("maitred: stopped: ") and last.endswith(said[0].partition(" clients: ")[2])


def test_the_status_shows_why_no_server_becomes_ready(maitred):
    port = free_port()
    instance = maitred(*UVLOOP.arguments(port), ready=False)
    eventually(instance.control.exists, "the control socket")

    (obstacle,) = eventually(lambda: instance.server_class()["obstacles"], lambda: instance.log)

    assert "uvicorn: --loop asyncio" in obstacle
    shown = instance.command("status", "--control", instance.control).stdout
    assert f"its servers do not come up: {obstacle}" in " ".join(shown.split())
    assert len(kernel.listening(port)) == 1  # the Distributor's


def test_a_library_that_runs_and_never_listens_is_named_too(maitred):
    """Without -b nobody holds the port before, so that a copy gets it."""
    port = free_port()
    arguments = GRANIAN.arguments(port)[2:]  # what follows -b
    instance = maitred("--start-warning", "1", *arguments, ready=False)

    eventually(lambda: kernel.listening(port), lambda: instance.log)
    instance.wait_log(rf"runs, but does not listen\n(.*\n)*.*{GRANIAN.fails}")

    assert instance.server_class()["ports"] == []


def test_a_server_that_only_imports_such_a_library_is_not_reported(maitred):
    """The remedy: uvloop is there, and another loop is used."""
    port = free_port()
    command = f"-m uvicorn --loop asyncio --port {port} --app-dir {HERE} --factory project:with_uvloop"
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "2", *command.split())

    with socket.create_connection(("127.0.0.1", port), 5):
        instance.wait_counts([0, 1])

    assert instance.server_class()["obstacles"] == []
    assert "uvloop" not in instance.log
