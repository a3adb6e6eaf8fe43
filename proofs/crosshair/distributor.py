"""The contracts of the Distributor: three servers, up to three waiting clients, one or two ports, any numbers.

A `Scene` is the skeleton: in which phase, which ports with who waiting, and which servers of what `Row`.  Two things
are concrete that could have been symbolic: the weights, 1, 2 and 3, as the product of two symbolic numbers
is beyond the solver's certain reach; and which ports there are.  Everything else is symbolic: counts, maxima, ranks,
sequence numbers, limits, arrivals, flags, and whatever the event carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import z3
from crosshair.core_and_libs import NoTracing, ResumedTracing

from maitred.core import distributor as core
from maitred.core.distributor import (
    Creation,
    Dialog,
    DialogPhase,
    DistributorState,
    Phase,
    PortInfo,
    Seat,
    ServerStatus,
)
from maitred.core.messages import (
    Accepted,
    Adopt,
    Allow,
    Begin,
    Client,
    Close,
    Count,
    CreationFailed,
    Disconnect,
    Drain,
    FromServer,
    NotReady,
    Refused,
    RestartReply,
    Restore,
)
from maitred.core.tree import Tree
from proofs.crosshair import effects
from proofs.crosshair.engine import Case, Contract, assume, choice, decide, flag, integer, number, term, truth

PORT, OTHER = 80, 81
BOUND = (79, PORT, OTHER, 82)
"""What a server may bind: a port that is there, or one that would be the first or the last of all.  A port that is new
to the table is hashed, and of a symbol the solver would have to try every number.
"""
HOST, SECOND = "127.0.0.1", "[::1]"
BINDING, OPENED, READY = DialogPhase.BINDING, DialogPhase.OPENED, DialogPhase.READY
WEIGHTS = (1, 2, 3)
ARRIVALS = (10, 20, 30)
FLAGS = ("dynamic", "draining", "resting", "attached", "heard", "known")

# ================================================================ skeletons


@dataclass(frozen=True)
class Row:
    """A server of one kind; what is not given is symbolic."""

    label: str
    dialogs: Mapping[int, DialogPhase]
    clients: str = "any"
    """``none``, ``some`` (fewer than it may have), ``full`` or ``any``."""
    request: int | None = None
    """The port of the client whose hand-off is unanswered."""
    owed: tuple[int, ...] = ()
    flags: Mapping[str, bool] = field(default_factory=dict)


def _settled(**flags: bool) -> dict[str, bool]:
    """The flags of a static server that has come up, but for those that are given."""
    usual = dict.fromkeys(FLAGS, False) | {"attached": True, "heard": True, "known": True}
    return usual | flags


READY_HERE = {PORT: READY}
IDLE = Row("idle", READY_HERE, "none", flags=_settled())
BUSY = Row("busy", READY_HERE, "some", flags=_settled())
FULL = Row("full", READY_HERE, "full", flags=_settled())
ASKED = Row("asked", READY_HERE, "some", request=PORT, flags=_settled())
RESTING = Row("resting", READY_HERE, "some", flags=_settled(resting=True))
DRAINED = Row("drained", READY_HERE, "none", flags=_settled(draining=True))
LEAVING = Row("leaving", READY_HERE, "some", flags=_settled(draining=True))
COMING = Row("coming", {}, "none", flags=_settled(dynamic=True, heard=False))
SPARE = Row("spare", READY_HERE, "none", flags=_settled(dynamic=True))
OWING = Row("owing", READY_HERE, "some", owed=(PORT,), flags=_settled(known=False))
SILENT = Row("silent", {PORT: OPENED}, "none", flags=_settled(heard=False, known=False))
BINDER = Row("binder", {PORT: BINDING}, "none", flags=_settled(heard=False))
HEADLESS = Row("without control", READY_HERE, "full", flags=_settled(attached=False))

_LIFE = {"draining": False, "resting": False, "known": True}
_WORK = {"dynamic": False, "attached": True, "heard": True}
ANYONE = tuple(
    Row(f"any {dialog} with symbolic {symbolic}", {PORT: phase}, request=asked, owed=owed, flags=told)
    for symbolic, told in (("dynamic, attached, heard", _LIFE), ("draining, resting, known", _WORK))
    for dialog, phase, asked, owed in (
        ("opened", OPENED, None, ()),
        ("opened and asked", OPENED, PORT, ()),
        ("ready", READY, None, ()),
        ("ready and asked", READY, PORT, ()),
        ("ready and owing", READY, None, (PORT,)),
    )
)
"""A server with any count, in each state of a dialog, and any of three flags: all six at once are too many paths."""


@dataclass(frozen=True)
class Place:
    """A port of the table."""

    port: int = PORT
    waiting: tuple[int, ...] = ()
    """The arrivals of those who wait."""
    up: bool | None = True
    """Whether its address is listened on; None where it has no address any more."""
    addresses: tuple[str, ...] = (HOST,)
    late: bool = False
    """One more address is being opened."""

    @property
    def listeners(self) -> dict[str, bool]:
        """The addresses, and whether each is listened on."""
        if self.up is None:
            return {}
        return dict.fromkeys(self.addresses, self.up) | ({SECOND: False} if self.late else {})


@dataclass(frozen=True)
class Scene:
    """A skeleton of a Distributor's state."""

    phase: Phase
    places: tuple[Place, ...]
    rows: tuple[Row, ...]
    plain: bool = True
    """An accept is outstanding on each port that can have one, two dynamic servers are configured, one is being asked
    for, and no arrivals are equal: the paths do not split over these."""

    @property
    def label(self) -> str:
        """For messages."""
        ports = "; ".join(
            f"port {p.port} {_PORT_WORDS[p.up]}{' and opens' if p.late else ''}, {len(p.waiting)} wait"
            for p in self.places
        )
        servers = ", ".join(row.label for row in self.rows)
        limits = "" if self.plain else "; limits symbolic"
        return f"{self.phase.value}; {ports or 'no port'}; servers {servers or 'none'}{limits}"


