"""A path as a picture that people can read: SVG, or Mermaid for whatever shows it.

`write` chooses by the file's suffix.  What is in the picture is decided in `scene`; why a property is broken, in
`explain`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from pathlib import Path as File
from typing import TYPE_CHECKING, Final, Protocol

from maitred.model.check.checker import Verdict
from maitred.model.search.explorer import Path
from maitred.model.story import svg
from maitred.model.story.explanation import why
from maitred.model.story.sequence import DISTRIBUTOR, Arrow, Row, Scene, scene
from maitred.model.story.svg import Words
from maitred.model.story.text import counted
from maitred.model.world import ANY, Assumption, Bounds, Fate

if TYPE_CHECKING:
    from maitred.model.check.liveness import Lasso

SUFFIXES: Final = (".svg", ".mmd", ".md")
SIZES: Final = ("servers", "dynamic", "ports", "max_clients", "clients", "waiting_limit", "elements")


class Stated(Protocol):
    """A property: of worlds and steps, or of runs."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def text(self) -> str:
        """One sentence."""


class Judged(Protocol):
    """A verdict: `checker.VerdictOn`, or what `liveness` says."""

    @property
    def verdict(self) -> Verdict:
        """What it is."""

    @property
    def property(self) -> Stated:
        """What it is on."""


def write(
    path: Path,
    verdict: Judged,
    file: File,
    cycle_start: int | None = None,
    reasons: Sequence[str] = (),
    about: str = "",
    marked: Collection[str] = (),
) -> None:
    """Draw the path that led to the verdict.

    Args:
        path: the way that is drawn, a counterexample or a way to a witness.
        verdict: on the property that it is about.
        file: where to; ``.svg`` for a drawing, ``.mmd`` for Mermaid, ``.md`` for a page with Mermaid, tables and text.
        cycle_start: how many of the steps come before those that repeat for ever, all of them where the system stays
            in the last world; None where nothing repeats.
        reasons: sentences on why the property is broken, beside those that `explain.why` has.
        about: for whom it is broken, in words; empty where it is asked of the whole.
        marked: whose columns are marked for that: ``client 1``, ``server 2``.

    Raises:
        ValueError: the suffix is none of these, or `cycle_start` is past the last step; the text says what is right.
        OSError: the file cannot be written.
    """
    if file.suffix not in SUFFIXES:
        wrong = f"the suffix {file.suffix!r}" if file.suffix else "no suffix"
        raise ValueError(f"{file}: has {wrong}; a diagram is written to a file in {', '.join(SUFFIXES)}")
    if cycle_start is not None and not 0 <= cycle_start <= len(path.steps):
        raise ValueError(f"cycle_start is {cycle_start}; the path has {len(path.steps)} steps: 0 to {len(path.steps)}")
    drawn, words = scene(path), _words(path, verdict, cycle_start, reasons, about, marked)
    if file.suffix == ".svg":
        text = svg.draw(drawn, words, cycle_start)
    elif file.suffix == ".mmd":
        text = "\n".join(_mermaid(drawn, words, cycle_start)) + "\n"
    else:
        text = "\n".join(_page(drawn, words, cycle_start)) + "\n"
    file.write_text(text, encoding="utf-8")


def write_lasso(lasso: Lasso, verdict: Judged, file: File) -> None:
    """Draw a lasso: for whom the property is broken, what is repeated for ever, and why that may be (`Lasso.why`).

    Raises:
        ValueError, OSError: as `write`.
    """
    marked = [f"server {number}" for number in lasso.servers()]
    if lasso.property.subject == "client":
        marked = [f"client {lasso.subject}"]
    about = lasso.about() if lasso.property.subject else ""
    write(lasso.shown, verdict, file, lasso.cycle_start, lasso.why(), about, marked)


def _words(
    path: Path, verdict: Judged, cycle_start: int | None, more: Sequence[str], about: str, marked: Collection[str]
) -> Words:
    """What is written around the drawing of the path."""
    prop = verdict.property
    steps = f"{len(path.steps)} step" + ("" if len(path.steps) == 1 else "s")
    if verdict.verdict is Verdict.VIOLATED:
        whose = f" for {about}" if about else ""
        found = f"broken{whose} " + ("for ever" if cycle_start is not None else f"by step {len(path.steps)}")
        kind = f"a way on which it is broken{whose}" if cycle_start is not None else "a shortest way to break it"
    else:
        found, kind = f"witnessed in step {len(path.steps)}", "a shortest way to see it"
    return Words(
        title=f"{prop.name}: {kind}, {steps}",
        subtitle=f"The system: {bounds_in_words(path.bounds)}.",
        verdict=f"{prop.name} is {found}",
        statement=prop.text,
        reasons=[*(why(prop.name, path) if verdict.verdict is Verdict.VIOLATED else [prop.text]), *more],
        broken=verdict.verdict is Verdict.VIOLATED,
        marked=marked,
    )


def bounds_in_words(bounds: Bounds) -> str:
    """How large the system is, and what may go wrong in it, as far as it differs from nothing."""
    words = [
        counted(bounds.servers, "static server"),
        *([counted(bounds.dynamic, "dynamic server")] if bounds.dynamic else []),
        f"{counted(bounds.max_clients, 'seat')} each",
        counted(bounds.ports, "port"),
        counted(bounds.clients, "client"),
        f"at most {bounds.waiting_limit} waiting",
        *([counted(bounds.elements, "processing element")] if bounds.elements > 1 else []),
    ]
    for each in fields(bounds):
        value = getattr(bounds, each.name)
        if each.name not in SIZES and value != each.default:
            name = each.name.replace("_", " ")
            words.append(name if value is True else f"not {name}" if value is False else f"{name}: {_often(value)}")
    return ", ".join(words)


