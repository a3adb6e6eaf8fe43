"""A process that is ready to become the next Distributor: it has started Python and imported everything.

That takes most of the time that a new Distributor needs, and clients wait meanwhile.  So one standby is started ahead,
for all classes.  It waits on its end of a socket for its `DistributorSpec`, which comes with the descriptors: until
then it holds none of a listener, a dialog or a client, so clients see every close.

It is a child of the Monitor, as every Distributor is, so the Monitor learns of its end by its pidfd.  It ends when the
Monitor does.  Until its turn it stays in the Monitor's session, and ignores what a terminal sends to that.
"""

from __future__ import annotations

import pickle
import signal
import socket
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from maitred.shell import distributor
from maitred.shell.distributor import DistributorSpec
from maitred.shell.io import kernel, report
from maitred.shell.io.loop import Loop
from maitred.shell.io.process_name import name_process
from maitred.shell.supervise import launch
from maitred.shell.supervise.descendants import read_process
from maitred.shell.supervise.launch import Child

LONGEST_SPEC: Final = 1 << 16
"""Bytes of a specification that is sent; a Distributor with a longer one is started without a standby."""
MOST_DESCRIPTORS: Final = 253
"""SCM_MAX_FD (unix(7)): the kernel takes no more in one message."""


class Standby:
    """The standby of one Monitor, if there is one."""

    def __init__(self, loop: Loop) -> None:
        """None yet; ``loop`` reports the ends of standbys."""
        self._loop = loop
        self._socket: socket.socket | None = None
        self.child: Child | None = None
        """The process that waits."""
        self.ending = 0
        """How many have been killed and are not reaped yet."""

    @property
    def pid(self) -> int | None:
        """Of the process that waits."""
        return None if self.child is None else self.child.pid

    def prepare(self) -> None:
        """Start a standby, unless there is one.  Where none can be started, a Distributor is started without."""
        if self.child is not None:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    child = launch.start(run, theirs.fileno(), (theirs.fileno(),))
                except OSError:
                    ours.close()
                    raise
        except OSError as error:
            report.debug(f"no standby can be started: {kernel.in_words(error)}")
            return
        self.child, self._socket = child, ours
        child.watch_end(self._loop, partial(self._on_end, child))

    def become(self, spec: DistributorSpec) -> Child | None:
        """Have the standby become this Distributor: its process; None where there is none that can."""
        child, sock = self.child, self._socket
        if child is None or sock is None:
            return None
        if not _is_well(child.pid) or not _send(sock, spec):
            self.close()
            return None
        self._loop.forget(child.pidfd)
        self.child = None
        self._forget_socket()
        return child

    def close(self) -> None:
        """End the standby; the loop reports when it has ended."""
        if self.child is not None:
            kernel.send_signal(self.child.pidfd, signal.SIGKILL)
            self.child = None
            self.ending += 1
            self._forget_socket()

    def _forget_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _on_end(self, child: Child, code: int) -> None:
        """A standby that has died is replaced at the Monitor's next look round."""
        if child is self.child:
            report.warning(f"the standby (pid {child.pid}) {report.how_ended(code)}: it is replaced")
            self.child = None
            self._forget_socket()
        else:
            self.ending -= 1
        child.close()


def _is_well(pid: int) -> bool:
    """Whether the process lives, and nobody has stopped it."""
    found = read_process(pid)
    return found is not None and not found.dead and not found.stopped


def _send(sock: socket.socket, spec: DistributorSpec) -> bool:
    """Send the specification and its descriptors; whether that was possible."""
    data, fds = pickle.dumps(spec), launch.descriptors(spec)
    if len(data) > LONGEST_SPEC or len(fds) > MOST_DESCRIPTORS:
        return False
    try:
        socket.send_fds(sock, [data], fds, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError as error:
        report.debug(f"the standby cannot be sent what it is to do: {error}")
        return False
    return True


def run(fd: int, handed: object) -> None:
    """The process: waits, then goes on as `maitred.shell.distributor.run`.

    Args:
        fd: its end of the socket.
        handed: the same descriptor; it is enough that it has come along.
    """
    del handed
    for number in kernel.FROM_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    name_process("standby")
    with socket.socket(fileno=fd) as sock:
        data, fds, _, _ = socket.recv_fds(sock, LONGEST_SPEC, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return  # the Monitor has ended, or has no use for it
    spec: DistributorSpec = pickle.loads(data)
    old = launch.descriptors(spec)
    if len(fds) != len(old):
        raise SystemExit(f"maitred: out of descriptors: {len(fds)} of {len(old)} of a Distributor have come")
    distributor.run(renumbered(spec, dict(zip(old, fds, strict=True))), None)


def renumbered(spec: DistributorSpec, numbers: Mapping[int, int]) -> DistributorSpec:
    """The same specification, with the numbers that its descriptors have here."""
    return replace(
        spec,
        channel=numbers[spec.channel],
        status=numbers[spec.status],
        trace=None if spec.trace is None else numbers[spec.trace],
        log=None if spec.log is None else numbers[spec.log],
        kept=tuple((port, address, tuple(numbers[fd] for fd in fds)) for port, address, fds in spec.kept),
    )
