"""A web server that knows nothing of maitred: it says which process answered, how often, and whom.

Run it on its own with `python examples/hello.py`, or several copies of it with
`maitred run --static 3 examples/hello.py`.
"""

import itertools
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

requests = itertools.count(1)


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        host, port = self.client_address[:2]
        text = f"Hello from process {os.getpid()}: request {next(requests)}, for {host} port {port}\n"
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8000), Hello).serve_forever()
