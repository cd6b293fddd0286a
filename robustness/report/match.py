"""The answer of a match in sentences and blocks, for pages, files and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from robustness.base.text import FigureText, counted, figure_text, in_sentence, points, share
from robustness.charts import run_map
from robustness.charts.differences import statistics_that_differ
from robustness.charts.tables import Table, flat, in_brackets, with_interval
from robustness.matching import (
    SHARE,
    ExpectedAccuracy,
    Match,
    MatchChange,
    MatchedPerturbation,
    forecast,
)
from robustness.perturbations import REGISTRY
from robustness.pictures.properties import PROPERTIES
from robustness.report.blocks import Case, Cases, Chart, Map, Printed, Shot, Text, Titled
from robustness.report.questions import perturbations
from robustness.report.wording import listed, model
from robustness.statistics import Figures

_STATISTICS = 12
_TOO = {"darkness": "dark", "exposure": "bright"}


def sentences(match: Match) -> list[str]:
    """The answer, shortest first."""
    return list(_sentences(match))


def _sentences(match: Match) -> Iterator[str]:
    parts = [_described(part) for part in match.perturbations]
    if not match.searched:
        pass
    elif not match.different:
        yield "No difference found between your images and the reference."
    elif not match.matched:
        names = listed(match.unexplained, len(match.unexplained))
        if parts:
            yield (
                f"The cause is unknown: nearest is {listed(parts, len(parts))}, but your images "
                f"still differ in {names}."
            )
        else:
            yield f"The cause is unknown: your images differ from the reference in {names}."
    elif parts:
        who = "Your images" if match.share == 1 else f"{share(match.share, 0)} of your images"
        if light := _light(match.perturbations):
            yield f"{who} are {light}."
        else:
            yield f"{who} look like the reference with {listed(parts, len(parts))}."
    if match.matched and match.perturbations and not match.share_decided:
        yield "The effect is too weak to tell whether all of your images are affected."
    for part in match.perturbations:
        if part.group:
            others = [
                f"{in_sentence(REGISTRY[name].label)} ({REGISTRY[name].value_text(strength)})"
                for name, strength in part.group.items()
            ]
            label = REGISTRY[part.perturbation].label
            yield f"{label} fits as well as {listed(others, len(others))}."
    if any(answer.confidence or answer.labels for answer in match.expected_accuracy):
        expected = _from_images(match.expected_accuracy)
        yield FigureText(f"{expected}.", expected)
    elif match.expected_accuracy:
        expected = _expected(match.expected_accuracy)
        yield FigureText(f"{expected}{_condition(match)}.", expected)
    if match.no_accuracy:
        yield match.no_accuracy
    yield from _reference_labels(match)
    for answer in match.expected_accuracy:
        if answer.disagreement:
            advice = "" if answer.labelled else " Label some of your images."
            yield (
                f"{model(answer.model)}: {answer.disagreement} disagree by more than their "
                f"intervals.{advice}"
            )
    if match.other_content:
        labelled = any(answer.labelled for answer in match.expected_accuracy)
        advice = "" if labelled else ": label some of them"
        yield f"Your images show another kind of content than the reference{advice}."
    if match.copies:
        verb = "is a copy" if match.copies == 1 else "are copies"
        yield f"{counted(match.copies, 'image')} {verb} of others; copies count once."
    if match.skipped:
        yield f"{counted(match.skipped, 'image')} could not be read."


def _reference_labels(match: Match) -> Iterator[str]:
    """How many reference images have a class of each model, where it is some of them."""
    for count in dict.fromkeys(match.reference_labels.values()):
        if count < match.reference_images and any(match.reference_labels.values()):
            names = [
                model(name) for name, number in match.reference_labels.items() if number == count
            ]
            verb = "has" if count == 1 else "have"
            yield (
                f"{count} of {counted(match.reference_images, 'reference image')} {verb} a class "
                f"of {listed(names, len(names))}."
            )


def _expected(answers: Sequence[ExpectedAccuracy]) -> str:
    texts: list[str] = []
    for answer in answers:
        verb = "on" if texts else "would be correct on"
        value = figure_text(_entry(answer), "expected_accuracy", ".0%")
        texts.append(FigureText(f"{model(answer.model)} {verb} {value}", value))
    return FigureText(", ".join(texts), *texts)


def _from_images(answers: Sequence[ExpectedAccuracy]) -> str:
    """The headlines that confidences or labels give."""
    sources = [
        name
        for name in ("confidence", "labels")
        if any(getattr(answer, name) is not None for answer in answers)
    ]
    texts = []
    for entry in map(_entry, answers):
        value = figure_text(entry, "expected_accuracy", ".0%")
        bounds = in_brackets(entry, "expected_accuracy", lambda end: points(end, ".0f"))
        texts.append(FigureText(f"{model(entry['model'])} {value}{bounds}", value, bounds))
    text = f"Accuracy to expect, from {' and '.join(sources)}: {', '.join(texts)}"
    return FigureText(text, *texts)


def _entry(answer: ExpectedAccuracy) -> dict[str, Any]:
    """The accuracies of a model: the expected one, and the estimates behind it."""
    entry = flat({"model": answer.model}, "expected_accuracy", vars(answer))
    for name in ("confidence", "simulation", "labels"):
        if estimate := getattr(answer, name):
            entry = flat(entry, name, vars(estimate))
            entry |= {f"{name} {method}": value for method, value in estimate.parts.items()}
    return {**entry, "reference": answer.reference}


def _condition(match: Match) -> str:
    """What the accuracy assumes, as a clause."""
    names = [in_sentence(REGISTRY[part.perturbation].label) for part in match.perturbations]
    if not names:
        return ""
    verb = "is the only difference" if len(names) == 1 else "are the only differences"
    return f", if {listed(names, len(names))} {verb}"


def _light(parts: Sequence[MatchedPerturbation]) -> str:
    """The only perturbation in plain words, if it is one of light; else ""."""
    first, *others = parts
    if others or first.perturbation not in _TOO:
        return ""
    record = REGISTRY[first.perturbation]
    at, *bounds = (
        f"{abs(record.value_at(strength)):.3g}"
        for strength in (first.strength, first.low, first.high)
    )
    return f"{at} {record.unit} too {_TOO[first.perturbation]} ({' to '.join(bounds)})"


def _described(part: MatchedPerturbation) -> str:
    record = REGISTRY[part.perturbation]
    low, high = record.value_text(part.low), record.value_text(part.high)
    return f"{in_sentence(record.label)}: {part.value} ({low} to {high})"


def camera_map(match: Match, figures: Figures | None = None) -> Map:
    """The strength of the camera on the row of each perturbation that ``match`` names.

    ``figures`` are those of a run of the reference, whose shares the rows then have.
    """
    spans = {
        part.perturbation: run_map.Span(
            part.strength,
            part.low,
            part.high,
            f"{part.value}, strength {part.strength:.2f} ({part.low:.2f} to {part.high:.2f})",
        )
        for part in match.perturbations
    }
    note = "Dot: your camera, with its 95% interval."
    if figures is not None:
        note += f" {perturbations.map_note(figures)}"
    return Map("Your camera", run_map.camera_map(spans, figures), note)


def blocks(match: Match, figures: Figures | None = None) -> list[Printed]:
    """Tables of perturbations and accuracies, a chart of the statistics, pairs of images.

    ``figures`` are as for ``camera_map``.
    """
    parts: list[Printed] = []
    if match.perturbations:
        parts.append(camera_map(match, figures))
        rows = [
            (
                REGISTRY[part.perturbation].label,
                part.value,
                f"{part.strength:.2f} ({part.low:.2f} to {part.high:.2f})",
                share(part.share, 0) if match.share_decided else "undecided",
                "" if part.severity is None else str(part.severity),
                ", ".join(REGISTRY[name].label for name in part.group),
            )
            for part in match.perturbations
        ]
        head = (
            "Perturbation",
            "Value",
            "Strength, 95% interval",
            "Images",
            "ImageNet-C",
            "Alternatives",
        )
        parts.append(Titled("Perturbations", Table(head, rows)))
    if match.expected_accuracy:
        parts.append(_accuracies(match))
    if match.different and match.statistics:
        parts.append(_statistics(match))
    if match.pairs:
        parts.append(
            Cases(
                "First: yours. Second: the reference, perturbed to match.",
                lambda: _pairs(match),
            )
        )
    if match.files:
        parts.append(_files(match))
    conditions = counted(len(match.conditions) or "no", "composition")
    parts.append(
        Text(
            f"{counted(match.images, 'production image')}, "
            f"{counted(match.reference_images, 'reference image')}, {match.framing.text}; "
            f"{conditions}."
        )
    )
    return parts


def forecasts(match: Match) -> str:
    """How wide the widest interval is, and will be after more labels, as a sentence."""
    answers = {answer.model: answer for answer in match.expected_accuracy}
    spans: dict[str, dict[int, float]] = {}
    for name in match.models:
        answer = answers.get(name)
        widths = forecast(answer.confidence if answer else None, match.images)
        if answer:
            now = (answer.high - answer.low) / 2
            more = {n: min(now, width) for n, width in widths.items() if n > answer.labelled}
            widths = {answer.labelled: now, **more}
        spans[name] = widths
    if not spans:
        return ""
    widest = max(spans, key=lambda name: next(iter(spans[name].values())))
    texts = [f"{points(width, '.0f')} after {count}" for count, width in spans[widest].items()]
    if widest in answers:
        labelled = answers[widest].labelled
        width = next(iter(spans[widest].values()))
        texts[0] = f"{points(width, '.0f')} now{f' ({labelled} labelled)' if labelled else ''}"
    which = "Interval" if len(spans) == 1 else "Widest interval"
    return (
        f"{which}, that of {model(widest)}, in points to either side: {', '.join(texts)} labelled "
        "images."
    )


def _accuracies(match: Match) -> Titled:
    """The headline of each model, and the estimates behind it."""
    rows = []
    for answer in match.expected_accuracy:
        entry = _entry(answer)
        expected, confidence, simulation, labels = (
            with_interval(entry, name)
            for name in ("expected_accuracy", "confidence", "simulation", "labels")
        )
        behind = [
            FigureText(f"{name} {value}", value)
            for name in (answer.confidence.parts if answer.confidence else {})
            for value in [figure_text(entry, f"confidence {name}", ".0%")]
        ]
        rows.append(
            (
                model(answer.model),
                expected,
                confidence,
                FigureText(", ".join(behind), *behind),
                simulation,
                FigureText(f"{labels}{_count(answer)}", labels),
                figure_text(entry, "reference", ".1%"),
            )
        )
    head = (
        "Model",
        "Expected accuracy, 95% interval",
        "From confidence",
        "By method",
        "By simulation",
        "From labels",
        "On the reference",
    )
    empty = {column for column in range(3, 6) if not any(row[column] for row in rows)}
    shown = [column for column in range(len(head)) if column not in empty]
    table = Table(
        tuple(head[column] for column in shown),
        [tuple(row[column] for column in shown) for row in rows],
    )
    return Titled("Expected accuracy", table)


def _count(answer: ExpectedAccuracy) -> str:
    """How many of the labelled images are correct, after a comma; "" without any."""
    if answer.labels is None or not answer.labelled:
        return ""
    correct = answer.labels.parts.get("labels", answer.labels.value) * answer.labelled
    return f", {correct:.0f} of {answer.labelled} correct"


def _statistics(match: Match) -> Chart:
    """The statistics that differ most between production and reference."""
    rows = sorted(match.statistics, key=lambda row: -abs(row["production"] - row["reference"]))
    rows = [
        {**row, **{side: row[side] - row["reference"] for side in ("production", "simulation")}}
        for row in rows[:_STATISTICS]
    ]
    values = ", ".join(
        f"{row['statistic']} {row['production']:+.1f} ({row['simulation']:+.1f})" for row in rows
    )
    return Chart(
        "Statistics that differ most",
        statistics_that_differ(rows),
        f"Difference of your images from the reference, in deviations (simulation): {values}.",
        "In standard deviations of images. Dot inside its ring: explained.",
    )


def _files(match: Match) -> Titled:
    rows = []
    for row in match.files:
        record = PROPERTIES[row["property"]]
        values = (
            f"{row[side]:{record.form}} ({row[f'{side}_images']})" if row[f"{side}_images"] else ""
            for side in ("production", "reference")
        )
        rows.append((record.label, *values))
    head = ("Median (files)", "Your images", "Reference")
    return Titled("Facts from the files, not used by the estimate", Table(head, rows))


def _pairs(match: Match) -> Iterator[Case]:
    for number, (production, simulation) in enumerate(match.pairs, 1):
        shots = (
            Shot(production, "production", f"production image {number}"),
            Shot(simulation, "reference as simulated", f"simulation {number}"),
        )
        yield Case(f"Pair {number}", shots, None, [])


def _change_label(name: str) -> str:
    return "The share of affected images" if name == SHARE else REGISTRY[name].label


def changed(strengths: Sequence[MatchChange], accuracies: Sequence[MatchChange]) -> list[str]:
    """Changes since an earlier match, in sentences."""
    parts = [
        f"{_change_label(change.name)} moved from {change.before:.2f} to {change.after:.2f}"
        + ("." if change.significant else " (not significant).")
        for change in strengths
    ]
    parts += [
        f"{model(change.name)}: {share(change.before, 0)} before, {share(change.after, 0)} now"
        + ("." if change.significant else " (not significant).")
        for change in accuracies
    ]
    return parts or ["Nothing to compare: neither match has a perturbation or an accuracy."]
