"""The Monitor's process: the pure Monitor driven by real processes.

As the Distributor, it makes no protocol decision: the end of a process, a message, a signal, a timer becomes an
event; `maitred.core.monitor.step` says what follows; the effects are performed in their order.

What has its own module, in `maitred.shell.supervise`: the processes of servers (`servers`) and of Distributors
(`distributors`), the descriptors that outlive a Distributor (`kept`), what the log says of a class (`news`), the
requests on the control socket (`requests`), where steps are recorded (`recording`), whether this machine can do what
is configured (`usable`).
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from maitred.config.error import ConfigError
from maitred.config.model import Config
from maitred.core import monitor as core
from maitred.core.timing import duration
from maitred.core.transition import Rejected
from maitred.shell.driver import Driver
from maitred.shell.io import kernel, report
from maitred.shell.io.loop import READ, Loop
from maitred.shell.io.process_name import name_process
from maitred.shell.observe.trace import Trace
from maitred.shell.observe.verifier import VerifierMain
from maitred.shell.supervise import leftovers, status
from maitred.shell.supervise.changes import Changes, RefusedError
from maitred.shell.supervise.descendants import kill_orphans, reap_orphans
from maitred.shell.supervise.distributors import LAST_WAIT, Distributors
from maitred.shell.supervise.kept import Kept
from maitred.shell.supervise.launch import Child
from maitred.shell.supervise.news import EXIT_CODES, News
from maitred.shell.supervise.programs import Programs
from maitred.shell.supervise.recording import Recording
from maitred.shell.supervise.requests import Requests
from maitred.shell.supervise.servers import KILL_AGAIN, Servers
from maitred.shell.supervise.usable import Elements, UnusableError, check_hosts

LOOK_ROUND: Final = 2.0
"""Seconds between looks at what no event reports: CPUs, and orphans that have died."""

STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
QUICK: Final = (signal.SIGINT, signal.SIGQUIT)
"""Those that stop without a grace, as for nginx and gunicorn."""
ROTATE: Final = signal.SIGUSR1
"""As for nginx and gunicorn."""
RELOAD: Final = signal.SIGHUP
MORE: Final = signal.SIGTTIN
FEWER: Final = signal.SIGTTOU
"""As for gunicorn: the file is read again; one static server more, or one fewer."""
KEPT: Final = {signal.SIGUSR2: "upgrade"}
"""Signals that do nothing, and the command that each is kept for: what it makes other supervisors do."""
CAUGHT: Final = (*STOPS, ROTATE, RELOAD, MORE, *KEPT)

UNUSABLE: Final = 2
"""The exit code where the configuration does not fit this machine."""


class Monitor:
    """One Monitor at work."""

    def __init__(self, config: Config, verifier_main: VerifierMain | None = None) -> None:
        """Prepare everything but the processes.

        Args:
            config: what is to run.
            verifier_main: the verifier's process, for a configuration that wants one.

        Raises:
            UnusableError: something that is configured cannot be had.
        """
        self._config = config
        loop = self._loop = Loop()
        elements = self._elements = Elements(config)
        check_hosts(config)
        recording = self._recording = Recording(config, verifier_main)
        classes, weights = config.core()
        trace = Trace(recording.begin("monitor"), "monitor")
        trace.start(classes=classes, weights=weights)
        effects: dict[type[core.Effect], Callable[[Any], None]] = {}  # filled below, by what lets events happen
        machine = self.machine = Driver(
            core.step,
            core.initial(classes, weights),
            effects,
            trace if trace.wanted else None,
            stepped=lambda event, before: None,
            declined=_declined,
        )
        programs = Programs(config)
        servers = self._servers = Servers(
            config, loop, machine, elements, recording, programs, lambda: distributors.children()
        )
        news = self._news = News(config, machine, servers)
        kept = Kept()
        distributors = self._distributors = Distributors(
            config, loop, machine, elements, recording, servers, kept, news
        )
        changes = self._changes = Changes(config, machine, programs)
        requests = self._requests = Requests(
            config, loop, machine, servers, distributors, recording, changes, news, self._stop
        )
        effects.update(self._effects(kept))
        self._exit: int | None = None
        kernel.become_subreaper()
        self._signals = self._watch_signals()
        try:
            self._control = status.ControlServer(loop, config.control, requests.answer)
        except OSError as error:
            raise UnusableError(f"the control socket {config.control} cannot be made: {error.strerror}") from error
        leftovers.mark(config.control)

    def run(self) -> int:
        """Start everything, look after it, and return the exit code once it has ended."""
        self._loop.set_timer("look round", LOOK_ROUND, self._look_round)
        self._recording.start(self._loop)
        with self._loop.interrupt_waits():
            self.machine.handle(core.Started())
            while self._exit is None:
                self._loop.turn()
        self._finish()
        return self._exit

    # ================================================================ events

    def _watch_signals(self) -> socket.socket:
        """Signals wake the loop: their numbers are read as bytes."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
        for number in CAUGHT:  # though a script that starts us with & has us ignore SIGINT
            signal.signal(number, _ignore)
        # Blocked and looked for, as the kernel does not raise it then for each line on a terminal that is not ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, [FEWER])
        signal.signal(FEWER, _ignore)
        self._loop.watch(reader.fileno(), READ, self._on_signals)
        return reader

    def _on_signals(self, flags: int) -> None:
        try:
            numbers = self._signals.recv(64)
        except BlockingIOError:
            return
        for number in numbers:
            if number in STOPS:
                if number == signal.SIGINT:
                    self._servers.default_stop_signal = number  # after Ctrl-C, what Ctrl-C means to programs
                self._stop(signal.Signals(number).name, number in QUICK)
            elif number == ROTATE:
                self._requests.rotate(_rotated)
            elif number == RELOAD:
                self._reload()
            elif number == MORE:
                self._more(signal.Signals(number), 1)
            elif number in KEPT:
                name, command = signal.Signals(number).name, KEPT[signal.Signals(number)]
                report.warning(f"{name} does nothing: it is kept for maitred {command}, which is not there yet")

    def _stop(self, why: str, quick: bool) -> Rejected | None:
        """Stop: gracefully, or quickly, which is a graceful stop whose grace is over; if that goes on already, kill."""
        phase, durations = self.machine.state.phase, self._config.durations
        if quick and phase in (core.Phase.RUNNING, core.Phase.CLOSING):
            report.info(f"{why}: stopping: servers are asked to end, at most {durations.kill_delay:g} s; again: now")
            if phase is core.Phase.RUNNING:
                self.machine.handle(core.StopRequested())
            self._loop.cancel_timer(core.GraceOver())
            return self.machine.handle(core.Fired(core.GraceOver()))
        if phase is core.Phase.RUNNING:
            report.info(f"{why}: stopping when the clients have left, at most {durations.grace:g} s; again: now")
        else:
            report.info(f"{why}: stopping now")
        return self.machine.handle(core.StopRequested())

    def _reload(self) -> None:
        try:
            self._changes.reload(None, False)
        except (RefusedError, ConfigError) as error:
            report.warning(f"SIGHUP: {error}")

    def _more(self, number: signal.Signals, static: int) -> None:
        refused = self._changes.more(static)
        if refused:
            report.warning(f"{number.name}: {refused}")

    def _look_round(self) -> None:
        self._loop.set_timer("look round", LOOK_ROUND, self._look_round)
        self._distributors.prepare()  # the standby, where there is none
        reap_orphans(frozenset(child.pid for child in self._children()))
        while signal.sigtimedwait([FEWER], 0):
            self._more(FEWER, -1)
        for element, up in self._elements.changes():
            self.machine.handle(core.ElementRestored(element) if up else core.ElementFailed(element))

    def _children(self) -> Iterator[Child]:
        yield from self._servers.children()
        yield from self._distributors.children()
        if self._recording.child is not None:
            yield self._recording.child

    # ================================================================ effects

    def _effects(self, kept: Kept) -> dict[type[core.Effect], Callable[[Any], None]]:  # Any: each takes its own effect
        return {
            core.StartServer: self._servers.start,
            core.StartDistributor: self._distributors.start,
            core.SendDistributor: self._distributors.tell,
            core.Terminate: self._servers.terminate,
            core.Kill: self._servers.kill,
            core.KillDistributor: self._distributors.kill,
            core.DropDuplicate: kept.drop_duplicate,
            core.ShutDownStored: kept.shut_down,
            core.DropServer: self._servers.drop,
            core.DropListener: kept.drop_listener,
            core.SetTimer: self._set_timer,
            core.Report: self._news.complain,
            core.Exit: self._end,
        }

    def _set_timer(self, effect: core.SetTimer) -> None:
        timer = effect.timer
        seconds = duration(self._config.durations, timer)
        if isinstance(timer, core.RestartServer | core.RestartDistributor) and seconds >= 1:
            what = "a server" if isinstance(timer, core.RestartServer) else "the Distributor"
            name = self._config.classes[timer.class_id].name
            report.warning(f"{what} of {name} is restarted in {seconds:.1f} s")
        set_timer = partial(self._loop.set_timer, timer, seconds, partial(self.machine.handle, core.Fired(timer)))
        if isinstance(timer, core.StartWarning):
            self._servers.once_started(timer.server, set_timer)
        else:
            set_timer()

    def _end(self, effect: core.Exit) -> None:
        self._exit = EXIT_CODES.get(effect.failure, 1)

    def _finish(self) -> None:
        """Everything has ended: wait for the last Distributors, and leave nothing behind."""
        self._control.close()
        self._distributors.finish()
        self._recording.finish()
        deadline = time.monotonic() + LAST_WAIT
        while kill_orphans() and time.monotonic() < deadline:
            time.sleep(KILL_AGAIN[0])
        reap_orphans(frozenset())
        for number in CAUGHT:
            signal.signal(number, signal.SIG_IGN)  # the end, with its exit code, is at hand: nothing is left to stop
        if self._news.failure:
            report.error(f"stopped: {self._news.failure}")
        else:
            report.info("stopped")


