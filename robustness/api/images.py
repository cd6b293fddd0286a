"""Images as a Python session has them: arrays of any layout and kind, PIL images, or files.

They are perturbed, attacked, swept and measured here a few at a time, and nothing is kept.
``open_images`` makes a dataset of those that ``evaluate`` takes, by name or in memory.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from robustness import models as known_models
from robustness.api.arguments import checked_call, names_of
from robustness.attacks.loop import check_class
from robustness.base.errors import ImageError, ParameterError
from robustness.base.text import counted
from robustness.datasets import Dataset, Entry, distinct, open_dataset
from robustness.datasets.dataset import Columns
from robustness.datasets.tables import LABEL_COLUMNS, PATH_COLUMNS, other_columns
from robustness.images import framing
from robustness.images.decoding import decode, picture_file, read_file
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
from robustness.measure import STEPS, loop
from robustness.measure import strength as sweeps
from robustness.measure.condition import Condition
from robustness.measure.labels import true_class
from robustness.measure.loop import loader_with_remedies
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, make_spec
from robustness.measure.rows import NUMBERS, own_scores, to_frame, to_table
from robustness.measure.strength import Break, labelled
from robustness.models import Classifier
from robustness.models.record import ModelRecord, labels_of_names
from robustness.perturbations import check_seed
from robustness.remedies import parse
from robustness.runs.imported import class_names

Levels = NDArray[np.uint8]

_EXPECTED = (
    "an image: an array (height, width, 3) of uint8 or of numbers from 0 to 1, a PIL image or the "
    "path of a file"
)


def is_image(value: Any) -> bool:
    """Whether ``value`` is one image: an array of two or three axes, a PIL image, or a path."""
    if isinstance(value, str | os.PathLike | Image.Image):
        return True
    return getattr(value, "ndim", 0) in (2, 3) and hasattr(value, "dtype")


_NUMBERS = ("F", "I")
"""Pillow's modes of any range, which are read as arrays: converting them to RGB clips at 255."""
_OF_PNG = ("1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA")


def levels(image: Any, name: str = "the image") -> Levels:
    """``image`` as 8-bit RGB (H, W, 3).

    Arrays are (H, W, 3), (3, H, W) or grey (H, W); floating point in [0, 1] is rounded to 8 bits.
    Raises ``ImageError`` for a file that is no image, ``ParameterError`` for anything else.
    """
    if isinstance(image, str | os.PathLike):
        path = picture_file(image)
        return np.asarray(decode(read_file(path), name=os.fspath(path)))
    if isinstance(image, Image.Image) and image.mode not in _NUMBERS:
        return np.asarray(decode(_encoded(image), name=name))
    pixels = in_range(as_array(image, name), name)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    raise ParameterError(f"{name}: expected {_EXPECTED}, got an array of shape {pixels.shape}.")


def png(image: Any, name: str) -> bytes:
    """``levels`` of an image as a lossless PNG; of a file its own bytes."""
    if isinstance(image, str | os.PathLike):
        return read_file(picture_file(image))
    if isinstance(image, Image.Image) and image.mode not in _NUMBERS:
        return _encoded(image)
    return to_png(from_uint8(levels(image, name)))


def _encoded(image: Image.Image) -> bytes:
    converted = image if image.mode in _OF_PNG else image.convert("RGB")
    file = io.BytesIO()
    converted.save(file, "PNG", exif=image.getexif())
    return file.getvalue()


def as_array(array: Any, name: str = "images") -> NDArray[Any]:
    """``array`` as an array of numbers; a tensor of another library is copied to NumPy."""
    if hasattr(array, "detach"):  # of PyTorch
        array = array.detach().cpu()
    try:
        converted = np.asarray(array)
    except Exception as error:  # what a stranger's object raises when it is asked for an array
        raise ParameterError(f"{name}: expected {_EXPECTED}, got {_kind(array)}.") from error
    if converted.dtype.kind not in "uif" or not converted.size:
        raise ParameterError(f"{name}: expected {_EXPECTED}, got {_kind(array)}.")
    return converted


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    shape = getattr(value, "shape", None)
    if dtype is None or shape is None:
        return type(value).__name__
    return f"{dtype} of shape {tuple(shape)}"


