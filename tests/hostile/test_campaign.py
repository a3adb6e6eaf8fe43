"""A campaign of some seconds: honest servers and clients do not notice what a hostile copy and hostile clients do."""

import json

import pytest
from tests.hostile.attacks import ATTACKS
from tests.hostile.campaign import HONEST, Plan, run

pytestmark = [pytest.mark.system, pytest.mark.chance, pytest.mark.timeout(300)]
SECONDS = 8


def test_nobody_else_is_harmed(tmp_path):
    found = run(tmp_path, Plan(SECONDS, tuple(ATTACKS), peace=0.5, attack=0.3))

    assert found.wrong == [], found.table()
    assert found.attacks.total() >= 3, "it was at war"
    assert found.visits[HONEST, "served"] and found.waits[f"{HONEST}, in war"], "clients of good will came"
    assert set(found.attacks) <= set(ATTACKS)
    attacked = {}
    for what, pid, _, at in map(str.split, (tmp_path / "deeds").read_text().splitlines()):
        if what == "attack":
            attacked.setdefault(int(pid), float(at))
    lines = map(json.loads, (tmp_path / "instance" / "trace").read_text().splitlines())
    assert not [line for line in lines if line["t"] > attacked.get(line["pid"], line["t"])], "a hostile copy's words"
