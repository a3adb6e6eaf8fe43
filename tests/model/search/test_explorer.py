"""The explorer: one worker and several come to the same, from the disk as well; and what is kept of a world."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.model.outcome import shown
from tests.processes import alive, children

from maitred.model.check.checker import Verdict, check, enquire
from maitred.model.claims.safety import PROPERTIES
from maitred.model.search import explorer as exploring
from maitred.model.search import parallel
from maitred.model.search.checkpoint import Checkpoint, CheckpointError, Reached, sources
from maitred.model.search.explorer import Enquiry, Explorer, Observer, forecast
from maitred.model.search.fingerprints import (
    Collision,
    Fingerprints,
    Foreign,
    collision_risk,
    fingerprint,
    pack,
    unpack,
)
from maitred.model.search.parallel import Alone, Team, WorkerLost
from maitred.model.search.shard import Level, Shard, Site
from maitred.model.world import Assumption, Bounds, System

pytestmark = pytest.mark.properties

ROOT = Path(__file__).parents[3]
SMALL = Bounds(servers=1, clients=2, warm=True, descriptor_losses=1)
CRASH = Bounds(servers=1, clients=1, distributor_crashes=1)
LOSING = Bounds(servers=1, clients=2, distributor_crashes=1, warm=True, without=(Assumption.HEARD_OUT,))


def figures(result):
    """All that must not depend on how it was explored."""
    ways = {on.property.name: [step.action for step in on.path.steps] for on in result.verdicts if on.path}
    return result.states, result.transitions, result.depth, {v.property.name: v.verdict for v in result.verdicts}, ways


# ---------------------------------------------------------------- fingerprints


def worlds(bounds, count):
    system = System(bounds, steady=True)
    found = {}
    frontier = [system.canonical(system.initial())]
    while frontier and len(found) < count:
        world = frontier.pop(0)
        if found.setdefault(System.key(world), world) is world:
            frontier += [system.canonical(after) for _, after, _ in system.successors(world)]
    return system, list(found.values())


def test_different_worlds_have_different_fingerprints():
    system, found = worlds(CRASH, 2_000)
    fingerprints = Fingerprints(system)
    assert len({fingerprints.of(world) for world in found}) == len(found) > 1_000


def test_a_fingerprint_is_the_same_in_every_process():
    """Whatever the seed of the hashes."""
    code = (
        "from maitred.model.search.fingerprints import Fingerprints; from maitred.model.world import Bounds, System;"
        "s = System(Bounds(servers=2, clients=2, warm=True)); print(Fingerprints(s).of(s.initial()))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "reference")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "012"
    }
    assert len(said) == 1


def test_a_world_travels_as_its_spelling():
    system, found = worlds(CRASH, 300)
    fingerprints = Fingerprints(system)
    other = System(CRASH, steady=True)
    theirs = Fingerprints(other)
    spellings = [fingerprints.spell(world) for world in found]
    theirs.adopt(fingerprints.pack({s[i : i + 8] for s in spellings for i in range(0, len(s), 8)}))
    for world, spelling in zip(found, spellings, strict=True):
        assert theirs.world(spelling) == world
        assert theirs.spell(theirs.world(spelling)) == spelling
        assert {a: theirs.of(other.canonical(w)) for a, w, _ in other.successors(theirs.world(spelling))} == {
            a: fingerprints.of(system.canonical(w)) for a, w, _ in system.successors(world)
        }


def test_two_components_of_one_digest_are_refused(monkeypatch):
    system, found = worlds(CRASH, 20)
    monkeypatch.setattr("maitred.model.search.fingerprints.repr", lambda part: type(part).__name__, raising=False)
    with pytest.raises(Collision, match="one digest"):
        list(map(Fingerprints(system).of, found))


def test_a_component_that_is_encoded_otherwise_elsewhere_is_refused():
    system, (world, *_) = worlds(CRASH, 1)
    fingerprints = Fingerprints(system)
    fingerprints.spell(world)
    with pytest.raises(Collision, match="otherwise"):
        fingerprints.adopt(pack([(b"12345678", world.monitor)]))


def test_only_our_own_values_are_unpickled():
    _, (world, *_) = worlds(CRASH, 1)
    assert unpack(pack(world)) == world
    for evil in (os.system, Path("x"), partial(print, "x"), type):
        with pytest.raises(Foreign):
            unpack(pickle.dumps(evil))
    for damaged in (b"", b"x", pack(world)[:-9]):
        with pytest.raises(Foreign, match="damaged"):
            unpack(damaged)


def test_the_risk_is_small_and_reported():
    assert collision_risk(1_000_000) == pytest.approx(2.7e-8, rel=0.01)
    assert check(SMALL).risk == collision_risk(check(SMALL).states)


# ---------------------------------------------------------------- one worker and several


@pytest.mark.parametrize(
    ("bounds", "symmetric"), [(SMALL, False), (CRASH, False), (Bounds(servers=2, clients=2, warm=True), True)]
)
def test_several_workers_come_to_the_same(bounds, symmetric):
    alone = figures(check(bounds, symmetric=symmetric))
    assert figures(check(bounds, symmetric=symmetric, workers=2)) == alone


def test_three_workers_find_the_same_counterexample():
    alone = check(LOSING)
    assert alone["no_client_is_lost"].verdict is Verdict.VIOLATED, shown(alone)
    assert len(alone.counterexample.path.steps) == 5, shown(alone)
    assert figures(check(LOSING, workers=3)) == figures(alone)


def test_a_large_exploration_gets_a_team_on_its_way(monkeypatch):
    alone = figures(check(CRASH))
    teams = []
    monkeypatch.setattr(exploring, "WORTH_A_TEAM", 200)
    monkeypatch.setattr(exploring, "cpus", lambda: 2)
    monkeypatch.setattr(exploring, "Team", lambda *a: teams.append(Team(*a)) or teams[0])
    assert figures(check(CRASH, workers=None)) == alone
    assert len(teams) == 1


def test_the_order_of_exploration_changes_nothing():
    def backwards(bounds):
        enquiry = enquire(bounds, symmetric=False)
        forwards = enquiry.system.successors
        enquiry.system.successors = lambda world: reversed(list(forwards(world)))
        return enquiry

    results = []
    for prepare in (partial(enquire, CRASH, False), partial(backwards, CRASH)):
        explorer = Explorer(prepare)
        explorer.run()
        ways = {name: explorer._ways[name] for name in explorer.found}
        results.append((explorer.states, explorer.transitions, explorer.depth, ways))
    assert results[0] == results[1]


class Failing(Observer):
    """A question that fails, in a worker, when it is asked of a client's arrival."""

    def step(self, before, action, after, wrong):
        if action.who == "client 0":
            raise ZeroDivisionError("asked for trouble")
        return ()


