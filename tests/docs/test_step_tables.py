"""The tables atop the machines are what the machines do, and each reason for a rejection is true where it is given."""

from itertools import chain
from pathlib import Path

import pytest
from docs import step_tables

from maitred.core import distributor, monitor, server
from maitred.core.transition import Reason, Rejected

D, M = distributor, monitor


@pytest.fixture(scope="module", params=step_tables.MACHINES)
def walked(request):
    """Of each machine: the cells of its table, and for each rejection in each phase, some states and events."""
    rejections = {}
    walks = step_tables.walks

    def seen_by(see):
        def look(state, event, outcome):
            see(state, event, outcome)
            if isinstance(outcome, Rejected):
                cell = step_tables.named(event), *step_tables.phases(request.param, state, event), outcome.reason
                rejections.setdefault(cell, []).append((state, event))

        return look

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_tables, "walks", lambda who, see: walks(who, seen_by(see)))
        return request.param, step_tables.cells(request.param), rejections


def test_the_table_atop_the_machine_is_not_stale(walked, monkeypatch):
    who, cells, _ = walked
    monkeypatch.setattr(step_tables, "MACHINES", {who: step_tables.MACHINES[who]})
    monkeypatch.setattr(step_tables, "cells", lambda who: cells)
    assert step_tables.main(["--check"]) == 0


def test_a_stale_table_is_seen_and_mended(tmp_path, monkeypatch, capsys):
    path = tmp_path / "server.py"
    text = Path(server.__file__).read_text()
    path.write_text(text.replace("1 NOT_BOUND\n", "1 NOT_NEXT\n", 1))
    cells = step_tables.cells("server")
    monkeypatch.setattr(step_tables, "MACHINES", {"server": server})
    monkeypatch.setattr(step_tables, "cells", lambda who: cells)
    monkeypatch.setattr(server, "__file__", str(path))
    assert step_tables.main(["--check"]) == 1
    assert capsys.readouterr().err == "stale: server.py; run: python -m docs.step_tables\n"
    step_tables.main([])
    assert path.read_text() == text


def test_a_table_fits_on_a_screen(walked):
    who, cells, _ = walked
    lines = step_tables.table(who, cells).splitlines()
    assert len(lines) <= 44 and max(map(len, lines)) <= 120


# ================================================================ the text of a reason


def row(state, event):
    """The server that the event or its timer is about, in the Distributor's table."""
    return state.servers.get(getattr(event, "timer", event).server, None)


def waiting(state):
    return set(chain.from_iterable(info.waiting for info in state.ports.values()))


def about(event):
    """The client that the event, its message or its timer is about."""
    return next(part.client for part in (event, *inner(event)) if hasattr(part, "client"))


def inner(event):
    return [getattr(event, name) for name in ("message", "timer") if hasattr(event, name)]


def awaited(state, event):
    """Whether the Distributor or the Monitor waits for the timer."""
    timer = event.timer
    match timer:
        case D.CreateDelay():
            return state.creation is D.Creation.DELAYED
        case D.AcceptRetry():
            return timer.port in state.ports and state.ports[timer.port].pausing
    cls = state.classes[timer.class_id]
    up = {place.server: place for place in cls.places.values() if place.alive}
    match timer:
        case M.RestartServer():
            place = cls.places.get(timer.place, None)
            wanted = place is not None and place.retirement is M.Retirement.NONE
            return state.phase is M.Phase.RUNNING and wanted and not place.alive
        case M.DynamicRest():
            return cls.dynamic_resting
        case M.RestartDistributor():
            running = state.phase in (M.Phase.RUNNING, M.Phase.CLOSING)
            return running and cls.distributor.phase is M.DistributorPhase.DOWN
        case M.DistributorStable():
            lives = cls.distributor.phase is M.DistributorPhase.RUNNING and cls.distributor.deaths > 0
            return lives and cls.distributor.incarnation == timer.incarnation
        case M.ServerStable():
            return up[timer.server].phase is M.PlacePhase.READY and up[timer.server].deaths > 0
        case M.StartWarning():
            return up[timer.server].phase is M.PlacePhase.STARTING
        case M.KillDelay():
            return up[timer.server].phase is M.PlacePhase.STOPPING
        case M.DrainOver():
            return up[timer.server].limited and up[timer.server].active


def runs(state, event):
    """Whether the process runs that the Monitor's event is about."""
    cls = state.classes[getattr(event, "timer", event).class_id]
    if isinstance(event, M.Reported | M.DistributorExited):
        return cls.distributor.phase in (M.DistributorPhase.RUNNING, M.DistributorPhase.DONE)
    return getattr(event, "timer", event).server in cls.living


def known_client(state, event):
    clients = state.clients if isinstance(state, server.EndpointState) else state.classes[event.class_id].store
    return about(event) in clients


def known_server(state, event):
    if isinstance(state, D.DistributorState):
        return row(state, event) is not None
    return event.message.server in state.classes[event.class_id].living


def next_reply(state, event):
    port = event.reply.port if isinstance(event, server.Sent) else event.port
    return [reply for reply in state.outbox if reply.port == port][:1] == [event.reply]


def closing(state):
    return state.phase in (D.Phase.CLOSING, M.Phase.CLOSING)