_PORT_WORDS = {True: "listens", False: "opens", None: "closed"}


class _Known:
    """A row, and in the solver's words what the table's indexes say of it."""

    def __init__(self, i: int, row: Row, next_rank: int, next_arrival: int, distinct: bool) -> None:
        self.status = status = _status(i, row, next_rank, next_arrival, distinct)
        asked = z3.BoolVal(status.request is not None)
        self.idle = z3.And(
            term(status.count.clients) == 0, truth(status.known), z3.Not(asked), z3.BoolVal(not row.owed)
        )
        self.willing = z3.And(
            z3.Not(asked),
            z3.BoolVal(not row.owed),
            term(status.count.clients) < term(status.max_clients),
            z3.Not(truth(status.draining)),
            z3.Not(truth(status.resting)),
        )
        coming = z3.And(
            truth(status.dynamic), truth(status.attached), z3.Not(truth(status.draining)), z3.Not(truth(status.heard))
        )
        self.drained = z3.If(z3.And(self.idle, truth(status.draining)), z3.IntVal(1), z3.IntVal(0))
        self.drainable = z3.And(self.idle, z3.Not(truth(status.draining)))
        self.promised = z3.If(coming, term(status.max_clients), z3.IntVal(0))
        self.ready = frozenset(port for port, phase in row.dialogs.items() if phase is READY)

    def free_on(self, port: int) -> z3.BoolRef:
        """Rule 1."""
        return z3.And(z3.BoolVal(port in self.ready), self.willing)


def _status(i: int, row: Row, next_rank: int, next_arrival: int, distinct: bool) -> ServerStatus:
    """The row of the table with the server's id `i`."""
    flags = {name: row.flags[name] if name in row.flags else flag(f"{name}_{i}") for name in FLAGS}
    most = number(f"max_{i}", 1)
    clients = 0 if row.clients == "none" else number(f"clients_{i}", 1 if row.clients == "some" else 0)
    if row.clients in ("some", "full"):
        roomy = term(clients) < term(most)
        assume(roomy if row.clients == "some" else z3.Not(roomy))
    rank = number(f"rank_{i}", 0)
    request = None if row.request is None else Client(number(f"request_{i}"), 100 + i, row.request)
    assume(term(rank) < term(next_rank), *(term(c.arrival) < term(next_arrival) for c in (request,) if c))
    if request is not None and distinct:
        assume(*(term(request.arrival) != arrival for arrival in ARRIVALS))
    if not row.dialogs:
        assume(truth(flags["attached"]))
    return ServerStatus(
        server=i,
        max_clients=most,
        weight=WEIGHTS[i - 1],
        dialogs=Tree.of((port, Dialog(phase, number(f"dialog_{i}_{port}"))) for port, phase in row.dialogs.items()),
        owed=Tree.of((port, None) for port in row.owed),
        count=Count(clients, number(f"sequence_{i}", -1)),
        request=request,
        rank=rank,
        full_at=0 if request is None else number(f"full_at_{i}", 0),
        **flags,
    )


