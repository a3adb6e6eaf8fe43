"""When is a client gone?  Every way in which a connection can live on or end, in a real server behind `maitred run`.

The count of `maitred status` is 1 as long as anybody has a handle, and 0 once nobody has.  The server sees
the end of a child that is killed or became another program when it reaps it.  Where it cannot see the end, since that
happens behind Python, in a child that is never reaped or in a stranger, or since another still had the connection when
the child was reaped, the kernel's audit makes the count right, and each such way is shown to need it.
"""

import socket
import ssl
import struct
import subprocess
import time

import pytest
from tests.compat import lifecycle_program
from tests.compat.lifecycle_program import WAYS
from tests.machine import PATIENCE, free_port
from tests.system.harness import Instance, eventually, write_config

pytestmark = pytest.mark.system
GONE = 0.5
"""Seconds within which nobody has noticed that a client has gone, if nobody is to notice it."""
PERIOD = 0.15
"""Seconds between the audits of the instance that has them."""
NEVER = 3600
SEEN_BY_THE_KERNEL = {
    "c_code_closes_it",
    "child_is_killed_and_never_waited_for",
    "child_is_killed_while_its_sibling_lives",
    "parent_closes_after_its_child_was_killed",
    "stranger_that_received_it_closes_it",
}
ENDS_THE_SERVER = {"server_calls_os_exit", "server_is_killed", "server_execs_another_program"}
SEEN_BY_THE_SERVER = sorted(WAYS.keys() - SEEN_BY_THE_KERNEL - ENDS_THE_SERVER)


