"""The Adversarial page, without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.attacks import REGISTRY, Attack, AttackSpec, Outcome, craft, curves
from robustness.attacks.curves import Smallest, smallest_epsilon
from robustness.charts.verdict import judged
from robustness.models import Classifier
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.report.attack import attacked
from robustness.ui.adversarial import studies
from robustness.ui.adversarial.request import FIRST_EPSILON, FIRST_SAMPLE
from robustness.ui.computation import cache
from robustness.ui.computation import progress as work
from robustness.ui.computation.cache import ResultCache
from robustness.ui.display import explanations
from tests.support.pages import PATIENCE, headline, html, pictures, run, sample
from tests.support.places import ROOT

PAGE = ROOT / "pages" / "adversarial.py"


def opened(**query: str) -> AppTest:
    """The page on the coffee image, SqueezeNet attacked in few steps."""
    app = run(PAGE, **{"sample": "coffee", "models": "SqueezeNet", "steps_pgd": "4", **query})
    assert not app.exception
    return app


@pytest.fixture(scope="module")
def apart() -> ResultCache:
    """Keeps what is found with few draws, which is not what other pages would find."""
    return ResultCache(cache.LIMIT)


@pytest.fixture
def few_draws(apart: ResultCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is tried four times: for tests that are not about it."""
    monkeypatch.setattr("robustness.attacks.attack_image.DRAWS", 4)
    for module in (cache, work, explanations):
        monkeypatch.setattr(module, "RESULT_CACHE", apart)


def captions(app: AppTest) -> str:
    return " ".join(element.value for element in app.caption)


