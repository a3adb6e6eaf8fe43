"""The core's own `dataclass` and `replace` do what the standard library's do, but for the frozen fields."""

import dataclasses

import pytest

from maitred.core import distributor
from maitred.core.messages import Adopt, Begin, Client, Count
from maitred.core.value import replace


def test_only_what_is_named_is_replaced():
    assert replace(Count(3, 7), sequence=8) == Count(3, 8)
    assert replace(Client(1, 2, 80), arrival=0, port=81) == Client(0, 2, 81)


def test_what_is_replaced_is_a_field():
    with pytest.raises(TypeError, match="colour"):
        replace(Count(3, 7), colour=8)


def test_the_original_stays():
    old = Count(3, 7)
    assert replace(old, clients=4) != old == Count(3, 7)


def test_values_are_compared_hashed_and_ordered_by_their_fields():
    assert Client(1, 9, 80) == Client(1, 9, 80) < Client(2, 1, 80)
    assert len({Client(1, 9, 80), Client(1, 9, 80), Client(2, 1, 80)}) == 2
    assert [field.name for field in dataclasses.fields(Count)] == ["clients", "sequence"]


def test_a_value_has_no_other_attributes():
    with pytest.raises(AttributeError):
        Count(3, 7).colour = 8


def test_a_step_changes_its_own_copy_and_not_the_state_that_it_was_given():
    state = distributor.initial(1, 0, 64, ((80, "*:80"),), True)
    given, same = state, replace(state)
    for event in Begin(), distributor.Listening(80, "*:80"), Adopt(1, 1, 1, False, False, (80,), (80,)):
        after = distributor.step(given, event).state
        assert given == same != after
        given, same = after, replace(after)
