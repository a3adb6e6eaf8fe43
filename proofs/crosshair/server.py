"""The contracts of the Application Server's endpoint: two ports, up to three clients, up to three replies to be sent.

A `Scene` is the skeleton: which ports are bound, where the clients came from, and what is still to be sent.  Whether
the program listens, what is owed and everything in the event are symbolic.  The numbers of the replies are concrete, as
is the last that was issued: an invariant puts them into a set, and of a symbol that is hashed the solver would have to
try every number.  Nothing else compares them with anything but each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement

import z3
from crosshair.core_and_libs import NoTracing

from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Client,
    Count,
    Disconnect,
    FromServer,
    HandOff,
    InitialMsg,
    NotReady,
    Refused,
    RestartReply,
)
from maitred.core.server import (
    Acknowledged,
    Bound,
    Disconnected,
    EndpointState,
    Event,
    Interrupted,
    Listened,
    ListenerClosed,
    MessageRead,
    Reply,
    Sent,
    VirtualListener,
    step,
)
from maitred.core.tree import Tree
from proofs.crosshair import effects
from proofs.crosshair.engine import Case, Contract, assume, choice, flag, number, term, truth

PORTS = (80, 81)
SIZES = "2 ports, bound or not; 0 to 3 clients; 0 or 3 replies to be sent"
GONE = 5
"""The arrival of a client who has left, and of one who was refused: of nobody who is served."""

# ================================================================ skeletons

OUTBOXES: dict[str, tuple[tuple[int, str], ...]] = {
    "nothing": (),
    "an answer first": ((0, "answer"), (0, "deaf"), (-1, "leaves")),
    "a departure first": ((0, "leaves"), (0, "restarted"), (-1, "answer")),
}
"""What is to be sent, the oldest first: on the first port that is bound or on the last, and what."""


@dataclass(frozen=True)
class Scene:
    """A skeleton of an endpoint's state."""

    bound: tuple[int, ...]
    origins: tuple[int, ...] = ()
    """The ports that the clients came through."""
    to_say: str = "nothing"

    @property
    def label(self) -> str:
        """For messages."""
        return f"bound {_listed(self.bound)}; clients from {_listed(self.origins)}; to say: {self.to_say}"

    @property
    def clients(self) -> tuple[Client, ...]:
        """Those that are served."""
        return tuple(Client(10 * i, i, port) for i, port in enumerate(self.origins))


def _listed(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports)) or "none"


def _outbox(scene: Scene) -> tuple[Reply, ...]:
    replies = []
    for sequence, (place, what) in enumerate(OUTBOXES[scene.to_say], 1):
        port, count = scene.bound[place], Count(len(scene.origins), sequence)
        replies.append(Reply(port, _message(what, port, scene, count)))
    return tuple(replies)


def _message(what: str, port: int, scene: Scene, count: Count) -> FromServer:
    taken = next((client for client in scene.clients if client.port == port), None)
    if what == "answer":
        return Refused(Client(GONE, GONE, port), count) if taken is None else Accepted(taken, count)
    if what == "leaves":
        return Disconnect(Client(GONE, GONE, port), count)
    return RestartReply(1, count) if what == "restarted" else NotReady(1, count)


def state_of(scene: Scene) -> EndpointState:
    """Any state with this skeleton of which the invariants hold."""
    listeners = []
    for port in scene.bound:
        listening, asked = flag(f"listening_{port}"), number(f"asked_{port}", 0)
        assume(z3.Or(z3.Not(truth(listening)), term(asked) == 0))
        listeners.append((port, VirtualListener(listening, asked)))
    outbox = _outbox(scene)
    clients = Tree.of((client, None) for client in scene.clients)
    return EndpointState(Tree.of(listeners), clients, len(outbox), outbox)


def _scenes() -> Iterator[Scene]:
    yield Scene(())
    for to_say in OUTBOXES:
        for bound in (PORTS[:1], PORTS):
            for count in range(4):
                for origins in combinations_with_replacement(bound, count):
                    yield Scene(bound, origins, to_say)


ALL = tuple(_scenes())
QUICK = (
    Scene(PORTS[:1]),
    Scene(PORTS, PORTS),
    Scene(PORTS[:1], (), "an answer first"),
    Scene(PORTS, PORTS, "an answer first"),
    Scene(PORTS, PORTS, "a departure first"),
)
"""Those that are asked in every run of the tests."""

# ================================================================ contracts


def _about(name: str, about: tuple[type, ...], event: Callable[[EndpointState], Event]) -> Contract:
    cases = tuple(Case(scene.label, partial(_situation, scene, event)) for scene in ALL)
    run: Callable[..., object] = step
    quick = tuple(scene.label for scene in QUICK)
    return Contract(name, "server", about, SIZES, run, cases, quick, laws=effects.SERVER)


def _situation(scene: Scene, event: Callable[[EndpointState], Event]) -> tuple[object, object]:
    with NoTracing():
        state = state_of(scene)
        return state, event(state)


def _client(name: str = "") -> Client:
    """Any client at all: one of those that are served, or another."""
    return Client(number(f"{name}arrival"), number(f"{name}cookie"), number(f"{name}origin"))


def _reply() -> Reply:
    """Any reply at all: one of those that are to be sent, or another."""
    count = Count(number("count"), number("issued"))
    kind = choice("reply", (Accepted, Refused, Disconnect, RestartReply, NotReady))
    if kind is RestartReply or kind is NotReady:
        return Reply(number("reply_port"), kind(number("echo"), count))
    return Reply(number("reply_port"), kind(_client("reply_"), count))


def _initial_msg(state: EndpointState) -> Event:
    """The audit finds nobody gone whose `Accepted` is to be sent: whoever reads a message holds the lock, and an answer
    is in the socket before its lock is given back, or taken back from who died (`Interrupted`).
    """
    gone = 1 if len(state.clients) > 1 else 2  # each is compared with each, field by field
    forget = tuple(
        Client(number(f"gone_{i}"), number(f"gone_cookie_{i}"), number(f"gone_port_{i}")) for i in range(gone)
    )
    answers = [reply.message for reply in state.outbox if isinstance(reply.message, Accepted)]
    assume(*(_differ(client, answer.client) for client in forget for answer in answers))
    return MessageRead(number("port"), InitialMsg(number("incarnation"), forget), flag("intact"))


def _differ(one: Client, other: Client) -> z3.BoolRef:
    alike = ((one.arrival, other.arrival), (one.cookie, other.cookie), (one.port, other.port))
    return z3.Or(*(term(mine) != term(theirs) for mine, theirs in alike))


CONTRACTS = (
    _about("bound", (Bound,), lambda state: Bound(number("port"))),
    _about("listened", (Listened,), lambda state: Listened(number("port"))),
    _about("listener_closed", (ListenerClosed,), lambda state: ListenerClosed(number("port"))),
    _about("initial_msg", (MessageRead, InitialMsg), _initial_msg),
    _about(
        "hand_off",
        (MessageRead, HandOff),
        lambda state: MessageRead(number("port"), HandOff(_client()), flag("intact")),
    ),
    _about("sent", (Sent,), lambda state: Sent(_reply())),
    _about("interrupted", (Interrupted,), lambda state: Interrupted(number("port"), _reply())),
    _about("interrupted_reading", (Interrupted,), lambda state: Interrupted(number("port"), None)),
    _about("disconnected", (Disconnected,), lambda state: Disconnected(_client())),
    _about(
        "acknowledged",
        (Acknowledged, Acknowledge),
        lambda state: Acknowledged(Acknowledge(number("sequence_acknowledged"))),
    ),
)
