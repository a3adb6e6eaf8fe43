"""What `verdicts.md` cites for a property implies it: the sentence follows from those conjuncts, and from no fewer.

Of what holds in the end: the page's beginnings are beginnings of the theorem, and its goal is the page's end.
"""

import pytest
import z3
from proofs.induction.evidence import LIVENESS_EVIDENCE, SAFETY_EVIDENCE, Basis
from proofs.refinement.bridge import is_compared
from spec.relation.invariant import INVARIANT
from spec.relation.progress import PROGRESS, SET_UP, _behaves
from spec.relation.state import (
    ACCEPTED,
    NOW,
    REFUSED,
    STORE,
    Client,
    Element,
    Port,
    Server,
    active,
    alive,
    free,
    owes_any,
    unread,
    unreceived,
    unsent_up,
    up,
    word,
)

And, Or, If, Implies, ForAll, Exists, Not = z3.And, z3.Or, z3.If, z3.Implies, z3.ForAll, z3.Exists, z3.Not
v = NOW
s, t = z3.Consts("s.cited t.cited", Server)
c = z3.Const("c.cited", Client)
p, r = z3.Consts("p.cited r.cited", Port)
e = z3.Const("e.cited", Element)
i, j, q = z3.Ints("i.cited j.cited q.cited")

IS_OPEN = And(v.row(s), alive(v, s), v.dialog(s, p), Not(v.binding(s, p)))
NOTHING_DOWN = ForAll([r], And(v.down_head(s, r) == v.down_tail(s, r), Not(v.initial_due(s, r))))
QUIET = And(IS_OPEN, Not(v.broken(s)), NOTHING_DOWN, ForAll([q], Not(unreceived(v, s, q))))
AWAITED_IN_VAIN = Or(v.unsent(s, v.request(s)), v.lost_in(s, v.request(s)))
IN_STORE = If(word(v, v.last_word(c)), v.word_kind(v.last_word(c)) == STORE, v.store(c))
"""What the Monitor has of the client, once it has received the last word about it."""

H = v.sent_to(c)
AT_SERVER = And(unread(v, H, v.port_of(c), v.sent_at(c)), v.down_client(H, v.port_of(c), v.sent_at(c)) == c)
SERVED = And(alive(v, v.taken_by(c)), v.serving(v.taken_by(c), c), Not(v.lapsed(v.taken_by(c), c)))
HELD = Or(v.effective(c), And(v.holding, v.hand == c), And(v.requested(H), v.request(H) == c), AT_SERVER, SERVED)

