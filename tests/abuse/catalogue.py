"""The abuses of this room, one row each: what is done, what comes of it, what the log shows, and which tests show it.

The tests wait for the very lines that stand here, and `docs/explanation/load-and-abuse.md` is written from these rows
and from the figures that the tests have noted.
"""

import re
from dataclasses import dataclass

IDLE_BYTES = 1_024
"""A seated client may cost a Distributor or a Monitor so many bytes."""
WAITING_BYTES = 16_384
"""A waiting client may cost a Distributor or a Monitor so many bytes."""
SLACK_BYTES = 1 << 20
"""Any process may grow by so much for reasons of its own."""


@dataclass(frozen=True)
class Abuse:
    """One row.

    Args:
        key: how the tests name it.
        what: is done.
        outcome: what comes of it.
        figures: a format of what the tests note, by the key of the note and the name of the figure.
        lines: of the log; ``…`` stands for anything.
        silence: why there is no line, where there is none.
        tests: by file and name.
    """

    key: str
    what: str
    outcome: str
    figures: str
    tests: tuple[str, ...]
    lines: tuple[str, ...] = ()
    silence: str = ""


ABUSES = (
    Abuse(
        "idle",
        "Thousands of clients that are connected and say nothing",
        "They cost the Distributor and the Monitor no descriptor. The Distributor remembers the addresses by which its"
        " audit asks the kernel for each, every `audit_period`; the Monitor remembers nothing of them.",
        "{idle[clients]:,} clients on {idle[servers]} servers: {idle[distributor_bytes]:.0f} bytes each in the"
        " Distributor, {idle[monitor_bytes]:.0f} in the Monitor (more than " + f"{IDLE_BYTES:,}" + " fails the test);"
        " {idle[distributor_cpu]:.1%} and {idle[monitor_cpu]:.1%} of a processor, the audit included",
        tests=(
            "test_crowds.py::test_idle_clients_cost_no_descriptor_and_little_memory",
            "test_crowds.py::test_a_distributor_that_keeps_its_copies_is_noticed",
        ),
        silence="all is well",
    ),
    Abuse(
        "waiting",
        "More clients than seats and places in the waiting list",
        "At `waiting_limit` the Distributor stops accepting; the kernel's backlog (`net.core.somaxconn`) holds the"
        " rest; all these are served in the order of their arrival. Where the backlog is full too, the kernel neither"
        " connects nor refuses a client, whose own kernel tries again. A waiting client costs a descriptor in the"
        " Distributor and one in the Monitor.",
        "{waiting[limit]:,} wait and {waiting[behind]:,} are behind: {waiting[distributor_bytes]:,.0f} bytes each in"
        " the Distributor, {waiting[monitor_bytes]:,.0f} in the Monitor (more than " + f"{WAITING_BYTES:,}" + " fails"
        " the test); {waiting[distributor_cpu]:.1%} and {waiting[monitor_cpu]:.1%} of a processor",
        tests=(
            "test_crowds.py::test_at_the_bound_the_rest_wait_in_the_backlog",
            "test_crowds.py::test_where_the_backlog_is_full_too_clients_try_again_by_themselves",
            "test_crowds.py::test_a_list_without_a_bound_is_noticed",
        ),
        lines=("as many clients wait as may: further ones stay in the backlog (waiting_limit)",),
    ),
    Abuse(
        "vanish",
        "1,000 clients a second that connect and are gone",
        "Others are served as ever; nothing is left over: no count, no descriptor. While all seats are taken, who"
        " resets, or closes without having sent anything, leaves the waiting list at once; who has sent something and"
        " closes looks like a client that has only finished sending, and leaves when its turn has come or"
        " its `queue_timeout` is over.",
        "{vanish_free[number]:,} at {vanish_free[rate]:,.0f} a second into free seats: the Distributor has grown by"
        " {vanish_free[distributor_grown]:,} bytes, the Monitor by {vanish_free[monitor_grown]:,};"
        " {vanish_taken[number]:,} at {vanish_taken[rate]:,.0f} a second while all seats are taken:"
        " {vanish_taken[distributor_grown]:,} and {vanish_taken[monitor_grown]:,} (4 MiB fail the test)",
        tests=("test_crowds.py::test_clients_that_connect_and_vanish_leave_nothing_behind",),
        silence="clients come and go",
    ),
    Abuse(
        "slow",
        "Slow clients (slow loris): they take the seats and never finish a request",
        "maitred does not read what clients say, so a slow one has its seat until the *server* loses patience: give"
        " the server a time-out. Then who waits is seated. Until then others wait, at most `queue_timeout`, and are"
        " closed.",
        "as of other clients that are connected",
        tests=(
            "test_crowds.py::test_slow_clients_hold_their_seats_until_the_server_loses_patience",
            "test_crowds.py::test_who_waits_behind_slow_clients_is_closed_in_the_end",
        ),
        lines=("clients are closed that have waited … s for a seat",),
    ),
    Abuse(
        "never closes",
        "A server that accepts and never closes",
        "Its seats are used up one by one; it is full, and that is what the kernel says too, so the audit takes none"
        " away. It is neither handed clients nor killed. To kill or restart it gives the seats back.",
        "{never_closes[distributor_cpu]:.1%} of a processor in the Distributor meanwhile, with ten audits a second",
        tests=("test_crowds.py::test_a_server_that_never_closes_is_full_until_it_is_killed",),
        lines=("clients are closed that have waited … s for a seat",),
    ),
    Abuse(
        "stopped",
        "A server that is stopped (SIGSTOP), or hangs",
        "It has one hand-off unanswered and gets no other; one client waits for it, all others go elsewhere. If it is"
        " continued, it takes that client. After `hand_off_timeout` it is killed with all its processes and its client"
        " is served by another.",
        "{stopped[distributor_cpu]:.1%} of a processor in the Distributor meanwhile",
        lines=("has not taken a client for … s",),
        tests=(
            "test_crowds.py::test_a_stopped_server_delays_one_client_until_it_is_continued",
            "test_crowds.py::test_a_server_that_stays_stopped_is_killed_and_its_client_served_elsewhere",
        ),
    ),
    Abuse(
        "emfile",
        "The Distributor has no descriptor left (EMFILE)",
        "It keeps a reserve for servers and for its Monitor, accepts no more, and tries again every `accept_retry`."
        " Clients wait in the backlog; all are served later.",
        "at a limit of {emfile[limit]} descriptors {emfile[waiting]} wait inside, the others in the backlog;"
        " {emfile[distributor_cpu]:.1%} of a processor in the Distributor, {emfile[monitor_cpu]:.1%} in the Monitor",
        lines=("out of descriptors: further clients wait in the backlog (raise RLIMIT_NOFILE)",),
        tests=(
            "test_shortage.py::test_a_distributor_that_runs_out_of_descriptors_leaves_clients_in_the_backlog",
            "test_shortage.py::test_a_distributor_that_spins_for_want_of_descriptors_is_noticed",
        ),
    ),
    Abuse(
        "emfile server",
        "A server has no descriptor left",
        "What is handed to it is refused for it, without the program's knowledge, and the client is offered elsewhere;"
        " if there is no other, to the same one again every 0.1 s.",
        "{emfile_server[server_cpu]:.1%} of a processor in the server, {emfile_server[distributor_cpu]:.1%} in the"
        " Distributor",
        tests=("test_shortage.py::test_a_server_that_runs_out_of_descriptors_neither_spins_nor_makes_anybody_spin",),
        lines=("server … refuses clients: it is out of descriptors, or listens no more",),
    ),
    Abuse(
        "in flight",
        "As a user without privileges: too many descriptors in flight (ETOOMANYREFS)",
        "The kernel counts what all processes of the user have sent and nobody has received, and lets none send who"
        " has a lower limit of descriptors. Newcomers are delayed until there is room; clients that are served notice"
        " nothing.",
        "{in_flight[distributor_cpu]:.1%} of a processor in the Distributor meanwhile",
        tests=(
            "test_shortage.py::test_too_many_descriptors_in_flight_only_delay",
            "test_shortage.py::test_a_server_that_starts_with_too_many_in_flight_waits_until_it_can_bind",
        ),
        lines=("the kernel lets no descriptor be passed on (ETOOMANYREFS): tried again until it does",),
    ),
    Abuse(
        "crash loop",
        "A flood of clients while all servers die as soon as they are started",
        "Clients wait, in the list to its bound, then in the backlog; none is refused. They do not hasten the restarts:"
        " the back-off is per server, x1.5 up to `backoff_cap`. When the servers work again all who stayed are served.",
        "{crash_loop[starts]} starts in all while 300 wait and 500 more vanish; {crash_loop[distributor_cpu]:.1%} of a"
        " processor in the Distributor, {crash_loop[monitor_cpu]:.1%} in the Monitor",
        lines=("dies again and again before it is ready",),
        tests=(
            "test_time.py::test_a_flood_does_not_hasten_a_crash_loop",
            "test_time.py::test_a_crash_loop_without_back_off_is_noticed",
        ),
    ),
    Abuse(
        "full disk",
        "A full disk under the trace and the logs",
        "The trace of each process ends, once and for all, since one with a gap would look like a wrong step; what is"
        " there replays, but for a last line that is cut short. Lines of the log are lost until there is room again."
        " Nothing else changes: servers are restarted, clients served. (A program that cannot write its own output"
        " does what it would do anyway.)",
        "each process says it once, and goes on as before",
        lines=("the trace ends here, it cannot be written: …",),
        tests=(
            "test_shortage.py::test_a_full_disk_ends_the_trace_and_nothing_else",
            "test_shortage.py::test_a_full_disk_under_the_logs_as_well_stops_nothing",
        ),
    ),
    Abuse(
        "clock",
        "A clock that jumps",
        "Only monotonic clocks decide, and no process compares its own with another's. `maitred status` shows since"
        " when a client waits by the clock on the wall: there a jump is seen, and nowhere else. (While the machine"
        " sleeps, the monotonic clock stands still, and so do all timers.)",
        "none: the tests ask whether timers of a second ring, and those of minutes do not",
        tests=(
            "test_time.py::test_a_wall_clock_that_jumps_changes_nothing",
            "test_time.py::test_timers_by_the_clock_on_the_wall_would_be_noticed",
            "test_time.py::test_a_monotonic_clock_of_its_own_changes_nothing",
            "test_time.py::test_only_times_shown_to_people_come_from_the_wall_clock",
        ),
        silence="nothing happens",
    ),
)
BY_KEY = {abuse.key: abuse for abuse in ABUSES}


def says(instance, key):
    """Wait until the log of the instance has the lines of this abuse."""
    for line in BY_KEY[key].lines:
        instance.wait_log(re.escape(line).replace("…", ".*"))
