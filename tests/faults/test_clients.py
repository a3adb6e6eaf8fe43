"""The clients of a campaign see what is wrong: here with servers that do it."""

import asyncio
import contextlib
import hashlib
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults import clients
from tests.faults.campaign import Crowd, Plan
from tests.faults.clients import MANNERS, Visit, pay
from tests.faults.kernel import Cookies
from tests.machine import free_port
from tests.system.harness import eventually

pytestmark = pytest.mark.system
CROWD = 20
SERVER = str(Path(clients.__file__).with_name("server.py"))


@pytest.fixture(params=["threading", "forking", "asyncio"])
def server(request, tmp_path):
    """The campaign's own program with nothing in front: its port, its notes, its process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, SERVER, request.param, "127.0.0.1", str(port), str(tmp_path / "notes")])
    eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "it listens")
    yield port, tmp_path / "notes", process
    process.terminate()
    process.wait(60)


def visit(manner, port, timeout=clients.TIMEOUT):
    """One visit in this manner."""
    made = Visit("me", manner, port)

    async def go():
        cookies = Cookies()
        await pay(made, random.Random(1), cookies)
        cookies.close()

    before, clients.TIMEOUT = clients.TIMEOUT, timeout
    try:
        asyncio.run(go())
    finally:
        clients.TIMEOUT = before
    return made


@pytest.mark.parametrize("manner", MANNERS)
def test_every_manner_is_served_by_a_server_that_stands_alone(server, manner):
    port, notes, _ = server

    made = visit(manner, port)

    assert made.outcome == ("left" if manner in ("mute", "vanish", "reset") else "served"), made
    assert made.cookie > 0 and made.began <= made.ended
    if made.outcome == "served":
        lines = notes.read_text().splitlines()
        assert sum(f"serve {made.server} {made.cookie} me." in line for line in lines) == made.requests > 0


def test_a_whole_crowd_finds_room_in_the_backlog(server):
    """Else the kernel forgets a client that believes to be connected, and it hangs where the server greets first."""
    port, _, process = server
    process.send_signal(signal.SIGSTOP)
    cookies = Cookies()
    with contextlib.closing(cookies), contextlib.ExitStack() as stack:
        stack.callback(process.send_signal, signal.SIGCONT)
        guests = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(CROWD)]
        known = [cookies.of_peer(guest) for guest in guests]
        process.send_signal(signal.SIGCONT)
        greeted = [int(guest.makefile("rb").readline().split()[2]) for guest in guests]
    assert greeted == known


@pytest.mark.timeout(300)
def test_a_crowd_comes_again_and_again_and_ends_on_request(server, tmp_path):
    visits = tmp_path / "visits"
    with Crowd(visits, Plan(0, CROWD, 1), [server[0]]):
        eventually(lambda: visits.exists() and visits.read_text().count("\n") > CROWD, "many come", within=120)
    seen = clients.read(visits)
    assert {made.outcome for made in seen} == {"served", "left"}
    assert len({made.name for made in seen}) == len(seen)


# ---------------------------------------------------------------- with servers that do wrong


async def _greet(reader, writer, cookie_off=0):
    connection = writer.get_extra_info("socket")
    cookie = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder) + cookie_off
    writer.write(f"welcome 1 {cookie}\n".encode())
    name, size = (await reader.readline()).decode().split()
    return name, await reader.readexactly(int(size))


def _answer(name, payload, digest=None):
    return f"{name} {len(payload)} {digest or hashlib.sha256(payload).hexdigest()}\n".encode() + payload


async def well(reader, writer):
    writer.write(_answer(*await _greet(reader, writer)))


async def somebody_else(reader, writer):
    await _greet(reader, writer, cookie_off=1)


async def anothers_answer(reader, writer):
    _, payload = await _greet(reader, writer)
    writer.write(_answer("you.0", payload))


async def one_byte_wrong(reader, writer):
    name, payload = await _greet(reader, writer)
    wrong = bytes([payload[0] ^ 1]) + payload[1:]
    writer.write(_answer(name, wrong, hashlib.sha256(payload).hexdigest()))


async def too_short(reader, writer):
    name, payload = await _greet(reader, writer)
    writer.write(_answer(name, payload)[:-1])


async def nothing(reader, writer):
    """Closes at once."""


async def silence(reader, writer):
    await asyncio.sleep(5)


async def noise(reader, writer):
    writer.write(b"x" * 200_000)
    await asyncio.sleep(5)


@pytest.mark.parametrize(
    ("conduct", "outcome"),
    [
        (well, "served"),
        (somebody_else, "mixed"),
        (anothers_answer, "mixed"),
        (one_byte_wrong, "mixed"),
        (noise, "mixed"),
        (too_short, "lost"),
        (nothing, "lost"),
        (silence, "hanging"),
    ],
)
def test_what_a_server_does_wrong_is_seen(conduct, outcome):
    made = Visit("me", "quick", free_port())

    async def go():
        async def handle(reader, writer):
            await conduct(reader, writer)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", made.port)
        cookies = Cookies()
        await pay(made, random.Random(1), cookies)
        cookies.close()
        server.close()

    before, clients.TIMEOUT = clients.TIMEOUT, 1.0 if conduct is silence else clients.TIMEOUT
    try:
        asyncio.run(go())
    finally:
        clients.TIMEOUT = before
    assert made.outcome == outcome, made


def test_of_whom_the_kernel_knows_nothing_there_is_no_cookie():
    """It gives the listener instead, whose cookie would name the wrong."""
    cookies = Cookies()
    with contextlib.closing(cookies), socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as guest:
            assert cookies.of_peer(guest) > 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(listener.getsockname())
            assert cookies.of_peer(stranger) == 0


def test_a_refusal_is_seen():
    assert visit("quick", free_port()).outcome == "refused"
