"""Unmodified servers of seven makes, each behind three copies: each client is seated, counted, and gone when gone.

The programs in `servers/` are what anybody would write with the library; that they are handed their connections they
cannot see a difference.  What they see of their client is compared with what the client knows of itself.
"""

import http.client
import json
import os
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from tests.machine import free_port
from tests.system.harness import PATIENCE, SERVERS, session_of

pytestmark = pytest.mark.system
UNAUDITED = "--audit-period", "600"
"""The server itself reports that a client has gone, or nobody does."""


class LineClient:
    """Connected to a server of lines: it greets with what it knows, then echoes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.me = list(self.socket.getsockname()[:2])

    def told(self):
        return json.loads(self.lines.readline())

    def works(self):
        self.socket.sendall(b"still there?\n")
        return self.lines.readline() == b"still there?\n"

    def close(self):
        self.lines.close()
        self.socket.close()


class HttpClient:
    """Connected to a web server, and stays connected between requests."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.http.connect()
        self.me = list(self.http.sock.getsockname()[:2])

    def told(self):
        self.http.request("GET", "/")
        return json.loads(self.http.getresponse().read())

    def works(self):
        return bool(self.told())

    def close(self):
        self.http.close()


@dataclass
class Make:
    """A make of server."""

    name: str
    command: str
    client: Any = LineClient
    single: bool = False
    """It serves one client at a time, so it is given one at a time."""
    knows_port: bool = True
    """It knows its client's port (wsgiref's environ has the address only)."""
    keeps: bool = True
    """It keeps the connection after a request."""


MAKES = [
    Make("http.server", "SERVERS/http_threading.py 127.0.0.1 PORT", HttpClient),
    Make("socketserver-plain", "SERVERS/lines.py plain 127.0.0.1 PORT", single=True),
    Make("socketserver-threading", "SERVERS/lines.py threading 127.0.0.1 PORT"),
    Make("socketserver-forking", "SERVERS/lines.py forking 127.0.0.1 PORT"),
    Make("asyncio-streams", "SERVERS/streams.py 127.0.0.1 PORT"),
    Make(
        "wsgiref",
        "SERVERS/wsgi_simple.py 127.0.0.1 PORT",
        HttpClient,
        single=True,
        knows_port=False,
        keeps=False,
    ),
    Make(
        "uvicorn",
        "-m uvicorn --loop asyncio --port PORT --app-dir SERVERS --timeout-keep-alive 60 applications:asgi",
        HttpClient,
    ),
    Make(
        "gunicorn-gthread",
        "-m gunicorn -b 127.0.0.1:PORT -k gthread --threads 8 --keep-alive 60 --pythonpath SERVERS applications:wsgi",
        HttpClient,
    ),
]


def arguments(make, port, audit=UNAUDITED):
    """The command line behind `maitred run` with three servers."""
    limit = ("--max-clients", "1") if make.single else ()
    command = make.command.replace("PORT", str(port)).replace("SERVERS", str(SERVERS)).split()
    return ("-b", f"127.0.0.1:{port}", "--static", "3", *limit, *audit, *command)


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.name)
def test_clients_are_seated_counted_and_gone(maitred, make):
    port, each = free_port(), 1 if make.single else 2
    instance = maitred(*arguments(make, port))
    mains = {server["pid"] for server in instance.servers()}
    assert len(mains) == 3
    assert [server["clients"] for server in instance.status_by_command()["classes"][0]["servers"]] == [0, 0, 0]

    clients, told = [], []
    for _ in range(3 * each):
        clients.append(make.client(port))
        if make.keeps:
            told.append(clients[-1].told())
    instance.wait_counts([each] * 3)
    assert instance.waiting() == 0
    if not make.keeps:
        told = [client.told() for client in clients]

    peers = [answer["peer"] for answer in told]
    if make.knows_port:
        assert peers == [client.me for client in clients]
    else:
        assert [host for host, _ in peers] == [client.me[0] for client in clients]
    if make.keeps:
        by_server = Counter(session_of(answer["pid"]) for answer in told)
        assert by_server == dict.fromkeys(mains, each)
        command = instance.status_by_command()["classes"][0]["servers"]
        assert [server["clients"] for server in command] == [each] * 3
        assert all(client.works() for client in clients)

    for client in clients:
        client.close()
    instance.wait_counts([0, 0, 0])
    assert {server["pid"] for server in instance.servers()} == mains


