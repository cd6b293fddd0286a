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
from robustness.matching.saving import FileFacts
from robustness.perturbations import REGISTRY
from robustness.report import differences, harm, maps
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
    model_label,
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
    """Return the sentences on a match: files, cause, the accuracy to expect, and cautions."""
    return [*_saving(match), *_cause(match), *_accuracy(match), *_cautions(match)]


def headline(match: Match) -> tuple[str, list[str]]:
    """Return what is said first of ``match``, and the other sentences.

    How the files were saved stands before the first of the others.
    """
    told = sentences(match)
    count = 1 if match.saving is None else 2
    return " ".join(told[:count]), told[count:]


def _saving(match: Match) -> Iterator[str]:
    """Yield the sentence on how the files were saved, if that makes the images differ."""
    saving = match.saving
    if saving is None:
        return
    yours = _files_text(saving.production)
    theirs = _files_text(saving.reference)
    yield f"Your files are {yours}, the reference's are {theirs}."


def _files_text(facts: FileFacts) -> str:
    """Return how files were saved, such as "JPEG of quality 38 at 400 px"."""
    if facts.quality is None:
        return "lossless" if facts.lossless else "not JPEG"
    return f"JPEG of quality {_range(facts.quality)} at {_range(facts.short_side)} px"


def _range(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low}" if low == high else f"{low} to {high}"


def _cause(match: Match) -> Iterator[str]:
    """Yield the sentences on what makes the images differ, if it was searched for."""
    parts = match.perturbations
    causes = join_names([_described(part) for part in parts], len(parts))
    labels = [in_sentence(REGISTRY[part.perturbation].label) for part in parts]
    names = join_names(labels, len(labels))
    if match.searched:
        if not match.different:
            if match.saving:
                yield "No difference found beyond how the files were saved."
            else:
                yield "No difference found between your images and the reference."
        elif not match.matched:
            left = {row["statistic"]: row["left"] for row in match.statistics}
            unlike = differences.phrases(match.unexplained, left)
            if parts:
                yield f"The cause is unknown; most like {names}, but not only that."
                yield f"Nearest is {causes}. Beyond that, {join_names(unlike, len(unlike))}."
            else:
                yield "The cause is unknown."
                yield f"Compared with the reference, {join_names(unlike, len(unlike))}."
        elif parts:
            yield _explanation(match, causes)
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


def _explanation(match: Match, causes: str) -> str:
    """Return the sentence on the ``causes`` that explain the images.

    Light alone is told in plain words: the images are too dark or too bright.
    """
    images = "Your images"
    if match.share != 1:
        images = f"{share(match.share, 0)} of your images"
    first = match.perturbations[0]
    if len(match.perturbations) > 1 or first.perturbation not in _TOO:
        return f"{images} look like the reference with {causes}."
    record = REGISTRY[first.perturbation]

    def amount(strength: float) -> str:
        return f"{abs(record.value_at(strength)):.3g}"

    value = f"{amount(first.strength)} {record.unit}"
    interval = f"{amount(first.low)} to {amount(first.high)}"
    return f"{images} are {value} too {_TOO[record.name]} ({interval})."


def _accuracy(match: Match) -> Iterator[str]:
    """Yield the sentences on the accuracy to expect, and on what it is based on."""
    answers = match.expected_accuracy
    if answers:
        texts = []
        for entry in map(_entry, answers):
            value = figure_text(entry, "expected_accuracy", ".0%")
            bounds = in_brackets(entry, "expected_accuracy", lambda end: points(end, ".0f"))
            texts.append(f"{model_label(entry['model'])} {value}{bounds}")
        sources = []
        for name in ("confidence", "labels"):
            if any(getattr(answer, name) for answer in answers):
                sources.append(name)
        yield f"Accuracy to expect, from {' and '.join(sources)}: {', '.join(texts)}."
    if match.no_accuracy:
        yield match.no_accuracy
    yield from _partly_labelled(match)
    for answer in answers:
        if answer.disagreement:
            yield (
                f"{model_label(answer.model)}: {answer.disagreement} disagree by more than their "
                "intervals."
            )


