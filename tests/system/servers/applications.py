"""The same small application for WSGI and ASGI servers: sends the pid of its process and whom it sees."""

import json
import os


def wsgi(environ, start_response):
    peer = [environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT", 0))]
    body = json.dumps({"pid": os.getpid(), "peer": peer}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps({"pid": os.getpid(), "peer": scope["client"]}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
