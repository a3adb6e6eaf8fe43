"""The transition relation: everything that may happen in the closed system, one named transition each.

How to read it: ``require(...)`` says when a transition may happen, ``then.x[y] = z`` what it changes; nothing else
changes.  ``now`` is the state before.  The Distributor's steps are modelled in small pieces, none of which has more
than one effect that others notice: a client that was accepted is *in hand* until it is stored or sent, so that the
Distributor may die in between.  The next event is read only when nothing is in hand (`between_events`).

A transition that is not *exact* stands for the world around the machines (arrivals, faults, what a program does), or
for a part of the set-up that is modelled more permissively: it allows at least what the code does.

Not modelled: the closing of the whole system, sockets that cannot be opened, the counting of deaths, and audits.  The
model explores these (`maitred.model`); this relation ends where a stop begins.  What an operator may change is
modelled, but not which wish makes the Monitor do so: it may have any server leave, or start one to replace another.
"""

import z3
from spec.relation.language import Actions, Then, View
from spec.relation.state import (
    ABSENT,
    ACCEPTED,
    CREATE,
    DEAD,
    DELAYED,
    DISCONNECT,
    DRAINED,
    HAND_OFF,
    INITIAL,
    KEEP_DIALOG,
    KILLING,
    NONE,
    NOT_READY,
    OTHER,
    READY,
    REFUSED,
    RELEASE,
    REQUESTED,
    RESTART_REPLY,
    SERVER_NOT_READY,
    SERVER_READY,
    STARTING,
    STOPPING,
    STORE,
    UNRESPONSIVE,
    UP,
    Client,
    Element,
    Int,
    Place,
    Port,
    Server,
    accept_wanted,
    active,
    alive,
    best,
    between_events,
    coming,
    drained,
    free,
    hands_free,
    idle,
    lock_free,
    mine,
    nobody_seatable,
    of_dialog,
    reports_state,
    seatable,
    server_wanted,
    unread,
    unread_up,
    unsent_up,
    up,
    word,
)

And, Or, Not, If, Implies, ForAll, Exists = z3.And, z3.Or, z3.Not, z3.If, z3.Implies, z3.ForAll, z3.Exists
ACTIONS = Actions()
action = ACTIONS.add
environment = ACTIONS.add(exact=False)


# ================================================================ channels


def to_monitor(now: View, then: Then, kind, c=None, s=None, p=None):
    """The Distributor sends the Monitor a message."""
    at = now.word_tail
    then.word_tail = at + 1
    then.word_kind[at] = kind
    if c is not None:
        then.word_client[at] = c
        then.last_word[c] = at
        then.effective[c] = kind.eq(STORE)
    if s is not None:
        then.word_server[at] = s
    if kind.eq(DRAINED):
        then.finished[s] = True
        then.last_drained_word[s] = at
    if p is not None:
        then.word_port[at] = p
        then.last_dialog_word[s, p] = at
        if kind.eq(SERVER_READY) or kind.eq(SERVER_NOT_READY):
            then.last_use_word[s, p] = at
            then.used_effective[s, p] = kind.eq(SERVER_READY)
        then.kept_effective[s, p] = True


def send_down(now: View, then: Then, s, p, kind, c=None):
    """The Distributor sends on a dialog; where no process holds the other end, what is sent is gone."""
    at = now.down_tail(s, p)
    then.down_kind[s, p, at] = kind
    if c is not None:
        then.down_client[s, p, at] = c
    else:
        then.down_incarnation[s, p, at] = now.incarnation
    then.down_tail[s, p] = at + 1


def issue(now: View, then: Then, s, p, kind, count, c=None, incarnation=None):
    """The server puts a message into its outbox, with the next sequence number and its count, under the lock."""
    q = now.sequence(s) + 1
    then.sending[s] = True
    then.sequence[s] = q
    then.up_kind[s, q] = kind
    then.up_port[s, q] = p
    then.up_count[s, q] = count
    then.up_sent[s, q] = False
    then.up_read[s, q] = False
    if c is not None:
        then.up_client[s, q] = c
    if incarnation is not None:
        then.up_incarnation[s, q] = incarnation


# ================================================================ clients


@environment
def client_comes(require, now, then, c: Client):
    """A client connects: the kernel completes the connection and queues it."""
    require(now.absent(c), now.socket(now.port_of(c)))
    then.absent[c] = False
    then.backlog[c] = True
    then.came[c] = now.next_came
    then.next_came = now.next_came + 1


@environment
def client_closes(require, now, then, c: Client):
    """A client that is not served yet closes its side."""
    require(Or(now.backlog(c), now.accepted(c)), Not(now.over(c)), Not(now.closed(c)))
    then.closed[c] = True


# ================================================================ the Distributor: from one event to the next


@action()
def stores_hand(require, now, then):
    """place: nobody is free, so the client in hand is stored with the Monitor and waits."""
    c, s = now.hand, z3.Const("s.place", Server)
    require(up(now), now.holding, Not(And(now.operating, Exists([s], free(now, s, now.port_of(c))))))
    then.holding = False
    then.waiting[c] = True
    then.total = now.total + 1
    to_monitor(now, then, STORE, c)


def hand_goes_to(now, then, s):
    """hand_off: the request is outstanding from here on."""
    then.holding = False
    then.requested[s] = True
    then.request[s] = now.hand
    then.sent_to[now.hand] = s
    then.rank[s] = now.next_rank
    then.next_rank = now.next_rank + 1


@action()
def sends_hand(require, now, then, s: Server):
    """findBestServer, SERVERCLASS_DIALOG_SEND: the client in hand goes to the best of the free servers."""
    c = now.hand
    require(up(now), now.holding, now.operating, best(now, s, now.port_of(c)), alive(now, s))
    hand_goes_to(now, then, s)
    then.sent_at[c] = now.down_tail(s, now.port_of(c))
    send_down(now, then, s, now.port_of(c), HAND_OFF, c)


@environment
def sends_hand_in_vain(require, now, then, s: Server):
    """The same, but no process of the server is left, or the kernel declines to send."""
    require(up(now), now.holding, now.operating, best(now, s, now.port_of(now.hand)))
    hand_goes_to(now, then, s)
    then.unsent[s, now.hand] = True


@action()
def releases(require, now, then, c: Client):
    """settle: the earliest of those who wait where a server is free is released from the store, and is in hand."""
    other = z3.Const("c.other", Client)
    first = ForAll([other], Implies(seatable(now, other), now.arrival(c) <= now.arrival(other)))
    require(hands_free(now), seatable(now, c), first)
    then.waiting[c] = False
    then.total = now.total - 1
    then.holding = True
    then.hand = c
    to_monitor(now, then, RELEASE, c)


@action()
def issues_accept(require, now, then, p: Port):
    """settle: an accept is issued where a client would be welcome."""
    require(hands_free(now), nobody_seatable(now), accept_wanted(now, p))
    then.accepting[p] = True


@action()
def wants_server(require, now, then):
    """settle: a dynamic server will be asked for after a delay."""
    require(hands_free(now), nobody_seatable(now), server_wanted(now))
    then.creation = DELAYED


