"""Liveness: `P` leads to `Q` in every run that meets the fairness assumptions of `maitred.model.claims.fairness`.

The check is exhaustive, as that of `check.checker`, but over runs, not worlds.  A *lasso* refutes a property: a path to
a fair cycle that never reaches `Q`.  `graph` finds the worlds, `cycles` searches them for such a cycle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from maitred.core import distributor, monitor
from maitred.core.messages import Client, HandOff, ServerId
from maitred.core.monitor import Place, PlacePhase
from maitred.model.check.checker import Verdict
from maitred.model.claims.fairness import RULES, Fairness, Named, assumed, unassumed
from maitred.model.search.explorer import Path, Progress
from maitred.model.story.narrate import narrate
from maitred.model.world import ANY, CLASS, Bounds, Fate, Group, Link, Program, System, World

if TYPE_CHECKING:
    from maitred.model.check.cycles import Round, Search
    from maitred.model.check.graph import Graph, Worlds

Predicate: TypeAlias = Callable[[World, int], bool]
Subjects: TypeAlias = Callable[[Bounds], Collection[int]]


@dataclass(frozen=True, slots=True)
class LeadsTo:
    """Whenever `arises` holds of a world and a subject, `settled` holds then or later."""

    name: str
    text: str
    """One sentence, in the words of the requirements."""
    subject: str
    """What it is checked for, one by one: ``client`` or ``place``; empty if it is checked for the whole system."""
    subjects: Subjects
    applies: Callable[[Bounds], bool]
    """Whether `arises` can hold within the bounds."""
    arises: Predicate
    settled: Predicate


LIVENESS: dict[str, LeadsTo] = {}
"""All of them, by name."""


def _everywhere(bounds: Bounds) -> bool:
    return True


def _the_whole(bounds: Bounds) -> Collection[int]:
    return (0,)


def _clients(bounds: Bounds) -> Collection[int]:
    return range(bounds.clients)


def _static(bounds: Bounds) -> Collection[int]:
    return range(bounds.servers)


def _dynamic(bounds: Bounds) -> Collection[int]:
    return range(bounds.servers, bounds.servers + bounds.dynamic)


def _places(bounds: Bounds) -> Collection[int]:
    return range(bounds.servers + bounds.dynamic)


_SUBJECTS: Final[Mapping[Subjects, str]] = {
    _the_whole: "",
    _clients: "client",
    _static: "place",
    _dynamic: "place",
    _places: "place",
}


def _leads_to(
    settled: Predicate, subjects: Subjects, applies: Callable[[Bounds], bool] = _everywhere
) -> Callable[[Predicate], Predicate]:
    """Register what the decorated predicate, `arises`, leads to."""

    def register(arises: Predicate) -> Predicate:
        name, text = arises.__name__, " ".join((arises.__doc__ or "").split())
        LIVENESS[name] = LeadsTo(name, text, _SUBJECTS[subjects], subjects, applies, arises, settled)
        return arises

    return register


# ================================================================ what the predicates read


def _place(world: World, number: int) -> Place | None:
    """The place, unless it is a dynamic one that is vacant."""
    return world.monitor.classes[CLASS].places.get(number, None)


def _group_at(world: World, number: int) -> Group | None:
    """The server that fills the place."""
    place = _place(world, number)
    return world.group(place.server) if place is not None and place.alive else None


def _runs(world: World) -> bool:
    """The system is not stopping, has not given up, and has a processing element that is up."""
    return world.monitor.phase is monitor.Phase.RUNNING and _powered(world)


def _powered(world: World) -> bool:
    return any(element.up for element in world.monitor.elements.values())


def _row(world: World, group: Group) -> distributor.ServerStatus | None:
    return world.distributor.servers.get(group.server, None) if world.distributor is not None else None


def _works(world: World) -> bool:
    """There is a Distributor that has begun."""
    return world.distributor is not None and world.distributor.phase is not distributor.Phase.INITIALISING


# ================================================================ clients


def _client_is_provided_for(world: World, cookie: int) -> bool:
    """A server has it, or it has ended; or no server can serve: none can run, or every program was declined."""
    guest = world.guests[cookie]
    if guest.taken > 0 or guest.fate not in (Fate.BACKLOG, Fate.IN) or not _powered(world):
        return True
    links = [link for group in world.groups for link in group.links]
    return bool(links) and all(link.program is Program.DECLINED for link in links)


def _seats_come_free(bounds: Bounds) -> bool:
    return bounds.clients > 0 and (bounds.leaks == 0 or bounds.audits == ANY)


@_leads_to(_client_is_provided_for, _clients, _seats_come_free)
def who_waits_is_seated_or_ends(world: World, cookie: int) -> bool:
    """Every client that was accepted, and has no server yet, is seated, timed out or let go in the end."""
    guest = world.guests[cookie]
    return guest.fate is Fate.IN and guest.taken == 0


@_leads_to(_client_is_provided_for, _clients, _seats_come_free)
def who_is_in_the_backlog_is_seated_or_ends(world: World, cookie: int) -> bool:
    """Every client in the kernel's backlog is accepted, and seated, timed out or let go, in the end."""
    return world.guests[cookie].fate is Fate.BACKLOG


