"""The report of a Live view: one image under one condition. An attack's report uses its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.base.text import share
from robustness.charts import confidence_and_feature_similarity, style
from robustness.charts.ranking_and_condition_tables import Column, Table
from robustness.charts.verdict_signs_and_words import tally, verdict
from robustness.evaluation.loop import perturbed
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.evaluation.provenance import provenance_record
from robustness.evaluation.request import Request
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.metrics.image_similarity import amplified_difference
from robustness.models import REGISTRY as MODELS
from robustness.pictures.eight_bits import to_png
from robustness.pictures.framed_picture import Picture
from robustness.report import facts_and_cautions, methods_and_registry_tables
from robustness.report.blocks import Case, Cases, Chart, Columns, Report, Section, Shot, Titled
from robustness.report.facts_and_cautions import (
    answer_line,
    cautions,
    clean_shot,
    data,
    facts,
    low_confidence,
)
from robustness.report.names_and_sentences import class_title, model, sentence

GAIN = 3
"""By which the difference between the two images is amplified."""


def of_live(
    spec: Request,
    picture: Picture,
    rows: Sequence[Measurement],
    remedied: Titled | None = None,
) -> Report:
    """The report of the ``rows`` that the only condition of ``spec`` gave on ``picture``.

    ``remedied`` are the predictions with a remedy.
    """
    condition = spec.conditions[0]
    blocks = [Titled("Predictions", verdicts(rows)), *([remedied] if remedied else [])]

    def images() -> Iterator[Case]:
        after = perturbed(picture, [condition], spec.seed)[0]
        alt = f"{picture.name} under {condition.described}"
        return image_case(picture, after, "perturbed", alt, GAIN, rows)

    changed = [row for row in rows if not row.consistent]
    row = min(changed or rows, key=lambda r: r.retained_probability - r.clean_probability)
    before = class_title(row.model, row.clean_top1)
    fall = f"{before} {share(row.clean_probability)} → {share(row.retained_probability)}"
    now = f", now {class_title(row.model, row.top1)} {share(row.probability)}" if changed else ""
    ssim, psnr = rows[0].scores["ssim"], rows[0].scores["psnr"]
    visible = f"SSIM {ssim:.3f}, PSNR {psnr:.1f} dB" if np.isfinite(psnr) else "no visible change"
    basis = f"one image under one condition ({visible})"
    return Report(
        title=f"{picture.name} under {condition.described}",
        answers=[
            (
                "Does the perturbation change the prediction?",
                sentence(f"{condition.described}: {tally(rows)}"),
            ),
            (
                "Which prediction changes most on this image?",
                sentence(f"{model(row.model)}: {fall}{now}", names=[row.model]),
            ),
            ("What is this based on?", sentence(basis, low_confidence(rows))),
        ],
        facts=facts(spec, [picture], rows),
        cautions=cautions(rows),
        sections=[
            Section("Image and predictions", [Cases("", images), *blocks]),
            Section("Top-5 classes", [top5(row) for row in rows]),
            features(rows),
        ],
        brief=blocks,
        methods=methods_and_registry_tables.blocks(spec.conditions, []),
        limits=methods_and_registry_tables.limits(),
        manifest=provenance_record(spec, [(picture.name, picture.digest)]),
        replay="Reproduce it in the view Live with this image, strengths, models and seed.",
        data=data(rows, {}),
    )


def image_case(
    picture: Picture,
    changed: NDArray[np.float32],
    caption: str,
    alt: str,
    gain: int,
    rows: Sequence[Measurement],
    *,
    signed: bool = False,
) -> Iterator[Case]:
    """The image, the ``changed`` one (224, 224, 3), and their difference times ``gain``.

    ``caption``, ``alt`` and ``rows`` belong to the changed one; ``signed`` is as for
    ``amplified_difference``.
    """
    difference = amplified_difference(picture.image, changed, gain, signed=signed)
    yield Case(
        picture.name,
        [
            clean_shot(picture),
            Shot(to_png(changed), caption, alt),
            Shot(
                to_png(difference),
                f"difference x {gain}",
                f"Difference of both images; {'grey' if signed else 'black'} is unchanged",
            ),
        ],
        None,
        [answer_line(row) for row in rows],
    )


def verdicts(rows: Sequence[Measurement]) -> Table:
    """The verdict on each prediction, and the predictions."""
    columns: list[Column] = [
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        (
            "Original",
            lambda r: f"{class_title(r.model, r.clean_top1)} {share(r.clean_probability)}",
        ),
        ("Perturbed", lambda row: f"{class_title(row.model, row.top1)} {share(row.probability)}"),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("Cosine", lambda row: f"{row.scores['cosine']:.3f}"),
        ("Cosine, rescaled", lambda row: f"{row.scores['cosine_rescaled']:.3f}"),
        *(
            (metric.column_title, lambda row, m=metric: f"{row.scores[m.name]:{m.form}}")
            for metric in facts_and_cautions.listed_metrics(rows)
        ),
    ]
    return Table.of(rows, columns)


def top5(row: Measurement) -> Titled:
    """The five most likely classes before and after, of one model."""
    clean = zip(row.clean_top5, row.clean_top5_probabilities, strict=True)
    after = zip(row.top5, row.top5_probabilities, strict=True)
    cells = [
        (class_title(row.model, a), share(p), class_title(row.model, b), share(q))
        for (a, p), (b, q) in zip(clean, after, strict=True)
    ]
    head = ("Original", "Confidence", "Perturbed", "Confidence")
    return Titled(model(row.model), Table(head, cells))


def similarity(rows: Sequence[Measurement]) -> Chart:
    """The chart of cosine and Euclidean similarity, for every model."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    return Chart(
        "Feature similarity",
        confidence_and_feature_similarity.similarity_bars(frame),
        style.describe(frame, [n for pair in RESCALED.items() for n in pair]),
        "Similarity of the two images to the network: 1 is identical, 0 is as different as "
        "unrelated images. Unscaled values in parentheses.",
    )


def layers(rows: Sequence[Measurement]) -> Chart:
    """The chart of the layers, for every model."""
    return stages(confidence_and_feature_similarity.stage_frame(rows), "cosine")


def features(rows: Sequence[Measurement]) -> Section:
    """All charts of features."""
    return Section("Features", [Columns([[similarity(rows)], [layers(rows)]])])


def stages(frame: pd.DataFrame, metric: str) -> Chart:
    """Where the features diverge; ``frame`` is of ``stage_frame``."""
    names = [n for n in dict.fromkeys(frame["model"]) if n in MODELS]
    whose = " and ".join(f"{model(name)}'s" for name in names if MODELS[name].head_reads_map)
    note = (
        "From the first layers to the embedding: 1 = unchanged, 0 = as similar as unrelated images."
    )
    if whose:
        note += f" {whose} head reads its last stage before this averaging."
    return Chart(
        "Where the features diverge",
        confidence_and_feature_similarity.stage_lines(frame, metric),
        style.describe(
            frame.assign(model=frame["model"] + " " + frame["stage"]), [metric, RESCALED[metric]]
        ),
        note,
    )
