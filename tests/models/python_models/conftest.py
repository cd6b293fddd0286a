"""Models added from Python leave with their test."""

from collections.abc import Iterator

import pytest

from robustness.models.model_record import ADDED
from robustness.models.own import user_models


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    ADDED.clear()
    user_models.refresh()
