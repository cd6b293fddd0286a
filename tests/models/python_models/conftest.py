"""Models added from Python leave with their test."""

from collections.abc import Iterator

import pytest

from robustness.models.own import user_models
from robustness.models.python_models.in_process import ADDED


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    ADDED.clear()
    user_models.refresh()
