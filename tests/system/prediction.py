"""What must be seen of a real instance, by the model: the closed system suffers the same deeds, and comes to rest.

A *deed* is what the outside world does: a client comes or goes, a process is killed, stopped or continued, a processing
element fails.  `Prediction.predict` does a burst of deeds to the closed system of `maitred.model.world` and lets
everything happen that follows by itself, in every order, until nothing more can.  What could be seen then from outside
is an `Outlook`; the forecast is the set of these.  Reality must come to rest in one of them; `Prediction.accept` finds
which, and the worlds that look otherwise are believed in no longer.

The freedoms
------------
Everything else is predicted exactly: which server, which waiter, which processing element, how many processes.  Where a
forecast has more than one outlook, one of these is why, and the search takes each of them every way:

1.  In which order a process reads its several channels: servers ready at the same time, clients on two ports.
2.  Which of two timers or starts comes first: two restarts, a restart and the start of a dynamic server.
3.  How far the consequences of one deed have come when the next of the same burst is done; when that is the death of a
    Distributor, after which of a step's effects (so who is lost is among those whom requirement OWN-3.6 names).

What follows by itself, and what does not
-----------------------------------------
Timers that run long in the instance never end here: no client waits too long, no hand-off is unanswered for too long,
no grace ends.  Those that run short always do: restarts, the start of a dynamic server for which there is a place, the
end of an idle one.  The server program ends a connection when its client has closed its side, and never by itself.  A
stopped process does nothing until it is continued or killed.

How the search is kept small
----------------------------
A server's own steps are taken at once where nothing can end the server meanwhile, and so is what the Monitor merely
notes: to do these later leads nowhere else.  (Unless a client leaves the server as another comes: then the order of the
two counts.)  Timers wait until nothing else can happen, then one of them ends, or two together: they run for long
compared with a message.  On a busy machine they may not, so where reality comes to rest in no outlook of this forecast,
`Prediction.widen` lets them end at any moment before anything is called a contradiction.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from maitred.core import distributor, monitor, server
from maitred.core.messages import Adopt, KeepDialog, KeepListener, Release, ServerNotReady, ServerReady, Store
from maitred.model.world import (
    CLASS,
    Budget,
    ClientCloses,
    ClientConnects,
    Deed,
    DistributorCutOff,
    DistributorEnds,
    Fate,
    Life,
    ServerDeed,
    System,
)

CALM = Budget._make(1 if name in ("creations", "deletions") else 0 for name in Budget._fields)
"""What happens by itself, as often as it is its time; everything else is a deed."""
WIDE, WIDER = 4_000, 20_000
"""So many worlds one burst may lead through: when it is foretold, and when the forecast is widened."""

# ================================================================ what can be seen


@dataclass(frozen=True)
class Outlook:
    """The whole system as it is seen from outside: a line of text for each thing, by its name."""

    lines: tuple[tuple[str, str], ...]

    @staticmethod
    def of(lines):
        return Outlook(tuple(lines.items()))

    def differences(self, other):
        """How many things look otherwise there."""
        mine, theirs = dict(self.lines), dict(other.lines)
        return sum(mine.get(name) != theirs.get(name) for name in mine.keys() | theirs.keys())


ENDED = "ended"
UNSERVED = "not served yet"


def side_by_side(seen, forecast):
    """What was seen beside what was predicted, the nearest of it; what differs is marked."""
    nearest = min(forecast, key=seen.differences)
    mine, theirs = dict(seen.lines), dict(nearest.lines)
    names = list(dict.fromkeys([*mine, *theirs]))
    width = max(len(text) for text in mine.values()) + 2
    rows = [f"  {'':16}{'reality':{width}}the model (nearest of {len(forecast)})"]
    for name in names:
        left, right = mine.get(name, "-"), theirs.get(name, "-")
        rows.append(f"{'  ' if left == right else '! '}{name:16}{left:{width}}{right}")
    return "\n".join(rows)


def server_line(kind, state, clients, element):
    return f"{kind} {state}, {clients} clients, on element {element}"


# ================================================================ deeds


@dataclass(frozen=True)
class Connect:
    """The next client connects to a port, the first being 1."""

    port: int


@dataclass(frozen=True)
class Leave:
    """A client closes its connection, or only its side of it, perhaps with data behind that nobody has read."""

    client: int
    closes: bool = True
    last_words: bool = False


@dataclass(frozen=True)
class KillServer:
    """`kill -9` of the server that fills a place; its forked child, where it has one, is left behind."""

    place: int


@dataclass(frozen=True)
class KillDistributor:
    """`kill -9` of the Distributor that runs now."""


@dataclass(frozen=True)
class StopServer:
    """SIGSTOP of a server's main process."""

    place: int


