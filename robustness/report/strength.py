"""The report of the strengths that models withstand, on one image or a few.

It contains what its results allow: bands of predictions over strength on one image, the table of
the study with one strength for each perturbation, and the exact breaking strengths of a sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from robustness import metrics, models
from robustness.base.text import counted, format_figure, join_names, share, visible
from robustness.images.framing import Picture
from robustness.measure import STEPS
from robustness.measure.condition import perturbation_label, series
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, study_conditions
from robustness.measure.rows import provenance_record
from robustness.measure.strength import TOLERANCE, Band, Break, Cell
from robustness.metrics.scores import RESCALED
from robustness.perturbations import REGISTRY
from robustness.remedies import Chain
from robustness.report import charts, methods
from robustness.report.blocks import (
    BRACKETS,
    Block,
    Case,
    Cases,
    Chart,
    Chooser,
    Columns,
    Map,
    Report,
    Section,
    Text,
    Titled,
    joined_models,
    model_label,
    order_clause,
    sentence,
)
from robustness.report.facts import (
    answer_line,
    cautions,
    clean_shot,
    command,
    data,
    facts,
    low_confidence,
    perturbed_shot,
)
from robustness.report.image import stages
from robustness.report.maps import BandMap, MapRow, Strip, Tile, strip
from robustness.report.tables import (
    LEGEND,
    OPEN_MARKERS,
    Column,
    Entry,
    Table,
    cell,
    change,
    figure,
    interval,
    judged,
    label,
    no_change,
    similarities,
    verdict,
)
from robustness.statistics import TOO_FEW, study

_IMAGES = 6
"""Images that a report shows."""


def blocks(
    summary: Sequence[Entry], rows: Sequence[Measurement], with_remedies: Sequence[Titled] = ()
) -> list[Block]:
    """Return the tables of the study, with its published figures, and of all predictions.

    ``rows`` are those of models, and ``with_remedies`` the tables of their variants.
    """
    predictions: list[Column] = [
        ("Image", lambda row: row.image),
        ("Perturbation", lambda row: perturbation_label(row.perturbation)),
        ("Model", lambda row: model_label(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("SSIM", lambda row: f"{row.scores['ssim']:.2f}"),
    ]
    parts: list[Block] = [Titled("Consistency and similarity", consistency_table(summary))]
    if study.has_intervals(summary):
        parts.append(Text(study.VERDICT_RULE))
    parts += with_remedies
    has_published_model = any(entry["model"] in study.PUBLISHED for entry in summary)
    return [
        *parts,
        Titled("The study's published figures", _published(summary), long=not has_published_model),
        Text(study.PUBLISHED_NOTE),
        Titled("All predictions", Table.of(rows, predictions), long=True),
    ]


def consistency_table(summary: Sequence[Entry]) -> Table:
    """Return the table of consistencies and similarities per model.

    ``summary`` has the entries of ``study.summarise``. With a true class the table has accuracies
    as well, and with enough images intervals and verdicts.
    """
    has_intervals = study.has_intervals(summary)
    columns: list[Column] = [("Model", label())]
    if any(entry["perturbed_accuracy"] is not None for entry in summary):
        columns += [
            ("Original accuracy", figure("clean_accuracy", ".0%")),
            ("Perturbed accuracy", figure("perturbed_accuracy", ".0%")),
        ]
    columns.append(
        ("Consistency", lambda entry: f"{share(entry['consistency'], 0)} of {entry['n']}")
    )
    if has_intervals:
        columns.append(("95% interval", lambda entry: interval(entry, "consistency")))
    columns += similarities(summary, ".3f")
    if has_intervals:
        columns.append(("Verdict", study.verdict))
    return Table.of(summary, columns)


def _published(summary: Sequence[Entry]) -> Table:
    """Return the table of the published figures beside those of ``summary``."""
    measured = {entry["model"]: entry for entry in summary}
    forms = {"consistency": ".0%", "cosine": ".2f", "euclidean": ".2f"}
    head = ["Model"]
    for name in forms:
        head += [name.capitalize(), "measured"]
    head.append("Published verdict")
    rows = []
    for model_name, published in study.PUBLISHED.items():
        row = [models.label(model_name)]
        for name, form in forms.items():
            row.append(format_figure(getattr(published, name), form))
            if model_name in measured:
                row.append(format_figure(measured[model_name][name], form))
            else:
                row.append("not run")
        row.append(published.verdict)
        rows.append(row)
    return Table(head, rows)


def remedies(spec: Request, rows: Sequence[Measurement]) -> list[Titled]:
    """Return the table of good predictions by model and remedy; [] if no remedy was tried.

    ``rows`` have those of the models and of the variants of ``spec``. A prediction is good if it is
    correct or, without a label, that of the model for the original. That of an original counts once
    for each of its conditions.
    """
    if not spec.variants:
        return []
    rows_of: dict[str, list[Measurement]] = {}
    for row in rows:
        rows_of.setdefault(row.model, []).append(row)
    labelled_count = sum(row.label is not None for row in rows)
    if labelled_count == len(rows):
        outcome = "Correct"
    elif labelled_count == 0:
        outcome = "Unchanged"
    else:
        outcome = "Correct or unchanged"
    table_rows = []
    for name in spec.model_names:
        tried = {"none": name}
        for variant in spec.variants:
            if name in variant.models:
                tried[variant.chain.label] = variant.name
        for remedy_label, tried_name in tried.items():
            cells = (
                model_label(name),
                remedy_label,
                _good_text(rows_of[name], rows_of[tried_name], originals=False),
                _good_text(rows_of[name], rows_of[tried_name], originals=True),
            )
            table_rows.append(cells)
    head = ("Model", "Remedy", outcome, f"{outcome}, originals")
    return [Titled("Predictions with remedies", Table(head, table_rows))]


def _good_text(
    rows: Sequence[Measurement], tried: Sequence[Measurement], *, originals: bool
) -> str:
    """Return how many predictions of the rows ``tried`` are good, such as "3 of 4".

    ``rows`` are those of the model for the same images and conditions. Predictions of the
    ``originals`` or of the perturbed images count.
    """
    count = 0
    for row, with_remedy in zip(rows, tried, strict=True):
        good_class = row.clean_top1 if row.label is None else row.label
        predicted = with_remedy.clean_top1 if originals else with_remedy.top1
        if predicted == good_class:
            count += 1
    return f"{count} of {len(rows)}"


def features(rows: Sequence[Measurement]) -> Section:
    """Return the section with the charts of how features and predictions change."""
    frame = charts.stage_frame(rows)
    means = frame.groupby(["model", "stage", "depth"], sort=False, as_index=False).mean()

    def read(metric: str) -> list[Block]:
        return [stages(means, metric)]

    insight = study.insight(rows)
    movement = Chart(
        "Feature shift and divergence of the predictions",
        charts.movement(pd.DataFrame([row.as_row() for row in rows])),
        insight,
        charts.MOVEMENT,
    )
    by_stage = Chooser(
        "Similarity by stage, mean over all perturbations",
        "stage_metric",
        {name: metrics.REGISTRY[name].label for name in RESCALED},
        read,
        printed=["cosine"],
    )
    columns = Columns([[Text(insight), movement], [by_stage]])
    return Section("Features and predictions", [columns])


def images(spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]) -> Section:
    """Return the section with the originals and the perturbed images, and their predictions."""
    shown = pictures[:_IMAGES]
    rows_of_image: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        rows_of_image.setdefault((row.image_digest, row.condition), []).append(row)

    def cases() -> Iterator[Case]:
        for picture in shown:
            yield Case(picture.name, [clean_shot(picture)], None, [])
            for condition in spec.conditions:
                predictions = rows_of_image.get((picture.digest, condition.id), [])
                lines = [answer_line(row) for row in predictions]
                shot = perturbed_shot(picture, condition, spec.seed)
                yield Case(condition.described, [shot], None, lines)

    caption = "The original and the perturbed images" if len(pictures) == 1 else "The images"
    if len(shown) < len(pictures):
        caption += f" ({len(shown)} of {len(pictures)})"
    return Section("Images", [Cases(f"{caption}.", cases)])


def consistency(summary: Sequence[Entry], images: int) -> str:
    """Return the sentence on the most and the least consistent models.

    A difference is significant if the intervals do not overlap. ``images`` is the number of images;
    with too few for intervals the sentence counts predictions, and ranks nothing.
    """
    rankings = study.rankings(summary)
    names = [entry["model"] for entry in summary]
    if study.has_intervals(summary):
        clauses = [_ranked_consistency(ranking) for ranking in rankings]
        return sentence(*clauses, names=names)
    clauses = [kept_predictions(ranking, images) for ranking in rankings]
    if len(summary) > 1:
        few_images = "one image" if images == 1 else f"{images} images"
        clauses.append(f"{few_images} cannot rank models")
    return sentence(*clauses, names=names)


def kept_predictions(ranking: Sequence[Entry], images: int) -> str:
    """Return the clause on the models that keep their prediction most often and least often.

    ``ranking`` is one of models with the same classes, and ``images`` the number of images.
    """
    best, worst = study.ends(ranking, "consistency")
    possessive = "its prediction" if len(best) == 1 else "their predictions"
    if images == 1:
        preposition = "under"
        cases = counted(best[0]["n"], "perturbation")
    else:
        preposition = "in"
        cases = counted(best[0]["n"], "case")
    most = _unchanged_count(best[0])
    text = f"{joined_models(best)} kept {possessive} {preposition} {most} of {cases}"
    if worst:
        text += f", {joined_models(worst)} {preposition} {_unchanged_count(worst[0])}"
    return text


def _unchanged_count(entry: Entry) -> int:
    return round(entry["consistency"] * entry["n"])


def _ranked_consistency(ranking: Sequence[Entry]) -> str:
    """Return the clause on the highest and the lowest consistency, and the range of accuracies."""
    clause = order_clause(ranking, "consistency", _separate_intervals(ranking), digits=0)
    accuracies = [entry["perturbed_accuracy"] for entry in ranking]
    if None in accuracies:
        return clause
    low = share(min(accuracies), 0)
    high = share(max(accuracies), 0)
    accuracy = low if low == high else f"{low} to {high}"
    return f"{clause}; accuracy {accuracy}"


def _separate_intervals(ranking: Sequence[Entry]) -> set[tuple[str, str]]:
    """Return the pairs (better, worse) of models whose intervals of consistency do not overlap."""
    pairs = set()
    for better in ranking:
        for worse in ranking:
            low = better["consistency_low"]
            high = worse["consistency_high"]
            if low is not None and high is not None and low > high:
                pairs.add((better["model"], worse["model"]))
    return pairs


NEVER = 1 + 1 / (STEPS - 1)
"""The strength that counts as the break of a band that does not break: one cell beyond 1."""

_LEGEND = (
    "Strength 0 to 1. Blue: correct or, without a true class, unchanged. Orange with a line at its "
    "foot: incorrect or changed. Stronger colours are more confident. Ticks: ImageNet-C's "
    "severities; the thick one is the study's setting."
)

_MAP = "Map"

_MOST_WORDS = 12
"""Words of a headline; longer ones count tied perturbations, which the map marks."""

_WRONG = "✗ "
"""Stands before the name of a model that is incorrect on the original."""

Remedied = Mapping[Chain, Sequence[Measurement | Break]]
"""The events of the sweep of each remedy."""


def of_map(
    spec: Request,
    pictures: Sequence[Picture],
    rows: Sequence[Measurement] = (),
    bands: Sequence[Band] = (),
    swept: Sequence[Measurement | Break] = (),
    remedied: Remedied = MappingProxyType({}),
) -> Report:
    """Return the report of measurements of ``pictures`` by the request ``spec``.

    - ``rows`` are measurements at one strength for each perturbation, of models and variants.
    - ``bands`` are predictions over strength on the first image; by default those of ``swept``.
    - ``swept`` are the events of a sweep of the first image, and ``remedied`` those behind
      remedies.

    There must be at least one row, or one event of a sweep.
    """
    with_remedies = remedies(spec, rows)
    rows = [row for row in rows if not row.base]
    points = [event for event in swept if isinstance(event, Measurement)]
    breaks = [event for event in swept if isinstance(event, Break)]
    bands = bands or swept_bands(points)
    summary = study.summarise(rows) if rows else []
    maps = band_maps(bands) if bands else [Map(f"Predictions. {LEGEND}", _one_cell_map(rows))]
    exact = _exact(breaks, remedied)

    answers = []
    if bands:
        answers.append(("Which perturbation breaks the models first?", answer(bands)))
    if rows:
        text = consistency(summary, len(pictures))
        answers.append(("How consistent are the predictions?", text))
    answers.append(("What is this based on?", _basis(rows or points, pictures)))

    sections = [Section(_MAP, maps)]
    brief: list[Titled | Text | Map] = []
    explained = []
    note = ""
    if rows:
        sections.append(Section("The study", blocks(summary, rows, with_remedies)))
        brief += [Titled("By model", consistency_table(summary)), *with_remedies]
        explained.append("Intervals")
        note = BRACKETS if study.has_intervals(summary) else TOO_FEW
    if breaks:
        sections.append(Section("In detail", [*exact, curves(points)]))
        explained.append("Breaking strength")
    if rows:
        sections += [features(rows), images(spec, pictures, rows)]
    brief += [replace(each, title=each.title or _MAP) for each in maps]
    brief += exact

    names = spec.model_names
    models_text = model_label(names[0]) if len(names) == 1 else counted(len(names), "model")
    images_text = pictures[0].name if len(pictures) == 1 else counted(len(pictures), "image")
    manifest = provenance_record(spec, [(picture.name, picture.digest) for picture in pictures])
    if breaks:
        manifest["sweep"] = {"steps": _steps(points), "tolerance": TOLERANCE}
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "summary": summary,
        "breaking": [entry.as_row() for entry in breaks],
        "bands": _band_entries(bands),
    }
    return Report(
        title=f"Map of {models_text} on {images_text}",
        answers=answers,
        facts=facts(spec, pictures, rows or points),
        cautions=cautions(rows or points),
        sections=sections,
        brief=brief,
        methods=methods.blocks(spec.conditions, explained),
        limits=methods.limits(),
        manifest=manifest,
        replay=_replay(spec, rows, points),
        data=data([*rows, *points], {name: table for name, table in tables.items() if table}),
        note=note,
    )


def _band_entries(bands: Sequence[Band]) -> list[dict[str, Any]]:
    """Return the cells of ``bands`` as JSON-ready records."""
    entries = []
    for band in bands:
        for prediction in band.cells:
            entry = {
                "model": band.model,
                "perturbation": band.perturbation,
                "strength": prediction.strength,
                "top1": prediction.top1,
                "probability": prediction.probability,
                "good": band.good(prediction),
            }
            entries.append(entry)
    return entries


def _basis(rows: Sequence[Measurement], pictures: Sequence[Picture]) -> str:
    """Return the sentence on the images, the conditions, and predictions with low confidence."""
    if len(pictures) == 1:
        images_text = f"one image, {visible(pictures[0].name)}"
    else:
        images_text = counted(len(pictures), "image")
    conditions = counted(len({row.condition for row in rows}), "condition")
    return sentence(f"{images_text}, under {conditions}", low_confidence(rows))


# --- the map --------------------------------------------------------------------------------------


def swept_bands(points: Sequence[Measurement]) -> list[Band]:
    """Return the band of each perturbation and model among the ``points`` of a sweep."""
    rows_of_band: dict[tuple[str, str], list[Measurement]] = {}
    for row in points:
        rows_of_band.setdefault((row.perturbation, row.model), []).append(row)
    bands = []
    for (perturbation, name), rows in rows_of_band.items():
        first = rows[0]
        cells = [Cell(row.strength or 0.0, row.top1, row.probability) for row in rows]
        original = Cell(0.0, first.clean_top1, first.clean_probability)
        bands.append(Band(name, perturbation, tuple(cells), original, first.label))
    return bands


def mean_breaks(bands: Sequence[Band]) -> dict[str, float]:
    """Return the mean strength at which models break, by perturbation, the weakest first.

    A model breaks at its first incorrect or changed prediction. Models that are incorrect on the
    original do not count; if all are, every mean is ``NEVER``.
    """
    breaks: dict[str, list[float]] = {}
    for band in bands:
        breaks_of_perturbation = breaks.setdefault(band.perturbation, [])
        if band.breakable:
            breaks_of_perturbation.append(NEVER if band.breaks_at is None else band.breaks_at)
    means = {}
    for perturbation, strengths in breaks.items():
        if strengths:
            # Rounded, so that means which differ by the order of their sum are still a tie.
            means[perturbation] = round(sum(strengths) / len(strengths), 9)
        else:
            means[perturbation] = NEVER
    return dict(sorted(means.items(), key=lambda item: item[1]))


def answer(bands: Sequence[Band]) -> str:
    """Return the sentence on what breaks the models first.

    Such as "On this image, fog breaks 3 of 3 models by 0.1.".
    """
    names = list(dict.fromkeys(band.model for band in bands if band.breakable))
    if not names:
        return sentence("no model is correct on the original")
    models_in_sentence = counted(len(names), "model")
    if any(not band.breakable for band in bands):
        # The map has the others as well: the count alone would seem to have lost them.
        models_in_sentence = f"the {len(names)} models correct on the original"
    means = mean_breaks(bands)
    earliest = min(means.values())
    ties = [perturbation for perturbation, mean in means.items() if mean == earliest]
    first = ties[0]
    if earliest == NEVER:
        subject = "no perturbation breaks"
        if len(means) == 1:
            subject = f"{_label_in_sentence(first)} does not break"
        if len(names) == 1:
            return sentence(f"on this image, {subject} {model_label(names[0])}")
        return sentence(f"on this image, {subject} any of {models_in_sentence}")

    outcomes = {}
    for perturbation in ties:
        strengths = [band.breaks_at for band in bands if band.perturbation == perturbation]
        known = [strength for strength in strengths if strength is not None]
        outcomes[perturbation] = (len(known), max(known, default=0.0))
    broken_count, last_break = outcomes[first]
    # The sentence has one count and one strength, so it names only the ties that share both.
    labels = [
        _label_in_sentence(perturbation)
        for perturbation in ties
        if outcomes[perturbation] == outcomes[first]
    ]
    if len(names) == 1:
        broken = model_label(names[0])
    else:
        broken = f"{broken_count} of {models_in_sentence}"
    if REGISTRY[first].graded:
        preposition = "at" if broken_count == 1 else "by"
        broken += f" {preposition} {last_break:g}"
    verb = "breaks" if len(labels) == 1 else "break"
    text = f"on this image, {join_names(labels)} {verb} {broken}"
    if len(labels) > 1 and len(text.split()) > _MOST_WORDS:
        text = f"on this image, {len(labels)} perturbations break {broken}"
    return sentence(text)


def _label_in_sentence(perturbation: str) -> str:
    """Return the label with a small initial, unless it is an acronym such as "JPEG compression"."""
    label = perturbation_label(perturbation)
    if label[:2].isupper():
        return label
    return f"{label[0].lower()}{label[1:]}"


def band_maps(
    bands: Sequence[Band],
    images: Mapping[str, str] = MappingProxyType({}),
    *,
    keyed: bool = False,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> list[Map]:
    """Return a map of ``bands`` for each set of classes, with a row for each perturbation.

    ``images`` are thumbnails as URIs by perturbation. ``rows`` and ``columns`` are perturbations
    and models in the order to show. By default models are in the order of the bands, and the
    perturbation that breaks the models at the weakest strength comes first; ties are marked with a
    "=". If ``keyed``, tiles have keys for clicks.
    """
    means = mean_breaks(bands)
    all_means = list(means.values())
    strips = {(band.perturbation, band.model): strip(band, keyed=keyed) for band in bands}
    incorrect_models = {band.model for band in bands if not band.breakable}
    names = columns or list(dict.fromkeys(band.model for band in bands))

    row_labels = {}
    for perturbation in rows or means:
        label = perturbation_label(perturbation)
        # Ties have no meaning for rows in an order that was given.
        if not rows and all_means.count(means[perturbation]) > 1:
            label += " ="
        row_labels[perturbation] = label

    maps = []
    groups = models.by_labels(names)
    for label_set, names_of_group in groups:
        columns_of_group = []
        for name in names_of_group:
            mark = _WRONG if name in incorrect_models else ""
            columns_of_group.append(f"{mark}{model_label(name)}")
        map_rows = []
        for perturbation, label in row_labels.items():
            strips_of_row = [strips.get((perturbation, name)) for name in names_of_group]
            map_rows.append(MapRow(label, strips_of_row, images.get(perturbation, "")))
        title = label_set.title if len(groups) > 1 else ""
        maps.append(Map(title, BandMap("Perturbation", columns_of_group, map_rows)))
    if maps:
        # The legend stands once, below all maps.
        maps[-1] = replace(maps[-1], note=legend(bands))
    return maps


def legend(bands: Sequence[Band]) -> str:
    """Return the sentences on how to read a map of ``bands``."""
    if all(band.breakable for band in bands):
        return _LEGEND
    return f"{_LEGEND} {_WRONG}before a model: incorrect on the original."


def brief_legend(bands: Sequence[Band]) -> str:
    """Return the legend for people who see the map for the first time."""
    good, bad = bands[0].words if bands else ("unchanged", "changed")
    text = f"Each band grows stronger to the right. Blue: {good}. Orange: {bad}."
    if any(not band.breakable for band in bands):
        text += f" {_WRONG}before a model: incorrect on the original."
    return text


def _one_cell_map(rows: Sequence[Measurement]) -> BandMap:
    """Return the map of predictions at one strength, with one tile for each model and row.

    A tile has the share of good predictions if there are several images.
    """
    frame = pd.DataFrame([row.as_row() for row in rows])
    names = list(dict.fromkeys(frame["model"]))
    series_of_row = frame["condition"].map(series)
    strips_by_row: dict[str, dict[str, Strip]] = {}
    for (row_label, name), cell_frame in frame.groupby([series_of_row, "model"], sort=False):
        good_share, text = cell(cell_frame)
        text = text.replace("<br>", " ")
        # From -1, all incorrect, to 1, all correct.
        tone = 2 * good_share - 1
        strips = strips_by_row.setdefault(str(row_label), {})
        strips[str(name)] = Strip([Tile(tone, text, text=text)], text)
    map_rows = []
    for row_label, strips in strips_by_row.items():
        map_rows.append(MapRow(row_label, [strips.get(name) for name in names]))
    return BandMap("Perturbation", [model_label(name) for name in names], map_rows)


# --- breaking strengths -------------------------------------------------------------------------


def _exact(breaks: Sequence[Break], remedied: Remedied) -> list[Titled]:
    """Return the tables of exact breaking strengths, without and with remedies."""
    if not breaks:
        return []
    tables = [Titled("Breaking strengths", breaking(breaks))]
    if remedied:
        tables.append(Titled("Breaking strengths with remedies", _with_remedies(breaks, remedied)))
    return tables


def _with_remedies(breaks: Sequence[Break], remedied: Remedied) -> Table:
    """Return the table of breaking strengths without a remedy and with each of ``remedied``."""
    head = ["Perturbation", "Model", "No remedy"]
    rows = []
    for entry in breaks:
        label = perturbation_label(entry.perturbation)
        rows.append([label, model_label(entry.model), _break_text(entry)])
    for chain, events in remedied.items():
        head.append(chain.label)
        texts = {}
        for event in events:
            if isinstance(event, Break):
                texts[event.perturbation, event.model] = _break_text(event)
        for row, entry in zip(rows, breaks, strict=True):
            row.append(texts.get((entry.perturbation, entry.model), ""))
    return Table(head, rows)


def _break_text(entry: Break) -> str:
    """Return the breaking strength, or what happens to a model that is incorrect from the start."""
    if entry.clean_correct is not False:
        return entry.at
    if entry.strength is None:
        return no_change(entry.clean_correct)
    where = f"at strength {entry.strength:.3f}" if entry.graded else "when on"
    return change(entry.clean_correct, entry.correct, where)


def breaking(breaks: Sequence[Break]) -> Table:
    """Return the table of the strengths at which predictions change, and what they become.

    With a true class it also has the strength from which predictions are incorrect. Columns without
    a text are left out.
    """
    columns: list[Column] = []
    if len({entry.perturbation for entry in breaks}) > 1:
        columns.append(("Perturbation", lambda entry: perturbation_label(entry.perturbation)))
    columns.append(("Model", lambda entry: models.label(entry.model)))
    if any(entry.label is not None for entry in breaks):
        columns.append(("Incorrect from strength", _incorrect_from))
    columns += [
        ("Changes at strength", lambda entry: entry.at),
        ("Resolution", lambda entry: entry.resolution),
        ("Becomes", _class_after),
        ("Physical value", _physical_value),
        ("ImageNet-C", _severity),
        ("SSIM there", lambda entry: "" if entry.ssim is None else f"{entry.ssim:.2f}"),
        ("Range", _range),
        ("Recovers at", _recovers_at),
    ]
    return Table.of_filled(breaks, columns)


def _incorrect_from(entry: Break) -> str:
    if entry.clean_correct is None:
        return "no such class"
    return entry.at if entry.clean_correct else "0, the original"


def _class_after(entry: Break) -> str:
    if entry.top1 is None:
        return ""
    sign = judged(False, entry.correct).sign
    return f"{sign} {models.class_name(entry.model, entry.top1)}"


def _physical_value(entry: Break) -> str:
    if entry.strength is None:
        return ""
    return REGISTRY[entry.perturbation].value_text(entry.strength)


def _severity(entry: Break) -> str:
    if entry.strength is None:
        return ""
    if entry.severity is None:
        return "none"
    if entry.severity == 0:
        return "below severity 1"
    exact_strength = REGISTRY[entry.perturbation].severity_strengths[entry.severity - 1]
    if entry.strength == exact_strength:
        return f"severity {entry.severity}"
    return f"about severity {entry.severity}"


def _range(entry: Break) -> str:
    if not entry.graded or entry.high is None:
        return ""
    return f"changes between {entry.low:.3f} and {entry.high:.3f}"


_NAMED_RETURNS = 4
"""Strengths of a return to the original prediction that a table names."""


def _recovers_at(entry: Break) -> str:
    text = ", ".join(f"{strength:.2f}" for strength in entry.returns[:_NAMED_RETURNS])
    if len(entry.returns) > _NAMED_RETURNS:
        text += " and more"
    return text


def curves(points: Sequence[Measurement]) -> Chooser:
    """Return the charts of a quantity over strength, with a control to select the quantity."""
    frame = pd.DataFrame([row.as_row() for row in points])
    titles = charts.strength_titles()

    def read(quantity: str) -> list[Block]:
        title = titles[quantity]
        blocks: list[Block] = []
        for name, rows in frame.groupby("perturbation", sort=False):
            chart = Chart(
                f"{title} under {perturbation_label(str(name))}",
                charts.over_strength(rows, quantity),
                f"{title} of each model over the strength; the table has the breaking strengths.",
                OPEN_MARKERS,
            )
            blocks.append(chart)
        return blocks

    return Chooser("Over strength", "quantity", titles, read, printed=list(titles))


def _steps(points: Sequence[Measurement]) -> int:
    """Return the largest number of strengths at which a perturbation was tried."""
    strengths: dict[str, set[float | None]] = {}
    for row in points:
        strengths.setdefault(row.perturbation, set()).add(row.strength)
    return max(map(len, strengths.values()))


def _replay(spec: Request, rows: Sequence[Measurement], points: Sequence[Measurement]) -> str:
    """Return the sentence with the commands that repeat the study and the sweep."""
    clauses = []
    if rows:
        names = [condition.name for condition in spec.conditions]
        options = f"--perturbations {','.join(names)}"
        if spec.conditions != study_conditions(names):
            options += f" --strength {spec.conditions[0].strength:g}"
        clauses.append(f"`{command(spec, 'study PICTURE...')} {options}` reproduces the rows")
    if points:
        swept = list(dict.fromkeys(row.perturbation for row in points))
        if len(swept) == 1:
            perturbation = swept[0]
            for_each = ""
        else:
            # The command sweeps one perturbation at a time.
            perturbation = "NAME"
            for_each = f", for each NAME of {', '.join(swept)},"
        options = f"--perturbation {perturbation} --steps {_steps(points)}"
        clauses.append(f"`{command(spec, 'sweep IMAGE')} {options}`{for_each} repeats the sweep")
    return f"With the same images, {' and '.join(clauses)}."
