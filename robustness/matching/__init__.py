"""Which perturbations make labelled reference images look like unlabelled production images.

The result is a profile of compositions, and the accuracy to expect of each model.
"""

from robustness.matching.cause_of_difference import CONDITIONS, MatchedPerturbation
from robustness.matching.label_sheet import Correct, SampleImage, read_sheet, sheet, sheet_rows
from robustness.matching.labelled_and_simulated_accuracy import (
    AccuracyEstimate,
    ExpectedAccuracy,
    forecast,
)
from robustness.matching.match import FEWEST, Match, MatchSettings, match, with_labels
from robustness.matching.profile_file import SHARE, MatchChange, as_toml, changes, read_profile

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
