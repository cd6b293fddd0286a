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
    series = {
        label: _by_strength(mine, quantity)
        for label, mine in grouped(entries, "series").items()
        if not active or label in active
    }
    rows = [Row(label, cells) for label, cells in series.items()]
    rows += _attacks(figures) if by_norm else []
    hardness = [_mean_goodness(row, quantity) for row in rows]
    rows = [rows[at] for at in np.argsort(hardness, kind="stable")]
    if quantity != "perturbed_accuracy":
        return rows
    originals = {
        entry["model"]: [
            MapCell("", "originals", *_values(entry, "clean_accuracy"), entry["n_labelled"])
        ]
        for entry in figures.summary
        if entry["clean_accuracy"] is not None
    }
    return [Row(ORIGINALS, originals), *rows]


def _values(entry: Entry, name: str) -> tuple[float | None, float | None, float | None]:
    """The figure ``name`` of ``entry`` with its bounds."""
    return entry[name], entry.get(f"{name}_low"), entry.get(f"{name}_high")


def _by_strength(entries: Sequence[Entry], quantity: str) -> dict[str, list[MapCell]]:
    """The cells of each model of one series."""
    levels = {entry["condition"]: entry for entry in entries}
    order = sorted(levels, key=lambda text: levels[text]["strength"] or 0.0)
    by_cell = {(entry["model"], entry["condition"]): entry for entry in entries}
    return {
        model: [_cell(levels[text], by_cell.get((model, text)), quantity) for text in order]
        for model in dict.fromkeys(entry["model"] for entry in entries)
    }


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
    return MapCell(at, title, *_values(entry, quantity), n, (text,))


def _attacks(figures: Figures) -> list[Row]:
    """A row a norm, of the images with a prediction to break."""
    attacks = [
        condition
        for text in dict.fromkeys(entry["condition"] for entry in figures.by_perturbation)
        if isinstance(condition := readable(str(text)), AttackCondition)
    ]
    rows = []
    for norm, entries in grouped(figures.robust_accuracy, "norm").items():
        cells = {
            model: [_attacked(entry, attacks) for entry in mine]
            for model, mine in grouped(entries, "model").items()
        }
        rows.append(Row(f"Attacks, {NORMS[norm].label}", cells))
    return rows


def _attacked(entry: Entry, attacks: Sequence[AttackCondition]) -> MapCell:
    broken, low, high = _values(entry, "success")
    specs = [each for each in attacks if each.spec.norm == entry["norm"]]
    here = next(each.spec for each in specs if each.spec.epsilon == entry["epsilon"])
    return MapCell(
        here.size_text,
        f"{NORMS[entry['norm']].label}, epsilon {here.size_text}",
        None if broken is None else 1 - broken,
        None if high is None else 1 - high,
        None if low is None else 1 - low,
        entry["n_attacked"],
        tuple(each.id for each in specs if each.spec.epsilon <= entry["epsilon"]),
    )


def _mean_goodness(row: Row, quantity: str) -> float:
    values = [c.value for cells in row.cells.values() for c in cells if c.value is not None]
    sign = 1.0 if goodness(np.array([0.0, 1.0]), quantity)[1] == 1 else -1.0
    return sign * float(np.mean(values)) if values else np.inf


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
        title = f"{_hover(cell, quantity)}{'; ' * bool(said)}{said}"
        tiles.append(Tile(float(tone), title, 1.0, _text(cell, quantity) + sign, key))
    return Strip(tiles, _words(cells, quantity))


def _text(cell: MapCell, quantity: str) -> str:
    """The figure as short as it is exact enough for a tile: a percentage without its sign."""
    return _written(cell, forms(quantity)[0]).removesuffix("%")


_OUTCOMES = {"perturbed_accuracy": " correct", "consistency": " unchanged"}


def _hover(cell: MapCell, quantity: str) -> str:
    return (
        f"{cell.title}: {_exact(cell, quantity)}{_OUTCOMES.get(quantity, '')}"
        f"{_interval(cell, quantity)}, n = {cell.n:,}"
    )


