"""What a step of the machines costs as their tables grow: `python -m benchmarks.steps`.

A step at 4,096 servers may cost at most 3 times a step at 4, and one with 100,000 waiting clients at most 3 times one
with none.  Each row below is one kind of event; the two sizes take turns within one run, so that whatever else the
machine does meets both alike, and the medians are compared.  Exits 1 if a ratio is above the limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns
from typing import Generic, TypeVar

from maitred.core import distributor, monitor
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    Client,
    Close,
    Closed,
    Count,
    Disconnect,
    HandOff,
    KeepDialog,
    Release,
    RestartReply,
    ServerNotReady,
    ServerReady,
    Store,
)
from maitred.core.transition import Rejected, Transition

LIMIT = 3.0
"""The required bound on every ratio."""
FEW_SERVERS, MANY_SERVERS = 4, 4_096
MANY_WAITING = 100_000
PORT = 4_049
ADDRESS = f"0.0.0.0:{PORT}"
SEATS = 64
"""Clients that one server serves at a time."""

S = TypeVar("S")
V = TypeVar("V")
E = TypeVar("E")


class Machine(Generic[S, V, E]):
    """A machine that is stepped, timed and never declines."""

    def __init__(self, step: Callable[[S, V], Transition[S, E] | Rejected], state: S) -> None:
        self.step = step
        self.state = state
        self.times: dict[str, list[int]] = {}

    def take(self, event: V, kind: str = "") -> tuple[E, ...]:
        """Let the event happen; under the name ``kind`` keep how long it took, in nanoseconds."""
        before = perf_counter_ns()
        outcome = self.step(self.state, event)
        took = perf_counter_ns() - before
        if isinstance(outcome, Rejected):
            raise AssertionError(f"{event} was declined: {outcome.reason.value}")
        if kind:
            self.times.setdefault(kind, []).append(took)
        self.state = outcome.state
        return outcome.effects


Cycle = Iterator[None]
"""One turn of `next` is one round of the same few events."""


# ================================================================ the Distributor


@dataclass
class Class:
    """A Distributor with its servers, played by this program."""

    machine: Machine[distributor.DistributorState, distributor.Event, distributor.Effect]
    held: dict[int, list[Client]] = field(default_factory=dict)
    """Each server's clients."""
    sequence: int = 0
    cookie: int = 0

    def arrive(self, kind: str = "") -> Client | None:
        """A client comes; it is given to a server at once, or else it waits and is returned."""
        self.cookie += 1
        effects = self.machine.take(distributor.ConnectionRequest(PORT, self.cookie), kind)
        waits = [effect.client for effect in effects if isinstance(effect, distributor.Watch)]
        if not waits:
            self.answer(effects, kind and "Accepted")
        return waits[0] if waits else None

    def leave(self, server: int, client: Client, kind: str = "") -> None:
        """A client's connection ends; who waited is seated."""
        self.held[server].remove(client)
        effects = self.machine.take(distributor.Received(server, PORT, Disconnect(client, self.count(server))), kind)
        self.answer(effects, kind and "Accepted (had waited)")

    def answer(self, effects: tuple[distributor.Effect, ...], kind: str) -> None:
        for effect in effects:
            if isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff):
                client = effect.message.client
                self.held[effect.server].append(client)
                reply = Accepted(client, self.count(effect.server))
                self.machine.take(distributor.Received(effect.server, PORT, reply), kind)

    def count(self, server: int) -> Count:
        self.sequence += 1
        return Count(len(self.held[server]), self.sequence)


def server_class(servers: int, seats: int) -> Class:
    """A Distributor that operates, with so many servers that are ready and serve nobody."""
    state = distributor.initial(1, 0, 2 * MANY_WAITING, ((PORT, ADDRESS),), True)
    cls = Class(Machine(distributor.step, state))
    cls.machine.take(Begin())
    cls.machine.take(distributor.Listening(PORT, ADDRESS))
    for server in range(1, servers + 1):
        cls.held[server] = []
        cls.machine.take(Adopt(server, seats, 1, False, False, (PORT,), (PORT,)))
        cls.machine.take(distributor.Received(server, PORT, RestartReply(1, cls.count(server))))
    return cls


