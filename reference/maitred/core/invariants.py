"""What must hold of each machine's state by itself, after every step, whatever happened before.

Each invariant yields its violations: sentences without capital and full stop, those of a server without their subject
as well, the server.  It holds where none comes.  `DISTRIBUTOR`, `SERVER` and `MONITOR` list them.  The model asks them
of every state that it reaches, and `replay` of every state that a real run went through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from maitred.core.distributor import (
    Creation,
    DialogPhase,
    DistributorState,
    Phase,
    Seat,
)
from maitred.core.messages import Accepted, Client, Disconnect, FromServer, NotReady, RestartReply
from maitred.core.monitor import NO_PLACE, ClassState, DistributorPhase, MonitorState, Place, PlacePhase, Retirement
from maitred.core.monitor import Phase as MonitorPhase
from maitred.core.server import EndpointState

# ---------------------------------------------------------------- Distributor


def index_is_true(state: DistributorState) -> Iterator[str]:
    """Each port's index of free servers holds the servers that are free there, with their present load and rank."""
    for port, info in state.ports.items():
        derived = [Seat.of(status) for status in state.servers.values() if status.free_on(port)]
        if len(info.free) != len(derived) or any(seat not in info.free for seat in derived):
            yield f"free on port {port}, by the index: {_seats(info.free)}; by the table: {_seats(derived)}"


def _seats(seats: Iterable[Seat]) -> str:
    described = (f"server {s.server} (load {s.load}, weight {s.weight}, rank {s.rank})" for s in seats)
    return ", ".join(described) or "no server"


def summaries_are_true(state: DistributorState) -> Iterator[str]:
    """What is known of the server table as a whole, without walking it, is what the rows say."""
    rows = list(state.servers.values())
    compared = (
        ("servers that could be drained", [*state.drainable], [row.server for row in rows if row.drainable]),
        ("number of drained servers", state.drained, sum(row.drained for row in rows)),
        ("number of requests outstanding", state.outstanding, sum(row.request is not None for row in rows)),
        ("number of promised seats", state.promised, sum(row.promised for row in rows)),
    )
    for what, kept, true in compared:
        if kept != true:
            yield f"kept as {what}: {kept}; by the rows of the server table: {true}"


def waiting_total_is_true(state: DistributorState) -> Iterator[str]:
    """The number of those who wait is the sum over the ports."""
    waiting = sum(len(info.waiting) for info in state.ports.values())
    if state.waiting != waiting:
        yield f"kept as number of those who wait: {state.waiting}; on the waiting lists: {waiting}"


def no_one_waits_while_a_seat_is_free(state: DistributorState) -> Iterator[str]:
    """Unless it is initialising, nobody waits on a port where a server is free."""
    if state.phase is Phase.INITIALISING:
        return
    for port, info in state.ports.items():
        if info.waiting and info.free:
            waiting = f"{', '.join(map(_name, info.waiting))} {'waits' if len(info.waiting) == 1 else 'wait'}"
            rows = [row for seat in info.free if (row := state.servers.get(seat.server, None)) is not None]
            free = ", ".join(f"server {row.server} ({row.count.clients} of {row.max_clients})" for row in rows)
            yield f"{waiting} on port {port} while a seat is free at {free}"


def waiters_wait_on_their_own_port(state: DistributorState) -> Iterator[str]:
    """Each port's waiting list holds clients of that port."""
    for port, info in state.ports.items():
        for client in info.waiting:
            if client.port != port:
                yield f"{_name(client)}, who came to port {client.port}, is on the waiting list of port {port}"


def _name(client: Client) -> str:
    return f"client {client.cookie}"


def _clients(state: DistributorState) -> Iterator[Client]:
    """The clients whom the Distributor holds: those who wait, and those on their way to a server."""
    for info in state.ports.values():
        yield from info.waiting
    for status in state.servers.values():
        if status.request is not None:
            yield status.request


def no_client_is_held_twice(state: DistributorState) -> Iterator[str]:
    """A client waits once, or is on its way to one server: never two of these."""
    clients = sorted(_clients(state))
    for client, other in pairwise(clients):
        if client == other:
            yield f"{_name(client)} is held twice: on a waiting list, or on the way to a server"


