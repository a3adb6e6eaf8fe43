"""The Monitor: keeps the processes running that should run, and keeps what must outlive a Distributor.

Rules
-----
1.  Every server class has one Distributor and its static servers, always; what dies is started again after a delay that
    grows with each death (x1.5, to a cap) and is forgotten once the process has lived for a while.
2.  A dynamic server is started when the Distributor asks, while the class has one left; it is not started again.  After
    one that died before it was ready, the next is declined for a delay that grows as rule 1 says.
3.  A process is started on its own processing element, or, if that has failed, on the one with the fewest processes.
4.  When a server's main process dies, or does not answer, every process descended from it is killed.  Only when the
    last is gone is the server's place free.  The Distributor gets no message: it sees the dialogs end.
5.  A server is asked to end (SIGTERM) only when its Distributor says that it is drained, or when the grace has ended:
    that of a stop, or its own where it is to leave within one.
6.  The store has exactly the clients that wait.  All messages of a dead Distributor are read before its
    successor is sent the clients that wait.
7.  Servers that die before they were ever ready are reported.  If none of the class has ever been ready, and each
    static server has died so `CRASH_LOOP` times, the class is given up: it cannot work.
8.  A place that is *retired* gets no more clients.  Once its server has left, the place is filled again, stays empty or
    is struck off, as the operator wished.
9.  Servers are *replaced* one by one: a new one, in a place of its own, is ready before an old one is retired, and the
    next begins when the old one has left.  So a class has at most one server more than configured, beside those that
    leave, and never fewer that take clients than before.
10. If a new server dies, or is not ready by the time of its warning, the replacement is over.  If it was to bring
    another program, the places that have it already are replaced back.

Theory of operation
-------------------
A *place* is where a server is to run; each incarnation that fills it is a new `ServerId`, so that whatever is still on
its way from a former one cannot be mistaken.  The patent's PATHMON is this machine; its store of waiting clients,
dialogs and listening sockets is what lets a Distributor be replaced without a client noticing.

Steps, written by ``python -m docs.step_tables``:

"+": the event may be taken in this phase; a phase: so it may lead there; a number: it may be rejected for that reason
of the row.  A message or a timer stands for the event that brings it.  Not shown: events of an unknown server class.

================== ======= ============== ============ ========= ===== ============================================
event              new     running        closing      ending    ended may be rejected with
================== ======= ============== ============ ========= ===== ============================================
Started            running 1              1            1         1     1 ALREADY_STARTED
Store              2       + 12           + 12         + 12      + 12  1 DUPLICATE_CLIENT 2 NO_SUCH_PROCESS
Release            2       + 12           + 12         + 12      + 12  1 UNKNOWN_CLIENT 2 NO_SUCH_PROCESS
KeepDialog         2       + 12           + 12         + 12      12    1 UNKNOWN_SERVER 2 NO_SUCH_PROCESS
KeepListener       1       + 1            + 1          + 1       + 1   1 NO_SUCH_PROCESS
DropListeners      1       + 1            + 1          + 1       + 1   1 NO_SUCH_PROCESS
ListenFailed       1       ending ended 1 + 1          + 1       + 1   1 NO_SUCH_PROCESS
CreateServer       1       + 1            + 1          + 1       + 1   1 NO_SUCH_PROCESS
ServerReady        2       + 12           + 12         + 12      12    1 UNKNOWN_SERVER 2 NO_SUCH_PROCESS
ServerNotReady     2       + 12           + 12         + 12      12    1 UNKNOWN_SERVER 2 NO_SUCH_PROCESS
Drained            2       + 12           + 12         + 12      12    1 UNKNOWN_SERVER 2 NO_SUCH_PROCESS
Unresponsive       2       + 12           + 12         + 12      12    1 UNKNOWN_SERVER 2 NO_SUCH_PROCESS
Closed             1       + 1            + ended 1    + ended 1 + 1   1 NO_SUCH_PROCESS
ServerExited       1       + 1            + 1          + 1       1     1 NO_SUCH_PROCESS
ServerGone         1       + 1            + ended 1    + ended 1 1     1 NO_SUCH_PROCESS
DistributorExited  1       + 1            + 1          + ended 1 + 1   1 NO_SUCH_PROCESS
ElementFailed      + 12    + 12           + 12         + 12      + 12  1 UNKNOWN_ELEMENT 2 SAME_ELEMENT_STATE
ElementRestored    + 12    + 12           + 12         + 12      + 12  1 UNKNOWN_ELEMENT 2 SAME_ELEMENT_STATE
StopRequested      1       closing ended  ending ended +         2     1 NOT_STARTED 2 ENDED
Retire             2       + 13           2            2         2     1 UNKNOWN_PLACE 2 NOT_RUNNING 3 REPLACING
Replace            2       + 13           2            2         2     1 UNKNOWN_PLACE 2 NOT_RUNNING 3 REPLACING
Scale              1       + 23           1            1         1     1 NOT_RUNNING 2 REPLACING 3 NO_STATIC_SERVER
RestartServer      1       + 1            1            1         1     1 TIMER_IS_STALE
DynamicRest        1       1              1            1         1     1 TIMER_IS_STALE
RestartDistributor 1       + 1            + 1          1         1     1 TIMER_IS_STALE
ServerStable       2       12             12           12        2     1 TIMER_IS_STALE 2 NO_SUCH_PROCESS
DistributorStable  1       + 1            + 1          + 1       1     1 TIMER_IS_STALE
StartWarning       2       + 12           + 12         12        2     1 TIMER_IS_STALE 2 NO_SUCH_PROCESS
KillDelay          2       + 12           + 12         + 12      2     1 TIMER_IS_STALE 2 NO_SUCH_PROCESS
DrainOver          2       + 12           + 12         12        2     1 TIMER_IS_STALE 2 NO_SUCH_PROCESS
GraceOver          1       1              ending ended 1         1     1 NOT_CLOSING
================== ======= ============== ============ ========= ===== ============================================

(End of the steps.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TypeAlias, assert_never

from maitred.core.messages import (
    Address,
    Adopt,
    Allow,
    Begin,
    Client,
    Close,
    Closed,
    CreateServer,
    CreationFailed,
    Drain,
    Drained,
    DropListeners,
    Element,
    Incarnation,
    KeepDialog,
    KeepListener,
    ListenFailed,
    Port,
    Release,
    Restore,
    ServerId,
    ServerNotReady,
    ServerReady,
    Store,
    ToDistributor,
    ToMonitor,
    Unresponsive,
)
from maitred.core.transition import Reason, Rejected, Transition
from maitred.core.tree import Tree
from maitred.core.value import dataclass, replace

ClassId: TypeAlias = int
"""A server class: its place in the configuration's list."""
PlaceId: TypeAlias = int
"""A place for a server within its class: at the start the static ones first, from 0; each new one gets the least number
that is free."""
ProgramId: TypeAlias = int
"""What a server runs: 0 as configured at the start, later numbers as later asked for."""
NO_PLACE: PlaceId = -1

