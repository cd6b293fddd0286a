"""Images in three disjoint parts: to train on, to choose the interpolation, and to judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.progress_and_time_left import Note
from robustness.datasets import Dataset
from robustness.datasets.class_indices import KNOWN, entry_class_indices
from robustness.datasets.random_image_sample import sample_pixels
from robustness.models.model_and_weights_record import ModelRecord
from robustness.pictures.copies_and_single_scene import copies
from robustness.pictures.eight_bits import from_uint8

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

MOST_TRAINING, MOST_JUDGING = 3000, 1000
"""Images that are used, drawn at random from more."""

FEWEST_TRAINED, FEWEST_CHOOSING, FEWEST_JUDGED = 20, 10, 20
_CHOOSING = 0.25
"""Share of the images that are not trained on."""
_TRAINED = 0.6
"""Share of images that are trained on, where no others judge."""
_BATCH = 16


class Views(NamedTuple):
    """Images (N, S, S, 3) in 8 bits, their digests, and what the good prediction of each is.

    The targets are classes (N,), or to train on the parent's probabilities (N, classes).
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
    """``images`` as the model ``record`` sees them, and ``judging`` if any, in parts.

    Raises ``ParameterError`` where a part has too few images.
    """
    labels = record.labels()
    stacks, digests, indices, unreadable, reserved = [], [], [], 0, 0
    for dataset, most in ((images, MOST_TRAINING), (judging, MOST_JUDGING)):
        if dataset is not None:
            read = sample_pixels(dataset, record.framing, most, seed, note)
            class_of = entry_class_indices(dataset, [labels], KNOWN)[labels.key]
            stacks.append(read.pixels)
            digests += read.streams
            indices += [-1 if class_of[row] is None else class_of[row] for row in read.rows]
            unreadable += read.unreadable
            reserved = len(read.rows) if dataset is judging else 0
    pixels, classes = np.concatenate(stacks), np.array(indices, np.int64)
    stacks.clear()  # hundreds of megabytes
    train, choose, judge = split_places(pixels, reserved, seed)
    left_out = len(pixels) - len(train) - len(choose) - len(judge)
    some = [rows[classes[rows] >= 0] for rows in (choose, judge)]
    is_labelled = len(some[0]) >= FEWEST_CHOOSING and len(some[1]) >= FEWEST_JUDGED
    choose, judge = some if is_labelled else (choose, judge)

    def probabilities(rows: Places) -> NDArray[np.float32]:
        answers = []
        for start in range(0, len(rows), _BATCH):
            note("Predicting the originals", start, len(rows))
            batch = from_uint8(pixels[rows[start : start + _BATCH]])
            answers.append(parent(batch).probabilities)
        return np.concatenate(answers)

    def targets(rows: Places) -> Places:
        return classes[rows] if is_labelled else probabilities(rows).argmax(1)

    def views(rows: Places, targets: NDArray[Any]) -> Views:
        return Views(pixels[rows], [digests[row] for row in rows], targets)

    return ImageParts(
        views(train, probabilities(train)),
        views(choose, targets(choose)),
        views(judge, targets(judge)),
        is_labelled,
        left_out,
        unreadable,
    )


def split_places(pixels: Bytes, judging: int, seed: int) -> tuple[Places, Places, Places]:
    """Positions of images (N, S, S, 3) to train on, to choose and to judge.

    The last ``judging`` may not be trained on; without any, the images themselves are split. Copies
    of an image are in one part, and one alone of them chooses or judges. Raises ``ParameterError``
    where a part has too few images.
    """
    groups, count = copies(pixels), len(pixels)
    order = np.random.default_rng(seed).permutation(count)
    if judging:
        reserved = np.arange(count) >= count - judging
        train = np.flatnonzero(~np.isin(groups, groups[reserved]))
        pool = order[reserved[order]]
    else:  # whole groups, until the share is full
        numbers, first, sizes = np.unique(groups[order], return_index=True, return_counts=True)
        turns = np.argsort(first)
        fits = np.cumsum(sizes[turns]) <= round(_TRAINED * count)
        trained = np.isin(groups[order], numbers[turns[fits]])
        train, pool = order[trained], order[~trained]

    pool = pool[np.sort(np.unique(groups[pool], return_index=True)[1])]
    choose, judge = np.split(pool, [round(_CHOOSING * len(pool))])
    for places, fewest, purpose in (
        (train, FEWEST_TRAINED, "train on"),
        (choose, FEWEST_CHOOSING, "choose the interpolation"),
        (judge, FEWEST_JUDGED, "judge"),
    ):
        if len(places) < fewest:
            raise ParameterError(
                f"Expected at least {fewest} different images to {purpose}, got {len(places)}: "
                "add more images; copies count once, and no image both trains and judges."
            )
    return np.sort(train), np.sort(choose), np.sort(judge)