def _often(value: int | str | tuple[Assumption, ...]) -> str:
    """A bound's number, the run after which all begins, or the assumptions that are left out."""
    if isinstance(value, str):
        return f"after {value}"
    if isinstance(value, tuple):
        return ", ".join(assumption.value for assumption in value)
    return "any number" if value == ANY else str(value)


# ================================================================ Mermaid


def _page(drawn: Scene, words: Words, cycle_start: int | None) -> Iterator[str]:
    """A Markdown page: the diagram, what the last step changed, and why."""
    yield from (f"# {words.title}", "", words.statement, "", words.subtitle, "", "```mermaid")
    yield from _mermaid(drawn, words, cycle_start, with_reasons=False)
    yield from ("```", "", f"## What step {len(drawn.rows) - 1} changed", "", "| | before | after |", "|---|---|---|")
    for change in drawn.last:
        yield f"| {_cell(change.what)} | {_cell(change.before)} | {_cell(change.after)} |"
    yield from ("", f"## {words.verdict}", "", *(_item(reason) for reason in words.reasons))


def _item(reason: str) -> str:
    """A line of a list; indented further where the sentence is."""
    text = reason.lstrip()
    return f"{' ' * (len(reason) - len(text))}- {_cell(text)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _mermaid(drawn: Scene, words: Words, cycle_start: int | None, *, with_reasons: bool = True) -> Iterator[str]:
    """The lines of a Mermaid sequence diagram; `with_reasons`: ended by the property and the reasons."""
    clients = [c for c in range(len(drawn.rows[0].fates)) if any(r.fates[c] is not Fate.ABSENT for r in drawn.rows)]
    yield "sequenceDiagram"
    yield f"    title {_plain(words.title)}"
    for cookie in clients:
        yield f"    participant {_id(f'client {cookie}')} as client {cookie}"
    for name in drawn.lifelines:
        yield f"    participant {_id(name)} as {'Distributor' if name == DISTRIBUTOR else name.capitalize()}"
    everyone = f"{_id(f'client {clients[0]}' if clients else drawn.lifelines[0])},{_id(drawn.lifelines[-1])}"
    old = drawn.rows[0]
    yield from _arrows_of(drawn, old)
    for row in drawn.rows[1:]:
        if cycle_start == row.number - 1:
            yield "    loop from here on for ever"
        remarks = [f"{row.number}. {row.text}", *row.remarks]
        yield f"    Note over {_id(row.actor)}: {'<br/>'.join(map(_plain, remarks))}"
        yield from _arrows_of(drawn, row)
        yield from _deaths(drawn.lifelines, old, row)
        yield from _owners(clients, old, row)
        old = row
    if cycle_start == len(drawn.rows) - 1:
        yield f"    Note over {everyone}: for ever: nothing that must happen can"
    elif cycle_start is not None:
        yield "    end"
    if with_reasons:
        lines = [words.verdict, words.statement, *words.reasons]
        yield f"    Note over {everyone}: {'<br/>'.join(_plain(line) for line in dict.fromkeys(lines))}"


def _arrows_of(drawn: Scene, row: Row) -> Iterator[str]:
    """What is read in the row, what is sent, and what is lost."""
    for arrow in drawn.arrows:
        if arrow.sent == row.number:
            yield f"    {_id(arrow.sender)}{_head(arrow)}{_id(arrow.receiver)}: {_plain(arrow.text)}{_later(arrow)}"
        elif arrow.lost == row.number:
            yield f"    Note over {_id(arrow.receiver)}: lost, unread: {_plain(arrow.text)} of step {arrow.sent}"


def _head(arrow: Arrow) -> str:
    """Solid where it arrives within the step, open where it is read later, a cross where it is lost at once."""
    if arrow.lost == arrow.sent:
        return "-x"
    return "->>" if arrow.read == arrow.sent else "-)"


def _later(arrow: Arrow) -> str:
    if arrow.read is not None:
        late = ", overtaking" if arrow.late else ""
        return "" if arrow.read == arrow.sent else f" (read in step {arrow.read}{late})"
    return " (lost)" if arrow.lost is not None else " (still unread)"


def _deaths(lifelines: Sequence[str], old: Row, row: Row) -> Iterator[str]:
    """Who has died, and who has begun."""
    for name, called in row.died:
        yield f"    Note over {_id(name)}: {called} is dead"
    for name in lifelines:
        now = row.alive.get(name)
        if now is not None and now != old.alive.get(name):
            yield f"    Note over {_id(name)}: {now} begins"


def _owners(clients: Sequence[int], old: Row, row: Row) -> Iterator[str]:
    """Who holds the connection of each client of whom this has changed."""
    for cookie in clients:
        held, fate = row.held[cookie], row.fates[cookie]
        if held != old.held[cookie] or fate is not old.fates[cookie]:
            text = f"held by {' + '.join(each.text for each in held)}" if held else fate.value
            yield f"    Note over {_id(f'client {cookie}')}: {_plain(text)}"


def _id(name: str) -> str:
    return name.replace(" ", "")


def _plain(text: str) -> str:
    """The text, with what Mermaid would take for its own syntax written as it asks."""
    escaped = text.replace("#", "#35;").replace("<", "#lt;").replace(">", "#gt;")
    return escaped.replace(";", "#59;").replace("#35#59;", "#35;").replace("#lt#59;", "#lt;").replace("#gt#59;", "#gt;")
