"""The contracts of the Application Server's endpoint: two ports, up to three clients, any numbers.

Which ports are bound and where the clients came from is told by the skeleton; whether the program listens, what is
owed, sequence numbers and everything in the event are symbolic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations_with_replacement

import z3
from crosshair.core_and_libs import NoTracing

from maitred.core.messages import Accepted, Acknowledge, Client, Count, HandOff, InitialMsg, NotReady, Refused
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
from proofs.crosshair.engine import Case, Contract, assume, flag, number, term, truth

PORTS = (80, 81)
SIZES = "2 ports, bound or not; 0 to 3 clients"


def _state(bound: tuple[int, ...], origins: tuple[int, ...]) -> EndpointState:
    """An endpoint that has bound these ports, and serves a client from each of `origins`."""
    listeners = []
    for port in bound:
        listening, asked = flag(f"listening_{port}"), number(f"asked_{port}", 0)
        assume(z3.Or(z3.Not(truth(listening)), term(asked) == 0))
        listeners.append((port, VirtualListener(listening, asked)))
    clients = Tree.of((Client(10 * i, i, port), None) for i, port in enumerate(origins))
    return EndpointState(Tree.of(listeners), clients, number("sequence", 0))


def _to_say(state: EndpointState) -> EndpointState:
    """The same, and on the first port that it has bound two replies are to be sent: who was taken, or else who was
    refused, and then whether the program listens.  Their numbers are told: each is compared with each.
    """
    if not state.listeners:
        return state
    port, count = next(iter(state.listeners)), len(state.clients)
    taken = next((client for client in state.clients if client.port == port), None)
    before = Count(count, 1)
    answer = Refused(Client(0, 0, port), before) if taken is None else Accepted(taken, before)
    outbox = (Reply(port, answer), Reply(port, NotReady(1, Count(count, 2))))
    return EndpointState(state.listeners, state.clients, 2, outbox)


def _next(state: EndpointState) -> Reply:
    """What is to be sent first; where nothing is, what is not to be sent."""
    return state.outbox[0] if state.outbox else Reply(number("port"), NotReady(0, Count(0, 1)))


def _client(state: EndpointState) -> Client:
    """Any client at all: one of those that are served, or another."""
    return Client(number("arrival"), number("cookie"), number("origin"))


def _about(
    name: str, about: tuple[type, ...], event: Callable[[EndpointState], Event], *, to_say: bool = False
) -> Contract:
    cases = tuple(_cases(event, to_say))
    quick = tuple(case.label for case in cases if case.label in QUICK)
    run: Callable[..., object] = step
    return Contract(name, "server", about, SIZES, run, cases, quick)


def _cases(event: Callable[[EndpointState], Event], to_say: bool) -> Iterator[Case]:
    for bound in ((), PORTS[:1], PORTS):
        for count in range(4 if bound else 1):
            for origins in combinations_with_replacement(bound, count):
                yield Case(_label(bound, origins), partial(_situation, bound, origins, to_say, event))


def _label(bound: tuple[int, ...], origins: tuple[int, ...]) -> str:
    return f"bound {_listed(bound)}; clients from {_listed(origins)}"


def _listed(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports)) or "none"


QUICK = (_label(PORTS[:1], ()), _label(PORTS, PORTS))


def _situation(
    bound: tuple[int, ...], origins: tuple[int, ...], to_say: bool, event: Callable[[EndpointState], Event]
) -> tuple[object, object]:
    with NoTracing():
        state = _state(bound, origins)
        if to_say:
            state = _to_say(state)
        return state, event(state)


def _initial_msg(state: EndpointState) -> Event:
    gone = 1 if len(state.clients) > 1 else 2  # each is compared with each, field by field
    forget = tuple(
        Client(number(f"gone_{i}"), number(f"gone_cookie_{i}"), number(f"gone_port_{i}")) for i in range(gone)
    )
    return MessageRead(number("port"), InitialMsg(number("incarnation"), forget), flag("intact"))


CONTRACTS = (
    _about("bound", (Bound,), lambda state: Bound(number("port"))),
    _about("listened", (Listened,), lambda state: Listened(number("port"))),
    _about("listener_closed", (ListenerClosed,), lambda state: ListenerClosed(number("port"))),
    _about("initial_msg", (MessageRead, InitialMsg), _initial_msg),
    _about(
        "hand_off",
        (MessageRead, HandOff),
        lambda state: MessageRead(number("port"), HandOff(_client(state)), flag("intact")),
    ),
    _about("sent", (Sent,), lambda state: Sent(_next(state)), to_say=True),
    _about(
        "interrupted",
        (Interrupted,),
        lambda state: Interrupted(_next(state).port, _next(state) if state.outbox else None),
        to_say=True,
    ),
    _about("interrupted_reading", (Interrupted,), lambda state: Interrupted(number("port"), None), to_say=True),
    _about("disconnected", (Disconnected,), lambda state: Disconnected(_client(state))),
    _about(
        "acknowledged",
        (Acknowledged, Acknowledge),
        lambda state: Acknowledged(Acknowledge(number("sequence_acknowledged"))),
    ),
)
