"""The map of a run: the share of images that each model withstands, by condition.

A share is that of the images that are correct or, without labels, unchanged, and it is of all
images, under attack as well. Intervals are 95%.

The drawing of bands and maps, as HTML that pages and reports share, and its style sheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

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

_FAINTEST = 0.4
"""How strong the colour of a prediction is whose confidence is 0, from 0 to 1."""


_CHARACTER = 0.45
_MARGIN = 0.25
"""The width in rem of a figure's character in a tile, and what a tile needs beside them."""
_LABELS = 19.0
_COLUMN = 5.25
_PAPER = 42.0
"""In rem: the most of the labels, the least of a column, as in the style sheet, and an A4 page."""
_SHORTEST = 12
"""Characters of the longest label, at least: the title above them has long words."""


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

    @property
    def html(self) -> str:
        """The tile as HTML."""
        kind = " class=rb-bad" if self.tone < 0 else ""
        key = f' data-key="{_safe(self.key)}"' if self.key else ""
        style = f"--w:{self.width:.4g};--t:{100 * abs(self.tone):.0f}"
        text = f"<b>{_safe(self.text)}</b> " if self.text else ""
        return f'<i{kind} title="{_safe(self.title)}"{key} style="{style}">{text}</i>'


class Tick(NamedTuple):
    """A mark over a drawn band at ``place``, a share of its width; ``strong`` ones are thicker.

    One with an interval, from ``low`` to ``high`` in shares of the width, is drawn as a dot on a
    line.
    """

    place: float
    title: str
    strong: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def html(self) -> str:
        """The mark as HTML."""
        kind = " class=rb-strong" if self.strong else ""
        span = ""
        if self.low is not None and self.high is not None:
            kind = " class=rb-span"
            span = f";--low:{self.low:.4f};--high:{self.high:.4f}"
        return f'<u{kind} title="{_safe(self.title)}" style="--at:{self.place:.4f}{span}"></u>'


