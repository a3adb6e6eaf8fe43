"""What happens in the end, for any number of servers and clients: from what it leads to what, and why.

Each `LeadsTo` states: whenever ``pending`` holds, ``goal`` comes.  Why it comes is shown by a *measure* that never
rises and cannot fall for ever, and by *cases*: while the goal is missing, one of them applies, and goes on to apply
until the measure falls; its helpful transitions make it fall; and fairness sees to it that one of these is taken.  This
is the well-founded response rule of Manna and Pnueli; `proofs.induction.progress` turns every word of it into
obligations for Z3.

A measure is a tuple, compared from the left, of finite sets (which fall when they lose an element and gain none) and of
natural numbers.  First-order logic cannot express that a set is finite, nor count it.  `FINITE` and `COUNTED` do so by
another induction: empty at first, and no transition adds more than one element.  `CHOICES` uses it: of finitely many
there is a least.

*While* states what the world is spared for the time being: faults, and programs that set up their sockets.  As no
assumption is made of how the state came about, this reads: after the last fault, however many there were.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import z3
from spec.relation.language import View
from spec.relation.state import (
    ABSENT,
    ACCEPTED,
    DEAD,
    NOT_READY,
    REFUSED,
    Client,
    Element,
    Int,
    Port,
    Server,
    accept_wanted,
    alive,
    between_events,
    drained,
    echo,
    free,
    hands_free,
    lock_free,
    preferred,
    seatable,
    server_wanted,
    unread_up,
    unreceived,
    unsent_up,
    up,
)
from spec.relation.system import is_next, nobody_to_take_back

And, Or, Not, If, Implies, ForAll, Exists = z3.And, z3.Or, z3.Not, z3.If, z3.Implies, z3.ForAll, z3.Exists
Says = Callable[..., Any]


# ================================================================ what can be stated


@dataclass(frozen=True)
class Set:
    """A finite set: ``has(v, *parameters, *element)``; it falls when it loses an element and gains none."""

    name: str
    element: tuple[z3.SortRef, ...]
    has: Says
    within: str
    """The finite set of `FINITE` that it is part of."""


@dataclass(frozen=True)
class Number:
    """A natural number: ``term(v, *parameters)``."""

    name: str
    term: Says


@dataclass(frozen=True)
class Queues:
    """Messages in queues, each from its ``head(v, *parameters, *queue)`` up to its ``tail``: the set of all these."""

    name: str
    queue: tuple[z3.SortRef, ...]
    head: Says
    tail: Says
    within: str
    """The finite set of `FINITE` that they are part of, whose element is the queue and the position."""


@dataclass(frozen=True)
class HelpfulCase:
    """What helps: while ``where`` holds, one of the helpful transitions is fair and makes the measure fall."""

    name: str
    where: Says
    """``where(v, *parameters, *witness)``: from then on, until the measure falls."""
    helpful: Mapping[str, tuple[str, ...]]
    """Transitions, each with what its first parameters are: names of parameters and witnesses; the others are any."""
    fairness: str
    """The assumption of `FAIRNESS` under which one of them is taken."""
    witness: Mapping[str, z3.SortRef] = field(default_factory=dict)
    at_rest: bool = False
    """They are possible whenever the Distributor is at rest, to which it comes again and again."""
    whenever: Says | None = None
    """``whenever(v, *parameters, *witness)``: they are possible whenever this holds, which it does again and again."""
    because: tuple[str, ...] = ()
    """The conjuncts of the invariant for which one of them is possible, where a solver must be given them."""


@dataclass(frozen=True)
class LeadsTo:
    """``pending`` leads to ``goal``."""

    name: str
    text: str
    parameters: Mapping[str, z3.SortRef]
    pending: Says
    goal: Says
    measure: tuple[Set | Number | Queues, ...]
    cases: tuple[HelpfulCase, ...]
    spared: frozenset[str] = frozenset()
    """Transitions that do not happen meanwhile."""
    choices: Mapping[str, Says] = field(default_factory=dict)
    """Of `CHOICES`, each with its parameters: ``(v, *parameters)`` to a tuple."""
    counts: tuple[str, ...] = ()
    """Of `COUNTED`."""


@dataclass(frozen=True)
class Finite:
    """A set that is finite in every state: empty at first, and no transition adds more than one element to it."""

    name: str
    element: tuple[z3.SortRef, ...]
    has: Says
    """``has(v, *element)``."""
    or_within: str = ""
    """A transition may also fill it from this finite set, as that was before."""


@dataclass(frozen=True)
class Counted:
    """A number that is how many elements a set has: both begin with nothing, and change together, by one."""

    name: str
    parameters: Mapping[str, z3.SortRef]
    element: z3.SortRef
    number: Says
    has: Says
    """``has(v, *parameters, element)``."""


@dataclass(frozen=True)
class Choice:
    """Of finitely many candidates one is least: there is one that none comes before."""

    name: str
    parameters: Mapping[str, z3.SortRef]
    element: z3.SortRef
    candidate: Says
    """``candidate(v, *parameters, x)``."""
    before: Says
    """``before(v, x, y)``: a strict order on the candidates."""
    within: str
    """The finite set of `FINITE` that they are part of; empty for natural numbers, which are well-ordered."""


FAIRNESS: Final[dict[str, str]] = {
    "steps are finished": "The Distributor's process goes on with what it has begun, while it lives.",
    "servers read": "A server reads what lies in its dialogs: in accept, or in the thread that answers for it.",
    "servers send": "A server sends what is in its outbox whenever it can; its dialogs have room again and "
    "again, as the Distributor reads.",
    "servers recover": "A server notices that a process has died in the midst of a step: the audit has it asked.",
    "the Distributor reads": "Its event loop comes to every message that it can read again and again.",
    "rests end": "A timer that was set runs out.",
    "clients leave": "Nobody stays for ever.  It is for the clients to keep, not for the system.",
    "the Monitor reads": "Its event loop comes to the Distributor's next word, and to the end of the channel.",
    "the Distributor is started": "A process can be started on a processing element that is up.",
}
"""What is assumed of the world: that what stays possible is done in the end."""


def loads_are_ordered(v: View) -> Any:
    """A load of less weighs less: a strict weak order."""
    n, m, k, w, x, y = z3.Ints("n.load m.load k.load w.load x.load y.load")
    less = v.lighter
    asymmetric = ForAll([n, w, m, x], Implies(less(n, w, m, x), Not(less(m, x, n, w))))
    chain = Implies(And(less(n, w, m, x), less(m, x, k, y)), less(n, w, k, y))
    ties = Implies(And(Not(less(n, w, m, x)), Not(less(m, x, k, y))), Not(less(n, w, k, y)))
    return And(asymmetric, ForAll([n, w, m, x, k, y], Implies(And(w >= 1, x >= 1, y >= 1), And(chain, ties))))


def weights_are_positive(v: View) -> Any:
    """No processing element weighs nothing."""
    s = z3.Const("s.weight", Server)
    return ForAll([s], v.weight(s) >= 1)


AXIOMS: Final = {"loads_are_ordered": loads_are_ordered, "weights_are_positive": weights_are_positive}
"""What is assumed of what never changes; `proofs.induction.progress` shows that the code's comparison is so."""

