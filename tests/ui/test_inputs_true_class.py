"""The true class of an image: on every page that asks models, in the link, and in the session."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.synthetic_runs import measurement
from robustness.images.decoding import sample_bytes
from robustness.measure.condition import Condition
from robustness.measure.labels import is_correct
from robustness.measure.strength import labelled
from robustness.models.record import imagenet
from tests.support.pages import html, run, sample


def signs(app: AppTest) -> set[str]:
    """The signs of all predictions on the page."""
    return set(re.findall(r'"(?: aria-hidden="true")?>([✓✗=≠])', html(app)))


@pytest.mark.usefixtures("few_cells")
@pytest.mark.parametrize("view", ["live", "map"])
def test_every_view_says_what_is_correct_by_the_class_of_the_sample_or_of_the_link(
    view: str,
) -> None:
    def opened(**link: str) -> AppTest:
        return run(view=view, models="SqueezeNet", perturbation="gaussian_blur", **link)

    known = opened(sample="chelsea")
    assert known.selectbox(key="shows").value == "Egyptian cat"
    assert signs(known)
    assert signs(known) <= {"✓", "✗"}
    if view != "live":
        return
    said = opened(sample="chelsea", shows="tench")
    assert said.selectbox(key="shows").value == "tench"
    assert signs(said) == {"✗"}
    unknown = opened(sample="rocket")
    assert unknown.selectbox(key="shows").value is None
    assert signs(unknown)
    assert signs(unknown) <= {"=", "≠"}


def test_an_attack_is_judged_by_the_true_class() -> None:
    link = {"attack": "pgd", "epsilon": "2", "steps_pgd": "2", "shows": "tench"}
    app = run(view="attack", sample="coffee", models="SqueezeNet", **link)
    assert app.selectbox(key="shows").value == "tench"
    assert "incorrect, changed" in html(app)
    assert "incorrect on the original" in html(app)


def test_a_class_stays_with_its_picture() -> None:
    app = run(sample="rocket", models="SqueezeNet")
    app.selectbox(key="shows").set_value("missile").run()
    app.button(key="choose_chelsea").click().run()
    assert app.selectbox(key="shows").value == "Egyptian cat"
    app.button(key="choose_rocket").click().run()
    assert app.selectbox(key="shows").value == "missile"
    app.file_uploader[0].upload("mine.png", sample_bytes("astronaut"), "image/png").run()
    mine = f"shows {sample('astronaut').digest}"
    assert app.selectbox(key=mine).value is None
    app.selectbox(key=mine).set_value("space shuttle").run()
    assert "space shuttle" not in str(app.query_params), "nobody else has this image"
    app.button(key="choose_rocket").click().run()
    assert app.selectbox(key="shows").value == "missile"


def test_one_click_on_a_top_class_makes_it_the_true_class() -> None:
    app = run(sample="rocket", models="SqueezeNet")
    first = app.button(key="likeliest class")
    assert first.label.removesuffix("?") in html(app), "the class that the model predicts"
    first.click().run()
    assert app.selectbox(key="shows").value == first.label.removesuffix("?")
    assert app.query_params["shows"] == app.selectbox(key="shows").value
    assert signs(app) == {"✓"}
    assert not [b for b in app.button if b.key == "likeliest class"]
    app.button(key="choose_chelsea").click().run()
    assert not [b for b in app.button if b.key == "likeliest class"], "it has a class"


def test_a_model_without_the_class_is_neither_correct_nor_incorrect() -> None:
    row = measurement("a", "a", "SqueezeNet", Condition.of({"fog": 0.6}), False)
    assert labelled(row, "no such class").label is None
    assert labelled(row, "285").label is None, "an index means another class to each model"
    assert labelled(row, "Egyptian cat").label == imagenet().names.index("Egyptian cat")
    assert labelled(labelled(row, "Egyptian cat"), None).label is None
    assert labelled("of another kind", "Egyptian cat") == "of another kind"
    assert is_correct(None, 3) is None
