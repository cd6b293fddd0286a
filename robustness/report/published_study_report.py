"""The study: what models predict on a few images under perturbations at one strength each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from robustness import metrics, models
from robustness.base.text import counted, format_figure, share
from robustness.charts import confidence_and_feature_similarity
from robustness.charts.ranking_and_condition_tables import (
    Column,
    Entry,
    Table,
    figure,
    interval,
    label,
    similarities,
)
from robustness.charts.verdict_signs_and_words import verdict
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.evaluation.perturbation_and_attack_conditions import perturbation_label
from robustness.evaluation.request import Request
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.pictures.framed_picture import Picture
from robustness.remedies import parse
from robustness.report.blocks import (
    Block,
    Case,
    Cases,
    Chart,
    Chooser,
    Columns,
    Section,
    Text,
    Titled,
)
from robustness.report.facts_and_cautions import answer_line, clean_shot, perturbed_shot
from robustness.report.names_and_sentences import model, models_of, order, sentence
from robustness.report.one_image_report import stages
from robustness.statistics import robustness_ranking_and_verdicts

_IMAGES = 6
"""Images in a file."""


def blocks(summary: Sequence[Entry], rows: Sequence[Measurement]) -> list[Block]:
    """The study's table with the published figures, and all predictions."""
    published = {entry["model"] for entry in summary} & {*robustness_ranking_and_verdicts.PUBLISHED}
    predicted: list[Column] = [
        ("Image", lambda row: row.image),
        ("Perturbation", lambda row: perturbation_label(row.perturbation)),
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("SSIM", lambda row: f"{row.scores['ssim']:.2f}"),
    ]
    rule = (
        [Text(robustness_ranking_and_verdicts.VERDICT_RULE)]
        if robustness_ranking_and_verdicts.has_intervals(summary)
        else []
    )
    return [
        Titled("Consistency and similarity", consistency_table(summary)),
        *rule,
        *remedies(rows),
        Titled("The study's published figures", _published(summary), long=not published),
        Text(robustness_ranking_and_verdicts.PUBLISHED_NOTE),
        Titled("All predictions", Table.of(rows, predicted), long=True),
    ]


def consistency_table(summary: Sequence[Entry]) -> Table:
    """Consistency and similarity per model; ``summary`` has entries of ``summarise``.

    With enough images also intervals and verdicts, with a true class both accuracies.
    """
    columns: list[Column] = [
        ("Model", label()),
        ("Consistency", lambda entry: f"{share(entry['consistency'], 0)} of {entry['n']}"),
        *similarities(summary, ".3f"),
    ]
    if robustness_ranking_and_verdicts.has_intervals(summary):
        columns[2:2] = [("95% interval", lambda entry: interval(entry, "consistency"))]
        columns.append(("Verdict", robustness_ranking_and_verdicts.verdict))
    if any(entry["perturbed_accuracy"] is not None for entry in summary):
        columns[1:1] = [
            ("Original accuracy", figure("clean_accuracy", ".0%")),
            ("Perturbed accuracy", figure("perturbed_accuracy", ".0%")),
        ]
    return Table.of(summary, columns)


def _published(summary: Sequence[Entry]) -> Table:
    """The study's published figures next to those of ``summary``."""
    measured = {entry["model"]: entry for entry in summary}
    forms = {"consistency": ".0%", "cosine": ".2f", "euclidean": ".2f"}
    head = ["Model", *(word for name in forms for word in (name.capitalize(), "measured"))]
    rows = []
    for name, study in robustness_ranking_and_verdicts.PUBLISHED.items():
        row = [models.label(name)]
        for key, form in forms.items():
            ours = format_figure(measured[name][key], form) if name in measured else "not run"
            row += [format_figure(getattr(study, key), form), ours]
        rows.append([*row, study.verdict])
    return Table([*head, "Published verdict"], rows)


