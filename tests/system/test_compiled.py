"""The core, compiled: it passes the core's tests, and nothing but what was made of these very sources is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.system.harness import PATIENCE, command_of, greeter, write_config

from maitred import compiled
from maitred.compiled import __main__ as build

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
RUN = "import sys, pytest; from maitred import compiled; compiled.switch_on(); sys.exit(pytest.main(sys.argv[1:]))"
WHERE = (
    "from maitred import compiled, shell; from maitred.core import monitor; print(compiled.kind(), monitor.__file__)"
)
PLAIN_ONLY = (
    "test_step_cost.py",  # replaces functions of the tree, to count
    "test_survivors.py::test_a_checked_machine_notices_a_flag_that_is_none",  # it is refused before it is noticed
)


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_compiled_core_passes_its_tests_and_serves_and_is_dropped_when_a_source_changes(
    tmp_path, maitred, guests, monkeypatch
):
    """One test, as each has to compile it first; `make test` sees to a compiler."""
    core = tmp_path / "core"
    code, output = python("-m", "maitred.compiled", "-O0", "--into", core, core="plain")
    assert code == 0, output

    left_out = [f"--deselect=tests/core/{name}" for name in PLAIN_ONLY]
    code, output = python("-c", RUN, "-q", "-p", "no:cacheprovider", "tests/core", *left_out, core=core)
    assert code == 0, output[-5_000:]

    monkeypatch.setenv("MAITRED_CORE", str(core))
    port = free_port()
    instance = maitred("--config", write_config(tmp_path / "c.toml", [greeter(port)]))
    assert guests(port).is_greeted(within=PATIENCE)
    for pid in instance.process.pid, instance.distributor(), instance.servers()[0]["pid"]:
        assert str(core) in Path(f"/proc/{pid}/maps").read_text(), f"{command_of(pid)} runs the sources"
    monkeypatch.setenv("MAITRED_CORE", "plain")  # the trace is replayed by the sources
    assert python("-c", WHERE, core=core) == (0, f"compiled {next(core.glob('maitred/core/monitor.*'))}\n")

    (core / "digest").write_text("of other sources")
    assert python("-c", WHERE, core=core) == (0, f"plain Python {compiled.SOURCES / 'monitor.py'}\n")


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
    assert "the core was not compiled" in capsys.readouterr().err
    assert (tmp_path / "core" / "digest").read_text() == "the last"
