"""A recorded run, followed through the relation: was what the running system did a run of the relation?

``validate(path)`` reads a trace (`maitred.core.record` describes its form) from its first line on, and keeps one state
of the relation.  It begins in an `initial` one.  Each event of a machine, with the effects that the trace records as
performed, is rendered as transitions, by the same functions as in `proofs.refinement.bridge`.  Each guard must hold
where its transition is taken; what the transitions put into channels must be what the effects sent; and after the step,
what the machine knows (the core's own state, which the events lead to) must agree with the relation's state.  So
channels, and all else that no line shows, are the relation's own, made from nothing but its transitions.

*What the trace does not show is put in where something shows that it must have happened*: that a client has connected,
just before it is accepted; that a process has died, just before somebody sees its end.  Where the lines leave open what
happened, every possibility is followed: whether the effect after the last one recorded was performed by a process that
was killed, whether a Distributor that died had read one more message, whether a server's child lived on.  A divergence
is reported when no possibility is left.  An event whose step a killed process had not saved has not happened: which
those are, `maitred.shell.observe.replay` finds out.

*What stays unconstrained*: when a dialog had no room; when a client connected, and that it closed; in which order
processes did what no channel orders; timers and duplicates, which nobody else notices (``maitred replay`` checks
these); what the last step of a machine was to do, as its process may have been killed. Where a server's messages on one
dialog overtook one another, the relation is set to allow it. Past the first line that the relation does not model
(the stop of the system, an audit that finds something, a socket that cannot be opened, a forked child that serves on
after its server's main process has died) nothing is followed; `Validation` names that line.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Final, TypeAlias

from spec.relation.state import NOW
from spec.relation.system import initial

from maitred.core import distributor, monitor, server
from maitred.core.messages import Allow, Drain, HandOff, InitialMsg, KeepListener, NotReady, RestartReply, ServerId
from maitred.core.record import MACHINES, RecordError, from_record
from maitred.core.transition import Rejected
from maitred.shell.observe.replay import ARGUMENTS, INITIAL, STEPS, replay
from proofs.refinement.abstraction import (
    NotModelled,
    canonical_form,
    down_of,
    is_alive,
    refuse_closing,
    up_of,
    word_of,
)
from proofs.refinement.bridge import (
    TRANSITIONS,
    Divergence,
    Move,
    PerformedStep,
    differences,
    distributor_moves,
    monitor_moves,
    server_moves,
)
from proofs.refinement.interpreter import State, compiled
from proofs.refinement.readers import ANSWERS, SYMBOLS, WORDS, Machines, Table, numbered, tables
from proofs.solve import sentence

MOST: Final = 64
"""At most this many possibilities are followed."""
TOLD_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "monitor": (
        *("store", "filled", "living", "phase", "died_unready", "kept", "used", "dynamic_resting", "usable"),
        *("configured", "leaving", "limited", "succeeds"),
        *("incarnation", "distributor_element"),
    ),
    "distributor": (
        *("operating", "next_rank", "next_arrival", "total", "creation", "promised", "row", "attached", "draining"),
        *("resting", "heard", "known", "said_drained", "rank", "count", "count_sequence", "requested", "request"),
        *("dialog", "binding", "ready", "dialog_sequence", "owed", "accepting", "pausing", "opened", "listens"),
        *("waiting", "allowance"),
    ),
}
"""The symbols that a machine's own state determines."""
OF_A_SERVER: Final = ("clients", "serving", "undelivered", "bound", "listening", "owes")
OF_A_CLIENT: Final = ("arrival", "port_of")
"""Of those clients that the Monitor or the Distributor holds."""
GHOSTS: Final = dict.fromkeys(("last_word", "last_dialog_word", "last_use_word", "last_drained_word"), -1)


@dataclass
class Validation:
    """What came of following a trace."""

    steps: int = 0
    """Events of machines that were rendered."""
    taken: Counter[str] = field(default_factory=Counter)
    """How often each transition was taken, on the way of the first possibility that is left."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Of these, those that no line shows, and that were put in."""
    possibilities: int = 1
    """At most so many were followed at a time."""
    compared: int = 0
    """How often what a machine knows was compared with the relation's state."""
    ends: str = "at its end"
    """Where it was followed to, and why no further."""
    outside: int = 0
    """Events from there on, which the relation is not asked about."""


