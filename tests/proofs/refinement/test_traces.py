"""What the running system did was a run of the relation; and a trace that is mutated is none."""

import json
import signal

import pytest
from proofs.refinement.bridge import Divergence
from proofs.refinement.traces import validate
from tests.machine import free_port
from tests.system.harness import Guest, Instance, eventually, greeter, write_config

from maitred.core import distributor, messages, monitor, server
from maitred.core.record import to_record
from maitred.core.transition import Transition
from maitred.shell.observe.replay import INITIAL, STEPS

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def seat_and_wait(instance, port):
    """Every server serves, a dynamic one too, and one client waits; then somebody leaves, and nobody waits."""
    guests = [Guest(port) for _ in range(4)]
    eventually(lambda: len(instance.servers()) == 3, "a dynamic server is started")
    instance.wait_all_ready()
    eventually(lambda: instance.waiting() == 1, "one waits")
    next(guest for guest in guests if guest.is_greeted(1)).close()
    eventually(lambda: instance.waiting() == 0, "nobody waits")
    return guests


def gone(instance, pid):
    """Wait until it is seen that the process has died, and all are ready again."""
    eventually(lambda: pid not in {server["pid"] for server in instance.servers()}, "it is seen to be dead")
    instance.wait_all_ready()


def record(directory):
    """A run with real processes in which a server and the Distributor are killed while clients are served and wait."""
    port = free_port()
    config = write_config(directory / "c.toml", [greeter(port, static=2, dynamic=1, max_clients=1)])
    instance = Instance(directory / "instance", ["--config", config]).start()
    try:
        guests = seat_and_wait(instance, port)
        victim = instance.servers()[0]["pid"]
        instance.kill(victim)
        gone(instance, victim)
        for guest in guests:
            guest.close()
        instance.wait_counts([0] * len(instance.servers()))
        guests = [Guest(port) for _ in range(4)]
        eventually(lambda: instance.waiting() == 1, "one waits")
        distributor = instance.distributor()
        instance.kill(distributor)
        eventually(lambda: instance.distributor() != distributor, "another Distributor runs")
        instance.wait_all_ready()
        for guest in guests:
            guest.close()
        instance.wait_counts([0] * len(instance.servers()))
        with Guest(port) as last:
            last.seated()
        instance.wait_counts([0] * len(instance.servers()))
        instance.signal(signal.SIGTERM)
        instance.wait()
    finally:
        instance.finish()
    return instance.trace.read_text().splitlines()


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """The lines of that run's trace."""
    return record(tmp_path_factory.mktemp("recorded"))


def followed(lines, directory):
    path = directory / "trace"
    path.write_text("".join(f"{line}\n" for line in lines))
    return validate(path)


def stops(lines):
    """The place of the line with which the stop begins."""
    return next(place for place, line in enumerate(lines) if '"StopRequested"' in line)


def find(lines, kind, *words):
    """The places of the lines before the stop that record an event or an effect and have all these words."""
    found = [place for place in range(stops(lines)) if kind in json.loads(lines[place])]
    found = [place for place in found if all(f'"{word}"' in lines[place] for word in words)]
    assert found, f"the trace has no {kind} {words}"
    return found


def test_a_recorded_run_is_a_run_of_the_relation(trace, tmp_path):
    report = followed(trace, tmp_path)

    assert report.steps > 80
    assert report.compared >= report.steps - 2, "all but the last steps of who was killed"
    assert report.ends == f"before line {stops(trace) + 1}: StopRequested"
    assert report.outside == sum('"event"' in line for line in trace[stops(trace) :])
    assert report.unseen["client_comes"] == 9, "four, four and the last"
    deaths = ("server_dies", "server_leaves_a_child", "distributor_dies", "distributor_dies_having_read")
    assert sum(report.taken[name] for name in deaths) == 2
    messages_named = {
        *("accepts", "sends_hand", "stores_hand", "releases", "server_accepts", "receives_accepted", "client_leaves"),
        *(
            "receives_disconnect",
            "monitor_sees_server_end",
            "monitor_sees_server_gone",
            "monitor_sees_distributor_dead",
        ),
        *("distributor_starts", "adopts", "adopts_newcomer", "restores", "begins", "monitor_creates_server"),
    }
    assert messages_named <= report.taken.keys()


