"""Maps of bands: what each model withstands, by condition, as HTML and in words.

A band is a row of coloured cells. A map has a band for each row and column, such as perturbations
and models. The shares in a map of a run count all images, under attack as well; without labels
they are shares of unchanged predictions. Intervals are 95%.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from robustness import models
from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.text import figure_text, format_figure, points, unhidden
from robustness.measure.condition import AttackCondition, readable, series, setting, short
from robustness.measure.strength import STEPS, Band
from robustness.perturbations import REGISTRY, Perturbation
from robustness.report.charts import forms, goodness, grouped, quantities
from robustness.report.tables import Entry, Table, flat, in_brackets, percent, with_interval
from robustness.runs.cases import RowSelection
from robustness.statistics import Figures, ModelChoice

# Lengths in rem, for a map on an A4 page. Those of columns and labels are also in maps.css.
_CHARACTER_WIDTH = 0.45
_TILE_MARGIN = 0.25
_WIDEST_LABELS = 19.0
_NARROWEST_COLUMN = 5.25
_PAGE_WIDTH = 42.0
_COLUMN_GAP = 0.6

_SHORTEST_LABELS = 12
"""Characters for which the column of labels has room at least: its title has long words."""


class Tile(NamedTuple):
    """One cell of a drawn band.

    ``tone`` goes from -1, incorrect, to 1, correct; nearer to 0 the colour is fainter. ``width`` is
    relative to the other tiles; ``title`` shows on hover, ``text`` in the tile. A page reports a
    click on a tile by its ``key``.
    """

    tone: float
    title: str
    width: float = 1.0
    text: str = ""
    key: str = ""


class Tick(NamedTuple):
    """A mark over a drawn band at ``position``, a share of its width; ``strong`` ones are thicker.

    One with an interval, from ``low`` to ``high`` in shares of the width, is drawn as a dot on a
    line.
    """

    position: float
    title: str
    strong: bool = False
    low: float | None = None
    high: float | None = None


class Strip(NamedTuple):
    """A drawn band; ``text`` says in words what it shows."""

    tiles: Sequence[Tile]
    text: str
    ticks: Sequence[Tick] = ()

    @property
    def is_clickable(self) -> bool:
        return any(tile.key for tile in self.tiles)

    @property
    def html(self) -> str:
        """The band as HTML, with all texts escaped."""
        return self._html(self.text)

    def html_of(self, subject: str) -> str:
        """The band as HTML, named after its ``subject``, such as a model and a perturbation.

        Screen readers announce the name before the text.
        """
        return self._html(f"{subject}: {self.text}")

    def _html(self, name: str) -> str:
        return str(_template().bands([_Cell(self, name)]))


class MapRow(NamedTuple):
    """A row of a map: its label, a strip a column (None: not known yet), and an image as a URI."""

    label: str
    strips: Sequence[Strip | None]
    image: str = ""


class CellAxis(NamedTuple):
    """What the cells of all strips stand for: a quantity such as "severity", and a label a cell."""

    quantity: str
    labels: Sequence[str]


class BandMap(NamedTuple):
    """Strips by row and column; ``head`` is the title of the column of labels.

    ``caption`` is the name that screen readers announce. ``axis`` labels the cells of each column.
    A ``badge`` marks the first column, which is tinted.
    """

    head: str
    columns: Sequence[str]
    rows: Sequence[MapRow]
    caption: str = "Map"
    axis: CellAxis | None = None
    badge: str = ""

    @property
    def html(self) -> str:
        """The map as an HTML table, with all texts escaped."""
        rows = [(row, _cells(self, row)) for row in self.rows]
        return str(_template().table(self, _size_of(self), rows))

    @property
    def table(self) -> Table:
        """The map in words."""
        head = self.head
        if self.axis is not None:
            head = f"{head}; {self.axis.quantity}: share"
        columns = list(self.columns)
        if self.badge and columns:
            columns[0] = f"{columns[0]} ({self.badge.lower()})"
        rows = []
        for row in self.rows:
            texts = ["" if strip is None else strip.text for strip in row.strips]
            rows.append((row.label, *texts))
        return Table((head, *columns), rows)


class _Cell(NamedTuple):
    """A strip with its ``name`` for screen readers, as the template draws it.

    ``column`` is the title of its column in a map, None for a strip that stands alone; ``is_first``
    says that the column is tinted.
    """

    strip: Strip | None
    name: str
    column: str | None = None
    is_first: bool = False


def _cells(drawing: BandMap, row: MapRow) -> list[_Cell]:
    cells = []
    for number, strip in enumerate(row.strips):
        column = drawing.columns[number]
        name = "" if strip is None else f"{column}, {row.label}: {strip.text}"
        cells.append(_Cell(strip, name, column, is_first=bool(drawing.badge) and number == 0))
    return cells


class _MapSize(NamedTuple):
    """The width of the widest strip in rem, and the scale at which the map fits on a page."""

    widest_strip: float
    print_scale: float


def _size_of(drawing: BandMap) -> _MapSize:
    strips = [strip for row in drawing.rows for strip in row.strips if strip is not None]
    widest_strip = max(map(_strip_width, strips), default=0)
    longest_label = max((len(row.label) for row in drawing.rows), default=0)
    labels_width = max(_SHORTEST_LABELS, longest_label) / 2 + _COLUMN_GAP
    labels_width = min(_WIDEST_LABELS, labels_width)
    column_width = max(_NARROWEST_COLUMN, widest_strip) + _COLUMN_GAP
    whole_width = labels_width + len(drawing.columns) * column_width
    return _MapSize(widest_strip, min(1.0, _PAGE_WIDTH / whole_width))


def _strip_width(strip: Strip) -> float:
    """The width that a strip needs, in rem, so that no figure in it is cut."""
    lengths = [len(tile.text) for tile in strip.tiles if tile.text]
    if not lengths:
        return 0
    # All cells of a strip are as wide as its longest figure needs.
    return len(lengths) * (_CHARACTER_WIDTH * max(lengths) + _TILE_MARGIN)


@cache
def _template() -> Any:
    """The macros of ``map.html.j2``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        # Every text of the template goes through ``shown``. Escaping by default would also wrap
        # the numbers of thousands of tiles, and draw a map three times as slowly.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda text: escape(unhidden(text))
    return environment.get_template("map.html.j2").module


