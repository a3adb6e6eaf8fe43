"""The load generator, a process of its own: `python -m benchmarks.load WORKLOAD PORT`, prints one JSON object.

Closed loop: so many clients, each of which begins again when it has been answered.  Every answer is read whole and
checked; one that is wrong, short or reset counts as failed and not as a result.

====================  ==================================================================  =======================
workload              one result is                                                       its time runs from
====================  ==================================================================  =======================
``connections``       connect, one request, the whole answer, end of file                 connect to end of file
``requests``          one request and its answer, on a connection that stays open         request to last byte
``download``          connect, one request, ``--size`` bytes, end of file                 connect to end of file
====================  ==================================================================  =======================
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from errno import EINPROGRESS, errorcode
from math import ceil
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

HOST = "127.0.0.1"
LAST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
MORE = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: "
GRACE = 5.0
"""Seconds that clients which are under way at the end may take to finish."""
PATIENCE = 1_000
"""Failures after which the run is given up."""
ANYTHING = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@dataclass
class Sample:
    """What one run of a workload has seen."""

    results: int = 0
    """Within the measured time."""
    everything: int = 0
    """Results of the warm-up and of the grace included: what the servers have had to do."""
    seconds: float = 0.0
    """The measured time."""
    p50: float = 0.0
    """Milliseconds of one result: the median."""
    p99: float = 0.0
    worst: float = 0.0
    bytes: int = 0
    """Of the answers, within the measured time; of a download whatever of it arrived then."""
    cpu: float = 0.0
    """Seconds of CPU that the generator itself has used, warm-up and grace included."""
    served: dict[str, int] = field(default_factory=dict)
    """By the pid of the copy that answered."""
    failed: dict[str, int] = field(default_factory=dict)
    """By what went wrong."""


def body(answer: bytes) -> bytes | None:
    """The body of a whole answer, or None where it is not one."""
    head, separator, rest = answer.partition(b"\r\n\r\n")
    if not separator or not head.startswith(GOOD) or len(rest) != int(head[len(GOOD) :]):
        return None
    return rest


class Stopwatch:
    """Collects results; knows which of them count."""

    def __init__(self, warmup: float, seconds: float) -> None:
        self.begin = perf_counter() + warmup
        self.end = self.begin + seconds
        self.times: list[float] = []
        self.served: Counter[bytes] = Counter()
        self.failed: Counter[str] = Counter()
        self.bytes = 0

    @property
    def over(self) -> bool:
        """Nobody begins again."""
        return perf_counter() >= self.end or self.failed.total() >= PATIENCE

    def result(self, begun: float, answer: bytes) -> None:
        """Somebody has been answered."""
        now = perf_counter()
        content = body(answer)
        if content is None:
            self.failed["wrong answer" if answer else "no answer"] += 1
            return
        self.served[content.split(None, 1)[0]] += 1
        if self.begin <= now <= self.end:
            self.times.append(now - begun)
            self.bytes += len(content)

    def sample(self) -> Sample:
        """The sum of it all."""
        times = sorted(self.times)
        usage = getrusage(RUSAGE_SELF)
        return Sample(
            results=len(times),
            everything=self.served.total(),
            seconds=self.end - self.begin,
            p50=quantile(times, 0.50) * 1e3,
            p99=quantile(times, 0.99) * 1e3,
            worst=quantile(times, 1.0) * 1e3,
            bytes=self.bytes,
            cpu=usage.ru_utime + usage.ru_stime,
            served={pid.decode(): count for pid, count in self.served.items()},
            failed=dict(self.failed),
        )


def quantile(ordered: list[float], share: float) -> float:
    """The least value that `share` of them do not exceed; 0 of nothing."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


# ================================================================ connections


class Attempt:
    """One connection, from connect to end of file."""

    __slots__ = ("answer", "asked", "begun", "sock")

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.answer = b""
        self.asked = False
        self.begun = perf_counter()
        error = self.sock.connect_ex((HOST, port))
        if error not in (0, EINPROGRESS):
            self.sock.close()
            raise OSError(error, "connect")

    def advance(self, events: int) -> bool:
        """Do what can be done; whether the end of file has been read.

        Edge-triggered: what has arrived is read with one recv, and whatever comes later is a new event.
        """
        if not self.asked and events & select.EPOLLOUT:
            self.sock.send(LAST)
            self.asked = True
        if not events & (select.EPOLLIN | ENDED):
            return False
        while data := self.sock.recv(65_536):
            self.answer += data
            if not events & ENDED:
                return False
        return True


