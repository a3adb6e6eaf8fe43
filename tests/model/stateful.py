"""The closed system as a Hypothesis state machine, at sizes that no exploration exhausts.

`ClosedSystem` walks through `maitred.model.world.System`.  Each rule lets actions of its kind happen; which of those
that are possible is a drawn index, so that a failing run shrinks to few rules with small numbers.  After every
action the step and the world it leads to are asked all properties that must always hold.  `Reached` counts what a run
has come to, for a test that fails where something never happened.
"""

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import NamedTuple

from hypothesis import currently_in_test_context, target
from hypothesis import event as tally
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.core.driving import parts

from maitred.core import distributor, messages, monitor, server
from maitred.model.claims.safety import LEGITIMATE, PROPERTIES, judge
from maitred.model.search.explorer import Path, Step
from maitred.model.story.narrate import narrate
from maitred.model.world import (
    ANY,
    CLASS,
    REPEATABLE,
    Bounds,
    ConnectionLeaks,
    Deed,
    DistributorCutOff,
    EffectDeclined,
    Fate,
    Life,
    Program,
    System,
)

# ================================================================ kinds of action

FROM_THE_MONITOR = (messages.Adopt, messages.Restore, messages.Begin, messages.CreationFailed, messages.Close)
DISTRIBUTOR = {
    **dict.fromkeys(FROM_THE_MONITOR, "distributor_hears_the_monitor"),
    distributor.Listening: "distributor_listens",
    distributor.ListeningFailed: "distributor_cannot_listen",
    distributor.BindRequested: "distributor_reads_a_bind",
    distributor.ConnectionRequest: "distributor_accepts",
    distributor.AcceptFailed: "accept_fails",
    distributor.BacklogEmpty: "distributor_finds_the_backlog_empty",
    distributor.PeerClosed: "distributor_sees_a_waiter_close",
    distributor.Received: "distributor_reads_a_server",
    distributor.DialogEnded: "distributor_sees_a_dialog_end",
    distributor.ControlEnded: "distributor_sees_a_control_channel_end",
    distributor.Unsent: "distributor_learns_of_a_hand_off_unsent",
    distributor.Audited: "distributor_learns_who_is_gone",
    distributor.StillServes: "a_server_serves_on_without_an_answer",
    distributor.Unfit: "a_server_is_found_unfit",
    distributor.QueueTimeout: "a_waiter_has_waited_too_long",
    distributor.HandOffTimeout: "a_server_has_not_answered",
    distributor.RestOver: "a_rest_is_over",
    distributor.CreateDelay: "the_create_delay_passes",
    distributor.DeleteDelay: "the_delete_delay_passes",
    distributor.AcceptRetry: "accept_is_tried_again",
    distributor.AuditDue: "an_audit_is_due",
}
AUDIT = DISTRIBUTOR[distributor.AuditDue]
OVERTAKEN = "distributor_reads_what_has_overtaken"
MONITOR = {
    monitor.Reported: "monitor_hears_the_distributor",
    monitor.DistributorExited: "monitor_learns_of_the_distributors_end",
    monitor.ServerExited: "monitor_learns_of_a_servers_end",
    monitor.ServerGone: "monitor_learns_that_a_server_is_gone",
    monitor.ElementFailed: "an_element_fails",
    monitor.ElementRestored: "an_element_returns",
    monitor.StopRequested: "the_operator_stops_it",
    monitor.RestartServer: "a_server_is_started_again",
    monitor.RestartDistributor: "the_distributor_is_started_again",
    monitor.DynamicRest: "dynamic_servers_may_start_again",
    monitor.ServerStable: "a_server_has_lived_long",
    monitor.DistributorStable: "the_distributor_has_lived_long",
    monitor.StartWarning: "a_server_is_late",
    monitor.KillDelay: "a_server_does_not_end",
    monitor.GraceOver: "the_grace_is_over",
}
SERVER = {
    server.Listened: "a_program_listens",
    server.ListenerClosed: "a_program_closes_its_listener",
    server.MessageRead: "a_server_reads",
    server.Disconnected: "a_client_leaves",
    server.Sent: "a_server_learns_that_it_has_sent",
    server.Interrupted: "a_server_finds_a_step_interrupted",
}
READS = SERVER[server.MessageRead]
LEARNS = DISTRIBUTOR[distributor.Audited]
UNSENT = DISTRIBUTOR[distributor.Unsent]
WITHOUT_DESCRIPTOR = "a_descriptor_is_lost"
CLIENT_ARRIVES = "a_client_arrives"
DEEDS = {
    Deed.ARRIVES: CLIENT_ARRIVES,
    Deed.HANGS_UP: "a_client_hangs_up",
    Deed.HALF_CLOSES: "a_client_closes_its_side",
    Deed.BINDS: "a_program_binds",
    Deed.BINDS_AGAIN: "a_program_binds_again",
    Deed.READS_REPLY: "a_program_is_answered",
    Deed.LEAKS: "a_server_loses_track",
    Deed.DIES: "a_server_dies",
    Deed.LEAVES_A_CHILD: "a_server_leaves_a_child",
    Deed.IS_KILLED: "a_server_is_killed",
    Deed.ENDS: "a_server_ends",
    Deed.SENDS: "a_server_sends",
    Deed.DEFERS: "a_server_defers_what_it_has_to_say",
    Deed.RESUMES: "a_server_goes_on_sending",
    Deed.LOSES_A_READER: "a_server_loses_a_reader",
    Deed.LOSES_A_SENDER: "a_server_loses_a_sender",
    Deed.EXITS: "the_distributor_exits",
}
LOSES = DEEDS[Deed.LOSES_A_SENDER]
SENDS = DEEDS[Deed.SENDS]
DISTRIBUTOR_DIES = "the_distributor_dies"
OTHERS = {OVERTAKEN, WITHOUT_DESCRIPTOR, DISTRIBUTOR_DIES}
KINDS = sorted({*DISTRIBUTOR.values(), *MONITOR.values(), *SERVER.values(), *DEEDS.values(), *OTHERS})
SPEAKING = (
    "a_server_sends",
    "a_server_learns_that_it_has_sent",
    "a_server_defers_what_it_has_to_say",
    "a_server_goes_on_sending",
    "a_server_finds_a_step_interrupted",
)
"""How a server sends what it has to send, where that is steps of its own."""
USUAL = (
    "monitor_hears_the_distributor",
    "distributor_hears_the_monitor",
    "distributor_listens",
    "distributor_cannot_listen",
    "distributor_reads_a_bind",
    "distributor_reads_a_server",
    "distributor_accepts",
    "distributor_sees_a_dialog_end",
    "distributor_sees_a_control_channel_end",
    "distributor_sees_a_waiter_close",
    "distributor_finds_the_backlog_empty",
    "accept_is_tried_again",
    "a_program_binds",
    "a_program_binds_again",
    "a_program_is_answered",
    "a_program_listens",
    "a_server_reads",
    *SPEAKING,
    "a_server_is_killed",
    "a_server_ends",
    "a_server_is_started_again",
    "monitor_learns_of_a_servers_end",
    "monitor_learns_that_a_server_is_gone",
    "monitor_learns_of_the_distributors_end",
    "the_distributor_is_started_again",
    "the_distributor_exits",
)
"""What happens when nobody comes or goes and nothing breaks; not what may well come later than all of that."""
SLOW = (
    None,
    "monitor_hears_the_distributor",
    "distributor_hears_the_monitor",
    "distributor_reads_a_server",
    "distributor_sees_a_control_channel_end",
    "distributor_accepts",
    "a_server_reads",
    "a_program_binds",
)
"""Of the usual kinds, those that make others see an old state of things while they are held up."""
SEVERAL = (*USUAL, CLIENT_ARRIVES, "a_client_leaves")
STARTING = (
    "distributor_hears_the_monitor",
    "distributor_listens",
    "monitor_hears_the_distributor",
    "a_program_binds",
    "distributor_reads_a_bind",
    "a_program_is_answered",
    "a_program_listens",
    "a_server_reads",
    *SPEAKING,
    "distributor_reads_a_server",
)
"""What happens until every server is ready."""
SENDING = ("distributor_accepts", "distributor_reads_a_server", "distributor_sees_a_dialog_end", "a_rest_is_over")
LISTENING = ("distributor_hears_the_monitor", "distributor_reads_a_bind")
"""The kinds in whose steps the kernel is asked to send a hand-off, or to listen, and may decline."""


