"""The training: consistency to the frozen parent, in steps that can be interrupted and resumed.

The loss is the Kullback-Leibler divergence from the parent's prediction on the original to the
model's on the original and on the perturbed image. Batch statistics stay (as in Schneider et al.,
NeurIPS 2020, they would move with the perturbations), the learning rate follows a cosine.

Images are split into three disjoint parts: to train on, to choose the interpolation, and to judge.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import __version__, models
from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.base.files import file_errors, put_whole
from robustness.base.turns import Note
from robustness.datasets import Dataset, sample_pixels
from robustness.datasets.dataset import KNOWN, entry_class_indices
from robustness.images.pixels import copies, from_uint8
from robustness.measure.options import EPOCHS
from robustness.models.record import ModelRecord
from robustness.models.training import GraphTrainer
from robustness.perturbations import Images, check_seed, compose

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

MOST_TRAINING = 3000
MOST_JUDGING = 1000
"""Images that are used, drawn at random from more."""

FEWEST_TRAINED = 20
FEWEST_CHOOSING = 10
FEWEST_JUDGED = 20
_CHOOSING = 0.25
"""Share of the images that are not trained on."""
_TRAINED = 0.6
"""Share of images that are trained on, where no others judge."""
_BATCH = 16


class Views(NamedTuple):
    """Images (N, S, S, 3) in 8 bits, the digests of their random streams, and their targets.

    Targets are the classes (N,) of good predictions; to train on, they are the parent's
    probabilities (N, classes).
    """

    pixels: Bytes
    digests: Sequence[str]
    targets: NDArray[Any]


class ImageParts(NamedTuple):
    """The images of each part. ``left_out`` are in none, as copies of others.

    With ``labelled`` ones those alone choose and judge, otherwise by the parent's predictions.
    """

    train: Views
    choose: Views
    judge: Views
    labelled: bool
    left_out: int
    unreadable: int


def split_images(
    record: ModelRecord,
    parent: models.Classifier,
    images: Dataset,
    judging: Dataset | None,
    seed: int,
    note: Note,
) -> ImageParts:
    """Read ``images`` and ``judging``, if any, as the model ``record`` sees them, and split them.

    Raises ``ParameterError`` where a part has too few images.
    """
    pools = [_read_pool(record, images, MOST_TRAINING, seed, note)]
    judging_count = 0
    if judging is not None:
        pools.append(_read_pool(record, judging, MOST_JUDGING, seed, note))
        judging_count = len(pools[-1].pixels)
    pixels = np.concatenate([pool.pixels for pool in pools])
    digests = [digest for pool in pools for digest in pool.digests]
    classes = np.concatenate([pool.classes for pool in pools])
    unreadable = sum(pool.unreadable for pool in pools)
    pools.clear()  # hundreds of megabytes

    train, choose, judge = split_places(pixels, judging_count, seed)
    left_out = len(pixels) - len(train) - len(choose) - len(judge)
    labelled_choose = choose[classes[choose] >= 0]
    labelled_judge = judge[classes[judge] >= 0]
    is_labelled = len(labelled_choose) >= FEWEST_CHOOSING and len(labelled_judge) >= FEWEST_JUDGED
    if is_labelled:
        choose = labelled_choose
        judge = labelled_judge

    def probabilities(rows: Places) -> NDArray[np.float32]:
        answers = []
        for start in range(0, len(rows), _BATCH):
            note("Predicting the originals", start, len(rows))
            batch = from_uint8(pixels[rows[start : start + _BATCH]])
            answers.append(parent(batch).probabilities)
        return np.concatenate(answers)

    def good_predictions(rows: Places) -> Places:
        if is_labelled:
            return classes[rows]
        return probabilities(rows).argmax(1)

    def views(rows: Places, targets: NDArray[Any]) -> Views:
        return Views(pixels[rows], [digests[row] for row in rows], targets)

    return ImageParts(
        train=views(train, probabilities(train)),
        choose=views(choose, good_predictions(choose)),
        judge=views(judge, good_predictions(judge)),
        labelled=is_labelled,
        left_out=left_out,
        unreadable=unreadable,
    )


class _Pool(NamedTuple):
    """Images of one dataset, their digests, and their classes (N,), -1 without one."""

    pixels: Bytes
    digests: Sequence[str]
    classes: Places
    unreadable: int


def _read_pool(record: ModelRecord, dataset: Dataset, most: int, seed: int, note: Note) -> _Pool:
    """Up to ``most`` images of ``dataset``, drawn at random, as the model ``record`` sees them."""
    labels = record.labels()
    sample = sample_pixels(dataset, record.framing, most, seed, note)
    class_of = entry_class_indices(dataset, [labels], KNOWN)[labels.key]
    classes = []
    for row in sample.rows:
        class_index = class_of[row]
        classes.append(-1 if class_index is None else class_index)
    return _Pool(sample.pixels, sample.streams, np.array(classes, np.int64), sample.unreadable)


def split_places(pixels: Bytes, judging: int, seed: int) -> tuple[Places, Places, Places]:
    """Return the rows of images (N, S, S, 3) to train on, to choose and to judge, each sorted.

    The last ``judging`` may not be trained on; without any, the images themselves are split. Copies
    of an image are in one part, and one alone of them chooses or judges. Raises ``ParameterError``
    where a part has too few images.
    """
    groups = copies(pixels)
    count = len(pixels)
    order = np.random.default_rng(seed).permutation(count)
    if judging:
        is_reserved = np.arange(count) >= count - judging
        train = np.flatnonzero(~np.isin(groups, groups[is_reserved]))
        held_out = order[is_reserved[order]]
    else:
        is_trained = _fill_with_groups(groups[order], round(_TRAINED * count))
        train = order[is_trained]
        held_out = order[~is_trained]

    # The first of each group of copies, in the random order.
    _, first_positions = np.unique(groups[held_out], return_index=True)
    held_out = held_out[np.sort(first_positions)]
    choose, judge = np.split(held_out, [round(_CHOOSING * len(held_out))])
    _require_images(train, FEWEST_TRAINED, "train on")
    _require_images(choose, FEWEST_CHOOSING, "choose the interpolation")
    _require_images(judge, FEWEST_JUDGED, "judge")
    return np.sort(train), np.sort(choose), np.sort(judge)


def _fill_with_groups(groups: Places, most: int) -> NDArray[np.bool_]:
    """Whether each image is in the first whole groups that have ``most`` images or fewer."""
    numbers, first_positions, sizes = np.unique(groups, return_index=True, return_counts=True)
    by_appearance = np.argsort(first_positions)
    fits = np.cumsum(sizes[by_appearance]) <= most
    return np.isin(groups, numbers[by_appearance[fits]])


def _require_images(places: Places, fewest: int, purpose: str) -> None:
    """Raise ``ParameterError`` for fewer than ``fewest`` images."""
    if len(places) < fewest:
        raise ParameterError(
            f"Expected at least {fewest} different images to {purpose}, got {len(places)}: "
            "add more images; copies count once, and no image both trains and judges."
        )


BATCH = 16
WEAKEST = 0.1
STRONGEST = 0.8
"""Range of the strengths, drawn uniformly."""

_SAVE_STEPS = 25
_LIFETIME = 7 * 24 * 3600.0
"""Seconds that an unfinished training stays in the cache."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained: epochs over the images, the largest learning rate, the seed.

    Without a rate it is the model's own.
    """

    epochs: int = EPOCHS
    rate: float | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise ``ParameterError`` for settings out of range."""
        if not 1 <= self.epochs <= 1000:
            raise ParameterError(f"Expected 1 to 1000 epochs, got {self.epochs}.")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ParameterError(f"Expected a learning rate above 0 up to 1, got {self.rate:g}.")
        check_seed(self.seed)