@cache
def style() -> str:
    """The CSS of bands and maps."""
    return Path(__file__).with_suffix(".css").read_text("utf-8")


# --- bands over strength --------------------------------------------------------------------------


_FAINTEST = 0.4
"""How strong the colour of a prediction is whose confidence is 0, from 0 to 1."""


def band_position(strength: float) -> float:
    """Where ``strength`` lies in a band of ``STEPS`` cells: the middle of its cell, in [0, 1]."""
    return (strength * (STEPS - 1) + 0.5) / STEPS


def ticks(record: Perturbation) -> list[Tick]:
    """Marks at ImageNet-C's severities and at the study's setting; none for a switch."""
    if not record.graded:
        return []
    marks = [
        Tick(band_position(strength), f"severity {severity}")
        for severity, strength in enumerate(record.severity_strengths, start=1)
    ]
    if record.study_strength is not None:
        position = band_position(record.study_strength)
        marks.append(Tick(position, "the study's setting", strong=True))
    return marks


def strip(band: Band, *, keyed: bool = False) -> Strip:
    """The drawing of ``band``: stronger colours are more confident.

    The text leaves out the model. If ``keyed``, tiles have keys such as "SqueezeNet fog 0.35".
    """
    record = REGISTRY[band.perturbation]
    cells = band.cells
    tiles = []
    start = 0.0
    for number, cell in enumerate(cells):
        end = 1.0
        if number + 1 < len(cells):
            # A tile ends halfway to the next strength.
            next_strength = cells[number + 1].strength
            end = (band_position(cell.strength) + band_position(next_strength)) / 2
        is_good = band.good(cell)
        intensity = _FAINTEST + (1 - _FAINTEST) * cell.probability
        if record.graded:
            strength_text = f"{cell.strength:g}"
        else:
            strength_text = record.value_text(cell.strength)
        verdict = band.words[not is_good]
        class_name = models.class_name(band.model, cell.top1)
        tile = Tile(
            tone=intensity if is_good else -intensity,
            title=f"{strength_text}: {verdict}, {percent(cell.probability)} {class_name}",
            width=end - start,
            key=f"{band.model} {band.perturbation} {cell.strength:g}" if keyed else "",
        )
        tiles.append(tile)
        start = end
    return Strip(tiles, band.text, ticks(record))


# --- the map of a run -----------------------------------------------------------------------------