@pytest.mark.parametrize("make", [make for make in MAKES if make.single], ids=lambda make: make.name)
def test_who_finds_every_single_minded_server_busy_waits_for_its_turn(maitred, make):
    port = free_port()
    instance = maitred(*arguments(make, port))
    seated = [make.client(port) for _ in range(3)]
    instance.wait_counts([1, 1, 1])

    late = make.client(port)
    instance.wait_waiting(1)
    seated[1].close()

    assert late.told()["peer"][0] == "127.0.0.1"
    assert instance.waiting() == 0
    for client in [*seated, late]:
        client.close()
    instance.wait_counts([0, 0, 0])


def test_the_module_http_server_serves_files_as_ever(maitred, tmp_path):
    """No program of ours at all: the command that everybody knows."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "hello.txt").write_text("from a file\n")
    port = free_port()
    instance = maitred(
        *("-b", f"127.0.0.1:{port}", "--static", "3", *UNAUDITED, "-m", "http.server", port),
        *("--bind", "127.0.0.1", "--directory", tmp_path / "served"),
    )

    for _ in range(6):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        client.request("GET", "/hello.txt")
        assert client.getresponse().read() == b"from a file\n"
        client.close()

    instance.wait_counts([0, 0, 0])
    assert instance.log.count('"GET /hello.txt HTTP/1.1" 200') == 6


def test_without_an_address_the_program_chooses_the_port(maitred, guests):
    """The first port that the program binds becomes the port of the class."""
    port = free_port()
    instance = maitred("--static", "2", SERVERS / "greeter.py", f"127.0.0.1:{port}")

    assert [listener["port"] for listener in instance.server_class()["ports"]] == [port]
    pids = {guests(port).seated() for _ in range(4)}

    assert pids == {server["pid"] for server in instance.servers()}
    instance.wait_counts([2, 2])


def test_a_client_over_ipv6_is_seen_with_its_true_address(maitred, guests):
    port = free_port("::1")
    instance = maitred("-b", f"[::1]:{port}", "--static", "2", SERVERS / "greeter.py", f"[::1]:{port}")

    seen = {guests(port, host="::1").seated() for _ in range(2)}  # the guest compares addresses

    assert seen == {server["pid"] for server in instance.servers()}
    instance.wait_counts([1, 1])


def test_a_client_counts_until_its_last_reference_closes(maitred, guests):
    """A half-closed connection is a connection."""
    port = free_port()
    instance = maitred(
        "-b", f"127.0.0.1:{port}", "--static", "2", *UNAUDITED, SERVERS / "greeter.py", f"127.0.0.1:{port}"
    )
    guest = guests(port)
    guest.seated()
    instance.wait_counts([0, 1])

    other = guests(port)
    other.seated()
    guest.ask("hello before")
    assert instance.counts() == [1, 1]
    guest.socket.shutdown(socket.SHUT_WR)

    assert guest.ended()
    instance.wait_counts([0, 1])
    assert other.ask("hello after") == "hello after"


def test_a_killed_child_of_a_forking_server_is_counted_no_more(maitred):
    """The server itself sees nothing: its child held the connection, and the kernel knows."""
    port = free_port()
    instance = maitred(*arguments(MAKES[3], port, audit=()))
    client = LineClient(port)
    child = client.told()["pid"]
    instance.wait_counts([0, 0, 1])
    assert child not in {server["pid"] for server in instance.servers()}

    instance.kill(child)

    assert client.lines.readline() == b""
    instance.wait_counts([0, 0, 0])
    client.close()


def test_the_true_status_is_private(maitred):
    """Only the owner can ask, and what is answered has the shape that is documented."""
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "2", SERVERS / "greeter.py", f"127.0.0.1:{port}")

    status = instance.status_by_command()

    assert instance.control.stat().st_mode & 0o777 == 0o600
    assert instance.control.parent.stat().st_mode & 0o777 == 0o700
    assert status["version"] == 1
    assert status["monitor"]["pid"] == instance.process.pid
    (cls,) = status["classes"]
    assert cls["distributor"]["phase"] == "operating" and cls["distributor"]["incarnation"] == 1
    assert os.path.exists(f"/proc/{cls['distributor']['pid']}")
    assert [(p["port"], p["address"]) for p in cls["ports"]] == [(port, f"127.0.0.1:{port}")]
    for server in cls["servers"]:
        assert server["kind"] == "static" and server["state"] == "ready"
        assert (server["clients"], server["max_clients"]) == (0, 64)
        assert {"id", "pid", "element"} <= server.keys()
    table = instance.command("status", "--control", instance.control)
    assert table.returncode == 0
    assert str(cls["servers"][0]["pid"]) in table.stdout and str(port) in table.stdout
