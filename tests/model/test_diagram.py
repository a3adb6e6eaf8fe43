"""The picture of a path says what the path says: every message from its sending to its end, every holder."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from maitred.core import distributor
from maitred.core.messages import Accepted, BindReply, Client, Count, HandOff, InitialMsg, KeepDialog
from maitred.model import diagram, scene, svg
from maitred.model.checker import Bounds, Verdict, check
from maitred.model.diagram import write
from maitred.model.words import Holder, holders, label
from maitred.model.world import Fate, System

SVG = "{http://www.w3.org/2000/svg}"
SYSTEMS = (
    Bounds(servers=1, clients=1),
    Bounds(servers=1, clients=2, distributor_crashes=1, warm=True),
    Bounds(servers=2, clients=3, reorders=1, descriptor_losses=1, unsent=1, warm=True),
    Bounds(servers=1, clients=1, server_crashes=1, forked_children=1, stops=1, warm=True),
    Bounds(servers=1, clients=2, dynamic=1, creations=1, deletions=1, warm=True),
    Bounds(servers=1, clients=2, hang_ups=1, queue_timeouts=1, listener_closes=1, warm=True),
)


@pytest.fixture(scope="module")
def found():
    """A way to every witness of every system."""
    results = [check(bounds, max_states=4_000) for bounds in SYSTEMS]
    return [on for result in results for on in result.verdicts if on.path is not None]


@pytest.fixture(scope="module")
def survived():
    """The ways of a Distributor's death that is survived, and of one that is not."""
    result = check(Bounds(servers=1, clients=2, distributor_crashes=1, warm=True))
    return result["a_stored_client_is_restored_and_served"], result["the_named_loss_happens"]


# ================================================================ messages


def follows(path):
    """What is wrong with the arrows: each must be under way exactly while its message is in its channel."""
    wrong = []
    drawn = scene.scene(path)
    worlds = [path.start, *(step.world for step in path.steps)]
    for number, world in enumerate(worlds):
        lying = {}
        for (sender, receiver, _), messages in scene._channels(world).items():
            lying[sender, receiver] = lying.get((sender, receiver), 0) + len(messages)
        drawn_there = {}
        for arrow in drawn.arrows:
            end = arrow.read if arrow.read is not None else arrow.lost
            if arrow.sent <= number and (end is None or end > number):
                key = arrow.sender, arrow.receiver
                drawn_there[key] = drawn_there.get(key, 0) + 1
        if {k: n for k, n in lying.items() if n} != drawn_there:
            wrong.append((number, lying, drawn_there))
    for number, step in enumerate(path.steps, 1):
        read = [a for a in drawn.arrows if a.read == number and a.sent < number]
        message = getattr(step.action.what, "message", None)
        if message is not None and [a.text.split()[0] for a in read] != [type(message).__name__]:
            wrong.append((number, step.action, read))
    return wrong


def test_every_message_is_drawn_from_its_sending_to_its_end(found):
    assert len(found) > 20
    for on in found:
        assert follows(on.path) == [], on.property.name


def test_a_message_that_is_not_followed_is_noticed(found, monkeypatch):
    monkeypatch.setattr(scene, "_source", lambda action: None)
    assert any(follows(on.path) for on in found)


def test_what_was_overtaken_and_what_was_lost_are_marked(found):
    arrows = {on.property.name: scene.scene(on.path).arrows for on in found}
    assert [a.text.split()[0] for a in arrows["a_count_arrives_out_of_order"] if a.late] == ["Disconnect"]
    lost = [a for a in arrows["a_client_outlives_the_server_it_was_sent_to"] if a.lost is not None]
    assert [a.text for a in lost] == ["HandOff client 0"]
    declined = [a for a in arrows["an_unsent_client_is_placed_anew"] if a.lost == a.sent]
    assert [a.text for a in declined] == ["HandOff client 0"]


def test_a_message_is_labelled_with_whom_it_is_about():
    client = Client(0, 7, 1)
    assert label(HandOff(client)) == "HandOff client 7"
    assert label(Accepted(client, Count(2, 5))) == "Accepted client 7 (serves 2)"
    assert label(InitialMsg(1, (client,))) == "InitialMsg, forget client 7"
    assert label(KeepDialog(3, 1)) == "KeepDialog server 3"
    assert label(BindReply(1, 98)) == "BindReply (errno 98)"
    assert label(BindReply(1, 0)) == "BindReply"


