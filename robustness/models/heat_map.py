"""Grad-CAM: where in an image the evidence for a class is.

Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization*, ICCV 2017, equations 1 and 2. With y the logit of the class and A the last feature
maps, the weight of channel k is the mean of its gradient dy/dA_k over all cells, and the map is
ReLU(sum_k weight_k A_k). If the head is a global average and one dense layer, the sum of the cells
before the ReLU is the logit without its bias.

In a vision transformer, A is what the attention of the last block reads of each patch. Later
values of a patch have no gradient, since only the class token goes on to the answer. Earlier ones,
before the layer normalisation, have a gradient at right angles to the token itself, so that its
product with the token says nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustness.base.errors import ExplanationError, GradientError, ParameterError
from robustness.base.text import counted
from robustness.models.classifier import MAX_BATCH, Classifier
from robustness.models.engine import Floats
from robustness.models.frameworks import tensorflow
from robustness.models.replay import ReplayedNetwork
from robustness.models.stages import find_last_grid


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
        if self.scale == 0:
            return self.values.copy()
        return self.values / np.float32(self.scale)


def heat_maps(classifier: Classifier, images: Floats, classes: ArrayLike) -> HeatMaps:
    """Compute the Grad-CAM of ``images`` (N, S, S, 3) for ``classes``.

    These are class indices, (N,), or one index for all images. An image's map does not depend on
    the other images. The first call for a classifier compiles it, for any images and classes; safe
    to call from several threads. Raises ``ParameterError`` for another shape or a class that does
    not exist, and ``ExplanationError`` for a model whose features cannot be reached or have no
    positions.
    """
    classifier.check_images(images)
    chosen = np.asarray(classes)
    is_integer = np.issubdtype(chosen.dtype, np.integer)
    if chosen.shape not in ((), (len(images),)) or not is_integer:
        raise ParameterError(
            f"Expected one class index, or one for each of {counted(len(images), 'image')}, "
            f"got {classes!r}."
        )
    class_count = len(classifier.record.labels())
    if chosen.min() < 0 or chosen.max() >= class_count:
        raise ParameterError(
            f"A class of {classifier.record.name} must lie between 0 and {class_count - 1}, got "
            f"{classes!r}."
        )
    indices = np.broadcast_to(chosen, len(images)).astype(np.int32)
    explainer = _explainer(classifier)
    maps = []
    for start in range(0, len(images), explainer.rows):
        batch = slice(start, start + explainer.rows)
        values, cells = explainer(images[batch], indices[batch])
        maps.append(values)
    return HeatMaps(np.concatenate(maps), cells)


_explainers: WeakKeyDictionary[Classifier, Explainer] = WeakKeyDictionary()
_building = threading.Lock()


def _explainer(classifier: Classifier) -> Explainer:
    """The explainer of ``classifier``, built once and dropped with it."""
    with _building:
        if classifier in _explainers:
            return _explainers[classifier]
        cannot = f"Where {classifier.record.label} looks cannot be shown, as"
        try:
            network = classifier.graph
        except GradientError as error:
            raise ExplanationError(f"{cannot} it gives no gradients.") from error
        if not isinstance(network, ReplayedNetwork):
            raise ExplanationError(f"{cannot} OpenVINO cannot take its network.")
        _explainers[classifier] = Explainer(network)
        return _explainers[classifier]


class Explainer:
    """The compiled pass from images and class indices to heat maps, of one network."""

    def __init__(self, network: ReplayedNetwork) -> None:
        """Raises ``ExplanationError`` for a network whose features have no positions."""
        tf = tensorflow()
        layer = find_last_grid(network.label, network.graph)
        side = network.side
        self.rows = network.rows or MAX_BATCH
        signature = [
            tf.TensorSpec((network.rows, side, side, 3), tf.float32),
            tf.TensorSpec((network.rows,), tf.int32),
        ]

        @tf.function(input_signature=signature, autograph=False)
        def maps(images: Any, classes: Any) -> Any:
            scores, (features,) = network.with_scores(images, [layer.output])
            chosen = tf.gather(scores, classes, batch_dims=1)
            # The images of a batch do not mix, so the gradient of the sum of their scores contains
            # that of each image. Unlike a tape, tf.gradients goes back no further than to the
            # features.
            (gradient,) = tf.gradients(chosen, features.tensor)
            if gradient is None:
                raise LookupError("no differentiable way from the features to the answer")
            grid = layer.as_grid(features.tensor, features.order)
            slopes = layer.as_grid(gradient, features.order)
            weights = tf.reduce_mean(slopes, (1, 2), keepdims=True)
            heat = tf.nn.relu(tf.reduce_sum(weights * grid, -1))
            resized = tf.image.resize(heat[..., None], (side, side), "bilinear")
            return resized[..., 0], tf.shape(heat)[1:]

        self._compiled = maps
        self._traced = maps.get_concrete_function()

    def __call__(self, images: Floats, classes: NDArray[np.int32]) -> tuple[Floats, Any]:
        """Return the maps (N, S, S) of one batch, and the height and width of their grid."""
        tf = tensorflow()
        values, cells = self._traced(tf.constant(images), tf.constant(classes))
        height, width = cells.numpy()
        return values.numpy(), (int(height), int(width))


INFERNO = (
    "#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60",
    "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4",
)  # fmt: skip
"""Ten evenly spaced colours of Smith & van der Walt's inferno (Matplotlib 1.5, 2015), as Plotly
has them. Their lightness rises evenly: they keep their order without red, without green, and
in grey."""

OPACITY = 0.75
"""The opacity of the colour where the evidence is strongest.

Elsewhere it is this times the square root of the heat, so that weak evidence is visible, and an
image without evidence stays as it is."""

_STOPS = np.array([list(bytes.fromhex(colour[1:])) for colour in INFERNO]) / 255
"""The colours of ``INFERNO``, (10, 3) in [0, 1]."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def colours(heat: Floats) -> Floats:
    """Return the colours (..., 3) of ``heat``, which is in [0, 1] and of any shape."""
    positions = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(heat, positions, stops) for stops in _STOPS.T]
    return np.stack(channels, axis=-1).astype(np.float32)


def overlay(images: Floats, heat: Floats) -> Floats:
    """Return ``images`` (..., S, S, 3) in grey with ``heat`` (..., S, S) in colour over them.

    All values are in [0, 1]. The images lose their colours, so that every colour is one of the
    scale. Raises ``ParameterError`` for another shape or range.
    """
    if images.shape != (*heat.shape, 3):
        raise ParameterError(
            f"Expected a heat map of the shape of the image, {images.shape[:-1]}, got {heat.shape}."
        )
    if not (np.all(heat >= 0) and np.all(heat <= 1)):
        raise ParameterError(
            f"Expected heat from 0 to 1, got {heat.min():.3g} to {heat.max():.3g}: divide by the "
            "common scale."
        )
    grey = (images @ _LUMA)[..., None]
    opacity = OPACITY * np.sqrt(heat, dtype=np.float32)[..., None]
    return np.clip(grey * (1 - opacity) + colours(heat) * opacity, 0, 1)


def colour_bar() -> Floats:
    """Return the scale from 0 (left) to 1, as it looks over mid-grey: (16, 256, 3) in [0, 1]."""
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (16, 1))
    return overlay(np.full((*heat.shape, 3), 0.5, np.float32), heat)
