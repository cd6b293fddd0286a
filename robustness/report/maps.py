"""Maps of what each model withstands, by condition, as HTML and as tables.

A strip is a row of coloured tiles, and a map has a strip in each cell of a table, such as one of
perturbations and models. The shares in the map of a run count all images, under attack as well;
without labels they are shares of unchanged predictions. Intervals are 95%.
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
from robustness.base.text import figure_text, format_figure, in_sentence, points, unhidden
from robustness.measure.condition import AttackCondition, readable, series, setting, short
from robustness.measure.strength import STEPS, Band
from robustness.perturbations import REGISTRY, Perturbation
from robustness.report.charts import forms, goodness, grouped, quantities
from robustness.report.tables import Entry, Table, flat, in_brackets, percent, with_interval
from robustness.runs.cases import RowSelection
from robustness.statistics import Figures, ModelChoice
from robustness.statistics.domain import FIGURES as DOMAIN_FIGURES
from robustness.statistics.domain import Judged, JudgedCell, JudgedDomain
from robustness.statistics.grid import ConditionKey
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN

# Lengths in rem, to fit a map on an A4 page. Those of columns and labels are in maps.css as well.
_CHARACTER_WIDTH = 0.45
_TILE_MARGIN = 0.25
_WIDEST_LABELS = 19.0
_NARROWEST_COLUMN = 5.25
_PAGE_WIDTH = 42.0
_COLUMN_GAP = 0.6

_SHORTEST_LABELS = 12
"""Characters for which the column of labels has room at least, as its title has long words."""


class Tile(NamedTuple):
    """A coloured tile of a strip.

    ``tone`` goes from -1 for incorrect to 1 for correct, and the colour is fainter near 0.
    ``width`` is relative to the other tiles of the strip. ``title`` is shown on hover, and ``text``
    in the tile. A page reports a click on the tile by its ``key``, "" for a tile without clicks.
    """

    tone: float
    title: str
    width: float = 1.0
    text: str = ""
    key: str = ""


class Tick(NamedTuple):
    """A mark over a strip.

    ``position`` is a share of the width of the strip, as are ``low`` and ``high``. With these two
    the mark is a dot on the line of its interval, else a line across, thicker if ``strong``.
    """

    position: float
    title: str
    strong: bool = False
    low: float | None = None
    high: float | None = None


class Strip(NamedTuple):
    """A row of tiles with marks over it. ``text`` says in words what it shows."""

    tiles: Sequence[Tile]
    text: str
    ticks: Sequence[Tick] = ()

    @property
    def is_clickable(self) -> bool:
        return any(tile.key for tile in self.tiles)

    @property
    def html(self) -> str:
        """The strip as HTML, with all texts escaped."""
        return self._html(self.text)

    def html_of(self, subject: str) -> str:
        """Return the strip as HTML for screen readers that announce its ``subject`` first.

        The subject is, for example, a model and a perturbation.
        """
        return self._html(f"{subject}: {self.text}")

    def _html(self, name: str) -> str:
        return str(_template().bands([_Cell(self, name)]))


class MapRow(NamedTuple):
    """A row of a map, with a strip for each column and the URI of an ``image``, "" for none.

    A strip is None if its figures are not known yet.
    """

    label: str
    strips: Sequence[Strip | None]
    image: str = ""


class CellAxis(NamedTuple):
    """The labels of the tiles, if they are the same in all strips.

    ``quantity`` is what they are values of, such as "severity".
    """

    quantity: str
    labels: Sequence[str]


class BandMap(NamedTuple):
    """A table of strips.

    ``head`` is the title of the column of row labels, and ``columns`` are the titles of the others.
    Screen readers announce ``caption``. ``axis`` has the labels of the tiles in each column. With a
    ``badge``, the first column is tinted and its title is followed by the badge. A matrix has the
    same things in rows and columns: a narrow screen writes the column beside each strip.
    """

    head: str
    columns: Sequence[str]
    rows: Sequence[MapRow]
    caption: str = "Map"
    axis: CellAxis | None = None
    badge: str = ""
    is_matrix: bool = False

    @property
    def phone_columns(self) -> int:
        """How many bands stand beside each other on a phone; the others follow below."""
        if len(self.columns) == 3 and _size_of(self).widest_strip <= _PHONE_THIRD:
            return 3
        return 2

    @property
    def html(self) -> str:
        """The map as an HTML table, with all texts escaped."""
        rows = [(row, _cells(self, row)) for row in self.rows]
        return str(_template().table(self, _size_of(self), rows))

    @property
    def table(self) -> Table:
        """The map as a table of the texts of its strips."""
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
    """A strip as the template draws it, with its ``name`` for screen readers.

    ``column`` is the title of its column, None for a strip outside of a map. ``is_first`` says that
    the column is tinted.
    """

    strip: Strip | None
    name: str
    column: str | None = None
    is_first: bool = False


ALONE = "Alone"
"""The title of the cells on the diagonal of a matrix."""


def _cells(drawing: BandMap, row: MapRow) -> list[_Cell]:
    cells = []
    for index, strip in enumerate(row.strips):
        column = drawing.columns[index]
        if drawing.is_matrix and column == row.label:
            column = ALONE
        name = ""
        if strip is not None:
            name = f"{column}, {row.label}: {strip.text}"
        is_first = index == 0 and bool(drawing.badge)
        cells.append(_Cell(strip, name, column, is_first))
    return cells


_PHONE_THIRD = 6.5
"""A third of a phone of 390 pixels, in rem."""


class _MapSize(NamedTuple):
    """The width of the widest strip in rem, and the scale by which a map fits on a page."""

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
    """Return the width in rem that a strip needs for the texts of its tiles."""
    lengths = [len(tile.text) for tile in strip.tiles if tile.text]
    if not lengths:
        return 0
    # The tiles are equally wide, so all need the room of the longest text.
    return len(lengths) * (_CHARACTER_WIDTH * max(lengths) + _TILE_MARGIN)


@cache
def _template() -> Any:
    """Return the module of the macros in ``map.html.j2``."""
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
    """Return the CSS of strips and maps."""
    return Path(__file__).with_suffix(".css").read_text("utf-8")


# --- bands over strength --------------------------------------------------------------------------


_FAINTEST = 0.4
"""The intensity of the colour, from 0 to 1, of a prediction with confidence 0."""


def band_position(strength: float) -> float:
    """Return the position of ``strength`` in a band of ``STEPS`` cells, as a share of its width.

    It is the middle of the cell, so that 0 and 1 are not at the edges.
    """
    return (strength * (STEPS - 1) + 0.5) / STEPS


def ticks(record: Perturbation) -> list[Tick]:
    """Return the marks at ImageNet-C's severities and at the study's setting.

    A perturbation without strengths has none.
    """
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
    """Return the strip of ``band``, in which stronger colours are more confident.

    The text does not name the model. If ``keyed``, tiles have keys such as "SqueezeNet fog 0.35".
    """
    record = REGISTRY[band.perturbation]
    cells = band.cells
    good_word, bad_word = band.words
    tiles = []
    start = 0.0
    for index, cell in enumerate(cells):
        end = 1.0
        if index + 1 < len(cells):
            # A tile ends halfway to the next strength.
            next_strength = cells[index + 1].strength
            end = (band_position(cell.strength) + band_position(next_strength)) / 2
        is_good = band.good(cell)
        intensity = _FAINTEST + (1 - _FAINTEST) * cell.probability
        if record.graded:
            strength_text = f"{cell.strength:g}"
        else:
            strength_text = record.value_text(cell.strength)
        verdict = good_word if is_good else bad_word
        class_name = models.class_name(band.model, cell.top1)
        key = ""
        if keyed:
            key = f"{band.model} {band.perturbation} {cell.strength:g}"
        tile = Tile(
            tone=intensity if is_good else -intensity,
            title=f"{strength_text}: {verdict}, {percent(cell.probability)} {class_name}",
            width=end - start,
            key=key,
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
"""The most rows of a map: browsers are slow with more, and a profile or a plan may have
thousands."""

_OUTCOMES = {"perturbed_accuracy": " correct", "consistency": " unchanged"}
"""The word after a share in the title of a tile, by quantity."""

ATTACKED_SHARES: Mapping[str, tuple[str, str]] = {
    "perturbed_accuracy": ("robust", "n_images"),
    "consistency": ("unchanged", "n_unchanged"),
}
"""For a quantity of a map, the figure of ``Figures.robust_accuracy`` that is the same share under
attack, and the figure with the number of images that it counts."""

Marks = Mapping[tuple[str, str], tuple[str, str]]
"""By model and condition, a sign to show in the tile, and what it means."""


class MapCell(NamedTuple):
    """A figure of a model under a condition, before it is drawn as a tile.

    The figure is the field ``name`` of ``entry``, and its number of images the field
    ``count_name``. ``setting`` is the strength as text, ``title`` the condition in words, and
    ``severity`` the severity of ImageNet-C with that strength, if there is one. ``conditions`` are
    the ids of the conditions that the figure counts.
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
    """Conditions that differ in strength alone.

    ``cells`` has the figures of each model by growing strength. ``quantity`` is what the settings
    of the cells are values of.
    """

    label: str
    cells: Mapping[str, Sequence[MapCell]]
    quantity: str = "strength"

    @property
    def levels(self) -> list[MapCell]:
        """The cells of the first model; every model has one for each strength."""
        return list(next(iter(self.cells.values()), ()))

    def values(self, model_names: Iterable[str]) -> list[float]:
        """Return the figures of the models ``model_names`` that were measured."""
        values = []
        for name in model_names:
            for cell in self.cells.get(name, ()):
                if cell.value is not None:
                    values.append(cell.value)
        return values