def remedies(rows: Sequence[Measurement]) -> list[Titled]:
    """By model and remedy, how many predictions are correct or, without a label, unchanged.

    An original counts once for each of its conditions.
    """
    named = {row.model: [remedy.remedy for remedy in row.remedies] for row in rows}
    if not any(named.values()):
        return []
    entries = [(name, remedy) for name, tried in named.items() for remedy in ("", *tried)]

    def good(entry: tuple[str, str], clean: bool) -> str:
        name, remedy = entry
        own = [row for row in rows if row.model == name]
        right = [row.clean_top1 if row.label is None else row.label for row in own]
        tried = [
            next((trial for trial in row.remedies if trial.remedy == remedy), row) for row in own
        ]
        top1 = [measurement.clean_top1 if clean else measurement.top1 for measurement in tried]
        count = sum(guess == label for guess, label in zip(top1, right, strict=True))
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
    return [Titled("Predictions with remedies", Table.of(entries, columns))]


def features(rows: Sequence[Measurement]) -> Section:
    """How features and predictions changed."""
    every = confidence_and_feature_similarity.stage_frame(rows)
    means = every.groupby(["model", "stage", "depth"], sort=False, as_index=False).mean()
    movement = Chart(
        "Feature shift and divergence of the predictions",
        confidence_and_feature_similarity.movement(pd.DataFrame([row.as_row() for row in rows])),
        robustness_ranking_and_verdicts.insight(rows),
        confidence_and_feature_similarity.MOVEMENT,
    )
    diverging = Chooser(
        "Similarity by stage, mean over all perturbations",
        "stage_metric",
        {name: metrics.REGISTRY[name].label for name in RESCALED},
        lambda metric: [stages(means, metric)],
        printed=["cosine"],
    )
    return Section(
        "Features and predictions",
        [Columns([[Text(robustness_ranking_and_verdicts.insight(rows)), movement], [diverging]])],
    )


def images(spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]) -> Section:
    """The originals and the perturbed images side by side, with the predictions."""
    first = pictures[:_IMAGES]
    by_image: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        by_image.setdefault((row.image_digest, row.condition), []).append(row)

    def cases() -> Iterator[Case]:
        for picture in first:
            yield Case(picture.name, [clean_shot(picture)], None, [])
            for condition in spec.conditions:
                own = by_image.get((picture.digest, condition.id), [])
                shot = perturbed_shot(picture, condition, spec.seed)
                yield Case(condition.described, [shot], None, [answer_line(row) for row in own])

    count = f" ({len(first)} of {len(pictures)})" if len(pictures) > _IMAGES else ""
    what = "The original and the perturbed images" if len(pictures) == 1 else "The images"
    return Section("Images", [Cases(f"{what}{count}.", cases)])


def consistency(summary: Sequence[Entry], images: int) -> str:
    """Which model is most consistent; a difference is significant if intervals do not overlap.

    Of too few images for intervals it counts, and ranks nothing.
    """
    rankings, names = (
        robustness_ranking_and_verdicts.rankings(summary),
        [entry["model"] for entry in summary],
    )
    if robustness_ranking_and_verdicts.has_intervals(summary):
        return sentence(*map(_scored, rankings), names=names)
    clauses = [_counted(ranking, images) for ranking in rankings]
    if len(summary) > 1:
        few = "one image" if images == 1 else f"{images} images"
        clauses.append(f"{few} cannot rank models")
    return sentence(*clauses, names=names)


def _counted(ranking: Sequence[Entry], images: int) -> str:
    """How often models keep their prediction: those that do most often, and least often."""
    best, worst = robustness_ranking_and_verdicts.ends(ranking, "consistency")
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
        if None not in (a["consistency_low"], b["consistency_high"])
        and a["consistency_low"] > b["consistency_high"]
    }
    sentence = order(ranking, "consistency", significant, "", 0)
    shares = [entry["perturbed_accuracy"] for entry in ranking]
    if None in shares:
        return sentence
    low, high = share(min(shares), 0), share(max(shares), 0)
    return f"{sentence}; accuracy {low if low == high else f'{low} to {high}'}"
