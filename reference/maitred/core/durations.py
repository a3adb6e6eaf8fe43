"""The durations that can be configured, with their defaults.

They are apart from `maitred.core.timing`, so that the help can show them without importing the machines.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """How long to wait after an accept failed because no descriptor was left."""
    sweep: float = 0.1
    """How long clients may stay in the backlog, unseen, while a server is about to be free."""
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
