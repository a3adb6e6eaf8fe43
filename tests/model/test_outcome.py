"""A test that fails on a verdict shows the counterexample, not that one number is not another."""

import ast
from pathlib import Path

import pytest
from tests.model.outcome import shown

from maitred.model.check.checker import Bounds, Verdict, check
from maitred.model.check.manifest import load, run_one
from maitred.model.world import Assumption
from maitred.shell.observe.replay import replay

FOLDER = Path(__file__).parent
LOSING = Bounds(servers=1, clients=2, distributor_crashes=1, warm=True, without=(Assumption.HEARD_OUT,))


def bare(text):
    """The lines of assertions on a verdict that do not print what was found."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assert) and node.msg is None:
            asked = {each.attr for each in ast.walk(node.test) if isinstance(each, ast.Attribute)}
            if asked & {"ok", "verdict", "counterexample"}:
                yield node.lineno


@pytest.mark.parametrize("file", sorted(FOLDER.glob("test_*.py")), ids=lambda file: file.stem)
def test_no_assertion_on_a_verdict_is_bare(file):
    assert [*bare(file.read_text())] == [], "say what was found: assert result.ok, shown(result)"


def test_a_bare_one_is_noticed():
    assert [*bare("assert a.ok, shown(a)\nassert b.ok and c\nassert not d.verdict is e\nassert f")] == [2, 3]


def test_a_counterexample_is_rendered_step_by_step():
    result = check(LOSING)
    for found in (result, result["no_client_is_lost"]):
        printed = shown(found)
        assert "no_client_is_lost" in printed and "violated" in printed
        assert "the Distributor accepts client " in printed and "\nWhy: " in printed
    assert shown(result["no_client_has_two_servers"]) == "\nno_client_has_two_servers: incomplete"


def test_a_lasso_is_rendered():
    pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")
    from maitred.model.check.liveness import check_liveness

    name = "who_waits_is_seated_or_ends"
    result = check_liveness(Bounds(servers=1, clients=2, warm=True), [name], without=["clients keep leaving"])
    for found in (result, result[name], result.counterexample):
        assert "\nHere it stays for ever" in shown(found) and f"\n{name}, refuted for client 1: " in shown(found)


def test_a_divergence_is_rendered(tmp_path):
    (tmp_path / "trace").write_text("{}\n")
    report = replay(tmp_path / "trace")
    assert shown(report).endswith(str(report.mismatch)) and "line 1: " in shown(report)


def test_the_problems_of_a_configuration_are_listed():
    configuration = next(one for one in load() if one.violated == "no_client_is_lost")
    outcome = run_one(configuration)
    assert outcome.problems == (), shown(outcome)
    assert f"{Verdict.VIOLATED.value:12} no_client_is_lost" in shown(outcome)
