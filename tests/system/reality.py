"""A real instance that suffers the deeds of `prediction`, and how it looks from outside.

What is seen comes from the clients' own sockets, from `maitred status`, and from the kernel's list of processes.  The
instance is at rest when it has looked the same for a moment in which no machine has taken a step, by its trace.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque

from tests.machine import free_port
from tests.processes import state_of
from tests.system.harness import SERVERS, Instance, command_of, eventually, processes_with, write_config
from tests.system.prediction import (
    ENDED,
    UNSERVED,
    Connect,
    ContinueServer,
    Element,
    KillDistributor,
    KillServer,
    Leave,
    Outlook,
    Shutdown,
    StopServer,
    server_line,
)

LAST_WORDS = b"last words\n"
REST = 0.04
"""Seconds without a step of any machine: it is at rest, or a timer runs, and then it looks otherwise than at rest."""
DURATIONS = {
    "backoff_first": 0.05,
    "backoff_cap": 0.2,
    "create_delay": 0.2,
    "delete_delay": 0.3,
    "kill_delay": 0.3,
    "queue_timeout": 1000,
    "hand_off_timeout": 1000,
    "grace": 1000,
    "start_warning": 1000,
}
"""Short, of what the model lets end; longer than any test, of what it does not."""


class Caller:
    """A client, and all that it has been sent."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.heard = b""
        self.ended = False
        self.said = b""
        """What it expects to be echoed."""

    @property
    def greeted_by(self):
        """The pid of the process that serves this client; None where it was not greeted yet."""
        line, newline, _ = self.heard.partition(b"\n")
        return int(line) if newline else None

    @property
    def echoed(self):
        return self.heard.partition(b"\n")[2]

    def listen(self, within=0.0):
        """Take what has come."""
        while not self.ended and select.select([self.socket], [], [], within)[0]:
            try:
                piece = self.socket.recv(65_536)
            except ConnectionError:
                piece = b""
            self.heard += piece
            self.ended = not piece

    def say(self, words):
        self.said += words
        with contextlib.suppress(ConnectionError):  # its server has died: the outlook will show
            self.socket.sendall(words)

    def is_answered(self):
        self.listen(0.01)
        return self.echoed == self.said


