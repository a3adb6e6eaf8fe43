"""A Monitor of two server classes with different maxima, ports and elements: neither is taken for the other."""

from maitred.core import monitor
from maitred.core.messages import Adopt, Client, Restore, Store
from maitred.core.transition import Transition

FIRST = monitor.ClassConfig(1, 0, 3, 4, (0,), ((1, "*:1"),), True)
SECOND = monitor.ClassConfig(2, 1, 7, 9, (1,), ((2, "*:2"),), True)


def run(*events):
    """All effects of the events, in a Monitor that has just been started, and its state."""
    state, effects = monitor.initial((FIRST, SECOND), (1, 4)), []
    for event in (monitor.Started(), *events):
        taken = monitor.step(state, event)
        assert isinstance(taken, Transition), (event, taken)
        state = taken.state
        effects += taken.effects
    return state, effects


def sent(effects, kind):
    """Of each message of the class to a Distributor: to which, and the message."""
    sent = [effect for effect in effects if isinstance(effect, monitor.SendDistributor)]
    return [(effect.class_id, effect.message) for effect in sent if isinstance(effect.message, kind)]


def test_each_class_is_adopted_with_its_own_maximum_and_weight():
    _, effects = run()
    adopted = [(of, message.max_clients, message.weight) for of, message in sent(effects, Adopt)]
    assert sorted(adopted) == [(0, 3, 1), (1, 7, 4), (1, 7, 4)]


def test_each_class_listens_on_its_own_ports_and_runs_on_its_own_elements():
    state, effects = run()
    begun = {e.class_id: (e.element, e.listeners) for e in effects if isinstance(e, monitor.StartDistributor)}
    assert begun == {0: (0, ((1, "*:1"),)), 1: (1, ((2, "*:2"),))}
    assert {(e.class_id, e.element) for e in effects if isinstance(e, monitor.StartServer)} == {(0, 0), (1, 1)}
    assert [element.processes for element in state.elements.values()] == [2, 3]


def test_who_waits_in_one_class_is_restored_there():
    client = Client(0, 5, 2)
    due = monitor.Fired(monitor.RestartDistributor(1, 0))
    state, effects = run(monitor.Reported(1, Store(client)), monitor.DistributorExited(1), due)
    assert sent(effects, Restore) == [(1, Restore(client))]
    assert [len(cls.store) for cls in state.classes.values()] == [0, 1]


def test_the_death_of_one_class_counts_there_alone():
    state, _ = run()
    number = next(iter(state.classes[1].living))
    state, effects = run(monitor.ServerExited(1, number), monitor.ServerGone(1, number))
    assert [place.deaths for place in state.classes[0].places.values()] == [0]
    assert sorted(place.deaths for place in state.classes[1].places.values()) == [0, 1]
    due = [e.timer for e in effects if isinstance(e, monitor.SetTimer) and isinstance(e.timer, monitor.RestartServer)]
    assert [timer.class_id for timer in due] == [1]
