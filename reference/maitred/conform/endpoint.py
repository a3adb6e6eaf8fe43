"""The cases for an endpoint: all that reality may do to an Application Server, and what must come of it.

Each case starts the program afresh.  The order is that of need: who writes an endpoint makes the first ones pass first.
"""

from __future__ import annotations

import errno
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

from maitred.conform.bench import CONTROL, QUIET, Bench, Server, Visitor
from maitred.conform.cases import Collection, Failed, Skipped
from maitred.conform.follower import show
from maitred.core import wire
from maitred.core.messages import (
    BIND_YOURSELF,
    Accepted,
    Acknowledge,
    Begin,
    BindReply,
    Client,
    Count,
    Disconnect,
    FromServer,
    HandOff,
    InitialMsg,
    NotReady,
    Port,
    Refused,
    RestartReply,
)

ENDPOINT: Final[Collection[Bench]] = Collection()
case = ENDPOINT.case

FILL: Final = 2000
"""So many answers fill every dialog."""
SLOW: Final = 0.1
"""Seconds after which a program that has not read is taken for one that will not."""

# ================================================================ start


@case("SERVER-no-listen", "OWN-3.5a", "OWN-3.4a")
def the_program_asks_for_its_port(bench: Bench) -> None:
    """A program that is started asks for its port, is sent InitialMsg, and answers it once it listens; it does not
    listen itself.
    """
    server = bench.ready()
    if server.listens_itself(server.port):
        raise Failed(
            f"the program has no listening TCP socket on port {server.port}",
            "by the kernel's account it has one",
            ("SERVER-no-listen",),
        )


@case("OWN-BIND-again", "SERVER-no-listen")
def an_unanswered_request_is_sent_again(bench: Bench) -> None:
    """A Distributor that dies has perhaps read a request to bind, and not answered it: the program asks again."""
    server = bench.start(answer=None)
    server.asks_for_port()
    server.until(lambda: len(server.requests) > 1, "BindRequest once more, since the first was not answered")
    server.answer = 0
    server.becomes_ready()
    server.seat().is_served()


@case("OWN-BIND-in-use")
def a_port_in_use_is_not_listened_on(bench: Bench) -> None:
    """Where the Distributor cannot bind the port, the program is given the error, and does not listen."""
    server = bench.start(answer=errno.EADDRINUSE)
    server.asks_for_port()
    server.says_nothing()
    if server.listens_itself(server.requests[0].port):
        raise Failed("the program does not listen, as the port is in use", "it listens on the port by itself")


@case("OWN-BIND-other")
def a_port_of_its_own_is_bound_by_the_program(bench: Bench) -> None:
    """A port that is none of the server class is left to the program, which then listens there itself."""
    server = bench.start(answer=None)
    server.asks_for_port()
    port = server.requests[0].port
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError as error:
            raise Skipped(f"port {port} cannot be bound on this machine: {error.strerror}") from None
    server.answer = BIND_YOURSELF
    server.send_control(BindReply(port, BIND_YOURSELF))
    server.until(
        lambda: server.listens_itself(port) or server.has_ended(), f"the program listens on port {port} itself"
    )
    if server.has_ended():
        raise Skipped("the program ends where a port is not its class's, as it may")


# ================================================================ one client


@case("SERVER-reply", "OWN-3.2f", "OWN-3.3i")
def a_client_is_accepted_before_it_is_served(bench: Bench) -> None:
    """The answer to a hand-off is in the socket before the client gets a byte."""
    server = bench.ready()
    visitor = bench.client(server.port)
    visitor.say()
    server.hand_off(visitor)
    if not visitor.has_answer(bench.settings.patience):
        raise Failed(f"client {visitor.who.arrival} is served", "not a byte in time", ("FIG4-direct",))
    if server.read_one(server.port) is None:
        raise Failed("Accepted in the dialog before the client gets a byte", "the client's answer first")


@case("SERVER-phase-two", "FIG4-direct")
def a_client_is_served_over_its_own_connection(bench: Bench) -> None:
    """Client and server are alone with each other after the answer, when the Distributor's copy is closed."""
    server = bench.ready()
    server.seat().is_served()


