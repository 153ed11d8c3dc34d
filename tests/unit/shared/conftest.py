"""Fixtures of all tests of what routers share."""

from tests.unit.shared.support import town

__all__ = ["town"]
