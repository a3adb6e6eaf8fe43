"""How long each timer runs: the one place where durations are decided (the core itself reads no clock)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from maitred.core import distributor, monitor


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds; the defaults suit a network server on one machine."""

    queue_timeout: float = 30.0
    """How long a client may wait for a seat."""
    hand_off_timeout: float = 60.0
    """How long a server may leave a hand-off unanswered before it is taken for hung and killed."""
    request_timeout: float = 0.0
    """How long a server may have one client before it is taken for hung and killed; 0 for ever."""
    create_delay: float = 0.5
    """How long somebody must have waited before a dynamic server is started."""
    delete_delay: float = 60.0
    """How long a dynamic server is kept idle."""
    rest: float = 0.1
    """How long a server that refused a client is spared."""
    accept_retry: float = 0.05
    """How long to wait after an accept failed for want of descriptors."""
    audit_period: float = 5.0
    """How often the kernel is asked about the connections that servers count."""
    backoff_first: float = 0.1
    """The delay before a first restart; each further one waits half as long again."""
    backoff_cap: float = 30.0
    """The longest delay before a restart."""
    stable_after: float = 10.0
    """How long a process must live before its earlier deaths are forgotten."""
    start_warning: float = 10.0
    """How long a server may run without listening before this is reported."""
    grace: float = 30.0
    """How long a graceful stop waits for clients to leave."""
    kill_delay: float = 5.0
    """How long a server that was asked to end (SIGTERM) is given before it is killed."""


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
        case monitor.RestartServer() | monitor.DynamicRest() | monitor.RestartDistributor():
            return backoff(durations, timer.attempt)
        case monitor.ServerStable() | monitor.DistributorStable():
            return durations.stable_after
        case monitor.StartWarning():
            return durations.start_warning
        case monitor.GraceOver():
            return durations.grace
        case monitor.KillDelay():
            return durations.kill_delay
        case _:
            assert_never(timer)