@action()
def reports_drained(require, now, then, s: Server):
    """updateServerStatus: a server that takes no more clients has become idle, and this is reported to the Monitor."""
    require(up(now), drained(now, s), Not(now.said_drained(s)))
    then.said_drained[s] = True
    to_monitor(now, then, DRAINED, s=s)


@environment
def reports_drained_of_the_gone(require, now, then, s: Server):
    """The same of a server that becomes idle when its last dialog ends, and so leaves the table in that very step."""
    require(up(now), now.born(s), Not(now.row(s)), Not(alive(now, s)), Not(now.said_drained(s)))
    then.said_drained[s] = True
    to_monitor(now, then, DRAINED, s=s)


# ================================================================ the Distributor: events


@action()
def accepts(require, now, then, c: Client):
    """ConnectionRequest: the outstanding accept completes with the client that came first."""
    p, other = now.port_of(c), z3.Const("c.other", Client)
    earlier = And(now.backlog(other), now.port_of(other) == p, now.came(other) < now.came(c))
    require(between_events(now), now.operating, now.accepting(p), now.socket(p), now.backlog(c))
    require(Not(Exists([other], earlier)))
    then.backlog[c] = False
    then.accepted[c] = True
    then.arrival[c] = now.next_arrival
    then.next_arrival = now.next_arrival + 1
    then.accepting[p] = False
    then.holding = True
    then.hand = c


@environment
def accept_fails(require, now, then, p: Port):
    """The accept fails, as no descriptor is free."""
    require(between_events(now), now.operating, now.accepting(p))
    then.accepting[p] = False
    then.pausing[p] = True


@action()
def accept_is_tried_again(require, now, then, p: Port):
    """AcceptRetry."""
    require(between_events(now), now.pausing(p))
    then.pausing[p] = False


@environment
def shuts_waiter_down(require, now, then, c: Client):
    """PeerClosed or QueueTimeout: a waiting client is shut down; its release from the store follows."""
    require(between_events(now), now.waiting(c))
    then.shut[c] = True
    then.over[c] = True
    then.dropping = True
    then.dropped = c


@action()
def releases_dropped(require, now, then):
    """leave: only then is it released."""
    c = now.dropped
    require(up(now), now.dropping)
    then.dropping = False
    then.waiting[c] = False
    then.total = now.total - 1
    to_monitor(now, then, RELEASE, c)


def reads(require, now, then, s, q, kind):
    """The Distributor reads the server's q-th message; the newest count wins (rule 5)."""
    p, other = now.up_port(s, q), z3.Int("q.other")
    before = And(other < q, unread_up(now, s, other), now.up_port(s, other) == p)
    require(between_events(now), now.row(s), unread_up(now, s, q))
    require(now.up_kind(s, q) == kind, now.dialog(s, p), Not(now.binding(s, p)))
    # The one order that the machines need: an Accepted comes before the Refused that takes it back.
    may_overtake = z3.BoolVal(True)
    if kind.eq(REFUSED):
        may_overtake = Not(Exists([other], And(before, now.up_kind(s, other) == ACCEPTED)))
    require(Or(And(now.reordering, may_overtake), Not(Exists([other], before))))
    newer = q > now.count_sequence(s)
    then.up_read[s, q] = True
    then.count[s] = If(newer, now.up_count(s, q), now.count(s))
    then.count_sequence[s] = If(newer, q, now.count_sequence(s))
    then.heard[s] = Or(now.heard(s), newer)
    then.promised = now.promised - If(And(newer, coming(now, s)), now.max_clients(s), 0)


@action()
def receives_accepted(require, now, then, s: Server, q: Int):
    """Accepted: the request is answered, and the Distributor closes its copy, which may have been the last."""
    c = now.up_client(s, q)
    reads(require, now, then, s, q, ACCEPTED)
    then.requested[s] = And(now.requested(s), Not(mine(now, s, q)))
    then.over[c] = Or(now.over(c), And(mine(now, s, q), Not(has_connection(now, s, c))))


@action()
def receives_refused(require, now, then, s: Server, q: Int):
    """Refused: the client is in hand again, and the server rests."""
    reads(require, now, then, s, q, REFUSED)
    require(mine(now, s, q))
    then.requested[s] = False
    then.resting[s] = True
    then.holding = True
    then.hand = now.request(s)


@action()
def receives_stale_refusal(require, now, then, s: Server, q: Int):
    """Refused, of a hand-off by a former Distributor."""
    reads(require, now, then, s, q, REFUSED)
    require(Not(mine(now, s, q)))


@action()
def receives_disconnect(require, now, then, s: Server, q: Int):
    """Disconnect: a server that rested is tried again."""
    reads(require, now, then, s, q, DISCONNECT)
    then.resting[s] = False


def echoes(now, s, q):
    """The message answers this Distributor's InitialMsg: all that was sent before on the dialog has been read."""
    return now.up_incarnation(s, q) == now.incarnation


def heeds(now, s, q):
    """It is newer than the last of its kind on the dialog."""
    return q > now.dialog_sequence(s, now.up_port(s, q))


@action()
def learns_that_it_listens(require, now, then, s: Server, q: Int):
    """RestartReply: the dialog becomes usable, and this is reported to the Monitor."""
    p = now.up_port(s, q)
    reads(require, now, then, s, q, RESTART_REPLY)
    require(echoes(now, s, q), heeds(now, s, q), Not(now.ready(s, p)))
    then.ready[s, p] = True
    then.dialog_sequence[s, p] = q
    is_answered(now, then, s, q, lambda x: Or(now.ready(s, x), x == p))
    to_monitor(now, then, SERVER_READY, s=s, p=p)


def is_answered(now, then, s, q, ready):
    """`_answered`: an echo settles what is owed on the dialog, makes the count known, and may open ports."""
    p = now.up_port(s, q)
    then.owed[s, p] = And(now.owed(s, p), Not(echoes(now, s, q)))
    then.known[s] = Or(now.known(s), echoes(now, s, q))
    opens_ports(now, then, s, ready, lambda x: And(now.owed(s, x), Not(And(x == p, echoes(now, s, q)))))


def opens_ports(now, then, s, ready, owes):
    """A port is open (`PortInfo.opened`) once a server that owes nothing on any dialog is ready there.

    `ready` and `owes` give for a port whether the server is and does, after this step.
    """
    other = z3.Const("p.other", Port)
    owes_any = Exists([other], owes(other))
    then.every("opened", lambda x: Or(now.opened(x), And(now.dialog(s, x), ready(x), Not(owes_any))))


@action()
def learns_that_it_still_listens(require, now, then, s: Server, q: Int):
    """RestartReply of a dialog that is usable, or one that is out of date, or a former Distributor's."""
    p = now.up_port(s, q)
    reads(require, now, then, s, q, RESTART_REPLY)
    fresh = And(echoes(now, s, q), heeds(now, s, q))
    require(Not(And(fresh, Not(now.ready(s, p)))))
    then.dialog_sequence[s, p] = If(fresh, q, now.dialog_sequence(s, p))
    is_answered(now, then, s, q, lambda x: now.ready(s, x))


