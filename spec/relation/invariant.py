"""The inductive invariant: true at first, kept by every transition, whatever the number of servers, clients and ports.

*Promises* are what users are promised, by the names that the model gives them, where it has them.  *Lemmas* are why
they hold: each is a sentence, and `proofs` shows what breaks without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import z3
from spec.relation.language import View
from spec.relation.state import (
    ABSENT,
    ACCEPTED,
    DRAINED,
    INITIAL,
    KILLING,
    NOT_READY,
    REFUSED,
    SERVER_NOT_READY,
    SERVER_READY,
    STOPPING,
    STORE,
    Client,
    Place,
    Port,
    Server,
    active,
    alive,
    answer,
    echo,
    free,
    mine,
    of_client,
    of_dialog,
    reports_state,
    unread,
    unreceived,
    unsent_up,
    up,
    word,
)

And, Or, Not, If, Implies, ForAll, Exists = z3.And, z3.Or, z3.Not, z3.If, z3.Implies, z3.ForAll, z3.Exists


@dataclass(frozen=True)
class Conjunct:
    """One sentence of the invariant."""

    name: str
    text: str
    says: Callable[[View], Any]
    promised: bool
    """Users are promised it; otherwise it is there for the others' sake."""
    inductive: bool = True
    """It is kept by every transition; otherwise it follows from those that are, in each state."""


INVARIANT: dict[str, Conjunct] = {}


def _register(says: Callable[[View], Any], promised: bool, inductive: bool = True) -> Callable[[View], Any]:
    text = " ".join((says.__doc__ or "").split())
    assert text, f"{says.__name__} has no docstring"
    INVARIANT[says.__name__] = Conjunct(says.__name__, text, says, promised, inductive)
    return says


def promise(says: Callable[[View], Any]) -> Callable[[View], Any]:
    """Register what users are promised."""
    return _register(says, True)


def consequence(says: Callable[[View], Any]) -> Callable[[View], Any]:
    """Register what users are promised and what follows from the rest."""
    return _register(says, True, inductive=False)


def lemma(says: Callable[[View], Any]) -> Callable[[View], Any]:
    """Register what the promises rest on."""
    return _register(says, False)


s, t = z3.Consts("s t", Server)
c, d = z3.Consts("c d", Client)
p, r = z3.Consts("p r", Port)
i, j, q, k = z3.Ints("i j q k")
place = z3.Const("place", Place)

# ================================================================ promises


@promise
def no_client_has_two_servers(v):
    """No client is ever accepted by a server twice, whether by two servers or by one."""
    return ForAll([c], Not(v.taken_twice(c)))


@promise
def never_above_the_maximum(v):
    """No server ever serves more clients than its maximum."""
    return ForAll([s], v.clients(s) <= v.max_clients(s))


@consequence
def never_stale_low(v):
    """A server that the Distributor may send a client to serves, or has unread, at most what is in its table."""
    no_hand_off = ForAll([r, i], Not(unread(v, s, r, i)))
    low = And(v.clients(s) <= v.count(s), no_hand_off)
    return ForAll([s, p], Implies(And(up(v), free(v, s, p), alive(v, s)), low))


@promise
def no_client_is_lost(v):
    """Whoever was accepted, and has not ended at one of the instants that are named, is held: waits, is stored or on
    the way to the store, is in hand, is requested of a server, is unread there, or is served.
    """
    h, at = v.sent_to(c), v.sent_at(c)
    sent = And(v.requested(h), v.request(h) == c)
    at_server = And(unread(v, h, v.port_of(c), at), v.down_client(h, v.port_of(c), at) == c)
    held = Or(v.effective(c), And(v.holding, v.hand == c), sent, at_server, served(v))
    return ForAll([c], Implies(And(v.accepted(c), Not(v.over(c))), held))


def served(v):
    """A living process of the server that took the client holds its connection."""
    return And(alive(v, v.taken_by(c)), v.serving(v.taken_by(c), c), Not(v.lapsed(v.taken_by(c), c)))


@promise
def at_most_one_request_outstanding(v):
    """No server has more than one hand-off unread at any time."""
    both = And(unread(v, s, p, i), unread(v, s, r, j))
    return ForAll([s, p, i, r, j], Implies(both, And(p == r, i == j)))


@promise
def never_more_servers_than_configured(v):
    """No two servers fill one place: so no more live than there are places."""
    return ForAll([s, t], Implies(And(v.living(s), v.living(t), v.place_of(s) == v.place_of(t)), s == t))


@promise
def one_server_at_a_time_replaces_another(v):
    """No two servers come up to replace others: so at most one more lives than are configured and leaving."""
    both = And(v.living(s), v.succeeds(s), v.living(t), v.succeeds(t))
    return ForAll([s, t], Implies(both, s == t))


@promise
def who_is_to_leave_is_sent_nobody(v):
    """A server that is to leave, and was neither asked to end nor killed, is draining, or the Distributor is yet to
    read that it is.
    """
    row = Implies(v.row(s), Or(v.draining(s), v.drain_due(s)))
    named = Implies(v.to_adopt(s), Or(v.adopt_draining(s), v.drain_due(s)))
    return ForAll([s], Implies(And(up(v), v.leaving(s), v.living(s), active(v, s)), And(row, named)))


