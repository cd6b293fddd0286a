"""Images as a Python session has them: arrays of any layout and kind, PIL images, or files.

They are perturbed, attacked, swept and measured here a few at a time, and nothing is kept.
``open_images`` makes a dataset of those that ``evaluate`` takes, by name or in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from robustness import models as known_models
from robustness.api.arguments import checked_call, names_of
from robustness.attacks.loop import check_class
from robustness.base.errors import ParameterError
from robustness.base.text import counted
from robustness.datasets import Dataset, open_dataset
from robustness.datasets.rows import open_rows
from robustness.images import framing
from robustness.images.arrays import Levels, as_array, in_range, is_image, kind_of, levels
from robustness.images.decoding import picture_file
from robustness.images.framing import (
    STUDY_SIDE,
    Framing,
    Overrides,
    Picture,
    frame,
    image_digest,
    load_picture,
)
from robustness.images.pixels import from_uint8, to_png, to_uint8
from robustness.matching.domain import open_domain
from robustness.measure import STEPS, loop, search
from robustness.measure import strength as sweeps
from robustness.measure.condition import Condition
from robustness.measure.domain import Domain
from robustness.measure.labels import true_class
from robustness.measure.measurement import Measurement
from robustness.measure.options import ViewOptions
from robustness.measure.request import Request, domain_spec, make_spec
from robustness.measure.rows import (
    BASE,
    NUMBERS,
    own_scores,
    to_frame,
    to_table,
    to_whole_table,
)
from robustness.measure.search import SmallestBreak
from robustness.measure.strength import Break, labelled
from robustness.models import Classifier
from robustness.models import variant as variants
from robustness.models.record import ModelRecord, labels_of_names
from robustness.perturbations import check_seed
from robustness.remedies import parse
from robustness.runs.imported import class_names


@checked_call
def perturb(
    images: Any,
    perturbation: str | Condition,
    strength: float | None = None,
    *,
    seed: int = 0,
    source: Any = None,
) -> NDArray[Any]:
    """Return ``images`` under ``perturbation``, as a new array of the same shape and type.

    ``images`` are (N, H, W, 3) or one (H, W, 3) of any size, uint8 or floating point in [0, 1], or
    one PIL image or path of a file (as uint8). ``perturbation`` is a name with a ``strength`` from
    0 to 1, or a condition such as ``"fog=0.2+gaussian_blur=0.4"``. Results lie on the 8-bit grid.
    Parameters in pixels scale with the longer side: an image that is not square is perturbed within
    a square that mirrors its edges.

    ``source`` is the image that the one of ``images`` was framed from, or a list of them: random
    perturbations then draw as an evaluation of it does, whatever a model's preprocessing. Raises
    ``ParameterError`` or ``UnknownNameError``.
    """
    condition = _condition(perturbation, strength)
    original, batch = _batch(images)
    check_seed(seed)
    perturbed = []
    for image, source_of_image in zip(batch, _sources(source, len(batch)), strict=True):
        height, width = image.shape[:2]
        side = max(height, width)
        top = (side - height) // 2
        left = (side - width) // 2
        padding = ((top, side - height - top), (left, side - width - left), (0, 0))
        square = from_uint8(np.pad(image, padding, mode="reflect"))
        # The digest of the source as a study image is the seed of its random numbers.
        study_image = square
        if source_of_image is not None:
            study_image = framing.fit(Image.fromarray(levels(source_of_image, "source")))
        digests = [image_digest(study_image)]
        perturbed_square = to_uint8(condition.images(square[None], digests, seed)[0])
        perturbed.append(perturbed_square[top : top + height, left : left + width])
    return _like(original, np.stack(perturbed))


def _sources(source: Any, image_count: int) -> Any:
    """Return a source for each image, None for each if ``source`` is None."""
    if source is None:
        return [None] * image_count
    sources = [source] if is_image(source) else source
    if not hasattr(sources, "__len__"):
        got = type(sources).__name__
    elif len(sources) != image_count:
        got = str(len(sources))
    else:
        return sources
    raise ParameterError(
        f"Expected a source for each of {counted(image_count, 'image')}, got {got}."
    )


@checked_call
def adversarial(
    images: Any,
    attack: str | Condition,
    model: str | ModelRecord | Classifier,
    *,
    labels: Sequence[int] | None = None,
    seed: int = 0,
) -> NDArray[Any]:
    """Return ``images`` after ``attack`` on ``model``, each at most epsilon away from its original.

    The result has the shape and type of ``images``, which are as in ``perturb``, and square.
    ``attack`` is a text such as ``"pgd(epsilon=2/255)"`` or a ``Condition.attack``; a target is one
    of its settings. It leads away from the class indices ``labels``, one for each image, by default
    from the predictions of the model.

    Raises ``ParameterError``, ``UnknownNameError``, ``WeightsError``, or ``GradientError`` for a
    model that the attack cannot use.
    """
    condition = Condition.parse(attack) if isinstance(attack, str) else attack
    if not condition.needs_model:
        raise ParameterError(
            f"Expected an attack such as pgd(epsilon=2/255), got {condition.id}; rb.perturb makes "
            "perturbed images."
        )
    original, batch = _batch(images)
    count, height, width = batch.shape[:3]
    if height != width:
        raise ParameterError(f"images: expected square images, got {width} x {height} pixels.")
    if labels is not None and len(labels) != count:
        raise ParameterError(
            f"Expected a label for each of {counted(count, 'image')}, got {len(labels)}."
        )
    check_seed(seed)
    if isinstance(model, ModelRecord):
        model = model.name
    classifier = variants.load_named(model, side=height) if isinstance(model, str) else model
    for index in labels or ():
        check_class(classifier, index)
    attacked = []
    # Without a label an attack leads away from the prediction.
    labels_or_none: Sequence[int | None] = labels or [None] * count
    for image, label in zip(from_uint8(batch), labels_or_none, strict=True):
        picture = Picture.of("image", image, label=label)
        attacked.append(to_uint8(condition.against(picture, seed, classifier)))
    return _like(original, np.stack(attacked))


def _batch(images: Any) -> tuple[NDArray[Any], Levels]:
    """Return ``images`` as an array of their own shape and type, and as uint8 (N, H, W, 3)."""
    if isinstance(images, str | os.PathLike | Image.Image):
        images = levels(images)
    original = as_array(images)
    if original.ndim not in (3, 4) or original.shape[-1] != 3:
        raise ParameterError(
            f"images: expected an array (N, height, width, 3) or (height, width, 3), got "
            f"{kind_of(original)}."
        )
    batch = in_range(original, "images").reshape(-1, *original.shape[-3:])
    return original, batch


def _like(original: NDArray[Any], images: Levels) -> NDArray[Any]:
    """Return ``images`` in the shape and type of ``original``."""
    images = images.reshape(original.shape)
    if original.dtype.kind != "f":
        return images.astype(original.dtype)
    return np.divide(images, original.dtype.type(255), dtype=original.dtype)


def _condition(perturbation: str | Condition, strength: float | None) -> Condition:
    """Return the condition that the arguments of ``perturb`` ask for."""
    if isinstance(perturbation, Condition):
        condition = perturbation
    elif strength is not None:
        return Condition.of({perturbation: strength})
    elif "=" in perturbation:
        condition = Condition.parse(perturbation)
    else:
        raise ParameterError(f"Expected a strength from 0 to 1 for {perturbation!r}, got none.")
    got = ""
    if condition.needs_model:
        got = "an attack"
    elif strength is not None:
        got = "a condition and a strength"
    if got:
        raise ParameterError(
            f"Expected a perturbation with a strength, or a condition such as fog=0.6, got {got}."
        )
    return condition


@dataclass(frozen=True)
class Pair:
    """An image before and after a perturbation, both uint8 (H, W, 3).

    A notebook draws them side by side.
    """

    original: Levels
    perturbed: Levels
    condition: Condition

    def _repr_png_(self) -> bytes:
        white_gap = np.full((len(self.original), 8, 3), 255, np.uint8)
        side_by_side: Sequence[Levels] = (self.original, white_gap, self.perturbed)
        return to_png(from_uint8(np.hstack(side_by_side)))


@checked_call
def pair(
    image: Any, perturbation: str | Condition, strength: float | None = None, *, seed: int = 0
) -> Pair:
    """Return one image with what ``perturb`` makes of it; raises the same errors."""
    original = levels(image)
    condition = _condition(perturbation, strength)
    return Pair(original, perturb(original, condition, seed=seed), condition)


@checked_call
def remedy(remedies: str, images: Any) -> NDArray[Any]:
    """Return ``images`` after remedies on the image, as a new array of the same shape and type.

    ``remedies`` is a text such as ``"median"`` or ``"median+autocontrast"``. ``images`` are as in
    ``perturb``, square or not. Raises ``ParameterError`` for a remedy on the prediction, which
    takes a model: ``load_model(name).with_remedies([...])``.
    """
    chain = parse(remedies)
    if not chain.on_image:
        raise ParameterError(
            f"Expected a remedy on the image, got {chain.id}, which takes a model. "
            "Use load_model(name).with_remedies([...])."
        )
    original, batch = _batch(images)
    remedied = np.stack([chain.image(image) for image in batch])
    return _like(original, remedied)


@checked_call
def evaluate_pictures(
    pictures: Mapping[str, Any], spec: Request, *, labels: Mapping[str, int | str] | None = None
) -> pd.DataFrame:
    """Evaluate a few images and return the rows, with the columns of ``Run.frame``.

    Nothing is kept. With remedies in ``spec``, the rows of each model behind each follow those of
    the models; they have predictions alone, and the last column is their ``base``.

    ``pictures`` maps names to images: the path of a file, a sample as ``sample:coffee``, a PIL
    image, or an array (H, W, 3) of any size, uint8 or floating point in [0, 1]. Floating point
    (224, 224, 3) is a study image, and not fitted again. ``labels`` maps names of images to their
    true classes, each an index or the name of a class.

    Raises ``ImageError`` for a file that is no image, ``ParameterError`` for another kind of array,
    and ``UnknownNameError`` for a class of no model.
    """
    index_by_name: dict[str, int] = {}
    class_by_name: dict[str, str] = {}
    for name, label in (labels or {}).items():
        if isinstance(label, str):
            class_by_name[name] = label
        else:
            index_by_name[name] = label
    inputs = [
        _picture(name, image, spec, index_by_name.get(name)) for name, image in pictures.items()
    ]
    true_classes = {
        name: true_class(name, label, spec.model_names) for name, label in class_by_name.items()
    }
    rows = []
    for row in loop.evaluate(spec, inputs):
        if row.image in true_classes:
            row = labelled(row, true_classes[row.image])
        rows.append(row)
    names = [*NUMBERS, *own_scores()]
    if spec.variants:
        names.append(BASE.name)
    return to_frame(to_whole_table(rows, [0] * len(rows)).select(names))


def _picture(
    name: str,
    source: Any,
    spec: Request,
    label: int | None,
    overrides: Overrides = (None, None),
) -> Picture:
    """Return the image ``source`` in each framing of ``spec``.

    ``overrides`` are the fit and the side that the user asked for.
    """
    framings = list(spec.by_framing)
    if isinstance(source, str | os.PathLike):
        picture = load_picture(
            picture_file(source), framings, name=os.fspath(source), overrides=overrides
        )
        versions = [replace(version, name=name, label=label) for version in picture.versions]
        return replace(versions[0], others=tuple(versions[1:]))
    shape = getattr(source, "shape", None)
    dtype = getattr(source, "dtype", None)
    pixels = levels(source, name)
    is_floating = dtype is not None and np.issubdtype(dtype, np.floating)

    # Floating point of the size of a framing was framed before, and is squashed to its own size,
    # which changes nothing.
    framings_to_apply = []
    is_framed = False
    for each in framings:
        if is_floating and shape == (each.side, each.side, 3):
            framings_to_apply.append(Framing("squash", each.side))
            is_framed = True
        else:
            framings_to_apply.append(each)
    study_framing = Framing()
    if is_framed and shape == (STUDY_SIDE, STUDY_SIDE, 3):
        study_framing = Framing("squash")
    result, _ = frame(Image.fromarray(pixels), framings_to_apply, study=study_framing)
    return result.picture(name, framings, overrides=overrides, label=label)


@dataclass(frozen=True)
class Sweep:
    """The predictions for one image under one perturbation at rising strengths.

    ``points`` has a row for each model and strength, and ``breaks`` an entry for each model.
    """

    points: pd.DataFrame
    breaks: tuple[Break, ...]

    @property
    def breaking(self) -> dict[str, float | None]:
        """The strength at which each model's prediction changes, None if it never does."""
        return {point.model: point.strength for point in self.breaks}


