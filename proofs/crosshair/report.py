"""All contracts: run on every core, remembered by content, and reported.

What is remembered is a finding for each case, under a hash of the text of the core, of the contracts and of the
versions of what they run on.  So a second run is immediate, and any change to what is checked asks again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from maitred.core import invariants
from proofs.crosshair import distributor, effects, engine, monitor, server, tables
from proofs.crosshair.engine import PATIENCE, Contract, Finding, Verdict

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "generated" / "crosshair.md"
CACHE: Final = ROOT / "build" / "crosshair"
CORE: Final = Path(invariants.__file__).parent
CONTRACTS: Final[dict[str, Contract]] = {
    contract.name: contract
    for contract in (*distributor.CONTRACTS, *server.CONTRACTS, *monitor.CONTRACTS, *tables.CONTRACTS)
}
"""All contracts, by name."""
WORST_FIRST: Final = (Verdict.REFUTED, Verdict.UNCONFIRMED, Verdict.CONFIRMED)
MACHINES: Final = {
    "distributor": "The Distributor",
    "server": "The Application Server's endpoint",
    "monitor": "The Monitor",
    "tables": "The tables",
}


@dataclass(frozen=True)
class Outcome:
    """What came of one contract."""

    contract: Contract
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of its cases; unconfirmed where one was not asked, or the step was never taken."""
        verdicts = {finding.verdict for finding in self.findings}
        if self.unasked or not self.taken:
            verdicts.add(Verdict.UNCONFIRMED)
        return next(verdict for verdict in WORST_FIRST if verdict in verdicts)

    @property
    def unasked(self) -> int:
        """How many of the contract's cases were not asked."""
        return len(self.contract.cases) - len(self.findings)

    @property
    def paths(self) -> int:
        """That were followed, in all cases."""
        return sum(finding.paths for finding in self.findings)

    @property
    def taken(self) -> int:
        """Paths on which the step was taken."""
        return sum(finding.taken for finding in self.findings)

    @property
    def seconds(self) -> float:
        """Of processor time."""
        return sum(finding.seconds for finding in self.findings)

    @property
    def confirmed(self) -> int:
        """Cases that were confirmed, and in which the step is taken."""
        return sum(finding.verdict is Verdict.CONFIRMED and finding.steps for finding in self.findings)

    @property
    def declined(self) -> int:
        """Cases that were confirmed, but of nothing: the step is never taken."""
        return sum(finding.verdict is Verdict.CONFIRMED and not finding.steps for finding in self.findings)

    @property
    def open(self) -> list[Finding]:
        """The cases that were not."""
        return [finding for finding in self.findings if finding.verdict is not Verdict.CONFIRMED]


Job = tuple[str, str]
"""A contract and a case, by their names."""


def jobs(names: Iterable[str], labels: Callable[[Contract], Iterable[str]] | None = None) -> list[Job]:
    """Every case of these contracts, or those that `labels` names of each."""
    chosen = [CONTRACTS[name] for name in names]
    return [
        (contract.name, label)
        for contract in chosen
        for label in (labels(contract) if labels else (case.label for case in contract.cases))
    ]


def run(
    wanted: Sequence[Job],
    done: Callable[[Finding], None] = lambda finding: None,
    patience: float = PATIENCE,
    workers: int | None = None,
    remember: bool = True,
    ask: bool = True,
) -> list[Outcome]:
    """Ask about the cases, on all cores; `done` hears of each.  Without `ask`, only what is remembered is reported."""
    assert wanted, "there is nothing to ask"
    memory = Memory(patience) if remember else None
    found: dict[Job, Finding] = {}
    for job in wanted:
        known = memory.recall(job) if memory else None
        if known is not None:
            found[job] = known
            done(known)
    left = [job for job in wanted if job not in found]
    if left and ask:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            asked = {pool.submit(_one, job, patience): job for job in left}
            for future in as_completed(asked):
                found[asked[future]] = future.result()
                done(future.result())
                if memory:
                    memory.keep(asked[future], future.result())
    by_contract: dict[str, list[Finding]] = {}
    for job in wanted:
        by_contract.setdefault(job[0], []).extend([found[job]] if job in found else [])
    return [Outcome(CONTRACTS[name], tuple(findings)) for name, findings in by_contract.items()]


