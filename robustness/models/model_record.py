"""What is known about a model before anything is loaded, the registry of all, and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from robustness.base.registry import Registry
from robustness.base.text import visible
from robustness.models import elsewhere
from robustness.models.labels import Labels, imagenet
from robustness.pictures.fitting import DEFAULT_FIT, Framing

STUDY = "study"
OFFLINE = "offline"
MODERN = "modern"
OWN = "own"

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
    """A weight file on a public host.

    ``size`` is in bytes, None where it was never published. ``digest`` is the published hash:
    ``md5:`` or ``sha256:`` and hexadecimal digits.
    """

    url: str
    size: int | None
    digest: str

    @property
    def name(self) -> str:
        """What the file is called wherever it lies."""
        return self.url.rsplit("/", 1)[1]

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return self.url


@dataclass(frozen=True)
class PackagedFile:
    """A weight file inside an installed Python package; the package's code is never run.

    ``requirement`` pins that package; it is empty for a file that the dashboard itself brings.
    ``size`` is in bytes. ``read`` turns the verified bytes into arrays by Keras layer name.
    ``converted_from`` is the SHA-256 of a published file with the same arrays in another format:
    saved runs identify the weights by it.
    """

    package: str
    path: str
    requirement: str
    size: int
    sha256: str
    read: Callable[[bytes], LayerWeights]
    converted_from: str = ""

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}"

    @property
    def source(self) -> str:
        """What brings it, for people."""
        return f"pip install {self.requirement}" if self.requirement else "part of the dashboard"

    @property
    def remedy(self) -> str:
        """What to do about a damaged file, as the end of a sentence."""
        if self.requirement:
            return f"run 'pip install --force-reinstall --no-deps {self.requirement}'"
        return "fetch the dashboard's own files again"


@dataclass(frozen=True)
class Preset:
    """A KerasHub preset: a folder of ``files`` on a public host.

    ``handle`` is owner/model/framework/name/version on Kaggle, ``url`` the address of a file there.
    No hash of them is published beforehand: the host's own is checked on arrival, and a list of
    SHA-256 sums is kept beside them and checked before use. ``load(network, folder)`` sets the
    weights of what the record's ``build`` returned; ``rewire`` turns that into a functional model
    that has the layers of the record's ``stages``. ``requires`` is the optional package it takes,
    and the requirements file that brings it.
    """

    handle: str
    files: tuple[str, ...]
    load: Callable[[Any, Path], None]
    rewire: Callable[[Any], Any]
    requires: tuple[str, str]

    digest: ClassVar[str] = ""  # none was published
    size: ClassVar[int | None] = None

    @property
    def name(self) -> str:
        """What the folder is called wherever it lies."""
        return self.handle.split("/")[-2]

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return self.url("").removesuffix("/download/")

    def url(self, file: str) -> str:
        return f"https://www.kaggle.com/api/v1/models/{self.handle}/download/{file}"


@dataclass(frozen=True)
class UserFile:
    """A whole model of the user's on this machine.

    A ``.keras`` file, a SavedModel folder, or a file of ``file_formats.kinds.FORMATS``. ``output``
    is ``probabilities`` or ``logits``. ``features`` are the layers whose outputs are compared,
    shallow to deep; empty where they are to be chosen. ``runtime`` is one of
    ``file_formats.kinds.RUNTIMES``, or empty: then quantised files are asked by their own.
    ``kind`` says which network in Python it was made of, if any; ``content`` is the digest of
    what it holds, where its bytes are not always the same.
    """

    path: Path
    output: str
    features: tuple[str, ...]
    runtime: str = ""
    kind: str = ""
    content: str = ""

    digest: ClassVar[str] = ""  # as above

    @property
    def source(self) -> str:
        """Where it lies, for people."""
        return str(self.path)

    @property
    def variant(self) -> str:
        """What tells its answers from those of others with the same file; part of its digest."""
        return self.kind


Weights = PublishedFile | PackagedFile | Preset | UserFile


@dataclass(frozen=True)
class PublishedScores:
    """What was published about a model, in percent; None where nothing is known.

    ``top1`` and ``top5`` are ImageNet validation accuracies according to ``source``.
    ``mce`` is ImageNet-C's mean corruption error relative to AlexNet, lower is better, and
    ``relative_mce`` the same for what the corruptions add, both according to
    ``robustness_source``.
    """

    top1: float | None = None
    top5: float | None = None
    source: str = ""
    mce: float | None = None
    relative_mce: float | None = None
    robustness_source: str = ""


@dataclass(frozen=True)
class FitAccuracies:
    """Top-1 accuracy, in percent, by how a photo becomes the square that the model is shown.

    ``crop``, ``squash`` and ``letterbox`` are of study images of 224 pixels; ``own`` is of the crop
    at the model's own input size. Measured on ``FIT_PHOTOGRAPHS`` labelled photographs, one a
    class.
    """

    crop: float
    squash: float
    letterbox: float
    own: float


FIT_PHOTOGRAPHS = 200


@dataclass(frozen=True)
class KnownPicture:
    """An image that a working model knows: a bundled sample by name, or a file.

    The answer is right when the top-1 class is one of ``classes``, and near ``probability`` where
    that is known. Measured on the offline models, a wrong channel order or scale can leave every
    top-1 class right and shows in the probability alone.
    """

    source: str | Path
    classes: tuple[str, ...]
    probability: float | None = None


IMAGENET_PICTURES = (
    KnownPicture("coffee", ("espresso", "cup", "coffee mug")),
    KnownPicture("chelsea", ("Egyptian cat", "tabby", "tiger cat")),
    KnownPicture("motorcycle", ("moped", "motor scooter", "disk brake")),
)


Stages = tuple[tuple[str, str], ...]
"""(name of a feature stage, name of the layer whose output it is), shallow to deep."""


@dataclass(frozen=True)
class ModelRecord:
    """A classifier: what is known of it, where its weights are, and how it is built.

    ``build()`` returns a Keras model without weights, from normalised pixels of ``input_size`` to
    probabilities. ``stages`` name the feature stages from shallow to deep with the layer whose
    output each one is; the last is the embedding that the classifier head reads. Both are unused
    for a model of the user's, whose file holds all of it. ``head_reads_map`` is whether the head
    reads the last stage place by place, and not its average over height and width. ``parameters``
    counts as Keras does, moving averages included; it and ``year`` are None where unknown.
    ``input_shape`` is (height, width) of an input that is not square, whose longer side is
    ``input_size``. A model with a ``fit`` is measured at its own input side by default, in that
    fit; one without it like the bundled models.
    """

    name: str
    label: str
    group: str
    family: str
    year: int | None
    parameters: int | None
    input_size: int
    normalisation: Normalisation
    stages: Stages
    weights: Weights
    build: Callable[[], Any]
    labels: Callable[[], Labels] = imagenet
    published: PublishedScores = PublishedScores()
    fits: FitAccuracies | None = None
    known_pictures: tuple[KnownPicture, ...] = IMAGENET_PICTURES
    head_reads_map: bool = False
    input_shape: tuple[int, int] | None = None
    fit: str = ""

    @property
    def framing(self) -> Framing:
        """How it sees images unless a request says otherwise."""
        return Framing(self.fit, self.input_size) if self.fit else Framing()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.input_shape or (self.input_size, self.input_size)

    @property
    def own_fit(self) -> str:
        """The fit that shows the network all that it was trained to see."""
        return self.fit or ("squash" if self.input_shape else DEFAULT_FIT)

    @property
    def input_text(self) -> str:
        """The size of the network's input, for people."""
        return " x ".join(map(str, self.input_shape or (self.input_size,))) + " px"

    def class_name(self, index: int) -> str:
        """What it calls its class ``index``; the index itself where it has no such class."""
        names = self.labels().names
        return names[index] if 0 <= index < len(names) else str(index)