def failing():
    return Enquiry(System(SMALL, steady=True), Failing())


class Deadly(Observer):
    """A question that kills its worker."""

    def step(self, before, action, after, wrong):
        os.kill(os.getpid(), signal.SIGKILL)
        return ()


def deadly():
    return Enquiry(System(SMALL, steady=True), Deadly())


def test_a_workers_exception_is_raised_as_itself():
    with pytest.raises(ZeroDivisionError, match="asked for trouble") as caught:
        Explorer(failing, workers=2).run()
    assert "in worker" in "".join(caught.value.__notes__) and "test_explorer.py" in "".join(caught.value.__notes__)


def test_a_worker_that_is_killed_is_missed():
    with pytest.raises(WorkerLost, match="was killed by SIGKILL"):
        Explorer(deadly, workers=2).run()


def test_a_worker_that_is_killed_between_two_levels_is_missed():
    team = Team(partial(enquire, CRASH, False), 2)
    try:
        team.begin()
        os.kill(team._workers[0].pid, signal.SIGKILL)
        team._workers[0].join()
        with pytest.raises(WorkerLost, match="worker 0 was killed by SIGKILL"):
            team.level(None, (), lambda *_: None)
    finally:
        team.close()


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.02)


LONG = (
    "import maitred.model.check.checker as c; c.check(c.Bounds(servers=2, clients=4, distributor_crashes=2), workers=2)"
)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nobody_stays_behind(how):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "reference")}
    leader = subprocess.Popen([sys.executable, "-c", LONG], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: len(children(leader.pid)) >= 2)
        workers = children(leader.pid)
        leader.send_signal(how)
        leader.wait(20)
        until(lambda: not any(map(alive, workers)))
    finally:
        leader.kill()
        said = leader.communicate()[1]
    assert "in worker" not in said


# ---------------------------------------------------------------- a shard


def test_a_shard_keeps_the_least_predecessor():
    shard = Shard(enquire(CRASH, symmetric=False))
    shard.begin()
    while True:
        before = dict(shard._frontier)
        shard.expand(lambda *_: None, lambda _: True)
        least = {}
        for mark, world in before.items():
            for _, after, _ in shard.system.successors(world):
                child = shard.fingerprints.of(shard.system.canonical(after))
                least[child] = min(mark, least.get(child, mark))
        assert shard._fresh_parents == {mark: least[mark] for mark in shard._fresh}
        if not shard.close().queue:
            break