@promise
def store_has_exactly_those_who_wait(v):
    """What the store will hold, once the Distributor's channel has been read to the end, are those who wait, those yet
    to be restored, and who has just been shut down.
    """
    waits = Or(v.waiting(c), v.to_restore(c))
    return Implies(up(v), ForAll([c], v.effective(c) == waits))


@promise
def no_client_with_a_server_is_restored(v):
    """A client that a server has, or may yet read, is not restored to the next Distributor."""
    sent = Exists([s, p, i], And(unread(v, s, p, i), v.down_client(s, p, i) == c))
    return ForAll([c], Implies(v.effective(c), And(Not(v.claimed(c)), Not(v.taken(c)), Not(sent))))


@promise
def no_one_is_cut_off_by_draining(v):
    """A server that is asked to end because it is drained counts no client, and has nobody's hand-off unread."""
    ends = And(v.finished(s), alive(v, s))
    return ForAll([s], Implies(ends, And(v.clients(s) <= 0, ForAll([p, i], Not(unread(v, s, p, i))))))


@consequence
def the_count_is_exact_when_dialogs_are_quiet(v):
    """When nothing is on its way between them, and no death within the server is unnoticed, the Distributor's count of
    a server's clients is the server's own.
    """
    nothing_down = ForAll([r], And(v.down_head(s, r) == v.down_tail(s, r), Not(v.initial_due(s, r))))
    nothing_up = ForAll([q], Implies(And(q >= 1, q <= v.sequence(s)), v.up_read(s, q)))
    is_open = And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)))
    quiet = And(is_open, Not(v.broken(s)), nothing_down, nothing_up)
    return ForAll([s, p], Implies(quiet, v.count(s) == v.clients(s)))


@promise
def first_come_first_served(v):
    """Whoever is in hand came before all who wait where a server is free that could take either."""
    either = And(free(v, s, v.port_of(v.hand)), free(v, s, v.port_of(c)), v.waiting(c))
    return Implies(v.holding, ForAll([s, c], Implies(either, v.arrival(v.hand) <= v.arrival(c))))


# ================================================================ lemmas: before the start, after the death


@lemma
def positions_are_in_order(v):
    """What has been read is before what has not; without this, no message could be known to be the last."""
    dialogs = ForAll([s, p], And(v.down_head(s, p) >= 0, v.down_head(s, p) <= v.down_tail(s, p)))
    return And(v.word_head >= 0, v.word_head <= v.word_tail, v.incarnation >= 0, dialogs)


@lemma
def nobody_speaks_before_birth(v):
    """A server that was never started has no process, no table row, has sent nothing, and nobody wants it to leave."""
    never = (v.main, v.child, v.living, v.row, v.to_adopt, v.requested, v.leaving, v.limited, v.succeeds)
    silent = And(v.sequence(s) == 0, v.clients(s) == 0, v.last_accept(s) == 0)
    return ForAll([s], Implies(Not(v.born(s)), And(silent, *(Not(f(s)) for f in never))))


@lemma
def no_dialog_before_birth(v):
    """A server that was never started has no dialogs."""
    never = (v.kept, v.kept_effective, v.used_effective, v.used, v.bound, v.listening)
    nothing = And(
        v.down_tail(s, p) == 0, v.owes(s, p) == 0, v.last_dialog_word(s, p) == -1, v.last_use_word(s, p) == -1
    )
    return ForAll([s, p], Implies(Not(v.born(s)), And(nothing, *(Not(f(s, p)) for f in never))))


@lemma
def who_is_alive_fills_a_place(v):
    """A place is freed only when no process is left of the server."""
    return ForAll([s], And(Implies(alive(v, s), v.living(s)), Implies(v.living(s), v.filled(v.place_of(s)))))


@lemma
def there_is_room_for_one(v):
    """A maximum of none makes no sense."""
    return ForAll([s], v.max_clients(s) >= 1)


@lemma
def a_dead_distributor_knows_nothing(v):
    """Its tables are gone with it."""
    no_row = ForAll([s], And(Not(v.row(s)), Not(v.requested(s)), Not(v.to_adopt(s))))
    no_client = ForAll([c], And(Not(v.waiting(c)), Not(v.to_restore(c))))
    no_port = ForAll([p], Not(v.accepting(p)))
    return Implies(Not(up(v)), And(Not(v.holding), Not(v.dropping), Not(v.operating), no_row, no_client, no_port))


@lemma
def a_dead_distributor_is_read_to_the_end(v):
    """A next Distributor starts only when nothing of the last is unread."""
    return Implies(v.life == ABSENT, v.word_head == v.word_tail)


@lemma
def a_client_waits_once(v):
    """Nobody is restored who waits already."""
    return ForAll([c], Not(And(v.to_restore(c), v.waiting(c))))


@lemma
def requests_are_in_the_table(v):
    """A request is outstanding only in operation, with a server of the table, which is not to be adopted again."""
    known = Implies(v.requested(s), And(v.row(s), v.operating))
    unsent = Implies(And(v.row(s), v.unsent(s, c), alive(v, s)), And(v.requested(s), v.request(s) == c))
    return ForAll([s, c], And(known, unsent, Not(And(v.row(s), v.to_adopt(s)))))


