"""The page of resource policies names what exists, and lists every constant of the Monitor and the Distributor."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "explanation" / "resource-policies.md").read_text()
ROWS = [row.split(" | ") for row in PAGE.splitlines() if row.startswith("| ")][1:]
NAMES = [name for row in ROWS for name in re.findall(r"`([\w.]+)`", row[1])]
NO_POLICY = {
    "distributor": {"HANG_UP"},
    "listeners": {"EXHAUSTED"},
    "dialogs": set(),
    "binding": set(),
    "audit": set(),
    "warnings_at_intervals": set(),
    "conduct": set(),
    "monitor": {"STOPS", "QUICK", "ROTATE", "KEPT", "UNUSABLE"},
    "supervise.servers": set(),
    "supervise.distributors": set(),
    "supervise.spares": set(),
    "supervise.standby": set(),
    "supervise.requests": set(),
    "supervise.news": {"EXIT_CODES"},
}
"""Constants that stand for flags, signals and exit codes."""


def resolved(name):
    parts = name.split(".")
    depth = 2 if parts[0] in ("io", "supervise") else 1
    found = importlib.import_module(f"maitred.shell.{'.'.join(parts[:depth])}")
    for part in parts[depth:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_of_something(name):
    resolved(name)


@pytest.mark.parametrize("module", NO_POLICY)
def test_every_number_of_the_module_is_listed(module):
    text = Path(importlib.import_module(f"maitred.shell.{module}").__file__).read_text()
    constants = set(re.findall(r"^([A-Z][A-Z_]+): Final", text, re.MULTILINE))
    assert constants - NO_POLICY[module] == {
        name.rpartition(".")[2] for name in NAMES if re.match(rf"{module}\.[A-Z_]+$", name)
    }