def in_range(array: NDArray[Any], name: str) -> Levels:
    """``array`` on the scale 0 to 255, in any number of axes.

    Raises ``ParameterError`` unless it is uint8, or whole numbers from 0 to 255, or floating point
    in [0, 1].
    """
    if array.dtype == np.uint8:
        return array
    most = 1 if array.dtype.kind == "f" else 255
    low = array.min()
    high = array.max()
    if not (low >= 0 and high <= most):  # NaN, too
        hint = "; divide pixels by 255" if most == 1 and 1 < high <= 255 and low >= 0 else ""
        raise ParameterError(
            f"{name}: expected values from 0 to {most}, got {low:g} to {high:g}{hint}."
        )
    return to_uint8(array.astype(np.float64)) if most == 1 else array.astype(np.uint8)


@checked_call
def perturb(
    images: Any,
    perturbation: str | Condition,
    strength: float | None = None,
    *,
    seed: int = 0,
    source: Any = None,
) -> NDArray[Any]:
    """``images`` under ``perturbation``; a new array of the same shape and type.

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
    sources = [None] * len(batch) if source is None else source
    sources = [sources] if is_image(sources) else sources
    if not hasattr(sources, "__len__") or len(sources) != len(batch):
        got = len(sources) if hasattr(sources, "__len__") else type(sources).__name__
        raise ParameterError(
            f"Expected a source for each of {counted(len(batch), 'image')}, got {got}."
        )
    perturbed = []
    for image, own in zip(batch, sources, strict=True):
        height, width = image.shape[:2]
        longer = max(height, width)
        top = (longer - height) // 2
        left = (longer - width) // 2
        edges = ((top, longer - height - top), (left, longer - width - left), (0, 0))
        square = from_uint8(np.pad(image, edges, mode="reflect"))
        # Random streams are seeded by the digest of the source as a study image.
        seeding = square if own is None else framing.fit(Image.fromarray(levels(own, "source")))
        levels_under = to_uint8(condition.images(square[None], [image_digest(seeding)], seed)[0])
        perturbed.append(levels_under[top : top + height, left : left + width])
    return _like(original, np.stack(perturbed))


@checked_call
def adversarial(
    images: Any,
    attack: str | Condition,
    model: str | ModelRecord | Classifier,
    *,
    labels: Sequence[int] | None = None,
    seed: int = 0,
) -> NDArray[Any]:
    """``images`` after ``attack`` on ``model``, each at most epsilon away; as ``perturb`` returns.

    ``images`` are as in ``perturb``, and square. ``attack`` is a text such as
    ``"pgd(epsilon=2/255)"`` or a ``Condition.attack``. It leads away from the class indices
    ``labels``, one an image, by default from the model's predictions; a target is one of its
    settings. Raises ``ParameterError``, ``UnknownNameError``, ``WeightsError``, or
    ``GradientError`` for a model that the attack cannot use.
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
    name = model.name if isinstance(model, ModelRecord) else model
    classifier = known_models.load(name, side=height) if isinstance(name, str) else name
    for index in labels or ():
        check_class(classifier, index)
    attacked = []
    aims: Sequence[int | None] = labels or [None] * count
    for image, label in zip(from_uint8(batch), aims, strict=True):
        picture = Picture.of("image", image, label=label)
        attacked.append(to_uint8(condition.against(picture, seed, classifier)))
    return _like(original, np.stack(attacked))


def _batch(images: Any) -> tuple[NDArray[Any], Levels]:
    """``images`` as an array, and as 8-bit images (N, H, W, 3)."""
    if isinstance(images, str | os.PathLike | Image.Image):
        images = levels(images)
    batch_array = as_array(images)
    if batch_array.ndim not in (3, 4) or batch_array.shape[-1] != 3:
        raise ParameterError(
            f"images: expected an array (N, height, width, 3) or (height, width, 3), got "
            f"{_kind(batch_array)}."
        )
    return batch_array, in_range(batch_array, "images").reshape(-1, *batch_array.shape[-3:])


def _like(original: NDArray[Any], image: Levels) -> NDArray[Any]:
    """``image`` in the shape and type of ``original``."""
    image = image.reshape(original.shape)
    if original.dtype.kind != "f":
        return image.astype(original.dtype)
    return np.divide(image, original.dtype.type(255), dtype=original.dtype)


def _condition(perturbation: str | Condition, strength: float | None) -> Condition:
    if isinstance(perturbation, Condition):
        condition = perturbation
    elif strength is not None:
        return Condition.of({perturbation: strength})
    elif "=" in perturbation:
        condition = Condition.parse(perturbation)
    else:
        raise ParameterError(f"Expected a strength from 0 to 1 for {perturbation!r}, got none.")
    if strength is not None or condition.needs_model:
        what = "an attack" if condition.needs_model else "a condition and a strength"
        raise ParameterError(
            f"Expected a perturbation with a strength, or a condition such as fog=0.6, got {what}."
        )
    return condition