@dataclass
class _Step:
    """An event of a machine, and what it did."""

    line: int
    who: str
    event: Any  # Any: of whichever machine
    effects: list[Any] = field(default_factory=list)
    declined: bool = False
    last: bool = False
    """No other event of this machine follows."""
    in_vain: set[int] = field(default_factory=set)
    """Of the Distributor: the places of the hand-offs later reported undelivered."""


Start: TypeAlias = tuple[str, dict[str, Any]]
"""A machine begins: who, and the arguments."""
_Rendering: TypeAlias = tuple[list[Move], Sequence[Any], bool]
"""A step as transitions; the effects that were performed; whether these are surely all."""


def validate(path: str | PathLike[str], class_id: int = 0) -> Validation:
    """Follow the part of a trace that is about one server class.

    Args:
        path: of the trace.
        class_id: the place of the server class in the configuration.

    Raises:
        OSError: the file cannot be read.
        NotModelled: the relation does not model such a server class at all.
        Divergence: what is recorded is no run of the relation; the text names the line.
    """
    lines = _read(path)
    return _Validator(lines, class_id).validate()


# ================================================================ reading


def _read(path: str | PathLike[str]) -> list[_Step | Start]:
    """The trace by events and starts, each event with its effects; without the events whose step was not saved."""
    found: list[_Step | Start] = []
    steps: dict[str, list[_Step]] = {}
    unsaved = replay(path).unsaved
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                record = json.loads(raw)
                who = record["who"]
                kind = who.split()[0]
                if "start" in record:
                    hints = ARGUMENTS[kind]
                    found.append((who, {key: from_record(hint, record["start"][key]) for key, hint in hints.items()}))
                    steps[who] = []
                elif "event" in record:
                    step = _Step(number, who, from_record(MACHINES[kind][0], record["event"]))
                    steps[who].append(step)
                    if number not in unsaved:
                        found.append(step)
                elif "effect" in record:
                    steps[who][-1].effects.append(from_record(MACHINES[kind][1], record["effect"]))
                else:
                    steps[who][-1].declined = bool(record["rejected"])
            except (ValueError, LookupError, TypeError, AttributeError, RecordError) as error:
                raise Divergence(f"line {number}: is no record of a trace, or comes too early: {error}") from error
    if not found:
        raise Divergence("line 0: the trace is empty")
    for of_one in steps.values():
        if of_one:
            of_one[-1].last = True
        _mark(of_one)
    return found


def _mark(steps: Sequence[_Step]) -> None:
    """Find the hand-offs of a Distributor that are later reported undelivered."""
    sent: dict[ServerId, tuple[_Step, int]] = {}
    for step in steps:
        if isinstance(step.event, distributor.Unsent) and step.event.server in sent:
            of, place = sent.pop(step.event.server)
            of.in_vain.add(place)
        for place, effect in enumerate(step.effects):
            if isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff):
                sent[effect.server] = (step, place)


def _overtaken(lines: Sequence[_Step | Start]) -> bool:
    """Whether a message of a server was read after a later one on the same dialog."""
    newest: dict[tuple[str, int, int], int] = {}
    for step in lines:
        if isinstance(step, _Step) and isinstance(step.event, distributor.Received):
            at, number = (step.who, step.event.server, step.event.port), step.event.message.count.sequence
            if newest.get(at, -1) > number:
                return True
            newest[at] = number
    return False


# ================================================================ following


@dataclass
class Possibility:
    """A state that the relation may be in, and how it got there."""

    state: State
    taken: Counter[str] = field(default_factory=Counter)
    """How often each transition was taken."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Of these, those that no line shows."""

    def after(self, moves: Sequence[Move], *, unseen: bool = False) -> Possibility:
        """Where the transitions lead to.

        Raises:
            Divergence: one of them is not enabled.
        """
        state, names = _numbered(self.state), Counter(name for name, _ in moves)
        for name, parameters in moves:
            state = _with_room(state, name)
            if TRANSITIONS[name].refused(state, parameters) is not None:
                false = sentence.refusal(TRANSITIONS[name], state, parameters)
                raise Divergence(f"{name}{parameters} is not enabled, as this does not hold: {false}")
            state = _numbered(TRANSITIONS[name].after(state, parameters))
        return Possibility(_tidied(state), self.taken + names, self.unseen + names if unseen else self.unseen)


