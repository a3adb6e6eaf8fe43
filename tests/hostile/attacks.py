"""What a server of ill will, or one that is badly broken, can do from inside its own process: one function for each.

It has what every server's process has: its listener, which is its dialog, and the descriptors that `/proc/self/fd`
shows, among them its control socket and its registry.  It knows the wire format.  It does not use what its user could
do to the Distributor and the Monitor from any shell (signals, `ptrace`): one user is not protected from himself.

Every attack ends after some seconds; whoever it leaves behind has noted that it is there.  Nothing is believed of the
stand-in for the socket module: sockets are used through the C type below it.
"""

import _socket
import contextlib
import fcntl
import itertools
import mmap
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from array import array
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from maitred.core import messages, wire

SO_COOKIE = 57
BRED = 60
"""Processes of a fork bomb that live at a time, at most: enough to be many, few enough for a small machine."""
LINGERING = 20
"""Connections beside one packet, each of which whoever closes it would have to wait for."""
HOARDED = 1.0
"""Seconds that a refused connection is kept: its client is served by another copy, and sees no end until then."""
NUMBERS = (0, 1, -1, 2, 31, 33, 255, 65_535, 65_536, 70_000, 1 << 31, 1 << 50, (1 << 63) - 1, -(1 << 63))
TEXTS = ("", "127.0.0.1:0", "*:81", "localhost:81", "[::1]:80", "nowhere.invalid:80", "\x1b[2J\r\n", "x" * 5_000, "\0")
LENGTHS = (0, 1, 2, 9, 33, 41, 500, 65_535)


class Insider:
    """What an attack has in its hands."""

    def __init__(self, listener, unbound, note, rng, seconds):
        self.rng, self.note = rng, note
        self.unbound = unbound
        """A further port of its class, which its program does not bind."""
        self.until = time.monotonic() + seconds
        self.port = listener.getsockname()[1]
        inode = os.fstat(listener.fileno()).st_ino
        found = {}
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        self.dialog = _seqpacket(listener.fileno())
        self.control = next(
            end for fd, link in found.items() if link.startswith("socket:") and (end := _control(fd, inode))
        )
        self.registry = next(fd for fd, link in found.items() if "maitred-registry" in link)
        self.sequence = 1 << 20

    def on(self):
        """Whether the attack goes on; it also reports that this process is there."""
        self.note("alive", 0)
        return time.monotonic() < self.until

    def count(self, clients):
        self.sequence += 1
        return messages.Count(clients, self.sequence)

    def take(self):
        """The next hand-off, past the stand-in, with its connection; None where there is none."""
        with contextlib.suppress(OSError):
            room = _socket.CMSG_SPACE(4 * 253)
            data, ancillary, _, _ = self.dialog.recvmsg(wire.LIMIT, room, _socket.MSG_DONTWAIT)
            fds = array("i", b"".join(payload for _, _, payload in ancillary))
            with contextlib.suppress(wire.WireError):
                message = wire.decode(data)
                if isinstance(message, messages.HandOff) and fds:
                    self.note("taken", message.client.cookie)
                    return message.client, socket.socket(fileno=fds[0])
        return None

    def send(self, end, content, fds=()):
        """Whether it went; a message, or bytes."""
        packet = content if isinstance(content, bytes) else wire.encode(content)
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            end.sendmsg([packet], rights, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except OSError:
            time.sleep(0.001)
            return False
        return True


def _seqpacket(fd):
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))


def _control(fd, dialog):
    """The end of the control socket, where it is that: the socket of its kind which is no dialog."""
    if os.fstat(fd).st_ino == dialog:
        return None
    end = _seqpacket(fd)
    kind = [end.getsockopt(_socket.SOL_SOCKET, option) for option in (_socket.SO_DOMAIN, _socket.SO_TYPE)]
    return end if kind == [_socket.AF_UNIX, _socket.SOCK_SEQPACKET] else None


