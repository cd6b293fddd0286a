"""The choice of an image: what was uploaded is what is shown, whatever comes in between."""

from __future__ import annotations

import re

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, image_digest, study_image
from robustness.ui import session
from robustness.ui.live.stories import STORIES
from tests.support.pages import changes, html, run

FILES = [(f"{name}.png", sample_bytes(name), "image/png") for name in ("rocket", "astronaut")]


pytestmark = pytest.mark.usefixtures("few_cells")


def image_map() -> AppTest:
    return run(view="map", sample="coffee", models="SqueezeNet")


def story_links(app: AppTest) -> int:
    """How many links to stories the page has."""
    titles = {story.title for story in STORIES}
    return sum(link.proto.label in titles for link in app.get("page_link"))


def shown(app: AppTest) -> str:
    """The name of the image that the map is of."""
    said = " ".join(caption.value.replace("\\", "") for caption in app.caption)
    found = re.search(r"One image, (\S+), under", said)
    assert found is not None
    return found[1]


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
    app = image_map()
    stopped = interrupt_once(monkeypatch, session, "require")
    app.file_uploader(key="upload_0").set_value(FILES).run()
    assert stopped
    app.run()
    assert shown(app) == "astronaut.png"
    app.button(key="choose_chelsea").click().run()
    assert shown(app) == "chelsea"
    app.file_uploader(key="upload_1").set_value(FILES).run()
    app.file_uploader(key="upload_1").set_value([]).run()
    assert shown(app) == "chelsea", "who takes a file out has the sample again"


def test_an_upload_stays_with_who_goes_to_another_page_and_back() -> None:
    """Its uploader there is a new one, which holds no file."""
    app = run(models="SqueezeNet")
    app.file_uploader(key="upload_0").upload(*FILES[0]).run()
    for page in ("pages/reference.py", "app.py"):
        app.switch_page(str(ROOT / page)).run()
        app.run()
        assert not app.exception
    assert any("rocket" in caption.value for caption in app.caption)


def test_a_story_replaces_an_upload_and_present_mode_has_none_beside_it() -> None:
    app = image_map()
    app.query_params["present"] = "true"
    app.run()
    assert story_links(app) == 2 * len(STORIES), "in the menu, and in the strip for the keys"
    app.button(key="leave").click().run()
    app.file_uploader(key="upload_0").set_value(FILES).run()
    app.query_params["present"] = "true"
    app.run()
    assert shown(app) == "astronaut.png"
    assert story_links(app) == len(STORIES)
    app.button(key="leave").click().run()
    assert shown(app) == "astronaut.png"
    for story in STORIES[:2]:  # as its link does
        app.query_params["story"] = story.name
        app.query_params["sample"] = story.query["sample"]
        app.run()
        assert shown(app) == story.query["sample"]
        app.file_uploader(key=f"upload_{app.session_state['upload_version']}").set_value(
            FILES
        ).run()
        assert shown(app) == "astronaut.png", "an upload replaces a story"


def test_the_side_of_the_link_is_that_of_the_image_and_of_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = changes(monkeypatch)
    app = run(sample="coffee", side="240", models="EfficientNetLite1", brightness="0.5")
    assert app.segmented_control(key="side").value == "240"
    image = study_image(sample_bytes("coffee"), Framing(side=240))
    assert {digest for digest, *_ in asked} == {image_digest(image)}
    assert "EfficientNet-Lite1" in html(app)
    assert any("side=240" in block.value for block in app.code), "the code asks the same"
