"""The view Map: the core's cells, filled, cancelled and opened in Live; the study below it."""

from __future__ import annotations

import math
import re
from html import escape, unescape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from robustness.measure.loop import evaluate
from robustness.measure.request import make_spec, study_conditions
from robustness.measure.strength import Break, sweep
from robustness.perturbations import REGISTRY
from robustness.report import strength
from robustness.report.maps import strip
from robustness.ui import cells as ui_cells
from robustness.ui.live import map
from robustness.ui.shared import LIMIT, ResultCache
from tests.support.bands import complete_band
from tests.support.pages import components, headline, html, run, sample, texts

TEN = [record.name for record in REGISTRY if record.in_study]


def drawn(app: AppTest) -> str:
    (shown,) = components(app, "map")
    return str(shown["html"])


def cells(app: AppTest) -> int:
    return drawn(app).count("<i ")


def test_the_map_has_the_cells_of_the_core_and_its_sentence() -> None:
    app = run(view="map", sample="chelsea", models="SqueezeNet")
    assert headline(app).startswith("On this image, ")
    made = [
        complete_band(sample("chelsea"), name).labelled("Egyptian cat")
        for name in ("fog", "rotation", "horizontal_flip")
    ]
    text = unescape(drawn(app))
    for band in made:
        of_whom = f"SqueezeNet 1.1, {REGISTRY[band.perturbation].label}"
        assert re.search(rf'aria-label="{of_whom}[^"]*: {re.escape(band.text)}"', text)
        assert escape(strip(band).tiles[1].title) in drawn(app)
    rows = re.findall(r'scope="row"[^>]*><img [^>]*><span>([^<]*)<', text)
    labels = [label.removesuffix(" =") for label in rows]
    assert {*labels} == {REGISTRY[name].label for name in TEN}
    order = [REGISTRY[name].label for name in strength.mean_breaks(made)]
    assert [label for label in labels if label in order] == order, "the earliest to break first"


def test_below_the_map_stands_the_study() -> None:
    app = run(view="map", sample="chelsea", models="SqueezeNet")
    kept = sum(
        row.consistent
        for row in evaluate(make_spec(["SqueezeNet"], study_conditions()), [sample("chelsea")])
    )
    assert f"SqueezeNet 1.1 kept its prediction under {kept} of 10 perturbations" in texts(app)
    assert "DenseNet121" in html(app), "the published figures stand there whatever was run"
    for name in TEN:
        assert escape(REGISTRY[name].label) in html(app)
    assert len(app.get("image")) == 11, "the original and the ten"


def test_in_detail_has_the_exact_breaking_strength() -> None:
    link = {"view": "map", "sample": "chelsea", "models": "SqueezeNet"}
    app = run(**link)
    assert "Breaking strengths" not in texts(app)
    app.selectbox(key="perturbation").set_value("fog").run()
    events = sweep(sample("chelsea"), ["fog"], ["SqueezeNet"])
    (exact,) = (event for event in events if isinstance(event, Break))
    assert f">{exact.strength:.3f}</td>" in html(app)
    app.segmented_control(key="quantity").set_value("cosine_rescaled").run()
    again = run(**{name: app.query_params[name] for name in app.query_params})
    assert again.selectbox(key="perturbation").value == "fog"
    assert again.segmented_control(key="quantity").value == "cosine_rescaled"


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui_cells, "RESULT_CACHE", ResultCache(LIMIT))


def test_a_long_map_waits_for_a_click_and_keeps_what_was_computed(
    empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map, "AT_ONCE_SECONDS", 0)
    app = run(view="map", sample="chelsea", models="SqueezeNet")
    before = cells(app)
    assert before < 5 * len(TEN)
    (button,) = (button for button in app.button if button.label == "Fill the map")
    button.click().run()
    assert cells(app) == sum(21 if REGISTRY[name].graded else 2 for name in TEN)
    assert not [button for button in app.button if button.label == "Fill the map"]
    app.segmented_control(key="rows").set_value("all").run()
    assert any(f"{len(REGISTRY)} perturbations and 1 model: about" in c.value for c in app.caption)
    assert drawn(app).count("<tr>") == 1 + len(REGISTRY)
    assert cells(app) >= sum(21 if REGISTRY[name].graded else 2 for name in TEN)


@pytest.fixture(autouse=True)
def begins_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is."""
    monkeypatch.setattr(map, "AT_ONCE_SECONDS", math.inf)


def test_models_of_other_classes_have_a_map_of_their_own(own_models: Path) -> None:
    app = run(view="map", sample="chelsea", models=["SqueezeNet", "digits"])
    maps = [shown["html"] for shown in components(app, "map")]
    assert ["My digits" in text for text in maps] == [False, True]
    assert ["SqueezeNet 1.1" in text for text in maps] == [True, False]
