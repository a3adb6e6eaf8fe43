"""Drives the machine of the core and its translation to C with the same events, and compares every state.

    python -m tests.native.machines [EVENTS [DRIVER]]

does so with random events, 100,000 where none are named.  What an event is depends on the state of the core's machine:
most are such as may happen, and some are not.
"""

import random
import subprocess
import sys

from maitred.core import messages, server, wire
from maitred.core.transition import Reason, Rejected

PORTS = (4049, 4050)
KINDS = (
    *("bound", "listened", "closed", "initial", "acknowledged", "garbage", "interrupted", "dead while reading"),
    *("hand-off",) * 4,
    *("disconnected",) * 3,
    *("sent",) * 6,
)
TAGS = {kind: tag for tag, kind in wire.TAGS.items()}
REASONS = (None, Reason.NOT_BOUND, Reason.OTHER_PORT, Reason.UNKNOWN_CLIENT, Reason.NOT_DELIVERED, Reason.NOT_NEXT)
EFFECTS = (type(None), server.Deliver, server.Discard)
NOBODY = messages.Client(0, 0, 0)
BATCH = 500
"""Events after which both machines begin again, so that a difference shows early."""


class Both:
    """The core's machine, and what the other one should have answered to the lines that stand for its events."""

    def __init__(self):
        self.state = server.EndpointState()
        self.lines, self.answers = [], []

    def take(self, choice):
        """One event, chosen by four numbers."""
        what, where, who, other = choice
        port, elsewhere = PORTS[where % 2], PORTS[1 - where % 2]
        client = messages.Client(who % 5, 100 + who % 5, elsewhere if other % 16 == 0 else port)
        outbox = self.state.outbox
        kind = KINDS[what % len(KINDS)]
        match kind:
            case "bound":
                self._step(f"bound {port}", server.Bound(port))
            case "listened":
                self._step(f"listened {port}", server.Listened(port))
            case "closed":
                self._step(f"closed {port}", server.ListenerClosed(port))
            case "acknowledged":
                self._step("acknowledged", server.Acknowledged(messages.Acknowledge(other)))
            case "initial":
                some = tuple(messages.Client(i, 100 + i, port) for i in range(other % 4))
                self._read(port, True, messages.InitialMsg(1 + who % 3, some))
            case "hand-off":
                self._read(port, other % 8 != 1, messages.HandOff(client))
            case "garbage":
                packet = wire.encode(messages.HandOff(client))[: other % 25]
                self.lines.append(f"read {port} 1 {packet.hex()}")
                self.answers.append("no message")
            case "disconnected":
                there = sorted(self.state.clients)
                gone = there[who % len(there)] if there and other % 8 else client
                self._step(f"disconnected {fields(gone)}", server.Disconnected(gone))
            case "dead while reading":
                if other % 4 == 0:
                    self._step(f"interrupted {port} {line_of(None)}", server.Interrupted(port, None))
            case _ if outbox:
                reply = outbox[0 if other % 8 else who % len(outbox)]
                if kind == "sent":
                    self._step(f"sent {line_of(reply)}", server.Sent(reply))
                else:
                    self._step(f"interrupted {reply.port} {line_of(reply)}", server.Interrupted(reply.port, reply))

    def _read(self, port, intact, message):
        line = f"read {port} {int(intact)} {wire.encode(message).hex()}"
        self._step(line, server.MessageRead(port, message, intact))

    def _step(self, line, event):
        outcome = server.step(self.state, event)
        self.lines.append(line)
        if isinstance(outcome, Rejected):
            self.answers.append(f"{REASONS.index(outcome.reason)} 0 0/0/0{shown(self.state)}")
            return
        self.state = outcome.state
        effect = outcome.effects[0] if outcome.effects else None
        client = effect.client if effect else NOBODY
        name = "/".join(map(str, (client.arrival, client.cookie, client.port)))
        self.answers.append(f"0 {EFFECTS.index(type(effect))} {name}{shown(self.state)}")


def fields(client):
    """As the driver reads it."""
    return f"{client.arrival} {client.cookie} {client.port}"


def line_of(reply):
    """As the driver reads it."""
    if reply is None:
        return "0 0 0 0 0 0 0 0"
    message = reply.message
    incarnation, client = getattr(message, "incarnation", 0), getattr(message, "client", NOBODY)
    count = message.count
    return f"{reply.port} {TAGS[type(message)]} {incarnation} {fields(client)} {count.clients} {count.sequence}"


def shown(state):
    """As the driver prints it."""
    listeners = "".join(f" {port}:{int(it.listening)}:{it.asked}" for port, it in sorted(state.listeners.items()))
    ordered = sorted((client.arrival, client.cookie, client.port) for client in state.clients)
    clients = "".join(f" {'/'.join(map(str, client))}" for client in ordered)
    outbox = "".join(f" {reply.port}:{wire.encode(reply.message).hex()}" for reply in state.outbox)
    return f" {state.sequence} |{listeners} |{clients} |{outbox}"


def difference(driver, choices):
    """Of one run: None, or the line at which the machines differ, the core's answer and the other's."""
    both = Both()
    for choice in choices:
        both.take(choice)
    if not both.lines:
        return None
    text = "\n".join(both.lines) + "\n"
    done = subprocess.run([driver], input=text, capture_output=True, text=True, timeout=60)
    came = [*done.stdout.splitlines(), f"the driver has ended with {done.returncode}: {done.stderr}"]
    pairs = zip(both.lines, both.answers, came, strict=False)
    return next(((line, right, wrong) for line, right, wrong in pairs if right != wrong), None)


def choices(seed, count):
    """Random ones."""
    chance = random.Random(seed)
    return [tuple(chance.randrange(1 << 16) for _ in range(4)) for _ in range(count)]


def main(events=100_000, driver="reference/native/built/machine-driver"):
    """Compare, and say how it went: the exit code."""
    for seed in range(int(events) // BATCH):
        found = difference(driver, choices(seed, BATCH))
        if found:
            print("\n".join([f"seed {seed}:", *found]))
            return 1
    print(f"{int(events):,} events: the machine in C and that of the core have taken each of them alike")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
