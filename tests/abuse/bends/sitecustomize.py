"""Bends one thing in a Distributor or a Monitor that is started with this directory on PYTHONPATH.

`MAITRED_BEND` names the bends, with commas between.  So a test shows that a check of this room can fail.  Servers are
left alone: in them `socket` must be replaced before anything else imports it.
"""

import functools
import importlib.abc
import importlib.util
import os
import sys
import time

SERVER = "MAITRED_SERVER"
YEAR = 365 * 86_400.0


def spin(module):
    """An accept that fails as there are no descriptors is tried again at once."""
    module.Listeners._exhausted = lambda self, port: None


def hold_copies(module):
    """The copy of a client that has been handed over is kept."""
    module.Distributor._close_copy = lambda self, effect: None


def no_limit(module):
    """Everybody may wait."""
    initial = module.core.initial
    module.core.initial = lambda incarnation, dynamic, limit, *rest: initial(incarnation, dynamic, 1 << 20, *rest)


def no_backoff(module):
    """What has died is started again at once."""
    duration = module.duration
    module.duration = lambda durations, timer: min(duration(durations, timer), 0.01)


def trust_the_wall(module):
    """The Distributor's timers run by the clock on the wall."""
    module.Loop = functools.partial(module.Loop, time.time)


BENDS = {
    "spin": ("maitred.shell.listeners", spin),
    "hold copies": ("maitred.shell.distributor", hold_copies),
    "no limit": ("maitred.shell.distributor", no_limit),
    "no backoff": ("maitred.shell.monitor", no_backoff),
    "trust the wall": ("maitred.shell.distributor", trust_the_wall),
}


class Bender(importlib.abc.MetaPathFinder):
    """Bends a module once it has been executed."""

    def __init__(self, wanted):
        self.wanted = wanted

    def find_spec(self, name, path=None, target=None):
        bends = [self.wanted.pop(bend) for bend in list(self.wanted) if self.wanted[bend][0] == name]
        if not bends:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for _, bend in bends:
                bend(module)

        spec.loader.exec_module = exec_module
        return spec


def turn_the_wall(years):
    """The clock on the wall jumps by so many years, and again every tenth of a second."""
    real, began = time.time, time.monotonic()
    time.time = lambda: real() + YEAR * years * (1 + int((time.monotonic() - began) * 10))


JUMPS = {"jump": 1, "fall": -1}
asked = set(filter(None, os.environ.get("MAITRED_BEND", "").split(",")))
if asked and SERVER not in os.environ:
    for name in asked & JUMPS.keys():
        turn_the_wall(JUMPS[name])
    sys.meta_path.insert(0, Bender({name: BENDS[name] for name in asked - JUMPS.keys()}))
