"""Statistics of a run over many images; intervals and tests count each image once.

``Figures`` has all tables of a frame with one row per measurement, and at least the columns
``measurement_grid.COLUMNS``. They are lists of flat, JSON-ready dictionaries; None is unknown.
"""

from robustness.metrics.intervals import FEWEST
from robustness.statistics.calibration import BINS
from robustness.statistics.choice_criteria import Cost, Criteria
from robustness.statistics.estimates import INTERVAL_RULE, TOO_FEW
from robustness.statistics.figures import Figures
from robustness.statistics.imagenet_c import published
from robustness.statistics.model_choice import ModelChoice, choose
from robustness.statistics.model_ranking import (
    QUANTITIES,
    RANK_RULE,
    TEST_RULE,
    TEST_SUMMARY,
    advice,
)

__all__ = [
    "BINS",
    "FEWEST",
    "INTERVAL_RULE",
    "QUANTITIES",
    "RANK_RULE",
    "TEST_RULE",
    "TEST_SUMMARY",
    "TOO_FEW",
    "Cost",
    "Criteria",
    "Figures",
    "ModelChoice",
    "advice",
    "choose",
    "published",
]