def _one(job: Job, patience: float) -> Finding:
    contract = CONTRACTS[job[0]]
    (case,) = (case for case in contract.cases if case.label == job[1])
    return engine.run(contract, case, patience)


# ================================================================ what is remembered


@cache
def _text(machine: str) -> str:
    """Everything that a verdict on the machine depends on."""
    common = ("invariants", "messages", "transition", "tree", "value")
    core = [CORE / f"{name}.py" for name in common + ((machine,) if machine != "tables" else ())]
    sources = [*core, Path(engine.__file__), Path(effects.__file__), Path(__file__).parent / f"{machine}.py"]
    versions = [platform.python_version(), version("crosshair-tool"), version("z3-solver")]
    return "\n".join([*versions, *(path.read_text() for path in sources)])


class Memory:
    """Findings of earlier runs, each in a file that is called by the hash of what it depends on."""

    def __init__(self, patience: float, directory: Path = CACHE) -> None:
        self._patience = patience
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".gitignore").write_text("*\n")

    def recall(self, job: Job) -> Finding | None:
        """What is known of the case, as the texts are now."""
        path = self._path(job)
        if not path.exists():
            return None
        told = json.loads(path.read_text())
        return Finding(**{**told, "verdict": Verdict[told["verdict"]], "broken": tuple(told["broken"])})

    def keep(self, job: Job, finding: Finding) -> None:
        """Remember it."""
        told = {field.name: getattr(finding, field.name) for field in fields(finding)}
        path = self._path(job)
        half = path.with_suffix(f".{os.getpid()}")
        half.write_text(json.dumps({**told, "verdict": finding.verdict.name}))
        half.replace(path)  # whole, or not at all

    def _path(self, job: Job) -> Path:
        content = "\n".join([*job, str(self._patience), _text(CONTRACTS[job[0]].machine)])
        return self._directory / f"{hashlib.sha256(content.encode()).hexdigest()}.json"


# ================================================================ the page

INTRODUCTION: Final = """\
Written by `python -m proofs.crosshair --write`. [CrossHair](https://crosshair.readthedocs.io) runs the very `step` of
each machine on symbolic numbers, follows every branch that some numbers would take, and asks on each path: do the
[invariants](../../reference/maitred/core/invariants.py) that held before hold after; did the step give a transition or
a typed rejection and raise nothing; are the state and the event unchanged; does what the step sends, and in which
order, obey the machine's [laws](#what-is-asked-of-the-effects)?

*Confirmed over all paths* is CrossHair's word for: every path was followed to its end, and the solver left nothing
open. It is said of a contract if it is said of each of its cases, and the step is taken in some. A case that *only
declines* has no path that takes the step: it shows that the event is rejected with a reason, and is counted apart.

A case is a skeleton: which servers, ports, dialogs and waiting clients there are, of what kind. Within it the numbers
are any integers: counts, maxima, ranks, sequence numbers, limits, arrivals, and the ids in the event, so that it speaks
of what is known and of what is not.
"""