class Offer(NamedTuple):
    """Something that may happen: an event of a machine, or a deed."""

    who: str
    what: object
    source: object = None
    """Of an event of the Monitor or the Distributor: the System's own record of where it is taken from."""
    port: int | None = None
    """Of a client who connects."""


class Picking(System):
    """The closed system, of which one event at a time is asked for: all that are possible would take too long."""

    def __init__(self, bounds, judge):
        super().__init__(bounds, judge, steady=True)  # who is who is of no account to a walk, but to its reader
        self._picked = None
        self._known = {}

    def _distributor_events(self, world, state):
        return super()._distributor_events(world, state) if self._picked is None else iter(self._picked)

    def _monitor_events(self, world):
        return super()._monitor_events(world) if self._picked is None else iter(self._picked)

    def beginning(self):
        """The world in which the Monitor has just been started, whatever the bounds; nothing is amiss there."""
        world, wrong = self._started()
        assert not wrong, f"the Monitor's start breaks {', '.join(wrong)}"
        return world

    def offers(self, world):
        """Everything that may happen, by kind, untried: some of it may turn out to change nothing."""
        found = defaultdict(list)
        if world.monitor.phase is monitor.Phase.ENDED:
            return found
        for kind, offer in (*self._by_clients(world), *self._by_monitor(world), *self._by_distributor(world)):
            found[kind].append(offer)
        for group in world.groups:
            for kind, offer in self._by_server(world, group):
                found[kind].append(offer)
        return found

    def _by_clients(self, world):
        coming = next((c for c, guest in enumerate(world.guests) if guest.fate is Fate.ABSENT), None)
        for i, port in enumerate(self.ports):
            if coming is not None and world.kernel.listening[i]:
                yield DEEDS[Deed.ARRIVES], Offer(f"client {coming}", Deed.ARRIVES, port=port)
        if world.budget.hang_ups:
            for cookie, guest in enumerate(world.guests):
                if not guest.hung and guest.fate in (Fate.BACKLOG, Fate.IN) and not guest.taken:
                    for deed in (Deed.HANGS_UP, Deed.HALF_CLOSES):
                        yield DEEDS[deed], Offer(f"client {cookie}", deed)

    def _by_monitor(self, world):
        for source in self._monitor_events(world):
            event = source[0]
            kind = MONITOR[type(event.timer if isinstance(event, monitor.Fired) else event)]
            yield kind, Offer("monitor", event, source)

    def _by_distributor(self, world):
        if world.distributor is None:
            return
        for source in self._distributor_events(world, world.distributor):
            event, late = source[0], source[3]
            kind = DISTRIBUTOR[type(event.timer if isinstance(event, distributor.Fired) else event)]
            yield OVERTAKEN if late else kind, Offer("distributor", event, source)
        if world.distributor.phase is distributor.Phase.CLOSED:
            yield DEEDS[Deed.EXITS], Offer("distributor", Deed.EXITS)
        if world.life is Life.CONDEMNED or world.budget.distributor_crashes:
            yield DISTRIBUTOR_DIES, Offer("distributor", Deed.DIES)

    def _by_server(self, world, group):
        key = (id(group), id(world.budget))  # both are interned, and so kept alive
        if key not in self._known:
            self._known[key] = [*self._by_group(world, group)] if group.alive else []
        return self._known[key]

    def _by_group(self, world, group):
        who = f"server {group.server}"
        for event, _ in self._endpoint_events(group, world.budget):
            lost = isinstance(event, server.MessageRead) and not event.intact
            yield WITHOUT_DESCRIPTOR if lost else SERVER[type(event)], Offer(who, event)
        for deed in self._deeds(world, group):
            yield DEEDS[deed], Offer(who, deed)
        for deed in self._speaking(world, group):
            yield DEEDS[deed], Offer(who, deed)

    @staticmethod
    def _deeds(world, group):
        if group.condemned:
            yield Deed.IS_KILLED
        if group.main and not group.condemned:
            if group.asked:
                yield Deed.ENDS
            if world.budget.server_crashes:
                yield Deed.DIES
                if world.budget.forked_children:
                    yield Deed.LEAVES_A_CHILD
        if group.main:
            if group.replies and not group.sending and group.broken is None:
                yield Deed.READS_REPLY
            at = next((link.program for link in group.links if link.program in _IN_BIND), None)
            if at is Program.BINDING and not group.requests and not group.replies:
                yield Deed.BINDS_AGAIN
            elif at is not None and at is not Program.BINDING:
                yield Deed.BINDS
        if world.budget.leaks and any(client in group.endpoint.clients for client in group.served):
            yield Deed.LEAKS

    def _speaking(self, world, group):
        """How it sends what is in its outbox; or a process of it dies over that, or over a message that it has read."""
        if group.broken is not None:
            return
        if group.sending:
            if group.sent is None:
                yield Deed.DEFERS if self.next_to_send(group) is None else Deed.SENDS
            if world.budget.interruptions and self.in_flight(group) is not None:
                yield Deed.LOSES_A_SENDER
            return
        if group.endpoint.outbox and self.next_to_send(group) is not None:
            yield Deed.RESUMES
        if world.budget.interruptions and any(link.to_server for link in group.links):
            yield Deed.LOSES_A_READER

    def taken(self, world, offer):
        """The successors to which the offer leads: as a rule one, first; none where it changes nothing."""
        if offer.who == "distributor":
            acts = self._distributor_acts(world)
        elif offer.who == "monitor":
            acts = self._monitor_acts(world)
        elif offer.who.startswith("client"):
            acts = self._clients_act(world)
        else:
            group = next(g for g in world.groups if f"server {g.server}" == offer.who)
            acts = self._server_acts(world, group)
        self._moves.clear()  # they were found with other events, or with all
        self._picked = () if offer.source is None else (offer.source,)
        try:
            for successor in acts:
                action = successor[0]
                same = action.who == offer.who and action.what == offer.what
                if same and (offer.port is None or action.port == offer.port):
                    yield successor
        finally:
            self._picked = None
            self._moves.clear()


