"""Programs that keep the start contract (`spec/start.md`) by themselves, and programs that do not."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from docs.start_tables import CONVERSATION
from tests.machine import PATIENCE, free_port
from tests.system.harness import eventually, write_config

from maitred.core import wire
from maitred.core.messages import BindReply, BindRequest, Client, HandOff, InitialMsg
from maitred.shell import start_contract
from maitred.shell.io import channel

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
QUICK = "--backoff-first", "0.01", "--backoff-cap", "0.05"
ENDPOINT = ROOT / "examples" / "ports" / "c" / "endpoint.c"


def compiled(path, text):
    """The C program, built with every warning an error."""
    source = path.with_suffix(".c")
    source.write_text(text)
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", path, source], check=True)
    return path


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("c") / "endpoint", ENDPOINT.read_text())


@pytest.fixture
def visitors():
    """Connect a client of the endpoint; it gives the pid of its server.  All are gone when the test ends."""
    connected = []

    def connect(port):
        one = socket.create_connection(("127.0.0.1", port), PATIENCE)
        connected.append(one)
        return one

    yield connect
    for one in connected:
        one.close()


def server_of(connection):
    """The pid that the endpoint greets with."""
    greeting = b""
    while not greeting.endswith(b"\n"):
        got = connection.recv(1)
        assert got, "the connection has ended"
        greeting += got
    return int(greeting)


def echoes(connection, line=b"over and out\n"):
    connection.sendall(line)
    return connection.recv(len(line), socket.MSG_WAITALL) == line


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


# ---------------------------------------------------------------- the endpoint in C


def counted(instance):
    """How many clients each server has, by its own count."""
    return Counter({server["pid"]: server["clients"] for server in instance.servers() if server["clients"]})


def test_it_is_short():
    assert len(ENDPOINT.read_text().splitlines()) < 300


def test_three_copies_count_their_clients_outlive_a_distributor_and_stop(maitred, endpoint, visitors):
    port = free_port()
    listen = f"127.0.0.1:{port}"
    instance = maitred("-b", listen, "--static", "3", "--max-clients", "4", "--", endpoint, listen)
    pids = {server["pid"] for server in instance.servers()}
    there = [visitors(port) for _ in range(9)]
    seats = [server_of(one) for one in there]
    assert set(seats) == pids
    assert all(map(echoes, there))
    eventually(lambda: counted(instance) == Counter(seats), lambda: (counted(instance), seats))

    for one in there[:5]:
        one.close()
    eventually(lambda: counted(instance) == Counter(seats[5:]), lambda: (counted(instance), seats[5:]))
    instance.kill(instance.distributor())
    more = [visitors(port) for _ in range(8)]  # they wait in the backlog

    assert {server_of(one) for one in more} <= pids
    assert all(map(echoes, [*there[5:], *more])), "those of before are served on"
    instance.wait_counts([4, 4, 4])
    assert {server["pid"] for server in instance.servers()} == pids

    waiting = visitors(port)
    instance.wait_waiting(1)
    more[0].close()
    server_of(waiting)

    for one in [*there, *more, waiting]:
        one.close()
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0
    assert "breaks the protocol" not in instance.log


def test_a_copy_that_is_killed_is_replaced(maitred, endpoint, visitors):
    port = free_port()
    listen = f"127.0.0.1:{port}"
    instance = maitred("-b", listen, "--static", "2", "--", endpoint, listen)
    first = server_of(visitors(port))
    instance.kill(first)
    eventually(lambda: first not in {server["pid"] for server in instance.servers()}, "its place is filled")
    instance.wait_all_ready()
    assert first not in {server_of(visitors(port)) for _ in range(4)}


def test_without_b_its_first_request_decides_the_port(maitred, endpoint, visitors):
    port = free_port()
    maitred("--static", "1", "--", endpoint, f"127.0.0.1:{port}")
    assert echoes_after_greeting(visitors(port))


def echoes_after_greeting(connection):
    return server_of(connection) > 0 and echoes(connection)


def test_a_port_of_no_class_is_declined(maitred, endpoint):
    listen, other = (f"127.0.0.1:{free_port()}" for _ in range(2))
    instance = maitred("-b", listen, "--static", "1", "--", endpoint, other, ready=False)
    instance.wait_log(r"is none of this server class: name one that is")


def test_a_client_whose_end_is_never_reported_is_found_by_the_audit(maitred, endpoint, visitors, tmp_path):
    """The Distributor knows the clients of an executable by its messages, and the kernel knows which are gone."""
    leaves = "    memcpy(left, clients[place].name, CLIENT);\n"
    assert leaves in ENDPOINT.read_text()
    bent = compiled(
        tmp_path / "bent", ENDPOINT.read_text().replace(leaves, "    clients[place].fd = -1;\n    return;\n")
    )
    port = free_port()
    instance = maitred(
        "-b", f"127.0.0.1:{port}", "--static", "1", "--audit-period", "0.2", "--", bent, f"127.0.0.1:{port}"
    )
    first, second = visitors(port), visitors(port)
    assert server_of(first) == server_of(second)
    first.close()
    instance.wait_counts([1])
    assert echoes(second)


class Counterpart:
    """The Distributor of one endpoint, in this process: it sends what a test has it send."""

    def __init__(self, endpoint, port, most=4, version=1):
        self.control, theirs = channel.pair()
        os.set_inheritable(theirs.fileno(), True)
        fields = {"control": theirs.fileno(), "server": 7, "class": 0, "main": 1, "max_clients": most}
        value = start_contract.encode({**fields, "later": {"any": ["thing"]}})
        environment = {**os.environ, start_contract.ENVIRONMENT: value.replace('"version": 1', f'"version": {version}')}
        self.process = subprocess.Popen(
            [endpoint, f"127.0.0.1:{port}"], env=environment, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE
        )
        theirs.close()
        self.dialog = None

    def receive(self, source):
        """The next packet's bytes and descriptors."""
        source.settimeout(PATIENCE)
        try:
            data, fds, _, _ = socket.recv_fds(source, wire.LIMIT, 1)
        finally:
            source.settimeout(None)
        return data, fds

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.control.close()
        if self.dialog is not None:
            self.dialog.close()