def quantity_of(figures: Figures) -> str:
    """Return the quantity that a map shows by default: accuracy or, without labels, consistency."""
    if figures.ranked_by == "consistency":
        return "consistency"
    return "perturbed_accuracy"


def rows(figures: Figures, quantity: str) -> list[Row]:
    """Return the rows of a map of ``quantity``, which is one of ``quantities``.

    The hardest row comes first: the one with the worst mean over the models of ``ordering_group``.
    A map of accuracies begins with a row of the originals. Series that have only conditions of
    strength 0 are left out, unless there are no others.

    In maps of accuracy and consistency there is one row for all attacks of a norm. It has the share
    of all images that no attack breaks, whereas the figures of a single attack leave out images
    that were incorrect before.
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
    """Return the row of the conditions of one series; ``entries`` are of all models."""
    entry_of_condition = {entry["condition"]: entry for entry in entries}
    levels = sorted(entry_of_condition.values(), key=lambda entry: entry["strength"] or 0.0)
    measured = {(entry["model"], entry["condition"]): entry for entry in entries}
    cells = {}
    for name in grouped(entries, "model"):
        cells_of_model = []
        for level in levels:
            entry = measured.get((name, level["condition"]))
            cells_of_model.append(_cell(level, entry, quantity))
        cells[name] = cells_of_model
    return Row(_capitalised(label), cells)


def _originals_row(figures: Figures) -> Row:
    cells = {}
    for entry in figures.summary:
        if entry["clean_accuracy"] is not None:
            cell = MapCell("", "originals", entry, "clean_accuracy", "n_labelled")
            cells[entry["model"]] = [cell]
    return Row(ORIGINALS, cells)


def _hardest_first(rows: Sequence[Row], figures: Figures, quantity: str) -> list[Row]:
    """Sort ``rows`` by their mean over the models of ``ordering_group``, the worst first.

    Rows without a figure of such a model come last.
    """
    group = ordering_group([entry["model"] for entry in figures.summary])
    _, goodness_of_one = goodness(np.array([0.0, 1.0]), quantity)
    higher_is_better = goodness_of_one == 1

    def ease(row: Row) -> float:
        values = row.values(name for name in row.cells if name in group.models)
        if not values:
            return np.inf
        mean = float(np.mean(values))
        return mean if higher_is_better else -mean

    return sorted(rows, key=ease)


class OrderingGroup(NamedTuple):
    """The models whose mean orders the rows of a map.

    ``clause`` tells which these are, such as " for ImageNet", and is "" for all models of the map.
    """

    models: tuple[str, ...]
    clause: str


def ordering_group(names: Sequence[str]) -> OrderingGroup:
    """Return the largest group of the models ``names`` with the same classes.

    It is the first of equally large ones. With fewer classes a prediction changes less easily, so
    a mean over models with different classes would depend on which of them are in the map.
    """
    groups = models.by_labels(names)
    if len(groups) < 2:
        return OrderingGroup(tuple(names), "")
    label_set, names_of_group = max(groups, key=lambda group: len(group[1]))
    return OrderingGroup(names_of_group, f" for {label_set.title}")


def _capitalised(label: str) -> str:
    """Return ``label`` with a capital initial, unless its first word has capitals of its own."""
    first_word = label.partition(" ")[0]
    if not first_word.islower():
        return label
    return label[:1].upper() + label[1:]


def _cell(level: Entry, entry: Entry | None, quantity: str) -> MapCell:
    """Return the cell of a model at the condition of ``level``.

    ``level`` is an entry of any model under that condition, ``entry`` that of the model itself,
    None if it was not measured.
    """
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
    """Return a row for each norm, with the share of images that no attack of the norm breaks.

    Broken are images that become incorrect or, for consistency, change.
    """
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
        for name, entries_of_model in grouped(entries, "model").items():
            cells[name] = [
                _attack_cell(entry, attacks_of_norm, quantity) for entry in entries_of_model
            ]
        attack_rows.append(Row(f"Attacks, {NORMS[norm].label}", cells, EPSILON))
    return attack_rows


def _attack_cell(entry: Entry, attacks: Sequence[AttackCondition], quantity: str) -> MapCell:
    """Return the cell of an ``entry`` of ``Figures.robust_accuracy``.

    ``attacks`` are all attacks of its norm.
    """
    epsilon = entry["epsilon"]
    name, count_name = ATTACKED_SHARES[quantity]
    size = next(attack.spec.size_text for attack in attacks if attack.spec.epsilon == epsilon)
    title = f"{NORMS[entry['norm']].label}, epsilon {size}"
    # Robust accuracy at an epsilon counts the failures at all smaller ones.
    conditions = tuple(attack.id for attack in attacks if attack.spec.epsilon <= epsilon)
    return MapCell(size, title, entry, name, count_name, conditions)


def _shared_axis(rows: Sequence[Row]) -> CellAxis | None:
    """Return the levels that the rows have in common, None if they differ.

    The levels are severities if all are, else strengths. Rows of one cell have no levels, and
    epsilons count only if there are no strengths.
    """
    with_levels = [row for row in rows if len(row.levels) > 1]
    with_strengths = [row for row in with_levels if row.quantity != EPSILON]
    rows_of_axis = with_strengths or with_levels
    all_severities = {tuple(cell.severity for cell in row.levels) for row in rows_of_axis}
    if len(all_severities) == 1:
        severities = all_severities.pop()
        if None not in severities:
            return CellAxis("severity", [str(severity) for severity in severities])
    all_settings = {tuple(cell.setting for cell in row.levels) for row in rows_of_axis}
    if len(all_settings) == 1:
        return CellAxis(rows_of_axis[0].quantity, all_settings.pop())
    return None


def run_map(
    figures: Figures,
    quantity: str = "",
    *,
    chosen: ModelChoice | None = None,
    keyed: bool = False,
    marks: Marks = MappingProxyType({}),
) -> BandMap:
    """Return the map of a run.

    ``quantity`` is one of ``quantities``, by default ``quantity_of(figures)``. The first column is
    the model that leads ``chosen``, by default the choice of ``figures``; the others follow in the
    order of the ranking. If ``keyed``, the key of a tile is the selection of its images, as
    ``RowSelection.text``. ``marks`` are shown in the tiles.
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
        outcome="" if figures.score else _OUTCOMES.get(quantity, ""),
        keyed=keyed,
        marks=marks,
        by_severity=axis is not None and axis.quantity == "severity",
    )
    map_rows = []
    for row, tones in zip(shown_rows, _tones(shown_rows, quantity), strict=True):
        strips = {
            name: _strip(name, cells, tones[name], style) for name, cells in row.cells.items()
        }
        label = row.label
        # Epsilons that the axis does not have stand in the label.
        if row.quantity == EPSILON and (axis is None or axis.quantity != EPSILON):
            label += f" {', '.join(cell.setting for cell in row.levels)}"
        map_rows.append(MapRow(label, [strips.get(name) for name in names]))

    clause = ordering_group(ranked).clause
    if len(shown_rows) < len(all_rows):
        head = f"The hardest {_MOST_ROWS} of {len(all_rows):,}{clause}, by estimate"
    else:
        head = f"Hardest first{clause}, by estimate"
    level = "strength" if axis is None else axis.quantity
    badge = ""
    if chosen.leading in names:
        badge = RECOMMENDED if chosen.recommended else FASTEST
    return BandMap(
        head=head,
        columns=[models.label(name) for name in names],
        rows=map_rows,
        caption=f"{quantities(figures.score)[quantity]} by {level}",
        axis=axis,
        badge=badge,
    )