@lemma
def dialogs_are_in_the_table(v):
    """What is owed or due is so on a dialog of the table."""
    on_dialog = Implies(Or(v.owed(s, p), v.initial_due(s, p)), v.dialog(s, p))
    return ForAll([s, p], And(Implies(v.dialog(s, p), v.row(s)), on_dialog))


@lemma
def what_is_in_hand_is_nowhere_else(v):
    """The client in hand was accepted, is not taken, not stored, not waiting, and with no server."""
    h = v.hand
    no_server = ForAll([s, p, i], Implies(unread(v, s, p, i), v.down_client(s, p, i) != h))
    no_request = ForAll([s], Implies(v.requested(s), v.request(s) != h))
    no_answer = ForAll([s, q], Implies(answer(v, s, q), v.up_client(s, q) != h))
    alone = And(no_server, no_request, no_answer)
    here = And(up(v), v.accepted(h), Not(v.claimed(h)), Not(v.effective(h)), Not(v.backlog(h)), Not(v.absent(h)))
    return Implies(v.holding, And(here, alone, v.operating, Not(v.dropping)))


@lemma
def who_is_dropped_waits(v):
    """Whoever has been shut down is still on the list, until released."""
    return Implies(v.dropping, And(v.waiting(v.dropped), v.over(v.dropped)))


# ================================================================ lemmas: where a client can be


@lemma
def who_is_outside_is_fresh(v):
    """Whoever has not been accepted is known to nobody."""
    outside = Or(v.absent(c), v.backlog(c))
    unknown = And(*(Not(f(c)) for f in (v.accepted, v.taken, v.claimed, v.effective, v.store)))
    return ForAll([c], And(Implies(outside, unknown), Not(And(v.absent(c), v.backlog(c)))))


@lemma
def requests_are_of_accepted_clients(v):
    """Only who was accepted is sent."""
    return ForAll([s], Implies(v.requested(s), v.accepted(v.request(s))))


@lemma
def words_are_of_accepted_clients(v):
    """Only who was accepted is stored."""
    return ForAll([i], Implies(And(word(v, i), of_client(v, i)), v.accepted(v.word_client(i))))


@lemma
def answers_are_of_accepted_clients(v):
    """Only who was accepted is answered for, on the dialog of the client's port."""
    a = v.up_client(s, q)
    return ForAll([s, q], Implies(answer(v, s, q), And(v.accepted(a), v.up_port(s, q) == v.port_of(a))))


@lemma
def who_is_unread_is_not_taken(v):
    """A hand-off that may yet be read is of an accepted client whom no server has, on the client's port."""
    u = v.down_client(s, p, i)
    fresh = And(Not(v.claimed(u)), v.accepted(u), v.port_of(u) == p, Not(v.effective(u)))
    return ForAll([s, p, i], Implies(unread(v, s, p, i), fresh))


@lemma
def there_is_room_for_who_is_unread(v):
    """A server that may yet read a hand-off is below its maximum: so reading it exceeds nothing."""
    return ForAll([s, p, i], Implies(unread(v, s, p, i), v.clients(s) < v.max_clients(s)))


@lemma
def who_is_stored_is_not_taken(v):
    """Nobody is both to be restored and with a server."""
    return ForAll([c], Implies(v.effective(c), And(Not(v.claimed(c)), v.accepted(c))))


@lemma
def who_is_requested_is_not_stored(v):
    """Released before sent: a client that a server may have is not in the store."""
    sent = And(Not(v.effective(v.request(s))), v.dialog(s, v.port_of(v.request(s))))
    return ForAll([s], Implies(v.requested(s), sent))


@lemma
def what_is_unread_is_known(v):
    """A hand-off that a server of the table may yet read is its outstanding request, or is owed by a former
    Distributor: so a server of which neither is true has nothing unread.
    """
    known = Or(And(v.requested(s), v.request(s) == v.down_client(s, p, i)), v.owed(s, p))
    return ForAll([s, p, i], Implies(And(unread(v, s, p, i), v.row(s)), known))


@lemma
def who_is_requested_of_owes_nothing(v):
    """A server is sent a client only when all its dialogs have answered."""
    return ForAll([s, p], Implies(v.requested(s), Not(v.owed(s, p))))


@lemma
def what_was_not_sent_is_nowhere(v):
    """The client whose hand-off the kernel declined is with no server."""
    u = v.request(s)
    unsent = And(v.requested(s), v.unsent(s, u))
    no_answer = ForAll([t, q], Implies(answer(v, t, q), v.up_client(t, q) != u))
    no_server = ForAll([t, p, i], Implies(unread(v, t, p, i), v.down_client(t, p, i) != u))
    return ForAll([s], Implies(unsent, And(Not(v.claimed(u)), no_answer, no_server)))


# ================================================================ lemmas: answers


@lemma
def who_is_answered_for_is_not_unread(v):
    """An answer means that the hand-off has been read."""
    both = And(answer(v, s, q), unread(v, t, p, i))
    return ForAll([s, q, t, p, i], Implies(both, v.up_client(s, q) != v.down_client(t, p, i)))


@lemma
def who_is_answered_for_is_not_stored(v):
    """While an answer is unread, its client is not placed again."""
    return ForAll([s, q], Implies(answer(v, s, q), Not(v.effective(v.up_client(s, q)))))


