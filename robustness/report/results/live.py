"""The report of a Live view: one picture under one condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustness.evaluation.loop import perturbed
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.spec import RunSpec
from robustness.pictures.picture import Picture
from robustness.report import method_notes
from robustness.report.answers.live import answer
from robustness.report.content import Case, Cases, Report, Section, Titled
from robustness.report.results.measured import cautions, data, facts
from robustness.report.results.one_picture import moved, shown, top5, verdicts

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
                [Cases("", lambda: _shown(spec, picture, rows)), table],
            ),
            Section("The five most likely classes", [top5(row) for row in rows]),
            moved(rows),
        ],
        brief=[table],
        methods=method_notes.blocks(spec.conditions, []),
        limits=method_notes.LIMITS,
        manifest=manifest(spec, [(picture.name, picture.digest)]),
        replay="The Live page with this picture, these strengths, models and seed shows the same.",
        data=data(rows, {}),
    )


def _shown(spec: RunSpec, picture: Picture, rows: Sequence[Measurement]) -> Iterator[Case]:
    condition = spec.conditions[0]
    after = perturbed(picture, [condition], spec.seed)[0]
    alt = f"{picture.name} under {condition.described}"
    return shown(picture, after, "perturbed", alt, GAIN, rows)
