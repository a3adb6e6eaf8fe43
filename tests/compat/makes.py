"""The servers of the compatibility table: how each is started, and its row.

In a command PORT stands for the port, OTHER for a second one, HERE and SYSTEM for the directories of server programs.
The words before the program are options of `maitred run`.
"""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.compat import visitors

HERE = Path(__file__).parent / "servers"
SYSTEM = Path(__file__).parents[1] / "system" / "servers"
STANDARD = "Python"
"""In the place of a distribution: the standard library has it."""


@dataclass(frozen=True)
class Make:
    """A make of server, as somebody would start it."""

    name: str
    command: str
    client: Any = visitors.Http
    package: str = STANDARD
    each: int = 2
    """So many clients at once for each copy."""
    single: bool = False
    """A copy serves one client at a time."""
    host: str = "127.0.0.1"
    ports: int = 1
    listen: str = ""
    """The argument of -b, where it is not HOST:PORT; "none" for no -b at all."""
    quick: bool = False
    """Part of `make test`."""
    fails: str = ""
    """What the log shows where it cannot work, as a pattern."""
    remark: str = ""
    """How it is to be started, where that is not as ever; or why it does not work, and what does."""

    @property
    def version(self):
        return metadata.version(self.package) if self.package != STANDARD else ""

    def arguments(self, *ports):
        """The command line behind `maitred run`, with three copies."""
        words = self.command.replace("HERE", str(HERE)).replace("SYSTEM", str(SYSTEM))
        for name, port in zip(("PORT", "OTHER"), ports, strict=False):
            words = words.replace(name, str(port))
        host = f"[{self.host}]" if ":" in self.host else self.host
        listen = [word for port in ports for word in ("-b", f"{self.listen or host}:{port}")]
        limit = ["--max-clients", str(self.each)] if self.single else []
        return [*([] if self.listen == "none" else listen), "--static", "3", *limit, *words.split()]


SOCKETSERVER = "SYSTEM/lines.py KIND 127.0.0.1 PORT"
UVICORN = "-m uvicorn --loop asyncio --port PORT --app-dir SYSTEM --timeout-keep-alive 60"
HYPERCORN = "-m hypercorn -b 127.0.0.1:PORT --keep-alive 60"
GUNICORN = "-m gunicorn --no-control-socket -b 127.0.0.1:PORT --keep-alive 60 --pythonpath SYSTEM"
SANIC = "-m sanic -H 127.0.0.1 -p PORT sanic_app:app"
LOOP = "`--loop asyncio`"
WORKERS = "its workers are processes of one copy, with one count"