LIMITS: Final = """\
- **Skeletons are bounded and listed** below: three servers, three who wait or are stored, two ports, two processing
  elements. They are chosen, not all that there are: each kind of server, port, place and phase occurs, not each with
  each. For any number of everything there is the [induction](../../proofs/README.md), of the relation.
- **Arrivals of those who wait are 10, 20 and 30**, ids of servers 1, 2 and 3, ports 80 and 81: what the event carries
  is symbolic, and falls before, between, on and after them.
- **Weights are 1, 2 and 3**: the product of two symbolic numbers is beyond what the solver decides for certain.
- **The shape of trees is set aside**: to hash a symbolic number is to fix it, so every key has the same priority
  meanwhile, and trees are chains with the same content. That the content does not depend on priorities is the contract
  `a_tree_is_its_content`.
- **What arrives is well-formed**: a count is not negative; what `Adopt` says is owed is a dialog that it names, its
  server is known already or newer than all; a maximum and a weight are at least 1; a Distributor that has said `Closed`
  does not say `Store`; an audit does not find a client gone whose `Accepted` is still to be sent.
- **A server's sequence numbers are concrete**, 1 to 3: its invariants put them into a set; to hash a symbolic number is
  to fix it. Which of them the event carries is symbolic.
- **Most cases are plain**: an accept is outstanding, two dynamic servers are configured, one is being asked for. Where
  a skeleton says *limits symbolic*, these are symbolic too, with one server: branches add up and do not multiply.
- **Of the effects only the laws are asked**: a step that obeys them all may still send the wrong thing. The
  [model](../../spec/properties.md) and the [bridge](../../proofs/README.md) see more of it.
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """The page about every contract, as Markdown."""
    return "\n".join(_lines(outcomes)).rstrip() + "\n"


def _lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    confirmed = sum(outcome.verdict is Verdict.CONFIRMED for outcome in outcomes)
    cases, paths = sum(len(o.contract.cases) for o in outcomes), sum(o.paths for o in outcomes)
    yield "# What CrossHair confirms"
    yield ""
    yield from INTRODUCTION.splitlines()
    yield ""
    yield (
        f"**{confirmed} of {len(outcomes)} contracts are confirmed over all paths**; {cases} cases, of which "
        f"{sum(o.confirmed for o in outcomes)} are confirmed and {sum(o.declined for o in outcomes)} only decline; "
        f"{paths} paths, of which {sum(o.taken for o in outcomes)} "
        "take the step and the others are rejected or outside of what is assumed."
    )
    for machine, title in MACHINES.items():
        yield f"\n## {title}\n"
        yield "| contract | verdict | cases confirmed | only decline | paths | steps taken | sizes |"
        yield "|---|---|---:|---:|---:|---:|---|"
        for outcome in outcomes:
            if outcome.contract.machine == machine:
                yield _row(outcome)
    yield "\n## What is less than confirmed\n"
    less = [finding for outcome in outcomes for finding in outcome.open]
    yield from (_less(finding) for finding in less)
    unasked = [outcome for outcome in outcomes if outcome.unasked]
    yield from (f"- `{o.contract.name}`: {o.unasked} cases not asked yet" for o in unasked)
    idle = [outcome for outcome in outcomes if not outcome.taken and not outcome.unasked]
    yield from (f"- `{o.contract.name}`: the step is never taken, so nothing is shown" for o in idle)
    if not (less or unasked or idle):
        yield "Nothing: every case of every contract is confirmed, or only declines."
    yield "\n## What it rests on, and what it does not say\n"
    yield from LIMITS.splitlines()
    yield "\n## What is assumed beside the invariants\n"
    yield "Each is assumed of the state before and asked of the state after, like the invariants that the core lists."
    yield ""
    for name, says in _lemmas(outcomes).items():
        yield f"- `{name}`: {says}"
    yield "\n## What is asked of the effects\n"
    yield "Of the state before, the event and the transition, on each path that takes the step.\n"
    laws = {law.__name__: _first(law) for outcome in outcomes for law in outcome.contract.laws}
    yield from (f"- `{name}`: {says}" for name, says in laws.items())
    yield "\n## The skeletons\n"
    for machine, title in MACHINES.items():
        labels = {case.label: None for o in outcomes if o.contract.machine == machine for case in o.contract.cases}
        if labels:
            yield f"{title}:\n"
            yield from (f"- {label}" for label in labels)
            yield ""


def _row(outcome: Outcome) -> str:
    contract = outcome.contract
    share = f"{outcome.confirmed} of {len(contract.cases)}"
    verdict = outcome.verdict.value
    numbers = f"{share} | {outcome.declined} | {outcome.paths} | {outcome.taken}"
    return f"| `{contract.name}` | {verdict} | {numbers} | {contract.sizes} |"


def _less(finding: Finding) -> str:
    if finding.verdict is Verdict.REFUTED:
        return f"- `{finding.contract}`, *{finding.case}*: refuted, {', '.join(finding.broken)}: {finding.example}"
    return (
        f"- `{finding.contract}`, *{finding.case}*: no counterexample within {finding.seconds:.0f} s and "
        f"{finding.paths} paths, not confirmed"
    )


def _lemmas(outcomes: Sequence[Outcome]) -> Mapping[str, str]:
    return {lemma.__name__: _first(lemma) for outcome in outcomes for lemma in outcome.contract.lemmas}


def _first(function: Callable[..., object]) -> str:
    """The first paragraph of what it says of itself, on one line."""
    return " ".join((function.__doc__ or "").partition("\n\n")[0].split())