# ================================================================ what is finite, what is counted, what is chosen


def _unread_by(v, s, p, i):
    return And(alive(v, s), v.down_head(s, p) <= i, i < v.down_tail(s, p))


def _named(v, s, p):
    return And(v.to_adopt(s), v.adopt_kept(s, p))


_SERVER_PORT: Final = (Server, Port)
FINITE: Final = {
    finite.name: finite
    for finite in (
        Finite("servers that were started", (Server,), lambda v, s: v.born(s)),
        Finite("servers of the table", (Server,), lambda v, s: v.row(s)),
        Finite("servers that are named", (Server,), lambda v, s: v.to_adopt(s), "servers that were started"),
        Finite("clients that were accepted", (Client,), lambda v, c: v.accepted(c)),
        Finite("clients that came", (Client,), lambda v, c: Not(v.absent(c))),
        Finite("ports that listen", (Port,), lambda v, p: v.listens(p)),
        Finite("dialogs that are kept", _SERVER_PORT, lambda v, s, p: v.kept(s, p)),
        Finite("dialogs that are named", _SERVER_PORT, _named, "dialogs that are kept"),
        Finite("dialogs of the table", _SERVER_PORT, lambda v, s, p: v.dialog(s, p), "dialogs that are named"),
        Finite("dialogs that are due", _SERVER_PORT, lambda v, s, p: v.initial_due(s, p), "dialogs that are named"),
        Finite("messages to servers", (Server, Port, Int), _unread_by),
        Finite("messages of servers", (Server, Int), unreceived),
    )
}

COUNTED: Final = {
    counted.name: counted
    for counted in (
        Counted(
            "clients",
            {"s": Server},
            Client,
            lambda v, s: v.clients(s),
            lambda v, s, c: v.serving(s, c),
        ),
        Counted("total", {}, Client, lambda v: If(up(v), v.total, 0), lambda v, c: And(up(v), v.waiting(c))),
    )
}

