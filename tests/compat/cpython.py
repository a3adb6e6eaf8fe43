"""CPython's own test suites, plain and with the customised socket class: the outcome of each test must be the same.

    python -m tests.compat.cpython [--python PATH] [--json FILE] [SUITE ...]

Each suite is run twice by `cpython_program`, once as it is and once with every TCP listener that a test creates handed
to a real Distributor (`cpython_distributors`).  What differs is run again, alone and both ways, before it is believed:
tests of timing fail at times, on a busy machine more often, with and without us.  Afterwards the trace of all those
Distributors and endpoints must be one of the machines, and every client that was accepted must have been disconnected.
"""

import argparse
import contextlib
import dataclasses
import fnmatch
import json
import os
import secrets
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections import Counter
from pathlib import Path

from maitred.shell.observe.replay import replay

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITES = (
    "test_socket",
    "test_socketserver",
    "test_asyncio",
    "test_ssl",
    "test_ftplib",
    "test_httpservers",
    "test_wsgiref",
    "test_xmlrpc",
    "test_poplib",
    "test_imaplib",
    "test_smtplib",
    "test_logging",
)
NETWORK = {"test_socketserver"}
"""Suites that ask for the resource "network" and mean this machine only."""
SUITE_PATIENCE = 1200
SHOW_PATIENCE = 1100
"""Seconds after which a suite that hangs is ended by itself, and prints where it was."""
AGAIN = 3
"""So many times a test whose outcome differs is run again, both ways."""


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """Tests that need not have the same outcome, and why."""

    pattern: str
    """Of the test's id, for `fnmatch`."""
    reason: str
    run: bool = True
    """Whether they are run at all."""
    always: bool = True
    """Whether they differ on each run."""
    versions: tuple[str, ...] = ()
    """Of Python; none means all."""

    def applies(self, version):
        """Whether it is for this version of Python."""
        return not self.versions or version in self.versions


EXCLUSIONS = (
    Exclusion(
        "test.test_socket.ThreadedVSOCKSocketStreamTest.*",
        "waits for ever where the machine has no VSOCK device at the other end, plain as well",
        run=False,
    ),
    Exclusion(
        "test.test_asyncio.test_streams.StreamTests.test_unhandled_exceptions",
        "closes its listener as soon as its client has connected and left, without waiting until that was served: the"
        " client is still on its way through the Distributor, which in maitred run would give it to another server",
        always=False,
    ),
)


def excluded(test, version, exclusions=EXCLUSIONS):
    """The exclusion that the test falls under, if any."""
    for each in exclusions:
        if fnmatch.fnmatchcase(test, each.pattern) and each.applies(version):
            return each
    return None


# ---------------------------------------------------------------- one run


@dataclasses.dataclass
class Run:
    """What one run of a suite has shown."""

    outcomes: dict
    """Of each test's id; there are several where a subtest has failed, too."""
    code: int
    """The exit code; None where it was ended for taking too long."""
    output: str
    clients: dict = dataclasses.field(default_factory=dict)
    """Figures about the listeners and clients, where they were handed to Distributors."""
    complaints: list = dataclasses.field(default_factory=list)


def run(python, suite, directory, *, customised, only=(), environment=None):
    """Run a suite, or some of its tests.

    Args:
        python: the interpreter, which has the package `test`.
        suite: the name of the suite.
        directory: an empty directory for what it writes.
        customised: whether the customised socket class is in place.
        only: the ids of the tests to run, or patterns of them; empty for all.
        environment: what is added to that of this process.
    """
    results, trace, report = directory / "results.xml", directory / "trace", directory / "report"
    trace.touch()
    command = [python, HERE / "cpython_program.py", "--junit-xml", results, "--timeout", SHOW_PATIENCE]
    command += ["-u", "network"] if suite in NETWORK else []
    for test in only:
        command += ["-m", test]
    for pattern in [each.pattern for each in EXCLUSIONS if not each.run and each.applies(version_of(python))]:
        command += ["-i", pattern]  # in this order: what comes first decides what happens to all others
    with contextlib.ExitStack() as stack:
        environment = {**os.environ, **(environment or {})}
        if customised:
            name = f"maitred-cpython-{secrets.token_hex(8)}"
            environment |= {
                "MAITRED_CPYTHON_DISTRIBUTORS": name,
                "MAITRED_CPYTHON_TRACE": str(trace),
                "MAITRED_CPYTHON_REPORT": str(report),
            }
            stack.enter_context(_distributors(name, trace, directory))
        code, output = _finish([*map(str, command), suite], environment, directory)
    outcomes = _outcomes(results)
    found = Run(outcomes, code, output)
    if not outcomes:
        found.complaints.append(f"no test of {suite} has an outcome (exit code {code}):\n{output[-3000:]}")
    if customised:
        account(found, trace, report)
    return found


