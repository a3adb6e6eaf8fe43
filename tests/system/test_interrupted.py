"""No connection is served by two servers, and no seat is lost, whenever a process of a server dies.

Each scenario is one in which an answer and the connection that it is about could part company.
"""

import os
import resource
import signal

import pytest
from proofs.refinement.traces import validate
from tests.machine import free_port
from tests.processes import alive
from tests.system.harness import SERVERS, Guest, eventually, session_of

pytestmark = [pytest.mark.system, pytest.mark.chance]

LEAVING = 290
"""Clients of one server that leave, in turn: their Disconnects fill a dialog that nobody reads (278 packets)."""

PAUSING = """
import os, runpy, socketserver, sys, time
take = socketserver.TCPServer.get_request
def paused(server):
    while os.path.exists(PAUSE):
        time.sleep(0.01)
    return take(server)
socketserver.TCPServer.get_request = paused
runpy.run_path(GREETER, run_name='__main__')
"""


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_whose_answer_found_no_room_is_not_served_twice(maitred, guests, tmp_path, many_descriptors):
    """The Distributor stands still, a dialog is full; the server with a hand-off dies, and the Distributor goes on."""
    port, pause, program = free_port(), tmp_path / "pause", tmp_path / "pausing.py"
    names = f"PAUSE, GREETER = {str(pause)!r}, {str(SERVERS / 'greeter.py')!r}\n"
    program.write_text(names + PAUSING)
    address = f"127.0.0.1:{port}"
    instance = maitred("-b", address, "--static", "2", "--max-clients", "600", program, address)
    clients = {}
    for _ in range(2 * LEAVING):
        guest = guests(port)
        clients.setdefault(guest.seated(), []).append(guest)
    assert {len(each) for each in clients.values()} == {LEAVING}
    distributor = instance.distributor()

    pause.touch()
    last = Guest(port)
    eventually(lambda: any(server["outstanding"] for server in instance.servers()), "it is handed to one of them")
    [asked] = [server["pid"] for server in instance.servers() if server["outstanding"]]
    os.kill(distributor, signal.SIGSTOP)
    try:
        for left, guest in enumerate(clients.pop(asked)):
            guest.close()  # one by one: Disconnects that wait are sent as one, which fills no dialog
            said = "its Disconnect is sent, or finds no room"
            eventually(lambda most=LEAVING - left: _threads(asked) <= most, said, every=0.001)
        pause.unlink()
        assert not last.is_greeted(within=1), "nobody is delivered whose answer is not in the socket"
        instance.kill(asked)
        eventually(lambda: not alive(asked), "it is dead")
    finally:
        os.kill(distributor, signal.SIGCONT)

    assert last.seated() != asked
    for guest in [guest for each in clients.values() for guest in each]:
        guest.close()
    instance.wait_all_ready()
    instance.wait_counts([0, 1])
    last.close()
    instance.wait_counts([0, 0])


def _threads(pid):
    """How many threads a greeter has: its own, and one for each client until its Disconnect has been sent."""
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.parametrize("instant", ["read", "traced", "saved", "sent"])
def test_a_worker_is_killed_in_the_midst_of_a_hand_off_and_another_goes_on(maitred, tmp_path, instant):
    """Nobody but the audit wakes the other: it polls a dialog from which the hand-off has gone."""
    port, mark = free_port(), tmp_path / "died"
    address = f"127.0.0.1:{port}"
    limits = ("--max-clients", "1", "--audit-period", "0.3", "--queue-timeout", "60")
    instance = maitred("-b", address, "--static", "1", *limits, SERVERS / "dies.py", address, instant, mark)

    with Guest(port) as guest:
        if instant == "sent":
            assert guest.ended(), "the dead worker had it"
        else:
            worker = guest.seated()
            assert session_of(worker) == instance.servers()[0]["pid"], "the other worker of that same server"
            instance.wait_counts([1])
        assert mark.exists()
        guest.socket.close()
    instance.wait_counts([0])
    with Guest(port) as guest:
        assert guest.seated(), "the seat is not lost"
        instance.wait_counts([1])
    instance.wait_counts([0])
    assert validate(instance.trace).steps, "it is a run of the relation, too"