def _tones(rows: Sequence[Row], quantity: str) -> list[dict[str, list[float]]]:
    """Return for each row the tones of the cells of each model, from -1 to 1.

    They are computed together, since ``goodness`` scales some metrics from the worst to the best
    value of the whole map.
    """
    values = []
    for row in rows:
        for cells in row.cells.values():
            values += [np.nan if cell.value is None else cell.value for cell in cells]
    all_tones = (2 * goodness(np.array(values), quantity) - 1).tolist()

    # Back from one list to one for each model and row, in the order in which it was filled.
    tones_of_rows = []
    start = 0
    for row in rows:
        tones = {}
        for name, cells in row.cells.items():
            tones[name] = all_tones[start : start + len(cells)]
            start += len(cells)
        tones_of_rows.append(tones)
    return tones_of_rows


class _CellStyle(NamedTuple):
    """How the cells of a map are written.

    ``outcome`` is the word after a share in the title of a tile. If ``by_severity``, the text of a
    strip names severities instead of strengths.
    """

    quantity: str
    outcome: str
    keyed: bool = False
    marks: Marks = MappingProxyType({})
    by_severity: bool = False


def _strip(
    model_name: str, cells: Sequence[MapCell], tones: Sequence[float], style: _CellStyle
) -> Strip:
    """Return the strip of the ``cells`` of a model in a row, with a tone for each."""
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
    bounds = in_brackets(cell.entry, cell.name, exact_form)
    count = figure_text(cell.entry, cell.count_name, ",")
    title = f"{cell.title}: {value}{style.outcome}{bounds}, n = {count}"
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


