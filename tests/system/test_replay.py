"""The trace of a running system replays through the pure machines, and a bent one does not.

Every instance that any test of this room starts is replayed at its end; here the traces are bent.
"""

import json
import signal

import pytest
from tests.machine import free_port
from tests.system.harness import eventually, greeter, write_config

pytestmark = pytest.mark.system


@pytest.fixture
def trace(maitred, guests, tmp_path):
    """The trace of an instance in which clients were served, waited and left, and which was stopped."""
    port = free_port()
    instance = maitred("--config", write_config(tmp_path / "c.toml", [greeter(port, static=2, max_clients=1)]))
    clients = [guests(port) for _ in range(3)]
    assert clients[0].seated() and clients[1].seated()
    instance.wait_waiting(1)
    clients[0].close()
    clients[2].seated()
    for client in clients[1:]:
        client.close()
    instance.wait_counts([0, 0])
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0
    return Trace(instance)


class Trace:
    """A trace, to be bent and replayed."""

    def __init__(self, instance):
        self.instance = instance
        self.lines = instance.trace.read_text().splitlines()

    def find(self, who, kind, name):
        """The places of the lines of a machine that record this event or effect."""
        found = []
        for place, line in enumerate(self.lines):
            record = json.loads(line)
            if record["who"].startswith(who) and kind in record and record[kind]["is"] == name:
                found.append(place)
        assert found, f"no {kind} {name} of a {who}"
        return found

    def replay(self, lines=None):
        bent = self.instance.directory / "bent"
        bent.write_text("".join(line + "\n" for line in (self.lines if lines is None else lines)))
        return self.instance.command("replay", bent)


def without(lines, place):
    return [*lines[:place], *lines[place + 1 :]]


def changed(lines, place, change):
    record = json.loads(lines[place])
    change(record)
    return [*lines[:place], json.dumps(record), *lines[place + 1 :]]


def test_every_step_over_real_sockets_was_a_step_of_the_machine(trace):
    records = [json.loads(line) for line in trace.lines]
    assert {record["who"].split()[0] for record in records} == {"monitor", "distributor", "server"}

    outcome = trace.replay()

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_missing_effect_is_a_divergence(trace):
    place = trace.find("distributor", "effect", "CloseCopy")[0]

    outcome = trace.replay(without(trace.lines, place))

    assert outcome.returncode == 1
    assert "CloseCopy" in outcome.stdout + outcome.stderr


def test_an_effect_that_the_machine_would_not_have_is_a_divergence(trace):
    place = trace.find("distributor", "effect", "Send")[-1]

    def elsewhere(record):
        record["effect"]["server"] += 1

    outcome = trace.replay(changed(trace.lines, place, elsewhere))

    assert outcome.returncode == 1
    assert "Send" in outcome.stdout + outcome.stderr


def test_a_missing_event_is_a_divergence(trace):
    place = trace.find("distributor", "event", "ConnectionRequest")[0]

    outcome = trace.replay(without(trace.lines, place))

    assert outcome.returncode == 1


def test_an_event_that_the_state_does_not_allow_is_a_divergence(trace):
    place = trace.find("server", "event", "Disconnected")[0]

    outcome = trace.replay([*trace.lines[: place + 1], *trace.lines[place:]])

    assert outcome.returncode == 1


def test_garbage_is_named_with_its_line(trace):
    outcome = trace.replay([*trace.lines, '{"who": "monitor", "event": {"is": "Nonsense"}}'])

    assert outcome.returncode == 1
    assert f"line {len(trace.lines) + 1}:" in outcome.stdout + outcome.stderr
    assert "Nonsense" in outcome.stdout + outcome.stderr


def test_an_empty_trace_is_an_error(trace):
    outcome = trace.replay([])

    assert outcome.returncode != 0
    assert "empty" in outcome.stdout + outcome.stderr


def test_a_trace_that_is_not_there_is_an_error(trace):
    outcome = trace.instance.command("replay", trace.instance.directory / "nowhere")

    assert outcome.returncode == 2
    assert "nowhere" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_the_last_event_of_a_killed_process_may_have_any_prefix_of_its_effects(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=2)])
    instance = maitred("--config", config)
    guests(port).seated()
    for pid in (instance.distributor(), instance.servers()[0]["pid"]):
        instance.kill(pid)
        eventually(lambda pid=pid: pid not in {s["pid"] for s in instance.servers()}, "it is seen to be dead")
        instance.wait_all_ready()
    guests(port).seated()

    outcome = instance.replay()  # while it runs: the trace has no end yet

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    complete, _, _ = instance.trace.read_text().rpartition("\n")
    records = [json.loads(line) for line in complete.splitlines()]
    assert {"distributor 0 1", "distributor 0 2"} <= {record["who"] for record in records}
