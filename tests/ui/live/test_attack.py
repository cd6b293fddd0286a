"""The view Attack, without a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape

import pytest
from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.attacks import REGISTRY, Attack, AttackSpec, Outcome, craft
from robustness.attacks.image import Smallest, smallest_epsilon
from robustness.models import Classifier
from robustness.report.image import attack_answer
from robustness.ui import jobs as work
from robustness.ui import shared
from robustness.ui.live import attack
from robustness.ui.live.attack import FIRST
from robustness.ui.shared import ResultCache
from tests.support.pages import headline, html, pictures, run, sample


def opened(**query: str) -> AppTest:
    """The page on the coffee image, SqueezeNet attacked in few steps."""
    link = {"sample": "coffee", "models": "SqueezeNet", "attack": "pgd", "steps_pgd": "4"}
    app = run(view="attack", **{**link, **query})
    assert not app.exception
    return app


@pytest.fixture(scope="module")
def apart() -> ResultCache:
    """Keeps what is found with few draws, which is not what other pages would find."""
    return ResultCache(shared.LIMIT)


@pytest.fixture
def few_draws(apart: ResultCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is tried four times: for tests that are not about it."""
    monkeypatch.setattr("robustness.attacks.image.DRAWS", 4)
    for module in (shared, work):
        monkeypatch.setattr(module, "RESULT_CACHE", apart)


def captions(app: AppTest) -> str:
    return " ".join(element.value for element in app.caption)


def markdown(app: AppTest) -> str:
    return " ".join(element.value for element in app.markdown)


def test_it_shows_what_the_core_finds() -> None:
    app = opened(epsilon="2")
    spec = AttackSpec.of("pgd", epsilon=2 / 255, steps=4)
    *_, found = craft(sample("coffee"), models.load("SqueezeNet"), spec)
    assert isinstance(found, Outcome)
    assert headline(app) == escape(attack_answer(found, []))
    assert "fools SqueezeNet 1.1" in headline(app)
    assert f">{found.l2:.3g}</td>" in html(app)
    assert f"SSIM {found.ssim:.3f} (1 is identical)" in pictures(app)[0]["text"]
    assert any("none fools it" in caption.value for caption in app.caption)
    assert not app.success
    assert "0 of 16 (0% to 21%)" in html(app), "with its interval in the table"
    assert html(app).count("<li><b>") == 1, "one line per model"
    assert 'class="rb-top5' not in html(app), "the classes are in detail"


def test_it_opens_with_a_simple_attack_that_is_news() -> None:
    """No noise of that size does it. The other attacks and the effort are advanced."""
    app = run(view="attack", models="SqueezeNet")
    assert app.selectbox(key="attack").value == "apgd"
    assert "fools SqueezeNet 1.1" in headline(app)
    assert any("none fools it" in caption.value for caption in app.caption)
    assert not app.success
    assert app.selectbox(key="attack").options == [REGISTRY[name].label for name in FIRST]
    assert not app.toggle(key="advanced").value
    app.toggle(key="advanced").set_value(True).run()
    assert len(app.selectbox(key="attack").options) == len(REGISTRY)
    app.number_input(key="steps_apgd").set_value(1).run()
    app.toggle(key="advanced").set_value(False).run()
    assert {*app.query_params} == {"view", "models", "gaussian_blur"} - {"gaussian_blur"}


def test_the_link_sets_the_attack_and_nonsense_in_it_is_ignored(
    few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY._records, "pgd", replace(REGISTRY["pgd"], steps=2))
    app = opened(attack="fgsm", norm="l2", epsilon="2", epsilon_l2="1", target="tench", seed="3")
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
    assert odd.selectbox(key="attack").value == FIRST[0]
    assert odd.selectbox(key="target").value is None


def _kind(record: Attack) -> tuple[object, ...]:
    """The attack of the page's request."""
    return record.white_box, record.minimal, record.most_steps == 1, bool(record.members)


KINDS = {_kind(record): record.name for record in reversed([*REGISTRY])}
"""The first attack of each kind."""


@pytest.mark.parametrize("name", KINDS.values())
def test_every_kind_of_attack_runs(few_draws: None, name: str) -> None:
    app = opened(attack=name, **{f"steps_{name}": "1"})
    assert not app.error
    assert REGISTRY[name].label in html(app)


def test_the_smallest_epsilon_is_the_core_s(
    classifiers: Mapping[str, Classifier], few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack, "QUERIES", 3)
    monkeypatch.setattr(attack, "STRONGEST", "pgd")
    app = opened()
    app.button(key="start Finding the smallest epsilon").click().run()
    assert not app.exception
    spec = AttackSpec.of("pgd", steps=4)
    *_, found = smallest_epsilon(sample("coffee"), classifiers["SqueezeNet"], spec)
    assert isinstance(found, Smallest)
    assert found.epsilon is not None
    assert f">{255 * found.epsilon:.2g}/255</td>" in html(app)
    assert "No sign of gradient masking" in captions(app)


def test_transfer_is_judged_by_every_model(few_draws: None) -> None:
    app = opened(models="SqueezeNet", steps_pgd="2")
    assert "more than one model" in captions(app)
    app.multiselect(key="models").set_value(["SqueezeNet", "EfficientNetLite0"]).run()
    app.button(key="start Transfer").click().run()
    assert not app.exception
    assert html(app).count(">yes</td>") >= 2, "each is fooled by its own"
    assert "of 2 attacks transfer" in markdown(app)
