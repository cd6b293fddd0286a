"""Five stories: each a link, what to watch there, and its claims; and the present mode.

``claims`` state every sentence in a form that a test checks on the offline models, with a margin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from robustness.base.text import plain
from robustness.evaluation.condition import Condition
from robustness.pictures.fitting import DEFAULT_FIT
from robustness.pictures.picture import Picture
from robustness.report.copy_as import link_values
from robustness.ui.computation.cache import is_sample
from robustness.ui.session.run_link import page_link

OFFLINE = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
"""The models of every story, which are always ready."""


@dataclass(frozen=True)
class Claim:
    """Predictions of ``model`` on the sample of a story under ``condition``; seed 0, cropped.

    It predicts ``before`` for the original and ``after`` for the perturbed image, there with at
    least the probability ``sure`` and at least ``ahead`` of the next class. ``cosine`` bounds the
    rescaled cosine similarity of the embeddings from below and above. An attack is ``news`` if no
    noise of its size changes the prediction.
    """

    model: str
    condition: Condition
    before: str
    after: str
    sure: float
    ahead: float
    cosine: tuple[float, float] = (-1.0, 1.0)
    news: bool = False


@dataclass(frozen=True)
class Story:
    """A link with ``query``, its ``title``, and what to ``watch`` in a sentence."""

    query: Mapping[str, str | Sequence[str]]
    title: str
    watch: str
    claims: tuple[Claim, ...]

    @property
    def name(self) -> str:
        """The name of the story in a link."""
        return "-".join(re.findall(r"[a-z]+", self.title.lower()))

    @property
    def link(self) -> dict[str, str | Sequence[str]]:
        """The query of its link, with the name of the story."""
        return {**self.query, "story": self.name}

    @property
    def subject(self) -> str:
        """What its page shows: a perturbation, or a condition id, for an attack with the model."""
        first = self.claims[0]
        if "perturbation" in self.query:
            return first.condition.name
        return f"{first.model} {first.condition.id}" if first.news else first.condition.id

    @property
    def sample(self) -> str:
        """The name of the sample."""
        return str(self.query["sample"])


def _live(sample: str, condition: Condition) -> dict[str, str | Sequence[str]]:
    return {"sample": sample, **link_values(condition), "models": OFFLINE}


_BRIGHT = Condition.of({"exposure": 0.5})
_GRAIN = Condition.of({"gaussian_noise": 0.25})
_BLUR = Condition.of({"gaussian_blur": 1.0})
_ATTACK = Condition.attack("pgd", epsilon=2 / 255)
_SLANTED, _MORE_SLANTED = (Condition.of({"perspective": s}) for s in (0.25, 0.75))

STORIES = (
    Story(
        _live("coffee", _BRIGHT),
        "A little too much light",
        "The image is 1.5 stops too bright. SqueezeNet 1.1 now predicts consomme; the three "
        "EfficientNet-Lites still predict espresso.",
        (
            Claim("SqueezeNet", _BRIGHT, "espresso", "consomme", 0.8, 0.6),
            *(Claim(name, _BRIGHT, "espresso", "espresso", 0.35, 0.25) for name in OFFLINE[1:]),
        ),
    ),
    Story(
        _live("coffee", _GRAIN),
        "Grain that all survive",
        "Noise of 9% covers the whole image. All four models still predict espresso.",
        tuple(Claim(name, _GRAIN, "espresso", "espresso", 0.5, 0.35) for name in OFFLINE),
    ),
    Story(
        _live("coffee", _BLUR),
        "Features move, the prediction stays",
        "A blur of 6 px moves the features of SqueezeNet 1.1 far: their rescaled cosine "
        "similarity is below 0.6, where 1 is identical. It still predicts espresso.",
        (Claim("SqueezeNet", _BLUR, "espresso", "espresso", 0.6, 0.5, cosine=(0.3, 0.6)),),
    ),
    Story(
        {
            "view": "attack",
            "sample": "coffee",
            "attack": "pgd",
            "epsilon": "2",
            "models": OFFLINE,
        },
        "An attack, and noise of the same size",
        "No pixel changes by more than 2/255. Noise of this size has no effect; the attack "
        "makes SqueezeNet 1.1 predict consomme.",
        (Claim("SqueezeNet", _ATTACK, "espresso", "consomme", 0.9, 0.8, news=True),),
    ),
    Story(
        {
            "view": "breaking",
            "sample": "motorcycle",
            "perturbation": "perspective",
            "models": OFFLINE,
        },
        "A prediction that comes back",
        "At 15 degrees from the side SqueezeNet 1.1 predicts disk brake for the motorcycle. At "
        "45 degrees it predicts moped again, with a higher confidence than on the original.",
        (
            Claim("SqueezeNet", _SLANTED, "moped", "disk brake", 0.6, 0.4),
            Claim("SqueezeNet", _MORE_SLANTED, "moped", "moped", 0.8, 0.6),
        ),
    ),
)


_PRESENT = "present"
_STYLE = Path(__file__).with_name("present.css")


def presenting() -> bool:
    """Whether the link asks for Present mode."""
    return str(st.query_params.get(_PRESENT)) == "true"


def frame(*, presents: bool) -> None:
    """Draw the exit of Present mode and its style, in a container that keeps the elements below."""
    with st.container(key="presenting"):
        if presents and presenting():
            st.html(_STYLE)
            st.button("Leave", key="leave", type="tertiary", on_click=_leave, shortcut="Esc")


def _leave() -> None:
    st.query_params.pop(_PRESENT, None)


def _present() -> None:
    st.query_params[_PRESENT] = "true"


def buttons(*, presents: bool) -> None:
    """Draw the Stories menu, and the Present button where the view ``presents``."""
    # A new key closes the menu after a choice: open, it would cover the page.
    key = f"stories {st.query_params.get('story')}"
    with st.popover("Stories", icon=":material/auto_stories:", key=key):
        st.caption("Short demonstrations with the four bundled models.")
        for story in STORIES:
            page_link("app.py", story.title, ":material/play_circle:", story.link)
    if presents:
        st.button(
            "Present",
            icon=":material/present_to_all:",
            key="present",
            on_click=_present,
            help="Large type for an audience: images, predictions, sliders. Escape ends it.",
        )


def show_story(picture: Picture, names: Sequence[str], seed: int, subject: str) -> None:
    """Draw what to watch, if the link names a story and the page still shows it.

    ``subject`` is what the page shows, in the form of ``Story.subject``.
    """
    story = next((one for one in STORIES if one.name == st.query_params.get("story")), None)
    if story is None or not (
        (picture.name, picture.fit) == (story.sample, DEFAULT_FIT)
        and is_sample(picture)
        and set(story.query["models"]) <= {*names}
        and (seed, subject) == (0, story.subject)
    ):
        st.empty()  # holds the place, so that the elements below keep theirs
    else:
        st.info(f"**{plain(story.title)}.** {plain(story.watch)}", icon=":material/auto_stories:")