def _manner(action):
    """All of an action but who acts and what happens."""
    leaks = action.client if isinstance(action, ConnectionLeaks) else None
    return type(action), leaks, [getattr(action, name, None) for name in ("port", "performed", "declined", "late")]


_IN_BIND = (Program.NEW, Program.CLOSED, Program.BINDING)

# ================================================================ what was reached


class Reached:
    """What the runs have come to, and what they have not."""

    def __init__(self):
        self.rules = Counter()
        self.steps = Counter()
        """Of the machines: (machine, class of the event, class of the message or timer in it)."""
        self.rejections = Counter()
        """(class of the event, class of a message of the Distributor's in it, reason), as `LEGITIMATE` has them."""
        self.witnessed = set()
        self.runs = 0
        self.actions = 0

    def judge(self, who, before, event, stride):
        """`maitred.model.claims.safety.judge`, and an entry here for the step that it is asked about."""
        inner = getattr(event, "message", getattr(event, "timer", None))
        self.steps[who, type(event), type(inner)] += 1
        if stride.rejected is not None:
            message_kind = type(inner) if isinstance(event, monitor.Reported) else None
            self.rejections[type(event), message_kind, stride.rejected] += 1
        return judge(who, before, event, stride)

    def witness(self, before, action, after):
        """Enter the properties of which this is an occurrence for the first time."""
        for name in SOMETIMES - self.witnessed:
            if PROPERTIES[name].witness(before, action, after):
                self.witnessed.add(name)

    def missing(self):
        """A line for everything that should have been reached and was not."""
        known = {rule.function.__name__ for rule in ClosedSystem.setup_state().rules}
        yield from (f"rule {name}" for name in sorted(known - self.rules.keys()))
        yield from (f"{who}: {what}" for who, what in sorted(_expected_steps() - self._steps()))
        yield from (f"rejection {_named(key)}" for key in sorted(LEGITIMATE - self.rejections.keys(), key=_named))
        yield from (f"occurrence: {name}" for name in sorted(SOMETIMES - self.witnessed))

    def _steps(self):
        return {(who, kind.__name__) for who, *kinds in self.steps for kind in kinds}