@case("SERVER-disconnect", "OWN-3.3h", "OWN-3.3f")
def a_client_that_leaves_is_reported(bench: Bench) -> None:
    """Once the connection is closed the server says so, with its count, and holds the connection no more."""
    server = bench.ready()
    visitor = server.seat()
    server.agrees_with_kernel()
    visitor.leave()
    server.expect(Disconnect, visitor)
    server.agrees_with_kernel()


@case("SERVER-until-done")
def a_client_that_is_reset_is_reported(bench: Bench) -> None:
    """A connection that ends with a reset is reported as any other."""
    server = bench.ready()
    visitor = server.seat()
    visitor.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    visitor.leave()
    server.expect(Disconnect, visitor)
    server.agrees_with_kernel()


@case("OWN-3.3h")
def a_client_that_has_left_already_is_taken_and_reported(bench: Bench) -> None:
    """A client may be gone before the server reads the hand-off: it is answered all the same, and then reported."""
    server = bench.ready()
    visitor = bench.client(server.port)
    visitor.leave()
    server.hand_off(visitor)
    server.expect(Accepted, visitor)
    visitor.let_go()
    server.expect(Disconnect, visitor)
    server.agrees_with_kernel()


# ================================================================ several clients


@case("OWN-3.3a", "OWN-3.3f")
def counts_are_absolute(bench: Bench) -> None:
    """With each client that comes or goes, the count is the number of clients there are."""
    server = bench.ready()
    seated = [server.seat() for _ in range(bench.settings.clients)]
    server.agrees_with_kernel()
    for visitor in (*seated[1:], seated[0]):
        visitor.leave()
        server.expect(Disconnect, visitor)
    server.agrees_with_kernel()


@case("OWN-3.3a", "FIG4-until-disconnect")
def many_clients_leave_nothing_behind(bench: Bench) -> None:
    """After many clients the program has no more descriptors than before."""
    server = bench.ready()

    def visit() -> None:
        visitor = server.seat()
        visitor.leave()
        server.expect(Disconnect, visitor)

    visit()
    before = server.descriptors()
    for _ in range(20):
        visit()
    after = server.descriptors()
    if after > before + 5:
        raise Failed(f"some {before} descriptors, as before 20 clients came and left", f"{after}", ("OWN-3.3h",))
    server.agrees_with_kernel()


# ================================================================ refusals


@case("OWN-3.2e")
def a_client_without_its_descriptor_is_refused(bench: Bench) -> None:
    """A hand-off whose descriptor is lost on the way is refused, and not counted; offered again, it is taken."""
    server = bench.ready()
    kept = server.seat()
    visitor = server.hand_off(lost=True)
    server.expect(Refused, visitor)
    server.hand_off(visitor)
    server.expect(Accepted, visitor)
    visitor.let_go()
    visitor.is_served()
    kept.is_served()


@case("OWN-3.2e")
def without_a_free_descriptor_clients_are_refused(bench: Bench) -> None:
    """A program that has no descriptor left (EMFILE, MSG_CTRUNC) refuses, keeps its clients, takes new ones later."""
    server = bench.ready()
    kept = server.seat()
    limits = server.testee.allow_no_descriptor()
    visitor = server.hand_off()
    server.expect(Refused, visitor)
    server.testee.allow(limits)
    server.hand_off(visitor)
    server.expect(Accepted, visitor)
    visitor.let_go()
    visitor.is_served()
    kept.is_served()


# ================================================================ the Distributor restarts


@case("FIG9-InitialMsg", "FIG9-RestartReply", "FIG9-update", "FIG9-operate")
def a_new_distributor_is_answered(bench: Bench) -> None:
    """InitialMsg of a new Distributor is answered with its incarnation and the count; clients notice nothing."""
    server = bench.ready()
    visitor = server.seat()
    for _ in range(3):
        server.restarts()
        server.answers_initial_msg(RestartReply)
    server.agrees_with_kernel()
    visitor.is_served()


