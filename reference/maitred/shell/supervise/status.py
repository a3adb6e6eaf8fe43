"""The control socket: answers ``maitred status`` and its like, and nobody but us.

A client connects, sends one line of JSON, gets one line of JSON, and is hung up on.  Requests:

==============================================  ================================================
``{"request": "status"}``                       the status (docs/reference/status.md)
``{"request": "element", "name": N, "up": B}``  take a processing element for failed, or restored
``{"request": "rotate"}``                       open the log and the trace again, as SIGUSR1
``{"request": "stop"}``                         as SIGTERM; with ``"quick": true`` as SIGINT
==============================================  ================================================

An error is ``{"error": TEXT}``.  Whoever connects must be root or our own user (the kernel says who it is).  Nothing
that a client does or leaves undone holds the Monitor up: lines are bounded, and so are the number of clients and the
time that each may take.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from maitred.compiled import running
from maitred.config.model import Config
from maitred.core import monitor
from maitred.core.messages import ServerId
from maitred.core.monitor import ClassId, ClassState, MonitorState, Place, PlacePhase, Retirement
from maitred.shell.io import kernel
from maitred.shell.io.loop import Loop

Json: TypeAlias = "dict[str, object]"
Reply: TypeAlias = Callable[[Json], None]
Answerer: TypeAlias = Callable[[Json, Reply], None]
"""Is called with a request and with what to call, now or later, with the reply."""

VERSION: Final = 1
TOTALS: Final = ("accepted", "taken", "refused", "timed_out")
"""What a Distributor counts."""
LONGEST_REQUEST: Final = 4096
MOST_CLIENTS: Final = 32
PATIENCE: Final = 5.0
LONGEST_PART: Final = 64 << 20
"""Bytes of what a Distributor says for the status: what whoever asks would take as well."""
PAUSE: Final = 0.05
"""Seconds until the next try where nobody can be let in."""


class ControlServer:
    """The listening control socket and its clients."""

    def __init__(self, loop: Loop, path: Path, answer: Answerer) -> None:
        """Listen at ``path``.

        Raises:
            OSError: that is not possible.
        """
        self._loop = loop
        self._path = path
        self._answer = answer
        self._clients: dict[int, _Client] = {}
        self._listener = _listen_privately(path)
        self._watch()

    def close(self) -> None:
        """Hang up on everybody, and remove the socket."""
        for client in list(self._clients.values()):
            client.close()
        self._loop.cancel_timer(self)
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _watch(self) -> None:
        self._loop.watch(self._listener.fileno(), select.EPOLLIN, self._on_client)

    def _on_client(self, flags: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # gone again
        except OSError:  # no descriptor is left: status has to wait, and the listener stays readable
            self._loop.forget(self._listener.fileno())
            self._loop.set_timer(self, PAUSE, self._watch)
            return
        if len(self._clients) >= MOST_CLIENTS:
            connection.close()
            return
        client = _Client(self._loop, connection, self._answer, partial(self._clients.pop, connection.fileno(), None))
        self._clients[connection.fileno()] = client
        client.begin()


def _listen_privately(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.setblocking(False)
        listener.bind(os.fspath(path))
        listener.listen(MOST_CLIENTS)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


class _Client:
    """One connection to the control socket."""

    def __init__(self, loop: Loop, connection: socket.socket, answer: Answerer, forget: Callable[[], object]) -> None:
        self._loop = loop
        self._connection = connection
        self._answer = answer
        self._forget = forget
        self._request = b""
        self._asked = False
        self._reply = b""

    def begin(self) -> None:
        self._connection.setblocking(False)
        self._loop.watch(self._connection.fileno(), select.EPOLLIN, self._on_ready)
        self._loop.set_timer(self, PATIENCE, self.close)

    def close(self) -> None:
        fd = self._connection.fileno()
        if fd >= 0:
            self._loop.cancel_timer(self)
            self._loop.forget(fd)
            self._forget()
            self._connection.close()

    def _on_ready(self, flags: int) -> None:
        if self._reply:
            self._write()
            return
        if self._asked:  # it does not wait for the answer
            self.close()
            return
        try:
            piece = self._connection.recv(LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._request += piece
        line, newline, _ = self._request.partition(b"\n")
        if newline:
            self._asked = True
            self._loop.change(self._connection.fileno(), 0)
            self._ask(line)
        elif not piece and not self._request:
            self.close()
        elif not piece:
            self._send({"error": "a request is one line; this one has no end"})
        elif len(self._request) >= LONGEST_REQUEST:
            self._send({"error": f"a request is one line of at most {LONGEST_REQUEST} bytes"})

    def _ask(self, line: bytes) -> None:
        _, uid = kernel.peer_of(self._connection)
        if uid not in (0, os.geteuid()):
            self._send({"error": "this instance belongs to another user"})
            return
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            self._send({"error": "a request is one line of JSON"})
            return
        if not isinstance(request, dict):
            self._send({"error": 'a request is a JSON object, as {"request": "status"}'})
            return
        self._answer(request, self._send)

    def _send(self, reply: Json) -> None:
        if self._connection.fileno() >= 0 and not self._reply:
            self._reply = json.dumps(reply).encode() + b"\n"
            self._write()

    def _write(self) -> None:
        try:
            self._reply = self._reply[self._connection.send(self._reply) :]
        except BlockingIOError:
            pass
        except OSError:
            self._reply = b""
        if self._reply:
            self._loop.change(self._connection.fileno(), select.EPOLLOUT)
        else:
            self.close()


# ==================================================================== what the status says


def build(
    config: Config,
    state: MonitorState,
    pids: Mapping[ServerId, int],
    distributors: Mapping[ClassId, int],
    parts: Mapping[ClassId, Json | None],
    obstacles: Mapping[ClassId, list[str]] = MappingProxyType({}),
    standby: int | None = None,
    restarts: Mapping[tuple[ClassId, int], int] = MappingProxyType({}),
    failed_replacements: Mapping[ClassId, int] = MappingProxyType({}),
) -> Json:
    """The status of the instance, version 1.

    Args:
        config: of the instance.
        state: of the Monitor.
        pids: of the servers' main processes.
        distributors: pids of the Distributors.
        parts: what each Distributor says (`maitred.shell.distributor_status.status_of`); None of one that does not
            answer.
        obstacles: why the servers of a class do not come up, as far as that is known.
        standby: the pid of the process that will be the next Distributor.
        restarts: how often a server was started in a place again, by class and place.
        failed_replacements: how often servers could not be replaced, by class.
    """
    names = [element.name for element in config.elements]
    return {
        "version": VERSION,
        "name": config.name,
        "monitor": {"pid": os.getpid(), "phase": state.phase.value, "standby": standby, "core": running()},
        "elements": [
            {
                "name": element.name,
                "up": state.elements[i].up,
                "cpus": list(element.cpus),
                "weight": element.weight,
                "processes": state.elements[i].processes,
            }
            for i, element in enumerate(config.elements)
        ],
        "classes": [
            {
                **_class(
                    config.classes[i].name,
                    names,
                    cls,
                    pids,
                    distributors.get(i),
                    parts.get(i) or {},
                    {place: count for (class_id, place), count in restarts.items() if class_id == i},
                ),
                "failed_replacements": failed_replacements.get(i, 0),
                "obstacles": obstacles.get(i, []),
            }
            for i, cls in state.classes.items()
        ],
    }


def part_of(line: bytes) -> Json | None:
    """What a Distributor says for the status, as far as it has the shape that `build` relies on; else None.

    A Distributor meets clients and servers: the Monitor, which meets neither, does not die of what one of them makes of
    it.
    """
    try:
        part: Json = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match part:
        case {
            "phase": str(),
            "incarnation": int(),
            "waiting": int(),
            "ports": list(ports),
            "waiting_list": list(waiting),
            "servers": dict(servers),
            "totals": dict(totals),
        } if _are_flat([totals]) and _are_flat([*ports, *waiting]) and all(map(_is_row, servers.values())):
            return part
    return None


def _are_flat(rows: list[object]) -> bool:
    """Whether these are objects of numbers and words."""
    return all(isinstance(row, dict) and not any(isinstance(v, dict | list) for v in row.values()) for row in rows)


def _is_row(row: object) -> bool:
    match row:
        case {"clients": int(), "outstanding": int() | None, "dialogs": list(dialogs)}:
            return _are_flat(dialogs)
    return False


def _class(
    name: str,
    elements: list[str],
    cls: ClassState,
    pids: Mapping[ServerId, int],
    distributor_pid: int | None,
    part: Json,
    restarts: Mapping[int, int],
) -> Json:
    place = cls.distributor
    running = place.phase is monitor.DistributorPhase.RUNNING
    silent = "restarting" if running or place.phase is monitor.DistributorPhase.DOWN else "closed"
    own_ports = [
        {"port": port, "address": address, "listening": kept, "accepting": False, "waiting": None}
        for (port, address), kept in cls.listeners.items()
    ]
    rows = part.get("servers", {})
    totals = part.get("totals", {})
    assert isinstance(rows, dict) and isinstance(totals, dict)
    return {
        "name": name,
        "distributor": {
            "pid": distributor_pid if running else None,
            "phase": part.get("phase", silent),
            "incarnation": place.incarnation,
            "element": elements[place.element] if place.element >= 0 else None,
        },
        "ports": part.get("ports", own_ports),
        "waiting": part.get("waiting", len(cls.store)),
        "waiting_limit": cls.config.waiting_limit,
        "static": cls.config.static,
        "dynamic": cls.config.dynamic,
        "replacing": cls.replacement is not None,
        "totals": {key: totals.get(key) for key in TOTALS},
        "waiting_list": part.get(
            "waiting_list", [{"port": c.port, "arrival": c.arrival, "since": None} for c in cls.store]
        ),
        "servers": [
            {
                **_server(each, cls, elements, pids.get(each.server), rows.get(str(each.server))),
                "restarts": restarts.get(each.place, 0),
            }
            for each in cls.places.values()
        ],
    }


def _server(place: Place, cls: ClassState, elements: list[str], pid: int | None, row: Json | None) -> Json:
    row = row or {}
    return {
        "id": place.server,
        "place": place.place,
        "pid": pid if place.alive else None,
        "kind": "dynamic" if place.dynamic else "static",
        "state": _state(place, cls.config.max_clients, row),
        "clients": row.get("clients") if place.alive else 0,
        "max_clients": cls.config.max_clients,
        "element": elements[place.element] if place.element >= 0 else None,
        "outstanding": row.get("outstanding"),
        "offence": row.get("offence"),
        "dialogs": row.get(
            "dialogs", [{"port": port, "phase": "kept", "owed": owed} for port, owed in place.dialogs.items()]
        ),
        "deaths": place.deaths,
        "program": place.program,
        "leaving": None if place.retirement is Retirement.NONE else place.retirement.name.lower(),
    }


_BY_PHASE: Final = {
    PlacePhase.DOWN: "down",
    PlacePhase.STARTING: "starting",
    PlacePhase.STOPPING: "stopping",
    PlacePhase.KILLING: "killing",
}


def _state(place: Place, max_clients: int, row: Json) -> str:
    """One word for the server, from what the Monitor and the Distributor know of it."""
    if not place.alive and place.retirement is Retirement.HOLD:
        return "held"
    if place.phase is not PlacePhase.READY:
        return _BY_PHASE[place.phase]
    clients = row.get("clients", 0)
    assert isinstance(clients, int)
    if row.get("draining"):
        return "draining"
    if not row.get("ready", True):
        return "restarting"
    if row.get("outstanding") is not None:
        return "busy"
    return "full" if clients >= max_clients else "ready"
