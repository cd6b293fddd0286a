"""The choice of an image: what was uploaded is what is shown, whatever comes in between."""

from __future__ import annotations

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness.pictures.fitting import study_image
from robustness.pictures.picture import image_digest
from robustness.pictures.samples import sample_bytes
from robustness.ui.session import access
from tests.support.pages import changes, headline, html, run

FILES = [(f"{name}.png", sample_bytes(name), "image/png") for name in ("rocket", "astronaut")]


def scorecard() -> AppTest:
    return run(view="scorecard", sample="coffee", models="SqueezeNet")


def test_the_headline_names_what_was_scored() -> None:
    """Another view has the last of the uploads."""
    app = scorecard()
    assert headline(app).startswith("coffee: ")
    app.file_uploader(key="upload_0").set_value(FILES).run()
    assert headline(app).startswith("rocket.png, astronaut.png: ")
    app.segmented_control(key="view").set_value("live").run()
    assert any(
        "Showing astronaut.png" in caption.value.replace("\\", "") for caption in app.caption
    )
    app.segmented_control(key="view").set_value("scorecard").run()
    assert headline(app).startswith("rocket.png, astronaut.png: ")


def interrupt_once(monkeypatch: pytest.MonkeyPatch, thing: object, name: str) -> list[object]:
    """Stops the script at its first call of ``name``, as the next request of a browser does.

    What is returned holds that call, once it came. Streamlit then ends the script at its next look
    at the session, inside of a callback too, and does not call that again: to the next run of the
    script nothing has changed.
    """
    asked = getattr(thing, name)
    stopped: list[object] = []

    def interrupted(*given: object) -> object:
        context = get_script_run_ctx()
        assert context is not None
        assert context.script_requests is not None
        context.script_requests.request_stop()
        monkeypatch.setattr(thing, name, asked)
        stopped.append(given)
        return asked(*given)

    monkeypatch.setattr(thing, name, interrupted)
    return stopped


def test_an_upload_is_used_though_another_request_interrupts_the_callback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = scorecard()
    stopped = interrupt_once(monkeypatch, access, "require")
    app.file_uploader(key="upload_0").set_value(FILES).run()
    assert stopped
    app.run()
    assert headline(app).startswith("rocket.png, astronaut.png: ")
    app.button(key="choose_chelsea").click().run()
    assert headline(app).startswith("chelsea: ")
    app.file_uploader(key="upload_1").set_value(FILES).run()
    app.file_uploader(key="upload_1").set_value([]).run()
    assert headline(app).startswith("chelsea: "), "who takes a file out has the sample again"


def test_an_upload_stays_with_who_goes_to_another_page_and_back() -> None:
    """Its uploader there is a new one, which holds no file."""
    app = run(models="SqueezeNet")
    app.file_uploader(key="upload_0").upload(*FILES[0]).run()
    for page in ("pages/reference.py", "app.py"):
        app.switch_page(str(ROOT / page)).run()
        app.run()
        assert not app.exception
    assert any("rocket" in caption.value for caption in app.caption)


def test_the_side_of_the_link_is_that_of_the_image_and_of_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = changes(monkeypatch)
    app = run(sample="coffee", side="model", models="EfficientNetLite1", brightness="0.5")
    assert app.segmented_control(key="side").value == "model", "which is 240 here"
    image = study_image(sample_bytes("coffee"), side=240)
    assert {digest for digest, *_ in asked} == {image_digest(image)}
    assert "EfficientNet-Lite1" in html(app)
    assert any("side=240" in block.value for block in app.code), "the code asks the same"
