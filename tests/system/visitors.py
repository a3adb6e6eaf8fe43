"""Many clients of many manners, and what became of each: the witnesses of a fault campaign.

The server's log says which connection (`SO_COOKIE`) was accepted by which process; the clients say what they saw; the
list of kills says who died.  From these three `account` explains every loss, or says that it cannot.
"""

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

TIMEOUT = 30.0
"""Seconds without an answer after which a client hangs: far more than any wait in these campaigns."""

MOMENT = 2.0
"""Seconds around a kill in which its victims' clients hear of it, on a busy machine."""


@dataclass
class Visit:
    """One client's connection, as the client saw it."""

    name: str
    manner: str
    port: int = 0
    outcome: str = "?"
    """served, left (by its own will), lost, refused, hanging."""
    server: int = 0
    cookie: int = 0
    began: float = 0.0
    ended: float = 0.0
    detail: str = ""


@dataclass
class Kill:
    """One `kill -9`."""

    what: str
    pid: int
    at: float
    with_distributor: bool = False
    """Of a server: whether the Distributor was killed in the same moment."""


class Lost(Exception):
    """The connection ended before the service was complete."""


class Visitors:
    """Clients that come again and again until they are told to stop."""

    def __init__(self, port, count, seed):
        self.port = port
        self.visits = []
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=self._live, args=(i, random.Random(seed * 1000 + i))) for i in range(count)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        for thread in self.threads:
            thread.join(TIMEOUT + 10)
        assert not any(thread.is_alive() for thread in self.threads), "a client neither ended nor timed out"

    def _live(self, number, rng):
        manners = list(MANNERS)
        turn = 0
        while not self.over.is_set():
            visit = Visit(f"{number}-{turn}", rng.choice(manners))
            self._pay(visit, rng)
            self.visits.append(visit)
            turn += 1
            self.over.wait(rng.uniform(0, 0.1))

    def _pay(self, visit, rng):
        """One visit, with its outcome noted."""
        visit.began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), TIMEOUT) as connection:
                visit.port = connection.getsockname()[1]
                visit.outcome = MANNERS[visit.manner](connection, visit, rng)
        except ConnectionRefusedError as error:
            visit.outcome, visit.detail = "refused", str(error)
        except TimeoutError as error:
            visit.outcome, visit.detail = "hanging", str(error)
        except (Lost, ConnectionResetError, BrokenPipeError) as error:
            visit.outcome, visit.detail = "lost", f"{type(error).__name__}: {error}"
        visit.ended = time.monotonic()


def _greeting(lines, visit):
    line = lines.readline()
    if not line:
        raise Lost("before the greeting")
    words = line.split()
    visit.server, visit.cookie = int(words[1]), int(words[2])


def _answer(lines, expected):
    line = lines.readline()
    if not line:
        raise Lost("before the answer")
    assert line == expected + b"\n", f"{line!r} instead of {expected!r}"


def brief(connection, visit, rng):
    """Is greeted, says who it is, goes."""
    with connection.makefile("rb") as lines:
        _greeting(lines, visit)
        connection.sendall(b"hello " + visit.name.encode() + b"\n")
        _answer(lines, b"hello " + visit.name.encode())
    return "served"


def lengthy(connection, visit, rng):
    """Stays for a while."""
    with connection.makefile("rb") as lines:
        _greeting(lines, visit)
        connection.sendall(b"hello " + visit.name.encode() + b"\n")
        _answer(lines, b"hello " + visit.name.encode())
        for turn in range(rng.randrange(1, 6)):
            time.sleep(rng.uniform(0, 0.15))
            connection.sendall(b"turn %d\n" % turn)
            _answer(lines, b"turn %d" % turn)
    return "served"


def forward(connection, visit, rng):
    """Asks before it is greeted, closes its side, and wants the whole answer."""
    connection.sendall(b"hello " + visit.name.encode() + b"\n")
    connection.shutdown(socket.SHUT_WR)
    with connection.makefile("rb") as lines:
        _greeting(lines, visit)
        _answer(lines, b"hello " + visit.name.encode())
        assert lines.read() == b""
    return "served"


def dismissed(connection, visit, rng):
    """Lets the server close first."""
    with connection.makefile("rb") as lines:
        _greeting(lines, visit)
        connection.sendall(b"hello " + visit.name.encode() + b"\nbye\n")
        _answer(lines, b"hello " + visit.name.encode())
        assert lines.read() == b""
    return "served"


def impatient(connection, visit, rng):
    """Goes away after a moment, whether served or not."""
    time.sleep(rng.uniform(0, 0.05))
    return "left"


def rude(connection, visit, rng):
    """Resets the connection after a moment."""
    time.sleep(rng.uniform(0, 0.05))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "left"


MANNERS = {manner.__name__: manner for manner in (brief, lengthy, forward, dismissed, impatient, rude)}

# ---------------------------------------------------------------- the account


