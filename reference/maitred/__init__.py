"""Seats each network client at the least-busy of several copies of an unmodified server.

The packages, from the pure centre outwards:

* `maitred.core`: the state machines; no I/O, no clock, standard library only.
* `maitred.compiled`: the same, compiled to extension modules: an option.
* `maitred.model`: the machines joined into a closed system, and its explorer.
* `maitred.shell`: real sockets and processes around the same machines.
* `maitred.config`: what can be configured, and the files that say it.
* `maitred.cli`: the `maitred` command.
"""

__version__ = "0.1.0"
