"""What the transition relation speaks of: sorts, and every part of the state, with what it is in the code.

Servers, clients, ports, places and processing elements are of any number.  A `Server` is one incarnation: what is
started again is another.  A channel is a history: a function from positions (or, towards the Distributor, from the
server's own sequence numbers) to messages, of which a part is still unread.  *Ghosts* are remembered for proofs alone.
"""

from typing import Any, Final

import z3
from spec.relation.language import View, Vocabulary

Server: Final = z3.DeclareSort("Server")
Client: Final = z3.DeclareSort("Client")
Port: Final = z3.DeclareSort("Port")
Place: Final = z3.DeclareSort("Place")
Element: Final = z3.DeclareSort("Element")
Int: Final = z3.IntSort()
Bool: Final = z3.BoolSort()

Downward, (HAND_OFF, INITIAL) = z3.EnumSort("Downward", ["HandOff", "InitialMsg"])
Upward, (ACCEPTED, REFUSED, DISCONNECT, RESTART_REPLY, NOT_READY) = z3.EnumSort(
    "Upward", ["Accepted", "Refused", "Disconnect", "RestartReply", "NotReady"]
)
Word, (STORE, RELEASE, KEEP_DIALOG, SERVER_READY, SERVER_NOT_READY, DRAINED, UNRESPONSIVE, CREATE, OTHER) = z3.EnumSort(
    "Word",
    [
        "Store",
        "Release",
        "KeepDialog",
        "ServerReady",
        "ServerNotReady",
        "Drained",
        "Unresponsive",
        "CreateServer",
        "KeepListener",
    ],
)
Phase, (STARTING, READY, STOPPING, KILLING) = z3.EnumSort("Phase", ["starting", "ready", "stopping", "killing"])
Life, (UP, DEAD, ABSENT) = z3.EnumSort("Life", ["up", "dead", "absent"])
Creation, (NONE, DELAYED, REQUESTED) = z3.EnumSort("Creation", ["none", "delayed", "requested"])

STATE: Final = Vocabulary()
_is = STATE.declare

# ---------------------------------------------------------------- what never changes

_is("port_of", Client, Port, rigid=True, meaning="the port that the client connects to")
_is("max_clients", Server, Int, rigid=True, meaning="how many clients the server serves at a time")
_is("weight", Server, Int, rigid=True, meaning="of its processing element")
_is("place_of", Server, Place, rigid=True, meaning="the place that it fills while it lives")
_is("element_of", Server, Element, rigid=True, meaning="where it runs")
_is("dynamic", Place, Bool, rigid=True, meaning="a place for a dynamic server")
_is("limit", Int, rigid=True, meaning="how many clients may wait")
_is("lighter", Int, Int, Int, Int, Bool, rigid=True, meaning="load n of weight w is less than load m of weight v")
_is("reordering", Bool, rigid=True, meaning="a server's messages may overtake one another")
_is(
    "full", Server, Port, Bool, rigid=True, meaning="the dialog has no room, at the moment, for a message of the server"
)

# ---------------------------------------------------------------- clients

_is("absent", Client, Bool, meaning="has not come yet")
_is("backlog", Client, Bool, meaning="connected; waits in the kernel to be accepted")
_is("came", Client, Int, meaning="its turn in the backlog")
_is("next_came", Int, meaning="the next turn")
_is("closed", Client, Bool, meaning="has closed its side")
_is("accepted", Client, Bool, meaning="has been accepted by a Distributor")
_is("over", Client, Bool, meaning="has ended: left, dropped, or lost at one of the instants that are named")
_is("shut", Client, Bool, meaning="was shut down by the Distributor")
_is("taken", Client, Bool, ghost=True, meaning="a program has been given it")
_is("taken_twice", Client, Bool, ghost=True, meaning="programs have been given it twice")

# ---------------------------------------------------------------- the Distributor

