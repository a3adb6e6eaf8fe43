"""What a newcomer sees: real runs of `maitred check`, of the core as it is and of a core with a slip in it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.planted import PLANTED
from tests.cli.schema import faults

from maitred.cli.check import EPILOG
from maitred.model.check import manifest, portfolio
from maitred.model.world import Bounds

pytestmark = pytest.mark.properties
COMMAND = pytest.mark.recorded(shortest=3, also=["reference/maitred/__main__.py", "reference/maitred/cli/check.py"])
"""Of a test that runs the command in another process."""
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "reference" / "check.schema.json").read_text())
SECONDS = 15
"""Of CPU, that the whole portfolio may take on two CPUs."""


def check(*arguments, root=ROOT):
    """Run the command on the project in `root`."""
    return subprocess.run(
        [sys.executable, "-m", "maitred", "check", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "reference"), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def mutated(tmp_path):
    """Make a copy of the project with an edit in its core."""

    def make(mutant):
        shutil.copytree(ROOT / "reference", tmp_path / "reference", ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "spec").mkdir()
        shutil.copy(ROOT / "spec" / "manifest.toml", tmp_path / "spec")
        module = tmp_path / "reference" / "maitred" / "core" / f"{mutant.module}.py"
        text = module.read_text()
        begin, end = mutant.span(text)
        module.write_text(text[:begin] + mutant.new + text[end:])
        return tmp_path

    return make


def test_the_core_as_it_is_passes_in_time():
    before = os.times()
    done = check("--quiet")
    after = os.times()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == lines[-1] and lines[0].startswith("All is well: every state of ")
    assert max(len(line) for line in lines[2:] if not line.startswith("All is well")) <= 80
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    assert cpu <= 2 * SECONDS, f"{cpu:.1f} s of CPU; two CPUs have {2 * SECONDS} in {SECONDS} s"


@COMMAND
@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_noticed_by_its_property(mutated, mutant):
    began = time.monotonic()
    done = check("--json", root=mutated(mutant))
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "wrong" and [*faults(found, SCHEMA)] == []
    last = found["systems"][-1]
    violated = {each["name"] for each in last["properties"] if each["verdict"] == "violated"}
    assert violated & set(mutant.refutes), f"{violated} in {last['configuration']}, {time.monotonic() - began:.1f} s"
    assert found["way"]["property"] in violated and len(found["way"]["tale"]) > found["way"]["steps"]


@COMMAND
def test_a_planted_bug_is_described_in_words(mutated):
    done = check(root=mutated(PLANTED[0]))
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert lines[0] == lines[-1] and lines[0].startswith("FAILED: in ")
    assert "hand_offs_go_to_free_servers is violated, after 6 steps" in lines[0]
    assert "A shortest way there, 6 actions:" in lines
    assert len(lines) < 60


# ---------------------------------------------------------------- the portfolio


def test_each_of_the_portfolio_has_something_that_the_others_lack():
    """What each has beside servers and clients; nothing of the list is missing."""
    chosen = portfolio.portfolio(manifest.load())
    plain = Bounds(clients=1, servers=1, warm=True)
    names = [name for name in Bounds.__dataclass_fields__ if name not in ("clients", "servers", "waiting_limit")]
    has = [{name for name in names if getattr(one.bounds, name) != getattr(plain, name)} for one in chosen]
    assert len({frozenset(each) | {one.bounds.clients > 1} for each, one in zip(has, chosen, strict=True)}) >= 12
    wanted = {"server_crashes", "forked_children", "distributor_crashes", "ports", "elements", "reorders", "hang_ups"}
    wanted |= {"queue_timeouts", "dynamic", "stops", "leaks", "audits", "listener_closes"}
    assert wanted <= set.union(*has)
    assert any(one.bounds.elements > 1 and one.bounds.servers > 1 for one in chosen)
    assert [one.counts["states"] for one in chosen] == sorted(one.counts["states"] for one in chosen)


def test_the_outcome_does_not_depend_on_the_workers():
    chosen = portfolio.portfolio(manifest.load())[:3]
    results = [portfolio.explore(chosen, workers=workers) for workers in (1, 2)]
    states = [[each.result.states for each in found] for found in results]
    assert states[0] == states[1] and len(states[0]) == 3


def test_an_empty_portfolio_is_refused():
    with pytest.raises(manifest.ManifestError, match="nothing would be checked"):
        portfolio.portfolio([one for one in manifest.load() if not one.portfolio])


# ---------------------------------------------------------------- the help

EXAMPLES = re.findall(r"^  (maitred check.*)$", re.sub(r" \\\n +", " ", EPILOG), re.MULTILINE)


def test_the_help_has_examples():
    assert len(EXAMPLES) == 11


@COMMAND
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_help_works(example, tmp_path):
    """It is understood, and does what the help describes; of the manifest, a small one is asked."""
    typed = example.replace("DIR", str(tmp_path / "kept")).replace("way.svg", str(tmp_path / "way.svg"))
    words = shlex.split(typed)[2:]
    root = ROOT
    if "--all" in words:
        root = tmp_path
        shutil.copytree(ROOT / "reference", root / "reference", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "spec").mkdir()
        (root / "spec" / "manifest.toml").write_text(ONE)
    done = check("--quiet", *words, root=root)
    assert not re.search(r"^(maitred: --|usage)", done.stderr, re.MULTILINE), done.stderr
    if "--without" in words:
        assert done.returncode == 1 and "no_client_has_two_servers is violated" in done.stdout
    elif "--all" in words:
        assert done.returncode == 1 and "one-of-each" in done.stdout and "is unlisted" in done.stdout
    else:
        assert done.returncode == 0 or "is recorded" in done.stderr, done.stdout + done.stderr
    assert (tmp_path / "way.svg").exists() == ("--diagram" in words)


ONE = """\
[[configuration]]
name = "one of each"
why = "The least system."
tier = "seconds"
bounds = { servers = 1, clients = 1, warm = true }
"""
"""A manifest that leaves out most."""


# ---------------------------------------------------------------- the document


@COMMAND
@pytest.mark.parametrize(
    ("arguments", "code", "verdict"),
    [
        (["--servers", "1", "--clients", "1"], 0, "well"),
        (["--servers", "1", "--clients", "1", "--max-states", "9"], 2, "incomplete"),
        (["--servers", "1", "--clients", "1", "--to", "a_client_is_served_and_leaves"], 0, "well"),
        (["--config", "a-dead-distributor-is-not-heard-out"], 0, "well"),
        (["--config", "clients-come-again"], 0, "well"),
        (["--liveness", "--servers", "1", "--warm", "--unassumed", "clients keep leaving"], 1, "wrong"),
        (["--property", "no_client_is_lost", "--max-states", "100"], 2, "incomplete"),
    ],
)
def test_the_document_is_as_its_schema_has_it(arguments, code, verdict):
    done = check("--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert [*faults(found, SCHEMA)] == [] and found["verdict"] == verdict
    shows = code == 1 or "--to" in arguments or "a-dead-distributor-is-not-heard-out" in arguments
    assert (found["way"] is not None) == shows


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda d: d.update(verdict="fine"), "$.verdict: 'fine' should be one of"),
        (lambda d: d.pop("way"), "$: way is missing"),
        (lambda d: d.update(more=1), "$: more should not be there"),
        (lambda d: d["systems"].clear(), "$.systems: should have at least 1"),
        (lambda d: d["systems"][0].update(states="9"), "$.systems[0].states: '9' should be integer"),
        (lambda d: d["systems"][0].update(seconds=-1), "$.systems[0].seconds: -1 should be at least 0"),
        (lambda d: d["systems"][0]["bounds"].update(ports=None), "bounds.ports: None should be integer or boolean"),
        (lambda d: d.update(way={}), "$.way: is 0 of 2 things"),
    ],
)
def test_another_document_is_refused(edit, fault):
    document = json.loads(check("--json", "--servers", "1", "--clients", "1").stdout)
    edit(document)
    assert any(fault in each for each in faults(document, SCHEMA)), [*faults(document, SCHEMA)]
