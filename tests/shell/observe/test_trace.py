"""The trace: lines that the core can read again, one write each; and a disk that is full."""

import json
import os
import resource
from typing import Any

import pytest

from maitred.core import distributor, monitor, record
from maitred.core.messages import Client
from maitred.core.transition import Reason
from maitred.shell.observe.trace import Trace

CLIENT = Client(3, 77, 4049)
EVENT = distributor.PeerClosed(CLIENT, reset=False, unread=True)
EFFECT = distributor.SetTimer(distributor.QueueTimeout(CLIENT))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "trace"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield path, fd
    os.close(fd)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_can_be_read_as_the_machines_values(file):
    path, fd = file
    config = monitor.ClassConfig(2, 0, 64, 100, (0,), ((80, "*:80"),), True)
    trace = Trace(fd, "monitor")
    trace.start(classes=(config,), weights=(1, 2))
    trace.event(EVENT)
    trace.effect(EFFECT)
    trace.rejected(Reason.NOT_HANG_UP)

    start, event, effect, rejected = lines(path)

    assert {line["who"] for line in (start, event, effect, rejected)} == {"monitor"}
    assert record.from_record(tuple[monitor.ClassConfig, ...], start["start"]["classes"]) == (config,)
    assert record.from_record(tuple[int, ...], start["start"]["weights"]) == (1, 2)
    assert record.from_record(distributor.Event, event["event"]) == EVENT
    assert record.from_record(distributor.Effect, effect["effect"]) == EFFECT
    assert Reason[rejected["rejected"]] is Reason.NOT_HANG_UP
    assert start["t"] <= event["t"] <= effect["t"]


def test_machines_that_share_a_file_do_not_mix_their_lines(file):
    path, fd = file
    pids = []
    for who in range(4):
        pid = os.fork()
        if pid == 0:
            trace = Trace(fd, f"server 0 {who}")
            for _ in range(200):
                trace.event(EVENT)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    written: Any = lines(path)
    assert len(written) == 800


def test_no_trace_is_wanted():
    trace = Trace(None, "monitor")
    assert not trace.wanted
    trace.start(unwritable=object())
    trace.event(object())


def test_a_full_disk_is_logged_once_and_stops_nothing(capfd):
    fd = os.open("/dev/full", os.O_WRONLY | os.O_APPEND)
    try:
        trace = Trace(fd, "monitor")
        for _ in range(3):
            trace.event(EVENT)
    finally:
        os.close(fd)
    printed = capfd.readouterr().err
    assert printed.count("the trace ends here") == 1 and "No space left" in printed
    assert not trace.wanted


def test_a_disk_that_takes_half_a_line_ends_the_trace(file, capfd):
    path, fd = file
    trace = Trace(fd, "monitor")
    trace.event(EVENT)
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        trace.event(EVENT)
        trace.event(EVENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.stat().st_size == size + 10
    assert capfd.readouterr().err.count("a part of a line") == 1
