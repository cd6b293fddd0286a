"""Trials of remedies: the same images and conditions, the same model, behind each remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError
from robustness.evaluation.measurement_and_image_batch import Batch, Measurement, RemediedPrediction
from robustness.evaluation.request import Request
from robustness.models import Classifier, Outputs
from robustness.models.run.remedied_pass_and_gradients import remedied_outputs
from robustness.perturbations import Images
from robustness.remedies import Chain

Floats = NDArray[np.float32]

_AT_ONCE = 16
"""Images per forward pass with all their views, to keep memory flat."""


class Trials:
    """Asks models of one framing behind remedies about a batch.

    The predictions of several models together are computed once for all of them.
    """

    def __init__(self, load: Callable[..., Classifier]) -> None:
        self._load = load
        self._joint: dict[tuple[str, str], list[Floats]] = {}
        self._joint_attacked: dict[tuple[str, str, int], Mapping[int, Floats]] = {}

    def tried(
        self,
        spec: Request,
        batch: Batch,
        classifier: Classifier,
        rows: Sequence[Sequence[Measurement]],
    ) -> list[list[Measurement]]:
        """The ``rows`` of ``classifier`` for ``batch``, with a trial of each remedy of ``spec``."""
        measurements: list[list[Measurement]] = [list(own) for own in rows]
        for chain in spec.remedies:
            answers = self._answers(spec, batch, classifier, chain)
            for place, own in enumerate(measurements):
                clean, *after = answers[place]
                adaptive = self._attacked(spec, batch, classifier, chain, place)
                for at, row in enumerate(own):
                    worse = _worse(after[at], adaptive.get(at), row, clean)
                    trial = RemediedPrediction(chain.id, *_top(clean), *_top(worse))
                    own[at] = replace(row, remedies=(*row.remedies, trial))
        return measurements

    def _answers(
        self, spec: Request, batch: Batch, classifier: Classifier, chain: Chain
    ) -> list[Floats]:
        """By image, the probabilities (1 + conditions, classes), the original first."""
        idle = [place for place, condition in enumerate(spec.conditions, 1) if condition.idle]
        attacked = any(condition.needs_model for condition in spec.conditions)
        key = chain.id, classifier.record.labels().key
        if chain.several_models and key in self._joint and not attacked:
            return self._joint[key]
        asks = [classifier, *self._others(spec, classifier, chain)]
        outputs = []
        for frames in batch.frames:
            answer = _chain_probabilities(chain, asks, frames, spec.classes)
            answer[idle] = answer[0]
            outputs.append(answer)
        if chain.several_models:
            self._joint[key] = outputs
        return outputs

    def _others(self, spec: Request, classifier: Classifier, chain: Chain) -> Iterator[Classifier]:
        """The other models of ``spec`` with the same classes, if ``chain`` takes several."""
        for name in partners(chain, classifier.record.name, spec.model_names):
            yield self._load(name, side=classifier.side)

    def _attacked(
        self, spec: Request, batch: Batch, classifier: Classifier, chain: Chain, place: int
    ) -> Mapping[int, Floats]:
        """Probabilities for the image ``place``, attacked through ``chain``, by condition."""
        attacks = [
            (at, condition) for at, condition in enumerate(spec.conditions) if condition.needs_model
        ]
        key = chain.id, classifier.record.labels().key, place
        if not attacks or key in self._joint_attacked:
            return self._joint_attacked.get(key, {})
        probabilities: dict[int, Floats] = {}
        others = list(self._others(spec, classifier, chain))
        if chain.several_models and not others:
            return probabilities  # the model itself
        through = classifier.with_remedies(chain, others)
        for at, condition in attacks:
            image = condition.against(batch.pictures[place], spec.seed, through)
            answer = through(image[None])
            answer = among(answer, spec.classes) if spec.classes else answer
            probabilities[at] = answer.probabilities[0]
        if chain.several_models:
            self._joint_attacked[key] = probabilities
        return probabilities


def partners(chain: Chain, name: str, names: Sequence[str]) -> list[str]:
    """The models in ``names`` with the classes of ``name``, if ``chain`` takes several."""
    if not chain.several_models:
        return []
    key = models.REGISTRY[name].labels().key
    return [
        other for other in names if other != name and models.REGISTRY[other].labels().key == key
    ]


def loader_with_remedies(chain: Chain, names: Sequence[str]) -> Callable[..., Classifier]:
    """A replacement for ``models.load`` that puts ``chain`` before each classifier.

    A chain of several models asks those of ``names`` with the same classes. Raises
    ``ParameterError`` if such a chain has no second model.
    """
    for name in names:
        if chain.several_models and not partners(chain, name, names):
            raise ParameterError(
                f"{chain.id} combines models: expected another one with the classes and image "
                f"size of {name}, got none. Add one, or leave the remedy out."
            )

    def load(name: str, *, side: int) -> Classifier:
        others = [models.load(partner, side=side) for partner in partners(chain, name, names)]
        return models.load(name, side=side).with_remedies(chain, others)

    return load


def among(outputs: Outputs, classes: Sequence[int]) -> Outputs:
    """``outputs`` with the probabilities of ``classes`` alone, which then sum to 1."""
    indices = [index for index in classes if index < outputs.probabilities.shape[1]]
    shares = np.zeros_like(outputs.probabilities)
    shares[:, indices] = outputs.probabilities[:, indices]
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=shares, where=total > 0)
    return replace(outputs, probabilities=shares)


def _chain_probabilities(
    chain: Chain, classifiers: Sequence[Classifier], images: Images, classes: Sequence[int]
) -> Floats:
    """Probabilities (N, classes) for ``images`` of the models behind ``chain``."""

    def ask(classifier: Classifier, views: Images) -> tuple[Floats, dict[str, Floats]]:
        outputs = classifier(views)
        return (among(outputs, classes) if classes else outputs).probabilities, {}

    asks = [partial(ask, classifier) for classifier in classifiers]
    parts = [
        remedied_outputs(chain, asks, images[start : start + _AT_ONCE])[0]
        for start in range(0, len(images), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _top(probabilities: Floats) -> tuple[int, float]:
    best = int(probabilities.argmax())
    return best, float(probabilities[best])


def _worse(plain: Floats, adaptive: Floats | None, row: Measurement, clean: Floats) -> Floats:
    """The worse of two predictions under attack: incorrect or, without a label, changed."""
    if adaptive is None:
        return plain
    own = int(clean.argmax()) if row.label is None else row.label
    return plain if int(plain.argmax()) != own else adaptive