def is_deaf(require, now, then, s, q):
    """NotReady: the dialog is not usable until the program listens."""
    p = now.up_port(s, q)
    reads(require, now, then, s, q, NOT_READY)
    then.ready[s, p] = And(now.ready(s, p), Not(heeds(now, s, q)))
    then.dialog_sequence[s, p] = If(heeds(now, s, q), q, now.dialog_sequence(s, p))
    is_answered(now, then, s, q, lambda x: And(now.ready(s, x), Not(And(x == p, heeds(now, s, q)))))


def unused(now, s, q):
    """No hand-off can be unread on the dialog."""
    p = now.up_port(s, q)
    outstanding = And(now.requested(s), now.port_of(now.request(s)) == p)
    return And(echoes(now, s, q), heeds(now, s, q), Not(outstanding))


@action()
def learns_that_it_is_deaf(require, now, then, s: Server, q: Int):
    """NotReady that echoes this Distributor: the Monitor receives a report that no hand-off is unread there."""
    is_deaf(require, now, then, s, q)
    require(unused(now, s, q))
    to_monitor(now, then, SERVER_NOT_READY, s=s, p=now.up_port(s, q))


@action()
def learns_that_it_has_closed(require, now, then, s: Server, q: Int):
    """NotReady of its own accord: the program has closed its listener, and is asked again."""
    is_deaf(require, now, then, s, q)
    require(Not(unused(now, s, q)), heeds(now, s, q), now.up_incarnation(s, q) == 0)
    then.initial_due[s, now.up_port(s, q)] = True


@action()
def learns_that_it_was_deaf(require, now, then, s: Server, q: Int):
    """NotReady with nothing new."""
    is_deaf(require, now, then, s, q)
    require(Not(unused(now, s, q)), Not(And(heeds(now, s, q), now.up_incarnation(s, q) == 0)))


def has_no_dialog_but(now, s, p):
    """No other dialog with the server is left."""
    other = z3.Const("p.left", Port)
    return Not(Exists([other], And(now.dialog(s, other), other != p)))


def unread_on(now, s, p):
    """Something that the server has sent on the dialog is unread."""
    q = z3.Int("q.unread")
    return Exists([q], And(unread_up(now, s, q), now.up_port(s, q) == p))


@action()
def sees_dialog_end(require, now, then, s: Server, p: Port):
    """DialogEnded: no process holds the other end, and all has been read; an outstanding client is in hand again."""
    c = now.request(s)
    require(between_events(now), now.row(s), now.dialog(s, p), Not(alive(now, s)), Not(unread_on(now, s, p)))
    back = And(now.requested(s), now.port_of(c) == p)
    then.dialog[s, p] = False
    then.binding[s, p] = False
    then.ready[s, p] = False
    then.owed[s, p] = False
    then.requested[s] = And(now.requested(s), Not(back))
    then.resting[s] = And(now.resting(s), Not(back))
    then.holding = back
    then.hand = If(back, c, now.hand)
    then.row[s] = Or(now.attached(s), Not(has_no_dialog_but(now, s, p)))
    opens_ports(now, then, s, lambda x: And(x != p, now.ready(s, x)), lambda x: And(x != p, now.owed(s, x)))


@environment
def sees_control_end(require, now, then, s: Server):
    """ControlEnded: no process holds the other end of the control socket, and its requests to bind have been read."""
    p = z3.Const("p.any", Port)
    require(between_events(now), now.row(s), now.attached(s), Not(alive(now, s)))
    then.attached[s] = False
    then.promised = now.promised - If(coming(now, s), now.max_clients(s), 0)
    then.row[s] = Exists([p], now.dialog(s, p))


@environment
def notices_unsent(require, now, then, s: Server):
    """Unsent, in its turn: the server cannot have the client, who is in hand again; the server rests."""
    require(between_events(now), now.row(s), now.requested(s), now.unsent(s, now.request(s)))
    then.unsent[s, now.request(s)] = False
    then.requested[s] = False
    then.resting[s] = True
    then.holding = True
    then.hand = now.request(s)


@environment
def notices_unsent_late(require, now, then, s: Server, c: Client):
    """The dialog's end was seen first."""
    require(between_events(now), now.unsent(s, c), Not(And(now.row(s), now.requested(s), now.request(s) == c)))
    then.unsent[s, c] = False


@action()
def rest_is_over(require, now, then, s: Server):
    """RestOver: a server that refused is tried again."""
    require(between_events(now), now.row(s), now.resting(s), alive(now, s))
    then.resting[s] = False


@environment
def finds_server_unresponsive(require, now, then, s: Server):
    """HandOffTimeout, StillServes: this is reported to the Monitor; the clients stay where they are."""
    require(between_events(now), now.row(s))
    to_monitor(now, then, UNRESPONSIVE, s=s)


@environment
def finds_server_unfit(require, now, then, s: Server):
    """Unfit: this is reported to the Monitor, the clients stay where they are, and the server is sent no more."""
    require(between_events(now), now.row(s))
    then.draining[s] = True
    then.promised = now.promised - If(coming(now, s), now.max_clients(s), 0)
    to_monitor(now, then, UNRESPONSIVE, s=s)


@environment
def asks_for_server(require, now, then):
    """CreateDelay, while more wait than will soon be seated."""
    require(between_events(now), now.creation == DELAYED, now.total > now.promised)
    then.creation = REQUESTED
    to_monitor(now, then, CREATE)


@environment
def asks_for_no_server(require, now, then):
    """CreateDelay, when the need has passed."""
    require(between_events(now), now.creation == DELAYED, Not(now.total > now.promised))
    then.creation = NONE


@environment
def drains_idle_server(require, now, then, s: Server):
    """DeleteDelay: a dynamic server that nobody needs is sent no more clients."""
    is_spare = And(now.dynamic(now.place_of(s)), now.heard(s), idle(now, s), Not(now.draining(s)))
    require(between_events(now), now.row(s), is_spare)
    then.draining[s] = True


@action()
def sends_initial(require, now, then, s: Server, p: Port):
    """InitialMsg opens, or reopens, the dialog."""
    require(up(now), now.initial_due(s, p))
    then.initial_due[s, p] = False
    at = now.down_tail(s, p)
    then.down_kind[s, p, at] = INITIAL
    then.down_incarnation[s, p, at] = now.incarnation
    then.asked_at[s, p] = at
    then.down_tail[s, p] = If(alive(now, s), at + 1, at)


@environment
def asks_again(require, now, then, s: Server, p: Port):
    """Audited: the server has left something unsent, and is asked, so that some process of it notices."""
    require(between_events(now), now.row(s), now.dialog(s, p), Not(now.binding(s, p)))
    then.initial_due[s, p] = True


def is_or_will_be_kept(now, s, p):
    """The Monitor keeps the dialog, or a word that makes it do so is on its way."""
    i = z3.Int("i.kept")
    recorded = And(word(now, i), of_dialog(now, i), now.word_server(i) == s, now.word_port(i) == p)
    return Or(now.kept(s, p), Exists([i], recorded))


