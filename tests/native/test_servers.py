"""Unmodified servers of other languages behind three copies each: every count is exact, as the kernel sees it."""

import shutil
from collections import Counter

import pytest
from tests.compat.test_servers import check
from tests.machine import free_port
from tests.native.makes import MAKES
from tests.system.harness import eventually, session_of, write_config

pytestmark = pytest.mark.system
EACH = 2


def parameters():
    return [pytest.param(make, id=make.name, marks=() if make.quick else pytest.mark.compat) for make in MAKES]


def start(maitred, native, directory, make, port, **durations):
    """An instance with three copies of the server."""
    for tool in {make.asks[0], *make.builds.split()[:1]}:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing, which this test needs: sudo apt-get install {make.package}")
    make.build(directory, port)
    directory.chmod(0o755)
    cls = {
        "name": "native",
        "program": make.program(directory, port),
        "listen": f"{make.host}:{port}",
        "static": 3,
        "environment.LD_PRELOAD": f"{native}/libmaitred.so",
    }
    return maitred("--config", write_config(directory / "config.toml", [cls], **durations))


@pytest.mark.parametrize("make", parameters())
def test_every_count_is_exact(maitred, native, tmp_path, make, record_property):
    """Without an audit: the library alone has seen who came and left."""
    record_property("server", make.name)
    port = free_port(make.host)
    instance = start(maitred, native, tmp_path, make, port, audit_period=3600)
    record_property("version", make.version)
    mains = {server["pid"] for server in instance.servers()}
    assert len(mains) == 3
    check(instance, mains, [port], {})

    clients, said = [], []
    for i in range(3 * EACH):  # one after another: to a copy that is slow to answer goes nobody
        clients.append(make.client(port, make.host))
        said.append(clients[-1].told())
        eventually(lambda i=i: sum(instance.counts()) == i + 1, f"{i + 1} clients are counted")
    seated = Counter(dict.fromkeys(mains, EACH))
    instance.wait_counts(list(seated.values()))
    check(instance, mains, [port], seated)
    assert Counter(session_of(answer["pid"]) for answer in said) == seated
    for client, answer in zip(clients, said, strict=True):
        host, number = answer["peer"]
        assert [host.removeprefix("::ffff:"), number] == client.me

    assert all(client.works() for client in clients)
    clients.pop().close()
    instance.wait_counts(sorted([EACH - 1, EACH, EACH]))
    check(instance, mains, [port])
    for client in clients:
        client.close()
    instance.wait_counts([0, 0, 0])
    check(instance, mains, [port], {})
    assert {server["pid"] for server in instance.servers()} == mains