CRASH_LOOP = 5
"""This many deaths in a row are a crash loop."""

# ================================================================ state


@dataclass(frozen=True, slots=True)
class ClassConfig:
    """One server class of the configuration: what this machine depends on."""

    static: int
    """Servers that always run, at least one."""
    dynamic: int
    """Further servers that may be started under load."""
    max_clients: int
    """Clients that one server serves at a time."""
    waiting_limit: int
    """Clients that may wait."""
    elements: tuple[Element, ...]
    """The processing elements that the class may run on, at least one."""
    listeners: tuple[tuple[Port, Address], ...] = ()
    """Where to listen."""
    fixed: bool = False
    """Whether `listeners` is all; otherwise the first bind of a server decides."""


class PlacePhase(Enum):
    """What becomes of a server's place."""

    DOWN = "down"
    """No process; a restart is due, or no processing element is up."""
    STARTING = "starting"
    """Runs, but has not been ready yet."""
    READY = "ready"
    """Runs, and has been ready."""
    STOPPING = "stopping"
    """Is drained, or the grace is over: was asked to end."""
    KILLING = "killing"
    """Its main process is dead or condemned; its descendants are being killed."""


class Retirement(Enum):
    """Whether the operator wants a place's server to leave, and what becomes of the place then (rule 8)."""

    NONE = "is not to leave"
    REFILL = "its place is filled again"
    HOLD = "its place stays empty"
    REMOVE = "its place is struck off"


@dataclass(frozen=True, slots=True)
class Place:
    """A server's place and who fills it."""

    place: PlaceId
    dynamic: bool
    phase: PlacePhase = PlacePhase.DOWN
    server: ServerId = 0
    """The incarnation that fills the place, or did last; 0 before the first."""
    element: Element = -1
    """Where it runs, or did last; -1 before the first."""
    deaths: int = 0
    """In a row, without a stable life between: sets the delay."""
    unready_deaths: int = 0
    """Of those, in a row before having been ready: what rule 7 counts."""
    dialogs: Tree[Port, bool] = Tree()
    """The dialogs kept for it, and whether a hand-off may be unread in each."""
    program: ProgramId = 0
    """What its server runs, and the next one in this place."""
    retirement: Retirement = Retirement.NONE
    """Rule 8."""
    limited: bool = False
    """It is to leave within a grace."""

    @property
    def alive(self) -> bool:
        """Some process of the server may live."""
        return self.phase is not PlacePhase.DOWN

    @property
    def active(self) -> bool:
        """Its server has been asked to end by nobody."""
        return self.phase in (PlacePhase.STARTING, PlacePhase.READY)

    @property
    def stays(self) -> bool:
        """It counts as one of those that are configured."""
        return self.retirement is not Retirement.REMOVE


class DistributorPhase(Enum):
    """What becomes of a class's Distributor."""

    DOWN = "down"
    RUNNING = "running"
    DONE = "done"
    """It has closed, as it was asked to; its process ends."""
    GONE = "gone"
    """It has closed, and its process has ended."""


@dataclass(frozen=True, slots=True)
class DistributorPlace:
    """A class's Distributor."""

    phase: DistributorPhase = DistributorPhase.DOWN
    incarnation: Incarnation = 0
    element: Element = -1
    deaths: int = 0

    @property
    def alive(self) -> bool:
        """Its process lives."""
        return self.phase in (DistributorPhase.RUNNING, DistributorPhase.DONE)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Servers of a class are being replaced (rule 9)."""

    program: ProgramId
    """What the new ones run."""
    before: ProgramId
    """What the class ran before."""
    queue: Tree[PlaceId, None]
    """The places whose turn has yet to come."""
    old: PlaceId = NO_PLACE
    """The place whose turn it is; `NO_PLACE` also where that was a dynamic one which has left of its own accord."""
    surge: PlaceId = NO_PLACE
    """Where its successor comes up; `NO_PLACE` once that is ready."""

    def involves(self, place: PlaceId) -> bool:
        """Whether the place is being replaced, will be, or replaces another."""
        return place in (self.old, self.surge) or place in self.queue


@dataclass(frozen=True, slots=True)
class ClassState:
    """One server class."""

    config: ClassConfig
    distributor: DistributorPlace
    places: Tree[PlaceId, Place]
    """The static places, and those dynamic ones that are filled."""
    vacant: Tree[PlaceId, None]
    """The dynamic places that are not."""
    living: Tree[ServerId, PlaceId]
    """Which place each living server fills: an index of `places`."""
    store: Tree[Client, None]
    """The clients that wait."""
    listeners: Tree[tuple[Port, Address], bool]
    """Where the class listens, and whether a duplicate of the socket is kept."""
    proven: bool = False
    """Some server of the class has been ready."""
    dynamic_deaths: int = 0
    """How many dynamic servers in a row have died before they were ready."""
    dynamic_resting: bool = False
    """For a while after such a death, no dynamic server is started."""
    program: ProgramId = 0
    """What a server in a new place runs."""
    replacement: Replacement | None = None


@dataclass(frozen=True, slots=True)
class ElementState:
    """A processing element."""

    up: bool
    weight: int
    processes: int = 0
    """How many servers and Distributors run on it."""


class Complaint(Enum):
    """What is reported to the operator."""

    CRASH_LOOP = "dies again and again before it is ready"
    GIVEN_UP = "no server has ever become ready"
    NOT_LISTENING = "runs, but does not listen"
    CANNOT_LISTEN = "an address cannot be listened on"
    NO_ELEMENT = "no processing element is up"
    NOT_REPLACED = "did not become ready: no server is replaced any more"


class Phase(Enum):
    """Where the Monitor is in its life."""

    NEW = "new"
    RUNNING = "running"
    CLOSING = "closing"
    """A graceful stop: clients go on until they leave or the grace ends."""
    ENDING = "ending"
    """Every process is being ended."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class MonitorState:
    """All that the Monitor knows."""

    phase: Phase
    classes: Tree[ClassId, ClassState]
    elements: Tree[Element, ElementState]
    next_server: ServerId
    failure: Complaint | None = None
    """Why a class cannot work, where this is what ended the Monitor."""


