"""Mutants that no property of model or relation sees, and why: a closed list.

Who is on it is killed by tests of the core alone, or is no other core at all.  An entry of the catalogue without a
killer among properties and proofs is on the list, and no other is; and of each reason that says what explorations do
not come to, or what is all that differs, `proofs.mutation.core.steps` asks the very steps that they take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from maitred.core import monitor
from maitred.core.transition import Transition
from proofs.mutation.core.steps import Outcome


class Unseen(Enum):
    """Why no property can see it."""

    NEVER_OFFERED = (
        "The guard is against a Monitor, a Distributor, a kernel or a shell that breaks its word: the closed system, "
        "whose parts keep it, never offers the event there."
    )
    TOO_LARGE = (
        "It takes five deaths in a row before a server was ready, or a thousand connections that are gone at once: "
        "more than any exploration comes to."
    )
    REPORTED = "Only what an operator reads differs: a line in the log, or why the Monitor has ended."
    ONLY_ORDER = (
        "Such numbers are compared with one another and never counted with, so that one which is left out, or given "
        "again to what is the same, changes nothing that anybody could see."
    )
    DEEP = "It takes a longer run than an exploration of some thousand worlds has, and no recorded run leads near it."
    LATER = "What it leaves wrong is looked at only after five deaths in a row: the reason above, a step earlier."
    STOPPED = (
        "The stop ends all the same, by a later step or by the end of the grace, which may let everybody go; no "
        "property says by which."
    )
    GIVEN_UP = (
        "A class that cannot listen is to be given up; one that goes on all the same breaks nothing that is asked of "
        "clients and servers."
    )
    BINDS = "Which ports a class takes after the first is not asked: the model's programs are content with any answer."
    TABLES = (
        "Worlds are made of these tables and compared by them: where they are wrong, explorations are, and the tests "
        "of the tables come before."
    )
    TIME = "Only how long something takes differs, and the model has no time: a timer may fire whenever it may."
    CHOICE = (
        "Either is allowed by every requirement that the model knows; which is better shows only with many of them."
    )
    VALUES = "The model's messages are values: it has neither bytes nor records, so it never comes to this code."
    SPEED = "Only how long a step takes differs, not where it leads."


_NAMES: Final[Mapping[Unseen, str]] = {
    Unseen.NEVER_OFFERED: """
        a_closed_distributor_adopts
        it_begins_twice
        it_closes_before_it_has_begun
        it_closes_twice
        an_empty_backlog_closes_the_port
        a_message_comes_on_no_dialog
        it_audits_before_it_has_begun
        any_refusal_takes_the_request_back
        it_stops_though_it_has_ended
        an_element_fails_twice
        an_unknown_class_speaks
        a_dead_distributor_speaks
        a_client_is_stored_twice
        a_timer_of_an_unknown_class_fires
        an_old_distributors_life_counts_for_the_new
    """,
    Unseen.TOO_LARGE: """
        the_audit_names_any_number
        the_audit_names_one_fewer
        a_crash_loop_is_not_reported
        a_class_is_given_up_one_death_early
        a_proven_class_is_given_up
        one_bad_server_gives_the_class_up
        a_class_that_cannot_work_goes_on
        a_dynamic_crash_loop_is_not_reported
        a_crash_loop_is_reported_one_death_late
        a_class_is_given_up_one_death_late
        a_class_is_given_up_at_the_fifth_death_exactly
        a_dynamic_crash_loop_is_reported_one_death_late
    """,
    Unseen.LATER: """
        a_ready_class_is_not_proven
    """,
    Unseen.REPORTED: """
        a_server_that_does_not_listen_is_not_reported
        a_missing_element_is_not_reported
        the_distributors_missing_element_is_not_reported
        a_failure_is_not_reported
        a_failure_is_no_failure
    """,
    Unseen.ONLY_ORDER: """
        an_arrival_is_left_out
        who_is_restored_leaves_one_out
        a_rank_is_left_out
        a_newcomers_rank_is_left_out
        the_same_sequence_counts_again
        the_same_answer_counts_again
        server_ids_begin_at_zero
        dynamic_places_begin_one_late
    """,
    Unseen.TIME: """
        the_audit_names_one
        the_backoff_has_no_cap
        the_backoff_does_not_grow
        the_backoff_counts_for_ever
        a_first_death_is_waited_for
        the_queue_timeout_is_the_hand_offs
        a_distributors_timer_is_told_one_ahead
        a_dynamic_rests_timer_is_told_one_ahead
        a_servers_timer_is_told_one_ahead
    """,
    Unseen.CHOICE: """
        the_fullest_element_is_chosen
        a_server_moves_at_each_restart
        the_first_element_is_chosen
    """,
    Unseen.VALUES: """
        trailing_bytes_are_read_over
        a_truncated_packet_is_read
        any_byte_is_a_truth
        a_packet_of_any_size_is_written
        numbers_of_any_size_are_written
        lists_lose_their_last_item
        a_record_with_odd_fields_is_read
        a_tuple_of_any_length_is_read
        a_truth_is_written_as_a_number
    """,
    Unseen.SPEED: """
        sorted_keys_make_a_chain
    """,
    Unseen.TABLES: """
        a_trees_shape_depends_on_its_history
        unequal_trees_are_equal
    """,
    Unseen.STOPPED: """
        a_closed_class_takes_binds
        a_closed_distributor_is_restarted
        a_second_stop_is_graceful_too
        a_server_that_is_being_stopped_is_adopted_for_use
        a_stop_forgets_requests_on_their_way
        a_successor_is_not_told_to_close
        it_ends_while_a_distributor_is_to_be_restarted
        nobody_is_told_that_it_is_closed
        what_is_owed_is_not_work
    """,
    Unseen.BINDS: """
        every_bind_makes_a_port_of_the_class
    """,
    Unseen.GIVEN_UP: """
        a_failed_address_is_ignored
    """,
    Unseen.DEEP: """
        a_dead_dynamic_servers_seats_stay_promised
        an_unresponsive_servers_deaths_stay_at_one
        the_echo_is_taken_to_follow_the_hand_off
    """,
}

UNSEEN: Final[Mapping[str, Unseen]] = {name: reason for reason, names in _NAMES.items() for name in names.split()}
"""The closed list: mutants by name, and why no property sees them."""

NOWHERE: Final = frozenset({Unseen.NEVER_OFFERED, Unseen.TOO_LARGE, Unseen.DEEP})
"""Of these no step differs that an exploration comes to."""


def is_minded(reason: Unseen, plain: Outcome, mutated: Outcome | None) -> bool:
    """Whether the reason leaves unsaid how the mutated step, which is another, differs from the plain one.

    Args:
        reason: why no property should mind.
        plain: what the machine does.
        mutated: what the mutated one does; None where it raises.
    """
    if reason in NOWHERE or mutated is None:
        return True
    if reason not in _UNMINDED:
        return False
    if not isinstance(plain, Transition) or not isinstance(mutated, Transition):
        return True
    kept = [[_UNMINDED[reason](effect) for effect in step.effects] for step in (plain, mutated)]
    effects = [[effect for effect in some if effect is not None] for some in kept]
    states = [_without_reason_to_end(step.state) for step in (plain, mutated)]
    return effects[0] != effects[1] or states[0] != states[1]


def _without_reason_to_end(state: Any) -> Any:  # Any: of whichever machine
    return replace(state, failure=None) if isinstance(state, monitor.MonitorState) else state


def _but_for_reports(effect: Any) -> Any:  # Any: of whichever machine
    return None if isinstance(effect, monitor.Report) else _but_for_the_exits_reason(effect)


def _but_for_the_exits_reason(effect: Any) -> Any:  # Any: as above
    return monitor.Exit(None) if isinstance(effect, monitor.Exit) else effect


_UNMINDED: Final[Mapping[Unseen, Callable[[Any], Any]]] = {  # Any: as above
    Unseen.REPORTED: _but_for_reports,
}
"""What is left of an effect where what the reason names is taken away; None: nothing."""
