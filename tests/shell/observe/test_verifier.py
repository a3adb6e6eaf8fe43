"""The verifier's channel: bounded, never in the way, and honest about what it could not carry."""

import errno
import fcntl
import itertools
import json
import os
import random
import socket
import types
from dataclasses import fields, is_dataclass, replace

import pytest
from tests.log import plain

from maitred.config import options
from maitred.config.model import Program
from maitred.core import distributor, monitor, record, server
from maitred.core.messages import Accepted, Adopt, Begin, Client, Count, HandOff, InitialMsg, RestartReply
from maitred.core.transition import Reason, Rejected
from maitred.shell import monitor as shell_monitor
from maitred.shell.io.loop import Loop
from maitred.shell.observe import encoding, replay, ring, verifier_process
from maitred.shell.observe.encoding import DecodeError, decoder, encode
from maitred.shell.observe.ring import Damaged, MachineHeader, Ring, VerifierHeader
from maitred.shell.observe.trace import Trace
from maitred.shell.observe.verifier import Verifier
from maitred.shell.supervise import launch

PORT, ADDRESS = 4049, "127.0.0.1:4049"
WHO, SERVER = "distributor 0 1", "server 0 1"
ARGUMENTS = {"incarnation": 1, "dynamic": 0, "waiting_limit": 100, "listeners": ((PORT, ADDRESS),), "fixed": True}
ROOM = 1 << 16


class Rings:
    """The rings of two machines and the verifier's, and how they come to it."""

    def __init__(self):
        self.own = ring.create()
        self.mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        its.setblocking(False)
        self.fds = {}
        self.verifier = verifier_process.VerifierProcess(Ring(self.own, "verifier"), its)

    def add(self, who, room):
        self.fds[who] = ring.create(room)
        socket.send_fds(self.mine, [who.encode()], [self.fds[who]])

    def over(self, who):
        ring.note_end(self.fds[who])

    def sums(self):
        return tuple(map(sum, zip(*map(ring.step_counts, self.fds.values()), strict=True)))

    def close(self):
        for end in (self.mine, self.verifier._arrivals):
            end.close()
        for fd in (self.own, *self.fds.values()):
            os.close(fd)


@pytest.fixture
def rings():
    made = Rings()
    made.add(WHO, ROOM)
    made.add(SERVER, ROOM)
    yield made
    made.close()


# ---------------------------------------------------------------- the ring


@pytest.fixture
def ends(rings):
    """One ring, as its writer and its reader see it."""
    writer, reads = Ring(rings.fds[WHO], WHO), Ring(rings.fds[WHO], WHO)
    yield writer, reads
    writer.close()
    reads.close()