CHOICES: Final = {
    choice.name: choice
    for choice in (
        Choice(
            "the best server",
            {"p": Port},
            Server,
            lambda v, p, s: free(v, s, p),
            preferred,
            "servers of the table",
        ),
        Choice(
            "the first of those who can be seated",
            {},
            Client,
            seatable,
            lambda v, c, d: v.arrival(c) < v.arrival(d),
            "clients that were accepted",
        ),
        Choice(
            "the first to be restored",
            {},
            Client,
            lambda v, c: v.to_restore(c),
            lambda v, c, d: v.arrival(c) < v.arrival(d),
            "clients that were accepted",
        ),
        Choice(
            "the earliest message on a dialog",
            {"s": Server, "p": Port},
            Int,
            lambda v, s, p, q: And(unreceived(v, s, q), v.up_port(s, q) == p),
            lambda v, q, k: q < k,
            "messages of servers",
        ),
        Choice(
            "the first to be sent on a dialog",
            {"s": Server, "p": Port},
            Int,
            lambda v, s, p, q: And(unsent_up(v, s, q), v.up_port(s, q) == p),
            lambda v, q, k: q < k,
            "messages of servers",
        ),
        Choice(
            "the first to be sent",
            {"s": Server},
            Int,
            unsent_up,
            lambda v, q, k: q < k,
            "messages of servers",
        ),
        Choice(
            "the earliest message of a server",
            {"s": Server},
            Int,
            lambda v, s, q: And(unreceived(v, s, q), v.dialog(s, v.up_port(s, q))),
            lambda v, q, k: q < k,
            "messages of servers",
        ),
    )
}

# ================================================================ what the world is spared

KILLS: Final = frozenset(
    {
        "server_dies",
        "server_leaves_a_child",
        "server_leaves_a_child_in_the_midst",
        "server_is_killed",
        "finds_server_unresponsive",
        "finds_server_unfit",
        "monitor_receives_unresponsive",
        "server_outstays",
        "successor_is_late",
        "element_fails",
    }
)
"""A server dies, or is killed."""
INTERRUPTIONS: Final = frozenset({"sender_dies", "reader_dies_with_hand_off", "reader_dies_with_question"})
"""A process of a server dies in the midst of a step, while others live on."""
AUDITS: Final = frozenset({"asks_again"})
"""A server is asked again, as an audit has found that it has left something unsent."""
DEATHS: Final = frozenset({"distributor_dies", "distributor_dies_having_read"})
"""The Distributor dies."""
REFUSALS: Final = frozenset({"server_refuses", "sends_hand_in_vain"})
"""A server cannot take a client that it was sent."""
SET_UP: Final = frozenset(
    {
        "opens_dialog",
        "binds_later",
        "opens_socket",
        "learns_of_socket",
        "server_binds",
        "server_listens",
        "server_listens_and_answers",
        "server_closes_listener",
    }
)
"""Programs bind, listen, or close their listening sockets."""
DISMISSALS: Final = frozenset({"drains_idle_server", "drains_leaver"})
"""Dynamic servers are let go, or any that the operator wants to leave."""

PROGRESS: Final[dict[str, LeadsTo]] = {}


def _leads_to(theorem: LeadsTo) -> LeadsTo:
    PROGRESS[theorem.name] = theorem
    return theorem


# ================================================================ the Distributor comes to rest

_AS_ONE_IS_BEST: Final = ("ranks_are_distinct", "what_is_in_hand_is_nowhere_else", "requests_are_in_the_table")
_STEPS: Final = (
    "stores_hand",
    "sends_hand",
    "sends_hand_in_vain",
    "releases",
    "releases_dropped",
    "issues_accept",
    "wants_server",
    "reports_drained",
    "sends_initial",
)


def _some_due(v):
    s, p = z3.Const("s.due", Server), z3.Const("p.due", Port)
    return Exists([s, p], v.initial_due(s, p))


def _will_be_stored(v):
    s = z3.Const("s.seat", Server)
    return And(v.holding, Not(And(v.operating, Exists([s], free(v, s, v.port_of(v.hand))))))


