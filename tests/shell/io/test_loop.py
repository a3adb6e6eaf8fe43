"""The readiness loop: timers by key, who comes last, and descriptors whose numbers are used again."""

import os
import select
import signal
import socket
import time

import pytest

from maitred.shell.io.loop import PASSED_OVER, TICK, Loop


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def loop(clock):
    made = Loop(clock)
    yield made
    made.close()


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_a_timer_rings_once_when_it_is_due(loop, clock):
    rung = []
    loop.set_timer("a", 5.0, lambda: rung.append("a"))
    clock.now += 4.9
    loop.turn(0)
    assert rung == []
    clock.now += 0.2
    loop.turn(0)
    loop.turn(0)
    assert rung == ["a"]


def test_setting_a_timer_again_replaces_it(loop, clock):
    rung = []
    loop.set_timer("a", 5.0, lambda: rung.append("old"))
    clock.now += 3
    loop.set_timer("a", 5.0, lambda: rung.append("new"))
    clock.now += 3
    loop.turn(0)
    assert rung == []
    clock.now += 3
    loop.turn(0)
    assert rung == ["new"]


def test_a_timer_may_be_put_forward(loop, clock):
    rung = []
    loop.set_timer("a", 50.0, lambda: rung.append("old"))
    loop.set_timer("a", 1.0, lambda: rung.append("new"))
    clock.now += 2
    loop.turn(0)
    assert rung == ["new"]
    clock.now += 100
    loop.turn(0)
    assert rung == ["new"]


def test_timers_that_are_put_off_do_not_pile_up(loop, clock):
    for _ in range(1000):
        clock.now += 0.001
        loop.set_timer("a", 60.0, lambda: None)
    assert len(loop._heap) == 1


def test_cancelled_timers_do_not_pile_up_and_the_others_ring(loop, clock):
    rung = []
    loop.set_timer("b", 60.0, lambda: rung.append("b"))
    loop.set_timer("b", 90.0, lambda: rung.append("b"))
    loop.set_timer("a", 60.0, lambda: rung.append("a"))
    for number in range(10_000):
        loop.set_timer(number, 3600.0, lambda: rung.append("cancelled"))
        loop.cancel_timer(number)
    assert len(loop._heap) < 100 and len(loop._entries) < 100
    for seconds, expected in ((59.0, []), (2.0, ["a"]), (28.0, ["a"]), (2.0, ["a", "b"]), (9999.0, ["a", "b"])):
        clock.now += seconds
        loop.turn(0)
        assert rung == expected


def test_timers_that_are_put_forward_do_not_pile_up(loop, clock):
    for number in range(10_000):
        loop.set_timer("a", 60_000.0 - number, lambda: None)
    assert len(loop._heap) < 100


def test_a_cancelled_timer_does_not_ring_and_may_be_set_again(loop, clock):
    rung = []
    loop.set_timer("a", 1.0, lambda: rung.append("old"))
    loop.cancel_timer("a")
    loop.cancel_timer("unknown")
    clock.now += 2
    loop.turn(0)
    assert rung == []
    loop.set_timer("a", 1.0, lambda: rung.append("new"))
    clock.now += 2
    loop.turn(0)
    assert rung == ["new"]


def test_timers_ring_in_their_order_and_those_they_set_ring_later(loop, clock):
    rung = []

    def first():
        rung.append(1)
        loop.set_timer("again", 0.0, lambda: rung.append(3))

    loop.set_timer("b", 2.0, lambda: rung.append(2))
    loop.set_timer("a", 1.0, first)
    clock.now += 3
    loop.turn(0)
    assert rung == [1, 2]
    loop.turn(0)
    assert rung == [1, 2, 3]


def test_what_comes_last_waits_until_nothing_else_is_ready(loop, pair):
    urgent, late = pair
    order = []
    loop.watch(late.fileno(), select.EPOLLIN, lambda _: order.append("late"), last=True)
    loop.watch(urgent.fileno(), select.EPOLLIN, lambda _: order.append("urgent") or urgent.recv(10))
    urgent.send(b"x")
    late.send(b"x")
    loop.turn(0)
    assert order == ["urgent"]
    loop.turn(0)
    assert order == ["urgent", "late"]


def test_news_of_a_closed_descriptor_does_not_reach_its_numbers_next_owner(loop):
    """Both are ready in one turn; the first handler closes the other, and a newcomer gets its number."""
    ends = [socket.socketpair() for _ in range(2)]
    called = []

    def first(_):
        called.append("first")
        for mine, _other in ends:
            mine.recv(1)
        victim = ends[1][0] if order[0] == 0 else ends[0][0]
        number = victim.fileno()
        loop.forget(number)
        victim.close()
        newcomer = os.memfd_create("newcomer")
        assert newcomer == number
        os.close(newcomer)
        fresh = socket.socketpair()
        ends.append(fresh)
        os.dup2(fresh[0].fileno(), number)
        loop.watch(number, select.EPOLLIN, lambda _: called.append("newcomer"))

    order = []
    for i, (mine, other) in enumerate(ends):
        loop.watch(mine.fileno(), select.EPOLLIN, lambda flags, i=i: (order.append(i), first(flags)))
        other.send(b"x")
    loop.turn(0)
    assert called == ["first"]