def test_a_ring_returns_its_records_in_order_across_its_end(ends):
    writer, reads = ends
    chance, sent, seen = random.Random(7), [], []
    while sum(map(len, sent)) < 8 * ROOM:
        piece = bytes([len(sent) % 251]) * chance.randrange(0, ROOM // 3)
        while not writer.put(piece):
            seen.append(reads.take())
        sent.append(piece)
    while (piece := reads.take()) is not None:
        seen.append(piece)
    assert seen == sent
    assert reads.take() is None


def test_a_ring_is_full_at_its_bound_and_writes_nothing_then(ends):
    writer, reads = ends
    assert writer.put(bytes(ROOM - 8))
    before = bytes(writer._records)

    assert not writer.put(b"")

    assert writer.free == 0 and bytes(writer._records) == before
    assert reads.take() == bytes(ROOM - 8)
    assert writer.put(b"again") and reads.take() == b"again"


def test_bytes_without_a_head_are_no_record(ends):
    """As a writer leaves them that is killed while it writes."""
    writer, reads = ends
    writer.put(b"whole")
    writer._records[13:40] = b"x" * 27
    assert reads.take() == b"whole"
    assert reads.take() is None
    assert writer.put(b"next") and reads.take() == b"next"


def test_a_damaged_record_is_reported_and_the_next_is_read(ends):
    writer, reads = ends
    writer.put(b"a record")
    writer._records[10] ^= 1
    assert {reads.take() for _ in range(ring.PATIENCE - 1)} == {None}  # for its writer may not have come to the end
    with pytest.raises(Damaged):
        reads.take()
    writer.put(b"the next")
    assert reads.take() == b"the next"


def test_the_size_of_a_ring_is_sealed(rings):
    for size in (4096, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(rings.fds[WHO], size)
    assert fcntl.fcntl(rings.fds[WHO], fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_server_that_overwrites_its_ring_spoils_its_own_records_only(rings, followed, history):
    chance, fd = random.Random(7), rings.fds[SERVER]
    for step in history[:50]:
        followed.act(*step)
        os.pwrite(fd, chance.randbytes(ring.HEADER), 0)
        os.pwrite(fd, b"\xff" * 64, ring._HEADER_AT)
        followed.read()
    assert rings.sums() == (50, 0)
    assert followed.read() == (50, 0, 0)
    assert followed.verifier._is_deserted() is False


def test_a_reader_keeps_its_own_position(ends):
    """A writer that turns the tail back would have its records read, and counted, again and again."""
    writer, reads = ends
    assert writer.put(b"once") and reads.take() == b"once"
    writer.header[MachineHeader.READ] = 0
    assert reads.take() is None


# ---------------------------------------------------------------- values


def test_every_event_effect_and_state_can_be_read():
    for kind, (event, effect) in record.MACHINES.items():
        for hint in (event, effect, replay.STATES[kind], *replay.ARGUMENTS[kind].values()):
            for choice in encoding._choices(decoder(hint) and hint):
                if is_dataclass(choice):
                    assert len(encoding._field_decoders(choice)) == len(fields(choice))


def back(hint, value):
    return decoder(hint)(json.loads(encode([value]))[0])


def test_values_come_back_as_they_were(history):
    for state, event, taken in history:
        assert back(distributor.DistributorState, state) == state
        assert back(distributor.Event, event) == event
        for effect in getattr(taken, "effects", ()):
            assert back(distributor.Effect, effect) == effect
    config = monitor.ClassConfig(2, 1, 64, 100, (0, 1), ((80, "*:80"),), True)
    state = monitor.step(monitor.initial((config,), (1, 2)), monitor.Started()).state
    assert back(monitor.MonitorState, state) == state


@pytest.mark.parametrize("packed", [["Nonsense"], ["Begin", 1], ["PeerClosed", 1, 2, 3], "Begin", 3, None, [], [[]]])
def test_values_that_are_no_event_are_refused(packed):
    with pytest.raises(DecodeError):
        decoder(distributor.Event)(packed)


# ---------------------------------------------------------------- a machine and who follows it


def life():
    """Of a Distributor that begins and seats clients for ever: each state, what happens, and what that comes to."""
    state = distributor.initial(**ARGUMENTS)
    for event in _happenings():
        outcome = distributor.step(state, event)
        yield state, event, outcome
        state = getattr(outcome, "state", state)


def _happenings():
    yield from (Begin(), distributor.Listening(PORT, ADDRESS), Adopt(1, 2, 1, False, False, (PORT,), (PORT,)))
    yield distributor.Received(1, PORT, RestartReply(1, Count(0, 1)))
    for i in itertools.count():
        client = Client(i, 100 + i, PORT)
        yield distributor.ConnectionRequest(PORT, 100 + i)
        yield distributor.Received(1, PORT, Accepted(client, Count(i % 2, i + 2)))
        yield distributor.Unsent(1, client)  # which is declined: the request has been answered


@pytest.fixture
def history():
    """The beginning of that life."""
    return list(itertools.islice(life(), 184))


class Followed:
    """A machine that writes, and the verifier that reads, in turns."""

    def __init__(self, rings, who):
        self.trace = Trace(rings.fds[who], who)
        self.verifier = rings.verifier
        self.totals = self.verifier._totals

    def act(self, state, event, outcome):
        """Take a step, and report it."""
        self.trace.event(event, state)
        if isinstance(outcome, Rejected):
            self.trace.rejected(outcome.reason)
        else:
            for effect in outcome.effects:
                self.trace.effect(effect)

    def read(self):
        """What the verifier comes to: steps verified, steps unchecked, divergences."""
        while self.verifier.turn():
            pass
        return (
            self.totals[VerifierHeader.VERIFIED],
            self.totals[VerifierHeader.UNCHECKED],
            self.totals[VerifierHeader.DIVERGED],
        )


@pytest.fixture
def followed(rings):
    made = Followed(rings, WHO)
    made.trace.start(**ARGUMENTS)
    return made


@pytest.fixture
def served(rings):
    made = Followed(rings, SERVER)
    made.trace.start()
    return made


def test_sound_steps_are_verified(followed, history, capfd):
    for step in history:
        followed.act(*step)
    assert followed.read() == (len(history), 0, 0)
    assert capfd.readouterr().err == ""


def changed(outcome, **other):
    return replace(outcome, **other)


BENT = {
    "an effect is missing": (lambda o: changed(o, effects=o.effects[1:]), "the event of step 5 has"),
    "the last effect is missing": (lambda o: changed(o, effects=o.effects[:-1]), "still owes its effect"),
    "an effect too many": (lambda o: changed(o, effects=(*o.effects, o.effects[0])), "has no such effect"),
    "it declines": (lambda o: Rejected(Reason.UNKNOWN_PORT), "the machine takes the event of step 5"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_wrong_step_is_logged_with_its_number(followed, history, capfd, name):
    bend, why = BENT[name]
    for step in history[:4]:
        followed.act(*step)
    state, event, outcome = history[4]
    assert isinstance(event, distributor.ConnectionRequest)
    followed.act(state, event, bend(outcome))
    for step in history[5:7]:
        followed.act(*step)

    verified, unchecked, diverged = followed.read()

    assert diverged == 1 and verified == 4
    printed = capfd.readouterr().err
    assert "DIVERGENCE of distributor 0 1 at step" in printed and why in printed
    assert "step 5: ConnectionRequest(port=4049, cookie=100)" in printed
    assert verified + unchecked + diverged == 7


def test_a_false_guard_is_logged_with_its_sentence(followed, history, capfd):
    place = next(i for i, step in enumerate(history) if isinstance(step[2], Rejected))
    for step in history[:place]:
        followed.act(*step)
    state, event, _ = history[place]
    followed.trace.event(event, state)
    followed.trace.effect(distributor.ShutDown(Client(0, 100, PORT)))

    assert followed.read() == (place, 0, 1)
    printed = capfd.readouterr().err
    assert f"the machine declines the event of step {place + 1}" in printed
    assert "NOT_THIS_REQUEST: this client's request is not outstanding with the server" in printed


def test_a_broken_invariant_is_logged_with_its_sentence(followed, history, capfd, monkeypatch):
    for step in history[:20]:
        followed.act(*step)
    assert followed.read() == (20, 0, 0)
    monkeypatch.setattr(replay, "broken", lambda state: ("ranks_are_past",))
    followed.act(*history[20])

    assert followed.read() == (20, 0, 1)
    assert "breaks ranks_are_past: The next choice will be later than all that were made" in capfd.readouterr().err


def test_the_last_fifty_events_are_logged(followed, history, capfd):
    for step in history[:100]:
        followed.act(*step)
    followed.trace.effect(distributor.ShutDown(Client(0, 100, PORT)))
    assert followed.read() == (99, 0, 1)
    lines = capfd.readouterr().err.splitlines()
    steps = [line for line in lines if line.startswith("  step ")]
    assert len(steps) == 50
    assert steps[0].startswith("  step 51: ") and steps[-1].startswith("  step 100: ")
    assert "ShutDown" in steps[-1] and "declined: NOT_THIS_REQUEST, this client's request is not" in "".join(steps)


def test_after_a_divergence_checking_resumes_from_a_recorded_state(followed, history, capfd):
    for step in history[:30]:
        followed.act(*step)
    followed.trace.effect(distributor.ShutDown(Client(0, 100, PORT)))
    assert followed.read() == (29, 0, 1)
    for step in history[30:]:
        followed.act(*step)
    assert followed.read() == (len(history) - 1, 0, 1)
    assert "DIVERGENCE" in capfd.readouterr().err


def test_further_divergences_are_only_counted(followed, history, capfd):
    for step in history[:20]:
        followed.act(*step)
        followed.trace.effect(distributor.ShutDown(Client(0, 1, PORT)))
        followed.trace._sink._next_state = 0.0
        followed.read()
    assert followed.read()[2] > verifier_process.IN_FULL
    printed = capfd.readouterr().err
    assert printed.count("DIVERGENCE") == verifier_process.IN_FULL and printed.count("are counted only") == 1


def test_a_wrong_state_without_a_wrong_effect_is_found(followed, history, capfd, monkeypatch):
    monkeypatch.setattr(verifier_process, "COMPARE", 0.0)
    for step in history[:20]:
        followed.act(*step)
    assert followed.read() == (20, 0, 0)
    state, event, outcome = history[20]

    followed.act(replace(state, next_rank=state.next_rank + 5), event, outcome)

    assert followed.read() == (20, 0, 1)
    printed = capfd.readouterr().err
    assert f"next_rank is {state.next_rank + 5}, should be {state.next_rank}" in printed


# ---------------------------------------------------------------- gaps


def fill(followed, steps):
    """Let the machine take steps that nobody reads, until some are dropped; how many it took."""
    for number, step in enumerate(steps, 1):
        followed.act(*step)
        if followed.trace._sink._header[MachineHeader.DROPPED] == 20:
            return number
    raise AssertionError("it never ends")


def test_a_full_ring_drops_and_counts_steps_and_resumes_from_a_state(rings, followed, capfd):
    steps = life()
    took = fill(followed, steps)
    assert rings.sums() == (took, 20)
    assert followed.read() == (took - 20, 0, 0)

    for step in itertools.islice(steps, 30):
        followed.act(*step)

    assert followed.read() == (took - 20 + 30, 0, 0)
    assert rings.sums() == (took + 30, 20)
    printed = capfd.readouterr().err
    assert f"20 steps not checked: steps {took - 19} to {took}; it is checked again from step {took + 1}" in printed


def test_a_wrong_step_within_a_gap_is_found_by_its_state(followed, capfd):
    """What happened in the gap is not checked, but the state that it led to must keep the invariants."""
    steps = life()
    fill(followed, steps)
    followed.read()
    state, event, outcome = next(steps)
    followed.act(replace(state, waiting=state.waiting + 1), event, outcome)
    assert followed.read()[2] == 1
    assert "breaks waiting_total_is_true: The number of those who wait" in capfd.readouterr().err


def test_no_state_is_encoded_while_the_ring_is_full(followed, history, monkeypatch):
    fill(followed, life())
    monkeypatch.setattr(encoding, "encode", lambda record: pytest.fail("this takes time"))
    for step in history:
        followed.act(*step)


def test_a_server_without_a_state_stays_unchecked_after_a_gap(rings, served, capfd):
    state = server.EndpointState()
    for event in (server.Bound(PORT), server.Listened(PORT)):
        served.act(None, event, server.step(state, event))
        state = server.step(state, event).state
    served.trace._sink._drop()
    for event in (server.MessageRead(PORT, InitialMsg(1)), server.MessageRead(PORT, HandOff(Client(0, 9, PORT)))):
        served.act(None, event, server.step(state, event))
        state = server.step(state, event).state
    assert served.read() == (2, 0, 0)
    assert rings.sums()[1] == 3

    event = server.Disconnected(Client(0, 9, PORT))
    served.act(state, event, server.step(state, event))

    assert served.read() == (3, 0, 0)
    assert "2 steps not checked: steps 3 to 4; it is checked again from step 5" in capfd.readouterr().err


def test_a_state_that_is_too_large_is_not_written(followed, history, monkeypatch):
    monkeypatch.setattr(encoding, "MAX_ENTRIES", 0)
    for step in history[:10]:
        followed.act(*step)
    followed.trace._sink._drop()
    for step in history[10:]:
        followed.act(*step)
    assert followed.read() == (10, 0, 0)


def test_a_step_with_a_dropped_effect_is_not_verified(followed, history):
    for step in history[:4]:
        followed.act(*step)
    state, event, outcome = history[4]
    followed.trace.event(event, state)
    followed.trace.effect(outcome.effects[0])
    followed.trace._sink._drop()
    for effect in outcome.effects[1:]:
        followed.trace.effect(effect)
    assert followed.read() == (4, 0, 0)
    for step in history[5:9]:
        followed.act(*step)
    assert followed.read() == (8, 0, 0)


def test_after_damage_checking_resumes_from_a_recorded_state(followed, history, capfd):
    for step in history[:10]:
        followed.act(*step)
    assert followed.read() == (10, 0, 0)
    for step in history[10:12]:
        followed.act(*step)
    rings = followed.trace._sink._ring
    rings._records[rings.header[MachineHeader.READ] % ROOM + 9] ^= 255
    for _ in range(ring.PATIENCE + 1):
        followed.read()
    for step in history[12:]:
        followed.act(*step)
    assert followed.read() == (len(history) - 2, 0, 0)
    printed = capfd.readouterr().err
    assert "its records are damaged" in printed
    assert "2 steps not checked: steps 11 to 12" in printed


def test_records_that_no_encoder_writes_are_reported_and_harmless(followed, history, capfd):
    junk = [
        b"[]",
        b"{",
        b"[3]",
        b"[" * 30_000,
        b'["event",1,2,["Nonsense"]]',
        b'["effect",["Nonsense"]]',
        b"\xff",
        b'["start",{}]',
    ]
    for number, step in enumerate(history):
        followed.trace._sink._ring.put(junk[number % len(junk)])
        followed.trace._sink._next_state = 0.0
        followed.read()
        followed.act(*step)
    assert followed.read() == (len(history), 0, 0)
    assert capfd.readouterr().err.count("a record makes no sense") == len(history)


# ---------------------------------------------------------------- several processes of a server


def test_a_killed_process_of_a_server_is_no_divergence(rings, served, monkeypatch):
    state = server.EndpointState()
    for event in (server.Bound(PORT), server.Listened(PORT)):
        served.act(state, event, server.step(state, event))
        state = server.step(state, event).state
    hand_off = server.MessageRead(PORT, HandOff(Client(0, 9, PORT)))
    served.trace.event(hand_off, state)  # and is killed before the step is saved
    other = Trace(rings.fds[SERVER], SERVER)
    monkeypatch.setattr(encoding, "os", types.SimpleNamespace(getpid=lambda: 1 << 22))
    served.trace = other
    for event in (server.MessageRead(PORT, InitialMsg(1)), hand_off):
        served.act(state, event, server.step(state, event))
        state = server.step(state, event).state
    verified, unchecked, diverged = served.read()
    assert (verified, unchecked, diverged) == (5, 0, 0)
    assert rings.sums() == (5, 0)


def test_forked_processes_share_one_ring_and_one_numbering(rings, served):
    state, pids = server.EndpointState(), []
    for event in (server.Bound(PORT), server.Listened(PORT), server.MessageRead(PORT, InitialMsg(1))):
        outcome = server.step(state, event)
        pid = os.fork()
        if pid == 0:
            served.act(state, event, outcome)
            os._exit(0)
        pids.append(pid)
        os.waitpid(pid, 0)
        state = outcome.state
    assert served.read() == (3, 0, 0)
    assert rings.sums() == (3, 0)


def test_a_process_killed_before_it_saved_a_step_without_effects_is_no_divergence(rings, served, monkeypatch):
    state = server.EndpointState()
    served.trace.event(server.Bound(PORT), state)  # and is killed before the step is saved
    served.read()
    monkeypatch.setattr(encoding, "os", types.SimpleNamespace(getpid=lambda: 1 << 22))
    served.trace._sink._header[MachineHeader.WANTED] = 1
    served.act(state, server.Bound(PORT + 1), server.step(state, server.Bound(PORT + 1)))
    assert served.read()[2] == 0
    state = server.step(state, server.Bound(PORT + 1)).state

    served.trace._sink._header[MachineHeader.WANTED], served.trace._sink._next_state = 1, 0.0
    served.act(server.EndpointState(), server.Listened(PORT + 1), server.step(state, server.Listened(PORT + 1)))

    assert served.read()[2] == 1  # the same process has not forgotten what it did


# ---------------------------------------------------------------- asking for the state


def test_the_state_is_written_on_request_but_not_too_often(followed, history):
    numbers = followed.trace._sink._header
    numbers[MachineHeader.WANTED] = 1
    followed.act(*history[0])
    assert numbers[MachineHeader.WANTED] == 0
    numbers[MachineHeader.WANTED] = 1
    followed.act(*history[1])
    assert numbers[MachineHeader.WANTED] == 1
    followed.trace._sink._next_state = 0.0
    followed.act(*history[2])
    assert numbers[MachineHeader.WANTED] == 0
    assert followed.read() == (3, 0, 0)


def test_a_machine_whose_start_was_dropped_is_checked_from_its_first_step(rings, history, capfd):
    rings.add("distributor 0 2", 1 << 13)
    made = Followed(rings, "distributor 0 2")
    made.trace.start(**{**ARGUMENTS, "listeners": ((PORT, "x" * (1 << 13)),)})
    for step in history[:10]:
        made.act(*step)
    assert made.read() == (10, 0, 0)
    assert capfd.readouterr().err == ""


def test_a_machine_whose_start_is_damaged_is_asked_for_its_state(rings, followed, history):
    followed.trace._sink._ring._records[9] ^= 255
    for _ in range(ring.PATIENCE):
        followed.read()
    for step in history[:10]:
        followed.act(*step)
        followed.read()
    assert followed.read() == (9, 1, 0)


def test_a_missing_step_number_is_a_gap(followed, history, capfd):
    for step in history[:10]:
        followed.act(*step)
    followed.trace._sink._header[MachineHeader.BEGUN] += 1
    followed.act(*history[10])
    assert followed.read() == (10, 1, 0)
    for step in history[11:20]:
        followed.act(*step)
    assert followed.read() == (19, 1, 0)
    assert "2 steps not checked: steps 11 to 12; it is checked again from step 13" in capfd.readouterr().err


def test_two_missing_steps_of_a_server_are_a_gap(served, monkeypatch):
    state = server.EndpointState()
    served.act(state, server.Bound(PORT), server.step(state, server.Bound(PORT)))
    monkeypatch.setattr(encoding, "os", types.SimpleNamespace(getpid=lambda: 1 << 22))
    state = server.step(state, server.Bound(PORT)).state
    served.trace._sink._header[MachineHeader.BEGUN] += 2
    served.act(state, server.Listened(PORT), server.step(state, server.Listened(PORT)))
    assert served.read() == (1, 1, 0)


def test_steps_dropped_at_the_end_of_a_machine_are_logged(rings, followed, history, capfd):
    for step in history[:10]:
        followed.act(*step)
    followed.read()
    for _ in range(5):
        followed.trace._sink._header[MachineHeader.BEGUN] += 1
        followed.trace._sink._drop()
    rings.over(WHO)
    assert followed.read() == (10, 0, 0)
    assert [machine.who for machine in followed.verifier._machines] == [SERVER]
    assert (
        plain(capfd.readouterr().err)
        == "maitred: verify: distributor 0 1: 5 steps not checked: up to its last one, step 15\n"
    )


# ---------------------------------------------------------------- the Monitor's side


@pytest.fixture
def keeper():
    made = Verifier(verifier_process.run)
    yield made
    made.close()


def no_room(*_):
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_no_memory_for_the_ring_is_a_configuration_error(tmp_path, monkeypatch, capfd):
    single = {"verify": "", "control": str(tmp_path / "c"), "static": "1"}
    config = options.configure(options.Options(Program("module", "json", ()), ["127.0.0.1:9"], single))
    monkeypatch.setattr(ring.os, "memfd_create", no_room)
    assert shell_monitor.run(config, verifier_process.run) == shell_monitor.UNUSABLE
    printed = capfd.readouterr().err
    assert plain(printed) == "maitred: there is no memory for what the verifier reads: Cannot allocate memory\n"


def test_a_verifier_that_cannot_start_is_logged_and_harms_nothing(keeper, monkeypatch, capfd):
    monkeypatch.setattr(launch, "Handed", no_room)
    keeper.start(Loop())
    assert keeper.status()["pid"] is None and not keeper.reap()
    assert "the verifier cannot be started, so no step will be verified: Cannot" in capfd.readouterr().err


def test_a_machine_without_memory_for_its_ring_is_logged_and_harms_nothing(keeper, monkeypatch, capfd):
    monkeypatch.setattr(ring, "create", no_room)
    assert keeper.add(SERVER) is None
    assert plain(capfd.readouterr().err) == "maitred: no step of server 0 1 will be verified: Cannot allocate memory\n"
    assert not Trace(None, SERVER).wanted


def test_the_status_has_all_numbers(keeper):
    trace = Trace(keeper.add(WHO), WHO)
    trace.start(**ARGUMENTS)
    for _ in range(3):
        trace.event(Begin())
    trace._sink._drop()
    assert keeper.status() == {
        "pid": None,
        "steps": 3,
        "verified": 0,
        "dropped": 1,
        "unchecked": 0,
        "divergences": 0,
    }
    keeper.over(WHO)
    assert str(keeper) == "verified: 0 of 3 steps; 1 dropped, 0 came while the state was not known; 0 divergences"
