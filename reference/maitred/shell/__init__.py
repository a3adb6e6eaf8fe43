"""The thin shell: real sockets and processes around the pure core.

It decides nothing: it turns readiness into events, calls ``step``, and performs the effects in their order.
"""
