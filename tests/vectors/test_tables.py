"""The check list of every event in every phase: it is of the vectors as they are, and no event is missing."""

import re
from pathlib import Path

from spec.vectors import tables

from maitred.vectors import codec

ROOT = Path(__file__).parents[2]


def test_the_page_is_not_stale():
    assert tables.main(["--check"]) == 0


def test_every_event_has_a_row_for_every_phase():
    page = tables.PAGE.read_text()
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]) for line in page.splitlines() if line.startswith("| ")}
    for machine in codec.MACHINES:
        wanted = {(event, phase) for event in tables.events_of(machine) for phase in tables.phases_of(machine)}
        assert sorted(wanted - rows) == []


def test_the_order_of_work_names_events_that_there_are():
    page = (ROOT / "docs" / "how-to" / "order-of-work.md").read_text()
    events = {event for machine in codec.MACHINES for event in tables.events_of(machine)}
    named = re.findall(r"`([A-Z]\w+)`", page)
    assert len(named) > 10
    assert [name for name in named if name not in events] == []


def test_the_effects_of_a_row_are_those_of_its_vectors():
    row = tables.collected()["distributor", "AuditDue", "operating"]
    assert {"SetTimer.AuditDue"} == set.intersection(*row.effects)
    assert {"Audit", "SetTimer.AuditDue"} == set.union(*row.effects)  # there may be no server to ask about
    assert not row.reasons and row.after == {"operating"}
