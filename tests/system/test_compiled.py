"""What is compiled passes the tests of its sources, and nothing but what was made of these very sources is used."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.system.harness import PATIENCE, command_of, greeter, write_config

from maitred import compiled
from maitred.compiled import __main__ as build

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / f"compiled{EXTENSION_SUFFIXES[0].removesuffix('.so')}"
"""Kept for the next run on the same sources."""
RUN = """
import sys
import pytest
from maitred import compiled

class Original:
    "Leaves out what replaces functions, as only those of the sources can be replaced."
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if "monkeypatch" not in item.fixturenames]

compiled.switch_on()
sys.exit(pytest.main(sys.argv[1:], plugins=[Original()]))
"""
TESTS = (
    "tests/core",
    "tests/shell/test_driver.py",
    "tests/shell/io/test_channel.py",
    "tests/shell/io/test_registry.py",
    "tests/shell/inside/test_endpoint.py",
)
PLAIN_ONLY = (
    "tests/core/test_step_cost.py",  # replaces functions of the tree, to count
    "tests/core/test_survivors.py::test_a_checked_machine_notices_a_flag_that_is_none",  # refused before it is noticed
    "tests/shell/io/test_registry.py::test_processes_that_were_killed_leave_room_for_others_that_accept",  # seconds
)
WHERE = """
from maitred import compiled, shell
from maitred.core import monitor
from maitred.shell.inside import endpoint
from maitred.shell.io import channel
print(compiled.kind(), compiled.running(), monitor.__file__, channel.__file__, endpoint.__file__)
"""


def python(*arguments, core, **more):
    environment = {**os.environ, "MAITRED_CORE": str(core), "HYPOTHESIS_PROFILE": "fast", **more}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def made():
    """What is compiled, of the sources as they are now; `make test` sees to a compiler."""
    if not (CACHE / "digest").exists() or (CACHE / "digest").read_text() != compiled.digest():
        code, output = python("-m", "maitred.compiled", "-O0", "--into", CACHE, core="plain")
        assert code == 0, output
    return CACHE


def modules_of(directory):
    names = ("core/monitor", "shell/io/channel", "shell/inside/endpoint")
    return " ".join(str(next(directory.glob(f"maitred/{name}.*"))) for name in names)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_compiled_passes_the_tests_of_its_sources(made):
    left_out = [f"--deselect={name}" for name in PLAIN_ONLY]
    code, output = python("-c", RUN, "-q", "-p", "no:cacheprovider", *TESTS, *left_out, core=made)
    assert code == 0, output[-5_000:]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_compiled_serves_and_is_dropped_when_a_source_changes(made, tmp_path, maitred, guests, monkeypatch):
    core = shutil.copytree(made, tmp_path / "core")
    monkeypatch.setenv("MAITRED_CORE", str(core))
    port = free_port()
    instance = maitred("--config", write_config(tmp_path / "c.toml", [greeter(port)]))
    assert guests(port).is_greeted(within=PATIENCE)
    assert instance.status()["monitor"]["core"] == "compiled"
    for pid in instance.process.pid, instance.distributor(), instance.servers()[0]["pid"]:
        assert str(core) in Path(f"/proc/{pid}/maps").read_text(), f"{command_of(pid)} runs the sources"
    monkeypatch.setenv("MAITRED_CORE", "plain")  # the trace is replayed by the sources
    assert python("-c", WHERE, core=core) == (0, f"compiled compiled {modules_of(core)}\n")

    (core / "digest").write_text("of other sources")
    assert python("-c", WHERE, core=core) == (0, f"plain Python plain Python {modules_of(compiled.SOURCES.parent)}\n")


@pytest.mark.parametrize("module", compiled.MODULES)
def test_a_change_of_any_source_is_noticed(module, monkeypatch, tmp_path):
    before = compiled.digest()
    changed = tmp_path / "changed.py"
    changed.write_text(compiled.source(module).read_text() + "# changed")
    source = compiled.source
    monkeypatch.setattr(compiled, "source", lambda name: changed if name == module else source(name))
    assert compiled.digest() != before


def test_where_a_source_has_been_imported_it_is_not_switched_on(monkeypatch):
    monkeypatch.setattr(compiled, "built", lambda: Path("/somewhere"))
    before = list(compiled.core.__path__)
    assert "maitred.core.monitor" in sys.modules or __import__("maitred.core.monitor")
    compiled.switch_on()
    assert compiled.core.__path__ == before and compiled.kind() == "compiled"


def test_without_a_compiler_or_mypyc_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CC", str(tmp_path / "no-such-cc") + " -O2")
    assert build.main(["--into", str(tmp_path / "core")]) == 1
    assert "no C compiler" in (said := capsys.readouterr().err) and "apt-get install gcc libc6-dev" in said
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    assert build.main([]) == 1
    assert capsys.readouterr().err == "maitred: not installed: mypyc and setuptools. pip install mypy setuptools\n"
    assert not (tmp_path / "core").exists()


def test_what_does_not_compile_leaves_the_last_build(monkeypatch, capsys, tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "digest").write_text("the last")
    monkeypatch.setattr(build, "_KEEP", "no Python at all")
    assert build.build(tmp_path / "core", "0") == 1
    assert "nothing was compiled" in capsys.readouterr().err
    assert (tmp_path / "core" / "digest").read_text() == "the last"
