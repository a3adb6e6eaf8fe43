"""What must hold of every step of several machines, and, of the core's invariants, when and why each can be asked.

The sentences about steps lack their subject: whoever took the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from maitred.core import distributor, invariants, monitor
from maitred.core.distributor import DistributorState
from maitred.core.messages import Drain, Drained, KeepDialog, ServerNotReady, ServerReady, Unresponsive
from maitred.core.monitor import MonitorState
from maitred.core.transition import Reason
from maitred.model.claims.property import MACHINES, always_of_states, always_of_steps
from maitred.model.claims.safety.distributor import unresponsive
from maitred.model.story.text import describe
from maitred.model.world import Stride

# ================================================================ timers


@always_of_steps(
    "distributor", "monitor", witnesses=("an_accept_fails_and_is_tried_again", "a_dead_server_is_started_again")
)
def what_may_fire_was_set(before: DistributorState | MonitorState, event: object, stride: Stride) -> Iterator[str]:
    """A timer that a step brings into season, or leaves there when it has fired, is started by that step; but a
    hand-off's comes once, as the end of the server follows it.
    """
    if stride.rejected is not None:
        return
    running = {_plain(timer) for timer in _in_season(before)}
    if isinstance(event, (distributor.Fired, monitor.Fired)) and not isinstance(
        event.timer, distributor.HandOffTimeout
    ):
        running.discard(_plain(event.timer))
    if isinstance(event, distributor.StillServes) and not unresponsive(stride):
        running.discard(distributor.HandOffTimeout(event.server))
    kinds = (distributor.SetTimer, monitor.SetTimer)
    running |= {_plain(effect.timer) for effect in stride.effects if isinstance(effect, kinds)}
    for timer in _in_season(stride.state):
        if _plain(timer) not in running:
            yield (
                f"sets no timer {describe(timer)} on {describe(event)}, after which it may fire: something waits for it"
                " in vain"
            )


def _in_season(state: DistributorState | MonitorState) -> list[Any]:  # Any: timers of either machine
    """The timers that may fire, and are then not in vain: a restart needs a processing element that can take it."""
    if isinstance(state, DistributorState):
        return [fired.timer for fired in distributor.enabled(state)]
    return [fired.timer for fired in monitor.enabled(state) if _can_be_taken(state, fired.timer)]


def _can_be_taken(state: MonitorState, timer: monitor.Timer) -> bool:
    if not isinstance(timer, (monitor.RestartServer, monitor.RestartDistributor)):
        return True
    return any(state.elements[element].up for element in state.classes[timer.class_id].config.elements)


def _plain(timer: Any) -> Any:  # Any: as above
    """The timer without the number that only its length depends on."""
    if isinstance(timer, (monitor.RestartServer, monitor.DynamicRest, monitor.RestartDistributor)):
        return replace(timer, attempt=0)
    return timer


# ================================================================ rejections

LEGITIMATE: Final[frozenset[tuple[type, type | None, Reason]]] = frozenset(
    {
        # The client has sent data: the half-close is no hang-up.
        (distributor.PeerClosed, None, Reason.NOT_HANG_UP),
        # The dialog ended before the Distributor came to read that the hand-off could not be sent.
        (distributor.Unsent, None, Reason.NOT_THIS_REQUEST),
        (distributor.Unsent, None, Reason.UNKNOWN_SERVER),
        # The server, or each of its dialogs, ended while the kernel was being asked about its clients.
        (distributor.Audited, None, Reason.UNKNOWN_SERVER),
        (distributor.Audited, None, Reason.NO_DIALOG),
        # The server was gone before the Distributor read that it is to leave.
        (Drain, None, Reason.UNKNOWN_SERVER),
        # The operator's wish came too late, or while another was being met.
        (monitor.Retire, None, Reason.NOT_RUNNING),
        (monitor.Retire, None, Reason.REPLACING),
        (monitor.Replace, None, Reason.NOT_RUNNING),
        (monitor.Replace, None, Reason.REPLACING),
        (monitor.Scale, None, Reason.NOT_RUNNING),
        (monitor.Scale, None, Reason.REPLACING),
        (monitor.Scale, None, Reason.NO_STATIC_SERVER),
        # The server was gone, and its place free, before the Monitor read this about it.
        (monitor.Reported, KeepDialog, Reason.UNKNOWN_SERVER),
        (monitor.Reported, ServerReady, Reason.UNKNOWN_SERVER),
        (monitor.Reported, ServerNotReady, Reason.UNKNOWN_SERVER),
        (monitor.Reported, Drained, Reason.UNKNOWN_SERVER),
        (monitor.Reported, Unresponsive, Reason.UNKNOWN_SERVER),
    }
)
"""The rejections that a sound system comes to: two things happened at once.  Of a message, with its class."""


@always_of_steps(*MACHINES, witnesses=("the_monitor_reads_about_a_server_that_is_gone",))
def no_surprising_rejection(before: object, event: object, stride: Stride) -> Iterator[str]:
    """A machine declines an event only where two things happened at once, as listed with the property."""
    if stride.rejected is None:
        return
    message = type(event.message) if isinstance(event, monitor.Reported) else None
    if (type(event), message, stride.rejected) not in LEGITIMATE:
        yield (
            f"declines {describe(event)}, as {stride.rejected.value}; no two things that may happen at once explain"
            " this"
        )


# ================================================================ invariants of the core

always_of_states("distributor", invariants.index_is_true, "a_waiter_is_seated")
always_of_states("distributor", invariants.summaries_are_true, "an_idle_dynamic_server_is_let_go")
always_of_states("distributor", invariants.waiting_total_is_true, "a_waiter_is_seated")
always_of_states(
    "distributor",
    invariants.no_one_waits_while_a_seat_is_free,
    "a_server_is_full_while_somebody_waits",
    "a_waiter_is_seated",
)
always_of_states("distributor", invariants.waiters_wait_on_their_own_port, "somebody_waits_on_each_of_two_ports")
always_of_states("distributor", invariants.no_client_is_held_twice, "a_refused_client_is_served_elsewhere")
always_of_states("distributor", invariants.arrivals_lie_in_the_past, "a_stored_client_is_restored_and_served")
always_of_states(
    "distributor", invariants.requests_travel_on_ready_dialogs, "a_server_with_a_request_outstanding_is_spared"
)
always_of_states("distributor", invariants.rows_and_ports_agree, "a_dead_server_is_started_again")
always_of_states(
    "distributor",
    invariants.binders_await_the_listeners,
    "an_address_cannot_be_listened_on",
    "a_second_server_shares_the_socket",
)
always_of_states("distributor", invariants.accepts_only_where_it_listens, "a_stop_takes_what_the_backlog_holds")
always_of_states(
    "distributor",
    invariants.servers_are_wanted_only_by_waiters,
    "the_monitor_is_asked_for_a_server",
    "a_dynamic_server_starts",
    occasion=lambda b: b.dynamic > 0,
)
always_of_states(
    "distributor", invariants.closed_means_over, "a_graceful_stop_completes", occasion=lambda b: b.stops != 0
)
always_of_states("distributor", invariants.ranks_are_past, "a_tie_goes_to_the_longest_unchosen")
always_of_states("distributor", invariants.only_who_was_asked_is_full, "a_server_that_takes_nobody_serves_on")
always_of_states("server", invariants.clients_came_through_a_listener, "a_client_is_served_and_leaves")
always_of_states("server", invariants.an_answer_is_owed_only_while_deaf, "a_program_that_is_deaf_is_not_ready")
always_of_states("server", invariants.counts_are_issued_in_order, "a_full_dialog_defers_messages")
always_of_states("server", invariants.nothing_out_of_date_is_to_be_sent, "a_full_dialog_defers_messages")
always_of_states("server", invariants.who_is_accepted_is_counted, "who_was_about_to_be_delivered_is_refused")
always_of_states("monitor", invariants.living_is_true, "a_dead_server_is_started_again")
always_of_states(
    "monitor",
    invariants.a_replacement_is_of_places_that_are_there,
    "a_server_is_replaced",
    occasion=lambda b: b.replacements != 0,
)
always_of_states(
    "monitor",
    invariants.who_is_to_leave_has_a_server,
    "a_server_leaves_as_wished",
    occasion=lambda b: b.retirements != 0 or b.replacements != 0,
)
always_of_states(
    "monitor",
    invariants.places_are_within_the_configuration,
    "an_idle_dynamic_server_is_let_go",
    "a_server_restarts_elsewhere",
)
always_of_states("monitor", invariants.processes_are_counted, "the_distributor_restarts_elsewhere")
always_of_states("monitor", invariants.servers_are_new, "a_dead_server_is_started_again")
always_of_states("monitor", invariants.an_empty_place_keeps_nothing, "a_dead_server_is_started_again")
always_of_states("monitor", invariants.ended_means_over, "a_graceful_stop_completes", occasion=lambda b: b.stops != 0)