IN_THE_RELATION = {
    "never_above_the_maximum": ForAll([s], v.clients(s) <= v.max_clients(s)),
    "never_stale_low": ForAll(
        [s, p, r, i],
        Implies(And(up(v), free(v, s, p), alive(v, s)), And(v.clients(s) <= v.count(s), Not(unread(v, s, r, i)))),
    ),
    "no_client_has_two_servers": ForAll([c], Not(v.taken_twice(c))),
    "no_client_is_lost": ForAll([c], Implies(And(v.accepted(c), Not(v.over(c))), HELD)),
    "the_count_is_exact_when_dialogs_are_quiet": ForAll([s, p], Implies(QUIET, v.count(s) == v.clients(s))),
    "at_most_one_request_outstanding": And(
        ForAll([s, p, i, r, j], Implies(And(unread(v, s, p, i), unread(v, s, r, j)), And(p == r, i == j))),
        ForAll(
            [s, p, i],
            Implies(
                And(unread(v, s, p, i), v.row(s), Not(owes_any(v, s))),
                And(v.requested(s), v.request(s) == v.down_client(s, p, i)),
            ),
        ),
    ),
    "no_client_is_held_twice": Implies(
        up(v),
        And(
            ForAll([s], Implies(v.requested(s), Not(v.waiting(v.request(s))))),
            ForAll([s, t], Implies(And(v.requested(s), v.requested(t), v.request(s) == v.request(t)), s == t)),
        ),
    ),
    "rows_and_ports_agree": And(
        ForAll([s], Implies(v.row(s), Or(v.attached(s), Exists([p], v.dialog(s, p))))),
        ForAll([s, p], Implies(v.owed(s, p), v.dialog(s, p))),
    ),
    "requests_travel_on_ready_dialogs": ForAll([s], Implies(v.requested(s), v.dialog(s, v.port_of(v.request(s))))),
    "never_more_servers_than_configured": And(
        ForAll([s, t], Implies(And(alive(v, s), alive(v, t), v.place_of(s) == v.place_of(t)), s == t)),
        ForAll([s, t], Implies(And(alive(v, s), v.succeeds(s), alive(v, t), v.succeeds(t)), s == t)),
    ),
    "who_is_to_leave_is_sent_nobody": ForAll(
        [s, p],
        Implies(And(up(v), v.leaving(s), v.living(s), active(v, s), free(v, s, p)), v.drain_due(s)),
    ),
    "no_one_is_cut_off_by_draining": ForAll(
        [s, p, i],
        Implies(
            And(v.asked_to_end(s), Not(v.limited(s)), alive(v, s)), And(v.clients(s) <= 0, Not(unread(v, s, p, i)))
        ),
    ),
    "only_drained_servers_are_asked_to_end": ForAll(
        [s], Implies(And(v.asked_to_end(s), Not(v.limited(s))), v.finished(s))
    ),
    "released_before_sent": ForAll([s], Implies(v.requested(s), Not(v.effective(v.request(s))))),
    "who_is_accepted_is_counted": ForAll(
        [s, q],
        Implies(
            And(v.up_kind(s, q) == ACCEPTED, Or(unsent_up(v, s, q), And(q > 0, q == v.unnoted(s)))),
            v.serving(s, v.up_client(s, q)),
        ),
    ),
    "arrivals_lie_in_the_past": Implies(
        up(v),
        And(
            ForAll([c], Implies(v.waiting(c), v.arrival(c) < v.next_arrival)),
            ForAll([s], Implies(v.requested(s), v.arrival(v.request(s)) < v.next_arrival)),
        ),
    ),
    "store_has_exactly_those_who_wait": Implies(
        And(up(v), v.word_head == v.word_tail), ForAll([c], v.store(c) == Or(v.waiting(c), v.to_restore(c)))
    ),
    "no_client_with_a_server_is_restored": ForAll(
        [c, s, p, i],
        Implies(
            IN_STORE,
            And(Not(v.claimed(c)), Not(v.taken(c)), Not(And(unread(v, s, p, i), v.down_client(s, p, i) == c))),
        ),
    ),
    "the_table_is_exact_again_after_a_restart": ForAll(
        [s, p],
        Implies(QUIET, And(v.count(s) == v.clients(s), Or(Not(v.requested(s)), AWAITED_IN_VAIN))),
    ),
    "what_is_opened_is_kept": ForAll([s, p], Implies(IS_OPEN, v.kept_effective(s, p))),
    "who_is_served_was_answered_for": ForAll([s], Implies(v.unnoted(s) != 0, v.up_sent(s, v.unnoted(s)))),
    "first_come_first_served": And(
        ForAll(
            [s, c],
            Implies(
                And(v.holding, free(v, s, v.port_of(v.hand)), free(v, s, v.port_of(c)), v.waiting(c)),
                v.arrival(v.hand) <= v.arrival(c),
            ),
        ),
        ForAll([c], Implies(And(up(v), v.waiting(c)), v.arrival(c) < v.next_arrival)),
    ),
    "ranks_are_past": And(
        ForAll([s, t], Implies(And(v.row(s), v.row(t), v.rank(s) == v.rank(t)), s == t)),
        ForAll([s], Implies(v.row(s), v.rank(s) < v.next_rank)),
    ),
}
"""What is proved of each property, written a second time: a conjunct that says less does not imply it."""


def follows(sentence, conjuncts):
    """Z3 finds that the sentence is true where the conjuncts are."""
    solver = z3.Solver()
    solver.set("rlimit", 5_000_000)
    solver.add(*(INVARIANT[name].says(NOW) for name in conjuncts), Not(sentence))
    return solver.check() == z3.unsat


@pytest.mark.parametrize("name", IN_THE_RELATION)
def test_it_follows_from_what_is_cited(name):
    assert SAFETY_EVIDENCE[name].basis is Basis.PROVED
    assert follows(IN_THE_RELATION[name], SAFETY_EVIDENCE[name].by)


