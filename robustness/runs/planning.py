"""Plans of runs: their images, conditions and classes, also from the manifest of a saved run.

A forecast says what a planned run will take: passes, disk and time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from robustness import models
from robustness.base.errors import ParameterError, RobustnessError, RunError
from robustness.base.options import options_of
from robustness.base.text import counted, in_bytes
from robustness.base.turns import duration
from robustness.datasets import FOLDERS, Dataset, ImageNetCTree, entry_class_indices, open_dataset
from robustness.measure.options import ImageOptions, Labelling
from robustness.measure.request import Request
from robustness.measure.rows import plugins_of
from robustness.measure.worst import ROUNDS, most_tried
from robustness.models.record import Labels
from robustness.remedies import parse_all
from robustness.runs.engines import REGISTRY as ENGINES
from robustness.runs.engines import Workload, default_batch, is_from_table
from robustness.runs.folder import listing
from robustness.runs.manifest import FINISHED, Classes, DatasetRecord, Manifest, ScoreRecord

MAX_BATCH = 1024

BYTES_A_ROW = 220
"""As measured on runs of the offline models."""

_FEWEST_IMAGES = 5
"""Images of an earlier run from which a rate is taken."""


@dataclass(frozen=True)
class Plan(Workload):
    """A planned run: the work, and what its manifest says of the images. Nothing is written yet."""

    record: DatasetRecord
    classes: Classes = field(default_factory=dict)
    """Classes of models that are not available here, as in a manifest."""
    score: ScoreRecord | None = None


def plan(
    source: str | Dataset,
    spec: Request,
    *,
    classes: Labels | None = None,
    **given: Unpack[ImageOptions],
) -> Plan:
    """Lists the images of ``source``, unless they are already, and finds their classes.

    ``labelling`` says where the labels come from. ``limit`` keeps the first images, ``sample``
    draws from these with the seed of ``spec``; ``batch`` is how many are worked on at once (by
    default as many as fill the passes). ``own_classes`` limits predictions to the classes that the
    labels name. The labels are of ``classes``, by default of those of the models. Raises
    ``ParameterError`` where the source, a label or a number cannot be used.
    """
    options = options_of(ImageOptions, given)
    batch = options["batch"]
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise ParameterError(
            f"Expected 1 to {MAX_BATCH} images per batch, got {batch}.",
            hint="That is --batch.",
        )
    dataset = open_dataset(source) if isinstance(source, str) else copy(source)
    _check_stored(dataset, spec)
    dataset.select(options["limit"], options["sample"], spec.seed)
    if classes:
        label_sets = [classes]
    else:
        label_sets = [labels for labels, _ in models.by_labels(spec.model_names)]
    labels = entry_class_indices(dataset, label_sets, options["labelling"])
    check_limit(spec, labels)
    if options["own_classes"]:
        spec = replace(spec, classes=_own_classes(labels))
    record = record_of(dataset, options["labelling"], options["limit"], options["sample"])
    return Plan(spec, dataset, labels, batch or default_batch(spec), record)


def check_limit(spec: Request, labels: Mapping[str, Sequence[int | None]]) -> None:
    """Raise ``ParameterError`` if a domain limits accuracy and no image has a label."""
    domain = spec.domain
    if domain is None or domain.min_accuracy is None:
        return
    has_label = any(index is not None for indices in labels.values() for index in indices)
    if not has_label:
        raise ParameterError(
            f"The domain {domain.name} limits the accuracy, and no image has a class label. Label "
            "the images, or limit the consistency (min_consistency), which needs no labels."
        )


def record_of(
    dataset: Dataset,
    labelling: Labelling = FOLDERS,
    limit: int | None = None,
    sample: int | None = None,
) -> DatasetRecord:
    """The record of ``dataset`` for a manifest, after the selection by ``limit`` and ``sample``."""
    return DatasetRecord(
        source=dataset.source,
        title=dataset.title,
        labelling=labelling,
        limit=limit,
        sample=sample,
        pictures=len(dataset),
        digest=dataset.digest,
    )


def _own_classes(labels: Mapping[str, Sequence[int | None]]) -> tuple[int, ...]:
    """The classes that ``labels`` name, sorted.

    Raises ``ParameterError`` for fewer than two, and for models with different sets of classes.
    """
    if len(labels) > 1:
        raise ParameterError("Expected models with the same classes, got different ones.")
    (class_indices,) = labels.values()
    named = {class_index for class_index in class_indices if class_index is not None}
    classes = tuple(sorted(named))
    if len(classes) < 2:
        raise ParameterError(
            f"Expected labels of two or more classes, to predict among these, got {len(classes)}."
        )
    return classes


def _check_stored(dataset: Dataset, spec: Request) -> None:
    """Raises ``ParameterError`` for conditions that ``dataset`` does not allow.

    A published dataset has the perturbed images of its own conditions in files, and takes no other.
    """
    is_published = isinstance(dataset, ImageNetCTree)
    for condition in spec.conditions:
        if is_published and not condition.in_files:
            raise ParameterError(
                f"{dataset.title} is already perturbed: expected its own conditions, got "
                f"{condition.id}."
            )
        if condition.in_files and not is_published:
            raise ParameterError(
                f"{condition.id} needs a published dataset: expected a source TREE::ORIGINALS."
            )


def replan(manifest: Manifest) -> Plan:
    """The plan of the run of ``manifest``: the same source, with the same weights.

    It opens whatever source the manifest names, so it is for those who may read that themselves.
    Raises ``RunError`` for weights that have changed since, and what ``models.require`` and
    ``plan`` raise.
    """
    _require(manifest)
    return _plan_of(manifest, manifest.dataset.source)


def reevaluation_plan(
    manifest: Manifest, source: str | None = None, remedies: str | Sequence[str] = ()
) -> Plan:
    """The plan to evaluate the run of ``manifest`` again: on its images, or those of ``source``.

    It has the ``remedies`` if any are named, else those of the run. It opens whatever source the
    manifest names, as ``replan`` does. Raises ``RunError`` where the images are not there any more
    or are others, and for models that are missing or have other weights; ``ParameterError`` for a
    ``source`` that cannot be used.
    """
    chains = parse_all(remedies)
    if chains:
        manifest = manifest.updated(spec=manifest.spec.with_remedies(chains))
    record = manifest.dataset
    try:
        _require(manifest)
    except RobustnessError as error:
        raise RunError(f"The run {manifest.id} cannot be evaluated again: {error}") from error
    if source is not None:
        return _plan_of(manifest, source)
    try:
        dataset = open_dataset(record.source)
    except (RobustnessError, OSError) as error:
        raise RunError(
            f"The images of the run {manifest.id} are not where they were: give their source, too.",
            hint=str(error),
        ) from error
    plan = _plan_of(manifest, dataset)
    if plan.record.digest != record.digest:
        raise RunError(
            f"Expected the {counted(record.pictures, 'image')} of the run {manifest.id}, got others"
            " where these were: to evaluate the others, give their source, too.",
            hint=f"The source is {record.source}.",
        )
    return plan


def _require(manifest: Manifest) -> None:
    """Raises ``RunError`` unless the models and plugins of a run are here as they were."""
    spec = manifest.spec
    if is_from_table(manifest.engine):
        raise RunError("its predictions came from a table: evaluate that table again.")
    for name, digest in spec.models:
        record = models.REGISTRY[name]
        models.require(record)
        now = models.digest(record)
        if now != digest:
            raise RunError(f"the weights of {name} have changed since, from {digest} to {now}.")
    loaded = {plugin.name for plugin in plugins_of(spec, manifest.dataset.source)}
    missing = [name for name in manifest.plugins if name not in loaded]
    if missing:
        raise RunError(
            f"it used the plugin {' and '.join(missing)}, which is not loaded here: name it in the "
            "setting plugins, or install it."
        )


def _plan_of(manifest: Manifest, source: str | Dataset) -> Plan:
    record = manifest.dataset
    return plan(
        source,
        manifest.spec,
        labelling=record.labelling,
        limit=record.limit,
        sample=record.sample,
        batch=manifest.batch,
    )


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    ``seconds`` are those on this machine, None if they are unknown. ``basis`` says what they rest
    on, in phrases.
    """

    images: int
    conditions: int
    models: int
    basis: tuple[str, ...]
    bytes_on_disk: int
    seconds: float | None = None
    variants: int = 0
    variant_passes: int = 0
    """Forward passes of all variants for one image under one condition."""
    search_passes: int = 0
    """Forward passes, at most, of the search for the worst composition of a domain."""

    @property
    def passes(self) -> int:
        """Forward passes for the rows, without those of attacks."""
        return self.images * (1 + self.conditions) * (self.models + self.variant_passes)

    @property
    def rows(self) -> int:
        return self.images * self.conditions * self.models

    @property
    def size(self) -> str:
        """Such as "5 images × (10 conditions + the original) × 4 models: 220 forward passes"."""
        images = counted(self.images, "image")
        conditions = counted(self.conditions, "condition")
        models = counted(self.models, "model")
        if self.variants:
            passes = counted(self.models + self.variant_passes, "pass")
            models = f"{passes} ({models}, {counted(self.variants, 'variant')})"
        factors = f"{images} × ({conditions} + the original) × {models}"
        text = f"{factors}: {counted(self.passes, 'forward pass')}"
        if self.search_passes:
            text += f", and up to {self.search_passes:,} to search the worst composition"
        return text

    @property
    def time(self) -> str:
        """Such as "about 3 min at the rate of the run of 2026-01-02"."""
        if self.seconds is None:
            return "known once it runs"
        return " ".join(["about", duration(self.seconds), *self.basis])

    @property
    def sample_time(self) -> str:
        """How long a sample of ``SAMPLE_FIRST`` images takes, where all take long; "" otherwise."""
        if self.seconds is None or self.seconds < _LONG or self.images < 2 * SAMPLE_FIRST:
            return ""
        return f"about {duration(self.seconds * SAMPLE_FIRST / self.images)}"

    @property
    def disk(self) -> str:
        """Such as "about 4.2 GB"."""
        return f"about {in_bytes(self.bytes_on_disk)}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "basis": list(self.basis), "passes": self.passes, "rows": self.rows}