# --- the map of a domain -------------------------------------------------------------------------

_OUTCOME_TONES = {KEPT: 0.75, BROKEN: -0.75}
"""Grey is neither: not shown, with its figure, or untested, without one."""

SIGNS = {BROKEN: "\N{BALLOT X}", NOT_SHOWN: "?", KEPT: "\N{CHECK MARK}"}
"""By outcome, the worst first."""


def domain_map(judged: JudgedDomain, score: str = "", *, keyed: bool = False) -> BandMap:
    """Return the map of a model in a domain: its perturbations by its perturbations.

    A cell has the shares in the middle and at the limit of both ranges, and on the diagonal those
    of one perturbation alone. If ``keyed``, the key of a tile is the selection of its images.
    ``score`` is the name of the score of a run of scores.
    """
    domain = judged.domain
    cells = {each.cell.perturbations: each for each in (*judged.singles, *judged.pairs)}
    labels = [REGISTRY[name].label for name in domain.perturbations]
    map_rows = []
    for first, label in zip(domain.perturbations, labels, strict=True):
        strips = []
        for second in domain.perturbations:
            # A pair has its perturbations in the order of the domain.
            names = tuple(name for name in domain.perturbations if name in (first, second))
            strips.append(_domain_strip(cells[names], keyed=keyed))
        map_rows.append(MapRow(label, strips))
    figure, _ = domain.limit
    quantity = quantities(score)[DOMAIN_FIGURES[figure]]
    return BandMap(
        head=f"Diagonal: {ALONE.lower()}",
        columns=labels,
        rows=map_rows,
        caption=f"{quantity} by pair of perturbations",
        axis=CellAxis("both ranges", ("middle", "limit")),
        is_matrix=True,
    )


