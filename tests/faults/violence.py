"""What is done to an instance: processes killed, stopped, starved of descriptors, processing elements lost.

Every act is noted as a `Fault` before it is done, so that whatever follows from it is later than its time.  What lasts
(a stopped process, a lowered limit, a lost element) is a debt that is paid back after a while.
"""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.kernel import CHILD, DISTRIBUTOR, HELPER, MONITOR, SERVER, census
from tests.system.harness import eventually

MOMENT = 0.05, 1.5
"""Seconds that a stop, a shortage or a loss lasts, least and most."""
HANG = 8.0
"""Seconds that a server is sometimes stopped: longer than the campaign's hand-off timeout, so it is taken for hung."""
HANG_SHARE = 0.2
ELEMENTS_LEFT = 2
WRATH = 10.0
"""Seconds after which everything is let come up again: a slow machine would do nothing but start processes."""
RECOVERY = 180.0
"""Seconds within which it is up, however busy the machine."""


@dataclass
class Fault:
    """One act."""

    kind: str
    """Of `KINDS`."""
    role: str
    """Of the process, or ``element``."""
    pid: int
    main: int
    """Of a server's process: the server's main one."""
    at: float
    """Of the monotonic clock; what follows from it is later."""
    deadly: bool
    element: str = ""


class Violence:
    """Acts at random, and remembers what it has done."""

    def __init__(self, instance, ports, elements, rng):
        self.instance, self.ports, self.rng = instance, ports, rng
        self.up = list(elements)
        self.faults = []
        self.debts: list[tuple[float, Callable[[], None]]] = []

    # ------------------------------------------------ in time

    def rage(self, kinds, seconds, pause):
        """Act for so many seconds, with a pause of a length from `pause` (least, most) after each act."""
        left = seconds
        while left > 0:
            began = time.monotonic()
            while (spent := time.monotonic() - began) < min(left, WRATH):
                KINDS[self.rng.choice(kinds)](self)
                self._pause(self.rng.uniform(*pause))
            left -= spent
            self.pay(everything=True)
            eventually(self.all_up, lambda: f"all are up again: {self.instance.status()}", within=RECOVERY, every=0.1)

    def all_up(self):
        """Every class has a Distributor at work, and every server is ready."""
        phases = [(cls["distributor"] or {}).get("phase") for cls in self.instance.status()["classes"]]
        return set(phases) == {"operating"} and self.instance.all_ready()

    def _pause(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.pay()
            time.sleep(min(left, 0.05))

    def pay(self, everything=False):
        """Undo what has lasted long enough, or everything."""
        due = [debt for debt in self.debts if everything or debt[0] <= time.monotonic()]
        for debt in due:
            self.debts.remove(debt)
            debt[1]()

    def _owe(self, undo, seconds=None):
        self.debts.append((time.monotonic() + (seconds or self.rng.uniform(*MOMENT)), undo))

    # ------------------------------------------------ on whom

    def some(self, *roles):
        """A process of one of these roles, at random; None where there is none now."""
        found = [process for process in census(self.instance, self.ports) if process.role in roles]
        return self.rng.choice(found) if found else None

    def _note(self, kind, process, *, deadly):
        self.faults.append(Fault(kind, process.role, process.pid, process.main, time.monotonic(), deadly))

    def _signal(self, kind, process, number):
        """Whether the process was there to be sent the signal."""
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(process.pid)
            try:
                mine = self.instance.token.encode() in _environment(process.pid)
                if mine:
                    self._note(kind, process, deadly=number == signal.SIGKILL)
                    signal.pidfd_send_signal(pidfd, number)
                return mine
            finally:
                os.close(pidfd)
        return False

    # ------------------------------------------------ acts

    def kill(self, role):
        process = self.some(role)
        if process is not None:
            self._signal(f"kill {role}", process, signal.SIGKILL)

    def kill_both(self):
        """A Distributor and a server of its class, in one moment and in either order."""
        distributor = self.some(DISTRIBUTOR)
        if distributor is None:
            return
        servers = [p for p in census(self.instance, self.ports) if p.role == SERVER and p.port == distributor.port]
        victims = [distributor, *self.rng.sample(servers, min(1, len(servers)))]
        for process in self.rng.sample(victims, len(victims)):
            self._signal("kill both", process, signal.SIGKILL)

    def stop(self, role):
        """SIGSTOP, and SIGCONT after a while."""
        process = self.some(role)
        if process is None or not self._signal(f"stop {role}", process, signal.SIGSTOP):
            return
        hang = role == SERVER and self.rng.random() < HANG_SHARE
        self._owe(lambda: self._continue(process), HANG if hang else None)

    def _continue(self, process):
        with contextlib.suppress(ProcessLookupError):
            if self.instance.token.encode() in _environment(process.pid):
                os.kill(process.pid, signal.SIGCONT)

    def starve(self, role):
        """Not one more descriptor for a while."""
        process = self.some(role)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            held = {int(fd) for fd in os.listdir(f"/proc/{process.pid}/fd")}
            free = next(fd for fd in range(len(held) + 1) if fd not in held)
            before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            self._note(f"starve {role}", process, deadly=False)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free, before[1]))
            self._owe(lambda: self._feed(process, before))

    def _feed(self, process, limits):
        with contextlib.suppress(ProcessLookupError):
            if self.instance.token.encode() in _environment(process.pid):
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)

    def lose_element(self):
        """A processing element fails, and comes back after a while."""
        if len(self.up) <= ELEMENTS_LEFT:
            return
        name = self.rng.choice(self.up)
        self.up.remove(name)
        self.faults.append(Fault("lose element", "element", 0, 0, time.monotonic(), False, name))
        self._element(name, up=False)
        self._owe(lambda: self._restore(name))

    def _restore(self, name):
        self._element(name, up=True)
        self.up.append(name)

    def _element(self, name, *, up):
        answer = self.instance.ask({"request": "element", "name": name, "up": up})
        assert answer == {"ok": True}, answer

    def stop_monitor(self):
        """For a moment, in which nothing is asked of it."""
        process = self.some(MONITOR)
        if process is not None and self._signal("stop Monitor", process, signal.SIGSTOP):
            time.sleep(self.rng.uniform(*MOMENT))
            self._continue(process)


def _environment(pid):
    """Of the process; empty where it is gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


KINDS: dict[str, Callable[[Violence], None]] = {
    "kill server": lambda violence: violence.kill(SERVER),
    "kill child": lambda violence: violence.kill(CHILD),
    "kill Distributor": lambda violence: violence.kill(DISTRIBUTOR),
    "kill both": Violence.kill_both,
    "kill helper": lambda violence: violence.kill(HELPER),
    "stop server": lambda violence: violence.stop(SERVER),
    "stop child": lambda violence: violence.stop(CHILD),
    "stop Distributor": lambda violence: violence.stop(DISTRIBUTOR),
    "stop Monitor": Violence.stop_monitor,
    "starve server": lambda violence: violence.starve(SERVER),
    "starve Distributor": lambda violence: violence.starve(DISTRIBUTOR),
    "lose element": Violence.lose_element,
}
"""Every kind of act, by its name."""
