"""A server that spoils what it shares with the Distributor and the Monitor harms its own place only.

`servers/spoils.py` does it from within, with nothing but what every program is handed.
"""

import re

import pytest
from tests.machine import free_port
from tests.system.harness import SERVERS, Guest, eventually, write_config

pytestmark = pytest.mark.system


@pytest.fixture
def two(start):
    """Two servers; the second of two clients comes to the other."""
    return start()


@pytest.fixture
def start(maitred, tmp_path):
    """Start two servers, with further arguments."""

    def begin(*arguments, **options):
        port = free_port()
        cls = {"name": "web", "script": str(SERVERS / "spoils.py"), "args": [str(port)], "listen": port, "static": 2}
        config = write_config(tmp_path / "c.toml", [cls], audit_period=0.1, backoff_first=0.05)
        instance = maitred("--config", config, *arguments, **options)
        instance.port = port
        return instance

    return begin


def test_a_server_whose_registry_makes_no_sense_is_named_and_replaced_and_nobody_else_is_harmed(two, guests):
    monitor, distributor = two.process.pid, two.distributor()
    other = guests(two.port)
    stays = other.seated()
    spoilt = {
        "capacity": "it claims room for 1125899906842624 clients; 144 is the most",
        "port": "it counts .*port=70000",
        "places": "it claims room for 6000000 clients; 144 is the most",
        "magic": "its first bytes are not those of a registry",
    }
    for way, why in spoilt.items():
        guest = guests(two.port)
        pid = guest.seated()
        assert pid != stays
        row = next(row for row in two.servers() if row["pid"] == pid)

        assert guest.ask(way) == "done"

        assert guest.ended()
        named = rf"^maitred: server {row['id']} of web"
        two.wait_log(rf"{named} has a registry that makes no sense: {why}")
        two.wait_log(rf"{named} has spoilt its registry \({why}.*\): killed$")
        eventually(lambda pid=pid: pid not in {row["pid"] for row in two.servers()}, "it is replaced")
        two.wait_all_ready()
        assert other.ask("nothing") == "done"
    assert stays in {row["pid"] for row in two.servers()}
    assert (two.process.pid, two.distributor()) == (monitor, distributor)
    assert len(re.findall("has spoilt its registry", two.log)) == len(spoilt)


def test_a_registry_cannot_be_cut_short(two, guests):
    """One that could be, and is mapped, is SIGBUS to whoever reads it: the Distributor at its next audit."""
    monitor, distributor = two.process.pid, two.distributor()
    guest = guests(two.port)
    assert guest.ask("truncate") == "PermissionError"
    two.kill(guest.seated())
    eventually(lambda: len(two.log.split("was killed by SIGKILL")) == 2, "the Monitor hears of it")
    two.wait_all_ready()
    with Guest(two.port) as another:
        assert another.ask("nothing") == "done"
    assert (two.process.pid, two.distributor()) == (monitor, distributor)


def test_a_server_that_overwrites_its_verifier_ring_spoils_its_own_records_only(start, guests):
    two = start("--verify", traced=False)
    monitor, distributor = two.process.pid, two.distributor()
    honest, spoiler = guests(two.port), guests(two.port)
    assert honest.seated() != spoiler.seated()
    assert spoiler.ask("cut ring") == "PermissionError"
    assert spoiler.ask("ring") == "done"
    before = two.status()["verify"]["verified"]
    for _ in range(20):
        with Guest(two.port) as guest:
            guest.seated()
    assert honest.ask("nothing") == "done"
    eventually(lambda: two.status()["verify"]["verified"] > before + 20, "others are verified on", within=90)
    numbers = two.status()["verify"]
    assert numbers["divergences"] == 0 and numbers["steps"] < 10_000, numbers
    assert (two.process.pid, two.distributor()) == (monitor, distributor)
