"""The command's reference page has every option, and the help has the defaults that hold."""

import io
import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console
from tests.cli.conftest import STATUS

from maitred import cli
from maitred.cli import status
from maitred.cli.run import OPTIONS
from maitred.config import toml_file
from maitred.core import distributor, monitor
from maitred.core.messages import Adopt, Begin, Count, RestartReply
from maitred.core.timing import Durations
from maitred.core.transition import Transition
from maitred.shell import distributor as shell_distributor
from maitred.shell.supervise import status as shell_status

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
COMMAND = (REFERENCE / "command.md").read_text()
STATUS_PAGE = (REFERENCE / "status.md").read_text()
STATES = {"down", "starting", "ready", "busy", "full", "restarting", "draining", "stopping", "killing"}


def section(command):
    return COMMAND.split(f"\n## `maitred {command}`\n", 1)[1].partition("\n## ")[0]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_option_of_the_parser_is_on_the_page_and_no_other(command):
    actions = import_module(f"maitred.cli.{command}").parser()._actions
    flags = {flag for action in actions for flag in action.option_strings} - {"-h", "--help"}
    documented = set(
        re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "\n".join(re.findall(r"^\| (`-.*?) \|", section(command), re.M)))
    )
    assert documented == flags


def test_every_duration_that_a_user_would_want_is_an_option():
    inner = {"rest", "accept_retry", "sweep"}
    options = {option.name.replace("-", "_") for option in OPTIONS}
    assert set(Durations.__dataclass_fields__) - options == inner


def described_fields():
    return set(re.findall(r"^\| `([a-z_.]+)` \|", STATUS_PAGE, re.M))


def fields_of(value, at=""):
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from fields_of(inner, f"{key}.")
        else:
            yield at + key
            if isinstance(inner, list) and key != "dialogs":
                for item in inner:
                    if isinstance(item, dict):
                        yield from fields_of(item)


def test_every_field_of_the_example_is_described_and_the_tests_use_the_same_shape():
    example = json.loads(re.search(r"```json\n(.*?)```", STATUS_PAGE, re.S)[1])
    assert set(fields_of(example)) == described_fields() - STATES
    assert set(fields_of(STATUS)) - {"distributor"} == set(fields_of(example))


def test_the_status_of_a_monitor_has_the_described_fields(tmp_path):
    """The page is held to the very function that answers."""
    path = tmp_path / "two.toml"
    path.write_text("[[class]]\nname = 'a'\nmodule = 'json'\nlisten = 4049\nstatic = 1\ndynamic = 1\n")
    config = toml_file.load(str(path))
    state = monitor.initial(*config.core())
    distributing = distributor.initial(1, 1, 10, config.classes[0].listeners, True)

    def step(machine, state, event):
        taken = machine.step(state, event)
        assert isinstance(taken, Transition), taken
        return taken.state

    state = step(monitor, state, monitor.Started())
    adoption = Adopt(1, 64, 1, False, False, (), ())
    for event in (adoption, Begin(), distributor.Listening(4049, "*:4049")):
        distributing = step(distributor, distributing, event)
    distributing = step(distributor, distributing, distributor.BindRequested(1, 4049, "*:4049"))
    ready = RestartReply(1, Count(0, 1))
    distributing = step(distributor, distributing, distributor.Received(1, 4049, ready))
    counted = distributor.BacklogCounted(4049, 2)
    for event in (counted, *(distributor.ConnectionRequest(4049, cookie) for cookie in (7, 8))):
        # one is handed to the server, the other waits
        distributing = step(distributor, distributing, event)
    part = shell_status.part_of(json.dumps(shell_distributor.status_of(distributing, {8: 1.0})).encode())

    document = shell_status.build(config, state, {1: 102}, {0: 101}, {0: part})

    assert set(fields_of(document)) == described_fields() - STATES
    cls = document["classes"][0]
    assert (cls["waiting"], cls["waiting_list"]) == (1, [{"port": 4049, "arrival": 1, "since": 1.0}])
    assert cls["servers"][0]["outstanding"] == 0
    status.show(document, Console(file=io.StringIO()))
    status.show(shell_status.build(config, state, {}, {}, {}), Console(file=io.StringIO()))


def test_the_phases_are_described():
    for phase in distributor.Phase:
        assert f"`{phase.value}`" in STATUS_PAGE
    for phase in [*monitor.Phase, *distributor.DialogPhase]:
        assert f"`{phase.value}`" in STATUS_PAGE
    assert {place.value for place in monitor.PlacePhase} <= STATES
