"""Grad-CAM: where in an image the evidence for a class lies.

Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization*, ICCV 2017, equations 1 and 2. With y the logit of the class and A the last feature
maps, channel k weighs as much as its gradient dy/dA_k, averaged over all cells, and the map is
ReLU(sum_k weight_k A_k). Where the head is a global average and one dense layer, the cells
before the ReLU sum to the logit less its bias.

Of a vision transformer A is what the attention of the last block reads of each patch. Only the
class token goes on to the answer, so later tokens of patches have no gradient; and before the
layer normalisation that of each token is at right angles to the token itself, so that its
product with it says nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustness.base.errors import ExplanationError, GradientError, ParameterError
from robustness.base.text import counted
from robustness.models.classifier import MAX_BATCH, Classifier
from robustness.models.in_tensorflow.explainer import Explainer
from robustness.models.in_tensorflow.replay.network import ReplayedNetwork

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class HeatMaps:
    """Where the evidence for a class lies in each of N images, on one scale.

    ``values`` is (N, S, S), at least 0, in logits a cell. They compare between images and
    classes of one model, not between models. ``cells`` is the grid that they were computed on,
    as height and width; what lies between its cells is interpolated.
    """

    values: Floats
    cells: tuple[int, int]

    @property
    def scale(self) -> float:
        """The largest value of all maps; 0 where there is no evidence in any."""
        return float(self.values.max())

    @property
    def relative(self) -> Floats:
        """The maps as shares of ``scale``, in [0, 1]."""
        return self.values / np.float32(self.scale) if self.scale > 0 else self.values.copy()


def heat_maps(classifier: Classifier, images: Floats, classes: ArrayLike) -> HeatMaps:
    """Grad-CAM of ``images`` (N, S, S, 3), each for its class: (N,), or one index for all.

    An image's map does not depend on the others. Compiled at the first call for a classifier,
    for any images and classes; safe to call from several threads. Raises ``ParameterError``
    for another shape or a class that there is not, and ``ExplanationError`` for a model whose
    features cannot be reached or have no places.
    """
    count = len(classifier.record.labels())
    classifier.check_images(images)
    wanted = np.asarray(classes)
    if wanted.shape not in ((), (len(images),)) or not np.issubdtype(wanted.dtype, np.integer):
        raise ParameterError(
            f"Expected one class index, or one for each of {counted(len(images), 'image')}, "
            f"got {classes!r}."
        )
    if wanted.min() < 0 or wanted.max() >= count:
        raise ParameterError(
            f"A class of {classifier.record.name} must lie between 0 and {count - 1}, got "
            f"{classes!r}."
        )
    indices = np.broadcast_to(wanted, len(images)).astype(np.int32)
    compiled = _explainer(classifier)
    parts = [
        compiled(images[start : start + compiled.rows], indices[start : start + compiled.rows])
        for start in range(0, len(images), compiled.rows)
    ]
    return HeatMaps(np.concatenate([values for values, _ in parts]), parts[0][1])


def _replay(classifier: Classifier) -> ReplayedNetwork:
    label = classifier.record.label
    try:
        network = classifier.graph
    except GradientError as error:
        raise ExplanationError(
            f"Where {label} looks cannot be shown, as it gives no gradients."
        ) from error
    if isinstance(network, ReplayedNetwork):
        return network
    raise ExplanationError(
        f"Where {label} looks cannot be shown, as OpenVINO cannot take its network."
    )


_explainers: WeakKeyDictionary[Classifier, Explainer] = WeakKeyDictionary()
_building = threading.Lock()


def _explainer(classifier: Classifier) -> Explainer:
    """The one of ``classifier``, built once; it goes when the classifier does."""
    with _building:
        found = _explainers.get(classifier)
        if found is None:
            found = _explainers[classifier] = Explainer(_replay(classifier), MAX_BATCH)
        return found
