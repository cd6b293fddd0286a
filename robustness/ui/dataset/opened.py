"""What the results of a run over many images are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from robustness.evaluation.condition import Condition
from robustness.pictures.picture import Picture


class Run(Protocol):
    """A run over many images, finished or not.

    ``frame()`` has one row a measurement with the columns ``statistics.COLUMNS`` and
    ``statistics.CASE_COLUMNS``. ``picture(image)`` is the study image of a row's ``image``; it
    raises ``RobustnessError`` if it cannot be had. ``unreadable`` holds (image, reason).
    """

    @property
    def id(self) -> str: ...

    @property
    def conditions(self) -> tuple[Condition, ...]: ...

    @property
    def seed(self) -> int: ...

    @property
    def unreadable(self) -> Sequence[tuple[str, str]]: ...

    def frame(self) -> pd.DataFrame: ...

    def picture(self, image_id: str) -> Picture: ...
