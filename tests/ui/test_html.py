"""No name, title or file of others is read as a tag: the HTML of the pages escapes all of it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from benchmarks.support.synthetic_runs import measurement
from robustness import models
from robustness.base.errors import ImageError, RobustnessError
from robustness.images.framing import Picture
from robustness.measure.condition import Condition
from robustness.report import failures
from robustness.runs import Run
from robustness.ui import draw
from robustness.ui.html import html
from robustness.ui.live.held import answer_cards
from robustness.ui.live.request import LiveRequest
from tests.support.pages import sample

HOSTILE = """</b><script src='x'>"&amp; <img src=x onerror="y">"""
FOG = Condition.of({"fog": 0.6})


def assert_escaped(made: str, times: int) -> None:
    """``HOSTILE`` stands in it ``times``, as text alone, and whatever was escaped was so once."""
    assert not re.search(r"<script|<img|onerror=\"", made)
    assert unescape(made).count(HOSTILE) == times
    assert all(word.count('"') % 2 == 0 for word in re.findall("<[^>]*>", made))


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """All models and all classes are called ``HOSTILE``."""
    monkeypatch.setattr(models, "label", lambda name: HOSTILE)
    monkeypatch.setattr(models, "class_name", lambda name, index: HOSTILE)


def test_plain_parts_are_escaped() -> None:
    assert_escaped(draw.headline(HOSTILE), 1)
    assert_escaped(draw.html_table([HOSTILE, "b"], [[HOSTILE, HOSTILE]]), 5)


def test_a_headline_keeps_names_whole_unless_they_are_endless() -> None:
    endless = f"{'endless-' * 20}name"
    made = draw.headline(f"EfficientNet-Lite0 is faster than  {endless}.")
    assert '<span class="rb-whole">EfficientNet-Lite0</span> is faster than  endless-' in made
    assert made.count("<span") == 1


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("stays", [True, False])
def test_a_card_escapes_the_model_its_classes_and_its_second_heading(stays: bool) -> None:
    row = measurement(HOSTILE, "digest", "SqueezeNet", FOG, stays)
    made = draw.card(row, HOSTILE)
    # the model, the heading, ten bars with a title each, and the classes of the verdict
    assert_escaped(made, 2 + 1 + 20 + (1 if stays else 3))
    asked = LiveRequest(sample("coffee"), FOG, ("SqueezeNet", "VGG16"), 0, HOSTILE)
    assert_escaped(answer_cards(asked, {"SqueezeNet": row}).rows, 4)
    failed = RobustnessError(HOSTILE)
    assert_escaped(answer_cards(asked, {"SqueezeNet": failed}).cards[0], 2)
    assert_escaped(answer_cards(asked, {"SqueezeNet": failed}).rows, 3)


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("stays", [True, False])
def test_a_case_escapes_the_picture_the_model_and_its_classes(stays: bool) -> None:
    row = measurement(HOSTILE, "digest", "SqueezeNet", FOG, stays, labelled=True)

    class Gone(Run):
        def picture_for(self, name: str, model: str) -> Picture:
            raise ImageError(HOSTILE)

    case = failures.case(Gone(Path(), None, ()), row.as_row())  # type: ignore[arg-type]
    # the model, the image, the class of the label, the error, and the classes of the predictions
    assert_escaped(html("case", case=case), 4 + (1 if stays else 3))
