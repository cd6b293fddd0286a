"""Every story says what is so on the offline models, and its link opens it."""

from __future__ import annotations

from typing import Any

import pytest

from robustness import models
from robustness.attacks import Outcome, craft
from robustness.evaluation import loop
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.request import make_spec
from robustness.statistics.scorecard import UNSURE
from robustness.ui.one_image.attack_outcome import adversarial
from robustness.ui.one_image.attack_outcome import row as attack_row
from robustness.ui.one_image.stories import OFFLINE, STORIES, Claim, Story
from tests.support.pages import changes, headline, run, sample

stories = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
claims = pytest.mark.parametrize(
    ("story", "claim"),
    [(story, claim) for story in STORIES for claim in story.claims],
    ids=lambda value: value.title if isinstance(value, Story) else value.model,
)


def link(story: Story) -> dict[str, Any]:
    """What leads to ``story``."""
    return {key: value if isinstance(value, str) else [*value] for key, value in story.link.items()}


@claims
def test_what_a_story_claims_is_so(story: Story, claim: Claim) -> None:
    picture = sample(story.sample)
    if claim.news:
        assert isinstance(claim.condition, AttackCondition)
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
    low, high = claim.cosine
    assert low <= row.scores["cosine_rescaled"] <= high


@stories
def test_a_sentence_names_what_is_claimed_by_a_margin(story: Story) -> None:
    for claim in story.claims:
        assert claim.after in story.watch
        assert models.label(claim.model) in story.watch or len(story.claims) > 2
        assert claim.sure >= UNSURE
        assert claim.ahead >= 0.2
    assert story.watch.endswith(".")
    assert set(story.query["models"]) == set(OFFLINE)
    assert story.query["sample"] == story.sample


@stories
def test_the_link_of_a_story_opens_what_it_tells_of(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = changes(monkeypatch)
    app = run(**link(story))
    assert any(story.title in info.value for info in app.info)
    assert tuple(app.multiselect(key="models").value) == OFFLINE
    if story.query.get("view") == "attack":
        assert "succeeds on SqueezeNet 1.1" in headline(app)
        assert "0 of 16" in app.success[0].value
    elif story.query.get("view") == "breaking":
        assert any("returns at a higher strength" in c.value for c in app.caption)
    else:
        (condition,) = {claim.condition for claim in story.claims}
        assert seen[-1] == (sample(story.sample).digest, condition, 0)
