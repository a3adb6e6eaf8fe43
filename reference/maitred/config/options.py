"""The options of ``maitred run`` made into a `Config` of one server class, with the same checks as a file's.

The options come as they were written; `maitred.cli.run` knows which there are and separates them from the program's
arguments.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from maitred.config import checks, instances, values
from maitred.config.error import ConfigError
from maitred.config.keys import DEFAULTS
from maitred.config.model import Config, Program, ServerClass
from maitred.config.toml_file import least, one_per_cpu, plausible
from maitred.core.timing import Durations

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What was written on the command line."""

    program: Program
    bind: Sequence[str] = ()
    single: Mapping[str, str] = field(default_factory=dict)
    """Of every option that was given once and takes one value: by its long name, without the hyphens before it."""

    def number(self, option: str, reader: Callable[[object], T], default: T) -> T:
        """The number that the option gives, or the default."""
        if option not in self.single:
            return default
        return values.at(f"--{option}", reader, values.number(self.single[option]))

    def text(self, option: str, reader: Callable[[str], T]) -> T | None:
        """The text that the option gives, or None."""
        return values.at(f"--{option}", reader, self.single[option]) if option in self.single else None


def configure(options: Options) -> Config:
    """The configuration that the options ask for.

    Raises:
        ConfigError: they do not make sense, or what they name is not there.
    """
    program = options.program
    if program.kind == "script" and checks.is_executable(program.name):
        program = Program("executable", checks.executable(program.name), program.args)
    elif program.kind == "script":
        checks.script(program.name)
    else:
        values.at("-m", values.module, program.name)
        values.at("-m", lambda name: checks.module(name, [os.getcwd()]), program.name)
    listeners = tuple(values.at("-b", values.listener, text) for text in options.bind)
    values.at("-b", lambda addresses: values.apart(addresses), [address for _, address in listeners])
    elements = one_per_cpu()
    name = options.text("name", values.name)
    cls = ServerClass(
        name=name or made_up_name(program),
        program=program,
        listeners=listeners,
        fixed=bool(listeners),
        static=options.number("static", values.whole_of("static"), len(checks.available_cpus())),
        dynamic=options.number("dynamic", values.whole_of("dynamic"), DEFAULTS.dynamic),
        max_clients=options.number("max-clients", values.whole_of("max_clients"), DEFAULTS.max_clients),
        waiting_limit=options.number("waiting-limit", values.whole_of("waiting_limit"), DEFAULTS.waiting_limit),
        elements=tuple(element.name for element in elements),
        interpreter=sys.executable,
        interpreter_options=(),
        path=(),
        directory=None,
        environment=(),
        memory_limit=None,
        stop_signal=options.text("stop-signal", values.stop_signal),
    )
    durations = _durations(options)
    trace = options.text("trace", checks.new_file)
    verify = values.at("--verify", lambda wanted: values.not_both(wanted, trace), "verify" in options.single)
    log = options.text("log", checks.new_file)
    control = options.text("control", checks.socket_path)
    if control is None:
        instance, socket_path = instances.default(cls.name, chosen=name is not None)
    else:
        instance, socket_path = cls.name, instances.claim(Path(os.path.abspath(control)))
    return Config(
        name=instance,
        classes=(cls,),
        elements=elements,
        durations=durations,
        control=socket_path,
        trace=Path(os.path.abspath(trace)) if trace else None,
        log_directory=None,
        verify=verify,
        log=Path(os.path.abspath(log)) if log else None,
    )


def _durations(options: Options) -> Durations:
    given = {}
    for key in Durations.__dataclass_fields__:
        option = key.replace("_", "-")
        if option in options.single:
            given[key] = options.number(option, values.seconds(least(key)), 0.0)
    try:
        return plausible(replace(Durations(), **given))
    except ConfigError as error:
        raise ConfigError(re.sub(r"backoff_(\w+)", r"--backoff-\1", str(error))) from None


def made_up_name(program: Program) -> str:
    """A name for a class that was given none: the module's, or the script's without its ending."""
    stem = program.name if program.kind == "module" else Path(os.path.abspath(program.name)).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip("-.")[:64] or "program"