def _exact(cell: MapCell, quantity: str) -> str:
    return _written(cell, forms(quantity)[1])


def _written(cell: MapCell, form: str) -> str:
    return "" if cell.value is None else format_figure(cell.value, form)


def _interval(cell: MapCell, quantity: str) -> str:
    if cell.low is None or cell.high is None:
        return ""
    low, high = (format_figure(bound, forms(quantity)[1]) for bound in (cell.low, cell.high))
    return f" ({low} to {high})"


def _words(cells: Sequence[MapCell], quantity: str) -> str:
    """The figures of a strip; one alone has its interval."""
    there = [cell for cell in cells if cell.value is not None]
    if len(cells) == 1:
        return "".join(f"{_exact(cell, quantity)}{_interval(cell, quantity)}" for cell in there)
    form = forms(quantity)[0]
    return ", ".join(f"{cell.at}: {_written(cell, form)}" for cell in there)


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
            [_side(change, share) for change in mine for share in [getattr(change, side)]]
            for side in ("before", "after")
        ]
        shares = [
            _strip("", cells, [2 * (c.value or 0.0) - 1 for c in cells], quantity)
            for cells in sides
        ]
        lines.append(MapRow(label, [*shares, _changes(mine)]))
    caption = f"{quantities()[quantity]} before and after"
    return BandMap(LOSSES, [*titles, "Change, points"], lines, caption)


def _side(change: ShareChange, share: float) -> MapCell:
    text = change.condition
    at, title = (setting(text), short(text)) if text else ("", "originals")
    return MapCell(at, title, share, None, None, change.n)


def _by_loss(changes: Sequence[ShareChange]) -> list[tuple[str, list[ShareChange]]]:
    """``changes`` by row, each by growing strength; after the originals the largest loss first."""
    by_row: dict[str, list[ShareChange]] = {}
    for change in sorted(changes, key=lambda change: _strength(change.condition)):
        label = series(change.condition) if change.condition else ORIGINALS
        by_row.setdefault(label, []).append(change)
    mean = {label: np.mean([c.difference for c in mine]) for label, mine in by_row.items()}
    order = sorted(by_row, key=lambda label: (label != ORIGINALS, mean[label]))
    return [(label, by_row[label]) for label in order]


def _changes(ordered: Sequence[ShareChange]) -> Strip | None:
    """The differences of one model in a row; None without any."""
    if not ordered:
        return None
    texts = [points(change.difference, "+.0f") for change in ordered]
    tiles = [
        Tile(_tone(change), _described(change), 1.0, text, change.key)
        for change, text in zip(ordered, texts, strict=True)
    ]
    if len(ordered) == 1:
        return Strip(tiles, _in_points(ordered[0]))
    words = [
        f"{setting(change.condition)}: {text}{'' if change.significant else ' (not significant)'}"
        for change, text in zip(ordered, texts, strict=True)
    ]
    return Strip(tiles, ", ".join(words))


def _strength(condition: str) -> float:
    step = readable(condition) if condition else None
    return 0.0 if step is None else step.strength or 0.0


def _tone(change: ShareChange) -> float:
    strong = _LEAST + (1 - _LEAST) * min(1.0, abs(change.difference) / _FULL)
    return float(np.sign(change.difference)) * (strong if change.significant else _PALE)


def _in_points(change: ShareChange) -> str:
    interval = ""
    if change.low is not None and change.high is not None:
        interval = f" ({points(change.low)} to {points(change.high)})"
    verdict = "" if change.significant else ", not significant"
    return f"{points(change.difference)}{interval}{verdict}"


def _described(change: ShareChange) -> str:
    what = short(change.condition) if change.condition else "originals"
    shares = f"{share(change.before)} to {share(change.after)}"
    return f"{what}: {shares}, {_in_points(change)}, n = {change.n:,}"