_is("life", Life, meaning="the Distributor's process")
_is("condemned", Bool, meaning="the Distributor is being killed")
_is("incarnation", Int, meaning="which Distributor it is")
_is("operating", Bool, meaning="Begin has been read; before, the Distributor is initialising")
_is("row", Server, Bool, meaning="the server is in the table")
_is("attached", Server, Bool, meaning="its control socket is open")
_is("draining", Server, Bool, meaning="it is sent no more clients")
_is("resting", Server, Bool, meaning="it refused a client a moment ago")
_is("heard", Server, Bool, meaning="it has sent something to this Distributor")
_is("known", Server, Bool, meaning="its count is not older than this Distributor")
_is("said_drained", Server, Bool, meaning="it has been reported to the Monitor as drained")
_is("rank", Server, Int, meaning="when it was last chosen, or joined")
_is("next_rank", Int, meaning="the next choice's rank")
_is("count", Server, Int, meaning="its clients, as last reported")
_is("count_sequence", Server, Int, meaning="the sequence number of that count; -1: none received")
_is("requested", Server, Bool, meaning="a hand-off to it is unanswered")
_is("request", Server, Client, meaning="whose hand-off that is")
_is("unsent", Server, Client, Bool, meaning="the kernel declined such a hand-off; the Distributor has yet to notice")
_is("dialog", Server, Port, Bool, meaning="there is a dialog with the server on the port")
_is("binding", Server, Port, Bool, meaning="of which the bind is still unanswered")
_is("ready", Server, Port, Bool, meaning="which takes hand-offs")
_is("dialog_sequence", Server, Port, Int, meaning="of the last RestartReply or NotReady applied on it")
_is("owed", Server, Port, Bool, meaning="in which a former Distributor's hand-off may be unread")
_is("initial_due", Server, Port, Bool, meaning="InitialMsg is about to be sent on it, in this very step")
_is("waiting", Client, Bool, meaning="is on the waiting list")
_is("arrival", Client, Int, meaning="its turn there")
_is("next_arrival", Int, meaning="the next turn")
_is("total", Int, meaning="how many wait")
_is("holding", Bool, meaning="a client is in hand, to be stored or sent in this very step")
_is("hand", Client, meaning="that client")
_is("dropping", Bool, meaning="a client has been shut down, and is to be released in this very step")
_is("dropped", Client, meaning="that client")
_is("accepting", Port, Bool, meaning="an accept is outstanding")
_is("pausing", Port, Bool, meaning="the last accept failed")
_is("opened", Port, Bool, meaning="some server has answered on the port since this Distributor began")
_is("listens", Port, Bool, meaning="the Distributor knows that its socket listens")
_is("creation", Creation, meaning="whether a dynamic server is being asked for")
_is("promised", Int, meaning="the seats of the dynamic servers that come up")
_is("allowance", Int, meaning="how many dynamic servers the class may have, as the Distributor has last read")

# ---------------------------------------------------------------- the kernel

_is("socket", Port, Bool, meaning="the port's socket listens")
_is("unkept", Port, Bool, meaning="no duplicate of the socket is kept, nor on its way to the Monitor")
_is("down_kind", Server, Port, Int, Downward, meaning="the messages on a dialog, towards the server")
_is("down_client", Server, Port, Int, Client, meaning="whose hand-off")
_is("down_incarnation", Server, Port, Int, Int, meaning="whose InitialMsg")
_is("down_head", Server, Port, Int, meaning="the first unread")
_is("down_tail", Server, Port, Int, meaning="where the next goes")
_is("up_kind", Server, Int, Upward, meaning="the messages of a server, by its sequence number")
_is("up_port", Server, Int, Port, meaning="on which dialog")
_is("up_client", Server, Int, Client, meaning="about whom")
_is("up_count", Server, Int, Int, meaning="how many clients it had then")
_is("up_incarnation", Server, Int, Int, meaning="which Distributor a RestartReply or NotReady echoes; 0: none")
_is("up_sent", Server, Int, Bool, meaning="it is in the dialog; before, it is in the server's outbox")
_is("up_read", Server, Int, Bool, meaning="the Distributor has read it, or it will never be sent")
_is("word_kind", Int, Word, meaning="the messages from the Distributor to the Monitor")
_is("word_client", Int, Client, meaning="about whom")
_is("word_server", Int, Server, meaning="about which server")
_is("word_port", Int, Port, meaning="and its dialog on which port")
_is("word_head", Int, meaning="the first unread")
_is("word_tail", Int, meaning="where the next goes")

# ---------------------------------------------------------------- servers

