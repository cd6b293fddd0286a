"""The drawing of bands and maps, as HTML that pages and reports share, and its style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

from robustness import models
from robustness.base.text import unhidden
from robustness.charts.ranking_and_condition_tables import Table
from robustness.charts.verdict_signs_and_words import percent
from robustness.evaluation.prediction_band_and_strengths import STEPS, Band
from robustness.perturbations import REGISTRY, Perturbation

_FAINTEST = 0.4
"""How strong the colour of a prediction is whose confidence is 0, from 0 to 1."""


_CHARACTER, _MARGIN = 0.45, 0.25
"""The width in rem of a figure's character in a tile, and what a tile needs beside them."""
_LABELS, _COLUMN, _PAPER = 19.0, 5.25, 42.0
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
    record, cells = REGISTRY[band.perturbation], band.cells
    tiles, start = [], 0.0
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
