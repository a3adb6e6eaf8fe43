"""The glossary explains the words of the project; each page written by hand links them where they first appear."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "GLOSSARY.md").read_text()
ANCHORS = re.findall(r'<a id="([\w-]+)"></a>\*\*', GLOSSARY)
UNMISTAKABLE = (
    "processing element", "incarnation", "dialog", "hand-off", "outstanding", "canonical form", "bridge", "mutant",
    "conjunct", "heard out", "in hand", "owed", "world", "witness",
)  # fmt: skip
"""Words that mean nothing else in prose; the others (known, free, place, step) are English as well."""
ROOMS = ("explanation", "how-to", "tutorial")
OUTSIDE = re.compile(
    r"<!-- table.*?\n\n.*?\n\n|```.*?```|`[^`]*`|!?\[[^\]]*\]\([^)]*\)|^#[^\n]*$|<[^>]*>", re.DOTALL | re.M
)
"""Where no word is linked: generated tables, code, links, headings."""
HAND = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "spec/README.md", "proofs/README.md"),
    *sorted(str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / "docs" / room).glob("*.md")),
)
PAGES = {page: "../" * page.count("/") for page in HAND if page != "docs/explanation/load-and-abuse.md"}  # generated
"""The pages that are written by hand, and the way from each to the glossary."""


def test_each_word_is_there_once():
    assert len(ANCHORS) == len(set(ANCHORS))
    assert {anchor(word) for word in UNMISTAKABLE} <= {*ANCHORS}


@pytest.mark.parametrize("page", PAGES)
def test_a_word_is_linked_where_it_first_appears(page):
    text = (ROOT / page).read_text()
    prose = OUTSIDE.sub(lambda match: " " * len(match[0]), text)
    unlinked = []
    for word in UNMISTAKABLE:
        first = re.search(rf"\b{word}(?:s|es)?\b", prose, re.IGNORECASE)
        link = text.find(f"]({PAGES[page]}GLOSSARY.md#{anchor(word)})")
        if first and not 0 <= link < first.start():
            unlinked.append(word)
    assert unlinked == []


def anchor(word):
    return "heard" if word == "heard out" else word.replace(" ", "-")


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[sp]*/README.md")])
def test_a_link_into_the_glossary_leads_somewhere(path):
    assert {*re.findall(r"GLOSSARY\.md#([\w-]+)", path.read_text())} <= {*ANCHORS}
