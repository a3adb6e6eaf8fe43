"""The model predicts, reality must agree: Hypothesis writes scripts of deeds, and both a closed system and an instance
with real processes and sockets suffer them, burst after burst, at rest in between.

A script is drawn whole before it is played, instead of rule by rule in a `RuleBasedStateMachine`: which moves are
possible depends on how a race among real processes ended, and a machine that drew by it could not be replayed.  A move
that is impossible when its turn comes is left out.
"""

import contextlib
import itertools
import os
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st
from tests.system.prediction import (
    Connect,
    ContinueServer,
    Element,
    KillDistributor,
    KillServer,
    Leave,
    Prediction,
    Shutdown,
    StopServer,
    TooWide,
    side_by_side,
)
from tests.system.reality import Reality

from maitred.core import distributor
from maitred.core.distributor import Seat
from maitred.core.messages import Adopt, Restore
from maitred.core.tree import Tree
from maitred.model.world import Bounds, Fate

pytestmark = [pytest.mark.system, pytest.mark.chance, pytest.mark.properties]
CAMPAIGN_SECONDS = float(os.environ.get("MAITRED_CAMPAIGN_SECONDS", "120"))
SEED = int(os.environ.get("MAITRED_FAULT_SEED", "1"))
CLIENTS = 12
"""How many may come in one script."""
PATIENCE = 30.0
"""Seconds for an instance to come to rest as the narrower forecast has it, and then as the wider one has it."""

# ================================================================ scripts

MOVES = tuple(
    name
    for name, share in {
        "connect": 10,
        "leave": 3,
        "hang up": 2,
        "half-close": 2,
        "kill server": 3,
        "kill distributor": 3,
        "stop server": 2,
        "continue server": 2,
        "element down": 2,
        "element up": 2,
        "shut down": 1,
    }.items()
    for _ in range(share)
)
"""What may be drawn, the more often it stands here."""


@dataclass(frozen=True)
class Script:
    """What is played."""

    bounds: Bounds
    children: bool
    bursts: tuple
    """Each is a tuple of moves that are made without waiting in between; a move is a name, and a number that chooses
    among those to whom it may be done."""


def script(*bursts, children=False, **bounds):
    """A script by hand; a burst of a single move may be written without its tuple."""
    bursts = [burst if isinstance(burst[0], tuple) else (burst,) for burst in bursts]
    return Script(Bounds(clients=CLIENTS, **bounds), children, tuple(bursts))


def scripts():
    move = st.tuples(st.sampled_from(MOVES), st.integers(0, 11))
    burst = st.one_of(st.tuples(move), st.tuples(move), st.tuples(move, move), st.tuples(move, move, move))
    bounds = st.builds(
        Bounds,
        servers=st.integers(1, 2),
        dynamic=st.integers(0, 1),
        ports=st.integers(1, 2),
        max_clients=st.integers(1, 2),
        clients=st.just(CLIENTS),
        waiting_limit=st.integers(1, 3),
        elements=st.integers(1, 2),
    )
    return st.builds(
        Script, bounds=bounds, children=st.booleans(), bursts=st.lists(burst, min_size=8, max_size=14).map(tuple)
    )


# ================================================================ what a move comes to


def pick(candidates, which):
    """One of them, whatever their number; None where there are none."""
    return candidates[which % len(candidates)] if candidates else None


def deed_of(move, prediction, first):
    """The deed that the move is in the present state, or None where it is impossible."""
    name, which = move
    state = prediction.world.monitor
    running = [place for place in prediction.places() if place not in prediction.stopped]
    match name:
        case "connect":
            port = pick(prediction.system.ports, which)
            return Connect(port) if prediction.to_come() and prediction.listens(port) else None
        case "leave" | "hang up" | "half-close":
            client = pick(prediction.present(), which)
            return None if client is None else Leave(client, name == "leave", name == "half-close")
        case "kill server":
            place = pick(prediction.places(), which)
            return None if place is None else KillServer(place)
        case "kill distributor":
            return KillDistributor() if prediction.world.distributor is not None else None
        case "stop server":  # a client that it has taken must have been greeted: only from rest
            place = pick(running, which) if first else None
            return None if place is None else StopServer(place)
        case "continue server":
            place = pick(sorted(prediction.stopped), which)
            return None if place is None else ContinueServer(place)
        case "element down" | "element up":
            up = name == "element up"
            element = pick([i for i, each in state.elements.items() if each.up is not up], which)
            return None if element is None else Element(element, up)
        case "shut down":
            return Shutdown()


