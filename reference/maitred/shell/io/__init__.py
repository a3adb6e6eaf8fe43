"""The means that all processes share: the readiness loop, packets with descriptors, what the kernel says, the log."""
