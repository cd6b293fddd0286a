"""Models added from Python leave with their test; files are examined by one process."""

from collections.abc import Iterator

import pytest

from robustness.models.own import user_models
from robustness.models.python_models.in_process import ADDED
from tests.support.shared_examiner import ended, one_process

__all__ = ["ended", "one_process"]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    ADDED.clear()
    user_models.refresh()
