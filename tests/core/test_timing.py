"""How long each timer runs."""

from itertools import pairwise

import pytest
from tests.core.driving import client, parts

from maitred.core import distributor, monitor
from maitred.core.timing import Durations, backoff, duration

EACH = Durations(
    queue_timeout=1,
    hand_off_timeout=2,
    create_delay=3,
    delete_delay=4,
    rest=5,
    accept_retry=6,
    audit_period=7,
    backoff_first=8,
    backoff_cap=100,
    stable_after=9,
    start_warning=10,
    grace=11,
    kill_delay=12,
)

EXPECTED = [
    (distributor.QueueTimeout(client(1)), 1),
    (distributor.HandOffTimeout(1), 2),
    (distributor.CreateDelay(), 3),
    (distributor.DeleteDelay(1), 4),
    (distributor.RestOver(1), 5),
    (distributor.AcceptRetry(80), 6),
    (distributor.AuditDue(), 7),
    (monitor.RestartServer(0, 0, 0), 8),
    (monitor.RestartServer(0, 0, 1), 12),
    (monitor.DynamicRest(0, 0), 8),
    (monitor.DynamicRest(0, 1), 12),
    (monitor.RestartDistributor(0, 0), 0),
    (monitor.RestartDistributor(0, 1), 12),
    (monitor.RestartDistributor(0, 2), 18),
    (monitor.ServerStable(0, 1), 9),
    (monitor.DistributorStable(0, 1), 9),
    (monitor.StartWarning(0, 1), 10),
    (monitor.GraceOver(), 11),
    (monitor.KillDelay(0, 1), 12),
    (monitor.DrainOver(0, 1), 11),
]


@pytest.mark.parametrize(("timer", "seconds"), EXPECTED, ids=lambda value: type(value).__name__)
def test_each_timer_runs_for_its_duration(timer, seconds):
    assert duration(EACH, timer) == seconds


def test_every_timer_of_the_machines_has_a_duration():
    assert {type(timer) for timer, _ in EXPECTED} == {*parts(distributor.Timer), *parts(monitor.Timer)}


def test_the_delay_before_a_restart_grows_by_half_up_to_the_cap():
    delays = [backoff(Durations(), attempt) for attempt in range(30)]
    assert delays[:4] == pytest.approx([0.1, 0.15, 0.225, 0.3375])
    assert all(later == min(delay * 1.5, 30.0) for delay, later in pairwise(delays))
    assert delays[-1] == 30.0


def test_however_often_it_has_died_the_delay_is_the_cap_and_is_found_at_once():
    assert backoff(Durations(), 10**18) == 30.0


def test_the_defaults_are_those_of_the_design():
    usual = Durations()
    assert (usual.queue_timeout, usual.create_delay, usual.delete_delay) == (30, 0.5, 60)
    assert (usual.backoff_first, usual.backoff_cap, usual.grace) == (0.1, 30, 30)
