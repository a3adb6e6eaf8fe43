"""``maitred config``: check a configuration file, show what it means, compare two, describe the format, write one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from maitred.cli import complain
from maitred.config.error import ConfigErrors


def parser() -> argparse.ArgumentParser:
    """The command's options, and those of its commands."""
    made = argparse.ArgumentParser(
        prog="maitred config",
        description="The Configuration Utility. Nothing is started, and a running instance is left alone.",
        epilog="exit code: 0 it is right, written, or the same; 1 two files differ; 2 something is wrong",
        allow_abbrev=False,
    )
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, what in (
        ("check", "report everything that is wrong with a file, a line each"),
        ("show", "print each value that holds, and where it is from: a line of the file, or the default"),
    ):
        commands.add_parser(name, help=what, description=_sentence(what)).add_argument("file", metavar="FILE")
    what = "print what another file would change"
    differ = commands.add_parser("diff", help=what, description=_sentence(what))
    differ.add_argument("old", metavar="OLD")
    differ.add_argument("new", metavar="NEW")
    what = "print a JSON Schema of the file, for editors"
    commands.add_parser("schema", help=what, description=_sentence(what))
    what = "ask what is needed, and write a configuration file and what starts it"
    writer = commands.add_parser(
        "new",
        help=what,
        description=_sentence(what) + " FILE.toml, start-FILE.sh and FILE.service, a unit of systemd, are written"
        " beside each other. A question is answered by a line; ? explains it; Ctrl-C leaves nothing behind.",
        allow_abbrev=False,
    )
    writer.add_argument("file", metavar="FILE", nargs="?", default="maitred.toml", help="default: maitred.toml")
    writer.add_argument("--answers", metavar="ANSWERS", help="a TOML file that answers questions in advance")
    writer.add_argument("--defaults", action="store_true", help="ask nothing: what has no answer has its default")
    writer.add_argument("--force", action="store_true", help="replace files that are there")
    return made


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


def main(argv: Sequence[str]) -> int:
    """Do what is asked; the exit code."""
    arguments = parser().parse_args(argv)
    match arguments.command:
        case "check":
            return _check(arguments.file)
        case "show":
            return _show(arguments.file)
        case "diff":
            return _diff(arguments.old, arguments.new)
        case "new":
            from maitred.cli.new import new  # late: only it needs rich

            options = {"answers": arguments.answers, "defaults": arguments.defaults, "force": arguments.force}
            return new(arguments.file, **options)
        case _:
            from maitred.config.schema import schema

            print(json.dumps(schema(), indent=2))
            return 0


def _check(path: str) -> int:
    from maitred.config import toml_file

    try:
        config = toml_file.look(path).config
    except ConfigErrors as errors:
        for problem in errors.problems:
            complain(problem, 2)
        return 2
    totals = (sum(cls.static for cls in config.classes), sum(cls.dynamic for cls in config.classes))
    classes = "1 class" if len(config.classes) == 1 else f"{len(config.classes)} classes"
    print(f"{path}: right: {classes}, {totals[0]} static and {totals[1]} dynamic servers")
    return 0


def _show(path: str) -> int:
    from maitred.config import render, toml_file

    examined = toml_file.look(path)
    shown = os.path.basename(path)

    def whence(table: tuple[str, ...], key: str) -> str:
        line = examined.line(table, key)
        return f"{shown}:{line}" if line else "default"

    config = examined.config
    found = render.tables(config, control="control" in examined.top.content)
    for line in render.document(found, whence, str(config.control)):
        print(line)
    return 0


def _diff(old: str, new: str) -> int:
    from maitred.config import render, toml_file

    files = [toml_file.look(path) for path in (old, new)]
    before, after = (render.tables(file.config, control="control" in file.top.content) for file in files)
    if not any("name" in file.top.content for file in files):
        del before[()]["name"], after[()]["name"]  # those of the files
    found = []
    for table in {**before, **after}:
        where = " ".join(table) or "instance"
        if table not in after:
            found.append(f"- {where}")
        elif table not in before:
            found.append(f"+ {where}")
        else:
            one, other = before[table], after[table]
            found += [
                f"  {where}: {key}: {render.shown(one.get(key))} -> {render.shown(other.get(key))}"
                for key in {**one, **other}
                if one.get(key) != other.get(key)
            ]
    for line in found:
        print(line)
    if found:
        print("A running instance keeps its configuration: stop it and start it to have these.", file=sys.stderr)
    return 1 if found else 0
