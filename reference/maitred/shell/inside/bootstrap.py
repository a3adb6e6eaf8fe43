"""What an Application Server's process runs first: it installs the stand-in, then runs the unmodified program.

The process is ``python OPTIONS -c CODE -m MODULE ARGS...`` or ``... script PATH ARGS...``, where ``CODE`` calls `main`.
Who the server is, and which descriptors it was handed, is in the environment, as JSON.  It has the fields of the start
contract (`maitred.shell.start_contract`), of which these are used here, and further ones:

=============  =======================================================================================
key            value
=============  =======================================================================================
``class``      the server class's number
``server``     the server's id
``control``    the descriptor of its control socket
``registry``   that of its registry
``trace``      that of the trace file, or of the ring for the verifier, or null
``main``       the process id of the main process
``listen``     the class's addresses, where they are configured (then a forked worker may bind them, too); or absent
``path``       the class's entries for the module search path, which are in PYTHONPATH too; or absent
``name``       of the process, for ``ps``; or absent
=============  =======================================================================================

The program finds `sys.argv`, `sys.orig_argv`, `sys.path` and ``__main__`` as ``python -m MODULE`` or ``python PATH``
would have them.

A worker that the program execs comes by `join` (see `maitred.shell.inside.workers`), and runs itself.  Its environment
has ``program``, what the main process runs, in the place of ``path``, and

====================  ================================================================================
``passed_listeners``  the descriptors of both ends of the channel of `maitred.shell.inside.passed_listeners`
``dialogs``           pairs of a port and the descriptor of its dialog
``listeners``         of each listener that was handed down: ``inode``; ``port``; ``name``, as `getsockname` is to give
                      it; ``original``, the descriptor of the TCP socket; ``twin``; ``listened``
====================  ================================================================================
"""

from __future__ import annotations

import _socket
import fcntl
import json
import os
import pkgutil
import runpy
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER
from typing import Any, Final

from maitred.shell.inside import green_threads, native_sockets
from maitred.shell.inside.descriptor_table import DescriptorTable
from maitred.shell.inside.endpoint import Endpoint
from maitred.shell.inside.exec_server import CONTROL
from maitred.shell.inside.install import install
from maitred.shell.inside.listener import Listener
from maitred.shell.inside.passed_listeners import PassedListeners
from maitred.shell.inside.processes import Processes
from maitred.shell.inside.stand_in import StandIn
from maitred.shell.inside.workers import Identity
from maitred.shell.io import channel, report
from maitred.shell.io.process_name import name_process
from maitred.shell.io.registry import Registry
from maitred.shell.start_contract import ENVIRONMENT, VERSION

_OUT_OF_THE_WAY: Final = 900
"""Our descriptors get numbers from here on, as far as the limit allows: a program may expect the low ones."""


def main(path: list[str]) -> None:
    """Become the Application Server that the environment describes, and run the program to its end.

    Args:
        path: the module search path as the interpreter has made it, for the program.
    """
    record = _described()
    if "name" in record:
        name_process(record["name"])
    kind, name = sys.argv[1:3]
    record["program"] = _forget_our_command(kind)
    _install(record, begins=True)
    sys.path[:] = path
    _forget_the_code()
    _add_to_path(record.get("path", []))
    try:
        if kind == "-m":
            _run_module(name, sys.argv[3:])
        else:
            _run_script(name, sys.argv[3:])
    except Exception as error:
        _show(error)
        sys.exit(1)


def _described() -> dict[str, Any]:
    """The server's identity, from the environment; it is removed there, so that the program does not see it.

    Raises:
        SystemExit: it is of another version of the start contract.
    """
    os.environ.pop(CONTROL, None)
    record: dict[str, Any] = json.loads(os.environ.pop(ENVIRONMENT))
    if record.get("version") != VERSION:
        raise SystemExit(f"maitred: the start contract has version {record.get('version')}, known here is {VERSION}")
    return record


def join() -> None:
    """Become one more process of the server that the environment describes, before anything of the program runs."""
    record = _described()
    try:
        descriptors = _install(record, begins=False)
    except OSError as error:  # the process that started it has closed, in between, what was handed down
        report.error(f"process {os.getpid()} is none of the server's: {error}")
        return
    for row in record["listeners"]:
        original = _socket.socket(fileno=_take(row["original"]))
        descriptors.expect(row["inode"], Listener.of_row(row, original))
    descriptors.recognise_all()