@case("OWN-3.5g", "OWN-3.5h", "OWN-3.6h")
def what_an_earlier_distributor_has_sent_is_answered_first(bench: Bench) -> None:
    """A hand-off of a Distributor that has died is answered before the InitialMsg of the next."""
    server = bench.ready()
    server.testee.pause()
    visitor = server.hand_off()
    server.restarts()
    server.testee.go_on()
    server.expect(Accepted, visitor)
    server.answers_initial_msg(RestartReply)
    visitor.let_go()
    visitor.is_served()


@case("FIG9-RestartReply", "OWN-3.5f")
def many_restarts_at_once_are_answered_in_order(bench: Bench) -> None:
    """Several Distributors in a row have asked before the server reads: the last is answered, and none after it."""
    server = bench.ready()
    visitor = server.seat()
    server.testee.pause()
    for _ in range(10):
        server.restarts()
    server.testee.go_on()
    newest = 0
    while newest != server.incarnation:
        message = server.expect(RestartReply)
        if message.incarnation <= newest:
            raise Failed(f"RestartReply for an incarnation above {newest}", show(message))
        newest = message.incarnation
    server.says_nothing()
    visitor.is_served()


@case("OWN-3.5i", "OWN-3.10a", "OWN-3.3f")
def a_distributor_that_is_away_for_long_finds_the_count(bench: Bench) -> None:
    """While nobody reads its dialogs a server goes on; whoever comes back finds what has happened, and the count."""
    server = bench.ready()
    seated = [server.seat() for _ in range(bench.settings.clients)]
    waits = server.hand_off()
    seated[0].leave()
    time.sleep(bench.settings.away)
    seated[1].is_served()
    server.restarts()
    came = _read_until(server, server.port, _answers(server), f"RestartReply for incarnation {server.incarnation}")
    if not any(map(_accepts(waits), came)):
        raise Failed(f"Accepted of client {waits.who.arrival}", ", ".join(map(show, came)), ("OWN-3.6h",))
    waits.let_go()
    server.agrees_with_kernel()


@case("OWN-3.3i", "OWN-3.3k")
def a_full_dialog_delivers_nobody(bench: Bench) -> None:
    """While a dialog is full, nobody is delivered whose answer is not in the socket; what is read later is exact."""
    server = bench.ready()
    visitor = bench.client(server.port)
    visitor.say()
    _fill(server)
    server.hand_off(visitor)
    if visitor.has_answer(QUIET) and not any(map(_accepts(visitor), server.take(server.port))):
        raise Failed("Accepted in the dialog before the client gets a byte", "the client's answer first")
    if server.follower.is_asked(visitor.who):
        _read_until(server, server.port, _accepts(visitor), f"Accepted of client {visitor.who.arrival}")
    visitor.let_go()
    _settle(server)
    if not visitor.has_answer(bench.settings.patience):
        raise Failed(f"client {visitor.who.arrival} is served once its answer is read", "not a byte in time")


@case("OWN-3.3k", "OWN-3.3f")
def clients_that_leave_while_a_dialog_is_full_are_not_counted(bench: Bench) -> None:
    """What there is no room for is said later, superseded by what makes it out of date; then the count is exact."""
    server = bench.ready()
    seated = [server.seat() for _ in range(bench.settings.clients)]
    _fill(server)
    for visitor in seated:
        visitor.leave()
    _settle(server)
    server.seat().is_served()


@case("OWN-3.3g")
def what_the_audit_finds_gone_is_forgotten(bench: Bench) -> None:
    """InitialMsg names connections that are not to be counted: each of them is not, and nobody else is forgotten."""
    server = bench.ready()
    seated = [server.seat() for _ in range(max(3, bench.settings.clients))]
    server.ask(forget=[Client(1 << 40, 1 << 41, server.port)])
    server.answers_initial_msg(RestartReply)
    gone = seated[:2]
    server.ask(forget=[visitor.who for visitor in gone])
    server.answers_initial_msg(RestartReply)
    for visitor in gone:
        visitor.leave()
    server.says_nothing(requirements=("OWN-3.3g",))
    for visitor in seated[2:]:
        visitor.leave()
        server.expect(Disconnect, visitor)


# ================================================================ what does not belong there


