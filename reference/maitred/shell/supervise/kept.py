"""The descriptors that must outlive a Distributor: the connections of clients that wait, and the listening sockets.

The dialogs outlive it too; they are kept with their servers (`servers`).
"""

from __future__ import annotations

import socket

from maitred.core import monitor as core
from maitred.core.messages import Address, Client, Port
from maitred.core.monitor import ClassId
from maitred.shell.io import channel, report


class Kept:
    """The descriptors of all classes."""

    def __init__(self) -> None:
        self.clients: dict[tuple[ClassId, Client], int] = {}
        self._listeners: dict[tuple[ClassId, Port, Address], tuple[int, ...]] = {}

    # ------------------------------------------------ clients

    def keep_client(self, class_id: ClassId, client: Client, fd: int) -> None:
        """Keep the connection of a client that waits; of one that is kept already, only this one."""
        self._drop_client(class_id, client)
        self.clients[class_id, client] = fd

    def drop_duplicate(self, effect: core.DropDuplicate) -> None:
        """Close ours of a connection; its client does not notice."""
        self._drop_client(effect.class_id, effect.client)

    def shut_down(self, effect: core.ShutDownStored) -> None:
        """Hang up on the client."""
        fd = self.clients.pop((effect.class_id, effect.client), None)
        if fd is not None:
            with socket.socket(fileno=fd) as connection:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    report.debug(f"{effect.client}: {error}")
                channel.unlinger(connection)

    def _drop_client(self, class_id: ClassId, client: Client) -> None:
        fd = self.clients.pop((class_id, client), None)
        if fd is not None:
            channel.drop((fd,))

    # ------------------------------------------------ listening sockets

    def keep_listener(self, class_id: ClassId, port: Port, address: Address, fds: tuple[int, ...]) -> None:
        """Keep the sockets that listen on the address, in the place of those that are kept already."""
        key = (class_id, port, address)
        channel.drop(self._listeners.get(key, ()))
        self._listeners[key] = fds

    def listeners(self, class_id: ClassId) -> tuple[tuple[Port, Address, tuple[int, ...]], ...]:
        """The listening sockets of a class."""
        return tuple((port, address, fds) for (of, port, address), fds in self._listeners.items() if of == class_id)

    def drop_listener(self, effect: core.DropListener) -> None:
        """Close all that listens on the port."""
        for key in [key for key in self._listeners if key[:2] == (effect.class_id, effect.port)]:
            channel.drop(self._listeners.pop(key))
