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
from robustness.models.conversion import use_of, written_pass
from robustness.models.engine import Floats, ForwardPass
from robustness.models.graph import factors
from robustness.models.metadata import NORMALISATIONS, value_of
from robustness.models.passes import NativePass, native_pass
from robustness.models.record import IMAGENET_PICTURES, Labels, ModelRecord, Normalisation, imagenet
from robustness.models.zero_shot import convert

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
        predicted = probabilities.argmax(axis=1)
        return np.array(
            [
                int(index) in true_classes
                for index, true_classes in zip(predicted, self.classes, strict=True)
            ]
        )

    def true_class_probability(self, probabilities: Floats) -> float:
        """The probability of the correct classes together, mean over the images."""
        of_images = [
            float(row[list(true_classes)].sum())
            for row, true_classes in zip(probabilities, self.classes, strict=True)
        ]
        return float(np.mean(of_images))


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
        other_order = "BGR" if normalisation.order == "RGB" else "RGB"
        red_mean, green_mean, blue_mean = normalisation.mean
        red_std, green_std, blue_std = normalisation.std
        yield (
            f"{name} in {other_order}",
            replace(
                normalisation,
                order=other_order,
                mean=(blue_mean, green_mean, red_mean),
                std=(blue_std, green_std, red_std),
            ),
        )


USUAL = {name: value_of(normalisation) for name, normalisation in _usual()}
"""The normalisations that are tried, by name, as ``models.toml`` says them."""


def samples(framing: Framing) -> Labelled:
    """The bundled photographs that ImageNet's classes name."""
    labels = imagenet()
    images = []
    classes = []
    for picture in IMAGENET_PICTURES:
        images.append(study_image(sample_bytes(str(picture.source)), framing))
        classes.append(frozenset(labels.index(name) for name in picture.classes))
    return Labelled(np.stack(images), tuple(classes))


