"""The Application Server's endpoint: each of its numbered rules, each refusal, and any sequence of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.driving import OTHER, PORT, Machine, client, kinds_within, parts, values

from maitred.core import invariants, server
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Count,
    Disconnect,
    HandOff,
    InitialMsg,
    NotReady,
    Refused,
    RestartReply,
)
from maitred.core.server import (
    Acknowledged,
    Bound,
    Deliver,
    Discard,
    Disconnected,
    EndpointState,
    Interrupted,
    Listened,
    ListenerClosed,
    MessageRead,
    Reply,
    Sent,
    VirtualListener,
)
from maitred.core.transition import Reason


class Sending(Machine):
    """A server whose dialogs have room: what a step issues is sent at once."""

    def take(self, *events):
        """Let the events happen; the replies that are sent and the effects, in order."""
        happened = []
        for event in events:
            happened += super().take(event)
            while self.state.outbox:
                reply = self.state.outbox[0]
                happened += [reply, *super().take(Sent(reply))]
        return happened


def fresh():
    """A server whose program has done nothing yet."""
    return Sending(server, EndpointState())


def silent(*events):
    """A server whose program listens and to which the events have happened, and that has sent nothing since."""
    run = Machine(server, listening(PORT, OTHER).state)
    run.take(*events)
    return run


def listening(*ports):
    """A server whose program listens on the ports, asked by nobody yet."""
    run = fresh()
    for port in ports or (PORT,):
        run.take(Bound(port), Listened(port))
    return run


def offered(arrival, port=PORT, intact=True):
    return MessageRead(port, HandOff(client(arrival, port)), intact)


def asked(incarnation, port=PORT, forget=()):
    return MessageRead(port, InitialMsg(incarnation, forget))


class TestRule1AHandOffIsTakenWhereTheProgramListensAndTheDescriptorCame:
    def test_it_is_answered_before_the_program_sees_the_connection(self):
        run = listening()
        assert run.take(offered(1)) == [Reply(PORT, Accepted(client(1), Count(1, 1))), Deliver(client(1))]
        assert client(1) in run.state.clients

    def test_without_its_descriptor_it_is_refused(self):
        run = listening()
        run.take(offered(1))
        effects = run.take(offered(2, intact=False))
        assert effects == [Discard(client(2)), Reply(PORT, Refused(client(2), Count(1, 2)))]
        assert list(run.state.clients) == [client(1)]

    def test_before_the_program_listens_it_is_refused(self):
        run = fresh()
        run.take(Bound(PORT))
        assert run.take(offered(1)) == [Discard(client(1)), Reply(PORT, Refused(client(1), Count(0, 1)))]
        assert not run.state.clients

    def test_listening_on_another_port_does_not_help(self):
        run = listening(OTHER)
        run.take(Bound(PORT))
        assert run.take(offered(1))[1] == Reply(PORT, Refused(client(1), Count(0, 1)))

    def test_the_program_gets_it_once_the_answer_is_in_the_socket_and_not_before(self):
        run = silent()
        assert run.take(offered(1)) == []
        (answer,) = run.state.outbox
        assert run.declines(Disconnected(client(1))) is Reason.NOT_DELIVERED
        assert run.take(Sent(answer)) == [Deliver(client(1))]
        assert run.declines(Sent(answer)) is Reason.NOT_NEXT
        assert run.state.outbox == () and run.take(Disconnected(client(1))) == []

    def test_of_what_is_to_be_sent_on_a_dialog_the_oldest_goes_first(self):
        run = silent(offered(1), offered(2), offered(3, OTHER))
        first, second, other = run.state.outbox
        assert run.declines(Sent(second)) is Reason.NOT_NEXT
        assert run.take(Sent(other), Sent(first), Sent(second)) == [
            Deliver(client(3, OTHER)),
            Deliver(client(1)),
            Deliver(client(2)),
        ]


class TestRule2CountsAreAbsoluteAndTheirSequenceNumbersRise:
    def test_every_answer_carries_the_number_of_clients(self):
        run = listening(PORT, OTHER)
        answers = run.take(
            offered(1), offered(2, OTHER), asked(1), Disconnected(client(1)), offered(3, intact=False), asked(1, OTHER)
        )
        counts = [effect.message.count for effect in answers if isinstance(effect, Reply)]
        assert [count.clients for count in counts] == [1, 2, 2, 1, 1, 1]
        assert [count.sequence for count in counts] == [1, 2, 3, 4, 5, 6]


class TestRule3AClientIsCountedUntilItsConnectionIsGone:
    def test_until_its_last_reference_is_closed(self):
        run = listening()
        run.take(offered(1), offered(2))
        assert run.take(Disconnected(client(1))) == [Reply(PORT, Disconnect(client(1), Count(1, 3)))]
        assert list(run.state.clients) == [client(2)]

    def test_the_disconnect_goes_on_the_dialog_of_the_port_it_came_by(self):
        run = listening(PORT, OTHER)
        run.take(offered(1, OTHER))
        assert run.take(Disconnected(client(1, OTHER)))[0].port == OTHER

    def test_or_until_the_audit_finds_that_the_kernel_has_forgotten_it(self):
        run = listening()
        run.take(offered(1), offered(2), offered(3))
        forgotten = (client(1), client(3), client(9))
        assert run.take(asked(1, forget=forgotten)) == [Reply(PORT, RestartReply(1, Count(1, 4)))]
        assert run.declines(Disconnected(client(1))) is Reason.UNKNOWN_CLIENT

    def test_a_server_that_no_longer_listens_still_counts_its_clients(self):
        run = listening()
        run.take(offered(1), ListenerClosed(PORT))
        assert run.take(Disconnected(client(1))) == [Reply(PORT, Disconnect(client(1), Count(0, 3)))]


class TestRule4InitialMsgIsAnsweredReadyWhileTheProgramListens:
    def test_ready_at_once_where_it_listens(self):
        run = listening()
        assert run.take(asked(7)) == [Reply(PORT, RestartReply(7, Count(0, 1)))]

    def test_else_not_ready_and_ready_once_it_listens(self):
        run = fresh()
        run.take(Bound(PORT))
        assert run.take(asked(7)) == [Reply(PORT, NotReady(7, Count(0, 1)))]
        assert run.take(Listened(PORT)) == [Reply(PORT, RestartReply(7, Count(0, 2)))]

    def test_the_last_who_asked_is_the_one_who_is_answered(self):
        run = fresh()
        run.take(Bound(PORT), asked(1), asked(2))
        assert run.take(Listened(PORT)) == [Reply(PORT, RestartReply(2, Count(0, 3)))]

    def test_who_has_been_answered_is_not_answered_again(self):
        run = fresh()
        run.take(Bound(PORT), asked(1), Listened(PORT))
        assert run.take(Listened(PORT)) == []

    def test_nobody_asked_nobody_is_answered(self):
        run = fresh()
        assert run.take(Bound(PORT), Listened(PORT)) == []

    def test_a_second_bind_leaves_the_listener_as_it_is(self):
        run = listening()
        assert run.take(Bound(PORT)) == []
        assert run.state.listeners[PORT] == VirtualListener(listening=True)


class TestRule5AListenerThatClosesSaysNotReady:
    def test_unasked_and_then_refuses_what_is_still_read(self):
        run = listening()
        run.take(offered(1))
        assert run.take(ListenerClosed(PORT)) == [Reply(PORT, NotReady(0, Count(1, 2)))]
        assert run.take(offered(2)) == [Discard(client(2)), Reply(PORT, Refused(client(2), Count(1, 3)))]

    def test_opened_again_it_is_ready_when_the_distributor_asks_again(self):
        run = listening()
        run.take(ListenerClosed(PORT), asked(3))
        assert run.take(Listened(PORT)) == [Reply(PORT, RestartReply(3, Count(0, 3)))]
        assert run.take(offered(1))[1] == Deliver(client(1))

    def test_the_other_port_is_not_touched(self):
        run = listening(PORT, OTHER)
        run.take(ListenerClosed(PORT))
        assert run.take(offered(1, OTHER))[1] == Deliver(client(1, OTHER))


def messages(run):
    return [reply.message for reply in run.state.outbox]


class TestRule6WhatIsOutOfDateIsNotSent:
    def test_of_those_who_leave_the_last_one_is_named(self):
        run = listening()
        run.take(offered(1), offered(2))
        run = Machine(server, run.state)
        run.take(Disconnected(client(1)), Disconnected(client(2)))
        assert messages(run) == [Disconnect(client(2), Count(0, 4))]

    def test_of_two_ports_one_each(self):
        run = listening(PORT, OTHER)
        run.take(offered(1), offered(2, OTHER))
        run = Machine(server, run.state)
        run.take(Disconnected(client(1)), Disconnected(client(2, OTHER)))
        assert messages(run) == [Disconnect(client(1), Count(1, 3)), Disconnect(client(2, OTHER), Count(0, 4))]

    def test_that_it_listens_makes_out_of_date_that_it_does_not(self):
        run = silent(ListenerClosed(PORT), asked(5), Listened(PORT))
        assert messages(run) == [RestartReply(5, Count(0, 3))]

    def test_an_answer_to_a_hand_off_never_is(self):
        run = silent(offered(1), offered(2, intact=False), ListenerClosed(PORT), offered(3))
        kinds = [type(message) for message in messages(run)]
        assert kinds == [Accepted, Refused, NotReady, Refused]


class TestRule7WhoDiesInTheMidstLeavesNoHandOffAnsweredTwice:
    def interrupted(self, *events):
        """A server of which a process has died while it was sending what the events have brought about."""
        run = silent(*events)
        reply = run.state.outbox[0]
        assert run.take(Interrupted(reply.port, reply)) == []
        return run

    def test_whom_it_had_taken_is_refused(self):
        run = self.interrupted(offered(1))
        assert messages(run) == [Refused(client(1), Count(0, 2))]
        assert client(1) not in run.state.clients

    def test_also_where_it_had_something_else_to_send_first(self):
        run = listening()
        run.take(offered(1))
        run = Machine(server, run.state)
        run.take(Disconnected(client(1)), offered(2))
        leaves, _ = run.state.outbox
        run.take(Interrupted(PORT, leaves))
        assert messages(run) == [Refused(client(2), Count(0, 4)), Disconnect(client(1), Count(0, 5))]

    def test_whom_it_was_refusing_is_not_refused_again(self):
        run = self.interrupted(offered(1, intact=False))
        assert messages(run) == [NotReady(0, Count(0, 2))]

    @pytest.mark.parametrize(
        ("events", "again"),
        [
            ((asked(3),), RestartReply(3, Count(0, 2))),
            ((ListenerClosed(PORT),), NotReady(0, Count(0, 2))),
        ],
    )
    def test_anything_else_is_sent_again_with_a_new_count(self, events, again):
        assert messages(self.interrupted(*events)) == [again]

    def test_that_somebody_left_is_sent_again(self):
        run = listening()
        run.take(offered(1))
        run = Machine(server, run.state)
        run.take(Disconnected(client(1)))
        (reply,) = run.state.outbox
        run.take(Interrupted(PORT, reply))
        assert messages(run) == [Disconnect(client(1), Count(0, 3))]

    def test_where_nobody_knows_what_was_read_the_distributor_is_made_to_ask(self):
        run = silent(Interrupted(PORT, None))
        assert messages(run) == [NotReady(0, Count(0, 1))]

    def test_only_what_was_next_can_have_been_in_flight(self):
        run = silent(offered(1), offered(2))
        assert run.declines(Interrupted(PORT, run.state.outbox[1])) is Reason.NOT_NEXT


def test_an_acknowledgement_is_received_and_discarded():
    run = listening()
    run.take(offered(1), Disconnected(client(1)))
    before = run.state
    assert run.take(Acknowledged(Acknowledge(2))) == []
    assert run.state == before


REFUSALS = [
    (fresh, Listened(PORT), Reason.NOT_BOUND),
    (fresh, ListenerClosed(PORT), Reason.NOT_BOUND),
    (fresh, asked(1), Reason.NOT_BOUND),
    (listening, offered(1, OTHER), Reason.NOT_BOUND),
    (listening, MessageRead(PORT, HandOff(client(1, OTHER))), Reason.OTHER_PORT),
    (listening, Disconnected(client(1)), Reason.UNKNOWN_CLIENT),
    (lambda: silent(offered(1)), Disconnected(client(1)), Reason.NOT_DELIVERED),
    (fresh, Interrupted(PORT, None), Reason.NOT_BOUND),
    (listening, Sent(Reply(PORT, NotReady(0, Count(0, 1)))), Reason.NOT_NEXT),
    (listening, Interrupted(PORT, Reply(PORT, NotReady(0, Count(0, 1)))), Reason.NOT_NEXT),
]


@pytest.mark.parametrize(("state", "event", "reason"), REFUSALS)
def test_what_may_not_happen_is_declined_with_its_reason(state, event, reason):
    run = state()
    before = hash(run.state)
    assert run.declines(event) is reason
    assert hash(run.state) == before


def test_a_whole_life_meets_every_event_and_effect():
    run = fresh()
    run.take(
        Bound(PORT),
        asked(1),
        Listened(PORT),
        offered(1),
        offered(2, intact=False),
        Disconnected(client(1)),
        Acknowledged(Acknowledge(4)),
        ListenerClosed(PORT),
        Interrupted(PORT, None),
    )
    events = {kind for event in run.events_seen for kind in kinds_within(event)}
    effects = {kind for effect in run.effects_seen for kind in kinds_within(effect)}
    assert {*parts(server.Event), InitialMsg, HandOff} <= events
    assert {*parts(server.Effect)} <= effects
    assert {RestartReply, NotReady, Accepted, Refused, Disconnect} <= events


EVENTS = st.lists(
    values(
        server.Event,
        integers=st.integers(0, 1),
        texts=st.text(max_size=1),
        instead={server.Client: st.integers(0, 3).map(lambda n: client(n, n % 2))},
    ),
    max_size=60,
)


def test_a_client_does_not_come_by_another_port():
    assert listening(PORT).declines(MessageRead(PORT, HandOff(client(1, OTHER)))) is Reason.OTHER_PORT


@given(EVENTS)
def test_no_sequence_of_events_is_too_odd(events):
    """Nothing raises, no step touches its argument, every count is true, and the numbers rise without a gap."""
    run = Machine(server, EndpointState())
    for event in events:
        before, digest = run.state, hash(run.state)
        copy = EndpointState(before.listeners, before.clients, before.sequence, before.outbox)
        outcome = server.step(before, event)
        assert before == copy and hash(before) == digest
        assert (server.guard(before, event) is None) is isinstance(outcome, server.Transition)
        if not isinstance(outcome, server.Transition):
            continue
        run.state = outcome.state
        issued = [reply.message for reply in run.state.outbox if reply not in before.outbox]
        assert [message.count for message in issued] in ([], [Count(len(run.state.clients), run.state.sequence)])
        assert run.state.sequence == before.sequence + len(issued)
        assert invariants.broken(run.state) == ()
