"""The abstraction: what a world of the model is, in the words of the relation.  One function is the table.

``abstract(world)`` reads a `maitred.model.world.World`, which holds the very states of the three machines, and fills
the tables of the relation's symbols.  Ghosts are left out: nothing that is compared is made from them.  Symbols about
the midst of a Distributor's step (what is in hand, what is due) are empty, as a world is between steps.

``essence(state)`` is what must be equal for two states of the relation to be the same: tables without what means
nothing.  Positions in a channel count from its first unread message; ranks, arrivals and sequence numbers by their
order, and with them that which comes next; and of a server that the Distributor does not know, what the Distributor's
table says of it is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from maitred.core import distributor, monitor, server
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    Client,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drained,
    FromServer,
    HandOff,
    KeepDialog,
    KeepListener,
    NotReady,
    Refused,
    Release,
    RestartReply,
    Restore,
    ServerNotReady,
    ServerReady,
    Store,
    Unresponsive,
)
from maitred.model.world import CLASS, Bounds, Fate, Group, Life, World, issued
from proofs.refinement.interpreter import State

WORDS: Final[Mapping[type, str]] = {
    Store: "Store",
    Release: "Release",
    KeepDialog: "KeepDialog",
    ServerReady: "ServerReady",
    ServerNotReady: "ServerNotReady",
    Drained: "Drained",
    Unresponsive: "Unresponsive",
    CreateServer: "CreateServer",
    KeepListener: "KeepListener",
}
ANSWERS: Final[Mapping[type, str]] = {
    Accepted: "Accepted",
    Refused: "Refused",
    Disconnect: "Disconnect",
    RestartReply: "RestartReply",
    NotReady: "NotReady",
}
PHASES: Final = {
    monitor.PlacePhase.STARTING: "starting",
    monitor.PlacePhase.READY: "ready",
    monitor.PlacePhase.STOPPING: "stopping",
    monitor.PlacePhase.KILLING: "killing",
}


SHIFT: Final = 1
"""The relation numbers a server's messages from 1.  So does the code; but the model renumbers them, from 0."""
NOWHERE: Final = -1
NOWHERE_DYNAMIC: Final = -2
"""The place of a server that fills none any more, static or dynamic."""


class Outside(Exception):
    """The relation does not tell this; the text says what."""


class Unlike(Exception):
    """Two components do not mean the same by a client; the text says which."""