def test_levels_are_joined():
    one = Level(1, 2, {"a": Site(3, 4), "b": Site(1, 1)})
    other = Level(10, 20, {"a": Site(3, 3)}, cut=True)
    assert Level.joined([one, other]) == Level(11, 22, {"a": Site(3, 3), "b": Site(1, 1)}, cut=True)


def test_a_way_that_cannot_be_walked_again_is_no_counterexample():
    explorer = Explorer(partial(enquire, LOSING, False))
    explorer.run()
    explorer._enquiry.system.successors = lambda world: iter(())
    with pytest.raises(RuntimeError, match="cannot be walked again"):
        explorer.path("no_client_is_lost")


def test_a_path_keeps_every_name():
    """The explored worlds are renumbered; the way that is shown is a real run."""
    result = check(Bounds(servers=2, clients=2, warm=True), symmetric=True)
    path = result["a_tie_goes_to_the_longest_unchosen"].path
    system = System(path.bounds, steady=True)
    world = path.start
    assert world == system.initial()
    for step in path.steps:
        assert (step.action, step.world) in [(action, after) for action, after, _ in system.successors(world)]
        world = step.world


# ---------------------------------------------------------------- progress


def test_the_forecast_comes_near():
    bounds = Bounds(servers=1, clients=3, distributor_crashes=1, warm=True)  # levels of hundreds: the trend is smooth
    explorer = Explorer(partial(enquire, bounds, False))
    explorer.run()
    peak = explorer.sizes.index(max(explorer.sizes))
    guess = forecast(explorer.sizes[: peak + 3])
    assert guess is not None and explorer.states / 2 < guess < explorer.states * 2
    assert forecast(explorer.sizes[:3]) is None
    assert forecast([2**n for n in range(20)]) is None
    assert forecast([int(3 ** (n - n * n / 200)) for n in range(12)]) is None  # an end, but too far away to be forecast


def test_progress_adds_up(monkeypatch):
    monkeypatch.setattr("maitred.model.search.parallel.PROGRESS_INTERVAL", 0.0)
    for workers in (1, 2):
        seen = []
        result = check(CRASH, seen.append, workers=workers)
        assert seen[-1].states <= result.states and seen[-1].transitions <= result.transitions
        assert all(0 <= p.queue <= p.states and p.rate > 0 and not p.exact for p in seen)
        assert [p.depth for p in seen] == sorted(p.depth for p in seen)


# ---------------------------------------------------------------- the disk


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "kept"


def explore_some(directory, bounds=CRASH, symmetric=False, levels=10):
    """As an exploration that was killed after so many levels; how many states it knew then."""
    crew = Alone(enquire(bounds, symmetric))
    with Checkpoint(directory, bounds, symmetric=symmetric, every=0) as checkpoint:
        level = crew.begin()
        sizes, transitions, found = [level.queue], 0, {}
        for depth in range(levels):
            level = crew.level(None, set(found), lambda *_: None)
            transitions += level.transitions
            for name, site in level.found.items():
                found.setdefault(name, (depth, site))
            sizes.append(level.queue)
        checkpoint.write(Reached(sum(sizes), transitions, 1.0, tuple(sizes), found), crew.save)
    return sum(sizes)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_goes_on_where_it_was(directory, workers):
    known = explore_some(directory)
    first = []
    result = check(CRASH, first.append, workers=workers, checkpoint=directory)
    assert figures(result) == figures(check(CRASH))
    assert 0 < known < result.states
    assert [path.name for path in directory.iterdir()] == ["lock"]  # it is over


KILLED = """
import sys
from pathlib import Path
from maitred.model.check.checker import Bounds, check
check(Bounds(**eval(sys.argv[1])), workers=2, checkpoint=Path(sys.argv[2]), every=0)
"""


def test_one_that_is_killed_goes_on(directory):
    bounds = {"servers": 1, "clients": 2, "distributor_crashes": 1, "warm": True}
    environment = os.environ | {"PYTHONPATH": str(ROOT / "reference")}
    process = subprocess.Popen([sys.executable, "-c", KILLED, repr(bounds), str(directory)], env=environment)
    state = directory / "state.json"
    until(lambda: state.exists() and len(json.loads(state.read_text())["reached"]["sizes"]) > 5)
    process.kill()
    process.wait()
    assert state.exists()
    assert figures(check(Bounds(**bounds), checkpoint=directory)) == figures(check(Bounds(**bounds)))


def test_what_is_kept_is_for_its_owner_alone(directory):
    explore_some(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("bounds", "symmetric", "why"),
    [
        (Bounds(servers=2, clients=1, distributor_crashes=1), False, "servers = 1, and this is 2"),
        (CRASH, True, "symmetric = False, and this is True"),
        (Bounds(servers=1, clients=1, distributor_crashes=1, without=(Assumption.HEARD_OUT,)), False, "without"),
    ],
)
def test_another_exploration_is_refused(directory, bounds, symmetric, why):
    explore_some(directory)
    with pytest.raises(CheckpointError, match=why):
        check(bounds, symmetric=symmetric, checkpoint=directory)