@environment
def opens_dialog(require, now, then, s: Server, p: Port):
    """BindRequested, or Listening for a bind that has waited: the Monitor keeps the new dialog."""
    require(hands_free(now), now.row(s), now.born(s), Or(Not(now.dialog(s, p)), now.binding(s, p)))
    require(Or(Not(alive(now, s)), And(Not(is_or_will_be_kept(now, s, p)), now.down_tail(s, p) == 0)))
    require(Not(unread_on(now, s, p)))
    then.dialog[s, p] = True
    then.binding[s, p] = False
    then.ready[s, p] = False
    then.dialog_sequence[s, p] = -1
    then.initial_due[s, p] = True
    to_monitor(now, then, KEEP_DIALOG, s=s, p=p)


@environment
def binds_later(require, now, then, s: Server, p: Port):
    """BindRequested, before the port's socket listens."""
    q = z3.Int("q.said")
    said = Exists([q], And(q >= 1, q <= now.sequence(s), now.up_port(s, q) == p))
    require(between_events(now), now.row(s), now.born(s), Not(now.dialog(s, p)))
    require(Or(Not(alive(now, s)), And(Not(is_or_will_be_kept(now, s, p)), Not(said))))
    require(Not(unread_on(now, s, p)))
    then.dialog[s, p] = True
    then.binding[s, p] = True
    then.ready[s, p] = False
    then.dialog_sequence[s, p] = -1


@environment
def opens_socket(require, now, then, p: Port):
    """Listen: the kernel opens the port's socket; the Distributor does not know it yet."""
    require(up(now))
    then.unkept[p] = Not(now.socket(p))
    then.socket[p] = True


@environment
def learns_of_socket(require, now, then, p: Port):
    """Listening: the Monitor is given a duplicate of the socket."""
    require(hands_free(now), now.socket(p), Not(now.listens(p)))
    then.listens[p] = True
    then.unkept[p] = False
    to_monitor(now, then, OTHER)


@action()
def adopts(require, now, then, s: Server):
    """Adopt, at the start: the Monitor names a server that lives."""
    require(between_events(now), now.to_adopt(s), Not(now.late(s)))
    enters(now, then, s)


@environment
def adopts_newcomer(require, now, then, s: Server):
    """Adopt, later: the Monitor names a server that it has just started, in its turn among what it sends."""
    require(between_events(now), now.to_adopt(s), now.late(s), Not(now.begin_due))
    enters(now, then, s)


def enters(now, then, s):
    """The server gets a row in the table, and each of its dialogs is reopened."""
    named = z3.Const("p.named", Port)
    then.to_adopt[s] = False
    then.row[s] = True
    then.attached[s] = True
    then.heard[s] = False
    then.draining[s] = now.adopt_draining(s)
    then.resting[s] = False
    then.requested[s] = False
    then.said_drained[s] = False
    then.rank[s] = now.next_rank
    then.next_rank = now.next_rank + 1
    then.count[s] = 0
    # A server without a dialog has sent nothing: its sequence number is 0, and so is that of its count.
    then.count_sequence[s] = If(Exists([named], now.adopt_kept(s, named)), -1, now.sequence(s))
    then.known[s] = Not(Exists([named], now.adopt_kept(s, named)))
    is_dynamic = now.dynamic(now.place_of(s))
    then.creation = If(And(is_dynamic, now.creation == REQUESTED), NONE, now.creation)
    then.promised = now.promised + If(And(is_dynamic, Not(now.adopt_draining(s))), now.max_clients(s), 0)
    then.every("unsent", lambda x, c: And(x != s, now.unsent(x, c)))
    then.every("dialog", lambda x, y: If(x == s, now.adopt_kept(s, y), now.dialog(x, y)))
    then.every("binding", lambda x, y: And(x != s, now.binding(x, y)))
    then.every("ready", lambda x, y: And(x != s, now.ready(x, y)))
    then.every("owed", lambda x, y: If(x == s, And(now.adopt_kept(s, y), now.adopt_used(s, y)), now.owed(x, y)))
    then.every("dialog_sequence", lambda x, y: If(x == s, -1, now.dialog_sequence(x, y)))
    then.every("initial_due", lambda x, y: If(x == s, now.adopt_kept(s, y), now.initial_due(x, y)))
    then.adopted_at[s] = now.sequence(s)


@action()
def restores(require, now, then, c: Client):
    """Restore: a client that waited goes on waiting, in its turn."""
    s, other = z3.Const("s.first", Server), z3.Const("c.first", Client)
    require(between_events(now), now.to_restore(c), Not(now.operating))
    require(Not(Exists([s], And(now.to_adopt(s), Not(now.late(s))))))
    require(ForAll([other], Implies(now.to_restore(other), now.arrival(c) <= now.arrival(other))))
    then.to_restore[c] = False
    then.waiting[c] = True
    then.total = now.total + 1
    then.next_arrival = If(now.arrival(c) >= now.next_arrival, now.arrival(c) + 1, now.next_arrival)


@action()
def begins(require, now, then):
    """Begin: the initialisation is over."""
    s, c = z3.Const("s.first", Server), z3.Const("c.first", Client)
    require(between_events(now), now.begin_due, Not(now.operating))
    require(Not(Exists([s], And(now.to_adopt(s), Not(now.late(s))))), Not(Exists([c], now.to_restore(c))))
    then.operating = True
    then.begin_due = False


@environment
def drains_leaver(require, now, then, s: Server):
    """Drain, in its turn: a server that is to leave is sent no more clients."""
    require(between_events(now), now.row(s), now.drain_due(s))
    then.drain_due[s] = False
    then.draining[s] = True
    then.promised = now.promised - If(coming(now, s), now.max_clients(s), 0)


@environment
def learns_how_many_may_come(require, now, then, n: Int):
    """Allow, in its turn: the class may have so many dynamic servers from now on."""
    require(between_events(now), n >= 0)
    then.allowance = n


@environment
def learns_that_none_comes(require, now, then):
    """CreationFailed, in its turn: no dynamic server will come; another may be asked for later."""
    require(between_events(now), now.decline_due)
    then.decline_due = False
    then.creation = If(now.creation == REQUESTED, NONE, now.creation)


# ================================================================ the Distributor's death


def is_on_its_way(now, c):
    """A server may yet take the client, or has it."""
    s, p, i = z3.Const("s.way", Server), z3.Const("p.way", Port), z3.Int("i.way")
    return Or(Exists([s, p, i], And(unread(now, s, p, i), now.down_client(s, p, i) == c)), is_served(now, c))


def is_served(now, c):
    """A living process holds the client's connection for the program."""
    s = z3.Const("s.served", Server)
    return Exists([s], has_connection(now, s, c))


def has_connection(now, s, c):
    """A living process of the server holds it."""
    return And(alive(now, s), now.serving(s, c), Not(now.lapsed(s, c)))


def has_copy(now, c):
    """The Distributor has a copy of it, as its hand-off is unanswered."""
    s = z3.Const("s.copy", Server)
    return Exists([s], And(up(now), now.requested(s), now.request(s) == c))


