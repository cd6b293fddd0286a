"""Engines evaluate the images of a dataset in chunks; here is the one of this machine.

The same work on the same chunks gives the same rows, whichever engine does it.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import pyarrow as pa

from robustness import models
from robustness.base.errors import AnswerError, ImageError, ParameterError
from robustness.base.registry import Registry
from robustness.datasets import Dataset, Entry, ImageNetCTree
from robustness.images.framing import Framing, Picture
from robustness.images.properties import PropertyValues
from robustness.images.sandbox import measured_image, untrusted_image
from robustness.measure.condition import Condition, StoredCondition
from robustness.measure.loop import answers, prepare
from robustness.measure.measurement import Batch, Measurement
from robustness.measure.request import Request
from robustness.measure.rows import to_stored
from robustness.models import Classifier, ModelRecord
from robustness.perturbations import Images

__all__ = [
    "REGISTRY",
    "UNANSWERED",
    "Chunk",
    "Engine",
    "Workload",
    "default_batch",
    "is_from_table",
]

FRAMES_AT_ONCE = 176
"""Images and their perturbed versions in one chunk: 11 full passes of 16, and about 100 MB."""


UNANSWERED = "No answer:"
"""Prefix of the reason for an image that was read, but that a model did not answer."""


def default_batch(spec: Request) -> int:
    """The number of images in a chunk that keeps the passes full and the memory small."""
    frames_an_image = len(spec.by_framing) * (1 + len(spec.conditions))
    return max(1, FRAMES_AT_ONCE // frames_an_image)


@dataclass(frozen=True)
class Workload:
    """The work on a dataset, complete enough for another process to do a part of it.

    ``labels`` maps the ``key`` of each set of classes to the class index of every entry, None where
    it is unknown. ``batch`` is the number of images in a chunk.
    """

    spec: Request
    dataset: Dataset
    labels: Mapping[str, tuple[int | None, ...]]
    batch: int

    @property
    def chunk_count(self) -> int:
        return math.ceil(len(self.dataset) / self.batch)

    def positions(self, number: int) -> range:
        """The positions in the dataset of the images of chunk ``number``."""
        start = number * self.batch
        return range(start, min(start + self.batch, len(self.dataset)))


@dataclass(frozen=True)
class ImageRecord:
    """An image of a run, by its position in the dataset.

    ``digest`` identifies it by its pixels before any framing, and ``framed`` are the digests of its
    pixels in each framing of the request. ``reason`` is why there are no rows of it, "" if there
    are.
    """

    position: int
    name: str
    digest: str | None = None
    reason: str = ""
    properties: PropertyValues = field(default_factory=dict)
    framed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """The result of one chunk: its rows without ``NOT_STORED``, image by image, and its images."""

    number: int
    table: pa.Table
    images: tuple[ImageRecord, ...]

    @property
    def readable(self) -> int:
        """How many of its images have rows."""
        return sum(not image.reason for image in self.images)


@dataclass(frozen=True)
class Engine:
    """Evaluates chunks of a workload somewhere.

    ``run(work, numbers, address)`` yields None once its models are loaded, then one ``Chunk`` for
    each of ``numbers``, in any order, each once. Closing the iterator stops the work. ``address``
    says where a cluster is; an engine without one ignores it. ``label`` is what people read.
    ``require()`` raises ``ParameterError`` where the engine cannot be used on this machine.
    ``asks_models`` is false where predictions come in a table, so that no model runs.
    """

    name: str
    label: str
    run: Callable[[Workload, Sequence[int], str | None], Iterator[Chunk | None]]
    require: Callable[[], object] = lambda: None
    asks_models: bool = True


REGISTRY: Registry[Engine] = Registry("engine")


def is_from_table(engine: str) -> bool:
    """Whether predictions by the ``engine`` of a run came in a table, so that no model ran."""
    return engine in REGISTRY and not REGISTRY[engine].asks_models


@dataclass(frozen=True)
class Prepared:
    """A chunk read and perturbed, before any model is asked.

    ``batches`` has the readable images in each framing; empty if there are none.
    """

    number: int
    images: tuple[ImageRecord, ...]
    batches: Mapping[Framing, Batch]

    @property
    def readable(self) -> tuple[ImageRecord, ...]:
        """The images of ``batches``."""
        return tuple(image for image in self.images if not image.reason)

    @property
    def unreadable(self) -> tuple[ImageRecord, ...]:
        return tuple(image for image in self.images if image.reason)


def prepared(work: Workload, number: int) -> Prepared:
    """Reads the images of chunk ``number`` once, frames and perturbs them for each framing."""
    spec = work.spec
    framings = list(spec.by_framing)
    images: list[ImageRecord] = []
    pictures: list[Picture] = []
    stored: dict[Framing, list[Images]] = {framing: [] for framing in framings}
    for position in work.positions(number):
        entry = work.dataset.entries[position]
        try:
            picture, properties = _read_picture(work.dataset, entry, framings)
            # All are read before the first is taken, as one may be unreadable.
            frames_by_framing = _stored_frames(work, entry, picture)
        except ImageError as error:
            images.append(ImageRecord(position, entry.name, reason=str(error)))
            continue
        image = ImageRecord(
            position,
            entry.name,
            digest=picture.source,
            properties=properties,
            framed=tuple(version.digest for version in picture.versions),
        )
        images.append(image)
        pictures.append(picture)
        for framing, frames in frames_by_framing.items():
            stored[framing].append(frames)
    batches: dict[Framing, Batch] = {}
    if pictures:
        for framing in framings:
            batches[framing] = prepare(
                [picture.at(framing) for picture in pictures],
                spec.conditions,
                spec.seed,
                changed=np.stack(stored[framing]) if stored[framing] else None,
            )
    return Prepared(number, tuple(images), batches)


def _read_picture(
    dataset: Dataset, entry: Entry, framings: Sequence[Framing]
) -> tuple[Picture, PropertyValues]:
    """The image of ``entry`` in each of ``framings``, and its properties."""
    if entry.refused:
        raise ImageError(entry.refused)
    data = dataset.read(entry)
    # However long it waits: what a run says must not depend on what else is going on.
    pixels, properties = measured_image(data, framings, name=entry.name, patience=None)
    return pixels.picture(entry.name, framings), properties


def _stored_frames(work: Workload, entry: Entry, picture: Picture) -> dict[Framing, Images]:
    """By framing the original and its perturbed versions in the files of a published dataset.

    Each is (1 + conditions, S, S, 3); empty for other datasets, whose images are perturbed here.
    """
    if not isinstance(work.dataset, ImageNetCTree):
        return {}
    frames_by_framing = {}
    for framing in work.spec.by_framing:
        frames = [picture.at(framing).image]
        for condition in work.spec.conditions:
            frames.append(stored_image(work.dataset, entry, condition, framing.side))
        frames_by_framing[framing] = np.stack(frames)
    return frames_by_framing


def stored_image(dataset: Dataset, entry: Entry, condition: Condition, side: int) -> Images:
    """The image (S, S, 3) of ``entry`` under ``condition`` as its files have it, uncropped.

    Raises ``ParameterError`` unless the dataset is published and the condition one of its own,
    ``ImageError`` where the file cannot be read.
    """
    if not (isinstance(dataset, ImageNetCTree) and isinstance(condition, StoredCondition)):
        raise ParameterError(
            f"{dataset.title} is already perturbed: expected conditions such as "
            f"stored(corruption=fog,severity=3), got {condition.id}."
        )
    data = dataset.read_stored(entry, condition.corruption, condition.severity)
    return untrusted_image(data, Framing("squash", side), name=entry.name, patience=None)


def answered(
    work: Workload, ready: Prepared, load: Callable[..., Classifier] = models.load
) -> Chunk:
    """The chunk with the answers of every model about the images of ``ready``.

    An image for which a model in Python gives no answer is listed among the unreadable ones.
    """
    if not ready.batches:
        return Chunk(ready.number, to_stored([], []), ready.unreadable)
    try:
        return _answered_together(work, ready, load)
    except AnswerError as error:
        if len(ready.readable) == 1:
            reason = f"{UNANSWERED} {error}"
            image = replace(ready.readable[0], digest=None, framed=(), reason=reason)
            return Chunk(ready.number, to_stored([], []), (*ready.unreadable, image))
    return _answered_alone(work, ready, load)


def _answered_alone(work: Workload, ready: Prepared, load: Callable[..., Classifier]) -> Chunk:
    """The answers for each image alone, so that only those without an answer are left out."""
    tables = []
    images = list(ready.unreadable)
    for index, image in enumerate(ready.readable):
        row = slice(index, index + 1)
        batches = {}
        for framing, batch in ready.batches.items():
            batches[framing] = Batch(batch.pictures[row], batch.frames[row], batch.scores[row])
        alone = answered(work, Prepared(ready.number, (image,), batches), load)
        tables.append(alone.table)
        images += alone.images
    return Chunk(ready.number, pa.concat_tables(tables).combine_chunks(), tuple(images))


def _answered_together(work: Workload, ready: Prepared, load: Callable[..., Classifier]) -> Chunk:
    """The answers for all images at once; raises ``AnswerError`` where one has none."""
    positions = [image.position for image in ready.readable]
    by_image: list[list[Measurement]] = [[] for _ in positions]

    def labels(record: ModelRecord) -> list[int | None]:
        dataset_labels = work.labels[record.labels().key]
        return [dataset_labels[position] for position in positions]

    for model_rows in answers(work.spec, ready.batches, load=load, labels=labels):
        for measurements, more in zip(by_image, model_rows, strict=True):
            measurements += more
    rows: list[Measurement] = []
    row_positions: list[int] = []
    for position, measurements in zip(positions, by_image, strict=True):
        rows += measurements
        row_positions += [position] * len(measurements)
    return Chunk(ready.number, to_stored(rows, row_positions), ready.images)


PREPARERS = max(1, min(4, (os.cpu_count() or 1) // 4))
"""Threads that prepare: TensorFlow uses all cores, and preparing is a tenth of its work."""


def chunks(
    work: Workload, numbers: Sequence[int], *, load: Callable[..., Classifier] = models.load
) -> Iterator[Chunk | None]:
    """Yields None when the models are loaded, then the chunks ``numbers`` of ``work`` in order.

    At most ``PREPARERS + 1`` chunks are in memory at a time, whatever their number. Raises
    ``WeightsError`` when a model cannot be loaded.
    """
    with ThreadPoolExecutor(PREPARERS, thread_name_prefix="prepare") as pool:
        # A generator submits each chunk only when it is taken, which bounds those in memory.
        submitted = (pool.submit(prepared, work, number) for number in numbers)
        waiting = deque(islice(submitted, PREPARERS))
        try:
            for name, framing in work.spec.framings:  # while the first chunks are prepared
                load(name, side=framing.side)
            yield None
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(islice(submitted, 1))
                yield answered(work, ready, load)
        finally:
            for future in waiting:
                future.cancel()


def _run_here(
    work: Workload, numbers: Sequence[int], _address: str | None
) -> Iterator[Chunk | None]:
    return chunks(work, numbers)


REGISTRY.add(Engine(name="local", label="this machine", run=_run_here))