ORIGINALS = "Originals"
EPSILON = "epsilon"
RECOMMENDED = "Recommended"
FASTEST = "Tied, fastest"

_MOST_ROWS = 100
"""Rows that a browser still draws at once; a profile or a plan may have thousands."""

_OUTCOMES = {"perturbed_accuracy": " correct", "consistency": " unchanged"}
"""By quantity, the word that follows a share in the title of a cell."""

ATTACKED_SHARES: Mapping[str, tuple[str, str]] = {
    "perturbed_accuracy": ("robust", "n_images"),
    "consistency": ("unchanged", "n_unchanged"),
}
"""By quantity of a map: the figure of ``Figures.robust_accuracy`` that is the same share under
attack, of all images, and the name of their number."""

Marks = Mapping[tuple[str, str], tuple[str, str]]
"""By model and condition: a sign in the cell, and what it says."""


class MapCell(NamedTuple):
    """The figure ``name`` of ``entry``; ``count_name`` is the figure with its number of images.

    ``setting`` is the strength, and ``title`` the condition, in words. ``conditions`` are those
    whose images fail there. ``severity`` is that of ImageNet-C, if the strength is one of its.
    """

    setting: str
    title: str
    entry: Entry
    name: str
    count_name: str
    conditions: tuple[str, ...] = ()
    severity: int | None = None

    @property
    def value(self) -> float | None:
        """The figure; None if it was not measured."""
        value: float | None = self.entry.get(self.name)
        return value


class Row(NamedTuple):
    """Conditions that differ in strength alone: the cells of each model, by growing strength."""

    label: str
    cells: Mapping[str, Sequence[MapCell]]
    quantity: str = "strength"

    @property
    def levels(self) -> list[MapCell]:
        """The cells of one model, which has all levels."""
        return list(next(iter(self.cells.values()), ()))

    def values(self, model_names: Iterable[str]) -> list[float]:
        """The measured figures of the models ``model_names``."""
        values = []
        for name in model_names:
            for cell in self.cells.get(name, ()):
                if cell.value is not None:
                    values.append(cell.value)
        return values


def quantity_of(figures: Figures) -> str:
    """The quantity that a map shows by default: accuracy or, without labels, consistency."""
    return "consistency" if figures.ranked_by == "consistency" else "perturbed_accuracy"


def rows(figures: Figures, quantity: str) -> list[Row]:
    """The rows of a map of ``quantity``, the hardest first; accuracies begin with the originals.

    ``quantity`` is one of ``quantities``. The hardest row has the worst mean over the models of
    ``ordering_group``. Conditions of strength 0 are left out, unless there are no others. Accuracy
    and consistency have attacks by norm, as robust accuracy does, and so count every image.
    """
    attacks_by_norm = quantity in ATTACKED_SHARES
    entries = [
        entry
        for entry in figures.by_perturbation
        if entry.get(quantity) is not None
        and not (attacks_by_norm and entry["perturbation"] in ATTACKS)
    ]
    active_series = {entry["series"] for entry in entries if entry["strength"] != 0}
    unordered = []
    for label, series_entries in grouped(entries, "series").items():
        if label in active_series or not active_series:
            unordered.append(_series_row(label, series_entries, quantity))
    if attacks_by_norm:
        unordered += _attack_rows(figures, quantity)
    ordered = _hardest_first(unordered, figures, quantity)
    if quantity == "perturbed_accuracy":
        return [_originals_row(figures), *ordered]
    return ordered


def _series_row(label: str, entries: Sequence[Entry], quantity: str) -> Row:
    """The row of the conditions of one series."""
    levels = {entry["condition"]: entry for entry in entries}
    by_strength = sorted(levels.values(), key=lambda level: level["strength"] or 0.0)
    by_cell = {(entry["model"], entry["condition"]): entry for entry in entries}
    cells = {}
    for name in grouped(entries, "model"):
        cells[name] = [
            _cell(level, by_cell.get((name, level["condition"])), quantity) for level in by_strength
        ]
    return Row(_capitalised(label), cells)


def _originals_row(figures: Figures) -> Row:
    cells = {}
    for entry in figures.summary:
        if entry["clean_accuracy"] is not None:
            cell = MapCell("", "originals", entry, "clean_accuracy", "n_labelled")
            cells[entry["model"]] = [cell]
    return Row(ORIGINALS, cells)


