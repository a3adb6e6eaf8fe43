"""``maitred check``: explore every behaviour of the machines within bounds, and say what holds.

What is explored are the functions that drive the sockets (`maitred.model`); this only reads the options and hands over
to whoever explores.  Without bounds it is the portfolio of the manifest, with bounds one system.  Progress goes to
stderr, the results to stdout.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from maitred.cli import complain, document, verdicts
from maitred.config import values
from maitred.config.error import ConfigError
from maitred.model import world

if TYPE_CHECKING:
    from maitred.model.check import manifest
    from maitred.model.check.checker import Bounds, Progress, Result
    from maitred.model.check.liveness import LivenessResult
    from maitred.model.check.manifest import Configuration


GROUPS = {
    "size": "how large the system is",
    "faults": "how often each may happen",
    "events": "how often each may happen",
}
ANY: Final = "any"
"""For a bound: any number of times."""
FLAGS: Final = ("unfixed", "warm", "stable", "returns", "symmetric", "liveness")
"""The switches that describe one exploration."""
LISTS: Final = ("without", "unassumed")
FEW: Final = 8
"""So many names, and no more, are listed where a wrong one is like none of them."""

EPILOG = """\
exit code:
  0  every property holds, and what should sometimes be seen was
  1  a property is violated (a shortest counterexample is printed), something
     that should be seen never is, or, of a configuration of the manifest, the
     outcome or a count is not what is recorded
  2  --max-states was reached first; or the command line is wrong

examples:
  maitred check
      a dozen small systems, each with something that can go wrong
  maitred check --warm --distributor-crashes 1
      one system: the Distributor may die, between any two effects
  maitred check --warm --servers 3 --clients 4 --symmetric
      identify states up to renaming
  maitred check --to a_stored_client_is_restored_and_served --diagram way.svg
      draw a shortest run that reaches a property
  maitred check --warm --server-crashes 1 --forked-children 1 \\
                --without last-process-ends
      why the machines need what they need of the kernel
  maitred check --property no_client_is_lost --property never_above_the_maximum
      ask these only, of all small systems
  maitred check --liveness --returns --servers 1 --warm
      what must happen in the end, however long clients keep coming
  maitred check --list
      the configurations that every release is checked with
  maitred check --all
      check those that take seconds; --tier hours: all of them
  maitred check --config two-ports
      one of them, with a row for each property
  maitred check --all --tier hours --checkpoint DIR
      can be killed, and goes on when it is started again
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="maitred check",
        usage="maitred check [options]",
        description="Explore every behaviour of the machines that run the servers, within bounds,\n"
        "and check their properties. Without bounds: those of a dozen small systems, the\n"
        "portfolio. With any bound: of that one system; each bound multiplies the number\n"
        "of states: begin small.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for group, description in GROUPS.items():
        section = made.add_argument_group(group, description)
        for bound in world.BOUNDS:
            if bound.group == group:
                default = "that of --dynamic" if bound.default is None else bound.default
                often = f", or '{ANY}'" if bound.repeatable else ""
                section.add_argument(bound.flag, metavar="N", help=f"{bound.meaning} (default: {default}{often})")
    variants = made.add_argument_group("variants")
    variants.add_argument("--unfixed", action="store_true", help="the first bind of a server decides the port")
    variants.add_argument("--warm", action="store_true", help="begin when every static server is ready")
    variants.add_argument("--stable", action="store_true", help="processes live long enough for deaths to be forgotten")
    variants.add_argument("--returns", action="store_true", help="a client that has ended comes again, for ever")
    variants.add_argument("--without", metavar="NAME", action="append", help="an assumption that is not made; a wrong"
                          " name lists them (may be given several times)")  # fmt: skip
    asked = made.add_argument_group("what is asked")
    asked.add_argument("--liveness", action="store_true", help="what must happen in the end, under fairness, instead of"
                       " what must always hold")  # fmt: skip
    asked.add_argument("--unassumed", metavar="NAME", action="append", help="with --liveness: an assumption of fairness"
                       " that is not made; a wrong name lists them (may be given several times)")  # fmt: skip
    asked.add_argument("--property", metavar="NAME", action="append", help="ask this property only (may be given"
                       " several times)")  # fmt: skip
    asked.add_argument("--to", metavar="PROPERTY", help="print a shortest run that reaches PROPERTY")
    asked.add_argument("--diagram", metavar="FILE", help="draw the counterexample, or the run of --to: .svg, .mmd, .md")
    manifest = made.add_argument_group("the manifest", "configurations with known outcomes, instead of bounds")
    manifest.add_argument("--list", action="store_true", help="list them")
    manifest.add_argument("--all", action="store_true", help="check all of a tier, and of the quicker ones")
    manifest.add_argument("--tier", metavar="TIER", help="seconds, minutes or hours (default: seconds)")
    manifest.add_argument("--config", metavar="NAME", help="check this one")
    manifest.add_argument("--write", action="store_true", help="update recorded counts")
    effort = made.add_argument_group("effort")
    effort.add_argument(
        "--symmetric", action="store_true", help="identify states up to renaming of servers and clients"
    )
    effort.add_argument("--workers", metavar="N", help="processes (default: one for each CPU, once it is worth it)")
    effort.add_argument("--checkpoint", metavar="DIR", help="write there now and then how far the exploration is, and"
                        " go on from there")  # fmt: skip
    effort.add_argument("--max-states", metavar="N", help="give up at about so many; the verdict is then 'incomplete'")
    effort.add_argument("--json", action="store_true", help="print one document, for programs")
    effort.add_argument("--quiet", action="store_true", help="show no progress")
    return made