_leads_to(
    LeadsTo(
        "the_distributor_comes_to_rest",
        "Whatever follows from an event is done in the end, and the next event can be read.",
        {},
        pending=up,
        goal=lambda v: Or(between_events(v), Not(up(v))),
        measure=(
            Set("InitialMsgs due", _SERVER_PORT, lambda v, s, p: v.initial_due(s, p), "dialogs that are due"),
            Number("a client in hand that will be stored", lambda v: If(_will_be_stored(v), 1, 0)),
            Set("those who wait", (Client,), lambda v, c: And(v.waiting(c), up(v)), "clients that were accepted"),
            Number("a client in hand", lambda v: If(v.holding, 1, 0)),
            Set("accepts to be issued", (Port,), accept_wanted, "ports that listen"),
            Number("a server to be wanted", lambda v: If(server_wanted(v), 1, 0)),
            Set(
                "servers that must be reported as drained",
                (Server,),
                lambda v, s: And(drained(v, s), Not(v.said_drained(s))),
                "servers of the table",
            ),
        ),
        cases=(
            *(
                HelpfulCase(name, where, dict.fromkeys(_STEPS, ()), "steps are finished", because=_AS_ONE_IS_BEST)
                for name, where in (
                    ("a dialog is to be opened", _some_due),
                    ("a client has been shut down", lambda v: And(Not(_some_due(v)), v.dropping)),
                    ("a client is in hand", lambda v: And(Not(_some_due(v)), Not(v.dropping), v.holding)),
                    ("nothing is in hand", hands_free),
                )
            ),
        ),
        spared=frozenset({"opens_dialog", "opens_socket", "learns_of_socket"}),
        choices={
            "the best server": lambda v: (v.port_of(v.hand),),
            "the first of those who can be seated": lambda v: (),
        },
    )
)

# ================================================================ whoever waits is seated


def _behaves(v, s):
    """The server lives, its program listens on all its ports, and nothing of a fault is still to come."""
    p, q, c = z3.Const("p.good", Port), z3.Int("q.good"), z3.Const("c.good", Client)
    open_ = And(Not(v.binding(s, p)), v.bound(s, p), v.listening(s, p), Not(v.owed(s, p)), Not(v.initial_due(s, p)))
    on_dialog = Implies(v.down_head(s, p) < v.down_tail(s, p), v.dialog(s, p))
    dialogs = ForAll([p], And(Implies(v.dialog(s, p), open_), on_dialog))
    fine = And(v.up_kind(s, q) != REFUSED, v.up_kind(s, q) != NOT_READY, v.dialog(s, v.up_port(s, q)))
    answers = ForAll([q], Implies(unreceived(v, s, q), fine))
    clients = ForAll([c], Implies(v.serving(s, c), And(Not(v.lapsed(s, c)), v.dialog(s, v.port_of(c)))))
    lives = And(v.row(s), v.main(s), Not(v.doomed(s)), Not(v.draining(s)), v.attached(s), _all_sent(v, s))
    whole = And(Not(v.broken(s)), Not(Exists([c], v.lost_in(s, c))))
    return And(lives, dialogs, answers, clients, whole)


def _all_sent(v, s):
    c = z3.Const("c.sent", Client)
    return Not(Exists([c], v.unsent(s, c)))


def _all_live(v):
    """No client that was sent to a server, or will be, comes back."""
    t, q = z3.Const("t.live", Server), z3.Int("q.live")
    none_refused = ForAll([q], Implies(unreceived(v, t, q), v.up_kind(t, q) != REFUSED))
    lives = And(v.main(t), Not(v.broken(t)), none_refused, Implies(v.row(t), _all_sent(v, t)))
    return ForAll([t], Implies(Or(v.row(t), v.to_adopt(t)), lives))


def _waits_for(v, c, s):
    takes = And(v.dialog(s, v.port_of(c)), v.ready(s, v.port_of(c)))
    return And(up(v), v.operating, v.waiting(c), _all_live(v), _behaves(v, s), takes)


def _ahead(v, c, s, d):
    placed = Or(v.waiting(d), And(v.holding, v.hand == d))
    return And(d != c, placed, v.arrival(d) <= v.arrival(c))


def _earliest(v, s, q):
    k = z3.Int("k.first")
    earlier = And(unreceived(v, s, k), k < q, v.up_port(s, k) == v.up_port(s, q))
    return And(unread_up(v, s, q), Not(Exists([k], earlier)))


def _next_to_send(v, s, q):
    k = z3.Int("k.first")
    earlier = And(unreceived(v, s, k), k < q, v.up_port(s, k) == v.up_port(s, q))
    return And(unsent_up(v, s, q), Not(Exists([k], earlier)))


def _can_send(v, s, p):
    return And(v.unnoted(s) == 0, Not(v.full(s, p)))


def _can_read(v, s, p):
    return And(_at_rest(v, s), Not(v.full(s, p)))


def _at_rest(v, s):
    """The server's lock is free, and nothing is left to be sent."""
    q = z3.Int("q.rest")
    return And(lock_free(v, s), Not(Exists([q], unsent_up(v, s, q))))


