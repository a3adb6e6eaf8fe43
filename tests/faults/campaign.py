"""A fault campaign: three classes of servers, hundreds of clients, and violence; then the account of it all.

Whoever starts the instance also ends it, and looks into what it has recorded (`tests.faults.rounds`).
"""

import compileall
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults import clients
from tests.faults.account import account
from tests.faults.kernel import DISTRIBUTOR, HELPER, MONITOR, SERVER, STANDBY, VERIFIER, census, level_of
from tests.faults.violence import KINDS, RECOVERY, Violence
from tests.machine import free_port
from tests.processes import alive
from tests.system.harness import eventually, write_config

import maitred

ROOT = Path(__file__).resolve().parents[2]
DURATIONS = {
    "backoff_first": 0.05,
    "backoff_cap": 0.2,
    "stable_after": 0.5,
    "queue_timeout": 300,
    "hand_off_timeout": 3,
    "audit_period": 0.5,
    "create_delay": 0.2,
    "delete_delay": 1,
}
"""For many deaths in little time, and a queue that nobody is turned away from."""
CLASSES = {
    "threading": {"static": 3, "dynamic": 1, "max_clients": 16, "waiting_limit": 40},
    "forking": {"static": 2, "max_clients": 12, "waiting_limit": 40},
    "asyncio": {"static": 2, "max_clients": 16, "waiting_limit": 10},
}
"""By the kind of `server.py`.  With hundreds of clients the waiting lists are full at times, and so is the backlog."""
STATIC = sum(keys["static"] for keys in CLASSES.values())
ELEMENTS = ("34a", "34b", "34c", "34d")


@dataclass(frozen=True)
class Plan:
    """What is done, to whom, for how long."""

    seconds: float
    clients: int
    seed: int
    kinds: tuple[str, ...] = tuple(KINDS)
    pause: tuple[float, float] = (0.2, 1.2)
    """Seconds between two acts, least and most."""


def run(start, directory, plan):
    """Carry out the plan.

    Args:
        start: takes the arguments of `maitred run`, and gives the instance, which need not be ready yet.
        directory: for everything that is written.
        plan: what to do.

    Returns:
        the account of the campaign.
    """
    ports = [free_port() for _ in CLASSES]
    instance = start("--config", configuration(directory, ports))
    before = settled(instance, ports)
    violence = Violence(instance, ports, ELEMENTS, random.Random(plan.seed))
    with Crowd(directory / "visits", plan, ports):
        violence.rage(plan.kinds, plan.seconds, plan.pause)
        until = time.monotonic()
        time.sleep(1)  # of peace, in which everybody is served
    after = settled(instance, ports)
    trace = instance.trace if instance.traced else None
    witnesses = clients.read(directory / "visits"), violence.faults, directory / "notes", trace
    return account(*witnesses, instance.log, list(CLASSES), before=before, after=after, until=until)


def configuration(directory, ports):
    """The file of the campaign's three classes; the servers' notes are in the same directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "notes").touch()
    script = str(Path(__file__).with_name("server.py"))
    classes = []
    for port, (kind, keys) in zip(ports, CLASSES.items(), strict=True):
        args = [kind, "127.0.0.1", str(port), str(directory / "notes")]
        classes.append({"name": kind, "script": script, "args": args, "listen": f"127.0.0.1:{port}", **keys})
    cpus = sorted(os.sched_getaffinity(0))
    elements = [{"name": name, "cpus": [cpus[i % len(cpus)]]} for i, name in enumerate(ELEMENTS)]
    return write_config(directory / "campaign.toml", classes, elements, **DURATIONS)


def copied(directory):
    """A copy of the package, and what makes a process run that: whoever works on the original disturbs no campaign.

    Each process that is started reads the package again.
    """
    original = Path(maitred.__file__).parent
    shutil.copytree(original, directory / "package" / "maitred", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(directory / "package", quiet=1)
    return directory / "package" / "maitred", {"PYTHONPATH": str(directory / "package")}


class Crowd:
    """The clients, in a process of their own."""

    def __init__(self, notes, plan, ports):
        arguments = [notes, plan.clients, plan.seed, *ports]
        self.command = [sys.executable, "-m", "tests.faults.clients", *map(str, arguments)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        try:
            code = self.process.wait(clients.TIMEOUT + 60)
        finally:
            self.process.kill()
        assert code == 0, f"the clients' process ended with {code}"


# ---------------------------------------------------------------- at rest


def settled(instance, ports, static=STATIC):
    """Wait until only the static servers run and nobody is there; what each kind of process then takes, by role."""
    expected = Counter({MONITOR: 1, DISTRIBUTOR: len(ports), SERVER: static, STANDBY: 1})
    if "--verify" in instance.arguments:
        expected[VERIFIER] = 1
    eventually(
        lambda: _at_rest(instance, ports, expected),
        lambda: f"all is as it was: {_roles(instance, ports)}; {instance.status()}\n{instance.log[-5_000:]}",
        within=RECOVERY,
        every=0.2,
    )
    levels = {}
    for process in census(instance, ports):
        levels.setdefault(process.role, []).append(level_of(process.pid))
    return levels


def _roles(instance, ports):
    return Counter(process.role for process in census(instance, ports) if alive(process.pid))


def _at_rest(instance, ports, expected):
    roles = _roles(instance, ports)
    if roles.pop(HELPER, 0) > 1 or roles != expected:  # a helper is made again when it is needed, so not at once
        return False
    classes = instance.status()["classes"]
    servers = [server for cls in classes for server in cls["servers"] if server["pid"]]
    return not sum(cls["waiting"] for cls in classes) and all(
        server["clients"] == 0 and server["state"] == "ready" for server in servers
    )
