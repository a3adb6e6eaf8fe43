"""What must hold of each machine's state by itself, after every step, whatever happened before.

Each invariant is a pure predicate with a name of its own; `DISTRIBUTOR`, `SERVER` and `MONITOR` list them.  The model
asks them of every state that it reaches, and `replay` of every state that a real run went through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from maitred.core.distributor import (
    Creation,
    DialogPhase,
    DistributorState,
    Phase,
    Seat,
)
from maitred.core.messages import Accepted, Disconnect, FromServer, NotReady, RestartReply
from maitred.core.monitor import DistributorPhase, MonitorState, PlacePhase
from maitred.core.monitor import Phase as MonitorPhase
from maitred.core.server import EndpointState

# ---------------------------------------------------------------- Distributor


def index_is_true(state: DistributorState) -> bool:
    """Each port's index of free servers holds the servers that are free there, with their present load and rank."""
    for port, info in state.ports.items():
        derived = [Seat.of(status) for status in state.servers.values() if status.free_on(port)]
        if len(info.free) != len(derived) or any(seat not in info.free for seat in derived):
            return False
    return True


def summaries_are_true(state: DistributorState) -> bool:
    """What is known of the server table as a whole, without walking it, is what the rows say."""
    rows = list(state.servers.values())
    return (
        [*state.drainable] == [status.server for status in rows if status.drainable]
        and state.drained == sum(status.drained for status in rows)
        and state.outstanding == sum(status.request is not None for status in rows)
        and state.promised == sum(status.promised for status in rows)
    )


def waiting_total_is_true(state: DistributorState) -> bool:
    """The number of those who wait is the sum over the ports."""
    return state.waiting == sum(len(info.waiting) for info in state.ports.values())


def no_one_waits_while_a_seat_is_free(state: DistributorState) -> bool:
    """Unless it is initialising, nobody waits on a port where a server is free."""
    if state.phase is Phase.INITIALISING:
        return True
    return not any(info.waiting and info.free for info in state.ports.values())


def waiters_wait_on_their_own_port(state: DistributorState) -> bool:
    """Each port's waiting list holds clients of that port."""
    return all(client.port == port for port, info in state.ports.items() for client in info.waiting)


def no_client_is_held_twice(state: DistributorState) -> bool:
    """A client waits once, or is on its way to one server: never two of these."""
    held = [client for info in state.ports.values() for client in info.waiting]
    held += [status.request for status in state.servers.values() if status.request is not None]
    return len(held) == len(set(held))


def arrivals_lie_in_the_past(state: DistributorState) -> bool:
    """The next client will be later than everyone whom the Distributor holds."""
    held = [client.arrival for info in state.ports.values() for client in info.waiting]
    held += [status.request.arrival for status in state.servers.values() if status.request is not None]
    return all(arrival < state.next_arrival for arrival in held)


def requests_travel_on_ready_dialogs(state: DistributorState) -> bool:
    """An unanswered hand-off is on a dialog that exists, of a server that is below its maximum without it."""
    for status in state.servers.values():
        if status.request is not None and status.request.port not in status.dialogs:
            return False
    return True


def rows_and_ports_agree(state: DistributorState) -> bool:
    """Every dialog is on a port of the table, what is owed is a dialog, and a row has a process behind it."""
    for server, status in state.servers.items():
        if server != status.server or not (status.attached or status.dialogs):
            return False
        if any(port not in state.ports for port in status.dialogs):
            return False
        if any(port not in status.dialogs for port in status.owed):
            return False
    return True


def binders_await_the_listeners(state: DistributorState) -> bool:
    """A bind is unanswered only as long as its port is not listened on."""
    for status in state.servers.values():
        for port, dialog in status.dialogs.items():
            info = state.ports.get(port, None)
            if dialog.phase is DialogPhase.BINDING and (info is None or info.listening or not info.listeners):
                return False
    return True


def accepts_only_where_it_listens(state: DistributorState) -> bool:
    """An accept is outstanding only where a socket listens, in operation or while closing."""
    for info in state.ports.values():
        if info.accepting and not (info.listeners and state.phase in (Phase.OPERATING, Phase.CLOSING)):
            return False
    return True


def servers_are_wanted_only_by_waiters(state: DistributorState) -> bool:
    """In operation, while more wait than dynamic servers that come up will seat, one more is being asked for."""
    if state.phase is not Phase.OPERATING or not state.dynamic or state.waiting <= state.promised:
        return True
    return state.creation is not Creation.NONE


def closed_means_over(state: DistributorState) -> bool:
    """Once closed, nobody waits, nothing listens, no request is outstanding and every server is drained."""
    if state.phase is not Phase.CLOSED:
        return True
    over = not state.waiting and not any(info.listeners for info in state.ports.values())
    return over and all(s.draining and s.request is None for s in state.servers.values())


def ranks_are_past(state: DistributorState) -> bool:
    """The next choice will be later than all that were made, and no two were made at once."""
    ranks = [status.rank for status in state.servers.values()]
    return len(ranks) == len(set(ranks)) and all(0 <= rank < state.next_rank for rank in ranks)


def only_who_was_asked_is_full(state: DistributorState) -> bool:
    """A server is remembered as taking nobody only while a hand-off to it is unanswered."""
    return all(status.full_at == 0 or status.request is not None for status in state.servers.values())


# ---------------------------------------------------------------- Application Server


def clients_came_through_a_listener(state: EndpointState) -> bool:
    """Whoever is served came through a port that the program has bound."""
    return all(client.port in state.listeners for client in state.clients)


