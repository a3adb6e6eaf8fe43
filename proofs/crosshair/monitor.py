"""The contracts of the Monitor: two static places and a dynamic one, two processing elements, any numbers.

The skeleton fixes the phases, of the Monitor, of each class's Distributor and of each place, where each process runs,
and how many clients are stored.  Everything else is symbolic: deaths, incarnations, flags, which processing elements
are up and how much runs there, ids that are still to be given, and whatever the event carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from crosshair.core_and_libs import NoTracing

from maitred.core import monitor as core
from maitred.core.messages import (
    Client,
    Closed,
    CreateServer,
    Drained,
    DropListeners,
    KeepDialog,
    KeepListener,
    ListenFailed,
    Release,
    ServerNotReady,
    ServerReady,
    Store,
    ToMonitor,
    Unresponsive,
)
from maitred.core.monitor import (
    ClassConfig,
    ClassState,
    DistributorPhase,
    DistributorPlace,
    ElementState,
    MonitorState,
    Phase,
    Place,
    PlacePhase,
    Retirement,
)
from maitred.core.tree import Tree
from proofs.crosshair import effects
from proofs.crosshair.engine import Case, Contract, choice, flag, number

PORT, HOST = 80, "127.0.0.1"
ELEMENTS = (0, 1)
STORED = tuple(Client(arrival, arrival, PORT) for arrival in (10, 20, 30))
DOWN, STARTING, UP, STOPPING, KILLING = PlacePhase

# ================================================================ skeletons


@dataclass(frozen=True)
class Class:
    """The skeleton of a server class."""

    distributor: DistributorPhase
    static: tuple[PlacePhase, ...]
    dynamic: PlacePhase | None
    """Of the one dynamic place; None where it is vacant."""
    stored: int = 3
    elements: tuple[int, ...] = ELEMENTS
    leaving: tuple[int, ...] = ()
    """The places whose servers are to leave."""

    @property
    def label(self) -> str:
        """For messages."""
        dynamic = self.dynamic.value if self.dynamic else "vacant"
        places = ", ".join(phase.value for phase in self.static)
        where = "" if self.elements == ELEMENTS else f", on {self.elements} only"
        leave = f", {self.leaving} leaving" if self.leaving else ""
        stored = f"{self.stored} stored"
        return f"Distributor {self.distributor.value}, static {places}, dynamic {dynamic}, {stored}{where}{leave}"


@dataclass(frozen=True)
class Scene:
    """The skeleton of a Monitor's state."""

    phase: Phase
    classes: tuple[Class, ...]

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.phase.value}; {'; '.join(cls.label for cls in self.classes)}"


def _place(name: str, server: int, place: int, phase: PlacePhase, dynamic: bool, element: int, leaves: bool) -> Place:
    alive = phase is not DOWN
    return Place(
        place=place,
        dynamic=dynamic,
        phase=phase,
        server=server,
        element=element,
        deaths=number(f"deaths_{name}", 0),
        unready_deaths=number(f"unready_{name}", 0),
        dialogs=Tree.of([(PORT, flag(f"used_{name}"))] if alive else []),
        retirement=Retirement.HOLD if leaves else Retirement.NONE,
        limited=flag(f"limited_{name}") if leaves and alive else False,
    )


def _class(class_id: int, cls: Class) -> ClassState:
    static = len(cls.static)
    kinds = [(phase, False) for phase in cls.static] + ([(cls.dynamic, True)] if cls.dynamic else [])
    places = [
        _place(
            f"{class_id}_{i}",
            1 + 10 * class_id + i,
            i,
            phase,
            dynamic,
            cls.elements[i % len(cls.elements)],
            i in cls.leaving,
        )
        for i, (phase, dynamic) in enumerate(kinds)
    ]
    return ClassState(
        config=ClassConfig(static, 1, number(f"max_{class_id}", 1), number(f"limit_{class_id}", 1), cls.elements),
        distributor=DistributorPlace(
            cls.distributor,
            number(f"incarnation_{class_id}", 0),
            cls.elements[0],
            number(f"distributor_deaths_{class_id}", 0),
        ),
        places=Tree.of((place.place, place) for place in places),
        vacant=Tree.of([] if cls.dynamic else [(static, None)]),
        living=Tree.of((place.server, place.place) for place in places if place.alive),
        store=Tree.of((client, None) for client in STORED[: cls.stored]),
        listeners=Tree.of([((PORT, HOST), flag(f"kept_{class_id}"))]),
        proven=flag(f"proven_{class_id}"),
        dynamic_deaths=number(f"dynamic_deaths_{class_id}", 0),
        dynamic_resting=flag(f"dynamic_resting_{class_id}"),
    )


