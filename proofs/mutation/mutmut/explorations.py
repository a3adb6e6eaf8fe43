"""Small explorations, as tests for mutation testing: what no unit test of the core notices, a property may.

Copied to where mutmut works as ``tests/core/test_explorations.py``; not a test of the house, which has longer ones.
"""

import pytest

from maitred.model.check.checker import Bounds, check

SMALL = {
    "who waits": Bounds(servers=1, clients=3, waiting_limit=1, warm=True),
    "two servers": Bounds(servers=2, clients=2, max_clients=2, warm=True),
    "two ports": Bounds(servers=1, clients=2, ports=2, warm=True),
    "refusals": Bounds(servers=1, clients=1, descriptor_losses=1, reorders=1, warm=True),
    "a start": Bounds(servers=1, clients=1),
    "a stop": Bounds(servers=1, clients=0, stops=1, warm=True),
    "a death": Bounds(servers=1, clients=0, server_crashes=1, warm=True),
}


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_violated(name: str) -> None:
    result = check(SMALL[name], max_states=2_000)
    assert result.counterexample is None
