"""Hundreds of clients of many manners in a process of their own; what became of each is noted in a file.

    python -m tests.faults.clients NOTES COUNT SEED PORT...

They come again and again until the standard input ends; a visit that has begun is then still paid to its end.  Every
byte that a client sends is its own, made from its name, and every byte that comes back is compared.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass

from tests.faults.kernel import Cookies

TIMEOUT = 180.0
"""Seconds without an end after which a client hangs: far more than any wait in a campaign."""
PAUSE = 0.0, 1.0
"""Seconds between two visits of a client, least and most."""
SMALL = 1, 2_000
BULK = 64 << 10, 1 << 20
"""Bytes of a payload, least and most."""


@dataclass
class Visit:
    """One connection, as its client saw it; times are of the monotonic clock."""

    name: str
    manner: str
    port: int
    """That it connected to."""
    cookie: int = 0
    """Of the server's end, by the kernel's word; 0 where it was not connected."""
    outcome: str = "?"
    """served, left (by its own will), lost, mixed (not what it was due), refused, hanging."""
    server: int = 0
    """The process that greeted it."""
    requests: int = 0
    """That were answered."""
    began: float = 0.0
    greeted: float = 0.0
    ended: float = 0.0
    detail: str = ""


class Lost(Exception):
    """The connection ended before the service was complete."""


class Mixed(Exception):
    """What came was not what is due to this client."""


class Call:
    """A client's connection, and what it has asked for."""

    def __init__(self, visit, rng, reader, writer):
        self.visit, self.rng, self.reader, self.writer = visit, rng, reader, writer
        self.asked = 0

    # ------------------------------------------------ what a client does

    async def greeting(self):
        words = (await self._line()).split()
        if len(words) != 3 or words[0] != b"welcome":
            raise Mixed(f"no greeting: {words!r}")
        self.visit.server, self.visit.greeted = int(words[1]), time.monotonic()
        if int(words[2]) != self.visit.cookie:
            raise Mixed(f"greeted as connection {int(words[2])}")

    def request(self, span=SMALL):
        """The next request, as bytes, and its answer."""
        name = f"{self.visit.name}.{self.asked}"
        self.asked += 1
        payload = random.Random(name).randbytes(self.rng.randint(*span))
        head = f"{name} {len(payload)}"
        return f"{head}\n".encode() + payload, f"{head} {hashlib.sha256(payload).hexdigest()}\n".encode() + payload

    async def send(self, content):
        self.writer.write(content)
        await self.writer.drain()

    async def expect(self, answer):
        line, newline, payload = answer.partition(b"\n")
        came = await self._line()
        if came != line + newline:
            raise Mixed(f"{came!r} instead of {line!r}")
        if await self.reader.readexactly(len(payload)) != payload:
            raise Mixed(f"another payload than that of {line!r}")
        self.visit.requests += 1

    async def ask(self, span=SMALL):
        request, answer = self.request(span)
        await self.send(request)
        await self.expect(answer)

    async def pause(self, most):
        await asyncio.sleep(self.rng.uniform(0, most))

    async def _line(self):
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise Lost(f"ended after {self.visit.requests} answers")
        return line


# ---------------------------------------------------------------- manners


async def quick(call):
    """One request, and gone."""
    await call.greeting()
    await call.ask()


async def slow(call):
    """Sends a request in crumbs, and is in no hurry to read the answer."""
    await call.greeting()
    request, answer = call.request()
    while request:
        cut = call.rng.randint(1, max(1, len(request) // 3))
        await call.send(request[:cut])
        request = request[cut:]
        await call.pause(0.2)
    await call.pause(0.5)
    await call.expect(answer)


async def half_close(call):
    """Asks before it is greeted, closes its side, and wants the whole answer."""
    request, answer = call.request()
    await call.send(request)
    call.writer.write_eof()
    await call.greeting()
    await call.expect(answer)
    if await call.reader.read(1):
        raise Mixed("more than the answer")


async def keep_alive(call):
    """Asks now and then on one connection."""
    await call.greeting()
    for _ in range(call.rng.randint(2, 6)):
        await call.ask()
        await call.pause(0.4)


async def pipelining(call):
    """Asks several times at once, and wants the answers in their order."""
    exchanges = [call.request() for _ in range(call.rng.randint(2, 8))]
    await call.send(b"".join(request for request, _ in exchanges))
    await call.greeting()
    for _, answer in exchanges:
        await call.expect(answer)


async def bulk(call):
    """One large request."""
    await call.greeting()
    await call.ask(BULK)


async def mute(call):
    """Never sends anything; leaves after a while, having been greeted."""
    await call.greeting()
    await call.pause(0.5)
    call.visit.outcome = "left"


async def vanish(call):
    """Closes after a moment, whether served or not."""
    await call.pause(0.1)
    call.visit.outcome = "left"


async def reset(call):
    """Sends something perhaps, and resets the connection after a moment."""
    if call.rng.random() < 0.5:
        await call.send(call.request()[0])
    await call.pause(0.1)
    linger = struct.pack("ii", 1, 0)
    call.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    call.visit.outcome = "left"


MANNERS = {each.__name__: each for each in (quick, slow, half_close, keep_alive, pipelining, bulk, mute, vanish, reset)}


# ---------------------------------------------------------------- visits


async def pay(visit, rng, cookies):
    """One visit, with its outcome noted in it."""
    visit.began = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT):
            await _visit(visit, rng, cookies)
            if visit.outcome == "?":
                visit.outcome = "served"
    except TimeoutError:
        visit.outcome = "hanging"
    except ConnectionRefusedError:
        visit.outcome = "refused"
    except (Mixed, ValueError) as error:  # ValueError: of a line without an end
        visit.outcome, visit.detail = "mixed", str(error)
    except (Lost, OSError, asyncio.IncompleteReadError) as error:
        visit.outcome, visit.detail = "lost", f"{type(error).__name__}: {error}"
    visit.ended = time.monotonic()


async def _visit(visit, rng, cookies):
    connection = socket.socket()
    connection.setblocking(False)
    with connection:
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", visit.port))
        visit.cookie = cookies.of_peer(connection)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            await MANNERS[visit.manner](Call(visit, rng, reader, writer))
        finally:
            writer.transport.abort() if visit.outcome == "left" else writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def live(number, rng, ports, over, note):
    """One client's visits, one after another."""
    cookies = Cookies()
    manners = list(MANNERS)
    turn = 0
    while not over.is_set():
        visit = Visit(f"{number}-{turn}", rng.choice(manners), rng.choice(ports))
        await pay(visit, rng, cookies)
        note(visit)
        turn += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), rng.uniform(*PAUSE))
    cookies.close()


async def crowd(path, count, seed, ports):
    """All clients, until the standard input ends."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 1) or over.set())
    with open(path, "w", buffering=1) as file:  # read while it grows
        clients = [live(i, random.Random(f"{seed}-{i}"), ports, over, lambda v: _note(file, v)) for i in range(count)]
        await asyncio.gather(*clients)


def _note(file, visit):
    file.write(json.dumps(asdict(visit)) + "\n")


def read(path):
    """The visits that were noted."""
    with open(path) as file:
        return [Visit(**json.loads(line)) for line in file]


if __name__ == "__main__":
    asyncio.run(crowd(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(port) for port in sys.argv[4:]]))
