"""What an operator, a program or a stranger may get wrong: each has its message and outcome, and none takes all down.

Exit codes: 1 where an address cannot be listened on, 2 where the configuration cannot be used, 3 where the program
cannot work.
"""

import contextlib
import json
import os
import random
import re
import resource
import socket
import struct
import time

import pytest
from tests.machine import PATIENCE, free_port
from tests.processes import alive
from tests.system.harness import (
    SERVERS,
    Guest,
    Instance,
    cpu_seconds,
    eventually,
    greeter,
    refused,
    write_config,
)

pytestmark = pytest.mark.system


def simple(port, static=2):
    """The command line of so many greeters."""
    return ("-b", f"127.0.0.1:{port}", "--static", static, SERVERS / "greeter.py", f"127.0.0.1:{port}")


def script(directory, text):
    path = directory / "program.py"
    path.write_text(text)
    return path


def doomed(maitred, code, *arguments):
    """Start what cannot work; its log once it has ended with this exit code."""
    instance = maitred(*arguments, ready=False)
    instance.expected = code
    if code == 2:
        instance.replays = False  # it never began
    assert instance.wait() == code, instance.log
    return instance.log


# ---------------------------------------------------------------- the address


def test_a_port_in_use(maitred):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        log = doomed(maitred, 1, *simple(port))

    assert re.search(rf"^maitred: .*cannot listen on 127\.0\.0\.1:{port}: .*in use$", log, re.MULTILINE), log
    assert log.splitlines()[-1].endswith(f"cannot listen on 127.0.0.1:{port}: Address already in use")


def test_an_address_that_is_not_of_this_machine(maitred):
    port = free_port()

    log = doomed(maitred, 1, "-b", f"192.0.2.1:{port}", SERVERS / "greeter.py", f"192.0.2.1:{port}")

    assert re.search(rf"^maitred: .*cannot listen on 192\.0\.2\.1:{port}: ", log, re.MULTILINE), log


# ---------------------------------------------------------------- the program


def test_a_program_that_fails_at_import(maitred, tmp_path):
    program = script(tmp_path, "import a_module_that_nobody_has\n")

    log = doomed(maitred, 3, "-b", f"127.0.0.1:{free_port()}", "--static", 2, program)

    assert "ModuleNotFoundError: No module named 'a_module_that_nobody_has'" in log, "the program's own words"
    assert str(program) in log
    assert "no server has ever become ready" in log
    assert "/maitred/shell/" not in log, "the traceback is the program's alone"


def test_a_program_that_exits_at_once(maitred, tmp_path):
    program = script(tmp_path, "raise SystemExit(7)\n")

    log = doomed(maitred, 3, "-b", f"127.0.0.1:{free_port()}", "--static", 2, program)

    assert "no server has ever become ready" in log
    assert "7" in log, "the exit code is told"
    assert "Traceback" not in log


def test_a_program_that_never_listens(maitred, tmp_path):
    port = free_port()
    program = script(tmp_path, "import time\ntime.sleep(1000)\n")
    cls = {"name": "mute", "script": str(program), "listen": f"127.0.0.1:{port}", "static": 1}
    config = write_config(tmp_path / "c.toml", [cls], start_warning=0.3)

    instance = maitred("--config", config, ready=False)
    warning = instance.wait_log(r".*does not listen.*")[0]

    assert f"127.0.0.1:{port}" in warning or f" {port}" in warning, warning
    pid = instance.servers()[0]["pid"]
    assert alive(pid) and instance.process.poll() is None
    assert instance.servers()[0]["state"] == "starting"


def test_a_program_that_listens_elsewhere_than_configured(maitred, tmp_path):
    configured, own = free_port(), free_port()
    config = write_config(
        tmp_path / "c.toml", [{**greeter(own, static=1), "listen": f"127.0.0.1:{configured}"}], start_warning=0.3
    )

    instance = maitred("--config", config, ready=False)
    told = instance.wait_log(rf"^.*\b{own}\b.*\b{configured}\b.*$|^.*\b{configured}\b.*\b{own}\b.*$")[0]

    assert "listen" in told or "bind" in told or "bound" in told, told
    assert instance.process.poll() is None
    eventually(lambda: not refused(own), "it is warned of once it has bound; it listens a little later")
    with socket.create_connection(("127.0.0.1", own), PATIENCE) as client:
        assert client.recv(7) == b"welcome", "the program has its port, as it would without maitred"


# ---------------------------------------------------------------- the configuration