class _Validator:
    def __init__(self, lines: Sequence[_Step | Start], class_id: int) -> None:
        self.lines = lines
        self.class_id = class_id
        self.report = Validation()
        self.machines: dict[str, Any] = {}  # Any: the state of whichever machine
        self.possible: list[Possibility] = []
        self.reordering = _overtaken(lines)

    def validate(self) -> Validation:
        lines = iter(self.lines)
        for line in lines:
            if not isinstance(line, _Step):
                self._start(*line)
            elif self._concerns(line):
                try:
                    self._step(line)
                except NotModelled as outside:
                    self.report.ends = f"before line {line.line}: {outside}"
                    self.report.outside = 1 + sum(isinstance(rest, _Step) and self._of_class(rest) for rest in lines)
        if not self.report.steps:
            raise Divergence("no step of the server class was followed")
        left = self.possible[0]
        self.report.taken, self.report.unseen = left.taken, left.unseen
        return self.report

    def _concerns(self, step: _Step) -> bool:
        """Whether the event is to be rendered; the Monitor's about another server class is taken by the Monitor
        only.
        """
        ours = self._of_class(step)
        if step.who == "monitor":
            step.effects = [effect for effect in step.effects if self._is_ours(effect)]
            if not ours:
                self._advance(step)
        return ours

    def _of_class(self, step: _Step) -> bool:
        """Whether the event is of this server class, or of all."""
        if step.who == "monitor":
            return self._is_ours(step.event)
        return int(step.who.split()[1]) == self.class_id

    def _is_ours(self, part: Any) -> bool:
        """Whether an event or an effect of the Monitor is about this server class, or about none."""
        of = getattr(part, "class_id", getattr(getattr(part, "timer", None), "class_id", self.class_id))
        return bool(of == self.class_id)

    def _start(self, who: str, arguments: Mapping[str, Any]) -> None:
        kind = who.split()[0]
        self.machines[who] = INITIAL[kind](**arguments)
        if kind == "monitor":
            self.possible = [Possibility(self._first(arguments["classes"][self.class_id], arguments["weights"]))]

    def _first(self, config: monitor.ClassConfig, weights: Sequence[int]) -> State:
        """The relation's state before anything has been started."""
        places = range(2 * (config.static + config.dynamic))  # as `readers.numbered` numbers them
        first: dict[str, Table] = {
            "configured": {(): config.dynamic},
            "limit": {(): config.waiting_limit},
            "reordering": {(): self.reordering},
            "life": {(): "absent"},
            "dynamic": {(place,): bool(place % 2) for place in places},
            "usable": {(element,): True for element in range(len(weights))},
        }
        if len({port for port, _ in config.listeners}) < len(config.listeners):
            raise NotModelled("a port with several addresses")
        ports = {event.port for event in self._events(distributor.BindRequested, server.Bound)}
        domains = {
            "Server": (),
            "Client": (),
            "Port": tuple(sorted(ports | {port for port, _ in config.listeners})),
            "Place": tuple(places),
            "Element": tuple(range(len(weights))),
            "Int": (-1, 0, 1),
        }
        state = State(first, domains, dict(GHOSTS))
        if not BEGINS(state, {}):
            raise Divergence("the run does not begin in an initial state of the relation")
        return state

    def _events(self, *kinds: type) -> Iterator[Any]:
        return (line.event for line in self.lines if isinstance(line, _Step) and isinstance(line.event, kinds))

    # ------------------------------------------------ a step

    def _advance(self, step: _Step) -> Any:  # Any: what a step of whichever machine gives
        """Take the step in the machine; what it gives."""
        if step.who not in self.machines:
            raise Divergence(f"line {step.line}: {step.who} has not started")
        result = STEPS[step.who.split()[0]](self.machines[step.who], step.event)
        if not isinstance(result, Rejected):
            self.machines[step.who] = result.state
        return result

    def _step(self, step: _Step) -> None:
        before = self.machines.get(step.who)
        result = self._advance(step)
        if step.declined != isinstance(result, Rejected) and not step.last:
            raise Divergence(
                f"line {step.line}, {step.who}: the trace and the machine differ in whether it is declined"
            )
        self._introduce(step)
        found: dict[str, Possibility] = {}
        why: list[Divergence] = []
        for possible in self.possible:
            for unseen in self._unseen(step, possible.state):
                try:
                    self._tell(step, before, result, possible.after(unseen, unseen=True), found)
                except Divergence as divergence:
                    why.append(divergence)
        if not found:
            raise Divergence(f"line {step.line}, {step.who}, {type(step.event).__name__}: {why[0]}")
        if len(found) > MOST:
            raise Divergence(f"line {step.line}: more than {MOST} possibilities are left: the trace shows too little")
        self.possible = [*found.values()]
        self.report.steps += 1
        self.report.possibilities = max(self.report.possibilities, len(found))

    def _tell(
        self, step: _Step, before: Any, result: Any, possible: Possibility, found: dict[str, Possibility]
    ) -> None:
        """Take each rendering of the step, and keep where it leads to if the machine agrees."""
        why: list[Divergence] = []
        renderings = [*self._renderings(step, before, result, possible.state)]
        for moves, performed, finished in renderings:
            try:
                after = possible.after(moves)
                _compare_messages(step, performed, finished, possible.state, after.state)
                if finished:
                    self._compare(after.state)
            except Divergence as divergence:
                why.append(divergence)
            else:
                found.setdefault(repr(canonical_form(after.state)), after)
        if len(why) == len(renderings):
            raise why[0]

    def _renderings(self, step: _Step, before: Any, result: Any, state: State) -> Iterator[_Rendering]:
        """The step as transitions, in each way that the trace leaves open."""
        rejected = isinstance(result, Rejected)
        effects: Sequence[Any] = () if isinstance(result, Rejected) else result.effects
        finished = not step.last or len(step.effects) >= len(effects)
        match step.who.split()[0]:
            case "monitor":
                if isinstance(
                    result, Rejected
                ):  # what the Monitor declines has been read from its channel all the same
                    read = isinstance(step.event, monitor.Reported) and step.event.class_id == self.class_id
                    yield monitor_moves(step.event, (), before, before, self.class_id) if read else [], (), True
                elif isinstance(step.event, monitor.Started):
                    yield _begun(step.effects, self.class_id), step.effects, True
                else:
                    moves = monitor_moves(step.event, step.effects, before, result.state, self.class_id)
                    yield moves, step.effects, True
            case "server":
                s = int(step.who.split()[2])
                yield [] if rejected else _server_moves(s, step.event, before, state), step.effects, finished
                if not finished:
                    yield [], step.effects, False
            case _:

                def in_vain(i: int, effect: distributor.Send) -> bool:
                    return not _gets_it(step, i, state, effect.server)

                for performed in [step.effects] if finished else [step.effects, effects[: len(step.effects) + 1]]:
                    taken = PerformedStep(step.event, effects, performed, rejected, dies=not finished, shift=0)
                    yield distributor_moves(taken, before, state, in_vain), performed, finished

    # ------------------------------------------------ what no line shows

    def _introduce(self, step: _Step) -> None:
        """Whoever appears with this step is known from here on: what never changes of it."""
        put: dict[str, Table] = defaultdict(dict)
        servers, clients, places = [], [], []
        if isinstance(step.event, distributor.ConnectionRequest):
            clients.append(step.event.cookie)
            put["absent"][step.event.cookie,] = True
            put["port_of"][step.event.cookie,] = step.event.port
        for effect in step.effects:
            if isinstance(effect, monitor.StartServer) and effect.class_id == self.class_id:
                known: monitor.MonitorState = self.machines["monitor"]
                servers.append(effect.server)
                place = numbered(known.classes[self.class_id].places[effect.place])
                put["place_of"][effect.server,] = place
                put["dynamic"][place,] = bool(place % 2)
                places.append(place)
                put["element_of"][effect.server,] = effect.element
                put["max_clients"][effect.server,] = known.classes[self.class_id].config.max_clients
                put["weight"][effect.server,] = known.elements[effect.element].weight
        if servers or clients:
            for possible in self.possible:
                possible.state = _with(possible.state, put, {"Server": servers, "Client": clients, "Place": places})

    def _unseen(self, step: _Step, state: State) -> Iterator[list[Move]]:
        """What must have happened before this step, in each way that it may have."""
        match step.event:
            case distributor.ConnectionRequest():
                yield [("client_comes", {"c": step.event.cookie})]
            case distributor.DialogEnded() | distributor.ControlEnded() | monitor.ServerGone():
                s = step.event.server
                yield from _deaths(state, s) if is_alive(state, s) else [[]]
            case distributor.Received():
                s, q = step.event.server, step.event.message.count.sequence
                yield [("server_sends", {"s": s, "q": q})] if q in _unsaid(state, s) else []
            case server.Interrupted():
                s = int(step.who.split()[2])
                yield [*(_let_go(state, s) if step.event.reply is None else []), _broken(state, step)]
            case _ if step.who.startswith("server") and not isinstance(step.event, server.Sent):
                yield _let_go(state, int(step.who.split()[2]))
            case monitor.ServerExited():
                s = step.event.server
                if not state.value("main", s):
                    yield []
                    return
                yield from _deaths(state, s)
                if not state.value("doomed", s):
                    yield from _orphans(state, s)
            case monitor.DistributorExited():
                if state.value("life") != "up":
                    yield []
                    return
                yield [("distributor_dies", {})]
                for s, q in _unread(state):
                    yield [("distributor_dies_having_read", {"s": s, "q": q})]
            case _:
                yield []

    # ------------------------------------------------ what a machine knows

    def _compare(self, state: State) -> None:
        """What the machines know agrees with the relation's state."""
        up = self.machines.get(f"distributor {self.class_id} {state.value('incarnation')}")
        if state.value("life") != "up":
            up = None
        if up is not None:
            refuse_closing(up)
        endpoints = {s: self.machines.get(f"server {self.class_id} {s}") for s in state.domains["Server"]}
        compared = {s: one for s, one in endpoints.items() if one is not None and is_alive(state, s)}
        machines = Machines(self.machines["monitor"], up, compared, self.class_id)
        known = dict(state.tables) | _known(machines, TOLD_BY["monitor"])
        if up is not None:
            known |= _known(machines, TOLD_BY["distributor"])
        for name, table in _known(machines, OF_A_CLIENT).items():
            known[name] = known.get(name, {}) | table
        for name, table in _known(machines, OF_A_SERVER).items():
            others = {place: x for place, x in known.get(name, {}).items() if place[0] not in compared}
            known[name] = others | table
        self.report.compared += 1
        got, want = canonical_form(state), canonical_form(State(known, state.domains, state.defaults))
        if got != want:
            raise Divergence(f"what the machine knows is something else: {differences(got, want)}")


