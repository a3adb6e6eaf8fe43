"""Follows an endpoint from outside: whether each of its messages is what `maitred.core.server` would send.

The kit knows what it has sent, and sees what comes back; what goes on inside (the program listens, closes its listener,
closes a connection) it does not see.  So each message is taken for the effect of the events that must have caused it.
The machine makes these steps, and the message must be what the machine then has to say.

Of a count's sequence number the machine's own value does not matter, only that none is used twice and that what is
caused by a message is newer than all that was known when the message was sent.  Threads may send out of order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from maitred.conform.cases import Failed
from maitred.core import server
from maitred.core.messages import (
    Accepted,
    Client,
    Count,
    Disconnect,
    FromServer,
    HandOff,
    InitialMsg,
    NotReady,
    Port,
    Refused,
    RestartReply,
    ToServer,
)
from maitred.core.transition import Rejected


@dataclass(frozen=True)
class Asked:
    """A message to the endpoint that it has not answered."""

    message: ToServer
    intact: bool
    floor: int
    """The newest count that was known when it was sent."""


class Follower:
    """One endpoint, as far as its messages show."""

    def __init__(self) -> None:
        """Of a program that has just been started."""
        self.state = server.EndpointState()
        self.asked: dict[Port, deque[Asked]] = {}
        """What is unanswered, by port, in the order in which it was sent."""
        self.newest = 0
        self.lenient = False
        """A dialog was full: a `Disconnect` may have taken the place of earlier ones (rule 6 of the machine)."""
        self._used: set[int] = set()
        self._strays: set[Client] = set()
        self._since: dict[Client, int] = {}
        """By client, the newest count that was known when it was answered."""

    # ------------------------------------------------ what the kit does

    def bound(self, port: Port) -> None:
        """The program has asked for the port, and the kit has its dialog."""
        self._happens(server.Bound(port))
        self.asked.setdefault(port, deque())

    def sent(self, port: Port, message: ToServer, *, intact: bool = True) -> None:
        """The kit has sent a message on the dialog; of a hand-off, whether the descriptor went with it."""
        self.asked[port].append(Asked(message, intact, self.newest))

    def leave_out(self, port: Port, client: Client) -> None:
        """The hand-off that was sent last is none that a Distributor sends: it may be refused, and need not be."""
        self.asked[port].pop()
        self._strays.add(client)

    def is_asked(self, client: Client) -> bool:
        """Whether the client was handed over and is not answered for."""
        return any(asked.message == HandOff(client) for queue in self.asked.values() for asked in queue)

    def settle(self, clients: Iterable[Client]) -> None:
        """The endpoint has these clients by the kernel's account: counts are compared exactly again."""
        kept = set(clients)
        for client in [*self.state.clients]:
            if client not in kept:
                self._happens(server.Disconnected(client))
        self.lenient = False

    # ------------------------------------------------ what comes

    def received(self, port: Port, message: FromServer) -> None:
        """Take a message of the endpoint.

        Raises:
            Failed: no endpoint that keeps the protocol would send it now.
        """
        number = message.count.sequence
        if number < 1 or number in self._used:
            raise Failed(
                f"a count with a number above 0 that was not used before (the newest is {self.newest})",
                f"{show(message)}: number {number}",
                ("OWN-3.3a",),
            )
        self._used.add(number)
        is_newest = number > self.newest
        wanted: FromServer
        match message:
            case Refused() if message.client in self._strays:
                wanted = Refused(message.client, Count(len(self.state.clients), number))
            case RestartReply() | NotReady():
                wanted = self._on_state(port, message)
            case Accepted() | Refused():
                wanted = self._on_answer(port, message)
            case Disconnect():
                wanted = self._on_disconnect(port, message)
            case _:
                assert_never(message)
        self.newest = max(self.newest, number)
        if is_newest:
            self._compare(message, wanted)

    def _on_state(self, port: Port, message: RestartReply | NotReady) -> FromServer:
        listener = self.state.listeners[port]
        place = next(
            (
                index
                for index, asked in enumerate(self.asked[port])
                if isinstance(asked.message, InitialMsg) and asked.message.incarnation == message.incarnation
            ),
            None,
        )
        if isinstance(message, NotReady) and not message.incarnation:
            return self._happens(server.ListenerClosed(port))[-1]
        if place is None and isinstance(message, RestartReply) and message.incarnation == listener.asked != 0:
            return self._happens(server.Listened(port))[-1]
        if place is None:
            raise Failed(self._wanted(port), f"{show(message)}, which answers nothing", ("FIG9-RestartReply",))
        if isinstance(message, NotReady) and listener.listening:
            raise Failed(self._wanted(port), f"{show(message)}, while the program listens", ("OWN-3.4a",))
        if isinstance(message, RestartReply) and not listener.listening:
            self._happens(server.Listened(port))
        return self._answered(port, place, message)

    def _on_answer(self, port: Port, message: Accepted | Refused) -> FromServer:
        place = next(
            (index for index, asked in enumerate(self.asked[port]) if asked.message == HandOff(message.client)), None
        )
        if place is None:
            raise Failed(
                self._wanted(port),
                f"{show(message)}, for a client who was not handed over here, or is answered for already",
                ("MSG-reply",),
            )
        listener = self.state.listeners[port]
        if isinstance(message, Accepted) and not listener.listening:
            if listener.asked:
                raise Failed(
                    f"Refused, since the program has said that it does not listen on port {port}",
                    show(message),
                    ("OWN-3.2e",),
                )
            self._happens(server.Listened(port))
        return self._answered(port, place, message)

    def _answered(self, port: Port, place: int, message: FromServer) -> FromServer:
        """Make the steps of what is answered, and of what came before it and is superseded by the answer."""
        queue = self.asked[port]
        for _ in range(place):
            skipped = queue.popleft()
            later = any(isinstance(asked.message, InitialMsg) for asked in queue)
            if not (isinstance(skipped.message, InitialMsg) and later):
                raise Failed(
                    f"the answer to {show(skipped.message)} first, which was sent before",
                    show(message),
                    ("OWN-3.5g",),
                )
            self._happens(server.MessageRead(port, skipped.message))
        asked = queue.popleft()
        if message.count.sequence <= asked.floor:
            raise Failed(
                f"a count newer than number {asked.floor}, which was known when {show(asked.message)} was sent",
                show(message),
                ("OWN-3.3a",),
            )
        if isinstance(message, Accepted) and not asked.intact:
            raise Failed("Refused, since no descriptor came with the client", show(message), ("OWN-3.2e",))
        if isinstance(message, Accepted):
            self._since[message.client] = message.count.sequence
        intact = asked.intact and not isinstance(message, Refused)
        return self._happens(server.MessageRead(port, asked.message, intact))[-1]

    def _on_disconnect(self, port: Port, message: Disconnect) -> FromServer:
        client = message.client
        if client.port != port:
            raise Failed(f"a client of port {port}", f"{show(message)} on its dialog", ("OWN-3.5a",))
        if message.count.sequence <= self._since.get(client, 0):
            raise Failed(f"a count newer than that of the client's {Accepted.__name__}", show(message), ("OWN-3.3a",))
        replies = self._happens(server.Disconnected(client), must=False)
        if not replies:
            raise Failed(
                self._wanted(port), f"{show(message)}, of a client whom the server does not have", ("OWN-3.3h",)
            )
        return replies[-1]

    def _compare(self, message: FromServer, wanted: FromServer) -> None:
        if type(wanted) is not type(message) or getattr(wanted, "incarnation", 0) != getattr(message, "incarnation", 0):
            raise Failed(show(wanted), show(message), ("OWN-3.4a",))
        count, right = message.count.clients, wanted.count.clients
        if self.lenient and 0 <= count <= right:
            return
        if count != right:
            raise Failed(f"a count of {right}", show(message), ("OWN-3.3a", "OWN-3.3f"))

    # ------------------------------------------------ the machine

    def _happens(self, event: server.Event, *, must: bool = True) -> list[FromServer]:
        """Have the machine make the step; what it has to say, which counts as sent."""
        made = server.step(self.state, event)
        if isinstance(made, Rejected):
            assert not must, f"{event}: {made.reason.value}"
            return []
        self.state = made.state
        said = list(self.state.outbox)
        while self.state.outbox:
            sent = server.step(self.state, server.Sent(self.state.outbox[0]))
            assert not isinstance(sent, Rejected), "the first of the outbox is the next on its port"
            self.state = sent.state
        return [reply.message for reply in said]

    def _wanted(self, port: Port) -> str:
        """What could come from the endpoint on this port."""
        queue = self.asked[port]
        first = f"an answer to {show(queue[0].message)}" if queue else "nothing that answers, since nothing was asked"
        return f"{first}, or word of what has changed"


def show(message: object) -> str:
    """A message in short: ``Accepted(client 3 of port 8000; clients 1, sequence 7)``."""
    name, parts = type(message).__name__, []
    for field in getattr(message, "__slots__", ()):
        value = getattr(message, field)
        if isinstance(value, Client):
            parts.append(f"client {value.arrival} of port {value.port}")
        elif field == "count":
            parts.append(f"clients {value.clients}, sequence {value.sequence}")
        elif field == "forget":
            parts += [f"forget {', '.join(f'client {client.arrival}' for client in value)}"] if value else []
        else:
            parts.append(f"{field} {value!r}")
    return f"{name}({'; '.join(parts)})"