def arrivals_lie_in_the_past(state: DistributorState) -> Iterator[str]:
    """The next client will be later than everyone whom the Distributor holds."""
    for client in _clients(state):
        if client.arrival >= state.next_arrival:
            yield f"{_name(client)} is held with arrival {client.arrival}, and the next will have {state.next_arrival}"


def requests_travel_on_ready_dialogs(state: DistributorState) -> Iterator[str]:
    """A hand-off is unanswered only on a port where its server has a dialog."""
    for status in state.servers.values():
        if status.request is not None and status.request.port not in status.dialogs:
            yield (
                f"server {status.server} is to answer about {_name(status.request)} on port {status.request.port}, and"
                " the table has no such dialog"
            )


def rows_and_ports_agree(state: DistributorState) -> Iterator[str]:
    """Every dialog is on a port of the table, what is owed is a dialog, and a row has a process behind it."""
    for server, status in state.servers.items():
        if server != status.server:
            yield f"the row of server {server} is about server {status.server}"
        if not (status.attached or status.dialogs):
            yield f"server {server} has neither a control channel nor a dialog left, and is still in the table"
        for port in status.dialogs:
            if port not in state.ports:
                yield f"server {server} has a dialog on port {port}, which is not in the table of ports"
        for port in status.owed:
            if port not in status.dialogs:
                yield f"server {server} owes an answer on port {port}, where it has no dialog"


def binders_await_the_listeners(state: DistributorState) -> Iterator[str]:
    """A bind is unanswered only as long as its port is not listened on."""
    for status in state.servers.values():
        for port, dialog in status.dialogs.items():
            info = state.ports.get(port, None)
            if dialog.phase is DialogPhase.BINDING and (info is None or info.listening or not info.listeners):
                opened = "is listened on" if info is not None and info.listening else "is not being opened"
                yield f"server {status.server}'s bind to port {port} is unanswered, and the port {opened}"


def accepts_only_where_it_listens(state: DistributorState) -> Iterator[str]:
    """An accept is outstanding only where a socket listens, in operation or while closing."""
    for port, info in state.ports.items():
        if info.accepting and not info.listeners:
            yield f"an accept is outstanding on port {port}, and no socket is there"
        elif info.accepting and state.phase not in (Phase.OPERATING, Phase.CLOSING):
            yield f"an accept is outstanding on port {port}, and the Distributor is {state.phase.value}"


def servers_are_wanted_only_by_waiters(state: DistributorState) -> Iterator[str]:
    """In operation, while more wait than dynamic servers that come up will seat, one more is being asked for."""
    wanted = state.phase is Phase.OPERATING and state.dynamic and state.waiting > state.promised
    if wanted and state.creation is Creation.NONE:
        yield (
            f"clients that wait: {state.waiting}; seats of the dynamic servers that are coming up: {state.promised};"
            " and no further server is being asked for"
        )


def closed_means_over(state: DistributorState) -> Iterator[str]:
    """Once closed, nobody waits, nothing listens, no request is outstanding and every server is drained."""
    if state.phase is not Phase.CLOSED:
        return
    if state.waiting:
        yield f"the Distributor is closed, with {state.waiting} waiting"
    for port, info in state.ports.items():
        if info.listeners:
            yield f"the Distributor is closed, and listens on port {port}"
    for status in state.servers.values():
        if status.request is not None:
            yield f"the Distributor is closed, and server {status.server} is to answer about {_name(status.request)}"
        if not status.draining:
            yield f"the Distributor is closed, and server {status.server} was never drained"


def ranks_are_past(state: DistributorState) -> Iterator[str]:
    """The next choice will be later than all that were made, and no two were made at once."""
    ranks = sorted(status.rank for status in state.servers.values())
    for rank, other in pairwise(ranks):
        if rank == other:
            yield f"two servers have rank {rank}"
    for rank in ranks:
        if not 0 <= rank < state.next_rank:
            yield f"a server has rank {rank}, and the next to be chosen will have rank {state.next_rank}"


def only_who_was_asked_is_full(state: DistributorState) -> Iterator[str]:
    """A server is remembered as taking nobody only while a hand-off to it is unanswered."""
    for status in state.servers.values():
        if status.full_at and status.request is None:
            yield f"no hand-off to server {status.server} is unanswered, and it is remembered as taking nobody"


# ---------------------------------------------------------------- Application Server