CLASS = '[[class]]\nname = "a"\nscript = "SCRIPT"\nlisten = "127.0.0.1:PORT"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{CLASS}statics = 3\n", ("statics", "static")),
        (f'{CLASS}static = "many"\n', ("static", "many", "number")),
        (f"{CLASS}max_clients = 0\n", ("max_clients", "0", "1")),
        (f'{CLASS}elements = ["far"]\n', ("elements", "far")),
        (CLASS.replace("PORT", "70000"), ("listen", "70000", "65535")),
        (CLASS.replace("script", "#"), ("module", "script")),
        (CLASS + "[durations]\ngrace = -1\n", ("durations", "grace", "-1")),
        ("this is no TOML\n", (".toml:1:",)),
    ],
    ids=["unknown key", "nonsense", "zero", "element", "port", "no program", "negative", "no TOML"],
)
def test_a_configuration_that_cannot_be_used(maitred, tmp_path, text, told):
    file = tmp_path / "bad.toml"
    file.write_text(text.replace("SCRIPT", str(SERVERS / "greeter.py")).replace("PORT", str(free_port())))

    log = doomed(maitred, 2, "--config", file)

    assert str(file) in log
    for word in told:
        assert word in log, f"{word!r} is not in the message"
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--static", "none", "-m", "http.server"), ("--static", "none")),
        (("--max-clients", "0", "-m", "http.server"), ("--max-clients", "0")),
        (("-b", "nowhere:http", "-m", "http.server"), ("-b", "nowhere:http")),
        (("-m", "no_such_module_at_all"), ("no_such_module_at_all",)),
        (("no_such_script.py",), ("no_such_script.py",)),
        ((), ("SCRIPT",)),
    ],
    ids=["static", "max-clients", "address", "module", "script", "nothing"],
)
def test_a_command_line_that_cannot_be_used(maitred, arguments, told):
    log = doomed(maitred, 2, *arguments)

    for word in told:
        assert word in log, f"{word!r} is not in the message"
    assert "Traceback" not in log


# ---------------------------------------------------------------- garbage


@pytest.mark.parametrize(
    ("make", "told"), [(lambda path: path.symlink_to("precious"), "symbolic link"), (os.mkfifo, "no regular file")]
)
def test_a_trace_or_a_log_that_is_no_file_of_ours(maitred, tmp_path, make, told):
    """It is named, nobody waits for it, and what is behind it stays as it is."""
    port, logs = free_port(), tmp_path / "logs"
    logs.mkdir()
    for path in (tmp_path / "trace", logs / "greeters-0.log"):
        path.with_name("precious").write_text("precious")
        make(path)
    bad = Instance(tmp_path, ()).command(
        "run", "--control", tmp_path / "control", "--trace", tmp_path / "trace", *simple(port)
    )
    assert bad.returncode == 2 and f"the trace {tmp_path / 'trace'} cannot be written: it is" in bad.stderr
    assert told in bad.stderr and bad.stderr.count("\n") == 1

    config = write_config(tmp_path / "c.toml", [greeter(port, static=1)])
    config.write_text(f'log_directory = "{logs}"\n' + config.read_text())
    log = doomed(maitred, 3, "--config", config)
    assert re.search(rf"server 1 cannot be started: .*{told}.*greeters-0.log", log)
    assert {path.read_text() for path in (tmp_path / "precious", logs / "precious")} == {"precious"}


def test_garbage_from_a_server_on_its_dialog(maitred, guests):
    """What that server sends is not believed any more; the others' clients notice nothing."""
    port = free_port()
    instance = maitred(*simple(port, static=3))
    clients = [guests(port) for _ in range(3)]
    seats = {client.seated(): client for client in clients}
    distributor = instance.distributor()

    clients[0].socket.sendall(b"garbage 20\n")
    instance.wait_log("breaks the protocol again and again")  # until then it may get clients, and they end with it

    for _ in range(6):
        with guests(port) as guest:
            assert guest.seated()
            assert guest.ask("hello") == "hello"
    for server, client in seats.items():
        if client is not clients[0]:
            assert client.ask("hello") == "hello", f"a client of {server}"
    assert instance.distributor() == distributor, "the Distributor does not mind"
    instance.wait_all_ready()
    assert len(instance.servers()) == 3


def test_garbage_from_a_server_on_every_channel_it_has(maitred, guests):
    port = free_port()
    instance = maitred(*simple(port, static=2))
    guest, other = guests(port), guests(port)
    assert guest.seated() != other.seated()
    monitor, distributor = instance.process.pid, instance.distributor()

    assert guest.ask("scribble").startswith("scribbled on ")

    for _ in range(4):
        with guests(port) as newcomer:
            assert newcomer.seated()
    assert other.ask("hello") == "hello"
    assert (instance.process.pid, instance.distributor()) == (monitor, distributor)
    instance.wait_all_ready()


