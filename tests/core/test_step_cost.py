"""A step's work hardly grows with the tables: counted here, in time it is measured by `benchmarks.steps`.

Counted are the nodes of trees that a step makes, and the entries that it walks over: what a step does for each of
4,096 servers, or for each of 20,000 waiting clients, would show at once.
"""

import pytest
from tests.core.driving import ADDRESS, PORT, client

from maitred.core import distributor, monitor, tree
from maitred.core.distributor import (
    BacklogEmpty,
    ConnectionRequest,
    Fired,
    Listening,
    PeerClosed,
    QueueTimeout,
    Received,
)
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    Close,
    Closed,
    Count,
    Disconnect,
    KeepDialog,
    Release,
    RestartReply,
    ServerReady,
    Store,
)
from maitred.core.transition import Transition

pytestmark = pytest.mark.slow

FEW, MANY = 4, 4_096
CROWD = 20_000
TIMES = 3
"""The required bound: a step at many costs at most so many times a step at few."""
SPARE = 40
"""Nodes and entries left out of account: a path through a tree of thousands, where a tree of four is hardly deep."""


class Counter:
    """How much work the last steps were."""

    def __init__(self):
        self.work = 0

    def of(self, step, state, events):
        """The state after the events, and the work of each of them."""
        costs = []
        for event in events:
            self.work = 0
            outcome = step(state, event)
            assert isinstance(outcome, Transition), outcome
            state = outcome.state
            costs.append(self.work)
        return state, costs


@pytest.fixture
def counter(monkeypatch):
    found = Counter()
    make, walk = tree._Node.__init__, tree._walk

    def counted_make(*arguments):
        found.work += 1
        make(*arguments)

    def counted_walk(node):
        for entry in walk(node):
            found.work += 1
            yield entry

    monkeypatch.setattr(tree._Node, "__init__", counted_make)
    monkeypatch.setattr(tree, "_walk", counted_walk)
    return found


def after(step, state, events):
    for event in events:
        outcome = step(state, event)
        assert isinstance(outcome, Transition), outcome
        state = outcome.state
    return state


def check(few, many):
    """Event by event, the work at many against that at few."""
    assert len(few) == len(many)
    for at, (small, large) in enumerate(zip(few, many, strict=True)):
        assert small > 0, "nothing is counted"
        assert large <= TIMES * small + SPARE, f"event {at}: {small} at few, {large} at many"


# ================================================================ the Distributor


def seated(servers, most):
    """A Distributor with so many servers that are ready, of which each but the last has one client."""
    events = [Begin(), Listening(PORT, ADDRESS)]
    for server in range(1, servers + 1):
        events.append(Adopt(server, most, 1, False, False, (PORT,), (PORT,)))
        events.append(Received(server, PORT, RestartReply(1, Count(int(server < servers), 1))))
    return after(distributor.step, distributor.initial(1, 0, 2 * CROWD, ((PORT, ADDRESS),), True), events)


def test_seating_a_client_costs_as_much_among_many_servers(counter):
    costs = []
    for servers in (FEW, MANY):
        who = distributor.Client(0, 7, PORT)
        events = [
            ConnectionRequest(PORT, 7),
            Received(servers, PORT, Accepted(who, Count(1, 2))),
            Received(servers, PORT, Disconnect(who, Count(0, 3))),
        ]
        costs.append(counter.of(distributor.step, seated(servers, 2), events)[1])
    check(*costs)


def test_a_client_that_leaves_while_closing_costs_as_much_among_many_servers(counter):
    costs = []
    for servers in (FEW, MANY):
        state = after(distributor.step, seated(servers, 2), [Close(), BacklogEmpty(PORT)])
        leaves = [Received(1, PORT, Disconnect(client(1), Count(0, 2)))]
        costs.append(counter.of(distributor.step, state, leaves)[1])
    check(*costs)


def test_waiting_costs_as_much_among_many_who_wait(counter):
    costs = []
    for waiting in (0, CROWD):
        state = seated(1, 1)
        state = after(distributor.step, state, [Received(1, PORT, Disconnect(client(0), Count(1, 5)))])
        state = after(distributor.step, state, [ConnectionRequest(PORT, n) for n in range(waiting)])
        last = waiting + 1
        who = [distributor.Client(waiting, last, PORT), distributor.Client(waiting + 1, last, PORT)]
        eldest = distributor.Client(0, 0, PORT) if waiting else distributor.Client(2, last, PORT)
        events = [
            ConnectionRequest(PORT, last),
            PeerClosed(who[0], True, False),
            ConnectionRequest(PORT, last),
            Fired(QueueTimeout(who[1])),
            ConnectionRequest(PORT, last),
            Received(1, PORT, Disconnect(client(0), Count(0, 6))),
            Received(1, PORT, Accepted(eldest, Count(1, 7))),
        ]
        costs.append(counter.of(distributor.step, state, events)[1])
    check(*costs)


# ================================================================ the Monitor


def watched(servers):
    config = monitor.ClassConfig(servers, 0, 64, 2 * CROWD, (0, 1), ((PORT, ADDRESS),), True)
    events = [monitor.Started()]
    for server in range(1, servers + 1):
        events += [monitor.Reported(0, KeepDialog(server, PORT)), monitor.Reported(0, ServerReady(server, PORT))]
    return after(monitor.step, monitor.initial((config,), (1, 1)), events)


def test_replacing_a_server_costs_as_much_among_many_servers(counter):
    costs = []
    for servers in (FEW, MANY):
        events = [
            monitor.ServerExited(0, 2),
            monitor.ServerGone(0, 2),
            monitor.Fired(monitor.RestartServer(0, 1, 0)),
            monitor.Reported(0, KeepDialog(servers + 1, PORT)),
            monitor.Reported(0, ServerReady(servers + 1, PORT)),
            monitor.Fired(monitor.ServerStable(0, servers + 1)),
        ]
        costs.append(counter.of(monitor.step, watched(servers), events)[1])
    check(*costs)


def test_the_last_servers_to_go_cost_as_much_among_many_servers(counter):
    costs = []
    for servers in (FEW, MANY):
        events = [monitor.StopRequested(), monitor.Reported(0, Closed()), monitor.DistributorExited(0)]
        for server in range(1, servers - 1):
            events += [monitor.ServerExited(0, server), monitor.ServerGone(0, server)]
        last = [monitor.ServerExited(0, servers - 1), monitor.ServerGone(0, servers - 1)]
        costs.append(counter.of(monitor.step, after(monitor.step, watched(servers), events), last)[1])
    check(*costs)


def test_storing_a_client_costs_as_much_among_many_who_are_stored(counter):
    costs = []
    for stored in (0, CROWD):
        state = after(monitor.step, watched(1), [monitor.Reported(0, Store(client(n))) for n in range(stored)])
        events = [monitor.Reported(0, Store(client(stored))), monitor.Reported(0, Release(client(stored // 2)))]
        costs.append(counter.of(monitor.step, state, events)[1])
    check(*costs)