def seating(servers: int) -> tuple[Class, Cycle]:
    """Clients come and go while there are seats: about half of them are taken."""
    cls = server_class(servers, SEATS)
    for _ in range(servers * 3 // 2):  # uneven: half of the servers have two clients, half have one
        cls.arrive()

    def rounds() -> Cycle:
        server = 0
        while True:
            cls.arrive("ConnectionRequest")
            server = server % servers + 1
            if cls.held[server]:
                cls.leave(server, cls.held[server][0], "Disconnect")
            yield

    return cls, rounds()


def closing(servers: int) -> tuple[Class, Cycle]:
    """A graceful stop: nothing listens any more, and clients leave a server that keeps some."""
    cls = server_class(servers, SEATS)
    for server in range(1, servers + 1):
        cls.machine.take(distributor.Received(server, PORT, RestartReply(1, Count(SEATS, cls.count(server).sequence))))
    cls.machine.take(Close())
    cls.machine.take(distributor.BacklogEmpty(PORT))

    def rounds() -> Cycle:
        for server in _for_ever(servers):
            left = Disconnect(Client(0, 0, PORT), Count(SEATS // 2, cls.count(server).sequence))
            cls.machine.take(distributor.Received(server, PORT, left), "Disconnect (closing)")
            yield

    return cls, rounds()


def queueing(waiting: int) -> tuple[Class, Cycle]:
    """Every seat is taken and so many wait; they come, hang up, are timed out and are seated."""
    cls = server_class(FEW_SERVERS, 1)
    for _ in range(FEW_SERVERS):
        cls.arrive()
    queue = [client for _ in range(waiting) if (client := cls.arrive()) is not None]
    middle = queue[len(queue) // 3 : 2 * len(queue) // 3]

    def rounds() -> Cycle:
        hang_ups = iter(middle[:: max(1, len(middle) // 10_000)])
        for server in _for_ever(FEW_SERVERS):
            newest = cls.arrive("ConnectionRequest (waits)")
            assert newest is not None, "every seat is taken"
            cls.machine.take(distributor.PeerClosed(next(hang_ups, newest), True, False), "PeerClosed")
            newest = cls.arrive("ConnectionRequest (waits)")
            eldest = next(iter(cls.machine.state.ports[PORT].waiting))
            cls.machine.take(distributor.Fired(distributor.QueueTimeout(eldest)), "QueueTimeout")
            cls.arrive("ConnectionRequest (waits)")
            cls.leave(server, cls.held[server][0], "Disconnect (seats)")
            yield

    return cls, rounds()


def _for_ever(count: int) -> Iterator[int]:
    while True:
        yield from range(1, count + 1)


# ================================================================ the Monitor

Watched = Machine[monitor.MonitorState, monitor.Event, monitor.Effect]


def watched(servers: int, stored: int) -> Watched:
    """A Monitor of one class that runs, with so many ready servers and so many clients in its store."""
    config = monitor.ClassConfig(servers, 0, SEATS, 2 * MANY_WAITING, (0, 1), ((PORT, ADDRESS),), True)
    machine: Watched = Machine(monitor.step, monitor.initial((config,), (1, 1)))
    machine.take(monitor.Started())
    for server in range(1, servers + 1):
        machine.take(monitor.Reported(0, KeepDialog(server, PORT)))
        machine.take(monitor.Reported(0, ServerReady(server, PORT)))
    for arrival in range(stored):
        machine.take(monitor.Reported(0, Store(Client(arrival, arrival, PORT))))
    return machine


def supervising(servers: int) -> tuple[Watched, Cycle]:
    """Servers close and open their listeners, die and are started again."""
    machine = watched(servers, 0)

    def rounds() -> Cycle:
        for place in _for_ever(servers):
            server = machine.state.classes[0].places[place - 1].server
            machine.take(monitor.Reported(0, ServerNotReady(server, PORT)), "Reported(ServerNotReady)")
            machine.take(monitor.ServerExited(0, server), "ServerExited")
            machine.take(monitor.ServerGone(0, server), "ServerGone")
            machine.take(monitor.Fired(monitor.RestartServer(0, place - 1, 0)), "RestartServer")
            server = machine.state.classes[0].places[place - 1].server
            machine.take(monitor.Reported(0, KeepDialog(server, PORT)), "Reported(KeepDialog)")
            machine.take(monitor.Reported(0, ServerReady(server, PORT)), "Reported(ServerReady)")
            yield

    return machine, rounds()


def stopping(servers: int) -> tuple[Watched, Cycle]:
    """A graceful stop: the Distributor has closed and all servers but the last have ended."""
    machine = watched(servers, 0)
    machine.take(monitor.StopRequested())
    for server in range(1, servers):
        machine.take(monitor.ServerExited(0, server))
        machine.take(monitor.ServerGone(0, server))
    machine.take(monitor.Reported(0, Closed()))

    def rounds() -> Cycle:
        while True:
            machine.take(monitor.Reported(0, ServerNotReady(servers, PORT)), "Reported(ServerNotReady) (closing)")
            yield

    return machine, rounds()


def storing(stored: int) -> tuple[Watched, Cycle]:
    """Clients are stored when they start to wait and released when they stop."""
    machine = watched(FEW_SERVERS, stored)

    def rounds() -> Cycle:
        arrival = stored
        while True:
            machine.take(monitor.Reported(0, Store(Client(arrival, arrival, PORT))), "Reported(Store)")
            eldest = Client(arrival - stored, arrival - stored, PORT)
            machine.take(monitor.Reported(0, Release(eldest)), "Reported(Release)")
            arrival += 1
            yield

    return machine, rounds()


# ================================================================ the comparison


@dataclass(frozen=True)
class Row:
    """One kind of event at two sizes; medians in microseconds."""

    machine: str
    event: str
    small: float
    large: float

    @property
    def ratio(self) -> float:
        return self.large / self.small


def compare(
    name: str, small: tuple[dict[str, list[int]], Cycle], large: tuple[dict[str, list[int]], Cycle], rounds: int
) -> list[Row]:
    """Let both take their rounds in turn, then compare the medians of each kind of event."""
    for times, _ in (small, large):
        times.clear()
    for _ in range(rounds):
        next(small[1])
        next(large[1])
    return [Row(name, kind, median(small[0][kind]) / 1e3, median(large[0][kind]) / 1e3) for kind in small[0]]


def measure(rounds: int) -> tuple[list[Row], list[Row]]:
    """By the number of servers, and by the number of waiting clients."""
    few, many = seating(FEW_SERVERS), seating(MANY_SERVERS)
    by_servers = compare("Distributor", (few[0].machine.times, few[1]), (many[0].machine.times, many[1]), rounds)
    alone, crowd = supervising(FEW_SERVERS), supervising(MANY_SERVERS)
    by_servers += compare("Monitor", (alone[0].times, alone[1]), (crowd[0].times, crowd[1]), rounds)
    few, many = closing(FEW_SERVERS), closing(MANY_SERVERS)
    by_servers += compare("Distributor", (few[0].machine.times, few[1]), (many[0].machine.times, many[1]), rounds)
    alone, crowd = stopping(FEW_SERVERS), stopping(MANY_SERVERS)
    by_servers += compare("Monitor", (alone[0].times, alone[1]), (crowd[0].times, crowd[1]), rounds)
    none, queue = queueing(0), queueing(MANY_WAITING)
    by_waiting = compare("Distributor", (none[0].machine.times, none[1]), (queue[0].machine.times, queue[1]), rounds)
    empty, full = storing(0), storing(MANY_WAITING)
    by_waiting += compare("Monitor", (empty[0].times, empty[1]), (full[0].times, full[1]), rounds)
    return by_servers, by_waiting


def table(rows: list[Row], small: str, large: str) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"| machine | event | {small}, µs | {large}, µs | ratio |",
        "|---|---|---:|---:|---:|",
        *(f"| {r.machine} | {r.event} | {r.small:.1f} | {r.large:.1f} | {r.ratio:.2f} |" for r in rows),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2_000, help="rounds of events at each size (default: 2000)")
    parser.add_argument("--limit", type=float, default=LIMIT, help="the greatest ratio allowed (default: 3)")
    options = parser.parse_args(arguments)
    by_servers, by_waiting = measure(options.rounds)
    print(table(by_servers, f"{FEW_SERVERS} servers", f"{MANY_SERVERS:,} servers"), end="\n\n")
    print(table(by_waiting, "nobody waits", f"{MANY_WAITING:,} wait"), end="\n\n")
    above = [row for row in by_servers + by_waiting if row.ratio > options.limit]
    worst = max(by_servers + by_waiting, key=lambda row: row.ratio)
    print(f"worst ratio: {worst.ratio:.2f} ({worst.machine}, {worst.event}); allowed: {options.limit:g}")
    for row in above:
        print(f"ABOVE THE LIMIT: {row.machine}, {row.event}: {row.ratio:.2f}", file=sys.stderr)
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