_is("born", Server, Bool, meaning="has been started")
_is("main", Server, Bool, meaning="its main process lives")
_is("child", Server, Bool, meaning="a forked child has outlived the main process")
_is("doomed", Server, Bool, meaning="is being killed, with all its processes")
_is("asked_to_end", Server, Bool, meaning="was sent SIGTERM")
_is("serving", Server, Client, Bool, meaning="it counts the client")
_is("lapsed", Server, Client, Bool, meaning="although no process of it holds the connection")
_is("clients", Server, Int, meaning="how many it counts")
_is("undelivered", Server, Client, Bool, meaning="although its program does not have the client yet")
_is("sequence", Server, Int, meaning="of its last message")
_is("sending", Server, Bool, meaning="a process of it holds the lock, and sends what is in the outbox")
_is("unnoted", Server, Int, meaning="which of it is in the dialog, though the server does not know that yet; 0: none")
_is("broken", Server, Bool, meaning="a process of it has died holding the lock, and no other has noticed")
_is("broken_at", Server, Int, meaning="the message that it was sending then; 0: it was reading")
_is("broken_port", Server, Port, meaning="and on which dialog")
_is("listening", Server, Port, Bool, meaning="its program listens")
_is("bound", Server, Port, Bool, meaning="its program has bound; the dialog stands in for the socket")
_is("owes", Server, Port, Int, meaning="which Distributor's InitialMsg it will answer once it listens; 0: none")

# ---------------------------------------------------------------- the Monitor

_is("store", Client, Bool, meaning="the client's connection is kept")
_is("kept", Server, Port, Bool, meaning="the dialog is kept")
_is("used", Server, Port, Bool, meaning="and a hand-off may be unread in it")
_is("living", Server, Bool, meaning="fills its place")
_is("filled", Place, Bool, meaning="some server fills the place")
_is("phase", Server, Phase, meaning="what becomes of it")
_is("reported", Server, Bool, meaning="its main process's end has been noticed")
_is("died_unready", Server, Bool, meaning="which came before it was ever ready")
_is("dynamic_resting", Bool, meaning="no dynamic server is started for a while")
_is("configured", Int, meaning="how many dynamic servers the class may have")
_is("leaving", Server, Bool, meaning="the operator wants it to leave, or it has been replaced")
_is("limited", Server, Bool, meaning="within a grace, after which it is asked to end though it has clients")
_is("succeeds", Server, Bool, meaning="it is to replace another, and has not been ready")
_is("usable", Element, Bool, meaning="the processing element is up")
_is("distributor_element", Element, meaning="where the Distributor runs, or did last")
_is("to_adopt", Server, Bool, meaning="the Distributor is yet to read that it lives")
_is("late", Server, Bool, meaning="which was sent after Begin")
_is("adopt_draining", Server, Bool, meaning="and reports that it ends")
_is("drain_due", Server, Bool, meaning="the Distributor is yet to read that it is to leave")
_is("adopt_kept", Server, Port, Bool, meaning="and names its dialogs")
_is("adopt_used", Server, Port, Bool, meaning="in which a hand-off may be unread")
_is("to_restore", Client, Bool, meaning="the Distributor is yet to read that the client waits")
_is("begin_due", Bool, meaning="the Distributor is yet to read Begin")
_is("decline_due", Bool, meaning="the Distributor is yet to read that no dynamic server will come")

# ---------------------------------------------------------------- ghosts

