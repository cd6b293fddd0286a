"""Which perturbations make labelled reference images look like unlabelled production images.

The result is a profile of compositions, and the accuracy to expect of each model.
"""

from __future__ import annotations

from robustness.matching.accuracy import AccuracyEstimate, ExpectedAccuracy, forecast
from robustness.matching.profile import SHARE, MatchChange, as_toml, changes, read_profile
from robustness.matching.run import (
    CONDITIONS,
    FEWEST,
    Correct,
    Match,
    MatchedPerturbation,
    MatchSettings,
    SampleImage,
    match,
    read_sheet,
    sheet,
    sheet_rows,
    with_labels,
)

__all__ = [
    "CONDITIONS",
    "FEWEST",
    "SHARE",
    "AccuracyEstimate",
    "Correct",
    "ExpectedAccuracy",
    "Match",
    "MatchChange",
    "MatchSettings",
    "MatchedPerturbation",
    "SampleImage",
    "as_toml",
    "changes",
    "forecast",
    "match",
    "read_profile",
    "read_sheet",
    "sheet",
    "sheet_rows",
    "with_labels",
]
