"""Runs CPython's own tests, as ``python -m test`` would; and with the customised socket class in place.

    python cpython_program.py ARGUMENTS OF python -m test

Where the environment names the Distributors of `cpython_distributors`, every TCP listener that a test creates is handed
to one: a port that the test chose at `bind`, as in any server; one that the kernel is to choose at `listen`, when it is
certain that the socket is to listen at all and not to connect.  In `maitred run` the program would keep the latter.
The port that a client is to connect from is none that a Distributor has been given, and so is left alone.

A server has one Distributor and one endpoint, for a few ports.  Tests open hundreds, so here every listener has an
endpoint of its own; `Endpoints` shows them to the stand-in as if they were one.  All else is as in a server.
"""

import _socket
import gc
import importlib
import json
import os
import runpy
import sys
import time
from array import array
from collections.abc import Mapping

ADDRESS = "MAITRED_CPYTHON_DISTRIBUTORS"
TRACE = "MAITRED_CPYTHON_TRACE"
REPORT = "MAITRED_CPYTHON_REPORT"
REFERENCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "reference")
CONNECTING = {("socket.py", "create_connection"), ("base_events.py", "_connect_sock")}
"""The functions of the library that bind a socket to connect it."""
BIND_YOURSELF = -1
PATIENCE = 60.0
SETTLED = 5.0
"""Seconds after which no thread can still be at work in an endpoint that was retired."""


def ask(address, request, fds=()):
    """One request to the Distributors' keeper, on a connection of its own: threads, forks, finalisers may all ask."""
    asking = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        asking.settimeout(PATIENCE)
        asking.connect(f"\0{address}")
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))]
        asking.sendmsg([json.dumps(request).encode()], rights if fds else [])
        return json.loads(asking.recv(65_536))
    finally:
        asking.close()


class Dialogs(Mapping):
    """The dialogs of all endpoints, by port."""

    def __init__(self, by_port):
        self._by_port = by_port

    def __getitem__(self, port):
        return self._by_port[port].dialogs[port]

    def __iter__(self):
        return iter([port for port, each in list(self._by_port.items()) if port in each.dialogs])

    def __len__(self):
        return len(list(iter(self)))


class Endpoints:
    """Stands for one endpoint; is one for each port."""

    def __init__(self, address, trace, private):
        self.handed = 0
        """How many listeners a Distributor was given."""
        self.alone = 0
        """How many it was not: another, of the other family, had the same port, and one class would have both."""
        self._address = address
        self._trace = trace
        self._private = private
        self._by_port = {}
        self._by_cookie = {}
        self._left = {}
        """The endpoints of clients that this process has let go of: a child may have them, or an exec may fail."""
        self._all = {}
        """The endpoints that are in use, with the number of their class."""
        self._retired = []
        self.dialogs = Dialogs(self._by_port)

    # ---------------------------------------------------------------- what the stand-in asks of an endpoint

    def request_bind(self, port, address):
        if _connects():
            return BIND_YOURSELF
        new = port not in self._by_port
        errno = self._endpoint(port, address).request_bind(port, address)
        if new and errno:
            self._end(port)
        return errno

    def listen(self, port):
        self._by_port[port].listen(port)

    def take(self, port):
        endpoint = self._by_port.get(port)
        taken = endpoint.take(port) if endpoint else None
        if taken is not None:
            self._by_cookie[taken[1].cookie] = endpoint
        return taken

    def close(self, port, *, shared):
        endpoint = self._by_port.get(port)
        if endpoint is None:
            return
        endpoint.close(port, shared=shared)
        if not _listens(endpoint, port) and not (shared and _has_children()):
            self._end(port)

    def let_go(self, client):
        endpoint = self._by_cookie.pop(client.cookie, None)
        if endpoint is not None:
            self._left[client.cookie] = endpoint
            endpoint.let_go(client)

    def take_back(self, client):
        endpoint = self._left.pop(client.cookie, None)
        if endpoint is not None:
            self._by_cookie[client.cookie] = endpoint
            endpoint.take_back(client)

    def forget(self, client):
        endpoint = self._by_cookie.pop(client.cookie, None) or self._left.pop(client.cookie, None)
        if endpoint is not None:
            endpoint.forget(client)

    def leave(self):
        for endpoint in list(self._all):
            endpoint.leave()

    def before_fork(self, clients):
        self._forking = list(self._all)
        for endpoint in self._forking:
            endpoint.before_fork([client for client in clients if self._by_cookie.get(client.cookie) is endpoint])

    def after_fork_in_parent(self):
        for endpoint in self._forking:
            endpoint.after_fork_in_parent()

    def after_fork_in_child(self):
        for endpoint in self._forking:
            endpoint.after_fork_in_child()

    # ---------------------------------------------------------------- one endpoint for each listener

    def hand_over(self, port, address, fd):
        """Give a socket that is bound and listens to a Distributor, as if an earlier one had opened it."""
        return self._endpoint(port, address, fd).request_bind(port, address)

    def _endpoint(self, port, address, *listening):
        if port not in self._by_port:
            self._by_port[port] = self._open(port, address, listening)
        return self._by_port[port]

    def _open(self, port, address, listening):
        from maitred.shell.inside import endpoint
        from maitred.shell.io import channel, registry
        from maitred.shell.observe import trace

        self._bury()
        self.handed += 1
        control, theirs = channel.pair()
        memory = registry.Registry(registry.create(16))
        request = {"open": port, "address": address}
        number = ask(self._address, request, [theirs.fileno(), memory.fd, *listening])["class"]
        theirs.close()
        pen = trace.Trace(self._trace, f"server {number} 1")
        pen.start()
        made = endpoint.Endpoint(memory, control, pen)
        self._all[made] = number
        self._private |= {memory.fd, control.fileno()}
        return made

    def _end(self, port):
        """The listener is closed: so is its class, before the program goes on and finds the port still taken."""
        endpoint = self._by_port.pop(port)
        ask(self._address, {"close": self._all[endpoint]})
        self._retired.append((time.monotonic(), endpoint))

    def _bury(self):
        """Let go of the descriptors of endpoints that have had no listener for long, and have no client."""
        settled = time.monotonic() - SETTLED
        for since, endpoint in [each for each in self._retired if each[0] < settled]:
            if endpoint in self._by_cookie.values():
                continue
            self._retired.remove((since, endpoint))
            self._left = {cookie: each for cookie, each in self._left.items() if each is not endpoint}
            del self._all[endpoint]
            self._private -= {endpoint._registry.fd, endpoint._control.socket.fileno()}
            for each in (endpoint._control.socket, *endpoint.dialogs.values(), endpoint._registry):
                each.close()


