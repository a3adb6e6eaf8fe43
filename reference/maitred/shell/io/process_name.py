"""Names our processes, so that ``ps -e``, ``top`` and ``pgrep`` tell them apart.

It is the name of the process alone (proc_pid_comm(5)).  The command line and the environment that the kernel shows stay
as they were: they say what runs, and what a dead Monitor has left is found by them.
"""

from __future__ import annotations

import os


def name_process(name: str) -> None:
    """Name this process; the kernel keeps the first 15 bytes."""
    try:
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(os.fsencode(name))
    except OSError:
        return  # a /proc that may not be written to: a name is a convenience
