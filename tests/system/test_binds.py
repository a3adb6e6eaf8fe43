"""Where a program binds and where the clients come in: with `-b`, without it, and what is left to the program.

What listens where is asked of the kernel, and whose a listening socket is of `/proc`: the Distributor's, if clients are
to be seated, else the program's own.
"""

import re
import socket
import struct
from pathlib import Path

import pytest
from tests.machine import free_port
from tests.system.harness import PATIENCE, SERVERS, Guest, eventually, session_of, sockets_of, write_config

pytestmark = pytest.mark.system
BINDER = SERVERS / "binder.py"
LISTEN = "0A"


def listening(port):
    """Where the kernel listens on the port: address -> inode of the socket."""
    found = {}
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            host, _, number = fields[1].rpartition(":")
            if fields[3] == LISTEN and int(number, 16) == port:
                words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
                found[socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))] = int(fields[9])
    return found


def free_ports(count, *hosts):
    """So many different ports that nothing listens on."""
    found = {}
    while len(found) < count:
        found[free_port(*hosts)] = None
    return list(found)


def binds(instance, count=1):
    """What became of the program's binds, in its own words: (pid, address, outcome) each."""
    pattern = r"^(\d+) (\S+:\d+) ((?:bound )?\S+)$"
    return eventually(
        lambda: len(found := re.findall(pattern, instance.log, re.MULTILINE)) >= count and found,
        lambda: f"not {count} binds\n{instance.log}",
    )


def ports_of(instance):
    return [(info["port"], info["address"]) for info in instance.server_class()["ports"]]


def pids_of(instance):
    return {server["pid"] for server in instance.servers()}


def refuses(host, port):
    """Whether nobody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        return client.connect_ex((host, port)) != 0


# ---------------------------------------------------------------- without -b


def test_the_first_port_is_the_class_s_and_the_second_the_program_s_own(maitred, guests):
    """Two copies: the first port they share, by the Distributor; for the second they compete, as without it."""
    first, second, spare = free_ports(3)
    instance = maitred(
        *("--static", 2, BINDER),
        *(f"127.0.0.1:{first}", f"127.0.0.1:{second}/127.0.0.1:{spare}"),
    )
    pids = pids_of(instance)
    outcomes = binds(instance, 5)
    assert ports_of(instance) == [(first, f"127.0.0.1:{first}")]
    assert {guests(first).seated() for _ in range(2)} == pids
    instance.wait_counts([1, 1])

    (owner,) = (int(pid) for pid, _, outcome in outcomes if outcome == f"bound 127.0.0.1:{second}")
    (other,) = (int(pid) for pid, address, outcome in outcomes if (address, outcome) == at(second, "EADDRINUSE"))

    assert {owner, other} == pids
    assert listening(second)["127.0.0.1"] in sockets_of(owner)
    assert listening(spare)["127.0.0.1"] in sockets_of(other)
    assert listening(first)["127.0.0.1"] in sockets_of(instance.distributor()) - sockets_of(owner) - sockets_of(other)
    assert guests(second).seated() == owner  # past the Distributor
    assert guests(spare).seated() == other
    assert guests(first).seated() in pids
    instance.wait_counts([1, 2])
    instance.wait_log(rf"binds port {second}, which is not behind this Distributor \(port {first} is\)")


def at(port, outcome):
    return f"127.0.0.1:{port}", outcome


def test_what_a_child_binds_before_its_parent_is_the_child_s_own(maitred, guests):
    of_child, of_parent = free_ports(2)
    instance = maitred("--static", 1, BINDER, f"fork=127.0.0.1:{of_child}", f"127.0.0.1:{of_parent}")
    (server,) = pids_of(instance)
    child = int(binds(instance, 2)[0][0])
    assert child != server and session_of(child) == server

    assert guests(of_child).seated() == child

    assert ports_of(instance) == [(of_parent, f"127.0.0.1:{of_parent}")]
    assert listening(of_child)["127.0.0.1"] in sockets_of(child)
    assert guests(of_parent).seated() == server
    instance.wait_counts([1])  # who is the child's guest is not counted


def test_a_child_may_bind_a_port_that_was_given(maitred, guests):
    """As the workers of a pre-forking server do; the main process never binds at all."""
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", 1, BINDER, f"fork=127.0.0.1:{port}")
    (server,) = pids_of(instance)
    child = int(binds(instance)[0][0])

    assert guests(port).seated() == child != server

    assert listening(port)["127.0.0.1"] not in sockets_of(child) | sockets_of(server)
    instance.wait_counts([1])


@pytest.mark.parametrize("given", [False, True], ids=["first-bind", "-b"])
def test_port_0_is_left_alone(maitred, guests, given):
    """The kernel chooses, for each copy another, and none of them becomes the class's."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    instance = maitred(*(("-b", address) if given else ()), "--static", 2, BINDER, "127.0.0.1:0", address)
    chosen = {
        int(pid): int(outcome.rpartition(":")[2])
        for pid, bound, outcome in binds(instance, 4)
        if bound == "127.0.0.1:0"
    }
    assert len(set(chosen.values())) == 2 and 0 not in chosen.values()

    for pid, own in chosen.items():
        assert listening(own)["127.0.0.1"] in sockets_of(pid)
        assert guests(own).seated() == pid

    assert ports_of(instance) == [(port, address)]
    assert {guests(port).seated() for _ in range(2)} == set(chosen) == pids_of(instance)
    instance.wait_counts([1, 1])


