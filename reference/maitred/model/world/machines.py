"""The machines of one system: each step taken once and remembered, what a process holds, and what it can send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from maitred.core import distributor, invariants, monitor, server
from maitred.core.messages import Client, HandOff, Release, Restore, Store, ToMonitor
from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree
from maitred.model.world.bounds import Bounds
from maitred.model.world.canonical import renumbered
from maitred.model.world.components import Components
from maitred.model.world.state import Fate, Group, Guest, Link, World
from maitred.model.world.symmetry import Normal

_Groups: TypeAlias = "tuple[Group, ...]"
_Table: TypeAlias = "distributor.DistributorState | None"


class Stride(NamedTuple):
    """A step of one machine, as it is remembered: its outcome, and what is wrong with it."""

    state: Any  # Any: the state of whichever machine it is
    effects: tuple[Any, ...]
    rejected: Reason | None
    wrong: tuple[str, ...]
    """The names of the properties that the step breaks."""


Judge: TypeAlias = "Callable[[str, Any, Any, Stride], tuple[str, ...]]"  # Any: a machine's state, its event


class Machines(Components):
    """What every step of one system needs: its bounds, and the machines with what they did before."""

    def __init__(
        self,
        bounds: Bounds,
        judge: Judge | None = None,
        *,
        symmetric: bool = False,
        steady: bool = False,
        first: int | None = None,
    ) -> None:
        """Prepare to explore.

        Args:
            bounds: how large the system is and what may go wrong.
            judge: says which properties a machine's step breaks.
            symmetric: identify worlds up to renaming of servers and clients; not where servers are replaced, or made
                fewer.
            steady: let every server and client keep its name, for people to read; the space is then infinite.
            first: renumber nothing at all, and begin every counter (arrivals, ranks, servers, counts) so far above
                where it begins in life; None: renumber what only its order gives a meaning to.
        """
        super().__init__()
        self.bounds: Final = bounds
        self.steady: Final = steady or first is not None
        self.first: Final = first
        # The Monitor replaces and gives up servers in the order of their places: these are not interchangeable then.
        ordered = bounds.replacements != 0 or bounds.scalings != 0
        self.normal: Final = Normal(self, symmetric=symmetric and not ordered)
        self.ports: Final = tuple(range(1, bounds.ports + 1))
        self.splits: Final = bounds.interruptions != 0 or bounds.room != 0
        """Whether an endpoint's step, the sending of its replies and a client's delivery are steps of their own."""
        self.endpoint: Final = server.EndpointState(sequence=first or 0)
        """What a server begins with."""
        self._judge = judge
        self._strides: dict[tuple[int, Any], Stride] = {}
        self._enabled: dict[int, tuple[Any, ...]] = {}  # Any: the timers of either machine
        self._masks: dict[int, int] = {}
        self._moves: dict[bytes, list[Any]] = {}  # Any: those of `System`
        self._compacted: dict[tuple[int, int], tuple[_Groups, _Table]] = {}

    def canonical(self, world: World) -> World:
        """The world that stands for all those which differ from this only in names; sealed."""
        return self.normal(world)

    def welcomed(self, world: World) -> World:
        """Whoever has ended, and of whom nothing is left anywhere, may come again.

        Nobody could know such a client from one that is new: no component names it (`symmetry.Normal.present`).
        """
        ended = [c for c, guest in enumerate(world.guests) if guest.fate in (Fate.LEFT, Fate.DROPPED)]
        if not ended:
            return world
        gone = set(ended) - self.normal.present(self.seal(world))
        gone -= {c for c, guest in enumerate(world.guests) if guest.at_distributor or guest.at_monitor}
        guests = tuple(Guest() if cookie in gone else guest for cookie, guest in enumerate(world.guests))
        return self.seal(world._replace(guests=guests))

    def components(self) -> Iterator[Any]:  # Any: components of every type, events and effects
        """All that has been a component of a world so far, and each event that a machine was given with its effects."""
        yield from self._parts
        for (_, event), stride in self._strides.items():
            yield event
            yield from stride.effects

    def compacted(self, groups: _Groups, table: _Table) -> tuple[_Groups, _Table]:
        """The servers and the Distributor, interned, each server's counts `renumbered`."""
        groups, table = self.team(groups), self.interned(table)
        key = (id(groups), id(table))
        known = self._compacted.get(key)
        if known is None:
            known = self._compacted[key] = self._renumbered(groups, table) if self.first is None else (groups, table)
        return known

    def _renumbered(self, groups: _Groups, table: _Table) -> tuple[_Groups, _Table]:
        rows = table.servers if table is not None else Tree()
        renamed = []
        for group in groups:
            status = rows.get(group.server, None)
            new_group, new_status = renumbered(group, status)
            renamed.append(self.interned(new_group))
            if new_status is not None and new_status is not status:
                rows = rows.set(group.server, new_status)
        return self.team(tuple(renamed)), self.interned(replace(table, servers=rows) if table is not None else None)

    # ------------------------------------------------ the machines, remembered

    def stride(self, who: str, state: Any, event: Any) -> Stride:  # Any: of whichever machine
        """The machine's step, taken once for each state and event."""
        key = (id(state), event)
        known = self._strides.get(key)
        if known is None:
            known = self._strides[key] = self._take(who, state, event)
        return known

    def _take(self, who: str, state: Any, event: Any) -> Stride:  # Any: of whichever machine
        machine = {"distributor": distributor, "monitor": monitor}.get(who, server)
        result = machine.step(state, event)
        if isinstance(result, Rejected):
            stride = Stride(state, (), result.reason, ())
        else:
            after = result.state
            if who == "distributor" and self.first is None:
                after = distributor.canonical(after)
            after = self.interned(after)
            stride = Stride(after, result.effects, None, invariants.broken(result.state))
        wrong = stride.wrong + (self._judge(who, state, event, stride) if self._judge else ())
        self.interned(state)  # keeps the object, and so its id, alive
        return stride._replace(wrong=wrong)

    def timers(self, machine: Any, state: Any) -> tuple[Any, ...]:  # Any: of either machine that has timers
        """`enabled` of the machine, asked once for each state."""
        known = self._enabled.get(id(state))
        if known is None:
            self.interned(state)  # keeps the object, and so its id, alive
            known = self._enabled[id(state)] = tuple(machine.enabled(state))
        return known

    # ------------------------------------------------ who is held where

    def clients_in(self, part: Any) -> int:  # Any: a component of the world
        """The clients whose connections this component holds, one bit for each cookie."""
        mask = self._masks.get(id(part))
        if mask is None:
            mask = 0
            for client in _clients_in(part):
                mask |= 1 << client.cookie
            self._masks[id(self.interned(part))] = mask
        return mask

    def holders(self, world: World) -> int:
        """The clients whose connections are held anywhere, one bit for each cookie.

        A client whose `Release` is on its way to the Monitor does not count: nothing can stop the message.
        """
        stored, released = self._news(world.to_monitor)
        mask = stored | self.clients_in(world.to_distributor)
        for cookie, guest in enumerate(world.guests):
            if guest.at_distributor or (guest.at_monitor and not released >> cookie & 1):
                mask |= 1 << cookie
        for group in world.groups:
            if group.alive:
                mask |= self.clients_in(group)
        return mask

    def _news(self, messages: tuple[ToMonitor, ...]) -> tuple[int, int]:
        """The clients that the messages, once read, will have added to the store, and those taken out of it."""
        stored = released = 0
        for message in messages:
            if isinstance(message, Store):
                stored |= 1 << message.client.cookie
            elif isinstance(message, Release):
                stored &= ~(1 << message.client.cookie)
                released |= 1 << message.client.cookie
        return stored, released

    # ------------------------------------------------ what can be sent

    def has_room(self, link: Link) -> bool:
        """Whether the server can send on the dialog."""
        return not self.bounds.room or len(link.to_distributor) < self.bounds.room

    def has_room_to_answer(self, group: Group, link: Link) -> bool:
        """Whether what the server says to its next message is the next to be sent on the dialog, and can be."""
        return self.has_room(link) and not any(reply.port == link.port for reply in group.endpoint.outbox)

    def next_to_send(self, group: Group) -> server.Reply | None:
        """The oldest reply in the outbox whose dialog has room."""
        full = {link.port for link in group.links if not self.has_room(link)}
        return next((reply for reply in group.endpoint.outbox if reply.port not in full), None)

    def in_flight(self, group: Group) -> server.Reply | None:
        """What a process of the server is sending, in the socket or not, while it holds the lock."""
        return (group.sent or self.next_to_send(group)) if group.sending else None


def _clients_in(part: object) -> Iterator[Client]:
    """The clients whose connections a server's processes hold, or lie beside messages that are on their way."""
    if isinstance(part, Group):
        yield from part.held
        for link in part.links:
            yield from (message.client for message in link.to_server if isinstance(message, HandOff))
    elif isinstance(part, tuple):
        yield from (message.client for message in part if isinstance(message, Restore))
