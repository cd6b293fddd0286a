"""Remedies in a row, ``median`` or ``median+tta``: applied to batches, or as Python code.

Study images are float32 RGB in [0, 1], shape (N, S, S, 3), on the 8-bit grid.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.pictures.eight_bits import from_uint8, to_uint8
from robustness.remedies.remedy import (
    GATED,
    ON_IMAGE,
    ON_PREDICTION,
    ORIGINAL,
    REGISTRY,
    SEVERAL_MODELS,
    SUREST,
    ImageView,
    Levels,
    Remedy,
)

if TYPE_CHECKING:
    from robustness.perturbations import Images

Floats = NDArray[np.float32]

MOST = 8
"""Remedies in a chain; anyone may put a chain into a link."""


@dataclass(frozen=True)
class Chain:
    """Remedies in the order of their application; at most the last acts on the prediction.

    Created by ``parse``. ``id`` reads back as the chain.
    """

    remedies: tuple[Remedy, ...]

    @property
    def id(self) -> str:
        return "+".join(remedy.id for remedy in self.remedies)

    @property
    def label(self) -> str:
        return " + ".join(remedy.label for remedy in self.remedies)

    @property
    def last(self) -> Remedy:
        return self.remedies[-1]

    @property
    def on_image(self) -> bool:
        """Whether it gives one image, which needs no model."""
        return self.last.kind in (ON_IMAGE, GATED)

    @property
    def several_models(self) -> bool:
        """Whether it needs the predictions of several models."""
        return self.last.kind == SEVERAL_MODELS

    @property
    def changes_images(self) -> bool:
        """Whether a model predicts other images with it; else it acts on probabilities alone."""
        return self._views != (ORIGINAL,) or any(
            remedy.kind != ON_PREDICTION for remedy in self.remedies
        )

    @property
    def passes(self) -> int:
        """Forward passes an image, of each model."""
        return len(self._views)

    def image(self, image: Levels) -> Levels:
        """One 8-bit RGB image (H, W, 3) after the remedies on the image."""
        for remedy in self.remedies if self.on_image else self.remedies[:-1]:
            image = remedy.gated(np.ascontiguousarray(image))
        return image

    def images(self, images: Images) -> Images:
        """``images`` (N, S, S, 3) after the remedies on the image; a new array."""
        return self._changed(images, ORIGINAL)

    def views(self, images: Images) -> list[Images]:
        """The views of ``images`` that a model predicts, each (N, S, S, 3)."""
        if not self.changes_images:
            return [images]  # not rounded: those between 8-bit images have a slope
        return [self._changed(images, view) for view in self._views]

    @property
    def _views(self) -> tuple[ImageView, ...]:
        return (ORIGINAL,) if self.on_image or not self.last.views else self.last.views

    def _changed(self, images: Images, view: ImageView) -> Images:
        remedied = np.empty(images.shape, np.uint8)
        for image, out in zip(to_uint8(images), remedied, strict=True):
            out[:] = view.change(self.image(image))
        return from_uint8(remedied)

    def tempered(self, probabilities: Floats) -> Floats:
        """softmax(log p / T) of ``probabilities`` p (N, classes); no top-1 class changes."""
        if self.last.temperature == 1:
            return probabilities
        highest = probabilities.max(axis=1, keepdims=True).astype(np.float64)
        powers = (probabilities / highest) ** (1 / self.last.temperature)  # 0 stays 0
        shares = np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
        rows, top = np.arange(len(shares)), probabilities.argmax(axis=1)
        rounded = shares.argmax(axis=1) != top  # two nearly equal ones became the same number
        shares[rows[rounded], top[rounded]] = np.nextafter(
            shares.max(axis=1)[rounded], np.float32(2)
        )
        return shares

    def weights(self, probabilities: Floats) -> Floats:
        """The weight of each view, (views, N), from its ``probabilities`` (views, N, classes)."""
        views, count, _ = probabilities.shape
        if self.last.combine != SUREST:
            return np.full((views, count), 1 / views, np.float32)
        confidence = probabilities.max(axis=2)
        best = confidence.argmax(axis=0)
        surer = confidence.max(axis=0) > confidence[0] + self.last.margin
        chosen = np.where(surer, best, 0)
        return np.asarray(np.arange(views)[:, None] == chosen, np.float32)

    def back(self, gradients: Sequence[Floats]) -> Floats:
        """The gradient for the images, from one of each view; straight through the rest."""
        combined = np.zeros_like(gradients[0])
        for view, gradient in zip(self._views, gradients, strict=True):
            combined += np.stack([view.back(image) for image in gradient])
        return combined


def parse(text: str | Iterable[str] | Chain) -> Chain:
    """The chain that ``text`` describes, such as ``median``, ``median+tta`` or a list of both.

    Raises ``UnknownNameError`` for an unknown remedy, ``ParameterError`` for a remedy on the
    prediction before the end, for more than ``MOST``, for a temperature out of range or for a
    remedy without one, and for anything but names.
    """
    if isinstance(text, Chain):
        return text
    parts = []
    if isinstance(text, str):
        parts = [text]
    elif isinstance(text, Iterable):
        parts = list(text)
    if not parts or not all(isinstance(part, str) for part in parts):
        raise ParameterError(
            f"Expected the names of remedies, such as median+tta, got {text!r}. "
            "The command remedies lists them."
        )
    names = "+".join(parts).split("+")
    if len(names) > MOST:
        raise ParameterError(
            f"Expected at most {MOST} remedies in a chain, got {len(names)}. Leave some out."
        )
    chain = Chain(tuple(_remedy(name) for name in names))
    for remedy in chain.remedies[:-1]:
        if remedy.kind not in (ON_IMAGE, GATED):
            raise ParameterError(
                f"Expected {remedy.name} at the end of {chain.id}: it acts on the prediction. "
                "Put remedies on the image before it."
            )
    return chain


def _remedy(text: str) -> Remedy:
    name, sign, number = (part.strip() for part in text.partition("="))
    remedy = REGISTRY[name]
    if remedy.range is None:
        if sign:
            raise ParameterError(f"Expected {remedy.name} without a number, got {text.strip()!r}.")
        return remedy
    low, high = remedy.range
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ParameterError(
            f"Expected a number from {low:g} to {high:g}, as in {remedy.name}=1.7, got "
            f"{text.strip()!r}. The command calibrate fits it."
        )
    return replace(remedy, temperature=value, label=f"{remedy.label} {value:g}")


def parse_all(texts: str | Iterable[str]) -> tuple[Chain, ...]:
    """The chains of a text such as ``median,autocontrast,tta``, or of several; each once."""
    parts = texts.split(",") if isinstance(texts, str) else texts
    names = (part.strip() for part in parts)
    return tuple(dict.fromkeys(parse(name) for name in names if name))


_HEAD = '''def remedied(image: np.ndarray) -> np.ndarray:
    """Apply the remedy to an RGB image, uint8 (H, W, 3); OpenCV reads images as BGR."""
'''


def python(chain: Chain) -> str:
    """The source of functions of one RGB image, uint8 (H, W, 3), that do what ``chain`` does.

    The last, ``remedied``, calls the others. Raises ``ParameterError`` for a chain that acts on
    the prediction.
    """
    if not chain.on_image:
        raise ParameterError(
            f"Expected a remedy on the image to copy as code, got {chain.id}. Use "
            "load_model(name).with_remedies([...])."
        )
    functions: dict[str, Callable[..., Any]] = {}
    steps, parts = [], ["import cv2\nimport numpy as np"]
    for remedy in chain.remedies:
        step = f"image = {remedy.function.__name__}(image)"
        functions[remedy.function.__name__] = remedy.function
        if remedy.gate is not None:
            detector = remedy.gate.detector
            functions[detector.__name__] = detector
            step = f"if {detector.__name__}(image) > {remedy.gate.threshold}:\n    {step}"
        steps.append(step)
    for function in functions.values():
        source = inspect.getsource(function)
        without_decorator = source[source.index("def ") :].strip()
        parts.append(re.sub(r"\bLevels\b", "np.ndarray", without_decorator))
    body = textwrap.indent("\n".join([*steps, "return image"]), "    ")
    return "\n\n\n".join([*parts, f"{_HEAD}{body}\n"])
