"""The log waits for no reader and lets nobody outside write its lines; files that are written to are ours."""

import contextlib
import os
import pty
import socket
import termios
import threading
from types import SimpleNamespace

import pytest
from tests.log import PREFIX, plain
from tests.shell.fake import descriptors_at_rest
from tests.shell.instance import eventually

from maitred.shell.io import report


@pytest.fixture
def stderr(monkeypatch):
    """Puts a descriptor in the place of stderr."""

    def put(fd):
        stream = SimpleNamespace(fileno=lambda: fd)
        monkeypatch.setattr(report, "sys", SimpleNamespace(stderr=stream))  # pytest's own stays

    return put


@pytest.fixture
def pipe(stderr):
    """A pipe in the place of stderr: its two ends."""
    reader, writer = os.pipe()
    stderr(writer)
    yield reader, writer
    for thread in threading.enumerate():
        if thread.name == "maitred log":  # nobody may have read what it writes
            with contextlib.suppress(OSError):
                os.set_blocking(reader, False)
                os.read(reader, 1 << 16)
            thread.join()
    for end in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(end)


def fill(writer):
    """Leave no room in the pipe, and its flags as they were."""
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)


def within(seconds, call):
    """Call it in a thread of its own; whether it returned in time."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def drained(reader, until):
    """All that comes through the pipe, up to a text."""
    content = b""
    while until not in content:
        piece = os.read(reader, 1 << 16)
        assert piece, content[-1000:]
        content += piece
    return plain(content.lstrip(b"x").decode())


# ---------------------------------------------------------------- time and level


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_each_line_begins_with_its_time_in_utc_and_its_level(pipe, monkeypatch, level):
    monkeypatch.setenv("TZ", "JST-9")
    report.time.tzset()
    monkeypatch.setenv(report.DEBUG, "1")
    monkeypatch.setattr(report.time, "time", lambda: 1_700_000_000.0417)
    getattr(report, level)("server 1 of web ended")
    monkeypatch.undo()
    report.time.tzset()
    assert os.read(pipe[0], 1000).decode() == f"2023-11-14T22:13:20.041Z [{level}] maitred: server 1 of web ended\n"


def test_what_belongs_to_a_line_has_no_time_of_its_own(pipe):
    report.error("an event", "more of it")
    first, more = os.read(pipe[0], 1000).decode().splitlines()
    assert PREFIX.match(first) and more == "  more of it"


# ---------------------------------------------------------------- nobody waits


def test_what_nobody_reads_is_kept_up_to_a_bound_and_the_rest_is_counted(pipe, monkeypatch):
    monkeypatch.setattr(report, "MOST", 2000)
    reader, writer = pipe
    fill(writer)

    def talk():
        for number in range(1000):
            report.info(f"line {number}", "and more of it")

    with report.in_background():
        assert within(5, talk), "it waits for a reader"
        printed = drained(reader, b"dropped here").splitlines()
        report.info("heard again")
        assert drained(reader, b"again\n").splitlines()[-1] == "maitred: heard again"
    kept = [line for line in printed if line.startswith("maitred: line")]
    assert kept == [f"maitred: line {number}" for number in range(len(kept))] and 0 < len(kept) < 100
    assert printed[-1] == f"maitred: {2 * (1000 - len(kept))} lines dropped here, as nobody read the log"
    assert os.get_blocking(writer), "others write there as well"


def test_a_terminal_at_ctrl_s_stops_nothing(stderr):
    ours, theirs = pty.openpty()
    try:
        stderr(theirs)
        termios.tcflow(theirs, termios.TCOOFF)
        with report.in_background():
            assert within(5, lambda: report.info("a line")), "it waits for Ctrl-Q"
            termios.tcflow(theirs, termios.TCOON)
            assert plain(os.read(ours, 100).decode()) == "maitred: a line\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_where_no_thread_of_ours_is_a_line_that_is_not_taken_at_once_is_dropped(pipe):
    """So in a server: its program's threads and forks are its own affair."""
    reader, writer = pipe
    fill(writer)
    before = threading.enumerate()  # that of an earlier test may be ending still
    assert within(5, lambda: report.info("a line")), "it waits for a reader"
    assert not any(thread.name == "maitred log" for thread in threading.enumerate() if thread not in before)
    os.read(reader, 1 << 16)
    report.info("another")
    assert drained(reader, b"\n") == "maitred: another\n"