def _info(place: Place, scene: Scene, rows: Sequence[_Known]) -> PortInfo:
    plain = scene.plain
    settled = scene.phase is Phase.CLOSING and not place.late
    accepts = bool(place.up) and (settled or scene.phase is Phase.OPERATING)
    free = [known.status for known in rows if decide(known.free_on(place.port))]
    with ResumedTracing():  # to put the seats in order is to compare what is symbolic
        seats = Tree.of((Seat.of(status), None) for status in free)
    return PortInfo(
        place.port,
        listeners=Tree.of(place.listeners.items()),
        opened=plain or flag(f"opened_{place.port}"),
        accepting=accepts and (plain or flag(f"accepting_{place.port}")),
        pausing=not plain and flag(f"pausing_{place.port}"),
        waiting=Tree.of((Client(arrival, arrival, place.port), None) for arrival in place.waiting),
        free=seats,
    )


def state_of(scene: Scene) -> DistributorState:
    """Any state with this skeleton of which the invariants hold."""
    next_rank, next_arrival = number("next_rank", 0), number("next_arrival", 31)
    rows = [_Known(i, row, next_rank, next_arrival, scene.plain) for i, row in enumerate(scene.rows, 1)]
    if len(rows) > 1:
        assume(z3.Distinct(*(term(known.status.rank) for known in rows)))
    if scene.phase is not Phase.INITIALISING:
        crowded = [place.port for place in scene.places if place.waiting]
        assume(*(z3.Not(known.free_on(port)) for port in crowded for known in rows))
    if scene.phase is Phase.CLOSED:
        assume(*(z3.And(truth(k.status.draining), z3.BoolVal(k.status.request is None)) for k in rows))
    waiting = sum(len(place.waiting) for place in scene.places)
    promised = z3.Sum(*(known.promised for known in rows), z3.IntVal(0))
    dynamic = 2 if scene.plain else number("dynamic", 0)
    creation = Creation.DELAYED if scene.plain else choice("creation", tuple(Creation))
    if scene.phase is Phase.OPERATING and creation is Creation.NONE:
        assume(z3.Or(term(dynamic) == 0, waiting <= promised))
    ports = [_info(place, scene, rows) for place in scene.places]
    return DistributorState(
        incarnation=number("incarnation", 1),
        dynamic=dynamic,
        waiting_limit=number("waiting_limit", 1),
        fixed=flag("fixed"),
        phase=scene.phase,
        servers=Tree.of((known.status.server, known.status) for known in rows),
        ports=Tree.of((info.port, info) for info in ports),
        waiting=waiting,
        next_arrival=next_arrival,
        next_rank=next_rank,
        creation=creation,
        drainable=Tree.of((known.status.server, None) for known in rows if decide(known.drainable)),
        drained=integer(z3.Sum(*(known.drained for known in rows), z3.IntVal(0))),
        outstanding=sum(known.status.request is not None for known in rows),
        promised=integer(promised),
    )


# ================================================================ scenes

CROWD = (Place(waiting=ARRIVALS),)
QUIET = (Place(),)
ASIDE = (Place(waiting=ARRIVALS[:2]), Place(OTHER, waiting=ARRIVALS[2:]))


