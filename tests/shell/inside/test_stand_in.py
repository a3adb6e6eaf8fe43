"""The stand-in inside real programs: what they see of their sockets, and what the Distributor receives of them.

Each program is a file of ordinary Python, started as the Monitor starts it; it prints what it sees, and a test compares
that with what plain Python would have printed.
"""

import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.shell.fake import assert_counts_together, behind, eventually, script

from maitred.core.messages import (
    Accepted,
    BindRequest,
    Disconnect,
    HandOff,
    InitialMsg,
    NotReady,
    Refused,
    RestartReply,
)
from maitred.shell.inside import addresses
from maitred.shell.io import channel

pytestmark = pytest.mark.system
SERVERS = Path(__file__).resolve().parents[2] / "system" / "servers"


def lines(program, count):
    """The first lines that the program has printed."""
    eventually(lambda: program.output.count(b"\n") >= count or program.process.poll() is not None)
    eventually(lambda: program.output.count(b"\n") >= count or not program._reader.is_alive())
    return program.output.decode().splitlines()


def told(program):
    """What a program that prints one JSON value prints."""
    code = program.wait()
    assert code == 0, program.output.decode()
    return json.loads(program.output.decode().splitlines()[-1])


# ================================================================ whole servers

KEPT = "--timeout-keep-alive 60"
LINES = f"script {SERVERS}/lines.py KIND 127.0.0.1 PORT"
MAKES = {
    "http.server": (f"script {SERVERS}/http_threading.py 127.0.0.1 PORT", "http", 3),
    "socketserver-plain": (LINES.replace("KIND", "plain"), "lines", 1),
    "socketserver-threading": (LINES.replace("KIND", "threading"), "lines", 3),
    "socketserver-forking": (LINES.replace("KIND", "forking"), "lines", 3),
    "wsgiref": (f"script {SERVERS}/wsgi_simple.py 127.0.0.1 PORT", "http-once", 1),
    "asyncio": (f"script {SERVERS}/streams.py 127.0.0.1 PORT", "lines", 3),
    "uvicorn": (
        f"-m uvicorn --loop asyncio --http h11 --port PORT --app-dir {SERVERS} {KEPT} applications:asgi",
        "http",
        3,
    ),
    "gunicorn": (
        f"-m gunicorn -b 127.0.0.1:PORT -k gthread --threads 8 --keep-alive 60 --pythonpath {SERVERS}"
        " applications:wsgi",
        "http",
        3,
    ),
}


def ask(client, protocol):
    """What the server sends of its client: the peer's address as it sees it."""
    if protocol == "lines":
        return json.loads(client.makefile("rb").readline())["peer"]
    connection = http.client.HTTPConnection("server")
    connection.sock = client
    connection.request("GET", "/")
    return json.loads(connection.getresponse().read())["peer"]


@pytest.mark.parametrize("make", MAKES)
def test_the_count_follows_every_client(make):
    command, protocol, at_once = MAKES[make]
    port = free_port()
    with behind(*command.replace("PORT", str(port)).split()) as (distributor, program):
        distributor.ready(port)
        assert [bind.address for bind in distributor.binds] == [f"127.0.0.1:{port}"]
        clients = []
        for n in range(at_once):
            client, _, count = distributor.seat(port)
            assert count == n + 1
            me = list(client.getsockname())
            peer = ask(client, protocol)
            assert peer[0] == me[0] and (protocol == "http-once" or peer == me)
            clients.append(client)
        if protocol == "lines":
            for client in clients:
                client.sendall(b"still here\n")
                assert client.makefile("rb").readline() == b"still here\n"
        if protocol != "http-once":
            assert distributor.quiet(0.1) == []
        for n in reversed(range(at_once)):
            clients.pop().close()
            assert distributor.next(Disconnect).count.clients == n
        assert distributor.registry.clients() == ()
        assert program.process.poll() is None


def test_a_forking_server_under_many_short_clients_counts_to_zero():
    port = free_port()
    with behind("script", SERVERS / "lines.py", "forking", "127.0.0.1", port) as (distributor, _):
        distributor.ready(port)
        for _ in range(40):
            client, _, _ = distributor.seat(port)
            client.close()
        distributor.until(lambda: sum(isinstance(m, Disconnect) for _, m in distributor.received) == 40)
        assert distributor.registry.clients() == ()
        last = max((m.count for _, m in distributor.received), key=lambda count: count.sequence)
        assert last.clients == 0


# ================================================================ accept

ACCEPT = """
import json, os, socket, sys, time
port, mode = int(sys.argv[1]), sys.argv[2]
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen()
if mode == "nonblocking":
    listener.setblocking(False)
elif mode != "blocking":
    listener.settimeout(float(mode))
if len(sys.argv) > 3:
    socket.setdefaulttimeout(float(sys.argv[3]))
print("listening", flush=True)
seen = []
while True:
    began = time.monotonic()
    try:
        connection, address = listener.accept()
        break
    except OSError as error:
        seen.append([type(error).__name__, error.errno, str(error), round(time.monotonic() - began, 1)])
        if mode != "blocking":
            time.sleep(0.05)
print(json.dumps({
    "errors": seen[:1], "type": type(connection) is socket.socket, "repr": type(connection).__name__,
    "address": address, "peer": connection.getpeername(), "timeout": connection.gettimeout(),
    "blocking": os.get_blocking(connection.fileno()), "inheritable": connection.get_inheritable(),
    "family": connection.family, "kind": connection.type, "proto": connection.proto,
}))
connection.close()
"""