@lemma
def a_client_is_answered_for_once(v):
    """No two answers of one client are unread, but for an Accepted that was sent, and a Refused that takes it back."""
    both = And(answer(v, s, q), answer(v, t, k), v.up_client(s, q) == v.up_client(t, k), v.up_kind(t, k) == REFUSED)
    taken_back = And(v.up_kind(s, q) == ACCEPTED, v.up_sent(s, q), q < k)
    return ForAll([s, q, t, k], Implies(both, And(s == t, Or(q == k, taken_back))))


@lemma
def who_answers_is_asked(v):
    """A client that one server has answered for is not outstanding with another."""
    other = And(answer(v, s, q), v.requested(t), v.request(t) == v.up_client(s, q))
    return ForAll([s, q, t], Implies(other, s == t))


@lemma
def who_was_taken_is_answered_for(v):
    """If an outstanding client has been taken, the answer is still unread, on the dialog: so a dialog that is read to
    its end, with the request outstanding, shows that the client was not taken.
    """
    a = v.last_accept(s)
    recorded = And(answer(v, s, a), v.up_kind(s, a) == ACCEPTED, v.up_client(s, a) == v.request(s))
    return ForAll([s], Implies(And(v.requested(s), v.claimed(v.request(s))), recorded))


# ================================================================ lemmas: counts


@lemma
def sequence_numbers_are_past(v):
    """No count has a number that is still to come."""
    past = And(v.last_accept(s) >= 0, v.last_accept(s) <= v.sequence(s), v.adopted_at(s) >= 0)
    known = Implies(v.row(s), v.count_sequence(s) <= v.sequence(s))
    heeded = ForAll([p], Implies(And(v.row(s), v.dialog(s, p)), v.dialog_sequence(s, p) <= v.sequence(s)))
    return ForAll([s], And(past, v.adopted_at(s) <= v.sequence(s), known, heeded))


@lemma
def counts_only_fall_after_an_accept(v):
    """Nothing but an accept raises a server's count: so the newest that was received since is not too low."""
    since = And(alive(v, s), v.last_accept(s) <= q, q <= k, k <= v.sequence(s), q >= 1)
    return ForAll([s, q, k], Implies(since, v.up_count(s, q) >= v.up_count(s, k)))


@lemma
def the_last_message_has_the_count(v):
    """A server counts what its last message reported."""
    said = Implies(And(alive(v, s), v.sequence(s) >= 1), v.clients(s) == v.up_count(s, v.sequence(s)))
    return ForAll([s], And(said, Implies(Or(Not(alive(v, s)), v.sequence(s) == 0), v.clients(s) == 0)))


@lemma
def the_table_has_a_count_that_was_sent(v):
    """What the table has of a server, the server has reported."""
    heard = And(v.row(s), alive(v, s), v.count_sequence(s) >= 1)
    return ForAll([s], Implies(heard, v.count(s) == v.up_count(s, v.count_sequence(s))))


@lemma
def an_unread_accept_is_owed(v):
    """An accept since the adoption, of which the table does not know, is of the outstanding request or is owed on the
    dialog where it happened.
    """
    unreceived = And(v.count_sequence(s) < v.last_accept(s), v.last_accept(s) > v.adopted_at(s), Not(v.requested(s)))
    return ForAll([s], Implies(And(v.row(s), alive(v, s), unreceived), v.owed(s, v.last_accept_port(s))))


@lemma
def an_answer_is_the_last_accept(v):
    """When the answer is read, the table will know of every accept."""
    asked = And(v.row(s), alive(v, s), answer(v, s, q), mine(v, s, q))
    return ForAll([s, q], Implies(asked, v.last_accept(s) <= q))


@lemma
def an_unsent_hand_off_leaves_no_accept_unread(v):
    """The same, of a hand-off that could not be sent."""
    unsent = And(v.row(s), alive(v, s), v.requested(s), v.unsent(s, v.request(s)))
    return ForAll([s], Implies(unsent, v.count_sequence(s) >= v.last_accept(s)))


@lemma
def a_ready_dialog_has_answered(v):
    """A dialog is usable only when the server has answered since its adoption; and the Monitor knows."""
    ready = And(v.row(s), v.dialog(s, p), v.ready(s, p))
    heard = v.count_sequence(s) > v.adopted_at(s)
    return ForAll([s, p], Implies(ready, And(heard, v.used_effective(s, p), Not(v.binding(s, p)))))


# ================================================================ lemmas: echoes


@lemma
def incarnations_are_past(v):
    """Nobody echoes a Distributor that is still to come."""
    least = If(v.up_kind(s, q) == NOT_READY, 0, 1)
    past = And(v.up_incarnation(s, q) <= v.incarnation, v.up_incarnation(s, q) >= least)
    said = ForAll([s, q], Implies(echo(v, s, q), past))
    initial = And(i >= 0, i < v.down_tail(s, p), v.down_kind(s, p, i) == INITIAL)
    asked = And(v.down_incarnation(s, p, i) >= 1, v.down_incarnation(s, p, i) <= v.incarnation)
    owes = ForAll([s, p], And(v.owes(s, p) >= 0, v.owes(s, p) <= v.incarnation))
    return And(said, ForAll([s, p, i], Implies(initial, asked)), owes, Implies(up(v), v.incarnation >= 1))


