import socket

import pytest

from maitred.config import instances


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """A run-time directory of the test's own: no instance of the machine's user is seen or disturbed."""
    directory = tmp_path / "own"
    monkeypatch.setattr(instances, "candidates", lambda: [directory])
    return directory


@pytest.fixture
def serve():
    """Listen on a path, as a running instance does."""
    listeners = []

    def listen(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listeners.append(listener)
        listener.bind(str(path))
        listener.listen()
        return listener

    yield listen
    for listener in listeners:
        listener.close()
