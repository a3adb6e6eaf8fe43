"""What `verdicts.md` cites for a property implies it: the sentence follows from those conjuncts, and from no fewer."""

import pytest
import z3
from proofs.induction.evidence import SAFETY_EVIDENCE, Basis
from spec.relation.invariant import INVARIANT
from spec.relation.state import ACCEPTED, NOW, Client, Port, Server, alive, owes_any, unread, unsent_up, up

And, Or, Implies, ForAll, Exists, Not = z3.And, z3.Or, z3.Implies, z3.ForAll, z3.Exists, z3.Not
v = NOW
s, t = z3.Consts("s.cited t.cited", Server)
c = z3.Const("c.cited", Client)
p, r = z3.Consts("p.cited r.cited", Port)
i, j, q = z3.Ints("i.cited j.cited q.cited")

IN_THE_RELATION = {
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
    "never_more_servers_than_configured": ForAll(
        [s, t], Implies(And(alive(v, s), alive(v, t), v.place_of(s) == v.place_of(t)), s == t)
    ),
    "no_one_is_cut_off_by_draining": ForAll(
        [s, p, i],
        Implies(And(v.asked_to_end(s), alive(v, s)), And(v.clients(s) <= 0, Not(unread(v, s, p, i)))),
    ),
    "only_drained_servers_are_asked_to_end": ForAll([s], Implies(v.asked_to_end(s), v.finished(s))),
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
    "ranks_are_past": And(
        ForAll([s, t], Implies(And(v.row(s), v.row(t), v.rank(s) == v.rank(t)), s == t)),
        ForAll([s], Implies(v.row(s), v.rank(s) < v.next_rank)),
    ),
}
"""The property's sentence, where the conjunct that is cited does not bear its name, or is not alone."""


def follows(sentence, conjuncts):
    """Z3 finds that the sentence is true where the conjuncts are."""
    solver = z3.Solver()
    solver.set("timeout", 10_000)
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


PARTLY = {
    "first_come_first_served",
    "the_table_is_exact_again_after_a_restart",
    "what_is_opened_is_kept",
    "who_is_served_was_answered_for",
}
"""Those of steps, or of runs: the page names what of them is not proved."""


def test_whatever_is_proved_by_a_sentence_of_another_name_is_here():
    others = {name for name, answer in SAFETY_EVIDENCE.items() if answer.basis is Basis.PROVED and answer.by != (name,)}
    assert others == {*IN_THE_RELATION, *PARTLY}
    assert [name for name in PARTLY if not SAFETY_EVIDENCE[name].why] == []