def ends(now, then):
    """What it alone held is gone: who was in hand, and whoever was sent to a server that will not take it."""
    s = z3.Const("s.sent", Server)

    def lost(c):
        sent = Exists([s], And(now.requested(s), now.request(s) == c))
        in_hand = And(now.holding, now.hand == c)
        in_backlog = And(now.backlog(c), now.unkept(now.port_of(c)))
        return Or(in_hand, in_backlog, And(sent, Not(is_on_its_way(now, c))))

    then.every("over", lambda c: Or(now.over(c), lost(c)))
    then.every("backlog", lambda c: And(now.backlog(c), Not(now.unkept(now.port_of(c)))))
    then.every("socket", lambda p: And(now.socket(p), Not(now.unkept(p))))
    then.life = DEAD
    then.operating = False
    then.holding = False
    then.dropping = False
    then.begin_due = False
    then.decline_due = False
    for name in ("row", "requested", "to_adopt", "late", "said_drained", "drain_due"):
        then.every(name, lambda s: z3.BoolVal(False))
    for name in ("waiting", "to_restore"):
        then.every(name, lambda c: z3.BoolVal(False))
    then.every("unsent", lambda s, c: z3.BoolVal(False))
    for name in ("dialog", "binding", "ready", "owed", "initial_due"):
        then.every(name, lambda s, p: z3.BoolVal(False))
    for name in ("accepting", "pausing", "opened", "listens", "unkept"):
        then.every(name, lambda p: z3.BoolVal(False))


@environment
def distributor_dies(require, now, then):
    """The Distributor dies, at any point of a step."""
    require(up(now))
    ends(now, then)


@environment
def distributor_dies_having_read(require, now, then, s: Server, q: Int):
    """It dies having read a server's message, and having done nothing about it."""
    require(up(now), unread_up(now, s, q))
    ends(now, then)
    then.up_read[s, q] = True


@action()
def monitor_sees_distributor_dead(require, now, then):
    """DistributorExited: only when all that it sent has been received."""
    require(now.life == DEAD, now.word_head == now.word_tail)
    then.life = ABSENT
    then.condemned = False


@environment
def distributor_starts(require, now, then, e: Element):
    """RestartDistributor: the next is sent who lives, who waits, and Begin."""
    require(now.life == ABSENT, now.usable(e))
    then.life = UP
    then.distributor_element = e
    then.incarnation = now.incarnation + 1
    then.next_arrival = 0
    then.next_rank = 0
    then.total = 0
    then.promised = 0
    then.creation = NONE
    then.begin_due = True
    then.allowance = now.configured
    then.every("to_adopt", lambda s: now.living(s))
    then.every("late", lambda s: z3.BoolVal(False))
    then.every("adopt_draining", lambda s: Or(Not(active(now, s)), now.leaving(s)))
    then.every("adopt_kept", lambda s, p: now.kept(s, p))
    then.every("adopt_used", lambda s, p: now.used(s, p))
    then.every("to_restore", lambda c: now.store(c))


# ================================================================ servers: their processes
#
# The processes of a server share its book and a lock.  Under the lock one of them reads a message, puts what is to be
# said into the outbox, sends that, and notes what it has sent: then, and not before, the program is given the client.
# Whatever a dialog has no room for stays in the outbox.


def served_only_by(now, s, c):
    """The client was served by the server and by nobody else; if it was not yet, the Distributor may have a copy."""
    return And(now.serving(s, c), Not(now.lapsed(s, c)), Not(And(now.undelivered(s, c), has_copy(now, c))))


def dies_with_server(now, s, c):
    """The hand-off was unread at the server, and no Distributor holds a copy."""
    p, i = z3.Const("p.dies", Port), z3.Int("i.dies")
    was_unread = Exists([p, i], And(unread(now, s, p, i), now.down_client(s, p, i) == c))
    return And(was_unread, Not(has_copy(now, c)))


def all_processes_end(now, then, s):
    """Whoever was served ends with the server; hand-offs that it had not read, and what it had not sent, are gone."""
    then.main[s] = False
    then.child[s] = False
    then.clients[s] = 0
    then.sending[s] = False
    then.unnoted[s] = 0
    then.broken[s] = False
    then.every("over", lambda c: Or(now.over(c), served_only_by(now, s, c), dies_with_server(now, s, c)))
    for name in ("serving", "lapsed", "undelivered"):
        then.every(name, lambda x, c, name=name: And(getattr(now, name)(x, c), x != s))
    then.every("listening", lambda x, p: And(now.listening(x, p), x != s))
    then.every("bound", lambda x, p: And(now.bound(x, p), x != s))
    then.every("owes", lambda x, p: If(x == s, 0, now.owes(x, p)))
    then.every("down_head", lambda x, p: If(x == s, now.down_tail(x, p), now.down_head(x, p)))
    then.every("up_read", lambda x, q: Or(now.up_read(x, q), And(x == s, Not(now.up_sent(x, q)))))

    def unsent_claim(c):
        return And(now.undelivered(s, c), Not(now.up_sent(s, now.taken_at(c))))

    then.every("claimed", lambda c: And(now.claimed(c), Not(unsent_claim(c))))


@environment
def server_dies(require, now, then, s: Server):
    """A server's main process dies, or ends as it was asked to, with all its children."""
    require(now.main(s), Not(now.doomed(s)))
    all_processes_end(now, then, s)


def main_process_ends(require, now, then, s):
    """A forked child lives on, holds the dialogs, and goes on counting whom the server has lost."""
    require(now.main(s), Not(now.child(s)), Not(now.doomed(s)))
    then.main[s] = False
    then.child[s] = True
    then.every("over", lambda c: Or(now.over(c), served_only_by(now, s, c)))
    then.every("lapsed", lambda x, c: Or(now.lapsed(x, c), And(x == s, now.serving(s, c))))


@environment
def server_leaves_a_child(require, now, then, s: Server):
    """The main process dies, and a forked child lives on; nothing was being sent."""
    require(Not(now.sending(s)))
    main_process_ends(require, now, then, s)


@environment
def server_leaves_a_child_in_the_midst(require, now, then, s: Server, q: Int):
    """The main process dies while it sends, and a forked child lives on."""
    main_process_ends(require, now, then, s)
    dies_sending(require, now, then, s, q)


@action()
def server_is_killed(require, now, then, s: Server):
    """The kill reaches every process of the server."""
    require(now.doomed(s), alive(now, s))
    all_processes_end(now, then, s)


def is_next(now, s, q):
    """The message is in the outbox, and whatever was put there before for the same dialog has been sent."""
    k = z3.Int("q.first")
    before = And(k < q, unsent_up(now, s, k), now.up_port(s, k) == now.up_port(s, q))
    return And(unsent_up(now, s, q), Not(Exists([k], before)))


def dies_sending(require, now, then, s, q):
    """The message is in the dialog or not: nobody knows."""
    require(now.sending(s), If(now.unnoted(s) > 0, q == now.unnoted(s), is_next(now, s, q)))
    then.sending[s] = False
    then.unnoted[s] = 0
    then.broken[s] = True
    then.broken_at[s] = q
    then.broken_port[s] = now.up_port(s, q)


@environment
def sender_dies(require, now, then, s: Server, q: Int):
    """A process dies while it sends, with the connection that it was to deliver; others of the server live on."""
    require(alive(now, s))
    dies_sending(require, now, then, s, q)
    then.every("over", lambda c: Or(now.over(c), And(now.undelivered(s, c), served_only_by(now, s, c))))
    then.every("lapsed", lambda x, c: Or(now.lapsed(x, c), And(x == s, now.undelivered(s, c))))


