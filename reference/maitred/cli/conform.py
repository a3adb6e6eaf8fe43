"""``maitred conform``: whether a program in any language keeps the protocol; see `maitred.conform`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from maitred.cli import complain
from maitred.config.error import ConfigError

if TYPE_CHECKING:
    from maitred.conform.bench import Bench
    from maitred.conform.cases import Case, Outcome
    from maitred.conform.lines import Lines

B = TypeVar("B")
"""What a case is given."""

KINDS: Final = {
    "endpoint": "an Application Server: start it, play Monitor, Distributor and clients, and check each answer",
    "step": "an implementation of the machines: have it answer each vector of spec/vectors, and compare",
    "trace": "what machines have recorded of a run: was every step one of theirs?",
}
"""What can be tested."""
_EPILOG: Final = (
    "Ends with 0 if all is as expected, 1 if something is not, 2 if the command line or a file is wrong."
    " Example: maitred conform {}"
)
_VALUED: Final = ("--clients", "--say", "--away", "--patience", "--seed")
"""Options with a value that a case depends on."""
EVERY: Final = 250
"""The progress of cases that take no time is shown after so many."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred conform",
        description="Check whether a program keeps the protocol of maitred, in whatever language it is written.",
        epilog=_EPILOG.format("endpoint -- ./server --flag"),
        allow_abbrev=False,
    )
    kinds = made.add_subparsers(dest="kind", metavar="KIND", required=True)
    endpoint = kinds.add_parser(
        "endpoint",
        help=KINDS["endpoint"],
        description="Start a program as an Application Server, by the contract of spec/start.md, once for each case;"
        " do to it what reality may do; check what it answers by the server's machine, and its counts by the kernel."
        " A Python program is started with maitred's own endpoint.",
        epilog=_EPILOG.format("endpoint -- ./server --flag"),
        allow_abbrev=False,
    )
    _add_choice(endpoint)
    _add_patience(endpoint)
    endpoint.add_argument(
        "--directed",
        action="store_true",
        help="the program listens and closes on demand, as maitred.conform.program does: more cases are asked",
    )
    endpoint.add_argument(
        "--as-is", action="store_true", help="a Python program that keeps the contract itself: start it as it is"
    )
    endpoint.add_argument("--clients", type=_count, default=3, metavar="N", help="it serves so many at a time (3)")
    endpoint.add_argument(
        "--say",
        default="GET / HTTP/1.0\\r\\n\\r\\n",
        metavar="TEXT",
        help="what a client says, with \\r and \\n; it is to answer with something (a request of HTTP)",
    )
    endpoint.add_argument(
        "--away", type=_seconds, default=1.0, metavar="S", help="a Distributor is away for so long (1)"
    )
    endpoint.add_argument("command", nargs="*", metavar="-- COMMAND", help="the program, with its arguments")
    step = kinds.add_parser(
        "step",
        help=KINDS["step"],
        description="Start a program that has the steps of the machines, in whatever language. It reads questions, the"
        " test vectors, from its stdin, a line of JSON each, and answers each with a line on its stdout:"
        " spec/vectors/README.md. Of an answer the state and the effects are compared, or the reason of the rejection.",
        epilog=_EPILOG.format("step --seed 7 -- ./steps"),
        allow_abbrev=False,
    )
    _add_choice(step)
    _add_patience(step)
    step.add_argument(
        "--machine",
        action="append",
        default=[],
        dest="machines",
        choices=("distributor", "server", "monitor", "wire"),
        help="only this machine, or the packets (wire); may be given several times",
    )
    step.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="ask for random walks of each machine as well, which are in no file and are the same for the same N",
    )
    step.add_argument("command", nargs="*", metavar="-- COMMAND", help="the program, with its arguments")
    trace = kinds.add_parser(
        "trace",
        help=KINDS["trace"],
        description="Play recorded traces (docs/reference/trace.md) through the machines again, each file as a case of"
        " its own, and report where one is not what the machines would have written. A trace that has been split"
        " into several files is for `maitred replay`.",
        epilog=_EPILOG.format("trace run.trace"),
        allow_abbrev=False,
    )
    _add_choice(trace)
    trace.add_argument("command", nargs="*", metavar="FILE", help="the traces")
    return made


def _add_choice(made: argparse.ArgumentParser) -> None:
    """Add the options that every kind has."""
    made.add_argument("--list", action="store_true", help="list the cases, with their requirements, and run none")
    made.add_argument(
        "-k",
        action="append",
        default=[],
        dest="texts",
        metavar="TEXT",
        help="only cases whose name, requirement or (step) note contains the text; may be given several times",
    )
    made.add_argument("--expected-failures", metavar="FILE", help="cases that must fail, a name a line")
    made.add_argument("-x", "--first", action="store_true", help="stop at the first case that is not as expected")
    made.add_argument("--json", action="store_true", help="print a document for programs; the progress goes to stderr")
    made.add_argument("--junit", metavar="FILE", help="write JUnit XML there as well")


def _add_patience(made: argparse.ArgumentParser) -> None:
    made.add_argument("--patience", type=_seconds, default=10.0, metavar="S", help="seconds to wait for an answer (10)")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise ValueError(text)
    return value