@dataclass(frozen=True)
class Pair:
    """An image and what a perturbation makes of it, uint8 (H, W, 3) each; a notebook draws both."""

    original: Levels
    perturbed: Levels
    condition: Condition

    def _repr_png_(self) -> bytes:
        gap = np.full((len(self.original), 8, 3), 255, np.uint8)
        both: Sequence[Levels] = (self.original, gap, self.perturbed)
        return to_png(from_uint8(np.hstack(both)))


@checked_call
def pair(
    image: Any, perturbation: str | Condition, strength: float | None = None, *, seed: int = 0
) -> Pair:
    """One ``image`` beside itself as ``perturb`` makes it; raises as that does."""
    original = levels(image)
    condition = _condition(perturbation, strength)
    return Pair(original, perturb(original, condition, seed=seed), condition)


@checked_call
def remedy(remedies: str, images: Any) -> NDArray[Any]:
    """``images`` after remedies on the image, such as ``"median"`` or ``"median+autocontrast"``.

    A new array of the same shape and type. ``images`` are as in ``perturb``, square or not. Raises
    ``ParameterError`` for a remedy on the prediction, which takes a model:
    ``load_model(name).with_remedies([...])``.
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
    """The rows of a few images, as ``Run.frame`` has them; nothing is kept.

    With remedies in ``spec`` the last column lists the predictions behind each.

    ``pictures`` are by name: the path of a file, a sample as ``sample:coffee``, a PIL image, or an
    array (H, W, 3) of any size, uint8 or floating point in [0, 1]. Floating point (224, 224, 3) is
    a study image, and not fitted again. ``labels`` are true classes by the image's name, each a
    class index or the name of a class. Raises ``ImageError`` for a file that is no image,
    ``ParameterError`` for another kind of array, ``UnknownNameError`` for a class of no model.
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
    frame = to_frame(to_table(rows, [0] * len(rows)).select([*NUMBERS, *own_scores()]))
    if not spec.remedies:
        return frame
    trials: Any = [[trial._asdict() for trial in row.remedies] for row in rows]
    return frame.assign(remedies=trials)


def _picture(
    name: str,
    source: Any,
    spec: Request,
    label: int | None,
    overrides: Overrides = (None, None),
) -> Picture:
    """The image ``source``, in each framing of ``spec``."""
    framings = list(spec.by_framing)
    if isinstance(source, str | os.PathLike):
        picture = load_picture(
            picture_file(source), framings, name=os.fspath(source), overrides=overrides
        )
        versions = [replace(version, name=name, label=label) for version in picture.versions]
        return replace(versions[0], others=tuple(versions[1:]))
    shape = getattr(source, "shape", None)
    kind = getattr(source, "dtype", None)
    pixels = levels(source, name)  # refuses values out of range
    if kind is not None and np.issubdtype(kind, np.floating):
        alike = {each for each in framings if shape == (each.side, each.side, 3)}
    else:
        alike = set()
    whole = Image.fromarray(pixels)
    ways = [Framing("squash", each.side) if each in alike else each for each in framings]
    study = Framing("squash") if shape == (STUDY_SIDE, STUDY_SIDE, 3) and alike else Framing()
    result, _ = frame(whole, ways, study=study)
    return result.picture(name, framings, overrides=overrides, label=label)


@dataclass(frozen=True)
class Sweep:
    """How one image fares under one perturbation at rising strengths.

    ``points`` has a row per model and strength; ``breaks`` an entry per model; ``breaking`` the
    strength at which each model's prediction changes, None where it never does.
    """

    points: pd.DataFrame
    breaks: tuple[Break, ...]

    @property
    def breaking(self) -> dict[str, float | None]:
        return {point.model: point.strength for point in self.breaks}