def _passes_a_cell(spec: Request) -> int:
    """Forward passes of all models and variants for one image under one condition."""
    return len(spec.models) + _variant_passes(spec)


def _variant_passes(spec: Request) -> int:
    return sum(variant.passes for variant in spec.variants)


def _search_passes(plan: Workload) -> int:
    """Forward passes, at most, of the search for the worst composition of a domain; else 0.

    It tries the levels of one range at once, with the originals, on about half of the images.
    """
    domain = plan.spec.domain
    if domain is None:
        return 0
    passes_an_image = most_tried(domain) + ROUNDS * len(domain.ranges)
    return len(plan.dataset) * passes_an_image * len(plan.spec.models) // 2


def from_earlier(plan: Workload, runs: Path) -> Forecast:
    """A forecast at the rate of the newest earlier run of the same models in ``runs``.

    Without one, or under attack, the time is unknown.
    """
    spec = plan.spec
    forecast = Forecast(
        images=len(plan.dataset),
        conditions=len(spec.conditions),
        models=len(spec.models),
        basis=(),
        bytes_on_disk=0,
        variants=len(spec.variants),
        variant_passes=_variant_passes(spec),
        search_passes=_search_passes(plan),
    )
    earlier = None
    if not _has_attacks(spec):
        earlier = _earlier(runs, spec)
    if earlier is None:
        return replace(forecast, bytes_on_disk=forecast.rows * BYTES_A_ROW)
    # The earlier run has the same models, in the same framings.
    conditions = len(earlier.spec.conditions)
    rows = earlier.images * conditions * forecast.models
    passes = earlier.images * (1 + conditions) * _passes_a_cell(earlier.spec)
    return replace(
        forecast,
        basis=(f"at the rate of the run of {earlier.created[:10]}",),
        bytes_on_disk=round(forecast.rows * sum(earlier.parts.values()) / rows),
        seconds=(forecast.passes + forecast.search_passes) * earlier.seconds / passes,
    )


