"""Hypothesis for mutation testing: few examples, always the same, as mutmut runs every test again and again.

Copied to where mutmut works as ``tests/core/conftest.py``.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "mutation",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
settings.load_profile("mutation")