def initial(classes: tuple[ClassConfig, ...], weights: tuple[int, ...]) -> MonitorState:
    """A Monitor that has started nothing yet.

    Args:
        classes: the server classes; each is known by its place in this tuple.
        weights: of the processing elements, each at least 1; elements are known by their place in this tuple.
    """
    return MonitorState(
        Phase.NEW,
        Tree.of((i, _new_class(config)) for i, config in enumerate(classes)),
        Tree.of((i, ElementState(True, weight)) for i, weight in enumerate(weights)),
        next_server=1,
    )


def _new_class(config: ClassConfig) -> ClassState:
    places = Tree.of((i, Place(i, dynamic=False)) for i in range(config.static))
    vacant = Tree.of((config.static + i, None) for i in range(config.dynamic))
    listeners = Tree.of((listener, False) for listener in config.listeners)
    return ClassState(config, DistributorPlace(), places, vacant, Tree(), Tree(), listeners)


# ================================================================ timers


@dataclass(frozen=True, slots=True)
class RestartServer:
    """A dead static server is due."""

    class_id: ClassId
    place: PlaceId
    attempt: int
    """How often it has died in a row, from 0: sets the delay."""


@dataclass(frozen=True, slots=True)
class DynamicRest:
    """After a dynamic server that died before it was ready: the next may be started."""

    class_id: ClassId
    attempt: int


@dataclass(frozen=True, slots=True)
class RestartDistributor:
    """A dead Distributor is due."""

    class_id: ClassId
    attempt: int


@dataclass(frozen=True, slots=True)
class ServerStable:
    """The server has lived long enough for its predecessors' deaths to be forgotten."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class DistributorStable:
    """The Distributor has lived long enough for its predecessors' deaths to be forgotten."""

    class_id: ClassId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class StartWarning:
    """The server should be ready by now."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class KillDelay:
    """The server was asked to end a while ago."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class DrainOver:
    """The clients of a server that is to leave have had their time."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class GraceOver:
    """Clients have had their time to leave."""


Timer: TypeAlias = (
    RestartServer
    | DynamicRest
    | RestartDistributor
    | ServerStable
    | DistributorStable
    | StartWarning
    | KillDelay
    | DrainOver
    | GraceOver
)

# ================================================================ events


@dataclass(frozen=True, slots=True)
class Started:
    """Begin: start everything that should run."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A Distributor's message arrived."""

    class_id: ClassId
    message: ToMonitor


@dataclass(frozen=True, slots=True)
class ServerExited:
    """A server's main process has ended."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class ServerGone:
    """No process of the server is left; follows `Kill`."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class DistributorExited:
    """The class's Distributor has ended, and all its messages have been read (rule 6)."""

    class_id: ClassId


@dataclass(frozen=True, slots=True)
class ElementFailed:
    """A processing element has failed, with all that ran on it."""

    element: Element


@dataclass(frozen=True, slots=True)
class ElementRestored:
    """A processing element is usable again."""

    element: Element


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The operator asks for a stop: graceful the first time, at once the second."""


@dataclass(frozen=True, slots=True)
class Retire:
    """The operator wants the server in this place to leave once it has no clients; the place stays empty (rule 8)."""

    class_id: ClassId
    place: PlaceId
    limited: bool
    """Whether clients that stay are cut off after the grace."""


@dataclass(frozen=True, slots=True)
class Replace:
    """The operator wants new servers in the stead of those in these places, and of all that run another program."""

    class_id: ClassId
    places: tuple[PlaceId, ...]
    program: ProgramId
    """What the new ones run."""
    at_once: bool
    """All leave at the same time, and each place is filled again once it is empty; otherwise rule 9."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The operator wants so many servers."""

    class_id: ClassId
    static: int
    dynamic: int


@dataclass(frozen=True, slots=True)
class Fired:
    """A timer's time has come."""

    timer: Timer


Event: TypeAlias = (
    Started
    | Reported
    | ServerExited
    | ServerGone
    | DistributorExited
    | ElementFailed
    | ElementRestored
    | StopRequested
    | Retire
    | Replace
    | Scale
    | Fired
)

# ================================================================ effects


@dataclass(frozen=True, slots=True)
class StartServer:
    """Start the program as this server on this processing element."""

    class_id: ClassId
    server: ServerId
    place: PlaceId
    element: Element
    program: ProgramId = 0


@dataclass(frozen=True, slots=True)
class StartDistributor:
    """Start the class's Distributor, `distributor.initial` of these values."""

    class_id: ClassId
    incarnation: Incarnation
    element: Element
    listeners: tuple[tuple[Port, Address], ...]
    dynamic: int


@dataclass(frozen=True, slots=True)
class SendDistributor:
    """Send to the class's Distributor; with `Adopt` and `Restore` go the descriptors that are kept for them."""

    class_id: ClassId
    message: ToDistributor


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the server's main process to end (SIGTERM)."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill every process descended from the server's; `ServerGone` follows."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class KillDistributor:
    """Kill the class's Distributor; `DistributorExited` follows."""

    class_id: ClassId


@dataclass(frozen=True, slots=True)
class DropDuplicate:
    """Close the duplicate that is kept of this client's connection."""

    class_id: ClassId
    client: Client


@dataclass(frozen=True, slots=True)
class ShutDownStored:
    """Shut down a stored client's connection: nobody will serve it."""

    class_id: ClassId
    client: Client