@lemma
def an_answer_is_owed_only_while_deaf(v):
    """A server whose program listens owes no RestartReply."""
    return ForAll([s, p], Implies(v.listening(s, p), v.owes(s, p) == 0))


@lemma
def before_adoption_nobody_echoes(v):
    """What a server sends before this Distributor has reached it does not name this Distributor."""
    said = ForAll([s, q], Implies(And(v.to_adopt(s), echo(v, s, q)), v.up_incarnation(s, q) < v.incarnation))
    initial = And(v.to_adopt(s), v.down_head(s, p) <= i, i < v.down_tail(s, p), v.down_kind(s, p, i) == INITIAL)
    asked = ForAll([s, p, i], Implies(initial, v.down_incarnation(s, p, i) < v.incarnation))
    owes = ForAll([s, p], Implies(v.to_adopt(s), v.owes(s, p) < v.incarnation))
    return Implies(up(v), And(said, asked, owes))


@lemma
def echoes_follow_the_adoption(v):
    """What echoes this Distributor was sent after it had adopted the server."""
    echoed = And(v.row(s), echo(v, s, q), v.up_incarnation(s, q) == v.incarnation)
    return ForAll([s, q], Implies(echoed, q > v.adopted_at(s)))


@lemma
def what_is_owed_is_before_the_question(v):
    """A former Distributor's hand-off is before this one's InitialMsg: first in, first out."""
    initial = And(v.down_head(s, p) <= j, j < v.down_tail(s, p), v.down_kind(s, p, j) == INITIAL)
    asked = And(initial, v.down_incarnation(s, p, j) == v.incarnation)
    owed = And(v.row(s), v.owed(s, p), unread(v, s, p, i))
    return ForAll([s, p, i, j], Implies(And(owed, asked), i < j))


@lemma
def what_is_owed_is_not_answered(v):
    """While it is unread, nobody echoes this Distributor on the dialog, nor is about to."""
    owed = And(v.row(s), v.owed(s, p), unread(v, s, p, i))
    silent = ForAll([q], Implies(And(echo(v, s, q), v.up_port(s, q) == p), v.up_incarnation(s, q) != v.incarnation))
    return ForAll([s, p, i], Implies(owed, And(silent, v.owes(s, p) != v.incarnation)))


@lemma
def an_echo_follows_the_accept(v):
    """While a dialog is owed, whatever echoes this Distributor on it was sent after the last accept there."""
    owed = And(v.row(s), alive(v, s), v.owed(s, p), v.last_accept_port(s) == p)
    echoed = And(echo(v, s, q), v.up_port(s, q) == p, v.up_incarnation(s, q) == v.incarnation)
    return ForAll([s, p, q], Implies(And(owed, echoed), v.last_accept(s) < q))


# ================================================================ lemmas: what the Monitor will know


@lemma
def the_last_word_decides(v):
    """What the store will hold of a client follows from the last word about the client that is on its way."""
    w = v.last_word(c)
    recorded = And(v.word_client(w) == c, of_client(v, w), v.effective(c) == (v.word_kind(w) == STORE))
    return ForAll([c], If(word(v, w), recorded, v.store(c) == v.effective(c)))


@lemma
def the_last_word_is_last(v):
    """No word about the client comes after it."""
    of_it = And(word(v, i), of_client(v, i))
    return And(
        ForAll([i], Implies(of_it, i <= v.last_word(v.word_client(i)))), ForAll([c], v.last_word(c) < v.word_tail)
    )


@lemma
def what_is_unread_is_kept(v):
    """A dialog in which a hand-off may be unread will be known to be so."""
    return ForAll([s, p, i], Implies(unread(v, s, p, i), And(v.used_effective(s, p), v.kept_effective(s, p))))


@lemma
def what_is_open_is_kept(v):
    """A dialog of the table that is open will be known to the Monitor."""
    is_open = And(v.row(s), v.dialog(s, p), Not(v.binding(s, p)), alive(v, s))
    return ForAll([s, p], Implies(is_open, v.kept_effective(s, p)))


@lemma
def words_are_of_the_table(v):
    """A Distributor speaks of a living server only when it has adopted it: so what it is sent at its start is final."""
    about = And(up(v), word(v, i), of_dialog(v, i), alive(v, v.word_server(i)))
    return ForAll([i], Implies(about, v.row(v.word_server(i))))


@lemma
def what_is_named_is_known(v):
    """What a Distributor is sent about a server that it is yet to adopt is what the Monitor knows."""
    same = And(v.adopt_kept(s, p) == v.kept(s, p), v.adopt_used(s, p) == v.used(s, p))
    return ForAll([s, p], Implies(And(v.to_adopt(s), alive(v, s)), same))


@lemma
def kept_is_the_last_word(v):
    """A dialog is kept, or is on its way to be."""
    w = v.last_dialog_word(s, p)
    return ForAll([s, p], Implies(alive(v, s), v.kept_effective(s, p) == Or(v.kept(s, p), word(v, w))))


@lemma
def the_last_dialog_word_is_last(v):
    """The last word about a dialog is about it, and none comes after."""
    w = v.last_dialog_word(s, p)
    about = And(v.word_server(w) == s, v.word_port(w) == p, of_dialog(v, w))
    past = ForAll([s, p], And(w < v.word_tail, Implies(word(v, w), about)))
    last = Implies(And(word(v, i), of_dialog(v, i)), i <= v.last_dialog_word(v.word_server(i), v.word_port(i)))
    return And(past, ForAll([i], last))