def _domain_strip(judged: JudgedCell, *, keyed: bool) -> Strip:
    conditions = dict.fromkeys([judged.middle, judged.limit])
    tiles = [_domain_tile(each, keyed=keyed) for each in conditions]
    texts = []
    for each, place in zip(conditions, ("middle", "limit"), strict=False):
        value = "" if each.value is None else f"{format_figure(each.value, '.0%')} "
        texts.append(f"{place} {value}{each.outcome}")
    return Strip(tiles, ", ".join(texts))


def _domain_tile(judged: Judged, *, keyed: bool) -> Tile:
    if judged.value is None:
        return Tile(0.0, f"{judged.condition.short}: {judged.outcome}", text="\N{EN DASH}")
    entry = judged.as_dict()
    value = figure_text(entry, "value", ".1%")
    bounds = in_brackets(flat({}, "value", entry), "value")
    title = f"{judged.condition.short}: {value}{bounds}, n = {judged.images:,}: {judged.outcome}"
    text = format_figure(judged.value, ".0%").rstrip("%")
    key = ""
    if keyed:
        key = RowSelection(model=judged.model, conditions=(judged.condition.id,)).text
    return Tile(
        tone=_OUTCOME_TONES.get(judged.outcome, 0.0),
        title=title,
        text=f"{text}\N{THIN SPACE}{SIGNS[judged.outcome]}",
        key=key,
    )