@case("SERVER-acknowledge", "OWN-3.5c")
def acknowledgements_change_nothing(bench: Bench) -> None:
    """That an acknowledgement comes not at all, twice, or for a number that was never used, changes nothing."""
    server = bench.ready()
    server.acknowledges = False
    for number in (0, 1 << 50, 1, 1):
        visitor = server.seat()
        visitor.leave()
        server.expect(Disconnect, visitor)
        server.send_control(Acknowledge(number))
    server.ask()
    server.answers_initial_msg(RestartReply)
    server.agrees_with_kernel()


@case("OWN-BIND-again")
def a_reply_that_nobody_asked_for_changes_nothing(bench: Bench) -> None:
    """A second answer to a request, and one for a port that was not asked for, are dropped."""
    server = bench.ready()
    server.send_control(BindReply(server.port, errno.EADDRINUSE))
    server.send_control(BindReply(1, 0))
    server.seat().is_served()


@case("FIG13-separate", "OWN-3.5a")
def a_client_of_another_port_is_not_taken(bench: Bench) -> None:
    """A hand-off that names another port than that of its dialog is not accepted: it is refused, or dropped."""
    server = bench.ready()
    port = server.port
    stray = bench.client(port % 65_535 + 1)
    server.hand_off(stray, port)
    server.follower.leave_out(port, stray.who)
    server.pump(QUIET)
    server.take(port)
    stray.let_go()
    server.ask()
    server.answers_initial_msg(RestartReply)
    server.agrees_with_kernel()
    server.seat().is_served()


@case("MSG-server_process_message", "OWN-3.5c")
def what_is_no_message_is_passed_over(bench: Bench) -> None:
    """Packets that are no message, or that only others are sent, are answered by nothing and change nothing."""
    server = bench.ready()
    kept = server.seat()
    hand_off = wire.encode(HandOff(Client(99, 99, server.port)))
    strays = (
        b"\xff",
        bytes([2]),
        hand_off[:-1],
        hand_off + b"\0",
        wire.encode(InitialMsg(7))[:-1] + b"\5",
        wire.encode(Begin()),
        wire.encode(Accepted(Client(99, 99, server.port), Count(1, 1))),
        b"\x01" * 20_000,
    )
    for packet in strays:
        server.send_bytes(server.port, packet)
        server.send_bytes(CONTROL, packet)
    server.says_nothing()
    server.ask()
    server.answers_initial_msg(RestartReply)
    kept.is_served()
    server.seat().is_served()


# ================================================================ the program's listener


@case("OWN-3.4a", directed=True)
def before_it_listens_a_program_is_not_ready(bench: Bench) -> None:
    """A port that is bound and not listened on answers NotReady, and RestartReply as soon as the program listens."""
    server, director, port = _second_port(bench)
    server.answers_initial_msg(NotReady, port)
    server.restarts()
    server.answers_initial_msg(RestartReply)
    server.answers_initial_msg(NotReady, port)
    director.obeys(f"listen {port}", "listening")
    server.answers_initial_msg(RestartReply, port)
    server.says_nothing()
    server.seat(port).is_served()


@case("OWN-3.2e", "OWN-3.4a", directed=True)
def before_it_listens_a_program_refuses(bench: Bench) -> None:
    """A client that is handed to a port that is not listened on is refused, and let go."""
    server, director, port = _second_port(bench)
    server.answers_initial_msg(NotReady, port)
    visitor = server.hand_off(port=port)
    server.seat()  # its client has the program look at all its dialogs
    server.expect(Refused, visitor, port=port)
    visitor.let_go()
    server.agrees_with_kernel()
    director.obeys(f"listen {port}", "listening")
    server.answers_initial_msg(RestartReply, port)


