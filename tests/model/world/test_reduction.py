"""Renumbering hides nothing: the explorations with it and without any come to the same, whatever the machines do.

Asked of the core as it is and of every mutant of the catalogue; and each check is shown to fail with the normal forms
that there were once, which put right what a machine had got wrong.  Where no renumbering can show a fault, because it
needs a large number, explorations that renumber nothing begin there.
"""

import pytest
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Kind, Mutant
from tests.model.outcome import shown
from tests.model.reduction import disagreements, levels, missteps

from maitred.core import distributor
from maitred.core.messages import Client
from maitred.core.tree import Tree
from maitred.model.check.checker import Verdict, check
from maitred.model.claims.safety import PROPERTIES, judge
from maitred.model.story.explanation import why
from maitred.model.world import Bounds, System, symmetry

pytestmark = [pytest.mark.properties, pytest.mark.recorded(shortest=0.1)]

SYSTEMS = {
    "the Distributor dies": Bounds(servers=1, clients=3, distributor_crashes=1, waiting_limit=3, warm=True),
    "two ports": Bounds(servers=1, clients=3, ports=2, distributor_crashes=1, warm=True),
    "servers die": Bounds(servers=2, clients=2, server_crashes=1, warm=True),
    "everything dies": Bounds(servers=2, clients=1, server_crashes=1, distributor_crashes=1, warm=True),
    "cold": Bounds(servers=2, clients=1),
    "dynamic": Bounds(servers=1, clients=2, dynamic=1, creations=1, deletions=1, warm=True),
    "an audit": Bounds(servers=1, clients=2, max_clients=2, audits=1, leaks=2, reorders=1, warm=True),
    "a stop": Bounds(servers=2, clients=1, stops=1, warm=True),
    "a listener closes": Bounds(servers=2, clients=1, listener_closes=1, warm=True),
    "binds": Bounds(servers=1, clients=1, fixed=False, listen_failures=1, repeated_binds=1, distributor_crashes=1),
}


def slip(where, old, new):
    return Mutant("a slip", Kind.OFF_BY_ONE, "", where, old, new)


RESTORED = "work.state.next_arrival = max(work.state.next_arrival, event.client.arrival + 1)"
SLIPS = {
    "who is restored is not counted": slip("distributor._restore", RESTORED, "pass"),
    "the counter of arrivals stands still": slip(
        "distributor._connection_request", "work.state.next_arrival = client.arrival + 1", "pass"
    ),
    "the counter of arrivals goes back": slip("distributor._restore", RESTORED, "work.state.next_arrival = 1"),
    "the counter of ranks stands still": slip("distributor._Work.hand_off", "self.state.next_rank = rank + 1", "pass"),
    "who is released is another": slip(
        "distributor._Work.leave", "Release(client)", "Release(Client(0, client.cookie, client.port))"
    ),
    "the counter of servers stands still": slip(
        "monitor._Work.start_server", "next_server=server + 1", "next_server=server"
    ),
    "the count goes back": slip("server._issue", "state.sequence + 1", "max(state.sequence - 1, 0)"),
}


# ---------------------------------------------------------------- the core as it is


@pytest.mark.parametrize("name", SYSTEMS)
def test_with_and_without_renumbering_the_explorations_are_one(name):
    assert [*disagreements(SYSTEMS[name], 150, symmetric=True)] == []


@pytest.mark.minutes
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_they_are_one_farther_on(name, symmetric):
    assert [*disagreements(SYSTEMS[name], 12_000, symmetric=symmetric)] == []
    assert [*missteps(SYSTEMS[name], 4_000, symmetric=symmetric)] == []


# ---------------------------------------------------------------- the core bent


@pytest.mark.parametrize("name", SLIPS)
def test_a_counter_that_is_wrong_stays_wrong(name):
    with SLIPS[name].mutated():
        assert [*disagreements(SYSTEMS["the Distributor dies"], 200, symmetric=False)] == []


@pytest.mark.minutes
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", SLIPS)
def test_it_does_so_farther_on(name, system):
    with SLIPS[name].mutated():
        assert [*disagreements(SYSTEMS[system], 3_000, symmetric=False)] == []
        assert [*missteps(SYSTEMS[system], 1_000, symmetric=False)] == []