SEATING = (
    Scene(Phase.OPERATING, CROWD, (ASKED, RESTING, COMING)),
    Scene(Phase.OPERATING, QUIET, (IDLE, ASKED, FULL)),
    Scene(Phase.OPERATING, CROWD, (OWING, FULL, LEAVING)),
    Scene(Phase.CLOSING, (Place(up=None),), (DRAINED, SPARE, BUSY)),
)
"""Three servers, and three who wait or nobody."""
BOTH = {PORT: READY, OTHER: READY}
TWO_PORTS = (
    Scene(Phase.OPERATING, ASIDE, (replace(FULL, dialogs=BOTH), replace(ASKED, dialogs=BOTH, request=OTHER), COMING)),
    Scene(Phase.OPERATING, (Place(), Place(OTHER, ARRIVALS)), (IDLE, replace(FULL, dialogs=BOTH), BUSY)),
)
"""Two ports, with somebody waiting on each, or on the other only."""
OPENING = (
    Scene(Phase.OPERATING, (Place(waiting=ARRIVALS, up=False),), (BINDER, SILENT, FULL)),
    Scene(Phase.OPERATING, (Place(up=False, addresses=(HOST, SECOND)),), (BINDER, HEADLESS)),
    Scene(Phase.CLOSING, (Place(up=False),), (BINDER, DRAINED)),
    Scene(Phase.OPERATING, (), (COMING,)),
    Scene(Phase.OPERATING, (Place(late=True),), (BINDER, BUSY)),
    Scene(Phase.CLOSING, (Place(waiting=ARRIVALS, late=True),), (BINDER, FULL)),
)
"""Ports that are not listened on yet, and servers that have called bind."""
BEGINNING = (
    Scene(Phase.INITIALISING, (Place(waiting=ARRIVALS, up=False),), (IDLE, BUSY, COMING)),
    Scene(
        Phase.INITIALISING, (Place(waiting=ARRIVALS[:2], up=False), Place(OTHER, ARRIVALS[2:], None)), (BINDER, OWING)
    ),
    Scene(Phase.INITIALISING, (), ()),
)
DRAINING = (
    Scene(Phase.CLOSING, QUIET, (ASKED, DRAINED, BUSY)),
    Scene(Phase.CLOSING, CROWD, (FULL, ASKED, COMING)),
    Scene(Phase.CLOSING, (Place(), Place(OTHER, ARRIVALS)), (IDLE, replace(FULL, dialogs=BOTH), LEAVING)),
    Scene(Phase.CLOSING, (Place(), Place(OTHER)), (SPARE, replace(BUSY, dialogs=BOTH), RESTING)),
)
"""The ports are listened on still: for those who are in the kernel's backlog."""
STARTING = (
    Scene(Phase.INITIALISING, (Place(up=False),), (SPARE, FULL, OWING)),
    Scene(Phase.INITIALISING, (Place(up=False), Place(OTHER, ARRIVALS[:1], False)), (IDLE, BINDER, HEADLESS)),
)
SPARES = (
    Scene(Phase.OPERATING, QUIET, (SPARE, IDLE, replace(COMING, label="another coming"))),
    Scene(Phase.OPERATING, (Place(), Place(OTHER, ARRIVALS)), (SPARE, replace(ASKED, dialogs=BOTH))),
    Scene(Phase.OPERATING, QUIET, (SPARE,), plain=False),
)
ENDED = (Scene(Phase.CLOSED, (Place(up=None),), (DRAINED, LEAVING, DRAINED)),)
LIMITS = (
    Scene(Phase.OPERATING, CROWD, (COMING,), plain=False),
    Scene(Phase.OPERATING, QUIET, (IDLE,), plain=False),
    Scene(Phase.CLOSING, QUIET, (ASKED,), plain=False),
    Scene(Phase.CLOSING, (Place(late=True),), (BINDER,), plain=False),
)
"""Where limits, accepts and the asking for servers are symbolic too."""
ANY = (
    *(Scene(Phase.OPERATING, CROWD, (row,)) for row in ANYONE),
    Scene(Phase.CLOSING, (Place(up=None),), (ANYONE[7],)),
)
"""One server, of which more is symbolic than of three."""
MOST = (*SEATING, *TWO_PORTS, *OPENING, *BEGINNING, *ENDED)
"""For events that carry much: what splits there is not multiplied by the limits."""
ALL = (*MOST, *LIMITS)
TALKING = (SEATING[0], SEATING[1], OPENING[2], BEGINNING[1], ANY[3], ANY[5], ANY[9])
"""Where a server's message may matter; in the other phases and places a message is treated the same."""
QUICK = tuple(scene.label for scene in (SEATING[0], SEATING[1], SEATING[3], OPENING[0], BEGINNING[0]))
"""Those that are asked in every run of the tests."""