@checked_call
def sweep(
    image: Any,
    *,
    models: Any = None,
    perturbation: str,
    label: int | str | None = None,
    steps: int = STEPS,
    seed: int = 0,
    fit: str | None = None,
    side: int | None = None,
    remedy: str | None = None,
) -> Sweep:
    """Find the strength at which each model's prediction of ``image`` changes.

    ``image`` is an array, a PIL image or the path of a file. Floating point (224, 224, 3), or of
    another ``side``, is a study image, and not fitted again. ``label`` is its true class, an index
    or a name. ``fit`` and ``side`` are as for ``make_spec``. ``steps`` strengths from 0 to 1 are
    tried, and more near a change. With a ``remedy``, such as ``median`` or ``median+tta``, every
    model is behind it. Raises as ``evaluate`` does.
    """
    chosen = known_models.resolve(names_of(models))
    conditions = [Condition.of({perturbation: 1.0})]
    spec = make_spec(chosen, conditions, seed=seed, fit=fit, side=side)
    picture = _picture("image", image, spec, None, (fit, side))
    truth = None if label is None else true_class("image", str(label), chosen)
    load = loader_with_remedies(parse(remedy), chosen) if remedy else known_models.load
    progress = sweeps.sweep(picture, [perturbation], chosen, load=load, steps=steps, seed=seed)
    events = [labelled(event, truth) for event in progress]
    rows = [event for event in events if isinstance(event, Measurement)]
    return Sweep(
        to_frame(to_table(rows, [0] * len(rows)).select([*NUMBERS, *own_scores()])),
        tuple(event for event in events if isinstance(event, Break)),
    )


EXPECTED = (
    "a folder, zip, table or URL; images (N, height, width, 3) or a list of images, alone or with "
    "labels as (images, labels); a sequence of (image, label); or a frame with the columns path "
    "and label"
)


