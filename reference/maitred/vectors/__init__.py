"""Test vectors of the three machines, for whoever writes another implementation: ``spec/vectors/README.md``.

`codec` turns the core's values into JSON and back, `compare` says in what an answer differs from what a vector
expects, and `files` reads the vectors.
"""
