"""One client of each protocol: it connects, learns who serves it, sees that the service goes on, and leaves."""

import ftplib
import http.client
import json
import smtplib
import socket
import ssl
import xmlrpc.client

from tests.system.harness import PATIENCE

UNVERIFIED = ssl._create_unverified_context()


class Lines:
    """Of a server of lines, which greets with what it knows and then echoes."""

    keeps = True
    """The connection outlives a request."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = self.connect(host, port)
        self.me = list(self.socket.getsockname()[:2])
        self.lines = self.socket.makefile("rb")

    def connect(self, host, port):
        return socket.create_connection((host, port), PATIENCE)

    def told(self):
        return json.loads(self.lines.readline())

    def works(self):
        self.socket.sendall(b"still there?\n")
        return self.lines.readline() == b"still there?\n"

    def close(self):
        self.lines.close()
        self.socket.close()


class TlsLines(Lines):
    def connect(self, host, port):
        return UNVERIFIED.wrap_socket(super().connect(host, port), server_hostname="localhost")


class Http:
    """Of a web server; stays connected between requests."""

    keeps = True

    def __init__(self, port, host="127.0.0.1"):
        self.http = self.connection(host, port)
        self.http.connect()
        self.me = list(self.http.sock.getsockname()[:2])

    def connection(self, host, port):
        return http.client.HTTPConnection(host, port, timeout=PATIENCE)

    def told(self):
        self.http.request("GET", "/")
        return json.loads(self.http.getresponse().read())

    def works(self):
        return bool(self.told())

    def close(self):
        self.http.close()


class Https(Http):
    def connection(self, host, port):
        return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=UNVERIFIED)


class HttpFarewell(Http):
    """Of a web server that does not notice when an idle client leaves, so that the client has to close."""

    def close(self):
        self.http.request("GET", "/", headers={"Connection": "close"})
        assert self.http.getresponse().read()
        super().close()


class HttpOnce(Http):
    """Of a web server that hangs up after each request."""

    keeps = False


class XmlRpc(HttpOnce):
    def told(self):
        self.http.request("POST", "/RPC2", xmlrpc.client.dumps((), "pid"), {"Content-Type": "text/xml"})
        (pid,), _ = xmlrpc.client.loads(self.http.getresponse().read())
        return {"pid": pid}


class WebSocket(Lines):
    """As much of RFC 6455 as a line and its echo need."""

    def __init__(self, port, host="127.0.0.1"):
        super().__init__(port, host)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def told(self):
        while self.lines.readline().strip():
            pass  # the answer's head
        return json.loads(self.frame())

    def works(self):
        self.socket.sendall(bytes([0x81, 0x80 | 5]) + bytes(4) + b"hello")  # masked, with a mask of zeros
        return self.frame() == b"hello"

    def frame(self):
        _, length = self.lines.read(2)
        assert length < 126
        return self.lines.read(length)


class Ftp:
    """Transfers go over a connection of their own, from a port that the server's copy chooses."""

    keeps = True

    def __init__(self, port, host="127.0.0.1"):
        self.ftp = ftplib.FTP(timeout=PATIENCE)
        self.ftp.connect(host, port)
        self.me = list(self.ftp.sock.getsockname()[:2])

    def told(self):
        self.ftp.login()
        return {}

    def works(self):
        listed = []
        self.ftp.retrlines("LIST", listed.append)
        return any("localhost.pem" in line for line in listed)

    def close(self):
        self.ftp.close()


class Smtp:
    keeps = True

    def __init__(self, port, host="127.0.0.1"):
        self.smtp = smtplib.SMTP(host, port, timeout=PATIENCE)
        self.me = list(self.smtp.sock.getsockname()[:2])

    def told(self):
        return {}

    def works(self):
        return self.smtp.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nx") == {}

    def close(self):
        self.smtp.close()
