"""Propose the description of a model file from its contents and its predictions on images."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.models.file_formats.formats import native_runtime
from robustness.models.graph.cache import written_pass
from robustness.models.graph.inspection import describe_file, examine, use_of
from robustness.models.graph.use import factors
from robustness.models.labels import Labels, imagenet
from robustness.models.model_record import (
    IMAGENET_PICTURES,
    LabelledAccuracy,
    ModelRecord,
    Normalisation,
)
from robustness.models.own import add, model_file, user_models
from robustness.models.own.describe import INPUT_TYPE, are_imagenet
from robustness.models.own.stated_preprocessing import (
    FRAMING_KEYS,
    NORMALISATIONS,
    OF_BYTES,
    framing_values,
    shape_of,
    value_of,
)
from robustness.models.run.native_runtimes import NativePass, as_deployed
from robustness.models.run.openvino import ForwardPass
from robustness.pictures.fitting import STUDY_FRAMING, Framing, read_file, study_image
from robustness.pictures.resizing import OPENCV, PIL
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.pictures.samples import sample_bytes

WHOLE = "squash"
"""The fit of models with classes of their own: their images may be framed as nobody knows."""

MOST_IMAGES, _MOST_BYTES = 200, 2**28
"""Images of a folder that are tried, and bytes that they may take."""

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_CLEARLY = 0.02
"""Least lead over another normalisation: in the mean probability of the true class, or in the share
of correct images."""

UNDECIDED = (
    "These images cannot decide the normalisation: use labelled ones, or check the model's "
    "documentation."
)

_BETTER = 0.05
"""Least lead over a normalisation that the user chose. Measured on the bundled models: a wrong
one leads by at most 0.02, the right one leads harmful ones by 0.05 to 0.4."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Labelled:
    """Images (N, S, S, 3) in [0, 1] at the model's own side, and the correct classes of each."""

    images: Floats
    classes: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class Trial:
    """A normalisation, its number of correct images, and two means over all images.

    ``value`` is what ``models.toml`` says for it; ``confidence`` is the mean probability of the
    predicted class, ``true_class_probability`` that of the true one.
    """

    name: str
    value: str | dict[str, Any]
    correct: int
    confidence: float
    true_class_probability: float

    @property
    def text(self) -> str:
        """What it gave, for people."""
        return (
            f"{self.correct} correct, mean confidence {self.confidence:.1%}, mean probability of "
            f"the true class {self.true_class_probability:.1%}"
        )


@dataclass(frozen=True)
class Difference:
    """Difference between OpenVINO's predictions and those of a quantised file's own ``runtime``.

    ``agreement`` is the share of images with one top-1 class, ``largest`` of a probability.
    """

    runtime: str
    agreement: float
    largest: float


@dataclass(frozen=True)
class FramingTrial:
    """The number of correct images in one framing."""

    framing: Framing
    correct: int

    @property
    def text(self) -> str:
        """All of it, for people."""
        return f"{self.correct} with {self.framing.text}"


@dataclass(frozen=True)
class Description:
    """A model file as ``models.toml`` describes it, and why so.

    ``entry`` are its values there; ``missing`` are the keys that nothing tells, and ``sources``
    says what told a value that the user did not give. The file has ``outputs`` classes, None if
    unknown; ``classes`` are their names in the file, which the file of ``labels`` is to hold.
    ``trials`` are the normalisations that were tried, the best first, on ``tried_on`` images, and
    ``framings`` its own framing and the usual crop, tried on the same ones if they were given.
    ``samples`` is what the model says of the bundled samples; ``native`` is how far OpenVINO
    differs from that for a quantised file.
    ``warning`` says why a given value may be wrong, ``resizings`` that another interpolation does
    better on the images than that of its ``framing``.
    """

    name: str
    format: str
    entry: Mapping[str, Any]
    sources: Mapping[str, str]
    missing: tuple[str, ...]
    classes: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    tried_on: int = 0
    samples: Sequence[Mapping[str, Any]] = ()
    native: Difference | None = None
    warning: str = ""
    framings: tuple[FramingTrial, ...] = ()
    resizings: str = ""
    framing: Framing = STUDY_FRAMING
    outputs: int | None = None

    @property
    def toml(self) -> str:
        """The entry as it is written."""
        return add.entry_text(self.name, self.entry)

    def document(self) -> dict[str, Any]:
        """The description as JSON-ready values."""
        values = asdict(self)
        values["told_by"] = values.pop("sources")
        values["framing"] = self.framing.as_dict()
        values["framings"] = [
            {**trial.framing.as_dict(), "correct": trial.correct} for trial in self.framings
        ]
        return {**values, "toml": self.toml}

    @property
    def preprocessing(self) -> str:
        """How images become the input, and who says so, for people."""
        source = next((self.sources[key] for key in FRAMING_KEYS if key in self.sources), "")
        given = set(FRAMING_KEYS) & set(self.entry) - set(self.sources)
        origin = f"from {source}" if source else "as given" if given else "assumed"
        return f"{self.framing.text}, {origin}"

    def renamed(self, name: str) -> Description:
        """The description under another ``name``, with the file of its classes."""
        labels = {"labels": add.label_file(name)} if self.classes else {}
        return replace(self, name=name, entry={**self.entry, **labels})

    def write(self, folder: Path | None = None) -> Path:
        """Write the entry and the classes that the file names; return the file it is in.

        ``folder`` is a temporary one with the model, which is copied to stay. Raises
        ``ParameterError`` where something is missing or cannot be written.
        """
        if self.missing:
            raise ParameterError(f"The description of {self.name!r} lacks {self.missing[0]!r}.")
        return add.add(self.name, self.entry, self.classes, folder)


