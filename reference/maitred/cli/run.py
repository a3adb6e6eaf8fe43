"""``maitred run``: from the command line to the Monitor.

What stands before the program is ours, everything after it is the program's, hyphens or not, as with ``python -m``.
`argparse` cannot separate the two reliably (its REMAINDER takes options for its own), so `split` does, from the table
`OPTIONS`; `argparse` writes the help from the same table.  An option that is also a key of the configuration file has
its meaning and its default from there (`maitred.config.keys`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from maitred.cli import complain
from maitred.config import keys
from maitred.config.error import ConfigError

if TYPE_CHECKING:
    from maitred.shell.observe.verifier import VerifierMain


@dataclass(frozen=True, slots=True)
class Option:
    """One option."""

    flags: tuple[str, ...]
    """The long one first."""
    metavar: str
    """Empty where the option takes no value."""
    group: str
    means: str
    """A sentence, for the reference page."""
    default: str = ""
    """As Markdown, for the reference page; empty where there is none to mention."""

    @property
    def name(self) -> str:
        """The long flag without its hyphens."""
        return self.flags[0].removeprefix("--")

    @property
    def help(self) -> str:
        """The sentence and the default for ``--help``, without Markdown."""
        text = keys.plain(self.means)
        default = f" (default: {keys.plain(self.default)})" if self.default else ""
        return text[:1].lower() + text[1:].removesuffix(".") + default


def _of(name: str, metavar: str, group: str) -> Option:
    """The option for a key of a class or of the durations."""
    key = keys.key(name)
    return Option((f"--{name.replace('_', '-')}",), metavar, group, key.means, key.default)


OPTIONS = (
    Option(
        ("--bind", "-b"),
        "[HOST:]PORT",
        "clients",
        "Listen here; may be given several times. Without a host: every interface, IPv4 and IPv6.",
        keys.key("listen").default,
    ),
    _of("max_clients", "N", "clients"),
    _of("waiting_limit", "N", "clients"),
    _of("queue_timeout", "SECONDS", "clients"),
    _of("static", "N", "servers"),
    _of("dynamic", "N", "servers"),
    _of("create_delay", "SECONDS", "servers"),
    _of("delete_delay", "SECONDS", "servers"),
    _of("hand_off_timeout", "SECONDS", "supervision"),
    _of("request_timeout", "SECONDS", "supervision"),
    _of("start_warning", "SECONDS", "supervision"),
    _of("backoff_first", "SECONDS", "supervision"),
    _of("backoff_cap", "SECONDS", "supervision"),
    _of("stable_after", "SECONDS", "supervision"),
    _of("audit_period", "SECONDS", "supervision"),
    _of("grace", "SECONDS", "stopping"),
    _of("kill_delay", "SECONDS", "stopping"),
    _of("stop_signal", "SIGNAL", "stopping"),
    Option(("--name",), "NAME", "instance", "The name of this instance.", "the program's"),
    Option(
        ("--control",),
        "PATH",
        "instance",
        "The control socket, for `maitred status`.",
        "`NAME.sock` in [your run-time directory](configuration.md#the-file-itself)",
    ),
    Option(
        ("--log",),
        "FILE",
        "instance",
        "Append maitred's own log to this file; `maitred rotate` and SIGUSR1 open it again.",
        "stderr",
    ),
    Option(("--trace",), "FILE", "instance", "Record every step of the machines, for `maitred replay`."),
    Option(
        ("--verify",),
        "",
        "instance",
        "Have a separate process check every step of the machines [as it is taken](trace.md#as-it-happens---verify);"
        " not beside `--trace`.",
    ),
    Option(
        ("--config",),
        "FILE",
        "instance",
        "Take everything from this [TOML file](configuration.md); only `--control`, `--log`, `--trace` and `--verify`"
        " may be given beside it.",
    ),
)


def table() -> str:
    """The options as a Markdown table, for the reference page."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    lines += ["| `-m MODULE` | | The program is a module, as in `python -m MODULE`. |"]
    lines += ["| `SCRIPT` | | The program is a script, as in `python SCRIPT`. |"]
    lines += ["| `-- EXECUTABLE` | | The program keeps the [start contract](../../spec/start.md) by itself. |"]
    for option in OPTIONS:
        *short, long = sorted(option.flags, key=len)
        flags = ", ".join([*(f"`{flag}`" for flag in short), f"`{f'{long} {option.metavar}'.strip()}`"])
        lines.append(f"| {flags} | {option.default} | {option.means} |")
    return "\n".join(lines)


BESIDE_A_FILE = ("--control", "--log", "--trace", "--verify")
"""What may be given on the command line beside a file."""

GROUPS = {
    "clients": "where they come from, and how many",
    "servers": "how many copies of the program",
    "supervision": "when something goes wrong",
    "stopping": "SIGTERM stops gracefully, SIGINT and SIGQUIT without a grace; a second one at once",
    "instance": "",
}


@dataclass(slots=True)
class CommandLine:
    """A command line, taken apart."""

    help: bool = False
    bind: list[str] = field(default_factory=list)
    single: dict[str, str] = field(default_factory=dict)
    """Of the other options: by name, the last value that was given; empty where the option takes none."""
    kind: Literal["module", "script"] | None = None
    program: str = ""
    args: tuple[str, ...] = ()


