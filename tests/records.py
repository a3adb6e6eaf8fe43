"""Long tests that succeeded on the very sources that they cover are not run again by `make test`.

Explorations, proofs and symbolic runs come to the same end whenever the sources are the same.  So a test that is marked
``recorded`` is run by `make records`, which notes its success in ``tests/records.json`` under a hash of all that it
covers: its own file, whatever of this repository that file imports, however indirectly, and what the marker names
besides.  `make test` (``pytest --recorded``) leaves out what has a record of the sources as they are, and counts
these.  Where a source has changed since, the test is run as ever, and `tests/house/test_records.py` fails: the
record must be made again.  Without ``--recorded`` everything is run.

The marker's keywords: `shortest` is the processor time in seconds below which a success is not recorded, so that of a
family the quick ones are run each time; `also` names files and folders, from the root, that the test covers and does
not import: tests that it runs in another process, a page that it reads.

It is not covered which versions of Python and of the libraries are installed.
"""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "records.json"
HOMES = {"maitred": ROOT / "reference", "spec": ROOT, "proofs": ROOT, "tests": ROOT}
"""Where each of the house's own packages is."""
DATA = (
    "tests/conftest.py",
    "spec/manifest.toml",
    "spec/runs.toml",
    "spec/vectors/*.jsonl",
    "spec/vectors/order.toml",
    "proofs/kept/*/*.json",
)
"""What everybody is taken to read."""
COMMAND = "make records"


# ---------------------------------------------------------------- what a test covers


def covered(file, also=()):
    """Every source that a test file covers: sorted paths from the root.

    Args:
        file: of the tests, from the root.
        also: files and folders, from the root, beside what it imports.

    Raises:
        FileNotFoundError: one of `also` is not there.
    """
    found, left = set(), [ROOT / file]
    for name in also:
        path = ROOT / name
        if not path.exists():
            raise FileNotFoundError(f"{file} is said to cover {name}, which is not there")
        left += path.rglob("*.py") if path.is_dir() else [path]
    left += [path for pattern in DATA for path in ROOT.glob(pattern)]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += imported(path) if path.suffix == ".py" else ()
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@cache
def imported(path):
    """The house's own files that a module imports at any place in it, the packages on the way included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not followed"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {file for name in names for file in _files(name)}


def _files(name):
    """The files that are run when the module is imported."""
    parts = name.split(".")
    home = HOMES.get(parts[0])
    for i in range(1, len(parts) + 1) if home else ():
        path = home.joinpath(*parts[:i])
        yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.exists())


@cache
def fingerprint(file, also=()):
    """A hash of the names and texts of all that a test file covers; the rest is as of `covered`."""
    digest = hashlib.sha256()
    for name in covered(file, also):
        digest.update(f"{name}\0{_digest(name)}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _digest(name):
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


# ---------------------------------------------------------------- the record


def read():
    """What is recorded: by the key of a fingerprint (`key`) that fingerprint, and the tests that succeeded."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def key(file, also=()):
    """What of the record is about these tests: the file, and what they cover beside what it imports."""
    return " + ".join([file, *also])


def stale(record):
    """What of the record is of other sources than those that are there: by its key, a sentence."""
    wrong = {}
    for name, entry in record.items():
        file, *also = name.split(" + ")
        try:
            fresh = fingerprint(file, tuple(also)) == entry["covers"]
        except FileNotFoundError:
            fresh = False
        if not fresh:
            wrong[name] = f"{name}: what it covers has changed since"
    return wrong


def merged(record, found):
    """The record with what has been found: of each fingerprint the tests add up, and another one begins again.

    What names a file that is there no more is dropped.
    """
    out = {name: entry for name, entry in record.items() if all((ROOT / path).exists() for path in name.split(" + "))}
    for name, entry in found.items():
        old = out.get(name, {})
        kept = old["tests"] if old.get("covers") == entry["covers"] else []
        out[name] = {"covers": entry["covers"], "tests": sorted({*kept, *entry["tests"]})}
    return dict(sorted(out.items()))


# ---------------------------------------------------------------- the plugin


def pytest_addoption(parser):
    group = parser.getgroup("records", "long tests whose success is recorded")
    group.addoption("--recorded", action="store_true", help="leave out what has succeeded on the sources as they are")
    group.addoption("--record", action="store_true", help=f"note in {FILE.name} what succeeds")


def pytest_configure(config):
    if config.option.record and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder(), "recorder")


def pytest_collection_modifyitems(config, items):
    record = read() if config.option.recorded else {}
    left_out = []
    for item in items:
        marker = item.get_closest_marker("recorded")
        if marker is None:
            continue
        file, also = item.nodeid.partition("::")[0], tuple(marker.kwargs.get("also", ()))
        entry = record.get(key(file, also))
        if entry and item.nodeid.partition("::")[2] in entry["tests"] and entry["covers"] == fingerprint(file, also):
            left_out.append(item)
        elif config.option.record:
            item.user_properties.append(("recorded", [key(file, also), fingerprint(file, also)]))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Time what is to be recorded: its property is taken away again where it was too quick."""
    marker = item.get_closest_marker("recorded")
    item.stash[_BEGAN] = _cpu()
    if marker is not None and marker.kwargs.get("shortest"):
        item.stash[_SHORTEST] = marker.kwargs["shortest"]
    return (yield)


_BEGAN, _SHORTEST = pytest.StashKey(), pytest.StashKey()


def _cpu():
    return sum(os.times()[:4])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    if _cpu() - item.stash[_BEGAN] < item.stash.get(_SHORTEST, 0):
        item.user_properties[:] = [each for each in item.user_properties if each[0] != "recorded"]


class _Recorder:
    """Sees every test, also those that other processes run, and records what succeeded."""

    def __init__(self):
        self.failed = set()
        self.found = {}

    def pytest_runtest_logreport(self, report):
        if not report.passed or hasattr(report, "wasxfail"):
            self.failed.add(report.nodeid)
        for name, value in report.user_properties:
            if name == "recorded" and report.when == "teardown" and report.nodeid not in self.failed:
                entry = self.found.setdefault(value[0], {"covers": value[1], "tests": []})
                entry["tests"].append(report.nodeid.partition("::")[2])

    def pytest_sessionfinish(self):
        if self.found:
            FILE.write_text(json.dumps(merged(read(), self.found), indent=0, ensure_ascii=False) + "\n")


def pytest_terminal_summary(terminalreporter, config):
    """Report what was left out: where there are several workers nobody else does."""
    if config.option.recorded:
        record = read()
        wrong = stale(record)
        known = sum(len(entry["tests"]) for name, entry in record.items() if name not in wrong)
        terminalreporter.write_line(f"{FILE.name}: {known} tests have succeeded on the sources as they are ({COMMAND})")
        for each in wrong.values():
            terminalreporter.write_line(f"{FILE.name}: {each}")
