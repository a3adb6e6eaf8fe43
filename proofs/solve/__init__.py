"""Obligations, and the solvers that discharge them."""