def test_other_machines_are_refused(directory, monkeypatch):
    explore_some(directory)
    monkeypatch.setattr("maitred.model.search.checkpoint.sources", lambda: "others")
    with pytest.raises(CheckpointError, match="have changed since"):
        check(CRASH, checkpoint=directory)


def test_the_digest_of_the_sources_is_of_every_line(tmp_path, monkeypatch):
    for name in ("core/distributor.py", "model/world/system.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr("maitred.model.search.checkpoint._PACKAGE", tmp_path)
    before = sources()
    (tmp_path / "core" / "distributor.py").write_text("x = 2\n")
    assert sources() != before


def spoil_state(directory):
    (directory / "state.json").write_text('{"identity": {}')


def spoil_shape(directory):
    kept = json.loads((directory / "state.json").read_text())
    kept["reached"]["found"] = 3
    (directory / "state.json").write_text(json.dumps(kept))


def spoil_worker(directory):
    (path,) = directory.glob("level-*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_worker(directory):
    (path,) = directory.glob("level-*")
    path.unlink()


@pytest.mark.parametrize("spoil", [spoil_state, spoil_shape, spoil_worker, lose_worker])
def test_a_damaged_checkpoint_is_refused(directory, spoil):
    explore_some(directory)
    spoil(directory)
    with pytest.raises(CheckpointError, match="remove the directory"):
        check(CRASH, checkpoint=directory)


def test_a_directory_that_cannot_be_used_is_refused(directory, tmp_path):
    with Checkpoint(directory, CRASH, symmetric=False), pytest.raises(CheckpointError, match="another exploration"):
        check(CRASH, checkpoint=directory)
    directory.chmod(0o777)
    with pytest.raises(CheckpointError, match="writable by nobody else"):
        check(CRASH, checkpoint=directory)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be used"):
        check(CRASH, checkpoint=tmp_path / "file")


# ---------------------------------------------------------------- memory

MEASURE = """
import sys
from functools import partial
from maitred.model.check.checker import Bounds, enquire
from maitred.model.search.explorer import Explorer

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

bounds = Bounds(**eval(sys.argv[1]))
before = resident()
explorer = Explorer(partial(enquire, bounds, False))
most = [0]
explorer.run(lambda progress: most.append(resident()), max_states=int(sys.argv[2]))
print(explorer.states, max(most) - before)
"""


def resident_per_state(bounds, states):
    """Bytes that an exploration of so many states takes for each, at most, at any time; and the states."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "reference")}
    arguments = [sys.executable, "-c", MEASURE, repr(bounds), str(states)]
    said = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    number, size = map(int, said.split())
    assert number >= states
    return size / number


def test_a_state_takes_little_memory():
    assert resident_per_state({"servers": 2, "clients": 3, "distributor_crashes": 1}, 20_000) < 1_024


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_state_takes_at_most_a_kibibyte_at_a_million():
    bounds = {"servers": 2, "clients": 3, "distributor_crashes": 2, "server_crashes": 1, "warm": True}
    size = resident_per_state(bounds, 1_000_000)
    print(f"{size:.0f} bytes for each of a million states")
    assert size < 1_024


def test_every_property_has_a_place_in_the_verdicts():
    assert [on.property.name for on in check(SMALL).verdicts] == list(PROPERTIES)


def test_fingerprints_have_64_bits():
    assert 0 <= fingerprint(b"x") < 1 << 64


def test_no_sum_is_reported_while_a_worker_is_missing(monkeypatch):
    """Its worlds would count as none, and the number that is yet to be explored fell below 0."""
    monkeypatch.setattr(parallel, "PROGRESS_INTERVAL", 0.0)
    (mine, first), (also, second), (never, _end) = Pipe(), Pipe(), Pipe()
    team = parallel.Team.__new__(parallel.Team)
    team._links, team._workers = [mine, also], [SimpleNamespace(sentinel=never)]
    team._give = lambda *command: None
    sums = []

    def receive(index, answers, real=team._receive):
        real(index, answers)
        second.send(parallel._Answer(2) if answers or team._reported[1] else parallel._Progress(30, 40, 5))

    def report(*numbers):
        sums.append(numbers)
        first.send(parallel._Answer(1))

    team._receive = receive
    first.send(parallel._Progress(10, 20, 3))
    assert team._all("level", report=report) == [1, 2]
    assert sums[0] == (40, 60, 8)