class Reality:
    """`maitred run`, its servers and its clients."""

    def __init__(self, directory, bounds, children=False):
        """Start an instance of the same size as the model's system."""
        cpus = sorted(os.sched_getaffinity(0))
        self.ports = [free_port() for _ in range(bounds.ports)]
        assert len(set(self.ports)) == bounds.ports
        self.elements = [f"e{i}" for i in range(bounds.elements)]
        elements = [
            {"name": name, "cpus": [cpus[i % len(cpus)]], "weight": i + 1} for i, name in enumerate(self.elements)
        ]
        cls = {
            "name": "echoes",
            "script": str(SERVERS / "echoes.py"),
            "args": [",".join(map(str, self.ports)), *(["idler"] if children else [])],
            "listen": [f"127.0.0.1:{port}" for port in self.ports],
            "static": bounds.servers,
            "dynamic": bounds.dynamic,
            "max_clients": bounds.max_clients,
            "waiting_limit": bounds.waiting_limit,
        }
        directory.mkdir(parents=True)
        config = write_config(directory / "config.toml", [cls], elements, **DURATIONS)
        self.instance = Instance(directory / "instance", ["--config", config])
        self.callers = []
        self.departed = set()
        self.killed = set()
        """Pids that were killed and that the status may not know to be dead yet."""
        self.stopped = {}
        """The pids of stopped servers, by place."""

    def __enter__(self):
        self.instance.start()
        return self

    def __exit__(self, kind, error, traceback):
        for caller in self.callers:
            caller.socket.close()
        for pid in self.stopped.values():
            self._signal(pid, signal.SIGCONT)
        try:
            self.instance.finish()
        except AssertionError as complaint:
            if error is None:
                raise
            error.add_note(f"and at the end: {complaint}")

    # ------------------------------------------------ deeds

    def do(self, deeds):
        """Do them one after the other without waiting; the victims are those that were there at the beginning."""
        pids = self._pids()
        for deed in deeds:
            self._do(deed, pids, hurried=len(deeds) > 1)

    def _pids(self):
        """Who fills each place, and the Distributor as ``-1``, by their pids."""
        if self._has_ended():
            return {}
        cls = self.instance.server_class()
        return {-1: cls["distributor"]["pid"], **{row["place"]: row["pid"] for row in cls["servers"]}}

    def _do(self, deed, pids, hurried):
        match deed:
            case Connect(port):
                self.callers.append(Caller(self.ports[port - 1]))
            case Leave(client, closes, last_words):
                self._leave(client, closes, last_words)
            case KillServer(place):
                self._kill(pids[place])
                self.stopped.pop(place, None)
            case KillDistributor():
                self._kill(pids[-1])
            case StopServer(place):
                self._signal(pids[place], signal.SIGSTOP)
                self.stopped[place] = pids[place]
                eventually(lambda: state_of(pids[place]) == "T", f"{pids[place]} is stopped")
            case ContinueServer(place):
                self._signal(pids[place], signal.SIGCONT)
                self.stopped.pop(place)
            case Element(element, up):
                self._element(self.elements[element], up, hurried)
            case Shutdown():
                if not self._has_ended():
                    self.instance.signal(signal.SIGTERM)

    def _element(self, name, up, hurried):
        """By the command, or where that would take too long to start, as the command does it."""
        if hurried:
            with contextlib.suppress(OSError, ValueError):  # the instance has ended
                self.instance.ask({"request": "element", "name": name, "up": up})
            return
        said = self.instance.command("element", name, "up" if up else "down", "--control", self.instance.control)
        assert said.returncode == 0, said.stderr

    def _leave(self, client, closes, last_words):
        caller = self.callers[client]
        if last_words:
            caller.say(LAST_WORDS)
        if closes:
            self.departed.add(client)
            caller.socket.close()
        else:
            with contextlib.suppress(OSError):  # its connection has ended already
                caller.socket.shutdown(socket.SHUT_WR)

    def _kill(self, pid):
        with contextlib.suppress(OSError):  # it is dead already
            self.instance.kill(pid)
        self.killed.add(pid)

    def _signal(self, pid, number):
        """Signal a process of this instance; one that is dead meanwhile is let be, whoever has its number now."""
        if pid in processes_with(self.instance.token.encode()):
            os.kill(pid, number)

    # ------------------------------------------------ how it looks

    def look(self):
        """How the instance looks at this moment; None while a process that was killed is still in the status."""
        for client, caller in enumerate(self.callers):
            if client not in self.departed:
                caller.listen()
        try:
            status = None if self._has_ended() else self.instance.status()
        except (OSError, ValueError):
            return None  # it is just ending
        return self.outlook(status)

    def outlook(self, status):
        """The outlook by this status; None where it is older than a kill."""
        if status is None:
            lines, pids = {"monitor": "ended"}, {}
        else:
            cls = status["classes"][0]
            pids = {row["pid"]: row["place"] for row in cls["servers"] if row["pid"]}
            if self.killed & {*pids, cls["distributor"]["pid"]}:
                return None
            self.killed.clear()  # their numbers may be given again
            lines = self._lines(status, cls)
        for client, caller in enumerate(self.callers):
            if client not in self.departed:
                lines[f"client {client}"] = self._client_line(caller, pids)
        lines["processes"] = str(len(self._processes()))
        return Outlook.of(lines)

    def _lines(self, status, cls):
        names = {None: -1, **{name: i for i, name in enumerate(self.elements)}}
        lines = {"monitor": status["monitor"]["phase"]}
        place = cls["distributor"]
        alive = place["pid"] is not None
        lines["distributor"] = f"{place['phase']}, on element {names[place['element']]}" if alive else "none"
        for i, element in enumerate(status["elements"]):
            lines[f"element {i}"] = f"{'up' if element['up'] else 'down'}, {element['processes']} processes"
        for row in cls["servers"]:
            line = server_line(row["kind"], row["state"], row["clients"], names[row["element"]])
            lines[f"place {row['place']}"] = line
        lines["waiting"] = " ".join(f"port {self.ports.index(w['port']) + 1}" for w in cls["waiting_list"]) or "nobody"
        return lines

    def _client_line(self, caller, pids):
        if caller.ended:
            return ENDED
        if caller.greeted_by is None:
            return UNSERVED
        place = pids.get(caller.greeted_by, "unknown")
        return f"served by place {place}"

    def _has_ended(self):
        return self.instance.process.poll() is not None

    def _processes(self):
        """Every process of the instance but the helper that `multiprocessing` starts, and the standby."""
        found = processes_with(self.instance.token.encode())
        return [pid for pid in found if "resource_tracker" not in command_of(pid) and not self._is_standby(pid)]

    def _is_standby(self, pid):
        """Whether it is in the Monitor's session, as no server and no Distributor is."""
        monitor = self.instance.process.pid
        with contextlib.suppress(ProcessLookupError):
            return pid != monitor and os.getsid(pid) == monitor
        return False

    # ------------------------------------------------ coming to rest

    def come_to_rest(self, forecast, within):
        """Wait until it rests in an outlook of the forecast; which, or how it looks instead, and whether it agrees."""
        deadline = time.monotonic() + within
        seen = before = None
        while time.monotonic() < deadline:
            now = self.look(), self.steps()
            seen = now[0] or seen
            if now[0] in forecast and now == before:
                return now[0], True
            before = now
            time.sleep(REST)
        return seen or Outlook.of({"status": "does not tell of the deaths"}), False

    def steps(self):
        """Grows with each step of a machine."""
        return self.instance.trace.stat().st_size

    def last_steps(self, count=25):
        """The end of the trace."""
        with self.instance.trace.open() as lines:
            return "".join(line[:300].rstrip() + "\n" for line in deque(lines, count))
