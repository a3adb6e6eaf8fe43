"""The Monitor's side of one Distributor: real sockets whose far ends the test holds, a machine that notes events."""

import socket
from contextlib import contextmanager
from types import SimpleNamespace

from maitred.shell.io import channel
from maitred.shell.io.loop import Loop
from maitred.shell.supervise.distributors import Distributor, Distributors
from maitred.shell.supervise.inquiry import Inquiry
from maitred.shell.supervise.kept import Kept
from maitred.shell.supervise.news import News
from maitred.shell.supervise.requests import Requests


class Bare:
    """`distributors`, `servers` (by number in ``held``), `kept`, `requests`; and the events `received`."""

    def __init__(self):
        self.loop, self.received = Loop(), []
        self.config = SimpleNamespace(classes=[SimpleNamespace(name="web", dynamic=0, waiting_limit=1)])
        self.machine = SimpleNamespace(handle=self.received.append, state=SimpleNamespace(phase=None))
        self.servers = SimpleNamespace(held={}, pids=dict, obstacles=dict, restarts={})
        self.kept = Kept()
        recording = SimpleNamespace(begin=lambda who: None, end=lambda who: None, status=dict)
        given = self.config, self.loop, self.machine
        news = News(self.config, self.machine, self.servers)
        self.distributors = Distributors(*given, None, recording, self.servers, self.kept, news)
        self.requests = Requests(*given, self.servers, self.distributors, recording, None, news, None)
        ours, self.far = channel.pair()
        stream, self.asked = socket.socketpair()
        stream.setblocking(False)
        self.distributor = Distributor(0, None, ours, Inquiry("web", stream, self.loop))
        self.distributors.held[0] = self.distributor


@contextmanager
def bare():
    made = Bare()
    yield made
    made.distributor.inquiry.close()
    made.distributors._spares.release()
    for each in (made.loop, made.distributor.channel, made.far, made.asked):
        each.close()