def _port_of(world: World, cookie: int) -> distributor.PortInfo | None:
    """The port in whose backlog the client is."""
    places = (i for i, backlog in enumerate(world.kernel.backlog, 1) if cookie in backlog)
    return world.distributor.ports.get(next(places, 0), None) if world.distributor is not None else None


def _is_accepted_or_due(world: World, cookie: int) -> bool:
    info = _port_of(world, cookie)
    return world.guests[cookie].fate is not Fate.BACKLOG or not _powered(world) or (info is not None and info.due > 0)


@_leads_to(_is_accepted_or_due, _clients, lambda b: b.clients > b.servers and b.max_clients > 1)
def every_backlog_is_swept(world: World, cookie: int) -> bool:
    """A client that stays in the backlog because a server is about to be free is accepted or counted in the end."""
    info = _port_of(world, cookie)
    return info is not None and info.withholds


@_leads_to(
    lambda world, cookie: world.guests[cookie].fate is not Fate.BACKLOG or not _powered(world),
    _clients,
    lambda b: b.clients > 1 and b.ports > 1,
)
def each_port_has_its_turn(world: World, cookie: int) -> bool:
    """A client in the backlog of one port is accepted in the end, however many come to another."""
    info = _port_of(world, cookie)
    return info is not None and info.opened


@_leads_to(_client_is_provided_for, _clients, lambda b: b.clients > 0 and b.hang_ups != 0)
def who_hangs_up_while_waiting_is_let_go(world: World, cookie: int) -> bool:
    """A waiting client that closes its side is dropped in the end, if it is not seated before."""
    guest = world.guests[cookie]
    return guest.fate is Fate.IN and guest.taken == 0 and guest.hung == 1


def _hand_off_is_settled(world: World, cookie: int) -> bool:
    return not any(client.cookie == cookie for client in _outstanding(world))


def _outstanding(world: World) -> Iterator[Client]:
    rows = world.distributor.servers.values() if world.distributor is not None else ()
    return (row.request for row in rows if row.request is not None)


@_leads_to(_hand_off_is_settled, _clients, lambda b: b.clients > 0)
def a_hand_off_is_settled(world: World, cookie: int) -> bool:
    """Every outstanding hand-off is answered in the end, or its server's end or its Distributor's settles it."""
    return any(client.cookie == cookie for client in _outstanding(world))


def _leak_is_mended(world: World, cookie: int) -> bool:
    return not any(client.cookie == cookie for group in world.groups for client in group.gone)


@_leads_to(_leak_is_mended, _clients, lambda b: b.clients > 0 and b.leaks != 0 and b.audits == ANY)
def a_lost_connection_is_forgotten(world: World, cookie: int) -> bool:
    """A connection that is gone without its server's noticing is found by an audit, and no longer counted."""
    return not _leak_is_mended(world, cookie)


# ================================================================ servers


def _server_is_up(world: World, number: int) -> bool:
    """It is ready, or every port was declined to its program, or the system does not run."""
    place, group = _place(world, number), _group_at(world, number)
    declined = group is not None and all(link.program is Program.DECLINED for link in group.links)
    return not _runs(world) or declined or (place is not None and place.phase is PlacePhase.READY)