class SessionImages(Dataset):
    """Images that a Python session holds; a run of them cannot be opened again by name."""

    def __init__(
        self,
        get: Callable[[int], tuple[Any, Any]],
        count: int,
        names: Sequence[str] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """``get`` returns the image and label at each of ``count`` places.

        It is called once a place to list it. ``classes`` are the names of integer labels.
        """
        self._get = get
        digits = len(str(max(0, count - 1)))
        names = distinct(names or [f"image {place:0{digits}d}" for place in range(count)])
        entries = []
        content = hashlib.sha256()
        for place, name in enumerate(names):
            image, label = get(place)
            size = None
            refused = ""
            try:
                size = _noted(image, name, content)
            except ImageError as error:
                refused = str(error)
            text = _label(label, classes)
            entries.append(Entry(name, str(place), size, label=text, refused=refused))
        self.columns_of_predictions: Columns = {}
        super().__init__(f"python:{content.hexdigest()[:16]}", "images from Python", entries)

    def columns(self) -> Columns:
        """The other columns of a frame."""
        return self.columns_of_predictions

    def read(self, entry: Entry) -> bytes:
        """A lossless PNG of an array or PIL image, the bytes of a file."""
        return png(self._get(int(entry.location))[0], entry.name)

    @property
    def digest(self) -> str:
        """SHA-256 over names, labels and pixels; of files over paths and sizes."""
        return hashlib.sha256(f"{self.source} {super().digest}".encode()).hexdigest()


def _noted(image: Any, name: str, content: Any) -> int | None:
    """Add ``image`` to the digest ``content``; return its bytes, None for a missing file."""
    if isinstance(image, str | os.PathLike):
        path = Path(picture_file(image)).resolve()
        content.update(os.fsencode(path))
        return path.stat().st_size if path.is_file() else None
    pixels = levels(image, name)
    content.update(str(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    return pixels.nbytes


def open_images(source: Any, classes: Any = None) -> Dataset:
    """The images of ``source``, listed.

    ``classes`` name the integer labels of images in memory, as ``class_names`` takes them. Raises
    ``ParameterError`` for what holds no image, and for integer labels without ``classes``.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | os.PathLike):
        return open_dataset(os.fspath(source))
    chosen = class_names(classes)
    dataset = _of_session(source, () if chosen is None else labels_of_names(chosen).names)
    if not dataset.entries:
        raise ParameterError(f"Expected at least one image, got none: give {EXPECTED}.")
    return dataset


def check_classes(classes: Any, *sources: Any) -> None:
    """Raise ``ParameterError`` for ``classes`` where no source is in memory."""
    if classes is not None and all(isinstance(source, str | os.PathLike) for source in sources):
        raise ParameterError(
            "Expected classes with images in memory only: the labels of a folder or table are read "
            "as they are written. Leave classes out."
        )


def _of_session(source: Any, classes: Sequence[str]) -> Dataset:
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _of_frame(source, classes)
    if isinstance(source, Mapping):
        return _session_images(
            [(image, None) for image in source.values()], [str(key) for key in source]
        )
    pair = isinstance(source, tuple) and len(source) == 2
    if pair and (getattr(source[0], "ndim", 0) == 4 or not is_image(source[1])):  # not two images
        images = _images(source[0])
        labels = source[1]
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise ParameterError(f"Expected a list of labels, got {type(labels).__name__}.")
        labels = list(labels)
        if len(images) != len(labels):
            raise ParameterError(
                f"Expected a label for each image, got {counted(len(images), 'image')} and "
                f"{counted(len(labels), 'label')}."
            )
        return _session_images(list(zip(images, labels, strict=True)), classes=classes)
    if hasattr(source, "ndim") or isinstance(source, list | tuple):
        return _session_images([_item(image) for image in _images(source)], classes=classes)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return SessionImages(lambda place: _item(source[place]), len(source), classes=classes)
    if isinstance(source, Iterable):
        return _session_images([_item(item) for item in source], classes=classes)
    raise _unknown(source)


def _session_images(
    pairs: Sequence[tuple[Any, Any]],
    names: Sequence[str] | None = None,
    classes: Sequence[str] = (),
) -> SessionImages:
    """The images and labels ``pairs``; files are called by their paths."""
    if names is None and all(isinstance(image, str | os.PathLike) for image, _ in pairs):
        names = [Path(image).as_posix() for image, _ in pairs]
    return SessionImages(pairs.__getitem__, len(pairs), names, classes)


def _unknown(source: Any) -> ParameterError:
    return ParameterError(f"Expected {EXPECTED}; got {type(source).__name__}.")


def _of_frame(frame: Any, classes: Sequence[str]) -> Dataset:
    frame = frame.loc[:, ~frame.columns.duplicated()]
    column_by_name = {str(column).strip().lower(): column for column in frame.columns}
    path = _first_column(PATH_COLUMNS, column_by_name)
    label = _first_column(LABEL_COLUMNS, column_by_name)
    if path is None:
        raise ParameterError(
            "Expected a frame with the column 'path', got "
            f"{', '.join(column_by_name) or 'no column'}."
        )
    frame = frame[frame[path].notna()]
    images = [value.strip() if isinstance(value, str) else value for value in frame[path]]
    labels = [None] * len(frame)
    if label is not None:
        labels = [
            None if gap else value
            for value, gap in zip(frame[label], frame[label].isna(), strict=True)
        ]
    dataset = _session_images(list(zip(images, labels, strict=True)), classes=classes)
    dataset.columns_of_predictions = other_columns(
        frame.assign(**{path: [entry.name for entry in dataset.entries]})
    )
    return dataset


def _first_column(names: Iterable[str], column_by_name: Mapping[str, Any]) -> Any:
    """Return the column of the first of ``names`` that there is, None for none."""
    for name in names:
        if name in column_by_name:
            return column_by_name[name]
    return None


def _images(source: Any) -> Sequence[Any]:
    """The images of an array or sequence, one by one."""
    if isinstance(source, list | tuple):
        return source
    if is_image(source):
        return [source]
    if not hasattr(source, "ndim"):
        if isinstance(source, Iterable):
            return list(source)
        raise _unknown(source)
    array = as_array(source)
    if array.ndim != 4:
        raise ParameterError(
            f"Expected images of shape (N, height, width, 3), got an array of shape {array.shape}."
        )
    return list(array)


def _label(value: Any, classes: Sequence[str]) -> str | None:
    """``value`` as the text of a class; an integer is the index of one of ``classes``."""
    if hasattr(value, "item") and not getattr(value, "ndim", 0):  # a number of NumPy or torch
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer():  # of a column with gaps
        value = int(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(
            "Expected a label to be the name or synset of a class, or an integer, got "
            f"{type(value).__name__}."
        )
    if not classes:
        raise ParameterError(
            f"Expected classes for integer labels, got the label {value}: name the classes in "
            'their order, as in classes=["cat", "dog"], or say classes="imagenet".'
        )
    if not 0 <= value < len(classes):
        raise ParameterError(
            f"Expected labels from 0 to {len(classes) - 1}, the indices of the "
            f"{len(classes)} classes, got {value}."
        )
    return classes[value]


def _item(item: Any) -> tuple[Any, Any]:
    """(image, label) of one item of a sequence; an image alone has no label."""
    if not isinstance(item, list | tuple):
        return item, None
    if len(item) != 2:
        raise ParameterError(f"Expected (image, label), got {counted(len(item), 'value')}.")
    return item[0], item[1]