def _hardest_first(rows: Sequence[Row], figures: Figures, quantity: str) -> list[Row]:
    """``rows`` by their mean over the models of ``ordering_group``; those without one come last."""
    group = ordering_group([entry["model"] for entry in figures.summary])
    goodness_of_low_and_high = goodness(np.array([0.0, 1.0]), quantity)
    sign = 1.0 if goodness_of_low_and_high[1] == 1 else -1.0

    def ease(row: Row) -> float:
        values = row.values(name for name in row.cells if name in group.models)
        return sign * float(np.mean(values)) if values else np.inf

    return sorted(rows, key=ease)


class OrderingGroup(NamedTuple):
    """The models whose mean orders the rows of a map.

    ``clause`` names them, such as " for ImageNet"; it is "" if they are all models of the map.
    """

    models: tuple[str, ...]
    clause: str


def ordering_group(names: Sequence[str]) -> OrderingGroup:
    """The largest group of the models ``names`` with the same classes, the first of equal ones.

    With fewer classes a prediction changes less easily, so a mean over models with other classes
    would order the rows by the models that happen to be in the map.
    """
    groups = models.by_labels(names)
    if len(groups) < 2:
        return OrderingGroup(tuple(names), "")
    labels, members = max(groups, key=lambda group: len(group[1]))
    return OrderingGroup(members, f" for {labels.title}")


def _capitalised(label: str) -> str:
    """``label``, such as the name of a profile, with a capital unless its first word has one."""
    first_word = label.partition(" ")[0]
    return label[:1].upper() + label[1:] if first_word.islower() else label


def _cell(level: Entry, entry: Entry | None, quantity: str) -> MapCell:
    """The cell of a model at the condition of ``level``; ``entry`` is None if not measured."""
    condition = str(level["condition"])
    severity: int | None = level["severity"] or None
    title = short(condition)
    if severity is not None:
        title += f" (severity {severity})"
    if entry is None:
        return MapCell(setting(condition), title, {}, quantity, "", severity=severity)
    count_name = "n_labelled" if "accuracy" in quantity else "n_images"
    return MapCell(setting(condition), title, entry, quantity, count_name, (condition,), severity)


def _attack_rows(figures: Figures, quantity: str) -> list[Row]:
    """A row a norm: the share of all images that every attack leaves correct, or unchanged."""
    attacks = []
    for text in grouped(figures.by_perturbation, "condition"):
        condition = readable(str(text))
        if isinstance(condition, AttackCondition):
            attacks.append(condition)
    measured = figures.robust_accuracy
    if quantity == "perturbed_accuracy":
        measured = [entry for entry in measured if entry["of"] == "accuracy"]
    attack_rows = []
    for norm, entries in grouped(measured, "norm").items():
        attacks_of_norm = [attack for attack in attacks if attack.spec.norm == norm]
        cells = {}
        for name, model_entries in grouped(entries, "model").items():
            cells[name] = [
                _attack_cell(entry, attacks_of_norm, quantity) for entry in model_entries
            ]
        attack_rows.append(Row(f"Attacks, {NORMS[norm].label}", cells, EPSILON))
    return attack_rows


def _attack_cell(entry: Entry, attacks: Sequence[AttackCondition], quantity: str) -> MapCell:
    """The cell of an ``entry`` of ``Figures.robust_accuracy``; ``attacks`` are of its norm."""
    epsilon = entry["epsilon"]
    name, count_name = ATTACKED_SHARES[quantity]
    size = next(attack.spec.size_text for attack in attacks if attack.spec.epsilon == epsilon)
    title = f"{NORMS[entry['norm']].label}, epsilon {size}"
    # Robust accuracy at an epsilon counts the failures at all smaller ones.
    conditions = tuple(attack.id for attack in attacks if attack.spec.epsilon <= epsilon)
    return MapCell(size, title, entry, name, count_name, conditions)


def _shared_axis(rows: Sequence[Row]) -> CellAxis | None:
    """The levels that the rows have in common, as severities where they are some.

    Rows of one cell have no levels; epsilons are an axis where there are no strengths.
    """
    with_levels = [row for row in rows if len(row.levels) > 1]
    graded = [row for row in with_levels if row.quantity != EPSILON] or with_levels
    severities = {tuple(cell.severity for cell in row.levels) for row in graded}
    if len(severities) == 1:
        (shared,) = severities
        if None not in shared:
            return CellAxis("severity", [str(severity) for severity in shared])
    settings = {tuple(cell.setting for cell in row.levels) for row in graded}
    if len(settings) == 1:
        return CellAxis(graded[0].quantity, settings.pop())
    return None


