"""Asks CrossHair about the contracts: `python -m proofs.crosshair`, and with ``--write`` the page about it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from docs import campaigns
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from proofs.crosshair.engine import PATIENCE, Finding, Verdict
from proofs.crosshair.report import CONTRACTS, PAGE, ROOT, Outcome, jobs, page, run

STYLES = {Verdict.CONFIRMED: "green", Verdict.UNCONFIRMED: "yellow", Verdict.REFUTED: "red"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if everything is confirmed, 1 if a contract is refuted, 3 if one is only not confirmed."""
    parser = argparse.ArgumentParser(prog="python -m proofs.crosshair", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--again", action="store_true", help="ask even what is known from an earlier run")
    parser.add_argument("--remembered", action="store_true", help="ask nothing: print what is known from earlier runs")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for a case (default: %(default)g)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a contract; all by default")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in CONTRACTS]
    if unknown:
        parser.error(f"no such contract: {', '.join(unknown)}; there are {', '.join(CONTRACTS)}")
    if given.patience <= 0:
        parser.error(f"--patience: {given.patience:g} is no number of seconds above 0")
    if given.again and given.remembered:
        parser.error("--again asks everything, --remembered asks nothing: give one of them")
    if given.write and given.names:
        parser.error("the page is about every contract: --write takes no names")
    console = Console(stderr=True)
    names = given.names or list(CONTRACTS)
    outcomes = _run(names, given.patience, console, remember=not given.again, ask=not given.remembered)
    if given.write:
        PAGE.write_text(page(outcomes))
        campaigns.record(PAGE)
    _tell(outcomes, Console())
    verdicts = {outcome.verdict for outcome in outcomes}
    return 1 if Verdict.REFUTED in verdicts else 3 if Verdict.UNCONFIRMED in verdicts else 0


def _run(names: Sequence[str], patience: float, console: Console, *, remember: bool, ask: bool) -> list[Outcome]:
    wanted = jobs(names)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task("cases", total=len(wanted))

        def done(finding: Finding) -> None:
            progress.update(bar, advance=1, description=finding.contract)
            if finding.verdict is not Verdict.CONFIRMED:
                progress.console.print(f"{finding.contract}, {finding.case}: {finding.verdict.value}")

        return run(wanted, done, patience, remember=remember, ask=ask)


def _tell(outcomes: Sequence[Outcome], console: Console) -> None:
    table = Table(title="CrossHair")
    for heading in ("contract", "verdict", "cases", "declined", "paths", "taken", "seconds"):
        table.add_column(heading, justify="left" if heading in ("contract", "verdict") else "right")
    for outcome in outcomes:
        style = STYLES[outcome.verdict]
        cases = f"{outcome.confirmed}/{len(outcome.contract.cases)}"
        numbers = (cases, str(outcome.declined), str(outcome.paths), str(outcome.taken), f"{outcome.seconds:.1f}")
        table.add_row(outcome.contract.name, f"[{style}]{outcome.verdict.value}[/]", *numbers)
    console.print(table)
    for outcome in outcomes:
        for finding in outcome.open:
            said = f": {', '.join(finding.broken)}; {finding.example}" if finding.broken else ""
            console.print(f"{finding.contract}, {finding.case}: {finding.verdict.value}{said}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