def _declined(event: core.Event, rejected: Rejected) -> None:
    report.debug(f"monitor: {event}: {rejected.reason.value}")


def _rotated(reply: status.Json) -> None:
    if "error" in reply:
        report.warning(f"SIGUSR1: {reply['error']}")


def _ignore(number: int, frame: object) -> None:
    """The signal has been written to the wake-up descriptor: that is what handles it."""


def run(config: Config, verifier_main: VerifierMain | None = None) -> int:
    """Run the instance until it is stopped; the exit code.

    0: it was asked to stop; 1: an address could not be listened on; 2: the configuration does not fit this machine;
    3: a server class was given up, since none of its servers ever became ready.
    """
    kernel.hear_of_children()
    name_process(f"maitred:{config.name}")
    try:
        monitor = Monitor(config, verifier_main)
    except (UnusableError, OSError) as error:
        report.error(f"cannot start: {kernel.in_words(error)}" if isinstance(error, OSError) else str(error))
        return UNUSABLE
    code = None
    try:
        with report.in_background():
            try:
                code = monitor.run()
            except BaseException:
                report.unforeseen("the Monitor")
                raise
        return code
    finally:
        if code is None:  # die of it at once, so that the Distributors see it and serve on alone:
            os._exit(os.EX_SOFTWARE)  # an ordinary exit would wait for every process that multiprocessing has started
