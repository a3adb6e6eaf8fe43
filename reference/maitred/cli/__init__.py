"""The ``maitred`` command: finds the subcommand, and turns every foreseen problem into one line and an exit code.

==========  ====================================================================================================
exit code   meaning
==========  ====================================================================================================
0           done; of ``run``: stopped as asked
1           it did not work: nothing runs, an address is in use, a property is violated, a trace diverges
2           the command line or the configuration is wrong; of ``check``: the bound was reached
3           of ``run``: a server class was given up, because none of its servers ever became ready
130         interrupted at the keyboard
==========  ====================================================================================================

Only what the subcommand needs is imported, so that ``maitred --help`` is there at once.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from importlib import import_module

from maitred import __version__, compiled
from maitred.config.error import ConfigError

COMMANDS = {
    "run": "run copies of a server program, and seat each client at the least busy one",
    "status": "show the servers, ports and waiting clients of a running instance",
    "top": "show a running instance on the full screen, once a second",
    "element": "take a processing element of a running instance out of use, or back into it",
    "stop": "stop a running instance, or servers of it: clients may leave first",
    "drain": "have servers end once their clients have left",
    "restart": "replace servers by new ones, one by one",
    "scale": "have more servers, or fewer",
    "reload": "apply what has changed in the configuration file",
    "rotate": "open the log and the trace of a running instance again, after they were renamed",
    "check": "explore every behaviour of the machines, within bounds, and check their properties",
    "replay": "check that a recorded run was a behaviour of the machines",
    "conform": "check that a program in any language keeps the protocol",
}

_HELP = """\
usage: maitred COMMAND ...

Runs several copies of an unmodified server program and seats each client at the least busy copy. All full? Clients
wait in line, or more copies are started. A copy died? It is started again. After the hand-off, client and server
talk directly: maitred is out of the way.

commands:
{commands}

options:
  -h, --help  show this help; `maitred COMMAND --help` shows that of a command
  --version   show the version, and whether the core is compiled

examples:
  maitred run -b 8000 -m http.server            as many http.servers as there are CPUs, behind port 8000
  maitred run -b 8000 --static 2 --dynamic 4 --max-clients 10 app.py --verbose
                                                2 to 6 copies of app.py, each with at most 10 clients at a time
  maitred status                                who is serving whom
"""


def main(argv: list[str] | None = None) -> int | None:
    """Run the command line (`sys.argv` where none is given); returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    _open_standard_streams()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        return complain(str(error), 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`maitred status | head`); keep the interpreter from trying again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _open_standard_streams() -> None:
    """Open on ``/dev/null`` whichever of stdin, stdout and stderr is closed.

    Else the first file that is opened gets its number, and what is meant for the terminal goes there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def complain(message: str, code: int) -> int:
    """Say what is wrong, in one line on stderr; returns the exit code."""
    from maitred.shell.io.report import printable  # late: most commands have nothing to complain of

    print(f"maitred: {printable(message)}", file=sys.stderr)
    return code


def _dispatch(arguments: list[str]) -> int | None:
    command = arguments[0] if arguments else ""
    if command in ("-h", "--help", "help"):
        print(help_text(), end="")
        return 0
    if command in ("-V", "--version"):
        print(f"maitred {__version__}\ncore and hot parts of the shell: {compiled.kind()}")
        return 0
    if command == "run":
        compiled.switch_on()  # before the configuration brings the core
    if command in COMMANDS:
        code: int | None = import_module(f"maitred.cli.{command}").main(arguments[1:])
        return code
    if not command:
        print(help_text(), end="", file=sys.stderr)
        return 2
    near = get_close_matches(command, COMMANDS, 1)
    hint = f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(COMMANDS)
    if command.startswith("-") or os.path.exists(command):
        hint = "to run a server: maitred run [options] (-m MODULE | SCRIPT); see maitred --help"
    return complain(f"no command {command!r}; {hint}", 2)


def help_text() -> str:
    """What ``maitred --help`` says."""
    return _HELP.format(commands="\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items()))
