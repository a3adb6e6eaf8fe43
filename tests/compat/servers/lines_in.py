"""Sends its pid and whom it sees, then echoes lines, in whichever library is named.

Usage: lines_in.py LIBRARY HOST PORT [PORT].
"""

import json
import os
import socket
import ssl
import sys
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("localhost.pem")


def report(peer):
    return json.dumps({"pid": os.getpid(), "peer": list(peer[:2])}).encode() + b"\n"


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


# ---------------------------------------------------------------- nothing but `socket`


def plain(host, port):
    listener = socket.create_server((host, port))
    while True:
        client, peer = listener.accept()
        with client, client.makefile("rb") as lines:
            client.sendall(report(peer))
            for line in lines:
                client.sendall(line)


# ---------------------------------------------------------------- asyncio


async def converse(reader, writer):
    writer.write(report(writer.get_extra_info("peername")))
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


def asyncio_tls(host, port):
    _asyncio(host, port, ssl=tls())


def asyncio_dual(host, port):
    _asyncio(None, port)


def asyncio_two(host, port, other):
    _asyncio(host, port, other)


def _asyncio(host, *ports, **options):
    import asyncio

    async def main():
        servers = [await asyncio.start_server(converse, host, port, **options) for port in ports]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(main())


# ---------------------------------------------------------------- the others


def tornado(host, port):
    import asyncio

    from tornado.iostream import StreamClosedError
    from tornado.tcpserver import TCPServer

    class Lines(TCPServer):
        async def handle_stream(self, stream, address):
            try:
                await stream.write(report(address))
                while True:
                    await stream.write(await stream.read_until(b"\n"))
            except StreamClosedError:
                return

    async def main():
        Lines().listen(port, host)
        await asyncio.Event().wait()

    asyncio.run(main())


def twisted(host, port):
    from twisted.internet import protocol, reactor

    class Lines(protocol.Protocol):
        def connectionMade(self):
            peer = self.transport.getPeer()
            self.transport.write(report((peer.host, peer.port)))

        def dataReceived(self, data):
            self.transport.write(data)

    reactor.listenTCP(port, protocol.Factory.forProtocol(Lines), interface=host)
    reactor.run()


def trio(host, port):
    import trio

    async def lines(stream):
        await stream.send_all(report(stream.socket.getpeername()))
        async for data in stream:
            await stream.send_all(data)

    async def main():
        await trio.serve_tcp(lines, port, host=host)

    trio.run(main)


def gevent(host, port):
    from gevent import monkey

    monkey.patch_all()
    from gevent.server import StreamServer

    def lines(client, peer):
        client.sendall(report(peer))
        with client.makefile("rb") as incoming:
            for line in incoming:
                client.sendall(line)

    StreamServer((host, port), lines).serve_forever()


def eventlet(host, port):
    import eventlet

    eventlet.monkey_patch()

    def lines(client, peer):
        client.sendall(report(peer))
        with client, client.makefile("rb") as incoming:
            for line in incoming:
                client.sendall(line)

    eventlet.serve(eventlet.listen((host, port)), lines)


def websockets(host, port):
    import asyncio

    from websockets.asyncio.server import serve

    async def lines(connection):
        await connection.send(report(connection.remote_address))
        async for message in connection:
            await connection.send(message)

    async def main():
        async with serve(lines, host, port) as server:
            await server.serve_forever()

    asyncio.run(main())


if __name__ == "__main__":
    library, host, *ports = sys.argv[1:]
    globals()[library](host, *map(int, ports))
