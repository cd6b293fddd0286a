"""Five stories to begin with: a link each, what to watch there, and what it claims.

Everything that a sentence names was measured on the offline models and is held against them by a
test, with room to spare: ``claims`` says it for machines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustness.evaluation.condition import Condition
from robustness.perturbations import REGISTRY
from robustness.report.copy_as import link_values

LIVE = "app.py"
BREAKING_POINT = "pages/breaking_point.py"
ADVERSARIAL = "pages/adversarial.py"

OFFLINE = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
"""The models of every story, which are ready wherever the product runs."""


@dataclass(frozen=True)
class Claim:
    """What ``model`` makes of a story's sample under ``condition``, with seed 0 and cropped.

    It answers ``before`` for the clean image and ``after`` for the other one, there with at least
    the probability ``sure`` and at least ``ahead`` of the next class. ``cosine`` bounds the
    rescaled cosine similarity of the embeddings from below and above. An attack is ``news`` where
    no noise of its size changes the answer.
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
    """A link to ``page`` with ``query``, its ``title``, and the sentence of what to ``watch``."""

    page: str
    query: Mapping[str, str | Sequence[str]]
    title: str
    watch: str
    claims: tuple[Claim, ...]

    @property
    def name(self) -> str:
        """How a link calls it."""
        return "-".join(re.findall(r"[a-z]+", self.title.lower()))

    @property
    def link(self) -> dict[str, str | Sequence[str]]:
        """The query of its link, which says that it is this story's."""
        return {**self.query, "story": self.name}

    @property
    def subject(self) -> str:
        """What its page shows: a perturbation, a condition's id, or that and who is attacked."""
        first = self.claims[0]
        if self.page == BREAKING_POINT:
            return first.condition.name
        return f"{first.model} {first.condition.id}" if first.news else first.condition.id

    @property
    def sample(self) -> str:
        """The name of the bundled photograph."""
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
        LIVE,
        _live("coffee", _BRIGHT),
        "A little too much light",
        "The image is only 1.5 stops too bright, and SqueezeNet 1.1 now sees consomme; the "
        "three EfficientNet-Lites still see espresso.",
        (
            Claim("SqueezeNet", _BRIGHT, "espresso", "consomme", 0.8, 0.6),
            *(Claim(name, _BRIGHT, "espresso", "espresso", 0.35, 0.25) for name in OFFLINE[1:]),
        ),
    ),
    Story(
        LIVE,
        _live("coffee", _GRAIN),
        "Grain that all survive",
        "Noise of 9 % covers the whole image, and all four models still see espresso.",
        tuple(Claim(name, _GRAIN, "espresso", "espresso", 0.5, 0.35) for name in OFFLINE),
    ),
    Story(
        LIVE,
        _live("coffee", _BLUR),
        "Features move, the answer stays",
        "Under a blur of 6 px the features of SqueezeNet 1.1 have moved far (rescaled cosine "
        "similarity below 0.6, where 1 is not at all), and it still sees espresso.",
        (Claim("SqueezeNet", _BLUR, "espresso", "espresso", 0.6, 0.5, cosine=(0.3, 0.6)),),
    ),
    Story(
        ADVERSARIAL,
        {"sample": "coffee", "epsilon": "2", "models": OFFLINE},
        "An attack, and noise of the same size",
        "No pixel changes by more than 2 of 255: as noise that does nothing, and aimed it makes "
        "SqueezeNet 1.1 see consomme.",
        (Claim("SqueezeNet", _ATTACK, "espresso", "consomme", 0.9, 0.8, news=True),),
    ),
    Story(
        BREAKING_POINT,
        {
            "sample": "motorcycle",
            "perturbation": REGISTRY["perspective"].label,
            "models": OFFLINE,
        },
        "An answer that comes back",
        "Seen from 15 degrees aside SqueezeNet 1.1 takes the motorcycle for a disk brake; from 45 "
        "degrees it sees the moped again, surer than at first.",
        (
            Claim("SqueezeNet", _SLANTED, "moped", "disk brake", 0.6, 0.4),
            Claim("SqueezeNet", _MORE_SLANTED, "moped", "moped", 0.8, 0.6),
        ),
    ),
)