def _servers_begin(bounds: Bounds) -> bool:
    return bool(not bounds.warm or bounds.server_crashes or bounds.element_failures or bounds.hand_off_timeouts)


@_leads_to(_server_is_up, _static, _servers_begin)
def a_static_server_is_up_again(world: World, number: int) -> bool:
    """A static server that is not ready is so in the end, however it died, unless the system ends."""
    return not _server_is_up(world, number)


def _row_is_exact(world: World, number: int) -> bool:
    """The server's row is correct, or will be when the messages under way are read; or the system does not run."""
    group = _group_at(world, number)
    if group is None or not group.alive or group.condemned or not _runs(world):
        return True
    row = _row(world, group)
    return _works(world) and row is not None and row.attached and not row.owed and _agree(row, group)


def _agree(row: distributor.ServerStatus, group: Group) -> bool:
    counts = [row.count, *(message.count for link in group.links for message in link.to_distributor)]
    newest = max(counts, key=lambda count: count.sequence)
    return newest.clients == len(group.endpoint.clients) and all(_dialog_is_exact(row, link) for link in group.links)


def _dialog_is_exact(row: distributor.ServerStatus, link: Link) -> bool:
    dialog = row.dialogs.get(link.port, None)
    ready = dialog is not None and dialog.phase is distributor.DialogPhase.READY
    return ready is (link.program is Program.LISTENING)


def _rows_change(bounds: Bounds) -> bool:
    created = bounds.dynamic > 0 and bounds.creations != 0
    return (
        created
        or _servers_begin(bounds)
        or bool(bounds.distributor_crashes or bounds.listener_closes or bounds.interruptions)
    )


@_leads_to(_row_is_exact, _places, _rows_change)
def the_table_is_exact_again(world: World, number: int) -> bool:
    """Where the Distributor's table does not say what is true of a living server, because one of the two has just
    begun or something has just changed, it comes to do so.
    """
    return not _row_is_exact(world, number)


def _no_dead_row(world: World, subject: int) -> bool:
    over = world.monitor.phase is monitor.Phase.ENDED
    return over or not any(_row(world, group) is not None for group in world.groups if not group.alive)


def _processes_die(bounds: Bounds) -> bool:
    lets_go = bounds.dynamic > 0 and bounds.deletions != 0
    fails = bounds.server_crashes or bounds.element_failures or bounds.hand_off_timeouts
    return bool(fails or bounds.stops or lets_go)


@_leads_to(_no_dead_row, _the_whole, _processes_die)
def the_dead_leave_the_table(world: World, subject: int) -> bool:
    """A server of which no process is left leaves the Distributor's table in the end, unless the system has ended."""
    return not _no_dead_row(world, subject)


def _place_is_free(world: World, number: int) -> bool:
    place = _place(world, number)
    return place is None or place.phase not in (PlacePhase.STOPPING, PlacePhase.KILLING)


@_leads_to(_place_is_free, _places, _processes_die)
def a_condemned_server_frees_its_place(world: World, number: int) -> bool:
    """A server that was asked to end, or is being killed, is gone in the end with all its processes."""
    return not _place_is_free(world, number)


# ================================================================ dynamic servers


def _asks(world: World) -> bool:
    return world.distributor is not None and world.distributor.creation is distributor.Creation.REQUESTED


@_leads_to(
    lambda world, cookie: _client_is_sent(world, cookie) or _asks(world) or _all_dynamic_servers_run(world),
    _clients,
    lambda b: b.clients > b.servers and b.max_clients > 1 and b.dynamic > 0 and b.creations == ANY,
)
def a_server_is_asked_for_behind_those_who_never_answer(world: World, cookie: int) -> bool:
    """For a client that stays in the backlog behind servers that are about to be free, and never are, a dynamic server
    is asked for in the end.
    """
    info = _port_of(world, cookie)
    return info is not None and info.withholds


def _client_is_sent(world: World, cookie: int) -> bool:
    """It does not wait: a hand-off of it is unanswered, or it needs none any more."""
    return _client_is_provided_for(world, cookie) or not _hand_off_is_settled(world, cookie)


