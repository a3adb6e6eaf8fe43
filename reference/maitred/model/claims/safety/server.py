"""What must hold of every step of a server: what it answers to a hand-off, and what becomes of the client.

The sentences lack their subject, the server: its state does not say which it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from maitred.core import server
from maitred.core.messages import Accepted, Client, HandOff, Refused
from maitred.core.server import EndpointState
from maitred.model.claims.property import always_of_steps
from maitred.model.story.text import describe, listed
from maitred.model.world import Stride


@always_of_steps("server", witnesses=("a_client_is_served_and_leaves", "a_refused_client_is_served_elsewhere"))
def an_answer_comes_before_the_client(before: EndpointState, event: object, stride: Stride) -> Iterator[str]:
    """Of a hand-off that has come whole to a program that listens, a server issues `Accepted`, and delivers the client
    when that is in the socket; of any other it issues `Refused`, and discards what has come; and `Refused` of
    whoever was with a process that has died before that.
    """
    does, due = _dealings(before, stride), _due_dealings(before, event, stride)
    if does != due:
        said = f"{_sequence(does) or 'does nothing about it'}; due: {_sequence(due) or 'nothing about a hand-off'}"
        if isinstance(event, server.MessageRead) and isinstance(event.message, HandOff):
            listener = before.listeners.get(event.port, None)
            listens = "listens" if listener is not None and listener.listening else "does not listen"
            came = "with its descriptor" if event.intact else "without its descriptor"
            yield (
                f"reads the hand-off of {describe(event.message.client)}, which has come {came} to a port where the"
                f" program {listens}, and {said}"
            )
        else:
            yield f"on {describe(event)} {said}"


def _due_dealings(before: EndpointState, event: object, stride: Stride) -> list[tuple[type, Client]]:
    """What the server should do about hand-offs."""
    if stride.rejected is not None:
        return []
    match event:
        case server.MessageRead(port=port, message=HandOff(client=client), intact=intact):
            if intact and before.listeners[port].listening:
                return [(Accepted, client)]
            return [(Refused, client), (server.Discard, client)]
        case server.Sent(reply=server.Reply(message=Accepted(client=client))):
            return [(server.Deliver, client)]
        case server.Interrupted():
            return [(Refused, r.message.client) for r in before.outbox if isinstance(r.message, Accepted)]
    return []


def _dealings(before: EndpointState, stride: Stride) -> list[tuple[type, Client]]:
    """What a server does about hand-offs: the answer that it issues, and what becomes of the client."""
    issued = [reply.message for reply in stride.state.outbox if reply not in before.outbox]
    done: list[tuple[type, Client]] = [(type(m), m.client) for m in issued if isinstance(m, (Accepted, Refused))]
    return done + [(type(effect), effect.client) for effect in stride.effects]


def _sequence(done: Iterable[tuple[type, Client]]) -> str:
    return ", then ".join(f"{_DEALING[kind]} {describe(client)}" for kind, client in done)


_DEALING: Final[Mapping[type, str]] = {
    Accepted: "accepts",
    Refused: "refuses",
    server.Deliver: "delivers",
    server.Discard: "discards",
}


@always_of_steps("server", witnesses=("a_client_is_served_and_leaves",))
def an_acknowledgement_changes_nothing(before: EndpointState, event: object, stride: Stride) -> Iterator[str]:
    """A server discards an acknowledgement: it knows and says afterwards what it did before."""
    if not isinstance(event, server.Acknowledged):
        return
    if stride.rejected is not None:
        yield f"declines {describe(event.message)}, as {stride.rejected.value}"
    elif stride.state != before or stride.effects:
        knows = "knows something else than before" if stride.state != before else "knows what it did before"
        says = f", and then does {listed(describe(each) for each in stride.effects)}" if stride.effects else ""
        yield f"has read {describe(event.message)}, and {knows}{says}"
