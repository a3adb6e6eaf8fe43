"""What the kernel says of a process, for tests: how it is, and who its children are."""

from pathlib import Path


def state_of(pid):
    """One letter, as in ps; raises OSError where there is no such process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def alive(pid):
    """Whether the process runs (a zombie does not)."""
    try:
        return state_of(pid) not in "ZX"
    except OSError:
        return False


def children(pid):
    """The pids of its main thread's children now; of a process that has gone, none."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
