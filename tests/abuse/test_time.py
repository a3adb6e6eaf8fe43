"""A crash loop under a flood, and clocks that jump: back-off stays back-off, and no decision asks what time it is."""

import ast
import itertools
import re
import shutil
import time
from pathlib import Path

import pytest
from tests.abuse.catalogue import says
from tests.abuse.measures import (
    Crowd,
    allowed,
    backlog,
    bent,
    config,
    eventually,
    guest,
    is_calm,
    note,
    sink,
    vanish,
)
from tests.machine import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]
PACKAGE = Path(__file__).parents[2] / "reference" / "maitred"

# ---------------------------------------------------------------- a flood while a crash loop backs off


def crash_loop(strained, tmp_path, first, environment=None):
    """An instance of two servers that have served and now die as soon as they are started."""
    port, mark = free_port(), tmp_path / "dies"
    cls = sink(port, f"dies={mark}", static=2, max_clients=200, waiting_limit=100)
    path = config(tmp_path, cls, queue_timeout=600, backoff_first=first, backoff_cap=max(first, 1), stable_after=0.01)
    instance = strained("--config", path, environment=environment)
    with guest(port) as client:
        client.seated()
    mark.touch()
    began = time.monotonic()
    for server in instance.servers():
        instance.kill(server["pid"])
    return instance, port, mark, began


def starts(instance):
    """How many servers have been started, beside the two at first."""
    return len(re.findall(r"^maitred: server \d+ .* started", instance.log, re.MULTILINE)) - 2


def most_starts(first, seconds):
    """As many starts as the back-off of two servers allows in so many seconds: x1.5 from the first, up to a second."""
    delays = itertools.accumulate(itertools.count(), lambda delay, _: min(delay * 1.5, max(first, 1)), initial=first)
    return 2 * sum(1 for _ in itertools.takewhile(lambda due: due <= seconds, itertools.accumulate(delays)))


def test_a_flood_does_not_hasten_a_crash_loop(strained, tmp_path):
    instance, port, mark, began = crash_loop(strained, tmp_path, 0.2)
    with Crowd(port).join(300) as crowd:
        eventually(lambda: instance.waiting() >= 100, "the list is full")
        rate = vanish(port, 500, 1_000)
        says(instance, "crash loop")
        shares = is_calm(instance.pids())
        count = starts(instance)
        assert count <= most_starts(0.2, time.monotonic() - began)
        assert instance.waiting() <= 102, "at its bound, beside those whom the two that were killed gave back"
        assert backlog(port) >= 198, "those who came after them, and some who have left"

        mark.unlink()

        assert len(crowd.greeted()) == 300, "none was refused, none was lost"
    instance.wait_waiting(0)
    instance.wait_counts([0, 0])
    note("crash_loop", starts=count, rate=rate, **{f"{name}_cpu": share for name, share in shares.items()})


def test_a_crash_loop_without_back_off_is_noticed(strained, tmp_path):
    instance, _, mark, began = crash_loop(strained, tmp_path, 5, bent("no backoff"))
    eventually(lambda: starts(instance) > most_starts(5, time.monotonic() - began), "they are started too often")
    mark.unlink()
    instance.wait_all_ready()


# ---------------------------------------------------------------- clocks that jump


def who_waits(strained, tmp_path, environment=None, prefix=()):
    """An instance whose one static server is full, a client that waits, and a dynamic server to come for it.

    Returns:
        the instance, the client that has the seat and the one that waits.
    """
    port = free_port()
    cls = sink(port, static=1, dynamic=1, max_clients=1)
    path = config(tmp_path, cls, queue_timeout=600, create_delay=1, delete_delay=600)
    instance = strained("--config", path, environment=environment, prefix=prefix)
    seated = guest(port)
    seated.seated()
    return instance, seated, guest(port)


@pytest.mark.parametrize("way", ["jump", "fall"])
def test_a_wall_clock_that_jumps_changes_nothing(strained, tmp_path, way):
    """By a year, ten times a second: the timers of minutes hence do not ring, those of a second do."""
    instance, seated, waits = who_waits(strained, tmp_path, bent(way))
    with seated, waits, guest(seated.remote) as third:
        assert waits.seated() != seated.seated(), "a server was made for it, a second later"
        instance.wait_waiting(1)
        is_calm(instance.pids())
        assert instance.waiting() == 1, "it is not turned away years early"
        shown = instance.server_class()["waiting_list"][0]["since"]
        assert abs(shown - time.time()) > 300 * 86_400, "the clock has jumped in fact"
        seated.close()
        assert third.seated()


def test_timers_by_the_clock_on_the_wall_would_be_noticed(strained, tmp_path):
    """Whichever timer rings years early: a server is taken for hung, or a client has waited for too long."""

    def check():
        _, seated, waits = who_waits(strained, tmp_path, bent("jump", "trust the wall"))
        assert waits.seated() != seated.seated()

    with pytest.raises((AssertionError, OSError)):
        check()


def test_a_monotonic_clock_of_its_own_changes_nothing(strained, tmp_path):
    """In a time namespace, where it is eleven days later than for the clients and for who asks for the status."""
    prefix = [shutil.which("unshare") or "unshare", "--time", "--monotonic", "1000000", "--boottime", "1000000"]
    if not allowed(*prefix, "true"):
        prefix.insert(1, "--map-root-user")
    if not allowed(*prefix, "true"):
        pytest.skip("this user may not make a time namespace")
    instance, seated, waits = who_waits(strained, tmp_path, prefix=prefix)
    with seated, waits:
        assert waits.seated() != seated.seated()
    instance.wait_counts([0, 0])
    times = [float(found) for found in re.findall(r'"t":([\d.]+)', instance.trace.read_text())]
    assert min(times) > time.monotonic() + 500_000, "its clock is another in fact"


WALL = frozenset({"time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime", "CLOCK_REALTIME"})
"""What of the module `time` reads the wall clock; all of `datetime` does."""


def looks_at_the_wall(tree, where=""):
    """The functions in which the tree reads the wall clock, or takes a name for it."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield from looks_at_the_wall(node, name)
                continue
            case ast.Attribute(value=ast.Name(id="time"), attr=name) if name in WALL:
                yield where
            case ast.ImportFrom(module="time", names=names) if WALL.intersection(alias.name for alias in names):
                yield where
            case ast.ImportFrom(module="datetime"):
                yield where
            case ast.Import(names=names) if "datetime" in [alias.name for alias in names]:
                yield where
        yield from looks_at_the_wall(node, where)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef decide():\n    return time.time() > 5",
        "def decide():\n    from time import time_ns",
        "def decide():\n    import datetime",
        "def decide():\n    time.clock_gettime(time.CLOCK_REALTIME)",
        "class A:\n    def decide(self, clock=1):\n        return [time.gmtime()]",
    ],
)
def test_a_look_at_the_wall_is_noticed(source):
    assert list(looks_at_the_wall(ast.parse(source))) == ["decide"]


def test_only_times_shown_to_people_come_from_the_wall_clock():
    looks = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found = list(looks_at_the_wall(ast.parse(path.read_text())))
        if found:
            looks[str(path.relative_to(PACKAGE))] = found
    assert looks == {
        "cli/status.py": ["main", "show"],
        "cli/top.py": ["_refresh", "lines"],
        "shell/distributor.py": ["_watch"],
        "shell/io/report.py": ["_line"] * 3,
    }