@pytest.mark.parametrize(
    ("mode", "default", "errors"),
    [
        ("blocking", None, []),
        ("nonblocking", None, [["BlockingIOError", 11, "[Errno 11] Resource temporarily unavailable", 0.0]]),
        ("0.3", None, [["TimeoutError", None, "timed out", 0.3]]),
        ("nonblocking", 7.5, [["BlockingIOError", 11, "[Errno 11] Resource temporarily unavailable", 0.0]]),
        ("blocking", 7.5, []),
    ],
)
def test_accept_is_that_of_a_real_listener(tmp_path, mode, default, errors):
    port = free_port()
    program = script(tmp_path, ACCEPT)
    arguments = [port, mode] + ([default] if default else [])
    with behind("script", program, *arguments) as (distributor, running):
        distributor.ready(port)
        lines(running, 1)
        time.sleep(0.5)
        client, connection, who = distributor.connect(port)
        connection.setblocking(False)  # as a Distributor may have it; the two share the flag
        channel.send(distributor.dialogs[port], HandOff(who), [connection.fileno()])
        distributor.next(Accepted)
        connection.close()
        assert told(running) == {
            "errors": errors,
            "type": True,
            "repr": "socket",
            "address": list(client.getsockname()),
            "peer": list(client.getsockname()),
            "timeout": default,
            "blocking": default is None,
            "inheritable": False,
            "family": socket.AF_INET,
            "kind": socket.SOCK_STREAM,
            "proto": 0,
        }


def test_a_connection_has_its_own_family(tmp_path):
    """The address of -b may be IPv6 where the program binds IPv4; the connection then is an IPv6 one."""
    port = free_port()
    with behind("script", script(tmp_path, ACCEPT), port, "blocking") as (distributor, running):
        distributor.ready(port)
        client, _, _ = distributor.seat(port, socket.AF_INET6)
        seen = told(running)
        assert seen["family"] == socket.AF_INET6
        assert seen["peer"] == list(client.getsockname())


POLLING = """
import select, socket, sys
port, how = int(sys.argv[1]), sys.argv[2]
listener = socket.socket()
listener.bind(("127.0.0.1", port))
listener.setblocking(False)
if how == "epoll":
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)  # before listen, as some do
elif how == "poll":
    poll = select.poll()
    poll.register(listener, select.POLLIN)
listener.listen()

def ready(seconds):
    if how == "select":
        return bool(select.select([listener], [], [], seconds)[0])
    return bool(poll.poll(seconds if how == "epoll" else seconds * 1000))

print("idle", ready(0.2), flush=True)
print("client", ready(10), flush=True)
connection, _ = listener.accept()
print("after", ready(0.2), flush=True)
"""


@pytest.mark.parametrize("how", ["select", "poll", "epoll"])
def test_only_a_hand_off_wakes_a_poll(tmp_path, how):
    port = free_port()
    with behind("script", script(tmp_path, POLLING), port, how) as (distributor, running):
        distributor.ready(port)
        assert lines(running, 1) == ["idle False"]
        distributor.seat(port)
        assert lines(running, 3) == ["idle False", "client True", "after False"]


# ================================================================ what a listener reports of itself

LISTENER = """
import json, os, socket, sys, threading
port = int(sys.argv[1])
seen = {}

def of(work, *args):
    try:
        value = work(*args)
    except OSError as error:
        return [type(error).__name__, error.errno]
    return list(value) if isinstance(value, tuple) else value

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.settimeout(3)
listener.set_inheritable(True)
number = listener.fileno()
listener.bind(("localhost", port))
seen["same fd"] = listener.fileno() == number
seen["name"] = listener.getsockname()
seen["accept before listen"] = of(listener.accept)
seen["bound blocking"] = os.get_blocking(number)
seen["acceptconn before"] = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
seen["bind again"] = of(listener.bind, ("localhost", port))
listener.listen()
seen["acceptconn"] = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
seen["reuseaddr"] = listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
seen["type"] = listener.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, b"\\x01" + bytes(15))
listener.settimeout(None)
seen["recv"] = of(listener.recv, 1)
seen["recv_into"] = of(listener.recv_into, bytearray(1))
seen["send"] = of(listener.send, b"x")
listener.settimeout(3)
seen["peer"] = of(listener.getpeername)
seen["timeout"] = listener.gettimeout()
seen["not blocking"] = os.get_blocking(number)
seen["inheritable"] = listener.get_inheritable()
seen["kind"] = [listener.family, listener.type, listener.proto]
seen["class"] = [type(listener).__name__, type(listener).__module__, isinstance(listener, socket.socket)]
seen["repr"] = repr(listener).replace(str(port), "PORT").replace(f"fd={number}", "fd=N")
other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
seen["second bind"] = of(other.bind, ("127.0.0.1", port))
seen["wildcard bind"] = of(other.bind, ("", port))
seen["bad host"] = of(socket.socket().bind, ("192.0.2.1", port))
seen["threads"] = [threading.active_count(), len(os.listdir("/proc/self/task"))]
seen["environment"] = "MAITRED_SERVER" in os.environ
seen["shutdown"] = of(listener.shutdown, socket.SHUT_RDWR)
seen["accept after shutdown"] = of(listener.accept)
listener.close()
seen["closed"] = [of(listener.accept), of(listener.getsockname), of(listener.listen), listener.fileno()]
print(json.dumps(seen))
"""


