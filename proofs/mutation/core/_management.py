"""Mutants of what an operator may change: servers that leave, are replaced, are more or fewer."""

from __future__ import annotations

from typing import Final

from maitred.model.world import Bounds
from proofs.mutation.core.mutant import Kind, Mutant

MANAGEMENT: Final = "tests/core/test_management.py"
LEAVING: Final = Bounds(servers=1, clients=1, retirements=1, warm=True)
REPLACED: Final = Bounds(servers=1, clients=0, replacements=1, warm=True)
SCALED: Final = Bounds(servers=1, clients=0, scalings=1, warm=True)

MUTANTS: Final = (
    # ---------------------------------------------------------------- a server is to leave
    Mutant(
        "who_is_to_leave_is_not_drained",
        Kind.EFFECT_DROPPED,
        "A server that the operator wants to leave goes on getting clients.",
        "monitor._Work.retire",
        "self.send(class_id, Drain(place.server))",
        "pass",
        refutes=("who_is_to_leave_is_sent_nobody",),
        within=LEAVING,
        tests=(f"{MANAGEMENT}::test_a_server_that_is_to_leave_is_drained_then_asked_to_end_and_its_place_stays_empty",),
    ),
    Mutant(
        "the_next_distributor_seats_who_is_to_leave",
        Kind.CONDITION_DROPPED,
        "After the Distributor's death a server that is to leave gets clients again, and never ends.",
        "monitor._Work.adoption",
        " or place.retirement is not Retirement.NONE",
        "",
        refutes=("who_is_to_leave_is_sent_nobody",),
        within=Bounds(servers=1, clients=0, retirements=1, distributor_crashes=1, warm=True),
        tests=(f"{MANAGEMENT}::test_the_next_distributor_is_sent_that_a_server_is_to_leave",),
    ),
    Mutant(
        "a_drain_is_not_heeded",
        Kind.FORGOTTEN,
        "A server that the operator wants to leave goes on getting clients.",
        "distributor._drain",
        "work.drain(work.state.servers[event.server])",
        "pass",
        refutes=("the_unfit_are_sent_nobody", "who_is_to_leave_is_sent_nobody"),
        within=LEAVING,
    ),
    Mutant(
        "every_server_that_is_to_leave_is_given_a_grace",
        Kind.CONDITION_DROPPED,
        "`maitred drain` cuts clients off that were to stay as long as they like.",
        "monitor._guard_timer",
        "return None if place.limited and place.active else Reason.TIMER_IS_STALE",
        "return None if place.active else Reason.TIMER_IS_STALE",
        refutes=("only_drained_servers_are_asked_to_end", "no_one_is_cut_off_by_draining"),
        within=LEAVING,
        tests=(f"{MANAGEMENT}::test_without_a_limit_no_grace_ends",),
    ),
    Mutant(
        "a_grace_is_given_and_never_ends",
        Kind.EFFECT_DROPPED,
        "A client that stays for ever keeps a server that was to leave within a grace.",
        "monitor._Work.retire",
        "self.effects.append(SetTimer(DrainOver(class_id, place.server)))",
        "pass",
        refutes=("what_may_fire_was_set",),
        within=LEAVING,
        tests=(f"{MANAGEMENT}::test_a_server_with_a_limit_is_asked_to_end_once_its_grace_is_over",),
    ),
    Mutant(
        "a_place_that_is_held_is_filled",
        Kind.CONDITION_DROPPED,
        "A server that the operator has taken out of service comes back by itself.",
        "monitor._guard_timer",
        " and place.retirement is Retirement.NONE\n            return None if down",
        "\n            return None if down",
        tests=(f"{MANAGEMENT}::test_an_empty_place_is_held_at_once",),
    ),
    Mutant(
        "a_server_that_left_is_due_again",
        Kind.CONDITION_DROPPED,
        "A server that the operator has taken out of service comes back by itself.",
        "monitor._server_gone",
        " and place.retirement is Retirement.NONE",
        "",
        tests=(f"{MANAGEMENT}::test_a_server_that_is_to_leave_is_drained_then_asked_to_end_and_its_place_stays_empty",),
    ),
    Mutant(
        "a_limit_outlives_the_server",
        Kind.NOT_FORGOTTEN,
        "The next server in the place is asked to end, with its clients, at a moment that was set for the last.",
        "monitor._Work.vacate",
        ", limited=False",
        "",
        refutes=("who_is_to_leave_has_a_server",),
        within=Bounds(servers=1, clients=0, retirements=1, warm=True),
    ),
    # ---------------------------------------------------------------- servers are replaced
    Mutant(
        "the_old_server_leaves_before_the_new_one_is_ready",
        Kind.ORDER_CHANGED,
        "A rolling replacement takes seats away; of a class of one server, all.",
        "monitor._Work.replace_next",
        ("if not self.start_server(class_id, new):\n            self.give_up_replacement(class_id, new)"),
        (
            "if not self.start_server(class_id, new):\n"
            "            self.give_up_replacement(class_id, new)\n"
            "        else:\n"
            "            self.take_over(class_id, plan)"
        ),
        refutes=("a_server_is_given_up_only_for_one_that_is_ready",),
        within=REPLACED,
        tests=(f"{MANAGEMENT}::test_a_new_server_is_ready_before_an_old_one_is_drained",),
    ),
    Mutant(
        "an_old_server_stays_beside_its_successor",
        Kind.FORGOTTEN,
        "After a replacement twice as many servers run as are configured, half of them the old program.",
        "monitor._Work.take_over",
        "if old != NO_PLACE:",
        "if False:",
        refutes=("places_are_within_the_configuration", "never_more_servers_than_configured"),
        within=REPLACED,
        tests=(f"{MANAGEMENT}::test_a_new_server_is_ready_before_an_old_one_is_drained",),
    ),
    Mutant(
        "a_successor_runs_the_old_program",
        Kind.WRONG_CHOICE,
        "A reload replaces every server and changes nothing.",
        "monitor._Work.replace_next",
        "program=plan.program",
        "program=plan.before",
        refutes=("a_replacement_is_of_places_that_are_there",),
        within=REPLACED,
        tests=(f"{MANAGEMENT}::test_another_program_replaces_every_server_but_those_that_are_held",),
    ),
    Mutant(
        "a_successor_that_is_late_is_waited_for",
        Kind.CONDITION_DROPPED,
        "A program that never listens leaves the replacement unfinished for ever.",
        "monitor._fired",
        "if plan is not None and plan.surge == place.place and work.state.phase is Phase.RUNNING:",
        "if False:",
        tests=(f"{MANAGEMENT}::test_a_successor_that_does_not_listen_in_time_is_killed",),
    ),
    Mutant(
        "the_place_of_a_successor_that_died_is_kept",
        Kind.NOT_FORGOTTEN,
        "Each replacement that fails leaves one place more than is configured.",
        "monitor._Work.give_up_replacement",
        "places=cls.places.remove(surge.place), ",
        "",
        refutes=("living_is_true", "places_are_within_the_configuration"),
        within=REPLACED,
    ),
    Mutant(
        "a_program_that_fails_is_kept",
        Kind.FORGOTTEN,
        "After a reload of a program that cannot work some servers run it, some the old one.",
        "monitor._Work.give_up_replacement",
        "if plan.program != plan.before:",
        "if False:",
        tests=(f"{MANAGEMENT}::test_what_was_brought_by_a_program_that_fails_is_replaced_back",),
    ),
    Mutant(
        "the_successor_of_a_dynamic_server_is_static",
        Kind.WRONG_CHOICE,
        "A server that came under load stays for ever once it has been replaced.",
        "monitor._Work.replace_next",
        "dynamic=old.dynamic",
        "dynamic=False",
        tests=(f"{MANAGEMENT}::test_a_dynamic_server_is_replaced_by_a_dynamic_one",),
    ),
    Mutant(
        "during_a_replacement_anything_is_granted",
        Kind.GUARD_DROPPED,
        "Two administrators at once leave the class with neither's servers.",
        "monitor._guard_wish",
        "return Reason.REPLACING if cls.replacement else None",
        "return None",
        tests=(f"{MANAGEMENT}::test_wishes_that_cannot_be_met_are_declined",),
    ),
    # ---------------------------------------------------------------- more, or fewer
    Mutant(
        "one_server_too_many_is_started",
        Kind.OFF_BY_ONE,
        "`maitred scale` gives one server more than was asked for.",
        "monitor._Work.scale_static",
        "range(wanted - len(staying))",
        "range(wanted - len(staying) + 1)",
        refutes=("places_are_within_the_configuration", "never_more_servers_than_configured"),
        within=SCALED,
        tests=(f"{MANAGEMENT}::test_more_static_servers_are_started_at_once",),
    ),
    Mutant(
        "of_fewer_servers_those_with_clients_go_first",
        Kind.HEAD_AND_TAIL,
        "Of fewer servers one that serves is drained, while a place is empty.",
        "monitor._Work.scale_static",
        "key=lambda place: (place.alive, -place.place)",
        "key=lambda place: (not place.alive, -place.place)",
        tests=(f"{MANAGEMENT}::test_of_fewer_servers_the_empty_places_go_first",),
    ),
    Mutant(
        "the_distributor_is_not_sent_how_many_may_come",
        Kind.EFFECT_DROPPED,
        "Dynamic servers that were allowed are never asked for.",
        "monitor._scale",
        "work.send(event.class_id, Allow(event.dynamic))",
        "pass",
        tests=(f"{MANAGEMENT}::test_more_static_servers_are_started_at_once",),
    ),
)