@dataclass(frozen=True, slots=True)
class DropServer:
    """Close the duplicates that are kept of this server's dialogs."""

    class_id: ClassId
    server: ServerId


@dataclass(frozen=True, slots=True)
class DropListener:
    """Close the duplicates that are kept of this port's listening sockets."""

    class_id: ClassId
    port: Port


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Start the timer; one that already runs is restarted."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Report:
    """Write it to the log."""

    class_id: ClassId
    complaint: Complaint
    server: ServerId


@dataclass(frozen=True, slots=True)
class Exit:
    """Every process has ended: so may the Monitor."""

    failure: Complaint | None
    """Why a class cannot work; None where the operator asked for the end."""


Effect: TypeAlias = (
    StartServer
    | StartDistributor
    | SendDistributor
    | Terminate
    | Kill
    | KillDistributor
    | DropDuplicate
    | ShutDownStored
    | DropServer
    | DropListener
    | SetTimer
    | Report
    | Exit
)
Step: TypeAlias = Transition[MonitorState, Effect]

# ================================================================ guards


def guard(state: MonitorState, event: Event) -> Reason | None:
    """Why the event may not happen in the state, or None where it may."""
    match event:
        case Started():
            return None if state.phase is Phase.NEW else Reason.ALREADY_STARTED
        case StopRequested():
            if state.phase is Phase.NEW:
                return Reason.NOT_STARTED
            return Reason.ENDED if state.phase is Phase.ENDED else None
        case ElementFailed() | ElementRestored():
            element = state.elements.get(event.element, None)
            if element is None:
                return Reason.UNKNOWN_ELEMENT
            return None if element.up is isinstance(event, ElementFailed) else Reason.SAME_ELEMENT_STATE
        case Reported():
            return _guard_message(state, event)
        case ServerExited() | ServerGone():
            return None if _place_of(state, event.class_id, event.server) else Reason.NO_SUCH_PROCESS
        case DistributorExited():
            cls = state.classes.get(event.class_id, None)
            if cls is None:
                return Reason.UNKNOWN_CLASS
            return None if cls.distributor.alive else Reason.NO_SUCH_PROCESS
        case Retire() | Replace() | Scale():
            return _guard_wish(state, event)
        case Fired():
            return _guard_timer(state, event.timer)
        case _:
            assert_never(event)


def _guard_wish(state: MonitorState, event: Retire | Replace | Scale) -> Reason | None:
    if state.phase is not Phase.RUNNING:
        return Reason.NOT_RUNNING
    cls = state.classes.get(event.class_id, None)
    if cls is None:
        return Reason.UNKNOWN_CLASS
    match event:
        case Retire():
            if event.place not in cls.places:
                return Reason.UNKNOWN_PLACE
            return Reason.REPLACING if cls.replacement and cls.replacement.involves(event.place) else None
        case Replace():
            if not all(place in cls.places for place in event.places):
                return Reason.UNKNOWN_PLACE
        case Scale():
            if event.static < 1 or event.dynamic < 0:
                return Reason.NO_STATIC_SERVER
        case _:
            assert_never(event)
    return Reason.REPLACING if cls.replacement else None


def _guard_message(state: MonitorState, event: Reported) -> Reason | None:
    cls = state.classes.get(event.class_id, None)
    if cls is None:
        return Reason.UNKNOWN_CLASS
    if not cls.distributor.alive:
        return Reason.NO_SUCH_PROCESS
    match event.message:
        case Store():
            return Reason.DUPLICATE_CLIENT if event.message.client in cls.store else None
        case Release():
            return None if event.message.client in cls.store else Reason.UNKNOWN_CLIENT
        case KeepDialog() | ServerReady() | ServerNotReady() | Drained() | Unresponsive():
            known = _place_of(state, event.class_id, event.message.server)
            return None if known else Reason.UNKNOWN_SERVER
        case KeepListener() | DropListeners() | ListenFailed() | CreateServer() | Closed():
            return None
        case _:
            assert_never(event.message)


def _guard_timer(state: MonitorState, timer: Timer) -> Reason | None:
    if isinstance(timer, GraceOver):
        return None if state.phase is Phase.CLOSING else Reason.NOT_CLOSING
    cls = state.classes.get(timer.class_id, None)
    if cls is None:
        return Reason.UNKNOWN_CLASS
    match timer:
        case RestartServer():
            place = cls.places.get(timer.place, None)
            down = place is not None and place.phase is PlacePhase.DOWN and place.retirement is Retirement.NONE
            return None if down and state.phase is Phase.RUNNING else Reason.TIMER_IS_STALE
        case DynamicRest():
            return None if cls.dynamic_resting else Reason.TIMER_IS_STALE
        case RestartDistributor():
            gone = cls.distributor.phase is DistributorPhase.DOWN
            return None if gone and state.phase in (Phase.RUNNING, Phase.CLOSING) else Reason.TIMER_IS_STALE
        case DistributorStable():
            same = cls.distributor.incarnation == timer.incarnation
            up = cls.distributor.phase is DistributorPhase.RUNNING
            return None if same and up and cls.distributor.deaths else Reason.TIMER_IS_STALE
        case ServerStable() | StartWarning() | KillDelay() | DrainOver():
            place = _place_of(state, timer.class_id, timer.server)
            if place is None:
                return Reason.NO_SUCH_PROCESS
            if isinstance(timer, DrainOver):
                return None if place.limited and place.active else Reason.TIMER_IS_STALE
            if isinstance(timer, ServerStable):
                fresh = place.phase is PlacePhase.READY and place.deaths
                return None if fresh else Reason.TIMER_IS_STALE
            wanted = PlacePhase.STARTING if isinstance(timer, StartWarning) else PlacePhase.STOPPING
            return None if place.phase is wanted else Reason.TIMER_IS_STALE
        case _:
            assert_never(timer)


def _place_of(state: MonitorState, class_id: ClassId, server: ServerId) -> Place | None:
    """The place that the living server fills."""
    cls = state.classes.get(class_id, None)
    place = cls.living.get(server, None) if cls else None
    return cls.places[place] if cls and place is not None else None


