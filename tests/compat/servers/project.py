"""Flask and Django, as small as they come: the same answer as `applications.py` gives.  See `makes.py` for commands."""

import json
import os
import sys


def report(environ):
    return {"pid": os.getpid(), "peer": [environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT", 0))]}


def flask():
    from flask import Flask, request

    app = Flask("project")

    @app.get("/")
    def root():
        return report(request.environ)

    return app


def with_uvloop():
    import uvloop

    async def app(scope, receive, send):
        assert uvloop

    return app


def django():
    """As `manage.py`, and its project in one."""
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def root(request):
        body = json.dumps(report(request.environ))
        return HttpResponse(body, headers={"Content-Length": str(len(body))})  # else it hangs up after each

    settings.configure(DEBUG=True, ROOT_URLCONF="project", ALLOWED_HOSTS=["*"], SECRET_KEY="none", USE_TZ=True)
    sys.modules["project"] = sys.modules[__name__]
    globals()["urlpatterns"] = [path("", root)]
    get_wsgi_application()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    django()
