"""A program that answers the test vectors: it reads a question a line, takes the step, and writes what comes of it.

The protocol is described in spec/vectors/README.md. The steps are those of the core, so every vector passes:

    maitred conform step --seed 7 -- python examples/ports/python/steps.py
"""

import json
import sys

from maitred.core import wire
from maitred.core.transition import Rejected
from maitred.vectors import codec


def answers(lines):
    """The answer to each question, as text."""
    states = {}
    for line in lines:
        question = json.loads(line)
        machine = question["machine"]
        if machine == "wire":
            yield json.dumps(packet(bytes.fromhex(question["bytes"])))
            continue
        if "state" in question:
            states[machine] = codec.decode_state(machine, question["state"])
        made = codec.MACHINES[machine].module.step(states[machine], codec.decode_event(machine, question["event"]))
        if isinstance(made, Rejected):
            yield json.dumps({"rejected": made.reason.name})
        else:
            states[machine] = made.state  # with its indexes: the next question may go on from here
            canonical = codec.canonical(made.state)
            yield json.dumps(codec.encode_outcome(codec.Taken(canonical, made.effects)))


def packet(data):
    """What the packet is read as, and what that is written as."""
    try:
        message = wire.decode(data)
    except wire.WireError:
        return {"message": None}
    return {"message": codec.encode(wire.Message, message), "bytes": wire.encode(message).hex()}


def main():
    for answer in answers(sys.stdin):
        print(answer, flush=True)


if __name__ == "__main__":
    main()