def _all_dynamic_servers_run(world: World) -> bool:
    return not world.monitor.classes[CLASS].vacant


@_leads_to(lambda world, _: not _asks(world), _the_whole, lambda b: b.dynamic > 0 and b.creations != 0)
def a_server_that_is_asked_for_comes_or_is_declined(world: World, subject: int) -> bool:
    """A dynamic server that the Distributor has asked for comes in the end, or is declined."""
    return _asks(world)


def _busy_or_gone(world: World, number: int) -> bool:
    group = _group_at(world, number)
    if group is None or not group.alive or not _runs(world):
        return True
    row = _row(world, group)
    unread = any(isinstance(message, HandOff) for link in group.links for message in link.to_server)
    return bool(group.endpoint.clients) or unread or (row is not None and row.request is not None)


@_leads_to(_busy_or_gone, _dynamic, lambda b: b.dynamic > 0 and b.creations != 0 and b.deletions == ANY)
def an_idle_dynamic_server_stops(world: World, number: int) -> bool:
    """A dynamic server that has come up and serves nobody is sent a client again, or is gone, in the end."""
    place = _place(world, number)
    return place is not None and place.phase is PlacePhase.READY and not _busy_or_gone(world, number)


# ================================================================ the Distributor, and the end


@_leads_to(
    lambda world, _: _works(world) or not (_runs(world) or _closes(world)),
    _the_whole,
    lambda b: not b.warm or bool(b.distributor_crashes or b.element_failures),
)
def the_distributor_is_up_again(world: World, subject: int) -> bool:
    """Where there is no Distributor, or one that has not begun, one begins its work in the end."""
    return not _works(world) and (_runs(world) or _closes(world))


def _closes(world: World) -> bool:
    return world.monitor.phase is monitor.Phase.CLOSING and _powered(world)


@_leads_to(lambda world, _: world.monitor.phase is monitor.Phase.ENDED, _the_whole, lambda b: b.stops != 0)
def a_stop_ends(world: World, subject: int) -> bool:
    """A system that is asked to stop, gracefully or at once, has ended in the end."""
    return world.monitor.phase in (monitor.Phase.CLOSING, monitor.Phase.ENDING)


# ================================================================ the check


@dataclass(frozen=True, slots=True)
class Lasso:
    """A run that refutes a property: a path to a cycle that repeats for ever."""

    path: Path
    """The path to the cycle and the cycle once, in canonical forms: it ends in the world where the cycle begins."""
    shown: Path
    """The same steps for people to read: every server keeps its name."""
    cycle_start: int
    """The number of steps before the cycle, which ends with the path.  If none follow, the system stays there."""
    property: LeadsTo
    subject: int
    """Which client or place; 0 for the whole system."""
    arises: int
    """The number of steps after which the property arises; it is never settled from then on."""
    fair: tuple[tuple[Named, str], ...]
    """Every fair action that is possible on the cycle, and how the cycle is fair to it."""
    unasked: tuple[Named, ...]
    """What the guards allow where the cycle begins, but was never requested, and so does not happen."""
    free: tuple[tuple[Named, str], ...]
    """The unfair actions that are possible on the cycle, with the reason; omitted assumptions come first."""

    def servers(self) -> list[ServerId]:
        """For a place: the servers that fill it, or filled it last, in order, from when the property arises."""
        if self.property.subject != "place":
            return []
        worlds = [self.shown.start, *(step.world for step in self.shown.steps)][self.arises :]
        places = [place for world in worlds if (place := _place(world, self.subject)) is not None]
        return [*dict.fromkeys(place.server for place in places if place.server)]

    def about(self) -> str:
        """The subject in words: a client, a place and its servers, or the system."""
        if not self.property.subject:
            return "the system"
        servers = ", then ".join(f"server {number}" for number in self.servers())
        return f"{self.property.subject} {self.subject}" + (f" ({servers})" if servers else "")

    def lines(self) -> Iterator[str]:
        """The run in words, line by line."""
        steps = self.shown.steps
        way = Path(self.shown.bounds, self.shown.start, steps[: self.cycle_start])
        yield f"{self.property.name}, refuted for {self.about()}: {self.property.text}"
        yield self._since()
        yield from narrate(way)
        if self.cycle_start == len(steps):
            yield "Here it stays for ever: nothing that must happen can."
        else:
            here = steps[self.cycle_start - 1].world if self.cycle_start else self.shown.start
            yield f"From here on for ever, round and round, {len(steps) - self.cycle_start} steps:"
            yield from list(narrate(Path(self.shown.bounds, here, steps[self.cycle_start :])))[1:]
        yield from self._because()

    def why(self) -> list[str]:
        """For which subject the property is broken, which steps repeat, and why fairness allows it."""
        last = len(self.shown.steps)
        if self.cycle_start == last:
            goes_on = f"As it is after step {last} it stays for ever: nothing that must happen can."
        elif self.cycle_start == last - 1:
            goes_on = f"Step {last} is repeated for ever."
        else:
            goes_on = f"Steps {self.cycle_start + 1} to {last} are repeated for ever."
        return [f"It is broken for {self.about()}. {self._since()}", goes_on, *self._because()]

    def _since(self) -> str:
        begins = f"after step {self.arises}" if self.arises else "at the very beginning"
        return f"It arises {begins}, and from then on never comes to an end."

    def _because(self) -> Iterator[str]:
        """Why no assumption ends the cycle."""
        if self.unasked:
            yield f"Nobody has asked for these, so they do not come: {', '.join(map(str, self.unasked))}."
        if self.free:
            yield "Of these nothing is assumed:"
            yield from (f"  {name}: {reason}" for name, reason in self.free)
        if self.fair:
            yield "This is fair to whatever is possible on the way:"
            yield from (f"  {name}: {how}" for name, how in self.fair)


