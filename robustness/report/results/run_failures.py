"""The sections of a run's report on where and why models fail, from ``runs.failures``."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness import models
from robustness.base.text import counted, visible
from robustness.charts import dataset
from robustness.charts.failures import slice_rates
from robustness.charts.tables import Column, Entry, Table, figure, with_interval
from robustness.evaluation.condition import perturbation_label, short
from robustness.pictures.properties import PROPERTIES
from robustness.report.content import Block, Chart, Section, Sortable, Text, Titled
from robustness.report.results import run_reasons
from robustness.report.wording import model
from robustness.runs.failures import Entries, Failures
from robustness.runs.selection import Chosen
from robustness.statistics.slices import SLICE_RULE

_SLICES, _NOT_WORSE = 10, 5
"""Slices that a chart and a file show, and how many if none is significantly worse."""
_ABOUT = "images with a property in common that do worse"


def sections(found: Failures) -> list[Section]:
    """All sections that have something to say."""
    further = (run_reasons.changes, run_reasons.agreement, run_reasons.confidence)
    return [slices(found), *(told for each in further if (told := each(found)) is not None)]


def tables(found: Failures) -> dict[str, Entries]:
    """The tables of the JSON report, by name."""
    return {
        "slices": found.slices,
        "changed_classes": found.changes,
        "class_groups": found.groups,
        "agreement": found.pairs,
        "majority": found.majority,
        "abstaining": found.confidence,
        "risk_coverage": found.risk_coverage,
    }


def slices(found: Failures) -> Section:
    """The subgroups of images where a model is significantly worse."""
    if not found.slices:
        why = found.unknown or ["Slices need at least 40 images, and a property that differs."]
        return Section("Slices", [Text(" ".join(why))], _ABOUT)
    title = dataset.QUANTITIES[found.quantity]
    worse = [entry for entry in found.slices if entry["worse"]]
    told = (
        f"{len(worse):,} of {counted(len(found.slices), 'slice')} significantly below the other "
        "images."
    )
    every = Sortable("All slices", lambda: _sortable(found.slices), ("Rate", "Other images"))
    shown = worse[:_SLICES] or found.slices[:_NOT_WORSE]
    chart = Chart(
        f"{title} in the {'significantly worse' if worse else 'lowest'} slices",
        slice_rates(shown, [f"{slice_title(e)},<br>{model(e['model'])}" for e in shown], title),
        f"{title} in each slice and on all other images; the table below holds the numbers.",
        link="slice",
    )
    table = Titled("Significantly worse" if worse else "Not significant", slice_table(shown))
    told = " ".join([told, *found.unknown])
    blocks: list[Block] = [Text(told, SLICE_RULE), chart, table, every]
    return Section("Slices", blocks, _ABOUT, link="slice")


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
    told = f"below {high}" if not low else f"{low} or more" if not high else f"{low} to {high}"
    return visible(f"{name} {told}")


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
    ("Difference in points", lambda entry: f"{100 * entry['difference']:+.1f}"),
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


def listed_cases(rows: Sequence[Entry]) -> Titled:
    """The cases of a selection as a table."""
    columns: list[Column] = [
        ("Image", lambda row: visible(row["image"])),
        ("Model", lambda row: model(row["model"])),
        ("Condition", lambda row: short(row["condition"])),
        ("True class", lambda row: visible(row["true_class"] or "")),
        ("Original", lambda row: visible(row["original_class"])),
        ("Perturbed", lambda row: visible(row["perturbed_class"])),
        ("Confidence", figure("probability", ".1%")),
    ]
    return Titled(counted(len(rows), "image"), Table.of(rows, columns))


def selected_title(chosen: Chosen) -> str:
    """A selection in words: what is chosen, in the order of its keys."""
    of = chosen.model
    parts = [
        model(of) if of else "",
        f"under {perturbation_label(chosen.perturbation)}" if chosen.perturbation else "",
        f"under {' or '.join(map(short, chosen.conditions))}" if chosen.conditions else "",
        *dict.fromkeys(models.class_name(name, index) for name, index in chosen.classes),
        *(property_title(column, value) for column, value in chosen.slices),
        _became(chosen),
        f"fails where {model(chosen.against)} does not" if chosen.against else "",
        counted(len(chosen.positions), "chosen image") if chosen.positions else "",
    ]
    return visible(", ".join(part for part in parts if part) or "All images")


def _became(chosen: Chosen) -> str:
    if chosen.became is None:
        return ""
    before, after = (
        models.class_name(chosen.model, index) if chosen.model else str(index)
        for index in chosen.became
    )
    return f"{before} became {after}"
