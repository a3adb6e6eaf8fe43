"""A hostile campaign: a class with a hostile copy among honest ones, an honest class beside it, clients of both wills.

There is peace first, then war, then peace again; only what the war has changed is the hostile copy's doing.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults import clients
from tests.faults.account import Diary
from tests.faults.campaign import ROOT, Crowd, settled
from tests.hostile.account import Account, Asked, Deeds, account
from tests.hostile.attacks import ATTACKS
from tests.hostile.clients import STAY
from tests.machine import free_port
from tests.system.harness import Instance, write_config

DURATIONS = {
    "backoff_first": 0.05,
    "backoff_cap": 0.2,
    "stable_after": 0.2,
    "queue_timeout": 300,
    "hand_off_timeout": 1.5,
    "audit_period": 0.5,
}
"""For many lives of the hostile copy in little time, and a queue that nobody is turned away from."""
HOSTILE, HONEST = "hostile", "honest"
CLASSES = {
    HOSTILE: {"static": 3, "max_clients": 16, "waiting_limit": 40},
    HONEST: {"static": 2, "max_clients": 16, "waiting_limit": 40},
}
ASK = 0.1
"""Seconds between two looks at the status."""


@dataclass(frozen=True)
class Plan:
    """What is done, for how long."""

    seconds: float
    """Of war."""
    attacks: tuple[str, ...] = tuple(ATTACKS)
    peace: float = 3.0
    """Seconds before it."""
    attack: float = 2.0
    """Seconds that an attack lasts."""
    clients: int = 30
    """Of good will."""
    guests: int = 10
    """Of ill will."""
    seed: int = 1


def run(directory, plan, environment=None) -> Account:
    """Carry out the plan, and see to the instance's end; what was seen, brought together."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = [free_port() for _ in CLASSES]
    config = configuration(directory, ports, free_port(), plan)
    instance = Instance(directory / "instance", ["--config", config], environment=environment)
    instance.replays = False  # a hostile copy's own lines are not there
    complaints = []
    try:
        instance.start(ready=False)
        found = _conduct(instance, directory, plan, ports)
    finally:
        try:
            instance.finish()
        except AssertionError as error:
            complaints.append(str(error)[:5_000])
    found.wrong += complaints
    return found


def _conduct(instance, directory, plan, ports):
    static = sum(keys["static"] for keys in CLASSES.values())
    before = settled(instance, ports, static)
    war = directory / "war"
    with Asking(instance) as asking, Guests(plan, ports) as guests, Crowd(directory / "visits", plan, ports):
        time.sleep(plan.peace)
        war.touch()
        began = time.monotonic()
        asking.over.wait(plan.seconds)
        war.unlink()
        ended = time.monotonic() + plan.attack
        time.sleep(plan.attack + 1)  # of the last attack, and of peace, in which everybody is served
    try:
        after = settled(instance, ports, static)
    except (AssertionError, OSError) as error:
        asking.complaints.append(f"not as it was: {str(error)[:2_000]}")
        after = before
    (directory / "deeds").touch()
    found = account(
        list(CLASSES),
        ports,
        HOSTILE,
        clients.read(directory / "visits"),
        Diary(directory / "notes"),
        Deeds.read(directory),
        asking.found,
        guests.done,
        (began, ended),
        instance.log,
        instance.trace,
        before,
        after,
    )
    found.wrong += asking.complaints
    return found


def configuration(directory, ports, unbound, plan):
    """The file of the two classes; the notes of both are in the same directory.

    The hostile copy's class has a further port, which no program binds: it is there for what that copy makes of it.
    """
    notes, faults = directory / "notes", Path(clients.__file__).with_name("server.py")
    notes.touch()
    own = {
        HOSTILE: (
            Path(__file__).with_name("server.py"),
            ["threading"],
            [directory, unbound, plan.seed, plan.attack, *plan.attacks],
        ),
        HONEST: (faults, ["asyncio"], []),
    }
    classes = []
    for port, (name, keys) in zip(ports, CLASSES.items(), strict=True):
        script, kind, more = own[name]
        args = [str(word) for word in (*kind, "127.0.0.1", port, notes, *more)]
        listen = [f"127.0.0.1:{number}" for number in ((port, unbound) if name == HOSTILE else (port,))]
        classes.append({"name": name, "script": str(script), "args": args, "listen": listen, **keys})
    return write_config(directory / "hostile.toml", classes, **DURATIONS)


class Asking:
    """Asks for the status all the time, in a thread."""

    def __init__(self, instance):
        self.instance = instance
        self.found, self.complaints = [], []
        self.over = threading.Event()
        """Also set where nobody answers any more."""
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self._thread.join()

    def _ask(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                status = self.instance.status()
            except (OSError, ValueError) as error:
                self.complaints.append(f"the Monitor does not answer: {error!r}")
                self.over.set()
                return
            classes = [(cls["distributor"] or {}, cls["servers"]) for cls in status["classes"]]
            distributors = tuple((d.get("pid"), d.get("incarnation"), d.get("phase")) for d, _ in classes)
            servers = tuple({server["pid"] for server in rows if server["pid"]} for _, rows in classes)
            self.found.append(Asked(began, time.monotonic() - began, distributors, servers))
            self.over.wait(ASK)


class Guests:
    """The clients of ill will, in a process of their own."""

    def __init__(self, plan, ports):
        arguments = [plan.guests, plan.seed, *ports]
        self.command = [sys.executable, "-m", "tests.hostile.clients", *map(str, arguments)]
        self.done = Counter()

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
        )
        return self

    def __exit__(self, *exception):
        try:
            said, _ = self.process.communicate(timeout=STAY + 30)
            self.done.update(json.loads(said))
        finally:
            with contextlib.suppress(OSError):
                self.process.kill()