# ================================================================ who holds whom


def test_whoever_holds_a_connection_is_in_its_band(found):
    for on in found:
        system = System(on.path.bounds, steady=True)
        for step in on.path.steps:
            mask = system.holders(step.world)
            for cookie, guest in enumerate(step.world.guests):
                kinds = {held.holder for held in holders(step.world, cookie)}
                assert bool(kinds) is (guest.fate in (Fate.BACKLOG, Fate.IN))
                if guest.fate is Fate.IN and mask >> cookie & 1:
                    assert Holder.NOWHERE not in kinds


def test_a_connection_that_nobody_holds_is_held_nowhere():
    world = System(Bounds(servers=1, clients=1, warm=True)).initial()
    stray = world._replace(guests=(world.guests[0]._replace(fate=Fate.IN),))
    assert [held.holder for held in holders(stray, 0)] == [Holder.NOWHERE]


# ================================================================ the file


def drawn(file):
    root = ET.fromstring(file.read_text())
    return root, [element.text for element in root.iter(f"{SVG}text")]


def test_the_drawing_is_whole(survived, tmp_path):
    on, _ = survived
    write(on.path, on, tmp_path / "picture.svg")
    root, texts = drawn(tmp_path / "picture.svg")
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text == f"{on.property.name}: a shortest way to see it, {len(on.path.steps)} steps"
    assert on.property.text in root.find(f"{SVG}desc").text
    numbers = {str(number) for number in range(1, len(on.path.steps) + 1)}
    assert numbers <= set(texts)
    assert {"client 0", "client 1", "kernel", "Monitor", "Distributor 1", "Distributor 2", "server 1"} <= set(texts)
    assert {"HandOff client 1", "Store client 1", "Restore client 1"} <= set(texts)
    assert f"{on.property.name} is witnessed in step {len(on.path.steps)}" in texts
    wide, high = (float(each) for each in root.get("viewBox").split()[2:])
    assert wide < 2_000 and high < 120 * len(on.path.steps)
    for element in root.iter(f"{SVG}text"):
        assert 0 <= float(element.get("x")) <= wide and 0 <= float(element.get("y")) <= high


def test_a_broken_property_is_drawn_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(distributor._Work, "next_to_seat", lambda work: None)
    on = check(Bounds(servers=1, clients=2, warm=True)).counterexample
    for suffix in (".svg", ".mmd", ".md"):
        write(on.path, on, tmp_path / f"broken{suffix}", reasons=["And so it goes."])
        text = (tmp_path / f"broken{suffix}").read_text()
        assert "no_one_waits_while_a_seat_is_free is broken by step 8" in text
        assert "Client 1 waits on port 1 while a seat is free at server 1 (0 of 1)." in text
        assert "And so it goes." in text
    assert svg.ALARM in (tmp_path / "broken.svg").read_text()


def test_every_way_can_be_drawn(found, tmp_path):
    for on in found:
        for suffix in diagram.SUFFIXES:
            write(on.path, on, tmp_path / f"{on.property.name}{suffix}")
        root, _ = drawn(tmp_path / f"{on.property.name}.svg")
        discs = [element for element in root.iter(f"{SVG}circle") if element.get("r") == "9"]
        assert len(discs) == len(on.path.steps)


def test_what_the_text_says_cannot_break_the_file(survived, tmp_path):
    on, _ = survived
    hostile = "</text><script>1 & 2; #3 | 4"
    for suffix in diagram.SUFFIXES:
        write(on.path, on, tmp_path / f"hostile{suffix}", reasons=[hostile])
    _, texts = drawn(tmp_path / "hostile.svg")
    assert hostile in texts
    remark = (tmp_path / "hostile.mmd").read_text().splitlines()[-1]
    assert remark.endswith("<br/>#lt;/text#gt;#lt;script#gt;1 & 2#59; #35;3 | 4")