def test_a_port_in_use_is_an_error_that_the_program_can_answer(maitred, guests):
    """It takes another, and that becomes the class's."""
    other = free_port()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        instance = maitred("--static", 2, BINDER, f"127.0.0.1:{taken}/127.0.0.1:{other}")
        pids = pids_of(instance)
        outcomes = binds(instance, 4)

        assert sorted(outcomes) == sorted(
            outcome
            for pid in map(str, pids)
            for outcome in (
                (pid, f"127.0.0.1:{taken}", "EADDRINUSE"),
                (pid, f"127.0.0.1:{other}", f"bound 127.0.0.1:{other}"),
            )
        )
        assert ports_of(instance) == [(other, f"127.0.0.1:{other}")]
        assert {guests(other).seated() for _ in range(2)} == pids
        instance.wait_counts([1, 1])
        holder.setblocking(False)
        with pytest.raises(BlockingIOError):
            holder.accept()


# ---------------------------------------------------------------- the address of -b wins


def test_the_address_of_b_wins_over_a_wider_one(maitred, guests):
    """The program would listen everywhere; only the loopback is listened on, and the program is none the wiser."""
    port = free_port("0.0.0.0")
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", 2, BINDER, f"0.0.0.0:{port}")
    pids = pids_of(instance)
    assert {outcome for _, _, outcome in binds(instance, 2)} == {f"bound 0.0.0.0:{port}"}

    assert {guests(port).seated() for _ in range(2)} == pids

    assert listening(port).keys() == {"127.0.0.1"}
    assert refuses("127.0.0.2", port)  # where a server at 0.0.0.0 would be found
    assert ports_of(instance) == [(port, f"127.0.0.1:{port}")]
    instance.wait_counts([1, 1])


def test_the_address_of_b_wins_over_one_of_the_other_family(maitred, guests):
    port = free_port("::1")
    instance = maitred("-b", f"[::1]:{port}", "--static", 2, BINDER, f"127.0.0.1:{port}")
    pids = pids_of(instance)
    assert {outcome for _, _, outcome in binds(instance, 2)} == {f"bound 127.0.0.1:{port}"}

    assert {guests(port, host="::1").seated() for _ in range(2)} == pids  # who sees them at ::1, as the guest checks

    assert listening(port).keys() == {"::1"}
    assert refuses("127.0.0.1", port)
    assert ports_of(instance) == [(port, f"[::1]:{port}")]
    instance.wait_counts([1, 1])


def test_without_a_host_the_program_s_clients_are_of_the_family_it_expects(maitred, guests):
    """Behind a port of every interface a program that listens on IPv4 has IPv4 connections."""
    port = free_port("::")
    instance = maitred("-b", port, "--static", 2, BINDER, f"0.0.0.0:{port}")
    assert listening(port).keys() == {"0.0.0.0", "::"}

    assert {guests(port).seated() for _ in range(2)} == pids_of(instance)  # at 127.0.0.1, as the guest checks

    assert guests(port, host="::1").seated() in pids_of(instance)
    instance.wait_counts([1, 2])


# ---------------------------------------------------------------- both families

