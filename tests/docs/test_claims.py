"""Pages that are written by hand claim no more than there is; a figure stands where it is generated, or is checked."""

import re
from pathlib import Path

import pytest
from docs import verdicts
from proofs.mutation.core import CATALOGUE
from proofs.refinement import field_table
from proofs.refinement.bridge import is_compared
from proofs.refinement.pinned_configurations import TIERS, bridge_report
from spec.relation.progress import PROGRESS
from spec.relation.system import ACTIONS
from tests.docs.test_tutorials import PAGE as TUTORIAL
from tests.docs.test_tutorials import Edit, edited, steps
from tests.proofs.refinement.test_sizes import LISTED, PLAIN

from maitred.model.check.manifest import load

ROOT = Path(__file__).resolve().parents[2]
GENERATED = re.compile(r"(Generated|Written|written) (by|from)|also writes this page", re.IGNORECASE)
COUNT = re.compile(
    r"\b(?:\d[\d,]*|\w+ (?:dozen|hundred|thousand|million)|dozen)(?: \w+)? "
    r"(?:systems|states|mutants|obligations|conjuncts|lemmas|configurations|transitions|theorems|worlds|contracts)\b"
)
RULES = {"a million states"}
"""Not a count of what there is: it is what a formula gives."""


def by_hand():
    """The pages that nobody generates, with their text outside of what is typed and shown."""
    pages = [ROOT / "README.md", ROOT / "proofs" / "README.md", *ROOT.glob("spec/*.md"), *ROOT.glob("docs/**/*.md")]
    texts = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in pages}
    return {name: text for name, text in texts.items() if not GENERATED.search("\n".join(text.splitlines()[:12]))}


def counts_in(text):
    """What a page counts that the manifest, the proofs or the catalogues know."""
    return [found for found in COUNT.findall(" ".join(text.split())) if found not in RULES]


def test_what_can_be_counted_is_not_counted_by_hand():
    pages = by_hand()
    assert {"README.md", "proofs/README.md", "spec/README.md", "docs/explanation/decisions.md"} <= pages.keys()
    assert {
        "docs/explanation/what-is-checked.md",
        "docs/reference/trace.md",
        "docs/how-to/troubleshoot.md",
    } <= pages.keys()
    pages["README.md"] = re.sub(r"^```console\n(.*?)^```", r"\1", pages["README.md"], flags=re.MULTILINE | re.DOTALL)
    prose = {name: re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL) for name, text in pages.items()}
    assert {name: found for name, text in prose.items() if (found := counts_in(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "every state of 33 small systems, with crashes",
        "one hours (`make campaign`, over five million states)",
        "configuration (eight\nmillion states)",
        "a catalogue of 356 mutants",
        "1,590 obligations",
        "a dozen small systems",
    ],
)
def test_a_count_by_hand_is_seen(text):
    assert len(counts_in(text)) == 1


OUTSIDE = {
    "a stop": "the closing of the system",
    "ListeningFailed": "sockets that cannot be opened",
    "Deed.LEAKS": "an audit that finds connections gone",
}
"""Why the bridge has stopped, and how the pages describe it."""


@pytest.mark.parametrize("page", ["docs/explanation/what-is-checked.md", "proofs/README.md"])
def test_the_pages_name_what_the_relation_does_not_model(page):
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert {why for tier in TIERS for row in bridge_report(tier).values() for why in row.outside} == OUTSIDE.keys()
    assert [phrase for phrase in OUTSIDE.values() if phrase not in text] == []
    assert any("counts deaths" in why for why in field_table.NOT_MODELLED.values())
    assert "the counting of deaths" in text
    assert "asks_again" in ACTIONS.by_name
    assert "audits that only wake" in text or "`asks_again`" in text


def test_the_page_has_the_numbers_that_relation_and_machines_may_contain():
    """On them rests that a larger state has nothing new to compare."""
    text = " ".join((ROOT / "docs/explanation/what-is-checked.md").read_text(encoding="utf-8").split())
    assert {0, 1, -1} == PLAIN
    many = ("none", "one", "two", "three", "four", "five")[len(LISTED)]
    assert f"contains no numbers but 0, 1 and -1, the machines {many} that are listed" in text


# ---------------------------------------------------------------- what the page of verdicts states of its own figures


@pytest.fixture(scope="module")
def page():
    return verdicts.page()


def test_what_was_not_explored_again_has_rows_of_its_own(page, monkeypatch):
    assert verdicts.outdated() == []
    counts = {one.name: one.counts["states"] for one in load() if one.safety and not one.violated}
    of_now = [states for name, states in counts.items() if name not in verdicts.OLDER]
    assert f"| {sum(of_now):,} states of {len(of_now)} configurations |" in page
    hours = [states for name, states in verdicts.OLDER.items() if name == "everything dies, four clients"]
    assert f"| exhausted in hours{verdicts.BEFORE} | " in page or not hours
    name = min(verdicts.OLDER, default="")
    monkeypatch.setattr(verdicts, "OLDER", {name: 1, "no such configuration": 2})
    assert [line.partition(":")[0] for line in verdicts.outdated()] == [name, "no such configuration"]


def test_a_run_over_fewer_mutants_is_reported_as_such(page):
    of_all = r"^(\d+) mutants; "
    then = int(verdicts._sentence("mutants.md", of_all, "{}"))
    assert verdicts._since("mutants.md", of_all, then) == ""
    assert f"there are {then + 1:,} in place of {then:,}" in verdicts._since("mutants.md", of_all, then + 1)
    assert verdicts._since("mutants.md", of_all, len(CATALOGUE)) in page


def test_what_helps_progress_and_is_not_compared_is_named(page):
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("- `") and "`: " in line}
    for theorem in PROGRESS.values():
        helps = {name for case in theorem.cases for name in case.helpful}
        listed = lines[theorem.name].partition(" Spared meanwhile: ")[0]
        assert {name for name in helps if f"`{name}`" in listed} == {n for n in helps if not is_compared(n)}


# ---------------------------------------------------------------- the tutorial


def test_what_the_tutorial_edits_is_there(tmp_path):
    edits = [step for step in steps(TUTORIAL.read_text()) if isinstance(step, Edit)]
    assert len(edits) >= 4
    for edit in edits:
        copy = tmp_path / edit.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / edit.file).read_text())
        edited(tmp_path, edit)
