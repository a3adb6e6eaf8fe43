"""The means that all processes share: the readiness loop, packets with descriptors, what the kernel says, the log."""

from maitred import compiled

__path__[:0] = compiled.path(__name__)