def _install(record: dict[str, Any], *, begins: bool) -> DescriptorTable:  # Any: as JSON has it
    """Install the stand-in.

    Args:
        record: who the server is.
        begins: whether the server begins with this process.
    """
    registry, control = _take(record["registry"]), _take(record["control"])
    front, back = record.get("passed_listeners") or (end.detach() for end in channel.pair())
    passed_listeners = PassedListeners(_take(front), _take(back))
    private = {registry, control, *passed_listeners.fds}
    endpoint_registry = Registry.open(registry, alone=begins)
    private |= _duplicates(registry)
    number, trace = None, None
    if record["trace"] is not None:
        from maitred.shell.observe.trace import Trace  # brings all three machines along

        number = _take(record["trace"])
        private.add(number)
        trace = Trace(number, f"server {record['class']} {record['server']}")
        private |= _duplicates(number)  # where it is a ring, that is mapped
        if begins:
            trace.start()
    main_process, listen = int(record["main"]), tuple(record.get("listen", ()))
    program = tuple(record["program"])
    same = tuple(sys.orig_argv[-len(program) :]) == program
    begun = os.getpid()  # a process that this one forks later runs the same command, and is no main process
    dialogs = {port: _dialog(_take(fd)) for port, fd in record.get("dialogs", ())}
    endpoint = Endpoint(endpoint_registry, channel.attach(control), trace, dialogs)

    def reports() -> bool:
        return bool(listen) or os.getpid() == main_process or (same and os.getpid() == begun)

    identity = Identity(
        record["class"],
        record["server"],
        control,
        registry,
        number,
        passed_listeners.fds,
        main_process,
        listen,
        program,
    )
    descriptors = DescriptorTable(endpoint, private, passed_listeners)
    install(StandIn(descriptors, reports, listen), Processes(descriptors, main_process, identity))
    green_threads.watch()
    native_sockets.watch(endpoint_registry.note_foreign)
    return descriptors


def _dialog(fd: int) -> channel.Socket:
    """The end of a dialog whose flags, which it shares with the process that handed it down, stay as they are."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)


def _take(fd: int) -> int:
    """Give the descriptor a high number, close-on-exec."""
    for lowest in (_OUT_OF_THE_WAY, 0):
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue  # above the limit, or no descriptor is left
        os.close(fd)
        return moved
    os.set_inheritable(fd, False)
    return fd


def _duplicates(fd: int) -> set[int]:
    """All descriptors of the same file: `mmap` keeps one of its own."""
    same = set()
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if os.path.sameopenfile(number, fd):
                same.add(number)
    return same


# ---------------------------------------------------------------- running the program


def _show(error: Exception) -> None:
    """Print an exception that the program did not catch as the interpreter would: without the frames of this file."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    sys.excepthook(type(error), error.with_traceback(frames), frames)


def _forget_our_command(kind: str) -> list[str]:
    """Have `sys.orig_argv` end in ``-m MODULE ...`` or ``PATH ...``: a program that starts itself again uses that.

    Returns:
        that end.
    """
    program = sys.argv[1 if kind == "-m" else 2 :]
    ours = len(sys.argv) + 1  # -c, the code, and what follows in sys.argv
    sys.orig_argv[-ours:] = program
    return program


def _forget_the_code() -> None:
    """Leave ``__main__`` as it is in an interpreter that has run nothing yet."""
    names = sys.modules["__main__"].__dict__
    for name in [name for name in names if not name.startswith("__")]:
        del names[name]


def _run_module(name: str, arguments: list[str]) -> None:
    """As ``python -m``."""
    sys.argv[:] = ["-m", *arguments]
    _set_first_path(_directory())
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what the interpreter itself calls for -m


def _run_script(path: str, arguments: list[str]) -> None:
    """As ``python PATH``: a script, a compiled one, or whatever has a ``__main__`` for the interpreter's importers."""
    sys.argv[:] = [path, *arguments]
    absolute = os.path.join(_directory(), path)
    if pkgutil.get_importer(path) is not None:  # a directory, or an archive, whatever it begins with
        _set_first_path(absolute, asked=True)
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]  # as the interpreter itself
        return
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    names = sys.modules["__main__"].__dict__
    try:
        with open(path, "rb") as file:
            compiled = path.endswith(".pyc") or file.peek(2)[:2] == MAGIC_NUMBER[:2]
            code = pkgutil.read_code(file) if compiled else file.read()
    except OSError as error:
        sys.exit(f"{sys.executable}: can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}")
    if code is None:
        raise RuntimeError("Bad magic number in .pyc file")
    loader = (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", path)
    names.update(__file__=absolute, __cached__=None, __loader__=loader)
    exec(code if compiled else compile(code, path, "exec", dont_inherit=True), names)


def _add_to_path(entries: list[str]) -> None:
    """An interpreter with -E or -I has not read the entries from PYTHONPATH: add them."""
    if sys.flags.ignore_environment:
        after = int(sys.path[:1] == [""])
        sys.path[after:after] = entries


def _set_first_path(entry: str, *, asked: bool = False) -> None:
    """In the place of the '' that -c puts there.

    Args:
        entry: the new first entry.
        asked: the user has named it, so it is added even with -P (safe path).
    """
    if not sys.flags.safe_path and sys.path[:1] == [""]:
        del sys.path[0]
    if entry and (asked or not sys.flags.safe_path):
        sys.path.insert(0, entry)


def _directory() -> str:
    """Where the program runs; empty where that has been removed, as the interpreter then does without."""
    try:
        return os.getcwd()
    except OSError:
        return ""