def run_map(
    figures: Figures,
    quantity: str = "",
    *,
    chosen: ModelChoice | None = None,
    keyed: bool = False,
    marks: Marks = MappingProxyType({}),
) -> BandMap:
    """The map of ``quantity`` (default: what the models are ranked by, as a share).

    The first column is the model that leads ``chosen`` (default: the choice of ``figures``), the
    others are in the order of the ranking. If ``keyed``, the key of a tile is the selection of its
    images, as ``RowSelection.text``.
    """
    quantity = quantity or quantity_of(figures)
    chosen = chosen or figures.choice
    ranked = [entry["model"] for entry in figures.summary]
    names = chosen.in_order(ranked)
    all_rows = rows(figures, quantity)
    shown_rows = all_rows[:_MOST_ROWS]
    axis = _shared_axis(shown_rows)
    style = _CellStyle(
        quantity,
        keyed=keyed,
        marks=marks,
        by_severity=axis is not None and axis.quantity == "severity",
    )
    drawn = []
    for row, tones in zip(shown_rows, _tones(shown_rows, quantity), strict=True):
        strips = {
            name: _strip(name, cells, tones[name], style) for name, cells in row.cells.items()
        }
        label = row.label
        if row.quantity == EPSILON and (axis is None or axis.quantity != EPSILON):
            label += f" {', '.join(cell.setting for cell in row.levels)}"
        drawn.append(MapRow(label, [strips.get(name) for name in names]))
    clause = ordering_group(ranked).clause
    head = f"Hardest first{clause}, by estimate"
    if len(shown_rows) < len(all_rows):
        head = f"The hardest {_MOST_ROWS} of {len(all_rows):,}{clause}, by estimate"
    by = "strength" if axis is None else axis.quantity
    badge = ""
    if chosen.leading in names:
        badge = RECOMMENDED if chosen.recommended else FASTEST
    return BandMap(
        head=head,
        columns=[models.label(name) for name in names],
        rows=drawn,
        caption=f"{quantities()[quantity]} by {by}",
        axis=axis,
        badge=badge,
    )


def _tones(rows: Sequence[Row], quantity: str) -> list[dict[str, list[float]]]:
    """For each row, the tones of the cells of each model.

    They are computed together, since ``goodness`` scales some metrics from the worst to the best
    value of the whole map.
    """
    cells = [cell for row in rows for model_cells in row.cells.values() for cell in model_cells]
    values = np.array([np.nan if cell.value is None else cell.value for cell in cells])
    tones = iter((2 * goodness(values, quantity) - 1).tolist())
    return [
        {name: [next(tones) for _ in model_cells] for name, model_cells in row.cells.items()}
        for row in rows
    ]


class _CellStyle(NamedTuple):
    """How the cells of a map are written.

    ``by_severity``: whether the text of a strip names severities instead of strengths.
    """

    quantity: str
    keyed: bool = False
    marks: Marks = MappingProxyType({})
    by_severity: bool = False


def _strip(
    model_name: str, cells: Sequence[MapCell], tones: Sequence[float], style: _CellStyle
) -> Strip:
    """The ``cells`` of a model in a row."""
    tiles = [_tile(model_name, cell, tone, style) for cell, tone in zip(cells, tones, strict=True)]
    short_form, exact_form = forms(style.quantity)
    if len(cells) == 1:
        return Strip(tiles, with_interval(cells[0].entry, cells[0].name, exact_form))
    texts = []
    for cell in cells:
        level = cell.setting
        if style.by_severity and cell.severity is not None:
            level = str(cell.severity)
        value = figure_text(cell.entry, cell.name, short_form)
        if value:
            texts.append(f"{level}: {value}")
    return Strip(tiles, ", ".join(texts))


