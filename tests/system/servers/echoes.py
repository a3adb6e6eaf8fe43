"""A server that sends each client the pid that serves it, then echoes lines until the client closes its side.

    python echoes.py PORT[,PORT...] [idler]

It knows nothing of maitred.  With `idler`, it forks a child that holds the listening sockets and does nothing: what is
left behind when the main process is killed.
"""

import os
import signal
import socketserver
import sys
import threading


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"%d\n" % os.getpid())
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request, address):
        """Clients of the tests come and go as they please."""


servers = [Server(("127.0.0.1", int(port)), Echo) for port in sys.argv[1].split(",")]
if "idler" in sys.argv[2:] and os.fork() == 0:
    signal.pause()
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
