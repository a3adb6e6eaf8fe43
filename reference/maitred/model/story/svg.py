"""A path as a sequence diagram in SVG: time runs down, processes stand side by side, colours show client owners.

How to read it, and how it is laid out
--------------------------------------
From left to right: each step in words; for every client a band, coloured by who holds its connection; a lifeline for
every process.  The numbered disc of a step is on the lifeline of whoever takes it.  A message leaves its sender in the
row in which it is sent, runs down beside its reader while it is unread, and enters where it is read.  So no line is
slanted, and labels stay clear of lines.  A process that dies gets a cross, which ends its lifeline unless
other processes of its server live; a process that starts gets a box, where its lifeline begins.  The colours are Okabe
and Ito's, lightened for black text; no information depends on colour alone.

No text leaves its column.  Fonts differ, so texts are measured (`extent`) in the widest of the usual ones.  Text that
is too wide is broken into lines; where there is only one line, it is shortened and the tooltip has all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from maitred.model.story.sequence import DISTRIBUTOR, Arrow, Row, Scene
from maitred.model.story.text import Change, Held, Holder
from maitred.model.world import Fate

FILL: Final = {
    Holder.BACKLOG: "#d9d9d9",
    Holder.DISTRIBUTOR: "#a6d5f2",
    Holder.STORE: "#e6c1d9",
    Holder.FLIGHT: "#f6ee9e",
    Holder.SERVER: "#8ed4bd",
    Holder.NOWHERE: "#f2a680",
}
INK, FAINT, RULE, PAPER, STRIPE = "#111111", "#555555", "#b8b8b8", "#ffffff", "#f6f6f6"
ALARM: Final = "#b03a00"
"""Okabe and Ito's vermilion, darkened: for what is lost, dead or broken."""
CARRIES: Final = "#8a5a00"
"""The line of a message beside which a connection travels."""
MARGIN, DISC, WORDS, GAP = 24.0, 26.0, 300.0, 16.0
BAND: Final = (84.0, 128.0)
"""Least and greatest width of a client's band."""
LABEL: Final = 210.0
"""Greatest width of a message's label."""
LINE, SEND = 15.0, 19.0
"""Pixels from one line of text to the next, and from one message of a step to the next."""
LANE: Final = 7.0
"""Pixels between messages that lie unread beside the same reader."""
MARK: Final = 16.0
"""Pixels from a process's last action to the mark of its death."""
WIDTHS: Final = {
    character: width
    for characters, width in {
        " Iijl'": 0.3,
        ",.:;/\\|f": 0.36,
        "-()[]t": 0.4,
        '!r"': 0.46,
        "*_`szc?": 0.55,
        "FLPkvxy": 0.61,
        "0123456789$ESTYabdeghnopqu{}": 0.64,
        "ABCKRUVXZ": 0.73,
        "&DGHNOQ": 0.79,
        "#+<=>^~w\u2192\u21ba\u21bb": 0.84,
    }.items()
    for character in characters
}
"""Widths of characters, in parts of the font's size, in DejaVu Sans and so at least in Helvetica; others: 1."""
BOLDER: Final = 1.15
SHORT_FATES: Final = {
    Fate.LEFT: ("served,", "has left"),
    Fate.DROPPED: ("dropped",),
    Fate.STOPPED: ("let go at", "the stop"),
    Fate.LOST_ALONE: ("lost with the", "Distributor"),
    Fate.LOST_SENT: ("lost, sent and", "unanswered"),
    Fate.LOST_SERVED: ("lost with", "its server"),
    Fate.LOST_BACKLOG: ("lost with", "the backlog"),
    Fate.LOST: ("LOST",),
}


class Words:
    """The texts around the drawing."""

    def __init__(
        self,
        title: str,
        subtitle: str,
        verdict: str,
        statement: str,
        reasons: Sequence[str],
        *,
        broken: bool,
        marked: Collection[str] = (),
    ) -> None:
        """Store the texts.

        Args:
            title: the heading.
            subtitle: what the system is.
            verdict: in a few words.
            statement: the property's sentence.
            reasons: why; a line that begins with spaces continues the one before it.
            broken: whether the property is broken.
            marked: the clients and servers whose columns are marked.
        """
        self.title = title
        self.subtitle = subtitle
        self.verdict = verdict
        self.statement = statement
        self.reasons = reasons
        self.broken = broken
        self.marked = marked


