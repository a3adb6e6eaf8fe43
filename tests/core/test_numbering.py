"""Numbers are moved closer together with their counter, and whatever is wrong between them stays wrong."""

from hypothesis import given
from hypothesis import strategies as st

from maitred.core.numbering import closed_up, spaced

NUMBERS = st.sets(st.integers(0, 12), max_size=5)


def test_what_is_below_the_counter_closes_up_and_the_counter_follows():
    assert closed_up({3, 7, 9}, 20) == {3: 0, 7: 1, 9: 2, 20: 3}
    assert closed_up({3, 7}, 8, first=1) == {3: 1, 7: 2, 8: 3}


def test_a_counter_that_has_fallen_behind_stays_so():
    assert closed_up({3, 7, 9}, 7) == {3: 0, 7: 1, 9: 3}
    assert closed_up({3, 7, 9}, 5) == {3: 0, 5: 1, 7: 3, 9: 5}


def test_what_nobody_counts_on_closes_up():
    assert closed_up({3, 7}, None) == {3: 0, 7: 1}


@given(NUMBERS, st.integers(0, 12), st.integers(1, 6))
def test_the_counter_meets_the_numbers_after_as_many_steps(numbers, counter, steps):
    new = closed_up(numbers, counter)
    assert sorted(new, key=new.__getitem__) == sorted(new)
    for number in numbers:
        before, after = counter + steps - number, new[counter] + steps - new[number]
        assert (before > 0, before == 0) == (after > 0, after == 0)


def test_distances_that_can_be_gone_are_kept():
    assert spaced({1, 3}, 5, 2) == {0: 0, 1: 1, 3: 3, 5: 5}
    assert spaced({10, 30}, 50, 2) == {0: 0, 10: 4, 30: 8, 50: 11}
    assert spaced({10, -1}, None, 0) == {-1: -1, 0: 0, 10: 2}


@given(NUMBERS, st.none() | st.integers(0, 12), st.integers(0, 4), st.data())
def test_from_wherever_it_is_set_the_counter_meets_the_numbers_after_as_many_steps(numbers, counter, steps, data):
    """It is set to 0 or to a successor of a number, or stays; and rises so many times."""
    new = spaced(numbers, counter, steps)
    bases = [(0, 0), *((n + 1, new[n] + 1) for n in numbers)]
    bases += [(counter, new[counter])] if counter is not None else []
    old_base, new_base = data.draw(st.sampled_from(bases))
    risen = data.draw(st.integers(0, steps))
    for number in numbers:
        before, after = old_base + risen - number, new_base + risen - new[number]
        assert (before > 0, before == 0) == (after > 0, after == 0)
