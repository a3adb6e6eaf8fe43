"""What the kernel reports of a port's connections, asked without anything of the package: sock_diag, and /proc."""

import os
import socket
import struct
from collections import Counter
from pathlib import Path

from tests.system.harness import sockets_of

_NETLINK_SOCK_DIAG = 4
_DUMP = 0x1 | 0x300
_BY_FAMILY = 20
_DONE = 3
_ERROR = 2
_ESTABLISHED, _CLOSE_WAIT, _LISTEN = 1, 8, 10
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def _dump(states):
    """The local port and the inode of every TCP socket in one of the states."""
    for family in _FAMILIES:
        request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, sum(1 << state for state in states))
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
            netlink.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _DUMP, 1, 0) + request)
            yield from _answers(netlink)


def _answers(netlink):
    while True:
        packet = netlink.recv(1 << 18)
        while packet:
            length, kind = struct.unpack_from("=IH", packet)
            if kind in (_DONE, _ERROR):
                assert kind == _DONE, "the kernel does not answer sock_diag"
                return
            (port,) = struct.unpack_from("!H", packet, 20)
            (inode,) = struct.unpack_from("=I", packet, 16 + 68)
            yield port, inode
            packet = packet[(length + 3) & ~3 :]


def connections(*ports):
    """The inodes of the connections to these ports that some process holds: the servers' ends."""
    return {inode for port, inode in _dump((_ESTABLISHED, _CLOSE_WAIT)) if port in ports and inode}


def listening(port):
    """The inodes of the sockets that listen on the port."""
    return {inode for found, inode in _dump((_LISTEN,)) if found == port}


def held_by(mains, *ports):
    """How many connections to the ports each server's processes hold, by the pid of its main process."""
    wanted = connections(*ports)
    counts = Counter()
    for main in mains:
        held = set()
        for pid in _session(main):
            held |= sockets_of(pid) & wanted
        counts[main] = len(held)
    return counts


def _session(main):
    """The processes in the session that the server's main process leads."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == main:
                    yield int(entry.name)
            except ProcessLookupError:
                continue