_TRIED_CHUNKS = 8
"""Chunks of a trial; the first warms up, and is not timed."""

_TRIAL_SECONDS = 20.0
"""After which a trial tries no further chunk, so that a slow one costs little."""


def seconds_a_pass(plan: Workload) -> float | None:
    """The time of a forward pass with all that goes with it, by a trial on images of ``plan``.

    A few chunks are evaluated on this machine, and their rows forgotten. None where none of their
    images can be read, and under attack.
    """
    if _has_attacks(plan.spec):
        return None
    spread = np.linspace(0, plan.chunk_count - 1, _TRIED_CHUNKS).round().astype(int)
    numbers = list(dict.fromkeys(spread.tolist()))
    numbers = [numbers[0], *numbers]
    images = 0
    start = 0.0
    seconds = 0.0
    for tried, chunk in enumerate(ENGINES["local"].run(plan, numbers, None)):
        if tried == 1:
            start = time.perf_counter()
        if tried > 1 and chunk is not None:
            images += chunk.readable
            seconds = time.perf_counter() - start
            if images and seconds > _TRIAL_SECONDS:
                break
    if not images:
        return None
    passes = images * (1 + len(plan.spec.conditions)) * _passes_a_cell(plan.spec)
    return seconds / passes


SAMPLE_FIRST = 40
"""Images of a sample, where a run is long."""

_LONG = 600.0
"""Seconds from which a run is long."""


def by_trial(plan: Workload, runs: Path, seconds: float | None) -> Forecast:
    """A forecast at the rate of ``seconds_a_pass``, as ``from_earlier`` where that is None."""
    forecast = from_earlier(plan, runs)
    if seconds is None:
        return forecast
    passes = forecast.passes + forecast.search_passes
    return replace(forecast, seconds=seconds * passes, basis=("by a trial",))


def _earlier(runs: Path, spec: Request) -> Manifest | None:
    """The manifest of the newest finished run that the models of ``spec`` did here."""
    for entry in listing(runs):
        manifest = entry.manifest
        if manifest is None or manifest.status != FINISHED or manifest.engine != "local":
            continue
        if manifest.images < _FEWEST_IMAGES or _has_attacks(manifest.spec):
            continue
        if dict(manifest.spec.framings) == dict(spec.framings):
            return manifest
    return None


def _has_attacks(spec: Request) -> bool:
    return any(condition.needs_model for condition in spec.conditions)