class Written:
    """A trace of one server class, written by stepping the machines by hand."""

    def __init__(self):
        self.lines, self.machines = [], {}

    def start(self, who, **arguments):
        self.machines[who] = INITIAL[who.split()[0]](**arguments)
        start = {name: to_record(value) for name, value in arguments.items()}
        self.lines.append(json.dumps({"who": who, "start": start}))

    def step(self, who, event, effects=None, pid=1, saved=True):
        """Take the event, and perform all of its effects, or so many; or die before the step is saved."""
        result = STEPS[who.split()[0]](self.machines[who], event)
        assert isinstance(result, Transition), result
        self.lines.append(json.dumps({"who": who, "event": to_record(event), "pid": pid}))
        if not saved:
            return ()
        self.machines[who] = result.state
        for effect in result.effects[:effects]:
            self.lines.append(json.dumps({"who": who, "effect": to_record(effect), "pid": pid}))
        return result.effects


OURS, THEIRS, PORT = "distributor 0 1", "server 0 1", 80


def operating():
    """A written trace up to where the Distributor knows of its one server, which is ready."""
    address, count = "*:80", messages.Count(0, 1)
    web = monitor.ClassConfig(1, 0, 2, 10, (0,), ((PORT, address),), True)
    written = Written()
    written.start("monitor", classes=(web,), weights=(1,))
    messages_named = [each.message for each in written.step("monitor", monitor.Started()) if hasattr(each, "message")]
    written.start(OURS, incarnation=1, dynamic=0, waiting_limit=10, listeners=((PORT, address),), fixed=True)
    written.start(THEIRS)
    for message in messages_named:
        written.step(OURS, message)
    written.step(OURS, distributor.Listening(PORT, address))
    written.step("monitor", monitor.Reported(0, messages.KeepListener(PORT, address)))
    written.step(OURS, distributor.BindRequested(1, PORT, address))
    written.step(THEIRS, server.Bound(PORT))
    written.step(THEIRS, server.Listened(PORT))
    written.step(THEIRS, server.MessageRead(PORT, messages.InitialMsg(1), True))
    written.step(THEIRS, server.Sent(server.Reply(PORT, messages.RestartReply(1, count))))
    written.step(OURS, distributor.Received(1, PORT, messages.RestartReply(1, count)))
    return written


def test_the_kernel_may_take_a_hand_off_to_a_server_that_is_being_ended(tmp_path):
    """It closes one descriptor after the other: the control socket has ended, the dialog has not, and nobody reads."""
    written = operating()
    written.step(OURS, distributor.ControlEnded(1))
    sent = written.step(OURS, distributor.ConnectionRequest(PORT, 7))
    assert any(isinstance(effect, distributor.Send) for effect in sent)
    written.step(OURS, distributor.DialogEnded(1, PORT))

    report = followed(written.lines, tmp_path)

    assert report.taken["sends_hand_in_vain"] == 1
    assert report.taken["sees_dialog_end"] == 1
    assert report.taken["stores_hand"] == 1, "the client waits for the next server"


def serving_through_a_child():
    """A forked child serves one client and another comes, when the main process dies just after its last step."""
    written = operating()
    client, other = (messages.Client(arrival, cookie, PORT) for arrival, cookie in enumerate((7, 8)))
    accepted = messages.Accepted(client, messages.Count(1, 2))
    written.step(OURS, distributor.ConnectionRequest(PORT, client.cookie))
    written.step(THEIRS, server.MessageRead(PORT, messages.HandOff(client), True))
    written.step(THEIRS, server.Sent(server.Reply(PORT, accepted)))
    written.step(OURS, distributor.Received(1, PORT, accepted))
    written.step(OURS, distributor.ConnectionRequest(PORT, other.cookie))
    written.step("monitor", monitor.ServerExited(0, 1))
    return written, client, other


def test_a_child_accepts_after_the_main_process_has_died(tmp_path):
    """The lock that the main process held as it sent is free, since it died after that."""
    written, _, other = serving_through_a_child()
    written.step(THEIRS, server.MessageRead(PORT, messages.HandOff(other), True))

    report = followed(written.lines, tmp_path)

    assert report.taken["server_leaves_a_child"] == 1
    assert report.ends == "at its end"


def test_a_child_that_serves_on_is_outside(tmp_path):
    """The relation takes it that whom the main process had has lost its connection."""
    written, client, _ = serving_through_a_child()
    written.step(THEIRS, server.Disconnected(client))

    report = followed(written.lines, tmp_path)

    last = len(written.lines)
    assert report.ends == f"before line {last}: a forked child that serves on after its server's main process has died"
    assert report.outside == 1


