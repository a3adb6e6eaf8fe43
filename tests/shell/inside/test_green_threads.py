"""Libraries that make sockets of their own, from the C type or from a fresh import, are in the same world."""

import pytest
from tests.machine import free_port
from tests.shell.fake import behind, eventually, script

from maitred.core.messages import Disconnect

pytestmark = pytest.mark.system

SERVES = """
import json, os, sys
port = int(sys.argv[1])
listener = make()
before = listener.getsockopt(SOL_SOCKET, SO_REUSEADDR)
listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
listen = listener.listen  # as eventlet takes it before the bind
listener.bind(("127.0.0.1", port))
listen(5)
listener.setblocking(False)
print(json.dumps([before, listener.getsockopt(SOL_SOCKET, SO_REUSEADDR), listener.getsockname()]), flush=True)
import select
while True:
    select.select([listener], [], [])
    try:
        fd, peer = listener._accept()
    except BlockingIOError:
        continue
    connection = wrap(fd)
    assert connection.getpeername() == peer, (connection.getpeername(), peer)
    connection.send(b"x")
    assert connection.recv(1) in (b"", b"y")
    if len(sys.argv) > 2:
        del connection  # to the collector
    else:
        connection.close()
"""
AFRESH = """
import sys
saved = sys.modules.pop("socket")
import socket as fresh
sys.modules["socket"] = saved
assert fresh.socket is not saved.socket
from _socket import SOL_SOCKET, SO_REUSEADDR

def make():
    return fresh.socket()

def wrap(fd):
    return fresh.socket(fileno=fd)
"""
DIRECT = """
import os, sys
from _socket import AF_INET, SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR
sys.path.insert(0, os.path.dirname(__file__))
from gevent._socket3 import Plain

def make():
    return Plain(AF_INET, SOCK_STREAM)

def wrap(fd):
    return Plain(AF_INET, SOCK_STREAM, 0, fd)
"""


@pytest.mark.parametrize("more", [[], ["del"]], ids=["close", "del"])
@pytest.mark.parametrize("makes", [AFRESH, DIRECT], ids=["afresh", "direct"])
def test_clients_are_seated_and_counted(tmp_path, makes, more):
    (tmp_path / "gevent").mkdir()
    script(tmp_path / "gevent", "", "__init__.py")
    script(tmp_path / "gevent", "import _socket\nclass Plain(_socket.socket):\n    pass\n", "_socket3.py")
    port = free_port()
    with behind("script", script(tmp_path, makes + SERVES), port, *more) as (distributor, program):
        distributor.ready(port)
        for _ in range(2):
            client, _, count = distributor.seat(port)
            assert (client.recv(1), count) == (b"x", 1)
            client.close()
            assert distributor.next(Disconnect).count.clients == 0
        assert eventually(lambda: program.output.decode().splitlines()) == [f'[0, 1, ["127.0.0.1", {port}]]']
        assert len(distributor.binds) == 1


def test_the_c_socket_type_is_unchanged(tmp_path):
    text = AFRESH + "import _socket\nprint(_socket.socket.__module__, fresh.socket.__mro__[1].__name__)"
    with behind("script", script(tmp_path, text)) as (_, program):
        assert program.wait() == 0
        assert program.output == b"_socket GreenSocket\n"


GREEN = """
import select, _thread, socket, sys
del select.poll, select.epoll
_thread.get_ident = lambda: 7
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
connection, _ = listener.accept()
connection.sendall(b"x")
connection.recv(1)
connection.close()
listener.close()
"""


def test_functions_that_green_threads_remove_are_not_needed(tmp_path):
    port = free_port()
    with behind("script", script(tmp_path, GREEN), port) as (distributor, program):
        distributor.ready(port)
        client, _, count = distributor.seat(port)
        assert (client.recv(1), count) == (b"x", 1)
        client.close()
        assert distributor.next(Disconnect).count.clients == 0
        distributor.until(lambda: program.process.poll() is not None)
        assert program.wait() == 0, program.output.decode()


# ================================================================ event loops in C

LOOP = """
import asyncio, socket, sys

class Loop(asyncio.SelectorEventLoop):
    pass

Loop.__module__ = sys.argv[2]
early = socket.socket()
if sys.argv[3] == "early":
    early.bind(("127.0.0.1", int(sys.argv[1])))

async def main():
    if sys.argv[3] == "early":
        await asyncio.start_server(print, sock=early)
    else:
        await asyncio.start_server(print, "127.0.0.1", int(sys.argv[1]))
    print("listens")

try:
    Loop().run_until_complete(main())
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize(
    ("module", "printed"), [("uvloop", "uvicorn: --loop asyncio"), ("uvloop.loop", "uvloop"), ("uv", "listens")]
)
def test_a_loop_that_listens_in_c_is_refused_by_name(tmp_path, module, printed, when):
    port = free_port()
    with behind("script", script(tmp_path, LOOP), port, module, when) as (distributor, program):
        distributor.until(lambda: program.process.poll() is not None)
        assert program.wait() == 0
        assert printed in program.output.decode()
        assert ("listens" in program.output.decode()) is (printed == "listens")