def propose(
    path: Path,
    choices: Mapping[str, Any],
    *,
    name: str = "",
    images: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Description:
    """Describe the model file ``path``; the values of ``choices`` stay.

    ``images`` is a folder of sub-folders named after classes; without it the bundled photographs
    serve for ImageNet's classes. ``said`` is called with each step; what it raises ends the work.
    Raises ``WeightsError`` for a file that cannot be used, and ``ParameterError`` for values that
    describe no model.
    """
    path = model_file.model_file(path.resolve())
    name = name or name_of(path)
    choices = {key: value for key, value in choices.items() if value is not None}
    choices = user_models.with_normalisation(choices)
    if Path(labels := choices.get("labels", "")).is_absolute():
        choices["labels"] = add.relative(Path(labels))
    said("reading the file")
    described = describe_file(path, shape_of(choices.get("input_size")))
    stated, sources = described["entry"], described["told_by"]
    if sources.get("normalisation") == INPUT_TYPE:
        _check_whole(name, choices.get("normalisation"))
    classes = () if "labels" in choices else tuple(described["classes"])
    if classes:
        stated = {**stated, "labels": add.label_file(name)}
    entry = _ordered({"path": add.relative(path), **framing_values(choices, stated)})
    missing = tuple(key for key in user_models.REQUIRED if key not in entry)
    description = Description(
        name,
        described["format"],
        entry,
        {key: source for key, source in sources.items() if key in entry and key not in choices},
        missing,
        classes,
        warning=described["warning"] if entry.get("output") == "logits" else "",
        outputs=described["outputs"],
    )
    return description if set(missing) - {"normalisation"} else _tried(description, images, said)


def _tried(
    description: Description, images: Path | None, said: Callable[[str], None]
) -> Description:
    """``description`` with a normalisation, if it lacks one, and predictions for the samples."""
    entry, sources = dict(description.entry), dict(description.sources)
    add.check(description.name, {"normalisation": "0..1", **entry})
    with tempfile.TemporaryDirectory() as folder:
        record = _record(description, Path(folder))
        if not set(FRAMING_KEYS) & set(entry) and not are_imagenet(record.labels().names):
            entry["fit"], sources["fit"] = WHOLE, "its own classes"
            record = replace(record, framing=Framing(WHOLE, record.input_size))
        ask = asks(record)
        framing, labels = record.own_framing, record.labels()
        results: tuple[Trial, ...] = ()
        labelled = from_folder(images, record, framing) if images else None
        if labelled is None and labels == imagenet():
            labelled = samples(framing)
        if labelled is not None:
            own = record.normalisation if "normalisation" in entry else None
            results = trials(ask, labelled, said, own)
        if "normalisation" not in entry and labelled and is_clear(results, len(labelled.classes)):
            entry["normalisation"] = results[0].value
            sources["normalisation"] = "the images it was tried on"
        missing = () if "normalisation" in entry else ("normalisation",)
        predictions: Sequence[Mapping[str, Any]] = ()
        native, warning = None, description.warning
        framings: tuple[FramingTrial, ...] = ()
        resizings = ""
        if not missing:
            record = _record(replace(description, entry=entry), Path(folder))
            pictures = sample_images(framing)
            predictions = answers(ask(pictures, record.normalisation), labels)
            said("predicting the samples")
            native = difference(record, pictures if labelled is None else labelled.images)
            if images:
                said("trying the usual crop")
                framings = framing_trials(record, images)
                resizings = resizing_difference(record, images, said)
            if labelled is not None:
                accuracy = _accuracy(record, results, len(labelled.classes), framings)
                warning = " ".join(filter(None, (warning, accuracy.doubt(len(labels)))))
                if images:  # a few bundled ones tell no accuracy
                    found_by = sources.get("normalisation", "")
                    accuracy = accuracy.model_copy(update={"normalisation": found_by})
                    entry["accuracy"] = accuracy.model_dump(exclude_defaults=True)
    return replace(
        description,
        entry=_ordered(entry),
        missing=missing,
        sources=sources,
        trials=results,
        tried_on=len(labelled.classes) if labelled else 0,
        samples=predictions,
        native=native,
        framings=framings,
        resizings=resizings,
        framing=record.framing,
        warning=warning,
    )


def _accuracy(
    record: ModelRecord, results: Sequence[Trial], images: int, framings: Sequence[FramingTrial]
) -> LabelledAccuracy:
    """The accuracy of ``record`` with its own normalisation, one of the ``results``."""
    own = value_of(record.normalisation)
    trial = next(trial for trial in results if trial.value == own)
    return LabelledAccuracy(
        images=images,
        correct=trial.correct,
        confidence=round(trial.confidence, 4),
        true_class_probability=round(trial.true_class_probability, 4),
        crop_correct=framings[1].correct if framings else None,
    )


def _check_whole(name: str, choice: Any) -> None:
    """Refuse a usual normalisation whose pixels an integer input would round."""
    if isinstance(choice, str) and choice in user_models.NORMALISATIONS and choice != OF_BYTES:
        raise ParameterError(
            f"{name}: expected normalisation {OF_BYTES}, as its input holds whole numbers, got "
            f"{choice}."
        )


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` in the order in which descriptions are documented."""
    order = (*user_models.REQUIRED, *user_models.OPTIONAL)
    return {key: values[key] for key in sorted(values, key=order.index)}


def _record(description: Description, folder: Path) -> ModelRecord:
    """The record of the description, with a stand-in normalisation if it has none."""
    values = {"normalisation": "0..1", **description.entry}
    if description.classes:
        values["labels"] = str(folder / "labels.txt")
        Path(values["labels"]).write_bytes(add.lines(description.classes))
    (record,) = user_models.records_of(user_models.described_in(), {description.name: values})
    return record


def name_of(path: Path) -> str:
    """A valid name for the model at ``path``."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._")
    return name[: user_models.LONGEST_NAME] or "model"


def _usual() -> Iterator[tuple[str, Normalisation]]:
    """The usual normalisations, and each with the channels in the other order."""
    yield from NORMALISATIONS.items()
    for name, normalisation in NORMALISATIONS.items():
        order = "BGR" if normalisation.order == "RGB" else "RGB"
        mean, std = normalisation.mean, normalisation.std
        turned = replace(normalisation, order=order, mean=(mean[2], mean[1], mean[0]))
        yield f"{name} in {order}", replace(turned, std=(std[2], std[1], std[0]))


USUAL = {name: value_of(normalisation) for name, normalisation in _usual()}
"""The normalisations that are tried, by name, as ``models.toml`` says them."""


def samples(framing: Framing) -> Labelled:
    """The bundled photographs that ImageNet's classes name."""
    labels = imagenet()
    images = [
        study_image(sample_bytes(str(picture.source)), framing) for picture in IMAGENET_PICTURES
    ]
    classes = [frozenset(map(labels.index, picture.classes)) for picture in IMAGENET_PICTURES]
    return Labelled(np.stack(images), tuple(classes))


def from_folder(folder: Path, record: ModelRecord, framing: Framing) -> Labelled:
    """Images of the sub-folders of ``folder``, each named after a class of ``record``.

    At most ``MOST_IMAGES``, and as many as fit into ``_MOST_BYTES`` at its input size. Raises
    ``ParameterError`` where there is none.
    """
    labels, by_class = record.labels(), []
    for below in sorted(path for path in folder.glob("*") if path.is_dir()):
        meant = labels.meant(below.name)
        if len(meant) == 1:
            files = sorted(file for file in below.iterdir() if file.suffix.lower() in _ENDINGS)
            by_class.append([(file, meant[0]) for file in files])
    most = min(MOST_IMAGES, _MOST_BYTES // (12 * record.input_size**2))
    pairs = [pair for row in _in_turn(by_class) for pair in row][:most]
    if not pairs:
        raise ParameterError(
            f"Expected sub-folders of {folder} named after classes, such as {labels.names[0]!r}, "
            "with images in them, got none."
        )
    images = [study_image(read_file(file), framing, name=file.name) for file, _ in pairs]
    return Labelled(np.stack(images), tuple(frozenset((index,)) for _, index in pairs))


def _in_turn(rows: Sequence[Sequence[tuple[Path, int]]]) -> Iterator[list[tuple[Path, int]]]:
    """The first of each row, the second of each, and so on."""
    for place in range(max(map(len, rows), default=0)):
        yield [row[place] for row in rows if place < len(row)]


def asks(record: ModelRecord) -> Callable[[Floats, Normalisation], Floats]:
    """A function from images and a normalisation to probabilities of the model of ``record``.

    Raises ``WeightsError`` for a model that cannot be used.
    """
    if record.input_shape:  # resizing comes before the normalisation, and both are in the graph
        passes = cache(lambda by: _pass(replace(record, normalisation=by)))
        return lambda images, by: passes(by)(images)[0]
    forward = _pass(replace(record, normalisation=Normalisation()))

    def ask(images: Floats, by: Normalisation) -> Floats:
        scale, offset = factors(by)
        pixels = images[..., ::-1] if by.order == "BGR" else images
        return forward((pixels * scale + offset).astype(np.float32))[0]

    return ask


def _pass(record: ModelRecord, side: int | None = None) -> ForwardPass:
    side = side or record.input_size
    with tempfile.TemporaryDirectory() as folder:
        save = partial(examine, record, side)
        by_openvino = written_pass(Path(folder) / "network.xml", save)
        return as_deployed(record, use_of(record, side), by_openvino)


def difference(record: ModelRecord, images: Floats) -> Difference | None:
    """The difference for ``record`` on ``images`` of its own side.

    None if OpenVINO runs it, or cannot read it.
    """
    file = record.weights.own
    if file is None or native_runtime(file.path, file.runtime) is None:
        return None
    theirs = _pass(record)
    ours = theirs.by_openvino if isinstance(theirs, NativePass) else None
    if ours is None:
        return None
    some, others = ours(images)[0], theirs(images)[0]
    return Difference(
        theirs.engine,
        float((some.argmax(axis=1) == others.argmax(axis=1)).mean()),
        float(np.abs(some - others).max()),
    )


def trials(
    ask: Callable[[Floats, Normalisation], Floats],
    labelled: Labelled,
    said: Callable[[str], None] = lambda _: None,
    own: Normalisation | None = None,
) -> tuple[Trial, ...]:
    """Try every usual normalisation, in RGB and BGR, and ``own``; return the best first."""
    results = []
    usual = list(_usual())
    if (labelled.images == labelled.images[..., :1]).all():  # of grey images the order is no matter
        usual = [pair for pair in usual if pair[1].order == "RGB" or not _is_even(pair[1])]
    if own is not None and own not in (normalisation for _, normalisation in usual):
        usual.append(("as described", own))
    for number, (name, normalisation) in enumerate(usual, start=1):
        said(f"trying normalisation {number} of {len(usual)}")
        probabilities = ask(labelled.images, normalisation)
        right = [
            int(row.argmax()) in classes
            for row, classes in zip(probabilities, labelled.classes, strict=True)
        ]
        shares = [
            float(row[list(classes)].sum())
            for row, classes in zip(probabilities, labelled.classes, strict=True)
        ]
        means = float(np.mean(probabilities.max(axis=1))), float(np.mean(shares))
        results.append(Trial(name, value_of(normalisation), sum(right), *means))
    return tuple(sorted(results, key=lambda trial: (-trial.correct, -trial.true_class_probability)))


def _is_even(normalisation: Normalisation) -> bool:
    """Whether all channels are normalised alike."""
    return len({*normalisation.mean}) == len({*normalisation.std}) == 1


def framing_trials(record: ModelRecord, folder: Path) -> tuple[FramingTrial, ...]:
    """Try the default framing of ``record``, then the usual crop, as ``from_folder`` reads images.

    Empty if they are the same.
    """
    results = []
    for framing in (record.framing, STUDY_FRAMING) if record.framing != STUDY_FRAMING else ():
        labelled = from_folder(folder, record, framing)
        top1 = _pass(record, framing.side)(labelled.images)[0].argmax(axis=1)
        correct = sum(int(i) in classes for i, classes in zip(top1, labelled.classes, strict=True))
        results.append(FramingTrial(framing, correct))
    return tuple(results)


RESIZINGS = (("bilinear", PIL), ("bicubic", PIL), ("bilinear", OPENCV), ("area", OPENCV))
"""Interpolations that are tried: the usual ones, antialiased and not."""


def resizing_difference(
    record: ModelRecord, folder: Path, said: Callable[[str], None] = lambda _: None
) -> str:
    """The best of ``RESIZINGS`` if it differs from the record's by more than noise, in a sentence.

    More than noise is a p-value below 0.05 of the exact test of McNemar, by Bonferroni over all
    that are tried, as ``from_folder`` reads images.
    """
    from scipy.stats import binomtest  # slow to import

    own = record.framing
    trials: dict[Framing, NDArray[np.bool_]] = {}
    ask = _pass(record, own.side)
    for name, library in ((own.interpolation, own.resize), *RESIZINGS):
        framing = own if library == own.resize else own._replace(antialias=True)
        framing = framing._replace(interpolation=name, resize=library)
        said(f"trying {name} by {library}")
        labelled = from_folder(folder, record, framing)
        top1 = ask(labelled.images)[0].argmax(axis=1)
        pairs = zip(top1, labelled.classes, strict=True)
        trials[framing] = np.array([int(i) in classes for i, classes in pairs])
    best, mine = max(trials, key=lambda framing: int(trials[framing].sum())), trials[own]
    gained, lost = int((trials[best] & ~mine).sum()), int((mine & ~trials[best]).sum())
    if gained == lost or binomtest(gained, gained + lost).pvalue >= 0.05 / len(RESIZINGS):
        return ""
    return (
        f"{trials[best].sum()} of {len(mine)} images are correct with {best.text}, against "
        f"{mine.sum()} with {own.text}: check how the model was trained."
    )


def cropping_cost(framings: Sequence[FramingTrial], images: int) -> str:
    """The cost of the usual crop on ``images``, in a sentence; empty if none, or not tried."""
    if not framings or framings[0].correct == framings[1].correct:
        return ""
    own, crop = framings
    points = 100 * (own.correct - crop.correct) / images
    effect = "gain" if points < 0 else "cost"
    return (
        f"Correct of {images} images: {own.text}, {crop.text}. Cropping would {effect} "
        f"{abs(points):.1f} points."
    )


def is_clear(results: Sequence[Trial], images: int) -> bool:
    """Whether the first of ``results`` is clearly better than the second.

    One image more is chance, unless the true classes are more probable, too.
    """
    best, second = results[0], results[1]
    more = best.correct - second.correct
    lead = best.true_class_probability - second.true_class_probability
    return more > max(1, _CLEARLY * images) or lead > _CLEARLY


def renormalise(images: Floats, by: Normalisation, own: Normalisation) -> Floats:
    """Images that a model normalised by ``own`` reads as ``images`` normalised by ``by``."""
    (scale, offset), (own_scale, own_offset) = factors(by), factors(own)
    target = (images[..., ::-1] if by.order == "BGR" else images) * scale + offset
    values = (target - own_offset) / own_scale
    return np.ascontiguousarray(values[..., ::-1] if own.order == "BGR" else values, np.float32)


def clearly_better(results: Sequence[Trial], value: Any, images: int) -> Trial | None:
    """The best of ``results`` on ``images``, if it clearly beats the normalisation ``value``.

    ``value`` is as ``models.toml`` has it; one that was not tried, or is missing, cannot lose.
    """
    mine = next((trial for trial in results if trial.value == value), None)
    if mine is None:
        return None
    best = results[0]
    more = best.correct - mine.correct > _CLEARLY * images
    lead = best.true_class_probability - mine.true_class_probability
    return best if more or lead > _BETTER else None


def answers(probabilities: Floats, labels: Labels) -> list[dict[str, Any]]:
    """The top-1 class and confidence for each bundled sample."""
    return [
        {
            "image": sample.label,
            "class": labels.names[int(row.argmax())],
            "confidence": float(row.max()),
        }
        for sample, row in zip(SAMPLES, probabilities, strict=True)
    ]


def sample_images(framing: Framing) -> Floats:
    """All bundled photographs (5, side, side, 3)."""
    return np.stack([study_image(sample_bytes(name), framing) for name in SAMPLES.names])