def _partly_labelled(match: Match) -> Iterator[str]:
    """Yield a sentence on models with whose classes only some reference images are labelled."""
    labels_of_count: dict[int, list[str]] = {}
    for name, count in match.reference_labels.items():
        labels_of_count.setdefault(count, []).append(model_label(name))
    # The reference has no labels at all.
    if not any(labels_of_count):
        return
    for count, labels in labels_of_count.items():
        if count < match.reference_images:
            images = counted(match.reference_images, "reference image")
            verb = "has" if count == 1 else "have"
            yield f"{count} of {images} {verb} a class of {join_names(labels, len(labels))}."


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
    """Return the expected accuracy of a model and the estimates behind it, as an entry of a table.

    The estimate of each method has its name after that of the estimate, as in "labels labels".
    """
    entry = flat({"model": answer.model}, "expected_accuracy", vars(answer.best))
    for name in ("confidence", "labels"):
        estimate = getattr(answer, name)
        if estimate is None:
            continue
        entry = flat(entry, name, vars(estimate))
        for method, value in estimate.parts.items():
            entry[f"{name} {method}"] = value
    return {**entry, "labelled": answer.labelled, "reference": answer.reference}


def _described(part: MatchedPerturbation) -> str:
    """Return the label of a perturbation with its value and interval, "noise: 10% (4% to 15%)"."""
    record = REGISTRY[part.perturbation]
    wording = record.wording or f"{{value}} {record.unit}"
    # The interval has the numbers alone, without the words around them.
    words_before = wording.partition("{")[0].rpartition(" ")[0]
    words_after = wording.rpartition("}")[2]

    def number_text(strength: float) -> str:
        text = record.value_text(strength)
        return text.removeprefix(f"{words_before} ").removesuffix(words_after)

    # A value may fall with the strength, such as the quality of a JPEG.
    low, high = sorted((part.low, part.high), key=record.value_at)
    interval = f"{number_text(low)} to {number_text(high)}"
    return f"{in_sentence(record.label)}: {part.value} ({interval})"


def camera_map(match: Match, figures: Figures | None = None) -> Map:
    """Return the map of the strengths of a camera, with a row for each perturbation of ``match``.

    With the ``figures`` of a run of the reference, the rows have its shares.
    """
    spans = {}
    for part in match.perturbations:
        text = f"{part.value}, strength {part.strength:.2f} ({part.low:.2f} to {part.high:.2f})"
        spans[part.perturbation] = maps.Span(part.strength, part.low, part.high, text)
    note = "Dot: your camera, with its 95% interval."
    if figures is not None:
        note += f" {harm.map_note(figures)}"
    return Map("Your camera", maps.camera_map(spans, figures), note)


