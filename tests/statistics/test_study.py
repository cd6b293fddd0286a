"""The study's reading of measurements: verdicts, order, and the published figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from robustness.images.decoding import sample_bytes
from robustness.images.framing import Picture, study_image
from robustness.measure.loop import evaluate
from robustness.measure.measurement import Measurement
from robustness.measure.request import make_spec, study_conditions
from robustness.statistics import FEWEST, study
from robustness.statistics.means import shares
from robustness.statistics.study import summarise


@pytest.fixture(scope="module")
def rows() -> list[Measurement]:
    picture = Picture.of("rocket", study_image(sample_bytes("rocket")))
    return list(evaluate(make_spec(["SqueezeNet"], study_conditions()), [picture]))


def entry(kept: int, of: int, cosine: float = 0.5) -> dict[str, Any]:
    """As of one answer to each of ``of`` images."""
    found = shares((np.arange(of) < kept).astype(float)[:, None])
    return {
        **found.named("consistency", 0),
        "cosine_rescaled": cosine,
        "label_set": "ImageNet-1k",
    }


@pytest.mark.parametrize(
    ("kept", "of", "cosine", "expected"),
    [
        (10, 10, 0.4, "robust"),
        (9, 10, 0.4, "robust"),
        (8, 10, 0.9, "undecided"),
        (5, 10, 0.4, "undecided"),
        (0, 10, 0.49, "fragile"),
        (0, 10, 0.5, "inconsistent"),
        (60, 100, 0.4, "undecided"),
        (61, 100, 0.4, "robust"),
        (1, 1, 0.4, "undecided"),
        (4, 4, 0.4, "undecided"),
    ],
)
def test_the_verdict_follows_its_rule(kept: int, of: int, cosine: float, expected: str) -> None:
    assert study.verdict(entry(kept, of, cosine)) == expected


def test_an_unsure_clean_answer_is_flagged_once_a_picture_and_model(
    rows: list[Measurement],
) -> None:
    (found,) = study.unsure(rows)
    assert found[:2] == ("rocket", "SqueezeNet")
    assert found[2] == pytest.approx(0.206, abs=0.01)
    sure = [replace(row, clean_probability=0.3) for row in rows]
    assert study.unsure(sure) == []


def test_pictures_are_the_unit_of_the_intervals_not_perturbations(rows: list[Measurement]) -> None:
    def card(pictures: int) -> dict[str, Any]:
        copies = [replace(row, image_digest=str(at)) for at in range(pictures) for row in rows]
        (found,) = summarise(copies)
        return found

    one, few, enough, many = (card(count) for count in (1, FEWEST - 1, FEWEST, 40))
    for found in (one, few):
        assert (found["consistency_low"], found["consistency_high"]) == (None, None)
        assert study.verdict(found) == "undecided"
    assert enough["n"] == 10 * FEWEST
    kept = sum(row.consistent for row in rows) / 10
    assert enough["consistency"] == pytest.approx(kept)
    # Five copies of an image say no more than five answers would: their spread is unknown.
    low, high = proportion_confint(kept * FEWEST, FEWEST, method="beta")
    assert enough["consistency_low"] <= low + 0.05
    assert enough["consistency_high"] >= high - 0.05
    assert many["consistency_low"] > enough["consistency_low"]
