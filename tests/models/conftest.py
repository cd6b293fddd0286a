"""Models added from Python leave with their test."""

from collections.abc import Iterator

import pytest

from robustness.models import own
from robustness.models.record import ADDED


@pytest.fixture
def nothing_stays() -> Iterator[None]:
    yield
    ADDED.clear()
    own.refresh()