# --- the strength of a camera ---------------------------------------------------------------------


class Span(NamedTuple):
    """A strength with its interval, and a text that describes it."""

    strength: float
    low: float
    high: float
    text: str

    def mark(self, position: Callable[[float], float]) -> Tick:
        """Return the mark of the span over a strip.

        ``position`` is a function from a strength to its place in the strip, a share of the width.
        """
        return Tick(
            position(self.strength),
            self.text,
            low=position(self.low),
            high=position(self.high),
        )


def camera_map(spans: Mapping[str, Span], figures: Figures | None = None) -> BandMap:
    """Return the map of the strengths of a camera, with a row for each perturbation of ``spans``.

    With the ``figures`` of a run there is a column for each model, in which the strength is marked
    over the cells of the run.
    """
    if figures is None:
        map_rows = []
        for perturbation, span in spans.items():
            label = REGISTRY[perturbation].label
            map_rows.append(MapRow(label, [_marked_band(perturbation, span)]))
        return BandMap("Perturbation", ["Strength, 0 to 1"], map_rows, "Strengths of your camera")
    quantity = quantity_of(figures)
    names = [entry["model"] for entry in figures.summary]
    row_of_label = {row.label: row for row in rows(figures, quantity)}
    map_rows = []
    for perturbation, span in spans.items():
        label = REGISTRY[perturbation].label
        strips = []
        for name in names:
            cells = row_of_label[label].cells.get(name) if label in row_of_label else None
            if cells:
                strips.append(_marked_cells(cells, span, quantity))
            else:
                strips.append(_marked_band(perturbation, span))
        map_rows.append(MapRow(label, strips))
    columns = [models.label(name) for name in names]
    return BandMap("Perturbation", columns, map_rows, "Strengths of your camera")