REGISTRY: Registry[ModelRecord] = Registry("model")


def label(name: str) -> str:
    """The readable name of the model called ``name``.

    That of one which is not known here is itself, with what cannot be seen made ``visible``.
    """
    return REGISTRY[name].label if name in REGISTRY else visible(name)


def class_name(model: str, index: int) -> str:
    """What the model called ``model`` names its class ``index``.

    The index itself if that is not known, as in a run from another machine.
    """
    labels = classes(model)
    return labels.names[index] if labels is not None and 0 <= index < len(labels) else str(index)


def classes(model: str) -> Labels | None:
    """The classes of the model called ``model``, also of one that a saved run tells of."""
    return REGISTRY[model].labels() if model in REGISTRY else elsewhere.labels_of(model)


def by_labels(names: Iterable[str]) -> list[tuple[Labels, tuple[str, ...]]]:
    """The models ``names`` in groups that tell the same classes apart, in order of appearance.

    Only within a group is it fair to rank: keeping an answer among ten classes is easier than
    among a thousand. Models that are not registered here, as in a run from another machine, form
    a group of their own. No two groups have one title: of those that would, each names its first
    model.
    """
    groups: dict[str, tuple[Labels, list[str]]] = {}
    for name in names:
        labels = classes(name) or Labels("unknown classes", ())
        groups.setdefault(labels.key, (labels, []))[1].append(name)
    titles = Counter(labels.title for labels, _ in groups.values())
    found = []
    for labels, members in groups.values():
        if titles[labels.title] > 1:
            labels = replace(labels, title=f"{labels.title} ({members[0]})")
        found.append((labels, tuple(members)))
    return found
