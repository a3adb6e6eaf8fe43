"""The closed system behaves as channels, kernels and processes do."""

import random

import pytest

from maitred.core import distributor, monitor
from maitred.core.messages import HandOff
from maitred.model.check.checker import Bounds, check
from maitred.model.search.explorer import Enquiry, Explorer, Observer
from maitred.model.story.narrate import narrate
from maitred.model.world import ClientConnects, Deed, DistributorEnds, Fate, ServerDeed, System


def ways(system, world):
    return {action: after for action, after, _ in system.successors(world)}


def follow(system, world, *wanted):
    """Take the first action that each of these accepts."""
    for want in wanted:
        world = next(after for action, after in ways(system, world).items() if want(action))
    return world


def does(deed):
    return lambda action: action.what is deed


def takes(kind, **fields):
    return lambda action: (
        isinstance(action.what, kind) and all(getattr(action, k, None) == v for k, v in fields.items())
    )


@pytest.fixture
def system():
    return System(Bounds(servers=1, clients=2, distributor_crashes=1, server_crashes=1, forked_children=1, warm=True))


SENT = (does(Deed.ARRIVES), takes(distributor.ConnectionRequest, performed=None))


def test_a_warm_world_is_ready_and_quiet(system):
    world = system.initial()
    assert not world.to_monitor and not world.to_distributor and not world.pending
    assert world.distributor.servers[1].free_on(1)
    assert all(guest.fate is Fate.ABSENT for guest in world.guests)


def test_equal_worlds_are_one(system):
    world = system.initial()
    first = follow(system, world, *SENT)
    again = follow(system, world, *SENT)
    assert first == again and System.key(first) == System.key(again)
    assert System.key(first) != System.key(world)


def test_the_distributor_may_die_after_each_effect_that_others_see(system):
    world = follow(system, system.initial(), does(Deed.ARRIVES))
    deaths = [
        getattr(a, "performed", None) for a in ways(system, world) if isinstance(a.what, distributor.ConnectionRequest)
    ]
    assert deaths == [None, 0, 1]
    alone = follow(system, world, takes(distributor.ConnectionRequest, performed=0))
    assert alone.guests[0].fate is Fate.LOST_ALONE
    sent = follow(system, world, takes(distributor.ConnectionRequest, performed=1))
    assert sent.guests[0].fate is Fate.IN and sent.guests[0].unanswered


def test_a_hand_off_in_flight_outlives_the_distributor_but_not_its_server(system):
    world = follow(system, system.initial(), *SENT, does(Deed.DIES))
    assert world.distributor is None or not world.groups[0].main
    both = follow(
        system,
        system.initial(),
        *SENT,
        lambda a: a == DistributorEnds(Deed.DIES),
        lambda a: a == ServerDeed(1, Deed.DIES),
    )
    assert both.guests[0].fate is Fate.LOST_SENT


def test_a_child_holds_the_dialog_when_its_parent_is_dead(system):
    world = follow(system, system.initial(), *SENT, does(Deed.LEAVES_A_CHILD))
    assert world.groups[0].alive and not world.groups[0].main
    ended = [a for a in ways(system, world) if isinstance(a.what, distributor.DialogEnded)]
    assert ended == []
    dead = follow(system, system.initial(), *SENT, lambda a: a == ServerDeed(1, Deed.DIES))
    ended = [a for a in ways(system, dead) if isinstance(a.what, distributor.DialogEnded)]
    assert ended and all(len(link.to_server) == 0 for link in dead.groups[0].links)


def test_the_monitor_reads_a_dead_distributor_s_channel_to_the_end():
    system = System(Bounds(servers=1, clients=2, distributor_crashes=1, warm=True))
    world = follow(system, system.initial(), *SENT, *SENT, does(Deed.DIES))
    assert world.to_monitor
    assert not any(isinstance(a.what, monitor.DistributorExited) for a in ways(system, world))
    while world.to_monitor:
        world = follow(system, world, takes(monitor.Reported))
    assert any(isinstance(a.what, monitor.DistributorExited) for a in ways(system, world))


def test_a_send_to_the_dead_is_noticed():
    system = System(Bounds(servers=1, clients=1, server_crashes=1, warm=True))
    world = follow(system, system.initial(), does(Deed.DIES), *SENT)
    assert isinstance(world.pending[0], distributor.Unsent)
    assert not any(isinstance(m, HandOff) for link in world.groups[0].links for m in link.to_server)


def test_a_lone_sequence_number_is_the_least():
    """Who is served and leaves, again and again, comes back to the same world but for the clients that are gone."""
    system = System(Bounds(servers=1, clients=1, warm=True), steady=True)
    explorer = Explorer(lambda: Enquiry(system, Observer()))
    explorer.run()
    assert explorer.complete
    assert all(g.endpoint.sequence <= 4 for key in system._groups.values() for g in key)


def test_the_tale_names_who_holds_whom():
    result = check(Bounds(servers=1, clients=2, distributor_crashes=1, warm=True))
    tale = "\n".join(narrate(result["a_waiter_is_seated"].path))
    assert "the Distributor accepts client 0 on port 1" in tale
    assert "Distributor -> server 1, port 1: HandOff(client 0)" in tale
    assert "Distributor -> Monitor: Store(client 1)" in tale
    assert "1: Distributor (waits) + on its way to the store" in tale
    lost = "\n".join(narrate(result["the_named_loss_happens"].path))
    assert "dies after 0 of the effects" in lost
    assert lost.endswith("lost: the Distributor alone held it when it died")


def test_every_action_can_be_rendered():
    """Whatever happens in a world in which everything may go wrong."""
    bounds = Bounds(
        **dict.fromkeys(Bounds.__dataclass_fields__, 1) | {"clients": 2, "fixed": True, "without": (), "begins": ""}
    )
    seen = set()

    class Rendering(Observer):
        def step(self, before, action, after, wrong):
            seen.add(type(action.what) if not isinstance(action.what, Deed) else action.what)
            return ()

    explorer = Explorer(lambda: Enquiry(System(bounds, steady=True), Rendering()))
    explorer.run(max_states=3_000)
    assert Deed.ARRIVES in seen and distributor.Received in seen and len(seen) > 15


def test_an_action_is_a_value():
    assert ClientConnects(0, 1) == ClientConnects(0, 1) != ClientConnects(0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(servers=2, clients=2, distributor_crashes=1, server_crashes=1, hand_off_timeouts=1, stops=1),
        Bounds(
            servers=2, clients=2, fixed=False, listen_failures=1, repeated_binds=1, distributor_crashes=1, hang_ups=1
        ),
    ],
)
def test_a_part_of_the_world_leads_where_the_whole_does(bounds):
    """What is remembered of a part is found with nothing else at hand: here it is compared with the whole."""
    system, choose = System(bounds, steady=True), random.Random(0)
    for _ in range(80):
        world = system.initial()
        for _ in range(20):
            remembered = [*system.successors(world)]
            moves = [*system._client_moves(world), *system._monitor_moves(world)]
            moves += [*system._distributor_moves(world)] if world.distributor is not None else []
            whole = {action: draft.done() for action, draft, _ in moves}
            assert all(whole.get(action, after) == after for action, after, _ in remembered)
            world = choose.choice([after for _, after, _ in remembered] or [system.initial()])
