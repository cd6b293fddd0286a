"""The map of a run: the share of images that each model withstands, by condition.

A share is of the images that are correct or, without labels, unchanged. Under attack it is of those
with a prediction to break. Intervals are 95%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from robustness import models
from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.text import format_figure, points, share
from robustness.charts.bands import BandMap, MapRow, Strip, Tick, Tile, place, ticks
from robustness.charts.run_results import forms, goodness, grouped, quantities
from robustness.charts.tables import Entry
from robustness.evaluation.condition import AttackCondition, readable, series, setting, short
from robustness.perturbations import REGISTRY, Perturbation
from robustness.runs.row_selection import Chosen
from robustness.statistics import Figures

ORIGINALS = "Originals"
HEAD = "Hardest first, by estimate"
LOSSES = "Largest loss first, by estimate"

_MOST = 100
"""Rows of a map, which a browser still draws at once; a profile or a plan may have thousands."""

_FULL = 0.3
"""The difference of shares from which a colour is as strong as can be."""
_PALE, _LEAST = 0.14, 0.4
"""Strengths of colour: of a difference that is not significant, and of the smallest that is."""


class MapCell(NamedTuple):
    """One figure of a model on ``n`` images, with its interval; ``value`` None if not measured.

    ``at`` is the strength, and ``title`` the condition, in words. ``conditions`` are those whose
    images fail there.
    """

    at: str
    title: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    conditions: tuple[str, ...] = ()

    def written(self, form: str) -> str:
        """The figure; "" if it was not measured."""
        return "" if self.value is None else format_figure(self.value, form)

    def interval(self, form: str) -> str:
        """The interval in parentheses after a space; "" without one."""
        if self.low is None or self.high is None:
            return ""
        return f" ({format_figure(self.low, form)} to {format_figure(self.high, form)})"


_OUTCOMES = {"perturbed_accuracy": " correct", "consistency": " unchanged"}


class Row(NamedTuple):
    """What differs in strength alone: the cells of each model, by growing strength."""

    label: str
    cells: Mapping[str, Sequence[MapCell]]


def quantity_of(figures: Figures) -> str:
    """What a map shows by default: accuracy or, without labels, consistency."""
    return "consistency" if figures.ranked_by == "consistency" else "perturbed_accuracy"


def rows(figures: Figures, quantity: str) -> list[Row]:
    """The rows of a map of ``quantity``, the hardest first; accuracies begin with the originals.

    ``quantity`` is one of ``run_results.quantities``. Conditions of strength 0 are left out, unless
    there are no others. Accuracy and consistency have attacks by norm, as robust accuracy does.
    """
    entries = [e for e in figures.by_perturbation if e.get(quantity) is not None]
    by_norm = quantity == quantity_of(figures)
    if by_norm:
        entries = [entry for entry in entries if entry["perturbation"] not in ATTACKS]
    active = {entry["series"] for entry in entries if entry["strength"] != 0}
    rows = []
    for label, mine in grouped(entries, "series").items():
        if active and label not in active:
            continue
        levels = {entry["condition"]: entry for entry in mine}
        order = sorted(levels, key=lambda text: levels[text]["strength"] or 0.0)
        by_cell = {(entry["model"], entry["condition"]): entry for entry in mine}
        cells = {
            model: [_cell(levels[text], by_cell.get((model, text)), quantity) for text in order]
            for model in grouped(mine, "model")
        }
        rows.append(Row(_row_label(label), cells))
    rows += _attacks(figures) if by_norm else []
    sign = 1.0 if goodness(np.array([0.0, 1.0]), quantity)[1] == 1 else -1.0
    hardness = []
    for row in rows:
        values = [c.value for cells in row.cells.values() for c in cells if c.value is not None]
        hardness.append(sign * float(np.mean(values)) if values else np.inf)
    rows = [rows[at] for at in np.argsort(hardness, kind="stable")]
    if quantity != "perturbed_accuracy":
        return rows
    originals = {
        entry["model"]: [
            MapCell("", "originals", *bounded(entry, "clean_accuracy"), entry["n_labelled"])
        ]
        for entry in figures.summary
        if entry["clean_accuracy"] is not None
    }
    return [Row(ORIGINALS, originals), *rows]


def _row_label(text: str) -> str:
    """``text``, such as the name of a profile, with a capital unless its first word has one."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].islower() else text


def bounded(entry: Entry, name: str) -> tuple[float | None, float | None, float | None]:
    """The figure ``name`` of ``entry`` with its bounds."""
    return entry[name], entry.get(f"{name}_low"), entry.get(f"{name}_high")


def _cell(level: Entry, entry: Entry | None, quantity: str) -> MapCell:
    """The cell of a model at ``level``, which ``entry`` measures."""
    text = str(level["condition"])
    severity = f" (severity {level['severity']})" if level["severity"] else ""
    at, title = setting(text), f"{short(text)}{severity}"
    if entry is None:
        return MapCell(at, title, None, None, None, 0)
    n = entry["n_images"] if entry["n_attacked"] is None else entry["n_attacked"]
    if "accuracy" in quantity:
        n = entry["n_labelled"]
    return MapCell(at, title, *bounded(entry, quantity), n, (text,))


