"""Which values of a test `make test` tries, where trying all takes minutes."""

from collections.abc import Iterable

import pytest


def some(values: Iterable[str], *quick: str) -> list[object]:
    """All values as parameters; those beside `quick` are tried by `make test-walks` alone."""
    values = list(values)
    assert set(quick) <= set(values)
    return [pytest.param(value, marks=() if value in quick else pytest.mark.walks) for value in values]
