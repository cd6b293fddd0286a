"""Statistics of a run over many images; intervals and tests count each image once.

Frames have one row per measurement, with at least ``COLUMNS``. Tables come as lists of flat,
JSON-ready dictionaries; None is unknown.
"""

from robustness.evaluation.correctness import CORRECTNESS, correctness, with_correctness
from robustness.metrics.intervals import FEWEST
from robustness.statistics.calibration import BINS, reliability
from robustness.statistics.class_accuracy import by_class
from robustness.statistics.criteria import Cost, Criteria
from robustness.statistics.estimates import INTERVAL_RULE, TOO_FEW
from robustness.statistics.figures import Figures
from robustness.statistics.imagenet_c import (
    AS_JPEG,
    AS_STORED,
    IN_MEMORY,
    corruption_errors,
    published,
)
from robustness.statistics.measurement_grid import COLUMNS
from robustness.statistics.model_choice import ModelChoice, choose
from robustness.statistics.ranking import (
    FEWEST_TO_PLAN,
    QUANTITIES,
    RANK_RULE,
    TEST_RULE,
    TEST_SUMMARY,
    advice,
    compare,
    compare_by_condition,
    ranking,
)
from robustness.statistics.robust_accuracy import robust_accuracy
from robustness.statistics.summaries import (
    by_perturbation,
    by_severity,
    over_models,
    summary,
)

__all__ = [
    "AS_JPEG",
    "AS_STORED",
    "BINS",
    "COLUMNS",
    "CORRECTNESS",
    "FEWEST",
    "FEWEST_TO_PLAN",
    "INTERVAL_RULE",
    "IN_MEMORY",
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
    "by_class",
    "by_perturbation",
    "by_severity",
    "choose",
    "compare",
    "compare_by_condition",
    "correctness",
    "corruption_errors",
    "over_models",
    "published",
    "ranking",
    "reliability",
    "robust_accuracy",
    "summary",
    "with_correctness",
]
