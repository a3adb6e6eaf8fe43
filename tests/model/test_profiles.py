"""The profiles of Hypothesis, and where failing examples are kept: what the environment asks for is what happens."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from fakeredis import TcpFakeServer
from hypothesis.database import DirectoryBasedExampleDatabase, MultiplexedDatabase, ReadOnlyDatabase
from tests.conftest import OWN, PROFILES, chosen, database

ROOT = Path(__file__).resolve().parents[2]
KEY, EXAMPLE = b"a test", b"an example"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "dev"),
        ({"CI": "true"}, "ci"),
        ({"CI": ""}, "dev"),
        ({"HYPOTHESIS_PROFILE": "night"}, "night"),
        ({"HYPOTHESIS_PROFILE": "fast", "CI": "true"}, "fast"),
        ({"HYPOTHESIS_PROFILE": "dev", "CI": "true"}, "dev"),
        ({"HYPOTHESIS_PROFILE": ""}, "dev"),
    ],
)
def test_the_environment_chooses_the_profile(environ, name):
    assert chosen(environ) == name


def test_a_profile_that_is_not_there():
    with pytest.raises(pytest.UsageError, match="=nite: no such profile; there are ci, dev, fast, night"):
        chosen({"HYPOTHESIS_PROFILE": "nite"})


def test_what_is_the_same_every_time_keeps_nothing():
    assert PROFILES["ci"]["derandomize"]
    assert database("ci", "anywhere") is None


@pytest.mark.parametrize("profile", ["dev", "night"])
def test_examples_are_kept_beside_the_project(profile):
    assert database(profile, "") == DirectoryBasedExampleDatabase(OWN)
    assert OWN.parts[-2:] == (".hypothesis", "examples")
    assert (OWN.parents[1] / "pyproject.toml").is_file()


def test_a_directory_is_shared(tmp_path):
    common = DirectoryBasedExampleDatabase(tmp_path)
    own = DirectoryBasedExampleDatabase(OWN)
    assert database("night", str(tmp_path)) == MultiplexedDatabase(own, common)
    assert database("dev", str(tmp_path)) == MultiplexedDatabase(own, ReadOnlyDatabase(common))


@pytest.fixture
def redis():
    """The address of a server that speaks Redis's protocol, on a port of its own."""
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield "redis://{}:{}/0".format(*server.server_address)
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_the_night_finds_a_developer_is_shown_and_cannot_delete(redis, monkeypatch, tmp_path):
    monkeypatch.setattr("tests.conftest.OWN", tmp_path / "of the night")
    night = database("night", redis)
    night.save(KEY, EXAMPLE)

    monkeypatch.setattr("tests.conftest.OWN", tmp_path / "of a developer")
    developer = database("dev", redis)
    assert [*developer.fetch(KEY)] == [EXAMPLE]
    developer.delete(KEY, EXAMPLE)
    developer.save(KEY, b"one of my own")

    assert {*developer.fetch(KEY)} == {EXAMPLE, b"one of my own"}
    assert [*night.fetch(KEY)] == [EXAMPLE]
    night.delete(KEY, EXAMPLE)
    assert [*developer.fetch(KEY)] == [b"one of my own"]


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("redis://127.0.0.1:1/0", "refused"),
        ("redis://127.0.0.1:port/0", "'port'"),
        ("http://127.0.0.1/", "should be a directory, or begin with redis://"),
        (__file__, "is there, and is not a directory"),
    ],
)
def test_a_place_that_cannot_be_shared_is_refused(where, why):
    with pytest.raises(pytest.UsageError, match=f"^MAITRED_EXAMPLES={where}: .*{why}"):
        database("night", where)


CAPPED = """
from hypothesis import given, settings, strategies as st
seen = []
@settings(max_examples=150)
@given(st.integers())
def test_many(number): seen.append(number)
def test_how_many(): assert len(seen) == {few}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "few"), [("fast", 10), ("ci", 150)])
def test_fast_caps_also_who_asks_for_more(tmp_path, profile, few):
    (tmp_path / "test_many.py").write_text(CAPPED.format(few=few))
    options = ["-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider", "-p", "tests.conftest"]
    command = [sys.executable, "-m", "pytest", "-q", *options, tmp_path / "test_many.py"]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile}
    run = subprocess.run([*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
