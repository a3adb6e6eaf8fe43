"""Drives one machine of the core: takes an event, steps the machine, performs what follows, writes the trace.

The Distributor, the Monitor and a server's endpoint differ in their sockets, not in this.

Rules
-----
1.  An event is traced before its effects are performed, and each effect once it has been: a process that is killed
    leaves a prefix of what it did.  The verifier of ``--verify`` reads and counts the same trace.
2.  All effects of an event are performed, in their order, before the next event is taken.  An event that comes
    meanwhile is queued.
3.  What an effect raises ends the handling of its event: the effects that remain are not performed, and what was queued
    is dropped.  (The Monitor and the Distributor end then; the endpoint loads its state again, and finishes it.)
4.  The state is an attribute.  That of the endpoint is shared by processes: it is loaded before the event, and saved by
    ``stepped``, under one lock.

It runs inside the user's program too: it imports nothing that the program has to be the first to import.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from maitred.core.transition import Rejected, Transition

if TYPE_CHECKING:
    from maitred.shell.observe.trace import Trace

S = TypeVar("S")
V = TypeVar("V")
E = TypeVar("E")


class Driver(Generic[S, V, E]):
    """One machine at work, with states ``S``, events ``V`` and effects ``E``."""

    def __init__(
        self,
        step: Callable[[S, V], Transition[S, E] | Rejected],
        state: S,
        perform: Mapping[type[Any], Callable[[Any], None]],  # Any: each takes its own effect
        trace: Trace | None,
        *,
        stepped: Callable[[V, S], None],
        declined: Callable[[V, Rejected], None],
        performed: Callable[[], None] | None = None,
    ) -> None:
        """A machine that has taken no event.

        Args:
            step: of the machine.
            state: its first.
            perform: what performs each type of effect.
            trace: where the machine's steps are written; None for nowhere.
            stepped: is called after each step with the event and the state before it, before the effects.
            declined: is called with an event that the machine does not take, and why.
            performed: is called after the last effect of each event.
        """
        self.state = state
        self.trace = trace
        self._step = step
        self._perform = perform
        self._stepped = stepped
        self._declined = declined
        self._performed = performed
        self._queue: deque[V] = deque()
        self._busy = False

    def handle(self, event: V) -> Rejected | None:
        """Let the event happen with all that follows from it.  If called while busy, queue it.

        Returns:
            why the machine declines the event; None where it takes it, or the event is queued.
        """
        if self._busy:
            self._queue.append(event)
            return None
        try:
            self._busy = True
            declined = self._take(event)
            while self._queue:
                self._take(self._queue.popleft())
        except BaseException:
            self._queue.clear()
            raise
        finally:
            self._busy = False
        return declined

    def _take(self, event: V) -> Rejected | None:
        trace, before = self.trace, self.state
        if trace is not None:
            trace.event(event, before)
        outcome = self._step(before, event)
        if isinstance(outcome, Rejected):
            self._declined(event, outcome)
            if trace is not None:
                trace.rejected(outcome.reason)
            return outcome
        self.state = outcome.state
        self._stepped(event, before)
        for effect in outcome.effects:
            self._perform[type(effect)](effect)
            if trace is not None:
                trace.effect(effect)
        if self._performed is not None:
            self._performed()
        return None
