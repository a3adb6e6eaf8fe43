"""Answers each request with its pid and whom it sees, in whichever library is named.

Usage: web_in.py LIBRARY HOST PORT.
"""

import json
import os
import socket
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("localhost.pem")


def report(peer):
    return {"pid": os.getpid(), "peer": list(peer[:2])}


class SendPid(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(report(self.client_address)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class SixServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def http_six(host, port):
    SixServer((host, port), SendPid).serve_forever()


def http_tls(host, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = ThreadingHTTPServer((host, port), SendPid)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def xmlrpc(host, port):
    from xmlrpc.server import SimpleXMLRPCServer

    server = SimpleXMLRPCServer((host, port), logRequests=False)
    server.register_function(os.getpid, "pid")
    server.serve_forever()


def aiohttp(host, port):
    from aiohttp import web

    async def root(request):
        return web.json_response(report(request.transport.get_extra_info("peername")))

    app = web.Application()
    app.router.add_get("/", root)
    web.run_app(app, host=host, port=port)


def tornado(host, port):
    import asyncio

    from tornado import web

    class Root(web.RequestHandler):
        def get(self):
            self.write(report(self.request.connection.context.address))

    async def main():
        web.Application([("/", Root)]).listen(port, host)
        await asyncio.Event().wait()

    asyncio.run(main())


def gevent(host, port):
    from gevent import monkey

    monkey.patch_all()
    from applications import wsgi
    from gevent.pywsgi import WSGIServer

    WSGIServer((host, port), wsgi).serve_forever()


def eventlet(host, port):
    import eventlet

    eventlet.monkey_patch()
    from applications import wsgi
    from eventlet import wsgi as server

    server.server(eventlet.listen((host, port)), wsgi)


def twisted(host, port):
    from applications import wsgi
    from twisted.internet import reactor
    from twisted.web.server import Site
    from twisted.web.wsgi import WSGIResource

    reactor.listenTCP(port, Site(WSGIResource(reactor, reactor.getThreadPool(), wsgi)), interface=host)
    reactor.run()


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2] / "system" / "servers"))
    library, host, port = sys.argv[1:]
    globals()[library](host, int(port))
