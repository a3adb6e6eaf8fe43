"""The tale of a path that ends with what the last step changed, and why the property is broken."""

from maitred.core import distributor
from maitred.model.check.checker import Bounds, check
from maitred.model.story.narrate import headline, narrate
from maitred.model.world import ClientConnects, DistributorStep

BOUNDS = Bounds(servers=1, clients=2, warm=True)


def test_the_tale_ends_with_what_the_last_step_changed_and_why(monkeypatch):
    monkeypatch.setattr(distributor._Work, "next_to_seat", lambda work: None)
    found = check(BOUNDS).counterexample
    assert found is not None and found.path is not None
    plain, full = list(narrate(found.path)), list(narrate(found.path, found.property.name))
    assert full[: len(plain)] == plain
    table, reason = full[len(plain) : -1], full[-1]
    assert table[0] == "What the last step changed:"
    assert [row.split("  ")[-1].strip() for row in table if "row of server 1: clients" in row] == ["1 of 1 -> 0 of 1"]
    assert reason == "Why: Client 1 waits on port 1 while a seat is free at server 1 (0 of 1)."


def test_an_endless_run_names_where_its_cycle_begins():
    path = check(BOUNDS)["a_waiter_is_seated"].path
    assert path is not None
    tale = list(narrate(path, cycle_start=3))
    here = tale.index(f"From here on for ever, again and again until step {len(path.steps)}:")
    assert tale[here + 1].startswith("  4. ")
    assert (
        list(narrate(path, cycle_start=len(path.steps)))[-1] == "From here on for ever: nothing that must happen can."
    )
    assert [line for line in narrate(path) if "for ever" in line] == []


def test_a_caller_may_choose_the_words():
    action = DistributorStep(distributor.Fired(distributor.RestOver(3)))
    assert headline(action) == "the Distributor finds a timer run out: RestOver(server=3)"
    assert headline(action, lambda value: type(value).__name__).endswith("run out: RestOver")
    assert headline(ClientConnects(0, 2)) == "client 0 connects (port 2)"
