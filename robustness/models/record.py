"""What is known about a model before anything is loaded, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from robustness.registry import Registry

STUDY = "study"
OFFLINE = "offline"

LayerWeights = Mapping[str, list[NDArray[Any]]]
"""Arrays by Keras layer name, in the order in which the layer lists its weights."""


@dataclass(frozen=True)
class Normalisation:
    """``(pixels - mean) / std`` on pixels in [0, ``scale``], channels in ``order``."""

    order: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class PublishedFile:
    """A weight file on a public host: ``size`` in bytes, and the ``md5`` that Keras publishes."""

    url: str
    size: int
    md5: str

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def digest(self) -> str:
        return f"md5:{self.md5}"


@dataclass(frozen=True)
class PackagedFile:
    """A weight file inside an installed Python package; the package's code is never run.

    ``size`` is in bytes. ``read`` turns the verified bytes into arrays by Keras layer name.
    """

    package: str
    path: str
    requirement: str
    size: int
    sha256: str
    read: Callable[[bytes], LayerWeights]

    @property
    def filename(self) -> str:
        return Path(self.path).name

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}"


WeightFile = PublishedFile | PackagedFile


@dataclass(frozen=True)
class ModelRecord:
    """A classifier of the 1000 ImageNet-1k classes.

    ``build()`` returns a Keras functional model without weights, from normalised pixels of
    ``input_size`` to probabilities. ``stages`` name the feature stages from shallow to deep with
    the layer whose output each one is; the last is the embedding that the classifier head reads.
    ``parameters`` counts as Keras does, moving averages included.
    """

    name: str
    label: str
    group: str
    family: str
    year: int
    parameters: int
    input_size: int
    normalisation: Normalisation
    stages: tuple[tuple[str, str], ...]
    weights: WeightFile
    build: Callable[[], Any]

    @property
    def embedding(self) -> str:
        return self.stages[-1][0]


REGISTRY: Registry[ModelRecord] = Registry("model")
