"""Where the models look, on the page: only once asked for."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.images.pixels import to_png
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.models import heat_map as explain
from robustness.ui import draw
from tests.support.pages import components, html, maps, run, sample


def cards(app: AppTest) -> list[str]:
    (found,) = components(app, "answers")
    return list(found["cards"])


def test_the_switch_shows_the_clean_class_and_the_new_one() -> None:
    names = ["SqueezeNet", "EfficientNetLite0"]
    condition = Condition.of({"exposure": 0.5})
    picture = sample("coffee")
    images = np.stack([picture.image, perturbed(picture, [condition], 0)[0]])
    app = run(sample="coffee", exposure="0.5", models=names, attention="false")
    assert not maps(app)
    before = cards(app)
    app.toggle(key="attention").set_value(True).run()
    assert cards(app) == before
    assert len(before) == 2
    assert not app.exception
    expected = []
    for name in names:
        tops = models.load(name)(images).probabilities.argmax(1)
        classes = list(dict.fromkeys(tops.tolist()))
        expected += classes
        for index in classes:
            label = models.class_name(name, index)
            assert f"Evidence for <b>{label}</b>" in html(app)
        found = explain.heat_maps(
            models.load(name), np.concatenate([images] * len(classes)), np.repeat(classes, 2)
        )
        views = draw.looking(name, images, classes).cached or []
        assert len(views) == 2 * len(classes)
        for n, view in enumerate(views):
            assert view.png == to_png(explain.overlay(images[n % 2], found.relative[n]))
            assert view.peak == pytest.approx(found.relative[n].max())
        assert max(view.peak for view in views) == 1
    assert len(expected) == 3  # one model changes its answer, the other does not
    assert len(maps(app)) == 6
    assert [text.split(":")[0] for text in maps(app)] == ["Original", "Perturbed"] * 3
