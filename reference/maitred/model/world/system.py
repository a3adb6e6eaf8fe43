"""The closed system within bounds: its first world, and everything that may happen in a world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

from maitred.core import distributor, monitor, server
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Adopt,
    Begin,
    FromServer,
    HandOff,
    InitialMsg,
    KeepListener,
    Refused,
    Unresponsive,
)
from maitred.model.world import recorded_runs
from maitred.model.world.actions import (
    Action,
    ClientCloses,
    ClientConnects,
    ConnectionLeaks,
    Deed,
    DistributorCutOff,
    DistributorEnds,
    DistributorStep,
    EffectDeclined,
    MonitorStep,
    PortDeed,
    ServerDeed,
    ServerStep,
)
from maitred.model.world.bounds import Assumption, Budget
from maitred.model.world.draft import Draft
from maitred.model.world.machines import Machines, Stride
from maitred.model.world.state import (
    ADDRESS,
    CLASS,
    Fate,
    Group,
    Guest,
    Kernel,
    Life,
    Link,
    Program,
    World,
    is_lost,
    is_reported,
)

Successor: TypeAlias = "tuple[Action, World, tuple[str, ...]]"
_Move: TypeAlias = "tuple[Action, Draft, tuple[str, ...]]"
RECENT: Final = 8_192
"""Of so many parts of worlds the moves are remembered: neighbours in an exploration have them in common."""
_NOTHING: Final = World(*[cast("Any", None)] * len(World._fields))._replace(groups=(), to_monitor=())
"""What a move that is remembered must not read is not there."""


SILENT: Final = (
    distributor.SetTimer,
    distributor.Watch,
    distributor.CloseCopy,
    distributor.Accept,
    distributor.CloseDialog,
    distributor.Audit,
)
"""Effects that nobody but the Distributor notices: to die before or after them is the same."""


class System(Machines):
    """The closed system within bounds: its first world, and what may happen in each."""

    amiss: tuple[str, ...] = ()
    """What the steps that lead to the first world break; known once `initial` has been asked."""

    def adopted(self, world: World) -> World:
        """The canonical form of a world of any system within these bounds, of this system's own components."""
        table = distributor.canonical(world.distributor) if world.distributor is not None else None
        groups, table = self.compacted(tuple(map(self.interned, world.groups)), table)
        return self.canonical(self.seal(world._replace(groups=groups, distributor=table)))

    # ------------------------------------------------ beginning

    def initial(self) -> World:
        """The world in which the Monitor has just been started, in which the static servers are ready, or to which the
        recorded run leads.

        Raises:
            RunError: the run cannot be played any more.
        """
        if self.bounds.begins:
            return self._prepared()
        world, wrong = self._started()
        while self.bounds.warm:
            quiet = ((w, broken) for a, w, broken in self.successors(world) if self.only_starts(a))
            following = next(quiet, None)
            if following is None:
                break
            world, wrong = following[0], wrong + following[1]
        self.amiss = tuple(dict.fromkeys(wrong))
        return world

    def _prepared(self) -> World:
        """The end of the recorded run, with what may go wrong from then on."""
        run = recorded_runs.find(self.bounds.begins)
        before = System(recorded_runs.before(self.bounds, run), self._judge, steady=True)
        world, wrong = before.play(run)
        self.amiss = tuple(dict.fromkeys(wrong))
        budget = Budget._make(getattr(self.bounds, name) for name in Budget._fields)
        world = world._replace(groups=tuple(map(self.interned, world.groups)), budget=budget)
        sealed = self.assemble(world)
        return sealed if self.steady else self.canonical(sealed)

    def play(self, run: recorded_runs.Run) -> tuple[World, tuple[str, ...]]:
        """The world at the end of the run, and the properties that its steps break.

        The system has steady names and the bounds of `recorded_runs.before`.

        Args:
            run: to be played.

        Raises:
            RunError: a step is not possible, or more than one has that text; the error lists what is possible.
        """
        world, wrong = self.initial(), self.amiss
        for number, wanted in enumerate(run.actions, 1):
            offered: dict[str, list[tuple[World, tuple[str, ...]]]] = {}
            for action, after, broken in self.successors(world):
                offered.setdefault(recorded_runs.spelled(action), []).append((after, broken))
            found = offered.get(wanted, [])
            if len(found) != 1:
                raise recorded_runs.RunError(
                    f"run {run.name!r}, step {number}: {wanted!r} is {'ambiguous' if found else 'not possible'} there; "
                    f"possible are: {'; '.join(sorted(offered))}"
                )
            world, broken = found[0]
            wrong += broken
        return world, wrong

    @staticmethod
    def only_starts(action: Action) -> bool:
        """Whether the action is one of those by which a system starts: no client, fault, timer or stop."""
        match action:
            case MonitorStep() | DistributorStep(late=False) | ServerStep():
                return isinstance(action.what, _STARTING)
            case PortDeed():
                return action.what in (Deed.BINDS, Deed.READS_REPLY, Deed.SENDS)
            case _:
                return False

    def _started(self) -> tuple[World, tuple[str, ...]]:
        b = self.bounds
        addresses = tuple((port, f"{ADDRESS}{port}") for port in self.ports)
        config = monitor.ClassConfig(
            static=b.servers,
            dynamic=b.dynamic,
            max_clients=b.max_clients,
            waiting_limit=b.waiting_limit,
            elements=tuple(range(b.elements)),
            listeners=addresses if b.fixed else (),
            fixed=b.fixed,
        )
        started = monitor.initial((config,), tuple(range(1, b.elements + 1)))
        world = World(
            monitor=replace(started, next_server=started.next_server + (self.first or 0)),
            distributor=None,
            life=Life.ABSENT,
            groups=(),
            to_monitor=(),
            to_distributor=(),
            pending=(),
            kernel=Kernel((False,) * b.ports, ((),) * b.ports, (False,) * b.ports),
            guests=(Guest(),) * b.clients,
            budget=Budget._make(getattr(b, name) for name in Budget._fields),
        )
        draft = Draft(self, self.seal(world))
        stride = self.stride("monitor", world.monitor, monitor.Started())
        draft.monitor_step(monitor.Started(), stride)
        return draft.done(), stride.wrong

    # ------------------------------------------------ everything that may happen

    def successors(self, world: World) -> Iterator[Successor]:
        """Every action that is possible, where it leads, and the properties that the step itself breaks."""
        if world.monitor.phase is monitor.Phase.ENDED:
            return
        yield from self._clients_act(world)
        yield from self._monitor_acts(world)
        if world.distributor is not None:
            yield from self._distributor_acts(world)
        for group in world.groups:
            if group.alive:
                yield from self._server_acts(world, group)

    def _clients_act(self, world: World) -> Iterator[Successor]:
        part = _NOTHING._replace(kernel=world.kernel, guests=world.guests, budget=world.budget)
        return self._remembered(world, part, self._client_moves)

    def _monitor_acts(self, world: World) -> Iterator[Successor]:
        part = world._replace(distributor=None, to_distributor=(), pending=())
        for action, after, wrong in self._remembered(world, part, self._monitor_moves, "to_distributor"):
            if wrong or isinstance(action.what, monitor.Reported) or _differ(after, world):
                yield action, after, wrong

    def _distributor_acts(self, world: World) -> Iterator[Successor]:
        mail = tuple(message for message in world.to_monitor if isinstance(message, (KeepListener, Unresponsive)))
        part = world._replace(monitor=_NOTHING.monitor, to_monitor=self.interned(mail))
        return self._remembered(world, part, self._distributor_moves)

    def _server_acts(self, world: World, group: Group) -> Iterator[Successor]:
        groups = self.team((group,))
        part = _NOTHING._replace(groups=groups, kernel=world.kernel, guests=world.guests, budget=world.budget)
        yield from self._remembered(world, part, self._server_moves)
        yield from self._binds_again(world, group)

    def _remembered(
        self, world: World, part: World, moves: Callable[[World], Iterator[_Move]], channel: str = "to_monitor"
    ) -> Iterator[Successor]:
        """The moves that depend on this part of the world only: what has been found of it once is known.

        Args:
            world: sealed.
            part: of the same components, but for those that are left out; a move that read one of these would fail.
            moves: gives them.
            channel: to which they only add messages: it is left out, too.
        """
        key = self.key(part)
        known = self._moves.get(key)
        if known is None:
            if len(self._moves) >= RECENT:
                self._moves.clear()
            found = moves(part)
            known = self._moves[key] = [(action, draft.changes(channel), wrong) for action, draft, wrong in found]
        for action, changes, wrong in known:
            yield action, Draft(self, world).apply(changes).done(), wrong

    # ------------------------------------------------ clients

    def _client_moves(self, world: World) -> Iterator[_Move]:
        coming = next((cookie for cookie, guest in enumerate(world.guests) if guest.fate is Fate.ABSENT), None)
        if coming is not None:  # clients not yet arrived are interchangeable
            for i, port in enumerate(self.ports):
                if world.kernel.listening[i]:
                    draft = Draft(self, world)
                    draft.guest(coming, fate=Fate.BACKLOG)
                    draft.queue(i, (*world.kernel.backlog[i], coming))
                    yield ClientConnects(coming, port), draft, ()
        if not world.budget.hang_ups:
            return
        for cookie, guest in enumerate(world.guests):
            if not guest.hung and guest.fate in (Fate.BACKLOG, Fate.IN) and not guest.taken:
                for closes, hung in (
                    (ClientCloses(cookie, Deed.HANGS_UP), 1),
                    (ClientCloses(cookie, Deed.HALF_CLOSES), 2),
                ):
                    draft = Draft(self, world)
                    draft.guest(cookie, hung=hung)
                    draft.spend("hang_ups")
                    yield closes, draft, ()

    # ------------------------------------------------ the Monitor

    def _monitor_moves(self, world: World) -> Iterator[_Move]:
        for event, spent, take in self._monitor_events(world):
            stride = self.stride("monitor", world.monitor, event)
            if stride.rejected and not take and not stride.wrong:
                continue
            draft = Draft(self, world)
            if spent:
                draft.spend(spent)
            if take:
                draft.to_monitor = world.to_monitor[1:]
            if isinstance(event, monitor.DistributorExited):
                draft.life = Life.ABSENT
                draft.to_monitor = ()
            if isinstance(event, monitor.ServerExited):
                draft.change(event.server, reported=True)
            draft.monitor_step(event, stride)
            yield MonitorStep(event), draft, stride.wrong

    def _monitor_events(self, world: World) -> Iterator[tuple[monitor.Event, str, bool]]:
        """Each event, what it is spent of, and whether it is the head of the Distributor's channel."""
        budget, state = world.budget, world.monitor
        if world.to_monitor:
            yield monitor.Reported(CLASS, world.to_monitor[0]), "", True
        if world.life is Life.DEAD and (not world.to_monitor or Assumption.HEARD_OUT in self.bounds.without):
            yield monitor.DistributorExited(CLASS), "", False
        places = {p.server: p for p in state.classes[CLASS].places.values() if p.alive}
        for group in world.groups:
            place = places.get(group.server)
            if place is None:
                continue
            if not group.main and not group.reported and place.phase is not monitor.PlacePhase.KILLING:
                yield monitor.ServerExited(CLASS, group.server), "", False
            gone = not group.main if Assumption.KILLS_REACH_ALL in self.bounds.without else not group.alive
            if group.condemned and gone:
                yield monitor.ServerGone(CLASS, group.server), "", False
        for fired in self.timers(monitor, state):
            if not isinstance(fired.timer, (monitor.DistributorStable, monitor.ServerStable)) or self.bounds.stable:
                yield fired, "", False
        if budget.stops:
            yield monitor.StopRequested(), "stops", False
        for wish, spent in _wishes(state.classes[CLASS], budget):
            yield wish, spent, False
        for element, status in state.elements.items():
            if budget.element_failures and status.up:
                yield monitor.ElementFailed(element), "element_failures", False
            if budget.element_returns and not status.up:
                yield monitor.ElementRestored(element), "element_returns", False

    # ------------------------------------------------ the Distributor

    def _distributor_moves(self, world: World) -> Iterator[_Move]:
        state = world.distributor
        assert state is not None, "it acts"
        mortal = world.life is Life.CONDEMNED or world.budget.distributor_crashes != 0
        if state.phase is distributor.Phase.CLOSED:
            draft = Draft(self, world)
            draft.distributor_dies()
            yield DistributorEnds(Deed.EXITS), draft, ()
        if mortal:
            draft = Draft(self, world)
            draft.distributor_crashes()
            draft.distributor_dies()
            yield DistributorEnds(Deed.DIES), draft, ()
        for event, take, spent, late in self._distributor_events(world, state):
            stride = self.stride("distributor", state, event)
            if stride.rejected and take is None and not stride.wrong:
                continue
            draft = Draft(self, world)
            draft.take(take, late)
            draft.hand_off_settled(event)
            if spent:
                draft.spend(spent)
            if isinstance(event, distributor.Received):
                wrong = [name for _, _, read in self.acknowledged(world, stride) for name in read.wrong]
                stride = stride._replace(wrong=(*stride.wrong, *wrong)) if wrong else stride
            taken = draft.copy() if mortal or world.budget.unsent or world.budget.listen_failures else draft
            draft.distributor_step(stride, None)
            yield DistributorStep(event, late=late), draft, stride.wrong
            yield from self._declined(taken, event, stride, late)
            if mortal:
                yield from self._deaths(taken, event, stride, late)

    def acknowledged(self, world: World, stride: Stride) -> Iterator[tuple[Group, Acknowledge, Stride]]:
        """The endpoints' steps at the acknowledgements that a Distributor's step sends.

        They are read at once, and change nothing: `an_acknowledgement_changes_nothing` is asked of them, so that
        nothing need be done about them.
        """
        for effect in stride.effects:
            if isinstance(effect, distributor.SendControl) and isinstance(effect.message, Acknowledge):
                group = world.group(effect.server)
                if group is not None and group.alive:
                    read = self.stride("server", group.endpoint, server.Acknowledged(effect.message))
                    yield group, effect.message, read

    def _declined(self, taken: Draft, event: distributor.Event, stride: Stride, late: bool) -> Iterator[_Move]:
        """The kernel declines one of the effects.

        Not to listen on a port on which somebody listens: that socket was handed over, and there is nothing to bind.
        """
        budget = taken.budget
        for i, effect in enumerate(stride.effects):
            unsent = budget.unsent and isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff)
            unheard = (
                budget.listen_failures
                and isinstance(effect, distributor.Listen)
                and not taken.kernel.listening[effect.port - 1]
            )
            if unsent or unheard:
                draft = taken.copy()
                draft.spend("unsent" if unsent else "listen_failures")
                draft.distributor_step(stride, i)
                yield EffectDeclined(event, i, late=late), draft, stride.wrong

    def _deaths(
        self,
        taken: Draft,
        event: distributor.Event,
        stride: Stride,
        late: bool,
    ) -> Iterator[_Move]:
        """The Distributor dies after any number of the step's effects."""
        for j in range(len(stride.effects) + 1):
            if j and isinstance(stride.effects[j - 1], SILENT):
                continue
            draft = taken.copy()
            draft.distributor_crashes()
            for effect in stride.effects[:j]:
                draft.perform(effect)
            draft.distributor_dies(midst=True)
            yield DistributorCutOff(event, j, late=late), draft, stride.wrong

    def _distributor_events(
        self, world: World, state: distributor.DistributorState
    ) -> Iterator[tuple[distributor.Event, Any, str, bool]]:  # Any: where the event is taken from, see `Draft.take`
        """Each event, where it is taken from, what it is spent of, and whether it overtook another."""
        budget = world.budget
        if world.pending:
            yield world.pending[0], "pending", "", False
        if world.to_distributor:
            yield world.to_distributor[0], "monitor", "", False
        for i, message in enumerate(world.to_distributor):
            # In which order the living servers are named decides nothing that could matter, so it is left open: the
            # numbers that the Monitor gives its servers then mean nothing either (see `model.symmetry`).
            if not isinstance(message, Adopt):
                break
            if i:
                yield message, ("adopt", i), "", False
        for group in world.groups:
            status = state.servers.get(group.server, None)
            if status is not None:
                yield from self._from_server(group, status, budget)
        for i, port in enumerate(self.ports):
            info = state.ports.get(port, None)
            if info is None:
                continue
            if info.accepting and world.kernel.listening[i]:
                backlog = world.kernel.backlog[i]
                if backlog:
                    yield distributor.ConnectionRequest(port, backlog[0]), i, "", False
                    if budget.accept_failures:
                        yield distributor.AcceptFailed(port), None, "accept_failures", False
                elif state.phase is distributor.Phase.CLOSING:
                    yield distributor.BacklogEmpty(port), None, "", False
            for client in info.waiting:
                guest = world.guests[client.cookie]
                if guest.hung == 1 or guest.fate is Fate.DROPPED:
                    yield distributor.PeerClosed(client, reset=False, unread=False), None, "", False
                elif guest.hung == 2:
                    yield distributor.PeerClosed(client, reset=False, unread=True), None, "", False
        for fired in self.timers(distributor, state):
            if isinstance(fired.timer, distributor.RestOver):
                resting = world.group(fired.timer.server)
                if resting is None or not resting.alive:
                    continue  # the dialog's end is at hand: to try again, and fail again, would go on for ever
            if isinstance(fired.timer, distributor.AuditDue) and _audit_is_under_way(world):
                continue  # audits are far apart: what the last one found has been read by then
            name = _TIMER_BUDGET.get(type(fired.timer))
            lossy = self.bounds.interruptions and isinstance(fired.timer, distributor.HandOffTimeout)
            if lossy and is_lost(world, fired.timer.server):
                if is_reported(world, fired.timer.server):
                    continue
                name = None  # rationed by the interruption that has lost it
            if name is None:
                yield fired, None, "", False
            elif getattr(budget, name):
                yield fired, None, name, False
        for status in state.servers.values():
            yield from self._busy(world, status)

    def _busy(
        self, world: World, status: distributor.ServerStatus
    ) -> Iterator[tuple[distributor.Event, Any, str, bool]]:  # Any: as above
        """What else may be found of a server than that its time to answer is up; of those with clients."""
        late = world.budget.hand_off_timeouts
        if not status.count.clients or is_reported(world, status.server):
            return
        if status.request is not None and (late or (self.bounds.interruptions and is_lost(world, status.server))):
            yield distributor.StillServes(status.server), None, "", False
        if late:
            yield distributor.Unfit(status.server), None, "hand_off_timeouts", False

    def _from_server(
        self, group: Group, status: distributor.ServerStatus, budget: Budget
    ) -> Iterator[tuple[distributor.Event, Any, str, bool]]:  # Any: as above
        number = group.server
        if group.requests:
            request = group.requests[0]
            yield distributor.BindRequested(number, request.port, request.address), (number, 0), "", False
        elif not group.alive and status.attached:
            yield distributor.ControlEnded(number), None, "", False
        for link in group.links:
            if link.port not in status.dialogs:
                continue
            messages = link.to_distributor
            if messages:
                yield distributor.Received(number, link.port, messages[0]), (number, link.port), "", False
                if budget.reorders and len(messages) > 1 and not _takes_back(messages[0], messages[1]):
                    event = distributor.Received(number, link.port, messages[1])
                    yield event, (number, link.port), "reorders", True
            if self._ends(group, link):
                yield distributor.DialogEnded(number, link.port), None, "", False

    def _ends(self, group: Group, link: Link) -> bool:
        """Whether the Distributor comes to the end of the dialog."""
        without = self.bounds.without
        over = not group.main if Assumption.LAST_PROCESS_ENDS in without else not group.alive
        return over and (not link.to_distributor or Assumption.ENDS_FOLLOW_DATA in without)

    # ------------------------------------------------ a server

    def _server_moves(self, world: World) -> Iterator[_Move]:
        (group,), budget = world.groups, world.budget
        if group.condemned:
            draft = Draft(self, world)
            draft.server_dies(group, child=False)
            yield ServerDeed(group.server, Deed.IS_KILLED), draft, ()
        if group.main:
            if group.asked and not group.condemned:
                draft = Draft(self, world)
                draft.server_dies(group, child=False)
                yield ServerDeed(group.server, Deed.ENDS), draft, ()
            if budget.server_crashes and not group.condemned:
                draft = Draft(self, world)
                draft.spend("server_crashes")
                draft.server_dies(group, child=False)
                yield ServerDeed(group.server, Deed.DIES), draft, ()
                if budget.forked_children:
                    draft = Draft(self, world)
                    draft.spend("server_crashes")
                    draft.spend("forked_children")
                    draft.server_dies(group, child=True)
                    yield ServerDeed(group.server, Deed.LEAVES_A_CHILD), draft, ()
            yield from self._program_moves(world, group)
        if group.broken is None:
            yield from self._sends(world, group)
        for event, spent in self._endpoint_events(group, budget):
            stride = self.stride("server", group.endpoint, event)
            draft = Draft(self, world)
            if spent:
                draft.spend(spent)
            wrong = draft.endpoint_step(group, event, stride)
            yield ServerStep(group.server, event), draft, wrong
        if budget.leaks:
            for client in group.served:
                if client in group.endpoint.clients:
                    draft = Draft(self, world)
                    draft.spend("leaks")
                    draft.put(group.without(client)._replace(gone=(*group.gone, client)))
                    draft.guest(client.cookie, fate=Fate.LEFT)
                    yield ConnectionLeaks(group.server, client.cookie), draft, ()

    def _sends(self, world: World, group: Group) -> Iterator[_Move]:
        """The outbox is sent, under the lock; or whoever does it dies, and another process of the server lives on."""
        if group.sending and group.sent is None:
            reply = self.next_to_send(group)
            draft = Draft(self, world)
            if reply is not None:
                draft.sends(group, reply)
                yield PortDeed(group.server, Deed.SENDS, reply.port), draft, ()
            else:
                draft.put(group._replace(sending=False))
                yield ServerDeed(group.server, Deed.DEFERS), draft, ()
        elif not group.sending and group.endpoint.outbox and self.next_to_send(group) is not None:
            draft = Draft(self, world)
            draft.put(group._replace(sending=True))
            yield ServerDeed(group.server, Deed.RESUMES), draft, ()
        if not world.budget.interruptions:
            return
        if group.sending:
            in_flight = self.in_flight(group)
            if in_flight is not None:
                draft = Draft(self, world)
                draft.spend("interruptions")
                draft.sender_dies(group, in_flight)
                yield PortDeed(group.server, Deed.LOSES_A_SENDER, in_flight.port), draft, ()
            return
        for link in group.links:
            if link.to_server and link.port in group.endpoint.listeners and self.has_room_to_answer(group, link):
                draft = Draft(self, world)
                draft.spend("interruptions")
                draft.reader_dies(group, link)
                yield PortDeed(group.server, Deed.LOSES_A_READER, link.port), draft, ()

    def _program_moves(self, world: World, group: Group) -> Iterator[_Move]:
        """The program binds its ports one after the other; the shell beside it reads the answers."""
        if group.replies and not group.sending and group.broken is None:
            reply = group.replies[0]
            draft = Draft(self, world)
            wrong = draft.reply_read(group, reply)
            yield PortDeed(group.server, Deed.READS_REPLY, reply.port), draft, wrong
        link = _next_to_bind(group)
        if link is not None and link.program is not Program.BINDING:
            draft = Draft(self, world)
            draft.binds(group, link)
            yield PortDeed(group.server, Deed.BINDS, link.port), draft, ()

    def _binds_again(self, world: World, group: Group) -> Iterator[Successor]:
        """A server that is given no answer asks again; where its Distributor has died, it must."""
        link = _next_to_bind(group) if group.main else None
        if link is None or link.program is not Program.BINDING:
            return
        if link.port in (*(reply.port for reply in group.replies), *(request.port for request in group.requests)):
            return
        status = world.distributor.servers.get(group.server, None) if world.distributor else None
        dialog = status.dialogs.get(link.port, None) if status else None
        needless = dialog is not None and dialog.phase is distributor.DialogPhase.BINDING
        if not needless or world.budget.repeated_binds:
            draft = Draft(self, world)
            if needless:
                draft.spend("repeated_binds")
            draft.binds(group, link)
            yield PortDeed(group.server, Deed.BINDS_AGAIN, link.port), draft.done(), ()

    def _endpoint_events(self, group: Group, budget: Budget) -> Iterator[tuple[server.Event, str]]:
        if group.broken is not None:
            yield group.broken, ""
            return  # whoever takes the lock finds it first
        if group.sending:
            if group.sent is not None:
                yield server.Sent(group.sent), ""
            return  # the lock is held
        for link in group.links:
            if group.main and link.program is Program.BOUND:
                yield server.Listened(link.port), ""
            if group.main and link.program is Program.LISTENING and budget.listener_closes:
                yield server.ListenerClosed(link.port), "listener_closes"
            if link.to_server and link.port in group.endpoint.listeners and self.has_room_to_answer(group, link):
                message = link.to_server[0]
                yield server.MessageRead(link.port, message), ""
                if isinstance(message, HandOff) and budget.descriptor_losses:
                    yield server.MessageRead(link.port, message, intact=False), "descriptor_losses"
        for client in group.served:
            yield server.Disconnected(client), ""


