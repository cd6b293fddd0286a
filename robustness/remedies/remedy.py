"""The record of a remedy, and the registry of remedies.

A remedy acts between the perturbed image and the prediction, and needs no training. Its functions
take and return one 8-bit RGB image (S, S, 3), as a product's own code would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.argument_and_result_checks import checked_array, read_only
from robustness.base.registry import Registry

Levels = NDArray[Any]
"""One 8-bit RGB image, uint8 (S, S, 3)."""

Plane = NDArray[np.float32]
Change = Callable[[Levels], Levels]

ON_IMAGE = "image"
ON_PREDICTION = "prediction"
GATED = "gated"
SEVERAL_MODELS = "several models"
"""What a remedy changes: the image, always or behind a gate; or the prediction, by several views of
the image or by several models."""

MEAN, SUREST = "mean", "surest"
"""How the views become one prediction: their mean, or the view with the highest confidence if it
exceeds that of the first view by the margin."""


def unchanged(values: Any) -> Any:
    """``values`` themselves."""
    return values


@dataclass(frozen=True)
class ImageView:
    """One view of an image.

    ``change`` maps an image (S, S, 3) to the view. ``back`` maps a gradient (S, S, 3) with respect
    to the view to one with respect to the image; the default passes it straight through.
    """

    change: Change
    back: Callable[[Plane], Plane] = unchanged


ORIGINAL = ImageView(unchanged)
"""The image as it is."""


@dataclass(frozen=True)
class Gate:
    """The condition under which a gated remedy acts on an image.

    ``detector`` measures an image; the gate opens above ``threshold``. ``false_alarms`` is the
    share of originals, apart from those that set the threshold, on which it opens.
    """

    detector: Callable[[Levels], float]
    threshold: float
    false_alarms: float


@dataclass(frozen=True)
class Remedy:
    """A remedy with its data for tables, controls and reports.

    ``function`` is its change of one image: pure, deterministic, the same shape and type. ``views``
    replace it for a remedy of the kind ``ON_PREDICTION``; ``combine`` and ``margin`` say how they
    become one prediction. ``temperature`` divides the logits; a remedy that is written with one, as
    in temperature=1.7, has the ``range`` of it. ``against`` names, in words, what it should help
    against. ``original`` bounds the mean absolute change of an original photograph, in [0, 1]: that
    of the remedies here holds for 200 ImageNet photographs. None if it may change originals without
    a bound. ``source`` cites the method and its parameters.
    """

    name: str
    function: Change
    label: str
    kind: str
    against: str
    source: str
    original: float | None = None
    gate: Gate | None = None
    views: tuple[ImageView, ...] = field(default=(), repr=False)
    combine: str = MEAN
    margin: float = 0.0
    range: tuple[float, float] | None = None
    temperature: float = 1.0

    @property
    def id(self) -> str:
        """Its name, with the temperature if it is written with one; ``parse`` reads it back."""
        number = str(self.temperature).removesuffix(".0")
        return f"{self.name}={number}" if self.range else self.name

    def gated(self, image: Levels) -> Levels:
        """``image`` after the remedy, or itself while the gate is closed.

        Raises ``PluginError`` for a result that is no such image. The function cannot write to
        ``image``.
        """
        if self.gate is not None and not self.gate.detector(image) > self.gate.threshold:
            return image
        what = f"remedy {self.name!r}"
        return checked_array(what, self.function(read_only(image)), image.shape, "uint8", "u1")


REGISTRY: Registry[Remedy] = Registry("remedy")
remedy = REGISTRY.decorator(Remedy)
"""A decorator that registers a function of one image; keywords are the fields of ``Remedy``."""


def add_gated(name: str, of: str, gate: Gate, *, label: str, source: str) -> Remedy:
    """Register the remedy ``of`` behind ``gate``, as ``name``."""
    return REGISTRY.add(
        replace(REGISTRY[of], name=name, label=label, kind=GATED, gate=gate, source=source)
    )