def _marked_band(perturbation: str, span: Span) -> Strip:
    """Return a strip of all strengths without colour, with the mark of ``span``."""
    record = REGISTRY[perturbation]
    marks = [*ticks(record), span.mark(band_position)]
    return Strip([Tile(0.0, record.label)], span.text, marks)


def _marked_cells(cells: Sequence[MapCell], span: Span, quantity: str) -> Strip:
    """Return the strip of the ``cells`` of a model, with the mark of ``span``.

    Tiles are equally wide, so the position of a strength is interpolated between the middles of the
    tiles with the next lower and the next higher strength.
    """
    position_of_strength = {0.0: 0.0, 1.0: 1.0}
    for index, cell in enumerate(cells):
        position_of_strength[float(cell.setting)] = (index + 0.5) / len(cells)
    strengths = sorted(position_of_strength)
    positions = [position_of_strength[strength] for strength in strengths]

    def position(strength: float) -> float:
        return float(np.interp(strength, strengths, positions))

    tones = [0.0 if cell.value is None else 2 * cell.value - 1 for cell in cells]
    strip = _strip("", cells, tones, _CellStyle(quantity, _OUTCOMES.get(quantity, "")))
    text = f"{strip.text}; your camera: {span.text}"
    return strip._replace(ticks=[span.mark(position)], text=text)


# --- changes --------------------------------------------------------------------------------------


_FULL_DIFFERENCE = 0.3
"""The difference of shares from which the colour has its full strength."""

_NOT_SIGNIFICANT_TONE = 0.14
"""The strength of the colour of a difference that is not significant."""

_LEAST_SIGNIFICANT_TONE = 0.4
"""The strength of the colour of the smallest significant difference."""


class ShareChange(NamedTuple):
    """The share of a model before and after under one condition, such as its accuracy.

    ``condition`` is the id of the condition, "" for originals. ``low`` and ``high`` are the bounds
    of the difference, None if it has no interval. ``n`` is the number of images, and ``key`` that
    of the tile.
    """

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
        """The tone of its tile, from -1 for a large loss to 1 for a large gain."""
        sign = float(np.sign(self.difference))
        if not self.significant:
            return sign * _NOT_SIGNIFICANT_TONE
        relative_size = min(1.0, abs(self.difference) / _FULL_DIFFERENCE)
        return sign * (_LEAST_SIGNIFICANT_TONE + (1 - _LEAST_SIGNIFICANT_TONE) * relative_size)

    @property
    def strength(self) -> float:
        """The strength of the condition, 0 for originals and for conditions without a strength."""
        if not self.condition:
            return 0.0
        condition = readable(self.condition)
        if condition is None:
            return 0.0
        return condition.strength or 0.0

    def entry(self, quantity: str) -> Entry:
        """Return the shares and their difference by the names that a comparison gives them."""
        figures = {
            "model": self.model,
            "condition": self.condition,
            f"{quantity}_a": self.before,
            f"{quantity}_b": self.after,
            f"{quantity}_images": self.n,
        }
        difference = {"value": self.difference, "low": self.low, "high": self.high}
        return flat(figures, f"{quantity}_difference", difference)