@pytest.fixture
def counterpart(endpoint):
    made = []

    def make(**options):
        made.append(Counterpart(endpoint, 8000, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


def connection():
    """Both ends of a client's connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), PATIENCE)
        return client, listener.accept()[0]


def test_its_bytes_are_those_of_the_page(counterpart):
    peer = counterpart()
    client, accepted = connection()
    with client, accepted:
        for who, on, message, _ in CONVERSATION:
            end = peer.control if on == "control" else peer.dialog
            if who == "server":
                if "Disconnect" in repr(message):
                    client.close()
                data, fds = peer.receive(end)
                assert (data, wire.decode(data)) == (wire.encode(message), message)
                if isinstance(message, BindRequest):
                    peer.dialog = channel.attach(fds[0])
            else:
                beside = [accepted.fileno()] if isinstance(message, HandOff) else []
                channel.send(end, message, beside)
                if beside:
                    accepted.close()


def opened(counterpart, **options):
    """An endpoint that has been given its port, and has answered."""
    peer = counterpart(**options)
    peer.dialog = channel.attach(peer.receive(peer.control)[1][0])
    channel.send(peer.control, BindReply(8000, 0))
    channel.send(peer.dialog, InitialMsg(1))
    return peer, wire.decode(peer.receive(peer.dialog)[0])


def test_a_hand_off_without_its_descriptor_is_refused_and_another_count_issued(counterpart):
    peer, reply = opened(counterpart)
    assert (reply.count.clients, reply.count.sequence) == (0, 1)
    channel.send(peer.dialog, HandOff(Client(5, 6, 8000)))
    refused = wire.decode(peer.receive(peer.dialog)[0])
    assert repr(refused) == "Refused(client=Client(arrival=5, cookie=6, port=8000), count=Count(clients=0, sequence=2))"


def test_a_full_dialog_is_waited_for_and_only_the_last_disconnect_is_sent(counterpart):
    """While nobody reads, neither a hand-off nor an InitialMsg is taken, and clients are served."""
    peer, _ = opened(counterpart)
    pairs = [connection() for _ in range(3)]
    for number, (client, accepted) in enumerate(pairs):
        channel.send(peer.dialog, HandOff(Client(number, number, 8000)), [accepted.fileno()])
        accepted.close()
        peer.receive(peer.dialog)
        server_of(client)
    asked = 0
    for _ in range(500):  # each is answered, until the answers fill the socket; then they fill the other direction
        try:
            channel.send(peer.dialog, InitialMsg(1))
        except BlockingIOError:
            break
        asked += 1
        time.sleep(0.001)
    assert echoes(pairs[0][0])
    for client, _ in pairs[1:]:
        client.close()
    assert echoes(pairs[0][0])
    answers = [wire.decode(peer.receive(peer.dialog)[0]) for _ in range(asked + 1)]
    sequences = [answer.count.sequence for answer in answers]
    assert sequences == sorted(set(sequences)), "they rise"
    left = [answer for answer in answers if "Disconnect" in repr(answer)]
    assert [answer.count.clients for answer in left] == [1]
    pairs[0][0].close()


def test_it_serves_on_when_its_dialog_has_ended_and_then_ends(counterpart):
    peer, _ = opened(counterpart)
    client, accepted = connection()
    channel.send(peer.dialog, HandOff(Client(0, 1, 8000)), [accepted.fileno()])
    accepted.close()
    assert server_of(client) == peer.process.pid
    peer.dialog.close()
    assert echoes(client)
    assert peer.process.poll() is None
    client.close()
    assert peer.process.wait(PATIENCE) == 0


def test_it_asks_for_its_port_again_until_it_is_answered(counterpart):
    peer = counterpart()
    first, again = (peer.receive(peer.control) for _ in range(2))
    assert first[0] == again[0]
    ends = [os.fstat(fds[0]).st_ino for _, fds in (first, again)]
    assert ends[0] == ends[1], "the same end of the same dialog"
    for _, fds in (first, again):
        os.close(fds[0])


def test_another_version_of_the_contract_ends_it_with_a_line(counterpart):
    peer = counterpart(version=2)
    assert peer.process.wait(PATIENCE) == 1
    assert b"the start contract has version 2; 1 is known here" in peer.process.stderr.read()


# ---------------------------------------------------------------- what a program finds


def test_a_program_finds_what_the_contract_says(maitred, tmp_path):
    probe = script(
        tmp_path / "probe",
        "#!/bin/sh\nrm -f seen\nls -l /proc/$$/fd > fds\n"
        'echo "$MAITRED_SERVER" > value; grep ^Sig /proc/$$/status > signals; echo "$$ $*" > seen; exec sleep 600\n',
    )
    cls = {"name": "probes", "program": [str(probe), "--copy", "{server}"], "static": 1, "directory": str(tmp_path)}
    maitred("--config", write_config(tmp_path / "c.toml", [cls]), ready=False)
    eventually(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text(), "the program has begun")

    pid, *arguments = (tmp_path / "seen").read_text().split()
    assert arguments == ["--copy", "1"]
    found = json.loads((tmp_path / "value").read_text())
    assert list(found) == [field.name for field in start_contract.FIELDS]
    assert (found["version"], found["class"], found["main"]) == (start_contract.VERSION, 0, int(pid))
    fds = dict(re.findall(r" (\d+) -> (.*)", (tmp_path / "fds").read_text()))
    sockets = {int(number) for number, target in fds.items() if target.startswith("socket:")}
    assert sockets == {found["control"]}
    assert {number for number in map(int, fds) if number < 10} == {0, 1, 2, found["control"]}, "the shell has more"
    masks = dict(re.findall(r"(Sig\w+):\s+(\w+)", (tmp_path / "signals").read_text()))
    of_the_c_library = 3 << 31  # 32 and 33 (nptl(7)): no process can set what they do
    assert (int(masks["SigIgn"], 16) | int(masks["SigBlk"], 16)) & ~of_the_c_library == 0


# ---------------------------------------------------------------- programs that do not keep it


def test_a_program_that_asks_for_nothing_is_named(maitred, tmp_path):
    listen = f"127.0.0.1:{free_port()}"
    mute = script(tmp_path / "mute", "#!/bin/sh\nexec sleep 600\n")
    instance = maitred("-b", listen, "--static", "1", "--start-warning", "0.3", "--", mute, ready=False)
    instance.wait_log(rf"server 1 of mute, {mute}: it has not asked for a port on its control socket: does it keep the")
    assert instance.log.count("has not asked for a port") == 1, "once for the class"
    assert "control socket: does it keep" in instance.server_class()["obstacles"][0]


def test_a_program_that_ends_without_asking_is_given_up_with_the_reason(maitred, tmp_path):
    listen = f"127.0.0.1:{free_port()}"
    instance = maitred("-b", listen, "--static", "1", *QUICK, "--", "/bin/true", ready=False)
    instance.expected = 3
    assert instance.wait() == 3
    assert re.search(r"stopped: true: no server has ever become ready; it has not asked for a port", instance.log)


def test_what_the_kernel_does_not_run_is_reported_in_words(maitred, tmp_path):
    listen = f"127.0.0.1:{free_port()}"
    broken = tmp_path / "broken"
    broken.write_bytes(Path("/proc/self/exe").read_bytes()[:64])  # the head of a program, and no more of it
    broken.chmod(0o755)
    instance = maitred("-b", listen, "--static", "1", "--", broken, ready=False)
    instance.wait_log(rf"server 1 cannot be started: {broken}\b.*")
    assert "Traceback" not in instance.log
