"""The account of a fault campaign notices what it is there for: here the witnesses are made up."""

import json

import pytest
from tests.faults.account import (
    HELD_ALONE,
    NOT_LOOKED_FOR,
    SENT_UNANSWERED,
    SERVED_BY_DEAD_CHILD,
    SERVED_BY_DEAD_SERVER,
    account,
)
from tests.faults.clients import Visit
from tests.faults.kernel import Level
from tests.faults.violence import Fault

PORT = 8000
SERVER, CHILD, DISTRIBUTOR = 70, 71, 90
"""Pids of server 1, of what it has forked, and of the first Distributor."""
DIED = 5.0
"""When whoever dies was killed; the Monitor has noticed it a little later."""


def visit(cookie=1, outcome="lost", ended=DIED + 0.1, began=1.0, name="a"):
    return Visit(f"{name}{cookie}", "quick", PORT, cookie, outcome, began=began, ended=ended)


def killed(pid, role, kind="kill", main=0):
    return Fault(kind, role, pid, main, DIED, deadly=True)


def client(cookie):
    return {"is": "Client", "arrival": 0, "cookie": cookie, "port": PORT}


class Scene:
    """Witnesses in the making."""

    def __init__(self, tmp_path):
        self.trace, self.notes = tmp_path / "trace", tmp_path / "notes"
        self.lines, self.noted, self.faults = [], [], []
        self.visits = []
        self.traced = True
        self.monitor(0.1, start={"classes": [{"is": "ClassConfig", "static": 2, "listeners": [[PORT, f"*:{PORT}"]]}]})
        self.monitor(0.2, effect={"is": "StartDistributor", "class_id": 0, "incarnation": 1})
        self.monitor(0.2, effect={"is": "StartServer", "class_id": 0, "server": 1, "place": 0})
        self.distributor(0.3, start={})
        self.server(0.3, start={})

    def _line(self, who, pid, at, record):
        self.lines.append(json.dumps({"who": who, **record, "t": at, "pid": pid}, separators=(",", ":")))

    def monitor(self, at, **record):
        self._line("monitor", 10, at, record)

    def distributor(self, at, **record):
        self._line("distributor 0 1", DISTRIBUTOR, at, record)

    def server(self, at, **record):
        self._line("server 0 1", SERVER, at, record)

    # ------------------------------------------------ what befalls a client

    def requested(self, cookie=1, at=2.0):
        self.distributor(at, event={"is": "ConnectionRequest", "port": PORT, "cookie": cookie})

    def told(self, what, cookie=1, at=2.1, *, traced=True):
        message = {"is": what, "client": client(cookie)}
        if traced:
            self.distributor(at, effect={"is": "SendMonitor", "message": message})
        self.monitor(at + 0.05, event={"is": "Reported", "class_id": 0, "message": message})

    def sent(self, cookie=1, at=2.2):
        hand_off = {"is": "HandOff", "client": client(cookie)}
        self.distributor(at, effect={"is": "Send", "server": 1, "port": PORT, "message": hand_off})

    def read(self, cookie=1, at=2.3, *, intact=True):
        hand_off = {"is": "HandOff", "client": client(cookie)}
        self.server(at, event={"is": "MessageRead", "port": PORT, "message": hand_off, "intact": intact})

    def received(self, what, cookie=1, at=2.4):
        message = {"is": what, "client": client(cookie)}
        self.distributor(at, event={"is": "Received", "server": 1, "port": PORT, "message": message})

    def note(self, *lines):
        self.noted += lines

    # ------------------------------------------------ deaths

    def server_dies(self, *, cause=True):
        if cause:
            self.faults.append(killed(SERVER, "server", "kill server"))
        self.monitor(DIED + 0.05, event={"is": "ServerExited", "class_id": 0, "server": 1})

    def distributor_dies(self, *, cause=True):
        if cause:
            self.faults.append(killed(DISTRIBUTOR, "Distributor", "kill Distributor"))
        self.monitor(DIED + 0.05, event={"is": "DistributorExited", "class_id": 0})

    def child_dies(self, pid=CHILD):
        self.faults.append(killed(pid, "child", "kill child", SERVER))

    # ------------------------------------------------ the verdict

    def verdict(self, *visits, **levels):
        self.trace.write_text("".join(line + "\n" for line in self.lines))
        self.notes.write_text("".join(line + "\n" for line in self.noted))
        trace = self.trace if self.traced else None
        return account(list(visits), self.faults, self.notes, trace, **levels)

    def explains(self, *visits):
        """The causes of the losses, in the order of their number; none where something is wrong."""
        result = self.verdict(*visits)
        return [] if result.wrong else sorted(result.losses.elements())


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


