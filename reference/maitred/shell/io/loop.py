"""Readiness and time: the epoll loop under the Distributor and the Monitor.

A turn waits until a descriptor is ready or a timer is due, then calls the handlers of what is ready.  What was watched
as ``last`` comes last, and in a turn in which nothing else was ready: news of free seats is read before another client
is let in.  But it is not passed over for ever: servers that never fall silent must not keep clients out.

Descriptors are numbers that the kernel gives out again.  A handler is called only if it is still the one that was
watching when the turn began, so that news of a closed descriptor never reaches its number's next owner.  And a
descriptor must be forgotten *before* it is closed: epoll watches the open file, which may live on in a duplicate
elsewhere.

Handlers never wait, but the kernel may, where it closes what somebody else has made: a connection with ``SO_LINGER``,
of which this was the last reference, or which came as a descriptor that nobody wanted.  A signal ends such a wait, so
a clock ticks (setitimer(2)) from the first handler that runs until a tick finds the loop itself waiting.  A busy loop
so sets it some twenty times a second and not in every turn, and an idle one is not woken by it.  Once it has ticked
while handlers run, it ticks faster for the rest of the turn: one packet can bring hundreds of descriptors.
"""

from __future__ import annotations

import heapq
import itertools
import math
import select
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

Handler: TypeAlias = Callable[[int], None]
"""Is called with the epoll flags that came."""
Alarm: TypeAlias = Callable[[], object]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

EVENTS_A_TURN: Final = 256
TICK: Final = 0.05
"""Seconds that a call into the kernel may wait while handlers run."""
AGAIN: Final = 0.001
"""Seconds that each further call may wait in the same turn."""
PASSED_OVER: Final = 3
"""In so many turns on end what is watched as ``last`` may have to stand back."""
SLACK: Final = 64
"""So many entries of the heap may be of no use, beside as many as there are timers."""


class _Watch:
    """Who watches a descriptor; a fresh object each time, so that two users of one number differ."""

    __slots__ = ("handler", "last")

    def __init__(self, handler: Handler, last: bool) -> None:
        self.handler = handler
        self.last = last


class Loop:
    """One thread's readiness loop, with timers by key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """An empty loop; ``clock`` gives seconds."""
        self._clock = clock
        self._epoll = select.epoll()
        self._watches: dict[int, _Watch] = {}
        self._deadlines: dict[Hashable, tuple[float, Alarm]] = {}
        self._entries: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._serial = itertools.count()
        self._passed_over = 0
        self._ticks = self._ticking = self._waits = self._found_waiting = False
        self.turns = 0
        """How many there have been."""

    # ------------------------------------------------ descriptors

    def watch(self, fd: int, flags: int, handler: Handler, *, last: bool = False) -> None:
        """Call the handler whenever one of the epoll flags comes, until `forget`."""
        self._epoll.register(fd, flags)
        self._watches[fd] = _Watch(handler, last)

    def change(self, fd: int, flags: int) -> None:
        """Watch for other flags; 0 for none but error and hang-up."""
        self._epoll.modify(fd, flags)

    def forget(self, fd: int) -> None:
        """Watch the descriptor no more; nothing happens where it was not watched."""
        if self._watches.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def watches(self, fd: int) -> bool:
        """Whether the descriptor is watched."""
        return fd in self._watches

    # ------------------------------------------------ timers

    def set_timer(self, key: Hashable, seconds: float, alarm: Alarm) -> None:
        """Call the alarm once, so many seconds from now; a timer of the same key that runs is replaced."""
        deadline = self._clock() + seconds
        self._deadlines[key] = (deadline, alarm)
        entry = self._entries.get(key)
        if entry is None or deadline < entry:
            self._push(key, deadline)
            self._tidy()

    def cancel_timer(self, key: Hashable) -> None:
        """Forget the timer; nothing happens where it does not run."""
        self._deadlines.pop(key, None)
        self._tidy()

    def _tidy(self) -> None:
        """Rebuild the heap once most of it is of timers that were cancelled or put forward."""
        if len(self._heap) <= 2 * len(self._deadlines) + SLACK:
            return
        self._heap.clear()
        self._entries.clear()
        for key, (deadline, _) in self._deadlines.items():
            self._push(key, deadline)

    def _push(self, key: Hashable, when: float) -> None:
        """A timer that is put off keeps its entry in the heap: it moves on when the entry comes up."""
        self._entries[key] = when
        heapq.heappush(self._heap, (when, next(self._serial), key))

    def _ring(self) -> None:
        """Call every alarm that is due now, not those which they set, nor those which they cancel."""
        for key, found in self._due():
            if self._deadlines.get(key) is found:
                del self._deadlines[key]
                found[1]()

    def _due(self) -> list[tuple[Hashable, tuple[float, Alarm]]]:
        """Take the entries that have come up; those that were put off go back."""
        now, due = self._clock(), []
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._entries.get(key) != when:
                continue  # an earlier entry has taken its place
            del self._entries[key]
            found = self._deadlines.get(key)
            if found is not None and found[0] > now:
                self._push(key, found[0])
            elif found is not None:
                due.append((key, found))
        return due

    # ------------------------------------------------ turning

    @contextmanager
    def interrupt_waits(self) -> Iterator[None]:
        """Let no handler's call into the kernel wait for long, in turns within; SIGALRM is this loop's from now on.

        The clock has stopped on leaving: once Python restores the default action, SIGALRM would end the process.
        """
        signal.signal(signal.SIGALRM, self._on_tick)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        self._ticks = True
        try:
            yield
        finally:
            self._ticks = False
            self._stop_clock()

    def _on_tick(self, number: int, frame: object) -> None:
        """Stop the clock where the loop itself waits; elsewhere have it tick faster until the next turn."""
        if self._waits:
            self._found_waiting = True
            self._stop_clock()
        elif self._ticking:
            self._ticking = False  # so the next turn sets it as usual
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)

    def _stop_clock(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._ticking = False

    def turn(self, at_most: float = math.inf) -> None:
        """Wait for readiness or a timer, at most so many seconds, and handle what has come."""
        wait = at_most
        if self._heap and (left := self._heap[0][0] - self._clock()) < wait:
            wait = left if left > 0 else 0.0
        self._waits = True
        ready = self._epoll.poll(None if wait == math.inf else wait, EVENTS_A_TURN)
        self._waits = False
        if self._ticks and not self._ticking:
            signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
            self._ticking = True
        urgent: list[tuple[int, int, _Watch]] = []
        last: list[tuple[int, int, _Watch]] = []
        for fd, flags in ready:
            watch = self._watches.get(fd)
            if watch is not None:
                (last if watch.last else urgent).append((fd, flags, watch))
        if urgent and last and self._passed_over < PASSED_OVER:
            self._passed_over += 1
        else:
            urgent += last
            self._passed_over = 0
        self.turns += 1
        for fd, flags, watch in urgent:
            if self._watches.get(fd) is watch:
                watch.handler(flags)
        if self._heap and self._heap[0][0] <= self._clock():
            self._ring()
        if self._found_waiting:  # where signals are events too (set_wakeup_fd), the tick itself has made this turn
            self._found_waiting = False
            self._stop_clock()

    def close(self) -> None:
        """Let go of the epoll descriptor."""
        self._epoll.close()