def enabled(state: MonitorState) -> Iterator[Fired]:
    """What may happen by the passing of time alone: every timer whose guard holds."""
    timers: list[Timer] = [GraceOver()]
    for class_id, cls in state.classes.items():
        timers.append(RestartDistributor(class_id, max(cls.distributor.deaths - 1, 0)))
        timers.append(DynamicRest(class_id, max(cls.dynamic_deaths - 1, 0)))
        timers.append(DistributorStable(class_id, cls.distributor.incarnation))
        for place in cls.places.values():
            if not place.dynamic:
                timers.append(RestartServer(class_id, place.place, max(place.deaths - 1, 0)))
            timers.append(ServerStable(class_id, place.server))
            timers.append(StartWarning(class_id, place.server))
            timers.append(KillDelay(class_id, place.server))
            timers.append(DrainOver(class_id, place.server))
    return (Fired(timer) for timer in timers if _guard_timer(state, timer) is None)


# ================================================================ the step


def step(state: MonitorState, event: Event) -> Step | Rejected:
    """Let the event happen: the new state and the effects to perform, in order, before the next event is read."""
    reason = guard(state, event)
    if reason is not None:
        return Rejected(reason)
    work = _Work(state)
    _ACTIONS[type(event)](work, event)
    work.settle()
    return Transition(work.state, tuple(work.effects))