def _expected_steps():
    """Every class of event of each machine, and of message and timer within them."""
    for_each = {
        "distributor": (distributor.Event, messages.FromServer, distributor.Timer),
        "monitor": (monitor.Event, messages.ToMonitor, monitor.Timer),
        "server": (server.Event, messages.ToServer),
    }
    names = {(who, kind.__name__) for who, unions in for_each.items() for union in unions for kind in parts(union)}
    return names - {("server", "Acknowledged")}  # the model delivers it at once: it changes nothing


def _named(rejection):
    event, message_kind, reason = rejection
    return f"{event.__name__}{f'({message_kind.__name__})' if message_kind else ''}: {reason.name}"


ALWAYS = [(name, prop.world) for name, prop in PROPERTIES.items() if prop.kind == "always" and prop.world]
SOMETIMES = {name for name, prop in PROPERTIES.items() if prop.kind == "sometimes"}

# ================================================================ the machine


class Broken(AssertionError):
    """A run that breaks a property; its text is the run, rendered action by action, made when somebody asks for it."""

    def __init__(self, names, path):
        super().__init__(names, path)
        self.names = names
        self.path = path

    def __str__(self):
        given = {f.name: getattr(self.path.bounds, f.name) for f in fields(Bounds)}
        unusual = ", ".join(f"{k}={v!r}" for k, v in given.items() if v != getattr(Bounds(clients=3), k))
        tale = "\n".join(narrate(self.path))
        return f"{', '.join(self.names)}: broken in {len(self.path.steps)} actions, Bounds({unusual})\n{tale}"


