"""The replay takes what the machines would have written, and finds the first line that they would not."""

import json

import pytest

from maitred.core import distributor, server
from maitred.core.messages import Accepted, Adopt, Begin, Client, Count, HandOff, InitialMsg, RestartReply
from maitred.core.record import from_record, to_record
from maitred.core.transition import Rejected
from maitred.model.replay import STEPS, replay

PORT = 4049
ADDRESS = "127.0.0.1:4049"
WHO = "distributor 0 1"
START = {"incarnation": 1, "dynamic": 0, "waiting_limit": 8, "listeners": [[PORT, ADDRESS]], "fixed": True}


def line(who, **content):
    return json.dumps({"who": who, **content, "t": 1.5})


def run(who, state, *events):
    """What the machine writes when it takes these events."""
    lines = []
    for event in events:
        lines.append(line(who, event=to_record(event)))
        taken = STEPS[who.split()[0]](state, event)
        if isinstance(taken, Rejected):
            lines.append(line(who, rejected=taken.reason.name))
        else:
            state = taken.state
            lines += [line(who, effect=to_record(effect)) for effect in taken.effects]
    return lines


@pytest.fixture
def distributed():
    """A Distributor that begins, adopts a server, and hands it a client that is accepted."""
    state = distributor.initial(1, 0, 8, ((PORT, ADDRESS),), True)
    client = Client(0, 99, PORT)
    return [
        line(WHO, start=START),
        *run(
            WHO,
            state,
            Begin(),
            distributor.Listening(PORT, ADDRESS),
            Adopt(1, 2, 1, False, False, (PORT,), (PORT,)),
            distributor.Received(1, PORT, RestartReply(1, Count(0, 1))),
            distributor.ConnectionRequest(PORT, 99),
            distributor.Received(1, PORT, Accepted(client, Count(1, 2))),
            distributor.Unsent(1, client),
        ),
    ]


@pytest.fixture
def served():
    """The server's side of it."""
    return [
        line("server 0 1", start={}),
        *run(
            "server 0 1",
            server.EndpointState(),
            server.Bound(PORT),
            server.Listened(PORT),
            server.MessageRead(PORT, InitialMsg(1)),
            server.MessageRead(PORT, HandOff(Client(0, 99, PORT))),
        ),
    ]


@pytest.fixture
def play(tmp_path):
    def play(lines):
        path = tmp_path / "trace"
        path.write_text("".join(one + "\n" for one in lines))
        return replay(path)

    return play


def test_interleaved_streams_of_sound_machines(play, distributed, served):
    mixed = [distributed[0], served[0]]
    for i in range(1, max(len(distributed), len(served))):
        mixed += [*distributed[i : i + 1], *served[i : i + 1]]
    report = play(mixed)
    assert report.ok, report.divergence
    assert (report.lines, report.machines, report.steps) == (len(mixed), 2, 10)
    assert report.rejections == {"NOT_OUTSTANDING": 1}
    assert report.effects == sum('"effect"' in one for one in mixed)
    assert report.unperformed == 0


def test_a_killed_process_leaves_any_prefix_of_its_last_effects(play, distributed):
    last = max(i for i, one in enumerate(distributed) if '"ConnectionRequest"' in one)
    for cut in range(last + 1, len(distributed)):
        if '"event"' in distributed[cut]:
            break
        report = play(distributed[:cut])
        assert report.ok, report.divergence
        assert report.unperformed > 0


def by(pid, lines):
    """The lines, as this process of a server wrote them."""
    return [json.dumps({**json.loads(one), "pid": pid}) for one in lines]


FIRST, SECOND = Client(0, 99, PORT), Client(1, 100, PORT)


@pytest.fixture
def shared(served):
    """Two processes of a server: one has accepted a client and takes another; the other sees the first client go."""
    first = by(7, served)
    state = server.EndpointState()
    for one in served:
        content = json.loads(one).get("event")
        if content:
            state = STEPS["server"](state, from_record(server.Event, content)).state
    taken = STEPS["server"](state, server.MessageRead(PORT, HandOff(SECOND)))
    attack = by(7, run("server 0 1", state, server.MessageRead(PORT, HandOff(SECOND))))
    gone = server.Disconnected(FIRST)
    saved, unsaved = (by(8, run("server 0 1", s, gone)) for s in (taken.state, state))
    return first, attack, saved, unsaved