class _Work:
    """A step in the making: the state so far and the effects so far."""

    def __init__(self, state: MonitorState) -> None:
        self.state = state
        self.effects: list[Effect] = []

    def put_class(self, class_id: ClassId, cls: ClassState) -> None:
        self.state = replace(self.state, classes=self.state.classes.set(class_id, cls))

    def put_place(self, class_id: ClassId, place: Place) -> None:
        cls = self.state.classes[class_id]
        self.put_class(class_id, replace(cls, places=cls.places.set(place.place, place)))

    def send(self, class_id: ClassId, message: ToDistributor) -> None:
        """Send to the Distributor, if it runs; otherwise it is sent everything when it starts."""
        if self.state.classes[class_id].distributor.phase is DistributorPhase.RUNNING:
            self.effects.append(SendDistributor(class_id, message))

    # ------------------------------------------------ where and whether to start

    def element_for(self, config: ClassConfig, own: Element) -> Element | None:
        """Rule 3."""
        up = [e for e in config.elements if self.state.elements[e].up]
        if own in up:
            return own
        return min(up, key=lambda e: (self.state.elements[e].processes, e), default=None)

    def occupy(self, element: Element, processes: int) -> None:
        """Count a process in (1) or out (-1) of the processing element."""
        state = self.state.elements[element]
        state = replace(state, processes=state.processes + processes)
        self.state = replace(self.state, elements=self.state.elements.set(element, state))

    def start_server(self, class_id: ClassId, place: Place) -> bool:
        cls = self.state.classes[class_id]
        element = self.element_for(cls.config, place.element)
        if element is None:
            self.effects.append(Report(class_id, Complaint.NO_ELEMENT, place.server))
            return False
        server = self.state.next_server
        self.state = replace(self.state, next_server=server + 1)
        place = replace(place, phase=PlacePhase.STARTING, server=server, element=element)
        living, vacant = cls.living.set(server, place.place), cls.vacant.remove(place.place)
        self.put_class(class_id, replace(cls, living=living, vacant=vacant))
        self.put_place(class_id, place)
        self.occupy(element, 1)
        self.effects += [
            StartServer(class_id, server, place.place, element, place.program),
            SetTimer(StartWarning(class_id, server)),
        ]
        self.send(class_id, self.adoption(class_id, place))
        return True

    def adoption(self, class_id: ClassId, place: Place) -> Adopt:
        """The `Adopt` for a living server."""
        return Adopt(
            server=place.server,
            max_clients=self.state.classes[class_id].config.max_clients,
            weight=self.state.elements[place.element].weight,
            dynamic=place.dynamic,
            draining=not place.active or place.retirement is not Retirement.NONE,
            dialogs=tuple(place.dialogs),
            owed=tuple(port for port, used in place.dialogs.items() if used),
        )

    def start_distributor(self, class_id: ClassId) -> None:
        """Start the class's Distributor and send it servers and waiting clients (FIG. 9)."""
        cls = self.state.classes[class_id]
        element = self.element_for(cls.config, cls.distributor.element)
        if element is None:
            self.effects.append(Report(class_id, Complaint.NO_ELEMENT, 0))
            return
        place = replace(
            cls.distributor,
            phase=DistributorPhase.RUNNING,
            incarnation=cls.distributor.incarnation + 1,
            element=element,
        )
        self.put_class(class_id, replace(cls, distributor=place))
        self.occupy(element, 1)
        listeners, dynamic = tuple(cls.listeners), cls.config.dynamic
        self.effects.append(StartDistributor(class_id, place.incarnation, element, listeners, dynamic))
        self.effects.append(SetTimer(DistributorStable(class_id, place.incarnation)))
        for server in cls.places.values():
            if server.alive:
                self.send(class_id, self.adoption(class_id, server))
        for client in cls.store:
            self.send(class_id, Restore(client))
        self.send(class_id, Begin())
        if self.state.phase is Phase.CLOSING:
            self.send(class_id, Close())

    # ------------------------------------------------ what the operator wishes

    def retire(self, class_id: ClassId, place: Place, retirement: Retirement, *, limited: bool) -> None:
        """Rule 8.  A place that is to be struck off is, whatever is wished later."""
        place = replace(place, retirement=retirement if place.stays else place.retirement)
        if not place.alive:
            self.vacate(class_id, place)
            return
        hurried = limited and not place.limited
        self.put_place(class_id, replace(place, limited=place.limited or limited))
        if place.active:
            self.send(class_id, Drain(place.server))
            if hurried:
                self.effects.append(SetTimer(DrainOver(class_id, place.server)))

    def vacate(self, class_id: ClassId, place: Place) -> None:
        """A static place has no server, or none any more: rule 8."""
        cls = self.state.classes[class_id]
        if place.retirement is Retirement.REMOVE:
            self.put_class(class_id, replace(cls, places=cls.places.remove(place.place)))
            return
        refill = place.retirement is Retirement.REFILL
        retirement = Retirement.NONE if refill else place.retirement
        place = replace(place, phase=PlacePhase.DOWN, dialogs=Tree(), retirement=retirement, limited=False)
        self.put_place(class_id, place)
        if refill and self.state.phase is Phase.RUNNING:
            self.start_server(class_id, place)

    def replace_next(self, class_id: ClassId) -> None:
        """Rule 9: start the successor of the next server, or be done."""
        cls = self.state.classes[class_id]
        plan = cls.replacement
        assert plan is not None, "replace_next is called while servers are replaced"
        old, surge = next(_to_replace(cls, plan), None), _free_place(cls)
        if old is None:
            self.put_class(class_id, replace(cls, replacement=None))
            return
        plan = replace(plan, queue=plan.queue.remove(old.place), old=old.place, surge=surge)
        self.put_class(class_id, replace(cls, replacement=plan))
        new = Place(surge, dynamic=old.dynamic, program=plan.program)
        self.put_place(class_id, new)
        if not self.start_server(class_id, new):
            self.give_up_replacement(class_id, new)

    def take_over(self, class_id: ClassId, plan: Replacement) -> None:
        """Rule 9: the successor is ready, so the old one may leave."""
        cls = self.state.classes[class_id]
        old = plan.old
        self.put_class(class_id, replace(cls, program=plan.program, replacement=replace(plan, surge=NO_PLACE)))
        if old != NO_PLACE:
            self.retire(class_id, cls.places[old], Retirement.REMOVE, limited=True)
        if old not in self.state.classes[class_id].places:
            self.replace_next(class_id)

    def give_up_replacement(self, class_id: ClassId, surge: Place) -> None:
        """Rule 10: the successor has died, or could not be started, and its place is struck off."""
        cls = self.state.classes[class_id]
        plan = cls.replacement
        assert plan is not None, "give_up_replacement is called while servers are replaced"
        vacant = cls.vacant if plan.old != NO_PLACE else cls.vacant.set(surge.place, None)
        cls = replace(cls, places=cls.places.remove(surge.place), vacant=vacant, program=plan.before, replacement=None)
        self.put_class(class_id, cls)
        if self.state.phase is not Phase.RUNNING:
            return
        self.effects.append(Report(class_id, Complaint.NOT_REPLACED, surge.server))
        if plan.program != plan.before:
            back = Replacement(plan.before, plan.before, Tree())
            self.put_class(class_id, replace(cls, replacement=back))
            self.replace_next(class_id)

    def scale_static(self, class_id: ClassId, wanted: int) -> None:
        cls = self.state.classes[class_id]
        staying = [place for place in cls.places.values() if not place.dynamic and place.stays]
        for _ in range(wanted - len(staying)):
            cls = self.state.classes[class_id]
            place = Place(_free_place(cls), dynamic=False, program=cls.program)
            self.put_place(class_id, place)
            self.start_server(class_id, place)
        idle_first = sorted(staying, key=lambda place: (place.alive, -place.place))
        for place in idle_first[: max(0, len(staying) - wanted)]:
            self.retire(class_id, place, Retirement.REMOVE, limited=True)

    def scale_dynamic(self, class_id: ClassId, wanted: int) -> None:
        cls = self.state.classes[class_id]
        filled = [place for place in cls.places.values() if place.dynamic and place.stays]
        while len(cls.vacant) + len(filled) < wanted:
            cls = replace(cls, vacant=cls.vacant.set(_free_place(cls), None))
        for number in [*cls.vacant][max(0, wanted - len(filled)) :]:
            cls = replace(cls, vacant=cls.vacant.remove(number))
        self.put_class(class_id, cls)
        for place in filled[wanted:]:
            self.retire(class_id, place, Retirement.REMOVE, limited=True)

    # ------------------------------------------------ ending

    def terminate(self, class_id: ClassId, place: Place) -> None:
        """Rule 5."""
        self.put_place(class_id, replace(place, phase=PlacePhase.STOPPING))
        self.effects += [Terminate(class_id, place.server), SetTimer(KillDelay(class_id, place.server))]

    def kill(self, class_id: ClassId, place: Place) -> None:
        """Rule 4."""
        if place.phase is not PlacePhase.KILLING:
            self.put_place(class_id, replace(place, phase=PlacePhase.KILLING))
            self.effects.append(Kill(class_id, place.server))

    def end(self, *, at_once: bool) -> None:
        """End the Distributors and the servers; waiting clients are dropped."""
        self.state = replace(self.state, phase=Phase.ENDING)
        for class_id, cls in self.state.classes.items():
            if cls.distributor.phase is DistributorPhase.RUNNING:
                self.effects.append(KillDistributor(class_id))
            for place in cls.places.values():
                if at_once and place.alive:
                    self.kill(class_id, place)
                elif place.active:
                    self.terminate(class_id, place)

    def fail(self, class_id: ClassId, complaint: Complaint) -> None:
        """The class cannot work: report it and end."""
        self.effects.append(Report(class_id, complaint, 0))
        self.state = replace(self.state, failure=complaint)
        self.end(at_once=True)

    def settle(self) -> None:
        """End when the last process has ended."""
        state = self.state
        if state.phase not in (Phase.CLOSING, Phase.ENDING):
            return
        for cls in state.classes.values():
            if cls.distributor.phase is DistributorPhase.RUNNING or cls.living:
                return
            if state.phase is Phase.CLOSING and cls.distributor.phase is DistributorPhase.DOWN:
                return  # it is to be restarted, for those who wait
        for class_id, cls in state.classes.items():
            self.effects += [ShutDownStored(class_id, client) for client in cls.store]
            self.put_class(class_id, replace(cls, store=Tree()))
        self.state = replace(self.state, phase=Phase.ENDED)
        self.effects.append(Exit(state.failure))


def _to_replace(cls: ClassState, plan: Replacement) -> Iterator[Place]:
    """The places that are due: those that were named, and those that run another program and are to go on."""
    for place in cls.places.values():
        other = place.program != plan.program and place.retirement is not Retirement.HOLD
        if place.stays and (place.place in plan.queue or other):
            yield place


