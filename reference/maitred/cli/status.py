"""``maitred status``: the tables of the patent, ServerStatus and PortInfo, and the waiting list, of a running instance.

The JSON is described field by field in the documentation's reference; this prints it as it came, or as tables.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maitred.cli import complain
from maitred.cli.control import ControlError, Json, add_arguments, ask, find, unanswered
from maitred.config.values import number
from maitred.shell.io.report import printable

VERSION = 1
"""Of the document that is understood here."""
SHOWN_WAITING = 20
"""Rows of the waiting list that are printed."""

_WIDTHS = {
    "id": 0,
    "pid": 0,
    "kind": 50,
    "state": 0,
    "clients": 0,
    "outstanding": 78,
    "dialogs": 70,
    "element": 60,
}
"""The columns of the table of servers, and from what width of the terminal each is shown."""

COLOURS = {
    "ready": "green",
    "busy": "green",
    "full": "yellow",
    "draining": "yellow",
    "starting": "cyan",
    "restarting": "magenta",
    "down": "red",
    "killing": "red",
}


class Malformed(Exception):
    """The document does not conform to version 1; the text names the field."""


class View:
    """An object of the document, read with care: the other end may be another version, or something else."""

    def __init__(self, content: Json, where: str) -> None:
        if not isinstance(content, dict):
            raise Malformed(f"{where} should be an object")
        self.content = content
        self.where = where

    def need(self, key: str) -> Json:
        """A field that every document has."""
        if key not in self.content:
            raise Malformed(f"{self.where} has no {key!r}")
        return self.content[key]

    def text(self, key: str) -> Text:
        """A field for a cell of a table; a dash where there is none."""
        return cell(self.content.get(key))

    def views(self, key: str, *, needed: bool = True) -> list[View]:
        """A field that is a list of objects."""
        content = self.need(key) if needed else self.content.get(key, [])
        if not isinstance(content, list):
            raise Malformed(f"{self.where}.{key} should be a list")
        return [View(item, f"{self.where}.{key}[{index}]") for index, item in enumerate(content)]


def cell(value: Json) -> Text:
    """A value as people read it."""
    match value:
        case None:
            return Text("-", style="dim")
        case bool():
            return Text("yes" if value else "no")
        case float():
            return Text(f"{value:.1f}")
        case list():
            return Text(", ".join(cell(item).plain for item in value) or "-")
        case dict():
            return Text(", ".join(f"{key} {cell(item).plain}" for key, item in value.items()) or "-")
        case _:
            return Text(printable(str(value)))  # an address, an error: its characters are not ours


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred status",
        description="Show the servers, ports and waiting clients of a running instance.",
        epilog="examples: maitred status --watch 5; maitred status --json | jq '.classes[].servers[].clients'."
        " Ends with 1 if nobody answers, or if servers run without their Monitor, which are named.",
    )
    add_arguments(made)
    made.add_argument("--json", action="store_true", help="print the document as it came, for programs (version 1)")
    made.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=period,
        const=2.0,
        help="show it again every so many seconds (2 by default), until Ctrl-C; with --json a line each time",
    )
    return made


def period(text: str) -> float:
    """Seconds between two looks, as argparse wants it."""
    seconds = number(text)
    if isinstance(seconds, str) or seconds < 0.1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds of at least 0.1")
    return float(seconds)


def main(argv: Sequence[str]) -> int:
    """Ask, and show; 1 if nobody answers, if the answer is no status, or if servers run without their Monitor."""
    arguments = parser().parse_args(argv)
    try:
        path = find(arguments.control)
        console = Console(file=sys.stdout, highlight=False)
        while True:
            document, text = ask(path, {"request": "status"})
            check_version(document)
            if arguments.json:
                print(text, flush=True)
            else:
                if arguments.watch is not None:
                    console.clear()  # where it is a terminal
                    console.print(Text(time.strftime("%H:%M:%S"), "dim"))
                show(document, console)
            if arguments.watch is None:
                return 0
            time.sleep(arguments.watch)
    except ControlError as error:
        return unanswered(arguments.control, error)
    except RecursionError:
        return complain(f"the answer is not a status of version {VERSION}: it is nested too deeply", 1)
    except Malformed as error:
        return complain(f"the answer is not a status of version {VERSION}: {error}", 1)


def check_version(document: dict[str, Json]) -> None:
    """Refuse a document of another version.

    Raises:
        Malformed: it is one.
    """
    if document.get("version") != VERSION:
        raise Malformed(f"version {document.get('version')!r} is not {VERSION}: another maitred runs there")


def show(document: Json, console: Console) -> None:
    """Print the document as tables.

    Raises:
        Malformed: it lacks what every status has.
    """
    top = View(document, "status")
    monitor = View(top.need("monitor"), "status.monitor")
    classes = top.views("classes")
    pieces: list[Text | Table] = [_headline(top, monitor), *_verify(top)]
    for cls in classes:
        pieces += [Text(), _class_line(cls), *_obstacles(cls), Text(), *_ports(cls), Text()]
        pieces += [*_servers(cls, console.width), Text()]
        pieces += _waiting(cls, time.time())
    elements = top.views("elements", needed=False)
    if elements:
        columns = ("name", "up", "cpus", "weight", "processes")
        pieces += [Text(), _title("Processing elements"), _table(elements, columns)]
    for piece in pieces:
        console.print(piece)


def _headline(top: View, monitor: View) -> Text:
    line = Text.assemble("Monitor ", (str(monitor.need("pid")), "bold"))
    if "phase" in monitor.content:
        line.append(f", {cell(monitor.content['phase'])}")
    if monitor.content.get("standby") is not None:
        line.append(f", standby {cell(monitor.content['standby'])}")
    if "core" in monitor.content:
        line.append(f", core {cell(monitor.content['core'])}")
    if "name" in top.content:
        line = Text.assemble((str(top.content["name"]), "bold"), ": ", line)
    return line


def _verify(top: View) -> list[Text]:
    """What the verifier has come to, where one follows the machines."""
    if top.content.get("verify") is None:
        return []
    view = View(top.content["verify"], "status.verify")
    verified, steps, dropped, unchecked, divergences = (
        cell(view.need(key)) for key in ("verified", "steps", "dropped", "unchecked", "divergences")
    )
    line = Text(f"verified: {verified} of {steps} steps, {dropped} dropped, {unchecked} unchecked")
    line.append(f", {divergences} divergences")
    if view.content["divergences"]:
        line.stylize("red")
    if view.need("pid") is None:
        line.append("; the verifier has ended", "red")
    return [line]


def _class_line(cls: View) -> Text:
    line = Text.assemble("Server class ", (str(cls.need("name")), "bold"), ": ")
    distributor = cls.need("distributor")
    if distributor is None:
        return line.append("its Distributor is down", "red")
    view = View(distributor, f"{cls.where}.distributor")
    pid, phase, incarnation = (cell(view.need(key)) for key in ("pid", "phase", "incarnation"))
    if view.content["phase"] == "restarting" and view.content["pid"] is not None:
        words = f"Distributor {pid} does not answer: it is busy, or stopped (kill -CONT {pid} lets it go on)"
        return line.append(f"{words}, incarnation {incarnation}", "red")
    return line.append(f"Distributor {pid}, {phase}, incarnation {incarnation}")


def _obstacles(cls: View) -> list[Text]:
    """Why its servers do not come up, as far as that is known."""
    obstacles = cls.content.get("obstacles") or []
    if not isinstance(obstacles, list):
        raise Malformed(f"{cls.where}.obstacles should be a list")
    return [Text(f"its servers do not come up: {cell(obstacle)}", "red") for obstacle in obstacles]


def _grid(columns: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """An empty table."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def _table(rows: Sequence[View], columns: Sequence[str]) -> Table:
    """A table of those columns that some row has."""
    columns = [column for column in columns if any(column in row.content for row in rows)]
    table = _grid(columns)
    for row in rows:
        table.add_row(*(row.text(column) for column in columns))
    return table


