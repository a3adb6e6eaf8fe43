"""`wsgiref`'s server, one request at a time.  Usage: wsgi_simple.py HOST PORT."""

import sys
from wsgiref.simple_server import make_server

from applications import wsgi

make_server(sys.argv[1], int(sys.argv[2]), wsgi).serve_forever()