def reader_dies(require, now, then, s, p, kind):
    """A process has read a message, of this kind, and dies having done nothing about it; others live on."""
    require(next_is(now, s, p, kind))
    then.down_head[s, p] = now.down_head(s, p) + 1
    then.broken[s] = True
    then.broken_at[s] = 0
    then.broken_port[s] = p


@environment
def reader_dies_with_hand_off(require, now, then, s: Server, p: Port):
    """The connection dies with it; the Distributor may have a copy, which it keeps until it gives the server up."""
    c = now.down_client(s, p, now.down_head(s, p))
    reader_dies(require, now, then, s, p, HAND_OFF)
    then.over[c] = Or(now.over(c), Not(has_copy(now, c)))
    then.lost_in[s, c] = True


@environment
def reader_dies_with_question(require, now, then, s: Server, p: Port):
    """InitialMsg is lost."""
    reader_dies(require, now, then, s, p, INITIAL)
    then.read_at[s, p] = now.sequence(s)


@environment
def server_binds(require, now, then, s: Server, p: Port):
    """The program's bind is answered: the dialog, which the Monitor keeps or will keep, stands in for its socket."""
    require(now.main(s), is_or_will_be_kept(now, s, p))
    then.bound[s, p] = True


# ================================================================ servers: what is read, and what is to be sent


def next_is(now, s, p, kind):
    """The server may read the next message on the dialog, which is of this kind: there is room for the answer."""
    at, q = now.down_head(s, p), z3.Int("q.room")
    room = And(Not(now.full(s, p)), Not(Exists([q], And(unsent_up(now, s, q), now.up_port(s, q) == p))))
    may = And(alive(now, s), lock_free(now, s), now.bound(s, p), room)
    return And(may, at < now.down_tail(s, p), now.down_kind(s, p, at) == kind)


def supersedes(now, then, s, p, is_out_of_date):
    """What is in the outbox for the dialog and is of this kind will not be sent (rule 6 of the server)."""

    def withdrawn(x, q):
        return And(x == s, Not(now.up_sent(x, q)), now.up_port(x, q) == p, is_out_of_date(q))

    then.every("up_read", lambda x, q: Or(now.up_read(x, q), withdrawn(x, q)))


def reports(now, then, s, p, kind, incarnation):
    """RestartReply or NotReady."""
    supersedes(now, then, s, p, lambda q: reports_state(now, s, q))
    issue(now, then, s, p, kind, now.clients(s), incarnation=incarnation)


@action()
def server_accepts(require, now, then, s: Server, p: Port):
    """accept_nw2: the server takes the client, whom its program will be given once that has been sent."""
    at = now.down_head(s, p)
    c = now.down_client(s, p, at)
    require(next_is(now, s, p, HAND_OFF), now.listening(s, p))
    then.down_head[s, p] = at + 1
    then.serving[s, c] = True
    then.undelivered[s, c] = True
    then.clients[s] = now.clients(s) + 1
    then.claimed[c] = True
    then.taken_by[c] = s
    then.taken_at[c] = now.sequence(s) + 1
    then.last_accept[s] = now.sequence(s) + 1
    then.last_accept_port[s] = p
    issue(now, then, s, p, ACCEPTED, now.clients(s) + 1, c)


@environment
def server_refuses(require, now, then, s: Server, p: Port):
    """The listener is closed, or no descriptor came: the Distributor has a copy."""
    at = now.down_head(s, p)
    c = now.down_client(s, p, at)
    require(next_is(now, s, p, HAND_OFF))
    then.down_head[s, p] = at + 1
    then.over[c] = Or(now.over(c), Not(has_copy(now, c)))
    issue(now, then, s, p, REFUSED, now.clients(s), c)


@action()
def server_answers(require, now, then, s: Server, p: Port):
    """InitialMsg, while the program listens: RestartReply."""
    at = now.down_head(s, p)
    require(next_is(now, s, p, INITIAL), now.listening(s, p))
    then.down_head[s, p] = at + 1
    then.read_at[s, p] = now.sequence(s)
    reports(now, then, s, p, RESTART_REPLY, now.down_incarnation(s, p, at))


@action()
def server_answers_later(require, now, then, s: Server, p: Port):
    """InitialMsg, while it does not: NotReady, and a RestartReply is owed."""
    at = now.down_head(s, p)
    require(next_is(now, s, p, INITIAL), Not(now.listening(s, p)))
    then.down_head[s, p] = at + 1
    then.read_at[s, p] = now.sequence(s)
    then.owes[s, p] = now.down_incarnation(s, p, at)
    reports(now, then, s, p, NOT_READY, now.down_incarnation(s, p, at))


@environment
def server_listens(require, now, then, s: Server, p: Port):
    """The program listens; nothing is owed."""
    require(now.main(s), lock_free(now, s), now.bound(s, p), Not(now.listening(s, p)), now.owes(s, p) == 0)
    then.listening[s, p] = True


@environment
def server_listens_and_answers(require, now, then, s: Server, p: Port):
    """The program listens, and the RestartReply that is owed is to be sent."""
    require(now.main(s), lock_free(now, s), now.bound(s, p), Not(now.listening(s, p)), now.owes(s, p) > 0)
    then.listening[s, p] = True
    then.owes[s, p] = 0
    reports(now, then, s, p, RESTART_REPLY, now.owes(s, p))


@environment
def server_closes_listener(require, now, then, s: Server, p: Port):
    """The program closes its listening socket."""
    require(now.main(s), lock_free(now, s), now.listening(s, p))
    then.listening[s, p] = False
    then.owes[s, p] = 0
    reports(now, then, s, p, NOT_READY, z3.IntVal(0))


@action()
def client_leaves(require, now, then, s: Server, c: Client):
    """The last reference to the client's connection is gone: Disconnect."""
    require(alive(now, s), lock_free(now, s), now.serving(s, c), Not(now.lapsed(s, c)))
    then.serving[s, c] = False
    then.clients[s] = now.clients(s) - 1
    then.over[c] = True
    departs(now, then, s, now.port_of(c), now.clients(s) - 1, c)


def departs(now, then, s, p, count, c):
    """Disconnect."""
    supersedes(now, then, s, p, lambda q: now.up_kind(s, q) == DISCONNECT)
    issue(now, then, s, p, DISCONNECT, count, c)


# ================================================================ servers: what is sent


@environment
def server_sends(require, now, then, s: Server, q: Int):
    """A message leaves the outbox for the dialog, which has room."""
    require(alive(now, s), Not(now.broken(s)), now.unnoted(s) == 0, is_next(now, s, q))
    require(Not(now.full(s, now.up_port(s, q))))
    then.sending[s] = True
    then.up_sent[s, q] = True
    then.unnoted[s] = q