@case("OWN-3.4b", "OWN-3.4c", "OWN-3.4d", "OWN-3.4e", directed=True)
def a_closed_listener_refuses_and_says_so(bench: Bench) -> None:
    """A listener that closes says NotReady; what comes then is refused; one that is opened again is ready again."""
    server = bench.ready()
    director = server.seat()
    port = server.port
    for _ in range(2):
        server.acknowledges = False
        director.say(f"close {port}\n".encode())
        closed = server.expect(NotReady)
        if closed.incarnation:
            raise Failed("NotReady that answers nothing (incarnation 0)", show(closed), ("OWN-3.4c",))
        visitor = server.hand_off()  # it was under way when the listener closed
        server.ask()
        server.send_control(Acknowledge(closed.count.sequence))
        server.expect(Refused, visitor)
        server.answers_initial_msg(NotReady)
        director.answers("closed")
        visitor.let_go()
        server.agrees_with_kernel()
        director.obeys(f"listen {port}", "listening")
        server.answers_initial_msg(RestartReply)
        server.seat().is_served()


@case("OWN-3.4c", "FIG4-until-disconnect", directed=True)
def clients_stay_when_the_listener_closes(bench: Bench) -> None:
    """Whoever is served goes on being served, and counted, after the listener has closed."""
    server = bench.ready()
    director, other = server.seat(), server.seat()
    director.say(f"close {server.port}\n".encode())
    server.expect(NotReady)
    director.answers("closed")
    other.is_served()
    server.agrees_with_kernel()
    other.leave()
    server.expect(Disconnect, other)


@case("OWN-3.4a", directed=True)
def an_answer_is_given_once(bench: Bench) -> None:
    """A listener that is opened twice, closed and opened again owes nothing to a Distributor that was answered."""
    server, director, port = _second_port(bench)
    server.answers_initial_msg(NotReady, port)
    director.obeys(f"listen {port}", "listening")
    server.answers_initial_msg(RestartReply, port)
    director.obeys(f"listen {port}", "listening")
    server.says_nothing(requirements=("OWN-3.4a",))
    director.say(f"close {port}\n".encode())
    server.expect(NotReady, port=port)
    director.answers("closed")
    director.obeys(f"listen {port}", "listening")
    server.says_nothing(requirements=("OWN-3.4a",))
    server.seat(port).is_served()


@case("OWN-3.5a", "OWN-3.3a", "OWN-3.4c", directed=True)
def two_ports_have_one_count(bench: Bench) -> None:
    """A program with two ports has a dialog for each and one count for both; the one closes without the other."""
    server, director, port = _second_port(bench)
    first = server.port
    server.answers_initial_msg(NotReady, port)
    director.obeys(f"listen {first}", "listening")  # once more
    server.restarts()
    server.answers_initial_msg(RestartReply, first)
    server.answers_initial_msg(NotReady, port)
    director.obeys(f"listen {port}", "listening")
    server.answers_initial_msg(RestartReply, port)
    seated = [server.seat(each) for each in (first, port, first)]
    director.say(f"close {port}\n".encode())
    server.expect(NotReady, port=port)
    director.answers("closed")
    for visitor in seated:
        visitor.is_served()
        visitor.leave()
        server.expect(Disconnect, visitor)
    server.seat(first).is_served()
    server.agrees_with_kernel()


@case("OWN-BIND-given", "OWN-3.5a", directed=True)
def a_second_bind_of_the_port_leaves_its_listener(bench: Bench) -> None:
    """A program that binds a further address of its port goes on listening, on the dialog that it has."""
    server = bench.ready()
    director = server.seat()
    before = len(server.requests)
    director.say(f"bind {server.port}\n".encode())
    server.until(lambda: len(server.requests) > before, "BindRequest for the further address")
    director.answers("bound")
    server.seat().is_served()
    server.restarts()
    server.answers_initial_msg(RestartReply)


@case("OWN-3.3k", "OWN-3.4a", directed=True)
def a_full_dialog_does_not_hold_up_another_port(bench: Bench) -> None:
    """Where the dialog of one port is full, what is to be said on another is said."""
    server, director, port = _second_port(bench)
    first = server.port
    server.answers_initial_msg(NotReady, port)
    director.obeys(f"listen {port}", "listening")
    server.answers_initial_msg(RestartReply, port)
    _fill(server, first)
    visitor = server.hand_off(port=port)
    server.expect(Accepted, visitor, port=port, alone=True)
    visitor.let_go()
    visitor.is_served()
    server.incarnation += 1
    server.ask(port)
    server.answers_initial_msg(RestartReply, port, alone=True)
    _settle(server, first)


