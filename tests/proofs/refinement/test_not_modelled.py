"""What the relation does not model is listed in `proofs/README.md`: exactly that, with what checks each instead."""

import ast
import re
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
from proofs.mutation.bridge_column import answer
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Kind, Mutant
from proofs.refinement.bridge import DEEP, Divergence, compare_on_the_way
from proofs.refinement.field_table import DELAY, NOT_MODELLED
from proofs.refinement.readers import WORDS

from maitred.core import distributor, messages, monitor, server
from maitred.core.messages import HandOff, InitialMsg
from maitred.model.check.checker import check
from maitred.model.check.liveness import LIVENESS
from maitred.model.check.manifest import load
from maitred.model.claims.property import PROPERTIES
from maitred.model.world import Bounds, Deed
from maitred.model.world.draft import Draft

pytestmark = pytest.mark.properties

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "proofs" / "refinement"
CODE = re.compile(r"`([^`]+)`")


def rows(page):
    """The table: what each row names in its first column, and what is said to check that."""
    table = page.partition("**What is not.**")[2].partition("\n|---|---|---|\n")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    assert all(len(row) == 3 and all(row) for row in cells), "no blank"
    return [(CODE.findall(what), wrong, CODE.findall(checks)) for what, wrong, checks in cells]


PAGE = (ROOT / "proofs" / "README.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- what the code says


def kinds(union):
    """The names of the classes of a union."""
    return {kind.__name__ for kind in get_args(union)}


def named(tree):
    """The names that stand in the code, imports and docstrings apart."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return found | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


OPEN = {
    ("_monitor_event", "type(event).__name__"): lambda has: kinds(monitor.Event) - has,
    ("_monitor_timer", "type(timer).__name__"): lambda has: kinds(monitor.Timer) - has,
    ("_timer", "type(timer).__name__"): lambda has: kinds(distributor.Timer) - has,
    ("_event", "type(event).__name__"): lambda has: kinds(distributor.Event) - has,
    ("server_moves", "str(event)"): lambda has: kinds(server.Event) - has,
    ("_heard", "type(message).__name__"): lambda has: kinds(messages.ToMonitor) - has,
    ("refuse", "type(word).__name__"): lambda has: kinds(messages.ToMonitor) - {*WORDS.values()},
    ("refuse", "type(message).__name__"): lambda has: kinds(messages.ToDistributor) - has,
    ("refuse", "type(event).__name__"): lambda has: {"ListeningFailed"} & has,
    ("plan", "action.what.value"): lambda has: {"Deed.EXITS"},
    ("plan", "str(action.what)"): lambda has: {"Deed.LEAKS"},
}
"""Where the reason is no text: which it may be, given the names in the function around it."""


def reasons(texts):
    """Every reason of a `NotModelled` in these sources."""
    found = set()
    for text in texts:
        tree, seen = ast.parse(text), 0
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "NotModelled":
                    seen += 1
                    (said,) = call.args
                    if isinstance(said, ast.Constant):
                        found.add(said.value)
                    else:
                        found |= OPEN[function.name, ast.unparse(said)](named(function))
        assert seen == text.count("NotModelled("), "each in a function, and in none within another"
    return found


TEXTS = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.py")}
TEXTS["abstraction.py"] = TEXTS["abstraction.py"].replace("class NotModelled(Exception)", "class NotModelled")
UNIONS = (
    *(monitor.Event, monitor.Effect, monitor.Timer, distributor.Event, distributor.Effect, distributor.Timer),
    *(server.Event, server.Effect, messages.ToMonitor, messages.ToDistributor, messages.ToServer, messages.FromServer),
    *(messages.ControlToServer, messages.ControlFromServer),
)


def untranslated(text):
    """What the bridge has no name for, or answers with no transition: events, effects, messages, timers, deeds."""
    tree, empty = ast.parse(text), set()
    for case in ast.walk(tree):
        if isinstance(case, ast.match_case) and [ast.unparse(line) for line in case.body] == ["return []"]:
            empty |= named(case.pattern)
    all_of_them = set().union(*map(kinds, UNIONS))
    deeds = set(Deed.__members__) - {"ARRIVES"}  # `ClientConnects` has no other
    missing = (all_of_them | deeds) & ((all_of_them | deeds) - named(tree) | empty)
    return {f"Deed.{name}" if name in deeds else name for name in missing}


def outside(texts):
    """All that the table must name."""
    delays = {field for field, why in NOT_MODELLED.items() if why == DELAY}
    return reasons(texts.values()) | untranslated(texts["bridge.py"]) | delays


def test_the_table_lists_what_is_not_modelled_and_nothing_else():
    listed = [name for names, _, _ in rows(PAGE) for name in names if name != "asks_again"]
    assert sorted(listed) == sorted(outside(TEXTS))


def test_what_checks_it_exists():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = {*PROPERTIES, *LIVENESS, *CATALOGUE, *(one.slug for one in load())}
    known |= set(re.findall(r"def (test_\w+)\(", tests))
    for what, _, checks in rows(PAGE):
        assert checks, what
        assert {*checks} <= known


NEW = [
    ("abstraction.py", "\n\ndef more(world):\n    raise NotModelled('a new one')\n", "a new one"),
    ("traces.py", "\n\ndef more(world):\n    raise NotModelled('a new one')\n", "a new one"),
]


@pytest.mark.parametrize(("name", "text", "reason"), NEW, ids=[name for name, _, _ in NEW])
def test_a_new_reason_without_a_row_is_noticed(name, text, reason):
    assert outside({**TEXTS, name: TEXTS[name] + text}) - outside(TEXTS) == {reason}


def test_a_reason_that_is_no_text_must_be_explained():
    text = TEXTS["bridge.py"] + "\n\ndef more(event):\n    raise NotModelled(str(event))\n"
    with pytest.raises(KeyError, match="more"):
        outside({**TEXTS, "bridge.py": text})


BENT = [
    ("case distributor.ControlEnded():", "case distributor.Ended():", "ControlEnded"),
    ('Unresponsive: "monitor_receives_unresponsive",', "", "Unresponsive"),
    ("case Deed.IS_KILLED:", "case Deed.IS_SHOT:", "Deed.IS_KILLED"),
]


@pytest.mark.parametrize(("old", "new", "name"), BENT, ids=[name for _, _, name in BENT])
def test_what_the_bridge_does_not_translate_any_more_is_noticed(old, new, name):
    assert TEXTS["bridge.py"].count(old) == 1
    mutated = TEXTS["bridge.py"].replace(old, new)
    assert outside({**TEXTS, "bridge.py": mutated}) - outside(TEXTS) == {name}


# ---------------------------------------------------------------- what comes without its descriptor, or out of order


IGNORED = Mutant(
    "a_dialog_that_comes_is_not_noted",
    Kind.FORGOTTEN,
    "A dialog comes, and its descriptor does not.",
    "monitor._message_about_server",
    "dialogs=place.dialogs.set(message.port, known)",
    "dialogs=place.dialogs",
    within=Bounds(servers=1, clients=1, distributor_crashes=1),
)
SLIPS = [
    (CATALOGUE["the_store_keeps_nobody"], "monitor_stores leads elsewhere"),
    (CATALOGUE["a_dialog_is_not_kept"], "sends_initial is not enabled"),
    (IGNORED, "monitor_keeps_dialog leads elsewhere"),
    (CATALOGUE["a_successor_is_not_told_who_lives"], "distributor_starts leads elsewhere"),
]
"""Each is what the core would do if the message, or its descriptor, were lost and nobody did anything about it."""


@pytest.mark.parametrize(("slip", "where"), SLIPS, ids=[slip.name for slip, _ in SLIPS])
def test_a_message_that_is_lost_is_noticed_by_the_bridge(slip, where):
    with slip.mutated():
        assert answer(slip.within) == (where,)


@contextmanager
def hand_offs_pass_questions():
    """In the world, a hand-off comes before each InitialMsg that is unread; what is yielded counts how often."""
    plain, passed = Draft._send, []

    def mutated(self, effect, declined):
        plain(self, effect, declined)
        group = self.group(effect.server)
        link = group.link(effect.port) if group else None
        if isinstance(effect.message, HandOff) and link is not None and effect.message in link.to_server:
            unread = link.to_server
            first = next(i for i in range(len(unread) + 1) if all(isinstance(x, InitialMsg) for x in unread[i:-1]))
            if first < len(unread) - 1:
                passed.append(effect)
                self.put_link(group, link._replace(to_server=(*unread[:first], unread[-1], *unread[first:-1])))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft, "_send", mutated)
        yield passed


def test_a_hand_off_that_passes_a_question_is_noticed_and_harmless():
    """The shell holds an InitialMsg back while a dialog is full: the bridge parts there, and no property is broken."""
    with hand_offs_pass_questions() as passed, pytest.raises(Divergence, match=r"down.*InitialMsg.*HandOff"):
        compare_on_the_way(DEEP["interrupted with room"], "x 53", 150, enabled=False)
    assert len(passed) == 1
    with hand_offs_pass_questions() as passed:
        assert check(Bounds(servers=1, clients=2, max_clients=2, audits=1, leaks=1, warm=True)).ok
    assert passed