def table() -> str:
    """The bounds, as the table of the reference."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for bound in world.BOUNDS:
        meaning = bound.meaning if bound.group != "size" else f"{bound.meaning[0].upper()}{bound.meaning[1:]}"
        often = "" if bound.group == "size" else "How often: "
        default = "that of `--dynamic`" if bound.default is None else bound.default
        more = f" Or `{ANY}`." if bound.repeatable else ""
        rows.append(f"| `{bound.flag} N` | {default} | {often}{meaning}.{more} |")
    return "\n".join(rows)


def main(argv: Sequence[str]) -> int:
    """Explore, and print the result; see the help for the exit codes."""
    arguments = parser().parse_args(argv)
    _consistent(arguments)
    from maitred.model.check.liveness import MissingLibraryError
    from maitred.model.check.manifest import ManifestError
    from maitred.model.search.checkpoint import CheckpointError
    from maitred.model.search.parallel import WorkerLost
    from maitred.model.world.recorded_runs import RunError

    try:
        if arguments.list or arguments.all or arguments.config is not None:
            return _manifest(arguments)
        return _explore(arguments) if _described(arguments) else _portfolio(arguments)
    except (CheckpointError, ManifestError, MissingLibraryError, RunError) as error:
        return complain(str(error), 2)
    except WorkerLost as error:
        return complain(str(error), 1)


def _consistent(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        ConfigError: the text names both.
    """
    given = vars(arguments)
    modes = [f"--{name}" for name in ("list", "all", "config") if given[name]]
    described = _described(arguments)
    drawn = [f"--{name}" for name in ("to", "diagram") if given[name]]
    if len(modes) > 1:
        _clash(modes[0], modes[1])
    if modes and described:
        _clash(described[0], modes[0], "the manifest says what is explored")
    for name in ("property", "max_states"):
        if modes and given[name]:
            _clash(f"--{name.replace('_', '-')}", modes[0], "the manifest says what is asked")
    if drawn and (given["all"] or given["list"]):
        _clash(drawn[0], modes[0], "name one configuration with --config")
    for name, needed in (("tier", "all"), ("unassumed", "liveness")):
        if given[name] is not None and not given[needed]:
            raise ConfigError(f"--{name} goes with --{needed}")
    if given["write"] and not (given["all"] or given["config"]):
        raise ConfigError("--write goes with --all or --config")
    if given["json"] and (given["list"] or given["write"]):
        _clash("--json", "--list" if given["list"] else "--write")
    if given["checkpoint"] and not modes and not described:
        raise ConfigError("--checkpoint goes with bounds, --config or --all: the small systems take a second each")
    if given["checkpoint"] and given["property"]:
        _clash("--checkpoint", "--property", "another time, others may be asked")
    if given["liveness"]:
        for name in ("symmetric", "workers", "checkpoint", "to"):
            if given[name]:
                _clash(f"--{name}", "--liveness")


