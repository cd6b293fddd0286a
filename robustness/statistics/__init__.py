"""Statistics of a run over many images; intervals and tests count each image once.

``Figures`` has all tables of a frame with one row per measurement, and at least the columns
``measurement_grid.COLUMNS``. They are lists of flat, JSON-ready dictionaries; None is unknown.
"""

from __future__ import annotations

from robustness.metrics.intervals import FEWEST
from robustness.statistics.calibration import BINS
from robustness.statistics.choice import Cost, Criteria, ModelChoice, choose
from robustness.statistics.means import INTERVAL_RULE, TOO_FEW
from robustness.statistics.pairs import QUANTITIES, RANK_RULE, TEST_RULE, TEST_SUMMARY, advice
from robustness.statistics.study import published
from robustness.statistics.tables import Figures

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