@contextlib.contextmanager
def _distributors(name, trace, directory):
    """The Distributors' keeper, as long as the suite runs."""
    with (directory / "distributors").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.compat.cpython_distributors", name, str(trace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
        )
    with keeper:
        try:
            assert keeper.stdout.readline() == b"open\n", (directory / "distributors").read_text()
            yield
        finally:
            keeper.stdin.close()
            keeper.wait(30)


def _finish(command, environment, directory):
    """Run to the end; the exit code, None if it took too long, and what it printed."""
    log = directory / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(SUITE_PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # its own session: it, and what it left behind
            process.wait()
    return code, log.read_text(errors="replace")


def _outcomes(results):
    """What regrtest has written of each test: ok, skipped, failure, error..."""
    outcomes = {}
    with contextlib.suppress(FileNotFoundError, xml.etree.ElementTree.ParseError):
        for case in xml.etree.ElementTree.parse(results).iter("testcase"):
            kind = next((each.tag for each in case if each.tag in {"error", "failure", "skipped"}), "ok")
            if case.get("result") not in {"completed", "skipped"}:
                kind = f"{kind} ({case.get('result')})"
            outcomes.setdefault(case.get("name"), []).append(kind)
    return {name: " ".join(sorted(kinds)) for name, kinds in outcomes.items()}


# ---------------------------------------------------------------- the clients


def account(found, trace, report, *, replayed=True):
    """Compare who was accepted with who was disconnected, and replay what the machines did.

    Args:
        found: the run, which gets the figures and the complaints.
        trace: of all Distributors and endpoints of the run.
        report: what the program has printed at its end.
        replayed: whether the trace is played through the machines.
    """
    accepted, disconnected, audited, seen = set(), Counter(), set(), set()
    for line in trace.read_text().splitlines():
        record = json.loads(line)
        event = record.get("event", {})
        if event.get("is") == "Disconnected":
            seen.add((f"distributor {record['who'].split()[1]} 1", event["client"]["cookie"]))
        elif event.get("is") == "Received" and event["message"]["is"] == "Accepted":
            accepted.add(_name(record, event["message"]["client"]))
        elif event.get("is") == "Received" and event["message"]["is"] == "Disconnect":
            disconnected[_name(record, event["message"]["client"])] += 1
        elif event.get("is") == "Audited":
            audited |= {_name(record, client) for client in event["gone"]}
    said = json.loads(report.read_text()) if report.exists() else {"handed": 0, "alone": 0, "open": []}
    still_open = {name for name in accepted if name[1] in said["open"]}
    overtaken = accepted & audited & seen - disconnected.keys()  # by an audit between the closing and the word of it
    unheard = accepted & audited - disconnected.keys() - overtaken
    lost = accepted - disconnected.keys() - audited - still_open
    twice = [name for name, times in disconnected.items() if times > 1]
    found.clients = {
        "listeners": said["handed"],
        "accepted": len(accepted),
        "disconnected": len(disconnected) + len(overtaken),
        "open at the end": len(still_open),
        "left alone": said["alone"],
    }
    if not report.exists():
        found.complaints.append("the program did not come to its end")
    elif not said["handed"]:
        found.complaints.append("no listener was handed to a Distributor")
    if lost:
        found.complaints.append(f"{len(lost)} of {len(accepted)} clients were accepted and never disconnected")
    if unheard:
        found.complaints.append(f"{len(unheard)} clients were gone unheard: the audit found them")
    if twice:
        found.complaints.append(f"{len(twice)} clients were disconnected twice")
    if replayed and accepted:
        outcome = replay(trace)
        if not outcome.ok:
            found.complaints.append(f"the trace is not one of the machines: {outcome.mismatch}")


def _name(record, client):
    return record["who"], client["cookie"]


# ---------------------------------------------------------------- both, compared


def differences(plain, customised, version, exclusions=EXCLUSIONS):
    """Which tests have another outcome than they should, and which exclusions have not been needed.

    Args:
        plain: the outcome of each test as it is.
        customised: with the customised class in place.
        version: of Python, as "3.11".
        exclusions: what may differ.

    Returns:
        of each test that differs the two outcomes; and the patterns of exclusions that cover tests, but no difference.
    """
    different, used, covered = {}, set(), set()
    for test in sorted({*plain, *customised}):
        outcomes = plain.get(test, "not run"), customised.get(test, "not run")
        exclusion = excluded(test, version, exclusions)
        if exclusion is not None and exclusion.run and exclusion.always:
            covered.add(exclusion.pattern)
        if outcomes[0] != outcomes[1]:
            if exclusion is None:
                different[test] = outcomes
            else:
                used.add(exclusion.pattern)
    return different, sorted(covered - used)


def compare(python, suite, directory, only=()):
    """Run a suite, or what is chosen of it, both ways, and look at what differs again.

    Returns:
        the result as JSON has it: figures, and complaints, where something is not as it should be.
    """
    version = version_of(python)
    plain = run(python, suite, _new(directory, "plain"), customised=False, only=only)
    customised = run(python, suite, _new(directory, "customised"), customised=True, only=only)
    different, unneeded = differences(plain.outcomes, customised.outcomes, version)
    complaints = plain.complaints + customised.complaints
    complaints += [f"nothing differs under the exclusion {pattern}: it is not needed" for pattern in unneeded]
    unsteady = _look_again(python, suite, directory, different) if plain.outcomes and customised.outcomes else {}
    for test in unsteady:
        del different[test]
    if plain.outcomes and customised.outcomes:  # else it has been reported
        complaints += [f"{test}: {was} plain, {now} customised" for test, (was, now) in different.items()]
    kinds = Counter(kind.split()[0] for kind in plain.outcomes.values())
    result = {
        "suite": suite,
        "python": version,
        "tests": len(plain.outcomes),
        "plain": dict(sorted(kinds.items())),
        "different": len(different),
        "unsteady": sorted(unsteady),
        "excluded": {
            each.pattern: each.reason
            for each in EXCLUSIONS
            if each.pattern.startswith(f"test.{suite.partition('.')[0]}.") and each.applies(version)
        },
        **customised.clients,
        "complaints": complaints,
    }
    return result


def _look_again(python, suite, directory, different):
    """Run these tests again both ways: those whose outcomes agree in the end, with how they differed at first."""
    steady = dict(different)
    for attempt in range(AGAIN):
        if not steady:
            break
        outcomes = [
            run(python, suite, _new(directory, f"again {attempt} {kind}"), customised=kind, only=steady).outcomes
            for kind in (False, True)
        ]
        for test in list(steady):
            if outcomes[0].get(test, "not run") == outcomes[1].get(test) is not None:
                del steady[test]
    return {test: different[test] for test in different if test not in steady}


def note(file, results):
    """Write the results to the file, by version of Python and suite, beside those of other versions and suites."""
    noted = json.loads(file.read_text()) if file.exists() else {}
    for result in results:
        row = {key: value for key, value in result.items() if key not in {"suite", "python"}}
        noted.setdefault(result["python"], {})[result["suite"]] = row
    file.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n")


def _reported(result):
    """A line for people."""
    clients = f"{result.get('listeners', 0)} listeners, {result.get('accepted', 0)} clients accepted,"
    clients += f" {result.get('disconnected', 0)} disconnected"
    if result.get("open at the end"):
        clients += f", {result['open at the end']} open at the end"
    same = "same outcomes" if not result["different"] else f"{result['different']} DIFFERENT"
    lines = [f"{result['suite']} ({result['python']}): {result['tests']} tests, {same}; {clients}"]
    return "\n".join([*lines, *(f"  {complaint}" for complaint in result["complaints"])])


def _new(directory, name):
    made = directory / name
    made.mkdir(parents=True)
    return made


def version_of(python):
    """As "3.11"."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def has_tests(python):
    """Whether the interpreter has its own test suites: some systems leave them out, or make them another package."""
    code = "import test.support, test.libregrtest"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


MISSING = (
    "{python} has no package `test`, CPython's own test suites."
    " On Debian and Ubuntu it is in libpython3-testsuite:  sudo apt-get install libpython3-testsuite"
)


def main(argv=None):
    """The command; 0 where all is the same, 1 where it is not, 2 where it could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat.cpython", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter (default: this one)")
    parser.add_argument("--json", type=Path, help="note the results in this file, beside what it holds")
    parser.add_argument("--keep", type=Path, help="keep what the runs wrote in this directory, which must not exist")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    arguments = parser.parse_args(argv)
    unknown = sorted({*arguments.suites} - {*SUITES})
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if not has_tests(arguments.python):
        print(MISSING.format(python=arguments.python), file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        directory = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chosen = arguments.suites or SUITES
        results = []
        for suite in chosen:
            results.append(compare(arguments.python, suite, _new(directory, suite)))
            print(_reported(results[-1]), flush=True)
    if arguments.json is not None:
        note(arguments.json, results)
    return int(any(result["complaints"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