@pytest.mark.parametrize("saved", [False, True])
def test_a_process_dies_in_the_midst_of_a_hand_off_and_another_goes_on(tmp_path, saved):
    """Before its step is saved, nothing has happened but the loss of the connection; then, the client is taken back."""
    written, client = operating(), messages.Client(0, 7, PORT)
    written.step(OURS, distributor.ConnectionRequest(PORT, client.cookie))
    written.step(THEIRS, server.MessageRead(PORT, messages.HandOff(client), True), saved=saved)
    if saved:
        accepted = server.Reply(PORT, messages.Accepted(client, messages.Count(1, 2)))
        written.step(THEIRS, server.Interrupted(PORT, accepted), pid=2)
    else:
        written.step(THEIRS, server.MessageRead(PORT, messages.HandOff(client), False), pid=2)
    refused = messages.Refused(client, messages.Count(0, 3 if saved else 2))
    written.step(THEIRS, server.Sent(server.Reply(PORT, refused)), pid=2)
    written.step(OURS, distributor.Received(1, PORT, refused))

    report = followed(written.lines, tmp_path)

    assert (report.taken["server_takes_back"], report.taken["server_refuses"]) == ((1, 0) if saved else (0, 1))
    assert report.ends == "at its end"


DROPPED = [
    ("effect", "Send", "HandOff"),
    ("effect", "Send", "InitialMsg"),
    ("effect", "SendMonitor", "Store"),
    ("effect", "SendMonitor", "Release"),
    ("effect", "SendMonitor", "ServerReady"),
    ("effect", "SendMonitor", "CreateServer"),
    ("effect", "Accept"),
    ("event", "Sent", "RestartReply"),
    ("effect", "SendDistributor", "Restore"),
    ("effect", "StartServer"),
    ("event", "ConnectionRequest"),
    ("event", "Received", "RestartReply"),
    ("event", "Restore"),
    ("event", "Reported", "Store"),
    ("event", "MessageRead", "HandOff"),
    ("event", "DistributorExited"),
]


@pytest.mark.parametrize("what", DROPPED, ids=" ".join)
def test_a_line_that_is_missing_is_noticed(trace, tmp_path, what):
    kind, *words = what
    place = find(trace, kind, *words)[0]
    with pytest.raises(Divergence, match=r"^line \d+, "):
        followed([*trace[:place], *trace[place + 1 :]], tmp_path)


def test_a_client_that_is_sent_before_it_is_released_is_noticed(trace, tmp_path):
    release = find(trace, "effect", "SendMonitor", "Release")[0]
    send = next(place for place in find(trace, "effect", "Send", "HandOff") if place > release)
    mutated = [*trace]
    mutated[release], mutated[send] = mutated[send], mutated[release]
    with pytest.raises(Divergence, match="is not enabled"):
        followed(mutated, tmp_path)


def test_a_hand_off_to_another_server_is_noticed(trace, tmp_path):
    place = find(trace, "effect", "Send", "HandOff")[0]
    line = json.loads(trace[place])
    line["effect"]["server"] = 3 - line["effect"]["server"]
    with pytest.raises(Divergence, match="sends_hand"):
        followed([*trace[:place], json.dumps(line), *trace[place + 1 :]], tmp_path)


def test_a_count_that_the_server_did_not_send_is_noticed(trace, tmp_path):
    place = find(trace, "event", "Received", "Accepted")[0]
    line = json.loads(trace[place])
    line["event"]["message"]["count"]["clients"] += 1
    with pytest.raises(Divergence, match="something else"):
        followed([*trace[:place], json.dumps(line), *trace[place + 1 :]], tmp_path)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "line 1: is no record of a trace"),
        ('{"who": "nobody", "event": 1}', "line 1: is no record of a trace"),
        ('{"who": "monitor", "event": {"is": "Started"}}', "line 1: is no record of a trace, or comes too early"),
    ],
)
def test_what_is_no_trace_is_named_with_its_line(tmp_path, line, why):
    with pytest.raises(Divergence, match=why):
        followed([line], tmp_path)


def test_an_empty_trace_shows_nothing(tmp_path):
    with pytest.raises(Divergence, match="empty"):
        followed([], tmp_path)
