"""ARCHITECTURE.md: the walk of a client names functions that exist, and is short; the picture has the imports."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGE = ROOT / "reference" / "maitred"
DRAWN = {name: PACKAGE / name for name in ("cli", "shell", "model", "conform", "config", "vectors", "core")}
DRAWN |= {name: ROOT / name for name in ("spec", "proofs")}
STOPS = re.findall(r"^\| (\d+) \| `([\w.]+)` \| ", PAGE, re.MULTILINE)


def resolved(name):
    """What a dotted name is: something in a module, or in a class there.

    Raises:
        AttributeError, ImportError: nothing is called so.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def test_the_walk_has_at_most_twelve_stops():
    assert [int(number) for number, _ in STOPS] == list(range(1, len(STOPS) + 1))
    assert 1 < len(STOPS) <= 12


@pytest.mark.parametrize("name", [name for _, name in STOPS])
def test_each_stop_is_a_function_that_exists(name):
    assert callable(resolved(name))


@pytest.mark.parametrize("name", ["maitred.core.distributor.leap", "maitred.nowhere.step", "nowhere"])
def test_a_name_of_nothing_is_noticed(name):
    with pytest.raises((AttributeError, ImportError)):
        resolved(name)


def imports(folder):
    """The other parts of the picture that a part imports."""
    text = "\n".join(path.read_text() for path in folder.rglob("*.py"))
    found = re.findall(r"^ *(?:from|import) (?:maitred\.)?(\w+)", text, re.MULTILINE)
    return {name for name in found if name in DRAWN and DRAWN[name] != folder}


def test_the_picture_has_every_import_and_no_other():
    arrows = re.findall(r"^  (\w+(?: & \w+)*) (?:-- \"[^\"]*\" )?--> (\w+(?: & \w+)*)$", PAGE, re.MULTILINE)
    drawn = {(a, b) for left, right in arrows for a in left.split(" & ") for b in right.split(" & ")}
    assert drawn == {(name, other) for name, folder in DRAWN.items() for other in imports(folder)}