def _tile(model_name: str, cell: MapCell, tone: float, style: _CellStyle) -> Tile:
    if cell.value is None:
        return Tile(0.0, f"{cell.title}: not measured")
    short_form, exact_form = forms(style.quantity)
    value = figure_text(cell.entry, cell.name, exact_form)
    outcome = _OUTCOMES.get(style.quantity, "")
    bounds = in_brackets(cell.entry, cell.name, exact_form)
    count = figure_text(cell.entry, cell.count_name, ",")
    title = f"{cell.title}: {value}{outcome}{bounds}, n = {count}"
    # The map says once that its cells are percentages.
    text = figure_text(
        cell.entry, cell.name, lambda number: format_figure(number, short_form).rstrip("%")
    )
    key = ""
    if cell.conditions:
        if style.keyed:
            key = RowSelection(model=model_name, conditions=cell.conditions).text
        # The last condition is that of the cell's own epsilon.
        mark = style.marks.get((model_name, cell.conditions[-1]))
        if mark is not None:
            sign, meaning = mark
            title += f"; {meaning}"
            text += f"\N{THIN SPACE}{sign}" if sign else ""
    return Tile(tone, title, text=text, key=key)


# --- the strength of a camera ---------------------------------------------------------------------


class Span(NamedTuple):
    """A strength with its interval, and what it is in words."""

    strength: float
    low: float
    high: float
    text: str

    def mark(self, position: Callable[[float], float]) -> Tick:
        """The mark of the span; ``position`` is where a strength lies in the band, in [0, 1]."""
        return Tick(
            position(self.strength),
            self.text,
            low=position(self.low),
            high=position(self.high),
        )


def camera_map(spans: Mapping[str, Span], figures: Figures | None = None) -> BandMap:
    """A row for each perturbation of ``spans``, marked with its strength.

    With ``figures`` of a run the rows have its cells, with a column a model.
    """
    if figures is None:
        drawn = [MapRow(REGISTRY[name].label, [_marked_band(name, spans[name])]) for name in spans]
        return BandMap("Perturbation", ["Strength, 0 to 1"], drawn, "Strengths of your camera")
    quantity = quantity_of(figures)
    names = [entry["model"] for entry in figures.summary]
    measured = {row.label: row for row in rows(figures, quantity)}
    drawn = []
    for perturbation, span in spans.items():
        label = REGISTRY[perturbation].label
        strips = []
        for name in names:
            cells = measured[label].cells.get(name) if label in measured else None
            if cells:
                strips.append(_marked_cells(cells, span, quantity))
            else:
                strips.append(_marked_band(perturbation, span))
        drawn.append(MapRow(label, strips))
    titles = [models.label(name) for name in names]
    return BandMap("Perturbation", titles, drawn, "Strengths of your camera")


def _marked_band(perturbation: str, span: Span) -> Strip:
    """An empty band of all strengths with the mark of ``span``."""
    record = REGISTRY[perturbation]
    marks = [*ticks(record), span.mark(band_position)]
    return Strip([Tile(0.0, record.label)], span.text, marks)


def _marked_cells(cells: Sequence[MapCell], span: Span, quantity: str) -> Strip:
    """The ``cells`` of a model with the mark of ``span`` between their strengths."""
    positions = {0.0: 0.0, 1.0: 1.0}
    for number, cell in enumerate(cells):
        positions[float(cell.setting)] = (number + 0.5) / len(cells)
    strengths = sorted(positions)

    def position(strength: float) -> float:
        return float(np.interp(strength, strengths, [positions[each] for each in strengths]))

    tones = [0.0 if cell.value is None else 2 * cell.value - 1 for cell in cells]
    strip = _strip("", cells, tones, _CellStyle(quantity))
    text = f"{strip.text}; your camera: {span.text}"
    return strip._replace(ticks=[span.mark(position)], text=text)


# --- changes --------------------------------------------------------------------------------------


_FULL_DIFFERENCE = 0.3
"""The difference of shares from which a colour is as strong as can be."""

_NOT_SIGNIFICANT_TONE = 0.14
_LEAST_SIGNIFICANT_TONE = 0.4
"""Strengths of colour: of a difference that is not significant, and of the smallest that is."""


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
        """The colour, from -1 to 1: the sign of the difference, and how strong it is."""
        sign = float(np.sign(self.difference))
        if not self.significant:
            return sign * _NOT_SIGNIFICANT_TONE
        relative_size = min(1.0, abs(self.difference) / _FULL_DIFFERENCE)
        return sign * (_LEAST_SIGNIFICANT_TONE + (1 - _LEAST_SIGNIFICANT_TONE) * relative_size)

    @property
    def strength(self) -> float:
        """The strength of the condition; 0 for originals and what has none."""
        condition = readable(self.condition) if self.condition else None
        return 0.0 if condition is None else condition.strength or 0.0

    def entry(self, quantity: str) -> Entry:
        """Its figures of ``quantity`` by the names that a comparison gives them."""
        figures = {
            "model": self.model,
            "condition": self.condition,
            f"{quantity}_a": self.before,
            f"{quantity}_b": self.after,
            f"{quantity}_images": self.n,
        }
        difference = {"value": self.difference, "low": self.low, "high": self.high}
        return flat(figures, f"{quantity}_difference", difference)


