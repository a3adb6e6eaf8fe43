"""The runner of mutmut reads what mutmut wrote, knows a change again, and lets no survivor pass unnamed."""

import json

import pytest
from proofs.mutation.mutmut import __main__ as mutation
from proofs.mutation.mutmut.__main__ import Change, ListError, Score, equivalents, function_of, main, page

SURVIVOR = Change("timing.backoff", "for _ in range(min(attempt, 64)):", "for _ in range(min(attempt, 65)):")
ENTRY = """
[[equivalent]]
function = "timing.backoff"
removed = "for _ in range(min(attempt, 64)):"
added = "for _ in range(min(attempt, 65)):"
why = "The cap is reached long before."
"""


@pytest.fixture
def listed(tmp_path):
    def write(text):
        path = tmp_path / "equivalent.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("maitred.core.timing.x_backoff__mutmut_7", "timing.backoff"),
        ("maitred.core.server.x__message_read__mutmut_18", "server._message_read"),
        ("maitred.core.distributor.xǁ_WorkǁsettleǁX__mutmut_1", "distributor._Work.settle.X"),
        ("maitred.core.tree.xǁTreeǁ__eq____mutmut_3", "tree.Tree.__eq__"),
    ],
)
def test_a_function_is_called_as_in_the_core(name, function):
    assert function_of(name) == function


def test_what_became_of_the_mutants_is_counted(tmp_path, monkeypatch):
    folder = tmp_path / "mutants" / "src" / "maitred" / "core"
    folder.mkdir(parents=True)
    codes = {"a": 1, "b": 3, "c": 0, "d": None, "e": -24, "f": 33}
    (folder / "timing.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    (folder / "messages.py.meta").write_text(json.dumps({"exit_code_by_key": {}}))
    monkeypatch.setattr(mutation, "BUILD", tmp_path)
    monkeypatch.setattr(mutation, "_change", lambda name: SURVIVOR)
    assert mutation.scores() == {"timing": Score(killed=2, timed_out=1, survived=(SURVIVOR,), unchecked=1, other=1)}


def test_the_list_of_equivalents_is_read(listed):
    assert equivalents(listed(ENTRY)) == {SURVIVOR: "The cap is reached long before."}


def test_the_list_that_is_here_can_be_read():
    assert all(change.function.count(".") > 0 for change in equivalents())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ENTRY.replace('why = "The cap is reached long before."', ""), "entry 1 should have"),
        (ENTRY.replace("The cap is reached long before.", ""), "entry 1 should have"),
        (ENTRY + ENTRY, "entry 2 is there twice: timing.backoff"),
    ],
)
def test_a_list_that_is_not_as_it_should_be_is_an_error(listed, text, says):
    with pytest.raises(ListError, match=says):
        equivalents(listed(text))


@pytest.mark.parametrize(
    ("known", "unchecked", "status", "says"),
    [
        ({}, 0, 1, "survived: timing.backoff: "),
        ({SURVIVOR: "why"}, 0, 0, "0 survivors to look into"),
        ({SURVIVOR: "why", Change("tree._set", "a", "b"): "why"}, 0, 1, "lists what does not survive: tree._set"),
        ({SURVIVOR: "why", Change("tree._set", "a", "b"): "why"}, 1, 0, "not all were run yet"),
    ],
)
def test_a_survivor_is_killed_or_explained(known, unchecked, status, says, monkeypatch, capsys):
    monkeypatch.setattr(mutation, "scores", lambda: {"timing": Score(9, 0, (SURVIVOR,), unchecked, 0)})
    monkeypatch.setattr(mutation, "equivalents", lambda: known)
    assert main(["--report"]) == status
    assert says in capsys.readouterr().out


def test_the_page_shows_the_score_and_why_each_survivor_cannot_matter():
    other = Change("tree._set", "a | b", "")
    text = page({"timing": Score(8, 1, (SURVIVOR, other), 0, 0)}, {SURVIVOR: "The cap is reached long before."})
    assert "| `timing` | 11 | 8 | 1 | 2 | 1 | 0 |" in text
    assert "| The cap is reached long before. |" in text
    assert "| `` tree._set `` | `` a \\| b `` | nothing | **not looked into yet** |" in text


def test_a_module_that_is_not_there_is_a_plain_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["nowhere", "--report"])
    assert stopped.value.code == 2
    assert "no such module of the core: nowhere" in capsys.readouterr().err