BEGINS: Final = compiled(initial(NOW))


# ================================================================ what is sent


def _compare_messages(step: _Step, performed: Sequence[Any], finished: bool, before: State, after: State) -> None:
    """What the relation puts into channels in this step is what the trace records as sent."""
    said = [*_said(before, after)]
    recorded = [*_recorded(step, performed, before, after)]
    if sorted(said, key=repr) == sorted(recorded, key=repr):
        return
    if finished or len(said) > len(recorded) + 1 or not all(message in said for message in recorded):
        raise Divergence(f"the relation sends {said}; the trace has {recorded}")


def _said(before: State, after: State) -> Iterator[list[Any]]:
    """The messages that are in a channel after a step, and were not before."""
    for i in range(before.value("word_tail"), after.value("word_tail")):
        yield ["to the Monitor", *word_of(after, i)]
    for s in after.domains["Server"]:
        issued = range(before.value("sequence", s) + 1, after.value("sequence", s) + 1)
        for q in (*_unsaid(before, s), *issued):
            if after.value("up_sent", s, q):
                yield ["from server", s, *up_of(after, s, q)]
        for p in after.domains["Port"]:
            for i in range(before.value("down_tail", s, p), after.value("down_tail", s, p)):
                yield ["to server", s, p, *down_of(after, s, p, i)]
        for name, message in (("to_adopt", "Adopt"), ("drain_due", "Drain")):
            if after.value(name, s) and not before.value(name, s):
                yield ["to the Distributor", message, s]
    for c in after.domains["Client"]:
        if after.value("to_restore", c) and not before.value("to_restore", c):
            yield ["to the Distributor", "Restore", c]
    for name, message in (("begin_due", "Begin"), ("decline_due", "CreationFailed")):
        if after.value(name) and not before.value(name):
            yield ["to the Distributor", message]


