"""Every reason for which a machine declines an event is given by some machine, in a state that a test can reach."""

from tests.core import test_distributor, test_monitor, test_server

from maitred.core.transition import Reason

TABLES = (test_distributor.REFUSALS, test_monitor.REFUSALS, test_server.REFUSALS)
"""Each row is provoked where it stands: a state, an event, and the reason that must come back."""


def test_every_reason_is_provoked():
    provoked = {reason for table in TABLES for _, _, reason in table}
    assert set(Reason) - provoked == set()


def test_every_reason_has_a_meaning_of_its_own():
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert len(Reason.__members__) == len(Reason)