@dataclass(frozen=True)
class ContinueServer:
    """SIGCONT of a server's main process."""

    place: int


@dataclass(frozen=True)
class Element:
    """`maitred element NAME up|down`."""

    element: int
    up: bool


@dataclass(frozen=True)
class Shutdown:
    """SIGTERM of the Monitor: a graceful stop, and one at once the second time."""


@dataclass(frozen=True)
class Moot:
    """A deed whose victim was dead before it was done."""


NOTES = (Store, Release, KeepDialog, KeepListener, ServerReady, ServerNotReady)
"""What the Monitor is sent and merely records."""

# ================================================================ the prediction


@dataclass(frozen=True)
class Belief:
    """A world that may be the real one."""

    world: object
    stopped: frozenset = frozenset()
    """The places whose server was sent SIGSTOP."""
    deeds: tuple = ()
    """What is yet to be done to it."""


@dataclass
class Forecast:
    """What may be seen, and the worlds that look so."""

    beliefs: dict = field(default_factory=lambda: defaultdict(list))
    worlds: int = 0
    """How many were visited on the way."""


class TooWide(AssertionError):
    """The burst leads through too many worlds to follow."""


class Prediction:
    """The closed system, and which of its worlds reality may be in."""

    def __init__(self, bounds, children=False):
        """Begin with the static servers ready.  `children`: each server has forked a process that idles."""
        # Steady, as a canonical world forgets in which order the servers are named to a new Distributor.
        self.system = System(replace(bounds, warm=False), steady=True)
        self.children = children
        self.departed = frozenset()
        """Clients that have closed their connection, and so see nothing."""
        self.beliefs = []
        self.forecast = self._search([Belief(self._calm(self.system.initial()))])
        self.accept(next(iter(self.forecast.beliefs)))

    def predict(self, deeds):
        """Do the deeds, one after the other and without waiting, and let all that follows happen.

        Raises:
            TooWide: this leads through too many worlds; nothing has been done.
        """
        before = self.departed
        self.departed = before | {deed.client for deed in deeds if isinstance(deed, Leave) and deed.closes}
        try:
            self.forecast = self._search([replace(belief, deeds=tuple(deeds)) for belief in self.beliefs])
        except TooWide:
            self.departed = before
            raise
        return self.forecast

    def widen(self):
        """The forecast again, with timers that may end at any moment."""
        self.forecast = self._search(self._begin, prompt=False)
        return self.forecast

    def accept(self, outlook):
        """Reality has come to look so."""
        self.beliefs = self.forecast.beliefs[outlook]

    # ------------------------------------------------ the search

    def _search(self, begin, prompt=True):
        """Every world in which nothing more happens by itself and no deed is left to do.

        With `prompt`, timers are slower than all else.
        """
        self._begin = begin
        forecast = Forecast()
        seen = {self._key(belief) for belief in begin}
        stack = list(begin)
        while stack:
            belief = stack.pop()
            following = self._following(belief, prompt)
            if not following and not belief.deeds:
                forecast.beliefs[self.outlook(belief)].append(belief)
            for after in following:
                key = self._key(after)
                if key not in seen:
                    seen.add(key)
                    stack.append(after)
            if len(seen) > (WIDE if prompt else WIDER):
                raise TooWide(f"more than {len(seen) - 1} worlds after {begin[0].deeds}")
        forecast.worlds = len(seen)
        assert forecast.beliefs, f"the model never comes to rest after {begin[0].deeds}"
        return forecast

    def _key(self, belief):
        return self.system.key(belief.world), belief.stopped, belief.deeds

    def _following(self, belief, prompt):
        """What may come next: a step of the system's own, or the next deed."""
        steps = self._own_steps(belief)
        undecided = {action.who for action, _ in steps if isinstance(action.what, server.Disconnected)}
        undecided &= {action.who for action, _ in steps if isinstance(action.what, server.MessageRead)}
        for action, after in steps:
            if is_note(action) or (action.who not in undecided and self._is_private(action, belief)):
                return [after]
        timers = [action for action, _ in steps if is_timer(action)]
        following = [after for action, after in steps if not (prompt and is_timer(action))]
        if belief.deeds:
            following += self._do(belief, belief.deeds[0])
        if following:
            return following
        following = [after for _, after in steps]
        for once in following[:]:
            following += [twice for action, twice in self._own_steps(once) if action in timers]
        return following

    def _own_steps(self, belief):
        """The steps that may happen by themselves, and what to believe after each."""
        steps = []
        for action, world, _ in self.system.successors(belief.world):
            if self._happens_by_itself(action, belief):
                after = self._after(belief, world)
                if after.world is not belief.world and self._key(after) != self._key(belief):
                    steps.append((action, after))
        return steps

    def _happens_by_itself(self, action, belief):
        world, what = belief.world, action.what
        if isinstance(action, ClientConnects | ClientCloses):
            return False
        if what is not Deed.IS_KILLED and place_of(world, server_of(action)) in belief.stopped:
            return False
        match what:
            case server.Disconnected(client):
                return bool(world.guests[client.cookie].hung)
            case monitor.Fired(monitor.GraceOver() | monitor.StartWarning()):
                return False
            case monitor.Fired(monitor.KillDelay(server=number)):
                return place_of(world, number) in belief.stopped
            case distributor.Fired(distributor.CreateDelay()):
                return bool(world.monitor.classes[CLASS].vacant)
            case Adopt():
                return what is world.to_distributor[0]  # a freedom of the model's; the real channel has an order
        return True

    def _is_private(self, action, belief):
        """Whether a server takes the step, and no deed that is yet to be done is done to the server or its clients."""
        group = belief.world.group(server_of(action))
        if group is None or not group.main or group.condemned or group.asked:
            return False
        place = place_of(belief.world, group.server)
        clients = {client.cookie for client in group.endpoint.clients}
        near = (KillServer(place), StopServer(place), Element(group.element, up=False))
        return not any(deed in near or (isinstance(deed, Leave) and deed.client in clients) for deed in belief.deeds)

    def _after(self, belief, world):
        """The belief after a step to that world, without what has become moot by it."""
        world = self._calm(world)
        stopped = frozenset(place for place in belief.stopped if (group := filling(world, place)) and group.main)
        deeds = tuple(Moot() if self._is_moot(world, deed) else deed for deed in belief.deeds)
        return Belief(world, stopped, deeds)

    def _is_moot(self, world, deed):
        if world.monitor.phase is monitor.Phase.ENDED:
            return True
        match deed:
            case KillServer(place):
                group = filling(world, place)
                return group is None or not group.main
            case KillDistributor():
                return world.life is not Life.UP
        return False

    def _calm(self, world):
        return self.system.seal(world._replace(budget=CALM))

    # ------------------------------------------------ deeds, done to the model

    def _do(self, belief, deed):
        """The beliefs that the deed leads to; none while it cannot be done."""
        stopped = belief.stopped
        match deed:
            case Moot():
                worlds = [belief.world]
            case Connect(port):
                worlds = self._by_action(belief.world, lambda a: isinstance(a, ClientConnects) and a.port == port)
            case Leave():
                worlds = [self._left(belief.world, deed)]
            case KillServer(place):
                worlds = self._killed(belief.world, place)
            case KillDistributor():
                worlds = self._by_action(
                    belief.world,
                    lambda a: isinstance(a, DistributorCutOff) or a == DistributorEnds(Deed.DIES),
                    distributor_crashes=1,
                )
            case StopServer(place):
                worlds, stopped = [belief.world], stopped | {place}
            case ContinueServer(place):
                worlds, stopped = [belief.world], stopped - {place}
            case Element(element, up):
                event = monitor.ElementRestored(element) if up else monitor.ElementFailed(element)
                worlds = self._by_action(
                    belief.world, lambda a: a.what == event, **{"element_returns" if up else "element_failures": 1}
                )
            case Shutdown():
                worlds = self._by_action(belief.world, lambda a: a.what == monitor.StopRequested(), stops=1)
        for world in worlds:
            yield self._after(Belief(world, stopped, belief.deeds[1:]), world)

    def _by_action(self, world, wanted, **allowed):
        """Where the actions lead that the budget now allows."""
        world = self.system.seal(world._replace(budget=CALM._replace(**allowed)))
        return [after for action, after, _ in self.system.successors(world) if wanted(action)]

    def _left(self, world, deed):
        """A client's closing its side changes nothing but the client."""
        guest = world.guests[deed.client]
        if guest.fate not in (Fate.BACKLOG, Fate.IN) or guest.hung:
            return world
        guests = list(world.guests)
        guests[deed.client] = guest._replace(hung=2 if deed.last_words else 1)
        return self.system.seal(world._replace(guests=tuple(guests)))

    def _killed(self, world, place):
        group = filling(world, place)
        if group.condemned:
            return [world]  # it is being killed anyway
        how = Deed.LEAVES_A_CHILD if self.children else Deed.DIES
        return self._by_action(
            world,
            lambda a: a == ServerDeed(group.server, how),
            server_crashes=1,
            forked_children=1,
        )

    # ------------------------------------------------ how a world looks

    def outlook(self, belief):
        """What must be seen of this world."""
        world = belief.world
        state = world.monitor
        ended = state.phase is monitor.Phase.ENDED
        lines = {"monitor": state.phase.value}
        if not ended:
            cls = state.classes[CLASS]
            lines["distributor"] = self._distributor_line(world)
            for i, element in state.elements.items():
                lines[f"element {i}"] = f"{'up' if element.up else 'down'}, {element.processes} processes"
            for place in cls.places.values():
                lines[f"place {place.place}"] = self._server_line(world, place)
            lines["waiting"] = self._waiting_line(world)
        for client, guest in enumerate(world.guests):
            if guest.fate is not Fate.ABSENT and client not in self.departed:
                lines[f"client {client}"] = self._client_line(world, client, guest)
        mains = sum(group.main for group in world.groups)
        processes = mains * (2 if self.children else 1) + (world.distributor is not None) + 1
        lines["processes"] = str(0 if ended else processes)
        return Outlook.of(lines)

    def _distributor_line(self, world):
        place = world.monitor.classes[CLASS].distributor
        if world.distributor is None:
            return "none"
        return f"{world.distributor.phase.value}, on element {place.element}"

    def _server_line(self, world, place):
        kind = "dynamic" if place.dynamic else "static"
        if place.phase is monitor.PlacePhase.DOWN:
            return server_line(kind, "down", 0, place.element)
        row = world.distributor.servers.get(place.server, None) if world.distributor else None
        if place.phase is not monitor.PlacePhase.READY or row is None:
            return server_line(kind, place.phase.value, row.count.clients if row else None, place.element)
        if row.draining:
            state = "draining"
        elif row.owed or not any(d.phase is distributor.DialogPhase.READY for d in row.dialogs.values()):
            state = "restarting"
        elif row.request is not None:
            state = "busy"
        else:
            state = "full" if row.count.clients >= row.max_clients else "ready"
        return server_line(kind, state, row.count.clients, place.element)

    def _waiting_line(self, world):
        """The ports of those who wait, first come first."""
        if world.distributor is not None:
            waiting = [client for info in world.distributor.ports.values() for client in info.waiting]
        else:
            waiting = list(world.monitor.classes[CLASS].store)
        return " ".join(f"port {client.port}" for client in sorted(waiting)) or "nobody"

    def _client_line(self, world, client, guest):
        if guest.fate not in (Fate.BACKLOG, Fate.IN):
            return ENDED
        for place in world.monitor.classes[CLASS].places.values():
            group = world.group(place.server)
            if place.alive and group and any(c.cookie == client for c in group.endpoint.clients):
                return f"served by place {place.place}"
        return UNSERVED

    # ------------------------------------------------ what the next deed may be done to

    @property
    def world(self):
        """One of the worlds that reality may be in."""
        return self.beliefs[0].world

    @property
    def stopped(self):
        """The places whose server is stopped."""
        return self.beliefs[0].stopped

    def places(self):
        """The places that a server fills."""
        return [place.place for place in self.world.monitor.classes[CLASS].places.values() if place.alive]

    def present(self):
        """The clients that are connected and have not closed their side."""
        return [
            client
            for client, guest in enumerate(self.world.guests)
            if guest.fate in (Fate.BACKLOG, Fate.IN) and not guest.hung
        ]

    def seated(self):
        """Of those, the ones whom a server has accepted."""
        return [client for client in self.present() if self.world.guests[client].taken]

    def to_come(self):
        """How many clients have not come yet."""
        return sum(guest.fate is Fate.ABSENT for guest in self.world.guests)

    def listens(self, port):
        return all(belief.world.kernel.listening[port - 1] for belief in self.beliefs)

    def ended(self):
        return self.world.monitor.phase is monitor.Phase.ENDED

    def fates(self, client):
        """What may have become of the client."""
        return {belief.world.guests[client].fate for belief in self.beliefs}


def is_timer(action):
    return isinstance(action.what, distributor.Fired | monitor.Fired)


def is_note(action):
    """Whether the Monitor only records what it is sent."""
    return isinstance(action.what, monitor.Reported) and isinstance(action.what.message, NOTES)


def server_of(action):
    """The id of the server that takes the step; 0, which no server has, where it is not a server's."""
    return getattr(action, "server", 0)


def place_of(world, number):
    """The place that the server with this id fills; None where it fills none."""
    return world.monitor.classes[CLASS].living.get(number, None)


def filling(world, place):
    """The processes that fill the place; None where there are none."""
    known = world.monitor.classes[CLASS].places.get(place, None)
    return world.group(known.server) if known is not None and known.alive else None