def _recorded(step: _Step, performed: Sequence[Any], before: State, after: State) -> Iterator[list[Any]]:
    """The messages that the effects send, as far as somebody is there to read them; or that a server has sent."""
    if isinstance(step.event, server.Sent):
        s, reply = int(step.who.split()[2]), step.event.reply
        said = reply.message
        about = said.incarnation if isinstance(said, (RestartReply, NotReady)) else said.client.cookie
        if said.count.sequence in _unsaid(before, s):
            yield ["from server", s, ANSWERS[type(said)], reply.port, about, said.count.clients]
    for i, effect in enumerate(performed):
        match effect:
            case distributor.SendMonitor(message=message):
                of = [getattr(message, name) for name in ("server", "port") if hasattr(message, name)]
                of = [message.client.cookie] if hasattr(message, "client") else of
                yield ["to the Monitor", WORDS[type(message)], *([] if isinstance(message, KeepListener) else of)]
            case distributor.Send(server=s, port=p, message=HandOff(client=client)) if _gets_it(step, i, after, s):
                yield ["to server", s, p, "HandOff", client.cookie]
            case distributor.Send(server=s, port=p, message=InitialMsg() as message) if is_alive(after, s):
                yield ["to server", s, p, "InitialMsg", message.incarnation]
            case monitor.SendDistributor(message=Allow()):
                pass  # the relation does not know it as a message
            case monitor.SendDistributor(message=Drain(server=s)) if before.value("leaving", s):
                pass  # once more: it has been sent so, or will be by `Adopt`
            case monitor.SendDistributor(message=message) if after.value("life") == "up":
                of = [message.client.cookie] if hasattr(message, "client") else []
                of = [message.server] if hasattr(message, "server") else of
                yield ["to the Distributor", type(message).__name__, *of]
            case _:
                pass


