"""What no other test of the core noticed: each was found by a mutant that survived."""

import pytest
from tests.core.driving import Machine

from maitred.core import distributor, monitor, tree
from maitred.core.distributor import (
    BacklogEmpty,
    ConnectionRequest,
    ControlEnded,
    CreateDelay,
    Listening,
    Received,
    SetTimer,
    Tell,
)
from maitred.core.messages import (
    Adopt,
    Begin,
    Close,
    Count,
    Drained,
    KeepDialog,
    NotReady,
    RestartReply,
    ServerReady,
)
from maitred.core.monitor import (
    CRASH_LOOP,
    ClassConfig,
    Complaint,
    Fired,
    Report,
    RestartServer,
    ServerExited,
    ServerGone,
    Started,
    Told,
)
from maitred.core.tree import Tree

PORT, OTHER = 4049, 6157
ADDRESS, OTHER_ADDRESS = "0.0.0.0:4049", "0.0.0.0:6157"


def restarted(*adoptions, dynamic=0):
    """A second Distributor of two ports, which listens on both and has adopted these servers."""
    listeners = ((PORT, ADDRESS), (OTHER, OTHER_ADDRESS))
    run = Machine(distributor, distributor.initial(2, dynamic, 8, listeners, True))
    run.take(*adoptions, Begin(), Listening(PORT, ADDRESS), Listening(OTHER, OTHER_ADDRESS))
    return run


def test_a_server_that_may_have_a_hand_off_unread_is_not_drained():
    """It has said on one port that it serves nobody; on the other its predecessor may have sent it a client."""
    run = restarted(Adopt(1, 2, 1, False, False, (PORT, OTHER), (PORT, OTHER)))
    run.take(Close(), BacklogEmpty(PORT), BacklogEmpty(OTHER))
    assert Tell(Drained(1)) not in run.take(Received(1, PORT, RestartReply(2, Count(0, 1))))
    assert Tell(Drained(1)) in run.take(Received(1, OTHER, NotReady(2, Count(0, 2))))


def test_the_seats_of_a_dead_dynamic_server_are_promised_no_longer():
    """Its dialog has yet to end; but whoever waits for its seats waits in vain."""
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), ()), Adopt(2, 1, 1, True, False, (PORT,), (PORT,)), dynamic=1)
    run.take(Received(1, PORT, RestartReply(2, Count(1, 1))), ConnectionRequest(PORT, 7))
    assert run.of(SetTimer) == [SetTimer(distributor.QueueTimeout(run.state.ports[PORT].waiting.first()[0]))]
    assert SetTimer(CreateDelay()) in run.take(ControlEnded(2))


def test_a_class_that_has_worked_is_never_given_up():
    """Its one server was ready once; from then on however many die before they are ready are a crash loop, no more."""
    run = Machine(monitor, monitor.initial((ClassConfig(1, 0, 1, 4, (0,)),), (1,)))
    run.take(
        Started(), Told(0, KeepDialog(1, PORT)), Told(0, ServerReady(1, PORT)), ServerExited(0, 1), ServerGone(0, 1)
    )
    for number in range(2, CRASH_LOOP + 2):
        run.take(Fired(RestartServer(0, 0, 0)), ServerExited(0, number), ServerGone(0, number))
    assert run.of(Report) == [Report(0, Complaint.CRASH_LOOP, CRASH_LOOP + 1)]
    assert run.state.phase is monitor.Phase.RUNNING
    assert run.state.failure is None


SEVEN = Tree.of((key, 0) for key in range(7))


@pytest.mark.parametrize(
    "other", [Tree(), SEVEN.remove(3), Tree.of((key + 1, 0) for key in range(7)), *(SEVEN.set(key, 1) for key in SEVEN)]
)
def test_two_trees_are_compared_without_their_digests_too(other):
    """`Tree.__eq__` looks at the digests first, so that a slip in what comes after would show in a collision only."""
    assert not tree._equal(SEVEN._root, other._root)
    assert not tree._equal(other._root, SEVEN._root)
    assert hash(SEVEN) != hash(other)


def test_two_trees_of_one_entry_each_differ_by_their_keys():
    assert not tree._equal(Tree.of([(1, 0)])._root, Tree.of([(2, 0)])._root)
