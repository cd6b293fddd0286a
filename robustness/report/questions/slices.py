"""The subgroups of images where a model does worse, and selections of images in words."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness.base.text import counted, points, visible
from robustness.charts import run_results
from robustness.charts.run_failures import slice_rates
from robustness.charts.tables import Column, Entry, Table, figure, with_interval
from robustness.pictures.properties import PROPERTIES
from robustness.report.blocks import Block, Chart, Sortable, Text, Titled
from robustness.report.questions.question import Question
from robustness.report.wording import model
from robustness.runs.failures import Failures
from robustness.statistics.slices import SLICE_RULE

_SLICES = 10
"""Slices that a chart and a file show."""


def _blocks(figures: Failures) -> list[Block]:
    if not figures.slices:
        why = figures.unknown or ["Slices need at least 40 images, and a property that differs."]
        return [Text(" ".join(why))]
    title = run_results.QUANTITIES[figures.quantity]
    worse = [entry for entry in figures.slices if entry["worse"]]
    if not worse:
        none = f"None of {counted(len(figures.slices), 'slice')} is significantly below the other"
        return [Text(" ".join([f"{none} images.", *figures.unknown]), SLICE_RULE)]
    worst = worse[:_SLICES]
    chart = Chart(
        f"{title} in the significantly worse slices",
        slice_rates(worst, [f"{slice_title(e)},<br>{model(e['model'])}" for e in worst], title),
        f"{title} in each slice and on all other images; the table below holds the numbers.",
        link="slice",
    )
    summary = (
        f"{len(worse):,} of {counted(len(figures.slices), 'slice')} significantly below the other "
        "images."
    )
    return [
        Text(" ".join([summary, *figures.unknown]), SLICE_RULE),
        chart,
        Titled("Significantly worse", slice_table(worst)),
        Sortable("All slices", lambda: _sortable(figures.slices), ("Rate", "Other images")),
    ]


def slice_table(entries: Sequence[Entry]) -> Table:
    """Entries of ``by_slice`` as a table."""
    return Table.of(entries, _SLICE)


def slice_title(entry: Entry) -> str:
    """A slice in words, such as "Brightness below 20%"."""
    return property_title(entry["column"], entry["value"])


def property_title(column: str, value: str) -> str:
    """A ``value`` of a ``column``, as ``statistics.slices`` writes it, in words."""
    name = property_name(column)
    low, dots, high = value.partition("..")
    if column in PROPERTIES and PROPERTIES[column].form.endswith("%"):
        low, high = _percent(low), _percent(high)
    if not dots:
        return visible(f"{name}: {low}")
    range_text = (
        f"below {high}" if not low else f"{low} or more" if not high else f"{low} to {high}"
    )
    return visible(f"{name} {range_text}")


def _percent(text: str) -> str:
    """``text``, a share, in percent without a loss of digits; another text as it is."""
    try:
        return f"{100 * float(text):.10g}%"
    except ValueError:
        return text


def property_name(column: str) -> str:
    """What people call a ``column`` of the properties."""
    return visible(PROPERTIES[column].label if column in PROPERTIES else column)


_SLICE: Sequence[Column] = (
    ("Slice", slice_title),
    ("Model", lambda entry: model(entry["model"])),
    ("Images", figure("n_images", ",")),
    ("Rate", lambda entry: with_interval(entry, "rate")),
    ("Other images", figure("rest", ".1%")),
    ("Difference in points", lambda entry: points(entry["difference"])),
    ("Corrected p", figure("p", ".3f")),
)


def _sortable(entries: Sequence[Entry]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Slice": slice_title(entry),
            "Model": model(entry["model"]),
            "Images": entry["n_images"],
            "Rate": entry["rate"],
            "Other images": entry["rest"],
            "Corrected p": f"{entry['p']:.3f}",
        }
        for entry in entries
    )


SLICES = Question(
    "slices",
    "Slices",
    _blocks,
    "images with a property in common that do worse",
    figures=lambda of: of.run.failures,
    link="slice",
    tables=lambda figures: {"slices": figures.slices},
    command="failures",
)
