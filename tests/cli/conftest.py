import contextlib
import json
import socket
import threading

import pytest

from maitred.cli import main, verdicts
from maitred.config import instances

STATUS = {
    "version": 1,
    "name": "personnel",
    "monitor": {"pid": 100, "phase": "running", "standby": 105, "core": "compiled"},
    "elements": [{"name": "cpu0", "cpus": [0], "weight": 1, "up": True, "processes": 3}],
    "classes": [
        {
            "name": "employee_svc",
            "distributor": {"pid": 101, "phase": "operating", "incarnation": 2, "element": "cpu0"},
            "ports": [{"port": 4049, "address": "*:4049", "listening": True, "accepting": True, "waiting": 1}],
            "waiting": 1,
            "waiting_limit": 1024,
            "totals": {"accepted": 90, "taken": 88, "refused": 1, "timed_out": 0},
            "waiting_list": [{"port": 4049, "arrival": 17, "since": 1.0e9}],
            "obstacles": [],
            "servers": [
                {
                    "id": 1,
                    "place": 0,
                    "pid": 102,
                    "kind": "static",
                    "state": "full",
                    "clients": 2,
                    "max_clients": 2,
                    "element": "cpu0",
                    "outstanding": 16,
                    "offence": None,
                    "dialogs": [{"port": 4049, "phase": "ready", "owed": False}],
                    "deaths": 0,
                    "restarts": 3,
                },
                {
                    "id": 2,
                    "place": 1,
                    "pid": None,
                    "kind": "static",
                    "state": "down",
                    "clients": None,
                    "max_clients": 2,
                    "element": None,
                },
            ],
        },
        {
            "name": "manager_svc",
            "distributor": None,
            "ports": [],
            "waiting": None,
            "waiting_list": None,
            "obstacles": ["uvloop makes its sockets in C"],
            "servers": [],
        },
    ],
}


@pytest.fixture(autouse=True)
def nothing_of_the_progress(monkeypatch):
    """On a machine that is busy an exploration takes seconds, and reports its progress: not here."""
    monkeypatch.setattr(verdicts, "HEARTBEAT", 60.0)


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """A run-time directory of the test's own: no instance of the machine's user is seen or disturbed."""
    directory = tmp_path / "own"
    monkeypatch.setattr(instances, "candidates", lambda: [directory])
    return directory


@pytest.fixture
def instance(own_directory):
    """Start something that listens where a Monitor would, answers in a given way, and keeps what it was asked."""
    listeners, threads = [], []

    def start(reply, name="personnel"):
        own_directory.mkdir(mode=0o700, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(own_directory / f"{name}.sock"))
        listener.listen()
        listeners.append(listener)
        asked = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    request = connection.makefile("rb").readline()
                    if not request:
                        continue  # the probe that asks whether anybody listens
                    asked.append(json.loads(request))
                    content = reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n"
                    with contextlib.suppress(OSError):  # whoever asked may have left
                        connection.sendall(content)

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return asked

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)


@pytest.fixture
def maitred(capsys, request):
    """Run the command in this process: its exit code, and what it wrote, which a test that fails shows."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's way to leave
            code = end.code
        said = capsys.readouterr()
        request.node.add_report_section("call", f"maitred {' '.join(map(str, arguments))}", said.out + said.err)
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run
