"""What the kernel does for processes: signals that hit no stranger, orphans that come home, CPUs that are there."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36


def send_signal(pidfd: int, number: int) -> bool:
    """Signal the process behind the pidfd; whether it was still there."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def become_subreaper() -> None:
    """Have orphans among this process's descendants become its children, so that none gets out of sight.

    Raises:
        OSError: the kernel declines.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def online_cpus(text: str | None = None) -> frozenset[int]:
    """The CPUs that are online; ``text`` in the kernel's form, as ``0-3,8``, else asked of the kernel."""
    if text is None:
        try:
            with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
                text = file.read()
        except OSError:
            return frozenset(range(os.cpu_count() or 1))
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
