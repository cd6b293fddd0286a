"""What a classifier asks of whatever runs its forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness.models.in_tensorflow.gradients import Network

Floats = NDArray[np.float32]

Precision = Literal["f32", "bf16"]
F32: Precision = "f32"
BF16: Precision = "bf16"

BESIDE_OTHERS: ContextVar[bool] = ContextVar("beside others", default=False)
"""Set where other models are asked at the same time, as many as there are cores: each pass then
leaves the other cores to those."""


class ForwardPass(Protocol):
    """The pass of one model over study images, for any number of them; safe between threads.

    An image's answer does not depend on the others of its batch. ``stages`` are the names of the
    feature stages, shallow to deep; ``engine`` says what runs the pass, and in which version and
    precision. ``exact`` is whether it computes in float32, as gradients are computed.
    """

    engine: str
    stages: tuple[str, ...]
    exact: bool

    def network(self, label: str) -> Network:
        """The same model in TensorFlow's graph, for gradients and explanations; made anew.

        ``label`` is its name for people. Raises ``GradientError`` for one that has none.
        """

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        """Of (N, S, S, 3) in [0, 1]: probabilities (N, classes), and by stage features (N, D).

        Features are the stage's activations, averaged over whatever lies between the images
        and the channels.
        """

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        """By stage the inner products (N, N) of the images' whole activations.

        Activations of the first stages are millions of numbers an image. Their products hold
        every angle and every distance between the images.
        """
