"""Checks and limits what one server sends to its Distributor: a server that lies or floods harms its own place only.

The wire format lets a server write anything.  A message that no server sends which keeps the protocol is an offence: it
does not reach the machine.  The first offence is reported in the log and in the status; after `PATIENCE` offences the
server is reported to the Monitor as one that does not respond.  True messages without use (it listens, it does not, it
does) are no offence, but only so many packets of a server are read: those that follow from its clients, and a steady
rate beside.

Not promised (see `SECURITY.md`), since nobody can find it out: that a server which was handed a client keeps no
duplicate of the connection, whatever it answers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from maitred.core.distributor import ServerStatus
from maitred.core.messages import (
    Accepted,
    Client,
    Disconnect,
    FromServer,
    Incarnation,
    NotReady,
    Port,
    Refused,
    RestartReply,
)

PATIENCE: Final = 16
"""With so many offences a server is reported to the Monitor."""
A_TURN: Final = 16
"""Most packets of one server per turn."""
A_SECOND: Final = 200
"""So many packets of one server are read in a second, beside those that follow from its clients."""
A_CLIENT: Final = 2
"""So many packets follow from a client: it was taken or refused, and has left."""
WINDOW: Final = 1024
"""Threads may overtake each other by so many counts; one that comes later looks like one that came twice."""


@dataclass(slots=True)
class _Offer:
    """A client who was handed over, and what has been answered."""

    client: Client
    answers: set[type[FromServer]]


class Conduct:
    """One server's, as its Distributor sees it."""

    def __init__(self, max_clients: int, clock: Callable[[], float] = time.monotonic) -> None:
        """A server of which nothing has been read.

        Args:
            max_clients: the most that it may serve.
            clock: gives seconds.
        """
        self.offences = 0
        self.offence = ""
        """The first."""
        self._max_clients = max_clients
        self._clock = clock
        self._most = A_SECOND + A_CLIENT * max_clients
        self._credit = float(self._most)
        self._since = clock()
        self._turn, self._in_turn = 0, 0
        self._newest, self._seen = -1, 0
        self._offers: deque[_Offer] = deque(maxlen=2)
        """The last: no server can owe an answer to one before, but may take back the answer to the last but one."""

    # ------------------------------------------------ how much

    def may_send(self, turn: int) -> bool:
        """Whether another packet is to be read in this turn of the loop; it is counted."""
        if turn != self._turn:
            self._turn, self._in_turn = turn, 0
        if self._in_turn >= A_TURN or self.spent:
            return False
        self._in_turn += 1
        self._credit -= 1
        return True

    @property
    def spent(self) -> bool:
        """Whether it has sent more than it may, and has to wait."""
        if self._credit < 1:
            now = self._clock()
            self._credit = min(self._credit + (now - self._since) * A_SECOND, self._most)
            self._since = now
        return self._credit < 1

    def handed(self, client: Client) -> None:
        """It is handed a client."""
        self._offers.append(_Offer(client, set()))
        self._credit = min(self._credit + A_CLIENT, self._most)

    # ------------------------------------------------ what

    def objection(self, status: ServerStatus, incarnation: Incarnation, port: Port, message: FromServer) -> str | None:
        """Why no server that keeps the protocol sends this message here and now; None where one may.

        Args:
            status: the server's row, before the message.
            incarnation: of this Distributor.
            port: on whose dialog it was sent.
            message: what was sent.
        """
        count = message.count
        if not 0 <= count.clients <= self._max_clients:
            return f"it counts {count.clients} clients, and may have {self._max_clients}"
        if not self._is_new(count.sequence):
            return f"its counts do not rise: number {count.sequence} after {self._newest}"
        match message:
            case Accepted() | Refused():
                return self._objection_to_answer(status, port, message)
            case RestartReply() | NotReady():
                least = isinstance(message, RestartReply)
                if not least <= message.incarnation <= incarnation:
                    return f"it answers Distributor {message.incarnation}, and this is {incarnation}"
            case Disconnect():
                nobody = status.count.clients == 0 and status.count.sequence >= 0 and status.request is None
                if nobody and status.known and not status.owed and count.sequence > status.count.sequence:
                    return "a client has left it, and it had none"
        return None

    def _is_new(self, sequence: int) -> bool:
        """Whether no count had this number yet (the anti-replay window of RFC 4303, section 3.4.3)."""
        ahead = sequence - self._newest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self._newest = sequence
            return True
        bit = 1 << min(-ahead, WINDOW)
        new = sequence >= 0 and bit < 1 << WINDOW and not self._seen & bit
        self._seen |= bit if new else 0
        return new

    def _objection_to_answer(self, status: ServerStatus, port: Port, message: Accepted | Refused) -> str | None:
        client, kind = message.client, type(message)
        for offer in reversed(self._offers):
            if offer.client == client:
                break
        else:
            offer = None
        if client.port == port and offer is not None and kind not in offer.answers:
            offer.answers.add(kind)
            return None
        if client.port == port and offer is None and (status.owed or not status.known):
            return None  # the last Distributor may have handed it over
        return f"it answers to client {client.arrival}, whom it was not handed or has answered for already"
