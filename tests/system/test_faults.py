"""`kill -9` of a server, of the Distributor, of both, at any moment, under load: what is lost, and why.

No connection is refused, no client hangs, none is served twice, and every loss is explained: by a server that was
killed while it served, or by one of the instants that requirement OWN-3.6 names.  The campaign itself is in
`tests/faults`; here are cuts of it, and one fault at a time.
"""

import os

import pytest
from tests.faults import rounds
from tests.faults.campaign import Plan
from tests.faults.violence import KINDS
from tests.machine import free_port
from tests.processes import alive
from tests.system.harness import SERVERS, eventually, greeter, write_config
from tests.system.test_servers import LineClient

pytestmark = [pytest.mark.system, pytest.mark.chance]
SHARE = float(os.environ.get("MAITRED_FAULT_SECONDS", "48")) / 48
"""Of the 48 seconds that all cuts take together."""
LONG = float(os.environ.get("MAITRED_CAMPAIGN_SECONDS", "600"))
FOLLOWED = 6_000
"""So many lines of a trace are followed through the bridge; all are replayed."""
SEED = int(os.environ.get("MAITRED_FAULT_SEED", "1"))
CUTS = {
    "server": Plan(8 * SHARE, 100, SEED, ("kill server",)),
    "distributor": Plan(8 * SHARE, 100, SEED, ("kill Distributor",)),
    "both": Plan(8 * SHARE, 100, SEED, ("kill both",)),
    "mixed": Plan(24 * SHARE, 200, SEED, tuple(KINDS), (0.1, 0.8)),
}

# ---------------------------------------------------------------- campaigns


@pytest.fixture
def campaign(tmp_path, capsys):
    """Carry out a plan, print what came of it, and judge it: the trace is replayed, and followed through the bridge."""

    def conduct(plan):
        found = rounds.recorded(tmp_path, plan, {}, FOLLOWED)
        with capsys.disabled():
            print("\n" + found.table())
        assert not found.account.wrong, "\n".join(found.account.wrong)
        return found.account

    return conduct


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", CUTS)
def test_every_loss_is_explained(campaign, what):
    result = campaign(CUTS[what])

    assert result.count("served") > CUTS[what].clients, "there was a load"
    assert len(result.faults) > CUTS[what].seconds / 4 and result.deaths, "there was violence"


@pytest.mark.campaign
def test_every_loss_is_explained_at_length(campaign):
    campaign(Plan(LONG, 300, SEED))


# ---------------------------------------------------------------- one fault at a time


def test_a_killed_server_is_started_again(maitred, guests):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "3", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    before = {server["id"]: server["pid"] for server in instance.servers()}
    guest, other = guests(port), guests(port)
    victim = guest.seated()
    assert other.seated() != victim

    instance.kill(victim)

    assert guest.ended()
    assert other.ask("hello") == "hello"
    instance.wait_log(rf"\b{victim}\b")
    eventually(lambda: victim not in [server["pid"] for server in instance.servers()], "it is out of the table")
    eventually(
        lambda: len([s for s in instance.servers() if s["pid"] and s["pid"] not in before.values()]) == 1,
        lambda: f"one new server takes its place: {instance.servers()}",
    )
    instance.wait_all_ready()
    instance.wait_counts([0, 0, 1])


def test_those_who_wait_outlive_the_distributor_in_their_order(maitred, guests, tmp_path):
    port = free_port()
    instance = maitred("--config", write_config(tmp_path / "c.toml", [greeter(port, static=1, max_clients=1)]))
    served = guests(port)
    served.seated()
    queue = [guests(port)]
    for waiting in (1, 2, 3, 4):
        instance.wait_waiting(waiting)
        queue.append(guests(port))
    instance.wait_waiting(5)

    for _ in range(3):
        distributor = instance.distributor()
        instance.kill(distributor)
        eventually(lambda pid=distributor: instance.distributor() != pid, "it is started again")
        instance.wait_waiting(5)

    assert served.ask("hello") == "hello"
    served.close()
    for place, guest in enumerate(queue):
        guest.seated()
        for later in queue[place + 1 :]:
            assert not later.is_greeted(within=0.02)
        guest.close()
    instance.wait_counts([0])