def test_a_round_that_goes_on_for_ever_is_marked(survived, tmp_path):
    on, _ = survived
    broken = type(on)(on.property, Verdict.VIOLATED, on.path)
    for start, said, loops in (
        (4, "from here on for ever ↻", 1),
        (len(on.path.steps), "nothing that must happen can", 0),
    ):
        write(on.path, broken, tmp_path / "lasso.svg", cycle_start=start)
        _, texts = drawn(tmp_path / "lasso.svg")
        assert any(said in text for text in texts)
        assert f"{on.property.name} is broken for ever" in texts
        write(on.path, broken, tmp_path / "lasso.mmd", cycle_start=start)
        lines = [line.strip() for line in (tmp_path / "lasso.mmd").read_text().splitlines()]
        assert lines.count("loop from here on for ever") == lines.count("end") == loops


@pytest.mark.parametrize(("name", "wrong"), [("picture.png", "the suffix '.png'"), ("picture", "no suffix")])
def test_a_file_of_another_kind_is_declined(survived, tmp_path, name, wrong):
    on, _ = survived
    with pytest.raises(ValueError, match=r"a diagram is written to a file in \.svg, \.mmd, \.md") as error:
        write(on.path, on, tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and wrong in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", [-1, 99])
def test_a_round_that_begins_nowhere_is_declined(survived, tmp_path, start):
    on, _ = survived
    with pytest.raises(ValueError, match=f"cycle_start is {start}; the path has 16 steps"):
        write(on.path, on, tmp_path / "picture.svg", cycle_start=start)


def test_the_bounds_are_told_in_words():
    bounds = Bounds(servers=2, clients=1, dynamic=1, creations=-1, hang_ups=1, warm=True)
    assert diagram.bounds_in_words(bounds) == (
        "2 static servers, 1 dynamic server, 1 seat each, 1 port, 1 client, at most 2 waiting, hang ups: 1,"
        " creations: any number, warm"
    )


# ================================================================ for everybody's eyes


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_can_be_read_on_every_colour():
    """7 to 1 is what WCAG asks for at its strictest, 4.5 to 1 what it asks of all text."""
    assert svg.FILL.keys() == set(Holder)
    assert all(contrast(svg.INK, fill) >= 7 for fill in svg.FILL.values())
    assert contrast(svg.ALARM, svg.STRIPE) >= 4.5 and contrast(svg.FAINT, svg.STRIPE) >= 4.5
    assert contrast("#ffffff", "#999999") < 4.5  # a check that can fail


def test_nothing_is_told_by_colour_alone(survived, tmp_path):
    """Whoever holds a connection is named on the band whenever that changes."""
    on, _ = survived
    write(on.path, on, tmp_path / "picture.svg")
    _, texts = drawn(tmp_path / "picture.svg")
    rows = scene.scene(on.path).rows
    for old, new in pairwise(rows):
        for cookie, held in enumerate(new.held):
            if held != old.held[cookie]:
                for i, each in enumerate(held):
                    assert each.short + (" +" if i < len(held) - 1 else "") in texts


def test_unread_messages_do_not_lie_on_each_other(found):
    for on in found:
        drawing = scene.scene(on.path)
        lanes = svg._lanes(drawing)
        held = {}
        order = drawing.lifelines.index
        for arrow, lane in zip(drawing.arrows, lanes, strict=True):
            if lane is None:
                continue
            end = next((e for e in (arrow.read, arrow.lost) if e is not None), len(drawing.rows))
            side = arrow.receiver, order(arrow.sender) < order(arrow.receiver)
            for other_start, other_end in held.get((side, lane), []):
                assert arrow.sent > other_end or end < other_start, on.property.name
            held.setdefault((side, lane), []).append((arrow.sent, end))


def test_the_file_is_the_same_each_time(survived, tmp_path):
    on, _ = survived
    for name in ("one.svg", "two.svg"):
        write(on.path, on, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert Path(tmp_path / "one.svg").stat().st_size < 100_000


def test_a_server_that_dies_in_the_path_is_dead_after_it(found, tmp_path):
    on = next(on for on in found if on.property.name == "a_client_outlives_the_server_it_was_sent_to")
    write(on.path, on, tmp_path / "picture.mmd")
    assert "Note over server1: server 1 is dead" in (tmp_path / "picture.mmd").read_text()
    rows = scene.scene(on.path).rows
    assert "server 1" in rows[0].alive and "server 1" not in rows[-1].alive
