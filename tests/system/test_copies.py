"""What a copy knows of itself, and what asks it to end."""

import re
import signal
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.system.harness import eventually, write_config

pytestmark = pytest.mark.system

SHOWS = """
import atexit, os, socketserver, sys
print("copy", os.environ["MAITRED_SERVER_NUMBER"], os.environ.get("NAMED"), *sys.argv[2:], flush=True)
atexit.register(print, "has cleaned up", flush=True)
socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), socketserver.BaseRequestHandler).serve_forever()
"""


@pytest.fixture
def shows(tmp_path):
    """The keys of a class whose program prints its arguments, and when it cleans up."""
    program, port = tmp_path / "shows.py", free_port()
    program.write_text(SHOWS)
    return {"name": "web", "script": str(program), "args": [str(port)], "listen": f"127.0.0.1:{port}", "static": 1}


def test_the_copies_of_a_class_are_distinguished(maitred, shows, tmp_path):
    """By a number that the next copy in the place has again; by an id that nobody has again."""
    named = 'environment = { NAMED = "{class}.{server:02}" }\n'
    arguments = [*shows["args"], "{server}", "{incarnation}", '{"kept": 1}']
    config = write_config(tmp_path / "c.toml", [{**shows, "args": arguments, "static": 2}], backoff_first=0.01)
    config.write_text(config.read_text() + named)
    instance = maitred("--config", config)
    two = next(server for server in instance.servers() if server["place"] == 1)

    instance.kill(two["pid"])

    eventually(lambda: len(re.findall("^copy", instance.log, re.MULTILINE)) == 3, lambda: instance.log)
    assert sorted(re.findall("^copy (.*)$", instance.log, re.MULTILINE)) == [
        '1 web.01 1 1 {"kept": 1}',
        '2 web.02 2 2 {"kept": 1}',
        '2 web.02 2 3 {"kept": 1}',
    ]


def test_processes_are_named(maitred, shows, tmp_path):
    """As `ps -e` and `top` show them: the first 15 bytes."""
    config = write_config(tmp_path / "shop.toml", [{**shows, "static": 2}])
    instance = maitred("--config", config)

    def named(pid):
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")

    assert named(instance.process.pid) == "maitred:shop"
    assert named(instance.distributor()) == "distr:web"
    assert sorted(named(server["pid"]) for server in instance.servers()) == ["web/1", "web/2"]
    standby = eventually(lambda: instance.status()["monitor"]["standby"], lambda: instance.log)
    eventually(lambda: named(standby) == "standby", lambda: named(standby))


def test_a_class_is_asked_to_end_by_its_own_signal(maitred, shows, tmp_path):
    config = write_config(tmp_path / "c.toml", [{**shows, "stop_signal": "INT"}])
    instance = maitred("--config", config)

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert "has cleaned up" in instance.log


def test_after_ctrl_c_a_program_cleans_up_as_it_would_alone(maitred, shows):
    """Also where it was started by a script with ``&``, so that SIGINT was ignored at first."""
    arguments = "-b", shows["listen"], "--static", 1, shows["script"], *shows["args"]
    instance = maitred(*arguments, prefix=["sh", "-c", 'trap "" INT; exec "$@"', "sh"])

    instance.signal(signal.SIGINT)

    assert instance.wait() == 0
    assert "has cleaned up" in instance.log