def _element(element: int, classes: Iterable[ClassState]) -> ElementState:
    return ElementState(flag(f"up_{element}"), number(f"weight_{element}", 1), _processes(element, classes))


def _processes(element: int, classes: Iterable[ClassState]) -> int:
    """How many processes the tables say are on the processing element."""
    found = 0
    for cls in classes:
        found += sum(place.alive and place.element == element for place in cls.places.values())
        found += cls.distributor.alive and cls.distributor.element == element
    return found


def state_of(scene: Scene) -> MonitorState:
    """Any state with this skeleton of which the invariants hold."""
    classes = [_class(i, cls) for i, cls in enumerate(scene.classes)]
    return MonitorState(
        scene.phase,
        Tree.of(enumerate(classes)),
        Tree.of((element, _element(element, classes)) for element in ELEMENTS),
        next_server=number("next_server", 1 + 10 * len(classes)),
    )


# ================================================================ scenes

RUNS, IS_DOWN, IS_DONE, IS_GONE = (
    DistributorPhase.RUNNING,
    DistributorPhase.DOWN,
    DistributorPhase.DONE,
    DistributorPhase.GONE,
)
RUNNING = (
    Scene(Phase.RUNNING, (Class(RUNS, (STARTING, UP), KILLING),)),
    Scene(Phase.RUNNING, (Class(RUNS, (STOPPING, KILLING), STARTING),)),
    Scene(Phase.RUNNING, (Class(RUNS, (DOWN, UP), STOPPING),)),
    Scene(Phase.RUNNING, (Class(RUNS, (UP, KILLING), None),)),
    Scene(Phase.RUNNING, (Class(IS_DOWN, (DOWN, KILLING), UP),)),
    Scene(Phase.RUNNING, (Class(IS_DONE, (UP, STOPPING), None, 0),)),
    Scene(Phase.RUNNING, (Class(IS_GONE, (STARTING, DOWN), UP, 0),)),
    Scene(Phase.RUNNING, (Class(RUNS, (STARTING,), None), Class(IS_DOWN, (UP,), KILLING, 0, ELEMENTS[1:]))),
)
"""A Monitor in operation: a static place and the dynamic one in every phase, the Distributor in every phase."""
OTHERWISE = (
    Scene(Phase.NEW, (Class(IS_DOWN, (DOWN, DOWN, DOWN), None, 0),)),
    Scene(Phase.NEW, (Class(IS_DOWN, (DOWN,), None, 0), Class(IS_DOWN, (DOWN,), None, 0))),
    Scene(Phase.CLOSING, (Class(RUNS, (UP, STOPPING), STARTING),)),
    Scene(Phase.CLOSING, (Class(IS_DOWN, (DOWN, KILLING), None),)),
    Scene(Phase.CLOSING, (Class(IS_DONE, (DOWN, KILLING), None),)),
    Scene(Phase.CLOSING, (Class(RUNS, (DOWN, DOWN), None),)),
    Scene(Phase.ENDING, (Class(RUNS, (STOPPING, KILLING), None),)),
    Scene(Phase.ENDING, (Class(RUNS, (DOWN, DOWN), None),)),
    Scene(Phase.ENDING, (Class(IS_DOWN, (KILLING, DOWN), None),)),
    Scene(Phase.ENDING, (Class(IS_GONE, (DOWN,), None, 0), Class(IS_DONE, (DOWN,), STOPPING))),
    Scene(Phase.ENDED, (Class(IS_DONE, (DOWN, DOWN), None, 0),)),
)
"""Each other phase of the Monitor."""
NEW = (
    Scene(Phase.NEW, (Class(IS_DOWN, (DOWN,), None, 0),)),
    Scene(Phase.NEW, (Class(IS_DOWN, (DOWN, DOWN), None, 0), Class(IS_DOWN, (DOWN, DOWN), None, 0))),
)
"""Before the start, of other sizes."""
DEAD = (
    Scene(Phase.RUNNING, (Class(IS_DOWN, (DOWN, DOWN), None),)),
    Scene(Phase.RUNNING, (Class(IS_DOWN, (UP, DOWN), STOPPING, 0), Class(RUNS, (DOWN,), None))),
    Scene(Phase.CLOSING, (Class(IS_DOWN, (STOPPING, UP), STARTING),)),
)
"""Where Distributors or servers are to be started again."""
ALL = (*RUNNING, *OTHERWISE)
TWO = (
    Scene(Phase.RUNNING, (Class(RUNS, (STARTING, DOWN), None, 1), Class(RUNS, (UP, DOWN), UP, 0, ELEMENTS[1:]))),
    Scene(Phase.CLOSING, (Class(RUNS, (STARTING,), None, 1), Class(RUNS, (UP,), None, 0, ELEMENTS[1:]))),
)
"""Two classes that run: what is for the one is not for the other, and what is for all is for the second too."""
LEAVING = (
    Scene(Phase.RUNNING, (Class(RUNS, (UP, DOWN), None, 0, leaving=(0, 1)),)),
    Scene(Phase.RUNNING, (Class(RUNS, (UP, STOPPING), UP, 0, leaving=(1, 2)),)),
    Scene(Phase.RUNNING, (Class(IS_DOWN, (STARTING, KILLING), None, 0, leaving=(0, 1)),)),
)
"""Servers that the operator wants to leave, and a place that is to stay empty."""
QUICK = (LEAVING[0], RUNNING[0], RUNNING[1], RUNNING[4], RUNNING[7], *(OTHERWISE[i] for i in (0, 1, 4, 7, 9)), *TWO)
"""Those that are asked in every run of the tests."""
TOLD = (*ALL, TWO[0])
SPEAKING = tuple(scene for scene in TOLD if all(cls.distributor is not IS_DONE for cls in scene.classes))
"""Where no Distributor has said `Closed`: one that has says nothing more about clients."""