# ---------------------------------------------------------------- packets


def invented(rng, kind):
    """A message of the kind, or a part of one, with anything in it."""
    if kind is int:
        return rng.choice((*NUMBERS, rng.randint(-(1 << 63), (1 << 63) - 1), rng.randint(0, 100)))
    if kind is bool:
        return rng.random() < 0.5
    if kind is str:
        return rng.choice(TEXTS)
    if get_origin(kind) is tuple:
        return tuple(invented(rng, get_args(kind)[0]) for _ in range(rng.choice((0, 1, 2, 40))))
    assert is_dataclass(kind), kind
    hints = get_type_hints(kind)
    return kind(*(invented(rng, hints[field.name]) for field in fields(kind)))


def packet(rng):
    """Noise; or a message of any kind; or one that is bent."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.choice(LENGTHS))
    made = wire.encode(invented(rng, rng.choice(list(wire.TAGS.values()))))
    match rng.randrange(4):
        case 0:
            return made[: rng.randrange(len(made) + 1)]
        case 1:
            return made + rng.randbytes(rng.choice(LENGTHS[:-1]))
        case 2:
            at = rng.randrange(len(made))
            return made[:at] + rng.randbytes(1) + made[at + 1 :]
        case _:
            return made


def _noise(inside, end):
    sent = 0
    while inside.on():
        for _ in range(200):
            fds = _opened(inside, inside.rng.choice(list(DESCRIPTORS))) if inside.rng.random() < 0.1 else []
            sent += inside.send(end, packet(inside.rng), fds)
            _close(fds)
        while end is inside.dialog and (taken := inside.take()) is not None:
            taken[1].close()
        if inside.rng.random() < 0.5:
            _read_off(inside.control)


def noise_on_the_control_socket(inside):
    """Packets of every kind, with and without descriptors, as fast as they go."""
    _noise(inside, inside.control)


def noise_on_the_dialog(inside):
    """The same where it answers hand-offs."""
    _noise(inside, inside.dialog)


# ---------------------------------------------------------------- descriptors


def _full_pair():
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    with contextlib.suppress(OSError):
        while True:
            one.send(b"x" * 1_000, _socket.MSG_DONTWAIT)
    return [one.detach(), other.detach()]


def _lingering():
    """The one end of a TCP connection that would wait in `close` for a peer that never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    near.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            near.send(b"x" * 65_536)
    _unread.append(far)
    return [near.detach()]


_unread = []


