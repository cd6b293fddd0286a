"""Find a model's normalisation by trying the usual ones on labelled images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.models.file_formats.formats import native_runtime
from robustness.models.graph_files.examine import examine, use_of
from robustness.models.graph_files.native import NativePass, as_deployed
from robustness.models.inference.forward_pass import ForwardPass
from robustness.models.inference.kept import written_pass
from robustness.models.labels import Labels, imagenet
from robustness.models.model_record import (
    IMAGENET_PICTURES,
    ModelRecord,
    Normalisation,
)
from robustness.models.own.user_models import NORMALISATIONS
from robustness.models.preparation import factors
from robustness.pictures.fitting import DEFAULT_FIT, Framing, read_file, study_image
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.pictures.samples import sample_bytes

MOST_IMAGES = 200

AS_IT_IS = Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_CLEARLY = 0.02
"""Least lead in mean confidence over an equally accurate normalisation."""

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
    """A normalisation, its number of correct images, and their mean true-class confidence.

    ``value`` is what ``models.toml`` says for it.
    """

    name: str
    value: str | dict[str, Any]
    correct: int
    confidence: float


def value_of(normalisation: Normalisation) -> str | dict[str, Any]:
    """``normalisation`` for ``models.toml``: its name if it has one, else a table."""
    for name, known in NORMALISATIONS.items():
        if known == normalisation:
            return name
    return {
        "order": normalisation.order,
        "scale": normalisation.scale,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
    }


def _usual() -> Iterator[tuple[str, Normalisation]]:
    """The usual normalisations, and each with the channels in the other order."""
    yield from NORMALISATIONS.items()
    for name, known in NORMALISATIONS.items():
        order = "BGR" if known.order == "RGB" else "RGB"
        mean, std = known.mean, known.std
        turned = replace(known, order=order, mean=(mean[2], mean[1], mean[0]))
        yield f"{name} in {order}", replace(turned, std=(std[2], std[1], std[0]))


def samples(side: int, fit: str = DEFAULT_FIT) -> Labelled:
    """The bundled photographs that ImageNet's classes name."""
    labels = imagenet()
    images = [
        study_image(sample_bytes(str(known.source)), fit=fit, side=side)
        for known in IMAGENET_PICTURES
    ]
    classes = [frozenset(map(labels.index, known.classes)) for known in IMAGENET_PICTURES]
    return Labelled(np.stack(images), tuple(classes))


def from_folder(folder: Path, labels: Labels, side: int, fit: str = DEFAULT_FIT) -> Labelled:
    """Images of the sub-folders of ``folder``, each named after a class; ``MOST_IMAGES`` at most.

    Raises ``ParameterError`` where there is none.
    """
    found = []
    for below in sorted(each for each in folder.glob("*") if each.is_dir()):
        meant = labels.meant(below.name)
        if len(meant) == 1:
            files = sorted(file for file in below.iterdir() if file.suffix.lower() in _ENDINGS)
            found.append([(file, meant[0]) for file in files])
    pairs = [pair for row in _in_turn(found) for pair in row][:MOST_IMAGES]
    if not pairs:
        raise ParameterError(
            f"Expected sub-folders of {folder} named after classes of {labels.title}, with images "
            "in them, got none."
        )
    images = [study_image(read_file(file), name=file.name, fit=fit, side=side) for file, _ in pairs]
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
    forward = _pass(replace(record, normalisation=AS_IT_IS))

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


@dataclass(frozen=True)
class Difference:
    """Difference between OpenVINO's predictions and those of a quantised file's own ``runtime``.

    ``agreement`` is the share of images with one top-1 class, ``largest`` of a probability.
    """

    runtime: str
    agreement: float
    largest: float


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
    found = []
    usual = list(_usual())
    if own is not None and own not in (known for _, known in usual):
        usual.append(("as described", own))
    for place, (name, known) in enumerate(usual, start=1):
        said(f"trying normalisation {place} of {len(usual)}")
        probabilities = ask(labelled.images, known)
        right = [
            int(row.argmax()) in classes
            for row, classes in zip(probabilities, labelled.classes, strict=True)
        ]
        shares = [
            float(row[list(classes)].sum())
            for row, classes in zip(probabilities, labelled.classes, strict=True)
        ]
        found.append(Trial(name, value_of(known), sum(right), float(np.mean(shares))))
    return tuple(sorted(found, key=lambda trial: (-trial.correct, -trial.confidence)))


@dataclass(frozen=True)
class FramingTrial:
    """The number of correct images in one framing."""

    fit: str
    side: int
    correct: int

    @property
    def text(self) -> str:
        """All of it, for people."""
        return f"{self.correct} with {Framing(self.fit, self.side).text}"


def framing_trials(record: ModelRecord, folder: Path) -> tuple[FramingTrial, ...]:
    """Try the default framing of ``record``, then the usual crop, as ``from_folder`` reads images.

    Empty if they are the same.
    """
    results = []
    for fit, side in (record.framing, Framing()) if record.framing != Framing() else ():
        labelled = from_folder(folder, record.labels(), side, fit)
        top1 = _pass(record, side)(labelled.images)[0].argmax(axis=1)
        correct = sum(int(i) in classes for i, classes in zip(top1, labelled.classes, strict=True))
        results.append(FramingTrial(fit, side, correct))
    return tuple(results)


def cropping_cost(framings: Sequence[FramingTrial], images: int) -> str:
    """What the usual crop costs on ``images``, in a sentence; empty if it was not tried."""
    if not framings:
        return ""
    own, crop = framings
    points = 100 * (own.correct - crop.correct) / images
    effect = "gain" if points < 0 else "cost"
    return (
        f"Correct of {images} images: {own.text}, {crop.text}. Cropping would {effect} "
        f"{abs(points):.1f} points."
    )


def is_clear(found: Sequence[Trial]) -> bool:
    """Whether the first of ``found`` is better than the second."""
    best, second = found[0], found[1]
    return best.correct > second.correct or best.confidence > second.confidence + _CLEARLY


def seen_as(images: Floats, by: Normalisation, own: Normalisation) -> Floats:
    """Images that a model normalised by ``own`` reads as ``images`` normalised by ``by``."""
    (scale, offset), (own_scale, own_offset) = factors(by), factors(own)
    wanted = (images[..., ::-1] if by.order == "BGR" else images) * scale + offset
    found = (wanted - own_offset) / own_scale
    return np.ascontiguousarray(found[..., ::-1] if own.order == "BGR" else found, np.float32)


def clearly_better(found: Sequence[Trial], value: Any, images: int) -> Trial | None:
    """The best of ``found``, tried on ``images``, if it clearly beats the normalisation ``value``.

    ``value`` is as ``models.toml`` has it; one that was not tried, or is missing, cannot lose.
    """
    mine = next((each for each in found if each.value == value), None)
    if mine is None:
        return None
    best = found[0]
    more = best.correct - mine.correct > _CLEARLY * images
    return best if more or best.confidence > mine.confidence + _BETTER else None


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


def sample_images(side: int, fit: str = DEFAULT_FIT) -> Floats:
    """All bundled photographs (5, ``side``, ``side``, 3)."""
    return np.stack([study_image(sample_bytes(name), fit=fit, side=side) for name in SAMPLES.names])
