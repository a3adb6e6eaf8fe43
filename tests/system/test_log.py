"""A log that nobody reads stops nobody: neither the Monitor nor a Distributor waits for its reader."""

import contextlib
import os
import re
import signal

import pytest
from tests.machine import free_port
from tests.system.harness import Guest, Instance, eventually, greeter, write_config

pytestmark = pytest.mark.system


@pytest.fixture
def unread(tmp_path):
    """A pipe that nobody reads, and that takes nothing more: its path, and its reading end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.close(writer)
    yield path, reader
    os.close(reader)


def test_a_log_that_nobody_reads_stops_nothing_and_is_read_later(tmp_path, unread):
    path, reader = unread
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=2)])
    instance = Instance(tmp_path / "instance", ["--config", config])
    instance.log_file = path
    instance.start(ready=False)
    instance.log_file = tmp_path / "log"  # what is asked for complaints
    try:
        eventually(lambda: is_ready(instance), "ready")
        distributor = instance.distributor()
        os.kill(distributor, signal.SIGKILL)
        eventually(lambda: instance.distributor() not in (None, distributor), "another Distributor")
        with Guest(port) as client:
            victim = client.seated()
            os.kill(victim, signal.SIGKILL)
            assert client.ended()
        eventually(instance.all_ready, "another server")
        with Guest(port) as client:
            assert client.seated() != victim
        said = ""

        def is_logged():
            nonlocal said
            with contextlib.suppress(BlockingIOError):
                said += os.read(reader, 1 << 16).decode()
            return re.search(r"in the place of server \d+, which was killed by SIGKILL", said)

        eventually(is_logged, "what was said is kept")
        assert f"(pid {distributor}) was killed by SIGKILL" in said
        assert "dropped" not in said
    finally:
        instance.finish()


def is_ready(instance):
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return instance.all_ready()
    return False