@dataclass(frozen=True, slots=True)
class VerdictOnLiveness:
    """The verdict on one property."""

    property: LeadsTo
    verdict: Verdict
    occasions: int = 0
    """In how many worlds it arises and is not settled, over all subjects."""
    lasso: Lasso | None = None


@dataclass(frozen=True, slots=True)
class LivenessResult:
    """What a check of liveness found."""

    bounds: Bounds
    without: tuple[str, ...]
    """The assumptions that were omitted."""
    verdicts: tuple[VerdictOnLiveness, ...]
    states: int
    """Distinct worlds."""
    transitions: int
    seconds: float
    complete: bool
    """Whether all reachable worlds were explored."""

    @property
    def ok(self) -> bool:
        """Nothing is violated and nothing holds vacuously in the worlds explored."""
        return not any(on.verdict in (Verdict.VIOLATED, Verdict.NOT_REACHED) for on in self.verdicts)

    @property
    def counterexample(self) -> Lasso | None:
        """The shortest lasso."""
        found = [on.lasso for on in self.verdicts if on.lasso is not None]
        return min(found, key=lambda lasso: len(lasso.path.steps), default=None)

    def __getitem__(self, name: str) -> VerdictOnLiveness:
        """The verdict on the property of this name."""
        return next(on for on in self.verdicts if on.property.name == name)


class UnknownPropertyError(ValueError):
    """There is no liveness property of that name."""


class MissingLibraryError(RuntimeError):
    """A library is not installed that the check needs."""