_is(
    "effective",
    Client,
    Bool,
    ghost=True,
    meaning="in the store, once the Distributor's channel has been read to the end",
)
_is("last_word", Client, Int, ghost=True, meaning="the last Store or Release of the client; -1: none")
_is(
    "kept_effective",
    Server,
    Port,
    Bool,
    ghost=True,
    meaning="kept, once the Distributor's channel has been read to the end",
)
_is(
    "used_effective",
    Server,
    Port,
    Bool,
    ghost=True,
    meaning="used, once the Distributor's channel has been read to the end",
)
_is("last_dialog_word", Server, Port, Int, ghost=True, meaning="the last word on the dialog; -1: none")
_is("last_use_word", Server, Port, Int, ghost=True, meaning="the last that reports whether it is used; -1: none")
_is("last_accept", Server, Int, ghost=True, meaning="the sequence number of its last Accepted; 0: none")
_is("last_accept_port", Server, Port, ghost=True, meaning="and its port")
_is("sent_to", Client, Server, ghost=True, meaning="the server that it was last sent to")
_is("sent_at", Client, Int, ghost=True, meaning="and where on the dialog its hand-off is")
_is("claimed", Client, Bool, ghost=True, meaning="a server has reported that it takes it, or may yet do so")
_is("taken_by", Client, Server, ghost=True, meaning="that server")
_is("taken_at", Client, Int, ghost=True, meaning="the sequence number of that Accepted")
_is("lost_in", Server, Client, Bool, ghost=True, meaning="a process of the server died with its hand-off or Refused")
_is("read_at", Server, Port, Int, ghost=True, meaning="its sequence number when it last read an InitialMsg there")
_is("asked_at", Server, Port, Int, ghost=True, meaning="where the last InitialMsg is on the dialog")
_is("finished", Server, Bool, ghost=True, meaning="it was, or will be, reported to the Monitor as drained")
_is("last_drained_word", Server, Int, ghost=True, meaning="the last word that it is; -1: none")
_is("adopted_at", Server, Int, ghost=True, meaning="its sequence number when this Distributor adopted it")

NOW: Final = View(STATE)

# ---------------------------------------------------------------- what follows from the state


def alive(v: View, s: Any) -> Any:
    """Some process of the server lives, and holds its ends of the dialogs."""
    return z3.Or(v.main(s), v.child(s))


def up(v: View) -> Any:
    """There is a Distributor."""
    return v.life == UP


def unread(v: View, s: Any, p: Any, i: Any) -> Any:
    """The i-th message on the dialog is a hand-off that the server may yet read."""
    return z3.And(alive(v, s), v.down_head(s, p) <= i, i < v.down_tail(s, p), v.down_kind(s, p, i) == HAND_OFF)


def owes_any(v: View, s: Any) -> Any:
    """Some dialog of the server may hold a former Distributor's hand-off."""
    p = z3.Const("p.owed", Port)
    return z3.Exists([p], v.owed(s, p))


def free(v: View, s: Any, p: Any) -> Any:
    """`ServerStatus.free_on`."""
    return z3.And(
        v.row(s),
        v.dialog(s, p),
        v.ready(s, p),
        z3.Not(owes_any(v, s)),
        v.count(s) < v.max_clients(s),
        z3.Not(v.requested(s)),
        z3.Not(v.draining(s)),
        z3.Not(v.resting(s)),
    )


def seatable(v: View, c: Any) -> Any:
    """The client waits on a port where a server is free."""
    s = z3.Const("s.free", Server)
    return z3.And(v.operating, v.waiting(c), z3.Exists([s], free(v, s, v.port_of(c))))


def nobody_seatable(v: View) -> Any:
    """No one waits while a seat is free."""
    c = z3.Const("c.seat", Client)
    return z3.ForAll([c], z3.Not(seatable(v, c)))


def preferred(v: View, s: Any, other: Any) -> Any:
    """`Seat.__lt__`: less loaded once it has one more, or as much and chosen longer ago."""
    mine = (v.count(s) + 1, v.weight(s))
    theirs = (v.count(other) + 1, v.weight(other))
    return z3.Or(v.lighter(*mine, *theirs), z3.And(z3.Not(v.lighter(*theirs, *mine)), v.rank(s) < v.rank(other)))


def best(v: View, s: Any, p: Any) -> Any:
    """`findBestServer`: free on the port, and preferred to all others that are."""
    other = z3.Const("s.other", Server)
    others = z3.ForAll([other], z3.Implies(z3.And(free(v, other, p), other != s), preferred(v, s, other)))
    return z3.And(free(v, s, p), others)


def accept_wanted(v: View, p: Any) -> Any:
    """Rule 8 of the Distributor: an accept would be welcome, and none is outstanding."""
    may = z3.And(v.operating, v.opened(p), v.listens(p), z3.Not(v.accepting(p)), z3.Not(v.pausing(p)))
    return z3.And(may, v.total < v.limit)


def server_wanted(v: View) -> Any:
    """More wait than will soon be seated, and no dynamic server is being asked for."""
    return z3.And(v.allowance > 0, v.operating, v.total > v.promised, v.creation == NONE)


