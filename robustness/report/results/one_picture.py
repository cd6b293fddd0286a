"""What the reports on one picture before and after a change share: a view and an attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.charts import answers, look
from robustness.charts.tables import Column, Table
from robustness.evaluation.measurement import Measurement
from robustness.metrics.pictures import amplified_difference
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report.content import Case, Chart, Section, Shot, Titled
from robustness.report.results.measured import answer_line, clean_shot
from robustness.report.wording import class_title, model


def shown(
    picture: Picture,
    changed: NDArray[np.float32],
    caption: str,
    alt: str,
    gain: int,
    rows: Sequence[Measurement],
) -> Iterator[Case]:
    """The picture, what it was ``changed`` to (224, 224, 3), and their difference times ``gain``.

    ``caption`` and ``alt`` are of the changed one, and ``rows`` the answers to it.
    """
    difference = amplified_difference(picture.image, changed, gain)
    yield Case(
        picture.name,
        [
            clean_shot(picture),
            Shot(to_png(changed), caption, alt),
            Shot(
                to_png(difference),
                f"difference x {gain}",
                "Where the two differ: black where nothing changed",
            ),
        ],
        None,
        [answer_line(row) for row in rows],
    )


def verdicts(rows: Sequence[Measurement]) -> Table:
    """Who kept its answer, and what it was."""
    columns: list[Column] = [
        ("Model", lambda row: model(row.model)),
        ("Answer", lambda row: "kept" if row.consistent else "changed"),
        ("Clean", lambda r: f"{class_title(r.model, r.clean_top1)} {r.clean_probability:.1%}"),
        ("Perturbed", lambda row: f"{class_title(row.model, row.top1)} {row.probability:.1%}"),
        ("Left for the clean class", lambda row: f"{row.retained_probability:.1%}"),
        ("Cosine", lambda row: f"{row.scores['cosine']:.3f}"),
    ]
    return Table.of(rows, columns)


def top5(row: Measurement) -> Titled:
    """The five most likely classes before and after, of one model."""
    clean = zip(row.clean_top5, row.clean_top5_probabilities, strict=True)
    after = zip(row.top5, row.top5_probabilities, strict=True)
    cells = [
        (class_title(row.model, a), f"{p:.1%}", class_title(row.model, b), f"{q:.1%}")
        for (a, p), (b, q) in zip(clean, after, strict=True)
    ]
    head = ("Clean", "Probability", "Perturbed", "Probability")
    return Titled(model(row.model), Table(head, cells))


def moved(rows: Sequence[Measurement]) -> Section:
    """The charts on one picture before and after, for every model."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    stages = answers.stage_frame(rows)
    return Section(
        "How far features and answers moved",
        [
            Chart(
                "Similarity of the features",
                answers.similarity_bars(frame),
                look.describe(frame, ["cosine", "euclidean"]),
                "Of the embeddings of both pictures; 1 means that nothing moved.",
            ),
            Chart(
                "What is left for the clean class",
                answers.clean_class_bars(frame),
                look.describe(frame, ["clean_probability", "retained_probability"]),
            ),
            Chart(
                "Where in each network it departs",
                answers.stage_lines(stages),
                look.describe(
                    stages.assign(model=stages["model"] + " " + stages["stage"]), ["cosine"]
                ),
                "Cosine similarity after each stage, from the first layers to the embedding.",
            ),
        ],
    )