REQUESTS = {
    "nothing": b"",
    "half a line": b'{"request": "sta',
    "no JSON": b"status please\n",
    "binary": bytes(range(256)).replace(b"\n", b"") + b"\n",
    "not UTF-8": b'{"request": "\xff\xfe"}\n',
    "a list": b'["status"]\n',
    "a number": b"1\n",
    "unknown": b'{"request": "dance"}\n',
    "no request": b"{}\n",
    "wrong types": b'{"request": "element", "name": 7, "up": "perhaps"}\n',
    "no such element": b'{"request": "element", "name": "nowhere", "up": false}\n',
    "deep": b"[" * 100_000 + b"\n",
    "huge": b"x" * 10_000_000 + b"\n",
    "endless": b"x" * 10_000_000,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One instance for all the strangers at its control socket: it must outlive them all."""
    port = free_port()
    instance = Instance(tmp_path_factory.mktemp("shared") / "instance", simple(port)).start()
    instance.port = port
    yield instance
    instance.finish()


@pytest.mark.parametrize("request_line", REQUESTS.values(), ids=REQUESTS.keys())
def test_garbage_on_the_control_socket(shared, request_line):
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(PATIENCE)
        stranger.connect(str(shared.control))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stranger.sendall(request_line)
            if not request_line.endswith(b"\n"):
                stranger.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := stranger.recv(65_536):
                answer += part

    if answer:
        assert "error" in json.loads(answer)
    else:
        assert request_line == b"" or len(request_line) > 100_000, "a request of bearable size is answered"
    assert shared.status()["version"] == 1
    assert "Traceback" not in shared.log


def test_a_slow_stranger_holds_nobody_up(shared):
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(20)]
        for stranger in strangers:
            stranger.settimeout(PATIENCE)
            stranger.connect(str(shared.control))
            stranger.sendall(b'{"requ')

        began = time.monotonic()
        assert shared.status()["version"] == 1
        with Guest(shared.port) as guest:
            assert guest.seated()
        assert time.monotonic() - began < 30, "each of the twenty is borne for five seconds"

        for stranger in strangers:  # and none of them is kept for ever
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(4096):
                    pass


def test_random_bytes_on_the_control_socket(shared):
    rng = random.Random(6157)
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as stranger, contextlib.suppress(OSError):
            stranger.settimeout(PATIENCE)
            stranger.connect(str(shared.control))
            stranger.sendall(rng.randbytes(rng.randrange(1, 200)) + b"\n")
            if rng.random() < 0.5:
                stranger.recv(4096)

    assert shared.status()["version"] == 1
    assert "Traceback" not in shared.log


# ---------------------------------------------------------------- descriptors exhausted


def test_a_server_without_descriptors_passes_its_client_on(maitred, guests):
    """What it cannot take is refused by its endpoint and served elsewhere; the client notices nothing."""
    port = free_port()
    instance = maitred(*simple(port))
    victim, other = guests(port), guests(port)
    assert victim.seated() != other.seated()
    assert victim.ask("exhaust").startswith("exhausted")

    seats = [guests(port).seated() for _ in range(6)]

    assert set(seats) == {other.server}
    assert victim.ask("hello") == "hello"
    assert victim.ask("recover") == "recovered"
    eventually(lambda: guests(port).seated() == victim.server, "it takes clients again once it can", every=0.1)
    refused = [line for line in instance.trace.read_text().splitlines() if '"Refused"' in line]
    assert refused, "the endpoint said so"


def test_a_distributor_without_descriptors_waits_for_better_days(maitred, guests):
    port = free_port()
    instance = maitred(*simple(port))
    before = guests(port)
    before.seated()
    distributor = instance.distributor()
    soft, hard = resource.prlimit(distributor, resource.RLIMIT_NOFILE)
    used = {int(fd) for fd in os.listdir(f"/proc/{distributor}/fd")}
    lowest = next(fd for fd in range(len(used) + 1) if fd not in used)
    resource.prlimit(distributor, resource.RLIMIT_NOFILE, (lowest, hard))

    patient = [guests(port) for _ in range(3)]
    began, spent = time.monotonic(), cpu_seconds(distributor)
    assert not patient[0].is_greeted(within=2.0)
    share = (cpu_seconds(distributor) - spent) / (time.monotonic() - began)

    assert share < 0.2, "it does not spin"
    assert before.ask("hello") == "hello"
    assert instance.distributor() == distributor
    resource.prlimit(distributor, resource.RLIMIT_NOFILE, (soft, hard))
    assert all(guest.seated() for guest in patient)


def test_clients_that_reset_while_they_wait_are_forgotten(maitred, guests, tmp_path):
    port = free_port()
    instance = maitred("--config", write_config(tmp_path / "c.toml", [greeter(port, static=1, max_clients=1)]))
    served = guests(port)
    served.seated()
    rude, polite, eager = guests(port), guests(port), guests(port)
    eager.socket.sendall(b"hello 1\n")
    eager.socket.shutdown(socket.SHUT_WR)  # has asked, and waits for the answer: no hang-up
    instance.wait_waiting(3)

    rude.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rude.close()
    polite.close()

    instance.wait_waiting(1)
    served.close()
    assert eager.seated()
    assert eager.lines.readline() == b"hello 1\n"


def test_who_waits_longer_than_the_queue_timeout_is_closed(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=1, max_clients=1)], queue_timeout=0.5)
    instance = maitred("--config", config)
    served = guests(port)
    served.seated()

    late = guests(port)

    assert late.ended()
    assert instance.waiting() == 0
    assert served.ask("hello") == "hello"