# ---------------------------------------------------------------- with a server


def test_a_client_of_a_killed_server_is_explained(scene):
    scene.note(f"accept {SERVER} 1 2.5", f"handle {SERVER} 1 2.5")
    scene.server_dies()

    assert scene.explains(visit()) == [SERVED_BY_DEAD_SERVER]


def test_a_client_lost_by_a_living_server_is_not(scene):
    scene.note(f"accept {SERVER} 1 2.5")
    scene.distributor_dies()

    result = scene.verdict(visit())

    assert result.losses == {"without a cause": 1}
    assert result.wrong[0].startswith("lost without a cause")


def test_without_a_trace_no_cause_is_looked_for_but_all_else_is(scene):
    scene.traced = False
    scene.note(f"serve {SERVER} 1 a1.0", f"serve {SERVER + 1} 1 a1.0")

    result = scene.verdict(visit(), visit(2, "mixed"))

    assert result.losses == {NOT_LOOKED_FOR: 1}
    mixed, twice = result.wrong
    assert mixed.startswith("mixed") and "was served by" in twice


def test_a_client_lost_before_its_server_died_is_not(scene):
    scene.note(f"accept {SERVER} 1 2.5")
    scene.server_dies()

    assert not scene.explains(visit(ended=DIED - 0.1))


def test_a_client_that_the_endpoint_took_belongs_to_its_server(scene, tmp_path):
    for each in (scene, alive := Scene(tmp_path)):
        each.requested()
        each.sent()
        each.read()
    scene.server_dies()

    assert scene.explains(visit()) == [SERVED_BY_DEAD_SERVER]
    assert not alive.explains(visit())


def test_a_client_that_was_answered_belongs_to_its_server_although_a_child_gives_it_up(scene, tmp_path):
    """The main process died after it had sent the answer, and before it could note that; see `server.Interrupted`."""
    for each in (scene, unanswered := Scene(tmp_path)):
        each.requested()
        each.sent()
        each.read()
        each.server_dies()
    scene.received("Accepted", at=DIED)
    for each in (scene, unanswered):
        reply = {"port": PORT, "message": {"is": "Accepted", "client": client(1)}}
        each.server(DIED + 0.01, event={"is": "Interrupted", "port": PORT, "reply": reply})
        each.received("Refused", at=DIED + 0.02)

    assert scene.explains(visit()) == [SERVED_BY_DEAD_SERVER]
    assert not unanswered.explains(visit()), "the Distributor has it"


def test_a_client_of_a_killed_child_is_explained(scene):
    scene.note(f"accept {SERVER} 1 2.5", f"handle {CHILD} 1 2.5")
    scene.child_dies()

    assert scene.explains(visit()) == [SERVED_BY_DEAD_CHILD]
    assert not scene.explains(visit(ended=DIED - 0.1))


def test_a_child_that_could_note_nothing_explains_one_loss(scene):
    scene.note(f"accept {SERVER} 1 2.5", f"accept {SERVER} 2 2.5")
    scene.child_dies()

    assert scene.explains(visit()) == [SERVED_BY_DEAD_CHILD]
    assert not scene.explains(visit(1), visit(2))