DUAL = """
import asyncio, os, socket, sys

async def greet(reader, writer):
    host, port = writer.get_extra_info("peername")[:2]
    family = writer.get_extra_info("socket").family.name
    assert writer.get_extra_info("sockname")[1] == int(sys.argv[1])
    writer.write(f"welcome {os.getpid()} {family} {host} {port}\\n".encode())
    while line := await reader.readline():
        writer.write(line)
    writer.close()

async def main():
    server = await asyncio.start_server(greet, None, int(sys.argv[1]))
    names = sorted("{0}:{1}".format(*each.getsockname()) for each in server.sockets)
    os.write(1, f"listens at {' and '.join(names)}\\n".encode())
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.mark.parametrize("given", [False, True], ids=["first-bind", "-b"])
def test_a_dual_stack_server_serves_clients_of_both_families(maitred, guests, tmp_path, given):
    """asyncio's default: two listeners on one port, of which the second has a twin that is never ready."""
    port = free_port("::")
    (tmp_path / "dual.py").write_text(DUAL)
    instance = maitred(*(("-b", port) if given else ()), "--static", 2, tmp_path / "dual.py", port)
    pids = pids_of(instance)
    instance.wait_log(rf"(?s)(listens at 0\.0\.0\.0:{port} and :::{port}\n.*){{2}}")
    assert listening(port).keys() == {"0.0.0.0", "::"}
    assert not set(listening(port).values()) & set.union(*map(sockets_of, pids))

    over_ipv4, over_ipv6 = [], []
    for _ in range(4):
        over_ipv4.append(seat(guests(port)))
        over_ipv6.append(seat(guests(port, host="::1")))

    assert {guest.server for guest in (*over_ipv4, *over_ipv6)} == pids
    instance.wait_counts([4, 4])
    assert all(guest.ask("hello") == "hello" for guest in (*over_ipv4, *over_ipv6))
    for guest in over_ipv4:
        guest.close()
    instance.wait_counts([[guest.server for guest in over_ipv6].count(pid) for pid in pids])
    late = [guests(port), guests(port, host="::1")]
    assert {guest.seated() for guest in late} <= pids
    assert all(guest.ask("hello") == "hello" for guest in (*over_ipv6, *late))


def test_a_program_s_own_socket_of_both_families_stays_one(maitred, guests):
    """Bound to `[::]` it takes IPv4 too, and its clients over IPv4 are at mapped addresses, as ever."""
    port = free_port("::")
    instance = maitred("--static", 1, BINDER, f"[::]:{port}")
    (server,) = pids_of(instance)
    assert listening(port).keys() == {"::"}

    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, client.makefile("rb") as lines:
        line = lines.readline().decode()

        assert line == f"welcome {server} 0 ::ffff:127.0.0.1 {client.getsockname()[1]}\n"
        assert guests(port, host="::1").seated() == server
        instance.wait_counts([2])


def seat(guest):
    """Once it is seated, nothing is outstanding: the next finds every server free."""
    guest.seated()
    return guest


# ---------------------------------------------------------------- two ports


def test_two_ports_of_one_program_have_a_waiting_list_each(maitred, guests):
    """Who came first, on whichever port, is seated first."""
    one, two = free_ports(2)
    addresses = [f"127.0.0.1:{one}", f"127.0.0.1:{two}"]
    instance = maitred(
        *("-b", addresses[0], "-b", addresses[1], "--static", 1, "--max-clients", 2),
        *(BINDER, *addresses),
    )
    (server,) = pids_of(instance)
    seated = [guests(one), guests(two)]
    assert [guest.seated() for guest in seated] == [server, server]
    instance.wait_counts([2])

    first = guests(two)
    instance.wait_waiting(1)
    second = guests(one)
    instance.wait_waiting(2)
    third = guests(two)
    instance.wait_waiting(3)

    assert waiting_at(instance) == {one: 1, two: 2}
    assert not any(guest.is_greeted(0.05) for guest in (first, second, third))
    seated[0].close()  # of port one, where the first does not wait
    assert first.seated() == server
    assert waiting_at(instance) == {one: 1, two: 1}
    assert not any(guest.is_greeted(0.05) for guest in (second, third))
    seated[1].close()
    assert second.seated() == server
    assert waiting_at(instance) == {one: 0, two: 1}
    first.close()
    assert third.seated() == server
    assert waiting_at(instance) == {one: 0, two: 0}
    instance.wait_counts([2])


def waiting_at(instance):
    return {info["port"]: info["waiting"] for info in instance.server_class()["ports"]}


MANY = """
import contextlib, selectors, socket, sys
selector = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        with contextlib.suppress(BlockingIOError):
            connection, (host, peer) = key.fileobj.accept()
            connection.sendall(b"welcome 0 0 %s %d\\n" % (host.encode(), peer))
            connection.close()
"""


def test_a_class_of_40_ports_is_served_on_each_also_after_its_distributor_s_death(maitred, tmp_path):
    """The next Distributor is handed a dialog for each, in one message."""
    ports = list({free_port() for _ in range(80)})[:40]
    (tmp_path / "many.py").write_text(MANY)
    cls = {"name": "many", "script": str(tmp_path / "many.py"), "args": list(map(str, ports))}
    cls |= {"listen": [f"127.0.0.1:{port}" for port in ports], "static": 1}
    instance = maitred("--config", write_config(tmp_path / "c.toml", [cls], backoff_first=0.05))
    for port in ports[0], ports[-1]:
        with Guest(port) as guest:
            guest.seated()
    instance.kill(instance.distributor())
    eventually(lambda: instance.server_class()["distributor"]["incarnation"] == 2, "it is started again")
    for port in ports[0], ports[-1]:
        with Guest(port) as guest:
            guest.seated()
