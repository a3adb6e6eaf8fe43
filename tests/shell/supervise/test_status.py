"""The control socket, served by a loop of the test's own: who is let in, for how long, and what is left behind."""

import json
import os
import socket
import stat

import pytest

from maitred.shell.io.loop import Loop
from maitred.shell.supervise import status


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def control(loop, tmp_path):
    made = status.ControlServer(loop, tmp_path / "control", lambda request, reply: reply({"asked": request}))
    yield made
    if (tmp_path / "control").exists():
        made.close()


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    return client


def turns(loop, number=10):
    for _ in range(number):
        loop.turn(0)


def hung_up_on(client):
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def answer(loop, path):
    with connect(path) as client:
        client.sendall(b'{"request": "x"}\n')
        turns(loop)
        return json.loads(client.recv(1000))


def test_the_socket_is_private_and_the_mask_as_it_was(loop, tmp_path):
    before = os.umask(0o022)
    try:
        made = status.ControlServer(loop, tmp_path / "control", lambda request, reply: None)
        assert os.umask(0o022) == 0o022
        assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o600
        made.close()
    finally:
        os.umask(before)


def test_at_the_end_the_socket_is_removed_and_everybody_hung_up_on(loop, control, tmp_path):
    with connect(tmp_path / "control") as client:
        turns(loop)
        control.close()
        assert hung_up_on(client)
    assert not (tmp_path / "control").exists()


def test_only_so_many_are_let_in_and_a_place_is_free_again(loop, control, tmp_path, monkeypatch):
    monkeypatch.setattr(status, "MOST_CLIENTS", 3)
    path = tmp_path / "control"
    for _ in range(5):  # each in its turn: none of them keeps a place
        assert answer(loop, path) == {"asked": {"request": "x"}}
    crowd = [connect(path) for _ in range(3)]
    turns(loop)
    with connect(path) as late:
        turns(loop)
        assert hung_up_on(late)
    assert not any(map(hung_up_on, crowd))
    crowd.pop().close()
    turns(loop)
    assert answer(loop, path) == {"asked": {"request": "x"}}
    for client in crowd:
        client.close()


def test_a_silent_client_is_disconnected(loop, control, tmp_path, monkeypatch):
    monkeypatch.setattr(status, "PATIENCE", 600)
    with connect(tmp_path / "control") as borne:
        turns(loop)
        monkeypatch.setattr(status, "PATIENCE", 0.05)
        with connect(tmp_path / "control") as silent:
            while not hung_up_on(silent):
                loop.turn(0.05)
        assert not hung_up_on(borne)


def test_a_line_without_end_is_declined(loop, control, tmp_path):
    with connect(tmp_path / "control") as client:
        client.sendall(b"x" * (status.LONGEST_REQUEST + 1))
        turns(loop)
        client.settimeout(60)
        assert "at most" in json.loads(client.recv(1000))["error"]