def _free_place(cls: ClassState) -> PlaceId:
    """The least number that no place has."""
    number = 0
    while number in cls.places or number in cls.vacant:
        number += 1
    return number


# ================================================================ actions


def _started(work: _Work, event: Started) -> None:
    work.state = replace(work.state, phase=Phase.RUNNING)
    for class_id, cls in work.state.classes.items():
        work.start_distributor(class_id)
        for place in cls.places.values():
            work.start_server(class_id, place)


def _server_exited(work: _Work, event: ServerExited) -> None:
    place = _place_of(work.state, event.class_id, event.server)
    assert place is not None, "guarded"
    asked = place.phase in (PlacePhase.STOPPING, PlacePhase.KILLING)
    if place.phase is PlacePhase.STARTING:
        place = replace(place, unready_deaths=place.unready_deaths + 1)
    if not asked:
        place = replace(place, deaths=place.deaths + 1)
    work.kill(event.class_id, place)


def _server_gone(work: _Work, event: ServerGone) -> None:
    class_id = event.class_id
    place = _place_of(work.state, class_id, event.server)
    assert place is not None, "guarded"
    work.effects.append(DropServer(class_id, event.server))
    work.occupy(place.element, -1)
    cls = work.state.classes[class_id]
    work.put_class(class_id, replace(cls, living=cls.living.remove(event.server)))
    plan = cls.replacement
    if plan is not None and plan.surge == place.place:
        work.give_up_replacement(class_id, place)
        return
    if place.dynamic:
        _leave_dynamic_place(work, class_id, place)
    else:
        work.vacate(class_id, place)
    running = work.state.phase is Phase.RUNNING
    if plan is not None and running and plan.old == place.place and plan.surge == NO_PLACE:
        work.replace_next(class_id)
    if not place.dynamic and running and place.retirement is Retirement.NONE:
        _start_again_later(work, class_id, place)


def _leave_dynamic_place(work: _Work, class_id: ClassId, place: Place) -> None:
    """The place is vacant, unless it was given up, or its successor comes up already."""
    cls = work.state.classes[class_id]
    plan = cls.replacement
    cls = replace(cls, places=cls.places.remove(place.place))
    if plan is not None and plan.old == place.place and plan.surge != NO_PLACE:
        cls = replace(cls, replacement=replace(plan, old=NO_PLACE))
    elif place.stays:
        cls = replace(cls, vacant=cls.vacant.set(place.place, None))
    if place.unready_deaths:
        cls = _let_dynamic_rest(work, class_id, cls, place.server)
    work.put_class(class_id, cls)


def _start_again_later(work: _Work, class_id: ClassId, place: Place) -> None:
    """Rules 1 and 7: after a static server that should have stayed."""
    cls = work.state.classes[class_id]
    if place.unready_deaths and place.unready_deaths % CRASH_LOOP == 0:
        work.effects.append(Report(class_id, Complaint.CRASH_LOOP, place.server))
    work.effects.append(SetTimer(RestartServer(class_id, place.place, max(place.deaths - 1, 0))))
    if not cls.proven and all(p.unready_deaths >= CRASH_LOOP for p in cls.places.values() if not p.dynamic):
        work.fail(class_id, Complaint.GIVEN_UP)


def _let_dynamic_rest(work: _Work, class_id: ClassId, cls: ClassState, server: ServerId) -> ClassState:
    """Rule 2: after a dynamic server that died before it was ready."""
    deaths = cls.dynamic_deaths + 1
    if deaths % CRASH_LOOP == 0:
        work.effects.append(Report(class_id, Complaint.CRASH_LOOP, server))
    work.effects.append(SetTimer(DynamicRest(class_id, deaths - 1)))
    return replace(cls, dynamic_deaths=deaths, dynamic_resting=True)


def _distributor_exited(work: _Work, event: DistributorExited) -> None:
    cls = work.state.classes[event.class_id]
    place = cls.distributor
    work.occupy(place.element, -1)
    if place.phase is DistributorPhase.DONE:
        work.put_class(event.class_id, replace(cls, distributor=replace(place, phase=DistributorPhase.GONE)))
        return
    down = replace(place, phase=DistributorPhase.DOWN, deaths=place.deaths + 1)
    work.put_class(event.class_id, replace(cls, distributor=down))
    if work.state.phase in (Phase.RUNNING, Phase.CLOSING):
        work.effects.append(SetTimer(RestartDistributor(event.class_id, place.deaths)))


def _element_failed(work: _Work, event: ElementFailed) -> None:
    state = work.state.elements[event.element]
    elements = work.state.elements.set(event.element, replace(state, up=False))
    work.state = replace(work.state, elements=elements)
    for class_id, cls in work.state.classes.items():
        if cls.distributor.phase is DistributorPhase.RUNNING and cls.distributor.element == event.element:
            work.effects.append(KillDistributor(class_id))
        for place in cls.places.values():
            if place.alive and place.element == event.element:
                work.kill(class_id, place)


def _element_restored(work: _Work, event: ElementRestored) -> None:
    """Start what could not be started elsewhere."""
    state = work.state.elements[event.element]
    elements = work.state.elements.set(event.element, replace(state, up=True))
    work.state = replace(work.state, elements=elements)
    for class_id, cls in work.state.classes.items():
        if cls.distributor.phase is DistributorPhase.DOWN:
            work.effects.append(SetTimer(RestartDistributor(class_id, 0)))
        for place in cls.places.values():
            if not place.alive and place.retirement is Retirement.NONE:
                work.effects.append(SetTimer(RestartServer(class_id, place.place, 0)))


def _stop_requested(work: _Work, event: StopRequested) -> None:
    if work.state.phase is not Phase.RUNNING:
        work.end(at_once=True)
        return
    work.state = replace(work.state, phase=Phase.CLOSING)
    work.effects.append(SetTimer(GraceOver()))
    for class_id in work.state.classes:
        work.send(class_id, Close())


def _retire(work: _Work, event: Retire) -> None:
    place = work.state.classes[event.class_id].places[event.place]
    work.retire(event.class_id, place, Retirement.HOLD, limited=event.limited)


