"""Fairness assumptions: the name of every action of the closed system, and how fair it is.

Rules
-----
1.  An action is *enabled* in a world if it leads to a different one.  Stuttering is no action.
2.  A *weakly* fair action that stays enabled for ever is taken infinitely often.  So is a *strongly* fair one that is
    enabled infinitely often.  Nothing is assumed of an action that is not fair.  A *ceasing* one is taken only finitely
    often.  All liveness properties hold with weak fairness.
3.  The kernel and our living processes are fair: they keep reading, and their timers run out.  What nobody promises is
    not fair: that a client comes, hangs up or sends, that an operator requests a stop, that a program obeys SIGTERM.
4.  An action is named together with where it happens (`Named.where`).  Fairness holds for each server, port and client
    separately, so a busy one cannot hide that another starves.
5.  An action with a budget in `Bounds` is fair only if the budget is `ANY`.

Theory of operation
-------------------
`named` returns the name of a step.  A server is named by the place that it fills, because ids are renumbered as servers
come and go (`world.symmetry`).  A server that no longer fills a place is named by its position among those servers: the
order of ids is kept, so a server that is never forgotten keeps its name from some moment on.  `RULES` gives for each
name how fair the action is, and why that may be assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, assert_never

from maitred.core import distributor, monitor, server
from maitred.core.messages import Adopt, Allow, Begin, Close, CreationFailed, Drain, Port, Restore, ServerId
from maitred.model.world import (
    ANY,
    CLASS,
    Action,
    Bounds,
    ClientCloses,
    ClientConnects,
    ConnectionLeaks,
    Deed,
    DistributorCutOff,
    DistributorEnds,
    DistributorStep,
    EffectDeclined,
    Life,
    MonitorStep,
    PortDeed,
    ServerDeed,
    ServerStep,
    World,
    is_lost,
    is_reported,
)


class Fairness(Enum):
    """What is assumed of an action."""

    WEAK = "does not stay possible for ever without happening"
    STRONG = "is not possible again and again for ever without happening"
    NONE = "nothing is assumed"
    CEASING = "happens a finite number of times only"


@dataclass(frozen=True, slots=True)
class Rule:
    """The actions of one name, and what is assumed of them."""

    name: str
    fairness: Fairness
    why: str
    """Why this may be assumed, or why nothing is."""
    budget: str = ""
    """The budget in `Bounds` that limits the action; nothing is assumed unless it is `ANY`."""
    fault: str = ""
    """The budget in `Bounds` that makes the action possible; nothing is assumed if it is 0."""


class Named(NamedTuple):
    """The name of a step for fairness."""

    rule: str
    where: str
    """Where it happens; the same rule elsewhere is another action."""

    def __str__(self) -> str:
        return f"{self.rule} ({self.where})"


def _rules(*rules: Rule) -> Mapping[str, Rule]:
    return {rule.name: rule for rule in rules}


_W, _N, _C = Fairness.WEAK, Fairness.NONE, Fairness.CEASING

RULES: Final[Mapping[str, Rule]] = _rules(
    # ------------------------------------------------ clients
    Rule("clients keep leaving", _W, "Nobody stays for ever.  It is for the clients to keep, not for the system."),
    Rule("clients come", _N, "Nobody needs to come."),
    Rule("clients hang up", _N, "Nobody needs to give up."),
    # ------------------------------------------------ the kernel
    Rule("kills are performed", _W, "SIGKILL cannot be declined."),
    Rule("deaths are reported", _W, "A dead process stays until its parent reaps it; an empty cgroup stays too."),
    Rule("hang-ups are reported", _W, "A connection that was closed stays readable until it is looked at."),
    # ------------------------------------------------ the Distributor
    Rule("the Distributor reads its servers", _W, "Its event loop comes to every descriptor that is ready."),
    Rule("the Distributor reads its Monitor", _W, "Its event loop comes to every descriptor that is ready."),
    Rule("the Distributor takes what it brought upon itself", _W, "Its event loop empties its own queue."),
    Rule("the Distributor accepts", _W, "An accept that is outstanding completes while the backlog holds a client."),
    Rule("the Distributor ends when it is closed", _N, "It may take its time: nobody waits for it."),
    Rule("a later Adopt is read first", _N, "An order that the model leaves open; the channel's head is fair."),
    # ------------------------------------------------ the Monitor
    Rule("the Monitor reads its Distributor", _W, "Its event loop comes to every descriptor that is ready."),
    # ------------------------------------------------ servers
    Rule("programs bind", _W, "A server program comes to bind its ports; one that does not is reported, not cured."),
    Rule("programs listen", _W, "A server program that has bound comes to listen; one that does not is reported."),
    Rule("programs go on accepting", _W, "A server program that listens comes to accept, however long a client takes."),
    Rule("binds are answered", _W, "The program is inside bind, which reads the answer."),
    Rule("binds are repeated", _W, "The program is inside bind, which asks again when it is given no answer."),
    Rule("binds are repeated needlessly", _N, "It may ask again though it is being answered; it need not."),
    Rule("programs heed SIGTERM", _N, "They may ignore it: the kill delay is for that."),
    Rule("servers send what is to be said", _W, "Who holds the lock goes on, unless it dies."),
    Rule("what was deferred is sent", _W, "The server's next step does it; an audit sees to it that there is one."),
    Rule("interruptions are found", _W, "The server's next step does it; an audit sees to it that there is one."),
    Rule("messages overtake", _N, "Threads may send out of order; they need not."),
    # ------------------------------------------------ timers
    Rule("restarts come due", _W, "A timer that was set runs out."),
    Rule("rests end", _W, "A timer that was set runs out."),
    Rule("accepts are tried again", _W, "A timer that was set runs out."),
    Rule("kill delays end", _W, "A timer that was set runs out."),
    Rule("limits of those who leave end", _W, "A timer that was set runs out."),
    Rule("the grace ends", _W, "A timer that was set runs out."),
    Rule("the queue's time-out ends", _W, "A timer that was set runs out.", "queue_timeouts"),
    Rule("create delays end", _W, "A timer that was set runs out.", "creations"),
    Rule("delete delays end", _W, "A timer that was set runs out, unless a client comes first.", "deletions"),
    Rule("audits come due", _W, "A timer that was set runs out.", "audits"),
    Rule(
        "lost hand-offs time out",
        _W,
        "A timer that was set runs out, and nobody can answer first.",
        fault="interruptions",
    ),
    Rule("hand-offs time out", _N, "Each costs a server's life, and bounds ration deaths: nothing may rest on it."),
    Rule("processes live long", _N, "They may die before earlier deaths are forgotten: it changes delays only."),
    # ------------------------------------------------ the environment
    Rule("faults cease", _C, "A fault that comes back for ever can keep a client out for ever."),
    Rule("processing elements return", _N, "Nobody needs to repair them."),
    Rule("stops are asked for", _N, "Nobody needs to stop the system."),
    Rule("changes are asked for", _N, "Nobody needs to change the system."),
)
"""Every rule by its name."""


class UnknownRuleError(ValueError):
    """There is no assumption of that name."""


def assumed(bounds: Bounds, without: Iterable[str] = ()) -> Mapping[str, Fairness]:
    """The fairness assumed of each rule within the bounds, without the named assumptions.

    Raises:
        UnknownRuleError: `without` names no rule, or a rule that assumes nothing; the text lists the others.
    """
    without = tuple(without)
    for name in without:
        if name not in RULES or RULES[name].fairness is Fairness.NONE:
            known = ", ".join(rule.name for rule in RULES.values() if rule.fairness is not Fairness.NONE)
            raise UnknownRuleError(f"no assumption is called {name!r}; there are: {known}")
    return {
        rule.name: Fairness.NONE if rule.name in without or _rationed(rule, bounds) else rule.fairness
        for rule in RULES.values()
    }


def unassumed(bounds: Bounds, name: str, without: Iterable[str] = ()) -> str:
    """Why nothing is assumed (`assumed`) of the actions of the rule, in a sentence."""
    rule = RULES[name]
    if name in without:
        ceases = rule.fairness is Fairness.CEASING
        return f"That it {'ceases' if ceases else 'happens in the end'} is not assumed here."
    if _rationed(rule, bounds):
        return "It happens a given number of times, so nothing may rest on it."
    return rule.why


def _rationed(rule: Rule, bounds: Bounds) -> bool:
    """Rule 5.  Also: without interruptions no reader can die, so no hand-off counts as lost."""
    scarce = bool(rule.budget) and getattr(bounds, rule.budget) != ANY
    return scarce or (bool(rule.fault) and not getattr(bounds, rule.fault))


# ================================================================ the names


def named(before: World, action: Action, after: World) -> Named:
    """The name of the step that the action takes from one world to the other."""
    match action:
        case ClientConnects():
            return Named("clients come", action.who)
        case ClientCloses():
            return Named("clients hang up", action.who)
        case MonitorStep():
            return _monitor(before, action.what)
        case DistributorStep():
            return _distributor(before, action)
        case DistributorEnds(what=Deed.EXITS):
            return Named("the Distributor ends when it is closed", action.who)
        case DistributorCutOff() | DistributorEnds():
            return Named("kills are performed" if before.life is Life.CONDEMNED else "faults cease", action.who)
        case EffectDeclined():
            return Named("faults cease", "distributor, effects")
        case ServerStep():
            return _server(before, action.server, action.what)
        case ServerDeed():
            return _server_deed(before, action)
        case PortDeed():
            return _port_deed(before, action)
        case ConnectionLeaks():
            return Named("faults cease", action.who)
        case _:
            assert_never(action)


def server_name(world: World, number: ServerId) -> str:
    """The place that the server fills; if none, its position among the servers without a place."""
    living = world.monitor.classes[CLASS].living
    place = living.get(number, None)
    if place is not None:
        return f"place {place}"
    turn = sum(1 for group in world.groups if group.server < number and group.server not in living)
    return f"gone {turn}"


def _at(world: World, number: ServerId, port: Port) -> str:
    return f"{server_name(world, number)}, port {port}"


def _server_deed(before: World, action: ServerDeed) -> Named:
    match action.what:
        case Deed.DIES | Deed.LEAVES_A_CHILD:
            return Named("faults cease", action.who)
        case Deed.IS_KILLED:
            return Named("kills are performed", server_name(before, action.server))
        case Deed.ENDS:
            return Named("programs heed SIGTERM", server_name(before, action.server))
        case Deed.DEFERS:
            return Named("servers send what is to be said", server_name(before, action.server))
        case Deed.RESUMES:
            return Named("what was deferred is sent", server_name(before, action.server))
        case _:
            assert_never(action.what)


def _port_deed(before: World, action: PortDeed) -> Named:
    match action.what:
        case Deed.BINDS:
            return Named("programs bind", _at(before, action.server, action.port))
        case Deed.BINDS_AGAIN:
            rule = "binds are repeated needlessly" if _needless(before, action) else "binds are repeated"
            return Named(rule, _at(before, action.server, action.port))
        case Deed.READS_REPLY:
            return Named("binds are answered", server_name(before, action.server))
        case Deed.SENDS:
            return Named("servers send what is to be said", server_name(before, action.server))
        case Deed.LOSES_A_READER | Deed.LOSES_A_SENDER:
            return Named("faults cease", action.who)
        case _:
            assert_never(action.what)


def _needless(world: World, action: PortDeed) -> bool:
    """Whether the Distributor is about to answer the bind: the model repeats it then only within a budget."""
    status = world.distributor.servers.get(action.server, None) if world.distributor is not None else None
    dialog = status.dialogs.get(action.port, None) if status is not None else None
    return dialog is not None and dialog.phase is distributor.DialogPhase.BINDING


def _monitor(world: World, event: monitor.Event) -> Named:
    match event:
        case monitor.Reported() | monitor.Started():
            return Named("the Monitor reads its Distributor", "monitor")
        case monitor.DistributorExited():
            return Named("deaths are reported", "distributor")
        case monitor.ServerExited() | monitor.ServerGone():
            return Named("deaths are reported", server_name(world, event.server))
        case monitor.ElementFailed():
            return Named("faults cease", f"element {event.element}")
        case monitor.ElementRestored():
            return Named("processing elements return", f"element {event.element}")
        case monitor.StopRequested():
            return Named("stops are asked for", "operator")
        case monitor.Retire() | monitor.Replace() | monitor.Scale():
            return Named("changes are asked for", "operator")
        case monitor.Fired():
            return monitor_timer(world, event.timer)
        case _:
            assert_never(event)


def monitor_timer(world: World, timer: monitor.Timer) -> Named:
    """The name of the end of a timer of the Monitor."""
    match timer:
        case monitor.RestartServer():
            return Named("restarts come due", f"place {timer.place}")
        case monitor.RestartDistributor():
            return Named("restarts come due", "distributor")
        case monitor.DynamicRest():
            return Named("rests end", "dynamic servers")
        case monitor.KillDelay():
            return Named("kill delays end", server_name(world, timer.server))
        case monitor.DrainOver():
            return Named("limits of those who leave end", server_name(world, timer.server))
        case monitor.GraceOver():
            return Named("the grace ends", "monitor")
        case monitor.ServerStable():
            return Named("processes live long", server_name(world, timer.server))
        case monitor.DistributorStable():
            return Named("processes live long", "distributor")
        case monitor.StartWarning():
            return Named("processes live long", f"unready, {server_name(world, timer.server)}")
        case _:
            assert_never(timer)


def _distributor(world: World, action: DistributorStep) -> Named:
    event = action.what
    match event:
        case Adopt() | Restore() | Begin() | CreationFailed() | Close() | Drain() | Allow():
            head = event == world.to_distributor[0]
            return Named("the Distributor reads its Monitor" if head else "a later Adopt is read first", "distributor")
        case distributor.Received() if action.late:
            return Named("messages overtake", _at(world, event.server, event.port))
        case distributor.Received() | distributor.DialogEnded():
            return Named("the Distributor reads its servers", _at(world, event.server, event.port))
        case distributor.BindRequested() | distributor.ControlEnded():
            return Named("the Distributor reads its servers", _at(world, event.server, distributor.CONTROL))
        case distributor.ConnectionRequest() | distributor.BacklogEmpty():
            return Named("the Distributor accepts", f"port {event.port}")
        case distributor.AcceptFailed():
            return Named("faults cease", f"accept, port {event.port}")
        case distributor.PeerClosed():
            return Named("hang-ups are reported", f"client {event.client.cookie}")
        case distributor.Fired():
            return distributor_timer(world, event.timer)
        case distributor.StillServes():  # the hand-off's time is over, and the outcome depends on the server
            return distributor_timer(world, distributor.HandOffTimeout(event.server))
        case distributor.Unfit():
            return Named("faults cease", f"unfit, {server_name(world, event.server)}")
        case distributor.Listening() | distributor.ListeningFailed() | distributor.Unsent() | distributor.Audited():
            return Named("the Distributor takes what it brought upon itself", "distributor")
        case _:
            assert_never(event)


def distributor_timer(world: World, timer: distributor.Timer) -> Named:
    """The name of the end of a timer of the Distributor."""
    match timer:
        case distributor.QueueTimeout():
            return Named("the queue's time-out ends", f"client {timer.client.cookie}")
        case distributor.HandOffTimeout() if is_lost(world, timer.server) and not is_reported(world, timer.server):
            return Named("lost hand-offs time out", server_name(world, timer.server))
        case distributor.HandOffTimeout():
            return Named("hand-offs time out", _request(world, timer.server))
        case distributor.RestOver():
            return Named("rests end", server_name(world, timer.server))
        case distributor.CreateDelay():
            return Named("create delays end", "distributor")
        case distributor.DeleteDelay():
            return Named("delete delays end", server_name(world, timer.server))
        case distributor.AcceptRetry():
            return Named("accepts are tried again", f"port {timer.port}")
        case distributor.AuditDue():
            return Named("audits come due", "distributor")
        case _:
            assert_never(timer)


def _request(world: World, number: ServerId) -> str:
    """The server and the client it was sent: each hand-off has its own timer."""
    status = world.distributor.servers.get(number, None) if world.distributor is not None else None
    client = status.request if status is not None else None
    return f"{server_name(world, number)}, client {client.cookie if client is not None else 'none'}"


def _server(world: World, number: ServerId, event: server.Event) -> Named:
    match event:
        case server.Bound() | server.Listened():
            return Named("programs listen", _at(world, number, event.port))
        case server.ListenerClosed():
            return Named("faults cease", f"listener, {_at(world, number, event.port)}")
        case server.MessageRead() if not event.intact:
            return Named("faults cease", f"descriptor, {_at(world, number, event.port)}")
        case server.MessageRead():
            return Named("programs go on accepting", _at(world, number, event.port))
        case server.Sent():
            return Named("servers send what is to be said", server_name(world, number))
        case server.Interrupted():
            return Named("interruptions are found", server_name(world, number))
        case server.Disconnected():
            return Named("clients keep leaving", f"client {event.client.cookie}")
        case server.Acknowledged():
            raise TypeError("an acknowledgement is read at once: no action")
        case _:
            assert_never(event)