_READS: Final = (
    "receives_accepted",
    "receives_refused",
    "receives_stale_refusal",
    "receives_disconnect",
    "learns_that_it_listens",
    "learns_that_it_still_listens",
    "learns_that_it_is_deaf",
    "learns_that_it_has_closed",
    "learns_that_it_was_deaf",
)

_leads_to(
    LeadsTo(
        "who_waits_is_seated",
        "A client that waits is sent to a server, or is let go, in the end, if some server that behaves takes clients "
        "of its port and that server's clients leave: however many others wait, come and go.",
        {"c": Client, "s": Server},
        pending=_waits_for,
        goal=lambda v, c, s: And(up(v), Not(v.waiting(c))),
        measure=(
            Set("those before it", (Client,), _ahead, "clients that were accepted"),
            Number("the server rests", lambda v, c, s: If(v.resting(s), 1, 0)),
            Queues(
                "messages to the server",
                (Port,),
                lambda v, c, s, p: v.down_head(s, p),
                lambda v, c, s, p: v.down_tail(s, p),
                "messages to servers",
            ),
            Set("its clients", (Client,), lambda v, c, s, d: v.serving(s, d), "clients that were accepted"),
            Set("messages of the server", (Int,), lambda v, c, s, q: unreceived(v, s, q), "messages of servers"),
            Set("of these, those to be sent", (Int,), lambda v, c, s, q: unsent_up(v, s, q), "messages of servers"),
        ),
        cases=(
            HelpfulCase(
                "the server has something to read",
                lambda v, c, s, p: v.down_head(s, p) < v.down_tail(s, p),
                {"server_accepts": ("s", "p"), "server_answers": ("s", "p")},
                "servers read",
                {"p": Port},
                whenever=lambda v, c, s, p: _can_read(v, s, p),
            ),
            HelpfulCase(
                "the server has something to send",
                lambda v, c, s, q: _next_to_send(v, s, q),
                {"server_sends": ("s", "q")},
                "servers send",
                {"q": Int},
                whenever=lambda v, c, s, q: _can_send(v, s, v.up_port(s, q)),
            ),
            HelpfulCase(
                "the server has sent something",
                lambda v, c, s, q: _earliest(v, s, q),
                dict.fromkeys(_READS, ("s", "q")),
                "the Distributor reads",
                {"q": Int},
                at_rest=True,
            ),
            HelpfulCase(
                "the server rests",
                lambda v, c, s: v.resting(s),
                {"rest_is_over": ("s",)},
                "rests end",
                at_rest=True,
            ),
            HelpfulCase(
                "the server has a client",
                lambda v, c, s, d: v.serving(s, d),
                {"client_leaves": ("s", "d")},
                "clients leave",
                {"d": Client},
                whenever=lambda v, c, s, d: _at_rest(v, s),
            ),
            HelpfulCase(
                "the server is free, and the Distributor not yet at rest",
                lambda v, c, s: free(v, s, v.port_of(c)),
                {},
                "steps are finished",
                at_rest=True,
            ),
        ),
        spared=KILLS | INTERRUPTIONS | AUDITS | DEATHS | REFUSALS | SET_UP | DISMISSALS,
        choices={"the earliest message of a server": lambda v, c, s: (s,)},
        counts=("clients",),
    )
)

# ================================================================ after a crash, the table is exact again

_WORDS: Final = (
    "monitor_stores",
    "monitor_releases",
    "monitor_keeps_dialog",
    "monitor_receives_ready",
    "monitor_receives_not_ready",
    "monitor_receives_drained",
    "monitor_receives_unresponsive",
    "monitor_learns_of_socket",
    "monitor_creates_server",
    "monitor_declines_server",
)

_leads_to(
    LeadsTo(
        "a_dead_distributor_is_read_to_the_end",
        "The Monitor receives all that a dead Distributor sent, and then sees that it is dead.",
        {},
        pending=lambda v: v.life == DEAD,
        goal=lambda v: v.life == ABSENT,
        measure=(Number("words unread", lambda v: v.word_tail - v.word_head),),
        cases=(
            HelpfulCase(
                "there is a word",
                lambda v: v.word_head < v.word_tail,
                dict.fromkeys(_WORDS, ()),
                "the Monitor reads",
            ),
            HelpfulCase(
                "there is none",
                lambda v: v.word_head == v.word_tail,
                {"monitor_sees_distributor_dead": ()},
                "the Monitor reads",
            ),
        ),
    )
)

_leads_to(
    LeadsTo(
        "a_distributor_is_started",
        "Where there is no Distributor, one is started, if a processing element stays up.",
        {"e": Element},
        pending=lambda v, e: And(v.life == ABSENT, v.usable(e)),
        goal=lambda v, e: up(v),
        measure=(),
        cases=(
            HelpfulCase(
                "an element is up",
                lambda v, e: v.usable(e),
                {"distributor_starts": ("e",)},
                "the Distributor is started",
            ),
        ),
        spared=frozenset({"element_fails"}),
    )
)