def deeds_of(burst, prediction):
    """The deeds of a burst; no two of them are done to the same victim, and nothing follows a stop."""
    deeds = []
    victims = set()
    for move in burst:
        deed = deed_of(move, prediction, first=not deeds)
        victim = None if isinstance(deed, Connect) else victim_of(deed)
        if deed is None or victim in victims:
            continue
        if sum(isinstance(each, Connect) for each in [*deeds, deed]) > prediction.to_come():
            continue
        victims |= {victim} - {None}
        deeds.append(deed)
        if isinstance(deed, Shutdown):
            break
    return deeds


def victim_of(deed):
    """What the deed is done to."""
    match deed:
        case Leave(client):
            return "client", client
        case KillServer(place) | StopServer(place) | ContinueServer(place):
            return "place", place
        case Element(element):
            return "element", element
    return type(deed)


# ================================================================ the play


class Contradiction(AssertionError):
    """Reality has come to look as no world of the model does."""

    def __init__(self, seen, report):
        super().__init__(report)
        self.seen = seen


@dataclass
class Tally:
    """What has happened in all scripts so far."""

    deeds: Counter = field(default_factory=Counter)
    fates: Counter = field(default_factory=Counter)
    forecasts: Counter = field(default_factory=Counter)
    """How many outlooks were predicted: how often."""
    widened: int = 0
    cut: int = 0
    """Bursts that were too wide to follow to their end."""
    waited: int = 0

    def __str__(self):
        return "\n".join(
            f"  {name}: {dict(sorted(counter.items()))}"
            for name, counter in (
                ("deeds", self.deeds),
                ("fates", {fate.name: n for fate, n in self.fates.items()}),
                ("outlooks predicted", self.forecasts),
                ("other", {"widened": self.widened, "cut short": self.cut, "rests with somebody waiting": self.waited}),
            )
        )


class Play:
    """One script, played to the model and to reality at once."""

    def __init__(self, prediction, reality, tally, patience):
        self.prediction = prediction
        self.reality = reality
        self.tally = tally
        self.patience = patience
        self.story = []
        self.last_words = set()
        """Clients that half-closed with words that deserve an answer."""

    def run(self, bursts):
        self.agree(self.prediction.forecast)
        for burst in bursts:
            deeds, forecast = self.predict(burst)
            if not deeds:
                continue
            self.story.append(", ".join(map(str, deeds)))
            self.note_deeds(deeds)
            self.reality.do(deeds)
            self.agree(forecast)
            self.converse()
            if self.prediction.ended():
                break
        self.shown_by_command()
        self.tally.fates.update(guest.fate for guest in self.prediction.world.guests)

    def predict(self, burst):
        """The deeds of the burst, or of as much of it as can be followed, and what must come of them."""
        while deeds := deeds_of(burst, self.prediction):
            try:
                return deeds, self.prediction.predict(deeds)
            except TooWide:
                self.tally.cut += 1
                burst = burst[:-1]
        return (), None

    def note_deeds(self, deeds):
        self.tally.deeds.update(type(deed).__name__ for deed in deeds)
        self.last_words |= {d.client for d in deeds if isinstance(d, Leave) and d.last_words and not d.closes}

    def agree(self, forecast):
        """Reality comes to rest in an outlook of the forecast."""
        outlook, agrees = self.reality.come_to_rest(forecast.beliefs, self.patience)
        if not agrees:
            self.tally.widened += 1
            with contextlib.suppress(TooWide):  # then the narrower forecast is what it contradicts
                forecast = self.prediction.widen()
            outlook, agrees = self.reality.come_to_rest(forecast.beliefs, self.patience)
        if not agrees:
            raise Contradiction(outlook, self.report(outlook, forecast))
        self.tally.forecasts[len(forecast.beliefs)] += 1
        self.tally.waited += "nobody" not in dict(outlook.lines).get("waiting", "nobody")
        self.prediction.accept(outlook)
        lost = [c for c, guest in enumerate(self.prediction.world.guests) if guest.fate is Fate.LOST]
        assert not lost, f"clients {lost} are lost, and nothing allows it\n{self.report(outlook, forecast)}"

    def report(self, outlook, forecast):
        return "\n".join(
            [
                "reality contradicts the model after",
                *(f"  {number}. {deeds}" for number, deeds in enumerate(self.story, 1)),
                side_by_side(outlook, forecast.beliefs),
                "the last lines of the trace:",
                self.reality.last_steps(),
                "the log:",
                self.reality.instance.log[-2000:],
            ]
        )

    def converse(self):
        """Who is seated is answered, unless its server is stopped; last words are answered before the end."""
        callers = self.reality.callers
        for client in self.prediction.seated():
            callers[client].say(b"line %d\n" % len(self.story))
        deadline = time.monotonic() + self.patience
        due = {client for client in self.prediction.seated() if not self.is_held_up(client)}
        due |= {client for client in self.last_words if self.prediction.fates(client) == {Fate.LEFT}}
        while due := {client for client in due if not callers[client].is_answered()}:
            unheard = {client: (callers[client].said, callers[client].echoed) for client in due}
            assert time.monotonic() < deadline, f"said and echoed, by client: {unheard}\nafter {self.story}"

    def is_held_up(self, client):
        """Whether the client's server is stopped."""
        line = dict(self.prediction.outlook(self.prediction.beliefs[0]).lines)[f"client {client}"]
        return any(line == f"served by place {place}" for place in self.prediction.stopped)

    def shown_by_command(self):
        """`maitred status --json` shows it too."""
        if not self.prediction.ended():
            self.agree(self.prediction.predict(()))
            said = self.reality.outlook(self.reality.instance.status_by_command())
            assert said in self.prediction.forecast.beliefs, side_by_side(said, self.prediction.forecast.beliefs)


