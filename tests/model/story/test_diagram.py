"""The picture of a path shows what the path holds: every message from its sending to its end, every holder."""

import dataclasses
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from maitred.core import distributor
from maitred.core.messages import Accepted, BindReply, Client, Count, HandOff, InitialMsg, KeepDialog
from maitred.model.check.checker import Bounds, Verdict, check
from maitred.model.story import diagram, sequence, svg
from maitred.model.story.diagram import write, write_lasso
from maitred.model.story.text import Held, Holder, holders, label
from maitred.model.world import ANY, Assumption, Fate, System

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
LEAVING = "clients keep leaving"
LASSOS = (
    # What is explored, what is not assumed, what is refuted then, for whom, and how many of the steps are repeated.
    (
        Bounds(servers=1, clients=3, waiting_limit=1, returns=True, warm=True),
        (LEAVING,),
        "who_waits_is_seated_or_ends",
        "client 1",
        0,
    ),
    (
        Bounds(servers=1, clients=2, unsent=1, accept_failures=ANY, warm=True),
        ("faults cease",),
        "who_is_in_the_backlog_is_seated_or_ends",
        "client 0",
        2,
    ),
    (
        Bounds(servers=1, clients=0, server_crashes=1, warm=True),
        ("programs bind",),
        "a_static_server_is_up_again",
        "place 0 (server 1, then server 2)",
        0,
    ),
    (
        Bounds(servers=1, clients=0, server_crashes=1, forked_children=1, warm=True),
        ("kills are performed",),
        "a_condemned_server_frees_its_place",
        "place 0 (server 1)",
        0,
    ),
    (
        Bounds(servers=1, clients=1, interruptions=1, warm=True),
        ("lost hand-offs time out",),
        "a_hand_off_is_settled",
        "client 0",
        0,
    ),
    (
        Bounds(servers=1, clients=0, distributor_crashes=1),
        ("binds are repeated",),
        "a_static_server_is_up_again",
        "place 0 (server 1)",
        0,
    ),
    (
        Bounds(servers=1, clients=2, dynamic=1, creations=1, deletions=ANY, warm=True),
        ("delete delays end",),
        "an_idle_dynamic_server_stops",
        "place 1 (server 2)",
        0,
    ),
    (Bounds(servers=1, clients=1, stops=2, warm=True), (LEAVING, "the grace ends"), "a_stop_ends", "the system", 0),
)
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


@pytest.fixture(scope="module")
def refuted():
    """The verdicts of `LASSOS`, each with its lasso."""
    pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")
    from maitred.model.check.liveness import explore

    found = [explore(bounds, [name]).decide(without)[name] for bounds, without, name, _, _ in LASSOS]
    assert all(on.lasso is not None for on in found)
    return found


@pytest.fixture(scope="module")
def broken():
    """Counterexamples to what must always hold, for want of an assumption about the kernel."""
    results = [
        check(Bounds(servers=1, clients=2, distributor_crashes=1, warm=True, without=(assumption,)))
        for assumption in (Assumption.HEARD_OUT,)
    ]
    bounds = Bounds(servers=1, clients=1, server_crashes=1, forked_children=1, warm=True)
    results.append(check(dataclasses.replace(bounds, without=(Assumption.LAST_PROCESS_ENDS,))))
    found = [on for result in results for on in result.verdicts if on.verdict is Verdict.VIOLATED]
    assert len(found) >= 2
    return found


# ================================================================ messages


def follows(path):
    """What is wrong with the arrows: each must be under way exactly while its message is in its channel."""
    wrong = []
    drawn = sequence.scene(path)
    worlds = [path.start, *(step.world for step in path.steps)]
    for number, world in enumerate(worlds):
        lying = {}
        for (sender, receiver, _), messages in sequence._channels(world).items():
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
    monkeypatch.setattr(sequence, "_source", lambda action, before: None)
    assert any(follows(on.path) for on in found)


def test_what_was_overtaken_and_what_was_lost_are_marked(found):
    arrows = {on.property.name: sequence.scene(on.path).arrows for on in found}
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


def test_no_text_can_break_the_file(survived, tmp_path):
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


def test_the_bounds_are_described_in_words():
    bounds = Bounds(servers=2, clients=1, dynamic=1, creations=-1, hang_ups=1, warm=True)
    assert diagram.bounds_in_words(bounds) == (
        "2 static servers, 1 dynamic server, 1 seat each, 1 port, 1 client, at most 2 waiting, hang ups: 1,"
        " creations: any number, warm"
    )


# ================================================================ for ever


