"""Sanic, without uvloop: the same answer as `applications.py` gives.  Usage: sanic sanic_app:app."""

import os

from sanic import Sanic, json

app = Sanic("project")
app.config.USE_UVLOOP = False


@app.get("/")
async def root(request):
    return json({"pid": os.getpid(), "peer": [request.ip, request.port]})
