"""The account of a hostile campaign sees who is harmed, and lets a hostile copy harm those alone whom it was given."""

from collections import Counter

import pytest
from tests.faults.account import Diary
from tests.faults.clients import Visit
from tests.faults.kernel import DISTRIBUTOR, MONITOR, Level
from tests.hostile.account import SILENCE, Asked, Deeds, account

HONEST_PID, HOSTILE_PID = 10, 20
UP = (("a", 1, "operating"), ("b", 1, "operating"))
LEVELS = {MONITOR: [Level(30, 1, 1 << 20)], DISTRIBUTOR: [Level(20, 1, 1 << 20)]}


@pytest.fixture
def judge(tmp_path):
    """Bring made-up witnesses together; each of them is of a campaign in which all went well."""

    def bring(visits=(), notes="", deeds="", asked=(), log="", after=LEVELS):
        (tmp_path / "notes").write_text(notes)
        (tmp_path / "deeds").write_text(f"hostile {HOSTILE_PID} 0 1.0\nattack {HOSTILE_PID} dies 2.0\n{deeds}")
        witnesses = Diary(tmp_path / "notes"), Deeds.read(tmp_path), list(asked), Counter(reset=3)
        names, ports = ["bad", "good"], [81, 82]
        return account(names, ports, "bad", list(visits), *witnesses, (5.0, 9.0), log, LEVELS, after)

    return bring


def visit(port, outcome, server=HONEST_PID, cookie=7, began=6.0):
    return Visit("a", "quick", port, cookie, outcome, server, 1, began, began + 0.5, began + 1)


def look(distributors=UP, bad=(HONEST_PID, HOSTILE_PID), good=(11,)):
    return Asked(1.0, 0.25, distributors, (set(bad), set(good)))


def test_a_campaign_in_which_all_went_well(judge):
    visits = [visit(82, "served"), visit(81, "left", began=1.0), visit(81, "served", HOSTILE_PID)]
    log = f"maitred: server 2 of bad (pid {HOSTILE_PID}) was killed by SIGKILL\n"

    found = judge(visits, asked=[look(), look(bad=(HONEST_PID,)), look(bad=(HONEST_PID, 21))], log=log)

    assert found.wrong == []
    assert found.waits == {"bad, in peace": [0.5], "good, in war": [0.5]}, "who waited for the hostile copy is left out"
    assert found.attacks == {"dies": 1} and found.slowest() == 0.25 and "dies: 1" in found.table()


@pytest.mark.parametrize("outcome", ["lost", "mixed"])
def test_whom_a_hostile_copy_had_may_suffer(judge, outcome):
    had = [visit(81, outcome, HOSTILE_PID), visit(81, outcome, 0, cookie=8)]
    found = judge(had, deeds=f"taken {HOSTILE_PID} 8 6.0\n")
    assert found.wrong == [] and found.suffered == 2


@pytest.mark.parametrize(
    ("port", "outcome", "server"),
    [
        (81, "lost", HONEST_PID),
        (81, "lost", 0),
        (81, "mixed", HONEST_PID),
        (81, "refused", 0),
        (81, "hanging", HOSTILE_PID),
        (82, "lost", HOSTILE_PID),
        (82, "lost", HONEST_PID),
    ],
)
def test_nobody_else_may(judge, port, outcome, server):
    (wrong,) = judge([visit(port, outcome, server)]).wrong
    assert outcome in wrong


def test_two_honest_servers_with_one_client_are_seen(judge):
    (wrong,) = judge(notes="accept 10 7 6.0\naccept 11 7 7.0\n").wrong
    assert "connection 7: accept by 10 and by 11" in wrong


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("maitred: server 1 of bad (pid 10) was killed by SIGBUS", "pid 10"),
        ("maitred: the Distributor of bad (pid 3) exited with status 1", "the Distributor of bad"),
        ("maitred: distributor of good: the Monitor is gone; serving goes on unsupervised", "the Monitor is gone"),
    ],
)
def test_a_death_is_seen(judge, line, said):
    (wrong,) = judge(log=f"{line}\n").wrong
    assert said in wrong


def test_a_distributor_that_is_another_is_seen(judge):
    (wrong,) = judge(asked=[look(), look((("x", 2, "operating"), UP[1]))]).wrong
    assert "('a', 1) became ('x', 2)" in wrong


def test_a_distributor_that_does_not_answer_for_long_is_seen(judge):
    silent = look((("a", 1, "restarting"), UP[1]))
    assert judge(asked=[look(), *[silent] * (SILENCE - 1), look()]).wrong == []
    (wrong,) = judge(asked=[look(), *[silent] * SILENCE, look()]).wrong
    assert "did not answer" in wrong


@pytest.mark.parametrize("gone", [{"bad": (HOSTILE_PID,)}, {"good": ()}])
def test_an_honest_server_that_is_gone_is_seen(judge, gone):
    (wrong,) = judge(asked=[look(), look(**gone)]).wrong
    assert "honest servers are gone" in wrong


@pytest.mark.parametrize("role", [MONITOR, DISTRIBUTOR])
@pytest.mark.parametrize("level", [Level(31, 1, 1 << 20), Level(20, 3, 1 << 20), Level(20, 1, 1 << 30)])
def test_what_is_left_behind_is_seen(judge, role, level):
    (wrong,) = judge(after={**LEVELS, role: [level]}).wrong
    assert role in wrong


def test_how_long_hidden_processes_outlived_their_server_is_reported(judge):
    deeds = f"hidden 30 {HOSTILE_PID} 2.5\nhidden 31 {HOSTILE_PID} 2.75\nhidden 40 {HOSTILE_PID} 2.25\n"
    found = judge(deeds=f"{deeds}over {HOSTILE_PID} 0 2.5\n")
    assert found.survived == [0.25]