def _connects():
    """Whether the library binds a socket only to connect it."""
    frame = sys._getframe()
    while frame is not None:
        if (os.path.basename(frame.f_code.co_filename), frame.f_code.co_name) in CONNECTING:
            return True
        frame = frame.f_back
    return False


def _listens(endpoint, port):
    return bool(endpoint._run(lambda: endpoint._is_listening(port)))


def _has_children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return bool(file.read().split())


def install(address, trace):
    """Put the customised class in place, for the listeners with ports that the kernel chooses, too."""
    import socket

    sys.path.insert(0, REFERENCE)
    for module in (
        "io.channel",
        "io.sock_diag",
        "inside.endpoint",
        "io.registry",
        "inside.install",
        "observe.trace",
    ):
        importlib.import_module(f"maitred.shell.{module}")  # now: the tests change the directory, and the path
    from maitred.shell.inside import install as installation
    from maitred.shell.inside.descriptor_table import DescriptorTable
    from maitred.shell.inside.listener_socket import disguise
    from maitred.shell.inside.processes import Processes
    from maitred.shell.inside.stand_in import StandIn

    del sys.path[0]
    private = {trace}
    endpoints = Endpoints(address, trace, private)
    descriptors = DescriptorTable(endpoints, private)
    here = StandIn(descriptors, lambda: True)
    installation.install(here, Processes(descriptors, os.getpid()))
    real_listen = socket.socket.listen

    def listen(self, *backlog):
        real_listen(self, *backlog)
        if descriptors.listener_of(self) is not None or self.family not in (socket.AF_INET, socket.AF_INET6):
            return
        if self.type != socket.SOCK_STREAM or self.proto not in (0, socket.IPPROTO_TCP):
            return
        name = self.getsockname()
        host, port = name[:2]
        if port in endpoints.dialogs:
            endpoints.alone += 1
            return
        errno = endpoints.hand_over(port, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", self.fileno())
        assert errno == 0, f"the Distributor of a socket that listens says {errno}"
        listener = here.replace(self, port, name, twin=False)
        disguise(self)
        here.listen(listener)

    socket.socket.listen = listen
    return here


def report(here, path):
    """Report how many listeners were handed over, and which connections are really open still."""
    import socket

    from maitred.shell.io.sock_diag import SO_COOKIE

    gc.collect()
    left = []
    for fd, connection in list(here.descriptors.connections.by_fd.items()):
        probe = _socket.socket(connection.family, socket.SOCK_STREAM, 0, fd)
        try:
            cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
        except OSError:
            cookie = 0
        finally:
            probe.detach()
        if cookie == connection.client.cookie:
            left.append(cookie)
    said = {"handed": here.endpoint.handed, "alone": here.endpoint.alone, "open": sorted(set(left))}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(said, file)


def main():
    address, trace, path = (os.environ.pop(name, None) for name in (ADDRESS, TRACE, REPORT))
    del sys.path[0]  # where this file is
    here = install(address, os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)) if address else None
    pid = os.getpid()
    try:
        runpy.run_module("test", run_name="__main__", alter_sys=True)
    finally:
        if here is not None and os.getpid() == pid:
            report(here, path)


if __name__ == "__main__":
    main()
