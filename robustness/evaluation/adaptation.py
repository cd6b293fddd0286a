"""Hold-out images, which are not measured, and the networks adapted to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.evaluation.condition import Condition
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.remedies import Chain

Floats = NDArray[np.float32]

_ORIGINALS = ""


@dataclass
class Adaptation:
    """The images apart; what is made of them is kept for as long as this is.

    ``under`` gives them, (N, S, S, 3), under one of the ``conditions``; for None the originals.
    """

    under: Callable[[Condition | None], Images]
    conditions: Sequence[Condition]
    _statistics: dict[tuple[str, str], Mapping[str, Floats]] = field(default_factory=dict)
    _adapted: dict[tuple[str, str], Classifier] = field(default_factory=dict)

    def probabilities(
        self, images: Images, condition: Condition | None, classifier: Classifier, chain: Chain
    ) -> Floats:
        """For ``images`` under ``condition``, (N, classes), of the adapted ``classifier``.

        An attack is made for a single model and image: there, the statistics are of originals.
        """
        key = classifier.record.name, chain.id
        if key not in self._statistics:
            adapting = [
                condition
                for condition in self.conditions
                if not condition.needs_model and not condition.idle
            ]
            sets = (_preprocessed(chain, self.under(condition)) for condition in (None, *adapting))
            measured = classifier.adaptable.statistics(sets)
            names = [_ORIGINALS, *(condition.id for condition in adapting)]
            self._statistics[key] = dict(zip(names, measured, strict=True))
        statistics_by_set = self._statistics[key]
        name = condition.id if condition else _ORIGINALS
        statistics = statistics_by_set.get(name, statistics_by_set[_ORIGINALS])
        return classifier.adaptable.probabilities(_preprocessed(chain, images), statistics)

    def adapted(self, classifier: Classifier, chain: Chain) -> Classifier:
        """``classifier`` behind ``chain``, adapted to the originals."""
        key = classifier.record.name, chain.id
        if key not in self._adapted:
            self._adapted[key] = classifier.with_remedies(chain, reference=self.under(None))
        return self._adapted[key]


def can_adapt(classifier: Classifier) -> bool:
    """Whether ``classifier`` has batch normalisations to adapt."""
    try:
        return classifier.adaptable is not None
    except ParameterError:
        return False


def _preprocessed(chain: Chain, images: Images) -> Images:
    return chain.before.images(images) if chain.before else images
