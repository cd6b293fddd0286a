"""The answer of a match in sentences and blocks, for pages, files and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustness.base.text import counted, figure_text, in_sentence, join_names, points, share
from robustness.images.properties import PROPERTIES
from robustness.matching import (
    SHARE,
    ExpectedAccuracy,
    Match,
    MatchChange,
    MatchedPerturbation,
    forecast,
)
from robustness.perturbations import REGISTRY
from robustness.report import harm, maps
from robustness.report.blocks import (
    MODEL,
    Case,
    Cases,
    Chart,
    Map,
    Printed,
    Shot,
    Text,
    Titled,
    model,
)
from robustness.report.charts import expected_accuracies, statistics_that_differ
from robustness.report.tables import (
    Column,
    Entry,
    Table,
    figure,
    flat,
    in_brackets,
    rate,
    with_interval,
)
from robustness.statistics import Figures

_STATISTICS = 12
_TOO = {"darkness": "dark", "exposure": "bright"}


def sentences(match: Match) -> list[str]:
    """The answer, shortest first."""
    return [*_cause(match), *_accuracy(match), *_cautions(match)]


def _cause(match: Match) -> Iterator[str]:
    parts = match.perturbations
    causes = join_names([_described(part) for part in parts], len(parts)) if parts else ""
    if not match.searched:
        pass
    elif not match.different:
        yield "No difference found between your images and the reference."
    elif not match.matched:
        names = join_names(match.unexplained, len(match.unexplained))
        if parts:
            yield (
                f"The cause is unknown: nearest is {causes}, but your images still differ in "
                f"{names}."
            )
        else:
            yield f"The cause is unknown: your images differ from the reference in {names}."
    elif parts:
        who = "Your images" if match.share == 1 else f"{share(match.share, 0)} of your images"
        if len(parts) == 1 and parts[0].perturbation in _TOO:  # of light: in plain words
            record = REGISTRY[parts[0].perturbation]
            strengths = parts[0].strength, parts[0].low, parts[0].high
            at, low, high = (f"{abs(record.value_at(strength)):.3g}" for strength in strengths)
            yield f"{who} are {at} {record.unit} too {_TOO[record.name]} ({low} to {high})."
        else:
            yield f"{who} look like the reference with {causes}."
    if match.matched and parts and not match.share_decided:
        yield "The effect is too weak to tell whether all of your images are affected."
    for part in parts:
        if part.group:
            others = [
                f"{in_sentence(REGISTRY[name].label)} ({REGISTRY[name].value_text(strength)})"
                for name, strength in part.group.items()
            ]
            label = REGISTRY[part.perturbation].label
            yield f"{label} fits as well as {join_names(others, len(others))}."


def _accuracy(match: Match) -> Iterator[str]:
    answers = match.expected_accuracy
    texts: list[str] = []
    sources = [name for name in ("confidence", "labels") if any(getattr(a, name) for a in answers)]
    for entry in map(_entry, answers):
        value = figure_text(entry, "expected_accuracy", ".0%")
        bounds = in_brackets(entry, "expected_accuracy", lambda end: points(end, ".0f"))
        texts.append(f"{model(entry['model'])} {value}{bounds}")
    if texts:
        yield f"Accuracy to expect, from {' and '.join(sources)}: {', '.join(texts)}."
    if match.no_accuracy:
        yield match.no_accuracy
    for count in dict.fromkeys(match.reference_labels.values()):
        if count < match.reference_images and any(match.reference_labels.values()):
            names = [model(name) for name, own in match.reference_labels.items() if own == count]
            verb = "has" if count == 1 else "have"
            yield (
                f"{count} of {counted(match.reference_images, 'reference image')} {verb} a class "
                f"of {join_names(names, len(names))}."
            )
    for answer in answers:
        if answer.disagreement:
            yield (
                f"{model(answer.model)}: {answer.disagreement} disagree by more than their "
                "intervals."
            )


def _cautions(match: Match) -> Iterator[str]:
    if match.other_content:
        labelled = any(answer.labelled for answer in match.expected_accuracy)
        advice = "" if labelled else " Label some of your images."
        yield f"Your images show other content than the reference.{advice}"
    if match.copies:
        verb = "is a copy" if match.copies == 1 else "are copies"
        yield f"{counted(match.copies, 'image')} {verb} of others; copies count once."
    if match.skipped:
        yield f"{counted(match.skipped, 'image')} could not be read."


def _entry(answer: ExpectedAccuracy) -> dict[str, Any]:
    """The accuracies of a model: the expected one, and the estimates behind it."""
    entry = flat({"model": answer.model}, "expected_accuracy", vars(answer.best))
    for name in ("confidence", "labels"):
        if estimate := getattr(answer, name):
            entry = flat(entry, name, vars(estimate))
            entry |= {f"{name} {method}": value for method, value in estimate.parts.items()}
    return {**entry, "labelled": answer.labelled, "reference": answer.reference}


def _described(part: MatchedPerturbation) -> str:
    record = REGISTRY[part.perturbation]
    wording = record.wording or f"{{value}} {record.unit}"
    before = wording.partition("{")[0].rpartition(" ")[0]
    after = wording.rpartition("}")[2]
    low, high = (  # as in "noise 10% (4% to 15%)"
        record.value_text(end).removeprefix(f"{before} ").removesuffix(after)
        for end in (part.low, part.high)
    )
    return f"{in_sentence(record.label)}: {part.value} ({low} to {high})"


def camera_map(match: Match, figures: Figures | None = None) -> Map:
    """The strength of the camera on the row of each perturbation that ``match`` names.

    ``figures`` are those of a run of the reference, whose shares the rows then have.
    """
    spans = {
        part.perturbation: maps.Span(
            part.strength,
            part.low,
            part.high,
            f"{part.value}, strength {part.strength:.2f} ({part.low:.2f} to {part.high:.2f})",
        )
        for part in match.perturbations
    }
    note = "Dot: your camera, with its 95% interval."
    if figures is not None:
        note += f" {harm.map_note(figures)}"
    return Map("Your camera", maps.camera_map(spans, figures), note)


def blocks(match: Match, figures: Figures | None = None) -> list[Printed]:
    """The accuracy to expect, pairs of images, then what they rest on, as charts and tables.

    ``figures`` are as for ``camera_map``.
    """
    parts: list[Printed] = []
    if match.expected_accuracy:
        parts.append(_expected(match))
    if match.pairs:
        title = "First: yours. Second: the reference, perturbed to match."
        parts.append(Cases(title, lambda: _pairs(match)))
    if match.perturbations:
        parts += [camera_map(match, figures), _perturbations(match)]
    if match.expected_accuracy:
        parts.append(_accuracies(match))
    if match.different and match.statistics:
        parts.append(_statistics(match))
    if match.files:
        parts.append(_files(match))
    parts.append(
        Text(
            f"{match.images:,} of your images, "
            f"{counted(match.reference_images, 'reference image')}; "
            f"{match.framing.text}; {counted(len(match.conditions) or 'no', 'composition')}."
        )
    )
    return parts


def forecasts(match: Match) -> str:
    """How wide the widest interval is, and will be after more labels, as a sentence."""
    answers = {answer.model: answer for answer in match.expected_accuracy}
    spans: dict[str, dict[int, float]] = {}
    for name in match.settings.models:
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
    texts: list[str] = []
    for count, width in spans[widest].items():
        when = f"after {count}"
        if widest in answers and not texts:
            when = f"now ({count} labelled)" if count else "now"
        texts.append(f"{points(width, '.0f')} {when}")
    which = "Interval" if len(spans) == 1 else "Widest interval"
    return (
        f"{which}, that of {model(widest)}, in points to either side: {', '.join(texts)} labelled "
        "images."
    )


def _perturbations(match: Match) -> Titled:
    columns: list[Column] = [
        ("Perturbation", lambda part: REGISTRY[part.perturbation].label),
        ("Value", lambda part: part.value),
        (
            "Strength, 95% interval",
            lambda part: f"{part.strength:.2f} ({part.low:.2f} to {part.high:.2f})",
        ),
        ("Images", lambda part: share(part.share, 0) if match.share_decided else "undecided"),
        ("ImageNet-C", lambda part: "" if part.severity is None else str(part.severity)),
        ("Alternatives", lambda part: ", ".join(REGISTRY[name].label for name in part.group)),
    ]
    return Titled("Perturbations", Table.of_filled(match.perturbations, columns))


def _expected(match: Match) -> Chart:
    """The accuracy to expect of each model, beside that on the reference."""
    entries = [_entry(answer) for answer in match.expected_accuracy]
    texts = []
    for entry in entries:
        expected = with_interval(entry, "expected_accuracy", ".0%")
        reference = figure_text(entry, "reference", ".0%")
        against = f", {reference} on the reference" if reference else ""
        texts.append(f"{model(entry['model'])}: {expected}{against}")
    return Chart(
        "Accuracy to expect on your images",
        expected_accuracies(entries, [model(entry["model"]) for entry in entries]),
        f"{'; '.join(texts)}.",
    )


def _accuracies(match: Match) -> Titled:
    """The headline of each model, and the estimates behind it."""

    def methods(entry: Entry) -> str:
        names = [name for name in entry if name.startswith("confidence ")]
        texts = [(name, figure_text(entry, name, ".0%")) for name in names]
        parts = [f"{name.partition(' ')[2]} {text}" for name, text in texts]
        return ", ".join(parts)

    def labels(entry: Entry) -> str:
        text = with_interval(entry, "labels")
        labelled = entry["labelled"]
        if not text or not labelled:
            return text
        correct = entry.get("labels labels", entry["labels"]) * labelled
        return f"{text}, {correct:.0f} of {labelled} correct"

    entries = [_entry(answer) for answer in match.expected_accuracy]

    def confidence(entry: Entry) -> str:
        """Empty without labels: it is then the accuracy to expect."""
        return with_interval(entry, "confidence") if entry["labelled"] else ""

    columns: list[Column] = [
        MODEL,
        ("Expected accuracy, 95% interval", rate("expected_accuracy")),
        ("From confidence", confidence),
        ("By method", methods),
        ("From labels", labels),
        ("On the reference", figure("reference", ".1%")),
    ]
    return Titled("Expected accuracy", Table.of_filled(entries, columns))


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
        "In standard deviations. Dot inside ring: the simulation explains it.",
    )


def _files(match: Match) -> Titled:
    def median(row: Mapping[str, Any], side: str) -> str:
        count = row[f"{side}_images"]
        form = PROPERTIES[row["property"]].form
        return f"{row[side]:{form}} ({count})" if count else ""

    columns: list[Column] = [
        ("Median (files)", lambda row: PROPERTIES[row["property"]].label),
        ("Your images", lambda row: median(row, "production")),
        ("Reference", lambda row: median(row, "reference")),
    ]
    title = "Facts from the files, not used by the estimate"
    return Titled(title, Table.of(match.files, columns))


def _pairs(match: Match) -> Iterator[Case]:
    for number, (production, simulation) in enumerate(match.pairs, 1):
        shots = (
            Shot(production, "production", f"production image {number}"),
            Shot(simulation, "reference as simulated", f"simulation {number}"),
        )
        yield Case(f"Pair {number}", shots, None, [])


def change_sentences(
    strengths: Sequence[MatchChange], accuracies: Sequence[MatchChange]
) -> list[str]:
    """Changes since an earlier match, in sentences."""
    parts = []
    for change in strengths:
        is_share = change.name == SHARE
        label = "The share of affected images" if is_share else REGISTRY[change.name].label
        parts.append(f"{label} moved from {change.before:.2f} to {change.after:.2f}")
    parts += [
        f"{model(change.name)}: {share(change.before, 0)} before, {share(change.after, 0)} now"
        for change in accuracies
    ]
    if not parts:
        return ["Nothing to compare: neither match has a perturbation or an accuracy."]
    return [
        text + ("." if change.significant else " (not significant).")
        for text, change in zip(parts, [*strengths, *accuracies], strict=True)
    ]
