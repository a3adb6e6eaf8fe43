"""How long each timer of the machines runs, from the configured `Durations` (the core itself reads no clock)."""

from __future__ import annotations

from typing import assert_never

from maitred.core import distributor, monitor
from maitred.core.durations import Durations as Durations


def backoff(durations: Durations, attempt: int) -> float:
    """The delay before restart number ``attempt`` (from 0): x1.5 each time, up to the cap, in seconds."""
    delay = durations.backoff_first
    for _ in range(min(attempt, 64)):
        delay = min(delay * 1.5, durations.backoff_cap)
    return delay


def duration(durations: Durations, timer: distributor.Timer | monitor.Timer) -> float:
    """How long the timer runs, in seconds."""
    match timer:
        case distributor.QueueTimeout():
            return durations.queue_timeout
        case distributor.HandOffTimeout():
            return durations.hand_off_timeout
        case distributor.RestOver():
            return durations.rest
        case distributor.CreateDelay():
            return durations.create_delay
        case distributor.DeleteDelay():
            return durations.delete_delay
        case distributor.AcceptRetry():
            return durations.accept_retry
        case distributor.AuditDue():
            return durations.audit_period
        case monitor.RestartDistributor(attempt=0):
            return 0.0  # clients wait, and a standby is there
        case monitor.RestartServer() | monitor.DynamicRest() | monitor.RestartDistributor():
            return backoff(durations, timer.attempt)
        case monitor.ServerStable() | monitor.DistributorStable():
            return durations.stable_after
        case monitor.StartWarning():
            return durations.start_warning
        case monitor.GraceOver() | monitor.DrainOver():
            return durations.grace
        case monitor.KillDelay():
            return durations.kill_delay
        case _:
            assert_never(timer)