@checked_call
def sweep(
    image: Any,
    *,
    models: Any = None,
    perturbation: str,
    label: int | str | None = None,
    steps: int = STEPS,
    remedy: str | None = None,
    **options: Unpack[ViewOptions],
) -> Sweep:
    """Find the strengths at which the models' predictions of ``image`` change.

    ``image`` is an array, a PIL image or the path of a file. Floating point (224, 224, 3), or of
    another ``side``, is a study image, and not fitted again. ``label`` is its true class, an index
    or a name. ``fit`` and ``side`` are as for ``make_spec``. ``steps`` strengths from 0 to 1 are
    tried, and more near a change. With a ``remedy``, such as ``median`` or ``median+tta``, every
    model is behind it. Raises as ``evaluate`` does.
    """
    chosen = known_models.resolve(names_of(models))
    conditions = [Condition.of({perturbation: 1.0})]
    spec = make_spec(chosen, conditions, **options)
    picture = _picture("image", image, spec, None, (options["fit"], options["side"]))
    truth = None if label is None else true_class("image", str(label), chosen)
    load = variants.loader(parse(remedy), chosen) if remedy else known_models.load
    progress = sweeps.sweep(
        picture, [perturbation], chosen, load=load, steps=steps, seed=options["seed"]
    )
    events = [labelled(event, truth) for event in progress]
    rows = [event for event in events if isinstance(event, Measurement)]
    breaks = [event for event in events if isinstance(event, Break)]
    table = to_table(rows, [0] * len(rows)).select([*NUMBERS, *own_scores()])
    return Sweep(to_frame(table), tuple(breaks))