@dataclass
class Account:
    """Everything that was seen, brought together."""

    visits: list
    kills: list
    accepted: dict = field(default_factory=dict)
    """Cookie: (pid, the client's port, when)."""
    twice: list = field(default_factory=list)
    unlogged: set = field(default_factory=set)
    """Cookies that a server's endpoint took and never gave up, and whose program died before it could note them."""
    alone: int = 0
    """Distributors that died, by their trace, while they alone held a client: accepted or released, not yet sent."""
    losses: Counter = field(default_factory=Counter)
    unexplained: list = field(default_factory=list)
    nowhere: list = field(default_factory=list)
    """Lost, and never accepted by any program."""
    untimely: list = field(default_factory=list)
    """Of those, the ones that were not lost in the moment of a kill."""

    def count(self, outcome):
        return sum(visit.outcome == outcome for visit in self.visits)

    @property
    def allowance(self):
        """How many may be lost without ever having been accepted by a program (the instants of requirement OWN-3.6).

        One for each Distributor killed; one for each server killed together with it, whose hand-off was unanswered; and
        those whom a killed server's endpoint had taken and whose program had no time to note it.
        """
        distributors = sum(kill.what == "distributor" for kill in self.kills)
        together = sum(kill.with_distributor for kill in self.kills)
        return distributors + together + len(self.unlogged)

    def table(self):
        lines = [
            f"{len(self.visits)} visits, {len(self.kills)} kills: {dict(Counter(kill.what for kill in self.kills))}"
        ]
        lines += [f"  {outcome}: {self.count(outcome)}" for outcome in ("served", "left", "lost", "refused", "hanging")]
        lines += [f"    lost, {cause}: {number}" for cause, number in sorted(self.losses.items())]
        lines += [
            f"    never accepted may be at most {self.allowance}; by the trace, {self.alone} Distributors died with a"
            f" client in hand, and {len(self.unlogged)} clients were taken by a server that had no time to note it"
        ]
        return "\n".join(lines)


def account(visits, kills, log, trace):
    """Bring the witnesses together.  `log` is the servers' own, `trace` that of the instance."""
    result = Account(visits, kills)
    greeted_names = Counter()
    for line in log.read_text().splitlines():
        words = line.split()
        if words[0] == "accept":
            pid, cookie, port, at = int(words[1]), int(words[2]), int(words[3]), float(words[4])
            if cookie in result.accepted:
                result.twice.append(f"connection {cookie} was accepted by {result.accepted[cookie][0]} and by {pid}")
            result.accepted[cookie] = (pid, port, at)
        else:
            greeted_names[words[3]] += 1
    result.twice += [f"client {name} was served {times} times" for name, times in greeted_names.items() if times > 1]
    result.unlogged = _taken(trace) - result.accepted.keys()
    result.alone = _alone(trace)

    killed = {kill.pid for kill in kills if kill.what == "server"}
    for visit in visits:
        if visit.outcome == "lost":
            _explain(visit, killed, result)
    return result


def _explain(visit, killed, result):
    server = visit.server or _accepted_by(visit, result.accepted)
    if server in killed:
        known = "while it was served" if visit.server else "accepted, not yet greeted"
        result.losses[f"its server was killed ({known})"] += 1
    elif server:
        result.losses["by a living server"] += 1
        result.unexplained.append(visit)
    else:
        result.losses["never accepted"] += 1
        result.nowhere.append(visit)
        if not any(kill.at - MOMENT < visit.ended < kill.at + MOMENT for kill in result.kills):
            result.untimely.append(visit)


def _accepted_by(visit, accepted):
    """The server that accepted this visit's connection, 0 where none did."""
    for pid, port, at in accepted.values():
        if port == visit.port and visit.began <= at <= visit.ended + 0.01:
            return pid
    return 0


def _taken(trace):
    """The cookies of the hand-offs that reached a server's endpoint whole, but for those that it let go of since."""
    cookies = set()
    for line in trace.read_text().splitlines():
        if '"HandOff"' in line and '"MessageRead"' in line:
            event = json.loads(line)["event"]
            if event["intact"]:
                cookies.add(event["message"]["client"]["cookie"])
        elif '"Disconnected"' in line:
            cookies.discard(json.loads(line)["event"]["client"]["cookie"])
    return cookies


def _alone(trace):
    """How many Distributors ended between a client's acceptance, or its release, and what secures it again."""
    unsecured = {}
    for line in trace.read_text().splitlines():
        record = json.loads(line)
        who = record["who"]
        if who.startswith("distributor"):
            if record.get("event", {}).get("is") == "ConnectionRequest":
                unsecured[who] = True
            elif "event" in record:
                unsecured[who] = False
            effect = record.get("effect", {})
            if (said := effect.get("message", {}).get("is")) in ("Store", "HandOff", "Release"):
                unsecured[who] = said == "Release"
    return sum(unsecured.values())