def idle(v: View, s: Any) -> Any:
    """`ServerStatus.idle`: serves nobody and is about to serve nobody, for certain."""
    quiet = z3.And(v.count(s) == 0, v.known(s), z3.Not(v.requested(s)))
    return z3.And(quiet, z3.Not(owes_any(v, s)))


def drained(v: View, s: Any) -> Any:
    """`ServerStatus.drained`."""
    return z3.And(v.row(s), v.draining(s), idle(v, s))


def coming(v: View, s: Any) -> Any:
    """A dynamic server that comes up: its seats are promised."""
    is_dynamic = v.dynamic(v.place_of(s))
    return z3.And(v.row(s), is_dynamic, v.attached(s), z3.Not(v.draining(s)), z3.Not(v.heard(s)))


def hands_free(v: View) -> Any:
    """The Distributor lives and has nothing in hand."""
    s, p = z3.Const("s.due", Server), z3.Const("p.due", Port)
    nothing_due = z3.ForAll([s, p], z3.Not(v.initial_due(s, p)))
    return z3.And(up(v), z3.Not(v.holding), z3.Not(v.dropping), nothing_due)


def between_events(v: View) -> Any:
    """The Distributor has done all that follows from the last event: it may read the next."""
    p, s = z3.Const("p.set", Port), z3.Const("s.set", Server)
    no_accept = z3.ForAll([p], z3.Not(accept_wanted(v, p)))
    all_said = z3.ForAll([s], z3.Implies(drained(v, s), v.said_drained(s)))
    return z3.And(hands_free(v), nobody_seatable(v), no_accept, z3.Not(server_wanted(v)), all_said)


def unreceived(v: View, s: Any, q: Any) -> Any:
    """The server's q-th message is in its outbox or in the dialog, unread."""
    return z3.And(q >= 1, q <= v.sequence(s), z3.Not(v.up_read(s, q)))


def unread_up(v: View, s: Any, q: Any) -> Any:
    """The server's q-th message is in the dialog, unread."""
    return z3.And(unreceived(v, s, q), v.up_sent(s, q))


def unsent_up(v: View, s: Any, q: Any) -> Any:
    """The server's q-th message is in the outbox, and not in the dialog."""
    return z3.And(unreceived(v, s, q), z3.Not(v.up_sent(s, q)))


def active(v: View, s: Any) -> Any:
    """The Monitor has neither asked the server to end nor killed it."""
    return z3.Or(v.phase(s) == STARTING, v.phase(s) == READY)


def lock_free(v: View, s: Any) -> Any:
    """No process of the server is in the midst of a step, nor has died there unnoticed."""
    return z3.And(z3.Not(v.sending(s)), z3.Not(v.broken(s)))


def answer(v: View, s: Any, q: Any) -> Any:
    """The server's q-th message answers a hand-off, and is unread, sent or not."""
    return z3.And(unreceived(v, s, q), z3.Or(v.up_kind(s, q) == ACCEPTED, v.up_kind(s, q) == REFUSED))


def reports_state(v: View, s: Any, q: Any) -> Any:
    """The server's q-th message reports whether it listens."""
    return z3.Or(v.up_kind(s, q) == RESTART_REPLY, v.up_kind(s, q) == NOT_READY)


def echo(v: View, s: Any, q: Any) -> Any:
    """The server's q-th message, read or not, reports whether it listens."""
    return z3.And(q >= 1, q <= v.sequence(s), reports_state(v, s, q))


def mine(v: View, s: Any, q: Any) -> Any:
    """The q-th message is about the client whose hand-off is outstanding."""
    return z3.And(v.requested(s), v.request(s) == v.up_client(s, q))


def word(v: View, i: Any) -> Any:
    """The i-th message to the Monitor is unread."""
    return z3.And(v.word_head <= i, i < v.word_tail)


def of_client(v: View, i: Any) -> Any:
    """It is about a client."""
    return z3.Or(v.word_kind(i) == STORE, v.word_kind(i) == RELEASE)


def of_dialog(v: View, i: Any) -> Any:
    """It is about a dialog."""
    kinds = (KEEP_DIALOG, SERVER_READY, SERVER_NOT_READY)
    return z3.Or(*(v.word_kind(i) == kind for kind in kinds))