@pytest.mark.parametrize("which", ["saved", "unsaved"])
def test_a_process_of_a_server_is_killed_before_or_after_it_saved_its_step(play, shared, which):
    first, attack, *others = shared
    report = play([*first, attack[0], *others[which == "unsaved"]])
    assert report.ok, report.divergence
    assert report.unperformed == 2


def test_once_an_effect_is_written_the_step_was_saved(play, shared):
    first, attack, saved, unsaved = shared
    assert play([*first, *attack[:2], *saved]).ok
    assert play([*first, *attack[:2], *unsaved]).divergence.line == len(first) + 4


def test_who_was_killed_does_not_go_on(play, shared):
    first, attack, saved, _ = shared
    report = play([*first, attack[0], *saved, *by(7, [saved[0]])])
    assert "goes on" in str(report.divergence)


def test_a_living_process_leaves_no_step_unfinished(play, shared):
    first, attack, saved, _ = shared
    report = play([*first, attack[0], *by(7, saved)])
    assert "still owes its effect" in str(report.divergence)


def test_an_effect_that_is_missing_in_the_midst(play, distributed):
    gone = next(i for i, one in enumerate(distributed) if '"KeepListener"' in one)
    report = play(distributed[:gone] + distributed[gone + 1 :])
    assert not report.ok
    assert report.divergence.line == gone + 1
    assert "owes its effect" in str(report.divergence) and "KeepListener" in str(report.divergence)


def test_effects_in_another_order(play, distributed):
    i = next(i for i, one in enumerate(distributed) if '"effect"' in one and '"HandOff"' in one)
    distributed[i], distributed[i + 1] = distributed[i + 1], distributed[i]
    report = play(distributed)
    assert report.divergence.line == i + 1


def test_an_effect_that_no_machine_has(play, distributed):
    extra = line(WHO, effect=to_record(distributed_effect()))
    report = play([*distributed, extra])
    assert report.divergence.line == len(distributed) + 1
    assert "has no such effect" in str(report.divergence)


def distributed_effect():
    return distributor.ShutDown(Client(0, 99, PORT))


def test_an_event_that_the_machine_declines_but_the_trace_took(play, distributed):
    assert '"rejected"' in distributed[-1]
    report = play([*distributed[:-1], distributed[-2], distributed[-1]])
    assert report.divergence.line == len(distributed)
    assert "NOT_OUTSTANDING" in str(report.divergence)


def test_a_rejection_that_the_machine_does_not_give(play, distributed):
    second = next(i for i, one in enumerate(distributed) if '"Listening"' in one)
    report = play([*distributed[: second + 1], line(WHO, rejected="UNKNOWN_PORT")])
    assert report.divergence.line == second + 2
    report = play([*distributed[:-1], line(WHO, rejected="UNKNOWN_PORT")])
    assert "NOT_OUTSTANDING" in str(report.divergence)


def test_a_state_that_breaks_an_invariant(play, distributed, monkeypatch):
    monkeypatch.setattr("maitred.model.replay.broken", lambda state: ("index_is_true",))
    report = play(distributed)
    assert report.divergence.line == 2
    assert "index_is_true" in str(report.divergence)


@pytest.mark.parametrize("lines", [[], ["{}"], ["[]"], ["nonsense"], ["\x00"], ['{"who": "monitor"}']])
def test_what_is_no_trace(play, lines):
    report = play(lines)
    assert not report.ok
    assert report.divergence.line == len(lines)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"who": "waiter 1", "event": {}}, "is no machine"),
        ({"who": WHO, "event": {"is": "Begin"}}, "has not started"),
        ({"who": WHO, "start": START, "event": {}}, "exactly one"),
        ({"who": WHO, "start": []}, "must hold an object"),
        ({"who": WHO, "start": {"incarnation": 1}}, "missing or unknown"),
        ({"who": WHO, "start": {**START, "incarnation": "one"}}, "incarnation"),
    ],
)
def test_a_line_that_is_no_record(play, record, why):
    report = play([json.dumps(record)])
    assert report.divergence.line == 1
    assert why in str(report.divergence)


@pytest.mark.parametrize("content", [{"event": {"is": "Begun"}}, {"event": 3}, {"effect": {"is": "Begin"}}])
def test_a_record_of_nothing_the_machine_knows(play, content):
    report = play([line(WHO, start=START), line(WHO, **content)])
    assert report.divergence.line == 2


def test_a_machine_that_starts_twice(play):
    report = play([line("server 0 1", start={}), line("server 0 1", start={})])
    assert "a second time" in str(report.divergence)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        replay(tmp_path / "none")
