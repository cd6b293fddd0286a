"""Which perturbations make labelled reference images look like unlabelled production images.

The result is a profile of compositions, and the accuracy to expect of each model.
"""

from robustness.matching.accuracy import ExpectedAccuracy
from robustness.matching.confidence import AccuracyEstimate
from robustness.matching.labelling import (
    Correct,
    SampleImage,
    forecast,
    read_sheet,
    sheet,
    sheet_rows,
)
from robustness.matching.match import (
    CONDITIONS,
    FEWEST,
    Match,
    MatchedPerturbation,
    match,
    with_labels,
)
from robustness.matching.profile import SHARE, MatchChange, Profile, as_toml, changes, read_profile

__all__ = [
    "CONDITIONS",
    "FEWEST",
    "SHARE",
    "AccuracyEstimate",
    "Correct",
    "ExpectedAccuracy",
    "Match",
    "MatchChange",
    "MatchedPerturbation",
    "Profile",
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