def _hidden():
    """Sockets in whose queues others linger: to close one is to close the other."""
    made = []
    for _ in range(LINGERING):
        one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        lingering = _lingering()
        one.sendmsg([b"x"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", lingering))])
        _close(lingering)
        made.append(other.detach())
    return made


def _cycle():
    """Each of a pair is on its way through the other."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for end, fd in ((one, other.fileno()), (other, one.fileno())):
        end.sendmsg([b"x"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [fd, fd]))])
    return [one.detach(), other.detach()]


def _listening(family, kind):
    listener = _socket.socket(family, kind)
    listener.bind(("127.0.0.1", 0) if family == _socket.AF_INET else "")
    listener.listen(1)
    return [listener.detach()]


DESCRIPTORS = {
    "file": lambda inside: [os.open(__file__, os.O_RDONLY)],
    "directory": lambda inside: [os.open("/", os.O_RDONLY)],
    "path": lambda inside: [os.open("/", os.O_PATH)],
    "pipe": lambda inside: list(os.pipe()),
    "zero": lambda inside: [os.open("/dev/zero", os.O_RDWR)],
    "full": lambda inside: [os.open("/dev/full", os.O_RDWR)],
    "terminal": lambda inside: [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)],
    "epoll": lambda inside: [os.dup(select.epoll().fileno())],
    "event": lambda inside: [os.eventfd(1)],
    "memory": lambda inside: [os.memfd_create("x")],
    "process": lambda inside: [os.pidfd_open(os.getpid())],
    "UDP": lambda inside: [_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM).detach()],
    "TCP": lambda inside: [_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).detach()],
    "TCP, listening": lambda inside: _listening(_socket.AF_INET, _socket.SOCK_STREAM),
    "TCP, lingering": lambda inside: _lingering(),
    "TCP, lingering, many": lambda inside: [fd for _ in range(LINGERING) for fd in _lingering()],
    "TCP, lingering, in a queue": lambda inside: _hidden(),
    "netlink": lambda inside: [_socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0).detach()],
    "stream": lambda inside: [end.detach() for end in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)],
    "datagram": lambda inside: [end.detach() for end in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_DGRAM)],
    "a dialog": lambda inside: [end.detach() for end in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)],
    "a dialog, full": lambda inside: _full_pair(),
    "a dialog, listening": lambda inside: _listening(_socket.AF_UNIX, _socket.SOCK_SEQPACKET),
    "a dialog, unconnected": lambda inside: [_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET).detach()],
    "a cycle": lambda inside: _cycle(),
    "its own control socket": lambda inside: [os.dup(inside.control.fileno())],
    "its own dialog": lambda inside: [os.dup(inside.dialog.fileno())],
    "its registry": lambda inside: [os.dup(inside.registry)],
    "as many as go": lambda inside: [os.open("/dev/null", os.O_RDONLY) for _ in range(253)],
}


def _opened(inside, kind):
    try:
        return DESCRIPTORS[kind](inside)
    except OSError:
        return []


def _close(fds):
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def descriptors_of_every_kind(inside):
    """Each beside a `BindRequest`, as if it were a dialog."""
    for kind in itertools.cycle(inside.rng.sample(list(DESCRIPTORS), len(DESCRIPTORS))):
        if not inside.on():
            return
        fds = _opened(inside, kind)
        port = inside.rng.choice((inside.port, inside.unbound, inside.unbound, inside.rng.randint(1, 65_535), *NUMBERS))
        inside.send(inside.control, messages.BindRequest(port, f"127.0.0.1:{inside.port}"), fds)
        _close(fds)
        _read_off(inside.control)


def a_port_after_another(inside):
    """Binds all there are, each with a dialog of its own, and reads no answer."""
    port = 0
    while inside.on():
        for _ in range(100):
            port = port % 65_535 + 1
            fds = [end.detach() for end in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)]
            inside.send(inside.control, messages.BindRequest(port, f"127.0.0.1:{port}"), fds[:1])
            _close(fds)


def _read_off(end):
    with contextlib.suppress(OSError):
        while end.recv(wire.LIMIT, _socket.MSG_DONTWAIT):
            pass


# ---------------------------------------------------------------- lies


def lies_about_its_clients(inside):
    """Answers each hand-off, and much that it was never asked, with counts that cannot be."""
    client = messages.Client(1, 1, inside.port)
    while inside.on():
        taken = inside.take()
        if taken is not None:
            client, connection = taken
            connection.close()
        for _ in range(50):
            count = messages.Count(invented(inside.rng, int), invented(inside.rng, int))
            kind = inside.rng.choice((messages.Accepted, messages.Refused, messages.Disconnect))
            inside.send(inside.dialog, kind(client, count))
            inside.send(inside.dialog, messages.RestartReply(invented(inside.rng, int), count))


def ready_and_not_ready(inside):
    """Changes its mind as fast as it can."""
    while inside.on():
        for _ in range(200):
            inside.send(inside.dialog, messages.NotReady(0, inside.count(0)))
            inside.send(inside.dialog, messages.RestartReply(1, inside.count(0)))
        _read_off(inside.control)


def refuses_and_keeps(inside):
    """Sends every client back, and keeps a duplicate of the connection for a while."""
    kept = []
    while inside.on():
        taken = inside.take()
        if taken is not None:
            client, connection = taken
            kept.append((time.monotonic(), connection))
            inside.send(inside.dialog, messages.Refused(client, inside.count(0)))
        while kept and kept[0][0] < time.monotonic() - HOARDED:
            kept.pop(0)[1].close()
        time.sleep(0.002)


def takes_and_closes(inside):
    """Takes clients, closes their connections, and answers nothing."""
    while inside.on():
        taken = inside.take()
        if taken is not None:
            taken[1].close()
        time.sleep(0.002)


def lingers(inside):
    """Fills connections that are to linger, closes them, and leaves the last `close` to whoever else holds them."""
    while inside.on():
        taken = inside.take()
        if taken is None:
            time.sleep(0.002)
            continue
        client, connection = taken
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                connection.send(b"x" * 65_536)
        connection.close()
        answer = inside.rng.choice((messages.Accepted, messages.Refused))
        inside.send(inside.dialog, answer(client, inside.count(0)))


# ---------------------------------------------------------------- silence


def reads_nothing(inside):
    """Stands still, while a child of it asks much: neither reads answers or hand-offs."""

    def ask():
        for _ in range(100):
            fds = [end.detach() for end in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)]
            inside.send(inside.control, messages.BindRequest(inside.port, f"127.0.0.1:{inside.port}"), fds[:1])
            _close(fds)
            inside.send(inside.dialog, messages.Disconnect(messages.Client(1, 1, inside.port), inside.count(0)))

    _stand_still(inside, ask)


def stands_still(inside):
    """Stops itself, threads and all, and goes on in the end, if it has not been killed for it."""
    _stand_still(inside, lambda: time.sleep(0.02))


def _stand_still(inside, meanwhile):
    """Stop, while a child does something again and again, and has the process go on in the end."""
    main = os.getpid()
    if os.fork():
        os.kill(main, signal.SIGSTOP)
        os.wait()
        return
    while inside.on():
        meanwhile()
    os.kill(main, signal.SIGCONT)
    os.kill(os.getpid(), signal.SIGKILL)


def hangs_up(inside):
    """Shuts its sockets down, and lives."""
    for end in inside.rng.sample((inside.control, inside.dialog), inside.rng.randint(1, 2)):
        with contextlib.suppress(OSError):
            end.shutdown(inside.rng.choice((_socket.SHUT_RD, _socket.SHUT_WR, _socket.SHUT_RDWR)))
    while inside.on():
        time.sleep(0.02)


def out_of_descriptors(inside):
    """Opens all that it may, so that hand-offs come without their connections."""
    opened = []
    with contextlib.suppress(OSError):
        while len(opened) < resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    while inside.on():
        time.sleep(0.02)
    _close(opened)


# ---------------------------------------------------------------- the registry


def registry_of_noise(inside):
    """Anything anywhere, again and again."""
    size = os.fstat(inside.registry).st_size
    while inside.on():
        for _ in range(200):
            os.pwrite(inside.registry, inside.rng.randbytes(8), inside.rng.randrange(size))
        os.pwrite(inside.registry, inside.rng.randbytes(size), 0)


def registry_of_lies(inside):
    """Numbers that could be, and cannot: capacity, ports, lengths, clients, and the log that is done again."""
    while inside.on():
        for at in (8, 16, 24, 32, 40, 48, 56, 64, 72, 53_248, 122_880, 122_888):
            os.pwrite(inside.registry, struct.pack("=q", invented(inside.rng, int)), at)
        for place in range(64):
            row = struct.pack("=qqII", place, inside.rng.getrandbits(62), inside.rng.choice((1, 70_000, 1 << 31)), 1)
            os.pwrite(inside.registry, row, 122_880 + 24 * place)
        time.sleep(0.001)


def registry_cut_off(inside):
    """Makes it short, while others read it, and long again."""
    size = os.fstat(inside.registry).st_size
    while inside.on():
        for length in (0, 100, size):
            with contextlib.suppress(OSError):
                os.ftruncate(inside.registry, length)
            time.sleep(0.01)


def registry_without_end(inside):
    """Room for more clients than there can be, and claims them."""
    with contextlib.suppress(OSError):
        os.ftruncate(inside.registry, 1 << 40)
    os.pwrite(inside.registry, struct.pack("=Q", inside.rng.choice((1 << 30, 1 << 50))), 64)
    with contextlib.suppress(OSError, ValueError), mmap.mmap(inside.registry, 1 << 20) as memory:
        memory[122_880:] = inside.rng.randbytes((1 << 20) - 122_880)
    while inside.on():
        time.sleep(0.02)


# ---------------------------------------------------------------- processes


def _leave_the_group():
    """Out of the control group, where this process may leave it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            with contextlib.suppress(OSError):
                (Path(line.split()[4]) / "cgroup.procs").write_text("0")


def escapes(inside):
    """Leaves a process in a session of its own, with another parent, which holds the dialog, and serves on."""
    if os.fork():
        os.wait()
        while inside.on():
            time.sleep(0.02)
        return
    main = os.getppid()
    _orphan(lambda: _serve_in_hiding(inside, main))


def _orphan(live):
    """Have a grandchild live, and never come back."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with contextlib.suppress(BaseException):
                live()
    os.kill(os.getpid(), signal.SIGKILL)


def _serve_in_hiding(inside, main):
    _leave_the_group()
    inside.control.close()
    kept = {inside.dialog.fileno(), inside.note.fd}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    until = inside.until + 20
    while time.monotonic() < until:
        inside.note("hidden", main)
        taken = inside.take()
        if taken is not None:
            inside.send(inside.dialog, messages.Accepted(taken[0], inside.count(1)))
            taken[1].close()
        time.sleep(0.01)


def breeds(inside):
    """Forks and forks, in sessions of their own and with parents that have died, so many at a time."""
    main, alive = os.getpid(), mmap.mmap(-1, 8 * BRED)
    slots = memoryview(alive).cast("q")

    def live(place):
        until = time.monotonic() + inside.rng.uniform(0.1, 1.5)
        _leave_the_group()
        while time.monotonic() < until:
            inside.note("hidden", main)
            time.sleep(0.05)
        slots[place] = 0

    while inside.on():
        for place in range(BRED):
            if not slots[place]:
                slots[place] = 1
                child = os.fork()
                if child == 0:
                    _orphan(partial(live, place))
                os.waitpid(child, 0)
        time.sleep(0.01)


def dies(inside):
    """In the midst of serving, by a signal or with a status."""
    time.sleep(inside.rng.uniform(0, 0.5))
    if inside.rng.random() < 0.3:
        os._exit(inside.rng.randrange(256))
    os.kill(os.getpid(), inside.rng.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM)))
    time.sleep(1)


def talks(inside):
    """Fills the log with lines, half lines and what makes terminals do things."""
    while inside.on():
        text = inside.rng.choice(("\x1b[2J\x1b]0;x\x07\n", "y" * 5_000, "maitred: stopped\n", "\r\n", "\0" * 100))
        os.write(sys.stderr.fileno(), text.encode() * inside.rng.randint(1, 10))
        time.sleep(0.01)


ATTACKS = {
    each.__name__.replace("_", " "): each
    for each in (
        noise_on_the_control_socket,
        noise_on_the_dialog,
        descriptors_of_every_kind,
        a_port_after_another,
        lies_about_its_clients,
        ready_and_not_ready,
        refuses_and_keeps,
        takes_and_closes,
        lingers,
        reads_nothing,
        stands_still,
        hangs_up,
        out_of_descriptors,
        registry_of_noise,
        registry_of_lies,
        registry_cut_off,
        registry_without_end,
        escapes,
        breeds,
        dies,
        talks,
    )
}
"""Every attack, by its name."""


def rng_of(seed, life):
    """What chance does in this life."""
    return random.Random(f"{seed}-{life}")
