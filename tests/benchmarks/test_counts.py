"""What a connection takes is counted, never timed, and may not grow: system calls, allocations, steps of the machines.

One client at a time, so that there is nothing to batch.  A limit that is too high for what is measured should be
lowered; one that is raised needs its reason beside it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import monotonic, sleep

import pytest
from benchmarks import counts, peers
from benchmarks.build import library, program

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler"),
]

SLACK = 0.5
"""For timers and audits that fall into the time of counting; one call more for each connection is more than this."""
LIMITS = {
    "front": {
        "accept4": 1,
        "getsockopt": 2,  # the cookie; whether to close would wait (SO_LINGER)
        "getsockname": 1,  # Python's own, of each descriptor that a socket is made of
        "sendmsg": 1,  # the hand-off
        "sendto": 1,  # the acknowledgement of the Disconnect
        "recvmsg": 2,  # Accepted, Disconnect
        "epoll_wait": 3,  # for the client, for Accepted, for Disconnect
        "setitimer": 3,  # the watch on a handler that hangs: two for each tick of its clock; for each turn it were six
        "close": 1,  # the copy of the connection, once it is answered
    },
    "others": {},  # nobody waits, so nobody is stored with the Monitor
    "servers": {
        "fcntl": 1,  # whether the new connection is blocking
        "getsockname": 2,  # CPython's, for each object of a socket: ours, which asks for the peer, and the program's
        "getpeername": 1,  # what accept returns
        "recvmsg": 2,  # the hand-off, the acknowledgement
        "sendmsg": 2,  # Accepted, Disconnect
        "poll": 1,  # the program's own, for the next client, as all that follows
        "recvfrom": 1,
        "sendto": 1,
        "getpid": 1,
        "shutdown": 1,
        "close": 1,
    },
}
STEPS = {
    "distributor ConnectionRequest": 1,
    "distributor Received Accepted": 1,
    "distributor Received Disconnect": 1,
    "server MessageRead HandOff": 1,
    "server Disconnected": 1,
    "server Sent": 2,  # Accepted, Disconnect
}
UP_TO = {"server Acknowledged Acknowledge": 1}
"""Read when the program calls us next."""

ALLOCATIONS = {(3, 11): {"distributor": 382.5, "server": 205}}
"""By version of Python, plain: an object more at one step is one more.  (Compiled code makes fewer.)"""
ROOT = Path(__file__).resolve().parents[2]

CLOCKED = {
    ("front", "rt_sigreturn"),
    *(("others", name) for name in ("epoll_wait", "read", "rt_sigreturn", "setitimer")),
}
"""Made as time passes, not for a connection: on a busy machine there are more of them to each."""


def above(made):
    """The calls that are made more often than they may be."""
    return {
        f"{role}: {name}": n
        for role, names in made.items()
        for name, n in names.items()
        if (role, name) not in CLOCKED and n > LIMITS[role].get(name, 0) + SLACK
    }


def test_a_connection_takes_no_more_system_calls_than_are_written_down_here(tmp_path):
    program("load")
    with peers.maitred("blocking", 1, tmp_path) as peer:
        try:
            made = counts.system_calls(peer, tmp_path, seconds=0.5)
        except peers.Absent as why:
            pytest.skip(str(why))
    assert above(made) == {}
    assert made["front"]["accept4"] > 0.9 and made["servers"]["sendto"] > 0.9, "they have been counted at all"


def test_one_call_more_is_noticed():
    assert above({"front": {"accept4": 1.02, "recvmsg": 2.1}, "others": {"read": 0.9}}) == {}
    assert above({"front": {"getsockname": 2.0}, "servers": {"stat": 1.0}}) == {
        "front: getsockname": 2.0,
        "servers: stat": 1.0,
    }


def allocated(place, *arguments):
    """Allocations for a connection, of a Distributor and of a server's endpoint."""
    more = {"LD_PRELOAD": str(library("allocations")), "ALLOCATIONS": str(place), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "tests/benchmarks/allocating.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_connection_takes_no_more_allocations_than_are_written_down_here_and_one_more_is_noticed(tmp_path):
    here, more = allocated(tmp_path), allocated(tmp_path, "more")
    assert {who: n + 1 <= more[who] for who, n in here.items()} == {"distributor": True, "server": True}, (here, more)
    limits = ALLOCATIONS.get(sys.version_info[:2])
    if limits is None:
        pytest.skip(f"not written down for this version of Python: {here}")
    assert {who: n for who, n in here.items() if n > limits[who]} == {}


def test_a_connection_takes_these_steps_and_no_others(tmp_path):
    clients, trace = 10, tmp_path / "trace"
    with peers.maitred("blocking", 1, tmp_path, "--trace", str(trace)) as peer:
        before = settled(trace)
        for _ in range(clients):
            assert peers.ask(peer.port) == peer.servers[0]
        taken = settled(trace, at_least=before["distributor Received Disconnect"] + clients) - before
    taken = Counter({kind: n for kind, n in taken.items() if " Fired " not in kind})
    for kind, limit in UP_TO.items():
        assert taken.pop(kind, 0) <= limit * clients
    assert taken == {kind: n * clients for kind, n in STEPS.items()}


def settled(trace, at_least=0):
    """The steps so far, once so many clients have left and nobody takes any more."""
    end = monotonic() + 60
    last = None
    while (now := counts.steps(trace)) != last or now["distributor Received Disconnect"] < at_least:
        assert monotonic() < end, now
        last = now
        sleep(0.1)
    return now