def an_answer_is_owed_only_while_deaf(state: EndpointState) -> bool:
    """A RestartReply is owed only where the program does not listen."""
    return not any(listener.listening and listener.asked for listener in state.listeners.values())


def counts_are_issued_in_order(state: EndpointState) -> bool:
    """What is to be sent bears rising sequence numbers, none above the last that was issued."""
    sequences = [reply.message.count.sequence for reply in state.outbox]
    return sequences == sorted({*sequences}) and all(sequence <= state.sequence for sequence in sequences)


def nothing_out_of_date_is_to_be_sent(state: EndpointState) -> bool:
    """On each port, at most one `Disconnect` is to be sent, and one message that says whether the program listens."""
    sorts = [(reply.port, _SORT[type(reply.message)]) for reply in state.outbox if type(reply.message) in _SORT]
    return len(sorts) == len({*sorts})


_SORT: Final[Mapping[type[FromServer], str]] = {Disconnect: "leaves", RestartReply: "listens", NotReady: "listens"}


def who_is_accepted_is_counted(state: EndpointState) -> bool:
    """A client of whom `Accepted` is to be sent is among the server's clients."""
    answered = (reply.message for reply in state.outbox if isinstance(reply.message, Accepted))
    return all(message.client in state.clients for message in answered)


# ---------------------------------------------------------------- Monitor


def living_is_true(state: MonitorState) -> bool:
    """The index of living servers names the places that are filled, and no others."""
    for cls in state.classes.values():
        filled = {place.server: place.place for place in cls.places.values() if place.alive}
        if dict(cls.living.items()) != filled:
            return False
    return True


def places_are_within_the_configuration(state: MonitorState) -> bool:
    """Static places are always there; dynamic ones are filled or vacant; together as many as configured."""
    for cls in state.classes.values():
        static = [place for place in cls.places.values() if not place.dynamic]
        dynamic = [place for place in cls.places.values() if place.dynamic]
        if len(static) != cls.config.static or len(dynamic) + len(cls.vacant) != cls.config.dynamic:
            return False
        if any(place.place in cls.vacant for place in dynamic):
            return False
    return True


def processes_are_counted(state: MonitorState) -> bool:
    """Each processing element has as many processes as places are filled there, Distributors included.

    A Distributor that has said `Closed` counts until its end is reported, which no table shows: so it may be one more.
    """
    for number, element in state.elements.items():
        least, done = 0, 0
        for cls in state.classes.values():
            least += sum(1 for place in cls.places.values() if place.alive and place.element == number)
            if cls.distributor.element == number:
                least += cls.distributor.phase is DistributorPhase.RUNNING
                done += cls.distributor.phase is DistributorPhase.DONE
        if not least <= element.processes <= least + done:
            return False
    return True


def servers_are_new(state: MonitorState) -> bool:
    """No server has an id that is still to be given."""
    return all(place.server < state.next_server for cls in state.classes.values() for place in cls.places.values())


def an_empty_place_keeps_nothing(state: MonitorState) -> bool:
    """No dialog is kept for a place without a process."""
    return not any(p.dialogs for cls in state.classes.values() for p in cls.places.values() if not p.alive)


def ended_means_over(state: MonitorState) -> bool:
    """Once the Monitor has ended, no server lives, no Distributor runs and nobody is stored."""
    if state.phase is not MonitorPhase.ENDED:
        return True
    for cls in state.classes.values():
        if cls.store or cls.living or cls.distributor.phase is DistributorPhase.RUNNING:
            return False
    return all(p.phase is PlacePhase.DOWN for cls in state.classes.values() for p in cls.places.values())


# ---------------------------------------------------------------- the lists

DISTRIBUTOR: Final[Mapping[str, Callable[[DistributorState], bool]]] = {
    f.__name__: f
    for f in (
        index_is_true,
        summaries_are_true,
        waiting_total_is_true,
        no_one_waits_while_a_seat_is_free,
        waiters_wait_on_their_own_port,
        no_client_is_held_twice,
        arrivals_lie_in_the_past,
        requests_travel_on_ready_dialogs,
        rows_and_ports_agree,
        binders_await_the_listeners,
        accepts_only_where_it_listens,
        servers_are_wanted_only_by_waiters,
        closed_means_over,
        ranks_are_past,
        only_who_was_asked_is_full,
    )
}
SERVER: Final[Mapping[str, Callable[[EndpointState], bool]]] = {
    f.__name__: f
    for f in (
        clients_came_through_a_listener,
        an_answer_is_owed_only_while_deaf,
        counts_are_issued_in_order,
        nothing_out_of_date_is_to_be_sent,
        who_is_accepted_is_counted,
    )
}
MONITOR: Final[Mapping[str, Callable[[MonitorState], bool]]] = {
    f.__name__: f
    for f in (
        living_is_true,
        places_are_within_the_configuration,
        processes_are_counted,
        servers_are_new,
        an_empty_place_keeps_nothing,
        ended_means_over,
    )
}


def broken(state: object) -> tuple[str, ...]:
    """The names of the invariants that the machine's state breaks; none of anything but a machine's state."""
    if isinstance(state, DistributorState):
        return tuple(name for name, holds in DISTRIBUTOR.items() if not holds(state))
    if isinstance(state, EndpointState):
        return tuple(name for name, holds in SERVER.items() if not holds(state))
    if isinstance(state, MonitorState):
        return tuple(name for name, holds in MONITOR.items() if not holds(state))
    return ()