# ================================================================ the end


@case("OWN-3.2d", "OWN-3.5b", "OWN-3.5d")
def a_client_of_a_server_that_is_killed_goes_to_another(bench: Bench) -> None:
    """With a killed server its dialogs end; a client that it had not answered for is served elsewhere."""
    server, other = bench.ready(), bench.ready()
    server.testee.pause()
    visitor = server.hand_off()
    server.dies()
    other.hand_off(visitor)
    other.expect(Accepted, visitor)
    visitor.let_go()
    visitor.is_served()


@case("OWN-3.5d", "OWN-3.2i")
def what_was_sent_before_a_death_can_be_read(bench: Bench) -> None:
    """What a server has answered before it was killed is there to be read, then the end."""
    server = bench.ready()
    visitor = server.hand_off()
    visitor.say()
    visitor.has_answer(bench.settings.patience)
    server.dies()
    server.expect(Accepted, visitor)


@case("OWN-3.11d", "OWN-STOP-signal")
def a_program_that_is_asked_to_end_ends(bench: Bench) -> None:
    """SIGTERM ends a program without clients, and with it its channels."""
    server = bench.ready()
    server.testee.signal(signal.SIGTERM)
    if not server.testee.has_ended_within(bench.settings.patience):
        raise Failed("the program ends after SIGTERM", f"it runs after {bench.settings.patience:g} s")
    server.until_ended(("OWN-3.5d",))


# ================================================================ parts of cases


def _second_port(bench: Bench) -> tuple[Server, Visitor, int]:
    """A server that has bound a second port and does not listen there, and the client that has it do things."""
    server = bench.ready()
    director = server.seat()
    port = server.port % 65_535 + 1
    director.say(f"bind {port}\n".encode())
    server.until(lambda: port in server.dialogs, f"BindRequest of port {port}", ("OWN-3.5a",))
    director.answers("bound")
    return server, director, port


def _accepts(visitor: Visitor) -> Callable[[FromServer], bool]:
    """Whether a message is the `Accepted` of the client."""
    return lambda message: isinstance(message, Accepted) and message.client == visitor.who


def _answers(server: Server) -> Callable[[FromServer], bool]:
    """Whether a message answers the Distributor that is now."""
    return lambda message: isinstance(message, RestartReply) and message.incarnation == server.incarnation


def _read_until(server: Server, port: Port, wanted: Callable[[FromServer], bool], what: str) -> list[FromServer]:
    """Read what comes on the port until the wanted message has come; all of it."""
    came: list[FromServer] = []

    def has_come() -> bool:
        came.extend(server.take(port))
        return any(map(wanted, came))

    server.until(has_come, what)
    return came


def _fill(server: Server, port: Port | None = None) -> None:
    """Have the program answer, and read nothing, until it reads no more since its answers have no room.

    Raises:
        Failed: it goes on reading.
    """
    chosen = port or server.port
    for _ in range(FILL):
        server.incarnation += 1
        server.ask(chosen)
        if not server.is_read_within(chosen, SLOW):
            break
    else:
        raise Failed(
            "a program that reads no more where its answers have no room",
            f"one that has read {FILL} messages whose answers nobody reads",
            ("OWN-3.3i",),
        )
    server.follower.lenient = True


def _settle(server: Server, port: Port | None = None) -> None:
    """Read all that a full dialog holds, and have the program say how many clients it has.

    Raises:
        Failed: that is not the number of connections that it holds by the kernel's account.
    """
    chosen = port or server.port
    deadline = time.monotonic() + server.bench.settings.patience
    while True:
        server.incarnation += 1
        server.ask(chosen)
        what = f"RestartReply for incarnation {server.incarnation}"
        count = _read_until(server, chosen, _answers(server), what)[-1].count.clients
        kept = server.kept_by_kernel()
        if count == len(kept):
            server.follower.settle(kept)
            return
        if time.monotonic() > deadline:
            came = f"a count of {count}, while it holds {len(kept)} by the kernel's account"
            raise Failed("a count of all clients, once the dialog is read", came, ("OWN-3.3f",))
        time.sleep(0.02)