def change_map(changes: Sequence[ShareChange], quantity: str) -> BandMap:
    """The map of ``changes`` of ``quantity``, the largest loss first; pale is not significant."""
    names = list(dict.fromkeys(change.model for change in changes))
    group = ordering_group(names)
    drawn = []
    for label, row_changes in _by_loss(changes, group):
        strips = []
        for name in names:
            changes_of_model = [change for change in row_changes if change.model == name]
            strips.append(_changes_strip(changes_of_model, quantity) if changes_of_model else None)
        drawn.append(MapRow(label, strips))
    head = f"Largest loss first{group.clause}, by estimate"
    caption = f"Change of {quantities()[quantity].lower()}, in points"
    return BandMap(head, [models.label(name) for name in names], drawn, caption)


def before_and_after(
    changes: Sequence[ShareChange], quantity: str, titles: Sequence[str]
) -> BandMap:
    """The shares of one model before and after, and their changes; ``titles`` name both."""
    group = ordering_group([changes[0].model])
    drawn = []
    for label, row_changes in _by_loss(changes, group):
        strips = [
            _shares_strip(row_changes, quantity, side="a"),
            _shares_strip(row_changes, quantity, side="b"),
            _changes_strip(row_changes, quantity),
        ]
        drawn.append(MapRow(label, strips))
    caption = f"{quantities()[quantity]} before and after"
    columns = [*titles, "Change, points"]
    return BandMap("Largest loss first, by estimate", columns, drawn, caption)


def _by_loss(
    changes: Sequence[ShareChange], group: OrderingGroup
) -> list[tuple[str, list[ShareChange]]]:
    """``changes`` by row, each by growing strength; after the originals the largest loss first.

    The loss of a row is the mean over the models of ``group``; rows without one of them come last.
    """
    by_row: dict[str, list[ShareChange]] = {}
    for change in sorted(changes, key=lambda change: change.strength):
        label = series(change.condition) if change.condition else ORIGINALS
        by_row.setdefault(label, []).append(change)

    def order(label: str) -> tuple[bool, float]:
        differences = [
            change.difference for change in by_row[label] if change.model in group.models
        ]
        mean = float(np.mean(differences)) if differences else np.inf
        return label != ORIGINALS, mean

    return [(_capitalised(label), by_row[label]) for label in sorted(by_row, key=order)]


def _shares_strip(changes: Sequence[ShareChange], quantity: str, side: str) -> Strip:
    """The shares of one model in a row, before (``side`` "a") or after ("b")."""
    cells = []
    for change in changes:
        cell = MapCell(
            setting=setting(change.condition) if change.condition else "",
            title=change.title,
            entry=change.entry(quantity),
            name=f"{quantity}_{side}",
            count_name=f"{quantity}_images",
        )
        cells.append(cell)
    tones = [2 * (cell.value or 0.0) - 1 for cell in cells]
    return _strip("", cells, tones, _CellStyle(quantity))


def _changes_strip(changes: Sequence[ShareChange], quantity: str) -> Strip:
    """The differences of one model in a row; at least one."""
    name = f"{quantity}_difference"
    tiles = []
    texts = []
    for change in changes:
        entry = change.entry(quantity)
        difference = with_interval(entry, name, points)
        brief = figure_text(entry, name, partial(points, form="+.0f"))
        before = figure_text(entry, f"{quantity}_a", ".1%")
        after = figure_text(entry, f"{quantity}_b", ".1%")
        count = figure_text(entry, f"{quantity}_images", ",")
        text = f"{setting(change.condition)}: {brief}"
        if not change.significant:
            difference += ", not significant"
            text += " (not significant)"
        title = f"{change.title}: {before} to {after}, {difference}, n = {count}"
        tiles.append(Tile(change.tone, title, text=brief, key=change.key))
        texts.append(text)
    if len(changes) == 1:
        return Strip(tiles, difference)
    return Strip(tiles, ", ".join(texts))
