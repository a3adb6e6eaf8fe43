"""The account of a fault campaign notices what it is there for: here the witnesses are made up."""

import json

import pytest
from tests.system.visitors import Kill, Visit, account


def visit(name, outcome, **seen):
    return Visit(name, "brief", outcome=outcome, began=1.0, ended=2.0, **seen)


@pytest.fixture
def bring(tmp_path):
    """Bring witnesses together: visits, kills, the lines of the servers' log, the cookies that endpoints took."""

    def together(visits, kills=(), log=(), taken=(), left=()):
        (tmp_path / "log").write_text("".join(line + "\n" for line in log))
        events = [{"is": "Disconnected", "client": {"cookie": c}} for c in left]
        events[:0] = [
            {"is": "MessageRead", "intact": True, "message": {"is": "HandOff", "client": {"cookie": c}}} for c in taken
        ]
        lines = [json.dumps({"who": "server 0 1", "event": event}) for event in events]
        (tmp_path / "trace").write_text("".join(line + "\n" for line in lines))
        return account(list(visits), list(kills), tmp_path / "log", tmp_path / "trace")

    return together


def test_a_client_of_a_killed_server_is_explained(bring):
    result = bring([visit("a", "lost", server=7)], [Kill("server", 7, 1.5)])

    assert not result.unexplained and not result.nowhere
    assert sum(result.losses.values()) == 1


def test_a_client_lost_by_a_living_server_is_not(bring):
    result = bring([visit("a", "lost", server=7)], [Kill("server", 8, 1.5), Kill("distributor", 9, 1.5)])

    assert [lost.name for lost in result.unexplained] == ["a"]


def test_a_client_that_was_accepted_but_not_greeted_belongs_to_its_server(bring):
    log = ["accept 7 100 5555 1.4", "accept 8 101 5556 1.4"]

    killed = bring([visit("a", "lost", port=5555)], [Kill("server", 7, 1.5)], log)
    alive = bring([visit("b", "lost", port=5556)], [Kill("server", 7, 1.5)], log)

    assert not killed.unexplained and not killed.nowhere
    assert [lost.name for lost in alive.unexplained] == ["b"]


def test_a_port_that_was_used_again_is_not_mistaken(bring):
    result = bring([visit("a", "lost", port=5555)], [Kill("server", 7, 0.5)], ["accept 7 100 5555 0.4"])

    assert [lost.name for lost in result.nowhere] == ["a"]


@pytest.mark.parametrize(
    ("kills", "taken", "allowance"),
    [
        ([], (), 0),
        ([Kill("server", 7, 1.5)], (), 0),
        ([Kill("distributor", 9, 1.5)], (), 1),
        ([Kill("distributor", 9, 1.5), Kill("server", 7, 1.5, with_distributor=True)], (), 2),
        ([Kill("server", 7, 1.5)], (100,), 1),
    ],
    ids=["nobody died", "server", "Distributor", "both", "taken and not noted"],
)
def test_what_may_be_lost_without_a_trace_is_counted(bring, kills, taken, allowance):
    result = bring([visit("a", "lost", port=5555)], kills, taken=taken)

    assert [lost.name for lost in result.nowhere] == ["a"]
    assert result.allowance == allowance


def test_who_was_taken_and_left_is_no_excuse_for_another(bring):
    result = bring([visit("a", "lost", port=5555)], [Kill("server", 7, 1.5)], taken=(100,), left=(100,))

    assert result.allowance == 0


def test_a_loss_long_after_any_kill_is_noticed(bring):
    soon = bring([visit("a", "lost", port=5555)], [Kill("distributor", 9, 1.9)])
    late = bring([visit("a", "lost", port=5555)], [Kill("distributor", 9, -10.0)])

    assert not soon.untimely
    assert [lost.name for lost in late.untimely] == ["a"]


def test_a_distributor_that_died_with_a_client_in_hand_is_told_from_the_trace(tmp_path):
    def lines(who, *records):
        return "".join(json.dumps({"who": who, **record}) + "\n" for record in records)

    accepted = {"event": {"is": "ConnectionRequest", "cookie": 1}}
    stored = {"effect": {"is": "Tell", "message": {"is": "Store"}}}
    released = {"effect": {"is": "Tell", "message": {"is": "Release"}}}
    sent = {"effect": {"is": "Send", "message": {"is": "HandOff"}}}
    (tmp_path / "log").touch()
    (tmp_path / "trace").write_text(
        lines("distributor 0 1", accepted)
        + lines("distributor 0 2", accepted, stored)
        + lines("distributor 0 3", accepted, sent, {"event": {"is": "Received"}}, released)
        + lines("distributor 0 4", accepted, stored, {"event": {"is": "Received"}}, released, sent)
    )

    assert account([], [], tmp_path / "log", tmp_path / "trace").alone == 2


def test_a_connection_accepted_twice_is_noticed(bring):
    result = bring([], [], ["accept 7 100 5555 1.4", "accept 8 100 5555 1.5"])

    assert result.twice == ["connection 100 was accepted by 7 and by 8"]


def test_a_client_served_twice_is_noticed(bring):
    result = bring([], [], ["hello 7 100 a", "hello 8 101 a"])

    assert result.twice == ["client a was served 2 times"]