def main(argv: Sequence[str]) -> int:
    """Run the cases; see the help for the exit codes."""
    own, command = _split(argv)
    options = parser().parse_args(own)
    options.command = command or options.command
    return {"endpoint": _endpoint, "step": _step, "trace": _trace}[options.kind](options, own)


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words, and those after ``--``, which are the program's."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _endpoint(options: argparse.Namespace, own: Sequence[str]) -> int:
    from maitred.conform import cases, testee
    from maitred.conform.bench import Bench, Settings
    from maitred.conform.endpoint import ENDPOINT
    from maitred.shell.io import kernel

    chosen = ENDPOINT.chosen(options.texts)
    if options.list:
        return _list(chosen)
    _need_command(options)
    command = testee.as_is(options.command) if options.as_is else testee.command_line(options.command)
    settings = Settings(
        patience=options.patience,
        clients=options.clients,
        away=options.away,
        say=_unescaped(options.say),
        directed=options.directed,
    )
    kernel.become_subreaper()
    kernel.hear_of_children()

    def run(case: Case[Bench]) -> Outcome:
        bench = Bench(command, settings)
        try:
            return cases.run(case, bench, lambda: list(bench.exchange), bench.output, directed=settings.directed)
        finally:
            bench.close()
            testee.end_orphans()

    return _run(options, own, chosen, {case.name for case in ENDPOINT.cases}, run)


def _step(options: argparse.Namespace, own: Sequence[str]) -> int:
    from maitred.conform import cases, steps, testee
    from maitred.conform.lines import Lines
    from maitred.shell.io import kernel

    found = steps.collection(tuple(options.machines) or steps.MACHINES, options.seed)
    chosen = found.chosen(options.texts, notes=True)
    if options.list:
        return _list(chosen)
    _need_command(options)
    lines = Lines(testee.as_is(options.command), options.patience)
    kernel.become_subreaper()

    def run(case: Case[Lines]) -> Outcome:
        return cases.run(case, lines, lambda: lines.exchange, lines.output, directed=False)

    try:
        return _run(options, own, chosen, {case.name for case in found.cases}, run)
    finally:
        lines.close()
        testee.end_orphans()


def _trace(options: argparse.Namespace, own: Sequence[str]) -> int:
    from maitred.cli import replay
    from maitred.conform import cases, recordings

    if not options.command:
        raise ConfigError("conform trace: needs a trace: maitred conform trace FILE...")
    for file in options.command:
        try:
            fd = replay.opened(file)
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
            raise ConfigError(f"{file}: cannot be read: {getattr(error, 'strerror', error)}") from error
        try:
            complaint = replay.no_trace(fd)
        finally:
            os.close(fd)
        if complaint is not None:
            raise ConfigError(f"{file}: {complaint}")
    found = recordings.collection(options.command)
    chosen = found.chosen(options.texts)
    if options.list:
        return _list(chosen)

    def run(case: Case[list[str]]) -> Outcome:
        exchange: list[str] = []
        return cases.run(case, exchange, lambda: exchange, str, directed=False)

    return _run(options, own, chosen, {case.name for case in found.cases}, run)


def _need_command(options: argparse.Namespace) -> None:
    if not options.command:
        raise ConfigError(f"conform {options.kind}: needs the program: maitred conform {options.kind} -- COMMAND...")


def _list(chosen: Sequence[Case[B]]) -> int:
    for case in chosen:
        marks = " (--directed)" if case.directed else ""
        print("\n    ".join(filter(None, (f"{case.name}{marks}", case.says, ", ".join(case.requirements)))))
    return 0


def _run(
    options: argparse.Namespace,
    own: Sequence[str],
    chosen: Sequence[Case[B]],
    known: set[str],
    run: Callable[[Case[B]], Outcome],
) -> int:
    """Run the cases one by one, and report.

    Args:
        options: as given.
        own: our words of the command line, for the commands that reproduce a failure.
        chosen: the cases.
        known: the names of all cases of this kind.
        run: runs one.
    """
    from maitred.conform import report

    if not chosen:
        raise ConfigError(f"-k {' -k '.join(options.texts)}: no case has that in its name or requirements; see --list")
    expected = report.expected_failures(options.expected_failures, known) if options.expected_failures else frozenset()
    said = sys.stderr if options.json else sys.stdout
    outcomes: list[Outcome] = []
    for number, case in enumerate(chosen, 1):
        outcome = report.against(run(case), expected)
        outcome.reproduce = report.reproduce(options.kind, case.name, _kept(own), options.command)
        outcomes.append(outcome)
        if options.kind != "step" or not outcome.verdict.is_well:
            print(f"{number:>3}/{len(chosen)}  {report.row(outcome)}", file=said, flush=True)
        elif number % EVERY == 0:
            print(f"{number:>3}/{len(chosen)}", file=said, flush=True)
        if options.first and not outcome.verdict.is_well:
            break
    wrong = [outcome for outcome in outcomes if not outcome.verdict.is_well]
    for outcome in wrong:
        print(report.explanation(outcome), file=said)
    print(f"\n{report.summary(outcomes)}", file=said)
    if options.json:
        print(json.dumps(report.document(options.kind, options.command, outcomes), indent=1))
    if options.junit:
        try:
            Path(options.junit).write_text(report.junit(options.kind, outcomes), encoding="utf-8")
        except OSError as error:
            return complain(f"{options.junit}: cannot be written: {error.strerror}", 2)
    return 1 if wrong else 0


def _kept(own: Sequence[str]) -> list[str]:
    """Our options that a case depends on, for the command that runs it alone."""
    kept: list[str] = []
    words = iter(own[1:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in ("--directed", "--as-is") or (name in _VALUED and equals):
            kept.append(word)
        elif name in _VALUED:
            kept += [word, next(words)]
    return kept


def _unescaped(text: str) -> bytes:
    return text.replace("\\r", "\r").replace("\\n", "\n").encode()
