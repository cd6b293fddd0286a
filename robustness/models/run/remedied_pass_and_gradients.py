"""The forward pass and the gradients of a model behind remedies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness.models.run.network_and_gradients import Classes, Gradients, Network, Slope
from robustness.models.run.openvino_and_engine_choice import Floats, ForwardPass

if TYPE_CHECKING:
    from robustness.remedies import Chain


class RemediedPass:
    """The pass of ``forwards`` behind ``chain``; see ``ForwardPass``.

    Several ``forwards`` are for a chain that averages or votes over models. The features are those
    of the first.
    """

    def __init__(self, forwards: Sequence[ForwardPass], chain: Chain) -> None:
        self._forwards = forwards
        self._chain = chain
        self.engine = forwards[0].engine
        self.stages = forwards[0].stages
        self.model = None
        # Predictions are those of the remedied image, in 8 bits.
        self.exact = forwards[0].exact and not chain.changes_images

    def network(self, label: str) -> Network:
        """The same model without the remedies, for explanations."""
        return self._forwards[0].network(label)

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        return remedied_outputs(self._chain, self._forwards, images)


Ask = Callable[[Floats], tuple[Floats, Mapping[str, Floats]]]
"""A pass: images to probabilities and features by stage."""


def remedied_outputs(
    chain: Chain, asks: Sequence[Ask], images: Floats
) -> tuple[Floats, Mapping[str, Floats]]:
    """The probabilities and features for ``images`` of the models ``asks`` behind ``chain``.

    The chain takes several models or only the first; the features are always those of the first.
    """
    if chain.several_models:
        before = chain.images(images)
        outputs = [ask(before) for ask in asks]
        answers = np.stack([probabilities for probabilities, _ in outputs])
        return ensemble(answers, vote=chain.last.name == "vote"), outputs[0][1]
    views = chain.views(images)
    probabilities, features = asks[0](np.concatenate(views))
    answers = probabilities.reshape(len(views), len(images), -1)
    weights = chain.weights(answers)
    return (
        chain.tempered(_weighted(weights, answers)),
        {
            stage: _weighted(weights, values.reshape(len(views), len(images), -1))
            for stage, values in features.items()
        },
    )


def _weighted(weights: Floats, values: Floats) -> Floats:
    """The sum over views of ``values`` (views, N, D) by ``weights`` (views, N)."""
    return np.asarray(np.einsum("vn,vnd->nd", weights, values), np.float32)


def ensemble(answers: Floats, *, vote: bool) -> Floats:
    """One prediction, (N, classes), from those of several models, (models, N, classes).

    Their mean; with ``vote`` the share of the models whose top-1 class it is, up to ``_TIE``. Among
    equal shares the mean decides.
    """
    mean = answers.mean(axis=0)
    if not vote:
        return np.asarray(mean, np.float32)
    votes = np.eye(answers.shape[2], dtype=np.float32)[answers.argmax(axis=2)].mean(axis=0)
    return np.asarray((1 - _TIE) * votes + _TIE * mean, np.float32)


_TIE = 2e-4
"""Weight of the mean in a vote: it decides between equal shares and hardly changes them."""


@dataclass(frozen=True)
class RemediedGradients:
    """The slope of a model at the views of an image, passed back to the image.

    A step without a gradient, such as a median, counts as the identity: backward pass
    differentiable approximation (Athalye, Carlini & Wagner, ICML 2018). That of several models is
    their mean: an attack on the averaged logits (Dong et al., CVPR 2018).
    """

    gradients: Sequence[Gradients | RemediedGradients]
    chain: Chain
    probabilities: Callable[[Floats], Floats]

    def __call__(
        self, images: Floats, classes: Classes, rivals: Classes | None = None, **how: Any
    ) -> Slope:
        """As ``Gradients`` does."""
        if self.chain.last.temperature != 1:
            how["temperature"] = how.get("temperature", 1.0) * self.chain.last.temperature
        views = self.chain.views(images)
        slopes = [self._mean(view, classes, rivals, **how) for view in views]
        weights = np.ones((1, len(images)), np.float32)
        if len(views) > 1:
            weights = self.chain.weights(np.stack([self.probabilities(view) for view in views]))
        back = self.chain.back(
            [
                slope.gradient * own[:, None, None, None]
                for slope, own in zip(slopes, weights, strict=True)
            ]
        )
        lead = sum(slope.lead * own for slope, own in zip(slopes, weights, strict=True))
        scores = sum(
            slope.scores * own[:, None] for slope, own in zip(slopes, weights, strict=True)
        )
        return Slope(np.asarray(lead), np.asarray(scores), back)

    def _mean(self, view: Floats, classes: Classes, rivals: Classes | None, **how: Any) -> Slope:
        gradients = [gradient(view, classes, rivals, **how) for gradient in self.gradients]
        fields = ("lead", "scores", "gradient")
        return Slope(
            *(np.mean([getattr(slope, name) for slope in gradients], 0) for name in fields)
        )