@action()
def server_notes(require, now, then, s: Server):
    """Sent: what was sent leaves the book; of an Accepted, the program is given the client."""
    q = now.unnoted(s)
    c = now.up_client(s, q)
    accepted = now.up_kind(s, q) == ACCEPTED
    require(alive(now, s), q > 0)
    then.unnoted[s] = 0
    then.undelivered[s, c] = And(now.undelivered(s, c), Not(accepted))
    then.taken_twice[c] = Or(now.taken_twice(c), And(accepted, now.taken(c)))
    then.taken[c] = Or(now.taken(c), accepted)


@environment
def server_lets_go(require, now, then, s: Server):
    """The lock is free again: what is left in the outbox has no room.  An answer to a hand-off has: see `next_is`."""
    q = z3.Int("q.left")
    require(now.sending(s), now.unnoted(s) == 0, nobody_to_take_back(now, s))
    require(ForAll([q], Implies(unsent_up(now, s, q), now.full(s, now.up_port(s, q)))))
    then.sending[s] = False


@environment
def server_resumes(require, now, then, s: Server):
    """A process takes the lock to send what was left in the outbox."""
    require(alive(now, s), lock_free(now, s))
    then.sending[s] = True


# ================================================================ servers: who next takes the lock


@action()
def server_takes_back(require, now, then, s: Server, q: Int):
    """Interrupted: a client who was not delivered has lost its connection, is counted no more, and is refused."""
    c, p = now.up_client(s, q), now.up_port(s, q)
    require(alive(now, s), now.broken(s), q >= 1, q <= now.sequence(s), now.up_kind(s, q) == ACCEPTED)
    require(Or(q == now.broken_at(s), unsent_up(now, s, q)))
    then.broken[s] = q != now.broken_at(s)
    then.up_read[s, q] = Or(now.up_read(s, q), Not(now.up_sent(s, q)))
    then.claimed[c] = now.up_sent(s, q)
    then.serving[s, c] = False
    then.undelivered[s, c] = False
    then.lapsed[s, c] = False
    then.clients[s] = now.clients(s) - 1
    issue(now, then, s, p, REFUSED, now.clients(s) - 1, c)
    then.sending[s] = q == now.broken_at(s)


def nobody_to_take_back(now, s):
    """Every client of the server has been delivered."""
    c = z3.Const("c.back", Client)
    return Not(Exists([c], now.undelivered(s, c)))


def finds(require, now, then, s):
    """Interrupted: what was being sent is found."""
    require(alive(now, s), now.broken(s), nobody_to_take_back(now, s))
    then.broken[s] = False
    return now.broken_at(s), now.broken_port(s)


@action()
def server_reports_again(require, now, then, s: Server):
    """Interrupted, and RestartReply or NotReady was being sent: it is sent again."""
    q, p = finds(require, now, then, s)
    require(q > 0, reports_state(now, s, q))
    supersedes(now, then, s, p, lambda k: reports_state(now, s, k))
    issue(now, then, s, p, now.up_kind(s, q), now.clients(s), incarnation=now.up_incarnation(s, q))


@action()
def server_counts_again(require, now, then, s: Server):
    """Interrupted, and Disconnect was being sent: it is sent again."""
    q, p = finds(require, now, then, s)
    require(q > 0, now.up_kind(s, q) == DISCONNECT)
    departs(now, then, s, p, now.clients(s), now.up_client(s, q))


@action()
def server_wants_to_be_asked(require, now, then, s: Server):
    """Interrupted, and what was read is not known, or a Refused may be sent: the Distributor is made to ask again."""
    q, p = finds(require, now, then, s)
    c = now.up_client(s, q)
    refused = And(q > 0, now.up_kind(s, q) == REFUSED)
    require(Or(q == 0, refused))
    then.owes[s, p] = 0
    then.lost_in[s, c] = Or(now.lost_in(s, c), And(refused, Not(now.up_sent(s, q))))

    def outdated(k):
        return Or(reports_state(now, s, k), And(refused, k == q))

    supersedes(now, then, s, p, outdated)
    issue(now, then, s, p, NOT_READY, now.clients(s), incarnation=z3.IntVal(0))


# ================================================================ the Monitor: what it receives


def receives(require, now, then, kind):
    """The Monitor reads the next word of the Distributor, which is of this kind."""
    require(word(now, now.word_head), now.word_kind(now.word_head) == kind)
    then.word_head = now.word_head + 1
    return now.word_client(now.word_head), now.word_server(now.word_head), now.word_port(now.word_head)


@action()
def monitor_stores(require, now, then):
    """Store."""
    c, _, _ = receives(require, now, then, STORE)
    then.store[c] = True


@action()
def monitor_releases(require, now, then):
    """Release."""
    c, _, _ = receives(require, now, then, RELEASE)
    then.store[c] = False


@action()
def monitor_keeps_dialog(require, now, then):
    """KeepDialog; of a server that is gone, nothing is kept."""
    _, s, p = receives(require, now, then, KEEP_DIALOG)
    then.kept[s, p] = Or(now.kept(s, p), now.living(s))


@action()
def monitor_receives_ready(require, now, then):
    """ServerReady: hand-offs may be unread in the dialog from now on; one that was to replace another has done so."""
    _, s, p = receives(require, now, then, SERVER_READY)
    then.kept[s, p] = Or(now.kept(s, p), now.living(s))
    then.used[s, p] = Or(now.used(s, p), now.living(s))
    comes_up = And(now.living(s), now.phase(s) == STARTING)
    then.phase[s] = If(comes_up, READY, now.phase(s))
    then.succeeds[s] = And(now.succeeds(s), Not(comes_up))


@action()
def monitor_receives_not_ready(require, now, then):
    """ServerNotReady: none is."""
    _, s, p = receives(require, now, then, SERVER_NOT_READY)
    then.kept[s, p] = Or(now.kept(s, p), now.living(s))
    then.used[s, p] = And(now.used(s, p), Not(now.living(s)))


@action()
def monitor_receives_drained(require, now, then):
    """Drained: the server is asked to end."""
    _, s, _ = receives(require, now, then, DRAINED)
    may = And(now.living(s), active(now, s))
    then.phase[s] = If(may, STOPPING, now.phase(s))
    then.asked_to_end[s] = Or(now.asked_to_end(s), may)


@action()
def monitor_receives_unresponsive(require, now, then):
    """Unresponsive: every process of the server is killed; nothing is sent to the Distributor."""
    _, s, _ = receives(require, now, then, UNRESPONSIVE)
    then.phase[s] = If(now.living(s), KILLING, now.phase(s))
    then.doomed[s] = Or(now.doomed(s), now.living(s))


@action()
def monitor_learns_of_socket(require, now, then):
    """KeepListener."""
    receives(require, now, then, OTHER)


def starts(require, now, then, s):
    """A server that never was fills its empty place; it is sent to the Distributor, if there is one."""
    place = now.place_of(s)
    require(Not(now.born(s)), Not(now.filled(place)), now.usable(now.element_of(s)))
    then.born[s] = True
    then.main[s] = True
    then.living[s] = True
    then.filled[place] = True
    then.phase[s] = STARTING
    then.to_adopt[s] = up(now)
    then.late[s] = True
    then.adopt_draining[s] = False
    then.every("adopt_kept", lambda x, p: And(x != s, now.adopt_kept(x, p)))
    then.every("adopt_used", lambda x, p: And(x != s, now.adopt_used(x, p)))


