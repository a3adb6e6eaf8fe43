"""What `maitred status` counts, of a running instance."""

import pytest
from tests.machine import free_port
from tests.system.harness import eventually, greeter, write_config

pytestmark = pytest.mark.system


def test_clients_hand_offs_and_restarts_are_counted(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=1)], backoff_first=0.01)
    instance = maitred("--config", config)
    before = instance.server_class()["totals"]
    assert (before["taken"], before["refused"], before["timed_out"]) == (0, 0, 0)
    servers = [guests(port).seated() for _ in range(3)]
    instance.wait_counts([3])

    after = instance.server_class()["totals"]
    assert (after["accepted"] - before["accepted"], after["taken"]) == (3, 3)
    assert instance.servers()[0]["restarts"] == 0

    instance.kill(servers[0])
    eventually(lambda: instance.servers()[0]["restarts"] == 1, "the server is started again")
    instance.wait_all_ready()
    assert instance.status()["monitor"]["core"] in ("compiled", "plain Python")