def abstract(
    world: World, bounds: Bounds, ports_of: Mapping[int, int], starting: Mapping[int, tuple[int, int]], first: int = 0
) -> State:
    """The world in the words of the relation.

    Args:
        world: the world.
        bounds: of the system that it is a world of.
        ports_of: the port of each client that has not come yet, as far as it matters.
        starting: of servers that are about to be started, their place and processing element.
        first: from where on a server numbers what it says.

    Raises:
        Outside: the relation does not tell it.
        Unlike: two components do not mean the same by a client.
    """
    if world.monitor.phase is not monitor.Phase.RUNNING:
        raise Outside("a stop")
    put = Tables()
    tables = put.tables
    cls = world.monitor.classes[CLASS]
    servers = _servers(world) | set(starting)
    # ------------------------------------------------ rigid
    put("has_dynamic", bounds.dynamic > 0)
    put("limit", bounds.waiting_limit)
    put("dynamic", NOWHERE_DYNAMIC, True)
    for place in range(bounds.servers + bounds.dynamic):
        put("dynamic", place, place >= bounds.servers)
    for s in servers:
        place, element = _where(world, s, starting)
        put("place_of", s, place)
        put("element_of", s, element)
        put("max_clients", s, bounds.max_clients)
        put("weight", s, world.monitor.elements[element].weight if element in world.monitor.elements else 1)
    # ------------------------------------------------ clients
    seen = _copies(_clients(world))
    for i, backlog in enumerate(world.kernel.backlog):
        for turn, cookie in enumerate(backlog):
            put("port_of", cookie, i + 1)
            put("came", cookie, turn)
    put("next_came", len(world.guests))
    for cookie, guest in enumerate(world.guests):
        if cookie in seen:
            tell_client(seen[cookie], put)
        elif cookie in ports_of:
            put("port_of", cookie, ports_of[cookie])
        put("absent", cookie, guest.fate is Fate.ABSENT)
        put("backlog", cookie, guest.fate is Fate.BACKLOG)
        put("accepted", cookie, guest.fate not in (Fate.ABSENT, Fate.BACKLOG, Fate.LOST_BACKLOG))
        put("over", cookie, guest.fate not in (Fate.ABSENT, Fate.BACKLOG, Fate.IN))
        put("shut", cookie, guest.fate is Fate.DROPPED)
        put("closed", cookie, guest.hung == 1)
    # ------------------------------------------------ the Distributor
    put("life", {Life.UP: "up", Life.CONDEMNED: "up", Life.DEAD: "dead", Life.ABSENT: "absent"}[world.life])
    put("condemned", world.life is Life.CONDEMNED)
    if world.distributor is not None:
        tell_distributor(world.distributor, put, first=first)
    for event in world.pending:
        if isinstance(event, distributor.Unsent):
            put("unsent", event.server, event.client.cookie, True)
        elif isinstance(event, distributor.Audited):
            if event.gone:
                raise Outside("an audit")
        elif isinstance(event, distributor.ListeningFailed):
            raise Outside(type(event).__name__)
    # ------------------------------------------------ the kernel
    kept = {port for (port, _), is_kept in cls.listeners.items() if is_kept}
    kept |= {message.port for message in world.to_monitor if isinstance(message, KeepListener)}
    for i, listening in enumerate(world.kernel.listening):
        put("socket", i + 1, listening)
        put("unkept", i + 1, listening and world.distributor is not None and i + 1 not in kept)
    for i, word in enumerate(world.to_monitor):
        if type(word) not in WORDS:
            raise Outside(type(word).__name__)
        put("word_kind", i, WORDS[type(word)])
        if hasattr(word, "client"):
            put("word_client", i, word.client.cookie)
        if hasattr(word, "server"):
            put("word_server", i, word.server)
            if hasattr(word, "port"):
                put("word_port", i, word.port)
    put("word_tail", len(world.to_monitor))
    # ------------------------------------------------ servers
    sequences = {s: [first + SHIFT] if first else [] for s in starting}
    for group in world.groups:
        s = group.server
        endpoint = group.endpoint
        put("main", s, group.main)
        put("child", s, group.child)
        put("doomed", s, group.condemned)
        put("asked_to_end", s, group.asked)
        put("reported", s, group.reported)
        tell_endpoint(s, endpoint, put)
        tell_outbox(group, put)
        for client in group.gone:
            put("lapsed", s, client.cookie, True)
        numbers = [endpoint.sequence + SHIFT] if group.alive else []
        numbers += [reply.message.count.sequence + SHIFT for reply in issued(group)]
        for link in group.links:
            for i, down in enumerate(link.to_server):
                put("down_kind", s, link.port, i, type(down).__name__)
                if isinstance(down, HandOff):
                    put("down_client", s, link.port, i, down.client.cookie)
                elif down.forget:
                    raise Outside("an audit")
                else:
                    put("down_incarnation", s, link.port, i, down.incarnation)
            put("down_tail", s, link.port, len(link.to_server))
            for answer in link.to_distributor:
                numbers.append(tell_message(s, link.port, answer, put, sent=True, read=False))
            put("full", s, link.port, bool(bounds.room) and len(link.to_distributor) >= bounds.room)
        put("sequence", s, max(numbers, default=0))
        sequences[s] = numbers
    for s in starting:
        put("sequence", s, max(sequences[s], default=0))
    # ------------------------------------------------ the Monitor
    for s in servers:
        put("born", s, s < world.monitor.next_server and s not in starting)
    tell_monitor(world.monitor, CLASS, put)
    has_begin = any(isinstance(message, Begin) for message in world.to_distributor)
    late = not has_begin
    for message in world.to_distributor:
        match message:
            case Adopt():
                put("to_adopt", message.server, True)
                put("late", message.server, late)
                put("adopt_draining", message.server, message.draining)
                for port in message.dialogs:
                    put("adopt_kept", message.server, port, True)
                    put("adopt_used", message.server, port, port in message.owed)
            case Restore():
                put("to_restore", message.client.cookie, True)
            case Begin():
                late = True
            case CreationFailed():
                put("decline_due", True)
            case _:
                raise Outside(type(message).__name__)
    put("begin_due", has_begin)
    binders = sum(map(bool, tables.get("binding", {}).values()))  # a word for each, when the socket listens
    integers = _integers(world, sequences, binders)
    for s, numbers in sequences.items():
        for q in integers:
            if 0 <= q <= max(numbers, default=0) and (s, q) not in tables.get("up_read", {}):
                put("up_read", s, q, True)
    domains = {
        "Server": tuple(sorted(servers)),
        "Client": tuple(range(len(world.guests))),
        "Port": tuple(range(1, bounds.ports + 1)),
        "Place": tuple(range(bounds.servers + bounds.dynamic)),
        "Element": tuple(world.monitor.elements),
        "Int": integers,
    }
    return State(tables, domains)