def extent(text: str, size: float, *, bold: bool = False) -> float:
    """How wide the text is at most, in pixels."""
    return sum(WIDTHS.get(character, 1.0) for character in text) * size * (BOLDER if bold else 1.0)


def draw(scene: Scene, words: Words, cycle_start: int | None = None) -> str:
    """The text of an SVG file."""
    return _Drawing(scene, words, cycle_start).text()


class _Drawing:
    """One drawing while it is built."""

    def __init__(self, scene: Scene, words: Words, cycle_start: int | None) -> None:
        self.scene = scene
        self.words = words
        self.cycle_start = cycle_start
        self.clients = [
            cookie for cookie in range(len(scene.rows[0].held)) if any(_present(row, cookie) for row in scene.rows)
        ]
        self.band = self._band()
        self.bands = {c: MARGIN + DISC + WORDS + GAP + i * (self.band + GAP) for i, c in enumerate(self.clients)}
        self.lanes = _lanes(scene)
        self.columns, right = self._columns()
        self.width = max(980.0, right)
        self.svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})

    def text(self) -> str:
        ET.SubElement(self.svg, "title").text = self.words.title
        description = [self.words.statement, *(f"{row.number}. {row.text}." for row in self.scene.rows[1:])]
        ET.SubElement(self.svg, "desc").text = " ".join([*description, *self.words.reasons])
        paper = ET.SubElement(self.svg, "rect", {"width": "100%", "height": "100%", "fill": PAPER})
        self._markers()
        y = self._heading()
        y = self._legend(y)
        self.tops, bottom = self._tops(y + 34)
        self._stripes(bottom)
        self._headers(y + 6)
        self._bands(bottom)
        self._lifelines(bottom)
        self._arrows(bottom)
        self._steps()
        self._cycle(bottom)
        y = self._table(bottom + (48 if self.cycle_start is not None else 34))
        y = self._reasons(y + 16)
        self.svg.set("viewBox", f"0 0 {_px(self.width)} {_px(y)}")
        self.svg.set("width", _px(self.width))
        self.svg.set("height", _px(y))
        self.svg.set("font-family", "Helvetica, Arial, 'Liberation Sans', sans-serif")
        self.svg.set("font-size", "12")
        paper.set("height", _px(y))
        ET.indent(self.svg, " ")
        return ET.tostring(self.svg, encoding="unicode") + "\n"

    # ------------------------------------------------ elements

    def _text(self, x: float, y: float, text: str, **style: str) -> ET.Element:
        attributes = {name.replace("_", "-"): value for name, value in style.items()}
        element = ET.SubElement(self.svg, "text", {"x": _px(x), "y": _px(y), "fill": INK, **attributes})
        element.text = text
        return element

    def _fitted(self, x: float, y: float, text: str, room: float, **style: str) -> None:
        """A line of text, shortened to `room` pixels if necessary."""
        short = _shortened(text, room, float(style["font_size"]), bold=style.get("font_weight") == "bold")
        element = self._text(x, y, short, **style)
        if short != text:
            ET.SubElement(element, "title").text = text

    def _lines(self, x: float, y: float, lines: Sequence[str], apart: float, **style: str) -> float:
        """Write lines, one below the other; return the y of the next line."""
        for line in lines:
            self._text(x, y, line, **style)
            y += apart
        return y

    def _rect(self, x: float, y: float, wide: float, high: float, fill: str, **style: str) -> None:
        attributes = {name.replace("_", "-"): value for name, value in style.items()}
        box = {"x": _px(x), "y": _px(y), "width": _px(wide), "height": _px(high), "fill": fill}
        ET.SubElement(self.svg, "rect", {**box, **attributes})

    def _line(self, points: Sequence[tuple[float, float]], colour: str, **style: str) -> None:
        attributes = {name.replace("_", "-"): value for name, value in style.items()}
        way = " ".join(f"{_px(x)},{_px(y)}" for x, y in points)
        ET.SubElement(self.svg, "polyline", {"points": way, "fill": "none", "stroke": colour, **attributes})

    def _cross(self, x: float, y: float, size: float = 5, title: str = "") -> None:
        """A cross, with a tooltip."""
        wide = _px(2 * size)
        path = f"M{_px(x - size)} {_px(y - size)}l{wide} {wide}m-{wide} 0l{wide} -{wide}"
        cross = ET.SubElement(self.svg, "path", {"d": path, "fill": "none", "stroke": ALARM, "stroke-width": "2.2"})
        if title:
            ET.SubElement(cross, "title").text = title

    def _markers(self) -> None:
        definitions = ET.SubElement(self.svg, "defs")
        for name, colour in (("message", INK), ("connection", CARRIES)):
            box = {"viewBox": "0 0 10 10", "refX": "9", "refY": "5", "markerWidth": "7", "markerHeight": "7"}
            marker = ET.SubElement(definitions, "marker", {"id": name, **box, "orient": "auto"})
            marker.set("markerUnits", "userSpaceOnUse")
            ET.SubElement(marker, "path", {"d": "M0 0 10 5 0 10z", "fill": colour})

    # ------------------------------------------------ where things are

    def _band(self) -> float:
        """The width of a client's band: that of its longest text, within limits."""
        rooms = [BAND[0]]
        for row in self.scene.rows:
            for cookie in self.clients:
                rooms += [extent(text, 10.5) for text in _named(row.held[cookie])]
                rooms += [extent(text, 10.5, bold=True) for text in SHORT_FATES.get(row.fates[cookie], ())]
        return min(max(rooms) + 8, BAND[1])

    def _columns(self) -> tuple[dict[str, float], float]:
        """The x of each lifeline, with room for what lies between two; and where the last column ends."""
        names = self.scene.lifelines
        order = {name: i for i, name in enumerate(names)}
        boxes = [self._box(name.capitalize() + " 1" * (name == DISTRIBUTOR)) for name in names]
        gaps = [max(92.0, (box + following) / 2 + 14) for box, following in zip(boxes, [*boxes[1:], 0.0], strict=True)]
        before = boxes[0] / 2 + 4
        for arrow, lane in zip(self.scene.arrows, self.lanes, strict=True):
            if arrow.sender not in order:
                before = max(before, _labelled_width(arrow) + 16)
                continue
            here, there = order[arrow.sender], order[arrow.receiver]
            right = there > here
            gap = here if right else here - 1
            facing = names[here + 1 if right else here - 1]
            far = self._facing(facing, arrow, from_right=not right)
            gaps[gap] = max(gaps[gap], self._aside(arrow, right=right) + _labelled_width(arrow) + far)
            if lane is not None:
                beside = there - 1 if right else there
                gaps[beside] = max(gaps[beside], 48.0 + LANE * (lane + 1))
        for row in self.scene.rows:
            for name, called in row.died:
                if name in row.alive:
                    gaps[order[name]] = max(gaps[order[name]], extent(called, 10.5) + 10 + MARGIN)
        left = MARGIN + DISC + WORDS + GAP + len(self.clients) * (self.band + GAP) + before
        columns = {}
        for name, room in zip(names, gaps, strict=True):
            columns[name] = left
            left += room
        return columns, left

    def _tops(self, y: float) -> tuple[list[float], float]:
        """The y of each row, and of the end of the last."""
        tops = []
        for row in self.scene.rows:
            tops.append(y)
            words, remarks = _wrapped_row(row)
            sends = SEND * (self._offset(row.number, None) + 1) + 8
            labels = max((len(row.held[c]) * 12 + 10 for c in self.clients if self._new(row, c)), default=0)
            deaths = max((15 + self._parting(name, row.number) + MARK + 9 for name, _ in row.died), default=0)
            lines = len(words) * LINE + len(remarks) * (LINE - 2) + 14
            y += max(lines, sends, labels + 6, deaths, 32) if row.number else max(sends, 26)
            if self.cycle_start == row.number and row is not self.scene.rows[-1]:
                y += LINE  # for the words above the dashed line
        return tops, y

    def _sent(self, number: int) -> list[Arrow]:
        return [arrow for arrow in self.scene.arrows if arrow.sent == number]

    def _offset(self, number: int, arrow: Arrow | None) -> int:
        """The line of its row in which the arrow leaves; for None, the row's last line."""
        sent = self._sent(number)
        busy = any(a.read == number and a.sent != number for a in self.scene.arrows)
        first = 1 if busy and sent else 0
        return first + (max(len(sent) - 1, 0) if arrow is None else next(i for i, a in enumerate(sent) if a is arrow))

    def _parting(self, name: str, number: int) -> float:
        """How far below the row's disc the last message leaves that the dying process sends in this row."""
        return max((SEND * self._offset(number, a) for a in self._sent(number) if a.sender == name), default=0.0)

    def _y_of(self, number: int) -> float:
        """Where the row's disc is."""
        return self.tops[number] + 15

    # ------------------------------------------------ heading and legend

    def _heading(self) -> float:
        room = self.width - 2 * MARGIN
        title = _wrapped(self.words.title, room, 18, bold=True)
        y = self._lines(MARGIN, 34, title, 22, font_size="18", font_weight="bold") - 2
        y = self._lines(MARGIN, y, _wrapped(self.words.statement, room, 13), 18, font_size="13")
        return self._lines(MARGIN, y, _wrapped(self.words.subtitle, room, 12), 16, fill=FAINT) - 2

    def _legend(self, y: float) -> float:
        x = float(MARGIN)
        self._text(x, y + 12, "The connection is held by:", font_size="11", fill=FAINT)
        x += 166
        for holder, fill in FILL.items():
            self._rect(x, y + 2, 16, 13, fill, stroke=INK, stroke_width="0.6")
            self._text(x + 21, y + 12, holder.value, font_size="11")
            x += 36 + extent(holder.value, 11)
        y, x = y + 22, float(MARGIN)
        for colour, thick, text in (
            (INK, "1.2", "message"),
            (CARRIES, "2.4", "message beside which a connection goes"),
        ):
            self._line([(x, y + 5), (x + 22, y + 5), (x + 22, y + 13), (x + 34, y + 13)], colour, stroke_width=thick)
            self._text(x + 40, y + 13, text, font_size="11")
            x += 52 + extent(text, 11)
        self._text(x, y + 13, "(runs down while it lies unread)", font_size="11", fill=FAINT)
        x += 216
        self._cross(x + 5, y + 9)
        self._text(x + 16, y + 13, "lost, or dead", font_size="11")
        if self.words.marked:
            x += 112
            self._rect(x, y + 2, 20, 13, PAPER, stroke=ALARM, stroke_width="2.4", rx="4")
            self._text(x + 26, y + 13, "for whom it is broken", font_size="11")
        return y + 30

    # ------------------------------------------------ rows

    def _stripes(self, bottom: float) -> None:
        ends = [*self.tops[1:], bottom]
        for row, top, end in zip(self.scene.rows, self.tops, ends, strict=True):
            if row.number % 2:
                self._rect(MARGIN, top, self.width - 2 * MARGIN, end - top, STRIPE)

    def _headers(self, y: float) -> None:
        for cookie in self.clients:
            if f"client {cookie}" in self.words.marked:
                self._rect(self.bands[cookie], y + 2, self.band, 22, PAPER, stroke=ALARM, stroke_width="2.4", rx="4")
            x = self.bands[cookie] + self.band / 2
            self._text(x, y + 18, f"client {cookie}", text_anchor="middle", font_weight="bold")

    def _steps(self) -> None:
        """Each step in words, and its numbered disc on the actor's lifeline."""
        if self.scene.rows[0].number == 0:
            self._text(MARGIN + DISC, self._y_of(0) + 3, "at first", fill=FAINT)
        for row in self.scene.rows[1:]:
            y = self._y_of(row.number)
            self._text(MARGIN + DISC - 8, y + 4, str(row.number), font_weight="bold", text_anchor="end")
            words, remarks = _wrapped_row(row)
            y = self._lines(MARGIN + DISC, y + 4, words, LINE)
            self._lines(MARGIN + DISC, y, remarks, LINE - 2, font_size="10.5", fill=FAINT)
            self._disc(row)

    def _disc(self, row: Row) -> None:
        x = self.columns.get(row.actor)
        if x is None:
            cookie = int(row.actor.removeprefix("client "))
            x = self.bands[cookie] + self.band / 2
        y = self._y_of(row.number)
        circle = {"cx": _px(x), "cy": _px(y), "r": "9", "fill": PAPER, "stroke": INK, "stroke-width": "1.4"}
        ET.SubElement(self.svg, "circle", circle)
        size = "10" if row.number < 100 else "7.5"
        self._text(x, y + 3.6, str(row.number), text_anchor="middle", font_size=size, font_weight="bold")

    # ------------------------------------------------ the clients' bands

    def _new(self, row: Row, cookie: int) -> bool:
        """Whether the band changes in this row."""
        if not row.number:
            return _present(row, cookie)
        old = self.scene.rows[row.number - 1]
        return row.held[cookie] != old.held[cookie] or row.fates[cookie] is not old.fates[cookie]

    def _bands(self, bottom: float) -> None:
        rows = self.scene.rows
        for cookie in self.clients:
            starts = [row for row in rows if self._new(row, cookie)]
            ends = [self._y_of(row.number) for row in starts[1:]] + [bottom]
            for row, end in zip(starts, ends, strict=True):
                self._stretch(self.bands[cookie], self._y_of(row.number), end, row, cookie)

    def _stretch(self, x: float, top: float, bottom: float, row: Row, cookie: int) -> None:
        """The band while nothing changes for the client."""
        held = row.held[cookie]
        if row.fates[cookie] is Fate.ABSENT:
            return  # the client has ended, and will come again
        if not held:
            lost = row.fates[cookie].name.startswith("LOST")
            self._line([(x, top), (x + self.band, top)], ALARM if lost else INK, stroke_width="3")
            for i, line in enumerate(SHORT_FATES.get(row.fates[cookie], ())):
                weight = "bold" if lost else "normal"
                colour = ALARM if lost else INK
                style = {"text_anchor": "middle", "font_size": "10.5", "fill": colour, "font_weight": weight}
                self._text(x + self.band / 2, top + 14 + 12 * i, line, **style)
            return
        wide = self.band / len(held)
        for i, each in enumerate(held):
            self._rect(x + i * wide, top, wide, bottom - top, FILL[each.holder], stroke=INK, stroke_width="0.6")
        self._names(x, top + (9 if row.actor == f"client {cookie}" else 0), held)

    def _names(self, x: float, top: float, held: Sequence[Held]) -> None:
        """The holders' names, on the colours."""
        for i, text in enumerate(_named(held)):
            y = top + 13 + 12 * i
            self._fitted(x + self.band / 2, y, text, self.band - 4, text_anchor="middle", font_size="10.5")

    # ------------------------------------------------ lifelines

    def _lifelines(self, bottom: float) -> None:
        for name in self.scene.lifelines:
            lives: list[tuple[str, int, int | None]] = []
            for row in self.scene.rows:
                now = row.alive.get(name)
                if lives and lives[-1][2] is None and lives[-1][0] != now:
                    lives[-1] = (lives[-1][0], lives[-1][1], row.number)
                if now is not None and (not lives or lives[-1][2] is not None):
                    lives.append((now, row.number, None))
            for called, start, end in lives:
                self._life(name, called, start, end, bottom)
            for row in self.scene.rows:
                for died, called in row.died:
                    if died == name:
                        self._death(name, called, row)

    def _life(self, name: str, called: str, start: int, end: int | None, bottom: float) -> None:
        """One incarnation, from its box to its death or the end."""
        x = self.columns[name]
        top = self.tops[0] - 26 if start == 0 else self._y_of(start) - 10 + SEND * self._starting(name, start)
        stop = bottom if end is None else self._y_of(end) + self._parting(name, end) + MARK
        self._line([(x, top + 20), (x, stop)], FAINT, stroke_width="1.2")
        wide = self._box(called)
        fill = FILL[Holder.DISTRIBUTOR] if name == DISTRIBUTOR else FILL[Holder.SERVER]
        fill = fill if name.startswith(("server", DISTRIBUTOR)) else PAPER
        edge = {"stroke": ALARM, "stroke_width": "2.4"} if name in self.words.marked else {"stroke": INK}
        self._rect(x - wide / 2, top, wide, 20, fill, rx="4", **edge)
        self._text(x, top + 14, called, text_anchor="middle", font_weight="bold")

    def _death(self, name: str, called: str, row: Row) -> None:
        """The mark of a death; with the process's name if the lifeline continues."""
        x, y = self.columns[name], self._y_of(row.number) + self._parting(name, row.number) + MARK
        self._cross(x, y, 6, f"{called} is dead")
        if name in row.alive and row.alive[name] != called:
            self._text(x + 10, y + 4, called, font_size="10.5", fill=ALARM)

    @staticmethod
    def _box(called: str) -> float:
        """How wide the box is at the head of a lifeline."""
        return extent(called, 12, bold=True) + 12

    def _starting(self, name: str, number: int) -> int:
        """The line of the row in which the arrow that starts it enters."""
        starts = (a for a in self._sent(number) if a.receiver == name and a.read == number)
        arrow = next(starts, None)
        return 0 if arrow is None else self._offset(number, arrow)

    # ------------------------------------------------ messages

    def _arrows(self, bottom: float) -> None:
        for arrow, lane in zip(self.scene.arrows, self.lanes, strict=True):
            self._arrow(arrow, lane, bottom)

    def _arrow(self, arrow: Arrow, lane: int | None, bottom: float) -> None:
        x, end = self._x_of(arrow.sender), self._x_of(arrow.receiver)
        y = self._y_of(arrow.sent) + SEND * self._offset(arrow.sent, arrow)
        right = end > x
        colour, thick = (CARRIES, "2.4") if arrow.carries else (INK, "1.2")
        points = [(x, y)]
        if lane is None:
            clear = self._clear(arrow)
            points.append((end - (clear if right else -clear), y))
        else:
            side = end + (-1 if right else 1) * (14 + LANE * lane)
            points += [(side, y), (side, self._end(arrow, bottom))]
            if arrow.read is not None:
                points.append((end + (-9 if right else 9), self._y_of(arrow.read)))
        head = f"url(#{'connection' if arrow.carries else 'message'})"
        style = {"marker_end": head} if arrow.read is not None else {}
        self._line(points, colour, stroke_width=thick, stroke_linejoin="round", **style)
        if arrow.lost is not None:
            self._cross(*points[-1])
        elif arrow.read is None:
            ring = {"cx": _px(points[-1][0]), "cy": _px(points[-1][1]), "r": "3", "fill": PAPER, "stroke": colour}
            ET.SubElement(self.svg, "circle", ring)
        self._label(arrow, x, y, right)

    def _clear(self, arrow: Arrow) -> float:
        """How far from the lifeline's middle an arrow ends: at the box or the disc that is there."""
        if arrow.text == "starts":
            return self._box(self.scene.rows[arrow.sent].alive.get(arrow.receiver, arrow.receiver)) / 2 + 1
        meets = self.scene.rows[arrow.sent].actor == arrow.receiver and not self._offset(arrow.sent, arrow)
        return 10.0 if meets else 2.0

    def _label(self, arrow: Arrow, x: float, y: float, right: bool) -> None:
        """Beside the sender; for a client, beside the kernel, because other bands may be between the two."""
        aside = self._aside(arrow, right=right)
        if arrow.sender not in self.columns:
            x, right = self._x_of(arrow.receiver), False
        anchor = "start" if right else "end"
        halo = {"stroke": PAPER, "stroke_width": "3", "paint_order": "stroke", "stroke_linejoin": "round"}
        fill = ALARM if arrow.lost is not None else INK
        self._fitted(
            x + (aside if right else -aside),
            y - 4,
            _labelled(arrow),
            LABEL,
            text_anchor=anchor,
            font_size="11",
            **{**halo, "fill": fill},
        )

    def _aside(self, arrow: Arrow, *, right: bool) -> float:
        """How far from its sender a label begins: past the unread messages there."""
        return 12.0 + self._unread(arrow.sender, arrow, from_right=right)

    def _facing(self, name: str, arrow: Arrow, *, from_right: bool) -> float:
        """How far from the next lifeline a label ends: before unread messages and before a box."""
        begins = arrow.sent > 0 and name in self.scene.rows[arrow.sent].alive
        old = self.scene.rows[arrow.sent - 1].alive.get(name)
        called = self.scene.rows[arrow.sent].alive.get(name, "")
        box = self._box(called) / 2 + 4 if begins and called != old else 0.0
        return max(12.0 + self._unread(name, arrow, from_right=from_right), box)

    def _unread(self, name: str, arrow: Arrow, *, from_right: bool) -> float:
        """The width of the unread messages on that side of the lifeline when the arrow leaves."""
        order = {name: i for i, name in enumerate(self.scene.lifelines)}
        lying = 0
        for other, lane in zip(self.scene.arrows, self.lanes, strict=True):
            if other is arrow:
                break
            over = other.read is not None and other.read <= arrow.sent
            over = over or (other.lost is not None and other.lost < arrow.sent)
            beside = other.receiver == name and (order.get(other.sender, -1) > order[name]) is from_right
            if lane is not None and beside and not over:
                lying = max(lying, lane + 1)
        return LANE * lying + 4 if lying else 0.0

    def _x_of(self, name: str) -> float:
        if name in self.columns:
            return self.columns[name]
        return self.bands[int(name.removeprefix("client "))] + self.band / 2

    def _end(self, arrow: Arrow, bottom: float) -> float:
        """How far down the message runs beside its reader."""
        if arrow.read is not None:
            return self._y_of(arrow.read)
        if arrow.lost is None:
            return bottom - 4
        sent = self._y_of(arrow.sent) + SEND * self._offset(arrow.sent, arrow)
        return max(self._y_of(arrow.lost), sent)

    # ------------------------------------------------ what repeats for ever

    def _cycle(self, bottom: float) -> None:
        if self.cycle_start is None:
            return
        stays = self.cycle_start == len(self.scene.rows) - 1
        top = bottom + 2 if stays else self.tops[self.cycle_start + 1]
        self._line([(MARGIN, top), (self.width - MARGIN, top)], ALARM, stroke_width="1.4", stroke_dasharray="6 4")
        style = {"font_weight": "bold", "fill": ALARM, "font_size": "11"}
        if stays:
            self._text(MARGIN + DISC, bottom + 17, "for ever: nothing that must happen can", **style)
            return
        x = MARGIN - 10.0
        self._line([(x + 6, top + 2), (x, top + 2), (x, bottom - 2), (x + 6, bottom - 2)], ALARM, stroke_width="2")
        self._text(MARGIN + DISC, top - 5, "from here on for ever \u21bb", **style)
        self._text(MARGIN + DISC, bottom + 15, "\u21ba and again from the dashed line", **style)

    # ------------------------------------------------ before, after, and why

    def _table(self, y: float) -> float:
        rows = self.scene.last
        if not rows:
            return y
        last = len(self.scene.rows) - 1
        self._text(MARGIN, y, f"What step {last} changed", font_size="14", font_weight="bold")
        y += 12
        room = self.width - 2 * MARGIN
        lefts = [MARGIN, MARGIN + 0.28 * room, MARGIN + 0.64 * room]
        for text, x in ((f"before step {last}", lefts[1]), (f"after step {last}", lefts[2])):
            self._text(x + 4, y + 14, text, font_size="11", fill=FAINT, font_weight="bold")
        y += 20
        for change in rows:
            y = self._table_row(change, lefts, y)
        self._line([(MARGIN, y), (self.width - MARGIN, y)], RULE)
        return y

    def _table_row(self, change: Change, lefts: Sequence[float], y: float) -> float:
        self._line([(MARGIN, y), (self.width - MARGIN, y)], RULE)
        room = lefts[2] - lefts[1] - 12
        cells = [
            _wrapped(change.what, lefts[1] - lefts[0] - 12, 11),
            _wrapped(change.before, room, 11),
            _wrapped(change.after, room, 11, bold=True),
        ]
        for x, lines, weight in zip(lefts, cells, ("normal", "normal", "bold"), strict=True):
            self._lines(x + 4, y + 14, lines, 13, font_size="11", font_weight=weight)
        return y + 7 + 13 * max(map(len, cells))

    def _reasons(self, y: float) -> float:
        room = self.width - 2 * MARGIN - 28
        verdict = _wrapped(self.words.verdict, room, 14, bold=True)
        indents = [14.0 * reason.startswith(" ") for reason in self.words.reasons]
        reasons = [_wrapped(reason, room - i, 12.5) for reason, i in zip(self.words.reasons, indents, strict=True)]
        high = 26 + 18 * len(verdict) + 17 * sum(map(len, reasons))
        self._rect(MARGIN, y, self.width - 2 * MARGIN, high, PAPER, stroke=ALARM if self.words.broken else INK, rx="6")
        below = self._lines(MARGIN + 14, y + 24, verdict, 18, font_size="14", font_weight="bold") + 4
        for lines, indent in zip(reasons, indents, strict=True):
            below = self._lines(MARGIN + 14 + indent, below, lines, 17, font_size="12.5")
        return y + high + 20


