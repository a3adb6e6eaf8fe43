"""The list of requirements is whole, refers only to what exists, and leaves nothing uncovered in silence."""

import re
from typing import get_args

import pytest
from tests.spec.checker import README, has_name, has_test, load, missing, problems, uncovered

from maitred.core import messages

STEPS = {
    5: (80, 82, 84, 86),
    6: (90, 92, 94, 96, 98, 100, 102, 104, 106, 108),
    7: (120, 122, 124, 126, 128, 130, 132, 134, 136, 138, 140),
    8: (150, 152, 154, 156, 158, 160, 162, 164, 166, 168, 170, 172),
}  # FIG. 9 has steps without numbers
RESTART = ("restart", "configuration", "dialogs", "InitialMsg", "RestartReply", "update", "operate")
FIELDS = {
    "ServerStatus": ("serverId", "dialogId", "numClients", "sendOutstanding", "tag", "reqBuf"),
    "PortInfo": ("portNumber", "fileNum", "listenFromSocketAddr", "acceptFromSocketAddr"),
}
MESSAGES = (
    "client_connection_request",
    "server_process_message",
    "acknowledgement",
    "SERVERCLASS_DIALOG_BEGIN",
    "SERVERCLASS_DIALOG_SEND",
    "reply",
    "open",
    "close",
    "SIGNALTIMEOUT",
    "InitialMsg",
    "RestartReply",
)
CONFIGURATION = (
    "pathmon-name",
    "pathmon-cpus",
    "log-directory",
    "class-count",
    "jvm-location",
    "static-total",
    "dynamic-total",
    "tcpip-process",
    "class-file",
    "ports",
    "max-clients",
    "elements",
    "static",
    "dynamic",
    "path",
    "interpreter-options",
    "heap",
    "configuration-file",
    "start-file",
    "for-distributor",
    "for-server",
)
EXPECTED = (
    *(f"FIG{figure}-{step}" for figure, steps in STEPS.items() for step in steps),
    *(f"FIG9-{step}" for step in RESTART),
    *(f"DATA-{structure}" for structure in FIELDS),
    *(f"DATA-{structure}.{field}" for structure, fields in FIELDS.items() for field in fields),
    *(f"MSG-{message}" for message in MESSAGES),
    *(f"CONF-{field}" for field in CONFIGURATION),
    *(f"CLAIM-{number}" for number in range(1, 10)),
)
DEFAULTS = (
    "static",
    "dynamic",
    "max-clients",
    "waiting-limit",
    "queue-timeout",
    "create-delay",
    "delete-delay",
    "backoff",
    "grace",
    "elements",
    "hand-off-timeout",
    "rest",
)

REQUIREMENTS = load()
IDS = [requirement["id"] for requirement in REQUIREMENTS]


@pytest.fixture(scope="module")
def properties():
    from maitred.model.check.liveness import LIVENESS
    from maitred.model.claims.safety import PROPERTIES

    return {**PROPERTIES, **LIVENESS}


# ------------------------------------------------------------------------------------ the list itself


def test_every_reference_of_a_requirement_exists(properties):
    assert problems(REQUIREMENTS, properties) == []


def test_every_requirement_is_covered_or_names_the_later_work_that_will():
    assert uncovered(REQUIREMENTS) == []


def test_every_step_field_message_and_claim_of_the_patent_is_there():
    assert missing(REQUIREMENTS, EXPECTED) == []


@pytest.mark.parametrize("figure", [1, 2, 3, 4, 10, 11, 12, 13])
def test_every_other_figure_is_there(figure):
    assert [name for name in IDS if name.startswith(f"FIG{figure}-")]


def test_no_step_is_made_up():
    numbered = {name for name in IDS if name[:3] == "FIG" and name[-1].isdigit()}
    assert numbered <= set(EXPECTED)


@pytest.mark.parametrize("decision", range(13))
def test_every_decision_of_the_project_is_there(decision):
    assert [name for name in IDS if name.startswith(f"OWN-3.{decision}a")]


def test_every_default_is_there():
    assert missing(REQUIREMENTS, [f"OWN-DEF-{name}" for name in DEFAULTS]) == []