def test_a_listener_answers_as_a_real_one(tmp_path):
    """The same program, behind a Distributor and plain: it cannot see the difference."""
    port = free_port()
    program = script(tmp_path, LISTENER)
    plain = subprocess.run(
        [sys.executable, program, str(port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    with behind("script", program, port) as (distributor, running):
        distributor.until(lambda: running.process.poll() is not None)
        seen, expected = told(running), json.loads(plain.stdout)
    assert len(expected) >= 26
    assert seen == expected
    kinds = [type(m) for _, m in distributor.received]
    assert kinds[:2] == [NotReady, RestartReply] and NotReady in kinds[2:]


UNTOUCHED = """
import json, os, socket, sys
port, taken = int(sys.argv[1]), int(sys.argv[2])
seen = {}
own = socket.socket()
own.bind(("127.0.0.1", 0))
own.listen()
client = socket.create_connection(own.getsockname())
server, address = own.accept()
client.sendall(b"plain")
seen["plain"] = [server.recv(10).decode(), address == client.getsockname(), type(own) is socket.socket]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", port))
seen["udp"] = list(udp.getsockname()) == ["127.0.0.1", port]
unix = socket.socket(socket.AF_UNIX)
unix.bind("\\0maitred-test-%d" % os.getpid())
unix.listen()
yourself = socket.socket()
yourself.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
yourself.bind(("127.0.0.1", port))
yourself.listen()
seen["yourself"] = [type(yourself) is socket.socket, yourself.getsockname()[1] == port]
peer = socket.create_connection(("127.0.0.1", port))
seen["accepted"] = yourself.accept()[1] == peer.getsockname()
host = "127.0.0.1"
for address in ((host, taken), (host, "x"), (host, 70000), host, ("no.such.host.invalid", port)):
    try:
        socket.socket().bind(address)
    except Exception as error:
        seen[str(address)[:20].replace(str(taken), "TAKEN")] = [type(error).__name__, getattr(error, "errno", None)]
print(json.dumps(seen))
"""


def test_all_other_sockets_are_untouched(tmp_path):
    port, taken = free_port(), free_port()
    program = script(tmp_path, UNTOUCHED)
    with socket.create_server(("127.0.0.1", taken)), behind("script", program, port, taken) as (distributor, running):
        distributor.bind_errno = {port: -1, taken: 98}
        distributor.until(lambda: running.process.poll() is not None)
        seen = told(running)
        plain = subprocess.run(
            [sys.executable, program, str(port), str(taken)], capture_output=True, text=True, timeout=60, check=True
        )
    assert seen == json.loads(plain.stdout)
    assert [bind.port for bind in distributor.binds] == [port, taken]
    assert distributor.received == []


TWO_FAMILIES = """
import asyncio, sys
async def tell(reader, writer):
    writer.write(repr(writer.get_extra_info("peername")[:2]).encode() + b"\\n")
    await reader.read()
    writer.close()
async def main():
    server = await asyncio.start_server(tell, None, int(sys.argv[1]))
    print(sorted(s.getsockname()[0] for s in server.sockets), flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def test_a_second_family_on_the_port_gets_a_twin(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, TWO_FAMILIES), port) as (distributor, running):
        distributor.ready(port)
        assert lines(running, 1) == ["['0.0.0.0', '::']"]
        assert sorted(distributor.binds, key=str) == [
            BindRequest(port, f"0.0.0.0:{port}"),
            BindRequest(port, f"[::]:{port}"),
        ]
        clients = []
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_INET):
            client, _, count = distributor.seat(port, family)
            clients.append(client)
            assert count == len(clients)
            assert client.makefile("rb").readline().decode().strip() == repr(client.getsockname()[:2])


TWINS = """
import json, select, socket, sys
port = int(sys.argv[1])
listeners = []
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))
    listener.listen()
    listeners.append(listener)
print("listening", flush=True)
readable = select.select(listeners, [], [], 10)[0]
print([listeners.index(one) for one in readable], flush=True)
listeners[1].settimeout(0.2)
try:
    listeners[1].accept()
except TimeoutError:
    print("none", flush=True)
print(len(listeners[0].accept()), flush=True)
listeners[1].close()
print(len(listeners[0].accept()), flush=True)
"""


def test_a_twin_is_never_ready_and_its_close_leaves_the_port_open(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, TWINS), port) as (distributor, running):
        distributor.until(lambda: running.output == b"listening\n")
        client, _, _ = distributor.hand_off(port, socket.AF_INET6)
        assert lines(running, 4) == ["listening", "[0]", "none", "2"]
        distributor.next(Accepted)
        distributor.seat(port)
        assert lines(running, 5)[-1] == "2"
        assert running.wait() == 0
        client.close()


WRAPPED = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
listener = context.wrap_socket(socket.create_server(("127.0.0.1", int(sys.argv[1]))), server_side=True)
print(type(listener).__name__, isinstance(listener, ssl.SSLSocket), flush=True)
while True:
    connection, address = listener.accept()
    print(type(connection) is ssl.SSLSocket, flush=True)
    connection.sendall(connection.recv(100).upper())
    connection.close()
"""


def test_tls_on_the_listener(tmp_path):
    """`ssl` wraps the listener, so each accept is a handshake."""
    import ssl

    pem = tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {0} -out {0}.crt"
    subprocess.run(command.format(pem).split(), check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    port = free_port()
    with behind("script", script(tmp_path, WRAPPED), port, pem) as (distributor, running):
        distributor.ready(port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for _ in range(2):
            client, _, count = distributor.seat(port)
            assert count == 1
            with context.wrap_socket(client) as secure:
                secure.sendall(b"hello")
                assert secure.recv(100) == b"HELLO"
            assert distributor.next(Disconnect).count.clients == 0
        assert lines(running, 3) == ["SSLSocket True", "True", "True"]


# ================================================================ when is a client gone?

LIFE = """
import gc, os, signal, socket, subprocess, sys, time
port, how, go = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def proceed():
    print("first", flush=True)
    while not os.path.exists(go):
        time.sleep(0.01)
listener = socket.socket()
listener.bind(("127.0.0.1", port))
listener.listen()
print("listening", flush=True)
connection, _ = listener.accept()
"""
LIVES = {
    "close": ("", "connection.close()"),
    "makefile outlives close": ("f = connection.makefile(); connection.close()", "f.close()"),
    "dropped": ("other = connection; del connection", "del other"),
    "dropped in a cycle": ("l = [connection]; l.append(l); del connection", "del l; gc.collect()"),
    "detach, os.close": ("n = connection.detach(); del connection", "os.close(n)"),
    "detach, adopted": ("other = socket.socket(fileno=connection.detach())", "other.close()"),
    "adopted by number, dropped": ("other = socket.socket(fileno=connection.detach())", "del other"),
    "dup": ("other = connection.dup(); connection.close()", "other.close()"),
    "dup closed first": ("connection.dup().close()", "connection.close()"),
    "fromfd": (
        "other = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM); connection.close()",
        "other.close()",
    ),
    "os.dup": ("n = os.dup(connection.fileno()); connection.close()", "os.close(n)"),
    "os.dup2 onto it": (
        "null = os.open('/dev/null', os.O_RDONLY); n = os.dup(connection.fileno()); connection.close()",
        "os.dup2(null, n)",
    ),
    "os.dup2 elsewhere": ("os.dup2(connection.fileno(), 50); connection.close()", "os.close(50)"),
    "closerange": ("n = os.dup(connection.fileno()); connection.close()", "os.closerange(3, 1000)"),
    "shutdown is no close": ("connection.shutdown(socket.SHUT_RDWR)", "connection.close()"),
    "fork, the child closes last": (
        "r, w = os.pipe(); p = os.fork()\n"
        "if p == 0: os.close(w); os.read(r, 1); connection.close(); time.sleep(9)\n"
        "connection.close()",
        "os.close(w)",
    ),
    "fork, the parent closes last": (
        "p = os.fork()\nif p == 0: connection.close(); os._exit(0)\nos.waitpid(p, 0)",
        "connection.close()",
    ),
    "fork, os._exit without a close": (
        "r, w = os.pipe(); p = os.fork()\nif p == 0: os.close(w); os.read(r, 1); os._exit(0)\nconnection.close()",
        "os.close(w)",
    ),
    "fork, sys.exit without a close": (
        "r, w = os.pipe(); p = os.fork()\nif p == 0: os.close(w); os.read(r, 1); sys.exit(0)\nconnection.close()",
        "os.close(w)",
    ),
    "multiprocessing": (
        "import multiprocessing; c = multiprocessing.get_context('fork'); e = c.Event()\n"
        "p = c.Process(target=e.wait); p.start(); connection.close()",
        "e.set(); p.join()",
    ),
    "a subprocess in between": ("subprocess.run(['true'])", "connection.close()"),
    "a subprocess with preexec_fn": (
        "subprocess.run(['true'], preexec_fn=lambda: os.closerange(3, 99))",
        "connection.close()",
    ),
    "a failed fork of an unknown program": (
        "try: subprocess.run(['/no/such/program'], preexec_fn=lambda: connection.close())\nexcept OSError: pass",
        "connection.close()",
    ),
    "fork and exec": (
        "if os.fork() == 0: os.execlp('sleep', 'sleep', '60')\ntime.sleep(0.1)",
        "connection.close()",
    ),
    "fork and an exec that fails": (
        "bad = __file__ + '.bad'; open(bad, 'wb').close(); os.chmod(bad, 0o700)\n"
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    try: os.execv(bad, ['bad'])\n"
        "    except OSError: os.close(w); os.read(r, 1); connection.close(); time.sleep(9)\n"
        "time.sleep(0.1); connection.close()",
        "os.close(w)",
    ),
    "os.spawnv": ("os.spawnv(os.P_NOWAIT, '/bin/sleep', ['sleep', '60']); time.sleep(0.1)", "connection.close()"),
    "os.posix_spawn": (
        "os.posix_spawn('/bin/sleep', ['sleep', '60'], {}, file_actions=[(os.POSIX_SPAWN_DUP2, 0, 1)])",
        "connection.close()",
    ),
    "a gateway's child, reaped": (
        "p = os.fork()\n"
        "if p == 0: os.dup2(connection.fileno(), 1); os.execv('/bin/sleep', ['sleep', '60'])\n"
        "connection.close()",
        "os.kill(p, 9); os.waitpid(p, 0)",
    ),
    "a killed child, reaped": (
        "p = os.fork()\nif p == 0: time.sleep(60)\nconnection.close()",
        "os.kill(p, 9); os.wait()",
    ),
    "a killed child, reaped by keywords": (
        "p = os.fork()\nif p == 0: time.sleep(60)\nconnection.close()",
        "os.kill(p, 9); os.wait4(pid=p, options=0)",
    ),
    "stdin of a program, reaped": (
        "p = subprocess.Popen(['cat'], stdin=connection, stdout=subprocess.DEVNULL); connection.close()",
        "p.kill(); p.wait()",
    ),
    "fdopen": ("f = os.fdopen(connection.detach(), 'wb')", "f.close()"),
    "fdopen as text": ("f = os.fdopen(connection.detach(), 'w')", "with f: pass"),
    "fdopen, unbuffered, dropped": ("f = os.fdopen(connection.detach(), 'wb', 0)", "del f"),
    "fdopen that is not to close": (
        "f = os.fdopen(connection.fileno(), 'rb', closefd=False); f.close(); del f",
        "connection.close()",
    ),
}
HANDED_ON = {
    "stdin of a program": (
        "p = subprocess.Popen(['cat'], stdin=connection, stdout=subprocess.DEVNULL); connection.close()",
        "p.kill(); p.wait()",
    ),
    "passed to another process": (
        "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "p = os.fork()\n"
        "if p == 0: connection.close(); f = socket.recv_fds(b, 1, 1); b.send(b'x'); time.sleep(60)\n"
        "socket.send_fds(a, [b'x'], [connection.fileno()]); b.close(); a.recv(1); connection.close()",
        "os.kill(p, 9); os.waitpid(p, 0)",
    ),
}


@pytest.mark.parametrize("how", LIVES)
def test_a_client_is_gone_with_its_last_reference_and_not_before(tmp_path, how):
    before, last = LIVES[how]
    port, go = free_port(), tmp_path / "go"
    program = script(tmp_path, f"{LIFE}\n{before}\nproceed()\n{last}\ntime.sleep(60)\n")
    with behind("script", program, port, how, go) as (distributor, running):
        distributor.ready(port)
        _, who, count = distributor.seat(port)
        assert count == 1
        eventually(lambda: b"first\n" in running.output)
        assert distributor.quiet(0.15) == []
        assert distributor.registry.clients() == (who,)
        go.touch()
        gone = distributor.next(Disconnect)
        assert (gone.client, gone.count.clients) == (who, 0)
        assert distributor.quiet(0.1) == []
        assert distributor.registry.clients() == ()


@pytest.mark.parametrize("how", HANDED_ON)
def test_a_passed_connection_is_counted_until_the_kernel_reports_its_end(tmp_path, how):
    """Nobody reports its end; the next occasion to look, here an accept that finds nobody, brings it to light."""
    before, last = HANDED_ON[how]
    port, go = free_port(), tmp_path / "go"
    looking = "listener.settimeout(0.05)\nwhile True:\n    try: listener.accept()\n    except TimeoutError: pass\n"
    program = script(tmp_path, f"{LIFE}\n{before}\nproceed()\n{last}\n{looking}")
    with behind("script", program, port, how, go) as (distributor, running):
        distributor.ready(port)
        client, who, _ = distributor.seat(port)  # kept: at its end the one who was handed it might leave
        eventually(lambda: b"first\n" in running.output)
        assert distributor.quiet(0.3) == []
        go.touch()
        assert distributor.next(Disconnect).client == who
        client.close()


def test_the_audit_finds_the_client_of_a_killed_child():
    port = free_port()
    with behind("script", SERVERS / "lines.py", "forking", "127.0.0.1", port) as (distributor, _):
        distributor.ready(port)
        client, who, _ = distributor.seat(port)
        child = json.loads(client.makefile("rb").readline())["pid"]
        assert distributor.quiet(0.1) == []
        os.kill(child, signal.SIGKILL)
        assert client.recv(10) == b""
        assert distributor.quiet(0.1) == []
        assert distributor.registry.clients() == (who,)
        channel.send(distributor.dialogs[port], InitialMsg(1, (who,)))
        distributor.until(lambda: isinstance(distributor.received[-1][1], RestartReply))
        assert distributor.received[-1][1].count.clients == 0


def test_a_descriptor_number_closed_by_c_code_can_be_reused(tmp_path):
    """`open(fd).close()` closes in C, unseen; the number then belongs to the next client."""
    program = script(
        tmp_path,
        f"{LIFE}\nopen(connection.detach(), 'rb', buffering=0).close()\n"
        "other, _ = listener.accept()\nprint('second', flush=True)\nother.close()\ntime.sleep(60)\n",
    )
    port = free_port()
    with behind("script", program, port, "x", "x") as (distributor, _):
        distributor.ready(port)
        _, first, _ = distributor.seat(port)
        time.sleep(0.2)
        _, second, _ = distributor.seat(port)
        gone = {distributor.next(Disconnect).client, distributor.next(Disconnect).client}
        assert gone == {first, second}
        assert distributor.registry.clients() == ()


# ================================================================ the rough side

EXHAUSTED = """
import os, resource, socket, sys, time
port, go = int(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("127.0.0.1", port))
hoard = []
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    while True:
        hoard.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    print("exhausted", flush=True)
listener.settimeout(0.5)
while True:
    try:
        connection, _ = listener.accept()
        break
    except TimeoutError:
        if hoard and os.access(go, os.F_OK):
            while hoard:
                os.close(hoard.pop())
            print("recovered", flush=True)
connection.sendall(b"served")
connection.close()
time.sleep(60)
"""


def test_without_a_free_descriptor_the_client_is_refused_and_the_program_goes_on(tmp_path):
    port, go = free_port(), tmp_path / "go"
    with behind("script", script(tmp_path, EXHAUSTED), port, go) as (distributor, running):
        distributor.ready(port)
        lines(running, 1)
        client, connection, who = distributor.hand_off(port)
        refused = distributor.next(Refused)
        assert (refused.client, refused.count.clients) == (who, 0)
        go.touch()
        lines(running, 2)
        channel.send(distributor.dialogs[port], HandOff(who), [connection.fileno()])
        connection.close()
        assert distributor.next(Accepted).client == who
        assert client.recv(100) == b"served"
        assert distributor.next(Disconnect).count.clients == 0


def test_garbage_on_the_dialog_does_not_disturb_the_program():
    port = free_port()
    with behind("script", SERVERS / "lines.py", "threading", "127.0.0.1", port) as (distributor, running):
        distributor.ready(port)
        for garbage in (b"\xff", b"", b"\x02", b"\x01" * 70_000):
            socket.send_fds(distributor.dialogs[port], [garbage], [0])
        distributor.control.send(b"garbage")
        client, _, count = distributor.seat(port)
        assert count == 1 and json.loads(client.makefile("rb").readline())["pid"] == running.process.pid
        client.close()
        assert distributor.next(Disconnect).count.clients == 0


CLOSING = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
listener.close()
print("closed", flush=True)
time.sleep(0.3)
again = socket.socket()
again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
again.bind(("127.0.0.1", int(sys.argv[1])))
again.listen()
connection, _ = again.accept()
connection.sendall(b"again")
"""


def test_a_closed_listener_refuses_and_is_not_ready_until_it_is_opened_again(tmp_path):
    port, go = free_port(), tmp_path / "go"
    with behind("script", script(tmp_path, CLOSING), port, go) as (distributor, running):
        distributor.ready(port)
        lines(running, 1)
        _, _, who = distributor.hand_off(port)
        go.touch()
        assert distributor.next(Refused).client == who
        distributor.until(lambda: any(isinstance(m, NotReady) and not m.incarnation for _, m in distributor.received))
        eventually(lambda: b"closed" in running.output)
        distributor.until(lambda: isinstance(distributor.received[-1][1], RestartReply))
        said = [m for _, m in distributor.received]
        assert [m.incarnation for m in said if isinstance(m, NotReady)] == [1, 0, 1]
        client, _, count = distributor.seat(port)
        assert count == 1 and client.recv(10) == b"again"


BUSY = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    connection.recv(1)
    connection.close()
"""


def test_a_busy_server_answers_an_initial_msg_late(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, BUSY), port) as (distributor, _):
        distributor.ready(port)
        client, _, _ = distributor.seat(port)
        distributor.incarnation = 2
        channel.send(distributor.dialogs[port], InitialMsg(2))
        assert distributor.quiet(0.2) == []
        client.sendall(b"x")
        assert distributor.next(Disconnect).count.clients == 0
        distributor.until(lambda: isinstance(distributor.received[-1][1], RestartReply))
        reply = distributor.received[-1][1]
        assert (reply.incarnation, reply.count.clients) == (2, 0)


PREFORK = """
import os, select, socket, sys, time
port, go, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
listener = socket.create_server(("127.0.0.1", port))
listener.setblocking(False)
workers = []
for _ in range(2):
    worker = os.fork()
    if worker == 0:
        while True:
            select.select([listener], [], [])
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            if connection.recv(1) == b"q":
                connection.close()
                listener.close()
                os._exit(0)
            connection.sendall(b"%d" % os.getpid())
            connection.close()
    workers.append(worker)
if kind == "parent closes":
    listener.close()
print("forked", flush=True)
while workers:
    workers.remove(os.wait()[0])
    print("worker ended", flush=True)
    if not workers:
        listener.close()
        print("all ended", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["parent keeps", "parent closes"])
def test_forked_workers_are_one_server_and_the_last_to_close_ends_the_listening(tmp_path, kind):
    port = free_port()
    with behind("script", script(tmp_path, PREFORK), port, "x", kind) as (distributor, running):
        distributor.ready(port)
        lines(running, 1)
        distributor.until(lambda: isinstance(distributor.received[-1][1], RestartReply))
        for _ in range(6):
            client, _, count = distributor.seat(port)
            client.sendall(b"x")
            assert count == 1 and int(client.recv(20)) != running.process.pid
            assert distributor.next(Disconnect).count.clients == 0
        mark = len(distributor.received)
        client, _, _ = distributor.seat(port)
        client.sendall(b"q")
        lines(running, 2)
        client, _, count = distributor.seat(port)
        assert count == 1
        client.sendall(b"q")
        eventually(lambda: b"all ended" in running.output)
        distributor.quiet(0.3)
        said = [m for _, m in distributor.received[mark:]]
        firsts = [i for i, m in enumerate(said) if isinstance(m, NotReady)]
        accepted = [i for i, m in enumerate(said) if isinstance(m, Accepted)]
        assert firsts and (kind == "parent closes" or firsts[0] > accepted[-1])
        with distributor.registry.locked():
            assert not distributor.registry.load().listeners[port].listening


FORKS_LATE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
first, _ = listener.accept()
read, write = os.pipe()
if os.fork() == 0:
    second, _ = listener.accept()
    os.write(write, b"x")
    second.recv(1)
    os._exit(0)
os.read(read, 1)
third, _ = listener.accept()
third.recv(1)
"""


def test_a_forked_child_and_its_parent_have_one_count(tmp_path):
    """The parent has served alone before."""
    assert_counts_together(script(tmp_path, FORKS_LATE))


def test_the_program_does_not_spin_when_the_dialog_has_ended():
    port = free_port()
    with behind("script", SERVERS / "streams.py", "127.0.0.1", port) as (distributor, running):
        distributor.ready(port)
        client, _, _ = distributor.seat(port)
        assert client.recv(100)
        distributor.dialogs.pop(port).close()
        distributor.control.close()
        time.sleep(0.2)
        before = _cpu(running.process.pid)
        time.sleep(0.5)
        assert _cpu(running.process.pid) - before < 0.1
        client.sendall(b"still served\n")
        assert client.recv(100) == b"still served\n"


def _cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


BEQUEST = """
import json, socket, sys
port, family, file, alone = int(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "w"), len(sys.argv) > 4
VALUES = [1, 0, 2, 3, 5, 16, 33, 500, 5000, 20000, 40000, b"reno"]
TOO_MUCH = {(1, n) for n in (4, 25, 26, 27, 44, 50, 51, 52, 57)} | {(6, n) for n in (9, 14, 19, 31, 35, 38)}
# What tells of a connection, and is no setting of it:
MOVES = {(0, 14), (0, 52), (41, 6), (41, 24), (41, 61)}
MOVES |= {(1, n) for n in (49, 55, 56)} | {(6, n) for n in (11, 12, 24, 26, 28)}
# What is settled before there is a connection: segment size, keeping the first packet, fast open.
BEFORE = {(6, 2), (6, 27), (6, 34)}
NUMBERS = [(level, number) for level in (1, 0, 41, 6) for number in range(1, 64 if level == 0 else 90)
           if (level, number) not in TOO_MUCH | BEFORE and not (level == 41 and number in (64, 65, 68, 69))]
def read(sock, level, number):
    try: return sock.getsockopt(level, number, 64)
    except OSError: return None
def all_of(sock):
    return {f"{level} {number}": str(read(sock, level, number)) for level, number in NUMBERS
            if (level, number) not in MOVES}
def changed(sock, level, number):
    before = read(sock, level, number)
    for value in VALUES if before is not None else ():
        try: sock.setsockopt(level, number, value)
        except OSError: continue
        if read(sock, level, number) != before: return before
listener = socket.socket(family)
listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
listener.listen()
tried = [(0, 0), *((l, n) for l, n in NUMBERS if changed(socket.socket(family), l, n) is not None)]
print(len(tried), flush=True)
for level, number in tried:
    before = changed(listener, level, number) if number else None
    client = alone and socket.create_connection(listener.getsockname()[:2])
    connection, _ = listener.accept()
    print(json.dumps([f"{level} {number}", all_of(connection)]), file=file)
    connection.close()
    if before is not None:
        halved = level == 1 and number in (7, 8)
        try: listener.setsockopt(level, number, int.from_bytes(before, sys.byteorder) // 2 if halved else before)
        except OSError: pass
"""


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_inherits_the_listener_s_options(tmp_path, family):
    """Each option of the kernel in turn, whatever it is: the connection then answers as a real one does."""
    port = free_port()
    program = script(tmp_path, BEQUEST)
    files = [tmp_path / "real", tmp_path / "ours"]
    command = [sys.executable, program, str(port), str(int(family)), files[0], "alone"]
    number = int(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    with behind("script", program, port, int(family), files[1]) as (distributor, running):
        distributor.ready(port)
        clients = [distributor.seat(port, family) for _ in range(number)]
        assert running.wait() == 0
    real, ours = (list(map(json.loads, file.read_text().splitlines())) for file in files)
    assert len(real) == len(ours) == number > 50
    wrong = {
        (which, option): (value, seen[option])
        for (which, expected), (_, seen) in zip(real, ours, strict=True)
        for option, value in expected.items()
        if value != seen[option] and (option != "6 10" or which == option)  # else settled with the first packet too
    }
    assert wrong == {} and len(clients) == number


def test_a_client_that_has_reset_is_not_given_to_the_program(tmp_path):
    import struct

    port = free_port()
    with behind("script", script(tmp_path, ACCEPT), port, "blocking") as (distributor, running):
        distributor.ready(port)
        client, connection, who = distributor.connect(port)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        time.sleep(0.05)
        channel.send(distributor.dialogs[port], HandOff(who), [connection.fileno()])
        connection.close()
        assert distributor.next(Accepted).client == who
        assert distributor.next(Disconnect).count.clients == 0
        assert running.process.poll() is None
        client, _, _ = distributor.seat(port)
        assert told(running)["address"] == list(client.getsockname())


STRESS = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=False)
def serve():
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"x")
        connection.close()
for _ in range(3):
    threading.Thread(target=serve, daemon=True).start()
serve()
"""


def test_threads_that_accept_at_once_each_get_their_own(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, STRESS), port) as (distributor, _):
        distributor.ready(port)
        for _ in range(100):
            client, _, _ = distributor.hand_off(port)
            assert client.recv(10) == b"x"
            distributor.pump()

        def last():
            return max((m.count for _, m in distributor.received), key=lambda count: count.sequence)

        distributor.until(lambda: last().clients == 0)
        assert sum(isinstance(m, Accepted) for _, m in distributor.received) == 100
        counts = [m.count for _, m in distributor.received]
        assert len({count.sequence for count in counts}) == len(counts)


# ================================================================ what programs do before they serve, and at their end

WAKES = """
import json, socket, sys, threading, time
port = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", port))
seen = []
def serve():
    for _ in range(2):
        connection, address = listener.accept()
        seen.append([connection.recv(99).decode(), list(address)])
thread = threading.Thread(target=serve)
thread.start()
for connect in ("connect", "connect_ex"):
    client = socket.socket()
    assert not getattr(client, connect)(("127.0.0.1", port))
    client.sendall(connect.encode())
    client.close()
    while not any(said == connect for said, _ in seen): time.sleep(0.01)
thread.join()
refused = [socket.socket().connect_ex(("127.0.0.1", int(sys.argv[2])))]
listener.close()
refused.append(socket.socket().connect_ex(("127.0.0.1", port)))
try: socket.socket().connect(("127.0.0.1", port))
except ConnectionRefusedError as error: refused.append(error.errno)
print(json.dumps([[address[0] for _, address in seen], refused]))
"""


def test_a_program_can_connect_to_itself_to_end_its_accept(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, WAKES), port, free_port()) as (distributor, program):
        distributor.ready(port)
        distributor.until(lambda: program.process.poll() is not None)
        assert told(program) == [["127.0.0.1"] * 2, [errno.ECONNREFUSED] * 3]
        assert not any(isinstance(message, Accepted) for _, message in distributor.received)  # it is no client


LOOKS = """
import errno, json, os, socket, subprocess, sys
port, other = int(sys.argv[1]), int(sys.argv[2])
NAMES = {0: "answers", errno.ECONNREFUSED: "refused"}
def looked(host, at=port, family=socket.AF_INET):
    with socket.socket(family) as sock: return NAMES.get(sock.connect_ex((host, at)), "?")
def connected():
    try: socket.create_connection(("127.0.0.1", port)).close(); return "answers"
    except ConnectionRefusedError: return "refused"
def worker():
    code = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"
    return NAMES[int(subprocess.check_output([sys.executable, "-c", code]))]
def all_of_them():
    own = [looked(host) for host in ("127.0.0.1", "localhost", "0.0.0.0")]
    own += [looked("::ffff:127.0.0.1", port, socket.AF_INET6)]
    return own + [connected(), worker()], [looked("127.0.0.1", other), looked("127.0.0.2")]
before = all_of_them()
with socket.socket() as strange:
    for address in (("127.0.0.1",), ("127.0.0.1", "x"), (5, port), ("a" * 300, port)):
        try: strange.connect(address)
        except (OSError, TypeError, UnicodeError): pass
listener = socket.create_server(("127.0.0.1", port))
print(json.dumps([before, all_of_them()]))
"""


def test_until_a_server_has_bound_its_port_nobody_answers_there(tmp_path):
    """As if it were alone: it may look for another instance.  Another port, or another host, is somebody else's."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as strange:
        port, other = everywhere.getsockname()[1], strange.getsockname()[1]
        with behind("script", script(tmp_path, LOOKS), port, other, listen=[f"127.0.0.1:{port}"]) as (
            distributor,
            program,
        ):
            distributor.until(lambda: program.process.poll() is not None)
            (before, of_others), (after, still) = told(program)
    assert before == ["refused"] * 6 and after == ["answers"] * 6
    assert of_others == still == ["answers"] * 2


@pytest.mark.parametrize(
    ("listener", "host", "gets"),
    [
        ("127.0.0.1:80", "127.0.0.1", True),
        ("127.0.0.1:80", "127.0.0.2", False),
        ("0.0.0.0:80", "127.0.0.2", True),
        ("0.0.0.0:80", "::1", False),
        ("[::]:80", "::1", True),
        ("[::]:80", "127.0.0.1", False),
        ("[::1]:80", "::1", True),
        ("*:80", "127.0.0.1", True),
        ("*:80", "::1", True),
        ("some.name:80", "10.0.0.1", True),
    ],
)
def test_which_listener_gets_what_is_sent_to_a_host(listener, host, gets):
    assert addresses.covers(listener, host) is gets


WITHOUT_EFFECT = """
import socket, sys
listener = socket.socket()
for option in (socket.TCP_MAXSEG, socket.TCP_DEFER_ACCEPT):
    listener.setsockopt(socket.IPPROTO_TCP, option, 500)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
connection, _ = listener.accept()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 500)
print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 500)
"""


def test_an_option_that_connections_cannot_have_is_named_once(tmp_path):
    """The kernel takes it on a connection that is there, and goes by what its first packet has settled."""
    port = free_port()
    with behind("script", script(tmp_path, WITHOUT_EFFECT), port) as (distributor, program):
        distributor.ready(port)
        distributor.seat(port)
        assert program.wait() == 0
        output = program.output.decode()
    assert re.findall(r"the program sets (\w+) on its listener for port (\d+)", output) == [
        ("TCP_MAXSEG", str(port)),
        ("TCP_DEFER_ACCEPT", str(port)),
    ]
    assert output.endswith("True\n")


LEADS = """
import json, os
def tried(function, *args):
    try: return function(*args)
    except PermissionError as error: return error.errno
def all_of_them():
    return [tried(os.setpgrp), tried(os.setsid), tried(os.setpgid, 0, 0), tried(os.setpgid, os.getpid(), os.getpid())]
main = all_of_them() + [tried(os.setpgid, 0, os.getppid())]
r, w = os.pipe()
if os.fork() == 0:
    os.write(w, json.dumps([tried(os.setsid), os.getsid(0) == os.getpid(), tried(os.setsid)]).encode())
    os._exit(0)
print(json.dumps([main, json.loads(os.read(r, 99))]))
"""


def test_the_main_process_leads_its_session_and_its_group_already(tmp_path):
    with behind("script", script(tmp_path, LEADS)) as (_, program):
        main, child = told(program)
    assert main == [None] * 4 + [errno.EPERM]
    assert child == [None, True, errno.EPERM]


# ================================================================ polled before it is bound

POLLED = """
import select, socket, sys
listener = socket.socket()
polls = [select.epoll(), select.epoll()]
for poll in polls:
    poll.register(listener, select.EPOLLIN | select.EPOLLPRI)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
listener.setblocking(False)
print(polls[0].poll(0.3), flush=True)
while True:
    heard = [poll.poll() for poll in polls]
    assert heard == [[(listener.fileno(), select.EPOLLIN)]] * 2, heard
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        continue
    connection.sendall(b"x")
    break
print("fine")
"""


def test_an_epoll_registered_before_bind_reports_clients(tmp_path):
    """As in pyftpdlib; the kernel would go on reporting the socket that was registered, which hangs up for ever."""
    port = free_port()
    with behind("script", script(tmp_path, POLLED), port) as (distributor, program):
        distributor.ready(port)
        assert lines(program, 1) == ["[]"]
        assert distributor.seat(port)[0].recv(1) == b"x"
        assert program.wait() == 0
        assert program.output == b"[]\nfine\n"