def _attacks(figures: Figures) -> list[Row]:
    """A row a norm, of the images with a prediction to break."""
    attacks = [
        condition
        for text in grouped(figures.by_perturbation, "condition")
        if isinstance(condition := readable(str(text)), AttackCondition)
    ]

    def cell(entry: Entry) -> MapCell:
        left, high, low = (None if part is None else 1 - part for part in bounded(entry, "success"))
        specs = [each for each in attacks if each.spec.norm == entry["norm"]]
        size = next(e.spec.size_text for e in specs if e.spec.epsilon == entry["epsilon"])
        title = f"{NORMS[entry['norm']].label}, epsilon {size}"
        conditions = tuple(each.id for each in specs if each.spec.epsilon <= entry["epsilon"])
        return MapCell(size, title, left, low, high, entry["n_attacked"], conditions)

    rows = []
    for norm, entries in grouped(figures.robust_accuracy, "norm").items():
        cells = {
            model: [cell(entry) for entry in mine]
            for model, mine in grouped(entries, "model").items()
        }
        rows.append(Row(f"Attacks, {NORMS[norm].label}", cells))
    return rows


Marks = Mapping[tuple[str, str], tuple[str, str]]
"""By model and condition: a sign in the cell, and what it says."""


def run_map(
    figures: Figures, quantity: str = "", *, keyed: bool = False, marks: Marks | None = None
) -> BandMap:
    """The map of ``quantity`` (default: what the models are ranked by, as a share).

    Columns are in the order of the ranking. If ``keyed``, the key of a tile is the selection of its
    images, as ``Chosen.text``.
    """
    quantity = quantity or quantity_of(figures)
    names = [entry["model"] for entry in figures.summary]
    every = rows(figures, quantity)
    lines = every[:_MOST]
    head = HEAD if lines == every else f"The hardest {_MOST} of {len(every):,}, by estimate"
    values = np.array(
        [
            np.nan if cell.value is None else cell.value
            for row in lines
            for cells in row.cells.values()
            for cell in cells
        ]
    )
    tones = iter(2 * goodness(values, quantity) - 1)
    drawn = []
    for row in lines:
        strips = {
            name: _strip(name, cells, [next(tones) for _ in cells], quantity, keyed, marks or {})
            for name, cells in row.cells.items()
        }
        drawn.append(MapRow(row.label, [strips.get(name) for name in names]))
    caption = f"{quantities()[quantity]} by strength"
    return BandMap(head, [models.label(name) for name in names], drawn, caption)


def _strip(
    name: str,
    cells: Sequence[MapCell],
    tones: Sequence[float],
    quantity: str,
    keyed: bool = False,
    marks: Marks = MappingProxyType({}),
) -> Strip:
    short, exact = forms(quantity)
    tiles = []
    for cell, tone in zip(cells, tones, strict=True):
        if cell.value is None:
            tiles.append(Tile(0.0, f"{cell.title}: not measured"))
            continue
        chosen = Chosen(model=name, conditions=cell.conditions)
        key = chosen.text if keyed and cell.conditions else ""
        sign, said = next(
            (marks[name, text] for text in cell.conditions[-1:] if (name, text) in marks), ("", "")
        )
        title = (
            f"{cell.title}: {cell.written(exact)}{_OUTCOMES.get(quantity, '')}"
            f"{cell.interval(exact)}, n = {cell.n:,}{'; ' * bool(said)}{said}"
        )
        figure = cell.written(short).removesuffix("%")
        text = f"{figure}\N{THIN SPACE}{sign}" if sign else figure
        tiles.append(Tile(float(tone), title, 1.0, text, key))
    if len(cells) == 1:
        return Strip(tiles, f"{cells[0].written(exact)}{cells[0].interval(exact)}")
    there = [cell for cell in cells if cell.value is not None]
    return Strip(tiles, ", ".join(f"{cell.at}: {cell.written(short)}" for cell in there))


class Span(NamedTuple):
    """A strength with its interval, and what it is in words."""

    strength: float
    low: float
    high: float
    text: str


def camera_map(spans: Mapping[str, Span], figures: Figures | None = None) -> BandMap:
    """A row a perturbation of ``spans``, which are marked, with the cells of ``figures`` if any."""
    names = [entry["model"] for entry in figures.summary] if figures else []
    measured = {row.label: row for row in rows(figures, quantity_of(figures))} if figures else {}
    drawn = []
    for name, span in spans.items():
        record = REGISTRY[name]
        cells = measured[record.label].cells if record.label in measured else {}
        strips = [_marked(cells.get(model, ()), record, span, figures) for model in names or [""]]
        drawn.append(MapRow(record.label, strips))
    titles = [models.label(name) for name in names] or ["Strength, 0 to 1"]
    return BandMap("Perturbation", titles, drawn, "Strengths of your camera")