def test_forgetting_is_idempotent_and_leaves_duplicates_silent(loop, pair):
    mine, other = pair
    called = []
    loop.watch(mine.fileno(), select.EPOLLIN, called.append)
    duplicate = mine.dup()
    assert loop.watches(mine.fileno())
    loop.forget(mine.fileno())
    loop.forget(mine.fileno())
    assert not loop.watches(mine.fileno())
    other.send(b"x")
    loop.turn(0)
    assert called == []
    duplicate.close()


def test_flags_can_be_changed(loop, pair):
    mine, other = pair
    called = []
    loop.watch(mine.fileno(), select.EPOLLIN, called.append)
    loop.change(mine.fileno(), 0)
    other.send(b"x")
    loop.turn(0)
    assert called == []
    loop.change(mine.fileno(), select.EPOLLIN)
    loop.turn(0)
    assert called == [select.EPOLLIN]


def test_what_comes_last_is_not_passed_over_for_ever(loop, pair):
    """Whoever never falls silent keeps nobody out."""
    near, far = pair
    other, end = socket.socketpair()
    called = []
    loop.watch(near.fileno(), select.EPOLLIN, lambda _: called.append("first"))
    loop.watch(other.fileno(), select.EPOLLIN, lambda _: called.append("last"), last=True)
    far.send(b"never read")
    end.send(b"nor this")
    for _ in range(2 * (PASSED_OVER + 1)):
        loop.turn(0)
    assert called == [*["first"] * (PASSED_OVER + 1), "last"] * 2
    for each in (other, end):
        each.close()


# ---------------------------------------------------------------- the clock that interrupts waits


def ticking():
    return signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)


def test_a_busy_loop_sets_its_clock_once(loop, pair, monkeypatch):
    near, far = pair
    ticks = []
    loop.watch(near.fileno(), select.EPOLLIN, lambda _: ticks.append(ticking()))
    far.send(b"never read")
    calls, real = [], signal.setitimer
    monkeypatch.setattr(signal, "setitimer", lambda *args: calls.append(args) or real(*args))
    with loop.interrupt_waits():
        for _ in range(10):
            loop.turn()
        assert calls == [(signal.ITIMER_REAL, TICK, TICK)] and ticks == [True] * 10
    assert not ticking(), "once Python has restored the default action, SIGALRM would end the process"


@pytest.mark.parametrize("heeds_signals", [False, True])
def test_an_idle_loop_is_not_woken_by_its_clock(loop, pair, heeds_signals):
    """Nor where signals are events too, so that a tick makes a turn."""
    near, far = pair
    near.setblocking(False)
    far.setblocking(False)
    loop.watch(near.fileno(), select.EPOLLIN, lambda _: near.recv(64))
    far.send(b"x")
    wakeup = signal.set_wakeup_fd(far.fileno() if heeds_signals else -1)
    try:
        with loop.interrupt_waits():
            loop.turn()
            assert ticking()
            loop.turn(2 * TICK)
            assert not ticking()
            far.send(b"x")
            loop.turn()
            assert ticking(), "the next event has its clock"
    finally:
        signal.set_wakeup_fd(wakeup)


def test_the_clock_goes_on_while_a_handler_waits(loop, pair):
    near, far = pair
    interrupted = []

    def wait(_):
        near.recv(1)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        for _ in range(2):
            interrupted.append(signal.sigtimedwait({signal.SIGALRM}, 40 * TICK) is not None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})

    loop.watch(near.fileno(), select.EPOLLIN, wait)
    far.send(b"x")
    with loop.interrupt_waits():
        loop.turn()
    assert interrupted == [True, True]


def test_what_is_for_the_end_of_a_turn_comes_after_handlers_and_alarms_and_once():
    loop, called = Loop(), []
    mine, other = socket.socketpair()
    other.send(b"x")

    def handler(flags):
        mine.recv(1)
        loop.at_end_of_turn(lambda: called.append("end"))
        called.append("handler")

    loop.watch(mine.fileno(), select.EPOLLIN, handler)
    loop.set_timer("due", 0, lambda: called.append("alarm"))
    loop.turn(1)
    assert called == ["handler", "alarm", "end"]
    loop.turn(0)
    assert called == ["handler", "alarm", "end"]
    for each in (loop, mine, other):
        each.close()


def test_a_turn_does_not_wait_where_something_is_for_its_end():
    loop, called = Loop(), []
    loop.at_end_of_turn(lambda: loop.at_end_of_turn(lambda: called.append("next")))
    began = time.monotonic()
    loop.turn(10)
    assert called == []
    loop.turn(10)
    assert called == ["next"] and time.monotonic() - began < 5
    loop.close()
