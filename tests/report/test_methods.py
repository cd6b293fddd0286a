"""The prose of the methods: its numbers are those of the code, and a run's report has its notes."""

from __future__ import annotations

import pytest

from robustness.attacks.image import DRAWS
from robustness.measure import STEPS
from robustness.measure.strength import CLOSE, TOLERANCE
from robustness.metrics.intervals import FEWEST, FEWEST_OF_A_MEAN
from robustness.report import methods
from robustness.report.blocks import Text
from robustness.statistics.calibration import BINS
from robustness.statistics.means import SMALLEST
from robustness.statistics.pairs import FEWEST_TO_PLAN


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Fit", "on 200 labelled images, one per class"),
        ("Noise", f"{DRAWS} random changes"),
        ("Breaking strength", f"refined to {TOLERANCE:g} "),
        ("Breaking strength", f"below {CLOSE:g} times"),
        ("Intervals", f"from {FEWEST_OF_A_MEAN} images. Fewer than {FEWEST} images have none"),
        ("More images", f"below {FEWEST_TO_PLAN} images"),
        ("More images", f"a true difference d of {100 * SMALLEST:g} point "),
        ("Calibration", f"{BINS} bins"),
    ],
)
def test_numbers_are_those_of_the_code(title: str, words: str) -> None:
    assert words in methods.note(title)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("Breaking strength", f"on a grid of {STEPS} strengths"),
        ("95% confidence interval", f"fewer than {FEWEST} images are too few"),
    ],
)
def test_numbers_of_the_glossary_are_those_of_the_code(term: str, words: str) -> None:
    assert words in dict(methods.glossary())[term]


def test_a_report_has_the_notes_as_plain_paragraphs() -> None:
    told = [block.text for block in methods.blocks([], methods.MANY_IMAGES) if type(block) is Text]
    for title in methods.MANY_IMAGES:
        assert f"{title}. {methods.note(title)}" in told
    assert not any("#" in text or "`" in text for text in told)