def test_nobody_is_refused_while_the_distributor_is_dead(maitred, guests):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "2", SERVERS / "greeter.py", f"127.0.0.1:{port}")

    for _ in range(3):
        instance.kill(instance.distributor())
        arrived = [guests(port) for _ in range(20)]  # into the kernel's backlog
        assert all(guest.seated() for guest in arrived)
        for guest in arrived:
            guest.close()

    instance.wait_counts([0, 0])


def test_counts_are_exact_after_a_distributor_restart(maitred, guests):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "3", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    clients = []
    for _ in range(7):
        clients.append(guests(port))
        clients[-1].seated()
    instance.wait_counts([2, 2, 3])

    instance.kill(instance.distributor())
    clients.pop().close()  # while nobody listens to the server's word: it was the third of its server

    instance.wait_counts([2, 2, 2])
    instance.wait_all_ready()
    for _ in range(3):
        clients.append(guests(port))
        clients[-1].seated()
    instance.wait_counts([3, 3, 3])


def test_all_servers_die_and_the_waiting_are_served_by_the_next(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=2, max_clients=1)])
    instance = maitred("--config", config)
    served = [guests(port) for _ in range(2)]
    killed = {guest.seated() for guest in served}
    waiting = [guests(port) for _ in range(2)]
    instance.wait_waiting(2)

    for pid in killed:
        instance.kill(pid)

    assert all(guest.ended() for guest in served)
    seats = {guest.seated() for guest in waiting}
    assert not seats & killed and len(seats) == 2


def test_the_children_of_a_killed_server_die_with_it(maitred):
    """A forked child outlives its parent's SIGKILL, and could serve on uncounted: it must not."""
    port = free_port()
    instance = maitred(
        *("-b", f"127.0.0.1:{port}", "--static", "2"), SERVERS / "lines.py", "forking", "127.0.0.1", port
    )
    clients = [LineClient(port) for _ in range(2)]
    children = [client.told()["pid"] for client in clients]
    parents = [os.getsid(child) for child in children]
    assert parents[0] != parents[1] and not set(children) & set(parents)

    instance.kill(parents[0])

    assert clients[0].lines.readline() == b""
    eventually(lambda: not alive(children[0]), "the child is killed")
    assert alive(children[1]) and clients[1].works()
    instance.wait_all_ready()
    instance.wait_counts([0, 1])
    for client in clients:
        client.close()


def test_a_server_that_hangs_is_killed_and_its_client_served_elsewhere(maitred, guests, tmp_path):
    """It accepts nothing any more: the hand-off is unanswered, until its end gives the client back."""
    port, mark = free_port(), tmp_path / "hung"
    program = tmp_path / "hangs.py"
    program.write_text(
        "import os, runpy, sys, threading, time, socketserver\n"
        "take = socketserver.TCPServer.get_request\n"
        "def once(server):\n"
        "    try:\n"
        f"        os.close(os.open({str(mark)!r}, os.O_CREAT | os.O_EXCL))\n"
        "    except FileExistsError:\n"
        "        return take(server)\n"
        "    time.sleep(1000)\n"
        "socketserver.TCPServer.get_request = once\n"
        f"runpy.run_path({str(SERVERS / 'greeter.py')!r}, run_name='__main__')\n"
    )
    cls = {**greeter(port, static=2), "script": str(program)}
    instance = maitred("--config", write_config(tmp_path / "c.toml", [cls], hand_off_timeout=1.5))

    first, second = guests(port), guests(port)

    assert second.seated()
    assert first.seated(), "taken back from the server that hung"
    assert mark.exists()
    instance.wait_log(r"has not taken a client for 1\.5 s")
    instance.wait_all_ready()
