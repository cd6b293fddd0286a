"""The report of a Live view: one picture under one condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from robustness import models
from robustness.charts import answers, look
from robustness.charts.tables import Table
from robustness.evaluation.loop import perturbed
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.spec import RunSpec
from robustness.metrics.pictures import amplified_difference
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report import method_notes
from robustness.report.answer_study import of_live as answer
from robustness.report.content import Case, Cases, Chart, Report, Section, Shot, Titled
from robustness.report.measured import answer_line, cautions, data, facts
from robustness.report.methods import methods
from robustness.report.wording import model

GAIN = 3
"""By which the difference between the two pictures is amplified."""


def of_live(spec: RunSpec, picture: Picture, rows: Sequence[Measurement]) -> Report:
    """The report of the ``rows`` that the only condition of ``spec`` gave on ``picture``."""
    condition = spec.conditions[0]
    table = Titled("What each model makes of it", verdicts(rows))
    return Report(
        title=f"{picture.name} under {condition.described}",
        question=f"What does this do to the answer{'s' * (len(rows) > 1)}?",
        answer=answer(rows, condition),
        facts=facts(spec, [picture], rows),
        cautions=cautions(rows),
        sections=[
            Section(
                "The picture and the answers",
                [Cases("", lambda: _case(spec, picture, rows)), table],
            ),
            Section("The five most likely classes", [top5(row) for row in rows]),
            moved(rows),
        ],
        brief=[table],
        methods=methods(spec.conditions, []),
        limits=method_notes.LIMITS,
        manifest=manifest(spec, [(picture.name, picture.digest)]),
        replay="The Live page with this picture, these strengths, models and seed shows the same.",
        data=data(rows, {}),
    )


def _case(spec: RunSpec, picture: Picture, rows: Sequence[Measurement]) -> Iterator[Case]:
    condition = spec.conditions[0]
    after = perturbed(picture, [condition], spec.seed)[0]
    difference = amplified_difference(picture.image, after, GAIN)
    yield Case(
        title=picture.name,
        shots=[
            Shot(to_png(picture.image), "clean", f"{picture.name}, clean"),
            Shot(to_png(after), "perturbed", f"{picture.name} under {condition.described}"),
            Shot(
                to_png(difference),
                f"difference x {GAIN}",
                "Where the two differ: black where nothing changed",
            ),
        ],
        kept=None,
        lines=[answer_line(row) for row in rows],
    )


def verdicts(rows: Sequence[Measurement]) -> Table:
    """Who kept its answer, and what it was."""
    head = ("Model", "Answer", "Clean", "Perturbed", "Left for the clean class", "Cosine")
    return Table(
        head,
        [
            (
                model(row.model),
                "kept" if row.consistent else "changed",
                f"{_name(row, row.clean_top1)} {row.clean_probability:.1%}",
                f"{_name(row, row.top1)} {row.probability:.1%}",
                f"{row.retained_probability:.1%}",
                f"{row.scores['cosine']:.3f}",
            )
            for row in rows
        ],
    )


def _name(row: Measurement, index: int) -> str:
    return models.class_name(row.model, index)


def top5(row: Measurement) -> Titled:
    """The five most likely classes before and after, of one model."""
    clean = zip(row.clean_top5, row.clean_top5_probabilities, strict=True)
    after = zip(row.top5, row.top5_probabilities, strict=True)
    return Titled(
        model(row.model),
        Table(
            ("Clean", "Probability", "Perturbed", "Probability"),
            [
                (_name(row, a), f"{p:.1%}", _name(row, b), f"{q:.1%}")
                for (a, p), (b, q) in zip(clean, after, strict=True)
            ],
        ),
    )


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
