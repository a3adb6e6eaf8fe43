"""The encoding of the vectors: what the machines come to is read back as it was, and nothing else is read."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from proofs.mutation.core.steps import explored

from maitred.core import distributor, monitor, server
from maitred.core.messages import Client
from maitred.vectors import codec, compare

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps():
    """Machine, state and event of each step that some explorations take."""
    return [(asked.machine, asked.state, asked.event) for asked in explored(worlds=60)]


def through_json(value):
    return json.loads(json.dumps(value))


def test_every_step_is_read_back_as_it_was(steps):
    assert len(steps) > 300
    assert {machine for machine, _, _ in steps} == set(codec.MACHINES)
    for machine, state, event in steps:
        encoded = codec.encode_state(state)
        assert codec.decode_state(machine, through_json(encoded)) == codec.canonical(state)
        assert codec.decode_event(machine, through_json(codec.encode_event(event))) == event


def test_the_step_of_a_state_that_was_read_back_is_the_same(steps):
    for machine, state, event in steps:
        outcome = codec.take(machine, state, event)
        again = codec.take(machine, codec.decode_state(machine, codec.encode_state(state)), event)
        assert again == outcome
        assert codec.decode_outcome(machine, through_json(codec.encode_outcome(outcome))) == outcome
        assert compare.check(machine, codec.encode_outcome(outcome), codec.encode_outcome(again)) == ()


def test_a_large_number_is_written_as_text():
    client = Client(2**53, 2**53 - 1, -(2**63))
    encoded = codec.encode_event(server.Disconnected(client))
    assert encoded["client"] == {
        "arrival": {"#bigint": "9007199254740992"},
        "cookie": 2**53 - 1,
        "port": {"#bigint": "-9223372036854775808"},
    }
    assert codec.decode_event("server", encoded) == server.Disconnected(client)


NOTHING = {"listeners": {"#map": []}, "clients": {"#set": []}, "sequence": 0, "outbox": []}
ONE = {"arrival": 1, "cookie": 2, "port": 3}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sequence": 1.0}, "state.sequence: 1.0 should be a whole number"),
        ({"sequence": True}, "state.sequence: True should be a whole number"),
        ({"sequence": {"#bigint": "1e3"}}, "state.sequence: '1e3' should be a whole number in decimal digits, as text"),
        ({"clients": []}, 'state.clients: [] should be {"#set": [...]}'),
        ({"clients": {"#set": [ONE, ONE]}}, "state.clients: has something twice"),
        ({"clients": {"#set": 1}}, "state.clients: 1 at '#set' should be an array"),
        ({"clients": {"#set": [{**ONE, "is": "Count"}]}}, "state.clients[0].is: 'Count' should be Client"),
        ({"listeners": {"#map": [[80]]}}, "state.listeners: [80] should be an array of a key and its value"),
        ({"outbox": [{"port": 80, "message": {"is": "Adopt"}}]}, "state.outbox[0].message.is: 'Adopt' should be"),
        ({"outbox": [{"port": 80}]}, "state.outbox[0]: Reply has no 'message'; should have port, message"),
        ({"queue": []}, "state.queue: EndpointState has no such field; it has listeners, clients, sequence, outbox"),
    ],
)
def test_what_is_no_state_is_refused_with_the_place(change, says):
    assert codec.decode_state("server", NOTHING) == server.EndpointState()
    with pytest.raises(codec.CodecError, match=re.escape(says)):
        codec.decode_state("server", {**NOTHING, **change})


def test_the_order_must_name_every_server_once():
    encoded = codec.encode_state(distributor.initial(1, 0, 1, ((80, "*:80"),), fixed=True))
    for wrong in ([1], [1, 1]):
        with pytest.raises(codec.CodecError, match=r"state\.order"):
            codec.decode_state("distributor", {**encoded, "order": wrong})
    del encoded["order"]
    with pytest.raises(codec.CodecError, match="the key 'order'"):
        codec.decode_state("distributor", encoded)


def test_places_and_elements_must_be_those_of_the_configuration():
    config = monitor.ClassConfig(1, 1, 2, 2, (0,))
    state = codec.take("monitor", monitor.initial((config,), (1,)), monitor.Started()).state
    assert codec.decode_state("monitor", codec.encode_state(state)) == state
    encoded = codec.encode_state(state)
    (((_, cls),),) = encoded["classes"].values()
    cls["places"]["#map"][0][0] = 2
    with pytest.raises(codec.CodecError, match=r"classes\[0\].places: \[2\] should have 0 to 0"):
        codec.decode_state("monitor", encoded)
    cls["places"]["#map"][0][0] = 0
    cls["distributor"]["element"] = 7
    with pytest.raises(codec.CodecError, match="processing element 7, which is unknown"):
        codec.decode_state("monitor", encoded)


def test_an_answer_is_either_a_step_or_a_rejection():
    for answer, says in (
        ([], "answer: [] should be an object"),
        ({"state": NOTHING}, "answer: has no 'effects'"),
        ({"state": NOTHING, "rejected": "NOT_BOUND"}, "should have one or the other"),
        ({"rejected": "NO"}, "answer.rejected: 'NO' should be one of UNKNOWN_SERVER"),
    ):
        (difference,) = compare.check("server", {"rejected": "NOT_BOUND"}, answer)
        assert says in difference


def test_the_example_of_the_page_runs():
    page = (ROOT / "spec" / "vectors" / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert examples
    for example in examples:
        exec(example, {})


def test_what_is_left_out_is_on_the_page():
    page = (ROOT / "spec" / "vectors" / "README.md").read_text()
    for names in codec.LEFT_OUT.values():
        assert [name for name in names if f"`{name}`" not in page] == []


# ================================================================ comparing


A, B = Client(1, 11, 80), Client(2, 12, 80)


def waits():
    """A Distributor with two servers: one is full, and both clients are about to be seated at the other."""
    state = distributor.initial(1, 0, 5, ((80, "*:80"),), fixed=True)
    for event in (
        distributor.Adopt(1, 1, 1, False, False, (80,), ()),
        distributor.Adopt(2, 1, 1, False, False, (80,), ()),
        distributor.Restore(A),
        distributor.Restore(B),
        distributor.Begin(),
        distributor.Listening(80, "*:80"),
    ):
        state = distributor.step(state, event).state
    return state


def seated():
    """The step in which the first of them is."""
    event = distributor.Received(1, 80, distributor.RestartReply(1, distributor.Count(0, 0)))
    return codec.take("distributor", waits(), event)


def kinds(outcome):
    return [type(getattr(effect, "message", effect)).__name__ for effect in outcome.effects]


def test_effects_may_come_in_any_order_that_the_rules_allow():
    right = seated()
    assert kinds(right) == ["ServerReady", "Release", "HandOff", "SetTimer", "Accept"]
    free = replace(right, effects=tuple(right.effects[i] for i in (4, 1, 3, 0, 2)))
    assert [*compare.differences("distributor", right, free)] == []


@pytest.mark.parametrize("moved", [(0, 2, 1, 3, 4), (1, 2, 0, 3, 4)])
def test_effects_in_a_wrong_order_are_reported_with_the_reason(moved):
    right = seated()
    wrong = replace(right, effects=tuple(right.effects[i] for i in moved))
    (said,) = compare.differences("distributor", right, wrong)
    assert "should be before" in said
    assert any(rule.why in said for rule in compare.order())


def test_an_effect_that_is_missing_too_many_or_another_is_reported():
    right = seated()
    for effects in (right.effects[1:], (*right.effects, right.effects[0]), (*right.effects[:-1], distributor.Watch(A))):
        assert [*compare.differences("distributor", right, replace(right, effects=effects))] != []


def test_a_state_that_differs_is_reported_by_its_place():
    right = codec.encode_outcome(seated())
    bent = through_json(right)
    bent["state"]["ports"]["#map"][0][1]["accepting"] = False
    bent["state"]["order"].reverse()
    bent["state"]["servers"]["#map"][0][1]["count"]["sequence"] = 5
    assert sorted(compare.check("distributor", right, bent)) == [
        "state.order: expected [2, 1], came [1, 2]",
        "state.ports[80].accepting: expected true, came false",
        "state.servers[1].count.sequence: expected 0, came 5",
    ]


def test_sets_and_maps_may_be_in_any_order():
    right = codec.encode_outcome(seated())
    turned = through_json(right)
    turned["state"]["servers"]["#map"].reverse()
    assert turned != right
    assert compare.check("distributor", right, turned) == ()


def test_every_rule_names_effects_and_fields_that_there_are():
    for rule in compare.order():
        machine = codec.MACHINES[rule.machine]
        effects = {one.__name__: one for one in codec.choices(machine.effect)}
        for pattern in (rule.first, rule.then):
            kind, _, message = pattern.partition(".")
            if kind == "*":
                continue
            messages = {m.__name__: m for m in codec.choices(codec.shown_fields(effects[kind]).get("message", None))}
            assert not message or message in messages, rule
            holders = [effects[kind], *([messages[message]] if message else messages.values())]
            for name in rule.same:
                found = [h for h in holders if hasattr(h, "__dataclass_fields__") and name in codec.shown_fields(h)]
                assert found or name in ("port", "client"), (rule, name)
