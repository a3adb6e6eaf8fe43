"""The account of a hostile campaign sees who is harmed, and lets a hostile copy harm those alone whom it was given."""

import json
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

    def bring(visits=(), notes="", deeds="", asked=(), log="", trace="", after=LEVELS):
        (tmp_path / "notes").write_text(notes)
        (tmp_path / "trace").write_text(trace)
        (tmp_path / "deeds").write_text(f"hostile {HOSTILE_PID} 0 1.0\nattack {HOSTILE_PID} dies 2.0\n{deeds}")
        witnesses = Diary(tmp_path / "notes"), Deeds.read(tmp_path), list(asked), Counter(reset=3)
        records = log, tmp_path / "trace"
        return account(["bad", "good"], [81, 82], "bad", list(visits), *witnesses, (5.0, 9.0), *records, LEVELS, after)

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
    """It can read what the client sends, and send what it likes, whether it answers or not."""
    had = [visit(81, outcome, HOSTILE_PID), visit(81, outcome, 0, cookie=8)]
    found = judge(had, deeds=f"taken {HOSTILE_PID} 8 6.0\n")
    assert found.wrong == [] and found.suffered == 2


HONEST_SERVER, HOSTILE_SERVER = 1, 2
STARTS = "".join(
    f'{{"who":"server 0 {server}","start":{{}},"t":1.0,"pid":{pid}}}\n'
    for server, pid in ((HONEST_SERVER, HONEST_PID), (HOSTILE_SERVER, HOSTILE_PID))
)


def steps(*found, who="distributor 0 1"):
    """Lines of a trace that speak of client 8: what is done, and with which server."""
    client = {"is": "Client", "arrival": 0, "cookie": 8, "port": 81}
    records = {
        "hand-off": ("effect", "Send", {"message": {"is": "HandOff", "client": client}}),
        "accepted": ("event", "Received", {"message": {"is": "Accepted", "client": client}}),
        "close": ("effect", "CloseCopy", {"client": client}),
    }
    lines = []
    for name, server in found:
        kind, what, fields = records[name]
        lines.append({"who": who, kind: {"is": what, **({"server": server} if server else {}), **fields}, "t": 6.0})
    return STARTS + "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


ANSWERED = [("hand-off", HOSTILE_SERVER), ("accepted", HOSTILE_SERVER), ("close", None)]


@pytest.mark.parametrize("outcome", ["lost", "mixed"])
def test_whom_a_hostile_copy_has_answered_for_may_suffer(judge, outcome):
    """Its stand-in had taken the client when it was killed, and its program had noted nothing."""
    found = judge([visit(81, outcome, 0, cookie=8)], trace=steps(*ANSWERED))
    assert found.wrong == [] and found.suffered == 1


@pytest.mark.parametrize(
    "trace",
    [
        STARTS,
        steps(*ANSWERED[:1]),
        steps(*ANSWERED[:2], ("hand-off", HONEST_SERVER)),
        steps(("hand-off", HONEST_SERVER), ("accepted", HONEST_SERVER), ("close", None)),
        steps(("hand-off", HONEST_SERVER), ANSWERED[1], ("accepted", HONEST_SERVER), ("close", None)),
        steps(*ANSWERED, who="server 0 2"),
    ],
    ids=["unknown", "not answered", "not believed", "another had it", "a lie about another's", "its own word"],
)
def test_whom_it_has_not_answered_for_may_not(judge, trace):
    (wrong,) = judge([visit(81, "lost", 0, cookie=8)], trace=trace).wrong
    assert "lost (no copy had it)" in wrong


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
