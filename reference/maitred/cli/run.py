"""``maitred run``: from the command line to the Monitor.

What stands before the program is ours, everything after it is the program's, hyphens or not, as with ``python -m``.
`argparse` cannot tell the two apart reliably (its REMAINDER takes options for its own), so `split` does, from the table
`OPTIONS`; `argparse` writes the help from the same table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

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
    help: str

    @property
    def name(self) -> str:
        """The long flag without its hyphens."""
        return self.flags[0].removeprefix("--")


OPTIONS = (
    Option(
        ("--bind", "-b"),
        "[HOST:]PORT",
        "clients",
        "listen here; may be given several times (default: where the program's first bind says)",
    ),
    Option(("--max-clients",), "N", "clients", "clients that one server serves at a time (default: 64)"),
    Option(
        ("--waiting-limit",),
        "N",
        "clients",
        "clients that may wait for a seat; further ones stay in the kernel's backlog (default: 1024)",
    ),
    Option(
        ("--queue-timeout",),
        "SECONDS",
        "clients",
        "how long a client may wait for a seat before it is closed (default: 30)",
    ),
    Option(("--static",), "N", "servers", "servers that always run (default: the number of CPUs)"),
    Option(
        ("--dynamic",), "N", "servers", "further servers, started when clients wait and stopped when idle (default: 0)"
    ),
    Option(
        ("--create-delay",),
        "SECONDS",
        "servers",
        "how long a client must have waited before a dynamic server is started (default: 0.5)",
    ),
    Option(("--delete-delay",), "SECONDS", "servers", "how long a dynamic server is kept idle (default: 60)"),
    Option(
        ("--hand-off-timeout",),
        "SECONDS",
        "supervision",
        "a server that leaves a hand-off unanswered so long is taken for hung and killed (default: 60)",
    ),
    Option(
        ("--request-timeout",),
        "SECONDS",
        "supervision",
        "a server that has had one client so long is killed, with all its clients; 0 for never (default: 0)",
    ),
    Option(
        ("--start-warning",),
        "SECONDS",
        "supervision",
        "report a server that runs so long without listening (default: 10)",
    ),
    Option(
        ("--backoff-first",),
        "SECONDS",
        "supervision",
        "the delay before a first restart; each further one is half as long again (default: 0.1)",
    ),
    Option(("--backoff-cap",), "SECONDS", "supervision", "the longest delay before a restart (default: 30)"),
    Option(
        ("--stable-after",),
        "SECONDS",
        "supervision",
        "how long a process must live before its earlier deaths are forgotten (default: 10)",
    ),
    Option(
        ("--audit-period",),
        "SECONDS",
        "supervision",
        "how often the kernel is asked about the connections that servers count (default: 5)",
    ),
    Option(("--grace",), "SECONDS", "stopping", "how long a stop waits for clients to leave (default: 30)"),
    Option(
        ("--kill-delay",),
        "SECONDS",
        "stopping",
        "how long a server that was asked to end is given before it is killed (default: 5)",
    ),
    Option(
        ("--stop-signal",),
        "SIGNAL",
        "stopping",
        "what asks a server to end, as TERM, INT or QUIT (default: TERM; INT where Ctrl-C stopped maitred)",
    ),
    Option(("--name",), "NAME", "instance", "the name of this instance (default: the program's)"),
    Option(
        ("--control",),
        "PATH",
        "instance",
        "the control socket, for `maitred status` (default: NAME.sock in your run-time directory)",
    ),
    Option(("--trace",), "FILE", "instance", "record every step of the machines, for `maitred replay`"),
    Option(
        ("--verify",),
        "",
        "instance",
        "have a process of its own check every step of the machines as it is taken; not beside --trace",
    ),
    Option(
        ("--config",),
        "FILE",
        "instance",
        "take everything from this TOML file; only --control, --trace and --verify may stand beside it",
    ),
)

BESIDE_A_FILE = ("--control", "--trace", "--verify")
"""What may be said on the command line although a file says everything."""

GROUPS = {
    "clients": "where they come from, and how many",
    "servers": "how many copies of the program",
    "supervision": "when something goes wrong",
    "stopping": "SIGTERM or SIGINT stops gracefully; a second one at once",
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
        usage="maitred run [options] (-m MODULE | SCRIPT) [ARGS...]\n       maitred run --config FILE",
        description="Run copies of a server program, and seat each client at the least busy one. The program needs no"
        " change; everything after its name is its own. There {server} stands for a number that tells the copies apart,"
        " from 1; their environment has it as MAITRED_SERVER_NUMBER.",
        epilog="A stop asked for ends with exit code 0, an address that cannot be listened on with 1, a wrong command"
        " line or configuration with 2, a program that never becomes ready with 3.",
        allow_abbrev=False,
    )
    program = made.add_argument_group("program")
    program.add_argument("-m", metavar="MODULE", help="the program is a module, as in python -m MODULE")
    program.add_argument("SCRIPT", nargs="?", help="the program is a script, as in python SCRIPT")
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
            raise ConfigError(f"--config says everything: {', '.join(beside)} cannot stand beside it")
        config = toml_file.load(
            line.single["config"],
            control=line.single.get("control"),
            trace=line.single.get("trace"),
            verify="verify" in line.single,
        )
    else:
        from maitred.config import options

        if line.kind is None:
            raise ConfigError("run: say what to run: -m MODULE, SCRIPT, or --config FILE; see maitred run --help")
        program = Program(line.kind, line.program, line.args)
        config = options.configure(options.Options(program, line.bind, line.single))
    from maitred.shell import monitor  # late: so that a slip of the pen is answered at once

    return monitor.run(config, _verifier() if config.verify else None)


def _verifier() -> VerifierMain:
    """The verifier's process."""
    from maitred.shell.observe import verifier_process  # late: it brings the model

    return verifier_process.run
