"""Who is given a second chance, and who is not: in a small house of its own."""

from pathlib import Path

import pytest
from tests.house import small_house

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = """
import pathlib, pytest
RUNS = pathlib.Path(__file__).with_name("runs")

def runs(test):
    with RUNS.open("a") as file:
        print(test, file=file)
    return RUNS.read_text().split().count(test)

@pytest.mark.system
def test_once(): assert runs("once") > 1

@pytest.mark.system
def test_again(): assert runs("again") != 1 and runs("again") < 5

@pytest.mark.system
@pytest.mark.chance
def test_seldom(): assert runs("seldom") > 1

def test_pure(): assert runs("pure") > 1

@pytest.fixture
def taken_down():
    yield
    assert runs("down") > 1

@pytest.mark.system
def test_trace(taken_down): pass

@pytest.mark.system
@pytest.mark.parametrize("n", range(6))
def test_many(n): assert runs(str(n)) > 1

def test_right(): pass
"""


@pytest.fixture
def run(tmp_path):
    """Run some of the sample's tests; the exit status, what is printed, and how often each test ran."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_sample.py").write_text(SAMPLE)
    (folder / "alone.py").write_text((ROOT / "tests" / "alone.py").read_text())
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.alone"]\n')
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\naddopts = --import-mode=importlib -p no:cacheprovider\n"
        "markers =\n    system\n    chance\n"
    )

    def run(which, *options):
        done = small_house.ran(tmp_path, "-k", which, *options)
        ran = (folder / "runs").read_text().split() if (folder / "runs").exists() else []
        return done.returncode, done.stdout, {test: ran.count(test) for test in ran}

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_failure_that_does_not_come_again_alone_is_printed_and_forgiven(run, workers):
    code, printed, ran = run("once or right", "--alone", *workers)
    assert code == 0
    assert ran == {"once": 4}
    assert "1 failed, 1 passed" in printed
    assert "test_once: succeeded 3 times of 3" in printed


def test_one_failure_alone_is_enough(run):
    code, printed, ran = run("once or again", "--alone")
    assert code == 1
    assert "test_again: failed at run 2" in printed
    assert ran["once"] == 4


@pytest.mark.parametrize("which", ["seldom", "pure", "trace", "many"])
def test_nothing_else_is_run_again(run, which):
    code, printed, ran = run(f"{which} or once", "--alone")
    assert code == 1
    assert {*ran.values()} == {1}
    assert "were run again" not in printed


def test_without_the_option_every_failure_counts(run):
    assert run("once")[::2] == (1, {"once": 1})