def split(argv: Sequence[str]) -> CommandLine:
    """Take the command line apart: our options, then the program, then what is the program's.

    Raises:
        ConfigError: an option is unknown, or lacks its value.
    """
    line = CommandLine()
    known = {flag: option for option in OPTIONS for flag in option.flags}
    at = 0
    while at < len(argv):
        word = argv[at]
        if word in ("-h", "--help"):
            line.help = True
            return line
        if word == "--":
            at += 1
            if at < len(argv) and not argv[at].startswith("-m"):
                return _program(line, "script", argv[at], argv[at + 1 :])
            continue
        if word.startswith("-m"):
            name = [word[2:]] if len(word) > 2 else list(argv[at + 1 : at + 2])
            if not name:
                raise ConfigError("-m: needs the name of a module")
            return _program(line, "module", name[0], argv[at + (1 if len(word) > 2 else 2) :])
        if not word.startswith("-") or word == "-":
            return _program(line, "script", word, argv[at + 1 :])
        flag, value = _flag(word)
        option = known.get(flag)
        if option is None:
            near = get_close_matches(flag, known, 1)
            hint = f"did you mean {near[0]}?" if near else "see maitred run --help"
            raise ConfigError(f"unknown option {flag}; {hint} (options of the program stand after it)")
        if not option.metavar:
            if value is not None:
                raise ConfigError(f"{word}: takes no value")
            value = ""
        elif value is None:
            at += 1
            if at == len(argv):
                raise ConfigError(f"{word}: needs a value, {option.metavar}")
            value = argv[at]
        at += 1
        if option.name == "bind":
            line.bind.append(value)
        else:
            line.single[option.name] = value
    return line


def _flag(word: str) -> tuple[str, str | None]:
    """An option as it was written: its flag, and the value where that is in the same word."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag, value if equals else None
    return word[:2], word[2:] or None


def _program(line: CommandLine, kind: Literal["module", "script"], name: str, args: Sequence[str]) -> CommandLine:
    line.kind, line.program, line.args = kind, name, tuple(args)
    return line


def parser() -> argparse.ArgumentParser:
    """For the help alone; see `split`."""
    made = argparse.ArgumentParser(
        prog="maitred run",
        usage="maitred run [options] (-m MODULE | SCRIPT | -- EXECUTABLE) [ARGS...]\n       maitred run --config FILE",
        description="Run copies of a server program, and seat each client at the least busy one. The program needs no"
        " change; everything after its name is its own. There {server} stands for the number of the copy, from 1;"
        " its environment has it as MAITRED_SERVER_NUMBER.",
        epilog="A stop asked for ends with exit code 0, an address that cannot be listened on with 1, a wrong command"
        " line or configuration with 2, a program that never becomes ready with 3.",
        allow_abbrev=False,
    )
    program = made.add_argument_group("program")
    program.add_argument("-m", metavar="MODULE", help="the program is a module, as in python -m MODULE")
    program.add_argument(
        "SCRIPT",
        nargs="?",
        help="the program is a script, as in python SCRIPT, or an executable that keeps the start contract",
    )
    program.add_argument("ARGS", nargs="*", help="what the program finds in sys.argv[1:]")
    for group, description in GROUPS.items():
        section = made.add_argument_group(group, description)
        for option in OPTIONS:
            if option.group == group:
                if option.metavar:
                    section.add_argument(*reversed(option.flags), metavar=option.metavar, help=option.help)
                else:
                    section.add_argument(*reversed(option.flags), action="store_true", help=option.help)
    return made


def main(argv: list[str]) -> int:
    """Run the instance until it is stopped; the exit code is the Monitor's (see `maitred.cli`)."""
    line = split(argv)
    if line.help:
        parser().print_help()
        return 0
    from maitred.config.model import Config, Program  # late: they bring the core
    from maitred.shell.io import kernel

    if kernel.working_directory() is None:
        raise ConfigError("run: the directory that this was started in has been removed: enter another one")

    config: Config
    if "config" in line.single:
        from maitred.config import toml_file

        beside = sorted({"--" + name for name in line.single} - {"--config", *BESIDE_A_FILE})
        beside += ["-b"] * bool(line.bind) + [line.program] * bool(line.kind)
        if beside:
            raise ConfigError(f"--config replaces all other options: {', '.join(beside)} cannot be given beside it")
        config = toml_file.load(
            line.single["config"],
            control=line.single.get("control"),
            trace=line.single.get("trace"),
            log=line.single.get("log"),
            verify="verify" in line.single,
        )
    else:
        from maitred.config import options

        if line.kind is None:
            raise ConfigError(
                "run: nothing to run: give -m MODULE, SCRIPT, -- EXECUTABLE, or --config FILE; see maitred run --help"
            )
        program = Program(line.kind, line.program, line.args)
        config = options.configure(options.Options(program, line.bind, line.single))
    from maitred.shell import monitor  # late: so that a mistake is reported at once

    code = monitor.run(config, _verifier() if config.verify else None)
    if code and config.log is not None:
        complain(f"stopped, with an error: see {config.log}", code)
    return code


def _verifier() -> VerifierMain:
    """The verifier's process."""
    from maitred.shell.observe import verifier_process  # late: it brings the model

    return verifier_process.run
