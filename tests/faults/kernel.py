"""What the kernel reports of an instance's processes and of its clients' connections, without the package."""

import contextlib
import json
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.compat.kernel import listening
from tests.system.harness import command_of, sockets_of

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR = 2
_ANY_STATE = 0xFFFF_FFFF
_ANY_COOKIE = b"\xff" * 8
_STATE_AT = 16 + 1  # header; family
_COOKIE_AT = 16 + 4 + 40  # header; family, state, timer and retransmissions; addresses
_LISTEN = 10


class Cookies:
    """Finds the cookie of the *server's* end of a connection, whoever holds it, be it in the backlog still."""

    def __init__(self):
        self.netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self.netlink.settimeout(10)

    def of_peer(self, connection):
        """The other end's cookie; 0 where the kernel knows no such connection.

        Of one that it does not know it gives the listener, and the listener's cookie names nobody.
        """
        (near, near_port), (far, far_port) = connection.getsockname(), connection.getpeername()
        ends = [socket.inet_aton(host).ljust(16, b"\0") for host in (far, near)]
        request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY_STATE)
        request += struct.pack("!HH", far_port, near_port) + b"".join(ends) + struct.pack("=I", 0) + _ANY_COOKIE
        self.netlink.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, 1, 1, 0) + request)
        answer = self.netlink.recv(4096)
        (kind,) = struct.unpack_from("=H", answer, 4)
        if kind == _ERROR or answer[_STATE_AT] == _LISTEN:
            return 0
        return struct.unpack_from("=Q", answer, _COOKIE_AT)[0]

    def close(self):
        self.netlink.close()


# ---------------------------------------------------------------- processes

MONITOR, DISTRIBUTOR, SERVER, CHILD, HELPER, VERIFIER, STANDBY, STARTING = (
    "Monitor",
    "Distributor",
    "server",
    "child",
    "helper",
    "verifier",
    "standby",
    "starting",
)


@dataclass(frozen=True)
class Process:
    """One process of an instance."""

    pid: int
    role: str
    port: int = 0
    """Of its server class: of a Distributor that listens, of a server and of what that has forked."""
    main: int = 0
    """Of a server's process: the server's main one."""


def census(instance, ports):
    """Every process of the instance.  `ports` are those of its server classes, in their order."""
    listeners = {inode: port for port in ports for inode in listening(port)}
    return [_process(pid, environment, instance, ports, listeners) for pid, environment in _members(instance)]


def _members(instance):
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if instance.token.encode() in environment:
                yield int(entry.name), environment


def _process(pid, environment, instance, ports, listeners):
    if pid == instance.process.pid:
        return Process(pid, MONITOR)
    identity = next((line.partition(b"=")[2] for line in environment if line.startswith(b"MAITRED_SERVER=")), None)
    if identity is not None:
        told = json.loads(identity)
        return Process(pid, SERVER if told["main"] == pid else CHILD, ports[told["class"]], told["main"])
    if "resource_tracker" in command_of(pid):
        return Process(pid, HELPER)
    if _gives_way(pid, instance.process.pid):
        return Process(pid, VERIFIER)
    held = [listeners[inode] for inode in sockets_of(pid) & listeners.keys()]
    if held:
        return Process(pid, DISTRIBUTOR, held[0])
    return Process(pid, STANDBY if _is_in_session(pid, instance.process.pid) else STARTING)


def _is_in_session(pid, leader):
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid) == leader
    return False


def _gives_way(pid, monitor):
    """Whether it is nicer than the Monitor, as the verifier is and nobody else."""
    with contextlib.suppress(ProcessLookupError):
        return os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, monitor)
    return False


@dataclass(frozen=True)
class Level:
    """What a process takes of the machine."""

    descriptors: int
    threads: int
    memory: int
    """Bytes of its own: not shared with a file."""


def level_of(pid):
    """The level of a process that runs; FileNotFoundError or ProcessLookupError of one that does not."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    memory = int(fields["RssAnon"].split()[0]) * 1024
    return Level(len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]), memory)
