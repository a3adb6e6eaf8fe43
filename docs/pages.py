"""Writes every generated page: ``make pages``, which is ``python -m docs.pages``.

`PAGES` lists each generated file with the command that writes it.  A page that follows from the sources, or from data
in the repository, takes seconds and is written at once.  A page that reports a campaign (`Page.campaign`) is left as it
is, and its command is printed.  ``python -m docs.pages NAME...`` writes only the pages whose path contains a name.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Page:
    """Files that one command writes."""

    command: str
    """The arguments of `python -m`."""
    files: tuple[str, ...]
    """Paths from the root of the repository."""
    campaign: str = ""
    """How long the command takes, if it measures, explores or proves for more than two minutes."""


PAGES: Final = (
    Page("spec.generate", ("spec/wire.md", "spec/vectors/bytes.jsonl", "spec/properties.md", "spec/configurations.md")),
    Page(
        "docs.tables",
        (
            "docs/reference/command.md",
            "docs/reference/configuration.md",
            "docs/explanation/liveness.md",
            "spec/start.md",
        ),
    ),
    Page("proofs.refinement.field_table --write", ("docs/generated/field-table.md",)),
    Page("proofs.refinement.explored_fields --write", ("docs/generated/explored-fields.md",)),
    Page(
        "docs.step_tables",
        tuple(f"reference/maitred/core/{name}.py" for name in ("distributor", "server", "monitor")),
    ),
    Page("spec.vectors.schema", ("spec/vectors/vectors.schema.json",)),
    Page("spec.vectors.tables", ("docs/generated/step-tables.md",)),
    Page("tests.compat.table", ("docs/reference/compatibility.md",)),
    Page("tests.native.table", ("docs/reference/compatibility-native.md",)),
    Page("tests.abuse --render", ("docs/explanation/load-and-abuse.md",)),
    Page("tests.faults.report", ("docs/benchmarks/faults.md", "docs/benchmarks/faults.svg")),
    Page("tests.hostile.report", ("docs/benchmarks/hostile.md",)),
    Page("benchmarks.report", ("docs/benchmarks/README.md", "docs/benchmarks/results.svg")),
    Page("benchmarks.verify --again", ("docs/benchmarks/verify.md",)),
    Page("proofs.mutation.matrix --write", ("docs/generated/mutants.md",), "half an hour"),
    Page("spec.vectors.mutants --write", ("docs/generated/vectors-and-mutants.md",)),
    Page("proofs.mutation.mutmut --write", ("docs/generated/mutation-score.md",), "hours"),
    Page("proofs.solve.smtlib --write", ("docs/generated/second-solver.md",), "ten minutes"),
    Page("proofs.crosshair --write", ("docs/generated/crosshair.md",), "hours"),
    Page("docs.campaigns --write", ("docs/generated/campaigns.md",)),
    # The last: it sums up what the other pages say.
    Page(
        "docs.generate",
        (
            "docs/generated/matrix.md",
            "docs/generated/messages.md",
            "docs/generated/state-machines.md",
            "docs/generated/verdicts.md",
            "docs/figures/a-stored-client-is-served.svg",
        ),
    ),
)


def written(page: Page) -> list[str]:
    """Write a page; those of its files that have changed.

    Raises:
        subprocess.CalledProcessError: the command failed; it has said why.
    """

    def texts() -> list[bytes]:
        return [(ROOT / file).read_bytes() if (ROOT / file).exists() else b"" for file in page.files]

    before = texts()
    subprocess.run([sys.executable, "-m", *page.command.split()], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return [file for file, old, new in zip(page.files, before, texts(), strict=True) if old != new]


def main(names: list[str]) -> int:
    """Write the pages whose path contains one of the names, or all; print what changed."""
    unknown = [name for name in names if not any(name in file for page in PAGES for file in page.files)]
    if unknown:
        print(f"no generated page is called {', '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = [page for page in PAGES if not names or any(name in file for name in names for file in page.files)]
    for page in chosen:
        if page.campaign:
            print(f"left as it is: {', '.join(page.files)} ({page.campaign}: python -m {page.command})")
            continue
        try:
            changed = written(page)
        except subprocess.CalledProcessError as error:
            print(f"failed with status {error.returncode}: python -m {page.command}", file=sys.stderr)
            return 1
        print(f"{', '.join(page.files)}: {f'changed: {len(changed)}' if changed else 'as before'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
