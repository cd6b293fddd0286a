"""The report of a map: the strengths that models withstand, on one image or a few.

It has the bands of one image over strength, the study's table from rows at one strength each, and
the exact breaking strengths of a sweep; each part where its results are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from robustness.remedies import Chain, parse
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
    model,
    models_of,
    order,
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
from robustness.statistics import study as study_statistics

_IMAGES = 6
"""Images in a file."""


def blocks(summary: Sequence[Entry], rows: Sequence[Measurement]) -> list[Block]:
    """The study's table with the published figures, and all predictions."""
    predictions: list[Column] = [
        ("Image", lambda row: row.image),
        ("Perturbation", lambda row: perturbation_label(row.perturbation)),
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("SSIM", lambda row: f"{row.scores['ssim']:.2f}"),
    ]
    parts: list[Block] = [Titled("Consistency and similarity", consistency_table(summary))]
    if study_statistics.has_intervals(summary):
        parts.append(Text(study_statistics.VERDICT_RULE))
    parts += remedies(rows)
    has_published_model = any(entry["model"] in study_statistics.PUBLISHED for entry in summary)
    return [
        *parts,
        Titled("The study's published figures", _published(summary), long=not has_published_model),
        Text(study_statistics.PUBLISHED_NOTE),
        Titled("All predictions", Table.of(rows, predictions), long=True),
    ]


def consistency_table(summary: Sequence[Entry]) -> Table:
    """Consistency and similarity per model; ``summary`` has entries of ``summarise``.

    With enough images also intervals and verdicts, with a true class both accuracies.
    """
    has_intervals = study_statistics.has_intervals(summary)
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
        columns.append(("Verdict", study_statistics.verdict))
    return Table.of(summary, columns)


def _published(summary: Sequence[Entry]) -> Table:
    """The study's published figures next to those of ``summary``."""
    measured = {entry["model"]: entry for entry in summary}
    forms = {"consistency": ".0%", "cosine": ".2f", "euclidean": ".2f"}
    head = ["Model"]
    for name in forms:
        head += [name.capitalize(), "measured"]
    head.append("Published verdict")
    rows = []
    for model_name, published in study_statistics.PUBLISHED.items():
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


def remedies(rows: Sequence[Measurement]) -> list[Titled]:
    """By model and remedy, how many predictions are correct or, without a label, unchanged.

    An original counts once for each of its conditions.
    """
    remedies_of_model = {row.model: [trial.remedy for trial in row.remedies] for row in rows}
    if not any(remedies_of_model.values()):
        return []
    has_label = {row.label is not None for row in rows}
    outcome = "Correct or unchanged"
    if len(has_label) == 1:
        outcome = "Correct" if has_label.pop() else "Unchanged"
    body = []
    for name, tried in remedies_of_model.items():
        rows_of_model = [row for row in rows if row.model == name]
        for remedy in ("", *tried):
            cells = (
                model(name),
                parse(remedy).label if remedy else "none",
                _count_good(rows_of_model, remedy, clean=False),
                _count_good(rows_of_model, remedy, clean=True),
            )
            body.append(cells)
    head = ("Model", "Remedy", outcome, f"{outcome}, originals")
    return [Titled("Predictions with remedies", Table(head, body))]


def _count_good(rows: Sequence[Measurement], remedy: str, *, clean: bool) -> str:
    """Such as "3 of 4": the predictions behind ``remedy`` ("" for none) that are good.

    A prediction is good if it is the label or, without one, the prediction of the original. Those
    of the originals count if ``clean``. Rows that did not try the remedy count without it.
    """
    count = 0
    for row in rows:
        expected = row.clean_top1 if row.label is None else row.label
        trials = [trial for trial in row.remedies if trial.remedy == remedy]
        prediction = trials[0] if trials else row
        count += (prediction.clean_top1 if clean else prediction.top1) == expected
    return f"{count} of {len(rows)}"


