"""A gRPC server without a service, as grpcio makes it.  Usage: grpc_server.py HOST:PORT."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

server = grpc.server(ThreadPoolExecutor())
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