MAKES = [
    # ------------------------------------------------ the standard library
    Make("http.server", "SYSTEM/http_threading.py 127.0.0.1 PORT", quick=True),
    Make("http.server, IPv6", "HERE/web_in.py http_six ::1 PORT", host="::1"),
    Make("http.server, TLS", "HERE/web_in.py http_tls 127.0.0.1 PORT", visitors.Https, quick=True),
    Make("socketserver", SOCKETSERVER.replace("KIND", "plain"), visitors.Lines, each=1, single=True),
    Make("socketserver, threading", SOCKETSERVER.replace("KIND", "threading"), visitors.Lines),
    Make("socketserver, forking", SOCKETSERVER.replace("KIND", "forking"), visitors.Lines),
    Make("wsgiref", "SYSTEM/wsgi_simple.py 127.0.0.1 PORT", visitors.HttpOnce, each=1, single=True),
    Make("xmlrpc.server", "HERE/web_in.py xmlrpc 127.0.0.1 PORT", visitors.XmlRpc, each=1, single=True, quick=True),
    Make("asyncio streams", "SYSTEM/streams.py 127.0.0.1 PORT", visitors.Lines),
    Make(
        "asyncio streams, IPv4 and IPv6",
        "HERE/lines_in.py asyncio_dual - PORT",
        visitors.Lines,
        listen="*",
        remark="`-b '*:PORT'`",
        quick=True,
    ),
    Make("asyncio streams, two ports", "HERE/lines_in.py asyncio_two 127.0.0.1 PORT OTHER", visitors.Lines, ports=2),
    Make("asyncio streams, TLS", "HERE/lines_in.py asyncio_tls 127.0.0.1 PORT", visitors.TlsLines),
    Make("ten lines of socket", "HERE/lines_in.py plain 127.0.0.1 PORT", visitors.Lines, each=1, single=True),
    # ------------------------------------------------ ASGI and its like
    Make("aiohttp", "HERE/web_in.py aiohttp 127.0.0.1 PORT", package="aiohttp"),
    Make("uvicorn", f"{UVICORN} applications:asgi", package="uvicorn", remark=LOOP),
    Make(
        "uvicorn --workers 2",
        f"{UVICORN} --workers 2 applications:asgi",
        package="uvicorn",
        remark=f"{LOOP}; {WORKERS}",
        quick=True,
    ),
    Make("uvicorn --reload", f"{UVICORN} --reload applications:asgi", package="uvicorn", remark=LOOP),
    *(
        Make(
            f"hypercorn {options}".rstrip(),
            f"{HYPERCORN} {options} applications:asgi",
            visitors.HttpFarewell,
            "hypercorn",
            remark=f"{remark}holds a connection that an idle client has closed until `--keep-alive` is over, as ever,"
            " and it counts so long",
        )
        for options, remark in (("", ""), ("--workers 2", f"{WORKERS}; "))
    ),
    Make(
        "hypercorn -k trio",
        f"{HYPERCORN} -k trio applications:asgi",
        package="hypercorn",
        fails="expected object of type 'socket.socket', not 'socket'",
        remark="trio insists on the very class `socket.socket`, which a listener here is not; use `-k asyncio`",
    ),
    Make("Daphne", "-m daphne -b 127.0.0.1 -p PORT applications:asgi", package="daphne"),
    Make("Sanic", f"{SANIC} --single-process", package="sanic", remark="`USE_UVLOOP = False`"),
    Make("Sanic, two workers", f"{SANIC} --workers 2", package="sanic", remark=f"`USE_UVLOOP = False`; {WORKERS}"),
    Make("websockets", "HERE/lines_in.py websockets 127.0.0.1 PORT", visitors.WebSocket, "websockets"),
    # ------------------------------------------------ WSGI
    Make("waitress", "-m waitress --listen=127.0.0.1:PORT applications:wsgi", package="waitress"),
    Make("cheroot", "-m cheroot --bind 127.0.0.1:PORT applications:wsgi", package="cheroot"),
    Make("Flask's development server", "-m flask --app project:flask() run -p PORT", visitors.HttpOnce, "flask"),
    Make(
        "Flask's development server, with its reloader",
        "-m flask --app project:flask() run -p PORT --debug",
        visitors.HttpOnce,
        "flask",
    ),
    Make("Django's runserver", "HERE/project.py runserver 127.0.0.1:PORT --noreload", package="django"),
    Make("Django's runserver, with its reloader", "HERE/project.py runserver 127.0.0.1:PORT", package="django"),
    Make(
        "Django's runserver, with its reloader, no -b",
        "HERE/project.py runserver 127.0.0.1:PORT",
        package="django",
        listen="none",
    ),
    *(
        Make(
            f"gunicorn -k {kind} --workers {workers}",
            f"{GUNICORN} -k {kind} --workers {workers} {'--threads 8 ' * (kind == 'gthread')}applications:wsgi",
            visitors.HttpOnce if kind == "sync" else visitors.Http,
            "gunicorn",
            each=1 if kind == "sync" and workers == 1 else 2,
            single=kind == "sync",
            remark=WORKERS if workers > 1 else "",
            quick=kind == "gthread" and workers == 3,
        )
        for kind in ("sync", "gthread", "gevent")
        for workers in (1, 3)
    ),
    # ------------------------------------------------ event loops and green threads
    Make("tornado", "HERE/lines_in.py tornado 127.0.0.1 PORT", visitors.Lines, "tornado"),
    Make("tornado.web", "HERE/web_in.py tornado 127.0.0.1 PORT", package="tornado"),
    Make("Twisted", "HERE/lines_in.py twisted 127.0.0.1 PORT", visitors.Lines, "twisted"),
    Make("twisted.web", "HERE/web_in.py twisted 127.0.0.1 PORT", package="twisted"),
    Make("trio", "HERE/lines_in.py trio 127.0.0.1 PORT", visitors.Lines, "trio"),
    Make("gevent", "HERE/lines_in.py gevent 127.0.0.1 PORT", visitors.Lines, "gevent"),
    Make("gevent.pywsgi", "HERE/web_in.py gevent 127.0.0.1 PORT", package="gevent"),
    Make("eventlet", "HERE/lines_in.py eventlet 127.0.0.1 PORT", visitors.Lines, "eventlet"),
    Make("eventlet.wsgi", "HERE/web_in.py eventlet 127.0.0.1 PORT", package="eventlet"),
    # ------------------------------------------------ sockets made outside Python
    *(
        Make(
            name,
            command,
            package=package,
            fails=f"cannot be handed clients: {words}",
            remark=f"{remark}; the log, the status and the exit code say so",
        )
        for name, command, package, words, remark in (
            (
                "uvicorn --loop uvloop",
                "-m uvicorn --loop uvloop --port PORT --app-dir SYSTEM applications:asgi",
                "uvloop",
                "uvloop makes its sockets in C, out of reach: .*--loop asyncio",
                "uvloop makes its sockets in C; use `--loop asyncio`",
            ),
            (
                "granian",
                "-m granian --interface asgi --port PORT --working-dir SYSTEM applications:asgi",
                "granian",
                "granian makes its sockets in Rust, out of reach: .*hypercorn",
                "its sockets are made in Rust; use uvicorn with `--loop asyncio`, or hypercorn",
            ),
            (
                "grpcio",
                "HERE/grpc_server.py 127.0.0.1:PORT",
                "grpcio",
                r"grpc makes its sockets in C\+\+, out of reach: .*grpclib",
                "its sockets are made in C++; use a gRPC library in pure Python (grpclib)",
            ),
        )
    ),
    # ------------------------------------------------ other protocols
    Make("pyftpdlib", "-m pyftpdlib -i 127.0.0.1 -p PORT -d HERE", visitors.Ftp, "pyftpdlib"),
    Make("aiosmtpd", "-m aiosmtpd -n -l 127.0.0.1:PORT -c aiosmtpd.handlers.Sink", visitors.Smtp, "aiosmtpd"),
]
FOREIGN = [make for make in MAKES if make.fails.startswith("cannot be handed clients")]
"""Those whose sockets are made outside Python."""
