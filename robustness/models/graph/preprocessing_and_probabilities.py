"""How a model is used: what it takes of study images, and what its answers say, in NumPy.

``graph_preprocessing_and_facts`` does the same in a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.file_formats.format_and_runtime_record import Quantisation
from robustness.models.model_and_weights_record import Normalisation

Array = NDArray[Any]
Floats = NDArray[np.float32]

Shape = tuple[int, int]
"""Height and width of a network's input."""


@dataclass(frozen=True)
class Use:
    """How to use a file, by its description and its own bytes.

    ``side`` is that of the study images, ``shape`` the height and width of the file's input. With
    ``background`` the file may have one class more than ``classes``, ahead of all: it is left out.
    The probabilities of a ``quantised`` file are rounded, even where they are floating point: they
    need not sum to 1.
    """

    side: int
    shape: tuple[int, int]
    normalisation: Normalisation
    logits: bool
    classes: int
    background: bool
    features: tuple[str, ...] = ()
    input: Quantisation | None = None
    output: Quantisation | None = None
    quantised: bool = False

    @property
    def widths(self) -> set[int]:
        """The numbers of values that an answer may have."""
        return {self.classes, self.classes + 1} if self.background else {self.classes}


# --- images --------------------------------------------------------------------------------------

_KEYS = -0.5
"""Parameter of the cubic kernel: Keys, IEEE Trans. ASSP 1981."""

_TABLE = np.float32(1024)
"""For enlarging, TensorFlow reads the kernel from a table with this many entries a pixel."""


def bicubic(side: int, size: int) -> NDArray[np.float32]:
    """The matrix (``size``, ``side``) that resizes a column of ``side`` pixels as TensorFlow does.

    Bicubic; antialiased when shrinking.
    """
    ratio, half = np.float32(side / size), np.float32(0.5)
    centres = (np.arange(size, dtype=np.float32) + half) * ratio - half
    if side <= size:
        below = np.floor(centres)
        centres = below + np.rint((centres - below) * _TABLE) / _TABLE
    d, a = np.abs(centres[:, None] - np.arange(side)) / max(1.0, side / size), _KEYS
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def resizing(
    side: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Matrices that resize rows and columns of square images to ``shape`` (height, width).

    None if the images have that shape already.
    """
    height, width = shape
    return None if height == width == side else (bicubic(side, height), bicubic(side, width))


def factors(normalisation: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor and offset of each channel, in the model's order, for pixels in [0, 1]."""
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    return (normalisation.scale / std).astype(np.float32), (-mean / std).astype(np.float32)


def prepared(images: Floats, use: Use, second: bool, kind: np.dtype[Any]) -> Array:
    """Study images (N, S, S, 3) as the file takes them, as the study model prepares them."""
    pixels = images.transpose(0, 3, 1, 2)
    if (resize := resizing(use.side, use.shape)) is not None:
        pixels = (resize[0] @ pixels @ resize[1].T).clip(0, 1)
    if use.normalisation.order == "BGR":
        pixels = pixels[:, ::-1]
    scale, offset = (factor.reshape(3, 1, 1) for factor in factors(use.normalisation))
    pixels = pixels * scale + offset
    if kind.kind in "iu":
        if use.input is not None:
            pixels = pixels * np.float32(1 / use.input.scale) + np.float32(use.input.zero_point)
        limits = np.iinfo(kind)
        pixels = np.rint(pixels).clip(limits.min, limits.max)
    if not second:
        pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels, kind)


def trial_images(side: int) -> Floats:
    """Noise, and an image of one colour: two study images, (2, ``side``, ``side``, 3)."""
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)) / np.float32(255)
    images[1] = images[1, :1, :1]
    return images.astype(np.float32)


# --- answers -------------------------------------------------------------------------------------

TINY = 1e-12
"""Added to probabilities before they are divided by their sum, which may be 0."""


def probabilities_of(answers: Array, use: Use) -> Floats:
    """Answers (N, classes) of the file as probabilities of the classes, without the background."""
    probabilities = np.asarray(answers, np.float32)
    background = probabilities.shape[1] == use.classes + 1
    probabilities = probabilities[:, 1:] if background else probabilities
    if use.logits:
        probabilities = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
    elif use.quantised or not background:  # rounded probabilities are the file's own
        return probabilities
    probabilities = probabilities + np.float32(TINY)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), np.float32)


SIMPLEX_TOLERANCE = 1e-3
"""Accepted distance of an image's probabilities from a sum of 1; half precision rounds."""

NOT_FINITE = (
    "its output for an image is not finite (NaN or infinity), as with damaged weights; train or "
    "save it again"
)

OTHER_OUTPUTS = (
    'if these are logits, write output = "logits"; if they come from a sigmoid, export the model '
    "without it"
)

SIGMOID = (
    "Its outputs all lie between 0 and 1, as after a sigmoid: taken as logits they give nearly "
    "equal probabilities. Export the model without the sigmoid."
)


def is_distribution(answers: Any, slack: float = 0.0) -> bool:
    """Whether each row is finite, not negative, and sums to 1, give or take ``slack`` more."""
    rows = np.asarray(answers, np.float64)
    return bool(
        np.isfinite(rows).all()
        and (rows >= -SIMPLEX_TOLERANCE).all()
        and np.abs(rows.sum(axis=1) - 1).max() <= SIMPLEX_TOLERANCE + slack
    )


def are_logits(answers: Any, distribution: bool) -> bool | None:
    """Whether answers are logits; None if that is unknown, as after a sigmoid.

    ``distribution`` says whether their rows are probabilities that sum to 1.
    """
    if distribution:
        return False
    return None if np.min(answers) >= 0 and np.max(answers) <= 1 else True


def other_classes(count: int, named: int) -> str:
    """A clause for a network whose number of classes is not that of its labels."""
    if count == 1:
        return (
            "its output is one number for an image, as of one sigmoid; export it with one output "
            "for each class"
        )
    return f"it has {count} outputs; its labels name {named} classes"