def clients_came_through_a_listener(state: EndpointState) -> Iterator[str]:
    """Whoever is served came through a port that the program has bound."""
    for client in state.clients:
        if client.port not in state.listeners:
            yield f"serves {_name(client)} of port {client.port}, which its program has not bound"


def an_answer_is_owed_only_while_deaf(state: EndpointState) -> Iterator[str]:
    """A RestartReply is owed only where the program does not listen."""
    for port, listener in state.listeners.items():
        if listener.listening and listener.asked:
            yield f"owes Distributor {listener.asked} the answer that its program listens on port {port}, as it does"


def counts_are_issued_in_order(state: EndpointState) -> Iterator[str]:
    """What is to be sent bears rising sequence numbers, none above the last that was issued."""
    sequences = [reply.message.count.sequence for reply in state.outbox]
    if sequences != sorted({*sequences}) or any(sequence > state.sequence for sequence in sequences):
        yield f"is to send counts with the numbers {sequences}, and the last that it issued is {state.sequence}"


def nothing_out_of_date_is_to_be_sent(state: EndpointState) -> Iterator[str]:
    """On each port, at most one `Disconnect` is to be sent, and one message that says whether the program listens."""
    sorts = [(reply.port, _SORT[type(reply.message)]) for reply in state.outbox if type(reply.message) in _SORT]
    for port, sort in sorted({*sorts}):
        if sorts.count((port, sort)) > 1:
            yield f"is to send two messages on port {port} that say {sort}: the first is out of date"


_SORT: Final[Mapping[type[FromServer], str]] = {
    Disconnect: "who has left",
    RestartReply: "whether the program listens",
    NotReady: "whether the program listens",
}


def who_is_accepted_is_counted(state: EndpointState) -> Iterator[str]:
    """A client of whom `Accepted` is to be sent is among the server's clients."""
    for reply in state.outbox:
        if isinstance(reply.message, Accepted) and reply.message.client not in state.clients:
            yield f"is to say that it has {_name(reply.message.client)}, whom it does not count"


# ---------------------------------------------------------------- Monitor


def living_is_true(state: MonitorState) -> Iterator[str]:
    """The index of living servers names the places that are filled, and no others."""
    for cls in state.classes.values():
        filled = {place.server: place.place for place in cls.places.values() if place.alive}
        index = dict(cls.living.items())
        if index != filled:
            yield f"the index of living servers has them at the places {index}, and the table of places at {filled}"


def places_are_within_the_configuration(state: MonitorState) -> Iterator[str]:
    """Static places are always there; dynamic ones are filled or vacant; together as many as configured.  One more
    comes up while a server is replaced, and those that are to be struck off do not count.
    """
    for cls in state.classes.values():
        places = [place for place in cls.places.values() if place.stays]
        dynamic = sum(place.dynamic for place in places)
        surge = _surge(cls)
        static = cls.config.static + (surge is not None and not surge.dynamic)
        if len(places) - dynamic != static:
            yield f"static places: {len(places) - dynamic}; configured: {static}{_AND_ONE if surge else ''}"
        # The place of a dynamic server that left while its successor comes up is the successor's.
        more = surge is not None and surge.dynamic and cls.replacement is not None and cls.replacement.old != NO_PLACE
        if dynamic + len(cls.vacant) != cls.config.dynamic + more:
            yield (
                f"dynamic places: {dynamic} filled, {len(cls.vacant)} vacant; configured: {cls.config.dynamic}"
                f"{_AND_ONE if more else ''}"
            )
        for number, place in cls.places.items():
            if number in cls.vacant:
                kind = "dynamic place" if place.dynamic else "static place"
                yield f"{kind} {number} is filled, and counts as vacant"


_AND_ONE: Final = ", and one more that is to replace another"


def _surge(cls: ClassState) -> Place | None:
    """The place in which the successor of another server comes up."""
    return cls.places.get(cls.replacement.surge, None) if cls.replacement is not None else None