def _title(text: str) -> Text:
    return Text(text, "italic")


def _ports(cls: View) -> list[Text | Table]:
    rows = cls.views("ports")
    if not rows:
        return [Text.assemble(_title("PortInfo"), ": no port yet; the program's first bind decides")]
    for row in rows:
        for key in ("port", "address"):
            row.need(key)
    return [_title("PortInfo"), _table(rows, ("port", "address", "listening", "accepting", "waiting"))]


def _servers(cls: View, width: int) -> list[Text | Table]:
    """The servers, with as many columns as a terminal of this width has room for."""
    columns = [name for name, least in _WIDTHS.items() if width >= least]
    table = _grid(columns, ("id", "pid"))
    for row in cls.views("servers"):
        state = str(row.need("state"))
        cells = {
            "id": cell(row.need("id")),
            "pid": cell(row.need("pid")),
            "kind": cell(row.need("kind")),
            "state": Text(state, style=COLOURS.get(state, "")),
            "clients": Text(f"{cell(row.need('clients'))} of {cell(row.need('max_clients'))}"),
            "outstanding": row.text("outstanding"),
            "dialogs": _dialogs(row),
            "element": cell(row.need("element")),
        }
        table.add_row(*(cells[name] for name in columns))
    return [_title("ServerStatus"), table, *_offences(cls)]


def _offences(cls: View) -> list[Text]:
    """The messages of servers that break the protocol."""
    rows = [row for row in cls.views("servers") if row.content.get("offence")]
    return [Text(f"server {row.need('id')} breaks the protocol: {row.content['offence']}", "red") for row in rows]


def _dialogs(row: View) -> Text:
    """The ports on which the server has a dialog, and how far each has come."""
    if row.content.get("dialogs") is None:
        return cell(None)
    dialogs = row.views("dialogs")
    return Text(", ".join(f"{cell(dialog.need('port'))} {cell(dialog.need('phase'))}" for dialog in dialogs) or "none")


def _waiting(cls: View, now: float) -> list[Text | Table]:
    line = Text.assemble(_title("Waiting list"), f": {cell(cls.need('waiting'))}")
    if "waiting_limit" in cls.content:
        line.append(f" of at most {cell(cls.content['waiting_limit'])}")
    rows = cls.views("waiting_list") if cls.content.get("waiting_list") is not None else []
    if not rows:
        return [line]
    columns = ("arrival", "port", "waits for")
    table = _grid(columns, columns)
    for row in rows[:SHOWN_WAITING]:
        since = row.content.get("since")
        waits = cell(f"{now - since:.1f} s" if isinstance(since, (int, float)) else None)
        table.add_row(cell(row.need("arrival")), cell(row.need("port")), waits)
    if len(rows) > SHOWN_WAITING:
        return [line, table, Text(f"... and {len(rows) - SHOWN_WAITING} more; --json has them all", style="dim")]
    return [line, table]
