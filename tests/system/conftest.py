"""What every test of the running system shares: `maitred` starts an instance and sees to its end."""

import pytest
from tests.system.harness import Guest, Instance, named_ports


@pytest.fixture
def patent_ports():
    """4049 and 6157, which the figures name.  To be asked for before `maitred`, so that it outlives the instance."""
    with named_ports(4049, 6157):
        yield


@pytest.fixture
def maitred(tmp_path):
    """Start `maitred run` with these arguments; whatever the test does, it is ended and looked over afterwards."""
    started = []

    def start(*arguments, ready=True, **options):
        instance = Instance(tmp_path / f"instance{len(started)}", arguments, **options)
        started.append(instance)
        return instance.start(ready)

    yield start
    complaints = []
    for instance in started:
        try:
            instance.finish()
        except AssertionError as complaint:
            complaints.append(str(complaint))
    assert not complaints, "\n\n".join(complaints)


@pytest.fixture
def guests():
    """Connect a client to the greeter on a port; all are gone when the test ends."""
    connected = []

    def connect(port, **options):
        connected.append(Guest(port, **options))
        return connected[-1]

    yield connect
    for guest in connected:
        guest.close()
