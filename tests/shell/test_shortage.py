"""The Monitor when descriptors run out: nothing it holds for others is lost, and it neither dies nor spins."""

import errno
import json
import os
import resource
import select
import socket
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from tests.shell.bare import bare as bare_monitor
from tests.shell.instance import Instance

from maitred.core import distributor as core_distributor
from maitred.core import messages
from maitred.core import monitor as core
from maitred.core.messages import Client
from maitred.core.timing import Durations
from maitred.shell import distributor
from maitred.shell.distributor import DistributorSpec
from maitred.shell.distributor_status import status_of
from maitred.shell.io import channel
from maitred.shell.io.loop import Loop
from maitred.shell.supervise import status
from maitred.shell.supervise.spares import Spares

pytestmark = pytest.mark.system


@contextmanager
def no_descriptor_left():
    """Not one more can be opened in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def bare():
    with bare_monitor() as made:
        yield made


def test_a_distributor_that_can_open_no_queue_ends_and_reports_why(tmp_path, capfd):
    """FIG. 6 step 94.  That it is started again, later and later, is the Monitor's ordinary way with the dead."""
    spec = DistributorSpec(
        *(0, "web", 1, 0, 100, (), True, Durations(), tuple(os.sched_getaffinity(0))),
        channel=0,
        status=0,
        trace=None,
        kept=(),
    )
    pid = os.fork()
    if not pid:
        with suppress(SystemExit), no_descriptor_left():
            distributor.run(spec, None)
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    printed = capfd.readouterr().err
    assert "the Distributor of web cannot start: Too many open files" in printed
    assert "Traceback" not in printed


def fill(send):
    with suppress(BlockingIOError):
        while True:
            send()


def received(far):
    packets = []
    while True:
        try:
            packets.append(channel.receive(far))
        except BlockingIOError:
            return packets


def test_a_server_whose_dialog_is_lost_on_the_way_is_replaced(bare, capfd):
    bare.servers.held[7] = SimpleNamespace(dialogs={})
    channel.send(bare.far, messages.KeepDialog(7, 80), [0])
    assert bare.distributors._read(bare.distributor)
    assert list(bare.servers.held[7].dialogs) == [80]

    channel.send(bare.far, messages.KeepDialog(7, 81))
    assert bare.distributors._read(bare.distributor)

    assert list(bare.servers.held[7].dialogs) == [80]
    assert bare.received == [core.Reported(0, messages.KeepDialog(7, 80)), core.Reported(0, messages.Unresponsive(7))]
    assert "KeepDialog of web came without" in capfd.readouterr().err
    os.close(bare.servers.held[7].dialogs[80])


def test_who_waits_is_given_back_by_a_monitor_that_has_no_descriptor_left(bare):
    clients = [Client(n, 1000 + n, 80) for n in range(3)]
    pipes = [os.pipe() for _ in clients]
    bare.kept.clients = {(0, client): reader for client, (reader, _) in zip(clients, pipes, strict=True)}
    fill(lambda: channel.send(bare.distributor.channel, messages.Begin()))

    with no_descriptor_left():
        for client in clients:
            bare.distributors.tell(core.SendDistributor(0, messages.Restore(client)))
        gone = messages.Adopt(9, 1, 1, dynamic=False, draining=False, dialogs=(), owed=())
        bare.distributors.tell(core.SendDistributor(0, gone))  # the server is none of ours any more

    received(bare.far)
    bare.distributors._flush(bare.distributor)
    packets = received(bare.far)
    assert [packet.message for packet in packets] == [messages.Restore(client) for client in clients]
    for packet, (reader, _) in zip(packets, pipes, strict=True):
        assert len(packet.fds) == 1 and os.path.sameopenfile(packet.fds[0], reader)
    for fd in [fd for packet in packets for fd in packet.fds] + [fd for pipe in pipes for fd in pipe]:
        os.close(fd)


@pytest.mark.parametrize("owner", ["channel", "socket"])
def test_a_distributor_for_which_there_is_no_socket_is_one_that_has_ended(bare, monkeypatch, capfd, owner):
    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    if owner == "channel":
        monkeypatch.setattr(channel, "pair", refuse)
    else:
        monkeypatch.setattr(socket, "socketpair", refuse)

    bare.distributors.start(core.StartDistributor(0, 2, 0, (), 0))

    assert bare.received == [core.DistributorExited(0)]
    assert "the Distributor of web cannot be started: Too many open files" in capfd.readouterr().err