def shortened(broken):
    """The run in a system as small as may be, without the actions that the break does not need.

    Hypothesis shrinks what it has drawn; an action that went on as usual was not drawn.  So actions are left out here,
    in ever smaller portions, as long as some property breaks all the same.
    """
    for _ in range(2):  # with fewer actions, a smaller system may do
        broken = _in_fewer_actions(_in_a_smaller_system(broken))
    return broken


def _in_fewer_actions(broken):
    size = len(broken.path.steps)
    while size:
        at = 0
        while at < len(broken.path.steps):
            moves = _moves(broken.path)
            shorter = _again(broken.path.bounds, moves[:at] + moves[at + size :])
            if shorter is not None and len(shorter.path.steps) < len(moves):
                broken = shorter
            else:
                at += size
        size //= 2
    return broken


def _in_a_smaller_system(broken):
    """The break with every server ready at the start, if it can be, and the least of each bound that leads to it."""
    for field in fields(Bounds):
        given = getattr(broken.path.bounds, field.name)
        simpler = [field.name == "warm"] if field.type == "bool" else [0, 1, 2, 3] if field.type == "int" else []
        for value in simpler:
            if value == given or (field.type == "int" and 0 <= given < value):
                break
            with suppress(ValueError):  # less than there must be
                bounds = replace(broken.path.bounds, **{field.name: value})
                smaller = _again(bounds, _moves(broken.path))
                if smaller is not None:
                    broken = smaller
                    break
    return broken


def _moves(path):
    """Each action, after the world in which it was taken."""
    worlds = [path.start, *(step.world for step in path.steps)]
    return [(world, step.action) for world, step in zip(worlds, path.steps, strict=False)]


def _again(bounds, moves):
    """How the actions end, as far as they can be taken; None where nothing is broken by them."""
    machine = ClosedSystem()
    cookies = {}
    try:
        machine.begin(bounds)
        for world, action in moves:
            machine.take_like(world, action, cookies)
    except Broken as broken:
        return broken
    return None


class Names(NamedTuple):
    """Who is who now, of those of another run."""

    cookies: dict = {}  # noqa: RUF012 - a NamedTuple's default; nobody writes to it
    servers: dict = {}  # noqa: RUF012 - as above

    def who(self, who):
        """The name, as an action has it."""
        kind, _, number = who.partition(" ")
        names = {"client": self.cookies, "server": self.servers}.get(kind)
        return who if names is None else f"{kind} {names.get(int(number), number)}"

    def shape(self, value, name=""):
        """What makes actions of two runs alike: the names of now, but no number that depends on what went before."""
        if isinstance(value, messages.Client):
            return self.cookies.get(value.cookie, value.cookie)
        if isinstance(value, messages.Count) or name == "incarnation":
            return name
        if is_dataclass(value):
            return type(value), *(self.shape(getattr(value, field.name), field.name) for field in fields(value))
        if isinstance(value, tuple):
            return tuple(self.shape(item) for item in value)
        return {"cookie": self.cookies, "server": self.servers}.get(name, {}).get(value, value)


