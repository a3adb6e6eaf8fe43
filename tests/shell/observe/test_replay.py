"""The replay takes what the machines would have written, and finds the first line that they would not."""

import json

import pytest
from tests.model.outcome import shown

from maitred.core import distributor, server
from maitred.core.messages import Accepted, Adopt, Begin, Client, Count, HandOff, InitialMsg, RestartReply
from maitred.core.record import to_record
from maitred.core.transition import Rejected
from maitred.shell.observe.replay import STEPS, replay

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


def serve(who, *events):
    """What a server writes that takes these events and sends at once what they issue; and its state after that."""
    state, lines = server.EndpointState(), [line(who, start={})]
    for event in events:
        lines += run(who, state, event)
        state = STEPS["server"](state, event).state
        while state.outbox:
            sent = server.Sent(state.outbox[0])
            lines += run(who, state, sent)
            state = STEPS["server"](state, sent).state
    return lines, state


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
    return serve("server 0 1", *LISTENING, server.MessageRead(PORT, HandOff(Client(0, 99, PORT))))[0]


LISTENING = server.Bound(PORT), server.Listened(PORT), server.MessageRead(PORT, InitialMsg(1))


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
    assert report.ok, shown(report)
    assert (report.lines, report.machines, report.steps) == (len(mixed), 2, 12)
    assert report.rejections == {"NOT_THIS_REQUEST": 1}
    assert report.effects == sum('"effect"' in one for one in mixed)
    assert report.unperformed == 0


def test_a_killed_process_leaves_any_prefix_of_its_last_effects(play, distributed):
    last = max(i for i, one in enumerate(distributed) if '"ConnectionRequest"' in one)
    for cut in range(last + 1, len(distributed)):
        if '"event"' in distributed[cut]:
            break
        report = play(distributed[:cut])
        assert report.ok, shown(report)
        assert report.unperformed > 0


def by(pid, lines):
    """The lines, as this process of a server wrote them."""
    return [json.dumps({**json.loads(one), "pid": pid}) for one in lines]


FIRST, SECOND = Client(0, 99, PORT), Client(1, 100, PORT)


@pytest.fixture
def shared():
    """Two processes of a server: one has accepted a client and answers for another; the other goes on in its place."""
    served, state = serve("server 0 1", *LISTENING, server.MessageRead(PORT, HandOff(FIRST)))
    read = server.MessageRead(PORT, HandOff(SECOND))
    first = by(7, [*served, *run("server 0 1", state, read)])
    state = STEPS["server"](state, read).state
    answer = state.outbox[0]
    attack = by(7, run("server 0 1", state, server.Sent(answer)))
    sent = STEPS["server"](state, server.Sent(answer)).state
    gone = STEPS["server"](sent, server.Disconnected(FIRST)).state.outbox[0]
    saved = run("server 0 1", sent, server.Disconnected(FIRST), server.Sent(gone))
    refusal = STEPS["server"](state, server.Interrupted(PORT, answer)).state.outbox[0]
    unsaved = run("server 0 1", state, server.Interrupted(PORT, answer), server.Sent(refusal))
    return first, attack, by(8, saved), by(8, unsaved)


@pytest.mark.parametrize("which", ["saved", "unsaved"])
def test_a_process_of_a_server_is_killed_before_or_after_it_saved_its_step(play, shared, which):
    first, attack, *others = shared
    report = play([*first, attack[0], *others[which == "unsaved"]])
    assert report.ok, shown(report)
    assert report.unperformed == 1, "the delivery"


def test_a_step_without_effects_may_be_saved_or_not(play):
    """A process reads a hand-off, writes that, and is killed before the step is saved: another finds it unanswered."""
    served, state = serve("server 0 1", *LISTENING)
    read = server.MessageRead(PORT, HandOff(FIRST))
    attack = by(7, run("server 0 1", state, read))
    lost = server.MessageRead(PORT, HandOff(FIRST), intact=False)
    refusal = STEPS["server"](state, lost).state.outbox[0]
    found = by(8, run("server 0 1", state, lost, server.Sent(refusal), server.Listened(PORT)))
    report = play([*by(7, served), *attack, *found])
    assert report.ok, shown(report)
    assert "goes on" in str(play([*by(7, served), *attack, *found, *attack]).mismatch)
    assert not play([*by(8, served), *by(8, attack), *found]).ok, "a process that lives has saved its step"