def a_replacement_is_of_places_that_are_there(state: MonitorState) -> Iterator[str]:
    """While servers are replaced, a successor of the one whose turn it is comes up, or that one is leaving."""
    for cls in state.classes.values():
        plan = cls.replacement
        if plan is None:
            continue
        old, new = cls.places.get(plan.old, None), cls.places.get(plan.surge, None)
        if plan.surge != NO_PLACE and (new is None or not (new.alive and new.stays) or new.program != plan.program):
            yield f"place {plan.surge} is that of a successor, and none with program {plan.program} comes up there"
        if plan.old != NO_PLACE and old is None:
            yield f"it is the turn of place {plan.old}, which is not there"
        if plan.surge == NO_PLACE and (old is None or old.stays):
            yield f"no successor of the server in place {plan.old} comes up, and that one is not to leave"
        if old is not None and new is not None and old.dynamic is not new.dynamic:
            yield f"one of the places {plan.old} and {plan.surge} is dynamic, and the other is not"


def who_is_to_leave_has_a_server(state: MonitorState) -> Iterator[str]:
    """A place that is to be struck off or filled again has a server, which is to leave first; and only a server that is
    to leave has a limit.
    """
    for cls in state.classes.values():
        for place in cls.places.values():
            leaves = place.retirement in (Retirement.REMOVE, Retirement.REFILL)
            if leaves and not place.alive:
                yield f"place {place.place} waits for its server to leave, and is empty"
            if place.limited and (place.retirement is Retirement.NONE or not place.alive):
                yield f"place {place.place} has a limit, and no server that is to leave"


def processes_are_counted(state: MonitorState) -> Iterator[str]:
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
            yield f"processes counted on processing element {number}: {element.processes}; by the tables: {least}"


def servers_are_new(state: MonitorState) -> Iterator[str]:
    """No server has an id that is still to be given."""
    for cls in state.classes.values():
        for place in cls.places.values():
            if place.server >= state.next_server:
                yield (
                    f"place {place.place} has server {place.server}, and the next to start will be {state.next_server}"
                )


def an_empty_place_keeps_nothing(state: MonitorState) -> Iterator[str]:
    """No dialog is kept for a place without a process."""
    for cls in state.classes.values():
        for place in cls.places.values():
            if place.dialogs and not place.alive:
                yield f"place {place.place} is empty, and dialogs are kept for it, on the ports {[*place.dialogs]}"


def ended_means_over(state: MonitorState) -> Iterator[str]:
    """Once the Monitor has ended, no server lives, no Distributor runs and nobody is stored."""
    if state.phase is not MonitorPhase.ENDED:
        return
    for cls in state.classes.values():
        if cls.store:
            yield f"the Monitor has ended, with these in its store: {', '.join(map(_name, cls.store))}"
        if cls.distributor.phase is DistributorPhase.RUNNING:
            yield "the Monitor has ended, and the Distributor runs"
        for place in cls.places.values():
            if place.phase is not PlacePhase.DOWN:
                yield f"the Monitor has ended, and server {place.server} is {place.phase.value}"
        if cls.living:
            yield f"the Monitor has ended, and counts these servers as living: {[*cls.living]}"


# ---------------------------------------------------------------- the lists

DISTRIBUTOR: Final[Mapping[str, Callable[[DistributorState], Iterator[str]]]] = {
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
SERVER: Final[Mapping[str, Callable[[EndpointState], Iterator[str]]]] = {
    f.__name__: f
    for f in (
        clients_came_through_a_listener,
        an_answer_is_owed_only_while_deaf,
        counts_are_issued_in_order,
        nothing_out_of_date_is_to_be_sent,
        who_is_accepted_is_counted,
    )
}
MONITOR: Final[Mapping[str, Callable[[MonitorState], Iterator[str]]]] = {
    f.__name__: f
    for f in (
        living_is_true,
        places_are_within_the_configuration,
        a_replacement_is_of_places_that_are_there,
        who_is_to_leave_has_a_server,
        processes_are_counted,
        servers_are_new,
        an_empty_place_keeps_nothing,
        ended_means_over,
    )
}


def broken(state: object) -> tuple[str, ...]:
    """The names of the invariants that the machine's state breaks; none of anything but a machine's state."""
    if isinstance(state, DistributorState):
        return tuple(name for name, violations in DISTRIBUTOR.items() if next(violations(state), None) is not None)
    if isinstance(state, EndpointState):
        return tuple(name for name, violations in SERVER.items() if next(violations(state), None) is not None)
    if isinstance(state, MonitorState):
        return tuple(name for name, violations in MONITOR.items() if next(violations(state), None) is not None)
    return ()