def _servers(old, new):
    """The server that fills a place now, for each that filled it in another run."""
    mine, theirs = (world.monitor.classes[CLASS].places for world in (new, old))
    return {place.server: mine[number].server for number, place in theirs.items() if number in mine}


INDEX = st.integers(0, 99)
TIMES = st.integers(1, 8)
THEN = st.sampled_from([0, 0, 0, 0, 2, 5, 10, 20])
FEW = st.integers(0, 6)
ANY_OR_FEW = st.integers(ANY, 6)
SIZES = {
    "servers": st.integers(1, 2) | st.integers(1, 4) | st.integers(1, 24),
    "dynamic": st.integers(0, 2) | st.integers(0, 6),
    "ports": st.sampled_from([1, 1, 2, 3]),
    "max_clients": st.integers(1, 3),
    "clients": st.integers(1, 12) | st.integers(1, 60),
    "waiting_limit": st.integers(1, 4) | st.integers(1, 24),
    "elements": st.integers(1, 3),
    "stops": st.sampled_from([0, 0, 0, 0, 1, 2]),  # an end, so that a run with one is not a deep one
    "returns": st.sampled_from([False, False, False, True]),
    "warm": st.sampled_from([True, False]),  # in this order: a failing run had better begin with every server ready
    "interruptions": st.sampled_from([0, 1, 3, 6]),
    "room": st.sampled_from([0, 0, 0, 1, 2]),  # where there is neither, a server's answers are no steps of their own
    "without": st.just(()),
    "begins": st.just(""),
}


def _sizes():
    """Bounds of every size up to tens of servers and clients; what may be repeated for ever sometimes is."""
    drawn = {}
    for field in fields(Bounds):
        usual = st.booleans() if field.type == "bool" else ANY_OR_FEW if field.name in REPEATABLE else FEW
        drawn[field.name] = SIZES.get(field.name, usual)
    return st.builds(Bounds, **drawn)


def _act(kind):
    """The rule of a kind: let one of the possible actions happen, perhaps more of the kind, and then what is usual."""

    def act(self, i, then, times=1):
        for _ in range(times):
            if kind in self.offers:
                self.let(kind, i)
        self.go_on(then)

    def possible(self):
        return kind in self.offers

    act.__name__ = kind
    several = {"times": TIMES} if kind in SEVERAL else {}
    return rule(i=INDEX, then=THEN, **several)(precondition(possible)(act))


