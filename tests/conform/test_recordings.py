"""The kit for recorded traces: right ones pass; one in which a step is bent is reported with its line."""

import json

import pytest
from tests.shell.observe.test_replay import PORT, serve

from maitred.cli import main
from maitred.core import server
from maitred.core.messages import Client, HandOff

LINES, _ = serve(
    "server 0 1",
    server.Bound(PORT),
    server.Listened(PORT),
    server.MessageRead(PORT, HandOff(Client(1, 2, PORT)), intact=True),
)


@pytest.fixture
def written(tmp_path):
    def write(name, lines):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


def bent():
    """The client is discarded though it was accepted."""
    return [line.replace('"Deliver"', '"Discard"') for line in LINES]


def test_right_traces_pass_and_a_bent_one_is_reported_with_its_line(written, capsys):
    right, wrong = written("right", LINES), written("wrong", bent())
    number = next(i for i, (a, b) in enumerate(zip(LINES, bent(), strict=True), 1) if a != b)
    assert main(["conform", "trace", right]) == 0
    assert "1 case: 1 passed" in capsys.readouterr().out
    assert main(["conform", "trace", right, wrong]) == 1
    said = capsys.readouterr().out
    assert f"came          line {number}: " in said
    assert (
        f"lines of the trace\n    {max(number - 5, 0) + 1}: " in said and f"    {number}: {bent()[number - 1]}" in said
    )
    assert f"maitred conform trace -k {wrong} -- {right} {wrong}" in said
    assert main(["conform", "trace", "-k", wrong, "--", right, wrong]) == 1


def test_a_trace_that_is_expected_to_fail_must_fail(written, tmp_path, capsys):
    right, wrong = written("right", LINES), written("wrong", bent())
    known = written("known.txt", [wrong])
    report = tmp_path / "junit.xml"
    assert main(["conform", "trace", "--expected-failures", known, "--junit", str(report), "--json", wrong]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["verdict"] == "failed as expected"
    assert "skipped" in report.read_text()
    assert main(["conform", "trace", "--expected-failures", written("known.txt", [right]), right]) == 1


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (None, "needs a trace"),
        ("nowhere", "cannot be read: No such file or directory"),
        ("", "cannot be read: it is a directory"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, capsys, name, complaint):
    assert main(["conform", "trace", *([] if name is None else [str(tmp_path / name)])]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1


def test_what_is_no_trace_fails_with_the_reason(written, capsys):
    assert main(["conform", "trace", written("empty", []), written("other", ['{"who": 1}'])]) == 1
    said = capsys.readouterr().out
    assert "the trace is empty" in said and "line 1: " in said
