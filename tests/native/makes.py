"""The servers of the native table: how each is started with the native stand-in, and its row.

In a command PORT stands for the port, HERE for what was made for the test: programs and configuration.
"""

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compat import visitors

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Make:
    """A make of server, as somebody would start it."""

    name: str
    language: str
    command: str
    asks: tuple[str, ...]
    """The command that prints its version."""
    package: str
    """What installs it on Debian."""
    client: Any = visitors.Lines
    builds: str = ""
    """The command that makes its program."""
    quick: bool = False
    """Part of `make test`."""
    host: str = "127.0.0.1"
    remark: str = ""

    @property
    def version(self):
        done = subprocess.run(self.asks, capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).splitlines()[0]

    def program(self, here, port):
        """Its executable and arguments."""
        return [word.replace("HERE", str(here)).replace("PORT", str(port)) for word in shlex.split(self.command)]

    def build(self, here, port):
        """Make its program and its configuration there."""
        for template in SERVERS.glob("*.conf"):
            (here / template.name).write_text(
                template.read_text().replace("PORT", str(port)).replace("HERE", str(here))
            )
        if self.builds:
            words = self.builds.replace("HERE", str(here)).replace("SERVERS", str(SERVERS))
            subprocess.run(words.split(), check=True, timeout=100)


C = {
    "language": "C",
    "asks": ("cc", "--version"),
    "package": "gcc",
    "builds": "cc -O1 -o HERE/lines SERVERS/lines.c -pthread",
}
JAVA = {"language": "Java", "asks": ("java", "-version"), "package": "openjdk-17-jdk-headless"}
NODE = {"language": "JavaScript", "asks": ("node", "--version"), "package": "nodejs"}
NGINX = {"language": "C", "asks": ("nginx", "-v"), "package": "nginx-light", "client": visitors.Http}
START_NGINX = "nginx -e stderr -p HERE -c HERE/nginx.conf -g 'pid HERE/{server}.pid; daemon off;"
SMALL = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Xmx64m"

MAKES = (
    Make("accept loop, a thread for each client", command="HERE/lines threads PORT", quick=True, **C),
    Make("accept loop, a child forked for each client", command="HERE/lines forks PORT", **C),
    Make(
        "accept loop, a program started for each client",
        command="HERE/lines execs PORT",
        remark="As inetd does. That a client has left is seen when its program is waited for.",
        **C,
    ),
    Make(
        "three children that accept",
        command="HERE/lines preforked PORT",
        remark="All processes of a copy have one count.",
        **C,
    ),
    Make(
        "ServerSocket, a thread for each client",
        command=f"java {SMALL} -cp HERE Lines PORT",
        builds="javac -d HERE SERVERS/Lines.java",
        quick=True,
        **JAVA,
    ),
    Make(
        "NIO, a Selector",
        command=f"java {SMALL} -cp HERE Selecting PORT",
        builds="javac -d HERE SERVERS/Selecting.java",
        **JAVA,
    ),
    Make("net", command=f"node {SERVERS}/lines.js PORT", quick=True, **NODE),
    Make("http", command=f"node {SERVERS}/web.js PORT", client=visitors.Http, **NODE),
    Make("nginx, one process", command=f"{START_NGINX} master_process off;'", **NGINX),
    Make("nginx, a master and two workers", command=f"{START_NGINX} worker_processes 2;'", **NGINX),
)