class ClosedSystem(RuleBasedStateMachine):
    """The closed system, walked at random; every property that must always hold is asked after every action."""

    def __init__(self, reached=None):
        super().__init__()
        self.reached = reached or Reached()
        self.steps = []
        self.survived = self.most_waiting = 0
        self._offers = None

    @initialize(bounds=_sizes())
    def begins(self, bounds):
        self.begin(bounds)

    def begin(self, bounds):
        """Start the Monitor; where the bounds demand it, let every server come up before the run begins."""
        self.system = Picking(bounds, self.reached.judge)
        self._move(self.system.beginning())
        self.start = self.world
        if self.system.bounds.warm:
            while kind := next((kind for kind in STARTING if kind in self.offers), None):
                self.let(kind, 0)
        self.steps = []
        self.start = self.world

    def _move(self, world):
        self.world, self._offers = world, None

    @property
    def offers(self):
        """What may happen now, by kind."""
        if self._offers is None:
            self._offers = self.system.offers(self.world)
        return self._offers

    # ------------------------------------------------ rules; those of one kind of action are added below

    @rule(n=st.integers(1, 30), held=st.sampled_from(SLOW))
    @precondition(lambda self: any(kind in self.offers for kind in USUAL))
    def things_go_on(self, n, held):
        """What is on its way arrives, but what is held up: a way into the depth."""
        self.go_on(n, held)
        self._count("things_go_on")

    @rule(n=st.integers(2, 24), i=INDEX)
    @precondition(lambda self: CLIENT_ARRIVES in self.offers)
    def a_crowd_arrives(self, n, i):
        """More clients than there may be seats for, to various ports; they are seated as far as that goes."""
        for place in range(i, i + n):
            if CLIENT_ARRIVES in self.offers:
                self.let(CLIENT_ARRIVES, place)
                self.go_on(4)
        self._count("a_crowd_arrives")

    @rule(kind=INDEX, i=INDEX, j=INDEX)
    @precondition(lambda self: DISTRIBUTOR_DIES in self.offers)
    def the_distributor_dies_in_a_step(self, kind, i, j):
        """Some of the step's effects are performed, and no more."""
        kinds = [name for name in sorted(self.offers) if name in {*DISTRIBUTOR.values(), OVERTAKEN}]
        kinds += 3 * [name for name in SENDING if name in self.offers]  # where a client is in its hands alone
        if kinds:
            events = self.offers[kinds[kind % len(kinds)]]
            ways = self.system.taken(self.world, events[i % len(events)])
            self._go_one_of(
                [s for s in ways if isinstance(s[0], DistributorCutOff)], j, "the_distributor_dies_in_a_step"
            )

    @rule(i=INDEX, j=INDEX)
    @precondition(lambda self: self.world.budget.unsent or self.world.budget.listen_failures)
    def the_kernel_declines(self, i, j):
        """To send a hand-off, or to listen."""
        budget = self.world.budget
        kinds = (*(SENDING if budget.unsent else ()), *(LISTENING if budget.listen_failures else ()))
        events = [offer for kind in kinds for offer in self.offers.get(kind, ())]
        for at in range(min(len(events), 12)):
            ways = self.system.taken(self.world, events[(i + at) % len(events)])
            declined = [s for s in ways if isinstance(s[0], EffectDeclined)]
            if declined:
                self._go_one_of(declined, j, "the_kernel_declines")
                return

    @rule(i=INDEX, j=INDEX)
    @precondition(lambda self: self.world.budget.unsent and DEEDS[Deed.DIES] in self.offers)
    def the_kernel_declines_and_the_server_dies(self, i, j):
        """And the Distributor sees the dialog end before it learns that its hand-off was not sent."""
        earlier = self.world.pending
        self.the_kernel_declines(i, j)
        new = [e.server for e in self.world.pending if isinstance(e, distributor.Unsent) and e not in earlier]
        for at in [at for s in new for at in self._of(f"server {s}", DEEDS[Deed.DIES])][:1]:
            self.let(DEEDS[Deed.DIES], at)
            self.go_on(20)
            if UNSENT in self.offers:
                self.let(UNSENT, 0)
            self._count("the_kernel_declines_and_the_server_dies")

    @rule(i=INDEX, then=THEN)
    @precondition(lambda self: DEEDS[Deed.LEAKS] in self.offers and AUDIT in self.offers)
    def an_audit_finds_somebody_gone(self, i, then):
        """And the Distributor learns of it when more has happened."""
        self.let(DEEDS[Deed.LEAKS], i)
        self.let(AUDIT, 0)
        self._count("an_audit_finds_somebody_gone")
        self.go_on(then)

    @rule(i=INDEX, known=st.booleans())
    @precondition(lambda self: {DEEDS[Deed.LEAKS], AUDIT, DEEDS[Deed.DIES]} <= self.offers.keys())
    def a_server_dies_during_an_audit(self, i, known):
        """The Distributor sees its dialogs end before it learns who is gone; that the server is, before or after."""
        losing = self.offers[DEEDS[Deed.LEAKS]]
        who = losing[i % len(losing)].who
        self.let(DEEDS[Deed.LEAKS], i)
        self.let(AUDIT, 0)
        for at in self._of(who, DEEDS[Deed.DIES])[:1]:
            self.let(DEEDS[Deed.DIES], at)
        self.go_on(20, "distributor_sees_a_control_channel_end" if known else None)
        if LEARNS in self.offers:
            self.let(LEARNS, 0)
        self._count("a_server_dies_during_an_audit")

    def _of(self, who, kind):
        """The places of the server's own among what is offered of the kind."""
        return [at for at, offer in enumerate(self.offers.get(kind, ())) if offer.who == who]

    @rule(i=INDEX, sent=st.booleans())
    @precondition(lambda self: self.system.splits and self.world.budget.interruptions and READS in self.offers)
    def a_server_loses_who_answers(self, i, sent):
        """Of all that is read, hand-offs matter most: whoever was taken is refused when the next process finds it.

        The answer may have been sent by then, which nobody knows.
        """
        reads = [isinstance(offer.what.message, messages.HandOff) for offer in self.offers[READS]]
        taken = [at for at, is_hand_off in enumerate(reads) if is_hand_off] or [*range(len(reads))]
        self.let(READS, taken[i % len(taken)])
        if sent and SENDS in self.offers:
            self.let(SENDS, 0)
        if LOSES in self.offers:
            self.let(LOSES, 0)
            self.go_on(20)
        self._count("a_server_loses_who_answers")

    @rule(then=THEN)
    @precondition(lambda self: DEEDS[Deed.DIES] in self.offers)
    def the_newest_server_dies(self, then):
        """One that is still coming up, perhaps."""
        self.let(DEEDS[Deed.DIES], -1)
        self._count("the_newest_server_dies")
        self.go_on(then)

    @rule()
    @precondition(lambda self: not self.offers)
    def begins_again(self):
        """It has ended: the operator starts it again."""
        self.steps = []
        self._move(self.start)
        self._count("begins_again")

    # ------------------------------------------------ an action

    def go_on(self, n, held=None):
        """Let so many usual actions happen, each kind in its turn."""
        for i in range(n):
            kinds = [kind for kind in USUAL if kind in self.offers and kind != held]
            if kinds:
                self.let(kinds[i % len(kinds)], 0)

    def let(self, kind, i):
        """Let the i-th possible action of the kind happen; the count goes round."""
        possible = self.offers[kind]
        successor = next(self.system.taken(self.world, possible[i % len(possible)]), None)
        if successor is not None:
            self._go(successor)
        else:
            self.offers.pop(kind) if len(possible) == 1 else possible.pop(i % len(possible))
        self._count(kind)

    def take_like(self, world, action, cookies):
        """Let an action of another run happen, if it can; `cookies` has the present names of that run's clients."""
        if action.what is Deed.ARRIVES:
            coming = [offer.who for offer in self.offers.get(CLIENT_ARRIVES, ())]
            if coming:
                cookies[action.client] = int(coming[0].split()[1])
        names = Names(cookies, _servers(world, self.world))
        who, what = names.who(action.who), names.shape(action.what)
        for offer in [offer for possible in self.offers.values() for offer in possible]:
            alike = offer.who == who and type(offer.what) is type(action.what)
            if alike and Names().shape(offer.what) == what:
                for successor in self.system.taken(self.world, offer):
                    if _manner(successor[0]) == _manner(action):
                        self._go(successor)
                        return

    def _go_one_of(self, successors, j, name):
        if successors:
            self._go(successors[j % len(successors)])
            self._count(name)

    def _count(self, name):
        self.reached.rules[name] += 1
        if currently_in_test_context():
            tally(name)

    def _go(self, successor):
        action, world, wrong = successor
        self.steps.append(Step(action, world))
        self.reached.actions += 1
        self.reached.witness(self.world, action, world)
        names = wrong + tuple(name for name, violations in ALWAYS if next(violations(world), None))
        if names:
            raise Broken(names, Path(self.system.bounds, self.start, tuple(self.steps)))
        self._move(world)
        self.survived = max(self.survived, len(self.steps))
        if world.distributor is not None:
            self.most_waiting = max(self.most_waiting, world.distributor.waiting)

    def teardown(self):
        """Report to Hypothesis what was deep about this run, so that it looks for deeper ones."""
        self.reached.runs += 1
        if not hasattr(self, "world"):
            return
        target(float(self.survived), label="actions survived")
        target(float(self.most_waiting), label="clients that waited at once")
        target(float(self.world.monitor.classes[CLASS].distributor.incarnation), label="Distributors")
        target(float(self.world.monitor.next_server), label="servers started")


for _kind in KINDS:
    setattr(ClosedSystem, _kind, _act(_kind))