def _marked(
    cells: Sequence[MapCell], record: Perturbation, span: Span, figures: Figures | None
) -> Strip:
    """The ``cells`` of a model, or an empty band of all strengths, with the mark of ``span``."""
    if not cells or figures is None:
        at, low, high = (place(value) for value in (span.strength, span.low, span.high))
        mark = Tick(at, span.text, low=low, high=high)
        return Strip([Tile(0.0, record.label)], span.text, [*ticks(record), mark])
    centres = {float(cell.at): (at + 0.5) / len(cells) for at, cell in enumerate(cells)}
    places = {0.0: 0.0, 1.0: 1.0} | centres
    levels = sorted(places)
    at, low, high = (
        float(np.interp(strength, levels, [places[level] for level in levels]))
        for strength in (span.strength, span.low, span.high)
    )
    tones = [0.0 if cell.value is None else 2 * cell.value - 1 for cell in cells]
    strip = _strip("", cells, tones, quantity_of(figures))
    mark = Tick(at, span.text, low=low, high=high)
    return strip._replace(ticks=[mark], text=f"{strip.text}; your camera: {span.text}")


class ShareChange(NamedTuple):
    """How the share of a model differs under a ``condition`` ("" for originals)."""

    model: str
    condition: str
    before: float
    after: float
    low: float | None
    high: float | None
    significant: bool
    n: int
    key: str = ""

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def title(self) -> str:
        """The condition in words."""
        return short(self.condition) if self.condition else "originals"

    @property
    def tone(self) -> float:
        """The colour: the sign of the difference, and how strong it is."""
        strong = _LEAST + (1 - _LEAST) * min(1.0, abs(self.difference) / _FULL)
        return float(np.sign(self.difference)) * (strong if self.significant else _PALE)

    @property
    def text(self) -> str:
        """The difference in points with its interval, and whether it is significant."""
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" ({points(self.low)} to {points(self.high)})"
        verdict = "" if self.significant else ", not significant"
        return f"{points(self.difference)}{interval}{verdict}"


def change_map(changes: Sequence[ShareChange], quantity: str) -> BandMap:
    """The map of ``changes`` of ``quantity``, the largest loss first; pale is not significant."""
    names = list(dict.fromkeys(change.model for change in changes))
    lines = [
        MapRow(label, [_changes([c for c in mine if c.model == name]) for name in names])
        for label, mine in _by_loss(changes)
    ]
    caption = f"Change of {quantities()[quantity].lower()}, in points"
    return BandMap(LOSSES, [models.label(name) for name in names], lines, caption)


def before_and_after(
    changes: Sequence[ShareChange], quantity: str, titles: Sequence[str]
) -> BandMap:
    """The shares of one model before and after, and their changes; ``titles`` name both."""
    lines = []
    for label, mine in _by_loss(changes):
        sides = [
            [
                MapCell(
                    setting(change.condition) if change.condition else "",
                    change.title,
                    getattr(change, side),
                    low=None,
                    high=None,
                    n=change.n,
                )
                for change in mine
            ]
            for side in ("before", "after")
        ]
        shares = [
            _strip("", cells, [2 * (c.value or 0.0) - 1 for c in cells], quantity)
            for cells in sides
        ]
        lines.append(MapRow(label, [*shares, _changes(mine)]))
    caption = f"{quantities()[quantity]} before and after"
    return BandMap(LOSSES, [*titles, "Change, points"], lines, caption)


def _by_loss(changes: Sequence[ShareChange]) -> list[tuple[str, list[ShareChange]]]:
    """``changes`` by row, each by growing strength; after the originals the largest loss first."""

    def strength(change: ShareChange) -> float:
        step = readable(change.condition) if change.condition else None
        return 0.0 if step is None else step.strength or 0.0

    by_row: dict[str, list[ShareChange]] = {}
    for change in sorted(changes, key=strength):
        label = series(change.condition) if change.condition else ORIGINALS
        by_row.setdefault(label, []).append(change)
    mean = {label: np.mean([c.difference for c in mine]) for label, mine in by_row.items()}
    order = sorted(by_row, key=lambda label: (label != ORIGINALS, mean[label]))
    return [(_row_label(label), by_row[label]) for label in order]


def _changes(ordered: Sequence[ShareChange]) -> Strip | None:
    """The differences of one model in a row; None without any."""
    if not ordered:
        return None
    texts = [points(change.difference, "+.0f") for change in ordered]
    tiles = [
        Tile(
            change.tone,
            f"{change.title}: {share(change.before)} to {share(change.after)}, {change.text}, "
            f"n = {change.n:,}",
            text=text,
            key=change.key,
        )
        for change, text in zip(ordered, texts, strict=True)
    ]
    if len(ordered) == 1:
        return Strip(tiles, ordered[0].text)
    words = [
        f"{setting(change.condition)}: {text}{'' if change.significant else ' (not significant)'}"
        for change, text in zip(ordered, texts, strict=True)
    ]
    return Strip(tiles, ", ".join(words))