def _integers(world: World, sequences: Mapping[int, Sequence[int]], binders: int) -> tuple[int, ...]:
    """Those that number something: messages in channels, from 0, and what servers issue; and what may come next.

    What is said of all numbers holds of the others as it does of one that is as yet unused.
    """
    lines = [len(world.to_monitor) + binders, *(len(link.to_server) for group in world.groups for link in group.links)]
    found = {*range(-1, max(lines) + 3)}
    for numbers in sequences.values():
        newest = max(numbers, default=0)
        found |= {*numbers, *range(newest, newest + 4)}  # a step issues two counts at most
    return tuple(sorted(found))


def _servers(world: World) -> set[int]:
    """Every server of which anything is left."""
    found = {group.server for group in world.groups} | set(world.monitor.classes[CLASS].living)
    if world.distributor is not None:
        found |= set(world.distributor.servers)
    found |= {m.server for m in (*world.to_monitor, *world.to_distributor, *world.pending) if hasattr(m, "server")}
    return found


def _where(world: World, s: int, starting: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    """The server's place and processing element; of one that is gone, no place."""
    if s in starting:
        return starting[s]
    cls = world.monitor.classes[CLASS]
    place = cls.living.get(s, None)
    if place is not None:
        return place, cls.places[place].element
    group = world.group(s)
    status = world.distributor.servers.get(s, None) if world.distributor is not None else None
    named = next((m for m in world.to_distributor if isinstance(m, Adopt) and m.server == s), status)
    nowhere = NOWHERE_DYNAMIC if named is not None and named.dynamic else NOWHERE
    return nowhere, group.element if group is not None else 0


def _copies(clients: Iterable[Client]) -> dict[int, Client]:
    """The clients by cookie: the relation has one arrival and one port for each, so all copies must be alike.

    Raises:
        Unlike: two copies differ.
    """
    found: dict[int, Client] = {}
    for client in clients:
        if found.setdefault(client.cookie, client) != client:
            raise Unlike(f"two copies of client {client.cookie} differ: {found[client.cookie]} and {client}")
    return found


def _clients(world: World) -> Iterable[Client]:
    """Every copy of a client: whatever names one."""
    yield from world.monitor.classes[CLASS].store
    if world.distributor is not None:
        for info in world.distributor.ports.values():
            yield from info.waiting
        for status in world.distributor.servers.values():
            if status.request is not None:
                yield status.request
    for message in (*world.to_monitor, *world.to_distributor, *world.pending):
        if hasattr(message, "client"):
            yield message.client
    for group in world.groups:
        yield from group.endpoint.clients
        said = [reply.message for reply in issued(group)]
        yield from (m.client for m in said if not isinstance(m, (RestartReply, NotReady)))
        for link in group.links:
            for down in link.to_server:
                yield from (down.client,) if isinstance(down, HandOff) else down.forget
            yield from (m.client for m in link.to_distributor if not isinstance(m, (RestartReply, NotReady)))


def tell_message(s: int, port: int, message: FromServer, put: Tables, *, sent: bool, read: bool) -> int:
    """A message of a server, in its outbox or in the dialog; its number in the relation."""
    q = message.count.sequence + SHIFT
    put("up_kind", s, q, ANSWERS[type(message)])
    put("up_port", s, q, port)
    put("up_count", s, q, message.count.clients)
    put("up_sent", s, q, sent)
    put("up_read", s, q, read)
    if isinstance(message, (RestartReply, NotReady)):
        put("up_incarnation", s, q, message.incarnation)
    else:
        put("up_client", s, q, message.client.cookie)
    return q


def tell_outbox(group: Group, put: Tables) -> None:
    """What the server has issued; what of that is in the dialogs is said again where they are."""
    s = group.server
    put("sending", s, group.sending)
    for reply in group.endpoint.outbox:
        sent = reply == group.sent
        tell_message(s, reply.port, reply.message, put, sent=sent, read=sent)
    if group.sent is not None:
        put("unnoted", s, group.sent.message.count.sequence + SHIFT)
    if group.broken is not None:
        put("broken", s, True)
        put("broken_port", s, group.broken.port)
        if group.broken.reply is not None:
            put("broken_at", s, group.broken.reply.message.count.sequence + SHIFT)


class Tables:
    """Tables in the making: called with a symbol's name, its arguments and its value there."""

    def __init__(self) -> None:
        """None yet."""
        self.tables: dict[str, dict[tuple[Any, ...], Any]] = {}

    def __call__(self, name: str, *place_and_value: Any) -> None:
        """Write an entry."""
        *place, value = place_and_value
        self.tables.setdefault(name, {})[tuple(place)] = value


def tell_endpoint(s: int, endpoint: server.EndpointState, put: Tables) -> None:
    """What a server knows."""
    put("clients", s, len(endpoint.clients))
    for client in endpoint.clients:
        put("serving", s, client.cookie, True)
    for reply in endpoint.outbox:
        if isinstance(reply.message, Accepted):
            put("undelivered", s, reply.message.client.cookie, True)
    for port, listener in endpoint.listeners.items():
        put("bound", s, port, True)
        put("listening", s, port, listener.listening)
        put("owes", s, port, listener.asked)


def tell_monitor(state: monitor.MonitorState, class_id: int, put: Tables) -> None:
    """What the Monitor knows, but for what never changes."""
    cls = state.classes[class_id]
    put("incarnation", cls.distributor.incarnation)
    put("distributor_element", cls.distributor.element)
    for client in cls.store:
        put("store", client.cookie, True)
        tell_client(client, put)
    for place in cls.places.values():
        put("filled", place.place, place.alive)
        if place.alive:
            put("living", place.server, True)
            put("phase", place.server, PHASES[place.phase])
            put("died_unready", place.server, place.dynamic and place.unready_deaths > 0)
            for port, used in place.dialogs.items():
                put("kept", place.server, port, True)
                put("used", place.server, port, used)
    put("dynamic_resting", cls.dynamic_resting)
    for element, status in state.elements.items():
        put("usable", element, status.up)


def tell_distributor(state: distributor.DistributorState, put: Tables, shift: int = SHIFT, first: int = 0) -> None:
    """The server table, the ports and the rest of what the Distributor knows.

    Args:
        state: the Distributor's.
        put: takes it.
        shift: is added to sequence numbers; -1, of nothing, stays.
        first: the number of a server's count before any that it issues, where that is not 0.

    Raises:
        Outside: it is closing.
    """
    if state.phase not in (distributor.Phase.INITIALISING, distributor.Phase.OPERATING):
        raise Outside("a stop")
    put("operating", state.phase is distributor.Phase.OPERATING)
    put("next_rank", state.next_rank)
    put("next_arrival", state.next_arrival)
    put("total", state.waiting)
    put("creation", state.creation.value)
    put("promised", state.promised)
    for s, status in state.servers.items():
        put("row", s, True)
        put("attached", s, status.attached)
        put("draining", s, status.draining)
        put("resting", s, status.resting)
        put("heard", s, status.heard)
        put("known", s, status.known)
        put("said_drained", s, status.drained)
        put("rank", s, status.rank)
        put("count", s, status.count.clients)
        put("count_sequence", s, _shifted(status.count.sequence or first, shift))
        put("requested", s, status.request is not None)
        if status.request is not None:
            put("request", s, status.request.cookie)
            tell_client(status.request, put)
        for port, dialog in status.dialogs.items():
            put("dialog", s, port, True)
            put("binding", s, port, dialog.phase is distributor.DialogPhase.BINDING)
            put("ready", s, port, dialog.phase is distributor.DialogPhase.READY)
            put("dialog_sequence", s, port, _shifted(dialog.sequence, shift))
            put("owed", s, port, port in status.owed)
    for port, info in state.ports.items():
        put("accepting", port, info.accepting)
        put("pausing", port, info.pausing)
        put("opened", port, info.opened)
        put("listens", port, info.listening)
        for client in info.waiting:
            put("waiting", client.cookie, True)
            tell_client(client, put)


def tell_client(client: Client, put: Tables) -> None:
    """Which turn the client has, and where."""
    put("arrival", client.cookie, client.arrival)
    put("port_of", client.cookie, client.port)


def _shifted(sequence: int, shift: int) -> int:
    return sequence + shift if sequence >= 0 else sequence


# ================================================================ what must be equal


def essence(state: State) -> dict[str, Any]:
    """The state without what means nothing: equal for states that are the same."""
    get, domains = state.value, state.domains
    ports, clients = domains["Port"], domains["Client"]
    out: dict[str, Any] = {
        name: get(name)
        for name in (
            "life",
            "incarnation",
            "operating",
            "dynamic_resting",
            "begin_due",
            "decline_due",
            "holding",
            "dropping",
        )
    }
    is_up = get("life") == "up"
    if is_up:
        names = ("condemned", "total", "creation", "promised", "distributor_element")
        out["Distributor"] = [get(name) for name in names]
    out["elements"] = [get("usable", e) for e in domains["Element"]]
    out["places"] = [get("filled", place) for place in domains["Place"]]
    out["ports"] = [[get("socket", p), get("unkept", p)] for p in ports]
    if is_up:
        out["ports"].append([[get(n, p) for n in ("accepting", "pausing", "opened", "listens")] for p in ports])
    known = [c for c in clients if _is_known(state, c)]
    turn = _order({get("arrival", c) for c in known} | ({get("next_arrival")} if is_up else set()))
    line = {c: (turn[get("arrival", c)], get("port_of", c)) for c in known}
    came = {}
    for p in ports:
        queue = [c for c in clients if get("backlog", c) and get("port_of", c) == p]
        came.update({c: (p, i) for i, c in enumerate(sorted(queue, key=lambda c: get("came", c)))})
    fates = ("absent", "backlog", "accepted", "over", "shut", "waiting", "store", "to_restore")
    out["clients"] = {c: [[get(n, c) for n in fates], line.get(c), came.get(c)] for c in clients}
    out["words"] = [word_of(state, i) for i in range(get("word_head"), get("word_tail"))]
    out["servers"] = {s: _server(state, s) for s in domains["Server"] if _matters(state, s)}
    out["unsent"] = [(s, c) for s in domains["Server"] for c in clients if get("unsent", s, c)]
    ranked = [s for s in domains["Server"] if get("row", s)]
    rank = _order({get("rank", s) for s in ranked} | ({get("next_rank")} if is_up else set()))
    out["ranks"] = [(s, rank[get("rank", s)]) for s in ranked]
    out["next"] = [turn[get("next_arrival")], rank[get("next_rank")]] if is_up else []
    return out


def _order(numbers: Iterable[int]) -> dict[int, int]:
    """Of each number, how many there are below it."""
    return {number: i for i, number in enumerate(sorted(numbers))}


def _is_known(state: State, c: int) -> bool:
    """Somebody has a copy of the client: the Monitor, the Distributor, or a server."""
    get = state.value
    if get("waiting", c) or get("store", c) or get("to_restore", c):
        return True
    return any(
        (get("requested", s) and get("request", s) == c) or (is_alive(state, s) and get("serving", s, c))
        for s in state.domains["Server"]
    )


def is_alive(state: State, s: int) -> bool:
    """Some process of the server is left."""
    return bool(state.value("main", s) or state.value("child", s))


def word_of(state: State, i: int) -> list[Any]:
    """A message to the Monitor."""
    get = state.value
    kind = get("word_kind", i)
    if kind in ("Store", "Release"):
        return [kind, get("word_client", i)]
    if kind in ("KeepDialog", "ServerReady", "ServerNotReady"):
        return [kind, get("word_server", i), get("word_port", i)]
    return [kind, get("word_server", i)] if kind in ("Drained", "Unresponsive") else [kind]


def _matters(state: State, s: int) -> bool:
    get = state.value
    return any(get(name, s) for name in ("main", "child", "living", "row", "to_adopt"))


def _server(state: State, s: int) -> dict[str, Any]:
    get, ports = state.value, state.domains["Port"]
    alive, row, living = is_alive(state, s), get("row", s), get("living", s)
    out: dict[str, Any] = {"alive": alive, "row": row, "living": living, "to_adopt": get("to_adopt", s)}
    said = state.tables.get("up_kind", {})  # of the other numbers nothing is kept
    known = [q for q in state.domains["Int"] if (s, q) in said and 1 <= q <= get("sequence", s)]
    unheard = [q for q in known if not get("up_read", s, q)]
    unread = [q for q in unheard if get("up_sent", s, q)]
    at_hand = {get("unnoted", s), get("broken_at", s) if get("broken", s) else 0} - {0}
    outbox = sorted({q for q in unheard if not get("up_sent", s, q)} | at_hand)
    numbers = {*unread, *outbox}
    dialogs = [p for p in ports if row and get("dialog", s, p)]
    if alive:
        numbers.add(get("sequence", s))
        out["process"] = [get(n, s) for n in ("main", "child", "doomed", "asked_to_end", "clients")]
        out["serving"] = [(c, get("lapsed", s, c)) for c in state.domains["Client"] if get("serving", s, c)]
        out["listeners"] = [[get(n, s, p) for n in ("bound", "listening", "owes")] for p in ports]
        out["down"] = [
            [down_of(state, s, p, i) for i in range(get("down_head", s, p), get("down_tail", s, p))] for p in ports
        ]
    if living:
        out["monitor"] = [
            get("phase", s),
            [[get("kept", s, p), get("kept", s, p) and get("used", s, p)] for p in ports],
        ]
        if get("dynamic", get("place_of", s)):
            out["died_unready"] = get("died_unready", s)
    if get("to_adopt", s):
        out["named"] = [get("adopt_draining", s), get("late", s) and get("begin_due")]
        out["named"] += [[get("adopt_kept", s, p), get("adopt_kept", s, p) and get("adopt_used", s, p)] for p in ports]
    if row:
        names = ("attached", "draining", "resting", "heard", "known", "said_drained", "count", "requested")
        out["row"] = [get(n, s) for n in names] + [get("request", s) if get("requested", s) else None]
        numbers |= {get("count_sequence", s)} | {get("dialog_sequence", s, p) for p in dialogs}
        out["dialogs"] = {p: [get(n, s, p) for n in ("binding", "ready", "owed", "initial_due")] for p in dialogs}
    order = _order(numbers - {-1}) | {-1: -1}

    def place(q: int) -> int | None:
        return order[q] if q else None

    out["unread"] = [[order[q], *up_of(state, s, q)] for q in unread] if row or living or get("to_adopt", s) else []
    if alive:
        out["sequence"] = order[get("sequence", s)]
        out["outbox"] = [[order[q], *up_of(state, s, q)] for q in outbox]
        out["undelivered"] = [c for c in state.domains["Client"] if get("undelivered", s, c)]
        out["lock"] = [get("sending", s), place(get("unnoted", s)), get("broken", s)]
        if get("broken", s):
            out["broken"] = [place(get("broken_at", s)), get("broken_port", s)]
    if row:
        out["heeded"] = [order[get("count_sequence", s)]] + [order[get("dialog_sequence", s, p)] for p in dialogs]
    return out


def down_of(state: State, s: int, p: int, i: int) -> list[Any]:
    """A message to a server."""
    kind = state.value("down_kind", s, p, i)
    name = "down_client" if kind == "HandOff" else "down_incarnation"
    return [kind, state.value(name, s, p, i)]


def up_of(state: State, s: int, q: int) -> list[Any]:
    """A message of a server."""
    kind = state.value("up_kind", s, q)
    name = "up_incarnation" if kind in ("RestartReply", "NotReady") else "up_client"
    return [kind, state.value("up_port", s, q), state.value(name, s, q), state.value("up_count", s, q)]