def test_what_is_spared_is_there_for_a_distributor():
    spares = Spares()
    spares.fill()
    with no_descriptor_left():
        with pytest.raises(OSError, match="Too many open files"):
            channel.pair()

        spares.release()

        ends = channel.pair()
        spares.fill()
        with pytest.raises(OSError, match="Too many open files"):
            channel.pair()
    spares.release()
    for end in ends:
        end.close()


def test_a_distributor_that_cannot_be_asked_does_not_mix_up_the_next_answers(bare, monkeypatch):
    monkeypatch.setattr(status, "build", lambda config, state, pids, running, parts, *rest: parts)
    replies = []
    bare.requests.answer_status(replies.append)
    bare.asked.sendall(json.dumps(PART).encode() + b"\n")
    bare.distributor.inquiry._on_answer(0)
    assert replies == [{0: PART}]
    fill(lambda: bare.distributor.inquiry._stream.send(b"?\n"))

    bare.requests.answer_status(replies.append)

    assert replies[1:] == [{0: None}]
    assert not bare.distributor.inquiry._asking


PART = status_of(
    core_distributor.initial(1, 0, 1, ((80, "*:80"),), True),
    {
        "totals": {},
    },
)


def but(**changes):
    return json.dumps({**PART, **changes}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"1" * 5_000,
        b"null",
        b"{}",
        but(phase=1),
        but(waiting="1"),
        but(ports=[1]),
        but(ports=[{"port": [[]]}]),
        but(waiting_list={}),
        but(totals=[]),
        but(totals={"taken": []}),
        but(servers=[]),
        but(servers={"1": 1}),
        but(servers={"1": {"clients": "1", "outstanding": None, "dialogs": []}}),
        but(servers={"1": {"clients": 1, "outstanding": [], "dialogs": []}}),
        but(servers={"1": {"clients": 1, "outstanding": None, "dialogs": [[]]}}),
        but() + b"\n" + but(),  # one more than was asked for
    ],
    ids=lambda answer: repr(answer[:12] + answer[-12:]),
)
def test_the_monitor_does_not_die_of_what_a_distributor_answers(bare, monkeypatch, capfd, answer):
    monkeypatch.setattr(status, "build", lambda config, state, pids, running, parts, *rest: parts)
    replies = []
    bare.requests.answer_status(replies.append)
    bare.asked.sendall(answer + b"\n")
    while not capfd.readouterr().err:
        bare.distributor.inquiry._on_answer(0)
    assert replies == [{0: PART if answer.startswith(but()) else None}]

    bare.requests.answer_status(replies.append)  # it is not asked again

    assert replies[1:] == [{0: None}]


def test_an_answer_without_an_end_is_none(bare, monkeypatch, capfd):
    monkeypatch.setattr(status, "LONGEST_PART", 100_000)
    monkeypatch.setattr(status, "build", lambda config, state, pids, running, parts, *rest: parts)
    replies = []
    bare.requests.answer_status(replies.append)
    for _ in range(3):
        bare.asked.sendall(b" " * 50_000)
        bare.distributor.inquiry._on_answer(0)
    assert replies == [{0: None}] and not bare.distributor.inquiry._answers
    assert "answers with what is no status" in capfd.readouterr().err


def test_the_control_socket_waits_for_descriptors_without_spinning(tmp_path):
    loop = Loop()
    control = status.ControlServer(loop, tmp_path / "control", lambda request, reply: reply({"asked": request}))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control"))
        client.sendall(b'{"request": "x"}\n')
        turns, until = 0, time.monotonic() + 0.3
        with no_descriptor_left():
            while time.monotonic() < until:
                loop.turn(0.1)
                turns += 1
        assert turns < 30

        while not select.select([client], [], [], 0)[0]:
            loop.turn(0.05)

        assert json.loads(client.recv(1000)) == {"asked": {"request": "x"}}
    control.close()


def test_what_lies_in_the_monitor_s_directory_is_not_run(tmp_path, monkeypatch):
    """Nor does the environment of the server show how its process was made."""
    for name in ("json", "pickle", "struct", "runpy"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the wrong {name}')")
    (tmp_path / "program").mkdir()
    program = tmp_path / "program" / "show.py"
    program.write_text(
        "import os, sys\nprint('sees', os.environ.get('PYTHONSAFEPATH'), sys.path[0], '' in sys.path, flush=True)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    instance = Instance(tmp_path, static=1, program=str(program), args=[])
    try:
        instance.wait_logged(f"sees None {tmp_path / 'program'} False")
        assert "the wrong" not in instance.logged()
    finally:
        instance.stop()
