"""CPython's own tests behind Distributors: some here, all in `make cpython`; and that the comparison can fail."""

import json
import sys
from pathlib import Path

import pytest
from tests.compat import cpython
from tests.compat.cpython import Exclusion, Run, account, compare, differences, main, run

NEEDED = pytest.mark.skipif(not cpython.has_tests(sys.executable), reason=cpython.MISSING.format(python=sys.executable))
SOME = {
    "test_socketserver": (),
    "test_socket": ("*BasicTCPTest*", "*CreateServer*", "*NetworkConnection*", "*TCPCloserTest*"),
    "test_asyncio.test_server": (),
    "test_asyncio.test_events": ("*.test_create_server", "*.test_create_server_ssl", "*.test_sock_accept"),
    "test_ssl": ("*.test_echo", "*.test_starttls", "*.test_handshake_timeout"),
    "test_smtplib": ("*DebuggingServerTests*",),
}
"""Suites, and which of their tests (all, where none are named) are quick and show most of what is customised."""


# ---------------------------------------------------------------- the tests


@NEEDED
@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SOME)
def test_the_outcomes_are_those_of_plain_python(tmp_path, suite):
    result = compare(sys.executable, suite, tmp_path, only=SOME[suite])
    assert result["complaints"] == []
    assert result["plain"]["ok"] > 0
    assert result["accepted"] == result["disconnected"] > 0


BENT = """
import sys
sys.path.append({reference!r})
import maitred.shell.{module}
{bend}
"""


def bent(directory, module, bend):
    """The environment of an interpreter in which something of ours is not as it should be."""
    reference = str(Path(cpython.ROOT) / "reference")
    (directory / "sitecustomize.py").write_text(BENT.format(reference=reference, module=module, bend=bend))
    return {"PYTHONPATH": str(directory)}


def run_bent(directory, module, bend):
    made = directory / "run"
    made.mkdir()
    environment = bent(directory, module, bend)
    test = "*test_ThreadingTCPServer"
    return run(sys.executable, "test_socketserver", made, customised=True, only=[test], environment=environment)


@NEEDED
@pytest.mark.system
def test_a_client_that_is_never_disconnected_is_noticed(tmp_path):
    found = run_bent(
        tmp_path,
        "inside.connections",
        "maitred.shell.inside.connections.Connections.closed = lambda self, connection: None",
    )
    assert found.outcomes == {"test.test_socketserver.SocketServerTest.test_ThreadingTCPServer": "ok"}
    assert any("never disconnected" in complaint or "audit" in complaint for complaint in found.complaints)


@NEEDED
@pytest.mark.system
def test_a_listener_that_reports_something_wrong_is_noticed(tmp_path):
    found = run_bent(
        tmp_path,
        "inside.listener_socket",
        "maitred.shell.inside.listener_socket.ListenerSocket.getsockname = lambda self: ('127.0.0.1', 1)",
    )
    ((test, outcome),) = found.outcomes.items()
    assert outcome in {"failure", "error"}
    assert differences({test: "ok"}, found.outcomes, "3.11")[0] == {test: ("ok", outcome)}


# ---------------------------------------------------------------- the comparison


def test_every_difference_is_named():
    plain = {"a": "ok", "b": "skipped", "c": "failure", "d": "ok"}
    customised = {"a": "ok", "b": "ok", "c": "ok", "e": "ok"}
    assert differences(plain, customised, "3.11", ()) == (
        {"b": ("skipped", "ok"), "c": ("failure", "ok"), "d": ("ok", "not run"), "e": ("not run", "ok")},
        [],
    )


def test_an_exclusion_covers_what_differs_and_must_be_needed():
    exclusions = (
        Exclusion("*.odd", "because"),
        Exclusion("*.even", "because", versions=("3.12",)),
        Exclusion("*.never", "because", run=False),
        Exclusion("*.at_times", "because", always=False),
    )
    assert differences({"t.odd": "ok"}, {"t.odd": "failure"}, "3.11", exclusions) == ({}, [])
    assert differences({"t.odd": "ok"}, {"t.odd": "ok"}, "3.11", exclusions) == ({}, ["*.odd"])
    assert differences({"t.at_times": "ok"}, {"t.at_times": "ok"}, "3.11", exclusions) == ({}, [])
    assert differences({"t.at_times": "ok"}, {"t.at_times": "error"}, "3.11", exclusions) == ({}, [])
    assert differences({"t.even": "ok"}, {"t.even": "error"}, "3.11", exclusions)[0] == {"t.even": ("ok", "error")}
    assert differences({"t.even": "ok"}, {"t.even": "error"}, "3.12", exclusions) == ({}, [])


def test_every_exclusion_has_a_reason():
    assert all(len(exclusion.reason) > 20 for exclusion in cpython.EXCLUSIONS)


