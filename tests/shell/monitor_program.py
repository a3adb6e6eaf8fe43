"""Runs `maitred.shell.monitor.run` with the configuration that its argument holds; `instance.Instance` starts it.

python monitor_program.py JSON
"""

import json
import resource
import sys
from pathlib import Path

from maitred.config.model import Config, ProcessingElement, Program, ServerClass
from maitred.core.timing import Durations
from maitred.shell import monitor
from maitred.shell.supervise.requests import Requests

HERE = Path(__file__).resolve().parent


def configuration(given):
    directory = Path(given["directory"])
    interpreter = sys.executable
    program = Program("script", given["program"], tuple(given["args"]))
    if given["program"] == "fake":
        fake = directory / "fake"
        fake.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake_server.py"} "$@"\n')
        fake.chmod(0o755)
        interpreter = str(fake)
    elements = tuple(
        ProcessingElement(name, tuple(cpus), weight) for name, cpus, weight in given.get("elements", [["e", [0], 1]])
    )
    cls = ServerClass(
        name="web",
        program=program,
        listeners=tuple((port, address) for port, address in given["listeners"]),
        fixed=given.get("fixed", True),
        static=given.get("static", 2),
        dynamic=given.get("dynamic", 0),
        max_clients=given.get("max_clients", 64),
        waiting_limit=given.get("waiting_limit", 1024),
        elements=tuple(element.name for element in elements),
        interpreter=interpreter,
        interpreter_options=(),
        path=(),
        directory=None,
        environment=tuple((name, value) for name, value in given.get("environment", {}).items()),
        memory_limit=given.get("memory_limit"),
    )
    logs = directory / "logs" if given.get("logs") else None
    if logs:
        logs.mkdir()
    durations = Durations(**{"backoff_first": 0.05, "backoff_cap": 0.2, **given.get("durations", {})})
    return Config(
        "test",
        (cls,),
        elements,
        durations,
        directory / "control.sock",
        None if given.get("untraced") else directory / "trace",
        logs,
    )


def main():
    given = json.loads(sys.argv[1])
    if given["limit"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given["limit"], given["limit"]))
    if given.get("sabotage"):
        Requests._answer_element = sabotage
    sys.exit(monitor.run(configuration(given)))


def sabotage(requests, *request):
    raise RuntimeError("sabotage")


if __name__ == "__main__":
    main()
