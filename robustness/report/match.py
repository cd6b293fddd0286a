"""The answer of a match in sentences and tables, for terminal and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustness.base.text import counted
from robustness.charts.tables import Table
from robustness.matching import CONDITIONS, Match, MatchChange, MatchedPerturbation
from robustness.perturbations import REGISTRY
from robustness.report.blocks import Text, Titled
from robustness.report.wording import listed, model

_STATISTICS = 12


def sentences(match: Match) -> list[str]:
    """The answer, shortest first."""
    return list(_sentences(match))


def _sentences(match: Match) -> Iterator[str]:
    if not match.different:
        yield "No difference found between your images and the reference."
    elif match.perturbations:
        parts = [_described(part) for part in match.perturbations]
        yield f"Your images look like the reference with {listed(parts, len(parts))}."
    for part in match.perturbations:
        if part.group:
            others = [
                f"{REGISTRY[name].label.lower()} ({REGISTRY[name].value_text(strength)})"
                for name, strength in part.group.items()
            ]
            label = REGISTRY[part.perturbation].label
            yield f"{label} cannot be distinguished from {listed(others, len(others))}."
    if not match.matched:
        names = listed(match.unexplained, len(match.unexplained))
        yield (
            f"Not explained: {names}. No accuracy is expected, because the images differ in "
            "something else as well."
        )
    for answer in match.expected_accuracy:
        yield (
            f"{model(answer.model)} would be correct on {answer.value:.0%} "
            f"({answer.low:.0%} to {answer.high:.0%}; {answer.reference:.0%} on your reference), "
            "if nothing else differs."
        )
    if match.matched and not match.expected_accuracy:
        yield "No accuracy: the reference has no labels of the models, or no model was named."
    if match.skipped:
        yield f"{counted(match.skipped, 'image')} could not be read."


def _described(part: MatchedPerturbation) -> str:
    record = REGISTRY[part.perturbation]
    low, high = record.value_text(part.low), record.value_text(part.high)
    return f"{record.label.lower()}: {part.value} ({low} to {high})"


def blocks(match: Match) -> list[Text | Titled]:
    """Tables of the perturbations, the accuracies and the statistics that differ."""
    found: list[Text | Titled] = []
    if match.perturbations:
        rows = [
            (
                REGISTRY[part.perturbation].label,
                part.value,
                f"{part.strength:.2f} ({part.low:.2f} to {part.high:.2f})",
                "" if part.severity is None else str(part.severity),
                ", ".join(REGISTRY[name].label for name in part.group),
            )
            for part in match.perturbations
        ]
        head = ("Perturbation", "Value", "Strength, 95% interval", "ImageNet-C", "Or")
        found.append(Titled("Perturbations", Table(head, rows)))
    if match.expected_accuracy:
        accuracies = [
            (
                model(answer.model),
                f"{answer.value:.1%} ({answer.low:.1%} to {answer.high:.1%})",
                f"{answer.reference:.1%}",
            )
            for answer in match.expected_accuracy
        ]
        columns = ("Model", "Expected accuracy, 95% interval", "On the reference")
        found.append(Titled("Expected accuracy", Table(columns, accuracies)))
    if match.different:
        found.append(_statistics(match))
    found.append(
        Text(
            f"{counted(match.images, 'production image')}, "
            f"{counted(match.reference_images, 'reference image')}, {match.framing.text}; the "
            f"profile has {counted(len(match.conditions), 'condition')} of up to {CONDITIONS}."
        )
    )
    return found


def _statistics(match: Match) -> Titled:
    """The statistics that differ most between production and reference."""
    order = sorted(match.statistics, key=lambda row: -abs(row["production"] - row["reference"]))[
        :_STATISTICS
    ]
    rows = [
        (row["statistic"], *(f"{row[key]:+.2f}" for key in ("production", "simulation")))
        for row in order
    ]
    head = ("Statistic, minus the reference's", "Production", "Simulation")
    title = "Statistics that differ most, in deviations of images"
    return Titled(title, Table(head, rows), long=True)


def changed(strengths: Sequence[MatchChange], accuracies: Sequence[MatchChange]) -> list[str]:
    """What moved since an earlier match, in sentences."""
    parts = [
        f"{REGISTRY[change.name].label} moved from {change.before:.2f} to {change.after:.2f}"
        + ("." if change.significant else " (not significant).")
        for change in strengths
    ]
    parts += [
        f"{model(change.name)}: {change.before:.0%} before, {change.after:.0%} now"
        + ("." if change.significant else " (not significant).")
        for change in accuracies
    ]
    return parts or ["Nothing to compare: neither match has a perturbation or an accuracy."]