class Checkpoint:
    """The state of an unfinished training, a file of the cache; the same request finds it again."""

    def __init__(self, *request: object) -> None:
        """``request`` is all that the training depends on, JSON-ready."""
        key = hashlib.sha256(json.dumps([__version__, *request]).encode()).hexdigest()[:24]
        self._file = settings.cache_folder() / "hardening" / f"{key}.npz"

    def read(self, model: GraphTrainer) -> int:
        """Restore ``model``; return the number of steps done, 0 without a usable file."""
        try:
            with np.load(self._file, allow_pickle=False) as stored:
                state = dict(stored)
            model.restore(state)
            return int(state["steps"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0

    def write(self, model: GraphTrainer, steps: int) -> None:
        """Store the state of ``model`` after ``steps``.

        Raises ``ParameterError`` where it cannot be written; the file written before it stays.
        """

        def save(temporary: Path) -> None:
            # An open file, because NumPy adds .npz to a path with another ending.
            with temporary.open("wb") as stream:
                np.savez(stream, steps=np.array(steps), **model.state())  # type: ignore[arg-type]

        folder = self._file.parent
        with file_errors(
            "The training cannot be saved",
            "Make room on the disk, then train again: it continues from the last saved step.",
            hint=f"The folder is {folder}.",
        ):
            folder.mkdir(parents=True, exist_ok=True)
            for other in folder.glob("*.npz"):
                if time.time() - other.stat().st_mtime > _LIFETIME and other != self._file:
                    other.unlink(missing_ok=True)
            put_whole(self._file, save)

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)


def train(
    model: GraphTrainer,
    images: Views,
    perturbations: Sequence[str],
    chosen: Settings,
    checkpoint: Checkpoint,
    note: Note,
) -> None:
    """Train ``model``, from the ``checkpoint`` on if there is one.

    Each image gets a random one of the ``perturbations`` at a random strength. What ``note`` raises
    ends the training; the next call continues it.
    """
    count = len(images.pixels)
    steps_per_epoch = math.ceil(count / BATCH)
    step_count = steps_per_epoch * chosen.epochs
    images_to_see = count * chosen.epochs
    largest_rate = chosen.rate or model.rate
    steps_done = checkpoint.read(model)
    try:
        for step in range(steps_done, step_count):
            note("Training", min(step * BATCH, images_to_see), images_to_see)
            # Each epoch and step has a random stream of its own, so that a resumed training is
            # that without an interruption.
            epoch, batch = divmod(step, steps_per_epoch)
            order = np.random.default_rng([chosen.seed, epoch]).permutation(count)
            rows = order[batch * BATCH : (batch + 1) * BATCH]
            draws = np.random.default_rng([chosen.seed, step, 1])
            originals = from_uint8(images.pixels[rows])
            digests = [images.digests[row] for row in rows]
            perturbed = _perturbed(originals, digests, perturbations, draws)
            inputs = model.resized(np.concatenate([originals, perturbed]))
            targets = np.concatenate([images.targets[rows]] * 2)
            rate = largest_rate * (1 + math.cos(math.pi * step / step_count)) / 2
            try:
                model.step(inputs, targets, rate, step + 1)
            except ParameterError:  # it diverged
                checkpoint.remove()
                raise
            steps_done = step + 1
            if steps_done % _SAVE_STEPS == 0:
                checkpoint.write(model, steps_done)
    except ParameterError:
        raise  # it diverged, or the disk is full
    except BaseException:
        # A full disk does not hide the reason, such as a cancellation; the last checkpoint stays.
        with contextlib.suppress(ParameterError):
            checkpoint.write(model, steps_done)
        raise
    checkpoint.write(model, step_count)
    note("Training", images_to_see, images_to_see)


def _perturbed(
    originals: Images,
    digests: Sequence[str],
    perturbations: Sequence[str],
    draws: np.random.Generator,
) -> Images:
    """Each original under a perturbation, a strength and a seed that are drawn for it."""
    perturbed = []
    for image, digest in zip(originals, digests, strict=True):
        name = perturbations[int(draws.integers(len(perturbations)))]
        strength = float(draws.uniform(WEAKEST, STRONGEST))
        seed = int(draws.integers(2**32))
        perturbed.append(compose(image[None], {name: strength}, seed=seed, digests=[digest]))
    return np.concatenate(perturbed)