class Stage:
    """An instance with one server, the program of ways, and the way to let it go on."""

    def __init__(self, directory, certificate, audit_period, program=lambda arguments: {}, **options):
        """The program is the script, or what is made of its arguments: keys of its class."""
        directory.mkdir()
        self.port = free_port()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / "words"))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        arguments = [str(self.port), str(directory / "words"), str(certificate)]
        script = {"script": lifecycle_program.__file__, "args": arguments}
        cls = {"name": "ways", "listen": f"127.0.0.1:{self.port}", "static": 1, **(program(arguments) or script)}
        durations = {"audit_period": audit_period, "backoff_first": 0.05, "backoff_cap": 0.1}
        config = write_config(directory / "config.toml", [cls], **durations)
        self.instance = Instance(directory / "instance", ["--config", config], **options)
        self.instance.start()
        self.taken = None
        self.expect_server()

    def close(self):
        self._listener.close()
        self.words.close()
        self.instance.finish()

    # ------------------------------------------------ the server

    def expect_server(self):
        """The next server, ready."""
        self.words, _ = self._listener.accept()
        self.words.settimeout(PATIENCE)
        self.instance.wait_all_ready()
        self.instance.wait_counts([0])

    def replace_server(self):
        self.instance.kill(self.pid())
        self.expect_server()

    def pid(self):
        (server,) = self.instance.servers()
        return server["pid"]

    def hear(self, word):
        heard, fds, _, _ = socket.recv_fds(self.words, 100, 1)
        if heard.startswith(b"take\n"):
            self.taken, heard = fds[0], heard.removeprefix(b"take\n") or self.words.recv(100)
        assert heard == word, heard

    def go(self):
        self.words.sendall(b"go\n")

    # ------------------------------------------------ the client

    def begin(self, way, *, prepare=lambda client: client):
        """A client that goes this way, as far as somebody still has its connection."""
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.sendall(way.encode() + b"\n")
        client = prepare(client)
        self.hear(b"held\n")
        return client

    def count(self):
        """None comes from a Distributor that was too busy to answer: it is asked again."""
        known = eventually(
            lambda: [server["clients"] for server in self.instance.servers() if server["clients"] is not None],
            "its Distributor answers",
        )
        (count,) = known
        return count

    def stays(self, count, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.count() == count
            time.sleep(0.02)

    def becomes(self, count, within=PATIENCE):
        eventually(lambda: self.count() == count, lambda: f"it counts {self.count()}", within)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    made = tmp_path_factory.mktemp("certificate") / "both.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {made} -out {made}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    with made.open("a") as file:
        file.write(made.with_suffix(".pem.crt").read_text())
    return made


@pytest.fixture(scope="module")
def unaudited(tmp_path_factory, certificate):
    stage = Stage(tmp_path_factory.mktemp("ways") / "unaudited", certificate, NEVER)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def audited(tmp_path_factory, certificate):
    stage = Stage(tmp_path_factory.mktemp("ways") / "audited", certificate, PERIOD)
    yield stage
    stage.close()


def prepared(way):
    """What a client does on its side of this way, once it has named it."""
    if "tls" not in way:
        return lambda client: client
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def shake_hands(client):
        secure = context.wrap_socket(client)
        return secure.unwrap() if way == "unwrap_tls" else secure

    return shake_hands


def end(stage, way, client):
    """The second step: the last handle goes."""
    if way == "end_the_thread_that_reads":
        client.sendall(b"end")
    stage.go()
    stage.hear(b"gone\n")
    if stage.taken is not None:
        taken, stage.taken = stage.taken, None
        socket.close(taken)


def test_every_way_is_tested():
    assert len(WAYS) >= 18 and WAYS.keys() > SEEN_BY_THE_KERNEL | ENDS_THE_SERVER


@pytest.mark.parametrize("way", SEEN_BY_THE_SERVER)
def test_the_server_itself_sees_it(unaudited, way):
    """Without any audit."""
    stage = unaudited
    with stage.begin(way, prepare=prepared(way)) as client:
        stage.stays(1, 0.1)
        end(stage, way, client)
        stage.becomes(0)


@pytest.mark.parametrize("way", SEEN_BY_THE_SERVER)
def test_an_audit_keeps_an_open_connection(audited, way):
    stage = audited
    with stage.begin(way, prepare=prepared(way)) as client:
        stage.stays(1, 3 * PERIOD)
        end(stage, way, client)
        stage.becomes(0)


@pytest.mark.parametrize("way", sorted(SEEN_BY_THE_KERNEL))
def test_the_audit_sees_it(audited, way):
    stage = audited
    with stage.begin(way) as client:
        stage.stays(1, 3 * PERIOD)
        end(stage, way, client)
        stage.becomes(0)


@pytest.mark.parametrize("way", sorted(SEEN_BY_THE_KERNEL))
def test_without_an_audit_it_is_not_noticed(unaudited, way):
    stage = unaudited
    with stage.begin(way) as client:
        stage.stays(1, 0.1)
        end(stage, way, client)
        stage.stays(1, 2 * GONE)
    stage.replace_server()


def half_close(client):
    client.shutdown(socket.SHUT_WR)


def close(client):
    client.close()


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("leave", [half_close, close, reset])
@pytest.mark.parametrize("audit", ["audited", "unaudited"])
def test_a_client_that_has_left_is_counted_while_the_server_holds_it(request, audit, leave):
    stage = request.getfixturevalue(audit)
    with stage.begin("close") as client:
        leave(client)
        stage.stays(1, 3 * PERIOD)
        end(stage, "close", client)
        stage.becomes(0)


@pytest.mark.parametrize("way", sorted(ENDS_THE_SERVER))
def test_the_end_of_the_server_is_that_of_its_clients(unaudited, way):
    stage = unaudited
    before = stage.pid()
    with stage.begin(way) as client:
        stage.stays(1, 0.1)
        stage.go()
        assert client.recv(1) == b""
        eventually(lambda: sum(server["clients"] or 0 for server in stage.instance.servers()) == 0, "0")
        stage.expect_server()
        assert stage.pid() != before


def test_the_status_command_agrees(unaudited):
    stage = unaudited
    with stage.begin("close") as client:
        ((server,),) = [cls["servers"] for cls in stage.instance.status_by_command()["classes"]]
        assert server["clients"] == 1
        end(stage, "close", client)
        stage.becomes(0)
        ((server,),) = [cls["servers"] for cls in stage.instance.status_by_command()["classes"]]
        assert server["clients"] == 0


BENT = "from maitred.shell.inside.connections import Connections\nConnections.closed = lambda self, connection: None\n"


def test_a_server_that_notices_no_end_does_not_pass(tmp_path, certificate):
    (tmp_path / "sitecustomize.py").write_text(BENT)
    stage = Stage(tmp_path / "bent", certificate, NEVER, environment={"PYTHONPATH": str(tmp_path)})
    try:
        with stage.begin("close") as client:
            end(stage, "close", client)
            with pytest.raises(AssertionError, match="it counts 1"):
                stage.becomes(0, GONE)
    finally:
        stage.replace_server()  # it would be waited for at the end
        stage.close()