class Strip(NamedTuple):
    """A drawn band; ``text`` says in words what it shows."""

    tiles: Sequence[Tile]
    text: str
    ticks: Sequence[Tick] = ()

    @property
    def html(self) -> str:
        """``html_of`` a band that stands alone."""
        return self.html_of("")

    def html_of(self, what: str) -> str:
        """The band as HTML, with all texts escaped; keys make it work like a button.

        Its name, for those who listen, begins with ``what``, such as a model and a perturbation.
        """
        tiles = "".join(tile.html for tile in self.tiles)
        ticks = "".join(tick.html for tick in self.ticks)
        role = "button" if any(tile.key for tile in self.tiles) else "img"
        focus = ' tabindex="0"' if role == "button" else ""
        label = _safe(f"{what}: {self.text}" if what else self.text)
        return (
            f'<div class="rb-band" role="{role}"{focus} aria-label="{label}">{tiles}{ticks}</div>'
        )


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

    ``caption`` says what it shows, to those who listen. ``axis`` labels the cells of each column. A
    ``badge`` is what the first column has that the others lack; that column is tinted.
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
        titles = "".join(
            f'<th scope="col"{self._mark(at)}>{self._title(at)}</th>'
            for at in range(len(self.columns))
        )
        body = ""
        for row in self.rows:
            image = f'<img src="{_safe(row.image)}" alt="">' if row.image else ""
            label = _safe(row.label)
            cells = "".join(
                f'<td{self._mark(at)} data-title="{_safe(self.columns[at])}">'
                f"{strip.html_of(f'{self.columns[at]}, {row.label}') if strip else ''}</td>"
                for at, strip in enumerate(row.strips)
            )
            body += (
                f'<tr><th scope="row" title="{label}">{image}<span>{label}</span></th>{cells}</tr>'
            )
        # The cells of a strip are equally wide; a figure that is cut is another figure.
        widths = [
            len(lengths) * (_CHARACTER * max(lengths) + _MARGIN)
            for row in self.rows
            for strip in row.strips
            if strip and (lengths := [len(tile.text) for tile in strip.tiles if tile.text])
        ]
        least = max(widths, default=0)
        longest = max([_SHORTEST, *(len(row.label) for row in self.rows)])
        labels = min(_LABELS, longest / 2 + 0.6)
        whole = labels + len(self.columns) * (max(_COLUMN, least) + 0.6)
        sizes = (
            f"--rows:{len(self.rows)};--columns:{len(self.columns)};--least:{least:.2f}rem;"
            f"--print:{min(1.0, _PAPER / whole):.2f}"
        )
        return (
            f'<div class="rb-map" style="{sizes}"><table>'
            f"<caption>{_safe(self.caption)}</caption>"
            f'<thead><tr><th scope="col">{self._corner}</th>{titles}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _mark(self, column: int) -> str:
        return " class=rb-first" if self.badge and column == 0 else ""

    def _title(self, column: int) -> str:
        """The title of a column as HTML, with its badge and the labels of its cells."""
        title = f"<span>{_safe(self.columns[column])}</span>"
        if self.badge and column == 0:
            title += f" <em>{_safe(self.badge)}</em>"
        if self.axis is None:
            return title
        labels = "".join(f"<i>{_safe(label)}</i>" for label in self.axis.labels)
        return f'{title}<span class="rb-levels" aria-hidden="true">{labels}</span>'

    @property
    def _corner(self) -> str:
        """The title of the labels as HTML, above the quantity of the axis."""
        if self.axis is None:
            return _safe(self.head)
        quantity = _safe(self.axis.quantity.capitalize())
        return f'{_safe(self.head)}<span class="rb-levels" aria-hidden="true">{quantity}</span>'

    @property
    def table(self) -> Table:
        """The map in words."""
        head = self.head if self.axis is None else f"{self.head}; {self.axis.quantity}: share"
        columns = list(self.columns)
        if self.badge and columns:
            columns[0] = f"{columns[0]} ({self.badge.lower()})"
        rows = [
            (row.label, *(strip.text if strip else "" for strip in row.strips)) for row in self.rows
        ]
        return Table((head, *columns), rows)


@cache
def style() -> str:
    """The CSS of bands and maps."""
    return Path(__file__).with_suffix(".css").read_text("utf-8")


def _safe(text: str) -> str:
    return escape(unhidden(text))


def place(strength: float) -> float:
    """Where ``strength`` lies in a band of ``STEPS`` cells: the middle of its cell."""
    return (strength * (STEPS - 1) + 0.5) / STEPS


def ticks(record: Perturbation) -> list[Tick]:
    """The study's setting and ImageNet-C's severities; none for a switch."""
    if not record.graded:
        return []
    strengths = dict(enumerate(record.severity_strengths, start=1))
    marks = [Tick(place(at), f"severity {number}") for number, at in strengths.items()]
    if record.study_strength is not None:
        marks.append(Tick(place(record.study_strength), "the study's setting", strong=True))
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
            end = (place(cell.strength) + place(cells[number + 1].strength)) / 2
        good = band.good(cell)
        strong = _FAINTEST + (1 - _FAINTEST) * cell.probability
        name = models.class_name(band.model, cell.top1)
        at = f"{cell.strength:g}" if record.graded else record.value_text(cell.strength)
        title = f"{at}: {band.words[not good]}, {percent(cell.probability)} {name}"
        key = f"{band.model} {band.perturbation} {cell.strength:g}" if keyed else ""
        tiles.append(Tile(strong if good else -strong, title, end - start, key=key))
        start = end
    return Strip(tiles, band.text, ticks(record))


ORIGINALS = "Originals"
EPSILON = "epsilon"
RECOMMENDED = "Recommended"
FASTEST = "Fastest"

_MOST = 100
"""Rows of a map, which a browser still draws at once; a profile or a plan may have thousands."""

_FULL = 0.3
"""The difference of shares from which a colour is as strong as can be."""
_PALE = 0.14
_LEAST = 0.4
"""Strengths of colour: of a difference that is not significant, and of the smallest that is."""


class MapCell(NamedTuple):
    """The figure ``name`` of ``entry``; ``n`` is the name of its number of images.

    ``at`` is the strength, and ``title`` the condition, in words. ``conditions`` are those whose
    images fail there. ``severity`` is that of ImageNet-C, if the strength is one of its.
    """

    at: str
    title: str
    entry: Entry
    name: str
    n: str
    conditions: tuple[str, ...] = ()
    severity: int | None = None

    @property
    def value(self) -> float | None:
        """The figure; None if it was not measured."""
        value: float | None = self.entry.get(self.name)
        return value


_OUTCOMES = {"perturbed_accuracy": " correct", "consistency": " unchanged"}


class Row(NamedTuple):
    """What differs in strength alone: the cells of each model, by growing strength."""

    label: str
    cells: Mapping[str, Sequence[MapCell]]
    quantity: str = "strength"

    @property
    def levels(self) -> list[MapCell]:
        """The cells of one model, which has all levels."""
        return list(next(iter(self.cells.values()), ()))


def quantity_of(figures: Figures) -> str:
    """What a map shows by default: accuracy or, without labels, consistency."""
    return "consistency" if figures.ranked_by == "consistency" else "perturbed_accuracy"


def rows(figures: Figures, quantity: str) -> list[Row]:
    """The rows of a map of ``quantity``, the hardest first; accuracies begin with the originals.

    ``quantity`` is one of ``quantities``. The hardest row has the worst mean over the models of
    ``ordering_group``. Conditions of strength 0 are left out, unless there are no others. Accuracy
    and consistency have attacks by norm, as robust accuracy does, and so count every image.
    """
    entries = [e for e in figures.by_perturbation if e.get(quantity) is not None]
    by_norm = quantity in ATTACKED_SHARES
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
    rows += _attacks(figures, quantity) if by_norm else []
    sign = 1.0 if goodness(np.array([0.0, 1.0]), quantity)[1] == 1 else -1.0
    comparable = ordering_group([entry["model"] for entry in figures.summary]).models
    hardness = []
    for row in rows:
        values = [
            cell.value
            for name, cells in row.cells.items()
            if name in comparable
            for cell in cells
            if cell.value is not None
        ]
        hardness.append(sign * float(np.mean(values)) if values else np.inf)
    rows = [rows[at] for at in np.argsort(hardness, kind="stable")]
    if quantity != "perturbed_accuracy":
        return rows
    originals = {
        entry["model"]: [MapCell("", "originals", entry, "clean_accuracy", "n_labelled")]
        for entry in figures.summary
        if entry["clean_accuracy"] is not None
    }
    return [Row(ORIGINALS, originals), *rows]


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


def _row_label(text: str) -> str:
    """``text``, such as the name of a profile, with a capital unless its first word has one."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].islower() else text


def _cell(level: Entry, entry: Entry | None, quantity: str) -> MapCell:
    """The cell of a model at ``level``, which ``entry`` measures."""
    text = str(level["condition"])
    severity: int | None = level["severity"] or None
    at = setting(text)
    title = short(text)
    if severity is not None:
        title += f" (severity {severity})"
    if entry is None:
        return MapCell(at, title, {}, quantity, "", severity=severity)
    n = "n_labelled" if "accuracy" in quantity else "n_images"
    return MapCell(at, title, entry, quantity, n, (text,), severity)


ATTACKED_SHARES: Mapping[str, tuple[str, str]] = {
    "perturbed_accuracy": ("robust", "n_images"),
    "consistency": ("unchanged", "n_unchanged"),
}
"""By quantity of a map: the figure of ``Figures.robust_accuracy`` that is the same share under
attack, of all images, and the name of their number."""


def _attacks(figures: Figures, quantity: str) -> list[Row]:
    """A row a norm: the share of all images that every attack leaves correct, or unchanged."""
    name, n = ATTACKED_SHARES[quantity]
    attacks = [
        condition
        for text in grouped(figures.by_perturbation, "condition")
        if isinstance(condition := readable(str(text)), AttackCondition)
    ]

    def cell(entry: Entry) -> MapCell:
        specs = [each for each in attacks if each.spec.norm == entry["norm"]]
        size = next(e.spec.size_text for e in specs if e.spec.epsilon == entry["epsilon"])
        title = f"{NORMS[entry['norm']].label}, epsilon {size}"
        conditions = tuple(each.id for each in specs if each.spec.epsilon <= entry["epsilon"])
        return MapCell(size, title, entry, name, n, conditions)

    rows = []
    measured = figures.robust_accuracy
    if quantity == "perturbed_accuracy":
        measured = [entry for entry in measured if entry["of"] == "accuracy"]
    for norm, entries in grouped(measured, "norm").items():
        cells = {
            model: [cell(entry) for entry in mine]
            for model, mine in grouped(entries, "model").items()
        }
        rows.append(Row(f"Attacks, {NORMS[norm].label}", cells, EPSILON))
    return rows


Marks = Mapping[tuple[str, str], tuple[str, str]]
"""By model and condition: a sign in the cell, and what it says."""


def _axis(rows: Sequence[Row]) -> CellAxis | None:
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
    settings = {tuple(cell.at for cell in row.levels) for row in graded}
    if len(settings) == 1:
        return CellAxis(graded[0].quantity, settings.pop())
    return None


def run_map(
    figures: Figures,
    quantity: str = "",
    *,
    chosen: ModelChoice | None = None,
    keyed: bool = False,
    marks: Marks | None = None,
) -> BandMap:
    """The map of ``quantity`` (default: what the models are ranked by, as a share).

    The first column is the model that leads ``chosen`` (default: the choice of ``figures``), the
    others are in the order of the ranking. If ``keyed``, the key of a tile is the selection of its
    images, as ``RowSelection.text``.
    """
    quantity = quantity or quantity_of(figures)
    chosen = chosen or figures.choice
    names = chosen.in_order([entry["model"] for entry in figures.summary])
    every = rows(figures, quantity)
    lines = every[:_MOST]
    clause = ordering_group([entry["model"] for entry in figures.summary]).clause
    head = f"Hardest first{clause}, by estimate"
    if len(lines) < len(every):
        head = f"The hardest {_MOST} of {len(every):,}{clause}, by estimate"
    values = np.array(
        [
            np.nan if cell.value is None else cell.value
            for row in lines
            for cells in row.cells.values()
            for cell in cells
        ]
    )
    tones = iter(2 * goodness(values, quantity) - 1)
    axis = _axis(lines)
    drawn = []
    for row in lines:
        strips = {
            name: _strip(
                name,
                cells,
                [next(tones) for _ in cells],
                quantity,
                keyed,
                marks or {},
                by_severity=axis is not None and axis.quantity == "severity",
            )
            for name, cells in row.cells.items()
        }
        label = row.label
        if row.quantity == EPSILON and (axis is None or axis.quantity != EPSILON):
            label += f" {', '.join(cell.at for cell in row.levels)}"
        drawn.append(MapRow(label, [strips.get(name) for name in names]))
    caption = f"{quantities()[quantity]} by {axis.quantity if axis else 'strength'}"
    badge = ""
    if chosen.leading in names:
        badge = RECOMMENDED if chosen.recommended else FASTEST
    return BandMap(head, [models.label(name) for name in names], drawn, caption, axis, badge)


def _strip(
    name: str,
    cells: Sequence[MapCell],
    tones: Sequence[float],
    quantity: str,
    keyed: bool = False,
    marks: Marks = MappingProxyType({}),
    by_severity: bool = False,
) -> Strip:
    short, exact = forms(quantity)
    tiles = []
    for cell, tone in zip(cells, tones, strict=True):
        if cell.value is None:
            tiles.append(Tile(0.0, f"{cell.title}: not measured"))
            continue
        chosen = RowSelection(model=name, conditions=cell.conditions)
        key = chosen.text if keyed and cell.conditions else ""
        sign, said = next(
            (marks[name, text] for text in cell.conditions[-1:] if (name, text) in marks), ("", "")
        )
        value = figure_text(cell.entry, cell.name, exact)
        n = figure_text(cell.entry, cell.n, ",")
        bounds = in_brackets(cell.entry, cell.name, exact)
        outcome = _OUTCOMES.get(quantity, "")
        remark = f"; {said}" if said else ""
        title = f"{cell.title}: {value}{outcome}{bounds}, n = {n}{remark}"
        figure = figure_text(cell.entry, cell.name, lambda v: format_figure(v, short).rstrip("%"))
        written = f"{figure}\N{THIN SPACE}{sign}" if sign else figure
        tiles.append(Tile(float(tone), title, 1.0, written, key))
    if len(cells) == 1:
        return Strip(tiles, with_interval(cells[0].entry, cells[0].name, exact))
    texts = []
    for cell in cells:
        level = str(cell.severity) if by_severity and cell.severity is not None else cell.at
        if value := figure_text(cell.entry, cell.name, short):
            texts.append(f"{level}: {value}")
    return Strip(tiles, ", ".join(texts))


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
    text = f"{strip.text}; your camera: {span.text}"
    return strip._replace(ticks=[mark], text=text)


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

    def entry(self, quantity: str) -> Entry:
        """Its figures of ``quantity`` by the names that a comparison gives them."""
        of = {"model": self.model, "condition": self.condition}
        figures = {"a": self.before, "b": self.after, "images": self.n}
        by_name = {f"{quantity}_{name}": value for name, value in figures.items()}
        difference = {"value": self.difference, "low": self.low, "high": self.high}
        return flat({**of, **by_name}, f"{quantity}_difference", difference)


def change_map(changes: Sequence[ShareChange], quantity: str) -> BandMap:
    """The map of ``changes`` of ``quantity``, the largest loss first; pale is not significant."""
    names = list(dict.fromkeys(change.model for change in changes))
    group = ordering_group(names)
    lines = [
        MapRow(label, [_changes([c for c in mine if c.model == name], quantity) for name in names])
        for label, mine in _by_loss(changes, group)
    ]
    head = f"Largest loss first{group.clause}, by estimate"
    caption = f"Change of {quantities()[quantity].lower()}, in points"
    return BandMap(head, [models.label(name) for name in names], lines, caption)


def before_and_after(
    changes: Sequence[ShareChange], quantity: str, titles: Sequence[str]
) -> BandMap:
    """The shares of one model before and after, and their changes; ``titles`` name both."""
    lines = []
    group = ordering_group(list(dict.fromkeys(change.model for change in changes)))
    for label, mine in _by_loss(changes, group):
        sides = [
            [
                MapCell(
                    setting(change.condition) if change.condition else "",
                    change.title,
                    change.entry(quantity),
                    f"{quantity}_{side}",
                    f"{quantity}_images",
                )
                for change in mine
            ]
            for side in "ab"
        ]
        shares = [
            _strip("", cells, [2 * (c.value or 0.0) - 1 for c in cells], quantity)
            for cells in sides
        ]
        lines.append(MapRow(label, [*shares, _changes(mine, quantity)]))
    caption = f"{quantities()[quantity]} before and after"
    head = "Largest loss first, by estimate"
    return BandMap(head, [*titles, "Change, points"], lines, caption)


def _by_loss(
    changes: Sequence[ShareChange], group: OrderingGroup
) -> list[tuple[str, list[ShareChange]]]:
    """``changes`` by row, each by growing strength; after the originals the largest loss first.

    The loss of a row is the mean over the models of ``group``; rows without one of them come last.
    """

    def strength(change: ShareChange) -> float:
        step = readable(change.condition) if change.condition else None
        return 0.0 if step is None else step.strength or 0.0

    by_row: dict[str, list[ShareChange]] = {}
    for change in sorted(changes, key=strength):
        label = series(change.condition) if change.condition else ORIGINALS
        by_row.setdefault(label, []).append(change)

    def mean_difference(label: str) -> float:
        differences = [c.difference for c in by_row[label] if c.model in group.models]
        return float(np.mean(differences)) if differences else np.inf

    order = sorted(by_row, key=lambda label: (label != ORIGINALS, mean_difference(label)))
    return [(_row_label(label), by_row[label]) for label in order]


def _changes(ordered: Sequence[ShareChange], quantity: str) -> Strip | None:
    """The differences of one model in a row; None without any."""
    if not ordered:
        return None
    name = f"{quantity}_difference"
    tiles = []
    words = []
    for change in ordered:
        entry = change.entry(quantity)
        verdict = "" if change.significant else ", not significant"
        exact = f"{with_interval(entry, name, points)}{verdict}"
        brief = figure_text(entry, name, partial(points, form="+.0f"))
        before, after = (figure_text(entry, f"{quantity}_{side}", ".1%") for side in "ab")
        n = figure_text(entry, f"{quantity}_images", ",")
        title = f"{change.title}: {before} to {after}, {exact}, n = {n}"
        tiles.append(Tile(change.tone, title, text=brief, key=change.key))
        doubt = "" if change.significant else " (not significant)"
        words.append(f"{setting(change.condition)}: {brief}{doubt}")
    if len(ordered) == 1:
        return Strip(tiles, exact)
    return Strip(tiles, ", ".join(words))
