"""The one shape of a step, shared by the three machines.

``step(state, event)`` gives a `Transition` (the new state, and the effects to perform in order before the next
event is read) or a `Rejected`: the state does not allow the event, nothing changes, and the reason says why.
"""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from maitred.core.value import dataclass

S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Transition(Generic[S, E]):
    """A step that was taken."""

    state: S
    effects: tuple[E, ...]


class Reason(Enum):
    """Why a machine declines an event: the text is true wherever the reason is given."""

    UNKNOWN_SERVER = "no such server is in the table"
    UNKNOWN_PORT = "the port is not one of this server class"
    UNKNOWN_DIALOG = "the server has no dialog on this port"
    UNKNOWN_CLIENT = "the connection is not known here"
    OTHER_PORT = "the client came by another port than that of the dialog"
    NOT_BOUND = "the program has not bound the port"
    UNKNOWN_ADDRESS = "the address is not one of the port's"
    ALREADY_LISTENING = "the address is being listened on already"
    DUPLICATE_SERVER = "the server is in the table already"
    DUPLICATE_CLIENT = "the connection is known already"
    NOT_BEGUN = "the initialisation is not over"
    ALREADY_BEGUN = "the initialisation is over"
    NOT_STARTED = "the Monitor has not started yet"
    ALREADY_STARTED = "the Monitor has started already"
    ENDED = "the Monitor has ended"
    NOT_ACCEPTING = "no accept is outstanding on the port"
    NOT_WAITING = "the client is not on the waiting list"
    NOT_HANG_UP = "the client has sent data: a half-close is not a hang-up"
    NOT_OUTSTANDING = "no request is outstanding with the server"
    NOT_THIS_REQUEST = "this client's request is not outstanding with the server"
    NOT_SPARE = "the server is not dynamic, not up, not idle, or draining already"
    NOT_REQUESTED = "no dynamic server is being asked for"
    NOT_SERVING = "the server has no clients"
    NOT_RESTING = "the server is not resting"
    NOT_CLOSING = "no graceful stop is under way"
    ALREADY_CLOSING = "the Distributor has begun to close already"
    CLOSED = "the Distributor has closed"
    NO_DIALOG = "no dialog is open on which to ask"
    NOT_DELIVERED = "the program does not have the connection yet"
    NOT_NEXT = "the reply is not the next to be sent on the port"
    TIMER_IS_STALE = "nothing waits for this timer"
    NO_SUCH_PROCESS = "the process is not running"
    UNKNOWN_ELEMENT = "the processing element is not configured"
    SAME_ELEMENT_STATE = "the processing element is in that state already"
    UNKNOWN_CLASS = "the server class is not configured"
    UNKNOWN_PLACE = "the server class has no such place"
    NOT_RUNNING = "the Monitor is not in operation"
    REPLACING = "servers of the class are being replaced"
    NO_STATIC_SERVER = "a server class has at least one static server, and no negative number of dynamic ones"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A step that was not taken: the state is unchanged and there is nothing to do."""

    reason: Reason