def _present(row: Row, cookie: int) -> bool:
    """Whether the client has come."""
    return row.fates[cookie] is not Fate.ABSENT


def _wrapped_row(row: Row) -> tuple[list[str], list[str]]:
    """The wrapped text of a step, and its wrapped remarks."""
    return _wrapped(row.text, WORDS, 12), [line for remark in row.remarks for line in _wrapped(remark, WORDS, 10.5)]


def _named(held: Sequence[Held]) -> list[str]:
    """The holders' names, one per line."""
    return [each.short if i == len(held) - 1 else f"{each.short} +" for i, each in enumerate(held)]


def _labelled_width(arrow: Arrow) -> float:
    """How wide its label is as it is drawn."""
    return min(extent(_labelled(arrow), 11), LABEL)


def _labelled(arrow: Arrow) -> str:
    return arrow.text + (", lost" if arrow.lost is not None else "") + (", overtakes" if arrow.late else "")


def _lanes(scene: Scene) -> list[int | None]:
    """How far from its reader each message lies unread, so that no two lie on each other; None where it does not."""
    order = {name: i for i, name in enumerate(scene.lifelines)}
    last = len(scene.rows)
    taken: dict[tuple[str, bool], list[int]] = {}
    lanes: list[int | None] = []
    for arrow in scene.arrows:
        if arrow.read == arrow.sent:
            lanes.append(None)
            continue
        side = arrow.receiver, order.get(arrow.sender, -1) < order[arrow.receiver]
        until = arrow.read if arrow.read is not None else arrow.lost if arrow.lost is not None else last
        free = taken.setdefault(side, [])
        lane = next((i for i, end in enumerate(free) if end < arrow.sent), len(free))
        free[lane : lane + 1] = [until]
        lanes.append(lane)
    return lanes


def _wrapped(text: str, room: float, size: float, *, bold: bool = False) -> list[str]:
    """The text in lines of at most `room` pixels, broken between words where that can be."""
    lines: list[str] = []
    for word in text.split():
        if lines and extent(f"{lines[-1]} {word}", size, bold=bold) <= room:
            lines[-1] += f" {word}"
            continue
        rest = word
        while extent(rest, size, bold=bold) > room:
            fits = max(1, next(i for i in range(len(rest)) if extent(rest[: i + 1], size, bold=bold) > room))
            lines.append(rest[:fits])
            rest = rest[fits:]
        lines.append(rest)
    return lines


def _shortened(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """The text, or as much of its beginning as there is room for, and an ellipsis."""
    if extent(text, size, bold=bold) <= room:
        return text
    return next((f"{text[:i]}\u2026" for i in range(len(text), 0, -1)
                 if extent(f"{text[:i]}\u2026", size, bold=bold) <= room), "\u2026")  # fmt: skip


def _px(value: float) -> str:
    """A length, in the fewest digits that matter."""
    return f"{value:.1f}".removesuffix(".0")
