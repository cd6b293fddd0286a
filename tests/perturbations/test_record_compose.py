"""The driver of the perturbations: what it refuses, and how several compose."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images.framing import Framing, image_digest, study_image
from robustness.images.pixels import round_to_grid, to_png
from robustness.perturbations import REGISTRY, Stage, apply, compose, ordered
from tests.support.oracles import photos


@pytest.mark.parametrize("strength", [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_strength_out_of_range_is_refused_with_a_sentence(strength: float) -> None:
    images = photos("coffee")
    sentence = r"A strength must lie between 0 .* and 1 .*, got .*\."
    with pytest.raises(ParameterError, match=sentence):
        apply(REGISTRY["fog"], images, strength)
    with pytest.raises(ParameterError, match=sentence):
        compose(images, {"fog": strength})


def test_unknown_name_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(UnknownNameError) as caught:
        compose(photos("coffee"), {"gausian_blur": 0.5})
    message = str(caught.value)
    assert "no perturbation called 'gausian_blur'" in message
    assert "Did you mean 'gaussian_blur'?" in message
    assert all(name in message for name in REGISTRY.names)


def test_too_few_digests_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        apply(REGISTRY["fog"], photos("coffee", "chelsea"), 0.5, digests=["one"])


def test_composition_ignores_the_order_of_the_mapping() -> None:
    images = photos("chelsea")
    strengths = {"salt_and_pepper": 0.3, "rotation": 0.2, "fog": 0.4, "defocus_blur": 0.5}
    results = [compose(images, dict(order)) for order in permutations(strengths.items())]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_composition_runs_from_the_scene_to_the_sensor() -> None:
    steps = ordered(dict.fromkeys(reversed(REGISTRY.names), 0.5))
    stages = [record.stage for record, _ in steps]
    assert stages == sorted(stages)
    assert stages[0] == Stage.SCENE
    place = {name: index for index, name in enumerate(REGISTRY.names)}
    for (first, _), (second, _) in pairwise(steps):
        assert first.stage < second.stage or place[first.name] < place[second.name]


def test_composition_applies_each_step_with_the_stream_of_the_clean_image() -> None:
    images = photos("chelsea")
    digests = [image_digest(images[0])]
    dark = apply(REGISTRY["increased_contrast"], images, 0.5)
    expected = apply(REGISTRY["gaussian_noise"], dark, 0.6, seed=3, digests=digests)
    both = compose(images, {"gaussian_noise": 0.6, "increased_contrast": 0.5}, seed=3)
    np.testing.assert_array_equal(both, round_to_grid(expected))


@pytest.mark.parametrize("name", ["brightness", "gaussian_noise", "rotation", "webp_compression"])
def test_what_is_composed_is_the_picture_that_a_file_holds(name: str) -> None:
    """Bit by bit: a PNG of it, read back by the way that images come in, is the same."""
    images = photos("coffee")
    for strengths in ({name: 0.3}, {name: 1.0}, {name: 0.5, "gaussian_blur": 0.6, "fog": 0.1}):
        result = compose(images, strengths, seed=2)
        read = study_image(to_png(result[0]), Framing("squash"))
        np.testing.assert_array_equal(read, result[0])


def test_composing_nothing_copies() -> None:
    images = photos("coffee")
    unchanged = [compose(images, nothing) for nothing in ({}, {"fog": 0.0, "rotation": 0.0})]
    for result in (*unchanged, apply(REGISTRY["fog"], images, 0.0)):
        np.testing.assert_array_equal(result, images)
        assert not np.shares_memory(result, images)