def test_the_message_table_lists_every_message_and_no_other():
    kinds = ("ToServer", "FromServer", "ControlToServer", "ControlFromServer", "ToDistributor", "ToMonitor")
    unions = [getattr(messages, kind) for kind in kinds]
    exist = {message.__name__ for union in unions for message in get_args(union) or (union,)}
    _, _, table = README.read_text(encoding="utf-8").partition("## Who sends what to whom")
    listed = {
        name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert listed == exist


# ----------------------------------------------------------------------------- the checker can fail

SOUND = {
    "id": "FIG6-94",
    "source": "description, FIG. 6 step 94",
    "text": "Initialisation goes on only if the queue could be opened.",
    "counterpart": "maitred.hall: Door.open, Door.width, knock; maitred.kitchen",
    "properties": ["nobody_is_lost"],
    "tests": ["tests/hall/test_door.py::test_opens", "tests/hall/test_door.py::TestLock::test_turns[twice]"],
    "later": "",
}


@pytest.fixture
def house(tmp_path):
    """A small checkout for `SOUND` to refer to."""
    hall = tmp_path / "reference" / "maitred"
    hall.mkdir(parents=True)
    (hall / "kitchen.py").write_text("")
    (hall / "hall.py").write_text(
        "from maitred.porch import Bell, ring as knock\n"
        "class Door:\n"
        "    width: int\n"
        "    HINGES, PINS = 2, 4\n"
        "    def __init__(self):\n"
        "        self.colour: str = 'red'\n"
        "        self.handle = 1\n"
        "    def open(self): ...\n"
    )
    (hall / "porch.py").write_text("def ring(): ...\nclass Bell:\n    tone: str\n")
    tests = tmp_path / "tests" / "hall"
    tests.mkdir(parents=True)
    (tests / "test_door.py").write_text(
        "def test_opens(): ...\n"
        "def helper(): ...\n"
        "test_constant = 1\n"
        "class TestLock:\n"
        "    async def test_turns(self): ...\n"
        "TestMachine = Machine.TestCase\n"
    )
    return tmp_path


def found(house, **changes):
    """The problems of a sound requirement after some changes; None takes a key away."""
    entry = {key: value for key, value in {**SOUND, **changes}.items() if value is not None}
    return problems([entry], {"nobody_is_lost"}, house)


def test_a_sound_requirement_passes(house):
    assert found(house) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ""}, "`id` is empty"),
        ({"text": "  "}, "`text` is empty"),
        ({"source": ""}, "`source` is empty"),
        ({"source": None}, "`source` is missing"),
        ({"tests": None}, "`tests` is missing"),
        ({"test": []}, "`test` is not a key of a requirement"),
        ({"text": 7}, "`text` must be a str"),
        ({"tests": "tests/hall/test_door.py::test_opens"}, "`tests` must be a list"),
        ({"properties": [7]}, "`properties` must hold strings"),
        ({"properties": ["nobody_is_lost"] * 2}, "`properties` names nobody_is_lost 2 times"),
        ({"later": "some day: perhaps"}, "`later` must be one of"),
        ({"later": "proofs"}, "`later` must be one of"),
        ({"later": "proofs: "}, "`later` must be one of"),
        ({"own": True}, "`own = true` and an id in OWN- go together"),
        ({"id": "OWN-3.1a"}, "`own = true` and an id in OWN- go together"),
        ({"properties": ["somebody_is_lost"]}, "there is no property somebody_is_lost"),
        ({"tests": ["tests/hall/test_door.py::test_shuts"]}, "there is no test"),
        ({"counterpart": "maitred.cellar"}, "there is no module maitred.cellar"),
        ({"counterpart": "os: path"}, "there is no module os"),
        ({"counterpart": "somewhere in maitred.hall"}, "there is no module"),
        ({"counterpart": "maitred.hall: Window"}, "there is no Window in maitred.hall"),
        ({"counterpart": "maitred.hall: Door.shut"}, "there is no Door.shut in maitred.hall"),
    ],
)
def test_each_fault_is_found_and_no_other(house, changes, problem):
    problems_found = found(house, **changes)
    assert len(problems_found) == 1, problems_found
    assert problem in problems_found[0]


def test_an_id_used_twice_is_found(house):
    assert problems([SOUND, SOUND], {"nobody_is_lost"}, house) == ["FIG6-94: the id is used 2 times"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"tests": []}, []),
        ({"properties": []}, []),
        ({"properties": [], "tests": []}, ["FIG6-94"]),
        ({"properties": [], "tests": [], "later": " "}, ["FIG6-94"]),
        ({"properties": [], "tests": [], "later": "proofs: for any number"}, []),
    ],
)
def test_a_requirement_that_nothing_covers_is_found(changes, names):
    assert uncovered([{**SOUND, **changes}]) == names


def test_a_requirement_that_is_not_there_is_found():
    assert missing([SOUND], ["FIG6-94", "FIG6-96"]) == ["FIG6-96"]


@pytest.mark.parametrize("name", EXPECTED)
def test_no_expected_requirement_can_be_taken_away(name):
    rest = [requirement for requirement in REQUIREMENTS if requirement["id"] != name]
    assert missing(rest, EXPECTED) == [name]


@pytest.mark.parametrize(
    ("node_id", "exists"),
    [
        ("tests/hall/test_door.py::test_opens", True),
        ("tests/hall/test_door.py::test_opens[wide-open]", True),
        ("tests/hall/test_door.py::test_opens[a::b]", True),
        ("tests/hall/test_door.py::TestLock::test_turns", True),
        ("tests/hall/test_door.py::TestMachine::runTest", True),
        ("tests/hall/test_door.py::TestLock::runTest", False),
        ("tests/hall/test_door.py::TestLock", False),
        ("tests/hall/test_door.py::test_turns", False),
        ("tests/hall/test_door.py::TestLock::test_opens", False),
        ("tests/hall/test_door.py::test_opens::test_turns", False),
        ("tests/hall/test_door.py::helper", False),
        ("tests/hall/test_door.py::test_constant", False),
        ("tests/hall/test_door.py", False),
        ("tests/hall/test_gate.py::test_opens", False),
        ("reference/maitred/hall.py::test_opens", False),
        ("", False),
    ],
)
def test_a_test_is_recognised_by_its_node_id(house, node_id, exists):
    assert has_test(node_id, house) is exists


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("Door", True),
        ("Door.open", True),
        ("Door.width", True),
        ("Door.PINS", True),
        ("Door.colour", True),
        ("Door.handle", True),
        ("Bell.tone", True),
        ("knock", True),
        ("ring", False),
        ("Bell.pitch", False),
        ("Door.open.wide", False),
        ("open", False),
        ("", False),
    ],
)
def test_a_name_is_looked_up_where_it_is_bound(house, name, exists):
    assert has_name("maitred.hall", name, house) is exists
