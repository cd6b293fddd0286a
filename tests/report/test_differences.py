"""Statistics in plain words."""

from __future__ import annotations

import pytest

from robustness.matching.statistics import NAMES
from robustness.report.differences import phrases, trait_of


@pytest.mark.parametrize("name", NAMES)
def test_every_statistic_has_words_for_more_and_for_less(name: str) -> None:
    (more,) = phrases([name], {name: 1.0})
    (less,) = phrases([name], {name: -1.0})
    assert more != less
    assert name not in (more, less)
    assert trait_of(name) != name or name == "noise"


def test_statistics_of_one_trait_are_one_phrase_and_the_first_tells_its_direction() -> None:
    left = {"zero DCT": 2.0, "spectrum band 11": -5.0, "residual correlation, x": 3.0}
    said = phrases(["spectrum band 11", "residual correlation, x", "zero DCT"], left)
    assert said == [
        "fine detail is missing",
        "small areas are perfectly smooth, as of strong compression",
    ]
    assert phrases(
        ["spectrum band 9", "residual correlation, x"],
        {
            "spectrum band 9": 4.0,
            "residual correlation, x": 3.0,
        },
    ) == ["fine detail is stronger"]
