"""Sends each client, as one line of JSON, what world this program finds itself in.

    python mirror.py HOST:PORT [ARGUMENT...]
    python -m mirror HOST:PORT [ARGUMENT...]

A client that sends a number of bytes is answered whether so much memory can be had.
"""

import json
import os
import resource
import signal
import socketserver
import sys

NAMES = sorted(globals())


def world():
    return {
        "name": __name__,
        "file": __file__,
        "names": NAMES,
        "module": __spec__ and __spec__.name,
        "argv": sys.argv,
        "path": sys.path,
        "flags": {name: flag for name in dir(sys.flags) if isinstance(flag := getattr(sys.flags, name), int)},
        "xoptions": sys._xoptions,
        "warnoptions": sys.warnoptions,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "version": sys.version,
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "stdin": os.readlink("/proc/self/fd/0"),
        "data": resource.getrlimit(resource.RLIMIT_DATA),
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "cpus": sorted(os.sched_getaffinity(0)),
        "signals": {s.name: signal.getsignal(s) for s in signal.valid_signals() if isinstance(s, signal.Signals)},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "pid": os.getpid(),
    }


WORLD = json.dumps(world(), default=repr)


def allocate(size):
    try:
        return f"{len(bytearray(size))} had"
    except MemoryError:
        return "MemoryError"


class Mirror(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"{WORLD}\n".encode())
        for line in self.rfile:
            self.wfile.write(f"{allocate(int(line))}\n".encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    HOST, _, PORT = sys.argv[1].rpartition(":")
    print(f"to stdout: {os.getpid()}")
    print(f"to stderr: {os.getpid()}", file=sys.stderr)
    Server((HOST, int(PORT)), Mirror).serve_forever()