@lemma
def used_is_the_last_word(v):
    """Whether a dialog is used follows from the last word about that which is on its way."""
    w = v.last_use_word(s, p)
    recorded = v.used_effective(s, p) == (v.word_kind(w) == SERVER_READY)
    return ForAll([s, p], Implies(alive(v, s), If(word(v, w), recorded, v.used(s, p) == v.used_effective(s, p))))


@lemma
def the_last_use_word_is_last(v):
    """The last word about a dialog's use is about it, and none comes after."""
    w = v.last_use_word(s, p)

    def use(x):
        return Or(v.word_kind(x) == SERVER_READY, v.word_kind(x) == SERVER_NOT_READY)

    about = And(v.word_server(w) == s, v.word_port(w) == p, use(w))
    past = ForAll([s, p], And(w < v.word_tail, Implies(word(v, w), about)))
    last = Implies(And(word(v, i), use(i)), i <= v.last_use_word(v.word_server(i), v.word_port(i)))
    return And(past, ForAll([i], last))


@lemma
def who_is_served_was_taken(v):
    """A server counts only whom it has taken; its program has them all, but for those who are not delivered yet."""
    given = Or(v.taken(c), v.undelivered(s, c))
    return ForAll([s, c], Implies(v.serving(s, c), And(given, v.claimed(c), v.accepted(c), alive(v, s))))


@lemma
def who_is_lapsed_is_counted(v):
    """Only a client that is counted can be counted wrongly."""
    return ForAll([s, c], Implies(v.lapsed(s, c), v.serving(s, c)))


@lemma
def who_was_delivered_was_taken(v):
    """Programs are given only whom their servers have taken."""
    return ForAll([c], Implies(v.taken(c), v.claimed(c)))


@lemma
def who_is_not_delivered_is_nowhere_else(v):
    """A client whose Accepted is in the outbox has been given to no program, and no other answer speaks of it."""
    a = v.taken_at(c)
    is_accepted = And(v.up_kind(s, a) == ACCEPTED, v.up_client(s, a) == c, v.up_port(s, a) == v.port_of(c))
    in_outbox = Or(unsent_up(v, s, a), And(a > 0, v.unnoted(s) == a), And(v.broken(s), a > 0, v.broken_at(s) == a))
    alone = ForAll([t, q], Implies(And(answer(v, t, q), v.up_client(t, q) == c), And(t == s, q == a)))
    fresh = And(v.serving(s, c), v.claimed(c), Not(v.taken(c)), v.taken_by(c) == s, v.lapsed(s, c) == v.broken(s))
    busy = Or(v.sending(s), v.broken(s))
    reaches = And(a >= 1, a <= v.sequence(s))
    undelivered = And(fresh, is_accepted, in_outbox, alone, busy, reaches)
    return ForAll([s, c], Implies(v.undelivered(s, c), undelivered))


@lemma
def one_at_a_time_is_not_delivered(v):
    """A server reads no other hand-off before its program has been given the client of the last."""
    return ForAll([s, c, d], Implies(And(v.undelivered(s, c), v.undelivered(s, d)), c == d))


@lemma
def what_is_not_noted_is_not_delivered(v):
    """The client of an Accepted that is in the outbox is not delivered."""
    a = v.up_client(s, q)
    in_flight = Or(And(q > 0, q == v.unnoted(s)), And(v.broken(s), q > 0, q == v.broken_at(s)))
    pending = And(v.up_kind(s, q) == ACCEPTED, Or(unsent_up(v, s, q), in_flight))
    return ForAll([s, q], Implies(pending, And(v.undelivered(s, a), v.taken_at(a) == q)))


@lemma
def the_lock_is_held_by_one(v):
    """What was sent and is not noted was sent under the lock; a process that died has left it."""
    noted = Implies(v.unnoted(s) != 0, And(v.sending(s), v.up_sent(s, v.unnoted(s))))
    in_order = And(v.unnoted(s) >= 0, v.unnoted(s) <= v.sequence(s), noted)
    left = And(alive(v, s), Not(v.sending(s)), v.broken_at(s) >= 0, v.broken_at(s) <= v.sequence(s))
    at = Implies(v.broken_at(s) > 0, v.up_port(s, v.broken_at(s)) == v.broken_port(s))
    broken = Implies(v.broken(s), And(left, at))
    return ForAll([s], And(in_order, broken, Implies(v.sending(s), alive(v, s))))


@lemma
def a_server_sends_in_order(v):
    """On a dialog, what is to be sent comes after what was."""
    was_sent = And(q >= 1, q <= v.sequence(s), v.up_sent(s, q))
    return ForAll([s, q, k], Implies(And(was_sent, unsent_up(v, s, k), v.up_port(s, q) == v.up_port(s, k)), q < k))


@lemma
def the_dead_have_nothing_to_say(v):
    """What a server had not sent when it died will never be."""
    return ForAll([s, q], Implies(unsent_up(v, s, q), alive(v, s)))


