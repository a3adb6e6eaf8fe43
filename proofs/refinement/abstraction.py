"""The abstraction: what a world of the model is, in the words of the relation.

``abstract(world)`` reads a `maitred.model.world.World`, which holds the very states of the three machines, and fills
the tables of the relation's symbols: it is a loop over `proofs.refinement.readers`.  Ghosts are left out: nothing that
is compared is made from them.  Symbols about the midst of a Distributor's step (what is in hand, what is due) are
empty, as a world is between steps.

``canonical_form(state)`` is what must be equal for two states of the relation to be the same: tables without what means
nothing.  Positions in a channel count from its first unread message; ranks, arrivals and sequence numbers by their
order, and with them that which comes next; and of a server that the Distributor does not know, what the Distributor's
table says of it is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from maitred.core import distributor, monitor
from maitred.core.messages import Adopt, Allow, Begin, CreationFailed, Drain, InitialMsg, Restore
from maitred.model.world import Bounds, World
from proofs.refinement.interpreter import State
from proofs.refinement.readers import SYMBOLS, WORDS, Scene, tables


class NotModelled(Exception):
    """The relation does not model this; the text names what."""


def abstract(
    world: World, bounds: Bounds, ports_of: Mapping[int, int], starting: Mapping[int, tuple[int, int]], first: int = 0
) -> State:
    """The world in the words of the relation.

    Args:
        world: the world.
        bounds: of the system that it is a world of.
        ports_of: the port of each client that has not come yet, as far as it matters.
        starting: of servers that are about to be started, their place and processing element.
        first: from where on a server numbers what it sends.

    Raises:
        NotModelled: the relation does not model it.
        Unlike: two components do not mean the same by a client.
    """
    if world.monitor.phase is not monitor.Phase.RUNNING:
        raise NotModelled("a stop")
    scene = Scene(world, bounds, ports_of, starting, first)
    scene.clients  # noqa: B018  # raises where copies differ
    refuse(world)
    domains = {
        "Server": tuple(sorted(scene.servers)),
        "Client": tuple(range(len(world.guests))),
        "Port": tuple(range(1, bounds.ports + 1)),
        "Place": scene.numbers_of_places,
        "Element": tuple(world.monitor.elements),
        "Int": scene.integers,
    }
    return State(tables(scene, SYMBOLS.values()), domains)


def refuse(world: World) -> None:
    """Refuse a world that the relation does not model.

    Raises:
        NotModelled: it is one.
    """
    if world.distributor is not None:
        refuse_closing(world.distributor)
    for event in world.pending:
        if isinstance(event, distributor.Audited) and event.gone:
            raise NotModelled("an audit")
        if isinstance(event, distributor.ListeningFailed):
            raise NotModelled(type(event).__name__)
    for word in world.to_monitor:
        if type(word) not in WORDS:
            raise NotModelled(type(word).__name__)
    for group in world.groups:
        for link in group.links:
            if any(isinstance(down, InitialMsg) and down.forget for down in link.to_server):
                raise NotModelled("an audit")
    for message in world.to_distributor:
        if not isinstance(message, (Adopt, Restore, Begin, CreationFailed, Drain, Allow)):
            raise NotModelled(type(message).__name__)


def refuse_closing(state: distributor.DistributorState) -> None:
    """Refuse a Distributor that is closing.

    Raises:
        NotModelled: it is one.
    """
    if state.phase not in (distributor.Phase.INITIALISING, distributor.Phase.OPERATING):
        raise NotModelled("a stop")


# ================================================================ what must be equal


def canonical_form(state: State) -> dict[str, Any]:
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
            "configured",
            "begin_due",
            "decline_due",
            "holding",
            "dropping",
        )
    }
    is_up = get("life") == "up"
    if is_up:
        names = ("condemned", "total", "creation", "promised", "allowance", "distributor_element")
        out["Distributor"] = [get(name) for name in names]
    out["elements"] = [get("usable", e) for e in domains["Element"]]
    out["places"] = [place for place in domains["Place"] if get("filled", place)]
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
    unreceived = [q for q in known if not get("up_read", s, q)]
    unread = [q for q in unreceived if get("up_sent", s, q)]
    at_hand = {get("unnoted", s), get("broken_at", s) if get("broken", s) else 0} - {0}
    outbox = sorted({q for q in unreceived if not get("up_sent", s, q)} | at_hand)
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
            *(get(name, s) for name in ("leaving", "limited", "succeeds")),
        ]
        if get("dynamic", get("place_of", s)):
            out["died_unready"] = get("died_unready", s)
    if (row and not get("draining", s)) or (get("to_adopt", s) and not get("adopt_draining", s)):
        out["drain_due"] = get("drain_due", s)
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
