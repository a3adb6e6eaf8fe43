"""The cases for an implementation of the steps: each vector is one, and each sequence, and each packet.

The program under test is given what a vector begins with, and answers with what comes of it (`maitred.conform.lines`);
`maitred.vectors.compare` says in what the answer differs from what is expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from maitred.conform.cases import Case, Collection, Failed
from maitred.conform.lines import Lines
from maitred.core import wire
from maitred.core.transition import Rejected
from maitred.vectors import codec, compare, files, fresh
from maitred.vectors.codec import Json

MACHINES: Final = (*codec.MACHINES, "wire")
"""What can be asked for: the machines, and the packets."""


def collection(machines: tuple[str, ...] = MACHINES, seed: int | None = None) -> Collection[Lines]:
    """The cases of these machines; with a seed also walks that are in no file."""
    found: Collection[Lines] = Collection()
    found.cases += [_step(vector) for vector in files.steps() if vector.machine in machines]
    found.cases += [_trace(trace) for trace in files.traces() if trace.machine in machines]
    if "wire" in machines:
        found.cases += [_packet(packet) for packet in files.packets()]
    if seed is not None:
        found.cases += [_trace(walk) for one in codec.MACHINES if one in machines for walk in fresh.walks(seed, one)]
    return found


def _case(name: str, note: str, requirements: tuple[str, ...], run: Callable[[Lines], None]) -> Case[Lines]:
    def begun(lines: Lines) -> None:
        lines.begin()
        run(lines)

    return Case(name, note, requirements, begun)


# ================================================================ steps


def _step(vector: files.Vector) -> Case[Lines]:
    def run(lines: Lines) -> None:
        question = {"id": vector.id, "machine": vector.machine, "state": vector.state, "event": vector.event}
        _judge(vector.machine, vector.then, lines.ask(question))

    return _case(vector.id, vector.note, vector.requirements, run)


def _trace(trace: files.Trace) -> Case[Lines]:
    def run(lines: Lines) -> None:
        for number, (question, expected) in enumerate(_asked(trace), 1):
            _judge(trace.machine, expected, lines.ask(question), f"in step {number} of {len(trace.steps)} ")

    return _case(trace.id, trace.note, (), run)


def _asked(trace: files.Trace) -> Iterator[tuple[dict[str, Json], Json]]:
    """The questions of a sequence, and what must come: the core gives the states between, of which a trace has none."""
    state = codec.decode_state(trace.machine, trace.state)
    question: dict[str, Json] = {"id": trace.id, "machine": trace.machine, "state": trace.state}
    for event, then in trace.steps:
        outcome = codec.take(trace.machine, state, codec.decode_event(trace.machine, event))
        expected = codec.encode_outcome(outcome)
        assert isinstance(expected, dict) and isinstance(then, dict)
        assert then == {name: expected[name] for name in expected if name != "state"}, f"{trace.id} is stale"
        yield question | {"event": event}, expected
        question.pop("state", None)
        state = state if isinstance(outcome, Rejected) else outcome.state


def _judge(machine: str, expected: Json, answer: Json, where: str = "") -> None:
    """Fail the case if this is not the right answer."""
    if wrong := compare.check(machine, expected, answer):
        raise Failed(f"{where}{_summary(expected)}", _count(wrong), differences=wrong)


def _summary(outcome: Json) -> str:
    assert isinstance(outcome, dict)
    if "rejected" in outcome:
        return f"the rejection {outcome['rejected']}"
    effects = outcome["effects"]
    assert isinstance(effects, list)
    return f"a step that is taken, with {', '.join(map(_kind, effects)) or 'no effects'}"


def _kind(effect: Json) -> str:
    assert isinstance(effect, dict)
    inner = effect.get("message") or effect.get("timer")
    return f"{effect['is']}.{inner['is']}" if isinstance(inner, dict) else str(effect["is"])


def _count(wrong: tuple[str, ...]) -> str:
    return wrong[0] if len(wrong) == 1 else f"{len(wrong)} differences"


# ================================================================ packets


def _packet(packet: files.Packet) -> Case[Lines]:
    def run(lines: Lines) -> None:
        answer = lines.ask({"id": packet.id, "machine": "wire", "bytes": packet.bytes.hex()})
        if wrong := tuple(_unlike(packet, answer)):
            what = "a packet that is no message" if packet.message is None else f"the message {_kind_of(packet)}"
            raise Failed(what, _count(wrong), differences=wrong)

    return _case(packet.id, packet.note, (), run)


def _kind_of(packet: files.Packet) -> str:
    return str(packet.message["is"]) if isinstance(packet.message, dict) else ""


def _unlike(packet: files.Packet, answer: Json) -> Iterator[str]:
    if not isinstance(answer, dict) or "message" not in answer:
        yield 'answer: should be an object with the key "message"'
        return
    if packet.message is None or answer["message"] is None:
        if packet.message != answer["message"]:
            yield f"message: expected {compare.shown(packet.message)}, came {compare.shown(answer['message'])}"
        return
    try:
        found = codec.encode(wire.Message, codec.decode(wire.Message, answer["message"], "message"))
    except codec.CodecError as error:
        yield str(error)
    else:
        yield from compare.places(packet.message, found, "message")
    if answer.get("bytes") != packet.bytes.hex():
        yield f"bytes: expected {compare.shown(packet.bytes.hex())}, came {compare.shown(answer.get('bytes'))}"
