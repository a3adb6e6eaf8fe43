"""What tests ask of the machine, which may be slow and busy: time, and ports that nobody else takes.

A test waits for an event, never for a time.  How long it waits before it fails is a bound that no machine should reach.

A port is free when it is chosen, and some time passes until a server has bound it.  So each process that runs tests has
a block of ports of its own, goes through it in a circle, and holds the block by a name until it ends.
"""

import contextlib
import itertools
import os
import socket

PATIENCE = float(os.environ.get("MAITRED_PATIENCE", "60"))
"""Seconds within which anything that is going to happen has happened, however busy the machine."""

BLOCKS = [range(first, first + 250) for first in range(15_000, 30_000, 250)]
"""Below the ports that the kernel chooses for outgoing connections, so that none of those takes a port meanwhile."""


def _claim():
    """A block that is this process's until it ends, and the socket by which it has it.

    An abstract name is held by one socket at a time, and leaves no file behind.
    """
    for block in BLOCKS:
        lock = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            lock.bind(f"\0maitred tests: ports from {block[0]}")
            return block, lock
        lock.close()
    raise AssertionError("every block of ports is in use")


_block, _lock = _claim()
_numbers = itertools.cycle(_block)


def free_port(host="127.0.0.1"):
    """A port that nothing is bound to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_numbers, len(_block)):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError(f"no free port from {_block[0]} to {_block[-1]}")