_leads_to(
    LeadsTo(
        "a_new_distributor_begins",
        "A new Distributor adopts every server that lives, restores every client that waits, and begins, or it dies.",
        {},
        pending=lambda v: And(up(v), Not(v.operating)),
        goal=lambda v: Or(v.operating, Not(up(v))),
        measure=(
            Set(
                "servers to adopt",
                (Server,),
                lambda v, s: And(v.to_adopt(s), Not(v.late(s))),
                "servers that were started",
            ),
            Set("clients to restore", (Client,), lambda v, c: v.to_restore(c), "clients that were accepted"),
        ),
        cases=(
            HelpfulCase(
                "a server is to be adopted",
                lambda v, s: And(v.to_adopt(s), Not(v.late(s))),
                {"adopts": ("s",)},
                "the Distributor reads",
                {"s": Server},
                at_rest=True,
            ),
            HelpfulCase(
                "a client is to be restored",
                lambda v, c: And(_all_adopted(v), v.to_restore(c), _is_first_to_be_restored(v, c)),
                {"restores": ("c",)},
                "the Distributor reads",
                {"c": Client},
                at_rest=True,
            ),
            HelpfulCase(
                "all is sent but Begin",
                lambda v: And(_all_adopted(v), Not(_some_restore(v))),
                {"begins": ()},
                "the Distributor reads",
                at_rest=True,
            ),
        ),
        spared=SET_UP,
        choices={"the first to be restored": lambda v: ()},
    )
)


def _all_adopted(v):
    s = z3.Const("s.adopt", Server)
    return Not(Exists([s], And(v.to_adopt(s), Not(v.late(s)))))


def _some_restore(v):
    c = z3.Const("c.restore", Client)
    return Exists([c], v.to_restore(c))


def _is_first_to_be_restored(v, c):
    d = z3.Const("d.restore", Client)
    return ForAll([d], Implies(v.to_restore(d), v.arrival(c) <= v.arrival(d)))


def _is_open(v, s, p):
    return And(up(v), v.row(s), v.dialog(s, p), Not(v.binding(s, p)))


def _settled(v, s, p):
    return And(Not(v.owed(s, p)), v.known(s))


def _echo_unread(v, s, p, q):
    return And(_echo_unreceived(v, s, p, q), v.up_sent(s, q))


def _echo_unreceived(v, s, p, q):
    return And(echo(v, s, q), Not(v.up_read(s, q)), v.up_port(s, q) == p, v.up_incarnation(s, q) == v.incarnation)


def _has_closed(v, s, q):
    return And(unreceived(v, s, q), v.up_kind(s, q) == NOT_READY, v.up_incarnation(s, q) == 0)


def _before_it_has_closed(v, s, p, q):
    k = z3.Int("k.closed")
    later = Exists([k], And(_has_closed(v, s, k), q <= k, v.up_port(s, k) == p))
    return And(unreceived(v, s, q), v.up_port(s, q) == p, later)


def _to_answer(v, s, p):
    at = v.asked_at(s, p)
    return If(v.down_head(s, p) <= at, at + 1 - v.down_head(s, p), 0)


_Q: Final = z3.Int("q.echo")


def _all_have_room(v, s):
    p = z3.Const("p.room", Port)
    return ForAll([p], Not(v.full(s, p)))


def _all_said(v, s):
    q = z3.Int("q.said")
    return Not(Exists([q], unsent_up(v, s, q)))


def _first_unsaid(v, s, q):
    k = z3.Int("k.first")
    return And(unsent_up(v, s, q), Not(Exists([k], And(unsent_up(v, s, k), k < q))))


def _to_take_back(v, s, q):
    at_hand = Or(q == v.broken_at(s), unsent_up(v, s, q))
    return And(v.broken(s), q >= 1, q <= v.sequence(s), v.up_kind(s, q) == ACCEPTED, at_hand)


_RECOVERS: Final = (
    HelpfulCase(
        "a client is to be taken back",
        lambda v, s, *rest: _to_take_back(v, s, rest[-1]),
        {"server_takes_back": ("s", "q")},
        "servers recover",
        {"q": Int},
    ),
    HelpfulCase(
        "a process has died unnoticed",
        lambda v, s, *rest: And(v.broken(s), nobody_to_take_back(v, s)),
        dict.fromkeys(("server_reports_again", "server_counts_again", "server_wants_to_be_asked"), ("s",)),
        "servers recover",
    ),
)
"""What is done where a process has died in the midst of a step."""

