"""The driver, with a machine of the test's: in which order it acts, and what an error leaves behind."""

from types import SimpleNamespace

import pytest

from maitred.core.transition import Reason, Rejected, Transition
from maitred.shell.driver import Driver


def driving(machine, perform=lambda driver, effect: None, state="first"):
    """A driver of a machine that maps events to effects, and what it notes of all that it calls."""
    noted = []

    def note(what):
        return lambda *of: noted.append(" ".join([what, *map(str, of)]))

    def performed(effect):
        noted.append(f"does {effect}")
        perform(driver, effect)

    driver = Driver(
        lambda state, event: Transition(event, machine[event]) if event in machine else Rejected(Reason.NOT_SPARE),
        state,
        {str: performed},
        SimpleNamespace(event=note("event"), effect=note("effect"), rejected=note("rejected")),
        stepped=note("stepped"),
        declined=lambda event, rejected: noted.append(f"declined {event}"),
        performed=note("performed"),
    )
    return driver, noted


def test_an_effect_is_traced_when_it_has_been_performed():
    driver, noted = driving({"go": ("a", "b")})
    assert driver.handle("go") is None
    steps = ["event go first", "stepped go first", "does a", "effect a", "does b", "effect b", "performed"]
    assert noted == steps and driver.state == "go"


def test_an_event_that_comes_within_an_effect_waits_its_turn():
    """However deep; and what comes first is taken first."""
    calls = {"a": ("then", "last"), "c": ("deep",)}
    machine = {"go": ("a", "b"), "then": ("c", "d"), "last": (), "deep": ()}
    driver, noted = driving(machine, lambda driver, effect: [driver.handle(event) for event in calls.get(effect, ())])
    driver.handle("go")
    performed = [line for line in noted if line.startswith(("event", "does"))]
    assert performed == [
        *("event go first", "does a", "does b", "event then go", "does c", "does d", "event last then"),
        "event deep last",
    ]


def test_what_is_declined_changes_nothing_and_gives_the_reason():
    driver, noted = driving({})
    assert driver.handle("go") == Rejected(Reason.NOT_SPARE)
    assert noted == ["event go first", "declined go", "rejected Reason.NOT_SPARE"] and driver.state == "first"


def test_what_an_effect_raises_ends_the_event_and_the_next_one_is_taken():
    def fail(driver, effect):
        if effect == "bad":
            driver.handle("queued")
            raise InterruptedError

    driver, noted = driving({"go": ("bad", "b"), "queued": ("c",), "next": ("d",)}, fail)
    with pytest.raises(InterruptedError):
        driver.handle("go")
    driver.handle("next")
    assert [line for line in noted if line.startswith(("event", "does"))] == [
        *("event go first", "does bad"),
        *("event next go", "does d"),
    ]


def test_a_state_that_was_loaded_is_the_one_that_is_stepped():
    driver, noted = driving({"go": ()})
    driver.state = "loaded"
    driver.handle("go")
    assert noted[:2] == ["event go loaded", "stepped go loaded"]
