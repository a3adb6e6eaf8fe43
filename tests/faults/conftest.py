"""Instances for the tests of this room, and guests."""

from tests.system.conftest import guests, maitred

__all__ = ["guests", "maitred"]
