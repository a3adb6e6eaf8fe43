"""The files that start a configuration: a shell script, and a unit of systemd."""

from __future__ import annotations

import math
import shlex
import sys

from maitred.config.model import Config

_MARGIN = 10
"""Seconds that the Monitor has beyond its own limits before systemd kills what is left."""


def script(file: str) -> str:
    """A shell script that starts the configuration file of this name, which is beside it."""
    return f"""\
#!/bin/sh
# Starts maitred with {_comment(file)}, which is beside this script.
# Options that may be given with --config may follow, such as --log FILE.
exec {shlex.quote(sys.executable)} -P -m maitred run --config "$(dirname -- "$0")"/{shlex.quote(file)} "$@"
"""


def unit(config: Config, path: str) -> str:
    """A unit of systemd that starts the configuration file of this absolute path.

    A stop sends SIGTERM to the Monitor alone (``KillMode=mixed``), which lets clients finish; only what is left after
    the grace, the kill delay and a margin is killed.
    """
    seconds = math.ceil(config.durations.grace + config.durations.kill_delay) + _MARGIN
    command = " ".join(map(_word, (sys.executable, "-P", "-m", "maitred", "run", "--config", path)))
    return f"""\
# Install: systemctl link THIS_FILE && systemctl enable --now THIS_NAME
[Unit]
Description=maitred: {_percent(config.name)}
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
# It runs as root unless a line User=NAME says otherwise.
ExecStart={command}
# SIGTERM for the Monitor alone: it lets clients finish, and then stops the servers.
KillMode=mixed
# grace {config.durations.grace:g} s, kill_delay {config.durations.kill_delay:g} s, and a margin
TimeoutStopSec={seconds}
Restart=on-failure
# 2: the configuration is wrong; 3: a program never becomes ready. A restart would not help.
RestartPreventExitStatus=2 3
# Each server gets a control group of its own, so that all its processes can be killed together.
Delegate=yes

[Install]
WantedBy=multi-user.target
"""


def _comment(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command line, as systemd.service(5) quotes it."""
    quoted = _percent(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("\n", "\\n")
    return quoted if quoted == text and " " not in text and "'" not in text else f'"{quoted}"'
