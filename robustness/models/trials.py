"""Try a model on images: normalisations, framings, interpolations, and its own runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.base.text import are
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import sample_bytes
from robustness.images.framing import OPENCV, PIL, Framing, read_file, study_image
from robustness.models.conversion import inspect_and_convert, use_of, written_pass
from robustness.models.engine import Floats, ForwardPass
from robustness.models.graph import factors
from robustness.models.metadata import NORMALISATIONS, value_of
from robustness.models.passes import NativePass, native_pass
from robustness.models.record import IMAGENET_PICTURES, Labels, ModelRecord, Normalisation, imagenet

MOST_IMAGES = 200
_MOST_BYTES = 2**28
"""Images of a folder that are tried, and bytes that they may take."""

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_CLEARLY = 0.02
"""Least lead over another normalisation: in the mean probability of the true class, or in the share
of correct images."""

_BETTER = 0.05
"""Least lead over a normalisation that the user chose. Measured on the bundled models: a wrong
one leads by at most 0.02, the right one leads harmful ones by 0.05 to 0.4."""


@dataclass(frozen=True)
class Labelled:
    """Images (N, S, S, 3) in [0, 1] at the model's own side, and the correct classes of each."""

    images: Floats
    classes: tuple[frozenset[int], ...]

    def correct(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Which images have a correct class as the most probable one."""
        top1 = probabilities.argmax(axis=1)
        return np.array([int(i) in classes for i, classes in zip(top1, self.classes, strict=True)])


@dataclass(frozen=True)
class Trial:
    """A normalisation, its number of correct images, and two means over all images, to 4 digits.

    ``value`` is what ``models.toml`` says for it; ``confidence`` is the mean probability of the
    predicted class, ``true_class_probability`` that of the true one.
    """

    name: str
    value: str | dict[str, Any]
    correct: int
    confidence: float
    true_class_probability: float


@dataclass(frozen=True)
class Difference:
    """Difference between OpenVINO's predictions and those of a quantised file's own ``runtime``.

    ``agreement`` is the share of images with one top-1 class, ``largest`` of a probability.
    """

    runtime: str
    agreement: float
    largest: float


def _usual() -> Iterator[tuple[str, Normalisation]]:
    """The usual normalisations, and each with the channels in the other order."""
    yield from NORMALISATIONS.items()
    for name, normalisation in NORMALISATIONS.items():
        order = "BGR" if normalisation.order == "RGB" else "RGB"
        mean = normalisation.mean
        std = normalisation.std
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
    labels = record.labels()
    by_class = []
    for below in sorted(path for path in folder.glob("*") if path.is_dir()):
        meant = labels.meant(below.name)
        if len(meant) == 1:
            files = sorted(file for file in below.iterdir() if file.suffix.lower() in _ENDINGS)
            by_class.append([(file, meant[0]) for file in files])
    most = min(MOST_IMAGES, _MOST_BYTES // (12 * record.input_size**2))
    pairs = [pair for row in zip_longest(*by_class) for pair in row if pair][:most]
    if not pairs:
        raise ParameterError(
            f"Expected sub-folders of {folder} named after classes, such as {labels.names[0]!r}, "
            "with images in them, got none."
        )
    images = [study_image(read_file(file), framing, name=file.name) for file, _ in pairs]
    return Labelled(np.stack(images), tuple(frozenset((index,)) for _, index in pairs))


def asks(record: ModelRecord) -> Callable[[Floats, Normalisation], Floats]:
    """A function from images and a normalisation to probabilities of the model of ``record``.

    Raises ``WeightsError`` for a model that cannot be used.
    """
    if record.input_shape:  # resizing comes before the normalisation, and both are in the graph
        passes = cache(lambda by: _pass(replace(record, normalisation=by)))
        return lambda images, by: passes(by)(images)[0]
    plain = Normalisation()
    forward = _pass(replace(record, normalisation=plain))
    return lambda images, by: forward(renormalise(images, by, plain))[0]


def _pass(record: ModelRecord, side: int | None = None) -> ForwardPass:
    side = side or record.input_size
    with tempfile.TemporaryDirectory() as folder:
        save = partial(inspect_and_convert, record, side)
        by_openvino = written_pass(Path(folder) / "network.xml", save)
        return native_pass(record, use_of(record, side), by_openvino)


def difference(record: ModelRecord, images: Floats) -> Difference | None:
    """The difference for ``record`` on ``images`` of its own side.

    None if OpenVINO runs it, or cannot read it.
    """
    if record.weights.native_runtime is None:
        return None
    theirs = _pass(record)
    ours = theirs.by_openvino if isinstance(theirs, NativePass) else None
    if ours is None:
        return None
    some = ours(images)[0]
    others = theirs(images)[0]
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
        uneven = {name for name, by in usual if len({*by.mean}) > 1 or len({*by.std}) > 1}
        usual = [pair for pair in usual if pair[1].order == "RGB" or pair[0] in uneven]
    if own is not None and own not in (normalisation for _, normalisation in usual):
        usual.append(("as described", own))
    for number, (name, normalisation) in enumerate(usual, start=1):
        said(f"trying normalisation {number} of {len(usual)}")
        probabilities = ask(labelled.images, normalisation)
        correct = int(labelled.correct(probabilities).sum())
        shares = [
            float(row[list(classes)].sum())
            for row, classes in zip(probabilities, labelled.classes, strict=True)
        ]
        means = (round(float(np.mean(some)), 4) for some in (probabilities.max(axis=1), shares))
        results.append(Trial(name, value_of(normalisation), correct, *means))
    return tuple(sorted(results, key=lambda trial: (-trial.correct, -trial.true_class_probability)))


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
        trials[framing] = labelled.correct(ask(labelled.images)[0])
    best = max(trials, key=lambda framing: int(trials[framing].sum()))
    mine = trials[own]
    gained = int((trials[best] & ~mine).sum())
    lost = int((mine & ~trials[best]).sum())
    if gained == lost or binomtest(gained, gained + lost).pvalue >= 0.05 / len(RESIZINGS):
        return ""
    correct = are(int(trials[best].sum()), len(mine), "image")
    return (
        f"{correct[:1].upper()}{correct[1:]} correct with {best.text}, against {mine.sum()} with "
        f"{own.text}: check how the model was trained."
    )


def is_clear(results: Sequence[Trial], images: int) -> bool:
    """Whether the first of ``results`` is clearly better than the second.

    One image more is chance, unless the true classes are more probable, too.
    """
    best = results[0]
    second = results[1]
    more = best.correct - second.correct
    lead = best.true_class_probability - second.true_class_probability
    return more > max(1, _CLEARLY * images) or lead > _CLEARLY


def renormalise(images: Floats, by: Normalisation, own: Normalisation) -> Floats:
    """Images that a model normalised by ``own`` reads as ``images`` normalised by ``by``."""
    (scale, offset) = factors(by)
    (own_scale, own_offset) = factors(own)
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
