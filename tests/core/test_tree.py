"""The persistent map: it is a dict in the order of its keys, and one content has one shape, whatever its history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.core import tree
from maitred.core.tree import Tree

KEYS = st.integers(-8, 8)  # few, so that histories meet; -1 and -2 have one hash
VALUES = st.integers(0, 3)
HISTORIES = st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES)), max_size=60)
"""What was done in order: set the key to the value, or remove it where the value is None."""


def replay(history):
    """The tree and the dict that the history leads to."""
    mine, model = Tree(), {}
    for key, value in history:
        if value is None:
            mine = mine.remove(key)
            model.pop(key, None)
        else:
            mine = mine.set(key, value)
            model[key] = value
    return mine, model


def shape(node):
    """The tree as nested tuples."""
    return node and (shape(node.left), node.key, node.value, shape(node.right))


def check_order(node):
    """Every node's scrambled hash is at least its children's, its size is true; gives the depth."""
    if node is None:
        return 0
    for child in (node.left, node.right):
        assert child is None or tree._above(node, child)
    assert node.size == 1 + sum(child.size for child in (node.left, node.right) if child)
    return 1 + max(check_order(node.left), check_order(node.right))


@given(HISTORIES)
def test_it_is_a_dict_in_the_order_of_its_keys(history):
    mine, model = replay(history)
    assert list(mine) == sorted(model)
    assert list(mine.items()) == sorted(model.items())
    assert list(mine.values()) == [model[key] for key in sorted(model)]
    assert len(mine) == len(model)
    assert bool(mine) is bool(model)
    assert mine.first() == min(model.items(), default=None)
    for key in range(-9, 10):
        assert mine.get(key, "none") == model.get(key, "none")
        assert (key in mine) == (key in model)
        if key in model:
            assert mine[key] == model[key]
        else:
            with pytest.raises(KeyError):
                mine[key]


@given(HISTORIES, HISTORIES)
def test_trees_are_equal_exactly_where_their_contents_are(one, two):
    (a, model_a), (b, model_b) = replay(one), replay(two)
    assert (a == b) is (model_a == model_b)


@given(HISTORIES, st.randoms(use_true_random=False))
def test_one_content_has_one_shape_whatever_its_history(history, random):
    mine, model = replay(history)
    entries = list(model.items())
    random.shuffle(entries)
    again = Tree.of(entries)
    assert shape(again._root) == shape(mine._root)
    assert again == mine
    assert hash(again) == hash(mine)
    assert repr(again) == repr(mine)


@given(st.sets(st.integers(-100, 100), min_size=3, max_size=30), st.data())
def test_what_is_left_after_removals_has_the_shape_of_what_was_never_more(keys, data):
    removed = data.draw(st.sets(st.sampled_from(sorted(keys)), min_size=1))
    mine = Tree.of((key, None) for key in keys)
    for key in removed:
        mine = mine.remove(key)
    assert shape(mine._root) == shape(Tree.of((key, None) for key in keys - removed)._root)


@given(HISTORIES)
def test_every_node_is_above_its_children_and_knows_its_size(history):
    mine, _ = replay(history)
    check_order(mine._root)


@given(HISTORIES, KEYS, VALUES)
def test_an_update_leaves_the_old_tree_as_it_was(history, key, value):
    mine, model = replay(history)
    before = hash(mine)
    mine.set(key, value)
    mine.remove(key)
    assert dict(mine.items()) == model
    assert hash(mine) == before == hash(replay(history)[0])


def test_removing_what_is_not_there_gives_the_very_same_tree():
    mine = Tree.of([(1, "a"), (3, "b")])
    assert mine.remove(2) is mine
    assert Tree().remove(2) == Tree()


def test_of_two_entries_with_one_key_the_later_wins():
    assert dict(Tree.of([(1, "a"), (1, "b")]).items()) == {1: "b"}


def test_keys_whose_hashes_collide_have_one_shape_too():
    assert hash(-1) == hash(-2)
    up, down = Tree.of([(-2, 0), (-1, 0), (0, 0)]), Tree.of([(0, 0), (-1, 0), (-2, 0)])
    assert shape(up._root) == shape(down._root)


def test_a_tree_shows_what_it_holds():
    assert repr(Tree.of([(2, "b"), (1, "a")])) == "Tree({1: 'a', 2: 'b'})"


def test_a_tree_is_not_equal_to_what_is_no_tree():
    assert Tree() != {}
    assert Tree() != 0


def test_trees_of_one_size_and_digest_are_still_compared_entry_by_entry():
    """Equality must not rest on the digests: `1` and `True` hash alike, and so do -1 and -2."""
    assert hash(Tree.of([(0, -1)])) == hash(Tree.of([(0, -2)]))
    assert Tree.of([(0, -1)]) != Tree.of([(0, -2)])


@pytest.mark.parametrize("step", [1, -1, 2**10, 2**32])
def test_sorted_keys_do_not_make_a_chain(step):
    mine = Tree.of((step * count, None) for count in range(4_096))
    assert check_order(mine._root) <= 40  # the expected depth of a treap of 4,096 is about 2 ln n = 17, its bound 40
