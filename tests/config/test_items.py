"""Each item that can be configured, and the test that sees its effect in the kernel or at a client, not in our status.

The items are the keys of the file, what a program inherits, and what the patent application's Configuration Utility
captures; the reference page lists of the last what is not here.
"""

import ast
import re
from pathlib import Path

import pytest

from maitred.config import keys

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "configuration.md"
FILES = "system/test_start_files.py::test_the_script_starts_what_was_asked_for_and_the_unit_stops_it_without_a_loss"
OWN = "system/test_configuration.py::test_a_script_finds_what_the_file_sets_and_else_what_python_gives"
TWO = "system/test_two_classes.py::test_each_class_has_its_own_program_elements_and_maximum"
DYNAMIC = "system/test_figures.py::test_figure_11_a_server_is_created_for_one_client_too_many"
INHERITED = "system/test_inherited.py::test_umask_niceness_limits_and_score_are_the_program_s"

EFFECTS = {
    "name": "system/test_copies.py::test_processes_are_named",
    "log_directory": "system/test_configuration.py::test_what_the_programs_print_is_in_the_log_directory_a_file_each",
    "log": "system/test_rotate.py::test_the_renamed_files_are_let_go_of_and_the_new_ones_written",
    "control": "shell/test_monitor_process.py::test_the_control_socket_is_private",
    "trace": "system/test_rotate.py::test_the_renamed_files_are_let_go_of_and_the_new_ones_written",
    "verify": "system/test_verify.py::test_when_the_monitor_is_killed_those_who_serve_on_are_verified_on",
    "cpus": FILES,
    "weight": TWO,
    "module": "system/test_configuration.py::test_a_module_finds_what_python_m_gives",
    "script": FILES,
    "program": "system/test_executables.py::test_a_program_finds_what_the_contract_says",
    "args": FILES,
    "listen": "system/test_binds.py::test_the_address_of_b_wins_over_a_wider_one",
    "static": FILES,
    "dynamic": DYNAMIC,
    "max_clients": DYNAMIC,
    "waiting_limit": TWO,
    "elements": FILES,
    "interpreter": "system/test_configuration.py::test_each_class_has_its_own_interpreter",
    "interpreter_options": OWN,
    "path": OWN,
    "directory": FILES,
    "environment": FILES,
    "memory_limit": FILES,
    "stop_signal": "system/test_copies.py::test_a_class_is_asked_to_end_by_its_own_signal",
    "queue_timeout": "system/test_bad_input.py::test_who_waits_longer_than_the_queue_timeout_is_closed",
    "hand_off_timeout": "shell/test_monitor_process.py::test_a_server_that_hangs_is_killed",
    "request_timeout": "system/test_patience.py::test_a_client_that_is_kept_too_long_ends_its_server",
    "create_delay": DYNAMIC,
    "delete_delay": DYNAMIC,
    "rest": "shell/test_hostile_server.py::test_a_server_that_refuses_everybody_is_asked_less_and_less",
    "accept_retry": "shell/test_monitor_process.py::test_descriptors_exhausted_leaves_clients_in_the_backlog",
    "audit_period": "system/test_executables.py::test_a_client_whose_end_is_never_reported_is_found_by_the_audit",
    "backoff_first": "shell/test_monitor_process.py::test_stop_by_the_control_socket",
    "backoff_cap": "shell/test_monitor_process.py::test_a_crash_loop_is_given_up",
    "stable_after": "shell/test_monitor_process.py::test_a_crash_loop_is_given_up",
    "start_warning": "shell/test_monitor_process.py::test_a_program_that_never_listens_is_reported",
    "grace": "shell/test_monitor_process.py::test_the_grace_ends",
    "kill_delay": "system/test_stop.py::test_a_server_that_ignores_sigterm_is_killed",
    # Without a key: a program has these as maitred itself has them.
    "umask": INHERITED,
    "niceness": INHERITED,
    "open files": INHERITED,
}
NOT_HERE = {
    "the primary CPU and backup CPUs for PATHMON",
    "the name of the TCP/IP process of an Application Server",
    "the memory on the heap on startup",
}


def test_every_key_has_a_test_of_its_effect():
    known = {key.name for table in (keys.TOP, keys.ELEMENT, keys.CLASS, keys.DURATIONS) for key in table}
    assert known - {"durations", "element", "class"} == EFFECTS.keys() - {"umask", "niceness", "open files"}


@pytest.mark.parametrize("item", EFFECTS)
def test_that_test_exists(item):
    file, _, name = EFFECTS[item].partition("::")
    tree = ast.parse((TESTS / file).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not name or name in names


def test_what_the_utility_captures_is_a_key_that_has_one_or_is_listed_as_not_here():
    section = PAGE.read_text().split("## What the Configuration Utility", 1)[1]
    rows = dict(re.findall(r"^\| ([^|`]+) \| (.+) \|$", section, re.M))
    rows = {there: here for there, here in rows.items() if there != "there"}
    assert {there for there, here in rows.items() if here.startswith("none")} == NOT_HERE
    for there in rows.keys() - NOT_HERE:
        named = set(re.findall(r"`(\w+)`", rows[there]))
        assert named & EFFECTS.keys() or "[[class]]" in rows[there], there
