"""The interface between a classifier and the engine of its forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness.models.in_tensorflow.gradients import Network

Floats = NDArray[np.float32]

Precision = Literal["f32", "bf16"]
F32: Precision = "f32"
BF16: Precision = "bf16"

BESIDE_OTHERS: ContextVar[bool] = ContextVar("beside others", default=False)
"""Set while as many models as cores run at once: each pass then leaves the other cores free."""


class ForwardPass(Protocol):
    """One model's pass over any number of study images; thread-safe.

    An image's prediction does not depend on the rest of its batch. ``stages`` are the feature
    stages, shallow to deep; ``engine`` names engine, version and precision. ``exact`` is whether it
    computes in float32, as gradients do. ``model`` is the OpenVINO model that it is a pass of, None
    where another runtime predicts.
    """

    engine: str
    stages: tuple[str, ...]
    exact: bool
    model: Any

    def network(self, label: str) -> Network:
        """Builds the same model in TensorFlow's graph, for gradients and explanations.

        ``label`` is its display name. Raises ``GradientError`` for a model without gradients.
        """

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        """For (N, S, S, 3) in [0, 1]: probabilities (N, classes), and features (N, D) by stage.

        Features are the stage's activations averaged over all axes between images and channels.
        """

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        """The inner products (N, N) of the images' full activations, by stage.

        Full activations are up to millions of numbers per image; their products contain every
        angle and distance between the images.
        """