def test_whoever_had_the_pid_before_explains_nothing(scene):
    scene.monitor(DIED + 1, event={"is": "Fired"})
    scene.monitor(DIED + 1, effect={"is": "StartServer", "class_id": 0, "server": 2, "place": 1})
    scene.monitor(DIED + 9, event={"is": "ServerExited", "class_id": 0, "server": 2})
    scene.faults.append(killed(72, "server"))
    log = "maitred: server 2 of web (pid 72, on cpu0) started"

    assert "died without a cause" in scene.verdict(log=log, names=["web"]).wrong[0]


# ---------------------------------------------------------------- with a Distributor


def test_a_distributor_that_held_a_client_alone_explains_it(scene):
    scene.requested()
    scene.distributor_dies()

    assert scene.explains(visit()) == [HELD_ALONE]


def test_it_explains_one_and_no_more(scene):
    scene.requested(1)
    scene.requested(2)
    scene.distributor_dies()

    assert not scene.explains(visit(1), visit(2))


def test_one_that_lives_explains_nothing(scene):
    scene.requested()

    assert not scene.explains(visit())


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "died before it could trace it"])
def test_a_client_in_the_store_must_not_be_lost_and_one_released_may(scene, traced):
    scene.requested(1)
    scene.told("Store", 1)
    scene.distributor_dies()
    assert not scene.explains(visit(1))

    scene.told("Release", 1, at=2.2, traced=traced)
    assert scene.explains(visit(1)) == [HELD_ALONE]


def test_sent_and_unanswered_is_explained_by_two_deaths(scene):
    scene.requested()
    scene.sent()
    scene.distributor_dies()
    assert not scene.explains(visit()), "the server has it"

    scene.server_dies()
    assert scene.explains(visit()) == [SENT_UNANSWERED]


def test_or_by_a_death_and_a_refusal(scene):
    scene.requested()
    scene.sent()
    scene.read(intact=False)
    assert not scene.explains(visit()), "the Distributor has it"

    scene.distributor_dies()
    assert scene.explains(visit()) == [SENT_UNANSWERED]


def test_taken_back_and_not_placed_anew_is_held_alone(scene):
    scene.requested()
    scene.sent()
    scene.server_dies()
    scene.distributor(DIED, event={"is": "DialogEnded", "server": 1, "port": PORT})
    scene.distributor_dies()

    assert scene.explains(visit()) == [HELD_ALONE]


@pytest.mark.parametrize(
    ("seen", "explained"),
    [({}, True), ({"began": DIED + 60, "ended": DIED + 61}, False), ({"ended": DIED - 0.1}, False)],
    ids=["then", "long after", "before"],
)
def test_a_client_of_whom_nobody_speaks_was_with_a_distributor_that_died(scene, seen, explained):
    scene.distributor_dies()

    assert scene.explains(visit(**seen)) == ([HELD_ALONE] if explained else [])


def test_nobody_speaks_of_it_and_nobody_died(scene):
    assert not scene.explains(visit())


# ---------------------------------------------------------------- what must not be


@pytest.mark.parametrize("outcome", ["refused", "hanging", "mixed"])
def test_what_no_client_may_see(scene, outcome):
    assert scene.verdict(visit(outcome=outcome)).wrong
    assert not scene.verdict(visit(outcome="served")).wrong


def test_a_client_whom_the_kernel_does_not_know(scene):
    assert scene.verdict(visit(cookie=0, outcome="served")).wrong


@pytest.mark.parametrize(
    "notes",
    [
        ("accept 70 1 2.5", "accept 80 1 2.5"),
        ("handle 70 1 2.5", "handle 71 1 2.5"),
        ("serve 70 1 a1.0", "serve 80 2 a1.0"),
    ],
    ids=["accepted", "handled", "answered"],
)
def test_twice_is_noticed(scene, notes):
    scene.note(*notes[:1])
    assert not scene.verdict().wrong

    scene.note(*notes[1:])
    assert len(scene.verdict().wrong) == 1


