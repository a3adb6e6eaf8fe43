"""Events and effects as JSON: each comes back as it was, and any other JSON is an error that names the place."""

import json
from dataclasses import is_dataclass
from enum import Enum
from typing import get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.driving import ADDRESS, PORT, client, parts, values

from maitred.core import distributor, monitor, server
from maitred.core.messages import Accepted, Count, HandOff, Port
from maitred.core.record import MACHINES, RecordError, from_record, to_record

INTEGERS = st.integers()
TEXTS = st.text(max_size=20)
KINDS = [
    pytest.param(union, kind, id=f"{name}-{what}-{kind.__name__}")
    for name, unions in MACHINES.items()
    for what, union in zip(("event", "effect"), unions, strict=True)
    for kind in parts(union)
]


def any_value(hint):
    return values(hint, integers=INTEGERS, texts=TEXTS)


@pytest.mark.parametrize(("union", "kind"), KINDS)
def test_every_event_and_effect_comes_back_as_it_was(union, kind):
    @settings(max_examples=20)
    @given(any_value(kind))
    def comes_back(value):
        text = json.dumps(to_record(value))
        assert from_record(union, json.loads(text)) == value

    comes_back()


def test_the_machines_of_the_record_are_all_three_with_all_they_take_and_do():
    machines = {"distributor": distributor, "monitor": monitor, "server": server}
    assert {name: (module.Event, module.Effect) for name, module in machines.items()} == MACHINES


def classes_within(hint, found):
    for part in parts(hint):
        if get_origin(part) is tuple:
            for arg in get_args(part):
                classes_within(arg, found)
        elif is_dataclass(part) and part not in found:
            found.add(part)
            for inner in get_type_hints(part).values():
                classes_within(inner, found)
    return found


@pytest.mark.parametrize("union", [union for pair in MACHINES.values() for union in pair])
def test_a_name_means_one_class_in_each_place(union):
    for choice in [union, *classes_within(union, set())]:
        hints = [choice] if choice is union else get_type_hints(choice).values()
        for hint in hints:
            names = [part.__name__ for part in parts(hint) if is_dataclass(part)]
            assert len(names) == len(set(names)), f"{choice}: two classes of one name"


def test_the_record_is_the_documented_one():
    event = distributor.Received(3, PORT, Accepted(client(1), Count(2, 5)))
    assert to_record(event) == {
        "is": "Received",
        "server": 3,
        "port": PORT,
        "message": {
            "is": "Accepted",
            "client": {"is": "Client", "arrival": 1, "cookie": 1001, "port": PORT},
            "count": {"is": "Count", "clients": 2, "sequence": 5},
        },
    }
    assert to_record(monitor.Exit(monitor.Complaint.GIVEN_UP)) == {"is": "Exit", "failure": "GIVEN_UP"}
    assert to_record(monitor.Exit(None)) == {"is": "Exit", "failure": None}
    assert to_record(monitor.StartDistributor(0, 1, 2, ((PORT, ADDRESS),), 0))["listeners"] == [[PORT, ADDRESS]]


def test_the_arguments_of_a_machines_start_come_back_too():
    listeners = ((PORT, ADDRESS), (PORT, "[::]:4049"))
    assert from_record(tuple[tuple[Port, str], ...], to_record(listeners)) == listeners
    config = monitor.ClassConfig(2, 1, 64, 100, (0, 1), listeners, True)
    assert from_record(monitor.ClassConfig, to_record(config)) == config


HAND_OFF = to_record(distributor.Send(3, PORT, HandOff(client(1))))


@pytest.mark.parametrize(
    ("hint", "record", "complaint"),
    [
        (server.Event, {"is": "Nothing"}, "record: Nothing is none of Acknowledged, Bound, Disconnected"),
        (server.Event, {}, "record: an object without 'is' is none of"),
        (server.Event, 7, "record: 7 is none of"),
        (server.Event, {"is": "Bound"}, "Bound: missing or unknown: port"),
        (server.Event, {"is": "Bound", "port": 1, "x": 2}, "Bound: missing or unknown: x"),
        (server.Event, {"is": "Bound", "port": "1"}, "Bound.port: '1' is none of int"),
        (server.Event, {"is": "Bound", "port": True}, "Bound.port: True is none of int"),
        (server.Event, {"is": "Bound", "port": 1.0}, "Bound.port: 1.0 is none of int"),
        (distributor.Effect, {**HAND_OFF, "message": None}, "Send.message: None is none of HandOff, InitialMsg"),
        (
            distributor.Event,
            {"is": "Audited", "server": 1, "gone": [to_record(client(1)), 5]},
            "Audited.gone[1]: 5 is none of Client",
        ),
        (
            monitor.Effect,
            {"is": "StartDistributor", "class_id": 0, "incarnation": 1, "element": 0, "listeners": [[1]], "dynamic": 0},
            "StartDistributor.listeners[0]: has 1 items, should have 2",
        ),
        (
            monitor.Effect,
            {"is": "Exit", "failure": "NONSENSE"},
            "Exit.failure: 'NONSENSE' is none of Complaint, NoneType",
        ),
    ],
)
def test_the_error_names_the_place_and_the_reason(hint, record, complaint):
    with pytest.raises(RecordError) as caught:
        from_record(hint, record)
    assert str(caught.value).startswith(complaint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([union for pair in MACHINES.values() for union in pair]), JSON)
def test_any_json_is_a_record_or_an_error(union, record):
    with pytest.raises(RecordError):
        from_record(union, record)


@pytest.mark.parametrize("junk", [[], {}])
def test_a_list_is_no_member_of_an_enumeration(junk):
    with pytest.raises(RecordError):
        from_record(monitor.Effect, {"is": "Exit", "failure": junk})


JUNK = (None, True, 0, -1, 1.5, "", "GIVEN_UP", [], [1], [[1, "x"]], {}, {"is": "Client"}, {"is": "Begin", "x": []})


@pytest.mark.parametrize(("union", "kind"), KINDS)
def test_a_record_with_anything_in_the_place_of_a_field_is_a_record_or_an_error(union, kind):
    """Each field, at any depth and in each form that it has, becomes junk of each sort."""
    for value in samples(kind):
        for record in damaged(to_record(value)):
            try:
                back = from_record(union, record)
            except RecordError:
                continue
            assert to_record(back) == record


def samples(hint):
    """Values of the type, with each member of each union within it."""
    choices = parts(hint)
    if len(choices) > 1:
        return [value for choice in choices for value in samples(choice)]
    if get_origin(hint) is tuple:
        args = get_args(hint)
        if args[-1] is Ellipsis:
            return [(), *((value, value) for value in samples(args[0]))]
        return [tuple(samples(arg)[0] for arg in args)]
    if is_dataclass(hint):
        columns = {name: samples(inner) for name, inner in get_type_hints(hint).items()}
        rows = range(max(map(len, columns.values()), default=1))
        return [hint(**{name: column[row % len(column)] for name, column in columns.items()}) for row in rows]
    if issubclass(hint, Enum):
        return [*hint]
    return {int: [3], bool: [False], str: ["x"], type(None): [None]}[hint]


def damaged(record):
    """The record with each piece of junk in each place, one at a time."""
    places = [key for key in record if key != "is"] if isinstance(record, dict) else range(len(record))
    for place in places:
        for inner in (*JUNK, *(damaged(record[place]) if isinstance(record[place], dict | list) else ())):
            if isinstance(record, dict):
                yield {**record, place: inner}
            else:
                yield [*record[:place], inner, *record[place + 1 :]]
