"""What the conformance kit reports: the right verdict, with all that helps, and strict expected failures."""

import json
import xml.etree.ElementTree as ET

import pytest
from tests.spec.checker import load

from maitred.cli import main
from maitred.config.error import ConfigError
from maitred.conform import report, testee
from maitred.conform.cases import Case, Failed, Outcome, Skipped, Verdict, run
from maitred.conform.endpoint import ENDPOINT


def outcome_of(verdict, **more):
    return Outcome("a_case", "It is so.", ("OWN-3.2e",), verdict, **more)


def raising(error):
    def work(bench):
        if error is not None:
            raise error

    return Case("a_case", "It is so.", ("OWN-3.2e",), work)


@pytest.mark.parametrize(
    ("error", "verdict", "requirements"),
    [
        (None, Verdict.PASSED, ("OWN-3.2e",)),
        (Failed("a", "b"), Verdict.FAILED, ("OWN-3.2e",)),
        (Failed("a", "b", ("OWN-3.3a",)), Verdict.FAILED, ("OWN-3.3a",)),
        (Skipped("it cannot"), Verdict.SKIPPED, ("OWN-3.2e",)),
    ],
)
def test_a_case_ends_in_one_of_these_ways(error, verdict, requirements):
    outcome = run(raising(error), None, lambda: ["-> x"], lambda: "y", directed=True)
    assert (outcome.verdict, outcome.requirements) == (verdict, requirements)
    assert outcome.exchange == (["-> x"] if verdict is Verdict.FAILED else [])


def test_a_case_for_a_directed_program_is_skipped_for_another():
    case = Case("a_case", "It is so.", (), raising(Failed("a", "b")).run, directed=True)
    assert run(case, None, list, str, directed=False).verdict is Verdict.SKIPPED
    assert run(case, None, list, str, directed=True).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("before", "listed", "after", "well"),
    [
        (Verdict.PASSED, False, Verdict.PASSED, True),
        (Verdict.FAILED, False, Verdict.FAILED, False),
        (Verdict.FAILED, True, Verdict.EXPECTED, True),
        (Verdict.PASSED, True, Verdict.UNEXPECTED, False),
        (Verdict.SKIPPED, True, Verdict.SKIPPED, True),
    ],
)
def test_expected_failures_are_strict(before, listed, after, well):
    outcome = report.against(outcome_of(before), {"a_case"} if listed else set())
    assert (outcome.verdict, outcome.verdict.is_well) == (after, well)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nobody\n", "line 1: no case is called 'nobody'; --list shows them"),
        ("a_case\n# x\na_case # y\n", "line 3: 'a_case' is listed twice"),
        (b"\xff", "is no text in UTF-8"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_bad_list_of_expected_failures_is_refused(tmp_path, text, complaint):
    path = tmp_path / "known.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        report.expected_failures(str(path), {"a_case"})
    assert str(error.value) == f"{path}: {complaint}"


def test_a_list_of_expected_failures(tmp_path):
    path = tmp_path / "known.txt"
    path.write_text("# not yet\n\n  a_case   # since\n")
    assert report.expected_failures(str(path), {"a_case", "b"}) == {"a_case"}


def test_the_explanation_has_all_that_helps():
    failed = outcome_of(
        Verdict.FAILED, expected="Refused", came="Accepted", exchange=["-> HandOff"], output="oops", reproduce="maitred"
    )
    text = report.explanation(failed)
    for part in ("It is so.", "OWN-3.2e", "Refused", "Accepted", "-> HandOff", "oops", "reproduce\n    maitred"):
        assert part in text


def test_junit_counts_and_escapes():
    text = report.junit(
        "endpoint", [outcome_of(Verdict.PASSED), outcome_of(Verdict.FAILED, came="<\0>"), outcome_of(Verdict.SKIPPED)]
    )
    suite = ET.fromstring(text)
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["3", "1", "1"]
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["skipped"]]
    assert suite[1][0].get("message") == "<?>"


def test_each_case_says_what_it_asks_for_by_requirements_that_exist():
    known = {entry["id"] for entry in load()}
    names = [case.name for case in ENDPOINT.cases]
    assert len(names) == len(set(names)) > 30
    for case in ENDPOINT.cases:
        assert case.says.endswith(".") and case.requirements, case.name
        assert set(case.requirements) <= known, case.name


@pytest.mark.parametrize(
    ("command", "executed"),
    [
        (["/bin/true", "--flag"], ["/bin/true", "--flag"]),
        (["python3", "-c", "x"], ["python3", "-c", "x"]),
        (["python3"], ["python3"]),
    ],
)
def test_a_command_is_executed_as_it_is(command, executed):
    assert testee.command_line(command) == executed


@pytest.mark.parametrize(
    ("command", "options", "program"),
    [
        ([__file__, "1"], [], ["script", __file__, "1"]),
        (["-m", "app", "1"], [], ["-m", "app", "1"]),
        (["python3", "-X", "-m", "app"], ["-X"], ["-m", "app"]),
        (["python3.11", "-u", __file__], ["-u"], ["script", __file__]),
    ],
)
def test_a_python_program_is_started_with_the_stand_in(command, options, program):
    _, *rest = testee.command_line(command)
    at = rest.index("-c")
    assert (rest[:at], rest[at + 2 :]) == (options, program)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["endpoint"], "needs the program"),
        (["endpoint", "--", "nowhere.py"], "nowhere.py: no such program"),
        (["endpoint", "--", "./nowhere"], "./nowhere: no such program"),
        (["endpoint", "-k", "nothing like it", "--", "true"], "no case has that in its name or requirements"),
        (["endpoint", "--expected-failures", "nowhere", "--", "true"], "nowhere: cannot be read"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(capsys, arguments, complaint):
    assert main(["conform", *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1


@pytest.mark.parametrize("wrong", [["--clients", "0"], ["--patience", "x"], ["--patience", "0"], ["--away", "-1"]])
def test_a_bad_number_is_refused(capsys, wrong):
    with pytest.raises(SystemExit) as error:
        main(["conform", "endpoint", *wrong, "--", "true"])
    assert error.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_the_list_has_every_case(capsys):
    assert main(["conform", "endpoint", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(case.name in said and case.says in said for case in ENDPOINT.cases)


def test_the_document_is_json():
    document = report.document("endpoint", ["./x"], [outcome_of(Verdict.FAILED, came="y")])
    assert json.loads(json.dumps(document))["conforms"] is False
