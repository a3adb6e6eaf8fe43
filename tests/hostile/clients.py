"""Clients of ill will, in a process of their own: they reset, flood, dawdle, send noise and read nothing.

    python -m tests.hostile.clients COUNT SEED PORT...

They come again and again until the standard input ends, so many at a time, and stay a second or two at most: whoever
takes every seat and stays keeps others waiting, in front of any server.  What they have done is reported at the end, as
JSON.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter

STAY = 2.0
"""Seconds that any of them stays, at most."""


async def reset(connection, rng):
    """Reset at once, or in a moment, perhaps in the midst of a request."""
    if rng.random() < 0.5:
        await send(connection, b"%d 1000\nxxx" % rng.getrandbits(60))
    await asyncio.sleep(rng.choice((0, 0, 0.01, 0.2)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def half_close(connection, rng):
    """Close one side at once, and wait; or close the other, and have answers come in vain."""
    connection.shutdown(rng.choice((socket.SHUT_WR, socket.SHUT_RD)))
    await asyncio.sleep(rng.uniform(0, STAY))


async def slow(connection, rng):
    """A byte now and then, of a line that does not end."""
    for _ in range(int(STAY / 0.2)):
        await send(connection, b"x")
        await asyncio.sleep(0.2)


async def flood(connection, rng):
    """Connect and close, as fast as it goes, for a moment."""
    until = time.monotonic() + 0.3
    address = connection.getpeername()
    while time.monotonic() < until:
        with socket.socket() as another:
            another.setblocking(False)
            with contextlib.suppress(OSError):
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(another, address), STAY)
        await asyncio.sleep(0.005)


async def noise(connection, rng):
    """Bytes that are no request."""
    for _ in range(20):
        await send(connection, rng.randbytes(rng.choice((1, 100, 10_000))))


async def reads_nothing(connection, rng):
    """Ask for much, and leave it where it is."""
    await send(connection, b"%d 1000000\n" % rng.getrandbits(60) + bytes(1_000_000))
    await asyncio.sleep(rng.uniform(0, STAY))


async def says_nothing(connection, rng):
    """Sit there."""
    await asyncio.sleep(rng.uniform(0, STAY))


async def urgent(connection, rng):
    """Out of band."""
    for _ in range(10):
        connection.send(b"!", socket.MSG_OOB)
        await asyncio.sleep(0.01)


MANNERS = {each.__name__: each for each in (reset, half_close, slow, flood, noise, reads_nothing, says_nothing, urgent)}


async def send(connection, content):
    await asyncio.get_running_loop().sock_sendall(connection, content)


async def visit(manner, port, rng):
    with socket.socket() as connection, contextlib.suppress(OSError, TimeoutError):
        connection.setblocking(False)
        async with asyncio.timeout(STAY):
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
            await MANNERS[manner](connection, rng)


async def live(rng, ports, over, done):
    """One of them, again and again."""
    while not over.is_set():
        manner = rng.choice(list(MANNERS))
        await visit(manner, rng.choice(ports), rng)
        done[manner] += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), rng.uniform(0, 0.5))


async def crowd(count, seed, ports):
    """All of them, until the standard input ends."""
    over, done = asyncio.Event(), Counter()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 1) or over.set())
    await asyncio.gather(*(live(random.Random(f"{seed}-{i}"), ports, over, done) for i in range(count)))
    print(json.dumps(done))


if __name__ == "__main__":
    asyncio.run(crowd(int(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
