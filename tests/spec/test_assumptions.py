"""What is only assumed is stated where people look for it: the requirements that state an assumption point here."""

import re

import pytest
from tests.spec.checker import ROOT

STATED = [
    ("docs/explanation/what-is-checked.md", "Processing elements on one machine share a kernel"),
    ("docs/explanation/what-is-checked.md", "keep no state of a client after a disconnect"),
    ("docs/how-to/run-your-server.md", "it keeps no state of a client after the client has gone"),
]


@pytest.mark.parametrize(("page", "words"), STATED)
def test_an_assumption_is_stated_in_the_documentation(page, words):
    source = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", (ROOT / page).read_text(encoding="utf-8"))  # links are their texts
    text = " ".join(source.split())
    assert words in text
