"""Images apart from those that are measured, and the networks adapted to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.evaluation.condition import Condition
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.remedies import Chain

Floats = NDArray[np.float32]


@dataclass
class Adaptation:
    """The images apart; what is made of them is kept for as long as this is.

    ``under`` gives them, (N, S, S, 3), under a condition; for None the originals.
    """

    under: Callable[[Condition | None], Images]
    _statistics: dict[tuple[str, str, str], Floats] = field(default_factory=dict)
    _adapted: dict[tuple[str, str], Classifier] = field(default_factory=dict)

    def probabilities(
        self, images: Images, condition: Condition | None, classifier: Classifier, chain: Chain
    ) -> Floats:
        """For ``images`` under ``condition``, (N, classes), of the adapted ``classifier``.

        An attack is made for a single model and image: there, the statistics are of originals.
        """
        if condition is not None and condition.needs_model:
            condition = None
        key = classifier.record.name, chain.id, condition.id if condition else ""
        if key not in self._statistics:
            apart = _behind(chain, self.under(condition))
            self._statistics[key] = classifier.adaptable.statistics(apart)
        return classifier.adaptable.probabilities(_behind(chain, images), self._statistics[key])

    def adapted(self, classifier: Classifier, chain: Chain) -> Classifier:
        """``classifier`` behind ``chain``, adapted to the originals."""
        key = classifier.record.name, chain.id
        if key not in self._adapted:
            self._adapted[key] = classifier.with_remedies(chain, apart=self.under(None))
        return self._adapted[key]


def can_adapt(classifier: Classifier) -> bool:
    """Whether ``classifier`` has batch normalisations to adapt."""
    try:
        return classifier.adaptable is not None
    except ParameterError:
        return False


def _behind(chain: Chain, images: Images) -> Images:
    return chain.before.images(images) if chain.before else images