def _replace(work: _Work, event: Replace) -> None:
    cls = work.state.classes[event.class_id]
    plan = Replacement(event.program, cls.program, Tree.of((place, None) for place in event.places))
    if not event.at_once:
        work.put_class(event.class_id, replace(cls, replacement=plan))
        work.replace_next(event.class_id)
        return
    work.put_class(event.class_id, replace(cls, program=plan.program))
    for place in _to_replace(cls, plan):
        place = replace(place, program=plan.program)
        work.retire(event.class_id, place, Retirement.REFILL, limited=True)


def _scale(work: _Work, event: Scale) -> None:
    cls = work.state.classes[event.class_id]
    config = replace(cls.config, static=event.static, dynamic=event.dynamic)
    work.put_class(event.class_id, replace(cls, config=config))
    work.send(event.class_id, Allow(event.dynamic))
    work.scale_static(event.class_id, event.static)
    work.scale_dynamic(event.class_id, event.dynamic)


def _message(work: _Work, event: Reported) -> None:
    class_id, message = event.class_id, event.message
    cls = work.state.classes[class_id]
    match message:
        case Store():
            work.put_class(class_id, replace(cls, store=cls.store.set(message.client, None)))
        case Release():
            work.put_class(class_id, replace(cls, store=cls.store.remove(message.client)))
            work.effects.append(DropDuplicate(class_id, message.client))
        case KeepListener():
            listeners = cls.listeners.set((message.port, message.address), True)
            work.put_class(class_id, replace(cls, listeners=listeners))
        case DropListeners():
            kept = Tree.of((key, up) for key, up in cls.listeners.items() if key[0] != message.port)
            work.put_class(class_id, replace(cls, listeners=kept))
            work.effects.append(DropListener(class_id, message.port))
        case ListenFailed():
            if work.state.phase is Phase.RUNNING:
                work.fail(class_id, Complaint.CANNOT_LISTEN)
        case CreateServer():
            _create(work, class_id)
        case Closed():
            done = replace(cls.distributor, phase=DistributorPhase.DONE)
            work.put_class(class_id, replace(cls, distributor=done))
        case KeepDialog() | ServerReady() | ServerNotReady() | Drained() | Unresponsive():
            place = _place_of(work.state, class_id, message.server)
            assert place is not None, "guarded"
            _message_about_server(work, class_id, place, message)
        case _:
            assert_never(message)


def _message_about_server(
    work: _Work,
    class_id: ClassId,
    place: Place,
    message: KeepDialog | ServerReady | ServerNotReady | Drained | Unresponsive,
) -> None:
    match message:
        case KeepDialog():
            known = place.dialogs.get(message.port, False)
            work.put_place(class_id, replace(place, dialogs=place.dialogs.set(message.port, known)))
        case ServerReady():
            place = replace(place, dialogs=place.dialogs.set(message.port, True))
            if place.phase is PlacePhase.STARTING:
                place = replace(place, phase=PlacePhase.READY, unready_deaths=0)
                cls = replace(work.state.classes[class_id], proven=True)
                work.put_class(class_id, replace(cls, dynamic_deaths=0) if place.dynamic else cls)
                work.effects.append(SetTimer(ServerStable(class_id, place.server)))
                work.put_place(class_id, place)
                plan = cls.replacement
                if plan is not None and plan.surge == place.place and work.state.phase is Phase.RUNNING:
                    work.take_over(class_id, plan)
            else:
                work.put_place(class_id, place)
        case ServerNotReady():
            work.put_place(class_id, replace(place, dialogs=place.dialogs.set(message.port, False)))
        case Drained():
            if place.active:
                work.terminate(class_id, place)
        case Unresponsive():
            work.kill(class_id, replace(place, deaths=place.deaths + 1))
        case _:
            assert_never(message)


def _create(work: _Work, class_id: ClassId) -> None:
    """Rule 2."""
    cls = work.state.classes[class_id]
    vacant = cls.vacant.first()
    running = work.state.phase is Phase.RUNNING and not cls.dynamic_resting
    new = Place(vacant[0], dynamic=True, program=cls.program) if vacant and running else None
    if new is None or not work.start_server(class_id, new):
        work.send(class_id, CreationFailed())


def _fired(work: _Work, event: Fired) -> None:
    timer = event.timer
    match timer:
        case GraceOver():
            work.end(at_once=False)
        case RestartServer():
            work.start_server(timer.class_id, work.state.classes[timer.class_id].places[timer.place])
        case DynamicRest():
            work.put_class(timer.class_id, replace(work.state.classes[timer.class_id], dynamic_resting=False))
        case RestartDistributor():
            work.start_distributor(timer.class_id)
        case DistributorStable():
            cls = work.state.classes[timer.class_id]
            stable = replace(cls.distributor, deaths=0)
            work.put_class(timer.class_id, replace(cls, distributor=stable))
        case ServerStable() | StartWarning() | KillDelay() | DrainOver():
            place = _place_of(work.state, timer.class_id, timer.server)
            assert place is not None, "guarded"
            if isinstance(timer, ServerStable):
                work.put_place(timer.class_id, replace(place, deaths=0))
            elif isinstance(timer, StartWarning):
                work.effects.append(Report(timer.class_id, Complaint.NOT_LISTENING, place.server))
                plan = work.state.classes[timer.class_id].replacement
                if plan is not None and plan.surge == place.place and work.state.phase is Phase.RUNNING:
                    work.kill(timer.class_id, place)
                else:
                    work.effects.append(SetTimer(timer))
            elif isinstance(timer, DrainOver):
                work.terminate(timer.class_id, place)
            else:
                work.kill(timer.class_id, place)
        case _:
            assert_never(timer)


_ACTIONS: dict[type[Any], Callable[[_Work, Any], None]] = {  # Any: each action takes its own event type
    Started: _started,
    Reported: _message,
    ServerExited: _server_exited,
    ServerGone: _server_gone,
    DistributorExited: _distributor_exited,
    ElementFailed: _element_failed,
    ElementRestored: _element_restored,
    StopRequested: _stop_requested,
    Retire: _retire,
    Replace: _replace,
    Scale: _scale,
    Fired: _fired,
}