def _gets_it(step: _Step, place: int, state: State, s: int) -> bool:
    """Whether somebody may read the hand-off that is the effect at this place.

    The kernel takes it as long as the other end of the dialog is open, and a process that is being ended closes one
    descriptor after the other: the control socket's end may have been seen before.
    """
    return place not in step.in_vain and is_alive(state, s)


def _begun(effects: Sequence[Any], class_id: int) -> list[Move]:
    """The Monitor's beginning: what it starts, one after the other."""
    moves: list[Move] = []
    for effect in effects:
        if isinstance(effect, monitor.StartDistributor) and effect.class_id == class_id:
            moves.append(("distributor_starts", {"e": effect.element}))
        elif isinstance(effect, monitor.StartServer) and effect.class_id == class_id:
            moves.append(("monitor_starts_server", {"s": effect.server}))
    return moves


def _deaths(state: State, s: int) -> Iterator[list[Move]]:
    """The server's processes die; one may have sent something more."""
    death: Move = ("server_is_killed" if state.value("doomed", s) else "server_dies", {"s": s})
    yield [death]
    if not state.value("unnoted", s) and not state.value("broken", s):
        yield from ([("server_sends", {"s": s, "q": q}), death] for q in _first_unsaid(state, s))


def _orphans(state: State, s: int) -> Iterator[list[Move]]:
    """The server's main process dies, and a child lives on: after its last step, or in the midst of it."""
    yield [*_let_go(state, s), ("server_leaves_a_child", {"s": s})]
    if state.value("sending", s):
        unnoted = state.value("unnoted", s)
        for q in [unnoted] if unnoted else _first_unsaid(state, s):
            yield [("server_leaves_a_child_in_the_midst", {"s": s, "q": q})]


def _let_go(state: State, s: int) -> list[Move]:
    """The lock that a server's step before has left held is free: the whole of that step is done."""
    return [("server_lets_go", {"s": s})] if state.value("sending", s) else []


def _broken(state: State, step: _Step) -> Move:
    """What has happened to the process that was interrupted."""
    s, event = int(step.who.split()[2]), step.event
    if event.reply is not None:
        return "sender_dies", {"s": s, "q": event.reply.message.count.sequence}
    at = state.value("down_head", s, event.port)
    if at == state.value("down_tail", s, event.port):
        raise NotModelled("a process that died before it had read anything")
    lost = "hand_off" if state.value("down_kind", s, event.port, at) == "HandOff" else "question"
    return f"reader_dies_with_{lost}", {"s": s, "p": event.port}