def charts(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def test_it_shows_what_the_core_finds() -> None:
    app = opened(epsilon="2")
    spec = AttackSpec.of("pgd", epsilon=2 / 255, steps=4)
    *_, found = craft(sample("coffee"), models.load("SqueezeNet"), spec)
    assert isinstance(found, Outcome)
    assert headline(app) == escape(attacked(found, []))
    assert "succeeds on SqueezeNet 1.1" in headline(app)
    assert f">{found.l2:.3g}</td>" in html(app)
    assert f"SSIM {found.ssim:.3f} (1 is identical)" in pictures(app)[0]["text"]
    assert "0 of 16 random changes" in app.success[0].value
    assert "Noise</th>" in html(app)
    assert "Adversarial</th>" in html(app)


def test_a_first_visit_shows_an_attack_that_is_news() -> None:
    """It errs by far, and no noise of that size does it; so does another bundled model."""
    app = run(PAGE)
    assert app.query_params == {"sample": "coffee", "epsilon": "2"}
    assert re.search("espresso .* consomme", headline(app))
    assert "0 of 16 random changes" in app.success[0].value
    spec = AttackSpec.of("pgd", epsilon=FIRST_EPSILON / 255)
    *_, found = craft(sample(FIRST_SAMPLE), models.load("EfficientNetLite0"), spec)
    assert isinstance(found, Outcome)
    assert found.beats_noise
    assert found.probability > 0.9


def test_the_first_settings_leave_links_and_pictures_alone(few_draws: None) -> None:
    linked = run(PAGE, sample="chelsea", models="SqueezeNet", steps_pgd="1")
    assert linked.session_state["epsilon"] == 8, "what such a link has always meant"
    linked.query_params["epsilon"] = "4"
    assert linked.run().session_state["epsilon"] == 4
    come = AppTest.from_file(str(PAGE), default_timeout=PATIENCE)
    come.session_state["page"] = "Live robustness check"
    come.query_params["models"] = "SqueezeNet"
    come.query_params["steps_pgd"] = "1"
    come.run()
    assert come.session_state["epsilon"] == FIRST_EPSILON
    assert "sample" not in come.query_params, "the image is that of the other page"
    del come.query_params["epsilon"]
    assert come.run().session_state["epsilon"] == 8


def test_the_link_sets_the_attack_and_nonsense_in_it_is_ignored(
    few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY._records, "pgd", replace(REGISTRY["pgd"], steps=2))
    app = opened(attack="FGSM", norm="L2", epsilon="2", epsilon_l2="1", target="tench", seed="3")
    assert "epsilon" not in app.query_params, "of another norm"
    assert app.selectbox(key="attack").value == "fgsm"
    assert app.selectbox(key="target").value == "tench"
    assert app.select_slider(key="epsilon_l2").value == 1
    app.segmented_control(key="norm").set_value("linf").run()
    assert "epsilon_l2" not in app.query_params
    app.segmented_control(key="norm").set_value("l2").run()
    assert app.query_params["epsilon_l2"] == "1", "it comes back"
    odd = opened(attack="magic", norm="l7", epsilon="9", target="no such thing", steps_pgd="-4")
    assert not odd.error
    assert odd.selectbox(key="attack").value == REGISTRY.names[0]
    assert odd.selectbox(key="target").value is None


def _kind(record: Attack) -> tuple[object, ...]:
    """What the page asks of an attack."""
    return (
        *(record.white_box, record.targeted, record.random, record.minimal, record.norms),
        *(record.most_steps == 1, bool(record.members)),
    )


KINDS = {_kind(record): record.name for record in reversed([*REGISTRY])}
"""The first attack of each kind."""


@pytest.mark.parametrize("name", KINDS.values())
def test_every_kind_of_attack_runs(few_draws: None, name: str) -> None:
    app = opened(attack=REGISTRY[name].label, **{f"steps_{name}": "1"})
    assert not app.error
    assert REGISTRY[name].label in headline(app)


def test_a_target_is_reached_or_said_to_be_missed(few_draws: None) -> None:
    assert "→ tench" in headline(opened(target="tench", steps_pgd="10"))
    missed = headline(opened(target="tench", epsilon="1", steps_pgd="1"))
    assert "fails on SqueezeNet 1.1" in missed


def test_epsilon_0_changes_nothing_and_the_clean_class_is_no_target() -> None:
    app = opened(epsilon="0")
    assert "fails on SqueezeNet 1.1" in headline(app)
    assert "both images are identical" in pictures(app)[0]["text"]
    refused = opened(target="espresso")
    assert "already" in refused.error[0].value


def test_the_smallest_epsilon_is_the_core_s(
    classifiers: Mapping[str, Classifier], few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "COUNTERPART", {True: ("square", 3)})
    few = {"linf": (0.25 / 255, 1 / 255, 4 / 255)}
    for module in (curves, studies):
        monkeypatch.setattr(module, "EPSILONS", few)
    app = opened()
    assert not charts(app)
    assert app.selectbox(key="strength_attack").value == studies.STRONGEST
    assert app.number_input(key="strength_steps_apgd").value == REGISTRY["apgd"].steps
    assert app.number_input(key="strength_restarts").value == 1
    app.selectbox(key="strength_attack").set_value("pgd").run()
    app.button(key="start Finding the smallest epsilon").click().run()
    assert not app.exception
    (chart,) = charts(app)
    assert chart["data"][0]["name"] == "SqueezeNet 1.1"
    assert chart["data"][0]["y"][0] == pytest.approx(0.937, abs=0.002)
    spec = AttackSpec.of("pgd", steps=4)
    *_, found = smallest_epsilon(sample("coffee"), classifiers["SqueezeNet"], spec)
    assert isinstance(found, Smallest)
    assert found.epsilon is not None
    assert f">{255 * found.epsilon:.2g}/255</td>" in html(app)
    assert "PGD succeeds" in captions(app)
    assert "No sign of gradient masking" in captions(app)


def test_transfer_is_judged_by_every_model(few_draws: None) -> None:
    app = opened(models="SqueezeNet", steps_pgd="2")
    assert "more than one model" in captions(app)
    app.multiselect(key="models").set_value(["SqueezeNet", "EfficientNetLite0"]).run()
    app.button(key="start Transfer").click().run()
    assert not app.exception
    (chart,) = charts(app)
    marks = np.array(chart["data"][0]["text"])
    assert marks.shape == (2, 2)
    assert all(mark.startswith(judged(False, False).sign) for mark in marks.diagonal())
    assert "of 2 cases" in " ".join(element.value for element in app.markdown)


def test_a_perturbation_of_the_adversarial_picture_is_judged_beside_the_original(
    few_draws: None,
) -> None:
    app = opened(epsilon="1", undo=PERTURBATIONS["gaussian_blur"].label, undo_strength="0.6")
    assert "Adversarial + Gaussian blur" in html(app)
    assert "Undone?" in html(app)
    before = html(app)
    app.query_params["undo_strength"] = "0.0"
    app.run()
    assert html(app) != before
    assert ">no</td>" in html(app)