def features(rows: Sequence[Measurement]) -> Section:
    """How features and predictions changed."""
    frame = charts.stage_frame(rows)
    means = frame.groupby(["model", "stage", "depth"], sort=False, as_index=False).mean()
    insight = study_statistics.insight(rows)
    movement = Chart(
        "Feature shift and divergence of the predictions",
        charts.movement(pd.DataFrame([row.as_row() for row in rows])),
        insight,
        charts.MOVEMENT,
    )
    diverging = Chooser(
        "Similarity by stage, mean over all perturbations",
        "stage_metric",
        {name: metrics.REGISTRY[name].label for name in RESCALED},
        lambda metric: [stages(means, metric)],
        printed=["cosine"],
    )
    columns = Columns([[Text(insight), movement], [diverging]])
    return Section("Features and predictions", [columns])


def images(spec: Request, pictures: Sequence[Picture], rows: Sequence[Measurement]) -> Section:
    """The originals and the perturbed images side by side, with the predictions."""
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
    """Which model is most consistent; a difference is significant if intervals do not overlap.

    With too few ``images`` for intervals the sentence counts, and ranks nothing.
    """
    rankings = study_statistics.rankings(summary)
    names = [entry["model"] for entry in summary]
    if study_statistics.has_intervals(summary):
        clauses = [_ranked_consistency(ranking) for ranking in rankings]
        return sentence(*clauses, names=names)
    clauses = [_counted_consistency(ranking, images) for ranking in rankings]
    if len(summary) > 1:
        few = "one image" if images == 1 else f"{images} images"
        clauses.append(f"{few} cannot rank models")
    return sentence(*clauses, names=names)


def _counted_consistency(ranking: Sequence[Entry], images: int) -> str:
    """The clause on the models that keep their prediction most often and least often."""
    best, worst = study_statistics.ends(ranking, "consistency")
    possessive = "its prediction" if len(best) == 1 else "their predictions"
    if images == 1:
        preposition = "under"
        cases = counted(best[0]["n"], "perturbation")
    else:
        preposition = "in"
        cases = counted(best[0]["n"], "case")
    most = _kept(best[0])
    text = f"{models_of(best)} kept {possessive} {preposition} {most} of {cases}"
    if worst:
        text += f", {models_of(worst)} {preposition} {_kept(worst[0])}"
    return text


def _kept(entry: Entry) -> int:
    """How many predictions a model kept."""
    return round(entry["consistency"] * entry["n"])


def _ranked_consistency(ranking: Sequence[Entry]) -> str:
    """The clause on the highest and the lowest consistency, with the range of accuracies."""
    clause = order(ranking, "consistency", _separate_intervals(ranking), "", 0)
    accuracies = [entry["perturbed_accuracy"] for entry in ranking]
    if None in accuracies:
        return clause
    low = share(min(accuracies), 0)
    high = share(max(accuracies), 0)
    accuracy = low if low == high else f"{low} to {high}"
    return f"{clause}; accuracy {accuracy}"


def _separate_intervals(ranking: Sequence[Entry]) -> set[tuple[str, str]]:
    """Pairs (better, worse) of models whose intervals of consistency do not overlap."""
    pairs = set()
    for better in ranking:
        for worse in ranking:
            low = better["consistency_low"]
            high = worse["consistency_high"]
            if low is not None and high is not None and low > high:
                pairs.add((better["model"], worse["model"]))
    return pairs


NEVER = 1 + 1 / (STEPS - 1)
"""Stands for the first incorrect cell of a band without one: it is beyond strength 1."""

_LEGEND = (
    "Strength 0 to 1. Blue: correct or, without a true class, unchanged. Orange with a line at its "
    "foot: incorrect or changed. Stronger colours are more confident. Ticks: ImageNet-C's "
    "severities; the thick one is the study's setting."
)

_MAP = "Map"

_MOST_WORDS = 12
"""Words of a headline; longer ones count tied perturbations, which the map marks."""

_WRONG = "✗ "

Remedied = Mapping[Chain, Sequence[Measurement | Break]]


