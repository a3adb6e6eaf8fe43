"""The audit of a Distributor's servers: the clients that they count are compared with what the kernel knows.

A server of the Python stand-in has them in its registry.  Of an executable it is known who was accepted and has not
left, by its own messages to this Distributor.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar

from maitred.core import distributor as core
from maitred.core.messages import Client, ServerId
from maitred.core.timing import Durations, duration
from maitred.shell.dialogs import Dialogs, Machine, Server
from maitred.shell.io import report, sock_diag
from maitred.shell.io.loop import Loop
from maitred.shell.io.registry import Damaged, Reader

T = TypeVar("T")

AUDIT_AGAIN: Final = 0.25
"""Seconds between audits while somebody waits, at least,"""
AUDIT_SHARE: Final = 20
"""and so many times as long as an audit takes."""


class Audit:
    """The audits of one Distributor."""

    def __init__(self, name: str, durations: Durations, loop: Loop, machine: Machine, dialogs: Dialogs) -> None:
        """There has been none.

        Args:
            name: of the server class.
            durations: as configured.
            loop: has the timer of the next.
            machine: takes what is found.
            dialogs: holds the servers.
        """
        self._name = name
        self._durations = durations
        self._loop = loop
        self._machine = machine
        self._dialogs = dialogs
        self._wanted: list[ServerId] = []
        self._audited, self._cost = -math.inf, 0.0
        self._had: dict[ServerId, dict[int, float]] = {}
        """Since when each server has had its clients, where there is a limit."""
        self._connections = sock_diag.Connections()

    def note(self, effect: core.Audit) -> None:
        """The server is to be audited, once all effects of the event have been performed."""
        self._wanted.append(effect.server)

    def hurry(self, *, restart: bool = False) -> None:
        """Somebody waits, perhaps for a seat that is free and not known to be: audit soon, and not all the time.

        Args:
            restart: count the pause from now, though there may have been no server to audit.
        """
        if restart:
            self._audited = time.monotonic()
        pause = max(AUDIT_AGAIN, AUDIT_SHARE * self._cost)
        due = core.AuditDue()
        left = min(self._audited + pause - time.monotonic(), duration(self._durations, due))
        self._loop.set_timer(due, max(0.0, left), partial(self._machine.handle, core.Fired(due)))

    def run(self) -> None:
        """Ask the kernel, after the servers: what a server counts now and the kernel does not know then is gone.

        And look whether a server has left something unfinished: another of its processes has to be woken to finish it.
        """
        if not self._wanted:
            return
        self._audited = time.monotonic()
        held = self._dialogs.servers
        servers = [(server, held[server]) for server in self._wanted if server in held]
        self._wanted.clear()
        unfinished = {server for server, held in servers if self._look(server, held, _is_unfinished, False)}
        counted = {server: self._clients_of(server, held) for server, held in servers}
        gone = self._gone(servers, [client for clients in counted.values() for client in clients])
        for server, clients in counted.items():
            named = tuple(client for client in clients if client.cookie in gone)
            if named or server in unfinished:
                self._machine.handle(core.Audited(server, named))
        self._cost = time.monotonic() - self._audited
        limit = self._durations.request_timeout
        if limit:
            self._had = {server: self._since_when(server, clients) for server, clients in counted.items()}
            late = [server for server, had in self._had.items() if had and min(had.values()) < self._audited - limit]
            for server in late:
                what = f"has had a client for more than {limit:g} s"
                self._dialogs.condemn(server, self._dialogs.servers[server], what)

    def is_serving(self, server: ServerId) -> bool:
        """Whether the server has done anything for its clients within the time to answer."""
        clients = self._clients_of(server, self._dialogs.servers[server])
        try:
            connections = [(client.cookie, client.port) for client in clients]
            return self._connections.in_use(connections, self._durations.hand_off_timeout)
        except OSError as error:
            report.debug(f"distributor of {self._name}: whether server {server} serves is not known: {error}")
            return False

    def _since_when(self, server: ServerId, clients: Sequence[Client]) -> dict[int, float]:
        """Since when the server has had each client, as far as has been seen."""
        before = self._had.get(server, {})
        return {client.cookie: before.get(client.cookie, self._audited) for client in clients}

    def _clients_of(self, server: ServerId, held: Server) -> tuple[Client, ...]:
        """The clients that the server counts."""
        if held.served is not None:
            return tuple(held.served)
        return self._look(server, held, Reader.clients, ())

    def _look(self, server: ServerId, held: Server, read: Callable[[Reader], T], otherwise: T) -> T:
        """What is read from the server's registry.

        One whose registry makes no sense is to be replaced: it could not be audited ever again.
        """
        try:
            return read(held.registry)
        except Damaged as damage:
            self._dialogs.condemn(server, held, f"has a registry that makes no sense: {damage}")
            return otherwise

    def _gone(self, servers: Sequence[tuple[ServerId, Server]], clients: Sequence[Client]) -> Collection[int]:
        """The cookies of those clients whose connections the kernel no longer knows."""

        def recount() -> set[tuple[int, int]]:
            counted = [client for server, held in servers for client in self._clients_of(server, held)]
            return {(client.cookie, client.port) for client in counted}

        if not clients:
            return ()
        try:
            return self._connections.gone({(client.cookie, client.port) for client in clients}, recount)
        except OSError as error:
            report.debug(f"distributor of {self._name}: no audit: {error}")
            return ()


def _is_unfinished(registry: Reader) -> bool:
    return registry.is_unfinished