def connections(port: int, clients: int, watch: Stopwatch) -> None:
    """So many clients connect, ask, are answered, and begin again."""
    poll = select.epoll()
    live: dict[int, Attempt] = {}

    def begin() -> None:
        try:
            attempt = Attempt(port)
        except OSError as error:
            watch.failed[errorcode[error.errno or 0]] += 1
            return
        live[attempt.sock.fileno()] = attempt
        poll.register(attempt.sock.fileno(), ANYTHING)

    def finish(number: int) -> None:
        live.pop(number).sock.close()

    while not watch.over or (live and perf_counter() < watch.end + GRACE):
        while len(live) < clients and not watch.over:
            begin()
        for number, events in poll.poll(0.1):
            attempt = live[number]
            try:
                if attempt.advance(events):
                    finish(number)
                    watch.result(attempt.begun, attempt.answer)
            except BlockingIOError:
                continue  # told of an end that another event will bring
            except OSError as error:
                finish(number)
                watch.failed[errorcode[error.errno or 0]] += 1
    watch.failed["no answer in time"] += len(live)
    for number in list(live):
        finish(number)
    poll.close()


# ================================================================ requests


def requests(port: int, clients: int, watch: Stopwatch) -> None:
    """So many clients that are connected already ask again and again."""
    socks = [socket.create_connection((HOST, port), timeout=GRACE) for _ in range(clients)]
    poll = select.epoll()
    begun: dict[int, float] = {}
    answers: dict[int, bytes] = {}
    known = {sock.fileno(): sock for sock in socks}
    for number, sock in known.items():
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(number, select.EPOLLIN)

    def ask(number: int) -> None:
        answers[number] = b""
        begun[number] = perf_counter()
        known[number].sendall(MORE)

    for number in known:
        ask(number)
    while begun and perf_counter() < watch.end + GRACE:
        for number, _ in poll.poll(0.1):
            data = known[number].recv(65_536)
            answers[number] += data
            if data and body(answers[number]) is None:
                continue
            watch.result(begun.pop(number), answers[number])
            if data and not watch.over:
                ask(number)
            else:
                poll.unregister(number)
    watch.failed["no answer in time"] += len(begun)
    for sock in socks:
        sock.close()


# ================================================================ download


def download(port: int, size: int, watch: Stopwatch) -> None:
    """One client fetches `size` bytes, again and again; what arrives within the measured time counts."""
    room = bytearray(1 << 20)
    while not watch.over:
        begun = perf_counter()
        received, head = 0, b""
        with socket.create_connection((HOST, port), timeout=GRACE) as sock:
            sock.sendall(LAST.replace(b"/", b"/%d" % size, 1))
            while count := sock.recv_into(room):
                if not head:
                    head = bytes(room[:count]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                received += count
                if watch.begin <= perf_counter() <= watch.end:
                    watch.bytes += count
        if not head.startswith(GOOD) or received - len(head) != size:
            watch.failed["wrong answer"] += 1
            continue
        watch.served[b"one"] += 1
        now = perf_counter()
        if begun >= watch.begin and now <= watch.end:
            watch.times.append(now - begun)


# ================================================================ the process


def run(workload: str, port: int, clients: int, size: int, warmup: float, seconds: float) -> Sample:
    """One run of a workload against what listens on the port of this machine."""
    watch = Stopwatch(warmup, seconds)
    work: dict[str, Callable[[], None]] = {
        "connections": lambda: connections(port, clients, watch),
        "requests": lambda: requests(port, clients, watch),
        "download": lambda: download(port, size, watch),
    }
    work[workload]()
    watch.failed = +watch.failed  # without the zeros
    return watch.sample()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("workload", choices=("connections", "requests", "download"))
    parser.add_argument("port", type=int)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--size", type=int, default=64 << 20, help="bytes of one download")
    parser.add_argument("--warmup", type=float, default=0.2, help="seconds before the measured time")
    parser.add_argument("--seconds", type=float, default=1.0, help="the measured time")
    options = parser.parse_args(arguments)
    gc.disable()  # nothing here makes cycles, and a collection would count as the servers' slowness
    print(json.dumps(asdict(run(**vars(options)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