_leads_to(
    LeadsTo(
        "every_dialog_is_answered",
        "A server that lives answers the question with which the Distributor opened its dialog, behind all that was "
        "sent before.",
        {"s": Server, "p": Port},
        pending=lambda v, s, p: And(_is_open(v, s, p), v.main(s), v.bound(s, p)),
        goal=lambda v, s, p: Or(_settled(v, s, p), Exists([_Q], _echo_unreceived(v, s, p, _Q)), Not(_is_open(v, s, p))),
        measure=(
            Number("a process has died unnoticed", lambda v, s, p: If(v.broken(s), 1, 0)),
            Set(
                "whom it was to deliver",
                (Client,),
                lambda v, s, p, c: And(v.broken(s), v.undelivered(s, c)),
                "clients that were accepted",
            ),
            Set("listeners that it has closed", (Int,), lambda v, s, p, q: _has_closed(v, s, q), "messages of servers"),
            Number("InitialMsg is due", lambda v, s, p: If(v.initial_due(s, p), 1, 0)),
            Number("what the server reads before it answers", _to_answer),
            Set(
                "messages up to where it asks to be asked",
                (Int,),
                lambda v, s, p, q: _before_it_has_closed(v, s, p, q),
                "messages of servers",
            ),
            Set(
                "of these, those to be sent",
                (Int,),
                lambda v, s, p, q: And(_before_it_has_closed(v, s, p, q), unsent_up(v, s, q)),
                "messages of servers",
            ),
        ),
        cases=(
            *_RECOVERS,
            HelpfulCase(
                "it is to ask to be asked",
                lambda v, s, p, q: And(Not(v.broken(s)), _before_it_has_closed(v, s, p, q), _next_to_send(v, s, q)),
                {"server_sends": ("s", "q")},
                "servers send",
                {"q": Int},
                whenever=lambda v, s, p, q: _can_send(v, s, p),
            ),
            HelpfulCase(
                "it has asked to be asked",
                lambda v, s, p, q: And(_before_it_has_closed(v, s, p, q), _earliest(v, s, q)),
                dict.fromkeys(_READS, ("s", "q")),
                "the Distributor reads",
                {"q": Int},
                at_rest=True,
            ),
            HelpfulCase(
                "InitialMsg is due",
                lambda v, s, p: v.initial_due(s, p),
                {"sends_initial": ("s", "p")},
                "steps are finished",
            ),
            HelpfulCase(
                "InitialMsg is on its way",
                lambda v, s, p: And(Not(v.broken(s)), Not(v.initial_due(s, p)), v.down_head(s, p) <= v.asked_at(s, p)),
                {
                    "server_accepts": ("s", "p"),
                    "server_refuses": ("s", "p"),
                    "server_answers": ("s", "p"),
                    "server_answers_later": ("s", "p"),
                },
                "servers read",
                whenever=lambda v, s, p: _can_read(v, s, p),
            ),
        ),
        spared=KILLS | INTERRUPTIONS | AUDITS | SET_UP,
        choices={"the earliest message on a dialog": lambda v, s, p: (s, p)},
    )
)

_leads_to(
    LeadsTo(
        "every_answer_is_sent",
        "The server sends the answer, behind all that it had to send before on the dialog.",
        {"s": Server, "p": Port, "q": Int},
        pending=lambda v, s, p, q: And(
            _is_open(v, s, p), v.main(s), Not(v.broken(s)), _echo_unreceived(v, s, p, q), unsent_up(v, s, q)
        ),
        goal=lambda v, s, p, q: Or(_settled(v, s, p), _echo_unread(v, s, p, q), Not(_is_open(v, s, p))),
        measure=(
            Set(
                "messages to be sent, up to the answer",
                (Int,),
                lambda v, s, p, q, k: And(unsent_up(v, s, k), k <= q, v.up_port(s, k) == p),
                "messages of servers",
            ),
        ),
        cases=(
            HelpfulCase(
                "there is a first",
                lambda v, s, p, q, k: And(is_next(v, s, k), k <= q, v.up_port(s, k) == p),
                {"server_sends": ("s", "k")},
                "servers send",
                {"k": Int},
                whenever=lambda v, s, p, q, k: _can_send(v, s, p),
            ),
        ),
        spared=KILLS | INTERRUPTIONS | SET_UP,
        choices={"the first to be sent on a dialog": lambda v, s, p, q: (s, p)},
    )
)