@pytest.mark.parametrize("which", range(len(LASSOS)))
def test_a_lasso_names_whom_it_concerns_and_why(refuted, which, tmp_path):
    on = refuted[which]
    _, without, name, about, _ = LASSOS[which]
    for suffix in diagram.SUFFIXES:
        write_lasso(on.lasso, on, tmp_path / f"lasso{suffix}")
        said = whole(tmp_path / f"lasso{suffix}")
        whose = "" if about == "the system" else f" for {about}"
        assert f"{name} is broken{whose} for ever" in said
        assert f"It is broken for {about}. It arises " in said
        for rule in without:
            assert re.search(rf"{rule} \([^)]+\): That it (happens in the end|ceases) is not assumed here\.", said), (
                rule
            )
        for action, how in on.lasso.fair:
            assert f"{action}: {how}" in said
    root, texts = drawn(tmp_path / "lasso.svg")
    assert f"a way on which it is broken{whose}," in root.find(f"{SVG}title").text
    marked = {each for each in re.findall(r"(?:client|server) \d+", about) if each in texts}
    outlined = [box for box in root.iter(f"{SVG}rect") if box.get("stroke-width") == "2.4"]
    assert len(outlined) == (len(marked) + 1 if marked else 0), "and the legend's"


@pytest.mark.parametrize("which", range(len(LASSOS)))
def test_what_is_repeated_is_marked(refuted, which, tmp_path):
    on = refuted[which]
    repeated = LASSOS[which][-1]
    steps = len(on.lasso.path.steps)
    assert steps - on.lasso.cycle_start == repeated
    write_lasso(on.lasso, on, tmp_path / "lasso.svg")
    _, texts = drawn(tmp_path / "lasso.svg")
    assert any("from here on for ever" in text for text in texts) == bool(repeated)
    if repeated:
        assert f"Steps {on.lasso.cycle_start + 1} to {steps} are repeated for ever." in texts
    else:
        assert f"As it is after step {steps} it stays for ever: nothing that must happen can." in texts


def test_the_picture_of_a_lasso_keeps_the_names_of_servers(refuted):
    """The lasso itself is of normal forms, in which server 2 becomes server 1 when the first is forgotten."""
    lasso = next(on.lasso for on in refuted if on.lasso.about() == "place 0 (server 1, then server 2)")
    normal = [[group.server for group in step.world.groups] for step in lasso.path.steps]
    shown = [[group.server for group in step.world.groups] for step in lasso.shown.steps]
    assert normal[-1] == [1] and shown[-1] == [2]
    assert [System(lasso.path.bounds).canonical(step.world) for step in lasso.shown.steps] == [
        step.world for step in lasso.path.steps
    ]
    rows = sequence.scene(lasso.shown).rows
    assert [name for row in rows for name, _ in row.died] == ["server 1"]


# ================================================================ who dies


def crosses(root):
    """The crosses that are marks of deaths: whose, where, and whether the lifeline goes on."""
    found = []
    for path in root.iter(f"{SVG}path"):
        title = path.find(f"{SVG}title")
        if title is not None:
            x, y = (float(each) for each in re.match(r"M([\d.]+) ([\d.]+)", path.get("d")).groups())
            found.append((title.text, x + 6, y + 6))
    return found


