"""Results that are kept: by what is asked, of the weights that are there, without file names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness.base.errors import ImageError
from robustness.images import sandbox
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing
from robustness.images.sandbox import BusyError
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate
from robustness.measure.measurement import Measurement
from robustness.measure.request import make_spec
from robustness.models import own
from robustness.ui import cells, shared
from robustness.ui import jobs as work
from robustness.ui.live import map
from robustness.ui.shared import ResultCache, work_key
from tests.support import onnx_files
from tests.support.pages import html, run, sample
from tests.support.user_models import describe

FOG = [Condition.of({"fog": 0.4})]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> ResultCache:
    """A server that has kept nothing yet."""
    empty = ResultCache(shared.LIMIT)
    for module in (shared, work, cells):
        monkeypatch.setattr(module, "RESULT_CACHE", empty)
    return empty


# --- what is forgotten ----------------------------------------------------------------------------


def test_the_least_recently_used_is_forgotten_first() -> None:
    result = ["x" * 100]
    size = len(pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
    memory = ResultCache(3 * size)
    for key in "abc":
        memory.put(key, result)
    assert memory.get("a") == result  # used again
    memory.put("d", result)
    assert [key for key in "abcd" if memory.get(key)] == ["a", "c", "d"]
    memory.put("c", result)  # kept anew, and counted once
    memory.put("e", result)
    assert [key for key in "acde" if memory.get(key)] == ["c", "d", "e"]


# --- of what weights ------------------------------------------------------------------------------


def test_other_weights_under_the_same_name_answer_anew(models_folder: Path) -> None:
    (models_folder / "digits.onnx").write_bytes(onnx_files.small_model())
    describe(models_folder, path="digits.onnx", output="logits")
    own.refresh()
    spec = make_spec(["digits"], FOG)
    altered = shared.change(sample("coffee"), FOG[0], 0)
    ((_, before),) = shared.answers(spec, sample("coffee"), ["digits"], altered)
    key = work_key("score", sample("coffee"), ["digits"], FOG, 0)
    card = html(run(sample="coffee", models="digits", fog="0.4"))
    assert [("digits", before)] == [*shared.answers(spec, sample("coffee"), ["digits"], altered)]
    others = onnx_files.small_model(onnx_files.small_weights(seed=1))
    (models_folder / "digits.onnx").write_bytes(others)
    spec = make_spec(["digits"], FOG)
    ((_, after),) = shared.answers(spec, sample("coffee"), ["digits"], altered)
    assert isinstance(before, Measurement)
    assert isinstance(after, Measurement)
    (expected,) = evaluate(spec, [sample("coffee")])
    assert after.top5_probabilities == pytest.approx(expected.top5_probabilities)
    assert after.top5_probabilities != before.top5_probabilities
    assert key != work_key("score", sample("coffee"), ["digits"], FOG, 0)
    assert card != html(run(sample="coffee", models="digits", fog="0.4"))


# --- under whose names ----------------------------------------------------------------------------


def test_a_decoded_upload_goes_by_the_name_of_whoever_uploads_it() -> None:
    data = sample_bytes("coffee")
    names = ["hers.png", "his.png", "hers.png"]
    pictures = [shared.uploaded_picture(name, data, (Framing(),)) for name in names]
    assert [picture.name for picture in pictures] == names
    assert len({id(picture.image) for picture in pictures}) == 1, "decoded once"


def test_a_file_that_is_no_picture_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def framed_image(data: bytes, framings: Any) -> Any:
        asked.append(data)
        raise (BusyError if data == b"good" else ImageError)("The image is The image.")

    monkeypatch.setattr(sandbox, "framed_image", framed_image)
    for name in ("a.png", "b.png"):
        with pytest.raises(ImageError, match=f'^"{name}" is The image.$'):
            shared.uploaded_picture(name, b"bad", (Framing(),))
        with pytest.raises(ImageError):
            shared.uploaded_picture(name, b"good", (Framing(),))
    assert asked == [b"bad", b"good", b"good"], "another time it may be decoded"


def test_another_sessions_file_name_is_not_seen_on_a_page(
    fresh: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a warning nor in a table nor in what the page gives on."""
    monkeypatch.setattr(map, "AT_ONCE_SECONDS", 0)  # a few cells will do
    seen = []
    for name in ("her secret.png", "his.png"):
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=240)
        app.query_params["view"] = "map"
        app.query_params["models"] = "SqueezeNet"
        app.run()
        app.file_uploader[0].upload(name, sample_bytes("rocket"), "image/png").run()
        assert not app.exception
        texts = [element.value.replace("\\", "") for element in (*app.warning, *app.caption)]
        seen.append(" ".join([*texts, html(app)]))
    assert "SqueezeNet 1.1 (21%)" in seen[0]
    assert "her secret.png" in seen[0]
    assert "his.png" in seen[1]
    assert "secret" not in seen[1]