def change_map(changes: Sequence[ShareChange], quantity: str, score: str = "") -> BandMap:
    """Return the map of ``changes`` of ``quantity``, with the largest loss first.

    Tiles are pale if their difference is not significant. ``score`` is the name of the score of the
    runs, "" for predictions.
    """
    names = list(dict.fromkeys(change.model for change in changes))
    group = ordering_group(names)
    map_rows = []
    for label, changes_of_row in _by_loss(changes, group):
        strips: list[Strip | None] = []
        for name in names:
            changes_of_model = [change for change in changes_of_row if change.model == name]
            if changes_of_model:
                strips.append(_changes_strip(changes_of_model, quantity))
            else:
                strips.append(None)
        map_rows.append(MapRow(label, strips))
    head = f"Largest loss first{group.clause}, by estimate"
    columns = [models.label(name) for name in names]
    title = in_sentence(quantities(score)[quantity])
    caption = f"Change of {title}, in points"
    return BandMap(head, columns, map_rows, caption, _axis_of_changes(changes))


def before_and_after(
    changes: Sequence[ShareChange], quantity: str, titles: Sequence[str]
) -> BandMap:
    """Return the map of the shares of one model before and after, and of their changes.

    ``titles`` are those of the columns before and after.
    """
    group = ordering_group([changes[0].model])
    map_rows = []
    for label, changes_of_row in _by_loss(changes, group):
        strips = [
            _shares_strip(changes_of_row, quantity, side="a"),
            _shares_strip(changes_of_row, quantity, side="b"),
            _changes_strip(changes_of_row, quantity),
        ]
        map_rows.append(MapRow(label, strips))
    caption = f"{quantities()[quantity]} before and after"
    columns = [*titles, "Change, points"]
    axis = _axis_of_changes(changes)
    return BandMap("Largest loss first, by estimate", columns, map_rows, caption, axis)


def _axis_of_changes(changes: Sequence[ShareChange]) -> CellAxis | None:
    """Return the levels that all strips of ``changes`` have in common, None if they differ.

    Originals and attacks have none.
    """
    cells: dict[tuple[str, str], list[MapCell]] = {}
    for change in sorted(changes, key=lambda change: change.strength):
        condition = readable(change.condition) if change.condition else None
        if condition is None or isinstance(condition, AttackCondition):
            continue
        key = ConditionKey(change.condition, condition.name, change.strength)
        cell = MapCell(condition.setting, "", {}, "", "", severity=key.severity)
        cells.setdefault((change.model, condition.series), []).append(cell)
    rows = [Row(label, {model: strip_cells}) for (model, label), strip_cells in cells.items()]
    return _shared_axis(rows)


def _by_loss(
    changes: Sequence[ShareChange], group: OrderingGroup
) -> list[tuple[str, list[ShareChange]]]:
    """Group ``changes`` by row; return pairs of the label and the changes by growing strength.

    The originals come first, and then the row with the largest loss, which is the mean over the
    models of ``group``. Rows without one of these models come last.
    """
    changes_of_label: dict[str, list[ShareChange]] = {}
    for change in sorted(changes, key=lambda change: change.strength):
        label = series(change.condition) if change.condition else ORIGINALS
        changes_of_label.setdefault(label, []).append(change)

    def sort_key(label: str) -> tuple[bool, float]:
        differences = [
            change.difference for change in changes_of_label[label] if change.model in group.models
        ]
        mean = float(np.mean(differences)) if differences else np.inf
        return label != ORIGINALS, mean

    labels = sorted(changes_of_label, key=sort_key)
    return [(_capitalised(label), changes_of_label[label]) for label in labels]


def _shares_strip(changes: Sequence[ShareChange], quantity: str, side: str) -> Strip:
    """Return the strip of the shares of one model: before for the ``side`` "a", after for "b"."""
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
    return _strip("", cells, tones, _CellStyle(quantity, _OUTCOMES.get(quantity, "")))


def _changes_strip(changes: Sequence[ShareChange], quantity: str) -> Strip:
    """Return the strip of the differences of one model; ``changes`` must not be empty."""
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
