"""What `make test` leaves out is recorded of the very sources that it covers; a change of any of them is seen."""

import json
from pathlib import Path

import pytest
from tests import records
from tests.house import small_house

ROOT = Path(__file__).resolve().parents[2]
CORE = "reference/maitred/core/distributor.py"


def test_the_record_is_of_the_sources_as_they_are():
    assert [*records.stale(records.read()).values()] == [], f"run: {records.COMMAND}"


@pytest.mark.parametrize("name", records.read())
def test_what_is_recorded_covers_the_core_or_the_relation(name):
    file, *also = name.split(" + ")
    covered = records.covered(file, tuple(also))
    assert {file, *also} - {folder for folder in also if (ROOT / folder).is_dir()} <= {*covered}
    assert {CORE, "spec/relation/system.py"} & {*covered}


def test_what_is_imported_by_the_way_is_covered():
    """By a function, by a package, by what another file imports; and what is named beside."""
    covered = records.covered("tests/proofs/mutation/test_core.py", ("tests/core",))
    assert {
        CORE,
        "proofs/mutation/core/_server.py",
        "proofs/mutation/core/mutant.py",
        "reference/maitred/model/check/liveness.py",
    } <= {*covered}
    data = {"spec/manifest.toml", "proofs/kept/induction/releases.json"}
    assert data | {"tests/core/test_tree.py", "tests/conftest.py"} <= {*covered}
    with pytest.raises(FileNotFoundError, match="which is not there"):
        records.covered("tests/proofs/mutation/test_core.py", ("tests/nowhere",))


def test_a_record_of_what_is_there_no_more_is_dropped():
    entry = {"covers": "0", "tests": ["test_it"]}
    kept = "tests/conftest.py + docs/README.md"
    record = {kept: entry, "tests/conftest.py + docs/gone.md": entry, "tests/test_gone.py": entry}
    assert records.merged(record, {}) == {kept: entry}


# ---------------------------------------------------------------- in a house of its own

SAMPLE = """
import time
import pytest
from maitred.core import one

@pytest.mark.recorded
@pytest.mark.parametrize("x", [1, 2])
def test_long(x): assert one.ONE == 1

@pytest.mark.recorded(shortest=0.2)
@pytest.mark.parametrize("work", [0, 0.3])
def test_of_a_family(work):
    began = time.process_time()
    while time.process_time() - began < work: pass

@pytest.mark.recorded
def test_broken(): assert one.ONE == 2

@pytest.mark.recorded(also=["page.md"])
def test_page(): pass

def test_quick(): pass
"""


@pytest.fixture
def house(tmp_path):
    """A small house with a core of one module, and a test of it."""
    for name, text in {
        "tests/test_sample.py": SAMPLE,
        "tests/records.py": (ROOT / "tests" / "records.py").read_text(),
        "tests/conftest.py": 'pytest_plugins = ["tests.records"]\n',
        "reference/maitred/__init__.py": "",
        "reference/maitred/core/__init__.py": "",
        "reference/maitred/core/one.py": "def f():\n    from maitred.core import two\n\nONE = 1\n",
        "reference/maitred/core/two.py": "",
        "page.md": "",
        "pytest.ini": "[pytest]\npythonpath = . reference\naddopts = --import-mode=importlib -p no:cacheprovider\n"
        "markers = recorded\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def ran(house, *options):
    """What ran in the house, with its outcome: the test's name, and a letter."""
    said = small_house.ran(house, "-rA", *options).stdout
    assert ("tests have succeeded on the sources as they are" in said) == ("--recorded" in options), said
    lines = [line.split(" - ")[0].split() for line in said.splitlines() if line.startswith(("PASSED ", "FAILED "))]
    return {test.partition("::")[2]: outcome[0] for outcome, test in lines}


EVERY = {
    "test_long[1]": "P",
    "test_long[2]": "P",
    "test_of_a_family[0]": "P",
    "test_of_a_family[0.3]": "P",
    "test_broken": "F",
    "test_page": "P",
    "test_quick": "P",
}
LIVE = {"test_of_a_family[0]": "P", "test_broken": "F", "test_quick": "P"}


def test_only_what_succeeded_and_was_long_is_left_out_also_by_several_workers(house):
    assert ran(house, "--recorded", "--record", "-n", "2") == EVERY
    assert ran(house, "--recorded", "-n", "2") == LIVE
    assert ran(house) == EVERY


def test_what_covers_a_changed_source_is_run_again(house):
    ran(house, "--record")
    (house / "reference/maitred/core/two.py").write_text("# a word\n")
    assert ran(house, "--recorded") == EVERY
    ran(house, "--record", "--recorded", "-k", "test_long")
    assert {*EVERY} - {*ran(house, "--recorded")} == {"test_long[1]", "test_long[2]"}
    (house / "page.md").write_text("a word")
    assert "test_page" in ran(house, "--recorded", "-k", "test_page")


def test_what_has_failed_is_struck_off(house):
    """A changed source makes the record another; what fails then is not in it."""
    ran(house, "--record")
    (house / "reference/maitred/core/one.py").write_text("ONE = 2\n")
    ran(house, "--record")
    record = json.loads((house / "tests/records.json").read_text())
    assert record["tests/test_sample.py"]["tests"] == ["test_broken", "test_of_a_family[0.3]"]


def test_a_record_of_other_sources_is_stale(house, monkeypatch):
    ran(house, "--record")
    for cached in (records.imported, records.fingerprint, records._digest):
        monkeypatch.setattr(records, cached.__name__, cached.__wrapped__)
    monkeypatch.setattr(records, "ROOT", house)
    monkeypatch.setattr(records, "HOMES", {"maitred": house / "reference"})
    record = json.loads((house / "tests/records.json").read_text())
    assert {*record} == {"tests/test_sample.py", "tests/test_sample.py + page.md"}
    assert records.stale(record) == {}
    (house / "page.md").write_text("a word")
    assert [*records.stale(record).values()] == ["tests/test_sample.py + page.md: what it covers has changed since"]
    (house / "page.md").unlink()
    (house / "reference/maitred/core/two.py").write_text("# a word\n")
    assert len(records.stale(record)) == 2