@environment
def monitor_starts_server(require, now, then, s: Server):
    """A static server, at the start, after the delay that follows a death, or as the operator wants one more."""
    require(Not(now.dynamic(now.place_of(s))))
    starts(require, now, then, s)


@environment
def monitor_creates_server(require, now, then, s: Server):
    """CreateServer, while the class has a dynamic server left."""
    require(now.dynamic(now.place_of(s)), Not(now.dynamic_resting))
    receives(require, now, then, CREATE)
    starts(require, now, then, s)


@environment
def monitor_starts_successor(require, now, then, s: Server):
    """A server that is to replace another, of either kind: one at a time."""
    other = z3.Const("s.succeeds", Server)
    require(Not(Exists([other], And(now.living(other), now.succeeds(other)))))
    starts(require, now, then, s)
    then.succeeds[s] = True


@environment
def monitor_declines_server(require, now, then):
    """CreateServer, when it has none left, or rests."""
    receives(require, now, then, CREATE)
    then.decline_due = up(now)


# ================================================================ the Monitor: what it sees


def kills(now, then, s):
    """Every process descended from the server's is killed."""
    then.phase[s] = KILLING
    then.doomed[s] = True


@action()
def monitor_sees_server_end(require, now, then, s: Server):
    """ServerExited: the main process has ended; what is left of the server is killed."""
    require(now.living(s), Not(now.main(s)), Not(now.reported(s)), now.phase(s) != KILLING)
    then.reported[s] = True
    then.died_unready[s] = now.phase(s) == STARTING
    kills(now, then, s)


@action()
def monitor_sees_server_gone(require, now, then, s: Server):
    """ServerGone: no process is left, so the place is free."""
    place = now.place_of(s)
    require(now.living(s), now.doomed(s), Not(alive(now, s)))
    then.living[s] = False
    then.filled[place] = False
    rests = And(now.dynamic(place), now.died_unready(s), Not(now.succeeds(s)))
    then.dynamic_resting = Or(now.dynamic_resting, rests)


@action()
def dynamic_rest_is_over(require, now, then):
    """DynamicRest."""
    require(now.dynamic_resting)
    then.dynamic_resting = False


@action()
def server_outstays(require, now, then, s: Server):
    """KillDelay: it was asked to end a while ago."""
    require(now.living(s), now.phase(s) == STOPPING)
    kills(now, then, s)


# ================================================================ the Monitor: what the operator wants


@environment
def monitor_retires(require, now, then, s: Server):
    """Retire, Replace or Scale, or the server that replaces it is ready: it is to leave, and the Distributor is sent
    so.
    """
    require(now.living(s), Not(now.leaving(s)))
    then.leaving[s] = True
    then.drain_due[s] = And(up(now), active(now, s))


@environment
def monitor_limits(require, now, then, s: Server):
    """The same, within a grace."""
    require(now.living(s), now.leaving(s))
    then.limited[s] = True


@action()
def leave_is_over(require, now, then, s: Server):
    """DrainOver: the grace of a server that is to leave has ended, and it is asked to end."""
    require(now.living(s), now.limited(s), active(now, s))
    then.phase[s] = STOPPING
    then.asked_to_end[s] = True


@action()
def successor_is_late(require, now, then, s: Server):
    """StartWarning: a server that is to replace another is not ready in time, and is killed."""
    require(now.living(s), now.succeeds(s), now.phase(s) == STARTING)
    kills(now, then, s)


@environment
def monitor_scales(require, now, then, n: Int):
    """Scale: the class may have so many dynamic servers; the static ones are started, or to leave, one by one."""
    require(n >= 0)
    then.configured = n


# ================================================================ the Monitor: processing elements


@environment
def element_fails(require, now, then, e: Element):
    """A processing element fails, with all that runs on it."""
    require(now.usable(e))
    then.usable[e] = False

    def hit(s):
        return And(now.living(s), now.element_of(s) == e)

    then.every("phase", lambda s: If(hit(s), KILLING, now.phase(s)))
    then.every("doomed", lambda s: Or(now.doomed(s), hit(s)))
    then.condemned = Or(now.condemned, And(up(now), now.distributor_element == e))


@environment
def element_returns(require, now, then, e: Element):
    """A processing element is usable again."""
    require(Not(now.usable(e)))
    then.usable[e] = True


# ================================================================ the beginning


def initial(v: View):
    """The Monitor has been started, and nothing else."""
    s, c, p = z3.Const("s.0", Server), z3.Const("c.0", Client), z3.Const("p.0", Port)
    place, e = z3.Const("place.0", Place), z3.Const("e.0", Element)
    nobody = And(
        v.absent(c), *(Not(f(c)) for f in (v.backlog, v.accepted, v.over, v.shut, v.closed, v.taken, v.claimed))
    )
    nobody = And(nobody, *(Not(f(c)) for f in (v.taken_twice, v.waiting, v.store, v.to_restore, v.effective)))
    servers = (v.born, v.main, v.child, v.doomed, v.asked_to_end, v.living, v.reported, v.died_unready, v.row)
    no_server = And(
        *(Not(f(s)) for f in (*servers, v.sending, v.broken, v.requested, v.to_adopt, v.late, v.said_drained)),
        *(Not(f(s)) for f in (v.leaving, v.limited, v.succeeds, v.drain_due)),
    )
    zero = And(
        Not(v.finished(s)),
        v.last_drained_word(s) == -1,
        v.clients(s) == 0,
        v.sequence(s) == 0,
        v.unnoted(s) == 0,
        v.last_accept(s) == 0,
        v.adopted_at(s) == 0,
    )
    dialogs = (v.dialog, v.binding, v.ready, v.owed, v.initial_due, v.listening, v.bound, v.kept, v.used)
    no_dialog = And(*(Not(f(s, p)) for f in (*dialogs, v.kept_effective, v.used_effective)))
    no_message = And(v.down_head(s, p) == 0, v.down_tail(s, p) == 0, v.owes(s, p) == 0)
    no_word = And(v.last_dialog_word(s, p) == -1, v.last_use_word(s, p) == -1)
    ports = (v.accepting, v.pausing, v.opened, v.listens, v.socket, v.unkept)
    return And(
        v.life == ABSENT,
        Not(v.condemned),
        v.incarnation == 0,
        Not(v.operating),
        Not(v.holding),
        Not(v.dropping),
        Not(v.begin_due),
        Not(v.decline_due),
        Not(v.dynamic_resting),
        v.word_head == 0,
        v.word_tail == 0,
        v.total == 0,
        v.promised == 0,
        v.creation == NONE,
        ForAll([c], And(nobody, v.last_word(c) == -1)),
        ForAll([s], And(no_server, zero)),
        ForAll([s, c], And(*(Not(f(s, c)) for f in (v.serving, v.lapsed, v.undelivered, v.unsent)))),
        ForAll([s, p], And(no_dialog, no_message, no_word)),
        ForAll([p], And(*(Not(f(p)) for f in ports))),
        ForAll([place], Not(v.filled(place))),
        ForAll([e], v.usable(e)),
        ForAll([s], And(v.max_clients(s) >= 1, v.weight(s) >= 1)),
    )
