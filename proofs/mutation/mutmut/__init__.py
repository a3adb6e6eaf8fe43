"""Mutation testing of the core with mutmut: every small change that it can make, against the core's tests."""