# ================================================================ contracts


def a_dynamic_place_is_filled(state: object) -> bool:
    """A dynamic place is in the table only while some process of its server may live."""
    assert isinstance(state, MonitorState)
    return all(place.alive for cls in state.classes.values() for place in cls.places.values() if place.dynamic)


def every_process_is_counted(state: object) -> bool:
    """A processing element has exactly as many processes as living servers and Distributors are placed there."""
    assert isinstance(state, MonitorState)
    classes = [*state.classes.values()]
    return all(element.processes == _processes(name, classes) for name, element in state.elements.items())


LEMMAS = (a_dynamic_place_is_filled, every_process_is_counted)


def _contract(
    name: str,
    about: tuple[type, ...],
    event: Callable[[MonitorState], core.Event],
    scenes: Iterable[Scene] = ALL,
) -> Contract:
    cases = tuple(Case(scene.label, partial(_situation, scene, event)) for scene in scenes)
    labels = tuple(scene.label for scene in scenes if scene in QUICK)
    sizes = "up to 3 servers, 3 stored, 2 classes, 2 processing elements"
    step: Callable[..., object] = core.step
    return Contract(name, "monitor", about, sizes, step, cases, labels, LEMMAS, effects.MONITOR)


def _situation(scene: Scene, event: Callable[[MonitorState], core.Event]) -> tuple[object, object]:
    with NoTracing():
        state = state_of(scene)
        return state, event(state)


def _class_id() -> int:
    return number("class_id")


def _server() -> int:
    return number("server")


def _any_client() -> Client:
    return Client(number("arrival"), number("cookie"), number("origin"))


def _told(name: str, kind: type, message: Callable[[], ToMonitor], scenes: Iterable[Scene] = TOLD) -> Contract:
    return _contract(name, (core.Reported, kind), lambda state: core.Reported(_class_id(), message()), scenes)


