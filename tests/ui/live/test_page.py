"""The Live page: what its link, its stack and whoever says what the image shows bring about."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness.images.pixels import to_uint8
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate
from robustness.measure.request import make_spec
from robustness.models import own
from robustness.perturbations import REGISTRY, compose, ordered
from robustness.report.image import link_values
from robustness.ui import components, shared
from robustness.ui.live import stack as live_stack
from robustness.ui.live.stack import Stack, StackStep
from tests.support.pages import components as given
from tests.support.pages import headline, html, on, perturb, pictures, run, sample


def test_a_first_visit_has_something_to_look_at_and_a_link_with_nothing_has_nothing_on() -> None:
    first = run()
    assert on(first) == live_stack.FIRST
    assert first.query_params == {name: f"{value:g}" for name, value in live_stack.FIRST.items()}
    assert on(run(sample="coffee", models="SqueezeNet")) == {}


def test_the_page_shows_what_the_core_computes_of_the_link() -> None:
    link = {"fog": 0.5, "gaussian_noise": 0.2, "horizontal_flip": 1.0}
    app = run(sample="coffee", models="SqueezeNet", fog="0.5", gaussian_noise="0.2", seed="3")
    app.query_params["horizontal_flip"] = "true"
    app.run()
    picture = sample("coffee")
    assert list(on(app)) == [record.name for record, _ in ordered(link)], "as they are applied"
    header, (before, after) = pictures(app)
    expected = compose(picture.image[None], link, seed=3, digests=[picture.digest])[0]
    for png, image in ((before, picture.image), (after, expected)):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), to_uint8(image))
    assert (header["before"], header["after"]) == ("Original", "Perturbed")
    assert header["altAfter"] == f"Perturbed image: {Condition.of(link).label}"
    (row,) = evaluate(make_spec(["SqueezeNet"], [Condition.of(link)], seed=3), [picture])
    assert f"{row.probability:.1%}" in html(app)
    assert headline(app).startswith(REGISTRY[next(iter(on(app)))].label)


def test_a_calibrated_model_is_shown_with_its_own_probability(models_folder: Path) -> None:
    (models_folder / "models.toml").write_text('[calm]\nof = "SqueezeNet"\ntemperature = 1.7\n')
    own.refresh()
    app = run(sample="coffee", models=["SqueezeNet", "calm"], fog="0.5")
    assert not app.exception
    spec = make_spec(["SqueezeNet", "calm"], [Condition.of({"fog": 0.5})])
    base, calm = evaluate(spec, [sample("coffee")])
    assert base.top1 == calm.top1
    assert base.probability > calm.probability
    assert f"{calm.probability:.1%}" in html(app)


def test_the_pictures_are_drawn_before_any_answer_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    pair, answers = components.pair, shared.answers

    def drawn(*given: Any) -> None:
        seen.append("pictures")
        pair(*given)

    def told(*given: Any) -> Iterator[Any]:
        for answer in answers(*given):
            seen.append("answer")
            yield answer

    monkeypatch.setattr(components, "pair", drawn)
    monkeypatch.setattr(shared, "answers", told)
    run(sample="coffee", fog="0.3", models="SqueezeNet")
    assert seen[:2] == ["pictures", "answer"]


def test_a_link_that_means_no_strength_is_said_and_the_rest_holds() -> None:
    link = {"fog": "strong", "brightness": "7", "vertical_flip": "no", "darkness": "0.25"}
    app = run(sample="rocket", models="SqueezeNet", **link)
    assert on(app) == {"darkness": 0.25}
    said = [warning.value.replace("\\", "") for warning in app.warning]
    assert len(said) == 3
    assert any("fog=strong" in text for text in said)
    assert any("brightness=7" in text for text in said)
    assert any("vertical_flip=no" in text and "true or false" in text for text in said)
    assert not perturb(app, fog=0.5).warning


def test_an_odd_link_is_no_fault_and_says_what_it_ignores() -> None:
    odd = run(
        sample="../../etc/passwd",
        models="SqueezeNet",
        fog="nan",
        seed="-1",
        fit="stretch",
        side="9999",
        shows="no class",
    )
    assert on(odd) == {}
    said = " ".join(warning.value.replace("\\", "") for warning in odd.warning)
    for sentence in ("There is no sample called", "fit=stretch", "side=9999", "shows=no class"):
        assert sentence in said


@pytest.mark.parametrize(
    "given",
    [
        None,
        "fog",
        [None, 3, [], {}],
        [{"name": "no such", "strength": 0.5}],
        [{"name": "fog"}],
        [{"name": "fog", "strength": "0.5"}],
        [{"name": ["fog"], "strength": 0.5}],
        [{"name": "fog", "strength": 1.5}],
        [{"name": "fog", "strength": float("nan")}],
        [{"name": "fog", "strength": -0.1}],
    ],
)
def test_what_a_browser_reports_is_no_step_unless_it_is_one(given: Any) -> None:
    assert live_stack.checked(given) == []


def test_a_link_says_what_is_on_and_is_read_back_as_it() -> None:
    steps = [StackStep(record.name, components.first_strength(record)) for record in REGISTRY]
    stack = Stack((*steps[:-1], StackStep(steps[-1].name, 0.5, hidden=True)))
    query = link_values(stack.condition)
    assert live_stack._steps_of(query) == live_stack._in_order(steps[:-1])
    assert link_values(Stack((StackStep("fog", 0.0),)).condition) == {}


@pytest.mark.parametrize("record", REGISTRY, ids=lambda record: record.name)
def test_every_perturbation_can_be_put_on_and_says_what_it_is_worth(record: Any) -> None:
    strength = components.first_strength(record)
    assert 0 < strength <= 1
    assert live_stack.said(StackStep(record.name, strength))
    assert live_stack.said(StackStep(record.name, 0.0)).startswith("off")
    marked = {mark["value"] for mark in components.marks(record)}
    assert marked >= set(record.severity_strengths)
    assert not record.in_study or not record.graded or record.study_strength in marked


def test_thumbnails_are_each_perturbation_of_this_picture() -> None:
    uris = live_stack.thumbnail_uris(sample("coffee"))
    assert list(uris) == list(REGISTRY.names)
    sides = {
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size
        for uri in uris.values()
    }
    assert sides == {(live_stack.SIDE, live_stack.SIDE)}
    assert live_stack.thumbnail_uris(sample("rocket")) != uris
    (shown,) = given(run(sample="coffee", models="SqueezeNet"), "stack")
    assert shown["thumbs"] == "", "until somebody searches"
