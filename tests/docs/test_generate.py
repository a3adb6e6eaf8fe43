"""The generated pages and figures of `docs/` describe what the code does, and cover it."""

from enum import Enum

import pytest
from docs import generate

from maitred.core import distributor, messages, monitor
from maitred.core.wire import TAGS
from maitred.model.world import Program


@pytest.fixture(scope="module")
def files():
    """What the generator writes: made once, as it takes some seconds."""
    return generate.files()


def test_no_generated_file_is_stale(files, monkeypatch):
    monkeypatch.setattr(generate, "files", lambda: files)
    assert generate.main(["--check"]) == 0


def test_a_stale_file_is_seen_and_mended(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "files", lambda: files)
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    generate.main([])
    assert generate.main(["--check"]) == 0
    (tmp_path / "generated" / "messages.md").write_text("something else")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "stale: generated/messages.md; run: python -m docs.generate\n"


def section(page, title):
    """The text under a heading."""
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "phases"),
    [
        ("The Distributor", distributor.Phase),
        ("A dialog, as the Distributor sees it", distributor.DialogPhase),
        ("The creation of a dynamic server", distributor.Creation),
        ("The Monitor", monitor.Phase),
        ("A server's place", monitor.PlacePhase),
        ("The Distributor's place", monitor.DistributorPhase),
        ("A program, on one port", Program),
    ],
)
def test_every_phase_is_reached_in_its_diagram(files, title, phases: type[Enum]):
    text = section(files["generated/state-machines.md"], title)
    assert "[*] --> " in text
    assert [phase for phase in phases if f'state "{phase.value}" as ' not in text] == []


def test_every_message_is_sent_and_read(files):
    page = files["generated/messages.md"]
    for kind in TAGS.values():
        row = page.partition(f"### {kind.__name__}\n")[2].partition("\n### ")[0]
        assert "| sent on | " in row, kind
        assert "| the reader's effects | " in row or "| the reader changes | " in row, kind
        assert "](../../spec/wire.md#" in row, kind


def test_the_links_to_the_wire_format_exist(files):
    wire = (generate.REQUIREMENTS.parent / "wire.md").read_text()
    headings = {line[4:].lower().replace(": ", "-") for line in wire.splitlines() if line.startswith("### ")}
    for kind in TAGS.values():
        anchor = next(h for h in headings if h.endswith(f"-{kind.__name__.lower()}"))
        assert f"wire.md#{anchor})" in files["generated/messages.md"]


def test_an_edge_that_the_code_takes_no_more_is_gone(monkeypatch):
    """The diagrams follow the code: here a dialog that is not listened on any more stays ready."""

    systems = [bounds for bounds in generate.SYSTEMS if bounds.listener_closes]
    monkeypatch.setattr(generate, "SYSTEMS", systems)
    monkeypatch.setattr(generate, "STATES", 1)

    def edges():
        return generate.explored().edges["A dialog, as the Distributor sees it"]

    edge = (distributor.DialogPhase.READY.value, distributor.DialogPhase.OPENED.value)
    assert edges()[edge] == {"NotReady"}
    received = distributor._ACTIONS[distributor.Received]

    def deaf(work, event):
        if not isinstance(event.message, messages.NotReady):
            received(work, event)

    monkeypatch.setitem(distributor._ACTIONS, distributor.Received, deaf)
    assert edge not in edges()