# ================================================================ contracts


def nothing_is_outstanding_before_begin(state: object) -> bool:
    """While it initialises, no request is outstanding: all clients wait."""
    assert isinstance(state, DistributorState)
    return state.phase is not Phase.INITIALISING or not state.outstanding


def an_accept_is_outstanding_only_on_a_socket(state: object) -> bool:
    """An accept is outstanding only where at least one address is listened on: it has not merely been asked for."""
    assert isinstance(state, DistributorState)
    return all(any(info.listeners.values()) for info in state.ports.values() if info.accepting)


def a_closing_port_is_opened_first(state: object) -> bool:
    """While closing, an accept is outstanding only where every address is listened on."""
    assert isinstance(state, DistributorState)
    closing = state.phase is Phase.CLOSING
    return all(info.listening for info in state.ports.values() if closing and info.accepting)


LEMMAS = (
    nothing_is_outstanding_before_begin,
    an_accept_is_outstanding_only_on_a_socket,
    a_closing_port_is_opened_first,
)


def _contract(
    name: str,
    about: tuple[type, ...],
    scenes: Iterable[Scene],
    event: Callable[[DistributorState], object],
    quick: Iterable[Scene] = (),
) -> Contract:
    """The contract, with the quick cases that all have and those of its own, on which the step is taken."""
    by_label = {scene.label: scene for scene in scenes}  # a scene may be in several lists
    cases = tuple(Case(label, partial(_situation, scene, event)) for label, scene in by_label.items())
    servers = max(len(scene.rows) for scene in by_label.values())
    waiting = max(sum(len(place.waiting) for place in scene.places) for scene in by_label.values())
    ports = max(len(scene.places) for scene in by_label.values())
    sizes = f"up to {servers} servers, {waiting} waiting, {ports} ports"
    step: Callable[..., object] = core.step
    labels = tuple(label for label in (*QUICK, *(scene.label for scene in quick)) if label in by_label)
    return Contract(name, "distributor", about, sizes, step, cases, labels, LEMMAS, effects.DISTRIBUTOR)


def _situation(scene: Scene, event: Callable[[DistributorState], object]) -> tuple[object, object]:
    with NoTracing():
        state = state_of(scene)
        return state, event(state)


def _count() -> Count:
    return Count(number("count", 0), number("sequence"))


def _client() -> Client:
    """Any client at all."""
    return Client(number("arrival"), number("cookie"), number("origin"))


def _answered(state: DistributorState) -> Client:
    """A client of which only the cookie can differ from the first that was handed to a server."""
    asked = [status.request for status in state.servers.values() if status.request is not None]
    known = asked[0] if asked else Client(0, 0, PORT)
    return Client(known.arrival, number("cookie"), known.port)


def _received(message: Callable[[DistributorState], FromServer], state: DistributorState) -> object:
    return core.Received(number("server"), number("port"), message(state))


def _message(name: str, kind: type, message: Callable[[DistributorState], FromServer]) -> Contract:
    return _contract(name, (core.Received, kind), TALKING, partial(_received, message))


MESSAGES = (
    _message("restart_reply", RestartReply, lambda state: RestartReply(number("echo"), _count())),
    _message("not_ready", NotReady, lambda state: NotReady(number("echo"), _count())),
    _message("accepted", Accepted, lambda state: Accepted(_answered(state), _count())),
    _message("refused", Refused, lambda state: Refused(_answered(state), _count())),
    _message("disconnect", Disconnect, lambda state: Disconnect(Client(0, 0, PORT), _count())),
)


def _adopt(state: DistributorState) -> object:
    dialogs = choice("adopted", ((), (PORT, OTHER)))
    owed = choice("adopted_owed", (dialogs[:1], ())) if dialogs else ()
    server = number("server")
    assume(term(server) >= len(state.servers))  # known already, or later than all
    return Adopt(
        server=server,
        max_clients=number("max", 1),
        weight=number("weight", 1),
        dynamic=flag("is_dynamic"),
        draining=flag("is_draining"),
        dialogs=dialogs,
        owed=owed,
    )


