"""The prose of the methods: its numbers are those of the code, and a run's report has its notes."""

from __future__ import annotations

import pytest

from robustness.attacks.attack_image import DRAWS
from robustness.evaluation import STEPS
from robustness.evaluation.breaking_strength_sweep import CLOSE, TOLERANCE
from robustness.metrics.proportion_and_difference_intervals import FEWEST, FEWEST_OF_A_MEAN
from robustness.models.model_and_weights_record import FIT_PHOTOGRAPHS
from robustness.report import methods_and_registry_tables
from robustness.report.blocks import Text
from robustness.statistics.calibration import BINS
from robustness.statistics.model_pairs_and_ranks import FEWEST_TO_PLAN
from robustness.statistics.paired_differences import SMALLEST


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Fit", f"on {FIT_PHOTOGRAPHS} labelled images, one per class"),
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
    assert words in methods_and_registry_tables.note(title)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("Breaking strength", f"on a grid of {STEPS} strengths"),
        ("95% confidence interval", f"fewer than {FEWEST} images are too few"),
    ],
)
def test_numbers_of_the_glossary_are_those_of_the_code(term: str, words: str) -> None:
    assert words in dict(methods_and_registry_tables.glossary())[term]


def test_a_report_has_the_notes_as_plain_paragraphs() -> None:
    told = [
        block.text
        for block in methods_and_registry_tables.blocks([], methods_and_registry_tables.MANY_IMAGES)
        if type(block) is Text
    ]
    for title in methods_and_registry_tables.MANY_IMAGES:
        assert f"{title}. {methods_and_registry_tables.note(title)}" in told
    assert not any("#" in text or "`" in text for text in told)