_leads_to(
    LeadsTo(
        "a_server_comes_to_rest",
        "A server that lives sends all that it has to send, and its lock is free, while its dialogs have room.",
        {"s": Server},
        pending=lambda v, s: And(alive(v, s), _all_have_room(v, s)),
        goal=lambda v, s: Or(Not(alive(v, s)), _at_rest(v, s)),
        measure=(
            Number("a process has died unnoticed", lambda v, s: If(v.broken(s), 1, 0)),
            Number("the lock is free", lambda v, s: If(lock_free(v, s), 1, 0)),
            Set(
                "whom it is to deliver",
                (Client,),
                lambda v, s, c: v.undelivered(s, c),
                "clients that were accepted",
            ),
            Set("messages to be sent", (Int,), lambda v, s, q: unsent_up(v, s, q), "messages of servers"),
            Number("a message to be noted", lambda v, s: If(v.unnoted(s) > 0, 1, 0)),
        ),
        cases=(
            *_RECOVERS,
            HelpfulCase(
                "something has been sent",
                lambda v, s: v.unnoted(s) > 0,
                {"server_notes": ("s",)},
                "servers send",
            ),
            HelpfulCase(
                "something is to be sent",
                lambda v, s, q: And(Not(v.broken(s)), v.unnoted(s) == 0, _first_unsaid(v, s, q)),
                {"server_sends": ("s", "q")},
                "servers send",
                {"q": Int},
            ),
            HelpfulCase(
                "all has been sent",
                lambda v, s: And(v.sending(s), v.unnoted(s) == 0, _all_said(v, s)),
                {"server_lets_go": ("s",)},
                "servers send",
            ),
        ),
        spared=INTERRUPTIONS | frozenset({"server_leaves_a_child_in_the_midst"}),
        choices={"the first to be sent": lambda v, s: (s,)},
    )
)

_leads_to(
    LeadsTo(
        "every_answer_is_received",
        "The Distributor reads the answer, and all that the server sent before it on the dialog: then nothing is owed "
        "there, and the server's count is known.",
        {"s": Server, "p": Port, "q": Int},
        pending=lambda v, s, p, q: And(_is_open(v, s, p), v.main(s), _echo_unread(v, s, p, q)),
        goal=lambda v, s, p, q: Or(_settled(v, s, p), Not(_is_open(v, s, p))),
        measure=(
            Set(
                "messages up to the answer",
                (Int,),
                lambda v, s, p, q, k: And(unreceived(v, s, k), k <= q, v.up_port(s, k) == p),
                "messages of servers",
            ),
        ),
        cases=(
            HelpfulCase(
                "there is a first",
                lambda v, s, p, q, k: And(_earliest(v, s, k), k <= q, v.up_port(s, k) == p),
                dict.fromkeys(_READS, ("s", "k")),
                "the Distributor reads",
                {"k": Int},
                at_rest=True,
            ),
        ),
        spared=KILLS | SET_UP,
        choices={"the earliest message on a dialog": lambda v, s, p, q: (s, p)},
    )
)


def _of_the_table(v, s, q):
    return And(unreceived(v, s, q), v.dialog(s, v.up_port(s, q)))


_leads_to(
    LeadsTo(
        "the_dead_leave_the_table",
        "A server of which no process is left leaves the table, when all that it sent has been received.",
        {"s": Server},
        pending=lambda v, s: And(up(v), v.row(s), Not(alive(v, s))),
        goal=lambda v, s: Not(And(up(v), v.row(s))),
        measure=(
            Set("its messages", (Int,), _of_the_table, "messages of servers"),
            Set("its dialogs", (Port,), lambda v, s, p: v.dialog(s, p), "dialogs of the table"),
            Number("its control socket", lambda v, s: If(v.attached(s), 1, 0)),
        ),
        cases=(
            HelpfulCase(
                "it has sent something",
                lambda v, s, q: And(_earliest(v, s, q), v.dialog(s, v.up_port(s, q))),
                dict.fromkeys(_READS, ("s", "q")),
                "the Distributor reads",
                {"q": Int},
                at_rest=True,
            ),
            HelpfulCase(
                "a dialog has been read to its end",
                lambda v, s, p: And(
                    v.dialog(s, p), Not(Exists([_Q], And(unreceived(v, s, _Q), v.up_port(s, _Q) == p)))
                ),
                {"sees_dialog_end": ("s", "p")},
                "the Distributor reads",
                {"p": Port},
                at_rest=True,
            ),
            HelpfulCase(
                "its control socket has been read to its end",
                lambda v, s: v.attached(s),
                {"sees_control_end": ("s",)},
                "the Distributor reads",
                at_rest=True,
            ),
        ),
        spared=SET_UP,
        choices={"the earliest message of a server": lambda v, s: (s,)},
    )
)
