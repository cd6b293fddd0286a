"""What changed between two runs: sentences and tables of a page and ``runs compare``.

``entries`` are those of ``entries_of`` that know ``quantity``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from robustness import statistics
from robustness.base.text import FigureText, counted, figure_text, points
from robustness.charts import run_map
from robustness.charts.run_results import QUANTITIES
from robustness.charts.tables import Column, Entry, Table, figure, interval
from robustness.evaluation.condition import perturbation_label, setting
from robustness.report.blocks import Text, Titled
from robustness.report.wording import MODEL, model
from robustness.statistics.differences import OPEN, said
from robustness.statistics.summaries import MOST_UNLABELLED

if TYPE_CHECKING:
    from robustness.runs import Comparison


CONDITION: Sequence[Column] = (
    ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
    ("Strength", lambda entry: setting(entry["condition"])),
)


def figures(quantity: str) -> Sequence[Column]:
    """The columns with both rates, their difference and its verdict."""
    return (
        ("Images", figure(f"{quantity}_images", ",")),
        ("Baseline", figure(f"{quantity}_a", ".1%")),
        ("This run", figure(f"{quantity}_b", ".1%")),
        ("Change, points", figure(f"{quantity}_difference", points)),
        ("95% interval", lambda entry: _interval(entry, quantity) or "none"),
        ("Verdict", lambda entry: said(entry[f"{quantity}_verdict"])),
    )


def sentence(entry: Entry, quantity: str) -> str:
    """The change of one model over all conditions."""
    what = f"{model(entry['model'])}: {QUANTITIES[quantity].lower()}"
    before, after = (figure_text(entry, f"{quantity}_{side}", ".1%") for side in "ab")
    if not entry[f"{quantity}_moved"]:
        return FigureText(f"{what} unchanged, {after}.", after)
    by = figure_text(entry, f"{quantity}_difference", points)
    bounds = _interval(entry, quantity)
    verdict = said(entry[f"{quantity}_verdict"])
    return FigureText(
        f"{what} {before} → {after} ({by} points{bounds and f', {bounds}'}), {verdict}.",
        *(before, after, by, bounds),
    )


def entries_of(comparison: Comparison) -> list[dict[str, Any]]:
    """The differences of ``comparison``, each with the runs that it is between."""
    runs = {"baseline": comparison.baseline.id, "run": comparison.other.id}
    return [{**entry, **runs} for entry in comparison.differences]


def changes(entries: Sequence[Entry], quantity: str) -> list[run_map.ShareChange]:
    """The changes of each model under each condition of ``entries``, for a map."""
    return [
        run_map.ShareChange(
            entry["model"],
            entry["condition"],
            before=entry[f"{quantity}_a"],
            after=entry[f"{quantity}_b"],
            low=entry[f"{quantity}_difference_low"],
            high=entry[f"{quantity}_difference_high"],
            significant=entry[f"{quantity}_verdict"] != OPEN,
            n=entry[f"{quantity}_images"],
            key=key(entry),
            runs=(entry.get("baseline", ""), entry.get("run", "")),
        )
        for entry in entries
        if entry["condition"] is not None and entry[f"{quantity}_difference"] is not None
    ]


def quantity_of(entry: Entry) -> str:
    """What page and command line show of ``entry``: what the answer of a run shows.

    It is robust accuracy for attacks on labelled images, else accuracy where enough images have a
    label, else consistency.
    """
    labelled = entry["perturbed_accuracy_images"] >= (1 - MOST_UNLABELLED) * entry["n_images"]
    if entry["judged_by"] != "consistency" or not labelled:
        return str(entry["judged_by"])
    return "perturbed_accuracy"


def key(entry: Entry) -> str:
    """What identifies the cell of ``entry`` in a map."""
    return json.dumps([entry["model"], entry["condition"]])


def blocks(comparison: Comparison) -> Iterator[Text | Titled]:
    """The comparison as the command line prints it, each condition by its own quantity."""
    images = counted(comparison.images, "shared image")
    yield Text(f"{comparison.other.id} against {comparison.baseline.id}: {images}.")
    if comparison.rows is not None:
        yield Text(comparison.rows.sentence)
    for text in comparison.notes:
        yield Text(text)
    judged = [
        (quantity, entry)
        for entry in entries_of(comparison)
        if entry[f"{(quantity := quantity_of(entry))}_difference"] is not None
    ]
    for quantity, entry in judged:
        if entry["condition"] is None:
            yield Text(sentence(entry, quantity))
    for quantity in dict.fromkeys(quantity for quantity, _ in judged):
        mine = [entry for name, entry in judged if name == quantity]
        overall = [entry for entry in mine if entry["condition"] is None]
        by_condition = [entry for entry in mine if entry["condition"] is not None]
        label, columns = QUANTITIES[quantity], figures(quantity)
        if overall:
            yield Titled(label, Table.of(overall, [MODEL, *columns]))
        if by_condition:
            table = Table.of(by_condition, [MODEL, *CONDITION, *columns])
            yield Titled(f"{label} by condition", table)
    if judged:
        yield Text(statistics.TEST_SUMMARY)


def _interval(entry: Entry, quantity: str) -> str:
    return interval(entry, f"{quantity}_difference", points, "")