def _timer(name: str, kind: type, timer: Callable[[], core.Timer], scenes: Iterable[Scene] = ALL) -> Contract:
    return _contract(name, (core.Fired, kind), lambda state: core.Fired(timer()), scenes)


CONTRACTS = (
    _contract("started", (core.Started,), lambda state: core.Started(), (*ALL, *NEW)),
    _contract("server_exited", (core.ServerExited,), lambda state: core.ServerExited(_class_id(), _server())),
    _contract("server_gone", (core.ServerGone,), lambda state: core.ServerGone(_class_id(), _server())),
    _contract("distributor_exited", (core.DistributorExited,), lambda state: core.DistributorExited(_class_id())),
    _contract(
        "element_failed", (core.ElementFailed,), lambda state: core.ElementFailed(number("element")), (*ALL, *TWO)
    ),
    _contract(
        "element_restored", (core.ElementRestored,), lambda state: core.ElementRestored(number("element")), (*ALL, *TWO)
    ),
    _contract(
        "retire",
        (core.Retire,),
        lambda state: core.Retire(_class_id(), number("place"), flag("limited")),
        (*ALL, *LEAVING, TWO[0]),
    ),
    _contract(
        "replace",
        (core.Replace,),
        lambda state: core.Replace(_class_id(), (number("place"),), choice("program", (0, 1)), flag("at_once")),
        (*ALL, *LEAVING, TWO[0]),
    ),
    _contract(
        "scale",
        (core.Scale,),
        lambda state: core.Scale(_class_id(), choice("static", (0, 1, 2, 3)), choice("dynamic", (-1, 0, 1, 2))),
        (*ALL, *LEAVING, TWO[0]),
    ),
    _contract("stop_requested", (core.StopRequested,), lambda state: core.StopRequested(), (*ALL, *TWO)),
    _told("told_store", Store, lambda: Store(_any_client()), SPEAKING),
    _told("told_release", Release, lambda: Release(_any_client())),
    _told("told_keep_dialog", KeepDialog, lambda: KeepDialog(_server(), number("port"))),
    _told("told_keep_listener", KeepListener, lambda: KeepListener(number("port"), choice("address", (HOST, "[::1]")))),
    _told("told_drop_listeners", DropListeners, lambda: DropListeners(number("port"))),
    _told("told_listen_failed", ListenFailed, lambda: ListenFailed(number("port"), HOST, number("errno"))),
    _told("told_create_server", CreateServer, CreateServer),
    _told("told_server_ready", ServerReady, lambda: ServerReady(_server(), number("port"))),
    _told("told_server_not_ready", ServerNotReady, lambda: ServerNotReady(_server(), number("port"))),
    _told("told_drained", Drained, lambda: Drained(_server())),
    _told("told_unresponsive", Unresponsive, lambda: Unresponsive(_server())),
    _told("told_closed", Closed, Closed),
    _timer(
        "restart_server",
        core.RestartServer,
        lambda: core.RestartServer(_class_id(), number("place"), number("attempt")),
        (*ALL, *DEAD),
    ),
    _timer("dynamic_rest", core.DynamicRest, lambda: core.DynamicRest(_class_id(), number("attempt"))),
    _timer(
        "restart_distributor",
        core.RestartDistributor,
        lambda: core.RestartDistributor(_class_id(), number("attempt")),
        (*ALL, *DEAD),
    ),
    _timer("server_stable", core.ServerStable, lambda: core.ServerStable(_class_id(), _server())),
    _timer(
        "distributor_stable", core.DistributorStable, lambda: core.DistributorStable(_class_id(), number("incarnation"))
    ),
    _timer("start_warning", core.StartWarning, lambda: core.StartWarning(_class_id(), _server())),
    _timer("kill_delay", core.KillDelay, lambda: core.KillDelay(_class_id(), _server())),
    _timer("drain_over", core.DrainOver, lambda: core.DrainOver(_class_id(), _server()), (*ALL, *LEAVING)),
    _timer("grace_over", core.GraceOver, core.GraceOver, (*ALL, *DEAD, *TWO)),
)