def _restore(state: DistributorState) -> object:
    return Restore(Client(number("arrival", 0), number("cookie"), choice("origin", (PORT, OTHER))))


def _address() -> str:
    return choice("address", (HOST, SECOND))


def _gone(state: DistributorState) -> object:
    return core.Audited(number("server"), choice("gone", ((), (Client(0, 0, PORT),))))


def _timer(
    name: str, kind: type, timer: Callable[[], core.Timer], scenes: Iterable[Scene], quick: Iterable[Scene] = ()
) -> Contract:
    return _contract(name, (core.Fired, kind), scenes, lambda state: core.Fired(timer()), quick)


CONTRACTS = (
    *MESSAGES,
    _contract("adopt", (Adopt,), MOST, _adopt),
    _contract("restore", (Restore,), (*MOST, *STARTING), _restore),
    _contract("begin", (Begin,), (*ALL, *STARTING), lambda state: Begin()),
    _contract("creation_failed", (CreationFailed,), (*ALL, SPARES[2]), lambda state: CreationFailed(), LIMITS[:1]),
    _contract("close", (Close,), ALL, lambda state: Close()),
    _contract(
        "listening", (core.Listening,), MOST, lambda state: core.Listening(number("port"), _address()), OPENING[1:2]
    ),
    _contract(
        "listening_failed",
        (core.ListeningFailed,),
        MOST,
        lambda state: core.ListeningFailed(number("port"), _address(), number("errno", 1)),
        OPENING[1:2],
    ),
    _contract(
        "bind_requested",
        (core.BindRequested,),
        MOST,
        lambda state: core.BindRequested(number("server"), choice("port", BOUND), _address()),
    ),
    _contract(
        "connection_request",
        (core.ConnectionRequest,),
        (*ALL, *DRAINING),
        lambda state: core.ConnectionRequest(number("port"), number("cookie")),
    ),
    _contract(
        "accept_failed", (core.AcceptFailed,), (*ALL, *DRAINING), lambda state: core.AcceptFailed(number("port"))
    ),
    _contract(
        "backlog_empty",
        (core.BacklogEmpty,),
        (*ALL, *DRAINING),
        lambda state: core.BacklogEmpty(number("port")),
        (DRAINING[0], DRAINING[2]),
    ),
    _contract(
        "peer_closed",
        (core.PeerClosed,),
        ALL,
        lambda state: core.PeerClosed(_client(), flag("reset"), flag("unread")),
    ),
    _contract(
        "dialog_ended",
        (core.DialogEnded,),
        (*ALL, *ANY),
        lambda state: core.DialogEnded(number("server"), number("port")),
    ),
    _contract("control_ended", (core.ControlEnded,), ALL, lambda state: core.ControlEnded(number("server"))),
    _contract("unsent", (core.Unsent,), ALL, lambda state: core.Unsent(number("server"), _answered(state))),
    _contract("audited", (core.Audited,), ALL, _gone),
    _contract("still_serves", (core.StillServes,), ALL, lambda state: core.StillServes(number("server"))),
    _contract("drain", (Drain,), ALL, lambda state: Drain(number("server"))),
    _contract("allow", (Allow,), ALL, lambda state: Allow(number("allowed", 0)), LIMITS[:1]),
    _contract("unfit", (core.Unfit,), ALL, lambda state: core.Unfit(number("server"))),
    _timer("queue_timeout", core.QueueTimeout, lambda: core.QueueTimeout(_client()), ALL),
    _timer("hand_off_timeout", core.HandOffTimeout, lambda: core.HandOffTimeout(number("server")), ALL),
    _timer("rest_over", core.RestOver, lambda: core.RestOver(number("server")), (*ALL, *ANY)),
    _timer("create_delay", core.CreateDelay, core.CreateDelay, ALL),
    _timer("delete_delay", core.DeleteDelay, lambda: core.DeleteDelay(number("server")), (*ALL, *SPARES, DRAINING[3])),
    _timer("accept_retry", core.AcceptRetry, lambda: core.AcceptRetry(number("port")), (*ALL, SPARES[2]), LIMITS[1:2]),
    _timer("audit_due", core.AuditDue, core.AuditDue, ALL),
)
