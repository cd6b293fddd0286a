"""Complete bands by the plainest way: each image perturbed and predicted by itself."""

from __future__ import annotations

from robustness import models
from robustness.images.framing import Picture
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.measure.strength import Band, Cell, strengths
from robustness.perturbations import REGISTRY


def complete_band(picture: Picture, name: str, model: str = "SqueezeNet", seed: int = 0) -> Band:
    """The band of ``model`` under the perturbation ``name``, without a true class."""
    classifier = models.load(model)
    cells = []
    for strength in sorted(strengths(REGISTRY[name])):
        image = perturbed(picture, [Condition.of({name: strength})], seed)
        (probabilities,) = classifier(image).probabilities
        top1 = int(probabilities.argmax())
        cells.append(Cell(strength, top1, float(probabilities[top1])))
    return Band(model, name, tuple(cells), cells[0])
