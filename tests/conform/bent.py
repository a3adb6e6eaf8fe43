"""A program that does not keep the protocol: `examples/ports/python/endpoint.py` with one thing written otherwise.

``bent.py core NAME PORT`` runs it over a core with this mutant of the catalogue; ``bent.py hand NAME PORT`` with one of
the bends below.
"""

import os
import signal
import socket
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from maitred.core import messages, server, wire
from maitred.core.messages import Accepted, Disconnect, Refused, RestartReply
from maitred.core.value import replace

ROOT = Path(__file__).parents[2]
_SPEC = spec_from_file_location("endpoint", ROOT / "examples/ports/python/endpoint.py")
endpoint = module_from_spec(_SPEC)
_SPEC.loader.exec_module(endpoint)
Right = endpoint.Endpoint


class Rewrites(Right):
    """Says something else than it should."""

    @staticmethod
    def rewrite(message):
        raise NotImplementedError

    def is_sent(self, reply):
        rewritten = self.rewrite(reply.message)
        if rewritten is None:
            return True
        return super().is_sent(replace(reply, message=rewritten)) and self.after(reply)

    def after(self, reply):
        return True


def changed(message, **count):
    return replace(message, count=replace(message.count, **count))


class FallingNumbers(Rewrites):
    def rewrite(self, message):
        return changed(message, sequence=10_000 - message.count.sequence)


class RelativeCounts(Rewrites):
    def rewrite(self, message):
        return changed(message, clients=1 if isinstance(message, Accepted) else 0)


class CountsFromAbove(Rewrites):
    def rewrite(self, message):
        return changed(message, clients=message.count.clients + 1)


class WrongClient(Rewrites):
    def rewrite(self, message):
        if isinstance(message, Accepted):
            return replace(message, client=replace(message.client, arrival=message.client.arrival + 1))
        return message


class OldIncarnation(Rewrites):
    def rewrite(self, message):
        return replace(message, incarnation=1) if isinstance(message, RestartReply) else message


class DisconnectsInSilence(Rewrites):
    def rewrite(self, message):
        return None if isinstance(message, Disconnect) else message


class RefusesEverybody(Rewrites):
    def rewrite(self, message):
        return Refused(message.client, message.count) if isinstance(message, Accepted) else message


class AnswersTwice(Rewrites):
    def rewrite(self, message):
        return message

    def after(self, reply):
        if isinstance(reply.message, Accepted):
            self.dialogs[reply.port].send(wire.encode(changed(reply.message, sequence=5000 + self.state.sequence)))
        return True


class SpeaksGarbage(Rewrites):
    def rewrite(self, message):
        return message

    def after(self, reply):
        self.dialogs[reply.port].send(b"\xff")
        return True


class RequestsOnTheDialog(Rewrites):
    def rewrite(self, message):
        return message

    def after(self, reply):
        self.dialogs[reply.port].send(wire.encode(messages.BindRequest(reply.port, "*:1")))
        return True


class PassesADescriptorBack(Rewrites):
    def rewrite(self, message):
        return message

    def after(self, reply):
        message = changed(RestartReply(1, reply.message.count), sequence=5000)
        socket.send_fds(self.dialogs[reply.port], [wire.encode(message)], [0])
        return True


class DeliversFirst(Right):
    def read_dialog(self, port):
        _, fds = endpoint.receive(self.dialogs[port], socket.MSG_PEEK)
        if fds:
            early = socket.socket(fileno=fds[0])
            early.send(b"early\n")
            time.sleep(0.3)
            early.detach()
        super().read_dialog(port)


class KeepsWhatItRefuses(Right):
    kept = []  # noqa: RUF012 - of the process

    def discard(self, client):
        if client in self.taken:
            self.kept.append(self.taken.pop(client))


class KeepsConnections(Right):
    kept = []  # noqa: RUF012 - of the process

    def read_client(self, fd):
        self.kept.append(os.dup(fd))
        super().read_client(fd)


class AcceptsWithoutDescriptor(Right):
    def handle(self, event):
        if isinstance(event, server.MessageRead) and isinstance(event.message, messages.HandOff) and not event.intact:
            self.taken[event.message.client] = socket.socketpair()[0]
            event = replace(event, intact=True)
        return super().handle(event)


class ReadsThoughFull(Right):
    """Reads a message whatever room there is, and delivers whether or not its answer is sent."""

    def is_sent(self, reply):
        super().is_sent(reply)
        return True

    def run(self):
        real = endpoint.select.select
        endpoint.select.select = lambda r, w, x, t=None: (r, w, x) if w else real(r, w, x, t)
        super().run()


class AsksOnce(Right):
    def reply_for(self, port):
        reply = super().reply_for(port)
        return reply if reply is not None else sys.exit("no Distributor")


class ListensToo(Right):
    def bind(self, port):
        self.own = socket.create_server(("127.0.0.1", port), reuse_port=True)
        return super().bind(port)


class ListensInSpiteOfAnError(Right):
    def bind(self, port):
        reply = super().bind(port)
        if reply > 0:
            self.own = socket.create_server(("127.0.0.1", port), reuse_port=True)
        return min(reply, 0)

    def run(self):
        signal.pause()


class EndsAtGarbage(Right):
    def read_dialog(self, port):
        packet = self.dialogs[port].recv(wire.LIMIT, socket.MSG_PEEK)
        if packet:
            wire.decode(packet)
        super().read_dialog(port)


class LeavesAChildBehind(Right):
    """A child in a session of its own holds the dialog after its parent's death: for a minute, as nobody may see it."""

    def run(self):
        if os.fork() == 0:
            os.setsid()
            signal.alarm(60)
            signal.pause()
        super().run()


class WillNotEnd(Right):
    def run(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().run()


class SendsTheWrongEnd(Right):
    def bind(self, port):
        real = socket.send_fds
        with socket.socketpair()[0] as stream:
            socket.send_fds = lambda sock, data, fds: real(sock, data, [stream.fileno()])
            try:
                return super().bind(port)
            finally:
                socket.send_fds = real


HAND = {
    kind.__name__: kind
    for kind in (*Rewrites.__subclasses__(), *Right.__subclasses__())
    if kind not in (Rewrites, Right)
}

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    how, name, port = sys.argv[1:]
    if how == "hand":
        endpoint.main(int(port), HAND[name])
    else:
        from proofs.mutation.core import CATALOGUE

        with CATALOGUE[name].mutated():
            endpoint.main(int(port))