def _described(arguments: argparse.Namespace) -> list[str]:
    """The options given that describe one system."""
    given = vars(arguments)
    bounds = [bound.flag for bound in world.BOUNDS if given[bound.name] is not None]
    return bounds + [f"--{name}" for name in (*FLAGS, *LISTS) if given[name]]


def _clash(one: str, other: str, why: str = "") -> NoReturn:
    raise ConfigError(f"{one} does not go with {other}" + (f": {why}" if why else ""))


# ================================================================ within bounds


def _explore(arguments: argparse.Namespace) -> int:
    bounds = _bounds(arguments)
    workers = _workers(arguments)
    max_states = _max_states(arguments)
    _check_drawing(arguments)
    if arguments.liveness:
        return _explore_liveness(arguments, bounds, max_states)
    names = _names(arguments)
    _check_occasions(arguments, [bounds])
    from maitred.model.check.checker import check

    with verdicts.display(quiet=arguments.quiet) as report:
        result = check(
            bounds,
            _about(report, "exploring"),
            max_states,
            names=names,
            symmetric=arguments.symmetric,
            workers=workers,
            checkpoint=Path(arguments.checkpoint) if arguments.checkpoint is not None else None,
        )
    return _show(arguments, result)


def _show(arguments: argparse.Namespace, result: Result) -> int:
    """Print what was found within bounds and the run of --to, and draw."""
    if arguments.json:
        return _draw(arguments, result, [document.Found(None, result)], verdicts.code_of(result))
    code = verdicts.report(result)
    return max(code, _draw(arguments, result), key=_severity)


def _max_states(arguments: argparse.Namespace) -> int | None:
    if arguments.max_states is None:
        return None
    return values.at("--max-states", values.whole(1, 1 << 40), values.number(arguments.max_states))


