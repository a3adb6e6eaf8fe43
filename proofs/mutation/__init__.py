"""Slips in the core, in the shell and in the relation, each of which a check must notice."""