def blocks(match: Match, figures: Figures | None = None) -> list[Printed]:
    """Return the accuracy to expect, pairs of images, and what the match is based on.

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
    """Return the sentence on how wide the widest interval is, and will be after more labels.

    Returns "" without models.
    """
    answers = {answer.model: answer for answer in match.expected_accuracy}
    widths_of_model = {name: _widths(match, answers.get(name)) for name in match.settings.models}
    if not widths_of_model:
        return ""

    def first_width(name: str) -> float:
        return next(iter(widths_of_model[name].values()))

    widest = max(widths_of_model, key=first_width)
    texts: list[str] = []
    for count, width in widths_of_model[widest].items():
        # The first width of a model with an answer is that of today.
        is_today = widest in answers and not texts
        if not is_today:
            when = f"after {count}"
        elif count:
            when = f"now ({count} labelled)"
        else:
            when = "now"
        texts.append(f"{points(width, '.0f')} {when}")
    subject = "Interval" if len(widths_of_model) == 1 else "Widest interval"
    return (
        f"{subject}, that of {model_label(widest)}, in points to either side: {', '.join(texts)} "
        "labelled images."
    )


def _widths(match: Match, answer: ExpectedAccuracy | None) -> dict[int, float]:
    """Return half of the width of a model's interval by the number of labelled images.

    With an ``answer`` the first width is that of today, and more labels never widen it.
    """
    if answer is None:
        return forecast(None, match.images)
    today = (answer.high - answer.low) / 2
    widths = {answer.labelled: today}
    for count, width in forecast(answer.confidence, match.images).items():
        if count > answer.labelled:
            widths[count] = min(today, width)
    return widths


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
    """Return the chart of the accuracy to expect of each model, and of that on the reference."""
    entries = [_entry(answer) for answer in match.expected_accuracy]
    texts = []
    for entry in entries:
        expected = with_interval(entry, "expected_accuracy", ".0%")
        reference = figure_text(entry, "reference", ".0%")
        against = f", {reference} on the reference" if reference else ""
        texts.append(f"{model_label(entry['model'])}: {expected}{against}")
    return Chart(
        "Accuracy to expect on your images",
        expected_accuracies(entries, [model_label(entry["model"]) for entry in entries]),
        f"{'; '.join(texts)}.",
    )


def _accuracies(match: Match) -> Titled:
    """Return the table of the accuracy to expect of each model, and the estimates behind it."""
    entries = [_entry(answer) for answer in match.expected_accuracy]
    columns: list[Column] = [
        MODEL,
        ("Expected accuracy, 95% interval", rate("expected_accuracy")),
        ("From confidence", _from_confidence),
        ("By method", _by_method),
        ("From labels", _from_labels),
        ("On the reference", figure("reference", ".1%")),
    ]
    return Titled("Expected accuracy", Table.of_filled(entries, columns))


def _from_confidence(entry: Entry) -> str:
    # Without labels it is the expected accuracy itself.
    if not entry["labelled"]:
        return ""
    return with_interval(entry, "confidence")


def _by_method(entry: Entry) -> str:
    """Return the estimates of the methods that use confidence, each with its name."""
    prefix = "confidence "
    names = [name for name in entry if name.startswith(prefix)]
    texts = [f"{name.removeprefix(prefix)} {figure_text(entry, name, '.0%')}" for name in names]
    return ", ".join(texts)


def _from_labels(entry: Entry) -> str:
    text = with_interval(entry, "labels")
    labelled = entry["labelled"]
    if not text or not labelled:
        return text
    correct = entry.get("labels labels", entry["labels"]) * labelled
    return f"{text}, {correct:.0f} of {labelled} correct"


def _statistics(match: Match) -> Chart:
    """Return the chart of the statistics that differ most between production and reference."""
    rows = []
    for row in match.statistics:
        production = row["production"] - row["reference"]
        simulation = row["simulation"] - row["reference"]
        name = f"{differences.trait_of(row['statistic'])} ({row['statistic']})"
        rows.append({**row, "statistic": name, "production": production, "simulation": simulation})
    rows.sort(key=lambda row: abs(row["production"]), reverse=True)
    rows = rows[:_STATISTICS]
    values = ", ".join(
        f"{row['statistic']} {row['production']:+.1f} ({row['simulation']:+.1f})" for row in rows
    )
    return Chart(
        "What differs most",
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
    title = "Facts from the files"
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
    """Return sentences on the changes since an earlier match."""
    if not strengths and not accuracies:
        return ["Nothing to compare: neither match has a perturbation or an accuracy."]
    sentences = []
    for change in strengths:
        label = "The share of affected images"
        if change.name != SHARE:
            label = REGISTRY[change.name].label
        text = f"{label} moved from {change.before:.2f} to {change.after:.2f}"
        sentences.append(_with_significance(text, change))
    for change in accuracies:
        before = share(change.before, 0)
        after = share(change.after, 0)
        text = f"{model_label(change.name)}: {before} before, {after} now"
        sentences.append(_with_significance(text, change))
    return sentences


def _with_significance(text: str, change: MatchChange) -> str:
    return f"{text}." if change.significant else f"{text} (not significant)."