def test_who_overtakes_is_seen():
    """A new Distributor that counts from 0 again, whoever waits: the waiting list is not as they were accepted."""
    with SLIPS["who is restored is not counted"].mutated():
        result = check(SYSTEMS["the Distributor dies"], stop_at_violation=False)
    for name in ("first_come_first_served", "arrivals_lie_in_the_past"):
        assert result[name].verdict is Verdict.VIOLATED, shown(result)
    explained = why("first_come_first_served", result["first_come_first_served"].path)
    assert explained == [
        "By their arrivals, the Distributor has client 2 before client 1, and it accepted client 1 before client 2."
    ]


BENT = [mutant for mutant in CATALOGUE.values() if mutant.module in ("distributor", "server", "monitor")]
COMPARED = {"the Distributor dies": False, "servers die": True, "cold": False}
"""Systems in which each mutant is compared, and whether with the symmetric normal form."""


@pytest.mark.minutes
@pytest.mark.parametrize("mutant", BENT, ids=[mutant.name for mutant in BENT])
def test_of_every_mutant_the_explorations_are_one(mutant):
    with mutant.mutated():
        for name, symmetric in COMPARED.items():
            assert [*disagreements(SYSTEMS[name], 300, symmetric=symmetric)] == []
        assert [*missteps(SYSTEMS["the Distributor dies"], 100, symmetric=False)] == []


# ---------------------------------------------------------------- the checks can fail


def by_the_line(counter, coming, lining, others, cookies):
    """As it was: arrivals by cookie, and the next arrival put right."""
    line = {client.cookie: i for i, client in enumerate(sorted(lining))}
    names = {
        c: Client(line.get(c.cookie, symmetry.SERVED), cookies.get(c.cookie, c.cookie), c.port) for c in lining | others
    }
    return names, len(lining)


def by_the_rows(state):
    """As it was: no two ranks are one, and the next is put right."""
    order = sorted(state.servers.values(), key=lambda status: status.rank)
    ranks = {status.server: i for i, status in enumerate(order)}
    rows = Tree.of((s.server, distributor.replace(s, rank=ranks[s.server])) for s in order)
    ports = Tree.of(
        (
            info.port,
            distributor.replace(
                info, free=Tree.of((distributor.replace(s, rank=ranks[s.server]), None) for s in info.free)
            ),
        )
        for info in state.ports.values()
    )
    return distributor.replace(state, servers=rows, ports=ports, next_rank=len(ranks))


@pytest.mark.parametrize(
    ("name", "module", "function", "repairing", "system"),
    [
        ("who is restored is not counted", symmetry, "_client_names", by_the_line, "the Distributor dies"),
        ("who is released is another", symmetry, "_client_names", by_the_line, "the Distributor dies"),
        ("the counter of ranks stands still", distributor, "canonical", by_the_rows, "servers die"),
    ],
)
def test_a_normal_form_that_repairs_is_found_out(monkeypatch, name, module, function, repairing, system):
    monkeypatch.setattr(module, function, repairing)
    with SLIPS[name].mutated():
        assert any(disagreements(SYSTEMS[system], 1_500, symmetric=False))
        assert any(missteps(SYSTEMS[system], 1_500, symmetric=False))


# ---------------------------------------------------------------- large numbers

HIGH = {
    "the arrival is cut": (
        slip("distributor._Work.leave", "Release(client)", "Release(replace(client, arrival=client.arrival % 64))"),
        62,
        Bounds(servers=1, clients=3, warm=True),
    ),
    "the count is cut": (
        slip("server._issue", "sequence = state.sequence + 1", "sequence = (state.sequence + 1) % 256"),
        250,
        Bounds(servers=1, clients=3, warm=True),
    ),
    "the rank is cut": (
        slip("distributor._Work.hand_off", "rank + 1", "min(rank + 1, 2 * len(self.state.servers))"),
        0,
        Bounds(servers=2, clients=3, warm=True),
    ),
}


def violated(bounds, first):
    """The properties that are violated where nothing is renumbered and all counters begin so high."""
    system = System(bounds, judge, first=first)
    *_, last = levels(system, lambda world: world, system.key, 3_000)
    return {name for name in last.found if PROPERTIES[name].kind == "always"}


@pytest.mark.parametrize("name", HIGH)
def test_a_number_that_is_cut_is_seen_where_it_is_large(name):
    mutant, first, bounds = HIGH[name]
    assert violated(bounds, first) == set()
    with mutant.mutated():
        assert violated(bounds, first)


@pytest.mark.minutes
@pytest.mark.parametrize("first", [62, 254, 65_534])
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_property_holds_of_large_numbers(name, first):
    assert violated(SYSTEMS[name], first) == set()
