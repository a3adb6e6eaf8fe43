"""Each safety property of the model, and what shows it for any number of servers and clients.

Three answers are possible.  *Proved*: conjuncts of the invariant say it, which `proofs.induction.invariant` discharges.
*Guarded*: the only transitions that could break it require that they do not; what is in a guard needs no proof, only
the bridge, which shows that the code asks it too.  *Not modelled*: the relation lacks it, because it is about how
the code keeps its books, or about descriptors and timers, which the relation leaves out; it is explored within bounds.

`orphans` finds what is missing at either end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from spec.relation.invariant import INVARIANT
from spec.relation.progress import PROGRESS
from spec.relation.system import ACTIONS

from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.safety import PROPERTIES


class Basis(Enum):
    """What an answer rests on."""

    PROVED = "proved"
    GUARDED = "guarded"
    NOT_MODELLED = "not modelled"


@dataclass(frozen=True)
class Answer:
    """What shows a property for any number."""

    basis: Basis
    by: tuple[str, ...] = ()
    """Conjuncts of the invariant or theorems of progress; or transitions."""
    why: str = ""
    """Of what is guarded, how; of what is not modelled, why; of what is proved, what is left out, if anything is."""


def _proved(*by: str, but: str = "") -> Answer:
    return Answer(Basis.PROVED, by, but)


def _guarded(*by: str, how: str) -> Answer:
    return Answer(Basis.GUARDED, by, how)


def _not_modelled(why: str) -> Answer:
    return Answer(Basis.NOT_MODELLED, why=why)


_BOOKS: Final = "how the code keeps its books; the relation has no second copy that could differ"
_DESCRIPTORS: Final = "about descriptors, which the relation does not model one by one"
_TIMERS: Final = "about timers, which the relation lets run out at any time"
_COUNTED: Final = "of whom a server counts; that its processes hold nobody else is explored"
_ENDING: Final = "about the closing of the system, which the relation does not model"

SAFETY_EVIDENCE: Final[Mapping[str, Answer]] = {
    "never_above_the_maximum": _proved("never_above_the_maximum", but=_COUNTED),
    "never_stale_low": _proved("never_stale_low", but=_COUNTED),
    "no_client_has_two_servers": _proved("no_client_has_two_servers"),
    "no_client_is_lost": _proved("no_client_is_lost"),
    "nobody_passes_on_what_it_has_not": _not_modelled(_DESCRIPTORS),
    "each_process_knows_whom_it_has": _not_modelled(_DESCRIPTORS),
    "at_most_one_request_outstanding": _proved("at_most_one_request_outstanding", "what_is_unread_is_known"),
    "rows_are_as_configured": _not_modelled("about what never changes; the relation has one copy of it"),
    "never_more_servers_than_configured": _proved(
        "never_more_servers_than_configured",
        "who_is_alive_fills_a_place",
        "one_server_at_a_time_replaces_another",
        but="that there are no other places is explored",
    ),
    "who_is_to_leave_is_sent_nobody": _proved(
        "who_is_to_leave_is_sent_nobody",
        but="that the message to the Distributor is in its channel, and is read, is explored",
    ),
    "a_server_is_given_up_only_for_one_that_is_ready": _not_modelled(
        "about which wish makes a server leave, which the relation allows at any time"
    ),
    "the_count_is_exact_when_dialogs_are_quiet": _proved("the_count_is_exact_when_dialogs_are_quiet"),
    "the_table_is_exact_again_after_a_restart": _proved(
        "the_count_is_exact_when_dialogs_are_quiet",
        "a_request_is_under_way",
        but="of the counts and of whose answer is awaited; which dialogs are ready is explored",
    ),
    "store_has_exactly_those_who_wait": _proved("store_has_exactly_those_who_wait", "the_last_word_decides"),
    "no_client_with_a_server_is_restored": _proved("no_client_with_a_server_is_restored", "the_last_word_decides"),
    "no_one_is_cut_off_by_draining": _proved(
        "no_one_is_cut_off_by_draining", "only_who_is_finished_is_asked_to_end", but=_COUNTED
    ),
    "first_come_first_served": _proved(
        "first_come_first_served",
        "arrivals_are_past",
        but="by the numbers of arrival; that these are the order in which the kernel gave the clients is explored",
    ),
    "the_chosen_server_was_least_loaded": _guarded(
        "sends_hand", "sends_hand_in_vain", how="the server is the best of those that are free"
    ),
    "hand_offs_go_to_free_servers": _guarded(
        "sends_hand", "sends_hand_in_vain", how="the server is free on the client's port"
    ),
    "the_unfit_are_sent_nobody": _guarded(
        "sends_hand", "sends_hand_in_vain", how="the server is not draining, as `finds_server_unfit` has made it"
    ),
    "a_request_comes_back_only_from_the_server": _guarded(
        "receives_refused",
        "sees_dialog_end",
        "notices_unsent",
        how="nothing else puts a client in hand whose hand-off was outstanding",
    ),
    "released_before_sent": _proved("who_is_requested_is_not_stored"),
    "shut_down_before_released": _guarded(
        "releases_dropped", how="the client has been shut down, and nothing else takes off the list who is not seated"
    ),
    "a_dialog_in_use_stays_open": _guarded(
        "sees_dialog_end",
        how="a dialog is struck off when it has ended; that descriptors are closed then is explored",
    ),
    "an_address_is_listened_on_once": _not_modelled(
        "about requests for sockets, which the relation grants at any time"
    ),
    "accepts_only_below_the_limit": _guarded("issues_accept", how="fewer wait than may"),
    "only_drained_servers_are_asked_to_end": _proved(
        "only_who_is_finished_is_asked_to_end",
        but="while the system runs, and but for those with a grace; that who is stopping was asked is explored",
    ),
    "processes_are_killed_only_for_a_reason": _not_modelled(
        "about why the Monitor kills, which the relation allows at any time"
    ),
    "deaths_are_counted": _not_modelled("about the counting of deaths, which the relation leaves out"),
    "what_may_fire_was_set": _not_modelled(_TIMERS),
    "a_full_server_is_spared": _not_modelled(_TIMERS),
    "a_half_close_is_no_hang_up": _not_modelled("about what a client sends, which the relation does not model"),
    "one_accept_at_a_time": _guarded("issues_accept", how="none is outstanding on the port, and none is paused"),
    "copies_are_closed_when_clients_are_let_go": _not_modelled(_DESCRIPTORS),
    "an_answer_comes_before_the_client": _guarded(
        "server_notes", how="a program is given a client when its Accepted is noted as sent, and by nothing else"
    ),
    "who_is_served_was_answered_for": _proved("the_lock_is_held_by_one", but="that nothing else delivers is explored"),
    "counts_are_issued_in_order": _not_modelled(
        "about the order in which the outbox is kept; the relation knows its messages by their numbers"
    ),
    "nothing_out_of_date_is_to_be_sent": _not_modelled("about what is in the outbox, which the bridge compares"),
    "who_is_accepted_is_counted": _proved("what_is_not_noted_is_not_delivered", "who_is_not_delivered_is_nowhere_else"),
    "what_is_opened_is_kept": _proved(
        "what_is_open_is_kept",
        but="of dialogs, once they are open; that the Monitor knows before the bind is answered, that the bind is "
        "answered, and of listening sockets, is explored",
    ),
    "what_is_no_longer_kept_is_dropped": _not_modelled(_DESCRIPTORS),
    "every_leave_is_acknowledged": _not_modelled("about acknowledgements, which nothing in the relation waits for"),
    "an_acknowledgement_changes_nothing": _not_modelled(
        "about acknowledgements, which nothing in the relation waits for"
    ),
    "no_surprising_rejection": _not_modelled(
        "about events that a machine declines; in the relation they are not enabled"
    ),
    "index_is_true": _not_modelled(_BOOKS),
    "summaries_are_true": _not_modelled(_BOOKS),
    "waiting_total_is_true": _not_modelled(_BOOKS),
    "no_one_waits_while_a_seat_is_free": _guarded(
        "accepts", "receives_disconnect", how="the next event is read only when nobody who waits could be seated"
    ),
    "waiters_wait_on_their_own_port": _not_modelled(_BOOKS),
    "no_client_is_held_twice": _proved(
        "store_has_exactly_those_who_wait",
        "who_is_requested_is_not_stored",
        "who_is_unread_was_sent_there",
        but="that a waiting list has nobody twice is explored, as the relation has the set of those who wait",
    ),
    "arrivals_lie_in_the_past": _proved("arrivals_are_past"),
    "requests_travel_on_ready_dialogs": _proved("who_is_requested_is_not_stored"),
    "rows_and_ports_agree": _proved(
        "dialogs_are_in_the_table",
        "a_row_has_a_reason",
        but="of what is owed, and of why there is a row; that each dialog is on a port of the table, and each row "
        "under its own number, is explored",
    ),
    "binders_await_the_listeners": _not_modelled(_BOOKS),
    "accepts_only_where_it_listens": _guarded("issues_accept", how="the port's socket listens"),
    "servers_are_wanted_only_by_waiters": _guarded("wants_server", how="more wait than will soon be seated"),
    "closed_means_over": _not_modelled(_ENDING),
    "ranks_are_past": _proved("ranks_are_distinct", but="that none is below 0 is explored"),
    "only_who_was_asked_is_full": _not_modelled("about time-outs, which come at any time in the relation"),
    "clients_came_through_a_listener": _guarded(
        "server_accepts", how="the program has bound the port, and nothing undoes that while it lives"
    ),
    "an_answer_is_owed_only_while_deaf": _guarded("server_answers_later", how="the program does not listen"),
    "living_is_true": _not_modelled(_BOOKS),
    "places_are_within_the_configuration": _not_modelled(_BOOKS),
    "a_replacement_is_of_places_that_are_there": _not_modelled(_BOOKS),
    "who_is_to_leave_has_a_server": _not_modelled(_BOOKS),
    "processes_are_counted": _not_modelled(_BOOKS),
    "servers_are_new": _not_modelled(_BOOKS),
    "an_empty_place_keeps_nothing": _not_modelled(_BOOKS),
    "ended_means_over": _not_modelled(_ENDING),
}
"""By the name of each property that always holds."""

_ONE_CASE: Final = "explored within bounds"

LIVENESS_EVIDENCE: Final[Mapping[str, Answer]] = {
    "who_waits_is_seated_or_ends": _proved(
        "who_waits_is_seated",
        "the_distributor_comes_to_rest",
        but="to where it is sent to a server or let go, from where every server of the table lives, no process of one "
        "has died unnoticed, no hand-off comes back, and one that behaves takes clients of its port; that who was sent "
        "is taken, and all other beginnings, is explored",
    ),
    "who_is_in_the_backlog_is_seated_or_ends": _not_modelled(_ONE_CASE),
    "who_hangs_up_while_waiting_is_let_go": _not_modelled(_ONE_CASE),
    "a_hand_off_is_settled": _not_modelled(_ONE_CASE),
    "a_lost_connection_is_forgotten": _not_modelled("about audits, which the relation does not model"),
    "a_static_server_is_up_again": _not_modelled(_ONE_CASE),
    "the_table_is_exact_again": _proved(
        "the_dead_leave_the_table",
        "a_dead_distributor_is_read_to_the_end",
        "a_distributor_is_started",
        "a_new_distributor_begins",
        "every_dialog_is_answered",
        "a_server_comes_to_rest",
        "every_answer_is_sent",
        "every_answer_is_received",
        "the_count_is_exact_when_dialogs_are_quiet",
        but="of each count: it becomes known, and is exact whenever nothing is on its way; that there is such a time, "
        "and which dialogs are ready, is explored",
    ),
    "the_dead_leave_the_table": _proved(
        "the_dead_leave_the_table", but="of each server by itself, while its Distributor lives and binds nothing more"
    ),
    "a_condemned_server_frees_its_place": _not_modelled(_ONE_CASE),
    "a_server_that_is_asked_for_comes_or_is_declined": _not_modelled(_ONE_CASE),
    "an_idle_dynamic_server_stops": _not_modelled(_ONE_CASE),
    "the_distributor_is_up_again": _proved(
        "a_dead_distributor_is_read_to_the_end",
        "a_distributor_is_started",
        "a_new_distributor_begins",
        but="to where one operates or has died again, from where a processing element stays up; all other beginnings "
        "are explored",
    ),
    "a_stop_ends": _not_modelled(_ENDING),
}
"""By the name of each property that holds in the end."""


def orphans(
    clauses: Mapping[str, Answer] = SAFETY_EVIDENCE,
    in_the_end: Mapping[str, Answer] = LIVENESS_EVIDENCE,
    obligations: Collection[str] = (),
) -> list[str]:
    """What is missing, one line each: properties without an answer, answers about nothing, and claims without proof.

    ``obligations`` has the names of everything that is discharged, each of which mentions what it is about.
    """
    always = [name for name, prop in PROPERTIES.items() if prop.kind == "always"]
    found = [*_unanswered(always, clauses), *_unanswered(LIVENESS, in_the_end)]
    for name, answer in {**clauses, **in_the_end}.items():
        known = ACTIONS.by_name if answer.basis is Basis.GUARDED else {**INVARIANT, **PROGRESS}
        found += [f"{name}: there is no {by}" for by in answer.by if by not in known]
        if answer.basis is not Basis.NOT_MODELLED and not answer.by:
            found.append(f"{name}: {answer.basis.value} by nothing")
        if answer.basis is not Basis.PROVED and not answer.why:
            found.append(f"{name}: {answer.basis.value}, and nothing says why")
    claimed = {by for a in (*clauses.values(), *in_the_end.values()) if a.basis is Basis.PROVED for by in a.by}
    promised = {name for name, conjunct in INVARIANT.items() if conjunct.promised}
    found += [f"{name}: a promise that shows no property" for name in sorted(promised - claimed)]
    found += [f"{name}: a theorem that shows no property" for name in sorted(PROGRESS.keys() - claimed)]
    about = {part for name in obligations for part in name.split(": ")}
    found += [f"{name}: no obligation is about it" for name in sorted(claimed - about)]
    return found


def _unanswered(properties: Iterable[str], answers: Mapping[str, Answer]) -> list[str]:
    names = list(properties)
    missing = [f"{name}: nothing says what shows it for any number" for name in names if name not in answers]
    return missing + [f"{name}: there is no such property" for name in answers if name not in names]