def play(script, directory, tally, patience=PATIENCE):
    """Play it to the end; the instance is ended and looked over, and its trace is replayed.

    Raises:
        Contradiction: reality and the model disagree.
        AssertionError: something was left over, or the trace is not one of these machines.
    """
    prediction = Prediction(script.bounds, script.children)
    with Reality(directory, script.bounds, script.children) as reality:
        Play(prediction, reality, tally, patience).run(script.bursts)


# ================================================================ scripts by hand

C, C2, DIES = ("connect", 0), ("connect", 1), ("kill distributor", 0)

CRASHES = script(C, C, C, ("kill server", 0), DIES, (C, C), (DIES, C), (("kill server", 1), DIES), servers=2)
ELEMENTS = script(
    *(C, C, ("element down", 0), C, ("element up", 0), ("element down", 1), ("element down", 0), C, ("element up", 1)),
    **{"servers": 2, "elements": 2, "max_clients": 2},
)
COMES_AND_GOES = script(C, C, C, ("leave", 0), ("leave", 0), ("leave", 0), dynamic=1, servers=1)
STANDSTILL = script(
    *(("stop server", 0), C, C, C, DIES, ("leave", 1), C, ("continue server", 0), ("shut down", 0)),
    *(("leave", 0), ("leave", 0), ("leave", 0)),
    **{"servers": 2, "max_clients": 2},
)
SENT_AND_LOST = script(("stop server", 0), C, DIES, C, ("kill server", 0), C, servers=2)
LAST_WORDS = script(
    *(C, C2, C, C2, ("half-close", 3), ("hang up", 2), ("leave", 1), ("kill server", 0)),
    *((C, C), ("shut down", 0), ("shut down", 0)),
    **{"servers": 1, "ports": 2, "waiting_limit": 3, "children": True},
)

# ================================================================ the tests