def _names(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    """The properties that are asked, that of --to among them; None where none is named.

    Raises:
        ConfigError: there is no such property.
    """
    if arguments.property is None:
        return None
    from maitred.model.claims.safety import PROPERTIES

    for name in arguments.property:
        _known("--property", name, PROPERTIES, "no property")
    return tuple(dict.fromkeys([*arguments.property, *([arguments.to] if arguments.to is not None else [])]))


def _known(option: str, name: str, known: Iterable[str], nothing: str, few: int = FEW) -> None:
    """Refuse a name that is not known, and say which may have been meant: all, where there are no more than `few`.

    Raises:
        ConfigError: it is not known.
    """
    names = [*known]
    if name not in names:
        near = get_close_matches(name, names, 3)
        if near:
            hint = f"did you mean {' or '.join(map(repr, near))}?"
        elif len(names) <= few:
            hint = f"there are {', '.join(names)}"
        else:
            hint = f"of the {len(names)} names these are nearest: {', '.join(get_close_matches(name, names, 3, 0))}"
        raise ConfigError(f"{option}: {nothing} is called {name!r}; {hint}")


def _check_occasions(arguments: argparse.Namespace, systems: Sequence[Bounds]) -> None:
    """Refuse a property that has no occasion in any of the systems, before anything is explored.

    Raises:
        ConfigError: the text says which bounds would do.
    """
    from maitred.model.claims.occasion import needed
    from maitred.model.claims.safety import PROPERTIES

    asked = [("--to", arguments.to)] if arguments.to is not None else []
    asked += [("--property", name) for name in arguments.property or ()]
    for option, name in asked:
        applies = PROPERTIES[name].applies
        if any(applies(bounds) for bounds in systems):
            continue
        changes = needed(applies, systems[0]) or {}
        flags = " ".join(_flag(bound, value) for bound, value in changes.items())
        raise ConfigError(f"{option}: {name} has no occasion within these bounds; it needs {flags or 'others'}")


def _flag(bound: str, value: int | bool) -> str:
    """The option that gives a bound this value."""
    if isinstance(value, bool):
        switch = "unfixed" if bound == "fixed" else bound
        return f"--{switch}" if value is not (bound == "fixed") else f"no --{switch}"
    return f"--{bound.replace('_', '-')} {value}"


def _severity(code: int) -> int:
    """That something is wrong weighs more than that something is missing."""
    return (0, 2, 1)[code]


def _about(report: Callable[[str], None], what: str) -> Callable[[Progress], None]:
    return lambda progress: report(f"{what}: {verdicts.in_words(progress)}")


# ================================================================ the portfolio


def _portfolio(arguments: argparse.Namespace) -> int:
    """Explore the small systems; with --to, only the first in which that may happen."""
    from maitred.model.check import manifest, portfolio

    chosen = portfolio.portfolio(manifest.load())
    workers = _workers(arguments)
    max_states = _max_states(arguments)
    _check_drawing(arguments)
    names = _names(arguments)
    _check_occasions(arguments, [_bounds(arguments), *(one.bounds for one in chosen)])
    chosen = portfolio.applicable(chosen, names)
    if arguments.to is not None:
        chosen = portfolio.applicable(chosen, [arguments.to])[:1]
    began = time.monotonic()
    with verdicts.display(quiet=arguments.quiet) as report:
        explored = portfolio.explore(
            chosen,
            names,
            max_states,
            workers=workers,
            progress=lambda done, seconds: report(f"{done} of {len(chosen)} small systems explored, {seconds:.0f} s"),
        )
    last = explored[-1].result
    if arguments.json:
        found = [document.Found(one.configuration, one.result) for one in explored]
        code = max((verdicts.code_of(one.result) for one in explored), key=_severity)
        return _draw(arguments, last, found, code)
    code = verdicts.report_portfolio(explored, len(chosen), time.monotonic() - began)
    return max(code, _draw(arguments, last), key=_severity)


def _bounds(arguments: argparse.Namespace) -> Bounds:
    """The bounds: as given, else their defaults."""
    numbers = _numbers(vars(arguments))
    known = {assumption.value: assumption for assumption in world.Assumption}
    for name in arguments.without or ():
        _known("--without", name, known, "no assumption")
    without = tuple(known[name] for name in dict.fromkeys(arguments.without or ()))
    flags = {"warm": arguments.warm, "stable": arguments.stable, "returns": arguments.returns}
    try:
        return world.Bounds(**numbers, fixed=not arguments.unfixed, without=without, **flags)
    except ValueError as error:
        raise ConfigError(f"check: {str(error).replace('_', '-')}") from None


def _numbers(given: Mapping[str, str | None]) -> dict[str, Any]:  # Any: `Bounds` has flags too
    """The numbers that are given."""
    numbers: dict[str, Any] = {}  # Any: as above
    for bound in world.BOUNDS:
        written = given[bound.name]
        if bound.repeatable and written == ANY:
            numbers[bound.name] = world.ANY
        elif written is not None:
            numbers[bound.name] = values.at(bound.flag, values.whole(0, 1 << 30), values.number(written))
    return numbers


def _workers(arguments: argparse.Namespace) -> int | None:
    if arguments.workers is None:
        return None
    return values.at("--workers", values.whole(1, 1024), values.number(arguments.workers))


def _explore_liveness(arguments: argparse.Namespace, bounds: Bounds, max_states: int | None) -> int:
    from maitred.model.check.liveness import LIVENESS, check_liveness
    from maitred.model.claims.fairness import RULES, Fairness

    for name in arguments.property or ():
        _known("--property", name, LIVENESS, "nothing that must happen in the end")
    assumptions = [rule.name for rule in RULES.values() if rule.fairness is not Fairness.NONE]
    for name in arguments.unassumed or ():
        _known("--unassumed", name, assumptions, "no assumption", few=len(assumptions))
    with verdicts.display(quiet=arguments.quiet) as report:
        result = check_liveness(
            bounds,
            arguments.property,
            _about(report, "exploring"),
            max_states,
            without=tuple(arguments.unassumed or ()),
        )
    if arguments.json:
        code = document.show([document.Found(None, result)], verdicts.code_of(result), result.counterexample)
    else:
        code = verdicts.report_liveness(result)
    _draw_lasso(arguments, result)
    return code


def _draw_lasso(arguments: argparse.Namespace, result: LivenessResult) -> None:
    """Draw the counterexample, if a drawing is asked for."""
    if arguments.diagram is None:
        return
    lasso = result.counterexample
    if lasso is None:
        complain(f"--diagram: {arguments.diagram}: not drawn, as nothing is violated", 0)
        return
    from maitred.model.story.diagram import write_lasso

    _drawn(arguments, partial(write_lasso, lasso, result[lasso.property.name]))


# ================================================================ drawing


def _check_drawing(arguments: argparse.Namespace) -> None:
    """Complain of what can be known to be wrong before hours are spent."""
    if arguments.to is not None:
        from maitred.model.claims.safety import PROPERTIES

        if arguments.to in PROPERTIES and PROPERTIES[arguments.to].kind == "always":
            raise ConfigError(f"--to: {arguments.to} must always hold, so no run leads to it: --property asks it")
        known = (name for name, prop in PROPERTIES.items() if prop.kind == "sometimes")
        _known("--to", arguments.to, known, "nothing that sometimes happens")
    if arguments.diagram is not None:
        from maitred.model.story.diagram import SUFFIXES

        file = Path(arguments.diagram)
        if file.suffix not in SUFFIXES:
            raise ConfigError(f"--diagram: {arguments.diagram}: should end with {', '.join(SUFFIXES)}")
        if not file.parent.is_dir():
            raise ConfigError(f"--diagram: {file.parent}: there is no such directory")


def _draw(arguments: argparse.Namespace, result: Result, found: Sequence[document.Found] = (), code: int = 0) -> int:
    """Print the run of --to, and draw it or the counterexample; 2 where there is nothing to print or to draw.

    Args:
        arguments: the command line.
        result: where the way is.
        found: with --json: what the document is about.
        code: with --json: the exit code so far.
    """
    shown = result[arguments.to] if arguments.to is not None else result.counterexample
    way = shown if shown is not None and shown.path is not None else None
    missing = arguments.to is not None and way is None
    if arguments.json:
        code = document.show(found, max(code, 2 if missing else 0, key=_severity), way)
    elif arguments.to is not None and way is not None:
        verdicts.print_run(way)
    if missing:
        complain(f"--to: {arguments.to}: {shown.verdict.value if shown else 'unknown'} within these bounds", 2)
        return max(code, 2, key=_severity)
    if arguments.diagram is not None and way is None:
        complain(f"--diagram: {arguments.diagram}: not drawn, as nothing is violated; --to names what else to draw", 0)
    elif arguments.diagram is not None and way is not None and way.path is not None:
        from maitred.model.story.diagram import write

        _drawn(arguments, partial(write, way.path, way))
    return code


def _drawn(arguments: argparse.Namespace, draw: Callable[[Path], None]) -> None:
    """Draw to the file that was asked for, and say so."""
    try:
        draw(Path(arguments.diagram))
    except OSError as error:
        raise ConfigError(f"--diagram: {arguments.diagram}: cannot be written: {error.strerror}") from None
    if not arguments.json:
        print(f"{arguments.diagram}: drawn")


# ================================================================ the manifest


def _manifest(arguments: argparse.Namespace) -> int:
    from maitred.model.check import manifest

    configurations = manifest.load()
    if arguments.list:
        verdicts.listing(configurations)
        return 0
    if arguments.config is not None:
        named = {one.slug: one for one in configurations}
        slug = manifest.slug(arguments.config)
        _known("--config", slug, named, "no configuration")
        return _configuration(arguments, named[slug])
    tier = arguments.tier or manifest.TIERS[0]
    if tier not in manifest.TIERS:
        raise ConfigError(f"--tier: {tier!r} will not do: should be {', '.join(manifest.TIERS)}")
    return _all(arguments, configurations, manifest.TIERS[: manifest.TIERS.index(tier) + 1])


def _all(arguments: argparse.Namespace, configurations: Sequence[Configuration], tiers: Sequence[str]) -> int:
    from maitred.model.check import manifest

    gaps = list(manifest.gaps(configurations))
    count = len(manifest.chosen(configurations, tiers))
    number = 1

    def done(_: manifest.Outcome) -> None:
        nonlocal number
        number += 1

    with verdicts.display(quiet=arguments.quiet) as report:
        outcomes = manifest.run(
            configurations,
            tiers,
            lambda one, progress: report(f"{number} of {count}, {one.slug}: {verdicts.in_words(progress)}"),
            _workers(arguments),
            done=done,
            checkpoint=Path(arguments.checkpoint) if arguments.checkpoint is not None else None,
        )
    wrong = [outcome for outcome in outcomes if not outcome.ok]
    if arguments.write and wrong and not gaps and all(outcome.miscounted for outcome in wrong):
        print(f"recorded: the counts of {', '.join(manifest.refresh(outcomes))}")
        return 0
    if arguments.json:
        found = [_found(outcome) for outcome in outcomes]
        shortest = verdicts.shortest(wrong)
        return document.show(found, 1 if wrong or gaps else 0, shortest[1] if shortest else None, gaps)
    return verdicts.report_all(outcomes, gaps, len(configurations) - len(outcomes))


def _found(outcome: manifest.Outcome) -> document.Found:
    """What the document says of a configuration."""
    result = outcome.safety or outcome.liveness
    assert result is not None, "a configuration asks something"
    return document.Found(outcome.configuration, result, outcome.problems)


def _configuration(arguments: argparse.Namespace, one: Configuration) -> int:
    """One configuration: all that was found, and whether it is what is recorded."""
    from maitred.model.check import manifest

    _check_drawing(arguments)
    with verdicts.display(quiet=arguments.quiet) as report:
        outcome = manifest.run_one(
            one,
            lambda _, progress: report(f"{one.slug}: {verdicts.in_words(progress)}"),
            _workers(arguments),
            checkpoint=Path(arguments.checkpoint) if arguments.checkpoint is not None else None,
        )
    if arguments.json:
        return _configuration_document(arguments, outcome)
    drawn = 0
    lasso = outcome.liveness is not None and outcome.liveness.counterexample is not None and arguments.to is None
    if outcome.safety is not None:
        verdicts.report(outcome.safety, must_fail=one.violated is not None)
        lasso = lasso and outcome.safety.counterexample is None
        drawn = 0 if lasso else _draw(arguments, outcome.safety)
    if outcome.liveness is not None:
        verdicts.report_liveness(outcome.liveness, must_fail=one.violated is not None)
        if lasso or outcome.safety is None:
            _draw_lasso(arguments, outcome.liveness)
    if arguments.write and not outcome.ok:
        manifest.refresh([outcome])
        print("recorded: the counts")
        return drawn
    for problem in outcome.problems:
        complain(f"{one.name}: {problem}", 1)
    verdicts.say(f"{one.name}: {one.why}")
    print("This is as recorded." if outcome.ok else "FAILED: this differs from the manifest.")
    return drawn if outcome.ok else 1


def _configuration_document(arguments: argparse.Namespace, outcome: manifest.Outcome) -> int:
    code = 0 if outcome.ok else 1
    found = [document.Found(outcome.configuration, each, outcome.problems)
             for each in (outcome.safety, outcome.liveness) if each is not None]  # fmt: skip
    if outcome.safety is not None:
        return _draw(arguments, outcome.safety, found, code)
    if outcome.liveness is None:
        return document.show(found, code, None)
    _draw_lasso(arguments, outcome.liveness)
    return document.show(found, code, outcome.liveness.counterexample)
