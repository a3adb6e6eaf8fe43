"""`socketserver`, in three kinds: sends its pid and whom it sees, then echoes.  Usage: lines.py KIND HOST PORT."""

import json
import os
import socketserver
import sys

KINDS = {
    "plain": socketserver.TCPServer,
    "threading": socketserver.ThreadingTCPServer,
    "forking": socketserver.ForkingTCPServer,
}


class SendPid(socketserver.StreamRequestHandler):
    def handle(self):
        told = json.dumps({"pid": os.getpid(), "peer": self.client_address[:2]})
        self.wfile.write(told.encode() + b"\n")
        for line in self.rfile:
            self.wfile.write(line)


server = KINDS[sys.argv[1]]
server.allow_reuse_address = True
server((sys.argv[2], int(sys.argv[3])), SendPid).serve_forever()
