"""The Models page, and one's own models on the other pages, without a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness import models
from robustness.models import check
from robustness.models.check import check_model
from tests.conftest import OFFLINE_NAMES
from tests.support.pages import headline, html, perturb, run
from tests.support.user_models import DIGITS, describe

# Keras' own writer of the .keras file.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MODELS = ROOT / "pages" / "models.py"


def table(app: AppTest) -> pd.DataFrame:
    return app.dataframe[0].value.set_index("Model")


def sentences(app: AppTest) -> str:
    return " ".join(element.value.replace("\\", "") for element in (*app.error, *app.warning))


def test_every_model_is_listed_with_what_is_published_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    app = run(MODELS)
    assert headline(app) == f"4 of {len(models.REGISTRY)} models are ready on this machine."
    states = table(app)["State"]
    published = table(app.segmented_control(key="view").set_value("published").run())
    app.segmented_control(key="view").set_value("weights").run()
    assert set(states.index) == set(published.index) == {r.label for r in models.REGISTRY}
    for record in models.REGISTRY:
        row = published.loc[record.label]
        assert row["Family"] == record.family
        assert row["Year"] == record.year
        ready = record.name in OFFLINE_NAMES
        assert states[record.label] == ("ready" if ready else "not downloaded")
        for column, figure in (("Top-1", record.published.top1), ("mCE", record.published.mce)):
            assert row[column] == figure or (figure is None and pd.isna(row[column]))
        if record.weights.url and not record.weights.files:
            assert app.button(key=f"download_{record.name}")
            assert record.weights.digest in html(app)
    assert "✗" not in html(app), "nothing is wrong with what is not downloaded"
    assert "needs the package" in sentences(app) or app.button(key="download_ViTB16")


@pytest.fixture
def unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model was checked yet."""
    monkeypatch.setattr(check, "_file", lambda record: tmp_path / f"{record.name}.json")


def test_the_last_check_of_each_model_is_in_its_row(
    unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = OFFLINE_NAMES[:2]
    records = {name: models.REGISTRY[name] for name in ("VGG16", *ready)}
    monkeypatch.setattr(models.REGISTRY, "_records", records)
    app = run(MODELS)
    assert "Check" not in table(app)
    assert "2 ready models not checked yet." in [caption.value for caption in app.caption]
    app.button(key="check_models").click().run()
    assert not app.exception
    for page in (app, run(MODELS)):
        rows = table(page)
        for name in ready:
            row = rows.loc[models.REGISTRY[name].label]
            assert (row["Check"], row["Known images"]) == ("✓ ok", "3 of 3")
            assert row["Latency"] > 0
        assert rows["Check"].dropna().tolist() == ["✓ ok", "✓ ok"]
        assert not sentences(page)
    found = check_model(ready[0])
    answers = (replace(found.answers[0], top1="tench"), *found.answers[1:])
    record = models.REGISTRY[ready[0]]
    check.keep_check(record, replace(found, state="wrong", answers=answers))
    app = run(MODELS)
    row = table(app).loc[record.label]
    assert (row["Check"], row["Known images"]) == ("✗ wrong", "2 of 3")
    assert "coffee: expected espresso 93.7%, got tench 93.7%." in sentences(app)


def test_a_check_that_could_not_be_made_is_not_a_wrong_answer(
    unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = replace(models.REGISTRY["SqueezeNet"], name="Large", label="Large")
    monkeypatch.setattr(models.REGISTRY, "_records", {"Large": record})
    monkeypatch.setenv("ROBUSTNESS_MEMORY", "1MB")
    app = run(MODELS)
    app.button(key="check_models").click().run()
    assert table(app).loc["Large", "Check"] == "✗ failed"
    assert "raise the setting" in sentences(app)


def test_ones_own_model_answers_on_the_live_page(own_models: Path) -> None:
    app = run(sample="coffee", models="digits", fog="0.4")
    assert not app.error
    assert "My digits" in html(app)
    assert sum(name in html(app) for name in DIGITS) >= 5
    assert headline(app).startswith("Fog effect: ")


def test_a_title_that_is_the_name_of_another_model_takes_nothing_from_its_links(
    own_models: Path,
) -> None:
    describe(own_models, path="digits.onnx", output="logits", title="SqueezeNet")
    chosen = run(ROOT / "pages" / "evaluations.py", models="SqueezeNet").multiselect(key="models")
    assert chosen.value == ["SqueezeNet"]
    assert {"SqueezeNet 1.1", "digits"} < set(chosen.options)


def test_a_model_that_turns_out_unusable_is_named_and_the_others_answer(own_models: Path) -> None:
    (own_models / "digits.onnx").write_bytes(b"no model")
    describe(own_models, path="digits.onnx", output="logits")
    app = run(sample="coffee", models=["SqueezeNet", "digits"])
    assert "digits.onnx cannot be used" in html(app)
    assert "espresso" in html(app)
    assert not perturb(app, fog=0.2).exception
    assert "espresso" in html(app)


def test_a_bad_description_is_named_and_the_built_in_models_go_on(own_models: Path) -> None:
    describe(own_models, input_size=5)
    app = run(sample="coffee", models="SqueezeNet")
    assert "from 8 to 1024" in sentences(app)
    assert "espresso" in html(app)