def test_a_death_without_a_cause_is_noticed(scene):
    scene.server_dies(cause=False)

    assert any("died without a cause" in wrong for wrong in scene.verdict().wrong)
    assert not scene.verdict(until=DIED).wrong, "it was over by then"


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ({"is": "ElementFailed", "element": 0}, "its processing element was lost"),
        ({"is": "Reported", "class_id": 0, "message": {"is": "Unresponsive", "server": 1}}, "taken for hung"),
        (
            {"is": "Reported", "class_id": 0, "message": {"is": "Drained", "server": 1}},
            "a dynamic server, no longer needed",
        ),
    ],
    ids=["element", "hung", "drained"],
)
def test_what_the_monitor_kills_has_a_cause(scene, event, cause):
    scene.monitor(DIED, event=event)
    scene.monitor(DIED, effect={"is": "Kill", "class_id": 0, "server": 1})
    scene.server_dies(cause=False)

    result = scene.verdict()

    assert not result.wrong
    assert result.deaths == {f"server: {cause}": 1}


def test_a_process_that_died_before_it_could_trace_anything_is_known_by_the_log(scene):
    scene.monitor(3.0, effect={"is": "StartServer", "class_id": 0, "server": 2, "place": 1})
    scene.monitor(DIED + 0.05, event={"is": "ServerExited", "class_id": 0, "server": 2})
    scene.faults.append(killed(72, "server"))
    assert any("died without a cause" in wrong for wrong in scene.verdict().wrong)

    log = "maitred: server 2 of web (pid 72, dynamic, on cpu0) started, in the place of server 1, which ended"
    assert not scene.verdict(log=log, names=["web"]).wrong


def test_recovery_is_until_the_next_in_the_same_place_is_ready(scene):
    scene.server_dies()
    for server, place, at in ((2, 1, 6.0), (3, 0, 7.0)):
        scene.monitor(DIED + 0.1, effect={"is": "StartServer", "class_id": 0, "server": server, "place": place})
        ready = {"is": "ServerReady", "server": server, "port": PORT}
        scene.monitor(at, event={"is": "Reported", "class_id": 0, "message": ready})

    (recovery,) = scene.verdict().recoveries

    assert (recovery.what, recovery.seconds) == ("server: kill server", 7.0 - DIED)


def test_nobody_need_take_the_place_of_a_dynamic_server(scene):
    for server, at in ((2, 1.0), (3, 9.0)):
        scene.monitor(at, effect={"is": "StartServer", "class_id": 0, "server": server, "place": 2})
        ready = {"is": "ServerReady", "server": server, "port": PORT}
        scene.monitor(at, event={"is": "Reported", "class_id": 0, "message": ready})
    scene.faults.append(killed(72, "server"))
    scene.monitor(DIED, event={"is": "ServerExited", "class_id": 0, "server": 2})
    log = "maitred: server 2 of web (pid 72, dynamic, on cpu0) started"

    result = scene.verdict(log=log, names=["web"])

    assert result.deaths == {"server: kill": 1} and not result.recoveries


@pytest.mark.parametrize(
    ("after", "word"),
    [
        (Level(10, 1, 1 << 20), ""),
        (Level(11, 1, 1 << 20), "descriptors"),
        (Level(10, 2, 1 << 20), ""),
        (Level(10, 3, 1 << 20), "threads"),
        (Level(10, 1, 1 << 30), "MiB"),
    ],
    ids=["as before", "descriptors", "the log's thread", "threads", "memory"],
)
def test_what_is_left_behind_is_noticed(scene, after, word):
    wrong = scene.verdict(before={"Monitor": [Level(10, 1, 1 << 20)]}, after={"Monitor": [after]}).wrong

    assert (word in wrong[0]) if word else not wrong
