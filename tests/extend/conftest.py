"""Fixtures of the tests of methods of context extension."""

import pytest

from pebench.encodings.extension import CLAIMS, METHODS


@pytest.fixture
def own_methods():
    """Methods that a test adds are forgotten behind it."""
    before = METHODS.copy(), CLAIMS.copy()
    yield
    for table, old in zip((METHODS, CLAIMS), before, strict=True):
        table.clear()
        table.update(old)
