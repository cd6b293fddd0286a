"""Models added from Python leave with their test."""

from collections.abc import Iterator

import pytest

from robustness.models.model_and_weights_record import ADDED
from robustness.models.own import registration_and_schema


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    ADDED.clear()
    registration_and_schema.refresh()
