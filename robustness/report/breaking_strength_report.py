"""The report of a map: what models withstand, on one image or a few.

It has the bands of one image over strength, the study's table from rows at one strength each, and
the exact breaking strengths of a sweep; each part where its results are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from robustness import models
from robustness.base.text import counted, join_names, visible
from robustness.charts import confidence_and_feature_similarity
from robustness.charts.band_and_map_drawing import BandMap, MapRow, Strip, Tile, strip
from robustness.charts.ranking_and_condition_tables import Column, Table
from robustness.charts.verdict_signs_and_words import (
    LEGEND,
    OPEN_MARKERS,
    cell,
    change,
    judged,
    no_change,
)
from robustness.evaluation import STEPS
from robustness.evaluation.breaking_strength_sweep import TOLERANCE, Break
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.evaluation.perturbation_and_attack_conditions import perturbation_label, series
from robustness.evaluation.prediction_band_and_strengths import Band, Cell
from robustness.evaluation.provenance import provenance_record
from robustness.evaluation.request import Request
from robustness.evaluation.suites_and_strengths import study_conditions
from robustness.perturbations import REGISTRY
from robustness.pictures.framed_picture import Picture
from robustness.remedies import Chain
from robustness.report import methods_and_registry_tables, published_study_report
from robustness.report.blocks import (
    BRACKETS,
    Block,
    Chart,
    Chooser,
    Map,
    Report,
    Section,
    Titled,
)
from robustness.report.facts_and_cautions import cautions, command, data, facts, low_confidence
from robustness.report.names_and_sentences import model, sentence
from robustness.statistics import TOO_FEW, robustness_ranking_and_verdicts

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
    summary = robustness_ranking_and_verdicts.summarise(rows) if rows else []
    names, on = spec.model_names, pictures[0].name
    who = model(names[0]) if len(names) == 1 else counted(len(names), "model")
    maps = band_maps(bands) if bands else [Map(f"Predictions. {LEGEND}", _one_cell_map(rows))]
    exact = _exact(breaks, remedied)
    by_model: list[Titled] = []
    if rows:
        by_model = [
            Titled("By model", published_study_report.consistency_table(summary)),
            *published_study_report.remedies(rows),
        ]
    answers = [("What is this based on?", _basis(rows or points, pictures))]
    if summary:
        text = published_study_report.consistency(summary, len(pictures))
        answers.insert(0, ("How consistent are the predictions?", text))
    if bands:
        answers.insert(0, ("Which perturbation breaks the models first?", answer(bands)))
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "summary": summary,
        "breaking": [entry.as_row() for entry in breaks],
        "bands": [
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
        ],
    }
    sections = [
        Section(_MAP, maps),
        *([Section("The study", published_study_report.blocks(summary, rows))] if rows else []),
        *([Section("In detail", [*exact, curves(points)])] if breaks else []),
        *(
            [
                published_study_report.features(rows),
                published_study_report.images(spec, pictures, rows),
            ]
            if rows
            else []
        ),
    ]
    explained = []
    if rows:
        explained.append("Intervals")
    if breaks:
        explained.append("Breaking strength")
    note = ""
    if rows:
        has_intervals = robustness_ranking_and_verdicts.has_intervals(summary)
        note = BRACKETS if has_intervals else TOO_FEW
    return Report(
        title=f"Map of {who} on {on if len(pictures) == 1 else counted(len(pictures), 'image')}",
        answers=answers,
        facts=facts(spec, pictures, rows or points),
        cautions=cautions(rows or points),
        sections=sections,
        brief=[*by_model, *(replace(each, title=each.title or _MAP) for each in maps), *exact],
        methods=methods_and_registry_tables.blocks(spec.conditions, explained),
        limits=methods_and_registry_tables.limits(),
        manifest={
            **provenance_record(spec, [(picture.name, picture.digest) for picture in pictures]),
            **({"sweep": {"steps": _steps(points), "tolerance": TOLERANCE}} if breaks else {}),
        },
        replay=_replay(spec, rows, points),
        data=data([*rows, *points], {name: table for name, table in tables.items() if table}),
        note=note,
    )


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
    return [
        Band(
            name,
            perturbation,
            tuple(Cell(row.strength or 0.0, row.top1, row.probability) for row in rows),
            Cell(0.0, rows[0].clean_top1, rows[0].clean_probability),
            rows[0].label,
        )
        for (perturbation, name), rows in groups.items()
    ]


def mean_breaks(bands: Sequence[Band]) -> dict[str, float]:
    """By perturbation the mean first incorrect (changed) cell, in ascending order.

    It covers the models that can break; without any it is ``NEVER`` throughout.
    """
    first: dict[str, list[float]] = {}
    for band in bands:
        own = first.setdefault(band.perturbation, [])
        if band.breakable:
            own.append(NEVER if band.breaks_at is None else band.breaks_at)
    means = {name: round(sum(own) / len(own), 9) if own else NEVER for name, own in first.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def answer(bands: Sequence[Band]) -> str:
    """One sentence that counts, such as "On this image, fog breaks 3 of 3 models by 0.1."."""
    names = list(dict.fromkeys(band.model for band in bands if band.breakable))
    if not names:
        return sentence("no model is correct on the original")
    means = mean_breaks(bands)
    earliest = min(means.values())
    breaks = {
        name: [band.breaks_at for band in bands if band.perturbation == name]
        for name, mean in means.items()
        if mean == earliest
    }
    broken = {name: [at for at in own if at is not None] for name, own in breaks.items()}
    counts = {name: (len(own), max(own, default=0.0)) for name, own in broken.items()}
    first = next(iter(counts))
    if earliest == NEVER:
        who = model(names[0]) if len(names) == 1 else f"any of {counted(len(names), 'model')}"
        what = "no perturbation breaks" if len(means) > 1 else f"{_inside(first)} does not break"
        return sentence(f"on this image, {what} {who}")
    number, latest = counts[first]
    tied = [_inside(name) for name, count in counts.items() if count == counts[first]]
    verb = "breaks" if len(tied) == 1 else "break"
    who = model(names[0]) if len(names) == 1 else f"{number} of {counted(len(names), 'model')}"
    where = ""
    if REGISTRY[first].graded:
        where = f" at {latest:g}" if number == 1 else f" by {latest:g}"
    text = f"on this image, {join_names(tied)} {verb} {who}{where}"
    if len(tied) > 1 and len(text.split()) > _MOST_WORDS:
        text = f"on this image, {len(tied)} perturbations break {who}{where}"
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
    values = list(means.values())
    equal = [name for name, mean in means.items() if values.count(mean) > 1]
    drawn = {(band.perturbation, band.model): strip(band, keyed=keyed) for band in bands}
    wrong = {band.model for band in bands if not band.breakable}
    names = columns or list(dict.fromkeys(band.model for band in bands))
    groups = models.by_labels(names)

    def model_title(name: str) -> str:
        return f"{_WRONG}{model(name)}" if name in wrong else model(name)

    def row_title(perturbation: str) -> str:
        label = perturbation_label(perturbation)
        # In an order that was given, a tie says nothing.
        return f"{label} =" if perturbation in equal and not rows else label

    return [
        Map(
            labels.title if len(groups) > 1 else "",
            BandMap(
                "Perturbation",
                [model_title(name) for name in group],
                [
                    MapRow(
                        row_title(row),
                        [drawn.get((row, name)) for name in group],
                        images.get(row, ""),
                    )
                    for row in rows or means
                ],
            ),
            legend(bands) if number == len(groups) else "",
        )
        for number, (labels, group) in enumerate(groups, start=1)
    ]


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
    strips: dict[tuple[str, str], Strip] = {}
    for (label, name), own in frame.groupby([frame["condition"].map(series), "model"], sort=False):
        good, text = cell(own)
        text = text.replace("<br>", " ")
        strips[str(label), str(name)] = Strip([Tile(2 * good - 1, text, text=text)], text)
    labels = dict.fromkeys(label for label, _ in strips)
    return BandMap(
        "Perturbation",
        [model(name) for name in names],
        [MapRow(label, [strips.get((label, name)) for name in names]) for label in labels],
    )


# --- breaking strengths -------------------------------------------------------------------------


def _exact(breaks: Sequence[Break], remedied: Remedied) -> list[Titled]:
    """The exact breaking strengths, also with remedies."""
    if not breaks:
        return []
    tabled = [Titled("Breaking strengths", breaking(breaks))]
    if remedied:
        sweeps = [
            {(e.perturbation, e.model): _at(e) for e in events if isinstance(e, Break)}
            for events in remedied.values()
        ]
        columns: list[Column] = [
            ("Perturbation", lambda entry: perturbation_label(entry.perturbation)),
            ("Model", lambda entry: model(entry.model)),
            ("No remedy", _at),
        ]
        head = (*(title for title, _ in columns), *(chain.label for chain in remedied))
        body = [
            (
                *(say(entry) for _, say in columns),
                *(at[entry.perturbation, entry.model] for at in sweeps),
            )
            for entry in breaks
        ]
        tabled.append(Titled("Breaking strengths with remedies", Table(head, body)))
    return tabled


def breaking(breaks: Sequence[Break]) -> Table:
    """The strength at which each prediction changes, and the last and first around it.

    With a true class also the strength at which it becomes incorrect, and with several
    perturbations their names.
    """

    def becomes(entry: Break) -> str:
        if entry.top1 is None:
            return ""
        sign = judged(False, entry.correct).sign
        return f"{sign} {models.class_name(entry.model, entry.top1)}"

    def incorrect_from(entry: Break) -> str:
        if entry.clean_correct is None:
            return "no such class"
        return entry.at if entry.clean_correct else "0, the original"

    def value(entry: Break) -> str:
        at = entry.strength
        return "" if at is None else REGISTRY[entry.perturbation].value_text(at)

    def severity(entry: Break) -> str:
        if entry.strength is None:
            return ""
        if not entry.severity:
            return "none" if entry.severity is None else "below severity 1"
        level = REGISTRY[entry.perturbation].severity_strengths[entry.severity - 1]
        return f"{'' if level == entry.strength else 'about '}severity {entry.severity}"

    def limits(entry: Break) -> str:
        if not entry.graded or entry.high is None:
            return ""
        return f"changes between {entry.low:.3f} and {entry.high:.3f}"

    def recovers_at(entry: Break) -> str:
        text = ", ".join(f"{strength:.2f}" for strength in entry.returns[:4])
        return f"{text} and more" if len(entry.returns) > 4 else text

    several = len({entry.perturbation for entry in breaks}) > 1
    labelled = any(entry.label is not None for entry in breaks)
    columns: list[Column] = [
        *([("Perturbation", lambda e: perturbation_label(e.perturbation))] if several else []),
        ("Model", lambda entry: models.label(entry.model)),
        *([("Incorrect from strength", incorrect_from)] if labelled else []),
        ("Changes at strength", lambda entry: entry.at),
        ("Resolution", lambda entry: entry.resolution),
        ("Becomes", becomes),
        ("Physical value", value),
        ("ImageNet-C", severity),
        ("SSIM there", lambda entry: "" if entry.ssim is None else f"{entry.ssim:.2f}"),
        ("Range", limits),
        ("Recovers at", recovers_at),
    ]
    return Table.of(breaks, [c for c in columns if any(c[1](entry) for entry in breaks)])


def _at(entry: Break) -> str:
    """The breaking strength; of a model that is incorrect on the original, what happens there."""
    if entry.clean_correct is not False:
        return entry.at
    if entry.strength is None:
        return no_change(entry.clean_correct)
    where = f"at strength {entry.strength:.3f}" if entry.graded else "when on"
    return change(entry.clean_correct, entry.correct, where)


def curves(points: Sequence[Measurement]) -> Chooser:
    """Confidence and similarity of each model over the strength of each perturbation."""
    frame = pd.DataFrame([row.as_row() for row in points])
    titles = confidence_and_feature_similarity.strength_titles()

    def read(quantity: str) -> list[Block]:
        return [
            Chart(
                f"{titles[quantity]} under {perturbation_label(str(name))}",
                confidence_and_feature_similarity.over_strength(own, quantity),
                f"{titles[quantity]} of each model over the strength; the table has the breaking "
                "strengths.",
                OPEN_MARKERS,
            )
            for name, own in frame.groupby("perturbation", sort=False)
        ]

    return Chooser("Over strength", "quantity", titles, read, [*titles])


def _steps(points: Sequence[Measurement]) -> int:
    tried = {(row.perturbation, row.strength) for row in points}
    return max(sum(name == own for own, _ in tried) for name in {name for name, _ in tried})


def _replay(spec: Request, rows: Sequence[Measurement], points: Sequence[Measurement]) -> str:
    lines = []
    if rows:
        names = [condition.name for condition in spec.conditions]
        options = f" --perturbations {','.join(names)}"
        if spec.conditions != study_conditions(names):
            options += f" --strength {spec.conditions[0].strength:g}"
        lines.append(f"`{command(spec, 'study PICTURE...')}{options}` reproduces the rows")
    if points:
        swept = list(dict.fromkeys(row.perturbation for row in points))
        which = swept[0] if len(swept) == 1 else "NAME"
        suffix = "" if len(swept) == 1 else f", for each NAME of {', '.join(swept)},"
        options = f"--perturbation {which} --steps {_steps(points)}"
        lines.append(f"`{command(spec, 'sweep IMAGE')} {options}`{suffix} repeats the sweep")
    return f"With the same images, {' and '.join(lines)}."