SETTINGS = settings(
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # each step of shrinking would take seconds
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(900)
def test_reality_is_as_the_model_predicts(tmp_path, capsys):
    tally, directories = Tally(), (tmp_path / str(i) for i in itertools.count())

    @settings(SETTINGS, max_examples=5, derandomize=True)
    @example(CRASHES)
    @example(ELEMENTS)
    @example(COMES_AND_GOES)
    @example(STANDSTILL)
    @example(SENT_AND_LOST)
    @example(LAST_WORDS)
    @given(scripts())
    def agrees(script):
        play(script, next(directories), tally)

    agrees()

    with capsys.disabled():
        print(f"\n{tally}")
    deeds = (Connect, Leave, KillServer, KillDistributor, StopServer, ContinueServer, Element, Shutdown)
    assert {deed.__name__ for deed in deeds} == set(tally.deeds), "every kind of deed was done"
    fates = {Fate.IN, Fate.LEFT, Fate.DROPPED, Fate.STOPPED, Fate.LOST_SERVED, Fate.LOST_SENT}
    assert fates <= set(tally.fates), "clients ended in many ways"
    assert tally.forecasts[1] > 0.7 * tally.forecasts.total(), "mostly, a single outlook was predicted"
    assert tally.cut < 0.1 * tally.forecasts.total(), "most bursts were followed to their end"
    assert tally.waited > 10, "there were not always seats"


@pytest.mark.campaign
def test_reality_is_as_the_model_predicts_at_length(tmp_path, capsys):
    tally, directories = Tally(), (tmp_path / str(i) for i in itertools.count())
    deadline = time.monotonic() + CAMPAIGN_SECONDS
    for number in itertools.count(SEED):

        @seed(number)
        @settings(SETTINGS, max_examples=10, phases=(Phase.generate, Phase.shrink))
        @given(scripts())
        def agrees(script):
            if time.monotonic() < deadline:
                play(script, next(directories), tally)

        agrees()
        if time.monotonic() > deadline:
            break
    with capsys.disabled():
        print(f"\n{tally}")


# ================================================================ a bent prediction is contradicted

BENDS = {}


def bend(script, line):
    """Register: what to play, and the line in which reality must differ from the bent prediction at the end."""

    def register(function):
        BENDS[function.__name__] = (function, script, line)
        return function

    return register


@bend(script(C, C, servers=2, max_clients=2), "client 1 ")
def the_busiest_is_chosen(monkeypatch):
    def before(mine, other):
        busy, busier = mine.load * other.weight, other.load * mine.weight
        return busy > busier if busy != busier else mine.rank < other.rank

    monkeypatch.setattr(Seat, "__lt__", before)


@bend(script(C, C, C, ("leave", 0), servers=1), "client 1 ")
def the_last_to_come_is_first_served(monkeypatch):
    def next_to_seat(work):
        return max((c for info in work.state.ports.values() if info.free for c in info.waiting), default=None)

    monkeypatch.setattr(distributor._Work, "next_to_seat", next_to_seat)


@bend(script(C, C, DIES, servers=1), "waiting ")
def who_waited_is_forgotten_when_the_distributor_dies(monkeypatch):
    monkeypatch.setitem(distributor._ACTIONS, Restore, lambda work, event: None)


@bend(script(C, C, ("half-close", 1), servers=1), "client 1 ")
def last_words_are_taken_for_a_hang_up(monkeypatch):
    honest = distributor.guard

    def guard(state, event):
        closed = isinstance(event, distributor.PeerClosed) and event.unread
        return None if closed and distributor._waits(state, event.client) else honest(state, event)

    monkeypatch.setattr(distributor, "guard", guard)


@bend(script(C, ("stop server", 0), C, C, DIES, servers=2), "place 0 ")
def a_new_distributor_trusts_servers_that_have_not_answered(monkeypatch):
    honest = distributor._adopt

    def adopt(work, event):
        honest(work, event)
        ready = Tree.of((port, distributor.Dialog(distributor.DialogPhase.READY)) for port in event.dialogs)
        status = work.state.servers[event.server]
        work.update(replace(status, dialogs=ready, owed=Tree()), status)

    monkeypatch.setitem(distributor._ACTIONS, Adopt, adopt)


@pytest.mark.parametrize("name", BENDS)
def test_a_bent_prediction_is_contradicted(name, monkeypatch, tmp_path):
    """The model alone is bent, as the real processes import the core afresh; it is the bend that is contradicted."""
    function, script, line = BENDS[name]
    function(monkeypatch)
    with pytest.raises(Contradiction) as raised:
        play(script, tmp_path / "bent", Tally(), patience=3)
    monkeypatch.undo()

    report = str(raised.value)
    assert f"  {len(script.bursts)}. " in report, "it is the last burst that shows the difference"
    assert f"! {line}" in report
    assert raised.value.seen == predicted(script)


def predicted(script):
    """The outlook at the end of a script that leaves no freedom, by the model alone."""
    prediction = Prediction(script.bounds, script.children)
    for burst in script.bursts:
        (outlook,) = prediction.predict(deeds_of(burst, prediction)).beliefs
        prediction.accept(outlook)
    return outlook
