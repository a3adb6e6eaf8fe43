"""The thin shell: real sockets and processes around the pure core.

It makes no protocol decision: it turns readiness into events, calls ``step``, and performs the effects in their order.
``docs/explanation/resource-policies.md`` lists what it decides of time, memory and descriptors.
"""

from maitred import compiled

compiled.switch_on()  # before the modules of this package import the core
__path__[:0] = compiled.path(__name__)