def test_a_process_ends_though_nobody_reads_its_last_words(pipe, monkeypatch):
    monkeypatch.setattr(report, "LAST_WORDS", 0.01)
    fill(pipe[1])

    def live():
        with report.in_background():
            report.info("a line")

    assert within(5, live), "its end waits for a reader"


def test_the_last_words_are_waited_for(pipe):
    with report.in_background():
        for number in range(100):
            report.info(f"line {number}")
    os.close(pipe[1])
    printed = plain(os.read(pipe[0], 1 << 16).decode()).splitlines()
    assert printed == [f"maitred: line {number}" for number in range(100)]


def test_a_reader_that_is_gone_stops_nothing(pipe):
    os.close(pipe[0])
    with report.in_background():
        report.info("to nobody")
    report.info("to nobody")


def test_a_socket_that_does_not_wait_is_waited_for_by_the_thread_alone(stderr):
    """As the journal's; and whoever shares it may have set that it does not block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        stderr(theirs.fileno())
        with contextlib.suppress(BlockingIOError):
            while True:
                theirs.send(b"x" * 4096)
        with report.in_background():
            assert within(5, lambda: report.info("a line"))
            assert drained(ours.fileno(), b"\n") == "maitred: a line\n"


def test_where_no_thread_can_be_made_lines_wait_for_one(pipe, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    with report.in_background():
        with monkeypatch.context() as context:
            context.setattr(threading.Thread, "start", none)
            report.info("early")
        report.info("late")
        assert drained(pipe[0], b"late\n") == "maitred: early\nmaitred: late\n"


# ---------------------------------------------------------------- nobody outside writes lines


@pytest.mark.parametrize("bad", ["a\nmaitred: ready", "\x1b[2J", "\x9b2J", "\r", "\u202e", "\udcff", "\0"])
def test_what_comes_from_outside_moves_no_cursor_and_begins_no_line(pipe, bad):
    report.info(f"name {bad}", f"more of {bad}")
    first, more = drained(pipe[0], b"more").splitlines()
    assert first.startswith("maitred: name ") and first.isprintable()
    assert more.startswith("  more")


def test_a_line_has_an_end(pipe):
    report.info("x" * 1_000_000)
    assert len(drained(pipe[0], b"\n")) < 2 * report.LONGEST


# ---------------------------------------------------------------- files


def test_a_file_is_made_for_our_eyes_and_appended_to(tmp_path):
    path = tmp_path / "file"
    for empty, content in ((False, "one"), (False, "oneone"), (True, "one")):
        fd = report.open_file(path, empty=empty)
        os.write(fd, b"one")
        assert os.get_blocking(fd)
        os.close(fd)
        assert path.read_text() == content
    assert path.stat().st_mode & 0o777 == 0o600


def link(path):
    path.with_name("other").write_text("precious")
    path.symlink_to(path.with_name("other"))


def hard_link(path):
    path.with_name("other").write_text("precious")
    path.hardlink_to(path.with_name("other"))


def foreign(path):
    if os.geteuid():
        pytest.skip("only root can give a file away")
    path.write_text("precious")
    os.chown(path, 4242, -1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (link, "symbolic link"),
        (hard_link, "hard link"),
        (foreign, "belongs to user 4242"),
        (os.mkfifo, "no regular file"),
        (lambda path: path.mkdir(), "directory"),
    ],
    ids=["link", "hard link", "foreign", "fifo", "directory"],
)
def test_what_is_not_a_file_of_ours_is_refused_and_left_as_it_is(tmp_path, make, why):
    path = tmp_path / "file"
    make(path)
    before = descriptors_at_rest()
    refused = []

    def attempt():
        try:
            report.open_file(path, empty=True)
        except OSError as error:
            refused.append(error.strerror)

    assert within(5, attempt), "it waits for somebody to read the pipe"
    assert why in refused[0].lower()
    assert os.listdir("/proc/self/fd") == before
    assert not path.is_file() or path.read_text() == "precious"


def test_a_device_is_no_file_of_ours():
    with pytest.raises(OSError, match=r"regular file|belongs"):
        report.open_file("/dev/full", empty=True)


def test_a_pipe_that_is_read_is_no_file_either(tmp_path):
    os.mkfifo(tmp_path / "file")
    reader = os.open(tmp_path / "file", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="no regular file"):
            report.open_file(tmp_path / "file", empty=False)
    finally:
        os.close(reader)


def test_threads_end_with_their_process_alone():
    """The thread of the log is a daemon: it must keep no process from ending."""
    with report.in_background():
        report.info("")
        eventually(lambda: [thread for thread in threading.enumerate() if thread.name == "maitred log"])
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "maitred log")