def _server_moves(s: int, event: Any, before: server.EndpointState, state: State) -> list[Move]:
    """The transitions that a step of a server's endpoint is; what it records as sent was not, as far as was known."""
    own = server_moves(s, event, before, shift=0)
    if isinstance(event, server.Disconnected) and state.value("lapsed", s, event.client.cookie) and is_alive(state, s):
        raise NotModelled("a forked child that serves on after its server's main process has died")
    if isinstance(event, server.Sent):
        q = event.reply.message.count.sequence
        return [*([("server_sends", {"s": s, "q": q})] if q in _unsaid(state, s) else []), *own]
    return own


def _with_room(state: State, name: str) -> State:
    """Where no line shows whether a dialog has room: what is left to be sent has none."""
    full = name == "server_lets_go"
    places = [(s, p) for s in state.domains["Server"] for p in state.domains["Port"]]
    return state.with_changes({"full": dict.fromkeys(places, full)})


def _unread(state: State) -> Iterator[tuple[int, int]]:
    """The first message of each dialog that the Distributor has yet to read, by server and number."""
    for s in state.domains["Server"]:
        heads: dict[int, int] = {}
        for q in (q for q in _pending(state, s) if state.value("up_sent", s, q)):
            heads.setdefault(state.value("up_port", s, q), q)
        yield from ((s, q) for q in heads.values())


def _unsaid(state: State, s: int) -> list[int]:
    """What is in the server's outbox, and not in a dialog."""
    return [q for q in _pending(state, s) if not state.value("up_sent", s, q)]


def _first_unsaid(state: State, s: int) -> list[int]:
    """Of that, what comes next on each dialog."""
    return [*{state.value("up_port", s, q): q for q in reversed(_unsaid(state, s))}.values()]


def _pending(state: State, s: int) -> list[int]:
    return [q for q in range(1, state.value("sequence", s) + 1) if not state.value("up_read", s, q)]


def _known(machines: Machines, symbols: Sequence[str]) -> dict[str, Table]:
    return tables(machines, map(SYMBOLS.__getitem__, symbols))


def _with(
    state: State,
    put: Mapping[str, Table],
    more: Mapping[str, Sequence[int]],
) -> State:
    wider = {sort: tuple(dict.fromkeys((*state.domains[sort], *values))) for sort, values in more.items()}
    return State(state.with_changes(put).tables, {**state.domains, **wider}, state.defaults)


def _tidied(state: State) -> State:
    """The state without whoever is over and of whom nothing is left: a run may have no end of them."""
    get, servers = state.value, state.domains["Server"]
    named = {get("request", s) for s in servers if get("requested", s)}
    tied = {name: _pairs(state, name) for name in ("serving", "lapsed", "undelivered", "unsent")}
    named |= {c for pairs in tied.values() for _, c in pairs}
    for s in servers:
        for p in state.domains["Port"]:
            unread = range(get("down_head", s, p), get("down_tail", s, p))
            named |= {get("down_client", s, p, i) for i in unread if get("down_kind", s, p, i) == "HandOff"}
    clients = [c for c in state.domains["Client"] if c in named or not get("over", c) or _is_listed(state, c)]
    lasting = ("main", "child", "living", "row", "to_adopt")
    due = {get("word_server", i) for i in range(get("word_head"), get("word_tail"))} | {s for s, _ in tied["unsent"]}
    kept = [s for s in servers if s in due or not get("born", s) or any(get(name, s) for name in lasting)]
    return State(state.tables, {**state.domains, "Client": tuple(clients), "Server": tuple(kept)}, state.defaults)


def _pairs(state: State, name: str) -> list[tuple[Any, ...]]:
    return [place for place, holds in state.tables.get(name, {}).items() if holds]


def _is_listed(state: State, c: int) -> bool:
    return any(state.value(name, c) for name in ("waiting", "store", "to_restore"))


def _numbered(state: State) -> State:
    """The state with those integers that matter: of what is unread, and of what comes next."""
    numbers = {-1, 0, 1}
    numbers.update(range(state.value("word_head"), state.value("word_tail") + 1))
    for s in state.domains["Server"]:
        numbers.update((*_pending(state, s), state.value("sequence", s), state.value("sequence", s) + 1))
        numbers.update((state.value("unnoted", s), state.value("broken_at", s)))
        for p in state.domains["Port"]:
            numbers.update(range(state.value("down_head", s, p), state.value("down_tail", s, p) + 1))
    return State(state.tables, {**state.domains, "Int": tuple(sorted(numbers))}, state.defaults)