@lemma
def the_last_message_is_not_withdrawn(v):
    """The newest count that a server has issued is received, or will be."""
    last = And(alive(v, s), v.sequence(s) >= 1, v.up_read(s, v.sequence(s)))
    return ForAll([s], Implies(last, v.up_sent(s, v.sequence(s))))


@lemma
def who_was_taken_is_served(v):
    """Whoever was taken, and has not ended, is served, or the Distributor has a copy; and counted by nobody but who
    took it.
    """
    h = v.taken_by(c)
    by = ForAll([s, c], Implies(v.serving(s, c), v.taken_by(c) == s))
    copy = And(v.requested(h), v.request(h) == c)
    return And(ForAll([c], Implies(And(v.claimed(c), Not(v.over(c))), Or(served(v), copy))), by)


@lemma
def who_is_unread_was_sent_there(v):
    """A hand-off that may be unread is where its client was last sent."""
    u = v.down_client(s, p, i)
    there = And(v.sent_to(u) == s, v.sent_at(u) == i)
    requested = ForAll([s], Implies(v.requested(s), v.sent_to(v.request(s)) == s))
    return And(ForAll([s, p, i], Implies(unread(v, s, p, i), there)), requested)


# ================================================================ lemmas: draining


@lemma
def who_is_finished_is_sent_nobody(v):
    """A server that was reported as drained is draining, for whichever Distributor."""
    row = Implies(v.row(s), v.draining(s))
    named = Implies(v.to_adopt(s), v.adopt_draining(s))
    recorded = Implies(Not(word(v, v.last_drained_word(s))), Or(v.phase(s) == STOPPING, v.phase(s) == KILLING))
    return ForAll([s], Implies(And(v.finished(s), alive(v, s)), And(row, named, recorded)))


@lemma
def only_who_is_finished_is_asked_to_end(v):
    """The Monitor asks a server to end only on the Distributor's word that it is drained, or within a grace."""
    w = v.last_drained_word(s)
    recorded = Implies(
        And(word(v, i), v.word_kind(i) == DRAINED),
        And(v.finished(v.word_server(i)), i <= v.last_drained_word(v.word_server(i))),
    )
    about = Implies(word(v, w), And(v.word_kind(w) == DRAINED, v.word_server(w) == s))
    return And(
        ForAll([s], And(Implies(And(v.asked_to_end(s), Not(v.limited(s))), v.finished(s)), w < v.word_tail, about)),
        ForAll([i], recorded),
    )


@lemma
def who_is_finished_was_born(v):
    """No message names a server that was never started."""
    return ForAll([s], Implies(v.finished(s), v.born(s)))


@lemma
def what_is_known_is_recent(v):
    """A known count was sent after the adoption, or nothing was sent before it."""
    recent = Or(v.count_sequence(s) > v.adopted_at(s), And(v.adopted_at(s) == 0, v.count_sequence(s) >= 0))
    return ForAll([s], Implies(And(v.row(s), alive(v, s), v.known(s)), recent))


@lemma
def who_never_accepted_has_nobody(v):
    """Without an accept there is no client."""
    none = And(v.clients(s) <= 0, ForAll([q], Implies(And(q >= 1, q <= v.sequence(s)), v.up_count(s, q) <= 0)))
    return ForAll([s], Implies(And(alive(v, s), v.last_accept(s) == 0), none))


@lemma
def what_is_sent_is_sent_on_a_dialog_that_is_kept(v):
    """A server speaks only on dialogs that are, or will be, kept."""
    sent = And(q >= 1, q <= v.sequence(s), alive(v, s))
    talks = Or(v.bound(s, p), v.listening(s, p))
    on_kept = ForAll([s, p], Implies(And(alive(v, s), talks), v.kept_effective(s, p)))
    serves = ForAll([s, c], Implies(v.serving(s, c), v.kept_effective(s, v.port_of(c))))
    broken = ForAll([s], Implies(v.broken(s), v.kept_effective(s, v.broken_port(s))))
    return And(ForAll([s, q], Implies(sent, v.kept_effective(s, v.up_port(s, q)))), on_kept, serves, broken)


@lemma
def every_dialog_is_asked(v):
    """On every dialog of the table InitialMsg is due, on its way, answered, or lost with who read it."""
    at = v.asked_at(s, p)
    on_its_way = And(v.down_head(s, p) <= at, at < v.down_tail(s, p))
    lost = And(v.broken(s), v.broken_at(s) == 0)
    asked = Or(v.initial_due(s, p), on_its_way, v.sequence(s) > v.adopted_at(s), lost)
    is_open = And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)))
    return ForAll([s, p], Implies(is_open, asked))


@lemma
def what_was_read_was_heeded(v):
    """Of all that was read since the adoption, the table has the newest."""
    was_read = And(v.row(s), v.adopted_at(s) < q, q <= v.sequence(s), v.up_sent(s, q), v.up_read(s, q))
    return ForAll([s, q], Implies(was_read, v.count_sequence(s) >= q))


# ================================================================ lemmas: what progress rests on


@lemma
def ranks_are_distinct(v):
    """No two servers of the table were chosen, or joined, at the same time: so a tie is always broken."""
    same = And(v.row(s), v.row(t), v.rank(s) == v.rank(t))
    past = ForAll([s], Implies(v.row(s), v.rank(s) < v.next_rank))
    return And(ForAll([s, t], Implies(same, s == t)), past)


