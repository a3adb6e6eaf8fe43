"""The forecasts themselves, without any process: what they promise, and that cutting the search short loses nothing."""

import pytest
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

from maitred.model.world import Bounds, Fate

pytestmark = pytest.mark.properties


def settled(prediction, *bursts):
    """Each burst leads to a single outlook, which is accepted; the lines of the last."""
    for burst in bursts:
        (outlook,) = prediction.predict(burst).beliefs
        prediction.accept(outlook)
    return dict(outlook.lines)


def test_each_server_has_its_client_and_who_comes_then_waits():
    lines = settled(Prediction(Bounds(servers=2, clients=3)), *[(Connect(1),)] * 3)

    assert [lines[f"place {place}"] for place in (0, 1)] == ["static full, 1 clients, on element 0"] * 2
    assert [lines[f"client {client}"] for client in (0, 1)] == ["served by place 0", "served by place 1"]
    assert lines["client 2"] == "not served yet"
    assert lines["waiting"] == "port 1"
    assert lines["processes"] == "4", "the Monitor, the Distributor and two servers"


def test_a_stopped_server_is_busy_until_it_is_continued():
    prediction = Prediction(Bounds(servers=1, clients=2))

    lines = settled(prediction, (StopServer(0),), (Connect(1),))
    assert lines["place 0"] == "static busy, 0 clients, on element 0"
    assert lines["client 0"] == "not served yet"

    assert settled(prediction, (ContinueServer(0),))["client 0"] == "served by place 0"


def test_two_who_come_at_once_may_be_seated_either_way_where_ports_differ():
    forecast = Prediction(Bounds(servers=2, ports=2, clients=2)).predict((Connect(1), Connect(2)))

    seats = {tuple(text for name, text in outlook.lines if name.startswith("client")) for outlook in forecast.beliefs}
    assert seats == {("served by place 0", "served by place 1"), ("served by place 1", "served by place 0")}


def test_a_distributor_that_dies_with_a_client_in_hand_may_lose_that_one_only():
    prediction = Prediction(Bounds(servers=1, clients=2))
    forecast = prediction.predict((Connect(1), Connect(1), KillDistributor()))

    fates = {
        tuple(guest.fate for guest in belief.world.guests) for found in forecast.beliefs.values() for belief in found
    }
    assert fates == {(Fate.IN, Fate.IN), (Fate.LOST_ALONE, Fate.IN), (Fate.IN, Fate.LOST_ALONE)}


def test_a_new_distributor_is_sent_the_servers_in_the_order_of_their_places():
    prediction = Prediction(Bounds(servers=2, clients=1))
    lines = settled(prediction, (KillServer(0),), (KillDistributor(),), (Connect(1),))

    assert lines["client 0"] == "served by place 0", "the younger server, whose place is the first"


BURSTS = {
    "a server and the Distributor": (KillServer(0), KillDistributor()),
    "a client comes and its server dies": (Connect(1), KillServer(0)),
    "one leaves, one comes, the Distributor dies": (Leave(0), Connect(1), KillDistributor()),
    "a processing element": (Element(0, up=False), Connect(1)),
    "a stop": (Leave(0), Shutdown()),
}


@pytest.mark.parametrize("burst", BURSTS.values(), ids=BURSTS)
def test_cutting_the_search_short_loses_no_outlook(burst, monkeypatch):
    """Beside a search in which no step is taken at once; and timers that end at any moment only add outlooks."""
    prediction = Prediction(Bounds(servers=1, clients=3))
    settled(prediction, (Connect(1),), (Connect(1),))
    begin = prediction.beliefs
    narrow = prediction.predict(burst)
    wide = prediction.widen()

    monkeypatch.setattr("tests.system.prediction.is_note", lambda action: False)
    monkeypatch.setattr(Prediction, "_is_private", lambda self, action, belief: False)
    prediction.beliefs = begin
    full = prediction.predict(burst)

    assert full.worlds >= narrow.worlds
    assert set(full.beliefs) == set(narrow.beliefs)
    assert set(wide.beliefs) >= set(narrow.beliefs)


def test_a_burst_that_is_too_wide_is_declined_and_changes_nothing(monkeypatch):
    prediction = Prediction(Bounds(servers=1, clients=1))
    monkeypatch.setattr("tests.system.prediction.WIDE", 3)

    with pytest.raises(TooWide, match="Connect"):
        prediction.predict((Connect(1), Leave(0)))

    assert not prediction.departed
    assert not prediction.present()


def test_what_differs_is_marked():
    prediction = Prediction(Bounds(servers=1, clients=1))
    (ready,) = prediction.forecast.beliefs
    (served,) = prediction.predict((Connect(1),)).beliefs

    report = side_by_side(served, [ready])

    marked = {line.split()[1] for line in report.splitlines() if line.startswith("! ")}
    assert marked == {"place", "client"}
