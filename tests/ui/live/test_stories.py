"""Every story says what is so on the offline models, and its link opens it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from robustness import models
from robustness.attacks import Outcome, craft
from robustness.measure import loop
from robustness.measure.condition import AttackCondition, Condition
from robustness.measure.request import make_spec
from robustness.ui.live.attack import adversarial
from robustness.ui.live.attack import row as attack_row
from robustness.ui.live.stories import OFFLINE, STORIES, Story
from tests.support.pages import changes, headline, html, run, sample, texts


class Claim(NamedTuple):
    """Predictions of ``model`` on the sample of a story under ``condition``; seed 0, cropped.

    It predicts ``before`` for the original and ``after`` for the perturbed image, there with at
    least the probability ``sure`` and at least ``ahead`` of the next class.
    """

    model: str
    condition: Condition
    before: str
    after: str
    sure: float
    ahead: float


BRIGHT, GRAIN, FOG = (
    Condition.of(values) for values in ({"exposure": 0.5}, {"gaussian_noise": 0.25}, {"fog": 0.3})
)
ATTACK = Condition.attack("pgd", epsilon=2 / 255)
SLANTED, MORE_SLANTED = (Condition.of({"perspective": s}) for s in (0.25, 0.75))
CLAIMS = (
    (
        Claim("SqueezeNet", BRIGHT, "espresso", "consomme", 0.8, 0.6),
        *(Claim(name, BRIGHT, "espresso", "espresso", 0.35, 0.25) for name in OFFLINE[1:]),
    ),
    tuple(Claim(name, GRAIN, "espresso", "espresso", 0.5, 0.35) for name in OFFLINE),
    (
        Claim("SqueezeNet", FOG, "espresso", "espresso", 0.5, 0.4),
        Claim("EfficientNetLite0", FOG, "espresso", "espresso", 0.45, 0.3),
        Claim("EfficientNetLite1", FOG, "espresso", "consomme", 0.25, 0.12),
        Claim("EfficientNetLite2", FOG, "espresso", "espresso", 0.4, 0.25),
    ),
    (Claim("SqueezeNet", ATTACK, "espresso", "consomme", 0.9, 0.8),),
    (
        Claim("SqueezeNet", SLANTED, "moped", "disk brake", 0.6, 0.4),
        Claim("SqueezeNet", MORE_SLANTED, "moped", "moped", 0.8, 0.6),
    ),
)
"""The claims of each story."""

TOLD = list(zip(STORIES, CLAIMS, strict=True))
stories = pytest.mark.parametrize(("story", "said"), TOLD, ids=[story.title for story in STORIES])
claims = pytest.mark.parametrize(
    ("story", "claim"),
    [(story, claim) for story, said in TOLD for claim in said],
    ids=lambda value: value.title if isinstance(value, Story) else value.model,
)


def link(story: Story) -> dict[str, Any]:
    """The link of ``story``."""
    return {key: value if isinstance(value, str) else [*value] for key, value in story.link.items()}


@claims
def test_what_a_story_claims_is_so(story: Story, claim: Claim) -> None:
    picture = sample(str(story.query["sample"]))
    if isinstance(claim.condition, AttackCondition):
        spec = claim.condition.spec.seeded(0)
        *_, found = craft(picture, models.load(claim.model), spec)
        assert isinstance(found, Outcome)
        assert found.beats_noise
        assert found.control.successes == 0
        row = attack_row(picture, adversarial(picture, found), claim.model, spec, None)
    else:
        (row,) = loop.evaluate(make_spec([claim.model], [claim.condition]), [picture])
    names = [models.class_name(claim.model, index) for index in (row.clean_top1, row.top1)]
    assert names == [claim.before, claim.after]
    assert row.probability >= claim.sure
    assert row.probability - row.top5_probabilities[1] >= claim.ahead


@stories
def test_the_link_of_a_story_opens_what_it_tells_of(
    story: Story, said: tuple[Claim, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = changes(monkeypatch)
    app = run(**link(story))
    assert any(story.title in info.value for info in app.info)
    assert tuple(app.multiselect(key="models").value) == OFFLINE
    if story.query.get("view") == "attack":
        assert "fools SqueezeNet 1.1" in headline(app)
        assert "none fools" in html(app) + texts(app)
    else:
        condition = said[0].condition
        assert seen[-1] == (sample(str(story.query["sample"])).digest, condition, 0)