def asked_for(event):
    """The places that an operator names."""
    return getattr(event, "places", None) or (getattr(event, "place", None),)


MEANS = {
    Reason.UNKNOWN_SERVER: lambda s, e: not known_server(s, e),
    Reason.UNKNOWN_PORT: lambda s, e: e.port not in s.ports,
    Reason.UNKNOWN_DIALOG: lambda s, e: e.port not in row(s, e).dialogs,
    Reason.UNKNOWN_CLIENT: lambda s, e: not known_client(s, e),
    Reason.OTHER_PORT: lambda s, e: about(e).port != e.port,
    Reason.NOT_BOUND: lambda s, e: e.port not in s.listeners,
    Reason.UNKNOWN_ADDRESS: lambda s, e: e.address not in s.ports[e.port].listeners,
    Reason.ALREADY_LISTENING: lambda s, e: s.ports[e.port].listeners[e.address],
    Reason.DUPLICATE_SERVER: lambda s, e: e.server in s.servers,
    Reason.DUPLICATE_CLIENT: lambda s, e: about(e) in waiting(s) if isinstance(e, D.Restore) else known_client(s, e),
    Reason.NOT_BEGUN: lambda s, e: s.phase is D.Phase.INITIALISING,
    Reason.ALREADY_BEGUN: lambda s, e: s.phase in (D.Phase.OPERATING, D.Phase.CLOSING, D.Phase.CLOSED),
    Reason.NOT_STARTED: lambda s, e: s.phase is M.Phase.NEW,
    Reason.ALREADY_STARTED: lambda s, e: isinstance(s, M.MonitorState) and s.phase is not M.Phase.NEW,
    Reason.ENDED: lambda s, e: s.phase is M.Phase.ENDED,
    Reason.NOT_ACCEPTING: lambda s, e: not s.ports[e.port].accepting,
    Reason.NOT_WAITING: lambda s, e: about(e) not in waiting(s),
    Reason.NOT_HANG_UP: lambda s, e: e.unread and not e.reset,
    Reason.NOT_OUTSTANDING: lambda s, e: row(s, e).request is None,
    Reason.NOT_THIS_REQUEST: lambda s, e: row(s, e).request != e.client,
    Reason.NOT_SPARE: lambda s, e: not ((r := row(s, e)).dynamic and r.heard and r.idle) or r.draining,
    Reason.NOT_REQUESTED: lambda s, e: s.creation is not D.Creation.REQUESTED,
    Reason.NOT_SERVING: lambda s, e: row(s, e).count.clients == 0,
    Reason.NOT_RESTING: lambda s, e: not row(s, e).resting,
    Reason.NOT_CLOSING: lambda s, e: not closing(s),
    Reason.ALREADY_CLOSING: lambda s, e: s.phase in (D.Phase.CLOSING, D.Phase.CLOSED),
    Reason.CLOSED: lambda s, e: s.phase is D.Phase.CLOSED,
    Reason.NO_DIALOG: lambda s, e: all(d.phase is D.DialogPhase.BINDING for d in row(s, e).dialogs.values()),
    Reason.NOT_DELIVERED: lambda s, e: any(e.client == getattr(r.message, "client", None) for r in s.outbox),
    Reason.NOT_NEXT: lambda s, e: not next_reply(s, e),
    Reason.TIMER_IS_STALE: lambda s, e: not awaited(s, e),
    Reason.NO_SUCH_PROCESS: lambda s, e: not runs(s, e),
    Reason.UNKNOWN_ELEMENT: lambda s, e: e.element not in s.elements,
    Reason.SAME_ELEMENT_STATE: lambda s, e: s.elements[e.element].up is isinstance(e, M.ElementRestored),
    Reason.UNKNOWN_PLACE: lambda s, e: any(place not in s.classes[0].places for place in asked_for(e)),
    Reason.NOT_RUNNING: lambda s, e: s.phase is not M.Phase.RUNNING,
    Reason.REPLACING: lambda s, e: s.classes[0].replacement is not None,
    Reason.NO_STATIC_SERVER: lambda s, e: e.static < 1 or e.dynamic < 0,
    Reason.UNKNOWN_CLASS: lambda s, e: getattr(e, "timer", e).class_id not in s.classes,
}
"""Of each reason, whether its text is true, found otherwise than in the guard that gives it."""


def test_a_reason_is_true_of_each_rejection_of_each_event_in_each_phase(walked):
    _, cells, rejections = walked
    shown = {(event, phase, r) for event, row in cells.items() for phase, seen in row.items() for r in seen}
    assert {cell for cell in shown if isinstance(cell[-1], Reason)} == {*rejections}
    false = {cell for cell, given in rejections.items() if not all(MEANS[cell[-1]](*each) for each in given)}
    assert false == set()


def test_every_reason_is_in_a_table():
    shown = {
        reason for module in step_tables.MACHINES.values() for reason in Reason if f" {reason.name}" in module.__doc__
    }
    assert shown == {*Reason} - {Reason.UNKNOWN_CLASS}  # as a note of the Monitor's table explains


def test_every_reason_has_its_meaning():
    assert MEANS.keys() == set(Reason)
