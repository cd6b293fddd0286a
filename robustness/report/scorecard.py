"""The report of a Scorecard: several conditions on one image, or a handful."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from robustness import metrics
from robustness.base.text import counted
from robustness.charts import predictions as charts_answers
from robustness.charts import scorecard as charts_scorecard
from robustness.charts import tables
from robustness.charts.tables import Column, Entry, Table
from robustness.charts.verdict import LEGEND, cell, verdict
from robustness.evaluation.condition import Condition, perturbation_label, series
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.request import Request
from robustness.evaluation.suites import study_conditions
from robustness.metrics.features import RESCALED
from robustness.pictures.picture import Picture
from robustness.remedies import parse
from robustness.report import methods
from robustness.report.blocks import (
    BRACKETS,
    Block,
    Case,
    Cases,
    Chart,
    Chooser,
    Columns,
    Report,
    Section,
    Text,
    Titled,
)
from robustness.report.live_view import stages
from robustness.report.questions.remedies import TITLE
from robustness.report.shared_parts import (
    answer_line,
    cautions,
    clean_shot,
    command,
    data,
    facts,
    low_confidence,
    perturbed_shot,
)
from robustness.report.wording import listed, model, models_of, order, overlap, sentence, share
from robustness.statistics import TOO_FEW, scorecard
from robustness.statistics.scorecard import summarise

FEATURES = "Features and predictions"
"""The title of the section whose stages a page can compare in another way."""

_PICTURES, _WORST, _SURVIVORS = 6, 10, 5
"""Images of each kind in a file."""

Group = tuple[Picture, Condition, list[Measurement]]


def of_scorecard(spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]) -> Report:
    """The report of the ``rows`` that ``spec`` gave on ``pictures``; at least one row."""
    summary = summarise(rows)
    frame = pd.DataFrame([row.as_row() for row in rows])
    count = len(summary)
    who = model(summary[0]["model"]) if count == 1 else f"{count} models"
    remedied = [Titled("Predictions with remedies", _remedied(rows))] if spec.remedies else []
    on = pictures[0].name if len(pictures) == 1 else f"{len(pictures)} images"
    return Report(
        title=f"Robustness of {who} on {on}",
        answers=answers(summary, rows, len(pictures)),
        facts=facts(spec, pictures, rows),
        cautions=cautions(rows),
        sections=[
            *([_ranking(summary)] if scorecard.has_intervals(summary) else []),
            _outcomes(rows, frame),
            *([] if scorecard.has_intervals(summary) else [_study(summary)]),
            *([Section(TITLE, remedied)] if remedied else []),
            features(rows),
            _pictures(spec, pictures, rows),
        ],
        brief=[
            Titled(
                "Ranking" if scorecard.has_intervals(summary) else "By model",
                tables.verdicts(summary),
            ),
            *remedied,
            Titled(f"Predictions under each perturbation. {LEGEND}", _cells(frame)),
        ],
        methods=methods.blocks(spec.conditions, ["Intervals"]),
        limits=methods.limits(),
        manifest=manifest(spec, [(picture.name, picture.digest) for picture in pictures]),
        replay=_replay(spec),
        data=data(rows, {"summary": summary}),
        note=BRACKETS if scorecard.has_intervals(summary) else TOO_FEW,
    )


def _ranking(summary: Sequence[dict[str, Any]]) -> Section:
    chart = Chart(
        "Prediction consistency",
        charts_scorecard.ranking(pd.DataFrame(summary)),
        "Consistency of each model with its 95% interval, given enough images; the table holds the "
        "numbers.",
    )
    table = Titled("Verdict", tables.verdicts(summary))
    return Section(
        "Ranking",
        [
            Columns([[chart], [Text(scorecard.VERDICT_RULE)]]),
            table,
            *_published(summary),
        ],
    )


def _study(summary: Sequence[dict[str, Any]]) -> Section:
    return Section("The study", _published(summary))


def _published(summary: Sequence[dict[str, Any]]) -> list[Block]:
    published = Titled("The study's published figures", tables.published(summary), long=True)
    return [published, Text(scorecard.PUBLISHED_NOTE)]


def _outcomes(rows: Sequence[Measurement], frame: pd.DataFrame) -> Section:
    return Section(
        "What each perturbation did",
        [
            Chart(
                "Outcome under each perturbation",
                charts_scorecard.outcomes(frame),
                "The prediction of each model under each perturbation; the table below lists them.",
                f"{charts_scorecard.OUTCOMES} Hover over a cell for the confidence in the original "
                "class.",
            ),
            Titled("All predictions", _answers(rows), long=True),
        ],
    )


def _answers(rows: Sequence[Measurement]) -> Table:
    columns: list[Column] = [
        ("Image", lambda row: row.image),
        ("Perturbation", lambda row: perturbation_label(row.perturbation)),
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        ("Confidence in the original class", lambda row: f"{row.retained_probability:.1%}"),
        ("SSIM", lambda row: f"{row.scores['ssim']:.2f}"),
    ]
    return Table.of(rows, columns)


def _cells(frame: pd.DataFrame) -> Table:
    """The texts of the chart of outcomes."""
    names = list(dict.fromkeys(frame["model"]))
    cells = {
        key: cell(rows)[1]
        for key, rows in frame.groupby([frame["condition"].map(series), "model"], sort=False)
    }
    return Table(
        ("Perturbation", *map(model, names)),
        [
            (str(what), *(cells[what, name] for name in names))
            for what in dict.fromkeys(what for what, _ in cells)
        ],
    )


def _remedied(rows: Sequence[Measurement]) -> Table:
    """By model and remedy, how many predictions are correct or, without a label, unchanged.

    An original counts once for each of its conditions.
    """
    named = {row.model: [remedy.remedy for remedy in row.remedies] for row in rows}
    entries = [(name, remedy) for name, tried in named.items() for remedy in ("", *tried)]

    def good(entry: tuple[str, str], clean: bool) -> str:
        name, remedy = entry
        own = [row for row in rows if row.model == name]
        right = [row.clean_top1 if row.label is None else row.label for row in own]
        predictions = [
            next((trial for trial in row.remedies if trial.remedy == remedy), row) for row in own
        ]
        answers = [
            measurement.clean_top1 if clean else measurement.top1 for measurement in predictions
        ]
        count = sum(top1 == label for top1, label in zip(answers, right, strict=True))
        return f"{count} of {len(own)}"

    labelled = {row.label is not None for row in rows}
    labels = {frozenset({True}): "Correct", frozenset({False}): "Unchanged"}
    word = labels.get(frozenset(labelled), "Correct or unchanged")
    columns: list[Column] = [
        ("Model", lambda entry: model(entry[0])),
        ("Remedy", lambda entry: parse(entry[1]).label if entry[1] else "none"),
        (word, lambda entry: good(entry, clean=False)),
        (f"{word}, originals", lambda entry: good(entry, clean=True)),
    ]
    return Table.of(entries, columns)


def features(rows: Sequence[Measurement]) -> Section:
    """How features and predictions changed."""
    means = charts_answers.stage_means(rows)
    movement = Chart(
        "Change of features and of confidence",
        charts_scorecard.movement(pd.DataFrame([row.as_row() for row in rows])),
        scorecard.insight(rows),
        charts_scorecard.MOVEMENT,
    )
    diverging = Chooser(
        "Similarity, mean over all perturbations",
        "stage_metric",
        {name: metrics.REGISTRY[name].label for name in RESCALED},
        lambda metric: [stages(means, metric)],
        printed=["cosine"],
    )
    return Section(FEATURES, [Columns([[Text(scorecard.insight(rows)), movement], [diverging]])])


def _pictures(spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]) -> Section:
    groups = _groups(spec, pictures, rows)
    worst = [group for group in groups if _failures(group)]
    worst.sort(key=lambda group: (-_failures(group), _left(group[2])))
    robust = [group for group in groups if not _failures(group)]
    robust.sort(key=lambda group: group[2][0].scores["ssim"])

    failed = "Failures: incorrect or, without a true class, changed; most models first"
    survived = "Survivors: no model fails; most visible change first"

    def clean() -> Iterator[Case]:
        for picture in pictures[:_PICTURES]:
            yield Case(picture.name, [clean_shot(picture)], None, [])

    return Section(
        "Perturbed images and predictions",
        [
            Cases(_count("Originals", pictures, _PICTURES), clean),
            *(
                Cases(_count(what, group, most), partial(_cases, group[:most], spec.seed))
                for what, group, most in (
                    (failed, worst, _WORST),
                    (survived, robust, _SURVIVORS),
                )
                if group
            ),
        ],
    )


def _count(what: str, groups: Sequence[Any], most: int) -> str:
    return f"{what} ({min(len(groups), most)} of {len(groups)})."


def _groups(spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]) -> list[Group]:
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.image_digest, row.condition), []).append(row)
    return [
        (picture, condition, groups[picture.digest, condition.id])
        for picture in pictures
        for condition in spec.conditions
        if (picture.digest, condition.id) in groups
    ]


def _failures(group: Group) -> int:
    """How many models are incorrect or, without a true class, changed."""
    return sum(not verdict(row).good for row in group[2])


def _left(rows: Sequence[Measurement]) -> float:
    return sum(row.retained_probability - row.clean_probability for row in rows) / len(rows)


def _cases(groups: Sequence[Group], seed: int) -> Iterator[Case]:
    for picture, condition, rows in groups:
        yield Case(
            title=f"{picture.name}: {condition.described}",
            shots=[perturbed_shot(picture, condition, seed)],
            verdict=None,
            lines=[answer_line(row) for row in rows],
        )


def _replay(spec: Request) -> str:
    names = [condition.name for condition in spec.conditions]
    options = f" --perturbations {','.join(names)}"
    strengths = list(dict.fromkeys(c.strength for c in spec.conditions))
    if spec.conditions != study_conditions(names):
        if len(strengths) > 1 or strengths[0] is None:
            return "Reproduce it in the view Scorecard with these models, strengths and seed."
        options += f" --strength {strengths[0]:g}"
    return (
        f"With the same images, `{command(spec, 'study PICTURE...')}{options}` reproduces the rows."
    )


def answers(
    summary: Sequence[Entry], rows: Sequence[Measurement], images: int
) -> list[tuple[str, str]]:
    """The questions that a Scorecard answers; ``summary`` is ``summarise`` of ``rows``."""
    return [
        ("How consistent are the predictions?", consistency(summary, images)),
        (f"Which perturbation does most harm{' on this image' * (images == 1)}?", _harm(rows)),
        ("What is this based on?", _basis(rows, images)),
    ]


def consistency(summary: Sequence[Entry], images: int) -> str:
    """Which model is most consistent; a difference is significant if intervals do not overlap.

    Of too few images for intervals it counts, and ranks nothing.
    """
    rankings, names = scorecard.rankings(summary), [entry["model"] for entry in summary]
    if scorecard.has_intervals(summary):
        return sentence(*map(_scored, rankings), names=names)
    several = f"{'one image' if images == 1 else f'{images} images'} cannot rank models"
    counts = [_counted(ranking, images) for ranking in rankings]
    return sentence(*counts, several * (len(summary) > 1), names=names)


def _counted(ranking: Sequence[Entry], images: int) -> str:
    """How often models keep their prediction: those that do most often, and least often."""
    best, worst = scorecard.ends(ranking, "consistency")
    most, fewest = (round(e[0]["consistency"] * e[0]["n"]) if e else 0 for e in (best, worst))
    where, cases = ("under", "perturbation") if images == 1 else ("in", "case")
    their = "its prediction" if len(best) == 1 else "their predictions"
    text = f"{models_of(best)} kept {their} {where} {most} of {counted(best[0]['n'], cases)}"
    return f"{text}, {models_of(worst)} {where} {fewest}" if worst else text


def _scored(ranking: Sequence[Entry]) -> str:
    significant = {
        (a["model"], b["model"])
        for a in ranking
        for b in ranking
        if a["consistency"] > b["consistency"] and not overlap(a, b)
    }
    sentence = order(ranking, "consistency", significant, "", 0)
    shares = [entry["perturbed_accuracy"] for entry in ranking]
    if None in shares:
        return sentence
    low, high = share(min(shares), 0), share(max(shares), 0)
    return f"{sentence}; accuracy {low if low == high else f'{low} to {high}'}"


def _harm(rows: Sequence[Measurement]) -> str:
    """The perturbations with the fewest and the most unchanged predictions."""
    flags: dict[str, list[bool]] = {}
    for row in rows:
        flags.setdefault(series(row.condition), []).append(row.consistent)
    shares = {name: sum(stayed) / len(stayed) for name, stayed in flags.items()}
    low, high = min(shares.values()), max(shares.values())
    if len(shares) == 1:
        return sentence(f"only {next(iter(shares))} was tested")
    if low == high:
        return sentence(
            f"{share(low, 0)} of the predictions are unchanged under each of the {len(shares)} "
            "perturbations"
        )
    worst = [name for name, value in shares.items() if value == low]
    best = [name for name, value in shares.items() if value == high]
    count = f"{sum(flags[worst[0]])} of {len(flags[worst[0]])}"
    return sentence(
        f"fewest predictions unchanged: {listed(worst)} ({count}{' each' * (len(worst) > 1)})",
        f"most: {listed(best)}",
    )


def _basis(rows: Sequence[Measurement], images: int) -> str:
    """The number of images, and predictions with low confidence."""
    conditions = len({row.condition for row in rows})
    return sentence(
        f"{counted(images, 'image')} under {counted(conditions, 'condition')}",
        low_confidence(rows),
    )
