"""Which perturbations make labelled reference images look like unlabelled production images.

The result is a profile of compositions, and the accuracy to expect of each model.
"""

from robustness.matching.match import (
    CONDITIONS,
    FEWEST,
    ExpectedAccuracy,
    Match,
    MatchedPerturbation,
    match,
)
from robustness.matching.profile import SHARE, MatchChange, Profile, as_toml, changes, read_profile

__all__ = [
    "CONDITIONS",
    "FEWEST",
    "SHARE",
    "ExpectedAccuracy",
    "Match",
    "MatchChange",
    "MatchedPerturbation",
    "Profile",
    "as_toml",
    "changes",
    "match",
    "read_profile",
]