def _wishes(cls: monitor.ClassState, budget: Budget) -> Iterator[tuple[monitor.Event, str]]:
    """What an operator may ask for."""
    if budget.retirements:
        for place in cls.places.values():
            if place.retirement is monitor.Retirement.NONE:
                for limited in (False, True):
                    yield monitor.Retire(CLASS, place.place, limited), "retirements"
    if budget.replacements:
        for at_once in (False, True):
            yield monitor.Replace(CLASS, (), cls.program + 1, at_once), "replacements"
    if budget.scalings:
        static, dynamic = cls.config.static, cls.config.dynamic
        for more in (1, -1):
            yield monitor.Scale(CLASS, static + more, dynamic), "scalings"
            yield monitor.Scale(CLASS, static, dynamic + more), "scalings"


_BUDGET: Final = World._fields.index("budget")
"""The budget's place in a world: the last."""


def _next_to_bind(group: Group) -> Link | None:
    """The port on which the program is in bind, or will call it next."""
    waiting = (Program.NEW, Program.CLOSED, Program.BINDING)
    return next((link for link in group.links if link.program in waiting), None)


def _differ(after: World, before: World) -> bool:
    """Whether a step has led to another world, by its state or by its effects; what it was spent of is no difference.

    Args:
        after: sealed, as is `before`.
        before: the world that the step was taken in.
    """
    return any(a is not b for a, b in zip(after[:_BUDGET], before[:_BUDGET], strict=True))


def _takes_back(first: FromServer, second: FromServer) -> bool:
    """Whether the second takes back what the first says: the one order that the machines need."""
    return isinstance(first, Accepted) and isinstance(second, Refused) and first.client == second.client


def _audit_is_under_way(world: World) -> bool:
    """Whether what an audit found is still on its way to its server."""
    if any(isinstance(event, distributor.Audited) for event in world.pending):
        return True
    mail = ((group, message) for group in world.groups for link in group.links for message in link.to_server)
    return any(isinstance(message, InitialMsg) and (message.forget or group.unsaid) for group, message in mail)


_TIMER_BUDGET: Final[dict[type, str]] = {
    distributor.QueueTimeout: "queue_timeouts",
    distributor.HandOffTimeout: "hand_off_timeouts",
    distributor.CreateDelay: "creations",
    distributor.DeleteDelay: "deletions",
    distributor.AuditDue: "audits",
}


_STARTING: Final = (
    Adopt,
    Begin,
    distributor.BindRequested,
    distributor.Listening,
    distributor.Received,
    monitor.Reported,
    server.Listened,
    server.MessageRead,
    server.Sent,
)
"""The events by which a system starts."""