def test_one_connection_is_not_delivered_by_two_servers(play):
    """So it was seen, on real sockets: each server took its own steps, and the connection was in both."""
    accepted = server.MessageRead(PORT, HandOff(FIRST))
    one, two = (serve(who, *LISTENING, accepted)[0] for who in ("server 0 1", "server 0 2"))
    for alone in (play(one), play(two)):
        assert alone.ok, shown(alone)
    report = play([*one, *two])
    assert report.mismatch.line == len(one) + len(two)
    assert f"server 0 1 has delivered it on line {len(one)}" in str(report.mismatch)
    assert "server 0 2 delivers" in str(report.mismatch)


def test_a_client_refused_by_one_server_is_delivered_by_another(play):
    refused = server.MessageRead(PORT, HandOff(FIRST), intact=False)
    accepted = server.MessageRead(PORT, HandOff(FIRST))
    one = serve("server 0 1", *LISTENING, refused, accepted)[0]
    both = [*serve("server 0 1", *LISTENING, refused)[0], *serve("server 0 2", *LISTENING, accepted)[0]]
    for report in (play(one), play(both)):
        assert report.ok, shown(report)


def test_once_an_effect_is_written_the_step_was_saved(play, shared):
    first, attack, saved, unsaved = shared
    report = play([*first, *attack[:2], *saved])
    assert report.ok, shown(report)
    assert play([*first, *attack[:2], *unsaved]).mismatch.line == len(first) + 4


def test_a_killed_process_records_nothing_more(play, shared):
    first, attack, saved, _ = shared
    report = play([*first, attack[0], *saved, *by(7, [saved[0]])])
    assert "goes on" in str(report.mismatch)


def test_a_living_process_leaves_no_step_unfinished(play, shared):
    first, attack, saved, _ = shared
    report = play([*first, attack[0], *by(7, saved)])
    assert "still owes its effect" in str(report.mismatch)


def test_a_missing_effect(play, distributed):
    gone = next(i for i, one in enumerate(distributed) if '"KeepListener"' in one)
    report = play(distributed[:gone] + distributed[gone + 1 :])
    assert not report.ok, shown(report)
    assert report.mismatch.line == gone + 1
    assert "owes its effect" in str(report.mismatch) and "KeepListener" in str(report.mismatch)


def test_effects_in_another_order(play, distributed):
    i = next(i for i, one in enumerate(distributed) if '"effect"' in one and '"HandOff"' in one)
    distributed[i], distributed[i + 1] = distributed[i + 1], distributed[i]
    report = play(distributed)
    assert report.mismatch.line == i + 1


def test_an_effect_that_no_machine_has(play, distributed):
    extra = line(WHO, effect=to_record(distributed_effect()))
    report = play([*distributed, extra])
    assert report.mismatch.line == len(distributed) + 1
    assert "has no such effect" in str(report.mismatch)


def distributed_effect():
    return distributor.ShutDown(Client(0, 99, PORT))


def test_an_event_that_the_machine_declines_but_the_trace_took(play, distributed):
    assert '"rejected"' in distributed[-1]
    report = play([*distributed[:-1], distributed[-2], distributed[-1]])
    assert report.mismatch.line == len(distributed)
    assert "NOT_THIS_REQUEST" in str(report.mismatch)


def test_a_rejection_that_the_machine_does_not_give(play, distributed):
    second = next(i for i, one in enumerate(distributed) if '"Listening"' in one)
    report = play([*distributed[: second + 1], line(WHO, rejected="UNKNOWN_PORT")])
    assert report.mismatch.line == second + 2
    report = play([*distributed[:-1], line(WHO, rejected="UNKNOWN_PORT")])
    assert "NOT_THIS_REQUEST" in str(report.mismatch)


def test_a_state_that_breaks_an_invariant(play, distributed, monkeypatch):
    monkeypatch.setattr("maitred.shell.observe.replay.broken", lambda state: ("index_is_true",))
    report = play(distributed)
    assert report.mismatch.line == 2
    assert "index_is_true" in str(report.mismatch)


@pytest.mark.parametrize("lines", [[], ["{}"], ["[]"], ["nonsense"], ["\x00"], ['{"who": "monitor"}']])
def test_files_that_are_no_trace(play, lines):
    report = play(lines)
    assert not report.ok, shown(report)
    assert report.mismatch.line == len(lines)


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
    assert report.mismatch.line == 1
    assert why in str(report.mismatch)


@pytest.mark.parametrize("content", [{"event": {"is": "Begun"}}, {"event": 3}, {"effect": {"is": "Begin"}}])
def test_a_record_of_an_unknown_class(play, content):
    report = play([line(WHO, start=START), line(WHO, **content)])
    assert report.mismatch.line == 2


def test_a_machine_that_starts_twice(play):
    report = play([line("server 0 1", start={}), line("server 0 1", start={})])
    assert "a second time" in str(report.mismatch)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        replay(tmp_path / "none")
