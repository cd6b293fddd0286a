"""The ranking of models by any rate, their accuracy and calibration, and the corruption error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from robustness import models, statistics
from robustness.base.text import in_sentence, points
from robustness.measure.condition import perturbation_label
from robustness.report import charts, tables
from robustness.report.blocks import (
    COMPARE,
    LABELS,
    PREDICTED_CLASSES,
    Block,
    Chart,
    Chooser,
    Columns,
    Question,
    Text,
    Titled,
    model_label,
)
from robustness.report.tables import (
    LABELLED,
    Column,
    Entry,
    Table,
    figure,
    interval,
    label,
    points_lost,
    rate,
    with_interval,
)
from robustness.statistics import Figures
from robustness.statistics.study import ALEXNET_ERRORS

_MEANING = {
    "consistency": (
        "Consistency: share of perturbed images with the prediction of the original; under attack, "
        "of those with a prediction to break."
    ),
    "perturbed_accuracy": "Perturbed accuracy: share of perturbed images predicted correctly.",
    "robust_accuracy": (
        "Robust accuracy: share of labelled images that stay correct under every attack, averaged "
        "over epsilons and norms."
    ),
}


def _ranked(figures: Figures, quantity: str) -> list[Block]:
    ranked = figures.ranking(quantity)
    pairs = figures.pairs(quantity)
    title = charts.quantity_title(quantity, figures.score)
    chart = Chart(
        title,
        charts.ranking(ranked, quantity, title),
        f"{title} of each model with its 95% interval; the table below holds the numbers.",
    )
    meaning = _MEANING[quantity]
    if figures.score:
        meaning = f"{title}: mean {figures.score} of the perturbed images."
    note = Text(f"{meaning} {statistics.RANK_RULE}", statistics.INTERVAL_RULE)
    by_title = f"Models by {in_sentence(title)}"
    table = Titled(by_title, tables.ranking(ranked, quantity, figures.score))
    if not pairs:
        return [chart, note, table]
    rule = Text(statistics.TEST_SUMMARY, statistics.TEST_RULE)
    in_points = Titled("Differences in points", tables.pairs(pairs))
    return [chart, note, table, rule, in_points]


def _brief(figures: Figures) -> list[Titled | Text]:
    ranked = figures.ranking()
    pairs = figures.pairs()
    table = tables.ranking(ranked, figures.ranked_by, figures.score)
    brief: list[Titled | Text] = [Titled("Ranking", table)]
    if pairs:
        title = in_sentence(charts.quantity_title(pairs[0]["quantity"], figures.score))
        brief.append(Titled(f"Differences in {title}, in points", tables.pairs(pairs)))
        brief.append(Text(statistics.TEST_SUMMARY))
    if figures.robust_accuracy:
        robust = tables.robust_accuracy(figures.robust_accuracy)
        brief.append(Titled("Robust accuracy", robust))
    return brief


def _ranking_blocks(figures: Figures) -> list[Block]:
    def read(quantity: str) -> list[Block]:
        return _ranked(figures, quantity)

    chooser = Chooser(
        "Rank by",
        "rank_by",
        charts.titles(figures.quantities, figures.score),
        read,
        printed=[figures.ranked_by],
        first=figures.ranked_by,
    )
    return [chooser]


RANKING = Question(
    "ranking",
    "Ranking",
    _ranking_blocks,
    "which differences between models are significant",
    brief=_brief,
    tables=lambda figures: {"summary": figures.summary, "compare": figures.pairs()},
    view=COMPARE,
)


_CALIBRATION_NOTE = (
    f"ECE, expected calibration error: the mean distance from the diagonal in {statistics.BINS} "
    "bins of confidence. Perturbed: over all rows, where errors of two conditions can cancel; per "
    "condition: the mean over conditions. By chance: the ECE of a perfectly calibrated model on "
    "as few images. Overconfidence: mean confidence minus accuracy, in points. 95% intervals in "
    "parentheses. Confidence is the model's own top-1 probability, not rescaled where the "
    "probabilities of a quantised model do not sum to 1."
)


def _accuracy_blocks(figures: Figures) -> list[Block]:
    labelled = {
        entry["model"]: entry for entry in figures.summary if entry["clean_accuracy"] is not None
    }

    def reliability(name: str) -> list[Block]:
        bins = [entry for entry in figures.reliability if entry["model"] == name]
        if not bins:
            return []
        return [_reliability_chart(labelled[name], bins)]

    chooser = Chooser(
        "Reliability of",
        "reliability_of",
        {name: models.label(name) for name in labelled},
        reliability,
        printed=list(labelled),
        listed=True,
    )
    entries = list(labelled.values())
    return [
        Titled("Top-1 and top-5 accuracy", _accuracies(entries)),
        Titled("Expected calibration error (ECE)", _calibration(entries)),
        Columns([[chooser], [Text(_CALIBRATION_NOTE)]]),
    ]


def _reliability_chart(entry: Entry, bins: Sequence[Entry]) -> Chart:
    """Return the chart of the ``bins`` of a model; ``entry`` has its calibration errors."""
    before = with_interval(entry, "clean_ece", ".3f")
    after = with_interval(entry, "perturbed_ece", ".3f")
    return Chart(
        f"Reliability of {model_label(entry['model'])}",
        charts.reliability_diagram(bins),
        "Accuracy over confidence, original and perturbed. Expected calibration error: "
        f"{before} original, {after} perturbed.",
        "Below the diagonal: overconfident.",
    )


ACCURACY = Question(
    "accuracy",
    "Accuracy",
    _accuracy_blocks,
    "top-1, top-5 and calibration",
    needs=(LABELS, PREDICTED_CLASSES),
    view=COMPARE,
)


def _corruption_error_blocks(figures: Figures) -> list[Block]:
    """Return tables of errors relative to AlexNet; [] unless a corruption has all severities."""
    errors = figures.corruption_errors
    if not errors:
        return []
    meaning = (
        "100 is AlexNet's error; lower is better. Relative: the error added to that on the "
        "originals."
    )
    blocks: list[Block] = [Text(meaning)]
    for note, entries in charts.grouped(errors, "note").items():
        table = Titled("Corruption error (CE), 95% intervals", _corruption_errors(entries))
        blocks += [Text(f"{note}."), table]
    return [*blocks, *_published_errors([entry["model"] for entry in errors])]


def _published_errors(names: Sequence[str]) -> list[Block]:
    """Return the table of published errors of the models ``names`` and of all registered ones."""
    published = statistics.published(list(dict.fromkeys([*names, *models.REGISTRY.names])))
    columns: list[Column] = [
        ("Model", lambda row: models.label(row["model"])),
        ("mCE", figure("mce", ".1f")),
        ("Relative mCE", figure("relative_mce", ".1f")),
    ]
    table = Table.of(published, columns)
    blocks: list[Block] = [Titled("Published, on the JPEG files of ImageNet-C", table)]
    # The first is AlexNet, with which all are compared.
    sources = dict.fromkeys(row["source"] for row in published[1:])
    if sources:
        blocks.append(Text(f"Sources: {'; '.join(sources)}."))
    return blocks


CORRUPTION_ERRORS = Question(
    "corruption_errors",
    "ImageNet-C corruption error",
    _corruption_error_blocks,
    "beside published models",
    needs=(LABELS,),
    tables=lambda figures: {"corruption_errors": figures.corruption_errors},
    view=COMPARE,
)


def _accuracies(labelled: Sequence[Entry]) -> Table:
    """Return the table of accuracies; ``labelled`` are the entries of ``summary`` with labels."""
    columns: list[Column] = [
        ("Model", label()),
        LABELLED,
        ("Original top-1", figure("clean_accuracy", ".1%")),
        ("Perturbed top-1", figure("perturbed_accuracy", ".1%")),
        ("Accuracy lost, points", figure("drop", points_lost)),
        ("95% interval", partial(interval, name="drop", form=points_lost)),
        ("Relative loss", figure("relative_drop", ".1%")),
    ]
    if any(entry["clean_accuracy_top5"] is not None for entry in labelled):
        columns += [
            ("Original top-5", figure("clean_accuracy_top5", ".1%")),
            ("Perturbed top-5", figure("perturbed_accuracy_top5", ".1%")),
        ]
    return Table.of(labelled, columns)


def _calibration(labelled: Sequence[Entry]) -> Table:
    """Return the table of calibration errors; ``labelled`` are as for ``_accuracies``."""
    columns: list[Column] = [
        ("Model", label()),
        LABELLED,
        ("Original ECE", rate("clean_ece", ".3f")),
        ("By chance", figure("clean_ece_by_chance", ".3f")),
        ("Perturbed ECE", rate("perturbed_ece", ".3f")),
        ("Per condition", rate("condition_ece", ".3f")),
        ("By chance", figure("condition_ece_by_chance", ".3f")),
        ("Original overconfidence, points", rate("clean_overconfidence", points)),
        ("Perturbed overconfidence, points", rate("overconfidence", points)),
    ]
    return Table.of(labelled, columns)


def _corruption_errors(entries: Sequence[Entry]) -> Table:
    """Return the table of the CE of every corruption, in percent of the error of AlexNet.

    It begins with the means, and has a column for each of ``entries``.
    """
    corruptions = [error["corruption"] for error in entries[0]["corruptions"]]
    mean_title = f"Mean of {len(corruptions)} of {len(ALEXNET_ERRORS)} corruptions"
    means = [with_interval(entry, "mean_ce", ".1f") for entry in entries]
    relative_means = [with_interval(entry, "mean_relative_ce", ".1f") for entry in entries]
    rows = [[mean_title, *means], [f"{mean_title}, relative", *relative_means]]
    for index, corruption in enumerate(corruptions):
        errors = [entry["corruptions"][index] for entry in entries]
        cells = [with_interval(error, "ce", ".1f") for error in errors]
        rows.append([perturbation_label(corruption), *cells])
    labels = [models.label(entry["model"]) for entry in entries]
    return Table(["CE, in percent", *labels], rows)