def from_folder(folder: Path, record: ModelRecord, framing: Framing) -> Labelled:
    """Images of the sub-folders of ``folder``, each named after a class of ``record``.

    At most ``MOST_IMAGES``, and as many as fit into ``_MOST_BYTES`` at its input size. Raises
    ``ParameterError`` where there is none.
    """
    labels = record.labels()
    by_class = []
    for class_folder in sorted(path for path in folder.glob("*") if path.is_dir()):
        indices = labels.meant(class_folder.name)
        if len(indices) == 1:  # several classes may have one name
            files = [file for file in class_folder.iterdir() if file.suffix.lower() in _ENDINGS]
            by_class.append([(file, indices[0]) for file in sorted(files)])
    bytes_of_image = 12 * record.input_size**2  # three channels in float32
    most = min(MOST_IMAGES, _MOST_BYTES // bytes_of_image)
    # The first image of each class, then the second of each: a limit cuts no class off.
    in_turns = [pair for turn in zip_longest(*by_class) for pair in turn if pair is not None]
    pairs = in_turns[:most]
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
    if record.input_shape:
        # Its graph resizes before it normalises, so each normalisation is a graph of its own.
        forward_of = cache(
            lambda normalisation: _pass(
                replace(record, normalisation=normalisation), record.input_size
            )
        )

        def ask_its_graph(images: Floats, normalisation: Normalisation) -> Floats:
            probabilities, _ = forward_of(normalisation)(images)
            return probabilities

        return ask_its_graph

    plain = Normalisation()
    forward = _pass(replace(record, normalisation=plain), record.input_size)

    def ask(images: Floats, normalisation: Normalisation) -> Floats:
        probabilities, _ = forward(renormalise(images, normalisation, plain))
        return probabilities

    return ask


def _pass(record: ModelRecord, side: int) -> ForwardPass:
    """The forward pass of ``record`` for study images of ``side``, by the file's own runtime."""
    with tempfile.TemporaryDirectory() as folder:
        save = partial(convert, record, side)
        by_openvino = written_pass(Path(folder) / "network.xml", save)
        return native_pass(record, use_of(record, side), by_openvino)


def difference(record: ModelRecord, images: Floats) -> Difference | None:
    """The difference for ``record`` on ``images`` of its own side.

    None if OpenVINO runs it, or cannot read it.
    """
    if record.weights.native_runtime is None:
        return None
    native = _pass(record, record.input_size)
    if not isinstance(native, NativePass) or native.by_openvino is None:
        return None
    by_openvino, _ = native.by_openvino(images)
    by_runtime, _ = native(images)
    same_class = by_openvino.argmax(axis=1) == by_runtime.argmax(axis=1)
    return Difference(
        runtime=native.engine,
        agreement=float(same_class.mean()),
        largest=float(np.abs(by_openvino - by_runtime).max()),
    )


def trials(
    ask: Callable[[Floats, Normalisation], Floats],
    labelled: Labelled,
    said: Callable[[str], None] = lambda _: None,
    own: Normalisation | None = None,
) -> tuple[Trial, ...]:
    """Try every usual normalisation, in RGB and BGR, and ``own``; return the best first.

    ``said`` is told what is being tried.
    """
    candidates = dict(_usual())
    if _are_grey(labelled.images):
        # The order of equal channels is no matter, unless they are normalised differently.
        candidates = {
            name: normalisation
            for name, normalisation in candidates.items()
            if normalisation.order == "RGB" or not _treats_channels_alike(normalisation)
        }
    if own is not None and own not in candidates.values():
        candidates["as described"] = own
    results = []
    for number, (name, normalisation) in enumerate(candidates.items(), start=1):
        said(f"trying normalisation {number} of {len(candidates)}")
        probabilities = ask(labelled.images, normalisation)
        confidence = float(np.mean(probabilities.max(axis=1)))
        trial = Trial(
            name=name,
            value=value_of(normalisation),
            correct=int(labelled.correct(probabilities).sum()),
            confidence=round(confidence, 4),
            true_class_probability=round(labelled.true_class_probability(probabilities), 4),
        )
        results.append(trial)
    results.sort(key=lambda trial: (-trial.correct, -trial.true_class_probability))
    return tuple(results)


def _are_grey(images: Floats) -> bool:
    """Whether the channels of all ``images`` are equal."""
    return bool((images == images[..., :1]).all())


def _treats_channels_alike(normalisation: Normalisation) -> bool:
    return len(set(normalisation.mean)) == 1 and len(set(normalisation.std)) == 1


RESIZINGS = (("bilinear", PIL), ("bicubic", PIL), ("bilinear", OPENCV), ("area", OPENCV))
"""Interpolations that are tried: the usual ones, antialiased and not."""


def resizing_difference(
    record: ModelRecord, folder: Path, said: Callable[[str], None] = lambda _: None
) -> str:
    """A sentence on the best of ``RESIZINGS``, if it beats the record's by more than chance.

    Otherwise an empty text. More than chance is a p-value below 0.05 of the exact test of McNemar,
    corrected by Bonferroni for all that are tried. The images are those of ``from_folder``.
    """
    from scipy.stats import binomtest  # slow to import

    described = record.framing
    forward = _pass(record, described.side)
    is_correct: dict[Framing, NDArray[np.bool_]] = {}
    for interpolation, library in ((described.interpolation, described.resize), *RESIZINGS):
        framing = described._replace(interpolation=interpolation, resize=library)
        if library != described.resize:
            framing = framing._replace(antialias=True)
        said(f"trying {interpolation} by {library}")
        labelled = from_folder(folder, record, framing)
        probabilities, _ = forward(labelled.images)
        is_correct[framing] = labelled.correct(probabilities)
    best = max(is_correct, key=lambda framing: int(is_correct[framing].sum()))
    with_best = is_correct[best]
    with_described = is_correct[described]
    gained = int((with_best & ~with_described).sum())
    lost = int((with_described & ~with_best).sum())
    if gained == lost or binomtest(gained, gained + lost).pvalue >= 0.05 / len(RESIZINGS):
        return ""
    correct = are(int(with_best.sum()), len(with_best), "image")
    return (
        f"{correct[:1].upper()}{correct[1:]} correct with {best.text}, against "
        f"{with_described.sum()} with {described.text}: check how the model was trained."
    )


def is_clear(results: Sequence[Trial], images: int) -> bool:
    """Whether the first of ``results`` is clearly better than the second.

    One image more is chance, unless the true classes are more probable, too.
    """
    best, second, *_ = results
    more_correct = best.correct - second.correct
    lead = best.true_class_probability - second.true_class_probability
    return more_correct > max(1, _CLEARLY * images) or lead > _CLEARLY


def renormalise(images: Floats, by: Normalisation, own: Normalisation) -> Floats:
    """Images that a model normalised by ``own`` reads as ``images`` normalised by ``by``."""
    scale, offset = factors(by)
    own_scale, own_offset = factors(own)
    if by.order == "BGR":
        images = images[..., ::-1]
    values = (images * scale + offset - own_offset) / own_scale
    if own.order == "BGR":
        values = values[..., ::-1]
    return np.ascontiguousarray(values, np.float32)


def clearly_better(results: Sequence[Trial], value: Any, images: int) -> Trial | None:
    """The best of ``results`` on ``images``, if it clearly beats the normalisation ``value``.

    ``value`` is as ``models.toml`` has it; one that was not tried, or is missing, cannot lose.
    """
    chosen = next((trial for trial in results if trial.value == value), None)
    if chosen is None:
        return None
    best = results[0]
    more_correct = best.correct - chosen.correct
    lead = best.true_class_probability - chosen.true_class_probability
    if more_correct > _CLEARLY * images or lead > _BETTER:
        return best
    return None


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
