"""A process that is started heeds nothing from the terminal before it has a session of its own."""

import os
import signal

from tests.shell.instance import eventually

from maitred.shell.io import kernel
from maitred.shell.supervise import launch


def report_mask(fd, handed):
    """The process: which signals it holds back at first, and once it has left the terminal."""
    del handed
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    kernel.leave_terminal()
    after = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    os.write(fd, f"{sorted(map(int, before))} {sorted(map(int, after))} {os.getsid(0) == os.getpid()}".encode())


def test_the_terminal_is_held_back_until_a_process_has_left_it():
    held_before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    r, w = os.pipe()
    child = launch.start(report_mask, w, (w,))
    os.close(w)
    try:
        assert os.read(r, 1_000).decode() == f"{sorted(map(int, kernel.FROM_TERMINAL))} [] True"
        eventually(lambda: child.exitcode() == 0, what="it ends")
    finally:
        child.close()
        os.close(r)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == held_before
