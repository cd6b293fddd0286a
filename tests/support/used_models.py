"""Models used as the pages use them: loaded by name, asked, attacked."""

from __future__ import annotations

import numpy as np

from robustness import attacks, models
from robustness.attacks import AttackSpec, Outcome
from tests.support.pages import sample


def check_use(name: str, *, classes: int = 1000) -> None:
    """Load the model ``name``, ask it about a photograph and attack it."""
    record = models.REGISTRY[name]
    state = models.state(record)
    assert state.ready, state.reason
    classifier = models.load(name)
    picture = sample("coffee")

    outputs = classifier(picture.image[None])
    assert outputs.probabilities.shape == (1, classes)
    assert np.isclose(outputs.probabilities.sum(), 1, atol=1e-4)
    assert list(outputs.features) == [stage for stage, _ in record.stages]

    epsilon = 8 / 255
    spec = AttackSpec.of("pgd", epsilon=epsilon, steps=2)
    *_, outcome = attacks.craft(picture, classifier, spec)
    assert isinstance(outcome, Outcome)
    change = np.abs(outcome.image - picture.image).max()
    assert 0 < change <= epsilon + 1e-6, "the gradient moved the image within its limit"
