"""Runs saved on disk whose rows are made up: what a report reads, without asking any model."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmarks.support.image_folders import drawing
from robustness import metrics, models, runs
from robustness.images.decoding import decode
from robustness.images.framing import Framing, source_digest
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, study_conditions
from robustness.measure.rows import to_stored, versions
from robustness.metrics.scores import RESCALED
from robustness.remedies import Chain
from robustness.runs import files as run_files
from robustness.runs.engines import Chunk, ImageRecord
from robustness.runs.files import write_part
from robustness.runs.manifest import DatasetRecord, Manifest

Shares = Mapping[str, float]
Changed = Callable[[Measurement, int, int], Measurement]
ESPRESSO = 967
TABBY = 281


def pictures(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Drawings under ``names`` in ``folder``; the digest of each one."""
    folder.mkdir(parents=True)
    digests = {}
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        data, digest = _drawn(number, Path(name).suffix)
        (folder / name).write_bytes(data)
        digests[name] = digest
    return digests


@cache
def _drawn(number: int, ending: str) -> tuple[bytes, str]:
    """The file of a drawing, and its digest; many runs have the same drawings."""
    file = io.BytesIO()
    drawing(number).save(file, Image.registered_extensions()[ending])
    data = file.getvalue()
    return data, source_digest(decode(data, name=f"{number}{ending}"))


def saved(
    folder: Path,
    digests: Mapping[str, str],
    shares: Shares,
    *,
    source: Path,
    conditions: Sequence[Condition] = (),
    labelled: bool = True,
    finished: bool = True,
    unreadable: Sequence[tuple[str, str]] = (),
    kept: Mapping[str, NDArray[np.bool_]] | None = None,
    each: int = 256,
    remedies: Sequence[Chain] = (),
    changed: Changed | None = None,
) -> runs.Run:
    """A run in ``folder`` in which every model keeps its share of the answers, drawn by chance.

    ``kept`` gives the answers (images, conditions) of a model instead. A file of rows holds
    ``each`` images. ``changed`` makes another row of one, of its image and its condition, by their
    places; with ``remedies`` it makes those of variants, too.
    """
    chosen = tuple(conditions) or study_conditions()
    framings = tuple((name, Framing()) for name in shares)
    spec = Request(tuple((name, f"sha256:{name}") for name in shares), chosen, framings, seed=3)
    spec = spec.with_remedies(remedies)
    rng = np.random.default_rng(0)
    size = (len(digests), len(chosen))
    answers = {
        name: (kept or {}).get(name, rng.random(size) < share) for name, share in shares.items()
    }
    folder.mkdir(parents=True)
    items = list(digests.items())
    files = []
    for start in range(0, len(items), each):
        some = items[start : start + each]
        chunk = _chunk(start // each, some, start, spec, answers, labelled, changed)
        if start + each >= len(items):
            others = (
                ImageRecord(position, name, reason=reason)
                for position, (name, reason) in enumerate(unreadable, start=len(items))
            )
            chunk = replace(chunk, images=(*chunk.images, *others))
        files.append(run_files.write(folder, [chunk]))
        files.append(write_part(folder, [chunk], seconds=1.5).path)
    count = len(items) + len(unreadable)
    manifest = Manifest(
        id=folder.name,
        created="2026-01-02T03:04:05+00:00",
        spec=spec,
        dataset=DatasetRecord(str(source), source.name, "folders", None, None, count, "digest"),
        batch=each,
        engine="local",
        versions=versions(),
        status=runs.FINISHED if finished else runs.UNFINISHED,
        images=len(items),
        unreadable=len(unreadable),
        parts={path.name: path.stat().st_size for path in files},
    )
    manifest.write(folder)
    return runs.load(folder, unfinished=True)


def with_images(run: runs.Run, change: Callable[[pa.Table], pa.Table]) -> runs.Run:
    """``run`` with a changed table of its images."""
    file = run.folder / run_files.FILE
    run_files.put_table(file, change(run.image_table))
    paths = [file, *(part.path for part in run.parts)]
    sizes = {path.name: path.stat().st_size for path in paths}
    run.manifest.updated(parts=sizes).write(run.folder)
    return runs.load(run.folder, unfinished=True)


def with_column(table: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    """``table`` with other values in the column ``name``."""
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))


def _chunk(
    number: int,
    items: Sequence[tuple[str, str]],
    start: int,
    spec: Request,
    answers: Mapping[str, NDArray[np.bool_]],
    labelled: bool,
    changed: Changed | None,
) -> Chunk:
    rows = []
    positions = []
    for place, (name, digest) in enumerate(items, start=start):
        bases = dict.fromkeys(spec.model_names, "")
        bases |= {variant.name: variant.base for variant in spec.variants}
        for model, base in bases.items():
            for at, condition in enumerate(spec.conditions):
                known = base or model
                stays = bool(answers[known][place, at])
                row = measurement(name, digest, known, condition, stays, labelled, place + at)
                row = replace(row, model=model, base=base)
                rows.append(changed(row, place, at) if changed else row)
                positions.append(place)
    return Chunk(
        number,
        to_stored(rows, positions),
        tuple(
            ImageRecord(position, name, digest)
            for position, (name, digest) in enumerate(items, start=start)
        ),
    )


def measurement(
    name: str,
    digest: str,
    model: str,
    condition: Condition,
    stays: bool,
    labelled: bool = False,
    number: int = 0,
    step: int = 0,
) -> Measurement:
    """One made-up row: the label depends on ``number``, the figures on ``step`` as well."""
    labels = models.REGISTRY[model].labels()
    top = [ESPRESSO, TABBY, 0, 1, 2] if len(labels) == 1000 else list(range(5))
    wiggle = ((number + step) * 37 % 100) / 1000
    after = top if stays else [top[1], top[0], *top[2:]]
    scores = {
        metric.name: 0.5 + wiggle if np.isfinite(metric.high) else 20.0 + wiggle
        for metric in metrics.REGISTRY
    } | dict.fromkeys(RESCALED.values(), 0.3 + wiggle)
    features = [name for pair in RESCALED.items() for name in pair]
    return Measurement(
        image=name,
        image_digest=digest,
        framed_digest=digest,
        fit="crop",
        side=224,
        label=top[0] if labelled and number % 5 else top[1] if labelled else None,
        model=model,
        condition=condition.id,
        perturbation=condition.name,
        strength=condition.strength,
        parameter=condition.parameter,
        seed=3,
        clean_top1=top[0],
        clean_probability=0.8 + wiggle,
        top1=after[0],
        probability=0.6 + wiggle,
        retained_probability=0.6 + wiggle if stays else 0.2 - wiggle,
        clean_top5=tuple(top),
        clean_top5_probabilities=(0.8, 0.1, 0.05, 0.03, 0.02),
        top5=tuple(after),
        top5_probabilities=(0.6, 0.2, 0.1, 0.05, 0.05),
        scores={**scores, "consistent": float(stays)},
        stages={
            stage: dict.fromkeys(features, 0.9 - 0.1 * at)
            for at, stage in enumerate(("stem", "block1", "embedding"))
        },
    )
