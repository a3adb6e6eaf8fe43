"""``maitred top``: a running instance on the full screen, once a second: who serves how many, who waits, how fast.

All but CPU and memory is from the document of ``maitred status --json``; these are from ``/proc``, by the session that
each server has of its own.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.control import Control
from rich.text import Text

from maitred.cli import complain
from maitred.cli.control import ControlError, Json, add_arguments, ask, find, unanswered
from maitred.cli.status import COLOURS, Malformed, View, cell, check_version, period

SORTS: Final = ("place", "clients", "cpu", "memory")
HELP: Final = (
    "q  quit",
    "s  sort the servers by place, clients, CPU, memory in turn",
    "p  pause, and go on",
    "?  show or hide this help",
    "",
    "waiting: how many clients wait for a seat, of at most how many, and for how long the first has waited",
    "new: clients accepted; seated: hand-offs that servers took; refused: hand-offs that servers refused;",
    "timed out: clients closed after queue_timeout; each by second",
)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Usage:
    """What the processes of each session use, at one time."""

    at: float = 0.0
    ticks: dict[int, int] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    """Resident bytes; what processes share is counted for each."""


def usage() -> Usage:
    """Look at all processes that are in sight (proc_pid_stat(5))."""
    found = Usage(time.monotonic())
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            text = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        session = int(fields[3])
        found.ticks[session] = found.ticks.get(session, 0) + int(fields[11]) + int(fields[12])
        found.memory[session] = found.memory.get(session, 0) + int(fields[21]) * _PAGE
    return found


class Sample:
    """The status at one time, with what can be said only by comparison with the one before."""

    def __init__(self, document: dict[str, Json], now: Usage, before: Sample | None) -> None:
        self.top = View(document, "status")
        self.usage = now
        self._before = before
        self.totals: dict[str, tuple[Json, dict[str, Json]]] = {}
        """By class: the incarnation of its Distributor, and what that has counted."""
        for cls in self.top.views("classes"):
            distributor, totals = cls.content.get("distributor"), cls.content.get("totals")
            if isinstance(distributor, dict) and isinstance(totals, dict):
                self.totals[str(cls.need("name"))] = distributor.get("incarnation"), totals

    def rate(self, name: str, key: str) -> float | None:
        """How often a second; None where it is not known."""
        if self._before is None:
            return None
        new, old = self.totals.get(name), self._before.totals.get(name)
        if new is None or old is None or new[0] != old[0]:
            return None
        value, previous = new[1].get(key), old[1].get(key)
        if not isinstance(value, int) or not isinstance(previous, int):
            return None
        return (value - previous) / max(0.001, self.usage.at - self._before.usage.at)

    def cpu(self, session: Json) -> float | None:
        """Per cent of one CPU."""
        if self._before is None or not isinstance(session, int):
            return None
        new, old = self.usage.ticks.get(session), self._before.usage.ticks.get(session)
        if new is None or old is None:
            return None
        seconds = max(0.001, self.usage.at - self._before.usage.at)
        return max(0.0, 100 * (new - old) / _TICKS / seconds)  # less where a process has ended

    def memory(self, session: Json) -> int | None:
        """Bytes."""
        return self.usage.memory.get(session) if isinstance(session, int) else None

    def forget(self) -> None:
        """Keep no chain of samples."""
        self._before = None


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred top",
        description="Show a running instance on the full screen: servers with their clients as bars, who waits and for"
        " how long, new clients, hand-offs and refusals by second, restarts, CPU and memory, processing elements.",
        epilog="keys: " + "; ".join(filter(None, HELP[:4])) + ". Without a terminal, use maitred status --watch.",
    )
    add_arguments(made)
    made.add_argument("--every", metavar="SECONDS", type=period, default=1.0, help="how often (default: 1)")
    return made


def main(argv: Sequence[str]) -> int:
    """Show until a key ends it; 1 if nobody answers at the start, or if there is no terminal."""
    arguments = parser().parse_args(argv)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return complain("top needs a terminal for its input and output; without one: maitred status --watch", 1)
    try:
        path = find(arguments.control)
        sample = _look(path, None)
    except ControlError as error:
        return unanswered(arguments.control, error)
    except (Malformed, RecursionError) as error:
        return complain(f"the answer is not a status: {error}", 1)
    with _keys() as keys:
        Screen(path, arguments.every, sample).run(keys)
    return 0


def _look(path: Path, before: Sample | None) -> Sample:
    document, _ = ask(path, {"request": "status"})
    check_version(document)
    sample = Sample(document, usage(), before)
    lines(sample, 80, SORTS[0])  # what cannot be shown is no status
    if before is not None:
        before.forget()
    return sample


@contextmanager
def _keys() -> Iterator[tuple[int, int]]:
    """Have each key come at once and unseen, and signals wake whoever waits: the descriptors of both."""
    fd, before = sys.stdin.fileno(), termios.tcgetattr(sys.stdin.fileno())
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda number, frame: None)
    waker = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        tty.setcbreak(fd)
        mode = termios.tcgetattr(fd)
        mode[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the shell with our screen
        termios.tcsetattr(fd, termios.TCSANOW, mode)
        yield fd, reader.fileno()
    finally:
        signal.set_wakeup_fd(waker)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


class Screen:
    """What is shown, and what the keys have chosen."""

    def __init__(self, path: Path, every: float, sample: Sample) -> None:
        self._path = path
        self._every = every
        self._sample = sample
        self._sort = 0
        self._paused = self._help = False
        self._trouble = ""
        self._console = Console(file=sys.stdout, highlight=False)

    def run(self, keys: tuple[int, int]) -> None:
        """Show until it is to end."""
        due = time.monotonic() + self._every
        with self._console.screen() as screen:
            while True:
                self._console.control(Control.home())
                screen.update(self._shown())
                left = None if self._paused else max(0.0, due - time.monotonic())
                ready, _, _ = select.select(keys, (), (), left)
                if keys[1] in ready:
                    os.read(keys[1], 64)  # the terminal has another size, for one
                if keys[0] in ready and not self._heed(os.read(keys[0], 64)):
                    return
                if not self._paused and time.monotonic() >= due:
                    self._refresh()
                    due = time.monotonic() + self._every

    def _heed(self, typed: bytes) -> bool:
        """Do what the keys mean; whether to go on."""
        for key in typed.decode(errors="replace"):
            match key:
                case "q" | "Q" | "\x04":
                    return False
                case "s":
                    self._sort = (self._sort + 1) % len(SORTS)
                case "p":
                    self._paused = not self._paused
                case "?" | "h":
                    self._help = not self._help
                case _:
                    pass
        return bool(typed)  # nothing: the terminal is gone

    def _refresh(self) -> None:
        try:
            self._sample = _look(self._path, self._sample)
            self._trouble = ""
        except (ControlError, Malformed, RecursionError) as error:
            self._trouble = f"no status since {time.strftime('%H:%M:%S')}: {error}"[:500]

    def _shown(self) -> Group:
        width, height = self._console.size
        shown = [Text(line) for line in HELP] if self._help else lines(self._sample, width, SORTS[self._sort])
        if self._trouble:
            shown[:0] = Text(self._trouble, "red").wrap(self._console, width)
        if len(shown) > height - 1:
            cut = len(shown) - (height - 2)
            shown = [*shown[: max(0, height - 2)], Text(f"... {cut} more lines: a higher terminal shows them", "dim")]
        shown += [Text()] * (height - 1 - len(shown))
        paused = "p goes on (paused)" if self._paused else "p pauses"
        shown.append(Text(f"q quits  s sorts (by {SORTS[self._sort]})  {paused}  ? helps", "reverse"))
        for line in shown:
            line.truncate(width)
        return Group(*shown)


def lines(sample: Sample, width: int, sort: str) -> list[Text]:
    """What is shown, a text for each line.

    Raises:
        Malformed: the status lacks what every one has.
    """
    top, now = sample.top, time.time()
    monitor = View(top.need("monitor"), "status.monitor")
    head = f"{cell(top.content.get('name'))}: {cell(monitor.content.get('phase'))}, Monitor {cell(monitor.need('pid'))}"
    shown = [Text(f"{head}, core {cell(monitor.content.get('core'))}", "bold")]
    for element in top.views("elements", needed=False):
        up = element.content.get("up")
        text = f"element {cell(element.need('name'))} {'up' if up else 'DOWN'}"
        shown.append(Text(f"{text}, {cell(element.content.get('processes'))} processes", "" if up else "red"))
    for cls in top.views("classes"):
        shown += [Text(), *_class(sample, cls, now), *_servers(sample, cls, width, sort)]
    return shown


def _class(sample: Sample, cls: View, now: float) -> list[Text]:
    name, distributor = str(cls.need("name")), cls.content.get("distributor")
    phase: Json = "down"
    restarts: Json = None
    if isinstance(distributor, dict):
        phase, incarnation = distributor.get("phase"), distributor.get("incarnation")
        restarts = incarnation - 1 if isinstance(incarnation, int) else None
    line = f"{cell(name)}: Distributor {cell(phase)}, {cell(restarts)} restarts"
    waiting = f"waiting {cell(cls.content.get('waiting'))} of {cell(cls.content.get('waiting_limit'))}"
    rows = cls.views("waiting_list") if cls.content.get("waiting_list") else []
    since = rows[0].content.get("since") if rows else None
    if isinstance(since, int | float):
        waiting += f", the first for {max(0.0, now - since):.1f} s"
    counted = {"new": "accepted", "seated": "taken", "refused": "refused", "timed out": "timed_out"}
    rates = "  ".join(f"{what} {_number(sample.rate(name, key), '/s')}" for what, key in counted.items())
    return [Text(line, "" if phase == "operating" else "red"), Text(waiting), Text(rates)]


def _servers(sample: Sample, cls: View, width: int, sort: str) -> list[Text]:
    keys = {
        "clients": lambda row: _whole(row.content.get("clients")),
        "cpu": lambda row: sample.cpu(row.content.get("pid")) or 0.0,
        "memory": lambda row: sample.memory(row.content.get("pid")) or 0,
    }
    rows = cls.views("servers")
    if sort in keys:
        rows.sort(key=keys[sort], reverse=True)
    bar = max(0, min(40, width - 62))
    shown = [Text(f"{'id':>5} {'pid':>7} {'state':<10} {'clients':>11} {'cpu':>6} {'memory':>7} {'again':>5} ", "dim")]
    for row in rows:
        pid, state = row.need("pid"), str(row.need("state"))
        clients, most = row.need("clients"), row.need("max_clients")
        cells = (
            f"{cell(row.need('id')).plain:>5} {cell(pid).plain:>7} ",
            (f"{cell(state).plain:<10}", COLOURS.get(state, "")),
            f" {f'{cell(clients)}/{cell(most)}':>11} {_number(sample.cpu(pid), '%'):>6}"
            f" {_size(sample.memory(pid)):>7} {cell(row.content.get('restarts')).plain:>5} ",
            _bar(clients, most, bar),
        )
        shown.append(Text.assemble(*cells))
    return shown


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _bar(clients: Json, most: Json, width: int) -> str:
    full = round(width * min(1.0, max(0, _whole(clients)) / max(1, _whole(most))))
    return f"[{'#' * full}{'.' * (width - full)}]" if width else ""


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f}{unit}"


def _size(value: int | None) -> str:
    return "-" if value is None else f"{value / (1 << 20):.0f}M"