@checked_call
def smallest_breaks(
    image: Any,
    domain: Domain | str | os.PathLike[str],
    *,
    models: Any = None,
    label: int | str | None = None,
    seed: int = 0,
    fit: str | None = None,
    side: int | None = None,
) -> tuple[SmallestBreak, ...]:
    """Search the smallest composition within ``domain`` that changes each model's prediction.

    ``image`` is as for ``sweep``, ``domain`` as for ``evaluate``, ``label`` the true class,
    an index or a name. The size of a composition is the sum of its strengths. Each result
    has ``found``, ``condition``, ``size`` and the measurement ``row`` under it. A model whose
    prediction nothing changes has the composition that comes closest. Raises as ``evaluate`` does.
    """
    declared = domain if isinstance(domain, Domain) else open_domain(domain)
    spec = domain_spec(declared, names_of(models), seed=seed, fit=fit, side=side)
    overrides = (fit or declared.fit, side or declared.side)
    picture = _picture("image", image, spec, None, overrides)
    truth = None if label is None else true_class("image", str(label), spec.model_names)
    results = []
    for event in search.smallest_breaks(picture, declared, spec.model_names, seed=seed):
        if isinstance(event, SmallestBreak):
            results.append(event.labelled(truth))
    return tuple(results)


def open_images(source: Any, classes: Any = None, limit: int | None = None) -> Dataset:
    """Return the dataset of the images of ``source``.

    ``classes`` are the names that integer labels of images in memory stand for, as ``class_names``
    takes them. No more than ``limit`` rows are asked for. Raises ``ParameterError`` for a source
    without images, and for integer labels without ``classes``.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | os.PathLike):
        return open_dataset(os.fspath(source))
    chosen = class_names(classes)
    names = () if chosen is None else labels_of_names(chosen).names
    return open_rows(source, names, limit)


def check_classes(classes: Any, *sources: Any) -> None:
    """Raise ``ParameterError`` for ``classes`` if none of the ``sources`` is in memory."""
    if classes is not None and all(isinstance(source, str | os.PathLike) for source in sources):
        raise ParameterError(
            "Expected classes with images in memory only: the labels of a folder or table are read "
            "as they are written. Leave classes out."
        )
