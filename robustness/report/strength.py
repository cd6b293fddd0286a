"""The report of a map: what models withstand, on one image or a few.

It has the bands of one image over strength, the study's table from rows at one strength each, and
the exact breaking strengths of a sweep; each part where its results are there.

The study: what models predict on a few images under perturbations at one strength each.
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
    published = {entry["model"] for entry in summary} & {*study_statistics.PUBLISHED}
    predicted: list[Column] = [
        ("Image", lambda row: row.image),
        ("Perturbation", lambda row: perturbation_label(row.perturbation)),
        ("Model", lambda row: model(row.model)),
        ("Prediction", lambda row: verdict(row).said),
        ("Confidence in the original class", lambda row: share(row.retained_probability)),
        ("SSIM", lambda row: f"{row.scores['ssim']:.2f}"),
    ]
    rule = [Text(study_statistics.VERDICT_RULE)] if study_statistics.has_intervals(summary) else []
    return [
        Titled("Consistency and similarity", consistency_table(summary)),
        *rule,
        *remedies(rows),
        Titled("The study's published figures", _published(summary), long=not published),
        Text(study_statistics.PUBLISHED_NOTE),
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
    if study_statistics.has_intervals(summary):
        columns[2:2] = [("95% interval", lambda entry: interval(entry, "consistency"))]
        columns.append(("Verdict", study_statistics.verdict))
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
    for name, published in study_statistics.PUBLISHED.items():
        row = [models.label(name)]
        for key, form in forms.items():
            ours = format_figure(measured[name][key], form) if name in measured else "not run"
            row += [format_figure(getattr(published, key), form), ours]
        rows.append([*row, published.verdict])
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
    every = charts.stage_frame(rows)
    means = every.groupby(["model", "stage", "depth"], sort=False, as_index=False).mean()
    movement = Chart(
        "Feature shift and divergence of the predictions",
        charts.movement(pd.DataFrame([row.as_row() for row in rows])),
        study_statistics.insight(rows),
        charts.MOVEMENT,
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
        [Columns([[Text(study_statistics.insight(rows)), movement], [diverging]])],
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
    rankings = study_statistics.rankings(summary)
    names = [entry["model"] for entry in summary]
    if study_statistics.has_intervals(summary):
        return sentence(*map(_scored, rankings), names=names)
    clauses = [_counted(ranking, images) for ranking in rankings]
    if len(summary) > 1:
        few = "one image" if images == 1 else f"{images} images"
        clauses.append(f"{few} cannot rank models")
    return sentence(*clauses, names=names)


def _counted(ranking: Sequence[Entry], images: int) -> str:
    """How often models keep their prediction: those that do most often, and least often."""
    best, worst = study_statistics.ends(ranking, "consistency")
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
    low = share(min(shares), 0)
    high = share(max(shares), 0)
    return f"{sentence}; accuracy {low if low == high else f'{low} to {high}'}"


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
    names = spec.model_names
    on = pictures[0].name
    who = model(names[0]) if len(names) == 1 else counted(len(names), "model")
    maps = band_maps(bands) if bands else [Map(f"Predictions. {LEGEND}", _one_cell_map(rows))]
    exact = _exact(breaks, remedied)
    by_model: list[Titled] = []
    if rows:
        by_model = [
            Titled("By model", consistency_table(summary)),
            *remedies(rows),
        ]
    answers = [("What is this based on?", _basis(rows or points, pictures))]
    if summary:
        text = consistency(summary, len(pictures))
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
        *([Section("The study", blocks(summary, rows))] if rows else []),
        *([Section("In detail", [*exact, curves(points)])] if breaks else []),
        *(
            [
                features(rows),
                images(spec, pictures, rows),
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
        has_intervals = study.has_intervals(summary)
        note = BRACKETS if has_intervals else TOO_FEW
    return Report(
        title=f"Map of {who} on {on if len(pictures) == 1 else counted(len(pictures), 'image')}",
        answers=answers,
        facts=facts(spec, pictures, rows or points),
        cautions=cautions(rows or points),
        sections=sections,
        brief=[*by_model, *(replace(each, title=each.title or _MAP) for each in maps), *exact],
        methods=methods.blocks(spec.conditions, explained),
        limits=methods.limits(),
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
    for (row_label, name), own in frame.groupby(
        [frame["condition"].map(series), "model"], sort=False
    ):
        good, text = cell(own)
        text = text.replace("<br>", " ")
        strips[str(row_label), str(name)] = Strip([Tile(2 * good - 1, text, text=text)], text)
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
    titles = charts.strength_titles()

    def read(quantity: str) -> list[Block]:
        return [
            Chart(
                f"{titles[quantity]} under {perturbation_label(str(name))}",
                charts.over_strength(own, quantity),
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
