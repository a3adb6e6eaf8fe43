"""Each of these facts stands in one place: a search finds it there, and nowhere else."""

import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "reference" / "maitred"
READERS = Path(__file__).parents[2] / "proofs" / "refinement" / "readers.py"

FACTS = {
    "a property's sentence, witnesses, occasion and violations": (
        r"(?m)^@(always|always_of_steps|sometimes|and_of_every_world)\b",
        {
            f"model/claims/safety/{room}.py"
            for room in ("distributor", "monitor", "server", "shared", "witnesses", "worlds")
        },
    ),
    "which step is taken, and when its effects are performed": (r"= self\._step\(", {"shell/driver.py"}),
    "what an action of the closed system is": (r"(?m)^Action: TypeAlias", {"model/world/actions.py"}),
    "the table of bounds": (r"(?m)^    \w+: int = _bound\(", {"model/world/bounds.py"}),
    "the default maximum of clients": (r"\bmax_clients: int = \d", {"config/keys.py"}),
}
"""By a pattern of what states the fact, the files in which it may stand."""


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_stands_in_one_place(fact):
    pattern, where = FACTS[fact]
    texts = {path.relative_to(REFERENCE).as_posix(): path.read_text() for path in REFERENCE.rglob("*.py")}
    assert {name for name, text in texts.items() if re.search(pattern, text)} == where


def test_each_symbol_of_the_relation_has_one_reader():
    symbols = re.findall(r'(?m)^reads\("(\w+)"', READERS.read_text())
    assert symbols and len(symbols) == len(set(symbols))
