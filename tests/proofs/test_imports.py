"""No circle among the modules of proofs/ and of the relation, imports within functions included."""

from graphlib import CycleError, TopologicalSorter

import pytest
from tests.records import ROOT, imported


def circle(edges):
    """Modules that import one another around; empty, where there are none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_by_way_of_others():
    files = [file for folder in ("proofs", "spec") for file in (ROOT / folder).rglob("*.py")]
    modules = {file for file in files if file.name != "__init__.py"}
    assert len(modules) > 40
    assert circle({file: imported(file) & modules - {file} for file in modules}) == []


@pytest.mark.parametrize("edges", [{"a": {"b"}, "b": {"a"}}, {"a": {"b"}, "b": {"c"}, "c": {"a"}}])
def test_a_circle_is_noticed(edges):
    assert circle(edges)