@pytest.mark.parametrize(
    ("plain", "customised", "unsteady"),
    [
        (["ok"], ["failure", "failure", "ok"], ["t"]),
        (["ok"], ["failure"], []),
        (["failure", "ok"], ["ok"], ["t"]),
        (["ok", None], ["failure", None], []),
    ],
    ids=["once", "always", "plain", "no outcome when alone"],
)
def test_a_difference_is_run_again_before_it_counts(tmp_path, monkeypatch, plain, customised, unsteady):
    coming = {False: [*plain, *[plain[-1]] * 9], True: [*customised, *[customised[-1]] * 9]}

    def told(python, suite, directory, *, customised, only=()):
        outcome = coming[customised].pop(0)
        return Run({} if outcome is None else {"t": outcome}, 0, "")

    monkeypatch.setattr(cpython, "run", told)
    result = compare(sys.executable, "test_a", tmp_path)
    assert (result["unsteady"], result["different"]) == (unsteady, 1 - len(unsteady))
    assert len(result["complaints"]) == result["different"]


# ---------------------------------------------------------------- the account


def client(cookie):
    return {"arrival": cookie, "cookie": cookie, "port": 5}


def received(kind, cookie, who="distributor 0 1"):
    message = {"is": kind, "client": client(cookie), "count": {"clients": 0, "sequence": 1}}
    return {"who": who, "event": {"is": "Received", "server": 1, "port": 5, "message": message}}


def accounted(directory, *records, said=None):
    trace, report = directory / "trace", directory / "report"
    trace.write_text("".join(json.dumps(record) + "\n" for record in records))
    if said is not None:
        report.write_text(json.dumps(said))
    found = Run({"t": "ok"}, 0, "")
    account(found, trace, report, replayed=False)
    return found


ALL_IS_REPORTED = {"handed": 1, "alone": 0, "open": []}


def test_connections_are_counted_by_distributor(tmp_path):
    records = [received(kind, 7, f"distributor {n} 1") for n in (0, 1) for kind in ("Accepted", "Disconnect")]
    found = accounted(tmp_path, *records, said=ALL_IS_REPORTED)
    assert (found.clients["accepted"], found.clients["disconnected"], found.complaints) == (2, 2, [])


@pytest.mark.parametrize(
    ("records", "said", "complaint"),
    [
        ([received("Accepted", 7)], ALL_IS_REPORTED, "1 of 1 clients were accepted and never disconnected"),
        (
            [received("Accepted", 7), received("Disconnect", 8)],
            ALL_IS_REPORTED,
            "1 of 1 clients were accepted and never",
        ),
        (
            [*map(received, ("Accepted", "Disconnect", "Disconnect"), (7, 7, 7))],
            ALL_IS_REPORTED,
            "1 clients were disconn",
        ),
        (
            [received("Accepted", 7), {"who": "distributor 0 1", "event": {"is": "Audited", "gone": [client(7)]}}],
            ALL_IS_REPORTED,
            "1 clients were gone unheard",
        ),
        ([received("Accepted", 7), received("Disconnect", 7)], None, "the program did not come to its end"),
        ([], {"handed": 0, "alone": 0, "open": []}, "no listener was handed to a Distributor"),
    ],
    ids=["stayed", "another left", "left twice", "found by the audit", "no report", "nothing happened"],
)
def test_counts_that_do_not_add_up_are_reported(tmp_path, records, said, complaint):
    (told,) = accounted(tmp_path, *records, said=said).complaints
    assert told.startswith(complaint)


def test_an_audit_that_overtakes_a_disconnect_is_no_complaint(tmp_path):
    audited = {"who": "distributor 4 1", "event": {"is": "Audited", "gone": [client(7)]}}
    noticed = {"who": "server 4 1", "event": {"is": "Disconnected", "client": client(7)}}
    found = accounted(tmp_path, received("Accepted", 7, "distributor 4 1"), audited, noticed, said=ALL_IS_REPORTED)
    assert found.clients["disconnected"] == 1 and not found.complaints


def test_a_client_that_is_open_at_the_end_is_no_complaint(tmp_path):
    found = accounted(tmp_path, received("Accepted", 7), said={"handed": 1, "alone": 0, "open": [7]})
    assert found.clients["open at the end"] == 1 and not found.complaints


def test_a_trace_with_a_mismatch_is_reported(tmp_path):
    (tmp_path / "trace").write_text(json.dumps(received("Accepted", 7)) + "\n")
    (tmp_path / "report").write_text(json.dumps({"handed": 1, "alone": 0, "open": [7]}))
    found = Run({"t": "ok"}, 0, "")
    account(found, tmp_path / "trace", tmp_path / "report")
    assert found.complaints == ["the trace is not one of the machines: line 1: distributor 0 1 has not started"]


# ---------------------------------------------------------------- the command


def test_an_interpreter_without_its_tests_is_named_with_a_remedy(tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert main(["--python", str(python)]) == 2
    assert "libpython3-testsuite" in capsys.readouterr().err


def test_an_unknown_suite_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["test_nothing"])
    assert "no such suite: test_nothing" in capsys.readouterr().err


def test_results_are_noted_beside_those_of_other_versions(tmp_path):
    file = tmp_path / "results.json"
    for version, tests in (("3.11", 1), ("3.12", 2), ("3.11", 3)):
        cpython.note(file, [{"suite": "test_a", "python": version, "tests": tests}])
    assert json.loads(file.read_text()) == {"3.11": {"test_a": {"tests": 3}}, "3.12": {"test_a": {"tests": 2}}}