@pytest.mark.parametrize("name", IN_THE_RELATION)
def test_it_follows_from_nothing_less(name):
    by = SAFETY_EVIDENCE[name].by
    spare = [one for one in by if follows(IN_THE_RELATION[name], [other for other in by if other != one])]
    assert spare == []


def test_whatever_is_proved_is_here():
    assert {name for name, answer in SAFETY_EVIDENCE.items() if answer.basis is Basis.PROVED} == IN_THE_RELATION.keys()


# ---------------------------------------------------------------- what holds in the end


def implies(premise, conclusion):
    """Z3 finds that the one implies the other in each state, also where the invariant does not hold."""
    return follows(Implies(premise, conclusion), ())


def test_a_client_that_waits_is_sent_from_where_the_page_begins():
    theorem = PROGRESS["who_waits_is_seated"]
    no_hand_off_comes_back = And(
        ForAll([q], Implies(unreceived(v, t, q), v.up_kind(t, q) != REFUSED)), ForAll([c], Not(v.unsent(t, c)))
    )
    lives = And(v.main(t), Not(v.broken(t)), no_hand_off_comes_back)
    all_live = ForAll([t], Implies(Or(v.row(t), v.to_adopt(t)), lives))
    one_takes = And(_behaves(v, s), v.dialog(s, v.port_of(c)), v.ready(s, v.port_of(c)))
    waits = And(up(v), v.operating, v.waiting(c))
    assert implies(And(waits, all_live, one_takes), theorem.pending(v, c, s))
    assert implies(theorem.goal(v, c, s), And(up(v), Not(v.waiting(c))))
    why = LIVENESS_EVIDENCE["who_waits_is_seated_or_ends"].why
    for assumed in ("every server of the table lives", "has died unnoticed", "no hand-off comes back", "behaves"):
        assert assumed in why
    assert "that who was sent is taken" in why


def test_a_dead_server_leaves_the_table_while_its_distributor_lives_and_binds_nothing_more():
    theorem = PROGRESS["the_dead_leave_the_table"]
    assert implies(And(up(v), v.row(s), Not(alive(v, s))), theorem.pending(v, s))
    assert implies(And(theorem.goal(v, s), up(v)), Not(v.row(s)))
    assert theorem.spared == SET_UP
    assert LIVENESS_EVIDENCE["the_dead_leave_the_table"].why


def test_the_theorems_of_a_restart_follow_one_another():
    """From any Distributor that does not operate, to one that does, or that has died again."""
    ends, starts, begins = (PROGRESS[name] for name in LIVENESS_EVIDENCE["the_distributor_is_up_again"].by)
    stays_up = v.usable(e)
    assert implies(And(Not(up(v)), stays_up), Or(ends.pending(v), starts.pending(v, e)))
    assert implies(And(ends.goal(v), stays_up), starts.pending(v, e))
    assert implies(starts.goal(v, e), Or(v.operating, begins.pending(v)))
    assert implies(begins.goal(v), Or(v.operating, Not(up(v))))
    assert not implies(stays_up, starts.pending(v, e)), "this can fail"
    helps = {name for theorem in (ends, starts, begins) for case in theorem.cases for name in case.helpful}
    assert [name for name in sorted(helps) if not is_compared(name)] == [], "the page names no exception"


def test_the_theorems_of_an_exact_table_follow_one_another():
    """From a dialog that is open to a server that lives, to where it owes nothing and the server's count is known."""
    answered, sent, received = (
        PROGRESS[name] for name in ("every_dialog_is_answered", "every_answer_is_sent", "every_answer_is_received")
    )
    assert {answered.name, sent.name, received.name} < {*LIVENESS_EVIDENCE["the_table_is_exact_again"].by}
    is_open = And(up(v), v.row(s), v.dialog(s, p), Not(v.binding(s, p)), v.main(s), Not(v.broken(s)))
    settled = And(Not(v.owed(s, p)), v.known(s))
    to_receive = received.pending(v, s, p, q)
    assert implies(And(is_open, v.bound(s, p)), answered.pending(v, s, p))
    on_its_way = Exists([q], Or(sent.pending(v, s, p, q), to_receive))
    assert implies(And(is_open, answered.goal(v, s, p)), Or(settled, on_its_way))
    assert implies(And(is_open, sent.goal(v, s, p, q)), Or(settled, to_receive))
    assert implies(And(is_open, received.goal(v, s, p, q)), settled)
