"""The view Domain: what it finds is what Live shows at the link to which a card leads."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.base.text import share
from robustness.measure.condition import Condition
from robustness.measure.domain import domain_of
from robustness.measure.loop import evaluate
from robustness.measure.request import make_spec
from robustness.ui.evaluations import domain as domain_form
from tests.support.pages import components, headline, run, sample


def opened(model: str, **declared: object) -> AppTest:
    """The view on the coffee image with a file that declares a domain."""
    app = run(view="domain", domain="file", sample="coffee", models=model)
    file = domain_of({"name": "road", "min_accuracy": 0.7, **declared}).as_toml()
    app.session_state[domain_form._UPLOADED] = ("road.toml", file.encode())
    app.run()
    assert not app.exception
    return app


def click(app: AppTest, key: str) -> None:
    app.button(key=key).click().run()
    assert not app.exception


def test_a_card_leads_to_the_composition_that_changes_the_prediction() -> None:
    app = opened("EfficientNetLite0", ranges={"jpeg_compression": [0, 0.3], "fog": [0, 0.3]})
    click(app, "start Searching")
    found = headline(app)
    click(app, "play EfficientNetLite0")
    link = {name: app.query_params[name] for name in app.query_params}
    strengths = {name: float(str(link[name])) for name in ("fog", "jpeg_compression")}
    condition = Condition.of(strengths)
    (row,) = evaluate(make_spec(["EfficientNetLite0"], [condition]), [sample("coffee")])
    assert not row.consistent
    assert condition.short in found
    class_name = models.class_name("EfficientNetLite0", row.top1)
    assert f"{class_name}, {share(row.probability, 0)}" in found
    (stack,) = components(app, "stack")
    assert stack["plays"]
    assert [step["name"] for step in stack["steps"]] == [name for name, _ in condition.steps]
    (again,) = components(run(**link), "stack")
    assert again["steps"] == stack["steps"]
    assert not again["plays"], "a link opens on what it shows"


def test_where_nothing_breaks_the_image_one_sentence_says_so() -> None:
    app = opened("SqueezeNet", ranges={"fog": [0, 0.01], "darkness": [0, 0.01]})
    click(app, "start Searching")
    assert headline(app) == "Nothing tried within road changes SqueezeNet 1.1."


def test_a_domain_of_another_framing_is_not_searched_in_that_of_the_page() -> None:
    app = opened("SqueezeNet", ranges={"fog": [0, 0.1], "darkness": [0, 0.1]}, fit="squash")
    assert "the fit squash" in " ".join(element.value for element in app.info)
    assert "start Searching" not in {button.key for button in app.button}