def check_liveness(
    bounds: Bounds,
    names: Collection[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    max_states: int | None = None,
    without: Collection[str] = (),
) -> LivenessResult:
    """Explore everything within the bounds, then decide every property.

    Args:
        bounds: how large the system is and what may go wrong.
        names: of the properties to decide; all if None.
        progress: called some five times a second.
        max_states: stop there; a property that is not refuted is then `INCOMPLETE`.
        without: the names of assumptions (`fairness.RULES`) to be left out.

    Raises:
        UnknownPropertyError: there is no property of a name.
        UnknownRuleError: there is no assumption of a name.
        MissingLibraryError: scipy is not installed.
    """
    assumed(bounds, without)  # report a wrong name before the work begins
    return explore(bounds, names, progress, max_states).decide(without)


def explore(
    bounds: Bounds,
    names: Collection[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    max_states: int | None = None,
) -> Explored:
    """Explore once, to decide under several sets of assumptions; arguments and errors as in `check_liveness`."""
    wanted = tuple(_known(name) for name in (names if names is not None else LIVENESS))
    asked = [(prop, subject) for prop in wanted if prop.applies(bounds) for subject in prop.subjects(bounds)]
    try:
        from maitred.model.check import cycles, graph
    except ImportError as missing:
        raise MissingLibraryError(
            f"checking liveness needs {missing.name}: pip install 'maitred[verify]' brings it"
        ) from missing
    worlds = graph.Worlds(System(bounds), lambda world: bytes(_mark(world, *each) for each in asked))
    return Explored(bounds, wanted, worlds, worlds.explore(progress, max_states), asked, cycles.Search)


def _known(name: str) -> LeadsTo:
    if name not in LIVENESS:
        raise UnknownPropertyError(f"no liveness property is called {name!r}; there are: {', '.join(LIVENESS)}")
    return LIVENESS[name]


_SETTLED, _OPEN, _ARISES = 0, 1, 2


def _mark(world: World, prop: LeadsTo, subject: int) -> int:
    if prop.settled(world, subject):
        return _SETTLED
    return _ARISES if prop.arises(world, subject) else _OPEN


@dataclass(frozen=True, slots=True)
class Explored:
    """All worlds within the bounds, each with the marks of every property."""

    bounds: Bounds
    wanted: tuple[LeadsTo, ...]
    worlds: Worlds
    graph: Graph
    asked: list[tuple[LeadsTo, int]]
    """The properties that apply, for each subject, in the order of the marks."""
    search: type[Search]

    def decide(self, without: Collection[str] = ()) -> LivenessResult:
        """The verdicts under all assumptions except those in `without` (errors: `UnknownRuleError`)."""
        began = time.monotonic()
        fairness = assumed(self.bounds, without)
        search = self.search(self.graph, [fairness[name.rule] for name in self.graph.names])
        verdicts = tuple(self._verdict(prop, search, without) for prop in self.wanted)
        return LivenessResult(
            self.bounds,
            tuple(without),
            verdicts,
            self.graph.states,
            self.worlds.transitions,
            self.worlds.seconds + time.monotonic() - began,
            self._complete,
        )

    @property
    def _complete(self) -> bool:
        return self.graph.expanded == self.graph.states

    def _verdict(self, prop: LeadsTo, search: Search, without: Collection[str]) -> VerdictOnLiveness:
        if not prop.applies(self.bounds):
            return VerdictOnLiveness(prop, Verdict.NOT_APPLICABLE)
        marks = self.worlds.marks()
        occasions, lassos = 0, []
        for column, (other, subject) in enumerate(self.asked):
            if other is prop:
                arises = marks[:, column] == _ARISES
                occasions += int(arises.sum())
                found = search.refute(arises, marks[:, column] != _SETTLED)
                if found is not None:
                    lassos.append(self._lasso(prop, subject, found, search, without))
        if lassos:
            shortest = min(lassos, key=lambda lasso: len(lasso.path.steps))
            return VerdictOnLiveness(prop, Verdict.VIOLATED, occasions, shortest)
        if not self._complete:
            return VerdictOnLiveness(prop, Verdict.INCOMPLETE, occasions)
        return VerdictOnLiveness(prop, Verdict.HOLDS if occasions else Verdict.NOT_REACHED, occasions)

    def _lasso(self, prop: LeadsTo, subject: int, found: Round, search: Search, without: Collection[str]) -> Lasso:
        path = self.worlds.retrace([*found.prefix, *found.cycle])
        return Lasso(
            path,
            self.worlds.steadily(path),
            len(found.prefix),
            prop,
            subject,
            found.arises,
            search.account(found),
            tuple(sorted(self.worlds.lacks.get(found.start, ()))),
            tuple(self._free(search.free(found), without)),
        )

    def _free(self, possible: Iterable[tuple[Named, bool]], without: Collection[str]) -> Iterator[tuple[Named, str]]:
        """Each with the reason; a fault only if the cycle takes it."""
        for name, taken in sorted(possible, key=lambda each: each[0].rule not in without):
            if taken or RULES[name.rule].fairness is not Fairness.CEASING:
                yield name, unassumed(self.bounds, name.rule, without)
