"""The choice of an image: what was uploaded is what is shown, whatever comes in between."""

from __future__ import annotations

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest

from robustness.pictures.samples import sample_bytes
from robustness.ui.session import access
from tests.support.pages import headline, run
from tests.support.places import ROOT

SCORECARD = ROOT / "pages" / "scorecard.py"
FILES = [(f"{name}.png", sample_bytes(name), "image/png") for name in ("rocket", "astronaut")]


def scorecard() -> AppTest:
    return run(SCORECARD, sample="coffee", models="SqueezeNet")


def test_the_headline_names_what_was_scored() -> None:
    app = scorecard()
    assert headline(app).startswith("coffee: ")
    app.file_uploader(key="upload_0").set_value(FILES).run()
    assert headline(app).startswith("rocket.png, astronaut.png: ")


def test_an_upload_is_used_though_another_request_interrupts_the_call_that_tells_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Streamlit ends the script at its next look at the session, inside of a callback too, and does
    not call that again: to the next run of the script nothing has changed."""
    app = scorecard()
    asked = access.refused

    def interrupted(*given: object) -> bool:
        context = get_script_run_ctx()
        assert context is not None
        assert context.script_requests is not None
        context.script_requests.request_stop()
        monkeypatch.setattr(access, "refused", asked)
        return False

    monkeypatch.setattr(access, "refused", interrupted)
    app.file_uploader(key="upload_0").set_value(FILES).run()
    assert access.refused is asked, "it was on its way"
    app.run()
    assert headline(app).startswith("rocket.png, astronaut.png: ")
    app.button(key="choose_chelsea").click().run()
    assert headline(app).startswith("chelsea: ")
    app.file_uploader(key="upload_1").set_value(FILES).run()
    app.file_uploader(key="upload_1").set_value([]).run()
    assert headline(app).startswith("chelsea: "), "who takes a file out has the sample again"
