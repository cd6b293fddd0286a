"""What would help: remedies of the current image in the view Live."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import robustness as rb
from robustness import models
from robustness.images.pixels import to_uint8
from robustness.perturbations import compose
from robustness.plugins import loading
from robustness.remedies import REGISTRY, parse
from tests.support.pages import components, headline, html, pictures, run, sample


def noisy_page(remedy: str = "") -> AppTest:
    return run(sample="coffee", models="SqueezeNet", impulse_noise="0.6", remedy=remedy)


def test_a_remedy_in_the_link_is_a_third_image_with_its_predictions() -> None:
    app = noisy_page(remedy="median")
    assert not app.exception
    header, (_, after, remedied) = pictures(app)
    picture = sample("coffee")
    noisy = compose(picture.image[None], {"impulse_noise": 0.6}, digests=[picture.digest])
    expected = parse("median").images(noisy)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(remedied))), to_uint8(expected[0])
    )
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(after))), to_uint8(noisy[0]))
    assert header["remedied"].endswith(parse("median").label)
    assert f"with {parse('median').label}" in headline(app)
    answer = models.load("SqueezeNet", side=224).with_remedies("median")(noisy).probabilities[0]
    for told in html(app).split(f"With {parse('median').label}:")[
        1:
    ]:  # beside the images, on a card
        assert models.class_name("SqueezeNet", int(answer.argmax())) in told
        assert re.search(rf"{answer.max():.0%}|{answer.max():.1%}", told)


@pytest.fixture
def failing() -> Iterator[str]:
    """The name of a plugin's remedy that fails."""

    @rb.remedy_plugin()
    def bad_one(image: Any) -> Any:
        raise ValueError("no such luck")

    yield "bad_one"
    loading.forget(bad_one.__module__)


def test_a_remedy_that_fails_leaves_the_images_and_says_why(failing: str) -> None:
    app = noisy_page(remedy=failing)
    assert not app.exception
    assert len(pictures(app)[1]) == 2
    assert "ValueError: no such luck" in html(app).split("With Bad one")[1]
    assert "def remedied" not in str([each.value for each in app.code])


def test_every_remedy_is_offered_with_its_prediction_and_correct_ones_come_first() -> None:
    app = noisy_page(remedy="median")
    (offered,) = components(app, "remedies")
    cards = offered["cards"]
    assert offered["chosen"] == "median"
    alone = [parse(record.name) for record in REGISTRY if record.range is None]
    assert {card["id"] for card in cards} == {c.id for c in alone if not c.several_models}
    good = [card["lines"][0]["tone"] in ("correct", "unchanged") for card in cards]
    assert good == sorted(good, reverse=True)
    assert any(good)
    assert not all(good)


def test_a_link_to_a_remedy_that_one_image_cannot_show_says_so() -> None:
    for text in ("medain", "abstain", "average"):
        app = noisy_page(remedy=text)
        assert not app.exception
        assert len(pictures(app)[1]) == 2
        assert app.warning
