"""`spec/machines.md` is written by hand: it names all that the vectors have, and nothing else.

That what it says is true is what the Rust port shows, which was written from it.
"""

import re
from pathlib import Path

import pytest

from maitred.core.transition import Reason
from maitred.vectors import files

PAGE = Path(__file__).parents[2] / "spec/machines.md"
QUOTED = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"\.(?:md|toml)\b")
ELSEWHERE = {"BIND_YOURSELF", "null"}
"""A number that `wire.md` names, and a word of JSON."""


@pytest.fixture(scope="module")
def quoted():
    """Each word in backquotes."""
    text = PAGE.read_text(encoding="utf-8")
    quotes = (quote for quote in QUOTED.findall(text) if not FILE.search(quote))
    return {word for quote in quotes for word in re.findall(r"[A-Za-z_]\w*", quote)}


def names(json, kinds, fields, members):
    """All kinds of records, names of fields and members of enumerations in a value of the vectors."""
    if isinstance(json, dict):
        for name, value in json.items():
            if name == "is":
                kinds.add(value)
            elif not name.startswith("#"):
                fields.add(name)
            names(value, kinds, fields, members)
    elif isinstance(json, list):
        for value in json:
            names(value, kinds, fields, members)
    elif isinstance(json, str) and re.fullmatch(r"[A-Z][A-Z_]+", json):
        members.add(json)


@pytest.fixture(scope="module")
def vectors():
    kinds, fields, members = set(), set(), set()
    for vector in files.steps():
        for part in (vector.state, vector.event, *vector.then.get("effects", ())):
            names(part, kinds, fields, members)
    return kinds, fields, members


def test_every_event_timer_and_message_of_the_vectors_is_on_the_page(quoted, vectors):
    kinds, _, members = vectors
    assert {*kinds} - quoted - {"SetTimer", "Send", "SendControl", "Tell", "TellDistributor", "Told"} == set()
    assert {*members} - quoted == set()
    assert {reason.name for reason in Reason} - quoted == set()


def test_every_field_of_a_state_is_on_the_page(quoted):
    fields = set()
    for vector in files.steps():
        names(vector.state, set(), fields, set())
    assert fields - quoted == set()


def test_the_page_names_nothing_that_is_not_in_the_vectors(quoted, vectors):
    kinds, fields, members = vectors
    reasons = {reason.name for reason in Reason}
    assert quoted - kinds - fields - members - reasons == ELSEWHERE
