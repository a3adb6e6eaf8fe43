"""Where control sockets are: in a directory that is ours alone, and never in the way of an instance that runs."""

import os
import socket
import tempfile

import pytest

from maitred.config import instances
from maitred.config.error import ConfigError

REAL_CANDIDATES = instances.candidates  # before the fixture of this room replaces it


def abandoned(path):
    """A socket whose owner was killed: it is there, and refuses."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()


def test_the_runtime_directory_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    found = REAL_CANDIDATES()
    assert found[0] == tmp_path / "maitred"
    assert found[-1] == tmp_path / "tmp" / f"maitred-{os.getuid()}"

    for odd in ("", "relative", str(tmp_path / "nowhere")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", odd)
        assert REAL_CANDIDATES() == found[1:]


def test_the_directory_is_made_for_us_alone(own_directory):
    old = os.umask(0)
    try:
        assert instances.own_directory() == own_directory
    finally:
        os.umask(old)
    assert own_directory.stat().st_mode & 0o777 == 0o700
    assert instances.own_directory() == own_directory


def test_a_directory_that_is_open_to_others_is_not_used(own_directory, serve):
    serve(own_directory / "x.sock")
    assert instances.running() == [own_directory / "x.sock"]

    own_directory.chmod(0o750)

    with pytest.raises(ConfigError, match=r"is open to others \(mode 0750; should be 0700\)"):
        instances.own_directory()
    assert instances.running() == []


def test_a_directory_of_somebody_else_is_not_used(own_directory, serve, monkeypatch):
    serve(own_directory / "x.sock")
    owner = os.getuid()

    monkeypatch.setattr(os, "getuid", lambda: owner + 1)

    with pytest.raises(ConfigError, match=f"belongs to user {owner}"):
        instances.own_directory()
    assert instances.running() == []


def test_a_link_or_a_file_is_not_a_directory(own_directory, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    own_directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is not a directory"):
        instances.own_directory()

    own_directory.unlink()
    own_directory.touch()
    with pytest.raises(ConfigError, match="is not a directory"):
        instances.own_directory()


def test_no_place_at_all_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(instances, "candidates", lambda: [tmp_path / "no" / "where"])
    with pytest.raises(ConfigError, match=r"no place for the control socket: .*; use --control PATH"):
        instances.own_directory()


def test_what_a_killed_instance_left_is_removed(own_directory):
    path = own_directory / "x.sock"
    abandoned(path)

    assert instances.running() == []
    assert instances.claim(path) == path

    assert not path.exists()


def test_an_instance_that_runs_is_left_alone(own_directory, serve):
    path = own_directory / "x.sock"
    listener = serve(path)

    with pytest.raises(ConfigError, match="an instance that runs listens on"):
        instances.claim(path)

    assert path.exists()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()


def test_one_whose_backlog_is_full_runs_too(own_directory):
    path = own_directory / "x.sock"
    own_directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        assert instances.answers(path)


def test_what_is_no_socket_is_never_removed(own_directory):
    own_directory.mkdir(mode=0o700)
    path = own_directory / "x.sock"
    path.write_text("precious")

    with pytest.raises(ConfigError, match="is not a socket; it is left alone"):
        instances.claim(path)

    assert path.read_text() == "precious"


@pytest.mark.parametrize("size", [107, 108])
def test_a_socket_path_has_a_limit(tmp_path, size):
    path = tmp_path / ("x" * (size - len(os.fsencode(tmp_path)) - 1))
    if size == 107:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(instances.claim(path)))
    else:
        with pytest.raises(
            ConfigError, match="has 108 bytes; a socket's path has 1 to 107; name another with --control PATH"
        ):
            instances.claim(path)


def test_a_made_up_name_gives_way_and_a_chosen_one_does_not(own_directory, serve):
    assert instances.default("x", chosen=False) == ("x", own_directory / "x.sock")
    serve(own_directory / "x.sock")

    name = f"x-{os.getpid()}"
    assert instances.default("x", chosen=False) == (name, own_directory / f"{name}.sock")
    with pytest.raises(ConfigError, match="another --name"):
        instances.default("x", chosen=True)