@lemma
def who_does_not_operate_is_to_begin(v):
    """A Distributor that has not begun has Begin still to read."""
    return Implies(And(up(v), Not(v.operating)), v.begin_due)


@lemma
def arrivals_are_past(v):
    """Whoever comes now comes after all who wait, are in hand or outstanding."""
    waits = ForAll([c], Implies(v.waiting(c), v.arrival(c) < v.next_arrival))
    in_hand = Implies(v.holding, v.arrival(v.hand) < v.next_arrival)
    outstanding = ForAll([s], Implies(v.requested(s), v.arrival(v.request(s)) < v.next_arrival))
    return Implies(up(v), And(waits, in_hand, outstanding))


@lemma
def a_request_is_under_way(v):
    """An outstanding hand-off that was sent is unread at the server, or its answer is unread or yet to be sent, or a
    process of the server has died with either: then it stays so until the server is given up.
    """
    u = v.request(s)
    at = v.sent_at(u)
    sent = And(unread(v, s, v.port_of(u), at), v.down_client(s, v.port_of(u), at) == u)
    answered = some_message(v, lambda x: And(answer(v, s, x), v.up_client(s, x) == u))
    return ForAll(
        [s], Implies(And(v.requested(s), alive(v, s), Not(v.unsent(s, u))), Or(sent, answered, v.lost_in(s, u)))
    )


def some_message(v, holds):
    """Of some message of the server it holds; of the last, or of another: the first is what a solver looks for."""
    return Or(holds(v.sequence(s)), Exists([q], holds(q)))


@lemma
def the_question_is_on_the_dialog(v):
    """What was asked last on a dialog was asked by this Distributor."""
    at = v.asked_at(s, p)
    asked = And(v.down_kind(s, p, at) == INITIAL, v.down_incarnation(s, p, at) == v.incarnation)
    is_open = And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)), Not(v.initial_due(s, p)))
    none_later = ForAll([i], Implies(And(i < v.down_tail(s, p), v.down_kind(s, p, i) == INITIAL), i <= at))
    return ForAll([s, p], Implies(is_open, And(at >= 0, at < v.down_tail(s, p), asked, none_later)))


@lemma
def what_was_asked_is_answered(v):
    """Once the question has been read, its answer is on its way, or the server wants to be asked again, or nothing is
    owed and the count is known.
    """
    is_open = And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)), Not(v.initial_due(s, p)))
    was_read = And(is_open, v.asked_at(s, p) < v.down_head(s, p))

    def answers(x):
        echoed = v.up_incarnation(s, x) == v.incarnation
        to_ask = And(v.up_incarnation(s, x) == 0, v.up_kind(s, x) == NOT_READY, x > v.dialog_sequence(s, p))
        since = x > v.read_at(s, p)
        return And(unreceived(v, s, x), reports_state(v, s, x), v.up_port(s, x) == p, Or(echoed, And(to_ask, since)))

    settled = And(Not(v.owed(s, p)), v.known(s))
    return ForAll([s, p], Implies(was_read, Or(settled, reader_is_dead(v), some_message(v, answers))))


def reader_is_dead(v):
    """A process has died having read something on the dialog, and nobody has noticed."""
    return And(v.broken(s), v.broken_at(s) == 0, v.broken_port(s) == p)


@lemma
def what_is_old_is_said_before(v):
    """What a server sends on a dialog after it has read the question is an answer, or is of its own accord."""
    is_open = And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)), Not(v.initial_due(s, p)))
    was_read = And(is_open, v.asked_at(s, p) < v.down_head(s, p))
    to_us = Or(v.up_incarnation(s, q) == v.incarnation, v.up_incarnation(s, q) == 0)
    on_it = And(echo(v, s, q), v.up_port(s, q) == p)
    later = ForAll([q], Implies(And(on_it, q > v.read_at(s, p)), to_us))
    held = Or(unsent_up(v, s, q), And(v.broken(s), q > 0, q == v.broken_at(s)), And(q > 0, q == v.unnoted(s)))
    in_outbox = ForAll([q], Implies(And(on_it, held, Not(reader_is_dead(v))), q > v.read_at(s, p)))
    owes = Or(v.owes(s, p) == 0, v.owes(s, p) == v.incarnation, reader_is_dead(v))
    past = v.read_at(s, p) <= v.sequence(s)
    return ForAll([s, p], Implies(was_read, And(later, in_outbox, owes, past)))


@lemma
def a_row_has_a_reason(v):
    """A server is in the table while its control socket, or a dialog with it, is open."""
    return ForAll([s], Implies(v.row(s), Or(v.attached(s), Exists([p], v.dialog(s, p)))))


@lemma
def a_dialog_that_is_not_open_is_silent(v):
    """On a dialog whose bind is unanswered nothing is unread, and a server that lives has not spoken: so the dead leave
    the table.
    """
    said = And(q >= 1, q <= v.sequence(s), v.up_port(s, q) == p)
    silent = And(Not(v.kept_effective(s, p)), Not(Exists([q], said)))
    fresh = And(Implies(alive(v, s), silent), Not(Exists([q], And(said, Not(v.up_read(s, q))))))
    return ForAll([s, p], Implies(And(v.row(s), v.binding(s, p)), fresh))
