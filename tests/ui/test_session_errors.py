"""What an error for the user, or Streamlit's own ways to end a script, do to a page."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness.base.errors import RobustnessError
from robustness.measure.measurement import Measurement
from robustness.models.loaded import LOADED
from robustness.ui import shared
from robustness.ui.session import ERRORS, sentence
from tests.support.pages import html, perturb, run


def opened(page: str, **link: str) -> AppTest:
    """The page on the coffee image, with a model that is small and one that is larger."""
    app = AppTest.from_file(str(ROOT / page), default_timeout=240)
    app.query_params["sample"] = "coffee"
    app.query_params["models"] = ["SqueezeNet", "EfficientNetLite0"]
    for name, value in link.items():
        app.query_params[name] = value
    return app


def sentences(app: AppTest) -> list[str]:
    return [element.value.replace("\\", "") for element in app.error]


def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger model no longer fits, as when the operator has lowered the budget."""
    monkeypatch.setenv("ROBUSTNESS_MEMORY", "100MB")
    LOADED.release("EfficientNetLite0")


def test_a_model_without_an_answer_says_why_on_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("app.py").run()
    without_memory(monkeypatch)
    app = perturb(app, fog=0.35)
    assert not app.exception
    assert "EfficientNetLite0 takes about 111 MB" in html(app)


def test_what_is_no_sentence_for_the_user_is_a_fault_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> Measurement:
        raise KeyError("a fault of the program")

    monkeypatch.setattr(shared, "change", broken)
    assert opened("app.py").run().exception


SCRIPT = """
import streamlit as st
from robustness.ui.live import page as live_view
from robustness.base.errors import ParameterError
from robustness.ui.frame import boundary, fragment, page

@fragment
def part():
    st.write("in the part")
    raise ParameterError("Expected *more*, got less.")

with page("Any", "Introduction."):
    part()
    st.write("after the part")
    if st.button("stop"):
        st.stop()
    if st.button("again"):
        st.rerun()
    with boundary():
        raise ParameterError("Only this part.")
    st.write("after a boundary within")
    raise ParameterError("The end.")
st.write("never reached by a stop")
"""


def test_a_page_ends_at_its_error_and_streamlit_may_end_it_before(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT)
    app = AppTest.from_file(str(script), default_timeout=240).run()
    assert not app.exception
    assert sentences(app) == ["Expected *more*, got less.", "Only this part.", "The end."]
    assert app.error[0].value == "Expected \\*more\\*, got less\\."
    texts = [element.value for element in app.markdown]
    assert {"in the part", "after the part", "after a boundary within"} <= set(texts)
    stopped = app.button[0].click().run()
    assert sentences(stopped) == ["Expected *more*, got less."]
    assert "never reached by a stop" not in [element.value for element in stopped.markdown]
    again = stopped.run().button[1].click().run()
    assert sentences(again)[-1] == "The end."


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The weight file /srv/data/a.h5 is damaged.", "The weight file a.h5 is damaged."),
        ("{runs}/.uploads: no space left.", ".uploads: no space left."),
        ("In {runs}/.uploads/39b40ada58/a b.zip.", "In a b.zip."),
        ("Not in {runs}.", "Not in our runs."),
        ("'/a/b c.png' (/d/e)", "'b c.png' (e)"),
        ("https://host/a/b.h5 or s3://c/d/e", "https://host/a/b.h5 or s3://c/d/e"),
        ("epsilon 8/255 and/or none", "epsilon 8/255 and/or none"),
    ],
)
def test_a_sentence_on_a_page_tells_no_folder_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    kept = tmp_path / "our runs"
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(kept))
    assert sentence(RobustnessError(said.format(runs=kept), hint=f"It is {kept}.")) == shown


def test_a_disk_that_refuses_itself_is_a_sentence_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/secret/place")

    ERRORS.clear()
    monkeypatch.setattr("robustness.runs.listing", full)
    app = AppTest.from_file(str(ROOT / "pages" / "evaluations.py"), default_timeout=240).run()
    assert not app.exception
    (said,) = sentences(app)
    assert "No space left on device" in said
    assert "secret" not in said
    (counted,) = ERRORS.collect()
    assert {sample.labels["type"] for sample in counted.samples} == {"OSError"}
    assert "/srv/secret/place" in caplog.text, "the operator's log has the whole of it"


def test_a_script_with_a_newer_run_ends_without_a_word() -> None:
    def script() -> None:
        import streamlit as st

        from robustness.base.turns import SupersededError
        from robustness.ui.session import boundary

        st.text("before")
        with boundary():
            raise SupersededError
        st.text("after")

    app = AppTest.from_function(script, default_timeout=240).run()
    assert not app.exception
    assert not app.error
    assert [element.value for element in app.text] == ["before"]


def test_a_page_says_what_is_wrong_with_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.toml").write_text("memory = \n")
    monkeypatch.setenv("ROBUSTNESS_CONFIG", str(tmp_path / "bad.toml"))
    app = run(ROOT / "pages/models.py")
    assert "is not valid TOML" in app.error[0].value.replace("\\", "")
    assert len(app.error) == 1
