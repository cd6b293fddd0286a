"""Statistics of a run over many images; intervals and tests count each image once.

``Figures`` has all tables of a frame with one row per measurement, and at least the columns
``measurement_grid.COLUMNS``. They are lists of flat, JSON-ready dictionaries; None is unknown.
"""

from robustness.metrics.proportion_and_difference_intervals import FEWEST
from robustness.statistics.calibration import BINS
from robustness.statistics.choice_criteria_and_cost import Cost, Criteria
from robustness.statistics.corruption_errors_and_literature import published
from robustness.statistics.means_with_intervals import INTERVAL_RULE, TOO_FEW
from robustness.statistics.model_choice import ModelChoice, choose
from robustness.statistics.model_pairs_and_ranks import (
    QUANTITIES,
    RANK_RULE,
    TEST_RULE,
    TEST_SUMMARY,
    advice,
)
from robustness.statistics.result_tables import Figures

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