def lifelines(root):
    """Of each lifeline, its x and where it begins and ends."""
    lines = []
    for line in root.iter(f"{SVG}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        if line.get("stroke") == svg.FAINT and len(points) == 2 and points[0][0] == points[1][0]:
            lines.append((points[0][0], points[0][1], points[1][1]))
    return lines


def test_who_dies_gets_a_mark_and_who_is_started_anew_a_box(found, refuted, broken, tmp_path):
    died, parts, anew = 0, 0, 0
    for path, file in pictures(found, refuted, broken, tmp_path):
        root, texts = drawn(file)
        rows = sequence.scene(path).rows
        deaths = [(called, name in row.alive) for row in rows for name, called in row.died]
        marks = sorted(crosses(root))
        assert sorted(f"{called} is dead" for called, _ in deaths) == [title for title, _, _ in marks], file.name
        for called, goes_on in deaths:
            at = [(x, y) for title, x, y in marks if title == f"{called} is dead"]
            ends = {(x, end) for x, _, end in lifelines(root)}
            assert goes_on != any((x, y) in ends for x, y in at), (file.name, called)
            assert not goes_on or called in texts
            died, parts = died + 1, parts + goes_on
        begun = [row.alive[n] for o, row in pairwise(rows) for n in row.alive if row.alive[n] != o.alive.get(n)]
        assert len(lifelines(root)) == len(rows[0].alive) + len(begun)
        assert set(begun) <= set(texts)
        anew += len(begun)
    assert died > 10 and parts >= 3 and anew > 3


def test_the_worlds_agree_on_who_has_died(found, refuted):
    """Derived from the worlds alone: every process that was there and is not, main process or not."""
    for path in [*(on.path for on in found), *(on.lasso.shown for on in refuted)]:
        drawing = sequence.scene(path)
        before = path.start
        for row, step in zip(drawing.rows[1:], path.steps, strict=True):
            main = {group.server for group in before.groups if group.main}
            main -= {group.server for group in step.world.groups if group.main}
            assert {f"server {number}" for number in main} <= {name for name, _ in row.died}
            gone = before.distributor is not None and step.world.distributor is None
            assert (sequence.DISTRIBUTOR in dict(row.died)) == gone
            before = step.world


# ================================================================ every text in its column


def whole(file):
    """Everything that is written, in one line: what is broken into lines is put together."""
    if file.suffix == ".svg":
        return " ".join(" ".join(text for text in drawn(file)[1] if text).split())
    text = file.read_text().replace("<br/>", " ").replace("#59;", ";")
    return " ".join(line.strip().removeprefix("- ") for line in text.splitlines())


def pictures(found, refuted, broken, folder):
    """Every way, drawn: the path and the file."""
    for i, on in enumerate([*found, *broken]):
        file = folder / f"{i}-{on.property.name}.svg"
        write(on.path, on, file)
        yield on.path, file
    for i, on in enumerate(refuted):
        file = folder / f"{i}-for-ever-{on.property.name}.svg"
        write_lasso(on.lasso, on, file)
        yield on.lasso.shown, file


def unread(root):
    """Where messages run down that lie unread: x, and from where to where."""
    for line in root.iter(f"{SVG}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        if line.get("stroke") in (svg.INK, svg.CARRIES):
            yield from ((x, *sorted((y, z))) for (x, y), (to, z) in pairwise(points) if x == to and y != z)


def box(text):
    """Left, top, right and bottom of a text, as the widest of the usual fonts has it."""
    size, bold = float(text.get("font-size", 12)), text.get("font-weight") == "bold"
    wide = svg.extent(text.text, size, bold=bold)
    x, y = float(text.get("x")), float(text.get("y"))
    left = {"start": x, "middle": x - wide / 2, "end": x - wide}[text.get("text-anchor", "start")]
    return left, y - 0.75 * size, left + wide, y + 0.15 * size


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def misplaced(root):
    """Texts that leave the page or their column, lie on each other, or on a box or a disc that is not theirs."""
    wide, high = (float(each) for each in root.get("viewBox").split()[2:])
    texts = [(text.text, box(text), text) for text in root.iter(f"{SVG}text")]
    lines = lifelines(root)
    first = min(x for x, _, _ in lines)
    rects = [dict(r.attrib) for r in root.iter(f"{SVG}rect")]
    held = [r for r in rects if r["fill"] in svg.FILL.values() and "rx" not in r and r["height"] != "13"]
    bands = [(float(r["x"]), float(r["x"]) + float(r["width"])) for r in held]
    words = svg.MARGIN + svg.DISC, svg.MARGIN + svg.DISC + svg.WORDS
    boxes = [[float(r[each]) for each in ("x", "y", "width", "height")] for r in rects if r.get("rx") == "4"]
    discs = [[float(c.get(each)) for each in ("cx", "cy")] for c in root.iter(f"{SVG}circle") if c.get("r") == "9"]
    solid = [(x, y, x + w, y + h) for x, y, w, h in boxes] + [(x - 8, y - 8, x + 8, y + 8) for x, y in discs]
    for i, (text, (left, top, right, bottom), element) in enumerate(texts):
        if left < 0 or top < 0 or right > wide or bottom > high:
            yield text, "leaves the page"
        for other, theirs, _ in texts[i + 1 :]:
            if overlap((left, top, right, bottom), theirs):
                yield text, f"lies on {other}"
        if element.get("paint-order"):  # the label of a message
            if right - left > svg.LABEL + 0.1:
                yield text, "is too long"
            if left < max((end for _, end in bands), default=0):
                yield text, "is in a band"
            if any(left < x < right and begin < bottom and top < end for x, begin, end in lines):
                yield text, "crosses a lifeline"
            if any(left < x < right and begin < bottom and top < end for x, begin, end in unread(root)):
                yield text, "crosses an unread message"
            if any(overlap((left, top, right, bottom), each) for each in solid):
                yield text, "lies on a box or a disc"
        elif float(element.get("x")) == words[0] and top > min(begin for _, begin, _ in lines):
            within = right <= words[1] or top > max(end for _, _, end in lines)
            if not within:
                yield text, "leaves the column of words"
        elif element.get("font-size") == "10.5" and element.get("text-anchor") == "middle":
            middle = float(element.get("x"))
            edges = [(a, b) for a, b in bands if a <= middle <= b]
            column = min((a for a, _ in edges), default=0) - svg.GAP / 2, max((b for _, b in edges), default=first)
            if edges and (left < column[0] or right > column[1] + svg.GAP / 2):
                yield text, "leaves its band"


def test_every_text_is_in_its_column(found, refuted, broken, tmp_path):
    seen = 0
    for _, file in pictures(found, refuted, broken, tmp_path):
        root, _ = drawn(file)
        assert [*misplaced(root)] == [], file.name
        seen += 1
    assert seen > 40


def test_what_is_long_is_shortened_and_whole_in_a_tooltip(survived, tmp_path, monkeypatch):
    """Such names do not come from today's messages: one is made."""
    on, _ = survived
    plain = sequence.label
    monkeypatch.setattr(sequence, "label", lambda message: f"{plain(message)} in a message with a name that has no end")
    shorts = [dataclasses.replace(held, short=f"{held.short} and a good deal of the rest") for held in HELD]
    monkeypatch.setattr(sequence, "holders", lambda world, cookie: shorts)
    write(on.path, on, tmp_path / "long.svg")
    root, _ = drawn(tmp_path / "long.svg")
    assert [*misplaced(root)] == []
    cut = [text for text in root.iter(f"{SVG}text") if text.text.endswith("\u2026")]
    assert len(cut) > 10
    for text in cut:
        assert text.find(f"{SVG}title").text.startswith(text.text[:-1])
        assert len(text.find(f"{SVG}title").text) > len(text.text)


HELD = [Held(Holder.SERVER, "server 1", "server 1"), Held(Holder.STORE, "the store", "store")]


@pytest.mark.parametrize(
    ("text", "plain", "bold"),
    [
        ("Accepted client 1 (serves 1)", 1402, 1576),
        ("a_static_server_is_up_again is broken for ever", 2303, 2581),
        ("main process ended", 1013, 1133),
        ("lost, sent and", 680, 775),
        ("Distributor's row of server 1: dialog on port 1: opened \u2192 ready", 3134, 3540),
    ],
)
def test_texts_are_measured_as_the_widest_font_has_them(text, plain, bold):
    """What FreeType measures of these in 100 pixels of DejaVu Sans, and of its bold face."""
    assert plain <= svg.extent(text, 100) <= 1.1 * plain
    assert bold <= svg.extent(text, 100, bold=True) <= 1.1 * bold


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("aa bb", ["aa bb"]),
        ("aaaa bbbb", ["aaaa", "bbbb"]),
        ("aaaaaaaaaaaaa b", ["aaaaaa", "aaaaaa", "a b"]),
        ("b aaaaaaaaaaaaa", ["b", "aaaaaa", "aaaaaa", "a"]),
    ],
)
def test_words_are_kept_together_where_they_can_be(text, lines):
    room = svg.extent("aaaaaa", 10)
    assert svg._wrapped(text, room, 10) == lines


def test_a_misplaced_text_is_noticed(refuted, tmp_path, monkeypatch):
    on = next(on for on in refuted if on.property.name == "an_idle_dynamic_server_stops")
    monkeypatch.setattr(svg, "_labelled_width", lambda arrow: 40.0)
    write_lasso(on.lasso, on, tmp_path / "narrow.svg")
    assert any("lifeline" in why for _, why in misplaced(drawn(tmp_path / "narrow.svg")[0]))


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


def test_nothing_is_shown_by_colour_alone(survived, tmp_path):
    """Whoever holds a connection is named on the band whenever that changes."""
    on, _ = survived
    write(on.path, on, tmp_path / "picture.svg")
    _, texts = drawn(tmp_path / "picture.svg")
    rows = sequence.scene(on.path).rows
    for old, new in pairwise(rows):
        for cookie, held in enumerate(new.held):
            if held != old.held[cookie]:
                for i, each in enumerate(held):
                    assert each.short + (" +" if i < len(held) - 1 else "") in texts


def test_unread_messages_do_not_lie_on_each_other(found):
    for on in found:
        drawing = sequence.scene(on.path)
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
    rows = sequence.scene(on.path).rows
    assert "server 1" in rows[0].alive and "server 1" not in rows[-1].alive