def of_map(
    spec: Request,
    pictures: Sequence[Picture],
    rows: Sequence[Measurement] = (),
    bands: Sequence[Band] = (),
    swept: Sequence[Measurement | Break] = (),
    remedied: Remedied = MappingProxyType({}),
) -> Report:
    """The report of ``rows`` that ``spec`` gave on ``pictures``, and of bands of the first.

    ``swept`` are the events of ``sweep``, which have bands, too; ``remedied`` are those
    behind remedies. There is at least one row, or one event of a sweep.
    """
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
        sections.append(Section("The study", blocks(summary, rows)))
        brief += [Titled("By model", consistency_table(summary)), *remedies(rows)]
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
    who = model(names[0]) if len(names) == 1 else counted(len(names), "model")
    where = pictures[0].name if len(pictures) == 1 else counted(len(pictures), "image")
    manifest = provenance_record(spec, [(picture.name, picture.digest) for picture in pictures])
    if breaks:
        manifest["sweep"] = {"steps": _steps(points), "tolerance": TOLERANCE}
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "summary": summary,
        "breaking": [entry.as_row() for entry in breaks],
        "bands": _band_entries(bands),
    }
    return Report(
        title=f"Map of {who} on {where}",
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
    """The cells of ``bands``, JSON-ready."""
    return [
        {
            "model": band.model,
            "perturbation": band.perturbation,
            "strength": cell.strength,
            "top1": cell.top1,
            "probability": cell.probability,
            "good": band.good(cell),
        }
        for band in bands
        for cell in band.cells
    ]


def _basis(rows: Sequence[Measurement], pictures: Sequence[Picture]) -> str:
    """The images, the conditions, and predictions with low confidence."""
    conditions = len({row.condition for row in rows})
    if len(pictures) == 1:
        what = f"one image, {visible(pictures[0].name)}"
    else:
        what = counted(len(pictures), "image")
    return sentence(f"{what}, under {counted(conditions, 'condition')}", low_confidence(rows))


# --- the map --------------------------------------------------------------------------------------


def swept_bands(points: Sequence[Measurement]) -> list[Band]:
    """The bands of the ``points`` of a sweep."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for row in points:
        groups.setdefault((row.perturbation, row.model), []).append(row)
    bands = []
    for (perturbation, name), rows in groups.items():
        first = rows[0]
        cells = [Cell(row.strength or 0.0, row.top1, row.probability) for row in rows]
        original = Cell(0.0, first.clean_top1, first.clean_probability)
        bands.append(Band(name, perturbation, tuple(cells), original, first.label))
    return bands


def mean_breaks(bands: Sequence[Band]) -> dict[str, float]:
    """By perturbation the mean first incorrect (changed) cell, in ascending order.

    It covers the models that can break; without any it is ``NEVER`` throughout.
    """
    breaks: dict[str, list[float]] = {}
    for band in bands:
        breaks_of_perturbation = breaks.setdefault(band.perturbation, [])
        if band.breakable:
            breaks_of_perturbation.append(NEVER if band.breaks_at is None else band.breaks_at)
    means = {}
    for name, strengths in breaks.items():
        # Rounded, since equal means are told as ties.
        means[name] = round(sum(strengths) / len(strengths), 9) if strengths else NEVER
    return dict(sorted(means.items(), key=lambda item: item[1]))


def answer(bands: Sequence[Band]) -> str:
    """One sentence that counts, such as "On this image, fog breaks 3 of 3 models by 0.1."."""
    names = list(dict.fromkeys(band.model for band in bands if band.breakable))
    if not names:
        return sentence("no model is correct on the original")
    means = mean_breaks(bands)
    earliest = min(means.values())
    ties = [name for name, mean in means.items() if mean == earliest]
    first = ties[0]
    if earliest == NEVER:
        who = model(names[0]) if len(names) == 1 else f"any of {counted(len(names), 'model')}"
        what = "no perturbation breaks" if len(means) > 1 else f"{_inside(first)} does not break"
        return sentence(f"on this image, {what} {who}")

    outcomes = {}
    for name in ties:
        strengths = [band.breaks_at for band in bands if band.perturbation == name]
        broken = [strength for strength in strengths if strength is not None]
        outcomes[name] = (len(broken), max(broken, default=0.0))
    broken_models, latest = outcomes[first]
    # A sentence counts once, so it names only the ties with the same count and the same strength.
    labels = [_inside(name) for name in ties if outcomes[name] == outcomes[first]]
    if len(names) == 1:
        who = model(names[0])
    else:
        who = f"{broken_models} of {counted(len(names), 'model')}"
    where = ""
    if REGISTRY[first].graded:
        where = f" at {latest:g}" if broken_models == 1 else f" by {latest:g}"
    verb = "breaks" if len(labels) == 1 else "break"
    text = f"on this image, {join_names(labels)} {verb} {who}{where}"
    if len(labels) > 1 and len(text.split()) > _MOST_WORDS:
        text = f"on this image, {len(labels)} perturbations break {who}{where}"
    return sentence(text)


def _inside(perturbation: str) -> str:
    """The label within a sentence: "fog effect", but "JPEG compression"."""
    label = perturbation_label(perturbation)
    return label if label[:2].isupper() else f"{label[0].lower()}{label[1:]}"


def band_maps(
    bands: Sequence[Band],
    images: Mapping[str, str] = MappingProxyType({}),
    *,
    keyed: bool = False,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> list[Map]:
    """A map of ``bands`` for each set of classes, the earliest break first; ties have a "=".

    ``images`` are thumbnails as URIs by perturbation. ``rows`` and ``columns`` are perturbations
    and models in their order; by default, those of the bands. With ``keyed`` a tile has a key.
    """
    means = mean_breaks(bands)
    strips = {(band.perturbation, band.model): strip(band, keyed=keyed) for band in bands}
    incorrect_models = {band.model for band in bands if not band.breakable}
    names = columns or list(dict.fromkeys(band.model for band in bands))

    row_titles = {}
    for perturbation in rows or means:
        title = perturbation_label(perturbation)
        # In an order that was given, a tie says nothing.
        if not rows and list(means.values()).count(means[perturbation]) > 1:
            title += " ="
        row_titles[perturbation] = title

    maps = []
    groups = models.by_labels(names)
    for labels, group in groups:
        titles = [
            f"{_WRONG}{model(name)}" if name in incorrect_models else model(name) for name in group
        ]
        map_rows = [
            MapRow(
                title,
                [strips.get((perturbation, name)) for name in group],
                images.get(perturbation, ""),
            )
            for perturbation, title in row_titles.items()
        ]
        title = labels.title if len(groups) > 1 else ""
        maps.append(Map(title, BandMap("Perturbation", titles, map_rows)))
    if maps:
        maps[-1] = replace(maps[-1], note=legend(bands))  # once, below all of them
    return maps


def legend(bands: Sequence[Band]) -> str:
    """How to read a map of ``bands``."""
    if all(band.breakable for band in bands):
        return _LEGEND
    return f"{_LEGEND} {_WRONG}before a model: incorrect on the original."


def brief_legend(bands: Sequence[Band]) -> str:
    """As ``legend``, for people who do not know the map: what grows, and what the colours mean."""
    good, bad = bands[0].words if bands else ("unchanged", "changed")
    text = f"Each band grows stronger to the right. Blue: {good}. Orange: {bad}."
    if any(not band.breakable for band in bands):
        text += f" {_WRONG}before a model: incorrect on the original."
    return text


def _one_cell_map(rows: Sequence[Measurement]) -> BandMap:
    """The map of predictions at one strength: of several images, how many are good."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    names = list(dict.fromkeys(frame["model"]))
    row_labels = frame["condition"].map(series)
    strips: dict[tuple[str, str], Strip] = {}
    for (row_label, name), rows_of_cell in frame.groupby([row_labels, "model"], sort=False):
        good, text = cell(rows_of_cell)
        text = text.replace("<br>", " ")
        strips[str(row_label), str(name)] = Strip([Tile(2 * good - 1, text, text=text)], text)
    map_rows = [
        MapRow(label, [strips.get((label, name)) for name in names])
        for label in dict.fromkeys(label for label, _ in strips)
    ]
    return BandMap("Perturbation", [model(name) for name in names], map_rows)


# --- breaking strengths -------------------------------------------------------------------------


def _exact(breaks: Sequence[Break], remedied: Remedied) -> list[Titled]:
    """The exact breaking strengths, also with remedies."""
    if not breaks:
        return []
    tables = [Titled("Breaking strengths", breaking(breaks))]
    if remedied:
        tables.append(Titled("Breaking strengths with remedies", _with_remedies(breaks, remedied)))
    return tables


def _with_remedies(breaks: Sequence[Break], remedied: Remedied) -> Table:
    """The breaking strengths without a remedy and, in a column each, with the ``remedied`` ones."""
    columns: list[Column] = [
        ("Perturbation", lambda entry: perturbation_label(entry.perturbation)),
        ("Model", lambda entry: model(entry.model)),
        ("No remedy", _break_text),
    ]
    for chain, events in remedied.items():
        texts = {
            (event.perturbation, event.model): _break_text(event)
            for event in events
            if isinstance(event, Break)
        }
        columns.append((chain.label, partial(_text_of_break, texts)))
    return Table.of(breaks, columns)


def _text_of_break(texts: Mapping[tuple[str, str], str], entry: Break) -> str:
    return texts[entry.perturbation, entry.model]


def _break_text(entry: Break) -> str:
    """The breaking strength; of a model that is incorrect on the original, what happens there."""
    if entry.clean_correct is not False:
        return entry.at
    if entry.strength is None:
        return no_change(entry.clean_correct)
    where = f"at strength {entry.strength:.3f}" if entry.graded else "when on"
    return change(entry.clean_correct, entry.correct, where)


def breaking(breaks: Sequence[Break]) -> Table:
    """The strength at which each prediction changes, and the last and first around it.

    With a true class also the strength at which it becomes incorrect, and with several
    perturbations their names.
    """
    several = len({entry.perturbation for entry in breaks}) > 1
    labelled = any(entry.label is not None for entry in breaks)
    columns: list[Column] = []
    if several:
        columns.append(("Perturbation", lambda entry: perturbation_label(entry.perturbation)))
    columns.append(("Model", lambda entry: models.label(entry.model)))
    if labelled:
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
    level = REGISTRY[entry.perturbation].severity_strengths[entry.severity - 1]
    about = "" if level == entry.strength else "about "
    return f"{about}severity {entry.severity}"


def _range(entry: Break) -> str:
    if not entry.graded or entry.high is None:
        return ""
    return f"changes between {entry.low:.3f} and {entry.high:.3f}"


def _recovers_at(entry: Break) -> str:
    text = ", ".join(f"{strength:.2f}" for strength in entry.returns[:4])
    return f"{text} and more" if len(entry.returns) > 4 else text


def curves(points: Sequence[Measurement]) -> Chooser:
    """Confidence and similarity of each model over the strength of each perturbation."""
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
    """The largest number of strengths at which a perturbation was tried."""
    strengths: dict[str, set[float | None]] = {}
    for row in points:
        strengths.setdefault(row.perturbation, set()).add(row.strength)
    return max(map(len, strengths.values()))


def _replay(spec: Request, rows: Sequence[Measurement], points: Sequence[Measurement]) -> str:
    """The commands that repeat the study and the sweep."""
    clauses = []
    if rows:
        names = [condition.name for condition in spec.conditions]
        options = f" --perturbations {','.join(names)}"
        if spec.conditions != study_conditions(names):
            options += f" --strength {spec.conditions[0].strength:g}"
        clauses.append(f"`{command(spec, 'study PICTURE...')}{options}` reproduces the rows")
    if points:
        swept = list(dict.fromkeys(row.perturbation for row in points))
        perturbation = swept[0] if len(swept) == 1 else "NAME"
        options = f"--perturbation {perturbation} --steps {_steps(points)}"
        for_each = "" if len(swept) == 1 else f", for each NAME of {', '.join(swept)},"
        clauses.append(f"`{command(spec, 'sweep IMAGE')} {options}`{for_each} repeats the sweep")
    return f"With the same images, {' and '.join(clauses)}."
