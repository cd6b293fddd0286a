"""Five stories, each a link and what to watch there, and Present mode.

A test checks every sentence of a story on the offline models, with a margin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from robustness.base.text import plain
from robustness.images.framing import STUDY_FRAMING, Picture
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.report.image import link_values
from robustness.ui import components
from robustness.ui.draw import thumbnail_uri
from robustness.ui.html import html
from robustness.ui.session import page_link, warn_of_link
from robustness.ui.shared import is_sample, sample_picture

OFFLINE = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
"""The models of every story, which are always ready."""


class Story(NamedTuple):
    """A link to a page, and what to watch there.

    ``query`` are the parameters of the link. ``watch`` is one sentence or more. ``subject`` is what
    the page shows: the id of a condition, for an attack after the model's name.
    """

    query: Mapping[str, str | Sequence[str]]
    title: str
    watch: str
    subject: str

    @property
    def name(self) -> str:
        """The name of the story in a link."""
        words = re.findall(r"[a-z]+", self.title.lower())
        return "-".join(words)

    @property
    def link(self) -> dict[str, str | Sequence[str]]:
        """The query of its link, with the models and the name of the story."""
        return {**self.query, "models": OFFLINE, "story": self.name}

    def is_shown(
        self, picture: Picture, model_names: Sequence[str], seed: int, subject: str
    ) -> bool:
        """Whether a page that shows ``subject`` with these inputs is still the one of its link."""
        return (
            picture.name == self.query["sample"]
            and picture.framing == STUDY_FRAMING
            and is_sample(picture)  # an upload may have the name of a sample
            and set(OFFLINE) <= set(model_names)
            and seed == 0
            and subject == self.subject
        )


def _live(title: str, watch: str, sample: str = "coffee", **strengths: float) -> Story:
    """A story of the view Live, whose perturbations have these ``strengths``."""
    condition = Condition.of(strengths)
    return Story({"sample": sample, **link_values(condition)}, title, watch, condition.id)


STORIES = (
    _live(
        "A little too much light",
        "The image is 1.5 stops too bright. SqueezeNet 1.1 now predicts consomme; the three "
        "EfficientNet-Lites still predict espresso.",
        exposure=0.5,
    ),
    _live(
        "Grain that all survive",
        "Noise of 9% covers the whole image. All four models still predict espresso.",
        gaussian_noise=0.25,
    ),
    _live(
        "Fog that one model does not survive",
        "In this fog three of four models still predict espresso. EfficientNet-Lite1 now "
        "predicts consomme.",
        fog=0.3,
    ),
    Story(
        {"view": "attack", "sample": "coffee", "attack": "pgd", "epsilon": "2"},
        "An attack, and noise of the same size",
        "No pixel changes by more than 2/255. Noise of this size has no effect; the attack "
        "makes SqueezeNet 1.1 predict consomme.",
        f"SqueezeNet {Condition.attack('pgd', epsilon=2 / 255).id}",
    ),
    _live(
        "A prediction that comes back",
        "At 15 degrees from the side SqueezeNet 1.1 predicts disk brake for the motorcycle. At "
        "45 degrees, further along its band, it predicts moped again, with a higher confidence "
        "than on the original.",
        sample="motorcycle",
        perspective=0.25,
    ),
)


_PRESENT = "present"
SLIDE = "slide"
"""Parameter of the link in Present mode: the number of the slide, from 1."""

_STYLE = Path(__file__).with_name("present.css")


def is_presented() -> bool:
    """Whether the link asks for Present mode."""
    return st.query_params.get(_PRESENT) == "true"


def with_hint(text: str, hint: str) -> str:
    """``text`` and then the ``hint`` on what a click does, which no audience needs."""
    return text if is_presented() else f"{text} {hint}"


def frame(*, with_stories: bool = True) -> None:
    """Draw the exit of Present mode, its style, and the strip of stories where a page has them.

    They are in a container that keeps the elements below in their places.
    """
    with st.container(key="presenting"):
        if not is_presented():
            return
        st.html(_STYLE)
        st.button(
            "Leave", key="leave", type="tertiary", on_click=_present, args=(False,), shortcut="Esc"
        )
        current_story = ""
        if with_stories:
            current_story = st.query_params.get("story", "")
            _show_strip()
        components.stage("stage", current_story)


def _show_strip() -> None:
    """Draw the links of all stories, each with its image."""
    st.html(html("style", css=_thumbnails()))
    with st.container(horizontal=True, width="content", key="story-strip"):
        for story in STORIES:
            link = {**story.link, _PRESENT: "true"}
            with st.container(width="content", key=f"story-{story.name}"):
                page_link("app.py", story.title, ":material/play_circle:", link)


@cache
def _thumbnails() -> str:
    """The style that gives the link of each story its image, that of an attack unattacked."""
    rules = []
    for story in STORIES:
        if story.query.get("view") == "attack":
            condition = Condition.of({})
        else:
            condition = Condition.parse(story.subject)
        sample = sample_picture(str(story.query["sample"]))
        (image,) = perturbed(sample, [condition], seed=0)
        uri = thumbnail_uri(image)
        rules.append(f".st-key-story-{story.name} a {{ background-image: url({uri}); }}")
    return "\n".join(rules)


def buttons() -> None:
    """Draw the Stories menu and the Present button."""
    chosen = st.query_params.get("story")
    if chosen and _find(chosen) is None:
        warn_of_link("story", chosen)
    # A new key closes the menu after a choice: open, it would cover the page.
    menu_key = f"stories {chosen}"
    with st.popover("Stories", icon=":material/auto_stories:", key=menu_key):
        st.caption("Short demonstrations with the four bundled models.")
        for story in STORIES:
            page_link("app.py", story.title, ":material/play_circle:", story.link)
    present_button("the images and what the models predict")


def _find(name: str | None) -> Story | None:
    """The story with this name; None if there is none."""
    for story in STORIES:
        if story.name == name:
            return story
    return None


def _present(begins: bool) -> None:
    """Begin or end Present mode, which is in the link."""
    if begins:
        st.query_params[_PRESENT] = "true"
    else:
        st.query_params.pop(_PRESENT, None)
        st.query_params.pop(SLIDE, None)


def present_button(what: str) -> None:
    """Draw the button that begins Present mode, which shows ``what``."""
    st.button(
        "Present",
        icon=":material/present_to_all:",
        key="present",
        on_click=_present,
        args=(True,),
        help=f"Full screen for an audience: {what}. Escape ends it.",
    )


def show_story(picture: Picture, model_names: Sequence[str], seed: int, subject: str) -> None:
    """Draw what to watch, if the link names a story and the page still shows it.

    ``subject`` is what the page shows, in the form of ``Story.subject``.
    """
    story = _find(st.query_params.get("story"))
    if story is None or not story.is_shown(picture, model_names, seed, subject):
        st.empty()  # holds the place, so that the elements below keep theirs
        return
    with st.container(key="story"):
        text = f"**{plain(story.title)}.** {plain(story.watch)}"
        st.info(text, icon=":material/auto_stories:")
