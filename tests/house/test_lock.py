"""What the tests run with is written down, with hashes: all that is asked for, and nothing of where it comes from."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").glob("test-*.txt"))
LINE = re.compile(r"([a-z0-9.-]+)==([^ ]+) --hash=sha256:[0-9a-f]{64}")


def test_there_is_one_for_the_oldest_python():
    assert ROOT / "requirements" / "test-3.11.txt" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_has_all_that_is_asked_for_with_a_hash_and_names_no_index(path):
    first, _, *lines = path.read_text().splitlines()
    assert re.fullmatch(rf"# cpython-{path.stem.removeprefix('test-')} linux-\w+ \w+", first)
    have = {match[1]: match[2] for match in map(LINE.fullmatch, lines)}  # None: a line of another form
    assert len(have) == len(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["test"], *extras["verify"]]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": path.stem.removeprefix("test-")}):
            assert wanted.specifier.contains(have[wanted.name.lower()]), f"{text}: make lock"


def test_only_the_very_place_takes_it(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "requirements"))
    import lock

    monkeypatch.setattr(lock, "HERE", tmp_path)
    assert not lock.fits()
    lock.file().write_text(f"# {lock.place()}\n")
    assert lock.fits() and lock.file().name == f"test-{sys.version_info[0]}.{sys.version_info[1]}.txt"
    lock.file().write_text(f"# {lock.place()}-musl\n")
    assert not lock.fits()


def test_of_a_report_versions_and_hashes_are_kept():
    sys.path.insert(0, str(ROOT / "requirements"))
    try:
        import lock
    finally:
        sys.path.remove(str(ROOT / "requirements"))
    one = {
        "metadata": {"name": "Import_Linter", "version": "2.16"},
        "is_direct": False,
        "download_info": {"url": "https://somewhere/x.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
    }
    own = {**one, "is_direct": True}
    assert lock.locked({"install": [own, one]}) == ["import-linter==2.16 --hash=sha256:ab"]
